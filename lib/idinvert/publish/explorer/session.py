"""A session of the explorer, which knows nothing of widgets: one image, its code, and edits."""

from __future__ import annotations

import torch
from torch import Tensor

from idinvert.codes import encode, manipulate, render
from idinvert.inversion import METHODS, OnStep, Settings, diffuse, stitch
from idinvert.settings import names
from idinvert.study.networks import Models


class Stopped(Exception):
    """The user asked to stop."""


class Session:
    """One target image, its code and what is done to it; images are [1, 3, r, r] in [-1, 1]."""

    def __init__(self, models: Models, target: Tensor):
        self.models = models
        self.choose(target)

    def choose(self, target: Tensor) -> None:
        """Begin anew with another image; its first code is the encoder's."""
        self.target = target
        self.codes = encode(self.models.encoder, target)
        self.other = self.codes

    def invert(self, method: str, lambda_dom: float, iterations: int,
               on_step: OnStep | None = None) -> Tensor:
        """Invert the target by one of METHODS; returns its image.

        The code so far is kept if `on_step` raises.
        """
        kind, chosen = METHODS[method], {"lambda_dom": lambda_dom, "iterations": iterations}
        settings = {name: chosen[name] for name in names(kind) if name in chosen}
        self.codes = kind(**settings).invert(self.models.model, self.target,
                                             on_step=self.following(on_step)).codes
        return self.inverted()

    def diffuse(self, context: Tensor, box: tuple[int, int, int, int], iterations: int,
                on_step: OnStep | None = None) -> Tensor:
        """Semantic diffusion of the target's part in `box` into `context`; returns the image."""
        stitched, mask = stitch(self.target, context, box)
        self.codes = diffuse(self.models.model, stitched, mask, Settings(iterations=iterations),
                             on_step=self.following(on_step)).codes
        return self.inverted()

    def following(self, on_step: OnStep | None) -> OnStep:
        """A callback that keeps the code of each step, then calls `on_step`."""
        def step(iteration: int, codes: Tensor, images: Tensor) -> None:
            self.codes = codes.clone()
            if on_step is not None:
                on_step(iteration, codes, images)
        return step

    def inverted(self) -> Tensor:
        """Image of the code."""
        return render(self.models.generator, self.codes)

    def edited(self, strengths: dict[str, float], way: float = 0.0) -> Tensor:
        """The code moved along several boundaries, after going `way` [0, 1] to the other code."""
        codes = torch.lerp(self.codes, self.other, way)
        for attribute, strength in strengths.items():
            codes = manipulate(codes, self.models.boundaries[attribute].direction, strength)
        return render(self.models.generator, codes)
