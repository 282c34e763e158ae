"""A small encoder on a frozen network: pooled features of several scales and a head of low rank.

A fully connected layer to the codes of a generator of photographs, 16 layers of 512 numbers, would
have a hundred million weights. Faces are aligned, so features averaged over a few squares of the
image tell nearly as much; and codes differ along far fewer ways than they have numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .efficientnet import STAGES, EfficientNetLite0
from .protocols import Noise

# Last block of a stage of EfficientNet: side of the grid that its features are averaged to
GRIDS = {2: 8, 4: 8, 10: 8, 14: 4, 15: 4}
COLOURS = 16  # side of the grid of the image's own colours


def channels(block: int) -> int:
    """Channels of the features after a block of EfficientNet-Lite0."""
    counts = [outputs for *_, outputs, repeats in STAGES for _ in range(repeats)]
    return counts[block]


NUM_FEATURES = 3 * COLOURS**2 + sum(channels(block) * side**2 for block, side in GRIDS.items())


@network("pooled.Encoder")
class Encoder(nn.Module):
    """Images [N, 3, r, r] in [-1, 1] -> codes [N, L, D].

    It needs an EfficientNet-Lite0, see `attach`, which is frozen and not part of its state. What
    its head does: standardised features -> `rank` numbers, to which two layers add -> codes.

    Args:
        resolution: image size in pixels, at which EfficientNet sees the images.
        num_layers, w_dim: L and D.
        rank: how many numbers the codes of all layers depend on.
        hidden: width of the two layers.
    """

    stands_on = "efficientnet_lite0"  # the pretrained network that `attach` wants

    def __init__(self, resolution: int = 256, num_layers: int = 16, w_dim: int = 512,
                 rank: int = 128, hidden: int = 512):
        super().__init__()
        self.resolution, self.num_layers, self.w_dim = resolution, num_layers, w_dim
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("scale", torch.ones(NUM_FEATURES))
        self.reduce = nn.Linear(NUM_FEATURES, rank)
        self.refine = nn.Sequential(nn.Linear(rank, hidden), nn.GELU(), nn.Linear(hidden, rank))
        self.expand = nn.Linear(rank, num_layers * w_dim, bias=False)
        nn.init.zeros_(self.refine[-1].weight)
        nn.init.zeros_(self.refine[-1].bias)
        self.register_buffer("w_avg", torch.zeros(num_layers, w_dim))
        self.register_buffer("w_std", torch.ones(num_layers, w_dim))
        self.attached: tuple[EfficientNetLite0, ...] = ()  # a tuple keeps it out of the state

    def attach(self, backbone: EfficientNetLite0) -> Encoder:
        """Take features from this network, on the device of the images; returns the encoder."""
        self.attached = (backbone.eval().requires_grad_(False),)
        return self

    @property
    def backbone(self) -> EfficientNetLite0:
        """The attached network; RuntimeError: none is attached."""
        if not self.attached:
            raise RuntimeError("The encoder has no EfficientNet-Lite0 yet: call attach(network).")
        return self.attached[0]

    def features(self, images: Tensor) -> Tensor:
        """Pooled features [N, F], float32, of images [N, 3, r, r]."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            pooled = [F.adaptive_avg_pool2d(images, COLOURS)]
            pooled += [F.adaptive_avg_pool2d(x, side) for x, side in self.maps(images)]
        return torch.cat([x.flatten(1) for x in pooled], 1)

    def maps(self, images: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Features of the stages that are used, and the side of the grid of each."""
        backbone = self.backbone.to(images.device)
        x = ((images + 1) * 127.5 - 127) / 128
        x = F.relu6(backbone._bn0(backbone._conv_stem(x)))
        for i, block in enumerate(backbone._blocks):
            x = block(x)
            if i in GRIDS:
                yield x, GRIDS[i]

    def code(self, features: Tensor) -> Tensor:
        """Codes [N, L, D] of pooled features [N, F]."""
        with torch.autocast(features.device.type, enabled=False):
            x = self.reduce((features - self.mean) * self.scale)
            offset = self.expand(x + self.refine(x))
        return offset.unflatten(1, (self.num_layers, self.w_dim)) * self.w_std + self.w_avg

    def forward(self, image: Tensor) -> Tensor:
        """Codes [N, L, D] of images [N, 3, r, r]."""
        return self.code(self.features(image))

    def with_noise(self, image: Tensor) -> tuple[Tensor, Noise]:
        """Codes [N, L, D], and the noise to render them with: here the stored maps."""
        return self(image), "fixed"

    @torch.no_grad()
    def fit(self, features: Tensor, codes: Tensor, penalty: float = 1.0) -> None:
        """Begin with the best linear head: ridge regression of codes [N, L, D] on features [N, F].

        penalty: of the weights, times the mean of the features' squares over the samples. Of the
        fitted offsets the `rank` principal components are kept.
        """
        self.mean.copy_(features.mean(0))
        self.scale.copy_(1 / (features.std(0) + 1e-3) / features.shape[1] ** 0.5)
        x = (features - self.mean) * self.scale
        y = ((codes - self.w_avg) / self.w_std).flatten(1)
        kernel = (x @ x.T).double()
        ridge = penalty * kernel.diagonal().mean() * torch.eye(len(x)).to(kernel)
        dual = torch.linalg.solve(kernel + ridge, (y - y.mean(0)).double())
        fitted = kernel @ dual
        # Principal components of the fitted offsets, from the smaller matrix of samples
        variance, left = torch.linalg.eigh(fitted @ fitted.T)
        rank = self.reduce.out_features
        basis = fitted.T @ left[:, -rank:] / variance[-rank:].clamp_min(1e-12).sqrt()
        self.reduce.weight.copy_((x.T @ (dual @ basis).float()).T)
        self.reduce.bias.copy_(y.mean(0) @ basis.float())
        self.expand.weight.copy_(basis)
