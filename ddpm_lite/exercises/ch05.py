"""Exercises of chapter 05: the terms of the bound as errors in the noise, L_simple, L_0, and the prediction of v."""

import math

import torch
from torch import Tensor

from ddpm_lite import losses, process
from ddpm_lite.exercises.cases import PAPER, SHORT, broadcast, first_t, images, late, mix
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

SAME = "Two Gaussians with the same variance"
WEIGHT = "The weight of each step"
SIMPLE = "L_simple: drop the weight"
LAST = "The last step: L_0 counts grey levels"
FOUR = "Four names for one answer"
V = "v: a rotation of image and noise"


def _back():
    """Who solves for the noise by way of x0_hat divides by √ᾱ_t, which in float32 costs digits at t = 1000."""
    yield from images(latest=500)


def _signal(schedule: Schedule) -> Tensor:
    return schedule.alpha_bar.sqrt()


def _noise(schedule: Schedule) -> Tensor:
    return (1 - schedule.alpha_bar).sqrt()


# ---------------------------------------------------------------------------------------------------
# 05.1 mean_distance


def mean_distance(mu_tilde: Tensor, mu_theta: Tensor, t: Tensor, sigma2: Tensor) -> Tensor:
    """||mu_tilde - mu_theta||^2 / (2 sigma_t^2), DDPM eq. (8): means (B, ...), sigma2 (T+1,); result (B,)."""
    squared = (mu_tilde - mu_theta).square().flatten(1).sum(dim=1)  # (B, ...) -> (B,)
    return squared / (2 * sigma2[t].to(squared.dtype))


def _means():
    """Cases (mu_tilde, a mean near it, t, sigma2)."""
    for case in images():
        mu_tilde, t, noise, schedule = case.args
        yield Case(case.label, mu_tilde, mu_tilde + 0.1 * noise, t, schedule.beta)


def _distance(formula):
    """A wrong distance: formula(squared differences (B, N), sigma2 (B, 1)) -> (B,)."""

    def wrong(mu_tilde: Tensor, mu_theta: Tensor, t: Tensor, sigma2: Tensor) -> Tensor:
        squared = (mu_tilde - mu_theta).square().flatten(1)  # (B, N)
        return formula(squared, sigma2[t].to(squared.dtype)[:, None])

    return wrong


def _of_the_whole_batch(mu_tilde, mu_theta, t, sigma2):
    squared = (mu_tilde - mu_theta).square().sum()
    return squared / (2 * sigma2[t].to(mu_tilde.dtype))


def _square_of_the_sum(mu_tilde, mu_theta, t, sigma2):
    total = (mu_tilde - mu_theta).flatten(1).sum(dim=1)
    return total.square() / (2 * sigma2[t].to(total.dtype))


# ---------------------------------------------------------------------------------------------------
# 05.2 vlb_weight


def vlb_weight(t: Tensor, schedule: Schedule, sigma2: Tensor) -> Tensor:
    """beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)), DDPM eq. (12); sigma2 float64 (T+1,), result (B,)."""
    beta, alpha, alpha_bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    return beta**2 / (2 * sigma2[t] * alpha * (1 - alpha_bar))


def _weights():
    t = torch.tensor
    yield Case("the paper's schedule, σ² = β", t([1, 2, 100, 349, 1000]), PAPER, PAPER.beta)
    yield Case("five rough steps, σ² = β̃, t from 2", t([5, 2, 4, 3]), SHORT, SHORT.beta_tilde)


def _wrong_weight(formula):
    """A wrong weight: formula(beta, alpha, alpha_bar, sigma2), each (B,)."""
    return lambda t, schedule, sigma2: formula(
        schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t], sigma2[t]
    )


def _of_x0(t, schedule, sigma2):
    of_x0, _ = process.posterior_coefficients(schedule)
    return of_x0[t] ** 2 / (2 * sigma2[t])


# ---------------------------------------------------------------------------------------------------
# 05.3 simple_loss: the answer is called with a network, and the loss it returns is differentiated.


class SmallNetwork:
    """Some eps_model that depends on x_t and on t, with one parameter, so that a loss has a gradient."""

    def __init__(self, dtype: torch.dtype, T: int) -> None:
        self.a, self.T = torch.tensor(0.7, dtype=dtype, requires_grad=True), T

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:
            t = t.reshape(-1, *[1] * (xt.ndim - 1))
        return torch.tanh(self.a * xt) * (1 + t / self.T)


def _simple(eps_model, x0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    return losses.simple_loss(eps_model, x0, schedule, t=t, eps=eps)


def _loss_and_gradient(answer, eps_model, x0, t, eps, schedule):
    """The loss, and its gradient with respect to the network's parameter (None where there is none)."""
    loss = answer(eps_model, x0, t, eps, schedule)
    if isinstance(loss, float):  # .item()
        loss = torch.tensor(loss, dtype=x0.dtype)
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        return {"loss": loss, "its gradient": None}
    (gradient,) = torch.autograd.grad(loss, eps_model.a)
    return {"loss": loss, "its gradient": gradient}


def _batches():
    for case in images():
        x0, t, eps, schedule = case.args
        yield Case(case.label, SmallNetwork(x0.dtype, schedule.T), x0, t, eps, schedule)


def _wrong_loss(compare, given=lambda x0, xt: xt, step=lambda t: t):
    """A wrong loss: compare(eps, eps_hat, x0, xt), with the network given given(x0, xt) at step(t)."""

    def wrong(eps_model, x0, t, eps, schedule):
        xt = process.q_sample(x0, t, eps, schedule)
        return compare(eps, eps_model(given(x0, xt), step(t)), x0, xt)

    return wrong


def _mean_square(eps, eps_hat, x0, xt):
    return (eps - eps_hat).square().mean()


def _variance_as_deviation(eps_model, x0, t, eps, schedule):
    xt = mix(_signal, lambda s: 1 - s.alpha_bar)(x0, t, eps, schedule)
    return (eps - eps_model(xt, t)).square().mean()


def _places_traded(eps_model, x0, t, eps, schedule):
    return (eps - eps_model(process.q_sample(eps, t, x0, schedule), t)).square().mean()


def _error_of_x0(eps_model, x0, t, eps, schedule):
    xt = process.q_sample(x0, t, eps, schedule)
    return (x0 - process.predict_x0(xt, t, eps_model(xt, t), schedule)).square().mean()


def _one_step_of_noise(eps_model, x0, t, eps, schedule):
    xt = mix(lambda s: s.alpha.sqrt(), lambda s: s.beta.sqrt())(x0, t, eps, schedule)
    return (eps - eps_model(xt, t)).square().mean()


def _told_a_share(eps_model, x0, t, eps, schedule):
    xt = process.q_sample(x0, t, eps, schedule)
    return (eps - eps_model(xt, t / schedule.T)).square().mean()


def _weighted(eps_model, x0, t, eps, schedule):
    xt = process.q_sample(x0, t, eps, schedule)
    error = (eps - eps_model(xt, t)).square()
    return (at(losses.vlb_weight(schedule), t, x0) * error).mean()


# ---------------------------------------------------------------------------------------------------
# 05.4 log_mass


def _levels():
    """Pixels, means near and far from them, sigma2. Both ends of the scale are among the pixels."""
    x0 = (torch.tensor([[0, 255, 128], [7, 254, 1]]) / 127.5 - 1).double()
    yield Case(
        "6 pixels, both ends among them, float64",
        x0,
        x0 + 0.3 * randn(2, 3, seed=1, dtype=torch.float64),
        0.09,
    )
    x0 = (torch.tensor([0, 255, 255, 0, 90, 91, 200, 10]) / 127.5 - 1).reshape(2, 1, 2, 2)
    yield Case("2 images of (1, 2, 2), float32", x0, x0 + 0.05 * randn(2, 1, 2, 2, seed=2), 0.0025)
    mean = rand(3, 4, seed=3, dtype=torch.float64).T  # (4, 3), and not contiguous in memory
    x0 = (((mean + 1) * 127.5).round() / 127.5 - 1).clamp(-1, 1)
    yield Case("a narrow Gaussian, σ² = 1e-4, not contiguous", x0, mean, 1e-4)


def _log_mass(
    half=1 / 255,
    tails="both",
    deviation=lambda sigma2: math.sqrt(sigma2),
    of=torch.log,
    asked=lambda x0, mean: x0,
):
    """log of the Gaussian mass of x0 ± half, by a difference of two cumulative probabilities; or variants of it."""

    def function(x0: Tensor, mean: Tensor, sigma2: float) -> Tensor:
        sigma = deviation(sigma2)
        below = torch.special.ndtr((x0 - mean - half) / sigma)
        upto = torch.special.ndtr((x0 - mean + half) / sigma)
        end = asked(x0, mean)
        if tails in ("both", "lower"):
            below = torch.where(end < -0.999, torch.zeros_like(below), below)
        if tails in ("both", "upper"):
            upto = torch.where(end > 0.999, torch.ones_like(upto), upto)
        return of(upto - below)

    return function


def _log_density(width: float):
    """log of the density times a width, in place of the mass."""

    def wrong(x0: Tensor, mean: Tensor, sigma2: float) -> Tensor:
        log_density = -((x0 - mean) ** 2) / (2 * sigma2) - 0.5 * math.log(2 * math.pi * sigma2)
        return log_density + math.log(width)

    return wrong


# ---------------------------------------------------------------------------------------------------
# 05.5 and 05.6: v


def _swap(function):
    """The same with the signs of the result turned."""
    return lambda *args: -function(*args)


def _one_late(sign: int) -> Misconception:
    return Misconception(
        name="off by one: ᾱ_{t−1} in place of ᾱ_t",
        breaks="alpha_bar[t] belongs to x_t; index 0 is the clean image, with ᾱ_0 = 1",
        wrong=mix(lambda s: sign * late(_noise(s)), lambda s: late(_signal(s))),
        reread=V,
    )


def _eps_minus_x0(x0, t, eps, schedule):
    return eps - x0


EXERCISES = (
    Exercise(
        id="05.1",
        title="the distance of the means",
        reference=mean_distance,
        cases=_means,
        misconceptions=(
            Misconception(
                name="the 2 is missing",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8): it comes from the exponent of the Gaussian",
                wrong=_distance(lambda d, s2: (d / s2).sum(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="divided by σ, not by σ²",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8): sigma2 holds σ² and needs no root",
                wrong=_distance(lambda d, s2: (d / (2 * s2.sqrt())).sum(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="σ² is squared once more",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8): the 2 in the name sigma2 says variance",
                wrong=_distance(lambda d, s2: (d / (2 * s2**2)).sum(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="the mean over the dimensions in place of the sum",
                breaks="‖·‖² adds up all numbers of an example, and so do the KLs of independent numbers",
                wrong=_distance(lambda d, s2: (d / (2 * s2)).mean(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="the length in place of its square",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8)",
                wrong=_distance(lambda d, s2: d.sum(dim=1).sqrt() / (2 * s2[:, 0])),
                reread=SAME,
            ),
            Misconception(
                name="multiplied by 2σ², not divided",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8): the narrower the Gaussians, the further apart they are",
                wrong=_distance(lambda d, s2: (d * 2 * s2).sum(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="off by one: σ² of step t − 1",
                breaks="sigma2[t] belongs to p_θ(x_{t−1} | x_t); index 0 is the clean image",
                wrong=lambda mu_tilde, mu_theta, t, sigma2: mean_distance(mu_tilde, mu_theta, t - 1, sigma2),
                reread=SAME,
            ),
            Misconception(
                name="the sum runs over the whole batch",
                breaks="each example has its own distance: sum over its dimensions only, (B, …) → (B,)",
                wrong=_of_the_whole_batch,
                reread=SAME,
            ),
            Misconception(
                name="the denominator has no brackets: only the 2 divides",
                breaks="‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8): in Python a / 2 * s multiplies by s",
                wrong=_distance(lambda d, s2: (d / 2 * s2).sum(dim=1)),
                reread=SAME,
            ),
            Misconception(
                name="summed first, then squared",
                breaks="‖·‖² squares each difference before adding; in a plain sum differences of both signs cancel",
                wrong=_square_of_the_sum,
                reread=SAME,
            ),
        ),
        hints=(
            "Square the difference, and add up over all axes but the first.",
            "x.flatten(1).sum(dim=1) turns (B, …) into (B,). sigma2[t] has that shape already, but needs .to(mu_tilde.dtype).",
            "(mu_tilde - mu_theta).square().flatten(1).sum(dim=1) / (2 * sigma2[t].to(mu_tilde.dtype))",
        ),
    ),
    Exercise(
        id="05.2",
        title="the weight of a step in the bound",
        reference=vlb_weight,
        cases=_weights,
        misconceptions=(
            Misconception(
                name="β_t is not squared",
                breaks="the weight is β_t² / (2 σ_t² α_t (1 − ᾱ_t)): it comes from a squared distance",
                wrong=_wrong_weight(lambda b, a, ab, s2: b / (2 * s2 * a * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="the 2 is missing",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 σ²)   (eq. 8)",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (s2 * a * (1 - ab))),
                reread=SAME,
            ),
            Misconception(
                name="σ_t² is squared once more",
                breaks="sigma2 holds σ_t² already: the 2 in its name says variance",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2**2 * a * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="a root is left where the square belongs: √α_t and √(1 − ᾱ_t)",
                breaks="the square of β_t / (√α_t √(1 − ᾱ_t)) is β_t² / (α_t (1 − ᾱ_t))",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * a.sqrt() * (1 - ab).sqrt())),
                reread=WEIGHT,
            ),
            Misconception(
                name="√(1 − ᾱ_t) in place of 1 − ᾱ_t",
                breaks="the square of β_t / (√α_t √(1 − ᾱ_t)) is β_t² / (α_t (1 − ᾱ_t))",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * a * (1 - ab).sqrt())),
                reread=WEIGHT,
            ),
            Misconception(
                name="1 − α_t in place of 1 − ᾱ_t",
                breaks="the weight is β_t² / (2 σ_t² α_t (1 − ᾱ_t)): the noise in x_t is that of all t steps",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * a * (1 - a))),
                reread=WEIGHT,
            ),
            Misconception(
                name="ᾱ_t in place of α_t",
                breaks="the weight is β_t² / (2 σ_t² α_t (1 − ᾱ_t)): the step's own α_t comes from 1/√α_t in eq. (11)",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * ab * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="the denominator has no brackets: only the 2 divides",
                breaks="β_t² / (2 σ_t² α_t (1 − ᾱ_t)): in Python a / b * c multiplies by c",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / 2 * s2 * a * (1 - ab)),
                reread=WEIGHT,
            ),
            Misconception(
                name="off by one: the weight of t − 1",
                breaks="beta[t], alpha[t], alpha_bar[t] and sigma2[t] belong to step t; at t = 1 this would be 0/0",
                wrong=lambda t, schedule, sigma2: vlb_weight(t - 1, schedule, sigma2),
                reread=WEIGHT,
            ),
            Misconception(
                name="the weight of ‖x_0 − x̂_0‖², not of ‖ε − ε_θ‖²",
                breaks="x_0 − x̂_0 = −√((1 − ᾱ_t)/ᾱ_t) (ε − ε_θ): the two errors differ by a factor, and so do their weights",
                wrong=_of_x0,
                reread=WEIGHT,
            ),
            Misconception(
                name="σ_t² = β_t is put in, whatever sigma2 is",
                breaks="the weight is β_t² / (2 σ_t² α_t (1 − ᾱ_t)); only for σ_t² = β_t does one β_t cancel",
                wrong=_wrong_weight(lambda b, a, ab, s2: b / (2 * a * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="√α_t in place of α_t",
                breaks="the square of β_t / (√α_t √(1 − ᾱ_t)) is β_t² / (α_t (1 − ᾱ_t))",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * a.sqrt() * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="α_t is missing",
                breaks="the 1/√α_t in front of eq. (11) is squared too: β_t² / (2 σ_t² α_t (1 − ᾱ_t))",
                wrong=_wrong_weight(lambda b, a, ab, s2: b**2 / (2 * s2 * (1 - ab))),
                reread=WEIGHT,
            ),
            Misconception(
                name="turned upside down",
                breaks="the square of β_t / (√α_t √(1 − ᾱ_t)) is β_t² / (α_t (1 − ᾱ_t)), over 2σ_t²",
                wrong=_wrong_weight(lambda b, a, ab, s2: 2 * s2 * a * (1 - ab) / b**2),
                reread=WEIGHT,
            ),
        ),
        hints=(
            "Square the factor of (ε − ε_θ) in μ̃ − μ_θ, and divide by 2σ².",
            "Index every array with t first: schedule.beta[t] and its fellows have shape (B,).",
            "schedule.beta[t] ** 2 / (2 * sigma2[t] * schedule.alpha[t] * (1 - schedule.alpha_bar[t]))",
        ),
    ),
    Exercise(
        id="05.3",
        title="L_simple",
        reference=_simple,
        cases=_batches,
        run=_loss_and_gradient,
        misconceptions=(
            Misconception(
                name="the network is shown the clean image",
                breaks="ε_θ(x_t, t) with x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 14)",
                wrong=_wrong_loss(_mean_square, given=lambda x0, xt: x0),
                reread=SIMPLE,
            ),
            Misconception(
                name="the network's answer is compared with x_0, not with the noise",
                breaks="L_simple = E‖ε − ε_θ(x_t, t)‖²   (eq. 14)",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (x0 - eps_hat).square().mean()),
                reread=SIMPLE,
            ),
            Misconception(
                name="the network's answer is compared with x_t, not with the noise",
                breaks="L_simple = E‖ε − ε_θ(x_t, t)‖²   (eq. 14)",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (xt - eps_hat).square().mean()),
                reread=SIMPLE,
            ),
            Misconception(
                name="the sum over all numbers in place of the mean",
                breaks="E is a mean over the batch; over dimensions we also take the mean, so that the loss is about 1 at first",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (eps - eps_hat).square().sum()),
                reread=SIMPLE,
            ),
            Misconception(
                name="the sum over dimensions and the mean over the batch only",
                breaks="over dimensions we also take the mean, so that the loss is about 1 at first, whatever the image's size",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (eps - eps_hat).square().sum() / len(eps)),
                reread=SIMPLE,
            ),
            Misconception(
                name="the root of the mean square",
                breaks="‖ε − ε_θ‖² is squared: minimising a mean of roots finds another answer than the mean",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (eps - eps_hat).square().mean().sqrt()),
                reread=SIMPLE,
            ),
            Misconception(
                name="the square of the mean, not the mean of the squares",
                breaks="‖ε − ε_θ‖² squares each number first; in a plain mean errors of both signs cancel",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (eps - eps_hat).mean().square()),
                reread=SIMPLE,
            ),
            Misconception(
                name="image and noise have traded places when x_t is made",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4): process.q_sample(x0, t, eps, schedule)",
                wrong=_places_traded,
                reread=SIMPLE,
            ),
            Misconception(
                name="the absolute error in place of the square",
                breaks="‖ε − ε_θ‖² is the squared error, which is what the KL of two Gaussians gives; |ε − ε_θ| finds the median",
                wrong=_wrong_loss(lambda eps, eps_hat, x0, xt: (eps - eps_hat).abs().mean()),
                reread=SIMPLE,
            ),
            Misconception(
                name="the variance 1 − ᾱ_t used as a standard deviation when x_t is made",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_variance_as_deviation,
                reread=SIMPLE,
            ),
            Misconception(
                name="the network is told t − 1",
                breaks="ε_θ(x_t, t): the network gets the t that made x_t; index 0 is the clean image",
                wrong=_wrong_loss(_mean_square, step=lambda t: t - 1),
                reread=SIMPLE,
            ),
            Misconception(
                name="the weight of the bound is still there",
                breaks="L_simple sets the weight β_t² / (2 σ_t² α_t (1 − ᾱ_t)) to 1",
                wrong=_weighted,
                reread=SIMPLE,
            ),
            Misconception(
                name="the loss has no gradient: .item(), .detach() or no_grad has cut it off",
                breaks="training needs the gradient of L_simple with respect to θ",
                wrong=lambda *args: _simple(*args).detach(),
                reread=SIMPLE,
            ),
            Misconception(
                name="x̂_0 is compared with x_0: an error in the image, not in the noise",
                breaks="‖x_0 − x̂_0‖² is (1 − ᾱ_t)/ᾱ_t times ‖ε − ε_θ‖²: another weight, and not the 1 of eq. (14)",
                wrong=_error_of_x0,
                reread=SIMPLE,
            ),
            Misconception(
                name="α_t in place of ᾱ_t when x_t is made",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4): x_t holds the noise of all t steps",
                wrong=_one_step_of_noise,
                reread=SIMPLE,
            ),
            Misconception(
                name="the network is told t/T",
                breaks="ε_θ(x_t, t): in this course the network gets the whole number t",
                wrong=_told_a_share,
                reread=SIMPLE,
            ),
        ),
        hints=(
            "Three lines: make x_t, ask the network, compare.",
            "process.q_sample makes x_t. The network is called as eps_model(xt, t). The mean runs over everything.",
            "xt = process.q_sample(x0, t, eps, schedule); return (eps - eps_model(xt, t)).square().mean()",
        ),
    ),
    Exercise(
        id="05.4",
        title="the log mass of a grey level",
        reference=losses.discretised_log_prob,
        cases=_levels,
        misconceptions=(
            Misconception(
                name="x_0 and the mean have changed places: the tails open where the mean is at an end",
                breaks="δ₋(x) and δ₊(x) of equation (13) ask x_0: the mass of the level x_0 under a Gaussian around the mean",
                wrong=lambda x0, mean, sigma2: _log_mass()(mean, x0, sigma2),
                reread=LAST,
            ),
            Misconception(
                name="the tails open where the mean, not x_0, is at an end of the scale",
                breaks="δ₋(−1) = −∞ and δ₊(1) = ∞   (eq. 13), where −1 and 1 are values of x_0, not of the mean",
                wrong=_log_mass(asked=lambda x0, mean: mean),
                reread=LAST,
            ),
            Misconception(
                name="the tails are not open: the first and the last level own no more than the others",
                breaks="δ₋(−1) = −∞ and δ₊(1) = ∞   (eq. 13), where −1 and 1 are values of x_0, not of the mean",
                wrong=_log_mass(tails="none"),
                reread=LAST,
            ),
            Misconception(
                name="the level is twice too wide: x ± 2/255",
                breaks="neighbouring levels are 2/255 apart, so each owns 1/255 to either side",
                wrong=_log_mass(half=2 / 255),
                reread=LAST,
            ),
            Misconception(
                name="the level is half too narrow: x ± 1/510",
                breaks="on the scale from −1 to 1 neighbouring levels are 2/255 apart, so each owns 1/255 to either side",
                wrong=_log_mass(half=1 / 510),
                reread=LAST,
            ),
            Misconception(
                name="the variance used as a standard deviation",
                breaks="Φ((x ± 1/255 − μ)/σ): sigma2 is σ², so take its root",
                wrong=_log_mass(deviation=lambda sigma2: sigma2),
                reread=LAST,
            ),
            Misconception(
                name="the density at x_0 in place of the mass around it",
                breaks="p_θ(x_0 | x_1) = ∫ N(x; μ_θ, σ_1²) dx over the level   (eq. 13)",
                wrong=_log_density(1.0),
                reread=LAST,
            ),
            Misconception(
                name="density times width in place of the mass: near, but not equal, and without tails",
                breaks="p_θ(x_0 | x_1) = ∫ N(x; μ_θ, σ_1²) dx over the level   (eq. 13)",
                wrong=_log_density(2 / 255),
                reread=LAST,
            ),
            Misconception(
                name="the probability itself, not its logarithm",
                breaks="L_0 = −log p_θ(x_0 | x_1)",
                wrong=_log_mass(of=lambda mass: mass),
                reread=LAST,
            ),
            Misconception(
                name="the sign is turned: this is a cost in nats, and the log mass is wanted",
                breaks="a mass is at most 1, so its logarithm is at most 0",
                wrong=_log_mass(of=lambda mass: -torch.log(mass)),
                reread=LAST,
            ),
            Misconception(
                name="log to the base 2: bits, where nats are wanted",
                breaks="everything is in nats (natural logarithms) unless its name says bits",
                wrong=_log_mass(of=torch.log2),
                reread=LAST,
            ),
            Misconception(
                name="only the lower tail is open",
                breaks="δ₋(−1) = −∞ and δ₊(1) = ∞   (eq. 13): there are two tails",
                wrong=_log_mass(tails="lower"),
                reread=LAST,
            ),
            Misconception(
                name="only the upper tail is open",
                breaks="δ₋(−1) = −∞ and δ₊(1) = ∞   (eq. 13): there are two tails",
                wrong=_log_mass(tails="upper"),
                reread=LAST,
            ),
            Misconception(
                name="the level owns 1/256 to either side",
                breaks="256 levels from −1 to 1 have 255 gaps of 2/255, so each owns 1/255 to either side",
                wrong=_log_mass(half=1 / 256),
                reread=LAST,
            ),
        ),
        hints=(
            "How much of the Gaussian lies below x_0 + 1/255? How much below x_0 − 1/255? torch.special.ndtr(z) is Φ(z), "
            "the share of N(0, 1) below z.",
            "torch.where(x0 < -0.999, 0.0, below) opens the lower tail: nothing lies below the first level. "
            "Above the last one the share is 1.",
            "below = torch.special.ndtr((x0 - mean - 1/255) / sigma2 ** 0.5); upto = the same with + 1/255; open the two tails; "
            "return torch.log(upto - below)",
        ),
    ),
    Exercise(
        id="05.5",
        title="v_target",
        reference=process.v_target,
        cases=images,
        misconceptions=(
            Misconception(
                name="the coefficients are swapped",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: at small t it is nearly the noise",
                wrong=mix(lambda s: -_signal(s), _noise),
                reread=V,
            ),
            Misconception(
                name="the sign is turned",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0",
                wrong=_swap(process.v_target),
                reread=V,
            ),
            Misconception(
                name="plus in place of minus",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: a rotation has one minus, and x_t has none",
                wrong=mix(_noise, _signal),
                reread=V,
            ),
            Misconception(
                name="this is x_t",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, and v = √ᾱ_t ε − √(1 − ᾱ_t) x_0",
                wrong=mix(_signal, _noise),
                reread=V,
            ),
            Misconception(
                name="both square roots are missing",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: cos² + sin² = 1 holds for the roots",
                wrong=mix(lambda s: s.alpha_bar - 1, lambda s: s.alpha_bar),
                reread=V,
            ),
            Misconception(
                name="α_t in place of ᾱ_t",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: x_t holds the noise of all t steps",
                wrong=mix(lambda s: -s.beta.sqrt(), lambda s: s.alpha.sqrt()),
                reread=V,
            ),
            Misconception(
                name="ε − x_0, without coefficients: the target of a straight path, another method",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0",
                wrong=_eps_minus_x0,
                reread=V,
            ),
            _one_late(-1),
            broadcast(lambda s: -_noise(s), _signal, V),
            Misconception(
                name="one root is missing: 1 − ᾱ_t in place of √(1 − ᾱ_t)",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0",
                wrong=mix(lambda s: s.alpha_bar - 1, _signal),
                reread=V,
            ),
            Misconception(
                name="one root is missing: ᾱ_t in place of √ᾱ_t",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0",
                wrong=mix(lambda s: -_noise(s), lambda s: s.alpha_bar),
                reread=V,
            ),
            Misconception(
                name="1 − √ᾱ_t in place of √(1 − ᾱ_t)",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: the root goes over the difference",
                wrong=mix(lambda s: s.alpha_bar.sqrt() - 1, _signal),
                reread=V,
            ),
            first_t(process.v_target, 1, V),
        ),
        hints=(
            "It has the form of q_sample. Only the coefficients trade places, and one sign turns.",
            "√ᾱ_t goes to the noise and −√(1 − ᾱ_t) to the image. process.at(values, t, x0) does the shapes.",
            "process.at(schedule.alpha_bar.sqrt(), t, x0) * eps - process.at((1 - schedule.alpha_bar).sqrt(), t, x0) * x0",
        ),
    ),
    Exercise(
        id="05.6",
        title="eps_from_v",
        reference=process.eps_from_v,
        cases=_back,
        misconceptions=(
            Misconception(
                name="this is x̂_0, not ε̂",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v, and x_0 = √ᾱ_t x_t − √(1 − ᾱ_t) v",
                wrong=process.x0_from_v,
                reread=V,
            ),
            Misconception(
                name="the coefficients are swapped",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v: at small t the noise is nearly v itself",
                wrong=mix(_signal, _noise),
                reread=V,
            ),
            Misconception(
                name="minus in place of plus",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v: the rotation back turns the other sign",
                wrong=mix(_noise, lambda s: -_signal(s)),
                reread=V,
            ),
            Misconception(
                name="the other minus: rotated once more, not back",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v; going back turns the sign of the sine",
                wrong=mix(lambda s: -_noise(s), _signal),
                reread=V,
            ),
            Misconception(
                name="both square roots are missing",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v: cos² + sin² = 1 holds for the roots",
                wrong=mix(lambda s: 1 - s.alpha_bar, lambda s: s.alpha_bar),
                reread=V,
            ),
            Misconception(
                name="α_t in place of ᾱ_t",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v: x_t holds the noise of all t steps",
                wrong=mix(lambda s: s.beta.sqrt(), lambda s: s.alpha.sqrt()),
                reread=V,
            ),
            Misconception(
                name="v solved for ε as if x_0 were x_t",
                breaks="v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 holds x_0, which we do not know; x_t must be used as well",
                wrong=mix(
                    lambda s: ((1 - s.alpha_bar) / s.alpha_bar).sqrt(), lambda s: 1 / s.alpha_bar.sqrt()
                ),
                reread=V,
            ),
            _one_late(1),
            broadcast(_noise, _signal, V),
            Misconception(
                name="one root is missing: 1 − ᾱ_t in place of √(1 − ᾱ_t)",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v",
                wrong=mix(lambda s: 1 - s.alpha_bar, _signal),
                reread=V,
            ),
            Misconception(
                name="one root is missing: ᾱ_t in place of √ᾱ_t",
                breaks="ε = √(1 − ᾱ_t) x_t + √ᾱ_t v",
                wrong=mix(_noise, lambda s: s.alpha_bar),
                reread=V,
            ),
            first_t(process.eps_from_v, 1, V),
        ),
        hints=(
            "Write x_t and v as a rotation of x_0 and ε. To rotate back, turn the sign of the sine.",
            "Or: multiply x_t by √(1 − ᾱ_t) and v by √ᾱ_t, and add. What happens to x_0, and what to ε?",
            "process.at((1 - schedule.alpha_bar).sqrt(), t, xt) * xt + process.at(schedule.alpha_bar.sqrt(), t, xt) * v",
        ),
    ),
)
