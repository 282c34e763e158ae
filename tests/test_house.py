"""The rooms of the library: an import never points back up (DESIGN: nn <- losses, codes <- ..)."""

import ast
import subprocess
import sys
from pathlib import Path

import idinvert
import pytest
from idinvert.provenance import imported, source_of

LIB = Path(idinvert.__file__).parent
TOOLS = {"registry", "settings", "provenance", "files", "devices", "processes"}
LEVELS = [  # a room may import rooms of lower levels, and itself
    TOOLS,
    {"nn"},
    {"losses", "codes", "data"},
    {"boundaries", "metrics"},
    {"models"},
    {"photographs"},
    {"inversion"},
    {"training"},
    {"study"},
    {"publish"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
MODULES = sorted(
    ".".join(("idinvert", *path.relative_to(LIB).with_suffix("").parts)).removesuffix(".__init__")
    for path in LIB.rglob("*.py")
)


def room(module):
    return (module.split(".") + [""])[1]


@pytest.mark.parametrize("module", [m for m in MODULES if room(m)])
def test_imports_point_down(module):
    for other in imported(module):
        if other.startswith("idinvert.") and source_of(other) and room(other) != room(module):
            assert room(other) in LEVEL, f"{other} is in no room"
            below = LEVEL[room(other)] < LEVEL[room(module)]
            assert below or {room(other), room(module)} <= TOOLS, (
                f"{module} imports {other}, which is not below it")


def test_networks_know_nothing_of_the_project():
    allowed = {"idinvert", "idinvert.registry", "idinvert.settings"}
    for module in MODULES:
        if room(module) == "nn":
            others = {m for m in imported(module) if source_of(m) and room(m) != "nn"}
            assert others <= allowed, f"{module} imports {others - allowed}"


def test_sections_do_not_import_one_another():
    sections = [m for m in MODULES if m.startswith("idinvert.study.sections.")]
    for module in sections:
        others = [m for m in imported(module) if m in sections and m != module]
        assert not others, f"{module} imports {others}"


def test_the_renderer_knows_nothing_of_the_library():
    for path in LIB.parent.glob("worlds/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "idinvert" for name in names), path


def test_import_is_light():
    """Neither scikit-learn nor matplotlib nor the renderer come with `import idinvert`."""
    code = ("import sys, idinvert;"
            "heavy = {'sklearn', 'matplotlib', 'worlds', 'pandas', 'IPython', 'dlib'};"
            "found = heavy & {name.split('.')[0] for name in sys.modules}; assert not found, found")
    subprocess.run([sys.executable, "-c", code], check=True)
