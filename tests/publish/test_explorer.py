"""The explorer without a browser: what its controls do to a session of tiny networks."""

import io
import time

import ipywidgets
import numpy as np
import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.data import to_uint8
from idinvert.inversion import stitch
from idinvert.inversion.model import Model
from idinvert.nn.encoder import Encoder
from idinvert.nn.stylegan import Generator
from idinvert.photographs import Face, align, source
from idinvert.publish import explorer
from PIL import Image
from torch import nn

SIDE = 16


class Tiny(Model):
    """A model of networks that no registry holds, without a perceptual term; the name is that of a
    model of rendered faces."""

    def __init__(self, generator, encoder, boundary):
        self.name, self.device, self.advice = "face-stylegan", "cpu", {}
        self.whole = self.generator = generator
        self.encoder, self.features = encoder, None
        self.boundaries = {boundary.name: boundary}
        self.classifier, self.attributes = Brightness(), [boundary.name]

    def has(self, role):
        return role in ("classifier", "encoder", "features")


class Brightness(nn.Module):
    """A classifier of one attribute: the mean of the image is positive."""

    resolution = SIDE

    def forward(self, images):
        return 8 * images.mean((1, 2, 3))[:, None]


@pytest.fixture
def model():
    torch.manual_seed(0)
    generator = Generator(SIDE, channel_base=64, channel_max=8, z_dim=8, w_dim=8, layerwise=True)
    encoder = Encoder(SIDE, 8, channel_base=4, channel_max=8)
    normal = torch.zeros(generator.num_layers, 8)
    normal[:, 0] = 1 / generator.num_layers**0.5
    bright = Boundary("bright", normal, 0.0, tuple(range(generator.num_layers)))
    return Tiny(generator.eval(), encoder.eval(), bright)


@pytest.fixture
def faces():
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def shown(image_widget):
    image = Image.open(io.BytesIO(image_widget.value)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def wait(panel):
    panel.worker.join(60)
    assert not panel.worker.is_alive()


def test_edits_add_up_and_none_is_the_inversion(model, faces):
    session = explorer.Session(model, faces[:1])
    torch.testing.assert_close(session.edited({"bright": 0.0}), session.inverted())
    session.other = session.codes + 1
    codes = session.codes + 0.5 + 2 * model.boundaries["bright"].normal
    expected = model.generator.synthesis(codes)
    torch.testing.assert_close(session.edited({"bright": 2.0}, 0.5), expected)


def test_inversion_that_is_stopped_keeps_its_last_code(model, faces):
    session, seen = explorer.Session(model, faces[:1]), []

    def on_step(iteration, codes, images):
        seen.append(codes.clone())
        if iteration == 2:
            raise explorer.Stopped

    with pytest.raises(explorer.Stopped):
        session.invert("in-domain", 2.0, 9, on_step)
    torch.testing.assert_close(session.codes, seen[-1])
    assert not torch.equal(seen[0], seen[-1])


def test_methods_start_where_they_should(model, faces):
    session = explorer.Session(model, faces[:1])
    encoded = session.codes
    session.invert("in-domain", 2.0, 2)
    assert not torch.equal(session.codes, encoded)
    session.invert("domain-guided", 2.0, 2)
    torch.testing.assert_close(session.codes, encoded)
    starts = []
    session.invert("image2stylegan", 2.0, 1, lambda i, codes, images: starts.append(codes.clone()))
    torch.testing.assert_close(starts[0], model.generator.w_avg.expand(1, -1, -1))


def test_panel_shows_what_its_controls_say(model, faces):
    panel = explorer.Panel(model, faces)
    assert torch.equal(shown(panel.views["target"]), to_uint8(faces[0]))
    panel.face.value = 2
    assert torch.equal(shown(panel.views["target"]), to_uint8(faces[2]))
    before = panel.views["edited"].value
    panel.attributes["bright"].value = 3
    edited = panel.session.edited({"bright": 3.0})
    assert torch.equal(shown(panel.views["edited"]), to_uint8(edited[0]))
    assert panel.views["edited"].value != before
    assert f"{float(model.probabilities(edited)):.2f}" in panel.scores.value
    panel.reset.click()
    assert panel.attributes["bright"].value == 0
    assert panel.views["edited"].value == before


def test_panel_inverts_in_the_background_and_stops(model, faces):
    panel = explorer.Panel(model, faces)
    panel.iterations.value = 10
    first = panel.views["inverted"].value
    panel.go.click()
    wait(panel)
    assert (panel.message.value, panel.progress.value) == ("done", 10)
    assert panel.views["inverted"].value != first
    panel.iterations.value = 500
    panel.go.click()
    assert panel.go.disabled
    panel.stop.click()
    wait(panel)
    assert panel.message.value == "stopped"
    assert panel.progress.value < 500 and not panel.go.disabled


def test_panel_diffuses_the_box_into_another_image(model, faces):
    panel = explorer.Panel(model, faces)
    panel.across.value, panel.down.value, panel.context.value = (2, 6), (4, 8), 2
    stitched, _ = stitch(faces[:1], faces[2:], (2, 4, 6, 8))
    inner = to_uint8(stitched[0])[:, 5:7, 3:5]
    assert torch.equal(shown(panel.views["stitched"])[:, 5:7, 3:5], inner)
    panel.iterations.value = 10
    panel.spread.click()
    wait(panel)
    assert panel.message.value == "done"


def test_failure_in_the_background_is_told(model, faces, monkeypatch):
    panel = explorer.Panel(model, faces)
    monkeypatch.setattr(panel, "run_inversion", lambda: 1 / 0)
    panel.go.click()
    wait(panel)
    assert "ZeroDivisionError" in panel.message.value and not panel.go.disabled


def upload(name, content):
    return {"name": name, "content": memoryview(content), "type": "", "size": len(content)}


def test_uploads_are_read_or_named(model, faces):
    panel = explorer.Panel(model, faces)
    file = io.BytesIO()
    Image.new("L", (40, 20), 255).save(file, "png")
    image = explorer.read_upload(upload("white.png", file.getvalue()), SIDE, "face-stylegan")
    assert image.shape == (3, SIDE, SIDE) and (image == 1).all()
    panel.on_upload(type("Change", (), {"new": [upload("bad.png", b"no image")]}))
    assert panel.message.value == "bad.png is not an image of a known format."
    panel.on_upload(type("Change", (), {"new": [upload("white.png", file.getvalue())]}))
    assert (panel.session.target == 1).all()


def test_uploaded_photograph_is_aligned_and_told_of(model, faces, monkeypatch):
    found = [Face(np.array([[x - 9.0, 20.0], [x + 9.0, 20.0]]), np.array([x, 30.0]),
                  np.array([x, 38.0]), 34.0) for x in (30.0, 90.0)]
    monkeypatch.setattr(source, "find_faces", lambda image: found)
    model.name = "ffhq"
    panel = explorer.Panel(model, faces)
    picture, file = Image.effect_noise((120, 60), 50).convert("RGB"), io.BytesIO()
    picture.save(file, "png")
    panel.on_upload(type("Change", (), {"new": [upload("two.png", file.getvalue())]}))
    crop = np.array(align(found[0]).crop(picture, SIDE))
    assert np.array_equal(to_uint8(panel.session.target[0]).permute(1, 2, 0).numpy(), crop)
    assert "two.png shows 2 faces" in panel.message.value


class Halved(nn.Module):
    """A generator or an encoder whose images have half their size."""

    def __init__(self, whole):
        super().__init__()
        self.whole, self.resolution = whole, SIDE // 2

    def synthesis(self, codes):
        return nn.functional.avg_pool2d(self.whole.synthesis(codes), 2)

    def forward(self, images):
        return self.whole(nn.functional.interpolate(images, scale_factor=2))


def test_edit_is_shown_small_at_once_and_whole_a_little_later(model, faces, monkeypatch):
    monkeypatch.setattr(explorer, "PAUSE", 0.2)
    model.generator = Halved(model.whole)
    model.encoder = Halved(model.encoder)
    panel = explorer.Panel(model, nn.functional.avg_pool2d(faces, 2))
    panel.attributes["bright"].value = 1
    panel.attributes["bright"].value = 2
    small = panel.session.edited({"bright": 2.0})
    assert small.shape[-1] == SIDE // 2
    assert torch.equal(shown(panel.views["edited"]), to_uint8(small[0]))
    panel.refining.join(30)
    whole = panel.session.edited({"bright": 2.0}, whole=True)
    assert torch.equal(shown(panel.views["edited"]), to_uint8(whole[0]))


def test_stack_follows_its_control():
    control = explorer.slider("lambda_dom", (0.0, 2.0, 5.0), 2.0)
    stack = explorer.flip(control, [ipywidgets.Label(str(i)) for i in range(3)])
    assert stack.selected_index == 1
    links = [x for x in ipywidgets.widgets.widget._instances.values()
             if type(x).__name__ == "Link" and x.target[0] is stack]
    assert [(x.source, x.target[1]) for x in links] == [((control, "index"), "selected_index")]


def test_edits_answer_at_once(model, faces):
    panel = explorer.Panel(model, faces)
    start = time.perf_counter()
    for value in range(5):
        panel.attributes["bright"].value = value
    assert (time.perf_counter() - start) / 5 < 0.5
