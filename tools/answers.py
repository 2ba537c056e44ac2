#!/usr/bin/env python3
"""Runs a learner's answers, each in a process of its own, and says what they returned. Not whether it is right.

    python -m answers < jobs.jsonl > results.jsonl      (started by grading.py through confine.py)

This is the side that is not trusted: a learner's code runs here. What it returned goes back as JSON, and
grading.py compares it in another process. Top to bottom: which statements of a notebook an answer needs,
running them, results as JSON, one process for each exercise.

An answer gets what its names need and not the state of the notebook: the last statements above its check that
define them, and what those need in turn. `x = check("01.2", x)` counts as the package's own x, so that a wrong
answer to one exercise does no harm to the next.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import select
import signal
import symtable
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

LARGEST = 32_000_000  # bytes of results of one exercise
DEEPEST = 6  # how deep results may be nested
RETRIES = 5  # how often to leave out statements that fail and begin again

# ---------------------------------------------------------------------------------------------------
# Which statements an answer needs.


class TooMuch(Exception):
    """A result is larger than any exercise asks for."""


@dataclass(frozen=True)
class Step:
    """A statement at the left margin of a notebook: the names it binds, changes and needs.

    now: names that it needs when it runs. later: names that its functions need when they are called.
    """

    node: ast.stmt
    binds: frozenset[str]
    changes: frozenset[str]
    now: frozenset[str]
    later: frozenset[str]


def steps_of(cell: str) -> list[Step]:
    """The statements of a cell; none if it is not Python."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return [step(node) for node in ast.parse(TransformerManager().transform_cell(cell)).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def step(node: ast.stmt) -> Step:
    """What a statement binds and needs."""
    id_ = checked(node)
    if id_:
        call = ast.Call(ast.Name("__lend__", ast.Load()), [ast.Constant(id_)], [])
        node = ast.fix_missing_locations(ast.Assign(node.targets, call))
    table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    symbols = table.get_symbols()
    binds = {one.get_name() for one in symbols if one.is_assigned() or one.is_imported()}
    now = {one.get_name() for one in symbols if one.is_referenced()}
    later = set(_globals_within(table))
    changes = set(_changed(node))
    eager = now | changes | (set() if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else later)
    return Step(node, frozenset(binds), frozenset(changes), frozenset(eager), frozenset(later))


def checked(node: ast.stmt) -> str | None:
    """The exercise of a statement `x = check("01.2", x)`, else None."""
    match node:
        case ast.Assign(value=ast.Call(func=ast.Name(id="check"), args=[ast.Constant(value=str(id_)), *_])):
            return id_
    return None


def _globals_within(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that functions and classes in a statement look for outside of themselves."""
    for child in table.get_children():
        yield from (one.get_name() for one in child.get_symbols() if one.is_global())
        yield from _globals_within(child)


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names whose value a statement changes in place: x[0] = 1, x.a = 1, x.f(), x += 1."""
    targets = [getattr(node, "target", None), *getattr(node, "targets", [])]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets.append(node.value.func)
    for target in targets:
        inner = target
        while isinstance(inner, (ast.Attribute, ast.Subscript)):
            inner = inner.value
        if isinstance(inner, ast.Name) and (inner is not target or isinstance(node, ast.AugAssign)):
            yield inner.id


def needed(steps: list[Step], name: str, until: int) -> list[Step]:
    """The steps before `until` that make `name` what it is, in order."""
    chosen: set[int] = set()
    wanted = [(name, until)]
    asked: set[tuple[str, int]] = set()
    while wanted:
        one = wanted.pop()
        if one in asked:
            continue
        asked.add(one)
        for index in _makers(steps, *one):
            chosen.add(index)
            wanted += [(other, index) for other in steps[index].now]
            wanted += [(other, until) for other in steps[index].later]
    return [steps[index] for index in sorted(chosen)]


def _makers(steps: list[Step], name: str, until: int) -> Iterator[int]:
    """The last step before `until` that binds a name, and those after it that change it, unless it is a module."""
    changing = []
    for index in range(until - 1, -1, -1):
        if name in steps[index].binds:
            yield index
            if not isinstance(steps[index].node, (ast.Import, ast.ImportFrom)):
                yield from changing
            return
        if name in steps[index].changes:
            changing.append(index)


# ---------------------------------------------------------------------------------------------------
# Running them.


def run(job: dict, number: int) -> dict:
    """Make the answer to exercise `number` of a job, and try it out; what it did, as JSON can hold it."""
    from ddpm_lite.exercises import fresh
    from ddpm_lite.exercises.registry import registry

    asked = job["exercises"][number]
    exercise = registry.find(asked["id"])
    answer, error = make(job, asked["name"], asked["cell"])
    if error is not None:
        return {"error": said(error)}
    if answer is None or answer is ...:
        return {"error": "not attempted"}
    if exercise.is_value:
        return {"value": encode(answer)}
    if answer is exercise.reference:
        return {"error": "this is the package's own function"}
    both = (exercise, fresh.afresh(exercise, job["salt"]))
    try:
        return {"runs": [try_out(one, answer, asked["limits"]) for one in both]}
    except TooMuch:
        return {"ended": "size"}


def make(job: dict, name: str, check_cell: int) -> tuple[Any, BaseException | None]:
    """The value of `name` as the notebook makes it above its check, and what went wrong on the way."""
    released = [step for cell in job["released"] for step in steps_of(cell)]
    above = [step for cell in job["cells"][:check_cell] for step in steps_of(cell)]
    if not any(name in step.binds for step in above if not lends(step)):
        checks = {one["cell"] for one in job["exercises"]}
        others = [cell for index, cell in enumerate(job["cells"]) if index not in checks]
        above = [step for cell in others for step in steps_of(cell)]
    if not any(name in step.binds for step in above if not lends(step)):
        return None, NameError(f"there is no {name}. Can its cell be run?")
    steps = [one for one in released + above if not (name in one.binds and lends(one))]
    first: BaseException | None = None
    for _ in range(RETRIES):
        space, failed, error = execute(needed(steps, name, len(steps)))
        first = first or error
        missing = space.get(name) is None or space[name] is ...
        if failed is None or not missing:
            break
        steps = [one for one in steps if one is not failed]  # as in a notebook: what fails changes nothing
    if missing and first:
        return None, first
    return space.get(name), None if name in space else NameError(f"there is no {name}")


def execute(steps: list[Step]) -> tuple[dict[str, Any], Step | None, BaseException | None]:
    """Run statements one after the other; the names that they leave, the first that failed, and its error."""
    space: dict[str, Any] = {"__name__": "__main__", "__lend__": lend}
    failed, first = None, None
    for one in steps:
        try:
            exec(compile(ast.Module([one.node], []), "<answer>", "exec"), space)
        except Exception as error:
            failed, first = (failed, first) if failed else (one, error)
    return space, failed, first


def lends(one: Step) -> bool:
    """Whether a step is a check, which lends."""
    return "__lend__" in one.now


def lend(id_: str) -> Any:
    """The package's own answer."""
    from ddpm_lite.exercises.registry import registry

    return registry.find(id_).stand_in()


def try_out(exercise: Any, answer: Any, limits: list[int]) -> list[list[dict]]:
    """What the answer does on every case, in two runs, as the engine's own judge would run it."""
    from ddpm_lite.exercises import engine

    cases = zip(exercise.cases(), exercise.cases(), limits, strict=True)
    pairs = [
        (engine.attempt(exercise, answer, a, 1, n), engine.attempt(exercise, answer, b, 2, n))
        for a, b, n in cases
    ]
    return [[outcome(one) for one in pair] for pair in pairs]


def outcome(one: Any) -> dict:
    """An engine's Outcome for JSON."""
    if one.error is not None:
        return {"error": said(one.error)}
    return {"result": encode(one.result), "changed": list(one.changed)}


def said(error: BaseException) -> str:
    """An error in one line."""
    text = (str(error).strip().splitlines() or [""])[0]
    stub = isinstance(error, NotImplementedError) and not text
    return "not attempted" if stub else f"{type(error).__name__}: {text}"[:300]


# ---------------------------------------------------------------------------------------------------
# Results as JSON. `decode` in grading.py reads them; no pickle, which could run code there.


def encode(thing: Any, depth: int = DEEPEST) -> Any:
    """A result for JSON: numbers, strings, tensors, arrays, and tuples, lists, dicts and objects of them."""
    import numpy as np
    import torch

    from ddpm_lite.exercises.compare import Yielded

    if isinstance(thing, (bool, float, str)) or thing is None:
        return thing
    if isinstance(thing, int):
        return thing if abs(thing) < 10**300 else {"other": "int"}
    if isinstance(thing, complex):
        return {"complex": [thing.real, thing.imag]}
    if isinstance(thing, np.generic):
        return encode(thing.item(), depth)
    if isinstance(thing, torch.Tensor) and thing.layout == torch.strided and not thing.is_quantized:
        return {"tensor": _numbers(thing.detach().cpu())}
    if isinstance(thing, np.ndarray) and thing.dtype.kind in "biufc":
        return {"array": _numbers(torch.from_numpy(np.ascontiguousarray(thing)))}
    if depth and isinstance(thing, Yielded):
        return {"yielded": [encode(one, depth - 1) for one in thing.items]}
    if depth and isinstance(thing, (tuple, list)):
        return {"tuple" if isinstance(thing, tuple) else "list": [encode(one, depth - 1) for one in thing]}
    if depth and isinstance(thing, Mapping):
        return {"dict": [[encode(key, depth - 1), encode(value, depth - 1)] for key, value in thing.items()]}
    fields = getattr(thing, "__dict__", None)
    if depth and isinstance(fields, dict) and not isinstance(thing, (type, FunctionType, torch.nn.Module)):
        return {"object": {str(key): encode(value, depth - 1) for key, value in fields.items()}}
    return {"other": type(thing).__name__[:60]}


def _numbers(tensor: Any) -> list:
    """[dtype, shape, the numbers in base64]."""
    import torch

    if tensor.numel() * tensor.element_size() > LARGEST // 2:
        raise TooMuch
    plain = tensor.contiguous()
    kind = str(plain.dtype).removeprefix("torch.")
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    return [kind, list(plain.shape), base64.b64encode(plain.numpy().tobytes()).decode()]


# ---------------------------------------------------------------------------------------------------
# One process for each exercise.


def apart(job: dict, number: int) -> dict:
    """Run one exercise in a child; what it did, or how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            _child(job, number, writer)
        os._exit(1)
    os.close(writer)
    try:
        text, why = _read(reader, time.monotonic() + 4 * job["seconds"])
    finally:
        os.close(reader)
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if text and not why:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    slow = why == "time" or ended in (signal.SIGXCPU,)
    return {"ended": "time" if slow else why or "died", "signal": ended}


def _child(job: dict, number: int, writer: int) -> None:
    """In the child: no way out but the pipe, limits, the answer."""
    import confine

    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    confine.landlock(["/"], [])  # once more: now the parent is outside, and cannot be signalled
    confine.limit(job["seconds"], job["megabytes"], 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error in the place of an end
    sys.setrecursionlimit(1000)
    text = json.dumps(run(job, number)).encode()
    while text:
        text = text[os.write(writer, text) :]
    os._exit(0)


def _read(reader: int, deadline: float) -> tuple[bytes, str]:
    """All that comes through a pipe, and why it was cut off: "time", "size" or ""."""
    parts, total = [], 0
    while True:
        ready = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            return b"", "time"
        part = os.read(reader, 1 << 20)
        total += len(part)
        if not part:
            return b"".join(parts), ""
        if total > LARGEST:
            return b"", "size"
        parts.append(part)


def serve() -> None:
    """Read one job, run every exercise in a child, and write a line for each."""
    from ddpm_lite.exercises.registry import registry

    text = b""
    while not text.endswith(b"\n"):
        part = os.read(0, 1 << 20)
        if not part:
            return
        text += part
    job = json.loads(text)
    for asked in job["exercises"]:
        registry.find(asked["id"])  # imported once, for all the children
    for number, asked in enumerate(job["exercises"]):
        print(json.dumps({"id": asked["id"], **apart(job, number)}), flush=True)


def main() -> None:
    """Fork a process for each job. This one reads no job itself, so no learner finds another's work in its memory."""
    import torch

    torch.set_num_threads(1)  # a child has no threads but its own
    steps_of("1")
    while os.read(0, 1):  # a byte goes before each job, and the next job comes after the answer to this
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                serve()
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
