"""Makes nbgrader assignments from the chapters' sources.

    python course.py assignment 01            one chapter; --out DIR, --points 5,01.3=8,open=10
    python course.py assignment               every chapter
    python course.py assignment 01 --key      print the answer key, as Markdown; make nothing

The output folder (assignments/, unless --out says otherwise) is a course folder as nbgrader lays it out:
    nbgrader_config.py                    sets up grading.py; limits can be set there. Written once, then yours
    released.json                         what was released: hashes, points, and the salts of the hidden tests
    source/NN_topic/NN_topic.ipynb        with solutions and hidden tests, for the instructor only
    release/NN_topic/NN_topic.ipynb       for learners
    gradebook.db                          nbgrader's own

In an assignment a chapter's text, its first cell and its checks are locked, an exercise's cell is an autograded
answer, its check the test that gives the points, with hidden tests around it, and the open problem is a question
that is graded by hand. Top to bottom: points, cells, one assignment, the command line.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import re
import secrets
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ddpm_lite.exercises.registry import registry
from tools import grading, notebooks
from tools.notebooks import Chapter, Course, Problem

ROOT = notebooks.ROOT
POINTS, OPEN_POINTS = 5, 10

CONFIG = '''\
"""nbgrader's configuration of this course folder. Made once by `python course.py assignment`; change it freely."""

import sys
from pathlib import Path

TOOLS = {tools}  # the course, where tools/grading.py is
sys.path.insert(0, str(TOOLS))

from tools import grading  # noqa: E402

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ddpm-lite"
grading.configure(c, Path(__file__).resolve().parent)

# Limits, for each learner. What each one means: python -m nbgrader autograde --help-all, under Confined.
# c.Confined.answer_seconds = 20
# c.Confined.cell_seconds = 240
# c.Confined.notebook_seconds = 900
# c.Confined.megabytes = 3000
# c.Confined.whole = False  # points only, without running the whole notebook: much faster
# c.Confined.require_landlock = True
# c.Confined.wrapper = ["docker", "run", ...]  # see docs/INSTRUCTORS.md
'''

# For a chapter whose source has no open problem.
REFLECTION = """\
## In your own words

Choose the one idea of this chapter that was new to you. Explain it to somebody who has not read the chapter, in
about ten sentences, with one number or picture of your own from a cell that you add below."""

FIRST = """\
> **Assignment.** Fill in the cells that say `YOUR CODE HERE`; all that an answer needs should be in its cell or in
> cells above it. Each check below gives points once it is right, and is run again, with other numbers, when this is
> graded. You may add cells. Text and checks are locked. Save the notebook under the name that it has, and hand it in."""


@dataclass(frozen=True)
class Item:
    """An exercise of an assignment: its id, the name that is checked, its two cells, its points."""

    id: str
    name: str
    answer: str
    check: str
    points: float


# ---------------------------------------------------------------------------------------------------
# Points.


def parse_points(text: str) -> dict[str, float]:
    """From "5,01.3=8,open=10" to {"": 5.0, "01.3": 8.0, "open": 10.0}. Raises Problem for anything else."""
    points: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(?:(open|\d\d\.\d+)=)?(\d+(?:\.\d+)?)", part.strip())
        if not match:
            raise Problem(f"--points: {part!r} is not like 5, 01.3=8 or open=10.")
        points[match[1] or ""] = float(match[2])
    return points


# ---------------------------------------------------------------------------------------------------
# Cells.


def role(grade_id: str, kind: str, points: float | None = None, cell_type: str = "code") -> dict:
    """nbgrader's metadata of a cell. kind: "text" (locked), "answer", "check" or "question" (graded by hand)."""
    made = {
        "grade_id": grade_id,
        "grade": kind in ("check", "question"),
        "solution": kind in ("answer", "question"),
        "locked": kind in ("text", "check"),
        "task": False,
        "schema_version": 3,
        "cell_type": cell_type,
    }
    return made if points is None else made | {"points": points}


def checked(cell: NotebookNode) -> tuple[str, str] | None:
    """(id, name) of the statement `name = check("id", name)` in a cell. Raises Problem if there are two."""
    if cell.cell_type != "code" or "check(" not in cell.source:
        return None
    found = []
    for node in ast.parse(re.sub(r"^[ \t]*[%!].*$", "pass", cell.source, flags=re.MULTILINE)).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="check"), args=[ast.Constant(value=id_), ast.Name(id=given)]),
            ) if name == given:
                found.append((id_, name))
    if len(found) > 1:
        raise Problem(f"{notebooks.label(cell)}: two checks in one cell cannot be graded.")
    return found[0] if found else None


def hidden(source: str, id_: str, name: str, salt: int) -> str:
    """A check's cell with hidden tests around it.

    Before it: what is graded is kept, and is None if there is nothing, so that the check lends and the notebook
    goes on. After it: the check's cases once more, and fresh ones, whatever `check` has become in this notebook.
    """
    kept = f"_given_{id_.replace('.', '_')}"
    return "\n".join(
        [
            "### BEGIN HIDDEN TESTS",
            f'{name} = {kept} = globals().get("{name}")',
            "### END HIDDEN TESTS",
            source,
            "### BEGIN HIDDEN TESTS",
            "from ddpm_lite.exercises import fresh as _fresh",
            f'_fresh.require("{id_}", {kept}, {salt})',
            "### END HIDDEN TESTS",
        ]
    )


def split_open_problem(cell: NotebookNode) -> tuple[str, str, str] | None:
    """(text before, the problem, its solution) of a text cell that holds the open problem, else None."""
    solution = re.search(r"<!-- BEGIN SOLUTION -->\n(.*?)<!-- END SOLUTION -->", cell.source, re.DOTALL)
    if cell.cell_type != "markdown" or not solution:
        return None
    above, below = cell.source[: solution.start()], cell.source[solution.end() :]
    heading = list(re.finditer(r"^## .*$", above, re.MULTILINE))
    start = heading[-1].start() if heading else 0
    problem = "\n\n".join(filter(None, (above[start:].strip(), below.strip())))
    return above[:start].strip(), problem, solution[1].strip()


def question(problem: str, solution: str, points: float) -> list[NotebookNode]:
    """The open problem: its text, the answer that is graded by hand, a cell to compute in."""
    text = nbformat.v4.new_markdown_cell(problem, id="open-problem")
    text.metadata["nbgrader"] = role("open-problem", "text", cell_type="markdown")
    if not points:
        return [text]
    begin, end = "<!-- BEGIN SOLUTION -->", "<!-- END SOLUTION -->"
    head = f"**Your answer to it** ({points:g} points, graded by hand; compute in the cells below):"
    answer = nbformat.v4.new_markdown_cell("\n".join([head, "", begin, solution, end]), id="open-answer")
    answer.metadata["nbgrader"] = role("open-answer", "question", points, "markdown")
    return [text, answer, nbformat.v4.new_code_cell("# your computations, if any", id="open-computations")]


def cells_of(chapter: Chapter, points: dict[str, float], salt: int) -> tuple[list[NotebookNode], list[Item]]:
    """The cells of a chapter's assignment, before nbgrader clears them, and its exercises."""
    cells: list[NotebookNode] = []
    items: list[Item] = []
    waiting: list[NotebookNode] = []  # answers whose check is still to come
    asked = False
    for cell in notebooks.draft(chapter, "assignment").cells:
        parts = split_open_problem(cell)
        if "solution-only" in tags(cell):
            continue
        if parts:
            asked = True
            before, problem, solution = parts
            cells += [_text(before, f"{cell.id}-0")] * bool(before)
            cells += question(problem, solution, points.get("open", OPEN_POINTS))
            continue
        found = checked(cell)
        hint = None
        if found:
            item = _item(chapter, found, waiting, points)
            hint, cell.source = _hint(cell)
            cell.source = hidden(cell.source, *found, salt)
            cell.metadata["nbgrader"] = role(item.check, "check", item.points)
            items.append(item)
            waiting = []
        elif cell.cell_type == "markdown":
            cell = _text(cell.source, cell.id, dict(cell.metadata))
        elif "BEGIN SOLUTION" in cell.source:
            waiting.append(cell)
        elif not any(other.cell_type == "code" for other in cells):
            cell.metadata["nbgrader"] = role("setup", "text")
        cells += [cell] if hint is None else [cell, hint]
    if waiting:
        raise Problem(
            f"{chapter.source.name}, {notebooks.label(waiting[0])}: a solution, and no check after it."
        )
    if not asked:
        cells += question(
            REFLECTION, "There is no single answer; see the rubric.", points.get("open", OPEN_POINTS)
        )
    cells.insert(1, _text(FIRST, "assignment"))
    return cells, items


def _item(
    chapter: Chapter, found: tuple[str, str], waiting: list[NotebookNode], points: dict[str, float]
) -> Item:
    """The exercise of a check; gives its answer cell, the one that waits, its role."""
    id_, name = found
    if len(waiting) != 1:
        raise Problem(
            f"{chapter.source.name}: exercise {id_} has {len(waiting)} answer cells, and needs one."
        )
    tail = id_.replace(".", "-")
    waiting[0].metadata["nbgrader"] = role(f"answer-{tail}", "answer")
    return Item(id_, name, f"answer-{tail}", f"check-{tail}", points.get(id_, points.get("", POINTS)))


def _hint(cell: NotebookNode) -> tuple[NotebookNode | None, str]:
    """The hint of a check's cell as a cell of its own, since the check is locked; and the check without it."""
    lines = cell.source.split("\n")
    hints = [line for line in lines if re.match(r"#\s*hint\(", line)]
    rest = "\n".join(line for line in lines if line not in hints)
    return (nbformat.v4.new_code_cell("\n".join(hints), id=f"{cell.id}-hint") if hints else None), rest


def _text(source: str, id_: str, metadata: dict | None = None) -> NotebookNode:
    """A locked text cell."""
    cell = nbformat.v4.new_markdown_cell(source, id=id_)
    cell.metadata.update(metadata or {}, nbgrader=role(f"text-{id_}", "text", cell_type="markdown"))
    return cell


# ---------------------------------------------------------------------------------------------------
# One assignment.


def write_config(out: Path) -> None:
    """nbgrader's configuration, unless there is one."""
    path = out / "nbgrader_config.py"
    if path.exists():
        return
    inside = out.resolve().is_relative_to(ROOT)
    up = len(out.resolve().relative_to(ROOT).parts) if inside else 0
    tools = f"Path(__file__).resolve().parents[{up}]" if inside else f"Path({str(ROOT)!r})"
    path.write_text(CONFIG.format(tools=tools), encoding="utf-8")


def source_of(chapter: Chapter, points: dict[str, float], salt: int) -> tuple[NotebookNode, list[Item]]:
    """An assignment's source notebook, and its exercises."""
    cells, items = cells_of(chapter, points, salt)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.update(
        copy.deepcopy({"kernelspec": notebooks.KERNEL, "language_info": notebooks.LANGUAGE})
    )
    # With the salt of its hidden tests left out, so that it can be told to learners.
    release = grading.digest(nbformat.v4.new_notebook(cells=cells_of(chapter, points, 0)[0]))
    notebook.metadata["ddpm_lite"] = {"edition": "assignment", "chapter": chapter.number, "release": release}
    return nbformat.from_dict(notebook), items


def make(chapter: Chapter, out: Path, points: dict[str, float], replace: bool) -> str:
    """Make and release a chapter's assignment; what was done, in words. Raises Problem, and has changed nothing.

    An assignment that was released stays as it is. If the chapter has changed since, `replace` makes it anew.
    """
    known = grading.manifest(out).get(chapter.name)
    # Two salts: feedback shows the one in the cells, and never the one that the points depend on.
    salts = known["salts"] if known else [secrets.randbelow(10**6) + 1 for _ in range(2)]
    notebook, items = source_of(chapter, points, salts[1])
    if not items:
        raise Problem(f"{chapter.source.name} has no exercises, so there is nothing to assign.")
    if known and not grading.changes(out, chapter.name) and known["source"] == grading.digest(notebook):
        return "is released already, and nothing has changed"
    handed_in = sorted((out / "submitted").glob(f"*/{chapter.name}"))
    if known and not replace:
        there = f", and {len(handed_in)} learners have handed theirs in" if handed_in else ""
        raise Problem(
            f"{chapter.name} was released, and has changed since{there}. --replace releases it anew."
        )
    path = out / "source" / chapter.name / f"{chapter.name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_config(out)
    path.write_bytes(notebooks.serialised(notebook))
    release(out, chapter.name)
    entry = {
        "number": chapter.number,
        "released": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": grading.digest(notebook),
        "release": grading.digest(grading.read(out / "release" / chapter.name / path.name)),
        "package": grading.package_digest(chapter.number),
        "salts": salts,
        "exercises": [asdict(item) for item in items],
    }
    text = json.dumps({**grading.manifest(out), chapter.name: entry}, indent=1, sort_keys=True) + "\n"
    notebooks.write(out / grading.MANIFEST, text.encode())
    total = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in notebook.cells)
    return f"released: {len(items)} exercises and an open question, {total:g} points"


def release(out: Path, name: str) -> None:
    """Have nbgrader make the learner's notebook. Raises Problem with its words if it does not."""
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", name, "--force"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    if done.returncode:
        raise Problem("nbgrader did not make it:\n" + done.stderr[-2000:])


# ---------------------------------------------------------------------------------------------------
# The answer key.


def key(chapter: Chapter, points: dict[str, float]) -> str:
    """A chapter's answers, the mistakes that its checks know, and what a good answer to the open problem says."""
    cells, items = cells_of(chapter, points, 0)
    text = {
        cell.metadata["nbgrader"]["grade_id"]: cell.source for cell in cells if "nbgrader" in cell.metadata
    }
    lines = [f"# {chapter.title()}: answer key"]
    for item in items:
        exercise = registry.find(item.id)
        answer = re.sub(r"^.*(?:BEGIN|END) SOLUTION.*\n?", "", text[item.answer], flags=re.MULTILINE)
        lines += [
            f"## {item.id} {exercise.title} ({item.points:g} points)",
            f"```python\n{answer.strip()}\n```",
        ]
        known = [f"- {one.name}. *{one.breaks}*" for one in exercise.misconceptions]
        lines += ["Mistakes that the check knows by name:\n\n" + "\n".join(known)] * bool(known)
    worked = [cell for cell in notebooks.draft(chapter, "assignment").cells if "solution-only" in tags(cell)]
    lines += [
        text["open-problem"],
        text.get("open-answer", ""),
        *(f"```python\n{one.source}\n```" for one in worked),
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return cell.metadata.get("tags", [])


# ---------------------------------------------------------------------------------------------------
# The command line.


def run(arguments: argparse.Namespace) -> None:
    """Make the assignments that were asked for."""
    points = parse_points(arguments.points)
    chapters = notebooks.chosen(Course(arguments.root.resolve()), arguments.chapters)
    unknown = [id_ for id_ in points if id_[:2].isdigit() and id_[:2] not in {one.number for one in chapters}]
    if unknown:
        raise Problem(f"--points: {unknown[0]} is in none of these chapters.")
    if arguments.key:
        print("\n".join(key(chapter, points) for chapter in chapters), end="")
        return
    out = arguments.out.resolve()
    for chapter in chapters:
        print(f"{chapter.name}: {make(chapter, out, points, arguments.replace)}", flush=True)
    print(f"\nHand out:   {out / 'release'}\nThen, in {out}:")
    for step in ("zip_collect", "autograde", "generate_feedback", "export"):
        name = "" if step == "export" else f" {chapters[0].name}"
        print(f"    {sys.executable} -m nbgrader {step}{name}")
    print("docs/INSTRUCTORS.md says more.")


def main(words: list[str] | None = None) -> int:
    """Parse the command line and run; a Problem becomes a message and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python course.py assignment", description="Make nbgrader assignments.", allow_abbrev=False
    )
    parser.add_argument("chapters", nargs="*", metavar="NN", help="chapters (default: all)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "assignments", help="folder (default: assignments)"
    )
    parser.add_argument(
        "--points", default="", help=f"such as 5,01.3=8,open=10 (default: {POINTS},open={OPEN_POINTS})"
    )
    parser.add_argument("--replace", action="store_true", help="release anew what has changed since")
    parser.add_argument("--key", action="store_true", help="print the answer key and make nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="another course's folder (default: this one)")
    try:
        run(parser.parse_args(words))
    except Problem as problem:
        print(f"\nProblem: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
