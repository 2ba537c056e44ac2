# %% [markdown]
# # NN · Title of the chapter
#
# {{ colab }}
#
# One or two sentences: what this chapter is about, and why anyone would want to know.

# %% [markdown]
# | | |
# |---|---|
# | **You will** | derive …, write …, measure … |
# | **Time** | 45 minutes |
# | **You need** | chapter 00; the Gaussian distribution |
# | **Equations** | DDPM eq. (4) |

# %%
# {{ setup }}

import torch

from ddpm_lite import process, schedules, viz, widgets
from ddpm_lite.exercises import check

generator = torch.Generator().manual_seed(0)
schedule = schedules.linear(T=1000)

# %% [markdown]
# ## One idea
#
# Prose with one idea and its equation, then the code that runs it: fifteen lines at most, and a shape at the end.
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, I)$$

# %%
x0 = 2 * torch.rand(4, 1, 8, 8, generator=generator) - 1
eps = torch.randn(x0.shape, generator=generator)
t = torch.tensor([1, 250, 500, 1000])
xt = process.q_sample(x0, t, eps, schedule)
print("xt", tuple(xt.shape))

# %% [markdown]
# **What do you expect?** Which of the four images still shows what it was?
#
# <details><summary>Answer</summary>
#
# The first for certain, the last for certain not: $\sqrt{\bar\alpha_{1000}} = 0.006$ of it is left.
#
# </details>

# %%
viz.show(viz.grid(xt, ncol=4), alt="Four images with more and more noise.")

# %% [markdown]
# ## Exercise
#
# Write the signal-to-noise ratio $\bar\alpha_t / (1 - \bar\alpha_t)$.


# %%
def snr(t, schedule):
    """The signal-to-noise ratio at each t.

    t: int64 (B,), 1..T. Returns float64 (B,).
    """
    ### BEGIN SOLUTION
    alpha_bar = schedule.alpha_bar[t]
    return alpha_bar / (1 - alpha_bar)
    ### END SOLUTION


# %%
snr = check("NN.1", snr)
# hint("NN.1")

# %%
print("SNR falls with t:", bool((snr(t, schedule).diff() < 0).all()))

# %% [markdown]
# ## See it move
#
# One sentence on what to watch for.

# %%
times = [1, *range(50, 1001, 50)]
frames = torch.stack([process.q_sample(x0, torch.full((4,), k), eps, schedule) for k in times])
widgets.scrubber(frames, [f"t = {k}" for k in times], alt="Four images turn to noise as t grows.", ncol=4)

# %% [markdown]
# ## In short
#
# - The one thing to remember.
#
# {{ next }}

# %% [markdown]
# ## Open problem
#
# A question with no single answer, for an assignment.
#
# <!-- BEGIN SOLUTION -->
# What a good answer says.
# <!-- END SOLUTION -->
