"""The forward process q, its posterior, and the ways to name what the network predicts (DDPM section 2, 3).

Shapes: x0, xt, eps (B, ...), float; t (B,) integer, 1..T. Every function computes its coefficients in
float64 and casts them once to the dtype and device of its first argument.
Raised by all of them: TypeError for a wrong dtype, ValueError for NaN, wrong shapes or t outside 1..T.
"""

from __future__ import annotations

from torch import Tensor

from . import validate
from .schedules import Schedule

PREDICTIONS = ("eps", "v", "x0")  # what a network may be asked for; each gives the other two, at a given x_t


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t], shaped (B, 1, ..., 1) to multiply `like` (B, ...), in its dtype and on its device."""
    picked = values.to(like.dtype).to(like.device)[t.to(like.device)]
    return picked.reshape(-1, *[1] * (like.ndim - 1))  # (B,) -> (B, 1, ..., 1)


def _check(xt: Tensor, t: Tensor, other: Tensor, schedule: Schedule, names: tuple[str, str]) -> None:
    validate.floating(xt, names[0])
    validate.floating(other, names[1])
    validate.same_shape(xt, other, *names)
    validate.timesteps(t, len(xt), schedule.T)


def q_step(xt_prev: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """One noising step, x_t ~ q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I): DDPM eq. (2)."""
    _check(xt_prev, t, eps, schedule, ("xt_prev", "eps"))
    return at(schedule.alpha.sqrt(), t, xt_prev) * xt_prev + at(schedule.beta.sqrt(), t, xt_prev) * eps


def q_sample(x0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """All t steps in one jump, x_t ~ q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I): DDPM eq. (4)."""
    _check(x0, t, eps, schedule, ("x0", "eps"))
    alpha_bar = schedule.alpha_bar
    return at(alpha_bar.sqrt(), t, x0) * x0 + at((1 - alpha_bar).sqrt(), t, x0) * eps


def posterior_coefficients(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The factors of x_0 and of x_t in mu_tilde, DDPM eq. (7): two float64 tensors (T+1,), index 0 unused (0)."""
    alpha_bar, alpha_bar_prev = schedule.alpha_bar[1:], schedule.alpha_bar[:-1]
    of_x0, of_xt = schedule.beta.clone(), schedule.beta.clone()
    of_x0[1:] = alpha_bar_prev.sqrt() * schedule.beta[1:] / (1 - alpha_bar)
    of_xt[1:] = schedule.alpha[1:].sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return of_x0, of_xt


def q_posterior(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_{t-1} | x_t, x_0) = N(mu_tilde, beta_tilde_t I): DDPM eq. (6), (7).

    Returns mu_tilde (B, ...) and beta_tilde (B, 1, ..., 1).
    """
    _check(x0, t, xt, schedule, ("x0", "xt"))
    of_x0, of_xt = posterior_coefficients(schedule)
    return at(of_x0, t, x0) * x0 + at(of_xt, t, x0) * xt, at(schedule.beta_tilde, t, x0)


def predict_x0(xt: Tensor, t: Tensor, eps_hat: Tensor, schedule: Schedule) -> Tensor:
    """x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t): DDPM eq. (4) solved for x_0."""
    _check(xt, t, eps_hat, schedule, ("xt", "eps_hat"))
    alpha_bar = schedule.alpha_bar
    return (xt - at((1 - alpha_bar).sqrt(), t, xt) * eps_hat) / at(alpha_bar.sqrt(), t, xt)


def predict_eps(xt: Tensor, t: Tensor, x0_hat: Tensor, schedule: Schedule) -> Tensor:
    """eps_hat = (x_t - sqrt(alpha_bar_t) x0_hat) / sqrt(1 - alpha_bar_t): DDPM eq. (4) solved for the noise."""
    _check(xt, t, x0_hat, schedule, ("xt", "x0_hat"))
    alpha_bar = schedule.alpha_bar
    return (xt - at(alpha_bar.sqrt(), t, xt) * x0_hat) / at((1 - alpha_bar).sqrt(), t, xt)


def v_target(x0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans & Ho 2022)."""
    _check(x0, t, eps, schedule, ("x0", "eps"))
    alpha_bar = schedule.alpha_bar
    return at(alpha_bar.sqrt(), t, x0) * eps - at((1 - alpha_bar).sqrt(), t, x0) * x0


def eps_from_v(xt: Tensor, t: Tensor, v: Tensor, schedule: Schedule) -> Tensor:
    """eps_hat = sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v."""
    _check(xt, t, v, schedule, ("xt", "v"))
    alpha_bar = schedule.alpha_bar
    return at((1 - alpha_bar).sqrt(), t, xt) * xt + at(alpha_bar.sqrt(), t, xt) * v


def x0_from_v(xt: Tensor, t: Tensor, v: Tensor, schedule: Schedule) -> Tensor:
    """x0_hat = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v."""
    _check(xt, t, v, schedule, ("xt", "v"))
    alpha_bar = schedule.alpha_bar
    return at(alpha_bar.sqrt(), t, xt) * xt - at((1 - alpha_bar).sqrt(), t, xt) * v


def target(x0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule, prediction: str = "eps") -> Tensor:
    """What a network of that prediction should answer at x_t: eps, v or x_0 (a name in PREDICTIONS)."""
    validate.one_of(prediction, PREDICTIONS, "prediction")
    return v_target(x0, t, eps, schedule) if prediction == "v" else {"eps": eps, "x0": x0}[prediction]


def score_from_eps(eps_hat: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """The score grad log q(x_t) = -eps_hat / sqrt(1 - alpha_bar_t)."""
    _check(eps_hat, t, eps_hat, schedule, ("eps_hat", "eps_hat"))
    return -eps_hat / at((1 - schedule.alpha_bar).sqrt(), t, eps_hat)


def eps_from_score(score: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """eps_hat = -sqrt(1 - alpha_bar_t) * score."""
    _check(score, t, score, schedule, ("score", "score"))
    return -at((1 - schedule.alpha_bar).sqrt(), t, score) * score
