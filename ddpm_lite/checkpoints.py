"""Trained networks on disk: safetensors weights and, beside them, a JSON model card that says what they are.

    model, schedule, card = checkpoints.load("mnist")  # shipped with the course; or a path

The card holds what rebuilds the network, "model" (a UNetConfig) and "schedule" ({"name", "T", ...}), and what a
reader should know: data, licence, steps, minutes, machine, seed, command, quality. Nothing in either file is code.
"""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from . import schedules
from .schedules import Schedule
from .unet import UNet, UNetConfig

WEIGHTS = Path(__file__).parent / "weights"
FORMAT = "ddpm-lite checkpoint"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or should not be written; the message says why and what to do."""


def shipped() -> list[str]:
    """The names that `load` knows, in alphabetical order."""
    return sorted(p.stem for p in WEIGHTS.glob("*.safetensors") if not p.stem.startswith("features_"))


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: a crash or a full disk leaves the old file, if there was one, as it was.

    Raises OSError if the folder is missing or cannot be written.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")  # one file system
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the new name could reach the disk before the content
        os.chmod(temporary, 0o644)  # mkstemp keeps it to its owner; an ordinary file may be read
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def save(path: str | Path, model: UNet, schedule: Schedule | dict, card: dict) -> dict:
    """Write `path` (.safetensors) and the card beside it (.json); returns the card as written.

    schedule: a registered one with its default arguments, such as schedules.cosine(T=500), or, for any arguments, a
    dict such as {"name": "linear", "T": 500, "beta_T": 0.04}. card: the free fields.

    Raises CheckpointError for weights that are not finite, for a schedule that cannot be made, and for a card that
    JSON cannot hold or that sets one of the fields written here ("format", "model", "schedule").
    """
    path = _with_suffix(path)
    schedule = _describe(schedule, path)
    if taken := {"format", "model", "schedule"} & card.keys():
        raise CheckpointError(f"leave {', '.join(sorted(taken))} out of the card: save() writes it.")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _finite(tensors, path)
    card = {"format": FORMAT, "model": model.config.to_dict(), "schedule": schedule, **card}
    try:
        text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the card must hold plain numbers, strings, lists and dicts: {error}."
        ) from error
    write_atomic(path, serialise(tensors, metadata={"format": "pt"}))
    write_atomic(path.with_suffix(".json"), (text + "\n").encode())
    return json.loads(text)


def load(name_or_path: str | Path) -> tuple[UNet, Schedule, dict]:
    """A trained network, in eval() mode on the CPU, its schedule, and its card.

    name_or_path: one of `shipped()`, or the path of a .safetensors file with its .json card beside it.

    Raises CheckpointError if a file is missing, damaged or foreign, if weights and card do not belong together, or if
    the weights hold NaN.
    """
    path = _find(name_or_path)
    card = _read_card(path.with_suffix(".json"))
    tensors = _read_weights(path)
    _finite(tensors, path)
    model = _network(card, tensors, path).eval()
    return model, _schedule(card["schedule"], path), card


def _with_suffix(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped():
        return WEIGHTS / f"{name_or_path}.safetensors"
    path = _with_suffix(name_or_path)
    if path.is_file():
        return path
    near = {p.stem: str(p) for p in path.parent.glob("*.safetensors")} | {name: name for name in shipped()}
    close = [near[name] for name in difflib.get_close_matches(path.stem.lower(), near, n=3)]
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    names = ", ".join(map(repr, shipped())) or "none"
    raise CheckpointError(
        f"there is no checkpoint {str(name_or_path)!r}. {hint}Shipped with the course: {names}."
    )


def _read_card(path: Path) -> dict:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"the model card {path} is missing; it belongs beside the weights.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the model card {path} cannot be read: {error}.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f'{path} is no model card of this course (no "format": "{FORMAT}").')
    if missing := {"model", "schedule"} - card.keys():
        raise CheckpointError(
            f"the model card {path} lacks {', '.join(sorted(missing))}; checkpoints.save writes them."
        )
    return card


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return parse(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is cut off, damaged or no safetensors file ({error}). Fetch it again, or train it again."
        ) from error


def _network(card: dict, tensors: dict[str, Tensor], path: Path) -> UNet:
    try:
        with torch.device("meta"):  # no time spent on initial weights, no random numbers drawn
            model = UNet(UNetConfig(**card["model"]))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the card of {path} describes no U-Net: {error}") from error
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit the network in its card: {error}") from error
    return model


def _schedule(about, path: Path) -> Schedule:
    try:
        arguments = dict(about)
        return schedules.REGISTRY[arguments.pop("name")](**arguments)
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(map(repr, schedules.REGISTRY))
        raise CheckpointError(
            f'the schedule of {path} must be {{"name": one of {names}, "T": ..., ...}}, got {about!r} ({error}).'
        ) from error


def _describe(schedule: Schedule | dict, path: Path) -> dict:
    """The dict that makes the schedule again, tried before it is written."""
    about = {"name": schedule.name, "T": schedule.T} if isinstance(schedule, Schedule) else schedule
    made = _schedule(about, path)
    if isinstance(schedule, Schedule) and not torch.equal(made.beta, schedule.beta):
        raise CheckpointError(
            f"this is not {schedule.name} with its default arguments; "
            f'give a dict with all of them: {{"name": "{schedule.name}", "T": {schedule.T}, ...}}.'
        )
    return dict(about)


def _finite(tensors: dict[str, Tensor], path: Path) -> None:
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(
            f"the weights of {path} hold NaN or infinity, first in {bad[0]}. Use an earlier save."
        )
