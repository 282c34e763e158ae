"""The networks of a model as ONNX files, which need no PyTorch: for browsers, phones, other code.

`networks` says what is exported. Each is a function of tensors with a batch of one; weights and
shapes are constants of its graph. The gradient of Eq. (4) is one more function, so that a runtime
without automatic differentiation can optimise codes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from time import perf_counter
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
import torch.nn.functional as F
from onnxscript import optimizer
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from idinvert.codes import frozen, render
from idinvert.files import replacing
from idinvert.inversion.model import Model
from idinvert.losses import LAMBDA_DOM, reconstruction_terms, squared_error, weighted
from idinvert.metrics.features import extract
from idinvert.metrics.kid import mmd2
from idinvert.models import pretrained
from idinvert.nn import mobilestylegan, stylegan

from .compact import Storage, compact

OPSET = 18
FOLDED = 1024  # numbers of the largest constant that is computed beforehand: others would grow
aten = torch.ops.aten


@dataclass(frozen=True)
class Network:
    """A function of tensors, with an example of its inputs and the names of its outputs."""

    function: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Its outputs by name."""
        found = self.function(*(inputs[name] for name in self.inputs))
        return dict(zip(self.outputs, (found,) if isinstance(found, Tensor) else found))


def networks(model: Model, gradient: bool = True) -> dict[str, Network]:
    """What is exported of a model, by the names of the files; what the model lacks is left out.

    gradient: whether "equation4" is among them.

    - mapping: latent [1, Z] -> codes [1, L, D]
    - generator: codes [1, L, D] -> image [1, 3, r, r] in [-1, 1]
    - encoder: image -> codes
    - classifier: image -> logits [1, A] of the attributes
    - equation4: codes, target [1, 3, r, r], mask [1, 1, r, r] (ones; or the patch of semantic
      diffusion) and lambda_dom [1] -> the gradient [1, L, D] of Eq. (4) without its VGG term, the
      image G(codes), and the unweighted terms pixel [1] and code [1]
    """
    generator = model.generator
    codes, latent = model.sample(1), torch.zeros(1, generator.z_dim, device=model.device)
    image = render(generator, codes)
    found = {"mapping": Network(generator.mapping, {"latent": latent + 1}, ("codes",)),
             "generator": Network(generator.synthesis, {"codes": codes}, ("image",))}
    if model.has("encoder"):
        found["encoder"] = Network(model.encoder, {"image": image}, ("codes",))
        if gradient:
            found["equation4"] = equation4(model, codes, image)
    if model.has("classifier"):
        found["classifier"] = Network(model.classifier, {"image": image}, ("logits",))
    return found


def equation4(model: Model, codes: Tensor, image: Tensor) -> Network:
    """The gradient of Eq. (4) without VGG: see `networks`."""
    synthesis, encoder = model.generator.synthesis, model.encoder

    def gradient(*inputs: Tensor):
        return gradient_of(synthesis, encoder, *inputs)

    inputs = {"codes": codes, "target": image, "mask": torch.ones_like(image[:, :1]),
              "lambda_dom": torch.full((1,), LAMBDA_DOM, device=codes.device)}
    return Network(gradient, inputs, ("gradient", "image", "pixel", "code"))


def gradient_of(synthesis: Callable[[Tensor], Tensor], encoder: Callable[[Tensor], Tensor],
                codes: Tensor, target: Tensor, mask: Tensor, lambda_dom: Tensor
                ) -> tuple[Tensor, ...]:
    """The outputs of "equation4" in `networks`, for any way from codes to images."""
    codes = codes.detach().requires_grad_(True)
    image = synthesis(codes)
    terms = reconstruction_terms(image, target, mask=mask)
    terms["code"] = squared_error(codes, encoder(image))
    (found,) = torch.autograd.grad(weighted(terms, code=lambda_dom).sum(), codes)
    return found, image.detach(), terms["pixel"].detach(), terms["code"].detach()


# --- graphs ---------------------------------------------------------------------------------------


def exported(network: Network) -> onnx.ModelProto:
    """The ONNX graph of a network, weights in float32."""
    inputs = tuple(value.detach().clone() for value in network.inputs.values())
    with plainly(), quietly():
        traced = make_fx(lambda *tensors: network.function(*tensors),
                         decomposition_table=decompositions())(*inputs).eval()
        program = torch.onnx.export(
            traced, inputs, dynamo=True, opset_version=OPSET, input_names=list(network.inputs),
            output_names=list(network.outputs), external_data=False, optimize=False, verbose=False)
        optimizer.optimize_ir(program.model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    made = program.model_proto
    del made.graph.value_info[:], made.metadata_props[:]
    for part in (*made.graph.node, made.graph):
        del part.metadata_props[:]
        part.doc_string = ""
    return made


@contextmanager
def plainly() -> Iterator[None]:
    """Inside the block, networks compute with simple operations what they write out for speed."""
    with (mock.patch.object(stylegan, "adain", adain),
          mock.patch.object(mobilestylegan, "haar", haar),
          mock.patch.object(mobilestylegan, "inverse_haar", inverse_haar)):
        yield


def adain(x: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """As `stylegan.adain`."""
    scale, shift = style[:, :, None, None].chunk(2, 1)
    y = x - x.mean((2, 3), keepdim=True)
    return y * torch.rsqrt((y * y).mean((2, 3), keepdim=True) + eps) * (scale + 1) + shift


def haar(x: Tensor) -> Tensor:
    """As `mobilestylegan.haar`, which writes into parts of a tensor."""
    corners = F.pixel_unshuffle(x, 2).unflatten(1, (x.shape[1], 4)).unbind(2)
    return torch.cat(hadamard(*corners), 1)


def inverse_haar(bands: Tensor) -> Tensor:
    """As `mobilestylegan.inverse_haar`."""
    corners = hadamard(*bands.chunk(4, 1))
    return F.pixel_shuffle(torch.stack(corners, 2).flatten(1, 2), 2)


def hadamard(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> list[Tensor]:
    """Haar's bands of the corners of squares, row by row; applied twice, it gives them back."""
    left, right, mean, difference = a + c, b + d, a - c, b - d
    return [(x + sign * y) / 2 for sign, x, y in ((1, left, right), (1, mean, difference),
                                                  (-1, left, right), (-1, mean, difference))]


@contextmanager
def quietly() -> Iterator[None]:
    """Inside the block, the exporter keeps its remarks to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def decompositions() -> dict:
    """Operations of gradients in terms of those that ONNX has; squares as products, which are ten
    times as fast there as powers."""
    return {**core_aten_decompositions(), aten.pow.Tensor_Scalar: power,
            aten.convolution_backward.default: convolution_backward,
            aten.avg_pool2d_backward.default: avg_pool2d_backward,
            aten._adaptive_avg_pool2d_backward.default: adaptive_avg_pool2d_backward}


def power(x: Tensor, exponent: float) -> Tensor:
    """x to a power."""
    return x * x if exponent == 2 else aten.pow.Tensor_Tensor(x, torch.full_like(x, exponent))


def convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes, stride, padding,
                         dilation, transposed, output_padding, groups, mask):
    """The gradient with respect to the input of a convolution, whose weights have none."""
    if mask[1] or mask[2]:
        raise NotImplementedError("only gradients with respect to codes are exported")
    if transposed:
        return F.conv2d(gradient, weight, None, stride, padding, dilation, groups), None, None
    if list(stride) == list(dilation) == [1, 1]:  # faster in runtimes than a transposed one
        outputs, inputs, *kernel = weight.shape
        turned = weight.reshape(groups, outputs // groups, inputs, *kernel).transpose(1, 2)
        turned = turned.reshape(groups * inputs, outputs // groups, *kernel).flip(2, 3)
        around = [k - 1 - p for k, p in zip(kernel, padding)]
        return F.conv2d(gradient, turned, None, 1, around, 1, groups), None, None
    missing = [size - (s * (g - 1) - 2 * p + d * (k - 1) + 1) for size, g, s, p, d, k in
               zip(x.shape[2:], gradient.shape[2:], stride, padding, dilation, weight.shape[2:])]
    return F.conv_transpose2d(gradient, weight, None, stride, padding, missing, groups,
                              dilation), None, None


def avg_pool2d_backward(gradient: Tensor, x: Tensor, kernel, stride, padding, ceil_mode, *_):
    """The gradient of a mean over squares that do not overlap."""
    if stride and list(stride) != list(kernel) or any(padding):
        raise NotImplementedError("only means over squares side by side are exported")
    return F.interpolate(gradient, x.shape[2:], mode="nearest") / (kernel[0] * kernel[1])


def adaptive_avg_pool2d_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of a mean over squares whose number divides the image's size."""
    kernel = [size // grid for size, grid in zip(x.shape[2:], gradient.shape[2:])]
    if any(k * grid != size for k, size, grid in zip(kernel, x.shape[2:], gradient.shape[2:])):
        raise NotImplementedError("only means over squares of one size are exported")
    return avg_pool2d_backward(gradient, x, kernel, kernel, (0, 0), False)


# --- files ----------------------------------------------------------------------------------------


def export(model: Model, folder: Path, storage: Storage = "float16", count: int = 100,
           choose: Callable[[Model], dict[str, Network]] = networks) -> pd.DataFrame:
    """Write the networks of a model into a folder, as NAME.onnx, and at last `model.json`: shapes,
    attributes, average code and boundaries. Networks that an earlier export left there, and that
    this model does not have, are removed.

    choose: which networks, by name. The gradient of Eq. (4), which takes long, is compared on a
    tenth of the codes, two at least.

    Returns what `compare` measures on `count` codes, for each file; and its size and the seconds of
    a run on this machine, by onnxruntime with one thread. It is written too, as differences.csv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, judge = [], judge_or_none()
    with frozen([model.network(role) for role in ("generator", "encoder", "classifier")
                 if model.has(role)]):
        found = choose(model)
        about, old = json.dumps(described(model, found)), told(folder) - found.keys()
        check_files(folder, [f"{name}.onnx" for name in (*found, *old)])
        with replacing(folder / "model.json") as path:  # until the files are all of one model
            path.write_text(json.dumps({"networks": dict.fromkeys([*found, *old])}))
        for name in old:
            (folder / f"{name}.onnx").unlink(missing_ok=True)
        for name, network in found.items():
            path = folder / f"{name}.onnx"
            with replacing(path) as temporary:
                temporary.write_bytes(compact(exported(network), storage).SerializeToString())
            used = max(min(count, 2), count // 10) if name == "equation4" else count
            rows += compare(name, network, session(path), examples(model, name, found, used),
                            judge if name == "generator" else None)
            rows[-1]["megabytes"] = path.stat().st_size / 1e6
    measured = pd.DataFrame(rows)
    with replacing(folder / "differences.csv") as path:
        measured.to_csv(path, index=False)
    with replacing(folder / "model.json") as path:
        path.write_text(about)
    return measured


def check_files(folder: Path, names: Iterable[str]) -> None:
    """IsADirectoryError, before the work, if there are folders in place of an export's files."""
    for path in (folder / name for name in (*names, "differences.csv", "model.json")):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def told(folder: Path) -> set[str]:
    """The networks that an export into a folder has described there."""
    try:
        described = json.loads((folder / "model.json").read_text("utf-8"))
        return {name for name in described["networks"] if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or another file
        return set()


def judge_or_none() -> nn.Module | None:
    """The network of KID; None where it is neither in the cache nor to be had."""
    try:
        return pretrained.load_judge()
    except pretrained.UnreachableError:
        return None


def described(model: Model, found: Mapping[str, Network]) -> dict:
    """What a program has to know of a model beside its networks."""
    boundaries = {
        name: {"direction": b.direction.tolist(), "normal": b.normal.tolist(),
               "intercept": b.intercept, "layers": list(b.layers), "space": b.space}
        for name, b in model.boundaries.items()}
    return {
        "name": model.name, "resolution": model.generator.resolution,
        "layers": model.generator.num_layers, "w_dim": model.generator.w_dim,
        "z_dim": model.generator.z_dim, "w_avg": model.generator.w_avg.tolist(),
        "networks": {name: {"inputs": {key: list(value.shape)
                                       for key, value in network.inputs.items()},
                            "outputs": list(network.outputs)} for name, network in found.items()},
        "attributes": model.attributes if model.has("classifier") else [],
        "boundaries": boundaries}


def session(path: Path) -> onnxruntime.InferenceSession:
    """The file, ready to run on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = path.read_bytes()  # it takes no path that is not UTF-8
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def examples(model: Model, name: str, found: Mapping[str, Network], count: int
             ) -> Iterator[dict[str, Tensor]]:
    """Inputs of a network made of `count` sampled codes, or latents: what it is compared on."""
    torch.manual_seed(0)
    codes = model.sample(count + 1, seed=1).split(1)
    network = found[name]
    for code, other in zip(codes, codes[1:]):
        made = {"codes": code, "latent": torch.randn_like(network.inputs.get("latent", code))}
        if "image" in network.inputs:
            made["image"] = render(model.generator, code)
        if "target" in network.inputs:
            made["target"] = render(model.generator, other)
        yield network.inputs | {key: made[key] for key in made.keys() & network.inputs.keys()}


def compare(name: str, network: Network, session: onnxruntime.InferenceSession,
            inputs: Iterable[dict[str, Tensor]], judge: nn.Module | None = None) -> list[dict]:
    """For each output: the largest and the mean difference between PyTorch and onnxruntime, beside
    the deviation of PyTorch's values; and the median seconds of a run.

    judge: a network in whose features the KID between both sets of images is taken, less that of
    the first set with itself, as both show the same codes.
    """
    measured: dict[str, list] = {output: [] for output in network.outputs}
    images, seconds = [], []
    for given in inputs:
        start = perf_counter()
        theirs = session.run(list(network.outputs), {k: v.cpu().numpy() for k, v in given.items()})
        seconds.append(perf_counter() - start)
        for (output, ours), other in zip(network(**given).items(), theirs):
            ours, other = ours.detach().cpu(), torch.from_numpy(other)
            difference = (ours - other).abs()
            measured[output].append([difference.max(), difference.mean(), ours.double().mean(),
                                     ours.double().square().mean()])
            if judge and output == "image":
                images.append((ours, other))
    rows = []
    for output, values in measured.items():
        largest, differences, means, squares = torch.tensor(values, dtype=torch.float64).T
        variance = squares.mean() - means.mean() ** 2
        rows.append({"network": name, "output": output,
                     "largest difference": largest.max().item(),
                     "mean difference": differences.mean().item(),
                     "deviation of values": variance.clamp(min=0).sqrt().item(),
                     "milliseconds": 1000 * float(np.median(seconds))})
        if output == "image" and len(images) > 1:
            a, b = (extract(torch.cat(part).clamp(-1, 1), judge) for part in zip(*images))
            rows[-1]["KID x 1e3"] = 1000 * (mmd2(b, a) - mmd2(a, a))
    return rows
