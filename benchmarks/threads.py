"""How many threads, and how they wait: training steps in processes that differ in nothing else.

The surroundings of a process decide both before it starts. So there is one process for each choice (python -m
benchmarks.threads SIZE BATCH), which takes a step whenever it is told to, and the choices take turns as all tasks do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import report, training
from .measure import interleave

LESSON = "one thread, as in a lesson"
CHOICES = {
    LESSON: {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    "two threads, PyTorch's own waiting": {"OMP_NUM_THREADS": "2"},
    "two threads that sleep when idle": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}
BUSY = "while True: pass"


def surroundings(choice: str) -> dict[str, str]:
    """This process's environment with the threads of the choice, and nobody else's wishes about threads."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return clean | CHOICES[choice]


class Worker:
    """A process that takes one training step at each call. Raises RuntimeError if it ends before its time."""

    def __init__(self, choice: str, size: str, count: int):
        command = [sys.executable, "-m", "benchmarks.threads", size, str(count)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=surroundings(choice),
        )
        self.spent = 0.0  # processor seconds of all its steps so far

    def __call__(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended: the empty answer tells
            print("step", file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that takes the steps ended with {self.process.wait()}.")
        self.spent += float(answer)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def workers(size: str, count: int) -> Iterator[dict[str, Worker]]:
    """A worker for each choice; ended when the block is left."""
    found: dict[str, Worker] = {}
    try:
        for choice in CHOICES:
            found[choice] = Worker(choice, size, count)
        yield found
    finally:
        for worker in found.values():
            worker.close()


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """A program that keeps one core busy, if wanted."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def child(size: str, count: int) -> None:
    """In the child: a training step for each line that is read, answered by the processor seconds it took."""
    step = training.our_step(size, count)
    for _ in sys.stdin:
        start = time.process_time()
        step()
        print(time.process_time() - start, flush=True)


def run(options) -> list[report.Table]:
    """Training steps of every size under every choice, on the machine as it is and beside a busy neighbour."""
    columns = ("size", "beside it", "threads", *report.TIMING_COLUMNS)
    table = report.Table("Threads", ABOUT.format(count=options.batch), columns)
    for size in options.sizes:
        for busy in (False, True):
            with workers(size, options.batch) as found, neighbour(busy):
                clocks = time.perf_counter, lambda found=found: sum(worker.spent for worker in found.values())
                timings = interleave(found, options.rounds, options.seconds, clocks=clocks)
            for choice, timing in timings.items():
                beside = "a busy program" if busy else "nothing"
                table.rows.append([size, beside, choice, *report.timing_cells(timing, timings[LESSON])])
    return [table]


ABOUT = (
    "One step of training on {count} images of 16 × 16, in processes that differ in the number of threads and in what "
    "an idle thread does: PyTorch's own waits actively for a while, one that sleeps has to be woken. `course.py` starts "
    "JupyterLab with one thread that nobody has to wake."
)

if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
