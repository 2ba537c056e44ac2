# %% [markdown]
# # 01 · The forward process
#
# {{ colab }}
#
# To learn how to make images out of noise, we first learn how to turn images into noise, slowly and in a way we understand completely.
# Nothing in this chapter is learned. Everything in it can be computed, and we check each claim by running it.
#
# | | |
# |---|---|
# | **You will** | add noise to an image step by step · derive the jump that replaces $t$ steps, and test it by experiment · compute $\alpha_t$, $\bar\alpha_t$ and the signal-to-noise ratio · tell what is still left of an image at step $t$ · find out why one step back is not enough |
# | **Time** | 50 minutes |
# | **You need** | chapter 00; means, variances, and that independent Gaussians add up to a Gaussian |
# | **Equations** | the paper's (2) and (4) |

# %%
# {{ setup }}
import math

import ipywidgets
import torch

from ddpm_lite import data, process, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

generator = torch.Generator().manual_seed(1)  # all the noise of this chapter comes from here


def noise_like(x):
    """Gaussian noise in the shape and dtype of x."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


# %% [markdown]
# ## Two images to destroy
#
# A handwritten digit, 8 × 8 grey pixels, and a colour photograph, 64 × 64. Bytes 0…255 become numbers in $[-1, 1]$:
# the noise will have mean zero, so the image should sit around zero as well.

# %%
digits = data.digits()
digit = data.from_uint8(digits.images[3:4])  # (1, 1, 8, 8)
photo = data.from_uint8(data.photograph("flower", size=64))[None]  # (1, 3, 64, 64)
print(
    "digit:",
    tuple(digit.shape),
    "| photograph:",
    tuple(photo.shape),
    "| within [-1, 1]:",
    bool(max(digit.abs().max(), photo.abs().max()) <= 1),
)

fig, axes = viz.figure(5.2, 2.8, ncols=2)
viz.image(axes[0], digit[0], "a 3, 8 × 8")
viz.image(axes[1], photo[0], "photograph, 64 × 64")
viz.show(
    fig,
    alt="The two images of this chapter: a handwritten 3 in 8 by 8 grey pixels, and a photograph of a flower in 64 by 64 colour pixels.",
)

# %% [markdown]
# ## How much noise: β, α and ᾱ
#
# The paper destroys an image in $T = 1000$ steps. Step $t$ replaces a small part $\beta_t$ of the variance by fresh noise and keeps the rest,
#
# $$\alpha_t = 1 - \beta_t .$$
#
# The parts grow in a straight line from $\beta_1 = 0.0001$ to $\beta_{1000} = 0.02$. That list of numbers is the *schedule*.
# What $t$ steps keep between them is the product
#
# $$\bar\alpha_t = \alpha_1\,\alpha_2 \cdots \alpha_t .$$
#
# In code, all three are arrays with $T + 1$ entries. Entry $t$ belongs to step $t$, and entry 0 is the clean image:
# $\beta_0 = 0$ and $\bar\alpha_0 = 1$. So no index ever has to be shifted. Schedules are kept in `float64`, images mostly in `float32`.
#
# ### Exercise 01.1: alpha_bar from beta
#
# Given all the $\beta_t$, compute all the $\bar\alpha_t$.


# %%
def alpha_bar(beta):
    """alpha_bar_t = alpha_1 ... alpha_t, where alpha_t = 1 - beta_t. beta and the result: (T+1,), index 0 clean."""
    ### BEGIN SOLUTION
    return torch.cumprod(1 - beta, dim=0)
    ### END SOLUTION


# %%
alpha_bar = check("01.1", alpha_bar)
# hint("01.1")

# %% [markdown]
# From here on `schedule` holds the paper's numbers: `schedule.beta`, `.alpha`, `.alpha_bar`.

# %%
schedule = schedules.linear(T=1000)
half = int((schedule.alpha_bar >= 0.5).nonzero()[-1])

print("the same as yours:", torch.allclose(alpha_bar(schedule.beta), schedule.alpha_bar))
for t in (1, 100, 259, 500, 1000):
    print(
        f"t = {t:4d}   beta {schedule.beta[t]:.4f}   alpha {schedule.alpha[t]:.4f}   alpha_bar {schedule.alpha_bar[t]:.5f}"
    )
print("last t with alpha_bar at or above one half:", half)
print(f"what multiplies the image at t = 1000: sqrt(alpha_bar) = {schedule.alpha_bar[1000].sqrt():.4f}")
assert half == 259

# %%
fig, ax = viz.figure(6.4, 2.8)
ax.plot(schedule.alpha, label=r"$\alpha_t$, kept by step t")
ax.plot(schedule.alpha_bar, label=r"$\bar\alpha_t$, kept by steps 1 … t")
ax.plot(schedule.alpha_bar.sqrt(), "--", label=r"$\sqrt{\bar\alpha_t}$, factor of the image")
ax.plot([half], [0.5], "o", color=viz.COLORS["black"], markersize=5)
ax.annotate(f"t = {half}", (half, 0.5), (half - 20, 0.45), ha="right")
ax.set(xlabel="t", ylim=(0, 1.03))
ax.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.62))
viz.show(
    fig,
    alt="Three curves over t. alpha stays between 0.98 and 1. alpha_bar falls from 1 to 0 in an S shape and passes one half just after t = 259. Its square root falls more slowly.",
)

# %% [markdown]
# Each single step keeps at least 98 % of the variance. A thousand of them keep almost nothing.
#
# ## One step
#
# Step $t$ draws $x_t$ from a Gaussian around a slightly shrunken $x_{t-1}$:
#
# $$q(x_t \mid x_{t-1}) = \mathcal N\!\left(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\right) \tag{2}$$
#
# The second argument is a **variance**. To draw from $\mathcal N(m, v)$ take standard noise $\varepsilon \sim \mathcal N(0, 1)$ and compute $m + \sqrt v\,\varepsilon$:
#
# $$x_t = \sqrt{1-\beta_t}\;x_{t-1} + \sqrt{\beta_t}\;\varepsilon_t ,$$
#
# where each $\varepsilon_t$ is new, and independent of everything before it.
#
# Each image of a batch may have its own $t$. So `t` has shape `(B,)`, its coefficient too, and to multiply images `(B, C, H, W)`
# it needs the shape `(B, 1, 1, 1)`. `process.at(values, t, x)` looks `values[t]` up and does just that, in the dtype of `x`.
#
# ### Exercise 01.2: q_step


# %%
def q_step(xt_prev, t, eps, schedule):
    """x_t ~ q(x_t | x_{t-1}), eq. (2). xt_prev and eps: (B, ...), t: int64 (B,). Returns x_t, shaped as xt_prev."""
    ### BEGIN SOLUTION
    keep = process.at((1 - schedule.beta).sqrt(), t, xt_prev)  # (B,) -> (B, 1, ..., 1)
    noise = process.at(schedule.beta.sqrt(), t, xt_prev)
    return keep * xt_prev + noise * eps
    ### END SOLUTION


# %%
q_step = check("01.2", q_step)
# hint("01.2")

# %% [markdown]
# Now take all thousand steps, and keep every image on the way.


# %%
def walk(x0):
    """All of x_0, x_1, ..., x_T, one step at a time: (T+1, ...), and the noise of each step (index 0 unused)."""
    xs, noises = [x0], [torch.zeros_like(x0)]
    for t in range(1, schedule.T + 1):
        noises.append(noise_like(x0))
        xs.append(q_step(xs[-1], torch.full((len(x0),), t), noises[-1], schedule))
    return torch.stack(xs), torch.stack(noises)


digit_walk, _ = walk(digit)
photo_walk, _ = walk(photo)
print("digit:", tuple(digit_walk.shape), "| photograph:", tuple(photo_walk.shape))

# %% [markdown]
# **What do you expect?** At which $t$ can you no longer tell that the photograph shows a flower? And at which $t$ is the digit lost? Write down two numbers, then run the next cell.
#
# <details><summary>Answer</summary>
#
# There is no one right answer, but most likely you lose the digit first, between 200 and 300, and the flower not before 400, though the noise in each pixel is exactly as strong.
# The photograph has many neighbouring pixels that say nearly the same thing, and your eye averages over them. The open problem at the end turns this into a number.
#
# </details>

# %%
times = [0, 50, 100, 200, 300, 400, 600, 1000]
few = [0, 100, 200, 300, 400, 500, 600]
for t in few:
    print(f"t = {t:4d}   mean square of the photograph's values {photo_walk[t].square().mean():.2f}")
viz.show(
    viz.strip({"digit": digit_walk[times, 0]}, [f"t = {t}" for t in times], scale=10),
    alt="The digit at eight t from 0 to 1000. It is clear at 100, doubtful at 200, and looks like noise from 300 on.",
)
viz.show(
    viz.strip({"photo": photo_walk[few, 0]}, [f"t = {t}" for t in few], scale=1),
    alt="The photograph at t = 0, 100, 200, 300, 400, 500 and 600. The flower can still be made out at 400; at 600 hardly anything of it is left.",
)

# %% [markdown]
# Values beyond $[-1, 1]$ are shown as black or white, here and in every picture of the course.
#
# The same walk under a slider. Drag it, or click it and use the arrow keys; it needs no running kernel.

# %%
frames = list(range(0, 1001, 40))
widgets.scrubber(
    photo_walk[frames, 0],
    [f"t = {t}" for t in frames],
    scale=4,
    quality=75,
    alt="A photograph of a flower dissolving into noise as t goes from 0 to 1000.",
)

# %% [markdown]
# ## Why the square root: a sum that keeps the variance
#
# Why $\sqrt{1-\beta_t}$ and not plain $1 - \beta_t$, or no factor at all? Think of one pixel with variance $v_{t-1}$. The noise is independent of it,
# and variances of independent things add. A factor $c$ multiplies a variance by $c^2$, so
#
# $$v_t = \left(\sqrt{1-\beta_t}\right)^2 v_{t-1} + \beta_t = (1-\beta_t)\,v_{t-1} + \beta_t .$$
#
# With $v_{t-1} = 1$ that is $1$ again. The step takes out exactly as much variance as it puts in: it is *variance preserving*.
# And whatever variance the image had at first, it moves towards 1. The mean square follows the same rule: the photograph's began at 0.48,
# and at $t = 600$ it is close to 1 already.
#
# **What do you expect?** Suppose someone drops the factor, and only adds noise. What is the variance after 1000 steps? Larger than 2? Than 10?


# %%
def final_variance(factor, v0):
    """The variance of a pixel after T steps x -> factor(beta) x + sqrt(beta) eps, from variance v0."""
    v = v0
    for beta in schedule.beta[1:].tolist():
        v = factor(beta) ** 2 * v + beta
    return v


print("factor               from 1    from 0.25")
for name, factor in {
    "sqrt(1 - beta)": lambda b: math.sqrt(1 - b),
    "none": lambda b: 1.0,
    "1 - beta": lambda b: 1 - b,
}.items():
    print(f"{name:16s} {final_variance(factor, 1.0):10.4f} {final_variance(factor, 0.25):12.4f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Without the factor the variance grows to $1 + \sum_t \beta_t = 11.05$. With $1-\beta$ each step takes out about twice what it puts in, and the variance sinks to about one half.
# Of the three, only the square root ends at 1, from wherever it began. This matters later: the network gets inputs of about the same size at every $t$,
# and the chain ends in the standard Gaussian $\mathcal N(0, I)$, from which we can draw.
#
# </details>
#
# ## One jump instead of t steps
#
# A thousand steps to make one training example would be slow. The next page of algebra replaces them by one line. We run every line of it, in `float64`, on the photograph.
#
# **Line 1: put one step into the next.** With $x_1 = \sqrt{\alpha_1}x_0 + \sqrt{\beta_1}\varepsilon_1$,
#
# $$x_2 = \sqrt{\alpha_2}\,x_1 + \sqrt{\beta_2}\,\varepsilon_2
#      = \underbrace{\sqrt{\alpha_2\alpha_1}}_{\sqrt{\bar\alpha_2}}\,x_0 + \underbrace{\sqrt{\alpha_2\beta_1}\,\varepsilon_1 + \sqrt{\beta_2}\,\varepsilon_2}_{\text{noise}} .$$

# %%
exact_walk, eps_of = walk(photo.double())  # (T+1, 1, 3, 64, 64) each
x0, alpha, beta = exact_walk[0], schedule.alpha, schedule.beta
abar = schedule.alpha_bar  # short, for the formulas to come

two_steps = exact_walk[2]
noise = (alpha[2] * beta[1]).sqrt() * eps_of[1] + beta[2].sqrt() * eps_of[2]
difference = (two_steps - (abar[2].sqrt() * x0 + noise)).abs().max()
print("line 1, largest difference below 1e-12:", bool(difference < 1e-12))
assert difference < 1e-12

# %% [markdown]
# **Line 2: two independent Gaussians add up to one.** Their variances add:
#
# $$\alpha_2\beta_1 + \beta_2 = \alpha_2(1-\alpha_1) + (1-\alpha_2) = 1 - \alpha_1\alpha_2 = 1 - \bar\alpha_2 .$$
#
# **Line 3: and so on, by induction.** If the noise in $x_{t-1}$ has variance $1-\bar\alpha_{t-1}$, then in $x_t$ it has
#
# $$\alpha_t\,(1-\bar\alpha_{t-1}) + \beta_t = \alpha_t - \bar\alpha_t + 1 - \alpha_t = 1-\bar\alpha_t .$$
#
# It is true for $t = 1$, where $\alpha_1 \cdot 0 + \beta_1 = 1 - \bar\alpha_1$, so it is true for every $t$.

# %%
line_2 = torch.isclose(alpha[2] * beta[1] + beta[2], 1 - abar[2], rtol=1e-12, atol=0)
line_3 = torch.isclose(alpha[1:] * (1 - abar[:-1]) + beta[1:], 1 - abar[1:], rtol=1e-10, atol=0)
print("line 2 holds:", bool(line_2), "| line 3 holds at", int(line_3.sum()), "of", schedule.T, "steps")
assert line_2 and line_3.all()

# %% [markdown]
# **Line 4: all the noise, written out.** The noise of step $s$ is shrunk by every later step, by $\alpha_{s+1}\cdots\alpha_t = \bar\alpha_t / \bar\alpha_s$ in variance. So exactly, on every single walk,
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sum_{s=1}^t w_s\,\varepsilon_s, \qquad w_s = \sqrt{\beta_s\,\bar\alpha_t/\bar\alpha_s}, \qquad \sum_{s=1}^t w_s^2 = 1-\bar\alpha_t .$$
#
# The sum is one Gaussian with variance $1 - \bar\alpha_t$; we write it $\sqrt{1-\bar\alpha_t}\,\varepsilon$ with $\varepsilon\sim\mathcal N(0, I)$.
# (The report that this course began from calls $\bar\alpha_t$ itself "the combined Gaussian". It is a number, a product of coefficients. *This sum* is the combined Gaussian, and $\bar\alpha_t$ tells its variance.)

# %%
for t in (10, 300, 1000):
    w = (beta[1 : t + 1] * abar[t] / abar[1 : t + 1]).sqrt()  # (t,): w_1 ... w_t
    combined = torch.einsum("s,s...->...", w, eps_of[1 : t + 1])
    difference = (exact_walk[t] - (abar[t].sqrt() * x0 + combined)).abs().max()
    weights_add_up = torch.isclose(w.square().sum(), 1 - abar[t], rtol=1e-10)
    eps = combined / (1 - abar[t]).sqrt()  # should look like 12,288 draws from N(0, 1)
    print(
        f"t = {t:4d}   walk and formula agree: {bool(difference < 1e-10)}   weights add up: {bool(weights_add_up)}   eps: mean {eps.mean():.4f}, variance {eps.var():.4f}"
    )
    assert difference < 1e-10 and weights_add_up

# %% [markdown]
# So we may skip the walk and draw $x_t$ from $x_0$ at once:
#
# $$q(x_t \mid x_0) = \mathcal N\!\left(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\right), \qquad x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon \tag{4}$$
#
# This is the most used line of the whole course.
#
# ### Exercise 01.3: q_sample
#
# Write (4).


# %%
def q_sample(x0, t, eps, schedule):
    """x_t ~ q(x_t | x_0), eq. (4), in one jump. x0 and eps: (B, ...), t: int64 (B,). Returns x_t, shaped as x0."""
    ### BEGIN SOLUTION
    signal = process.at(schedule.alpha_bar.sqrt(), t, x0)  # (B,) -> (B, 1, ..., 1)
    noise = process.at((1 - schedule.alpha_bar).sqrt(), t, x0)
    return signal * x0 + noise * eps
    ### END SOLUTION


# %%
q_sample = check("01.3", q_sample)
# hint("01.3")

# %% [markdown]
# ### Proof by experiment
#
# Algebra can be wrong in a way that looks right. So we also let 20,000 copies of one pixel, $x_0 = 0.8$, walk 300 steps each, and compare with what (4) predicts.
# An average over $n$ walks is itself a little random. Its *standard error* says how much: $\sqrt{v/n}$ for the mean, $v\sqrt{2/n}$ for the variance.
# We ask for agreement within 4 standard errors; by chance alone one comparison would miss that once in about 16,000 times.
#
# A test is worth something only if it can fail. So we hand it a wrong jump as well: the variance used as a standard deviation.

# %%
n, t_end, pixel = 20_000, 300, 0.8
x = torch.full((n, 1), pixel, dtype=torch.float64)
for t in range(1, t_end + 1):
    x = q_step(x, torch.full((n,), t), noise_like(x), schedule)

start = torch.full((n, 1), pixel, dtype=torch.float64)
jump = q_sample(start, torch.full((n,), t_end), noise_like(start), schedule)
wrong = abar[t_end].sqrt() * start + (1 - abar[t_end]) * noise_like(start)


def standard_errors(samples):
    """How far mean and variance of the samples are from eq. (4), in standard errors."""
    mean, v = pixel * abar[t_end].sqrt(), 1 - abar[t_end]
    return abs(samples.mean() - mean) / (v / n).sqrt(), abs(samples.var() - v) / (v * math.sqrt(2 / n))


print(f"predicted: mean {pixel * abar[t_end].sqrt():.4f}, variance {1 - abar[t_end]:.4f}")
for name, samples in {"300 steps": x, "one jump": jump, "wrong jump": wrong}.items():
    z_mean, z_var = standard_errors(samples)
    print(
        f"{name:10s} mean {samples.mean():.4f}, variance {samples.var():.4f}   within 4 standard errors: {bool(z_mean < 4)}, {bool(z_var < 4)}"
    )
assert max(standard_errors(x)) < 4 and max(standard_errors(jump)) < 4 and max(standard_errors(wrong)) > 4

# %% [markdown]
# Mean and variance are not yet the whole distribution. This is: the histogram of the walks beside the density that (4) predicts.

# %%
sorted_x = x.flatten().sort().values
z = (sorted_x - pixel * abar[t_end].sqrt()) / (1 - abar[t_end]).sqrt()
gap = (
    (torch.special.ndtr(z) - (torch.arange(n) + 0.5) / n).abs().max()
)  # between the two cumulative distributions
print(
    "largest gap between the cumulative distributions within chance (Kolmogorov-Smirnov, 1 %):",
    bool(gap < 1.63 / math.sqrt(n)),
)
fig = viz.histogram(
    x,
    float(pixel * abar[t_end].sqrt()),
    float((1 - abar[t_end]).sqrt()),
    label="20,000 walks",
    gaussian="eq. (4)",
)
viz.show(
    fig,
    alt="A histogram of 20,000 walks of 300 steps. The Gaussian density of equation (4) runs along the tops of its bars.",
)

# %% [markdown]
# ## Scrub t
#
# Now $t$ is in your hand. (This slider computes its picture, so it needs a running kernel.) Left: the photograph at $x_t$. Middle: the histogram of all its values, beside $\mathcal N(0, 1)$.
# Right: one single pixel with $x_0 = 0.8$, the density $q(x_t \mid x_0)$ of (4), its mean dashed, and $\mathcal N(0, 1)$ dotted.
# Watch its centre move to 0 and its width grow to 1. (For small $t$ the peak is taller than the frame.)


# %% tags=["nbval-ignore-output"]
fig, (left, middle, right) = viz.figure(8.4, 2.7, ncols=3)  # made once; draw only changes it
grid = torch.linspace(-3, 3, 301)
middle.set(ylim=(0, 1.2))
right.plot(
    grid, torch.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi), ":", color=viz.COLORS["black"], linewidth=1
)
(density,) = right.plot(grid, 0 * grid, color=viz.COLORS["blue"])
centre = right.axvline(0, color=viz.COLORS["vermillion"], linestyle="--", linewidth=1)
right.set(title=r"$q(x_t\,|\,x_0 = 0.8)$", xlabel="value", xlim=(-3, 3), ylim=(0, 2))


def draw(t):
    """x_t, its histogram, and q(x_t | x_0) for one pixel; the same noise for every t."""
    eps = torch.randn(photo.shape, generator=torch.Generator().manual_seed(7))
    xt = q_sample(photo, torch.tensor([t]), eps, schedule) if t else photo
    viz.image(left, xt[0], rf"$x_t$, t = {t}")
    viz.histogram(xt, ax=middle, limits=(-3, 3), label="all values", gaussian="N(0, 1)")
    mean, std = 0.8 * float(abar[t].sqrt()), max(float((1 - abar[t]).sqrt()), 1e-3)
    height = torch.exp(-0.5 * ((grid - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    density.set_data(grid, height)
    centre.set_xdata([mean, mean])
    return fig


slider = ipywidgets.IntSlider(150, 0, schedule.T, description="t", layout={"width": "480px"})
widgets.live(
    draw,
    t=slider,
    alt=lambda t: (
        f"The photograph at t = {t}, the histogram of its values, and the density of one pixel that began at 0.8."
    ),
)

# %% [markdown]
# ## Where the signal is lost
#
# $x_t$ is a signal, $\sqrt{\bar\alpha_t}\,x_0$, and a noise, $\sqrt{1-\bar\alpha_t}\,\varepsilon$. The ratio of their variances, for an image of variance 1, is the *signal-to-noise ratio*
#
# $$\mathrm{SNR}(t) = \frac{\bar\alpha_t}{1-\bar\alpha_t} .$$
#
# ### Exercise 01.4: snr
#
# Write it, for several $t$ at once.


# %%
def snr(t, schedule):
    """SNR(t) = alpha_bar_t / (1 - alpha_bar_t). t: int64 (B,), 1..T. Returns float64 (B,)."""
    ### BEGIN SOLUTION
    kept = schedule.alpha_bar[t]
    return kept / (1 - kept)
    ### END SOLUTION


# %%
snr = check("01.4", snr)
# hint("01.4")

# %% [markdown]
# We can also *measure* how much signal is left, with no eye involved. Take 600 digits the classifier below has never seen, noise them to step $t$, and ask which of the ten average digits is nearest to $x_t/\sqrt{\bar\alpha_t}$.
# Guessing at random would be right once in ten.

# %%
images = data.from_uint8(digits.images).double()  # (1797, 1, 8, 8)
seen, unseen, labels = images[:1197], images[1197:], digits.labels[1197:]
averages = torch.stack([seen[digits.labels[:1197] == k].mean(dim=0) for k in range(10)])  # (10, 1, 8, 8)


def accuracy(t):
    """The share of unseen digits, noised to step t, whose nearest average digit is the right one."""
    xt = q_sample(unseen, torch.full((len(unseen),), t), noise_like(unseen), schedule)
    distance = torch.cdist((xt / abar[t].sqrt()).flatten(1), averages.flatten(1))  # (600, 10)
    return float((distance.argmin(dim=1) == labels).double().mean())


steps = [1, 100, 200, 259, 400, 600, 800, 1000]
told_right = {t: accuracy(t) for t in steps}
for t, ratio in zip(steps, snr(torch.tensor(steps), schedule).tolist(), strict=True):
    print(f"t = {t:4d}   SNR {ratio:10.5f}   digits told right {told_right[t]:.2f}")

# %%
every = torch.arange(1, 1001)
fig, (left, right) = viz.figure(7.6, 2.8, ncols=2)
left.semilogy(every, snr(every, schedule), color=viz.COLORS["blue"])
left.axhline(1, color=viz.COLORS["black"], linewidth=0.8, linestyle=":")
left.set(xlabel="t", title="SNR(t)")
right.plot(steps, list(told_right.values()), "o-", color=viz.COLORS["vermillion"])
right.axhline(0.1, color=viz.COLORS["black"], linewidth=0.8, linestyle=":")
right.set(xlabel="t", title="digits told right", ylim=(0, 1))
viz.show(
    fig,
    alt="Left: the signal-to-noise ratio on a logarithmic axis falls from 10,000 to 0.00004 and passes 1 at t = 259. Right: the share of digits told right falls from about 0.9 to chance, one in ten.",
)

# %% [markdown]
# For an image of variance 1, signal and noise are level at $t = 259$. (Our digits have a variance of 0.29, and their noise is more than three times stronger than their signal there.)
# And yet about two digits in three are still told right. Without noise it was no more than nine in ten. The 64 pixels of a digit know more together than one alone.
# At $t = 1000$ the SNR is 0.00004 and the classifier guesses. This is the point of the schedule: at the end, $x_T$ is as good as pure noise, *whatever the image was*.
#
# ## Can we not simply undo it?
#
# Solve (4) for $x_0$, with a guess $\hat\varepsilon$ in the place of the noise:
#
# $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\hat\varepsilon}{\sqrt{\bar\alpha_t}}$$
#
# ### Exercise 01.5: predict_x0
#
# Write this line.


# %%
def predict_x0(xt, t, eps_hat, schedule):
    """x0_hat: eq. (4) solved for x_0. xt and eps_hat: (B, ...), t: int64 (B,). Returns x0_hat, shaped as xt."""
    ### BEGIN SOLUTION
    noise = process.at((1 - schedule.alpha_bar).sqrt(), t, xt)  # (B,) -> (B, 1, ..., 1)
    signal = process.at(schedule.alpha_bar.sqrt(), t, xt)
    return (xt - noise * eps_hat) / signal
    ### END SOLUTION


# %%
predict_x0 = check("01.5", predict_x0)
# hint("01.5")

# %%
t = torch.tensor([1000])
eps = noise_like(x0)
xt = q_sample(x0, t, eps, schedule)

print("with the true noise, x_0 comes back:", torch.allclose(predict_x0(xt, t, eps, schedule), x0))
nearly = predict_x0(xt, t, 0.99 * eps, schedule)
print(
    f"with noise wrong by 1 %, the error is {float((nearly - x0).square().mean().sqrt()):.2f} (the image lies in [-1, 1])"
)
print(
    f"with eps_hat = 0, it is {float((predict_x0(xt, t, 0 * eps, schedule) - x0).square().mean().sqrt()):.1f}"
)

# %% [markdown]
# Noise or image: given $x_t$, whoever knows the one knows the other. The paper has the network predict $\varepsilon$, because the loss becomes simple (chapter 05).
# It has a price: at $t = 1000$ an error in $\hat\varepsilon$ comes back $\sqrt{1-\bar\alpha_T}/\sqrt{\bar\alpha_T} = 157$ times as large.
#
# ### The best linear denoiser
#
# Let us try in earnest. Of all the guesses $\hat x_0 = m + G\,(x_t - \sqrt{\bar\alpha_t}\,m)$ that are linear in $x_t$, which has the smallest mean squared error?
# Its error must be uncorrelated with $x_t$, or a better $G$ could use what is left. Let $m$ and $C$ be the mean and covariance of the digits.
# By (4), $\operatorname{Cov}(x_0, x_t) = \sqrt{\bar\alpha_t}\,C$ and $\operatorname{Cov}(x_t) = \bar\alpha_t C + (1-\bar\alpha_t) I$, so $G$ is the first times the inverse of the second:
#
# $$\hat x_0 = m + \sqrt{\bar\alpha_t}\;C\left(\bar\alpha_t C + (1-\bar\alpha_t) I\right)^{-1}\left(x_t - \sqrt{\bar\alpha_t}\,m\right).$$
#
# The next cell also fits one to some 24,000 noisy digits by least squares, to see that the formula is right.
#
# **What do you expect** from it at $t = 1000$, where $x_t$ holds next to nothing of $x_0$: noise, a digit, something else?
#
# <details><summary>Answer</summary>
#
# As $\bar\alpha_t \to 0$ the second term vanishes and $m$ is left: the average of all digits, a grey blur, for *any* input.
# That is no fault of straight lines. Of all guesses $c$, the mean squared error $\mathbb E\|x_0 - c\|^2$ is smallest for $c = \mathbb E[x_0 \mid x_t]$.
# At $t = T$, $x_t$ tells nothing, and that is the mean of all the images. A perfect network would answer the same.
# (The network of chapter 00 did not: its small error in $\hat\varepsilon$ counts 157-fold, and it was told the label.)
#
# </details>

# %%
m = seen.flatten(1).mean(dim=0)  # (64,)
C = torch.cov(seen.flatten(1).T)  # (64, 64)
identity = torch.eye(64, dtype=torch.float64)


def linear_denoiser(xt, t):
    """The best linear guess of x_0 from x_t, for one t."""
    gain = abar[t].sqrt() * C @ torch.linalg.inv(abar[t] * C + (1 - abar[t]) * identity)  # (64, 64)
    return (m + (xt.flatten(1) - abar[t].sqrt() * m) @ gain.T).reshape(xt.shape)


def fitted_denoiser(t, copies=20):
    """The same by least squares, from noisy digits: no formula, as a check of the one above."""
    x0 = seen.repeat(copies, 1, 1, 1)
    xt = q_sample(x0, torch.full((len(x0),), t), noise_like(x0), schedule)
    ones = torch.ones(len(x0), 1, dtype=x0.dtype)
    weights = torch.linalg.lstsq(torch.cat([xt.flatten(1), ones], dim=1), x0.flatten(1)).solution  # (65, 64)
    return lambda xt: (xt.flatten(1) @ weights[:-1] + weights[-1]).reshape(xt.shape)


xt = q_sample(unseen, torch.full((len(unseen),), 259), noise_like(unseen), schedule)
formula, fit = linear_denoiser(xt, 259), fitted_denoiser(259)(xt)
print(
    f"formula and fit, at t = 259: errors {(formula - unseen).square().mean().sqrt():.2f} and {(fit - unseen).square().mean().sqrt():.2f}, difference {(formula - fit).square().mean().sqrt():.2f}"
)

# %%
some, eps = unseen[:8], noise_like(unseen[:8])
rows = {"$x_0$": some}
for t in (100, 259, 500, 1000):
    xt = q_sample(some, torch.full((8,), t), eps, schedule)
    rows[f"$x_t$, t = {t}"], rows[f"guess, t = {t}"] = xt, linear_denoiser(xt, t)

mean_digit = m.reshape(1, 1, 8, 8)
last = rows["guess, t = 1000"]
print(
    f"at t = 1000 all eight guesses are the mean digit, to within {float((last - mean_digit).abs().max()):.2f}"
)
print(
    f"all 600 unseen digits: error of always answering the mean {float((mean_digit - unseen).square().mean().sqrt()):.2f}"
)
for t in (100, 259, 500, 1000):
    xt = q_sample(unseen, torch.full((len(unseen),), t), noise_like(unseen), schedule)
    error = (linear_denoiser(xt, t) - unseen).square().mean().sqrt()
    print(f"t = {t:4d}   error of the guess {float(error):.2f}")
viz.show(
    viz.strip(rows, scale=6),
    alt="Eight digits, and below them in pairs of rows the noised digits and the guesses. At t = 100 most of the guesses are readable, at 500 they are blurred, at 1000 all eight are the same grey blur.",
)

# %% [markdown]
# This is why one jump back cannot generate. From pure noise the honest best guess is the average of everything, and the average digit is not a digit.
#
# The way out is in the first half of this chapter. *One* small step is a different matter: from $x_t$ to $x_{t-1}$ hardly anything changes, there is hardly anything to guess,
# and the little that is uncertain can be drawn at random. A thousand small reverse steps, each one taken with a guess and a little fresh noise, can end at *one* digit where a single step can only average.
# Chapter 03 makes this exact.
#
# ## Recap
#
# | | |
# |---|---|
# | one step | $x_t = \sqrt{1-\beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\varepsilon_t$; keeps a variance of 1 |
# | $t$ steps | $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$; one jump, proved line by line and by experiment |
# | $\bar\alpha_t$ | the product $\alpha_1\cdots\alpha_t$: a number, 1 at the start, one half just after $t = 259$, 0.00004 at $t = 1000$ |
# | SNR | $\bar\alpha_t/(1-\bar\alpha_t)$: of one pixel; many pixels together resist longer |
# | back | exact with the true noise; without it, one step finds only the average |
#
# Before you go: without looking, write down (4), and say which of its two factors is a standard deviation.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# At $t = 400$ the SNR is about 0.24 (for an image of variance 1), yet the photograph can still be recognised. Coarse shapes survive where single pixels do not.
#
# 1. Average an image over blocks of $k \times k$ pixels. What happens to the variance of the noise? Assume the image is constant inside a block: what is the SNR of a block?
# 2. For $k = 1, 2, 4, 8, 16$, find the first $t$ at which the SNR of a block falls below 1. Use the paper's schedule.
# 3. Check your answer to 1 by experiment on `photo`, without that assumption: what share of its own variance does the photograph keep after averaging, and what share the noise (over 100 draws of it)? Which of the two differs from the theory, and why?
# 4. In which order, then, will the reverse process have to decide things?
#
# <!-- BEGIN SOLUTION -->
# 1. The $k^2$ noises are independent, so their average has variance $(1-\bar\alpha_t)/k^2$. A constant signal is unchanged. The SNR of a block is $k^2\,\mathrm{SNR}(t)$.
# 2. It falls below 1 where $\mathrm{SNR}(t) < 1/k^2$. The next cell finds the steps.
# 3. The noise behaves exactly as predicted. The signal does not: a photograph is not constant inside a block, so averaging takes some of its variance away, and more of it the larger the block.
#    The gain is therefore smaller than $k^2$, but still large, because neighbouring pixels of a photograph are alike. In the noise they are not.
# 4. Run backwards, coarse comes first. The large shapes are settled while $t$ is large, and fine detail only near $t = 0$.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
x0 = photo.double()
noise = noise_like(x0.repeat(100, 1, 1, 1))
every = torch.arange(1, 1001)
for k in (1, 2, 4, 8, 16):
    lost = int((k**2 * snr(every, schedule) < 1).nonzero()[0]) + 1
    pool = torch.nn.AvgPool2d(k)
    signal_kept = pool(x0).var() / x0.var()
    noise_kept = pool(noise).var() / noise.var()
    print(
        f"k = {k:2d}   SNR of a block below 1 from t = {lost:3d}   noise variance kept {noise_kept:.4f}, theory {1 / k**2:.4f}   signal variance kept {signal_kept:.4f}"
    )
