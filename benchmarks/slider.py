"""From a slider's new value to the bytes of the new picture: the kernel's share of what a learner waits for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import cycle

import torch
from matplotlib.figure import Figure

from ddpm_lite import data, process, schedules, widgets

from . import measure, models, report

ABOUT = (
    "`widgets.live`: the value of a slider over t is set, and the time runs until the new PNG is in the widget. The way "
    "to the browser and its painting come on top, and need a browser to measure. A `widgets.scrubber` over known "
    "frames asks no kernel at all: it moves one sprite sheet inside the page."
)


def noisy(x0: torch.Tensor, t: int, schedule: schedules.Schedule) -> torch.Tensor:
    """x_t of one image with the same noise at every t, (1, C, H, W)."""
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    return process.q_sample(x0, torch.tensor([t]), eps, schedule)


def draws() -> dict[str, Callable[[int], object]]:
    """Three pictures of the kinds that the chapters show."""
    schedule, photograph = (
        schedules.linear(models.T),
        data.from_uint8(data.photograph("flower", size=64)[None]),
    )
    model, tiny = models.ours("0.28 M").eval(), models.batch(1)[0]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    picture = left.imshow(torch.zeros(64, 64, 3))
    left.set_axis_off()

    def with_histogram(t: int) -> Figure:
        xt = noisy(photograph, t, schedule)
        picture.set_data((xt[0].permute(1, 2, 0).clamp(-1, 1) + 1) / 2)
        right.clear()
        right.hist(xt.flatten().numpy(), bins=60, range=(-4, 4), density=True)
        return figure

    def guess(t: int) -> torch.Tensor:
        xt = noisy(tiny, t, schedule)
        return process.predict_x0(xt, torch.tensor([t]), model(xt, torch.tensor([t])), schedule).clamp(-1, 1)

    return {
        "a noisy photograph, 64 × 64": lambda t: noisy(photograph, t, schedule).clamp(-1, 1),
        "the same with its histogram, a matplotlib figure": with_histogram,
        "a network's guess of x_0, 0.28 M, 16 × 16": guess,
    }


def mover(draw: Callable[[int], object]) -> Callable[[], bytes]:
    """Each call moves the slider to another t and returns the new picture. Raises RuntimeError if it stayed the same."""
    live = widgets.live(lambda t: draw(t), alt="a picture at step t", t=(1, models.T))
    values = cycle(range(1, models.T, 37))

    def move() -> bytes:
        before = live.png
        live.controls["t"].value = value if (value := next(values)) != live.controls["t"].value else value + 1
        if live.png == before:
            raise RuntimeError(f"the picture did not change when t became {live.controls['t'].value}.")
        return live.png

    return move


def run(options) -> list[report.Table]:
    """One table: what waits behind each kind of picture."""
    table = report.Table("Live slider", ABOUT, ("picture", "wall, ms", "CPU, ms", "rounds"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # widgets outside of a notebook have no one to talk to, and say so
        timings = measure.interleave(
            {k: mover(d) for k, d in draws().items()}, 2 * options.rounds, options.seconds
        )
    for name, timing in timings.items():
        wall, cpu, _, _, rounds = report.timing_cells(timing, timing)
        table.rows.append([name, wall, cpu, rounds])
    return [table]
