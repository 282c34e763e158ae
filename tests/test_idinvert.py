"""What `import idinvert` offers, on tiny networks; and that the import itself is quick."""

import subprocess
import sys

import idinvert
import idinvert.devices
import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import boundaries, models
from idinvert.inversion import InDomain, Networks
from idinvert.models import pretrained, store
from idinvert.nn import classifier, encoder


@pytest.fixture
def model(own_registry, monkeypatch):
    monkeypatch.setattr(pretrained, "load_vgg16", lambda device: None)
    normal = torch.randn(4, 4)
    boundary = boundaries.Boundary("age", normal / normal.norm(), 0.0, tuple(range(4)))
    smile = boundaries.Boundary("smile", normal.flip(0) / normal.norm(), 0.0, (0, 1))
    boundaries.save([boundary, smile], models.folder() / "own-boundaries.safetensors")
    return idinvert.load("own", device="cpu")


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_file_to_edited_file(model, tmp_path):
    idinvert.write_image(tmp_path / "photo.png", torch.rand(3, 40, 30) * 2 - 1)
    photo = idinvert.read_image(tmp_path / "photo.png", size=8)
    result = model.invert(photo[None], iterations=4)
    assert result.codes.shape == (1, 4, 4)
    assert result.losses["total"].shape == (1, 4)
    older = model.render(model.edit(result.codes, age=3.0))
    expected = models.load("own").synthesis(result.codes + 3 * model.boundaries["age"].normal)
    torch.testing.assert_close(older, expected)
    idinvert.write_image(tmp_path / "older.png", older[0])
    assert idinvert.read_image(tmp_path / "older.png", size=8).shape == (3, 8, 8)


def test_edits_add_up_and_may_differ_between_codes(model):
    codes = model.sample(3, seed=2)
    both = model.edit(codes, age=2, smile=torch.tensor([1.0, 0.0, -1.0]))
    age, smile = (model.boundaries[name].direction for name in ("age", "smile"))
    torch.testing.assert_close(both[0], codes[0] + 2 * age + smile)
    torch.testing.assert_close(both[1], codes[1] + 2 * age)
    torch.testing.assert_close(both[2], codes[2] + 2 * age - smile)
    assert torch.equal(model.edit(codes), codes)
    rows_of_a_table = pd.Series([1.0, 0.0, -1.0], index=[7, 5, 6])
    assert torch.equal(model.edit(codes, age=2, smile=rows_of_a_table), both)
    with pytest.raises(ValueError, match=r"of age must be a number or \[3\], not \[3, 1\]"):
        model.edit(codes, age=torch.ones(3, 1))


def test_inversion_is_that_of_the_method_in_every_batch(model, images):
    networks = Networks(models.load("own"), None, models.load("own-base"))
    expected = InDomain(iterations=3).invert(networks, images)
    found = model.invert(images, "in-domain", iterations=3, batch=2)
    torch.testing.assert_close(found.codes, expected.codes, atol=1e-5, rtol=0)
    assert found.losses["total"].shape == (5, 3) and found.diverged.tolist() == [False] * 5
    given = model.invert(images, InDomain(iterations=3))
    assert torch.equal(given.codes, expected.codes)
    torch.testing.assert_close(model.invert(images, "domain-guided").codes, model.encode(images))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whoever_wants_no_gradients_may_invert(own_registry, images, mode):
    with mode():
        model = idinvert.Model("own", "cpu")  # its networks are loaded in here
        found = model.invert(images, iterations=2, lambda_vgg=0).codes
    assert torch.equal(model.invert(images, iterations=2, lambda_vgg=0).codes, found)


def test_a_program_that_computes_in_double_precision_gets_the_same_numbers(model, images):
    expected = model.sample(2), model.invert(images, iterations=2, lambda_vgg=0).codes
    store.kept.clear()
    torch.set_default_dtype(torch.float64)
    try:
        again = idinvert.load("own", "cpu")
        found = again.sample(2), again.invert(images, iterations=2, lambda_vgg=0).codes
    finally:
        torch.set_default_dtype(torch.float32)
    for own, other in zip(found, expected):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("method", [InDomain(iterations=3), "domain-guided"])
def test_out_of_memory_halves_every_batch_from_then_on(model, images, monkeypatch, method):
    """Networks whose memory is that of three images, in the way of a GPU and of a CPU."""
    expected, sizes = model.invert(images, method, batch=4), []
    codes, rendered = model.encode(images[:4]), model.render(expected.codes[:4])
    errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
              RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]

    def limited(module, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 3:
            raise errors[len(sizes) % 2]

    for network in (model.encoder, model.generator):
        network.register_forward_pre_hook(limited)
    plain = model.generator.synthesis
    monkeypatch.setattr(model.generator, "synthesis",
                        lambda codes, *more: limited(None, [codes]) or plain(codes, *more))
    with pytest.warns(UserWarning, match="out of memory: .* a batch of 2 instead of 4") as told:
        found = model.invert(images, method, batch=4)
    assert len(told) == 1 and max(sizes) == 4 and sizes.count(4) == 1
    torch.testing.assert_close(found.codes, expected.codes, atol=1e-5, rtol=0)
    assert found.diverged.shape == (5,)
    torch.testing.assert_close(model.encode(images[:4]), codes)
    torch.testing.assert_close(model.render(expected.codes[:4]), rendered)
    with pytest.raises(RuntimeError, match="memory"):  # half of it is too much as well
        model.encode(torch.cat([images, images]))


def test_methods_and_networks_that_there_are(model):
    assert model.available() == ["domain-guided", "image2stylegan", "in-domain",
                                 "pivotal-tuning"]
    assert model.generator is model.generator  # it is kept
    with pytest.raises(ValueError, match="own-conventional"):
        model.invert(torch.zeros(1, 3, 8, 8), "conventional")
    settings = {"resolution": 16, "attributes": 2, "channels": (4, 6)}
    models.save("own-classifier", classifier.Classifier(**settings), kind="classifier",
                attributes=["age", "smile"])
    probabilities = model.probabilities(torch.zeros(3, 3, 16, 16))
    assert probabilities.shape == (3, 2) and (probabilities > 0).all()
    assert model.attributes == ["age", "smile"]
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.probabilities(torch.full((2, 3, 64, 64), 0.5))
    torch.testing.assert_close(seen, [torch.full((2, 3, 16, 16), 0.5)])


def test_another_companion_can_be_chosen(model, images):
    models.save("other", models.load("own-base"))
    other = idinvert.Model("own", "cpu", encoder="other")
    assert other.name_of("encoder") == "other" and model.name_of("encoder") == "own-base"
    assert other.encode(images).shape == (5, 4, 4)


def test_companions_that_do_not_fit_are_named(model, images):
    """A network of another size, and a generator in the place of the model's own."""
    models.save("wide-base", encoder.Encoder(resolution=8, w_dim=6, channel_base=4, channel_max=8))
    other = idinvert.Model("own", "cpu", encoder="wide-base")
    for use in (other.encode, other.invert):
        with pytest.raises(ValueError, match=r"wide-base is for .* \(8, 4, 6\), own has \(8, 4, 4"):
            use(images)
    models.save("other", models.load("own"))
    with pytest.raises(ValueError, match="the generator is own: to take 'other', load that"):
        idinvert.load("own", "cpu", generator="other")
    boundaries.save([boundaries.Boundary("age", torch.ones(6, 4), 0.0, (0,))],
                    models.folder() / "other-boundaries.safetensors")
    with pytest.raises(ValueError, match=r"'age' is for codes of \(6, 4\) .* other takes \(4, 4\)"):
        idinvert.load("other", "cpu").edit(torch.zeros(1, 4, 4), age=1)


@pytest.mark.parametrize("images, message", [
    (torch.full((1, 3, 8, 8), 255.0), r"in \[-1, 1\], but reach 255: see .*read_image.*to_float"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"in \[-1, 1\], not torch.uint8: see .*to_float"),
    (np.zeros((1, 3, 8, 8)), "not a ndarray: see idinvert.read_image"),
    (torch.zeros(3, 8, 8), r"\[N, 3, 8, 8\], not \[3, 8, 8\]"),
])  # fmt: skip
def test_wrong_images_are_refused(model, images, message):
    for use in (model.invert, model.encode):
        with pytest.raises(ValueError, match=message):
            use(images)


def test_what_is_unknown_is_named_with_the_nearest(model, images):
    with pytest.raises(ValueError, match="own has no boundary 'aeg': did you mean 'age'"):
        model.edit(torch.zeros(1, 4, 4), aeg=1.0)
    with pytest.raises(ValueError, match="'in_domain': did you mean 'in-domain'"):
        model.invert(images, "in_domain")
    with pytest.raises(ValueError, match="'iteration': did you mean 'iterations'"):
        model.invert(images, iteration=3)
    with pytest.raises(ValueError, match="iterations is -1, but should be"):
        model.invert(images, iterations=-1)
    with pytest.raises(ValueError, match="Unknown model 'owl': did you mean own"):
        idinvert.load("owl")
    with pytest.raises(AttributeError, match="'idinvert' has no attribute 'invret'"):
        _ = idinvert.invret


def test_unknown_device(model):
    with pytest.raises(ValueError, match="'abacus' cannot be used"):
        idinvert.load("own", device="abacus")


def test_every_public_name_is_there():
    assert set(idinvert.__all__) <= set(dir(idinvert))
    assert all(callable(getattr(idinvert, name)) for name in idinvert.__all__)
    assert idinvert.__version__[0].isdigit()


def test_import_is_quick():
    """It leaves even torch to the first use of a name."""
    code = "import sys, idinvert; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
