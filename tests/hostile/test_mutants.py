"""Damaged and malicious files are read or refused in one sentence: no code of theirs runs, nothing
is written outside, no process ends, grows beyond its memory or its time."""

import io
import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from idinvert.boundaries import Boundary
from idinvert.boundaries import save as save_boundaries
from idinvert.data import write_image
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "models" / "importers"))
import test_convert_boundaries  # noqa: E402
import test_nvidia  # noqa: E402
import test_rosinality  # noqa: E402
from readers import READERS, examine  # noqa: E402
from test_nvidia import trace, write  # noqa: E402, F401

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["idinvert.cli", "pandas", "torch._dynamo", "readers"])
PATIENCE = 300  # seconds of the clock for one file
SHORT = 30


def torch_file(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def npy(content):
    file = io.BytesIO()
    np.save(file, content, allow_pickle=True)
    return file.getvalue()


def image(kind, mode="RGB"):
    file = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.fixture
def sound(write, tmp_path):  # noqa: F811
    """A function that gives sound files of a reader."""
    torch.manual_seed(0)

    def pickles():
        return [write(protocol, G_ema=test_nvidia.generator()).read_bytes() for protocol in (2, 4)]

    def zips():
        import zipfile
        for name in ("a.png", "b/c.jpg"):
            write_image(tmp_path / name, torch.rand(3, 9, 12) * 2 - 1)
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name in ("a.png", "b/c.jpg"):
                archive.write(tmp_path / name, name)
        return [(tmp_path / "photos.zip").read_bytes()]

    def databases():
        import lmdb
        place = str(tmp_path / "lmdb")
        with lmdb.open(place, map_size=1 << 20) as base, base.begin(write=True) as transaction:
            for i in range(3):
                transaction.put(b"key%d" % i, image("WEBP") + bytes(3000))
        return [(tmp_path / "lmdb" / "data.mdb").read_bytes()]

    def safe():
        save_boundaries([Boundary("age", torch.ones(4, 4) / 4, 0.5, (0, 1))], tmp_path / "b")
        tensors = {"a": torch.rand(3, 4), "b": torch.rand(5).half()}
        return [(tmp_path / "b").read_bytes(), safetensors.torch.save(tensors)]

    normal = test_convert_boundaries.NORMAL
    profile = Path(__file__).parents[2] / "notebooks" / "profiles" / "smoke.yml"
    state = {"g_ema": test_rosinality.generator(1)}
    made = {
        "pickle": pickles, "zip": zips, "lmdb": databases, "safetensors": safe,
        "torch": lambda: [torch_file(state)],
        "torch-legacy": lambda: [torch_file(state, _use_new_zipfile_serialization=False)],
        "npy": lambda: [npy(normal), npy({"boundary": normal, "meta_data": {}})],
        "image": lambda: [image(kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")],
        "csv": lambda: [b"image,age,smile\na.png,1,0\nb.png,0,1\nc.png,,-1\n"],
        "yaml": lambda: [profile.read_bytes()],
    }
    return lambda reader: made[reader]()


def examined(reader, sound, folder, mutants):
    """Outcomes of so many mutants: how many were read and refused, and the faults by number."""
    counts, faults, left = Counter(), {}, list(range(mutants))
    while left:
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=examine, args=(reader, sound, folder, left, theirs))
        process.start()
        theirs.close()
        begun = None
        try:
            while ours.poll(PATIENCE):
                number, outcome = ours.recv()
                begun = number
                if outcome is None:
                    continue
                left.remove(number)
                if outcome in ("read", "refused"):
                    counts[outcome] += 1
                else:
                    faults[number] = outcome
        except EOFError:
            pass
        process.kill()
        process.join()
        if begun is None:
            raise RuntimeError((folder / "output").read_text())
        if begun in left:
            left.remove(begun)
            faults[begun] = f"the process ended with {process.exitcode}"
    return counts, faults


@pytest.mark.parametrize("mutants", [SHORT, pytest.param(1000, marks=pytest.mark.hostile)])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_read_or_refused(reader, mutants, sound, tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    counts, faults = examined(reader, sound(reader), folder, mutants)
    print(f"\n{reader}: {mutants} mutants, {counts['read']} read, {counts['refused']} refused, "
          f"{len(faults)} faults")
    assert not faults, "\n".join(f"{number}: {what}" for number, what in faults.items())
    assert counts["refused"] >= mutants // 5
