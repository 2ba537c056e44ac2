#!/usr/bin/env python3
"""Tries the checks: makes wrong answers by changing the solutions a little, and counts how many are found out.

    python tools/mutants.py [NN[.k] ...]     a table of every exercise (default: all), then what passed

A mutant is a chapter's own solution with one thing changed: a sign, an index, α for ᾱ, a root left out, two
arguments in each other's place, a reduction over another dimension … The check must reject each one, unless
the change changes nothing; those are listed, each with its reason, in tests/test_mutants.py.

Reading top to bottom: a solution with what it needs, the changes, the judging, the command line.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import copy
import re
import signal
import symtable
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jupytext

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ddpm_lite.exercises.engine import Exercise, Verdict, judge  # noqa: E402
from ddpm_lite.exercises.registry import Registry  # noqa: E402

SECONDS = 20  # a mutant that takes longer is stopped; that counts as rejected

# ---------------------------------------------------------------------------------------------------
# A solution, and as much of its chapter as it needs.


@dataclass(frozen=True)
class Solution:
    """The statement that answers an exercise, and those before it that it refers to.

    name: what the learner hands to `check`. needs: imports and definitions, in order. answer: a function, a
    class or the assignments of a value. lines: those of the answer's cell that the learner has to write.
    """

    exercise: Exercise
    name: str
    needs: tuple[ast.stmt, ...]
    answer: tuple[ast.stmt, ...]
    lines: frozenset[int] = frozenset()

    def run(self, answer: tuple[ast.stmt, ...] | None = None) -> Any:
        """The answer itself, or a changed one in its place."""
        names = dict(self.surroundings)
        execute(self.answer if answer is None else answer, names)
        return names[self.name]

    @cached_property
    def surroundings(self) -> dict[str, Any]:
        """What the answer refers to, made once."""
        names: dict[str, Any] = {"__name__": "__mutant__"}
        execute(self.needs, names)
        return names


def execute(body: tuple[ast.stmt, ...], names: dict[str, Any]) -> None:
    """Run statements of our own sources with these names."""
    module = ast.Module(body=copy.deepcopy(list(body)), type_ignores=[])
    exec(compile(ast.fix_missing_locations(module), "<solution>", "exec"), names)


@dataclass(frozen=True)
class Cell:
    """A code cell of a source, solutions in place: its statements, and which lines are a solution's."""

    body: tuple[ast.stmt, ...]
    lines: frozenset[int]


@cache
def cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a chapter's source."""
    found = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    return tuple(_cell(cell.source) for cell in found if cell.cell_type == "code")


def _cell(source: str) -> Cell:
    text = re.sub(r"^(\s*)[%!]", r"\1pass  # ", source, flags=re.M)
    lines, inside = set(), False
    for number, line in enumerate(text.split("\n"), 1):
        inside = (inside or "BEGIN SOLUTION" in line) and "END SOLUTION" not in line
        lines |= {number} if inside else set()
    return Cell(tuple(ast.parse(text).body), frozenset(lines))


def solution(exercise: Exercise, folder: Path = ROOT / "notebooks" / "src") -> Solution:
    """The solution of an exercise. Raises LookupError if its chapter does not check it in the usual form."""
    (path,) = folder.glob(f"{exercise.id[:2]}_*.py")
    before: list[Cell] = []
    for cell in cells(path):
        if name := _checked(cell.body, exercise.id):
            return _with_needs(exercise, name, before)
        before.append(cell)
    raise LookupError(f"{path.name} has no line  NAME = check({exercise.id!r}, NAME).")


def _checked(cell: tuple[ast.stmt, ...], id_: str) -> str | None:
    """The name that a cell hands to check(id_, name)."""
    for node in (one for statement in cell for one in ast.walk(statement)):
        match node:
            case ast.Call(func=ast.Name("check"), args=[ast.Constant(value), ast.Name(name)]) if value == id_:
                return name
    return None


def _defines(statement: ast.stmt) -> set[str]:
    """The names that a statement of the top level gives a meaning to."""
    match statement:
        case ast.FunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
        case ast.Assign() | ast.AnnAssign():  # its targets alone: a comprehension keeps its names to itself
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            inside = (n for target in targets for n in ast.walk(target))
            return {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        case _:  # a loop has names too, but no solution leans on those
            return set()


def _uses(statement: ast.stmt) -> set[str]:
    """The names that a statement takes from outside: not those that are its functions' own."""
    return _from_outside(symtable.symtable(ast.unparse(statement), "<solution>", "exec"))


def _from_outside(table: symtable.SymbolTable) -> set[str]:
    top = table.get_type() == "module"
    names = {
        one.get_name() for one in table.get_symbols() if one.is_referenced() and (top or one.is_global())
    }
    return names.union(*map(_from_outside, table.get_children()))


def _with_needs(exercise: Exercise, name: str, cells: list[Cell]) -> Solution:
    """The answer is the last definition of the name, or, of a value, the cell that computes it; then back from there."""
    place = max(i for i, cell in enumerate(cells) if any(name in _defines(one) for one in cell.body))
    body = cells[place].body
    last = max(i for i, one in enumerate(body) if name in _defines(one))
    first = 0 if exercise.is_value else last
    answer = body[first : last + 1]
    before = [one for cell in cells[:place] for one in cell.body] + list(body[:first])
    wanted = set().union(*map(_uses, answer)) - {name}
    needs: list[ast.stmt] = []
    for one in reversed(before):
        given = _defines(one) & wanted
        if given and not _is_check(one):
            needs.insert(0, one)
            wanted = (wanted - given) | (_uses(one) - set(dir(builtins)))
    return Solution(exercise, name, tuple(needs), answer, cells[place].lines)


def _is_check(statement: ast.stmt) -> bool:
    """name = check("NN.k", name): without it, the chapter's own solution stays."""
    return any(isinstance(n, ast.Call) and ast.unparse(n.func) == "check" for n in ast.walk(statement))


# ---------------------------------------------------------------------------------------------------
# The changes: each is given a node and yields (what it is now, what it was and became).

Change = Callable[[ast.AST], Iterator[tuple[ast.AST, str]]]

OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.MatMult: (),
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
# The mistakes that are made with these names. None leaves the call out: x.sqrt() becomes x.
NAMES: dict[str, tuple[str | None, ...]] = {
    "alpha_bar": ("alpha", "beta"),
    "alpha": ("alpha_bar", "beta"),
    "beta": ("beta_tilde", "alpha"),
    "beta_tilde": ("beta",),
    "sqrt": (None, "square"),
    "rsqrt": (None, "sqrt"),
    "square": (None, "sqrt"),
    "exp": (None,),
    "log": (None,),
    "sin": ("cos",),
    "cos": ("sin",),
    "abs": (None,),
    "mean": ("sum",),
    "sum": ("mean",),
    "max": ("min",),
    "min": ("max",),
    "argmax": ("argmin",),
    "argmin": ("argmax",),
    "amax": ("amin",),
    "amin": ("amax",),
    "clamp": (None,),
    "eval": ("train", None),
    "cumsum": (None,),
    "cumprod": (None,),
    "flip": (None,),
    "transpose": (None,),
    "randn": ("rand",),
    "randn_like": ("rand_like",),
    "logsumexp": ("sum",),
    "log_softmax": ("softmax",),
    "softmax": ("log_softmax",),
    "silu": (None, "relu"),
    "ones": ("zeros",),
    "zeros": ("ones",),
    "floor": ("ceil",),
    "ceil": ("floor",),
    "lt": ("le",),
    "ge": ("gt",),
}


SYMMETRIC = {"min", "max", "minimum", "maximum", "transpose", "add", "mul"}  # in their arguments


def operators(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Another operator; the two sides of a difference or a quotient in each other's place; one side alone."""
    if not isinstance(node, ast.BinOp):
        return
    for other in OPERATORS.get(type(node.op), ()):
        yield _with(node, op=other()), "another operator"
    if isinstance(node.op, (ast.Sub, ast.Div, ast.Pow, ast.MatMult)):
        yield _with(node, left=node.right, right=node.left), "its two sides swapped"
    if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
        yield node.left, "its right side left out"
    if isinstance(node.op, (ast.Add, ast.Mult)):
        yield node.right, "its left side left out"


def signs(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """A minus, or a not, left out."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand, "the sign left out"


def constants(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """A number one higher or lower, or doubled; True for False."""
    if not isinstance(node, ast.Constant) or isinstance(node.value, str):
        return
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value), "the opposite"
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1), "one more"
        yield ast.Constant(node.value - 1), "one less"
    elif isinstance(node.value, float):
        yield ast.Constant(2 * node.value + (node.value == 0)), "doubled"


def comparisons(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """< for ≤, and the like; a condition turned round."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield _with(node, ops=[COMPARISONS[type(node.ops[0])]()]), "another comparison"
    if isinstance(node, ast.IfExp):
        yield node.body, "always the first"
        yield node.orelse, "always the second"


def known_names(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """α for ᾱ, a root left out, a sum for a mean (NAMES)."""
    if isinstance(node, ast.Attribute):
        for other in filter(None, NAMES.get(node.attr, ())):
            yield _with(node, attr=other), f"{other} for {node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner = _argument_of(node)
        if inner is not None and None in NAMES.get(node.func.attr, ()):
            yield inner, f"{node.func.attr} left out"


def _argument_of(call: ast.Call) -> ast.AST | None:
    """What x.f() or module.f(x) is a function of."""
    value = call.func.value
    if isinstance(value, ast.Name) and value.id in ("torch", "math", "np", "F"):
        return call.args[0] if call.args else None
    return value


def indices(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """t − 1 and t + 1 for t; an added dimension left out; a slice that begins or ends elsewhere."""
    if isinstance(node, ast.Name) and node.id in ("t", "s") and isinstance(node.ctx, ast.Load):
        for op, text in ((ast.Sub, "t - 1 for t"), (ast.Add, "t + 1 for t")):
            yield ast.BinOp(node, op(), ast.Constant(1)), text
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield node.value, "the index left out"
        if isinstance(node.slice, ast.Slice):
            yield node.value, "all of it"


def calls(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """An option left out, another dimension, two arguments in each other's place, coefficients that do not broadcast."""
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func).rpartition(".")[2]
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "strict":  # of zip: a safeguard, no part of what is computed
            continue
        rest = node.keywords[:i] + node.keywords[i + 1 :]
        yield _with(node, keywords=rest), f"without {keyword.arg}"
    for i in range(len(node.args) - 1):
        a, b = node.args[i : i + 2]
        if not isinstance(a, ast.Starred) and not isinstance(b, ast.Starred) and called not in SYMMETRIC:
            yield _with(node, args=[*node.args[:i], b, a, *node.args[i + 2 :]]), "two arguments swapped"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "at" and len(node.args) == 3:
        yield ast.Subscript(node.args[0], node.args[1], ast.Load()), "(B,) not made (B, 1, …)"


CHANGES: tuple[Change, ...] = (operators, signs, constants, comparisons, known_names, indices, calls)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    """A copy with these fields changed."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


# ---------------------------------------------------------------------------------------------------
# Mutants.


@dataclass(frozen=True)
class Mutant:
    """A changed solution: what was changed, and the statements that make it."""

    text: str
    answer: tuple[ast.stmt, ...]


def mutants(one: Solution) -> list[Mutant]:
    """Every change of every node in turn, parameters swapped and lines left out; none twice, none as it was."""
    made: dict[str, Mutant] = {}
    original = "\n".join(ast.unparse(statement) for statement in one.answer)
    for text, answer in (*_of_nodes(one), *_of_parameters(one), *_of_lines(one)):
        source = "\n".join(ast.unparse(ast.fix_missing_locations(statement)) for statement in answer)
        if source != original and source not in made:
            made[source] = Mutant(text, answer)
    return list(made.values())


def _of_nodes(one: Solution) -> Iterator[tuple[str, tuple[ast.stmt, ...]]]:
    for i, statement in enumerate(one.answer):
        skipped = {id(node) for node in _left_alone(statement)}
        for path, node in _walk(statement):
            if id(node) in skipped or not _written(one, node):
                continue
            for change in CHANGES:
                for new, text in change(node):
                    changed = _replace(statement, path, new)
                    yield (
                        f"{text}: {_short(node)} → {_short(new)}",
                        (*one.answer[:i], changed, *one.answer[i + 1 :]),
                    )


def _written(one: Solution, node: ast.AST) -> bool:
    """Whether the learner writes this; without marks, all of it."""
    return not one.lines or getattr(node, "lineno", None) in one.lines


def _left_alone(statement: ast.stmt) -> Iterator[ast.AST]:
    """Docstrings, annotations and signatures: no part of what is computed."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from (inner for d in node.decorator_list for inner in ast.walk(d))
        if isinstance(node, ast.FunctionDef):
            yield from ast.walk(node.args)
            yield from ast.walk(node.returns) if node.returns else ()
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
            yield from ast.walk(node)
        if isinstance(node, ast.keyword) and node.arg == "strict":
            yield from ast.walk(node)


def _walk(node: ast.AST, path: tuple = ()) -> Iterator[tuple[tuple, ast.AST]]:
    """Every node with the way to it."""
    yield path, node
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield from _walk(value, (*path, name))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _walk(item, (*path, name, i))


def _replace(root: ast.AST, path: tuple, new: ast.AST) -> ast.AST:
    """A copy of the tree with another node at the end of the way."""
    if not path:
        return copy.deepcopy(new)
    tree = copy.deepcopy(root)
    place: Any = tree
    for step in path[:-1]:
        place = place[step] if isinstance(step, int) else getattr(place, step)
    new = copy.deepcopy(new)
    if isinstance(path[-1], int):
        place[path[-1]] = new
    else:
        setattr(place, path[-1], new)
    return tree


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 60 else text[:57] + "…"


def _of_parameters(one: Solution) -> Iterator[tuple[str, tuple[ast.stmt, ...]]]:
    """Each use of a parameter, in turn, replaced by a parameter beside it."""
    if len(one.answer) != 1 or not isinstance(one.answer[0], ast.FunctionDef):
        return
    function = one.answer[0]
    names = [argument.arg for argument in function.args.args if argument.arg != "schedule"]
    for path, node in _walk(function):
        if (
            isinstance(node, ast.Name)
            and node.id in names
            and isinstance(node.ctx, ast.Load)
            and _written(one, node)
        ):
            for other in names:
                if other != node.id:
                    changed = _replace(function, path, ast.Name(other, ast.Load()))
                    yield f"{other} for {node.id}, line {node.lineno - function.lineno}", (changed,)


def _of_lines(one: Solution) -> Iterator[tuple[str, tuple[ast.stmt, ...]]]:
    """A line of a function left out, the first (its docstring) and the last aside."""
    if len(one.answer) != 1 or not isinstance(one.answer[0], ast.FunctionDef):
        return
    function = one.answer[0]
    first = 1 if ast.get_docstring(function) else 0
    for i in (i for i in range(first, len(function.body) - 1) if _written(one, function.body[i])):
        changed = copy.deepcopy(function)
        text = _short(changed.body.pop(i))
        yield f"left out: {text}", (changed,)


# ---------------------------------------------------------------------------------------------------
# Judging.


class TooLong(Exception):
    """A mutant that does not come to an end."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong after this time, where the system can interrupt (not on Windows)."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Report:
    """What became of an exercise's mutants; passed holds what the check took for right."""

    exercise: Exercise
    count: int
    named: int
    passed: tuple[str, ...]

    @property
    def rejected(self) -> int:
        """How many the check turned down."""
        return self.count - len(self.passed)


def verdict(one: Solution, mutant: Mutant) -> Verdict | None:
    """What the check says of a mutant; None if it cannot even be made, or does not end."""
    try:
        with at_most(SECONDS):
            return judge(one.exercise, one.run(mutant.answer))
    except (TooLong, Exception):  # a line that fails outside the function never reaches the check
        return None


def report(exercise: Exercise) -> Report:
    """Judge every mutant of an exercise's solution."""
    one = solution(exercise)
    named, passed, all_of_them = 0, [], mutants(one)
    for mutant in all_of_them:
        said = verdict(one, mutant)
        named += bool(said and said.misconception)
        passed += [mutant.text] if said and said.correct else []
    return Report(exercise, len(all_of_them), named, tuple(passed))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("chosen", nargs="*", metavar="NN[.k]", help="chapters or exercises; default: all")
    chosen = parser.parse_args(arguments).chosen
    registry = Registry()
    exercises = [one for number in registry.chapters() for one in registry.chapter(number).values()]
    wanted = [one for one in exercises if not chosen or one.id in chosen or one.id[:2] in chosen]
    print("exercise  mutants  rejected  named")
    reports = []
    for exercise in wanted:
        done = report(exercise)
        reports.append(done)
        print(f"{exercise.id:8s}  {done.count:7d}  {done.rejected:8d}  {done.named:5d}", flush=True)
    total = [sum(getattr(one, name) for one in reports) for name in ("count", "rejected", "named")]
    print("{:8s}  {:7d}  {:8d}  {:5d}".format("all", *total))
    for done in reports:
        for text in done.passed:
            print(f"{done.exercise.id} takes for right: {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
