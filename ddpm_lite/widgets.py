"""Sliders, `scrubber` for frames that are known beforehand and `live` for pictures computed on the spot; and
`live_loss`, the curve of a training that is under way.

A scrubber is a piece of HTML that holds all its frames and its own small program (static/scrubber.js): it
moves in a stored notebook before anything is run, on a static page, and after the kernel is gone. A live
picture needs the kernel: core ipywidgets controls above an image that is redrawn at every step of a slider.
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import json
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from ddpm_lite import viz

STATIC = Path(__file__).parent / "static"
CONTACT = 6  # frames on a scrubber's contact sheet
SMOOTH = 0.98  # the decay of the running mean of a loss
LIVE_SHARP = 1.5  # dots a CSS pixel in a live figure: between the sharpness of a dense screen and speed


# --------------------------------------------------------------------------------------------------
# Frames known beforehand


def scrubber(
    frames,
    labels: Sequence[str] | None = None,
    *,
    alt: str,
    ncol: int | None = None,
    fps: float = 12.0,
    scale: int | None = None,
    start: int = 0,
    loop: bool = False,
    quality: int | None = None,
) -> Scrubber:
    """A slider over frames, with play button, keys and speed, that needs no kernel: the last value of a cell.

    `frames`: images as `viz.pixels` takes them, (F, C, H, W); or (F, N, C, H, W), each frame a grid of N
    images, `ncol` a row. `labels`: one short text a frame ("t = 640"). `alt`: what the pictures show, for
    those who cannot see them. `fps`: frames a second at 1x. `scale`: CSS pixels a pixel, whole; None: about
    256 in all. `start`: the frame shown first, negative from the end. `loop`: play begins anew at the end.
    `quality`: None keeps every pixel (PNG); 1..100 is WebP of that quality, for noisy colour photographs,
    which no lossless format makes small. Raises TypeError and ValueError that say what to change.
    """
    sheet = _frames(frames, ncol)
    count = len(sheet)
    labels = _labels(labels, count)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a number of frames a second above 0, got {fps!r}.")
    if not -count <= start < count:
        raise ValueError(f"start must be a frame, {-count}..{count - 1}, got {start}.")
    _, _, height, width = sheet.shape
    scale = scale or viz.default_scale(width, height)
    viz.enlarge(sheet[0, 0, :1, :1], scale)  # says what is wrong with a scale that is no whole number
    options = {
        "width": width,
        "height": height,
        "ncol": math.ceil(math.sqrt(count)),
        "frames": count,
        "scale": int(scale),
        "fps": fps,
        "start": start % count,
        "loop": bool(loop),
        "labels": labels,
        "alt": viz.checked_alt(alt),
    }
    return Scrubber(options, *_sheet(sheet, options["ncol"], quality), _contact_sheet(sheet, labels))


def _frames(frames, ncol: int | None) -> np.ndarray:
    """(F, C, H, W) or (F, N, C, H, W) -> uint8 (F, C, H', W'), the N images of a frame tiled into one."""
    if isinstance(frames, (list, tuple)):
        raise TypeError("frames must be one tensor or array (F, C, H, W); torch.stack(list) makes it.")
    ndim = getattr(frames, "ndim", None)
    if ndim == 5 and not len(frames):
        raise ValueError(f"frames is empty: shape {tuple(frames.shape)}. There is nothing to scrub through.")
    if ndim == 5:
        tiled = [viz.tile(viz.pixels(frame, f"frame {i}"), ncol) for i, frame in enumerate(frames)]
        grids = np.stack(tiled).reshape(len(tiled), *tiled[0].shape[:2], -1)
        return grids.transpose(0, 3, 1, 2)  # (F, H', W', C) -> (F, C, H', W')
    if ndim not in (None, 4):
        raise ValueError(
            f"frames must have shape (F, C, H, W) or (F, N, C, H, W), got {tuple(frames.shape)}."
        )
    if ncol is not None:
        raise ValueError(
            "ncol arranges the N images of a frame: it goes with frames of shape (F, N, C, H, W)."
        )
    return viz.pixels(frames, "frames")


def _labels(labels: Sequence[str] | None, count: int) -> list[str]:
    if labels is None:
        return [f"frame {i + 1} of {count}" for i in range(count)]
    labels = list(labels)
    if len(labels) != count:
        raise ValueError(f"labels must hold one string for each of the {count} frames, got {len(labels)}.")
    wrong = [x for x in labels if not isinstance(x, str)]
    if wrong:
        raise TypeError(f'labels must be strings, got {wrong[0]!r}; f"t = {{t}}" makes one.')
    return labels


def _sheet(frames: np.ndarray, ncol: int, quality: int | None) -> tuple[bytes, str]:
    """All frames in one image file, row by row without gaps, and its MIME type."""
    array = viz.tile(frames, ncol, gap=0)
    buffer = io.BytesIO()
    if quality is None:
        Image.fromarray(array).save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), "image/png"
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(
            f"quality must be None (every pixel kept) or a whole number 1..100, got {quality!r}."
        )
    Image.fromarray(array).convert("RGB").save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue(), "image/webp"


def _contact_sheet(frames: np.ndarray, labels: list[str]) -> bytes:
    """A few frames, evenly spaced, first and last among them, with their labels: a small PNG."""
    count = min(len(frames), CONTACT)
    chosen = [round(i * (len(frames) - 1) / max(1, count - 1)) for i in range(count)]
    fig = viz.grid(frames[chosen], titles=[labels[i].replace("$", r"\$") for i in chosen], ncol=min(count, 3))
    buffer = io.BytesIO()
    Image.fromarray(viz.render(fig, viz.DPI)).quantize(128).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class Scrubber:
    """Frames under a slider. Made by `scrubber`; shows itself as the last value of a cell, or by `display`.

    A notebook gets HTML with the sprite sheet and the program in it, and a contact sheet as image/png. HTML,
    and not a widget's comm, because a notebook is stored without widget state: this one still moves.
    Where scripts may not run (an untrusted notebook) the HTML shows the contact sheet.
    """

    def __init__(self, options: dict, sheet: bytes, mime: str, contact: bytes):
        self.options, self.sheet, self.mime, self.contact = options, sheet, mime, contact

    def __len__(self) -> int:
        return self.options["frames"]

    def __repr__(self) -> str:
        labels = self.options["labels"]
        return f"Scrubber: {len(self)} frames, {labels[0]} … {labels[-1]}. {self.options['alt']}"

    def to_html(self, script: bool = True) -> str:
        """The scrubber as HTML, complete in itself. `script=False`: without style and program, for a page
        that loads static/scrubber.css and static/scrubber.js once and calls its `mountAll()`."""
        options = {**self.options, "sheet": viz.data_url(self.sheet, self.mime)}
        data = html.escape(json.dumps(options, ensure_ascii=False, separators=(",", ":")))
        labels = self.options["labels"]
        caption = (
            f"{len(self)} frames, {labels[0]} … {labels[-1]}. "
            "They become a slider once the cell is run or the notebook is trusted."
        )
        still = viz.Picture(self.contact, self.options["alt"]).to_html()
        figure = (
            f'<figure class="ddpm-scrubber" data-scrubber="{data}">'
            f"{still}<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
        return figure + (self._program() if script else "")

    @staticmethod
    def _program() -> str:
        css, js = ((STATIC / f"scrubber.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        return f'\n<style>\n{css}</style>\n<script type="module">\n{js}mountAll();\n</script>'

    def _repr_mimebundle_(self, include=None, exclude=None):
        contact = base64.b64encode(self.contact).decode()
        data = {"text/plain": repr(self), "text/html": self.to_html(), "image/png": contact}
        return data, {"image/png": {"alt": self.options["alt"]}}

    def as_widget(self) -> ScrubberWidget:
        """The same scrubber as a widget with a live kernel: `.index` follows the slider, and moves it."""
        options = {key: value for key, value in self.options.items() if key != "start"}
        return ScrubberWidget(sheet=self.sheet, options=options, index=self.options["start"])


class ScrubberWidget(anywidget.AnyWidget):
    """A scrubber to combine with other widgets: put it in an HBox, observe or set `index` (0..F-1)."""

    _esm = STATIC / "scrubber.js"
    _css = STATIC / "scrubber.css"
    sheet = traitlets.Bytes().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("index")
    def _inside(self, proposal):
        if not 0 <= proposal["value"] < self.options.get("frames", 1):
            raise traitlets.TraitError(
                f"index must be 0..{self.options['frames'] - 1}, got {proposal['value']}."
            )
        return proposal["value"]


# --------------------------------------------------------------------------------------------------
# Pictures computed on the spot


def live(draw: Callable, *, alt: str | Callable[..., str], **controls) -> Live:
    """A picture under controls, computed anew whenever one of them moves: the last value of a cell.

    `draw(**values)` gets the controls' values by name and returns a Figure, images as `viz.pixels` takes
    them, or PNG bytes. It runs under `torch.no_grad`; while a cell is busy it may run in another thread, so
    let it make its own seeded `torch.Generator` and stay away from pyplot. It is fastest when the figure is
    made once, outside, and `draw` only changes it (`set_data`) and returns it. `controls`: ipywidgets, or
    what `interact` takes, (0, 1000), (0.0, 1.0, 0.01), ["linear", "cosine"], True. `alt`: what the picture
    shows, a text or a function of the same values. The first picture is drawn at once and its errors are
    raised; later ones are shown under the picture. Raises TypeError or ValueError for what is no control.
    """
    return Live(draw, alt, {name: _control(name, value) for name, value in controls.items()})


def _control(name: str, value) -> ipywidgets.Widget:
    """A widget with a value, made from an abbreviation if need be, in the course's layout."""
    try:
        widget = ipywidgets.interactive.widget_from_abbrev(value)
    except (TypeError, ValueError, traitlets.TraitError) as error:
        raise ValueError(f"control {name}={value!r} makes no slider: {error}") from error
    if widget is None or not hasattr(widget, "value"):
        raise TypeError(
            f"control {name}={value!r} is neither a widget with a value nor an abbreviation such as "
            '(0, 1000), (0.0, 1.0, 0.01), ["linear", "cosine"] or True.'
        )
    widget.description = widget.description or name
    if hasattr(widget, "style"):
        widget.style.description_width = "initial"
    widget.layout.width = widget.layout.width or "min(100%, 30rem)"
    if widget.has_trait("continuous_update"):
        widget.continuous_update = True
    return widget


class Live(ipywidgets.VBox):
    """Controls, a picture and a place for errors. Made by `live`.

    `.controls` by name; `.png` the last picture's bytes. A notebook also gets the picture as it is now, for
    viewers that show no widgets.
    """

    _ipython_display_ = None  # ipywidgets 7 has one that would hide the other representations

    def __init__(self, draw: Callable, alt: str | Callable[..., str], controls: dict[str, ipywidgets.Widget]):
        if not controls:
            raise ValueError(
                "live needs at least one control, live(draw, alt=..., t=(0, 1000)); else viz.show."
            )
        self.controls = controls
        self._draw, self._alt = draw, alt if callable(alt) else viz.checked_alt(alt)
        self._busy, self._stale = threading.Lock(), False
        self._image = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self._said, self._error = ipywidgets.HTML(), ipywidgets.HTML()
        _check_call(draw, self._values())
        self._publish(*self._compute(self._values()))
        super().__init__([*controls.values(), self._image, self._said, self._error])
        self.add_class("ddpm-live")
        for control in controls.values():
            control.observe(self._request, names="value")

    @property
    def png(self) -> bytes:
        """The picture that is shown now."""
        return self._image.value

    def _values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def _request(self, _change=None) -> None:
        """Draw the newest values. Whoever comes while a drawing is under way only leaves word and goes: the
        one who draws looks again when done. A slow machine skips values, but never ends on an old one."""
        self._stale = True
        while self._stale and self._busy.acquire(blocking=False):
            try:
                self._stale = False
                self._redraw()
            finally:
                self._busy.release()

    def _redraw(self) -> None:
        try:
            self._publish(*self._compute(self._values()))
            self._error.value = ""
        except Exception as error:  # the learner's function may raise anything: say it, and stay alive
            self._error.value = _error_html(error, self._draw)

    def _compute(self, values: dict) -> tuple[bytes, int, str]:
        """Call `draw`: the picture as PNG bytes, its width in CSS pixels, and its alt text."""
        with torch.no_grad():
            picture = self._draw(**values)
        alt = viz.checked_alt(self._alt(**values) if callable(self._alt) else self._alt)
        return *_fast_png(picture), alt

    def _publish(self, data: bytes, width: int, alt: str) -> None:
        if str(width) != self._image.width:
            self._image.width = str(width)
        self._image.value = data
        if alt != getattr(self, "_now", None):
            self._now, self._said.value = alt, _alt_html(alt)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {value}" for name, value in self._values().items())
        return f"Live picture at {values}. {self._now}"

    def _repr_mimebundle_(self, include=None, exclude=None, **kwargs):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        small = viz.encode(np.asarray(Image.open(io.BytesIO(self.png)).convert("RGB")))  # it will be stored
        still, metadata = viz.Picture(small, self._now, int(self._image.width))._repr_mimebundle_()
        return {**still, "text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}, metadata


def _check_call(draw: Callable, values: dict) -> None:
    try:
        inspect.signature(draw).bind(**values)
    except TypeError as error:
        raise TypeError(f"draw must take the controls {', '.join(values)} as arguments: {error}.") from error


def _fast_png(picture) -> tuple[bytes, int]:
    """Like `viz.png`, for speed: fewer dots, light compression, and a figure laid out only once. Also the
    width in CSS pixels."""
    if isinstance(picture, Figure):
        array = viz.render(picture, viz.DPI * LIVE_SHARP)
        picture.set_layout_engine("none")  # what the first drawing arranged stays: no jumping, half the time
        return viz.encode(array, fast=True), round(array.shape[1] / LIVE_SHARP)
    data = viz.png(picture)
    return data, viz.png_size(data)[0]


def _alt_html(alt: str) -> str:
    """Text for screen readers, which hands itself on to the picture: ipywidgets' Image has no alt text.

    The one-pixel image's `onload` finds the picture beside it. It also keeps JupyterLab from taking keys that
    are pressed on a control (b inserts a cell, ...). Where a host forbids it, the text is read nevertheless.
    """
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    hand_over = (
        "const live = this.closest('.ddpm-live');"
        "live.querySelector('img.widget-image').alt = this.dataset.alt;"
        "for (const e of live.querySelectorAll('.noUi-handle, select, input'))"
        " e.dataset.lmSuppressShortcuts = 'true';"
    )
    hidden = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"
    text = html.escape(alt)
    return (
        f'<div aria-live="polite" style="{hidden}">{text}'
        f'<img src="{pixel}" alt="" data-alt="{text}" onload="{hand_over}"></div>'
    )


def _error_html(error: Exception, draw: Callable) -> str:
    """What went wrong and in which line of `draw`, on one quiet card."""
    code = getattr(draw, "__code__", None)
    inside = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    where = (
        f" (line {inside[-1].lineno}: <code>{html.escape(inside[-1].line or '')}</code>)" if inside else ""
    )
    what = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}{where}"
    style = f"border-left: 4px solid {viz.COLORS['vermillion']}; padding: 2px 10px; line-height: 1.5"
    return f'<div role="alert" style="{style}">{what}</div>'


# --------------------------------------------------------------------------------------------------
# A training that is under way


def live_loss(steps: Iterable, total: int, *, seconds: float = 1.0, title: str = "loss") -> Iterator:
    """Hand on `steps`, and draw their losses as they come, in one picture that redraws itself.

        for step in widgets.live_loss(train.ddpm(...), total=config.steps):
            ...

    `steps`: anything that yields objects with `.number` (1..total) and `.loss`, as `train.ddpm` does.
    `seconds`: the least time between two drawings. When the loop ends, or is left, or fails, the curve shows
    all that was there. Raises ValueError as `LossCurve` does.
    """
    curve = LossCurve(total, seconds=seconds, title=title)
    try:
        for step in steps:
            curve.update(step.number, step.loss)
            yield step
    finally:
        curve.close()


class LossCurve:
    """The picture behind `live_loss`, for a loop of one's own: `curve.update(number, loss)`, then `curve.close()`.

    Dots: the loss of single steps. Line: their running mean. Drawing takes no more than about a twentieth of
    the time, however slow the machine. Raises ValueError for a total below 1.
    """

    def __init__(self, total: int, *, seconds: float = 1.0, title: str = "loss"):
        if total < 1:
            raise ValueError(f"total must be the number of steps, 1 or more, got {total}.")
        self.total, self.seconds = total, seconds
        self.numbers: list[int] = []
        self.losses: list[float] = []
        self.means: list[float] = []
        self._start = self._due = time.monotonic()
        self._shown = 0  # losses in the picture
        self._display = None
        self._figure, self._axes = viz.figure(6.4, 2.4)
        (self._dots,) = self._axes.plot([], [], ".", color=viz.COLORS["sky"], markersize=2.5, alpha=0.6)
        (self._line,) = self._axes.plot([], [], color=viz.COLORS["blue"], linewidth=1.6)
        self._axes.set(xlim=(0, total), xlabel="step", ylabel=title, yscale="log")
        self._axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        self._axes.yaxis.set_major_formatter("{x:g}")
        self._axes.yaxis.set_minor_locator(NullLocator())
        self._figure.set_layout_engine("none")  # room for any label, so that nothing jumps
        self._axes.set_position((0.13, 0.21, 0.84, 0.67))

    def update(self, number: int, loss: float) -> None:
        """Take in the loss of step `number`; draw, if the last drawing is long enough ago."""
        count, loss = len(self.losses), float(loss)
        decay = min(
            SMOOTH, count / (count + 5)
        )  # short at first, or the high losses of the start would linger
        self.means.append(loss if not count else decay * self.means[-1] + (1 - decay) * loss)
        self.numbers.append(number)
        self.losses.append(loss)
        if time.monotonic() >= self._due:
            self.draw()

    def draw(self) -> None:
        """Draw now."""
        from IPython.display import display  # only a notebook needs it

        begin = time.monotonic()
        picture = self.picture()
        if self._display is None:
            self._display = display(picture, display_id=True)
        else:
            self._display.update(picture)
        self._shown = len(self.losses)
        now = time.monotonic()
        self._due = now + max(self.seconds, 20 * (now - begin))

    def close(self) -> None:
        """Draw what has not been drawn yet. Nothing to do where there was no step."""
        if self._shown < len(self.losses):
            self.draw()

    def picture(self) -> viz.Picture:
        """The curve as it is now."""
        self._dots.set_data(self.numbers, self.losses)
        self._line.set_data(self.numbers, self.means)
        self._axes.relim()
        self._axes.autoscale_view(scalex=False)
        self._axes.set_title(self._state(), fontsize=9, loc="left")
        data, width = _fast_png(self._figure)
        return viz.Picture(data, f"The loss over the steps of the training. {self._state()}", width)

    def _state(self) -> str:
        if not self.numbers:
            return f"0 of {self.total} steps"
        spent = time.monotonic() - self._start
        left = spent / len(self.numbers) * (self.total - self.numbers[-1])
        time_left = f", about {left:.0f} s to go" if self.numbers[-1] < self.total else ""
        return f"{self.numbers[-1]} of {self.total} steps in {spent:.0f} s{time_left}, running mean {self.means[-1]:.4f}"
