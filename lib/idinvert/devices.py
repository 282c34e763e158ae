"""Where networks run."""

from __future__ import annotations

import torch


def pick(name: str = "auto") -> str:
    """The device `name`; "auto" is CUDA if there is a GPU, else the CPU.

    ValueError: this machine has no such device, or this PyTorch cannot use it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch built without CUDA
        raise ValueError(f"The device {name!r} cannot be used here.") from error
    return name
