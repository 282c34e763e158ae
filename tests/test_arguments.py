"""What the public API is given that it cannot use: one clear sentence, never a wrong result."""

import math
from typing import Annotated

import idinvert
import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import boundaries, data, models
from idinvert.boundaries import Boundary, condition, regression, svm
from idinvert.cli import raised_on_purpose
from idinvert.codes import manipulate
from idinvert.inversion import Settings, diffuse, stitch
from idinvert.metrics import attributes, bootstrap, frechet, kid, pixel, swd
from idinvert.nn import classifier
from idinvert.settings import Count, SettingsError, checked

NAN, INF = math.nan, math.inf
NO_COUNT = [NAN, INF, -1, 0, 1.5, "many", None, 2**70, [1]]  # nor pixels
NO_SEED = [NAN, INF, -1, 1.5, "one", None, 2**70]
NO_LEVEL = [NAN, INF, -0.5, 0, 1, 95, "x", None]
NO_WEIGHT = [NAN, INF, -1, "x", None]
NO_RATE = [*NO_WEIGHT, 0]


def wrong_images(good, most=2.0):
    """Images [N, 3, r, r] in [-1, 1], spoilt in every way."""
    holed = [good.clone() for _ in range(2)]
    holed[0][0, 0, 0, 0], holed[1][0, 0, 0, 0] = NAN, -INF
    return [*holed, data.to_uint8(good), good.int(), good > 0, good.to(torch.complex64),
            good.permute(0, 2, 3, 1), good[0], good[:, :1], good[..., 1:], (good + 1) * 127.5,
            good * 255, good.numpy(), good.tolist(), None, "images"]


def not_dense(good):
    """A tensor of floats in the layouts whose numbers cannot be computed with."""
    return [good.to_sparse(), good.to("meta"),
            torch.nested.nested_tensor(list(torch.atleast_2d(good)), layout=torch.jagged),
            torch.quantize_per_tensor(good.float(), 0.1, 0, torch.quint8)]


def wrong_codes(good):
    """Codes [N, L, D], spoilt in every way."""
    holed = [good.clone() for _ in range(2)]
    holed[0][0, 0, 0], holed[1][0, 0, 0] = NAN, INF
    return [*holed, good.int(), good > 0, good.to(torch.complex64), good[0], good[:, 0],
            good[:, 1:], good[..., 1:], good.numpy(), good.tolist(), None, "codes"]


@pytest.fixture
def model(own_registry):
    settings = {"resolution": 16, "attributes": 2, "channels": (4, 6)}
    models.save("own-classifier", classifier.Classifier(**settings), kind="classifier",
                attributes=["age", "smile"])
    normal = torch.randn(4, 4)
    boundaries.save([Boundary("age", normal / normal.norm(), 0.0, tuple(range(4)))],
                    models.folder() / "own-boundaries.safetensors")
    return idinvert.load("own", "cpu")


def refused(use, values):
    """Every value is refused in one sentence, which this project raises itself."""
    for value in values:
        with pytest.raises((ValueError, TypeError)) as caught:
            print(repr(value)[:200], use(value))
        assert raised_on_purpose(caught.value), (value, caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) > 20, value


def test_arguments_are_checked_by_their_types():
    @checked
    def function(count: Count, *rest, size: Annotated[float, "px"] = 1.0, **more):
        return count, rest, size, more

    assert function("3", 4, 5, size="2", x=None) == (3, (4, 5), 2.0, {"x": None})
    with pytest.raises(SettingsError, match="^function: count is 0, but should be greater than or"):
        function(0)
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        function()


def test_a_model_refuses_what_it_cannot_use(model):
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    codes = model.sample(2)
    fast = {"iterations": 1, "lambda_vgg": 0}
    refused(lambda x: idinvert.load(x, "cpu"), ["", None, 3, "x" * 300, "../own", "a\0b", ["own"]])
    refused(lambda x: idinvert.load(x, "cpu").sample(1), ["own-base", "own-classifier"])
    refused(models.load_working, ["own-base"])
    refused(lambda x: idinvert.load("own", x), ["", None, "meta", "cuda:99", 3.5])
    refused(lambda x: idinvert.load("own", "cpu", encoder=x), [None, "owl", "own", 3])
    refused(lambda x: idinvert.load("own", "cpu", **{x: "own-base"}), ["endcoder", "generator"])
    refused(lambda x: model.invert(x, **fast), wrong_images(images))
    refused(model.encode, [*wrong_images(images), *not_dense(images)])
    refused(model.probabilities, wrong_images(torch.rand(2, 3, 16, 16) * 2 - 1))
    refused(model.render, [*wrong_codes(codes), *not_dense(codes), codes.double() + 1e300])
    refused(lambda x: model.render(codes, x), [3, codes])
    refused(lambda x: model.edit(x, age=1), wrong_codes(codes))
    refused(model.edit, wrong_codes(codes))
    refused(lambda x: model.edit(codes, age=x),
            [NAN, INF, -INF, None, "3", torch.ones(3), torch.tensor([1, NAN]), np.ones((2, 2)), 1j,
             torch.tensor([1j, 2]), np.float64(1e39), pd.Series([1, 1], ["a", "b"]).astype(str)])
    refused(model.sample, [x for x in NO_COUNT if x != 0])
    refused(lambda x: model.sample(1, seed=x), NO_SEED)
    refused(lambda x: model.invert(images, batch=x, **fast), [x for x in NO_COUNT if x is not None])
    refused(lambda x: model.invert(images, x), [None, 3, "", type(model.method("in-domain"))])
    ready = model.method("in-domain", **fast)
    refused(lambda x: model.invert(images, ready, iterations=x), [3])  # would have no effect
    for name, values in {"iterations": [-1, 1.5, NAN, "many", None], "learning_rate": NO_RATE,
                         "lambda_dom": NO_WEIGHT, "lambda_vgg": NO_WEIGHT, "bf16": [2, None],
                         "iteration": [1]}.items():
        refused(lambda x, name=name: model.invert(images, **fast | {name: x}), values)


def test_diffusion_refuses_what_it_cannot_use(model):
    images, few = torch.rand(2, 3, 8, 8) * 2 - 1, Settings(iterations=1, lambda_vgg=0)
    pasted, mask = stitch(images[:1], images[1:], (2, 2, 6, 6))
    refused(lambda x: diffuse(model, x, mask, few), wrong_images(pasted))
    refused(lambda x: diffuse(model, pasted, mask, few, batch=x), NO_COUNT)
    refused(lambda x: diffuse(model, pasted, x, few),
            [None, mask.numpy(), mask * 0, -mask, 2 * mask, mask * NAN, mask[..., 1:], mask[0],
             mask[:0], mask * 1j])
    refused(lambda x: stitch(images, x, (2, 2, 6, 6)), [None, images.numpy(), images[..., 1:]])
    refused(lambda x: stitch(images, images, x), [None, "box", (1, 2, 3), (0.5, 1, 2, 3),
                                                  (2, 2, 2, 6), (-1, 0, 1, 1), (0, 0, 9, 9)])
    with torch.no_grad():
        found = diffuse(model, pasted.double(), mask.bool(), few).codes
    assert torch.equal(found, diffuse(model, pasted, mask, few).codes)


def test_other_floats_are_taken_as_they_are_meant(model):
    images, codes = torch.rand(2, 3, 8, 8) * 2 - 1, model.sample(2)
    for other in (torch.float64, torch.float16):
        found = model.encode(images.to(other))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, model.encode(images), atol=1e-2, rtol=0)
        torch.testing.assert_close(model.render(codes.to(other)), model.render(codes), atol=1e-2,
                                   rtol=0)
    older = model.edit(codes.double(), age=np.array([1, 2]))
    torch.testing.assert_close(older, model.edit(codes, age=torch.tensor([1.0, 2.0])))
    for use in (model.encode, model.invert):
        with pytest.warns(UserWarning, match="2 . images - 1") as told:
            use((images + 1) / 2, **({"iterations": 0} if use == model.invert else {}))
        assert told[0].filename == __file__
    assert len(model.sample(0)) == 0 and len(model.encode(images[:0])) == 0


def test_images_refuse_what_they_cannot_use(tmp_path):
    path, image = tmp_path / "a.png", torch.rand(3, 8, 8) * 2 - 1
    idinvert.write_image(path, image)
    holed = image.clone()
    holed[0, 0, 0] = NAN
    refused(lambda x: idinvert.write_image(tmp_path / "b.png", x),
            [holed, image[None], image[:1], image.permute(1, 2, 0), data.to_uint8(image),
             (image + 1) * 127.5, image.numpy(), None, image[:, :0]])
    assert not (tmp_path / "b.png").exists()
    refused(lambda x: idinvert.write_image(x, image), [None, 3, "b", "b.mp4"])
    refused(lambda x: idinvert.read_image(path, x), NO_COUNT)
    refused(lambda x: idinvert.read_image(x, 8), [None, 3, "", "x" * 9999, tmp_path])
    refused(lambda x: idinvert.read_images(path, x, progress=False), NO_COUNT)
    refused(lambda x: data.load_images(data.open_source(path), x, progress=False), NO_COUNT)
    refused(lambda x: data.grid(image[None], x), NO_COUNT)
    refused(lambda x: data.grid(x, 2), [image, image.numpy(), image[None, :1], None])
    refused(data.to_float, [image, image.numpy(), None])
    refused(data.to_uint8, [data.to_uint8(image), image.numpy(), None])


def test_boundaries_refuse_what_they_cannot_use():
    normal, codes = torch.eye(4) / 2, torch.randn(100, 4, 4)
    good = Boundary("age", normal, 0.0, (0, 1))
    scores = codes[:, 0, 0].clone()
    refused(lambda x: Boundary("x", x, 0.0, (0,)),
            [normal * 0, torch.ones(4, 4).tril(-1), normal * NAN, normal.int(), normal[0],
             normal[None], normal.numpy(), None, *not_dense(normal)])
    refused(lambda x: Boundary("x", normal, x, (0,)), [NAN, INF, None, "x", torch.tensor(0.0)])
    refused(lambda x: Boundary("x", normal, 0.0, x), [(4,), (-1,), (1.5,), ("a",)])
    refused(lambda x: Boundary("x", normal, 0.0, (0,), space=x), ["W", None])
    refused(good.distance, [x for x in wrong_codes(codes) if not isinstance(x, torch.Tensor)
                            or x.dtype != torch.float32 or x.shape[1:] != (4, 4)])
    refused(good.distance, not_dense(codes))
    refused(lambda x: manipulate(x, good.direction, 1.0), not_dense(codes))
    smaller = Boundary("y", torch.eye(3), 0, (0,))
    refused(lambda x: condition(good, x), [good, [good, good], smaller])
    unfit = [x for x in wrong_codes(codes) if getattr(x, "ndim", 0) != 3
             or getattr(x, "dtype", None) != torch.float32 or not x.isfinite().all()]
    assert len(unfit) == 11
    refused(lambda x: svm.fit(x, scores, 0.3), unfit)
    refused(lambda x: svm.fit(codes, x, 0.3), [scores * NAN, scores * 0, scores[:50], None])
    refused(lambda x: svm.fit(codes, scores, x), [NAN, INF, -1, 0, 0.6, 1e-9, "x", None])
    refused(lambda x: svm.fit(codes, scores, 0.3, cost=x), NO_RATE)
    refused(lambda x: svm.fit(codes, scores, 0.3, seed=x), NO_SEED)
    refused(lambda x: svm.fit(codes, scores, 0.3, layers=x), [(4,), (-1,), (), ("a",), (1, 1)])
    refused(lambda x: svm.fit(codes, scores, 0.3, space=x), ["W", None])
    refused(lambda x: regression.fit(x, {"a": scores}, {"a": (0,)}), unfit)
    refused(lambda x: regression.fit(codes, {"a": x}, {"a": (0,)}), [scores * NAN, scores[:50]])
    refused(lambda x: regression.fit(codes, {"a": scores}, {"a": x}), [(4,), (-1,), ("a",)])
    refused(lambda x: regression.fit(codes, {"a": scores}, {"a": (0,)}, x), [NAN, -1, 0, 0.6])


@pytest.mark.parametrize("metric", [pixel.mse, pixel.ssim, swd.swd])
def test_metrics_of_images_refuse_what_they_cannot_use(metric):
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    for use in (lambda x: metric(x, images), lambda x: metric(images, x)):
        refused(use, [*wrong_images(images), *not_dense(images)])


def test_metrics_refuse_what_they_cannot_use():
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    refused(lambda x: pixel.ssim(images, images, batch_size=x), NO_COUNT)
    for name in ("patches", "repeats", "directions"):
        refused(lambda x, name=name: swd.swd(images, images, **{name: x}), NO_COUNT)
    points = torch.randn(20, 5)
    for metric in (kid.mmd2, frechet.fd):
        refused(lambda x, metric=metric: metric(x, points),
                [points * NAN, points * INF, points[0], points[None], points[:1], points[:0],
                 points[:, :0], points[:, 1:], points.to(torch.complex64), *not_dense(points)])
    refused(lambda x: frechet.fd(points, points, x), [x for x in NO_COUNT if x is not None] + [6])
    values = np.arange(10.0)
    refused(lambda x: bootstrap.interval(np.mean, values, resamples=x),
            [*NO_COUNT, 10**12])
    refused(lambda x: bootstrap.interval(np.mean, values, seed=x), NO_SEED)
    refused(lambda x: bootstrap.half_weights(range(6), range(6), True, x), NO_COUNT)
    for use in (lambda x: bootstrap.interval(np.mean, values, level=x),
                lambda x: bootstrap.half_estimate(1.0, values, x),
                lambda x: bootstrap.median(values, x), lambda x: bootstrap.mean(values, x),
                lambda x: bootstrap.difference_of_means(values, values, x)):
        refused(use, NO_LEVEL)
    refused(lambda x: attributes.precision_recall(x, [0, 1] * 5).average,
            [values * NAN, values[:5], values[:, None], *not_dense(torch.from_numpy(values))])
    refused(lambda x: attributes.precision_recall(values, x).average,
            [[0, 1], [1] * 10, [-1, 1] * 5, [0.5, 1] * 5, [NAN, 1] * 5])
    half = np.full((4, 2), 0.5)
    refused(lambda x: attributes.edit_effect(x, half, 0), [half * NAN, half * 4, -half, half[0]])
    refused(lambda x: attributes.edit_effect(half, half, x), [-1, 2, NAN, "x", None, 1.5])
    refused(lambda x: attributes.edit_effect(half, half, 0, x), [0, 2, NAN, "x", None])
