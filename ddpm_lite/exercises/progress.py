"""What a learner has solved, kept across restarts in one small file of their own. Nothing is sent anywhere.

    from ddpm_lite.exercises import progress
    progress.show()

The file is .ddpm-lite/progress.json in the home folder. The environment variable DDPM_LITE_PROGRESS names
another place for it, or says "off". A file that cannot be read or written never spoils a check.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ddpm_lite import checkpoints

VARIABLE = "DDPM_LITE_PROGRESS"
FORMAT = "ddpm-lite progress"


@dataclass(frozen=True)
class Chapter:
    """One chapter's line: its number, how many exercises it has, which are solved, which were tried in vain."""

    number: str
    total: int
    solved: tuple[str, ...]
    tried: tuple[str, ...]

    def line(self) -> str:
        """For a terminal: "01  ●●●○·  3 of 5": solved, tried, not begun."""
        marks = "●" * len(self.solved) + "○" * len(self.tried)
        return f"{self.number}  {marks:·<{self.total}}  {len(self.solved)} of {self.total}"


def path() -> Path | None:
    """Where the file is or will be; None if DDPM_LITE_PROGRESS says "off" or there is no home folder."""
    place = os.environ.get(VARIABLE, "")
    if place == "off":
        return None
    try:
        return Path(place) if place else Path.home() / ".ddpm-lite" / "progress.json"
    except RuntimeError:  # a container without a home
        return None


def read() -> dict[str, dict]:
    """What is known of each exercise, by id: {"tries": int, "solved": "2026-01-31" or None}. {} if there is none."""
    place = path()
    try:
        content = json.loads(place.read_text(encoding="utf-8")) if place else {}
        entries = content["exercises"] if content.get("format") == FORMAT else {}
        return {id_: {"tries": int(e["tries"]), "solved": e["solved"]} for id_, e in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # none yet, or one that somebody has edited: it is worth less than a check that works


def note(id_: str, correct: bool) -> None:
    """Write down one try. What was solved once stays solved. Never raises."""
    place = path()
    if place is None:
        return
    entries = read()
    entry = entries.setdefault(id_, {"tries": 0, "solved": None})
    entry["tries"] += 1
    if correct and not entry["solved"]:
        entry["solved"] = date.today().isoformat()
    text = json.dumps({"format": FORMAT, "exercises": dict(sorted(entries.items()))}, indent=1)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.write_atomic(place, text.encode())
    except OSError:
        pass  # a read-only home: the check matters more


def forget() -> bool:
    """Delete the file; whether there was one."""
    place = path()
    if place is None or not place.is_file():
        return False
    place.unlink()
    return True


def summary() -> list[Chapter]:
    """A line for every chapter that has exercises, in order."""
    from ddpm_lite.exercises.registry import registry  # which uses this module

    entries, lines = read(), []
    for number in registry.chapters():
        ids = list(registry.chapter(number))
        solved = tuple(id_ for id_ in ids if entries.get(id_, {}).get("solved"))
        tried = tuple(id_ for id_ in ids if id_ in entries and id_ not in solved)
        lines.append(Chapter(number, len(ids), solved, tried))
    return lines


def text() -> str:
    """The table for a terminal or a notebook, with where it is kept."""
    lines = summary()
    done, total = sum(len(one.solved) for one in lines), sum(one.total for one in lines)
    table = ["chapter  ● solved  ○ tried  · not begun", *(one.line() for one in lines)]
    place = path()
    kept = f"kept in {_short(place)}, and nowhere else" if place else f"not kept: {VARIABLE} says so"
    return "\n".join([*table, f"{done} of {total} exercises; {kept}"])


def _short(place: Path) -> str:
    """~/… where it is in the home folder."""
    try:
        return str(Path("~") / place.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(place)


def show() -> None:
    """Print the table."""
    print(text())


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(prog="progress", description="Which exercises are solved.")
    parser.add_argument("--forget", action="store_true", help="delete the record and begin anew")
    if parser.parse_args(arguments).forget:
        print("forgotten" if forget() else "there was nothing to forget")
    else:
        show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
