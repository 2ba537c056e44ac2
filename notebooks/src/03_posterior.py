# %% [markdown]
# # 03 · The posterior and the reverse process
#
# {{ colab }}
#
# Chapter 01 took an image apart in a thousand small steps. Here we go back, one step at a time, and find out exactly what such a step has to be.
# Nothing is trained yet: where a network will stand later, we put the right answer, computed. At the end the chain runs backwards all the same, and draws digits, with a surprise.
#
# | | |
# |---|---|
# | **You will** | derive $q(x_{t-1}\mid x_t, x_0)$ and check it against Bayes' rule on a grid · write its mean in two forms, and find a slip in a printed formula · see why a step back is nearly Gaussian only if it is small · prove which $\sigma_t^2$ is right for which data · generate without training, and see what memorising is |
# | **Time** | 60 minutes |
# | **You need** | chapter 01; Bayes' rule; that a Gaussian's logarithm is a parabola |
# | **Equations** | the paper's (1), (6), (7) and (11), and its algorithm 2 |

# %%
# {{ setup }}
import math

import ipywidgets
import sympy as sp
import torch

from ddpm_lite import data, exact, process, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

generator = torch.Generator().manual_seed(3)  # all the noise of this chapter comes from here
schedule = schedules.linear(T=1000)
alpha, beta, abar = schedule.alpha, schedule.beta, schedule.alpha_bar


def noise_like(x):
    """Gaussian noise in the shape and dtype of x."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def pixel(value):
    """A batch of one image of one pixel, (1, 1)."""
    return torch.tensor([[float(value)]], dtype=torch.float64)


def normal(x, mean, variance):
    """The density of N(mean, variance) at x; everything broadcasts."""
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / (2 * math.pi * variance) ** 0.5


# %% [markdown]
# ## Bayes' rule, with x_0 given
#
# We know how to go forward, from $x_{t-1}$ to $x_t$. Bayes' rule turns a question round. It asks in return what was likely *before* we saw $x_t$.
# That depends on all the data there is, and we do not have a formula for all the photographs of the world. But suppose we know which image $x_0$ the walk began with. Then everything is Gaussian:
#
# $$q(x_{t-1}\mid x_t, x_0) \;=\; \frac{q(x_t\mid x_{t-1})\;q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)} .$$
#
# On the right stand one step, (2), and two jumps, (4). (The step is written without $x_0$: whoever knows $x_{t-1}$ learns nothing more about $x_t$ from $x_0$.)
# While we train, $x_0$ *is* known: it comes from the training set. So this posterior is the answer that a network will be taught to give without being told $x_0$.
#
# First with no algebra at all. One pixel, 24,001 possible values of $x_{t-1}$ side by side, and Bayes' rule literally: multiply, then divide by the sum.

# %%
grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)
width = float(grid[1] - grid[0])


def bayes(x0, xt, t):
    """The density q(x_{t-1} | x_t, x_0) on the grid, by brute force."""
    likelihood = normal(xt, alpha[t].sqrt() * grid, beta[t])  # q(x_t | x_{t-1}) for every x_{t-1}
    prior = normal(grid, abar[t - 1].sqrt() * x0, 1 - abar[t - 1])  # q(x_{t-1} | x_0)
    return likelihood * prior / (likelihood * prior).sum() / width


def moments(density):
    """Mean and variance of a density on the grid."""
    mean = (density * grid).sum() * width
    return mean, (density * (grid - mean) ** 2).sum() * width


t, x0, xt = 10, 0.8, 0.86
mean, variance = moments(bayes(x0, xt, t))
print(
    f"what x_0 says:  x_(t-1) is about {abar[t - 1].sqrt() * x0:.4f}, give or take {(1 - abar[t - 1]).sqrt():.4f}"
)
print(
    f"what x_t says:  x_(t-1) is about {xt / alpha[t].sqrt():.4f}, give or take {(beta[t] / alpha[t]).sqrt():.4f}"
)
print(f"both together:  x_(t-1) is about {mean:.4f}, give or take {variance.sqrt():.4f}")

# %%
near = (grid > 0.62) & (grid < 1.0)
fig, ax = viz.figure(6.6, 2.8)
ax.plot(
    grid[near],
    normal(grid, abar[t - 1].sqrt() * x0, 1 - abar[t - 1])[near],
    "--",
    label=r"$q(x_{t-1}\,|\,x_0)$: what $x_0$ says",
)
ax.plot(
    grid[near],
    normal(grid, xt / alpha[t].sqrt(), beta[t] / alpha[t])[near],
    ":",
    label=r"$q(x_t\,|\,x_{t-1})$, to area 1: what $x_t$ says",
)
ax.plot(
    grid[near], bayes(x0, xt, t)[near], label=r"$q(x_{t-1}\,|\,x_t, x_0)$: both", color=viz.COLORS["black"]
)
ax.set(xlabel=r"$x_{t-1}$", ylabel="density", xlim=(0.62, 1.0), title=f"t = {t}")
ax.legend(frameon=False, fontsize=9, loc="upper left")
viz.show(
    fig,
    alt="Three bell curves over x at t minus 1. What x_0 says is centred at 0.80 and wide; what x_t says is centred at 0.86 and narrower; the posterior lies between them, nearer to the narrow one, and is the narrowest of all.",
)

# %% [markdown]
# Two witnesses, and their joint verdict lies between them, nearer to the one who is surer, and is surer than either.
#
# ## Completing the square
#
# Now the formula. A Gaussian is $e$ to the power of minus half a parabola, so multiplying two of them adds two parabolas. In $x_{t-1}$, that is
#
# $$-2\log q(x_{t-1}\mid x_t, x_0) = \frac{\left(x_t-\sqrt{\alpha_t}\,x_{t-1}\right)^2}{\beta_t} + \frac{\left(x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0\right)^2}{1-\bar\alpha_{t-1}} + \dots
#   \;=\; A\,x_{t-1}^2 - 2B\,x_{t-1} + C$$
#
# $$A = \frac{\alpha_t}{\beta_t}+\frac{1}{1-\bar\alpha_{t-1}}, \qquad B = \frac{\sqrt{\alpha_t}}{\beta_t}\,x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1-\bar\alpha_{t-1}}\,x_0 .$$
#
# Completing the square, $A x^2 - 2Bx + C = A\,(x - B/A)^2 + (C - B^2/A)$, shows a parabola again: the posterior is Gaussian, with **mean $B/A$ and variance $1/A$**.
# $A$ is a sum of *precisions*, of inverse variances: certainty adds up. The mean weighs each witness by its precision.
#
# We let SymPy do it, so that nothing depends on our care with signs. It knows $\alpha_t = 1-\beta_t$ and $\bar\alpha_t = \alpha_t\bar\alpha_{t-1}$, and nothing else.

# %%
X, X0, Xt = sp.symbols("x_{t-1} x_0 x_t", real=True)
b, a_prev = sp.symbols("beta_t alphabar_{t-1}", positive=True)
a = 1 - b  # alpha_t
a_bar = a * a_prev  # alpha_bar_t

exponent = (Xt - sp.sqrt(a) * X) ** 2 / b + (X - sp.sqrt(a_prev) * X0) ** 2 / (1 - a_prev)
A, minus_2B, C = sp.Poly(sp.expand(exponent), X).all_coeffs()
B = -minus_2B / 2


def same(left, right):
    """Whether two expressions are equal, whatever the values of their symbols."""
    return sp.simplify(left - right) == 0


print("A is the sum of the precisions:", same(A, a / b + 1 / (1 - a_prev)))
print("B is as above:", same(B, sp.sqrt(a) / b * Xt + sp.sqrt(a_prev) / (1 - a_prev) * X0))
print("A = (1 - alpha_bar_t) / (beta_t (1 - alpha_bar_(t-1))):", same(A, (1 - a_bar) / (b * (1 - a_prev))))
print("what is left is the denominator:", same(C - B**2 / A, (Xt - sp.sqrt(a_bar) * X0) ** 2 / (1 - a_bar)))
assert same(A, (1 - a_bar) / (b * (1 - a_prev)))
assert same(C - B**2 / A, (Xt - sp.sqrt(a_bar) * X0) ** 2 / (1 - a_bar))

# %% [markdown]
# The last line is a small gift. What is left after completing the square, $C - B^2/A$, does not contain $x_{t-1}$, and it is exactly the parabola of $q(x_t\mid x_0)$, the denominator of Bayes' rule.
# We left the denominator out, and the algebra put it back.
#
# ## The posterior: mean and variance
#
# Turn $1/A$ and $B/A$ into fractions, and you have the paper's equations:
#
# $$q(x_{t-1}\mid x_t,x_0) = \mathcal N\!\left(x_{t-1};\ \tilde\mu_t(x_t,x_0),\ \tilde\beta_t I\right) \tag{6}$$
#
# $$\tilde\mu_t(x_t,x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t,
#   \qquad \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t \tag{7}$$

# %%
mu_tilde = sp.sqrt(a_prev) * b / (1 - a_bar) * X0 + sp.sqrt(a) * (1 - a_prev) / (1 - a_bar) * Xt
print("1/A is beta_tilde of (7):", same(1 / A, (1 - a_prev) / (1 - a_bar) * b))
print("B/A is mu_tilde of (7):", same(B / A, mu_tilde))
assert same(1 / A, (1 - a_prev) / (1 - a_bar) * b) and same(B / A, mu_tilde)

precision = alpha[1:] / beta[1:] + 1 / (1 - abar[:-1])  # A in float64, for every t; infinite at t = 1
agree = torch.isclose(1 / precision, (1 - abar[:-1]) / (1 - abar[1:]) * beta[1:], rtol=1e-10, atol=0)
print("and in numbers at", int(agree.sum()), "of", schedule.T, "steps")
assert agree.all()

# %% [markdown]
# ### Exercise 03.1: beta_tilde
#
# **What do you expect** of $\tilde\beta_1$, and of $\tilde\beta_{1000}$ beside $\beta_{1000} = 0.02$? Write it down, then write the function.


# %%
def beta_tilde(t, schedule):
    """The variance of q(x_{t-1} | x_t, x_0), eq. (7). t: int64 (B,), 1..T. Returns float64 (B,)."""
    ### BEGIN SOLUTION
    noise_before, noise_after = 1 - schedule.alpha_bar[t - 1], 1 - schedule.alpha_bar[t]
    return noise_before / noise_after * schedule.beta[t]
    ### END SOLUTION


# %%
beta_tilde = check("03.1", beta_tilde)
# hint("03.1")

# %%
some = torch.tensor([1, 2, 10, 100, 488, 1000])
for t, variance in zip(some.tolist(), beta_tilde(some, schedule).tolist(), strict=True):
    print(
        f"t = {t:4d}   beta_tilde {variance:.6e}   beta {beta[t]:.6e}   ratio {variance / float(beta[t]):.4f}"
    )
assert beta_tilde(torch.tensor([1]), schedule) == 0
assert torch.allclose(
    beta_tilde(some[[1, 4, 5]], schedule),
    torch.tensor([5.453188e-5, 0.00979157, 0.01999998]).double(),
    rtol=1e-6,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# $\tilde\beta_1 = 0$, exactly. It is the variance of $x_0$ for someone who has been told $x_0$. (Code that needs its logarithm has to put something in its place; the paper's own takes $\log\tilde\beta_2$.)
# At $t = 1000$ it is 0.01999998, next to $\beta_t$. Late in the chain $x_0$ has become too faint a witness to help: only near $t = 0$ do the two differ by much.
#
# </details>
#
# ### Exercise 03.2: q_posterior
#
# A coefficient `c` of shape `(B,)`, one number an image, needs the shape `(B, 1, …, 1)` and the dtype of the images. Besides `process.at` of chapter 01 you have this:


# %%
def per_image(c, x):
    """Coefficients c, (B,), in a shape to multiply images x (B, ...), and in their dtype."""
    return c.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B,) -> (B, 1, ..., 1)


print(tuple(per_image(schedule.beta[torch.tensor([1, 500])], torch.zeros(2, 3, 16, 16)).shape))


# %%
def q_posterior(x0, xt, t, schedule):
    """Mean and variance of q(x_{t-1} | x_t, x_0), eq. (6), (7). x0, xt: (B, ...), t: int64 (B,), 1..T.

    Returns mu_tilde, shaped as x0, and beta_tilde, (B, 1, ..., 1).
    """
    ### BEGIN SOLUTION
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]  # (B,)
    of_x0 = before.sqrt() * schedule.beta[t] / (1 - now)
    of_xt = schedule.alpha[t].sqrt() * (1 - before) / (1 - now)
    mu_tilde = per_image(of_x0, x0) * x0 + per_image(of_xt, x0) * xt
    return mu_tilde, per_image(schedule.beta_tilde[t], x0)
    ### END SOLUTION


# %%
q_posterior = check("03.2", q_posterior)
# hint("03.2")

# %% [markdown]
# The formula against brute force, at six places, some of them far-fetched:

# %%
for t, x0, xt in [
    (2, 0.8, 0.81),
    (10, 0.8, 0.86),
    (100, 0.8, 0.3),
    (100, -1.0, 1.5),
    (488, 0.1, -0.7),
    (1000, 1.0, 2.0),
]:
    mean, variance = moments(bayes(x0, xt, t))
    mu, bt = q_posterior(pixel(x0), pixel(xt), torch.tensor([t]), schedule)
    agree = torch.isclose(mean, mu, rtol=1e-9, atol=1e-9) and torch.isclose(variance, bt, rtol=1e-9, atol=0)
    of_x0, of_xt = (float(c[t]) for c in process.posterior_coefficients(schedule))
    print(
        f"t = {t:4d}   mean {float(mu):7.4f} = {of_x0:.4f} x_0 + {of_xt:.4f} x_t   the grid agrees: {bool(agree)}"
    )
    assert agree

# %% [markdown]
# Read the two factors. At $t = 2$ the image still has about half a say. At $t = 100$ it has two hundredths, and the mean is nearly $x_t$ itself. **One step back is a small nudge towards $x_0$.**
#
# ### Move the two witnesses
#
# The paper's steps are so small that little would be seen. So the picture covers the same noise levels in fewer and larger steps, if you like: 10, 100 or all 1000 of them. Set $t$, $x_0$ and $x_t$, and watch who wins.
# At 10 steps and $t = 100$ it is the very first step, and knowing $x_0$ settles everything.

# %% tags=["nbval-ignore-output"]
CHAINS = {steps: schedules.respace(schedule, steps)[0] for steps in (10, 100, 1000)}
x_axis = torch.linspace(-3, 3, 601, dtype=torch.float64)
# Plain letters, not mathtext, in both live figures: they draw faster.
witness_fig, witness_ax = viz.figure(6.8, 3.0)
from_x0, from_xt, together = (
    witness_ax.plot([], [], style, color=viz.COLORS[color], label=label)[0]
    for style, color, label in [
        ("--", "blue", "x₀ says: q(xₜ₋₁ | x₀)"),
        (":", "vermillion", "xₜ says: q(xₜ | xₜ₋₁)"),
        ("-", "black", "both: q(xₜ₋₁ | xₜ, x₀)"),
    ]
)
witness_ax.set(xlim=(-3, 3), ylim=(0, 1.5), yticks=[], xlabel="xₜ₋₁ (each curve has height 1)")
witness_ax.legend(frameon=False, fontsize=9, loc="upper left", ncols=3, handlelength=1.6, columnspacing=1.2)
witness_ax.set_title(" ", fontsize=10)


def draw_witnesses(t, x0, xt, steps):
    """The two Gaussians and their product, each scaled to height 1."""
    chain, i = CHAINS[steps], t * steps // 1000
    mu, variance = process.q_posterior(pixel(x0), pixel(xt), torch.tensor([i]), chain)
    before, now = chain.alpha_bar[i - 1], chain.alpha[i]
    for line, mean, v in [
        (from_x0, before.sqrt() * x0, 1 - before),
        (from_xt, xt / now.sqrt(), (1 - now) / now),
        (together, mu, variance),
    ]:
        line.set_data(x_axis, torch.exp(-0.5 * (x_axis - float(mean)) ** 2 / max(float(v), 1e-5)))
    witness_ax.title.set_text(f"mean {float(mu):.3f}, standard deviation {float(variance) ** 0.5:.3f}")
    return witness_fig


widgets.live(
    draw_witnesses,
    t=ipywidgets.IntSlider(300, 100, 1000, 100, description="t"),
    x0=ipywidgets.FloatSlider(0.8, min=-1, max=1, step=0.05, description="x_0"),
    xt=ipywidgets.FloatSlider(-0.6, min=-2, max=2, step=0.05, description="x_t"),
    steps=ipywidgets.ToggleButtons(options=[10, 100, 1000], description="steps"),
    alt=lambda t, x0, xt, steps: (
        f"Two bell curves, what x_0 = {x0:.2f} and what x_t = {xt:.2f} say of the state one of {steps} steps before t = {t}, and the posterior between them."
    ),
)

# %% [markdown]
# ## The same mean, from the noise
#
# At sampling time there is no $x_0$, only $x_t$. Chapter 01 had the way out: who knows the noise knows the image, $x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon)/\sqrt{\bar\alpha_t}$. Put that into (7):
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\cdot\frac{x_t-\sqrt{1-\bar\alpha_t}\,\varepsilon}{\sqrt{\bar\alpha_t}} + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t .$$
#
# *The factor of $x_t$.* Since $\sqrt{\bar\alpha_{t-1}/\bar\alpha_t} = 1/\sqrt{\alpha_t}$, it is $\dfrac{\beta_t + \alpha_t(1-\bar\alpha_{t-1})}{\sqrt{\alpha_t}\,(1-\bar\alpha_t)}$, and the sum on top is
# $1-\alpha_t+\alpha_t-\bar\alpha_t = 1-\bar\alpha_t$. So it is $1/\sqrt{\alpha_t}$. *The factor of $\varepsilon$* is $-\beta_t/(\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t})$. Together, with a network's guess $\varepsilon_\theta$ in the place of $\varepsilon$:
#
# $$\mu_\theta(x_t, t) = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\;\varepsilon_\theta(x_t,t)\right) \tag{11}$$

# %%
Eps = sp.symbols("epsilon", real=True)
from_noise = sp.expand(mu_tilde.subs(X0, (Xt - sp.sqrt(1 - a_bar) * Eps) / sp.sqrt(a_bar)))
print("factor of x_t is 1/sqrt(alpha_t):", same(from_noise.coeff(Xt), 1 / sp.sqrt(a)))
print("all of (11):", same(from_noise, (Xt - b / sp.sqrt(1 - a_bar) * Eps) / sp.sqrt(a)))
assert same(from_noise, (Xt - b / sp.sqrt(1 - a_bar) * Eps) / sp.sqrt(a))

# %% [markdown]
# ### Exercise 03.3: mu_from_eps


# %%
def mu_from_eps(xt, t, eps, schedule):
    """The posterior mean from x_t and the noise, eq. (11). xt, eps: (B, ...), t: int64 (B,). Returns it shaped as xt."""
    ### BEGIN SOLUTION
    share = schedule.beta[t] / (1 - schedule.alpha_bar[t]).sqrt()  # (B,)
    return (xt - per_image(share, xt) * eps) / per_image(schedule.alpha[t].sqrt(), xt)
    ### END SOLUTION


# %%
mu_from_eps = check("03.3", mu_from_eps)
# hint("03.3")

# %% [markdown]
# One photograph, a thousand times, at every $t$: the two forms must be the same number in every pixel.

# %%
photo = data.from_uint8(data.photograph("flower", size=16)).double()
every = torch.arange(1, 1001)
x0 = photo.expand(1000, 3, 16, 16)
eps = noise_like(x0)
xt = process.q_sample(x0, every, eps, schedule)  # (1000, 3, 16, 16)

from_x0_and_xt, _ = q_posterior(x0, xt, every, schedule)
from_xt_and_eps = mu_from_eps(xt, every, eps, schedule)
difference = (from_x0_and_xt - from_xt_and_eps).abs().max()
print(f"largest difference in 768,000 numbers: {difference:.4f} | below 1e-12: {bool(difference < 1e-12)}")
assert difference < 1e-12

# %% [markdown]
# ## A bar that went missing
#
# This course began from a university report on the paper. In its table 1 the report prints the reverse mean with $\sqrt{1-\alpha_t}$ where (11) has $\sqrt{1-\bar\alpha_t}$, and $\varepsilon_t$ where (11) has $\varepsilon_\theta$:
#
# $$\frac{1}{\sqrt{\alpha_t}}\left(x_t-\frac{\beta_t}{\sqrt{1-\alpha_t}}\,\varepsilon_t\right) \qquad\text{(not the posterior mean)}$$
#
# A bar is easily lost in print. **What do you expect**: does the formula without it take away too much noise, or too little? And at which $t$ does it do no harm?

# %%
printed = (Xt - b / sp.sqrt(1 - a) * Eps) / sp.sqrt(a)
print("the printed form is the posterior mean:", same(printed, from_noise))
print("it is at t = 1, where alpha_bar_0 = 1:", same(printed.subs(a_prev, 1), from_noise.subs(a_prev, 1)))


def printed_mean(xt, t, eps):
    """The report's mean, as it is printed."""
    return (xt - (beta[t] / (1 - alpha[t]).sqrt()) * eps) / alpha[t].sqrt()


print(
    "\n        by the grid      (11)   printed    error of the printed form, in standard deviations of the posterior"
)
x0, eps = 0.8, 1.0
for t in (1, 2, 10, 100, 488, 1000):
    xt = abar[t].sqrt() * x0 + (1 - abar[t]).sqrt() * eps
    mean = moments(bayes(x0, xt, t))[0] if t > 1 else pixel(x0)[0, 0]  # at t = 1 it is x_0 itself
    right = mu_from_eps(pixel(xt), torch.tensor([t]), pixel(eps), schedule)
    wrong = printed_mean(xt, t, eps)
    off = f"{float((wrong - mean).abs() / schedule.beta_tilde[t].sqrt()):.4f}" if t > 1 else "-"
    print(f"t = {t:4d}    {mean:.4f}    {float(right):.4f}    {wrong:.4f}    {off}")
    assert torch.isclose(right, mean, atol=1e-8) and (t == 1 or not torch.isclose(wrong, mean, atol=1e-3))

# %% [markdown]
# <details><summary>Answer</summary>
#
# Too much. $\beta_t/\sqrt{1-\alpha_t} = \sqrt{\beta_t}$, which is larger than $\beta_t/\sqrt{1-\bar\alpha_t}$ because $\beta_t < 1-\bar\alpha_t$ from $t = 2$ on.
# The printed form takes $\varepsilon$ for the fresh noise of step $t$ alone, which went in as $\sqrt{\beta_t}\,\varepsilon$, and takes it all out again. In truth $\varepsilon$ is the noise of *all* $t$ steps together, and step $t$ brought only a part of it.
# Only at $t = 1$, where all the noise is one step's, do the two agree.
#
# </details>
#
# For noise of $\varepsilon = 1$ the error soon nears nine tenths of a standard deviation, and it always points the same way. Does it matter? Let the data be $\mathcal N(0, 1)$. Then the best guess of the noise is known, $\mathbb E[\varepsilon\mid x_t] = \sqrt{1-\bar\alpha_t}\,x_t$,
# every step is linear, and we can follow the variance through the whole chain with no random number at all: if the mean is $c\,x_t$, then $v_{t-1} = c^2 v_t + \sigma_t^2$. It begins at $v_T = 1$ and ought to end at 1.

# %%
x_some = torch.linspace(-2, 2, 5).double().reshape(-1, 1)  # the best guess, checked against ddpm_lite.exact
best = exact.gaussian(torch.zeros(1), 1.0).eps(x_some, torch.full((5,), 300), schedule)
print("E[eps | x_t] = sqrt(1 - alpha_bar_t) x_t:", torch.allclose(best, (1 - abar[300]).sqrt() * x_some))


def final_variance(share, sigma2):
    """The variance at t = 0 for data N(0, 1), if a step takes share[t] times the best guess of the noise away."""
    v = torch.tensor(1.0).double()
    for t in range(schedule.T, 0, -1):
        c = (1 - share[t] * (1 - abar[t]).sqrt()) / alpha[t].sqrt()
        v = c**2 * v + (sigma2[t] if t > 1 else 0)
    return v


with_bar = beta / (1 - abar).sqrt()
print(f"with the bar:     standard deviation {final_variance(with_bar, beta).sqrt():.4f} at the end")
print(f"without the bar:  standard deviation {final_variance(beta.sqrt(), beta).sqrt():.4f} at the end")
assert abs(final_variance(with_bar, beta) - 1) < 1e-3 and final_variance(beta.sqrt(), beta) < 0.1

# %% [markdown]
# Without the bar, all that it draws from these data is shrunk to under a third of its proper size, and no error message says so.
#
# Two more words of the report need care. It says that the network predicts "the mean of the noise". The mean of the noise is 0 and needs no network.
# What it learns is the mean of the noise *given $x_t$*, the best guess $\mathbb E[\varepsilon\mid x_t]$ used just now; and (11) makes the **mean of $x_{t-1}$** out of the guess.
# And $\varepsilon_t$ with an index $t$ is the fresh noise of step $t$ in (2). The $\varepsilon$ of (11) is the noise of the whole jump (4), and a sampler does not have it; it has the guess $\varepsilon_\theta(x_t, t)$.
#
# ## Why small steps
#
# The posterior knew $x_0$. A sampler does not. What it would need is the true step back,
#
# $$q(x_{t-1}\mid x_t) = \frac{q(x_t\mid x_{t-1})\,q(x_{t-1})}{q(x_t)} = \int q(x_{t-1}\mid x_t, x_0)\;q(x_0\mid x_t)\,dx_0 ,$$
#
# the posterior averaged over all the images that $x_t$ may have come from. An average of different Gaussians is in general not a Gaussian. And yet the paper's reverse process uses one:
#
# $$p_\theta(x_{t-1}\mid x_t) = \mathcal N\!\left(x_{t-1};\ \mu_\theta(x_t,t),\ \sigma_t^2 I\right) \tag{1}$$
#
# How wrong is that? For data whose density we know, we can compute the true step on a grid. Our data now are pixels that are dark or light: two bumps, at $-0.8$ and $0.8$. We take them at $t = 100$ of the paper's schedule, and add *one* step of any size $\beta$.

# %%
bumps = exact.Mixture(
    torch.tensor([[-0.8], [0.8]]).double(),
    torch.tensor([0.01, 0.01]).double(),
    torch.tensor([0.5, 0.5]).double(),
)
line = torch.linspace(-8, 8, 3201, dtype=torch.float64)  # values of x_{t-1}
dx = float(line[1] - line[0])


def density(mixture):
    """A mixture's density on the line."""
    return mixture.log_prob(line[:, None]).exp()


def step_back(q_prev, beta, xt):
    """q(x_{t-1} | x_t) by Bayes' rule on the line, one row for each x_t: (M, 3201), and q(x_t): (M,)."""
    joint = q_prev * normal(xt[:, None], math.sqrt(1 - beta) * line, beta)
    q_xt = joint.sum(dim=1) * dx
    return joint / q_xt[:, None], q_xt


def fit(rows):
    """Mean and variance of each row, (M, 1) each: the Gaussian that fits it best."""
    mean = (rows * line).sum(dim=1, keepdim=True) * dx
    return mean, (rows * (line - mean) ** 2).sum(dim=1, keepdim=True) * dx


before = density(bumps.noised(100, schedule))
print(f"area under q(x_(t-1)): {before.sum() * dx:.4f}")
rows, _ = step_back(before, 0.5, torch.tensor([0.1, 1.0]).double())
print(
    "each row has area 1:",
    torch.allclose(rows.sum(dim=1) * dx, torch.ones(2).double()),
    "|",
    tuple(rows.shape),
)

# %% [markdown]
# **What do you expect** the true step back from $x_t = 0.1$ to look like for $\beta = 0.002$ (the paper's own at this $t$), for $0.05$, and for $0.5$?

# %%
fig, axes = viz.figure(8.4, 2.7, ncols=3)
for ax, size, half in zip(axes, (0.002, 0.05, 0.5), (0.25, 1, 2), strict=True):
    (row,), _ = step_back(before, size, torch.tensor([0.1]).double())
    mean, variance = (float(m) for m in fit(row[None]))
    seen_part = (line - 0.1).abs() <= half
    ax.fill_between(line[seen_part], row[seen_part], color=viz.COLORS["sky"], label="true")
    ax.plot(
        line[seen_part],
        normal(line, mean, variance)[seen_part],
        "--",
        color=viz.COLORS["vermillion"],
        label="Gaussian",
    )
    ax.set(title=rf"$\beta$ = {size}", xlabel=r"$x_{t-1}$", yticks=[])
axes[0].set_ylabel(r"$q(x_{t-1}\,|\,x_t = 0.1)$")
axes[0].legend(frameon=False, fontsize=9, loc="upper left")
viz.show(
    fig,
    alt="The density of x at t minus 1 given x_t = 0.1, for three step sizes, each with its best Gaussian. For beta 0.002 the two coincide; for 0.05 the density leans to one side and the Gaussian misses its peak; for 0.5 it has two bumps and the Gaussian lies across both.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# A small step cannot have come from far: within the few hundredths that it can reach, the *logarithm* of the density of $x_{t-1}$ is nearly a straight line. A parabola plus a straight line is the same parabola, moved: still a Gaussian.
# A large step may have come from either bump. "Dark or light" is a question with two answers, and a Gaussian can only give the one between.
#
# </details>
#
# Now in numbers: the distance between the true step and its best Gaussian, $\mathrm{KL}(q \,\|\, \mathcal N)$, averaged over $x_t$.


# %%
def average(q_prev, beta, what, count=121):
    """The average over x_t ~ q(x_t) of what(rows): (M,) numbers from the rows of q(x_{t-1} | x_t)."""
    mean, variance = (float(m) for m in fit(q_prev[None]))
    spread = math.sqrt((1 - beta) * variance + beta)  # standard deviation of x_t
    xt = math.sqrt(1 - beta) * mean + spread * torch.linspace(-4.5, 4.5, count, dtype=torch.float64)
    rows, q_xt = step_back(q_prev, beta, xt)
    return float((q_xt * what(rows)).sum() / q_xt.sum())


def kl_to_fit(rows, sigma2=None):
    """KL(row || N(mean, sigma2)) in nats, with the row's own mean; with its own variance too, if sigma2 is None."""
    mean, variance = fit(rows)
    variance = variance if sigma2 is None else torch.full_like(variance, sigma2)
    log_fit = -0.5 * (line - mean) ** 2 / variance - 0.5 * torch.log(2 * math.pi * variance)
    return (torch.xlogy(rows, rows) - rows * log_fit).sum(dim=1) * dx


sizes = [0.001 * 2**k for k in range(10)] + [0.7, 0.9, 0.99]
distances = [average(before, size, kl_to_fit) for size in sizes]
for k in (0, 1, 4, 7, 9, 12):
    print(f"beta = {sizes[k]:.3f}   KL = {distances[k]:.2e} nats")
print(f"halving beta from 0.002 divides the KL by {distances[1] / distances[0]:.1f}")
print(f"the distance of q(x_(t-1)) itself to a Gaussian: {float(kl_to_fit(before[None])):.4f} nats")
assert 7 < distances[1] / distances[0] < 8.5

# %% [markdown]
# For small steps the distance falls like $\beta^3$: half the step, an eighth of the error. For $\beta\to 1$ a step back forgets $x_t$: it is a draw from $q(x_{t-1})$ at one go, and as far from Gaussian as that is.
#
# So the number of steps decides. A chain with steps half as large has twice as many of them, each an eighth as wrong: a quarter in all, once the steps are small. We add up the distances over a whole chain, between the same noise levels, for a few lengths.
# (Adding is right. By the chain rule of the KL divergence, the sum is the distance between the true chain and the Gaussian one, both begun alike, and what the two draw in the end is at most that far apart.)


# %%
def chain_error(steps):
    """KL of a chain of `steps` steps: worst step, sum, and sum with sigma2 = beta (long chains: every few steps are tried)."""
    short, tau = schedules.respace(schedule, steps)
    stride = max(1, steps // 25)
    best, fixed = [], []
    for i in range(1, steps + 1, stride):
        q_prev, size = density(bumps.noised(int(tau[i - 1]), schedule)), float(short.beta[i])
        best.append(average(q_prev, size, kl_to_fit, count=61))
        fixed.append(average(q_prev, size, lambda rows, size=size: kl_to_fit(rows, size), count=61))
    return max(best), stride * sum(best), stride * sum(fixed)


lengths = (5, 10, 25, 100, 1000)
totals = {steps: chain_error(steps) for steps in lengths}
for steps, (worst, total, total_fixed) in totals.items():
    print(
        f"{steps:4d} steps   KL: worst step {worst:.1e}, whole chain about {total:.1e} nats; with sigma2 = beta {total_fixed:.1e}"
    )
assert all(total < total_fixed for _, total, total_fixed in totals.values())

fig, (left, right) = viz.figure(8.0, 2.8, ncols=2)
left.loglog(sizes, distances, "o-", markersize=4)
left.axhline(float(kl_to_fit(before[None])), color=viz.COLORS["black"], linestyle=":", linewidth=1)
left.loglog(sizes[:5], [distances[0] * (size / sizes[0]) ** 3 for size in sizes[:5]], "--", label=r"slope 3")
left.set(xlabel=r"$\beta$ of one step", title="KL of one step, nats")
left.legend(frameon=False, fontsize=9, loc="lower right")
for k, style, color, label in [
    (2, "o--", "vermillion", r"one variance a step, $\beta_t$"),
    (1, "s-", "green", r"the right variance for each $x_t$"),
]:
    right.loglog(
        lengths, [totals[n][k] for n in lengths], style, markersize=4, color=viz.COLORS[color], label=label
    )
right.legend(frameon=False, fontsize=9, loc="lower left")
right.set(xlabel="steps in the chain", title="KL summed over the chain, nats")
viz.show(
    fig,
    alt="Left, on logarithmic axes: the KL of one step grows with the third power of beta and levels off at the distance of q(x at t minus 1) itself to a Gaussian. Right: the KL summed over a chain. With the right variance for each x_t it falls from about one nat for 5 steps to about a ten-thousandth for 1000; with one variance a step it lies above and falls to about two hundredths.",
)

# %% [markdown]
# This is why a chain needs many steps. With a thousand, a Gaussian is all but exact for these data, though they are anything but Gaussian. With ten, even the best Gaussians are a quarter of a nat off, for a single pixel.
#
# These Gaussians have the right mean *and* the right variance for each $x_t$. The $\sigma_t^2$ of (1) is one number a step, whatever $x_t$ is. With $\sigma_t^2=\beta_t$ a thousand steps are about 0.02 nats off:
# still little, but from 100 steps to 1000 it falls only about tenfold. What is wrong then is no longer the shape but the variance.
#
# Nothing in the argument is special to two bumps: look closely enough, and the logarithm of any smooth density is a straight line. (Where the data are not smooth, a list of single images for one, the steps next to $t = 0$ are the exception.)
#
# The slider shows the true step at any size, from any $x_t$.

# %% tags=["nbval-ignore-output"]
view = slice(1100, 2101, 2)  # from -2.5 to 2.5, every other point: enough to draw
back_fig, back_ax = viz.figure(6.8, 3.0)
(data_line,) = back_ax.plot(
    line[view], (before / before.max())[view], ":", color=viz.COLORS["blue"], label="q(xₜ₋₁), given nothing"
)
(true_line,) = back_ax.plot([], [], "-", color=viz.COLORS["black"], label="true q(xₜ₋₁ | xₜ)")
(fit_line,) = back_ax.plot([], [], "--", color=viz.COLORS["vermillion"], label="best Gaussian")
mark = back_ax.axvline(0, ymax=0.8, color=viz.COLORS["green"], linewidth=1)
back_ax.set(
    xlim=(-2.5, 2.5),
    ylim=(0, 1.5),
    yticks=[],
    xlabel="xₜ₋₁ (true density scaled to height 1; green: xₜ)",
)
back_ax.legend(frameon=False, fontsize=9, loc="upper left", ncols=3, handlelength=1.6, columnspacing=1.2)
back_ax.set_title(" ", fontsize=10)


def draw_step_back(beta, xt):
    """The true step back and its Gaussian, on a common scale."""
    rows, _ = step_back(before, beta, torch.tensor([xt]).double())
    mean, variance = fit(rows)
    true_line.set_data(line[view], (rows[0] / rows.max())[view])
    fit_line.set_data(line[view], normal(line[view], mean, variance)[0] / rows.max())
    mark.set_xdata([xt, xt])
    back_ax.title.set_text(f"KL = {float(kl_to_fit(rows)):.1e} nats")
    return back_fig


widgets.live(
    draw_step_back,
    beta=ipywidgets.FloatLogSlider(0.2, min=-3, max=-0.01, step=0.05, description="β", readout_format=".3f"),
    xt=ipywidgets.FloatSlider(0.1, min=-1.5, max=1.5, step=0.05, description="x_t"),
    alt=lambda beta, xt: (
        f"The true density of the step back from x_t = {xt:.2f} for beta = {beta:.3f}, its best Gaussian, and the two bumps of q(x at t minus 1) given nothing."
    ),
)

# %% [markdown]
# ## Which variance?
#
# (1) has a mean to be learned and a variance $\sigma_t^2$ that we set. Which? Given the best mean, the expected $-\log p_\theta$ of a dimension is $\tfrac12\log 2\pi\sigma^2 + V/(2\sigma^2)$, where
# $V = \mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t)$ is the *expected conditional variance*. It is smallest at $\sigma^2 = V$.
#
# And $V$ splits into two parts: what the posterior leaves open even for those who know $x_0$, and what is not known about $x_0$, passed through its factor in (7),
#
# $$V_t = \tilde\beta_t + \left(\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\right)^{2}\,\mathbb E\,\mathrm{Var}(x_0\mid x_t) .$$
#
# *Data that are one point.* Nothing about $x_0$ is open, the second part is 0, and the right variance is $\tilde\beta_t$.
#
# *Data that are $\mathcal N(0, I)$.* Then $\mathrm{Var}(x_0\mid x_t) = 1-\bar\alpha_t$, and the right variance is $\beta_t$.
#
# *Other data of variance $v$.* Chapter 01's best straight line guesses $x_0$ with an error of $v(1-\bar\alpha_t)/(\bar\alpha_t v+1-\bar\alpha_t)$, and the best guess can only do better.
# So $V$ is at most that of $\mathcal N(0, vI)$, and for $v\le 1$ that is at most $\beta_t$.

# %%
s2, V = sp.symbols("sigma2 V", positive=True)
print("the best sigma2 is V:", sp.solve(sp.diff(sp.log(s2) / 2 + V / (2 * s2), s2), s2) == [V])

of_X0 = mu_tilde.coeff(X0)
unknown = 1 - a_bar  # Var(x_0 | x_t) for N(0, 1)
print("N(0, I): V = beta_t:", same(1 / A + of_X0**2 * unknown, b))
print("a point: V = beta_tilde_t:", same(1 / A + of_X0**2 * 0, (1 - a_prev) / (1 - a_bar) * b))
assert same(1 / A + of_X0**2 * unknown, b)

v = sp.symbols("v", nonnegative=True)
of_variance_v = 1 / A + of_X0**2 * v * (1 - a_bar) / (a_bar * v + 1 - a_bar)  # V for N(0, v I)
factor = a_prev * b**2 / (a_bar * v + 1 - a_bar)  # never negative
print("N(0, v I): beta_t - V = (1 - v) times a positive factor:", same(b - of_variance_v, (1 - v) * factor))
assert same(b - of_variance_v, (1 - v) * factor)

# %% [markdown]
# The same by brute force: Bayes' rule on the grid, the variance of every row, averaged over $x_t$. The two bumps are neither a point nor a Gaussian.

# %%
DATA = {
    "a point": exact.Mixture(torch.tensor([[0.8]]).double(), torch.zeros(1).double(), torch.ones(1).double()),
    "two bumps": bumps,
    "N(0, 1)": exact.gaussian(torch.zeros(1), 1.0),
}


def expected_variance(mixture, t):
    """V_t on the line."""
    return average(density(mixture.noised(t - 1, schedule)), float(beta[t]), lambda rows: fit(rows)[1][:, 0])


def by_parts(mixture, t):
    """V_t by the formula above, with E Var(x_0 | x_t) = E x_0^2 - E (E[x_0 | x_t])^2."""
    guess = mixture.x0_mean(line[:, None], torch.full((len(line),), t), schedule)[:, 0]
    square = float((mixture.weights * (mixture.means[:, 0] ** 2 + mixture.variances)).sum())
    unknown = square - float((guess**2 * density(mixture.noised(t, schedule))).sum() * dx)
    of_x0, _ = process.posterior_coefficients(schedule)
    return float(schedule.beta_tilde[t] + of_x0[t] ** 2 * unknown)


print("   t   V/beta:   " + "   ".join(f"{name:>9}" for name in DATA) + "   beta_tilde/beta")
for t in (3, 10, 100, 488):
    V_t = {name: expected_variance(mixture, t) for name, mixture in DATA.items()}
    ratios = "   ".join(f"{v / float(beta[t]):9.4f}" for v in V_t.values())
    print(f"{t:4d}             {ratios}   {float(schedule.beta_tilde[t] / beta[t]):15.4f}")
    assert math.isclose(V_t["N(0, 1)"], beta[t], rel_tol=1e-6)
    assert math.isclose(V_t["a point"], schedule.beta_tilde[t], rel_tol=1e-6)
    assert V_t["a point"] < V_t["two bumps"] < V_t["N(0, 1)"]
    assert all(math.isclose(V_t[name], by_parts(DATA[name], t), rel_tol=1e-4) for name in DATA)
print("and the formula in two parts gives the same, for all three")

# %% [markdown]
# A point and $\mathcal N(0, I)$ are the two extremes: all data whose values have variance at most 1 lie between. From $t = 100$ on, the two extremes differ by less than 2 percent, and it hardly matters which we take.
# The paper tried both and found the results alike. The course uses $\sigma_t^2 = \beta_t$ unless it says otherwise.
#
# ## One reverse step
#
# Now we have all of algorithm 2's inner line. Draw $z\sim\mathcal N(0, I)$, and
#
# $$x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) + \sigma_t z, \qquad z = 0 \ \text{ if } t = 1 .$$
#
# The last step adds no noise. It leads to $x_0$, the image itself; noise put on it would only be noise on the picture. (And $\tilde\beta_1 = 0$ says the same.)
#
# ### Exercise 03.4: p_sample
#
# Take $\sigma_t^2 = \beta_t$. Each image of a batch has its own $t$: some may be at their last step while others are not.


# %%
def p_sample(xt, t, eps_hat, z, schedule):
    """x_{t-1} from x_t: one step of algorithm 2 with sigma_t^2 = beta_t. xt, eps_hat, z: (B, ...), t: int64 (B,)."""
    ### BEGIN SOLUTION
    sigma = schedule.beta[t].sqrt() * (t > 1)  # (B,): no noise where t = 1
    return mu_from_eps(xt, t, eps_hat, schedule) + per_image(sigma, xt) * z
    ### END SOLUTION


# %%
p_sample = check("03.4", p_sample)
# hint("03.4")

# %% [markdown]
# ## A sampler with nothing to learn
#
# A step is missing only one thing: the guess of the noise. For one kind of data we can have the *best possible* guess without any training, and it is the data that everybody has: a finite training set, $N$ images $m_1 \dots m_N$.
# Take it at its word, as the whole truth: $x_0$ is one of these images, each as likely. Then Bayes' rule says which one $x_t$ came from,
#
# $$w_i = p(x_0 = m_i\mid x_t) = \frac{\exp\!\left(-\lVert x_t-\sqrt{\bar\alpha_t}\,m_i\rVert^2 / \left(2(1-\bar\alpha_t)\right)\right)}{\sum_j \exp\!\left(-\lVert x_t-\sqrt{\bar\alpha_t}\,m_j\rVert^2 / \left(2(1-\bar\alpha_t)\right)\right)} .$$
#
# That is a softmax over the training images, and the guess with the smallest mean squared error is their weighted mean, $\hat x_0 = \sum_i w_i m_i$. No other function of $x_t$ and $t$ has a smaller training loss.
#
# ### Exercise 03.5: image_weights


# %%
def image_weights(xt, t, images, schedule):
    """p(x_0 = image i | x_t). xt: (B, ...), t: int64 (B,), images: (N, ...). Returns (B, N), rows that sum to 1."""
    ### BEGIN SOLUTION
    kept = schedule.alpha_bar[t][:, None].to(xt.dtype)  # (B, 1)
    distance2 = kept * torch.cdist(xt.flatten(1) / kept.sqrt(), images.flatten(1)) ** 2  # (B, N)
    return (-distance2 / (2 * (1 - kept))).softmax(dim=1)
    ### END SOLUTION


# %%
image_weights = check("03.5", image_weights)
# hint("03.5")

# %% [markdown]
# The training set: 1,197 of the digits. The other 600 we keep aside; the sampler never sees them.

# %%
digits = data.digits()
images = data.from_uint8(digits.images).double()
train, unseen, labels = images[:1197], images[1197:], digits.labels[:1197]


def expect_x0(xt, t):
    """The best guess of x_0 from x_t, shaped as xt, and the weights (B, N) it is made of."""
    w = image_weights(xt, t, train, schedule)
    return (w @ train.flatten(1)).reshape(xt.shape), w  # (B, N) @ (N, D) -> (B, D)


t = torch.tensor([100, 300, 500, 900])
xt = process.q_sample(train[:4], t, noise_like(train[:4]), schedule)
x0_hat, w = expect_x0(xt, t)
print("x0_hat", tuple(x0_hat.shape), "| weights", tuple(w.shape))
print("the same as ddpm_lite.exact:", torch.allclose(x0_hat, exact.finite(train).x0_mean(xt, t, schedule)))
print("weight of the right image at t = 100, 300, 500, 900:", [round(float(w[i, i]), 2) for i in range(4)])

# %% [markdown]
# **What do you expect?** We start 24 chains from pure noise and run your `p_sample` a thousand times, with this best of all denoisers. What will the 24 images be: blurs, new digits, or digits of the training set?

# %%
CHAINS_RUN = 24
xt = torch.randn(CHAINS_RUN, 1, 8, 8, generator=generator, dtype=torch.float64)
recorded = {}  # t: (x_t, x0_hat), for the slider
weights = torch.zeros(1001, CHAINS_RUN, len(train), dtype=torch.float32)  # (T+1, B, N); index 0 unused
keep_at = {*range(500, 1001, 50), *range(10, 500, 10), 1}
for step in range(schedule.T, 0, -1):
    t = torch.full((CHAINS_RUN,), step)
    x0_hat, weights[step] = expect_x0(xt, t)
    if step in keep_at:
        recorded[step] = xt, x0_hat
    eps_hat = process.predict_eps(xt, t, x0_hat, schedule)
    xt = p_sample(xt, t, eps_hat, noise_like(xt), schedule)
drawn = xt

distance = torch.cdist(drawn.flatten(1), train.flatten(1)) / 8  # root mean square over the 64 pixels
nearest, which = distance.min(dim=1)
copies = (nearest < 0.01).double().mean()
of_unseen = torch.cdist(unseen.flatten(1), train.flatten(1)).min(dim=1).values / 8
print(
    f"drawn digits: distance to the nearest training image at most {nearest.max():.4f}; copies: {copies:.2f} of all"
)
print(
    f"unseen digits: median distance to the nearest training image {of_unseen.median():.2f}; copies: {(of_unseen < 0.01).double().mean():.2f}"
)
assert copies == 1

viz.show(
    viz.strip({"drawn": drawn[:12], "nearest": train[which[:12]]}, scale=5),
    alt="Twelve digits that the chain drew, and below each the nearest image of the training set: they are the same, pixel for pixel.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each one is a training image, pixel for pixel. It could not be otherwise: the last step returns $\hat x_0$, a weighted mean of training images, and at $t = 1$ the noise is a hundredth, so one weight is 1 and all the others 0.
# Real digits that the chain has not seen are about 0.3 away from their nearest training image. Its own are not away at all.
#
# </details>
#
# ### Memorising
#
# This is what **memorising** is. It is not a bug of the sampler: the chain does exactly what it should, and draws from the distribution it was given, which is "one of these 1,197 images". It is the *perfect* solution of the training problem.
# A network that draws new digits does so because it did **not** reach this minimum; how it misses is what we call generalising. Its training loss must be larger, and its loss on unseen images can be far smaller:

# %%
print("    t   mean squared error of the guessed noise:   training digits   unseen digits")
for step in (50, 100, 200, 400):
    losses = []
    for x0 in (train[:400], unseen[:400]):
        eps, t = noise_like(x0), torch.full((400,), step)
        x_noisy = process.q_sample(x0, t, eps, schedule)
        eps_hat = process.predict_eps(x_noisy, t, expect_x0(x_noisy, t)[0], schedule)
        losses.append(float((eps_hat - eps).square().mean()))
    print(f"{step:5d} {'':42s} {losses[0]:15.3f} {losses[1]:15.3f}")
    assert losses[0] < losses[1]

# %% [markdown]
# At $t = 50$ it is perfect on images it knows, and on others almost three times as bad as always answering 0, which costs 1. Chapter 10 asks a trained network whether it copies.
#
# ### When does it decide?
#
# The weights say more than the result. $\exp(\text{entropy of } w)$ is the number of images that are still in the race.
# And summing $w$ over the images with one label tells how sure the chain is of *which digit*, before it is sure of *which image*.

# %%
w = weights[1:].double()  # (T, B, N)
running = torch.exp(-torch.xlogy(w, w).sum(dim=2)).median(dim=1).values  # (T,): images in the race
of_image = w[:, range(CHAINS_RUN), which]  # (T, B): the weight of the image that wins in the end
of_digit = torch.stack([w[:, i, labels == labels[which[i]]].sum(dim=1) for i in range(CHAINS_RUN)], dim=1)


def settled(share):
    """For each chain the t from which on (going down) `share` stays at 0.99 or more. Row k of share belongs to t = k + 1."""
    return torch.stack([(share[:, i] < 0.99).nonzero()[0, 0] for i in range(CHAINS_RUN)])


for name, share in {"which digit": of_digit, "which image": of_image}.items():
    at = settled(share)
    print(
        f"{name}: 99 % sure for good at t = {int(at.median())} (median; earliest {int(at.max())}, latest {int(at.min())})"
    )
for step in (1000, 800, 600, 400, 300, 200, 100):
    print(f"t = {step:4d}   images in the race {running[step - 1]:7.1f}")

fig, (left, right) = viz.figure(8.0, 2.8, ncols=2)
left.semilogy(every, running, color=viz.COLORS["blue"])
left.set(xlabel="t (time runs to the left)", title="training images in the race")
right.plot(every, of_digit.mean(dim=1), "--", color=viz.COLORS["green"], label="its digit")
right.plot(every, of_image.mean(dim=1), color=viz.COLORS["vermillion"], label="its image")
right.set(
    xlabel="t (time runs to the left)", title="probability of what it will be", ylim=(0, 1.03), xlim=(0, 600)
)
right.legend(frameon=False, fontsize=9, loc="upper right")
viz.show(
    fig,
    alt="Left: the number of images in the race, on a logarithmic axis, is above 1000 until t = 650, then falls to 1 near t = 130. Right: the probability of the final digit rises from one tenth at t = 600 to nine tenths at t = 200 and 1 at t = 150; the probability of the final image follows about 100 steps later.",
)

# %% [markdown]
# Four hundred steps pass with most images still possible. Then the field thins out: the digit is settled first, in half of the chains by $t = 237$, and the image some hundred steps later. From $t = 95$ on all 24 chains are sure, and only noise is taken off.
#
# Watch it. Above $x_t$, below the guess $\hat x_0$, eight chains side by side; at $t = 0$, below, the nearest training images. The guess begins as the mean of all digits, and the race is on between 400 and 100.

# %%
frames, captions = [], []
for step in sorted(recorded, reverse=True):
    noisy, guess = recorded[step]
    frames.append(torch.cat([noisy[:8], guess[:8]]))  # (16, 1, 8, 8): x_t above, x0_hat below
    captions.append(f"t = {step}")
frames.append(torch.cat([drawn[:8], train[which[:8]]]))
captions.append("t = 0")  # here: the digits drawn, and below each the nearest training image
widgets.scrubber(
    torch.stack(frames).repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2),  # 4 x 4 dots a pixel
    captions,
    ncol=8,
    scale=2,
    alt="Above, eight noisy images that turn into digits as t falls from 1000 to 0. Below, the guesses: eight times the same grey mean digit at first, then blurs that split into different digits, and from about t = 100 the training images that the chains end at.",
)

# %% [markdown]
# ## Recap
#
# | | |
# |---|---|
# | posterior | $q(x_{t-1}\mid x_t,x_0) = \mathcal N(\tilde\mu_t, \tilde\beta_t I)$: precisions add; (7) by SymPy, and by brute force |
# | its mean | from $x_0$ and $x_t$, (7), or from $x_t$ and the noise, (11), with $\sqrt{1-\bar\alpha_t}$: mind the bar |
# | step back | $q(x_{t-1}\mid x_t)$ is in general not Gaussian, but its distance to one falls like $\beta^3$: hence many small steps |
# | variance | $\tilde\beta_t$ is right for a point, $\beta_t$ for $\mathcal N(0, I)$; other data of variance up to 1 lie between; beyond $t = 100$ it hardly matters |
# | one step | mean (11) plus $\sigma_t z$, and no noise at $t = 1$ |
# | perfect denoiser | of a finite training set: a softmax over its images. It copies. |
#
# Before you go: without looking, write down (11), and say for each root in it whether a bar belongs there, and why.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# How far can you carry an image into the noise and still get *the same image* back?
#
# Take training images, noise them to some $t$ by one jump, and run the reverse chain from there down to 0, with the perfect denoiser above.
#
# 1. Let $x_t = \sqrt{\bar\alpha_t}\,m_i + \sqrt{1-\bar\alpha_t}\,\varepsilon$. Show that $\log(w_i/w_j)$ is Gaussian (over $\varepsilon$) with mean $S$ and variance $2S$, where $S = \tfrac12\,\mathrm{SNR}(t)\,\lVert m_i-m_j\rVert^2$.
# 2. There are $N - 1$ rivals. Argue that $m_i$ keeps its lead against a rival at distance $d$ as long as $\tfrac12\,\mathrm{SNR}(t)\,d^2$ is well above $\log N$. Which $t$ does this give for the mean distance between two training digits, and for the distance to the nearest one?
# 3. Measure the share of images that come back as themselves, for $t$ from 50 to 600. Compare with 2.
# 4. When it does not come back as itself, does it at least come back as the same digit? What does that say about editing an image by noising and denoising it?
#
# <!-- BEGIN SOLUTION -->
# 1. With $\sigma^2 = 1-\bar\alpha_t$ and $\delta = \sqrt{\bar\alpha_t}\,(m_i-m_j)$, $\log(w_i/w_j) = \left(\lVert\delta+\sigma\varepsilon\rVert^2-\lVert\sigma\varepsilon\rVert^2\right)/(2\sigma^2) = \lVert\delta\rVert^2/(2\sigma^2) + \delta\cdot\varepsilon/\sigma$.
#    The first term is $S = \tfrac12\,\mathrm{SNR}(t)\,\lVert m_i-m_j\rVert^2$, the second is Gaussian with variance $\lVert\delta\rVert^2/\sigma^2 = 2S$.
# 2. $N$ rivals, each with a weight of about $e^{-S}$ relative to $m_i$, add up to $N e^{-S}$ and are negligible once $S$ is well above $\log N$. The next cell finds the two $t$. For a single nearest rival, $S$ of a few units is enough.
# 3. The share falls from nearly all at $t = 50$ to nearly none at $t = 600$, most of it between the two estimates: a few near rivals matter long before the crowd does.
# 4. The digit comes back much longer than the image. So at a suitable $t$ one keeps what the image shows and draws how it is drawn anew. Chapter 11 does this on purpose.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
between2 = torch.cdist(train.flatten(1), train.flatten(1)) ** 2
mean_d2 = between2.sum() / (len(train) * (len(train) - 1))
near_d2 = (between2 + 1e9 * torch.eye(len(train)).double()).min(dim=1).values.median()
for name, d2 in {"mean": mean_d2, "nearest": near_d2}.items():
    last = int((0.5 * schedule.snr[1:] * d2 >= math.log(len(train))).nonzero()[-1]) + 1
    print(f"{name} rival: squared distance {d2:.1f}, S is above log N up to t = {last}")

some = train[:100]
for start in (50, 100, 200, 300, 400, 600):
    xt = process.q_sample(some, torch.full((100,), start), noise_like(some), schedule)
    for step in range(start, 0, -5 if start > 100 else -1):  # of long chains every fifth step, by respacing
        t = torch.full((100,), step)
        previous = max(step - 5, 0) if start > 100 else step - 1
        keep, kept_before = abar[step] / abar[previous], abar[previous]
        x0_hat, _ = expect_x0(xt, t)
        mean = (kept_before.sqrt() * (1 - keep) * x0_hat + keep.sqrt() * (1 - kept_before) * xt) / (
            1 - abar[step]
        )
        xt = mean + ((1 - keep).sqrt() * noise_like(xt) if previous else 0)
    back = torch.cdist(xt.flatten(1), train.flatten(1)).argmin(dim=1)
    itself = (back == torch.arange(100)).double().mean()
    digit = (labels[back] == labels[:100]).double().mean()
    print(f"from t = {start:3d}   back as itself {itself:.2f}   as the same digit {digit:.2f}")
