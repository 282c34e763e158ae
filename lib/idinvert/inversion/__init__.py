"""Inversion: the encoder alone, in-domain inversion (Eq. 4), Image2StyleGAN, masked inversion.

One optimiser loop serves all. A batch is inverted together, but every image has its own loss and
Adam works element by element, so each image's path is the same as if it were alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert.codes import check_count, check_images, encode, frozen, render
from idinvert.losses import LAMBDA_DOM, LAMBDA_VGG, equation4


@dataclass(frozen=True, eq=False)
class Inversion:
    """Result of inverting N images.

    codes: [N, L, D] float32. images: G(codes), [N, 3, H, W]. losses: for each of "pixel",
    "feature", "code" (those in use) and "total" the value before every step, [N, iterations];
    "total" is the weighted sum, the others are unweighted; empty if there were no iterations. An
    image whose loss or code ceased to be finite has diverged and kept its start.
    """

    codes: Tensor
    images: Tensor
    losses: dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """How a batch is inverted."""

    lambda_dom: float = 0.0  # weight of the code term
    lambda_vgg: float = LAMBDA_VGG
    iterations: int = 100
    learning_rate: float = 0.01  # of Adam, in units of codes
    bf16: bool = False  # convolutions in bfloat16; codes, losses and Adam stay float32


@dataclass(frozen=True, eq=False)
class Networks:
    """The frozen networks of an inversion; without `features` there is no perceptual term."""

    generator: nn.Module
    features: nn.Module | None = None
    encoder: nn.Module | None = None  # needed for the code term

    def present(self) -> list[nn.Module]:
        """Those that there are."""
        return [n for n in (self.generator, self.features, self.encoder) if n is not None]


def in_domain(generator: nn.Module, encoder: nn.Module, images: Tensor,
              features: nn.Module | None = None, lambda_dom: float = LAMBDA_DOM,
              iterations: int = 100, **options) -> Inversion:
    """In-domain inversion: Eq. (4) from the start E(x), Adam.

    Args:
        generator, encoder: frozen networks; the encoder is used in eval mode.
        images: [N, 3, H, W] in [-1, 1].
        features: VGG-16 conv4_3, or None to leave the perceptual term out.
        lambda_dom: weight of the code term; its gradient flows through E(G(w)) and through w.
        options: see `optimise`.
    """
    start = encode(encoder, images)
    return optimise(generator, images, start, features, encoder, lambda_dom,
                    iterations=iterations, **options)


def image2stylegan(generator: nn.Module, images: Tensor, features: nn.Module | None = None,
                   iterations: int = 1000, **options) -> Inversion:
    """Image2StyleGAN (Abdal et al. 2019): from the average code, pixel and perceptual terms only.

    All layers of the code are free (W+); arguments as `in_domain`.
    """
    start = generator.w_avg.expand(len(images), -1, -1)
    return optimise(generator, images, start, features, iterations=iterations, **options)


def diffuse(generator: nn.Module, encoder: nn.Module, images: Tensor, mask: Tensor,
            features: nn.Module | None = None, iterations: int = 100, **options) -> Inversion:
    """Semantic diffusion (section 4.3): masked inversion of stitched images, starting at E(x).

    images [N, 3, H, W] have the target patch pasted into the context; `mask` [1 or N, 1, H, W] is 1
    on the patch. Only the patch enters the loss; there is no code term, as in the published code.
    """
    start = encode(encoder, images)
    return optimise(generator, images, start, features, mask=mask, iterations=iterations, **options)


def optimise(generator: nn.Module, images: Tensor, start: Tensor,
             features: nn.Module | None = None, encoder: nn.Module | None = None,
             lambda_dom: float = 0.0, lambda_vgg: float = LAMBDA_VGG, iterations: int = 100,
             learning_rate: float = 0.01, mask: Tensor | None = None, batch_size: int = 16,
             bf16: bool = False, progress: bool = False,
             on_step: Callable[[int, Tensor, Tensor], None] | None = None) -> Inversion:
    """Minimise Eq. (4) over the codes of all images, `batch_size` at a time.

    Args:
        start: codes [N, L, D] to begin with.
        features: VGG-16 conv4_3, or None to leave the perceptual term out.
        encoder: needed for the code term, that is, if `lambda_dom` is not 0.
        learning_rate: of Adam, in units of codes.
        mask: see `losses.reconstruction_terms`; [1 or N, 1, H, W].
        bf16: run the convolutions in bfloat16 (codes, losses and Adam stay float32).
        progress: show a bar over the steps of all batches.
        on_step: called with (iteration, codes, images) of the batch before every step.

    ValueError: images of another size or type than the generator's, or on another device; another
    number of codes or masks than of images; a code term without an encoder.
    """
    check_images(images, generator)
    check_count("start", start, images)
    if mask is not None and len(mask) != 1:
        check_count("mask", mask, images)
    if lambda_dom and encoder is None:
        raise ValueError(f"lambda_dom of {lambda_dom:g} needs an encoder, but there is none")
    masks = repeat(mask) if mask is None or len(mask) == 1 else mask.split(batch_size)
    batches = list(zip(images.split(batch_size), start.split(batch_size), masks))
    refresh = 0.1 if sys.stderr.isatty() else 10  # seconds: a notebook keeps every line
    bar = tqdm(total=len(batches) * iterations, unit="step", disable=not progress,
               mininterval=refresh, desc=f"lambda_dom {lambda_dom:g}")
    networks = Networks(generator, features, encoder)
    settings = Settings(lambda_dom, lambda_vgg, iterations, learning_rate, bf16)
    with bar, frozen(networks.present()):
        parts = [
            invert_batch(networks, target, first, settings, part_mask, on_step, bar)
            for target, first, part_mask in batches
        ]
    codes = torch.cat([codes for codes, _ in parts])
    losses = {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}
    return Inversion(codes, render(generator, codes), losses)


def invert_batch(networks: Networks, target: Tensor, start: Tensor, settings: Settings,
                 mask: Tensor | None, on_step: Callable[[int, Tensor, Tensor], None] | None,
                 bar: tqdm) -> tuple[Tensor, dict[str, Tensor]]:
    """Codes [N, L, D] and loss history of one batch; arguments as `optimise`."""
    if not settings.iterations:
        return start.detach(), {}
    generator, features = networks.generator, networks.features
    codes = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([codes], lr=settings.learning_rate)
    history = []

    def autocast():
        return torch.autocast(target.device.type, torch.bfloat16, enabled=settings.bf16)

    with torch.no_grad(), autocast():
        seen = target if mask is None else target * mask
        target_features = None if features is None else features(seen)
    for iteration in range(settings.iterations):
        with autocast():
            image = generator.synthesis(codes)
            total, terms = equation4(codes, image, target, features=features,
                                     target_features=target_features, encoder=networks.encoder,
                                     lambda_vgg=settings.lambda_vgg, mask=mask,
                                     lambda_dom=settings.lambda_dom)
        if on_step is not None:
            on_step(iteration, codes.detach(), image.detach())
        (codes.grad,) = torch.autograd.grad(total.sum(), codes)
        optimizer.step()
        history.append({name: value.detach() for name, value in (terms | {"total": total}).items()})
        bar.update()
    losses = {name: torch.stack([step[name] for step in history], 1) for name in history[0]}
    codes = codes.detach()
    sound = torch.isfinite(losses["total"]).all(1) & torch.isfinite(codes).all(2).all(1)
    return torch.where(sound[:, None, None], codes, start), losses
