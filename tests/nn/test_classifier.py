import pytest
import torch
from idinvert.nn.classifier import Classifier


def test_default_fits_the_budget_of_shipped_weights():
    parameters = sum(x.numel() for x in Classifier().state_dict().values())
    assert parameters * 2 < 700_000  # bytes in float16


@pytest.mark.parametrize("resolution", [16, 32, 64, 256])
def test_one_logit_per_attribute(resolution):
    classifier = Classifier(resolution, attributes=3, channels=(4, 6, 8)).eval()
    logits = classifier(torch.randn(2, 3, resolution, resolution))
    assert logits.shape == (2, 3) and logits.dtype == torch.float32


@pytest.mark.parametrize("resolution", [8, 48])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match="resolution must be"):
        Classifier(resolution)


def test_an_image_is_judged_by_itself():
    classifier = Classifier(channels=(4, 6, 8, 10)).eval()
    images = torch.randn(5, 3, 64, 64)
    alone = torch.cat([classifier(x[None]) for x in images])
    torch.testing.assert_close(classifier(images), alone, atol=1e-5, rtol=1e-4)


def test_bfloat16_is_close_and_returns_float32():
    classifier = Classifier(channels=(4, 6, 8, 10)).eval()
    images = torch.randn(4, 3, 64, 64).clamp(-1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, classifier(images), atol=0.05, rtol=0.05)


def test_gradient_reaches_the_image():
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    Classifier(32, channels=(4, 6, 8)).eval()(image).sum().backward()
    assert image.grad.abs().sum() > 0
