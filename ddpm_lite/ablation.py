"""The paper's Table 2 in miniature: what a network predicts, what it minimises, and where its variance comes from.

A row is a triple (predicted, objective, variance), as in paper.TABLE_2:
  predicted: "eps", "x0" or "mu_tilde". objective: "L", the bound itself, eq. (5), one term an example; or the plain mean
  square error of what is predicted, which the paper calls "L_simple" for eps and "mse" for mu_tilde.
  variance: "fixed" (sigma_t^2 = beta_t), "learned" (the network says log sigma^2, pixel by pixel, as the published code
  has it) or "range" (it says v, and log sigma^2 = v log beta_t + (1 - v) log beta_tilde_t: Nichol & Dhariwal 2021).

Small enough for a CPU: 8 x 8 digits, T = 100. Everything random follows from a seed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import data, losses, paper, process, schedules, validate
from .schedules import Schedule
from .train import TrainConfig, TrainStep, ema_decay, learning_rate, update_ema
from .unet import UNet, UNetConfig

Row = tuple[str, str, str]
ROWS: tuple[Row, ...] = (
    *paper.TABLE_2,
    ("x0", "L", "fixed"),
    ("x0", "mse", "fixed"),
    ("eps", "L", "range"),
)
PREDICTED, OBJECTIVES, VARIANCES = (
    ("eps", "x0", "mu_tilde"),
    ("L", "L_simple", "mse"),
    ("fixed", "learned", "range"),
)


@dataclass(frozen=True)
class Budget:
    """What every row gets, the same for all: steps of `batch` images, Adam at `lr` with warm-up and decay, an average."""

    steps: int = 1000
    batch: int = 32
    lr: float = 1e-3
    warmup: int = 50
    ema: float = 0.995
    base: int = 16


def schedule() -> Schedule:
    """The paper's linear betas for a tenth of its steps: T = 100, each beta ten times as large."""
    return schedules.linear(T=100, beta_1=1e-3, beta_T=0.2)


def split() -> tuple[Tensor, Tensor]:
    """The embedded digits, uint8: 1438 to train on, and the 359 that `metrics.feature_net("digits")` never saw either."""
    images = data.digits().images
    held_out = torch.arange(len(images)) % 5 == 4
    return images[~held_out], images[held_out]


def network(row: Row, seed: int, base: int = 16) -> UNet:
    """A new U-Net for 8 x 8 images; it has a second output channel if the variance is learned. Errors: `check_row`."""
    check_row(row)
    with torch.random.fork_rng(
        devices=[]
    ):  # layers draw their start from the global generator: lend it a seed
        torch.manual_seed(seed)
        model = UNet(UNetConfig(1, base, (1, 2), blocks=1, attention=(), groups=8, dropout=0.0))
        if row[2] != "fixed":
            model.conv_out = nn.Conv2d(base, 2, 3, padding=1)
            nn.init.zeros_(model.conv_out.weight), nn.init.zeros_(model.conv_out.bias)
    return model


def check_row(row: Row) -> None:
    """Raises ValueError unless `row` is a triple of known names, and a variance is learned only where L can teach it."""
    for value, choices, name in zip(
        row, (PREDICTED, OBJECTIVES, VARIANCES), ("predicted", "objective", "variance"), strict=True
    ):
        validate.one_of(value, choices, name)
    if row[1] != "L" and row[2] != "fixed":
        raise ValueError("a mean square error says nothing about a variance: learn it with the objective L.")


def log_range(v: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """log sigma^2 = v log beta_t + (1 - v) log beta_tilde_t, shaped as v (B, ...): Nichol & Dhariwal 2021, eq. (15).

    beta_tilde_1, which is 0, is replaced as in `losses.posterior_variance`. v may lie outside [0, 1].
    """
    upper = process.at(schedule.beta.clamp(min=1e-30).log(), t, v)
    lower = process.at(losses.posterior_variance(schedule).clamp(min=1e-30).log(), t, v)
    return v * upper + (1 - v) * lower


def reverse(
    output: Tensor, xt: Tensor, t: Tensor, schedule: Schedule, row: Row, clip: bool
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of p_theta(x_{t-1} | x_t), both shaped as xt, from what the network says at (xt, t).

    clip holds x0_hat to [-1, 1] where the mean goes by way of it: not for mu_tilde, as in the published code.
    """
    said, rest = output[:, :1], output[:, 1:]
    if row[0] == "mu_tilde":
        mean = said
    else:
        x0_hat = said if row[0] == "x0" else process.predict_x0(xt, t, said, schedule)
        x0_hat = x0_hat.clamp(-1, 1) if clip else x0_hat
        of_x0, of_xt = process.posterior_coefficients(schedule)
        mean = process.at(of_x0, t, xt) * x0_hat + process.at(of_xt, t, xt) * xt
    if row[2] == "fixed":
        return mean, process.at(schedule.beta.clamp(min=1e-30).log(), t, xt).expand_as(xt)
    return mean, rest if row[2] == "learned" else log_range((rest + 1) / 2, t, schedule)


def bound(
    output: Tensor, x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule, row: Row, clip: bool = False
) -> Tensor:
    """The term of L that belongs to each t, L_0 for t = 1, L_{t-1} above: bits a dimension, (B,), with gradient."""
    mean, log_sigma2 = reverse(output, xt, t, schedule, row, clip)
    of_x0, of_xt = process.posterior_coefficients(schedule)
    mu_tilde = process.at(of_x0, t, x0) * x0 + process.at(of_xt, t, x0) * xt
    log_tilde = process.at(losses.posterior_variance(schedule).clamp(min=1e-30).log(), t, x0)
    apart = (mu_tilde - mean).square()
    nats = 0.5 * (
        log_sigma2 - log_tilde + torch.exp(log_tilde - log_sigma2) + apart * torch.exp(-log_sigma2) - 1
    )
    first = t == 1
    if first.any():
        nats = nats.clone()
        nats[first] = -losses.discretised_log_prob(x0[first], mean[first], log_sigma2[first].exp())
    return nats.flatten(1).mean(dim=1) / math.log(2)


def objective(model: nn.Module, x0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule, row: Row) -> Tensor:
    """What the row minimises, on one batch: a scalar with gradient."""
    xt = process.q_sample(x0, t, eps, schedule)
    output = model(xt, t)
    if row[1] == "L":
        return bound(output, x0, xt, t, schedule, row).mean()
    target = {"eps": eps, "x0": x0}.get(row[0])
    target = process.q_posterior(x0, xt, t, schedule)[0] if target is None else target
    return (output - target).square().mean()


def train(row: Row, images: Tensor, budget: Budget, seed: int) -> Iterator[TrainStep]:
    """Train one row on images uint8 (N, 1, 8, 8); a TrainStep a step. Ends early at a loss that is not finite."""
    model, noise = network(row, seed, budget.base), schedule()
    ema, g = copy.deepcopy(model).requires_grad_(False), torch.Generator().manual_seed(1000 + seed)
    adam = torch.optim.Adam(model.parameters(), budget.lr, fused=True)
    rates = TrainConfig(steps=budget.steps, lr=budget.lr, warmup=budget.warmup)
    for number in range(1, budget.steps + 1):
        x0 = data.from_uint8(images[torch.randint(len(images), (budget.batch,), generator=g)])
        t = torch.randint(1, noise.T + 1, (budget.batch,), generator=g)
        loss = objective(model, x0, t, torch.randn(x0.shape, generator=g), noise, row)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.param_groups[0]["lr"] = learning_rate(rates, number)
        adam.step()
        update_ema(ema, model, ema_decay(budget.ema, number))
        yield TrainStep(number, float(loss.detach()), ema)
        if not torch.isfinite(loss):
            return


@torch.no_grad()
def sample(model: nn.Module, count: int, row: Row, seed: int) -> Tensor:
    """Algorithm 2 with the row's own mean and variance, x0_hat clipped: uint8 (count, 1, 8, 8). What is not finite becomes 0."""
    noise, g = schedule(), torch.Generator().manual_seed(2000 + seed)
    xt = torch.randn(count, 1, 8, 8, generator=g)
    for k in range(noise.T, 0, -1):
        t = torch.full((count,), k)
        mean, log_sigma2 = reverse(model(xt, t), xt, t, noise, row, clip=True)
        z = torch.randn(xt.shape, generator=g)
        xt = mean + (0.5 * log_sigma2).exp() * z if k > 1 else mean
    return data.to_uint8(torch.nan_to_num(xt, 0.0, 1.0, -1.0))


@torch.no_grad()
def bits(model: nn.Module, images: Tensor, row: Row, seed: int) -> Tensor:
    """All terms of the bound on images uint8 (N, 1, 8, 8), bits/dim, float64 (N, T + 1).

    [:, 0] is L_T, [:, 1] L_0, and [:, t] L_{t-1}.
    """
    noise, g, x0 = schedule(), torch.Generator().manual_seed(3000 + seed), data.from_uint8(images)
    terms = [losses.prior_nats(x0, noise).double() / (math.log(2) * x0[0].numel())]
    for k in range(1, noise.T + 1):
        t = torch.full((len(x0),), k)
        xt = process.q_sample(x0, t, torch.randn(x0.shape, generator=g), noise)
        terms.append(bound(model(xt, t), x0, xt, t, noise, row, clip=True).double())
    return torch.stack(terms, dim=1)
