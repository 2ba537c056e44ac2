"""Exercises that answer back.

    from ddpm_lite.exercises import check, hint

    q_sample = check("01.2", q_sample)   # says what is right or wrong; returns a function that works
    hint("01.2")                         # one hint at a time

`engine` judges an answer, `compare` finds the first difference, `cards` shows the verdict, `registry` finds
an exercise by its id, and `audit` judges the exercises themselves. Each chapter's exercises are in chNN.py,
which exports `EXERCISES`; it is read when one of its exercises is asked for.
"""

from ddpm_lite.exercises.engine import ExerciseError
from ddpm_lite.exercises.registry import UnknownExerciseError, check, hint

__all__ = ["ExerciseError", "UnknownExerciseError", "check", "hint"]
