"""One reverse step of 16 images, the bare network beside it, and what the sampler costs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from statistics import median

import torch

from ddpm_lite import samplers, schedules

from . import measure, models, report

COUNT = 16
BARE, ALONE = "the bare network (ours)", "the sampler alone (a network that does nothing)"


def endless(eps_model) -> Iterator[samplers.Step]:
    """Reverse steps for ever: when a chain is done, another begins."""
    schedule, shape = schedules.linear(models.T), (COUNT, 1, models.SIDE, models.SIDE)
    g = torch.Generator().manual_seed(0)
    return chain.from_iterable(samplers.ddpm(eps_model, shape, schedule, generator=g) for _ in repeat(None))


def diffusers_step(size: str) -> Callable[[], object]:
    """The loop body of diffusers' DDPMPipeline: its network, then its scheduler's step."""
    library, model = models.peer(models.DIFFUSERS), models.of_diffusers(size).eval()
    scheduler = library.DDPMScheduler(models.T)
    x, _ = models.batch(COUNT)
    levels = chain.from_iterable(repeat(scheduler.timesteps))

    @torch.no_grad()
    def step():
        t = next(levels)
        return scheduler.step(model(x, t).sample, t, x).prev_sample

    return step


def ddp_step(size: str) -> Callable[[], object]:
    """denoising-diffusion-pytorch's own p_sample."""
    diffusion = models.of_ddp(models.ddp_width(size)).eval()
    x, _ = models.batch(COUNT)
    levels = chain.from_iterable(repeat(range(models.T - 1, -1, -1)))
    return lambda: diffusion.p_sample(x, next(levels))


def tasks(size: str) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """What can be timed here, and a line on each thing that cannot."""
    model, (x, t) = models.ours(size).eval(), models.batch(COUNT)
    steps, idle = endless(model), endless(lambda xt, t: x)
    found = {
        models.OURS: lambda: next(steps),
        BARE: torch.no_grad()(lambda: model(x, t)),
        ALONE: lambda: next(idle),
    }
    left_out = []
    for name, make in ((models.DIFFUSERS, diffusers_step), (models.DDP, ddp_step)):
        try:
            found[name] = make(size)
        except models.PeerMissing as error:
            left_out.append(str(error))
    return found, left_out


def run(options) -> list[report.Table]:
    """Two tables: the sampling step beside the peers, and the sampler's own cost over the network's."""
    peers = report.Table("Sampling step", PEERS, ("size", "library", *report.TIMING_COLUMNS))
    own = report.Table(
        "The sampler's own cost", OWN, ("size", "network, CPU ms", "sampler, CPU ms", "sampler over network")
    )
    for size in options.sizes:
        timed, left_out = tasks(size)
        timings = measure.interleave(timed, 3 * options.rounds, options.seconds)
        for name in timed:
            if name not in (BARE, ALONE):
                peers.rows.append([size, name, *report.timing_cells(timings[name], timings[models.OURS])])
        network, sampler = median(timings[BARE].cpu), median(timings[ALONE].cpu)
        own.rows.append([size, f"{network * 1e3:.2f}", f"{sampler * 1e3:.3f}", f"{sampler / network:.1%}"])
        peers.notes += left_out
    return [peers, own]


PEERS = (
    f"One step of ancestral sampling, {COUNT} images of 16 × 16: the network and all that its library does around it "
    "(diffusers: the loop body of its DDPMPipeline; denoising-diffusion-pytorch: its p_sample)."
)
OWN = (
    "`samplers.ddpm` with a network that returns at once, beside one pass of the bare network: measured apart, because "
    "their sum differs from the network alone by less than two passes of the same network do."
)
