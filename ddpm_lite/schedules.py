"""Noise schedules: how much noise each of the T steps adds (DDPM section 2 and 4).

A new schedule is one function that returns a `Schedule`, under `@register`. Tests, menus and the
chapter that compares schedules find it through `REGISTRY`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """The variances beta_1..beta_T of the forward process and all that follows from them.

    beta: float64 (T+1,). Entry t belongs to step t; entry 0 is 0 and stands for the clean image.
    name: what to call it on a plot.

    Raises TypeError if beta is no tensor, ValueError if it is not 1-D with at least two entries, does not
    start with 0, or has a beta_t outside (0, 1).
    """

    beta: Tensor
    name: str = "custom"

    def __post_init__(self) -> None:
        if not isinstance(self.beta, Tensor):
            raise TypeError(
                f"beta must be a torch.Tensor, got {type(self.beta).__name__}; see schedules.from_beta."
            )
        if self.beta.ndim != 1 or len(self.beta) < 2:
            raise ValueError(f"beta must have shape (T+1,) with T >= 1, got {tuple(self.beta.shape)}.")
        object.__setattr__(self, "beta", self.beta.detach().to("cpu", torch.float64))
        if self.beta[0] != 0:
            raise ValueError(
                "beta[0] must be 0: index 0 is the clean image. schedules.from_beta adds it for you."
            )
        bad = ~((self.beta[1:] > 0) & (self.beta[1:] < 1))  # written so that NaN counts as bad
        if bad.any():
            t = int(bad.nonzero()[0]) + 1
            raise ValueError(
                f"every beta_t must lie strictly between 0 and 1, got beta_{t} = {float(self.beta[t]):.6g}."
            )

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    @cached_property
    def alpha(self) -> Tensor:
        """alpha_t = 1 - beta_t, float64 (T+1,)."""
        return 1 - self.beta

    @cached_property
    def alpha_bar(self) -> Tensor:
        """alpha_bar_t = alpha_1 * ... * alpha_t, float64 (T+1,), with alpha_bar_0 = 1."""
        return torch.cumprod(self.alpha, dim=0)

    @cached_property
    def beta_tilde(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x_0), DDPM eq. (7), float64 (T+1,). beta_tilde_1 is exactly 0."""
        beta_tilde = torch.zeros_like(self.beta)
        beta_tilde[1:] = (1 - self.alpha_bar[:-1]) / (1 - self.alpha_bar[1:]) * self.beta[1:]
        return beta_tilde

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), float64 (T+1,); infinite at t = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def __repr__(self) -> str:
        return f"Schedule({self.name!r}, T={self.T}, alpha_bar_T={float(self.alpha_bar[-1]):.3g})"


REGISTRY: dict[str, Callable[..., Schedule]] = {}


def register(function: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Put a schedule function into `REGISTRY` under its own name."""
    REGISTRY[function.__name__] = function
    return function


def from_beta(beta, name: str = "custom") -> Schedule:
    """A `Schedule` from beta_1..beta_T: a sequence or tensor of length T, each value in (0, 1)."""
    beta = torch.as_tensor(beta, dtype=torch.float64)
    if beta.ndim != 1 or len(beta) < 1:
        raise ValueError(f"beta must be a sequence of T >= 1 numbers, got shape {tuple(beta.shape)}.")
    return Schedule(torch.cat([beta.new_zeros(1), beta]), name)


def _steps(T: int) -> int:
    if isinstance(T, bool) or not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be a whole number of steps, 1 or more, got {T!r}.")
    return T


@register
def linear(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    """The paper's: beta_t rises in a straight line from beta_1 to beta_T (DDPM section 4)."""
    return from_beta(torch.linspace(beta_1, beta_T, _steps(T), dtype=torch.float64), "linear")


@register
def quadratic(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    """sqrt(beta_t) rises in a straight line, so that the first steps are gentler than in `linear`."""
    roots = torch.linspace(
        math.sqrt(max(beta_1, 0)), math.sqrt(max(beta_T, 0)), _steps(T), dtype=torch.float64
    )
    return from_beta(roots**2, "quadratic")


@register
def constant(T: int = 1000, beta: float = 0.01) -> Schedule:
    """The same beta at every step, so alpha_bar_t = (1 - beta)^t."""
    return from_beta(torch.full((_steps(T),), beta, dtype=torch.float64), "constant")


@register
def cosine(T: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> Schedule:
    """alpha_bar_t follows a squared cosine (Nichol & Dhariwal 2021, eq. 17); beta is capped at beta_max.

    s > 0 keeps beta_1 from being vanishingly small.
    """
    if not s > 0:
        raise ValueError(f"s must be greater than 0, got {s}.")
    f = torch.cos((torch.arange(_steps(T) + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
    return from_beta((1 - f[1:] / f[:-1]).clamp(max=beta_max), "cosine")


@register
def sigmoid(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02, width: float = 6.0) -> Schedule:
    """beta_t climbs from about beta_1 to about beta_T along a logistic curve over [-width, width]."""
    ramp = torch.sigmoid(torch.linspace(-width, width, _steps(T), dtype=torch.float64))
    return from_beta(beta_1 + (beta_T - beta_1) * ramp, "sigmoid")


def respace(schedule: Schedule, steps: int) -> tuple[Schedule, Tensor]:
    """A shorter chain that visits `steps` of the T noise levels, and which levels those are.

    Returns (short, tau): short.T = steps, and short.alpha_bar[i] = schedule.alpha_bar[tau[i]] exactly;
    tau is int64 (steps+1,), from tau[0] = 0 to tau[steps] = T. Give the network tau[i], not i: see
    `samplers.at_timesteps`. (Nichol & Dhariwal 2021, section 4.)

    Raises ValueError unless 1 <= steps <= T.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= schedule.T:
        raise ValueError(f"steps must be a whole number in 1..{schedule.T}, got {steps!r}.")
    tau = torch.linspace(0, schedule.T, steps + 1, dtype=torch.float64).round().long()
    alpha_bar = schedule.alpha_bar[tau]
    return from_beta(1 - alpha_bar[1:] / alpha_bar[:-1], f"{schedule.name}, {steps} of {schedule.T}"), tau
