"""Finds exercises by their id, checks answers, and gives hints.

A chapter's exercises are in chNN.py beside this file, which exports `EXERCISES`. It is imported when one of
its exercises is first asked for.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import pkgutil
from collections import Counter
from typing import Any

import ddpm_lite.exercises as package
from ddpm_lite.exercises import cards, progress
from ddpm_lite.exercises.engine import Exercise, ExerciseError, judge, lent, strict


class UnknownExerciseError(LookupError):
    """There is no exercise with this id."""


class Registry:
    """The exercises that were asked for, by chapter; how many hints were given for each; whose functions were lent."""

    def __init__(self) -> None:
        self._chapters: dict[str, dict[str, Exercise]] = {}
        self.hints: Counter[str] = Counter()
        self.lent: dict[str, Any] = {}

    def chapters(self) -> list[str]:
        """The numbers of the chapters that have exercises: ["00", "01"]."""
        names = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name[2:] for name in names if name.startswith("ch") and name[2:].isdigit())

    def chapter(self, number: str) -> dict[str, Exercise]:
        """The exercises of one chapter, by id. Raises UnknownExerciseError if it has none."""
        if number not in self._chapters:
            if number not in self.chapters():
                there = ", ".join(self.chapters()) or "none"
                raise UnknownExerciseError(f"no exercises in chapter {number!r}; there are in: {there}.")
            exercises = importlib.import_module(f"{package.__name__}.ch{number}").EXERCISES
            self.add(number, exercises)
        return self._chapters[number]

    def add(self, number: str, exercises: tuple[Exercise, ...]) -> None:
        """Take in a chapter's exercises. Raises ValueError for an id that is foreign to it or there twice."""
        ids = [exercise.id for exercise in exercises]
        bad = [id_ for id_ in ids if not id_.startswith(f"{number}.") or ids.count(id_) > 1]
        if bad:
            raise ValueError(f"the id {bad[0]!r} must begin with '{number}.' and be in ch{number}.py once.")
        self._chapters[number] = {exercise.id: exercise for exercise in exercises}

    def find(self, id_: str) -> Exercise:
        """The exercise with this id. Raises UnknownExerciseError, which names ids that are near."""
        number = str(id_).partition(".")[0]
        try:
            return self.chapter(number)[id_]
        except (UnknownExerciseError, KeyError):
            ids = [one for chapter in self.chapters() for one in self.chapter(chapter)]
            there = ", ".join(difflib.get_close_matches(str(id_), ids, 3, 0.5) or ids) or "none yet"
            raise UnknownExerciseError(f"there is no exercise {id_!r}. Near it: {there}.") from None


registry = Registry()


def check(id_: str, answer: Any) -> Any:
    """Say whether an answer is right, and if not, why; return an answer with which the notebook can go on.

    id_: "NN.k". answer: the learner's function or value.
    Returns `answer` if it is right, else the package's own function or value, and says so.
    Raises UnknownExerciseError for an unknown id, and ExerciseError for a wrong answer if the environment has
    DDPM_LITE_STRICT=1.
    """
    exercise = registry.find(id_)
    verdict = lent(exercise) if _came_back(id_, answer) else judge(exercise, answer)
    card = cards.of_verdict(verdict)
    if not verdict.correct and strict():
        raise ExerciseError(card.text())
    cards.show(card)
    if verdict.status != "not attempted" and not strict():
        progress.note(id_, verdict.correct)
    if verdict.correct:
        return answer
    registry.lent[id_] = copy.copy(exercise.stand_in())  # a value gets an identity of its own
    return registry.lent[id_]


def _came_back(id_: str, answer: Any) -> bool:
    """Whether this is what a failed check lent. A small whole number or a text is the same object wherever it comes from."""
    shared = isinstance(answer, (int, str))
    return not shared and id_ in registry.lent and answer is registry.lent[id_]


def hint(id_: str) -> None:
    """Show the next hint for an exercise; after the last one, say so and begin again.

    Raises UnknownExerciseError for an unknown id.
    """
    exercise = registry.find(id_)
    total = len(exercise.hints)
    registry.hints[id_] = registry.hints[id_] % (total + 1) + 1
    cards.show(cards.of_hint(exercise, registry.hints[id_]))
