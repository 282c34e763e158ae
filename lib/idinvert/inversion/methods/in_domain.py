"""In-domain inversion: Eq. (4), the method of the paper."""

from __future__ import annotations

from torch import Tensor

from idinvert.codes import encode
from idinvert.losses import LAMBDA_DOM
from idinvert.settings import NotNegative, settings

from ..optimiser import Inversion, Networks, OnStep, Settings, optimise
from . import METHODS


@METHODS.register("in-domain")
@settings
class InDomain(Settings):
    """Optimisation from the domain-guided encoder's code E(x), held to its domain by the encoder.
    """

    title = "In-domain inversion"
    needs = ("encoder", "features")

    lambda_dom: NotNegative = LAMBDA_DOM  # weight of the code term

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Inversion:
        """See `Method.invert`."""
        start = encode(networks.encoder, images)
        return optimise(networks, images, start, self, lambda_dom=self.lambda_dom,
                        on_step=on_step, progress=progress)
