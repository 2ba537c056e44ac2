"""Where two results first differ, and how: in type, shape, dtype, or in a number.

Results are tensors, arrays, numbers, strings, and tuples, lists, dicts, dataclasses and generators of them.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

# (rtol, atol) at which a result counts as right. A plain number may have been typed in by hand.
TOLERANCE = {torch.float64: (1e-8, 1e-10), torch.complex128: (1e-8, 1e-10), float: (1e-5, 1e-8)}
TOLERANCE_FLOAT32 = (1e-4, 1e-5)
# A float64 result that is right only to this has passed through float32 on its way.
LOST_PRECISION = (1e-4, 1e-5)


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first place where `got` is not what was wanted; within a tensor, the entry that is furthest off.

    kind: "type", "shape", "dtype", "not finite", "precision" or "value".
    path: where in a nested result, such as "item 1" or ".x0_hat"; empty for the result itself.
    index: where in a tensor, such as "[0, 2, 3]"; empty elsewhere.
    got, want: both sides, as short text. side: -1 if got is too small, 1 if too large, 0 if neither.
    """

    kind: str
    path: str
    index: str
    got: str
    want: str
    side: int = 0

    @property
    def where(self) -> str:
        """Path and index as words: "item 1, at [0, 2]: ", or nothing."""
        parts = [self.path] * bool(self.path) + [f"at {self.index}"] * bool(self.index)
        return ", ".join(parts) + ": " if parts else ""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What an exercise allows: None leaves it to the dtype of what was wanted."""

    rtol: float | None = None
    atol: float | None = None

    def of(self, dtype: Any) -> tuple[float, float]:
        """(rtol, atol) for a dtype."""
        rtol, atol = TOLERANCE.get(dtype, TOLERANCE_FLOAT32)
        return (rtol if self.rtol is None else self.rtol, atol if self.atol is None else self.atol)


@dataclasses.dataclass(frozen=True)
class Yielded:
    """What a generator yielded, in order."""

    items: tuple


def first_difference(got: Any, want: Any, tolerance: Tolerance, path: str = "") -> Difference | None:
    """The first place where `got` differs from `want`, or None. The type of `want` says what to compare."""
    for types, compare in _COMPARISONS:
        if isinstance(want, types):
            return compare(got, want, tolerance, path)
    if dataclasses.is_dataclass(want):
        return _fields(got, want, tolerance, path)
    same = type(got) is type(want) and bool(got == want)
    return None if same else Difference("value", path, "", _short(got), _short(want))


def tensors_in(thing: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor and array inside `thing` (containers, dataclasses), each with its path."""
    if isinstance(thing, torch.Tensor):
        yield path, thing
    elif isinstance(thing, np.ndarray) and thing.dtype.kind in "biufc":
        yield path, torch.from_numpy(thing)
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from tensors_in(value, f"{path}[{key!r}]")
    elif isinstance(thing, (list, tuple)):
        for index, value in enumerate(thing):
            yield from tensors_in(value, f"{path}[{index}]")
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for name, value in vars(thing).items():  # not fields(): a cached_property can be spoilt as well
            yield from tensors_in(value, f"{path}.{name}")


def describe(thing: Any) -> str:
    """What a value is, in a few words: "(4, 1, 8, 8) float32", "3", "a list of 2"."""
    if isinstance(thing, torch.Tensor):
        return f"{_shape(thing)} {_dtype(thing)}"
    if isinstance(thing, np.ndarray):
        return f"array {thing.shape} {thing.dtype}"
    if isinstance(thing, (bool, numbers.Number, str)) or thing is None:
        return _short(thing)
    if isinstance(thing, (list, tuple)) and type(thing) in (list, tuple):
        return f"a {type(thing).__name__} of {len(thing)}"
    return f"a {type(thing).__name__}"


# ---------------------------------------------------------------------------------------------------
# One comparison for each type that can be wanted.


def _tensors(got: Any, want: torch.Tensor, tolerance: Tolerance, path: str) -> Difference | None:
    if not isinstance(got, torch.Tensor):
        return Difference("type", path, "", _kind(got), "a tensor")
    if got.shape != want.shape:
        return Difference("shape", path, "", _shape(got), _shape(want))
    if got.dtype != want.dtype:
        return Difference("dtype", path, "", _dtype(got), _dtype(want))
    got, want = got.detach().cpu(), want.detach().cpu()
    lost = ~torch.isfinite(got) & torch.isfinite(want)
    if lost.any():
        return _at("not finite", path, lost, got, want)
    wrong = ~_close(got, want, tolerance.of(want.dtype))
    if not wrong.any():
        return None
    lossy = want.dtype == torch.float64 and bool(_close(got, want, LOST_PRECISION).all())
    return _at("precision" if lossy else "value", path, wrong, got, want)


def _close(got: torch.Tensor, want: torch.Tensor, tolerance: tuple[float, float]) -> torch.Tensor:
    if not (want.is_floating_point() or want.is_complex()):
        return got == want
    return torch.isclose(got, want, rtol=tolerance[0], atol=tolerance[1], equal_nan=True)


def _at(kind: str, path: str, wrong: torch.Tensor, got: torch.Tensor, want: torch.Tensor) -> Difference:
    """Of the entries marked in `wrong` the one that is furthest off, the first of several."""
    places = wrong.nonzero()  # (n, ndim)
    distance = (
        (got[wrong].to(torch.complex128) - want[wrong].to(torch.complex128)).abs().nan_to_num(torch.inf)
    )
    index = tuple(places[distance.argmax()].tolist())
    mine, theirs = got[index].item(), want[index].item()
    where = str(list(index)) if index else ""
    return Difference(kind, path, where, *_pair(mine, theirs), _side(mine, theirs))


def _arrays(got: Any, want: np.ndarray, tolerance: Tolerance, path: str) -> Difference | None:
    if not isinstance(got, np.ndarray):
        return Difference("type", path, "", _kind(got), "a NumPy array")
    return _tensors(torch.from_numpy(got), torch.from_numpy(want), tolerance, path)


def _numbers(got: Any, want: Any, tolerance: Tolerance, path: str) -> Difference | None:
    """A number may come as a Python number, a NumPy number or a tensor with no axes."""
    if isinstance(got, (torch.Tensor, np.ndarray, np.generic)) and got.ndim == 0:
        got = got.item()
    wanted = "True or False" if isinstance(want, (bool, np.bool_)) else "a number"
    if not isinstance(got, numbers.Number) or isinstance(got, bool) is not (wanted == "True or False"):
        return Difference("type", path, "", _kind(got), wanted)
    if not _finite(got) and _finite(want):
        return Difference("not finite", path, "", _short(got), _short(want))
    exact = isinstance(want, (bool, np.bool_, numbers.Integral))
    rtol, atol = (0.0, 0.0) if exact else tolerance.of(float)
    if got == want or abs(got - want) <= atol + rtol * abs(want) or (got != got and want != want):
        return None
    return Difference("value", path, "", *_pair(got, want), _side(got, want))


def _strings(got: Any, want: str, tolerance: Tolerance, path: str) -> Difference | None:
    if not isinstance(got, str):
        return Difference("type", path, "", _kind(got), "a string")
    same = got.strip().casefold() == want.strip().casefold()
    return None if same else Difference("value", path, "", _short(got), _short(want))


def _sequences(got: Any, want: Any, tolerance: Tolerance, path: str) -> Difference | None:
    kind = "tuple" if isinstance(want, tuple) else "list"
    if not isinstance(got, (tuple, list)):
        return Difference("type", path, "", _kind(got), f"a {kind} of {len(want)}")
    names = getattr(want, "_fields", None)
    labels = [f".{name}" for name in names] if names else [f" item {i}" for i in range(len(want))]
    return _items(got, want, labels, f"a {kind} of", tolerance, path)


def _yielded(got: Any, want: Yielded, tolerance: Tolerance, path: str) -> Difference | None:
    if not isinstance(got, Yielded):
        return Difference("type", path, "", _kind(got), "a generator (a function that yields)")
    labels = [f" yield {i}" for i in range(len(want.items))]
    return _items(got.items, want.items, labels, "yields", tolerance, path)


def _items(
    got: Any, want: Any, labels: list[str], noun: str, tolerance: Tolerance, path: str
) -> Difference | None:
    """The first item that differs; or, where all that both have agree, that there are too few or too many."""
    for label, mine, theirs in zip(labels, got, want, strict=False):
        difference = first_difference(mine, theirs, tolerance, (path + label).strip())
        if difference:
            return difference
    if len(got) != len(want):
        more = " or more" if len(got) > len(want) and noun == "yields" else ""
        return Difference("shape", path, "", f"{noun} {len(got)}{more}", f"{noun} {len(want)}")
    return None


def _mappings(got: Any, want: Mapping, tolerance: Tolerance, path: str) -> Difference | None:
    if not isinstance(got, Mapping):
        return Difference("type", path, "", _kind(got), "a dict")
    if set(got) != set(want):
        mine, theirs = (f"keys {sorted(map(str, one))}" for one in (got, want))
        return Difference("shape", path, "", mine, theirs)
    found = (first_difference(got[key], want[key], tolerance, f"{path}[{key!r}]") for key in want)
    return next(filter(None, found), None)


def _fields(got: Any, want: Any, tolerance: Tolerance, path: str) -> Difference | None:
    for field in dataclasses.fields(want):
        if not hasattr(got, field.name):
            mine = f"{_kind(got)} with no .{field.name}"
            return Difference("type", path, "", mine, f"a {type(want).__name__}")
        value = getattr(got, field.name)
        difference = first_difference(value, getattr(want, field.name), tolerance, f"{path}.{field.name}")
        if difference:
            return difference
    return None


_Comparison = Callable[[Any, Any, Tolerance, str], "Difference | None"]
_COMPARISONS: tuple[tuple[Any, _Comparison], ...] = (
    (torch.Tensor, _tensors),
    (np.ndarray, _arrays),
    ((bool, np.bool_, numbers.Number), _numbers),
    (str, _strings),
    (Yielded, _yielded),
    ((tuple, list), _sequences),
    (Mapping, _mappings),
)


# ---------------------------------------------------------------------------------------------------
# Short, deterministic text for values.


def _shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(thing: Any) -> str:
    """What a value of the wrong type is."""
    if isinstance(thing, torch.Tensor):
        return f"a tensor of shape {_shape(thing)}"
    if thing is None:
        return "None"
    if isinstance(thing, Yielded):
        return "a generator"
    if isinstance(thing, np.ndarray):
        return f"a NumPy array of shape {thing.shape}"
    name = type(thing).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def _short(thing: Any) -> str:
    """repr, cut to a length that fits a line; a number to four decimals. No addresses: those change."""
    if isinstance(thing, float):
        return f"{thing:.4f}" if abs(thing) >= 1e-3 or thing == 0 else f"{thing:.4g}"
    if not isinstance(thing, (bool, numbers.Number, str, type(None), list, tuple, dict, set)):
        return f"a {type(thing).__name__}"
    text = repr(thing)
    return text if len(text) <= 60 else text[:57] + "..."


def _pair(got: Any, want: Any) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart."""
    if _short(got) != _short(want) or not isinstance(want, (int, float)):
        return _short(got), _short(want)
    pairs = ((f"{float(got):.{digits}g}", f"{float(want):.{digits}g}") for digits in range(5, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (repr(got), repr(want)))


def _finite(number: Any) -> bool:
    return math.isfinite(abs(number))


def _side(got: Any, want: Any) -> int:
    """-1, 0 or 1: too small, neither, too large."""
    if isinstance(got, (bool, complex)) or got != got or want != want:
        return 0
    return (got > want) - (got < want)
