"""The explorer: a `Session` inverts and edits one image, a `Panel` shows it in JupyterLab, and
`flip` lets readers of the published page go through pictures that were made beforehand."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Sequence

import ipywidgets as w
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from idinvert.codes import interpolate, render
from idinvert.data import ImageError, Source, grid, to_uint8
from idinvert.inversion import METHODS, Inversion, OnStep, Settings, diffuse, stitch
from idinvert.inversion.methods.pivotal_tuning import Tuned
from idinvert.inversion.model import Model
from idinvert.photographs import faces_of
from idinvert.settings import names

LAMBDAS = (0.0, 0.5, 2.0, 5.0, 10.0, 40.0)
REACH = 8.0  # largest step of an attribute slider, in units of codes
SHOWN, SHOWN_LARGE = "190px", "380px"  # side of a picture of the panel
LARGE = 256  # px of images that are shown large
PAUSE = 0.7  # seconds after the last change of an edit, before it is rendered in full size
CELL = "padding:0 12px;white-space:nowrap"  # style of the cells of a table
Box = tuple[int, int, int, int]  # left, top, right, bottom in px


# --- a session ------------------------------------------------------------------------------------


class Stopped(Exception):
    """The user asked to stop."""


class Session:
    """One target image, its code and what is done to it; images are [1, 3, r, r] in [-1, 1]."""

    def __init__(self, model: Model, target: Tensor):
        self.model = model
        self.choose(target)

    def choose(self, target: Tensor) -> None:
        """Begin anew with another image; its first code is the encoder's."""
        self.target = target
        self.codes = self.other = self.model.encode(target)
        self.found: Inversion | None = None  # what the codes are rendered as: see `Model.render`

    def invert(self, method: str, lambda_dom: float, iterations: int,
               on_step: OnStep | None = None) -> Tensor:
        """Invert the target by one of METHODS; returns its image.

        If `on_step` raises, the code of the last step is kept.
        """
        chosen = {"lambda_dom": lambda_dom, "iterations": iterations}
        settings = {name: chosen[name] for name in names(METHODS[method]) if name in chosen}
        self.found = None
        self.found = self.model.invert(self.target, method, on_step=self.following(on_step),
                                       **settings)
        self.codes = self.found.codes
        return self.inverted()

    def diffuse(self, context: Tensor, box: Box, iterations: int,
                on_step: OnStep | None = None) -> Tensor:
        """Semantic diffusion of the target's part in `box` into `context`; returns the image."""
        stitched, mask = stitch(self.target, context, box)
        self.found = None
        self.codes = diffuse(self.model, stitched, mask, Settings(iterations=iterations),
                             on_step=self.following(on_step)).codes
        return self.inverted()

    def following(self, on_step: OnStep | None) -> OnStep:
        """A callback that keeps the code of each step, then calls `on_step`."""
        def step(iteration: int, codes: Tensor, images: Tensor) -> None:
            self.codes = codes.clone()
            if on_step is not None:
                on_step(iteration, codes, images)
        return step

    def inverted(self) -> Tensor:
        """Image of the code."""
        return self.render(self.codes)

    def edited(self, strengths: dict[str, float], way: float = 0.0, whole: bool = False) -> Tensor:
        """Image of the code that goes `way` [0, 1] to the other code, then along boundaries."""
        between = torch.lerp(self.codes, self.other, way)
        return self.render(self.model.edit(between, **strengths), whole)

    def render(self, codes: Tensor, whole: bool = False) -> Tensor:
        """Image of a code, at the size at which the model inverts; `whole`: in its full size."""
        if whole or isinstance(self.found, Tuned):
            return self.model.render(codes, self.found)
        return render(self.model.generator, codes)


# --- pictures and tables --------------------------------------------------------------------------


def picture(images: Tensor, kind: str = "webp", columns: int | None = None,
            box: Box | None = None) -> bytes:
    """Images [N, 3, H, W] side by side as a file; `box` is outlined in the first of them."""
    sheet = to_uint8(grid(images, columns or len(images))).permute(1, 2, 0).cpu().numpy()
    shown = Image.fromarray(sheet)
    if box is not None:
        ImageDraw.Draw(shown).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], outline="orange")
    file = io.BytesIO()
    shown.save(file, kind, quality=55)
    return file.getvalue()


def scores(model: Model, **images: Tensor) -> str:
    """Table of attribute probabilities as HTML: for each named set of images a column of means."""
    return score_table(model, {name: model.probabilities(x) for name, x in images.items()})


def score_table(model: Model, columns: dict[str, Tensor]) -> str:
    """The same from probabilities [N, A]."""
    head = "".join(f"<th style='{CELL}'>{name}</th>" for name in columns)
    rows = ""
    for i, attribute in enumerate(model.attributes):
        cells = "".join(f"<td style='{CELL}'>{bar(float(p[:, i].mean()))}</td>"
                        for p in columns.values())
        rows += f"<tr><td>{attribute}</td>{cells}</tr>"
    return f"<table style='line-height:1.5'><tr><th></th>{head}</tr>{rows}</table>"


def bar(probability: float) -> str:
    """A probability as a bar and a number, in HTML."""
    full, part = "display:inline-block;width:60px;background:#ececec", 60 * probability
    return (f"<span style='{full}'><span style='display:block;height:9px;background:#2a6fb0;"
            f"width:{part:.0f}px'></span></span> {probability:.2f}")


def blends(model: Model, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Images [steps, 3, r, r] on the way from code `a` to code `b`, both [1, L, D], with ends."""
    return model.render(interpolate(a, b, steps, ends=True)[0])


def still(rows: Sequence[Tensor], text: str = "", width: str = "100%") -> w.Widget:
    """Rows of images, each [N, 3, H, W], as one picture, with HTML below."""
    sheet = picture(torch.cat(list(rows)), columns=len(rows[0]))
    shown = w.Image(value=sheet, format="webp", layout={"width": width, "max_width": "672px"})
    return w.VBox([shown, w.HTML(text)], layout={"width": "100%"})


def flip(control: w.Widget, children: Sequence[w.Widget]) -> w.Stack:
    """A stack of which a slider or dropdown with `index` shows one child, also without a kernel."""
    stack = w.Stack(list(children), selected_index=control.index, layout={"width": "100%"})
    w.jslink((control, "index"), (stack, "selected_index"))
    return stack


def slider(name: str, options: Sequence, value=None) -> w.SelectionSlider:
    """A slider over labelled positions."""
    labels = [(f"{o:g}" if isinstance(o, float) else str(o), o) for o in options]
    return w.SelectionSlider(options=labels, value=options[0] if value is None else value,
                             description=name, layout={"width": "480px"},
                             style={"description_width": "90px"})


# --- the panel ------------------------------------------------------------------------------------


class Panel:
    """The widgets of a session in JupyterLab; `widget` is what a cell shows.

    faces: images [N, 3, r, r] in [-1, 1] to choose from.
    """

    def __init__(self, model: Model, faces: Tensor):
        self.session, self.model, self.faces = Session(model, faces[:1]), model, faces
        self.worker: threading.Thread | None = None
        self.before: dict[str, Tensor] = {}  # attribute probabilities [1, A] before the edit
        self.stopping = False
        self.refining: threading.Timer | None = None
        self.build()
        self.connect()
        self.widget = self.arrange()
        self.refresh_target()

    def build(self) -> None:
        """Make the controls and the pictures."""
        side = self.faces.shape[-1]
        wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}

        def choice(first: int, description: str) -> w.IntSlider:
            last = len(self.faces) - 1
            return w.IntSlider(min(first, last), 0, last, description=description, **wide)

        def span(description: str) -> w.IntRangeSlider:
            return w.IntRangeSlider(value=(side // 4, 3 * side // 4), min=0, max=side,
                                    description=description, **wide)

        self.face = choice(0, "test image")
        self.upload = w.FileUpload(accept="image/*", description="or your own")
        self.method = w.Dropdown(
            options=[(METHODS[name].title, name) for name in self.model.available()],
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
                           for name in self.model.boundaries}
        self.reset = w.Button(description="All to 0")
        self.second = choice(1, "second image")
        self.way = w.FloatSlider(0, min=0, max=1, step=0.02, description="way to it", **wide)
        self.across, self.down = span("left, right"), span("top, bottom")
        self.context = choice(1, "into image")
        self.spread = w.Button(description="Diffuse", button_style="primary")
        shown = SHOWN if side < LARGE else SHOWN_LARGE
        self.views = {name: w.Image(format="png", layout={"width": shown, "height": shown})
                      for name in ("target", "inverted", "edited", "stitched")}
        self.scores = w.HTML()

    def connect(self) -> None:
        """Tell every control what it does."""
        self.face.observe(lambda change: self.choose(self.chosen(self.face)), "value")
        self.upload.observe(self.on_upload, "value")
        self.go.on_click(lambda _: self.start(self.run_inversion))
        self.spread.on_click(lambda _: self.start(self.run_diffusion))
        self.stop.on_click(lambda _: setattr(self, "stopping", True))
        self.reset.on_click(lambda _: self.clear())
        self.second.observe(lambda _: self.blend_with(self.chosen(self.second)), "value")
        for control in (*self.attributes.values(), self.way):
            control.observe(lambda _: self.refresh_edit(), "value")
        for control in (self.across, self.down, self.context):
            control.observe(lambda _: self.refresh_box(), "value")

    def arrange(self) -> w.Widget:
        """The widgets on the page."""
        framed = {name: w.VBox([view, w.Label(name)], layout={"flex": "0 0 auto"})
                  for name, view in self.views.items()}
        stitched = framed.pop("stitched")
        tabs = w.Tab([
            w.VBox([*self.attributes.values(), self.reset]),
            w.VBox([self.second, self.way]),
            w.HBox([w.VBox([self.context, self.across, self.down, self.spread]), stitched]),
        ], titles=("Attributes", "Blend", "Diffuse"))
        return w.VBox([
            w.HBox([self.face, self.upload]),
            w.HBox([w.VBox([self.method, self.lambda_dom, self.iterations]),
                    w.VBox([w.HBox([self.go, self.stop]), self.progress, self.message])]),
            w.HBox([*framed.values(), self.scores]),
            tabs,
        ])

    # What the controls do

    def chosen(self, control: w.IntSlider) -> Tensor:
        """The test image [1, 3, r, r] that a slider chooses."""
        return self.faces[control.value][None]

    def on_upload(self, change) -> None:
        """Begin with an uploaded image; the message names one that cannot be read."""
        if not change.new:
            return
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                image = read_upload(change.new[0], self.faces.shape[-1], self.model.name)
            except ImageError as error:
                self.message.value = str(error)
                return
        self.choose(image[None].to(self.faces))
        self.message.value = " ".join(str(warning.message) for warning in told)

    def choose(self, image: Tensor) -> None:
        """Begin with another image, once no inversion runs."""
        self.halt()
        self.session.choose(image)
        self.message.value = ""
        self.refresh_target()
        self.clear()

    def blend_with(self, image: Tensor) -> None:
        """Choose the image to blend with: its code is the encoder's."""
        self.session.other = self.model.encode(image)
        self.refresh_edit()

    def clear(self) -> None:
        """Set all edits back to none."""
        for control in (*self.attributes.values(), self.way):
            control.value = 0

    def box(self) -> Box:
        """The chosen rectangle."""
        (left, right), (top, bottom) = self.across.value, self.down.value
        return left, top, max(right, left + 1), max(bottom, top + 1)

    # What is shown

    def show(self, name: str, image: Tensor, **options) -> None:
        """Show an image [1, 3, r, r]."""
        self.views[name].value = picture(image, "png", **options)

    def refresh_target(self) -> None:
        """Show a new target with its first inversion."""
        self.session.other = self.model.encode(self.chosen(self.second))
        self.show("target", self.session.target)
        self.refresh_box()
        self.refresh_code()

    def refresh_code(self) -> None:
        """Show a new code."""
        inverted = self.session.inverted()
        self.show("inverted", inverted)
        self.before = self.judge(target=self.session.target, inverted=inverted)
        self.refresh_edit()

    def judge(self, **images: Tensor) -> dict[str, Tensor]:
        """Probabilities of attributes in images; none if the model has no classifier."""
        return {name: self.model.probabilities(x) for name, x in images.items()
                } if self.model.has("classifier") else {}

    def refresh_edit(self) -> None:
        """Show what the edits make of the code, and the classifier's probabilities; a little later,
        the same in full size."""
        edited = self.edited()
        self.show("edited", edited)
        if columns := self.before | self.judge(edited=edited):
            self.scores.value = score_table(self.model, columns)
        if self.refining is not None:
            self.refining.cancel()
        if self.model.whole.resolution > edited.shape[-1]:
            self.refining = threading.Timer(PAUSE, self.refine)
            self.refining.start()

    def edited(self, whole: bool = False) -> Tensor:
        """What the controls make of the code."""
        strengths = {name: control.value for name, control in self.attributes.items()}
        return self.session.edited(strengths, self.way.value, whole)

    def refine(self) -> None:
        """Show the edited image in full size, unless another was asked for meanwhile."""
        mine = self.refining
        image = self.edited(whole=True)
        if mine is self.refining:
            self.show("edited", image)

    def refresh_box(self) -> None:
        """Show the target's rectangle in the image into which it is diffused."""
        stitched, _ = stitch(self.session.target, self.chosen(self.context), self.box())
        self.show("stitched", stitched, box=self.box())

    # Work in the background

    def start(self, work: Callable[[], None]) -> None:
        """Run an inversion in a thread, so that the page stays usable."""
        if self.worker is None or not self.worker.is_alive():
            self.stopping = False
            self.set_busy(True)
            self.worker = threading.Thread(target=self.supervise, args=(work,), daemon=True)
            self.worker.start()

    def set_busy(self, busy: bool) -> None:
        """Only one inversion runs at a time, and only one that runs can be stopped."""
        self.go.disabled = self.spread.disabled = busy
        self.stop.disabled = not busy

    def supervise(self, work: Callable[[], None]) -> None:
        """Run `work`; whatever happens, the buttons come back and the last code is shown."""
        self.progress.max, self.progress.value = self.iterations.value, 0
        try:
            work()
            self.message.value = "done"
        except Stopped:
            self.message.value = "stopped"
        except Exception as error:  # nobody but the user could notice it in a thread
            self.message.value = f"{type(error).__name__}: {error}"
        finally:
            self.set_busy(False)
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
        self.session.diffuse(self.chosen(self.context), self.box(), self.iterations.value,
                             self.on_step)

    def on_step(self, iteration: int, codes: Tensor, images: Tensor) -> None:
        """Show the progress, and every fifth image."""
        if self.stopping:
            raise Stopped
        self.progress.value = iteration + 1
        if iteration % 5 == 0:
            self.show("inverted", images.float())


def read_upload(upload: dict, size: int, model: str) -> Tensor:
    """Image [3, size, size], as a model wants it, of a file that a FileUpload holds; ImageError
    names it."""
    source = Source([upload["name"]], lambda _: bytes(upload["content"]))
    return faces_of(source, model).read(upload["name"], size)
