"""pyproject.toml is the one source of dependencies: nothing else may say anything different."""

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import course

ROOT = Path(__file__).resolve().parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIG["project"]
PYTHONS = [f"3.{minor}" for minor in range(course.OLDEST[1], course.NEWEST[1] + 1)]


def parsed(extra: str | None = None) -> dict[str, SpecifierSet]:
    """{name: range} of the core, or of one extra with all it includes: by packaging, not by course.py."""
    found: dict[str, SpecifierSet] = {}
    for line in PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            for included in requirement.extras:
                found |= parsed(included)
        else:
            found[course.normal(requirement.name)] = requirement.specifier
    return found


def test_requirements_txt_is_what_pyproject_asks_of_a_learner():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines[-1] == "-e ."
    listed = {course.normal(r.name): r.specifier for r in map(Requirement, lines[:-1])}
    assert listed == parsed() | parsed("lab")


def test_environment_yml_is_the_same_under_conda_s_names():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    *packages, pip = environment["dependencies"]
    assert pip == {"pip": ["-e ."]}
    listed = {r.name: r.specifier for r in map(Requirement, packages)}
    assert listed.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert listed.pop("pip") == SpecifierSet()
    listed["torch"] = listed.pop("pytorch")
    assert listed == parsed() | parsed("lab")


@pytest.mark.parametrize("name", ["requirements.txt", "environment.yml"])
def test_written_files_are_current_to_the_byte(name):
    write = {"requirements.txt": course.requirements_txt, "environment.yml": course.environment_yml}[name]
    assert (ROOT / name).read_bytes() == write(PROJECT).encode(), "run: python course.py deps"


def test_deps_check_fails_on_a_difference_and_deps_mends_it(tmp_path, monkeypatch, capsys):
    for name in ("pyproject.toml", "requirements.txt", "environment.yml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(course, "ROOT", tmp_path)
    assert course.main(["deps", "--check"]) == 0
    with (tmp_path / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("left-pad>=1\n")
    assert course.main(["deps", "--check"]) == 1
    assert "requirements.txt" in capsys.readouterr().err
    assert course.main(["deps"]) == 0
    assert course.main(["deps", "--check"]) == 0


def test_every_requirement_has_a_lower_bound_and_no_upper_one():
    """Without a lower bound pip may take something ancient; an upper one would turn Colab's packages out."""
    every = parsed() | {
        name: r for extra in PROJECT["optional-dependencies"] for name, r in parsed(extra).items()
    }
    assert {name: str(r) for name, r in every.items() if [s.operator for s in r] != [">="]} == {}


@pytest.mark.parametrize("extra", [None, *PROJECT["optional-dependencies"]])
def test_course_py_reads_the_extras_as_packaging_does(extra):
    lines = course.requirements([extra] if extra else [], PROJECT)
    listed = {course.normal(r.name): r.specifier for r in map(Requirement, lines)}
    assert listed == parsed() | (parsed(extra) if extra else {})
    assert len(lines) == len(listed), "a package is listed twice"


def test_what_is_installed_here_satisfies_the_core_and_dev():
    wrong = {
        name: importlib.metadata.version(name)
        for name, wanted in (parsed() | parsed("dev")).items()
        if not wanted.contains(importlib.metadata.version(name), prereleases=True)
    }
    assert wrong == {}


def test_one_answer_to_which_pythons():
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={PYTHONS[0]}")
    classifiers = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert classifiers == PYTHONS
    assert CONFIG["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    tried = workflow["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert sorted({one["python"] for one in tried}) == PYTHONS
    for system in ("ubuntu", "macos", "windows"):
        on_it = {one["python"] for one in tried if one["os"].startswith(system)}
        assert {PYTHONS[0], PYTHONS[-1]} <= on_it, system


# --- What is imported is declared: a package that only happens to be here would be missing elsewhere.


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Names of the packages that a file imports: (when it is itself imported, later, inside a function)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    at_once: set[str] = set()
    later: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {str(node.module).split(".")[0]}
        else:
            continue
        (later if id(node) in inner else at_once).update(names)
    return at_once, later


@functools.cache
def providers() -> dict[str, list[str]]:
    """{import name: distributions}; reading it takes a second, so once."""
    return dict(importlib.metadata.packages_distributions())


@functools.cache
def own_modules() -> frozenset[str]:
    """Names under which the course's own files import each other."""
    top = {path.stem for path in ROOT.glob("*") if path.is_dir() or path.suffix == ".py"}
    inner = {path.stem for folder in ("tests", "tools") for path in (ROOT / folder).rglob("*.py")}
    return frozenset(top | inner)


def undeclared(names: set[str], declared: set[str]) -> set[str]:
    """Those of these imports that no declared package provides."""
    foreign = names - own_modules() - set(sys.stdlib_module_names)
    return {
        name for name in foreign if not declared & {course.normal(d) for d in providers().get(name, [name])}
    }


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "path", python_files("ddpm_lite"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_package_imports_only_what_a_learner_has(path):
    at_once, later = imports(path)
    every = set().union(parsed(), *(parsed(extra) for extra in PROJECT["optional-dependencies"]))
    assert undeclared(at_once, set(parsed())) == set(), "add it to the core dependencies in pyproject.toml"
    assert undeclared(later, every) == set(), "add it to an extra in pyproject.toml"


@pytest.mark.parametrize(
    ("folder", "extra"),
    [("notebooks/src", "lab"), ("tests", "dev"), ("tools", "dev"), ("benchmarks", "bench")],
)
def test_other_folders_import_only_what_is_declared(folder, extra):
    declared = set(parsed() | parsed(extra))
    found = {path.name: undeclared(set().union(*imports(path)), declared) for path in python_files(folder)}
    assert {name: names for name, names in found.items() if names} == {}


def test_an_undeclared_import_would_be_noticed(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import torch\nimport hatchling_of_nobody\ndef f():\n    import pandas_of_nobody\n", encoding="utf-8"
    )
    at_once, later = imports(path)
    assert undeclared(at_once, set(parsed())) == {"hatchling_of_nobody"}
    assert undeclared(later, set(parsed())) == {"pandas_of_nobody"}


def test_the_proof_of_a_set_up_needs_only_the_core():
    names = set(re.findall(r"\w+", course.PROOF)) - {"import"}
    assert undeclared(names, set(parsed())) == set()
