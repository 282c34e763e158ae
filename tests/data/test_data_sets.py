"""The embedded sets: archives, labels, and training images in a cache of the test's own."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
import worlds
from idinvert.cli import main
from idinvert.cli.data import write_archive
from idinvert.data import DOMAINS, archive, binary_labels, load, sets
from worlds import dataset

SEVEN = 7


@pytest.fixture(scope="module", params=DOMAINS)
def split(request):
    return load(request.param)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and face sets of seven training and three test images."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path))
    monkeypatch.setitem(sets.TRAIN_COUNTS, "face", SEVEN)
    monkeypatch.setattr(sets, "TEST_COUNT", 3)
    monkeypatch.setattr(sets.os, "cpu_count", lambda: 1)
    return tmp_path / "worlds"


def train(count: int | None = None, **options):
    return load("face", "train", count, size=16, progress=False, **options)


def test_archive_holds_the_last_thousand(split):
    start = sets.TRAIN_COUNTS[split.domain]
    assert split.images.shape == (1000, 3, 64, 64)
    assert split.images.dtype == torch.uint8
    assert len(split) == 1000
    assert split.labels.index.tolist() == list(range(start, start + 1000))
    assert len(torch.unique(split.images.flatten(1), dim=0)) == 1000


def test_archived_attributes_are_those_of_the_worlds(split):
    if split.domain != "face":
        pytest.importorskip("mitsuba")
    drawn = [asdict(worlds.sample_attributes(split.domain, i)) for i in split.labels.index[::50]]
    for name, expected in pd.DataFrame(drawn).items():
        archived = split.labels[name].iloc[::50]
        if expected.dtype == float:
            assert np.allclose(archived, expected, rtol=6e-4, atol=0), name
        else:
            assert archived.tolist() == expected.tolist(), name


def test_binary_labels_are_balanced_and_complete(split):
    labels = binary_labels(split.labels, split.domain)
    assert labels.index.equals(split.labels.index)
    assert set(np.unique(labels)) == {0, 1}
    assert labels.mean().between(0.2, 0.8).all()
    assert len(labels.columns) == (5 if split.domain == "face" else 3)


def test_binary_labels_name_the_positive_class():
    faces = load("face", count=200).labels
    labels = binary_labels(faces, "face")
    assert (labels.gender == (faces.gender == "male")).all()
    assert (labels.age == (faces.years >= 47)).all()
    assert (labels.eyeglasses == (faces.glasses_style != "none")).all()
    assert (labels.pose == (faces.yaw > 0)).all()
    assert (labels.smile == (faces.smile > 0)).all()


def test_first_images(split):
    few = load(split.domain, count=3)
    assert torch.equal(few.images, split.images[:3])
    assert few.labels.equals(split.labels[:3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cat",), "Unknown domain 'cat': expected one of face"),
        (("face", "valid"), "Unknown split 'valid'"),
        (("face", "test", 1001), "has 1000 images"),
        (("face", "train", 0), "has 10000 images"),
        (("face", "train", 2, 65), "size of face images must be one of"),
        (("face", "test", 2.5), "count is 2.5, but should be a valid integer"),
        (("face", "test", True), "count is True, but should be a number"),
        (("face", "test", 2, "large"), "size is 'large', but should be a valid integer"),
        ((["face"],), "domain is .'face'., but should be a valid string"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        load(*arguments)
    with pytest.raises(ValueError, match="Unknown domain"):
        binary_labels(pd.DataFrame(), "cat")


def test_training_images_are_rendered_once(cache, monkeypatch):
    first = train()
    assert first.images.shape == (SEVEN, 3, 16, 16)
    expected = worlds.render("face", 4, 16)[0].transpose(2, 0, 1)
    assert np.array_equal(first.images[4], expected)
    monkeypatch.setattr(dataset, "encode", None)
    again = train()
    assert torch.equal(again.images, first.images)
    assert again.labels.equals(first.labels)
    assert first.labels.index.tolist() == list(range(SEVEN))
    assert torch.equal(train(3).images, first.images[:3])


def test_interrupted_rendering_goes_on(cache, monkeypatch):
    monkeypatch.setattr(sets.dataset.Settings, "shards", three_by_three)
    encode, rendered = dataset.encode, []

    def stop_at_five(index, settings):
        if len(rendered) == 5:
            raise KeyboardInterrupt
        rendered.append(index)
        return encode(index, settings)

    monkeypatch.setattr(dataset, "encode", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert [path.name for path in (cache / "face-16").glob("*.zip")] == ["shard-00000.zip"]
    assert not list(cache.glob("*.npy"))
    rendered.clear()
    assert len(train()) == SEVEN
    assert rendered == [3, 4, 5, 6]


def three_by_three(settings: dataset.Settings) -> list[range]:
    indices = settings.indices()
    return [indices[i : i + 3] for i in range(0, settings.count, 3)]


def test_a_linked_larger_set_is_used_and_left_as_it_is(cache, tmp_path, monkeypatch):
    rendered = tmp_path / "elsewhere"
    dataset.write(rendered, dataset.Settings("face", 16, 0, SEVEN + 3), progress=False)
    before = {path: path.stat().st_mtime_ns for path in rendered.iterdir()}
    cache.mkdir()
    (cache / "face-16").symlink_to(rendered)
    monkeypatch.setattr(dataset, "encode", None)
    assert train().labels.index.tolist() == list(range(SEVEN))
    assert {path: path.stat().st_mtime_ns for path in rendered.iterdir()} == before


def test_decoded_copy_is_checked(cache):
    images = train().images
    path = cache / "face-16.npy"
    written = path.stat().st_mtime_ns
    assert torch.equal(train().images, images)
    assert path.stat().st_mtime_ns == written

    rows = np.load(path)
    rows["crc"][2] += 1  # as if the set held another image there
    rows["image"] = 0
    np.save(path, rows)
    assert torch.equal(train().images, images)
    for damaged in (b"", path.read_bytes()[:-1000]):
        path.write_bytes(damaged)
        assert torch.equal(train().images, images)


def test_set_of_another_seed_is_refused(cache):
    dataset.write(cache / "face-16", dataset.Settings("face", 16, 1, SEVEN), progress=False)
    with pytest.raises(ValueError, match="already holds a set with seed 1"):
        train()


def test_test_images_of_another_size_are_rendered(cache):
    images = load("face", "test", size=16, progress=False)
    assert images.labels.index.tolist() == [7, 8, 9]
    assert np.array_equal(images.images[1], worlds.render("face", 8, 16)[0].transpose(2, 0, 1))


def test_missing_renderer_is_named(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in [n for n in sys.modules if n.startswith("worlds.") and n != "worlds.dataset"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs numba: install .*idinvert\[worlds\]"):
        train()


def test_archive_is_reproducible(cache, tmp_path, capsys):
    source = tmp_path / "set"
    dataset.write(source, dataset.Settings("face", 16, 0, SEVEN + 3), progress=False)
    first = write_archive("face", source, tmp_path / "first.zip").read_bytes()
    assert write_archive("face", source, tmp_path / "second.zip").read_bytes() == first
    with pytest.raises(ValueError, match="has not the test images of face: leave --source out"):
        write_archive("face", tmp_path, tmp_path / "third.zip")
    images, labels = archive.read(tmp_path / "first.zip")
    assert labels.index.tolist() == [7, 8, 9]
    assert np.array_equal(images[0], worlds.render("face", 7, 16)[0].transpose(2, 0, 1))
    assert main(["data", "archive", "face", "--source", str(source),
                 "--out", str(tmp_path / "c.zip")]) == 0
    assert (tmp_path / "c.zip").read_bytes() == first


@pytest.mark.parametrize("count", [1, 16, 17, 33])
def test_sheets_give_back_every_image(tmp_path, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), np.uint8)
    table = "index,x\n" + "".join(f"{i},0.5\n" for i in range(100, 100 + count))
    archive.write(tmp_path / "a.zip", range(100, 100 + count),
                  [archive.encode([image]) for image in images], io.StringIO(table))
    for wanted in {1, count - 1 or 1, count}:
        found, labels = archive.read(tmp_path / "a.zip", wanted)
        assert np.array_equal(found, images[:wanted])
        assert labels.index.tolist() == list(range(100, 100 + wanted))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.123456", "0.1235"), ("-35.98765", "-35.99"), ("1.0", "1.0"), ("605680773", "605680773"),
     ("True", "True"), ("dark brown", "dark brown"), ("1e-07", "1e-07")],
)  # fmt: skip
def test_attributes_keep_four_digits(value, expected):
    assert archive.compact(value) == expected


def test_loading_needs_neither_numba_nor_mitsuba():
    code = (
        "import sys; from idinvert import data; data.load('face', count=1);"
        "assert not {'numba', 'mitsuba', 'worlds.face'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=sets.archive.FOLDER.parents[2])
