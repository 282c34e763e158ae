"""Which code a result depends on: a hash of modules and of everything of this project that they
import.

Comments, docstrings and layout do not count, so that better words leave results valid.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import pkgutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("idinvert", "worlds")


def code_hash(modules: Iterable[str], without: Iterable[str] = ()) -> str:
    """16 hexadecimal digits that name the code of modules and of what they import, directly or not.

    without: modules that are taken not to matter, such as those that only draw; of a package, all
    of it.
    """
    digest = hashlib.sha256()
    for module, code in code_hashes(modules, without).items():
        digest.update(f"{module} {code}\n".encode())
    return digest.hexdigest()[:16]


def code_hashes(modules: Iterable[str], without: Iterable[str] = ()) -> dict[str, str]:
    """The same of each module by itself, in alphabetical order."""
    found = sorted(closure(modules, without))
    return {module: source_hash(source_of(module))[:16] for module in found}


def closure(modules: Iterable[str], without: Iterable[str] = ()) -> set[str]:
    """The modules of this project that some of its modules need, themselves included."""
    found: set[str] = set()
    skipped, waiting = tuple(f"{name}." for name in without), list(modules)
    while waiting:
        module = waiting.pop()
        skip = f"{module}.".startswith(skipped)
        if module not in found and not skip and source_of(module):
            found.add(module)
            waiting += imported(module)
    return found


@functools.cache
def source_of(module: str) -> Path | None:
    """The file of a module of this project; None for a namespace package or an unknown name."""
    try:
        spec = find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@functools.cache
def imported(module: str) -> tuple[str, ...]:
    """The modules of this project that one of them imports, at any depth of its code."""
    path = source_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(imports_of(path.read_text(), package))


def imports_of(code: str, package: str = "") -> list[str]:
    """The modules of this project that a piece of code in `package` imports, itself or through a
    registry that it makes: `Registry("metric", package="idinvert.metrics")`."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Registry":
            texts = [a.value for a in (*node.args, *(k.value for k in node.keywords))
                     if isinstance(a, ast.Constant)]
            found += [name for text in texts for name in modules_in(str(text))]
    return [name for name in found if name.split(".")[0] in PROJECT]


def modules_in(package: str) -> list[str]:
    """The modules of a package of this project; none if the text names no such package."""
    if package.split(".")[0] not in PROJECT or not source_of(package):
        return []
    return [f"{package}.{module.name}"
            for module in pkgutil.iter_modules([source_of(package).parent])]


@functools.cache
def source_hash(path: Path) -> str:
    """SHA-256 of the syntax of a file, without comments and docstrings."""
    return syntax_hash(path.read_text())


def syntax_hash(code: str) -> str:
    """SHA-256 of the syntax of a piece of code, without comments and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_text(body[0]):
            body[0].value = ast.Constant("")
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a string alone, as docstrings are."""
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))
