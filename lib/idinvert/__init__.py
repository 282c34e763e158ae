"""In-domain GAN inversion: models, losses, inversion, editing and their evaluation.

    import idinvert

    photo = idinvert.read_image("photo.png", size=64)
    result = idinvert.invert(photo[None], model="face-stylegan-layerwise")
    older = idinvert.manipulate(result.codes, "age", 3.0, model="face-stylegan-layerwise")
    idinvert.write_image("older.png", older[0])
"""

from __future__ import annotations

from torch import Tensor

from idinvert import inversion as _inversion
from idinvert.data import read_image, read_images, write_image

__all__ = ["invert", "manipulate", "read_image", "read_images", "write_image"]

__version__ = "0.2.0"
DEFAULT_MODEL = "face-stylegan-layerwise"


def invert(images: Tensor, model: str = DEFAULT_MODEL, device: str = "auto",
           **options) -> _inversion.Inversion:
    """In-domain inversion of images [N, 3, r, r] in [-1, 1] by a model of the registry.

    The generator `model` and its encoder `model`-base are loaded, and VGG-16 from the cache.
    options: `lambda_dom`, `iterations`, `progress` and the others of `idinvert.inversion.optimise`.
    Returns codes, images and losses. ValueError: an unknown model, images of another size or range.
    """
    from idinvert import devices, models
    from idinvert.models import pretrained

    if images.abs().max() > 1.5:
        raise ValueError(
            f"images must be in [-1, 1], but reach {images.abs().max():.4g}: see read_image."
        )
    device = devices.pick(device)
    generator, encoder = models.load(model, device), models.load(
        models.companion(model, "encoder"), device)
    features = pretrained.load_vgg16(device)
    return _inversion.in_domain(generator, encoder, images.to(device), features, **options)


def manipulate(codes: Tensor, attribute: str, strength: float,
               model: str = DEFAULT_MODEL) -> Tensor:
    """Images [N, 3, r, r] of codes moved by `strength` along an attribute's normal (Eq. 5)."""
    from idinvert import models
    from idinvert.codes import manipulate as move
    from idinvert.codes import render

    known = models.load_boundaries(model)
    if attribute not in known:
        raise ValueError(
            f"{model} has no boundary {attribute!r}: expected one of {', '.join(known)}."
        )
    generator = models.load(model, codes.device)
    return render(generator, move(codes, known[attribute].direction, strength))
