"""`idinvert invert`: many images, resumed, shared, and none harmed by another."""

import hashlib
import json
import os
import shutil
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.data import open_source, read_image, to_uint8, write_image
from idinvert.inversion import InDomain, Networks, files
from idinvert.inversion.model import Model
from idinvert.models import pretrained
from idinvert.photographs import Photographs
from results_of import command, everything


def test_every_readable_image_is_inverted_as_in_domain_does(own_registry, images, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(images, out)) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("5 ok, 0 diverged, 1 unreadable")
    assert "broken.jpg is not an image" in captured.err
    table = pd.read_csv(out / "losses.csv").set_index("image")
    assert table["state"].to_dict() == {
        "0.png": "ok", "2.png": "ok", "4.png": "ok", "broken.jpg": "unreadable",
        "sub/1.png": "ok", "sub/3.png": "ok"}
    photo = read_image(images / "sub" / "3.png", 8)
    networks = Networks(models.load("own"), None, models.load("own-base"))
    expected = InDomain(lambda_dom=2.0, iterations=3).invert(networks, photo[None])
    with np.load(out / "codes" / "sub" / "3.npz") as found:
        np.testing.assert_allclose(found["code"], expected.codes[0], atol=1e-5)
        np.testing.assert_allclose(found["loss_total"], expected.losses["total"][0], rtol=1e-4)
    row = table.loc["sub/3.png"]
    assert row["total"] == pytest.approx(row["pixel"] + 2 * row["code"], rel=1e-5)
    assert row["mse"] == pytest.approx((expected.images - photo).square().mean().item(), rel=1e-4)
    rendered = to_uint8(read_image(out / "images" / "sub" / "3.png", 8)).int()
    assert (rendered - to_uint8(expected.images[0]).int()).abs().max() <= 1
    assert np.array_equal(np.load(out / "codes.npy")[4], np.load(out / "codes/sub/3.npz")["code"])


def test_a_run_that_could_read_no_image_fails(own_registry, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert main(command(tmp_path, tmp_path / "out")) == 1
    write_image(tmp_path / "small.png", torch.zeros(3, 4, 4))
    assert main(command(tmp_path / "small.png", tmp_path / "out")) == 1
    assert capsys.readouterr().out.startswith("0 ok, 0 diverged, 1 unreadable")


def test_images_far_out_of_range_stop_no_run(own_registry, images, tmp_path):
    """Their codes are finite, and the table tells how far off they are."""
    assert main(command(images, tmp_path / "out", **{"learning-rate": 1e6})) == 0
    assert len(list((tmp_path / "out" / "images").rglob("*.png"))) == 5


def test_finished_images_are_left_alone_and_missing_ones_made(own_registry, images, tmp_path):
    out = tmp_path / "out"
    main(command(images, out))
    first = np.load(out / "codes.npy")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    (out / "codes" / "2.npz").unlink()
    (images / "broken.jpg").write_bytes((images / "0.png").read_bytes())
    assert main(command(images, out)) == 0
    kept = {p for p, t in times.items() if p.stat().st_mtime_ns == t}
    assert set(times) - kept == {out / "codes" / "2.npz"}
    assert pd.read_csv(out / "losses.csv")["state"].eq("ok").all()
    np.testing.assert_allclose(np.load(out / "codes.npy")[[0, 1, 2, 4, 5]], first, atol=1e-5)


@pytest.mark.parametrize("lost", [["0"], ["2", "4"], ["4", "sub/1"], ["0", "2", "sub/3"]])
def test_interrupted_run_ends_with_the_very_numbers_of_another(
        own_registry, images, tmp_path, lost):
    """Whatever the interruption left undone of a batch, its images are inverted together again."""
    options = {"batch": 4, "lambda-vgg": 0}
    main(command(images, tmp_path / "whole", **options))
    main(command(images, tmp_path / "resumed", **options))
    for name in lost:
        (tmp_path / "resumed" / "codes" / f"{name}.npz").unlink()
        (tmp_path / "resumed" / "images" / f"{name}.png").unlink()
    for name in ("codes.npy", "losses.csv"):
        (tmp_path / "resumed" / name).unlink()
    main(command(images, tmp_path / "resumed", **options))
    assert everything(tmp_path / "whole") == everything(tmp_path / "resumed")


def test_batch_whose_missing_images_cannot_be_read_is_not_inverted_again(
        own_registry, images, tmp_path, monkeypatch):
    main(command(images, tmp_path / "out", batch=6))
    monkeypatch.setattr(InDomain, "invert", None)
    assert main(command(images, tmp_path / "out", batch=6)) == 0


def test_image_that_diverges_in_the_last_step_is_not_called_ok(
        own_registry, images, tmp_path, capsys):
    """Its losses are all finite: they are taken before each step."""
    model, out = Model("own", "cpu"), tmp_path / "out"
    method = InDomain(iterations=1, lambda_vgg=0)
    object.__setattr__(method, "learning_rate", float("inf"))
    counts = files.run(files.Job(model, method, open_source(images), out), progress=False)
    assert counts == {"diverged": 5, "unreadable": 1}
    table = pd.read_csv(out / "losses.csv").set_index("image")
    assert table.loc["0.png", "state"] == "diverged" and np.isfinite(table.loc["0.png", "total"])
    start = model.encode(read_image(images / "0.png", 8)[None])
    np.testing.assert_allclose(np.load(out / "codes" / "0.npz")["code"], start[0], atol=1e-6)
    assert "0.png has diverged and kept its start" in capsys.readouterr().err


def test_other_settings_need_another_folder(own_registry, images, tmp_path, capsys):
    main(command(images, tmp_path / "out"))
    before = (tmp_path / "out" / "settings.json").read_text()
    told = json.loads(before)
    assert told["lambda_dom"] == 2.0 and told["method"] == "in-domain" and told["model"] == "own"
    assert told["iterations"] == 3 and told["learning_rate"] == 0.01  # given, and left out
    assert told["sha256"]["generator"] == models.card("own")["sha256"]
    assert told["sha256"]["encoder"] == models.card("own-base")["sha256"]
    assert main(command(images, tmp_path / "out", **{"lambda-dom": 5})) == 1
    assert "lambda_dom 2.0, not 5.0: take another folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "settings.json").read_text() == before


def test_processes_share_the_images(own_registry, images, tmp_path, monkeypatch):
    """Two processes, one after the other here, leave what one leaves."""
    main(command(images, tmp_path / "one"))
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(command(images, tmp_path / "two")) == 0
        count = len(list((tmp_path / "two" / "codes").rglob("*.npz")))
        assert count == (5 if rank == 0 else 2)
    one, two = (pd.read_csv(tmp_path / x / "losses.csv") for x in ("one", "two"))
    pd.testing.assert_frame_equal(one.drop(columns="note"), two.drop(columns="note"), rtol=1e-4)


class Poisoned(torch.nn.Module):
    """An encoder whose code for a white image is `code`."""

    resolution, num_layers, w_dim = 8, 4, 4

    def __init__(self, code):
        super().__init__()
        self.scale, self.code = torch.nn.Parameter(torch.ones(())), code

    def forward(self, images):
        mean = images.mean((1, 2, 3)) * self.scale
        code = torch.where(mean > 0.99, self.code, mean)
        return code[:, None, None].expand(-1, 4, 4)


@pytest.mark.parametrize("code", [torch.inf, 3e38])  # of the second the image is not finite
def test_a_diverging_image_is_reported_and_the_others_are_not_touched(
        own_registry, images, tmp_path, code, capsys):
    model, method = Model("own", "cpu"), InDomain(iterations=3, lambda_vgg=0)
    model.encoder = Poisoned(code)

    def run(out):
        return files.run(files.Job(model, method, open_source(images), out, batch=6),
                         progress=False)

    assert run(tmp_path / "without") == {"ok": 5, "unreadable": 1}
    write_image(images / "3-white.png", torch.ones(3, 8, 8))
    assert run(tmp_path / "with") == {"ok": 5, "unreadable": 1, "diverged": 1}
    assert "3-white.png has diverged" in capsys.readouterr().err
    without, found = (pd.read_csv(tmp_path / x / "losses.csv").set_index("image")
                      for x in ("without", "with"))
    assert found.loc["3-white.png", "state"] == "diverged"
    pd.testing.assert_series_equal(found.drop("3-white.png")["mse"], without["mse"], rtol=1e-4)


def test_names_of_results():
    assert files.file_names(["a.png", "A.jpg", "b.png", "x/b.png", "c.d.png", "key"]) == {
        "a.png": "a.png", "A.jpg": "A.jpg", "b.png": "b", "x/b.png": "x/b", "c.d.png": "c.d",
        "key": "key"}
    long = "x" * 251 + ".png"
    names = ["x.jpg", "x.png", "x.png.jpg", "y.jpg", "y.png/a.png", "e\u0301.png", "\xe9.png",
             "B.png", "b.png", long, long[1:] + ".jpg"]
    for given in (names, names[::-1]):
        found = files.file_names(given)
        folded = {unicodedata.normalize("NFC", file).casefold() for file in found.values()}
        assert len(folded) == len(names)  # also where letters and accents are folded
        assert f"{found['y.jpg']}.png" != "y.png"  # the folder of the other one's images
        assert all(len(file.encode()) < 230 for file in found.values())
    deep = [f"{'x/' * 2500}{name}" for name in ("a.png", "b.png")]  # as a zip may say
    assert all(len(file) < 2100 for file in files.file_names(deep).values())
    # later images take none of the names that earlier ones have
    assert files.file_names(["x.jpg", "x.png"], {"x.png": "x"}) == {"x.png": "x", "x.jpg": "x.jpg"}
    # as disks of Windows take them
    assert files.file_names(["10:30?.png", "10_30_.png"]) == {
        "10:30?.png": "10_30_", "10_30_.png": "10_30_.png"}


def test_names_in_a_zip_take_little_memory_and_few_folders(own_registry, images, tmp_path):
    tracemalloc.start()
    files.file_names([f"{'x/' * 30_000}{name}" for name in ("a.png", "b.png")])
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(images / "0.png", f"{'x/' * 900}a.png")
        archive.write(images / "2.png", "b.png")
    for _ in range(2):
        assert main(command(tmp_path / "a.zip", tmp_path / "out")) == 0
    assert len(np.load(tmp_path / "out" / "codes.npy")) == 2


def table_of(out):
    return pd.read_csv(out / "losses.csv").set_index("image")


def test_another_image_of_the_same_name_is_an_error(own_registry, images, tmp_path, capsys):
    """And not "ok" with the code of the first."""
    out, other = tmp_path / "out", tmp_path / "other"
    main(command(images, out))
    before = everything(out)
    write_image(other / "0.png", torch.rand(3, 9, 9))
    assert main(command(other, out)) == 1
    assert "has the inversion of another 0.png, of" in capsys.readouterr().err
    shutil.copy(other / "0.png", images / "0.png")  # the same folder, changed
    assert main(command(images, out)) == 1
    assert everything(out) == before


def test_images_may_change_and_vanish_during_the_run(own_registry, images, tmp_path, monkeypatch):
    """What a code tells of its image is of the bytes that were inverted."""
    before, invert = (images / "0.png").read_bytes(), InDomain.invert

    def change(*arguments, **options):
        write_image(images / "0.png", torch.zeros(3, 9, 9))
        (images / "2.png").unlink(missing_ok=True)
        return invert(*arguments, **options)

    monkeypatch.setattr(InDomain, "invert", change)
    assert main(command(images, tmp_path / "out")) == 0
    table = pd.read_csv(tmp_path / "out" / "losses.csv").set_index("image")
    assert table.loc["0.png", "sha256"] == hashlib.sha256(before).hexdigest()
    assert table.loc["2.png", "state"] == "ok"


def test_results_removed_during_the_run_are_told_and_made_again(own_registry, images, tmp_path,
                                                                monkeypatch, capsys):
    out, save = tmp_path / "out", files.save

    def removing(results, name, *rest):
        if name == "sub/1.png":
            shutil.rmtree(out)
        save(results, name, *rest)
    monkeypatch.setattr(files, "save", removing)
    assert main(command(images, out)) == 1
    assert "4 results were removed from" in capsys.readouterr().err
    assert main(command(images, out)) == 0
    assert capsys.readouterr().out.startswith("5 ok")
    assert main(command(images, out, iterations=4)) == 1  # the folder knows its settings again


@pytest.mark.parametrize("other", [{"face": 2}, {"align": True}])
def test_another_face_of_an_image_is_an_error(own_registry, images, tmp_path, monkeypatch, other):
    monkeypatch.setattr("idinvert.photographs.source.shows_face", lambda photograph: True)
    model = Model("own", "cpu")
    jobs = [files.Job(model, InDomain(lambda_vgg=0, iterations=1), Photographs(
        **vars(open_source(images / "0.png")), **options), tmp_path / "out")
        for options in ({"align": False}, {"align": True, **other})]
    for _ in range(2):
        assert files.run(jobs[0], progress=False)["ok"] == 1
    with pytest.raises(ValueError, match="another part of 0.png, as --face and --no-align choose"):
        files.run(jobs[1], progress=False)


def test_results_without_their_settings_take_no_others(own_registry, images, tmp_path, capsys):
    out = tmp_path / "out"
    main(command(images, out))
    (out / "settings.json").unlink()
    before = everything(out)
    assert main(command(images, out, iterations=4)) == 1
    assert "settings.json, which says what results were made with" in capsys.readouterr().err
    assert everything(out) == before
    main(command(images / "0.png", tmp_path / "one"))
    shutil.copy(tmp_path / "one" / "settings.json", out)  # as the sentence goes on
    assert main(command(images, out)) == 0 and everything(out)[Path("codes.npy")]


def test_no_vgg_is_needed_without_its_term(own_registry, images, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "load_vgg16", None)
    assert main(command(images, tmp_path / "out")) == 0


@pytest.mark.parametrize("name", ["images/0.png", "codes/a.npz", "failed/a.txt", "losses.csv",
                                  "codes.npy", "comparison.png"])
def test_files_of_others_are_not_replaced(own_registry, images, tmp_path, name, capsys):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert main(command(images, tmp_path / "out")) == 1
    assert f"{path} is there without" in capsys.readouterr().err
    assert path.read_text() == "mine"


@pytest.mark.parametrize("path", ["images", "images/0.png", "linked"])
def test_photographs_are_not_replaced_by_their_inversions(own_registry, images, tmp_path,
                                                          monkeypatch, path, capsys):
    images.rename(tmp_path / "images")
    (tmp_path / "linked").symlink_to("images")
    before = everything(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    assert main(command(path, ".")) == 2
    assert ". holds the photographs: name another folder" in capsys.readouterr().err
    assert everything(tmp_path / "images") == before


def test_weights_replaced_while_they_are_loaded_are_told(own_registry, images, tmp_path,
                                                         monkeypatch, capsys):
    """The folder would say that its codes are of the former ones."""
    load = models.load

    def replacing(name, device="cpu"):
        if name == "own-base":
            network = load("own-base")
            torch.nn.init.zeros_(next(network.parameters()))
            models.save("own-base", network, overwrite=True)
        return load(name, device)
    monkeypatch.setattr(models, "load", replacing)
    assert main(command(images, tmp_path / "out")) == 1
    assert "weights of own were replaced while they were loaded" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    assert main(command(images, tmp_path / "out")) == 0


def test_other_images_join_those_that_are_there(own_registry, images, tmp_path):
    """Each row tells its image by name, size and content, and has that image's code."""
    out = tmp_path / "out"
    assert main(command(images / "4.png", out)) == 0 and main(command(images, out)) == 0
    assert main(command(images / "2.png", out)) == 0  # the others are not lost
    table, codes = table_of(out), np.load(out / "codes.npy")
    assert list(table.index) == ["0.png", "2.png", "4.png", "sub/1.png", "sub/3.png"]
    for (name, row), code in zip(table.iterrows(), codes):
        content = (images / name).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        np.testing.assert_array_equal(np.load(out / "codes" / f"{row['file']}.npz")["code"], code)


def test_images_whose_names_differ_in_their_suffixes_have_codes_of_their_own(
        own_registry, tmp_path):
    for name in ("x.png", "x.bmp", "x.png.bmp"):
        write_image(tmp_path / "photos" / name, torch.rand(3, 9, 9) * 2 - 1)
    assert main(command(tmp_path / "photos", tmp_path / "out")) == 0
    assert len(np.unique(np.load(tmp_path / "out" / "codes.npy"), axis=0)) == 3


def test_names_that_are_no_text_are_inverted_and_tabled(own_registry, images, tmp_path):
    try:
        os.rename(images / "2.png", os.fsencode(images) + b"/caf\xe9,\n\".png")
    except OSError:
        pytest.skip("this file system has names of text alone")
    assert main(command(images, tmp_path / "out")) == 0
    table = table_of(tmp_path / "out")
    assert table.loc['caf\\xe9,\\x0a".png', "state"] == "ok" and len(table) == 6


def test_another_encoder_is_named_alone(own_registry, images, tmp_path, capsys):
    main(command(images, tmp_path / "out"))
    network = models.load("own-base").requires_grad_(True)
    torch.nn.init.zeros_(next(network.parameters()))
    models.save("own-base", network)
    assert main(command(images, tmp_path / "out")) == 1
    assert "out was made with another encoder: take another folder" in capsys.readouterr().err


def test_out_of_memory_halves_the_batch_once(own_registry, images, tmp_path, monkeypatch, capsys):
    plain, sizes = InDomain.invert, []

    def invert(limit):
        def limited(self, networks, images, **options):
            sizes.append(len(images))
            if len(images) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return plain(self, networks, images, **options)
        return limited

    monkeypatch.setattr(InDomain, "invert", invert(2))
    assert main(command(images, tmp_path / "out", batch=4)) == 0
    assert sizes[0] > 2 >= max(sizes[1:])
    assert table_of(tmp_path / "out")["state"].eq("ok").sum() == 5
    told = "warning: out of memory: going on with a batch of 2 instead of 3."
    assert capsys.readouterr().err.count(told) == 1
    monkeypatch.setattr(InDomain, "invert", invert(0))
    assert main(command(images, tmp_path / "again", batch=4)) == 1
    assert "error: out of memory: take a smaller --batch" in capsys.readouterr().err


@pytest.mark.parametrize("method, count", [("domain-guided", 0), ("image2stylegan", 20)])
def test_other_methods(own_registry, images, tmp_path, method, count):
    options = {"method": method, "iterations": count or None}
    if not count:  # the encoder alone has no settings
        options["lambda-vgg"] = None
    assert main(command(images / "0.png", tmp_path / "out", **options)) == 0
    with np.load(tmp_path / "out" / "codes" / "0.npz") as found:
        if method == "domain-guided":
            expected = models.load("own-base")(read_image(images / "0.png", 8)[None])[0]
            np.testing.assert_allclose(found["code"], expected.detach(), atol=1e-6)
        else:
            assert len(found["loss_total"]) == 20
            assert found["loss_total"][-1] < found["loss_total"][0]


@pytest.mark.parametrize("options, status, message", [
    ({"iterations": -1}, 2, "iterations is -1, but should be greater than or equal to 0"),
    ({"batch": 0}, 2, "batch is 0, but should be greater than or equal to 1"),
    ({"method": "in-domian"}, 2, "unknown method 'in-domian': did you mean 'in-domain'"),
    ({"encoder": "owl"}, 1, "Unknown model 'owl': did you mean own"),
    ({"method": "image2stylegan", "encoder": "own-base"}, 2, "does not use --encoder: leave it"),
    ({"device": "cuda:9"}, 1, "device 'cuda:9' cannot be used"),
])  # fmt: skip
def test_errors_are_one_sentence(own_registry, images, tmp_path, options, status, message,
                                 capsys):
    assert main(command(images, tmp_path / "out", **options)) == status
    error = capsys.readouterr().err
    assert error.startswith("idinvert invert: error: ") and error.count("\n") == 1
    assert message in error


def test_the_encoder_that_is_named_makes_in_domain_inversion_usual(own_registry, images, tmp_path):
    models.save("mine", models.load("own"))
    words = command(images / "0.png", tmp_path / "out", encoder="own-base")
    assert main(["mine" if word == "own" else word for word in words]) == 0
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (told["model"], told["method"]) == ("mine", "in-domain")


def test_the_last_of_two_methods_counts(own_registry, images, tmp_path):
    assert main([*command(images / "0.png", tmp_path / "out", method="domain-guided"),
                 "--method", "image2stylegan"]) == 0
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (told["method"], told["iterations"]) == ("image2stylegan", 3)
