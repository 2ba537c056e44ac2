"""Exercises of chapter 09: algorithm 2 with clipping, noise of one's own, and the bug clinic.

The clinic has twelve patients: small functions, each with one real fault. PATIENTS holds them as they come in;
the functions of the same purpose below are the healthy ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddpm_lite import data, process, schedules, unet
from ddpm_lite.exercises.cases import PAPER, SHORT, images
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.schedules import Schedule

EpsModel = Callable[[Tensor, Tensor], Tensor]

TWO = "Algorithm 2, as printed and as run"
LOOP = "The loop"
SEEDS = "Seeds, and noise of one's own"
STEP_WARD = "Ward 1: the step"
NET_WARD = "Ward 2: the network"
TRAIN_WARD = "Ward 3: the training"
F64 = torch.float64


# ---------------------------------------------------------------------------------------------------
# 09.1 clipped_mean


def clipped_mean(
    xt: Tensor, t: Tensor, eps_hat: Tensor, schedule: Schedule, clip: bool
) -> tuple[Tensor, Tensor]:
    """mu and x0_hat of one reverse step, shaped as xt: eq. (4) solved for x_0, held to [-1, 1] if clip, then (7)."""
    x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
    if clip:
        x0_hat = x0_hat.clamp(-1, 1)
    return process.q_posterior(x0_hat, xt, t, schedule)[0], x0_hat


def _guesses() -> Iterator[Case]:
    for number, case in enumerate(images()):
        x, t, other, schedule = case.args
        clip = number % 2 == 0
        yield Case(f"{case.label}, clip = {clip}", other, t, 2 * x, schedule, clip=clip)
    x, t, other, schedule = next(images()).args
    yield Case("4 images of (1, 8, 6), clip = False", other, t, 2 * x, schedule, clip=False)


def _of_eps(xt, t, eps_hat, schedule):
    """Eq. (11)."""
    share = schedule.beta.clone()
    share[1:] = schedule.beta[1:] / (1 - schedule.alpha_bar[1:]).sqrt()
    return (xt - at(share, t, xt) * eps_hat) / at(schedule.alpha.sqrt(), t, xt)


def _clipping(
    guess=process.predict_x0,
    hold=lambda x, clip: x.clamp(-1, 1) if clip else x,
    mean=lambda x0, xt, t, eps, s: process.q_posterior(x0, xt, t, s)[0],
    result=lambda mean, raw, held, clip: (mean, held),
):
    """A wrong clipped_mean, with one of its parts replaced."""

    def wrong(xt, t, eps_hat, schedule, clip):
        raw = guess(xt, t, eps_hat, schedule)
        held = hold(raw, clip)
        return result(mean(held, xt, t, eps_hat, schedule), raw, held, clip)

    return wrong


def _x0_without_bars(xt, t, eps_hat, s):
    return (xt - at(s.beta.sqrt(), t, xt) * eps_hat) / at(s.alpha.sqrt(), t, xt)


# ---------------------------------------------------------------------------------------------------
# 09.2 sample


def sample(
    eps_model: EpsModel, noise: Tensor, schedule: Schedule, sigma2: Tensor, clip: bool = True
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Algorithm 2, whole. noise (T+1, B, ...): entry 0 is x_T, entry t the z of step t. Yields (t - 1, x_{t-1}, x0_hat)."""
    xt = noise[0]
    for t in range(schedule.T, 0, -1):
        ts = torch.full((len(xt),), t)
        mean, x0_hat = clipped_mean(xt, ts, eps_model(xt, ts), schedule, clip)
        xt = mean + sigma2[t].sqrt() * noise[t] if t > 1 else mean
        yield t - 1, xt, x0_hat


def _guess(xt: Tensor, t: Tensor) -> Tensor:
    """Stands in for a network: depends on all of x_t and on each example's t."""
    return at(torch.linspace(0.2, 0.9, 101, dtype=F64), t, xt) * xt + 0.1 * xt.flip(-1)


def _wave(xt: Tensor, t: Tensor) -> Tensor:
    """Another network, not linear in x_t."""
    return torch.sin(2 * xt + at(torch.arange(101, dtype=F64) / 30, t, xt))


def _chains() -> Iterator[Case]:
    yield Case(
        "4 images, five rough steps, σ² = β", _guess, randn(6, 4, 1, 3, 2), SHORT, SHORT.beta, clip=True
    )
    ten = schedules.cosine(T=10, beta_max=0.9)
    fixed = ten.beta_tilde.clone()
    fixed[1] = fixed[2]  # a variance that is not 0 at t = 1
    yield Case(
        "3 points, float64, ten steps, no clipping",
        _wave,
        randn(11, 3, 5, seed=2, dtype=F64),
        ten,
        fixed,
        clip=False,
    )
    noise = randn(2, 7, 6, seed=4, dtype=F64).permute(2, 1, 0)  # (6, 7, 2), and not contiguous in memory
    yield Case("7 points, not contiguous, σ² = β", _wave, noise, SHORT, SHORT.beta, clip=True)


def _walk(
    steps=lambda T: range(T, 0, -1),
    sigma=lambda s2, t, s: s2[t].sqrt(),
    last=lambda mean, noise: mean,
    z=lambda noise, t: noise[t],
    told=lambda t: t,
    clip=lambda c: c,
    mean=clipped_mean,
    left=lambda xt: xt,
    item=lambda t, xt, x0_hat, before: (t - 1, xt, x0_hat),
):
    """A wrong sampler: the loop with one of its parts replaced."""

    def wrong(eps_model, noise, schedule, sigma2, clip_):
        xt = noise[0]
        for t in steps(schedule.T):
            ts, before = torch.full((len(xt),), t), xt
            eps_hat = eps_model(xt, torch.full((len(xt),), told(t)))
            mu, x0_hat = mean(xt, ts, eps_hat, schedule, clip(clip_))
            fresh = sigma(sigma2, t, schedule) * z(noise, t)
            xt = left(mu + fresh if t > 1 else last(mu, fresh))
            yield item(t, xt, x0_hat, before)

    def same_names(eps_model, noise, schedule, sigma2, clip=True):
        return wrong(eps_model, noise, schedule, sigma2, clip)

    return same_names


def _started_late(eps_model, noise, schedule, sigma2, clip=True):
    return sample(eps_model, torch.cat([noise[-1:], noise[1:]]), schedule, sigma2, clip)


# ---------------------------------------------------------------------------------------------------
# 09.3 own_noise


def own_noise(seeds: list[int], T: int, shape: tuple[int, ...]) -> Tensor:
    """Noise (T+1, B, *shape) for `sample`, in which image i depends on seeds[i] alone."""
    draws = [torch.randn(T + 1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws, dim=1)


def _wishes() -> Iterator[Case]:
    # Numbers in multiples of 16: then it makes no difference in how many calls they are drawn.
    yield Case("three images of (1, 4, 4), five steps", [3, 0, 7], 5, (1, 4, 4))
    yield Case("one image of (2, 2, 4), nine steps", [11], 9, (2, 2, 4))
    yield Case("two points of 16 numbers, two steps", [5, 6], 2, (16,))


def _g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _one_generator(seeds, T, shape):
    g = _g(seeds[0])
    return torch.stack([torch.randn(T + 1, *shape, generator=g) for _ in seeds], dim=1)


# ---------------------------------------------------------------------------------------------------
# The clinic, ward 1: the step. Each function first healthy, then as the patient has it.


def add_noise(mean: Tensor, variance: float, generator: torch.Generator) -> Tensor:
    """A draw from N(mean, variance I), shaped as mean."""
    z = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + math.sqrt(variance) * z


def _patient_1(mean, variance, generator):
    z = torch.rand(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + variance * z


def variance_at(t: int, sigma2: Tensor) -> float:
    """The variance of the noise that step t adds."""
    return float(sigma2[t]) if t > 1 else 0.0


def _patient_2(t, sigma2):
    return float(sigma2[t]) if t > 0 else 0.0


def mean_from_eps(xt: Tensor, t: int, eps_hat: Tensor, schedule: Schedule) -> Tensor:
    """Eq. (11), for one t."""
    beta, alpha, alpha_bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    return (xt - beta / (1 - alpha_bar).sqrt() * eps_hat) / alpha.sqrt()


def _patient_3(xt, t, eps_hat, schedule):
    beta, alpha = schedule.beta[t], schedule.alpha[t]
    return (xt - beta / (1 - alpha).sqrt() * eps_hat) / alpha.sqrt()


def mu_tilde(x0: Tensor, xt: Tensor, t: int, schedule: Schedule) -> Tensor:
    """Eq. (7), for one t."""
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    of_x0 = before.sqrt() * schedule.beta[t] / (1 - now)
    of_xt = schedule.alpha[t].sqrt() * (1 - before) / (1 - now)
    return of_x0 * x0 + of_xt * xt


def _patient_4(x0, xt, t, schedule):
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    of_x0 = before.sqrt() * schedule.beta[t] / (1 - now)
    of_xt = now.sqrt() * (1 - before) / (1 - now)
    return of_x0 * x0 + of_xt * xt


def _means() -> Iterator[Case]:
    yield Case("images (2, 1, 4, 3), float32, variance 0.25", rand(2, 1, 4, 3), 0.25, _g(1))
    yield Case("points (5, 2), float64, variance 0.01", rand(5, 2, seed=1, dtype=F64), 0.01, _g(2))
    yield Case("not contiguous, variance 0", rand(3, 6, seed=2).T, 0.0, _g(3))


def _draw(z=torch.randn, factor=math.sqrt):
    return lambda mean, variance, generator: (
        mean + factor(variance) * z(mean.shape, generator=generator, dtype=mean.dtype)
    )


def _number(value):
    """A number, if it is one in any form."""
    return float(value) if isinstance(value, (int, float)) or getattr(value, "ndim", 1) == 0 else value


def _levels() -> Iterator[Case]:
    for t in (1, 2, 3, 5):
        yield Case(f"t = {t} of 5, σ² = β", t, SHORT.beta)
    yield Case("t = 1000 of 1000", 1000, PAPER.beta)
    yield Case("t = 1 of 1000", 1, PAPER.beta)


def _ones(at_t) -> Callable[[], Iterator[Case]]:
    """Cases (x, t, other, schedule) with one t for all."""

    def cases() -> Iterator[Case]:
        for case, t in zip(images(), at_t, strict=True):
            x, _, other, schedule = case.args
            label = f"{case.label.replace('as many images as columns', '5 images')}, t = {t}"
            yield Case(label, x, t, other, schedule)

    return cases


def _triples() -> Iterator[Case]:
    """Cases (x0, xt, t, schedule)."""
    for case in _ones((2, 700, 3, 1))():
        x, t, other, schedule = case.args
        yield Case(case.label, x, other, t, schedule)


def _eleven(share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t]).sqrt(), scale=lambda s, t: s.alpha[t].sqrt()):
    return lambda xt, t, eps_hat, schedule: (xt - share(schedule, t) * eps_hat) / scale(schedule, t)


def _seven(
    of_x0=lambda s, t: s.alpha_bar[t - 1].sqrt() * s.beta[t],
    of_xt=lambda s, t: s.alpha[t].sqrt() * (1 - s.alpha_bar[t - 1]),
    below=lambda s, t: 1 - s.alpha_bar[t],
):
    return lambda x0, xt, t, schedule: (
        (of_x0(schedule, t) * x0 + of_xt(schedule, t) * xt) / below(schedule, t)
    )


# ---------------------------------------------------------------------------------------------------
# Ward 2: the network.


def hide(y: Tensor, drop: Tensor, null: int) -> Tensor:
    """The labels y (B,), with `null` in place of those where drop (B,) is True."""
    return torch.where(drop, null, y)


def _patient_5(y, drop, null):
    return torch.where(drop, y, null)


def ask(network: Callable, xt: Tensor, i: Tensor, tau: Tensor) -> Tensor:
    """What the network says in step i (B,) of a respaced chain, which visits the levels tau (steps+1,)."""
    return network(xt, tau[i])


def _patient_6(network, xt, i, tau):
    return network(xt, tau[i - 1])


def ready(network: nn.Module) -> nn.Module:
    """The network, ready to sample with."""
    return network.eval()


def _patient_7(network):
    return network.requires_grad_(False)


def _patient_8(t, dim):
    half = dim // 2
    k = torch.arange(half)
    frequency = torch.exp(-math.log(10000) * t.float() / (half - 1))[:, None]
    angle = k * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _label_lists() -> Iterator[Case]:
    t = torch.tensor
    yield Case("five labels, two hidden", t([3, 1, 4, 1, 5]), t([True, False, False, True, False]), 10)
    yield Case("three labels, none hidden", t([7, 0, 2]), t([False, False, False]), 10)
    yield Case("two labels of another data set, both hidden", t([1, 3]), t([True, True]), 4)


def _visits() -> Iterator[Case]:
    tau = torch.tensor([0, 3, 10, 40, 77, 100])
    yield Case("4 images at four steps", _wave, randn(4, 1, 3, 2), torch.tensor([5, 1, 2, 4]), tau)
    yield Case(
        "2 points at the first step, float64", _guess, randn(2, 5, dtype=F64), torch.tensor([5, 5]), tau
    )
    x = randn(2, 3, seed=3, dtype=F64).T
    yield Case("3 points at the last step, not contiguous", _wave, x, torch.tensor([1, 1, 1]), tau)


def _layers(dtype) -> nn.Module:
    """A small network with dropout at two depths, as training leaves it; seeded by whoever calls."""
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Sequential(block, nn.Linear(4, 2))).to(dtype)


def _two_calls(answer, x: Tensor):
    """The network as it came back, asked twice the same: which parts are still training, and the two outputs."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(0)
    network = _layers(x.dtype)
    torch.set_rng_state(state)
    back = answer(network)
    if not isinstance(back, nn.Module):
        return back
    return [module.training for module in back.modules()], back(x).detach(), back(x).detach()


def _inputs() -> Iterator[Case]:
    yield Case("3 inputs, float32", randn(3, 4))
    yield Case("2 inputs, float64", randn(2, 4, seed=1, dtype=F64))
    yield Case("5 inputs, not contiguous", randn(4, 5, seed=2).T)


def _no_dropout(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _top_only(network):
    network.training = False
    return network


def _none(network):
    network.eval()


def _times() -> Iterator[Case]:
    yield Case("four t, eight numbers each", torch.tensor([1, 2, 50, 1000]), 8)
    yield Case("one t, thirty-two numbers", torch.tensor([40]), 32)
    yield Case("more t than numbers", torch.tensor([7, 1, 5, 3, 100]), 4)


def _waves(frequency=None, angle=None, join=None):
    """A wrong embedding: other frequencies, of (half); another angle, of (t, frequency); joined in another way."""
    frequency = frequency or (lambda half: torch.exp(-math.log(10000) * torch.arange(half) / (half - 1)))
    angle = angle or (lambda t, f: t.float()[:, None] * f)
    join = join or (lambda a: torch.cat([a.sin(), a.cos()], dim=1))
    return lambda t, dim: join(angle(t, frequency(dim // 2)))


# ---------------------------------------------------------------------------------------------------
# Ward 3: the training.


def alpha_bar(beta: Tensor) -> Tensor:
    """alpha_bar_t for t = 0..T, from beta (T+1,), beta_0 = 0."""
    return torch.cumprod(1 - beta, dim=0)


def _patient_9(beta):
    return torch.prod(1 - beta).expand(len(beta)).clone()


def _patient_10(images):
    return images.float() / 255


def coefficients(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of x_0 and of eps in x_t, for t = 0..T: two float64 tensors (T+1,)."""
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def _patient_11(alpha_bar):
    return alpha_bar.sqrt(), 1 - alpha_bar


def _one_step(alpha_bar):
    """alpha_t, with alpha_0 = 1."""
    return torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def betas(T: int) -> Tensor:
    """beta_1..beta_T, float64 (T,): the paper's line, times 1000 / T."""
    return 1000 / T * torch.linspace(1e-4, 0.02, T, dtype=F64)


def _patient_12(T):
    return torch.linspace(1e-4, 0.02, T, dtype=F64)


def _beta_lists() -> Iterator[Case]:
    yield Case("five rough steps", SHORT.beta)
    yield Case("the paper's thousand", PAPER.beta)
    yield Case("forty of a cosine", schedules.cosine(T=40).beta)


def _bytes() -> Iterator[Case]:
    g = _g(0)
    for shape in ((3, 1, 4, 4), (2, 3, 5, 2)):
        x = torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)
        x.view(-1)[:2] = torch.tensor([0, 255], dtype=torch.uint8)
        yield Case(f"bytes {shape}, black and white among them", x)


def _scheds() -> Iterator[Case]:
    yield Case("five rough steps", SHORT.alpha_bar)
    yield Case("the paper's thousand", PAPER.alpha_bar)
    yield Case("forty of a cosine", schedules.cosine(T=40).alpha_bar)


def _lengths() -> Iterator[Case]:
    for T in (50, 100, 1000, 300):  # 300: 1000 / T is no whole number
        yield Case(f"T = {T}", T)


# The patients as they come in, by number.
PATIENTS: dict[int, Callable] = {
    1: _patient_1,
    2: _patient_2,
    3: _patient_3,
    4: _patient_4,
    5: _patient_5,
    6: _patient_6,
    7: _patient_7,
    8: _patient_8,
    9: _patient_9,
    10: _patient_10,
    11: _patient_11,
    12: _patient_12,
}

# What each fault does to samples; said to those who suspect it where it is not.
LOOKS = {
    "uniform noise": "uniform noise has a mean above 0, every step drives all pixels up, and the samples are white blobs",
    "noise in the last step": "what the last step adds nobody takes away: good digits under an even grain, also on the black",
    "lost bar": "√(1 − α_t) for √(1 − ᾱ_t) takes too much noise away: clean, plain digits, much alike, and no error anywhere",
    "misplaced bar": "√ᾱ_t for √α_t forgets most of x_t in each step: dented digits on a background that is not quite black",
    "inverted mask": "labels are hidden where they should be kept: good digits, but not those that were asked for",
    "off by one": "the network is told a level with less noise than there is, and leaves some: the right digits, with specks",
    "dropout on": "each call switches other units off: many samples are right, in others strokes break or go astray",
    "wrong embedding": "a network that cannot read t takes the wrong amount of noise away at each step: specks, and no digit",
    "product to T": "a network that has only seen the noisiest level takes next to nothing away: noise to the end",
    "images in [0, 1]": "data without values below 0 give samples without values below 0: a grey background, not a black one",
    "variance as deviation": "trained with too little noise, the network leaves some of what it meets: digits with grey patches",
    "short chain": "x_T of training still holds the image, that of sampling does not: fine digits, in the wrong proportions",
}
WARDS = {
    STEP_WARD: {1: "uniform noise", 2: "noise in the last step", 3: "lost bar", 4: "misplaced bar"},
    NET_WARD: {5: "inverted mask", 6: "off by one", 7: "dropout on", 8: "wrong embedding"},
    TRAIN_WARD: {9: "product to T", 10: "images in [0, 1]", 11: "variance as deviation", 12: "short chain"},
}
STRANGERS = {
    STEP_WARD: ("images in [0, 1]", "inverted mask"),
    NET_WARD: ("uniform noise", "noise in the last step"),
    TRAIN_WARD: ("inverted mask", "wrong embedding"),
}


@dataclass(frozen=True)
class Anything:
    """Agrees with whatever stands in its place: it has no fields that could differ."""


def diagnosis(id_: str, ward: str) -> Exercise:
    """The exercise to name what each patient of a ward has: a dict from number to fault."""
    truth = WARDS[ward]
    options = (*truth.values(), *STRANGERS[ward])
    return Exercise(
        id=id_,
        title=f"what patients {min(truth)} to {max(truth)} have",
        reference=dict(truth),
        misconceptions=(
            Misconception(
                name="the numbers of the patients are given as text",
                breaks=f"{{{min(truth)}: …, {min(truth) + 1}: …}}: without quotation marks",
                wrong={str(one): Anything() for one in truth},
                reread=ward,
            ),
            *(
                Misconception(
                    name=f"patient {number} is no case of “{option}”",
                    breaks=f"that would look different: {LOOKS[option]}",
                    wrong={one: option if one == number else Anything() for one in truth},
                    reread=ward,
                )
                for number in truth
                for option in options
                if option != truth[number]
            ),
        ),
        hints=(
            "Each of the four has another fault. Begin with the one that you are surest of.",
            "Read the chart: which number of a patient is far from the healthy one's, and which fault moves that number?",
            "Compare with the table at the end of the chapter, column “what you see”.",
        ),
    )


def unmended(number: int, breaks: str, reread: str, name: str) -> Misconception:
    """The patient's own function, handed in as it is."""
    return Misconception(name=name, breaks=breaks, wrong=PATIENTS[number], reread=reread)


EXERCISES = (
    Exercise(
        id="09.1",
        title="clipped_mean: the mean of a step, as the code computes it",
        reference=clipped_mean,
        cases=_guesses,
        misconceptions=(
            Misconception(
                name="the mean is held to [−1, 1] as well",
                breaks="only x̂_0 is an image; x_{t−1} is image and noise, and may lie anywhere",
                wrong=_clipping(
                    result=lambda mean, raw, held, clip: (mean.clamp(-1, 1) if clip else mean, held)
                ),
                reread=TWO,
            ),
            Misconception(
                name="the mean is held to [−1, 1], and x̂_0 is not",
                breaks="x̂_0 ← clamp(x̂_0, −1, 1), and then (7)",
                wrong=_clipping(
                    hold=lambda x, clip: x,
                    result=lambda mean, raw, held, clip: (mean.clamp(-1, 1) if clip else mean, raw),
                ),
                reread=TWO,
            ),
            Misconception(
                name="the clipped x̂_0 is returned, but the mean is made without it",
                breaks="μ = (√ᾱ_{t−1} β_t x̂_0 + √α_t (1 − ᾱ_{t−1}) x_t) / (1 − ᾱ_t), with the clipped x̂_0",
                wrong=_clipping(mean=lambda x0, xt, t, eps, s: _of_eps(xt, t, eps, s)),
                reread=TWO,
            ),
            Misconception(
                name="the mean is right, but the x̂_0 that is returned is the one before clipping",
                breaks="return the x̂_0 from which the mean is made",
                wrong=_clipping(result=lambda mean, raw, held, clip: (mean, raw)),
                reread=TWO,
            ),
            Misconception(
                name="clipped always, whatever clip says",
                breaks="with clip = False x̂_0 stays as it is, and the mean is the paper's (11)",
                wrong=_clipping(hold=lambda x, clip: x.clamp(-1, 1)),
                reread=TWO,
            ),
            Misconception(
                name="never clipped, whatever clip says",
                breaks="with clip = True: x̂_0 ← clamp(x̂_0, −1, 1)",
                wrong=_clipping(hold=lambda x, clip: x),
                reread=TWO,
            ),
            Misconception(
                name="clip the wrong way round: held if False, free if True",
                breaks="with clip = True: x̂_0 ← clamp(x̂_0, −1, 1)",
                wrong=_clipping(hold=lambda x, clip: x if clip else x.clamp(-1, 1)),
                reread=TWO,
            ),
            Misconception(
                name="held to [0, 1]: the images of this course are in [−1, 1]",
                breaks="x̂_0 ← clamp(x̂_0, −1, 1)",
                wrong=_clipping(hold=lambda x, clip: x.clamp(0, 1) if clip else x),
                reread=TWO,
            ),
            Misconception(
                name="only the bright side is held: values below −1 stay",
                breaks="x̂_0 ← clamp(x̂_0, −1, 1), both sides",
                wrong=_clipping(hold=lambda x, clip: x.clamp(max=1) if clip else x),
                reread=TWO,
            ),
            Misconception(
                name="scaled down until it fits, where it should be cut off",
                breaks="x̂_0 ← clamp(x̂_0, −1, 1): each pixel by itself",
                wrong=_clipping(
                    hold=lambda x, clip: (
                        x / x.abs().flatten(1).max(dim=1).values.clamp(min=1).reshape(-1, *[1] * (x.ndim - 1))
                        if clip
                        else x
                    )
                ),
                reread=TWO,
            ),
            Misconception(
                name="tanh in place of cutting off: it changes the values that were right, too",
                breaks="clamp leaves everything within [−1, 1] as it is",
                wrong=_clipping(hold=lambda x, clip: x.tanh() if clip else x),
                reread=TWO,
            ),
            Misconception(
                name="the network's noise is clipped, not the image",
                breaks="ε has values beyond ±1 all the time: a third of a Gaussian's are",
                wrong=lambda xt, t, eps_hat, schedule, clip: clipped_mean(
                    xt, t, eps_hat.clamp(-1, 1) if clip else eps_hat, schedule, False
                ),
                reread=TWO,
            ),
            Misconception(
                name="x_t is clipped, not x̂_0",
                breaks="x_t is image and noise, and may lie anywhere",
                wrong=lambda xt, t, eps_hat, schedule, clip: clipped_mean(
                    xt.clamp(-1, 1) if clip else xt, t, eps_hat, schedule, False
                ),
                reread=TWO,
            ),
            Misconception(
                name="β_t and α_t where 1 − ᾱ_t and ᾱ_t belong: only one step is undone",
                breaks="x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t   (eq. 4)",
                wrong=_clipping(guess=_x0_without_bars),
                reread=TWO,
            ),
            Misconception(
                name="the two factors of (7) are swapped",
                breaks="μ̃ = (√ᾱ_{t−1} β_t x_0 + √α_t (1 − ᾱ_{t−1}) x_t) / (1 − ᾱ_t)",
                wrong=_clipping(mean=lambda x0, xt, t, eps, s: process.q_posterior(xt, x0, t, s)[0]),
                reread=TWO,
            ),
            Misconception(
                name="x̂_0 comes first and the mean second",
                breaks="return mean, x0_hat",
                wrong=_clipping(result=lambda mean, raw, held, clip: (held, mean)),
                reread=TWO,
            ),
            Misconception(
                name="only the mean is returned",
                breaks="return mean, x0_hat: the guess is worth looking at",
                wrong=_clipping(result=lambda mean, raw, held, clip: mean),
                reread=TWO,
            ),
            Misconception(
                name="the pair that q_posterior returns, mean and variance, where the mean and x̂_0 are wanted",
                breaks="return mean, x0_hat",
                wrong=lambda xt, t, eps_hat, schedule, clip: process.q_posterior(
                    clipped_mean(xt, t, eps_hat, schedule, clip)[1], xt, t, schedule
                ),
                reread=TWO,
            ),
            Misconception(
                name="the first result is a pair itself: q_posterior returns the mean and the variance",
                breaks="mean, _ = process.q_posterior(…)",
                wrong=lambda xt, t, eps_hat, schedule, clip: (
                    process.q_posterior(clipped_mean(xt, t, eps_hat, schedule, clip)[1], xt, t, schedule),
                    clipped_mean(xt, t, eps_hat, schedule, clip)[1],
                ),
                reread=TWO,
            ),
        ),
        hints=(
            "Three lines: the guess x̂_0 from x_t and ε̂; hold it, if asked to; the mean of (7) from x̂_0 and x_t.",
            "process.predict_x0(xt, t, eps_hat, schedule), of chapter 01; process.q_posterior(x0_hat, xt, t, schedule), of 03.",
            "if clip: x0_hat = x0_hat.clamp(-1, 1). q_posterior returns the mean and the variance: take its first.",
        ),
    ),
    Exercise(
        id="09.2",
        title="sample: algorithm 2, whole",
        reference=sample,
        cases=_chains,
        misconceptions=(
            Misconception(
                name="noise is added in the last step as well",
                breaks="line 3: z = 0 if t = 1. The variances that come in need not be 0 there",
                wrong=_walk(last=lambda mean, noise: mean + noise),
                reread=LOOP,
            ),
            Misconception(
                name="no noise in the last step but one either",
                breaks="line 3: z ~ N(0, I) if t > 1, and that holds for t = 2",
                wrong=_walk(sigma=lambda s2, t, s: s2[t].sqrt() * (t > 2)),
                reread=LOOP,
            ),
            Misconception(
                name="no noise at all",
                breaks="x_{t−1} = μ + σ_t z: only the last step is without",
                wrong=_walk(sigma=lambda s2, t, s: 0 * s2[t]),
                reread=LOOP,
            ),
            Misconception(
                name="the variance used as a standard deviation",
                breaks="σ_t² came in, and the factor of z is its root",
                wrong=_walk(sigma=lambda s2, t, s: s2[t]),
                reread=LOOP,
            ),
            Misconception(
                name="the variance of the schedule, not the one that came in",
                breaks="σ_t² is an argument: sigma2[t]",
                wrong=_walk(sigma=lambda s2, t, s: s.beta[t].sqrt()),
                reread=LOOP,
            ),
            Misconception(
                name="the z of step t − 1",
                breaks="noise[t] is the z of step t, noise[0] is x_T",
                wrong=_walk(z=lambda noise, t: noise[t - 1]),
                reread=LOOP,
            ),
            Misconception(
                name="x_T is used once more as z, in every step",
                breaks="noise[t] is the z of step t, noise[0] is x_T",
                wrong=_walk(z=lambda noise, t: noise[0]),
                reread=LOOP,
            ),
            Misconception(
                name="the last step is missing",
                breaks="for t = T, …, 1: range(T, 0, -1) ends at 1",
                wrong=_walk(steps=lambda T: range(T, 1, -1)),
                reread=LOOP,
            ),
            Misconception(
                name="the first step is missing",
                breaks="for t = T, …, 1: x_T itself is the first to be stepped from",
                wrong=_walk(steps=lambda T: range(T - 1, 0, -1)),
                reread=LOOP,
            ),
            Misconception(
                name="the loop runs upwards",
                breaks="for t = T, …, 1: from noise to data",
                wrong=_walk(steps=lambda T: range(1, T + 1)),
                reread=LOOP,
            ),
            Misconception(
                name="the network is told t − 1",
                breaks="ε_θ(x_t, t): x_t and t belong together",
                wrong=_walk(told=lambda t: t - 1),
                reread=LOOP,
            ),
            Misconception(
                name="clip is not handed on: x̂_0 is always clipped",
                breaks="clipped_mean(…, clip)",
                wrong=_walk(clip=lambda c: True),
                reread=LOOP,
            ),
            Misconception(
                name="clip is not handed on: x̂_0 is never clipped",
                breaks="clipped_mean(…, clip)",
                wrong=_walk(clip=lambda c: False),
                reread=LOOP,
            ),
            Misconception(
                name="yields t, the level it came from, not t − 1, which it has reached",
                breaks="after step t we stand at x_{t−1}: the first is T − 1, the last is 0",
                wrong=_walk(item=lambda t, xt, x0_hat, before: (t, xt, x0_hat)),
                reread=LOOP,
            ),
            Misconception(
                name="yields x_t from before the step",
                breaks="x_{t−1} is what the step leaves; the last one is x_0",
                wrong=_walk(item=lambda t, xt, x0_hat, before: (t - 1, before, x0_hat)),
                reread=LOOP,
            ),
            Misconception(
                name="yields x̂_0 before x_{t−1}",
                breaks="yield t − 1, xt, x0_hat",
                wrong=_walk(item=lambda t, xt, x0_hat, before: (t - 1, x0_hat, xt)),
                reread=LOOP,
            ),
            Misconception(
                name="yields only x_{t−1}",
                breaks="yield t − 1, xt, x0_hat",
                wrong=_walk(item=lambda t, xt, x0_hat, before: xt),
                reread=LOOP,
            ),
            Misconception(
                name="takes x̂_0 itself for the mean of x_{t−1}",
                breaks="clipped_mean returns the mean first, x̂_0 second",
                wrong=_walk(mean=lambda *a: (clipped_mean(*a)[1],) * 2),
                reread=LOOP,
            ),
            Misconception(
                name="it returns x_0 at the end, and yields nothing on the way",
                breaks="yield t − 1, xt, x0_hat in every step: who runs the loop wants to look on",
                wrong=lambda eps_model, noise, schedule, sigma2, clip=True: list(
                    sample(eps_model, noise, schedule, sigma2, clip)
                )[-1][1],
                reread=LOOP,
            ),
            Misconception(
                name="it collects all steps in a list, and hands them over at the end",
                breaks="yield t − 1, xt, x0_hat in every step: nobody can look on, and a thousand steps fill the memory",
                wrong=lambda eps_model, noise, schedule, sigma2, clip=True: list(
                    sample(eps_model, noise, schedule, sigma2, clip)
                ),
                reread=LOOP,
            ),
            Misconception(
                name="starts from noise[T], which is the z of the first step",
                breaks="noise[0] is x_T, and noise[t] the z of step t",
                wrong=_started_late,
                reread=LOOP,
            ),
            Misconception(
                name="x_{t−1} is held to [−1, 1] as well",
                breaks="only x̂_0 is an image; x_{t−1} is image and noise, and may lie anywhere",
                wrong=_walk(left=lambda xt: xt.clamp(-1, 1)),
                reread=LOOP,
            ),
            Misconception(
                name="the z are taken in the order in which they lie, noise[1] first",
                breaks="noise[t] is the z of step t, so the first step, t = T, takes the last",
                wrong=_walk(z=lambda noise, t: noise[len(noise) - t]),
                reread=LOOP,
            ),
        ),
        hints=(
            "xt = noise[0]; then for t in range(schedule.T, 0, -1): ask the network, compute the mean, add the noise, yield.",
            "The network and clipped_mean want t as a tensor, one for each image: torch.full((len(xt),), t).",
            "xt = mean + sigma2[t].sqrt() * noise[t] if t > 1 else mean; then yield t - 1, xt, x0_hat.",
        ),
    ),
    Exercise(
        id="09.3",
        title="own_noise: for each image a stream of its own",
        reference=own_noise,
        cases=_wishes,
        misconceptions=(
            Misconception(
                name="one generator serves all images, one after the other",
                breaks="image i depends on seeds[i] alone: each needs a generator of its own",
                wrong=_one_generator,
                reread=SEEDS,
            ),
            Misconception(
                name="all images get the noise of the first seed",
                breaks="image i depends on seeds[i]",
                wrong=lambda seeds, T, shape: own_noise([seeds[0]] * len(seeds), T, shape),
                reread=SEEDS,
            ),
            Misconception(
                name="the seeds are counted anew, 0, 1, 2, …, whatever came in",
                breaks="image i depends on seeds[i]",
                wrong=lambda seeds, T, shape: own_noise(list(range(len(seeds))), T, shape),
                reread=SEEDS,
            ),
            Misconception(
                name="the images come first and the steps second",
                breaks="(T + 1, B, …): stack along dimension 1, so that noise[t] is a batch",
                wrong=lambda seeds, T, shape: own_noise(seeds, T, shape).transpose(0, 1),
                reread=SEEDS,
            ),
            Misconception(
                name="the images stand one after the other in the first dimension: there is no batch",
                breaks="(T + 1, B, …): torch.stack, not torch.cat",
                wrong=lambda seeds, T, shape: own_noise(seeds, T, shape).transpose(0, 1).flatten(0, 1),
                reread=SEEDS,
            ),
            Misconception(
                name="T entries, and one is missing",
                breaks="T + 1 entries: x_T, and a z for each of the T steps",
                wrong=lambda seeds, T, shape: torch.stack(
                    [torch.randn(T, *shape, generator=_g(seed)) for seed in seeds], dim=1
                ),
                reread=SEEDS,
            ),
            Misconception(
                name="seeded anew in each step, so that every z is the same",
                breaks="within an image the draws are independent: seed once, draw T + 1 times",
                wrong=lambda seeds, T, shape: own_noise(seeds, 0, shape).expand(
                    T + 1, *[-1] * (len(shape) + 1)
                ),
                reread=SEEDS,
            ),
            Misconception(
                name="uniform noise, not Gaussian",
                breaks="z ~ N(0, I): torch.randn, not torch.rand",
                wrong=lambda seeds, T, shape: torch.stack(
                    [torch.rand(T + 1, *shape, generator=_g(seed)) for seed in seeds], dim=1
                ),
                reread=SEEDS,
            ),
            Misconception(
                name="one generator, seeded with the sum of all seeds",
                breaks="image i depends on seeds[i] alone",
                wrong=lambda seeds, T, shape: torch.randn(
                    T + 1, len(seeds), *shape, generator=_g(sum(seeds))
                ),
                reread=SEEDS,
            ),
            Misconception(
                name="one generator, seeded with the first seed, draws the whole batch",
                breaks="image i depends on seeds[i] alone",
                wrong=lambda seeds, T, shape: torch.randn(T + 1, len(seeds), *shape, generator=_g(seeds[0])),
                reread=SEEDS,
            ),
        ),
        hints=(
            "For one image: a generator with its seed, and T + 1 draws of the shape, in one call of torch.randn.",
            "torch.randn(T + 1, *shape, generator=torch.Generator().manual_seed(seed)) is (T + 1, *shape).",
            "Do that for each seed in a list, and torch.stack(draws, dim=1).",
        ),
    ),
    diagnosis("09.4", STEP_WARD),
    Exercise(
        id="09.5",
        title="patient 1 mended: add_noise",
        reference=add_noise,
        cases=_means,
        misconceptions=(
            unmended(
                1,
                "a draw from N(m, v) is m + √v z with z ~ N(0, 1)",
                STEP_WARD,
                "the patient as it came in: uniform noise, and the variance in place of its root",
            ),
            Misconception(
                name="Gaussian now, but still the variance where its root belongs",
                breaks="a draw from N(m, v) is m + √v z",
                wrong=_draw(factor=lambda v: v),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the root is there, but the noise is still uniform",
                breaks="z ~ N(0, I): torch.randn, not torch.rand",
                wrong=_draw(z=torch.rand),
                reread=STEP_WARD,
            ),
            Misconception(
                name="uniform noise moved to mean 0: its variance is 1/12, not 1",
                breaks="z ~ N(0, I): torch.randn",
                wrong=_draw(z=lambda *a, **k: torch.rand(*a, **k) - 0.5),
                reread=STEP_WARD,
            ),
            Misconception(
                name="uniform noise with mean 0 and variance 1: right in both, and still not Gaussian",
                breaks="z ~ N(0, I): torch.randn",
                wrong=_draw(z=lambda *a, **k: (torch.rand(*a, **k) - 0.5) * math.sqrt(12)),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the noise is drawn from the global generator, not from the one that came in",
                breaks="torch.randn(mean.shape, generator=generator, …): randn_like knows no generator",
                wrong=lambda mean, variance, generator: mean + math.sqrt(variance) * torch.randn_like(mean),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the variance is squared",
                breaks="a draw from N(m, v) is m + √v z",
                wrong=_draw(factor=lambda v: v * v),
                reread=STEP_WARD,
            ),
            Misconception(
                name="one number of noise for each image, the same for all its pixels",
                breaks="z has the shape of the mean: every pixel its own",
                wrong=lambda mean, variance, generator: (
                    mean
                    + math.sqrt(variance)
                    * torch.randn(len(mean), *[1] * (mean.ndim - 1), generator=generator, dtype=mean.dtype)
                ),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the noise alone: the mean is not added",
                breaks="a draw from N(m, v) is m + √v z",
                wrong=lambda mean, variance, generator: add_noise(
                    torch.zeros_like(mean), variance, generator
                ),
                reread=STEP_WARD,
            ),
        ),
        hints=(
            "There are two faults in it. What does torch.rand draw, and what is a variance?",
            "torch.randn, with the same arguments; and the factor of z is a standard deviation.",
            "mean + math.sqrt(variance) * z",
        ),
    ),
    Exercise(
        id="09.6",
        title="patient 2 mended: variance_at",
        reference=variance_at,
        cases=_levels,
        run=lambda answer, t, sigma2: _number(answer(t, sigma2)),
        misconceptions=(
            unmended(
                2,
                "z = 0 if t = 1: in a loop from T to 1, t > 0 is always true",
                STEP_WARD,
                "the patient as it came in: noise in the last step as well",
            ),
            Misconception(
                name="no noise at t = 2 either",
                breaks="z ~ N(0, I) if t > 1",
                wrong=lambda t, sigma2: float(sigma2[t]) if t > 2 else 0.0,
                reread=STEP_WARD,
            ),
            Misconception(
                name="noise in the last step only",
                breaks="z = 0 if t = 1, and only then",
                wrong=lambda t, sigma2: float(sigma2[t]) if t == 1 else 0.0,
                reread=STEP_WARD,
            ),
            Misconception(
                name="no noise in any step",
                breaks="z ~ N(0, I) if t > 1",
                wrong=lambda t, sigma2: 0.0,
                reread=STEP_WARD,
            ),
            Misconception(
                name="a standard deviation: what is asked for is the variance",
                breaks="σ_t² of step t",
                wrong=lambda t, sigma2: float(sigma2[t].sqrt()) if t > 1 else 0.0,
                reread=STEP_WARD,
            ),
            Misconception(
                name="the variance of step t − 1",
                breaks="σ_t² of step t is sigma2[t]; and σ_1² would be moved to t = 2",
                wrong=lambda t, sigma2: float(sigma2[t - 1]),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the step without noise is the first, t = T, not the last",
                breaks="time runs from T to 1: z = 0 if t = 1",
                wrong=lambda t, sigma2: float(sigma2[t]) if t < len(sigma2) - 1 else 0.0,
                reread=STEP_WARD,
            ),
        ),
        hints=("When is t > 0 false?", "Line 3 of algorithm 2: z ~ N(0, I) if t > 1, else z = 0."),
    ),
    Exercise(
        id="09.7",
        title="patient 3 mended: mean_from_eps",
        reference=mean_from_eps,
        cases=_ones((2, 700, 3, 1)),
        misconceptions=(
            unmended(
                3,
                "β_t / √(1 − ᾱ_t) is the share of ε in step t   (eq. 11)",
                STEP_WARD,
                "the patient as it came in: √(1 − α_t), without the bar",
            ),
            Misconception(
                name="now √ᾱ_t divides as well: one bar too many",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t: the outer root has no bar",
                wrong=_eleven(scale=lambda s, t: s.alpha_bar[t].sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the bar is on the outer root, and not on the inner one",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t",
                wrong=_eleven(
                    share=lambda s, t: s.beta[t] / (1 - s.alpha[t]).sqrt(),
                    scale=lambda s, t: s.alpha_bar[t].sqrt(),
                ),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the root of 1 − ᾱ_t is missing",
                breaks="β_t / √(1 − ᾱ_t)",
                wrong=_eleven(share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t])),
                reread=STEP_WARD,
            ),
            Misconception(
                name="√ᾱ_t in place of √(1 − ᾱ_t)",
                breaks="β_t / √(1 − ᾱ_t)",
                wrong=_eleven(share=lambda s, t: s.beta[t] / s.alpha_bar[t].sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="√(1 − ᾱ_t) ε is taken away: all of the noise at once",
                breaks="one step takes β_t / √(1 − ᾱ_t) ε away",
                wrong=_eleven(share=lambda s, t: (1 - s.alpha_bar[t]).sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="ᾱ_{t−1} in place of ᾱ_t",
                breaks="1 − ᾱ_t is the variance of all the noise in x_t",
                wrong=_eleven(share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t - 1]).sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="by way of a clipped x̂_0: a good sampler does so, but it is not (11)",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t",
                wrong=lambda xt, t, eps_hat, schedule: clipped_mean(
                    xt, torch.full((len(xt),), t), eps_hat, schedule, True
                )[0],
                reread=STEP_WARD,
            ),
            Misconception(
                name="the noise is added, where it should be taken away",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t",
                wrong=_eleven(share=lambda s, t: -s.beta[t] / (1 - s.alpha_bar[t]).sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="1/√α_t is missing: nothing is scaled up again",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t: all of it is divided",
                wrong=_eleven(scale=lambda s, t: 1),
                reread=STEP_WARD,
            ),
            Misconception(
                name="only the noise is divided by √α_t, and x_t is not",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t: the brackets come first",
                wrong=_eleven(
                    share=lambda s, t: s.beta[t] / ((1 - s.alpha_bar[t]) * s.alpha[t]).sqrt(),
                    scale=lambda s, t: 1,
                ),
                reread=STEP_WARD,
            ),
            Misconception(
                name="divided by α_t, without its root",
                breaks="μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε_θ) / √α_t",
                wrong=_eleven(scale=lambda s, t: s.alpha[t]),
                reread=STEP_WARD,
            ),
            Misconception(
                name="√β_t in place of β_t",
                breaks="β_t / √(1 − ᾱ_t)",
                wrong=_eleven(share=lambda s, t: (s.beta[t] / (1 - s.alpha_bar[t])).sqrt()),
                reread=STEP_WARD,
            ),
            Misconception(
                name="1 − √ᾱ_t: the root inside",
                breaks="β_t / √(1 − ᾱ_t)",
                wrong=_eleven(share=lambda s, t: s.beta[t] / (1 - s.alpha_bar[t].sqrt())),
                reread=STEP_WARD,
            ),
        ),
        hints=(
            "ε is the noise of all t steps together. Which of α_t and ᾱ_t knows about all of them?",
            "beta / (1 - schedule.alpha_bar[t]).sqrt(); the root outside the brackets stays as it is.",
        ),
    ),
    Exercise(
        id="09.8",
        title="patient 4 mended: mu_tilde",
        reference=mu_tilde,
        cases=_triples,
        misconceptions=(
            unmended(
                4,
                "μ̃ = (√ᾱ_{t−1} β_t x_0 + √α_t (1 − ᾱ_{t−1}) x_t) / (1 − ᾱ_t)",
                STEP_WARD,
                "the patient as it came in: √ᾱ_t where √α_t belongs",
            ),
            Misconception(
                name="√ᾱ_{t−1} in front of x_t now",
                breaks="√α_t (1 − ᾱ_{t−1}) x_t: the root of one step",
                wrong=_seven(of_xt=lambda s, t: s.alpha_bar[t - 1].sqrt() * (1 - s.alpha_bar[t - 1])),
                reread=STEP_WARD,
            ),
            Misconception(
                name="the bar has gone from the wrong root: √α_{t−1} in front of x_0",
                breaks="√ᾱ_{t−1} β_t x_0: that one has a bar",
                wrong=_seven(of_x0=lambda s, t: s.alpha[t - 1].sqrt() * s.beta[t]),
                reread=STEP_WARD,
            ),
            Misconception(
                name="α_t without its root",
                breaks="√α_t (1 − ᾱ_{t−1}) x_t",
                wrong=_seven(of_xt=lambda s, t: s.alpha[t] * (1 - s.alpha_bar[t - 1])),
                reread=STEP_WARD,
            ),
            Misconception(
                name="1 − ᾱ_t in front of x_t, where 1 − ᾱ_{t−1} belongs",
                breaks="√α_t (1 − ᾱ_{t−1}) x_t",
                wrong=_seven(of_xt=lambda s, t: s.alpha[t].sqrt() * (1 - s.alpha_bar[t])),
                reread=STEP_WARD,
            ),
            Misconception(
                name="√ᾱ_t in front of x_0, where √ᾱ_{t−1} belongs",
                breaks="√ᾱ_{t−1} β_t x_0",
                wrong=_seven(of_x0=lambda s, t: s.alpha_bar[t].sqrt() * s.beta[t]),
                reread=STEP_WARD,
            ),
            Misconception(
                name="divided by 1 − ᾱ_{t−1}",
                breaks="both are divided by 1 − ᾱ_t; 1 − ᾱ_0 = 0",
                wrong=_seven(below=lambda s, t: 1 - s.alpha_bar[t - 1]),
                reread=STEP_WARD,
            ),
            Misconception(
                name="x_0 and x_t are swapped",
                breaks="μ̃ = (√ᾱ_{t−1} β_t x_0 + √α_t (1 − ᾱ_{t−1}) x_t) / (1 − ᾱ_t)",
                wrong=lambda x0, xt, t, schedule: mu_tilde(xt, x0, t, schedule),
                reread=STEP_WARD,
            ),
            Misconception(
                name="√α_{t−1} in front of x_t: one step too early",
                breaks="√α_t (1 − ᾱ_{t−1}) x_t: the step in question is step t",
                wrong=_seven(of_xt=lambda s, t: s.alpha[t - 1].sqrt() * (1 - s.alpha_bar[t - 1])),
                reread=STEP_WARD,
            ),
            Misconception(
                name="divided by √(1 − ᾱ_t)",
                breaks="both are divided by 1 − ᾱ_t, without a root",
                wrong=_seven(below=lambda s, t: (1 - s.alpha_bar[t]).sqrt()),
                reread=STEP_WARD,
            ),
        ),
        hints=(
            "x_t has come one step further than x_{t−1}: which α is that of one step?",
            "of_xt = schedule.alpha[t].sqrt() * (1 - before) / (1 - now)",
        ),
    ),
    diagnosis("09.9", NET_WARD),
    Exercise(
        id="09.10",
        title="patient 5 mended: hide",
        reference=hide,
        cases=_label_lists,
        misconceptions=(
            unmended(
                5,
                "torch.where(condition, a, b) takes a where the condition is True",
                NET_WARD,
                "the patient as it came in: the mask is the wrong way round",
            ),
            Misconception(
                name="hidden labels become 0: that is a class of its own",
                breaks="“no label” is the number null, not 0",
                wrong=lambda y, drop, null: y * ~drop,
                reread=NET_WARD,
            ),
            Misconception(
                name="hidden labels become −1",
                breaks="“no label” is the number null: an embedding has no row −1",
                wrong=lambda y, drop, null: torch.where(drop, -1, y),
                reread=NET_WARD,
            ),
            Misconception(
                name="all labels are hidden",
                breaks="where drop is False the label stays",
                wrong=lambda y, drop, null: torch.full_like(y, null),
                reread=NET_WARD,
            ),
            Misconception(
                name="no label is hidden",
                breaks="where drop is True the label becomes null",
                wrong=lambda y, drop, null: y.clone(),
                reread=NET_WARD,
            ),
            Misconception(
                name="null is always 10: other data sets have another number of classes",
                breaks="“no label” is the number null that came in",
                wrong=lambda y, drop, null: torch.where(drop, 10, y),
                reread=NET_WARD,
            ),
            Misconception(
                name="the labels that are to be hidden are left out, and the batch gets shorter",
                breaks="every image needs a label, or null: (B,) in, (B,) out",
                wrong=lambda y, drop, null: y[~drop],
                reread=NET_WARD,
            ),
        ),
        hints=(
            "Try it with drop all False: which labels should come back?",
            "torch.where(drop, …, …): first what to take where drop is True.",
        ),
    ),
    Exercise(
        id="09.11",
        title="patient 6 mended: ask",
        reference=ask,
        cases=_visits,
        misconceptions=(
            unmended(
                6,
                "at step i the chain stands at level tau[i]: short.alpha_bar[i] is schedule.alpha_bar[tau[i]]",
                NET_WARD,
                "the patient as it came in: the level below",
            ),
            Misconception(
                name="i itself, without tau: the network thinks that the image is nearly clean",
                breaks="the network was trained with t = 1 … T; step i stands at t = tau[i]",
                wrong=lambda network, xt, i, tau: network(xt, i),
                reread=NET_WARD,
            ),
            Misconception(
                name="tau[i] − 1",
                breaks="at step i the chain stands at level tau[i]",
                wrong=lambda network, xt, i, tau: network(xt, tau[i] - 1),
                reread=NET_WARD,
            ),
            Misconception(
                name="counted from the other end",
                breaks="tau rises from 0 to T; step i stands at tau[i]",
                wrong=lambda network, xt, i, tau: network(xt, tau[len(tau) - 1 - i]),
                reread=NET_WARD,
            ),
            Misconception(
                name="the level of the first image for the whole batch",
                breaks="tau[i] with all of i, not with i[0]",
                wrong=lambda network, xt, i, tau: network(xt, tau[i[:1]].expand(len(i))),
                reread=NET_WARD,
            ),
            Misconception(
                name="the level is returned, and the network is not asked",
                breaks="return network(xt, tau[i])",
                wrong=lambda network, xt, i, tau: tau[i],
                reread=NET_WARD,
            ),
        ),
        hints=(
            "In the first step i = T of the short chain. Which level should the network be told?",
            "tau has steps + 1 entries, and tau[0] = 0 is the clean image.",
        ),
    ),
    Exercise(
        id="09.12",
        title="patient 7 mended: ready",
        reference=ready,
        cases=_inputs,
        run=_two_calls,
        misconceptions=(
            unmended(
                7,
                "gradients and dropout are two things: eval() switches dropout off, requires_grad_(False) only gradients",
                NET_WARD,
                "as it came in: gradients may be off, but dropout is on",
            ),
            Misconception(
                name="only the outermost module is switched: those inside keep their dropout",
                breaks="eval() goes through all modules",
                wrong=_top_only,
                reread=NET_WARD,
            ),
            Misconception(
                name="all dropout set to 0: it works here, but the network is still in train mode, and changed for good",
                breaks="eval() switches off all that is for training only, and train() brings it back",
                wrong=_no_dropout,
                reread=NET_WARD,
            ),
            Misconception(
                name="the network is not returned",
                breaks="end with return; eval() itself returns the network",
                wrong=_none,
                reread=NET_WARD,
            ),
        ),
        hints=(
            "Ask the patient the same thing twice, and compare.",
            "Which method of a network switches everything off that is for training only?",
        ),
    ),
    Exercise(
        id="09.13",
        title="patient 8 mended: embedding",
        reference=unet.timestep_embedding,
        cases=_times,
        misconceptions=(
            unmended(
                8,
                "frequency_k = 10000^(−k/(half − 1)), and angle = t · frequency: k and t have changed places",
                NET_WARD,
                "the patient as it came in: the frequency depends on t, not on the place in the row",
            ),
            Misconception(
                name="the angle is k · frequency: t does not come in at all",
                breaks="angle[b, k] = t_b · frequency_k",
                wrong=_waves(angle=lambda t, f: (torch.arange(len(f)) * f).expand(len(t), -1)),
                reread=NET_WARD,
            ),
            Misconception(
                name="k / half in place of k / (half − 1)",
                breaks="k runs from 0 to half − 1, so k / (half − 1) runs from 0 to 1",
                wrong=_waves(lambda half: torch.exp(-math.log(10000) * torch.arange(half) / half)),
                reread=NET_WARD,
            ),
            Misconception(
                name="the frequencies rise: the sign of the exponent",
                breaks="frequency_k = 10000^(−k/(half − 1))",
                wrong=_waves(lambda half: torch.exp(math.log(10000) * torch.arange(half) / (half - 1))),
                reread=NET_WARD,
            ),
            Misconception(
                name="sines and cosines take turns",
                breaks="all sines first, then all cosines: in the order in which the network learned them",
                wrong=_waves(join=lambda a: torch.stack([a.sin(), a.cos()], dim=2).flatten(1)),
                reread=NET_WARD,
            ),
            Misconception(
                name="the cosines come first",
                breaks="all sines first, then all cosines: in the order in which the network learned them",
                wrong=_waves(join=lambda a: torch.cat([a.cos(), a.sin()], dim=1)),
                reread=NET_WARD,
            ),
            Misconception(
                name="k counted from 1",
                breaks="k runs from 0 to half − 1: the first frequency is 1",
                wrong=_waves(
                    lambda half: torch.exp(-math.log(10000) * torch.arange(1, half + 1) / (half - 1))
                ),
                reread=NET_WARD,
            ),
            Misconception(
                name="k from 1 to half, divided by half",
                breaks="k runs from 0 to half − 1, and is divided by half − 1",
                wrong=_waves(lambda half: torch.exp(-math.log(10000) * torch.arange(1, half + 1) / half)),
                reread=NET_WARD,
            ),
            Misconception(
                name="1000 in place of 10000",
                breaks="frequency_k = 10000^(−k/(half − 1))",
                wrong=_waves(lambda half: torch.exp(-math.log(1000) * torch.arange(half) / (half - 1))),
                reread=NET_WARD,
            ),
            Misconception(
                name="t is divided by 1000 first",
                breaks="angle[b, k] = t_b · frequency_k, with t as it comes",
                wrong=_waves(angle=lambda t, f: t.float()[:, None] / 1000 * f),
                reread=NET_WARD,
            ),
        ),
        hints=(
            "Each column has a frequency of its own, the same for all t. In the patient it is the other way round.",
            "frequency = torch.exp(-math.log(10000) * k / (half - 1)), of shape (half,).",
            "angle = t.float()[:, None] * frequency, of shape (B, half).",
        ),
    ),
    diagnosis("09.14", TRAIN_WARD),
    Exercise(
        id="09.15",
        title="patient 9 mended: alpha_bar",
        reference=alpha_bar,
        cases=_beta_lists,
        misconceptions=(
            unmended(
                9,
                "ᾱ_t = α_1 ⋯ α_t: up to t, not up to T",
                TRAIN_WARD,
                "the patient as it came in: the product over all T steps, for every t",
            ),
            Misconception(
                name="α_t itself, no product",
                breaks="ᾱ_t = α_1 ⋯ α_t",
                wrong=lambda beta: 1 - beta,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the product of the β",
                breaks="ᾱ_t is the product of the α = 1 − β",
                wrong=lambda beta: torch.cumprod(beta, dim=0),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="1 minus the sum of the β: close while they are small, negative later",
                breaks="ᾱ_t = (1 − β_1) ⋯ (1 − β_t)",
                wrong=lambda beta: 1 - torch.cumsum(beta, dim=0),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="from t to T: the product runs backwards",
                breaks="ᾱ_t = α_1 ⋯ α_t",
                wrong=lambda beta: torch.cumprod((1 - beta).flip(0), dim=0).flip(0),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="one too late: ᾱ_{t−1}",
                breaks="ᾱ_t includes α_t; beta_0 = 0 is there already",
                wrong=lambda beta: torch.cat(
                    [torch.ones_like(beta[:1]), torch.cumprod(1 - beta, dim=0)[:-1]]
                ),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="exp of minus the sum of the β: the limit of many small steps",
                breaks="ᾱ_t = (1 − β_1) ⋯ (1 − β_t), which is a little less",
                wrong=lambda beta: torch.exp(-torch.cumsum(beta, dim=0)),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="one number, the product over all T steps",
                breaks="ᾱ_t = α_1 ⋯ α_t: T + 1 numbers, one for each t",
                wrong=lambda beta: torch.prod(1 - beta),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the entry of t = 0 is left out",
                breaks="index 0 is the clean image, and ᾱ_0 = 1",
                wrong=lambda beta: torch.cumprod(1 - beta[1:], dim=0),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="1 − ᾱ_t: the variance of the noise, not the share of the image",
                breaks="ᾱ_0 = 1, and it falls",
                wrong=lambda beta: 1 - torch.cumprod(1 - beta, dim=0),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="√ᾱ_t: the factor of x_0",
                breaks="ᾱ_t = α_1 ⋯ α_t, without a root",
                wrong=lambda beta: torch.cumprod(1 - beta, dim=0).sqrt(),
                reread=TRAIN_WARD,
            ),
        ),
        hints=("torch.prod gives one number. There are T + 1 to be had.", "torch.cumprod(…, dim=0)"),
    ),
    Exercise(
        id="09.16",
        title="patient 10 mended: scale",
        reference=data.from_uint8,
        cases=_bytes,
        misconceptions=(
            unmended(
                10,
                "bytes 0 … 255 become −1 … 1: the noise has mean 0, and the sampler clips to [−1, 1]",
                TRAIN_WARD,
                "the patient as it came in: images in [0, 1]",
            ),
            Misconception(
                name="divided by 128: white is 0.992, not 1",
                breaks="0 → −1 and 255 → 1: x / 127.5 − 1",
                wrong=lambda x: x.float() / 128 - 1,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="mean and deviation of the batch are taken out: each batch has another scale",
                breaks="0 → −1 and 255 → 1: x / 127.5 − 1",
                wrong=lambda x: (x.float() - x.float().mean()) / x.float().std(),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="in [−½, ½]: half the range",
                breaks="0 → −1 and 255 → 1: x / 127.5 − 1",
                wrong=lambda x: x.float() / 255 - 0.5,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the subtraction comes before the division",
                breaks="x / 127.5 − 1, not (x − 1) / 127.5",
                wrong=lambda x: (x.float() - 1) / 127.5,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="black and white are swapped",
                breaks="0, black, becomes −1; 255, white, becomes 1",
                wrong=lambda x: 1 - x.float() / 127.5,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="doubled without subtracting: in [0, 2]",
                breaks="0 → −1 and 255 → 1: x / 127.5 − 1",
                wrong=lambda x: x.float() / 127.5,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="doubled while they are still bytes: all above 127 overflow",
                breaks="float first: images.float() / 127.5 − 1",
                wrong=lambda x: (2 * x).float() / 255 - 1,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="128 is subtracted while they are still bytes: there is nothing below 0, and black becomes white",
                breaks="float first: images.float() / 127.5 − 1",
                wrong=lambda x: (x - 128).float() / 128,
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="divided by 127: white is 1.008, not 1",
                breaks="0 → −1 and 255 → 1: x / 127.5 − 1",
                wrong=lambda x: x.float() / 127 - 1,
                reread=TRAIN_WARD,
            ),
        ),
        hints=("0 has to become −1, and 255 has to become 1.", "images.float() / 127.5 - 1"),
    ),
    Exercise(
        id="09.17",
        title="patient 11 mended: coefficients",
        reference=coefficients,
        cases=_scheds,
        misconceptions=(
            unmended(
                11,
                "x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε   (eq. 4)",
                TRAIN_WARD,
                "the patient as it came in: the variance 1 − ᾱ_t in place of its root",
            ),
            Misconception(
                name="both variances: the factor of x_0 has lost its root as well",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε: both are roots",
                wrong=lambda ab: (ab, 1 - ab),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="1 − √ᾱ_t: the factors add up to 1, where their squares should",
                breaks="signal² + noise² = 1",
                wrong=lambda ab: (ab.sqrt(), 1 - ab.sqrt()),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="√β_t, the noise of one step, in place of all the noise up to t",
                breaks="√(1 − ᾱ_t)",
                wrong=lambda ab: (ab.sqrt(), (1 - _one_step(ab)).sqrt()),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="√α_t and √(1 − α_t), without bars: one step, and no jump",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε",
                wrong=lambda ab: (_one_step(ab).sqrt(), (1 - _one_step(ab)).sqrt()),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the two have changed places",
                breaks="the factor of x_0 first, the factor of ε second",
                wrong=lambda ab: coefficients(ab)[::-1],
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="ᾱ_t itself in front of x_0",
                breaks="x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε: both are roots",
                wrong=lambda ab: (ab, (1 - ab).sqrt()),
                reread=TRAIN_WARD,
            ),
        ),
        hints=(
            "The second argument of N(…, …) is a variance. What multiplies ε?",
            "(1 - schedule.alpha_bar).sqrt()",
        ),
    ),
    Exercise(
        id="09.18",
        title="patient 12 mended: betas",
        reference=betas,
        cases=_lengths,
        misconceptions=(
            unmended(
                12,
                "fewer steps have to add as much noise: β times 1000 / T   (chapter 02)",
                TRAIN_WARD,
                "the patient as it came in: the paper's β, however short the chain is",
            ),
            Misconception(
                name="multiplied by T / 1000: shorter chains get even less noise",
                breaks="β times 1000 / T",
                wrong=lambda T: T / 1000 * torch.linspace(1e-4, 0.02, T, dtype=F64),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="times √(1000 / T): β is a variance, and variances add up",
                breaks="β times 1000 / T",
                wrong=lambda T: math.sqrt(1000 / T) * torch.linspace(1e-4, 0.02, T, dtype=F64),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="only the upper end is raised, and β_1 stays",
                breaks="all β times 1000 / T, the first as well",
                wrong=lambda T: torch.linspace(1e-4, 0.02 * 1000 / T, T, dtype=F64),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the first T of the paper's thousand: the small ones",
                breaks="the line from 1000/T · 0.0001 to 1000/T · 0.02, in T steps",
                wrong=lambda T: torch.linspace(1e-4, 0.02, 1000, dtype=F64)[:T],
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="a factor of 20, which is right for T = 50 only",
                breaks="β times 1000 / T",
                wrong=lambda T: 20 * torch.linspace(1e-4, 0.02, T, dtype=F64),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="a cosine schedule: a cure as well, but the check wants the paper's line, rescaled",
                breaks="β times 1000 / T",
                wrong=lambda T: schedules.cosine(T=T).beta[1:],
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="T + 1 numbers, with a 0 in front",
                breaks="β_1 … β_T: schedules.from_beta puts the 0 there",
                wrong=lambda T: torch.cat([torch.zeros(1, dtype=F64), betas(T)]),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="1000 // T: divided without remainder",
                breaks="β times 1000 / T, which need not be a whole number",
                wrong=lambda T: 1000 // T * torch.linspace(1e-4, 0.02, T, dtype=F64),
                reread=TRAIN_WARD,
            ),
            Misconception(
                name="the levels of the long chain: a cure as well, but the check wants the paper's line, rescaled",
                breaks="β times 1000 / T: each β of a respaced chain (schedules.respace) is that of many steps together",
                wrong=lambda T: schedules.respace(PAPER, T)[0].beta[1:],
                reread=TRAIN_WARD,
            ),
        ),
        hints=(
            "Twenty times fewer steps: how much more noise must each of them add?",
            "1000 / T times the line of the paper (chapter 02, “The repair”).",
        ),
    ),
)
