"""Images of the user's own: every kind of source gives the same images, and no more than those."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from idinvert.data import (
    ImageError,
    load_images,
    open_source,
    read_image,
    read_images,
    sources,
    write_image,
)

NAMES = ["9.png", "10.png", "b/1.png"]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    for name in NAMES:
        write_image(tmp_path / "photos" / name, torch.rand(3, 12, 20) * 2 - 1)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "._9.png").write_bytes(b"resource fork")
    return tmp_path / "photos"


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


def database(folder, path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        for i, name in enumerate(NAMES):
            transaction.put(f"{i:040x}".encode(), (folder / name).read_bytes())
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "lmdb"])
def test_every_kind_gives_the_same_images_in_natural_order(folder, tmp_path, kind):
    path = {"folder": lambda: folder, "zip": lambda: zipped(folder, tmp_path / "photos.zip"),
            "lmdb": lambda: database(folder, tmp_path / "lmdb")}[kind]()
    source = open_source(path)
    assert len(source.names) == 3
    if kind != "lmdb":
        assert list(source.names) == NAMES
    for name, file in zip(source.names, NAMES):
        for crop in (True, False):
            expected = read_image(folder / file, 8, crop)
            assert torch.equal(source.read(name, 8, crop), expected)


def test_one_file_is_a_source(folder):
    source = open_source(folder / "9.png")
    assert list(source.names) == ["9.png"] and source.read("9.png", 8).shape == (3, 8, 8)


def test_bad_images_are_named_and_left_out(folder, tmp_path):
    data = bytearray((folder / "9.png").read_bytes())
    (folder / "8.png").write_bytes(data[:-30])
    path = zipped(folder, tmp_path / "photos.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:  # damage what is stored of 10.png
        content[archive.getinfo("10.png").header_offset + 60] ^= 255
    path.write_bytes(content)
    images, kept, errors = load_images(open_source(path), 8, progress=False)
    assert kept == ["9.png", "b/1.png"] and images.shape == (2, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert [str(e).split()[0] for e in errors] == ["8.png", "10.png"]


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png", "C:/x.png", "..\\x.png"])
def test_zips_with_names_that_leave_their_folder_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("fine.png", b"")
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match="leaves its folder"):
        open_source(tmp_path / "photos.zip")


def large_png(side):
    """A valid PNG of side x side black pixels, some kilobytes long."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))


def test_a_source_of_nothing_is_refused():
    with pytest.raises(ValueError, match="Name a folder"):
        open_source()


@pytest.mark.parametrize("path", ["/dev/zero", "pipe"])
def test_what_has_no_end_is_not_read(path, tmp_path):
    if path == "pipe":
        path = tmp_path / "pipe.png"
        os.mkfifo(path)
    with pytest.raises(ValueError, match="is no folder, zip, LMDB or image file"):
        open_source(path)


def test_image_bombs_are_refused(folder):
    (folder / "bomb.png").write_bytes(large_png(10_000))
    assert (folder / "bomb.png").stat().st_size < 50_000
    with pytest.raises(ImageError, match="bomb.png has more than 89 million pixels"):
        open_source(folder).read("bomb.png", 8)


def test_zip_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_FILE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(2 << 20))
    with pytest.raises(ImageError, match="bomb.png has more than 1 MB"):
        open_source(tmp_path / "photos.zip").read("bomb.png", 8)


@pytest.mark.parametrize("make, message", [
    (lambda path: path.mkdir(), "holds no image files"),
    (lambda path: path.write_bytes(b"x"), "is no folder, zip, LMDB or image file"),
    (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), "zip file: copy or download it again"),
    (lambda path: path.mkdir() or (path / "data.mdb").write_bytes(b"x" * 9000), "no readable LMDB"),
])  # fmt: skip
def test_other_sources_are_refused(tmp_path, make, message):
    if "LMDB" in message and "readable" in message:
        pytest.importorskip("lmdb")
    make(tmp_path / "source")
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path / "source")
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "missing")


def test_splits_are_those_of_the_paper():
    train, test = sources.split(70_000, "ffhq")
    assert (train[0], train[-1], len(train)) == (0, 64_999, 65_000)
    assert (test[0], test[-1], len(test)) == (65_000, 69_999, 5_000)
    train, test = sources.split(708_264, "lsun", seed=3)
    assert len(set(train)) == 100_000 and train.max() < 600_000
    assert len(set(test)) == 5_000 and 600_000 <= test.min() and test.max() < 708_264
    again, other = sources.split(708_264, "lsun", 3), sources.split(708_264, "lsun", 4)
    assert np.array_equal(train, again[0]) and not np.array_equal(train, other[0])
    with pytest.raises(ValueError, match="ffhq needs 70000 images, but there are 9"):
        sources.split(9, "ffhq")
    with pytest.raises(ValueError, match="Unknown split"):
        sources.split(9, "celeba")


def test_keys_become_names_of_files():
    assert sources.key_name(b"0a1f") == "0a1f"
    for key in (b"../x", b"..", b"a/b", b"\xff", b""):
        assert sources.key_name(key) == key.hex()


def test_images_are_read_from_memory(folder):
    """An archive gives bytes: no file of theirs is ever looked up."""
    data = io.BytesIO((folder / "9.png").read_bytes()).getvalue()
    source = sources.Source(["9.png"], lambda name: data)
    assert torch.equal(source.read("9.png", 8), read_image(folder / "9.png", 8))


def test_a_closed_folder_loses_no_other_images(tmp_path, monkeypatch):
    for name in ("a.png", "closed/b.png"):
        write_image(tmp_path / name, torch.zeros(3, 8, 8))
    plain = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: plain(path, mode)
                        and "closed" not in str(path))
    source = open_source(tmp_path)
    assert source.names == ["a.png"] and source.others == ["closed/ (no permission)"]


def test_links_to_nothing_are_named(tmp_path):
    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    (tmp_path / "b.png").symlink_to("nowhere.png")
    (tmp_path / "c.png").symlink_to("c.png")
    source = open_source(tmp_path)
    assert source.names == ["a.png"] and source.others == ["b.png", "c.png"]


def test_names_are_on_one_line_and_obeyed_by_no_terminal(tmp_path):
    image = tmp_path / "plain.png"
    write_image(image, torch.zeros(3, 8, 8))
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a\nb.png", "\x1b[31m.png"):
            (folder / name).write_bytes(image.read_bytes())
            archive.writestr(name, image.read_bytes())
    for source in map(open_source, (folder, tmp_path / "a.zip")):
        assert sorted(source.names) == ["\\x1b[31m.png", "a\\x0ab.png"]
        assert source.read("a\\x0ab.png", 8).shape == (3, 8, 8)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for _ in range(2):
            archive.writestr("a.png", b"image")
    with pytest.raises(ValueError, match="has the name 'a.png' twice"):
        open_source(tmp_path / "a.zip")


def test_files_that_would_pass_for_one_another_are_refused(tmp_path, monkeypatch):
    """As names are written, two files have the same one: an image was left out without a word, or
    got the results of another one."""
    image = tmp_path / "image"
    write_image(tmp_path / "plain.png", torch.zeros(3, 8, 8))
    (tmp_path / "plain.png").rename(image)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a\n.png", "a\\x0a.png"):
        (folder / name).write_bytes(image.read_bytes())
    for read in (open_source, lambda place: read_images(place, 8)):
        with pytest.raises(ValueError, match="x0a.png' twice"):
            read(folder)
    for names in (("a.png", "./a.png"), ("a//b.png", "a/b.png"), ("a/./b.png", "a/b.png")):
        with pytest.raises(ValueError, match="b?.png' twice"):
            open_source(packed(tmp_path / "a.zip", image, names))
    monkeypatch.setattr(sources.LMDBReader, "start", lambda _: [b"ab", b"\xab"])
    with pytest.raises(ValueError, match="'ab' twice"):
        sources.lmdb_source(tmp_path)


def test_odd_names_in_a_zip_are_those_of_the_unpacked_files(tmp_path):
    image = tmp_path / "plain.png"
    write_image(image, torch.zeros(3, 8, 8))
    source = open_source(packed(tmp_path / "a.zip", image, (".", "./", "./a.png", "b//c/./d.png")))
    assert source.names == ["a.png", "b/c/d.png"]
    assert source.read("b/c/d.png", 8).shape == (3, 8, 8)


def packed(path, image, names):
    """A zip with an image under each of some names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), image.read_bytes())
    return path


def test_paths_without_images_are_left_out_of_several(folder, tmp_path):
    """photos/* is what somebody writes, and a shell puts all that is there in its place."""
    empty, notes = tmp_path / "empty", folder / "notes.txt"
    empty.mkdir()
    for more, names in (([], ["9.png"]), ([folder / "b"], ["9.png", "b/1.png"])):
        source = open_source(notes, folder / "9.png", empty, *more)
        assert list(source.names) == names and list(source.others) == [str(notes), str(empty)]
        assert source.read("9.png", 8).shape == (3, 8, 8)
    with pytest.raises(ValueError, match="notes.txt is no folder, zip, LMDB or image file"):
        open_source(notes, empty)
    with pytest.raises(FileNotFoundError):
        open_source(folder / "9.png", folder / "missing.png")


def test_a_zip_behind_an_image_is_not_read_in_its_place(folder, tmp_path):
    """Programs hide one there, and two letters at the end of an image look like one."""
    for end in (zipped(folder / "b", tmp_path / "a.zip").read_bytes(), b"PK\5\6" + bytes(18)):
        (tmp_path / "both.png").write_bytes((folder / "9.png").read_bytes() + end)
        source = open_source(tmp_path / "both.png")
        assert list(source.names) == ["both.png"]
        assert torch.equal(source.read("both.png", 8), read_image(folder / "9.png", 8))
