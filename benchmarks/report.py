"""Tables as Markdown, and what machine they came from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from .measure import Timing, has_bf16, ratio


@dataclass
class Table:
    """A heading, what was measured, rows of text under column names, and notes on what is missing."""

    title: str
    about: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table, with a blank line before and after it. Raises ValueError for a row of the wrong length."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row of {self.title!r} has {len(row)} cells for {len(self.columns)} columns: {row}."
                )
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "".join(f"\n- {note}" for note in dict.fromkeys(self.notes))
        return f"## {self.title}\n\n{self.about}\n\n{body}\n" + (notes + "\n" if notes else "")


TIMING_COLUMNS = ("wall, ms", "CPU, ms", "wall, against ours", "CPU, against ours", "rounds")


def timing_cells(timing: Timing, ours: Timing) -> list[str]:
    """The cells under TIMING_COLUMNS: medians, and the ratio to ours, round by round, with its quartiles."""
    same = timing is ours
    return [
        f"{median(timing.wall) * 1e3:.2f}",
        f"{median(timing.cpu) * 1e3:.2f}",
        "1" if same else str(ratio(timing.wall, ours.wall)),
        "1" if same else str(ratio(timing.cpu, ours.cpu)),
        str(len(timing.wall)),
    ]


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def load() -> float | None:
    """How many processes wanted to run in the last minute, on average; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def machine(load_before: float | None) -> str:
    """A Markdown list: when, on what, with which versions, and how busy the machine was with other work."""
    versions = []
    for name in ("torch", "diffusers", "denoising-diffusion-pytorch", "ema-pytorch", "numpy", "matplotlib"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} missing")
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}; "
        f"bfloat16 arithmetic: {'yes' if has_bf16() else 'no'}",
        ", ".join(versions),
        f"threads: {torch.get_num_threads()}",
        busy(load_before, load(), torch.get_num_threads(), os.cpu_count() or 1),
    ]
    return "\n".join(f"- {line}" for line in lines)


def busy(before: float | None, after: float | None, threads: int, cores: int) -> str:
    """What the load averages say about other work on the machine."""
    if before is None or after is None:
        return "load average: this system does not tell"
    text = f"load average before {before:.1f}, after {after:.1f}, of which this run is about {threads}"
    if max(before, after - threads) > 0.5 * cores:
        return (
            text
            + ". **The machine was busy with other work**: trust the ratios, CPU before wall, and no wall time"
        )
    return text


def document(tables: Iterable[Table], load_before: float | None) -> str:
    """All of RESULTS.md."""
    head = (
        "# Results\n\nWritten by `python course.py bench`; not by hand.\n\n" + machine(load_before) + "\n\n"
        "Tasks take turns, and a ratio is the median over the rounds of one time over the other in the same round, "
        "with its quartiles. Above 1, ours is faster. *Wall* is time by the clock; *CPU* is the processor time of "
        "the process, which leaves out waiting for other programs. *FLOPs* are those of matrix products and "
        "convolutions, a multiply-add counting as two.\n"
    )
    return "\n".join([head, *(table.markdown() for table in tables)])
