"""What check and hint show: text in a plain terminal, a card in a notebook.

The card has a coloured edge and takes every other colour from the page, so that it can be read on a light
and on a dark theme; sign and words say the same as the colour. Nothing in it depends on the machine or the
moment, so that a test can compare it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape

from ddpm_lite.exercises.engine import Exercise, Verdict

GREEN, VERMILLION, BLUE, PURPLE = "#009E73", "#D55E00", "#0072B2", "#CC79A7"  # Okabe and Ito


@dataclass(frozen=True)
class Card:
    """A title with a sign before it, and rows of (label, text) below."""

    sign: str
    title: str
    rows: tuple[tuple[str, str], ...]
    colour: str

    def text(self) -> str:
        """For a plain terminal."""
        width = max(len(label) for label, _ in self.rows)
        lines = [f"  {label:<{width}}  {text}" for label, text in self.rows]
        return "\n".join([f"{self.sign} {self.title}", *lines])

    def html(self) -> str:
        """For a notebook. role="status" has a screen reader read it out when it appears."""
        style = f"border-left: 6px solid {self.colour}; padding: 4px 12px; margin: 4px 0"
        title = f"<div><strong>{escape(self.sign)} {escape(self.title)}</strong></div>"
        rows = [f"<div><em>{escape(label)}:</em> {escape(text)}</div>" for label, text in self.rows]
        return "\n".join([f'<div role="status" style="{style}">', title, *rows, "</div>"])


def of_verdict(verdict: Verdict) -> Card:
    """The card for a verdict."""
    exercise = verdict.exercise
    name = f"Exercise {exercise.id}, {exercise.title}"
    if verdict.correct:
        return Card("✓", f"{name}: correct.", (("Checked", verdict.headline), *verdict.rows), GREEN)
    own = f"The package's own {'answer' if exercise.is_value else 'function'} is used from here on."
    rows = verdict.rows
    if exercise.hints:
        rows += (("Stuck?", f'hint("{exercise.id}") gives one hint at a time'),)
    if verdict.status == "not attempted":
        return Card("○", f"{name}: {verdict.headline} {own}", rows, BLUE)
    return Card("✗", f"{name}: not right yet. {own}", (("Because", verdict.headline), *rows), VERMILLION)


def of_hint(exercise: Exercise, number: int) -> Card:
    """The card for the hint with this number, from 1; past the last one it says so."""
    name, total = f"Exercise {exercise.id}, {exercise.title}", len(exercise.hints)
    if not total:
        row = ("Try", "read the text above the exercise once more")
        return Card("?", f"{name}: no hints.", (row,), PURPLE)
    if number > total:
        row = ("That was", f'the last hint. hint("{exercise.id}") now begins again with the first')
        return Card("?", f"{name}: no more hints.", (row,), PURPLE)
    return Card("?", f"{name}: hint {number} of {total}.", (("Hint", exercise.hints[number - 1]),), PURPLE)


def show(card: Card) -> None:
    """As a card where IPython runs, else as text."""
    ipython = sys.modules.get("IPython")  # where it runs it is there; elsewhere it need not be imported
    if ipython and ipython.get_ipython():
        from IPython.display import display

        display({"text/plain": card.text(), "text/html": card.html()}, raw=True)
    else:
        print(card.text())
