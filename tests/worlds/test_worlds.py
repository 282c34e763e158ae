"""Fast checks: few images are rendered, statistics use sampled attributes only."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import worlds
from worlds import dataset
from worlds.__main__ import main

LIB = Path(worlds.__file__).resolve().parent.parent
SAMPLES = 3000
CHI_SQUARE_LIMIT = 15.1  # one degree of freedom, p = 1e-4
POSITIVE = {"male", "old", "presence", "right", "smile"}
EXPECTED_SHARE = {"eyeglasses": 0.35}


@pytest.fixture(scope="module", params=worlds.DOMAINS)
def domain(request) -> str:
    if request.param != "face":
        pytest.importorskip("mitsuba")
    return request.param


@pytest.fixture(scope="module")
def labels(domain) -> dict[str, np.ndarray]:
    """Binary labels (SAMPLES,) by name."""
    drawn = [worlds.sample_attributes(domain, i) for i in range(SAMPLES)]
    names = worlds.label_names(domain)
    return {n: np.array([getattr(a, n) in POSITIVE for a in drawn]) for n in names}


def chi_square(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson statistic of the 2 x 2 table of two binary labels."""
    table = np.array([[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)])
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def test_labels_are_balanced(labels):
    for name, values in labels.items():
        assert abs(values.mean() - EXPECTED_SHARE.get(name, 0.5)) < 0.04, name


def test_labels_are_independent(labels):
    for first, second in itertools.combinations(labels, 2):
        statistic = chi_square(labels[first], labels[second])
        assert statistic < CHI_SQUARE_LIMIT, (first, second)


def test_attributes_are_flat_and_follow_the_schema(domain):
    attributes = worlds.sample_attributes(domain, 5)
    for field in fields(attributes):
        assert type(getattr(attributes, field.name)).__name__ == field.type, field.name
    assert set(worlds.label_names(domain)) <= set(asdict(attributes))


def test_face_label_rules():
    for index in range(300):
        face = worlds.sample_attributes("face", index)
        assert face.age == ("old" if face.years >= 47 else "young")
        assert (face.eyeglasses == "presence") == (face.glasses_style != "none")
        assert face.pose == ("right" if face.yaw > 0 else "left")
        assert (face.expression == "smile") == (face.smile > 0)
        assert face.gender == "male" or face.beard == "none"
        assert abs(face.yaw) <= 35


def test_yaw_has_no_gaps():
    yaw = [worlds.sample_attributes("face", i).yaw for i in range(SAMPLES)]
    counts, _ = np.histogram(yaw, bins=20, range=(-33, 33))
    assert counts.min() > 20


def test_rendering_is_deterministic_and_order_free(domain):
    first, attributes = worlds.render(domain, 2, seed=7)
    worlds.render(domain, 9, seed=7)
    again, same = worlds.render(domain, 2, seed=7)
    assert np.array_equal(first, again)
    assert attributes == same
    assert not np.array_equal(first, worlds.render(domain, 3, seed=7)[0])
    assert not np.array_equal(first, worlds.render(domain, 2, seed=8)[0])


def test_small_image_is_the_averaged_large_one(domain):
    large, large_attributes = worlds.render(domain, 1, size=128)
    small, small_attributes = worlds.render(domain, 1, size=64)
    averaged = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(averaged - small).max() <= 1.0  # rounding only
    assert large_attributes == small_attributes


def test_image_is_lit_and_varied(domain):
    image, _ = worlds.render(domain, 4)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert 25 < image.mean() < 235
    assert image.std() > 15


@pytest.mark.parametrize(
    ("domain_name", "size", "index", "message"),
    [
        ("cat", 64, 0, "unknown domain 'cat'"),
        ("face", 65, 0, "size of face images must be one of"),
        ("face", 64, -1, "must not be negative"),
    ],
)
def test_render_rejects_bad_arguments(domain_name, size, index, message):
    with pytest.raises(ValueError, match=message):
        worlds.render(domain_name, index, size)


def small_set(count: int, **changes) -> dataset.Settings:
    values = {"domain": "face", "size": 32, "seed": 1, "shard_length": 3, **changes}
    return dataset.Settings(count=count, **values)


def test_killed_run_continues(tmp_path, monkeypatch):
    rendered = []
    encode = dataset.encode

    def encode_until_killed(index: int, settings: dataset.Settings) -> bytes:
        if len(rendered) == 5:
            raise KeyboardInterrupt
        rendered.append(index)
        return encode(index, settings)

    monkeypatch.setattr(dataset, "encode", encode_until_killed)
    with pytest.raises(KeyboardInterrupt):
        dataset.write(tmp_path, small_set(7), progress=False)
    assert [p.name for p in tmp_path.glob("*.zip")] == ["shard-00000.zip"]

    rendered.clear()
    monkeypatch.setattr(
        dataset, "encode", lambda index, settings: rendered.append(index) or encode(index, settings)
    )
    dataset.write(tmp_path, small_set(7), progress=False)
    assert rendered == [3, 4, 5, 6]
    assert not list(tmp_path.glob(".*"))
    images, rows = dataset.read(tmp_path)
    assert [int(row["index"]) for row in rows] == list(range(7))
    assert np.array_equal(images[4], worlds.render("face", 4, 32, seed=1)[0])
    assert rows[4]["gender"] == worlds.sample_attributes("face", 4, seed=1).gender


def test_set_can_grow_but_not_change(tmp_path):
    dataset.write(tmp_path, small_set(2), progress=False)
    dataset.write(tmp_path, small_set(4), progress=False)
    assert len(dataset.read(tmp_path)[0]) == 4
    with pytest.raises(ValueError, match="with seed 1"):
        dataset.write(tmp_path, small_set(4, seed=2), progress=False)


def test_complete_set_is_left_untouched(tmp_path):
    dataset.write(tmp_path, small_set(4), progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    dataset.write(tmp_path, small_set(4), progress=False)
    dataset.write(tmp_path, small_set(2), progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert len(list(dataset.read_encoded(tmp_path, 2))) == 2


def test_part_of_an_unfinished_set(tmp_path):
    dataset.write_description(tmp_path, small_set(9))
    dataset.write(tmp_path, small_set(2), progress=False)
    assert [p.name for p in tmp_path.glob("*.zip")] == ["shard-00000.zip"]
    assert dataset.read_settings(tmp_path).count == 9


def test_set_can_start_anywhere(tmp_path):
    dataset.write(tmp_path, small_set(4, start=5), progress=False)
    images, rows = dataset.read(tmp_path)
    assert [int(row["index"]) for row in rows] == [5, 6, 7, 8]
    assert np.array_equal(images[3], worlds.render("face", 8, 32, seed=1)[0])


def test_damaged_shard_is_rendered_again(tmp_path):
    dataset.write(tmp_path, small_set(2), progress=False)
    shard = tmp_path / "shard-00000.zip"
    whole = dataset.read(tmp_path)[0]
    shard.write_bytes(shard.read_bytes()[:100])
    dataset.write(tmp_path, small_set(2), progress=False)
    assert np.array_equal(dataset.read(tmp_path)[0], whole)


def test_workers_do_not_run_the_callers_script(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from pathlib import Path\n"
        "from worlds import dataset\n"
        "print('run')\n"
        "dataset.write(Path('set'), dataset.Settings('face', 16, 0, 3), 2, progress=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(LIB)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert done.stdout.split() == [b"run"]


def test_workers_do_not_change_images(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    dataset.write(alone, small_set(3), workers=1, progress=False)
    dataset.write(together, small_set(3), workers=2, progress=False)
    shards = [zipfile.ZipFile(folder / "shard-00000.zip") for folder in (alone, together)]
    names = shards[0].namelist()
    assert all(shards[0].read(name) == shards[1].read(name) for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "--domain", "cat", "--count", "1"], "invalid choice: 'cat'"),
        (["render", "--domain", "face", "--count", "0"], "0 is not positive"),
        (["render", "--domain", "face", "--count", "2", "--size", "60"], "size of face images"),
        (["render", "--domain", "face"], "--count"),
    ],
)
def test_bad_command_lines_get_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "set")])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert message in error


def test_faces_need_neither_torch_nor_anny_nor_mitsuba():
    code = (
        "import sys, worlds; worlds.render('face', 0, 16);"
        "assert not {'torch', 'anny', 'mitsuba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=LIB)
