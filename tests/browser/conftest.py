"""One JupyterLab server and one headless browser for all the tests in this folder.

A machine without a browser skips them and says how to get one; with DDPM_LITE_REQUIRE_BROWSER=1 it fails.
The server has its own configuration, signatures and folder: nothing of the user's is read or changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

REPO = Path(__file__).resolve().parents[2]
HOW = "Install Chromium or Google Chrome, or run `python -m playwright install chromium`."
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # ms: a kernel that imports torch on a busy two-core machine takes its time

# What the console may say: nothing of ours, and nothing that a learner would see. Every entry needs a reason.
NOISE: tuple[str, ...] = ()


def pytest_itemcollected(item) -> None:
    if Path(__file__).parent in Path(item.path).parents:
        item.add_marker(pytest.mark.browser)


def _missing(what: str):
    """Skip, or fail where a browser is required."""
    if os.environ.get("DDPM_LITE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what} {HOW} (DDPM_LITE_REQUIRE_BROWSER=1 forbids to skip.)", pytrace=False)
    pytest.skip(f"{what} {HOW}")


def _executable(playwright) -> str | None:
    """The browser to drive: $DDPM_LITE_BROWSER, playwright's own, or one that is installed here."""
    named = os.environ.get("DDPM_LITE_BROWSER")
    own = Path(playwright.chromium.executable_path)
    found = [named, str(own) if own.exists() else None, *map(shutil.which, NAMES), *PLACES]
    return next((path for path in found if path and Path(path).exists()), None)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("The browser tests need the Python package playwright (`pip install -e .[dev]`).")
    with sync_playwright() as playwright:
        path = _executable(playwright)
        if path is None:
            _missing("No browser found.")
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


class Console(list):
    """What a page's console said that it should not say: errors and uncaught exceptions."""

    def listen(self, page) -> None:
        page.on("console", lambda m: self._hear(f"{m.text} [{m.location.get('url', '')}]", m.type == "error"))
        page.on("pageerror", lambda error: self._hear(f"uncaught: {error}", True))

    def _hear(self, text: str, bad: bool) -> None:
        if bad and not any(re.search(pattern, text) for pattern in NOISE):
            self.append(text)


@contextmanager
def fresh_page(browser, **options):
    """A page of its own, 1200 x 900, with `page.console`, the list of its errors. `options` go to playwright."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.console = Console()
    page.console.listen(page)
    yield page
    context.close()


@pytest.fixture
def page(browser):
    """A fresh page for one test."""
    with fresh_page(browser) as page:
        yield page


@pytest.fixture(scope="module")
def shared_page(browser):
    """A page that the tests of a module share, for what takes long to open."""
    with fresh_page(browser) as page:
        yield page


@pytest.fixture
def calm_page(browser):
    """A page of someone who asked their system for less motion."""
    with fresh_page(browser, reduced_motion="reduce") as page:
        yield page


class Lab:
    """A running JupyterLab with its root in `root`."""

    def __init__(self, home: Path):
        self.home, self.root, self.token = home, home / "root", "a-token-for-tests"
        self.data = home / "data"
        self.log = home / "server.log"
        for folder in (self.root, self.data, home / "config", home / "runtime"):
            folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        own = {
            "JUPYTER_CONFIG_DIR": self.home / "config",
            "JUPYTER_DATA_DIR": self.data,
            "JUPYTER_RUNTIME_DIR": self.home / "runtime",
            "IPYTHONDIR": self.home / "ipython",
            "JUPYTERLAB_SETTINGS_DIR": self.home / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": self.home / "workspaces",
            "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        return {**os.environ, **{key: str(value) for key, value in own.items()}}

    def command(self) -> list[str]:
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.root,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": self.token,
            "LabApp.expose_app_in_browser": True,
            "LabApp.news_url": "",
        }
        settings = [f"--{key}={value}" for key, value in options.items()]
        return [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *settings]

    @contextmanager
    def running(self) -> Iterator[Lab]:
        with self.log.open("w") as log:
            server = subprocess.Popen(
                self.command(), env=self.environment(), cwd=self.root, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                self._wait(server)
                yield self
            finally:
                server.terminate()  # JupyterLab ends its kernels first
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()

    def _wait(self, server) -> None:
        until = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < until and server.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}", pytrace=False)

    def add(self, name: str, notebook, trusted: bool = True) -> str:
        """Put a notebook (a node, or a path to copy) into the root, signed as `jupyter trust` does."""
        node = notebook if not isinstance(notebook, (str, Path)) else nbformat.read(notebook, as_version=4)
        nbformat.write(node, self.root / name)
        if trusted:
            notary = NotebookNotary(data_dir=str(self.data))
            notary.sign(nbformat.read(self.root / name, as_version=4))
            notary.store.close()
        return name

    @contextmanager
    def opened(self, page, name: str, *, theme: str = "JupyterLab Light") -> Iterator[None]:
        """Open a notebook, wait until it is shown and its kernel is ready; end the kernel afterwards."""
        settings = self.home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
        (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
        workspace = re.sub(r"\W", "", name)
        page.goto(f"{self.url}/lab/workspaces/{workspace}/tree/{name}?reset&token={self.token}")
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context")
        page.evaluate("""async () => {
            const { context } = jupyterapp.shell.currentWidget;
            await context.ready;
            await context.sessionContext.ready;
        }""")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        try:
            yield
        finally:
            page.evaluate("() => jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")

    def run_all(self, page) -> None:
        """Run every cell and wait for the last; fail with the traceback when one raised."""
        page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        errors = page.evaluate("""() => jupyterapp.shell.currentWidget.content.widgets
            .filter((cell) => cell.model.type === 'code')
            .flatMap((cell) => cell.model.outputs.toJSON())
            .filter((output) => output.output_type === 'error')
            .map((output) => output.traceback.join('\\n'))""")
        assert not errors, errors[0]


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory) -> Iterator[Lab]:
    """The JupyterLab server of this session."""
    with Lab(tmp_path_factory.mktemp("jupyter")).running() as server:
        yield server
