"""Whatever an archive or an image holds, nothing leaves its folder and errors are one sentence."""

import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idinvert.data import ImageError, open_source, sources
from idinvert.inversion.files import file_names
from PIL import Image

PARTS = st.text("ab./\\:C \0é", min_size=1, max_size=8)
FIXED = settings(max_examples=100, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@FIXED
@given(names=st.lists(PARTS.map(lambda name: f"{name}.png"), min_size=1, max_size=3, unique=True))
def test_results_of_a_zip_stay_in_their_folder(tmp_path, names):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:  # \0 ends a name; zipfile itself does not write an empty one
            archive.writestr(name if name[0] != "\0" else f"x{name}", b"")
    try:
        source = open_source(path)
    except ValueError as error:
        assert any(words in str(error) for words in ("leaves its", "holds no image", "twice"))
        return
    files = file_names(source.names)
    assert len(set(files.values())) == len(files)
    for file in files.values():
        target = (tmp_path / "out" / f"{file}.npz").resolve()
        assert target.is_relative_to((tmp_path / "out").resolve())


@FIXED
@given(key=st.binary(max_size=12))
def test_keys_of_a_database_name_files(key):
    name = sources.key_name(key)
    assert PurePosixPath(name).name == name or not key
    assert (Path("/out") / f"{name}.npz").resolve().parent == Path("/out")


def encoded(kind):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")  # of Pillow, on damaged files
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@FIXED
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
       cut=st.none() | st.integers(0, 10**6))
def test_damaged_images(kind, edits, cut):
    data = bytearray(encoded(kind))
    for position, value in edits:
        data[position % len(data)] = value
    data = bytes(data if cut is None else data[: cut % len(data)])
    source = sources.Source(["x.png"], lambda name: data)
    try:
        image = source.read("x.png", 8)
        assert image.shape == (3, 8, 8) and image.abs().max() <= 1
    except ImageError as error:
        assert str(error).startswith("x.png") and "\n" not in str(error)
