"""The instructor's edition: what is handed out, and that what comes back is graded without being trusted.

One course folder is made from a small chapter, handed out, handed in by learners of every kind, graded, returned
and exported, with nbgrader's own commands. The exercises are chapter 00's.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch

from ddpm_lite.exercises import fresh
from ddpm_lite.exercises.compare import Yielded
from ddpm_lite.exercises.engine import ExerciseError, judge
from ddpm_lite.exercises.registry import registry
from tools import answers, assignment, grading
from tools.notebooks import Course, Problem

confine = pytest.importorskip("tools.confine", reason="grading needs a Unix: nbgrader does, and so do limits")
needs_landlock = pytest.mark.skipif(not confine.landlock_version(), reason="this system has no Landlock")

NAME = "00_small"
SMALL = '''\
# %% [markdown]
# # 00 · A small chapter
#
# {{ colab }}

# %%
# {{ setup }}
import torch

from ddpm_lite.exercises import check, hint

# %% [markdown]
# ## Scale

# %%
half = 255 / 2
print("half of the range:", half)

# %%
def from_uint8(images):
    """Bytes to [-1, 1]."""
    ### BEGIN SOLUTION
    return images.float() / half - 1
    ### END SOLUTION

# %%
from_uint8 = check("00.1", from_uint8)
# hint("00.1")

# %%
def to_uint8(x):
    """And back."""
    ### BEGIN SOLUTION
    return ((x.clamp(-1, 1) + 1) * half).round().to(torch.uint8)
    ### END SOLUTION

# %%
to_uint8 = check("00.2", to_uint8)
print("255 comes back as", int(to_uint8(from_uint8(torch.tensor([255], dtype=torch.uint8)))))

# %%
network_calls = ...
### BEGIN SOLUTION
network_calls = 1000
### END SOLUTION

# %%
network_calls = check("00.3", network_calls)

# %% [markdown]
# ## Recap
# Bytes and numbers.
#
# {{ next }}
#
# ## Open problem
# Why 127.5?
#
# <!-- BEGIN SOLUTION -->
# Half of the range of a byte, so that the middle lies at nought.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
print("worked out here: nought")
'''
SECRETS = (
    "images.float() / half",
    "clamp(-1, 1) + 1",
    "= 1000",
    "Half of the range of",
    "worked out here",
    "HIDDEN",
)


def small_course(root: Path) -> Course:
    """A course of one small chapter."""
    (root / "notebooks" / "src").mkdir(parents=True)
    (root / "notebooks" / "src" / f"{NAME}.py").write_text(SMALL, encoding="utf-8")
    return Course(root)


def solved(notebook) -> dict[str, str]:
    """The text of every answer of a source notebook, solved, by the name of its cell."""
    answered = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    marks = re.compile(r"^.*(?:BEGIN|END) SOLUTION.*\n?", re.MULTILINE)
    return {cell.metadata.nbgrader.grade_id: marks.sub("", cell.source) for cell in answered}


def role(cell) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


# --- What is handed out.


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A course folder with the small chapter's assignment."""
    root = tmp_path_factory.mktemp("small")
    small_course(root)
    out = root / "assignments"
    assert (
        assignment.main(["00", "--root", str(root), "--out", str(out), "--points", "4,00.2=6,open=10"]) == 0
    )
    return out


def test_learners_get_stubs_locked_text_and_points_but_no_solution_and_no_hidden_test(folder):
    text = (folder / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    for secret in SECRETS:
        assert secret not in text
    salts = grading.manifest(folder)[NAME]["salts"]
    assert not any(str(salt) in text for salt in salts)
    cells = nbformat.reads(text, as_version=4).cells
    graded = {role(cell): cell.metadata.nbgrader.get("points") for cell in cells if role(cell)}
    assert {name: graded[name] for name in ("check-00-1", "check-00-2", "check-00-3", "open-answer")} == {
        "check-00-1": 4,
        "check-00-2": 6,
        "check-00-3": 4,
        "open-answer": 10,
    }
    assert [graded[f"answer-00-{k}"] for k in (1, 2, 3)] == [None] * 3
    by_role = {role(cell): cell for cell in cells}
    assert "raise NotImplementedError()" in by_role["answer-00-1"].source
    assert "raise" not in by_role["answer-00-3"].source, "a value has a placeholder, and its cell runs"
    for cell in cells:
        locked = cell.cell_type == "markdown" and role(cell) != "open-answer"
        locked |= role(cell).startswith(("check-", "setup"))
        assert (cell.metadata.get("editable") is False) == locked
    assert any(cell.source == '# hint("00.1")' and not role(cell) for cell in cells), "hints can be asked for"
    assert "](" not in cells[0].source, "no badge: it would lead to the chapter with its solutions"


def test_the_source_has_both_and_the_record_knows_what_was_released(folder):
    source = grading.read(folder / "source" / NAME / f"{NAME}.ipynb")
    text = "\n".join(cell.source for cell in source.cells)
    assert "images.float() / half" in text
    assert text.count("BEGIN HIDDEN TESTS") == 6
    assert "worked out here" not in text
    assert grading.changes(folder, NAME) == []
    assert grading.changes(folder, "01_other") == ["01_other is not in released.json"]


def test_a_release_that_was_changed_is_noticed(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "release" / NAME / f"{NAME}.ipynb"
    path.chmod(0o644)
    path.write_text(path.read_text(encoding="utf-8").replace("Why 127.5?", "Why 128?"), encoding="utf-8")
    assert [line.split()[0] for line in grading.changes(copy, NAME)] == [f"release/{NAME}/{NAME}.ipynb"]
    record = json.loads((copy / "released.json").read_text(encoding="utf-8"))
    record[NAME]["package"] = "another"
    (copy / "released.json").write_text(json.dumps(record), encoding="utf-8")
    assert "its exercises" in grading.changes(copy, NAME)[-1]


def test_the_code_behind_a_check_is_hashed_and_nothing_else():
    import ddpm_lite

    root = Path(ddpm_lite.__file__).parent
    engine = set(grading._imports(root, root / "exercises" / "engine.py"))
    assert root / "exercises" / "compare.py" in engine
    chapter = set(grading._imports(root, root / "exercises" / "ch01.py"))
    assert root / "process.py" in chapter
    assert root / "viz.py" not in chapter
    assert grading.package_digest("00") != grading.package_digest("01")


def test_made_again_it_stays_as_it_is_and_a_changed_chapter_is_not_released_by_accident(folder, capsys):
    root = folder.parent
    before = (folder / "released.json").read_bytes()
    words = ["--root", str(root), "--out", str(folder), "--points", "4,00.2=6,open=10"]
    assert assignment.main(words) == 0
    assert "nothing has changed" in capsys.readouterr().out
    path = root / "notebooks" / "src" / f"{NAME}.py"
    try:
        path.write_text(SMALL.replace("Bytes to", "From bytes to"), encoding="utf-8")
        assert assignment.main(words) == 1
        assert "--replace" in capsys.readouterr().err
    finally:
        path.write_text(SMALL, encoding="utf-8")
    assert (folder / "released.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda text: text.replace('to_uint8 = check("00.2", to_uint8)\n', ""),
            "exercise 00.3 has 2 answer cells",
        ),
        (lambda text: text[: text.index('network_calls = check("00.3"')], "no check after it"),
        (
            lambda text: text.replace(
                'to_uint8 = check("00.2", to_uint8)',
                'to_uint8 = check("00.2", to_uint8)\nhalf = check("00.3", half)',
            ),
            "two checks in one cell",
        ),
    ],
)
def test_a_chapter_that_cannot_be_graded_is_refused_in_words(tmp_path, change, says):
    course = small_course(tmp_path)
    (tmp_path / "notebooks" / "src" / f"{NAME}.py").write_text(change(SMALL), encoding="utf-8")
    with pytest.raises(Problem, match=re.escape(says)):
        assignment.cells_of(course.chapters()[0], {}, 1)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("", {}),
        ("3", {"": 3}),
        ("3,01.2=4.5,open=0", {"": 3, "01.2": 4.5, "open": 0}),
        ("open=7", {"open": 7}),
    ],
)
def test_points(text, points):
    assert assignment.parse_points(text) == points


@pytest.mark.parametrize("text", ["five", "01=3", "01.2=", "-1", "open"])
def test_points_that_are_none(text):
    with pytest.raises(Problem, match="is not like"):
        assignment.parse_points(text)


def test_points_for_a_chapter_that_is_not_asked_for(tmp_path, capsys):
    assert assignment.main(["00", "--points", "07.1=3", "--out", str(tmp_path)]) == 1
    assert "07.1 is in none" in capsys.readouterr().err


def test_without_points_the_open_problem_is_only_text(tmp_path):
    cells, _ = assignment.cells_of(small_course(tmp_path).chapters()[0], {"open": 0}, 1)
    assert "open-problem" in map(role, cells)
    assert "open-answer" not in map(role, cells)


def test_the_key_has_answers_mistakes_and_the_worked_problem(tmp_path):
    key = assignment.key(small_course(tmp_path).chapters()[0], {"00.2": 6})
    for part in ("00.2 to_uint8: [-1, 1] to bytes (6 points)", *SECRETS[:-1], "images scaled to [0, 1]"):
        assert part in key
    assert "HIDDEN" not in key


@pytest.mark.parametrize("chapter", Course().chapters(), ids=lambda one: one.name)
def test_the_guide_gives_the_minutes_that_the_chapter_gives(chapter):
    guide = (Path(__file__).parent.parent / "docs" / "INSTRUCTORS.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| \*\*{chapter.number}\*\* [^|]+\| (\d+) \|", guide, re.MULTILINE)
    card = re.search(r"\*\*Time\*\* \| (\d+) minutes", chapter.source.read_text(encoding="utf-8"))
    assert row
    assert row[1] == card[1]


# --- Every chapter: its own solutions are right, on the check's cases and on fresh ones.


@pytest.mark.slow
@pytest.mark.parametrize("chapter", Course().chapters(), ids=lambda one: one.name)
def test_a_chapter_s_solutions_earn_every_point(chapter, tmp_path):
    source, items = assignment.source_of(chapter, {}, 7)
    cells = solved(source)
    for cell in source.cells:
        cell.source = cells.get(role(cell), cell.source)
    judges = grading.JudgeAnswers(root=str(tmp_path))
    entry = {"salts": [12345, 7], "exercises": [vars(item) for item in items]}
    places = {role(cell): index for index, cell in enumerate(source.cells)}
    results = judges.results(source, entry, places, nbformat.v4.new_notebook())
    assert {item.id: grading.wrong(item.id, results[item.id], 12345) for item in items} == {
        item.id: None for item in items
    }
    assert set(registry.chapter(chapter.number)) == {item.id for item in items}, (
        "an exercise is not in the notebook"
    )
    questions = [cell for cell in source.cells if cell.metadata.get("nbgrader", {}).get("points")]
    assert len(questions) == len(items) + 1


# --- Fresh cases.


@pytest.mark.parametrize("id_", ["00.2", "01.3"])
def test_fresh_cases_have_the_same_shapes_and_other_numbers(id_):
    exercise = registry.find(id_)
    for old, new, again in zip(
        *(one.cases() for one in (exercise, *[fresh.afresh(exercise, 5)] * 2)), strict=True
    ):
        tensors = [x for x in old.args if isinstance(x, torch.Tensor) and x.is_floating_point()]
        others = [x for x in new.args if isinstance(x, torch.Tensor) and x.is_floating_point()]
        assert old.label == new.label
        assert [(x.shape, x.dtype, x.stride()) for x in tensors] == [
            (x.shape, x.dtype, x.stride()) for x in others
        ]
        same = [x for x in again.args if isinstance(x, torch.Tensor) and x.is_floating_point()]
        assert all(torch.equal(x, y) for x, y in zip(others, same, strict=True))
        if "grey levels" not in old.label:
            assert not any(torch.equal(x, y) for x, y in zip(tensors, others, strict=True))
    assert torch.Generator().manual_seed(3).initial_seed() == 3, "seeds are as before"


def test_what_knows_the_check_s_numbers_by_heart_passes_it_and_fails_on_fresh_ones():
    exercise = registry.find("01.3")
    known = {case.args[2].sum().item(): exercise.reference(*case.args) for case in exercise.cases()}

    def by_heart(x0, t, eps, schedule):
        return known.get(eps.sum().item(), torch.zeros_like(x0)).clone()

    assert judge(exercise, by_heart).correct
    assert not judge(fresh.afresh(exercise, 5), by_heart).correct
    with pytest.raises(ExerciseError, match=r"01\.3"):
        fresh.require("01.3", by_heart, 5)
    fresh.require("01.3", exercise.reference, 5)
    fresh.require("00.3", 1000, 5)


# --- Which statements an answer needs.


def value_of(name: str, *cells: str, released: tuple[str, ...] = ()):
    value, error = answers.make({"released": released, "cells": cells, "exercises": []}, name, len(cells))
    return error if value is None else value


@pytest.mark.parametrize(
    "cells",
    [
        ["a = 1", "b = a + 1", "a = 5\nanswer = b + 40"],  # not the last a that there is
        [
            "def helper():\n    return later",
            "later = 42",
            "answer = helper()",
        ],  # a name that comes after its use
        ["x = [0]", "x[0] = 42", "answer = x[0]"],
        ["x = []", "x.append(42)", "answer = x[0]"],
        ["x = 40", "x += 2", "answer = x"],
        ["if True:\n    from math import sqrt as root", "answer = round(root(1764))"],
        ["%matplotlib inline\nx = 42", "!ls", "answer = x"],
        ["x = 42", "raise ValueError", "answer = x"],
        ["x = 42", "1 / 0", "x = 1 / 0", "answer = x"],  # as in a notebook: a cell that fails changes nothing
        ["this is no Python", "answer = 42"],
        ["class A:\n    def f(self):\n        return x", "x = 42", "answer = A().f()"],
        ["x, (y, *z) = 1, (42, 3)", "answer = y"],
        ["for x in (1, 42):\n    pass", "answer = x"],
        ["f = lambda: x", "x = 42", "answer = f()"],
        ["def sum(x):\n    return 42", "answer = sum([1])"],  # a name that Python has as well
        ["import time", "time.sleep(1000)", "time.sleep(1000)\nanswer = 42"],  # not needed, so not run
        ["answer = 1", 'answer = check("00.1", answer)', "answer = 42"],
    ],
)
def test_an_answer_gets_what_its_names_need(cells):
    assert value_of("answer", *cells) == 42


def test_a_name_from_another_exercise_is_the_package_s_own():
    cells = [
        "def from_uint8(x):\n    return None",
        'from_uint8 = check("00.1", from_uint8)',
        "answer = from_uint8",
    ]
    assert value_of("answer", *cells) is registry.find("00.1").reference


def test_what_the_learner_deleted_comes_from_the_release():
    assert value_of("answer", "answer = math.floor(42.5)", released=("import math",)) == 42
    assert isinstance(value_of("answer", "answer = math.floor(42.5)"), NameError)
    assert isinstance(value_of("answer", "other = 1", released=("answer = 1",)), NameError)


def test_an_answer_below_its_check_counts_where_there_is_none_above():
    check_cell = 'answer = given = globals().get("answer")\nanswer = check("00.3", answer)'
    job = {"released": [], "cells": ["x = 1", check_cell, "answer = 42"], "exercises": [{"cell": 1}]}
    assert answers.make(job, "answer", 1)[0] == 42
    nothing = {**job, "released": ["answer = 1"], "cells": ["x = 1", check_cell, "y = 42"]}
    assert "there is no answer" in str(answers.make(nothing, "answer", 1)[1])


# --- Results from one process to the other.

THINGS = [
    1,
    -0.5,
    True,
    None,
    "α",
    2j,
    float("inf"),
    torch.arange(6).reshape(2, 3),
    torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).T,
    torch.tensor(1.5, dtype=torch.bfloat16),
    torch.zeros(0, 3, dtype=torch.float64),
    torch.tensor([True, False]),
    torch.tensor([1 + 2j]),
    np.arange(4.0)[::2],
    (1, [2, {"a": torch.ones(1), 3: None}]),
    Yielded((torch.ones(2), 1)),
]


@pytest.mark.parametrize("thing", THINGS, ids=range(len(THINGS)))
def test_results_arrive_as_they_were(thing):
    from ddpm_lite.exercises.compare import Tolerance, first_difference

    sent = json.loads(json.dumps(answers.encode(thing)))
    assert first_difference(grading.decode(sent), thing, Tolerance(0, 0)) is None


def test_an_object_arrives_as_its_attributes_and_nothing_else_at_all():
    class Odd:
        def __init__(self):
            self.t, self.f = 3, print

    back = grading.decode(json.loads(json.dumps(answers.encode(Odd()))))
    assert vars(back) == {"t": 3, "f": SimpleNamespace()}
    assert grading.decode(answers.encode(print)) == SimpleNamespace()
    nested = []
    nested.append(nested)
    json.dumps(answers.encode(nested))  # comes to an end


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"runs": []},
        {"runs": [[], []]},
        {"runs": 3},
        {"value": 7},
        {"ended": ["x"]},
        {"runs": [[[{"result": {"tensor": ["float32", [2], "!!"]}, "changed": []}] * 2] * 3] * 2},
        {"runs": [[[{"result": {"tensor": ["load", [2], ""]}, "changed": []}] * 2] * 3] * 2},
        {"runs": [[[{"result": {"tensor": ["float32", [9], "AAAA"]}, "changed": []}] * 2] * 3] * 2},
        [],
        None,
    ],
)
def test_a_forged_result_is_wrong_and_does_no_harm(result):
    assert grading.wrong("00.1", result, 5)
    assert grading.named("00.1", result) is None


# --- Shut in.

BOX = """
import os, socket
def tried(f):
    try:
        f(); return True
    except OSError:
        return False
print([
    tried(lambda: open("inside", "w").write("x")),
    tried(lambda: open({outside!r}, "w").write("x")),
    tried(lambda: open({secret!r}).read()),
    tried(lambda: socket.create_connection(("127.0.0.1", {port}), 1)),
    tried(lambda: os.kill({pid}, 0)),
])
"""


@needs_landlock
def test_a_confined_process_reads_and_writes_only_what_it_may(tmp_path):
    import socket

    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = BOX.format(
            outside=str(tmp_path / "outside"),
            secret=str(tmp_path / "secret"),
            port=server.getsockname()[1],
            pid=os.getpid(),
        )
        system = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", sys.prefix, sys.base_prefix]
        options = {"read": system, "write": [str(box)], "seconds": 20, "megabytes": 2000}
        command = [sys.executable, confine.__file__, json.dumps(options), sys.executable, "-c", code]
        done = subprocess.run(command, cwd=box, capture_output=True, text=True, timeout=60)
    version = confine.landlock_version()
    assert done.stdout.strip() == str([True, False, False, version < 4, version < 6]), done.stderr
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("code", "ends"),
    [("while True: pass", -24), ("x = bytearray(3_000_000_000)", 1)],  # SIGXCPU, MemoryError
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit less, and end otherwise")
def test_a_confined_process_has_little_time_and_memory(code, ends):
    options = {"read": ["/"], "write": [], "seconds": 1, "megabytes": 500}
    command = [sys.executable, confine.__file__, json.dumps(options), sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == ends


# --- From the release to the grades, with learners of every kind.

LEAVE = "import os\ndef from_uint8(images):\n    os._exit(0)\n"
STUBBORN = """\
def to_uint8(x):
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass
"""
HELPER = "def helper(x):\n    return x.float() / 127.5\n"
# Each is what a learner changes in a notebook that is solved: {cell: text}, or a function of the notebook.
WRONG_00_1 = "def from_uint8(images):\n    return images.float() / 255\n"
ALL_WRONG = {
    "answer-00-1": WRONG_00_1,
    "answer-00-2": "def to_uint8(x):\n    return x\n",
    "answer-00-3": "network_calls = 7\n",
}


def insert(*cells: str, at: int = 3):
    """Cells that a learner adds near the top."""

    def change(notebook):
        notebook.cells[at:at] = [nbformat.v4.new_code_cell(cell) for cell in cells]

    return change


def edit_checks(notebook):
    """The checks' text, points and locks changed."""
    for cell in notebook.cells:
        if role(cell).startswith("check-"):
            cell.source = "pass  # fine"
            cell.metadata.nbgrader.update(points=100, locked=False, grade=True)
            cell.metadata.update(editable=True, deletable=True)


def delete_cells(notebook):
    """The first check, the imports and the second answer's role are gone, and a check is there twice."""
    twin = next(cell for cell in notebook.cells if role(cell) == "check-00-3")
    notebook.cells = [cell for cell in notebook.cells if role(cell) not in ("check-00-1", "setup")]
    answer = next(cell for cell in notebook.cells if role(cell) == "answer-00-2")
    answer.source = solved(notebook.source)["answer-00-2"]
    answer.metadata.clear()
    notebook.cells.append(nbformat.from_dict({**twin, "id": "twin", "source": "pass"}))
    notebook.cells[1].metadata["nbgrader"] = {"grade_id": "unheard-of", "points": "many"}


def from_colab(notebook):
    """As Colab saves it: an older format, ids in the metadata, outputs kept, and a learner who deleted a check."""
    notebook.nbformat_minor = 0
    notebook.cells = [cell for cell in notebook.cells if role(cell) != "check-00-2"]
    for cell in notebook.cells:
        cell.metadata["id"] = cell.pop("id")
        cell.metadata["colab"] = {"base_uri": "https://localhost:8080/"}


def strip_metadata(notebook):
    """All cells copied into a new notebook by hand."""
    for cell in notebook.cells:
        cell.source = solved(notebook.source).get(role(cell), cell.source)
        cell.metadata.clear()
    notebook.metadata = nbformat.from_dict({})


def another_release(notebook):
    notebook.metadata["ddpm_lite"]["release"] = "0000"


PATCH = """\
import ddpm_lite.exercises as package
from ddpm_lite.exercises import compare, engine, fresh, registry
right = engine.Verdict(registry.registry.find("00.1"), "correct", "fine")
engine.judge = registry.judge = fresh.judge = lambda *a: right
fresh.require = lambda *a: None
compare.first_difference = engine.first_difference = lambda *a: None
package.check = registry.check = check = lambda id_, answer: answer
get_ipython().showtraceback = lambda *a, **k: None
"""
SCRIPT = """\
from IPython.display import HTML, Javascript, display
display(HTML("<div>seen</div><script>alert(1)</script><img src=x onerror=alert(1)>"), Javascript("alert(1)"))
"""
FORGE = """\
import glob, os
for fd in range(3, 64):
    try:
        os.write(fd, b'{"runs": [[], []], "value": 1000}')
    except OSError:
        pass
for path in glob.glob(%r + "/**", recursive=True) + [%r + "/gradebook.db"]:
    try:
        open(path, "ab").write(b"spoilt")
    except OSError:
        pass
def from_uint8(images):
    return open(%r).read()
"""

LEARNERS = {
    "right": ({}, 14),
    "wrong": ({"answer-00-1": WRONG_00_1}, 10),
    "half": ({"answer-00-2": None, "answer-00-3": None}, 4),
    "blank": (None, 0),
    "no-python": ({"answer-00-1": "def from_uint8(images) return 1"}, 10),
    "no-name": ({"answer-00-1": "x = 1"}, 10),
    "raises": ({"answer-00-1": "def from_uint8(images):\n    raise RuntimeError('no\\x1b[31m')\n"}, 10),
    "leaves": ({"answer-00-1": LEAVE}, 10),
    "kills": ({"answer-00-1": "import os\ndef from_uint8(x):\n    os.kill(0, 9)\n"}, 10),
    "endless": ({"answer-00-1": "def from_uint8(images):\n    while True:\n        pass\n"}, 10),
    "stubborn": ({"answer-00-2": STUBBORN}, 8),
    "greedy": ({"answer-00-1": "def from_uint8(x):\n    return torch.ones(10_000_000_000)\n"}, 10),
    "talkative": ({"answer-00-1": "def from_uint8(x):\n    return torch.ones(20_000_000)\n"}, 10),
    "added-cells": ([insert(HELPER), {"answer-00-1": "def from_uint8(x):\n    return helper(x) - 1\n"}], 14),
    "own-check": ([insert("check = lambda id_, answer: answer"), ALL_WRONG], 0),
    "patched": ([insert(PATCH, SCRIPT), ALL_WRONG], 0),
    "patched-in-answer": ({**ALL_WRONG, "answer-00-1": PATCH + WRONG_00_1}, 0),
    "edited": ([edit_checks, ALL_WRONG], 0),
    "deleted": ([delete_cells, {"answer-00-1": WRONG_00_1}], 10),
    "borrowed": ({"answer-00-1": "from ddpm_lite.data import from_uint8\n"}, 10),
    "other-release": ([another_release], 14),
    "colab": ([from_colab], 14),
    "copied": ([strip_metadata], 14),
}  # fmt: skip
if confine.landlock_version() >= 6:
    MURDER = "import os\ndef from_uint8(x):\n    os.kill(os.getppid(), 9)\n"
    LEARNERS["murders"] = ({"answer-00-1": MURDER}, 10)
# Of these the whole notebook is run as well.
WHOLE = ("right", "leaves", "stubborn", "patched")


class Graded:
    """A course folder after everything that nbgrader does, with the words that it said."""

    def __init__(self, out: Path):
        self.out, self.said = out, {}
        self.environ = {
            **os.environ,
            "HOME": str(out.parent / "home"),
            "JUPYTER_DATA_DIR": str(out.parent / "data"),
        }
        self.environ |= {"WHOLE": "", "OMP_NUM_THREADS": "1", "SECRET": "a token"}
        (out.parent / "home").mkdir(exist_ok=True)

    def nbgrader(self, *words: str, cwd: Path | None = None, ends: int = 0, **environ: str) -> str:
        command = [sys.executable, "-m", "nbgrader", *words]
        done = subprocess.run(
            command,
            cwd=cwd or self.out,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == ends, done.stderr[-3000:]
        self.said[words[0]] = self.said.get(words[0], "") + done.stderr
        return done.stderr

    def hand_in(self, learner: str, changes, source) -> Path:
        """A learner's notebook, made from the release, in downloads/."""
        notebook = grading.read(self.out / "release" / NAME / f"{NAME}.ipynb")
        notebook.source = source
        texts = {} if changes is None else solved(source)
        if changes is not None:
            texts["open-answer"] = (
                "Because $a < b$ <b>holds</b>. <script>alert(1)</script> <img src=x onerror=alert(1)>"
            )
        for change in changes if isinstance(changes, list) else [changes or {}]:
            if callable(change):
                change(notebook)
            else:
                texts |= change
        for cell in notebook.cells:
            if texts.get(role(cell)) is not None:
                cell.source = texts[role(cell)]
        del notebook["source"]
        path = self.out / "downloaded" / NAME / "archive" / f"{learner}_{NAME}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    def verdict(self, learner: str) -> dict:
        return json.loads((self.out / "verdicts" / NAME / f"{learner}.json").read_text(encoding="utf-8"))

    def notebook(self, learner: str):
        return grading.read(self.out / "autograded" / learner / NAME / f"{NAME}.ipynb")

    def why(self, learner: str, id_: str = "00.1") -> str:
        return next(one["why"] for one in self.verdict(learner)["exercises"] if one["id"] == id_)


CONFIG = """
import os
c.Confined.answer_seconds = 2
c.Confined.cell_seconds = 6
c.Confined.notebook_seconds = 120
c.Confined.megabytes = 1500
c.Confined.whole = bool(os.environ["WHOLE"])
c.Confined.wrapper = ["env", "WRAPPED=1"]
c.Exchange.root = str(Path(__file__).parent.parent / "exchange")
"""


@pytest.fixture(scope="module")
def graded(folder, tmp_path_factory) -> Graded:
    """Release, fetch, submit, collect, autograde, a mark by hand, feedback, export."""
    from nbgrader.api import Gradebook

    out = shutil.copytree(folder, tmp_path_factory.mktemp("graded") / "assignments")
    with (out / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write(CONFIG)
    run = Graded(out)
    source = grading.read(out / "source" / NAME / f"{NAME}.ipynb")

    # One learner goes through nbgrader's exchange, as on a JupyterHub.
    (out.parent / "exchange").mkdir()
    (out.parent / "exchange").chmod(0o777)
    run.nbgrader("release_assignment", NAME)
    desk = out.parent / "desk"
    desk.mkdir()
    shutil.copy(out / "nbgrader_config.py", desk)  # in a real class: the hub's own configuration
    student = [f"--CourseDirectory.root={desk}"]
    run.nbgrader("fetch_assignment", NAME, *student, cwd=desk)
    path = run.hand_in("exchange", {}, source)
    fetched = desk / NAME / f"{NAME}.ipynb"
    fetched.unlink()
    shutil.move(path, fetched)
    run.nbgrader("submit", NAME, *student, cwd=desk)
    run.nbgrader("collect", NAME)

    # The others' files come from a learning platform.
    for learner, (changes, _) in LEARNERS.items():
        run.hand_in(f"whole-{learner}" if learner in WHOLE else learner, changes, source)
    forge = FORGE % (str(out), str(out), str(out / "source" / NAME / f"{NAME}.ipynb"))
    run.hand_in("forger", {"answer-00-1": forge}, source)
    (out / "downloaded" / NAME / "archive" / f"broken_{NAME}.ipynb").write_text("{", encoding="utf-8")
    run.nbgrader("zip_collect", NAME, "--force")

    run.nbgrader("autograde", NAME, "--student", "whole-*", WHOLE="1")
    run.nbgrader("autograde", NAME, ends=1)  # 1: one of them cannot be read
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    with Gradebook(f"sqlite:///{out}/gradebook.db") as book:
        grade = book.find_grade("open-answer", NAME, NAME, "whole-right")
        assert grade.needs_manual_grade
        grade.manual_score, grade.needs_manual_grade = 7, False
        book.db.commit()
    run.nbgrader("generate_feedback", NAME)
    run.nbgrader("export")
    return run


@pytest.mark.slow
def test_points_by_learner(graded):
    rows = {
        row["student_id"]: row for row in csv.DictReader((graded.out / "grades.csv").open(encoding="utf-8"))
    }
    points = {name: float(row["raw_score"]) for name, row in rows.items() if name != os.environ.get("USER")}
    wanted = {name: points for name, (_, points) in LEARNERS.items()} | {"forger": 10}
    wanted |= {f"whole-{name}": wanted.pop(name) for name in WHOLE}
    wanted["whole-right"] += 7
    assert {name: points.get(name) for name in wanted} == wanted
    assert all(float(row["max_score"]) == 24 for row in rows.values())
    collected = set(points) - set(wanted) - {"broken"}
    assert len(collected) == 1, "the one who went through the exchange, under the name of this account"
    assert points[collected.pop()] == 14
    assert points.get("broken", 0) == 0


@pytest.mark.slow
def test_reasons_are_told(graded):
    assert "images scaled to [0, 1]" in graded.why("wrong")
    assert "read again: Exercise 00.1" in graded.why("wrong")
    assert graded.why("half", "00.2") == graded.why("half", "00.3") == "not attempted"
    for learner in ("no-name", "no-python"):
        assert "there is no from_uint8" in graded.why(learner)
    assert graded.why("raises").startswith("it raises RuntimeError: no")
    assert "\x1b" not in graded.why("raises")
    for learner in ("whole-leaves", "kills"):
        assert graded.why(learner) == "it ended the process that ran it."
    assert (
        graded.why("endless") == graded.why("whole-stubborn", "00.2") == "it did not come to an end in time."
    )
    assert "memory" in graded.why("greedy")
    assert graded.why("talkative") == "it returned far too much."
    assert graded.why("borrowed") == "this is the package's own function"


@pytest.mark.slow
def test_what_a_person_should_look_at_is_noted(graded):
    notes = {
        name: graded.verdict(name)["exercises"][0]["notes"]
        for name in ("added-cells", "borrowed", "patched-in-answer")
    }
    assert notes["added-cells"] == []
    assert "the answer uses the package's own from_uint8" in notes["borrowed"]
    assert "registry" in notes["patched-in-answer"][0]
    whole = graded.verdict("whole-patched")["exercises"][0]["notes"]
    assert whole == ["no error in the notebook itself"], "the notebook claimed it, and was not believed"
    assert "not from this release" in graded.said["autograde"]


@pytest.mark.slow
@needs_landlock
def test_a_learner_s_code_reads_nothing_of_the_course_folder_and_changes_nothing(graded):
    assert "PermissionError" in graded.why("forger") or "Permission denied" in graded.why("forger")
    for path in graded.out.rglob("*"):
        if (
            path.is_file()
            and "downloaded" not in path.parts
            and path.suffix in (".db", ".json", ".py", ".csv")
        ):
            assert not path.read_bytes().endswith(b"spoilt")


@pytest.mark.slow
def test_a_whole_notebook_that_crashes_or_hangs_still_shows_what_came_before(graded):
    texts = {
        learner: [
            output.get("text", "")
            for cell in graded.notebook(learner).cells
            for output in cell.get("outputs", [])
        ]
        for learner in (f"whole-{name}" for name in WHOLE)
    }
    assert all(any("half of the range: 127.5" in text for text in shown) for shown in texts.values())
    assert any("255 comes back as 255" in text for text in texts["whole-right"])
    assert any("the kernel stopped" in text for text in texts["whole-leaves"] + texts["whole-stubborn"])


@pytest.mark.slow
def test_nothing_of_a_learner_s_runs_in_the_browser_of_who_reads_it(graded):
    page = graded.notebook("whole-patched")
    shown = [output.get("data", {}) for cell in page.cells for output in cell.get("outputs", [])]
    assert any("seen" in data.get("text/html", "") for data in shown)
    assert not any("onerror" in str(data) or "<script" in str(data) for data in shown)
    assert not any("application/javascript" in data for data in shown)
    answer = next(cell.source for cell in page.cells if role(cell) == "open-answer")
    assert "$a < b$ <b>holds</b>. &lt;script>" in answer
    assert "<img" not in answer


@pytest.mark.slow
def test_checks_are_put_back_before_anything_is_graded(graded):
    for learner in ("edited", "deleted"):
        cells = {role(cell): cell for cell in graded.notebook(learner).cells if role(cell)}
        for k in (1, 2, 3):
            assert f'check("00.{k}"' in cells[f"check-00-{k}"].source
            assert "fresh.require" in cells[f"check-00-{k}"].source
            assert cells[f"check-00-{k}"].metadata.nbgrader.points == (6 if k == 2 else 4)


@pytest.mark.slow
def test_feedback_says_why_and_keeps_the_salt_that_counts(graded):
    page = (graded.out / "feedback" / "wrong" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "images scaled to [0, 1], not [-1, 1]" in page
    secret, shown = grading.manifest(graded.out)[NAME]["salts"]
    assert str(shown) in page
    assert str(secret) not in page


@pytest.mark.slow
def test_nothing_is_graded_against_something_that_was_not_released(graded, tmp_path):
    out = shutil.copytree(graded.out, tmp_path / "assignments")
    run = Graded(out)
    record = json.loads((out / "released.json").read_text(encoding="utf-8"))
    record[NAME]["source"] = "another"
    (out / "released.json").write_text(json.dumps(record), encoding="utf-8")
    said = run.nbgrader("autograde", NAME, "--student", "wrong", "--force", ends=1)
    assert "Nothing is graded" in said
