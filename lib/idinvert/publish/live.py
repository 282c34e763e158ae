"""The page of the book on which networks run in the reader's browser.

    python -m idinvert.publish.live build/live --vendor build/vendor --also ffhq

makes its scripts, here for the study's faces and for those of `ffhq`, which the page offers too;
their weights are for research, so that no book has them unless it is asked for. A page that is
opened from a disk may load scripts beside it and nothing else; so everything it needs is a script:
onnxruntime-web, the networks as ONNX files of `export`, and faces. `live/` holds our own part of
them.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from idinvert import data
from idinvert.data import standins
from idinvert.files import cache_folder
from idinvert.inversion.model import Model
from idinvert.provenance import code_hash, modules_in
from idinvert.settings import digest

from .folders import emptied

if TYPE_CHECKING:
    from .export import Network

Choose = Callable[[Model], "dict[str, Network]"]
SOURCES = Path(__file__).parent / "live"
RUNTIME, FINDERS = "onnxruntime", "face-api"  # folders of the vendor's
MODEL = "face-stylegan-layerwise"
FACES = 12  # test faces to choose from
MEASURED = 100  # codes on which the loss of storage is measured
# On the picture that stands there before: test faces, and how far each attribute is moved
SHOWN, EDITS = (8, 4, 6, 3), {"eyeglasses": 3, "age": 3, "gender": 3, "pose": -3}
INVITATION = """{doc}`Invert a face in your browser <live>`: choose one, or a picture of your own,
watch its code being refined, and edit it. Nothing has to be installed.

"""
# What the page says of a model, by whether photographs are cut out for it
KNOWN = {False: "The face model of {resolution} px knows rendered faces, so that a photograph "
                "becomes the most similar rendered face.",
         True: " The model of photographs has {resolution} px; in a picture of your own the eyes "
               "and the mouth are found, and you can correct them, before the face is cut out."}
NAMESPACE = "window.idinvertLive = window.idinvertLive || {};"


@dataclass(frozen=True)
class Faces:
    """What the page has of a model beside its networks: images to choose from, [N, 3, r, r]."""

    images: Tensor
    title: str  # of one of them
    python: str  # which reads number INDEX
    imports: str  # that this needs
    button: str
    first: int  # that is shown
    steps: tuple[int, int]  # of Eq. (4): at first, and at most
    kind: str  # of the files of the images: png is exact, webp small
    aligned: bool = False  # whether photographs are cut out as the model knows them


def rendered_faces(model: Model) -> Faces:
    """The study's own."""
    return Faces(data.to_float(data.load("face", "test", FACES).images), "test face",
                 f'data.to_float(data.load("face", "test", {FACES}).images)[INDEX:INDEX + 1]',
                 "from idinvert import data", "Start", 0, (100, 300), "png")


def stand_ins(model: Model) -> Faces:
    """Of a model of photographs: its images of people who do not exist, distorted."""
    found = standins.load(model.name, model.whole, "test", FACES, progress=False)
    images = torch.stack([found.distorted(index) for index in range(FACES)])
    return Faces(data.to_float(images), "stand-in",
                 f'to_float(standins.load("{model.name}", model.whole, "test", {FACES})'
                 ".distorted(INDEX)[None])", "from idinvert.data import standins, to_float",
                 "Start with photographs", 3, (20, 100), "webp", True)


def make(folder: Path, vendor: Path, also: Sequence[str] = ()) -> None:
    """Write the page's files into a folder.

    also: further models that the page offers, whose images are inverted at a smaller size.
    ValueError: the folder holds other files, or a model has no preview. FileNotFoundError: the
    runtime was not fetched; the folder is made, but empty.
    """
    emptied(folder, signs=["live.js"])
    runtime = vendor / RUNTIME
    if not runtime.is_dir():
        raise FileNotFoundError(f"There is no onnxruntime-web in {vendor}: "
                                f"`python tools/vendor.py {vendor}` fetches it.")
    write_script(folder / "runtime.js", {
        "runtime": (runtime / "ort.wasm.min.js").read_text(),
        "loader": (runtime / "ort-wasm-simd-threaded.mjs").read_text(),
        "worker": (SOURCES / "worker.js").read_text(),
        "wasm": packed((runtime / "ort-wasm-simd-threaded.wasm").read_bytes())})
    model = Model(MODEL, "cpu")
    faces = rendered_faces(model)
    offered = [write_model(folder, model, faces, networks)]
    for name in also:
        other = Model(name, "cpu")
        offered.append(write_model(folder, other, stand_ins(other), with_preview,
                                   vendor / FINDERS))
    (folder / "models.json").write_text(json.dumps(offered))
    ours = [(SOURCES / file).read_text() for file in ("images.js", "page.js")]
    (folder / "live.js").write_text("{\n" + "\n".join(ours) + "}\n")
    (folder / "live.css").write_text((SOURCES / "live.css").read_text())
    poster(model, faces.images[list(SHOWN)]).save(folder / "poster.webp", quality=80)


def networks(model: Model) -> dict[str, Network]:
    """What the page needs of a model: see `export.networks`."""
    from . import export  # needs packages that a book without this page does not

    return export.networks(model)


def with_preview(model: Model) -> dict[str, Network]:
    """As `networks`; the generator can be cut, and Eq. (4) is that of its previews."""
    from . import export, preview

    halves = preview.Halves(model)
    return export.networks(model, gradient=False) | {
        "generator": halves.generator(), "equation4": halves.equation4()}


def write_model(folder: Path, model: Model, faces: Faces, choose: Choose,
                finding: Path | None = None) -> dict:
    """Write the script of a model; returns what the page says of it before it is loaded.

    finding: folder of the networks that find faces in photographs, if the model wants them.
    """
    exported = exported_files(model, choose)
    described = json.loads((exported / "model.json").read_text())
    described |= {"steps": faces.steps, "aligned": faces.aligned,
                  "learning_rate": model.method("in-domain").learning_rate,
                  "faces": {"count": len(faces.images), "title": faces.title, "first": faces.first,
                            "python": faces.python, "imports": faces.imports,
                            "sheet": data_url(faces.images, faces.kind)}}
    files = {file.stem: file.read_bytes() for file in sorted(exported.glob("*.onnx"))}
    added, previewed = {}, "map" in described["networks"]["generator"]["inputs"]
    if previewed:
        from . import preview

        added |= preview.cut(files.pop("generator"))
    if finding and finding.is_dir():
        from . import finders

        added |= finders.files(finding)
    for name, (inputs, content) in added.items():
        files[name], described["networks"][name] = content, {"inputs": inputs}
    path = folder / f"{model.name}.js"
    write_script(path, {"model": described,
                        "networks": {name: packed(content) for name, content in files.items()}})
    measured = pd.read_csv(exported / "differences.csv").set_index(["network", "output"])
    image = measured.loc[("generator", "image")]
    return {"file": path.name, "bytes": path.stat().st_size, "button": faces.button,
            "resolution": described["resolution"],
            "preview": previewed, "aligned": faces.aligned,
            "largest": image["largest difference"], "mean": image["mean difference"],
            "kid": image["KID x 1e3"]}


def page(folder: Path) -> str | None:
    """The page, as Jupyter Book reads it; None if its files were not made."""
    if not (folder / "models.json").exists():
        return None
    models, runtime = json.loads((folder / "models.json").read_text()), folder / "runtime.js"
    runtime_bytes = runtime.stat().st_size
    with Image.open(folder / "poster.webp") as image:
        width, height = image.size
    html = (SOURCES / "page.html").read_text()
    titles = ["test image", "inversion", *(f"{name} {by:+d}" for name, by in EDITS.items())]
    for key, value in {"runtime": json.dumps([runtime.name, runtime_bytes]),
                       "width": width, "height": height,
                       "heads": "".join(f"<span>{title}</span>" for title in titles),
                       "titles": ", ".join(titles), "rows": len(SHOWN),
                       "buttons": "".join(button(made, runtime_bytes) for made in models),
                       "losses": " ".join(loss(made) for made in models)}.items():
        html = html.replace(f"{{{key}}}", str(value))
    text = (SOURCES / "page.md").read_text()
    for made in models:
        key = "{photographs}" if made["aligned"] else "{rendered}"
        text = text.replace(key, KNOWN[made["aligned"]].format(resolution=made["resolution"]))
    return f"{text.replace('{photographs}', '')}\n```{{raw}} html\n{html}```\n"


def button(made: dict, runtime: int) -> str:
    """The paragraph with the button of a model, and what pressing it loads."""
    size = (runtime + made["bytes"]) / 1e6
    return (f"""<p><button type="button" class="live-main" data-live="start" data-script='"""
            f"""{json.dumps([made["file"], made["bytes"]])}'>{made["button"]}</button>
  <span>{made["resolution"]} px; loads {size:.0f} MB from beside this page; your pictures stay """
            "on your computer</span></p>\n")


def loss(made: dict) -> str:
    """What the storage of a model's weights costs, in a sentence that is shown with the model."""
    text = (f"At {made['resolution']} px, images of {MEASURED} codes differ from PyTorch's by "
            f"{made['mean']:.2g} in the mean and {made['largest']:.2g} at most, on the scale from "
            f"-1 to 1; KID x 1e3 between both sets is {round(made['kid'], 3) + 0.0:.3f}."
            + (" An edit shows a preview first, and Eq. (4) steps by a preview, set right by the "
               "whole generator every few steps." if made["preview"] else ""))
    return f'<span data-of="{made["file"]}">{text}</span>'


def is_whole(folder: Path) -> bool:
    """Whether an export into a folder has ended: until then its model.json tells no sizes."""
    about = folder / "model.json"
    return about.exists() and "resolution" in json.loads(about.read_text())


def exported_files(model: Model, choose: Choose) -> Path:
    """The folder of the cache to which the model is exported, unless that was done before."""
    roles = [role for role in ("generator", "encoder", "classifier", "boundaries")
             if model.has(role)]
    code = code_hash(["idinvert.publish.export", "idinvert.publish.preview",
                      *modules_in("idinvert.nn")],
                     without=["idinvert.inversion", "idinvert.models"])
    key = digest(code, [model.digest(role) for role in roles])
    folder = cache_folder("exported") / f"{model.name}-{key}"
    if not is_whole(folder):
        from . import export

        export.export(model, folder, "int8", MEASURED, choose)
    return folder


def packed(content: bytes) -> str:
    """Base64 of gzip, the same each time."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def write_script(path: Path, values: dict) -> None:
    """A script that adds values to what the page's scripts bring."""
    lines = [f"idinvertLive.{name} = {json.dumps(value)};" for name, value in values.items()]
    path.write_text("\n".join([NAMESPACE, *lines, ""]))


def data_url(images: Tensor, kind: str) -> str:
    """Images [N, 3, r, r] side by side as the address of a file, of a kind of Pillow's."""
    file = io.BytesIO()
    picture(images, len(images)).save(file, kind, optimize=True, quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def picture(images: Tensor, columns: int) -> Image.Image:
    """Images [N, 3, r, r] in [-1, 1], row by row."""
    return Image.fromarray(data.to_uint8(data.grid(images, columns)).permute(1, 2, 0).numpy())


def poster(model: Model, faces: Tensor) -> Image.Image:
    """What the reader sees first: a row for each face, with its inversion and edits of it."""
    codes = model.invert(faces, iterations=60, lambda_vgg=0).codes
    columns = [faces, model.render(codes)]
    columns += [model.render(model.edit(codes, **{name: value})) for name, value in EDITS.items()]
    sheet = picture(torch.stack(columns, 1).flatten(0, 1), len(columns))
    return sheet.resize((3 * sheet.width, 3 * sheet.height), Image.Resampling.BICUBIC)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vendor", type=Path, default=Path("build/vendor"))
    parser.add_argument("--also", nargs="*", default=[], metavar="MODEL",
                        help="further models of photographs: ffhq")
    parser.add_argument("--optional", action="store_true",
                        help="make nothing where the runtime was not fetched: no error")
    options = parser.parse_args(arguments)
    try:
        make(options.folder, options.vendor, options.also)
    except FileNotFoundError as error:
        if not options.optional:
            parser.error(str(error))
        print(f"The book is built without its live page. {error}", file=sys.stderr)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
