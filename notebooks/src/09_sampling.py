# %% [markdown]
# # 09 · Sampling, and the bug clinic
#
# {{ colab }}
#
# A trained network is only half of a generator; the other half is a loop of ten lines. We write it, watch it run, and measure what each of its choices does: the last step, the variance, clipping, the noise.
# Then we open a clinic. Twelve faults that real, published code has had come in as patients. You see what their samples look like, name the fault, test for it, and mend it.
#
# | | |
# |---|---|
# | **You will** | write algorithm 2, with what the paper's code does and its text does not say · find out what decides a sample: where it starts, or the noise on the way · measure variance, clipping and batch size · diagnose twelve broken models by picture and by number, and mend every one |
# | **Time** | 100 minutes, best in two sessions: 40 up to *The bug clinic*, then 20 for each of its three wards. In a hurry take ward 1 alone: no later chapter needs the other two, and an exercise that is left open stops nothing |
# | **You need** | chapters 01 to 03; chapter 06 helps |
# | **Equations** | algorithm 2; the paper's (4), (7) and (11) |

# %%
# {{ setup }}
import copy
import math
import time

import torch
from torch import nn
from torch.nn import functional as F

import ddpm_lite.exercises.ch09 as ch09
from ddpm_lite import (
    checkpoints,
    data,
    exact,
    losses,
    metrics,
    paper,
    process,
    results,
    samplers,
    schedules,
    viz,
    widgets,
)
from ddpm_lite.exercises import check, hint

model, schedule, card = checkpoints.load("mnist")
model.requires_grad_(False)  # nothing is trained here, so nothing need be kept for gradients
print(f"a network of {model.parameter_count():,} parameters, trained on MNIST with T = {schedule.T}")

# %% [markdown]
# To save time most chains of this chapter take 25 steps, not 1000. They visit every fortieth of the thousand noise levels, and each step is forty steps long. `schedules.respace` gives the short chain's schedule, with large $\beta$,
# and `tau`, which says at which of the old levels step $i$ stands. (Why one may do so is for chapter 12.) All the formulas stay the same.

# %%
STEPS = 25
short, tau = schedules.respace(schedule, STEPS)
print("the levels:", tau.tolist())
print("the same alpha_bar at these levels:", torch.allclose(short.alpha_bar, schedule.alpha_bar[tau]))
print(f"largest beta: {schedule.beta.max():.2f} in the long chain, {short.beta.max():.2f} in the short one")


def network_for(labels, tau=tau):
    """eps_model for a respaced chain, asked for these digits."""
    return samplers.at_timesteps(lambda xt, t: model(xt, t, labels), tau)


# %% [markdown]
# ## Algorithm 2, as printed and as run
#
# > 1: $x_T \sim \mathcal N(0, I)$<br>
# > 2: **for** $t = T, \ldots, 1$ **do**<br>
# > 3: $\quad z \sim \mathcal N(0, I)$ if $t > 1$, else $z = 0$<br>
# > 4: $\quad x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) + \sigma_t z$<br>
# > 5: **end for**<br>
# > 6: **return** $x_0$
#
# The mean in line 4 is (11). The code that the paper's authors published goes another way. It first asks what clean image the network has in mind,
#
# $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}}, \qquad\text{cuts off what no image can have,}\qquad \hat x_0 \leftarrow \mathrm{clamp}(\hat x_0, -1, 1),$$
#
# and puts it into the posterior mean (7) of chapter 03,
#
# $$\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,\hat x_0 + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t . \tag{7}$$
#
# Without the middle step the two are the same (03 proved it, and you can see it below). With it they are not, and **the paper's text never mentions it**.
#
# ### Exercise 09.1: clipped_mean


# %%
def clipped_mean(xt, t, eps_hat, schedule, clip):
    """The mean of one reverse step, and the x0_hat it was made from. xt, eps_hat: (B, ...), t: int64 (B,), clip: bool.

    If clip, x0_hat is held to [-1, 1] first. Returns mean, x0_hat, both shaped as xt.
    """
    ### BEGIN SOLUTION
    x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
    if clip:
        x0_hat = x0_hat.clamp(-1, 1)
    mean, _ = process.q_posterior(x0_hat, xt, t, schedule)
    return mean, x0_hat
    ### END SOLUTION


# %%
clipped_mean = check("09.1", clipped_mean)
# hint("09.1")

# %%
g = torch.Generator().manual_seed(0)
xt, eps_hat = torch.randn(2, 4, 1, 8, 8, generator=g, dtype=torch.float64)
t = torch.tensor([1, 2, 500, 1000])
line_4 = (
    xt - process.at(schedule.beta / (1 - schedule.alpha_bar).clamp(min=1e-9).sqrt(), t, xt) * eps_hat
) / (process.at(schedule.alpha.sqrt(), t, xt))
print("not clipped, it is line 4:", torch.allclose(clipped_mean(xt, t, eps_hat, schedule, False)[0], line_4))
print("clipped, it is another:", not torch.allclose(clipped_mean(xt, t, eps_hat, schedule, True)[0], line_4))
print(f"an error of 1 in the noise is one of {1 / schedule.alpha_bar[1000].sqrt():.0f} in x0_hat at t = 1000")

# %% [markdown]
# ## The loop
#
# One thing is left to decide, the last step. For $t > 1$ there is noise in $x_{t-1}$, and the network of the next step expects it there. After the last step no network comes. Whatever is added there stays in the picture. So $z = 0$ if $t = 1$.
#
# **What do you expect?** Suppose that you forget this rule, with $\sigma_1^2 = \beta_1$. Would you see it in a picture with 256 grey levels: after 1000 steps, after 25?
#
# <details><summary>Answer</summary>
#
# After 1000 steps hardly: the noise is about one grey level. After 25 it is fourteen times as strong, a visible grain. The fault is the same; it waits until somebody shortens the chain.
#
# </details>

# %%
for one in (schedule, short):
    sigma = float(one.beta[1].sqrt())
    print(f"T = {one.T:4d}   sigma of the last step {sigma:.3f}, or {127.5 * sigma:.1f} of 255 grey levels")

# %% [markdown]
# ### Exercise 09.2: sample
#
# Write the loop as a **generator**: a function that hands over each step's result with `yield` and goes on when the next one is asked for. So whoever runs it can watch, record, or stop.
# All noise comes in from outside: `noise[0]` is $x_T$, and `noise[t]` is the $z$ of step $t$. The variance comes in as well, as an array `sigma2` with $\sigma_t^2$ at index $t$. It need not be 0 at $t = 1$.


# %%
def sample(eps_model, noise, schedule, sigma2, clip=True):
    """Algorithm 2. noise: (T+1, B, ...), x_T and then one z for each step; sigma2: (T+1,). Uses clipped_mean.

    Yields t - 1, x_{t-1}, x0_hat after each of the steps t = T, ..., 1. eps_model(xt, t) wants t as int64 (B,).
    """
    ### BEGIN SOLUTION
    xt = noise[0]
    for t in range(schedule.T, 0, -1):
        ts = torch.full((len(xt),), t)
        mean, x0_hat = clipped_mean(xt, ts, eps_model(xt, ts), schedule, clip)
        xt = mean + sigma2[t].sqrt() * noise[t] if t > 1 else mean
        yield t - 1, xt, x0_hat
    ### END SOLUTION


# %%
sample = check("09.2", sample)
# hint("09.2")

# %% [markdown]
# ## Seeds, and noise of one's own
#
# Fill a batch from one generator, and image 3 depends on how large the batch is: each step draws for all its images at once, so from the second draw on another batch gets other numbers. Ask for 8 instead of 16 and you get other pictures. For comparisons that is a nuisance. The cure: each image has a generator of its own.
#
# ### Exercise 09.3: own_noise
#
# For each seed make a generator, and let it draw all that its image needs, $x_T$ and the $z$ of $T$ steps, in one call of `torch.randn`.


# %%
def own_noise(seeds, T, shape):
    """Noise for `sample`, float32 (T+1, B, *shape). Image i depends on seeds[i] alone. shape: of one image."""
    ### BEGIN SOLUTION
    draws = [torch.randn(T + 1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws, dim=1)
    ### END SOLUTION


# %%
own_noise = check("09.3", own_noise)
# hint("09.3")

# %% [markdown]
# Now everything is there. Eight digits, 0 to 7, that we shall meet again in a stored measurement. And does image 5 come out the same in a batch of its own?

# %%
IMAGE = (1, 28, 28)


def finish(labels, seeds, sigma2=short.beta_tilde, clip=True, noise=None):
    """x_0 of a chain of 25 steps, (B, 1, 28, 28): image i is asked for labels[i] and has the noise of seeds[i]."""
    noise = own_noise(seeds, STEPS, IMAGE) if noise is None else noise
    *_, (_, x0, _) = sample(network_for(torch.tensor(labels)), noise, short, sigma2, clip)
    return x0


eight = finish(range(8), range(8))
alone = finish([5], [5])
print("shape:", tuple(eight.shape), "| within [-1, 1]:", bool(eight.abs().max() <= 1))
print("image 5 in a batch and alone, to within 0.05:", bool((eight[5] - alone[0]).abs().max() < 0.05))
viz.show(
    viz.grid(torch.cat([eight, alone]), ncol=9, titles=[*map(str, range(8)), "5, alone"]),
    alt="Eight generated digits, 0 to 7, each as asked for, and the 5 once more from a batch of one: the same picture.",
)

# %% [markdown]
# ## The whole run
#
# A longer chain to look at, of 100 steps. One row is $x_t$, the other $\hat x_0$, the clean image that the network had in mind in the step that led there.

# %%
long, tau_long = schedules.respace(schedule, 100)
labels = torch.tensor([3, 4, 8, 9])
run = list(
    sample(network_for(labels, tau_long), own_noise([20, 21, 22, 23], 100, IMAGE), long, long.beta_tilde)
)

chosen = [99, 85, 70, 55, 40, 20, 0]
steps = [next(step for step in run if step[0] == t) for t in chosen]
viz.show(
    viz.strip(
        {
            "$x_t$": torch.stack([x[0] for _, x, _ in steps]),
            r"$\hat x_0$": torch.stack([x[0] for _, _, x in steps]),
        },
        [f"t = {int(tau_long[t])}" for t, _, _ in steps],
        scale=2,
    ),
    alt="Seven stages of one sample. x_t looks like noise until t = 400, where a 3 shows through, and clears up by t = 0. The guess is a 3 of white specks at t = 990, then grey and grainy, a blur at t = 550, and nearly final at t = 200.",
)

# %% [markdown]
# Scrub through it: four digits, $x_t$ above, $\hat x_0$ below. The guess settles long before $x_t$ does; and one of the four changes its mind on the way: it was asked for an 8, has one in mind at $t = 390$, and ends as a 5.

# %%
every = run[::5] + run[-1:]
widgets.scrubber(
    torch.stack([torch.cat([xt, x0_hat]) for _, xt, x0_hat in every]),  # (F, 8, 1, 28, 28)
    [f"t = {int(tau_long[t])}" for t, _, _ in every],
    ncol=4,
    scale=3,
    quality=60,
    alt="Above, four noise images that turn into the digits 3, 4, 5 and 9 as t falls from 990 to 0. Below, the guesses: white specks first, then grey, blurred digits that sharpen. The third is an 8 until about t = 390, and a 5 from about 190 on.",
)

# %% [markdown]
# ## Two variances, clipped or not
#
# Section 3.2 allows $\sigma_t^2 = \beta_t$ and $\sigma_t^2 = \tilde\beta_t$, and the paper found their results similar, in 1000 steps. Clipping it does not mention. Four ways, then, all from the same noise and in 25 steps.

# %%
ways = {
    "beta_tilde, clipped": (short.beta_tilde, True),
    "beta_tilde, free": (short.beta_tilde, False),
    "beta, clipped": (short.beta, True),
    "beta, free": (short.beta, False),
}
four = {name: finish(range(8), range(8), sigma2, clip) for name, (sigma2, clip) in ways.items()}
viz.show(
    viz.strip({name: x[:6] for name, x in four.items()}, scale=2),
    alt="Four rows of the same six digits, 0 to 5. With beta tilde they are clean. With beta, clipped or not, the black background has a fine grain.",
)


def grain(x):
    """The spread of the pixels in the upper left corner, where no digit reaches."""
    return float(x[:, :, :4, :4].std())


print("grain above 0.03:", {name: grain(x) > 0.03 for name, x in four.items()})
print("values beyond [-1, 1]:", {name: bool((x.abs() > 1).any()) for name, x in four.items()})
for name in ("beta, clipped", "beta, free"):
    print(f"{name:14s} mean of the background {four[name][:, :, :4, :4].mean():.2f}")

# %% [markdown]
# **The variance** is easy to see: with $\beta$ there is grain. Step $t = 2$ adds a deviation of $\sigma_2$, and the last call of the network has to find all of it and take it away. It was trained to find $\sqrt{1-\bar\alpha_1}$ at that level. In 25 steps $\beta$ puts in a good deal more; in 1000 all of it is small.

# %%
for one in (short, schedule):
    two = [f"{float(sigma2[2].sqrt()):.2f}" for sigma2 in (one.beta, one.beta_tilde)]
    trained = float((1 - one.alpha_bar[1]).sqrt())
    print(
        f"T = {one.T:4d}   sigma of step 2:  {two[0]} with beta, {two[1]} with beta_tilde; trained to find {trained:.2f}"
    )

# %% [markdown]
# **Clipping** is hardly to be seen. It keeps the result within $[-1, 1]$. With $\beta$, grain lies on both sides of black; the clamp cuts the half below $-1$ off, so that the mean of the background rises. A picture shows no difference, for it is cut off there as well.
#
# And on the way? Count the values of $\hat x_0$ that lie outside, in a chain where they are let be.

# %%
free = list(
    sample(
        network_for(torch.arange(8)), own_noise(range(8), STEPS, IMAGE), short, short.beta_tilde, clip=False
    )
)
levels = [int(tau[reached + 1]) for reached, _, _ in free]  # the level that the guess was made from
share = torch.tensor([float((x0_hat.abs() > 1.05).double().mean()) for _, _, x0_hat in free])
largest = torch.tensor([float(x0_hat.abs().max()) for _, _, x0_hat in free])

fig, (left, right) = viz.figure(7.6, 2.5, ncols=2)
left.plot(levels, share, color=viz.COLORS["blue"])
left.set(xlabel="t (time runs to the left)", title=r"share of $\hat x_0$ beyond $\pm 1.05$", ylim=(0, None))
right.plot(levels, largest, color=viz.COLORS["vermillion"])
right.axhline(1, color=viz.COLORS["black"], linewidth=0.8, linestyle="--")
right.set(xlabel="t (time runs to the left)", title=r"largest $|\hat x_0|$", ylim=(0, None))
viz.show(
    fig,
    alt="Left: the share of values of the guess that are beyond 1.05, over t: two thirds at t = 1000, falling with some bumps to nothing near 200. Right: the largest absolute value, 16 at t = 1000, below 4 from 800 on, close to the dashed line at 1 from 600 on.",
)
print("the first guess goes furthest:", bool(largest[0] == largest.max()))
print("at t = 400 and below less than a tenth is beyond 1.05:", bool(share[15:].max() < 0.1))

# %% [markdown]
# Is it better or worse? Pictures cannot say; it takes many samples and a distance. `tools/measure_sampling.py` made 400 digits each way, with image $i$ from the noise of seed $i$, and compared them with the real test images of MNIST,
# by the Fréchet distance of chapter 10 (smaller is better; 400 *real* images, of those it was trained on, are as far away as "floor" says). The first eight of those images are the eight above. So we can check that we speak of the same samples.

# %%
stored = results.load("sampling_choices")
print("made by:", stored["command"])
print(f"floor {stored['frechet_floor']:.1f}, {stored['samples']} samples")
for row in stored["rows"]:
    print(
        f"{row['steps']:4d} steps   {row['variance']:10s} clip {row['clip']!s:5}   Fréchet {row['frechet']:5.1f}   "
        f"as asked {row['right_label']:.2f}   beyond [-1, 1] {row['beyond']:.2f}"
    )


def kept(steps, variance, clip):
    """The stored row."""
    want = {"steps": steps, "variance": variance, "clip": clip}
    return next(row for row in stored["rows"] if want.items() <= row.items())


live = {("beta_tilde", True): 0, ("beta_tilde", False): 1, ("beta", True): 2, ("beta", False): 3}
agree = all(
    torch.allclose(
        list(four.values())[k].mean(dim=(1, 2, 3)), torch.tensor(kept(25, *way)["probe_means"]), atol=0.02
    )
    for way, k in live.items()
)
print("the eight made here are the stored ones:", agree)

# %% [markdown]
# In 25 steps the variance matters very much, and clipping little. With $\tilde\beta$ it makes no difference that 400 samples could show; with $\beta$ samples are even *nearer* to the data without it, and we do not know why. Twice the steps more than halve the distance between the two.
# The paper's code clips, in 1000 steps, with networks for colour images, and what it gains there we have not measured. What the clamp surely does is bound the damage: at $t = T$ an error in the noise is multiplied by 157, and you have seen what comes of it, guesses of fifteen where one is the limit.
#
# (That 400 generated digits are nearer to the test images than 400 real ones are does not make them better than real. Chapter 10 is about what such a number can tell, and what it cannot.)

# %%
in_25 = {(row["variance"], row["clip"]): row["frechet"] for row in stored["rows"] if row["steps"] == 25}
print(
    "beta is more than three times as far away as beta_tilde:",
    in_25["beta", True] > 3 * in_25["beta_tilde", True],
)
print(
    "clipping changes beta_tilde by less than one:",
    abs(in_25["beta_tilde", True] - in_25["beta_tilde", False]) < 1,
)
print("with beta, letting be is nearer:", in_25["beta", False] < in_25["beta", True])
in_50 = {variance: kept(50, variance, True)["frechet"] for variance in ("beta", "beta_tilde")}
print(
    "in 50 steps beta is less than half as far behind:",
    in_50["beta"] - in_50["beta_tilde"] < 0.5 * (in_25["beta", True] - in_25["beta_tilde", True]),
)

# %% [markdown]
# ## Where it starts, or the noise on the way?
#
# A sample depends on $x_T$ and on all the $z$. **What do you expect?** Take three starts $x_T$ and three lists of $z$, and sample all nine pairs. Which images will be alike: those with the same start, or those with the same $z$?
#
# <details><summary>Answer</summary>
#
# Those with the same $z$, and so much that one can hardly tell them apart. Of $x_T$ next to nothing is left after the first part of the chain: each step keeps a share of it and adds something new.
# It is tempting to say that the image is "hidden in" the starting noise. For algorithm 2 that is not so. (For the sampler of chapter 12, which adds no noise, it is.)
#
# </details>

# %%
starts, ways_on = own_noise([1, 2, 3], STEPS, IMAGE), own_noise([11, 12, 13], STEPS, IMAGE)
pairs = torch.stack([torch.cat([starts[:1, i], ways_on[1:, j]]) for i in range(3) for j in range(3)], dim=1)
nine = finish([3] * 9, None, noise=pairs)
i, j = torch.arange(9) // 3, torch.arange(9) % 3
rms = torch.cdist(nine.flatten(1), nine.flatten(1)) / 28  # root mean square over the pixels
same_start = rms[(i[:, None] == i) & (j[:, None] != j)].mean()
same_z = rms[(i[:, None] != i) & (j[:, None] == j)].mean()
nothing = rms[(i[:, None] != i) & (j[:, None] != j)].mean()
print(
    "the same z, another start: less than a tenth as far apart as two with nothing in common:",
    bool(same_z < 0.1 * nothing),
)
print(
    "the same start, other z: as far apart as with nothing in common, to within 10 %:",
    bool(abs(same_start / nothing - 1) < 0.1),
)
viz.show(
    viz.grid(
        nine,
        ncol=3,
        scale=3,
        row_labels=[f"start {k}" for k in (1, 2, 3)],
        col_labels=[f"z {k}" for k in (1, 2, 3)],
    ),
    alt="Nine generated threes. Down each column, where the z are the same and the start differs, they are the same picture; along each row they differ.",
)
left_over = (schedule.alpha_bar[1000] / schedule.alpha_bar[500]).sqrt()
print(f"correlation of x_1000 and x_500 in the forward process: {left_over:.2f}")

# %% [markdown]
# ## What a batch costs
#
# The network is asked once a step, for all images of a batch together. Together is cheaper, since part of the work of a call does not depend on how many images there are. In seconds of the processor's time, whatever else runs on it:

# %% tags=["volatile"]
costs = {}
for size in (1, 4, 16, 64):
    x, t, y = torch.zeros(size, *IMAGE), torch.full((size,), 500), torch.zeros(size, dtype=torch.int64)
    model(x, t, y)  # once, to warm up
    spent = []
    for _ in range(3):
        begin = time.process_time()
        model(x, t, y)
        spent.append(time.process_time() - begin)
    costs[size] = min(spent) / size
    whole = costs[size] * size * schedule.T
    print(
        f"batch of {size:2d}: {1000 * costs[size]:5.1f} ms an image and step; the batch in 1000 steps {whole:5.0f} s"
    )


# %%
print("sixteen at once are cheaper than sixteen one by one:", costs[16] < costs[1])
print(f"the paper's batch of 256, on a TPU: {paper.FACTS['sampling_seconds'].value} s")

# %% [markdown]
# # The bug clinic
#
# Diffusion code seldom crashes. A wrong root or an index that is off by one still gives tensors of the right shape, and the loss still falls. What you get is samples that are *somehow not good*, and no message.
# In this clinic are twelve such faults, each found in published code, in repositories or in a paper's summary. They are in three wards.
#
# For each ward:
#
# 1. **The round.** You see the samples of its patients beside a healthy one's, and a chart with a few numbers. The code you do not see yet.
#    Its columns: `mean`, of all pixels; `black`, the mean of the upper left corner, where no digit reaches ($-1$ is black), and `grain`, the spread there; the `brightest` value; `variety`, how far two images of the same digit are apart (root mean square); `as asked`, the share that a network which reads digits finds to be the digit asked for.
# 2. **The diagnosis.** You name the fault of each. A wrong name is answered with what *that* fault would look like.
# 3. **The files.** Each patient's function, at most ten lines, the test that tells, and your repair.
#
# The patients of wards 1 and 2 use the shipped network and 25 steps; all are asked for four 2s and four 7s. The variance is $\tilde\beta_t$, but with $\tilde\beta_2$ in place of $\tilde\beta_1 = 0$, as in the paper's code, which needs its logarithm. So $\sigma_1$ is not 0, and the last-step rule matters.

# %%
WISH = torch.tensor([2, 2, 2, 2, 7, 7, 7, 7])
sigma2 = losses.posterior_variance(short)
reader = metrics.feature_net("mnist")  # recognises digits


def usual_mean(xt, i, eps_hat):
    """clipped_mean, for one i."""
    return clipped_mean(xt, torch.full((len(xt),), i), eps_hat, short, True)[0]


shipped = network_for(WISH)


def clinic(network=shipped, mean=usual_mean, variance=ch09.variance_at, add=ch09.add_noise):
    """Algorithm 2 in parts that can fall ill: x_25, ..., x_0 of eight images, (26, 8, 1, 28, 28), from one generator."""
    g = torch.Generator().manual_seed(2)
    path = [torch.randn(8, *IMAGE, generator=g)]
    for i in range(STEPS, 0, -1):
        eps_hat = network(path[-1], torch.full((8,), i))
        path.append(add(mean(path[-1], i, eps_hat), variance(i, sigma2), g))
    return torch.stack(path)


def chart(paths):
    """A line for each: background, grain, brightest pixel, how different equal digits are, and how many are as asked."""
    print(f"{'':10s}  mean  black  grain  brightest  variety  as asked")
    for name, path in paths.items():
        x = path[-1]
        rms = torch.cdist(x.flatten(1), x.flatten(1)) / 28
        variety = float((rms[:4, :4].sum() + rms[4:, 4:].sum()) / 24)
        asked = float((metrics.classify(reader, data.to_uint8(x)) == WISH).double().mean())
        corner = x[:, :, :4, :4].mean()
        print(
            f"{name:10s} {x.mean():5.2f}  {corner:5.2f}  {grain(x):5.2f} {x.max():10.2f} {variety:8.2f} {asked:9.2f}"
        )


def show_samples(paths, alt):
    """The x_0 of each, a row each."""
    viz.show(viz.strip({name: path[-1] for name, path in paths.items()}, scale=2), alt=alt)


healthy = clinic()

# %% [markdown]
# ## Ward 1: the step
#
# Four patients whose fault is in the reverse step. Names to choose from, two of them strangers to this ward:
#
# `uniform noise` · `noise in the last step` · `lost bar` ($\sqrt{1-\alpha_t}$ for $\sqrt{1-\bar\alpha_t}$ in (11)) · `misplaced bar` ($\sqrt{\bar\alpha_t}$ for $\sqrt{\alpha_t}$ in (7)) · `images in [0, 1]` · `inverted mask` (labels hidden that should be kept)

# %%
sick = ch09.PATIENTS  # their functions; the files are opened below


def clipped_x0(xt, i, eps_hat):
    """The guess of the clean image, for one i."""
    return clipped_mean(xt, torch.full((len(xt),), i), eps_hat, short, True)[1]


ward_1 = {
    "healthy": healthy,
    "patient 1": clinic(add=sick[1]),
    "patient 2": clinic(variance=sick[2]),
    "patient 3": clinic(mean=lambda xt, i, eps_hat: sick[3](xt, i, eps_hat, short)),
    "patient 4": clinic(mean=lambda xt, i, eps_hat: sick[4](clipped_x0(xt, i, eps_hat), xt, i, short)),
}
show_samples(
    ward_1,
    alt="Five rows of eight. Healthy: four 2s and four 7s, white on black, all different. Patient 1: large white blobs. Patient 2: the healthy digits under an even grain. Patient 3: clean, plain digits, more alike than the healthy ones. Patient 4: thin, dented digits in light grey on dark grey.",
)

# %% tags=["volatile"]
chart(ward_1)

# %% [markdown]
# ### Exercise 09.4: diagnosis, ward 1

# %%
found_1 = ...  # {1: "...", 2: "...", 3: "...", 4: "..."}
### BEGIN SOLUTION
found_1 = {1: "uniform noise", 2: "noise in the last step", 3: "lost bar", 4: "misplaced bar"}
### END SOLUTION

# %%
found_1 = check("09.4", found_1)
# hint("09.4")

# %% [markdown]
# **When did it go wrong?** The cheapest instrument of all is one that nobody uses: look at $x_t$ on the way. Below the third image of each, from left to right: healthy, and patients 1 to 4.

# %%
for name, path in ward_1.items():
    print(
        f"{name:10s} standard deviation of x_t after three steps between 0.9 and 1.1: {bool(abs(path[3].std() - 1) < 0.1)}"
    )

stages = [0, 1, 3, 6, 9, 12, 15, 18, 20, 22, 24, 25]
widgets.scrubber(
    torch.stack(
        [torch.stack([path[k, 2] for path in ward_1.values()]) for k in stages]
    ),  # (12, 5, 1, 28, 28)
    [f"t = {int(tau[STEPS - k])}" for k in stages],
    ncol=5,
    scale=3,
    fps=3,
    quality=60,
    alt="Five images side by side, the healthy chain and patients 1 to 4, from t = 1000 to 0. Patient 1 is paler noise after three steps, then turns white. Patient 2 is like the healthy one until the last step, and grainy then. Patients 3 and 4 are greyer noise than the healthy one from the third step on.",
)

# %% [markdown]
# At large $t$ there is next to nothing but noise in $x_t$, so its standard deviation has to be close to 1. Three of the four fail after three steps of twenty-five; one is perfectly well until the last.
#
# ### Patient 1: "All my samples are white"
#
# The function that adds the noise. It has *two* faults, and a published notebook had both in this one line.


# %%
def patient_1(mean, variance, generator):
    """A draw from N(mean, variance I), shaped as mean."""
    z = torch.rand(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + variance * z


def draw_100_000(add):
    """The test: many draws from N(0, 0.04), and what they are like."""
    x = add(torch.zeros(100_000, 1), 0.04, torch.Generator().manual_seed(0))
    return f"mean {x.mean():.2f}, standard deviation {x.std():.2f}"


x = torch.zeros(3, 2)
same = [add(x, 0.1, torch.Generator().manual_seed(1)) for add in (patient_1, sick[1])]
print("as in the ward:", torch.equal(*same))
print("asked for:  mean 0.00, standard deviation 0.20")
print("patient 1: ", draw_100_000(patient_1))

# %% [markdown]
# #### Exercise 09.5: mend it


# %%
def add_noise(mean, variance, generator):
    """A draw from N(mean, variance I), shaped as mean. variance: a number; the noise comes from generator."""
    ### BEGIN SOLUTION
    z = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + math.sqrt(variance) * z
    ### END SOLUTION


# %%
add_noise = check("09.5", add_noise)
print("mended:", draw_100_000(add_noise))
# hint("09.5")

# %% [markdown]
# ### Patient 2: "There is sand in my pictures"
#
# How much noise step $t$ adds. Somebody counted from zero, and never met the case.


# %%
def patient_2(t, sigma2):
    """The variance of the noise that step t adds. t: T, ..., 1."""
    return float(sigma2[t]) if t > 0 else 0.0


print("as in the ward:", patient_2(3, sigma2) == sick[2](3, sigma2))
print(f"noise in the last step, as a standard deviation: {patient_2(1, sigma2) ** 0.5:.2f}; it should be 0")

# %% [markdown]
# #### Exercise 09.6: mend it


# %%
def variance_at(t, sigma2):
    """The variance of the noise that step t adds, a number. t: T, ..., 1; sigma2: (T+1,)."""
    ### BEGIN SOLUTION
    return float(sigma2[t]) if t > 1 else 0.0
    ### END SOLUTION


# %%
variance_at = check("09.6", variance_at)
print("mended:", [round(float(variance_at(t, sigma2)) ** 0.5, 2) for t in (3, 2, 1)], "at t = 3, 2, 1")
# hint("09.6")

# %% [markdown]
# ### Patient 3: "They are fine, only rather alike"
#
# The most dangerous of the ward, for the pictures look *better* than the healthy ones. The report from which this course started prints its formula so.
#
# The test: give the sampler data for which everything is known. If the data are $\mathcal N(0, I)$, the best guess of the noise is $\sqrt{1-\bar\alpha_t}\,x_t$ (chapter 03), and with $\sigma_t^2 = \beta_t$ what comes out must have standard deviation 1 again, or rather $\sqrt{\alpha_1} = 0.99$, for the last step adds no noise.


# %%
def patient_3(xt, t, eps_hat, schedule):
    """The mean of a reverse step, from the noise. t: a number."""
    beta, alpha = schedule.beta[t], schedule.alpha[t]
    return (xt - beta / (1 - alpha).sqrt() * eps_hat) / alpha.sqrt()


def std_at_the_end(mean):
    """The test: 20,000 numbers through the chain, for data N(0, 1) and with the best guess there is."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=g)
    for t in range(STEPS, 0, -1):
        x = mean(x, t, (1 - short.alpha_bar[t]).sqrt() * x, short)
        x = ch09.add_noise(x, ch09.variance_at(t, short.beta), g)
    return float(x.std())


x = torch.linspace(-1, 1, 6).reshape(2, 3)
print("as in the ward:", torch.equal(patient_3(x, 9, x + 1, short), sick[3](x, 9, x + 1, short)))
print(
    f"patient 3: standard deviation {std_at_the_end(patient_3):.2f}; it should be {short.alpha[1].sqrt():.2f}"
)

# %% [markdown]
# #### Exercise 09.7: mend it


# %%
def mean_from_eps(xt, t, eps_hat, schedule):
    """The mean of a reverse step, eq. (11). xt, eps_hat: (B, ...); t: a number, 1..T."""
    ### BEGIN SOLUTION
    beta, alpha, alpha_bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    return (xt - beta / (1 - alpha_bar).sqrt() * eps_hat) / alpha.sqrt()
    ### END SOLUTION


# %%
mean_from_eps = check("09.7", mean_from_eps)
print(f"mended: standard deviation {std_at_the_end(mean_from_eps):.2f}")
# hint("09.7")

# %% [markdown]
# ### Patient 4: "White is grey, and black is not black"
#
# The posterior mean (7). The test: (7) and (11) are one mean in two forms. Take an $x_0$ and noise, make $x_t$, and compute it both ways.


# %%
def patient_4(x0, xt, t, schedule):
    """The posterior mean, from x_0 and x_t. t: a number."""
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    of_x0 = before.sqrt() * schedule.beta[t] / (1 - now)
    of_xt = now.sqrt() * (1 - before) / (1 - now)
    return of_x0 * x0 + of_xt * xt


def both_forms_agree(mean, schedule=short):
    """The test: the share of all t at which the mean from x_0 is the mean from the noise."""
    x0, eps = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    xts = [process.q_sample(x0, torch.full((5,), t), eps, schedule) for t in range(1, schedule.T + 1)]
    hits = [
        torch.allclose(mean(x0, xt, t, schedule), ch09.mean_from_eps(xt, t, eps, schedule))
        for t, xt in enumerate(xts, 1)
    ]
    return sum(hits) / len(hits)


print("as in the ward:", torch.equal(patient_4(x, x + 1, 9, short), sick[4](x, x + 1, 9, short)))
print(f"patient 4: both forms agree at {both_forms_agree(patient_4):.0%} of the steps")

# %% [markdown]
# #### Exercise 09.8: mend it


# %%
def mu_tilde(x0, xt, t, schedule):
    """The posterior mean, eq. (7). x0, xt: (B, ...); t: a number, 1..T."""
    ### BEGIN SOLUTION
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    of_x0 = before.sqrt() * schedule.beta[t] / (1 - now)
    of_xt = schedule.alpha[t].sqrt() * (1 - before) / (1 - now)
    return of_x0 * x0 + of_xt * xt
    ### END SOLUTION


# %%
mu_tilde = check("09.8", mu_tilde)
print(f"mended: both forms agree at {both_forms_agree(mu_tilde):.0%} of the steps")
# hint("09.8")

# %% [markdown]
# At $t = 1$ even the patient was right: there $1-\bar\alpha_0 = 0$, and the faulty factor with it. Whoever tests at $t = 1$ alone finds nothing.
#
# **Discharge.** All repaired parts in one sampler. It should give what the healthy one gave, pixel by pixel.

# %%
discharged = clinic(
    mean=lambda xt, i, eps_hat: mu_tilde(clipped_x0(xt, i, eps_hat), xt, i, short),
    variance=variance_at,
    add=add_noise,
)
print("ward 1 discharged, healthy to within 0.05:", bool((discharged[-1] - healthy[-1]).abs().max() < 0.05))

# %% [markdown]
# ## Ward 2: the network
#
# The step is sound here, but the network is asked or set up the wrong way. Names:
#
# `inverted mask` · `off by one` (told another $t$) · `dropout on` · `wrong embedding` (of $t$) · `uniform noise` · `noise in the last step`
#
# How they were admitted: one patient is sampled with **guidance** (chapter 13), $2\,\varepsilon_\theta(x_t, t, y) - \varepsilon_\theta(x_t, t)$, which asks for each image twice, with its label and with the label hidden; hiding is where its fault is.
# One carries the network over to code of its own, which computes the embedding of $t$ by itself. For one we give the network dropout layers at 0.3. The shipped network was trained without any, and the paper's has 0.1; we take three times that, so that eight pictures are enough to show it.


# %%
def guided(hide):
    """The network, with guidance: a batch twice, in the second half with hidden labels."""
    y = hide(WISH.repeat(2), torch.arange(16) >= 8, model.null_label)

    def network(xt, i):
        with_label, without = model(torch.cat([xt, xt]), tau[i].repeat(2), y).chunk(2)
        return 2 * with_label - without

    return network


def with_dropout(p):
    """A copy of the network, with this dropout, as training leaves it."""
    net = copy.deepcopy(model)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
    return net.train()


def with_embedding(embedding):
    """The network with the same weights, and another function for the embedding of t."""
    net = copy.copy(model)
    net.embed = lambda t, y: F.silu(net.time2(F.silu(net.time1(embedding(t, 32)))) + net.label(y))
    return net


def as_network(net):
    """A network of 28 x 28 images for the clinic's chain."""
    return samplers.at_timesteps(lambda xt, t: net(xt, t, WISH), tau)


def seeded(seed, call):
    """call(), with PyTorch's global generator, from which dropout draws, lent a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return call()


# %%
ward_2 = {
    "healthy": healthy,
    "patient 5": clinic(guided(sick[5])),
    "patient 6": clinic(lambda xt, i: sick[6](lambda xt, t: model(xt, t, WISH), xt, i, tau)),
    "patient 7": seeded(0, lambda: clinic(as_network(sick[7](with_dropout(0.3))))),
    "patient 8": clinic(as_network(with_embedding(sick[8]))),
}
show_samples(
    ward_2,
    alt="Five rows of eight, all asked for four 2s and four 7s. Patient 5: good digits, but 9, 5, 1, 8 and others, none as asked. Patient 6: nearly the healthy digits, with specks on the black; one is spoilt. Patient 7: the healthy digits with uneven, in places broken strokes. Patient 8: no digits, only grey and white specks on black.",
)

# %% tags=["volatile"]
chart(ward_2)

# %% [markdown]
# ### Exercise 09.9: diagnosis, ward 2

# %%
found_2 = ...  # {5: "...", 6: "...", 7: "...", 8: "..."}
### BEGIN SOLUTION
found_2 = {5: "inverted mask", 6: "off by one", 7: "dropout on", 8: "wrong embedding"}
### END SOLUTION

# %%
found_2 = check("09.9", found_2)
# hint("09.9")

# %% [markdown]
# ### Patient 5: "I ask for a 2, and get anything but"
#
# It hides labels: `null` in place of those that are to be dropped. In training this is done to a few labels at random, so that one network learns both, with label and without.


# %%
def patient_5(y, drop, null):
    """The labels y (B,), with null in place of those where drop (B,) is True."""
    return torch.where(drop, y, null)


def survive(hide):
    """The test: hide nothing, and count the labels that are still there."""
    y = torch.tensor([3, 1, 4])
    return int((hide(y, torch.zeros(3, dtype=torch.bool), 10) == y).sum())


mask = torch.tensor([True, False])
print("as in the ward:", torch.equal(patient_5(mask.long(), mask, 9), sick[5](mask.long(), mask, 9)))
print(f"patient 5: told to hide nothing, it keeps {survive(patient_5)} of 3 labels")

# %% [markdown]
# #### Exercise 09.10: mend it


# %%
def hide_labels(y, drop, null):
    """The labels y, int64 (B,), with the number null in place of those where drop, bool (B,), is True."""
    ### BEGIN SOLUTION
    return torch.where(drop, null, y)
    ### END SOLUTION


# %%
hide_labels = check("09.10", hide_labels)
print(f"mended: told to hide nothing, it keeps {survive(hide_labels)} of 3 labels")
# hint("09.10")

# %% [markdown]
# Its samples avoid the digits that were asked for. Guidance takes the difference between "with label" and "without" and goes further in that direction. With the mask inverted the two have changed places, and it goes the other way.
#
# ### Patient 6: "Specks, since I have shortened the chain"
#
# It asks the network in step $i$ of the short chain. Python counts from 0, this course's $t$ from 1. The test: a network that does not answer, but writes down which $t$ it was asked about.


# %%
def patient_6(network, xt, i, tau):
    """What the network says in step i (B,) of a respaced chain, which visits the levels tau (steps+1,)."""
    return network(xt, tau[i - 1])


def asked_about(ask):
    """The test: the t of the first and of the last step."""
    told = [ask(lambda xt, t: t, None, torch.tensor([i]), tau) for i in (STEPS, 1)]
    return [int(t) for t in told]


i = torch.tensor([4, 1])
same = [ask(lambda xt, t: t, None, i, tau) for ask in (patient_6, sick[6])]
print("as in the ward:", torch.equal(*same))
print(
    "patient 6: first and last question about t =", asked_about(patient_6), "- it was trained with 1 to 1000"
)

# %% [markdown]
# #### Exercise 09.11: mend it


# %%
def ask(network, xt, i, tau):
    """What the network says in step i, int64 (B,), of a respaced chain, which visits the levels tau, int64 (steps+1,)."""
    ### BEGIN SOLUTION
    return network(xt, tau[i])
    ### END SOLUTION


# %%
ask = check("09.11", ask)
print("mended: first and last question about t =", asked_about(ask))
# hint("09.11")

# %% [markdown]
# In 1000 steps the same slip moves $t$ by 1, and not by 40. It has been found in published code, in the form that training used $(1-\beta)^t$ and sampling $(1-\beta)^{t+1}$.
#
# ### Patient 7: "The same seed gives another picture"
#
# It makes a network ready to sample with. Somebody thought of the gradients.


# %%
def patient_7(network):
    """The network, ready to sample with."""
    return network.requires_grad_(False)


def asked_twice(ready):
    """The test: are two answers to the same question the same?"""
    net = ready(with_dropout(0.3))
    x, t = torch.zeros(8, *IMAGE), torch.full((8,), 500)
    return seeded(0, lambda: torch.equal(net(x, t, WISH), net(x, t, WISH)))


print("as in the ward:", patient_7(with_dropout(0.3)).training == sick[7](with_dropout(0.3)).training)
print("patient 7, asked the same twice, answers the same:", asked_twice(patient_7))

# %% [markdown]
# #### Exercise 09.12: mend it


# %%
def ready(network):
    """The network (nn.Module), ready to sample with."""
    ### BEGIN SOLUTION
    return network.eval()
    ### END SOLUTION


# %%
ready = check("09.12", ready)
print("mended, asked the same twice, answers the same:", asked_twice(ready))
# hint("09.12")

# %% [markdown]
# A cousin of this patient samples with the weights as they are, and not with their average; that one is found by looking which weights were loaded. Chapter 06 measured what it costs.
#
# ### Patient 8: "It worked before I copied it over"
#
# The embedding of $t$, in the code to which the network was carried. The weights are right, all of them.
# The test: at $t = 0$ all angles are 0, so all sines are 0 and all cosines 1; at $t = 500$ they are not.


# %%
def patient_8(t, dim):
    """t: int64 (B,), dim even. Returns float32 (B, dim): first the sines, then the cosines."""
    half = dim // 2
    k = torch.arange(half)
    frequency = torch.exp(-math.log(10000) * t.float() / (half - 1))[:, None]
    angle = k * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def tells_apart(embedding):
    """The test: is t = 0 all zeros and ones, and how far is t = 500 from t = 600?"""
    clean, one, other = embedding(torch.tensor([0, 500, 600]), 32)
    zeros_and_ones = bool(clean[:16].abs().max() < 1e-6 and (clean[16:] - 1).abs().max() < 1e-6)
    return f"t = 0 as it should be: {zeros_and_ones}; distance of t = 500 and t = 600: {(one - other).norm():.2f}"


print("as in the ward:", torch.equal(patient_8(i, 8), sick[8](i, 8)))
print("patient 8:", tells_apart(patient_8))

# %% [markdown]
# #### Exercise 09.13: mend it


# %%
def embedding(t, dim):
    """t: int64 (B,), dim even. Returns float32 (B, dim): dim/2 sines, then dim/2 cosines, of t * 10000^(-k/(dim/2 - 1))."""
    ### BEGIN SOLUTION
    half = dim // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))  # (half,)
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
    ### END SOLUTION


# %%
embedding = check("09.13", embedding)
print("mended:", tells_apart(embedding))
# hint("09.13")

# %% [markdown]
# To the patient nearly all $t$ looked the same, and the network heard "this image is almost clean" in every step.
#
# **Discharge.** `ask`, `ready` and `embedding` of patients 6, 7 and 8 in one network; and `hide_labels` of patient 5 with guidance.

# %%
net = ready(with_embedding(embedding))
discharged = clinic(lambda xt, i: ask(lambda xt, t: net(xt, t, WISH), xt, i, tau))
print("ward 2 discharged, healthy to within 0.05:", bool((discharged[-1] - healthy[-1]).abs().max() < 0.05))
guided_again = clinic(guided(hide_labels))
asked = metrics.classify(reader, data.to_uint8(guided_again[-1])) == WISH
print("with guidance, at least seven of eight as asked:", bool(asked.sum() >= 7))
show_samples(
    {"discharged": discharged, "and guided": guided_again},
    alt="Two rows of four 2s and four 7s, clean, white on black. The guided ones have a fuller, plainer form.",
)

# %% [markdown]
# ## Ward 3: the training
#
# Four faults that were made when the network was *trained*. A flawless sampler cannot save these patients; it is their training that has to be mended. One could train each of them: on digits of 8 × 8 pixels that takes less than a minute (chapter 08). But then each flaw could as well come from so short a training.
# For a small data set we know the network to which *perfect* training leads (chapter 03), and for a faulty training just as well. So whatever is wrong here is the fault's doing. That network is the mean of all the noises that could have led to $x_t$, **as that training made $x_t$**:
#
# $$x_t = a_t\,x_0 + s_t\,\varepsilon, \qquad \varepsilon^*(x_t, t) = \mathbb E[\varepsilon\mid x_t] .$$
#
# The data are the 1,797 digits of 8 × 8 pixels, each with a little Gaussian noise on it, so that samples are not copies. Healthy is $a_t = \sqrt{\bar\alpha_t}$, $s_t = \sqrt{1-\bar\alpha_t}$, in 50 steps.


# %%
def perfect(images, signal, noise, spread=0.1):
    """The network that perfect training leads to, if x_t = signal[t] x_0 + noise[t] eps and x_0 is one of images ± spread."""
    flat = images.flatten(1)  # (N, D)

    def eps_model(xt, t):
        a, s = float(signal[t[0]]), float(noise[t[0]])  # all images of a chain are at one t
        v = (a * spread) ** 2 + s**2
        w = (-(torch.cdist(xt.flatten(1), a * flat) ** 2) / (2 * v)).softmax(dim=1)  # (B, N): which image?
        return s / v * (xt - a * (w @ flat).reshape(xt.shape))

    return eps_model


def train(scale=data.from_uint8, betas=ch09.betas, alpha_bar=ch09.alpha_bar, coefficients=ch09.coefficients):
    """Perfect training on the small digits; its parts can fall ill. Returns the network and the schedule for sampling."""
    chain = schedules.from_beta(betas(50))
    return perfect(scale(small.images), *coefficients(alpha_bar(chain.beta))), chain


small = data.digits()
x0 = data.from_uint8(small.images)
net, chain = train()
mixture = exact.Mixture(x0, torch.full((1797,), 0.01), torch.full((1797,), 1 / 1797))
x, t = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((5,), 20)
print(
    "healthy, it is the network of ddpm_lite.exact:",
    torch.allclose(net(x, t), mixture.eps(x, t, chain), atol=1e-3),
)

# %% [markdown]
# Names for this ward:
#
# `product to T` ($\bar\alpha_t$ multiplied up to $T$) · `images in [0, 1]` · `variance as deviation` ($1-\bar\alpha_t$ for $\sqrt{1-\bar\alpha_t}$) · `short chain` (the paper's $\beta$ in 50 steps) · `inverted mask` · `wrong embedding`


# %%
def generate(trained, count=600):
    """`count` small digits by the usual algorithm 2."""
    net, chain = trained
    noise = torch.randn(chain.T + 1, count, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    *_, (_, x, _) = sample(net, noise, chain, losses.posterior_variance(chain))
    return x


def small_chart(samples):
    """A line for each: its darkest pixels, how near its samples are to a real digit, and its share of each digit."""
    print(f"{'':11s} darkest  to nearest real   share of the digits 0 to 9, in percent")
    for name, x in samples.items():
        near, which = (torch.cdist(x.flatten(1), x0.flatten(1)) / 8).min(dim=1)
        shares = torch.bincount(small.labels[which], minlength=10) / len(x)
        dark = x.flatten().quantile(0.01)
        print(
            f"{name:11s} {dark:7.2f} {near.mean():13.2f}     " + " ".join(f"{100 * s:4.0f}" for s in shares)
        )


ward_3 = {
    "healthy": generate(train()),
    "patient 9": generate(train(alpha_bar=sick[9])),
    "patient 10": generate(train(scale=sick[10])),
    "patient 11": generate(train(coefficients=sick[11])),
    "patient 12": generate(train(betas=sick[12])),
}
viz.show(
    viz.strip({name: x[::50] for name, x in ward_3.items()}, scale=5),
    alt="Five rows of twelve small digits. Healthy: white on black, somewhat blocky. Patient 9: grey noise. Patient 10: pale digits on a grey ground. Patient 11: the healthy digits, duller, with grey patches. Patient 12: digits as clear as the healthy ones, but others.",
)

# %% tags=["volatile"]
small_chart(ward_3)

# %% [markdown]
# ### Exercise 09.14: diagnosis, ward 3

# %%
found_3 = ...  # {9: "...", 10: "...", 11: "...", 12: "..."}
### BEGIN SOLUTION
found_3 = {9: "product to T", 10: "images in [0, 1]", 11: "variance as deviation", 12: "short chain"}
### END SOLUTION

# %%
found_3 = check("09.14", found_3)
# hint("09.14")

# %% [markdown]
# ### Patient 9: "Noise in, noise out"
#
# From $\beta$ to $\bar\alpha$.


# %%
def patient_9(beta):
    """alpha_bar_t for t = 0..T, from beta (T+1,), beta_0 = 0."""
    return torch.prod(1 - beta).expand(len(beta)).clone()


def falls_from_one(alpha_bar):
    """The test: alpha_bar starts at 1, and falls in every step."""
    values = alpha_bar(chain.beta)
    return bool(values[0] == 1 and (values.diff() < 0).all())


print("as in the ward:", torch.equal(patient_9(chain.beta), sick[9](chain.beta)))
print("patient 9: from 1 downwards in every step:", falls_from_one(patient_9))

# %% [markdown]
# #### Exercise 09.15: mend it


# %%
def alpha_bar(beta):
    """alpha_bar_t for t = 0..T, float64 (T+1,), from beta (T+1,) with beta_0 = 0."""
    ### BEGIN SOLUTION
    return torch.cumprod(1 - beta, dim=0)
    ### END SOLUTION


# %%
alpha_bar = check("09.15", alpha_bar)
print("mended: from 1 downwards in every step:", falls_from_one(alpha_bar))
# hint("09.15")

# %% [markdown]
# ### Patient 10: "It looks washed out"
#
# From bytes to what the network sees.


# %%
def patient_10(images):
    """uint8 0..255 -> float32, any shape."""
    return images.float() / 255


def range_of(scale):
    """The test: black and white."""
    return [round(float(v), 2) for v in scale(torch.tensor([0, 255], dtype=torch.uint8))]


print("as in the ward:", torch.equal(patient_10(small.images), sick[10](small.images)))
print("patient 10: black and white become", range_of(patient_10))

# %% [markdown]
# #### Exercise 09.16: mend it


# %%
def scale(images):
    """uint8 0..255 -> float32 in [-1, 1], any shape."""
    ### BEGIN SOLUTION
    return images.float() / 127.5 - 1
    ### END SOLUTION


# %%
scale = check("09.16", scale)
print("mended: black and white become", range_of(scale))
# hint("09.16")

# %% [markdown]
# ### Patient 11: "Good, but blotchy"
#
# The two factors of (4) with which training makes $x_t$.


# %%
def patient_11(alpha_bar):
    """The factors of x_0 and of eps in x_t, for t = 0..T: two float64 tensors (T+1,)."""
    return alpha_bar.sqrt(), 1 - alpha_bar


def sum_of_squares(coefficients):
    """The test: for data of variance 1, x_t has variance signal^2 + noise^2, and it should be 1 at every t."""
    signal, noise = coefficients(chain.alpha_bar)
    total = signal**2 + noise**2
    return f"from {total.min():.2f} to {total.max():.2f}"


print("as in the ward:", all(map(torch.equal, patient_11(chain.alpha_bar), sick[11](chain.alpha_bar))))
print("patient 11: signal² + noise² runs", sum_of_squares(patient_11))

# %% [markdown]
# #### Exercise 09.17: mend it


# %%
def coefficients(alpha_bar):
    """The factors of x_0 and of eps in x_t, eq. (4), for t = 0..T: two float64 tensors, shaped as alpha_bar (T+1,)."""
    ### BEGIN SOLUTION
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    ### END SOLUTION


# %%
coefficients = check("09.17", coefficients)
print("mended: signal² + noise² runs", sum_of_squares(coefficients))
# hint("09.17")

# %% [markdown]
# ### Patient 12: "Nothing wrong with any of them"
#
# And indeed the eye finds nothing wrong with any single sample (on the chart they are a little farther from real digits, 0.08 where healthy is 0.06). What is wrong is how many there are of each digit. A chain of 50 steps with the $\beta$ that the paper chose for 1000; several published courses have it. The test is one number.


# %%
def patient_12(T):
    """beta_1..beta_T, float64 (T,)."""
    return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


def left_at_the_end(betas):
    """The test: what of the image is left in x_T, where sampling starts from noise that holds none of it."""
    return float(torch.prod(1 - betas(50)).sqrt())


print("as in the ward:", torch.equal(patient_12(50), sick[12](50)))
print(f"patient 12: {left_at_the_end(patient_12):.2f} of x_0 is left in x_T (the paper's chain: 0.01)")

# %% [markdown]
# #### Exercise 09.18: mend it
#
# Rescale the $\beta$ as in chapter 02: the chain is $1000/T$ times shorter than the paper's, so each $\beta$ has to be $1000/T$ times larger.


# %%
def betas(T):
    """beta_1..beta_T, float64 (T,): the paper's line from 0.0001 to 0.02, rescaled to T steps. T: 25 or more."""
    ### BEGIN SOLUTION
    return 1000 / T * torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    ### END SOLUTION


# %%
betas = check("09.18", betas)
print(f"mended: {left_at_the_end(betas):.2f} of x_0 is left in x_T")
# hint("09.18")

# %% [markdown]
# **Discharge.** All four parts in one training; and the shares of the digits once more, by which patient 12 gives itself away.

# %%
discharged = generate(train(scale, betas, alpha_bar, coefficients))
print("ward 3 discharged, as healthy:", torch.allclose(discharged, ward_3["healthy"], atol=0.05))


def misplaced(x):
    """The share of samples that would have to be another digit for the data's proportions."""
    _, which = torch.cdist(x.flatten(1), x0.flatten(1)).min(dim=1)
    shares = [
        torch.bincount(labels, minlength=10) / len(labels) for labels in (small.labels[which], small.labels)
    ]
    return float((shares[0] - shares[1]).abs().sum() / 2)


print(
    "patient 12 has more than twice as many misplaced as the healthy one:",
    misplaced(ward_3["patient 12"]) > 2 * misplaced(discharged),
)

# %% [markdown]
# ## The clinic's table
#
# Keep this one. Beside it the order in which to look: first the chart (is it noise, grey, grain, or all alike?), then the test, and only then the code.
#
# | | what you see | what to suspect | the test that tells |
# |---|---|---|---|
# | 1 | white, or one colour | noise that is uniform, or has a mean | draw 100,000 of it: mean 0, standard deviation $\sigma_t$ |
# | 2 | good, under an even grain | noise in the last step | two different $z$ at $t = 1$ give the same $x_0$ |
# | 3 | clean, plain, all alike | too much noise taken away, or too little put back | data $\mathcal N(0, I)$: standard deviation 1 at the end |
# | 4 | no real black or white, dents | a factor of the mean | (7) and (11) agree at every $t$ |
# | 5 | good, but not what was asked for | labels | hide none: all labels are kept |
# | 6 | the right digits, with specks | $t$ of sampling is not $t$ of training | write down which $t$ the network is told: $T$ first |
# | 7 | uneven; the same seed, another picture | train mode | ask twice: the same answer |
# | 8 | specks, no digit at all | the network at sampling is not the one that was trained | embedding of $t = 0$, and of $t$ far apart |
# | 9 | noise to the end | $\bar\alpha$ | 1 at $t = 0$, and it falls in every step |
# | 10 | grey, washed out | the scale of the images | black is $-1$, white is 1; and undo it for display |
# | 11 | the right digits, dull, with grey patches | variance or deviation | signal² + noise² = 1 at every $t$ |
# | 12 | in single samples nothing | $T$ and $\beta$ do not fit | $\sqrt{\bar\alpha_T}$ is near 0; and count the kinds |
#
# ## Recap
#
# | | |
# |---|---|
# | as run | $\hat x_0$, clip, then (7); without clipping it is line 4 |
# | the last step | no noise: nobody would take it away |
# | variance | in short chains $\tilde\beta_t$; $\beta_t$ leaves grain |
# | the noise | the $z$ decide the sample; $x_T$ hardly does |
# | own seeds | a generator for each image makes it independent of its batch |
# | a bug | seldom crashes: give the sampler something for which you know the answer |
#
# Before you go: without looking, say what the samples look like if the bar is lost in (11), and which test finds it.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# Admit a thirteenth patient. Take one of these, or a fault of your own: $x_T$ drawn with standard deviation 2; the same $z$ in every step; $\hat x_0$ clipped to $[-0.5, 0.5]$; a schedule for training and another for sampling.
#
# 1. Write it as a function of at most ten lines, and look at eight samples beside healthy ones.
# 2. Find a test of one line that tells it from a healthy sampler, and from the other twelve.
# 3. How strong must the fault be to be seen by eye, and how strong for your test to find it?
#
# <!-- BEGIN SOLUTION -->
# For $x_T = c\,z$ with $c = 2$ and $5$ (next cell): hardly anything changes, for the chain forgets its start, as we saw. A test that looks at samples would miss it, and one that measures the standard deviation of $x_T$ finds it with a few thousand numbers: the test belongs where the fault is.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
noise = own_noise(range(4), STEPS, IMAGE)
ends = []
for c in (1, 2, 5):
    started = noise.clone()
    started[0] *= c
    ends.append(finish([2, 2, 7, 7], None, noise=started))
for c, x in zip((2, 5), ends[1:], strict=True):
    print(
        f"{c} times the start: the pixels differ by less than 0.1 on average:",
        bool((x - ends[0]).abs().mean() < 0.1),
    )
