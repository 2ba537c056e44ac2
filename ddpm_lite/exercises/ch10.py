"""Exercises of chapter 10: a term in bits/dim, a stratified estimate, the Fréchet distance, coverage, copies, log σ²."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ddpm_lite import ablation, losses, metrics, process
from ddpm_lite.exercises.cases import PAPER, SHORT, first_t
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

F64 = torch.float64
BITS = "From nats to bits per dimension"
STRATA = "A thousand images for the price of eight steps"
FRECHET = "How far apart are two clouds?"
COVER = "Is everything there?"
COPIES = "Are they copies?"
LEARNED = "A variance that is learned"


# ---------------------------------------------------------------------------------------------------
# 10.1 term_bpd


def term_bpd(x0: Tensor, xt: Tensor, t: Tensor, eps_hat: Tensor, schedule: Schedule) -> Tensor:
    """L_{t-1} in bits a dimension, (B,), for t >= 2, with sigma_t^2 = beta_t and nothing clipped."""
    x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
    mu_theta, _ = process.q_posterior(x0_hat, xt, t, schedule)
    kl = losses.normal_kl(mu_tilde, beta_tilde, mu_theta, at(schedule.beta, t, xt))
    return kl.flatten(1).mean(dim=1) / math.log(2)


def _noised():
    """x0, xt, t, eps_hat, schedule: a guess that is off by a good deal, so that every part of the term counts."""
    t = torch.tensor
    for label, shape, dtype, times, schedule in (
        ("4 images of (1, 6, 5), float32", (4, 1, 6, 5), torch.float32, t([2, 3, 500, 1000]), PAPER),
        ("2 images of (3, 4, 7), float64", (2, 3, 4, 7), F64, t([40, 2]), PAPER),
        ("as many images as columns, five rough steps", (4, 2, 3, 4), F64, t([2, 3, 4, 5]), SHORT),
    ):
        x0, eps = rand(*shape, dtype=dtype), randn(*shape, seed=1, dtype=dtype)
        xt = process.q_sample(x0, times, eps, schedule)
        yield Case(label, x0, xt, times, eps + 0.7 * randn(*shape, seed=2, dtype=dtype), schedule)
    x0, eps = rand(2, 3, seed=3, dtype=F64).T, randn(2, 3, seed=4, dtype=F64).T  # (3, 2), not contiguous
    xt = process.q_sample(x0, t([2, 5, 4]), eps, SHORT).T.contiguous().T
    yield Case("3 points of 2 numbers, not contiguous", x0, xt, t([2, 5, 4]), 0.4 * eps, SHORT)


def _term(
    of=None,
    kl=losses.normal_kl,
    q=None,
    p=lambda s: s.beta,
    guess=process.predict_x0,
    mean=process.q_posterior,
):
    """A wrong term_bpd: `of` ends it (B, ...) -> (B,); q and p give the two variances, schedule -> (T+1,)."""
    of = of or (lambda kl, schedule: kl.flatten(1).mean(dim=1) / math.log(2))

    def wrong(x0, xt, t, eps_hat, schedule):
        mu_tilde, tilde = process.q_posterior(x0, xt, t, schedule)
        var1 = tilde if q is None else at(q(schedule), t, xt)
        mu_theta = mean(guess(xt, t, eps_hat, schedule), xt, t, schedule)[0]
        return of(kl(mu_tilde, var1, mu_theta, at(p(schedule), t, xt)), schedule)

    return wrong


def _unweighted(x0, xt, t, eps_hat, schedule):
    eps = process.predict_eps(xt, t, x0, schedule)
    return (eps - eps_hat).square().flatten(1).mean(dim=1) / math.log(2)


# ---------------------------------------------------------------------------------------------------
# 10.2 stratified


def stratified(draws: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over images of sum_k lengths_k draws_nk, and its standard error. draws (N, K), lengths int64 (K,)."""
    each = (draws * lengths).sum(dim=1)  # (N, K) -> (N,): one estimate an image
    return each.mean(), each.std() / math.sqrt(len(each))


def _draws():
    lengths = torch.tensor([1, 2, 5, 40])
    yield Case("6 images, 4 strata, float32", (0.1 + rand(6, 4).abs()) / lengths, lengths)
    lengths = torch.tensor([1, 3, 96])
    base = rand(5, 1, seed=1, dtype=F64).abs()  # an image that is hard at one t is hard at others
    yield Case(
        "5 images, 3 strata, float64", (base + 0.1 * rand(5, 3, seed=2, dtype=F64).abs()) / lengths, lengths
    )
    draws = rand(3, 7, seed=3, dtype=F64).abs().T
    yield Case("7 images, 3 strata, not contiguous", draws, torch.tensor([2, 1, 7]))


def _estimate(each=lambda d, n: (d * n).sum(dim=1), mean=lambda e: e.mean(), error=None):
    error = error or (lambda e, d, n: e.std() / math.sqrt(len(e)))

    def wrong(draws, lengths):
        one = each(draws, lengths)
        return mean(one), error(one, draws, lengths)

    return wrong


# ---------------------------------------------------------------------------------------------------
# 10.3 frechet


def frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """The squared Fréchet distance of two Gaussians, a scalar of the dtype of its arguments."""
    return metrics.gaussian_frechet(mean_a, cov_a, mean_b, cov_b).to(mean_a.dtype)


def _cov(rows: int, D: int, seed: int, dtype=F64, scale=1.0) -> Tensor:
    """A covariance that is not diagonal, of rank min(D, rows - 1); its diagonal dominates."""
    x = randn(rows, D, seed=seed, dtype=F64) * torch.linspace(0.6, 1.8, D, dtype=F64)
    return (scale * torch.cov(x.T)).to(dtype)


def _gaussians():
    for label, D, dtype, rows in (
        ("3 dimensions, float64", 3, F64, 40),
        ("5 dimensions, float32", 5, torch.float32, 60),
        ("6 dimensions, covariances of rank 4", 6, F64, 5),
        ("8 dimensions, covariances of rank 2", 8, F64, 3),  # six eigenvalues are 0, but for rounding
    ):
        means = (randn(D, seed=s, dtype=dtype) for s in (1, 2))
        mean_a, mean_b = means
        yield Case(label, mean_a, _cov(rows, D, 3, dtype), mean_b, _cov(rows, D, 4, dtype, 2.5))
    turned = _cov(40, 4, 5).flip(0).flip(1)
    wide = torch.zeros(4, 8, dtype=F64)
    wide[:, ::2] = turned
    yield Case(
        "4 dimensions, not contiguous",
        0.3 * randn(4, dtype=F64),
        wide[:, ::2],
        randn(4, seed=6, dtype=F64),
        _cov(40, 4, 7),
    )


def _root(a: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _cross(a: Tensor, b: Tensor) -> Tensor:
    root = _root(a)
    return torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()


def _apart(
    mean=lambda d: d.square().sum(),
    traces=lambda a, b: a.trace() + b.trace(),
    cross=_cross,
    factor=2.0,
    of=lambda x: x,
):
    def wrong(mean_a, cov_a, mean_b, cov_b):
        a, b = cov_a.double(), cov_b.double()
        d = mean(mean_a.double() - mean_b.double()) + traces(a, b) - factor * cross(a, b)
        return of(d).to(mean_a.dtype)

    return wrong


# ---------------------------------------------------------------------------------------------------
# 10.4 coverage


def _clouds():
    yield Case(
        "40 real, 30 samples, k = 3, float64", randn(40, 3, dtype=F64), randn(30, 3, seed=1, dtype=F64), 3
    )
    yield Case(
        "30 real, 50 samples huddled together, k = 2, float32",
        randn(30, 2, seed=2),
        0.3 * randn(50, 2, seed=3) + 0.4,
        2,
    )
    yield Case(
        "35 real, 35 samples spread wide, k = 4",
        randn(35, 2, seed=4, dtype=F64),
        3 * randn(35, 2, seed=5, dtype=F64),
        4,
    )
    yield Case(
        "24 real, 20 samples, not contiguous, k = 1",
        randn(2, 24, seed=6, dtype=F64).T,
        randn(2, 20, seed=7, dtype=F64).T,
        1,
    )
    yield from _edges()


def _edges():
    whole = torch.Generator().manual_seed(8)
    real, samples = (
        torch.randint(-6, 7, (n, 2), generator=whole).double() for n in (22, 9)
    )  # many a sample lies exactly at the radius
    yield Case("22 real, 9 samples, whole numbers, k = 2", real, samples, 2)


def _covered(radius=None, inside=None):
    """A wrong coverage: radius(real, samples, k) -> (N,); inside(distances (N, M), radius (N,)) -> a number."""
    radius = radius or (lambda real, samples, k: torch.cdist(real, real).sort(dim=1).values[:, k])
    inside = inside or (lambda d, r: (d.min(dim=1).values <= r).double().mean())

    def wrong(real, samples, k):
        real, samples = real.double(), samples.double()
        return float(inside(torch.cdist(real, samples), radius(real, samples, k)))

    return wrong


def _recall(real, samples, k):
    return _covered()(samples, real, min(k, len(samples) - 1))


# ---------------------------------------------------------------------------------------------------
# 10.5 nearest


def nearest(samples: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of each sample the root mean square distance to the nearest image, float64 (S,), and its place, int64 (S,)."""
    distance, index = metrics.nearest_neighbours(samples, images)
    return distance[:, 0], index[:, 0]


def _bytes(*shape: int, seed: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def _pictures():
    images = _bytes(7, 1, 4, 4, seed=1)
    shift = torch.randint(-9, 10, (5, 1, 4, 4), generator=torch.Generator().manual_seed(2))
    yield Case(
        "5 near copies of 7 images of (1, 4, 4)",
        (images[[6, 2, 2, 0, 5]].long() + shift).clamp(0, 255).to(torch.uint8),
        images,
    )
    yield Case("3 images of (3, 2, 5) among 4", _bytes(3, 3, 2, 5, seed=3), _bytes(4, 3, 2, 5, seed=4))
    yield Case("as many samples as images", _bytes(6, 1, 3, 3, seed=5), _bytes(6, 1, 3, 3, seed=6))
    across = _bytes(1, 4, 5, 6, seed=7).transpose(0, 2)  # (5, 4, 1, 6), not contiguous
    yield Case("5 samples, not contiguous", across, _bytes(9, 4, 1, 6, seed=8))


def _near(apart=None, pick=None, of=None):
    """A wrong nearest: apart(a (S, 1, D), b (1, N, D)) -> (S, N); pick(d) -> (values, index); of(values)."""
    apart = apart or (lambda a, b: (a.double() - b.double()).square().mean(dim=2))
    pick = pick or (lambda d: d.min(dim=1))
    of = of or (lambda v: v.sqrt())

    def wrong(samples, images):
        value, index = pick(apart(samples.flatten(1)[:, None], images.flatten(1)[None]))
        return of(value), index

    return wrong


# ---------------------------------------------------------------------------------------------------
# 10.6 log_variance


def _fractions():
    t = torch.tensor
    yield Case("4 images of (1, 3, 5), float32", rand(4, 1, 3, 5) / 2 + 0.5, t([1, 2, 60, 1000]), PAPER)
    yield Case(
        "2 images of (2, 4, 3), float64", 1.3 * rand(2, 2, 4, 3, seed=1, dtype=F64), t([2, 300]), PAPER
    )
    yield Case("as many images as columns", rand(5, 1, 2, 5, seed=2, dtype=F64), t([1, 2, 3, 4, 5]), SHORT)
    yield Case("3 points of 2 numbers, not contiguous", rand(2, 3, seed=3, dtype=F64).T, t([5, 1, 3]), SHORT)


def _ends(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """beta and beta_tilde (T+1,), with something harmless at the unused index 0."""
    return schedule.beta.clamp(min=1e-30), losses.posterior_variance(schedule).clamp(min=1e-30)


def _between(of=lambda v, upper, lower: v * upper.log() + (1 - v) * lower.log(), ends=_ends, at=at):
    def wrong(v, t, schedule):
        upper, lower = ends(schedule)
        return of(v, at(upper, t, v.double()), at(lower, t, v.double())).to(v.dtype)

    return wrong


EXERCISES = (
    Exercise(
        id="10.1",
        title="term_bpd: L_{t−1} in bits a dimension",
        reference=term_bpd,
        cases=_noised,
        rtol=1e-4,
        atol=1e-6,
        misconceptions=(
            Misconception(
                name="these are nats: the division by ln 2 is missing",
                breaks="1 nat = 1/ln 2 = 1.44 bits: bits = nats / ln 2",
                wrong=_term(of=lambda kl, s: kl.flatten(1).mean(dim=1)),
                reread=BITS,
            ),
            Misconception(
                name="multiplied by ln 2, not divided",
                breaks="a bit is smaller than a nat, so there are more of them: bits = nats / ln 2",
                wrong=_term(of=lambda kl, s: kl.flatten(1).mean(dim=1) * math.log(2)),
                reread=BITS,
            ),
            Misconception(
                name="these are bits an image: the division by the number of dimensions is missing",
                breaks="bits/dim = nats / (D ln 2), D = C·H·W",
                wrong=_term(of=lambda kl, s: kl.flatten(1).sum(dim=1) / math.log(2)),
                reread=BITS,
            ),
            Misconception(
                name="these are nats an image: divide by D ln 2",
                breaks="bits/dim = nats / (D ln 2), D = C·H·W",
                wrong=_term(of=lambda kl, s: kl.flatten(1).sum(dim=1)),
                reread=BITS,
            ),
            Misconception(
                name="times T: one term of the sum is asked for",
                breaks="L = L_T + Σ L_{t−1} + L_0; T L_{t−1} at a random t estimates the whole sum",
                wrong=_term(of=lambda kl, s: s.T * kl.flatten(1).mean(dim=1) / math.log(2)),
                reread=BITS,
            ),
            Misconception(
                name="the two Gaussians are swapped: KL(p_θ ‖ q)",
                breaks="L_{t−1} = KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t))",
                wrong=_term(kl=lambda m1, v1, m2, v2: losses.normal_kl(m2, v2, m1, v1)),
                reread=BITS,
            ),
            Misconception(
                name="only the means are compared: q has the variance β̃_t, p_θ has β_t, and that costs bits as well",
                breaks="KL = ½ [ log(β_t/β̃_t) + (β̃_t + (μ̃ − μ_θ)²)/β_t − 1 ]",
                wrong=_term(kl=lambda m1, v1, m2, v2: 0.5 * (m1 - m2) ** 2 / v2),
                reread=BITS,
            ),
            Misconception(
                name="p_θ is given the variance β̃_t; here it is β_t",
                breaks="p_θ(x_{t−1} | x_t) = N(μ_θ, β_t I), and q has β̃_t",
                wrong=_term(p=lambda s: s.beta_tilde),
                reread=BITS,
            ),
            Misconception(
                name="standard deviations where variances belong",
                breaks="β̃_t and β_t are variances already: normal_kl takes variances",
                wrong=_term(q=lambda s: s.beta_tilde.sqrt(), p=lambda s: s.beta.sqrt()),
                reread=BITS,
            ),
            Misconception(
                name="the ½ in front of the KL is missing",
                breaks="KL = ½ [ log(v_2/v_1) + (v_1 + (m_1 − m_2)²)/v_2 − 1 ]",
                wrong=_term(kl=lambda *a: 2 * losses.normal_kl(*a)),
                reread=BITS,
            ),
            Misconception(
                name="x̂_0 is compared with μ̃: the mean of p_θ is μ̃(x_t, x̂_0)",
                breaks="μ_θ = μ̃_t(x_t, x̂_0): put the guess for x_0 into the posterior",
                wrong=_term(mean=lambda x0_hat, xt, t, schedule: (x0_hat, None)),
                reread=BITS,
            ),
            Misconception(
                name="ε̂ is used as if it were x̂_0",
                breaks="x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t",
                wrong=_term(guess=lambda xt, t, eps_hat, schedule: eps_hat),
                reread=BITS,
            ),
            Misconception(
                name="the plain error of the noise, as in L_simple: it has no unit of bits",
                breaks="L_{t−1} is a divergence; its weight on ‖ε − ε̂‖² is β_t / (2 α_t (1 − ᾱ_t)), not 1",
                wrong=_unweighted,
                reread=BITS,
            ),
            Misconception(
                name="x̂_0 is held to [−1, 1]; here nothing is clipped",
                breaks="μ_θ = μ̃_t(x_t, x̂_0), x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t as it comes",
                wrong=_term(guess=lambda *a: process.predict_x0(*a).clamp(-1, 1)),
                reread=BITS,
            ),
            Misconception(
                name="a mean over the batch as well: one number an image is wanted",
                breaks="bits/dim of each image, (B,): flatten(1) keeps the batch",
                wrong=_term(of=lambda kl, s: kl.mean() / math.log(2)),
                reread=BITS,
            ),
            first_t(term_bpd, 2, BITS),
        ),
        hints=(
            "Three steps: the guess x̂_0; the means of the two Gaussians, both by process.q_posterior; their divergence.",
            "losses.normal_kl(mean1, var1, mean2, var2) works number by number. "
            "q comes first and has β̃_t, p_θ has β_t: process.at(schedule.beta, t, xt).",
            "kl.flatten(1).mean(dim=1) / math.log(2) ends it: the mean over an image's numbers divides by D.",
        ),
    ),
    Exercise(
        id="10.2",
        title="stratified: an estimate, and how far to trust it",
        reference=stratified,
        cases=_draws,
        misconceptions=(
            Misconception(
                name="the lengths are forgotten: each draw stands for one term only",
                breaks="Σ_t L_t ≈ Σ_k n_k · (the draw from stratum k)",
                wrong=_estimate(each=lambda d, n: d.sum(dim=1)),
                reread=STRATA,
            ),
            Misconception(
                name="T times the mean of the draws, as if t were uniform",
                breaks="Σ_k n_k draw_k: a stratum of one t must not count as much as one of two hundred",
                wrong=_estimate(each=lambda d, n: d.mean(dim=1) * n.sum()),
                reread=STRATA,
            ),
            Misconception(
                name="divided by T: this is the mean term, and the sum is wanted",
                breaks="Σ_t L_t ≈ Σ_k n_k · draw_k, not divided by Σ_k n_k",
                wrong=_estimate(each=lambda d, n: (d * n).sum(dim=1) / n.sum()),
                reread=STRATA,
            ),
            Misconception(
                name="the spread of single images, not the error of their mean",
                breaks="standard error = standard deviation / √N",
                wrong=_estimate(error=lambda e, d, n: e.std()),
                reread=STRATA,
            ),
            Misconception(
                name="divided by N, not by √N",
                breaks="the variance of a mean is variance/N, so its root is standard deviation / √N",
                wrong=_estimate(error=lambda e, d, n: e.std() / len(e)),
                reread=STRATA,
            ),
            Misconception(
                name="a variance: the root is missing",
                breaks="standard error = √(variance / N)",
                wrong=_estimate(error=lambda e, d, n: e.var() / len(e)),
                reread=STRATA,
            ),
            Misconception(
                name="the standard deviation with N in place of N − 1",
                breaks="the mean was estimated from the same N numbers: divide by N − 1 (x.std() does)",
                wrong=_estimate(error=lambda e, d, n: e.std(unbiased=False) / math.sqrt(len(e))),
                reread=STRATA,
            ),
            Misconception(
                name="the strata are treated as independent, but the same images are in all of them",
                breaks="one sum an image first; then the spread of these N sums, which are independent",
                wrong=_estimate(error=lambda e, d, n: ((d * n).var(dim=0).sum() / len(e)).sqrt()),
                reread=STRATA,
            ),
            Misconception(
                name="all N·K draws are counted as if they were independent estimates",
                breaks="N images give N independent sums: divide by √N, not by √(N·K)",
                wrong=_estimate(error=lambda e, d, n: e.std() / math.sqrt(d.numel())),
                reread=STRATA,
            ),
            Misconception(
                name="the spread is taken over the strata, not over the images",
                breaks="standard error = standard deviation over the N images / √N",
                wrong=_estimate(error=lambda e, d, n: (d * n).mean(dim=0).std() / math.sqrt(len(e))),
                reread=STRATA,
            ),
            Misconception(
                name="the correction is made twice: std() has divided by N − 1 already",
                breaks="se = s / √N, where s² has N − 1 under it",
                wrong=_estimate(error=lambda e, d, n: e.std() / math.sqrt(len(e) - 1)),
                reread=STRATA,
            ),
            Misconception(
                name="the two results are in the other order",
                breaks="the estimate first, its standard error second",
                wrong=lambda draws, lengths: stratified(draws, lengths)[::-1],
                reread=STRATA,
            ),
            Misconception(
                name="summed over the images as well",
                breaks="the bound of the data set is the mean over its images",
                wrong=_estimate(mean=lambda e: e.sum()),
                reread=STRATA,
            ),
        ),
        hints=(
            "First one number an image: weight each draw with the length of its stratum and add.",
            "Those N numbers are independent. Their mean is the estimate; their standard deviation over √N is its error.",
            "each = (draws * lengths).sum(dim=1), then each.mean(), each.std() / math.sqrt(len(each)).",
        ),
    ),
    Exercise(
        id="10.3",
        title="frechet: the distance of two Gaussians",
        reference=frechet,
        cases=_gaussians,
        rtol=1e-3,
        atol=1e-4,
        misconceptions=(
            Misconception(
                name="the root is taken number by number, not of the matrix",
                breaks="(ΣΣ')^{1/2} times itself is ΣΣ': its trace is the sum of the roots of the eigenvalues",
                wrong=_apart(cross=lambda a, b: (a @ b).diagonal().clamp(min=0).sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="the root of the product is not the product of the roots",
                breaks="tr (ΣΣ')^{1/2} = tr Σ^{1/2} Σ'^{1/2} only if Σ and Σ' have the same eigenvectors",
                wrong=_apart(cross=lambda a, b: (_root(a) @ _root(b)).trace()),
                reread=FRECHET,
            ),
            Misconception(
                name="the root of the trace, not the trace of the root",
                breaks="tr (ΣΣ')^{1/2} = Σ_i √λ_i, not √(Σ_i λ_i)",
                wrong=_apart(cross=lambda a, b: (a @ b).trace().sqrt()),
                reread=FRECHET,
            ),
            Misconception(
                name="no root at all: the trace of the product",
                breaks="tr Σ + tr Σ' − 2 tr (ΣΣ')^{1/2}",
                wrong=_apart(cross=lambda a, b: (a @ b).trace()),
                reread=FRECHET,
            ),
            Misconception(
                name="Σ * Σ' multiplies number by number: the product of the matrices is Σ @ Σ'",
                breaks="(ΣΣ')^{1/2} with the matrix product",
                wrong=_apart(cross=lambda a, b: torch.linalg.eigvals(a * b).real.clamp(min=0).sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="the singular values of ΣΣ', not its eigenvalues",
                breaks="ΣΣ' is not symmetric: its singular values are not its eigenvalues, and their sum is no trace",
                wrong=_apart(cross=lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="eigvalsh reads one half of the matrix and takes it to be symmetric; ΣΣ' is not",
                breaks="Σ and Σ' are symmetric, their product is not: eigvals",
                wrong=_apart(cross=lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="only the variances are compared: the covariances count as well",
                breaks="(ΣΣ')^{1/2} is of the whole matrices, not of their diagonals",
                wrong=_apart(cross=lambda a, b: (a.diagonal() * b.diagonal()).sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="the term of the means is missing",
                breaks="d² = ‖μ − μ'‖² + tr(Σ + Σ' − 2 (ΣΣ')^{1/2})",
                wrong=_apart(mean=lambda d: 0 * d.sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="the distance of the means is not squared",
                breaks="d² = ‖μ − μ'‖² + …",
                wrong=_apart(mean=lambda d: d.norm()),
                reread=FRECHET,
            ),
            Misconception(
                name="the mean of the squared differences, not their sum",
                breaks="‖μ − μ'‖² = Σ_i (μ_i − μ'_i)²",
                wrong=_apart(mean=lambda d: d.square().mean()),
                reread=FRECHET,
            ),
            Misconception(
                name="the differences of the means are added, then squared",
                breaks="‖μ − μ'‖² = Σ_i (μ_i − μ'_i)²: square first",
                wrong=_apart(mean=lambda d: d.sum().square()),
                reread=FRECHET,
            ),
            Misconception(
                name="the 2 in front of the root is missing",
                breaks="tr Σ + tr Σ' − 2 tr (ΣΣ')^{1/2}: two equal Gaussians are at 0",
                wrong=_apart(factor=1.0),
                reread=FRECHET,
            ),
            Misconception(
                name="only the means are compared",
                breaks="d² = ‖μ − μ'‖² + tr(Σ + Σ' − 2 (ΣΣ')^{1/2})",
                wrong=_apart(traces=lambda a, b: 0, factor=0.0),
                reread=FRECHET,
            ),
            Misconception(
                name="rounding left an eigenvalue a little below 0, and its root is nan",
                breaks="the eigenvalues of ΣΣ' are not negative: .real.clamp(min=0) before .sqrt()",
                wrong=_apart(cross=lambda a, b: torch.linalg.eigvals(a @ b).real.sqrt().sum()),
                reread=FRECHET,
            ),
            Misconception(
                name="the root of the result: this is d, and d² is wanted",
                breaks="FID is the squared distance",
                wrong=_apart(of=lambda x: x.clamp(min=0).sqrt()),
                reread=FRECHET,
            ),
        ),
        hints=(
            "Four traces or sums; only one is difficult. "
            "The trace of a matrix is the sum of its eigenvalues, and the root of a matrix has the roots of them.",
            "torch.linalg.eigvals(cov_a @ cov_b) is complex by its type; .real takes that away. "
            "Rounding can leave an eigenvalue at −1e-17: .clamp(min=0) before .sqrt().",
            "cross = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()",
        ),
    ),
    Exercise(
        id="10.4",
        title="coverage: how much of the data has a sample nearby",
        reference=metrics.coverage,
        cases=_clouds,
        misconceptions=(
            Misconception(
                name="a point is counted as its own neighbour",
                breaks="the k-th nearest *other* real point: the nearest of all is the point itself, at distance 0",
                wrong=_covered(
                    radius=lambda real, samples, k: torch.cdist(real, real).sort(dim=1).values[:, k - 1]
                ),
                reread=COVER,
            ),
            Misconception(
                name="one neighbour too far: the (k + 1)-th",
                breaks="sorted distances begin with the point itself at place 0, so the k-th other is at place k",
                wrong=_covered(
                    radius=lambda real, samples, k: torch.cdist(real, real).sort(dim=1).values[:, k + 1]
                ),
                reread=COVER,
            ),
            Misconception(
                name="the share of the samples near the data; wanted is the share of the data near a sample",
                breaks="coverage counts real points: a generator that repeats one good image must not score 1",
                wrong=_covered(inside=lambda d, r: (d <= r[:, None]).any(dim=0).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="samples and data are swapped",
                breaks="radii and count are those of the real points; the samples only hit or miss",
                wrong=_recall,
                reread=COVER,
            ),
            Misconception(
                name="how many samples are nearby is counted, not whether one is",
                breaks="a real point is covered or not: min over the samples, then ≤ radius",
                wrong=_covered(inside=lambda d, r: (d <= r[:, None]).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="all samples must be nearby, not one of them",
                breaks="the nearest sample decides: min, not max",
                wrong=_covered(inside=lambda d, r: (d.max(dim=1).values <= r).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="one radius for all, the mean",
                breaks="each real point has its own radius: small where the data is dense",
                wrong=_covered(inside=lambda d, r: (d.min(dim=1).values <= r.mean()).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="a squared distance is compared with a radius that is not squared",
                breaks="distance ≤ radius, both squared or neither",
                wrong=_covered(inside=lambda d, r: (d.min(dim=1).values.square() <= r).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="the share that is not covered",
                breaks="covered: the nearest sample is at most as far as the radius",
                wrong=_covered(inside=lambda d, r: (d.min(dim=1).values > r).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="k is not used: the radius always reaches to the nearest other point",
                breaks="ρ_k(r_i) is the distance to the k-th nearest other real point",
                wrong=_covered(
                    radius=lambda real, samples, k: torch.cdist(real, real).sort(dim=1).values[:, 1]
                ),
                reread=COVER,
            ),
            Misconception(
                name="so wide a radius covers everything: it must not be measured to the samples, nor to the farthest",
                breaks="ρ_k(r_i) = distance to the k-th nearest other r",
                wrong=_covered(
                    radius=lambda real, samples, k: torch.cdist(real, samples).sort(dim=1).values[:, k]
                ),
                reread=COVER,
            ),
            Misconception(
                name="a sample on the edge of the ball covers, too",
                breaks="min_j ‖r_i − s_j‖ ≤ ρ_k(r_i), not <",
                wrong=_covered(inside=lambda d, r: (d.min(dim=1).values < r).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="in per cent",
                breaks="coverage is a share, between 0 and 1",
                wrong=_covered(inside=lambda d, r: 100 * (d.min(dim=1).values <= r).double().mean()),
                reread=COVER,
            ),
            Misconception(
                name="a count: divide by the number of real points",
                breaks="coverage is a share, between 0 and 1",
                wrong=_covered(inside=lambda d, r: (d.min(dim=1).values <= r).double().sum()),
                reread=COVER,
            ),
        ),
        hints=(
            "torch.cdist(a, b) gives all distances, (N, M). You need two of them: real to real, and real to samples.",
            "Sort each row of the first; place 0 is the point itself, so the radius is at place k. "
            "Of the second take the smallest of each row.",
            "radius = torch.cdist(real, real).sort(dim=1).values[:, k]; "
            "then compare torch.cdist(real, samples).min(dim=1).values with it, and float(....double().mean()).",
        ),
    ),
    Exercise(
        id="10.5",
        title="nearest: is it a copy?",
        reference=nearest,
        cases=_pictures,
        misconceptions=(
            Misconception(
                name="bytes are subtracted: 3 − 5 is 254 in uint8",
                breaks="convert to float64 before you subtract",
                wrong=_near(apart=lambda a, b: (a - b).double().square().mean(dim=2)),
                reread=COPIES,
            ),
            Misconception(
                name="bytes are squared: whatever is over 255 wraps round",
                breaks="convert to float64 before you subtract and square",
                wrong=_near(apart=lambda a, b: (a - b).square().double().mean(dim=2)),
                reread=COPIES,
            ),
            Misconception(
                name="the root is missing: mean square, not root mean square",
                breaks="√(mean of the squared differences)",
                wrong=_near(of=lambda v: v),
                reread=COPIES,
            ),
            Misconception(
                name="the squares are summed over the pixels, not averaged",
                breaks="√(mean of the squared differences): grey levels a pixel, whatever the size of the image",
                wrong=_near(apart=lambda a, b: (a.double() - b.double()).square().sum(dim=2)),
                reread=COPIES,
            ),
            Misconception(
                name="the mean absolute difference",
                breaks="√(mean of the squared differences)",
                wrong=_near(apart=lambda a, b: (a.double() - b.double()).abs().mean(dim=2), of=lambda v: v),
                reread=COPIES,
            ),
            Misconception(
                name="plain differences, whose signs cancel",
                breaks="√(mean of the squared differences): square before the mean",
                wrong=_near(apart=lambda a, b: (a.double() - b.double()).mean(dim=2).square()),
                reread=COPIES,
            ),
            Misconception(
                name="of each image the nearest sample; wanted is of each sample the nearest image",
                breaks="min over the images: the second axis of (S, N)",
                wrong=_near(pick=lambda d: d.min(dim=0)),
                reread=COPIES,
            ),
            Misconception(
                name="the farthest image",
                breaks="the nearest: min",
                wrong=_near(pick=lambda d: d.max(dim=1)),
                reread=COPIES,
            ),
            Misconception(
                name="in units of [−1, 1], not in grey levels",
                breaks="the images are bytes, 0 to 255, and so is the distance",
                wrong=_near(of=lambda v: v.sqrt() / 127.5),
                reread=COPIES,
            ),
            Misconception(
                name="in units of [0, 1], not in grey levels",
                breaks="the images are bytes, 0 to 255, and so is the distance",
                wrong=_near(of=lambda v: v.sqrt() / 255),
                reread=COPIES,
            ),
            Misconception(
                name="only the image at the same place is compared",
                breaks="every sample with every image: (S, 1, D) and (1, N, D) broadcast to (S, N, D)",
                wrong=lambda samples, images: (
                    (samples[: len(images)].flatten(1).double() - images[: len(samples)].flatten(1).double())
                    .square()
                    .mean(dim=1)
                    .sqrt(),
                    torch.arange(min(len(samples), len(images))),
                ),
                reread=COPIES,
            ),
        ),
        hints=(
            "Flatten both to (S, D) and (N, D), convert to double, and let them broadcast: a[:, None] − b[None] is (S, N, D).",
            "Square, mean over the last axis, root: (S, N). Then .min(dim=1) gives values and places at once.",
            "(a[:, None] - b[None]).square().mean(dim=2).sqrt().min(dim=1)",
        ),
    ),
    Exercise(
        id="10.6",
        title="log_variance: between β̃_t and β_t",
        reference=ablation.log_range,
        cases=_fractions,
        misconceptions=(
            Misconception(
                name="the ends are swapped: v = 1 must give β_t",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t",
                wrong=_between(lambda v, upper, lower: v * lower.log() + (1 - v) * upper.log()),
                reread=LEARNED,
            ),
            Misconception(
                name="a straight line between the variances, not between their logarithms",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t: the mean is of logarithms",
                wrong=_between(lambda v, upper, lower: (v * upper + (1 - v) * lower).log()),
                reread=LEARNED,
            ),
            Misconception(
                name="this is σ², and log σ² is wanted",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t, without exp at the end",
                wrong=_between(lambda v, upper, lower: (v * upper.log() + (1 - v) * lower.log()).exp()),
                reread=LEARNED,
            ),
            Misconception(
                name="this is log σ, half of log σ²",
                breaks="β_t and β̃_t are variances: their logarithms are of σ² already",
                wrong=_between(lambda v, upper, lower: (v * upper.log() + (1 - v) * lower.log()) / 2),
                reread=LEARNED,
            ),
            Misconception(
                name="β̃_1 = 0 is replaced by a tiny number; the convention is β̃_2",
                breaks="log β̃_1 := log β̃_2: losses.posterior_variance(schedule)",
                wrong=_between(ends=lambda s: (s.beta.clamp(min=1e-30), s.beta_tilde.clamp(min=1e-20))),
                reread=LEARNED,
            ),
            Misconception(
                name="β̃_1 = 0 is used as it is, and its logarithm does not exist",
                breaks="log β̃_1 := log β̃_2: losses.posterior_variance(schedule)",
                wrong=_between(ends=lambda s: (s.beta.clamp(min=1e-30), s.beta_tilde)),
                reread=LEARNED,
            ),
            Misconception(
                name="β̃_1 = 0 is replaced by β_1; the convention is β̃_2",
                breaks="log β̃_1 := log β̃_2: losses.posterior_variance(schedule)",
                wrong=_between(
                    ends=lambda s: (
                        s.beta.clamp(min=1e-30),
                        torch.where(s.beta_tilde == 0, s.beta.clamp(min=1e-30), s.beta_tilde),
                    )
                ),
                reread=LEARNED,
            ),
            Misconception(
                name="v goes through a sigmoid: the network's v is used as it is",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t",
                wrong=_between(
                    lambda v, upper, lower: v.sigmoid() * upper.log() + (1 - v.sigmoid()) * lower.log()
                ),
                reread=LEARNED,
            ),
            Misconception(
                name="v is moved from [−1, 1] to [0, 1] first; here it is used as it is",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t",
                wrong=_between(lambda v, upper, lower: (v + 1) / 2 * upper.log() + (1 - v) / 2 * lower.log()),
                reread=LEARNED,
            ),
            Misconception(
                name="v is clamped to [0, 1]: it may leave that range",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t for any v",
                wrong=_between(
                    lambda v, upper, lower: v.clamp(0, 1) * upper.log() + (1 - v.clamp(0, 1)) * lower.log()
                ),
                reread=LEARNED,
            ),
            Misconception(
                name="logarithms to the base 2",
                breaks="log is the natural logarithm here: the sampler takes exp of it",
                wrong=_between(lambda v, upper, lower: v * upper.log2() + (1 - v) * lower.log2()),
                reread=LEARNED,
            ),
            Misconception(
                name="log α_t in place of log β_t",
                breaks="log σ² = v log β_t + (1 − v) log β̃_t",
                wrong=_between(ends=lambda s: (s.alpha, _ends(s)[1])),
                reread=LEARNED,
            ),
            Misconception(
                name="a coefficient of shape (B,) multiplies along the columns, not along the batch",
                breaks="each image has its own t, so its coefficient needs the shape (B, 1, …, 1): process.at",
                wrong=_between(at=lambda values, t, v: values[t]),
                reread=LEARNED,
            ),
            first_t(ablation.log_range, 1, LEARNED),
        ),
        hints=(
            "Two logarithms, one for each end, and v between them. v = 1 gives log β_t, v = 0 gives log β̃_t.",
            "Take β̃ from losses.posterior_variance(schedule), in which the 0 at t = 1 is mended. "
            "process.at(values, t, v) picks one an image.",
            "v * process.at(schedule.beta, t, v).log() + (1 - v) * process.at(losses.posterior_variance(schedule), t, v).log()",
        ),
    ),
)
