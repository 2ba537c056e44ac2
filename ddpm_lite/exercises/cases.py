"""What the chapters' exercises share: arguments that tell wrong answers apart, and the shape of a wrong answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ddpm_lite import schedules
from ddpm_lite.exercises.engine import Case, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

PAPER = schedules.linear(T=1000)
SHORT = schedules.from_beta([0.1, 0.4, 0.2, 0.5, 0.3], "five rough steps")

Coefficient = Callable[[Schedule], Tensor]  # schedule -> (T+1,)


def images(latest: int = 1000) -> Iterator[Case]:
    """Cases (x, t, other, schedule): x in [-1, 1), other Gaussian. `latest` is the largest t of the float32 case.

    B differs from C, H and W, except in the case that gives wrong broadcasting away.
    """
    f64, t = torch.float64, torch.tensor
    yield Case(
        "4 images of (1, 8, 6), float32",
        rand(4, 1, 8, 6),
        t([2, 1, latest, 60]),
        randn(4, 1, 8, 6, seed=2),
        PAPER,
    )
    yield Case(
        "2 images of (3, 7, 5), float64",
        rand(2, 3, 7, 5, seed=1, dtype=f64),
        t([1000, 300]),
        randn(2, 3, 7, 5, seed=3, dtype=f64),
        PAPER,
    )
    yield Case(
        "as many images as columns",
        rand(5, 2, 3, 5, seed=4),
        t([1, 2, 3, 4, 5]),
        randn(5, 2, 3, 5, seed=5),
        SHORT,
    )
    yield Case(
        "3 points of 2 numbers, not contiguous",
        rand(2, 3, seed=6, dtype=f64).T,
        t([5, 1, 3]),
        randn(3, 2, seed=7, dtype=f64),
        SHORT,
    )


def late(values: Tensor) -> Tensor:
    """values[t - 1] at index t."""
    return torch.cat([values[:1], values[:-1]])


def mix(of_x: Coefficient, of_other: Coefficient):
    """A wrong implementation: of_x[t] * x + of_other[t] * other."""

    def wrong(x: Tensor, t: Tensor, other: Tensor, schedule: Schedule) -> Tensor:
        return at(of_x(schedule), t, x) * x + at(of_other(schedule), t, x) * other

    return wrong


def broadcast(of_x: Coefficient, of_other: Coefficient, reread: str) -> Misconception:
    """`mix` without (B,) -> (B, 1, 1, 1): the coefficients run along the columns, or do not fit."""

    def wrong(x: Tensor, t: Tensor, other: Tensor, schedule: Schedule) -> Tensor:
        return of_x(schedule)[t].to(x.dtype) * x + of_other(schedule)[t].to(x.dtype) * other

    return Misconception(
        name="a coefficient of shape (B,) multiplies along the columns, not along the batch",
        breaks="each image has its own t, so its coefficient needs the shape (B, 1, …, 1): process.at",
        wrong=wrong,
        reread=reread,
    )


def first_t(reference: Callable, position: int, reread: str) -> Misconception:
    """`reference` with one t, that of the first example, for all of them; t is argument number `position`, from 0."""

    def wrong(*arguments):
        t = arguments[position]
        return reference(*arguments[:position], t[:1].expand(len(t)), *arguments[position + 1 :])

    return Misconception(
        name="the t of the first example used for the whole batch",
        breaks="each example of a batch has its own t: index with all of t, not with t[0]",
        wrong=wrong,
        reread=reread,
    )
