"""Image files against closed-form expectations: flat colours survive any resizing filter."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest
import torch
from idinvert.data import ImageError, grid, read_image, read_images, to_float, to_uint8, write_image
from PIL import Image, ImageCms, PngImagePlugin

SIZE = 16


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg", "tif", "bmp", "webp"])
def test_written_images_are_read_again(suffix, tmp_path):
    path = tmp_path / "new" / f"image.{suffix}"
    image = to_float(torch.tensor([200, 100, 50])[:, None, None].expand(3, 16, 16))
    write_image(path, image)
    lossy = suffix in ("jpg", "jpeg", "webp")
    torch.testing.assert_close(read_image(path, 16), image, rtol=0, atol=0.05 if lossy else 1e-6)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["image", "image.txt", "image.xbm", "image.h5"])
def test_format_that_cannot_be_written_is_named(name, tmp_path):
    with pytest.raises(ImageError, match=f"{name} has no suffix of an image format"):
        write_image(tmp_path / name, torch.zeros(3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_size_that_a_format_does_not_take_is_told(tmp_path):
    with pytest.raises(ImageError, match="WEBP takes no image of 17000 x 1 px"):
        write_image(tmp_path / "a.webp", torch.zeros(3, 1, 17_000))
    assert not list(tmp_path.iterdir())


def test_grid_goes_row_by_row_and_fills_up_with_white():
    images = torch.stack([torch.full((3, 2, 4), value) for value in (-1.0, -0.5, 0.0)])
    picture = grid(images, columns=2)
    assert picture.shape == (3, 4, 8)
    assert picture[0, ::2, ::4].tolist() == [[-1.0, -0.5], [0.0, 1.0]]


def flat(mode: str, colour, size=(20, 30)) -> Image.Image:
    return Image.new(mode, size, colour)


def colour_of(path, size: int = SIZE) -> list[int]:
    """The one colour of a flat image, 0..255."""
    pixels = to_uint8(read_image(path, size)).reshape(3, -1)
    assert (pixels == pixels[:, :1]).all()
    return pixels[:, 0].tolist()


def red_and_blue_exchanged() -> bytes:
    """A profile whose red is the blue of sRGB, and whose blue is its red; its name is of sRGB, as
    are those of linear sRGB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"none").replace(b"bXYZ", b"rXYZ").replace(b"none", b"bXYZ")


@pytest.mark.parametrize(("mode", "suffix"), [
    ("RGB", "png"), ("RGB", "tif"), ("RGB", "webp"), ("RGBA", "png"), ("RGBA", "tif"),
    ("RGBA", "webp"), ("P", "png"), ("P", "tif")])  # WebP has no palette
def test_colours_of_a_profile_are_those_of_srgb(mode, suffix, tmp_path):
    path, colour = tmp_path / f"a.{suffix}", (10, 200, 30, 255)
    image = palette_image() if mode == "P" else flat(mode, colour[:len(mode)])
    image.save(path, icc_profile=red_and_blue_exchanged(), lossless=True)
    assert colour_of(path) == pytest.approx([30, 200, 10], abs=1)


def test_colours_of_a_profile_shine_through_on_white(tmp_path):
    flat("RGBA", (255, 0, 0, 51)).save(tmp_path / "a.png", icc_profile=red_and_blue_exchanged())
    assert colour_of(tmp_path / "a.png") == pytest.approx([204, 204, 255], abs=1)


@pytest.mark.parametrize(("mode", "colour"), [("L", 77), ("CMYK", (0, 255, 255, 0))])
def test_profiles_that_do_not_fit_count_as_none(mode, colour, tmp_path):
    flat(mode, colour).save(tmp_path / "plain.tif")
    flat(mode, colour).save(tmp_path / "a.tif", icc_profile=red_and_blue_exchanged())
    assert colour_of(tmp_path / "a.tif") == colour_of(tmp_path / "plain.tif")
    for damaged in (b"damaged" * 100, red_and_blue_exchanged().replace(b"RGB XYZ", b"RGB\xffXYZ")):
        flat(mode, colour).save(tmp_path / "b.tif", icc_profile=damaged)
        assert colour_of(tmp_path / "b.tif") == colour_of(tmp_path / "plain.tif")


def test_a_profile_that_makes_all_black_is_damaged(tmp_path):
    """Its curves, of two numbers each, are zero."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = srgb.index(b"para")
    zero = b"curv" + bytes(4) + struct.pack(">I", 2) + bytes(4)
    profile = srgb[:curve] + zero + srgb[curve + 16:]
    flat("RGB", (10, 200, 30)).save(tmp_path / "a.png", icc_profile=profile)
    assert colour_of(tmp_path / "a.png") == [10, 200, 30]


@pytest.mark.parametrize(("gamma", "srgb", "expected"), [
    (45455, False, [100, 0, 255]), (100_000, False, [167, 0, 255]), (55_556, False, [119, 0, 255]),
    (100_000, True, [100, 0, 255]), (0, False, [100, 0, 255]), (1, False, [100, 0, 255])])
def test_the_gamma_of_a_png_is_taken(gamma, srgb, expected, tmp_path):
    """As browsers do; one of no image is damaged."""
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", gamma))
    if srgb:
        info.add(b"sRGB", b"\0")
    for mode, colour in (("RGB", (100, 0, 255)), ("RGBA", (100, 0, 255, 255))):
        flat(mode, colour).save(tmp_path / "a.png", pnginfo=info)
        assert colour_of(tmp_path / "a.png") == pytest.approx(expected, abs=1)


def test_images_of_srgb_stay_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=srgb)
    seen = to_uint8(read_image(tmp_path / "a.png", 16)).permute(1, 2, 0).numpy()
    assert (seen == pixels).all()


def palette_image(transparency: int | None = None) -> Image.Image:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def test_float_and_back_is_exact():
    levels = torch.arange(256, dtype=torch.uint8)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert (floats[0], floats[-1]) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor([-1.5, -1 + 0.6 / 127.5, 1.2])
    assert to_uint8(values).tolist() == [0, 1, 255]
    assert to_uint8(torch.tensor([1.0]).bfloat16()).tolist() == [255]


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        (flat("RGB", (10, 20, 30)), "png", [10, 20, 30]),
        (flat("L", 77), "png", [77, 77, 77]),
        (flat("1", 1), "png", [255, 255, 255]),
        (flat("RGBA", (10, 20, 30, 255)), "png", [10, 20, 30]),
        (flat("RGBA", (10, 20, 30, 0)), "png", [255, 255, 255]),
        (flat("RGBA", (255, 0, 0, 51)), "png", [255, 204, 204]),
        (flat("LA", (0, 51)), "png", [204, 204, 204]),
        (palette_image(), "png", [10, 200, 30]),
        (palette_image(transparency=1), "png", [255, 255, 255]),
        (flat("CMYK", (0, 255, 255, 0)), "tif", [255, 0, 0]),
        (flat("RGB", (10, 20, 30)), "webp", None),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_colour_modes(image, suffix, expected, tmp_path):
    path = tmp_path / f"image.{suffix}"
    image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert colour_of(path) == (expected or [10, 20, 30])


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (257 * 100, 100), (65535, 255)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(level, expected, suffix, tmp_path):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.full((20, 20), level, np.uint16)).save(path)
    assert colour_of(path) == [expected] * 3


def test_grey_that_is_none_in_sixteen_bits_is_white(tmp_path):
    image = Image.fromarray(np.full((20, 20), 1000, np.uint16))
    for transparency, expected in ((1000, 255), (1001, 4)):
        image.save(tmp_path / "image.png", transparency=transparency)
        assert colour_of(tmp_path / "image.png") == [expected] * 3


@pytest.mark.parametrize(
    ("depth", "tags"),
    [(16, {262: [1]}), (8, {262: [0]}), (16, {258: [16] * 3, 262: [2], 277: [3]}),
     (16, {262: [0]}), (12, {262: [1]}), (16, {262: [1], 339: [2]}), (8, {262: [1], 339: [2]}),
     (16, {258: [16] * 3, 262: [2], 277: [3], 284: [2]})],
    ids=str)
def test_tiffs_whose_pixels_would_be_misread_are_refused(depth, tags, tmp_path):
    """Pillow gave negatives, dark images and mixed colours of them."""
    tags = {256: [16], 257: [16], 258: [depth], 259: [1], 277: [1], 278: [16], **tags}
    path = tmp_path / "image.tif"
    path.write_bytes(tiff(tags, bytes(16 * 16 * 2 * len(tags[258]))))
    if 339 in tags or 284 in tags or depth == 12 or (depth, tags[262]) == (16, [0]):
        with pytest.raises(ImageError, match="image.tif is a TIFF whose pixels .* save it as PNG"):
            read_image(path, 8)
    else:
        assert colour_of(path) == [255 * (tags[262] == [0])] * 3


def test_the_preview_of_a_raw_photograph_is_not_taken_for_it(tmp_path):
    """Those of cameras are TIFFs whose first picture is small, and whose second is not known."""
    tags = {254: [1], 256: [16], 257: [16], 258: [8], 259: [1], 262: [1], 277: [1], 278: [16]}
    for suffix in ("NEF", "dng", "tif"):
        (tmp_path / f"a.{suffix}").write_bytes(tiff(tags, bytes(256)))
        with pytest.raises(ImageError, match=f"a.{suffix} is a raw photograph, or begins with"):
            read_image(tmp_path / f"a.{suffix}", 8)
    (tmp_path / "a.tif").write_bytes(tiff({**tags, 254: [2]}, bytes(256)))  # a page of several
    assert colour_of(tmp_path / "a.tif") == [0, 0, 0]


def tiff(tags, data):
    """A TIFF with short numbers as tags and one strip of pixels."""
    table, values = b"", b""
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    place = start + 2 * sum(len(found) for found in tags.values() if len(found) > 2)
    for tag, found in sorted({**tags, 273: [place], 279: [len(data)]}.items()):
        packed = struct.pack(f"<{len(found)}H", *found)
        if len(packed) > 4:
            values, packed = values + packed, struct.pack("<I", start + len(values))
        table += struct.pack("<HHI", tag, 3, len(found)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags) + 2)
    return head + table + bytes(4) + values + data


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # where the stored image's white top left quarter belongs: (row, column) of the quarter
    [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (4, (1, 0)),
     (5, (0, 0)), (6, (0, 1)), (7, (1, 1)), (8, (1, 0))],
)  # fmt: skip
def test_exif_orientation(orientation, corner, tmp_path):
    image = flat("RGB", 0, (64, 64))
    image.paste((255, 255, 255), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    quarters = read_image(tmp_path / "turned.png", 64).reshape(3, 2, 32, 2, 32).mean((0, 2, 4))
    bright = torch.nonzero(quarters > 0.9)
    assert bright.tolist() == [list(corner)]


@pytest.mark.parametrize(("exif", "turned"), [
    (b"none", False), (b"II*\0" + bytes(2), False),
    # what Pillow reads, but does not write again: a resolution that is no number, an unsigned -3
    ([(282, 2, 3, b"72\0")], True), ([(531, 8, 1, b"\xfd\xff")], True)], ids=str)
def test_exif_that_is_damaged_costs_no_image(exif, turned, tmp_path):
    """Viewers show such images, turned where they are told how."""
    image = flat("RGB", 0, (64, 32))
    if isinstance(exif, list):
        entries = [(274, 3, 1, b"\6"), *exif]
        exif = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(
            struct.pack("<HHI4s", *entry) for entry in entries) + bytes(4)
    image.paste((255, 255, 255), (0, 0, 32, 32))
    image.save(tmp_path / "a.png", exif=exif)
    upper, lower = read_image(tmp_path / "a.png", 64, crop=False).chunk(2, 1)
    left, _ = read_image(tmp_path / "a.png", 64, crop=False).chunk(2, 2)
    assert (upper.mean() > 0.9) == turned and (left.mean() > 0.9) != turned


def test_centre_is_cut_out(tmp_path):
    image = flat("RGB", (255, 0, 0), (48, 16))
    image.paste((0, 0, 255), (16, 0, 32, 16))
    image.save(tmp_path / "wide.png")
    assert colour_of(tmp_path / "wide.png") == [0, 0, 255]
    squeezed = to_uint8(read_image(tmp_path / "wide.png", SIZE, crop=False))
    assert squeezed[:, 8, 0].tolist() == [255, 0, 0]


def test_resizing_is_antialiased(tmp_path):
    stripes = (np.arange(256) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.tile(stripes, (256, 1))).save(tmp_path / "stripes.png")
    image = read_image(tmp_path / "stripes.png", 32)
    assert image.shape == (3, 32, 32)
    assert image.abs().max() < 0.1  # the mean of black and white


def save_noise(path, size: int = 64) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "bmp"])
def test_truncated_file_is_named(suffix, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    save_noise(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=f"cut.{suffix}"):
        read_image(path, SIZE)


def test_unusable_files_are_named(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    flat("RGB", 0, (7, 90)).save(tmp_path / "small.png")
    flat("F", 0.5).save(tmp_path / "float.tif")
    Image.fromarray(np.full((9, 9), 70_000, np.int32)).save(tmp_path / "deep.tif")
    signed, unsigned = (struct.pack("<HHIH", 339, 3, 1, kind) for kind in (2, 1))
    deep = (tmp_path / "deep.tif").read_bytes()
    (tmp_path / "deep.tif").write_bytes(deep.replace(signed, unsigned))
    flat("RGB", 0, (90, 90)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    for name, reason in {
        "missing.png": "does not exist",
        "text.png": "not an image",
        "empty.png": "is empty",
        "small.png": "7 x 90 px",
        "float.tif": "floating-point",
        "deep.tif": "more than 16 bits",
        "bomb.png": "pixels",
        ".": "is a folder",
    }.items():
        with pytest.raises(ImageError, match=reason) as failure:
            read_image(tmp_path / name, SIZE)
        assert str(tmp_path / name) in str(failure.value)
        assert "\n" not in str(failure.value)


def test_one_bad_image_never_loses_the_others(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.jpg", "sub/c.webp"):
        save_noise(tmp_path / name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "b.png").read_bytes()[:200])
    (tmp_path / "notes.txt").write_text("left alone")
    images, kept, errors = read_images(tmp_path, SIZE, progress=False)
    assert images.shape == (3, 3, SIZE, SIZE)
    assert [str(path.relative_to(tmp_path)) for path in kept] == ["a.jpg", "b.png", "sub/c.webp"]
    assert torch.equal(images[1], read_image(tmp_path / "b.png", SIZE))
    assert [("broken.png" in str(error)) for error in errors] == [True]


def test_list_of_files_keeps_its_order(tmp_path):
    save_noise(tmp_path / "b.png")
    save_noise(tmp_path / "a.png")
    names = [tmp_path / "b.png", tmp_path / "gone.png", str(tmp_path / "a.png")]
    images, kept, errors = read_images(names, SIZE, progress=False)
    assert len(images) == 2
    assert [path.name for path in kept] == ["b.png", "a.png"]
    assert len(errors) == 1


def test_nothing_readable(tmp_path):
    images, kept, errors = read_images(tmp_path / "gone.png", SIZE, progress=False)
    assert images.shape == (0, 3, SIZE, SIZE)
    assert (kept, len(errors)) == ([], 1)
    with pytest.raises(ImageError, match="holds no image files"):
        read_images(tmp_path, SIZE, progress=False)


@pytest.mark.parametrize("suffix, told", [("tif", True), ("gif", True), ("webp", True),
                                          ("png", True), ("mpo", False)])
def test_that_only_the_first_of_several_pictures_is_taken_is_told(suffix, told, tmp_path):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    path = tmp_path / f"a.{suffix}"
    red.save(path, save_all=True, append_images=[blue])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read_image(path, 8).mean((1, 2)).tolist() == pytest.approx([1, -1, -1], abs=0.05)
    assert [str(one.message) for one in said] == told * [
        f"{path} holds several pictures, of which the first is taken."]


def test_what_pillow_warns_of_is_told_with_the_file(tmp_path):
    flat("RGB", 0).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with pytest.warns(UserWarning, match=f"^{tmp_path}/a.jpg: Corrupt EXIF data"):
        read_image(tmp_path / "a.jpg", 8)
