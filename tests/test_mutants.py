"""Every check is tried on wrong answers that nobody thought of: its own solution with one thing changed.

Each mutant must be rejected, unless the change changes nothing. Those that change nothing are listed here, each with
the reason, so that a mutant that slips through a check is seen at once; so is an entry that no longer occurs.
"""

import ast
import time

import pytest

from ddpm_lite.exercises.engine import Case, Exercise
from ddpm_lite.exercises.registry import Registry
from tools import mutants
from tools.mutants import Solution, report

EXERCISES = [one for number in Registry().chapters() for one in Registry().chapter(number).values()]

LENDS = "the argument only lends its shape and dtype, which the other one shares"
SQUARED = "the difference is squared"
SYMMETRIC = "a Gaussian's log density is the same with point and mean exchanged"

# id: {what was changed: why it changes nothing}
EQUIVALENT = {
    "01.1": {"one less: 0 → -1": "β has one dimension, which is the first and the last"},
    "01.2": {"eps for xt_prev, line 3": LENDS, "eps for xt_prev, line 4": LENDS},
    "01.3": {"eps for x0, line 3": LENDS, "eps for x0, line 4": LENDS},
    "01.5": {"eps_hat for xt, line 3": LENDS, "eps_hat for xt, line 4": LENDS},
    "02.5": {
        "without dtype: torch.zeros(1, dtype=torch.float64) → torch.zeros(1)": "torch.cat gives the wider of the dtypes"
    },
    "03.2": {"xt for x0, line 9": LENDS, "xt for x0, line 10": LENDS},
    "03.3": {"eps for xt, line 4": LENDS},
    "03.4": {"eps_hat for xt, line 4": LENDS, "z for xt, line 4": LENDS},
    "03.5": {"images for xt, line 3": LENDS},
    "04.1": {
        "its two sides swapped: schedule.alpha_bar * s2 + 1 - schedule.alpha_bar → schedule.alpha_bar - "
        "(schedule.alpha_bar * s2 + 1)": "only the ratio of two of these is used, and both change their sign"
    },
    "04.2": {
        "two arguments swapped: log_normal(path[t], schedule.alpha[t].sqrt() * path[t - 1… → "
        "log_normal(schedule.alpha[t].sqrt() * path[t - 1], path[t…": SYMMETRIC,
        "two arguments swapped: log_normal(path[t - 1], mu_theta[t], sigma2[t]) → log_normal(mu_theta[t], path[t "
        "- 1], sigma2[t])": SYMMETRIC,
    },
    "04.3": {"its two sides swapped: mean1 - mean2 → mean2 - mean1": SQUARED},
    "04.4": {
        "another operator: (1 - kept) * one → (1 - kept) / one": "one is 1",
        "its right side left out: (1 - kept) * one → 1 - kept": "one is 1",
        "another operator: 0 * one → 0 / one": "one is 1",
        "its right side left out: 0 * one → 0": "a number goes with every shape",
    },
    "04.5": {"x0 for xt, line 7": LENDS, "mu_theta for xt, line 7": LENDS},
    "05.1": {"its two sides swapped: mu_tilde - mu_theta → mu_theta - mu_tilde": SQUARED},
    "05.3": {"its two sides swapped: eps - eps_model(xt, t) → eps_model(xt, t) - eps": SQUARED},
    "05.4": {
        "another comparison: x0 < -0.999 → x0 <= -0.999": "no grey level is at -0.999",
        "another comparison: x0 > 0.999 → x0 >= 0.999": "no grey level is at 0.999",
    },
    "05.5": {"eps for x0, line 3": LENDS, "eps for x0, line 4": LENDS},
    "05.6": {"v for xt, line 3": LENDS, "v for xt, line 4": LENDS},
    "06.2": {"its two sides swapped: eps - eps_model(xt, t) → eps_model(xt, t) - eps": SQUARED},
    "07.1": {
        "two arguments swapped: x.reshape(len(x), groups, -1, *x.shape[2:]) → x.reshape(groups, len(x), -1, "
        "*x.shape[2:])": "the numbers lie in the same order, and B · G groups are as many as G · B"
    },
    "07.4": {"one more: 1 → 2": "the windows of stride 2 end before a second row or column of zeros"},
    "08.2": {"its two sides swapped: number - 1 → 1 - number": "a cosine is the same for both signs"},
    "08.5": {
        "its two sides swapped: process.target(x0, t, eps, schedule, prediction) - model(… → "
        "model(xt, t) - process.target(x0, t, eps, schedule, predi…": SQUARED,
        "model for optimizer, line 10": "model.zero_grad() clears the gradients of the same parameters",
    },
    "09.15": {"one less: 0 → -1": "β has one dimension, which is the first and the last"},
    "10.1": {"x0 for xt, line 6": LENDS, "eps_hat for xt, line 6": LENDS},
    "10.3": {
        "its two sides swapped: cov_a @ cov_b → cov_b @ cov_a": "AB and BA have the same eigenvalues",
        "its two sides swapped: mean_a - mean_b → mean_b - mean_a": SQUARED,
    },
    "10.4": {
        "without dim: torch.cdist(real, real).sort(dim=1) → torch.cdist(real, real).sort()": "the last axis is the second"
    },
    "10.5": {
        "its two sides swapped: sample[:, None] - image[None] → image[None] - sample[:, None]": SQUARED,
        "the index left out: image[None] → image": "(N, D) broadcasts as (1, N, D) does",
    },
    "11.1": {"its two sides swapped: mu_tilde - mu_theta → mu_theta - mu_tilde": SQUARED},
    "11.3": {"its two sides swapped: x0_hat.clamp(-1, 1) - x0 → x0 - x0_hat.clamp(-1, 1)": SQUARED},
    "11.4": {
        "its two sides swapped: x - mean_p → mean_p - x": SQUARED,
        "its two sides swapped: x - mean_q → mean_q - x": SQUARED,
        "one less: 0 → -1": "the weights have one dimension, which is the first and the last",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_every_mutant_is_rejected_unless_it_changes_nothing(exercise, record_property):
    done = report(exercise)
    record_property("mutants", f"{done.count} made, {done.rejected} rejected, {done.named} named")
    assert done.count >= 2
    assert set(done.passed) == set(EQUIVALENT.get(exercise.id, {}))


def test_no_entry_belongs_to_an_exercise_that_is_gone():
    assert set(EQUIVALENT) <= {exercise.id for exercise in EXERCISES}


SOURCE = '''
def shrink(x, t, schedule):
    """sqrt(alpha_bar_t) x, less one."""
    factor = schedule.alpha_bar[t].sqrt()
    return factor[:, None] * x - 1.0
'''


def of(source: str, name: str = "shrink") -> Solution:
    """A solution that needs nothing around it."""
    exercise = Exercise(id="99.1", title="", reference=None, cases=lambda: [Case("none")])
    return Solution(exercise, name, (), tuple(ast.parse(source).body))


def test_the_classic_mistakes_are_among_the_mutants():
    made = {" ".join(ast.unparse(one.answer[0]).split()) for one in mutants.mutants(of(SOURCE))}
    for mistake in (
        "schedule.alpha[t].sqrt()",  # one step for all steps
        "schedule.beta[t].sqrt()",
        "factor = schedule.alpha_bar[t] ",  # a root left out
        "schedule.alpha_bar[t - 1].sqrt()",  # off by one
        "return factor * x",  # a wrong broadcast
        "x + 1.0",  # a sign
        "1.0 - factor[:, None] * x",
        "* t - 1.0",  # another argument
        "- 2.0",
    ):
        assert any(mistake in one for one in made), mistake
    assert not any("less two" in one for one in made), "a docstring is no part of what is computed"


def test_no_mutant_is_the_solution_or_there_twice():
    one = of(SOURCE)
    made = [ast.unparse(mutant.answer[0]) for mutant in mutants.mutants(one)]
    assert ast.unparse(one.answer[0]) not in made
    assert len(set(made)) == len(made)


def test_each_solution_runs_without_its_notebook_and_is_right():
    for exercise in EXERCISES:
        one = mutants.solution(exercise)
        assert mutants.judge(exercise, one.run()).correct, exercise.id


def test_mutant_without_an_end_is_stopped(monkeypatch):
    monkeypatch.setattr(mutants, "SECONDS", 0.2)
    one = of("def shrink(x):\n    while True:\n        pass\n")
    start = time.monotonic()
    with pytest.raises(mutants.TooLong), mutants.at_most(mutants.SECONDS):
        one.run()(1)
    assert time.monotonic() - start < 30
    assert (
        mutants.verdict(
            of("while True:\n    pass\n"), mutants.Mutant("", tuple(ast.parse("while True: pass").body))
        )
        is None
    )


def test_exercise_that_its_chapter_does_not_check_is_named():
    with pytest.raises(LookupError, match=r"01_forward_process\.py has no line"):
        mutants.solution(Exercise(id="01.99", title="", reference=None))


def test_table_counts_and_lists_what_passed(capsys):
    assert mutants.main(["01.1"]) == 0
    out = capsys.readouterr().out
    assert "01.1            9         8" in out
    assert "01.1 takes for right: one less: 0 → -1" in out
