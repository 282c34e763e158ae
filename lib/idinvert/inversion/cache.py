"""Inverted codes, kept image by image: notebooks share them, and an interrupted run goes on."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor
from tqdm import tqdm

from idinvert.files import cache_folder, replacing
from idinvert.provenance import code_hash
from idinvert.settings import digest

from .methods import Method, name_of
from .methods.pivotal_tuning import PivotalTuning, Tuned, tune, tuned_together, with_weights
from .model import Model
from .optimiser import joined

BATCH = 16  # images inverted together where a model says nothing
# Modules on which no number depends
APART = ("idinvert.registry", "idinvert.settings", "idinvert.nn.architecture",
         "idinvert.nn.protocols")
MARK = ".diverged"  # suffix of an empty file beside that of an image that diverged
# By the number of iterations: codes, and which of them are starts of images that diverged
Codes = Mapping[int, tuple[Tensor, Tensor]]


def cached_codes(model: Model, method: Method, images: Tensor, progress: bool = True) -> Tensor:
    """Codes [N, L, D] of images [N, 3, H, W] in [-1, 1], from the cache where they are known.

    Batches are every BATCH images (or as `Model.advice` has it) as they are given, whichever of
    them are known already, so that a run that was interrupted ends with the very codes of one that
    was not. The bar is over batches, or over the steps of the only one. Images that diverged are
    counted in a warning, every time. ValueError: the method tunes the generator, so that codes
    alone do not tell its images.
    """
    if getattr(method, "tunes", False):
        raise ValueError(f"{method.title} tunes the generator: `cached_tuning` keeps its weights.")
    steps = getattr(method, "iterations", 0)
    alone = progress and len(images) <= batch_size(model)

    def invert(batch: Tensor) -> Codes:
        found = method.invert(model, batch, progress=alone)
        return {steps: (found.codes, found.diverged)}
    return cached(model, {steps: method}, images, invert, progress and not alone)[steps]


def cached_along(model: Model, method: Method, images: Tensor, iterations: Sequence[int],
                 progress: bool = True) -> dict[int, Tensor]:
    """Codes [N, L, D] after each of several numbers of iterations, from one run of the longest.

    They are those of a run that ends there, and are kept as such: see `cached_codes`.
    """
    last = max(iterations)
    methods = {steps: replace(method, iterations=steps) for steps in sorted(iterations)}

    def along(batch: Tensor) -> Codes:
        found: dict[int, Tensor] = {}

        def keep(iteration: int, codes: Tensor, _: Tensor) -> None:
            if iteration in methods:
                found[iteration] = codes.clone()
        final = methods[last].invert(model, batch, on_step=keep)
        # An image that diverges ends with the code it started from.
        sound = {n: w.isfinite().flatten(1).all(1)[:, None, None] for n, w in found.items()}
        return {n: (torch.where(sound[n], w, final.codes), ~sound[n].flatten())
                for n, w in found.items()} | {last: (final.codes, final.diverged)}
    return cached(model, methods, images, along, progress)


def cached(model: Model, methods: Mapping[int, Method], images: Tensor,
           invert: Callable[[Tensor], Codes], progress: bool) -> dict[int, Tensor]:
    """Codes by the number of iterations; `invert` makes those of a batch of images."""
    paths = {n: places(model, method, images, ".npy") for n, method in methods.items()}
    size = batch_size(model)
    starts = [i for i in range(0, len(images), size)
              if not all([is_sound(path) for of in paths.values() for path in of[i:i + size]])]
    title = next(iter(methods.values())).title
    for start in tqdm(starts, desc=title, unit="batch", disable=not progress, mininterval=5):
        batch = slice(start, start + size)
        parts = model.sparing(invert, images[batch])
        for steps in methods:
            codes, diverged = (torch.cat(of).cpu() for of in zip(*(part[steps] for part in parts)))
            for path, code, failed in zip(paths[steps][batch], codes.numpy(), diverged):
                if not path.exists():
                    mark(path, failed)
                    with replacing(path) as temporary, open(temporary, "wb") as file:
                        np.save(file, code)
    for steps, of in paths.items():
        warn_of_marked(methods[steps], of)
    return {n: torch.from_numpy(np.stack([np.load(path) for path in of])).to(images.device)
            for n, of in paths.items()}


def is_sound(path: Path) -> bool:
    """Whether a file of the cache is there; one that is damaged is removed, to be made again."""
    try:
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)
        else:
            with safe_open(path, "np"):  # "pt" takes no path that is not UTF-8
                pass
    except FileNotFoundError:
        return False
    except (ValueError, EOFError, SafetensorError):
        path.unlink(missing_ok=True)
        return False
    return True


def batch_size(model: Model) -> int:
    """Images inverted together."""
    return model.advice.get("batch", BATCH)


def mark(path: Path, diverged: Tensor) -> None:
    """Note of a file to be written that its image diverged, if it did."""
    if diverged:
        with replacing(path.with_suffix(MARK)):
            pass


def warn_of_marked(method: Method, paths: Sequence[Path]) -> None:
    """As `warn_of_diverged`, of the images of files, also those that were there before."""
    count = sum(path.with_suffix(MARK).exists() for path in paths)
    warn_of_diverged(method, count, len(paths))


def warn_of_diverged(method: Method, count: int, among: int) -> None:
    """Warn that so many images diverged, if any did."""
    if count:
        warnings.warn(f"{count} of {among} images diverged by {method.title} and kept their "
                      "start.", stacklevel=2)


def cached_tuning(model: Model, method: PivotalTuning, images: Tensor, progress: bool = True
                  ) -> Tuned:
    """Pivotal tuning of images [N, 3, H, W]; pivots and tuned weights from the cache where known.
    """
    pivots = cached_codes(model, method.pivot, images, progress)
    parts, paths = [], places(model, method, images, ".safetensors")
    for image, pivot, path in zip(
            tqdm(images, desc=method.title, unit="img", disable=not progress, mininterval=5),
            pivots, paths):
        if not is_sound(path):
            found = tune(model, image[None], pivot[None], method)
            mark(path, found.diverged)
            with replacing(path) as temporary:
                save_file({k: v.cpu().contiguous() for k, v in found.weights(0).items()}, temporary)
        weights = {k: v.to(images.device) for k, v in load(path.read_bytes()).items()}
        generator = with_weights(model.generator, weights)
        parts.append(Tuned(pivot[None], generator.synthesis(pivot[None]).detach(), {},
                           torch.zeros(1, dtype=torch.bool), (generator,)))
    warn_of_marked(method, paths)
    return tuned_together(joined(parts), parts)


def places(model: Model, method: Method, images: Tensor, suffix: str) -> list[Path]:
    """The file of each image in the cache."""
    folder = cache_folder("inversions") / name_of(method) / key(model, method, images.device)
    return [folder / f"{image_hash(image)}{suffix}" for image in images]


def key(model: Model, method: Method, device: torch.device) -> str:
    """Names all that codes depend on beside the image: settings, weights, code, torch, device."""
    roles = ("generator", *method.needs)
    modules = {type(method).__module__, *(type(getattr(model, r)).__module__ for r in roles)}
    return digest(method, {role: model.digest(role) for role in roles},
                  code_hash(modules, APART), torch.__version__, device.type)


def image_hash(image: Tensor) -> str:
    """Names an image [3, H, W] by its content."""
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()[:24]
