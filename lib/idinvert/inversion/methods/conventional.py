"""The conventional encoder: Eq. (1), codes of sampled images alone."""

from __future__ import annotations

from torch import Tensor

from idinvert.settings import settings

from ..optimiser import Inversion, Networks, OnStep, encoded
from . import METHODS


@METHODS.register("conventional")
@settings
class Conventional:
    """One pass of the conventional encoder, without optimisation."""

    title = "Conventional encoder"
    needs = ("conventional",)

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Inversion:
        """See `Method.invert`."""
        return encoded(networks, networks.conventional, images)
