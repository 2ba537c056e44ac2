"""Exercises of chapter 04: the bound on -log p(x_0), its terms, and the model for which it is tight."""

import math

import torch
from torch import Tensor

from ddpm_lite import losses, process, schedules
from ddpm_lite.exercises.cases import PAPER, SHORT
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

CHAIN = schedules.linear(T=20, beta_1=0.01, beta_T=0.35)

KNOWN = "A model whose likelihood we know"
ONE_PATH = "The bound along one path"
TWO_GAUSSIANS = "The distance between two Gaussians"
TERMS = "Three kinds of terms"


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)  # (B, ...) -> (B,)


# ---------------------------------------------------------------------------------------------------
# 04.1 exact_reverse


def exact_reverse(xt: Tensor, t: Tensor, m: float, s2: float, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Mean (B, ...) and variance (B, 1, ..., 1) of q(x_{t-1} | x_t) for data x_0 ~ N(m, s2 I)."""
    v, centre = _spread(s2, schedule), schedule.alpha_bar.sqrt() * m
    ratio = at(v, t - 1, xt) / at(v, t, xt)
    gain = at(schedule.alpha.sqrt(), t, xt) * ratio
    return at(centre, t - 1, xt) + gain * (xt - at(centre, t, xt)), at(schedule.beta, t, xt) * ratio


def _spread(s2: float, schedule: Schedule) -> Tensor:
    """The variance of x_t, (T+1,)."""
    return schedule.alpha_bar * s2 + 1 - schedule.alpha_bar


def _points():
    t = torch.tensor
    yield Case("4 points of 3 numbers, float64", randn(4, 3, dtype=torch.float64), t([1, 2, 5, 4]), 1.0, 0.25, SHORT)  # fmt: skip
    yield Case("2 images of (1, 4, 3), float32", rand(2, 1, 4, 3, seed=1), t([3, 20]), -0.5, 0.6, CHAIN)
    columns = randn(2, 5, seed=2, dtype=torch.float64).T  # (5, 2), and not contiguous in memory
    yield Case("5 points, not contiguous, wide data", columns, t([1, 20, 7, 2, 13]), 0.3, 2.5, CHAIN)


def _reverse(centre=None, gain=None, variance=None, offset=True, early=0):
    """A wrong exact_reverse: functions of (m, s2, schedule, t) -> (B,) replace the right parts; x_t less m_{t - early}."""

    def wrong(xt: Tensor, t: Tensor, m: float, s2: float, schedule: Schedule) -> tuple[Tensor, Tensor]:
        def shape(values: Tensor) -> Tensor:
            return values.to(xt.dtype).reshape(-1, *[1] * (xt.ndim - 1))

        v = _spread(s2, schedule)
        where = centre(m, schedule) if centre else schedule.alpha_bar.sqrt() * m
        slope = gain(v, schedule, t) if gain else schedule.alpha[t].sqrt() * v[t - 1] / v[t]
        left = variance(v, schedule, t) if variance else schedule.beta[t] * v[t - 1] / v[t]
        away = xt - shape(where[t - early]) if offset else xt
        return shape(where[t - 1]) + shape(slope) * away, shape(left)

    return wrong


def _posterior_of_the_mean(xt, t, m, s2, schedule):
    return process.q_posterior(torch.full_like(xt, m), xt, t, schedule)


# ---------------------------------------------------------------------------------------------------
# 04.2 path_nats


def log_normal(x: Tensor, mean: Tensor | float, variance: Tensor | float) -> Tensor:
    """log N(x; mean, variance I), nats, summed over each example: (B, ...) -> (B,)."""
    variance = torch.as_tensor(variance, dtype=x.dtype)
    return _sum(-0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance))


def path_nats(path: Tensor, mu_theta: Tensor, sigma2: Tensor, schedule: Schedule) -> Tensor:
    """-log p(x_T) - sum_t log p_theta(x_{t-1} | x_t) / q(x_t | x_{t-1}) along each path: nats, (B,)."""
    return _along()(path, mu_theta, sigma2, schedule)


def _along(
    prior=-1,
    reverse=-1,
    forward=1,
    jump=False,
    std=False,
    late=False,
    mean=False,
    root=True,
    scaled=True,
    first=1,
    last=0,
):
    """path_nats with signs and parts to choose; the defaults are right."""

    def answer(path: Tensor, mu_theta: Tensor, sigma2: Tensor, schedule: Schedule) -> Tensor:
        nats = prior * log_normal(path[-1], 0.0, 1.0)
        for t in range(first, schedule.T + 1 - last):
            start, kept = (path[0], schedule.alpha_bar[t]) if jump else (path[t - 1], schedule.alpha[t])
            factor = (kept.sqrt() if root else kept) if scaled else 1.0
            moved = log_normal(path[t], factor * start, 1 - kept)
            guess = mu_theta[t - 1] if late else mu_theta[t]
            nats = nats + forward * moved
            nats = nats + reverse * log_normal(path[t - 1], guess, sigma2[t].sqrt() if std else sigma2[t])
        return nats / path[0, 0].numel() if mean else nats

    return answer


def _paths():
    def case(label: str, path: Tensor, seed: int, schedule: Schedule) -> Case:
        mu_theta = 0.9 * path + 0.3 * randn(*path.shape, seed=seed, dtype=path.dtype)
        return Case(label, path, mu_theta, 0.8 * schedule.beta + 0.05, schedule)

    yield case("4 paths of 3 numbers, float64", randn(6, 4, 3, seed=3, dtype=torch.float64), 4, SHORT)
    yield case("2 paths of (1, 3, 2), float32", randn(6, 2, 1, 3, 2, seed=5), 6, SHORT)
    turned = randn(2, 3, 21, seed=7, dtype=torch.float64).permute(2, 1, 0)  # (21, 3, 2), not contiguous
    yield case("3 paths of 20 steps, not contiguous", turned, 8, CHAIN)


# ---------------------------------------------------------------------------------------------------
# 04.3 normal_kl


def _pairs():
    def case(label: str, mean: Tensor, seed: int) -> Case:
        def positive(k: int) -> Tensor:
            return rand(*mean.shape, seed=seed + k, dtype=mean.dtype) + 1.2

        return Case(label, mean, positive(0), mean.flip(0) - 0.3, positive(1) + 0.4)

    yield case("4 numbers each, float64", randn(4, dtype=torch.float64), 1)
    yield case("tables of (3, 2), float32", randn(3, 2, seed=3), 4)
    yield case("(5, 2), not contiguous", randn(2, 5, seed=6, dtype=torch.float64).T, 7)


def _kl(of):
    """A wrong KL: a function of (log of var2 over var1, var1 over var2, squared distance, var1, var2)."""

    def wrong(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
        return of(torch.log(var2 / var1), var1 / var2, (mean1 - mean2) ** 2, var1, var2)

    return wrong


# ---------------------------------------------------------------------------------------------------
# 04.4 prior_term, 04.5 reverse_term


def _clean():
    yield Case("3 points of 4 numbers, float64", rand(3, 4, dtype=torch.float64), SHORT)
    yield Case("2 images of (1, 4, 3), float32", rand(2, 1, 4, 3, seed=1), SHORT)
    columns = rand(2, 5, seed=2, dtype=torch.float64).T
    yield Case("5 points, not contiguous, 20 steps", columns, CHAIN)
    yield Case("the paper's 1000 steps", rand(2, 6, seed=3, dtype=torch.float64), PAPER)


def _prior(mean, variance, of=_sum):
    """A wrong L_T: KL(N(mean(kept) x_0, variance(kept)) || N(0, I)), collected over the numbers by `of`."""

    def wrong(x0: Tensor, schedule: Schedule) -> Tensor:
        kept = schedule.alpha_bar[-1]
        one, zero = torch.ones_like(x0), torch.zeros_like(x0)
        return of(losses.normal_kl(mean(kept) * x0, variance(kept) * one, zero, one))

    return wrong


def _prior_swapped(x0: Tensor, schedule: Schedule) -> Tensor:
    kept = schedule.alpha_bar[-1]
    one, zero = torch.ones_like(x0), torch.zeros_like(x0)
    return _sum(losses.normal_kl(zero, one, kept.sqrt() * x0, (1 - kept) * one))


def _prior_of_one_step(x0: Tensor, schedule: Schedule) -> Tensor:
    kept = schedule.alpha[-1]
    one, zero = torch.ones_like(x0), torch.zeros_like(x0)
    return _sum(losses.normal_kl(kept.sqrt() * x0, (1 - kept) * one, zero, one))


def reverse_term(
    x0: Tensor, xt: Tensor, t: Tensor, mu_theta: Tensor, sigma2: Tensor, schedule: Schedule
) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || N(mu_theta, sigma2_t I)) for t = 2..T: nats, (B,)."""
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
    return _sum(losses.normal_kl(mu_tilde, beta_tilde, mu_theta, at(sigma2, t, xt)))


def _term(variance=None, target=None, kl=losses.normal_kl, std=False, of=_sum, swap=False):
    """A wrong L_{t-1}: `variance` a table in place of beta_tilde, `target` in place of mu_tilde."""

    def wrong(x0, xt, t, mu_theta, sigma2, schedule):
        mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
        first = (
            target(x0, xt) if target else mu_tilde,
            at(variance(schedule), t, xt) if variance else beta_tilde,
        )
        second = mu_theta, at(sigma2.sqrt() if std else sigma2, t, xt)
        return of(kl(*second, *first) if swap else kl(*first, *second))

    return wrong


def _triples():
    def case(label: str, x0: Tensor, t: list[int], seed: int, schedule: Schedule) -> Case:
        xt = 0.6 * x0 + 0.8 * randn(*x0.shape, seed=seed, dtype=x0.dtype)
        mu_theta = 0.5 * xt + 0.4 * randn(*x0.shape, seed=seed + 1, dtype=x0.dtype)
        return Case(label, x0, xt, torch.tensor(t), mu_theta, 0.9 * schedule.beta + 0.05, schedule)

    yield case("4 points of 3 numbers, float64", rand(4, 3, dtype=torch.float64), [2, 5, 3, 4], 1, SHORT)
    yield case("2 images of (1, 4, 3), float32", rand(2, 1, 4, 3, seed=3), [4, 2], 4, SHORT)
    columns = rand(2, 5, seed=6, dtype=torch.float64).T
    yield case("5 points, not contiguous, 20 steps", columns, [20, 2, 9, 14, 5], 7, CHAIN)


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(dim=1)


EXERCISES = (
    Exercise(
        id="04.1",
        title="exact_reverse: one step back, for Gaussian data",
        reference=exact_reverse,
        cases=_points,
        misconceptions=(
            Misconception(
                name="the posterior of chapter 03 with the mean of the data in the place of x_0",
                breaks="q(x_{t−1} | x_t) does not know x_0: its variance is β_t v_{t−1}/v_t, larger than β̃_t",
                wrong=_posterior_of_the_mean,
                reread=KNOWN,
            ),
            Misconception(
                name="the variance is β_t, which is right only for data of variance 1",
                breaks="the variance is β_t v_{t−1} / v_t, and v_{t−1} = v_t only if s² = 1",
                wrong=_reverse(variance=lambda v, s, t: s.beta[t]),
                reread=KNOWN,
            ),
            Misconception(
                name="the variance is β̃_t, which is right only if all the data are one point",
                breaks="the variance is β_t v_{t−1} / v_t, which is β̃_t only if s² = 0",
                wrong=_reverse(variance=lambda v, s, t: s.beta_tilde[t]),
                reread=KNOWN,
            ),
            Misconception(
                name="v_t and v_{t−1} are swapped",
                breaks="the gain is √α_t v_{t−1} / v_t, the variance β_t v_{t−1} / v_t",
                wrong=_reverse(
                    gain=lambda v, s, t: s.alpha[t].sqrt() * v[t] / v[t - 1],
                    variance=lambda v, s, t: s.beta[t] * v[t] / v[t - 1],
                ),
                reread=KNOWN,
            ),
            Misconception(
                name="α_t without the square root in the gain",
                breaks="Cov(x_{t−1}, x_t) = √α_t v_{t−1}, because x_t = √α_t x_{t−1} + √β_t ε",
                wrong=_reverse(gain=lambda v, s, t: s.alpha[t] * v[t - 1] / v[t]),
                reread=KNOWN,
            ),
            Misconception(
                name="ᾱ_t, of all steps so far, in place of α_t in the gain",
                breaks="only one step lies between x_{t−1} and x_t: Cov(x_{t−1}, x_t) = √α_t v_{t−1}",
                wrong=_reverse(gain=lambda v, s, t: s.alpha_bar[t].sqrt() * v[t - 1] / v[t]),
                reread=KNOWN,
            ),
            Misconception(
                name="the second result is the standard deviation, and the variance is wanted",
                breaks="q(x_{t−1} | x_t) = N(mean, β_t v_{t−1}/v_t): the second argument is a variance",
                wrong=_reverse(variance=lambda v, s, t: (s.beta[t] * v[t - 1] / v[t]).sqrt()),
                reread=KNOWN,
            ),
            Misconception(
                name="s2 is squared once more, as if it were the standard deviation of x_0",
                breaks="x_0 ~ N(m, s²), and s2 holds s² already",
                wrong=lambda xt, t, m, s2, schedule: exact_reverse(xt, t, m, s2**2, schedule),
                reread=KNOWN,
            ),
            Misconception(
                name="x_t is not centred before it is multiplied by the gain",
                breaks="mean = m_{t−1} + gain · (x_t − m_t)",
                wrong=_reverse(offset=False),
                reread=KNOWN,
            ),
            Misconception(
                name="x_t is centred by m_{t−1}, the mean of the step before",
                breaks="mean = m_{t−1} + gain · (x_t − m_t): x_t lies around its own mean, √ᾱ_t m",
                wrong=_reverse(early=1),
                reread=KNOWN,
            ),
            Misconception(
                name="m, the mean of x_0, where m_t, the mean of x_t, belongs",
                breaks="m_t = √ᾱ_t m: the mean shrinks with the image",
                wrong=_reverse(centre=lambda m, s: torch.full_like(s.alpha_bar, m)),
                reread=KNOWN,
            ),
        ),
        hints=(
            "Begin with v, the variance of x_t for every t at once: schedule.alpha_bar * s2 + 1 - schedule.alpha_bar. "
            "The means are schedule.alpha_bar.sqrt() * m.",
            "process.at(v, t - 1, xt) / process.at(v, t, xt) is v_{t-1}/v_t in the right shape, and both results need it.",
            "gain = process.at(schedule.alpha.sqrt(), t, xt) * ratio; the variance is process.at(schedule.beta, t, xt) * ratio; "
            "the mean is m_{t-1} + gain * (xt - m_t).",
        ),
    ),
    Exercise(
        id="04.2",
        title="path_nats: eq. (3) along a path",
        reference=path_nats,
        cases=_paths,
        misconceptions=(
            Misconception(
                name="the sign is missing: this is log w, and L is the mean of −log w",
                breaks="L = E_q[ −log p(x_T) − Σ log p_θ(x_{t−1} | x_t) / q(x_t | x_{t−1}) ]   (eq. 3)",
                wrong=_along(prior=1, reverse=1, forward=-1),
                reread=ONE_PATH,
            ),
            Misconception(
                name="−log p(x_T) is missing",
                breaks="p_θ(x_{0:T}) = p(x_T) Π p_θ(x_{t−1} | x_t): the chain has to start somewhere",
                wrong=_along(prior=0),
                reread=ONE_PATH,
            ),
            Misconception(
                name="log p(x_T) with the wrong sign, while the sum has the right one",
                breaks="L = E_q[ −log p(x_T) − Σ … ]: both are preceded by a minus   (eq. 3)",
                wrong=_along(prior=1),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the ratio is upside down: q / p_θ",
                breaks="−log p_θ/q = −log p_θ + log q: the forward step's log is added",
                wrong=_along(reverse=1, forward=-1),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the forward steps are missing: only −log p_θ(x_{0:T}) is left",
                breaks="w = p_θ(x_{0:T}) / q(x_{1:T} | x_0): the paths were drawn from q, and are divided by it",
                wrong=_along(forward=0),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the product of p_θ and q, not their ratio",
                breaks="−log p_θ/q = −log p_θ + log q",
                wrong=_along(forward=-1),
                reread=ONE_PATH,
            ),
            Misconception(
                name="q(x_t | x_0), the jump, in place of q(x_t | x_{t−1}), the step",
                breaks="q(x_{1:T} | x_0) = Π q(x_t | x_{t−1}): a product of steps   (eq. 2)",
                wrong=_along(jump=True),
                reread=ONE_PATH,
            ),
            Misconception(
                name="x_{t−1} multiplied by α_t, without the square root, in the forward step",
                breaks="q(x_t | x_{t−1}) = N(√α_t x_{t−1}, β_t I)   (eq. 2)",
                wrong=_along(root=False),
                reread=ONE_PATH,
            ),
            Misconception(
                name="x_{t−1} is not multiplied by √α_t in the forward step",
                breaks="q(x_t | x_{t−1}) = N(√α_t x_{t−1}, β_t I)   (eq. 2)",
                wrong=_along(scaled=False),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the step t = 1 is left out of the sum",
                breaks="the sum of (3) is over t ≥ 1: p_θ(x_0 | x_1) belongs to it",
                wrong=_along(first=2),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the step t = T is left out of the sum: range(1, T) ends at T − 1",
                breaks="the sum of (3) runs up to T, and range(1, T + 1) with it",
                wrong=_along(last=1),
                reread=ONE_PATH,
            ),
            Misconception(
                name="σ, a standard deviation, where the variance σ² belongs",
                breaks="p_θ(x_{t−1} | x_t) = N(μ_θ, σ_t² I), and sigma2 holds σ_t² already",
                wrong=_along(std=True),
                reread=ONE_PATH,
            ),
            Misconception(
                name="off by one: mu_theta[t − 1] for the step from x_t",
                breaks="mu_theta[t] is the mean of p_θ(x_{t−1} | x_t); index 0 is unused",
                wrong=_along(late=True),
                reread=ONE_PATH,
            ),
            Misconception(
                name="the mean over the numbers of an example, not their sum",
                breaks="log N(x; μ, v I) = Σ_i log N(x_i; μ_i, v): independent numbers multiply their densities",
                wrong=_along(mean=True),
                reread=ONE_PATH,
            ),
        ),
        hints=(
            "Start with -log_normal(path[-1], 0, 1), the only term that stands alone. Then walk t from 1 to schedule.T.",
            "At each t subtract log_normal(path[t - 1], mu_theta[t], sigma2[t]) and add the log of the forward step.",
            "The forward step is log_normal(path[t], schedule.alpha[t].sqrt() * path[t - 1], schedule.beta[t]).",
        ),
    ),
    Exercise(
        id="04.3",
        title="normal_kl: the KL of two Gaussians",
        reference=losses.normal_kl,
        cases=_pairs,
        misconceptions=(
            Misconception(
                name="the two Gaussians are swapped: KL(second ‖ first)",
                breaks="KL(N_1 ‖ N_2) = E_1[log N_1 − log N_2]: the mean is over the first, and KL is not symmetric",
                wrong=lambda mean1, var1, mean2, var2: losses.normal_kl(mean2, var2, mean1, var1),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the log of the ratio is upside down",
                breaks="½ [ log(v_2/v_1) + … ]: it comes from −½ log v_1 + ½ log v_2",
                wrong=_kl(lambda log, r, d2, v1, v2: 0.5 * (-log + r + d2 / v2 - 1)),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the −1 is missing",
                breaks="E_1[(x − μ_1)²]/v_1 = 1, and KL(N ‖ N) must be 0",
                wrong=_kl(lambda log, r, d2, v1, v2: 0.5 * (log + r + d2 / v2)),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the factor ½ is missing",
                breaks="KL = ½ [ log(v_2/v_1) + (v_1 + (μ_1 − μ_2)²)/v_2 − 1 ]",
                wrong=_kl(lambda log, r, d2, v1, v2: log + r + d2 / v2 - 1),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the factor ½ stands before one part only: log(v_2/v_1) has lost it",
                breaks="½ log(v_2/v_1) = log(σ_2/σ_1): with variances the ½ belongs to the log as well",
                wrong=_kl(lambda log, r, d2, v1, v2: log + 0.5 * (r + d2 / v2 - 1)),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the distance of the means is not squared",
                breaks="E_1[(x − μ_2)²] = v_1 + (μ_1 − μ_2)²",
                wrong=lambda mean1, var1, mean2, var2: (
                    0.5 * (torch.log(var2 / var1) + (var1 + mean1 - mean2) / var2 - 1)
                ),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="the squared distance is divided by v_1, not by v_2",
                breaks="both parts of E_1[(x − μ_2)²] are divided by v_2, the variance of the second Gaussian",
                wrong=_kl(lambda log, r, d2, v1, v2: 0.5 * (log + r + d2 / v1 - 1)),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="only the means are compared; the variances count as well",
                breaks="KL = ½ [ log(v_2/v_1) + (v_1 + (μ_1 − μ_2)²)/v_2 − 1 ]",
                wrong=_kl(lambda log, r, d2, v1, v2: 0.5 * d2 / v2),
                reread=TWO_GAUSSIANS,
            ),
            Misconception(
                name="var1 and var2 are taken for standard deviations and squared again",
                breaks="N(μ, v): the second argument is a variance",
                wrong=lambda mean1, var1, mean2, var2: losses.normal_kl(mean1, var1**2, mean2, var2**2),
                reread=TWO_GAUSSIANS,
            ),
        ),
        hints=(
            "Write log N_1(x) − log N_2(x), and take its mean under N_1. Two means are needed: of (x − μ_1)² and of (x − μ_2)².",
            "The first is var1. The second is var1 + (mean1 - mean2)**2.",
            "0.5 * (torch.log(var2 / var1) + (var1 + (mean1 - mean2) ** 2) / var2 - 1)",
        ),
    ),
    Exercise(
        id="04.4",
        title="prior_term: L_T",
        reference=losses.prior_nats,
        cases=_clean,
        misconceptions=(
            Misconception(
                name="the mean over the numbers of an example, not their sum",
                breaks="the KL of independent numbers is the sum of their KLs",
                wrong=_prior(torch.sqrt, lambda kept: 1 - kept, of=_mean),
                reread=TERMS,
            ),
            Misconception(
                name="ᾱ_T x_0 as the mean, without the square root",
                breaks="q(x_T | x_0) = N(√ᾱ_T x_0, (1 − ᾱ_T) I)   (eq. 4)",
                wrong=_prior(lambda kept: kept, lambda kept: 1 - kept),
                reread=TERMS,
            ),
            Misconception(
                name="√(1 − ᾱ_T), a standard deviation, where the variance belongs",
                breaks="q(x_T | x_0) = N(√ᾱ_T x_0, (1 − ᾱ_T) I): the second argument is a variance",
                wrong=_prior(torch.sqrt, lambda kept: (1 - kept).sqrt()),
                reread=TERMS,
            ),
            Misconception(
                name="the two Gaussians are swapped: KL(p ‖ q)",
                breaks="L_T = KL(q(x_T | x_0) ‖ p(x_T)): the mean is over q",
                wrong=_prior_swapped,
                reread=TERMS,
            ),
            Misconception(
                name="only the mean of x_T is compared with 0; the variance counts as well",
                breaks="KL = ½ [ log(v_2/v_1) + (v_1 + (μ_1 − μ_2)²)/v_2 − 1 ] with v_1 = 1 − ᾱ_T, v_2 = 1",
                wrong=lambda x0, schedule: _sum(0.5 * schedule.alpha_bar[-1] * x0.square()),
                reread=TERMS,
            ),
            Misconception(
                name="α_T, of the last step, in place of ᾱ_T, of all steps",
                breaks="q(x_T | x_0) is the jump of all T steps   (eq. 4)",
                wrong=_prior_of_one_step,
                reread=TERMS,
            ),
        ),
        hints=(
            "Which two Gaussians? q(x_T | x_0) is eq. (4) at t = T, and p(x_T) is N(0, I). normal_kl compares their numbers.",
            "abar_T is schedule.alpha_bar[-1]. normal_kl wants tensors: torch.zeros_like(x0) and torch.ones_like(x0) fit.",
            "With one = torch.ones_like(x0): normal_kl(abar_T.sqrt() * x0, (1 - abar_T) * one, 0 * one, one), "
            "then .flatten(1).sum(dim=1).",
        ),
    ),
    Exercise(
        id="04.5",
        title="reverse_term: L_{t−1}",
        reference=reverse_term,
        cases=_triples,
        misconceptions=(
            Misconception(
                name="the two Gaussians are swapped: KL(p_θ ‖ q)",
                breaks="L_{t−1} = KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t)): the mean is over q",
                wrong=_term(swap=True),
                reread=TERMS,
            ),
            Misconception(
                name="the mean over the numbers of an example, not their sum",
                breaks="the KL of independent numbers is the sum of their KLs",
                wrong=_term(of=_mean),
                reread=TERMS,
            ),
            Misconception(
                name="β_t in place of β̃_t as the variance of the posterior",
                breaks="q(x_{t−1} | x_t, x_0) = N(μ̃_t, β̃_t I)   (eq. 6, 7)",
                wrong=_term(variance=lambda s: s.beta),
                reread=TERMS,
            ),
            Misconception(
                name="σ_t, a standard deviation, where σ_t² belongs",
                breaks="p_θ(x_{t−1} | x_t) = N(μ_θ, σ_t² I), and sigma2 holds σ_t² already",
                wrong=_term(std=True),
                reread=TERMS,
            ),
            Misconception(
                name="off by one: σ_{t−1}² in place of σ_t²",
                breaks="p_θ(x_{t−1} | x_t) is the step from x_t: its variance is sigma2 at t",
                wrong=lambda x0, xt, t, mu_theta, sigma2, schedule: reverse_term(
                    x0, xt, t, mu_theta, sigma2.roll(1), schedule
                ),
                reread=TERMS,
            ),
            Misconception(
                name="x_0 and x_t are swapped in the posterior",
                breaks="q_posterior(x0, xt, t, schedule): x_0 comes first",
                wrong=lambda x0, xt, t, mu_theta, sigma2, schedule: reverse_term(
                    xt, x0, t, mu_theta, sigma2, schedule
                ),
                reread=TERMS,
            ),
            Misconception(
                name="x_0 in place of μ̃_t",
                breaks="p_θ goes one step back, not all of them: its mean is compared with μ̃_t(x_t, x_0)",
                wrong=_term(target=lambda x0, xt: x0),
                reread=TERMS,
            ),
            Misconception(
                name="x_t in place of μ̃_t",
                breaks="p_θ(x_{t−1} | x_t) is compared with q(x_{t−1} | x_t, x_0), whose mean is μ̃_t",
                wrong=_term(target=lambda x0, xt: xt),
                reread=TERMS,
            ),
            Misconception(
                name="only the means are compared; the variances β̃_t and σ_t² count as well",
                breaks="KL = ½ [ log(σ²/β̃) + (β̃ + ‖μ̃ − μ_θ‖²)/σ² − 1 ]",
                wrong=_term(kl=lambda mean1, var1, mean2, var2: 0.5 * (mean1 - mean2) ** 2 / var2),
                reread=TERMS,
            ),
        ),
        hints=(
            "process.q_posterior(x0, xt, t, schedule) gives μ̃_t and β̃_t. The other Gaussian is N(mu_theta, sigma2_t).",
            "process.at(sigma2, t, xt) picks σ_t² for each example, in a shape that fits; normal_kl does the rest.",
            "normal_kl(mu_tilde, beta_tilde, mu_theta, process.at(sigma2, t, xt)).flatten(1).sum(dim=1)",
        ),
    ),
)
