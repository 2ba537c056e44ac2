"""Peak memory of three training steps, each library in a process of its own: python -m benchmarks.memory LIBRARY SIZE BATCH."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from . import models, report, training

MAKERS = {
    models.OURS: training.our_step,
    models.DIFFUSERS: training.diffusers_step,
    models.DDP: training.ddp_step,
}


def peak_mib() -> float:
    """The most memory that this process has held so far, MiB. Raises ImportError where the system does not tell (Windows)."""
    # On Linux a child's ru_maxrss begins at what its parent held when it forked; VmHWM is the child's own.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def child(library: str, size: str, count: int) -> tuple[float, float]:
    """In the child: peak before (libraries and data loaded) and after three steps."""
    torch.set_num_threads(1)
    models.images()
    if library != models.OURS:
        models.peer(library)
        MAKERS[library](next(iter(models.SIZES)), 1)()  # pulls in what the library loads on first use
    else:
        training.our_step(next(iter(models.SIZES)), 1)()
    before = peak_mib()
    step = MAKERS[library](size, count)
    for _ in range(3):
        step()
    return before, peak_mib()


def ask(library: str, size: str, count: int) -> tuple[float, float]:
    """Run `child` in a fresh process. Raises RuntimeError with its last words if it fails."""
    command = [sys.executable, "-m", "benchmarks.memory", library, size, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise RuntimeError(f"{library} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    before, after = done.stdout.split()[-2:]
    return float(before), float(after)


def run(options) -> list[report.Table]:
    """Peak memory of training at the largest size asked for."""
    size = options.sizes[-1]
    columns = ("library", "libraries and data, MiB", "peak, MiB", "rise, MiB")
    table = report.Table("Memory", ABOUT.format(size=size, count=options.batch), columns)
    for library in MAKERS:
        try:
            if library != models.OURS:
                models.peer(library)
            before, after = ask(library, size, options.batch)
            table.rows.append([library, f"{before:.0f}", f"{after:.0f}", f"{after - before:.0f}"])
        except (models.PeerMissing, RuntimeError) as error:
            table.notes.append(str(error))
    return [table]


ABOUT = (
    "Largest resident memory of a process that takes three training steps ({size} parameters, {count} images of 16 × 16 "
    "a step), and how much of it came with network, optimiser and steps."
)

if __name__ == "__main__":
    print(*child(sys.argv[1], sys.argv[2], int(sys.argv[3])))
