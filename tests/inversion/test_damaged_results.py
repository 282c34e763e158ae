"""Folders of results with codes that are damaged, lost, or of another model or program."""

import errno
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from idinvert.cli import main
from idinvert.inversion import results
from results_of import command, everything


def test_no_terminal_obeys_the_names_of_damaged_codes(own_registry, images, tmp_path, capsys):
    main(command(images / "0.png", tmp_path / "out"))
    (tmp_path / "out" / "codes" / "\x1b[2J.npz").write_bytes(b"")
    assert main(command(images / "0.png", tmp_path / "out")) == 0
    assert "\\x1b[2J.npz was damaged" in capsys.readouterr().err


def test_codes_of_a_model_of_another_size_are_told(own_registry, images, tmp_path, capsys):
    out = tmp_path / "out"
    main(command(images, out))
    with np.load(out / "codes" / "0.npz") as found:
        np.savez(out / "codes" / "0.npz", **{**found, "code": np.zeros((6, 4), np.float32)})
    assert main(command(images, out)) == 1
    assert "has a code of (6, 4) layers and dimensions" in capsys.readouterr().err


def test_codes_that_are_gone_leave_no_file_of_them_all(own_registry, images, tmp_path):
    out = tmp_path / "out"
    main(command(images / "0.png", out))
    (out / "codes" / "0.npz").unlink()
    (images / "0.png").write_bytes(b"no image")
    assert main(command(images, out, batch=1)) == 0  # the others can be read
    assert len(np.load(out / "codes.npy")) == 4
    shutil.rmtree(out / "codes")
    assert main(command(images / "broken.jpg", out)) == 1
    assert not (out / "codes.npy").exists()


def test_what_macs_add_to_codes_is_no_damaged_code(tmp_path):
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "._a.npz").write_bytes(b"\0\5\x16\7")
    assert not results.Results(tmp_path, ["a.png"]).damaged
    assert (tmp_path / "codes" / "._a.npz").exists()


def test_codes_that_unpack_to_much_are_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "LARGEST", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros(1 << 20, np.float32))
    assert results.read_row(tmp_path / "a.npz") is None


def array_file(_):
    """A code by itself, which is no archive."""
    file = io.BytesIO()
    np.save(file, np.zeros((4, 4), np.float32))
    return file.getvalue()


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: b"PK\x03\x04", lambda data: data[:700],
    array_file,
], ids=["empty", "began", "cut", "array"])  # fmt: skip
def test_damaged_codes_are_made_again(own_registry, images, tmp_path, damage, capsys):
    """As a full disk leaves them, or somebody's hand."""
    out = tmp_path / "out"
    main(command(images, out))
    before = everything(out)
    path = out / "codes" / "2.npz"
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert main(command(images, out)) == 0
    assert "2.npz was damaged, and its image is inverted again" in capsys.readouterr().err
    assert everything(out) == before
    (out / "settings.json").write_text('{"mod')
    assert main(command(images, out)) == 1
    assert "settings.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("version", [1, 2, 3])
def test_code_that_says_it_is_enormous_is_made_again(own_registry, images, tmp_path, version,
                                                     capsys):
    out = tmp_path / "out"
    main(command(images, out))
    with zipfile.ZipFile(out / "codes" / "2.npz", "w") as archive:
        header = io.BytesIO()
        shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 44,)}
        write = getattr(np.lib.format, f"write_array_header_{min(version, 2)}_0")
        write(header, shape)  # the third version differs from the second in its number alone
        content = header.getvalue().replace(b"NUMPY\2", b"NUMPY" + bytes([version]))
        archive.writestr("code.npy", content)
    assert main(command(images, out)) == 0
    assert "2.npz was damaged, and its image is inverted again" in capsys.readouterr().err


def test_codes_that_another_process_removes_stop_none(tmp_path, monkeypatch):
    """Several find a damaged one at once."""
    path, load = tmp_path / "codes" / "2.npz", np.load
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr(np, "load", lambda path, **_: path.unlink() or load(path))
    assert results.Results(tmp_path, []).damaged == [path]


def test_a_folder_of_photographs_may_be_called_like_a_code(own_registry, images, tmp_path):
    (images / "sub").rename(images / "sub.npz")
    for _ in range(2):
        assert main(command(images, tmp_path / "out")) == 0
    assert (tmp_path / "out" / "codes" / "sub.npz" / "1.npz").exists()


@pytest.mark.parametrize("change", [
    {"code": None}, {"code": np.zeros(3)}, {"code": np.array("x")}, {"sha256": None},
    {"mse": np.array("x")}, {"bytes": np.array("x")}, {"diverged": np.zeros(2)},
    {"loss_total": np.zeros(0)}], ids=str)
def test_codes_that_another_program_wrote_are_made_again(own_registry, images, tmp_path, change,
                                                         capsys):
    out = tmp_path / "out"
    main(command(images, out))
    before, path = everything(out), out / "codes" / "2.npz"
    row = {key: value for key, value in {**np.load(path), **change}.items() if value is not None}
    np.savez(path, **row)
    assert main(command(images, out)) == 0
    assert "2.npz was damaged, and its image is inverted again" in capsys.readouterr().err
    assert everything(out) == before


def test_codes_that_cannot_be_read_are_kept(own_registry, images, tmp_path, monkeypatch, capsys):
    """As those of another user, or on a disk that is away: nothing says that they are damaged."""
    out, load = tmp_path / "out", np.load
    main(command(images, out))
    before = everything(out)

    def closed(path, **options):
        if Path(path).name == "2.npz":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return load(path, **options)
    monkeypatch.setattr(np, "load", closed)
    assert main(command(images, out)) == 1
    assert "Permission denied: " in capsys.readouterr().err
    monkeypatch.undo()
    assert everything(out) == before
