"""Exercises of chapter 02: schedules, the signal-to-noise ratio, and what is left of the image at t = T."""

import math

import torch
from torch import Tensor

from ddpm_lite import losses, schedules
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand
from ddpm_lite.schedules import Schedule

PAPER = schedules.linear(T=1000)
FIFTY = schedules.linear(T=50)
HALVES = schedules.from_beta([0.5, 0.5], "two halvings")  # ᾱ_1 = 1/2, so that SNR(1) is exactly 1
ROUGH = schedules.from_beta([0.1, 0.4, 0.2, 0.5, 0.3], "five rough steps")

COSINE = "The other way round: choose ᾱ, and get β from it"
LOG_SNR = "Signal against noise, on one scale"
LEVEL = "Where the noise takes over"
METER = "A meter for what is left: L_T"
RESCALE = "The repair: β for another T"


# ---------------------------------------------------------------------------------------------------
# 02.1 cosine_alpha_bar


def _cosine(
    offset=lambda s: s,
    squeeze=lambda s: 1 + s,
    angle=math.pi / 2,
    power=2,
    normal=True,
    span=lambda T: T,
    least=-math.inf,
):
    """The right cosine curve, or with one part of it changed, a wrong one."""

    def alpha_bar(T: int, s: float = 0.008) -> Tensor:
        u = torch.arange(T + 1, dtype=torch.float64) / span(T)
        f = torch.cos((u + offset(s)) / squeeze(s) * angle) ** power
        return (f / f[0] if normal else f).clamp(min=least)

    return alpha_bar


def cosine_alpha_bar(T: int, s: float = 0.008) -> Tensor:
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2); float64 (T+1,), index 0 clean."""
    return _cosine()(T, s)


def _lengths():
    yield Case("T = 1000, s = 0.008", 1000, 0.008)
    yield Case("T = 50, s = 0.1", 50, 0.1)
    yield Case("T = 7, s = 0.02", 7, 0.02)


# ---------------------------------------------------------------------------------------------------
# 02.2 log_snr


def log_snr(t: Tensor, schedule: Schedule) -> Tensor:
    """log SNR(t) = log(alpha_bar_t / (1 - alpha_bar_t)), natural logarithm, float64 (B,), for t in 1..T."""
    return schedule.snr[t].log()


def _steps():
    yield Case(
        "first, middle and last t of the paper's schedule", torch.tensor([1, 2, 259, 500, 1000]), PAPER
    )
    yield Case("five rough steps", torch.tensor([5, 3, 1, 2]), ROUGH)
    yield Case("the first half of 40 cosine steps", torch.arange(1, 21), schedules.cosine(T=40))


def _of_alpha_bar(function):
    return lambda t, schedule: function(schedule.alpha_bar)[t]


# ---------------------------------------------------------------------------------------------------
# 02.3 first_below


def first_below(schedule: Schedule, level: float) -> int:
    """The first t with SNR(t) < level; T + 1 if there is none."""
    return int((schedule.snr >= level).sum())


def _levels():
    yield Case("the paper's schedule, level 1", PAPER, 1.0)
    yield Case("the paper's schedule, level 0.01", PAPER, 0.01)
    yield Case("cosine, T = 40, level 4", schedules.cosine(T=40), 4.0)
    yield Case("five rough steps, level 0.5", ROUGH, 0.5)
    yield Case("the paper's β in 50 steps, level 1: never", FIFTY, 1.0)
    yield Case("two halvings: SNR(1) is the level itself, and not below it", HALVES, 1.0)


_A_TENSOR = type("tensor", (), {})()  # a card says of it: "yours is a tensor"


def _plain_number(answer, schedule: Schedule, level: float):
    """What the answer gives; a tensor with no axes counts as a tensor, not as the number in it."""
    found = answer(schedule, level)
    return _A_TENSOR if isinstance(found, Tensor) and found.ndim == 0 else found


def _count_while(values):
    """A wrong answer that compares other values than the SNR with the level."""
    return lambda schedule, level: int((values(schedule) >= level).sum())


# ---------------------------------------------------------------------------------------------------
# 02.4 prior_bpd


def prior_bpd(x0: Tensor, schedule: Schedule) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)), bits a dimension, (B,), in the dtype of x0."""
    return losses.prior_nats(x0, schedule) / (x0[0].numel() * math.log(2))


def _images():
    yield Case("4 images of (1, 8, 6), float32, 50 steps", rand(4, 1, 8, 6), FIFTY)
    wide = rand(2, 3, 7, 5, seed=1, dtype=torch.float64)
    yield Case("2 images of (3, 7, 5), float64, the paper's schedule", wide, PAPER)
    points = rand(2, 3, seed=2, dtype=torch.float64).T  # (3, 2), and not contiguous in memory
    yield Case("3 points of 2 numbers, not contiguous, five rough steps", points, ROUGH)


def _bits(nats):
    """A wrong meter: the mean over the dimensions of nats(x0, alpha_bar_T), in bits."""

    def wrong(x0: Tensor, schedule: Schedule) -> Tensor:
        return nats(x0, schedule.alpha_bar[-1]).flatten(1).mean(dim=1) / math.log(2)

    return wrong


def _other_way_round(x0: Tensor, ab: Tensor) -> Tensor:
    """KL(N(0, 1) || q), in nats, pixel by pixel."""
    return 0.5 * (torch.log(1 - ab) + (1 + ab * x0.square()) / (1 - ab) - 1)


# ---------------------------------------------------------------------------------------------------
# 02.5 rescaled_beta


def _ends(first, last):
    """beta from first to last in a straight line, both functions of T; index 0 is the clean image."""

    def beta(T: int) -> Tensor:
        line = torch.linspace(first(T), last(T), T, dtype=torch.float64)
        return torch.cat([line.new_zeros(1), line])

    return beta


def rescaled_beta(T: int) -> Tensor:
    """The paper's linear beta for T steps, both ends times 1000 / T; float64 (T+1,), index 0 clean."""
    return _ends(lambda T: 1e-4 * 1000 / T, lambda T: 0.02 * 1000 / T)(T)


def _every_so_many(T: int) -> Tensor:
    picked = torch.linspace(0, 1000, T + 1, dtype=torch.float64).round().long()
    return schedules.linear(T=1000).beta[picked]


def _line_from(first):
    """A wrong answer: T + 1 values from first(T), at index 0, to the last beta."""
    return lambda T: torch.linspace(first(T), 0.02 * 1000 / T, T + 1, dtype=torch.float64)


def _one_point_too_many(T: int) -> Tensor:
    beta = torch.linspace(1e-4 * 1000 / T, 0.02 * 1000 / T, T + 1, dtype=torch.float64)
    return torch.cat([beta.new_zeros(1), beta[1:]])


def _chains():
    yield Case("T = 50", 50)
    yield Case("T = 10, so short that the rule takes β beyond 1", 10)
    yield Case("T = 2000, longer than the paper's", 2000)


EXERCISES = (
    Exercise(
        id="02.1",
        title="cosine_alpha_bar: the cosine schedule's ᾱ",
        reference=cosine_alpha_bar,
        cases=_lengths,
        misconceptions=(
            Misconception(
                name="the cosine is not squared",
                breaks="f(t) = cos²((t/T + s)/(1 + s) · π/2)",
                wrong=_cosine(power=1),
                reread=COSINE,
            ),
            Misconception(
                name="f(t) is not divided by f(0)",
                breaks="ᾱ_t = f(t)/f(0), so that ᾱ_0 = 1: at t = 0 the image is clean",
                wrong=_cosine(normal=False),
                reread=COSINE,
            ),
            Misconception(
                name="the offset s is added but not divided out again by 1 + s",
                breaks="(t/T + s)/(1 + s) is 1 at t = T; without the division the angle goes beyond π/2, and ᾱ comes up again",
                wrong=_cosine(squeeze=lambda s: 1.0),
                reread=COSINE,
            ),
            Misconception(
                name="the offset s is left out",
                breaks="f(t) = cos²((t/T + s)/(1 + s) · π/2): s keeps the first β from vanishing",
                wrong=_cosine(offset=lambda s: 0.0, squeeze=lambda s: 1.0),
                reread=COSINE,
            ),
            Misconception(
                name="the angle runs to π, not to π/2",
                breaks="f(T) = cos²(π/2) = 0; cos²(π) = 1, a clean image again",
                wrong=_cosine(angle=math.pi),
                reread=COSINE,
            ),
            *(
                Misconception(
                    name="ᾱ is kept from falling to 0",
                    breaks="f(T) = cos²(π/2) = 0: the curve is asked for as it is, and the cap of 0.999 belongs to β",
                    wrong=_cosine(least=least),
                    reread=COSINE,
                )
                for least in (0.01, 0.001, 1e-4)
            ),
            Misconception(
                name="t divided by T + 1, the length of the array, not by T",
                breaks="t runs over 0, 1, …, T, so t/T ends at 1",
                wrong=_cosine(span=lambda T: T + 1),
                reread=COSINE,
            ),
        ),
        hints=(
            "Make t/T for t = 0, 1, …, T first: torch.arange(T + 1, dtype=torch.float64) / T.",
            "Then f, the squared cosine, with math.pi / 2. ᾱ is f divided by its own first entry.",
            "f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, and f / f[0]",
        ),
    ),
    Exercise(
        id="02.2",
        title="log_snr: signal against noise on a logarithmic scale",
        reference=log_snr,
        cases=_steps,
        misconceptions=(
            Misconception(
                name="the logarithm of ᾱ_t alone, not of its ratio to 1 − ᾱ_t",
                breaks="log SNR(t) = log ᾱ_t − log(1 − ᾱ_t)",
                wrong=_of_alpha_bar(torch.log),
                reread=LOG_SNR,
            ),
            Misconception(
                name="a ratio of standard deviations, so half of the right value",
                breaks="log(√ᾱ_t / √(1 − ᾱ_t)) = ½ log SNR(t): the SNR is a ratio of variances",
                wrong=_of_alpha_bar(lambda ab: 0.5 * (ab / (1 - ab)).log()),
                reread=LOG_SNR,
            ),
            Misconception(
                name="upside down: noise over signal",
                breaks="log SNR(t) = log ᾱ_t − log(1 − ᾱ_t): positive while there is more signal than noise",
                wrong=_of_alpha_bar(lambda ab: ((1 - ab) / ab).log()),
                reread=LOG_SNR,
            ),
            Misconception(
                name="the logarithm to base 10",
                breaks="log is the natural logarithm here, so that ᾱ_t = 1/(1 + exp(−log SNR))",
                wrong=_of_alpha_bar(lambda ab: (ab / (1 - ab)).log10()),
                reread=LOG_SNR,
            ),
            Misconception(
                name="α_t, of one step, in place of ᾱ_t",
                breaks="SNR(t) = ᾱ_t/(1 − ᾱ_t), with the product of all steps up to t",
                wrong=lambda t, schedule: (schedule.alpha / schedule.beta)[t].log(),
                reread=LOG_SNR,
            ),
            Misconception(
                name="the ratio itself, without the logarithm",
                breaks="log SNR(t) = log(ᾱ_t/(1 − ᾱ_t))",
                wrong=_of_alpha_bar(lambda ab: ab / (1 - ab)),
                reread=LOG_SNR,
            ),
        ),
        hints=(
            "Look ᾱ_t up with schedule.alpha_bar[t]; it is float64 (B,).",
            "Signal ᾱ_t, noise 1 − ᾱ_t: divide, then take torch.log. Or subtract two logarithms.",
            "torch.log(kept / (1 - kept)), where kept = schedule.alpha_bar[t]",
        ),
    ),
    Exercise(
        id="02.3",
        title="first_below: where the noise takes over",
        reference=first_below,
        cases=_levels,
        run=_plain_number,
        misconceptions=(
            Misconception(
                name="a tensor with one number in it, where a plain number is wanted",
                breaks="a step is counted by an int: int(...) or .item() takes the number out of a tensor",
                wrong=lambda schedule, level: (schedule.snr >= level).sum(),
                reread=LEVEL,
            ),
            Misconception(
                name="off by one: the last t at or above the level, not the first below it",
                breaks="SNR(t) < level for the answer t, and SNR(t − 1) ≥ level",
                wrong=lambda schedule, level: int((schedule.snr >= level).sum()) - 1,
                reread=LEVEL,
            ),
            Misconception(
                name="nothing is said for a schedule that never falls below the level",
                breaks="the answer is T + 1 if SNR(T) ≥ level: the noise does not take over within the chain",
                wrong=lambda schedule, level: int((schedule.snr < level).nonzero()[0]),
                reread=LEVEL,
            ),
            Misconception(
                name="the answer 0 for a schedule that never falls below the level",
                breaks="argmax of nothing but False is 0; the answer is T + 1 if SNR(T) ≥ level",
                wrong=lambda schedule, level: int((schedule.snr < level).int().argmax()),
                reread=LEVEL,
            ),
            Misconception(
                name="the answer 1 for a schedule that never falls below the level",
                breaks="argmax of nothing but False is 0, and 1 was added; the answer is T + 1 if SNR(T) ≥ level",
                wrong=lambda schedule, level: int((schedule.snr[1:] < level).int().argmax()) + 1,
                reread=LEVEL,
            ),
            Misconception(
                name="ᾱ_t compared with the level, in place of SNR(t)",
                breaks="SNR(t) = ᾱ_t/(1 − ᾱ_t): at SNR 1 there is as much noise as signal, and ᾱ_t = ½",
                wrong=_count_while(lambda s: s.alpha_bar),
                reread=LEVEL,
            ),
            Misconception(
                name="a ratio of standard deviations compared with the level",
                breaks="SNR(t) = ᾱ_t/(1 − ᾱ_t) is a ratio of variances",
                wrong=_count_while(lambda s: s.snr.sqrt()),
                reread=LEVEL,
            ),
            Misconception(
                name="log SNR compared with the level",
                breaks="SNR(t) < level; the logarithm of both sides would do as well, of one side it would not",
                wrong=_count_while(lambda s: s.snr.log()),
                reread=LEVEL,
            ),
            Misconception(
                name="noise over signal: SNR upside down",
                breaks="SNR(t) = ᾱ_t/(1 − ᾱ_t) falls with t; its inverse grows",
                wrong=lambda schedule, level: int((1 / schedule.snr < level).sum()),
                reread=LEVEL,
            ),
        ),
        hints=(
            "SNR only falls as t grows. So the t below the level are the last ones, and those at or above it the first.",
            "schedule.snr has T + 1 entries, and entry 0 is infinite. How many of them are at or above the level?",
            "int((schedule.snr >= level).sum())",
        ),
    ),
    Exercise(
        id="02.4",
        title="prior_bpd: the L_T meter",
        reference=prior_bpd,
        cases=_images,
        misconceptions=(
            Misconception(
                name="nats, not bits",
                breaks="1 nat = 1/ln 2 bits: divide by math.log(2)",
                wrong=lambda x0, schedule: prior_bpd(x0, schedule) * math.log(2),
                reread=METER,
            ),
            Misconception(
                name="multiplied by ln 2, not divided by it",
                breaks="1 nat = 1/ln 2 = 1.4427 bits: a bit is the smaller unit, so there are more of them",
                wrong=lambda x0, schedule: prior_bpd(x0, schedule) * math.log(2) ** 2,
                reread=METER,
            ),
            Misconception(
                name="only the logarithm is in bits: log₂ there, and nats in the other terms",
                breaks="D_KL in bits is the whole of line 3 divided by ln 2, not only its logarithm",
                wrong=_bits(lambda x0, ab: 0.5 * (math.log(2) * ab * (x0.square() - 1) - torch.log(1 - ab))),
                reread=METER,
            ),
            Misconception(
                name="bits for the whole image, not for each dimension",
                breaks="bits/dim is the sum over the dimensions divided by their number D",
                wrong=lambda x0, schedule: prior_bpd(x0, schedule) * x0[0].numel(),
                reread=METER,
            ),
            Misconception(
                name="one number for the batch, not one for each image",
                breaks="L_T depends on x_0: the result has shape (B,)",
                wrong=lambda x0, schedule: prior_bpd(x0, schedule).mean(),
                reread=METER,
            ),
            Misconception(
                name="the factor ½ is missing",
                breaks="KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²)",
                wrong=lambda x0, schedule: 2 * prior_bpd(x0, schedule),
                reread=METER,
            ),
            Misconception(
                name="the mean of x_T taken for x_0, without the factor √ᾱ_T",
                breaks="q(x_T | x_0) has the mean √ᾱ_T x_0   (eq. 4), so μ² = ᾱ_T x_0²",
                wrong=_bits(lambda x0, ab: 0.5 * (x0.square() - ab - torch.log(1 - ab))),
                reread=METER,
            ),
            Misconception(
                name="the mean of x_T taken for ᾱ_T x_0, without the root",
                breaks="q(x_T | x_0) has the mean √ᾱ_T x_0   (eq. 4), so μ² = ᾱ_T x_0²",
                wrong=_bits(lambda x0, ab: 0.5 * ((ab * x0).square() - ab - torch.log(1 - ab))),
                reread=METER,
            ),
            Misconception(
                name="only the mean counts: the terms of the variance are missing",
                breaks="KL = ½ (μ² + σ² − 1 − log σ²), and σ² = 1 − ᾱ_T is not quite 1",
                wrong=_bits(lambda x0, ab: 0.5 * ab * x0.square()),
                reread=METER,
            ),
            Misconception(
                name="the variance 1 − ᾱ_T used as a standard deviation",
                breaks="q(x_T | x_0) = N(√ᾱ_T x_0, (1 − ᾱ_T) I) names a variance: σ² = 1 − ᾱ_T",
                wrong=_bits(
                    lambda x0, ab: 0.5 * (ab * x0.square() + (1 - ab) ** 2 - 1 - 2 * torch.log(1 - ab))
                ),
                reread=METER,
            ),
            Misconception(
                name="the KL divergence the other way round",
                breaks="L_T = KL(q(x_T | x_0) ‖ p(x_T)): q comes first, and it is not symmetric",
                wrong=_bits(_other_way_round),
                reread=METER,
            ),
        ),
        hints=(
            "Write down μ and σ² of one pixel of x_T: equation (4) at t = T. The last entry of an array is [-1].",
            "½ (ᾱ_T x_0² − ᾱ_T − log(1 − ᾱ_T)) nats a pixel. Then average over each image, and go from nats to bits.",
            "nats.flatten(1).mean(dim=1) / math.log(2)",
        ),
    ),
    Exercise(
        id="02.5",
        title="rescaled_beta: the paper's schedule in another number of steps",
        reference=rescaled_beta,
        cases=_chains,
        misconceptions=(
            Misconception(
                name="the paper's ends as they are: T was changed and β was not",
                breaks="β_t grows as 1/T, so that T steps together do what the paper's 1000 do",
                wrong=_ends(lambda T: 1e-4, lambda T: 0.02),
                reread=RESCALE,
            ),
            Misconception(
                name="the factor is upside down: T/1000, so that fewer steps are smaller ones",
                breaks="T steps of size 1000/T go as far as 1000 steps of size 1",
                wrong=_ends(lambda T: 1e-4 * T / 1000, lambda T: 0.02 * T / 1000),
                reread=RESCALE,
            ),
            Misconception(
                name="only the last β is rescaled",
                breaks="every β_t is multiplied by 1000/T, the first one too",
                wrong=_ends(lambda T: 1e-4, lambda T: 0.02 * 1000 / T),
                reread=RESCALE,
            ),
            Misconception(
                name="every (1000/T)-th β of the paper, but not made larger",
                breaks="skipping steps leaves out their noise: one step must now do the work of 1000/T",
                wrong=_every_so_many,
                reread=RESCALE,
            ),
            Misconception(
                name="the factor is √(1000/T), as if β were a standard deviation",
                breaks="β_t is a variance, and the variances of the steps add up",
                wrong=_ends(lambda T: 1e-4 * math.sqrt(1000 / T), lambda T: 0.02 * math.sqrt(1000 / T)),
                reread=RESCALE,
            ),
            Misconception(
                name="β is capped at 0.999, as the cosine schedule's is: this hides where the rule ends",
                breaks="β_T = 0.02 · 1000/T is 1 at T = 20, and beyond it for less: the rule is asked for as it is",
                wrong=lambda T: rescaled_beta(T).clamp(max=0.999),
                reread=RESCALE,
            ),
            Misconception(
                name="T + 1 values of β from end to end, with the first one overwritten by 0",
                breaks="β_1, …, β_T are T values; β_0 = 0 stands before them",
                wrong=_one_point_too_many,
                reread=RESCALE,
            ),
            Misconception(
                name="T + 1 values of β from end to end, so that index 0 holds the first β",
                breaks="index 0 is the clean image: β_0 = 0, and β_1 = 0.0001 · 1000/T comes after it",
                wrong=_line_from(lambda T: 1e-4 * 1000 / T),
                reread=RESCALE,
            ),
            Misconception(
                name="a line from β_0 = 0, not from β_1",
                breaks="β_1 = 0.0001 · 1000/T is the first end of the line; β_0 = 0 stands before it, off the line",
                wrong=_line_from(lambda T: 0.0),
                reread=RESCALE,
            ),
        ),
        hints=(
            "Begin with the T values β_1, …, β_T: torch.linspace(first, last, T, dtype=torch.float64).",
            "The ends are 1e-4 and 0.02, each times 1000 / T. Put a 0 in front with torch.cat, for the clean image.",
            "torch.cat([torch.zeros(1, dtype=torch.float64), beta])",
        ),
    ),
)
