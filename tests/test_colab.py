"""A hosted notebook, such as Colab: another folder, no repository beside it, ipywidgets 7, its own PyTorch.

The environment is made for the test. It sees the packages that are installed here, as Colab's sees Colab's, but
not the course, and has ipywidgets 7 before the one of here. The course is published in a Git repository on this
disk; chapter 01, from its set-up cell on, has to do the rest.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from tools import notebooks
from tools.notebooks import Course, draft

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to publish the course on this disk"),
]
REPO = Path(__file__).parent.parent
WIDGETS = "7.7.1"  # the newest 7, and what Colab has


def run(*command, **options) -> subprocess.CompletedProcess:
    """A command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> str:
    """The address of a Git repository with the package as it is now."""
    root = tmp_path_factory.mktemp("published")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, root)
    shutil.copytree(REPO / "ddpm_lite", root / "ddpm_lite", ignore=shutil.ignore_patterns("__pycache__"))
    own = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    run("git", "init", "-q", "-b", "main", root)
    run("git", "-C", root, "add", "-A")
    run("git", *own, "-C", root, "commit", "-q", "-m", "the course")
    return root.as_uri().replace("file:///", "file://localhost/")  # a requirement's address needs a host


@pytest.fixture(scope="module")
def hosted(tmp_path_factory) -> Path:
    """The Python of an environment that has everything but the course, and ipywidgets 7."""
    root = tmp_path_factory.mktemp("hosted")
    run(sys.executable, "-m", "venv", root)
    python = root / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", f"ipywidgets=={WIDGETS}"], capture_output=True, text=True
    )
    if done.returncode and os.environ.get("DDPM_LITE_REQUIRE_INDEX") != "1":
        pytest.skip("no package index can be reached: " + done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    # A path in a .pth file is searched last, and its own .pth files, such as the course's, are not read.
    (site / "host.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def pip(hosted: Path, *arguments) -> subprocess.CompletedProcess:
    """pip in the hosted environment."""
    return run(hosted, "-m", "pip", "--disable-pip-version-check", *arguments, cwd=hosted.parent)


def test_course_takes_the_place_of_nothing_that_is_there(hosted, published, tmp_path):
    report = tmp_path / "report.json"
    wanted = f"ddpm-lite @ git+{published}@main"
    pip(hosted, "install", "--quiet", "--dry-run", "--report", report, wanted)
    installs = {one["metadata"]["name"] for one in json.loads(report.read_text())["install"]}
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = {re.match(r"[\w-]+", one)[0] for one in project["dependencies"]}
    assert {"torch", "numpy", "ipywidgets"} <= needs
    assert "ddpm-lite" in installs
    assert not installs & needs


def test_chapter_installs_the_course_and_runs_in_a_foreign_folder(hosted, published, tmp_path, monkeypatch):
    code = "import importlib.util as u; print(u.find_spec('ddpm_lite'))"
    gone = run(hosted, "-c", code, cwd=tmp_path).stdout
    assert gone.strip() == "None", "the environment must not have the course yet"
    chapter = published_chapter("01", published, tmp_path)
    notebook = draft(chapter, "learner")
    assert f"git+{published}@main" in notebook.cells[1].source + notebook.cells[2].source
    notebook.cells.append(nbformat.v4.new_code_cell(FACTS))
    foreign = tmp_path / "content"
    foreign.mkdir()
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("DDPM_LITE_STRICT", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    client = NotebookClient(
        notebook,
        km=Hosted(python=hosted),
        resources={"metadata": {"path": str(foreign)}},
        timeout=600,
        startup_timeout=300,
        store_widget_state=False,
    )
    client.execute()
    facts = json.loads(notebook.cells[-1].outputs[0].text)
    assert facts["ipywidgets"] == WIDGETS
    assert str(hosted.parent.parent) in facts["course"]
    assert facts["threads"] == 1
    assert Path(facts["torch"]).is_relative_to(sysconfig.get_path("purelib"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    views = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert views, "no widget was shown"


FACTS = """
import json, ddpm_lite, ipywidgets, torch
facts = {"ipywidgets": ipywidgets.__version__, "course": ddpm_lite.__file__, "torch": torch.__file__}
print(json.dumps(facts | {"threads": torch.get_num_threads()}))
"""


class Hosted(AsyncKernelManager):
    """A kernel of another environment."""

    def __init__(self, python: Path, **options):
        super().__init__(**options)
        self.python = python

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="hosted", language="python")


def published_chapter(number: str, address: str, root: Path) -> notebooks.Chapter:
    """A chapter of a course that knows its address."""
    shutil.copytree(REPO / "notebooks" / "src", root / "notebooks" / "src")
    text = f'[tool.ddpm-lite]\nrepository = "{address}"\nbranch = "main"\n'
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return next(one for one in Course(root).chapters() if one.number == number)
