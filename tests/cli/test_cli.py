"""The command `idinvert` as a whole: its help, and the one place where errors become sentences."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import idinvert
import pytest
import torch
from idinvert import cli, models
from idinvert.boundaries import Boundary
from idinvert.cli import main
from idinvert.data import write_image
from idinvert.files import locked
from idinvert.models import cards
from idinvert.publish import live
from idinvert.publish.folders import MARK, emptied
from idinvert.study import execution, run


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)


@pytest.fixture
def fails(monkeypatch):
    """Make `idinvert models` raise an error."""
    from idinvert.cli import models

    def set_error(error):
        def raising(arguments):
            raise error
        monkeypatch.setattr(models, "main", raising)
    return set_error


def test_help_lists_every_command_by_the_first_line_of_its_module(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("book", "boundaries", "data", "edit", "import", "invert", "models", "train"):
        assert f"\n  {name} " in shown
    assert "Make models of another project's file." in shown


@pytest.mark.parametrize("name", cli.commands())
def test_help_of_a_command_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: idinvert {name} ") and f"\n    idinvert {name}" in shown


def test_commands_load_only_what_they_need():
    """The help of all of them no library at all; the list of models no scikit-learn."""
    heavy = "{'torch', 'tyro', 'sklearn', 'matplotlib', 'pandas', 'worlds'}"
    for argument, unwanted in (("--help", heavy), ("models", "{'sklearn', 'pandas'}")):
        code = (f"import sys; from idinvert.cli import main; main([{argument!r}]);"
                f"found = {unwanted} & set(sys.modules); assert not found, found")
        result = python("-c", code)
        assert result.returncode == 0, result.stderr


def test_module_and_version():
    result = python("-m", "idinvert", "--version")
    assert result.stdout.split()[:2] == ["idinvert", idinvert.__version__]
    assert result.stdout == f"{cli.version()}\n"


@pytest.mark.parametrize("words, message", [
    (["modles"], "there is no command 'modles': did you mean 'models'"),
    (["import", "file"], "Missing from idinvert import: NAME"),
    (["train", "x", "--kmg", "1"], "Unrecognized options: --kmg, 1: perhaps you meant: --kimg"),
    (["train", "face-classifier", "--kimg", "0"], "kimg is 0.0, but should be greater than 0"),
    (["train", "x", "--kimg", "many"], "Error parsing --kimg: could not convert"),
    (["data", "render", "dog"], "invalid choice 'dog' for argument"),
    (["boundaries", "--model", "x", "--labels", "y"], "--labels needs --images or --inverted"),
    (["boundaries", "--model", "x"], "give either --labels or --unsupervised"),
    (["export", "own", "--to", "x", "--codes", "0"], "--codes is 0, but should be greater than or"),
    (["export", "own", "--to", "x", "--codes", "-1"], "--codes is -1, but should be"),
    (["boundaries", "--model", "x", "--unsupervised", "-1"], "--unsupervised is -1, but should"),
    (["boundaries", "--model", "x", "--seed", "-1"], "--seed is -1, but should be"),
    (["boundaries", "--model", "x", "--seed", "99999999999"], "but should be less than 4294967296"),
    (["train", "gan", "x", "--images", "y", "--seed", "99999999999"], "should be less than"),
    (["interpolate", "a", "b", "--model", "face-stylegan", "--steps", "99999999999"],
     "but should be less than or equal to 10000"),
    (["train"], "name at least one model, or use --all or --list"),
    (["train", "face-base", "--all"], "name models, or take --all"),
    (["run", "06_tradeoff", "profile=smoke"], "name the profile by --profile"),
    (["run", "06_tradeoff", "num_images=4", "num_images=8"], "num_images is given twice"),
    (["run", "06_tradeoff", "num_images=["], "'num_images=[' has no value that can be read"),
    (["run", "06_tradeoff", "num_images=2020-13-45"], "no value that can be read: write one as in"),
    (["edit", "a.png", "--model", "face-stylegan", "age=1"],
     "age=1: put it beside the other files and words, before or after all options"),
])  # fmt: skip
def test_a_command_line_that_does_not_fit_is_one_sentence(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("idinvert") and error.count("\n") == 1


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2
    assert "usage: idinvert COMMAND" in capsys.readouterr().out


def test_no_command_takes_the_folder_for_a_word_that_is_empty(tmp_path, monkeypatch, capsys):
    """Path("") is the folder that the command is in."""
    assert main(["invert", "", "--model", "face-stylegan"]) == 2
    assert "a word of the command line is empty" in capsys.readouterr().err
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["models"]) == 2
    assert "the folder that this terminal is in has been removed" in capsys.readouterr().err


@pytest.mark.parametrize("error, status, message", [
    (KeyboardInterrupt(), 130, "stopped; the same command continues."),
    (MemoryError(), 1, "out of memory: take a smaller --batch"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "a smaller --batch"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "a smaller --batch"),
    (OSError(errno.ENOSPC, "No space left on device", "a.npz"), 1, "the disk is full: a.npz: free"),
    (PermissionError(errno.EACCES, "Permission denied", "out"), 1, "Permission denied: out."),
    (PermissionError(errno.EACCES, "Permission denied", "out/.a.png.71.partial"), 1,
     "Permission denied: out/a.png."),
    (OSError(errno.EACCES, "Permission denied", 3), 1, "Permission denied."),
    (ModuleNotFoundError("No module named 'sklearn.svm'", name="sklearn.svm"), 1,
     "needs the package scikit-learn: install it with pip install"),
    (TypeError("f() takes 1\npositional argument"), 1, "TypeError: f() takes 1 positional argument "
     "(not foreseen; `idinvert --traceback models --x` shows where)"),
    (OverflowError("cannot convert float infinity to integer"), 1, "number among the options is"),
    (RuntimeError("value cannot be converted to type float without overflow"), 1, "is too large"),
    (RuntimeError("Could not determine home directory."), 1, "set HOME, or IDINVERT_CACHE and"),
    (RuntimeError("Symlink loop from '/a/b'"), 1, "'/a/b' is a link that leads to itself."),
    (RuntimeError("shapes do not fit"), 1, "RuntimeError: shapes do not fit (not foreseen"),
    (ValueError("cannot reshape array"), 1, "not foreseen"),
    (AssertionError(), 1, "AssertionError (not foreseen"),
    (UserWarning("a.tif has several pictures."), 1, "error: a.tif has several pictures."),
    (UserWarning("key \x1b[31m\x9b\n of"), 1, r"error: key \x1b[31m\x9b of"),
], ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else None)
def test_every_error_is_one_sentence(fails, error, status, message, capsys):
    fails(error)
    assert main(["models", "--x"]) == status
    shown = capsys.readouterr().err
    assert shown.startswith("idinvert models: ") and shown.count("\n") == 1
    assert message in shown and "Traceback" not in shown


def test_commands_without_a_batch_do_not_tell_of_one(monkeypatch, capsys):
    def raising(*_):
        raise MemoryError
    monkeypatch.setattr("idinvert.models.importing.import_file", raising)
    monkeypatch.setattr("idinvert.boundaries.labelled.read_labels", raising)
    for words in (["import", "a.pt", "own"],
                  ["boundaries", "--model", "own", "--labels", "a.csv", "--images", "a"]):
        assert main(words) == 1
        assert "out of memory: this needs a machine that has more" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["CACHE", "MODELS", "RUNS"])
@pytest.mark.parametrize("below", [".", "own/.a.npy.71.partial"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP])
def test_a_place_that_cannot_be_used_is_told_with_its_variable(
        fails, variable, below, number, monkeypatch, tmp_path, capsys):
    for name in ("CACHE", "MODELS", "RUNS"):
        monkeypatch.setenv(f"IDINVERT_{name}", str(tmp_path / name))
    place = tmp_path / variable / below
    fails(OSError(number, os.strerror(number), str(place)))
    assert main(["models"]) == 1
    shown = capsys.readouterr().err
    assert f"set IDINVERT_{variable} to a folder that you may write to." in shown


@pytest.mark.parametrize("words", [
    ["train", "face-stylegan"],
    ["boundaries", "--model", "own", "--unsupervised", "1"],
    ["import", "a.npy", "own"],
    ["invert", "a.png", "--model", "own", "--out", "FILE/inverted"],
    ["bench", "own", "--out", "FILE/table.csv"],
    ["data", "archive", "face", "--out", "FILE/face.zip"],
    ["data", "stand-ins", "FILE/faces"],
    ["mix", "a.png", "b.png", "--model", "own", "--out", "FILE/mixed.png"],
    ["interpolate", "a.png", "b.png", "--model", "own", "--out", "FILE/between.png"],
    ["export", "own", "--to", "FILE"],
    ["diffuse", "a.png", "b.png", "--model", "own", "--out", "FILE/diffused.png"],
])  # fmt: skip
def test_places_are_tried_before_the_work(own_registry, words, tmp_path, monkeypatch, capsys):
    """Below a file nobody can write."""
    file = tmp_path / "file"
    file.touch()
    if words[0] in ("train", "boundaries", "import"):
        monkeypatch.setattr("idinvert.models.folder", lambda: file)
    assert main([word.replace("FILE", str(file)) for word in words]) == 1
    assert f"Cannot be written to: {file}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    ["bench", "own", "--out", "PLACE"],
    ["data", "archive", "face", "--out", "PLACE"],
    ["edit", "a.png", "age=1", "--model", "own", "--out", "PLACE"],
    ["mix", "a.png", "b.png", "--model", "own", "--out", "PLACE"],
    ["interpolate", "a.png", "b.png", "--model", "own", "--out", "PLACE"],
    ["diffuse", "a.png", "b.png", "--model", "own", "--out", "PLACE"],
])  # fmt: skip
def test_what_is_no_file_is_neither_replaced_nor_waited_for(own_registry, words, tmp_path,
                                                            monkeypatch, capsys):
    """A pipe, as a device, is there for others."""
    normal = torch.eye(4)
    models.save_boundaries("own", [Boundary("age", normal / normal.norm(), 0.0, (0, 1, 2, 3))])
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write_image(f"{name}.png", torch.zeros(3, 8, 8))
    os.mkfifo("pipe.png")
    Path("folder.png").mkdir()
    for place, what in (("pipe.png", "no file"), ("folder.png", "a folder")):
        assert main([word.replace("PLACE", place) for word in words]) == 2
        assert f"{place} is {what}, where a file is to be written" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    ["invert", "a.png", "--model", "own", "--out", "gone"],
    ["mix", "a.png", "b.png", "--model", "own", "--out", "gone/mixed.png"],
    ["export", "own", "--to", "gone"],
    ["data", "stand-ins", "gone/below"],
])  # fmt: skip
def test_a_link_to_nothing_is_told(own_registry, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image("a.png", torch.zeros(3, 8, 8))
    Path("gone").symlink_to("nowhere")
    assert main(words) == 1
    assert "gone is a link to nothing, where a folder is to be: rem" in capsys.readouterr().err


def test_the_home_folder_is_that_of_the_user(monkeypatch, tmp_path):
    """Where an option and its value are one word, no shell puts it in the place of ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.at_home("--out=~/a") == f"--out={tmp_path}/a"
    for word in ("--out=a~", "age=~", "~", "--paste", "--out=./~", "~/a=b"):
        assert cli.at_home(word) == word


def test_the_place_of_logs_is_tried_before_a_training(tmp_path, monkeypatch, capsys):
    """They lie beside the registry, in a folder that may be another's."""
    (tmp_path / "logs").touch()  # below a file nobody can write
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    assert main(["train", "face-stylegan"]) == 1
    assert (f"Cannot be written to: {tmp_path / 'logs'}: set IDINVERT_MODELS to a folder"
            in capsys.readouterr().err)


def test_the_list_of_models_shows_files_of_any_name_and_content(own_registry, tmp_path, capsys):
    place = tmp_path / "weights"
    (place / "two\nlines.json").write_text("{}")
    (place / "red.json").write_text('{"architecture": "\\u001b[31m", "data": "\\n"}')
    (place / "bare.json").mkdir()
    (place / "list.json").write_text("[]")
    (place / "vast.json").write_text(json.dumps({"parameters": 10**400}))
    assert main(["models"]) == 0
    found = capsys.readouterr().out
    assert "\x1b" not in found and "two lines" in found
    assert f"Is a directory: {place / 'bare.json'}\n" in found
    assert f"{place / 'list.json'} is no card of a model" in found
    names = [line.split()[0] for line in found.splitlines()]
    assert names == sorted(names) == ["bare", "ffhq", "list", "own", "own-base", "red", "two",
                                      "vast"]


def test_a_model_is_shown_by_the_name_of_its_file(own_registry, tmp_path, capsys):
    (tmp_path / "weights" / "own.json").rename(tmp_path / "weights" / "new.json")
    assert main(["models", "new"]) == 0
    assert capsys.readouterr().out.startswith("name: new\n")


def test_what_no_image_can_be_called_is_told_before_the_work(own_registry, capsys):
    assert main(["mix", "a.png", "b.png", "--model", "own", "--out", "mixed.doc"]) == 2
    assert "mixed.doc has no suffix of an image format" in capsys.readouterr().err


@pytest.mark.parametrize("encoder, message", [
    ("own", "'own' is no encoder, and cannot be that of own"),
    ("face-stylegan-base", "is for (px, layers, dimensions) (64, 10, 64), own has (8, 4, 4)"),
])
def test_boundaries_need_an_encoder_of_the_generator(own_registry, tmp_path, encoder, message,
                                                     capsys):
    for suffix in ("json", "safetensors"):
        name = f"face-stylegan-base.{suffix}"
        shutil.copy(cards.CHECKOUT / name, tmp_path / "weights" / name)
    for i in range(8):
        write_image(tmp_path / "photos" / f"{i}.png", torch.zeros(3, 8, 8))
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(8))
    (tmp_path / "labels.csv").write_text(f"image,smile\n{rows}")
    assert main(["boundaries", "--model", "own", "--labels", str(tmp_path / "labels.csv"),
                 "--images", str(tmp_path / "photos"), "--encoder", encoder]) == 1
    assert message in capsys.readouterr().err


def test_directions_need_a_name(own_registry, tmp_path, capsys):
    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    for name in ('""', '"a\nb"', "\x1b[31m"):
        (tmp_path / "labels.csv").write_text(f"image,{name}\na.png,1\n")
        assert main(["boundaries", "--model", "own", "--labels", str(tmp_path / "labels.csv"),
                     "--images", str(tmp_path / "a.png")]) == 1
        error = capsys.readouterr().err
        assert "is no name of an attribute" in error and error.count("\n") == 1


@pytest.mark.parametrize("names", [["thesis.tex"], ["_config.yml", "intro.md"]])
def test_the_book_and_its_live_page_remove_no_other_files(tmp_path, names, capsys):
    """Another book is none of ours either."""
    for name in names:
        (tmp_path / name).touch()
    assert main(["book", str(tmp_path), "--vendor", str(tmp_path)]) == 1
    assert "holds other files, which would be removed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds other files, which would be removed"):
        live.make(tmp_path, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_build_replaces_what_an_earlier_one_left(tmp_path):
    emptied(tmp_path / "book", ["_build"])
    for name in ("old.md", "_build"):
        (tmp_path / "book" / name).mkdir()
    emptied(tmp_path / "book", ["_build"])
    assert {path.name for path in (tmp_path / "book").iterdir()} == {MARK, "_build"}


def test_a_book_without_its_scripts_is_told(tmp_path, capsys):
    assert main(["book", str(tmp_path / "new"), "--vendor", str(tmp_path / "none")]) == 1
    assert "`python tools/vendor.py" in capsys.readouterr().err
    command = [str(tmp_path / "live"), "--vendor", str(tmp_path / "none")]
    with pytest.raises(SystemExit) as ended:
        live.main(command)
    assert ended.value.code == 2 and "`python tools/vendor.py" in capsys.readouterr().err
    assert live.main([*command, "--optional"]) == 0


def test_traceback_shows_where(fails, capsys):
    fails(TypeError("wrong"))
    assert main(["--traceback", "models"]) == 1
    shown = capsys.readouterr().err
    assert "in raising" in shown and shown.endswith("shows where).\n")


def test_memory_that_runs_out_is_told():
    """A real allocation that no machine can serve."""
    code = ("import sys, torch; from idinvert.cli import main, models;"
            "models.main = lambda _: torch.empty(1 << 50); sys.exit(main(['models']))")
    result = python("-c", code)
    assert result.returncode == 1
    assert result.stderr == ("idinvert models: error: out of memory: take a smaller --batch, or "
                             "fewer or smaller images.\n")


def test_a_full_disk_is_told(own_registry, tmp_path):
    """/dev/full says what a full disk does."""
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, "-u", "-m", "idinvert", "models"], stdout=full,
                                stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and "the disk is full" in result.stderr


def test_who_stops_reading_is_not_bothered(own_registry):
    command = [sys.executable, "-u", "-m", "idinvert", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize("content", ["{}", "[", "3", None])
def test_a_damaged_card_hides_no_other_model(own_registry, tmp_path, capsys, content):
    path = tmp_path / "weights" / "broken.json"
    path.mkdir() if content is None else path.write_text(content)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("broken  ") for line in lines)
    assert any(line.startswith("own-base  ") for line in lines)


def test_directions_of_an_encoder_are_refused(own_registry, capsys):
    assert main(["boundaries", "--model", "own-base", "--unsupervised", "2"]) == 1
    assert "error: own-base is no generator, for it has no z_dim" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", ">&-"])
def test_closed_streams_bother_nobody(closed):
    command = f"{sys.executable} -m idinvert models face-stylegan {closed}"
    assert subprocess.run(command, shell=True).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_what_is_said_along_the_way_stops_no_work(own_registry, tmp_path):
    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    command = (f"{sys.executable} -m idinvert invert a.png --model own --iterations 1 --lambda-vgg "
               "0 --device cpu 2>/dev/full")
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("1 ok")


def test_help_is_shown_in_the_narrowest_terminal(monkeypatch, capsys):
    """Where a column is narrower than a word, it would be wrapped for ever."""
    monkeypatch.setenv("COLUMNS", "1")
    with pytest.raises(SystemExit, match="0"):
        main(["models", "--help"])
    assert "usage: idinvert models" in capsys.readouterr().out


@pytest.mark.parametrize("variables, told", [
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2"), ({"RANK": "5"}, "RANK=5"), ({"RANK": "-1"}, "RANK=-1"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2, WORLD_SIZE=2"), ({"WORLD_SIZE": "x"}, "SIZE=x"),
    ({"LOCAL_WORLD_SIZE": "x"}, "LOCAL_WORLD_SIZE=x"),
])  # fmt: skip
def test_half_of_what_a_launcher_sets_is_refused(own_registry, tmp_path, variables, told,
                                                 monkeypatch, capsys):
    """A single process would invert its share of the images, and call that everything."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    assert main(["invert", str(tmp_path / "a.png"), "--model", "own"]) == 1
    assert f"{told}, as for several processes, but not all" in capsys.readouterr().err


def test_processes_that_cannot_meet_are_told(own_registry, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "IDINVERT_RUNS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "gan", "new", "--images", str(tmp_path), "--device", "cpu"]) == 1
    assert "no MASTER_ADDR: start the processes with torchrun" in capsys.readouterr().err


def test_letters_that_a_terminal_does_not_know_are_written_as_numbers():
    result = python("-c", "import sys; from idinvert import cli; from idinvert.cli import models;"
                    "models.main = lambda _: print('\u00fc\U0001f600');"
                    "sys.exit(cli.main(['models']))",
                    env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stdout) == (0, "\\xfc\\U0001f600\n")


def test_names_that_the_character_set_lacks_are_told_with_what_helps(own_registry, tmp_path):
    write_image(tmp_path / "\N{GRINNING FACE}.png", torch.zeros(3, 8, 8))
    words = ["-m", "idinvert", "invert", "\N{GRINNING FACE}.png", "--model", "own", "--iterations",
             "1", "--lambda-vgg", "0", "--device", "cpu"]
    found = python(*words, cwd=tmp_path, env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert found.returncode == 1 and "set the environment variable PYTHONUTF8=1" in found.stderr
    found = python(*words, cwd=tmp_path, env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "1"})
    assert found.returncode == 0 and "1 ok" in found.stdout


@pytest.mark.parametrize("code, reason", [
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
])
def test_a_plug_in_that_fails_is_named_in_one_line(tmp_path, code, reason):
    (tmp_path / "broken_plugin.py").write_text(code)
    result = python("-c", "from idinvert import cli; import idinvert.registry as r, sys;"
                    "from idinvert.cli import models; models.main = lambda _: r.import_plugins();"
                    "sys.exit(cli.main(['models']))",
                    env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}",
                         "IDINVERT_PLUGINS": "broken_plugin"})
    assert result.returncode == 0
    assert result.stderr == ("idinvert: warning: The plug-in broken_plugin is left out: "
                             f"{reason}\n")


def test_who_stops_a_plug_in_stops_the_command(tmp_path):
    (tmp_path / "slow_plugin.py").write_text("raise KeyboardInterrupt")
    result = python("-m", "idinvert", "invert", "a.png", "--model", "face-stylegan-layerwise",
                    env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}",
                         "IDINVERT_PLUGINS": "slow_plugin"})
    assert result.returncode == 130 and "stopped" in result.stderr


def test_run_ends_with_a_picture_to_open(tmp_path, monkeypatch, capsys):
    """Images of faces come before curves."""
    files = ["figures/fig10.png", "figures/fig11.jpg", "tables/fig10.csv"]
    monkeypatch.setattr(execution, "execute", lambda *_, **__: tmp_path / "06_tradeoff.ipynb")
    monkeypatch.setattr(run, "read_note", lambda *_: {"files": files})
    monkeypatch.setenv("IDINVERT_BUILD", str(tmp_path))
    assert main(["run", "06_tradeoff"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("figures/fig11.jpg")


@pytest.mark.parametrize("command, place", [
    (["run", "06_tradeoff", "--profile", "smoke"], "smoke/running/06_tradeoff"),
    (["book", "book"], "book"),
])  # fmt: skip
def test_two_runs_or_books_do_not_write_into_one_folder(command, place, tmp_path, monkeypatch,
                                                        capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDINVERT_BUILD", ".")
    with locked(Path(place)):
        assert main(command) == 1
    assert f"{place} is in use by another command" in capsys.readouterr().err
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []
