"""The harness of benchmarks/: its arithmetic, by hand; never a timed assertion."""

import itertools

import pytest
import torch

from benchmarks import measure


def test_tasks_take_turns_and_every_other_round_goes_backwards():
    seen = []
    tasks = {name: (lambda name=name: seen.append(name)) for name in "ABC"}
    timings = measure.interleave(tasks, rounds=4, warmup=1)
    assert "".join(seen) == "ABC" + "ABC" + "CBA" + "ABC" + "CBA"
    assert all(len(timings[name].wall) == len(timings[name].cpu) == 4 for name in "ABC")


def test_each_clock_is_charged_to_the_task_that_ran():
    now = {"wall": 0.0, "cpu": 0.0}

    def task(wall, cpu):
        def run():
            now["wall"] += wall
            now["cpu"] += cpu
        return run

    clocks = (lambda: now["wall"]), (lambda: now["cpu"])
    timings = measure.interleave({"a": task(3, 1), "b": task(8, 2)}, rounds=3, clocks=clocks)
    assert timings["a"] == measure.Timing([3, 3, 3], [1, 1, 1])
    assert timings["b"] == measure.Timing([8, 8, 8], [2, 2, 2])


def test_the_time_limit_ends_the_rounds_but_not_before_three():
    wall = itertools.count()  # a clock that moves on by one at every look
    clocks = (lambda: float(next(wall))), (lambda: 0.0)
    assert len(measure.interleave({"a": int}, rounds=100, seconds=0, clocks=clocks)["a"].wall) == 3
    assert 3 < len(measure.interleave({"a": int}, rounds=100, seconds=30, clocks=clocks)["a"].wall) < 100


@pytest.mark.parametrize(("tasks", "rounds"), [({}, 5), ({"a": int}, 2)])
def test_interleave_refuses_what_has_no_median(tasks, rounds):
    with pytest.raises(ValueError, match="at least one task and three rounds"):
        measure.interleave(tasks, rounds)


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians():
    r = measure.ratio(other=[2, 20, 300], ours=[1, 100, 100])  # 2, 0.2, 3; the ratio of medians would be 0.2
    assert r.median == 2
    assert (r.low, r.high) == pytest.approx((1.1, 2.5))
    assert str(r) == "2.00× (1.10–2.50)"


def test_a_busy_spell_that_hits_both_leaves_the_ratio_alone():
    slow = [1, 1, 7, 9, 1]
    assert measure.ratio([2 * s for s in slow], [1.0 * s for s in slow]) == measure.Ratio(2, 2, 2)


@pytest.mark.parametrize(("other", "ours"), [([1, 2], [1, 2, 3]), ([1], [1]), ([], [])])
def test_ratio_refuses_unequal_rounds(other, ours):
    with pytest.raises(ValueError, match="equally many rounds"):
        measure.ratio(other, ours)


def test_flops_of_a_product_a_convolution_and_attention():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert measure.flops(lambda: a @ b) == 2 * 3 * 5 * 7
    conv, x = torch.nn.Conv2d(2, 4, 3, padding=1, bias=False), torch.ones(1, 2, 8, 8)
    assert measure.flops(lambda: conv(x)) == 2 * 8 * 8 * 2 * 4 * 9
    q = torch.ones(1, 1, 6, 4)  # q k^T and its product with v: 2 * 6 * 6 * 4 each
    assert measure.flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 6 * 6 * 4


def test_has_bf16_answers_on_any_machine():
    assert measure.has_bf16() in (True, False)
