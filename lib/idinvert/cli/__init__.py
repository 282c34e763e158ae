"""The command `idinvert`. A subcommand is a module of this package, imported when it is called.

The module's docstring is its help: a first line, an example, what comes out. Its function
`main(arguments)` reads the options with `read_options`, does the work and returns None or a status.
Whatever it raises becomes one sentence and a status here, and nowhere else: 1 for an error, 2 for
a command line that cannot be understood, 130 where the user stopped it.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import errno
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import idinvert

Options = TypeVar("Options")

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1]
WITHOUT_BATCH = ("bench", "book", "boundaries", "data", "export", "import", "run")  # commands
# Places that cannot be used
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
NARROWEST = 40  # columns of a terminal
UNFINISHED = r"\.([^/]+)\.\d+\.partial$"  # as `files.replacing` names a file that is being written
# Where a package is not named like its module
DISTRIBUTIONS = {"sklearn": "scikit-learn", "dlib": "dlib-bin"}


class UsageError(ValueError):
    """A command line that cannot be understood; the message is one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = [at_home(word) for word in argv if word != "--traceback"]
    name = next(iter(arguments), "")
    prepare_output()
    with warnings.catch_warnings():
        warnings.showwarning = partial(show_warning, set())
        try:
            check_words(arguments)
            return call(name, arguments[1:]) or 0
        except (Exception, KeyboardInterrupt) as error:
            if "--traceback" in argv:
                traceback.print_exc()
            if isinstance(error, BrokenPipeError):  # whoever read the output has had enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
            command = f"idinvert {name}" if name in commands() else "idinvert"
            if isinstance(error, KeyboardInterrupt):
                print(f"{command}: stopped; the same command continues.", file=sys.stderr)
                return 130
            again = shlex.join(["idinvert", "--traceback", *arguments])
            print(f"{command}: error: {shown(explained(error, name, again))}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1


def at_home(word: str) -> str:
    """A word of the command line, with the home folder for the ~ of --out=~/results, which shells
    leave as it is: results went into a folder called ~."""
    option, equals, value = word.partition("=")
    return f"{option}={os.path.expanduser(value)}" if option.startswith("--") and equals else word


def prepare_output() -> None:
    """Let nothing that is said fail: neither where nobody listens nor for letters that a terminal
    does not know, nor for want of columns, in which help would be wrapped for ever."""
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # it was closed
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(getattr(sys, stream), "reconfigure"):
            getattr(sys, stream).reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = io.TextIOWrapper(Unfailing(sys.stderr.fileno(), "wb", closefd=False),
                                      sys.stderr.encoding, "backslashreplace", write_through=True)


class Unfailing(io.FileIO):
    """A stream of what is said along the way: where it cannot be written, as to a full disk or a
    terminal that was closed, it is lost, and the work goes on."""

    def write(self, data: Any) -> int:
        """Write bytes; returns how many were given."""
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


def check_words(words: Sequence[str]) -> None:
    """UsageError where a word would mean the folder that the command is in, or that is gone."""
    if not all(words):
        raise UsageError("a word of the command line is empty, as of a variable that is not set.")
    try:
        os.getcwd()
    except OSError:
        raise UsageError("the folder that this terminal is in has been removed: change to another "
                         "one.") from None


def call(name: str, arguments: list[str]) -> int | None:
    """Run the subcommand `name`, or what the command does without one."""
    if name in ("", "-h", "--help"):
        print(overview())
        return None if name else 2
    if name == "--version":
        print(version())
        return None
    known = commands()
    if name not in known:
        from idinvert.registry import nearest

        raise UsageError(f"there is no command {name!r}: {nearest(name, known)}")
    return importlib.import_module(f"{__name__}.{known[name]}").main(arguments)


def commands() -> dict[str, str]:
    """The module of every subcommand; one that is named like a word of Python ends in "_"."""
    return {path.stem.rstrip("_"): path.stem for path in sorted(HERE.glob("*.py"))
            if not path.stem.startswith("_")}


def overview() -> str:
    """The help of the whole command: every subcommand with the first line of its docstring."""
    lines = []
    for name, module in commands().items():
        described = ast.get_docstring(ast.parse((HERE / f"{module}.py").read_text("utf-8")))
        lines.append(f"  {name:12}{described.splitlines()[0]}")
    return "\n".join((
        "usage: idinvert COMMAND ..", "", "In-domain GAN inversion of photographs.", "", *lines, "",
        "  idinvert invert photo.jpg              # inverted/images/photo.png and its code",
        "  idinvert edit photo.jpg age=+3         # edited.png",
        "  idinvert interpolate a.jpg b.jpg       # between.png", "",
        "`idinvert COMMAND --help` describes a command. Every command takes --traceback, which",
        "shows where an error comes from; `idinvert --version` shows the version."))


def version() -> str:
    """The version and the commit, which a checkout asks git for and a package carries."""
    root, carried, commit = LIBRARY.parent, HERE.with_name("COMMIT"), ""
    if carried.exists():
        commit = carried.read_text().strip()
    elif (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
        with contextlib.suppress(OSError):
            commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return f"idinvert {idinvert.__version__}{f' (commit {commit})' if commit else ''}"


def given(options: Any) -> list[str]:
    """Names of the options that are not as they are by default."""
    return [field.name for field in dataclasses.fields(options)
            if getattr(options, field.name) != field.default]


def read_options(kind: type[Options], arguments: Sequence[str], module: str,
                 described: str) -> Options:
    """Options of a typed class, or of one of several, from a command line.

    Args:
        module: the module of the subcommand, after which the command is named in its help.
        described: what the help says, a module's docstring.

    UsageError: a command line that does not fit. SystemExit after --help.
    """
    import tyro

    from idinvert.settings import SettingsError, check_values

    name = module.rpartition(".")[2].rstrip("_")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            found = tyro.cli(kind, prog=f"idinvert {name}", args=list(arguments),
                             description=described, config=(
                                 tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes,
                                 tyro.conf.OmitSubcommandPrefixes, tyro.conf.DisallowNone,
                                 tyro.conf.PositionalMetavarFromFieldName))
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(usage_sentence(errors.getvalue(), f"idinvert {name}", arguments)) from None
    try:
        check_values(found)
    except SettingsError as error:
        raise UsageError(f"{error} See `idinvert {name} --help`.") from None
    return found


def shown(text: str) -> str:
    """Text on one line, without characters that a terminal would obey: files say anything."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}",
                  " ".join(text.split()))


def usage_sentence(box: str, command: str, arguments: Sequence[str]) -> str:
    """The sentence in a box that tyro draws, or underlines if there is no Unicode, with what it
    proposes instead."""
    lines = [line.strip(" │") for line in box.splitlines() if line[:1] not in ("╭", "╰")]
    parts = [" ".join(part.split()) for part in re.split(r"\n[─-]{5,}\n", "\n".join(lines))]
    if not box.startswith("╭"):  # then the title is a part too
        parts = parts[1:]
    first = re.sub(r"no type matching .* - .*[>\]]: ", "", parts[0])
    first = re.sub(r"^Error parsing [\w-]+: (?=\w+: )", "", first)  # settings name it
    found = first.replace(" (required)", "").replace("• ", "").rstrip(".")
    hints = [f": p{part[1:]}" for part in parts[1:] if part.startswith("Perhaps")]
    word = found.removeprefix("Unrecognized options: ").partition(", ")[0]
    if word in arguments and not word.startswith("-") and any(
            before.startswith("--") for before in arguments[:arguments.index(word)]):
        hints = [": put it beside the other files and words, before or after all options"]
    return f"{found}{''.join(hints)}; see `{command} --help`."


def explained(error: Exception, command: str, again: str) -> str:
    """One sentence on an error of a command.

    again: the command that shows where the error comes from, for those that nobody foresaw.
    """
    from idinvert.devices import is_out_of_memory

    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return "out of memory: " + (
            "this needs a machine that has more, or fewer other programs on it."
            if command in WITHOUT_BATCH else
            "take a smaller --batch, or fewer or smaller images.")
    if (getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            or "No space left on device" in text):
        return (f"the disk is full{of_file(error)}: free some space, then the same command "
                "continues.")
    if isinstance(error, ModuleNotFoundError) and error.name and not is_ours(error.name):
        return missing_package(error.name, command)
    if isinstance(error, FileExistsError) and is_path(error.filename):
        place = Path(os.fsdecode(error.filename))
        what = "a link to nothing" if place.is_symlink() and not place.exists() else "no folder"
        hint = remedy(error) or ": remove it, or name another one"
        return f"{place} is {what}, where a folder is to be{hint}."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{of_file(error)}{remedy(error)}."
    if text.startswith("Symlink loop from"):  # an OSError from Python 3.13 on
        return f"{text.removeprefix('Symlink loop from ')} is a link that leads to itself."
    if "Could not determine home directory" in text:
        return ("there is no home folder for a place that begins with ~: set HOME, or "
                "IDINVERT_CACHE and IDINVERT_MODELS, to a folder that there is.")
    if isinstance(error, UnicodeEncodeError):  # a name, of a file to be written
        return (f"{error.object[error.start]!r} cannot be written in the character set of this "
                "system: set the environment variable PYTHONUTF8=1.")
    if isinstance(error, OverflowError) or "without overflow" in text or "overflowed" in text:
        return "a number among the options is too large to compute with."
    if isinstance(error, Warning):  # which PYTHONWARNINGS makes an error
        return text
    if not isinstance(error, AssertionError) and raised_on_purpose(error):
        return text
    reason = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    return f"{reason.rstrip('.')} (not foreseen; `{again}` shows where)."


def is_ours(module: str) -> bool:
    """Whether a module belongs to this project."""
    return module.partition(".")[0] in ("idinvert", "worlds")


def raised_on_purpose(error: BaseException) -> bool:
    """Whether a `raise` statement of this project raised the error, not what it calls."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file = Path(frame.filename)
    return file.is_relative_to(LIBRARY) and is_ours(file.relative_to(LIBRARY).parts[0]) and (
        frame.line or "raise").startswith("raise")


def of_file(error: BaseException) -> str:
    """`: NAME` of the file that an error is about, if it names one; of one that was to be replaced,
    not of what is written in between."""
    name = getattr(error, "filename", None)
    return ": " + re.sub(UNFINISHED, r"\1", os.fsdecode(name)) if is_path(name) else ""


def is_path(name: object) -> bool:
    """Whether an error names a file, not nothing and not a number."""
    return isinstance(name, str | bytes | os.PathLike) and bool(name)


def remedy(error: OSError) -> str:
    """The end of a sentence on a place of the command's own that cannot be used: the variable that
    names another one."""
    from idinvert import models
    from idinvert.files import cache_folder
    from idinvert.training import runs

    if error.errno not in CLOSED or not is_path(error.filename):
        return ""
    place = Path(os.fsdecode(error.filename)).absolute()
    for variable, folder in (("IDINVERT_RUNS", runs.run_folder("")),
                             ("IDINVERT_MODELS", models.folder()),
                             ("IDINVERT_MODELS", runs.log_folder()),
                             ("IDINVERT_CACHE", cache_folder(""))):
        if place.is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(place):
            return f": set {variable} to a folder that you may write to"
    return ""


def check_image(*paths: Path, read: Sequence[Path]) -> None:
    """UsageError, before work whose result would be lost, if no image can have a file's name; other
    errors as `check_target`."""
    from idinvert.data.images import ImageError, format_of

    for path in paths:
        try:
            format_of(path)
        except ImageError as error:
            raise UsageError(str(error)) from None
    check_target(*paths, read=read)


def check_target(*paths: Path, read: Sequence[Path] = ()) -> None:
    """UsageError if a file to be written would replace one of those that are read, or another one
    in a folder of those, or of results of an inversion, or what is no file, as a folder or a
    device; OSError as `check_writable`."""
    taken = {other.resolve() for other in read}
    for path in paths:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'no file'}, where a "
                             "file is to be written: name another one.")
        place = path.resolve()
        if place in taken or place.exists() and (
                is_result(place) or not taken.isdisjoint(place.parents)):
            raise UsageError(f"{path} would replace a file that is there: name another one, "
                             "outside of the folders of photographs and of results.")
    check_writable(*{path.parent for path in paths})


def is_result(place: Path) -> bool:
    """Whether a file is one that `idinvert invert` made, or makes, in a folder of its results."""
    from idinvert.data.sources import holds_results
    from idinvert.inversion.results import PLACES

    return any(place.is_relative_to(folder / own) for folder in place.parents
               if holds_results(folder) for own in (*PLACES, "settings.json"))


def check_writable(*folders: Path) -> None:
    """PermissionError, before work whose result would be lost, if a folder cannot be written to,
    or made; FileExistsError if that is for a link to nothing."""
    from idinvert.models.cards import writable

    for folder in folders:
        for place in (folder, *folder.parents):
            if place.is_symlink() and not place.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
        if not writable(folder):
            raise PermissionError(errno.EACCES, "Cannot be written to", str(folder.absolute()))


def missing_package(module: str, command: str) -> str:
    """What to install for a module: the extra of the command's name, else one that has the module,
    else its package."""
    module = module.partition(".")[0]
    package = DISTRIBUTIONS.get(module, module.replace("_", "-"))
    extras = []
    with contextlib.suppress(metadata.PackageNotFoundError):  # a checkout that is not installed
        about = metadata.metadata("idinvert")
        extras = [x for x in about.get_all("Provides-Extra", []) if x == command]
        required = about.get_all("Requires-Dist", [])
        extras += [line.rpartition("==")[2].strip(" '\"") for line in required
                   if re.match(rf"{re.escape(package)}\b.*extra ==", line, re.IGNORECASE)]
    what = f"'idinvert[{extras[0]}]'" if extras else package
    return f"this needs the package {package}: install it with pip install {what}."


def show_warning(told: set[str], message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as one line on standard error, without the line of code that gave it; those that
    were told already are not repeated."""
    from tqdm import tqdm

    said = shown(str(message))
    if said not in told:
        told.add(said)
        tqdm.write(f"idinvert: warning: {said}", file=sys.stderr)  # above a progress bar
