"""Image2StyleGAN (Abdal et al. 2019)."""

from __future__ import annotations

from torch import Tensor

from idinvert.settings import Whole, settings

from ..optimiser import Inversion, Networks, OnStep, Settings, optimise
from . import METHODS


@METHODS.register("image2stylegan")
@settings
class Image2StyleGAN(Settings):
    """Optimisation from the average code by the pixel and the perceptual term alone; every layer's
    code is free (W+)."""

    title = "Image2StyleGAN"
    needs = ("features",)

    iterations: Whole = 1000

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Inversion:
        """See `Method.invert`."""
        start = networks.generator.w_avg.expand(len(images), -1, -1)
        return optimise(networks, images, start, self, on_step=on_step, progress=progress)
