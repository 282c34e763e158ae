"""Where networks run, and how their memory is kept from being cleared again and again."""

from __future__ import annotations

import ctypes
from functools import cache

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of glibc's mallopt


def pick(name: str = "auto") -> str:
    """The device `name`; "auto" is CUDA if there is a GPU, else the CPU.

    ValueError: this machine has no such device, or this PyTorch cannot use it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=name).is_meta:
            raise RuntimeError("there is no such device")
    except (RuntimeError, AssertionError, ImportError) as error:  # as PyTorch was built
        raise ValueError(f"The device {name!r} cannot be used here.") from error
    return name


@cache
def keep_freed_memory() -> bool:
    """Let memory that tensors no longer use stay with the process, for the next ones; returns
    whether this C library can.

    By default glibc gives blocks above 32 MB back at once. Each large tensor on the CPU is then
    made of pages that the kernel has to clear first, and a generator at 1024 px spends more than
    half of its time on that.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the machine or of its GPU ran out; PyTorch has errors of its own."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(
        sign in str(error) for sign in ("can't allocate memory", "out of memory",
                                        "CUBLAS_STATUS_ALLOC"))
