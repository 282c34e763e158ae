"""Images as people bring them: formats by content, folders as they lie, files that mean harm."""

import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert.cli import main
from idinvert.data import (
    ImageError,
    images,
    open_source,
    read_image,
    read_images,
    sources,
    to_uint8,
    write_image,
)
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n{} loop\n"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)


def iptc(content):
    """A picture in an IPTC record, which Pillow opens as whatever format it has."""
    def field(tag, data):
        return b"\x1c" + bytes(tag) + len(data).to_bytes(2, "big") + data

    fields = (((3, 60), b"\x01\x00"), ((3, 65), b"\0"), ((3, 20), b"\0\x14"), ((3, 30), b"\0\x14"),
              ((3, 120), b"\x01"), ((8, 10), content))
    return b"".join(field(*part) for part in fields)


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program of that name which leaves a trace."""
    trace = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return trace


@pytest.mark.parametrize("content", [EPS, b"\xc5\xd0\xd3\xc6" + EPS, iptc(EPS)], ids=[
    "eps", "dos", "iptc"])
def test_no_image_starts_a_program(tmp_path, ghostscript, content):
    names = ("a.png", "a.eps", "a.tif", "a")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in names:
            (tmp_path / "photos" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "photos" / name).write_bytes(content)
            archive.writestr(name, content)
            with pytest.raises(ImageError, match="PostScript|not an image of a known format"):
                read_image(tmp_path / "photos" / name, 8)
    for path in (tmp_path / "photos", tmp_path / "photos.zip"):
        source = open_source(path)
        assert list(source.names) == ["a.png", "a.tif"] and list(source.others) == ["a", "a.eps"]
        for name in source.names:
            with pytest.raises(ImageError):
                source.read(name, 8)
    assert not ghostscript.exists()


@pytest.fixture
def mixed(tmp_path):
    """A folder with one picture in many formats, and what is none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for name, kind in (("0.avif", "AVIF"), ("1.jfif", "JPEG"), ("2.jp2", "JPEG2000"),
                       ("3.TGA", "TGA"), ("4.qoi", "QOI"), ("5.dat", "PNG"), ("6", "WEBP"),
                       ("10.png", "PNG"), ("7.mpo", "MPO")):
        try:
            Image.fromarray(pixels).save(folder / name, kind, quality=95)
        except (KeyError, OSError, ValueError):
            pytest.skip(f"this Pillow cannot write {kind}")
    (folder / "8.HEIC").write_bytes(HEIC)
    (folder / "labels.csv").write_text("image,old\n")
    (folder / "empty").touch()
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(99))
    return folder


def test_formats_are_known_by_their_content(mixed, tmp_path):
    shutil.make_archive(str(tmp_path / "mixed"), "zip", mixed)
    for path in (mixed, tmp_path / "mixed.zip"):
        source = open_source(path)
        assert list(source.names) == ["0.avif", "1.jfif", "2.jp2", "3.TGA", "4.qoi", "5.dat", "6",
                                      "7.mpo", "8.HEIC", "10.png"]
        for name in source.names:
            if name != "8.HEIC":
                colour = to_uint8(source.read(name, 8)).float().mean((1, 2))
                assert (colour - torch.tensor([200.0, 100, 50])).abs().max() < 4, name
        assert list(source.others) == ["empty", "labels.csv"]
    _, paths, errors = read_images(mixed, 8, progress=False)  # the same order in the API
    assert [path.name for path in paths] == [name for name in source.names if name != "8.HEIC"]
    assert len(errors) == 1


def test_heic_says_what_to_do(mixed):
    with pytest.raises(ImageError, match="8.HEIC (is HEIC, which needs .* pillow-heif|cannot be)"):
        read_image(mixed / "8.HEIC", 8)


def test_what_is_left_out_is_named(own_registry, mixed, tmp_path, capsys):
    command = ["invert", str(mixed), "--model", "own", "--out", str(tmp_path / "out"), "--device",
               "cpu", "--iterations", "1", "--lambda-vgg", "0"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("9 ok, 0 diverged, 1 unreadable")
    assert "2 files are no images and were left out: empty, labels.csv." in captured.err


def test_linked_folders_are_followed_once_and_results_are_no_images(tmp_path):
    photos = tmp_path / "photos"
    write_image(tmp_path / "elsewhere" / "b.png", torch.zeros(3, 8, 8))
    write_image(photos / "a.png", torch.zeros(3, 8, 8))
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "round").symlink_to(photos)
    (photos / "above").symlink_to(tmp_path)
    for name in ("images/a.png", "comparison.png"):
        write_image(photos / "inverted" / name, torch.zeros(3, 8, 8))
    (photos / "inverted" / "codes").mkdir()
    (photos / "inverted" / "settings.json").write_text("{}")
    write_image(photos / "mine" / "sample-00000.png", torch.zeros(3, 8, 8))  # of a training
    for name in ("settings.json", "log.jsonl"):
        (photos / "mine" / name).write_text("{}")
    source = open_source(photos)
    assert list(source.names) == ["a.png", "linked/b.png"]
    assert list(source.others) == ["inverted/ (results)", "mine/ (results)"]


def test_names_that_are_no_text_can_be_written_and_read(tmp_path):
    folder = os.fsencode(tmp_path) + b"/photos"
    os.mkdir(folder)
    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    try:
        shutil.copy(os.fsencode(tmp_path / "a.png"), folder + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system has names of text alone")
    source = open_source(os.fsdecode(folder))
    assert list(source.names) == ["caf\\xe9.png"] and source.read("caf\\xe9.png", 8).shape[0] == 3
    assert source.names[0].encode()


def test_natural_order_takes_numbers_of_any_length():
    names = ["1" * 6000 + ".png", "02.png", "10.png"]
    assert sorted(names, key=sources.natural) == ["02.png", "10.png", names[0]]


def test_names_that_begin_others_are_sorted(tmp_path):
    """Where one ends, the other goes on with a number: images, and files that are none."""
    for name in ("scan2", "scan", "scan10"):
        write_image(tmp_path / "scan.png", torch.zeros(3, 8, 8))
        (tmp_path / "scan.png").rename(tmp_path / name)
        (tmp_path / f"notes{name[4:]}").write_text("no image")
    source = sources.open_source(tmp_path)
    assert source.names == ["scan", "scan2", "scan10"]
    assert source.others == ["notes", "notes2", "notes10"]


MEMORY = """
import ctypes, io, sys
from PIL import Image
from idinvert.data import open_image

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if name in line)

def peak(mode, kind, side):
    picture, file = Image.new(mode, (side, side), 0), io.BytesIO()
    picture.save(file, kind, **({"transparency": 0} if mode == "P" else {}))
    del picture
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    open_image("x", file.getvalue())
    return 1024 * (status("VmHWM") - before) / side**2

for word in sys.argv[1:]:
    peak(*word.split(), 64)  # imports what it needs
    print(peak(*word.split(), 2000))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_the_largest_image_of_any_mode_takes_less_than_a_gigabyte():
    """Bytes for each pixel at the peak, times the most pixels that Pillow takes."""
    kinds = ["LA PNG", "PA TIFF", "I PPM", "I;16 PNG", "P GIF", "CMYK JPEG", "RGBA PNG",
             "RGB JPEG", "1 PNG"]
    done = subprocess.run([sys.executable, "-c", MEMORY, *kinds], capture_output=True, text=True,
                          check=True)
    for kind, taken in zip(kinds, done.stdout.split(), strict=True):
        assert 4 < float(taken) < 1e9 / Image.MAX_IMAGE_PIXELS, kind


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000"])
def test_images_whose_decoder_takes_much_memory_are_smaller(tmp_path, kind, monkeypatch):
    monkeypatch.setitem(images.LARGEST_DECODED, kind, 1)
    path = tmp_path / "a"
    Image.new("L", (1001, 1000)).save(path, kind)
    with pytest.raises(ImageError, match=f"more than 1 million pixels, too many for {kind}: save"):
        read_image(path, 8)


def test_zips_that_unpack_without_bound_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", bytes(1 << 20))
    with pytest.raises(ImageError, match="a.png is compressed in an uncommon way"):
        open_source(tmp_path / "photos.zip").read("a.png", 8)


@pytest.fixture
def database(tmp_path):
    """The data of an LMDB of 50 images, one of them large."""
    lmdb = pytest.importorskip("lmdb")
    rng = np.random.default_rng(0)
    with lmdb.open(str(tmp_path / "sound")) as environment, \
            environment.begin(write=True) as transaction:
        for i in range(50):
            file = io.BytesIO()
            side = 16 if i else 128
            Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(file, "PNG")
            transaction.put(f"{i:03}".encode(), file.getvalue())
    return (tmp_path / "sound" / "data.mdb").read_bytes()


def test_damaged_databases_end_no_process(tmp_path, database):
    """In one process they end it by SIGBUS or SIGABRT: a truncated download does."""
    rng = np.random.default_rng(1)
    mutants = [database[:size] for size in (0, 100, 8192, len(database) // 2)]
    for _ in range(12):
        data = bytearray(database)
        for place in rng.integers(0, len(data), 200):
            data[place] = rng.integers(256)
        mutants.append(bytes(data))
    read = 0
    for i, data in enumerate(mutants):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "data.mdb").write_bytes(data)
        try:
            source = open_source(tmp_path / str(i))
        except ValueError as error:
            assert "readable LMDB" in str(error) or "holds no image" in str(error)
            continue
        for name in source.names:
            try:
                read += source.read(name, 8).shape == (3, 8, 8)
            except ImageError as error:
                assert name in str(error)
    assert read  # what is sound in a damaged one is not lost


def test_a_database_can_be_opened_twice(tmp_path, database):
    first, second = open_source(tmp_path / "sound"), open_source(tmp_path / "sound" / "data.mdb")
    assert list(first.names) == list(second.names) and len(first.names) == 50
    assert torch.equal(first.read("000", 8), second.read("000", 8))


def test_a_database_may_be_asked_after_a_long_time(tmp_path, database, monkeypatch):
    """While a batch was inverted, its reader ended: the first image of each batch was left out."""
    program = Path(sources.__file__).with_name("lmdb_reader.py").read_text()
    assert "SECONDS = 20" in program
    (tmp_path / "lmdb_reader.py").write_text(program.replace("SECONDS = 20", "SECONDS = 1"))
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    source = open_source(tmp_path / "sound")
    first = source.read("000", 8)
    time.sleep(1.5)
    assert torch.equal(source.read("000", 8), first)
