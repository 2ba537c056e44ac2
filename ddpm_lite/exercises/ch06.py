"""Exercises of chapter 06: the time embedding, algorithm 1, the average of the weights, algorithm 2, the score."""

import math

import torch
from torch import Tensor

from ddpm_lite import losses, process, schedules, unet
from ddpm_lite.exercises.cases import SHORT, first_t, late
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


def _falling(half: int, span: float | None = None, first: int = 0, base: float = 10000) -> Tensor:
    """half frequencies base^(-k / span), k from first; span is half - 1 if not given."""
    return torch.exp(-math.log(base) * torch.arange(first, first + half) / (span or max(half - 1, 1)))


def _waves(frequency=_falling, angle=None, join=None):
    """A wrong embedding: other frequencies, of (half); another angle, of (t, frequency); joined in another way."""
    angle = angle or (lambda t, f: t.float()[:, None] * f)
    join = join or (lambda a: torch.cat([a.sin(), a.cos()], dim=1))
    return lambda t, dim: join(angle(t, frequency(dim // 2)))


# ---------------------------------------------------------------------------------------------------
# 06.2 training_loss


class Network:
    """Stands in for a network: depends on all of x_t, on each example's t, and on one parameter."""

    def __init__(self, dtype: torch.dtype = torch.float32, learns: bool = False) -> None:
        self.a = torch.tensor(0.1, dtype=dtype, requires_grad=learns)

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        """Like the chapter's network it needs one t for each example."""
        if not isinstance(t, Tensor) or t.shape != xt.shape[:1]:
            given = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else f"the number {t}"
            raise ValueError(f"the network needs t of shape (B,) = ({len(xt)},), and was given {given}")
        return self.of(xt, t)

    def of(self, xt: Tensor, t: Tensor) -> Tensor:
        weight = at(torch.linspace(0.2, 0.9, 101, dtype=torch.float64), t, xt)
        return weight * xt + self.a * xt.flip(-1)


class WavyNetwork(Network):
    """Another network, not linear in x_t."""

    def of(self, xt: Tensor, t: Tensor) -> Tensor:
        return torch.sin(20 * self.a * xt + at(torch.arange(101, dtype=torch.float64) / 30, t, xt))


F64 = torch.float64


def _g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batches():
    yield Case("6 points of the plane, float32", Network(learns=True), rand(6, 2), HUNDRED, _g(1))
    wavy = WavyNetwork(F64, learns=True)
    yield Case("4 points of 3 numbers, float64", wavy, rand(4, 3, seed=2, dtype=F64), HUNDRED, _g(2))
    points = rand(2, 9, seed=3, dtype=F64).T  # (9, 2), and not contiguous in memory
    yield Case("9 points, not contiguous, five rough steps", Network(F64, learns=True), points, SHORT, _g(3))


def _loss_and_gradient(answer, eps_model, x0, schedule, generator):
    """The loss, and its gradient with respect to the network's parameter (None where there is none)."""
    loss = answer(eps_model, x0, schedule, generator)
    if isinstance(loss, float):  # .item()
        loss = torch.tensor(loss, dtype=x0.dtype)
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        return {"loss": loss, "its gradient": None}
    (gradient,) = torch.autograd.grad(loss, eps_model.a, allow_unused=True)
    return {"loss": loss.detach(), "its gradient": gradient}


def _goes_back(eps_model, x0, schedule, generator):
    loss = losses.simple_loss(eps_model, x0, schedule, generator)
    loss.backward()
    return loss


def _draw_t(x0, schedule, g, low=1, beyond=1, count=None):
    """t uniform from low to T - 1 + beyond."""
    return torch.randint(low, schedule.T + beyond, (count or len(x0),), generator=g)


def _draw_eps(x0, g, of=torch.randn):
    return of(x0.shape, generator=g, dtype=x0.dtype)


def _loss(
    draw_t=_draw_t,
    draw_eps=_draw_eps,
    signal=lambda s: s.alpha_bar.sqrt(),
    noise=lambda s: (1 - s.alpha_bar).sqrt(),
    seen=lambda x0, xt: xt,
    told=lambda t: t,
    target=lambda x0, eps, xt: eps,
    of=lambda d: d.square().mean(),
    eps_first=False,
    two=False,
):
    """A wrong loss: algorithm 1 with one of its parts replaced."""

    def wrong(eps_model, x0, schedule, generator):
        eps = draw_eps(x0, generator) if eps_first else None
        t = draw_t(x0, schedule, generator).expand(len(x0))
        eps = draw_eps(x0, generator) if eps is None else eps
        xt = at(signal(schedule), t, x0) * x0 + at(noise(schedule), t, x0) * eps
        eps = draw_eps(x0, generator) if two else eps
        return of(target(x0, eps, xt) - eps_model(seen(x0, xt), told(t)))

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
    yield Case(
        "4 points, five rough steps, float32", Network(), randn(4, 2), randn(T + 1, 4, 2, seed=1), SHORT
    )
    yield Case(
        "3 points of 5 numbers, float64",
        WavyNetwork(F64),
        randn(3, 5, seed=2, dtype=F64),
        randn(T + 1, 3, 5, seed=3, dtype=F64),
        SHORT,
    )
    ten = schedules.cosine(T=10, beta_max=0.9)
    start = randn(2, 7, seed=4, dtype=F64).T  # (7, 2), and not contiguous in memory
    yield Case(
        "7 points, not contiguous, ten steps", Network(F64), start, randn(11, 7, 2, seed=5, dtype=F64), ten
    )


def _walk(
    steps=lambda T: range(T, 0, -1),
    share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t]).sqrt(),
    scale=lambda s, t: s.alpha[t].sqrt(),
    sigma=lambda s, t: s.beta[t].sqrt(),
    line_4=lambda x, taken, scale, noise: (x - taken) / scale + noise,
    noisy=lambda t: t > 1,
    which=lambda t: t,
    told=lambda t, count: torch.full((count,), t),
    seen=lambda path: path[-1],
    order=lambda path: path[::-1],
):
    """A wrong sampler: the loop with one of its parts replaced."""

    def wrong(eps_model, xT, z, schedule):
        path = [xT]
        for t in steps(schedule.T):
            taken = share(schedule, t) * eps_model(seen(path), told(t, len(xT)))
            noise = sigma(schedule, t) * z[which(t)] if noisy(t) else torch.zeros_like(xT)
            path.append(line_4(path[-1], taken, scale(schedule, t), noise))
        return torch.stack(order(path))

    return wrong


def _table(eps_model, xT, z, schedule):
    """The path in a table of zeros, of which the loop never fills the last row."""
    walked = _walk(steps=lambda T: range(T, 1, -1))(eps_model, xT, z, schedule)
    return torch.cat([torch.zeros_like(walked[:1]), walked])


def _one_tensor(eps_model, xT, z, schedule):
    """x changed in place, so that the whole list holds the end, or all but its first entry."""
    return sample(eps_model, xT, z, schedule)[:1].expand(len(z), *xT.shape).clone()


def _one_tensor_but_xT(eps_model, xT, z, schedule):
    return torch.cat([_one_tensor(eps_model, xT, z, schedule)[1:], xT[None]])


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
                wrong=_waves(lambda half: _falling(half, span=half)),
                reread=TIME,
            ),
            Misconception(
                name="k / dim in place of k / (dim/2 − 1): the frequencies get only half of the way down",
                breaks="k runs from 0 to half − 1, where half = dim/2, so k / (half − 1) runs from 0 to 1",
                wrong=_waves(lambda half: _falling(half, span=2 * half)),
                reread=TIME,
            ),
            Misconception(
                name="k counts from 1, not from 0",
                breaks="f_0 = 10000⁰ = 1 is the fastest wave: k = 0, …, half − 1",
                wrong=_waves(lambda half: _falling(half, first=1)),
                reread=TIME,
            ),
            Misconception(
                name="1000 in place of 10000: t goes up to 1000, the waves to 10,000",
                breaks="frequency_k = 10000^(−k/(half − 1)) falls from 1 to 1/10000",
                wrong=_waves(lambda half: _falling(half, base=1000)),
                reread=TIME,
            ),
            Misconception(
                name="the frequencies rise to 10,000: the sign of the exponent",
                breaks="frequency_k = 10000^(−k/(half − 1)) falls from 1 to 1/10000",
                wrong=_waves(lambda half: 1 / _falling(half)),
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
                name="the slow waves come first",
                breaks="frequency_k = 10000^(−k/(half − 1)): k = 0 is the fastest, and comes first",
                wrong=_waves(lambda half: _falling(half).flip(0)),
                reread=TIME,
            ),
            Misconception(
                name="dim sines, and no cosines",
                breaks="the row is (sin …, sin, cos …, cos): half of it are sines, half are cosines of the same angles",
                wrong=lambda t, dim: (t.float()[:, None] * _falling(dim)).sin(),
                reread=TIME,
            ),
            Misconception(
                name="10 t in place of t: the factor 10 is the network's, and it multiplies before it calls",
                breaks="angle[b, k] = t_b · f_k",
                wrong=_waves(angle=lambda t, f: 10 * t.float()[:, None] * f),
                reread=TIME,
            ),
            Misconception(
                name="t − 1 in place of t",
                breaks="angle[b, k] = t_b · f_k, with t as it is handed over",
                wrong=_waves(angle=lambda t, f: (t.float() - 1)[:, None] * f),
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
        run=_loss_and_gradient,
        misconceptions=(
            Misconception(
                name="the right number, but without a gradient: nothing could be learned from it",
                breaks="the gradient ∇_θ is taken of the loss that is returned: no detach(), item() or no_grad() on the way",
                wrong=lambda eps_model, x0, schedule, generator: losses.simple_loss(
                    eps_model, x0, schedule, generator
                ).detach(),
                reread=TRAINING,
            ),
            Misconception(
                name="the gradient is taken inside: loss.backward() is the training loop's",
                breaks="lines 3 to 5, less the gradient: return the loss, and the loop calls backward()",
                wrong=_goes_back,
                reread=TRAINING,
            ),
            Misconception(
                name="t drawn from 0 … T: at t = 0 there is no noise to be found",
                breaks="t ~ Uniform({1, …, T}); index 0 is the clean point, and no step leads there with noise in it",
                wrong=_loss(draw_t=lambda x0, s, g: _draw_t(x0, s, g, low=0)),
                reread=TRAINING,
            ),
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
                wrong=_loss(target=lambda x0, eps, xt: x0),
                reread=TRAINING,
            ),
            Misconception(
                name="the network is compared with x_t, not with the noise in it",
                breaks="‖ε − ε_θ(x_t, t)‖²: what is to be guessed is ε",
                wrong=_loss(target=lambda x0, eps, xt: xt),
                reread=TRAINING,
            ),
            Misconception(
                name="the network is compared with fresh noise, not with the noise that is in x_t",
                breaks="ε is drawn once: it makes x_t, and it is what is to be guessed",
                wrong=_loss(two=True),
                reread=TRAINING,
            ),
            Misconception(
                name="one ε for the whole batch",
                breaks="each example of the batch has its own ε, so ε has the shape of x_0",
                wrong=_loss(
                    draw_eps=lambda x0, g: torch.randn(x0.shape[1:], generator=g, dtype=x0.dtype).expand_as(
                        x0
                    )
                ),
                reread=TRAINING,
            ),
            Misconception(
                name="x_0 and ε have changed places in the jump",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4): little noise at small t",
                wrong=_loss(signal=lambda s: (1 - s.alpha_bar).sqrt(), noise=lambda s: s.alpha_bar.sqrt()),
                reread=TRAINING,
            ),
            Misconception(
                name="ᾱ_t and 1 − ᾱ_t without their roots",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                wrong=_loss(signal=lambda s: s.alpha_bar, noise=lambda s: 1 - s.alpha_bar),
                reread=TRAINING,
            ),
            Misconception(
                name="α_t, of one step, in place of ᾱ_t",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4), with the product of all steps up to t",
                wrong=_loss(signal=lambda s: s.alpha.sqrt(), noise=lambda s: s.beta.sqrt()),
                reread=TRAINING,
            ),
            Misconception(
                name="the point is noised to t − 1, and the network is told t",
                breaks="x_t is made with ᾱ_t; index 0 is the clean point",
                wrong=_loss(
                    signal=lambda s: late(s.alpha_bar.sqrt()), noise=lambda s: late((1 - s.alpha_bar).sqrt())
                ),
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
                name="the root of the mean square",
                breaks="‖ε − ε_θ(x_t, t)‖² is a square, and stays one",
                wrong=_loss(of=lambda d: d.square().mean().sqrt()),
                reread=TRAINING,
            ),
            Misconception(
                name="half of the mean square",
                breaks="‖ε − ε_θ(x_t, t)‖²: L_simple has dropped the factors before it",
                wrong=_loss(of=lambda d: 0.5 * d.square().mean()),
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
                name="the new weights are taken away, not added",
                breaks="θ̄ ← decay · θ̄ + (1 − decay) · θ",
                wrong=lambda average, weight, decay: decay * average - (1 - decay) * weight,
                reread=AVERAGE,
            ),
            Misconception(
                name="the whole of θ − θ̄ is added to decay · θ̄: θ̄ is counted twice",
                breaks="decay · θ̄ + (1 − decay) · θ, or θ̄ + (1 − decay)(θ − θ̄): one or the other",
                wrong=lambda average, weight, decay: decay * average + (1 - decay) * (weight - average),
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
                wrong=_walk(noisy=lambda t: True),
                reread=LAST,
            ),
            Misconception(
                name="the last two steps are without noise, not only the last",
                breaks="z ~ N(0, I) if t > 1: the step from x_2 to x_1 has noise",
                wrong=_walk(noisy=lambda t: t > 2),
                reread=LAST,
            ),
            Misconception(
                name="the last step is missing: the loop stops at t = 2",
                breaks="for t = T, …, 1: range(T, 0, -1) ends at 1, range(T, 1, -1) at 2",
                wrong=_walk(steps=lambda T: range(T, 1, -1)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the loop stops at t = 2, and path[0] stays as the table was filled at first",
                breaks="for t = T, …, 1: range(T, 0, -1) ends at 1, range(T, 1, -1) at 2",
                wrong=_table,
                reread=SAMPLING,
            ),
            Misconception(
                name="every entry of the path is one and the same tensor, changed in place",
                breaks="path[t] is x_t: append a new tensor in each step, or a clone()",
                wrong=_one_tensor,
                reread=SAMPLING,
            ),
            Misconception(
                name="every entry of the path but x_T is one and the same tensor, changed in place",
                breaks="path[t] is x_t: append a new tensor in each step, or a clone()",
                wrong=_one_tensor_but_xT,
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
                name="z[t − 1] in step t",
                breaks="the noise of the step from x_t to x_{t−1} is z[t]",
                wrong=_walk(which=lambda t: t - 1),
                reread=SAMPLING,
            ),
            Misconception(
                name="σ_t = 1: z is added as it is",
                breaks="x_{t−1} = … + σ_t z with σ_t² = β_t",
                wrong=_walk(sigma=lambda s, t: 1),
                reread=SAMPLING,
            ),
            Misconception(
                name="the noise stands inside the bracket, and is divided by √α_t as well",
                breaks="x_{t−1} = (…) / √α_t + σ_t z: σ_t z comes after the division",
                wrong=_walk(line_4=lambda x, taken, scale, noise: (x - taken + noise) / scale),
                reread=SAMPLING,
            ),
            Misconception(
                name="only x_t is divided by √α_t, not the whole bracket",
                breaks="x_{t−1} = (x_t − …) / √α_t + σ_t z: the bracket holds both",
                wrong=_walk(line_4=lambda x, taken, scale, noise: x / scale - taken + noise),
                reread=SAMPLING,
            ),
            Misconception(
                name="the guessed noise is added, not taken away",
                breaks="x_{t−1} = (x_t − (1 − α_t)/√(1 − ᾱ_t) ε_θ) / √α_t + σ_t z",
                wrong=_walk(line_4=lambda x, taken, scale, noise: (x + taken) / scale + noise),
                reread=SAMPLING,
            ),
            Misconception(
                name="the same z in every step",
                breaks="z ~ N(0, I) is drawn anew in each step: here z[t]",
                wrong=_walk(which=lambda t: -1),
                reread=SAMPLING,
            ),
            Misconception(
                name="1 − ᾱ_t without its root",
                breaks="(1 − α_t) / √(1 − ᾱ_t) is the factor of ε_θ",
                wrong=_walk(share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t])),
                reread=SAMPLING,
            ),
            Misconception(
                name="√(1 − α_t) above the line as well",
                breaks="(1 − α_t) / √(1 − ᾱ_t) is the factor of ε_θ: the root is only below",
                wrong=_walk(share=lambda s, t: (s.beta[t] / (1 - s.alpha_bar[t])).sqrt()),
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
                name="α_t without its root before the bracket",
                breaks="1 / √α_t undoes the shrinking of one step",
                wrong=_walk(scale=lambda s, t: s.alpha[t]),
                reread=SAMPLING,
            ),
            Misconception(
                name="multiplied by √α_t, not divided: that shrinks once more",
                breaks="1 / √α_t undoes the shrinking of one step",
                wrong=_walk(scale=lambda s, t: s.alpha[t].rsqrt()),
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
                wrong=_walk(told=lambda t, count: torch.full((count,), t - 1)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the network is given one t with no axis, and it needs one for each point",
                breaks="ε_θ(x_t, t) takes t of shape (B,): torch.full((len(xT),), t)",
                wrong=_walk(told=lambda t, count: torch.tensor(t)),
                reread=SAMPLING,
            ),
            Misconception(
                name="the network is given t as a plain number, and it needs a tensor with one for each point",
                breaks="ε_θ(x_t, t) takes t of shape (B,): torch.full((len(xT),), t)",
                wrong=_walk(told=lambda t, count: t),
                reread=SAMPLING,
            ),
            Misconception(
                name="the network is shown x_T in every step, not x_t",
                breaks="ε_θ(x_t, t): what it is to look at is the point where the walk is now",
                wrong=_walk(seen=lambda path: path[0]),
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
                name="the sign, and divided by the variance 1 − ᾱ_t, not by its root",
                breaks="∇ log q(x_t) = −ε̂ / √(1 − ᾱ_t): against the noise, and one root cancels",
                wrong=_scaled(lambda s: 1 / (1 - s.alpha_bar), sign=1),
                reread=SCORE,
            ),
            Misconception(
                name="the root of ᾱ_t inside: divided by 1 − √ᾱ_t",
                breaks="the standard deviation of the noise is √(1 − ᾱ_t): the root is taken last",
                wrong=_scaled(lambda s: 1 / (1 - s.alpha_bar.sqrt())),
                reread=SCORE,
            ),
            Misconception(
                name="divided by √ᾱ_t as well, as if x_0 were to be found",
                breaks="the derivative is taken by x_t, not by x_0: ∇ log q(x_t) = −ε̂ / √(1 − ᾱ_t)",
                wrong=_scaled(lambda s: (s.alpha_bar * (1 - s.alpha_bar)).rsqrt()),
                reread=SCORE,
            ),
            first_t(process.score_from_eps, 1, SCORE),
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
