"""The harness of benchmarks/: its arithmetic, by hand; never a timed assertion."""

import dataclasses
import itertools
import subprocess
import sys

import pytest
import torch

from benchmarks import measure, memory, models, peak, recipes, report, slider, threads, training
from benchmarks.__main__ import main, settings
from ddpm_lite import results


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
    assert (
        measure.flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 6 * 6 * 4
    )


def test_has_bf16_answers_on_any_machine():
    assert measure.has_bf16() in (True, False)


def test_a_table_is_markdown_with_its_notes_once():
    table = report.Table("Title", "What it is.", ("a", "b"), [["1", "2"]], ["a note", "a note"])
    assert table.markdown() == "## Title\n\nWhat it is.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n- a note\n"


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="3 cells for 2 columns"):
        report.Table("Title", "", ("a", "b"), [["1", "2", "3"]]).markdown()


def test_times_are_shown_in_milliseconds_and_ours_is_one():
    ours, other = (
        measure.Timing([0.001, 0.002, 0.004], [0.001] * 3),
        measure.Timing([0.002, 0.004, 0.008], [0.003] * 3),
    )
    assert report.timing_cells(ours, ours) == ["2.00", "1.00", "1", "1", "3"]
    assert report.timing_cells(other, ours) == ["4.00", "3.00", "2.00× (2.00–2.00)", "3.00× (3.00–3.00)", "3"]


@pytest.mark.parametrize(
    ("before", "after", "busy"),
    [(0.1, 1.0, False), (0.1, 1.9, False), (1.5, 1.0, True), (0.1, 2.5, True)],
)
def test_a_busy_machine_is_told_from_the_run_itself(before, after, busy):
    assert ("busy with other work" in report.busy(before, after, threads=1, cores=2)) is busy


def test_share_of_peak_by_hand():
    seconds = {
        "product": 2 * 1024**3 / 100e9,
        "convolution": 1.0,
    }  # the product is the better of the two: 100 GFLOP/s
    timings = {f"peak float32 {kind}": measure.Timing([9, 9], [s, 2 * s]) for kind, s in seconds.items()}
    step = measure.Timing([9, 9, 9], [0.1, 0.2, 0.3])
    assert peak.share(10**10, step, timings, bf16=False) == "50%"


class Step:
    """A worker that stands in for a process."""

    def __init__(self, choice, size, count):
        assert (size, count) == ("0.28 M", 2)
        self.cost, self.spent, self.closed = 1 + list(threads.CHOICES).index(choice), 0.0, False

    def __call__(self):
        self.spent += self.cost

    def close(self):
        self.closed = True


def test_each_choice_of_threads_is_charged_what_its_own_process_spent(monkeypatch):
    monkeypatch.setattr(threads, "Worker", Step)
    (table,) = threads.run(settings(["threads", "--quick"]))
    assert [row[1] for row in table.rows] == ["nothing"] * 3 + ["a busy program"] * 3
    assert [row[4] for row in table.rows] == ["1000.00", "2000.00", "3000.00"] * 2
    assert [row[6].split("×")[0] for row in table.rows] == ["1", "2.00", "3.00"] * 2


def test_a_worker_has_the_threads_it_was_given_and_takes_steps_until_it_is_closed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    worker = threads.Worker(threads.LESSON, "0.28 M", 2)
    surroundings = threads.surroundings(threads.LESSON)
    assert surroundings["OMP_NUM_THREADS"] == "1"
    assert "GOMP_SPINCOUNT" not in surroundings
    worker()
    once = worker.spent
    worker()
    assert 0 < once < worker.spent
    worker.close()
    assert worker.process.returncode is not None
    with pytest.raises(RuntimeError, match="ended"):
        threads.Worker(threads.LESSON, "no such size", 2)()


def test_only_a_whole_run_writes_the_results():
    assert settings([]).out.name == "RESULTS.md"
    assert settings(["--quick"]).out is None
    assert settings(["slider"]).out is None


@pytest.mark.parametrize("arguments", [["sampler"], ["--rounds", "2"], ["--threads", "0"]])
def test_the_command_refuses_nonsense(arguments, capsys):
    with pytest.raises(SystemExit):
        settings(arguments)
    assert "error: " in capsys.readouterr().err


def test_without_the_peers_the_rest_still_runs(monkeypatch, capsys, tmp_path):
    def missing(name):
        raise models.PeerMissing(f"{name} is not here, so it is left out.")

    monkeypatch.setattr(models, "peer", missing)
    out = tmp_path / "results.md"
    assert main(["sampling", "--quick", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "| 0.28 M | ddpm_lite |" in text
    assert all(f"- {name} is not here" in text for name in (models.DIFFUSERS, models.DDP))
    assert capsys.readouterr().out.startswith("## Sampling step")


def test_a_peer_that_is_missing_says_how_to_get_it():
    with pytest.raises(models.PeerMissing, match=r"no-such-peer is not here.*course\.py bench"):
        models.peer("no-such-peer")


def test_ours_and_diffusers_have_the_same_parameters_and_flops():
    pytest.importorskip("diffusers")
    mine, theirs = models.ours("0.28 M"), models.of_diffusers("0.28 M")  # which checks that they agree
    assert mine.parameter_count() == sum(p.numel() for p in theirs.parameters()) == 280_177
    assert measure.flops(lambda: mine(*models.batch(1))) == measure.flops(lambda: theirs(*models.batch(1)))


def test_the_slider_really_redraws():
    (table,) = slider.run(settings(["slider", "--quick"]))
    assert len(table.rows) == 3
    assert all(float(row[1]) > 0 for row in table.rows)


def test_a_picture_that_does_not_follow_the_slider_is_reported():
    move = slider.mover(lambda t: torch.zeros(1, 1, 8, 8))
    with pytest.raises(RuntimeError, match="did not change"):
        move()


@pytest.mark.slow
def test_every_library_takes_a_training_step():
    pytest.importorskip("diffusers")
    pytest.importorskip("denoising_diffusion_pytorch")
    timed, _ = training.tasks("0.28 M", 2)
    assert {models.OURS, models.DIFFUSERS, models.DDP} <= timed.keys()
    assert all(step() > 0 for step in timed.values())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own figure is used")
def test_a_large_parent_does_not_count_as_its_child_s_memory():
    ballast = torch.ones(2**30, dtype=torch.uint8)  # 1 GiB, all of it touched
    code = "from benchmarks import memory; print(memory.peak_mib())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert memory.peak_mib() > ballast.numel() / 2**20
    assert float(child.stdout) < memory.peak_mib() - 512


# recipes


def quick(folder, *more):
    arguments = ["--set", "digits", "--quick", "--folder", str(folder), "--out", str(folder / "RECIPES.md")]
    plan = recipes.PLANS[0]
    short = dataclasses.replace(
        plan, entries=tuple(dataclasses.replace(e, seeds=(0, 1)) for e in plan.entries[:2])
    )
    assert recipes.main([*arguments, *more], (short,)) == 0
    return results.load("recipes", folder), (folder / "RECIPES.md").read_text(encoding="utf-8")


def test_recipes_run_and_a_second_call_measures_only_what_is_missing(tmp_path, monkeypatch):
    content, text = quick(tmp_path)
    assert [(r["seed"], r["recipe"]) for r in content["runs"]] == [
        (0, {}),
        (0, {"batch": 32}),
        (1, {}),
        (1, {"batch": 32}),
    ]  # the first seed of every entry comes before the second of any
    (table,) = content["tables"]
    assert [len(row["fd"]) for row in table["rows"]] == [2, 2]
    assert "| the paper's settings |" in text
    lost = content["runs"].pop(1)
    results.save("recipes", content, tmp_path)
    done = []
    monkeypatch.setattr(recipes, "run", lambda recipe, *a, **k: done.append(recipe.batch) or lost)
    again, _ = quick(tmp_path)
    assert done == [32]
    assert len(again["runs"]) == 4


def test_a_quick_run_keeps_out_of_the_results(capsys):
    with pytest.raises(SystemExit):
        recipes.main(["--quick"])
    assert "--folder" in capsys.readouterr().err


def test_a_chain_adds_one_change_at_a_time_and_ends_with_ours():
    (plan, *_) = recipes.PLANS
    steps = [recipes.differences(plan.data, e.recipe) for e in plan.entries]
    assert steps[0] == {}
    assert all(a.items() < b.items() for a, b in itertools.pairwise(steps))
    assert plan.entries[-1].recipe == recipes.OURS[plan.data]
    assert all(recipes.as_recipe(plan.data, s) == e.recipe for s, e in zip(steps, plan.entries, strict=True))


def test_the_paper_s_recipe_is_the_paper_s():
    config = recipes.Recipe().config(100, 0)
    assert (config.lr, config.ema, config.batch, config.prediction) == (2e-4, 0.9999, 128, "eps")
    assert recipes.Recipe().dropout == 0.1


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("labels", [False, True])
def test_samples_of_a_recipe_are_bytes_of_the_right_shape(fold, labels):
    recipe = recipes.Recipe(multipliers=(1, 2), prediction="v", labels=labels, fold=fold)
    drawn = recipes.draw(recipe.model(0).eval(), recipe, 8, 5, 2, batch=3)
    assert drawn.shape == (5, 1, 8, 8)
    assert drawn.dtype == torch.uint8


def test_folding_is_undone_after_sampling():
    """A network that knows x_0, folded as in training, gives it back unfolded."""
    x0 = torch.arange(64).reshape(1, 1, 8, 8) / 31.5 - 1
    recipe = recipes.Recipe(prediction="x0", fold=2)
    known = torch.nn.functional.pixel_unshuffle(x0, 2)
    drawn = recipes.draw(lambda xt, t: known.expand(xt.shape), recipe, 8, 2, 3)
    assert torch.equal(drawn, ((x0 + 1) * 127.5).round().byte().expand(2, 1, 8, 8))


def test_the_distance_of_real_images_is_their_floor():
    found = recipes.material("digits")
    some = found.images[:500]
    assert recipes.distance(some, found) < 5
    assert recipes.distance(torch.randint_like(some, 256), found) > 50


@pytest.mark.parametrize(("in_time", "verdict"), [(14.0, "reached"), (15.0, "missed")])
def test_findings_take_their_numbers_from_the_tables(in_time, verdict):
    def row(name, *fd, seconds=20):
        return {"name": name, "seconds": seconds, "fd": list(fd)}

    labelled = [row("our recipe", in_time), row("our recipe", 12.0, seconds=110)]
    ladder = [row("the paper's settings", 50.0, 54.0), row("+ x", 30.0), row("+ y", 10.0)]
    tables = [
        {"title": "A", "data": "digits", "rows": ladder},
        {"title": "MNIST at 16 x 16, with labels", "data": "mnist16", "rows": labelled},
        {"title": "not measured yet", "data": "mnist16", "rows": []},
    ]
    text = recipes.findings({"tables": tables, "floors": {"mnist16": 10.0}})
    assert "A: 52.0 becomes 10.0 in 20 s." in text
    assert "best was our recipe in 110 s, 12.0. That is 1.2 times the floor. The goal was 5 in 60 s" in text
    assert (
        f"1.5 times its floor; one thread comes to {in_time / 10} times in that time, so it was {verdict}"
        in text
    )
    assert "1.08 times" in text
    assert "not measured" not in text
