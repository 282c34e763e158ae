"""The page on which networks run, in Chromium: from disk and from a server, without a network."""

import functools
import http.server
import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert import cli, data
from idinvert.data import standins
from idinvert.inversion import Settings, optimise
from idinvert.inversion.model import Model
from idinvert.inversion.optimiser import Networks
from idinvert.photographs import alignment, landmarks
from idinvert.publish import live
from PIL import Image
from reading import HTML

pytestmark = pytest.mark.skipif(not (HTML / "live.html").exists(),
                                reason="no live page: run `make book` first")
STEPS = 10


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    handler = functools.partial(Quiet, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/live.html"
        served.shutdown()


def part(name):
    return f'[data-live="{name}"]'


def button(name):
    """That loads a model."""
    return f"[data-script*='{name}.js']"


def start(reader, address, name=live.MODEL):
    reader.goto(address)
    reader.locator(part("steps")).evaluate("(slider, n) => { slider.value = n }", STEPS)
    reader.click(button(name))
    finished(reader)


def finished(reader):
    """Wait until the refinement has ended."""
    reader.wait_for_function(f"""() => document.querySelector('{part("inversion-caption")}')
        .textContent === 'Inversion, {STEPS} steps'""")
    reader.wait_for_function(f"document.querySelector('{part('stop')}').disabled")


def pixels(reader, name):
    """RGB of a canvas, [H, W, 3]."""
    found = reader.locator(part(name)).evaluate("""canvas => [canvas.width, ...canvas
        .getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]""")
    return np.array(found[1:]).reshape(found[0], found[0], 4)[..., :3]


def set_slider(reader, name, value):
    """Move a slider, and wait for the picture."""
    shown = int(reader.locator("#live").get_attribute("data-shown"))
    reader.locator(f"#live-{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.oninput() }", value)
    reader.wait_for_function(f"document.getElementById('live').dataset.shown > {shown}")


@pytest.mark.parametrize("where", ["disk", "server"])
def test_code_is_that_of_pytorch_and_sliders_edit_it(where, reader, server, tmp_path):
    start(reader, server if where == "server" else (HTML / "live.html").as_uri())
    with reader.expect_download() as download:
        reader.click(part("save-code"))
    download.value.save_as(tmp_path / "code.npy")
    code = np.load(tmp_path / "code.npy")

    model = Model(live.MODEL, "cpu")
    target = data.to_float(data.load("face", "test", 1).images)
    networks = Networks(model.generator, encoder=model.encoder)
    wanted = optimise(networks, target, model.encode(target),
                      Settings(iterations=STEPS, lambda_vgg=0), lambda_dom=2.0)
    assert np.abs(code - wanted.codes.numpy()).max() < 1e-2
    assert np.abs(code - model.encode(target).numpy()).max() > 0.05
    assert (pixels(reader, "target") == data.load("face", "test", 1).images[0].permute(
        1, 2, 0).numpy()).all()
    image = data.to_uint8(wanted.images)[0].permute(1, 2, 0).numpy()
    assert np.abs(pixels(reader, "inversion") - image).max() <= 3

    for name in model.boundaries:
        set_slider(reader, name, 3)
        edited = model.render(model.edit(torch.from_numpy(code), **{name: 3}))
        image = data.to_uint8(edited)[0].permute(1, 2, 0).numpy()
        assert np.abs(pixels(reader, "edited") - image).max() <= 3, name
        set_slider(reader, name, 0)
    for name, value in (("way", 0.5), ("mix", 4)):
        before = pixels(reader, "edited")
        set_slider(reader, name, value)
        assert np.abs(pixels(reader, "edited") - before).max() > 10, name
    assert not reader.wrong


def test_the_same_in_python_does_the_same(reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start(reader, (HTML / "live.html").as_uri())
    set_slider(reader, "age", 2)
    with reader.expect_download() as download:
        reader.click(part("save-code"))
    download.value.save_as(download.value.suggested_filename)
    shown = reader.locator(part("python")).text_content()
    for run in (lambda: exec(shown, {}), lambda: cli.main(shown.splitlines()[-1].split()[2:])):
        run()
        edited = np.array(Image.open("edited.png"))
        assert np.abs(pixels(reader, "edited") - edited).max() <= 3
        Path("edited.png").unlink()


def write(path, kind):
    """A file that is not what the page wants, or a picture it takes."""
    if kind == "text":
        path.write_text("no picture")
    elif kind == "heic":
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    elif kind == "huge":
        Image.new("1", (10_000, 10_000)).save(path, "png")
    elif kind == "damaged":
        Image.new("RGB", (64, 64)).save(path, "png")
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "animated":
        frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
        frames[0].save(path, "gif", save_all=True, append_images=frames[1:])
    return path


@pytest.fixture(scope="module")
def open_page(browser):
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.set_default_timeout(120_000)
    start(page, (HTML / "live.html").as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("kind, sentence", [
    ("text", "f is not a picture: choose a JPEG, PNG or WebP file."),
    ("heic", "f is a HEIC photograph, which browsers cannot read: save it as a JPEG file first."),
    ("huge", "f has 100 megapixels, but at most 50 are read here: make it smaller first."),
    ("damaged", "f is damaged, or a picture that this browser cannot read: choose a JPEG, PNG or "
                "WebP file."),
    ("animated", "f is an animated GIF: its first picture is taken."),
])  # fmt: skip
def test_files_that_are_no_pictures_get_a_sentence(kind, sentence, open_page, tmp_path):
    before = pixels(open_page, "target")
    open_page.set_input_files(part("file"), write(tmp_path / "f", kind))
    open_page.wait_for_function("text => document.querySelector('[data-live=status]').textContent "
                                "=== text", arg=sentence)
    if kind == "animated":
        finished(open_page)
        assert (pixels(open_page, "target") == [255, 0, 0]).all()
    else:
        assert (pixels(open_page, "target") == before).all()


def test_a_photograph_is_cut_to_a_square_and_reduced(open_page, tmp_path):
    wide = np.zeros((320, 640, 3), np.uint8)
    wide[:, 160:480, 1] = np.linspace(0, 255, 320).astype(np.uint8)[:, None]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    open_page.set_input_files(part("file"), tmp_path / "wide.png")
    open_page.wait_for_function("""() => document.querySelector('[data-live=target]')
        .getContext('2d').getImageData(0, 0, 1, 1).data[0] === 0""")  # it is read in the meantime
    finished(open_page)
    found, side = pixels(open_page, "target"), 64
    assert found.shape == (side, side, 3) and found[..., 0].max() == 0
    wanted = wide[:, 160:480, 1].reshape(side, 5, 320).mean((1, 2))
    assert np.abs(found[..., 1] - wanted[:, None]).max() <= 3


def test_a_rectangle_is_diffused_into_the_second_face(open_page):
    target = pixels(open_page, "target")
    open_page.locator(part("target")).focus()
    open_page.keyboard.press("ArrowRight")
    assert open_page.locator(part("box")).is_visible()
    open_page.click(part("diffuse"))
    open_page.wait_for_function("document.querySelector('[data-live=encoding-caption]').textContent"
                                " === 'Pasted'")
    pasted = pixels(open_page, "encoding")
    assert (pasted[16:48, 17:49] == target[16:48, 17:49]).all()
    second = data.load("face", "test", 2).images[1].permute(1, 2, 0).numpy()
    assert (pasted[:16] == second[:16]).all() and (pasted[:, 50:] == second[:, 50:]).all()
    finished(open_page)


@pytest.mark.parametrize("missing, script", [
    ("DecompressionStream", "delete window.DecompressionStream"),
    ("SIMD", "WebAssembly.validate = () => false"),
])  # fmt: skip
def test_old_browsers_get_a_sentence(missing, script, reader):
    reader.add_init_script(script)
    reader.goto((HTML / "live.html").as_uri())
    reader.click(button(live.MODEL))
    sentence = reader.locator(part("status")).inner_text()
    assert missing in sentence and "use a recent" in sentence
    assert not reader.wrong


def test_nothing_is_loaded_before_the_button_is_pressed(reader):
    loaded = []
    reader.on("request", lambda request: loaded.append(request.url))
    reader.goto((HTML / "live.html").as_uri())
    scripts = [url.rsplit("/", 1)[1] for url in loaded if "/live/" in url and ".js" in url]
    assert scripts == ["live.js"]
    controls = reader.locator(part("app"))  # laid out, so that no font is looked up later
    assert controls.is_hidden() and controls.evaluate("e => e.scrollHeight") > 500
    assert reader.evaluate("document.documentElement.scrollWidth") <= 1300
    reader.set_viewport_size({"width": 390, "height": 800})
    assert reader.evaluate("document.documentElement.scrollWidth") <= 390


OFFERED = (HTML / "live.html").exists() and "ffhq.js" in (HTML / "live.html").read_text()


@pytest.fixture(scope="module")
def stand_in():
    """The first stand-in of the model of photographs, [256, 256, 3]."""
    found = standins.load("ffhq", Model("ffhq", "cpu").whole, "test", 1, progress=False)
    return found.distorted(0).permute(1, 2, 0).numpy()


@pytest.mark.slow
@pytest.mark.skipif(not OFFERED, reason="the live page was made without --also ffhq")
def test_photographs_are_refined_and_edited(reader, stand_in):
    start(reader, (HTML / "live.html").as_uri(), "ffhq")
    reader.click("[aria-label='stand-in 1']")
    reader.wait_for_function(f"""() => document.querySelector('{part("target-caption")}')
        .textContent === 'Target: stand-in 1'""")
    finished(reader)
    assert np.abs(pixels(reader, "target") - stand_in).mean() < 3  # which is kept in few bytes
    errors = [np.square(pixels(reader, name) - stand_in.astype(float)).mean()
              for name in ("encoding", "inversion")]
    assert errors[1] < 0.9 * errors[0]

    before = pixels(reader, "edited")
    previewed = reader.locator("#live").get_attribute("data-previewed")
    reader.locator("#live-smile").evaluate("slider => { slider.value = 3; slider.oninput() }")
    reader.wait_for_function(
        f"document.getElementById('live').dataset.previewed !== '{previewed}'")
    preview = pixels(reader, "edited")
    set_slider(reader, "smile", 2.9)
    edited = pixels(reader, "edited")
    assert np.abs(edited - before).max() > 30
    changes = np.square(preview - edited).mean(), np.square(before - edited).mean()
    assert 0 < changes[0] < 0.5 * changes[1]
    assert not reader.wrong


def take(reader):
    """Accept the face, and wait until it is the target."""
    reader.locator(part("target-caption")).evaluate("caption => { caption.textContent = '' }")
    reader.click("text=Take this face")
    reader.wait_for_function(f"""() => document.querySelector('{part("target-caption")}')
        .textContent === 'Target: your picture'""")


def found_points(reader, picture, tmp_path):
    """Eyes and mouth that the page finds in a picture, px."""
    picture.save(tmp_path / "picture.png")
    reader.set_input_files(part("file"), tmp_path / "picture.png")
    reader.wait_for_selector(f"{part('align')}[open]")
    shares = reader.locator(".live-handle").evaluate_all(
        "handles => handles.map(({ style }) => [parseFloat(style.left), parseFloat(style.top)])")
    return np.array(shares) / 100 * picture.size


@pytest.mark.slow
@pytest.mark.skipif(not OFFERED, reason="the live page was made without --also ffhq")
@pytest.mark.parametrize("angle", [0, 18, 180])
def test_faces_are_found_where_the_library_finds_them(angle, finder, stand_in, tmp_path):
    pytest.importorskip("dlib")
    picture = Image.new("RGB", (900, 700), (110, 120, 130))
    picture.paste(Image.fromarray(stand_in).resize((380, 380)), (300, 120))
    picture = picture.rotate(angle, Image.Resampling.BICUBIC)
    face, = landmarks.find_faces(picture)
    *eyes, mouth = found_points(finder, picture, tmp_path)
    assert "were found" in finder.inner_text(part("found"))
    theirs = alignment.align(landmarks.Face(np.array(eyes), face.nose, mouth, face.width))
    ours = alignment.align(face)
    assert np.hypot(*np.subtract(theirs.centre, ours.centre)) < 0.02 * ours.side
    assert np.hypot(*np.subtract(theirs.right, ours.right)) < 0.05 * ours.side / 2
    before = pixels(finder, "cut")
    finder.locator(".live-handle").first.press("ArrowDown")
    assert np.abs(pixels(finder, "cut") - before).max() > 10
    take(finder)
    assert np.abs(pixels(finder, "target") - stand_in).mean() < 30


@pytest.mark.slow
@pytest.mark.skipif(not OFFERED, reason="the live page was made without --also ffhq")
def test_pictures_without_a_face_are_cut_out_by_handles(finder, stand_in, tmp_path):
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::8] = 255
    found_points(finder, Image.fromarray(stripes), tmp_path)
    assert finder.inner_text(part("found")).startswith("No face was found: move the points")
    take(finder)
    assert np.abs(pixels(finder, "target") - stripes).max() <= 4  # of points where they were


@pytest.fixture(scope="module")
def finder(browser):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(240_000)
    start(page, (HTML / "live.html").as_uri(), "ffhq")
    yield page
    page.close()


@pytest.fixture(scope="module")
def images_script(browser):
    """A page that has the functions of images.js."""
    page = browser.new_page()
    page.add_script_tag(content=(live.SOURCES / "images.js").read_text())
    yield page
    page.close()


@pytest.mark.parametrize("points", [
    [[100, 120], [160, 110], [138, 190]],
    [[40, 60], [90, 80], [50, 120]],  # turned, and beyond the border
])  # fmt: skip
def test_squares_of_faces_are_those_of_python(points, images_script):
    eyes, mouth = np.array(points[:2], float), np.array(points[2], float)
    square = alignment.align(landmarks.Face(eyes, eyes.mean(0), mouth, 100))
    found = images_script.evaluate("points => faceSquare(points)", points)
    assert np.allclose(found["centre"], square.centre)
    assert np.allclose(found["right"], square.right)

    rows, columns = np.mgrid[:220, :260].astype(np.float32)
    pixels = np.stack([columns, rows, 127 + 60 * np.sin(rows / 20)], 2).clip(0, 255)
    picture = Image.fromarray(pixels.astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "png")
    image = images_script.evaluate("""async ([bytes, square]) => [...cutOut(
        await createImageBitmap(new Blob([Uint8Array.from(bytes)])), square, 64)]""",
                                   [list(file.getvalue()), found])
    ours = (np.array(image).reshape(3, 64, 64).transpose(1, 2, 0) + 1) * 127.5
    theirs = np.asarray(square.crop(picture, 64), float)
    assert np.abs(ours - theirs)[16:48, 16:48].max() < 4
    assert np.abs(ours - theirs).mean() < 4  # Python also blurs beyond the borders


def test_landmarks_are_looked_for_in_an_upright_square_around_them(images_script):
    rng = np.random.default_rng(0)
    marks = rng.uniform(0, 60, (68, 2))
    marks[36:42] += [-200, 0]  # a left eye far to the left
    turned = marks @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + [300, 200]
    eyes = turned[36:42].mean(0), turned[42:48].mean(0)
    found = images_script.evaluate("marks => squareAround(marks)", turned.tolist())
    across = (eyes[1] - eyes[0]) / np.hypot(*(eyes[1] - eyes[0]))
    right = np.array(found["right"])
    assert np.allclose(right / np.hypot(*right), across)
    shares = [(turned - found["centre"]) @ axis / np.hypot(*right)
              for axis in (across, [-across[1], across[0]])]
    sides = [(values.min(), values.max()) for values in shares]
    assert np.allclose([low + high for low, high in sides], 0, atol=1e-9)
    assert np.isclose(max(high for _, high in sides), 1 / 1.25)
    points = images_script.evaluate("([square, points]) => points.map(p => placeIn(square, p))",
                                    [found, [[0.5, 0.5], [1, 0.5], [0.5, 1]]])
    down = np.array([-right[1], right[0]])
    assert np.allclose(np.subtract(points, found["centre"]), [[0, 0], right, down])


def test_maps_are_fitted_as_in_python(browser):
    torch.manual_seed(0)
    x, y = torch.randn(7, 40), torch.randn(12, 40)
    squares, products = x @ x.T, y @ x.T
    page = browser.new_page()
    page.add_script_tag(content=(live.SOURCES / "worker.js").read_text())
    found = page.evaluate("([squares, products]) => [...fitted(squares, products)]",
                          [squares.flatten().tolist(), products.flatten().tolist()])
    page.close()
    preview = pytest.importorskip("idinvert.publish.preview")
    assert np.allclose(found, preview.fitted(squares, products).flatten(), atol=1e-5)
