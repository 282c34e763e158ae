"""Files of other projects become models of the registry: `idinvert import`."""

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from idinvert import models
from idinvert.boundaries import Boundary
from idinvert.cli import main
from idinvert.models import importing
from idinvert.models.importers import rosinality
from test_genforce import state
from test_rosinality import discriminator, generator


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "network.pt"
    torch.save({"g_ema": generator(), "d": discriminator(), "latent_avg": torch.zeros(6)}, path)
    return path


@torch.no_grad()
def test_imported_models_compute_exactly_what_the_file_does(checkpoint):
    assert main(["import", str(checkpoint), "own"]) == 0
    assert models.names() == ["own", "own-d"]
    state = torch.load(checkpoint)
    codes, images = torch.randn(2, 6, 6), torch.randn(4, 3, 16, 16)
    expected = rosinality.generator(state["g_ema"]).synthesis(codes)
    assert torch.equal(models.load("own").synthesis(codes), expected)
    assert torch.equal(models.load("own-d")(images), rosinality.discriminator(state["d"])(images))
    assert models.card("own")["format"] == "rosinality/stylegan2-pytorch"


def test_encoders_take_the_name_of_their_generator(tmp_path, checkpoint, capsys):
    path = tmp_path / "styleganinv_ffhq256_encoder.pth"
    torch.save(state("encoder", "E."), path)
    assert main(["import", str(path), "face"]) == 0
    assert models.names() == ["face-base"] and models.card("face-base")["generator"] == "face"
    main(["import", str(checkpoint), "own"])
    assert main(["import", str(path), "own"]) == 1
    assert "(128, 12, 32), own has (16, 6, 6)" in capsys.readouterr().err
    assert main(["import", str(path), "own-d"]) == 1
    assert "own-d is no generator, for it has no" in capsys.readouterr().err


def test_nothing_is_overwritten_unless_told(checkpoint, registry, capsys):
    main(["import", str(checkpoint), "own"])
    before = (registry / "own.json").read_text()
    assert main(["import", str(checkpoint), "own"]) == 1
    assert "exists: take another name, or --replace" in capsys.readouterr().err
    assert (registry / "own.json").read_text() == before
    models.save_boundaries("own", [Boundary("age", torch.ones(6, 6), 0.0, (0,))])
    assert main(["import", str(checkpoint), "own", "--replace"]) == 0
    assert "another generator" not in capsys.readouterr().err  # it is the very same
    content = torch.load(checkpoint)
    content["g_ema"]["input.input"] += 1
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own", "--replace"]) == 0
    assert "made for the one before, own-boundaries." in capsys.readouterr().err
    del content["d"]
    content["g_ema"]["input.input"] += 1
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own", "--replace"]) == 0
    assert "made for the one before, own-d, own-boundaries." in capsys.readouterr().err


def test_the_same_command_goes_on_where_an_import_was_stopped(checkpoint, monkeypatch, capsys):
    """As the message of a full disk says; the generator is saved, its discriminator is not."""
    def save(name, *arguments, real=models.store.save, **options):
        if name.endswith("-d"):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        return real(name, *arguments, **options)

    with monkeypatch.context() as full:
        full.setattr(models.store, "save", save)
        assert main(["import", str(checkpoint), "own"]) == 1
    assert "the same command continues" in capsys.readouterr().err and models.names() == ["own"]
    content = checkpoint.read_bytes()
    torch.save({"g_ema": generator(), "d": discriminator()}, checkpoint)
    assert main(["import", str(checkpoint), "own"]) == 1  # of another file
    assert "A model own exists" in capsys.readouterr().err
    checkpoint.write_bytes(content)
    assert main(["import", str(checkpoint), "own"]) == 0 and models.names() == ["own", "own-d"]
    for name in ("own", "own-d"):  # a discriminator, of the same file
        assert main(["import", str(checkpoint), name]) == 1


def test_a_file_that_changes_while_it_is_read_is_not_imported(checkpoint, monkeypatch, capsys):
    """Its SHA-256 in the card would be that of another content."""
    def read(*arguments, real=importing.contents):
        found = real(*arguments)
        torch.save({"g_ema": generator()}, checkpoint)
        return found

    monkeypatch.setattr(importing, "contents", read)
    assert main(["import", str(checkpoint), "own"]) == 1
    assert "network.pt has changed while it was read" in capsys.readouterr().err
    assert not models.names()


def test_a_generator_fits_the_encoder_that_came_before_it(tmp_path, checkpoint, capsys):
    for name, prefix in (("encoder", "E."), ("generator_layerwise", "G.")):
        torch.save(state(name, prefix), tmp_path / f"{name}.pth")
    main(["import", str(tmp_path / "encoder.pth"), "face"])
    assert main(["import", str(checkpoint), "face"]) == 1
    assert "face-base is for (px, layers, dimensions) (128, 12, 32), face has (16, 6, 6): take" in (
        capsys.readouterr().err)
    assert models.names() == ["face-base"]
    assert main(["import", str(tmp_path / "generator_layerwise.pth"), "face"]) == 0
    assert main(["import", str(checkpoint), "face", "--replace"]) == 0
    assert "made for the one before, face-base." in capsys.readouterr().err


def test_a_model_with_a_damaged_card_is_replaced_if_told(checkpoint, registry, capsys):
    main(["import", str(checkpoint), "own"])
    (registry / "own.json").write_text("{")
    assert main(["import", str(checkpoint), "own"]) == 1
    assert "own.json is no card of a model" in capsys.readouterr().err
    assert main(["import", str(checkpoint), "own", "--replace"]) == 0 and models.load("own")


def test_two_imports_under_one_name_do_not_meet(checkpoint, monkeypatch):
    """Though both have read their file before one of them saves."""
    read, save, both = importing.contents, models.store.save, threading.Barrier(2, timeout=60)

    def together(*arguments):
        found = read(*arguments)
        both.wait()
        return found

    def slowly(*arguments, **options):
        time.sleep(0.3)
        return save(*arguments, **options)

    monkeypatch.setattr(importing, "contents", together)
    monkeypatch.setattr(models.store, "save", slowly)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(importing.import_file, checkpoint, "own") for _ in range(2)]
        one, other = sorted((job.exception() for job in jobs), key=bool)
    assert one is None and "A model own exists: take another name" in str(other)


def test_boundaries_join_those_of_their_generator(checkpoint, tmp_path, capsys):
    path = tmp_path / "age.npy"
    np.save(path, {"boundary": np.ones((1, 6, 6), np.float32),
                   "meta_data": {"manipulate_layers": [0, 2]}})
    assert main(["import", str(path), "own"]) == 1
    assert "Unknown model 'own'" in capsys.readouterr().err
    main(["import", str(checkpoint), "own"])
    assert main(["import", str(path), "own"]) == 0
    assert main(["import", str(path), "own", "--attribute", "old"]) == 0
    assert main(["import", str(path), "own"]) == 1
    assert "has a boundary 'age'" in capsys.readouterr().err
    known = models.load_boundaries("own")
    assert list(known) == ["age", "old"] and known["old"].layers == (0, 2)
    assert main(["import", str(path), "own-d"]) == 1
    assert "own-d is no generator, for it has no" in capsys.readouterr().err
    path = path.rename(tmp_path / "a\u0308lter.npy")  # as macOS writes it
    assert main(["import", str(path), "own"]) == 0
    assert "\u00e4lter" in models.load_boundaries("own")


@pytest.mark.parametrize("content, message", [
    (b"<html>sign in</html>", "is a web page"),
    (b"something else", "is of no known format"),
    (b"", "is empty"),
    (b"\x80\x04}.", "holds no network G_ema"),
    (b"PK\x03\x04", "is not a PyTorch file of plain tensors: it is no whole pickle, as where a "
                      "download broke off: fetch it again."),
    (b"\x93NUMPY\x01\x00", "is no NumPy file"),
])  # fmt: skip
def test_other_files_are_refused_in_one_sentence(
        checkpoint, tmp_path, registry, content, message, capsys):
    main(["import", str(checkpoint), "own"])
    files = sorted(registry.iterdir())
    path = tmp_path / "file"
    path.write_bytes(content)
    capsys.readouterr()
    assert main(["import", str(path), "own", "--replace"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("idinvert import: error: ") and error.count("\n") == 1
    assert message in error and sorted(registry.iterdir()) == files


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", "", "a b"])
def test_names_stay_in_the_registry(checkpoint, name):
    with pytest.raises(models.ModelsError, match="is no name of a model"):
        importing.import_file(checkpoint, name)


def test_attributes_are_no_options():
    with pytest.raises(models.ModelsError, match="'-x' is no name of an attribute: `idinvert edit"):
        importing.check_attribute("-x")


def test_a_model_does_not_look_like_weights_that_are_left_over(checkpoint):
    """Saving "own" would remove them."""
    with pytest.raises(models.ModelsError, match="'own.202311231530' ends like weights that are"):
        importing.import_file(checkpoint, "own.202311231530")


def test_a_model_does_not_take_the_place_of_boundaries(checkpoint):
    with pytest.raises(models.ModelsError, match="is what the boundaries of 'own' are called"):
        importing.import_file(checkpoint, "own-boundaries")


@pytest.mark.parametrize("change, message", [
    (lambda x: x * torch.nan, "numbers that are not finite in float32"),
    (lambda x: x.double() * 1e300, "numbers that are not finite in float32"),
    (lambda x: x.int(), "holds numbers of the type int32, not floats"),
    (lambda x: x.to(torch.complex64), "holds numbers of the type complex64, not floats"),
], ids=["nan", "too-large", "whole", "complex"])
@pytest.mark.parametrize("part", ["g_ema", "latent_avg"])
def test_weights_that_no_network_computes_with_are_refused(checkpoint, part, change, message,
                                                           capsys):
    content = torch.load(checkpoint)
    if part == "latent_avg":
        content[part] = change(content[part] + 1)
    else:
        content[part]["conv1.conv.weight"] = change(content[part]["conv1.conv.weight"])
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own"]) == 1
    assert message in capsys.readouterr().err and not models.names()


def test_a_network_in_few_bits_is_refused_as_such(checkpoint, capsys):
    """Not for its filters, whose numbers are zero in these."""
    content = torch.load(checkpoint)
    content["g_ema"] = {key: value.to(torch.int8) for key, value in content["g_ema"].items()}
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own"]) == 1
    assert "numbers of the type int8, not floats: import the network as it was before" in (
        capsys.readouterr().err)


def test_a_discriminator_that_has_diverged_is_left_out(checkpoint, capsys):
    content = torch.load(checkpoint)
    content["d"]["final_linear.1.bias"] *= torch.inf
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own"]) == 0
    assert models.names() == ["own"]
    assert "without its discriminator: Key 'final_linear.1.bias'" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.",
                                    "_orig_mod.module."])
def test_prefixes_of_wrapped_networks_are_taken_off(checkpoint, prefix):
    content = torch.load(checkpoint)
    content["g_ema"] = {prefix + key: value for key, value in content["g_ema"].items()}
    torch.save(content, checkpoint)
    assert main(["import", str(checkpoint), "own"]) == 0


def test_what_has_no_end_or_is_too_large_is_not_read(tmp_path, capsys):
    with open(tmp_path / "large.pt", "wb") as file:
        file.write(b"PK\3\4")
        file.truncate(9 << 30)  # a hole, which takes no space
    for path, message in (("/dev/zero", "/dev/zero is no file"),
                          (tmp_path / "large.pt", "large.pt has more than 8 GB")):
        assert main(["import", str(path), "own"]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("attribute", [" ", "a\nb", "\x1b[31m"])
def test_attributes_have_names_that_can_be_read(checkpoint, tmp_path, attribute, capsys):
    main(["import", str(checkpoint), "own"])
    np.save(tmp_path / "age.npy", np.ones((1, 6)))
    assert main(["import", str(tmp_path / "age.npy"), "own", "--attribute", attribute]) == 1
    assert "is no name of an attribute" in capsys.readouterr().err


def test_networks_have_no_attribute(checkpoint, capsys):
    assert main(["import", str(checkpoint), "own", "--attribute", "smile"]) == 1
    assert "holds no boundary, which alone has an attribute: leave --attribute out." in (
        capsys.readouterr().err)
    assert not models.names()


def test_another_file_of_the_same_name_is_not_taken_for_the_one_that_was_imported(checkpoint):
    """As where a training has gone on, and a profile names its checkpoint."""
    for _ in range(2):
        importing.import_missing([checkpoint], "own")
    torch.save({"g_ema": generator()}, checkpoint)
    with pytest.raises(models.ModelsError, match="is not the file that own was imported from"):
        importing.import_missing([checkpoint], "own")
    checkpoint.unlink()
    importing.import_missing([checkpoint], "own")
