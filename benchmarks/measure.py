"""Timing in turns, and the arithmetic on it.

Two programs are compared fairly on a machine that others use too only if both are measured in the same minutes.
So tasks take turns (A B A B ...), and a ratio is the median over the rounds of B's time over A's in that round.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Timing:
    """Seconds of each round. wall: by the clock on the wall; cpu: processor time of this process, all its threads.

    On a quiet machine with one thread the two agree. On a busy one, `cpu` leaves out the time spent waiting.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, wall: float, cpu: float) -> None:
        """Put down one round."""
        self.wall.append(wall)
        self.cpu.append(cpu)


def interleave(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = float("inf"),
    warmup: int = 2,
    clocks: tuple[Callable[[], float], Callable[[], float]] = (time.perf_counter, time.process_time),
) -> dict[str, Timing]:
    """Time each task once a round, in turns, for `rounds` rounds, or until `seconds` of wall time have passed.

    Every other round goes backwards (A B C, C B A), so that no task always follows the same neighbour. At least
    three rounds are done whatever the time. `warmup` rounds come first and are not counted.
    Raises ValueError without tasks, or for fewer than three rounds.
    """
    if not tasks or rounds < 3:
        raise ValueError(f"give at least one task and three rounds, got {len(tasks)} and {rounds}.")
    wall, cpu = clocks
    for _ in range(warmup):
        for task in tasks.values():
            task()
    timings, begun = {name: Timing() for name in tasks}, wall()
    for number in range(rounds):
        for name in list(tasks)[:: 1 if number % 2 == 0 else -1]:
            w, c = wall(), cpu()
            tasks[name]()
            timings[name].add(wall() - w, cpu() - c)
        if number >= 2 and wall() - begun > seconds:
            break
    return timings


@dataclass(frozen=True)
class Ratio:
    """How many times the time of `ours` another takes: the median over the rounds, and its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f}–{self.high:.2f})"


def ratio(other: list[float], ours: list[float]) -> Ratio:
    """other / ours, round by round: above 1, ours is the faster. Raises ValueError unless both have the same length >= 2."""
    if len(other) != len(ours) or len(ours) < 2:
        raise ValueError(
            f"a ratio needs two lists of equally many rounds, 2 or more, got {len(other)} and {len(ours)}."
        )
    of_round = [b / a for b, a in zip(other, ours, strict=True)]
    low, _, high = quantiles(of_round, n=4, method="inclusive")
    return Ratio(median(of_round), low, high)


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `call` (a multiply-add counts as two)."""
    counter = FlopCounterMode(display=False)
    # The fused attention kernels of the CPU are unknown to the counter; the plain one is made of products that it knows.
    with sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.get_total_flops()


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 numbers in hardware (otherwise bf16 is emulated, and slow)."""
    with contextlib.suppress(AttributeError):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
