"""`idinvert edit`, and what `idinvert invert` adds to the inversion of files."""

import dataclasses
import json
from pathlib import Path

import idinvert
import numpy as np
import pytest
import torch
from idinvert import boundaries, models, read_image, write_image
from idinvert.boundaries import Boundary
from idinvert.cli import check_image, main
from idinvert.inversion import results
from idinvert.nn import encoder

HERE = ["--model", "own", "--device", "cpu"]
FAST = [*HERE, "--iterations", "2", "--lambda-vgg", "0"]
PLUGIN = """
from idinvert.inversion import METHODS
from idinvert.inversion.methods.in_domain import InDomain
from idinvert.settings import Count, settings


@METHODS.register("toy")
@settings
class Toy(InDomain):
    \"\"\"A method of a plug-in.\"\"\"

    title = "Toy"

    repeats: Count = 3
    \"\"\"how often\"\"\"
"""


@pytest.fixture
def photo(own_registry, tmp_path, monkeypatch):
    """A photograph in the current folder, and a model with a boundary."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    write_image("photo.png", torch.rand(3, 9, 9) * 2 - 1)
    normal = torch.randn(4, 4)
    age = Boundary("age", normal / normal.norm(), 0.0, tuple(range(4)))
    models.save_boundaries("own", [age])
    return age


def test_a_photograph_is_inverted_and_edited(photo, tmp_path, capsys):
    assert main(["edit", "photo.png", "age=+3", *FAST]) == 0
    assert capsys.readouterr().out == "edited.png\n"
    assert main(["invert", "photo.png", *FAST]) == 0
    code = torch.from_numpy(np.load("inverted/codes.npy"))
    expected = models.load("own").synthesis(code + 3 * photo.normal)[0]
    assert (read_image("edited.png", 8) - expected.detach().clip(-1, 1)).abs().max() < 0.01


def test_codes_are_edited_without_another_inversion(photo, capsys):
    main(["invert", "photo.png", *FAST])
    main(["edit", "photo.png", "age=-2", "--out", "a.png", *FAST])
    for file in ("inverted/codes/photo.npz", "inverted/codes.npy"):
        assert main(["edit", file, "age=-2", "--out", "b.png", "--model", "own"]) == 0
        assert (read_image("a.png", 8) - read_image("b.png", 8)).abs().max() < 0.02


def test_attributes_may_have_any_name(photo, capsys):
    names = ("codes", "self", "model", "name")
    models.save_boundaries("own", [
        dataclasses.replace(photo, name=name, normal=photo.normal.clone()) for name in names])
    edits = [f"{name}=1" for name in names]
    assert main(["edit", "photo.png", *edits, *FAST]) == 0
    assert main(["edit", "photo.png", "selves=1", *FAST]) == 1
    assert "own has no boundary 'selves': did you mean 'self'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["invert", "photo.png"], ["edit", "photo.png", "age=1"],
                                   ["diffuse", "photo.png", "photo.png"]])
def test_encoders_of_another_size_are_named(photo, words, capsys):
    other = encoder.Encoder(resolution=16, w_dim=4, channel_base=4, channel_max=8)
    models.save("other-base", other)
    assert main([*words, *HERE, "--encoder", "other-base"]) == 1
    assert ("error: other-base is for (px, layers, dimensions) (16, 6, 4), own has (8, 4, 4)"
            in capsys.readouterr().err)


def test_codes_and_encoders_of_another_model_are_told(photo, tmp_path, capsys):
    """They have the same size, but mean other images there."""
    torch.manual_seed(9)
    generator = models.load("own")
    for value in generator.parameters():
        value.normal_()
    models.save("other", generator)
    models.save_boundaries("other", [photo])
    main(["invert", "photo.png", *FAST])
    edit = ["edit", "inverted/codes/photo.npz", "age=1", "--model"]
    capsys.readouterr()
    assert main([*edit, "own"]) == 0 and "warning" not in capsys.readouterr().err
    assert main([*edit, "other"]) == 0
    assert ("warning: inverted/codes/photo.npz has codes of the model own, of which other makes "
            "other images.") in capsys.readouterr().err
    models.save("own", generator)
    assert main([*edit, "own"]) == 0
    assert "has codes of own as it was before" in capsys.readouterr().err
    models.save("other-base", models.load("own-base"), role="encoder", generator="other")
    assert main(["invert", "photo.png", *FAST, "--encoder", "other-base", "--out", "new"]) == 0
    assert "other-base was trained for the codes of other, of which own" in capsys.readouterr().err


def test_what_is_off_stays_off_beside_other_edits(photo, monkeypatch):
    """Also where another attribute goes with it, and is named after it."""
    smile = Boundary("smile", (photo.normal + photo.normal.flip(0)), 0.0, tuple(range(4)))
    models.save_boundaries("own", [smile], add=True)
    np.save("code.npy", np.zeros((4, 4)))
    rendered, plain = [], idinvert.Model.render
    monkeypatch.setattr(idinvert.Model, "render",
                        lambda *given: rendered.append(given[1]) or plain(*given))
    assert main(["edit", "code.npy", "age=off", "smile=5", *HERE]) == 0
    age = models.load_boundaries("own")["age"]
    samples = age.distance(idinvert.load("own", "cpu").sample(1000))
    torch.testing.assert_close(age.distance(rendered[-1])[0], samples.quantile(0.05))


def test_boundaries_of_another_generator_are_told(photo, capsys):
    """Those of a file without a note of the generator are taken, which older versions wrote."""
    np.save("code.npy", np.zeros((4, 4)))
    edit = ["edit", "code.npy", "age=1", *HERE]
    smile = dataclasses.replace(photo, name="smile", normal=photo.normal.clone())
    assert main(edit) == 0 and "warning" not in capsys.readouterr().err
    generator = models.load("own")
    for value in generator.parameters():
        value.normal_()
    models.save("own", generator)
    models.save_boundaries("own", [smile], add=True)
    assert main(edit) == 0
    assert ("warning: age: boundaries of another generator than own is now"
            in capsys.readouterr().err)
    boundaries.save([photo], models.folder() / "own-boundaries.safetensors")
    assert main(edit) == 0 and "warning" not in capsys.readouterr().err


def test_words_and_steps_at_the_ends_of_their_range(photo, capsys):
    """A name that is too long for a file; a boundary that hardly moves what it measures."""
    name, normal = "x" * 300, torch.zeros(4, 4)
    normal[0, 0], normal[1, 1] = 1.0, 1e-6
    models.save_boundaries("own", [Boundary(name, normal, 0.0, (1,))])
    np.save("code.npy", np.full((4, 4), -1000.0))
    for strength in ("1", "on"):
        assert main(["edit", "code.npy", f"{name}={strength}", *HERE]) == 0, capsys.readouterr().err


def test_several_photographs_go_into_a_folder(photo, tmp_path, capsys):
    write_image("more/2.png", torch.zeros(3, 8, 8))
    (tmp_path / "more" / "broken.png").write_bytes(b"none")
    assert main(["edit", "photo.png", "more", "age=1", "--out", "out", *FAST]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["out/photo.png", "out/more/2.png"]
    assert "left out: more/broken.png is not an image" in captured.err
    assert main(["edit", "photo.png", "more", "age=1", "--out", "one.png", *FAST]) == 2


def test_a_photograph_that_vanishes_meanwhile_stops_no_other(photo, tmp_path, monkeypatch, capsys):
    write_image("more/1.png", torch.zeros(3, 8, 8))
    monkeypatch.setattr("idinvert.cli.edit.step",
                        lambda *_: (tmp_path / "more/1.png").unlink(missing_ok=True) or 1.0)
    assert main(["edit", "more", "photo.png", "age=1", "--sheet", "sheet.png", *FAST]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["edited/more/1.png", "edited/photo.png", "sheet.png"]
    assert "left out: more/1.png does not exist" in captured.err.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("words, status, message", [
    (["photo.png", "aeg=3"], 1, "own has no boundary 'aeg': did you mean 'age'?"),
    (["photo.png", "age=much"], 2, "'age=much' should be NAME=NUMBER"),
    (["photo.png", "age=nan"], 2, "should have a number from -20 to 20"),
    (["photo.png", "age=300"], 2, "should have a number from -20 to 20"),
    (["photo.png", "age=1", "--paste"], 2, "--paste needs photographs"),
    (["photo.png", "age=1", "--face", "0"], 2, "--face is 0"),
    (["photo.png", "age=1", "--face", "2"], 2, "faces that are found, but own takes whole images"),
    (["photo.png", "age=1", "age=2"], 2, "'age' is changed twice: name it once."),
    (["photo.png", "age=1", "--sheet", "edited.png"], 2, "is to hold an edited image"),
    (["code.npy", "age=1", "--sheet", "sheet.png"], 2, "--sheet shows photographs"),
    (["code.npy", "age=1", "--face", "2"], 2, "codes are inverted already: leave out --face."),
    (["code.npy", "age=1", "--no-align"], 2, "codes are inverted already: leave out --no-align."),
    (["code.npy", "age=1", "--method", "image2stylegan"], 2, "leave out --method."),
    (["code.npy", "age=1", "--iterations", "2"], 2, "leave out settings of in-domain."),
    (["photo.png"], 2, "name an image and what to change"),
    (["age=3"], 2, "name an image and what to change"),
    (["nothing.png", "age=3"], 1, "nothing.png does not exist"),
    (["bad.npy", "age=3"], 1, "bad.npy holds no codes"),
    (["empty.npy", "age=3"], 1, "empty.npy holds no codes"),
    (["complex.npy", "age=3"], 1, "complex.npy holds no codes"),
    (["tuned.npz", "age=3"], 1, "tuned.npz holds no codes"),
    (["folder.npz", "age=3"], 1, "Is a directory: folder.npz."),
    (["results", "age=3"], 2, "results holds results of an inversion: name images"),
    (["small.npy", "age=3"], 1, "small.npy has codes of (2, 2) layers and dimensions"),
])  # fmt: skip
def test_what_cannot_be_edited_is_one_sentence(photo, tmp_path, words, status, message, capsys):
    (tmp_path / "bad.npy").write_bytes(b"none")
    np.save("small.npy", np.zeros((1, 2, 2)))
    np.save("empty.npy", np.zeros((0, 4, 4)))
    np.save("complex.npy", np.zeros((1, 4, 4), complex))
    np.savez("tuned.npz", code=np.zeros((4, 4)), tuned_weight="text")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "results" / "codes").mkdir(parents=True)
    (tmp_path / "results" / "settings.json").write_text("{}")
    assert main(["edit", *words, *HERE]) == status
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "edited.png").exists()


@pytest.mark.parametrize("words", [
    ["edit", "photo.png", "age=1", "--out", "photo.png"],
    ["edit", "photo.png", "age=1", "--out", "new.png", "--sheet", "photo.png"],
    ["edit", "several", "age=1", "--out", "several"],
    ["edit", "several", "age=1", "--out", "several/sub"],
    ["mix", "photo.png", "several/a.png", "--out", "several/a.png"],
    ["interpolate", "photo.png", "several/a.png", "--out", "./photo.png"],
    ["diffuse", "photo.png", "several/a.png", "--out", "photo.png"],
])  # fmt: skip
def test_photographs_are_never_replaced(photo, tmp_path, words, capsys):
    for name in ("a", "b", "sub/a"):
        write_image(tmp_path / "several" / f"{name}.png", torch.zeros(3, 8, 8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert main([*words, *FAST]) == 2
    assert "would replace a file that is there: name another one" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_an_edit_does_not_pass_for_an_inversion(photo, tmp_path, capsys):
    main(["invert", "photo.png", *FAST])
    before = Path("inverted/images/photo.png").read_bytes()
    edit = ["edit", "inverted/codes/photo.npz", "age=1", *HERE, "--out"]
    for out in ("inverted/images/photo.png", "inverted/comparison.png"):
        assert main([*edit, out]) == 2
        assert f"{out} would replace a file that is there" in capsys.readouterr().err
    assert Path("inverted/images/photo.png").read_bytes() == before
    for _ in range(2):  # among the results, and over an earlier edit
        assert main([*edit, "inverted/older.png"]) == 0


def test_results_do_not_go_among_the_photographs(photo, tmp_path, capsys):
    assert main(["invert", str(tmp_path), "--out", ".", *FAST]) == 2
    assert "holds the photographs: name another folder" in capsys.readouterr().err


def test_photographs_stand_above_their_inversions(photo, tmp_path, capsys):
    write_image("more/photo.png", torch.zeros(3, 8, 8))
    assert main(["invert", "photo.png", "more", *FAST]) == 0
    assert "Photographs above their inversions: inverted/comparison.png" in capsys.readouterr().out
    sheet = read_image("inverted/comparison.png", 16)
    for row, folder in enumerate((".", "inverted/images")):
        for column, name in enumerate(("photo.png", "more/photo.png")):
            part = sheet[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            assert (part - read_image(f"{folder}/{name}", 8)).abs().max() < 0.02
    assert len(np.load("inverted/codes.npy")) == 2


def test_a_photograph_that_changed_does_not_stand_above_the_inversion_of_the_old_one(
        photo, monkeypatch):
    from idinvert.cli import invert

    made = invert.files.run

    def change_afterwards(*arguments):
        counts = made(*arguments)
        write_image("photo.png", torch.zeros(3, 8, 8))
        return counts

    monkeypatch.setattr(invert.files, "run", change_afterwards)
    write_image("more/other.png", torch.ones(3, 8, 8))
    assert main(["invert", "photo.png", "more", *FAST]) == 0
    sheet = read_image("inverted/comparison.png", 16, crop=False)
    assert (sheet[:, :8] - 1).abs().max() < 0.02  # of the other photograph alone


def test_without_an_image_there_is_nothing_to_invert(own_registry, capsys):
    assert main(["invert"]) == 2
    assert "name at least one image" in capsys.readouterr().err


def test_a_method_of_a_plug_in_has_its_own_options(photo, tmp_path, in_process):
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    shown, others, _ = in_process(["invert", "--method", "toy", "--help"], ["invert", "--help"], [
        "invert", "photo.png", "--method", "toy", "--repeats", "5", *FAST])
    assert "--repeats INT" in shown and "how often (default: 3)" in shown and "toy}" in shown
    assert "--method" in others and "--repeats" not in others
    noted = json.loads((tmp_path / "inverted" / "settings.json").read_text())
    assert noted["method"] == "toy" and noted["repeats"] == 5


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """What commands of `idinvert` print one after the other in a process that has the plug-in."""
    import subprocess
    import sys

    monkeypatch.setenv("IDINVERT_PLUGINS", "toy_plugin")
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))

    def run(*commands):
        code = f"""
from idinvert.cli import main
for words in {commands}:
    try:
        status = main(words)
    except SystemExit as end:  # after help
        status = end.code
    assert not status
    print("end of a command")
"""
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                              text=True, cwd=tmp_path).stdout.split("end of a command")[:-1]
    return run


def test_edits_of_files_of_the_same_name_keep_apart(photo, tmp_path, capsys):
    """Codes of two folders, and photographs that differ in their suffix."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "1.npy", np.random.default_rng(0).random((4, 4)))
    assert main(["edit", "a/1.npy", "b/1.npy", "age=1", "--model", "own", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split() == ["edited/a/1.png", "edited/b/1.png"]
    write_image("photo.bmp", torch.rand(3, 9, 9) * 2 - 1)
    assert main(["edit", "photo.png", "photo.bmp", "age=1", "--out", "two", *FAST]) == 0
    assert capsys.readouterr().out.split() == ["two/photo.png.png", "two/photo.bmp.png"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", np.nan, 3.0], ids=str)
def test_codes_that_are_none_are_named(photo, content, capsys):
    check_refused(content, capsys)


def test_codes_that_are_not_finite_stop_no_others(photo, capsys):
    """As an encoder may give for an image, which has then diverged."""
    codes = np.zeros((3, 4, 4))
    codes[1] = np.nan
    np.save("codes.npy", codes)
    np.save("last.npy", codes[1])
    assert main(["edit", "codes.npy", "last.npy", "age=1", *HERE]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["edited/codes-0.png", "edited/codes-2.png"]
    for name in ("codes-1", "last"):
        assert f"left out: the code {name} is not finite" in captured.err
    assert main(["edit", "last.npy", "age=1", *HERE]) == 1


def test_small_files_of_codes_that_ask_for_much_are_refused(photo, monkeypatch, capsys):
    monkeypatch.setattr(results, "LARGEST", 1 << 20)
    np.savez_compressed("code.npz", code=np.zeros((1 << 15, 4, 4), np.float32))
    check_refused(Path("code.npz").read_bytes(), capsys)
    np.save("code.npy", np.zeros((4, 4)))
    path = Path("code.npy")
    path.write_bytes(path.read_bytes().replace(b"(4, 4), }            ", b"(999999999999, 4, 4)}"))
    assert main(["edit", "code.npy", "age=1", "--model", "own", "--device", "cpu"]) == 1
    assert "error: code.npy holds no codes." in capsys.readouterr().err


def check_refused(content, capsys):
    if isinstance(content, bytes):
        Path("code.npz").write_bytes(content)
    else:
        np.savez("code.npz", code=np.full((4, 4) if content != content else (), content))
    assert main(["edit", "code.npz", "age=1", "--model", "own", "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "code.npz" in error and "codes" in error and "not foreseen" not in error


def test_results_stay_in_their_folder_from_wherever(photo, tmp_path, monkeypatch, capsys):
    """Also where a path goes up: edited/../2.png would be another photograph."""
    here = tmp_path / "here"
    write_image(here / "1.png", torch.zeros(3, 8, 8))
    write_image(here / "photo.png", torch.zeros(3, 8, 8))
    before = (here / "photo.png").read_bytes()
    monkeypatch.chdir(here)
    assert main(["edit", "../photo.png", "1.png", "age=1", *FAST]) == 0
    assert capsys.readouterr().out.split() == ["edited/photo.png", "edited/here/1.png"]
    assert main(["invert", "..", "../here/../photo.png", "1.png", *FAST, "--out", "../out"]) == 0
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npz")}
    assert found == {f"out/codes/{tmp_path.name}/{name}.npz"
                     for name in ("photo", "here/1", "here/photo", "here/edited/photo",
                                  "here/edited/here/1")}
    assert main(["edit", "1.png", "../out/codes.npy", "age=1", *FAST]) == 1
    assert "codes.npy is no photograph, as others are: edit codes by" in capsys.readouterr().err
    names = [f"../out/codes/{tmp_path.name}/photo.npz", f"../out/codes/{tmp_path.name}/here/1.npz"]
    assert main(["edit", *names, "age=1", "--out", "codes", *HERE]) == 0
    assert (here / "codes/here/1.png").exists() and (here / "photo.png").read_bytes() == before


def test_sheets_that_are_too_high_are_told_before_the_work(photo, monkeypatch, capsys):
    """A sheet of many photographs took gigabytes, and formats refused it after the work."""
    write_image("more.png", torch.zeros(3, 8, 8))
    monkeypatch.setattr("idinvert.cli.edit.WIDEST", 15)
    words = ["edit", "photo.png", "more.png", "age=1", "--sheet", "sheet.png", *FAST]
    assert main(words) == 2
    assert "a sheet of 2 images would be too high: edit at most 1 at" in capsys.readouterr().err
    assert not Path("edited").exists()


def test_a_photograph_that_changes_meanwhile_is_not_mixed_with_the_new_one(photo, tmp_path,
                                                                           monkeypatch, capsys):
    """Neither does the edit of the old one stand beside the new one, nor is it put into it."""
    write_image("more/1.png", torch.zeros(3, 8, 8))
    monkeypatch.setattr("idinvert.cli.edit.step",
                        lambda *_: write_image("more/1.png", torch.ones(3, 8, 8)) or 1.0)
    assert main(["edit", "more", "photo.png", "age=1", "--sheet", "sheet.png", *FAST]) == 0
    captured = capsys.readouterr()
    assert "left out: 1.png has changed meanwhile: edit" in captured.err.replace("more/", "")
    assert read_image("sheet.png", 8, crop=False).shape and "edited/photo.png" in captured.out


def test_codes_are_known_by_their_content(photo, capsys):
    main(["invert", "photo.png", *FAST])
    Path("inverted/codes/photo.npz").rename("zipped.npy")
    Path("inverted/codes.npy").rename("bare.npz")
    for name in ("zipped.npy", "bare.npz"):
        assert main(["edit", name, "age=-2", "--out", f"{name}.png", *HERE]) == 0
    assert Path("zipped.npy.png").read_bytes() == Path("bare.npz.png").read_bytes()


def test_folders_of_edits_may_have_a_dot(photo, tmp_path, capsys):
    write_image("more.png", torch.zeros(3, 8, 8))
    (tmp_path / "old.png").mkdir()
    for out in ("v1.2", "old.png"):
        assert main(["edit", "photo.png", "more.png", "age=1", "--out", out, *FAST]) == 0
        assert (tmp_path / out / "more.png").exists()
    assert main(["edit", "photo.png", "age=1", "--out", "one", *FAST]) == 0  # is there one alone?
    assert (tmp_path / "one" / "photo.png").exists()
    assert main(["edit", "photo.png", "more.png", "age=1", "--out", "new.png", *FAST]) == 2
    assert "--out new.png should be a folder, for there are 2" in capsys.readouterr().err


def test_places_of_many_photographs_are_looked_up_once(tmp_path, monkeypatch):
    """For each of a thousand edits, all thousand photographs were: for half a minute."""
    paths, seen, resolve = [tmp_path / f"{i}.png" for i in range(20)], [], Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: seen.append(path) or resolve(path))
    check_image(*(tmp_path / "out" / path.name for path in paths), read=paths)
    assert len(seen) == 40


def test_results_do_not_go_beside_photographs(photo, tmp_path, capsys):
    """The folder would be left out from then on, and its photographs with it."""
    write_image("album/2.png", torch.zeros(3, 8, 8))
    for words in (["photo.png", "--out", "."], ["photo.png", "--out", "album"]):
        assert main(["invert", *words, *FAST]) == 2
        assert "holds the photographs: name another folder" in capsys.readouterr().err
    assert not Path("settings.json").exists() and not Path("album/settings.json").exists()
    for _ in range(2):
        assert main(["invert", "photo.png", "--out", "inverted", *FAST]) == 0
        write_image("inverted/older.png", torch.zeros(3, 8, 8))  # by the second time


def test_results_among_the_words_of_a_shell_are_left_out(photo, tmp_path, capsys):
    """`idinvert invert *` goes on when it is called again, and finds its own folder there."""
    for count in (1, 2):
        write_image(f"{count}.png", torch.zeros(3, 8, 8))
        words = sorted(path.name for path in tmp_path.glob("*.png"))
        words += ["inverted"] * Path("inverted").exists()
        assert main(["invert", *words, *FAST]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(f"{count + 1} ok")
    assert "left out: inverted/ (results)." in captured.err
    assert main(["edit", *words, "age=1", *FAST]) == 0
    assert "left out: inverted/ (results)." in capsys.readouterr().err
