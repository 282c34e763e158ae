"""Networks that find a face and its landmarks in a photograph, for the reader's browser.

The weights are those of the npm package @vladmandic/face-api (V. Mühler and V. Mandic, MIT): its
"tiny face detector", a small YOLO (Redmon and Farhadi, arXiv 1612.08242) of separable convolutions,
and its network of 68 landmarks, four blocks of them with sums in the manner of dense networks.
Library and commands find faces by dlib instead, which runs in no browser.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .compact import compact
from .export import Network, exported

Weights = dict[str, Tensor]
DETECTOR, LANDMARKS = "tiny_face_detector_model", "face_landmark_68_model"
PIXELS = {DETECTOR: 416, LANDMARKS: 112}  # a side of what they take
# Width and height of the boxes that the detector scales, in cells
ANCHORS = ((1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857),
           (9.041765, 10.66308))
MEANS = {DETECTOR: (117.001, 114.697, 97.404), LANDMARKS: (122.782, 117.001, 104.298)}  # of RGB


def files(folder: Path) -> dict[str, tuple[dict[str, list[int]], bytes]]:
    """Of each of `networks` the shapes of its inputs, and its ONNX file."""
    return {name: ({key: list(value.shape) for key, value in network.inputs.items()},
                   compact(exported(network), "float16").SerializeToString())
            for name, network in networks(folder).items()}


def networks(folder: Path) -> dict[str, Network]:
    """From the package's files in a folder:

    - detector: image [1, 3, 416, 416] in [-1, 1] -> faces [845, 5]: how sure each is in [0, 1], its
      centre, width and height, as shares of the side
    - landmarks: image [1, 3, 112, 112] of a face -> points [68, 2], x and y as shares of the side,
      in the order of dlib
    """
    found = {}
    for name, role, function, output in ((DETECTOR, "detector", detected, "faces"),
                                         (LANDMARKS, "landmarks", landmarks, "points")):
        weights, side = read(folder, name), PIXELS[name]

        def seen(image: Tensor, name=name, function=function, weights=weights) -> Tensor:
            means = torch.tensor(MEANS[name])[:, None, None]
            return function(((image + 1) * 127.5 - means) / 255, weights)

        found[role] = Network(seen, {"image": torch.zeros(1, 3, side, side)}, (output,))
    return found


def read(folder: Path, name: str) -> Weights:
    """Weights in PyTorch's order of axes, from NAME.bin and its manifest: each is a row of bytes
    that stand for multiples of a scale."""
    (manifest,) = json.loads((folder / f"{name}-weights_manifest.json").read_text())
    content = np.frombuffer((folder / f"{name}.bin").read_bytes(), np.uint8)
    weights, at = {}, 0
    for entry in manifest["weights"]:
        shape, stored = entry["shape"], entry["quantization"]
        count = int(np.prod(shape))
        values = content[at:at + count].astype(np.float32) * stored["scale"] + stored["min"]
        array = torch.from_numpy(values.astype(np.float32).reshape(shape))
        key, at = entry["name"], at + count
        if len(shape) == 4:
            array = array.permute((2, 3, 0, 1) if "depthwise" in key else (3, 2, 0, 1))
        weights[key] = array.contiguous()
    return weights


def separable(x: Tensor, weights: Weights, name: str, stride: int = 1) -> Tensor:
    """A depthwise and a pointwise convolution; of an even size, every second pixel is taken from
    the first on."""
    x = F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
    x = F.conv2d(x, weights[f"{name}/depthwise_filter"], stride=stride, groups=x.shape[1])
    return F.conv2d(x, weights[f"{name}/pointwise_filter"], weights[f"{name}/bias"])


def halved(x: Tensor, stride: int = 2) -> Tensor:
    """Largest of 2 x 2 pixels; the borders on the right and below count as smallest."""
    right, below = (size % 2 if stride == 2 else 1 for size in (x.shape[3], x.shape[2]))
    return F.max_pool2d(F.pad(x, (0, right, 0, below), value=-1e9), 2, stride)


def detected(x: Tensor, weights: Weights) -> Tensor:
    """See `networks`."""
    x = F.leaky_relu(F.conv2d(x, weights["conv0/filters"], weights["conv0/bias"]), 0.1)
    for number in range(1, 6):
        x = F.leaky_relu(separable(halved(x), weights, f"conv{number}"), 0.1)
    x = F.conv2d(halved(x, 1), weights["conv8/filters"], weights["conv8/bias"])
    cells = x.shape[2]
    x = x[0].reshape(len(ANCHORS), 5, cells, cells).permute(2, 3, 0, 1)  # row, column, anchor
    row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    corner = torch.stack([column, row], 2)[:, :, None].float()
    centre = (torch.sigmoid(x[..., :2]) + corner) / cells
    size = torch.exp(x[..., 2:4]) * torch.tensor(ANCHORS) / cells
    return torch.cat([torch.sigmoid(x[..., 4:]), centre, size], 3).flatten(0, 2)


def landmarks(x: Tensor, weights: Weights) -> Tensor:
    """See `networks`."""
    for block in (f"dense{number}" for number in range(4)):
        if f"{block}/conv0/filters" in weights:
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), weights[f"{block}/conv0/filters"],
                         weights[f"{block}/conv0/bias"], stride=2)
        else:
            x = separable(x, weights, f"{block}/conv0", stride=2)
        total = x = F.relu(x)
        for number in (1, 2, 3):
            total = total + separable(x, weights, f"{block}/conv{number}")
            x = F.relu(total)
    x = x.mean((2, 3)) @ weights["fc/weights"] + weights["fc/bias"]
    return x.reshape(68, 2)
