"""Pivotal tuning (Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images", 2021).

The code of an image, its pivot, is found by in-domain inversion and stays. Then the weights of the
generator are tuned until it renders the image from its pivot. Each image so has a generator of its
own, which must also render its edits: `Tuned.render`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from idinvert.codes import check_images, frozen, render, sample_codes
from idinvert.losses import LAMBDA_DOM, LAMBDA_VGG, reconstruction_terms, squared_error, weighted
from idinvert.settings import Count, NotNegative, Positive, Whole, settings

from ..optimiser import Inversion, Networks, OnStep, joined, steps
from . import METHODS
from .in_domain import InDomain

UNTUNED = "mapping."  # codes stay, so that what makes them does too


@dataclass(frozen=True, eq=False)
class Tuned(Inversion):
    """An inversion of N images with the generator of each, [N]."""

    generators: tuple[nn.Module, ...] = ()

    def render(self, codes: Tensor) -> Tensor:
        """Images [N, 3, H, W] of codes [N, L, D], edited ones too, each by its image's generator.

        A single generator renders any number of codes. ValueError: another number of codes.
        """
        if len(self.generators) == 1:
            return render(self.generators[0], codes)
        if len(codes) != len(self.generators):
            raise ValueError(f"{len(codes)} codes cannot be rendered by the generators of "
                             f"{len(self.generators)} images: give one code for each image.")
        return torch.cat([render(g, w[None]) for g, w in zip(self.generators, codes)])

    def weights(self, index: int) -> dict[str, Tensor]:
        """The weights of one image's generator, by name; of others than its mapping network."""
        return {name: value for name, value in self.generators[index].state_dict().items()
                if not name.startswith(UNTUNED)}


def with_weights(generator: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a generator with the `Tuned.weights` of an image.

    ValueError: the weights are those of another kind of generator.
    """
    tuned = copy.deepcopy(generator)
    try:
        missing, unknown = tuned.load_state_dict(dict(weights), strict=False)
    except RuntimeError:  # of other shapes
        unknown = [*weights]
    if unknown or any(not name.startswith(UNTUNED) for name in missing):
        raise ValueError("The tuned weights are those of another generator: name its model.")
    return tuned


@METHODS.register("pivotal-tuning")
@settings
class PivotalTuning:
    """In-domain inversion, then a generator tuned to each image while its code stays."""

    title = "Pivotal tuning"
    needs = ("encoder", "features")
    tunes = True  # the generator: its codes are of use with `Tuned.render` alone

    iterations: Whole = 100  # steps of tuning
    learning_rate: Positive = 0.001  # of Adam, on weights of unit variance
    lambda_vgg: NotNegative = LAMBDA_VGG  # weight of the perceptual term
    locality: NotNegative = 0.1  # weight with which images of codes nearby stay as they are
    locality_reach: Positive = 5.0  # distance of these from the pivot, in units of codes
    locality_every: Count = 4  # one of so many steps has this term, which then counts as much more
    pivot_iterations: Whole = 100  # of the in-domain inversion
    lambda_dom: NotNegative = LAMBDA_DOM  # of the in-domain inversion
    bf16: bool = False  # convolutions in bfloat16; weights, losses and Adam stay in float32

    @property
    def pivot(self) -> InDomain:
        """The method that finds the pivots."""
        return InDomain(iterations=self.pivot_iterations, lambda_vgg=self.lambda_vgg,
                        lambda_dom=self.lambda_dom, bf16=self.bf16)

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Tuned:
        """See `Method.invert`; `on_step` is called with 0 until the tuning begins."""
        first = None if on_step is None else lambda _, codes, seen: on_step(0, codes, seen)
        pivots = self.pivot.invert(networks, images, on_step=first, progress=progress)
        parts = [tune(networks, image[None], pivot[None], self, on_step=on_step, progress=progress)
                 for image, pivot in zip(images, pivots.codes)]
        whole = joined(parts or [pivots])
        diverged = whole.diverged | pivots.diverged
        return tuned_together(replace(whole, diverged=diverged), parts)


@torch.inference_mode(False)
@torch.enable_grad()
def tune(networks: Networks, image: Tensor, pivot: Tensor, settings: PivotalTuning, *,
         on_step: OnStep | None = None, progress: bool = False) -> Tuned:
    """A copy of the generator tuned to render one image [1, 3, H, W] from its pivot [1, L, D].

    The loss is the pixel and the perceptual term of Eq. (4), and the locality term: the same terms
    between what the tuned and the original generator render from a code between the pivot and a
    sampled one. An image whose loss ceases to be finite keeps the original generator.
    """
    generator, features = networks.generator, networks.features if settings.lambda_vgg else None
    check_images(image, generator)
    pivot = pivot.clone()  # which gradients need, even if it was made in inference mode
    tuned = copy.deepcopy(generator).requires_grad_(True)
    weights = [p for name, p in tuned.named_parameters() if not name.startswith(UNTUNED)]
    optimizer = torch.optim.Adam(weights, lr=settings.learning_rate)
    sampled = sample_codes(generator, settings.iterations, seed=0)
    history = []

    def difference(a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = reconstruction_terms(a, b, features)
        return weighted(terms, feature=settings.lambda_vgg), terms

    with frozen([network for network in (generator, features) if network is not None]):
        for iteration in steps(settings.iterations, progress):
            with torch.autocast(image.device.type, torch.bfloat16, enabled=settings.bf16):
                rendered = tuned.synthesis(pivot)
                total, terms = difference(rendered, image)
                if settings.locality and iteration % settings.locality_every == 0:
                    near = nearby(pivot, sampled[[iteration]], settings.locality_reach)
                    with torch.no_grad():
                        kept = generator.synthesis(near)
                    terms["locality"], _ = difference(tuned.synthesis(near), kept)
                    total = total + settings.locality_every * settings.locality * terms["locality"]
            if on_step is not None:
                on_step(iteration, pivot, rendered.detach())
            optimizer.zero_grad()
            total.sum().backward()
            optimizer.step()
            history.append(terms | {"total": total})
    return finished(generator, tuned.requires_grad_(False).eval(), image, pivot, history)


def nearby(pivot: Tensor, sampled: Tensor, reach: float) -> Tensor:
    """The code at the distance `reach` from the pivot [1, L, D] towards a sampled one."""
    way = sampled - pivot
    return pivot + reach * way / way.norm()


def finished(generator: nn.Module, tuned: nn.Module, image: Tensor, pivot: Tensor,
             history: Sequence[Mapping[str, Tensor]]) -> Tuned:
    """The inversion by the tuned generator, or by the original one if the tuning diverged."""
    losses = {name: torch.stack([step[name].detach() for step in history if name in step], 1)
              for name in ("pixel", "feature", "total") if history and name in history[0]}
    rendered = render(tuned, pivot)
    values = [squared_error(rendered, image), *(v.flatten() for v in losses.values())]
    sound = bool(torch.cat(values).isfinite().all())
    chosen = tuned if sound else generator
    diverged = torch.tensor([not sound], device=image.device)
    return Tuned(pivot, render(chosen, pivot), losses, diverged, (chosen,))


def tuned_together(whole: Inversion, parts: Sequence[Inversion]) -> Inversion:
    """The inversion of all images with the generators of its parts, if they were tuned."""
    if not all(isinstance(part, Tuned) for part in parts):
        return whole
    return Tuned(whole.codes, whole.images, whole.losses, whole.diverged,
                 tuple(generator for part in parts for generator in part.generators))
