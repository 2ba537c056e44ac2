# %% [markdown]
# # 08 · Training on images
#
# {{ colab }}
#
# Algorithm 1 is five lines, and chapter 06 has run them on points of the plane. Between those lines and a network that draws digits there is craft: how pictures become numbers, how large a step may be and when,
# which weights to keep, how to notice in a minute that something is wrong, and how to go on after a crash. We build the loop with all of it, train on real pictures for less than a minute, and measure what each piece is worth.
#
# | | |
# |---|---|
# | **You will** | write the training loop with its guards: warm-up, decay, clipping, averaged weights · test it on a single batch before you trust it · find a learning rate and not guess it · train on the embedded digits until their samples can be read, and show that they are no copies · see where the loss is, stop and resume, and work out the energy bill |
# | **Time** | 60 minutes |
# | **You need** | chapters 01, 05 and 06; chapter 07 for what is inside the network |
# | **Equations** | algorithm 1; the paper's (4) and (14) |

# %%
# {{ setup }}
import copy
import math
import tempfile
import time
from pathlib import Path

import torch
from IPython.display import display
from PIL import Image
from torch import nn

from ddpm_lite import (
    data,
    energy,
    metrics,
    paper,
    process,
    results,
    samplers,
    schedules,
    train,
    unet,
    viz,
    widgets,
)
from ddpm_lite.exercises import check, hint
from ddpm_lite.train import TrainStep

ready = time.process_time()  # seconds of processor time for starting Python and importing

# %% [markdown]
# ## The dial
#
# One line chooses the pictures. The digits are part of the course: 8 × 8 pixels, and small enough to learn in a minute. The other names are downloaded once (without a network you get an error that says what to do), and made 16 × 16.
# Or give a folder of your own pictures. All the rest of the chapter follows the dial; only what the text says of curves and numbers, it says of the digits.

# %%
DATA = "digits"  # or "mnist", "fashion_mnist", "cifar10", or a folder such as "~/Pictures/cats"

known = DATA == "digits"  # for these we know what to expect, and have a classifier
SIZE = 8 if known else 16
found = data.load(DATA) if DATA in data.REGISTRY else data.folder(DATA, size=SIZE)
pictures = data.shrink(found.images, SIZE)

order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
aside = min(297, len(pictures) // 6)  # kept aside: the network never sees them
held, images = pictures[order[:aside]], pictures[order[aside:]]
CHANNELS = images.shape[1]
print("to learn from", tuple(images.shape), images.dtype, "| kept aside", len(held))

# %%
viz.show(
    viz.grid(images[:24], ncol=12),
    alt="Two rows of twelve training pictures, white on black: handwritten digits of eight by eight pixels, coarse but readable.",
)

# %% [markdown]
# ## From bytes to numbers, and back
#
# Pictures are kept as bytes, 0 to 255; a batch becomes floats only when it is needed. The forward process adds noise of variance 1 around 0, so a picture should be centred there, and its range known: the paper scales to $[-1, 1]$,
#
# $$x = \mathrm{byte} / 127.5 - 1 .$$
#
# The way back is asked for at the end of sampling, and it is where many a good model has been made to look bad. The network's numbers may lie a little beyond the ends; a byte that overflows wraps around, and white turns black.
#
# ### Exercise 08.1: to_bytes


# %%
def to_bytes(x):
    """Float in about [-1, 1], any shape -> uint8 0..255: rounded, and what lies beyond the ends is clamped."""
    ### BEGIN SOLUTION
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    ### END SOLUTION


# %%
to_bytes = check("08.1", to_bytes)
# hint("08.1")

# %%
every_byte = torch.arange(256, dtype=torch.uint8)
x = data.from_uint8(every_byte)
print(f"from {x.min():.0f} to {x.max():.0f}; every byte comes back: {torch.equal(to_bytes(x), every_byte)}")

# %% [markdown]
# ## The network, and what it predicts
#
# The network is the U-Net of chapter 07, cut down to what a laptop's processor trains in a minute: 16 channels, two levels, attention at the lower one.
# We ask it for $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$ (chapter 05), where the paper asks for $\varepsilon$, and take the cosine schedule. (For larger pictures we ask for $x_0$ itself.) These are two of our departures from the paper; further down each has its price tag.

# %%
PREDICTION = "v" if known else "x0"  # or "eps", as the paper
schedule = schedules.cosine(T=1000)
levels = (1, 2) if SIZE == 8 else (1, 2, 2)
config = unet.UNetConfig(
    channels=CHANNELS, base=16, multipliers=levels, blocks=1, attention=(1,), groups=8, dropout=0.0
)


def new_network(seed):
    """A network that has learned nothing yet. Layers draw from the global generator: fork_rng lends it a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return unet.UNet(config)


def noised(x0, seed):
    """A random t and noise for each image: t, eps, x_t."""
    g = torch.Generator().manual_seed(seed)
    t = torch.randint(1, schedule.T + 1, (len(x0),), generator=g)
    eps = torch.randn(x0.shape, generator=g)
    return t, eps, process.q_sample(x0, t, eps, schedule)


net = new_network(seed=0)
x0 = data.from_uint8(images[:4])
t, eps, xt = noised(x0, seed=1)
v = process.v_target(x0, t, eps, schedule)
print("numbers to learn:", f"{net.parameter_count():,}", "| in and out:", tuple(net(xt, t).shape))
print(
    "the noise, from v and x_t:",
    torch.allclose(process.eps_from_v(xt, t, v, schedule), eps, atol=1e-5),
)

# %% [markdown]
# ## A learning rate that rises and falls
#
# Now the guards of the loop, one by one. Adam divides each gradient by a running estimate of its size, and at first that estimate rests on a handful of batches. So the first steps are kept short: over $W$ steps the learning rate *warms up*.
# (The paper's text does not say so; its code does, over 5000 steps.) At the other end we want the weights to come to rest, so over all $N$ steps it also falls, along half a cosine:
#
# $$\mathrm{lr}(n) = \mathrm{peak} \cdot \min\!\Big(1, \frac{n}{W}\Big) \cdot \frac12\Big(1 + \cos\frac{\pi\,(n-1)}{N}\Big), \qquad n = 1, \ldots, N .$$
#
# Both factors act from the first step on, so the peak itself is reached only where $W$ is small beside $N$. With $W = 0$ there is no warm-up.
#
# ### Exercise 08.2: learning_rate


# %%
def learning_rate(number, steps, peak, warmup):
    """The learning rate of step `number`, 1..steps."""
    ### BEGIN SOLUTION
    rise = min(1.0, number / max(warmup, 1))
    fall = 0.5 * (1 + math.cos(math.pi * (number - 1) / steps))
    return peak * rise * fall
    ### END SOLUTION


# %%
learning_rate = check("08.2", learning_rate)
# hint("08.2")

# %% tags=["nbval-ignore-output"]
curve, ax = viz.figure(6.4, 2.4)
(line,) = ax.plot([], [], color=viz.COLORS["blue"])
ax.set(xlim=(0, 300), ylim=(0, 1.05), xlabel="step", ylabel="share of the peak")


def draw_rate(warmup, steps):
    """The share of the peak at each step."""
    numbers = range(1, steps + 1)
    line.set_data(list(numbers), [learning_rate(n, steps, 1.0, warmup) for n in numbers])
    ax.set_title(f"the first step has {learning_rate(1, steps, 1.0, warmup):.3f} of the peak", fontsize=10)
    return curve


widgets.live(
    draw_rate,
    alt=lambda warmup, steps: (
        f"The learning rate climbs for {warmup} steps, to {max(learning_rate(n, steps, 1.0, warmup) for n in range(1, steps + 1)):.2f} of the peak, and falls along half a cosine to nearly 0 at step {steps}."
    ),
    warmup=(0, 150, 10),
    steps=(150, 300, 50),
)

# %% [markdown]
# ## No step too long
#
# Now and then a batch has a gradient many times as long as usual. One such step can undo a hundred. So before each step the length is looked at, the norm $\lVert g\rVert$ of *all* gradients as one long vector, and if it is above $c$ they are scaled down together:
#
# $$g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g\rVert}\Big), \qquad \lVert g\rVert = \sqrt{\textstyle\sum_i g_i^2} .$$
#
# The direction stays. The paper's code does this with $c = 1$; its text does not mention it.
#
# ### Exercise 08.3: clip_gradients


# %%
def clip_gradients(gradients, largest):
    """A list of tensors of any shapes -> the same, scaled so that their common norm is at most `largest`."""
    ### BEGIN SOLUTION
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    scale = torch.clamp(largest / norm, max=1.0)
    return [g * scale for g in gradients]
    ### END SOLUTION


# %%
clip_gradients = check("08.3", clip_gradients)
# hint("08.3")

# %%
g = torch.Generator().manual_seed(2)
gradients = [torch.randn(3, 4, generator=g), 5 * torch.randn(6, generator=g)]
clipped = clip_gradients(gradients, 1.0)
before, after = (torch.cat([x.flatten() for x in many]) for many in (gradients, clipped))
print(f"norm before {before.norm():.2f}, after {after.norm():.2f}")
print(f"cosine of the angle between them {torch.cosine_similarity(before, after, dim=0):.2f}")
by_value = before.clamp(-1, 1)
print(f"and if each number is clamped by itself {torch.cosine_similarity(before, by_value, dim=0):.2f}")

# %% [markdown]
# ## Sample with the average
#
# The weights follow one noisy batch after another and never come to rest. So the paper keeps a second network, whose weights are a running average of the first one's, and samples with that. Chapter 06 averaged one tensor; here it is a whole model:
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad d = \min\!\Big(\mathrm{decay}, \frac{1 + n}{10 + n}\Big) .$$
#
# The second expression is a warm-up of the decay: without it a tenth of the random start would still be there after $2.3/(1-\mathrm{decay})$ steps. Two practical points. The average is changed *in place* and without recording gradients.
# And a model may have *buffers*, such as the counts of a batch norm: these are no weights to be averaged, they are copied.
#
# ### Exercise 08.4: update_average


# %%
def update_average(average, model, number, decay):
    """Change the module `average`, in place, after step `number` (1, 2, ...) of `model`. Parameters are averaged, buffers copied."""
    ### BEGIN SOLUTION
    d = min(decay, (1 + number) / (10 + number))
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
            mean.copy_(d * mean + (1 - d) * weight)
        for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
    ### END SOLUTION


# %%
update_average = check("08.4", update_average)
# hint("08.4")

# %%
for decay in (0.995, paper.FACTS["ema"].value):
    start, warm = 1.0, 1.0  # the share of the random start that is still in the average
    for n in range(1, 1001):
        start, warm = start * decay, warm * min(decay, (1 + n) / (10 + n))
    print(f"decay {decay}: of the start {start:.2f} is left after 1000 steps, with a warm-up {warm:.4f}")
print("the warm-up reaches 0.995 at step", next(n for n in range(1, 10_000) if (1 + n) / (10 + n) >= 0.995))

# %% [markdown]
# The paper's 0.9999 remembers ten thousand steps, and without a warm-up a run of a thousand would sample from little but its random start. With it the memory grows with the run, to about a ninth of the steps so far, until the decay is reached. For 0.995 that is at step 1790:
# in our short run below, 0.995 and 0.9999 do exactly the same.
#
# ## The loop
#
# > 1: **repeat**<br>
# > 2: $\quad x_0 \sim q(x_0)$<br>
# > 3: $\quad t \sim \mathrm{Uniform}(\{1, \ldots, T\})$<br>
# > 4: $\quad \varepsilon \sim \mathcal N(0, I)$<br>
# > 5: $\quad$ take a gradient step on $\nabla_\theta \left\lVert \varepsilon - \varepsilon_\theta\!\left(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\ t\right)\right\rVert^2$<br>
# > 6: **until** converged
#
# Lines 2 to 4 are handed to you as a function: `draw(number)` gives $x_0$, $t$ and $\varepsilon$ of that step, and for the same number always the same. (That will pay off when we resume.)
# In line 5 the target is $\varepsilon$, or what else is to be predicted: `process.target(x0, t, eps, schedule, prediction)`. Around it go the guards, in this order: clear the old gradients, `backward`, clip to norm 1 (`nn.utils.clip_grad_norm_`, which works in place),
# set the learning rate in every one of `optimizer.param_groups`, `step`, update the average with `decay`. Then yield.
#
# ### Exercise 08.5: training_loop


# %%
def training_loop(model, average, optimizer, draw, schedule, prediction, rate, decay, steps):
    """Algorithm 1. After each of the steps 1..steps it yields TrainStep(number, loss, average), the loss as a plain number.

    draw(number) -> x0, t, eps. rate(number) -> the learning rate. decay: of the average, before its warm-up.
    """
    ### BEGIN SOLUTION
    for number in range(1, steps + 1):
        x0, t, eps = draw(number)
        xt = process.q_sample(x0, t, eps, schedule)
        loss = (process.target(x0, t, eps, schedule, prediction) - model(xt, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        optimizer.step()
        update_average(average, model, number, decay)
        yield TrainStep(number, loss.item(), average)
    ### END SOLUTION


# %%
training_loop = check("08.5", training_loop)
# hint("08.5")

# %% [markdown]
# ## The first test: one batch
#
# Before you train for an hour, train for a few seconds: always on the *same* eight pictures with the same $t$ and the same noise. There is nothing to generalise, so a network of this size should learn the answer by heart. If the loss does not fall, something is wrong:
# the order of the loop, a target that belongs to other noise, a layer that gets no gradient, a learning rate of zero. Few tests find so many faults in so little time. What it does not find is a wrong target that stays the same, for that can be learned by heart as well. We try that, too: with the other target of the two, as if by mistake.
#
# **What do you expect?** At the start the last layer of the network is zero, so it answers 0 everywhere. What is the loss of the first step?
#
# <details><summary>Answer</summary>
#
# The mean square of the target. For $v$ that is $\bar\alpha_t\,\mathbb E\,\varepsilon^2 + (1-\bar\alpha_t)\,\mathbb E\,x_0^2$: a mixture of 1, the variance of the noise, and the mean square of the pictures' pixels. For $\varepsilon$ it would be 1. A first loss far from that is itself a sign of a fault.
#
# </details>

# %%
x0 = data.from_uint8(images[:8])
t, eps, xt = noised(x0, seed=3)


def by_heart(prediction, steps):
    """The losses of a short training on that one batch."""
    model = new_network(seed=1)
    average = copy.deepcopy(model).requires_grad_(False)
    adam = torch.optim.Adam(model.parameters())
    same, rate = (lambda number: (x0, t, eps)), (lambda number: 4e-3)
    loop = training_loop(model, average, adam, same, schedule, prediction, rate, 0.995, steps)
    return [step.loss for step in loop]


one_batch = by_heart(PREDICTION, 100)
target = process.target(x0, t, eps, schedule, PREDICTION)
print(f"first loss {one_batch[0]:.2f}, mean square of the target {target.square().mean():.2f}")
print("after 100 steps less than a quarter of it is left:", one_batch[-1] < 0.25 * one_batch[0])
mistaken = by_heart("eps" if PREDICTION == "v" else "v", 60)
print("with the other target it falls, too, below a half in 60 steps:", mistaken[-1] < 0.5 * mistaken[0])
assert not known or (one_batch[-1] < 0.25 * one_batch[0])

# %% [markdown]
# ## Yours and the package's
#
# `train.ddpm` is the same loop. It draws all the randomness of step $n$ from the seed and $n$ alone; if we draw in the same way, both must end at the same weights.


# %%
def drawing(settings):
    """What train.ddpm draws with these settings: a function of the step's number, as training_loop takes it."""

    def draw(number):
        x0 = data.from_uint8(images[train.batch_indices(settings, len(images), number)])
        g = torch.Generator().manual_seed((settings.seed * 3 + 1) * 1_000_003 + number)
        t = torch.randint(1, schedule.T + 1, (len(x0),), generator=g)
        return x0, t, torch.randn(x0.shape, generator=g)

    return draw


settings = train.TrainConfig(steps=6, batch=8, lr=2e-3, warmup=3, prediction=PREDICTION, seed=5)
rate = lambda number: learning_rate(number, settings.steps, settings.lr, settings.warmup)  # noqa: E731
mine, theirs = new_network(seed=2), new_network(seed=2)
my_average = copy.deepcopy(mine).requires_grad_(False)
adam = torch.optim.Adam(mine.parameters(), fused=True)
steps = training_loop(mine, my_average, adam, drawing(settings), schedule, PREDICTION, rate, settings.ema, 6)
my_losses = [step.loss for step in steps]
for step in train.ddpm(theirs, images, schedule, settings):
    same = math.isclose(step.loss, my_losses[step.number - 1], rel_tol=1e-4)
    print(f"step {step.number}: same loss {same}")
pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
print("same weights:", all(torch.allclose(a, b, atol=1e-5) for a, b in pairs))
pairs = zip(my_average.parameters(), step.ema.parameters(), strict=True)
print("same average:", all(torch.allclose(a, b, atol=1e-5) for a, b in pairs))

# %% [markdown]
# ## A learning rate found, not guessed
#
# The paper's $2 \cdot 10^{-4}$ belongs to its network, its batch and its 800,000 steps. Ours is found by a *range test*: train for a hundred steps while the learning rate grows a little with each, from far too small to far too large, and watch the loss. Where it falls, learning works; where it climbs, steps are too long.

# %% tags=["volatile"]
STEPS, LOW, HIGH = 120, 1e-5, 0.3
rates = [LOW * (HIGH / LOW) ** (n / (STEPS - 1)) for n in range(STEPS)]
model, draw = new_network(seed=3), drawing(train.TrainConfig(batch=32, seed=6))
average = copy.deepcopy(model).requires_grad_(False)
adam = torch.optim.Adam(model.parameters(), fused=True)
steps = training_loop(
    model, average, adam, draw, schedule, PREDICTION, lambda number: rates[number - 1], 0.995, STEPS
)
range_losses = torch.tensor([step.loss for step in steps])

smooth = torch.nn.functional.avg_pool1d(range_losses[None, None], 9, stride=1)[0, 0]  # (120,) -> (112,)
middle = torch.tensor(rates[4:-4])
lowest = float(middle[smooth.argmin()])
edge = float(middle[smooth < 1.1 * smooth.min()][0])  # where the valley begins
fig, ax = viz.figure(6.4, 2.6)
ax.semilogx(rates, range_losses, ".", color=viz.COLORS["sky"], markersize=4)
ax.semilogx(middle, smooth, color=viz.COLORS["blue"])
marks = {
    "the paper's": (2e-4, "black", ":"),
    "left edge": (edge, "green", "-"),
    "lowest": (lowest, "vermillion", "--"),
}
for name, (place, color, style) in marks.items():
    ax.axvline(place, color=viz.COLORS[color], linestyle=style, label=f"{name}, {place:.0e}")
ax.set(xlabel="learning rate, growing from step to step", ylabel="loss")
ax.legend(frameon=False, fontsize=8, loc="lower left")
viz.show(
    fig,
    alt="The loss over the learning rate on a logarithmic axis. It stays level up to about 2e-4, falls, is low in a broad valley from somewhat below 1e-2 to about 6e-2, and then shoots up. Marked are the paper's rate, where the fall has hardly begun, the valley's left edge, and its lowest point.",
)

# %%
print("the valley begins between 1e-3 and 3e-2:", 1e-3 < edge < 3e-2)
print("at the end the loss is well above its lowest:", bool(smooth[-1] > 1.2 * smooth.min()))
print(
    "at the paper's rate it has hardly moved:",
    bool(smooth[middle < 2e-4][-5:].mean() > 0.8 * smooth[:9].mean()),
)

# %% [markdown]
# The valley is broad, and where in it the lowest point falls is chance. It also tempts you to be too bold: each rate was held for a single step, and a thousand want some room. What counts is the left edge, where the loss has come down.
# We take $4 \cdot 10^{-3}$, a little before it and twenty times the paper's, with warm-up and decay.
#
# ## Train
#
# Everything is in place. Below the curve are sixteen samples from the average, always from the same noise, so that you can watch a sample make up its mind. To keep it quick a sample takes 25 steps here, not 1000 (chapter 12 says why that works).

# %%
LENGTH = (
    1200 if known else 2200
)  # 1200 steps: under a minute of one processor core; 2200 at 16 x 16: about two
plan = train.TrainConfig(
    steps=LENGTH,
    batch=32 if known else 16,
    lr=4e-3,
    warmup=50,
    decay=True,
    ema=0.995,
    grad_clip=1.0,
    prediction=PREDICTION,
)


def generate(network, count, steps=25, seed=0):
    """`count` samples as bytes, by algorithm 2 on a chain of `steps` steps."""
    short, tau = schedules.respace(schedule, steps)
    eps_model = samplers.at_timesteps(samplers.as_eps(network, schedule, PREDICTION), tau)
    g = torch.Generator().manual_seed(seed)
    chain = samplers.ddpm(eps_model, (count, CHANNELS, SIZE, SIZE), short, variance="beta_tilde", generator=g)
    return to_bytes(samplers.last(chain).xt)


test_x0 = data.from_uint8(held)
test_t, test_eps, test_xt = noised(test_x0, seed=4)
test_target = process.target(test_x0, test_t, test_eps, schedule, PREDICTION)


@torch.no_grad()
def held_out_loss(network):
    """The loss on the pictures kept aside, with fixed t and noise."""
    return float((test_target - network(test_xt, test_t)).square().mean())


looks = [LENGTH * share // 100 for share in (2, 4, 7, 11, 17, 25, 35, 50, 67, 83, 100)]
print("a look at the samples after step", looks)

# %% tags=["volatile"]
net = new_network(seed=0)
frames, history, losses_seen, shown = [], [], [], None
with energy.Meter() as meter:
    for step in widgets.live_loss(train.ddpm(net, images, schedule, plan), total=plan.steps):
        losses_seen.append(step.loss)
        if step.number in looks:
            frames.append(generate(step.ema, 16))
            history.append((step.number, held_out_loss(net), held_out_loss(step.ema)))
            now = viz.picture(
                viz.grid(frames[-1], ncol=8, scale=8),
                alt=f"Sixteen samples after {step.number} steps: coarse grey pictures, from noise at first to digits at the end.",
            )
            shown = shown or display(now, display_id=True)
            shown.update(now)
ema = step.ema
print(
    f"training, with looks: {meter.cpu_seconds:.0f} s of processor time, {meter.wall_seconds:.0f} s by the clock"
)

# %%
start, end = losses_seen[0], sum(losses_seen[-50:]) / 50
print("the loss has fallen to less than 60 % of the first:", end < 0.6 * start)
print("and on pictures that the network has never seen:", history[-1][2] < 0.6 * start)
assert not known or (end < 0.6 * start and history[-1][2] < 0.6 * start)

# %% [markdown]
# The same frames under a slider. Watch how early the rough shape is there, and for how long the strokes are still being put right.

# %% tags=["volatile"]
widgets.scrubber(
    torch.stack(frames),
    [f"step {number}" for number, _, _ in history],
    alt="Sixteen samples from the same noise at eleven moments of the training: noise at first, blurred shapes, and at the end digits.",
    ncol=8,
    fps=3,
    start=-1,
)

# %% [markdown]
# ## Can they be read?
#
# Opinions about samples are cheap. A small classifier of real digits (chapter 10 has more on it) is asked: which digit is it, and are you sure? Beside the samples of the trained network stand those of an untrained one, and real digits (many of which the classifier has seen, so it is very sure of them).
# The Fréchet distance compares the two clouds of features as wholes; 0 would be perfect, and real pictures show what chance alone costs.

# %% tags=["volatile"]
COUNT = 200
begin = time.process_time()
samples = generate(ema, COUNT, steps=50, seed=1)
sampling = time.process_time() - begin
print(f"{COUNT} samples: {sampling:.0f} s of processor time")
print(
    f"Python and imports {ready:.0f} s + training {meter.cpu_seconds:.0f} s + samples {sampling:.0f} s = {ready + meter.cpu_seconds + sampling:.0f} s"
)
viz.show(
    viz.grid(samples[:40], ncol=20),
    alt="Forty samples in two rows. Most can be read as a digit, some are broken or lie between two digits.",
)

# %%
classifier = metrics.feature_net("digits") if known else None


@torch.no_grad()
def judge(pictures):
    """The share that the classifier is sure of (above 0.9), how many classes it is sure to see, the Frechet distance."""
    sure, digit = classifier(data.from_uint8(pictures)).softmax(dim=1).max(dim=1)
    apart = metrics.frechet_distance(
        metrics.features(classifier, pictures), metrics.features(classifier, images)
    )
    return float((sure > 0.9).double().mean()), len(digit[sure > 0.9].unique()), apart


if known:
    untrained = judge(generate(new_network(seed=0), COUNT))
    ours, real = judge(samples), judge(held[:COUNT])
    print("the classifier is sure of at least 4 in 10 samples:", ours[0] > 0.4)
    print("it finds at least 8 of the 10 digits:", ours[1] >= 8)
    print("and of real ones it is sure of at least 9 in 10:", real[0] > 0.9)
    print("the distance is below a quarter of the untrained network's:", ours[2] < 0.25 * untrained[2])
    assert ours[0] > 0.4 and ours[1] >= 8 and ours[2] < 0.25 * untrained[2]

# %% tags=["volatile"]
if known:
    for name, (share, classes, apart) in {"untrained": untrained, "ours": ours, "real": real}.items():
        print(
            f"{name:10s} sure of {100 * share:3.0f} %   digits found {classes:2d}   Fréchet distance {apart:6.1f}"
        )

# %% [markdown]
# Readable, then, and most digits are there; not perfect. There is still a gap to real digits, and it closes only slowly with more steps (try `LENGTH = 4000`).
#
# ## Are they copies?
#
# **What do you expect?** A network could cheat: learn the 1500 pictures by heart and hand them out. How would you find out?
#
# <details><summary>Answer</summary>
#
# For each sample look for the training picture that is nearest to it. A copy would be at distance 0. But what is a *small* distance? Digits of the same kind are alike anyway. The pictures that were kept aside give the measure: they are certainly no copies, and have nearest neighbours, too.
#
# </details>

# %%
distance, index = metrics.nearest_neighbours(samples, images)
usual, _ = metrics.nearest_neighbours(held, images)
ratio = float(distance.median() / usual.median())
print(
    "the typical sample is at least 0.6 times as far from the training pictures as a new real digit:",
    ratio > 0.6,
)
print(
    "samples nearer than the nearest one of those kept aside, at most 5 in 100:",
    bool((distance < usual.min()).double().mean() <= 0.05),
)
assert not known or (ratio > 0.6)

# %% tags=["volatile"]
nearest_first = distance[:, 0].argsort()[:12]  # the most suspicious ones
rows = torch.cat([samples[nearest_first], images[index[nearest_first, 0]]])
print(
    f"median distance: samples {distance.median():.0f} grey levels, pictures kept aside {usual.median():.0f}"
)
viz.show(
    viz.grid(rows, ncol=12),
    alt="Upper row: the twelve samples that are nearest to a training picture. Lower row: that picture. They show the same digit in a similar hand, but differ in many pixels.",
)

# %% [markdown]
# The twelve most suspicious samples (above) and their nearest training pictures (below): of one kind, and not the same. With so short a training that is no surprise; learning by heart comes later, and chapter 10 looks for it.
#
# ## What each change is worth
#
# Our recipe is the paper's plus a few changes, each with a name. What does each buy? That takes more runs than a chapter has time for, so it was measured beforehand: `python -m benchmarks.recipes` gives every recipe the same processor time on the same pictures, and takes the Fréchet distance of 500 samples. Here is what it stored.
# From the paper's settings (on this small network) each row adds one change to all those before it. Where there are several seeds their mean is shown, and in brackets the least and the most.

# %% tags=["volatile"]
stored = results.load("recipes")
ladder = next(table for table in stored["tables"] if table["data"] == "digits")["rows"]


def mean_fd(row):
    """The mean over the seeds."""
    return sum(row["fd"]) / len(row["fd"])


def line_of(row):
    """A row of the table as text."""
    spread = f"({min(row['fd']):.1f} to {max(row['fd']):.1f})" if len(row["fd"]) > 1 else "(one seed)"
    return f"{row['steps']:5d} steps   Fréchet distance {mean_fd(row):5.1f} {spread:16s} {row['name']}"


floor = stored["floors"]["digits"]
print(f"{ladder[0]['seconds']} s of processor time each ({stored['machine']})")
for row in ladder:
    print(line_of(row))
print(f"real digits against real digits {floor:.1f}")

fig, ax = viz.figure(7.0, 0.6 + 0.32 * len(ladder))
names = [row["name"].split(" instead")[0].split(" (")[0] for row in ladder]
ax.barh(range(len(ladder)), [mean_fd(row) for row in ladder], color=viz.COLORS["sky"])
ax.axvline(floor, color=viz.COLORS["black"], linestyle=":")
ax.set(yticks=range(len(ladder)), yticklabels=names, xlabel="Fréchet distance (dotted: real against real)")
ax.invert_yaxis()
viz.show(
    fig,
    alt="Horizontal bars, one a row of the table. "
    + "; ".join(f"{name}: {mean_fd(row):.0f}" for name, row in zip(names, ladder, strict=True))
    + f". A dotted line at {floor:.0f} marks real digits against real ones.",
)

# %%
worth = [mean_fd(row) for row in ladder]
print("all changes together bring the distance below half:", worth[-1] < 0.5 * worth[0])
gains = {
    row["name"]: before - after for row, before, after in zip(ladder[1:], worth, worth[1:], strict=False)
}
stepping = sum(gain for name, gain in gains.items() if "rate" in name or "batch" in name)
print(
    "batch and learning rate, how many steps and how long, bring at least a third of the gain:",
    stepping > (worth[0] - worth[-1]) / 3,
)
print("batch 32 makes more than twice the steps of batch 128:", ladder[1]["steps"] > 2 * ladder[0]["steps"])
print(
    "no change makes it worse by more than a tenth:",
    all(worth[k] < 1.1 * worth[k - 1] for k in range(1, len(worth))),
)
if known:
    rows = [row for table in stored["tables"] if table["data"] == DATA for row in table["rows"]]
    alike = [row for row in rows if row["name"] == "our recipe"]
    as_long = min(alike, key=lambda row: abs(row["steps"] - LENGTH))  # the stored run nearest in length
    print(
        "our run of a moment ago agrees with the stored one that is as long, within a factor of 2.5:",
        mean_fd(as_long) / 2.5 < ours[2] < 2.5 * mean_fd(as_long),
    )
    print("and it is much nearer to the data than the paper's settings in 20 s:", ours[2] < 0.5 * worth[0])

# %% [markdown]
# In so short a run it counts how many steps are made, and how long they are. A batch of 32 makes more than twice the steps of one of 128 in the same time, and a rate twenty times as high goes further with each. What the cosine schedule and $v$ add to that the table tells; a reason for $v$ we see further down.
# Dropout fights learning by heart, which is no danger in a minute. And the decay of the average, 0.995 for 0.9999, changes nothing in runs of this length, for the reason that we saw.
#
# None of this says that the paper chose badly: it trained for 800,000 steps, and there a small, constant rate, a long average and dropout are at home. A recipe belongs to a budget. (Mind the seeds: a difference that is no larger than the spread in brackets, or that rests on one seed, means little.)
#
# The same search for MNIST at 16 × 16:

# %% tags=["volatile"]
for table in stored["tables"]:
    if table["data"] == "mnist16" and table["rows"]:
        print(f"{table['title']}   (real against real {stored['floors']['mnist16']:.1f})")
        for row in table["rows"]:
            print(f"{row['seconds']:5d} s {line_of(row)}")

# %% [markdown]
# Pictures of 16 × 16 ask for more. Is a minute enough for them, or two? We compare our own recipe in its shortest and longest run of each table.

# %%
for table in stored["tables"]:
    ours_only = [row for row in table["rows"] if row["name"] == "our recipe"]
    if table["data"] == "mnist16" and len(ours_only) > 1:
        lengths = sorted(ours_only, key=lambda row: row["steps"])
        shortest, longest = lengths[0], lengths[-1]
        print(
            f"{table['title']}: longer is better {mean_fd(longest) < 0.9 * mean_fd(shortest)},",
            f"and still above real pictures {mean_fd(longest) > 1.1 * stored['floors']['mnist16']}",
        )

# %% [markdown]
# Patience pays, and there is still a way to go. What labels are good for chapter 13 tells.
#
# At 16 × 16 "our recipe" differs in one more thing: the network predicts $x_0$, not $v$. Does that matter, and does it matter for the digits?

# %%
for table in stored["tables"]:
    for seconds in sorted({row["seconds"] for row in table["rows"]}):
        named = {row["name"]: mean_fd(row) for row in table["rows"] if row["seconds"] == seconds}
        if "x0 instead of v" in named:
            pair = named["x0 instead of v"], named["our recipe"]
        elif "v instead of x0" in named and "our recipe" in named:
            pair = named["our recipe"], named["v instead of x0"]
        else:
            continue
        who = (
            "x0 is ahead"
            if pair[0] < 0.85 * pair[1]
            else "v is ahead"
            if pair[1] < 0.85 * pair[0]
            else "level"
        )
        print(f"{table['title']:38s} {seconds:4d} s   x0 {pair[0]:4.1f}   v {pair[1]:4.1f}   {who}")

# %% [markdown]
# The shorter the run, the more $x_0$ is ahead; given more time, $v$ catches up. Our run at 16 × 16 is a short one, so we ask for $x_0$ there, and for the digits, where both are level at our length, we keep $v$. (Mind that at 16 × 16 each number is one seed.)
#
# ## With the average, and without
#
# During training we wrote down the loss on the pictures kept aside, for the network and for its average.

# %% tags=["volatile"]
number, raw, averaged = torch.tensor(history).T
fig, ax = viz.figure(6.4, 2.6)
ax.plot(number, raw, "o--", color=viz.COLORS["vermillion"], markersize=3.5, label="the weights as they are")
ax.plot(number, averaged, "o-", color=viz.COLORS["blue"], markersize=3.5, label="their average (EMA)")
ax.set(xlabel="step", ylabel="loss on pictures kept aside")
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="The loss on unseen pictures over the steps, for the raw weights and for their average. Both fall; in the middle the average lies lower, and at the end, where the learning rate has gone to 0, both meet.",
)

# %%
middle_part = (number > LENGTH / 5) & (number < 0.9 * LENGTH)
print(
    "in the middle the average is the better one:", bool((averaged < raw)[middle_part].double().mean() > 0.5)
)
print("at the end both are within 5 %:", bool(abs(averaged[-1] / raw[-1] - 1) < 0.05))

# %% [markdown]
# While the learning rate is high the average is the better network, and at the end there is next to no difference. That is no accident: two remedies for the same restlessness. Averaging smooths the wandering, and a learning rate that goes to zero ends it.
# The paper keeps its learning rate constant to the end, so it needs the average. We have both, and the average lets us look at good samples *during* training.
#
# ## Are warm-up and clipping worth their lines?
#
# We try warm-up where it is needed most: at a learning rate in the middle of the valley, $1.6 \cdot 10^{-2}$, for 80 steps, once with a warm-up of 50 steps and once with none. And for clipping we look how long the gradients are before it, for a new network and for the trained one.


# %%
def try_out(warmup, peak=1.6e-2, steps=80):
    """The losses of a short run."""
    model, draw = new_network(seed=4), drawing(train.TrainConfig(batch=32, seed=3))
    average, adam = copy.deepcopy(model), torch.optim.Adam(model.parameters(), fused=True)
    rate = lambda number: peak * min(1.0, number / max(warmup, 1))  # noqa: E731
    loop = training_loop(model, average, adam, draw, schedule, PREDICTION, rate, 0.995, steps)
    return torch.tensor([step.loss for step in loop])


def gradient_norms(network, count=12):
    """The length of the gradient on a few batches."""
    draw, norms = drawing(train.TrainConfig(batch=32, seed=4)), []
    for number in range(1, count + 1):
        x0, t, eps = draw(number)
        xt, wanted = process.q_sample(x0, t, eps, schedule), process.target(x0, t, eps, schedule, PREDICTION)
        gradients = torch.autograd.grad((wanted - network(xt, t)).square().mean(), list(network.parameters()))
        norms.append(torch.cat([g.flatten() for g in gradients]).norm())
    return torch.stack(norms)


with_warmup, without = try_out(warmup=50), try_out(warmup=0)
fresh, trained = gradient_norms(new_network(seed=4)), gradient_norms(net)
print(
    "with a warm-up the last 20 losses are no higher than without:",
    bool(with_warmup[-20:].mean() < 1.05 * without[-20:].mean()),
)
print(
    "a new network's gradients are at least twice as long as the trained one's:",
    bool(fresh.mean() > 2 * trained.mean()),
)
print("of the trained network's at most 1 in 10 is clipped:", bool((trained > 1).double().mean() <= 0.1))

# %% tags=["volatile"]
print(
    f"mean of the last 20 losses: with warm-up {with_warmup[-20:].mean():.2f}, without {without[-20:].mean():.2f}"
)
print(
    f"length of the gradients: new network {fresh.mean():.2f}, trained {trained.mean():.2f} (longest {trained.max():.2f})"
)

# %% [markdown]
# So warm-up matters when the peak is bold: without it the first long steps throw the network off, and in 80 steps it has not come back. (One run each: try other seeds. With `peak=4e-3`, our own, both do about equally well: then warm-up is an insurance.)
# Clipping acts in the first steps, and then hardly ever: another insurance, and a cheap one.
#
# ## Where the loss is
#
# One number hides a thousand problems: each $t$ is a task of its own. So measure many errors, sort them by $t$, and take the mean in each of a few bins, equal parts of $1, \ldots, T$. With `bins` bins, $t$ belongs to number $\lfloor (t-1)\,\mathrm{bins}/T \rfloor$, counted from 0.
# A bin without any examples has no mean: it gets NaN, which a plot leaves out.
#
# ### Exercise 08.6: loss_by_timestep


# %%
def loss_by_timestep(errors, t, T, bins):
    """errors: float (B,), one mean square error an image. t: int64 (B,), 1..T. Returns the mean in each bin, (bins,)."""
    ### BEGIN SOLUTION
    k = (t - 1) * bins // T
    return torch.stack([errors[k == i].mean() for i in range(bins)])
    ### END SOLUTION


# %%
loss_by_timestep = check("08.6", loss_by_timestep)
# hint("08.6")

# %% [markdown]
# We look at the same errors in two units. If $\hat v$ is off by $\delta$, then $\hat\varepsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,\hat v$ is off by $\sqrt{\bar\alpha_t}\,\delta$. So the paper's loss, on $\varepsilon$, is the loss on $v$ times $\bar\alpha_t$.

# %%
many = test_x0.repeat(8, 1, 1, 1)
t, eps, xt = noised(many, seed=7)
with torch.no_grad():
    guess = samplers.as_eps(ema, schedule, PREDICTION)(xt, t)
off = (guess - eps).square().mean(dim=(1, 2, 3))  # the error in eps, (B,)
in_eps = loss_by_timestep(off, t, schedule.T, 20)
in_v = loss_by_timestep(off / schedule.alpha_bar[t].float(), t, schedule.T, 20)

first, last = slice(0, 4), slice(16, 20)
print(
    "in eps the first fifth of the t has at least 5 times the loss of the last:",
    bool(in_eps[first].mean() > 5 * in_eps[last].mean()),
)
print(
    "in eps the lower half of the t has more than three quarters of all loss, the last fifth less than a tenth:",
    bool(in_eps[:10].sum() > 0.75 * in_eps.sum() and in_eps[last].sum() < 0.1 * in_eps.sum()),
)
print(
    "in v the last fifth is not below a third of the first:", bool(in_v[last].mean() > in_v[first].mean() / 3)
)

# %% tags=["volatile"]
fig, ax = viz.figure(6.4, 2.6)
middle_of = (torch.arange(20) + 0.5) * schedule.T / 20
ax.plot(
    middle_of,
    in_eps,
    "s--",
    color=viz.COLORS["vermillion"],
    markersize=4,
    label=r"in $\varepsilon$, as in the paper",
)
ax.plot(
    middle_of,
    in_v,
    "o-",
    color=viz.COLORS["blue"],
    markersize=4,
    label="in $v$" + (", as trained here" if PREDICTION == "v" else ""),
)
ax.set(xlabel="t", ylabel="mean square error", ylim=(0, min(1, 1.05 * float(in_v.max()))))
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Two curves over t, from the same point near 0.6 at the left. The error in epsilon sinks steadily to nearly 0 at large t. The error in v falls to half of its start near t = 400 and then stays, rising a little to the end.",
)

# %% [markdown]
# This is a likely reason why $v$ does better. In $\varepsilon$ most of the loss comes from the lower half of the $t$, where a picture is there already and is being cleaned; the largest $t$, where it is decided *which* digit it will be, contribute next to nothing, so training hardly looks at them. In $v$ both ends count.
# (It also shows why two losses cannot be compared unless both the target and the schedule are the same.)

# %% [markdown]
# ## Stop, and go on
#
# Machines crash, and lids get closed. Give `train.ddpm` a run file, and it saves network, average, and Adam's memory now and then, and whenever the loop is left. Called again with the same settings, it goes on where it was.
# Because all randomness of step $n$ follows from the seed and $n$, the resumed run must end with *the very same* weights as one that was never stopped. We stop one at step 13 of 20, in the middle, and start again with a new network.

# %%
short_run = train.TrainConfig(steps=20, batch=8, warmup=5, save_every=50, prediction=PREDICTION)

whole = new_network(seed=8)
for step in train.ddpm(whole, images, schedule, short_run):
    whole_average = step.ema

with tempfile.TemporaryDirectory() as folder:
    run_file = Path(folder) / "run.safetensors"
    for step in train.ddpm(new_network(seed=8), images, schedule, short_run, checkpoint=run_file):
        if step.number == 13:
            break  # as Ctrl-C would: leaving the loop saves
    print("stopped after step", step.number, "| the run file is there:", run_file.exists())

    resumed = new_network(seed=99)  # another start: all comes from the file
    numbers = []
    for step in train.ddpm(resumed, images, schedule, short_run, checkpoint=run_file):
        numbers.append(step.number)
    print("the second part made the steps", numbers)

    try:
        longer = train.TrainConfig(steps=40, batch=8, warmup=5, save_every=50, prediction=PREDICTION)
        next(train.ddpm(resumed, images, schedule, longer, checkpoint=run_file))
    except train.TrainingError as error:
        print("with other settings:", "belongs to another run" in str(error))

same = [torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)]
same += [torch.equal(a, b) for a, b in zip(whole_average.parameters(), step.ema.parameters(), strict=True)]
print("every weight, and every average, is the same to the last bit:", all(same))
assert all(same)

# %% [markdown]
# ## What it costs
#
# The paper trained for 800,000 steps with batches of 128, at 21 steps a second, on a TPU v3-8: "10.6 hours". Check the arithmetic, as one should with any number that one repeats.

# %%
FACTS = {name: fact.value for name, fact in paper.FACTS.items()}
hours = FACTS["steps"] / FACTS["steps_per_second"] / 3600
epochs = FACTS["steps"] * FACTS["batch"] / 50_000  # CIFAR-10 has 50,000 training pictures
print(
    f"{hours:.2f} hours; the paper says {FACTS['training_hours']}: {round(hours, 1) == FACTS['training_hours']}"
)
print(
    f"the network saw {FACTS['steps'] * FACTS['batch']:,} pictures, each training picture {epochs:,.0f} times"
)
print(f"ours: {plan.steps * plan.batch:,} pictures, each {plan.steps * plan.batch / len(images):.0f} times")

# %% [markdown]
# **Energy** is power times time. The time we have measured. The power we have to assume, since a notebook cannot see the plug, and so the result is an *estimate*, with a range:
#
# - **Ours**: one busy core with its share of memory and power supply takes about 7 W, from 3 W in a large server to 20 W in a desktop. `energy.Meter` counts the processor seconds of all threads.
# - **The paper's**: a TPU v3-8 has four chips, and their maker has published 123, 220 and 262 W as the least, mean and most power of a chip. Not counted: the host computer, cooling, and all the runs before the one that was published. (Nor do we count ours.)

# %%
theirs = energy.of_the_paper()
print("the paper's training run, estimated:", theirs.text("kWh"))
print(
    "ours took less than a thousandth of that, even where the estimates differ most:",
    meter.kwh.high < theirs.low / 1000,
)
tea = 0.25 * 4.19 * 80 / 3600  # kWh to heat a quarter of a litre of water by 80 degrees
print("less than a cup of tea takes:", meter.kwh.high < tea, f"| the paper's: {theirs.likely / tea:.0f} cups")

# %% tags=["volatile"]
print("our training run, estimated:", meter)
print(f"the paper's took about {theirs.likely / meter.kwh.likely:,.0f} times as much")
print("a package that reads the processor's own meter, codecarbon, is here:", energy.has_codecarbon())

# %% [markdown]
# This is no contest: the paper made 32 × 32 colour pictures of a quality that no laptop reaches in a minute. But it gives a feeling for the scale, and a published run is only the last of many. Measure your own.
# For real accounts use a meter at the plug, or a package such as codecarbon, which reads the processor's counters where it may and knows how the electricity of a country is made.
#
# ## Other pictures
#
# Set the dial at the top to another name, or to a folder, and run the chapter again. A folder needs a few hundred pictures to be worth it. In the two minutes that they get, most of MNIST's digits can be read and the clothes of Fashion-MNIST have their shapes; of colour photographs you will see only colours and rough forms. Here is a folder, made of pieces of a photograph, to show what comes out:

# %%
photo = data.photograph("flower", size=256)
with tempfile.TemporaryDirectory() as folder:
    for k in range(24):
        top, left = 64 * (k // 8), 28 * (k % 8)
        piece = photo[:, top : top + 48, left : left + 40]  # (3, 48, 40): need not be square
        Image.fromarray(piece.permute(1, 2, 0).numpy()).save(Path(folder) / f"{k:02d}.png")
    own = data.folder(folder, size=16)
    print("own pictures", tuple(own.images.shape), own.images.dtype)
    (Path(folder) / "broken.png").write_bytes(b"no picture")
    try:
        data.folder(folder)
    except data.DataError as error:
        print("a file that is no picture is named:", "broken.png cannot be read" in str(error))

# %% [markdown]
# One thing may have to change with the pictures. The paper flips each CIFAR-10 picture left to right with probability ½: a mirrored ship is a ship, and the data is doubled for nothing. Every picture has its own coin: `torch.where(coin[:, None, None, None], x.flip(-1), x)`.
#
# **What do you expect?** Should we flip the digits as well?
#
# <details><summary>Answer</summary>
#
# No. A mirrored 3 is not a 3. A network trained on flipped digits would learn, quite correctly, to draw mirrored ones. Augment only with what could have been in the data.
#
# </details>

# %%
if known:
    labels = found.labels[order[:aside]]
    coin = torch.rand(aside, generator=torch.Generator().manual_seed(9)) < 0.5
    flipped = torch.where(coin[:, None, None, None], held.flip(-1), held)
    right = metrics.classify(classifier, flipped) == labels
    print("of those not flipped more than 95 % are read rightly:", bool(right[~coin].double().mean() > 0.95))
    print("of those flipped, less than 70 %:", bool(right[coin].double().mean() < 0.7))

# %% [markdown]
# ## Recap
#
# | | |
# |---|---|
# | pictures | bytes, scaled to $[-1, 1]$ a batch at a time; back with clamp and round |
# | first test | one fixed batch; the loss must go towards 0 (and a wrong target is not found by it) |
# | learning rate | a range test, then the left edge of its valley; warm-up at the start, decay at the end |
# | clipping | by the norm of all gradients together, never by value |
# | average | in place, without gradients, its memory growing with the run; once the learning rate has gone to 0 it matters less |
# | the loss | look at it by $t$; it cannot be compared across targets and schedules |
# | judging | a classifier, a distance with its chance level, nearest neighbours against real new pictures |
# | stopping | randomness from (seed, step): a resumed run is the same run |
#
# Before you go: write down, without looking, the seven things that one step of the loop does, in their order.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# What is the best recipe for *your* minute? Choose one thing that this chapter took for granted: the batch size, the width of the network, the decay of the average, the weight of each $t$.
#
# 1. Give each of three values of it the same number of processor seconds (not steps), and at least two seeds.
# 2. Judge by the Fréchet distance of 500 samples, with the spread over the seeds and the chance level beside it. Is the difference larger than the spread?
# 3. Why must the seconds be equal and not the steps? And why is the loss no judge, if you vary the weight of each $t$?
#
# <!-- BEGIN SOLUTION -->
# 1. and 2. `results.load("recipes")["tables"]` has such rows. Small batches win on the digits: with the same seconds they make more steps, and so early in training the number of steps counts more than the quality of each gradient.
#    With one seed a row, as there, a difference of a tenth between two recipes is no finding: the spread of the seeds comes first.
# 3. A batch of 128 costs about four times as much as one of 32. With equal steps the larger one would win for having done more work. And a weighted loss is another number: a weight that makes hard $t$ count less lowers the loss of the very same network.
# <!-- END SOLUTION -->
