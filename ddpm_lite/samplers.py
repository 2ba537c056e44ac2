"""Sampling (DDPM algorithm 2): a generator that yields after every step, so that the loop stays yours.

    for step in samplers.ddpm(model, (16, 1, 28, 28), schedule, generator=g):
        print(step.t, step.xt.std())

Other loops over the same steps: `sample` (the images, with a progress bar), `last`, `record` (chosen frames).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import process, validate
from .schedules import Schedule

EpsModel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What one reverse step leaves.

    t: the level reached, T-1 after the first step and 0 after the last. xt: x_t, float, the shape asked for.
    x0_hat: the clean image that the network expected during the step (clipped if `clip`).
    """

    t: int
    xt: Tensor
    x0_hat: Tensor


def ddpm(
    eps_model: EpsModel,
    shape: tuple[int, ...],
    schedule: Schedule,
    variance: str = "beta",
    clip: bool = True,
    generator: torch.Generator | None = None,
    xT: Tensor | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[Step]:
    """DDPM algorithm 2, from noise x_T to an image x_0; yields a `Step` after each of the T steps.

    eps_model(xt, t) -> eps_hat, with t int64 (B,), 1..T; put a network into eval() mode first.
    variance: sigma_t^2, "beta" or "beta_tilde" (section 3.2).
    clip: hold x0_hat in [-1, 1], as the paper's code does.
    generator: where the noise comes from, on `device`: x_T first, then one z a step.
    xT: start from this instead, float, of shape `shape`.

    Raises ValueError for an unknown variance, a wrong xT, or a network whose output has the wrong shape or is
    not finite (it says at which t); TypeError for an xT that is not float.
    """
    validate.one_of(variance, ("beta", "beta_tilde"), "variance")
    xt = _start(shape, xT, generator, device)
    return _steps(eps_model, xt, _coefficients(schedule, variance), clip, generator)


def _start(shape, xT: Tensor | None, generator: torch.Generator | None, device) -> Tensor:
    if xT is None:
        return torch.randn(shape, generator=generator, device=device)
    validate.floating(xT, "xT")
    if xT.shape != tuple(shape):
        raise ValueError(f"xT must have the shape asked for, {tuple(shape)}, got {tuple(xT.shape)}.")
    return xT.detach().to(device)


def _coefficients(schedule: Schedule, variance: str) -> list[tuple[float, ...]]:
    """For each t the five numbers of a step, as Python floats: the loop then holds no table look-ups."""
    alpha_bar = schedule.alpha_bar
    of_x0, of_xt = process.posterior_coefficients(schedule)
    sigma = getattr(schedule, variance).clone().sqrt()
    sigma[1] = 0  # algorithm 2, line 3: no noise is added at t = 1
    table = torch.stack([alpha_bar.rsqrt(), (1 / alpha_bar - 1).sqrt(), of_x0, of_xt, sigma], dim=1)
    return [tuple(row) for row in table.tolist()]


def _steps(eps_model: EpsModel, xt: Tensor, coefficients, clip: bool, generator) -> Iterator[Step]:
    for t in range(len(coefficients) - 1, 0, -1):
        # A `with` around the yield would switch gradients off in the caller's code too, so it closes before.
        with torch.no_grad():
            xt, x0_hat = _step(eps_model, xt, t, coefficients[t], clip, generator)
        yield Step(t - 1, xt, x0_hat)


def _step(eps_model: EpsModel, xt: Tensor, t: int, row, clip: bool, generator) -> tuple[Tensor, Tensor]:
    x0_of_xt, x0_of_eps, mu_of_x0, mu_of_xt, sigma = row
    eps_hat = eps_model(xt, torch.full((len(xt),), t, device=xt.device))
    if eps_hat.shape != xt.shape:
        raise ValueError(
            f"the network must return the shape of xt, {tuple(xt.shape)}, got {tuple(eps_hat.shape)}."
        )
    if not torch.isfinite(eps_hat).all():
        raise ValueError(
            f"the network gave NaN or infinity at t = {t}. Was it trained, and with this schedule?"
        )
    x0_hat = x0_of_xt * xt - x0_of_eps * eps_hat  # DDPM eq. (4), solved for x_0
    if clip:
        x0_hat = x0_hat.clamp(-1, 1)
    mean = mu_of_x0 * x0_hat + mu_of_xt * xt  # DDPM eq. (7)
    if sigma == 0:
        return mean, x0_hat
    z = torch.randn(xt.shape, generator=generator, device=xt.device, dtype=xt.dtype)
    return mean + sigma * z, x0_hat


def at_timesteps(eps_model: EpsModel, tau: Tensor) -> EpsModel:
    """The network for a respaced chain: step i of the short chain asks it about timestep tau[i].

    tau: int64 (steps+1,), from `schedules.respace`.
    Raises TypeError for another dtype, ValueError if tau is not 1-D.
    """
    if tau.is_floating_point() or tau.dtype == torch.bool:
        raise TypeError(f"tau must be int64, got {tau.dtype}; schedules.respace(schedule, steps) gives it.")
    if tau.ndim != 1:
        raise ValueError(f"tau must have shape (steps+1,), got {tuple(tau.shape)}.")
    return lambda xt, i: eps_model(xt, tau.to(i.device)[i])


def as_eps(
    model: Callable[..., Tensor], schedule: Schedule, prediction: str = "eps"
) -> Callable[..., Tensor]:
    """A network that predicts "v" or "x0" (`train.TrainConfig.prediction`) as the eps_model that samplers expect.

    schedule: the one it was trained with. On a respaced chain wrap it first: at_timesteps(as_eps(...), tau).
    Further arguments, as the labels, are passed on. Raises ValueError for a name not in process.PREDICTIONS.
    """
    validate.one_of(prediction, process.PREDICTIONS, "prediction")
    if prediction == "eps":
        return model
    to_eps = process.eps_from_v if prediction == "v" else process.predict_eps
    return lambda xt, t, *rest: to_eps(xt, t, model(xt, t, *rest), schedule)


def last(steps: Iterable[Step]) -> Step:
    """Run the chain to its end: the last `Step`, whose xt is x_0. Raises ValueError if there was no step."""
    final = None
    for step in steps:
        final = step
    if final is None:
        raise ValueError("no steps were left: a generator runs once; call samplers.ddpm(...) again.")
    return final


def record(steps: Iterable[Step], at: Iterable[int]) -> list[Step]:
    """Run the chain to its end and keep the steps that reach a t in `at`, noisiest first; on the CPU.

    Raises ValueError if the chain never reaches one of them (it visits T-1..0).
    """
    wanted = set(at)
    kept = [Step(s.t, s.xt.cpu(), s.x0_hat.cpu()) for s in steps if s.t in wanted]
    if missing := wanted - {s.t for s in kept}:
        raise ValueError(f"the chain never reached t = {min(missing)}; it visits T-1 down to 0.")
    return kept


def frames_at(T: int, count: int) -> list[int]:
    """`count` levels for `record`, evenly from T-1 down to 0. Raises ValueError unless 1 <= count <= T."""
    if not 1 <= count <= T:
        raise ValueError(f"count must lie in 1..{T}, got {count}.")
    return [0] if count == 1 else [round((T - 1) * k / (count - 1)) for k in reversed(range(count))]


def sample(
    eps_model: EpsModel, shape: tuple[int, ...], schedule: Schedule, progress: bool = True, **options
) -> Tensor:
    """The images at the end of the chain, float (B, C, H, W), with a progress bar; options as in `ddpm`."""
    steps = ddpm(eps_model, shape, schedule, **options)
    return last(tqdm(steps, total=schedule.T, desc="sampling", disable=not progress)).xt
