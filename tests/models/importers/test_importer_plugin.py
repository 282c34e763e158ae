"""A format is added by one file: a plug-in's importer is found by `import_file` and commands."""

import struct
import sys

import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.models import importing
from idinvert.models.importers import IMPORTERS

TOY = '''
import struct
from idinvert.models.importers import IMPORTERS
from idinvert.nn.encoder import Encoder
from idinvert.nn.stylegan2 import Generator

@IMPORTERS.register("toy")
class Toy:
    title, suffix = "a toy project", ".toy"

    @staticmethod
    def recognises(file):
        return file.beginning.startswith(b"TOY")

    @staticmethod
    def read(file):
        value, = struct.unpack("<f", file.path.read_bytes()[3:7])
        generator = Generator(8, 4, 4, 32, 8)
        generator.w_avg.fill_(value)
        return {"generator": generator.eval(), "encoder": Encoder(8, 4, 4, 8).eval()}
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file of a format that a module outside the project reads."""
    assert "toy" not in IMPORTERS
    (tmp_path / "toy_importer.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("IDINVERT_PLUGINS", "toy_importer")
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    monkeypatch.delitem(sys.modules, "toy_importer", raising=False)
    monkeypatch.setattr(IMPORTERS, "entries", dict(IMPORTERS.entries))
    monkeypatch.setattr(IMPORTERS, "complete", False)
    path = tmp_path / "network.toy"
    path.write_bytes(b"TOY" + struct.pack("<f", 0.25))
    return path


def test_the_importer_of_a_plugin_is_found(toy):
    assert importing.import_file(toy, "own") == ["own", "own-base"]
    assert torch.equal(models.load("own").w_avg, torch.full((4, 4), 0.25))
    card = models.card(models.companion("own", "encoder"))
    assert (card["format"], card["imported"]) == ("a toy project", "network.toy")
    (toy.parent / "other").write_bytes(b"?")
    with pytest.raises(models.ModelsError, match=r"no known format: .*, \.toy of a toy project"):
        importing.import_file(toy.parent / "other", "own")


def test_the_command_line_knows_it(toy, capsys):
    assert main(["import", str(toy), "own"]) in (0, None)
    assert "own, own-base saved in" in capsys.readouterr().out


BAD = '''
from idinvert.models.importers import IMPORTERS

IMPORTERS.register("a number")(42)

@IMPORTERS.register("raising")
class Raising:
    title, suffix = "nothing", ".none"

    @staticmethod
    def recognises(file):
        raise ZeroDivisionError("by nought")

    read = recognises

@IMPORTERS.register("careless")
class Careless:
    title, suffix = "careless people", ".less"

    @staticmethod
    def recognises(file):
        return file.path.suffix == ".less"

    @staticmethod
    def read(file):
        return {"generator": 3} if file.beginning == b"3" else None
'''


def test_bad_importers_do_not_hide_the_others(toy, capsys):
    plugin = toy.parent / "toy_importer.py"
    plugin.write_text(BAD + TOY)
    assert main(["import", str(toy), "own"]) in (0, None)
    shown = capsys.readouterr()
    assert "own, own-base saved in" in shown.out
    assert "'a number' of ?.42 is left out: it needs title, suffix, recognises" in shown.err
    assert "importer 'raising' is left out: ZeroDivisionError: by nought" in shown.err
    for content in ("3", "4"):
        (toy.parent / "a.less").write_text(content)
        assert main(["import", str(toy.parent / "a.less"), "new"]) == 1
        assert "are no networks by role" in (shown := capsys.readouterr().err)
        assert "not foreseen" not in shown
