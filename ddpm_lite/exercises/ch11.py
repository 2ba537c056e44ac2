"""Exercises of chapter 11: the rate of a step, bits received, distortion, minimal random coding, trees, interpolation."""

import math

import torch
from torch import Tensor

from ddpm_lite import coding, process
from ddpm_lite.exercises.cases import PAPER, SHORT, first_t
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

F64, LN2 = torch.float64, math.log(2)

PRICE = "The price of one step"
SO_FAR = "Bits received so far"
SEES = "What the receiver sees"
SAMPLE = "A sample for the price of a KL"
TREE = "One latent, many images"
BETWEEN = "Between two images"


# ---------------------------------------------------------------------------------------------------
# 11.1 step_bits


def step_bits(mu_tilde: Tensor, mu_theta: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """KL(N(mu_tilde, beta_tilde_t I) || N(mu_theta, beta_tilde_t I)) in bits a dimension, (B,). t: 2..T."""
    squares = (mu_tilde - mu_theta).square().flatten(1).mean(dim=1)  # (B, ...) -> (B,)
    return squares / (2 * math.log(2) * schedule.beta_tilde[t].to(squares.dtype))


def _means():
    t = torch.tensor
    near = lambda x, seed: x + 0.01 * randn(*x.shape, seed=seed, dtype=x.dtype)  # noqa: E731
    x = randn(4, 1, 8, 6)
    yield Case("4 images of (1, 8, 6), float32", x, near(x, 1), t([2, 100, 500, 1000]), PAPER)
    x = randn(2, 3, 7, 5, seed=2, dtype=F64)
    yield Case("2 images of (3, 7, 5), float64", x, near(x, 3), t([1000, 300]), PAPER)
    x = randn(5, 2, 3, 5, seed=4)
    yield Case("as many images as columns", x, near(x, 5), t([2, 3, 4, 5, 2]), SHORT)
    x = randn(2, 3, seed=6, dtype=F64).T
    yield Case("3 points of 2 numbers, not contiguous", x, near(x, 7), t([5, 2, 3]), SHORT)


def _priced(
    of=lambda d: d.square().flatten(1).mean(dim=1),
    variance=lambda s: s.beta_tilde,
    factor=0.5 / LN2,
    power=1.0,
):
    """A wrong price: another distance, another variance, or another factor."""

    def wrong(mu_tilde, mu_theta, t, schedule):
        d = of(mu_tilde - mu_theta)
        return factor * d / variance(schedule)[t].to(d.dtype) ** power

    return wrong


# ---------------------------------------------------------------------------------------------------
# 11.2 bits_so_far


def bits_so_far(prior: Tensor, terms: Tensor) -> Tensor:
    """Bits received when the receiver holds x_t, at index t: prior (B,), terms (B, T) -> (B, T+1)."""
    tail = (
        terms.flip(1).cumsum(dim=1).flip(1)
    )  # (B, T): at index t the steps from x_{t+1} to x_t and all before
    return prior[:, None] + torch.cat([tail, torch.zeros_like(tail[:, :1])], dim=1)


def _bills():
    yield Case("3 images, six steps, float64", rand(3, dtype=F64) + 1, rand(3, 6, seed=1, dtype=F64) + 1)
    yield Case("one image, two steps, float32", rand(1, seed=2) + 1, rand(1, 2, seed=3) + 1)
    terms = rand(5, 4, seed=4, dtype=F64).T + 1  # (4, 5), and not contiguous in memory
    yield Case("4 images, five steps, not contiguous", rand(4, seed=5, dtype=F64) + 1, terms)


def _tail(terms):
    return terms.flip(1).cumsum(dim=1).flip(1)


def _zero(terms):
    return torch.zeros_like(terms[:, :1])


# ---------------------------------------------------------------------------------------------------
# 11.3 rmse_255


def rmse_255(x0_hat: Tensor, x0: Tensor) -> float:
    """Root of the mean square error over all images and pixels, on the scale 0..255; x0_hat held to [-1, 1]."""
    return float(127.5 * (x0_hat.clamp(-1, 1) - x0).square().mean().sqrt())


def _guesses():
    spread = torch.tensor([0.05, 0.3, 0.6, 1.0])
    x0 = rand(4, 1, 8, 6)
    yield Case(
        "4 images, good to bad guesses, float32", x0 + spread.view(4, 1, 1, 1) * randn(4, 1, 8, 6, seed=1), x0
    )
    x0 = rand(2, 3, 7, 5, seed=2, dtype=F64)
    guess = x0 + torch.tensor([0.1, 0.8], dtype=F64).view(2, 1, 1, 1) * randn(2, 3, 7, 5, seed=3, dtype=F64)
    yield Case("2 colour images, float64", guess, x0)
    x0 = rand(2, 3, seed=4, dtype=F64).T
    yield Case("3 points, not contiguous", x0 + 0.5 * randn(3, 2, seed=5, dtype=F64), x0)


def _level(x):
    return ((x + 1) * 127.5).round()


def _error(scale=127.5, clip=lambda x: x.clamp(-1, 1), of=lambda d: d.square().mean().sqrt()):
    return lambda x0_hat, x0: scale * of(clip(x0_hat) - x0)


# ---------------------------------------------------------------------------------------------------
# 11.4 choose_index


def _candidates():
    u = [0.0, 0.03, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999]
    for label, K, D, dtype, seed, var_q, var_p in (
        ("64 candidates of 3 numbers, float64", 64, 3, F64, 0, 0.5, 1.0),
        ("40 candidates of 1 number, float32", 40, 1, torch.float32, 10, 0.2, 0.3),
        ("100 candidates of 5 numbers, equal variances", 100, 5, F64, 20, 0.1, 0.1),
    ):
        mean_p = randn(D, seed=seed, dtype=dtype)
        mean_q = mean_p + 0.6 * math.sqrt(var_p) * randn(D, seed=seed + 1, dtype=dtype)
        x = mean_p + math.sqrt(var_p) * randn(K, D, seed=seed + 2, dtype=dtype)
        yield Case(label, x, mean_q, var_q, mean_p, var_p, u)
    far = 1.5 + rand(12, 2, seed=40, dtype=F64).abs()  # at least a thousand nats away: their weights are 0
    far[[5, 8, 9]] = 0.04 * randn(3, 2, seed=41, dtype=F64)
    half = torch.full((2,), 0.5, dtype=F64)
    yield Case("12 candidates, most without any weight", half + far, half, 0.002, 0 * half, 1.0, u)
    x = randn(2, 30, seed=30, dtype=F64).T  # (30, 2), and not contiguous in memory
    half = torch.full((2,), 0.5, dtype=F64)
    yield Case("30 candidates, not contiguous", x, half, 0.4, torch.zeros(2, dtype=F64), 1.0, u)


def _each_u(choose, x, mean_q, var_q, mean_p, var_p, u):
    """The indices for several u: one alone could be right by luck."""
    return [choose(x, mean_q, var_q, mean_p, var_p, one) for one in u]


def _logs(x, mean, var, half=0.5, of=torch.sum):
    return -half * of((x - mean).square(), dim=1) / var


def _pick(
    log_w=lambda x, mq, vq, mp, vp: _logs(x, mq, vq) - _logs(x, mp, vp),
    choose=lambda w, u: int((w.cumsum(dim=0) <= u).sum()),
    weights=lambda log_w: log_w.softmax(dim=0),
):
    """A wrong choice: other weights, or another way from weights and u to an index."""

    def wrong(x, mean_q, var_q, mean_p, var_p, u):
        return max(0, min(choose(weights(log_w(x, mean_q, var_q, mean_p, var_p)), u), len(x) - 1))

    return wrong


# ---------------------------------------------------------------------------------------------------
# 11.5 branch


def branch(step, xt: Tensor, t: int, z: Tensor) -> Tensor:
    """Images (N, ...) that share one x_t (1, ...): from there to x_0 each by its own noise, z[s] (N, ...) at step s."""
    x = xt.expand(z.shape[1:])
    for s in range(t, 0, -1):
        x = step(x, s, z[s])
    return x


def _step(x: Tensor, s: int, z: Tensor) -> Tensor:
    """Stands in for a reverse step: every number depends on all of x, on s and, but for s = 1, on z."""
    x = 0.9 * x + 0.1 * torch.sin(x.flip(-1) + s / 3)
    return x + 0.3 * z if s > 1 else x


def _trees():
    yield Case(
        "4 children from t = 3 of 5, float32", _step, randn(1, 1, 4, 3), 3, randn(6, 4, 1, 4, 3, seed=1)
    )
    yield Case(
        "2 children from t = T = 4, float64",
        _step,
        randn(1, 5, seed=2, dtype=F64),
        4,
        randn(5, 2, 5, seed=3, dtype=F64),
    )
    z = randn(2, 3, 8, seed=4, dtype=F64).permute(2, 1, 0)  # (8, 3, 2), and not contiguous in memory
    yield Case("3 children from t = 2 of 7, not contiguous", _step, randn(1, 2, seed=5, dtype=F64), 2, z)


def _grow(
    start=lambda xt, t, z: xt.expand(z.shape[1:]),
    steps=lambda t, z: range(t, 0, -1),
    noise=lambda z, s, t: z[s],
):
    """A wrong tree: another start, other steps, or other noise."""

    def wrong(step, xt, t, z):
        x = start(xt, t, z)
        for s in steps(t, z):
            x = step(x, s, noise(z, s, t))
        return x

    return wrong


def _in_a_row(step, xt, t, z):
    x, children = xt, []
    for n in range(z.shape[1]):
        for s in range(t, 0, -1):
            x = step(x, s, z[s, n : n + 1])
        children.append(x)
    return torch.cat(children)


# ---------------------------------------------------------------------------------------------------
# 11.6 mix_latents


def mix_latents(
    x0: Tensor, x0_other: Tensor, lam: float, t: Tensor, eps: Tensor, eps_other: Tensor, schedule: Schedule
) -> Tensor:
    """(1 - lam) x_t + lam x'_t, where x_t and x'_t are the two images noised with eps and eps_other."""
    xt, xt_other = (process.q_sample(x, t, e, schedule) for x, e in ((x0, eps), (x0_other, eps_other)))
    return (1 - lam) * xt + lam * xt_other


def _pairs():
    for label, shape, t, schedule, lam, dtype, seed in (
        ("4 pairs of (1, 8, 6), float32", (4, 1, 8, 6), [1, 250, 500, 1000], PAPER, 0.3, torch.float32, 0),
        ("2 pairs of (3, 7, 5), float64", (2, 3, 7, 5), [1000, 300], PAPER, 0.75, F64, 10),
        ("as many pairs as columns, lam = 0", (5, 2, 3, 5), [1, 2, 3, 4, 5], SHORT, 0.0, torch.float32, 20),
    ):
        x = (rand(*shape, seed=seed + i, dtype=dtype) for i in (0, 1))
        e = (randn(*shape, seed=seed + i, dtype=dtype) for i in (2, 3))
        yield Case(label, *x, lam, torch.tensor(t), *e, schedule)
    x = (rand(2, 3, seed=30 + i, dtype=F64).T for i in (0, 1))
    e = (randn(2, 3, seed=32 + i, dtype=F64).T for i in (0, 1))
    yield Case("3 pairs, not contiguous, lam = 0.6", *x, 0.6, torch.tensor([5, 1, 3]), *e, SHORT)


def _mixed(
    weights=lambda lam: (1 - lam, lam),
    noised=lambda x, e, t, s: at(s.alpha_bar.sqrt(), t, x) * x + at((1 - s.alpha_bar).sqrt(), t, x) * e,
    noises=lambda e, e_other: (e, e_other),
):
    """A wrong mix: other weights, another way to noise, or other noises."""

    def wrong(x0, x0_other, lam, t, eps, eps_other, schedule):
        e, e_other = noises(eps, eps_other)
        a, b = weights(lam)
        return a * noised(x0, e, t, schedule) + b * noised(x0_other, e_other, t, schedule)

    return wrong


def _mixed_first(x0, x0_other, lam, t, eps, eps_other, schedule):
    return process.q_sample((1 - lam) * x0 + lam * x0_other, t, eps, schedule)


EXERCISES = (
    Exercise(
        id="11.1",
        title="step_bits: what it costs to say x_{t−1}",
        reference=step_bits,
        cases=_means,
        misconceptions=(
            Misconception(
                name="nats, not bits",
                breaks="1 nat = 1 / ln 2 = 1.44 bits: divide by ln 2",
                wrong=_priced(factor=0.5),
                reread=PRICE,
            ),
            Misconception(
                name="multiplied by ln 2, where one divides: a bit is less than a nat, so there are more bits than nats",
                breaks="bits = nats / ln 2",
                wrong=_priced(factor=0.5 * math.log(2)),
                reread=PRICE,
            ),
            Misconception(
                name="bits of the whole image, not of a dimension",
                breaks="‖μ̃ − μ_θ‖² / D: divide by the number of values of one image",
                wrong=_priced(of=lambda d: d.square().flatten(1).sum(dim=1)),
                reread=PRICE,
            ),
            Misconception(
                name="one number for the whole batch, not one for each image",
                breaks="the mean runs over the values of an image; the batch stays: (B, …) → (B,)",
                wrong=lambda a, b, t, s: step_bits(a, b, t, s).mean(),
                reread=PRICE,
            ),
            Misconception(
                name="the factor ½ is missing",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t)",
                wrong=_priced(factor=1 / math.log(2)),
                reread=PRICE,
            ),
            Misconception(
                name="divided by the standard deviation √β̃_t, not by the variance",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t): distance and width are both squared",
                wrong=_priced(power=0.5),
                reread=PRICE,
            ),
            Misconception(
                name="divided by the variance twice: β̃_t is a variance already",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t)",
                wrong=_priced(power=2.0),
                reread=PRICE,
            ),
            Misconception(
                name="β_t in place of β̃_t",
                breaks="both Gaussians have the variance of the posterior, β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t",
                wrong=_priced(variance=lambda s: s.beta),
                reread=PRICE,
            ),
            Misconception(
                name="β̃_{t−1} in place of β̃_t",
                breaks="L_{t−1} is the price of the step from x_t to x_{t−1}, whose variance is β̃_t",
                wrong=lambda a, b, t, s: _priced()(a, b, t - 1, s),
                reread=PRICE,
            ),
            Misconception(
                name="1 − ᾱ_t, the variance of all the noise in x_t, in place of β̃_t",
                breaks="both Gaussians have the variance of the posterior, β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t",
                wrong=_priced(variance=lambda s: 1 - s.alpha_bar),
                reread=PRICE,
            ),
            Misconception(
                name="the absolute difference, not its square",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t)",
                wrong=_priced(of=lambda d: d.abs().flatten(1).mean(dim=1)),
                reread=PRICE,
            ),
            Misconception(
                name="the norm, not its square",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t)",
                wrong=_priced(of=lambda d: d.square().flatten(1).mean(dim=1).sqrt()),
                reread=PRICE,
            ),
            Misconception(
                name="the variance is left out",
                breaks="a difference of 0.01 is a lot where the width is 0.007, and nothing where it is 0.14",
                wrong=_priced(variance=lambda s: torch.ones_like(s.beta)),
                reread=PRICE,
            ),
            Misconception(
                name="multiplied by β̃_t, where one divides: in a / 2 * b Python multiplies by b",
                breaks="KL = ‖μ̃ − μ_θ‖² / (2 β̃_t): put the denominator in brackets",
                wrong=_priced(power=-1.0),
                reread=PRICE,
            ),
            Misconception(
                name="multiplied by β̃_t and by ln 2, where one divides: in a / 2 * b * c only the 2 is below the line",
                breaks="bits = ‖μ̃ − μ_θ‖² / (2 β̃_t ln 2): put the denominator in brackets",
                wrong=_priced(power=-1.0, factor=0.5 * LN2),
                reread=PRICE,
            ),
            Misconception(
                name="the mean first, then the square: errors up and down cancel",
                breaks="‖μ̃ − μ_θ‖² is a sum of squares: square each difference, then take the mean",
                wrong=_priced(of=lambda d: d.flatten(1).mean(dim=1).square()),
                reread=PRICE,
            ),
            Misconception(
                name="divided by the number of all values of the batch",
                breaks="D is the number of values of one image",
                wrong=_priced(of=lambda d: d.square().flatten(1).sum(dim=1) / d.numel()),
                reread=PRICE,
            ),
            first_t(step_bits, 2, PRICE),
        ),
        hints=(
            "The mean of the squared difference over the values of each image first: (B, …) → (B,).",
            "(mu_tilde - mu_theta).square().flatten(1).mean(dim=1) has the shape (B,), and so has schedule.beta_tilde[t].",
            "Divide by 2 · β̃_t, and by math.log(2). Cast β̃_t to the dtype of the squares: .to(squares.dtype).",
        ),
    ),
    Exercise(
        id="11.2",
        title="bits_so_far: the running sum, from T down",
        reference=bits_so_far,
        cases=_bills,
        misconceptions=(
            Misconception(
                name="summed from t = 1 upwards: the receiver would begin with the fine detail",
                breaks="x_T is sent first, so at x_t the terms of the steps T … t + 1 have been paid",
                wrong=lambda prior, terms: (
                    prior[:, None] + torch.cat([_zero(terms), terms.cumsum(dim=1)], dim=1)
                ),
                reread=SO_FAR,
            ),
            Misconception(
                name="the step away from x_t is counted as received already",
                breaks="R_t = L_T + Σ_{s > t} L_{s−1}: who holds x_t has not paid for x_{t−1} yet",
                wrong=lambda prior, terms: (
                    prior[:, None] + torch.cat([_tail(terms)[:, :1], _tail(terms)], dim=1)
                ),
                reread=SO_FAR,
            ),
            Misconception(
                name="off by one the other way: the step to x_t is not counted",
                breaks="R_t = L_T + Σ_{s > t} L_{s−1} begins with s = t + 1, the step from x_{t+1} to x_t",
                wrong=lambda prior, terms: (
                    prior[:, None] + torch.cat([_tail(terms)[:, 1:], _zero(terms), _zero(terms)], dim=1)
                ),
                reread=SO_FAR,
            ),
            Misconception(
                name="L_T is forgotten",
                breaks="R_T = L_T: x_T itself has to be said, too",
                wrong=lambda prior, terms: torch.cat([_tail(terms), _zero(terms)], dim=1),
                reread=SO_FAR,
            ),
            Misconception(
                name="L_T is in the last entry only, not in all",
                breaks="R_t = L_T + Σ_{s > t} L_{s−1}: whoever holds x_t was told x_T before",
                wrong=lambda prior, terms: torch.cat([_tail(terms), prior[:, None]], dim=1),
                reread=SO_FAR,
            ),
            Misconception(
                name="in the order of sending: index 0 is x_T",
                breaks="index t belongs to x_t: turn the running sum round once more",
                wrong=lambda prior, terms: bits_so_far(prior, terms).flip(1),
                reread=SO_FAR,
            ),
            Misconception(
                name="the terms themselves, not their running sum",
                breaks="R_t is the sum of all that was sent so far",
                wrong=lambda prior, terms: torch.cat([terms, prior[:, None]], dim=1),
                reread=SO_FAR,
            ),
            Misconception(
                name="the entry of x_T is missing",
                breaks="there are T + 1 latents, x_0 to x_T, so the result is (B, T + 1)",
                wrong=lambda prior, terms: prior[:, None] + _tail(terms),
                reread=SO_FAR,
            ),
            Misconception(
                name="the entry of x_0 is missing",
                breaks="there are T + 1 latents, x_0 to x_T, so the result is (B, T + 1)",
                wrong=lambda prior, terms: bits_so_far(prior, terms)[:, 1:],
                reread=SO_FAR,
            ),
            Misconception(
                name="the zero stands at the wrong end: x_0 is there for nothing, and x_T costs everything",
                breaks="R_T = L_T: nothing has been added yet at index T, the last one",
                wrong=lambda prior, terms: prior[:, None] + torch.cat([_zero(terms), _tail(terms)], dim=1),
                reread=SO_FAR,
            ),
            Misconception(
                name="the running sum goes over the images, not over the steps",
                breaks="each image has its own bill: dim=1 are the steps",
                wrong=lambda prior, terms: (
                    prior[:, None] + torch.cat([terms.flip(0).cumsum(dim=0).flip(0), _zero(terms)], dim=1)
                ),
                reread=SO_FAR,
            ),
        ),
        hints=(
            "At index T there is only the prior; at index 0 there is everything. From right to left one term is added each time.",
            "cumsum runs from left to right. Turn the terms round, sum, and turn back: "
            "terms.flip(1).cumsum(dim=1).flip(1) is (B, T).",
            "Append a column of zeros for x_T, torch.zeros_like(terms[:, :1]), and add prior[:, None] to all of it.",
        ),
    ),
    Exercise(
        id="11.3",
        title="rmse_255: the distortion",
        reference=rmse_255,
        cases=_guesses,
        misconceptions=(
            Misconception(
                name="on the scale of [−1, 1], not of 0 … 255",
                breaks="256 grey levels lie in [−1, 1], so one of them is 2/255 wide: multiply by 127.5",
                wrong=_error(scale=1.0),
                reread=SEES,
            ),
            Misconception(
                name="multiplied by 255: the interval [−1, 1] has the length 2",
                breaks="2 in [−1, 1] are 255 levels: multiply by 127.5",
                wrong=_error(scale=255.0),
                reread=SEES,
            ),
            Misconception(
                name="the mean of each image's root, not the root of the mean",
                breaks="√(mean over all images of the squares): the mean first, one root at the end",
                wrong=_error(of=lambda d: d.square().flatten(1).mean(dim=1).sqrt().mean()),
                reread=SEES,
            ),
            Misconception(
                name="a root for each image, and no mean over them",
                breaks="√(mean over all images and pixels): one number",
                wrong=_error(of=lambda d: d.square().flatten(1).mean(dim=1).sqrt()),
                reread=SEES,
            ),
            Misconception(
                name="the root is missing",
                breaks="RMSE = √(mean square)",
                wrong=_error(of=lambda d: d.square().mean(), scale=127.5),
                reread=SEES,
            ),
            Misconception(
                name="the root is missing",
                breaks="RMSE = √(mean square)",
                wrong=_error(of=lambda d: d.square().mean(), scale=127.5**2),
                reread=SEES,
            ),
            Misconception(
                name="x̂_0 is not held to [−1, 1]",
                breaks="no grey level lies beyond [−1, 1]: clamp x̂_0 before comparing",
                wrong=_error(clip=lambda x: x),
                reread=SEES,
            ),
            Misconception(
                name="rounded to whole grey levels first",
                breaks="x̂_0 is a guess, and may lie between two levels: no rounding",
                wrong=lambda x0_hat, x0: _error(scale=1.0, clip=lambda x: x)(
                    _level(x0_hat.clamp(-1, 1)), _level(x0)
                ),
                reread=SEES,
            ),
            Misconception(
                name="on the scale 0 … 255, but x̂_0 is not held to [−1, 1], and 255 where 127.5 belongs",
                breaks="clamp first; [−1, 1] has the length 2, so the factor is 127.5",
                wrong=_error(scale=255.0, clip=lambda x: x),
                reread=SEES,
            ),
            Misconception(
                name="x̂_0 is held to [0, 1]",
                breaks="images lie in [−1, 1]",
                wrong=_error(clip=lambda x: x.clamp(0, 1)),
                reread=SEES,
            ),
            Misconception(
                name="the mean absolute error, not the root of the mean square",
                breaks="RMSE = √(mean square)",
                wrong=_error(of=lambda d: d.abs().mean()),
                reread=SEES,
            ),
            Misconception(
                name="the standard deviation of the error: it leaves the mean error out",
                breaks="RMSE = √(mean square), and nothing is subtracted before",
                wrong=_error(of=lambda d: d.std()),
                reread=SEES,
            ),
            Misconception(
                name="a sum of squares, not their mean",
                breaks="RMSE = √(mean square): else it grows with the number of pixels",
                wrong=_error(of=lambda d: d.square().sum().sqrt()),
                reread=SEES,
            ),
            Misconception(
                name="the difference is held to [−1, 1], not x̂_0",
                breaks="an error may be as large as 2, from black to white: hold x̂_0 to [−1, 1], then subtract",
                wrong=lambda x0_hat, x0: 127.5 * (x0_hat - x0).clamp(-1, 1).square().mean().sqrt(),
                reread=SEES,
            ),
            Misconception(
                name="cut to whole grey levels first, as 8-bit numbers that wrap around below 0",
                breaks="x̂_0 is a real number, and so is its error",
                wrong=lambda x0_hat, x0: (
                    (((x0_hat.clamp(-1, 1) + 1) * 127.5).to(torch.uint8) - ((x0 + 1) * 127.5).to(torch.uint8))
                    .to(x0.dtype)
                    .square()
                    .mean()
                    .sqrt()
                ),
                reread=SEES,
            ),
            Misconception(
                name="multiplied by 128, half the number of the levels",
                breaks="256 levels have 255 gaps, and these are 2 long together: multiply by 127.5",
                wrong=_error(scale=128.0),
                reread=SEES,
            ),
            Misconception(
                name="divided by the number of images, not by the number of pixels",
                breaks="√(mean over all images and pixels)",
                wrong=_error(of=lambda d: (d.square().sum() / len(d)).sqrt()),
                reread=SEES,
            ),
            Misconception(
                name="the root of the squared mean, so that errors up and down cancel",
                breaks="square first, then take the mean",
                wrong=_error(of=lambda d: d.mean().square().sqrt()),
                reread=SEES,
            ),
        ),
        hints=(
            "Hold x0_hat to [-1, 1], subtract, square, take the mean of everything, then the root.",
            "x0_hat.clamp(-1, 1). And how many grey levels are there from -1 to 1?",
            "127.5 * (x0_hat.clamp(-1, 1) - x0).square().mean().sqrt()",
        ),
    ),
    Exercise(
        id="11.4",
        title="choose_index: which candidate looks like a draw from q",
        reference=coding.choose_index,
        cases=_candidates,
        run=_each_u,
        misconceptions=(
            Misconception(
                name="weights by q alone: the candidates come from p already, so this draws from p · q, between the two",
                breaks="w_k ∝ q(x_k) / p(x_k)",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mq, vq)),
                reread=SAMPLE,
            ),
            Misconception(
                name="weights by p alone",
                breaks="w_k ∝ q(x_k) / p(x_k)",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mp, vp)),
                reread=SAMPLE,
            ),
            Misconception(
                name="the ratio upside down, p / q: this flees from q",
                breaks="w_k ∝ q(x_k) / p(x_k)",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mp, vp) - _logs(x, mq, vq)),
                reread=SAMPLE,
            ),
            Misconception(
                name="the largest weight, always: that is the best candidate, and no draw",
                breaks="candidate k is chosen with probability w_k: u decides",
                wrong=_pick(choose=lambda w, u: int(w.argmax())),
                reread=SAMPLE,
            ),
            Misconception(
                name="every candidate as likely: this draws from p",
                breaks="candidate k is chosen with probability w_k ∝ q(x_k) / p(x_k)",
                wrong=_pick(choose=lambda w, u: int(u * len(w))),
                reread=SAMPLE,
            ),
            Misconception(
                name="the weights are not divided by their sum",
                breaks="w_k = r_k / Σ_j r_j: only then the running sums end at 1, where u ends",
                wrong=_pick(
                    lambda x, mq, vq, mp, vp: coding.log_ratio(x, mq, vq, mp, vp),
                    weights=lambda log_w: log_w.exp(),
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="the weights are divided by their number, not by their sum",
                breaks="w_k = r_k / Σ_j r_j: for few candidates the mean of r is far from 1",
                wrong=_pick(
                    lambda x, mq, vq, mp, vp: coding.log_ratio(x, mq, vq, mp, vp),
                    weights=lambda log_w: log_w.exp() / len(log_w),
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="the logarithms normalised, not the ratios themselves: a softmax has an exp in it",
                breaks="w_k = r_k / Σ_j r_j with r_k = exp(log q(x_k) − log p(x_k))",
                wrong=_pick(weights=lambda log_w: log_w / log_w.sum()),
                reread=SAMPLE,
            ),
            Misconception(
                name="a mean over the D numbers of a candidate, not a sum",
                breaks="the numbers are independent: densities multiply, logarithms add",
                wrong=_pick(
                    lambda x, mq, vq, mp, vp: (
                        _logs(x, mq, vq, of=torch.mean) - _logs(x, mp, vp, of=torch.mean)
                    )
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="the factor ½ is missing in the logarithm of the density",
                breaks="log N(x; m, v) = −(x − m)² / (2 v) + constant",
                wrong=_pick(
                    lambda x, mq, vq, mp, vp: _logs(x, mq, vq, half=1.0) - _logs(x, mp, vp, half=1.0)
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="the variances taken for standard deviations, and squared",
                breaks="log N(x; m, v) = −(x − m)² / (2 v) + constant: v is a variance",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mq, vq**2) - _logs(x, mp, vp**2)),
                reread=SAMPLE,
            ),
            Misconception(
                name="one variance for both",
                breaks="q and p have each their own variance",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mq, vp) - _logs(x, mp, vp)),
                reread=SAMPLE,
            ),
            Misconception(
                name="one too far: the index after the one in which u falls",
                breaks="the first k with w_0 + … + w_k > u",
                wrong=_pick(choose=lambda w, u: int((w.cumsum(dim=0) <= u).sum()) + 1),
                reread=SAMPLE,
            ),
            Misconception(
                name="one too early: the index before the one in which u falls",
                breaks="the first k with w_0 + … + w_k > u; Python counts from 0, and so does this sum",
                wrong=_pick(choose=lambda w, u: int((w.cumsum(dim=0) <= u).sum()) - 1),
                reread=SAMPLE,
            ),
            Misconception(
                name="≥ u in place of > u: at u = 0 it names the first candidate, even if its weight is 0",
                breaks="the first k with w_0 + … + w_k > u: count the sums that are ≤ u",
                wrong=_pick(choose=lambda w, u: int((w.cumsum(dim=0) < u).sum())),
                reread=SAMPLE,
            ),
            Misconception(
                name="a softmax of the ratios, not of their logarithms: exp twice",
                breaks="w_k = r_k / Σ_j r_j; softmax has the exp in it, so give it log r_k",
                wrong=_pick(
                    lambda x, mq, vq, mp, vp: coding.log_ratio(x, mq, vq, mp, vp),
                    weights=lambda log_w: log_w.exp().softmax(dim=0),
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="1 − u in place of u: the same distribution, but another index than the text's",
                breaks="the first k with w_0 + … + w_k > u",
                wrong=_pick(choose=lambda w, u: int((w.cumsum(dim=0) <= 1 - u).sum())),
                reread=SAMPLE,
            ),
            Misconception(
                name="divided by the standard deviation, not by the variance",
                breaks="log N(x; m, v) = −(x − m)² / (2 v) + constant",
                wrong=_pick(lambda x, mq, vq, mp, vp: _logs(x, mq, vq**0.5) - _logs(x, mp, vp**0.5)),
                reread=SAMPLE,
            ),
            Misconception(
                name="the first weight above u, not the first running sum",
                breaks="the first k with w_0 + … + w_k > u",
                wrong=_pick(choose=lambda w, u: int((w > u).int().argmax())),
                reread=SAMPLE,
            ),
            Misconception(
                name="the weights are sorted first: the index then counts in another order than the receiver's",
                breaks="k is the place among the candidates as both sides drew them",
                wrong=_pick(
                    choose=lambda w, u: int((w.sort(descending=True).values.cumsum(dim=0) <= u).sum())
                ),
                reread=SAMPLE,
            ),
            Misconception(
                name="the candidate that is nearest to the mean of q",
                breaks="candidate k is chosen with probability w_k: u decides",
                wrong=lambda x, mq, vq, mp, vp, u: int((x - mq).square().sum(dim=1).argmin()),
                reread=SAMPLE,
            ),
        ),
        hints=(
            "Work with logarithms: log q(x_k) − log p(x_k) for all K at once, summed over the D numbers. "
            "Constants drop out when you normalise.",
            "log_w = (x - mean_p).square().sum(1) / (2 * var_p) - (x - mean_q).square().sum(1) / (2 * var_q), "
            "and softmax(dim=0) turns it into weights.",
            "w.cumsum(dim=0) are the upper ends of the intervals. The number of them at or below u is the index: "
            "int((w.cumsum(dim=0) <= u).sum()).",
        ),
    ),
    Exercise(
        id="11.5",
        title="branch: images that share one latent",
        reference=branch,
        cases=_trees,
        misconceptions=(
            Misconception(
                name="one noise for all: every child is the same",
                breaks="each image goes on by its own noise: z[s] has the shape (N, …), use all of it",
                wrong=_grow(noise=lambda z, s, t: z[s, :1].expand(z.shape[1:])),
                reread=TREE,
            ),
            Misconception(
                name="the chain starts at T, not at t",
                breaks="x_t is at level t: the steps are t, t − 1, …, 1",
                wrong=_grow(steps=lambda t, z: range(len(z) - 1, 0, -1)),
                reread=TREE,
            ),
            Misconception(
                name="the first step is left out: the chain starts at t − 1",
                breaks="x_t is at level t: the steps are t, t − 1, …, 1",
                wrong=_grow(steps=lambda t, z: range(t - 1, 0, -1)),
                reread=TREE,
            ),
            Misconception(
                name="the last step is left out: the result is x_1",
                breaks="the steps are t, t − 1, …, 1: range(t, 0, -1) ends at 1",
                wrong=_grow(steps=lambda t, z: range(t, 1, -1)),
                reread=TREE,
            ),
            Misconception(
                name="one step too many: there is no step 0",
                breaks="the steps are t, t − 1, …, 1, and the last one gives x_0",
                wrong=_grow(steps=lambda t, z: range(t, -1, -1)),
                reread=TREE,
            ),
            Misconception(
                name="the steps run upwards",
                breaks="from x_t to x_0 the level falls",
                wrong=_grow(steps=lambda t, z: range(1, t + 1)),
                reread=TREE,
            ),
            Misconception(
                name="each child starts from noise of its own: nothing is shared",
                breaks="all begin at the one x_t that was given",
                wrong=_grow(start=lambda xt, t, z: z[t]),
                reread=TREE,
            ),
            Misconception(
                name="noise is added to x_t first: then the children share less than x_t",
                breaks="all begin at the one x_t that was given",
                wrong=_grow(start=lambda xt, t, z: xt + z[0]),
                reread=TREE,
            ),
            Misconception(
                name="the same noise at every step",
                breaks="z[s] belongs to step s, fresh each time",
                wrong=_grow(noise=lambda z, s, t: z[t]),
                reread=TREE,
            ),
            Misconception(
                name="the noise of another step: z[s − 1]",
                breaks="z[s] belongs to step s",
                wrong=_grow(noise=lambda z, s, t: z[s - 1]),
                reread=TREE,
            ),
            Misconception(
                name="the noise of another step: z[s + 1]",
                breaks="z[s] belongs to step s",
                wrong=_grow(noise=lambda z, s, t: z[(s + 1) % len(z)]),
                reread=TREE,
            ),
            Misconception(
                name="the noise in the order of its index, from z[1] on, while the steps fall from t",
                breaks="z[s] belongs to step s",
                wrong=_grow(noise=lambda z, s, t: z[t + 1 - s]),
                reread=TREE,
            ),
            Misconception(
                name="each image starts where the one before it ended",
                breaks="all begin at the one x_t that was given: set x back to it for each image",
                wrong=_in_a_row,
                reread=TREE,
            ),
            Misconception(
                name="no noise",
                breaks="without noise all images are one",
                wrong=_grow(noise=lambda z, s, t: torch.zeros_like(z[s])),
                reread=TREE,
            ),
            Misconception(
                name="one step, and out of the loop: the return is inside it",
                breaks="the steps are t, t − 1, …, 1: all of them",
                wrong=_grow(steps=lambda t, z: [t]),
                reread=TREE,
            ),
        ),
        hints=(
            "N copies of x_t to begin with; z.shape[1:] is the shape that they must have together.",
            "for s in range(t, 0, -1): one step for all of them at once.",
            "x = xt.expand(z.shape[1:]), then x = step(x, s, z[s]) in the loop, and return x after it.",
        ),
    ),
    Exercise(
        id="11.6",
        title="mix_latents: between two images, at level t",
        reference=mix_latents,
        cases=_pairs,
        misconceptions=(
            Misconception(
                name="λ and 1 − λ are swapped",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t: at λ = 0 it is the first image's",
                wrong=_mixed(weights=lambda lam: (lam, 1 - lam)),
                reread=BETWEEN,
            ),
            Misconception(
                name="the formula as it is printed: the clean images are mixed, and never noised",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t: the network expects an x_t at level t",
                wrong=_mixed(noised=lambda x, e, t, s: x),
                reread=BETWEEN,
            ),
            Misconception(
                name="one noise for both: the clean images mixed and then noised, which comes to the same",
                breaks="x_t has ε, and x'_t has ε'; noise first, then mix",
                wrong=_mixed_first,
                reread=BETWEEN,
            ),
            Misconception(
                name="the noises are swapped",
                breaks="x_t has ε, and x'_t has ε'",
                wrong=_mixed(noises=lambda e, e_other: (e_other, e)),
                reread=BETWEEN,
            ),
            Misconception(
                name="the weights √(1 − λ) and √λ: they keep the variance of the noise, but make the image brighter",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t, as in the paper's code",
                wrong=_mixed(weights=lambda lam: (math.sqrt(1 - lam), math.sqrt(lam))),
                reread=BETWEEN,
            ),
            Misconception(
                name="a quarter circle in place of a straight line",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t: it keeps the noise whole, but it is another interpolation",
                wrong=_mixed(weights=lambda lam: (math.cos(lam * math.pi / 2), math.sin(lam * math.pi / 2))),
                reread=BETWEEN,
            ),
            Misconception(
                name="rescaled, so that the noise keeps its variance: the images then become too bright",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t, as in the paper's code: measure first what it does",
                wrong=_mixed(
                    weights=lambda lam: ((1 - lam) / math.hypot(1 - lam, lam), lam / math.hypot(1 - lam, lam))
                ),
                reread=BETWEEN,
            ),
            Misconception(
                name="the weights √(1 − λ²) and λ: they keep the variance of the noise, and are no mean of the images",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t: this one is in the paper's code too, but as a comment",
                wrong=_mixed(weights=lambda lam: (math.sqrt(1 - lam * lam), lam)),
                reread=BETWEEN,
            ),
            Misconception(
                name="the two images are swapped, and the noises are not",
                breaks="x_t comes from x_0 with ε, and x'_t from x'_0 with ε'",
                wrong=lambda x0, x0_other, lam, t, eps, eps_other, schedule: mix_latents(
                    x0_other, x0, lam, t, eps, eps_other, schedule
                ),
                reread=BETWEEN,
            ),
            Misconception(
                name="only the noise of the mix is rescaled to its full variance",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t, as in the paper's code: measure first what it does",
                wrong=lambda x0, x0_other, lam, t, eps, eps_other, schedule: process.q_sample(
                    (1 - lam) * x0 + lam * x0_other,
                    t,
                    ((1 - lam) * eps + lam * eps_other) / math.hypot(1 - lam, lam),
                    schedule,
                ),
                reread=BETWEEN,
            ),
            Misconception(
                name="the sum, not the mean: λ only on the second",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t: the weights add up to one",
                wrong=_mixed(weights=lambda lam: (1.0, lam)),
                reread=BETWEEN,
            ),
            Misconception(
                name="half of each, whatever λ is",
                breaks="x̄_t = (1 − λ) x_t + λ x'_t",
                wrong=_mixed(weights=lambda lam: (0.5, 0.5)),
                reread=BETWEEN,
            ),
            first_t(mix_latents, 3, BETWEEN),
            Misconception(
                name="the variance 1 − ᾱ_t used as a standard deviation",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_mixed(
                    noised=lambda x, e, t, s: at(s.alpha_bar.sqrt(), t, x) * x + at(1 - s.alpha_bar, t, x) * e
                ),
                reread=BETWEEN,
            ),
            Misconception(
                name="the images are not shrunk by √ᾱ_t",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_mixed(noised=lambda x, e, t, s: x + at((1 - s.alpha_bar).sqrt(), t, x) * e),
                reread=BETWEEN,
            ),
        ),
        hints=(
            "Three lines: x_t from x_0 and ε, x'_t from x'_0 and ε', and then their weighted mean.",
            "process.q_sample(x0, t, eps, schedule) gives the first.",
            "(1 - lam) * xt + lam * xt_other",
        ),
    ),
)
