"""In-domain GAN inversion: models, losses, inversion, editing and their evaluation.

>>> import idinvert
>>> model = idinvert.load("face-stylegan-layerwise")
>>> images = model.render(model.sample(1)).clamp(-1, 1)  # or photographs: idinvert.read_image
>>> result = model.invert(images, iterations=2, lambda_vgg=0)  # leave both out for the best codes
>>> older = model.render(model.edit(result.codes, age=3))
>>> older.shape
torch.Size([1, 3, 64, 64])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idinvert.inversion.model import Model

HOMES = {"Model": "idinvert.inversion.model", "read_image": "idinvert.data",
         "read_images": "idinvert.data", "write_image": "idinvert.data"}

__version__ = "0.2.0"
__all__ = ["Model", "load", "read_image", "read_images", "write_image"]


def load(name: str, device: str = "auto", **companions: str) -> Model:
    """The `Model` of a generator of the registry: see there for its arguments."""
    from idinvert.inversion.model import Model
    return Model(name, device, **companions)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import idinvert` is quick."""
    if name not in HOMES:
        raise AttributeError(f"module 'idinvert' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
