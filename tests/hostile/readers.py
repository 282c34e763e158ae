"""Every reader of files from elsewhere, a watched process that reads, and what it must not do."""

import contextlib
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from idinvert import boundaries, data, models
from idinvert.boundaries.labelled import read_labels
from idinvert.cli import raised_on_purpose
from idinvert.data import open_source, read_image
from idinvert.models import importing, store
from idinvert.study import profiles
from mutants import mutant

MEMORY = 2 << 30  # bytes beyond those of a process that has imported everything
SECONDS = 20  # of the processor, for one file


def import_network(path):
    importing.import_file(path, "new", replace=True)


def import_boundary(path):
    importing.import_file(path, "own", "age", replace=True)


def read_safetensors(path):
    """As weights of the registry; as boundaries too, if the first is refused by them alone."""
    store.read(path)
    boundaries.load(path)


def read_source(path):
    """All images of a zip or an LMDB."""
    source = open_source(path)
    errors = []
    for name in source.names:
        try:
            source.read(name, 8)
        except ValueError as error:
            errors.append(error)
    if errors:
        raise errors[0]


READERS = {  # name: (file, kind of damage, function)
    "pickle": ("network.pkl", "pickle", import_network),
    "torch": ("network.pt", "zip", import_network),
    "torch-legacy": ("network.pth", "pickle", import_network),
    "npy": ("age.npy", "pickle", import_boundary),
    "safetensors": ("weights.safetensors", "json", read_safetensors),
    "image": ("image.png", "bytes", lambda path: read_image(path, 8)),
    "zip": ("photos.zip", "zip", read_source),
    "lmdb": ("data.mdb", "bytes", read_source),
    "csv": ("labels.csv", "csv", read_labels),
    "yaml": ("profile.yml", "yaml", lambda path: profiles.load(str(path))),
}
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
             "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "pty.spawn",
             "webbrowser.open", "ftplib.connect", "urllib.Request", "os.putenv")
STARTING = ("subprocess.Popen", "os.posix_spawn")  # from Python 3.13 on the first does the second
OWN_PROGRAM = str(Path(data.__file__).with_name("lmdb_reader.py"))
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod",
            "os.chown", "os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile")
DANGEROUS = ("os", "posix", "nt", "subprocess", "sys", "shutil", "importlib", "builtins.eval",
             "builtins.exec", "builtins.open", "builtins.getattr", "builtins.__import__")


class Watch:
    """An audit hook that notes what no file may make a reader do; it writes in `folder` alone."""

    def __init__(self, folder):
        self.folder, self.found, self.active = folder, [], False
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.active and self.is_fault(event, arguments):
            self.found.append(f"{event} {str(arguments)[:100]}")

    def is_fault(self, event, arguments):
        if event in STARTING and OWN_PROGRAM in map(str, arguments[1]):
            return False
        if event in FORBIDDEN:
            return True
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return bool(writes) and self.is_outside(arguments[0])
        if event in CHANGING:
            return self.is_outside(arguments[0])
        return event == "pickle.find_class" and any(
            name in DANGEROUS for name in (arguments[0], ".".join(arguments[:2])))

    def is_outside(self, path):
        path = os.path.abspath(os.fsdecode(path))
        return not path.startswith((str(self.folder), "/dev/null"))


def examine(name, sound, folder, numbers, answers):
    """Read mutants, one after the other; sends (number, None) before and (number, outcome) after
    each. An outcome is "read", "refused", or what is wrong."""
    prepare(folder)
    file, kind, read = READERS[name]
    path, watch = folder / "in" / file, Watch(folder)
    os.chdir(folder)
    for content in sound:  # imports what it needs
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            read(path)
    limit_memory()
    for number in numbers:
        path.write_bytes(mutant(sound, kind, f"{name} {number}"))
        answers.send((number, None))
        watch.active = True
        outcome = attempt(read, path)
        watch.active = False
        if watch.found or (folder / "ran").exists():
            outcome = f"it did {watch.found or 'run code'}"
            watch.found.clear()
        answers.send((number, outcome))
    answers.close()
    os._exit(0)


def prepare(folder):
    """A registry with a generator, quiet output, clean exits."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    (folder / "in").mkdir(exist_ok=True)
    os.environ["IDINVERT_MODELS"] = str(folder / "registry")
    os.dup2(os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    from idinvert.nn.stylegan2 import Generator

    models.save("own", Generator(16, channel_base=64, channel_max=4, z_dim=4, w_dim=4))

    def late(*_):
        raise TimeoutError(f"more than {SECONDS} s of the processor")

    signal.signal(signal.SIGPROF, late)


def limit_memory():
    """Let the process grow by MEMORY at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def attempt(read, path):
    """What comes of reading a file."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(path)
        return "read"
    except Exception as error:
        text = str(error)
        documented = isinstance(error, ValueError) and raised_on_purpose(error)
        if documented and text.endswith((".", "?")) and "\n" not in text:
            return "refused"
        return f"{type(error).__name__}: {text[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        time.sleep(0)
