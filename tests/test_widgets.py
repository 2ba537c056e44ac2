"""Scrubbers hold every pixel and say what they show; live pictures follow the newest value and survive errors."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from ddpm_lite import viz, widgets

VIEW = "application/vnd.jupyter.widget-view+json"


def decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def frames(*shape, seed=0):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def frame(scrubber: widgets.Scrubber, i: int) -> np.ndarray:
    """Frame i as scrubber.js cuts it out of the sheet: (H, W, 3)."""
    o = scrubber.options
    x, y = i % o["ncol"] * o["width"], i // o["ncol"] * o["height"]
    return decode(scrubber.sheet)[y : y + o["height"], x : x + o["width"]]


def stored_options(html_text: str) -> dict:
    return json.loads(html.unescape(re.search(r'data-scrubber="([^"]*)"', html_text)[1]))


# the scrubber --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 4, 6), (7, 1, 4, 6), (10, 3, 5, 3), (101, 3, 2, 2)])
def test_every_pixel_of_every_frame_is_in_the_sheet(shape):
    x = frames(*shape)
    s = widgets.scrubber(x, alt="noise")
    assert len(s) == shape[0]
    for i in range(shape[0]):
        assert (frame(s, i) == x[i].permute(1, 2, 0).numpy()).all()


def test_floats_and_bytes_give_the_same_scrubber():
    x = frames(4, 1, 5, 5)
    as_bytes, as_floats = (widgets.scrubber(v, alt="noise") for v in (x, x.float() / 127.5 - 1))
    assert as_bytes.sheet == as_floats.sheet


@pytest.mark.parametrize("c", [1, 3])
def test_a_frame_of_many_images_is_their_grid(c):
    x = frames(5, 6, c, 4, 3)
    s = widgets.scrubber(x, alt="noise", ncol=3)
    assert (s.options["height"], s.options["width"]) == (2 * 4 + 1, 3 * 3 + 2)
    for i in range(5):
        assert (frame(s, i) == viz.tile(x[i], 3).reshape(9, 11, -1)).all()


def test_quality_makes_noisy_photographs_small_and_still_like():
    x = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1) * 0.3
    exact, small = widgets.scrubber(x, alt="noise"), widgets.scrubber(x, alt="noise", quality=80)
    assert small.mime == "image/webp"
    assert len(small.sheet) < len(exact.sheet) / 2
    assert np.abs(frame(small, 4).astype(int) - frame(exact, 4)).mean() < 20
    assert "data:image/webp;base64," in small.to_html()


def test_a_hundred_frames_of_28_by_28_noise_stay_under_150_kilobytes():
    s = widgets.scrubber(frames(101, 1, 28, 28), [f"t = {10 * i}" for i in range(101)], alt="noise")
    assert len(s.to_html()) < 150_000


def test_what_is_stored_in_the_notebook():
    labels = [f't = {t} "<&é̂>"' for t in range(3)]
    s = widgets.scrubber(
        frames(3, 1, 4, 4), labels, alt='a "digit" & <noise>', fps=5, scale=7, start=-1, loop=True
    )
    data, metadata = s._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "image/png"}  # no widget view: it would need a state
    assert data["text/plain"] == f'Scrubber: 3 frames, {labels[0]} … {labels[2]}. a "digit" & <noise>'
    options = stored_options(data["text/html"])
    assert options["labels"] == labels
    assert options["alt"] == metadata["image/png"]["alt"] == 'a "digit" & <noise>'
    assert {k: options[k] for k in ("fps", "scale", "start", "loop", "frames", "width", "height", "ncol")} == {
        "fps": 5, "scale": 7, "start": 2, "loop": True, "frames": 3, "width": 4, "height": 4, "ncol": 2,
    }  # fmt: skip
    assert base64.b64decode(options["sheet"].split(",")[1]) == s.sheet
    assert 'alt="a &quot;digit&quot; &amp; &lt;noise&gt;"' in data["text/html"]
    assert viz.png_size(base64.b64decode(data["image/png"])) > (0, 0)


def test_the_html_holds_the_program_once_and_no_address_of_another_place():
    text = widgets.scrubber(frames(2, 1, 4, 4), alt="noise").to_html()
    program = (widgets.STATIC / "scrubber.js").read_text(encoding="utf-8")
    assert text.count(program) == 1
    assert "</script" not in program
    assert "</style" not in (widgets.STATIC / "scrubber.css").read_text(encoding="utf-8")
    assert not re.search(r"https?:|src=\"(?!data:)", text.replace("http://www.w3.org", ""))
    assert "<script" not in widgets.scrubber(frames(2, 1, 4, 4), alt="noise").to_html(script=False)


def test_the_same_frames_give_the_same_bytes():
    make = lambda: widgets.scrubber(frames(5, 3, 6, 6), alt="noise")._repr_mimebundle_()  # noqa: E731
    assert make() == make()


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 50])
def test_the_contact_sheet_shows_first_and_last_and_their_labels(count, monkeypatch):
    drawn = {}
    grid = viz.grid
    monkeypatch.setattr(viz, "grid", lambda x, **kw: drawn.update(x=x, **kw) or grid(x, **kw))
    x = frames(count, 1, 6, 6)
    widgets.scrubber(x, [f"${i}$" for i in range(count)], alt="noise")
    assert len(drawn["x"]) == len(drawn["titles"]) == min(count, widgets.CONTACT)
    assert (drawn["x"][0] == x[0].numpy()).all()
    assert (drawn["x"][-1] == x[-1].numpy()).all()
    assert drawn["titles"][-1] == rf"\${count - 1}\$"  # a dollar sign is a dollar sign, not mathematics


NAN = torch.zeros(3, 1, 4, 4)
NAN[2, 0, 1, 1] = float("nan")
GOOD = torch.zeros(3, 1, 4, 4)
BAD = [
    (torch.zeros(0, 1, 4, 4), {}, ValueError, "empty"),
    (torch.zeros(0, 2, 1, 4, 4), {}, ValueError, "frames is empty"),
    (torch.zeros(3, 0, 1, 4, 4), {}, ValueError, "frame 0 is empty"),
    (NAN, {}, ValueError, "frames holds NaN or infinity, first in image 2"),
    (NAN[:, None], {}, ValueError, "frame 2 holds NaN"),
    (GOOD.long(), {}, TypeError, "frames must be uint8"),
    (torch.zeros(3, 4, 4), {}, ValueError, r"\(F, C, H, W\).*got \(3, 4, 4\)"),
    (torch.zeros(3, 2, 4, 4), {}, ValueError, "1 or 3 channels"),
    ([GOOD[0]], {}, TypeError, "torch.stack"),
    ("frames", {}, TypeError, "got str"),
    (GOOD, {"labels": ["a", "b"]}, ValueError, "each of the 3 frames, got 2"),
    (GOOD, {"labels": [1, 2, 3]}, TypeError, "labels must be strings, got 1"),
    (GOOD, {"ncol": 2}, ValueError, "ncol arranges"),
    (GOOD[None], {"ncol": 0}, ValueError, "ncol must be"),
    (GOOD, {"fps": 0}, ValueError, "fps must be"),
    (GOOD, {"fps": float("nan")}, ValueError, "fps must be"),
    (GOOD, {"start": 3}, ValueError, r"start must be a frame, -3\.\.2, got 3"),
    (GOOD, {"scale": 1.5}, ValueError, "scale must be"),
    (GOOD, {"scale": -1}, ValueError, "scale must be"),
    (GOOD, {"quality": 0}, ValueError, "quality must be"),
    (GOOD, {"quality": 200}, ValueError, "quality must be"),
    (GOOD, {"alt": ""}, ValueError, "alt must"),
    (GOOD, {"alt": None}, TypeError, "alt must"),
]


@pytest.mark.parametrize(("x", "kwargs", "error", "message"), BAD)
def test_what_makes_no_scrubber_is_named(x, kwargs, error, message):
    with pytest.raises(error, match=message):
        widgets.scrubber(x, **{"alt": "noise", **kwargs})


def test_alt_text_cannot_be_forgotten():
    with pytest.raises(TypeError, match="alt"):
        widgets.scrubber(GOOD)


def test_as_widget_holds_the_same_and_checks_its_index():
    s = widgets.scrubber(frames(4, 1, 5, 5), alt="noise", start=2)
    w = s.as_widget()
    assert (w.sheet, w.index, w.options["frames"]) == (s.sheet, 2, 4)
    w.index = 3
    with pytest.raises(traitlets.TraitError, match=r"index must be 0\.\.3, got 4"):
        w.index = 4
    assert w.index == 3


def test_the_program_is_a_module_that_parses_and_exports_what_its_hosts_call():
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the browser tests run the program too")
    source = base64.b64encode((widgets.STATIC / "scrubber.js").read_bytes()).decode()
    check = (
        "import('data:text/javascript;base64,' + process.argv[1])"
        ".then((m) => console.log(typeof m.mount, typeof m.mountAll, typeof m.default.render))"
    )
    run = subprocess.run(["node", "-e", check, source], capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["function"] * 3, run.stderr


# the live picture ----------------------------------------------------------------------------------


def grey(t):
    """A picture that says its t: one pixel of that grey."""
    return torch.full((1, 1), t / 50 - 1)


def shade(live) -> int:
    return int(decode(live.png)[0, 0, 0])


def test_the_picture_follows_its_controls():
    seen = []

    def draw(t, name):
        seen.append((t, name))
        return grey(t)

    live = widgets.live(draw, alt="grey", t=(0, 100), name=["linear", "cosine"])
    assert seen == [(50, "linear")]
    live.controls["t"].value = 100
    live.controls["name"].value = "cosine"
    assert seen[1:] == [(100, "linear"), (100, "cosine")]
    assert shade(live) == 255


def test_controls_may_be_widgets_or_abbreviations():
    own = ipywidgets.FloatLogSlider(value=1e-2, min=-4, max=0, description="β", continuous_update=False)
    live = widgets.live(
        lambda **_: grey(3), alt="grey", t=(0, 9), s=(0.0, 1.0, 0.01), k=["a", "b"], on=True, b=own
    )
    kinds = [type(c).__name__ for c in live.controls.values()]
    assert kinds == ["IntSlider", "FloatSlider", "Dropdown", "Checkbox", "FloatLogSlider"]
    assert live.controls["b"] is own
    assert [c.description for c in live.controls.values()] == ["t", "s", "k", "on", "β"]
    assert all(c.continuous_update for c in live.controls.values() if c.has_trait("continuous_update"))


FIGURE, AX = viz.figure(2, 1)


@pytest.mark.parametrize(
    "picture",
    [FIGURE, torch.zeros(8, 8), torch.zeros(3, 8, 8), frames(4, 1, 8, 8), viz.png(frames(3, 8, 8))],
    ids=["figure", "grey", "colour", "several", "png"],
)
def test_draw_may_return_any_picture(picture):
    live = widgets.live(lambda t: picture, alt="something", t=(0, 3))
    assert min(viz.png_size(live.png)) > 8


def test_a_figure_keeps_the_layout_of_its_first_drawing():
    fig, ax = viz.figure(3, 2)
    live = widgets.live(lambda t: ax.set_ylabel("x\n" * t) and fig, alt="axes", t=(0, 5))
    before = ax.get_position().bounds
    live.controls["t"].value = 5
    assert ax.get_position().bounds == before


def test_draw_runs_without_gradients_in_whatever_thread_it_is_called():
    grad = []
    weight = torch.ones(1, requires_grad=True)
    live = widgets.live(lambda t: grad.append((weight * t).requires_grad) or grey(t), alt="grey", t=(0, 9))
    thread = threading.Thread(target=lambda: setattr(live.controls["t"], "value", 7))
    thread.start()
    thread.join()
    assert grad == [False, False]
    assert torch.is_grad_enabled()


def test_no_pyplot_figure_is_made_or_changed():
    import matplotlib.pyplot as plt

    live = widgets.live(lambda t: viz.histogram(torch.linspace(-1, 1, 50) * t), alt="histogram", t=(1, 5))
    thread = threading.Thread(target=lambda: setattr(live.controls["t"], "value", 2))
    thread.start()
    thread.join()
    assert plt.get_fignums() == []


def test_values_that_come_during_a_drawing_are_skipped_but_for_the_newest():
    drawn, entered, go_on = [], threading.Event(), threading.Event()

    def draw(t):
        drawn.append(t)
        if t == 10:
            entered.set()
            assert go_on.wait(10)
        return grey(t)

    live = widgets.live(draw, alt="grey", t=ipywidgets.IntSlider(0, 0, 100))
    slow = threading.Thread(target=lambda: setattr(live.controls["t"], "value", 10))
    slow.start()
    assert entered.wait(10)
    for t in (20, 30, 40, 100):  # the slider goes on while the drawing of 10 is under way
        live.controls["t"].value = t
    assert drawn == [0, 10]
    go_on.set()
    slow.join(10)
    assert drawn == [0, 10, 100]
    assert shade(live) == 255


def test_an_error_is_shown_and_the_next_value_clears_it():
    def draw(t):
        if t == 3:
            raise ValueError("t = 3 <is> bad")
        return grey(t)

    live = widgets.live(draw, alt="grey", t=ipywidgets.IntSlider(0, 0, 9))
    before = live.png
    live.controls["t"].value = 3
    message = live.children[-1].value
    assert "<b>ValueError</b>: t = 3 &lt;is&gt; bad" in message
    assert "raise ValueError" in message  # the line of draw
    assert 'role="alert"' in message
    assert live.png == before
    live.controls["t"].value = 9
    assert live.children[-1].value == ""
    assert live.png != before


def test_an_error_in_the_picture_itself_is_shown_too():
    live = widgets.live(
        lambda t: torch.full((4, 4), 0.0 if t < 3 else float("nan")), alt="grey", t=(0, 2 * 2)
    )
    live.controls["t"].value = 4
    assert "NaN or infinity" in live.children[-1].value


def test_an_error_in_the_first_drawing_is_raised():
    with pytest.raises(ZeroDivisionError):
        widgets.live(lambda t: 1 / 0, alt="grey", t=(0, 3))


@pytest.mark.parametrize(
    ("draw", "alt", "controls", "error", "message"),
    [
        (grey, "grey", {}, ValueError, "at least one control"),
        (grey, "grey", {"t": object()}, TypeError, "control t=<object"),
        (grey, "grey", {"t": (5, 1)}, ValueError, r"control t=\(5, 1\)"),
        (grey, "grey", {"t": ipywidgets.Label}, (TypeError, ValueError), "control t="),
        (grey, "grey", {"u": (0, 3)}, TypeError, "draw must take the controls u"),
        (grey, "grey", {"t": (0, 3), "u": (0, 3)}, TypeError, "draw must take the controls t, u"),
        (grey, "", {"t": (0, 3)}, ValueError, "alt must"),
        (grey, lambda t: "", {"t": (0, 3)}, ValueError, "alt must"),
        (lambda t: "text", "grey", {"t": (0, 3)}, TypeError, "got str"),
        (lambda t: None, "grey", {"t": (0, 3)}, TypeError, "got NoneType"),
    ],
)
def test_what_makes_no_live_picture_is_named(draw, alt, controls, error, message):
    with pytest.raises(error, match=message):
        widgets.live(draw, alt=alt, **controls)


def test_alt_text_follows_the_values():
    live = widgets.live(grey, alt=lambda t: f'"{t}" <grey>', t=ipywidgets.IntSlider(1, 0, 9))
    assert 'data-alt="&quot;1&quot; &lt;grey&gt;"' in live.children[-2].value
    live.controls["t"].value = 4
    assert "&quot;4&quot; &lt;grey&gt;<img" in live.children[-2].value


def test_viewers_without_widgets_get_the_picture_as_it_is_now():
    live = widgets.live(lambda t: viz.histogram(torch.linspace(-1, t, 9)), alt="A histogram", t=(0, 4))
    live.controls["t"].value = 3
    data, _ = live._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "image/png", VIEW}
    assert data[VIEW]["model_id"] == live.model_id
    assert data["text/plain"] == "Live picture at t = 3. A histogram"
    assert 'alt="A histogram"' in data["text/html"]
    shown, stored = decode(live.png).astype(int), decode(base64.b64decode(data["image/png"])).astype(int)
    assert np.abs(shown - stored).mean() < 0.5
    del data[VIEW]
    assert live._repr_mimebundle_()[0].items() >= data.items()


def test_a_cell_shows_all_representations():
    """IPython asks `_ipython_display_` first, which ipywidgets 7 has; it must not hide the mime bundle."""
    from IPython.core.interactiveshell import InteractiveShell

    live = widgets.live(grey, alt="grey", t=(0, 4))
    data, _ = InteractiveShell.instance().display_formatter.format(live)
    assert {"image/png", "text/html", VIEW} <= set(data)


# a training under way ------------------------------------------------------------------------------


class Screen:
    """What IPython.display.display does, as far as a picture that redraws itself needs it."""

    def __init__(self, monkeypatch):
        self.pictures = []
        monkeypatch.setattr("IPython.display.display", self.display)

    def display(self, picture, display_id=None):
        assert display_id is True
        self.pictures.append(picture)
        return self

    def update(self, picture):
        self.pictures.append(picture)


@dataclass
class Step:
    number: int
    loss: float


def test_live_loss_hands_on_every_step_and_ends_with_all_of_them_drawn(monkeypatch):
    screen = Screen(monkeypatch)
    steps = [Step(n, 1 / n) for n in range(1, 401)]
    assert list(widgets.live_loss(steps, total=400, seconds=60)) == steps
    assert len(screen.pictures) == 2  # the first step at once, the rest at the end: a minute was not over
    assert "1 of 400 steps" in screen.pictures[0].alt
    last = screen.pictures[-1].alt
    assert "400 of 400 steps" in last and "to go" not in last


def test_loss_is_smoothed_without_a_bias_to_its_start():
    curve = widgets.LossCurve(100, seconds=0)
    curve.draw = lambda: None
    for number in range(1, 101):
        curve.update(number, 0.25)
    assert np.allclose(curve.means, 0.25)
    curve.update(101, 1.25)
    assert 0.25 < curve.means[-1] < 0.3 and curve.losses[-1] == 1.25


def test_running_mean_does_not_trail_behind_a_loss_that_falls_fast():
    curve = widgets.LossCurve(200, seconds=0)
    curve.draw = lambda: None
    for number in range(1, 201):
        curve.update(number, 1.0 if number <= 5 else 0.1)
    assert curve.means[49] < 0.13 and abs(curve.means[-1] - 0.1) < 0.003


def test_curve_is_drawn_when_a_training_is_left_or_fails(monkeypatch):
    def fails():
        yield Step(1, 1.0)
        yield Step(2, 0.5)
        raise RuntimeError("the loss became nan")

    screen = Screen(monkeypatch)
    with pytest.raises(RuntimeError, match="nan"):
        list(widgets.live_loss(fails(), total=9, seconds=60))
    assert "2 of 9 steps" in screen.pictures[-1].alt

    for step in (left := widgets.live_loss((Step(n, 1.0) for n in range(1, 10)), total=9, seconds=60)):
        if step.number == 4:
            break
    left.close()
    assert "4 of 9 steps" in screen.pictures[-1].alt


def test_drawing_takes_a_small_share_of_the_time(monkeypatch):
    screen, now = Screen(monkeypatch), [0.0]
    monkeypatch.setattr(widgets.time, "monotonic", lambda: now[0])
    curve = widgets.LossCurve(1000, seconds=0.1)
    slow = viz.picture(np.zeros((4, 4), np.uint8), alt="a slow drawing")

    def picture():
        now[0] += 0.5  # a machine on which a drawing takes half a second
        return slow

    curve.picture = picture
    for number in range(1, 1001):
        now[0] += 0.1  # and a step a tenth
        curve.update(number, 1.0)
    assert 5 <= len(screen.pictures) <= 12  # 100 s of steps; more than a twentieth of it would be 11


def test_curve_needs_a_step_to_show_and_a_total(monkeypatch):
    screen = Screen(monkeypatch)
    assert list(widgets.live_loss([], total=3)) == [] and not screen.pictures
    with pytest.raises(ValueError, match="number of steps"):
        widgets.LossCurve(0)
