"""Exercises that answer back: every verdict on synthetic exercises, and an audit of the real ones."""

import dataclasses
import functools
import random
import re
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch

from ddpm_lite.exercises import ExerciseError, UnknownExerciseError, cards, check, hint
from ddpm_lite.exercises import registry as registry_module
from ddpm_lite.exercises.audit import audit
from ddpm_lite.exercises.compare import Tolerance, Yielded, describe, first_difference, tensors_in
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, judge, rand, randn
from ddpm_lite.exercises.registry import Registry

# ---------------------------------------------------------------------------------------------------
# A synthetic exercise, in the likeness of q_sample: sqrt(a_t) x + sqrt(1 - a_t) e.


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Stands for a schedule: cases share it, and it computes something that it keeps."""

    a: torch.Tensor

    @functools.cached_property
    def root(self) -> torch.Tensor:
        return self.a.sqrt()


TABLE = Table(torch.tensor([1.0, 0.9999, 0.9, 0.8, 0.7, 0.6, 0.48, 0.4, 0.3, 0.2, 0.01], dtype=torch.float64))


def mix(x, t, e, table):
    """The right answer."""
    a = table.a[t].view(-1, *[1] * (x.ndim - 1))
    return a.sqrt().to(x.dtype) * x + (1 - a).sqrt().to(x.dtype) * e


def variance_for_deviation(x, t, e, table):
    a = table.a[t].view(-1, *[1] * (x.ndim - 1))
    return (a.sqrt() * x + (1 - a) * e).to(x.dtype)


def one_too_early(x, t, e, table):
    return mix(x, t - 1, e, table)


def no_view(x, t, e, table):
    a = table.a[t]
    return (a.sqrt() * x + (1 - a).sqrt() * e).to(x.dtype)


def cases():
    kinds = [((4, 1, 6, 6), torch.float32), ((3, 2, 5, 4), torch.float64)]
    for seed, (shape, dtype) in enumerate(kinds):
        t = torch.tensor([1, 5, 10, 2][: shape[0]])
        yield Case(
            f"{shape[0]} images, {dtype}",
            rand(*shape, seed=seed, dtype=dtype),
            t,
            randn(*shape, dtype=dtype),
            TABLE,
        )
    x, e = rand(4, 3, 2, seed=5).transpose(0, 1), randn(4, 3, 2, seed=6).transpose(0, 1)
    yield Case("not contiguous", x, torch.tensor([3, 4, 5]), e, TABLE)


VARIANCE = Misconception(
    "the variance used as a deviation", "x_t = √a x + √(1 − a) e", variance_for_deviation, "Mixing"
)
EARLY = Misconception("t − 1 for t", "a_t, not a_{t−1}", one_too_early)
NO_VIEW = Misconception("a (B,) that meets the last axis", "a_t belongs to an image", no_view)
MIX = Exercise("50.1", "mix", mix, cases, (VARIANCE, EARLY, NO_VIEW), ("Two terms.", "Roots."))
HALF = Exercise(
    "50.2",
    "the first t below one half",
    lambda: int((TABLE.a < 0.5).nonzero()[0]),
    misconceptions=(
        Misconception("the last t above", "a_t < 1/2", lambda: int((TABLE.a < 0.5).nonzero()[0]) - 1),
    ),
    hints=("Look it up.",),
)


@pytest.fixture(autouse=True)
def synthetic(monkeypatch):
    """A registry that knows chapter 50, besides the real ones; no strict switch from outside."""
    monkeypatch.delenv("DDPM_LITE_STRICT", raising=False)
    own = Registry()
    own.add("50", (MIX, HALF))
    monkeypatch.setattr(registry_module, "registry", own)
    return own


# ---------------------------------------------------------------------------------------------------
# Verdicts on functions.


def stub(x, t, e, table):
    """Mix."""
    # YOUR CODE HERE
    raise NotImplementedError()


def emptied(x, t, e, table):
    """Mix."""


def only_dots(x, t, e, table): ...


def raises(x, t, e, table):
    y = x @ e.new_zeros(99, 99)
    return y


def raises_late(x, t, e, table):
    return mix(x, t, e, table) if x.ndim == 4 else table.b


def returns_nothing(x, t, e, table):
    mix(x, t, e, table)


def as_array(x, t, e, table):
    return mix(x, t, e, table).numpy()


def summed(x, t, e, table):
    return mix(x, t, e, table).sum()


def promoted(x, t, e, table):
    return mix(x.double(), t, e.double(), table)


def infinite(x, t, e, table):
    return mix(x, t, e, table) / (t - t).view(-1, *[1] * (x.ndim - 1))


def own_noise(x, t, e, table):
    return mix(x, t, torch.randn_like(e), table)


def numpy_noise(x, t, e, table):
    return mix(x, t, torch.as_tensor(np.random.randn(*x.shape)).to(x.dtype), table)  # noqa: NPY002


def coin(x, t, e, table):
    return mix(x, t, e, table) * random.choice([1.0, 2.0, 3.0, 4.0])


def without_noise(x, t, e, table):
    return mix(x, t, torch.zeros_like(e), table)


def own_table(x, t, e, table):
    return mix(x, torch.full_like(t, 5), e, table)


def in_place(x, t, e, table):
    a = table.a[t].view(-1, *[1] * (x.ndim - 1))
    x *= a.sqrt().to(x.dtype)
    x += (1 - a).sqrt().to(x.dtype) * e
    return x


def spoils_the_table(x, t, e, table):
    out = mix(x, t, e, table)
    table.a.mul_(0.5)
    return out


def spoils_what_the_table_keeps(x, t, e, table):
    table.root[0] = 7.0
    return mix(x, t, e, table)


def single_precision(x, t, e, table):
    return mix(x, t, e, Table(table.a.float())).to(x.dtype)


def a_little_off(x, t, e, table):
    return 1.001 * mix(x, t, e, table)


def drops_gradient(x, t, e, table):
    return mix(x.clone().requires_grad_(), t, e, table)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (mix, "correct", "agrees with the package's own on 3 cases"),
        (drops_gradient, "correct", "3 cases"),
        (stub, "not attempted", "not attempted yet"),
        (emptied, "not attempted", "not attempted yet"),
        (only_dots, "not attempted", "not attempted yet"),
        (None, "not attempted", "not attempted yet"),
        (..., "not attempted", "not attempted yet"),
        (variance_for_deviation, "misconception", "the variance used as a deviation."),
        (one_too_early, "misconception", "t − 1 for t."),
        (no_view, "misconception", "a (B,) that meets the last axis."),
        (raises, "error", "it raises RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (raises_late, "error", "'Table' object has no attribute 'b'"),
        (returns_nothing, "type", "yours is None, expected a tensor"),
        (as_array, "type", "yours is a NumPy array of shape (4, 1, 6, 6), expected a tensor"),
        (torch.zeros(3), "type", "this is (3,) float32, and a function is wanted"),
        (summed, "shape", "yours is (), expected (4, 1, 6, 6)"),
        (promoted, "dtype", "yours is float64, expected float32"),
        (infinite, "not finite", "a NaN or an infinity"),
        (own_noise, "random", "it gives two different results"),
        (numpy_noise, "random", "it gives two different results"),
        (coin, "random", "it gives two different results"),
        (without_noise, "ignores", "the same result whatever `e` is"),
        (own_table, "ignores", "the same result whatever `t` is"),
        (in_place, "mutates", "it changes its argument `x`"),
        (spoils_the_table, "mutates", "it changes its argument `table.a`"),
        (spoils_what_the_table_keeps, "mutates", "it changes its argument `table.root`"),
        (single_precision, "precision", "right as far as float32 goes, but not in float64"),
        (a_little_off, "value", "the numbers differ"),
    ],
)
def test_verdict(answer, status, text):
    before = TABLE.a.clone(), TABLE.root.clone()
    verdict = judge(MIX, answer)
    assert verdict.status == status
    assert text in cards.of_verdict(verdict).text()
    assert verdict.correct is (status == "correct")
    assert torch.equal(TABLE.a, before[0])  # what cases share is mended
    assert torch.equal(TABLE.root, before[1])


def test_misconception_is_named_with_its_line_of_maths_the_number_and_where_to_read():
    verdict = judge(MIX, variance_for_deviation)
    assert verdict.misconception is VARIANCE
    rows = dict(verdict.rows)
    assert rows["The rule"] == "x_t = √a x + √(1 − a) e"
    assert rows["Read again"] == "Mixing"
    assert re.fullmatch(
        r"4 images, torch.float32: at \[\d, 0, \d, \d\]: yours is -?\d\.\d{4}, expected -?\d\.\d{4}",
        rows["Seen on"],
    )


def test_number_that_is_shown_is_the_one_furthest_off():
    def hardly_and_far_off(x, t, e, table):
        y = mix(x, t, e, table).flatten()
        y[0] += 0.001
        y[-1] += 0.5
        return y.reshape(x.shape)

    assert "at [3, 0, 5, 5]: " in dict(judge(MIX, hardly_and_far_off).rows)["Seen on"]


def test_advice_on_a_dtype_names_the_one_that_is_wanted():
    cases = lambda: iter([Case("3 bytes", torch.arange(3, dtype=torch.uint8))])  # noqa: E731
    halves = Exercise("50.9", "halves", lambda x: x.double() / 2, cases)
    assert ".to(torch.float64)" in dict(judge(halves, lambda x: x / 2).rows)["Try"]


def test_function_that_was_lent_is_not_taken_for_an_answer(capsys):
    lent = check("50.1", lambda x, t, e, table: x)
    assert lent is mix
    assert check("50.1", lent) is mix
    assert "not right yet" in capsys.readouterr().out.partition("lent before")[0]
    assert check("50.1", lambda *args: mix(*args)) is not mix  # the learner's own, and right
    assert "correct" in capsys.readouterr().out


def test_value_that_was_lent_is_not_taken_for_an_answer(capsys):
    lent = check("09.4", ...)
    check("09.4", lent)
    assert "the package's own answer, lent before" in capsys.readouterr().out
    check("09.4", dict(lent))  # the learner's own, and right
    assert "correct" in capsys.readouterr().out


def test_misconception_in_single_precision_is_still_recognised():
    def lossy(x, t, e, table):
        return variance_for_deviation(x, t, e, Table(table.a.float()))

    assert judge(MIX, lossy).misconception is VARIANCE


def test_similar_mistake_is_not_taken_for_a_misconception():
    def other(x, t, e, table):
        return 1.01 * variance_for_deviation(x, t, e, table)

    assert judge(MIX, other).status == "value"


def test_error_shows_the_inputs_and_the_learners_line_and_no_traceback():
    verdict = judge(MIX, raises)
    rows = dict(verdict.rows)
    assert rows["In the line"] == "y = x @ e.new_zeros(99, 99)"
    assert (
        "(x: (4, 1, 6, 6) float32, t: (4,) int64, e: (4, 1, 6, 6) float32, table: a Table)" in rows["Seen on"]
    )
    assert "Traceback" not in cards.of_verdict(verdict).text()


class Wide(torch.nn.Module):
    """The right answer, in the likeness of a layer."""

    def forward(self, x, t, e, table):
        return mix(x, t, e, table)


class RaisingLayer(Wide):
    def forward(self, x, t, e, table):
        y = x @ e.new_zeros(99, 99)
        return y


def test_error_in_a_layer_shows_the_line_of_its_forward():
    exercise = dataclasses.replace(
        MIX, reference=Wide, misconceptions=(), run=lambda cls, *inputs: cls()(*inputs)
    )
    assert judge(exercise, Wide).correct
    assert dict(judge(exercise, RaisingLayer).rows)["In the line"] == "y = x @ e.new_zeros(99, 99)"

    class Inherits(Wide):
        def __init__(self):
            raise ValueError("no layers here")

    verdict = judge(exercise, Inherits)
    assert verdict.status == "error"
    assert "In the line" not in dict(verdict.rows)


def test_printing_is_reported_and_not_spilled(capsys):
    def chatty(x, t, e, table):
        print("a =", 1)
        print("warning", file=sys.stderr)
        return mix(x, t, e, table)

    verdict = judge(MIX, chatty)
    assert verdict.correct
    assert ("Printed", "2 lines in one call, beginning with: a = 1") in verdict.rows
    assert capsys.readouterr() == ("", "")


def test_changed_argument_is_a_word_beside_another_mistake():
    def both(x, t, e, table):
        out = variance_for_deviation(x, t, e, table)
        x.zero_()
        return out

    verdict = judge(MIX, both)
    assert verdict.misconception is VARIANCE
    assert ("Besides", "it changes its argument `x`") in verdict.rows


def test_global_generators_are_left_as_they_were():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    judge(MIX, own_noise)
    judge(MIX, numpy_noise)
    judge(MIX, coin)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_state_kept_from_call_to_call_is_found():
    calls = []

    def counting(x, t, e, table):
        calls.append(1)
        return mix(x, t, e, table) * len(calls)

    assert judge(MIX, counting).status == "random"


def test_fault_of_the_exercise_is_not_blamed_on_the_learner():
    broken = dataclasses.replace(MIX, reference=raises)
    with pytest.raises(RuntimeError, match="mat1"):
        judge(broken, mix)


def test_small_differences_are_shown_with_the_digits_that_differ():
    text = dict(judge(MIX, lambda x, t, e, table: mix(x, t, e, table) * (1 + 2e-4)).rows)["Seen on"]
    mine, right = re.search(r"yours is (\S+), expected (\S+)", text).groups()
    assert mine != right


# ---------------------------------------------------------------------------------------------------
# Verdicts on values.


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (6, "correct", "That is the answer."),
        (6.0, "correct", ""),
        (torch.tensor(6), "correct", ""),
        (np.int64(6), "correct", ""),
        (None, "not attempted", ""),
        (..., "not attempted", ""),
        (5, "misconception", "the last t above"),
        (9, "value", "9, which is too large"),
        (-2, "value", "-2, which is too small"),
        (float("nan"), "not finite", "nan"),
        ("six", "type", "a str, expected a number"),
        (True, "type", "a bool, expected a number"),
        (torch.zeros(3), "type", "a tensor of shape (3,), expected a number"),
        (lambda: 6, "type", "put parentheses after its name"),
    ],
)
def test_verdict_on_a_number(answer, status, text):
    verdict = judge(HALF, answer)
    assert verdict.status == status
    assert text in cards.of_verdict(verdict).text()


@pytest.mark.parametrize(
    ("right", "good", "wrong"),
    [
        ("b", [" B "], ["a", 2]),
        (True, [True, torch.tensor(True)], [False, 1]),
        (0.0064, [0.00640001], [0.0063, 0]),
        (torch.tensor([1.0, 2.0]), [torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 3.0]), [1.0, 2.0]]),
        (["x", 2], [["x", 2], ("x", 2)], [["x"], ["x", 3]]),
        ({"a": 1}, [{"a": 1}], [{"a": 2}, {"b": 1}, 3]),
    ],
)
def test_values_of_every_kind(right, good, wrong):
    exercise = Exercise("50.3", "value", right)
    assert all(judge(exercise, answer).correct for answer in good)
    assert not any(judge(exercise, answer).correct for answer in wrong)


def test_right_value_is_not_given_away():
    exercise = Exercise("50.3", "value", 271828)
    for answer in (3, -1.5, "x", 999999):
        assert "271828" not in cards.of_verdict(judge(exercise, answer)).text()


# ---------------------------------------------------------------------------------------------------
# Generators, containers, classes.


class Step(typing.NamedTuple):
    t: int
    xt: torch.Tensor


def countdown(x, T):
    for t in range(T, 0, -1):
        yield Step(t, x * t)


def chain_cases():
    yield Case("3 steps", rand(2, 2), 3)
    yield Case("5 steps", rand(2, 2, seed=1, dtype=torch.float64), 5)


CHAIN = Exercise("50.4", "countdown", countdown, chain_cases)


def one_step_short(x, T):
    yield from list(countdown(x, T))[:-1]


def endless(x, T):
    yield from countdown(x, T)
    while True:
        yield Step(0, x)


def wrong_at_the_end(x, T):
    yield from list(countdown(x, T))[:-1]
    yield Step(1, x + 1)


def one_tensor_for_all(x, T):
    y = x.clone()
    for t in range(T, 0, -1):
        y.copy_(x * t)
        yield Step(t, y)


def fails_at_the_end(x, T):
    yield from countdown(x, T)
    raise IndexError("beyond the end")


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (countdown, "correct", ""),
        (lambda x, T: iter(list(countdown(x, T))), "correct", ""),
        (lambda x, T: (tuple(step) for step in countdown(x, T)), "correct", ""),
        (lambda x, T: list(countdown(x, T)), "type", "yours is a list, expected a generator"),
        (one_step_short, "shape", "yours is yields 2, expected yields 3"),
        (endless, "shape", "yours is yields 4 or more, expected yields 3"),
        (wrong_at_the_end, "value", "3 steps: yield 2.xt, at [0, 0]: "),
        (one_tensor_for_all, "value", "yield 0.xt"),
        (fails_at_the_end, "error", "IndexError: beyond the end"),
    ],
)
def test_verdict_on_a_generator(answer, status, text):
    verdict = judge(CHAIN, answer)
    assert verdict.status == status
    assert text in cards.of_verdict(verdict).text()


def test_class_is_run_as_the_exercise_says():
    def forward(cls, x):
        return cls(2)(x)

    class Right(torch.nn.Module):
        def __init__(self, k):
            super().__init__()
            self.k = k

        def forward(self, x):
            return self.k * x

    class Wrong(Right):
        def forward(self, x):
            return self.k + x

    exercise = Exercise("50.5", "a layer", Right, lambda: [Case("one", rand(2, 3))], run=forward)
    assert judge(exercise, Right).correct
    assert judge(exercise, Wrong).status == "value"


def test_own_generator_is_no_fault():
    def noise(shape, generator):
        return torch.randn(shape, generator=generator)

    exercise = Exercise(
        "50.6", "noise", noise, lambda: [Case("seed 0", (2, 3), torch.Generator().manual_seed(0))]
    )
    assert judge(exercise, noise).correct
    assert judge(exercise, lambda shape, generator: torch.randn(shape)).status == "random"


@pytest.mark.parametrize(
    ("got", "want", "kind", "where"),
    [
        ((torch.ones(2), 1.0), (torch.ones(2), 2.0), "value", "item 1: "),
        (Table(torch.ones(2)), Table(torch.zeros(2)), "value", ".a, at [0]: "),
        ({"k": [1, 2]}, {"k": [1, 3]}, "value", "['k'] item 1: "),
        ({"k": 1}, {"j": 1}, "shape", ""),
        ((1,), (1, 2), "shape", ""),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "value", "at [1]: "),
        (np.ones(2), np.zeros(2), "value", "at [0]: "),
        (Yielded((1,)), Yielded((2,)), "value", "yield 0: "),
        (3, Table(torch.ones(1)), "type", ""),
        (len, max, "value", ""),
    ],
)
def test_first_difference(got, want, kind, where):
    difference = first_difference(got, want, Tolerance())
    assert (difference.kind, difference.where) == (kind, where)
    assert first_difference(want, want, Tolerance()) is None


def test_no_text_has_an_address():
    things = [
        object(),
        len,
        Table(torch.ones(1)),
        lambda: 0,
        [1],
        (1, 2),
        torch.ones(2),
        np.ones(2),
        None,
        "x",
    ]
    texts = [describe(thing) for thing in things]
    texts += [str(first_difference(thing, 1.0, Tolerance())) for thing in things]
    assert not [text for text in texts if "0x" in text]


def test_tensors_are_found_in_everything():
    x = torch.ones(1)
    thing = {"a": [x, (x,)], "b": Table(x), "c": np.ones(2), "d": "text"}
    assert [path for path, _ in tensors_in(thing)] == ["['a'][0]", "['a'][1][0]", "['b'].a", "['c']"]


# ---------------------------------------------------------------------------------------------------
# check and hint.


def test_right_answer_is_handed_back(capsys):
    mine = functools.partial(mix)
    assert check("50.1", mine) is mine
    assert capsys.readouterr().out.startswith("✓ Exercise 50.1, mix: correct.\n")


@pytest.mark.parametrize("answer", [stub, variance_for_deviation, raises, None])
def test_unless_right_the_packages_own_is_handed_back_and_said_so(answer, capsys):
    assert check("50.1", answer) is mix
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("The package's own function is used from here on.")
    assert first[0] in "✗○"


def test_value_goes_on_with_the_right_one(capsys):
    assert check("50.2", ...) == 6
    assert check("50.2", torch.tensor(6)).item() == 6
    assert "The package's own answer is used" in capsys.readouterr().out


def test_strict_switch_raises_with_the_verdict(monkeypatch, capsys):
    monkeypatch.setenv("DDPM_LITE_STRICT", "1")
    with pytest.raises(ExerciseError, match="the variance used as a deviation"):
        check("50.1", variance_for_deviation)
    with pytest.raises(ExerciseError, match="not attempted"):
        check("50.2", ...)
    assert capsys.readouterr().out == ""
    assert check("50.1", mix) is mix
    monkeypatch.setenv("DDPM_LITE_STRICT", "0")
    assert check("50.1", variance_for_deviation) is mix


def test_hints_come_one_at_a_time_then_it_says_so_and_begins_again(capsys):
    lines = []
    for _ in range(4):
        hint("50.1")
        lines.append(capsys.readouterr().out)
    assert "hint 1 of 2" in lines[0]
    assert "Two terms." in lines[0]
    assert "Roots." not in lines[0]
    assert "hint 2 of 2" in lines[1]
    assert "That was" in lines[2]
    assert "the last hint" in lines[2]
    assert lines[3] == lines[0]
    hint("50.2")
    assert "hint 1 of 1" in capsys.readouterr().out


def test_exercise_without_hints(synthetic, capsys):
    synthetic.add("51", (Exercise("51.1", "x", 1),))
    hint("51.1")
    hint("51.1")
    assert capsys.readouterr().out.count("no hints") == 2
    check("51.1", 2)
    assert "Stuck?" not in capsys.readouterr().out


def test_unknown_exercise_names_ids_that_are_near(monkeypatch):
    monkeypatch.setattr(Registry, "chapters", lambda self: ["50"])
    for call in (hint, lambda id_: check(id_, mix)):
        with pytest.raises(
            UnknownExerciseError, match=r"no exercise '50\.7'\. Near it: 50\.[12], 50\.[12]\."
        ):
            call("50.7")
        with pytest.raises(UnknownExerciseError, match=r"no exercise '5O\.1'\. Near it: 50\.1"):
            call("5O.1")
        with pytest.raises(UnknownExerciseError, match=r"no exercise 'mix'"):
            call("mix")


def test_ids_belong_to_their_chapter_and_are_there_once():
    with pytest.raises(ValueError, match=r"'50\.1' must begin with '51\.'"):
        Registry().add("51", (MIX,))
    with pytest.raises(ValueError, match="once"):
        Registry().add("50", (MIX, MIX))


def test_chapters_are_read_only_when_asked_for():
    code = (
        "import sys; from ddpm_lite.exercises import check\n"
        "print([name for name in sys.modules if name.startswith('ddpm_lite.exercises.ch')])\n"
        "print('IPython' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[0] == "[]"


# ---------------------------------------------------------------------------------------------------
# Cards.


def test_card_in_a_notebook_has_both_forms_and_can_be_compared(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    for _ in range(2):
        check("50.1", variance_for_deviation)
    (first, raw), (second, _) = shown
    assert raw
    assert first == second
    assert set(first) == {"text/plain", "text/html"}


def test_html_is_for_everyone():
    verdict = judge(dataclasses.replace(MIX, title="a < b & c"), variance_for_deviation)
    html = cards.of_verdict(verdict).html()
    assert '<div role="status"' in html
    assert "a &lt; b &amp; c" in html
    assert "✗" in html
    assert "not right yet" in html
    assert re.findall(r"#[0-9A-Fa-f]{6}", html) == [cards.VERMILLION]
    assert "background" not in html  # text and ground are the page's own, on light and dark alike
    assert not re.search(r"[^-]color:", html)


def test_edges_stand_out_on_light_and_on_dark():
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in (cards.GREEN, cards.VERMILLION, cards.BLUE, cards.PURPLE):
        for ground in ("#ffffff", "#111111"):  # JupyterLab's two
            light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 2.9, (colour, ground)


# ---------------------------------------------------------------------------------------------------
# The audit, and what it says of the real exercises.


def test_audit_finds_nothing_wrong_with_a_good_exercise():
    assert audit(MIX) == []
    assert audit(HALF) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hints": ()}, "no hints"),
        ({"title": " "}, "no title"),
        ({"misconceptions": (dataclasses.replace(EARLY, breaks=""),)}, "lacks its name or the line"),
        (
            {"misconceptions": (Misconception("same", "x", mix),)},
            "no case tells 'same' from the right answer",
        ),
        (
            {"misconceptions": (EARLY, dataclasses.replace(EARLY, name="twin"))},
            "'twin' is taken for 't − 1 for t'",
        ),
        ({"reference": own_noise}, "its own reference does not pass"),
        ({"cases": lambda: list(cases())[:1]}, "fewer than two cases"),
        ({"cases": lambda: list(cases())[::2]}, "not in float32 and in float64"),
        ({"cases": lambda: list(cases())[:2]}, "none of its images is non-contiguous"),
    ],
)
def test_audit_finds(change, fault):
    assert any(fault in found for found in audit(dataclasses.replace(MIX, **change)))


def test_audit_finds_slow_checks(monkeypatch):
    monkeypatch.setattr("ddpm_lite.exercises.audit.SECONDS", 0.0)
    assert any("over 0 s" in found for found in audit(MIX))


REAL = [exercise for number in Registry().chapters() for exercise in Registry().chapter(number).values()]


@pytest.mark.parametrize("exercise", REAL, ids=lambda exercise: exercise.id)
def test_every_exercise_passes_the_audit(exercise):
    assert audit(exercise) == []
