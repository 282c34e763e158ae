"""Boundaries from labels in a CSV file: `idinvert boundaries`."""

import gzip
from shutil import rmtree

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import models
from idinvert.boundaries import Boundary, labelled
from idinvert.cli import main
from idinvert.cli.boundaries import Command, codes_of
from idinvert.data import write_image
from idinvert.inversion import inverted
from idinvert.inversion.inverted import inverted_codes
from idinvert.nn import pooled
from idinvert.nn.mobilestylegan import Generator


@pytest.fixture
def folder(tmp_path, own_registry):
    """Bright and dark images, and a registry whose encoder tells them apart."""
    rows = []
    for i in range(40):
        bright = i % 2
        shade = (0.6 if bright else -0.6) + torch.rand(3, 8, 8) * 0.3
        write_image(tmp_path / "photos" / f"{i}.png", shade)
        rows.append({"image": f"{i}.png" if i % 3 else str(i), "bright": bright})
    table = pd.DataFrame(rows)
    table.loc[:3, "bright"] = np.nan  # not labelled
    table.to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "photos" / "39.png").write_bytes(b"no image")
    return tmp_path


def command(folder, **options):
    options = {"model": "own", "labels": folder / "labels.csv", "images": folder / "photos",
               "device": "cpu"} | options
    return ["boundaries", *words(options)]


def words(options):
    return [x for k, v in options.items() if v is not None for x in (f"--{k}", str(v))]


def test_boundary_separates_the_labels(folder, capsys):
    assert main(command(folder)) == 0
    captured = capsys.readouterr()
    assert "left out: 39.png" in captured.err
    boundary = models.load_boundaries("own")["bright"]
    assert boundary.accuracy == 1
    network = models.load("own-base")
    bright, dark = (boundary.distance(network(torch.full((1, 3, 8, 8), x))) for x in (0.7, -0.5))
    assert bright > 0 > dark


def test_inverted_codes_are_taken_by_name(folder, tmp_path, capsys):
    """Codes whose label only their name tells; one has diverged."""
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in rng.permutation(40)]
    codes = rng.standard_normal((40, 4, 4)).astype(np.float32)
    codes[:, 1, 2] += [5 * (int(name[:-4]) % 2) for name in names]
    codes[7] = np.nan
    states = ["diverged" if i == 7 else "ok" for i in range(40)]
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "codes.npy", codes)
    rows = pd.DataFrame({"image": names, "state": states})
    bad = pd.DataFrame({"image": ["x.png"], "state": ["unreadable"]})
    pd.concat([bad, rows]).to_csv(tmp_path / "out" / "losses.csv", index=False)
    assert main(command(folder, images=None, inverted=tmp_path / "out", device=None)) == 0
    assert "1 of 40 labels have no image and are left out" in capsys.readouterr().err
    boundary = models.load_boundaries("own")["bright"]
    assert boundary.normal[1, 2] > 0.8 and boundary.accuracy > 0.7
    (tmp_path / "out" / "codes").mkdir()
    for name, code in zip(names, codes):
        np.savez(tmp_path / "out" / "codes" / f"{name}.npz", code=code)
    rows["file"] = names  # sorted, as by a spreadsheet; the order of codes.npy is another
    rows.sort_values("image").to_csv(tmp_path / "out" / "losses.csv", index=False)
    found, by_name = inverted_codes(tmp_path / "out")
    assert by_name == sorted(set(names) - {names[7]})
    assert all(torch.equal(code, torch.from_numpy(codes[names.index(name)]))
               for code, name in zip(found, by_name))
    rmtree(tmp_path / "out" / "codes")
    again = [*command(folder, images=None, inverted=tmp_path / "out", device=None), "--replace"]
    np.save(tmp_path / "out" / "codes.npy", codes[:, :3])
    assert main(again) == 1
    assert "codes of (3, 4) layers and dimensions, but own takes (4, 4)" in capsys.readouterr().err
    rows.assign(state="diverged").to_csv(tmp_path / "out" / "losses.csv")
    assert main(again) == 1
    assert "no image that was inverted without diverging" in capsys.readouterr().err


def test_boundaries_are_not_overwritten_unless_told(folder, capsys):
    main(command(folder))
    assert main(command(folder)) == 1
    assert "own has a boundary 'bright'" in capsys.readouterr().err
    assert main([*command(folder, space="layer"), "--replace", "--layers", "1", "2"]) == 0
    boundary = models.load_boundaries("own")["bright"]
    assert boundary.layers == (1, 2) and boundary.space == "layer"


def test_a_boundary_that_came_meanwhile_is_not_overwritten(folder, monkeypatch, capsys):
    """As of another command, while the first one encoded images."""
    fit, other = labelled.fit_labels, Boundary("bright", torch.eye(4), 0.0, (0,))

    def slowly(*arguments):
        models.save_boundaries("own", [other], add=True)
        return fit(*arguments)

    monkeypatch.setattr(labelled, "fit_labels", slowly)
    assert main(command(folder)) == 1
    assert "own has a boundary 'bright': name the column" in capsys.readouterr().err
    assert torch.equal(models.load_boundaries("own")["bright"].normal, other.normal)


def test_attributes_that_few_images_have_stop_no_others(folder, capsys):
    table = pd.read_csv(folder / "labels.csv")
    table["rare"], table["unknown"] = [1, 1, *[0] * 38], np.nan
    table.to_csv(folder / "labels.csv", index=False)
    assert main(command(folder)) == 0
    captured = capsys.readouterr()
    assert "left out: Attribute 'rare' has 2 positive and 38 negative images" in captured.err
    assert "left out: Attribute 'unknown' has 0 positive and 0 negative images" in captured.err
    assert captured.out.startswith("bright") and list(models.load_boundaries("own")) == ["bright"]


@pytest.mark.parametrize("labels, options, message", [
    ([1] * 40, [], "Attribute 'old' has 40 positive and 0 negative images"),
    ([0, 1] * 20, ["--layers", "1", "1"], "--layers: layers are [1, 1], but each should be named"),
    ([0, 1] * 20, ["--layers", "4"], "--layers: layers are [4], but should be within 0 to 3"),
])
def test_no_image_is_encoded_in_vain(folder, monkeypatch, labels, options, message, capsys):
    monkeypatch.delattr(labelled, "encoded_codes")
    rows = [f"{i}.png,{label}" for i, label in enumerate(labels)]
    (folder / "labels.csv").write_text("\n".join(["image,old", *rows]))
    assert main([*command(folder), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text, message", [
    ("", "no readable CSV file"),
    ("image,old\n1.png,0\na, b.png,1\n", "(Expected 2 fields in line 3, saw 3): save the table"),
    ("image" + "," * (1 << 20) + "\n", "labels.csv has more than 32768 columns"),
    ("name,old\n1.png,0\n", "needs a column 'image'"),
    ("image;old\n1.png;0\n", "with commas in between, but has 'image;old'"),
    ("image\n1.png\n", "needs a column 'image' and one for each attribute"),
    ("image,old,old\n1.png,0,1\n", "the column 'old' twice"),
    ("image,image,old\n1.png,1.png,1\n", "the column 'image' twice"),
    ("image,old\n1.png,0\n1.png,1\n", "the image '1.png' twice"),
    ("image,old\n", "has no rows"),
    ("image,old\n1.png," + "9" * 400 + "\n", "other values than 0 and 1"),
    ("image,old\n1.png,2\n", "other values than 0 and 1 in the column 'old'"),
    ("image,old\n1.png,yes\n", "other values than 0 and 1 in the column 'old'"),
    ("image,old\n1.png,0.5\n", "in the column 'old', as '0.5' for '1.png'."),
    ("image,old\na.png,1\n", "None of the images has a label"),
    ("image,old\n1.png,1\n2.png,0\n", "'old' has 1 positive and 1 negative images"),
])  # fmt: skip
def test_bad_labels_are_one_sentence(folder, text, message, capsys):
    (folder / "labels.csv").write_text(text)
    assert main(command(folder)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("idinvert boundaries: error: ") and message in error


def test_codes_that_are_damaged_or_missing_are_named(folder, tmp_path, capsys):
    """One of many: the folder as a whole is sound."""
    (tmp_path / "out" / "codes").mkdir(parents=True)
    names = [str(i) for i in range(40)]
    pd.DataFrame({"image": [f"{name}.png" for name in names], "file": names, "state": "ok"}).to_csv(
        tmp_path / "out" / "losses.csv", index=False)
    for name in names:
        np.savez(tmp_path / "out" / "codes" / f"{name}.npz", code=np.ones((4, 4), np.float32))
    for content, message in ((b"PK", "3.npz is damaged"), (None, "3.npz is missing")):
        path = tmp_path / "out" / "codes" / "3.npz"
        path.write_bytes(content) if content else path.unlink()
        assert main(command(folder, images=None, inverted=tmp_path / "out", device=None)) == 1
        error = capsys.readouterr().err
        assert message in error and "`idinvert invert` into that folder makes it again" in error


def test_codes_are_read_once_and_no_others(own_registry, tmp_path, monkeypatch):
    """Images may lie in a folder that is named like a file of codes."""
    (tmp_path / "codes" / "a.npz").mkdir(parents=True)
    names = ["a.npz/1.png", "b.png"]
    pd.DataFrame({"image": names, "file": ["a.npz/1", "b"], "state": "ok"}).to_csv(
        tmp_path / "losses.csv", index=False)
    for name in ("a.npz/1", "b"):
        np.savez(tmp_path / "codes" / f"{name}.npz", code=np.ones((4, 4), np.float32))
    (tmp_path / "codes" / "not mine.npz").write_bytes(b"PK")
    read, whole = [], inverted.read_row
    monkeypatch.setattr(inverted, "read_row", lambda path: read.append(path) or whole(path))
    assert codes_of(Command("own", inverted=tmp_path), labels_of(*names))[1].index.tolist() == names
    assert len(read) == 2


def test_codes_are_of_the_images_of_their_rows(tmp_path):
    """Files that were renamed, or copied from the results of other images of the same names."""
    (tmp_path / "codes").mkdir()
    pd.DataFrame({"image": ["a.png", "b.png"], "file": ["a", "b"], "sha256": ["1", "2"],
                  "state": "ok"}).to_csv(tmp_path / "losses.csv", index=False)

    def place(file, image, sha256):
        np.savez(tmp_path / "codes" / f"{file}.npz", code=np.ones((4, 4), np.float32), image=image,
                 bytes=1, sha256=sha256, mse=0.5, diverged=False)
    place("a", "a.png", "1")
    for wrong in (("b", "a.png", "1"), ("b", "b.png", "3")):
        place(*wrong)
        with pytest.raises(ValueError, match="b.npz is of another image than its row"):
            inverted_codes(tmp_path)
    place("b", "b.png", "2")
    assert inverted_codes(tmp_path)[1] == ["a.png", "b.png"]


def labels_of(*names):
    return pd.DataFrame({"old": [1.0] * len(names)}, index=names)


@pytest.mark.parametrize("labels, message", [
    ("/dev/zero", "/dev/zero has more than 128 MB"),
    ("http://localhost:1/labels.csv", "No such file or directory: http:"),
])
def test_only_files_are_tables_of_labels(folder, labels, message, capsys):
    """A device without an end would fill the memory, and pandas opens addresses."""
    assert main(command(folder, labels=labels)) == 1
    assert message in capsys.readouterr().err
    assert main(["train", "classifier", "c", "--images", str(folder / "photos"), "--labels",
                 labels]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("values, message", [
    ([0.5, 1.0] * 8, "other values than 0 and 1 in the column 'a'"),
    ([2.0, 1.0] * 8, "other values than 0 and 1 in the column 'a'"),
    (["old", "new"] * 8, "other values than 0 and 1 in the column 'a'"),
    ([0.0, 1.0] * 4, "8 labels cannot be those of 16 codes"),
])
def test_labels_that_are_none_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        labelled.fit_labels(torch.randn(16, 2, 3), pd.DataFrame({"a": values}))


def test_a_label_is_for_one_image():
    """Two folders have files of the same names: a bare name would give one label to both."""
    names = ["a/1.png", "b/1.png", "b/2.png"]
    with pytest.raises(ValueError, match="'1.png' could be for a/1.png and for b/1.png"):
        labelled.match(labels_of("1.png", "2.png"), names)
    with pytest.raises(ValueError, match="'1' could be for 1.jpg and for 1.png"):
        labelled.match(labels_of("1"), ["1.jpg", "1.png"])
    assert labelled.match(labels_of("a/1.png", "b/1", "2.png"), names) == {
        "a/1.png": "a/1.png", "b/1.png": "b/1", "b/2.png": "2.png"}
    # a number of an image in a folder, and spaces that a program has put around a name
    assert labelled.match(labels_of("1", " 2.png "), ["a/1.png", "2.png"]) == {
        "a/1.png": "1", "2.png": " 2.png "}
    # a whole name is for that image alone, and not for another one of this name in a folder
    assert labelled.match(labels_of("1.png"), ["1.png", "a/1.png"]) == {"1.png": "1.png"}


def test_accents_stored_in_different_ways_are_the_same():
    """As Macs and Windows store them; both may lie in one folder, where whole names decide."""
    one, apart = "\xe9.png", "e\u0301.png"
    assert labelled.match(labels_of(one), [apart]) == {apart: one}
    assert labelled.match(labels_of("\xe9"), [apart]) == {apart: "\xe9"}
    assert labelled.match(labels_of(one), [one, apart]) == {one: one}
    assert labelled.match(labels_of(one, apart), [apart, one]) == {apart: apart, one: one}
    with pytest.raises(ValueError, match="two labels .* that look alike"):
        labelled.match(labels_of("\xe9", "e\u0301"), [one])


@pytest.mark.parametrize("text", ["image,old\n./a\\b.png,1\nNA,0\n",
                                  "\ufeffimage, old\na/b.png,1\nNA,0\n",
                                  "image,old,\na/b.png,1,\nNA,0,\n",
                                  "image, \"old\"\na/b.png, 1\nNA, \"0\"\n,\n,\n",
                                  "old,image\nTRUE, a/b.png\nFalse, NA\n,\n  ,  \n"])
def test_names_in_tables_as_other_programs_write_them(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    assert dict(labelled.read_labels(tmp_path / "labels.csv")["old"]) == {"a/b.png": 1, "NA": 0}


def test_attributes_are_named_as_they_are_typed(tmp_path):
    (tmp_path / "labels.csv").write_text("image,\u0065\u0301t\u0065\u0301\na.png,1\n")
    assert list(labelled.read_labels(tmp_path / "labels.csv")) == ["\xe9t\xe9"]


def test_tables_are_files_and_have_an_end(tmp_path, monkeypatch):
    """pandas would open an address, and read a device until the memory is full."""
    with pytest.raises(FileNotFoundError):
        labelled.read_labels("http://127.0.0.1:1/labels.csv")
    monkeypatch.setattr(labelled, "LARGEST_TABLE", 1 << 20)
    with pytest.raises(ValueError, match="/dev/zero has more than 1 MB"):
        labelled.read_labels("/dev/zero")


def test_compressed_tables_are_not_unpacked(tmp_path):
    """A megabyte can be a gigabyte."""
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(b"image,old\na.png,1\n"))
    with pytest.raises(ValueError, match="no readable CSV file"):
        labelled.read_labels(tmp_path / "labels.csv.gz")


def test_labels_of_minus_one_count_as_zero(tmp_path):
    (tmp_path / "labels.csv").write_text("image,old\n007,-1\n8.png,1\n9,\n")
    found = labelled.read_labels(tmp_path / "labels.csv")["old"]
    assert found["007"] == 0 and found["8.png"] == 1 and np.isnan(found["9"])


@pytest.mark.parametrize("rows, names", [(0, ["a"]), (1, [])])
def test_nothing_to_match(rows, names):
    with pytest.raises(ValueError, match="no image, or no label"):
        labelled.match(pd.DataFrame({"x": [1.0] * rows}), names)


@pytest.mark.parametrize("options", [
    {"labels": None, "unsupervised": 2, "space": "layer"},
    {"labels": None, "unsupervised": 2, "seed": 1, "images": None},
    {"images": None, "inverted": "out", "encoder": "own-base"},
    {"images": None, "inverted": "out", "device": "cpu"},
    {"labels": None, "unsupervised": 2, "images": None, "device": "cpu"},
])
def test_options_without_effect_are_refused(folder, options, capsys):
    assert main(command(folder, **options)) == 2
    assert " does not use --" in capsys.readouterr().err


def test_photographs_are_searched_for_faces(folder, monkeypatch, capsys):
    models.save("own", models.load("own"), domain="photograph")
    monkeypatch.setattr("idinvert.photographs.source.find_faces", lambda photograph: [])
    assert main(command(folder)) == 1
    assert "1.png shows no face that looks to the camera" in capsys.readouterr().err


def test_an_encoder_has_the_size_at_which_images_are_inverted(folder):
    torch.manual_seed(0)
    models.save("large", Generator(32, 8, 8, 128, 8), role="generator",
                inversion={"resolution": 8})
    layers = models.load("large").num_layers
    models.save("large-base", pooled.Encoder(8, layers, 8, 4, 4))
    assert main(command(folder, model="large")) == 0
    assert models.load_boundaries("large")["bright"].normal.shape == (layers, 8)
