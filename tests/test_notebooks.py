"""The notebooks: each is what its source makes, each runs, and each shows again what is stored in it."""

import base64
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nbformat
import pytest

from tools import notebooks
from tools.notebooks import Chapter, Course, Problem, build, check, draft, stored

COURSE = Course()
# (chapter, edition) for every notebook that there should be.
NOTEBOOKS = [(chapter, edition) for chapter in COURSE.chapters() for edition in notebooks.EDITIONS]
NAMES = [f"{chapter.name}-{edition}" for chapter, edition in NOTEBOOKS]
# Of the cells with an output, the share whose output must be compared for real. Pictures are not compared.
SHARE = 0.6
# A picture can differ in its last bit from machine to machine; what stands around it is compared.
SANITIZE = r"""
regex: data:image/(png|webp);base64,[A-Za-z0-9+/=]+
replace: IMAGE
"""
# nbval gives up if a kernel is silent for five seconds, which happens on a busy machine.
PATIENCE = "def pytest_itemcollected(item):\n    item.output_timeout = 120\n"

TITLE = "# %% [markdown]\n# # 30 · A small chapter\n"
EXERCISE = '''
# %%
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %%
answer = ...  # a number
### BEGIN SOLUTION
answer = 42
### END SOLUTION

# %%
try:
    print("double:", double(2))
except NotImplementedError:
    print("double: nothing yet")
### BEGIN HIDDEN TESTS
assert double(3) == 6
### END HIDDEN TESTS

# %% [markdown]
# ## Open problem
# Why?
# <!-- BEGIN SOLUTION -->
# A worked answer.
# <!-- END SOLUTION -->

# %% [markdown] tags=["solution-only"]
# A longer discussion.
'''


def small(root: Path, *cells: str, number: str = "30") -> Chapter:
    """A course with one chapter, of a heading and these cells (sources in py:percent, without torch)."""
    path = root / "notebooks" / "src" / f"{number}_small.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = TITLE.replace("30", number)
    path.write_text("\n".join([title, *cells]), encoding="utf-8")
    return Chapter(Course(root), path)


def printing(*texts: str) -> list[str]:
    """Code cells that print, each in a cell of its own."""
    return [f"# %%\nprint({text!r})" for text in texts]


def built(chapter: Chapter, edition: str) -> nbformat.NotebookNode:
    """A notebook that was built."""
    notebook = stored(chapter.built(edition))
    assert notebook, f"{chapter.name} has not been built: python course.py build {chapter.number}"
    return notebook


def change(path: Path, edit) -> None:
    """Change a stored notebook, as bytes that a build would write."""
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    path.write_bytes(notebooks.serialised(notebook))


def nbval(chapter: Chapter, edition: str, scratch: Path) -> subprocess.CompletedProcess:
    """Run a notebook in a fresh kernel and compare every output with the stored one."""
    for name, text in {"sanitize.cfg": SANITIZE, "pytest.ini": "[pytest]\n", "patience.py": PATIENCE}.items():
        (scratch / name).write_text(text, encoding="utf-8")
    environ = notebooks.kernel_environ(chapter.course, edition, scratch / "ipython")
    environ = {name: value for name, value in environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    environ["PYTHONPATH"] += os.pathsep + str(scratch)
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "nbval.plugin,patience"}
    options = ["-c", str(scratch / "pytest.ini"), "-p", "no:cacheprovider", "-q", "--color=no"]
    options += [
        "--nbval",
        "--nbval-current-env",
        "--nbval-cell-timeout=600",
        "--nbval-kernel-startup-timeout=300",
    ]
    options += [f"--nbval-sanitize-with={scratch / 'sanitize.cfg'}", str(chapter.built(edition))]
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, env=environ, cwd=scratch, capture_output=True, text=True, encoding="utf-8")


def compared(notebook: nbformat.NotebookNode) -> tuple[int, int]:
    """(cells whose output is compared for real, cells that have an output).

    Left out are cells that nbval is told to ignore, and what comes with a picture: that is the same text
    whatever the picture shows.
    """
    with_output = [cell for cell in notebook.cells if cell.get("outputs")]
    ignored = re.compile(r"#\s*NBVAL_(IGNORE_OUTPUT|SKIP)")

    def counts(cell: nbformat.NotebookNode) -> bool:
        tags = {"nbval-ignore-output", "nbval-skip"} & set(cell.metadata.get("tags", []))
        real = [one for one in cell.outputs if "image/png" not in one.get("data", {})]
        return bool(real) and not tags and not ignored.search(cell.source)

    return sum(map(counts, with_output)), len(with_output)


# ---------------------------------------------------------------------------------------------------
# The course's own notebooks.


def test_every_notebook_agrees_with_its_source():
    assert check(COURSE, COURSE.chapters()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "edition"), NOTEBOOKS, ids=NAMES)
def test_notebook_runs_and_shows_what_is_stored(chapter, edition, tmp_path):
    """The learner's edition runs to its end with nothing filled in, the other one with every answer right."""
    result = nbval(chapter, edition, tmp_path)
    cells = sum(cell.cell_type == "code" for cell in built(chapter, edition).cells)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert re.search(rf"\b{cells} passed", result.stdout), result.stdout[-500:]


@pytest.mark.parametrize(("chapter", "edition"), NOTEBOOKS, ids=NAMES)
def test_enough_outputs_are_compared(chapter, edition):
    real, total = compared(built(chapter, edition))
    assert real >= SHARE * total, (
        f"{real} of {total} cells with output are compared: print booleans or shapes"
    )


@pytest.mark.parametrize(("chapter", "edition"), NOTEBOOKS, ids=NAMES)
def test_links_lead_to_files_that_are_there(chapter, edition):
    folder = chapter.built(edition).parent
    text = "\n".join(cell.source for cell in built(chapter, edition).cells if cell.cell_type == "markdown")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [
        target for target in targets if target and not target.startswith(("http", "attachment:", "mailto:"))
    ]
    assert [target for target in local if not (folder / target).exists()] == []


@pytest.mark.parametrize("chapter", COURSE.chapters(), ids=lambda chapter: chapter.name)
def test_no_line_of_a_solution_is_in_the_learners_edition(chapter):
    source = chapter.source.read_text(encoding="utf-8")
    text = "\n".join(cell.source for cell in built(chapter, "learner").cells)
    assert "BEGIN SOLUTION" not in text
    assert "BEGIN HIDDEN TESTS" not in text
    regions = re.findall(
        r"BEGIN (?:SOLUTION|HIDDEN TESTS).*?\n(.*?)\n[^\n]*END (?:SOLUTION|HIDDEN TESTS)", source, re.DOTALL
    )
    assert regions, "a chapter has exercises"
    leaked = [region for region in regions if region in text]
    assert leaked == []


# ---------------------------------------------------------------------------------------------------
# A chapter made from the templates, as CONTRIBUTING.md says.


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Chapter:
    """Chapter 20, copied from the templates into a course of its own, and built."""
    root = tmp_path_factory.mktemp("course")
    leave = shutil.ignore_patterns("weights", "__pycache__", "ch[0-9]*")
    shutil.copytree(COURSE.root / "ddpm_lite", root / "ddpm_lite", ignore=leave)
    chapter = Chapter(Course(root), root / "notebooks" / "src" / "20_trial.py")
    chapter.source.parent.mkdir(parents=True)
    for old, new in [
        (COURSE.notebooks / "src" / "_template.py", chapter.source),
        (
            COURSE.root / "ddpm_lite" / "exercises" / "_template.py",
            root / "ddpm_lite" / "exercises" / "ch20.py",
        ),
    ]:
        new.write_text(old.read_text(encoding="utf-8").replace("NN", "20"), encoding="utf-8")
    build(chapter)
    return chapter


@pytest.mark.slow
def test_template_builds_and_agrees(template):
    assert check(template.course, [template]) == []
    for edition, verdict in [("learner", "not attempted yet"), ("solutions", "correct")]:
        output = "\n".join(
            text for cell in stored(template.built(edition)).cells for text in outputs_of(cell)
        )
        assert f"Exercise 20.1, the signal-to-noise ratio: {verdict}" in output
        assert "SNR falls with t: True" in output


def outputs_of(cell: nbformat.NotebookNode) -> list[str]:
    """Everything readable in a cell's outputs."""
    return [text for output in cell.get("outputs", []) for text in notebooks.texts_of(output)]


@pytest.mark.slow
def test_template_built_again_changes_no_byte(template):
    before = {edition: template.built(edition).read_bytes() for edition in notebooks.EDITIONS}
    build(template, force=True)
    assert {edition: template.built(edition).read_bytes() for edition in notebooks.EDITIONS} == before


@pytest.mark.slow
def test_template_passes_what_the_chapters_pass(template, tmp_path):
    result = nbval(template, "learner", tmp_path)
    assert result.returncode == 0, result.stdout[-4000:]
    real, total = compared(stored(template.built("learner")))
    assert real >= SHARE * total


# ---------------------------------------------------------------------------------------------------
# From a source to two editions.


def sources(notebook: nbformat.NotebookNode) -> str:
    """All cells' text."""
    return "\n".join(cell.source for cell in notebook.cells)


def test_learners_edition_has_stubs_in_place_of_solutions(tmp_path):
    chapter = small(tmp_path, EXERCISE)
    learner, solutions = (draft(chapter, edition) for edition in ("learner", "solutions"))
    double, answer = learner.cells[1:3]
    assert double.source.endswith('"""Twice x."""\n    # YOUR CODE HERE\n    raise NotImplementedError()')
    assert answer.source == "answer = ...  # a number\n# YOUR CODE HERE"
    for secret in ("2 * x", "42", "== 6", "HIDDEN", "A worked answer", "A longer discussion", "BEGIN"):
        assert secret not in sources(learner)
        assert secret in sources(solutions)
    assert "*Your answer here.*" in learner.cells[-1].source
    assert len(solutions.cells) == len(learner.cells) + 1


def test_ids_are_the_same_in_both_editions_and_stay_when_cells_move(tmp_path):
    cells = printing("a", "b", "b")
    first, second, twin = (cell.id for cell in draft(small(tmp_path, *cells), "learner").cells[1:])
    assert twin == second + "-2"
    moved = draft(small(tmp_path, *printing("new"), cells[1], cells[0]), "solutions").cells
    assert [cell.id for cell in moved[2:]] == [second, first]
    ids = [cell.id for cell in moved]
    assert len(set(ids)) == len(ids)
    learner, solutions = (draft(small(tmp_path, EXERCISE), edition) for edition in ("learner", "solutions"))
    assert [cell.id for cell in learner.cells] == [cell.id for cell in solutions.cells[:-1]]


def test_notebook_says_nothing_of_the_machine(tmp_path):
    notebook = draft(small(tmp_path, '# %% slideshow={"x": 1} tags=["volatile"]\nprint(1)'), "learner")
    assert notebook.cells[1].metadata == {"tags": ["nbval-ignore-output", "volatile"]}
    assert "version" not in notebook.metadata.language_info
    assert notebook.metadata.kernelspec.name == "python3"
    assert str(tmp_path) not in notebooks.serialised(notebook).decode()


def test_macros_follow_the_address(tmp_path):
    cells = ["# %% [markdown]\n# {{ colab }}\n# Text.", "# %%\n# {{ setup }}\n\nx = 1"]
    chapter = small(tmp_path, *cells)
    _, badge, code = draft(chapter, "learner").cells
    assert badge.source == "Text."
    assert "Upload the course's wheel" in code.source
    assert code.source.endswith("\n\nx = 1")
    address = '[tool.ddpm-lite]\nrepository = "https://github.com/some/where"\nbranch = "dev"\n'
    (tmp_path / "pyproject.toml").write_text(address, encoding="utf-8")
    _, badge, code = draft(chapter, "solutions").cells
    assert "/github/some/where/blob/dev/notebooks/solutions/30_small.ipynb)" in badge.source
    assert '%pip install --quiet "ddpm-lite @ git+https://github.com/some/where@dev"' in code.source
    for edition in notebooks.EDITIONS:
        assert len(notebooks.setup(chapter, edition).splitlines()) <= 10


def test_setup_lines_ask_for_one_thread_and_tell_what_to_do_where_the_package_is_not(tmp_path, monkeypatch):
    lines = notebooks.setup(small(tmp_path), "learner")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    exec(lines, {})
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # whoever chose a number keeps it
    exec(lines, {})
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setitem(sys.modules, "ddpm_lite", None)  # an import now fails as on a bare machine
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        exec(lines, {})


def test_next_links_to_the_chapter_that_follows(tmp_path):
    recap = "# %% [markdown]\n# {{ next }}"
    last = small(tmp_path, recap, number="31")
    first = small(tmp_path, recap)
    assert draft(first, "learner").cells[-1].source == "**Next:** [31 · A small chapter](31_small.ipynb)"
    assert draft(last, "learner").cells[-1].source.endswith("[30 · A small chapter](30_small.ipynb)")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("# %%\n# {{ colour }}", "no macro 'colour'; there are: colab, setup, quiz, next"),
        ("# %%\ncheck('01.2', f)", "check of an exercise of chapter 01"),
        ("# %% [markdown]\n# <details><summary>A</summary>\n#\n# text", "<details> is not closed"),
        (
            "# %% [markdown]\n# <details><summary>A</summary>\n# text\n#\n# </details>",
            "empty line before and after",
        ),
        (
            "# %% [markdown]\n# <details><summary>A</summary>\n#\n# text\n# </details>",
            "empty line before and after",
        ),
        ("# %%\n### BEGIN SOLUTION\nx = 1", "needs its END"),
        ("# %%\nx = 1\n### END SOLUTION", "needs its END"),
        ("# %%\n### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "needs its END"),
        ("# %%\n### BEGIN HIDDEN TESTS\nx = 1", "needs its END"),
        (
            "# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\ndef f():\n    ### BEGIN SOLUTION\n    ### END SOLUTION",
            "inside and outside a function",
        ),
    ],
)
def test_faulty_source_is_named_with_its_cell(tmp_path, cell, message):
    with pytest.raises(Problem, match=message) as caught:
        draft(small(tmp_path, cell), "learner")
    assert "30_small.py, the cell that begins with" in str(caught.value) or "macro" in message


def test_names_and_titles_are_held_to_their_form(tmp_path):
    chapter = small(tmp_path)
    chapter.source.write_text("# %% [markdown]\n# # 31 · Other\n", encoding="utf-8")
    with pytest.raises(Problem, match="must begin with a text cell '# 30 · Title'"):
        draft(chapter, "learner")
    (chapter.source.parent / "Notes.py").write_text("", encoding="utf-8")
    with pytest.raises(Problem, match=r"named NN_topic\.py"):
        chapter.course.chapters()


# ---------------------------------------------------------------------------------------------------
# Running and storing.


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Chapter:
    """A small chapter with an exercise, built once."""
    chapter = small(tmp_path_factory.mktemp("made"), *printing("hello"), EXERCISE)
    build(chapter)
    return chapter


@pytest.fixture
def exercise(made, tmp_path) -> Chapter:
    """A copy of that chapter, to spoil."""
    shutil.copytree(made.course.root, tmp_path, dirs_exist_ok=True)
    return Chapter(Course(tmp_path), tmp_path / "notebooks" / "src" / made.source.name)


def test_build_runs_both_editions_and_nothing_twice(exercise, monkeypatch, capsys):
    assert check(exercise.course, [exercise]) == []
    assert "double: nothing yet\n" in outputs_of(stored(exercise.built("learner")).cells[4])
    assert "double: 4\n" in outputs_of(stored(exercise.built("solutions")).cells[4])
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("it ran again"))
    build(exercise)
    assert "up to date" in capsys.readouterr().out


def test_change_of_the_package_runs_a_chapter_again_but_other_exercises_do_not(exercise):
    exercises = exercise.course.root / "ddpm_lite" / "exercises"
    exercises.mkdir(parents=True)
    assert notebooks.is_current(exercise)
    (exercises / "ch31.py").write_text("", encoding="utf-8")
    assert notebooks.is_current(exercise)
    (exercises / "ch30.py").write_text("", encoding="utf-8")
    assert not notebooks.is_current(exercise)


def test_failing_cell_is_named_and_the_notebook_stays(exercise):
    before = exercise.built("learner").read_bytes()
    text = exercise.source.read_text(encoding="utf-8")
    exercise.source.write_text(text + "\n# %%\nx = 1\ny = x / 0\n", encoding="utf-8")
    with pytest.raises(Problem, match=r"30_small \(solutions\), cell 8 of 8 failed") as caught:
        build(exercise)
    assert "    | y = x / 0\n  ZeroDivisionError: division by zero" in str(caught.value)
    assert exercise.built("learner").read_bytes() == before
    assert sorted(path.name for path in exercise.built("learner").parent.iterdir() if path.is_file()) == [
        ".built.json",
        "30_small.ipynb",
    ]


def test_kernel_is_strict_for_solutions_and_has_none_of_the_users_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_LITE_STRICT", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    learner = notebooks.kernel_environ(Course(tmp_path), "learner", tmp_path / "scratch")
    solutions = notebooks.kernel_environ(Course(tmp_path), "solutions", tmp_path / "scratch")
    assert "DDPM_LITE_STRICT" not in learner
    assert solutions["DDPM_LITE_STRICT"] == "1"
    assert "MPLBACKEND" not in learner
    assert learner["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    assert learner["IPYTHONDIR"] == str(tmp_path / "scratch")


def ran(source: str, output: nbformat.NotebookNode, tags=()) -> nbformat.NotebookNode:
    """A notebook of one cell with one output."""
    cell = nbformat.v4.new_code_cell(source, outputs=[output], metadata={"tags": list(tags)})
    return nbformat.v4.new_notebook(cells=[cell])


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    """An output that was printed."""
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (stream("<function f at 0x7f00deadbeef>"), "an address in memory, 0x7f00deadbeef"),
        (stream(f"{Path.home()}/thesis/x.py"), "a path of this machine"),
        (stream(f"{sys.prefix}/lib/x.py:3"), "a path of this machine"),
        (stream("UserWarning: no", "stderr"), "warns on stderr"),
        (nbformat.v4.new_output("error", ename="ValueError", evalue="v", traceback=[]), "ends in an error"),
        (nbformat.v4.new_output("display_data", {"text/html": "<a 0xdeadbeef01>"}), "an address in memory"),
    ],
)
def test_what_must_not_be_stored_is_found(output, message):
    (fault,) = notebooks.output_faults(COURSE, ran("f", output))
    assert message in fault
    assert "the cell that begins with 'f'" in fault


def test_what_may_be_stored_is_left_alone():
    picture = nbformat.v4.new_output(
        "display_data", {"text/html": "<img src='data:image/png;base64,0xdeadbeef01'>"}
    )
    assert list(notebooks.output_faults(COURSE, ran("f", picture))) == []
    assert list(notebooks.output_faults(COURSE, ran("f", stream("50 %", "stderr"), ["volatile"]))) == []


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_tidy_leaves_only_what_is_the_same_each_time():
    ends = chunk(b"IHDR", b"\0" * 13), chunk(b"IEND", b"")
    png = b"\x89PNG\r\n\x1a\n" + ends[0] + chunk(b"tEXt", b"Software\0Matplotlib 3") + ends[1]
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": "Figure: x"}
    view = "application/vnd.jupyter.widget-view+json"
    notebook = ran("f", nbformat.v4.new_output("display_data", data | {view: {"model_id": "1"}}))
    notebook.cells[0].outputs += [
        stream("a"),
        stream("b\rc\n"),
        nbformat.v4.new_output("display_data", {view: {}}),
    ]
    notebooks.tidy(notebook)
    figure, text = notebook.cells[0].outputs
    assert set(figure.data) == {"image/png", "text/plain"}
    assert base64.b64decode(figure.data["image/png"]) == b"\x89PNG\r\n\x1a\n" + ends[0] + ends[1]
    assert text.text == "c\n"


def test_volatile_output_stays_until_its_cell_changes_or_it_is_forced(tmp_path):
    moment = '# %% tags=["volatile"]\nimport time\nprint(time.time_ns())'
    chapter = small(tmp_path, *printing("a"), moment)
    build(chapter)

    def shown() -> str:
        (text,) = outputs_of(stored(chapter.built("learner")).cells[-1])[:1]
        return text

    first = shown()
    small(tmp_path, *printing("a", "another"), moment)
    build(chapter)
    assert shown() == first
    build(chapter, force=True)
    assert shown() != first
    assert check(chapter.course, [chapter]) == []


def test_large_notebook_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "LARGEST", 5_000)
    with pytest.raises(Problem, match="is the limit"):
        build(small(tmp_path, "# %%\nprint('x' * 6_000)"))
    assert not (tmp_path / "notebooks" / "30_small.ipynb").exists()


def test_notebook_that_was_worked_in_is_not_overwritten(exercise):
    path = exercise.built("learner")

    def fill(notebook) -> None:
        notebook.cells[2].source = "def double(x):\n    return x + x"

    change(path, fill)
    before = path.read_bytes()
    with pytest.raises(Problem, match=r"somebody has worked in notebooks/30_small\.ipynb"):
        build(exercise, force=True)
    assert path.read_bytes() == before
    build(exercise, overwrite=True)
    assert check(exercise.course, [exercise]) == []


# ---------------------------------------------------------------------------------------------------
# The comparison.


def drop_output(notebook) -> None:
    notebook.cells[1].outputs = []


def drop_count(notebook) -> None:
    notebook.cells[1].execution_count = None


def drop_cell(notebook) -> None:
    del notebook.cells[-1]


def edit_cell(notebook) -> None:
    notebook.cells[1].source += "  # mine"


def add_version(notebook) -> None:
    notebook.metadata.language_info["version"] = "3.12.1"


def add_error(notebook) -> None:
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_output, "has lost its output"),
        (drop_count, "not run from top to bottom"),
        (drop_cell, "it has 5 cells, and its source makes 6"),
        (edit_cell, "the cell that begins with \"print('hello')  # mine\" is not as in the source"),
        (add_version, "its metadata is not as a build writes it"),
        (add_error, "ends in an error: E"),
    ],
)
def test_check_finds(exercise, edit, message):
    change(exercise.built("learner"), edit)
    lines = check(exercise.course, [exercise])
    assert any(line.startswith("notebooks/30_small.ipynb: ") and message in line for line in lines), lines
    assert not any("solutions" in line for line in lines)


def test_check_finds_a_changed_source_an_orphan_and_a_damaged_file(exercise):
    text = exercise.source.read_text(encoding="utf-8")
    exercise.source.write_text(text.replace("hello", "good day"), encoding="utf-8")
    (exercise.course.notebooks / "solutions" / "29_gone.ipynb").write_text("{}", encoding="utf-8")
    exercise.built("learner").write_text('{"cells": [', encoding="utf-8")
    lines = check(exercise.course, [exercise])
    assert "notebooks/solutions/29_gone.ipynb: it has no source" in lines
    assert any("30_small.ipynb is not a notebook that can be read" in line for line in lines)
    assert any("where the cell that begins with \"print('good day')\" stands" in line for line in lines)


@pytest.mark.parametrize(
    ("source", "certain"),
    [
        ("print(1)", True),
        ("f = check('01.1', f)", True),
        ("x", True),
        ("a == b", True),
        ("x;", False),
        ("x = 1", False),
        ("def f():\n    print(1)", False),
        ("if missing:\n    print(1)", False),
        ("%matplotlib inline\nprint(1)", True),
        ("this is no Python", False),
    ],
)
def test_which_cells_are_certain_to_show_something(source, certain):
    assert notebooks.shows_something(source) is certain


# ---------------------------------------------------------------------------------------------------
# A wrong stored output makes the tests fail.


def test_nbval_fails_for_a_wrong_stored_output_and_says_where(tmp_path):
    chapter = small(tmp_path, *printing("one", "two"))
    build(chapter)
    good = nbval(chapter, "learner", tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "2 passed" in good.stdout

    def corrupt(notebook) -> None:
        notebook.cells[2].outputs[0].text = "three\n"

    change(chapter.built("learner"), corrupt)
    bad = nbval(chapter, "learner", tmp_path)
    assert bad.returncode == 1
    assert "1 failed, 1 passed" in bad.stdout
    assert "three" in bad.stdout


def test_nbval_fails_for_a_cell_that_raises(tmp_path):
    chapter = small(tmp_path, "# %%\nimport os\nassert 'DDPM_LITE_STRICT' not in os.environ")
    chapter.built("learner").parent.mkdir(exist_ok=True)
    chapter.built("solutions").parent.mkdir()
    for edition in notebooks.EDITIONS:
        notebook = draft(chapter, edition)
        notebook.cells[1].execution_count = 1
        chapter.built(edition).write_bytes(notebooks.serialised(notebook))
    assert nbval(chapter, "learner", tmp_path).returncode == 0
    assert "AssertionError" in nbval(chapter, "solutions", tmp_path).stdout


def test_comparison_is_counted_for_what_it_is():
    picture = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "Figure: x"})
    notebook = ran("a", stream("1"))
    notebook.cells += ran("b", picture).cells + ran("c", stream("1"), ["nbval-ignore-output"]).cells
    unmarked = nbformat.v4.new_code_cell("x = 1")
    notebook.cells += [*ran("# NBVAL_IGNORE_OUTPUT\nd", stream("1")).cells, unmarked]
    assert compared(notebook) == (1, 4)


# ---------------------------------------------------------------------------------------------------
# The command line.


def test_command_line(tmp_path, capsys, monkeypatch):
    chapter = small(tmp_path, *printing("a"))
    root = ["--root", str(tmp_path)]
    assert notebooks.main(["--check", *root]) == 1
    assert "notebooks/30_small.ipynb: it has not been built" in capsys.readouterr().out
    assert notebooks.main(["30", *root]) == 0
    assert notebooks.main(["--check", *root]) == 0
    assert "notebooks and sources agree (1 checked)" in capsys.readouterr().out
    assert notebooks.main(["7", *root]) == 1
    assert "there is no chapter '7' in notebooks/src. Chapters that are there: 30." in capsys.readouterr().err
    assert notebooks.chosen(chapter.course, ["30_small"]) == [chapter]


@pytest.mark.parametrize("chapter", COURSE.chapters(), ids=lambda chapter: chapter.name)
def test_a_learner_can_ask_for_the_hints_that_the_checks_offer(chapter):
    source = chapter.source.read_text(encoding="utf-8")
    assert "check(" in source
    assert re.search(r"^from ddpm_lite\.exercises import check, hint$", source, flags=re.MULTILINE)


QUESTION = """[[question]]
ask = "Why?"
options = [
  { say = "Because", why = "That is no reason." },
  { say = "For the paper says so", right = true, why = "In section 3." },
  { say = "By chance", why = "It is the same each time." },
]
"""


def with_quiz(root: Path, text: str) -> Chapter:
    """A small chapter with a quiz."""
    chapter = small(root, "# %% [markdown]\n# {{ quiz }}\n#\n# {{ next }}")
    (chapter.source.parent / "quiz").mkdir()
    (chapter.source.parent / "quiz" / "30.toml").write_text(text, encoding="utf-8")
    return chapter


def test_quiz_is_folded_answers_that_say_why(tmp_path):
    text = draft(with_quiz(tmp_path, QUESTION), "learner").cells[1].source
    assert text.startswith("## Quiz\n\n")
    assert (
        "**1.** Why?\n\n<details><summary>A. Because</summary>\n\n✗ No. That is no reason.\n\n</details>"
        in text
    )
    assert "<summary>B. For the paper says so</summary>\n\n✓ Right. In section 3." in text
    assert text.count("✓ Right.") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("right = true, ", "", "one of them right"),
        ('{ say = "By chance", why', '{ say = "By chance", right = true, why', "one of them right"),
        ('  { say = "By chance", why = "It is the same each time." },\n', "", "three to five options"),
        ('why = "In section 3."', 'because = "In section 3."', "not as the others are"),
        ("[[question]]", "[[question", "not as the others are"),
    ],
)
def test_faulty_quiz_is_named(tmp_path, old, new, message):
    assert old in QUESTION
    chapter = with_quiz(tmp_path, QUESTION.replace(old, new))
    with pytest.raises(Problem, match=r"quiz/30\.toml") as caught:
        draft(chapter, "learner")
    assert message in str(caught.value)


def test_missing_quiz_is_named(tmp_path):
    chapter = with_quiz(tmp_path, QUESTION)
    (chapter.source.parent / "quiz" / "30.toml").unlink()
    with pytest.raises(Problem, match="missing"):
        draft(chapter, "learner")


@pytest.mark.parametrize("chapter", COURSE.chapters(), ids=lambda chapter: chapter.name)
def test_every_chapter_asks_three_questions_and_folds_two_more_into_its_text(chapter):
    source = chapter.source.read_text(encoding="utf-8")
    assert len(re.findall(r"^# \{\{ quiz \}\}$", source, flags=re.MULTILINE)) == 1
    assert len(re.findall(r"What do you expect\?|Which of the two changes", source)) >= 1
    asked = notebooks.questions(chapter.source.parent / "quiz" / f"{chapter.number}.toml")
    assert len(asked) >= 3
    places = {[right for _, right, _ in one.options].index(True) for one in asked}
    assert len(places) > 1, "the right answer always stands at the same place"
