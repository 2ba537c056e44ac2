"""The hands and eyes of the browser tests: how to find, move and read a scrubber and a live picture on a page."""

from __future__ import annotations

import statistics

import numpy as np


class Scrubber:
    """A scrubber on a page: its parts, and the pixels that it shows. `root`: where; the first one if None."""

    def __init__(self, page, root=None):
        self.page = page
        self.root = root or page.locator(".ddpm-scrubber").first
        self.canvas = self.root.locator("canvas")
        self.slider = self.root.locator("input[type=range]")
        self.button = self.root.locator("button")
        self.speed = self.root.locator("select")
        self.label = self.root.locator(".ddpm-label")
        self.canvas.wait_for()
        page.wait_for_function(  # the sheet has been decoded and drawn
            "c => c.getContext('2d').getImageData(0, 0, 1, 1).data[3] === 255",
            arg=self.canvas.element_handle(),
        )

    def pixels(self) -> np.ndarray:
        """What the canvas holds: uint8 (H, W), the red channel."""
        values = self.canvas.evaluate(
            "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
        )
        size = [int(self.canvas.get_attribute(name)) for name in ("height", "width")]
        return np.array(values, np.uint8).reshape(*size, 4)[..., 0]

    def latency(self, presses: int = 20) -> float:
        """Milliseconds from a key press to the frame that is painted after it: the median."""
        self.page.evaluate("""() => { window.latencies = [];
            document.addEventListener('keydown', () => { const from = performance.now();
                requestAnimationFrame(() => { const channel = new MessageChannel();
                    channel.port1.onmessage = () => latencies.push(performance.now() - from);
                    channel.port2.postMessage(0); }); }, true); }""")
        self.slider.focus()
        for _ in range(presses):
            self.page.keyboard.press("ArrowRight")
            self.page.wait_for_timeout(20)
        return statistics.median(self.page.evaluate("latencies"))


class LivePicture:
    """A live picture on a page: its first slider and its image."""

    def __init__(self, page, root):
        self.page, self.root = page, root
        self.handle = root.locator(".noUi-handle").first
        self.image = root.locator("img.widget-image")
        self.image.wait_for()

    def press(self, key: str) -> None:
        """Press a key on the slider's handle and wait for another picture."""
        before = self.image.get_attribute("src")
        self.handle.focus()
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "([image, before]) => image.src !== before && image.complete && image.naturalWidth",
            arg=[self.image.element_handle(), before],
        )

    def span(self) -> float:
        """From the slider's first value to its last."""
        low, high = (float(self.handle.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
        return high - low

    def drawing(self) -> bytes:
        """What the image shows, as the screen has it."""
        return self.image.screenshot()

    def latency(self, presses: int = 20) -> float:
        """Milliseconds from a key press to the load of the new picture: the median."""
        self.image.evaluate("""image => { window.waits = []; let from = 0;
            document.addEventListener('keydown', () => { from = performance.now(); }, true);
            image.addEventListener('load', () => waits.push(performance.now() - from)); }""")
        first = self.handle.get_attribute("aria-valuenow") == self.handle.get_attribute("aria-valuemin")
        there, back = ("ArrowRight", "ArrowLeft") if first else ("ArrowLeft", "ArrowRight")
        for i in range(presses):
            self.press(back if i % 2 else there)
        return statistics.median(self.page.evaluate("waits"))
