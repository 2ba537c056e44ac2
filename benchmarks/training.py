"""One training step: draw a batch, noise it, forward, backward, clip, Adam, average the weights.

Each library as its own documentation trains: ours by `train.ddpm`; diffusers by the loop of its training
tutorial with its EMAModel; denoising-diffusion-pytorch by the body of its Trainer. All draw their batches from one
tensor of bytes, so that no data loader is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from ddpm_lite import data

from . import measure, models, peak, report


def diffusers_step(size: str, count: int) -> Callable[[], float]:
    """The loop of diffusers' tutorial on unconditional training, with a warmed-up cosine rate and its EMAModel."""
    library, model = models.peer(models.DIFFUSERS), models.of_diffusers(size).train()
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    scheduler, adam = library.DDPMScheduler(models.T), torch.optim.Adam(model.parameters(), lr=1e-3)
    rate = get_cosine_schedule_with_warmup(adam, num_warmup_steps=100, num_training_steps=100_000)
    ema = EMAModel(model.parameters(), decay=0.995, use_ema_warmup=True)

    def step() -> float:
        x0 = data.from_uint8(models.images()[torch.randint(60_000, (count,))])
        eps, t = torch.randn_like(x0), torch.randint(0, models.T, (count,))
        eps_hat = model(scheduler.add_noise(x0, eps, t), t, return_dict=False)[0]
        loss = F.mse_loss(eps_hat, eps)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        rate.step()
        adam.zero_grad()
        ema.step(model.parameters())
        return loss.detach().item()

    return step


def ddp_step(size: str, count: int) -> Callable[[], float]:
    """The body of denoising-diffusion-pytorch's Trainer.train, with its own EMA (every tenth step, as there)."""
    diffusion = models.of_ddp(models.ddp_width(size)).train()
    from ema_pytorch import EMA

    adam = torch.optim.Adam(diffusion.parameters(), lr=1e-3, betas=(0.9, 0.99))
    ema = EMA(diffusion, beta=0.995, update_every=10)

    def step() -> float:
        x0 = models.images()[torch.randint(60_000, (count,))].float() / 255  # it scales to [-1, 1] itself
        loss = diffusion(x0)
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        ema.update()
        return loss.item()

    return step


def our_step(size: str, count: int, bf16: bool = False) -> Callable[[], float]:
    """`train.ddpm` as it stands, one step a call."""
    steps: Iterator = models.training_of_ours(size, count, bf16)
    return lambda: next(steps).loss


def tasks(size: str, count: int) -> tuple[dict[str, Callable[[], float]], list[str]]:
    """What can be timed here, and a line on each thing that cannot."""
    found, left_out = {models.OURS: our_step(size, count)}, []
    for name, make in ((models.DIFFUSERS, diffusers_step), (models.DDP, ddp_step)):
        try:
            found[name] = make(size, count)
        except models.PeerMissing as error:
            left_out.append(str(error))
    if measure.has_bf16():
        found[f"{models.OURS}, bf16"] = our_step(size, count, bf16=True)
    else:
        left_out.append("This processor has no bfloat16 arithmetic: ddpm_lite's bf16 rows are left out.")
    return found, left_out


def run(options) -> list[report.Table]:
    """The training step of every size, and what share of the processor's peak it reaches."""
    columns = ("size", "library", "parameters", "GFLOPs a step", "share of peak", *report.TIMING_COLUMNS)
    table = report.Table("Training step", ABOUT.format(count=options.batch), columns)
    for size in options.sizes:
        timed, left_out = tasks(size, options.batch)
        work = {name: measure.flops(step) for name, step in timed.items()}
        timings = measure.interleave(timed | peak.tasks(), options.rounds, options.seconds, warmup=1)
        for name in timed:
            share = peak.share(work[name], timings[name], timings, "bf16" in name)
            counts = (f"{parameters(size, name):,}", f"{work[name] / 1e9:.2f}", share)
            table.rows.append(
                [size, name, *counts, *report.timing_cells(timings[name], timings[models.OURS])]
            )
        table.notes += left_out
    table.notes.append(peak.NOTE)
    return [table]


def parameters(size: str, name: str) -> int:
    """How many parameters the network of that library has at that size."""
    model = models.of_ddp(models.ddp_width(size)).model if name == models.DDP else models.ours(size)
    return sum(p.numel() for p in model.parameters())


ABOUT = (
    "One step of training on 16 × 16 images, {count} at a time: noise, forward, backward, clipping, Adam, averaged "
    "weights. diffusers has our network with our weights; denoising-diffusion-pytorch has its own design at the "
    "width whose FLOPs come nearest."
)
