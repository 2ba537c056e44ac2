# %% [markdown]
# # 04 · The ELBO, proved and measured
#
# {{ colab }}
#
# How good is a model $p_\theta$? Ask it how likely it finds real data: $-\log p_\theta(x_0)$, and the smaller the better. A diffusion model has no direct answer to that.
# But it has a bound, a number that on average is never too small. This chapter proves it line by line, for data where the true answer is known, so that we can measure how far off the number is, and why.
#
# | | |
# |---|---|
# | **You will** | measure Jensen's inequality · prove the bound $L$ and split it into $L_T$, $L_{t-1}$ and $L_0$ · write the KL of two Gaussians · find out when the two forms of the bound differ in spread, and which one wins · build a model for which the bound is exact, then spoil it with a slider |
# | **Time** | 60 minutes |
# | **You need** | chapters 01 and 03; expectations, Bayes' rule, logarithms |
# | **Equations** | the paper's (3) and (5); (18) to (21) and (26) of its appendix A |

# %%
# {{ setup }}
import math
from functools import lru_cache
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch

from ddpm_lite import exact, losses, process, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

generator = torch.Generator().manual_seed(4)  # all the noise of this chapter comes from here
schedule = schedules.linear(T=20, beta_1=0.01, beta_T=0.35)  # a short chain: every number can be looked at
T, alpha, beta, abar = schedule.T, schedule.alpha, schedule.beta, schedule.alpha_bar


def noise_like(x):
    """Gaussian noise in the shape and dtype of x."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def log_normal(x, mean, variance):
    """log N(x; mean, variance I), nats, summed over all the numbers of an example: (B, ...) -> (B,)."""
    variance = torch.as_tensor(variance, dtype=x.dtype)
    return (-0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance)).flatten(1).sum(dim=1)


# %% [markdown]
# ## A model whose likelihood we know
#
# Nobody knows the density of photographs. So we take the simplest data there is: one number, $x_0 \sim \mathcal N(m, s^2)$ with $m = 1$ and $s^2 = 0.25$, and a chain of $T = 20$ steps.
# Then every $x_t$ is Gaussian as well, by (4):
#
# $$q(x_t) = \mathcal N(m_t,\ v_t), \qquad m_t = \sqrt{\bar\alpha_t}\,m, \qquad v_t = \bar\alpha_t\,s^2 + 1 - \bar\alpha_t .$$
#
# And so is every step back. In chapter 03, $q(x_{t-1}\mid x_t, x_0)$ knew where the chain had begun. This is the step of someone who does not know: $q(x_{t-1}\mid x_t)$.
# Two numbers that are jointly Gaussian predict each other along a straight line, whose slope is their covariance over the variance of the known one.
# As $x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{\beta_t}\,\varepsilon$, their covariance is $\sqrt{\alpha_t}\,v_{t-1}$. So
#
# $$q(x_{t-1}\mid x_t) = \mathcal N\!\Big(m_{t-1} + \underbrace{\sqrt{\alpha_t}\,\frac{v_{t-1}}{v_t}}_{\text{gain}}\,(x_t - m_t),\ \ \beta_t\,\frac{v_{t-1}}{v_t}\Big).$$
#
# The variance is what the line leaves over: $v_{t-1} - \text{gain}\cdot\sqrt{\alpha_t}\,v_{t-1} = \frac{v_{t-1}}{v_t}\,(v_t - \alpha_t v_{t-1})$, and $v_t = \alpha_t v_{t-1} + \beta_t$.

# %%
m, s2 = 1.0, 0.25  # the data: x_0 ~ N(m, s2)
centre, v = abar.sqrt() * m, abar * s2 + 1 - abar  # (T+1,) each: mean and variance of x_t
one_more_step = alpha[1:] * v[:-1] + beta[1:]
left_over = v[:-1] - alpha[1:] * v[:-1].square() / v[1:]
print("v_t = alpha_t v_(t-1) + beta_t:", torch.allclose(v[1:], one_more_step, rtol=1e-12))
print("left over = beta_t v_(t-1)/v_t:", torch.allclose(left_over, beta[1:] * v[:-1] / v[1:], rtol=1e-10))
assert torch.allclose(v[1:], one_more_step, rtol=1e-12)
assert torch.allclose(left_over, beta[1:] * v[:-1] / v[1:], rtol=1e-10)

# %% [markdown]
# ### Exercise 04.1: exact_reverse
#
# Write the two formulas above. `process.at(table, t, xt)` of chapter 01 picks `table[t]` for each example, in a shape that fits.


# %%
def exact_reverse(xt, t, m, s2, schedule):
    """Mean (B, ...) and variance (B, 1, ..., 1) of q(x_{t-1} | x_t), for data x_0 ~ N(m, s2 I).

    xt: (B, ...), t: int64 (B,), 1..T. m and s2 are plain numbers.
    """
    ### BEGIN SOLUTION
    v, centre = schedule.alpha_bar * s2 + 1 - schedule.alpha_bar, schedule.alpha_bar.sqrt() * m  # (T+1,)
    ratio = process.at(v, t - 1, xt) / process.at(v, t, xt)
    gain = process.at(schedule.alpha.sqrt(), t, xt) * ratio
    mean = process.at(centre, t - 1, xt) + gain * (xt - process.at(centre, t, xt))
    return mean, process.at(schedule.beta, t, xt) * ratio
    ### END SOLUTION


# %%
exact_reverse = check("04.1", exact_reverse)
# hint("04.1")

# %% [markdown]
# Two checks. The paper says (section 3.2) that $\sigma_t^2 = \beta_t$ is the right variance if $x_0 \sim \mathcal N(0, I)$, and $\sigma_t^2 = \tilde\beta_t$ if all data are one point: the two ends of our formula.
# And an experiment: 50,000 pairs $(x_6, x_7)$, with a straight line laid through them.

# %%
steps = torch.arange(1, T + 1)
anywhere = torch.zeros(T, 1, dtype=torch.float64)
wide, point = (exact_reverse(anywhere, steps, 0.0, s, schedule)[1].flatten() for s in (1.0, 0.0))
print(
    "s2 = 1 gives beta:",
    torch.allclose(wide, beta[1:]),
    "| s2 = 0 gives beta_tilde:",
    torch.allclose(point, schedule.beta_tilde[1:]),
)
assert torch.allclose(wide, beta[1:]) and torch.allclose(point, schedule.beta_tilde[1:])

n, seven = 50_000, torch.full((50_000,), 7)
x6 = centre[6] + v[6].sqrt() * noise_like(torch.zeros(n, 1, dtype=torch.float64))
x7 = process.q_step(x6, seven, noise_like(x6), schedule)
mean, variance = exact_reverse(x7, seven, m, s2, schedule)
z = (x6 - mean) / variance.sqrt()  # what the line leaves over, in its own standard deviations
slope = (z * (x7 - centre[7])).mean() / v[7].sqrt()  # what of it still follows x_7
for name, value, expected, error in (
    ("mean", z.mean(), 0, 1),
    ("variance", z.var(), 1, math.sqrt(2)),
    ("slope", slope, 0, 1),
):
    inside = bool(abs(value - expected) < 4 * error / math.sqrt(n))
    print(f"left over: {name:8s} expected {expected}, within 4 standard errors: {inside}")
    assert inside

# %% [markdown]
# ## The number we want, and why it is out of reach
#
# A diffusion model starts at $p(x_T) = \mathcal N(0, I)$ and steps back, each time with $p_\theta(x_{t-1}\mid x_t) = \mathcal N(\mu_\theta(x_t, t),\ \sigma_t^2 I)$.
# It can land on the same $x_0$ along many paths, and its density there is the sum over all of them:
#
# $$p_\theta(x_0) = \int p(x_T)\prod_{t=1}^{T} p_\theta(x_{t-1}\mid x_t)\ \mathrm dx_{1:T} .$$
#
# For CIFAR-10 that is an integral over $1000 \times 3072$ numbers. No one can do it. In our small world we can, if the model's mean is a straight line too, $\mu_\theta(x_t, t) = a_t x_t + b_t$:
# then the model stays Gaussian from $x_T$ down to $x_0$, and its mean and variance move by
#
# $$M_{t-1} = a_t M_t + b_t, \qquad V_{t-1} = a_t^2\,V_t + \sigma_t^2 .$$
#
# We take two models. `right` makes the exact steps from above. `off` is more like a trained network: its $\hat\varepsilon$ is wrong by 0.3 everywhere, which by (11) moves $\mu_\theta$ by $-0.3\,\beta_t/\sqrt{\alpha_t(1-\bar\alpha_t)}$, and its variance is $\beta_t$.


# %%
class Model(NamedTuple):
    """p_theta(x_{t-1} | x_t) = N(a_t x_t + b_t, sigma2_t). Tables (T+1,), index 0 unused."""

    a: torch.Tensor
    b: torch.Tensor
    sigma2: torch.Tensor
    chain: schedules.Schedule


def make_model(chain, error=0.0, sigma2=None):
    """The exact reverse steps of a chain, but with `error` added to eps_hat, and with sigma2 in place of their variance."""
    t, zero = torch.arange(1, chain.T + 1), torch.zeros(chain.T, 1, dtype=torch.float64)
    b, variance = exact_reverse(zero, t, m, s2, chain)  # where the line is at x_t = 0 ...
    a = exact_reverse(zero + 1, t, m, s2, chain)[0] - b  # ... and its slope
    shift = error * chain.beta[1:] / (chain.alpha[1:] * (1 - chain.alpha_bar[1:])).sqrt()
    a, b, variance = (torch.cat([zero[0], x.flatten()]) for x in (a, b - shift[:, None], variance))
    return Model(a, b, variance if sigma2 is None else sigma2, chain)


def marginal(model, start=(0.0, 1.0)):
    """Mean and variance of the model's x_0, if its x_T has mean and variance `start`."""
    M, V = start
    for t in range(model.chain.T, 0, -1):
        M, V = model.a[t] * M + model.b[t], model.a[t] ** 2 * V + model.sigma2[t]
    return float(M), float(V)


right, off = make_model(schedule), make_model(schedule, error=0.3, sigma2=beta)
for name, model in {"right": right, "off": off}.items():
    print(f"{name:5s} p(x_0): mean {marginal(model)[0]:.4f}, variance {marginal(model)[1]:.4f}")
print(f"data  q(x_0): mean {m:.4f}, variance {s2:.4f}")

# %% [markdown]
# Is that recursion to be trusted? Run the model `off` backwards, 50,000 times, as chapter 09 will run a network, and look at what arrives.

# %%
x = noise_like(x6)  # x_T ~ N(0, 1), (50000, 1)
for t in range(T, 0, -1):
    x = off.a[t] * x + off.b[t] + off.sigma2[t].sqrt() * noise_like(x)
M, V = marginal(off)
inside = bool(abs(x.mean() - M) < 4 * math.sqrt(V / n)), bool(abs(x.var() - V) < 4 * V * math.sqrt(2 / n))
print("mean and variance of 50,000 samples within 4 standard errors of the recursion:", inside)
assert all(inside)

# %% [markdown]
# Now every $-\log p_\theta(x_0)$ is known exactly. We keep these numbers as the truth, and forget for a while that we have them.
#
# ## Jensen's inequality
#
# Average over paths, but which paths? Most paths of the model do not come near a given $x_0$. The forward process does better: it *starts* at $x_0$. So write the integral as an average over the paths of $q$,
#
# $$p_\theta(x_0) = \int q(x_{1:T}\mid x_0)\;w\;\mathrm dx_{1:T} = \mathbb E_q[w], \qquad w = \frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)} .$$
#
# We want the logarithm. And $-\log$ is convex: it lies below each of its chords. So the logarithm of a mean and the mean of logarithms are not the same, and we know which is larger:
#
# $$-\log \mathbb E[w] \;\le\; \mathbb E[-\log w] .$$
#
# Two numbers are enough to see it. Let $w$ be $0.4$ or $1.6$, with equal chances.

# %%
w = torch.tensor([0.4, 1.6], dtype=torch.float64)
log_of_mean, mean_of_log = -w.mean().log(), (-w.log()).mean()
print(f"-log of the mean: {abs(log_of_mean):.4f}   mean of the -log: {mean_of_log:.4f}")
assert log_of_mean < mean_of_log

fig, ax = viz.figure(4.8, 2.6)
ws = torch.linspace(0.2, 2, 200)
ax.plot(ws, -ws.log(), color=viz.COLORS["blue"], label=r"$-\log w$")
ax.plot(w, -w.log(), "--", color=viz.COLORS["black"], linewidth=1, label="a chord")
ax.plot([1, 1], [log_of_mean, mean_of_log], color=viz.COLORS["vermillion"], linewidth=3, label="the gap")
ax.plot(w, -w.log(), "o", color=viz.COLORS["black"], markersize=4)
ax.set(xlabel="w", xlim=(0.2, 2), ylim=(-0.8, 1.6), xticks=[0.4, 1, 1.6])
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="The falling, convex curve of -log w. The chord between w = 0.4 and w = 1.6 lies above it; halfway, at w = 1, by 0.22.",
)

# %% [markdown]
# ## The bound along one path
#
# Apply it to the $w$ of our chain, and take the mean over the data as well. This is the paper's bound. The second line writes $w$ as a product of steps, and a log turns it into a sum:
#
# $$
# \begin{aligned}
# \mathbb E\left[-\log p_\theta(x_0)\right] &\le \mathbb E_q\!\left[-\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right] \\
# &= \mathbb E_q\!\left[-\log p(x_T) - \sum_{t\ge 1}\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})}\right] =: L
# \end{aligned} \tag{3}
# $$
#
# Everything in the square bracket can be computed: it is a handful of Gaussian densities along a path that we draw ourselves. $-L$ is the *evidence lower bound*, the ELBO.
#
# ### Exercise 04.2: path_nats
#
# Write the square bracket. `log_normal(x, mean, variance)` from the setup cell gives one log density for each example.


# %%
def path_nats(path, mu_theta, sigma2, schedule):
    """-log p(x_T) - sum_t log p_theta(x_{t-1} | x_t) / q(x_t | x_{t-1}), for each path: nats, (B,). Eq. (3).

    path: (T+1, B, ...), path[t] is x_t. mu_theta: (T+1, B, ...), mu_theta[t] is the mean of p_theta(x_{t-1} | x_t).
    sigma2: (T+1,), its variance. Index 0 of both is unused. p(x_T) = N(0, I).
    """
    ### BEGIN SOLUTION
    nats = -log_normal(path[-1], 0, 1)
    for t in range(1, schedule.T + 1):
        forward = log_normal(path[t], schedule.alpha[t].sqrt() * path[t - 1], schedule.beta[t])
        nats = nats - log_normal(path[t - 1], mu_theta[t], sigma2[t]) + forward
    return nats
    ### END SOLUTION


# %%
path_nats = check("04.2", path_nats)
# hint("04.2")

# %% [markdown]
# Now measure. One $x_0 = 1.3$, 20,000 paths of $q$ that start there, and the model `off`.


# %%
def walk(x0):
    """A path of the forward process from each x_0: (T+1, B, 1)."""
    path = [x0]
    for t in range(1, T + 1):
        path.append(process.q_step(path[-1], torch.full((len(x0),), t), noise_like(x0), schedule))
    return torch.stack(path)


def means(model, path):
    """mu_theta[t] along paths: (T+1, B, 1)."""
    return model.a[:, None, None] * path + model.b[:, None, None]


n, here = 20_000, 1.3
path = walk(torch.full((n, 1), here, dtype=torch.float64))
nats = path_nats(path, means(off, path), off.sigma2, schedule)  # (n,): -log w
M, V = marginal(off)
truth = -float(log_normal(torch.tensor([[here]], dtype=torch.float64), M, V))
w = torch.exp(-nats)
inside = bool(abs(w.mean() - math.exp(-truth)) < 4 * w.std() / math.sqrt(n))
print(f"-log p(x_0), exact: {truth:.4f}   mean of w within 4 standard errors of p(x_0): {inside}")
print(f"-log of the mean of w: {-w.mean().log():.2f}   mean of -log w: {nats.mean():.2f}")
assert inside and -w.mean().log() < nats.mean()

# %%
fig, ax = viz.figure(6.4, 2.8)
ax.hist(nats.numpy(), bins=60, density=True, color=viz.COLORS["sky"], label="20,000 paths")
ax.axvline(truth, color=viz.COLORS["black"], linestyle="--", label=r"exact $-\log p_\theta(x_0)$")
ax.axvline(nats.mean(), color=viz.COLORS["vermillion"], label="mean of the paths: the bound")
ax.set(xlabel=r"$-\log w$, nats", ylabel="density", xlim=(-1, 3.2))
ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
viz.show(
    fig,
    alt="A histogram of -log w over 20,000 paths, one hill between -0.5 and 3. A dashed line marks the exact value at 1.21; the mean of the paths is a little to its right, at 1.35.",
)

# %% [markdown]
# **What do you expect?** The same picture for the model `right`, whose every step back is exact. How wide will the histogram be?
#
# <details><summary>Answer</summary>
#
# A quarter as wide, and even that is not the fault of the steps. Split $w$ the other way round, from $x_0$ on: $w = p_\theta(x_0)\cdot\dfrac{p_\theta(x_{1:T}\mid x_0)}{q(x_{1:T}\mid x_0)}$.
# If the model is the exact reverse of $q$, the fraction is 1 on *every* path, so every single path gives $-\log p_\theta(x_0)$. What little spread is left below comes from the start alone: the model starts at $\mathcal N(0, 1)$ and not at $q(x_T)$.
#
# </details>

# %%
exactly = path_nats(path, means(right, path), right.sigma2, schedule)
from_qT = (
    exactly + log_normal(path[T], 0, 1) - log_normal(path[T], centre[T], v[T])
)  # p(x_T) = q(x_T) instead
truth_right = -float(log_normal(torch.tensor([[here]], dtype=torch.float64), m, s2))
spread = (from_qT - truth_right).abs().max()
print(f"standard deviation over paths: off {nats.std():.2f}, right {exactly.std():.2f}")
print(
    f"right, from q(x_T): all 20,000 paths give -log q(x_0) = {truth_right:.4f}, to 1e-10: {bool(spread < 1e-10)}"
)
assert spread < 1e-10

# %% [markdown]
# This is the law of the gap. Take $-\log$ of that split and the mean over $q$:
#
# $$\mathbb E_q[-\log w] = -\log p_\theta(x_0) + \mathrm{KL}\big(q(x_{1:T}\mid x_0)\,\big\|\,p_\theta(x_{1:T}\mid x_0)\big) .$$
#
# The bound misses by exactly the distance between two distributions of paths: how $q$ gets from $x_0$ to noise, and how the model, had it ended at $x_0$, would have come from there. We will put a number on both sides below.
#
# ### The report's eq. 4, set right
#
# The university report that this course began from gives the bound, in its eq. 4, without the expectation $\mathbb E_q$ and without the minus sign. Neither is decoration.
# Without the expectation the right side is a number for *one* path, and that may lie on either side of the truth. Without the sign it bounds nothing from above, and whoever minimises it trains away from the data.

# %%
below = float((nats < truth).double().mean())
print(f"paths whose own -log w lies below -log p(x_0): {100 * below:.0f} in 100")
x0 = m + math.sqrt(s2) * noise_like(torch.zeros(n, 1, dtype=torch.float64))
data_path = walk(x0)  # paths from data, (T+1, n, 1)
for name, model in {"right": right, "off": off}.items():
    L = path_nats(data_path, means(model, data_path), model.sigma2, schedule).mean()
    exact_nll = -log_normal(x0, *marginal(model)).mean()
    print(f"{name:5s}   E[-log p(x_0)] {exact_nll:5.2f}   L {L:5.2f}   without the sign {-L:5.2f}")
    assert -L < exact_nll < L

# %% [markdown]
# In the last column the *worse* model has the smaller number. The form to remember is
#
# $$\mathbb E[-\log p_\theta(x_0)] \;\le\; \mathbb E_q\Big[-\log p(x_T) - \sum_{t\ge1}\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})}\Big] = L .$$
#
# ## Turning the chain round
#
# Every fraction in (3) compares a step back with a step forward. They are not alike: one says where we come from, the other where we go. Bayes' rule turns the forward step round. It is allowed to know $x_0$, as the forward step does not care ($q(x_t\mid x_{t-1}) = q(x_t\mid x_{t-1}, x_0)$):
#
# $$q(x_t\mid x_{t-1}) = q(x_{t-1}\mid x_t, x_0)\;\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}, \qquad t > 1 .$$
#
# For $t = 1$ it would say $q(x_0\mid x_1, x_0)$, which is no density, so that step stays as it is. Here are both sides, in logs, at each $t$ on 20,000 paths.

# %%
x0, beta_tilde = data_path[0], schedule.beta_tilde
of_x0, of_xt = process.posterior_coefficients(schedule)  # mu_tilde = of_x0 x_0 + of_xt x_t, chapter 03
step, back, jump, reverse = (torch.zeros(T + 1, n, dtype=torch.float64) for _ in range(4))
for t in range(1, T + 1):
    xt, xt_prev = data_path[t], data_path[t - 1]
    step[t] = log_normal(xt, alpha[t].sqrt() * xt_prev, beta[t])  # log q(x_t | x_{t-1})
    jump[t] = log_normal(xt, abar[t].sqrt() * x0, 1 - abar[t])  # log q(x_t | x_0)
    reverse[t] = log_normal(xt_prev, off.a[t] * xt + off.b[t], off.sigma2[t])  # log p_theta(x_{t-1} | x_t)
    if t > 1:
        back[t] = log_normal(
            xt_prev, of_x0[t] * x0 + of_xt[t] * xt, beta_tilde[t]
        )  # log q(x_{t-1} | x_t, x_0)

turned = back[2:] + jump[2:] - jump[1:-1]
print(f"{T - 1} steps, {n} paths: both sides equal to 1e-9: {bool((step[2:] - turned).abs().max() < 1e-9)}")
assert (step[2:] - turned).abs().max() < 1e-9

# %% [markdown]
# Put that into (3), and a long row of fractions appears, of which only the two ends survive. It *telescopes*:
#
# $$\prod_{t=2}^{T}\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)} = \frac{q(x_T\mid x_0)}{q(x_1\mid x_0)} .$$
#
# With it, the paper's appendix goes from (18) to (21). Each line is what stands inside $\mathbb E_q[\;\cdot\;]$:
#
# $$
# \begin{aligned}
# &-\log p(x_T) - \sum_{t\ge1}\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})} &\text{(18)}\\
# =\ &-\log p(x_T) - \sum_{t>1}\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})} - \log\frac{p_\theta(x_0\mid x_1)}{q(x_1\mid x_0)} &\text{(19)}\\
# =\ &-\log p(x_T) - \sum_{t>1}\log\left[\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t,x_0)}\cdot\frac{q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}\right] - \log\frac{p_\theta(x_0\mid x_1)}{q(x_1\mid x_0)} &\text{(20)}\\
# =\ &-\log\frac{p(x_T)}{q(x_T\mid x_0)} - \sum_{t>1}\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t,x_0)} - \log p_\theta(x_0\mid x_1) &\text{(21)}
# \end{aligned}
# $$
#
# (18) is the bracket of (3). In (19) the step $t = 1$ stands apart, in (20) all others are turned round, in (21) the row has telescoped, and $q(x_1\mid x_0)$ cancels.
# We run all four, on each path.

# %%
prior = log_normal(data_path[T], 0, 1)
line = {
    18: -prior - (reverse[1:] - step[1:]).sum(dim=0),
    19: -prior - (reverse[2:] - step[2:]).sum(dim=0) - (reverse[1] - step[1]),
    20: -prior - (reverse[2:] - back[2:] + jump[1:-1] - jump[2:]).sum(dim=0) - (reverse[1] - jump[1]),
    21: -(prior - jump[T]) - (reverse[2:] - back[2:]).sum(dim=0) - reverse[1],
}
telescoped = (jump[2:] - jump[1:-1]).sum(dim=0) - (jump[T] - jump[1])
print("the row telescopes on every path:", bool(telescoped.abs().max() < 1e-9))
assert telescoped.abs().max() < 1e-9
for number in (19, 20, 21):
    same = bool((line[number] - line[18]).abs().max() < 1e-8)
    print(f"({number}) equals (18) on every path: {same}")
    assert same

# %% [markdown]
# So far nothing was averaged: the four lines are equal path by path. The next step is the only one that needs $\mathbb E_q$.
# Each fraction in (21) compares two Gaussians for the *same* $x_{t-1}$. With $x_t$ and $x_0$ held fixed, the mean of $-\log\frac{p_\theta}{q}$ over $x_{t-1}\sim q$ is the definition of a *Kullback-Leibler divergence*, and between Gaussians it has a closed form.
#
# ## The distance between two Gaussians
#
# $$\mathrm{KL}(N_1\,\|\,N_2) = \mathbb E_{x\sim N_1}\left[\log N_1(x) - \log N_2(x)\right], \qquad N_i = \mathcal N(\mu_i, v_i) .$$
#
# **Line 1**, the logs written out; the $2\pi$ cancels:
# $\ \log N_1 - \log N_2 = \tfrac12\left[\log\frac{v_2}{v_1} + \frac{(x-\mu_2)^2}{v_2} - \frac{(x-\mu_1)^2}{v_1}\right].$
#
# **Line 2**, two means under $N_1$:
# $\ \mathbb E_1(x-\mu_1)^2 = v_1, \quad\text{and with } x-\mu_2 = (x-\mu_1) + (\mu_1-\mu_2): \quad \mathbb E_1(x-\mu_2)^2 = v_1 + (\mu_1-\mu_2)^2 .$
#
# **Line 3**, put together:
#
# $$\mathrm{KL}(N_1\,\|\,N_2) = \tfrac12\left[\log\frac{v_2}{v_1} + \frac{v_1 + (\mu_1-\mu_2)^2}{v_2} - 1\right] .$$

# %%
mu1, v1, mu2, v2 = 0.3, 0.5, -0.4, 1.2
x = torch.linspace(-12, 12, 4801, dtype=torch.float64)  # a fine grid: sums over it are integrals
dx = float(x[1] - x[0])
log1, log2 = log_normal(x[:, None], mu1, v1), log_normal(x[:, None], mu2, v2)
line_1 = 0.5 * (math.log(v2 / v1) + (x - mu2) ** 2 / v2 - (x - mu1) ** 2 / v1)


def E1(f):
    """The mean of f under N_1, on the grid."""
    return float((log1.exp() * f).sum() * dx)


print("line 1:", torch.allclose(log1 - log2, line_1, atol=1e-10))
print(
    "line 2:",
    math.isclose(E1((x - mu1) ** 2), v1, rel_tol=1e-9),
    math.isclose(E1((x - mu2) ** 2), v1 + (mu1 - mu2) ** 2, rel_tol=1e-9),
)
assert torch.allclose(log1 - log2, line_1, atol=1e-10)
assert math.isclose(E1((x - mu1) ** 2), v1, rel_tol=1e-9)
assert math.isclose(E1((x - mu2) ** 2), v1 + (mu1 - mu2) ** 2, rel_tol=1e-9)

# %% [markdown]
# ### Exercise 04.3: normal_kl
#
# Number by number; whoever has several independent numbers adds up their KLs.


# %%
def normal_kl(mean1, var1, mean2, var2):
    """KL(N(mean1, var1) || N(mean2, var2)) in nats, element by element. All four are tensors that broadcast."""
    ### BEGIN SOLUTION
    return 0.5 * (torch.log(var2 / var1) + (var1 + (mean1 - mean2) ** 2) / var2 - 1)
    ### END SOLUTION


# %%
normal_kl = check("04.3", normal_kl)
# hint("04.3")

# %% [markdown]
# Three ways to the same number: the closed form, a sum over the grid, and 100,000 random draws. And one more thing to see: which Gaussian comes first matters.

# %%
one, other = (
    [torch.tensor(p, dtype=torch.float64) for p in (mu1, v1)],
    [torch.tensor(p, dtype=torch.float64) for p in (mu2, v2)],
)
closed = float(normal_kl(*one, *other))
draws = mu1 + math.sqrt(v1) * noise_like(torch.zeros(100_000, 1, dtype=torch.float64))
ratio = log_normal(draws, mu1, v1) - log_normal(draws, mu2, v2)
inside = bool(abs(ratio.mean() - closed) < 4 * ratio.std() / math.sqrt(len(ratio)))
print(f"closed form {closed:.4f}   grid {E1(log1 - log2):.4f}   draws within 4 standard errors: {inside}")
print(
    f"the other way round: {float(normal_kl(*other, *one)):.4f}   of a Gaussian with itself: {float(normal_kl(*one, *one)):.4f}"
)
assert math.isclose(closed, E1(log1 - log2), rel_tol=1e-9) and inside

# %% [markdown]
# ## Three kinds of terms
#
# With that, (21) becomes the paper's central equation:
#
# $$L = \mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T\mid x_0)\,\|\,p(x_T)\big)}_{L_T} + \sum_{t>1}\underbrace{\mathrm{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\|\,p_\theta(x_{t-1}\mid x_t)\big)}_{L_{t-1}}\ \underbrace{-\log p_\theta(x_0\mid x_1)}_{L_0}\Big] \tag{5}$$
#
# - $L_T$: how far the end of the forward process is from pure noise. Nothing in it is learned.
# - $L_{t-1}$: how far one step of the model is from the posterior of chapter 03. Here the network learns.
# - $L_0$: the last step, which has no posterior to be compared with. Our $x_0$ is a continuous number, so $L_0$ is minus the log of a *density* and may well be negative. For images the paper replaces it by a discretised decoder, which gives a probability to each of 256 grey levels; chapters 05 and 10 come to that.
#
# ### Exercise 04.4: prior_term
#
# $q(x_T\mid x_0)$ is (4) at $t = T$, and $p(x_T) = \mathcal N(0, I)$. Use `normal_kl`, and add up the numbers of each example.


# %%
def prior_term(x0, schedule):
    """L_T = KL(q(x_T | x_0) || N(0, I)), nats: x0 (B, ...) -> (B,)."""
    ### BEGIN SOLUTION
    kept, one = schedule.alpha_bar[-1], torch.ones_like(x0)
    return normal_kl(kept.sqrt() * x0, (1 - kept) * one, 0 * one, one).flatten(1).sum(dim=1)
    ### END SOLUTION


# %%
prior_term = check("04.4", prior_term)
# hint("04.4")

# %% [markdown]
# ### Exercise 04.5: reverse_term
#
# $q(x_{t-1}\mid x_t, x_0) = \mathcal N(\tilde\mu_t,\ \tilde\beta_t I)$ comes from `process.q_posterior(x0, xt, t, schedule)`.


# %%
def reverse_term(x0, xt, t, mu_theta, sigma2, schedule):
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || N(mu_theta, sigma2_t I)) for t = 2..T, nats, (B,).

    x0, xt, mu_theta: (B, ...). t: int64 (B,). sigma2: float64 (T+1,), the table of sigma_t^2.
    """
    ### BEGIN SOLUTION
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
    kl = normal_kl(mu_tilde, beta_tilde, mu_theta, process.at(sigma2, t, xt))
    return kl.flatten(1).sum(dim=1)
    ### END SOLUTION


# %%
reverse_term = check("04.5", reverse_term)
# hint("04.5")

# %% [markdown]
# Now both forms of the bound on the same 20,000 paths, for the model `off`. And, because our world is so small, the expectation itself.
# $L_{t-1}$ needs only one unknown, $\mathbb E_q(\tilde\mu_t - \mu_\theta)^2$, and as $\tilde\mu_t - \mu_\theta$ is a straight line in $x_0$ and $x_t$, its mean and its variance are known. $L_0$ needs the same at $t = 1$, as $\tilde\mu_1 = x_0$.


# %%
def exact_terms(apart, sigma2, chain, mean_square):
    """E_q of L_0, L_1, ..., L_T, (T+1,), from apart[t] = E(mu_tilde - mu_theta)^2 and mean_square = E x_0^2."""
    kept, tilde = chain.alpha_bar[-1], chain.beta_tilde
    L_0 = 0.5 * (torch.log(2 * math.pi * sigma2[1:2]) + apart[1:2] / sigma2[1:2])
    between = losses.normal_kl(torch.zeros_like(tilde), tilde, apart.sqrt(), sigma2)[2:]
    L_T = 0.5 * (kept * mean_square - kept - torch.log1p(-kept))
    return torch.cat([L_0, between, L_T[None]])


def line_terms(model, mean=m, variance=s2):
    """`exact_terms` of a Model, for x_0 ~ N(mean, variance); variance 0 is one single x_0."""
    chain = model.chain
    of_x0, of_xt = process.posterior_coefficients(chain)
    c, kept = of_xt - model.a, chain.alpha_bar  # mu_tilde - mu_theta = of_x0 x_0 + c x_t - b
    offset = (of_x0 + c * kept.sqrt()) * mean - model.b
    spread = (of_x0 + c * kept.sqrt()) ** 2 * variance + c**2 * (1 - kept)
    return exact_terms(offset**2 + spread, model.sigma2, chain, mean**2 + variance)


form_3 = path_nats(data_path, means(off, data_path), off.sigma2, schedule)
terms_5 = torch.zeros(T + 1, n, dtype=torch.float64)
terms_5[0], terms_5[T] = -reverse[1], prior_term(x0, schedule)
for t in range(2, T + 1):
    terms_5[t - 1] = reverse_term(
        x0, data_path[t], torch.full((n,), t), means(off, data_path)[t], off.sigma2, schedule
    )
form_5, L = terms_5.sum(dim=0), float(line_terms(off).sum())

print(f"exact L {L:.4f}   (3) {form_3.mean():.2f}   (5) {form_5.mean():.2f}")
for name, values in {"(3)": form_3, "(5)": form_5}.items():
    inside = bool(abs(values.mean() - L) < 4 * values.std() / math.sqrt(n))
    print(f"{name} within 4 standard errors of the exact L: {inside}")
    assert inside

# %% [markdown]
# ## Which form to compute
#
# The two forms agree in expectation. The paper prefers (5), because a KL in closed form replaces "high variance Monte Carlo estimates". In what sense is that so?
#
# Take one term. In (21) it is $\log\frac{q(x_{t-1}\mid x_t,x_0)}{p_\theta(x_{t-1}\mid x_t)}$ at a random $x_{t-1}$; in (5) it is the mean of that over $x_{t-1}$. Replacing a random number by its mean, given the rest, can only take variance away.
# (This is the *Rao-Blackwell* idea: the law of total variance.)
#
# For the model `right` both variances are known. With $r_t = \tilde\beta_t/\sigma_t^2$, the KL has variance $\tfrac12(1-r_t)^2$ and the log ratio $1-r_t$: the ratio of the two is $2/(1-r_t)$, and it grows as $r_t$ nears 1. That is where $x_0$ tells a step back little that $x_t$ does not: late in this chain, or with very fine steps.


# %%
def both(model):
    """For t = 2..T on the paths of data: the log ratios of (21) and the KLs of (5), (T-1, n) each."""
    ratios, kls = [], []
    for t in range(2, T + 1):
        mu_theta = means(model, data_path)[t]
        ratios.append(back[t] - log_normal(data_path[t - 1], mu_theta, model.sigma2[t]))
        kls.append(reverse_term(x0, data_path[t], torch.full((n,), t), mu_theta, model.sigma2, schedule))
    return torch.stack(ratios), torch.stack(kls)


ratios, kls = both(right)
r = beta_tilde[2:] / right.sigma2[2:]
measured, theory = ratios.var(dim=1) / kls.var(dim=1), 2 / (1 - r)
close = bool(((measured / theory - 1).abs() < 0.2).all())
print(
    "variance of the log ratio over variance of the KL, t = 2, 10, 20, by the formula:",
    [round(float(theory[t - 2])) for t in (2, 10, 20)],
)
print("measured ratios within 20 % of the formula, at every t:", close)
assert close

# %%
fig, (left, middle) = viz.figure(8.4, 2.9, ncols=2)
ts = range(2, T + 1)
left.semilogy(
    ts,
    ratios.var(dim=1),
    "^-",
    color=viz.COLORS["vermillion"],
    markersize=4,
    label="log ratio at one $x_{t-1}$, (21)",
)
left.semilogy(
    ts, kls.var(dim=1), "o-", color=viz.COLORS["blue"], markersize=4, label="KL in closed form, (5)"
)
left.set(xlabel="t", title="variance of one term (exact model)", xticks=[2, 5, 10, 15, 20])
left.legend(frameon=False, fontsize=9)
middle.semilogy(ts, measured, "o", color=viz.COLORS["blue"], markersize=4, label="measured")
middle.semilogy(ts, theory, "--", color=viz.COLORS["black"], label=r"$2/(1-\tilde\beta_t/\sigma_t^2)$")
middle.set(xlabel="t", title="log ratio over KL", xticks=[2, 5, 10, 15, 20])
middle.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Left, on a logarithmic axis: the variance of the log ratio falls from about 0.7 at t = 2 to 0.002 at t = 20, that of the KL from about 0.25 to 0.000002. Right: their ratio rises from 3 to about 900, along the curve of the formula.",
)

# %% [markdown]
# **What do you expect** for the whole sum? Along one path, all terms of (3) added up, or all terms of (5): which has the smaller variance?


# %%
def variances(terms, rest):
    """Of three ways to estimate the sum of terms (T, n); `rest` (n,), the term of x_T, is in the first way only."""
    one_path = (terms.sum(dim=0) + rest).var()
    own_paths = terms.var(dim=1).sum()
    random_t = T * (terms**2).mean(dim=1).sum() - terms.mean(dim=1).sum() ** 2  # E(T term)^2 - (E T term)^2
    return [float(x) for x in (one_path, own_paths, random_t)]


print("variance of      all terms along one path    each from its own path    T times one at a random t")
for name, model in {"right": right, "off": off}.items():
    mu_theta, L_T = means(model, data_path), prior_term(x0, schedule)
    logs = torch.stack([log_normal(data_path[t - 1], mu_theta[t], model.sigma2[t]) for t in range(1, T + 1)])
    for form, (terms, rest) in {
        "(3)": (step[1:] - logs, -prior),
        "(5)": (torch.cat([-logs[:1], both(model)[1]]), L_T),
    }.items():
        print(f"{name:6s}{form:4s}" + "".join(f"{x:26.1f}" for x in variances(terms, rest)))
        share = float((terms[0] ** 2).mean() / (terms**2).mean(dim=1).sum())
        print(f"          of the mean squares of all terms, t = 1 has {100 * share:.0f} %")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Along one path, (3) has the *smaller* variance, for both models. We saw why: for a model that is nearly right, $-\log w$ hardly depends on the path, because the deviations of its terms cancel each other. The KLs of (5) do not cancel.
# Give each term a path of its own, and nothing cancels any more: (5) is ahead. So it is with one random $t$, though by less: there it also counts that the terms of (5) differ in size. $L_0$ alone has about half of their mean squares; in (3) no such term stands out.
# (The term of $x_T$ is in the first column only.)
#
# </details>
#
# So "lower variance" is true of each term by itself. It is not true of the sum along a whole path, if the model is good.
#
# Training does not need the value, though, but its *gradient*. Take the simplest one, with respect to the error of $\hat\varepsilon$, the number that is 0 for `right` and 0.3 for `off`. It moves $\mu_\theta$ at a rate of $-\beta_t/\sqrt{\alpha_t(1-\bar\alpha_t)}$, and the densities of $q$ in (3) do not depend on it at all.

# %%
rate = -(beta / (alpha * (1 - abar)).sqrt())[1:, None]  # d mu_theta / d error, for t = 1..T: (T, 1)
mu_tilde = of_x0[1:, None] * data_path[0, :, 0] + of_xt[1:, None] * data_path[1:, :, 0]  # (T, n)
print("variance of      all terms along one path    each from its own path    T times one at a random t")
for name, model in {"right": right, "off": off}.items():
    mu_theta = means(model, data_path)[1:, :, 0]
    slopes = {
        "(3)": (mu_theta - data_path[:-1, :, 0]) / model.sigma2[1:, None] * rate,
        "(5)": (mu_theta - mu_tilde) / model.sigma2[1:, None] * rate,
    }
    for form, terms in slopes.items():
        print(f"{name:6s}{form:4s}" + "".join(f"{x:26.0f}" for x in variances(terms, 0.0)))
    difference = (slopes["(3)"] - slopes["(5)"]).sum(dim=0)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(n)
    assert variances(slopes["(3)"], 0.0)[2] > 3 * variances(slopes["(5)"], 0.0)[2]

# %% [markdown]
# The two gradients have the same mean (the cell asserts it). With one random $t$ for each example, which is how a network is trained, that of (5) has about a quarter of the variance. To get as far with (3) would take a batch four times as large.
#
# ## Where the bound is tight
#
# Turn the chain round once more, but without $x_0$: $q(x_t\mid x_{t-1}) = q(x_{t-1}\mid x_t)\,q(x_t)/q(x_{t-1})$. It telescopes as before, down to $q(x_T)$ above and $q(x_0)$ below, and the paper's last line appears:
#
# $$L = \mathrm{KL}\big(q(x_T)\,\|\,p(x_T)\big) + \mathbb E_q\Big[\sum_{t\ge1}\mathrm{KL}\big(q(x_{t-1}\mid x_t)\,\|\,p_\theta(x_{t-1}\mid x_t)\big)\Big] + H(x_0) \tag{26}$$
#
# $H(x_0) = -\mathbb E\log q(x_0)$ is the *entropy* of the data: no model can do better on average. For images the KLs of (26) are out of reach, as nobody knows $q(x_{t-1}\mid x_t)$. For Gaussian data exercise 04.1 is just that, so here we can compute every term.


# %%
def excess(model, start=(0.0, 1.0)):
    """The KLs of (26) for a Model: at the start, and for t = 1..T, (T+1,) in all; index 0 is the start."""
    chain = model.chain
    best = make_model(chain)
    kept = chain.alpha_bar
    centre, v = kept.sqrt() * m, kept * s2 + 1 - kept
    offset = (best.a - model.a) * centre + best.b - model.b  # the mean of mu_exact - mu_theta over q(x_t)
    apart = offset**2 + (best.a - model.a) ** 2 * v
    kl = losses.normal_kl(torch.zeros_like(apart), best.sigma2, apart.sqrt(), model.sigma2)
    kl[0] = losses.normal_kl(centre[-1], v[-1], *(torch.tensor(p, dtype=torch.float64) for p in start))
    return kl


H = 0.5 * math.log(2 * math.pi * math.e * s2)
beta_only = make_model(schedule, sigma2=beta)
print(f"H(x_0) = {H:.4f}\n")
print("model                       L by (5)   L by (26)   equal")
for name, model in {"right": right, "right mean, variance beta": beta_only, "off": off}.items():
    by_5, by_26 = float(line_terms(model).sum()), float(excess(model).sum()) + H
    print(f"{name:26s} {by_5:9.4f}   {by_26:9.4f}   {math.isclose(by_5, by_26, rel_tol=1e-9)}")
    assert math.isclose(by_5, by_26, rel_tol=1e-9)

# %% [markdown]
# Two forms, worked out from different distributions, and the same $L$. For the model `right` all KLs of the sum vanish, and $L - H = \mathrm{KL}(q(x_T)\|\mathcal N(0, 1))$ is all that is left. Let the model start at $q(x_T)$ as well, and the bound is exact.
#
# Between $H$ and $L$ lies what we were after at first, $\mathbb E[-\log p_\theta(x_0)]$. It cuts $L - H$ in two:
#
# $$L - H(x_0) = \underbrace{\mathrm{KL}\big(q(x_0)\,\|\,p_\theta(x_0)\big)}_{\text{the model makes other data}} + \underbrace{\mathbb E\,\mathrm{KL}\big(q(x_{1:T}\mid x_0)\,\|\,p_\theta(x_{1:T}\mid x_0)\big)}_{\text{the gap of the bound}} .$$

# %%
at_qT = (float(centre[T]), float(v[T]))
print("model                         L - H   = other data +    gap")
for name, (model, start) in {
    "right, from q(x_T)": (right, at_qT),
    "right, from N(0, 1)": (right, (0.0, 1.0)),
    "right mean, variance beta": (beta_only, (0.0, 1.0)),
    "off": (off, (0.0, 1.0)),
}.items():
    M, V = marginal(model, start)
    nll = 0.5 * (math.log(2 * math.pi * V) + (s2 + (m - M) ** 2) / V)  # E[-log p_theta(x_0)], exact
    bound = float(excess(model, start).sum()) + H
    print(f"{name:26s} {abs(bound - H):8.4f}   {abs(nll - H):10.4f}   {abs(bound - nll):7.4f}")
    assert bound - nll > -1e-10 and nll - H > -1e-10

# %% [markdown]
# In the first row the bound is tight, to rounding. In the second, note where the $\mathrm{KL}(q(x_T)\|\mathcal N(0,1))$ goes: nearly all of it is gap, and hardly any of it is seen in the data. (Chapter 02 showed the other case: chains too short for their $\beta$, where this KL is large and the data do suffer.)
#
# Now the law of the gap, both sides. For one $x_0 = 1.3$, $q(x_{1:T}\mid x_0)$ and $p_\theta(x_{1:T}\mid x_0)$ are two Gaussians in 20 dimensions. We write down their means and covariances, and let torch compute the KL.


# %%
def path_gaussians(model, x0):
    """q(x_1..x_T | x_0) and p_theta(x_1..x_T | x_0) as two multivariate Gaussians."""
    normal = torch.distributions.MultivariateNormal
    earlier = torch.minimum(torch.arange(T + 1)[:, None], torch.arange(T + 1))  # the earlier of two steps
    cov_q = (abar[:, None] * abar).sqrt() * (1 / abar[earlier] - 1)  # Cov(x_s, x_t | x_0)
    q = normal((abar.sqrt() * x0)[1:], cov_q[1:, 1:])
    # the model: row t of A says how x_t is made of the T+1 noises of the way down
    A, mean = torch.eye(T + 1, dtype=torch.float64), torch.zeros(T + 1, dtype=torch.float64)
    for t in range(T, 0, -1):
        mean[t - 1] = model.a[t] * mean[t] + model.b[t]
        A[t - 1] = model.a[t] * A[t] + model.sigma2[t].sqrt() * A[t - 1]
    cov = A @ A.T
    gain = cov[1:, 0] / cov[0, 0]  # what x_0 says about x_1..x_T
    return q, normal(mean[1:] + gain * (x0 - mean[0]), cov[1:, 1:] - gain[:, None] * cov[0, 1:])


for name, model in {"right": right, "off": off}.items():
    gap = float(line_terms(model, mean=here, variance=0.0).sum()) + float(
        log_normal(torch.tensor([[here]], dtype=torch.float64), *marginal(model))
    )
    kl = float(torch.distributions.kl_divergence(*path_gaussians(model, here)))
    print(
        f"{name:5s}   L(x_0) + log p(x_0) = {gap:.4f}   KL of the paths = {kl:.4f}   equal: {math.isclose(gap, kl, rel_tol=1e-6)}"
    )
    assert math.isclose(gap, kl, rel_tol=1e-6)

# %% [markdown]
# ## A wrong network under your hand
#
# Three sliders: an error of $\hat\varepsilon$, the same at every step; a factor on the variance of each step; and $T$, with the paper's schedule cut into $T$ pieces.
# Left: each $L_{t-1}$. The blue part is there even for the exact step, because $q(x_{t-1}\mid x_t, x_0)$ knows more than any model can; the rest is the model's fault. Right: $H$, $\mathbb E[-\log p_\theta(x_0)]$ and $L$.
#
# (What is larger than an axis is cut off; the numbers on the right still hold.)
#
# Which slider spoils the model's data, the middle bar, and which one hardly anything but the bound? And what do more steps do to either?

# %% tags=["nbval-ignore-output"]
paper = schedules.linear(T=1000)
picture, (left, middle) = viz.figure(7.2, 2.6, ncols=2, width_ratios=[1.3, 1])
one_bin = ([0.0], [0.5, 1.5])
added = left.stairs(*one_bin, fill=True, color=viz.COLORS["orange"], label="added by the error")
shared = left.stairs(*one_bin, fill=True, color=viz.COLORS["blue"], label="exact step")
left.set(xlabel="t", title="Lₜ₋₁ for t = 2 … T, nats", ylim=(0, 0.8), yticks=[0, 0.4, 0.8])
left.legend(frameon=False, fontsize=9, loc="upper right")
names = ["H(x₀)", "E[−log p]", "L"]  # plain letters are drawn faster than formulas
bars = middle.barh(
    names, [0, 0, 0], color=[viz.COLORS[c] for c in ("black", "sky", "vermillion")], height=0.6
)
texts = [middle.text(0, i, "", va="center", fontsize=9) for i in range(3)]
middle.set(xlim=(0, 4), xlabel="nats")
middle.invert_yaxis()


@lru_cache(maxsize=256)
def levels(error, factor, T):
    """The terms of the spoilt and of the exact model; H, E[-log p], L; mean and variance of p(x_0)."""
    chain = schedules.respace(paper, T)[0]
    best = make_model(chain)
    model = make_model(chain, error, factor * best.sigma2)
    M, V = marginal(model)
    nll = 0.5 * (math.log(2 * math.pi * V) + (s2 + (m - M) ** 2) / V)
    spoilt = line_terms(model)
    return spoilt, line_terms(best), (H, nll, float(spoilt.sum())), (M, V)


def draw(error, factor, T):
    """The bars of both sides, moved; the figure is the same each time."""
    spoilt, best, three, _ = levels(error, factor, T)
    edges = np.arange(1.5, T + 1)
    added.set_data(spoilt[1:T].numpy(), edges)
    shared.set_data(best[1:T].numpy(), edges)
    left.set(xlim=(1, T + 1), xticks=[2, (T + 2) // 2, T])
    for bar, text, value in zip(bars, texts, three, strict=True):
        bar.set_width(value)
        text.set(x=min(value, 3.2) + 0.08, text=f"{value:.3f}", color="white" if value > 3.2 else "black")
    return picture


size = {"width": "480px"}
widgets.live(
    draw,
    error=ipywidgets.FloatSlider(0.0, min=-0.5, max=0.5, step=0.05, description="error of ε̂", layout=size),
    factor=ipywidgets.FloatLogSlider(
        1.5, base=2, min=-1.5, max=1.5, step=0.05, description="variance ×", layout=size
    ),
    T=ipywidgets.IntSlider(20, 6, 60, description="T", layout=size),
    alt=lambda error, factor, T: (
        f"Error {error:.2f}, variance times {factor:.2f}, T = {T}: the terms of the bound as bars over t, and H, "
        "E[-log p], L = " + ", ".join(f"{x:.2f}" for x in levels(error, factor, T)[2])
    ),
)

# %% [markdown]
# A few settings, to compare with what you found:

# %%
print("error   variance x    T    mean and variance of p(x_0)    other data      gap")
for error, factor, count in [
    (0.0, 1.5, 10),
    (0.0, 1.5, 20),
    (0.0, 1.5, 60),
    (0.5, 1.0, 10),
    (0.5, 1.0, 20),
    (0.5, 1.0, 60),
]:
    _, _, (floor, nll, bound), (M, V) = levels(error, factor, count)
    print(
        f"{error:5.1f}   {factor:10.1f}   {count:2d}   {M:13.4f}  {V:12.4f}   {nll - floor:11.4f}   {bound - nll:6.4f}"
    )

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# With a wrong variance the samples spread too widely by the same factor, 0.375 for 0.25, whatever $T$ is. That costs the data 0.036 nats. But *each step* adds 0.036 to $L - H$ (add up a row, and divide by $T$), so the gap grows with $T$.
# The model with $T = 60$ makes the same data as the one with $T = 10$, and its bound is about 1.8 nats worse. A bad ELBO need not mean bad samples.
#
# A wrong $\hat\varepsilon$ spoils the data itself, and more steps do not cure it. Compare the rows for $T = 20$ and $T = 60$: the data are no better, only the gap is smaller.
#
# </details>
#
# ## More steps, better steps
#
# Gaussian data are a lucky case: their exact reverse step is Gaussian. Here are data for which it is not, two bumps. $q(x_{t-1}\mid x_t)$ then has two bumps as well when the step is large. A model with Gaussian steps cannot follow, not even the best one.
#
# The best one has the mean $\tilde\mu_t(\hat x_0, x_t)$ with $\hat x_0 = \mathbb E[x_0\mid x_t]$, which `ddpm_lite.exact` knows. How far that stays from $\tilde\mu_t(x_0, x_t)$ depends on what $x_t$ leaves open about $x_0$. For that there is a formula (Tweedie's),
# $\mathrm{Var}(x_0\mid x_t) = \frac{1-\bar\alpha_t}{\sqrt{\bar\alpha_t}}\,\frac{\partial \hat x_0}{\partial x_t}$; the cell checks its mean against $\mathbb E\,x_0^2 - \mathbb E\,\hat x_0^2$.
# And among all variances $\sigma_t^2$, the bound is smallest for $\sigma_t^2 = \tilde\beta_t + \mathbb E(\tilde\mu_t-\mu_\theta)^2$, as chapter 03 found.
#
# Chapter 03 looked at single steps. Now we have the whole: the model's own density $p_\theta(x_0)$, by adding up over all paths on a grid, and the bound on it.
#
# **What do you expect?** With $T = 1$ there is one step from noise to data. What density will that model have? And what happens to $L - H$ if $T$ is doubled?

# %%
bumps = exact.Mixture(
    means=torch.tensor([[-0.8], [0.6]], dtype=torch.float64),
    variances=torch.tensor([0.15, 0.25], dtype=torch.float64) ** 2,
    weights=torch.tensor([0.4, 0.6], dtype=torch.float64),
)
x = torch.linspace(-4.5, 4.5, 601, dtype=torch.float64)[:, None]  # a grid, (601, 1)
dx = float(x[1] - x[0])
q0 = bumps.log_prob(x).exp()
H_bumps = -float((q0 * bumps.log_prob(x)).sum() * dx)
mean_square = float((bumps.weights * (bumps.means.flatten() ** 2 + bumps.variances)).sum())


def best_step(chain, t):
    """The best Gaussian step, on the grid: mu_theta (601, 1), E(mu_tilde - mu_theta)^2 at each x_t (601,), q(x_t) (601,)."""
    ts, at_x = torch.full((len(x),), t), x.clone().requires_grad_()
    x0_hat = bumps.x0_mean(at_x, ts, chain)
    (slope,) = torch.autograd.grad(x0_hat.sum(), at_x)
    kept, of_x0 = chain.alpha_bar[t], process.posterior_coefficients(chain)[0][t]
    unknown = ((1 - kept) / kept.sqrt() * slope).flatten()  # Var(x_0 | x_t), by Tweedie's formula
    mu_theta, _ = process.q_posterior(x0_hat.detach(), x, ts, chain)
    return mu_theta, of_x0**2 * unknown, bumps.noised(t, chain).log_prob(x).exp()


def run(count):
    """The best model with `count` steps: its schedule, E(mu_tilde - mu_theta)^2 (T+1,), p(x_0) on the grid, and
    by how much L falls if each x_t may have its own variance."""
    chain, _ = schedules.respace(paper, count)
    apart, p, saved = torch.zeros(count + 1, dtype=torch.float64), log_normal(x, 0, 1).exp(), 0.0
    for t in range(count, 0, -1):
        mu_theta, spread, q_xt = best_step(chain, t)
        apart[t] = (q_xt * spread).sum() * dx
        sigma2 = chain.beta_tilde[t] + apart[t]
        saved += 0.5 * float((q_xt * torch.log(sigma2 / (chain.beta_tilde[t] + spread))).sum() * dx)
        kernel = torch.exp(-0.5 * (x - mu_theta.T) ** 2 / sigma2) / (2 * math.pi * sigma2).sqrt()
        p = kernel @ p * dx  # p(x_{t-1}) = integral over x_t of p(x_{t-1} | x_t) p(x_t)
    return chain, apart, p, saved


lengths = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
runs = {count: run(count) for count in lengths}
short, t = runs[8][0], 4
x0_hat, q_x4 = bumps.x0_mean(x, torch.full((len(x),), t), short).flatten(), best_step(short, t)[2]
open_by_tweedie = runs[8][1][t] / process.posterior_coefficients(short)[0][t] ** 2
pythagoras = mean_square - float((q_x4 * x0_hat**2).sum() * dx)
print("E Var(x_0 | x_t) both ways, T = 8, t = 4:", math.isclose(open_by_tweedie, pythagoras, rel_tol=1e-4))
assert math.isclose(open_by_tweedie, pythagoras, rel_tol=1e-4)
areas = [float(p.sum() * dx) for _, _, p, _ in runs.values()]
print("the area under each p(x_0) is 1:", all(abs(area - 1) < 1e-3 for area in areas))
assert all(abs(area - 1) < 1e-3 for area in areas)

# %% [markdown]
# Move through the number of steps, and watch the density that the model makes find its two bumps.

# %%
fig, ax = viz.figure(4.8, 2.7)
grid = x.flatten()
ax.fill_between(grid, q0, color=viz.COLORS["sky"], alpha=0.6, label=r"data, $q(x_0)$")
(curve,) = ax.plot(grid, q0, color=viz.COLORS["vermillion"], linewidth=2, label=r"model, $p_\theta(x_0)$")
ax.set(xlim=(-2, 2), ylim=(0, 1.4), xlabel=r"$x_0$", ylabel="density")
ax.legend(frameon=False, fontsize=9, loc="upper center", ncols=2)
frames = []
for _, _, p, _ in runs.values():
    curve.set_ydata(p)
    frames.append(torch.from_numpy(viz.render(fig, dpi=viz.DPI)).permute(2, 0, 1))  # (3, H, W)
widgets.scrubber(
    torch.stack(frames),
    [f"T = {count}" for count in lengths],
    scale=1,
    fps=2,
    quality=80,
    alt="The data's density, two bumps at -0.8 and 0.6, and the model's. With T = 1 the model is one wide bump; from T = 8 on it has two, and at T = 64 it lies nearly on the data.",
)


# %%
def above_H(apart, sigma2, chain):
    """L - H of a model that stands `apart` from mu_tilde, with the variances sigma2."""
    return float(exact_terms(apart, sigma2, chain, mean_square).sum()) - H_bumps


rows = {}
for count, (chain, apart, p, saved) in runs.items():
    of_x0, kept, best = process.posterior_coefficients(chain)[0], chain.alpha_bar, chain.beta_tilde + apart
    shift = 0.1 * of_x0 * ((1 - kept) / kept).sqrt()  # of mu_theta, if eps_hat is off by 0.1
    rows[count] = {
        "beta": above_H(apart, chain.beta, chain),
        "beta_tilde": above_H(apart, losses.posterior_variance(chain), chain),
        "best": above_H(apart, best, chain),
        "own": above_H(apart, best, chain) - saved,
        "wrong": above_H(apart + shift**2, best, chain),
        "other data": -float((q0 * p.log()).sum() * dx) - H_bumps,
    }
print(" T    L - H = other data +   gap      own variances: L - H    eps_hat off by 0.1: L - H")
for count in (1, 4, 8, 16, 32, 64):
    r = rows[count]
    gap = abs(r["best"] - r["other data"])
    print(
        f"{count:2d}   {r['best']:.4f}      {r['other data']:.4f}   {gap:.4f}   {r['own']:20.4f}   {r['wrong']:24.2f}"
    )
    assert r["best"] - r["other data"] > -1e-4 and r["best"] < r["beta"]
for count in (16, 32, 64):  # what beta_tilde costs over the best variance, and where
    chain, apart = runs[count][:2]
    tables = losses.posterior_variance(chain), chain.beta_tilde + apart
    costs = exact_terms(apart, tables[0], chain, mean_square) - exact_terms(
        apart, tables[1], chain, mean_square
    )
    first = float(costs[:4].sum() / costs.sum())
    print(
        f"T = {count}: beta_tilde costs {costs.sum():.2f} nats more, {100 * first:.0f} % of them at t = 1 to 4"
    )
    assert first > 0.8

# %%
fig, ax = viz.figure(7.6, 3.3)
for name, style, label in (
    ("wrong", "v-.", r"best $\sigma_t^2$, but $\hat\varepsilon$ off by 0.1"),
    ("beta_tilde", "s:", r"$\sigma_t^2 = \tilde\beta_t$"),
    ("beta", "^--", r"$\sigma_t^2 = \beta_t$"),
    ("best", "o-", r"best $\sigma_t^2$"),
    ("other data", "D-", r"its part KL$(q(x_0)\,\|\,p_\theta(x_0))$"),
    ("own", "x--", r"best variance for each $x_t$"),
):
    ax.loglog(lengths, [rows[count][name] for count in lengths], style, markersize=4, label=label)
powers = [1, 2, 4, 8, 16, 32, 64]
ax.set(xlabel="T", ylabel=r"$L - H(x_0)$, nats", ylim=(0.004, 2), xticks=powers, xticklabels=powers)
ax.minorticks_off()
ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
viz.show(
    fig,
    alt="L - H over T, both axes logarithmic. For the best variance of each t it falls from 0.59 at T = 1 to 0.06 at T = 64, for variance beta from 0.68 to 0.10. For beta_tilde it stays between 0.57 and 0.76. With eps_hat off by 0.1 it is above 2 for small T and 0.14 at T = 64. The KL of the data and the bound with a variance for each x_t are the lowest lines and the steepest: 0.005 and 0.011 at T = 64.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With $T = 1$ the model is one Gaussian: noise says nothing about $x_0$, so the best step goes to the mean of all data and spreads out by their variance. All of $L - H$ is then in the data. The paths are trivially right.
# Once the steps are short enough for the bumps to part, $L - H$ falls, and soon about in proportion to $1/T$: twice the steps, half the loss. The data themselves come right faster: from $T = 32$ to $64$ their part falls to about a quarter.
# A short enough step back *is* nearly Gaussian, and this is one reason why diffusion models take many.
#
# </details>
#
# Chapter 03 found that twice the steps bring the error down to a quarter, and here $L - H$ only halves. The difference: there each $x_t$ had a Gaussian with a variance of its own, while the paper's $\sigma_t^2$ is one number for each $t$. With a variance for each $x_t$ (the crosses) the bound falls much faster here, too. This is what a variance that depends on $x_t$ could gain, and one reason to learn it.
#
# Two lines do not fall with the others. With $\sigma_t^2 = \tilde\beta_t$ the bound stays up at every $T$ that we tried, mostly because of the steps $t = 1$ to $4$, where $\tilde\beta_t$ and $\beta_t$ differ most: the lines below the table give their share. ($\tilde\beta_1 = 0$ is replaced by $\tilde\beta_2$ as in the published code.)
# And with a wrong $\hat\varepsilon$ more steps help only until the network's own error is what is left.
#
# ## Recap
#
# | | |
# |---|---|
# | Jensen | $-\log\mathbb E[w] \le \mathbb E[-\log w]$: it makes the integral over all paths into a bound that one path can estimate |
# | the bound | (3): sign and expectation belong to it; on a single path it can lie on either side |
# | the algebra | (18) to (21): Bayes turns each step round, the row telescopes; true path by path |
# | its terms | (5): $L_T$, fixed · $L_{t-1}$, KLs of two Gaussians · $L_0$, the last step |
# | its spread | each term of (5) varies less than that of (21), by $2/(1-\tilde\beta_t/\sigma_t^2)$ for the exact model; summed along a whole path it was the other way round; in the gradient at a random $t$, the one that trains a network, (5) wins |
# | its gap | the KL of two distributions of paths; zero if every step back is exact and the start is $q(x_T)$ |
# | $T$ | for data that are not Gaussian, short steps are what makes Gaussian steps good enough |
#
# Before you go: without looking, write down (5), and say which of its terms no network can change.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# The bound takes one path, and the log of its $w$. Why not several? With $K$ independent paths from the same $x_0$, let
#
# $$L_K = \mathbb E\Big[-\log\frac1K\sum_{k=1}^K w_k\Big] .$$
#
# 1. Show that $-\log p_\theta(x_0) \le L_K \le L_1$, and that $L_1$ is the bound of this chapter at one $x_0$.
# 2. Measure $L_K$ for $K = 1, 4, 16, 64$, for the model `off` at $x_0 = 1.3$. The 20,000 numbers `nats` are all you need.
# 3. How does the gap fall with $K$? Expand $\log$ around the mean of $w$ to second order, and compare with what you measured.
# 4. This bound is tighter, and it is known (as the importance-weighted bound). Name two reasons why diffusion models are not trained on it.
#
# <!-- BEGIN SOLUTION -->
# 1. $\frac1K\sum_k w_k$ has mean $p_\theta(x_0)$, so Jensen gives the left side. For the right side use Jensen within the sum: $-\log\frac1K\sum_k w_k \le \frac1K\sum_k -\log w_k$, and take the mean. With $K = 1$ it is $\mathbb E_q[-\log w]$.
# 2. The next cell cuts the paths into groups of $K$. The gap is 0.14 for $K = 1$, 0.04 for $K = 4$, and for $K = 64$ it is lost in the noise of 20,000 paths.
# 3. With $\bar w$ the mean over $K$ and $p = p_\theta(x_0)$: $-\log\bar w \approx -\log p - (\bar w - p)/p + (\bar w - p)^2/(2p^2)$. The middle term has mean 0, so the gap is about $\mathrm{Var}(w)/(2 K p^2)$. For $K = 1$ the expansion is rough (0.18 for 0.14), from $K = 4$ on it is close.
# 4. Each of the $K$ paths costs $T$ calls of the network, where (5) makes do with one call at one random $t$: inside a log the sum over $t$ can no longer be split into terms that are trained one at a time. And for images $w$ is a product over thousands of numbers and a thousand steps: its logarithm varies by so much that one of the $K$ paths outweighs all others, and averaging helps little.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
ws = torch.exp(-nats)
relative = float(ws.var() / ws.mean() ** 2)
for K in (1, 4, 16, 64):
    groups = -nats[: n // K * K].reshape(-1, K)
    L_K = -(groups.logsumexp(dim=1) - math.log(K)).mean()
    print(f"K = {K:2d}   L_K - (-log p) = {abs(L_K - truth):.2f}   second order: {relative / (2 * K):.2f}")
