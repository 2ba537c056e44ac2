"""Exercises of chapter NN. To begin a chapter's file, copy this to chNN.py and fill it in.

`Exercise`, `Misconception` and `Case` say in engine.py what each field is; `audit.py` says what a test asks of
every exercise.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_lite import schedules
from ddpm_lite.exercises.engine import Case, Exercise, Misconception
from ddpm_lite.schedules import Schedule

SCHEDULES = (schedules.linear(T=1000), schedules.cosine(T=40))


def _cases() -> Iterator[Case]:
    """Arguments to try, built anew for every run: several shapes, both ends of t, more than one schedule."""
    yield Case("the first, a middle and the last t", torch.tensor([1, 500, 1000]), SCHEDULES[0])
    yield Case("one t of another schedule", torch.tensor([40]), SCHEDULES[1])


def _snr(t: Tensor, schedule: Schedule) -> Tensor:
    """The reference. Where the package has the function, use that one instead."""
    alpha_bar = schedule.alpha_bar[t]
    return alpha_bar / (1 - alpha_bar)


def _of_one_step(t: Tensor, schedule: Schedule) -> Tensor:
    """A wrong answer with the same signature."""
    alpha = schedule.alpha[t]
    return alpha / (1 - alpha)


EXERCISES = (
    Exercise(
        id="NN.1",
        title="the signal-to-noise ratio",
        reference=_snr,
        cases=_cases,
        misconceptions=(
            Misconception(
                name="α_t, of one step, where ᾱ_t, of all steps up to t, belongs",
                breaks="SNR(t) = ᾱ_t / (1 − ᾱ_t)",
                wrong=_of_one_step,
                reread="One idea",
            ),
        ),
        hints=(
            "How much of x_0 is in x_t, and how much noise? Both are variances.",
            "The schedule has ᾱ for every t at once: index it with t.",
        ),
    ),
)
