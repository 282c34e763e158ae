"""What a file is that no importer reads, and what to do about it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping

from . import File

BEGINNINGS = {  # in lower case
    b"<!doctype": "is a web page: the download did not give the file itself",
    b"<html": "is a web page: the download did not give the file itself",
    b"<?xml": "is an XML page, such as an error of a server: download the file again",
    b"version https://git-lfs": "is a pointer to a file that Git LFS keeps: run git lfs pull",
    b"\x89hdf": "is an HDF5 file, as Keras writes it: only networks of PyTorch are imported",
    b"\x1f\x8b": "is compressed by gzip: unpack it, and import what is in it",
    b"bzh": "is compressed by bzip2: unpack it, and import what is in it",
    b"7z\xbc\xaf": "is a 7z archive: unpack it, and import what is in it",
    b"rar!": "is a RAR archive: unpack it, and import what is in it",
}
KEYS = {  # parts of the names in a PyTorch file
    "down_blocks.": "is a network of diffusers, not a GAN",
    "model.diffusion_model.": "is a latent diffusion model, not a GAN",
    "synthesis.L0_": "is a StyleGAN3 generator: only StyleGAN and StyleGAN2 are imported",
    "synthesis.b4.const": "is the state of NVIDIA's generator without its settings: import the "
                          ".pkl that it comes from",
    "mapping.embed.": "is a conditional generator, which is not supported",
}


def described(file: File) -> str:
    """The rest of a sentence on the file, without its end; empty if it is of no known kind."""
    start = file.beginning.lower().lstrip()
    for beginning, what in BEGINNINGS.items():
        if start.startswith(beginning):
            return what
    if not file.beginning:
        return "is empty: download it again"
    if file.beginning[8:9] == b"{" and int.from_bytes(file.beginning[:8], "little") < 1 << 27:
        return ("is a safetensors file of no known project: models of this one are put into the "
                "folder of models, with their cards")
    if file.is_torch:
        return of_keys(file.torch_content)
    return "is a zip archive: unpack it" if zipfile.is_zipfile(file.path) else ""


def of_keys(content: object) -> str:
    """What the names in a PyTorch file tell of it."""
    if not isinstance(content, Mapping):
        return ""
    inner = (value for value in content.values() if isinstance(value, Mapping))
    names = [str(name) for mapping in (content, *inner) for name in mapping]
    return next((what for key, what in KEYS.items() if any(key in name for name in names)), "")
