"""The chapters in JupyterLab: a learner opens one, scrubs before running anything, runs it, moves its sliders."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from hands import LivePicture, Scrubber

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
# Their sliders need a kernel. The other notebooks are run, faster, without a browser.
LIVE = [path for path in CHAPTERS if "widgets.live(" in path.read_text(encoding="utf-8")]


def stored_scrubbers(path: Path) -> int:
    """How many scrubbers the notebook's file holds."""
    outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])]
    return sum(o.get("data", {}).get("text/html", "").count('data-scrubber="{&quot;') for o in outputs)


def cell(page, index: int):
    """Cell number `index`, scrolled to: JupyterLab renders what is near the window."""
    page.evaluate(
        """async (index) => {
            const { content } = jupyterapp.shell.currentWidget;
            await content.scrollToItem(index);
            content.widgets[index].node.dataset.testCell = index;
        }""",
        index,
    )
    return page.locator(f'[data-test-cell="{index}"]')


def cells_with(page, needle: str) -> list[int]:
    """The numbers of the cells whose outputs hold `needle`."""
    return page.evaluate(
        """(needle) => jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, index) =>
            cell.model.type === 'code' && JSON.stringify(cell.model.outputs.toJSON()).includes(needle)
                ? [index] : [])""",
        needle,
    )


def move_scrubbers(page) -> int:
    """Move every scrubber of the notebook by a key; returns how many there are."""
    found = cells_with(page, "data-scrubber=")
    for index in found:
        s = Scrubber(page, cell(page, index).locator(".ddpm-scrubber"))
        before, said = s.pixels(), s.slider.get_attribute("aria-valuetext")
        s.slider.focus()
        at_the_end = s.slider.input_value() == s.slider.get_attribute("max")  # where some of them start
        page.keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
        assert (s.pixels() != before).any()
        assert s.slider.get_attribute("aria-valuetext") == s.label.inner_text() != said
        page.keyboard.press("End")
        assert s.slider.input_value() == s.slider.get_attribute("max")
    return len(found)


def move_live_pictures(page) -> int:
    """Move the first slider of every live picture; returns how many there are."""
    found = cells_with(page, '"application/vnd.jupyter.widget-view+json"')
    count = 0
    for index in found:
        for root in cell(page, index).locator(".ddpm-live").all():
            live = LivePicture(page, root)
            before = live.drawing()
            live.press("PageUp")
            assert live.drawing() != before
            assert live.image.get_attribute("alt")
            assert live.root.get_by_role("alert").count() == 0
            if live.span() >= 50:  # a slider of a few places says nothing of how fast it is
                print(f"latency: live picture of cell {index}: {live.latency(10):.0f} ms")
            count += 1
    return count


@pytest.mark.skipif(not CHAPTERS, reason="the notebooks are not built yet: python course.py build")
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_stored_chapter_shows_its_pictures_and_its_scrubbers_move(lab, page, path):
    with lab.opened(page, lab.add(path.name, path)):
        count = move_scrubbers(page)
        assert count == stored_scrubbers(path)
        for index in cells_with(page, "<img "):
            for image in cell(page, index).locator(".jp-OutputArea-output img").all():
                assert image.get_attribute("alt"), f"a picture without alt text in cell {index}"
                assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
        assert page.get_by_text("Error displaying widget").count() == 0
        assert page.console == []


def test_some_chapters_have_live_pictures():
    assert LIVE or not CHAPTERS  # else the next test would be skipped in silence


@pytest.mark.skipif(not LIVE, reason="the notebooks are not built yet: python course.py build")
@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.stem)
def test_a_chapter_runs_and_its_sliders_change_their_pictures(lab, page, path):
    with lab.opened(page, lab.add("run.ipynb", path, trusted=False)):
        lab.run_all(page)
        assert move_scrubbers(page) == stored_scrubbers(path)
        assert move_live_pictures(page) >= 1
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        ran = page.evaluate("""() => jupyterapp.shell.currentWidget.content.widgets
            .filter((cell) => cell.model.type === 'code' && cell.model.executionCount).length""")
        assert ran == sum(bool(c.source.strip()) for c in code)
        assert page.console == []
