"""Judges the exercises themselves: a check is only worth something if it can fail, and by the right name."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from ddpm_lite.exercises.compare import tensors_in
from ddpm_lite.exercises.engine import Case, Exercise, judge, resolve

SECONDS = 1.0


def audit(exercise: Exercise) -> list[str]:
    """What is wrong with an exercise, one sentence each; empty if nothing is.

    Its own reference must pass, every misconception must be rejected under its own name, every check must
    take under a second of processor time, and the cases must vary in shape, dtype and memory layout as far
    as they hold images.
    """
    faults = [*_texts(exercise), *_right(exercise), *_wrong(exercise)]
    return faults if exercise.is_value else [*faults, *_cases(list(exercise.cases()))]


def _texts(exercise: Exercise) -> Iterator[str]:
    if not exercise.title.strip():
        yield "it has no title"
    if not exercise.hints or not all(hint.strip() for hint in exercise.hints):
        yield "it has no hints, or an empty one"
    for misconception in exercise.misconceptions:
        if not (misconception.name.strip() and misconception.breaks.strip()):
            yield f"the misconception {misconception.name!r} lacks its name or the line that it breaks"


def _right(exercise: Exercise) -> Iterator[str]:
    start = time.process_time()
    verdict = judge(exercise, exercise.stand_in())
    yield from _slow("the reference", start)
    if not verdict.correct:
        yield f"its own reference does not pass: {verdict.headline}"


def _wrong(exercise: Exercise) -> Iterator[str]:
    for misconception in exercise.misconceptions:
        start = time.process_time()
        wrong = resolve(misconception.wrong) if exercise.is_value else misconception.wrong
        verdict = judge(exercise, wrong)
        yield from _slow(misconception.name, start)
        if verdict.correct:
            yield f"no case tells {misconception.name!r} from the right answer"
        elif verdict.misconception is not misconception:
            taken = verdict.misconception.name if verdict.misconception else verdict.headline
            yield f"{misconception.name!r} is taken for {taken!r}"


def _slow(what: str, start: float) -> Iterator[str]:
    seconds = time.process_time() - start
    if seconds > SECONDS:
        yield f"checking {what} takes {seconds:.1f} s, over {SECONDS:.0f} s"


def _cases(cases: list[Case]) -> Iterator[str]:
    """Checks only see what the cases hold; a case without float tensors has nothing to vary."""
    tensors = [x for case in cases for _, x in tensors_in((list(case.args), case.kwargs))]
    images = [x for x in tensors if x.is_floating_point() and x.ndim > 1]
    if len(cases) < 2:
        yield "it has fewer than two cases"
    if images and len({x.shape for x in images}) < 2:
        yield "all its images have one shape"
    if images and {x.dtype for x in images} != {torch.float32, torch.float64}:
        yield "its images are not in float32 and in float64"
    if images and all(x.is_contiguous() for x in images):
        yield "none of its images is non-contiguous in memory"
