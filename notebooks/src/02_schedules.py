# %% [markdown]
# # 02 · Schedules and the signal-to-noise audit
#
# {{ colab }}
#
# Sampling starts from pure noise. That is only right if the forward process really ends in pure noise, and whether it does is decided by one list of numbers: the schedule.
# In this chapter we compare schedules, build a meter for what is left of the image at $t = T$, and find out what a sampler does when too much is left.
#
# | | |
# |---|---|
# | **You will** | tell five schedules apart by $\beta_t$, $\bar\alpha_t$ and SNR · derive and measure $L_T$ in bits/dim · audit five published choices of $T$ and $\beta$ · see, with an exact network, how a wrong start spoils samples · rescale $\beta$ for another $T$, and take $T$ to infinity |
# | **Time** | 60 minutes |
# | **You need** | chapter 01; the logarithm, and the KL divergence by name |
# | **Equations** | the paper's (4), at $t = T$; the first term of (5) |

# %%
# {{ setup }}
import inspect
import math

import ipywidgets
import torch

from ddpm_lite import data, exact, losses, paper, process, samplers, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

generator = torch.Generator().manual_seed(2)  # all the noise of this chapter comes from here


def noise(*shape):
    """Standard Gaussian noise, float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


digits = data.from_uint8(data.digits().images)  # (1797, 1, 8, 8)
photo = data.from_uint8(data.photograph("flower", size=64))[None]  # (1, 3, 64, 64)
print("digits:", tuple(digits.shape), "| photograph:", tuple(photo.shape))

# %% [markdown]
# ## Five ways to spend a thousand steps
#
# A schedule is nothing but the list $\beta_1, \dots, \beta_T$. The paper takes a straight line and says so in one sentence; others have been tried since. The package knows five:
#
# | name | rule |
# |---|---|
# | `linear` | $\beta_t$ rises in a straight line from 0.0001 to 0.02: the paper's |
# | `quadratic` | $\sqrt{\beta_t}$ rises in a straight line between the same ends |
# | `constant` | $\beta_t$ is always the same |
# | `sigmoid` | $\beta_t$ climbs from close to one end to close to the other, along a logistic curve |
# | `cosine` | $\bar\alpha_t$ is chosen, a squared cosine, and $\beta_t$ follows from it ([Nichol & Dhariwal 2021](https://arxiv.org/abs/2102.09672)) |
#
# `schedules.REGISTRY` maps each name to its function. Register one of your own there and run the chapter again: it turns up in every list and menu.

# %%
every = {name: function(T=1000) for name, function in schedules.REGISTRY.items()}
for name, schedule in every.items():
    kept = schedule.alpha_bar
    print(
        f"{name:10s} beta_1 {schedule.beta[1]:.5f}   beta_T {schedule.beta[-1]:.3f}   alpha_bar_500 {kept[500]:.4f}   sqrt(alpha_bar_T) {kept[-1].sqrt():.4f}"
    )


# %%
def curves(values):
    """Two panels over t = 1..1000, a line for each schedule; values(schedule) gives both panels' numbers."""
    fig, axes = viz.figure(7.2, 2.6, ncols=2)
    styles = ["-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))]
    for i, (name, schedule) in enumerate(every.items()):
        for ax, line in zip(axes, values(schedule), strict=True):
            ax.plot(torch.arange(1, 1001), line, linestyle=styles[i % 5], label=name)
            ax.set(xlabel="t")
    return fig, axes


fig, (left, right) = curves(lambda schedule: (schedule.beta[1:], schedule.alpha_bar[1:]))
left.set(title=r"$\beta_t$", ylim=(0, 0.03))
right.set(title=r"$\bar\alpha_t$", ylim=(0, 1.03))
right.axhline(0.5, color=viz.COLORS["black"], linewidth=0.8)
left.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
viz.show(
    fig,
    alt="Two panels over t from 0 to 1000, five schedules each. beta: linear, quadratic and sigmoid rise to 0.02, the constant stays at 0.01, the cosine leaves the picture near the end. alpha_bar: the constant falls first, then linear, quadratic and sigmoid, and the cosine last.",
)

# %% [markdown]
# The last column of the table is what multiplies the image in $x_T$. Keep an eye on it: it is what this chapter is about.
#
# ## The other way round: choose ᾱ, and get β from it
#
# What matters to the image is $\bar\alpha_t$, so why not draw *that* curve as we like it, and let $\beta_t$ follow? Nichol and Dhariwal choose
#
# $$\bar\alpha_t = \frac{f(t)}{f(0)}, \qquad f(t) = \cos^2\!\left(\frac{t/T + s}{1 + s}\cdot\frac{\pi}{2}\right), \qquad s = 0.008 .$$
#
# It falls almost in a straight line in the middle and is flat at both ends. The small offset $s$ keeps $\beta_1$ from being vanishingly small.
#
# ### Exercise 02.1: cosine_alpha_bar


# %%
def cosine_alpha_bar(T, s=0.008):
    """alpha_bar_t = f(t) / f(0) for t = 0..T, the formula above. Returns float64 (T+1,), index 0 clean."""
    ### BEGIN SOLUTION
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return f / f[0]
    ### END SOLUTION


# %%
cosine_alpha_bar = check("02.1", cosine_alpha_bar)
# hint("02.1")

# %% [markdown]
# To get $\beta_t$ back, divide neighbours: $\bar\alpha_t = \bar\alpha_{t-1}\,\alpha_t$, so
#
# $$\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1} .$$
#
# The last one is a special case. $f(T) = \cos^2(\pi/2) = 0$ would make $\beta_T = 1$: a step that keeps nothing, after which not even the exact noise could bring the image back.
# So $\beta$ is capped at 0.999.

# %%
abar = cosine_alpha_bar(1000)
beta = 1 - abar[1:] / abar[:-1]
package = schedules.cosine(T=1000)

capped = (package.beta[1:] < beta - 1e-9).nonzero().flatten() + 1
print(
    "beta agrees with the package's, after the cap:", torch.allclose(beta.clamp(max=0.999), package.beta[1:])
)
print("steps that the cap changes:", capped.tolist())
print(f"largest difference in alpha_bar: {float((abar - package.alpha_bar).abs().max()):.4f}")
assert capped.tolist() == [1000]

# %% [markdown]
# ## Signal against noise, on one scale
#
# Chapter 01 had the signal-to-noise ratio $\mathrm{SNR}(t) = \bar\alpha_t/(1-\bar\alpha_t)$. It runs over many powers of ten, so we look at its natural logarithm,
#
# $$\log\mathrm{SNR}(t) = \log\bar\alpha_t - \log(1-\bar\alpha_t) .$$
#
# Positive: more signal than noise. Zero: as much of the one as of the other, $\bar\alpha_t = \tfrac12$. Negative: more noise.
# Nothing is lost on the way, as $\bar\alpha_t = 1/(1 + e^{-\log\mathrm{SNR}(t)})$ gives it back. So log SNR is one more name for the place on the way from image to noise,
# and one that does not depend on how the steps are numbered.
#
# ### Exercise 02.2: log_snr


# %%
def log_snr(t, schedule):
    """log SNR(t), the natural logarithm. t: int64 (B,), 1..T. Returns float64 (B,)."""
    ### BEGIN SOLUTION
    kept = schedule.alpha_bar[t]
    return torch.log(kept / (1 - kept))
    ### END SOLUTION


# %%
log_snr = check("02.2", log_snr)
# hint("02.2")

# %%
steps = torch.arange(1, 1001)
back = torch.sigmoid(log_snr(steps, every["linear"]))  # 1 / (1 + exp(-log SNR))
print("alpha_bar comes back from log SNR:", torch.allclose(back, every["linear"].alpha_bar[1:]))

fig, (left, right) = curves(lambda schedule: (schedule.snr[1:], log_snr(steps, schedule)))
left.set(title="SNR(t)", ylim=(0, 4))
right.set(title="log SNR(t)", ylim=(-12, 10))
left.axhline(1, color=viz.COLORS["black"], linewidth=0.8)
right.axhline(0, color=viz.COLORS["black"], linewidth=0.8)
left.legend(frameon=False, fontsize=9, loc="upper right")
viz.show(
    fig,
    alt="Two panels over t from 0 to 1000, five schedules each. SNR falls through 1, the constant schedule first, then linear, quadratic, sigmoid and cosine. log SNR falls from about 9 or 10, or 5 for the constant, to about minus 10; the quadratic stops at minus 7, and the cosine dives out of the picture at the very end.",
)

# %% [markdown]
# The thin black lines mark one event three times: $\bar\alpha_t = \tfrac12$ in the figure further up, SNR 1 and log SNR 0 here.
# And here are two of the schedules as pictures: the same photograph and the same noise, linear on the left, cosine on the right. Stop at $t = 400$ and compare.

# %%
small = data.from_uint8(data.photograph("flower", size=40))[None]
eps = torch.randn(small.shape, generator=generator)
times = list(range(0, 1001, 50))
pairs = [
    torch.cat([process.q_sample(small, torch.tensor([t]), eps, every[name]) for name in ("linear", "cosine")])
    if t
    else small.repeat(2, 1, 1, 1)
    for t in times
]
widgets.scrubber(
    torch.stack(pairs),
    [f"t = {t}" for t in times],
    ncol=2,
    scale=5,
    quality=75,
    start=8,
    alt="The photograph dissolves into noise, under the linear schedule on the left and the cosine schedule on the right. The right one lasts longer.",
)

# %% [markdown]
# ## Where the noise takes over
#
# A number is better than an eye. As SNR only ever falls, "the first $t$ below a level" says it all.
#
# ### Exercise 02.3: first_below


# %%
def first_below(schedule, level):
    """The first t in 1..T with SNR(t) < level, as an int; T + 1 if there is none."""
    ### BEGIN SOLUTION
    return int((schedule.snr >= level).sum())  # SNR falls, and entry 0 is infinite
    ### END SOLUTION


# %%
first_below = check("02.3", first_below)
# hint("02.3")

# %% [markdown]
# **What do you expect?** Two counts for each schedule: how many of the 1000 steps have more signal than noise, and how many are spent where there is next to nothing left to see, below SNR 0.01. Which schedule has the most of the first kind? Of the second?

# %%
print("schedule     noise takes over at   SNR < 0.01 from   steps below 0.01")
for name, schedule in every.items():
    level, lost = first_below(schedule, 1), first_below(schedule, 0.01)
    print(f"{name:12s} t = {level:4d} {'t = ' + str(lost):>22s} {schedule.T + 1 - lost:14d}")
assert first_below(every["linear"], 1) == paper.FACTS["half_signal_t"].value + 1

# %% [markdown]
# <details><summary>Answer</summary>
#
# The cosine keeps the signal ahead longest, to the middle of the chain, and spends only 64 steps below 0.01. The constant schedule is the opposite: after 68 steps the noise leads, and more than half of the chain is spent below 0.01.
# The paper's linear schedule stands between, with noise ahead from $t = 260$ and 326 steps below 0.01. Nichol and Dhariwal argue that on small images such steps do little, and made the cosine schedule to spend fewer there.
#
# </details>
#
# ## A meter for what is left: $L_T$
#
# The sampler starts from $p(x_T) = \mathcal N(0, I)$. The forward process ends in $q(x_T\mid x_0)$, by (4) a Gaussian around $\sqrt{\bar\alpha_T}\,x_0$. How far apart are the two?
# The paper's bound on the log-likelihood, which chapter 04 derives, begins with exactly this distance, a KL divergence:
#
# $$L = \mathbb E_q\Big[\underbrace{D_{\mathrm{KL}}\big(q(x_T\mid x_0)\,\|\,p(x_T)\big)}_{L_T} + \dots\Big] \tag{5}$$
#
# There is nothing to learn in $L_T$: no network appears in it. The schedule alone sets it. The pixels are independent, so we need one pixel, with mean $\mu = \sqrt{\bar\alpha_T}\,x_0$ and variance $\sigma^2 = 1-\bar\alpha_T$.
#
# **Line 1: the logarithm of the ratio of the two densities.** The constants $\sqrt{2\pi}$ cancel:
#
# $$\log\frac{q(x)}{p(x)} = -\tfrac12\log\sigma^2 - \frac{(x-\mu)^2}{2\sigma^2} + \frac{x^2}{2} .$$
#
# **Line 2: its mean under $q$.** There $\mathbb E(x-\mu)^2 = \sigma^2$ and $\mathbb E x^2 = \mu^2 + \sigma^2$:
#
# $$D_{\mathrm{KL}} = \tfrac12\left(\mu^2 + \sigma^2 - 1 - \log\sigma^2\right).$$
#
# **Line 3: insert $\mu$ and $\sigma^2$.**
#
# $$D_{\mathrm{KL}} = \tfrac12\left(\bar\alpha_T\,x_0^2 - \bar\alpha_T - \log(1-\bar\alpha_T)\right).$$
#
# The next cell runs all three: line 1 against PyTorch's own densities at every point of a grid, line 2 against the integral of line 1, line 3 against line 2.

# %%
kept, pixel = schedules.linear(T=50).alpha_bar[-1], 0.8  # 50 steps of the paper's beta: much is left
mu, sigma2 = kept.sqrt() * pixel, 1 - kept
q = torch.distributions.Normal(mu, sigma2.sqrt())
p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))

x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
log_ratio = -0.5 * torch.log(sigma2) - (x - mu) ** 2 / (2 * sigma2) + x**2 / 2
line_1 = torch.allclose(log_ratio, q.log_prob(x) - p.log_prob(x))
integral = torch.trapezoid(q.log_prob(x).exp() * log_ratio, x)
line_2 = 0.5 * (mu**2 + sigma2 - 1 - torch.log(sigma2))
line_3 = 0.5 * (kept * pixel**2 - kept - torch.log(1 - kept))
print("line 1 holds on the grid:", line_1)
print(f"integral {integral:.4f}   line 2 {line_2:.4f}   line 3 {line_3:.4f} nats")
assert line_1 and torch.allclose(integral, line_2) and torch.allclose(line_2, line_3)

# %% [markdown]
# That is in nats, for one pixel. Papers quote *bits/dim*: add up over the pixels of an image, divide by their number, and divide by $\ln 2$, since one nat is $1/\ln 2 = 1.44$ bits.
#
# ### Exercise 02.4: prior_bpd


# %%
def prior_bpd(x0, schedule):
    """L_T in bits/dim, one number an image, by line 3. x0: (B, ...), in [-1, 1]. Returns (B,), in x0's dtype."""
    ### BEGIN SOLUTION
    kept = schedule.alpha_bar[-1]
    nats = 0.5 * (kept * x0.square() - kept - torch.log(1 - kept))  # of each pixel
    return nats.flatten(1).mean(dim=1) / math.log(2)
    ### END SOLUTION


# %%
prior_bpd = check("02.4", prior_bpd)
# hint("02.4")

# %% [markdown]
# The paper reports "about $10^{-5}$ bits/dim". Let us measure. When $\bar\alpha_T$ is tiny, $-\log(1-\bar\alpha_T) \approx \bar\alpha_T$, and only the first term of line 3 is left:
# $L_T \approx \bar\alpha_T\,\overline{x_0^2}\,/\,(2\ln 2)$, where the bar over $x_0^2$ is the mean over the pixels.

# %%
print("schedule      digits    photograph   short formula, photograph    (bits/dim)")
for name, schedule in every.items():
    on_digits, on_photo = prior_bpd(digits.double(), schedule).mean(), prior_bpd(photo.double(), schedule)[0]
    short = schedule.alpha_bar[-1] * photo.double().square().mean() / (2 * math.log(2))
    print(f"{name:10s} {on_digits:9.1e} {on_photo:13.1e} {short:16.1e}")
measured = float(prior_bpd(photo.double(), every["linear"])[0])
print(
    f"mean square of the digits {digits.square().mean():.2f}, of the photograph {photo.square().mean():.2f}"
)
print(
    "the paper's figure, to within a factor of 2:",
    0.5 < measured / paper.FACTS["prior_bpd"].value < 2,
)
print(
    "the package's meter agrees:",
    torch.allclose(
        losses.prior_nats(photo, every["linear"]) / (12288 * math.log(2)),
        prior_bpd(photo, every["linear"]),
        atol=0,
    ),
)

# %% [markdown]
# The paper's order of magnitude is there. The digits leave half as much again as the photograph, as their mean square is half as large again.
# The quadratic schedule, with the same two ends, leaves about eighteen times as much; the cosine next to nothing.
#
# ## The audit: five published choices
#
# A thousand steps are slow, so teaching code likes fewer. Five choices that have been published all take the paper's $\beta$, from 0.0001 to 0.02. They differ in $T$.
#
# **What do you expect?** At $T = 300$, how much of the image is left in $x_T$: a thousandth, a hundredth, a tenth, a fifth? And at $T = 50$?

# %%
choices = {T: schedules.linear(T=T) for T in sorted(paper.SIGNAL_LEFT, reverse=True)}

print("   T   sqrt(alpha_bar_T)   SNR at T     L_T, bits/dim     bits in an 8 x 8 digit")
for T, schedule in choices.items():
    left, L_T = schedule.alpha_bar[-1].sqrt(), prior_bpd(digits.double(), schedule).mean()
    print(f"{T:4d} {left:16.4f} {schedule.snr[-1]:14.5f} {L_T:15.1e} {64 * L_T:20.3f}")
    assert abs(left - paper.SIGNAL_LEFT[T]) < 1e-3

# %% [markdown]
# <details><summary>Answer</summary>
#
# More than a fifth at $T = 300$, and more than three quarters at $T = 50$, where there is even more signal than noise *at the end*: SNR 1.5. Only the paper's own choice has nothing to answer for.
# The other four shortened the chain but left every step as small as it was.
#
# </details>

# %%
at_end = torch.cat(
    [process.q_sample(small, torch.tensor([T]), eps, schedule) for T, schedule in choices.items()]
)
for T, xT in zip(choices, at_end, strict=True):
    together = torch.stack([xT.flatten(), small.flatten()]).double()
    print(f"T = {T:4d}   correlation of x_T with the photograph {torch.corrcoef(together)[0, 1]:.2f}")

blocks = torch.nn.functional.avg_pool2d(at_end, 5)  # (5, 3, 40, 40) -> (5, 3, 8, 8)
blocks = blocks.repeat_interleave(5, dim=2).repeat_interleave(5, dim=3)
viz.show(
    viz.strip({"$x_T$": at_end, "averaged": blocks}, [f"T = {T}" for T in choices], scale=3),
    alt="The photograph at the last step of five chains, with the same noise, and below it averaged over blocks of 5 by 5 pixels. The flower is plain at T = 50 and glimmers at 150. The averages at T = 1000 are random greys and colours; towards T = 50 they turn into a warm spot on a dark ground.",
)

# %% [markdown]
# This is the last step of the forward process. The eye may miss what is left at $T = 300$; the correlation with the photograph, a few hundredths at most for noise alone, does not, and in averages over blocks of 5 × 5 pixels the picture darkens around a warm middle from column to column. The sampler, which starts from pure noise, will begin where training never was.
# Does that matter? A network that is not perfect might hide it or make it worse, so we take one that is perfect. For a few kinds of data the best possible answer $\mathbb E[\varepsilon\mid x_t]$
# is known in closed form (`ddpm_lite.exact`; chapter 05 derives it). Whatever goes wrong from here on is the schedule's fault alone.


# %%
def sample(mixture, xT, schedule, variance="beta"):
    """Algorithm 2 (chapter 09) with the best possible network for this data, from the given x_T."""

    def network(xt, t):
        return mixture.eps(xt, t, schedule)

    options = {"variance": variance, "clip": False, "generator": generator, "xT": xT}
    return samplers.last(samplers.ddpm(network, xT.shape, schedule, **options)).xt


# %% [markdown]
# ### One pixel, worked out
#
# Let the data be one pixel, $x_0\sim\mathcal N(m, s^2)$ with $m = -0.6$ and $s = 0.5$: rather dark. A perfect reverse process runs the chain of $q$ backwards, and so turns *any* $x_T$ that it is given into a draw from $q(x_0\mid x_T)$.
# (Algorithm 2 with the best network is not quite perfect, as its steps have a Gaussian of fixed variance; while $\beta_t\le 0.02$ the difference is too small to see here.)
# With $v = \bar\alpha_T s^2 + 1 - \bar\alpha_T$, the variance of $x_T$:
#
# **Line 1: what $x_T$ says about $x_0$.** Both are Gaussian with covariance $\sqrt{\bar\alpha_T}\,s^2$, so
#
# $$\mathbb E[x_0\mid x_T] = m + c\left(x_T - \sqrt{\bar\alpha_T}\,m\right), \qquad \mathrm{Var}[x_0\mid x_T] = s^2\left(1 - c\sqrt{\bar\alpha_T}\right), \qquad c = \sqrt{\bar\alpha_T}\,s^2/v .$$
#
# **Line 2: the right start gives the data back.** With $x_T\sim\mathcal N(\sqrt{\bar\alpha_T}\,m, v)$ the mean of the samples is $m$, and their variance is
#
# $$s^2\left(1-c\sqrt{\bar\alpha_T}\right) + c^2 v = s^2, \qquad\text{because } c\,v = \sqrt{\bar\alpha_T}\,s^2 .$$
#
# **Line 3: the start that is used.** With $x_T\sim\mathcal N(0, 1)$ the samples have
#
# $$\text{mean } m\left(1 - c\sqrt{\bar\alpha_T}\right), \qquad \text{variance } s^2 + c^2(1 - v) .$$
#
# The mean is pulled towards 0, middle grey. The variance is wrong as well, unless $v = 1$.

# %%
m, s = -0.6, 0.5
kept = choices[50].alpha_bar[-1]
v = kept * s**2 + 1 - kept
c = kept.sqrt() * s**2 / v

x0 = torch.linspace(m - 10 * s, m + 10 * s, 20_001, dtype=torch.float64)
for xT in (-1.5, 0.0, 2.0):  # line 1 against Bayes' rule on a grid
    posterior = torch.exp(-0.5 * ((x0 - m) / s) ** 2 - 0.5 * (xT - kept.sqrt() * x0) ** 2 / (1 - kept))
    posterior = posterior / posterior.sum()
    mean = (posterior * x0).sum()
    variance = (posterior * (x0 - mean) ** 2).sum()
    same_mean = torch.isclose(mean, m + c * (xT - kept.sqrt() * m))
    same_variance = torch.isclose(variance, s**2 * (1 - c * kept.sqrt()))
    print(f"x_T = {xT:4.1f}   line 1, mean: {bool(same_mean)}, variance: {bool(same_variance)}")
    assert same_mean and same_variance

line_2 = s**2 * (1 - c * kept.sqrt()) + c**2 * v
line_3 = s**2 * (1 - c * kept.sqrt()) + c**2
print("line 2:", bool(torch.isclose(line_2, torch.tensor(s**2, dtype=torch.float64))), end="   ")
print("line 3:", bool(torch.isclose(line_3, s**2 + c**2 * (1 - v))))
assert torch.allclose(line_2, torch.full_like(v, s**2)) and torch.allclose(line_3, s**2 + c**2 * (1 - v))

# %% [markdown]
# Now the experiment: 10,000 pixels from each start, through all $T$ steps, with the exact network.

# %%
n = 10_000
one_pixel = exact.gaussian(torch.full((1,), m, dtype=torch.float64), s**2)

print(f"the data: mean {m:.2f}, std {s:.2f}")
print("   T     predicted      from N(0, I)    from q(x_T)      (mean and std of the samples)")
for T, schedule in choices.items():
    kept = schedule.alpha_bar[-1]
    v = kept * s**2 + 1 - kept
    c = kept.sqrt() * s**2 / v
    mean, std = m * (1 - c * kept.sqrt()), (s**2 + c**2 * (1 - v)).sqrt()
    from_noise = sample(one_pixel, noise(n, 1), schedule)
    from_q = sample(one_pixel, one_pixel.noised(T, schedule).sample(n, generator), schedule)
    print(
        f"{T:4d} {mean:8.3f} {std:6.3f} {from_noise.mean():9.2f} {from_noise.std():6.2f} {from_q.mean():9.2f} {from_q.std():6.2f}"
    )
    assert abs(from_noise.mean() - mean) < 0.02 and abs(from_q.mean() - m) < 0.02

# %% [markdown]
# At $T = 50$ the pixel comes out too light, and with too much spread; from the right start it is as it should be. At $T = 300$ the harm is small: by the formula the mean is off by 0.007, hardly more than the standard error of the 10,000 samples, 0.005.
# One pixel alone, then, would let us off lightly. Images have more than one.
#
# ### Many pixels: every sample a perfect digit, and the set still wrong
#
# Take 600 digits as *all there is*, each as likely as the next. The best network for such data knows them by heart, and every sample is one of the 600. So nothing can be wrong with any single sample. What can be wrong is how often each one comes.
#
# Given $x_T$, digit $k$ comes with a probability that we can write down without running the chain: Bayes' rule on (4), with equal weights before,
#
# $$P(k\mid x_T) = \operatorname*{softmax}_k\left(-\frac{\|x_T - \sqrt{\bar\alpha_T}\,x^{(k)}\|^2}{2(1-\bar\alpha_T)}\right).$$


# %%
def chances(images, xT, schedule):
    """P(k | x_T) for a data set of these images (K, ...): (B, K)."""
    kept = schedule.alpha_bar[-1]
    distance2 = torch.cdist(xT.flatten(1), kept.sqrt() * images.flatten(1)).square()  # (B, K)
    return torch.softmax(-distance2 / (2 * (1 - kept)), dim=1)


def nearest(samples, images):
    """Which of the images each sample is: (B,)."""
    return torch.cdist(samples.flatten(1), images.flatten(1)).argmin(dim=1)


six_hundred, labels = digits[:600].double(), data.digits().labels[:600]
all_digits, schedule = exact.finite(six_hundred), choices[50]
starts = {"N(0, I)": noise(400, 1, 8, 8), "q(x_T)": all_digits.noised(50, schedule).sample(400, generator)}
samples = {name: sample(all_digits, xT, schedule) for name, xT in starts.items()}

came = {}
for name, xT in starts.items():
    k = nearest(samples[name], six_hundred)
    came[name] = torch.bincount(labels[k], minlength=10) / len(k)
    expected = chances(six_hundred, xT, schedule).sum(dim=0)  # how often each of the 600 should come
    exactly = torch.allclose(samples[name], six_hundred[k])
    print(
        f"from {name:8s} every sample is a digit: {exactly} | different ones: {len(k.unique())} | mean square {samples[name].square().mean():.2f}, expected {(expected @ six_hundred.square().flatten(1).mean(dim=1)) / len(k):.2f}"
    )
print(f"the data's mean square: {six_hundred.square().mean():.2f}")

# %%
many = chances(six_hundred, noise(20_000, 1, 8, 8), schedule).mean(dim=0)  # (600,), no chain needed
of_class = torch.zeros(10, dtype=torch.float64).index_add(0, labels, many)
of_data = torch.bincount(labels, minlength=10) / len(labels)
print(
    f"the most favoured digit comes {600 * many.max():.1f} times as often as it should, the least {600 * many.min():.2f} times"
)

fig, ax = viz.figure(6.4, 2.8)
at = torch.arange(10)
ax.bar(at - 0.2, of_class, 0.4, color=viz.COLORS["vermillion"], label="from N(0, I), by the formula")
ax.bar(at + 0.2, of_data, 0.4, color=viz.COLORS["sky"], label="in the data")
ax.plot(
    at - 0.2, came["N(0, I)"], "o", color=viz.COLORS["black"], markersize=4, label="from N(0, I), 400 samples"
)
ax.set(xticks=at, xlabel="digit", ylabel="share", ylim=(0, 0.19))
ax.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
viz.show(
    fig,
    alt="Bars for the ten digits. In the data each has about one tenth. Sampled from N(0, I) with T = 50, the ones and the sixes have a share of only about 0.06, and 0, 5 and 7 more than 0.12; black dots from 400 samples lie near the formula.",
)

# %% [markdown]
# No sample gives it away. The set does. Some of the 600 come many times as often as they should and others almost never, ones and sixes are rare, and the samples have a smaller mean square than the data: too little contrast.
# The reason stands in the formula. For $x_T$ around 0, the distance to $\sqrt{\bar\alpha_T}\,x^{(k)}$ is smallest for images that are themselves near 0: grey ones, of little contrast.
#
# ### At the size of a real image
#
# The exponent is a sum over pixels. So the same $\bar\alpha_T$ does more harm to a larger image. Our data are now five exposures of the flower, from very dark to as it was, at 32 × 32 in colour, the size of a CIFAR-10 image.
#
# **What do you expect?** We sample with $T = 300$, where the mean of one pixel was off by less than 0.01. Which of the five exposures will come?

# %%
bytes_ = data.photograph("flower", size=32).float()
light = [0.2, 0.4, 0.6, 0.8, 1.0]
exposures = torch.stack([data.from_uint8((f * bytes_).round().to(torch.uint8)) for f in light]).double()
five = exact.finite(exposures)  # (5, 3, 32, 32), each as likely as the next
print("mean square of the five:", [round(float(x.square().mean()), 2) for x in exposures])

schedule = choices[300]
starts = {"N(0, I)": noise(40, 3, 32, 32), "q(x_T)": five.noised(300, schedule).sample(40, generator)}
samples = {name: sample(five, xT, schedule) for name, xT in starts.items()}
shares = {name: torch.bincount(nearest(x, exposures), minlength=5) / len(x) for name, x in samples.items()}
for name, share in shares.items():
    print(
        f"from {name:8s} shares {[round(float(p), 2) for p in share]}   mean value {samples[name].mean():.2f}"
    )
print(f"the data:     shares {[0.2] * 5}   mean value {exposures.mean():.2f}")

viz.show(
    viz.strip({f"from ${name}$": x[:8].float() for name, x in samples.items()}, scale=2),
    alt="Two rows of eight samples. From N(0, I) all eight are one of the two brightest exposures of the flower. From q(x_T) there are very dark ones as well as bright ones.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only the lighter ones, which have the smallest mean square. The dark exposures, two fifths of the data, do not come at all. From $q(x_T)$ all five come, about as often as they should.
#
# </details>
#
# The formula gives the shares for all five choices of $T$, without a chain:

# %%
xT = noise(2000, 3, 32, 32)
fig, ax = viz.figure(6.2, 2.9)
for (T, schedule), marker in zip(choices.items(), "osD^v", strict=True):
    share = chances(exposures, xT, schedule).mean(dim=0)
    ax.plot(light, share, marker=marker, markersize=5, label=f"T = {T}")
    print(f"T = {T:4d}   shares {[round(float(p), 2) for p in share]}")
ax.plot(light, shares["N(0, I)"], "x", color=viz.COLORS["black"], markersize=8, label="T = 300, 40 samples")
ax.axhline(0.2, color=viz.COLORS["black"], linewidth=0.8, linestyle=":")
ax.set(xlabel="exposure", ylabel="share of the samples", ylim=(-0.03, 1.03), xticks=light)
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="The share of each exposure among samples from N(0, I). For T = 1000 all five are close to one fifth. For T = 300, 250, 150 and 50 the dark exposures have a share near 0 and the brightest gets from 0.6 to nearly all. Crosses from 40 samples lie near the curve of T = 300.",
)

# %% [markdown]
# This is the audit's result: at this size of image the paper's choice passes, the other four fail, and they fail in a way that no single sample shows. We have no reason to hope for more from a trained network:
# it is asked about an $x_T$ unlike any in its training.
#
# Far larger models have met the same fault. The schedule of the first Stable Diffusion leaves $\sqrt{\bar\alpha_T} = 0.068$, and
# [Lin et al. (2023)](https://arxiv.org/abs/2305.08891) trace to it that the model would not make very dark or very bright pictures.

# %%
latent = schedules.quadratic(1000, 0.00085, 0.012)  # the numbers of that model
share = chances(exposures, xT, latent).mean(dim=0)
print(
    f"sqrt(alpha_bar_T) = {latent.alpha_bar[-1].sqrt():.4f}   shares of our five exposures {[round(float(p), 2) for p in share]}"
)

# %% [markdown]
# ### $L_T$ is a ceiling for the harm
#
# A perfect sampler does the same to both starts. It cannot make them easier to tell apart than they were, so
#
# $$D_{\mathrm{KL}}\big(q(x_0)\,\|\,\text{samples}\big) \;\le\; D_{\mathrm{KL}}\big(q(x_T)\,\|\,\mathcal N(0, I)\big) \;\le\; \mathbb E_{x_0}[L_T] .$$
#
# (The second step: knowing $x_0$ makes $x_T$ only easier to tell from noise.) For the one pixel above, all three are in closed form:

# %%
print("   T   data | samples     q(x_T) | noise     mean L_T      (bits)")
zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
for T, schedule in choices.items():
    kept = schedule.alpha_bar[-1]
    v = kept * s**2 + 1 - kept
    c = kept.sqrt() * s**2 / v
    harm = losses.normal_kl(m * one, s**2 * one, m * (1 - c * kept.sqrt()), s**2 + c**2 * (1 - v))
    start = losses.normal_kl(kept.sqrt() * m, v, zero, one)
    ceiling = 0.5 * (kept * (m**2 + s**2) - kept - torch.log(1 - kept))
    bits = [float(x) / math.log(2) for x in (harm, start, ceiling)]
    print(f"{T:4d} {bits[0]:13.1e} {bits[1]:17.1e} {bits[2]:12.1e}")
    assert bits[0] <= bits[1] <= bits[2]

# %% [markdown]
# So a small $L_T$ is a promise. Mind that it is a promise for the *whole image*: multiply bits/dim by the number of dimensions, and ask for much less than one bit.
#
# ## The repair: β for another T
#
# $T$ steps have to do what the paper's thousand do. So each must add $1000/T$ times as much:
#
# $$\beta_1 = 0.0001\cdot\frac{1000}{T}, \qquad \beta_T = 0.02\cdot\frac{1000}{T}, \qquad\text{and a straight line between.}$$
#
# ### Exercise 02.5: rescaled_beta


# %%
def rescaled_beta(T):
    """The paper's linear schedule for T steps, both ends times 1000 / T. Returns float64 (T+1,), index 0 clean."""
    ### BEGIN SOLUTION
    scale = 1000 / T
    beta = torch.linspace(1e-4 * scale, 0.02 * scale, T, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), beta])
    ### END SOLUTION


# %%
rescaled_beta = check("02.5", rescaled_beta)
# hint("02.5")

# %% [markdown]
# If the rule is right, $\bar\alpha$ should hardly change as a function of $t/T$, the share of the way. We compare with the paper's 1000 steps at the same share.

# %%
reference = schedules.linear(T=1000)


def gap(schedule):
    """The largest difference to alpha_bar of the paper's schedule at the same t / T. 1000 / T must be whole."""
    return float((schedule.alpha_bar - reference.alpha_bar[:: 1000 // schedule.T]).abs().max())


print("   T    gap, as it was   gap, rescaled   sqrt(alpha_bar_T)   beta_T     L_T, bits/dim, digits")
for T in (500, 250, 100, 50, 25):
    repaired = schedules.Schedule(rescaled_beta(T), f"linear, rescaled to {T}")
    print(
        f"{T:4d} {gap(schedules.linear(T=T)):13.4f} {gap(repaired):15.4f} {repaired.alpha_bar[-1].sqrt():17.4f} {repaired.beta[-1]:13.2f} {prior_bpd(digits.double(), repaired).mean():15.1e}"
    )
    assert repaired.alpha_bar[-1] < reference.alpha_bar[-1]

# %%
repaired = schedules.Schedule(rescaled_beta(50), "linear, rescaled to 50")
fig, (left, right) = viz.figure(7.4, 2.8, ncols=2)
for schedule, label, style in [
    (reference, "T = 1000, the paper's", "-"),
    (choices[50], "T = 50, β as it was", "--"),
    (repaired, "T = 50, β · 1000/50", "o"),
]:
    u = torch.arange(schedule.T + 1) / schedule.T
    left.plot(u, schedule.alpha_bar, style, label=label, markersize=3)
    right.plot(u[1:], schedule.snr[1:].log(), style, label=label, markersize=3)
left.set(xlabel="t / T", title=r"$\bar\alpha_t$")
right.set(xlabel="t / T", title="log SNR(t)")
right.legend(frameon=False, fontsize=9, loc="lower left")
viz.show(
    fig,
    alt="alpha_bar and log SNR over t / T. The dots of the rescaled 50 steps lie on the paper's curve, a little below it at the end. The 50 steps with beta as it was end at 0.6 and at log SNR 0.4.",
)

# %% [markdown]
# ### What the repair does, and what it cannot do
#
# The five exposures again, in 50 steps from pure noise:

# %%
xT = noise(200, 3, 32, 32)
k = nearest(sample(five, xT, repaired), exposures)
measured, predicted = torch.bincount(k, minlength=5) / len(k), chances(exposures, xT, repaired).mean(dim=0)
print("200 samples:", [round(float(p), 2) for p in measured])
print("the formula:", [round(float(p), 2) for p in predicted])
print(
    "all within 4 standard errors:", bool((measured - predicted).abs().max() < 4 * math.sqrt(0.2 * 0.8 / 200))
)

# %% [markdown]
# All five are back. The start is right again. Two limits remain.
#
# **The rule ends at $T = 20$**, where $\beta_T = 1000/20\cdot 0.02 = 1$: a last step that keeps nothing. (`schedules.respace` avoids this. It picks $T$ of the thousand values of $\bar\alpha_t$ and takes $\beta$ from their ratios, as the cosine does; chapter 12 uses it.)
#
# **Large steps are harder to undo.** The larger $\beta_t$, the less a reverse step is a Gaussian; and for its variance the paper offers two choices, $\tilde\beta_t$ and $\beta_t$ (chapter 03), which move apart.
# Our one pixel is all Gaussian, so it shows the second trouble alone. No samples are needed: with $v_t = \bar\alpha_t s^2 + 1-\bar\alpha_t$, a reverse step multiplies what differs from the mean by
# $\sqrt{\alpha_t}\,v_{t-1}/v_t$ and adds the variance $\sigma_t^2$, none at $t = 1$.


# %%
def final_std(schedule, variance):
    """The std of the one pixel after algorithm 2 with the exact network, from x_T ~ N(0, 1)."""
    v = schedule.alpha_bar * s**2 + 1 - schedule.alpha_bar
    gain = schedule.alpha[1:].sqrt() * v[:-1] / v[1:]  # at t = 1..T
    sigma2 = getattr(schedule, variance)[1:]
    total = 1.0
    for t in range(schedule.T, 0, -1):
        total = gain[t - 1] ** 2 * total + (sigma2[t - 1] if t > 1 else 0)
    return float(total) ** 0.5


try:
    schedules.Schedule(rescaled_beta(20))
except ValueError as error:
    print("T = 20:", error)

print(f"\nthe data: std {s:.3f}\n   T    beta_T    with variance beta   with beta_tilde")
for T in (1000, 200, 100, 50, 25):
    schedule = schedules.Schedule(rescaled_beta(T))
    print(
        f"{T:4d} {schedule.beta[-1]:9.2f} {final_std(schedule, 'beta'):16.3f} {final_std(schedule, 'beta_tilde'):18.3f}"
    )
for variance in ("beta", "beta_tilde"):
    sampled = float(sample(one_pixel, noise(n, 1), schedule, variance).std())
    agree = abs(sampled - final_std(schedule, variance)) < 4 * sampled / math.sqrt(2 * n)
    print(f"10,000 samples with {variance}, T = 25, agree within 4 standard errors: {agree}")
    assert agree

# %% [markdown]
# Rescaling mends where the chain starts. It does not make 25 steps as good as 1000.
#
# ### Why the cosine needs no repair
#
# Its formula holds $t/T$ and nothing else, so $\bar\alpha$ at a given share of the way is the same for every $T$. What it does to $\beta$ on the way is the rescaling, done of itself.

# %%
long = schedules.cosine(T=1000)
for T in (250, 50, 20):
    short = schedules.cosine(T=T)
    same = torch.allclose(short.alpha_bar[:-1], long.alpha_bar[:: 1000 // T][:-1])
    print(
        f"T = {T:3d}   alpha_bar agrees at every t / T but the last: {same}   sqrt(alpha_bar_T) {short.alpha_bar[-1].sqrt():.4f}   beta_1 {short.beta[1]:.4f}"
    )
    assert same

# %% [markdown]
# At the last step the cap of 0.999 leaves a trace, which grows as $T$ falls, but stays small.
#
# ## Infinitely many steps
#
# Take the rule at its word and let $T$ grow. With $u = t/T$ and $b(u) = 0.1 + 19.9\,u$, the rescaled schedule is $\beta_t \approx b(t/T)/T$. What becomes of $\bar\alpha$?
#
# **Line 1: products are sums of logarithms.** And $-\log(1-\beta) = \beta + \beta^2/2 + \beta^3/3 + \dots$, so
#
# $$-\log\bar\alpha_T = -\sum_{t=1}^T\log(1-\beta_t) = \sum_t\beta_t + \tfrac12\sum_t\beta_t^2 + \tfrac13\sum_t\beta_t^3 + \dots$$
#
# **Line 2: the first sum is an area.** Of a straight line, and so the same for every $T$:
#
# $$\sum_t\beta_t = T\cdot\frac{\beta_1+\beta_T}{2} = \int_0^1 b(u)\,du = 10.05 .$$
#
# **Line 3: the second sum fades.** Its terms are like $1/T^2$, there are $T$ of them, and so it falls like $1/T$; the later ones fall faster still:
#
# $$T\cdot\tfrac12\sum_t\beta_t^2 \;\longrightarrow\; \tfrac12\int_0^1 b(u)^2\,du = \tfrac12\left(0.1^2 + 0.1\cdot 19.9 + \frac{19.9^2}{3}\right) = 67.00 .$$

# %%
beta = rescaled_beta(1000)[1:]
series = sum((beta**j).sum() / j for j in range(1, 12))
line_1 = torch.isclose(-torch.log1p(-beta).sum(), series, rtol=1e-12)
print("line 1, eleven terms:", bool(line_1))
assert line_1

limit = 0.5 * (0.1**2 + 0.1 * 19.9 + 19.9**2 / 3)
for T in (100, 1000, 10_000, 100_000):
    beta = rescaled_beta(T)[1:]
    area, total = beta.sum(), -torch.log1p(-beta).sum()
    print(f"T = {T:6d}   line 2: {area:.4f}   T (-log alpha_bar_T - 10.05): {T * (total - 10.05):.2f}")
    assert torch.isclose(area, torch.tensor(10.05, dtype=torch.float64))
print(f"line 3: {limit:.2f}")
assert abs(T * (total - 10.05) - limit) < 0.05

# %% [markdown]
# The same holds for every part of the way. So there is a limit, and it knows no steps any more:
#
# $$\bar\alpha(u) = \exp\left(-\int_0^u b(w)\,dw\right) = \exp\left(-0.1\,u - 9.95\,u^2\right) .$$
#
# $b$ is a *rate*: noise per unit of time. A schedule for $T$ steps is one way to cut that time into pieces. Chapter 15 works in the limit, with differential equations in place of steps.

# %%
for T in (50, 500, 5000):
    schedule = schedules.Schedule(rescaled_beta(T))
    u = torch.arange(T + 1, dtype=torch.float64) / T
    apart = float((schedule.alpha_bar - torch.exp(-0.1 * u - 9.95 * u**2)).abs().max())
    print(f"T = {T:4d}   largest difference to the limit {apart:.4f}   times T: {T * apart:.2f}")
print(
    f"in the limit sqrt(alpha_bar) ends at {math.exp(-10.05 / 2):.4f}; the paper's thousand steps at {reference.alpha_bar[-1].sqrt():.4f}"
)

# %% [markdown]
# ## Turn the knobs
#
# A schedule, its length, and its last $\beta$ (the cosine has none and ignores it). `share` is $t/T$, the place where the photograph is shown. The dashed black line is the paper's.
# Two things to try. With `linear` and $T = 50$, find the $\beta_T$ that leaves no more signal than the paper. Then go to `quadratic`: does it need more or less?


# %% tags=["nbval-ignore-output"]
def build(name, T, beta_T):
    """A schedule by name, with beta_T given to those that take it."""
    takes = inspect.signature(schedules.REGISTRY[name]).parameters
    return schedules.REGISTRY[name](T=T, **{key: beta_T for key in ("beta_T", "beta") if key in takes})


fig, (kept_ax, log_ax, photo_ax) = viz.figure(8.6, 2.9, ncols=3)
lines = {}
for ax, title in [(kept_ax, r"$\bar\alpha_t$"), (log_ax, "log SNR(t)")]:
    ax.set(xlabel="t / T", title=title, xlim=(0, 1))
    (paper_line,) = ax.plot([], [], "--", color=viz.COLORS["black"], linewidth=1, label="the paper's")
    (lines[ax],) = ax.plot([], [], color=viz.COLORS["blue"], linewidth=2, label="yours")
    lines[ax, "place"] = ax.plot([], [], "o", color=viz.COLORS["vermillion"], markersize=6, clip_on=False)[0]
    source = reference.alpha_bar if ax is kept_ax else reference.snr.log().clamp(max=12)
    paper_line.set_data(torch.arange(1001) / 1000, source)
kept_ax.set(ylim=(0, 1.03))
log_ax.set(ylim=(-22, 12))
kept_ax.legend(frameon=False, fontsize=9, loc="upper right")


def draw(name, T, beta_T, share):
    """The schedule's two curves, and the photograph at t = share * T."""
    schedule, t = build(name, T, beta_T), max(1, round(share * T))
    u, bits = torch.arange(T + 1) / T, float(prior_bpd(photo, schedule)[0])
    for ax, values in [(kept_ax, schedule.alpha_bar), (log_ax, schedule.snr.log().clamp(max=12))]:
        lines[ax].set_data(u, values)
        lines[ax, "place"].set_data([u[t]], [values[t]])
    xt = process.q_sample(small, torch.tensor([t]), eps, schedule)
    viz.image(photo_ax, xt[0], f"the photograph at t = {t}")
    left = float(schedule.alpha_bar[-1].sqrt())
    photo_ax.set_xlabel(f"√ᾱ at T: {left:.4f}, L_T: {bits:.1e} bits/dim", fontsize=9)  # plain text is faster
    return fig


widgets.live(
    draw,
    name=ipywidgets.Dropdown(options=list(schedules.REGISTRY), description="schedule"),
    T=ipywidgets.IntSlider(150, 10, 1000, 10, description="T"),
    beta_T=ipywidgets.FloatLogSlider(0.02, base=10, min=-3, max=-0.05, step=0.01, description="beta_T"),
    share=ipywidgets.FloatSlider(1.0, min=0, max=1, step=0.01, description="share"),
    alt=lambda name, T, beta_T, share: (
        f"alpha_bar and log SNR of the {name} schedule with T = {T} and beta_T = {beta_T:.3f}, beside the paper's, and the photograph at {share:.2f} of the way."
    ),
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With `linear`, about 0.35: somewhat less than the rule's $0.02\cdot 1000/50 = 0.4$, which overshoots a little, as the table above said. With `quadratic` more, about 0.49: between the same two ends its $\beta_t$ stay small for longer.
#
# </details>
#
# ## Recap
#
# | | |
# |---|---|
# | schedule | a list $\beta_1,\dots,\beta_T$; or a curve $\bar\alpha_t$, from which $\beta_t = 1-\bar\alpha_t/\bar\alpha_{t-1}$ |
# | log SNR | $\log\bar\alpha_t - \log(1-\bar\alpha_t)$; zero where noise takes over: after $t = 259$ in the paper, near the middle with the cosine |
# | $L_T$ | $\tfrac12(\bar\alpha_T x_0^2 - \bar\alpha_T - \log(1-\bar\alpha_T))$ nats a pixel; nothing to learn, the schedule alone sets it; about $10^{-5}$ bits/dim in the paper |
# | too much left | the sampler starts where training never was: means pulled to grey, dark images missing; the larger the image, the worse |
# | the repair | $\beta\cdot 1000/T$, for $T$ well above 20; the cosine does it of itself |
# | $T\to\infty$ | $\bar\alpha(u) = \exp(-\int_0^u b)$ |
#
# Before you go: you are handed a diffusion model and its list of $\beta$. What do you compute first, and what do you hope to see?
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# How small is small enough? It depends on the size of the image, and you can work out how.
#
# 1. Let the data be two flat images of $D$ pixels each, all of value $a = -0.9$ (dark) or all of value $b = 0.3$ (light), equally likely. Start at $x_T\sim\mathcal N(0, I)$. Show that the dark one comes with probability
#    $P(\text{dark}) = \mathbb E_z\,\mathrm{sigmoid}\!\left(\frac{\sqrt{\bar\alpha_T D}\,(a-b)\,z - \frac12\bar\alpha_T D\,(a^2-b^2)}{1-\bar\alpha_T}\right)$ with $z\sim\mathcal N(0,1)$. What does it depend on, apart from $a$ and $b$?
# 2. Compute it for the five choices of the audit and for images of 8 × 8 in grey, and 32 × 32 and 256 × 256 in colour. Does the paper's schedule pass at every size?
# 3. Suppose you force $\bar\alpha_T = 0$ exactly. Which function of `process` breaks at $t = T$, and why can a network that predicts $\varepsilon$ do nothing useful there? What could it predict in its place?
# 4. What is the smallest $T$ for which the paper's $\beta$, not rescaled, leaves $\sqrt{\bar\alpha_T} < 0.01$? Estimate it from the continuous limit first.
#
# <!-- BEGIN SOLUTION -->
# 1. By Bayes' rule the odds of dark are $\exp$ of half the difference of the squared distances, divided by $1-\bar\alpha_T$. Written out, $\|x_T\|^2$ cancels, and what is left is
#    $\sqrt{\bar\alpha_T}\,(a-b)\sum_i x_{T,i} - \frac12\bar\alpha_T D(a^2-b^2)$. The sum of $D$ independent standard Gaussians is $\sqrt D\,z$. So it depends on $\bar\alpha_T D$ (and, hardly, on $1-\bar\alpha_T$): signal per pixel times number of pixels.
# 2. The next cell. At 256 × 256 even the paper's schedule gives the dark image a share of about one fifth in place of one half. That the images are flat does not matter: turn the sign of the same pixels in both, and nothing changes. What counts is how many pixels tell the two apart.
# 3. `process.predict_x0` divides by $\sqrt{\bar\alpha_T} = 0$. At SNR 0, $x_T = \varepsilon$: the best prediction of the noise is the input itself, which says nothing about $x_0$. A network that predicts $x_0$, or
#    $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$, which at $t = T$ is $-x_0$, still has something to say there: the mean of the data.
# 4. $\beta$ sums to $T(\beta_1+\beta_T)/2 = 0.01005\,T$, and $\sqrt{\bar\alpha_T}\approx\exp(-0.01005\,T/2) < 0.01$ for $T > 916$. The terms in $\beta^2$ bring it down a little: the next cell finds the exact value.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
a, b = -0.9, 0.3
z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
weight = torch.exp(-0.5 * z**2) / torch.exp(-0.5 * z**2).sum()
print("share of the dark image        8 x 8    32 x 32 x 3    256 x 256 x 3")
for T, schedule in choices.items():
    kept = schedule.alpha_bar[-1]
    shares = []
    for D in (64, 3072, 196608):
        odds = ((kept * D).sqrt() * (a - b) * z - 0.5 * kept * D * (a**2 - b**2)) / (1 - kept)
        shares.append(float((weight * torch.sigmoid(odds)).sum()))
    print(f"T = {T:4d} {shares[0]:27.2f} {shares[1]:14.2f} {shares[2]:16.2f}")

estimate = -2 * math.log(0.01) / 0.01005
smallest = next(T for T in range(850, 1001) if schedules.linear(T=T).alpha_bar[-1].sqrt() < 0.01)
print(f"smallest T: estimated {estimate:.0f}, exactly {smallest}")
