"""What a computation costs in energy: an honest estimate that needs no meter and no network.

Energy is power times time. The time is measured; the power is assumed, low, likely and high, and said with the result.

    with energy.Meter() as meter:
        ...
    print(meter)                    # 41 s of processor time, 0.08 Wh (0.03 to 0.23), at 7 W a core (3 to 20)
"""

from __future__ import annotations

import importlib.util
import math
import time
from dataclasses import dataclass

from . import paper

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Range:
    """An estimate that says how sure it is: low <= likely <= high, in one unit. Raises ValueError if not so."""

    low: float
    likely: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.likely <= self.high < math.inf:
            raise ValueError(f"an estimate needs 0 <= low <= likely <= high, finite, got {self}.")

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    __rmul__ = __mul__

    def text(self, unit: str, digits: int = 2) -> str:
        """All three numbers as text, rounded to so many significant digits."""
        low, likely, high = (f"{float(f'{x:.{digits}g}'):,.10g}" for x in (self.low, self.likely, self.high))
        return f"{likely} {unit} ({low} to {high})"


# Assumed, not measured. One busy core with its share of memory and power supply: about 3 W in a large server
# (some hundred watts for a hundred cores), up to 20 W in a desktop that boosts one core.
CORE_WATTS = Range(3, 7, 20)
# A TPU v3 chip while it computes: least, mean and most of what its maker has published. A v3-8 has four chips.
TPU_V3_CHIP_WATTS = Range(123, 220, 262)
TPU_V3_8_CHIPS = 4


def kwh(seconds: float, watts: Range) -> Range:
    """The energy of `seconds` at `watts`, in kWh. Raises ValueError for a negative or infinite time."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be 0 or more, and finite, got {seconds}.")
    return watts * (seconds / JOULES_PER_KWH)


def of_the_paper() -> Range:
    """What training the paper's CIFAR-10 model may have taken, kWh: its hours, times four TPU v3 chips. No host, no cooling."""
    return kwh(3600 * paper.FACTS["training_hours"].value, TPU_V3_CHIP_WATTS * TPU_V3_8_CHIPS)


class Meter:
    """Measures the processor time of what runs inside its `with`, and estimates its energy.

    .cpu_seconds: of all threads of this process. .wall_seconds: by the clock. .kwh: a `Range`.
    All three can be read while it runs. watts: of one busy core. May be entered again; it then adds up.
    """

    def __init__(self, watts: Range = CORE_WATTS):
        self.watts = watts
        self._done, self._since = (0.0, 0.0), None

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    def __enter__(self) -> Meter:
        if self._since is not None:
            raise RuntimeError("this meter runs already; take a second one.")
        self._since = self._now()
        return self

    def __exit__(self, *error) -> None:
        self._done, self._since = self._read(), None

    def _read(self) -> tuple[float, float]:
        if self._since is None:
            return self._done
        return tuple(d + n - s for d, n, s in zip(self._done, self._now(), self._since, strict=True))

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time, all threads together."""
        return self._read()[0]

    @property
    def wall_seconds(self) -> float:
        """Seconds by the clock."""
        return self._read()[1]

    @property
    def kwh(self) -> Range:
        """The estimate, in kWh."""
        return kwh(self.cpu_seconds, self.watts)

    def __repr__(self) -> str:
        spent = self.cpu_seconds
        energy = (kwh(spent, self.watts) * 1000).text("Wh")
        return (
            f"{spent:.0f} s of processor time, {energy}, at {self.watts.text('W')} a core, which is assumed"
        )


def has_codecarbon() -> bool:
    """Whether the package codecarbon is there, which reads the processor's own meters where it may."""
    return importlib.util.find_spec("codecarbon") is not None
