"""Sending images bit by bit (DDPM section 4.3): an arithmetic coder, and samples at the price of a KL divergence.

    encoder = coding.Encoder()
    encoder.put(symbol, counts)            # as often as there is something to say
    bits = encoder.bits()                  # "0110...", len(bits) is what it cost
    symbol = coding.Decoder(bits).get(counts)

Both sides must hand over the same counts in the same order. They are whole numbers, so nothing is rounded here; whoever
computes them from floats must do it on both sides in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from . import validate


class Encoder:
    """Arithmetic coding: every symbol narrows an interval, and the bits name a point in what is left.

    The interval is [low, low + width) / scale, in whole numbers without limit: exact, and slow only for very long
    messages (each number grows by the digits of every total).
    """

    def __init__(self) -> None:
        self._low, self._width, self._scale = 0, 1, 1

    def put(self, symbol: int, counts: Sequence[int]) -> None:
        """Say one of len(counts) symbols; costs log2(sum(counts) / counts[symbol]) bits.

        Raises ValueError for a symbol that is not there or has the count 0, and for counts that are no whole numbers.
        """
        edges = _edges(counts)
        if not 0 <= symbol < len(edges) - 1:
            raise ValueError(f"the symbol must lie in 0..{len(edges) - 2}, got {symbol}.")
        if edges[symbol] == edges[symbol + 1]:
            raise ValueError(f"the symbol {symbol} has the count 0: it cannot be said.")
        self._narrow(edges[symbol], edges[symbol + 1] - edges[symbol], edges[-1])

    def put_number(self, number: int, below: int) -> None:
        """Say a whole number 0 <= number < below, each as likely; costs log2(below) bits. Raises ValueError."""
        if not 0 <= number < below:
            raise ValueError(f"the number must lie in 0..{below - 1}, got {number}.")
        self._narrow(int(number), 1, int(below))

    def _narrow(self, start: int, count: int, total: int) -> None:
        self._low = self._low * total + start * self._width
        self._width, self._scale = self._width * count, self._scale * total

    def bits(self) -> str:
        """The shortest "0110..." whose every continuation lies in the interval: at most log2(1 / its width) + 2 long."""
        n = max(0, (self._scale // self._width).bit_length() - 1)
        while True:
            point = -(-(self._low << n) // self._scale)  # the first point with n digits that is not below
            if (point + 1) * self._scale <= (self._low + self._width) << n:
                return format(point, f"0{n}b") if n else ""
            n += 1


class Decoder:
    """Reads what an `Encoder` wrote: bits is its "0110...". Raises ValueError for other characters."""

    def __init__(self, bits: str) -> None:
        if set(bits) - {"0", "1"}:
            raise ValueError("bits must be a string of 0 and 1.")
        self._offset, self._range = (
            int(bits or "0", 2),
            1 << len(bits),
        )  # the point is offset / range, in [0, 1)

    def get(self, counts: Sequence[int]) -> int:
        """The next symbol; counts as they were when it was put. Raises ValueError as `Encoder.put` does."""
        edges = _edges(counts)
        place = self._offset * edges[-1] // self._range
        symbol = next(i for i, edge in enumerate(edges[1:]) if place < edge)
        self._widen(edges[symbol], edges[symbol + 1] - edges[symbol], edges[-1])
        return symbol

    def get_number(self, below: int) -> int:
        """The next whole number 0 <= number < below, as `put_number` put it."""
        number = self._offset * below // self._range
        self._widen(number, 1, below)
        return number

    def _widen(self, start: int, count: int, total: int) -> None:
        self._offset, self._range = self._offset * total - start * self._range, self._range * count


def _edges(counts: Sequence[int]) -> list[int]:
    """0 and the running sums of the counts, as Python's unlimited whole numbers."""
    counts = counts.tolist() if isinstance(counts, Tensor) else list(counts)
    if not counts or not all(isinstance(c, int) and c >= 0 for c in counts) or not any(counts):
        raise ValueError("counts must be whole numbers, 0 or more, and not all 0.")
    return list(accumulate(counts, initial=0))


def counts_of(probabilities: Tensor, total: int = 2**16) -> Tensor:
    """Probabilities (..., L) as whole numbers with that sum, each at least 1: int64 (..., L).

    Each symbol gets 1, and a share of the rest; what rounding leaves goes to the likeliest. Raises ValueError where a
    row does not sum to 1, has a negative or NaN entry, or `total` is below L.
    """
    validate.floating(probabilities, "probabilities")
    p, L = probabilities.double(), probabilities.shape[-1]
    if total < L:
        raise ValueError(f"total must be at least the number of symbols, {L}, got {total}.")
    if (p < 0).any() or not torch.allclose(p.sum(dim=-1), torch.ones((), dtype=p.dtype), atol=1e-4):
        raise ValueError("probabilities must be 0 or more and sum to 1 along the last axis.")
    counts = 1 + ((total - L) * p / p.sum(dim=-1, keepdim=True)).floor().long()
    rest = total - counts.sum(dim=-1, keepdim=True)
    return counts.scatter_add(-1, p.argmax(dim=-1, keepdim=True), rest)


def level_probabilities(mean: Tensor, sigma2: float, levels: int = 256) -> Tensor:
    """The mass that N(mean, sigma2) gives to each of `levels` grey levels from -1 to 1: DDPM eq. (13), (..., levels).

    A level owns half the way to its neighbours; the first and the last own the tails too. Float64. Raises ValueError
    unless sigma2 > 0 and levels >= 2.
    """
    validate.floating(mean, "mean")
    if not sigma2 > 0 or levels < 2:
        raise ValueError(f"sigma2 must be above 0 and levels 2 or more, got {sigma2} and {levels}.")
    borders = torch.linspace(-1, 1, 2 * levels - 1, dtype=torch.float64)[1::2]  # (levels - 1,)
    below = torch.special.ndtr((borders - mean.double()[..., None]) / math.sqrt(sigma2))
    ends = torch.zeros_like(below[..., :1]), torch.ones_like(below[..., :1])
    return torch.cat([ends[0], below, ends[1]], dim=-1).diff(dim=-1)


def log_ratio(x: Tensor, mean_q: Tensor, var_q: float, mean_p: Tensor, var_p: float) -> Tensor:
    """log q(x) - log p(x) of two Gaussians with one variance each: x (K, D), means (D,) -> (K,), nats."""
    constant = 0.5 * x.shape[1] * math.log(var_p / var_q)
    return constant + (x - mean_p).square().sum(1) / (2 * var_p) - (x - mean_q).square().sum(1) / (2 * var_q)


def choose_index(x: Tensor, mean_q: Tensor, var_q: float, mean_p: Tensor, var_p: float, u: float) -> int:
    """Minimal random coding: which of the candidates x (K, D), drawn from p, to name so that it is like a draw from q.

    Candidate k is chosen with the probability w_k = (q/p)(x_k) / sum_j (q/p)(x_j), by the uniform number u in [0, 1):
    the first k with w_0 + ... + w_k > u. It takes somewhat more than exp(KL(q || p)) candidates to be good.
    """
    w = log_ratio(x, mean_q, var_q, mean_p, var_p).softmax(dim=0)
    return min(int((w.cumsum(dim=0) <= u).sum()), len(x) - 1)
