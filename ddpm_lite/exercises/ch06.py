"""Exercises of chapter 06: the time embedding, algorithm 1, the average of the weights, algorithm 2, the score."""

import math

import torch
from torch import Tensor

from ddpm_lite import losses, process, schedules, unet
from ddpm_lite.exercises.cases import SHORT
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

HUNDRED = schedules.cosine(T=100)

TIME = "A network that is told the time"
TRAINING = "Algorithm 1: training"
AVERAGE = "An average of the weights"
SAMPLING = "Algorithm 2: sampling"
LAST = "The last step"
SCORE = "The field that it has learned"


# ---------------------------------------------------------------------------------------------------
# 06.1 time_embedding


def _times():
    yield Case("four t, eight numbers each", torch.tensor([1, 2, 50, 1000]), 8)
    yield Case("one t, thirty-two numbers", torch.tensor([40]), 32)
    yield Case("more t than numbers", torch.tensor([7, 1, 5, 3, 100]), 4)


def _waves(frequency=None, angle=None, join=None):
    """A wrong embedding: other frequencies, of (half); another angle, of (t, frequency); joined in another way."""
    frequency = frequency or (
        lambda half: torch.exp(-math.log(10000) * torch.arange(half) / max(half - 1, 1))
    )
    angle = angle or (lambda t, f: t.float()[:, None] * f)
    join = join or (lambda a: torch.cat([a.sin(), a.cos()], dim=1))
    return lambda t, dim: join(angle(t, frequency(dim // 2)))


# ---------------------------------------------------------------------------------------------------
# 06.2 training_loss


def _guess(xt: Tensor, t: Tensor) -> Tensor:
    """Stands in for a network: depends on all of x_t and on each example's t."""
    weight = at(torch.linspace(0.2, 0.9, 101, dtype=torch.float64), t, xt)
    return weight * xt + 0.1 * xt.flip(-1)


def _wave(xt: Tensor, t: Tensor) -> Tensor:
    """Another network, not linear in x_t."""
    return torch.sin(2 * xt + at(torch.arange(101, dtype=torch.float64) / 30, t, xt))


def _g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batches():
    yield Case("6 points of the plane, float32", _guess, rand(6, 2), HUNDRED, _g(1))
    yield Case(
        "4 points of 3 numbers, float64", _wave, rand(4, 3, seed=2, dtype=torch.float64), HUNDRED, _g(2)
    )
    points = rand(2, 9, seed=3, dtype=torch.float64).T  # (9, 2), and not contiguous in memory
    yield Case("9 points, not contiguous, five rough steps", _guess, points, SHORT, _g(3))


def _draw_t(x0, schedule, g, low=1, beyond=1, count=None):
    """t uniform from low to T - 1 + beyond."""
    return torch.randint(low, schedule.T + beyond, (count or len(x0),), generator=g)


def _draw_eps(x0, g, of=torch.randn):
    return of(x0.shape, generator=g, dtype=x0.dtype)


def _loss(
    draw_t=_draw_t,
    draw_eps=_draw_eps,
    noise=lambda s: (1 - s.alpha_bar).sqrt(),
    seen=lambda x0, xt: xt,
    told=lambda t: t,
    target=lambda x0, eps: eps,
    of=lambda d: d.square().mean(),
    eps_first=False,
):
    """A wrong loss: algorithm 1 with one of its parts replaced."""

    def wrong(eps_model, x0, schedule, generator):
        eps = draw_eps(x0, generator) if eps_first else None
        t = draw_t(x0, schedule, generator).expand(len(x0))
        eps = draw_eps(x0, generator) if eps is None else eps
        xt = at(schedule.alpha_bar.sqrt(), t, x0) * x0 + at(noise(schedule), t, x0) * eps
        return of(target(x0, eps) - eps_model(seen(x0, xt), told(t)))

    return wrong


# ---------------------------------------------------------------------------------------------------
# 06.3 ema_update


def ema_update(average: Tensor, weight: Tensor, decay: float) -> Tensor:
    """decay * average + (1 - decay) * weight: the average after one more step. All of one shape."""
    return decay * average + (1 - decay) * weight


def _weights():
    yield Case("a matrix, decay 0.9, float32", randn(4, 3), randn(4, 3, seed=1), 0.9)
    yield Case(
        "a vector, decay 0.999, float64",
        randn(5, seed=2, dtype=torch.float64),
        randn(5, seed=3, dtype=torch.float64),
        0.999,
    )
    old, new = (randn(3, 6, seed=s, dtype=torch.float64).T for s in (4, 5))  # (6, 3), not contiguous
    yield Case("a matrix, not contiguous, decay 0.25", old, new, 0.25)


# ---------------------------------------------------------------------------------------------------
# 06.4 sample


def sample(eps_model, xT: Tensor, z: Tensor, schedule: Schedule) -> Tensor:
    """Algorithm 2 from x_T with sigma_t^2 = beta_t and the noise z[t] at step t > 1. Returns (T+1, ...): x_0 ... x_T."""
    beta, alpha, alpha_bar = schedule.beta, schedule.alpha, schedule.alpha_bar
    path = [xT]
    for t in range(schedule.T, 0, -1):
        eps_hat = eps_model(path[-1], torch.full((len(xT),), t))
        mean = (path[-1] - beta[t] / (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha[t].sqrt()
        path.append(mean + beta[t].sqrt() * z[t] if t > 1 else mean)
    return torch.stack(path[::-1])


def _chains():
    T = SHORT.T
    yield Case("4 points, five rough steps, float32", _guess, randn(4, 2), randn(T + 1, 4, 2, seed=1), SHORT)
    yield Case(
        "3 points of 5 numbers, float64",
        _wave,
        randn(3, 5, seed=2, dtype=torch.float64),
        randn(T + 1, 3, 5, seed=3, dtype=torch.float64),
        SHORT,
    )
    ten = schedules.cosine(T=10, beta_max=0.9)
    start = randn(2, 7, seed=4, dtype=torch.float64).T  # (7, 2), and not contiguous in memory
    yield Case(
        "7 points, not contiguous, ten steps",
        _guess,
        start,
        randn(11, 7, 2, seed=5, dtype=torch.float64),
        ten,
    )


def _walk(
    steps=lambda T: range(T, 0, -1),
    share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t]).sqrt(),
    scale=lambda s, t: s.alpha[t].sqrt(),
    sigma=lambda s, t: s.beta[t].sqrt(),
    last=lambda mean, noise: mean,
    which=lambda t: t,
    told=lambda t: t,
    order=lambda path: path[::-1],
):
    """A wrong sampler: the loop with one of its parts replaced."""

    def wrong(eps_model, xT, z, schedule):
        path = [xT]
        for t in steps(schedule.T):
            eps_hat = eps_model(path[-1], torch.full((len(xT),), told(t)))
            mean = (path[-1] - share(schedule, t) * eps_hat) / scale(schedule, t)
            noise = sigma(schedule, t) * z[which(t)]
            path.append(mean + noise if t > 1 else last(mean, noise))
        return torch.stack(order(path))

    return wrong


# ---------------------------------------------------------------------------------------------------
# 06.5 score_from_eps


def _noises():
    t = torch.tensor
    yield Case("4 points at four t, float32", randn(4, 2), t([1, 10, 60, 99]), HUNDRED)
    yield Case(
        "3 points of 5 numbers, float64", randn(3, 5, seed=1, dtype=torch.float64), t([5, 1, 3]), SHORT
    )
    yield Case("as many points as numbers", randn(2, 2, seed=2), t([1, 4]), SHORT)
    eps_hat = randn(2, 5, seed=3, dtype=torch.float64).T  # (5, 2), and not contiguous in memory
    yield Case("5 points, not contiguous", eps_hat, t([1, 20, 50, 80, 100]), HUNDRED)


def _scaled(of, sign=-1):
    return lambda eps_hat, t, schedule: sign * eps_hat * at(of(schedule), t, eps_hat)


EXERCISES = (
    Exercise(
        id="06.1",
        title="time_embedding: a number t as a row of waves",
        reference=unet.timestep_embedding,
        cases=_times,
        misconceptions=(
            Misconception(
                name="the frequency depends on t, not on the place k in the row",
                breaks="angle[b, k] = t_b · 10000^(−k/(half − 1)): each column has its own frequency",
                wrong=_waves(
                    angle=lambda t, f: (
                        torch.arange(len(f)) * torch.exp(-math.log(10000) * t.float() / t.max())[:, None]
                    )
                ),
                reread=TIME,
            ),
            Misconception(
                name="k / half in place of k / (half − 1), so that the slowest wave is never reached",
                breaks="k runs from 0 to half − 1, so k / (half − 1) runs from 0 to 1",
                wrong=_waves(lambda half: torch.exp(-math.log(10000) * torch.arange(half) / half)),
                reread=TIME,
            ),
            Misconception(
                name="the frequencies rise to 10,000: the sign of the exponent",
                breaks="frequency_k = 10000^(−k/(half − 1)) falls from 1 to 1/10000",
                wrong=_waves(lambda half: torch.exp(math.log(10000) * torch.arange(half) / max(half - 1, 1))),
                reread=TIME,
            ),
            Misconception(
                name="evenly spaced frequencies, not geometric ones",
                breaks="frequency_k = 10000^(−k/(half − 1)): from one to the next the ratio is the same",
                wrong=_waves(lambda half: torch.linspace(1, 1e-4, half)),
                reread=TIME,
            ),
            Misconception(
                name="sines and cosines take turns, where all sines come first",
                breaks="the row is (sin …, sin, cos …, cos); a network could use either, a check only this one",
                wrong=_waves(join=lambda a: torch.stack([a.sin(), a.cos()], dim=2).flatten(1)),
                reread=TIME,
            ),
            Misconception(
                name="the cosines come first",
                breaks="the row is (sin …, sin, cos …, cos)",
                wrong=_waves(join=lambda a: torch.cat([a.cos(), a.sin()], dim=1)),
                reread=TIME,
            ),
            Misconception(
                name="2π in the angle: the fastest wave then has the same value at every whole t",
                breaks="angle = t · frequency, with no 2π: sin(2π t) = 0 for every integer t",
                wrong=_waves(angle=lambda t, f: 2 * math.pi * t.float()[:, None] * f),
                reread=TIME,
            ),
        ),
        hints=(
            "Make the frequencies first, shape (half,). Then every t times every frequency: (B, 1) times (half,) is (B, half).",
            "k = torch.arange(half), and 10000^(−k / (half − 1)) is torch.exp(-math.log(10000) * k / (half - 1)).",
            "angle = t.float()[:, None] * frequency; then torch.cat([angle.sin(), angle.cos()], dim=1).",
        ),
    ),
    Exercise(
        id="06.2",
        title="training_loss: one pass through algorithm 1",
        reference=losses.simple_loss,
        cases=_batches,
        misconceptions=(
            Misconception(
                name="t drawn from 0 … T − 1, not from 1 … T",
                breaks="t ~ Uniform({1, …, T}); torch.randint leaves its upper end out, and index 0 is the clean point",
                wrong=_loss(draw_t=lambda x0, s, g: _draw_t(x0, s, g, low=0, beyond=0)),
                reread=TRAINING,
            ),
            Misconception(
                name="t drawn from 1 … T − 1: the noisiest step is never trained",
                breaks="t ~ Uniform({1, …, T}); torch.randint(low, high) leaves high out",
                wrong=_loss(draw_t=lambda x0, s, g: _draw_t(x0, s, g, beyond=0)),
                reread=TRAINING,
            ),
            Misconception(
                name="one t for the whole batch",
                breaks="each example of the batch has its own t, so t has the shape (B,)",
                wrong=_loss(draw_t=lambda x0, s, g: _draw_t(x0, s, g, count=1)),
                reread=TRAINING,
            ),
            Misconception(
                name="uniform noise in place of Gaussian noise",
                breaks="ε ~ N(0, I): torch.randn, not torch.rand",
                wrong=_loss(draw_eps=lambda x0, g: _draw_eps(x0, g, torch.rand)),
                reread=TRAINING,
            ),
            Misconception(
                name="the noise is drawn in float32, whatever the dtype of x_0 is",
                breaks="ε is of the same kind as x_0: torch.randn(..., dtype=x0.dtype)",
                wrong=_loss(draw_eps=lambda x0, g: torch.randn(x0.shape, generator=g).to(x0.dtype)),
                reread=TRAINING,
            ),
            Misconception(
                name="ε drawn before t: as good a loss, but a check needs the order of the draws",
                breaks="algorithm 1 draws t in line 3 and ε in line 4",
                wrong=_loss(eps_first=True),
                reread=TRAINING,
            ),
            Misconception(
                name="the network is compared with x_0, not with the noise",
                breaks="‖ε − ε_θ(x_t, t)‖²: what is to be guessed is ε",
                wrong=_loss(target=lambda x0, eps: x0),
                reread=TRAINING,
            ),
            Misconception(
                name="the network is shown x_0, not x_t",
                breaks="ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t): it must find the noise in the noisy point",
                wrong=_loss(seen=lambda x0, xt: x0),
                reread=TRAINING,
            ),
            Misconception(
                name="the network is told t − 1",
                breaks="ε_θ(x_t, t): x_t and t belong together, here as in the sampler",
                wrong=_loss(told=lambda t: t - 1),
                reread=TRAINING,
            ),
            Misconception(
                name="the variance 1 − ᾱ_t used as a standard deviation",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_loss(noise=lambda s: 1 - s.alpha_bar),
                reread=TRAINING,
            ),
            Misconception(
                name="a sum over all numbers of the batch, not their mean",
                breaks="L_simple is a mean: with a sum the step size would depend on the size of the batch",
                wrong=_loss(of=lambda d: d.square().sum()),
                reread=TRAINING,
            ),
            Misconception(
                name="a mean over the examples, but a sum over the numbers of each",
                breaks="here, as in most code, the mean runs over all B · D numbers: a constant factor D is dropped",
                wrong=_loss(of=lambda d: d.square().flatten(1).sum(dim=1).mean()),
                reread=TRAINING,
            ),
            Misconception(
                name="the absolute difference, not its square",
                breaks="‖ε − ε_θ(x_t, t)‖²",
                wrong=_loss(of=lambda d: d.abs().mean()),
                reread=TRAINING,
            ),
        ),
        hints=(
            "x_0 you are given. Draw t, then ε, both with the generator; then make x_t; then the loss.",
            "torch.randint(1, schedule.T + 1, (len(x0),), generator=generator) and "
            "torch.randn(x0.shape, generator=generator, dtype=x0.dtype).",
            "x_t is process.q_sample(x0, t, eps, schedule), and the loss (eps - eps_model(xt, t)).square().mean().",
        ),
    ),
    Exercise(
        id="06.3",
        title="ema_update: the average after one more step",
        reference=ema_update,
        cases=_weights,
        misconceptions=(
            Misconception(
                name="the two factors are swapped: the average hardly remembers anything",
                breaks="θ̄ ← decay · θ̄ + (1 − decay) · θ: with 0.999 nearly all of it is the old average",
                wrong=lambda average, weight, decay: (1 - decay) * average + decay * weight,
                reread=AVERAGE,
            ),
            Misconception(
                name="the factors do not add up to one: the average grows with every step",
                breaks="decay + (1 − decay) = 1, or it is no average",
                wrong=lambda average, weight, decay: decay * average + weight,
                reread=AVERAGE,
            ),
            Misconception(
                name="the average is added whole",
                breaks="decay + (1 − decay) = 1, or it is no average",
                wrong=lambda average, weight, decay: average + (1 - decay) * weight,
                reread=AVERAGE,
            ),
            Misconception(
                name="the difference has the wrong sign: the average runs away from the weights",
                breaks="θ̄ + (1 − decay)(θ − θ̄) moves towards θ",
                wrong=lambda average, weight, decay: average + (1 - decay) * (average - weight),
                reread=AVERAGE,
            ),
            Misconception(
                name="half of each, whatever the decay is",
                breaks="θ̄ ← decay · θ̄ + (1 − decay) · θ",
                wrong=lambda average, weight, decay: (average + weight) / 2,
                reread=AVERAGE,
            ),
        ),
        hints=(
            "A mean with two weights that add up to one. Which of the two is close to one?",
            "decay belongs to the old average. What is left, 1 − decay, belongs to the new weights.",
            "decay * average + (1 - decay) * weight",
        ),
    ),
    Exercise(
        id="06.4",
        title="sample: the whole of algorithm 2",
        reference=sample,
        cases=_chains,
        misconceptions=(
            Misconception(
                name="noise is added in the last step as well",
                breaks="z = 0 if t = 1: x_0 is the mean of the last step",
                wrong=_walk(last=lambda mean, noise: mean + noise),
                reread=LAST,
            ),
            Misconception(
                name="the last step is missing: the loop stops at t = 2",
                breaks="for t = T, …, 1: range(T, 0, -1) ends at 1, range(T, 1, -1) at 2",
                wrong=_walk(steps=lambda T: range(T, 1, -1)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the first step is missing: the loop starts at T − 1",
                breaks="for t = T, …, 1: x_T itself is the first to be stepped from",
                wrong=_walk(steps=lambda T: range(T - 1, 0, -1)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the loop runs upwards, from t = 1 to T",
                breaks="for t = T, …, 1: sampling goes from noise to data",
                wrong=_walk(steps=lambda T: range(1, T + 1)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the path is in the order in which it was walked, so that path[0] is x_T",
                breaks="path[t] is x_t: turn the list round at the end",
                wrong=_walk(order=lambda path: path),
                reread=SAMPLING,
            ),
            Misconception(
                name="no noise at all",
                breaks="x_{t−1} = … + σ_t z: only the last step is without",
                wrong=_walk(sigma=lambda s, t: 0),
                reread=SAMPLING,
            ),
            Misconception(
                name="the variance β_t used as a standard deviation",
                breaks="σ_t² = β_t, so the factor of z is √β_t",
                wrong=_walk(sigma=lambda s, t: s.beta[t]),
                reread=SAMPLING,
            ),
            Misconception(
                name="σ_t² = β̃_t: the paper allows it, but this chapter uses β_t",
                breaks="σ_t² = β_t, so the factor of z is √β_t",
                wrong=_walk(sigma=lambda s, t: s.beta_tilde[t].sqrt()),
                reread=SAMPLING,
            ),
            Misconception(
                name="the same z in every step",
                breaks="z ~ N(0, I) is drawn anew in each step: here z[t]",
                wrong=_walk(which=lambda t: -1),
                reread=SAMPLING,
            ),
            Misconception(
                name="√(1 − α_t) in place of √(1 − ᾱ_t)",
                breaks="(1 − α_t) / √(1 − ᾱ_t) is the factor of ε_θ",
                wrong=_walk(share=lambda s, t: s.beta[t] / (1 - s.alpha[t]).sqrt()),
                reread=SAMPLING,
            ),
            Misconception(
                name="√(1 − ᾱ_t), all of the noise, is taken away in each step",
                breaks="one step takes only (1 − α_t) / √(1 − ᾱ_t) of ε_θ away",
                wrong=_walk(share=lambda s, t: (1 - s.alpha_bar[t]).sqrt()),
                reread=SAMPLING,
            ),
            Misconception(
                name="√ᾱ_t in place of √α_t: this scales by all the steps at once",
                breaks="1 / √α_t undoes the shrinking of one step",
                wrong=_walk(scale=lambda s, t: s.alpha_bar[t].sqrt()),
                reread=SAMPLING,
            ),
            Misconception(
                name="the bracket is not divided by √α_t",
                breaks="1 / √α_t undoes the shrinking of one step",
                wrong=_walk(scale=lambda s, t: 1),
                reread=SAMPLING,
            ),
            Misconception(
                name="the network is told t − 1",
                breaks="ε_θ(x_t, t): it was trained with x_t and t together",
                wrong=_walk(told=lambda t: t - 1),
                reread=SAMPLING,
            ),
        ),
        hints=(
            "Keep a list that begins with x_T. In each step append x_{t−1}; at the end turn it round and stack it.",
            "for t in range(schedule.T, 0, -1): ask the network with torch.full((len(xT),), t), compute the mean of line 4, "
            "add schedule.beta[t].sqrt() * z[t] only if t > 1.",
            "mean = (xt - beta[t] / (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha[t].sqrt(), with the schedule's arrays.",
        ),
    ),
    Exercise(
        id="06.5",
        title="score_from_eps: the arrow that points to the data",
        reference=process.score_from_eps,
        cases=_noises,
        misconceptions=(
            Misconception(
                name="the sign: this points away from the data",
                breaks="∇ log q(x_t) = −ε̂ / √(1 − ᾱ_t): the way back is against the noise",
                wrong=_scaled(lambda s: (1 - s.alpha_bar).rsqrt(), sign=1),
                reread=SCORE,
            ),
            Misconception(
                name="divided by the variance 1 − ᾱ_t, not by its root",
                breaks="−(x_t − √ᾱ_t x_0) / (1 − ᾱ_t) = −√(1 − ᾱ_t) ε / (1 − ᾱ_t) = −ε / √(1 − ᾱ_t)",
                wrong=_scaled(lambda s: 1 / (1 - s.alpha_bar)),
                reread=SCORE,
            ),
            Misconception(
                name="multiplied by √(1 − ᾱ_t), not divided",
                breaks="∇ log q(x_t) = −ε̂ / √(1 − ᾱ_t): the less noise, the steeper the density",
                wrong=_scaled(lambda s: (1 - s.alpha_bar).sqrt()),
                reread=SCORE,
            ),
            Misconception(
                name="α_t in place of ᾱ_t",
                breaks="1 − ᾱ_t is the variance of all the noise in x_t",
                wrong=_scaled(lambda s: torch.cat([s.beta[:1], s.beta[1:].rsqrt()])),
                reread=SCORE,
            ),
            Misconception(
                name="√ᾱ_t, the factor of the signal, in place of √(1 − ᾱ_t)",
                breaks="∇ log q(x_t) = −ε̂ / √(1 − ᾱ_t)",
                wrong=_scaled(lambda s: s.alpha_bar.rsqrt()),
                reread=SCORE,
            ),
            Misconception(
                name="a coefficient of shape (B,) multiplies along the columns, not along the batch",
                breaks="each point has its own t, so its coefficient needs the shape (B, 1)",
                wrong=lambda eps_hat, t, schedule: (
                    -eps_hat / (1 - schedule.alpha_bar).sqrt()[t].to(eps_hat.dtype)
                ),
                reread=SCORE,
            ),
        ),
        hints=(
            "For one x_0 the density is a Gaussian around √ᾱ_t x_0. What is the gradient of its logarithm?",
            "−(x_t − √ᾱ_t x_0) / (1 − ᾱ_t), and the bracket is √(1 − ᾱ_t) ε. One root cancels.",
            "-eps_hat / process.at((1 - schedule.alpha_bar).sqrt(), t, eps_hat)",
        ),
    ),
)
