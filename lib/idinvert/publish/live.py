"""The page of the book on which networks run in the reader's browser.

    python -m idinvert.publish.live build/live --vendor build/vendor

makes its scripts. A page that is opened from a disk may load scripts beside it and nothing else;
so everything it needs is a script: onnxruntime-web, the networks as ONNX files of `export`, and
test faces. `live/` holds our own part of them. Nothing is made where the runtime was not fetched.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from idinvert import data
from idinvert.files import cache_folder
from idinvert.inversion.model import Model
from idinvert.provenance import code_hash, modules_in
from idinvert.settings import digest

SOURCES = Path(__file__).parent / "live"
RUNTIME = "onnxruntime"  # folder of the vendor's
MODEL = "face-stylegan-layerwise"
FACES = 12  # test faces to choose from
# On the picture that stands there before: test faces, and how far each attribute is moved
SHOWN, EDITS = (8, 4, 6, 3), {"eyeglasses": 3, "age": 3, "gender": 3, "pose": -3}
INVITATION = """{doc}`Invert a face in your browser <live>`: choose one, or a picture of your own,
watch its code being refined, and edit it. Nothing has to be installed.

"""
NAMESPACE = "window.idinvertLive = window.idinvertLive || {};"


def make(folder: Path, vendor: Path, name: str = MODEL) -> bool:
    """Write the page's files into a folder; False, with a sentence, if the runtime is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    runtime = vendor / RUNTIME
    if not runtime.is_dir():
        print("The book is built without its live page: onnxruntime-web was not fetched.",
              file=sys.stderr)
        return False
    model = Model(name, "cpu")
    exported = exported_files(model)
    networks = {path.stem: packed(path) for path in sorted(exported.glob("*.onnx"))}
    described = json.loads((exported / "model.json").read_text())
    faces = data.to_float(data.load("face", "test", FACES).images)
    described["faces"] = {"count": len(faces), "sheet": data_url(faces)}
    scripts = {
        "runtime.js": {"runtime": (runtime / "ort.wasm.min.js").read_text(),
                       "loader": (runtime / "ort-wasm-simd-threaded.mjs").read_text(),
                       "worker": (SOURCES / "worker.js").read_text(),
                       "wasm": packed(runtime / "ort-wasm-simd-threaded.wasm")},
        "model.js": {"model": described, "networks": networks},
    }
    for file, values in scripts.items():
        write_script(folder / file, values)
    ours = [(SOURCES / file).read_text() for file in ("images.js", "page.js")]
    (folder / "live.js").write_text("{\n" + "\n".join(ours) + "}\n")
    (folder / "live.css").write_text((SOURCES / "live.css").read_text())
    poster(model, faces[list(SHOWN)]).save(folder / "poster.webp", quality=80)
    return True


def page(folder: Path) -> str | None:
    """The page, as Jupyter Book reads it; None if its files were not made."""
    if not (folder / "model.js").exists():
        return None
    scripts = [[file, (folder / file).stat().st_size] for file in ("runtime.js", "model.js")]
    with Image.open(folder / "poster.webp") as image:
        width, height = image.size
    html = (SOURCES / "page.html").read_text()
    titles = ["test image", "inversion", *(f"{name} {by:+d}" for name, by in EDITS.items())]
    for key, value in {"scripts": json.dumps(scripts), "width": width, "height": height,
                       "heads": "".join(f"<span>{title}</span>" for title in titles),
                       "titles": ", ".join(titles), "rows": len(SHOWN),
                       "megabytes": f"{sum(size for _, size in scripts) / 1e6:.0f}"}.items():
        html = html.replace(f"{{{key}}}", str(value))
    return f"{(SOURCES / 'page.md').read_text()}\n```{{raw}} html\n{html}```\n"


def exported_files(model: Model) -> Path:
    """The folder of the cache to which the model is exported, unless that was done before."""
    roles = [role for role in ("generator", "encoder", "classifier", "boundaries")
             if model.has(role)]
    code = code_hash(["idinvert.publish.export", *modules_in("idinvert.nn")],
                     without=["idinvert.inversion", "idinvert.models"])
    key = digest(code, [model.digest(role) for role in roles])
    folder = cache_folder("exported") / f"{model.name}-{key}"
    if not (folder / "model.json").exists():  # which is written last
        from . import export  # needs packages that a book without this page does not

        export.export(model, folder, "int8", count=1)
    return folder


def packed(path: Path) -> str:
    """The content of a file as base64 of gzip, the same each time."""
    return base64.b64encode(gzip.compress(path.read_bytes(), 9, mtime=0)).decode()


def write_script(path: Path, values: dict) -> None:
    """A script that adds values to what the page's scripts bring."""
    lines = [f"idinvertLive.{name} = {json.dumps(value)};" for name, value in values.items()]
    path.write_text("\n".join([NAMESPACE, *lines, ""]))


def data_url(images: Tensor) -> str:
    """Images [N, 3, r, r] side by side as the address of a PNG file, exact."""
    file = io.BytesIO()
    picture(images, len(images)).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vendor", type=Path, default=Path("build/vendor"))
    options = parser.parse_args()
    make(options.folder, options.vendor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
