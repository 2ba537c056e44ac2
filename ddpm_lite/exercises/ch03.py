"""Exercises of chapter 03: the posterior, its two forms, one reverse step, and a denoiser made of the data itself."""

import torch
from torch import Tensor

from ddpm_lite import process
from ddpm_lite.exercises.cases import PAPER, SHORT, first_t, late
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

SQUARE = "Completing the square"
POSTERIOR = "The posterior: mean and variance"
NOISE = "The same mean, from the noise"
REPORT = "A bar that went missing"
VARIANCE = "Which variance?"
STEP = "One reverse step"
NOTHING = "A sampler with nothing to learn"


# ---------------------------------------------------------------------------------------------------
# 03.1 beta_tilde


def beta_tilde(t: Tensor, schedule: Schedule) -> Tensor:
    """beta_tilde_t = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t, float64 (B,), for t in 1..T."""
    return schedule.beta_tilde[t]


def _steps():
    yield Case("first, middle and last t of the paper's schedule", torch.tensor([1, 2, 488, 1000]), PAPER)
    yield Case("five rough steps", torch.tensor([5, 3, 1, 2]), SHORT)


def _variance(of):
    """A wrong answer from beta, alpha, alpha_bar at t and alpha_bar at t - 1."""

    def wrong(t: Tensor, schedule: Schedule) -> Tensor:
        s = schedule
        return of(s.beta[t], s.alpha[t], s.alpha_bar[t], s.alpha_bar[t - 1])

    return wrong


# ---------------------------------------------------------------------------------------------------
# Images at several t, B unlike C, H and W except in the case that gives wrong broadcasting away. In float32
# t stays away from 1, where two right orders of arithmetic differ.


def _batches():
    """(label, x, another of its shape, t, schedule)"""
    t = torch.tensor
    yield (
        "4 images of (1, 8, 6), float32",
        rand(4, 1, 8, 6),
        randn(4, 1, 8, 6, seed=2),
        t([80, 300, 1000, 60]),
        PAPER,
    )
    yield (
        "3 images of (3, 7, 5), float64",
        rand(3, 3, 7, 5, seed=1, dtype=torch.float64),
        randn(3, 3, 7, 5, seed=3, dtype=torch.float64),
        t([2, 1000, 300]),
        PAPER,
    )
    yield (
        "as many images as columns",
        rand(5, 2, 3, 5, seed=4),
        randn(5, 2, 3, 5, seed=5),
        t([1, 2, 3, 4, 5]),
        SHORT,
    )
    yield (
        "3 points of 2 numbers, not contiguous",
        rand(2, 3, seed=6, dtype=torch.float64).T,
        randn(3, 2, seed=7, dtype=torch.float64),
        t([5, 1, 3]),
        SHORT,
    )


def _pairs():
    for label, x0, xt, t, schedule in _batches():
        yield Case(label, x0, xt, t, schedule)


def _denoising():
    for label, xt, eps, t, schedule in _batches():
        yield Case(label, xt, t, eps, schedule)


def _stepping():
    for seed, (label, xt, eps_hat, t, schedule) in enumerate(_batches(), 20):
        z = randn(*xt.shape, seed=seed, dtype=xt.dtype)
        yield Case(label, xt, t, eps_hat, z, schedule)


# ---------------------------------------------------------------------------------------------------
# 03.2 q_posterior


def _coefficients(schedule: Schedule) -> tuple[Tensor, Tensor]:
    return process.posterior_coefficients(schedule)


def _posterior(of_x0=None, of_xt=None, variance=None):
    """A wrong posterior: each part is a function of (schedule) -> (T+1,), and the package's own where None."""

    def wrong(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
        right_x0, right_xt = _coefficients(schedule)
        a = of_x0(schedule) if of_x0 else right_x0
        b = of_xt(schedule) if of_xt else right_xt
        v = variance(schedule) if variance else schedule.beta_tilde
        return at(a, t, x0) * x0 + at(b, t, x0) * xt, at(v, t, x0)

    return wrong


def _unshaped_posterior(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    a, b = (c[t].to(x0.dtype) for c in _coefficients(schedule))
    return a * x0 + b * xt, schedule.beta_tilde[t].to(x0.dtype)


def _flat_variance(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    return process.q_posterior(x0, xt, t, schedule)[0], schedule.beta_tilde[t].to(x0.dtype)


def _only_mean(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    return process.q_posterior(x0, xt, t, schedule)[0]


# ---------------------------------------------------------------------------------------------------
# 03.3 mu_from_eps


def mu_from_eps(xt: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """mu = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t): DDPM eq. (11). xt, eps (B, ...), t (B,)."""
    s = schedule
    return (xt - at(s.beta / (1 - s.alpha_bar).sqrt(), t, xt) * eps) / at(s.alpha.sqrt(), t, xt)


def _mean(of_xt, of_eps):
    """A wrong mean: of_xt(schedule) x_t - of_eps(schedule) eps."""

    def wrong(xt: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
        return at(of_xt(schedule), t, xt) * xt - at(of_eps(schedule), t, xt) * eps

    return wrong


def _right_share(s: Schedule) -> Tensor:
    """The factor of eps inside the brackets of eq. (11)."""
    return s.beta / (1 - s.alpha_bar).sqrt()


def _unshaped_mean(xt: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    share, root = _right_share(schedule)[t].to(xt.dtype), schedule.alpha[t].sqrt().to(xt.dtype)
    return (xt - share * eps) / root


# ---------------------------------------------------------------------------------------------------
# 03.4 p_sample


def p_sample(xt: Tensor, t: Tensor, eps_hat: Tensor, z: Tensor, schedule: Schedule) -> Tensor:
    """x_{t-1} by algorithm 2, line 4, with sigma_t^2 = beta_t, and no noise for an example whose t is 1."""
    sigma = schedule.beta.sqrt()
    sigma[1] = 0
    return mu_from_eps(xt, t, eps_hat, schedule) + at(sigma, t, xt) * z


def _noisy(sigma):
    """A wrong step: the right mean, and noise of size sigma(schedule, t), (B,)."""

    def wrong(xt: Tensor, t: Tensor, eps_hat: Tensor, z: Tensor, schedule: Schedule) -> Tensor:
        picked = sigma(schedule, t).to(xt.dtype).reshape(-1, *[1] * (xt.ndim - 1))
        return mu_from_eps(xt, t, eps_hat, schedule) + picked * z

    return wrong


def _around(mean):
    """A wrong step: the right noise around another mean."""

    def wrong(xt: Tensor, t: Tensor, eps_hat: Tensor, z: Tensor, schedule: Schedule) -> Tensor:
        noise = p_sample(xt, t, eps_hat, z, schedule) - mu_from_eps(xt, t, eps_hat, schedule)
        return mean(xt, t, eps_hat, schedule) + noise

    return wrong


# ---------------------------------------------------------------------------------------------------
# 03.5 image_weights


def image_weights(xt: Tensor, t: Tensor, images: Tensor, schedule: Schedule) -> Tensor:
    """p(x_0 = image i | x_t) for N images, each as likely before: softmax of -|x_t - sqrt(ab) image_i|^2 / (2 (1 - ab)).

    xt (B, ...), t (B,), images (N, ...). Returns (B, N) in the dtype of xt; the sums are float64.
    """
    return _logits(xt, t, images, schedule).softmax(dim=1).to(xt.dtype)


def _logits(xt, t, images, schedule, scale=None, variance=None, of=None) -> Tensor:
    """What goes into the softmax, (B, N) float64; to be replaced: √ᾱ_t, 1 − ᾱ_t, and ‖·‖² as a function of ‖·‖."""
    kept = schedule.alpha_bar[t][:, None]  # (B, 1)
    scale = kept.sqrt() if scale is None else scale(schedule, t)[:, None]
    variance = 1 - kept if variance is None else variance(schedule, t)[:, None]
    distance = scale * torch.cdist(xt.double().flatten(1) / scale, images.double().flatten(1))  # (B, N)
    return -(distance.square() if of is None else of(distance, images)) / (2 * variance)


def _weighing():
    def noised(images: Tensor, which: list[int], t: list[int], schedule: Schedule, seed: int) -> Tensor:
        eps = randn(len(which), *images.shape[1:], seed=seed, dtype=images.dtype)
        return process.q_sample(images[which], torch.tensor(t), eps, schedule)

    six = rand(6, 1, 4, 3, dtype=torch.float64)
    t = [300, 150, 700, 1000]
    yield Case(
        "4 noised images and 6 of (1, 4, 3)",
        noised(six, [0, 2, 5, 3], t, PAPER, 1),
        torch.tensor(t),
        six,
        PAPER,
    )
    five = rand(5, 2, 3, 2, seed=2)
    t = [400, 600]
    yield Case(
        "2 noised images and 5 of (2, 3, 2), float32",
        noised(five, [4, 1], t, PAPER, 3),
        torch.tensor(t),
        five,
        PAPER,
    )
    points = rand(2, 3, seed=4, dtype=torch.float64).T  # (3, 2), and not contiguous in memory
    t = [5, 1, 3]
    yield Case(
        "3 noised points and 3 points, not contiguous",
        noised(points, [0, 1, 2], t, SHORT, 5),
        torch.tensor(t),
        points,
        SHORT,
    )
    large = rand(4, 1, 8, 8, seed=6, dtype=torch.float64)
    yield Case(
        "pure noise at t = 20, far from all 4 images of (1, 8, 8)",
        randn(2, 1, 8, 8, seed=7, dtype=torch.float64),
        torch.tensor([20, 20]),
        large,
        PAPER,
    )


def _weights(soften=lambda logits: logits.softmax(dim=1), **parts):
    """Wrong weights: `soften` of logits in which some part is replaced."""

    def wrong(xt: Tensor, t: Tensor, images: Tensor, schedule: Schedule) -> Tensor:
        return soften(_logits(xt, t, images, schedule, **parts)).to(xt.dtype)

    return wrong


def _weighted_mean(xt: Tensor, t: Tensor, images: Tensor, schedule: Schedule) -> Tensor:
    return (image_weights(xt, t, images, schedule) @ images.flatten(1)).reshape(xt.shape)


def _onehot(logits: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double()


def _naive_softmax(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(dim=1, keepdim=True)


EXERCISES = (
    Exercise(
        id="03.1",
        title="beta_tilde: the variance of the posterior",
        reference=beta_tilde,
        cases=_steps,
        misconceptions=(
            Misconception(
                name="β_t itself: this is the variance of q(x_t | x_{t−1}), the step forward",
                breaks="β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t: who knows x_0 as well is less uncertain",
                wrong=_variance(lambda b, a, ab, prev: b),
                reread=POSTERIOR,
            ),
            Misconception(
                name="upside down: (1 − ᾱ_t) / (1 − ᾱ_{t−1})",
                breaks="β̃_t ≤ β_t, so the smaller of the two, 1 − ᾱ_{t−1}, is on top",
                wrong=_variance(lambda b, a, ab, prev: (1 - ab) / (1 - prev) * b),
                reread=POSTERIOR,
            ),
            Misconception(
                name="α in place of ᾱ, which leaves nothing but β_{t−1}",
                breaks="β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t, and (1 − α_{t−1}) / (1 − α_t) · β_t = β_{t−1}",
                wrong=lambda t, schedule: schedule.beta[t - 1],
                reread=POSTERIOR,
            ),
            Misconception(
                name="the standard deviation √β̃_t, not the variance",
                breaks="q(x_{t−1} | x_t, x_0) = N(x_{t−1}; μ̃_t, β̃_t I) names a variance   (eq. 6)",
                wrong=lambda t, schedule: schedule.beta_tilde[t].sqrt(),
                reread=POSTERIOR,
            ),
            Misconception(
                name="ᾱ where 1 − ᾱ belongs",
                breaks="β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t: ratios of noise, not of signal",
                wrong=_variance(lambda b, a, ab, prev: prev / ab * b),
                reread=POSTERIOR,
            ),
            Misconception(
                name="the factor α_t is missing in the precision of the likelihood",
                breaks="1/β̃_t = α_t/β_t + 1/(1 − ᾱ_{t−1}): x_{t−1} enters (2) as √α_t x_{t−1}",
                wrong=_variance(lambda b, a, ab, prev: 1 / (1 / b + 1 / (1 - prev))),
                reread=SQUARE,
            ),
            Misconception(
                name="the variances are added, where their inverses add up",
                breaks="1/β̃_t = α_t/β_t + 1/(1 − ᾱ_{t−1})",
                wrong=_variance(lambda b, a, ab, prev: b / a + (1 - prev)),
                reread=SQUARE,
            ),
            Misconception(
                name="β̃_2 in the place of β̃_1: a stand-in for where a logarithm is taken",
                breaks="ᾱ_0 = 1, so β̃_1 = (1 − 1) / (1 − ᾱ_1) · β_1 = 0, exactly",
                wrong=lambda t, schedule: schedule.beta_tilde[t.clamp(min=2)],
                reread=POSTERIOR,
            ),
        ),
        hints=(
            "Three numbers a step: β_t, ᾱ_t, and ᾱ one step earlier. Index 0 is clean, so t = 1 needs no special case.",
            "schedule.alpha_bar[t - 1] is ᾱ_{t−1}. The smaller of the two noises, 1 − ᾱ_{t−1}, stands on top.",
            "(1 - schedule.alpha_bar[t - 1]) / (1 - schedule.alpha_bar[t]) * schedule.beta[t]",
        ),
    ),
    Exercise(
        id="03.2",
        title="q_posterior: mean and variance of q(x_{t−1} | x_t, x_0)",
        reference=process.q_posterior,
        cases=_pairs,
        misconceptions=(
            Misconception(
                name="√ᾱ_t in place of √α_t in the factor of x_t",
                breaks="the factor of x_t is √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t)   (eq. 7): it goes back one step",
                wrong=_posterior(
                    of_xt=lambda s: s.alpha_bar.sqrt() * late(1 - s.alpha_bar) / (1 - s.alpha_bar)
                ),
                reread=POSTERIOR,
            ),
            Misconception(
                name="off by one: √ᾱ_t in place of √ᾱ_{t−1} in the factor of x_0",
                breaks="the factor of x_0 is √ᾱ_{t−1} β_t / (1 − ᾱ_t)   (eq. 7): it belongs to x_{t−1}",
                wrong=_posterior(of_x0=lambda s: s.alpha_bar.sqrt() * s.beta / (1 - s.alpha_bar)),
                reread=POSTERIOR,
            ),
            Misconception(
                name="the two factors are swapped",
                breaks="√ᾱ_{t−1} β_t / (1 − ᾱ_t) belongs to x_0, and √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) to x_t   (eq. 7)",
                wrong=_posterior(lambda s: _coefficients(s)[1], lambda s: _coefficients(s)[0]),
                reread=POSTERIOR,
            ),
            Misconception(
                name="the square roots are missing in both factors",
                breaks="μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) x_0 + √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) x_t   (eq. 7)",
                wrong=_posterior(
                    lambda s: late(s.alpha_bar) * s.beta / (1 - s.alpha_bar),
                    lambda s: s.alpha * late(1 - s.alpha_bar) / (1 - s.alpha_bar),
                ),
                reread=POSTERIOR,
            ),
            Misconception(
                name="α in place of ᾱ everywhere",
                breaks="x_{t−1} and x_t hold the noise of all steps so far: 1 − ᾱ_{t−1} and 1 − ᾱ_t   (eq. 4)",
                wrong=_posterior(
                    lambda s: late(s.alpha.sqrt()),
                    lambda s: s.alpha.sqrt() * late(s.beta) / s.beta,
                ),
                reread=POSTERIOR,
            ),
            Misconception(
                name="the mean of the forward process, √ᾱ_{t−1} x_0: x_t is not used",
                breaks="μ̃_t is a compromise between what x_0 and what x_t say of x_{t−1}   (eq. 7)",
                wrong=_posterior(
                    lambda s: late(s.alpha_bar).sqrt(),
                    lambda s: torch.zeros_like(s.beta),
                ),
                reread=SQUARE,
            ),
            Misconception(
                name="β_t returned as the variance",
                breaks="q(x_{t−1} | x_t, x_0) = N(x_{t−1}; μ̃_t, β̃_t I)   (eq. 6)",
                wrong=_posterior(variance=lambda s: s.beta),
                reread=POSTERIOR,
            ),
            Misconception(
                name="the standard deviation returned as the variance",
                breaks="q(x_{t−1} | x_t, x_0) = N(x_{t−1}; μ̃_t, β̃_t I)   (eq. 6)",
                wrong=_posterior(variance=lambda s: s.beta_tilde.sqrt()),
                reread=POSTERIOR,
            ),
            Misconception(
                name="a coefficient of shape (B,) multiplies along the columns, not along the batch",
                breaks="each image has its own t, so its coefficient needs the shape (B, 1, …, 1)",
                wrong=_unshaped_posterior,
                reread=POSTERIOR,
            ),
            Misconception(
                name="the mean is right, but beta_tilde has the shape (B,)",
                breaks="x_{t−1} = μ̃_t + √β̃_t z: to multiply images, β̃_t needs the shape (B, 1, …, 1)",
                wrong=_flat_variance,
                reread=POSTERIOR,
            ),
            Misconception(
                name="the mean alone: a Gaussian needs its variance too",
                breaks="q(x_{t−1} | x_t, x_0) = N(x_{t−1}; μ̃_t, β̃_t I)   (eq. 6): return the pair",
                wrong=_only_mean,
                reread=POSTERIOR,
            ),
            first_t(process.q_posterior, 2, POSTERIOR),
        ),
        hints=(
            "Two factors, (B,) each, from ᾱ_{t−1}, ᾱ_t, α_t and β_t. per_image(factor, x0) gives them their shape.",
            "schedule.alpha_bar[t - 1] is ᾱ_{t−1}. The factor of x_0 is "
            "schedule.alpha_bar[t - 1].sqrt() * schedule.beta[t] / (1 - schedule.alpha_bar[t]).",
            "The factor of x_t is schedule.alpha[t].sqrt() * (1 - schedule.alpha_bar[t - 1]) / (1 - schedule.alpha_bar[t]). "
            "Return per_image(of_x0, x0) * x0 + per_image(of_xt, x0) * xt, and per_image(schedule.beta_tilde[t], x0).",
        ),
    ),
    Exercise(
        id="03.3",
        title="mu_from_eps: the posterior mean from x_t and the noise",
        reference=mu_from_eps,
        cases=_denoising,
        misconceptions=(
            Misconception(
                name="√(1 − α_t), without the bar, under β_t",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t   (eq. 11): ε is the noise of all t steps",
                wrong=_mean(lambda s: s.alpha.rsqrt(), lambda s: (s.beta / s.alpha).sqrt()),
                reread=REPORT,
            ),
            Misconception(
                name="all the noise is taken away at once: this is x̂_0, not the mean of x_{t−1}",
                breaks="x̂_0 = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t; one step back takes away only β_t / √(1 − ᾱ_t) ε",
                wrong=_mean(lambda s: s.alpha_bar.rsqrt(), lambda s: (1 / s.alpha_bar - 1).sqrt()),
                reread=NOISE,
            ),
            Misconception(
                name="all the noise is taken away, and then the image scaled up for one step only",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t   (eq. 11)",
                wrong=_mean(
                    lambda s: s.alpha.rsqrt(),
                    lambda s: ((1 - s.alpha_bar) / s.alpha).sqrt(),
                ),
                reread=NOISE,
            ),
            Misconception(
                name="divided by √ᾱ_t in place of √α_t",
                breaks="one step back undoes one factor √α_t, not all t of them   (eq. 11)",
                wrong=_mean(
                    lambda s: s.alpha_bar.rsqrt(),
                    lambda s: _right_share(s) * s.alpha_bar.rsqrt(),
                ),
                reread=NOISE,
            ),
            Misconception(
                name="divided by α_t in place of its root √α_t",
                breaks="the step forward is √α_t x_{t−1} + …, so the step back divides by √α_t   (eq. 2, 11)",
                wrong=_mean(lambda s: 1 / s.alpha, lambda s: _right_share(s) / s.alpha),
                reread=NOISE,
            ),
            Misconception(
                name="β_t divided by the variance 1 − ᾱ_t, without the square root",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t   (eq. 11)",
                wrong=_mean(
                    lambda s: s.alpha.rsqrt(),
                    lambda s: s.beta / (1 - s.alpha_bar) * s.alpha.rsqrt(),
                ),
                reread=NOISE,
            ),
            Misconception(
                name="the mean is not scaled back up",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t: the step forward shrank the image by √α_t",
                wrong=_mean(lambda s: torch.ones_like(s.beta), _right_share),
                reread=NOISE,
            ),
            Misconception(
                name="only x_t is divided by √α_t: the brackets are missing",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t: both terms are divided",
                wrong=_mean(lambda s: s.alpha.rsqrt(), _right_share),
                reread=NOISE,
            ),
            Misconception(
                name="only the noise is divided by √α_t: the brackets are missing",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t: both terms are divided",
                wrong=_mean(lambda s: torch.ones_like(s.beta), lambda s: _right_share(s) * s.alpha.rsqrt()),
                reread=NOISE,
            ),
            Misconception(
                name="the noise is added, not taken away",
                breaks="μ = (x_t − β_t / √(1 − ᾱ_t) ε) / √α_t   (eq. 11)",
                wrong=_mean(lambda s: s.alpha.rsqrt(), lambda s: -_right_share(s) * s.alpha.rsqrt()),
                reread=NOISE,
            ),
            Misconception(
                name="off by one: every coefficient is that of t − 1",
                breaks="beta[t], alpha[t] and alpha_bar[t] belong to x_t; index 0 is the clean image",
                wrong=_mean(
                    lambda s: late(s.alpha.rsqrt()),
                    lambda s: late(_right_share(s) * s.alpha.rsqrt()),
                ),
                reread=NOISE,
            ),
            Misconception(
                name="a coefficient of shape (B,) multiplies along the columns, not along the batch",
                breaks="each image has its own t, so its coefficient needs the shape (B, 1, …, 1)",
                wrong=_unshaped_mean,
                reread=NOISE,
            ),
            first_t(mu_from_eps, 1, NOISE),
        ),
        hints=(
            "Inside the brackets: x_t less a small share of the noise. Then all of it is divided by √α_t, of this step alone.",
            "The share is β_t / √(1 − ᾱ_t), with the bar. Compute it for each image, (B,), then per_image(share, xt).",
            "share = schedule.beta[t] / (1 - schedule.alpha_bar[t]).sqrt(); "
            "(xt - per_image(share, xt) * eps) / per_image(schedule.alpha[t].sqrt(), xt)",
        ),
    ),
    Exercise(
        id="03.4",
        title="p_sample: one reverse step",
        reference=p_sample,
        cases=_stepping,
        misconceptions=(
            Misconception(
                name="noise is added at the last step, t = 1, as well",
                breaks="algorithm 2, line 3: z = 0 if t = 1, for β̃_1 = 0 and the result is the image itself",
                wrong=_noisy(lambda s, t: s.beta.sqrt()[t]),
                reread=STEP,
            ),
            Misconception(
                name="the variance β_t used as a standard deviation",
                breaks="x_{t−1} = μ_θ + σ_t z with σ_t² = β_t, so σ_t = √β_t",
                wrong=_noisy(lambda s, t: s.beta[t] * (t > 1)),
                reread=STEP,
            ),
            Misconception(
                name="no noise at all: each step takes the mean",
                breaks="p_θ(x_{t−1} | x_t) is a Gaussian; a draw from it is μ_θ + σ_t z",
                wrong=_noisy(lambda s, t: torch.zeros_like(s.beta[t])),
                reread=STEP,
            ),
            Misconception(
                name="σ_t² = β̃_t: the paper's other choice, but not the one that was asked for",
                breaks="here σ_t² = β_t for t > 1",
                wrong=_noisy(lambda s, t: s.beta_tilde.sqrt()[t]),
                reread=VARIANCE,
            ),
            Misconception(
                name="the mask is the wrong way round: noise at t = 1 and at no other step",
                breaks="algorithm 2, line 3: z ~ N(0, I) if t > 1, else z = 0",
                wrong=_noisy(lambda s, t: s.beta.sqrt()[t] * (t == 1)),
                reread=STEP,
            ),
            Misconception(
                name="one t = 1 in the batch, and no image gets noise",
                breaks="each image has its own t: decide for each whether z = 0",
                wrong=_noisy(lambda s, t: s.beta.sqrt()[t] * (t > 1).all()),
                reread=STEP,
            ),
            Misconception(
                name="all the noise of x_{t−1} is drawn anew, √(1 − ᾱ_{t−1}), not only one step's",
                breaks="x_{t−1} = μ_θ + √β_t z: most of its noise is already in μ_θ",
                wrong=_noisy(lambda s, t: (1 - s.alpha_bar[t - 1]).sqrt()),
                reread=STEP,
            ),
            Misconception(
                name="√(1 − α_t), without the bar, in the mean",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t   (eq. 11)",
                wrong=_around(_mean(lambda s: s.alpha.rsqrt(), lambda s: (s.beta / s.alpha).sqrt())),
                reread=REPORT,
            ),
            Misconception(
                name="the noise is added inside the brackets, and divided by √α_t as well",
                breaks="x_{t−1} = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t + σ_t z",
                wrong=_noisy(lambda s, t: (s.beta / s.alpha).sqrt()[t] * (t > 1)),
                reread=STEP,
            ),
            first_t(p_sample, 1, STEP),
        ),
        hints=(
            "It is mu_from_eps plus noise of standard deviation √β_t, except where t is 1.",
            "(t > 1) is a tensor of booleans, one an image; a number times False is 0.",
            "sigma = schedule.beta[t].sqrt() * (t > 1); mu_from_eps(xt, t, eps_hat, schedule) + per_image(sigma, xt) * z",
        ),
    ),
    Exercise(
        id="03.5",
        title="image_weights: which image was it?",
        reference=image_weights,
        cases=_weighing,
        misconceptions=(
            Misconception(
                name="the sign is lost: the image that is farthest away gets the largest weight",
                breaks="q(x_t | x_0) ∝ exp(−‖x_t − √ᾱ_t x_0‖² / (2 (1 − ᾱ_t)))",
                wrong=_weights(lambda logits: (-logits).softmax(dim=1)),
                reread=NOTHING,
            ),
            Misconception(
                name="x_t is compared with the images themselves, not with √ᾱ_t times the images",
                breaks="the mean of q(x_t | x_0) is √ᾱ_t x_0   (eq. 4)",
                wrong=_weights(scale=lambda s, t: torch.ones_like(s.beta[t])),
                reread=NOTHING,
            ),
            Misconception(
                name="the images are scaled by ᾱ_t, without the square root",
                breaks="the mean of q(x_t | x_0) is √ᾱ_t x_0   (eq. 4)",
                wrong=_weights(scale=lambda s, t: s.alpha_bar[t]),
                reread=NOTHING,
            ),
            Misconception(
                name="the factor ½ of the exponent is missing",
                breaks="q(x_t | x_0) ∝ exp(−‖x_t − √ᾱ_t x_0‖² / (2 (1 − ᾱ_t)))",
                wrong=_weights(variance=lambda s, t: (1 - s.alpha_bar[t]) / 2),
                reread=NOTHING,
            ),
            Misconception(
                name="the standard deviation √(1 − ᾱ_t) where the variance belongs",
                breaks="q(x_t | x_0) ∝ exp(−‖x_t − √ᾱ_t x_0‖² / (2 (1 − ᾱ_t)))",
                wrong=_weights(variance=lambda s, t: (1 - s.alpha_bar[t]).sqrt()),
                reread=NOTHING,
            ),
            Misconception(
                name="β_t, the noise of one step, where 1 − ᾱ_t belongs",
                breaks="x_t holds the noise of all t steps, of variance 1 − ᾱ_t   (eq. 4)",
                wrong=_weights(variance=lambda s, t: s.beta[t]),
                reread=NOTHING,
            ),
            Misconception(
                name="the distance is not squared",
                breaks="q(x_t | x_0) ∝ exp(−‖x_t − √ᾱ_t x_0‖² / (2 (1 − ᾱ_t)))",
                wrong=_weights(of=lambda distance, images: distance),
                reread=NOTHING,
            ),
            Misconception(
                name="the mean over the pixels where their sum belongs",
                breaks="‖x‖² is the sum of the squares; the densities of independent pixels multiply",
                wrong=_weights(of=lambda distance, images: distance.square() / images[0].numel()),
                reread=NOTHING,
            ),
            Misconception(
                name="the softmax runs over the batch, not over the images",
                breaks="for each x_t: Σ_i p(x_0 = image i | x_t) = 1",
                wrong=_weights(lambda logits: logits.softmax(dim=0)),
                reread=NOTHING,
            ),
            Misconception(
                name="all the weight on the nearest image",
                breaks="p(x_0 = image i | x_t) is a probability: other images are possible too while there is noise",
                wrong=_weights(_onehot),
                reread=NOTHING,
            ),
            Misconception(
                name="the logarithm of the weights, or what goes into the softmax, not the weights",
                breaks="Σ_i p(x_0 = image i | x_t) = 1",
                wrong=_weights(lambda logits: logits),
                reread=NOTHING,
            ),
            Misconception(
                name="x̂_0, the weighted mean of the images, where the weights alone were asked for",
                breaks="x̂_0 = Σ_i w_i m_i comes after; here w_i, (B, N)",
                wrong=_weighted_mean,
                reread=NOTHING,
            ),
            Misconception(
                name="0 divided by 0: far from every image all the exponentials vanish before they are normalised",
                breaks="softmax(a) = exp(a − max a) / Σ exp(a − max a): torch.softmax takes the largest off first",
                wrong=_weights(_naive_softmax),
                reread=NOTHING,
            ),
        ),
        hints=(
            "Bayes again: each image is as likely beforehand, so its weight is proportional to q(x_t | x_0 = image), eq. (4).",
            "‖x_t − √ᾱ_t m‖ = √ᾱ_t ‖x_t/√ᾱ_t − m‖, and torch.cdist(a, b) gives all distances, (B, N), between the rows of "
            "a (B, D) and b (N, D). Square, divide, softmax over dim=1.",
            "kept = schedule.alpha_bar[t][:, None].to(xt.dtype); "
            "distance2 = kept * torch.cdist(xt.flatten(1) / kept.sqrt(), images.flatten(1)) ** 2; "
            "(-distance2 / (2 * (1 - kept))).softmax(dim=1)",
        ),
    ),
)
