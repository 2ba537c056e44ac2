"""The command: python -m benchmarks [NAMES] [--quick]."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import torch

from . import report

NAMES = ("sampling", "slider", "training", "threads", "memory")
RESULTS = Path(__file__).with_name("RESULTS.md")


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the package beside its peers."
    )
    p.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to measure, of {', '.join(NAMES)} (default: all)"
    )
    p.add_argument(
        "--quick",
        action="store_true",
        help="smallest size, three rounds: shows that all runs, measures little",
    )
    p.add_argument("--seconds", type=float, default=40, help="time limit of each comparison (default 40)")
    p.add_argument(
        "--rounds", type=int, default=30, help="rounds of each comparison, if time allows (default 30)"
    )
    p.add_argument(
        "--threads", type=int, default=1, help="threads (default 1, which neighbours disturb least)"
    )
    p.add_argument(
        "--out", type=Path, help=f"file for the tables (default: {RESULTS.name} here, when all is measured)"
    )
    return p


def settings(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options with what follows from them: sizes, batch, rounds and where to write."""
    from . import models

    options = parser().parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser().error(f"nothing to measure is called {min(unknown)!r}; choose from {', '.join(NAMES)}.")
    if options.rounds < 3 or options.threads < 1:
        parser().error("--rounds must be 3 or more and --threads 1 or more.")
    whole = not options.names and not options.quick
    options.names = options.names or list(NAMES)
    options.sizes = list(models.SIZES)[:1] if options.quick else list(models.SIZES)
    options.batch = 2 if options.quick else 32
    options.rounds = 3 if options.quick else options.rounds
    options.out = options.out or (RESULTS if whole else None)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, show each table when it is done, and write the file."""
    options, before, tables = settings(arguments), report.load(), []
    torch.set_num_threads(options.threads)
    for name in options.names:
        print(f"measuring: {name} …", file=sys.stderr, flush=True)
        for table in importlib.import_module(f".{name}", __package__).run(options):
            print(table.markdown(), flush=True)
            tables.append(table)
        if options.out:  # after each subject, so that a run that is cut off leaves what it has
            options.out.write_text(report.document(tables, before), encoding="utf-8")
            print(f"written: {options.out}", file=sys.stderr)
    print(report.machine(before))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
