"""Checks of arguments: each raises early, and says what was wrong and what to do about it."""

from __future__ import annotations

import torch
from torch import Tensor


def floating(x: Tensor, name: str) -> None:
    """`x` is a floating-point tensor without NaN or infinity.

    Raises TypeError for anything but a float tensor, ValueError for NaN or infinity.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(x).__name__}; torch.as_tensor(...) makes one."
        )
    if not x.is_floating_point():
        hint = (
            " Images stored as bytes: data.from_uint8(x) scales them to [-1, 1]."
            if x.dtype == torch.uint8
            else ""
        )
        raise TypeError(f"{name} must be a floating-point tensor, got {x.dtype}.{hint}")
    if not torch.isfinite(x).all():
        raise ValueError(
            f"{name} holds NaN or infinity. Look at where it was made: a learning rate too high, or a 0/0?"
        )


def same_shape(a: Tensor, b: Tensor, name_a: str, name_b: str) -> None:
    """`a` and `b` have one shape. Raises ValueError."""
    if a.shape != b.shape:
        raise ValueError(
            f"{name_a} and {name_b} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def timesteps(t: Tensor, batch: int, T: int) -> None:
    """`t` is an integer tensor (batch,) with values 1..T.

    Raises TypeError for other dtypes, ValueError for other shapes and for values outside 1..T.
    """
    if not isinstance(t, Tensor) or t.is_floating_point() or t.dtype in (torch.bool, torch.complex64):
        kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise TypeError(
            f"t must be an integer tensor of shape ({batch},), got {kind}; try torch.full(({batch},), t)."
        )
    if t.shape != (batch,):
        raise ValueError(
            f"t must have shape ({batch},), one timestep for each example, got {tuple(t.shape)}; "
            f"torch.full(({batch},), t) gives every example the same one."
        )
    if batch and (t.min() < 1 or t.max() > T):
        bad = int(t[(t < 1) | (t > T)][0])
        raise ValueError(f"t must lie in 1..{T} (t = 0 is the clean image), got t = {bad}.")


def images(x: Tensor, name: str = "x0") -> None:
    """`x` is a float batch of images (B, C, H, W) with values in [-1, 1].

    Raises TypeError for other dtypes, ValueError for other shapes, NaN, or values outside [-1, 1].
    """
    floating(x, name)
    if x.ndim != 4:
        raise ValueError(f"{name} must be a batch of images (B, C, H, W), got shape {tuple(x.shape)}.")
    if x.numel() and (x.min() < -1 - 1e-5 or x.max() > 1 + 1e-5):
        raise ValueError(
            f"{name} must lie in [-1, 1], got [{float(x.min()):.4g}, {float(x.max()):.4g}]. "
            "From bytes use data.from_uint8(x); from [0, 1] use 2 * x - 1."
        )


def one_of(value: str, choices, name: str) -> None:
    """`value` is one of `choices`. Raises ValueError naming them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
