"""Scrubbers and live pictures in a real JupyterLab and on a static page, moved by keys and mouse as a person does.

Pictures are compared pixel by pixel. Latencies, key press to new picture, are printed (`pytest -rP`) and not
asserted: they belong to benchmarks/.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading

import pytest
import torch
from hands import LivePicture, Scrubber
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ddpm_lite import viz, widgets

COUNT = 21
ALT = "A grey ramp dissolves into noise."


def ramp_into_noise() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-1, 1, 28).repeat(28, 1)[None]
    return torch.stack(
        [ramp * (1 - a) + a * torch.randn(1, 28, 28, generator=g) for a in torch.linspace(0, 1, COUNT)]
    )


FRAMES = ramp_into_noise()
LABELS = [f"t = {50 * i}" for i in range(COUNT)]
SETUP = f"""
import ipywidgets
import torch
from ddpm_lite import viz, widgets
g = torch.Generator().manual_seed(0)
ramp = torch.linspace(-1, 1, 28).repeat(28, 1)[None]
x = torch.stack([ramp * (1 - a) + a * torch.randn(1, 28, 28, generator=g) for a in torch.linspace(0, 1, {COUNT})])
labels = [f"t = {{50 * i}}" for i in range({COUNT})]
"""


def notebook(*cells) -> dict:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=[new_markdown_cell("# A test"), *cells], metadata={"kernelspec": kernel})


def stored(source: str, shown) -> dict:
    """A code cell with the output that `shown` leaves in a stored notebook."""
    data, metadata = shown._repr_mimebundle_()
    output = new_output("execute_result", data=data, metadata=metadata, execution_count=1)
    return new_code_cell(source, outputs=[output], execution_count=1)


@pytest.fixture(scope="module")
def scrubber() -> widgets.Scrubber:
    return widgets.scrubber(FRAMES, LABELS, alt=ALT, fps=30)


def shows(s: Scrubber, i: int) -> None:
    """Picture, label, slider and what a screen reader says all agree on frame i."""
    assert (s.pixels() == viz.pixels(FRAMES)[i, 0]).all(), f"the picture is not frame {i}"
    assert s.label.inner_text() == LABELS[i]
    assert s.slider.get_attribute("aria-valuetext") == LABELS[i]
    assert s.slider.input_value() == str(i)
    assert s.canvas.get_attribute("aria-label") == f"{ALT} {LABELS[i]}"


def move_by_every_key(page, s: Scrubber) -> None:
    shows(s, 0)
    s.slider.focus()
    for key, frame in [
        ("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("ArrowDown", 0), ("ArrowDown", 0), ("End", COUNT - 1),
        ("ArrowRight", COUNT - 1), ("PageDown", COUNT - 4), ("PageUp", COUNT - 1), ("Home", 0),
    ]:  # fmt: skip
        page.keyboard.press(key)
        shows(s, frame)
    s.button.focus()
    page.keyboard.press("ArrowRight")
    shows(s, 1)


def play_to_the_end(page, s: Scrubber) -> None:
    assert s.button.get_attribute("aria-label") == "Play"
    s.root.evaluate("""root => { window.seen = [];
        new MutationObserver((changes) => changes.forEach(({ target, attributeName }) =>
            seen.push(target.getAttribute(attributeName)))).observe(root, { subtree: true,
                attributes: true, attributeFilter: ["aria-label", "aria-valuetext"] }); }""")
    s.speed.select_option("2")
    s.button.click()
    page.wait_for_function("i => i.value === i.max", arg=s.slider.element_handle())
    shows(s, COUNT - 1)
    assert s.button.get_attribute("aria-label") == "Play"
    seen = page.evaluate("seen")
    assert "Pause" in seen
    assert len(set(seen) & set(LABELS)) > 2  # it went there frame by frame, as fast as the machine could
    s.slider.focus()
    s.speed.select_option("0.25")
    page.keyboard.press("Space")  # plays again, from the start, slowly ...
    page.wait_for_function("i => 0 < i.valueAsNumber && i.valueAsNumber < 10", arg=s.slider.element_handle())
    page.keyboard.press("Space")  # ... and stops there
    assert s.button.get_attribute("aria-label") == "Play"
    shows(s, int(s.slider.input_value()))


def test_a_stored_scrubber_moves_before_anything_is_run(lab, page, scrubber):
    name = lab.add("stored.ipynb", notebook(stored("1 / 0  # never run", scrubber)))
    with lab.opened(page, name):
        s = Scrubber(page)
        move_by_every_key(page, s)
        play_to_the_end(page, s)
        box = s.slider.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        shows(s, COUNT // 2)
        print(f"latency: scrubber in JupyterLab {s.latency():.1f} ms")
        assert page.console == []


def test_jupyterlab_takes_no_key_from_the_scrubber(lab, page, scrubber):
    """In command mode b inserts a cell, x deletes one, and the arrows walk from cell to cell."""
    name = lab.add("keys.ipynb", notebook(stored("1 / 0  # never run", scrubber), new_code_cell("'a cell'")))
    state = "() => { const n = jupyterapp.shell.currentWidget.content; return [n.widgets.length, n.activeCellIndex]; }"
    with lab.opened(page, name):
        s = Scrubber(page)
        for part in (s.slider, s.button, s.speed):
            part.focus()
            before = page.evaluate(state)
            for key in ("b", "ArrowDown", "ArrowUp", "x"):
                page.keyboard.press(key)
            page.wait_for_timeout(300)  # JupyterLab runs its commands a little later
            assert page.evaluate(state) == before
            assert part.evaluate("node => node === document.activeElement")


def test_an_untrusted_notebook_shows_the_contact_sheet_until_it_is_run(lab, page, scrubber):
    cell = stored(SETUP + f"widgets.scrubber(x, labels, alt={ALT!r})", scrubber)
    name = lab.add("untrusted.ipynb", notebook(cell), trusted=False)
    with lab.opened(page, name):
        sheet = page.get_by_alt_text(ALT)
        sheet.wait_for()
        assert sheet.evaluate("i => i.decode().then(() => i.naturalWidth)") > 200
        assert page.locator(".jp-OutputArea canvas, .jp-OutputArea script").count() == 0
        assert "21 frames, t = 0 … t = 1000" in page.locator("figcaption").inner_text()
        assert page.console == []
        lab.run_all(page)
        move_by_every_key(page, Scrubber(page))
        assert page.console == []


LIVE = """
fig, (left, right) = viz.figure(5, 2.2, 1, 2)
artist = viz.image(left, x[0])
bars = right.bar(range(10), [0] * 10)
right.set_ylim(0, 1)
def draw(t):
    if t == 13:
        raise ValueError("thirteen")
    artist.set_data(viz.tile(x[t]))
    for i, bar in enumerate(bars):
        bar.set_height((t * (i + 1) % 11) / 11)
    return fig
widgets.live(draw, alt=lambda t: f"The ramp at t = {t}", t=ipywidgets.IntSlider(0, 0, 20))
"""
ARRAY = """widgets.live(lambda t: x[t], alt="The ramp", t=ipywidgets.IntSlider(0, 0, 20))"""
WIDGET = f"""
scrub = widgets.scrubber(x, labels, alt={ALT!r}).as_widget()
said = ipywidgets.Label()
scrub.observe(lambda change: setattr(said, "value", f"the kernel saw {{change.new}}"), "index")
ipywidgets.HBox([scrub, said])
"""


@pytest.fixture(scope="module")
def running(lab, shared_page):
    """A page on a notebook with two live pictures and a scrubber as widget, all run."""
    name = lab.add("live.ipynb", notebook(*map(new_code_cell, (SETUP, LIVE, ARRAY, WIDGET))))
    with lab.opened(shared_page, name):
        lab.run_all(shared_page)
        yield shared_page


def live_picture(page, index: int) -> LivePicture:
    return LivePicture(page, page.locator(".ddpm-live").nth(index))


def test_a_live_slider_changes_its_picture(running):
    live = live_picture(running, 0)
    pictures = [live.drawing()]
    for key in ("ArrowRight", "ArrowRight", "End"):
        live.press(key)
        pictures.append(live.drawing())
    assert len(set(pictures)) == 4
    live.press("Home")
    assert live.drawing() == pictures[0]  # the same value, the same picture
    assert running.console == []
    array = live_picture(running, 1)
    print(f"latency: live figure {live.latency():.0f} ms, live array {array.latency():.0f} ms")


def test_the_alt_text_of_a_live_picture_follows(running):
    live = live_picture(running, 0)
    live.press("Home") if live.image.get_attribute("alt") != "The ramp at t = 0" else None
    live.press("ArrowRight")
    running.wait_for_function("i => i.alt === 'The ramp at t = 1'", arg=live.image.element_handle())
    assert live.root.get_by_text("The ramp at t = 1").get_attribute("aria-live") == "polite"


def test_an_error_is_shown_below_and_the_next_value_clears_it(running):
    live = live_picture(running, 0)
    live.press("End")
    for _ in range(20 - 13):
        live.handle.focus()
        running.keyboard.press("ArrowLeft")
        running.wait_for_timeout(200)
    alert = live.root.get_by_role("alert")
    alert.wait_for()
    assert "ValueError: thirteen" in alert.inner_text()
    live.press("ArrowLeft")
    alert.wait_for(state="detached")
    assert running.console == []


def test_as_widget_speaks_with_the_kernel(running):
    s = Scrubber(running, running.locator(".jp-OutputArea .widget-hbox .ddpm-scrubber"))
    s.slider.focus()
    running.keyboard.press("ArrowRight")
    shows(s, 1)
    running.get_by_text("the kernel saw 1", exact=True).wait_for()
    running.evaluate("""() => jupyterapp.shell.currentWidget.context.sessionContext.session.kernel
        .requestExecute({ code: 'scrub.index = 7' }).done""")
    running.wait_for_function("i => i.valueAsNumber === 7", arg=s.slider.element_handle())
    shows(s, 7)
    assert running.console == []


@pytest.fixture
def site(tmp_path):
    """A web server on an empty folder with scrubber.js and .css: (folder, address)."""
    for kind in ("js", "css"):
        shutil.copy(widgets.STATIC / f"scrubber.{kind}", tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


HEAD = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>A page</title>'


def test_a_static_page_hosts_the_program_with_mount(page, site, scrubber):
    folder, address = site
    (folder / "sheet.png").write_bytes(scrubber.sheet)
    (folder / "options.json").write_text(json.dumps({**scrubber.options, "sheet": "sheet.png"}))
    (folder / "page.html").write_text(
        HEAD + '<link rel="stylesheet" href="scrubber.css"><div id="here"></div><script type="module">'
        'import { mount } from "./scrubber.js"; const options = await (await fetch("options.json")).json();'
        "window.heard = []; window.s = mount(here, options, (i) => heard.push(i)); await s.ready;</script>"
    )
    page.goto(f"{address}/page.html")
    s = Scrubber(page)
    move_by_every_key(page, s)
    play_to_the_end(page, s)
    page.evaluate("() => s.seek(5)")
    shows(s, 5)
    assert page.evaluate("() => heard.at(-1)") == 5
    page.evaluate("() => { s.seek(-3); }")
    shows(s, 0)
    print(f"latency: scrubber on a static page {s.latency():.1f} ms")
    page.evaluate("() => s.destroy()")
    assert page.locator("canvas").count() == 0
    assert page.console == []


def test_a_static_page_shows_several_with_one_program(page, site, scrubber):
    folder, address = site
    figures = "".join(scrubber.to_html(script=False) for _ in range(3))
    (folder / "page.html").write_text(
        HEAD + '<link rel="stylesheet" href="scrubber.css">' + figures + '<script type="module">'
        'import { mountAll } from "./scrubber.js"; mountAll(); mountAll();</script>'
    )
    page.goto(f"{address}/page.html")
    page.locator("canvas").nth(2).wait_for()
    assert page.locator("canvas").count() == 3
    third = Scrubber(page, page.locator(".ddpm-scrubber:nth-of-type(3)"))
    third.slider.focus()
    page.keyboard.press("End")
    shows(third, COUNT - 1)
    shows(Scrubber(page), 0)  # each goes its own way
    assert page.console == []


def test_one_file_opened_without_any_server(page, tmp_path, scrubber):
    (tmp_path / "page.html").write_text(HEAD + scrubber.to_html(), encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    move_by_every_key(page, Scrubber(page))
    assert page.console == []


def test_less_motion_means_two_frames_a_second(calm_page, tmp_path):
    s = widgets.scrubber(FRAMES, LABELS, alt=ALT, fps=60)
    (tmp_path / "page.html").write_text(HEAD + s.to_html(), encoding="utf-8")
    calm_page.goto((tmp_path / "page.html").as_uri())
    shown = Scrubber(calm_page)
    calm_page.wait_for_timeout(300)
    shows(shown, 0)  # nothing moves by itself
    shown.button.click()
    calm_page.wait_for_timeout(1600)
    assert 1 <= int(shown.slider.input_value()) <= 4


@pytest.mark.parametrize("width", [320, 800])
def test_it_fits_a_narrow_page(page, tmp_path, width):
    x = torch.zeros(4, 3, 64, 200, dtype=torch.uint8)
    s = widgets.scrubber(x, [f"a rather long label, t = {t}" for t in range(4)], alt="black", scale=3)
    (tmp_path / "page.html").write_text(HEAD + s.to_html(), encoding="utf-8")
    page.set_viewport_size({"width": width, "height": 600})
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("canvas").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    ratio = page.locator("canvas").evaluate("c => c.clientWidth / c.clientHeight")
    assert ratio == pytest.approx(200 / 64, rel=0.02)
