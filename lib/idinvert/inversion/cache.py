"""Inverted codes, kept image by image: notebooks share them, and an interrupted run goes on."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idinvert.files import cache_folder, replacing
from idinvert.provenance import code_hash
from idinvert.settings import digest

from .methods import Method, name_of
from .model import Model

BATCH = 16  # images inverted together
# Modules on which no number depends
APART = ("idinvert.registry", "idinvert.settings", "idinvert.nn.architecture",
         "idinvert.nn.protocols")


def cached_codes(model: Model, method: Method, images: Tensor, progress: bool = True) -> Tensor:
    """Codes [N, L, D] of images [N, 3, H, W] in [-1, 1], from the cache where they are known.

    Batches are every BATCH images as they are given, whichever of them are known already, so that a
    run that was interrupted ends with the very codes of one that was not.
    """
    folder = cache_folder("inversions") / name_of(method) / key(model, method, images.device)
    paths = [folder / f"{image_hash(image)}.npy" for image in images]
    starts = [i for i in range(0, len(paths), BATCH)
              if not all(path.exists() for path in paths[i:i + BATCH])]
    for start in tqdm(starts, desc=method.title, unit="batch", disable=not progress, mininterval=5):
        batch = slice(start, start + BATCH)
        codes = method.invert(model, images[batch]).codes.cpu().numpy()
        for path, code in zip(paths[batch], codes):
            if not path.exists():
                with replacing(path) as temporary, open(temporary, "wb") as file:
                    np.save(file, code)
    return torch.from_numpy(np.stack([np.load(path) for path in paths])).to(images.device)


def key(model: Model, method: Method, device: torch.device) -> str:
    """Names all that codes depend on beside the image: settings, weights, code, torch, device."""
    roles = ("generator", *method.needs)
    modules = {type(method).__module__, *(type(getattr(model, r)).__module__ for r in roles)}
    return digest(method, {role: model.digest(role) for role in roles},
                  code_hash(modules, APART), torch.__version__, device.type)


def image_hash(image: Tensor) -> str:
    """Names an image [3, H, W] by its content."""
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()[:24]
