"""What is minimised (L_simple) and what it bounds (bits per dimension): DDPM section 2, 3.3 and 3.4.

    L = E_q[ L_T + sum_{t>1} L_{t-1} + L_0 ]                                              DDPM eq. (5)

Shapes: x0, eps (B, ...), float, images in [-1, 1]; t (B,) integer, 1..T. Nats unless a name says bits.
eps_model is any callable (xt, t) -> eps_hat of the shape of xt. Where the docstrings speak of errors beyond
these, they come on top: TypeError for a wrong dtype, ValueError for NaN, wrong shapes or t outside 1..T.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import process, validate
from .schedules import Schedule

EpsModel = Callable[[Tensor, Tensor], Tensor]
VARIANCES = ("beta", "beta_tilde")


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape of `like`, drawn where the generator lives and moved to `like`."""
    device = generator.device if generator is not None else like.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def _per_example(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)  # (B, ...) -> (B,)


def simple_loss(
    eps_model: EpsModel,
    x0: Tensor,
    schedule: Schedule,
    generator: torch.Generator | None = None,
    t: Tensor | None = None,
    eps: Tensor | None = None,
) -> Tensor:
    """L_simple = E ||eps - eps_theta(x_t, t)||^2, x_t by `process.q_sample` from x_0 and eps: DDPM eq. (14).

    The mean over examples and dimensions, a scalar with gradient. What is not given is drawn with
    `generator`: t uniformly from 1..T, then eps from N(0, I).
    """
    validate.floating(x0, "x0")
    if t is None:
        device = generator.device if generator is not None else x0.device
        t = torch.randint(1, schedule.T + 1, (len(x0),), generator=generator, device=device).to(x0.device)
    eps = _noise(x0, generator) if eps is None else eps
    eps_hat = eps_model(process.q_sample(x0, t, eps, schedule), t)
    validate.same_shape(eps_hat, eps, "the output of eps_model", "eps")
    return (eps_hat - eps).square().mean()


def normal_kl(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """KL(N(mean1, var1) || N(mean2, var2)) in nats, element by element; the arguments broadcast.

    var1 and var2 are variances and must be greater than 0.
    """
    return 0.5 * (torch.log(var2 / var1) + (var1 + (mean1 - mean2) ** 2) / var2 - 1)


def posterior_variance(schedule: Schedule) -> Tensor:
    """beta_tilde with its first entry, which is 0, replaced by beta_tilde_2, so that log and 1/x are finite.

    Float64 (T+1,), as the published code does. With T = 1 there is no beta_tilde_2, and beta_1 stands in.
    """
    sigma2 = schedule.beta_tilde.clone()
    sigma2[1] = sigma2[2] if schedule.T > 1 else schedule.beta[1]
    return sigma2


def reverse_variance(schedule: Schedule, variance: str = "beta") -> Tensor:
    """sigma_t^2 of p_theta(x_{t-1} | x_t), float64 (T+1,): beta or, by `posterior_variance`, beta_tilde.

    Both are in DDPM section 3.2. Raises ValueError for another name.
    """
    validate.one_of(variance, VARIANCES, "variance")
    return schedule.beta if variance == "beta" else posterior_variance(schedule)


def vlb_weight(schedule: Schedule, variance: str = "beta") -> Tensor:
    """The factor of ||eps - eps_theta||^2 in eq. (12): beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)).

    Float64 (T+1,), index 0 unused (0). L_simple sets it to 1. Raises ValueError for an unknown variance.
    """
    sigma2 = reverse_variance(schedule, variance)[1:]
    beta, alpha, alpha_bar = schedule.beta[1:], schedule.alpha[1:], schedule.alpha_bar[1:]
    return torch.cat([beta.new_zeros(1), beta**2 / (2 * sigma2 * alpha * (1 - alpha_bar))])


def predict(eps_model: EpsModel, xt: Tensor, t: Tensor, schedule: Schedule, clip: bool = True) -> Tensor:
    """The network's x0_hat for x_t, held to [-1, 1] if `clip`.

    Raises ValueError if eps_hat has another shape.
    """
    eps_hat = eps_model(xt, t)
    validate.same_shape(eps_hat, xt, "the output of eps_model", "xt")
    x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
    return x0_hat.clamp(-1, 1) if clip else x0_hat


def prior_nats(x0: Tensor, schedule: Schedule) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)), nats, (B,). Nothing in it is learned."""
    validate.floating(x0, "x0")
    alpha_bar = float(schedule.alpha_bar[-1])
    # normal_kl(sqrt(alpha_bar) x0, 1 - alpha_bar, 0, 1), ordered so that nothing cancels in float32
    return _per_example(0.5 * (alpha_bar * x0.square() + (-math.log1p(-alpha_bar) - alpha_bar)))


def term_nats(
    eps_model: EpsModel,
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    variance: str = "beta",
    clip: bool = False,
    generator: torch.Generator | None = None,
    eps: Tensor | None = None,
) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) for t = 2..T, nats, (B,), with gradient.

    One draw of x_t an example, from `eps` if it is given. p_theta has the mean mu_tilde(x0_hat, x_t), held to
    x0_hat in [-1, 1] if `clip`, and the variance beta or beta_tilde. Raises ValueError also for t = 1.
    """
    eps = _noise(x0, generator) if eps is None else eps
    xt = process.q_sample(x0, t, eps, schedule)
    if (t == 1).any():
        raise ValueError("L_{t-1} is a KL for t = 2..T only; for t = 1 the term is L_0: decoder_nats.")
    x0_hat = predict(eps_model, xt, t, schedule, clip)
    of_x0, _ = process.posterior_coefficients(schedule)
    apart = process.at(of_x0, t, x0) * (x0 - x0_hat)  # mu_tilde - mu_theta: their shares of x_t are the same
    sigma2, mean = reverse_variance(schedule, variance), torch.zeros_like(schedule.beta)
    spread = normal_kl(
        mean, posterior_variance(schedule), mean, sigma2
    )  # float64: its parts cancel; index 0 unused
    return _per_example(process.at(spread, t, x0) + apart.square() / (2 * process.at(sigma2, t, x0)))


def discretised_log_prob(x0: Tensor, mean: Tensor, sigma2: Tensor | float) -> Tensor:
    """log of the mass that N(mean, sigma2) gives to the grey level x0, element by element: DDPM eq. (13).

    A level owns x0 +- 1/255; the first and the last own the tails below and above them as well, so that the
    256 masses sum to one. Exact far out in the tails too, where a difference of two erf would be 0.
    """
    sigma = torch.as_tensor(sigma2, dtype=mean.dtype, device=mean.device).sqrt()
    low, high = (x0 - mean - 1 / 255) / sigma, (x0 - mean + 1 / 255) / sigma
    far = 1e4  # standard deviations, for infinity, whose gradient would be NaN
    low, high = torch.where(x0 < -0.999, high - far, low), torch.where(x0 > 0.999, low + far, high)
    flip = low + high > 0  # use the tail that is small: P(low < z < high) = P(-high < z < -low)
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + torch.log(-torch.expm1(log_low - log_high))


def _grey_levels(x0: Tensor) -> None:
    validate.floating(x0, "x0")
    level = (x0 + 1) * 127.5
    if x0.numel() and (
        level.min() < -0.01 or level.max() > 255.01 or (level - level.round()).abs().max() > 0.01
    ):
        raise ValueError(
            "bits are counted for the 256 grey levels -1, -1 + 2/255, ..., 1, and x0 holds other values; "
            "data.from_uint8(images) gives these levels. Resize or crop the bytes, not the floats."
        )


def decoder_nats(
    eps_model: EpsModel,
    x0: Tensor,
    schedule: Schedule,
    variance: str = "beta",
    clip: bool = True,
    generator: torch.Generator | None = None,
    eps: Tensor | None = None,
) -> Tensor:
    """L_0 = -log p_theta(x_0 | x_1), nats, (B,), by the discretised decoder of DDPM eq. (13), with gradient.

    Raises ValueError also where x0 is none of the 256 levels that `data.from_uint8` makes.
    """
    _grey_levels(x0)
    eps = _noise(x0, generator) if eps is None else eps
    t = torch.ones(len(x0), dtype=torch.int64, device=x0.device)
    x1 = process.q_sample(x0, t, eps, schedule)
    mean = predict(eps_model, x1, t, schedule, clip)  # mu_tilde at t = 1 is x0_hat itself
    return -_per_example(discretised_log_prob(x0, mean, float(reverse_variance(schedule, variance)[1])))


@dataclass(frozen=True)
class BitsPerDim:
    """The parts of the bound on -log2 p(x_0), in bits a dimension, one row an image.

    prior: (B,), L_T. terms: (B, T), of which terms[:, 0] is L_0 and terms[:, t - 1] is L_{t-1}.
    """

    prior: Tensor
    terms: Tensor

    @property
    def total(self) -> Tensor:
        """The bound itself, (B,): DDPM eq. (5)."""
        return self.prior + self.terms.sum(dim=1)

    @property
    def distortion(self) -> Tensor:
        """L_0, (B,): what is left to say once x_1 is known (section 4.3)."""
        return self.terms[:, 0]

    @property
    def rate(self) -> Tensor:
        """L_1 + ... + L_T, (B,): what it costs to say x_1 (section 4.3)."""
        return self.total - self.distortion


@torch.no_grad()
def bits_per_dim(
    eps_model: EpsModel,
    x0: Tensor,
    schedule: Schedule,
    variance: str = "beta",
    clip: bool = True,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> BitsPerDim:
    """The bound on the negative log-likelihood of images, term by term: T calls of eps_model, one draw each.

    x0 must hold the 256 levels of `data.from_uint8`. clip=True holds x0_hat to [-1, 1], as the published code
    does. progress=True shows a bar. Results are float64 on the CPU. Put a network into eval mode first.
    """
    _grey_levels(x0)
    steps = range(1, schedule.T + 1)
    if progress:
        from tqdm.auto import tqdm

        steps = tqdm(steps, desc="bits/dim", leave=False)
    terms = []
    for t in steps:
        if t == 1:
            nats = decoder_nats(eps_model, x0, schedule, variance, clip, generator)
        else:
            ts = torch.full((len(x0),), t, device=x0.device)
            nats = term_nats(eps_model, x0, ts, schedule, variance, clip, generator)
        terms.append(nats.cpu().double())
    bits = math.log(2) * x0[0].numel()  # nats an image -> bits a dimension
    return BitsPerDim(prior_nats(x0, schedule).cpu().double() / bits, torch.stack(terms, dim=1) / bits)


def strata(T: int, count: int) -> list[tuple[int, int]]:
    """1..T cut into `count` neighbouring pieces (first, last), both included: fine where t is small, where the bits are.

    Each is about the same factor longer than the one before it; the first hold one t each. Raises ValueError unless
    1 <= count <= T.
    """
    if not 1 <= count <= T:
        raise ValueError(f"count must lie in 1..{T}, the number of timesteps, got {count}.")
    ends = [0]
    for left in range(count, 0, -1):  # at least one t each, and the rest shared out geometrically
        step = round(ends[-1] * ((T / max(ends[-1], 1)) ** (1 / left) - 1))
        ends.append(min(ends[-1] + max(step, 1), T - left + 1))
    ends[-1] = T
    return [(a + 1, b) for a, b in itertools.pairwise(ends)]


@dataclass(frozen=True)
class StratifiedBits:
    """An estimate of the bound from one random t a stratum, in bits a dimension, one row an image.

    prior: (B,), L_T. sums: (B, K): the sum of the terms in each stratum, estimated by its length times the one drawn.
    strata: the K pieces (first, last) of 1..T.
    """

    prior: Tensor
    sums: Tensor
    strata: tuple[tuple[int, int], ...]

    @property
    def total(self) -> Tensor:
        """An unbiased estimate of each image's bound, (B,)."""
        return self.prior + self.sums.sum(dim=1)

    @property
    def mean(self) -> float:
        """The mean over the images."""
        return float(self.total.mean())

    @property
    def error(self) -> float:
        """Its standard error: the images differ, and so do the t and the noise drawn for them; needs two images."""
        return float(self.total.std() / math.sqrt(len(self.total)))


@torch.no_grad()
def stratified_bits_per_dim(
    eps_model: EpsModel,
    x0: Tensor,
    schedule: Schedule,
    count: int = 25,
    variance: str = "beta",
    clip: bool = True,
    generator: torch.Generator | None = None,
    progress: bool = False,
    batch: int = 50,
) -> StratifiedBits:
    """`bits_per_dim` for many images: `count` calls an image in place of T, each at a t drawn from its stratum.

    L_0 has a stratum of its own, so it is never estimated from another t. Arguments as for bits_per_dim; generator
    must live on the CPU. Results are float64 on the CPU. Raises ValueError unless 2 <= count <= T.
    """
    _grey_levels(x0)
    if not 2 <= count <= schedule.T:
        raise ValueError(f"count must lie in 2..{schedule.T}, got {count}.")
    pieces, bits = strata(schedule.T, count), math.log(2) * x0[0].numel()
    parts = [(piece, part) for piece in pieces for part in x0.split(batch)]
    if progress:
        from tqdm.auto import tqdm

        parts = tqdm(parts, desc="bits/dim", leave=False)
    sums = []
    for (first, last), part in parts:
        t = torch.randint(first, last + 1, (len(part),), generator=generator).to(x0.device)
        if last == 1:
            nats = decoder_nats(eps_model, part, schedule, variance, clip, generator)
        else:
            nats = term_nats(eps_model, part, t, schedule, variance, clip, generator)
        sums.append(nats.cpu().double() * (last - first + 1) / bits)
    stacked = torch.cat(sums).reshape(count, len(x0)).T  # every stratum saw all the images, in order
    return StratifiedBits(prior_nats(x0, schedule).cpu().double() / bits, stacked, tuple(pieces))
