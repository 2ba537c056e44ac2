"""Networks of the same size, and the three ways to train and to sample with them.

Ours and diffusers' are the same function with the same weights. denoising-diffusion-pytorch has a design of its
own (linear attention everywhere, 7 x 7 first convolution), so its width is chosen for the same FLOPs as ours.
"""

from __future__ import annotations

import bisect
import contextlib
import io
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from ddpm_lite import interop, schedules, train
from ddpm_lite.unet import UNet, UNetConfig

from .measure import flops

SIDE, T = 16, 1000
# Name -> channels at full resolution. The names are millions of parameters.
SIZES = {"0.28 M": 16, "1.1 M": 32, "4.4 M": 64}
OURS, DIFFUSERS, DDP = "ddpm_lite", "diffusers", "denoising-diffusion-pytorch"


class PeerMissing(ImportError):
    """A peer is not installed; the message says how to get it."""


@cache
def peer(name: str):
    """The module of a peer. Raises PeerMissing."""
    try:
        # Both greet the user on import in some environments; a table is no place for that.
        with contextlib.redirect_stdout(io.StringIO()):
            return __import__(name.replace("-", "_"))
    except ImportError as error:
        raise PeerMissing(
            f"{name} is not here, so it is left out ({error}). `python course.py bench` installs it."
        ) from error


def config(size: str) -> UNetConfig:
    """One block a level, three levels, attention at 8 x 8."""
    return UNetConfig(
        channels=1, base=SIZES[size], multipliers=(1, 2, 2), blocks=1, attention=(1,), groups=8, dropout=0.0
    )


def ours(size: str) -> UNet:
    """Our network, with every weight drawn at random (freshly built, its last convolutions are zero)."""
    model = UNet(config(size))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / max(p[0].numel(), 1) ** 0.5)
    return model


def of_diffusers(size: str):
    """diffusers' network with the weights of ours; that the two agree is checked here, every time."""
    mine = ours(size).eval()
    theirs = peer(DIFFUSERS).UNet2DModel(**interop.diffusers_config(mine.config, SIDE))
    theirs.load_state_dict(interop.to_diffusers(mine.state_dict(), mine.config))
    x, t = batch(2)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(x, t).sample, mine(x, t), rtol=1e-3, atol=1e-3)
    return theirs


def of_ddp(width: int):
    """denoising-diffusion-pytorch's network, wrapped in its own GaussianDiffusion with the paper's settings."""
    module = peer(DDP)
    model = module.Unet(dim=width, dim_mults=(1, 2, 2), channels=1)
    return module.GaussianDiffusion(
        model, image_size=SIDE, timesteps=T, objective="pred_noise", beta_schedule="linear"
    )


@cache
def ddp_width(size: str) -> int:
    """The width at which one pass of denoising-diffusion-pytorch's network costs most nearly what one of ours does."""
    goal = flops(lambda: ours(size)(*batch(1)))
    cost = cache(lambda width: flops(lambda: of_ddp(width).model(*batch(1))))
    widths = range(8, SIZES[size] + 9, 2)
    at = bisect.bisect_left(widths, goal, lo=1, key=cost)  # the cost rises with the width
    return min(widths[at - 1 : at + 1], key=lambda width: abs(cost(width) - goal))


def batch(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise images (count, 1, 16, 16) and timesteps (count,) in 1..T-1, which every library takes."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, SIDE, SIDE, generator=g), torch.randint(1, T, (count,), generator=g)


@cache
def images() -> Tensor:
    """As many images as MNIST has, uint8 (60000, 1, 16, 16). Their content does not matter to the clock."""
    return torch.randint(
        0, 256, (60_000, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def training_of_ours(size: str, count: int, bf16: bool = False) -> Iterator[train.TrainStep]:
    """The package's own loop, nothing left out."""
    settings = train.TrainConfig(steps=100_000, batch=count, bf16=bf16)
    return train.ddpm(ours(size), images(), schedules.linear(T), settings)
