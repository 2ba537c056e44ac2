"""What every test may use."""

import os
from collections.abc import Callable

import matplotlib
import pytest
import torch

# Figures go to memory. Set here and not in the environment, where it would reach the kernels of the notebook
# tests, which are to draw as a learner's kernel does.
matplotlib.use("Agg")

# The tensors in tests are small: a second thread costs more than it brings, and disturbs what runs beside it.
torch.set_num_threads(1)
if "PYTEST_XDIST_WORKER" in os.environ:  # two kernels side by side: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What tests and the kernels that they start solve is no learner's progress.
os.environ["DDPM_LITE_PROGRESS"] = "off"


@pytest.fixture
def gen() -> Callable[..., torch.Generator]:
    """A maker of seeded random generators: `gen()`, `gen(7)`. No test draws from the global one."""

    def make(seed: int = 0, device: str = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(seed)

    return make
