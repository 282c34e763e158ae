"""What every metric asks of its input."""

import torch


def images(batch, name="images"):
    """`batch` [N, 3, H, W] as float32 clipped to [-1, 1], the range a saved image can show.

    Raises ValueError for another shape, an integer type (0-255 must be converted first) or values
    that are not finite.
    """
    if not torch.is_tensor(batch) or batch.ndim != 4 or batch.shape[1] != 3:
        shape = tuple(getattr(batch, "shape", ()))
        raise ValueError(f"{name} must be a tensor [N, 3, H, W], found {shape}.")
    if not batch.is_floating_point():
        raise ValueError(f"{name} must be floats in [-1, 1], found {batch.dtype}.")
    if not torch.isfinite(batch).all():
        raise ValueError(f"{name} contain values that are not finite.")
    return batch.float().clamp(-1, 1)


def pair(a, b):
    """Two image batches of the same shape, each as by `images`."""
    a, b = images(a, "the first images"), images(b, "the second images")
    if a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Images must come in pairs of one shape, found {shapes}.")
    return a, b


def features(a, b):
    """Two feature sets [N, F] and [M, F] as float64 on the first one's device, N and M >= 2."""
    a, b = (torch.as_tensor(x).double() for x in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Features must be [N, F] and [M, F] with N, M >= 2, found {shapes}.")
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("Features contain values that are not finite.")
    return a, b.to(a.device)
