"""Grades with nbgrader, without trusting what is graded.

The nbgrader_config.py that assignment.py writes calls `configure`, and nbgrader then works as always: the notebook
of a learner is put right, run and scored. What is different:

- `ClearAnswers`   a stub as in the learner's edition.
- `AsReleased`     refuses to grade against anything but what was released; puts back cells that are missing.
- `RunNotebook`    runs the notebook with limits and without rights, for its outputs only; a kernel that dies or
                   hangs costs the outputs that would have come after.
- `SafeToRead`     takes scripts out of what a person will look at in a browser.
- `JudgeAnswers`   gives the points. Every answer runs in a process of its own (answers.py), which says what it
                   returned on the exercise's cases; whether that is right is decided here, by the package.

docs/INSTRUCTORS.md says what this keeps out and what it does not.
"""

from __future__ import annotations

import ast
import atexit
import base64
import contextlib
import copy
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    DeduplicateIds,
    Execute,
    IgnorePattern,
    LimitOutput,
    LockCells,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
    SaveCells,
)
from traitlets import Bool, Integer, List, Unicode

TOOLS = Path(__file__).resolve().parent
MANIFEST = "released.json"


# ---------------------------------------------------------------------------------------------------
# What was released.


def digest(notebook: NotebookNode) -> str:
    """A hash of the cells as nbgrader knows them: type, text and role, outputs aside."""
    cells = [
        [cell.cell_type, cell.source, {**cell.metadata.get("nbgrader", {}), "checksum": None}]
        for cell in notebook.cells
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def package_digest(number: str) -> str:
    """A hash of the code that checks and right answers of a chapter come from: its exercises and what they import."""
    import ddpm_lite

    root = Path(ddpm_lite.__file__).parent
    sha, seen = hashlib.sha256(), set()
    waiting = [root / "exercises" / f"{name}.py" for name in (f"ch{number}", "engine", "fresh")]
    while waiting:
        path = waiting.pop()
        if path.is_file() and path not in seen:
            seen.add(path)
            waiting += _imports(root, path)
    for path in sorted(seen):
        sha.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def _imports(root: Path, path: Path) -> Iterator[Path]:
    """The package's own files that a file may import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [one.name for one in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names] + [node.module or ""]
        for name in names:
            if name.split(".")[0] == root.name:
                yield root.joinpath(*name.split(".")[1:]).with_suffix(".py")


def manifest(root: Path) -> dict:
    """What was released in a course folder, by assignment."""
    path = root / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read(path: Path) -> NotebookNode:
    """A notebook from a file."""
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def changes(root: Path, name: str) -> list[str]:
    """What is no longer as it was when the assignment was released, one sentence each."""
    entry = manifest(root).get(name)
    if entry is None:
        return [f"{name} is not in {MANIFEST}"]
    found = []
    for folder in ("source", "release"):
        path = root / folder / name / f"{name}.ipynb"
        if not path.is_file() or digest(read(path)) != entry[folder]:
            found.append(f"{folder}/{name}/{name}.ipynb is not the one that was released")
    if package_digest(entry["number"]) != entry["package"]:
        found.append(
            "its exercises in the package ddpm_lite, or what they import, are not those that it was released with"
        )
    return found


# ---------------------------------------------------------------------------------------------------
# Releasing.


class ClearAnswers(ClearSolutions):
    """nbgrader's ClearSolutions; a solution at the left margin, a value, leaves no line that raises."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        """Clear one cell."""
        inside = re.search(r"^[ \t]+.*BEGIN SOLUTION", cell.source, re.MULTILINE)
        stub = "# YOUR CODE HERE" + "\nraise NotImplementedError()" * bool(inside)
        self.code_stub, self.text_stub = {**self.code_stub, "python": stub}, "*Your answer here.*"
        return super().preprocess_cell(cell, resources, index)


# ---------------------------------------------------------------------------------------------------
# Putting a submission right.


class Confined(NbGraderPreprocessor):
    """What every step of grading here needs to know. Set it as c.Confined.NAME in nbgrader_config.py."""

    root = Unicode(help="the course folder, where released.json is").tag(config=True)
    answer_seconds = Integer(20, help="processor time for one answer; four times that by the clock").tag(
        config=True
    )
    cell_seconds = Integer(240, help="time for one cell of the notebook").tag(config=True)
    notebook_seconds = Integer(900, help="time for the whole notebook").tag(config=True)
    megabytes = Integer(3000, help="memory, beyond what Python with PyTorch takes").tag(config=True)
    whole = Bool(True, help="run the whole notebook as well, for its outputs").tag(config=True)
    readable = List(Unicode(), help="more folders that a learner's code may read").tag(config=True)
    wrapper = List(Unicode(), help="a command to put before each process, such as a container's").tag(
        config=True
    )
    require_landlock = Bool(False, help="do not grade where files cannot be protected").tag(config=True)
    accept_changes = Bool(False, help="grade although something changed since the release").tag(config=True)

    def entry(self, resources: Any) -> dict:
        """What was released under this assignment's name."""
        return manifest(Path(self.root))[resources["nbgrader"]["assignment"]]

    def released(self, resources: Any) -> NotebookNode:
        """The notebook that was released."""
        name = resources["nbgrader"]["assignment"]
        return read(Path(self.root) / "release" / name / f"{name}.ipynb")

    def command(self, box: Path, module: str, seconds: int, megabytes: int, file_megabytes: int) -> list[str]:
        """The command that runs a module of Python shut in, with `box` as its only folder to write to."""
        import ddpm_lite

        own = [sys.prefix, sys.base_prefix, Path(ddpm_lite.__file__).resolve().parent]
        own += [TOOLS / "answers.py", TOOLS / "confine.py"]
        system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys"]
        options = {
            "read": [*system, *map(str, own), *self.readable],
            "write": [str(box)],
            "seconds": seconds,
            "megabytes": megabytes,
            "file_megabytes": file_megabytes,
            "preload": ["torch"],
        }
        return [*self.wrapper, sys.executable, str(TOOLS / "confine.py"), json.dumps(options), "-m", module]

    @contextlib.contextmanager
    def box(self, files: Path | None = None) -> Iterator[Path]:
        """A folder for one run, holding a copy of what was handed in and links to the package; gone afterwards."""
        import ddpm_lite

        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as name:
            box = Path(name).resolve()
            for part in ("site", "tmp", "work", "matplotlib"):
                (box / part).mkdir()
            (box / "site" / "ddpm_lite").symlink_to(Path(ddpm_lite.__file__).resolve().parent)
            for tool in ("answers.py", "confine.py"):
                (box / "site" / tool).symlink_to(TOOLS / tool)
            if files and files.is_dir():
                shutil.copytree(
                    files, box / "work", symlinks=True, dirs_exist_ok=True
                )  # a link stays outside
            for fonts in (Path.home() / ".cache" / "matplotlib").glob("fontlist*.json"):
                shutil.copy(fonts, box / "matplotlib")  # Matplotlib would search for them anew
            yield box

    def surroundings(self, box: Path) -> dict[str, str]:
        """The environment variables of a run: nothing of the grader's own, which might be a secret."""
        keep = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
        own = {"HOME": box, "TMPDIR": box / "tmp", "IPYTHONDIR": box / "tmp", "PYTHONPATH": box / "site"}
        own |= {"MPLCONFIGDIR": box / "matplotlib", "JUPYTER_RUNTIME_DIR": box / "tmp"}
        fixed = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUTF8": "1", "NBGRADER_EXECUTION": "autograde"}
        fixed |= {"CUDA_VISIBLE_DEVICES": ""}  # CUDA reserves more addresses than any limit allows
        fixed |= {"JOBLIB_MULTIPROCESSING": "0"}  # it warns where it may not make a semaphore
        here = {name: os.environ[name] for name in keep if name in os.environ}
        return here | {name: str(path) for name, path in own.items()} | fixed


class AsReleased(Confined):
    """Grade what was released: else refuse. Roles of cells come from the release; missing ones are put back."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Check that nothing changed since the release, and put the submission right."""
        name = resources["nbgrader"]["assignment"]
        changed = changes(Path(self.root), name)
        if changed and not self.accept_changes:
            raise NbGraderException("Nothing is graded, because " + "; ".join(changed) + ".")
        for one in changed:
            self.log.warning("graded all the same: %s", one)
        released = self.released(resources)
        mine, theirs = (one.metadata.get("ddpm_lite", {}).get("release") for one in (nb, released))
        if mine != theirs:
            self.log.warning("the submission is not from this release (it says %r)", mine)
        self.restore(nb, released)
        return nb, resources

    def restore(self, nb: NotebookNode, released: NotebookNode) -> None:
        """Give every cell the role that it has in the release, and put back what is missing and is no answer."""
        roles = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
        there: dict[str, int] = {}
        for index, cell in enumerate(nb.cells):
            id_ = _grade_id(cell)
            if id_ in roles and id_ not in there:
                cell.metadata["nbgrader"] = copy.deepcopy(roles[id_].metadata["nbgrader"])
                there[id_] = index
            else:
                cell.metadata.pop("nbgrader", None)  # unknown here, or a copy: it plays no part
        after = -1
        for id_, cell in roles.items():
            if id_ in there:
                after = max(after, there[id_])
            if id_ in there or cell.metadata["nbgrader"]["solution"] > cell.metadata["nbgrader"]["grade"]:
                continue  # an answer that lost its role is found by its name
            self.log.warning("put back: the cell %s is missing", id_)
            after += 1
            nb.cells.insert(after, copy.deepcopy(cell))
            if nb.nbformat_minor < 5:  # from Colab, say: cells have no id there
                del nb.cells[after]["id"]
            there = {other: place + (place >= after) for other, place in there.items()}


def _grade_id(cell: NotebookNode) -> str | None:
    """The name of a cell in the gradebook."""
    role = cell.metadata.get("nbgrader")
    id_ = role.get("grade_id") if isinstance(role, dict) else None
    return id_ if isinstance(id_, str) else None


# ---------------------------------------------------------------------------------------------------
# Running it, for its outputs.


class ConfinedSpecs(KernelSpecManager):
    """One kernel, whatever is asked for: this Python, shut in."""

    argv = List(Unicode())

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The command that starts it."""
        return KernelSpec(argv=list(self.argv), display_name="Python, shut in", language="python")


class RunNotebook(Confined, Execute):
    """Runs the notebook in a kernel that is shut in. Its outputs are for people to read; they give no points."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Run every cell, or as many as the kernel and the time allow."""
        if not self.whole:
            return nb, resources
        name, student = resources["nbgrader"]["assignment"], resources["nbgrader"]["student"]
        with self.box(Path(self.root) / "submitted" / student / name) as self._box:
            self._end = time.monotonic() + self.notebook_seconds
            try:
                super().preprocess(nb, {**resources, "metadata": {"path": str(self._box / "work")}})
            except (CellControlSignal, DeadKernelError, RuntimeError) as error:
                self.log.warning("the notebook was not run to its end: %s", type(error).__name__)
                self._stopped(nb)
        nb.metadata.pop("widgets", None)
        return nb, resources

    def _stopped(self, nb: NotebookNode) -> None:
        """Say in the first cell that was not run why there are no more outputs."""
        codes = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
        for cell in codes:
            if not cell.get("execution_count"):
                text = "Not run, as all that is below: the kernel stopped in a cell above.\n"
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
                return

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        """Run one cell, unless the time is up."""
        left = int(self._end - time.monotonic())
        if cell.cell_type == "code" and left < 1:
            text = "Not run: the time for the whole notebook is used up.\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
            return cell, resources
        self.timeout = max(1, min(self.cell_seconds, left))
        return super().preprocess_cell(cell, resources, index)

    def create_kernel_manager(self) -> AsyncKernelManager:
        """A kernel that is reached through sockets in the box, so that it needs no network."""
        command = self.command(self._box, "ipykernel_launcher", self.notebook_seconds, self.megabytes, 500)
        specs = ConfinedSpecs(argv=[*command, "-f", "{connection_file}", "--IPKernelApp.log_level=ERROR"])
        self.km = AsyncKernelManager(
            kernel_spec_manager=specs, transport="ipc", connection_file=str(self._box / "kernel.json")
        )
        return self.km

    def start_new_kernel(self, **kwargs: Any) -> None:
        """Start it in the box's surroundings, and away from the grader's terminal."""
        away = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return super().start_new_kernel(env=self.surroundings(self._box), **away, **kwargs)


# ---------------------------------------------------------------------------------------------------
# Giving the points.


class JudgeAnswers(Confined):
    """Scores every exercise apart from the notebook, and writes the verdict into its check cell's outputs."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Judge every exercise of the notebook."""
        entry = self.entry(resources)
        places = {_grade_id(cell): index for index, cell in enumerate(nb.cells) if _grade_id(cell)}
        results = self.results(nb, entry, places, self.released(resources))
        verdicts = []
        for item in entry["exercises"]:
            result = results.get(item["id"], {"ended": "died"})
            why = wrong(item["id"], result, entry["salts"][0])
            why = why and (named(item["id"], result) or why)
            cell = nb.cells[places[item["check"]]]
            claimed = not any(output.output_type == "error" for output in cell.outputs)
            cell.outputs = _shown(cell.outputs, item["id"], why)
            notes = suspicious(nb, item)
            verdicts.append({**item, "right": why is None, "why": why or "", "notes": notes})
            if self.whole and claimed and why:
                verdicts[-1]["notes"] = [*notes, "no error in the notebook itself"]
            for note in verdicts[-1]["notes"]:
                self.log.warning("%s, exercise %s: %s", resources["nbgrader"]["student"], item["id"], note)
        self.keep(verdicts, nb, resources)
        return nb, resources

    def keep(self, verdicts: list[dict], nb: NotebookNode, resources: Any) -> None:
        """Write the verdicts to verdicts/ASSIGNMENT/STUDENT.json in the course folder."""
        folder = Path(self.root) / "verdicts" / resources["nbgrader"]["assignment"]
        folder.mkdir(parents=True, exist_ok=True)
        release = nb.metadata.get("ddpm_lite", {}).get("release")
        record = {"release": release, "exercises": verdicts}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{resources['nbgrader']['student']}.json").write_text(text, encoding="utf-8")

    def results(self, nb: NotebookNode, entry: dict, places: dict, released: NotebookNode) -> dict[str, Any]:
        """What every answer did, by exercise; what is missing did not come back."""
        job = {
            "salt": entry["salts"][0],
            "seconds": self.answer_seconds,
            "megabytes": self.megabytes,
            "cells": _code(nb),
            "released": _code(released),
            "exercises": [
                {
                    "id": one["id"],
                    "name": one["name"],
                    "cell": places[one["check"]],
                    "limits": limits(one["id"]),
                }
                for one in entry["exercises"]
            ],
        }
        worker = self.worker()
        found = worker.ask(job, 5 * self.answer_seconds * len(job["exercises"]) + 120)
        if len(found) < len(job["exercises"]):
            worker.end()
        return found

    def worker(self) -> Worker:
        """The process that tries answers out; a new one if there is none."""
        if not (_workers and _workers[-1].process.poll() is None and _workers[-1].maker == self.settings()):
            stack = contextlib.ExitStack()
            box = stack.enter_context(self.box())
            command = self.command(box, "answers", 10**6, 4 * self.megabytes, 100)
            _workers.append(Worker(self.settings(), command, self.surroundings(box), box / "work", stack))
        return _workers[-1]

    def settings(self) -> tuple:
        """What a worker depends on."""
        return self.megabytes, tuple(self.wrapper), tuple(self.readable)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from tools import confine

        if not confine.landlock_version():
            if self.require_landlock:
                raise NbGraderException(
                    "This system has no Landlock, and c.Confined.require_landlock asks for it."
                )
            self.log.warning("no Landlock here: a learner's code can read and change files as you can")


def _code(nb: NotebookNode) -> list[str]:
    """The text of every code cell, and nothing for the others, so that places stay the same."""
    return [cell.source if cell.cell_type == "code" else "" for cell in nb.cells]


class Worker:
    """The process that forks one for each answer. It runs no learner's code itself, so it serves for many learners."""

    def __init__(
        self, maker: tuple, command: list[str], env: dict[str, str], cwd: Path, stack: contextlib.ExitStack
    ) -> None:
        self.maker, self.stack = maker, stack
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, **pipes)
        atexit.register(self.end)

    def ask(self, job: dict, seconds: float) -> dict[str, Any]:
        """What came back of a job, by exercise, until all of it is there, or the time is up, or the process ends."""
        found: dict[str, Any] = {}
        wanted = {one["id"] for one in job["exercises"]}
        deadline, text = time.monotonic() + seconds, b""
        with contextlib.suppress(OSError):
            self.process.stdin.write(b"+" + json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
            while wanted - set(found) and self.ready(deadline):
                part = os.read(self.process.stdout.fileno(), 1 << 20)
                if not part:
                    break
                *lines, text = (text + part).split(b"\n")
                for line in lines:
                    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
                        one = json.loads(line)
                        found.setdefault(one["id"], one)
        return {id_: one for id_, one in found.items() if id_ in wanted}

    def ready(self, deadline: float) -> bool:
        """Wait until there is something to read, or until the deadline."""
        left = max(0.0, deadline - time.monotonic())
        return bool(select.select([self.process.stdout], [], [], left)[0])

    def end(self) -> None:
        """End the process and all of its group, and clear up."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.stack.close()


_workers: list[Worker] = []


def _shown(outputs: list, id_: str, why: str | None) -> list:
    """The check cell's outputs with the verdict on top, in the form that nbgrader reads as all or no points."""
    plain = ("stream", "display_data")
    kept = [one for one in outputs if one.output_type in plain and one.get("name") != "stderr"]
    if why is None:
        text = f"Graded: exercise {id_} is right, on the check's own cases and on fresh ones.\n"
        return [nbformat.v4.new_output("stream", name="stdout", text=text), *kept]
    text = f"Exercise {id_}: {why}"
    error = nbformat.v4.new_output("error", ename="NotRight", evalue=text, traceback=["NotRight: " + text])
    return [error, *kept]


# ---------------------------------------------------------------------------------------------------
# What a person will look at.


class SafeToRead(SanitizeHTML, NbGraderPreprocessor):
    """Takes out of a learner's text and outputs what would run in the browser of whoever reads them."""

    PLAIN_TAGS = r"/?(?:b|br|code|details|em|i|p|strong|sub|summary|sup)\s*/?"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strip = True
        self.tags = sorted(
            {*self.tags, "br", "div", "p", "pre", "span", "table", "tbody", "td", "th", "thead", "tr"}
        )
        self.attributes = {"div": ["role", "style"]}
        self.styles = ["border-left", "margin", "padding"]

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        """Outputs lose scripts; text that a learner could change loses tags that are not plain."""
        if cell.cell_type == "code":
            return super().preprocess_cell(cell, resources, index)
        if not cell.metadata.get("nbgrader", {}).get("locked"):
            cell.source = re.sub(rf"<(?!{self.PLAIN_TAGS}>)(?=[A-Za-z/!?])", "&lt;", cell.source)
        return cell, resources


# ---------------------------------------------------------------------------------------------------
# Whether what came back is right.

NOTHING = "not attempted"
_ENDED = {
    "time": "it did not come to an end in time.",
    "size": "it returned far too much.",
    "died": "it ended the process that ran it.",
}
_rights: dict[tuple[str, int], list] = {}


def rights(id_: str, salt: int) -> list:
    """(case label, the package's own outcome) for every case: the check's own ones (salt 0), or fresh ones."""
    from ddpm_lite.exercises import fresh
    from ddpm_lite.exercises.engine import attempt
    from ddpm_lite.exercises.registry import registry

    if (id_, salt) not in _rights:
        exercise = registry.find(id_)
        cases = list((fresh.afresh(exercise, salt) if salt else exercise).cases())
        _rights[id_, salt] = [(case.label, attempt(exercise, exercise.reference, case)) for case in cases]
    return _rights[id_, salt]


def limits(id_: str) -> list[int]:
    """For each case how many items to take from a generator: enough to tell that it yields too many."""
    from ddpm_lite.exercises.compare import Yielded
    from ddpm_lite.exercises.registry import registry

    if registry.find(id_).is_value:
        return []
    results = (right.result for _, right in rights(id_, 0))
    return [len(one.items) + 1 if isinstance(one, Yielded) else 10_000 for one in results]


def wrong(id_: str, result: Any, salt: int) -> str | None:
    """Why what an answer did is not right; None if it is."""
    try:
        return _wrong(id_, result, salt)
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        return f"what it returned cannot be read ({type(error).__name__})."  # forged, or not of this world


def _wrong(id_: str, result: dict, salt: int) -> str | None:
    from ddpm_lite.exercises.compare import first_difference
    from ddpm_lite.exercises.engine import resolve
    from ddpm_lite.exercises.registry import registry

    exercise = registry.find(id_)
    if "ended" in result:
        return _ENDED.get(result["ended"], _ENDED["died"])
    if "error" in result:
        return _line(result["error"])
    if exercise.is_value:
        same = (
            first_difference(decode(result["value"]), resolve(exercise.reference), exercise.tolerance) is None
        )
        return None if same else "this is not the value."
    for number, pairs in zip((0, salt), result["runs"], strict=True):
        right = rights(id_, number)
        if len(pairs) != len(right):
            return "it was not tried out on every case."
        for (label, outcome), pair in zip(right, pairs, strict=True):
            why = _differs(outcome.result, pair, exercise.tolerance)
            if why:
                return (
                    why
                    if why == NOTHING
                    else f"{why} Seen on {label}" + ", with fresh numbers" * bool(number) + "."
                )
    return None


def named(id_: str, result: dict) -> str | None:
    """The classic mistake that an answer makes, by name, with the line that it breaks; None if it makes none."""
    from ddpm_lite.exercises.compare import LOST_PRECISION, Tolerance, first_difference
    from ddpm_lite.exercises.engine import attempt, resolve
    from ddpm_lite.exercises.registry import registry

    exercise = registry.find(id_)
    loose = Tolerance(max(LOST_PRECISION[0], exercise.rtol or 0), max(LOST_PRECISION[1], exercise.atol or 0))
    try:
        if exercise.is_value:
            mine, tolerance = [decode(result["value"])], exercise.tolerance
        else:
            mine, tolerance = [decode(pair[0]["result"]) for pair in result["runs"][0]], loose
        for mistake in exercise.misconceptions:
            if exercise.is_value:
                wrongs = [resolve(mistake.wrong)]
            else:
                wrongs = [
                    attempt(exercise, mistake.wrong, case, 1, n).result
                    for case, n in zip(exercise.cases(), limits(id_), strict=True)
                ]
            if all(
                first_difference(got, want, tolerance) is None for got, want in zip(mine, wrongs, strict=True)
            ):
                return (
                    f"{mistake.name}. The rule: {mistake.breaks}"
                    + f" (read again: {mistake.reread})" * bool(mistake.reread)
                )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError):
        pass  # it raised, or what it returned cannot be read
    return None


def _differs(right: Any, pair: list[dict], tolerance: Any) -> str | None:
    """Why two runs on a case are not both right."""
    from ddpm_lite.exercises.compare import first_difference

    first, second = pair
    for one in (first, second):
        if "error" in one:
            return one["error"] if one["error"] == NOTHING else f"it raises {_line(one['error'])}."
        if one["changed"]:
            return f"it changes its argument {_line(str(one['changed'][0]))}."
        found = first_difference(decode(one["result"]), right, tolerance)
        if found:
            return f"{found.where}yours is {_line(found.got)}, expected {found.want}."
    return None


def _line(text: str) -> str:
    """Somebody else's words, fit to be shown: one line, no control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", str(text))[:300] or "it raises an error."


def decode(thing: Any) -> Any:
    """A result that `encode` in answers.py wrote. Only numbers, text and containers come out, never code."""
    from ddpm_lite.exercises.compare import Yielded

    if not isinstance(thing, dict):
        if isinstance(thing, (bool, int, float, str)) or thing is None:
            return thing
        raise TypeError(type(thing).__name__)
    ((kind, value),) = thing.items()
    if kind == "tensor":
        return _tensor(value)
    if kind == "array":
        return _tensor(value).numpy()
    if kind == "complex":
        return complex(*value)
    if kind == "yielded":
        return Yielded(tuple(map(decode, value)))
    if kind in ("tuple", "list"):
        return {"tuple": tuple, "list": list}[kind](map(decode, value))
    if kind == "dict":
        return {decode(key): decode(one) for key, one in value}
    if kind == "object":
        return SimpleNamespace(**{str(key): decode(one) for key, one in value.items()})
    return SimpleNamespace()  # something that no exercise asks for


def _tensor(value: list) -> Any:
    """[dtype, shape, numbers in base64] -> a tensor."""
    import torch

    kind, shape, text = value
    dtype = getattr(torch, kind)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(kind)
    stored = torch.float32 if dtype == torch.bfloat16 else dtype
    numbers = bytearray(base64.b64decode(text, validate=True))
    tensor = torch.frombuffer(numbers, dtype=stored) if numbers else torch.empty(0, dtype=stored)
    return tensor.reshape(shape).to(dtype)


# Words that no answer to these exercises needs. They cost no points; somebody should have a look.
_REACHING_OUT = re.compile(
    r"ddpm_lite\.exercises|\b(?:registry|stand_in|reference|sys\.modules|__import__|importlib|inspect|ctypes"
    r"|subprocess|socket|_exit|os\.kill|get_ipython|eval|exec|globals)\b"
)


def suspicious(nb: NotebookNode, item: dict) -> list[str]:
    """What a person should look at in an answer, one sentence each."""
    from ddpm_lite.exercises.registry import registry

    notes = []
    own = getattr(registry.find(item["id"]).reference, "__name__", None)
    for cell in nb.cells:
        if _grade_id(cell) != item["answer"]:
            continue
        words = sorted(set(_REACHING_OUT.findall(cell.source)))
        notes += [f"the answer mentions {', '.join(words)}"] * bool(words)
        if own and re.search(rf"\.\s*{re.escape(own)}\b|import[^\n]*\b{re.escape(own)}\b", cell.source):
            notes.append(f"the answer uses the package's own {own}")
    return notes


# ---------------------------------------------------------------------------------------------------
# nbgrader's configuration.


def configure(c: Any, root: str | Path) -> None:
    """Set nbgrader up for a course folder; `c` is its configuration."""
    # nbgrader starts `alembic`, which is beside this Python, whether or not that folder is on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = f"sqlite:///{Path(root).as_posix()}/gradebook.db"
    c.Confined.root = str(root)
    # zip_collect takes notebooks from downloaded/NN_topic/archive that are named LEARNER_NN_topic.ipynb.
    c.FileNameCollectorPlugin.named_regexp = r".*/(?P<student_id>[^/]+?)_(?P<file_id>\d\d_[a-z0-9_]+)\.ipynb$"
    c.GenerateAssignment.preprocessors = [
        LockCells,
        ClearAnswers,
        ClearOutput,
        CheckCellMetadata,
        ComputeChecksums,
        SaveCells,
        ClearHiddenTests,
        ClearMarkScheme,
        ComputeChecksums,
        CheckCellMetadata,
    ]
    c.Autograde.sanitize_preprocessors = [
        AsReleased,
        ClearOutput,
        DeduplicateIds,
        OverwriteKernelspec,
        OverwriteCells,
        CheckCellMetadata,
    ]
    c.Autograde.autograde_preprocessors = [
        RunNotebook,
        JudgeAnswers,
        IgnorePattern,
        ClearMetadataPreprocessor,
        LimitOutput,
        SaveAutoGrades,
        AssignLatePenalties,
        SafeToRead,
        CheckCellMetadata,
    ]
