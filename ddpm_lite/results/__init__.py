"""Measurements that took too long for a notebook: computed once by a committed command, stored small as JSON.

    ablation = results.load("ablation")
    print(ablation["command"])      # makes the file again

Each file says how it came about (ABOUT); the rest is its own. Nothing in it was typed by hand.
"""

from __future__ import annotations

import difflib
import json
import platform
from collections.abc import Iterable
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
# command: makes the file again. seeds: every seed used. minutes: of processor time. machine: what it ran on.
ABOUT = ("command", "seeds", "minutes", "machine")


class ResultsError(RuntimeError):
    """Stored results that are not there or are damaged; the message says what to do."""


def names() -> list[str]:
    """The names that `load` knows, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str, folder: str | Path = FOLDER) -> dict:
    """The stored results of this name. Raises ResultsError if they are not there, damaged, or lack an ABOUT field."""
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        near = ", ".join(difflib.get_close_matches(name, names(), 3, 0.4) or names())
        raise ResultsError(f"there are no results {name!r}; there are: {near or 'none yet'}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [field for field in ABOUT if field not in content]
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path.name} is damaged ({error}). Take it anew from the course.") from error
    if missing:
        raise ResultsError(f"{path.name} does not say its {', '.join(missing)}.")
    return content


def about(command: str, seeds: Iterable[int], seconds: float, threads: int = 1) -> dict:
    """The ABOUT fields for results made on this machine, in so many seconds of processor time."""
    machine = f"{platform.machine()}, {threads} thread{'s'[: threads > 1]}, PyTorch {torch.__version__.split('+')[0]}"
    return {"command": command, "seeds": list(seeds), "minutes": round(seconds / 60, 1), "machine": machine}


def short(values: Iterable) -> list[float]:
    """Numbers of five digits, as plain floats: what is measured here is not known more exactly."""
    return [float(f"{float(value):.5g}") for value in values]


def save(name: str, content: dict, folder: str | Path = FOLDER) -> Path:
    """Write results under a name; returns the file.

    Raises ResultsError if `content` lacks an ABOUT field or holds what JSON cannot (NaN included).
    """
    if missing := [field for field in ABOUT if field not in content]:
        raise ResultsError(f"results say how they came about: {', '.join(missing)} missing.")
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ResultsError(
            f"results must hold plain, finite numbers, strings, lists and dicts: {error}."
        ) from error
    path = Path(folder) / f"{name}.json"
    path.write_text(text + "\n", encoding="utf-8")
    return path
