"""Training (DDPM algorithm 1): a generator that takes one step at a time, so that the loop stays yours.

    for step in train.ddpm(model, images, schedule, config, checkpoint="run.safetensors"):
        print(step.number, step.loss)

All randomness of step n follows from (seed, n) alone. That is why a run that was cut off and resumed ends with
the very same weights as one that was not.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import checkpoints, data, process, validate
from .schedules import Schedule


class TrainingError(RuntimeError):
    """Training cannot go on (a foreign or damaged run file, a loss that is NaN); the message says what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. lr rises over `warmup` steps and, if `decay`, falls to 0 along a cosine by the last step.

    ema: the decay of the averaged weights, itself warmed up; grad_clip: largest gradient norm;
    label_drop: share of examples whose label is hidden; bf16: compute in bfloat16 where the processor has it;
    save_every: steps between saves of the run file. prediction: what the network learns to predict, "eps" as in
    the paper, "v" or "x0" (process.PREDICTIONS); sample the latter two through `samplers.as_eps`.
    """

    steps: int = 1000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 100
    decay: bool = True
    ema: float = 0.995
    grad_clip: float = 1.0
    label_drop: float = 0.2
    bf16: bool = False
    save_every: int = 200
    seed: int = 0
    prediction: str = "eps"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every) < 1 or self.warmup < 0:
            raise ValueError(
                f"steps, batch and save_every must be 1 or more and warmup 0 or more, got {self}."
            )
        if not (self.lr > 0 and self.grad_clip > 0 and 0 <= self.ema < 1 and 0 <= self.label_drop < 1):
            raise ValueError(f"lr and grad_clip must be positive, ema and label_drop in [0, 1), got {self}.")
        validate.one_of(self.prediction, process.PREDICTIONS, "prediction")


@dataclass
class TrainStep:
    """What one step leaves: its number (1..steps), the loss, and the averaged (EMA) model."""

    number: int
    loss: float
    ema: nn.Module


def learning_rate(config: TrainConfig, number: int) -> float:
    """The learning rate of step `number` (1..steps)."""
    rise = min(1.0, number / max(config.warmup, 1))
    fall = 0.5 * (1 + math.cos(math.pi * (number - 1) / config.steps)) if config.decay else 1.0
    return config.lr * rise * fall


def ema_decay(decay: float, number: int) -> float:
    """The decay of the average at step `number` (1, 2, ...): it rises to `decay`, so that the random start is forgotten."""
    return min(decay, (1 + number) / (10 + number))


def _generator(config: TrainConfig, stream: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed((config.seed * 3 + stream) * 1_000_003 + number)


def batch_indices(config: TrainConfig, count: int, number: int) -> Tensor:
    """Which images step `number` sees: epochs of shuffled images, each a function of (seed, epoch). int64 (batch,)."""
    places = torch.arange((number - 1) * config.batch, number * config.batch)
    epochs = places // count
    shuffles = {
        e: torch.randperm(count, generator=_generator(config, 0, e)) for e in epochs.unique().tolist()
    }
    return torch.stack(
        [shuffles[e][p] for e, p in zip(epochs.tolist(), (places % count).tolist(), strict=True)]
    )


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * model, for every parameter."""
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


def _loss(
    model: nn.Module, x0: Tensor, y: Tensor | None, schedule: Schedule, config: TrainConfig, number: int
) -> Tensor:
    """L_simple, DDPM eq. (14), on one batch, of what is predicted; drawn on the CPU: every device sees the same."""
    g = _generator(config, 1, number)
    t = torch.randint(1, schedule.T + 1, (len(x0),), generator=g)
    eps = torch.randn(x0.shape, generator=g).to(x0.device)
    if y is not None:
        y = torch.where(torch.rand(len(y), generator=g) < config.label_drop, model.null_label, y).to(
            x0.device
        )
    target = process.target(x0, t, eps, schedule, config.prediction)
    xt, t = process.q_sample(x0, t, eps, schedule), t.to(x0.device)
    with (
        torch.random.fork_rng(devices=[]),
        torch.autocast(x0.device.type, torch.bfloat16, enabled=config.bf16),
    ):
        torch.random.manual_seed(
            config.seed * 1_000_003 + number
        )  # dropout is the one user of the global generator
        predicted = model(xt, t) if y is None else model(xt, t, y)
    return (target - predicted.float()).square().mean()


def ddpm(
    model: nn.Module,
    images: Tensor,
    schedule: Schedule,
    config: TrainConfig,
    labels: Tensor | None = None,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
) -> Iterator[TrainStep]:
    """Train `model` to predict the noise in `images` (or see `config.prediction`); yields after every step.

    images: uint8 (N, C, H, W). labels: int64 (N,) for a conditional model. checkpoint: a run file, saved every
    `config.save_every` steps and when the loop is left; if it exists, training goes on from it.
    device: "cpu", "cuda" or "mps".

    Raises TypeError or ValueError for wrong data, TrainingError for a foreign or damaged run file and for a loss
    that is not finite (the last save is kept).
    """
    _check(model, images, labels)
    model.to(device).train()
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    adam = torch.optim.Adam(model.parameters(), lr=config.lr, fused=device != "mps")
    done = saved = _resume(checkpoint, model, ema, adam, config) if checkpoint else 0
    try:
        for number in range(done + 1, config.steps + 1):
            loss = _step(model, ema, adam, images, labels, schedule, config, number, device)
            done = number
            if checkpoint and (number % config.save_every == 0 or number == config.steps):
                save_run(checkpoint, model, ema, adam, config, number)
                saved = number
            yield TrainStep(number, loss, ema)
    except (KeyboardInterrupt, GeneratorExit):
        if checkpoint and saved < done:
            save_run(checkpoint, model, ema, adam, config, done)
        raise


def _step(model, ema, adam, images, labels, schedule, config, number, device) -> float:
    index = batch_indices(config, len(images), number)
    x0 = data.from_uint8(images[index]).to(device)
    loss = _loss(model, x0, None if labels is None else labels[index], schedule, config, number)
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss became {float(loss.detach())} at step {number}. Lower lr (now {config.lr}); the last save is kept."
        )
    adam.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    for group in adam.param_groups:
        group["lr"] = learning_rate(config, number)
    adam.step()
    update_ema(ema, model, ema_decay(config.ema, number))
    return float(loss.detach())


def _check(model: nn.Module, images: Tensor, labels: Tensor | None) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
        raise TypeError(
            f"images must be uint8 (N, C, H, W) with N >= 1, got {images.dtype} {tuple(images.shape)}; data.to_uint8 helps."
        )
    if labels is not None and (labels.shape != (len(images),) or labels.is_floating_point()):
        raise ValueError(
            f"labels must be integers of shape ({len(images)},), got {labels.dtype} {tuple(labels.shape)}."
        )
    if labels is not None and not hasattr(model, "null_label"):
        raise ValueError("labels were given, but the model takes none; build it with classes > 0.")


def save_run(
    path: str | Path,
    model: nn.Module,
    ema: nn.Module,
    adam: torch.optim.Optimizer,
    config: TrainConfig,
    number: int,
) -> None:
    """Write all that resuming needs to one safetensors file, whole or not at all."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()} | {
        f"ema.{k}": v for k, v in ema.state_dict().items()
    }
    for i, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {"config": json.dumps(asdict(config)), "step": str(number), "format": "ddpm-lite run"}
    checkpoints.write_atomic(path, serialise(tensors, metadata=about))


def _read_run(path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(str(path), "pt") as f:
            names = f.keys()
            about, tensors = f.metadata() or {}, {name: f.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise TrainingError(
            f"{path} is damaged or no run file ({error}). Move it away to start afresh."
        ) from error
    if about.get("format") != "ddpm-lite run":
        raise TrainingError(f"{path} is no run file of this course. Use another file name.")
    return about, tensors


def _resume(path, model, ema, adam, config) -> int:
    """Load a run file if there is one; returns the number of the last step done."""
    if not Path(path).exists():
        return 0
    about, tensors = _read_run(path)
    written = asdict(TrainConfig()) | json.loads(
        about["config"]
    )  # a setting it does not know had its default
    if written != asdict(config):
        raise TrainingError(
            f"{path} belongs to another run (its settings differ). Use another file name, or move it away."
        )
    try:
        for prefix, module in (("model.", model), ("ema.", ema)):
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise TrainingError(f"{path} holds another network: {error}") from error
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    return int(about["step"])


def fit(*args, progress: bool = True, **kwargs) -> nn.Module:
    """`ddpm` to its end with a progress bar; takes the same arguments and returns the averaged (EMA) model."""
    config = next((a for a in (*args, *kwargs.values()) if isinstance(a, TrainConfig)), None)
    if config is None:
        raise TypeError("fit needs a TrainConfig; it takes the arguments of train.ddpm.")
    ema, smooth = None, None
    with tqdm(total=config.steps, disable=not progress, desc="training", unit="step") as bar:
        for step in ddpm(*args, **kwargs):
            ema = step.ema
            smooth = step.loss if smooth is None else 0.98 * smooth + 0.02 * step.loss
            bar.update(step.number - bar.n)
            bar.set_postfix(loss=f"{smooth:.4f}")
    if ema is None:
        raise TrainingError("this run was finished before; load its checkpoint, or give another run file.")
    return ema


def averaged_weights(path: str | Path) -> dict[str, Tensor]:
    """The EMA weights in a run file, as a state dict. Raises TrainingError if it is damaged or foreign."""
    _, tensors = _read_run(path)
    return {k[len("ema.") :]: v for k, v in tensors.items() if k.startswith("ema.")}
