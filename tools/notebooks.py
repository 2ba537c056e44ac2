#!/usr/bin/env python3
"""Builds the notebooks from their sources.

    python tools/notebooks.py [NN ...]      build chapters (default: all), where something changed
    python tools/notebooks.py --check       build nothing; say where a notebook and its source disagree

A chapter is written once, as notebooks/src/NN_topic.py (jupytext's py:percent format). From it come
    notebooks/NN_topic.ipynb              the learner's edition: solutions cleared, run, outputs kept
    notebooks/solutions/NN_topic.ipynb    with solutions, run in strict mode, where a wrong answer is an error

Reading top to bottom: the course's files, from a source to the two editions, running, what is stored,
the comparison with what is there, the build, the command line.

In a source, beside ### BEGIN SOLUTION and ### END SOLUTION (### BEGIN HIDDEN TESTS likewise):
    tags=["solution-only"]         the cell is in the solutions edition only
    tags=["volatile"]              its output depends on the machine or the moment: it is never compared, and
                                   a rebuild keeps what is stored as long as the cell stays the same
    {{ colab }}, {{ setup }}, {{ quiz }}, {{ next }}   a line of its own, filled in here; see MACROS
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions
from traitlets import default

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000  # bytes; a notebook that is larger is slow to open and to review
CELL_SECONDS = 600


class Problem(Exception):
    """Something that an author can mend: what is wrong, where, and what to do."""


# ---------------------------------------------------------------------------------------------------
# The course's files.


@dataclass(frozen=True)
class Course:
    """A course's folder: sources, notebooks, package."""

    root: Path = ROOT

    @property
    def notebooks(self) -> Path:
        """Where the learner's edition is, and the rest below it."""
        return self.root / "notebooks"

    @property
    def record(self) -> Path:
        """What was built here, from what; not part of the repository."""
        return self.notebooks / ".built.json"

    def chapters(self) -> list[Chapter]:
        """Every chapter, in order; files that begin with _ are none. Raises Problem for a name not NN_topic.py."""
        paths = sorted(path for path in (self.notebooks / "src").glob("*.py") if path.name[0] != "_")
        for path in paths:
            if not re.fullmatch(r"\d\d_[a-z0-9_]+\.py", path.name):
                raise Problem(f"{path.name}: a chapter's source is named NN_topic.py, in lower case.")
        return [Chapter(self, path) for path in paths]

    def address(self) -> tuple[str, str]:
        """(repository, branch) where pyproject.toml says the course is published; ("", ...) while it is not."""
        path = self.root / "pyproject.toml"
        config = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        own = config.get("tool", {}).get("ddpm-lite", {})
        return own.get("repository", "").rstrip("/"), own.get("branch", "main")

    def package_files(self, number: str) -> list[Path]:
        """What a chapter's outputs can depend on: the package, but no other chapter's exercises."""
        files = (path for path in sorted((self.root / "ddpm_lite").rglob("*")) if path.is_file())
        mine = (path for path in files if "__pycache__" not in path.parts)
        return [path for path in mine if not re.fullmatch(rf"ch(?!{number})\d\d\.py", path.name)]


@dataclass(frozen=True)
class Chapter:
    """One chapter, by its source."""

    course: Course
    source: Path

    @property
    def name(self) -> str:
        """NN_topic."""
        return self.source.stem

    @property
    def number(self) -> str:
        """NN."""
        return self.name[:2]

    def built(self, edition: str) -> Path:
        """The notebook of an edition."""
        folder = self.course.notebooks / ("solutions" if edition == "solutions" else "")
        return folder / f"{self.name}.ipynb"

    def title(self) -> str:
        """The first cell's heading: "01 · The forward process". Raises Problem if that is not how it begins."""
        match = re.match(r"# %% \[markdown\][^\n]*\n# # (.+)", self.source.read_text(encoding="utf-8"))
        if not match or not match[1].startswith(f"{self.number} · "):
            raise Problem(f"{self.source.name}: it must begin with a text cell '# {self.number} · Title'.")
        return match[1].strip()


EDITIONS = ("solutions", "learner")  # solutions first: a wrong exercise shows there

# ---------------------------------------------------------------------------------------------------
# From a source to the two editions, not yet run.


def colab(chapter: Chapter, edition: str) -> str | None:
    """The badge that opens this notebook in Colab; no line while the course has no address, nor in an assignment."""
    repository, branch = chapter.course.address()
    if edition == "assignment" or not repository.startswith("https://github.com/"):
        return None
    path = chapter.built(edition).relative_to(chapter.course.root).as_posix()
    place = repository.removeprefix("https://github.com/")
    page = f"https://colab.research.google.com/github/{place}/blob/{branch}/{path}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({page})"


SETUP = """\
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: a second thread costs more than it brings
try:
    import ddpm_lite  # noqa: F401
except ModuleNotFoundError:  # a hosted notebook, such as Colab{rest}"""
INSTALL = """: install the course first
    %pip install --quiet "ddpm-lite @ git+{repository}@{branch}\""""
UPLOAD = """, where only this file is
    todo = "Upload the course's wheel and run  %pip install ddpm_lite-*.whl  here;"
    todo += " or, in a copy of the whole course, run  %pip install -e ..  here."
    raise ModuleNotFoundError(todo) from None"""


def setup(chapter: Chapter, edition: str) -> str:
    """One thread, before torch is loaded; and what to do where the package is not installed: on Colab, say."""
    repository, branch = chapter.course.address()
    rest = INSTALL.format(repository=repository, branch=branch) if repository else UPLOAD
    return SETUP.format(rest=rest)


def following(chapter: Chapter, edition: str) -> str | None:
    """A link to the next chapter that there is; from the last one, back to the first. None in an assignment."""
    if edition == "assignment":
        return None  # it is handed out alone
    chapters = chapter.course.chapters()
    later = [other for other in chapters if other.number > chapter.number]
    if later:
        return f"**Next:** [{later[0].title()}]({later[0].name}.ipynb)"
    return f"**Back to the start:** [{chapters[0].title()}]({chapters[0].name}.ipynb)"


@dataclass(frozen=True)
class Question:
    """A question of a quiz with its options: what each says, whether it is right, and why or why not."""

    ask: str
    options: tuple[tuple[str, bool, str], ...]

    def text(self, number: int) -> str:
        """As folded answers, which need no kernel and open from the keyboard."""
        lines = [f"**{number}.** {self.ask}", ""]
        for letter, (say, right, why) in zip("ABCDE", self.options, strict=False):
            mark = "✓ Right." if right else "✗ No."
            lines += [f"<details><summary>{letter}. {say}</summary>", "", f"{mark} {why}", "", "</details>"]
        return "\n".join(lines)


def questions(path: Path) -> list[Question]:
    """A chapter's quiz. Raises Problem if it is missing, or a question lacks its one right option or a reason."""
    try:
        asked = tomllib.loads(path.read_text(encoding="utf-8"))["question"]
        made = [
            Question(one["ask"], tuple((o["say"], o.get("right", False), o["why"]) for o in one["options"]))
            for one in asked
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise Problem(f"quiz/{path.name}: missing, or not as the others are ({error}).") from error
    for one in made:
        if sum(right for _, right, _ in one.options) != 1 or not 2 < len(one.options) <= 5:
            raise Problem(f"quiz/{path.name}: {one.ask!r} needs three to five options, one of them right.")
    return made


def quiz(chapter: Chapter, edition: str) -> str:
    """The chapter's quiz, from quiz/NN.toml beside its source."""
    asked = questions(chapter.source.parent / "quiz" / f"{chapter.number}.toml")
    intro = "## Quiz\n\nOpen the answer that you would give; it says whether it is right, and why."
    return "\n\n".join([intro, *(one.text(i) for i, one in enumerate(asked, 1))])


Macro = Callable[[Chapter, str], "str | None"]
MACROS: dict[str, Macro] = {"colab": colab, "setup": setup, "quiz": quiz, "next": following}
MACRO = re.compile(r"^(?:# )?\{\{ (\w+) \}\}$")
EMPTY_LINES = re.compile(r"\n{3,}")  # what a line that was dropped leaves behind

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {  # as JupyterLab writes it, less the version
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def draft(chapter: Chapter, edition: str) -> NotebookNode:
    """An edition as it is before it runs; "assignment" is for tools/assignment.py. Raises Problem for a fault in the source."""
    chapter.title()
    source = jupytext.reads(chapter.source.read_text(encoding="utf-8"), fmt="py:percent")
    cells = [cell for cell in source.cells if cell.source.strip()]
    for cell, name in zip(cells, cell_ids(cells), strict=True):
        examine(chapter, cell)
        cell.id = name
        cell.metadata = tags_of(cell)
        fill_in(chapter, edition, cell)
    if edition == "learner":
        cells = [cell for cell in cells if "solution-only" not in cell.metadata.get("tags", [])]
        for cell in cells:
            clear(chapter, cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    own = {"digest": digest(notebook), "edition": edition, "source": f"notebooks/src/{chapter.source.name}"}
    notebook.metadata.update(kernelspec=KERNEL, language_info=LANGUAGE, ddpm_lite=own)
    return nbformat.from_dict(notebook)


def cell_ids(cells: list[NotebookNode]) -> list[str]:
    """An id from each cell's own text, so that a cell keeps it wherever it moves; a twin gets a number."""
    seen: dict[str, int] = {}
    names = []
    for cell in cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def tags_of(cell: NotebookNode) -> NotebookNode:
    """A cell's metadata: its tags and nothing else. What is volatile is not compared by nbval."""
    tags = set(cell.metadata.get("tags", []))
    tags |= {"nbval-ignore-output"} if "volatile" in tags else set()
    return NotebookNode({"tags": sorted(tags)} if tags else {})


def fill_in(chapter: Chapter, edition: str, cell: NotebookNode) -> None:
    """Replace each line {{ name }} by what the macro says; drop the line if that is nothing."""
    lines: list[str] = []
    for line in cell.source.split("\n"):
        match = MACRO.match(line)
        if match and match[1] not in MACROS:
            raise Problem(f"{chapter.source.name}: no macro {match[1]!r}; there are: {', '.join(MACROS)}.")
        text = MACROS[match[1]](chapter, edition) if match else line
        lines += [] if text is None else [text]
    text = "\n".join(lines)
    cell.source = (
        text if len(lines) == len(cell.source.split("\n")) else EMPTY_LINES.sub("\n\n", text)
    ).strip("\n")


def examine(chapter: Chapter, cell: NotebookNode) -> None:
    """Raise Problem for what would go wrong quietly: it reads well in the source and fails on the page."""
    where, text = f"{chapter.source.name}, {label(cell)}", cell.source
    foreign = [
        number for number in re.findall(r"""\bcheck\(\s*["'](\d\d)\.""", text) if number != chapter.number
    ]
    if cell.cell_type == "code" and foreign:
        raise Problem(f"{where}: check of an exercise of chapter {foreign[0]}.")
    marks = re.findall(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS)\b", text)
    pairs = [(("BEGIN", kind), ("END", kind)) for _, kind in marks[::2]]
    if marks != [mark for pair in pairs for mark in pair]:
        raise Problem(
            f"{where}: each BEGIN SOLUTION or BEGIN HIDDEN TESTS needs its END, one after the other."
        )
    if text.count("<details>") != text.count("</details>"):
        raise Problem(f"{where}: a <details> is not closed.")
    if re.search(r"</summary>[ \t]*\n(?!\s*\n)\S|\S[ \t]*\n</details>", text) or "</summary></" in text:
        raise Problem(f"{where}: a folded answer needs an empty line before and after its text.")


def clear(chapter: Chapter, cell: NotebookNode) -> None:
    """Take solutions and hidden tests out, as nbgrader does.

    A region inside a function leaves a stub that raises; one at the left margin is a value, and the
    placeholder above it stays, so that the notebook runs to its end.
    """
    margins = {bool(indent) for indent in re.findall(r"^([ \t]*).*BEGIN SOLUTION", cell.source, re.MULTILINE)}
    if len(margins) == 2:
        raise Problem(
            f"{chapter.source.name}, {label(cell)}: solutions inside and outside a function in one cell."
        )
    stub = "# YOUR CODE HERE" + "\nraise NotImplementedError()" * (True in margins)
    solutions = ClearSolutions(
        enforce_metadata=False, code_stub={"python": stub}, text_stub="*Your answer here.*"
    )
    tests = ClearHiddenTests(enforce_metadata=False)
    solutions.preprocess_cell(cell, {"language": "python"}, 0)
    tests.preprocess_cell(cell, {}, 0)


def label(cell: NotebookNode) -> str:
    """A cell by its first line, for messages."""
    first = cell.source.strip().split("\n")[0]
    return f"the cell that begins with {first[:60]!r}"


def digest(notebook: NotebookNode) -> str:
    """A hash of the cells, outputs aside: it tells a notebook that somebody has worked in."""
    cells = [[cell.get("id"), cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------
# Running.


class OwnSpecs(KernelSpecManager):
    """Whatever kernel is asked for: the Python that runs this tool."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of this Python."""
        quiet = ["--IPKernelApp.log_level=ERROR"]  # it warns of TCP, which never leaves this machine
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(quiet))


class OwnKernel(AsyncKernelManager):
    """A kernel in the Python that runs this tool, whatever kernels are registered on the machine."""

    @default("kernel_spec_manager")
    def _own_specs(self) -> KernelSpecManager:
        return OwnSpecs(parent=self)


def kernel_environ(course: Course, edition: str, scratch: Path) -> dict[str, str]:
    """The surroundings in which a notebook runs: as in JupyterLab, without the user's own settings."""
    leave = {"DDPM_LITE_STRICT", "MPLBACKEND", "PYTHONSTARTUP", "FORCE_COLOR", "NO_COLOR"}
    environ = {name: value for name, value in os.environ.items() if name not in leave}
    # This tree's package before any that is installed.
    paths = [str(course.root)] + [path for path in (environ.get("PYTHONPATH"),) if path]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    environ["IPYTHONDIR"] = str(scratch)  # no start-up files of the user's
    environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # as `course.py lab` starts it
    environ["DDPM_LITE_PROGRESS"] = "off"  # a build is no learner
    if edition == "solutions":
        environ["DDPM_LITE_STRICT"] = "1"
    return environ


def execute(chapter: Chapter, edition: str, notebook: NotebookNode) -> None:
    """Run a notebook in its folder and keep its outputs in it. Raises Problem naming the cell that failed."""
    folder = chapter.built(edition).parent
    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        kernel_manager_class=OwnKernel,
        resources={"metadata": {"path": str(folder)}},
        timeout=CELL_SECONDS,
        startup_timeout=300,  # a busy machine
        record_timing=False,
        store_widget_state=False,
    )
    with tempfile.TemporaryDirectory() as scratch:
        try:
            client.execute(env=kernel_environ(chapter.course, edition, Path(scratch)))
        except (CellControlSignal, DeadKernelError) as error:  # an error, a time-out, a kernel that died
            raise Problem(failure(chapter, edition, notebook, error)) from None


def failure(chapter: Chapter, edition: str, notebook: NotebookNode, error: Exception) -> str:
    """Which cell failed, its last lines, and why."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    begun = [cell for cell in cells if cell.get("execution_count") or cell.outputs] or cells[:1]
    faulty = [cell for cell in cells if any(output.output_type == "error" for output in cell.outputs)]
    cell = (faulty or begun)[-1]
    why = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    tail = "\n".join("    | " + line for line in cell.source.split("\n")[-8:])
    place = f"{chapter.name} ({edition}), cell {notebook.cells.index(cell) + 1} of {len(notebook.cells)}"
    return f"{place} failed:\n{tail}\n  {why.strip()}\n  The notebook that was there is as it was."


# ---------------------------------------------------------------------------------------------------
# What is stored of what came out.


def tidy(notebook: NotebookNode) -> None:
    """Leave in the outputs only what is the same each time.

    A live widget's view goes: without its kernel JupyterLab shows an error in its place, and the picture that
    stands beside it tells more.
    """
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in data:
                data["image/png"] = plain_png(data["image/png"])
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]


def plain_png(text: str) -> str:
    """A PNG, in base64, without its notes: Matplotlib writes its version there."""
    png = base64.b64decode(text)
    kept, position = png[:8], 8
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        if png[position + 4 : position + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
            kept += png[position:end]
        position = end
    return base64.b64encode(kept).decode()


def keep_volatile(notebook: NotebookNode, before: NotebookNode | None) -> None:
    """Put back the stored output of each volatile cell that has not changed since."""
    stored = {cell.id: cell for cell in before.cells if cell.get("outputs")} if before else {}
    for cell in notebook.cells:
        if "volatile" in cell.metadata.get("tags", []) and cell.id in stored:
            cell.outputs = stored[cell.id].outputs
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count


DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")
ADDRESS = re.compile(r"\b0x[0-9a-f]{8,}\b")


def output_faults(course: Course, notebook: NotebookNode) -> Iterator[str]:
    """What must not be stored, one sentence each, with its cell."""
    private = [str(path) + os.sep for path in (course.root, Path.home(), sys.prefix) if len(str(path)) > 1]
    private.append(str(Path(tempfile.gettempdir(), "ipykernel_")))  # where a cell's code is said to be
    for cell in notebook.cells:
        volatile = "volatile" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            text = DATA_URI.sub("", "\n".join(texts_of(output)))
            if output.output_type == "error":
                yield f"{label(cell)} ends in an error: {output.ename}"
            elif output.get("name") == "stderr" and not volatile:
                yield f"{label(cell)} warns on stderr: {text.strip()[:200]!r}"
            if ADDRESS.search(text):
                yield f"{label(cell)} shows an address in memory, {ADDRESS.search(text)[0]}"
            shown = [path for path in private if path in text]
            if shown:
                yield f"{label(cell)} shows a path of this machine, {shown[0]}"


def texts_of(output: NotebookNode) -> Iterator[str]:
    """Everything readable in an output."""
    yield from (output.get(key, "") for key in ("text", "ename", "evalue"))
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            yield value


def serialised(notebook: NotebookNode) -> bytes:
    """The file's bytes: keys sorted, a newline at the end."""
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()


# ---------------------------------------------------------------------------------------------------
# The comparison with what is there.


def stored(path: Path) -> NotebookNode | None:
    """A notebook that is there, or None. Raises Problem if it cannot be read."""
    if not path.is_file():
        return None
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError, KeyError) as error:
        raise Problem(f"{path.name} is not a notebook that can be read: {type(error).__name__}.") from None


def is_worked_in(notebook: NotebookNode | None) -> bool:
    """Whether somebody has changed the cells of a notebook since it was built."""
    return notebook is not None and notebook.metadata.get("ddpm_lite", {}).get("digest") != digest(notebook)


def disagreements(chapter: Chapter, edition: str) -> Iterator[str]:
    """Where an edition that is there is not what its source makes, one sentence each. Runs nothing."""
    path = chapter.built(edition)
    notebook, expected = stored(path), draft(chapter, edition)
    if notebook is None:
        yield "it has not been built"
        return
    if is_worked_in(notebook):
        yield "somebody has worked in it since it was built"
    yield from cell_disagreements(notebook, expected)
    if notebook.metadata != expected.metadata:
        yield "its metadata is not as a build writes it"
    yield from run_faults(notebook)
    yield from output_faults(chapter.course, notebook)
    if path.stat().st_size >= LARGEST:
        yield f"it has {path.stat().st_size / 1e6:.2f} MB, and {LARGEST / 1e6:.0f} MB is the limit"


def cell_disagreements(notebook: NotebookNode, expected: NotebookNode) -> Iterator[str]:
    """The first cell that is not as in the source."""

    def facts(cell: NotebookNode) -> tuple:
        return cell.get("id"), cell.cell_type, cell.source, cell.metadata

    for mine, theirs in zip(notebook.cells, expected.cells, strict=False):
        if facts(mine) != facts(theirs):
            other = f", where {label(theirs)} stands" if label(mine) != label(theirs) else ""
            yield f"{label(mine)} is not as in the source{other}"
            return
    if len(notebook.cells) != len(expected.cells):
        yield f"it has {len(notebook.cells)} cells, and its source makes {len(expected.cells)}"


def run_faults(notebook: NotebookNode) -> Iterator[str]:
    """Signs that it was not run from top to bottom: counts other than 1, 2, 3 ..., missing outputs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "it was not run from top to bottom in a fresh kernel"
    for cell in cells:
        if shows_something(cell.source) and not cell.outputs:
            yield f"{label(cell)} has lost its output"


def shows_something(source: str) -> bool:
    """Whether a cell is certain to have an output: it calls print and the like, or ends in a plain value."""
    try:
        body = ast.parse(re.sub(r"^[ \t]*[%!].*$", "pass", source, flags=re.MULTILINE)).body
    except SyntaxError:
        return False
    calls = [
        step.value
        for step in body
        if isinstance(step, (ast.Expr, ast.Assign)) and isinstance(step.value, ast.Call)
    ]
    names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    plain = (
        bool(body)
        and isinstance(body[-1], ast.Expr)
        and isinstance(body[-1].value, (ast.Name, ast.Compare, ast.BinOp))
    )
    return bool(names & {"print", "display", "check", "hint"}) or (
        plain and not source.rstrip().endswith(";")
    )


def orphans(course: Course) -> Iterator[Path]:
    """Built notebooks that have no source."""
    names = {chapter.name for chapter in course.chapters()}
    for folder in (course.notebooks, course.notebooks / "solutions"):
        yield from (path for path in sorted(folder.glob("*.ipynb")) if path.stem not in names)


def check(course: Course, chapters: list[Chapter]) -> list[str]:
    """Every disagreement, one line each."""
    lines = [f"{path.relative_to(course.root).as_posix()}: it has no source" for path in orphans(course)]
    for chapter in chapters:
        for edition in EDITIONS:
            name = chapter.built(edition).relative_to(course.root).as_posix()
            try:
                lines += [f"{name}: {fault}" for fault in disagreements(chapter, edition)]
            except Problem as problem:
                lines.append(f"{name}: {problem}")
    return list(dict.fromkeys(lines))


# ---------------------------------------------------------------------------------------------------
# The build.


def fingerprint(chapter: Chapter) -> str:
    """A hash of all that a chapter's notebooks are made from: both drafts, the package, this tool."""
    sha = hashlib.sha256()
    for edition in EDITIONS:
        sha.update(serialised(draft(chapter, edition)))
    for path in [Path(__file__), *chapter.course.package_files(chapter.number)]:
        sha.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def is_current(chapter: Chapter) -> bool:
    """Whether the notebooks that are there were built here from just this."""
    try:
        made_from = json.loads(chapter.course.record.read_text(encoding="utf-8")).get(chapter.name)
    except (OSError, ValueError):
        return False
    return made_from == fingerprint(chapter) and not check(chapter.course, [chapter])


def make(chapter: Chapter, edition: str, afresh: bool) -> bytes:
    """Run an edition; its file's bytes. Raises Problem if it fails or has what must not be stored."""
    notebook = draft(chapter, edition)
    metadata = copy.deepcopy(notebook.metadata)
    execute(chapter, edition, notebook)
    notebook.metadata = metadata  # a run adds the version of Python
    tidy(notebook)
    if not afresh:
        keep_volatile(notebook, stored(chapter.built(edition)))
    content = serialised(notebook)
    faults = list(output_faults(chapter.course, notebook))
    if len(content) >= LARGEST:
        faults.append(f"it would have {len(content) / 1e6:.2f} MB, and {LARGEST / 1e6:.0f} MB is the limit")
    if faults:
        raise Problem(f"{chapter.name} ({edition}) ran, but is not stored:\n  " + "\n  ".join(faults))
    return content


def write(path: Path, content: bytes) -> bool:
    """Put a file in place at one stroke; returns whether anything changed."""
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return True


def note(chapter: Chapter) -> None:
    """Record what the chapter's notebooks were built from."""
    record = chapter.course.record
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    write(
        record,
        (json.dumps(known | {chapter.name: fingerprint(chapter)}, indent=1, sort_keys=True) + "\n").encode(),
    )


def build(chapter: Chapter, force: bool = False, overwrite: bool = False) -> None:
    """Build both editions of a chapter, or neither. Raises Problem, and then nothing has changed."""
    worked_in = [edition for edition in EDITIONS if is_worked_in(stored(chapter.built(edition)))]
    if worked_in and not overwrite:
        name = chapter.built(worked_in[0]).relative_to(chapter.course.root).as_posix()
        raise Problem(f"somebody has worked in {name} since it was built. Move it away, or give --overwrite.")
    if not force and is_current(chapter):
        print(f"{chapter.name}: up to date (--force runs it again)", flush=True)
        return
    contents = {}
    for edition in EDITIONS:
        print(f"{chapter.name}: running the {edition} edition ...", end=" ", flush=True)
        start = time.perf_counter()
        contents[edition] = make(chapter, edition, force)
        print(f"{time.perf_counter() - start:.1f} s, {len(contents[edition]) / 1e3:.0f} kB", flush=True)
    changed = [edition for edition in EDITIONS if write(chapter.built(edition), contents[edition])]
    note(chapter)
    print(f"{chapter.name}: " + (f"written ({' and '.join(changed)})" if changed else "no byte changed"))


# ---------------------------------------------------------------------------------------------------
# The command line.


def chosen(course: Course, wanted: list[str]) -> list[Chapter]:
    """The chapters that were asked for: "1", "01" or "01_forward_process"; all if none."""
    chapters = course.chapters()
    picked = []
    for name in wanted:
        found = [
            chapter
            for chapter in chapters
            if name in (chapter.name, chapter.number) or name == str(int(chapter.number))
        ]
        if not found:
            there = ", ".join(chapter.number for chapter in chapters) or "none"
            raise Problem(f"there is no chapter {name!r} in notebooks/src. Chapters that are there: {there}.")
        picked += found
    return picked if wanted else chapters


def run(arguments: argparse.Namespace) -> int:
    """Build or check; the exit code."""
    course = Course(arguments.root.resolve())
    chapters = chosen(course, arguments.chapters)
    if arguments.check:
        lines = check(course, chapters)
        agreed = f"notebooks and sources agree ({len(chapters)} checked)"
        print("\n".join(lines) if lines else agreed, flush=True)
        if lines:
            print("To mend it: python course.py build", file=sys.stderr)
        return 1 if lines else 0
    for chapter in chapters:
        build(chapter, arguments.force, arguments.overwrite)
    return 0


def main(words: list[str] | None = None) -> int:
    """Parse the command line and run; a Problem becomes a message and exit code 1."""
    parser = argparse.ArgumentParser(
        description="Build the notebooks from their sources.", allow_abbrev=False
    )
    parser.add_argument("chapters", nargs="*", metavar="NN", help="chapters (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="build nothing; say what disagrees, and exit with 1"
    )
    parser.add_argument(
        "--force", action="store_true", help="run again even if nothing changed, volatile cells too"
    )
    parser.add_argument("--overwrite", action="store_true", help="also replace notebooks that were worked in")
    parser.add_argument("--root", type=Path, default=ROOT, help="another course's folder (default: this one)")
    try:
        return run(parser.parse_args(words))
    except Problem as problem:
        print(f"\nProblem: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
