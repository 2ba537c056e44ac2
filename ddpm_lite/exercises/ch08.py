"""Exercises of chapter 08: bytes and back, the learning rate, clipping, the average, the loop, the loss by timestep."""

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ddpm_lite import data, process, schedules
from ddpm_lite.exercises.cases import SHORT
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.process import at
from ddpm_lite.train import TrainConfig, TrainStep
from ddpm_lite.train import learning_rate as package_rate

F64 = torch.float64

PICTURES = "From bytes to numbers, and back"
RATE = "A learning rate that rises and falls"
CLIP = "No step too long"
AVERAGE = "Sample with the average"
LOOP = "The loop"
BINS = "Where the loss is"


# ---------------------------------------------------------------------------------------------------
# 08.1 to_bytes


def _floats() -> Iterator[Case]:
    """Images that go a little beyond [-1, 1], as samples do, and hold -1, 0 and 1."""
    ends = torch.tensor([-1.0, 0.0, 1.0, -1.2, 1.3])
    yield Case("2 images of (1, 4, 3), beyond the ends, float32", 1.3 * rand(2, 1, 4, 3))
    yield Case("the ends, the middle and beyond", ends.reshape(1, 1, 1, 5))
    inside = 0.6 * rand(3, 3, 2, 2, seed=1, dtype=F64)
    yield Case("3 images of (3, 2, 2), no black and no white in them, float64", inside)
    yield Case("not contiguous", 1.1 * rand(1, 2, 6, 4, seed=2, dtype=F64).transpose(2, 3))


def _bytes(x: Tensor) -> Tensor:
    return x.to(torch.uint8)


def _stretched(x: Tensor) -> Tensor:
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    return _bytes((255 * (x - low) / (high - low)).round())


# ---------------------------------------------------------------------------------------------------
# 08.2 learning_rate


def learning_rate(number: int, steps: int, peak: float, warmup: int) -> float:
    """The learning rate of step `number`, 1..steps: rises over `warmup` steps, falls along half a cosine."""
    return package_rate(TrainConfig(steps=steps, lr=peak, warmup=warmup), number)


def _places() -> Iterator[Case]:
    yield Case("the first step", 1, 100, 1.0, 10)
    yield Case("half of the warm-up", 5, 100, 1.0, 10)
    yield Case("the end of the warm-up", 10, 100, 1.0, 10)
    yield Case("later", 60, 100, 0.5, 10)
    yield Case("three quarters, with a longer warm-up", 150, 200, 2.0, 50)
    yield Case("the last step", 100, 100, 1.0, 10)
    yield Case("no warm-up, first step", 1, 40, 0.3, 0)
    yield Case("a warm-up longer than the run", 7, 10, 1.0, 20)


def _rate(
    rise=lambda n, w: min(1.0, n / max(w, 1)),
    fall=lambda n, N, w: 0.5 * (1 + math.cos(math.pi * (n - 1) / N)),
    of=lambda peak, rise, fall: peak * rise * fall,
):
    """A wrong learning rate: one of its parts replaced."""
    return lambda number, steps, peak, warmup: of(peak, rise(number, warmup), fall(number, steps, warmup))


def _one_after_the_other(number: int, steps: int, peak: float, warmup: int) -> float:
    if number < warmup:
        return peak * number / warmup
    return 0.5 * peak * (1 + math.cos(math.pi * (number - warmup) / max(steps - warmup, 1)))


def _either_or(number: int, steps: int, peak: float, warmup: int) -> float:
    if number <= warmup:
        return peak * number / warmup
    return 0.5 * peak * (1 + math.cos(math.pi * (number - 1) / steps))


# ---------------------------------------------------------------------------------------------------
# 08.3 clip_gradients


def clip_gradients(gradients: list[Tensor], largest: float) -> list[Tensor]:
    """The gradients, all multiplied by one number, so that the norm of all together is at most `largest`."""
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    scale = torch.clamp(largest / norm, max=1.0)
    return [g * scale for g in gradients]


def _gradients() -> Iterator[Case]:
    yield Case("a matrix and a vector, too long, float32", [3 * randn(4, 3), randn(5, seed=1)], 1.0)
    short = [0.01 * randn(2, 2, seed=2, dtype=F64), 0.02 * randn(3, seed=3, dtype=F64)]
    yield Case("shorter than allowed, float64", short, 1.0)
    three = [0.1 * randn(2, seed=5, dtype=F64), randn(3, 6, seed=4, dtype=F64).T, randn(1, seed=6, dtype=F64)]
    yield Case("three of them, not contiguous, at most 2.5", three, 2.5)
    yield Case("all of them zero", [torch.zeros(2, 3), torch.zeros(4)], 1.0)


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients]).norm()


def _clip(
    norm: Callable[[list[Tensor]], Tensor] = _norm,
    scale=lambda norm, largest: torch.clamp(largest / norm, max=1.0),
):
    """Wrong clipping: another norm, or another scale."""
    return lambda gradients, largest: [g * scale(norm(gradients), largest) for g in gradients]


# ---------------------------------------------------------------------------------------------------
# 08.4 update_average


class Small(nn.Module):
    """Parameters of two shapes and, as batch norm has them, buffers: one of floats and one that counts."""

    def __init__(self, seed: int, rows: int = 3, columns: int = 4, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.weight = nn.Parameter(randn(columns, rows, seed=seed, dtype=dtype).T)
        self.bias = nn.Parameter(randn(rows, seed=seed + 1, dtype=dtype))
        self.out = nn.Parameter(randn(2, rows, seed=seed + 3, dtype=dtype))
        self.register_buffer("mean", randn(rows, seed=seed + 2, dtype=dtype))
        self.register_buffer("count", torch.tensor(100 * seed + 7))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, number: int, decay: float) -> None:
    """average <- d * average + (1 - d) * model for parameters, with d = min(decay, (1 + n) / (10 + n)); buffers are copied."""
    d = min(decay, (1 + number) / (10 + number))
    for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
        mean.copy_(d * mean + (1 - d) * weight)
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


def _pairs() -> Iterator[Case]:
    yield Case("the first step, float32", Small(1), Small(5), 1, 0.995)
    yield Case("step 50, float64", Small(2, 5, 2, F64), Small(6, 5, 2, F64), 50, 0.995)
    yield Case(
        "step 100,000, when the warm-up is over", Small(3, dtype=F64), Small(7, dtype=F64), 100_000, 0.9
    )


def _run_average(answer, average, model, number, decay):
    """What both hold afterwards; also what the tensors hold that the average had before."""
    average, model = copy.deepcopy(average).requires_grad_(False), copy.deepcopy(model)
    held = dict(average.named_parameters()) | dict(average.named_buffers())
    answer(average, model, number, decay)
    return {
        "the average": {k: v.detach().clone() for k, v in average.state_dict().items()},
        "the model": {k: v.detach().clone() for k, v in model.state_dict().items()},
        "the average's own tensors": {k: v.detach().clone() for k, v in held.items()},
        "the average wants gradients": any(p.requires_grad for p in average.parameters()),
    }


def _ema(
    d=lambda n, decay: min(decay, (1 + n) / (10 + n)),
    mix=lambda d, mean, weight: d * mean + (1 - d) * weight,
    buffers=lambda d, mine, theirs: theirs,
    which=lambda parameters: parameters,
):
    """A wrong update: one of its parts replaced."""

    @torch.no_grad()
    def wrong(average, model, number, decay):
        share = d(number, decay)
        for mean, weight in which(list(zip(average.parameters(), model.parameters(), strict=True))):
            mean.copy_(mix(share, mean, weight))
        for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
            mine.copy_(buffers(share, mine, theirs))

    return wrong


@torch.no_grad()
def _the_other_way(average, model, number, decay):
    update_average(model, average, number, decay)


@torch.no_grad()
def _into_the_network(average, model, number, decay):
    d = min(decay, (1 + number) / (10 + number))
    for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
        weight.copy_(d * mean + (1 - d) * weight)


def _lost(average, model, number, decay):
    update_average(copy.deepcopy(average), model, number, decay)


@torch.no_grad()
def _new_parameters(average, model, number, decay):
    update_average(other := copy.deepcopy(average), model, number, decay)
    for name in ("weight", "bias", "out"):
        setattr(average, name, nn.Parameter(getattr(other, name).detach(), requires_grad=False))
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


def _with_graph(average, model, number, decay):
    d = min(decay, (1 + number) / (10 + number))
    for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
        mean.copy_(d * mean + (1 - d) * weight)
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


# ---------------------------------------------------------------------------------------------------
# 08.5 training_loop

CLIP_AT = 1.0


def training_loop(
    model, average, optimizer, draw, schedule, prediction, rate, decay, steps
) -> Iterator[TrainStep]:
    """Algorithm 1, with clipping at norm 1, the learning rate rate(number), and the average with its decay."""
    for number in range(1, steps + 1):
        x0, t, eps = draw(number)
        xt = process.q_sample(x0, t, eps, schedule)
        loss = (process.target(x0, t, eps, schedule, prediction) - model(xt, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_AT)
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        optimizer.step()
        update_average(average, model, number, decay)
        yield TrainStep(number, loss.item(), average)


class Columns(nn.Module):
    """Stands in for a network: one number for each column of the image, and one for t."""

    def __init__(self, columns: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.scale = nn.Parameter(4 + randn(columns, seed=seed, dtype=dtype))
        self.late = nn.Parameter(torch.tensor(-3.0, dtype=dtype))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return self.scale * xt + self.late * at(torch.linspace(0, 2, 1001, dtype=F64), t, xt)


class Momentum:
    """A small optimizer with PyTorch's names. Unlike Adam it lets every factor of the gradient be seen."""

    def __init__(self, groups: list[dict], lr: float) -> None:
        self.param_groups = [group | {"lr": lr} for group in groups]
        self.moving: dict[nn.Parameter, Tensor] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.moving[p] = 0.5 * self.moving.get(p, 0) + p.grad
                    p -= group["lr"] * self.moving[p]


class Batches:
    """draw(number) -> x0, t, eps: the same batch for the same number, as often as it is asked."""

    def __init__(self, *shape: int, T: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self.shape, self.T, self.seed, self.dtype = shape, T, seed, dtype

    def __call__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        g = torch.Generator().manual_seed(1000 * self.seed + number)
        x0 = 2 * torch.rand(self.shape, generator=g, dtype=self.dtype) - 1
        t = torch.randint(1, self.T + 1, self.shape[:1], generator=g)
        return x0, t, torch.randn(self.shape, generator=g, dtype=self.dtype)


def _falls(number: int) -> float:
    return 0.3 / number


def _rises(number: int) -> float:
    return 0.05 * number


def _runs() -> Iterator[Case]:
    few = Batches(4, 1, 2, 3, T=5, seed=1)
    yield Case("v, 4 steps, rate 0.3 / n, decay 0.995", Columns(3, 1), few, SHORT, "v", _falls, 0.995, 4)
    hundred = schedules.cosine(T=100)
    batches = Batches(2, 3, 4, 5, T=100, seed=2, dtype=F64)
    name = "ε, 6 steps, rate 0.05 n, decay 0.3, float64"
    yield Case(name, Columns(5, 2, F64), batches, hundred, "eps", _rises, 0.3, 6)
    other = Batches(3, 1, 4, 2, T=100, seed=3, dtype=F64)
    yield Case(
        "v, 3 steps, rate 0.3 / n, decay 0.15, float64",
        Columns(2, 3, F64),
        other,
        hundred,
        "v",
        _falls,
        0.15,
        3,
    )


def _run_loop(answer, net, draw, schedule, prediction, rate, decay, steps):
    """Everything that the loop leaves: what it yields, the weights, the average at each step."""
    model, average = copy.deepcopy(net), copy.deepcopy(net).requires_grad_(False)
    groups = [{"params": [model.scale]}, {"params": [model.late]}]
    optimizer = Momentum(groups, lr=2.0)  # the 2.0 has to be replaced by rate(number)
    out = {"number": [], "loss": [], "average after the step": [], "model after the step": []}
    for step in answer(model, average, optimizer, draw, schedule, prediction, rate, decay, steps):
        out["number"].append(step.number)
        out["loss"].append(
            "a tensor with its graph" if getattr(step.loss, "requires_grad", False) else float(step.loss)
        )
        out["average after the step"].append(step.ema.scale.detach().clone())
        out["model after the step"].append(torch.cat([model.scale.detach(), model.late.detach()[None]]))
        if len(out["number"]) > steps + 2:
            break
    return out


def _loop(
    order: str = "zero backward clip rate step average yield",
    numbers=lambda steps: range(1, steps + 1),
    seen=lambda x0, xt: xt,
    target=process.target,
    of=lambda d: d.square().mean(),
    groups=lambda optimizer: optimizer.param_groups,
    clip=nn.utils.clip_grad_norm_,
    told=lambda t: t,
    passed=lambda loss: loss.item(),
    memory=lambda decay: decay,
):
    """A wrong loop: its parts in another order, or one replaced."""

    def wrong(model, average, optimizer, draw, schedule, prediction, rate, decay, steps):
        def rate_of(number: int) -> None:
            for group in groups(optimizer):
                group["lr"] = rate(number)

        for number in numbers(steps):
            x0, t, eps = draw(number)
            xt = process.q_sample(x0, t, eps, schedule)
            loss = of(target(x0, t, eps, schedule, prediction) - model(seen(x0, xt), told(t)))
            do = {
                "zero": optimizer.zero_grad,
                "backward": loss.backward,
                "clip": lambda: clip(model.parameters(), CLIP_AT),
                "rate": lambda n=number: rate_of(n),
                "step": optimizer.step,
                "average": lambda n=number: update_average(average, model, n, memory(decay)),
            }
            for part in order.split():
                if part == "yield":
                    yield TrainStep(number, passed(loss), average)
                else:
                    do[part]()

    return wrong


def _silent(*arguments) -> None:
    for _ in training_loop(*arguments):
        pass


def _raw(model, *rest):
    for step in training_loop(model, *rest):
        yield TrainStep(step.number, step.loss, model)


def _one_batch(model, average, optimizer, draw, *rest):
    batch = draw(1)
    return training_loop(model, average, optimizer, lambda number: batch, *rest)


# ---------------------------------------------------------------------------------------------------
# 08.6 loss_by_timestep


def loss_by_timestep(errors: Tensor, t: Tensor, T: int, bins: int) -> Tensor:
    """The mean error in each of `bins` equal parts of 1..T; NaN where there is none. (B,), (B,) -> (bins,)."""
    k = (t - 1) * bins // T
    total = torch.zeros(bins, dtype=errors.dtype).index_add(0, k, errors)
    return total / torch.bincount(k, minlength=bins)


def _measured() -> Iterator[Case]:
    t = torch.tensor([1, 25, 26, 50, 51, 75, 76, 100, 100, 3])
    yield Case("ten errors in four bins of 1..100, float32", rand(10) + 2, t, 100, 4)
    many = torch.randint(1, 1001, (200,), generator=torch.Generator().manual_seed(1))
    yield Case("200 errors in ten bins of 1..1000, float64", rand(200, seed=2, dtype=F64) + 3, many, 1000, 10)
    uneven = torch.tensor([3, 1, 6, 5, 2, 4, 3, 6])
    yield Case(
        "eight errors in four bins of 1..11, two of them empty, float64",
        rand(8, seed=4, dtype=F64) + 2,
        uneven,
        11,
        4,
    )
    few = torch.tensor([5, 5, 1, 2])
    apart = torch.stack([rand(4, seed=3, dtype=F64) + 4, torch.zeros(4, dtype=F64)], dim=1)[:, 0]
    yield Case("five bins of one t each, two of them empty, not contiguous", apart, few, 5, 5)


def _binned(
    k=lambda t, T, bins: (t - 1) * bins // T,
    of=lambda total, count, B: total / count,
):
    """A wrong mean by bins: another bin, or another mean."""

    def wrong(errors, t, T, bins):
        where = k(t, T, bins).clamp(0, bins - 1)
        total = torch.zeros(bins, dtype=errors.dtype).index_add(0, where, errors)
        return of(total, torch.bincount(where, minlength=bins), len(errors))

    return wrong


def _seen_range(t: Tensor, T: int, bins: int) -> Tensor:
    low, high = int(t.min()), int(t.max())
    return (t - low) * bins // (high - low + 1)


def _equal_counts(t: Tensor, T: int, bins: int) -> Tensor:
    rank = t.argsort(stable=True).argsort(stable=True)
    return rank * bins // len(t)


EXERCISES = (
    Exercise(
        id="08.1",
        title="to_bytes: from the network's numbers back to a picture",
        reference=data.to_uint8,
        cases=_floats,
        misconceptions=(
            Misconception(
                name="no clamp: what lies beyond the ends wraps around, white to black",
                breaks="a byte holds 0..255, and 256 becomes 0: clamp to [−1, 1] before",
                wrong=lambda x: _bytes(((x + 1) * 127.5).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="cut off, where it should be rounded",
                breaks=".to(torch.uint8) drops what comes after the point: 254.99 becomes 254. Round first",
                wrong=lambda x: _bytes((x.clamp(-1, 1) + 1) * 127.5),
                reread=PICTURES,
            ),
            Misconception(
                name="neither clamped nor rounded",
                breaks="byte = round((x + 1) · 127.5), with x clamped to [−1, 1]",
                wrong=lambda x: _bytes((x + 1) * 127.5),
                reread=PICTURES,
            ),
            Misconception(
                name="taken for [0, 1]: the darker half of the picture is black",
                breaks="−1 is black and 1 is white: byte = (x + 1) · 127.5, not 255 x",
                wrong=lambda x: _bytes((x.clamp(0, 1) * 255).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="taken for [0, 1], and not clamped",
                breaks="−1 is black and 1 is white: byte = (x + 1) · 127.5, not 255 x",
                wrong=lambda x: _bytes((x * 255).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="clamped to [0, 1], but scaled as [−1, 1]: nothing is darker than grey",
                breaks="x lies in [−1, 1]: clamp there, or after scaling to [0, 255]",
                wrong=lambda x: _bytes(((x.clamp(0, 1) + 1) * 127.5).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="255 for 127.5: all that is brighter than grey is white",
                breaks="−1 → 0 and 1 → 255: x + 1 runs from 0 to 2, so the factor is 255 / 2",
                wrong=lambda x: _bytes(((x + 1) * 255).round().clamp(0, 255)),
                reread=PICTURES,
            ),
            Misconception(
                name="each picture stretched from its own darkest to its own brightest pixel",
                breaks="the scale is fixed, −1 → 0 and 1 → 255, for every picture",
                wrong=_stretched,
                reread=PICTURES,
            ),
            Misconception(
                name="128 for 127.5",
                breaks="−1 → 0 and 1 → 255: the factor is 255 / 2 = 127.5",
                wrong=lambda x: _bytes(((x + 1) * 128).round().clamp(0, 255)),
                reread=PICTURES,
            ),
            Misconception(
                name="127 for 127.5: white becomes 254",
                breaks="−1 → 0 and 1 → 255: the factor is 255 / 2 = 127.5",
                wrong=lambda x: _bytes(((x.clamp(-1, 1) + 1) * 127).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="127 for 127.5, and clamped only at the end: 1 becomes 254",
                breaks="−1 → 0 and 1 → 255: the factor is 255 / 2 = 127.5",
                wrong=lambda x: _bytes(((x + 1) * 127).round().clamp(0, 255)),
                reread=PICTURES,
            ),
            Misconception(
                name="stretched from the darkest to the brightest pixel of the batch",
                breaks="the scale is fixed, −1 → 0 and 1 → 255; else a grey picture becomes one of black and white",
                wrong=lambda x: _bytes((255 * (x - x.min()) / (x.max() - x.min())).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="rounded before it is scaled: only black, grey and white are left",
                breaks="byte = round((x + 1) · 127.5): round last",
                wrong=lambda x: _bytes((x.clamp(-1, 1).round() + 1) * 127.5),
                reread=PICTURES,
            ),
            Misconception(
                name="x + 1 is missing: multiplied only",
                breaks="byte = (x + 1) · 127.5: without the 1 all that is dark is negative",
                wrong=lambda x: _bytes((x.clamp(-1, 1) * 127.5).round()),
                reread=PICTURES,
            ),
            Misconception(
                name="left as float: the values of bytes, but no bytes",
                breaks="the result is uint8: .to(torch.uint8)",
                wrong=lambda x: ((x.clamp(-1, 1) + 1) * 127.5).round(),
                reread=PICTURES,
            ),
            Misconception(
                name="only brought to [0, 1]",
                breaks="byte = round((x + 1) · 127.5), as uint8",
                wrong=lambda x: (x.clamp(-1, 1) + 1) / 2,
                reread=PICTURES,
            ),
        ),
        hints=(
            "Solve x = byte / 127.5 − 1 for the byte. Then: what lies beyond the ends, and what lies between two bytes?",
            "x.clamp(-1, 1) first; .round() before .to(torch.uint8).",
            "((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)",
        ),
    ),
    Exercise(
        id="08.2",
        title="learning_rate: up along a line, down along a cosine",
        reference=learning_rate,
        cases=_places,
        rtol=1e-6,  # torch.cos of a float32 tensor is right, too
        atol=2e-7,
        misconceptions=(
            Misconception(
                name="the first step has learning rate 0: it counts from 0",
                breaks="the rise is n / W with n = 1 at the first step, so that no step is for nothing",
                wrong=_rate(rise=lambda n, w: min(1.0, (n - 1) / max(w, 1))),
                reread=RATE,
            ),
            Misconception(
                name="a warm-up that never ends: min(1, …) is missing",
                breaks="after W steps the rise is 1: min(1, n / W)",
                wrong=_rate(rise=lambda n, w: n / max(w, 1)),
                reread=RATE,
            ),
            Misconception(
                name="max for min",
                breaks="the rise is at most 1: min(1, n / W)",
                wrong=_rate(rise=lambda n, w: max(1.0, n / max(w, 1))),
                reread=RATE,
            ),
            Misconception(
                name="W + 1 steps of warm-up",
                breaks="at n = W the rise is 1: min(1, n / W)",
                wrong=_rate(rise=lambda n, w: min(1.0, n / (w + 1))),
                reread=RATE,
            ),
            Misconception(
                name="no case for W = 0, no warm-up at all",
                breaks="n / max(W, 1), or a question before: n / 0 is no number",
                wrong=_rate(rise=lambda n, w: min(1.0, n / w)),
                reread=RATE,
            ),
            Misconception(
                name="no warm-up",
                breaks="lr(n) = peak · min(1, n / W) · ½ (1 + cos(π (n − 1) / N))",
                wrong=_rate(rise=lambda n, w: 1.0),
                reread=RATE,
            ),
            Misconception(
                name="no decay",
                breaks="lr(n) = peak · min(1, n / W) · ½ (1 + cos(π (n − 1) / N))",
                wrong=_rate(fall=lambda n, N, w: 1.0),
                reread=RATE,
            ),
            Misconception(
                name="the cosine at n / N: the last step has learning rate 0, and does nothing",
                breaks="n − 1 steps are done before step n: cos(π (n − 1) / N)",
                wrong=_rate(fall=lambda n, N, w: 0.5 * (1 + math.cos(math.pi * n / N))),
                reread=RATE,
            ),
            Misconception(
                name="(n − 1) / (N − 1): the last step has learning rate 0, and does nothing",
                breaks="the fall is at (n − 1) / N: after N steps it would be 0",
                wrong=_rate(fall=lambda n, N, w: 0.5 * (1 + math.cos(math.pi * (n - 1) / (N - 1)))),
                reread=RATE,
            ),
            Misconception(
                name="the half is missing: it starts at twice the peak",
                breaks="½ (1 + cos 0) = 1",
                wrong=_rate(fall=lambda n, N, w: 1 + math.cos(math.pi * (n - 1) / N)),
                reread=RATE,
            ),
            Misconception(
                name="the bare cosine, which is negative in the second half: gradient ascent",
                breaks="½ (1 + cos …) lies between 0 and 1",
                wrong=_rate(fall=lambda n, N, w: math.cos(math.pi * (n - 1) / N)),
                reread=RATE,
            ),
            Misconception(
                name="½ cos in place of ½ (1 + cos)",
                breaks="½ (1 + cos …) lies between 0 and 1",
                wrong=_rate(fall=lambda n, N, w: 0.5 * math.cos(math.pi * (n - 1) / N)),
                reread=RATE,
            ),
            Misconception(
                name="a whole turn of the cosine: it rises again in the second half",
                breaks="half a turn, π (n − 1) / N: the cosine goes from 1 to −1 once",
                wrong=_rate(fall=lambda n, N, w: 0.5 * (1 + math.cos(2 * math.pi * (n - 1) / N))),
                reread=RATE,
            ),
            Misconception(
                name="a quarter of a turn: cos(π/2 · …)",
                breaks="½ (1 + cos(π (n − 1) / N))",
                wrong=_rate(fall=lambda n, N, w: math.cos(math.pi / 2 * (n - 1) / N)),
                reread=RATE,
            ),
            Misconception(
                name="degrees: math.cos takes radians",
                breaks="half a turn is π, not 180",
                wrong=_rate(fall=lambda n, N, w: 0.5 * (1 + math.cos(180 * (n - 1) / N))),
                reread=RATE,
            ),
            Misconception(
                name="a straight line down",
                breaks="the fall is ½ (1 + cos(π (n − 1) / N)): flat at both ends",
                wrong=_rate(fall=lambda n, N, w: 1 - (n - 1) / N),
                reread=RATE,
            ),
            Misconception(
                name="the fall begins only after the warm-up (a rule in use elsewhere, but not this one)",
                breaks="both factors are there from the first step on: cos(π (n − 1) / N)",
                wrong=_rate(
                    fall=lambda n, N, w: (
                        0.5 * (1 + math.cos(math.pi * max(n - 1 - w, 0) / (N - w if w < N else N)))
                    )
                ),
                reread=RATE,
            ),
            Misconception(
                name="first the rise alone, then a cosine that begins at W (a rule in use elsewhere, but not this one)",
                breaks="both factors are there from the first step on: min(1, n / W) · ½ (1 + cos(π (n − 1) / N))",
                wrong=_one_after_the_other,
                reread=RATE,
            ),
            Misconception(
                name="either the rise or the fall, where both factors act at once",
                breaks="lr(n) = peak · min(1, n / W) · ½ (1 + cos(π (n − 1) / N)) for every n",
                wrong=_either_or,
                reread=RATE,
            ),
            Misconception(
                name="the smaller of both factors, not their product",
                breaks="lr(n) = peak · min(1, n / W) · ½ (1 + cos(π (n − 1) / N))",
                wrong=_rate(of=lambda peak, rise, fall: peak * min(rise, fall)),
                reread=RATE,
            ),
            Misconception(
                name="the peak is missing: this is only the factor",
                breaks="lr(n) = peak · rise · fall",
                wrong=_rate(of=lambda peak, rise, fall: rise * fall),
                reread=RATE,
            ),
        ),
        hints=(
            "Two factors: one that rises from 1/W to 1 and stays there, and one that falls from 1 to nearly 0.",
            "rise = min(1.0, number / max(warmup, 1)); fall = 0.5 * (1 + math.cos(math.pi * …)).",
            "In the cosine stands (number - 1) / steps. Return peak * rise * fall.",
        ),
    ),
    Exercise(
        id="08.3",
        title="clip_gradients: by the norm of all of them together",
        reference=clip_gradients,
        cases=_gradients,
        rtol=1e-5,  # PyTorch's own adds 1e-6 to the norm: that is right, too
        atol=1e-8,
        misconceptions=(
            Misconception(
                name="every number cut off by itself: the direction changes",
                breaks="all are multiplied by one number, min(1, c / ‖g‖)",
                wrong=lambda gradients, largest: [g.clamp(-largest, largest) for g in gradients],
                reread=CLIP,
            ),
            Misconception(
                name="each tensor by its own norm: the direction changes",
                breaks="‖g‖ is the norm of all gradients together, as if they were one long vector",
                wrong=lambda gradients, largest: [
                    g * torch.clamp(largest / g.norm().clamp(min=1e-30), max=1.0) for g in gradients
                ],
                reread=CLIP,
            ),
            Misconception(
                name="short gradients are made longer: min(1, …) is missing",
                breaks="the scale is min(1, c / ‖g‖): it never lengthens",
                wrong=_clip(scale=lambda norm, largest: largest / norm),
                reread=CLIP,
            ),
            Misconception(
                name="short gradients are made longer, though zeros are looked after",
                breaks="the scale is min(1, c / ‖g‖): it never lengthens",
                wrong=_clip(scale=lambda norm, largest: largest / norm.clamp(min=1e-6)),
                reread=CLIP,
            ),
            Misconception(
                name="max for min: long ones stay, short ones grow",
                breaks="the scale is min(1, c / ‖g‖)",
                wrong=_clip(scale=lambda norm, largest: torch.clamp(largest / norm, min=1.0)),
                reread=CLIP,
            ),
            Misconception(
                name="the square of the norm: the root is missing",
                breaks="‖g‖ = √(Σ g²), over all numbers",
                wrong=_clip(norm=lambda gradients: _norm(gradients).square()),
                reread=CLIP,
            ),
            Misconception(
                name="the sum of the tensors' norms",
                breaks="squares add up, norms do not: ‖g‖² = ‖g_1‖² + ‖g_2‖² + …",
                wrong=_clip(norm=lambda gradients: sum(g.norm() for g in gradients)),
                reread=CLIP,
            ),
            Misconception(
                name="the mean of the tensors' norms",
                breaks="squares add up, norms do not: ‖g‖² = ‖g_1‖² + ‖g_2‖² + …",
                wrong=_clip(norm=lambda gradients: sum(g.norm() for g in gradients) / len(gradients)),
                reread=CLIP,
            ),
            Misconception(
                name="the largest of the tensors' norms",
                breaks="‖g‖² = ‖g_1‖² + ‖g_2‖² + …",
                wrong=_clip(norm=lambda gradients: torch.stack([g.norm() for g in gradients]).max()),
                reread=CLIP,
            ),
            Misconception(
                name="the largest number, where the norm belongs",
                breaks="‖g‖ = √(Σ g²), over all numbers",
                wrong=_clip(norm=lambda gradients: torch.stack([g.abs().max() for g in gradients]).max()),
                reread=CLIP,
            ),
            Misconception(
                name="the sum of absolute values",
                breaks="‖g‖ = √(Σ g²), over all numbers",
                wrong=_clip(norm=lambda gradients: sum(g.abs().sum() for g in gradients)),
                reread=CLIP,
            ),
            Misconception(
                name="the root mean square, not the root of the sum",
                breaks="‖g‖ = √(Σ g²): a sum over all numbers, not a mean",
                wrong=_clip(
                    norm=lambda gradients: torch.cat([g.flatten() for g in gradients]).square().mean().sqrt()
                ),
                reread=CLIP,
            ),
            Misconception(
                name="the norm of the first tensor only",
                breaks="‖g‖² = ‖g_1‖² + ‖g_2‖² + …",
                wrong=_clip(norm=lambda gradients: gradients[0].norm()),
                reread=CLIP,
            ),
            Misconception(
                name="shortened to length 1, whatever was allowed",
                breaks="the scale is c / ‖g‖ where ‖g‖ > c",
                wrong=_clip(scale=lambda norm, largest: 1 / norm if norm > largest else torch.ones(())),
                reread=CLIP,
            ),
            Misconception(
                name="upside down: ‖g‖ / c",
                breaks="the scale is min(1, c / ‖g‖)",
                wrong=_clip(scale=lambda norm, largest: torch.clamp(norm / largest, max=1.0)),
                reread=CLIP,
            ),
            Misconception(
                name="gradients that are too long are thrown away",
                breaks="they keep their direction, and become as long as is allowed: g · c / ‖g‖",
                wrong=_clip(scale=lambda norm, largest: (norm <= largest).to(norm.dtype)),
                reread=CLIP,
            ),
            Misconception(
                name="nothing is clipped",
                breaks="where ‖g‖ > c the gradients are multiplied by c / ‖g‖",
                wrong=lambda gradients, largest: [g * 1 for g in gradients],
                reread=CLIP,
            ),
        ),
        hints=(
            "First one number: the norm of all gradients together. Then one factor for all of them.",
            "torch.cat([g.flatten() for g in gradients]).norm(); the factor is largest / norm, but never more than 1.",
            "scale = torch.clamp(largest / norm, max=1.0); return [g * scale for g in gradients]",
        ),
    ),
    Exercise(
        id="08.4",
        title="update_average: a second network, which follows slowly",
        reference=update_average,
        cases=_pairs,
        run=_run_average,
        misconceptions=(
            Misconception(
                name="d on the new weights, 1 − d on the average",
                breaks="θ̄ ← d θ̄ + (1 − d) θ: with d near 1 the average moves slowly",
                wrong=_ema(mix=lambda d, mean, weight: (1 - d) * mean + d * weight),
                reread=AVERAGE,
            ),
            Misconception(
                name="no warm-up of the decay: the random start stays in for hundreds of steps",
                breaks="d = min(decay, (1 + n) / (10 + n))",
                wrong=_ema(d=lambda n, decay: decay),
                reread=AVERAGE,
            ),
            Misconception(
                name="the warm-up alone, without the ceiling: d goes to 1, and the average comes to rest",
                breaks="d = min(decay, (1 + n) / (10 + n))",
                wrong=_ema(d=lambda n, decay: (1 + n) / (10 + n)),
                reread=AVERAGE,
            ),
            Misconception(
                name="max for min",
                breaks="d = min(decay, (1 + n) / (10 + n))",
                wrong=_ema(d=lambda n, decay: max(decay, (1 + n) / (10 + n))),
                reread=AVERAGE,
            ),
            Misconception(
                name="n / (10 + n), the rule of chapter 06",
                breaks="here d = min(decay, (1 + n) / (10 + n))",
                wrong=_ema(d=lambda n, decay: min(decay, n / (10 + n))),
                reread=AVERAGE,
            ),
            Misconception(
                name="n counted from 0",
                breaks="n = 1 after the first step: d = 2/11",
                wrong=_ema(d=lambda n, decay: min(decay, n / (9 + n))),
                reread=AVERAGE,
            ),
            Misconception(
                name="decay · (1 + n) / (10 + n), a product for the smaller of the two",
                breaks="d = min(decay, (1 + n) / (10 + n))",
                wrong=_ema(d=lambda n, decay: decay * (1 + n) / (10 + n)),
                reread=AVERAGE,
            ),
            Misconception(
                name="the buffers are left as they were",
                breaks="parameters are averaged, buffers are copied; named_buffers() gives them",
                wrong=_ema(buffers=lambda d, mine, theirs: mine),
                reread=AVERAGE,
            ),
            Misconception(
                name="the buffers are averaged like parameters, counters too",
                breaks="parameters are averaged, buffers are copied: a count has no use for an average",
                wrong=_ema(buffers=lambda d, mine, theirs: d * mine + (1 - d) * theirs),
                reread=AVERAGE,
            ),
            Misconception(
                name="buffers with a point are averaged like parameters",
                breaks="parameters are averaged, buffers are copied, all of them",
                wrong=_ema(
                    buffers=lambda d, mine, theirs: (
                        d * mine + (1 - d) * theirs if mine.is_floating_point() else theirs
                    )
                ),
                reread=AVERAGE,
            ),
            Misconception(
                name="buffers with a point are averaged, and counts left as they were",
                breaks="parameters are averaged, buffers are copied, all of them",
                wrong=_ema(
                    buffers=lambda d, mine, theirs: (
                        d * mine + (1 - d) * theirs if mine.is_floating_point() else mine
                    )
                ),
                reread=AVERAGE,
            ),
            Misconception(
                name="n is one too large: (2 + n) / (11 + n)",
                breaks="d = min(decay, (1 + n) / (10 + n)), and n is the step just taken: number",
                wrong=_ema(d=lambda n, decay: min(decay, (2 + n) / (11 + n))),
                reread=AVERAGE,
            ),
            Misconception(
                name="all is copied from the network: no average at all",
                breaks="θ̄ ← d θ̄ + (1 − d) θ",
                wrong=_ema(mix=lambda d, mean, weight: weight),
                reread=AVERAGE,
            ),
            Misconception(
                name="1 − decay in place of decay",
                breaks="d = min(decay, (1 + n) / (10 + n)): the average keeps the share d of itself",
                wrong=_ema(d=lambda n, decay: min(1 - decay, (1 + n) / (10 + n))),
                reread=AVERAGE,
            ),
            Misconception(
                name="half of each, whatever d",
                breaks="θ̄ ← d θ̄ + (1 − d) θ",
                wrong=_ema(mix=lambda d, mean, weight: (mean + weight) / 2),
                reread=AVERAGE,
            ),
            Misconception(
                name="the network is changed, and the average stays",
                breaks="θ̄, the average, follows θ; training must not notice it",
                wrong=_the_other_way,
                reread=AVERAGE,
            ),
            Misconception(
                name="the mean is written into the network, and the average stays",
                breaks="θ̄, the average, follows θ; training must not notice it",
                wrong=_into_the_network,
                reread=AVERAGE,
            ),
            Misconception(
                name="the parameters are averaged, but only the first one",
                breaks="every parameter: the loop runs over all of parameters()",
                wrong=_ema(which=lambda pairs: pairs[:1]),
                reread=AVERAGE,
            ),
            Misconception(
                name="only the matrices are averaged, the biases are left",
                breaks="every parameter: the loop runs over all of parameters()",
                wrong=_ema(which=lambda pairs: [pair for pair in pairs if pair[0].ndim > 1]),
                reread=AVERAGE,
            ),
            Misconception(
                name="the average is changed in a copy, which is then lost",
                breaks="in place: mean.copy_(…), mean.lerp_(…); mean = … only gives a new tensor an old name",
                wrong=_lost,
                reread=AVERAGE,
            ),
            Misconception(
                name="mean = … gives a new tensor an old name; only the buffers are set",
                breaks="in place: mean.copy_(…) or mean.lerp_(…)",
                wrong=_ema(which=lambda pairs: []),
                reread=AVERAGE,
            ),
            Misconception(
                name="new parameters are put into the average: who holds the old ones sees no change",
                breaks="in place: mean.copy_(…), so that it stays the same tensor",
                wrong=_new_parameters,
                reread=AVERAGE,
            ),
            Misconception(
                name="gradients are recorded: the average drags the graph of every step behind it",
                breaks="the average is no part of the computation that is differentiated: torch.no_grad()",
                wrong=_with_graph,
                reread=AVERAGE,
            ),
        ),
        hints=(
            "zip(average.parameters(), model.parameters()) gives the pairs, and .buffers() the others.",
            "Under torch.no_grad(): mean.copy_(d * mean + (1 - d) * weight). For buffers: mine.copy_(theirs).",
            "d = min(decay, (1 + number) / (10 + number))",
        ),
    ),
    Exercise(
        id="08.5",
        title="training_loop: algorithm 1, complete",
        reference=training_loop,
        cases=_runs,
        run=_run_loop,
        misconceptions=(
            Misconception(
                name="the old gradients are never cleared, so they add up",
                breaks="zero_grad() once a step, before backward(): each step follows its own gradient",
                wrong=_loop("backward clip rate step average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="nothing is learned: step() is missing, or the gradients are cleared between backward() and step()",
                breaks="zero_grad(), backward(), step(), in this order",
                wrong=_loop("backward zero clip rate step average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="step() before backward(): each step follows the gradient of the batch before",
                breaks="zero_grad(), backward(), step(), in this order",
                wrong=_loop("rate step zero backward clip average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="not clipped, or at a place where it has no effect: before backward() or after step()",
                breaks="backward(), clip, step(): what is clipped is what the step uses",
                wrong=_loop("zero backward rate step clip average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="clipped by value, not by the norm",
                breaks="all gradients are multiplied by one number: clip_grad_norm_, not clip_grad_value_",
                wrong=_loop(clip=nn.utils.clip_grad_value_),
                reread=CLIP,
            ),
            Misconception(
                name="the learning rate is never set",
                breaks='group["lr"] = rate(number) for each group of optimizer.param_groups, before step()',
                wrong=_loop("zero backward clip step average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="the learning rate is set after the step: the first step has the optimizer's own",
                breaks='group["lr"] = rate(number) before step()',
                wrong=_loop("zero backward clip step rate average yield"),
                reread=LOOP,
            ),
            Misconception(
                name="the learning rate is set in the first group only",
                breaks="for group in optimizer.param_groups: all of them",
                wrong=_loop(groups=lambda optimizer: optimizer.param_groups[:1]),
                reread=LOOP,
            ),
            Misconception(
                name="the average is never updated",
                breaks="update_average(average, model, number, decay) after each step",
                wrong=_loop("zero backward clip rate step yield"),
                reread=LOOP,
            ),
            Misconception(
                name="a decay of its own, such as 0.995 or 0.9999, where the argument decay belongs",
                breaks="update_average(average, model, number, decay): how long it remembers is for the caller to say",
                wrong=_loop(memory=lambda decay: 0.9999),
                reread=AVERAGE,
            ),
            Misconception(
                name="1 − decay is handed to the average",
                breaks="update_average(average, model, number, decay): it takes 1 − d itself",
                wrong=_loop(memory=lambda decay: 1 - decay),
                reread=AVERAGE,
            ),
            Misconception(
                name="the average is updated before the step, and so is one step behind",
                breaks="step(), and then update_average",
                wrong=_loop("zero average backward clip rate step yield"),
                reread=LOOP,
            ),
            Misconception(
                name="it yields before the step is taken",
                breaks="yield comes last: who looks on sees the weights after step n",
                wrong=_loop("yield zero backward clip rate step average"),
                reread=LOOP,
            ),
            Misconception(
                name="nothing is yielded",
                breaks="yield TrainStep(number, loss.item(), average) at the end of each step",
                wrong=_silent,
                reread=LOOP,
            ),
            Misconception(
                name="all steps are put into a list: who looks on sees the weights only when all is over",
                breaks="yield after each step, in place of one return at the end",
                wrong=lambda *arguments: list(training_loop(*arguments)),
                reread=LOOP,
            ),
            Misconception(
                name="the network is yielded, where the average belongs",
                breaks="TrainStep(number, loss, average): what one samples with is the average",
                wrong=_raw,
                reread=LOOP,
            ),
            Misconception(
                name="the same batch in every step",
                breaks="draw(number) inside the loop: each step has its own pictures, t and noise",
                wrong=_one_batch,
                reread=LOOP,
            ),
            Misconception(
                name="the steps are counted from 0",
                breaks="number = 1, …, steps: range(1, steps + 1)",
                wrong=_loop(numbers=lambda steps: range(1, steps)),
                reread=LOOP,
            ),
            Misconception(
                name="the noise ε is the target, whatever is to be predicted",
                breaks="the target is process.target(x0, t, eps, schedule, prediction)",
                wrong=_loop(target=lambda x0, t, eps, schedule, prediction: eps),
                reread=LOOP,
            ),
            Misconception(
                name="the network is shown the clean image",
                breaks="the network sees x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε: line 5 of algorithm 1",
                wrong=_loop(seen=lambda x0, xt: x0),
                reread=LOOP,
            ),
            Misconception(
                name="the network is told t − 1",
                breaks="the network is given the t that the noise was made with",
                wrong=_loop(told=lambda t: t - 1),
                reread=LOOP,
            ),
            Misconception(
                name="the sum over the batch, not the mean",
                breaks="the loss is a mean over all numbers, so that the batch size does not set its scale",
                wrong=_loop(of=lambda d: d.square().sum()),
                reread=LOOP,
            ),
            Misconception(
                name="the absolute difference, not its square",
                breaks="L_simple is a mean of squares, DDPM eq. (14)",
                wrong=_loop(of=lambda d: d.abs().mean()),
                reread=LOOP,
            ),
            Misconception(
                name="the loss is yielded with its graph: each step's memory is kept",
                breaks="loss.item(): a plain number",
                wrong=_loop(passed=lambda loss: loss),
                reread=LOOP,
            ),
        ),
        hints=(
            "In the order of time: draw, noise, loss; clear, backward, clip, set the rate, step, average, yield.",
            "xt = process.q_sample(x0, t, eps, schedule); the target is process.target(x0, t, eps, schedule, prediction).",
            'nn.utils.clip_grad_norm_(model.parameters(), 1.0); for group in optimizer.param_groups: group["lr"] = rate(number)',
            "update_average(average, model, number, decay); yield TrainStep(number, loss.item(), average)",
        ),
    ),
    Exercise(
        id="08.6",
        title="loss_by_timestep: the mean error in each part of 1..T",
        reference=loss_by_timestep,
        cases=_measured,
        misconceptions=(
            Misconception(
                name="t · bins // T: the last t of each bin falls into the next one",
                breaks="t runs from 1 to T, so t − 1 runs from 0 to T − 1: k = (t − 1) · bins // T",
                wrong=_binned(k=lambda t, T, bins: t * bins // T),
                reread=BINS,
            ),
            Misconception(
                name="sums, not means: a bin with more examples looks worse",
                breaks="the sum of each bin is divided by its own count",
                wrong=_binned(of=lambda total, count, B: total),
                reread=BINS,
            ),
            Misconception(
                name="divided by the size of the batch, not by the count of the bin",
                breaks="the sum of each bin is divided by its own count",
                wrong=_binned(of=lambda total, count, B: total / B),
                reread=BINS,
            ),
            Misconception(
                name="divided by B / bins, as if each bin had the same count",
                breaks="the sum of each bin is divided by its own count",
                wrong=_binned(of=lambda total, count, B: total / B * len(count)),
                reread=BINS,
            ),
            Misconception(
                name="an empty bin shows 0, as if the network were perfect there",
                breaks="no examples, no mean: 0 / 0 is NaN, and a plot leaves it out",
                wrong=_binned(of=lambda total, count, B: total / count.clamp(min=1)),
                reread=BINS,
            ),
            Misconception(
                name="bins between the smallest and the largest t that were seen",
                breaks="the bins are equal parts of 1..T, whatever was seen",
                wrong=_binned(k=_seen_range),
                reread=BINS,
            ),
            Misconception(
                name="bins from 1 to the largest t that was seen",
                breaks="the bins are equal parts of 1..T, whatever was seen: k = (t − 1) · bins // T",
                wrong=_binned(k=lambda t, T, bins: (t - 1) * bins // int(t.max())),
                reread=BINS,
            ),
            Misconception(
                name="(t − 1) // (T // bins): the width of a bin cut off to a whole number",
                breaks="k = (t − 1) · bins // T: multiply first, since T need not be a multiple of bins",
                wrong=_binned(k=lambda t, T, bins: (t - 1) // max(T // bins, 1)),
                reread=BINS,
            ),
            Misconception(
                name="bins with equally many examples",
                breaks="the bins are equal parts of 1..T",
                wrong=_binned(k=_equal_counts),
                reread=BINS,
            ),
            Misconception(
                name="the counts, and no errors",
                breaks="the mean of the errors in each bin",
                wrong=_binned(of=lambda total, count, B: count.to(total.dtype)),
                reread=BINS,
            ),
            Misconception(
                name="bins of width `bins`, not `bins` bins",
                breaks="k = (t − 1) · bins // T",
                wrong=_binned(k=lambda t, T, bins: (t - 1) // bins),
                reread=BINS,
            ),
            Misconception(
                name="the first bin holds the largest t",
                breaks="k = (t − 1) · bins // T rises with t",
                wrong=_binned(k=lambda t, T, bins: (T - t) * bins // T),
                reread=BINS,
            ),
        ),
        hints=(
            "First the number of the bin for each example, 0 … bins − 1. Mind that t begins at 1.",
            "k = (t - 1) * bins // T. errors[k == i] are those of bin i, and the mean of nothing is NaN.",
            "torch.stack([errors[k == i].mean() for i in range(bins)])",
        ),
    ),
)
