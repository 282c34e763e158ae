"""Published boundary files, written as their authors' code does."""

import os

import numpy as np
import pytest
import torch
from idinvert.models.importers import boundaries as reader

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((1, 6, 4)).astype(np.float32)
NORMAL /= np.linalg.norm(NORMAL, axis=2, keepdims=True)
AVERAGE = torch.from_numpy(RNG.standard_normal((6, 4)).astype(np.float32))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "age.npy"


@pytest.mark.parametrize("layers", [[0, 1, 2], np.arange(3), (np.int64(0), 1, 2), "0-2"])
def test_dictionary_in_an_object_array(path, layers):
    np.save(path, {"boundary": NORMAL, "meta_data": {"manipulate_layers": layers, "note": "x"}})
    values, found = reader.read_file(path)
    assert np.array_equal(values, NORMAL) and found == (0, 1, 2)
    boundary = reader.Normals(values, found).boundary(AVERAGE, "age")
    torch.testing.assert_close(boundary.normal[:3], torch.from_numpy(NORMAL[0, :3]))
    assert not boundary.normal[3:].any() and boundary.layers == (0, 1, 2)
    assert (boundary.name, boundary.space) == ("age", "layer")
    assert abs(boundary.distance(AVERAGE[None]).item()) < 1e-6  # through the average code


def test_one_normal_for_all_layers(path):
    np.save(path, 3 * NORMAL[:, 0])  # InterFaceGAN's, [1, D]
    boundary = reader.read_file(path).boundary(AVERAGE)
    torch.testing.assert_close(boundary.normal, torch.from_numpy(NORMAL[:, 0]).expand(6, 4))
    assert boundary.layers == tuple(range(6))


@pytest.mark.parametrize("values", [np.asfortranarray(NORMAL), NORMAL.astype(">f4")])
def test_any_order_of_numbers_and_bytes_is_read(path, values):
    np.save(path, values)
    assert np.array_equal(reader.read_file(path).values, NORMAL)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_the_length_of_a_normal_does_not_matter(scale):
    """Its squares are zero or infinite even in float64."""
    boundary = reader.Normals(NORMAL.astype(np.float64) * scale, (0, 1, 2)).boundary(AVERAGE)
    torch.testing.assert_close(boundary.normal[:3], torch.from_numpy(NORMAL[0, :3]))


@pytest.mark.parametrize("values, layers, message", [
    (NORMAL[:, :5], None, r"shape \[1, 5, 4\], the codes have \[6, 4\]"),
    (NORMAL, (2, 6), r"layers \[2, 6\] of 6"),
    (NORMAL * np.nan, None, "not finite"),
    (NORMAL * 0, None, "are zero"),
])  # fmt: skip
def test_other_sizes_are_refused(values, layers, message):
    with pytest.raises(ValueError, match=message):
        reader.Normals(values, layers).boundary(AVERAGE)


class Command:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_file_is_not_run(path, tmp_path):
    trace = tmp_path / "trace"
    np.save(path, {"boundary": NORMAL, "meta_data": Command(f"touch {trace}")})
    with pytest.raises(ValueError, match="posix.system.*not run"):
        reader.read_file(path)
    assert not trace.exists()
    np.load(path, allow_pickle=True)  # it would have been
    assert trace.exists()


@pytest.mark.parametrize("content, message", [
    ({"normal": NORMAL}, "no dictionary with a boundary"),
    ({"boundary": [1, 2]}, "something else where an array"),
    ({"boundary": NORMAL, "meta_data": {"manipulate_layers": ["x"]}}, "no numbers"),
    ({"boundary": NORMAL, "meta_data": {"manipulate_layers": [1.7]}}, "no numbers"),
    ({"boundary": NORMAL, "meta_data": {"manipulate_layers": [np.inf]}}, "no numbers"),
    (np.array(["a"]), "no array of some numbers"),
])  # fmt: skip
def test_other_content_is_refused(path, content, message):
    np.save(path, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        reader.read_file(path)


def test_truncated_files_are_refused(path):
    np.save(path, NORMAL)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is truncated"):
        reader.read_file(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="is no NumPy file"):
        reader.read_file(path)
