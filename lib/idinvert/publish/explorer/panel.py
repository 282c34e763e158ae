"""The explorer's panel in JupyterLab: controls for a session, and what they show."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import ipywidgets as w
import torch
from torch import Tensor

from idinvert.codes import encode
from idinvert.data import ImageError, read_image
from idinvert.inversion import METHODS, stitch
from idinvert.study.networks import Models

from .pictures import LAMBDAS, picture, score_table
from .session import Session, Stopped

REACH = 8.0  # largest step of an attribute slider, in units of codes
SHOWN = "190px"  # side of a picture


class Panel:
    """The widgets of a session in JupyterLab; `widget` is what a cell shows.

    faces: images [N, 3, r, r] in [-1, 1] to choose from.
    """

    def __init__(self, models: Models, faces: Tensor):
        self.session, self.models, self.faces = Session(models, faces[:1]), models, faces
        self.worker: threading.Thread | None = None
        self.before: dict[str, Tensor] = {}  # attribute probabilities [1, A], not of the edit
        self.stopping = False
        self.build()
        self.refresh_target()

    def build(self) -> None:
        """Make the widgets and connect them."""
        last, side = len(self.faces) - 1, self.faces.shape[-1]
        wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}
        self.face = w.IntSlider(0, 0, last, description="test image", **wide)
        self.upload = w.FileUpload(accept="image/*", description="or your own")
        self.method = w.Dropdown(
            options=[(METHODS[name].title, name) for name in self.models.model.available()],
            value="in-domain", description="method", **wide)
        self.lambda_dom = w.SelectionSlider(options=LAMBDAS, value=2.0, description="lambda_dom",
                                            **wide)
        self.iterations = w.IntSlider(60, 10, 500, 10, description="iterations", **wide)
        self.go = w.Button(description="Invert", button_style="primary")
        self.stop = w.Button(description="Stop", disabled=True)
        self.progress = w.IntProgress(0, 0, 1, layout={"width": "200px"})
        self.message = w.Label()
        self.attributes = {name: w.FloatSlider(0, min=-REACH, max=REACH, step=0.25,
                                               description=name, **wide)
                           for name in self.models.boundaries}
        self.reset = w.Button(description="All to 0")
        self.second = w.IntSlider(min(1, last), 0, last, description="second image", **wide)
        self.way = w.FloatSlider(0, min=0, max=1, step=0.02, description="way to it", **wide)
        self.across = w.IntRangeSlider(value=(side // 4, 3 * side // 4), min=0, max=side,
                                       description="left, right", **wide)
        self.down = w.IntRangeSlider(value=(side // 4, 3 * side // 4), min=0, max=side,
                                     description="top, bottom", **wide)
        self.context = w.IntSlider(min(1, last), 0, last, description="into image", **wide)
        self.spread = w.Button(description="Diffuse", button_style="primary")
        self.views = {name: w.Image(format="png", layout={"width": SHOWN, "height": SHOWN})
                      for name in ("target", "inverted", "edited", "stitched")}
        self.scores = w.HTML()

        self.face.observe(self.on_face, "value")
        self.upload.observe(self.on_upload, "value")
        self.go.on_click(lambda _: self.start(self.run_inversion))
        self.spread.on_click(lambda _: self.start(self.run_diffusion))
        self.stop.on_click(lambda _: setattr(self, "stopping", True))
        self.reset.on_click(lambda _: self.clear())
        self.second.observe(self.on_second, "value")
        for control in (*self.attributes.values(), self.way):
            control.observe(lambda _: self.refresh_edit(), "value")
        for control in (self.across, self.down, self.context):
            control.observe(lambda _: self.refresh_box(), "value")
        self.widget = self.arrange()

    def arrange(self) -> w.Widget:
        """The widgets on the page."""
        def framed(name: str) -> w.Widget:
            return w.VBox([self.views[name], w.Label(name)], layout={"flex": "0 0 auto"})

        tabs = w.Tab([
            w.VBox([*self.attributes.values(), self.reset]),
            w.VBox([self.second, self.way]),
            w.HBox([w.VBox([self.context, self.across, self.down, self.spread]),
                    framed("stitched")]),
        ], titles=("Attributes", "Blend", "Diffuse"))
        return w.VBox([
            w.HBox([self.face, self.upload]),
            w.HBox([w.VBox([self.method, self.lambda_dom, self.iterations]),
                    w.VBox([w.HBox([self.go, self.stop]), self.progress, self.message])]),
            w.HBox([framed(name) for name in ("target", "inverted", "edited")] + [self.scores]),
            tabs,
        ])

    # What the controls do

    def on_face(self, change) -> None:
        """Another test image was chosen."""
        self.choose(self.faces[change.new][None])

    def on_upload(self, change) -> None:
        """An image was uploaded; one that cannot be used is named in the message."""
        if change.new:
            try:
                image = read_upload(change.new[0], self.faces.shape[-1])
            except ImageError as error:
                self.message.value = str(error)
            else:
                self.choose(image[None].to(self.faces))

    def choose(self, image: Tensor) -> None:
        """Begin with another image, once no inversion runs."""
        self.halt()
        self.session.choose(image)
        self.message.value = ""
        self.refresh_target()
        self.clear()

    def on_second(self, change) -> None:
        """The image to blend with: its code is the encoder's."""
        other = self.faces[change.new][None]
        self.session.other = encode(self.models.encoder, other)
        self.refresh_edit()

    def clear(self) -> None:
        """All edits back to none."""
        for control in (*self.attributes.values(), self.way):
            control.value = 0

    def box(self) -> tuple[int, int, int, int]:
        """The chosen rectangle: left, top, right, bottom in px."""
        (left, right), (top, bottom) = self.across.value, self.down.value
        return left, top, max(right, left + 1), max(bottom, top + 1)

    # What is shown

    def show(self, name: str, image: Tensor, **options) -> None:
        """Show an image [1, 3, r, r]."""
        self.views[name].value = picture(image, "png", **options)

    def refresh_target(self) -> None:
        """Show a new target with its first inversion."""
        self.session.other = encode(self.models.encoder, self.faces[self.second.value][None])
        self.show("target", self.session.target)
        self.refresh_box()
        self.refresh_code()

    def refresh_code(self) -> None:
        """Show a new code."""
        inverted = self.session.inverted()
        self.show("inverted", inverted)
        seen = self.models.probabilities(torch.cat([self.session.target, inverted]))
        self.before = {"target": seen[:1], "inverted": seen[1:]}
        self.refresh_edit()

    def refresh_edit(self) -> None:
        """Show what the edits make of the code, and what the classifier sees."""
        strengths = {name: control.value for name, control in self.attributes.items()}
        edited = self.session.edited(strengths, self.way.value)
        self.show("edited", edited)
        columns = self.before | {"edited": self.models.probabilities(edited)}
        self.scores.value = score_table(self.models, columns)

    def refresh_box(self) -> None:
        """Show the target's rectangle in the image it is to be diffused into."""
        context = self.faces[self.context.value][None]
        stitched, _ = stitch(self.session.target, context, self.box())
        self.show("stitched", stitched, box=self.box())

    # Work in the background

    def start(self, work: Callable[[], None]) -> None:
        """Run an inversion in a thread, so that the page stays usable."""
        if self.worker is None or not self.worker.is_alive():
            self.stopping, self.go.disabled, self.spread.disabled = False, True, True
            self.stop.disabled = False
            self.worker = threading.Thread(target=self.supervise, args=(work,), daemon=True)
            self.worker.start()

    def supervise(self, work: Callable[[], None]) -> None:
        """Run `work`; whatever happens, the buttons come back and the last code is shown."""
        self.progress.max, self.progress.value = self.iterations.value, 0
        try:
            work()
            self.message.value = "done"
        except Stopped:
            self.message.value = "stopped"
        except Exception as error:  # shown to the user: a thread has nobody else to tell
            self.message.value = f"{type(error).__name__}: {error}"
        finally:
            self.go.disabled, self.spread.disabled, self.stop.disabled = False, False, True
            self.refresh_code()

    def halt(self) -> None:
        """Stop the inversion that runs, and wait for its last step."""
        self.stopping = True
        if self.worker is not None:
            self.worker.join()

    def run_inversion(self) -> None:
        """Invert by the chosen method."""
        self.session.invert(self.method.value, self.lambda_dom.value, self.iterations.value,
                            self.on_step)

    def run_diffusion(self) -> None:
        """Diffuse the rectangle into the chosen image."""
        context = self.faces[self.context.value][None]
        self.session.diffuse(context, self.box(), self.iterations.value, self.on_step)

    def on_step(self, iteration: int, codes: Tensor, images: Tensor) -> None:
        """Show the progress, and every fifth image."""
        if self.stopping:
            raise Stopped
        self.progress.value = iteration + 1
        if iteration % 5 == 0:
            self.show("inverted", images.float())


def read_upload(upload: dict, size: int) -> Tensor:
    """Image [3, size, size] of a file that a FileUpload holds; ImageError names it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(upload["name"]).name
        path.write_bytes(upload["content"])
        try:
            return read_image(path, size)
        except ImageError as error:
            raise ImageError(str(error).replace(f"{folder}/", "")) from error
