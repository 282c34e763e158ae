"""Kept codes: what is inverted anew, what is not, and that an interruption changes nothing."""

import warnings
from dataclasses import replace

import pytest
import torch
from idinvert import provenance
from idinvert.inversion import METHODS, InDomain, Inversion
from idinvert.inversion.cache import cached_codes, cached_tuning, key
from idinvert.inversion.model import Model
from idinvert.models import pretrained
from idinvert.settings import Count, names, settings

CPU = torch.device("cpu")


@settings
class Mean:
    """Codes are the means of the images, a little different in each batch; `seen` grows."""

    title = "Mean"
    needs = ()
    seen = []  # numbers of images that were inverted together

    iterations: Count = 2

    def invert(self, networks, images, *, on_step=None, progress=False):
        self.seen.append(len(images))
        codes = (images.mean((2, 3)) + images.mean()).unsqueeze(1) * self.iterations
        return Inversion(codes, images, {}, torch.zeros(len(images), dtype=bool))


@pytest.fixture
def mean(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(METHODS.entries, "mean", Mean)
    monkeypatch.setattr(Mean, "seen", [])
    return Mean()


@pytest.fixture
def model(own_registry):
    model = Model("own", "cpu")
    model.features = torch.nn.Conv2d(3, 2, 3)
    return model


def test_codes_are_kept_image_by_image(mean, model):
    images = torch.rand(20, 3, 4, 4)
    first = cached_codes(model, mean, images[:18], progress=False)
    again = cached_codes(model, mean, images.flip(0), progress=False)
    assert Mean.seen == [16, 2, 16]  # the last four of the flipped ones were known
    assert torch.equal(again.flip(0)[:18], first)


@pytest.mark.parametrize("method", ["in-domain", "pivotal-tuning"])
def test_images_that_diverged_are_told_every_time(model, tmp_path, monkeypatch, method):
    """Those of the cache passed for inverted ones."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    kept = cached_tuning if method == "pivotal-tuning" else cached_codes
    for rate, told in ((0.01, 0), (1e30, 1), (1e30, 1)):
        settings = METHODS[method](iterations=2, lambda_vgg=0, learning_rate=rate)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            kept(model, settings, images, progress=False)
        assert [str(one.message) for one in said] == told * [
            f"2 of 2 images diverged by {settings.title} and kept their start."]


def test_damaged_codes_are_made_again(mean, model, tmp_path):
    images = torch.rand(3, 3, 4, 4)
    first = cached_codes(model, mean, images, progress=False)
    one, other, _ = (tmp_path / "cache").rglob("*.npy")
    one.write_bytes(one.read_bytes()[:50])
    other.write_bytes(b"")
    assert torch.equal(cached_codes(model, mean, images, progress=False), first)
    assert Mean.seen == [3, 3]


def test_out_of_memory_halves_the_batches_and_keeps_what_is_done(mean, model, monkeypatch):
    images = torch.rand(40, 3, 4, 4)
    plain, limit = Mean.invert, 8

    def invert(self, networks, images, **options):
        if len(images) > limit and len(self.seen):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return plain(self, networks, images, **options)

    monkeypatch.setattr(Mean, "invert", invert)
    with pytest.warns(UserWarning, match="with a batch of 8 instead of 16") as told:
        codes = cached_codes(model, mean, images, progress=False)
    assert Mean.seen == [16, 8, 8, 4, 4] and len(told) == 1
    batches = [images[:16], *images[16:].split(8)[:2], *images[32:].split(4)]
    expected = [plain(mean, None, batch).codes for batch in batches]
    torch.testing.assert_close(codes, torch.cat(expected))
    limit = 0
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        cached_codes(model, mean, images.flip(1), progress=False)


def test_interrupted_run_ends_with_the_very_codes_of_another(mean, model, tmp_path, monkeypatch):
    images = torch.rand(40, 3, 4, 4)
    whole = cached_codes(model, mean, images, progress=False)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    assert len(files) == 40 and Mean.seen == [16, 16, 8]
    for file in files[::3]:  # what is left of every batch is some of its images
        file.unlink()
    assert torch.equal(cached_codes(model, mean, images, progress=False), whole)
    assert Mean.seen == [16, 16, 8] * 2


def test_interruption_keeps_the_batches_that_are_done(mean, model, monkeypatch):
    images, whole = torch.rand(40, 3, 4, 4), Mean.invert

    def fails_later(self, *arguments, **options):
        if len(Mean.seen) == 2:
            raise KeyboardInterrupt
        return whole(self, *arguments, **options)

    monkeypatch.setattr(Mean, "invert", fails_later)
    with pytest.raises(KeyboardInterrupt):
        cached_codes(model, mean, images, progress=False)
    monkeypatch.setattr(Mean, "invert", whole)
    cached_codes(model, mean, images, progress=False)
    assert Mean.seen == [16, 16, 8]


OTHER = {"iterations": 7, "learning_rate": 0.02, "lambda_vgg": 1.0, "lambda_dom": 3.0, "bf16": True}


@pytest.mark.parametrize("name", names(InDomain))
def test_every_setting_is_in_the_key(model, name):
    other = replace(InDomain(), **{name: OTHER[name]})
    assert key(model, other, CPU) != key(model, InDomain(), CPU) == key(model, InDomain(), CPU)


@pytest.mark.parametrize("method, roles", [
    ("conventional", {"generator", "conventional"}), ("domain-guided", {"generator", "encoder"}),
    ("image2stylegan", {"generator", "features"}),
    ("in-domain", {"generator", "encoder", "features"}),
])  # fmt: skip
def test_weights_of_the_networks_that_make_the_codes_are_in_the_key(
        model, method, roles, monkeypatch):
    model.conventional = model.encoder
    everything = ("generator", "encoder", "conventional", "features", "classifier", "discriminator")

    def key_with(changed=None):
        monkeypatch.setattr(model, "digest", lambda role: "new" if role == changed else "old")
        return key(model, METHODS[method](), CPU)

    plain = key_with()
    assert {role for role in everything if key_with(role) != plain} == roles


def test_users_vgg_is_in_the_key_and_the_judge_is_not(model, monkeypatch):
    plain = key(model, InDomain(), CPU)
    monkeypatch.setenv("IDINVERT_INCEPTION", "file")
    assert key(model, InDomain(), CPU) == plain
    monkeypatch.setenv("IDINVERT_VGG16", "file")
    first = key(model, InDomain(), CPU)
    model.features = torch.nn.Conv2d(3, 2, 3)
    assert len({plain, first, key(model, InDomain(), CPU)}) == 3  # two other files


@pytest.mark.parametrize("module, changes", [
    ("idinvert.inversion.methods.in_domain", True), ("idinvert.inversion.optimiser", True),
    ("idinvert.losses", True), ("idinvert.codes", True),
    ("idinvert.nn.stylegan2", True),  # the class of the generator
    ("idinvert.inversion.methods.conventional", False), ("idinvert.inversion.files", False),
    ("idinvert.inversion.model", False), ("idinvert.models", False), ("idinvert.data", False),
    ("idinvert.settings", False), ("idinvert.metrics.kid", False),
])  # fmt: skip
def test_code_that_makes_the_codes_is_in_the_key(model, module, changes, monkeypatch):
    plain, hashed, path = key(model, InDomain(), CPU), provenance.source_hash, \
        provenance.source_of(module)
    monkeypatch.setattr(provenance, "source_hash", lambda p: "new" if p == path else hashed(p))
    assert (key(model, InDomain(), CPU) != plain) == changes


def test_device_and_method_are_in_the_key(model):
    assert key(model, InDomain(), CPU) != key(model, InDomain(), torch.device("cuda"))
    assert pretrained.PACKAGES["vgg16"].sha256  # of the VGG-16 that is fetched
