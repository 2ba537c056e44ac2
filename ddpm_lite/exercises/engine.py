"""Judges an answer to an exercise by running it beside the package's own.

`judge` returns a `Verdict`; showing it is the work of `cards`, and handing back something that works the
work of `registry`. Nothing here prints, and the global random generators are left as they were.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import inspect
import io
import itertools
import linecache
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ddpm_lite.exercises.compare import (
    LOST_PRECISION,
    Difference,
    Tolerance,
    Yielded,
    describe,
    first_difference,
    tensors_in,
)

STRICT = "DDPM_LITE_STRICT"


class ExerciseError(AssertionError):
    """An answer is not right, and the strict switch (DDPM_LITE_STRICT=1) is on."""


# ---------------------------------------------------------------------------------------------------
# What an exercise is.


class Case:
    """One set of arguments to try an answer on: Case("4 images of (1, 8, 8), float32", x0, t, eps, schedule).

    label says in words what is special about it.
    """

    def __init__(self, label: str, *args: Any, **kwargs: Any) -> None:
        self.label, self.args, self.kwargs = label, args, kwargs


@dataclass(frozen=True)
class Misconception:
    """A classic wrong answer.

    name: what is wrong, as a noun phrase. breaks: the line of maths that it breaks.
    wrong: a function with the exercise's signature that makes the mistake; for a value exercise the wrong
    value, or a function of no arguments that computes it. reread: the heading of the section to read again.
    """

    name: str
    breaks: str
    wrong: Any
    reread: str = ""


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    id: "NN.k", where NN is the chapter. title: the exercise in a few words.
    reference: the package's own function, with the learner's signature; for a value exercise the value, or a
    function of no arguments that computes it.
    cases: a function of no arguments that yields `Case`s; called anew for every run, so it builds its
    tensors itself, from its own generators. None makes it a value exercise.
    misconceptions, hints: in the order in which to try and to give them.
    rtol, atol: what counts as equal; None leaves it to the dtype (see compare.TOLERANCE).
    run: how an answer is used on a case, run(answer, *args, **kwargs); None calls it. It lets a class be an
    answer, run=lambda cls, x: cls(8)(x), or a property of samples instead of the samples.
    """

    id: str
    title: str
    reference: Any
    cases: Callable[[], Iterable[Case]] | None = None
    misconceptions: tuple[Misconception, ...] = ()
    hints: tuple[str, ...] = ()
    rtol: float | None = None
    atol: float | None = None
    run: Callable[..., Any] | None = None

    @property
    def is_value(self) -> bool:
        """Whether the answer is a value and not a function."""
        return self.cases is None

    @property
    def tolerance(self) -> Tolerance:
        """What counts as equal."""
        return Tolerance(self.rtol, self.atol)

    def stand_in(self) -> Any:
        """The right answer, with which a notebook goes on."""
        return resolve(self.reference) if self.is_value else self.reference


@dataclass(frozen=True)
class Verdict:
    """What came out.

    status: "correct", "not attempted", "error", "type", "shape", "dtype", "not finite", "random",
    "misconception", "ignores", "mutates", "precision" or "value".
    headline: one sentence. rows: (label, text) pairs that explain it.
    misconception: the classic wrong answer that this is, if it is one.
    """

    exercise: Exercise
    status: str
    headline: str
    rows: tuple[tuple[str, str], ...] = ()
    misconception: Misconception | None = None

    @property
    def correct(self) -> bool:
        """Whether the answer is right."""
        return self.status == "correct"


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Gaussian noise of `shape` from its own generator, so that a case is the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform values in [-1, 1), as an image has them, from their own generator."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


def resolve(value: Any) -> Any:
    """The value of a value exercise: itself, or what a function of no arguments computes."""
    return value() if callable(value) else value


def strict() -> bool:
    """Whether a wrong answer must raise (continuous integration, grading)."""
    return os.environ.get(STRICT, "") not in ("", "0")


# ---------------------------------------------------------------------------------------------------
# Running an answer.


@dataclass(frozen=True)
class Outcome:
    """What an answer did on one case: its result or its error, what it printed, which tensors it changed."""

    result: Any = None
    error: Exception | None = None
    printed: str = ""
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One case: what it says of itself, the right outcome, and the answer's in two runs."""

    case: Case
    right: Outcome
    first: Outcome
    second: Outcome


@contextlib.contextmanager
def quiet(seed: int) -> Iterator[io.StringIO]:
    """Capture what is printed, and seed the global generators; afterwards these are as they were before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (a learner's function may draw from it)
    random.seed(seed)
    sink = io.StringIO()
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield sink
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def attempt(exercise: Exercise, answer: Any, case: Case, seed: int = 0, limit: int | None = None) -> Outcome:
    """Run an answer on one case. `limit` is how many items to take from a generator."""
    named = arguments(exercise, case)
    backup = [(path, x, x.clone()) for name, value in named.items() for path, x in tensors_in(value, name)]
    result, error = None, None
    with quiet(seed) as sink:
        try:
            result = (exercise.run or _call)(answer, *case.args, **case.kwargs)
            if isinstance(result, Iterator):
                result = Yielded(tuple(itertools.islice(result, limit)))
        except Exception as caught:  # a learner's function may raise anything
            error = caught
    changed = [(path, x, old) for path, x, old in backup if not _identical(x, old)]
    if changed:
        result = _copy(result)  # it may be the changed argument itself, which is now mended:
        for _, x, old in changed:
            x.detach().copy_(old)  # what cases share, such as a schedule, must not stay spoilt
    return Outcome(result, error, sink.getvalue(), tuple(path for path, _, _ in changed))


def arguments(exercise: Exercise, case: Case) -> dict[str, Any]:
    """The case's arguments by name, in order; numbered where the names cannot be known."""
    function, first = (exercise.run, (None,)) if exercise.run else (exercise.reference, ())
    try:
        bound = inspect.signature(function).bind(*first, *case.args, **case.kwargs)
    except (TypeError, ValueError):
        return {f"argument {i}": value for i, value in enumerate(case.args, 1)} | case.kwargs
    return dict(itertools.islice(bound.arguments.items(), len(first), None))


def _call(answer: Any, *args: Any, **kwargs: Any) -> Any:
    return answer(*args, **kwargs)


def _identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """The same numbers, NaN included."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _copy(result: Any) -> Any:
    """A deep copy, also of tensors that carry a gradient's history."""
    tensors = [x for _, x in tensors_in(result)]
    return copy.deepcopy(result, {id(x): x.detach().clone() for x in tensors})


def _try_out(exercise: Exercise, answer: Any) -> list[Trial]:
    """Run the reference once and the answer twice on every case, each time on fresh arguments."""
    trials = []
    for case, one, two in zip(*(exercise.cases() for _ in range(3)), strict=True):
        right = attempt(exercise, exercise.reference, case)
        if right.error:
            raise right.error  # a fault of the exercise, not of the answer
        first = attempt(exercise, answer, one, 1, _limit(right))
        second = attempt(exercise, answer, two, 2, _limit(right))
        trials.append(Trial(case, right, first, second))
    return trials


def _limit(right: Outcome) -> int:
    """How many items of a generator are enough to tell that it yields too many."""
    return len(right.result.items) + 1 if isinstance(right.result, Yielded) else 10_000


# ---------------------------------------------------------------------------------------------------
# Judging.


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """What there is to say about an answer. Raises only if the exercise itself is at fault."""
    if answer is None or answer is Ellipsis:
        return _not_attempted(exercise)
    return _judge_value(exercise, answer) if exercise.is_value else _judge_function(exercise, answer)


def lent(exercise: Exercise) -> Verdict:
    """What to say when that which a failed check lent comes back as the answer."""
    kind = "answer" if exercise.is_value else "function"
    row = ("Now", "run the cell that defines your own once more, and then this one")
    return Verdict(exercise, "not attempted", f"this is the package's own {kind}, lent before.", (row,))


def _judge_function(exercise: Exercise, answer: Any) -> Verdict:
    if not callable(answer):
        row = ("Hand over", "the function itself, without parentheses after its name")
        return Verdict(exercise, "type", f"this is {describe(answer)}, and a function is wanted.", (row,))
    trials = _try_out(exercise, answer)
    verdict = next(filter(None, (look(exercise, answer, trials) for look in _LOOKS)))
    return replace(verdict, rows=verdict.rows + tuple(_asides(verdict, trials)))


def _correct(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for trial in trials:
        steady = _alike(trial.first, trial.second, exercise.tolerance)
        if not steady or not _alike(trial.first, trial.right, exercise.tolerance) or trial.first.changed:
            return None
    return Verdict(exercise, "correct", f"It agrees with the package's own on {_count(len(trials), 'case')}.")


def _unfinished(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    """The stub as it was, or emptied."""
    stub = isinstance(trials[0].first.error, NotImplementedError)
    return _not_attempted(exercise) if stub or _is_empty(answer) else None


def _known(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for misconception in exercise.misconceptions:
        trial = _witness(exercise, misconception, trials)
        if trial:
            return _name(exercise, misconception, [("Seen on", _sighting(exercise, trial))])
    return None


def _witness(exercise: Exercise, misconception: Misconception, trials: list[Trial]) -> Trial | None:
    """If the answer makes this mistake on every case: the first case where that makes it wrong."""
    witness, loose = None, _loose(exercise)
    for trial, case in zip(trials, exercise.cases(), strict=True):
        wrong = attempt(exercise, misconception.wrong, case, 1, _limit(trial.right))
        if not _alike(trial.first, wrong, loose):
            return None
        if witness is None and not _alike(wrong, trial.right, loose):
            witness = trial
    return witness


def _raised(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for trial in trials:
        error = trial.first.error or trial.second.error
        if error:
            rows = [("Seen on", f"{trial.case.label} ({_inputs(exercise, trial.case)})")]
            line = _guilty_line(answer, error.__traceback__)
            rows += [("In the line", line)] * bool(line)
            return Verdict(exercise, "error", f"it raises {_first_line(error)}", tuple(rows))
    return None


def _random(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for trial in trials:
        if not _alike(trial.first, trial.second, exercise.tolerance):
            headline = "called twice with the same arguments, it gives two different results."
            row = ("Look for", "noise that it draws by itself, or something that it keeps from call to call")
            return Verdict(exercise, "random", headline, (row, ("Seen on", trial.case.label)))
    return None


def _differs(kinds: frozenset[str] | None) -> Look:
    """A look for the first difference of one of these kinds (None: of any)."""

    def look(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
        for trial in trials:
            difference = first_difference(trial.first.result, trial.right.result, exercise.tolerance)
            if difference and (kinds is None or difference.kind in kinds):
                rows = [("Seen on", _sighting(exercise, trial))]
                advice = _advice(difference)
                rows += [("Try", advice)] * bool(advice)
                return Verdict(exercise, difference.kind, _HEADLINE[difference.kind], tuple(rows))
        return None

    return look


def _ignores(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for position, name in enumerate(arguments(exercise, trials[0].case)):
        if _ignored(exercise, answer, trials, position):
            row = ("Seen on", _sighting(exercise, _first_wrong(exercise, trials)))
            return Verdict(exercise, "ignores", f"it gives the same result whatever `{name}` is.", (row,))
    return None


def _ignored(exercise: Exercise, answer: Any, trials: list[Trial], position: int) -> bool:
    """Whether changing this argument changes the right result, but never the answer's."""
    evidence = False
    for trial, case in itertools.islice(zip(trials, exercise.cases(), strict=True), 2):
        for value in _others(exercise, trials, case, position):
            changed = _with(exercise, case, position, value)
            right = attempt(exercise, exercise.reference, changed, 1)
            if right.error or _alike(right, trial.right, exercise.tolerance):
                continue
            mine = attempt(exercise, answer, changed, 1, _limit(right))
            if not _alike(mine, trial.first, exercise.tolerance):
                return False
            evidence = True
    return evidence


def _mutates(exercise: Exercise, answer: Any, trials: list[Trial]) -> Verdict | None:
    for trial in trials:
        if trial.first.changed:
            name = trial.first.changed[0]
            row = ("Look for", "operations in place, such as `x *= a`, `x[...] = a` or `x.add_(a)`")
            return Verdict(exercise, "mutates", f"it changes its argument `{name}`.", (row,))
    return None


_STRUCTURE = frozenset({"type", "shape", "dtype", "not finite"})
_HEADLINE = {
    "type": "the result is of the wrong type.",
    "shape": "the result has the wrong shape.",
    "dtype": "the result has the wrong dtype.",
    "not finite": "the result has a NaN or an infinity where a number belongs.",
    "precision": "right as far as float32 goes, but not in float64: precision is lost on the way.",
    "value": "the numbers differ.",
}
_ADVICE = {
    "None": "end the function with `return` and the result",
    "dtype": "end with `.to(torch.{want})`, or convert what goes into the result before",
    "not finite": "look for a division by zero, a root of a negative number, or the log of zero",
    "precision": "keep all arithmetic in float64, and convert only the end result",
}


def _advice(difference: Difference) -> str | None:
    """What to try for a difference of this kind."""
    text = _ADVICE["None"] if difference.got == "None" else _ADVICE.get(difference.kind)
    return text and text.format(want=difference.want)


Look = Callable[[Exercise, Any, list[Trial]], "Verdict | None"]
_LOOKS: tuple[Look, ...] = (
    _correct,
    _unfinished,
    _known,
    _raised,
    _random,
    _differs(_STRUCTURE),
    _ignores,
    _mutates,
    _differs(None),
)


def _judge_value(exercise: Exercise, answer: Any) -> Verdict:
    """For a value, the right one is not given away."""
    difference = first_difference(answer, resolve(exercise.reference), exercise.tolerance)
    if difference is None:
        return Verdict(exercise, "correct", "That is the answer.")
    for misconception in exercise.misconceptions:
        if first_difference(answer, resolve(misconception.wrong), exercise.tolerance) is None:
            return _name(exercise, misconception, [])
    if callable(answer) and difference.kind == "type":
        row = ("Hand over", "its result: put parentheses after its name")
        return Verdict(exercise, "type", "this is a function, and its value is wanted.", (row,))
    if difference.kind in ("type", "shape", "dtype"):
        row = ("Yours", f"{difference.where}{difference.got}, expected {difference.want}")
        return Verdict(exercise, difference.kind, _HEADLINE[difference.kind], (row,))
    side = {-1: ", which is too small", 0: "", 1: ", which is too large"}[difference.side]
    row = ("Yours", f"{difference.where}{difference.got}{side}")
    return Verdict(exercise, difference.kind, "not this.", (row,))


# ---------------------------------------------------------------------------------------------------
# The parts of a verdict.


def _not_attempted(exercise: Exercise) -> Verdict:
    stub = "" if exercise.is_value else " (no `raise` may be left in it)"
    row = ("Now", f"fill in the cell above{stub} and run both cells again")
    return Verdict(exercise, "not attempted", "not attempted yet.", (row,))


def _name(exercise: Exercise, misconception: Misconception, rows: list[tuple[str, str]]) -> Verdict:
    rows = [("The rule", misconception.breaks), *rows]
    rows += [("Read again", misconception.reread)] * bool(misconception.reread)
    return Verdict(exercise, "misconception", f"{misconception.name}.", tuple(rows), misconception)


def _asides(verdict: Verdict, trials: list[Trial]) -> Iterator[tuple[str, str]]:
    """What is worth a word beside the verdict: a changed argument, and what was printed."""
    if verdict.status == "not attempted":
        return
    outcome = next((trial.first for trial in trials if trial.first.changed), None)
    if outcome and verdict.status != "mutates":
        yield "Besides", f"it changes its argument `{outcome.changed[0]}`"
    printed = next((trial.first.printed for trial in trials if trial.first.printed.strip()), "")
    if printed:
        lines = printed.strip().splitlines()
        yield "Printed", f"{_count(len(lines), 'line')} in one call, beginning with: {_cut(lines[0], 60)}"


def _alike(one: Outcome, other: Outcome, tolerance: Tolerance) -> bool:
    """Both gave the same result, or raised the same error."""
    if one.error or other.error:
        return type(one.error) is type(other.error) and str(one.error) == str(other.error)
    return first_difference(one.result, other.result, tolerance) is None


def _loose(exercise: Exercise) -> Tolerance:
    """A mistake is recognised even if float32 arithmetic was used where float64 was possible."""
    rtol, atol = LOST_PRECISION
    return Tolerance(max(rtol, exercise.rtol or 0), max(atol, exercise.atol or 0))


def _first_wrong(exercise: Exercise, trials: list[Trial]) -> Trial:
    wrong = (trial for trial in trials if not _alike(trial.first, trial.right, exercise.tolerance))
    return next(wrong, trials[0])


def _sighting(exercise: Exercise, trial: Trial) -> str:
    """The case, and the first thing in which the answer differs there."""
    if trial.first.error:
        return f"{trial.case.label}: it raises {_first_line(trial.first.error)}"
    difference = first_difference(trial.first.result, trial.right.result, exercise.tolerance)
    if difference is None:
        return trial.case.label
    return f"{trial.case.label}: {difference.where}yours is {difference.got}, expected {difference.want}"


def _inputs(exercise: Exercise, case: Case) -> str:
    return ", ".join(f"{name}: {describe(value)}" for name, value in arguments(exercise, case).items())


def _guilty_line(answer: Any, trace: TracebackType | None) -> str:
    """The last line of the answer's own cell that the error came through; empty if it cannot be known."""
    answer = vars(answer).get("forward") if isinstance(answer, type) else answer  # a layer: what it does
    code = getattr(inspect.unwrap(answer), "__code__", None)
    line = ""
    while trace and code:
        if trace.tb_frame.f_code.co_filename == code.co_filename:
            line = linecache.getline(code.co_filename, trace.tb_lineno).strip()
        trace = trace.tb_next
    return line


def _is_empty(answer: Any) -> bool:
    """Whether a function has nothing in its body but a docstring, `pass` or dots."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    trivial = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS"}
    constants = {answer.__doc__, None, ...}
    does_nothing = all(step.opname in trivial for step in dis.get_instructions(code))
    return does_nothing and all(constant in constants for constant in code.co_consts)


def _others(exercise: Exercise, trials: list[Trial], case: Case, position: int) -> Iterator[Any]:
    """Other values for an argument: a tensor or number changed a little, or what another case has there."""
    value = list(arguments(exercise, case).values())[position]
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield 0.5 * value + 0.25
    elif isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        yield ~value
    elif isinstance(value, torch.Tensor):
        yield from (value.roll(1, 0) if value.ndim else value, (value - 1).clamp(min=1), value + 1)
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield 0.5 * value
    else:
        there = (list(arguments(exercise, trial.case).values())[position:][:1] for trial in trials)
        yield from (other[0] for other in there if other and type(other[0]) is type(value))


def _with(exercise: Exercise, case: Case, position: int, value: Any) -> Case:
    """The case with one argument replaced."""
    if position < len(case.args):
        return Case(case.label, *case.args[:position], value, *case.args[position + 1 :], **case.kwargs)
    name = list(arguments(exercise, case))[position]
    return Case(case.label, *case.args, **case.kwargs | {name: value})


def _first_line(error: Exception) -> str:
    """The error's type and the first line of its message."""
    message = (str(error).strip().splitlines() or [""])[0]
    return _cut(f"{type(error).__name__}: {message}" if message else type(error).__name__, 200)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
