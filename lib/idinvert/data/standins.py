"""Stand-ins for photographs: images of a generator that no code of it renders exactly.

Where a generator's own training images are not to be had (FFHQ for `ffhq`), its encoder learns from
its images of people who do not exist. Half of them are plain samples, for Eq. (1). The codes of the
others lie beyond W: the layers change from one sample to another, and each has noise of its own.
`distorted` then does to the images what no code does: light, another crop and tilt, blur, JPEG.

Image `i` depends on the generator, the split and `i` alone. What was rendered stays in the cache.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from idinvert.files import cache_folder, replacing
from idinvert.nn.protocols import Generator

from .images import to_float, to_uint8

SPLITS = ("train", "test")
SIZE = 256  # px
PART = 100  # images of a file of the cache
BATCH = 4  # images rendered at once
BATCH_ON_GPU = 16  # else it waits to be told what to do


@dataclass(frozen=True, eq=False)
class StandIns:
    """Rendered images, before they are distorted, and the codes that render them."""

    images: Tensor  # uint8 [N, 3, 256, 256]
    codes: Tensor  # float32 [N, L, D]
    split: str

    def __len__(self) -> int:
        return len(self.images)

    def every_second(self) -> StandIns:
        """The plain samples, those with an even number."""
        return StandIns(self.images[::2], self.codes[::2], self.split)

    def distorted(self, index: int) -> Tensor:
        """The stand-in [3, 256, 256], uint8, of one image."""
        return distorted(self.images[index], random(self.split, index, "image"))


def load(name: str, generator: Generator, split: str = "train", count: int = 1000,
         progress: bool = True) -> StandIns:
    """The first images of a split of "train" or "test", rendered where the cache lacks them.

    name: of the generator, for the cache. ValueError: another split, or no image.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: expected one of {', '.join(SPLITS)}.")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}.")
    parts = []
    starts = range(0, count, PART)
    for start in tqdm(starts, desc=f"stand-ins, {split}", unit="00 img", disable=not progress):
        path = cache_folder("stand-ins") / name / f"{split}-{SIZE}-{start:06d}.safetensors"
        found = known(path)
        if found is None:
            codes = [code(generator, split, i) for i in range(start, start + PART)]
            found = render(generator, codes)
            with replacing(path) as temporary:
                safetensors.torch.save_file(found, temporary)
        parts.append(found)
    images, codes = (torch.cat([part[what] for part in parts])[:count]
                     for what in ("images", "codes"))
    return StandIns(images, codes, split)


def known(path: Path) -> dict[str, Tensor] | None:
    """What a file of the cache holds; None: it is not there, or damaged."""
    try:
        return safetensors.torch.load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None


def random(split: str, index: int, what: str) -> np.random.Generator:
    """The random numbers of one image's "code" or "image"."""
    return np.random.default_rng([SPLITS.index(split), index, ("code", "image").index(what)])


@torch.no_grad()
def code(generator: Generator, split: str, index: int) -> Tensor:
    """The code [L, D] of one image; the even ones are plain samples, drawn a little to the mean."""
    rng = random(split, index, "code")
    latents = torch.from_numpy(rng.standard_normal((2, generator.z_dim)).astype(np.float32))
    first, second = generator.mapping(latents.to(generator.w_avg.device))
    average = generator.w_avg
    psi = rng.uniform(0.6, 1)
    found = average + psi * (first - average)
    if index % 2 == 0:
        return found
    if rng.random() < 0.5:  # the finer layers are another's
        cut = rng.integers(1, generator.num_layers)
        found = torch.cat([found[:cut], (average + psi * (second - average))[cut:]])
    # Noise as large as a part of what tells samples apart, in each layer alone
    strength = rng.uniform(0, 0.4) * (first - second).std() / math.sqrt(2)
    noise = torch.from_numpy(rng.standard_normal(found.shape).astype(np.float32))
    return found + strength * noise.to(found)


@torch.no_grad()
def render(generator: Generator, codes: list[Tensor]) -> dict[str, Tensor]:
    """Images, reduced to 256 px, and codes, as the cache keeps them."""
    codes, images = torch.stack(codes), []
    batch = BATCH_ON_GPU if codes.is_cuda else BATCH
    with torch.autocast(codes.device.type, torch.bfloat16):
        for part in codes.split(batch):
            images.append(to_uint8(generator.synthesis(part, size=SIZE)).cpu())
    return {"images": torch.cat(images), "codes": codes.cpu()}


def make(generator: Generator, split: str, index: Sequence[int]) -> Tensor:
    """Stand-ins uint8 [N, 3, 256, 256] of some images of a split, without the cache."""
    images = render(generator, [code(generator, split, i) for i in index])["images"]
    return torch.stack([distorted(image, random(split, i, "image"))
                        for i, image in zip(index, images)])


# --- what no code does ----------------------------------------------------------------------------


def distorted(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An image uint8 [3, H, W] in another light, crop and sharpness."""
    x = to_float(image)
    x = relit(recropped(x, rng), rng)
    if rng.random() < 0.5:
        x = blurred(x, rng.uniform(0.3, 1.5))
    return compressed(to_uint8(x), rng.integers(40, 96))


def recropped(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Turned by some degrees, moved and scaled by some hundredths; the border is mirrored."""
    angle, scale = math.radians(rng.normal(0, 2)), math.exp(rng.normal(0, 0.03))
    right, down = rng.normal(0, 0.02, 2)
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    grid = F.affine_grid(torch.tensor([[[a, -b, right], [b, a, down]]]).float(), [1, *x.shape],
                         align_corners=False)
    return F.grid_sample(x[None], grid, "bicubic", "reflection", align_corners=False)[0]


def relit(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Light from a side, another gamma, tint and saturation."""
    y = ((x + 1) / 2).clamp(0, 1) ** math.exp(rng.normal(0, 0.15))
    height, width = x.shape[1:]
    angle, strength = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.15)
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    slope = math.sin(angle) * rows[:, None] + math.cos(angle) * columns
    tint = torch.from_numpy(np.exp(rng.normal(0, 0.04, 3)).astype(np.float32))
    grey = y.mean(0, keepdim=True)
    y = grey + math.exp(rng.normal(0, 0.15)) * (y - grey)
    return y * (1 + strength * slope) * tint[:, None, None] * 2 - 1


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of so many px."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(len(x), 1, 1, -1)
    x = F.pad(x[None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel, groups=3), kernel.transpose(2, 3), groups=3)[0]


def compressed(image: Tensor, quality: int) -> Tensor:
    """An image uint8 [3, H, W] after JPEG of a quality in [1, 100]."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=int(quality))
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).contiguous()
