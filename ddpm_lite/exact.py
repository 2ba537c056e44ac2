"""Data for which the best network is known in closed form: mixtures of round Gaussians.

    q(x_0) = sum_k w_k N(m_k, s_k^2 I)   =>   q(x_t) = sum_k w_k N(sqrt(ab) m_k, (ab s_k^2 + 1 - ab) I)

with ab = alpha_bar_t: DDPM eq. (4), component by component. One component is a Gaussian; components of
variance 0 are a finite data set, whose best network is a softmax over the training images.

Shapes: x (B, ...), float; t (B,) integer, 1..T. Results have the dtype and device of x; the sums are float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from . import process, validate
from .schedules import Schedule


@dataclass(frozen=True)
class Mixture:
    """sum_k weights_k N(means_k, variances_k I). means: (K, ...); variances, weights: (K,); all float64.

    Raises ValueError for wrong shapes, a negative variance, or weights that are negative or do not sum to 1.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        for name in ("means", "variances", "weights"):
            validate.floating(getattr(self, name), name)
            object.__setattr__(self, name, getattr(self, name).double())
        K = len(self.means)
        if self.means.ndim < 2 or self.variances.shape != (K,) or self.weights.shape != (K,):
            raise ValueError(
                f"means must be (K, ...), variances and weights (K,), got {tuple(self.means.shape)}, "
                f"{tuple(self.variances.shape)} and {tuple(self.weights.shape)}."
            )
        if (self.variances < 0).any():
            raise ValueError("variances must be 0 or more; give variances, not logarithms of them.")
        if (self.weights < 0).any() or abs(float(self.weights.sum()) - 1) > 1e-6:
            raise ValueError(
                f"weights must be 0 or more and sum to 1, they sum to {float(self.weights.sum()):.4g}."
            )

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` draws, float64 (count, ...)."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        means = self.means[which]
        noise = torch.randn(means.shape, generator=generator, dtype=torch.float64)
        return means + process.at(self.variances.sqrt(), which, means) * noise

    def noised(self, t: int, schedule: Schedule) -> Mixture:
        """q(x_t), a mixture again; t = 0 gives the data. Raises ValueError for t outside 0..T."""
        if not 0 <= t <= schedule.T:
            raise ValueError(f"t must lie in 0..{schedule.T}, got t = {t}.")
        kept = schedule.alpha_bar[t]
        return Mixture(kept.sqrt() * self.means, kept * self.variances + 1 - kept, self.weights)

    def log_prob(self, x: Tensor) -> Tensor:
        """log of the density at x: nats, (B,). Raises ValueError if a component has variance 0: no density."""
        if (self.variances == 0).any():
            raise ValueError(
                "a component has variance 0 and no density; noised(t, schedule) with t >= 1 has."
            )
        ones = torch.ones(len(x), 1, dtype=torch.float64)
        return self._log_joint(x, ones, ones * self.variances).logsumexp(dim=1).to(x.dtype)

    def score(self, x: Tensor) -> Tensor:
        """The gradient of log_prob at x, shaped as x. Raises ValueError as log_prob does."""
        x = x.double().detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.log_prob(x).sum(), x)
        return gradient

    def x0_mean(self, xt: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """E[x_0 | x_t], shaped as x_t: what the best x_0-predicting network answers.

        Given component k it is m_k + c_k (x_t - sqrt(ab) m_k) with c_k = sqrt(ab) s_k^2 / (ab s_k^2 + 1 - ab).
        """
        validate.floating(xt, "xt")
        validate.timesteps(t, len(xt), schedule.T)
        kept = schedule.alpha_bar[t][:, None]  # (B, 1)
        variances = kept * self.variances + 1 - kept  # (B, K)
        r = self._log_joint(xt, kept.sqrt(), variances).softmax(dim=1)  # (B, K): which component, given x_t
        c = kept.sqrt() * self.variances / variances  # (B, K)
        flat = (r * (1 - c * kept.sqrt())) @ self.means.flatten(1) + (r * c).sum(1, keepdim=True) * _flat(xt)
        return flat.reshape(xt.shape).to(xt.dtype)

    def eps(self, xt: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
        """E[eps | x_t], shaped as x_t: what the best network answers. Bind `schedule` to make an eps_model."""
        return process.predict_eps(xt, t, self.x0_mean(xt, t, schedule), schedule)

    def _log_joint(self, x: Tensor, scale: Tensor, variances: Tensor) -> Tensor:
        """log w_k + log N(x; scale m_k, variance_k I): x (B, ...), scale (B, 1), variances (B, K) -> (B, K)."""
        x, means = _flat(x), self.means.flatten(1)
        if x.shape[1] != means.shape[1]:
            raise ValueError(f"x has {x.shape[1]} numbers an example, the mixture has {means.shape[1]}.")
        distance2 = x.square().sum(1, keepdim=True) - 2 * scale * (x @ means.T)
        distance2 = (distance2 + scale**2 * means.square().sum(1)).clamp(min=0)
        log_normal = -0.5 * (distance2 / variances + means.shape[1] * torch.log(2 * math.pi * variances))
        return self.weights.log() + log_normal


def _flat(x: Tensor) -> Tensor:
    return x.double().flatten(1)  # (B, ...) -> (B, D)


def gaussian(mean: Tensor, variance: float) -> Mixture:
    """N(mean, variance I) as a mixture of one. mean: (...), one example; variance: 0 or more."""
    return Mixture(mean[None].double(), torch.tensor([float(variance)], dtype=torch.float64), _equal(1))


def finite(x0: Tensor) -> Mixture:
    """A data set that is exactly the examples x0 (N, ...), each as likely: components of variance 0."""
    return Mixture(x0.double(), torch.zeros(len(x0), dtype=torch.float64), _equal(len(x0)))


def ring(count: int = 8, radius: float = 1.0, std: float = 0.05) -> Mixture:
    """`count` equal Gaussians of standard deviation `std` on a circle in the plane: the classic toy."""
    angle = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return Mixture(means, torch.full((count,), std**2, dtype=torch.float64), _equal(count))


def _equal(count: int) -> Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)
