"""The optimiser that the inversion methods share: Adam on the codes of a batch, by Eq. (4).

A batch is inverted together, but every image has its own loss and Adam works element by element,
so each image's path is the same as if it were alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert.codes import check_count, check_images, encode, frozen, render
from idinvert.losses import LAMBDA_VGG, equation4, squared_error
from idinvert.settings import NotNegative, Positive, Whole, settings

from .graphs import Step, recordable, recorded

# Gets iteration, codes and images before each step; both are its own, also after that
OnStep = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of an inversion, on one device.

    A `Model` has the same attributes, and loads each network when it is first used, so it may stand
    wherever a method takes `Networks`. Without `features` there is no perceptual term.
    """

    generator: nn.Module
    features: nn.Module | None = None  # VGG-16 up to conv4_3
    encoder: nn.Module | None = None  # the domain-guided encoder of Eq. (2)
    conventional: nn.Module | None = None  # the encoder of Eq. (1)


@dataclass(frozen=True, eq=False)
class Inversion:
    """Result of inverting N images.

    codes: [N, L, D] float32. images: G(codes), [N, 3, H, W]. losses: for each of "pixel",
    "feature", "code" (those in use) and "total" the value before every step, [N, iterations];
    "total" is the weighted sum, the others are unweighted; empty if there were no iterations.
    diverged: [N], true where the code or a loss, that of the result included, ceased to be finite;
    such an image keeps the code it started from.
    """

    codes: Tensor
    images: Tensor
    losses: dict[str, Tensor]
    diverged: Tensor


@settings
class Settings:
    """What every method that optimises can be told."""

    iterations: Whole = 100  # steps of Adam
    learning_rate: Positive = 0.01  # of Adam, in units of codes
    lambda_vgg: NotNegative = LAMBDA_VGG  # weight of the perceptual term
    bf16: bool = False  # convolutions in bfloat16; codes, losses and Adam stay in float32


def encoded(networks: Networks, encoder: nn.Module, images: Tensor) -> Inversion:
    """The codes E(x) of images [N, 3, H, W] as an inversion without iterations.

    ValueError: as `codes.encode`.
    """
    return result(networks.generator, images, encode(encoder, images), {})


@torch.inference_mode(False)
@torch.enable_grad()
def optimise(networks: Networks, images: Tensor, start: Tensor, settings: Settings, *,
             lambda_dom: float = 0.0, mask: Tensor | None = None, on_step: OnStep | None = None,
             progress: bool = False) -> Inversion:
    """Minimise Eq. (4) over the codes of all images, in one batch: see `in_batches`.

    On CUDA a step is one launch: see `graphs`.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        start: codes [N, L, D] to begin with.
        lambda_dom: weight of the code term; its gradient flows through E(G(w)) and through w.
        mask: [1 or N, 1, H, W], see `losses.reconstruction_terms`.
        on_step: called with (iteration, codes, images) before every step.
        progress: show a bar over the steps.

    ValueError: images of another size or type than the generator's, or on another device; another
    number of codes or masks than of images; a code term without an encoder.
    """
    generator = networks.generator
    features = networks.features if settings.lambda_vgg else None
    encoder = networks.encoder if lambda_dom else None
    check_images(images, generator)
    check_count("start", start, images)
    if mask is not None:
        mask = mask.clone()  # which gradients need, even if it was made in inference mode
        if len(mask) != 1:
            check_count("mask", mask, images)
    if lambda_dom and encoder is None:
        raise ValueError(f"lambda_dom of {lambda_dom:g} needs an encoder, but there is none")
    def autocast():
        # No cache: a graph must not keep what was cast outside of it, nor the other way round
        return torch.autocast(images.device.type, torch.bfloat16, enabled=settings.bf16,
                              cache_enabled=False)

    def step() -> Step:
        with autocast():
            image = generator.synthesis(codes)
            total, terms = equation4(
                codes, image, images, features=features, target_features=target_features,
                encoder=encoder, lambda_vgg=settings.lambda_vgg, lambda_dom=lambda_dom, mask=mask)
        (gradient,) = torch.autograd.grad(total.sum(), codes)
        losses = {name: value.detach() for name, value in (terms | {"total": total}).items()}
        return Step(image.detach(), gradient, losses)

    codes = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([codes], lr=settings.learning_rate, fused=codes.is_cuda or None)
    history = []
    used = [network for network in (generator, features, encoder) if network is not None]
    with frozen(used):
        with torch.no_grad(), autocast():
            kept = images if mask is None else images * mask
            target_features = None if features is None else features(kept)
        if recordable(images.device, used, settings.iterations):
            step = recorded(step, images.device)
        for iteration in steps(settings.iterations, progress):
            image, codes.grad, values = step()
            if on_step is not None:
                on_step(iteration, codes.detach().clone(), image)
            optimizer.step()
            history.append(values)
        del step  # and with it the memory of a graph
        losses = {name: torch.stack([values[name] for values in history], 1)
                  for name in (history[0] if history else ())}
        return result(generator, images, codes.detach(), losses, start.detach(), mask)


def steps(iterations: int, progress: bool) -> tqdm:
    """The iterations, with a bar that a notebook, which keeps every line, seldom redraws."""
    refresh = 0.1 if sys.stderr.isatty() else 10  # seconds
    return tqdm(range(iterations), unit="step", disable=not progress, mininterval=refresh)


def result(generator: nn.Module, images: Tensor, codes: Tensor, losses: dict[str, Tensor],
           start: Tensor | None = None, mask: Tensor | None = None) -> Inversion:
    """The inversion with these codes; an image that diverged takes its start instead."""
    rendered = render(generator, codes)
    kept = 1 if mask is None else mask
    sound = (codes.isfinite().flatten(1).all(1)
             & squared_error(rendered * kept, images * kept).isfinite())
    if losses:
        sound &= losses["total"].isfinite().all(1)
    if start is not None and not sound.all():
        codes = torch.where(sound[:, None, None], codes, start)
        rendered = render(generator, codes)
    return Inversion(codes, rendered, losses, ~sound)


def in_batches(invert: Callable[..., Inversion], images: Tensor, *others: Tensor, size: int = 16,
               progress: bool = False) -> Inversion:
    """Invert many images, `size` at a time, so that they fit into memory.

    invert: called with a batch of the images, the same part of each of the `others`, which hold one
    item for each image, and `progress`. The bar is over the images where there are several batches,
    over the steps of the only one else.
    """
    batches = list(zip(*(values.split(size) for values in (images, *others)), strict=True))
    if len(batches) == 1:
        return invert(*batches[0], progress=progress)
    parts = []
    with tqdm(total=len(images), unit="img", disable=not progress, mininterval=1) as bar:
        for batch in batches:
            parts.append(invert(*batch, progress=False))
            bar.update(len(batch[0]))
    return joined(parts)


def joined(parts: Sequence[Inversion]) -> Inversion:
    """The inversions of several batches as one."""
    return Inversion(torch.cat([part.codes for part in parts]),
                     torch.cat([part.images for part in parts]),
                     {name: torch.cat([part.losses[name] for part in parts])
                      for name in parts[0].losses},
                     torch.cat([part.diverged for part in parts]))
