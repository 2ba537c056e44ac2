"""Which recipe learns most in a minute: `python -m benchmarks.recipes --set digits` (or mnist16, with --data FOLDER).

Each run trains for a budget of processor seconds on one thread, draws 500 samples and takes their Frechet distance
to real images. Runs that ddpm_lite/results/recipes.json already holds are not done again, so the command may be cut
off at any time; --fresh starts anew. At the end RECIPES.md is written from that file.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor
from torch.nn import functional as F

from ddpm_lite import data, metrics, results, samplers, schedules, train, unet

from . import report

COMMAND = "python -m benchmarks.recipes"
SAMPLES, REFERENCES = 500, 10  # samples a run; sets of as many real images that they are compared with
SAMPLING_STEPS = 50  # noise levels that a sample visits


@dataclass(frozen=True)
class Recipe:
    """All that decides a run but its seed and its length. The defaults are the paper's, scaled to small images.

    prediction, schedule: names in process.PREDICTIONS and schedules.REGISTRY. labels: a conditional network.
    fold: 2 makes the four pixels of every 2 x 2 square four channels of one pixel, before training, and undoes it
    after sampling: the noise is the same, and the network works at half the height and width. 1 leaves the images.
    The rest as in train.TrainConfig and unet.UNetConfig.
    """

    prediction: str = "eps"
    schedule: str = "linear"
    lr: float = 2e-4
    warmup: int = 0
    decay: bool = False
    ema: float = 0.9999
    batch: int = 128
    dropout: float = 0.1
    base: int = 16
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (1,)
    bf16: bool = False
    labels: bool = False
    fold: int = 1

    def model(self, seed: int) -> unet.UNet:
        """The network with its starting weights, a function of the seed alone."""
        config = unet.UNetConfig(
            channels=self.fold**2,
            base=self.base,
            multipliers=self.multipliers,
            blocks=self.blocks,
            attention=self.attention,
            groups=8,
            dropout=self.dropout,
            classes=10 if self.labels else 0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return unet.UNet(config)

    def config(self, steps: int, seed: int) -> train.TrainConfig:
        """The settings of the training loop."""
        shared = {f.name for f in fields(train.TrainConfig)} & {f.name for f in fields(self)}
        return train.TrainConfig(
            steps=steps, seed=seed, label_drop=0.1, **{name: getattr(self, name) for name in shared}
        )


@dataclass(frozen=True)
class Material:
    """Images uint8 (N, 1, S, S), their labels, and what judges samples of them."""

    images: Tensor
    labels: Tensor
    net: metrics.FeatureNet
    real: Tensor = field(repr=False)


def material(name: str, root: str | None = None) -> Material:
    """The images of "digits" or "mnist16" and a feature network for them (for mnist16 it is trained: a minute)."""
    if name == "digits":
        every, net = data.digits(), metrics.feature_net("digits")
        images, labels = every.images, every.labels
    else:
        every = data.load("mnist", root=root)
        images, labels = data.shrink(every.images, 16), every.labels
        net = metrics.train_features(images, labels, epochs=4, generator=torch.Generator().manual_seed(0))
    return Material(images, labels, net, metrics.features(net, images))


def seconds_a_step(recipe: Recipe, found: Material, blocks: int = 8) -> float:
    """Processor seconds that a training step takes when neighbours disturb least: the least of some blocks."""
    steps = training(recipe, found, recipe.config(10_000, 0), 0)
    times = []
    next(steps)
    for _ in range(blocks):
        start = time.process_time()
        for _ in range(3):
            next(steps)
        times.append((time.process_time() - start) / 3)
    return min(times)


def training(
    recipe: Recipe, found: Material, config: train.TrainConfig, seed: int
) -> Iterator[train.TrainStep]:
    """The training loop of a recipe, not yet begun."""
    images, labels = F.pixel_unshuffle(found.images, recipe.fold), found.labels if recipe.labels else None
    return train.ddpm(recipe.model(seed), images, schedules.REGISTRY[recipe.schedule](), config, labels)


@torch.no_grad()
def draw(model: unet.UNet, recipe: Recipe, side: int, count: int, steps: int, batch: int = 125) -> Tensor:
    """`count` samples as bytes, with labels 0..9 in turn if the network takes labels; ancestral, respaced."""
    schedule, g, out = schedules.REGISTRY[recipe.schedule](), torch.Generator().manual_seed(1), []
    short, tau = schedules.respace(schedule, steps)
    shape = (recipe.fold**2, side // recipe.fold, side // recipe.fold)
    for first in range(0, count, batch):
        n = min(batch, count - first)
        y = (torch.arange(first, first + n) % 10,) if recipe.labels else ()
        eps_model = samplers.as_eps(lambda xt, t, y=y: model(xt, t, *y), schedule, recipe.prediction)
        network = samplers.at_timesteps(eps_model, tau)
        chain = samplers.ddpm(network, (n, *shape), short, variance="beta_tilde", generator=g)
        out.append(data.to_uint8(F.pixel_shuffle(samplers.last(chain).xt, recipe.fold)))
    return torch.cat(out)


def distance(samples: Tensor, found: Material) -> float:
    """The mean Frechet distance of samples to REFERENCES random sets of as many real images."""
    g, ours = torch.Generator().manual_seed(2), metrics.features(found.net, samples)
    sets = [found.real[torch.randperm(len(found.real), generator=g)[: len(ours)]] for _ in range(REFERENCES)]
    return mean(metrics.frechet_distance(some, ours) for some in sets)


def run(
    recipe: Recipe,
    found: Material,
    steps: int,
    seed: int,
    samples: int = SAMPLES,
    sampling_steps: int = SAMPLING_STEPS,
) -> dict:
    """Train, sample and judge: what the results keep of a run."""
    start, losses = time.process_time(), []
    for step in training(recipe, found, recipe.config(steps, seed), seed):
        losses.append(step.loss)
    spent = time.process_time() - start
    drawn = draw(step.ema, recipe, found.images.shape[-1], samples, sampling_steps)
    return {
        "seed": seed,
        "steps": steps,
        "cpu_seconds": round(spent, 1),
        "sampling_cpu_seconds": round(time.process_time() - start - spent, 1),
        "fd": round(distance(drawn, found), 2),
        "loss": round(mean(losses[-50:]), 4),
        "parameters": step.ema.parameter_count(),
    }


@dataclass(frozen=True)
class Entry:
    """A row of a table: a recipe under a name, trained for `seconds` from each of the seeds."""

    name: str
    recipe: Recipe
    seconds: float
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Plan:
    """A table to be measured: entries on one data set ("digits" or "mnist16")."""

    title: str
    data: str
    entries: tuple[Entry, ...]


def chain(
    start: Recipe, changes: dict[str, dict], seconds: float, seeds: tuple[int, ...]
) -> tuple[Entry, ...]:
    """A recipe, then named changes to it, each on top of all before it."""
    entries, recipe = [Entry("the paper's settings", start, seconds, seeds)], start
    for name, change in changes.items():
        recipe = replace(recipe, **change)
        entries.append(Entry(f"+ {name}", recipe, seconds, seeds))
    return tuple(entries)


PAPER = {"digits": Recipe(multipliers=(1, 2)), "mnist16": Recipe()}
CHANGES = {
    "batch 32 instead of 128": {"batch": 32},
    "learning rate 4e-3 instead of 2e-4, 50 steps of warm-up, decay to 0": {
        "lr": 4e-3,
        "warmup": 50,
        "decay": True,
    },
    "EMA 0.995 instead of 0.9999 (no change below 1790 steps: train.ddpm warms it up)": {"ema": 0.995},
    "no dropout": {"dropout": 0.0},
    "cosine schedule instead of linear": {"schedule": "cosine"},
    "v instead of eps": {"prediction": "v"},
}
OURS = {name: chain(recipe, CHANGES, 1, (0,))[-1].recipe for name, recipe in PAPER.items()}
OURS["mnist16"] = replace(OURS["mnist16"], batch=16, prediction="x0")
DIGITS, LABELLED = OURS["digits"], replace(OURS["mnist16"], labels=True)
LABELLED_V = replace(LABELLED, prediction="v")
PLANS = (
    Plan("Digits: from the paper's recipe to ours", "digits", chain(PAPER["digits"], CHANGES, 20, (0, 1))),
    Plan(
        "Digits: around our recipe",
        "digits",
        (
            Entry("our recipe", DIGITS, 20, (0, 1)),
            Entry("learning rate 2e-3", replace(DIGITS, lr=2e-3), 20),
            Entry("learning rate 8e-3", replace(DIGITS, lr=8e-3), 20),
            Entry(
                "learning rate 2e-3, eps and linear",
                replace(DIGITS, lr=2e-3, prediction="eps", schedule="linear"),
                20,
            ),
            Entry("x0 instead of v", replace(DIGITS, prediction="x0"), 20, (0, 1)),
        ),
    ),
    Plan(
        "Digits: twice as long",
        "digits",
        (
            Entry("our recipe", DIGITS, 40, (0, 1)),
            Entry("learning rate 2e-3", replace(DIGITS, lr=2e-3), 40),
            Entry("learning rate 2e-3, 32 channels instead of 16", replace(DIGITS, lr=2e-3, base=32), 40),
            Entry("x0 instead of v", replace(DIGITS, prediction="x0"), 40, (0, 1)),
        ),
    ),
    Plan(
        "MNIST at 16 x 16, with labels",
        "mnist16",
        (
            Entry("our recipe", LABELLED, 50),
            Entry("our recipe", LABELLED, 110),
            Entry("v instead of x0", LABELLED_V, 50),
            Entry("v instead of x0", LABELLED_V, 80),
            Entry("v instead of x0", LABELLED_V, 110),
            Entry("v, learning rate 2e-3", replace(LABELLED_V, lr=2e-3), 50),
            Entry("v, learning rate 2e-3, batch 32", replace(LABELLED_V, lr=2e-3, batch=32), 50),
            Entry("v, learning rate 2e-3, batch 64", replace(LABELLED_V, lr=2e-3, batch=64), 50),
            Entry(
                "v, 2 x 2 pixels folded into channels, two levels",
                replace(LABELLED_V, fold=2, multipliers=(1, 2)),
                50,
            ),
        ),
    ),
    Plan(
        "MNIST at 16 x 16, without labels",
        "mnist16",
        (
            Entry("our recipe", OURS["mnist16"], 135),
            Entry("our recipe", OURS["mnist16"], 270),
            Entry("v instead of x0", replace(OURS["mnist16"], prediction="v"), 135),
            Entry("v instead of x0", replace(OURS["mnist16"], prediction="v"), 270),
        ),
    ),
)


def key(dataset: str, recipe: Recipe, seconds: float, seed: int) -> tuple:
    """What tells one run from another."""
    return dataset, recipe, seconds, seed


def as_recipe(dataset: str, changes: dict) -> Recipe:
    """The recipe that the results name by what differs from the paper's."""
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    return replace(PAPER[dataset], **lists)


def differences(dataset: str, recipe: Recipe) -> dict:
    """The settings in which a recipe differs from the paper's (PAPER)."""
    paper = asdict(PAPER[dataset])
    return {k: v for k, v in asdict(recipe).items() if v != paper[k]}


class Store:
    """The results file: what is in it is not measured again, and it is written after every run."""

    def __init__(self, folder: Path, fresh: bool = False):
        self.folder, self.content = folder, {"seconds_a_step": {}, "floors": {}, "runs": []}
        if not fresh and (folder / "recipes.json").exists():
            self.content |= results.load("recipes", folder)

    def find(self, dataset: str, recipe: Recipe, seconds: float, seed: int) -> dict | None:
        """The run of that key, or None."""
        wanted = key(dataset, recipe, seconds, seed)
        for row in self.content["runs"]:
            if key(row["data"], as_recipe(row["data"], row["recipe"]), row["seconds"], row["seed"]) == wanted:
                return row
        return None

    def write(self, plans) -> Path:
        """Write runs and the tables made of them."""
        runs, content = self.content["runs"], self.content
        spent = sum(row["cpu_seconds"] + row["sampling_cpu_seconds"] for row in runs)
        about = {
            "command": f"{COMMAND} --data FOLDER",
            "seeds": sorted({row["seed"] for row in runs}),
            "minutes": round(spent / 60, 1),
            "machine": f"{report.processor()}, {os.cpu_count()} cores, 1 thread, torch {torch.__version__.split('+')[0]}",
            "samples": SAMPLES,
            "sampling_steps": SAMPLING_STEPS,
        }
        tables = [{"title": p.title, "data": p.data, "rows": self.rows(p)} for p in plans]
        return results.save("recipes", content | about | {"tables": tables}, self.folder)

    def rows(self, plan: Plan) -> list[dict]:
        """A row for each entry of which there are runs: lists have a number for each seed."""
        rows = []
        for entry in plan.entries:
            found = [self.find(plan.data, entry.recipe, entry.seconds, seed) for seed in entry.seeds]
            if found := [row for row in found if row]:
                columns = ("seed", "fd", "cpu_seconds")
                lists = {name: [row[name] for row in found] for name in columns}
                shared = {name: found[0][name] for name in ("steps", "parameters")}
                rows.append({"name": entry.name, "seconds": entry.seconds} | shared | lists)
        return rows


def step_key(dataset: str, recipe: Recipe) -> str:
    """What the cost of a step depends on."""
    shape = f"{recipe.base} x {recipe.multipliers}, {recipe.blocks} a level, attention at {recipe.attention}"
    more = (", bf16" if recipe.bf16 else "") + (f", folded by {recipe.fold}" if recipe.fold > 1 else "")
    return f"{dataset}, {shape}, batch {recipe.batch}{more}"


def measure(plans, store: Store, root: str | None, quick: bool = False) -> None:
    """Do the runs that are missing, the first seed of every entry before the second of any."""
    materials: dict[str, Material] = {}
    todo = [(p.data, e, seed, i) for p in plans for e in p.entries for i, seed in enumerate(e.seeds)]
    for dataset, entry, seed, _ in sorted(todo, key=lambda job: job[3]):
        if store.find(dataset, entry.recipe, entry.seconds, seed):
            continue
        if dataset not in materials:
            materials[dataset] = found = material(dataset, root)
            g = torch.Generator().manual_seed(3)
            store.content["floors"][dataset] = round(
                metrics.real_floor(found.real, SAMPLES, g, repeats=100), 2
            )
        found, costs = materials[dataset], store.content["seconds_a_step"]
        name = step_key(dataset, entry.recipe)
        if name not in costs:
            costs[name] = 1.0 if quick else round(seconds_a_step(entry.recipe, found), 4)
        steps = 2 if quick else int(entry.seconds / costs[name])
        row = run(entry.recipe, found, steps, seed, **({"samples": 20, "sampling_steps": 2} if quick else {}))
        about = {"data": dataset, "seconds": entry.seconds, "recipe": differences(dataset, entry.recipe)}
        store.content["runs"].append(about | row)
        store.write(plans)
        print(f"{dataset}, {entry.name}, seed {seed}: {row}", file=sys.stderr, flush=True)


def document(content: dict) -> str:
    """All of RECIPES.md, from the results."""
    parts = [HEAD.format(**content), findings(content)]
    for table in content["tables"]:
        if not table["rows"]:
            continue
        columns = ("recipe", "seconds", "spent", "steps", "parameters", "FD of each seed", "mean FD")
        floor = content["floors"][table["data"]]
        shown = report.Table(table["title"], f"Real images against real ones: {floor}.", columns)
        for row in table["rows"]:
            fd = ", ".join(f"{x:.1f}" for x in row["fd"])
            spent = ", ".join(f"{x:.0f}" for x in row["cpu_seconds"])
            counts = (f"{row['seconds']:g}", spent, str(row["steps"]), f"{row['parameters']:,}")
            shown.rows.append([row["name"], *counts, fd, f"{mean(row['fd']):.1f}"])
        parts.append(shown.markdown())
    return "\n".join(parts)


# Title of a table -> the Frechet distance to be reached and the seconds by the clock, on the features of a network on
# which real images lay GOAL_FLOOR apart. Features have no unit, so a distance is held against its own network's floor.
GOALS = {
    "MNIST at 16 x 16, with labels": (5, 60),
    "MNIST at 16 x 16, without labels": (10, 150),
}
GOAL_FLOOR = 3.4


def verdict(distance: float, limit: float, rows: list[dict], floor: float) -> str:
    """Whether the rows that fit into the limit, one thread computing, come to the distance, in units of the floor."""
    best = min(mean(row["fd"]) for row in rows) / floor
    in_time = min((mean(row["fd"]) for row in rows if row["seconds"] <= limit), default=math.inf) / floor
    wanted = distance / GOAL_FLOOR
    return (
        f" That is {best:.1f} times the floor. The goal was {distance} in {limit} s with another feature network, "
        f"{wanted:.1f} times its floor; one thread comes to {in_time:.1f} times in that time, so it was "
        f"{'reached' if in_time <= wanted else 'missed'}."
    )


def findings(content: dict) -> str:
    """What the tables say, in words whose numbers come from them."""
    tables = {t["title"]: t["rows"] for t in content["tables"] if t["rows"]}
    floors = {t["title"]: content["floors"].get(t["data"]) for t in content["tables"]}
    lines = ["## What was found", ""]
    for title, rows in tables.items():
        best = min(rows, key=lambda row: mean(row["fd"]))
        first, last = mean(rows[0]["fd"]), mean(rows[-1]["fd"])
        if rows[0]["name"] == "the paper's settings":
            lines.append(f"- {title}: {first:.1f} becomes {last:.1f} in {rows[0]['seconds']:g} s.")
        else:
            lines.append(
                f"- {title}: best was {best['name']} in {best['seconds']:g} s, {mean(best['fd']):.1f}."
            )
        if title in GOALS:
            lines[-1] += verdict(*GOALS[title], rows, floors[title])
    spreads = [max(r["fd"]) / min(r["fd"]) for rows in tables.values() for r in rows if len(r["fd"]) > 1]
    if spreads:
        lines.append(
            f"- Where there are several seeds, the worst is up to {max(spreads):.2f} times the best."
        )
    return "\n".join(lines) + "\n"


HEAD = """# Recipes: what a minute of training buys

Written by `{command}` from `ddpm_lite/results/recipes.json`; not by hand.

- {machine}; {minutes} minutes of processor time in all, training and sampling.
- *seconds*: the budget of training, in processor seconds of one thread. Steps = budget / seconds a step, measured on
  the same machine as the least of several blocks, so that neighbours count little; *spent* is what the steps then took,
  which is more than *seconds* where neighbours made them dearer.
- *FD*: Frechet distance of {samples} samples to as many real images (mean over ten sets of them), on the 64 features
  of a small classifier of the same images. Ancestral sampling, {sampling_steps} of the 1000 levels, the smaller variance.
- Every line starting with + keeps all changes of the lines above it.
"""


def main(arguments: list[str] | None = None, plans=PLANS) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=sorted(PAPER), help="measure this data set only")
    parser.add_argument("--data", help="folder of torchvision's data sets (default: the course's cache)")
    parser.add_argument("--folder", type=Path, default=results.FOLDER, help="where recipes.json is")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RECIPES.md"))
    parser.add_argument(
        "--report", action="store_true", help="measure nothing, write the tables of what is there"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the runs that are there")
    parser.add_argument(
        "--quick", action="store_true", help="two steps a run: shows that all runs; needs --folder"
    )
    options = parser.parse_args(arguments)
    if options.quick and options.folder == results.FOLDER:
        parser.error("--quick measures nothing, so it needs a --folder (and --out) of its own.")
    torch.set_num_threads(1)
    chosen, store = [p for p in plans if options.set in (None, p.data)], Store(options.folder, options.fresh)
    if not options.report:
        measure(chosen, store, options.data, options.quick)
    store.write(plans)
    options.out.write_text(document(results.load("recipes", options.folder)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
