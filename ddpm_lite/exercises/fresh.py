"""The same exercise with other numbers: what a check knows by heart is of no use against it.

Cases draw from seeded generators. Here every seed is moved by a salt, so shapes, dtypes and labels stay as they
are, and the numbers are new. Only grading needs this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from ddpm_lite.exercises.engine import Case, Exercise, ExerciseError, Verdict, judge
from ddpm_lite.exercises.registry import registry


def afresh(exercise: Exercise, salt: int) -> Exercise:
    """The exercise with every seed of its cases moved by `salt`; a value exercise has none and stays the same."""
    return exercise if exercise.is_value else replace(exercise, cases=_salted(exercise.cases, salt))


def require(id_: str, answer: Any, salt: int) -> None:
    """Raise ExerciseError unless the answer is right on the exercise's own cases and on fresh ones.

    Raises UnknownExerciseError for an unknown id.
    """
    exercise = registry.find(id_)
    for one in (exercise, afresh(exercise, salt)):
        verdict: Verdict = judge(one, answer)
        if not verdict.correct:
            raise ExerciseError(f"Exercise {id_}: {verdict.headline}")


def _salted(cases: Callable[[], Iterator[Case]], salt: int) -> Callable[[], Iterator[Case]]:
    def salted() -> Iterator[Case]:
        with _moved_seeds(salt):
            made = list(cases())
        yield from made

    return salted


@contextlib.contextmanager
def _moved_seeds(salt: int) -> Iterator[None]:
    """While it lasts, `torch.Generator().manual_seed(s)` seeds with s + salt."""
    plain = torch.Generator

    class Moved(plain):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(seed + salt)

    torch.Generator = Moved
    try:
        yield
    finally:
        torch.Generator = plain
