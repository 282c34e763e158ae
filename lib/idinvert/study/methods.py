"""The inversion methods that the study compares, one entry of METHODS each.

Codes are kept in the cache image by image: notebooks share them, and an interrupted run goes on
where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idinvert.codes import encode
from idinvert.files import cache_folder, replacing
from idinvert.inversion import image2stylegan, in_domain

from .networks import Models

BATCH = 16  # images inverted together


@dataclass(frozen=True)
class Method:
    """A name for tables, what makes codes [N, L, D] of images with so many iterations, and the
    parts of `Models` that the codes depend on.

    Methods that optimise pass further options on to `invert.optimise`; the encoders need none.
    """

    title: str
    codes: Callable[..., Tensor]
    parts: tuple[str, ...]


def conventional(models: Models, images: Tensor, iterations: int, **options) -> Tensor:
    """The encoder of Eq. (1), without optimisation."""
    return encode(models.conventional, images)


def domain_guided(models: Models, images: Tensor, iterations: int, **options) -> Tensor:
    """The encoder of Eq. (2), without optimisation."""
    return encode(models.encoder, images)


def abdal(models: Models, images: Tensor, iterations: int, **options) -> Tensor:
    """Image2StyleGAN."""
    return image2stylegan(models.generator, images, models.vgg, iterations,
                          **{"bf16": True} | options).codes


def regularised(models: Models, images: Tensor, iterations: int, **options) -> Tensor:
    """Eq. (4), with the paper's lambda_dom unless told."""
    return in_domain(models.generator, models.encoder, images, models.vgg,
                     iterations=iterations, **{"bf16": True} | options).codes


METHODS = {
    "conventional": Method("Conventional encoder", conventional, ("conventional",)),
    "image2stylegan": Method("Image2StyleGAN", abdal, ("generator", "vgg")),
    "domain_guided": Method("Domain-guided encoder", domain_guided, ("encoder",)),
    "in_domain": Method("In-domain inversion", regularised, ("generator", "encoder", "vgg")),
}


def available(models: Models) -> dict[str, Method]:
    """The methods whose networks there are."""
    lacking = () if models.conventional is not None else ("conventional",)
    return {name: method for name, method in METHODS.items() if name not in lacking}


def invert(models: Models, method: str, images: Tensor, iterations: dict[str, int],
           progress: bool = True) -> Tensor:
    """Codes [N, L, D] of images [N, 3, H, W] in [-1, 1], from the cache where they are known.

    iterations: of each method that optimises.
    """
    steps = iterations.get(method, 0)
    folder = cache_folder("inversions") / method / fingerprint(models, method, steps)
    paths = [folder / f"{image_hash(image)}.npy" for image in images]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    parts = [missing[i:i + BATCH] for i in range(0, len(missing), BATCH)]
    for part in tqdm(parts, desc=METHODS[method].title, unit="batch", disable=not progress,
                     mininterval=5):
        codes = METHODS[method].codes(models, images[part], steps)
        for index, code in zip(part, codes.cpu().numpy()):
            with replacing(paths[index]) as temporary, open(temporary, "wb") as file:
                np.save(file, code)
    return torch.from_numpy(np.stack([np.load(path) for path in paths])).to(images.device)


def fingerprint(models: Models, method: str, iterations: int) -> str:
    """Names the weights and settings that codes depend on."""
    hashes = [models.hashes.get(part) for part in METHODS[method].parts]
    text = json.dumps([hashes, iterations, torch.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def image_hash(image: Tensor) -> str:
    """Names an image [3, H, W] by its content."""
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()[:24]
