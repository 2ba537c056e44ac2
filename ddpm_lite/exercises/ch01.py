"""Exercises of chapter 01: the forward process, from beta to one jump and back."""

import torch
from torch import Tensor

from ddpm_lite import process, schedules
from ddpm_lite.exercises.cases import PAPER, SHORT, broadcast, first_t, images, late, mix
from ddpm_lite.exercises.engine import Case, Exercise, Misconception
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

HOW_MUCH = "How much noise: β, α and ᾱ"
ONE_STEP = "One step"
WHY_ROOT = "Why the square root: a sum that keeps the variance"
ONE_JUMP = "One jump instead of t steps"
SIGNAL = "Where the signal is lost"
UNDO = "Can we not simply undo it?"


# ---------------------------------------------------------------------------------------------------
# 01.1 alpha_bar


def alpha_bar(beta: Tensor) -> Tensor:
    """alpha_bar_t = alpha_1 ... alpha_t with alpha_t = 1 - beta_t; beta and result (T+1,), index 0 clean."""
    return torch.cumprod(1 - beta, dim=0)


def _betas():
    yield Case("five rough steps", SHORT.beta)
    yield Case("the paper's schedule, T = 1000", PAPER.beta)
    yield Case("a cosine schedule, T = 40, float32", schedules.cosine(T=40).beta.float())


def _one_factor_late(beta):
    return torch.cat([beta.new_ones(1), torch.cumprod(1 - beta, dim=0)[:-1]])


def _denoising():
    """At t = 1000 predict_x0 divides by 0.0064; in float32 two right orders of arithmetic would differ there."""
    yield from images(latest=500)


def _ones(schedule: Schedule) -> Tensor:
    return torch.ones_like(schedule.beta)


def _last(values: Tensor) -> Tensor:
    """values[T] at every index."""
    return torch.full_like(values, float(values[-1]))


# ---------------------------------------------------------------------------------------------------
# 01.4 snr


def snr(t: Tensor, schedule: Schedule) -> Tensor:
    """SNR(t) = alpha_bar_t / (1 - alpha_bar_t), float64 (B,), for t in 1..T."""
    return schedule.snr[t]


def _steps():
    yield Case(
        "first, middle and last t of the paper's schedule", torch.tensor([1, 2, 259, 500, 1000]), PAPER
    )
    yield Case("five rough steps", torch.tensor([5, 3, 1, 2]), SHORT)


def _ratio(of):
    return lambda t, schedule: of(schedule.alpha_bar)[t]


# ---------------------------------------------------------------------------------------------------
# 01.5 predict_x0


def _back(numerator_noise, denominator):
    """A wrong inverse: (x_t - noise coefficient * eps_hat) / denominator."""

    def wrong(xt: Tensor, t: Tensor, eps_hat: Tensor, schedule: Schedule) -> Tensor:
        return (xt - at(numerator_noise(schedule), t, xt) * eps_hat) / at(denominator(schedule), t, xt)

    return wrong


EXERCISES = (
    Exercise(
        id="01.1",
        title="alpha_bar from beta",
        reference=alpha_bar,
        cases=_betas,
        misconceptions=(
            Misconception(
                name="α_t in place of ᾱ_t: the factor of one step, not the product of all steps so far",
                breaks="ᾱ_t = α_1 α_2 ⋯ α_t",
                wrong=lambda beta: 1 - beta,
                reread=HOW_MUCH,
            ),
            Misconception(
                name="the product runs up to T, not up to t",
                breaks="ᾱ_t = α_1 α_2 ⋯ α_t: it stops at t, so each t has its own ᾱ_t",
                wrong=lambda beta: torch.full_like(beta, float((1 - beta).prod())),
                reread=HOW_MUCH,
            ),
            Misconception(
                name="β multiplied up, not α = 1 − β",
                breaks="α_t = 1 − β_t is what a step keeps; β_t is what it replaces",
                wrong=lambda beta: torch.cumprod(beta, dim=0),
                reread=HOW_MUCH,
            ),
            Misconception(
                name="the β added up, not the α multiplied up",
                breaks="(1 − β_1)(1 − β_2) = 1 − β_1 − β_2 + β_1 β_2",
                wrong=lambda beta: 1 - torch.cumsum(beta, dim=0),
                reread=HOW_MUCH,
            ),
            Misconception(
                name="off by one: the product stops at t − 1",
                breaks="ᾱ_t includes α_t; index 0 is the clean image, and beta[0] = 0 is already in the array",
                wrong=_one_factor_late,
                reread=HOW_MUCH,
            ),
            Misconception(
                name="√ᾱ_t in place of ᾱ_t",
                breaks="ᾱ_t = α_1 α_2 ⋯ α_t, without a root; √ᾱ_t is the factor of the image",
                wrong=lambda beta: torch.cumprod(1 - beta, dim=0).sqrt(),
                reread=HOW_MUCH,
            ),
            Misconception(
                name="the t-th α to the power of t, where the product of t different α belongs",
                breaks="ᾱ_t = α_1 α_2 ⋯ α_t, and no two α_t are alike",
                wrong=lambda beta: (1 - beta) ** torch.arange(len(beta)),
                reread=HOW_MUCH,
            ),
        ),
        hints=(
            "First make α from β. Then each entry is the one before it times one more α.",
            "torch.cumprod(values, dim=0) gives the running product. Index 0 needs no special care, as beta[0] = 0.",
            "torch.cumprod(1 - beta, dim=0)",
        ),
    ),
    Exercise(
        id="01.2",
        title="q_step: one noising step",
        reference=process.q_step,
        cases=images,
        misconceptions=(
            Misconception(
                name="the variance β_t used as a standard deviation",
                breaks="x_t = √(1 − β_t) x_{t−1} + √β_t ε: the noise has variance β_t, so its factor is √β_t",
                wrong=mix(lambda s: s.alpha.sqrt(), lambda s: s.beta),
                reread=ONE_STEP,
            ),
            Misconception(
                name="the image multiplied by 1 − β_t, without the square root",
                breaks="the mean of q(x_t | x_{t−1}) is √(1 − β_t) x_{t−1}   (eq. 2)",
                wrong=mix(lambda s: s.alpha, lambda s: s.beta.sqrt()),
                reread=WHY_ROOT,
            ),
            Misconception(
                name="both square roots are missing",
                breaks="x_t = √(1 − β_t) x_{t−1} + √β_t ε   (eq. 2)",
                wrong=mix(lambda s: s.alpha, lambda s: s.beta),
                reread=WHY_ROOT,
            ),
            Misconception(
                name="noise is added but the image is not shrunk, so the variance grows without end",
                breaks="(1 − β_t) · 1 + β_t = 1: the step gives away as much variance as it takes in",
                wrong=mix(_ones, lambda s: s.beta.sqrt()),
                reread=WHY_ROOT,
            ),
            Misconception(
                name="the two coefficients are swapped",
                breaks="a step keeps √(1 − β_t) of the image, nearly all, and adds √β_t of noise, a little",
                wrong=mix(lambda s: s.beta.sqrt(), lambda s: s.alpha.sqrt()),
                reread=ONE_STEP,
            ),
            Misconception(
                name="ᾱ_t in place of α_t: this is the jump from x_0, not the step from x_{t−1}",
                breaks="q(x_t | x_{t−1}) knows only this step's β_t   (eq. 2)",
                wrong=mix(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar).sqrt()),
                reread=ONE_STEP,
            ),
            Misconception(
                name="off by one: β_{t−1} in place of β_t",
                breaks="beta[t] belongs to the step that leads to x_t; index 0 is the clean image",
                wrong=mix(lambda s: late(s.alpha.sqrt()), lambda s: late(s.beta.sqrt())),
                reread=HOW_MUCH,
            ),
            broadcast(lambda s: s.alpha.sqrt(), lambda s: s.beta.sqrt(), ONE_STEP),
            first_t(process.q_step, 1, ONE_STEP),
            Misconception(
                name="1 − √α_t, where √(1 − α_t) = √β_t belongs",
                breaks="the noise has variance β_t = 1 − α_t, so it is multiplied by the root of all of that",
                wrong=mix(lambda s: s.alpha.sqrt(), lambda s: 1 - s.alpha.sqrt()),
                reread=ONE_STEP,
            ),
        ),
        hints=(
            "Look up this step's β for each image: schedule.beta[t] has shape (B,). The images have shape (B, C, H, W).",
            "process.at(values, t, x) picks values[t], gives it the shape (B, 1, 1, 1) and the dtype of x. "
            "N(m, v) is drawn as m + √v ε.",
            "process.at((1 - schedule.beta).sqrt(), t, xt_prev) * xt_prev + process.at(schedule.beta.sqrt(), t, xt_prev) * eps",
        ),
    ),
    Exercise(
        id="01.3",
        title="q_sample: all t steps in one jump",
        reference=process.q_sample,
        cases=images,
        misconceptions=(
            Misconception(
                name="the variance 1 − ᾱ_t used as a standard deviation",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4): N(·, 1 − ᾱ_t) names a variance",
                wrong=mix(lambda s: s.alpha_bar.sqrt(), lambda s: 1 - s.alpha_bar),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="the image multiplied by ᾱ_t, without the square root",
                breaks="the mean of q(x_t | x_0) is √ᾱ_t x_0   (eq. 4)",
                wrong=mix(lambda s: s.alpha_bar, lambda s: (1 - s.alpha_bar).sqrt()),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="both square roots are missing",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=mix(lambda s: s.alpha_bar, lambda s: 1 - s.alpha_bar),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="α_t in place of ᾱ_t: this is one step, not t of them",
                breaks="ᾱ_t = α_1 α_2 ⋯ α_t gathers all the steps from x_0 to x_t",
                wrong=mix(lambda s: s.alpha.sqrt(), lambda s: s.beta.sqrt()),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="ᾱ_T in place of ᾱ_t: every image is noised all the way",
                breaks="the product ᾱ_t stops at this image's own t",
                wrong=mix(lambda s: _last(s.alpha_bar.sqrt()), lambda s: _last((1 - s.alpha_bar).sqrt())),
                reread=HOW_MUCH,
            ),
            Misconception(
                name="the two coefficients are swapped",
                breaks="√ᾱ_t belongs to the image and √(1 − ᾱ_t) to the noise   (eq. 4)",
                wrong=mix(lambda s: (1 - s.alpha_bar).sqrt(), lambda s: s.alpha_bar.sqrt()),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="the noise of the last step only, √β_t, beside the image's √ᾱ_t",
                breaks="ᾱ_t + (1 − ᾱ_t) = 1: the noise of all t steps adds up to the variance 1 − ᾱ_t",
                wrong=mix(lambda s: s.alpha_bar.sqrt(), lambda s: s.beta.sqrt()),
                reread=ONE_JUMP,
            ),
            Misconception(
                name="off by one: ᾱ_{t−1} in place of ᾱ_t",
                breaks="alpha_bar[t] belongs to x_t; index 0 is the clean image, with ᾱ_0 = 1",
                wrong=mix(lambda s: late(s.alpha_bar.sqrt()), lambda s: late((1 - s.alpha_bar).sqrt())),
                reread=HOW_MUCH,
            ),
            broadcast(lambda s: s.alpha_bar.sqrt(), lambda s: (1 - s.alpha_bar).sqrt(), ONE_STEP),
            first_t(process.q_sample, 1, ONE_STEP),
            Misconception(
                name="1 − √ᾱ_t, where √(1 − ᾱ_t) belongs",
                breaks="the noise has variance 1 − ᾱ_t, so it is multiplied by the root of all of that",
                wrong=mix(lambda s: s.alpha_bar.sqrt(), lambda s: 1 - s.alpha_bar.sqrt()),
                reread=ONE_JUMP,
            ),
        ),
        hints=(
            "It has the form of q_step. Only the two coefficients change.",
            "Mean √ᾱ_t x_0, variance 1 − ᾱ_t, and a draw from N(m, v) is m + √v ε. process.at(values, t, x0) does the shapes.",
            "process.at(schedule.alpha_bar.sqrt(), t, x0) * x0 + process.at((1 - schedule.alpha_bar).sqrt(), t, x0) * eps",
        ),
    ),
    Exercise(
        id="01.4",
        title="snr: the signal-to-noise ratio",
        reference=snr,
        cases=_steps,
        misconceptions=(
            Misconception(
                name="a ratio of standard deviations, not of variances",
                breaks="SNR(t) = (√ᾱ_t)² / (√(1 − ᾱ_t))² = ᾱ_t / (1 − ᾱ_t)",
                wrong=_ratio(lambda ab: (ab / (1 - ab)).sqrt()),
                reread=SIGNAL,
            ),
            Misconception(
                name="upside down: noise over signal",
                breaks="SNR(t) = ᾱ_t / (1 − ᾱ_t) falls as t grows",
                wrong=_ratio(lambda ab: (1 - ab) / ab),
                reread=SIGNAL,
            ),
            Misconception(
                name="α_t in place of ᾱ_t",
                breaks="the signal left in x_t is ᾱ_t, the product over all the steps so far",
                wrong=lambda t, schedule: (schedule.alpha / schedule.beta)[t],
                reread=SIGNAL,
            ),
            Misconception(
                name="the signal's share of the whole, not its ratio to the noise",
                breaks="SNR(t) = ᾱ_t / (1 − ᾱ_t); dividing by ᾱ_t + (1 − ᾱ_t) = 1 changes nothing",
                wrong=_ratio(lambda ab: ab),
                reread=SIGNAL,
            ),
            Misconception(
                name="the logarithm of the ratio",
                breaks="SNR(t) = ᾱ_t / (1 − ᾱ_t); we take its log only for the plot",
                wrong=_ratio(lambda ab: (ab / (1 - ab)).log()),
                reread=SIGNAL,
            ),
            Misconception(
                name="off by one: the ratio of the step before",
                breaks="entry t of the schedule belongs to step t; entry 0 is the clean image, which has no noise",
                wrong=lambda t, schedule: schedule.alpha_bar[t - 1] / (1 - schedule.alpha_bar[t - 1]),
                reread=HOW_MUCH,
            ),
        ),
        hints=(
            "In x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, what is the variance of the first part if x_0 has variance 1? And of the second?",
            "Pick ᾱ_t first, then divide: ᾱ_t is the signal's variance, 1 − ᾱ_t the noise's.",
            "schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])",
        ),
    ),
    Exercise(
        id="01.5",
        title="predict_x0: the jump, solved for x_0",
        reference=process.predict_x0,
        cases=_denoising,
        misconceptions=(
            Misconception(
                name="the variance 1 − ᾱ_t used as a standard deviation",
                breaks="the noise in x_t is √(1 − ᾱ_t) ε   (eq. 4), so that is what to subtract",
                wrong=_back(lambda s: 1 - s.alpha_bar, lambda s: s.alpha_bar.sqrt()),
                reread=UNDO,
            ),
            Misconception(
                name="√(1 − α_t), the noise of one step, in place of √(1 − ᾱ_t)",
                breaks="x_t holds the noise of all t steps: √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_back(lambda s: s.beta.sqrt(), lambda s: s.alpha_bar.sqrt()),
                reread=UNDO,
            ),
            Misconception(
                name="α_t in place of ᾱ_t: this goes back one step, not to x_0",
                breaks="x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t",
                wrong=_back(lambda s: s.beta.sqrt(), lambda s: s.alpha.sqrt()),
                reread=UNDO,
            ),
            Misconception(
                name="the noise is taken away, but the image is not scaled back up",
                breaks="x_t − √(1 − ᾱ_t) ε = √ᾱ_t x_0, so divide by √ᾱ_t",
                wrong=_back(lambda s: (1 - s.alpha_bar).sqrt(), _ones),
                reread=UNDO,
            ),
            Misconception(
                name="divided by ᾱ_t, without the square root",
                breaks="x_t − √(1 − ᾱ_t) ε = √ᾱ_t x_0, so divide by √ᾱ_t",
                wrong=_back(lambda s: (1 - s.alpha_bar).sqrt(), lambda s: s.alpha_bar),
                reread=UNDO,
            ),
            Misconception(
                name="only x_t is divided by √ᾱ_t: the brackets are missing",
                breaks="x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t: both terms are divided",
                wrong=_back(lambda s: (s.alpha_bar * (1 - s.alpha_bar)).sqrt(), lambda s: s.alpha_bar.sqrt()),
                reread=UNDO,
            ),
            Misconception(
                name="the noise is added once more, not taken away",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε: bring the noise to the other side, and its sign turns",
                wrong=_back(lambda s: -(1 - s.alpha_bar).sqrt(), lambda s: s.alpha_bar.sqrt()),
                reread=UNDO,
            ),
            first_t(process.predict_x0, 1, ONE_STEP),
        ),
        hints=(
            "Start from x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε and solve it for x_0, on paper.",
            "Bring the noise to the left, then divide all of it by √ᾱ_t.",
            "(xt - process.at((1 - schedule.alpha_bar).sqrt(), t, xt) * eps_hat) / process.at(schedule.alpha_bar.sqrt(), t, xt)",
        ),
    ),
)
