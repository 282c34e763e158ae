"""States of networks in few bits: what a model's file holds, and the state that it stands for.

Matrices and convolutions are whole numbers of 2 to 8 bits with one scale for each row, compressed;
or the differences of a state from that of another model are stored in this way.
"""

from __future__ import annotations

import lzma
import math

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]

MEMORY = 1 << 27  # bytes that unpacking a tensor may take beside it
MOST = 1 << 28  # numbers in one model

# Endings of the keys under which the scales and the shape of a matrix in few bits are stored
SCALES, SHAPE = "|scales", "|shape"


def moved(state: State, by: State, times: float = 1) -> State:
    """A state plus `times` the tensors of another one that have the same key and shape."""
    return {key: value + times * by[key].to(value) if comparable(value, by.get(key)) else value
            for key, value in state.items()}


def comparable(value: Tensor, other: Tensor | None) -> bool:
    """Whether another model's tensor of the same key can be subtracted from this one."""
    return value.is_floating_point() and other is not None and other.shape == value.shape


def packed(state: State, bits: float, coarsest: State | None = None) -> State:
    """A state with matrices and convolutions as whole numbers of 2 to 8 bits (4.5: 21 of them), one
    scale for each row, compressed; the rest in float16.

    A weight is off by at most 1 / (2^bits - 2) of the largest of its row, or with `coarsest` by at
    most half of that step, as far as 8 bits go. ValueError: bits out of range.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, not {bits}")
    small = {}
    for key, value in state.items():
        if not in_few_bits(value):
            small[key] = value.half() if value.is_floating_point() else value
        else:
            scales = steps(value, bits)
            if coarsest is not None:
                scales = scales.minimum(coarsest[key]).maximum(steps(value, 8))
            numbers = (value.float().cpu().flatten(1) / scales[:, None]).round().to(torch.int8)
            stream = lzma.compress(numbers.numpy().tobytes())
            small[key] = torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
            small[key + SCALES], small[key + SHAPE] = scales, torch.tensor(value.shape)
    return small


def unpacked(tensors: State) -> State:
    """The state, in float32, of tensors as a file holds them. ValueError: they are damaged, or have
    more numbers than any model, as small files can say."""
    shapes = [value.tolist() for key, value in tensors.items() if key.endswith(SHAPE)]
    if any(not isinstance(n, int) or n < 0 for shape in shapes for n in shape) or sum(
            math.prod(shape) for shape in shapes) > MOST:
        raise ValueError("the shapes are none of a model")
    state = {}
    for key, value in tensors.items():
        if key + SHAPE in tensors:
            scales, shape = tensors[key + SCALES][:, None], tensors[key + SHAPE].tolist()
            numbers = np.frombuffer(decompressed(value, shape), np.int8)
            rows = torch.from_numpy(numbers.astype(np.float32)).reshape(len(scales), -1) * scales
            state[key] = rows.reshape(shape)
        elif key.removesuffix(SCALES).removesuffix(SHAPE) + SHAPE not in tensors:
            state[key] = value.float() if value.is_floating_point() else value
    return state


def decompressed(stream: Tensor, shape: list[int]) -> bytes:
    """The bytes of a compressed tensor, of no more than its shape has numbers."""
    count = int(np.prod(shape, dtype=object))
    reader = lzma.LZMADecompressor(memlimit=MEMORY)
    numbers = reader.decompress(stream.numpy().tobytes(), max(count, 0) + 1)
    if len(numbers) != count or not reader.eof:
        raise ValueError(f"the shape {shape} has {count} numbers, the stream others")
    return numbers


def in_few_bits(value: Tensor) -> bool:
    """Whether `packed` stores a tensor as whole numbers."""
    return value.is_floating_point() and value.ndim > 1


def steps(value: Tensor, bits: float) -> Tensor:
    """The step [R] of whole numbers of so many bits for each row of a matrix or convolution."""
    largest = value.float().cpu().flatten(1).abs().amax(1)
    return largest.clamp_min(1e-12) / (2 ** (bits - 1) - 1)


def stored(state: State, dtype: torch.dtype, bits: float | None = None,
           parent: State | None = None, difference_bits: float | None = None) -> State:
    """The tensors of a file for a state, or for its difference from that of a `parent`.

    In `dtype`, or with `bits` as `packed`; the difference in `difference_bits`, but no coarser than
    the whole would be in `bits`, as far as 8 bits go.
    """
    tensors = state if parent is None else moved(state, parent, -1)
    if bits:
        coarsest = {key: steps(value, bits) for key, value in state.items() if in_few_bits(value)}
        whole = parent is None
        tensors = packed(tensors, bits if whole else difference_bits or bits, coarsest)
    else:
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    # Layers may share a weight, which a file has for each of them
    return {key: value.contiguous().cpu().clone() for key, value in tensors.items()}
