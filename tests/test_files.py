"""Files appear whole or not at all; a folder's notes are agreed on by one process at a time."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from idinvert import files
from idinvert.files import check_notes, locked, present, replacing


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "folder" / "file"
    with replacing(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("second")
        raise ZeroDivisionError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_a_new_file(tmp_path):
    """Also if the writer replaces the temporary file by one of other permissions."""
    mask = os.umask(0o007)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o660


def test_what_is_missing_is_named_with_what_to_do(tmp_path):
    assert present(tmp_path, "weights") == tmp_path
    with pytest.raises(FileNotFoundError, match="There are no weights at .*absent: put them there"):
        present(tmp_path / "absent", "weights")
    with pytest.raises(FileNotFoundError, match="set PAPER to the folder they are in"):
        present(tmp_path / "$PAPER" / "file", "weights")


def test_other_notes_are_refused(tmp_path):
    check_notes(tmp_path / "notes.json", {"steps": (1, 2)})
    check_notes(tmp_path / "notes.json", {"steps": [1, 2]})
    with pytest.raises(ValueError, match=r"made with steps \[1, 2\], not 3: take another folder"):
        check_notes(tmp_path / "notes.json", {"steps": 3})
    with pytest.raises(ValueError, match=r"not 3, which --iterations changes: take another"):
        check_notes(tmp_path / "notes.json", {"steps": 3}, {"steps": "--iterations"})


def test_of_two_processes_with_other_notes_one_is_refused(tmp_path):
    for i in range(20):
        notes, children = tmp_path / str(i) / "notes.json", []
        for value in range(2):
            child = os.fork()
            if not child:
                try:
                    check_notes(notes, {"value": value})
                except ValueError:
                    os._exit(1)
                finally:
                    os._exit(0)
            children.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert sorted(ends) == [0, 1]


def test_who_waits_for_a_lock_says_so(tmp_path, monkeypatch):
    """As where the command that holds it was suspended; not before some time has gone by."""
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    held, done = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path):
            held.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        held.wait(60)
        threading.Timer(1, done.set).start()
        with pytest.warns(UserWarning, match="waiting for another command"), locked(tmp_path):
            assert done.is_set()


def test_a_lock_is_given_back_by_who_dies(tmp_path):
    child = os.fork()
    if not child:
        with locked(tmp_path):
            os._exit(0)
    os.waitpid(child, 0)
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_notes_of_brackets_within_brackets_are_damaged(tmp_path):
    (tmp_path / "notes.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="notes.json is damaged"):
        check_notes(tmp_path / "notes.json", {"steps": 1})
