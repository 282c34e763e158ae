"""The domain-guided encoder: Eq. (2), trained on real images."""

from __future__ import annotations

from torch import Tensor

from idinvert.settings import settings

from ..optimiser import Inversion, Networks, OnStep, encoded
from . import METHODS


@METHODS.register("domain-guided")
@settings
class DomainGuided:
    """One pass of the domain-guided encoder, without optimisation."""

    title = "Domain-guided encoder"
    needs = ("encoder",)

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Inversion:
        """See `Method.invert`."""
        return encoded(networks, networks.encoder, images)
