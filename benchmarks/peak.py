"""What this processor can do at best: a large matrix product and a large convolution, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch.nn import functional as F

from . import measure

NOTE = (
    "Share of peak: FLOPs a second of processor time, over the better of a 1024 × 1024 matrix product and a 3 × 3 "
    "convolution of 128 channels timed in the same rounds and in the same number format."
)
SIDE = 1024


def tasks(side: int = SIDE) -> dict[str, Callable[[], object]]:
    """A product of two side x side matrices and a convolution of a third as many FLOPs or more, float32 and bf16."""
    found: dict[str, Callable[[], object]] = {}
    for label, dtype in [
        ("float32", torch.float32),
        *([("bf16", torch.bfloat16)] if measure.has_bf16() else []),
    ]:
        a, b = torch.randn(2, side, side).to(dtype)
        x, w = torch.randn(side // 256 or 1, 128, 32, 32).to(dtype), torch.randn(128, 128, 3, 3).to(dtype)
        found[f"peak {label} product"] = lambda a=a, b=b: a @ b
        found[f"peak {label} convolution"] = lambda x=x, w=w: F.conv2d(x, w, padding=1)
    return found


def best(timings: Mapping[str, measure.Timing], label: str, side: int = SIDE) -> float:
    """FLOPs per second of processor time at the fastest round of the better of the two."""
    work = {"product": 2 * side**3, "convolution": 2 * (side // 256 or 1) * 32 * 32 * 128 * 128 * 9}
    return max(flops / min(timings[f"peak {label} {kind}"].cpu) for kind, flops in work.items())


def share(work: int, timing: measure.Timing, timings: Mapping[str, measure.Timing], bf16: bool) -> str:
    """The share of that peak reached by `work` FLOPs in the median processor time of `timing`, as text."""
    return f"{work / median(timing.cpu) / best(timings, 'bf16' if bf16 else 'float32'):.0%}"
