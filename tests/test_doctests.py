"""Examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import idinvert
import pytest

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
MODULES = ["idinvert", *(module.name for module in pkgutil.walk_packages(
    idinvert.__path__, "idinvert.") if not module.name.endswith("__main__"))]
FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples(module):
    loaded = importlib.import_module(module)
    return [test for test in FINDER.find(loaded, module) if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    failures = []
    for test in examples(module):
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_there_are_examples():
    """Of the public surface, and of the tools that others build on."""
    for module in ("idinvert", "idinvert.inversion.model", "idinvert.registry",
                   "idinvert.settings"):
        assert examples(module), f"{module} has no example"
