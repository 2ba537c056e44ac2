# %% [markdown]
# # 06 · A whole DDPM in two dimensions, in a minute
#
# {{ colab }}
#
# Training, sampling, and everything between, on points of the plane. It is the same algorithm that makes images, line by line, but here it is done in seconds,
# every picture shows the *whole* distribution, and we know the right answer: for the first data set the best possible network has a formula.
# So nothing has to be judged by eye. We measure how good the result is, and what two common mistakes cost.
#
# | | |
# |---|---|
# | **You will** | write algorithm 1 and algorithm 2, whole · train a network to the end, and tell how far it is from the best one there is · see the field it has learned, and walk through it · measure samples against the truth, with the chance level beside it · break it in two ways, and name the cost · train it on a picture of your own |
# | **Time** | 60 minutes |
# | **You need** | chapters 01 to 03 and 05; PyTorch's `nn.Module` and an optimiser |
# | **Equations** | algorithms 1 and 2, the paper's (14) and (11), and the embedding of $t$ |

# %%
# {{ setup }}
import copy
import math

import ipywidgets
import torch
from torch import nn
from torch.nn import functional as F

from ddpm_lite import data, exact, process, schedules, viz, widgets
from ddpm_lite.exercises import check, hint
from ddpm_lite.train import TrainStep


def cloud(ax, x, title="", color="blue", limit=1.7):
    """At most 1500 points of the plane, on square axes without ticks."""
    dots = {"markersize": 1.3, "markeredgewidth": 0, "antialiased": False}
    ax.plot(x[:1500, 0], x[:1500, 1], "s", color=viz.COLORS[color], **dots)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)


# %% [markdown]
# ## Eight islands
#
# Our data: eight small round Gaussians on a circle, *islands*, of standard deviation 0.1. They are not equally likely. A generator has to get right where the points lie,
# and also how many lie where; the second is what people forget to check.

# %%
places = exact.ring(count=8, radius=1.0, std=0.1)
angle = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
weights = 1 + 0.8 * torch.cos(angle - 0.6)
islands = exact.Mixture(places.means, places.variances, weights / weights.sum())

points = islands.sample(20_000, torch.Generator().manual_seed(1)).float()  # the training data
print("training points:", tuple(points.shape), points.dtype)
print("share of each island:", "  ".join(f"{w:.3f}" for w in islands.weights.tolist()))
print("mean of the data:", "  ".join(f"{m:.2f}" for m in (islands.weights @ islands.means).tolist()))

# %% [markdown]
# ## A schedule for a hundred steps
#
# A small problem needs no thousand steps; we take $T = 100$. But then the schedule has to change with it. Sampling will start from $\mathcal N(0, I)$, and that is right only if next to nothing of the data is left in $x_T$.
# What is left is $\sqrt{\bar\alpha_T}$, the factor of $x_0$ in the jump of chapter 01:
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon . \tag{4}$$

# %%
candidates = {
    "the paper's, T = 1000": schedules.linear(T=1000),
    "the paper's betas, T = 100": schedules.linear(T=100),
    "betas times ten, T = 100": schedules.linear(T=100, beta_1=1e-3, beta_T=0.2),
    "cosine, T = 100": schedules.cosine(T=100),
}
for name, one in candidates.items():
    print(f"{name:28s} left at the end: {one.alpha_bar[-1].sqrt():.4f}")

schedule = candidates["cosine, T = 100"]
unscaled = candidates["the paper's betas, T = 100"]  # the mistake, kept for later

# %% [markdown]
# Betas that are small enough for a thousand steps are too small for a hundred: 60 % of the signal survives. Multiplied by ten they are large enough. We take the cosine schedule of chapter 02, which was made to fit any $T$.
#
# Here is what the network will see: the noised data $q(x_t)$ at six $t$.

# %%
g = torch.Generator().manual_seed(2)
eps = torch.randn(1500, 2, generator=g)
fig, axes = viz.figure(8.4, 1.6, ncols=6)
for ax, t in zip(axes, (0, 10, 25, 50, 75, 100), strict=True):
    xt = process.q_sample(points[:1500], torch.full((1500,), t), eps, schedule) if t else points
    cloud(ax, xt, f"t = {t}", limit=2.6)
viz.show(
    fig,
    alt="The points at t = 0, 10, 25, 50, 75 and 100. Eight islands on a circle, crowded at the upper right and sparse at the lower left; they widen and merge: at t = 10 a lopsided ring with a hole, at 25 a thick crescent open to the lower left, at 50 and 75 a single ever wider blob, at 100 one round cloud.",
)

# %% [markdown]
# ## A network that is told the time
#
# One network serves all hundred noise levels, so it has to be told $t$. A single number between 1 and 100 is a poor input: a layer would have to bend it so that $t = 3$ and $t = 6$ give very different answers,
# and $t = 93$ and $t = 96$ nearly the same one. The paper spreads $t$ out into a row of waves, fast ones that tell neighbours apart and slow ones that give the rough place:
#
# $$\mathrm{emb}(t) = \big(\sin(t f_0), \ldots, \sin(t f_{h-1}),\ \cos(t f_0), \ldots, \cos(t f_{h-1})\big), \qquad f_k = 10000^{-k/(h-1)}, \quad k = 0, \ldots, h-1,$$
#
# where $h$ is half of the width. The frequencies fall from $f_0 = 1$ to $f_{h-1} = 1/10000$, each by the same factor.
#
# ### Exercise 06.1: time_embedding


# %%
def time_embedding(t, dim):
    """t: int64 (B,), dim even. Returns float32 (B, dim): dim/2 sines, then dim/2 cosines, of t * 10000^(-k/(dim/2 - 1))."""
    ### BEGIN SOLUTION
    half = dim // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))  # (half,)
    angle = t.float()[:, None] * frequency  # (B, 1) * (half,) -> (B, half)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
    ### END SOLUTION


# %%
time_embedding = check("06.1", time_embedding)
# hint("06.1")

# %% [markdown]
# The waves were made for $t$ up to 1000. Ours ends at 100, so we hand over $10\,t$. The network itself is plain: three layers of 96, and the embedding of $t$ goes into each of them, as it will in the U-Net.
# The two coordinates get a few waves of their own, for the same reason: islands are narrow, and a small network draws narrow things more easily from waves.
# Layers draw their first weights from PyTorch's global generator; `fork_rng` lends it a seed and puts it back.


# %%
class Denoiser(nn.Module):
    """eps_theta: noisy points (B, 2) and t (B,) -> the guessed noise (B, 2)."""

    def __init__(self, width=96, layers=3, emb=32):
        super().__init__()
        self.emb = emb
        self.layers = nn.ModuleList(nn.Linear(14 if i == 0 else width, width) for i in range(layers))
        self.times = nn.ModuleList(nn.Linear(emb, width) for _ in range(layers))
        self.out = nn.Linear(width, 2)

    def forward(self, xt, t):
        emb = time_embedding(10 * t, self.emb)  # (B, 32)
        waves = [wave(k * xt) for k in (3, 6, 12) for wave in (torch.sin, torch.cos)]
        h = torch.cat([xt, *waves], dim=1)  # (B, 2) -> (B, 14)
        for layer, time in zip(self.layers, self.times, strict=True):
            h = F.silu(layer(h) + time(emb))  # (B, 96)
        return self.out(h)


def new_network(seed):
    """A network that has learned nothing yet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser()


net = new_network(seed=0)
print("numbers to learn:", sum(p.numel() for p in net.parameters()))
print("in and out:", tuple(net(points[:5], torch.tensor([1, 25, 50, 75, 100])).shape))

# %% [markdown]
# ## Algorithm 1: training
#
# > 1: **repeat**<br>
# > 2: $\quad x_0 \sim q(x_0)$<br>
# > 3: $\quad t \sim \mathrm{Uniform}(\{1, \ldots, T\})$<br>
# > 4: $\quad \varepsilon \sim \mathcal N(0, I)$<br>
# > 5: $\quad$ take a gradient step on $\nabla_\theta \left\lVert \varepsilon - \varepsilon_\theta\!\left(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\ t\right)\right\rVert^2$<br>
# > 6: **until** converged
#
# Take a point, noise it to a random level, ask the network for the noise. Lines 3 to 5, less the gradient, are the next exercise; the norm becomes a mean over all numbers of the batch.
#
# ### Exercise 06.2: training_loss


# %%
def training_loss(eps_model, x0, schedule, generator):
    """Draws t, then eps, both from generator; returns the mean square of eps - eps_model(xt, t), a scalar. x0: (B, ...)."""
    ### BEGIN SOLUTION
    t = torch.randint(1, schedule.T + 1, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    xt = process.q_sample(x0, t, eps, schedule)
    return (eps - eps_model(xt, t)).square().mean()
    ### END SOLUTION


# %%
training_loss = check("06.2", training_loss)
# hint("06.2")

# %% [markdown]
# ### An average of the weights
#
# Every step follows the gradient of one small random batch, so the weights never come to rest: they wander around a good place. The paper samples with their running average instead,
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta ,$$
#
# an *exponential moving average*, EMA. With $d = 0.999$ it looks back over about the last $1/(1-d) = 1000$ steps. (The paper's 0.9999 suits its 800,000 steps.)
#
# ### Exercise 06.3: ema_update


# %%
def ema_update(average, weight, decay):
    """The average after one more step. average, weight: tensors of one shape; neither is changed."""
    ### BEGIN SOLUTION
    return decay * average + (1 - decay) * weight
    ### END SOLUTION


# %%
ema_update = check("06.3", ema_update)
# hint("06.3")

# %% [markdown]
# That is all. The loop below is algorithm 1. It yields after every fifth step, so that we can look on. One detail: an average that begins at the random start would carry it along for thousands of steps, so the decay starts small and rises to $d$.


# %%
def train(net, points, schedule, steps, batch=512, lr=3e-3, decay=0.999, seed=0):
    """Algorithm 1, with Adam and an average of the weights (ema). Every fifth step it yields a TrainStep: number, loss, ema.

    The loss is the mean of the five.
    """
    g = torch.Generator().manual_seed(seed)
    ema, recent = copy.deepcopy(net).requires_grad_(False), []
    adam = torch.optim.Adam(net.parameters(), lr)
    for number in range(1, steps + 1):
        x0 = points[torch.randint(len(points), (batch,), generator=g)]  # line 2
        loss = training_loss(net, x0, schedule, g)  # lines 3, 4 and 5
        adam.zero_grad()
        loss.backward()
        adam.step()
        for average, weight in zip(ema.parameters(), net.parameters(), strict=True):
            average.copy_(ema_update(average, weight.detach(), min(decay, number / (number + 10))))
        recent.append(loss.item())
        if number % 5 == 0:
            yield TrainStep(number, sum(recent[-5:]) / 5, ema)


# %% [markdown]
# **What do you expect?** How low can the loss go: to 0?
#
# <details><summary>Answer</summary>
#
# No. The network sees $x_t$ and must say which noise is in it. Many pairs of $x_0$ and $\varepsilon$ lead to the same $x_t$, so the best it can do is answer the *mean* of all the noises that could have led there,
# $\varepsilon^*(x_t, t) = \mathbb E[\varepsilon \mid x_t]$. What it cannot know remains as loss.
#
# </details>
#
# For a mixture of Gaussians $\varepsilon^*$ has a closed form: `islands.eps(xt, t, schedule)`. No network can have a lower loss, and the loss of any network splits in two:
#
# $$\mathbb E\lVert\varepsilon - \varepsilon_\theta\rVert^2 = \underbrace{\mathbb E\lVert\varepsilon - \varepsilon^*\rVert^2}_{\text{floor}} + \underbrace{\mathbb E\lVert\varepsilon^* - \varepsilon_\theta\rVert^2}_{\text{excess}} .$$
#
# The excess is what training can still gain. We keep 20,000 noised points aside to measure both with. As the loss does, the code takes means over all numbers: half of these sums, since a point has two.

# %%
g = torch.Generator().manual_seed(3)
x0 = islands.sample(20_000, g)  # float64, and not the training points
eps, t_test = (
    torch.randn(x0.shape, generator=g, dtype=x0.dtype),
    torch.randint(1, 101, (20_000,), generator=g),
)
xt_test = process.q_sample(x0, t_test, eps, schedule)
best = islands.eps(xt_test, t_test, schedule)

floor = (eps - best).square().mean()
cross = (
    (eps - best) * (best - 0.5 * xt_test)
).mean()  # the mixed term, for the "network" 0.5 x_t: 0 on average
print(f"the floor of the loss: {floor:.2f}")
print(f"always guessing 0 would give: {eps.square().mean():.2f}")
print("the mixed term vanishes, to within 0.01:", bool(abs(cross) < 0.01))
assert abs(cross) < 0.01


@torch.no_grad()
def excess(eps_model, count=20_000):
    """The mean square of eps* - eps_theta on the first `count` points kept aside."""
    eps_hat = eps_model(xt_test[:count].float(), t_test[:count])
    return float((best[:count] - eps_hat).square().mean())


# %% [markdown]
# Now train. Every 100 steps we also write down the excess of the network and of its average.

# %% tags=["volatile"]
history, losses_seen, moments = [], [], []
for step in widgets.live_loss(train(net, points, schedule, steps=3000), total=3000):
    losses_seen.append(step.loss)
    if step.number % 100 == 0:
        history.append((step.number, excess(net, 4000), excess(step.ema, 4000)))
    if step.number >= 2000 and step.number % 200 == 0:  # for later: six pairs of network and average
        moments.append((copy.deepcopy(net), copy.deepcopy(step.ema)))
ema = step.ema

# %%
last_losses = sum(losses_seen[-100:]) / 100
print("the loss ends within 0.03 of the floor:", abs(last_losses - float(floor)) < 0.03)
print("the average is within 0.01 of the best network there is:", excess(ema) < 0.01)
assert abs(last_losses - float(floor)) < 0.03 and excess(ema) < 0.01
at_1000 = sum(losses_seen[180:200]) / 20
print("from step 1000 on the loss falls by less than a tenth:", sum(losses_seen[-20:]) / 20 > 0.9 * at_1000)
print("and the excess of the average by more than a third:", history[-1][2] < 2 / 3 * history[9][2])

# %% [markdown]
# So the loss alone does not tell when to stop: after a thousand steps it looks flat, a little above a floor that one usually does not know. And it is the loss of the network as it is. Its average, with which we shall sample, goes on getting better. We come back to it.
#
# ## Algorithm 2: sampling
#
# > 1: $x_T \sim \mathcal N(0, I)$<br>
# > 2: **for** $t = T, \ldots, 1$ **do**<br>
# > 3: $\quad z \sim \mathcal N(0, I)$ if $t > 1$, else $z = 0$<br>
# > 4: $\quad x_{t-1} = \dfrac{1}{\sqrt{\alpha_t}}\left(x_t - \dfrac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) + \sigma_t z$<br>
# > 5: **end for**<br>
# > 6: **return** $x_0$
#
# Line 4 is the reverse step of chapter 03: the mean (11), and noise of variance $\sigma_t^2 = \beta_t$.
#
# ### The last step
#
# Line 3 has an exception, and in a loop it is easily forgotten. Noise keeps the chain random while there is more to decide. After the last step nothing comes that could take the noise away again, so $x_0$ is the mean itself.
#
# Write the whole loop, and keep every $x_t$ on the way. The noise is handed in, `z[t]` for step $t$, so that a check can know it.
#
# ### Exercise 06.4: sample


# %%
def sample(eps_model, xT, z, schedule):
    """Algorithm 2 from x_T (B, ...), with noise z (T+1, B, ...). Returns the path (T+1, B, ...): path[t] is x_t."""
    ### BEGIN SOLUTION
    beta, alpha, alpha_bar = schedule.beta, schedule.alpha, schedule.alpha_bar
    path = [xT]
    for t in range(schedule.T, 0, -1):
        eps_hat = eps_model(path[-1], torch.full((len(xT),), t))
        mean = (path[-1] - beta[t] / (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha[t].sqrt()
        path.append(mean + beta[t].sqrt() * z[t] if t > 1 else mean)
    return torch.stack(path[::-1])
    ### END SOLUTION


# %%
sample = check("06.4", sample)
# hint("06.4")


# %%
@torch.no_grad()
def generate(eps_model, schedule, count=4000, seed=0, dtype=torch.float32):
    """The path of `count` points from fresh noise: (T+1, count, 2)."""
    g = torch.Generator().manual_seed(seed)
    xT = torch.randn(count, 2, generator=g, dtype=dtype)
    z = torch.randn(schedule.T + 1, count, 2, generator=g, dtype=dtype)
    return sample(eps_model, xT, z, schedule)


path = generate(ema, schedule)
print("the path:", tuple(path.shape), "| finite:", bool(path.isfinite().all()))

fig, axes = viz.figure(8.4, 2.9, ncols=3)
cloud(axes[0], path[100], "$x_T$, where sampling starts", "purple", limit=2.6)
cloud(axes[1], path[0], "$x_0$, generated", "vermillion")
cloud(axes[2], points, "data")
viz.show(
    fig,
    alt="Three clouds of 1500 points. Left: round noise. Middle: generated points, on eight islands with a few stragglers between them. Right: the data. The islands of both lie at the same places and are as crowded.",
)

# %% [markdown]
# ### The walk, step by step
#
# Scrub through it. Each point has the colour of the island on which it will end, so you can see how early that is decided. Eight points drag a trail of their last eight steps.

# %%
nearest = torch.cdist(path[0].double(), islands.means).argmin(dim=1)  # (4000,): the island in the end
colours = [
    viz.COLORS[name] for name in ("blue", "vermillion", "green", "purple", "orange", "sky", "yellow", "black")
]
trail = [int((nearest == k).nonzero()[0]) for k in range(8)]  # one point for each island


def walk_frame(t):
    """The cloud at step t, coloured by where it will end, with eight short trails, as an image (3, H, W)."""
    fig, ax = viz.figure(3.0, 3.0)
    cloud(ax, path[t, :0], limit=2.4)
    crisp = {"markeredgewidth": 0, "antialiased": False}  # few shades, so that the frames stay small
    for k in range(8):
        own = path[t, :800][nearest[:800] == k]
        ax.plot(own[:, 0], own[:, 1], "s", color=colours[k], markersize=2, **crisp)
        so_far = path[t : t + 9, trail[k]]  # the last eight steps
        ax.plot(so_far[:, 0], so_far[:, 1], color="#222222", linewidth=0.7, antialiased=False)
        ax.plot(*so_far[0], "o", color="#222222", markersize=6, **crisp)
        ax.plot(*so_far[0], "o", color=colours[k], markersize=4, **crisp)
    return torch.from_numpy(viz.render(fig, viz.DPI)).permute(2, 0, 1)


times = [*range(100, 20, -8), *range(20, -1, -4)]
widgets.scrubber(
    torch.stack([walk_frame(t) for t in times]),
    [f"t = {t}" for t in times],
    scale=1,
    fps=6,
    alt="A round cloud of points, coloured by the island where each will end. The colours are mixed at t = 100, then gather in sectors; the sectors contract into eight islands.",
)

# %% [markdown]
# How early, then? At each $t$ guess the nearest island (its middle at $\sqrt{\bar\alpha_t}$ times its place). Blind, one guess in eight is right.


# %%
def foretold(t):
    """The share of points that end on the island that is nearest to them at step t."""
    middles = schedule.alpha_bar[t].sqrt() * islands.means
    return float((torch.cdist(path[t].double(), middles).argmin(dim=1) == nearest).double().mean())


print("at t = 100 not better than blind, within 0.05:", abs(foretold(100) - 1 / 8) < 0.05)
print("at t =  28 about half, within 0.15:", abs(foretold(28) - 0.5) < 0.15)
print("at t =   8 more than 0.9:", foretold(8) > 0.9)

# %% [markdown]
# ## The field that it has learned
#
# What guides the points? At each place, and for each $t$, an arrow. Given $x_0$, the noised point has the density (4), a Gaussian around $\sqrt{\bar\alpha_t}\,x_0$, and the gradient of its logarithm is
#
# $$\nabla_{x_t} \log q(x_t \mid x_0) = -\frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t} = -\frac{\varepsilon}{\sqrt{1-\bar\alpha_t}} .$$
#
# Average over all the $x_0$ that could have led to $x_t$, each with its probability $q(x_0 \mid x_t) = q(x_0)\,q(x_t \mid x_0)/q(x_t)$. The right side becomes $-\varepsilon^*/\sqrt{1-\bar\alpha_t}$. The left side becomes
#
# $$\int \frac{q(x_0)\,q(x_t\mid x_0)}{q(x_t)}\cdot\frac{\nabla q(x_t\mid x_0)}{q(x_t\mid x_0)}\,dx_0 = \frac{\nabla \int q(x_0)\,q(x_t\mid x_0)\,dx_0}{q(x_t)} = \frac{\nabla q(x_t)}{q(x_t)} = \nabla\log q(x_t) ,$$
#
# the *score*. So the best noise guess, turned round, *is* the direction in which the noised data becomes denser, and a network that has learned the noise has learned the score. Chapter 15 is about what follows from that.
#
# ### Exercise 06.5: score_from_eps


# %%
def score_from_eps(eps_hat, t, schedule):
    """The score grad log q(x_t) that belongs to a noise guess. eps_hat: (B, ...), t: int64 (B,). Shaped as eps_hat."""
    ### BEGIN SOLUTION
    return -eps_hat / process.at((1 - schedule.alpha_bar).sqrt(), t, eps_hat)
    ### END SOLUTION


# %%
score_from_eps = check("06.5", score_from_eps)
# hint("06.5")

# %% [markdown]
# Two tests. First the algebra: the exact score (the gradient of the exact log density, by automatic differentiation) against the exact best noise guess, in `float64`.
# Then the network: how much of the score's mean square does it explain, at points drawn from $q(x_t)$?

# %%
shares = []
for t in (5, 20, 50, 80):
    noised = islands.noised(t, schedule)  # q(x_t), a mixture again
    xt, ts = noised.sample(4000, torch.Generator().manual_seed(t)), torch.full((4000,), t)
    score = noised.score(xt)
    by_eps = score_from_eps(islands.eps(xt, ts, schedule), ts, schedule)
    with torch.no_grad():
        learned = score_from_eps(ema(xt.float(), ts), ts, schedule)
    same = torch.allclose(score, by_eps, rtol=1e-7, atol=1e-9)
    explained = float(1 - (learned - score).square().mean() / score.square().mean())
    print(
        f"t = {t:3d}   score and best noise agree: {same}   network explains more than 90 %: {explained > 0.9}"
    )
    assert same and explained > 0.9
    shares.append(explained)
print("the smallest of these t is the hardest for the network:", shares[0] == min(shares))

# %% [markdown]
# Now look at it. Grey: the density $q(x_t)$. Wide blue arrows: the exact score. Thin black arrows: the network's. Lengths are squeezed, so that long arrows fit in; directions are not.
# Where it is white, the density is below a sixteenth of the highest: few of the points that the network was trained on fell there. Move $t$ down to 5 and see what it does there.

# %% tags=["nbval-ignore-output"]
side = torch.linspace(-2, 2, 15, dtype=torch.float64)
grid = torch.cartesian_prod(side, side)  # (225, 2)
fine = torch.linspace(-2, 2, 61, dtype=torch.float64)
pixels = torch.stack(torch.meshgrid(fine, fine, indexing="xy"), dim=-1).reshape(-1, 2)  # (61 * 61, 2)


def arrows(score, t):
    """Arrows for the screen: the score times sqrt(1 - alpha_bar_t), then v / (1 + |v|)."""
    v = score * float((1 - schedule.alpha_bar[t]).sqrt())
    return v / (1 + v.norm(dim=1, keepdim=True))


field, ax = viz.figure(4.4, 4.6)
cloud(ax, grid[:0], limit=2.05)
density = ax.imshow(
    torch.zeros(61, 61), cmap="Greys", origin="lower", extent=(-2, 2, -2, 2), vmin=0, vmax=1.6
)
zero = torch.zeros(len(grid))
shared = {"angles": "xy", "scale_units": "xy", "scale": 4.0, "antialiased": False}
wide = ax.quiver(
    *grid.T,
    zero,
    zero,
    color=viz.COLORS["sky"],
    width=0.011,
    headwidth=2.4,
    headlength=2.4,
    headaxislength=2.2,
    **shared,
)
thin = ax.quiver(*grid.T, zero, zero, color=viz.COLORS["black"], width=0.0035, **shared)


def draw_field(t):
    """The exact and the learned score on a grid, over the density of x_t."""
    ts = torch.full((len(grid),), t)
    noised = islands.noised(t, schedule)
    wide.set_UVC(*arrows(noised.score(grid), t).T)
    thin.set_UVC(*arrows(score_from_eps(ema(grid.float(), ts), ts, schedule), t).T)
    grey = noised.log_prob(pixels).exp()
    density.set_data((8 * grey / grey.max()).round().reshape(61, 61) / 8)  # in eight shades
    ax.set_title(f"t = {t}: exact score (blue), learned (black)", fontsize=10)
    return field


slider = ipywidgets.IntSlider(30, 1, 100, description="t")
widgets.live(
    draw_field,
    t=slider,
    alt=lambda t: (
        f"Arrows on a grid at t = {t}, over the density of x_t: the exact score in blue, the learned one in black."
    ),
)

# %%
noised, ts = islands.noised(5, schedule), torch.full((len(grid),), 5)
rare = noised.log_prob(pixels).max() - math.log(16)  # what is white: below a sixteenth of the highest density
with torch.no_grad():
    off = (score_from_eps(ema(grid.float(), ts), ts, schedule) - noised.score(grid)).norm(dim=1)
white = noised.log_prob(grid) < rare
of_data = noised.log_prob(noised.sample(20_000, torch.Generator().manual_seed(1))) < rare
of_ours = noised.log_prob(path[5].double()) < rare
print(
    f"t = 5: arrows of the grid on white {white.sum()} of {len(grid)}, share of the noised data there {of_data.double().mean():.2f}"
)
print(
    "the typical learned arrow is off by five times as much there:",
    bool(off[white].median() > 5 * off[~white].median()),
)
print(
    "more of our samples than of the data are there:", bool(of_ours.double().mean() > of_data.double().mean())
)

# %% [markdown]
# Two things to notice. At large $t$ all arrows point to one centre, and which island a point will reach is open. As $t$ falls the plane splits into eight basins.
# And at small $t$, on white, blue and black part. A learned score is only good where the data, noised to that $t$, has been; the few samples that stray from there get worse advice.
#
# ## How good is it?
#
# Three numbers, each with its own blind spot:
#
# - **near**: the share of points within 3 standard deviations of an island (for the data $1 - e^{-9/2} = 0.989$). It does not notice a missing island.
# - **misplaced**: count the points of each island, and compare with its true share: half the sum of the differences. It is the share of points that would have to move to another island. A point counts for the nearest island, so it does not notice how they lie within, or far away.
# - **energy distance**: $2\,\mathbb E|x-y| - \mathbb E|x-x'| - \mathbb E|y-y'|$ for generated points $x, x'$ and real ones $y, y'$; 0 only if both distributions are the same. It needs no islands, so it works for every data set. But it averages over distances large and small, so it hardly notices a few points a short way off. And measured from samples it may come out a little below 0.
#
# None of them is exactly perfect for *perfect* samples: 4000 points are a random choice. So we also measure fresh real data, with several seeds. That is the chance level, and nothing can be asked beyond it.


# %%
def energy_distance(x, y, count=2000):
    """2 E|x - y| - E|x - x'| - E|y - y'| from samples (N, 2); a point is not paired with itself. About 0 if alike."""
    x, y = x[:count].double(), y[:count].double()
    within = sum(torch.cdist(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y))
    return float(2 * torch.cdist(x, y).mean() - within)


def judge(x, seed=10):
    """near, misplaced and energy distance of generated points (N, 2), against the islands."""
    distance, island = torch.cdist(x.double(), islands.means).min(dim=1)
    share = torch.bincount(island, minlength=8) / len(x)
    real = islands.sample(2000, torch.Generator().manual_seed(seed))
    near = float((distance < 0.3).double().mean())
    return near, float((share - islands.weights).abs().sum() / 2), energy_distance(x, real)


def over_seeds(make, seeds=3):
    """The mean of the three numbers over several seeds: make(seed) gives the points."""
    return torch.tensor([judge(make(seed), seed=100 + seed) for seed in range(seeds)]).mean(dim=0).tolist()


chance = over_seeds(lambda seed: islands.sample(4000, torch.Generator().manual_seed(50 + seed)))
print("fresh real data   near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*chance))

# %% tags=["volatile"]
trained = over_seeds(lambda seed: generate(ema, schedule, seed=seed)[0])
untrained = judge(generate(new_network(seed=0), schedule)[0])
for name, numbers in {"fresh real data": chance, "our samples": trained, "not trained": untrained}.items():
    print(f"{name:16s} " + "near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*numbers))


# %% tags=["volatile"]
def either(upto, early, late):
    """One network up to a step, another after it (in time t: sampling comes to `early` last)."""
    return lambda xt, t: early(xt, t) if int(t[0]) <= upto else late(xt, t)


def exactly(xt, t):
    """The best network there is, in float32."""
    return islands.eps(xt.double(), t, schedule).float()


exact_early = judge(generate(either(10, exactly, ema), schedule)[0])
exact_late = judge(generate(either(10, ema, exactly), schedule)[0])
print(
    f"near: our network {trained[0]:.3f}, exact for t <= 10 only {exact_early[0]:.3f}, exact for t > 10 only {exact_late[0]:.3f}"
)

# %%
near, misplaced, energy = trained
print("more than 90 % near an island:", near > 0.9, "| as many as in the data:", near > 0.985)
print("less than 5 % misplaced:", misplaced < 0.05)
print("energy distance below 0.005:", energy < 0.005, "| and without training above 0.1:", untrained[2] > 0.1)
print(
    "the last ten steps made exact gain more than the ninety before:", exact_early[0] > exact_late[0] + 0.01
)
assert near > 0.9 and misplaced < 0.05 and energy < 0.005 and untrained[2] > 0.1

# %% [markdown]
# The places are nearly right, with some stragglers between the islands; the shares are about as right as chance allows. The energy distance does not see the stragglers. They come mostly from the last ten steps, where the network explains the field least well.
# (An untrained network takes next to no noise away, while every step divides by $\sqrt{\alpha_t}$: its points fly off.)
#
# ## What is lost without the average
#
# We wrote down the excess of the network, and of its average, during training. This is the picture that the loss curve hides.

# %%
number, raw, averaged = torch.tensor(history).T
fig, ax = viz.figure(6.4, 2.8)
ax.semilogy(number, raw, color=viz.COLORS["vermillion"], linestyle="--", label="the weights as they are")
ax.semilogy(number, averaged, color=viz.COLORS["blue"], label="their average (EMA)")
ax.set_yticks([0.003, 0.01, 0.03, 0.1], ["0.003", "0.01", "0.03", "0.1"])
ax.minorticks_off()
ax.set(xlabel="step", title=r"excess: the mean of $(\varepsilon^* - \varepsilon_\theta)^2$")
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="The excess over 3000 steps on a logarithmic axis. The dashed line of the raw weights is jagged and stays higher; the line of the average is smooth and ends several times lower.",
)
late = number > 2000
ratio = float(raw[late].mean() / averaged[late].mean())
print("over the last thousand steps the raw weights have at least 1.5 times the excess:", ratio > 1.5)
print(
    "and jump about more, from one look to the next:",
    bool(raw[late].diff().abs().mean() > 2 * averaged[late].diff().abs().mean()),
)
assert ratio > 1.5

# %% [markdown]
# **What do you expect?** A smaller excess is not yet a better sample. We sample with the weights as they are and with their average, at six moments of the last thousand steps. Where will one see the difference: in the places of the points, or in their shares?
#
# <details><summary>Answer</summary>
#
# In the shares. The places come out nearly alike, but without the average more points are on the wrong island, at one moment a few, at the next many.
#
# </details>

# %% tags=["volatile"]
by_weights = {
    name: torch.tensor(
        [judge(generate(pair[k], schedule, seed=i)[0], seed=100 + i) for i, pair in enumerate(moments)]
    )
    for k, name in enumerate(("as they are", "their average"))
}
for name, numbers in by_weights.items():
    print(
        f"{name:16s} "
        + "near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*numbers.mean(dim=0))
    )
    print("     misplaced, one by one: " + "  ".join(f"{m:.3f}" for m in numbers[:, 1]))
print("fresh real data  " + "near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*chance))

# %%
as_they_are, their_average = (numbers.mean(dim=0) for numbers in by_weights.values())
print("near is the same, within 0.02:", bool(abs(as_they_are[0] - their_average[0]) < 0.02))
print(
    "without the average at least 1.2 times as many are misplaced:",
    bool(as_they_are[1] > 1.2 * their_average[1]),
)

# %% [markdown]
# ## The paper's betas, in a tenth of the steps
#
# Now the other mistake: a short chain with the betas of the long one, $\beta_t$ from 0.0001 to 0.02 over 100 steps. To be fair to it we give it the *best network there is*, $\varepsilon^*$ for that schedule.
# Whatever goes wrong is then no fault of training, and no amount of training will mend it.
#
# **What do you expect?** $x_T$ still holds 60 % of $x_0$, but sampling starts at $\mathcal N(0, I)$. Will the points miss the islands, or sit on the wrong ones? Which ones get too many?
#
# <details><summary>Answer</summary>
#
# They reach the islands as well as before: every step is right, if it starts from the right place. But it does not. The true $x_T$ is shifted towards the crowded side, by 0.6 times the mean of the data, and a little narrower.
# The round start at the origin puts too many points on the sparse side, and they end on the sparse islands.
#
# </details>


# %%
def exact_points(schedule, seed, true_start=False):
    """4000 points by algorithm 2 with the best network there is, in float64."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(schedule.T + 2, 4000, 2, generator=g, dtype=torch.float64)
    xT = islands.noised(schedule.T, schedule).sample(4000, g) if true_start else noise[-1]
    return sample(lambda xt, t: islands.eps(xt, t, schedule), xT, noise[:-1], schedule)[0]


runs = {
    "cosine, from N(0, I)": [exact_points(schedule, seed) for seed in range(3)],
    "unscaled, from N(0, I)": [exact_points(unscaled, seed) for seed in range(3)],
    "unscaled, from the true x_T": [exact_points(unscaled, seed, true_start=True) for seed in range(3)],
}
results = {name: over_seeds(lambda seed, x=x: x[seed]) for name, x in runs.items()}
results["fresh real data"] = chance
for name, numbers in results.items():
    print(f"{name:28s} " + "near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*numbers))
assert results["unscaled, from N(0, I)"][1] > 2 * results["cosine, from N(0, I)"][1]

# %%
counts = {}
for name in ("cosine", "unscaled"):
    all_three = torch.cat(runs[f"{name}, from N(0, I)"])  # (12000, 2)
    island = torch.cdist(all_three, islands.means).argmin(dim=1)
    counts[name] = torch.bincount(island, minlength=8) / len(all_three)

fig, (left, right) = viz.figure(8.0, 2.8, ncols=2, width_ratios=[1, 1.9])
u = islands.weights @ islands.means
u = u / u.norm()  # the direction towards the crowded side
x = torch.linspace(-4, 4, 201, dtype=torch.float64)
end = islands.noised(100, unscaled)  # the true x_T; along u it is a mixture again
along = exact.Mixture(end.means @ u[:, None], end.variances, end.weights)
left.plot(x, along.log_prob(x[:, None]).exp(), color=viz.COLORS["orange"], label="true $x_T$")
left.plot(
    x,
    exact.gaussian(torch.zeros(1), 1).log_prob(x[:, None]).exp(),
    "--",
    color=viz.COLORS["purple"],
    label="start",
)
left.set(xlabel="towards the crowded side", title="unscaled, density at T", ylim=(0, 0.55))
left.legend(frameon=False, fontsize=9, loc="upper left")
k = torch.arange(8)
right.bar(k - 0.27, islands.weights, 0.25, color=viz.COLORS["black"], label="the data")
right.bar(k, counts["cosine"], 0.25, color=viz.COLORS["sky"], label="cosine")
right.bar(
    k + 0.27,
    counts["unscaled"],
    0.25,
    color=viz.COLORS["vermillion"],
    hatch="///",
    edgecolor="white",
    label="unscaled",
)
right.set(xlabel="island", xticks=list(range(8)), title="share of the points")
right.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Left: two densities along the direction of the crowded side. Sampling starts with a bell around 0; the true x_T of the unscaled chain is shifted to the right and narrower. Right: bars of the islands' shares. The cosine schedule matches the data; the unscaled one has too few points on the crowded islands 0 to 2 and too many on the sparse ones 4 to 6.",
)
sparse = islands.weights < 0.1
print(
    f"points on the three sparse islands: data {islands.weights[sparse].sum():.2f}, cosine {counts['cosine'][sparse].sum():.2f}, unscaled {counts['unscaled'][sparse].sum():.2f}"
)

# %% [markdown]
# Look at the column *near*: it says that all is well. The points of the broken chain lie where they should; only their proportions are wrong. With images one would have to notice that some kinds are a little too frequent,
# and who sees that in a grid of nine? Does training at least give a warning? We train a network on the unscaled schedule, for a third of the steps to save time.

# %% tags=["volatile"]
wrong_net, wrong_losses = new_network(seed=0), []
for step in train(wrong_net, points, unscaled, steps=1000):
    wrong_losses.append(step.loss)
wrong = over_seeds(lambda seed: generate(step.ema, unscaled, seed=seed)[0])
print(f"loss at first {wrong_losses[0]:.2f}, over the last 100 steps {sum(wrong_losses[-20:]) / 20:.2f}")
for name, numbers in {
    "unscaled, 1000 steps": wrong,
    "cosine, 3000 steps": trained,
    "fresh real data": chance,
}.items():
    print(f"{name:20s} " + "near {:.3f}   misplaced {:.3f}   energy distance {:.4f}".format(*numbers))

# %%
print(
    "the loss falls below 0.6:",
    sum(wrong_losses[-20:]) / 20 < 0.6,
    "| more than 85 % near an island:",
    wrong[0] > 0.85,
)
print("at least 1.5 times as many misplaced as with the cosine schedule:", wrong[1] > 1.5 * trained[1])

# %% [markdown]
# No warning: the loss falls, the points reach the islands (a few fewer of them, after the shorter training), and the shares are as wrong as with the best network. The test costs one line: print `schedule.alpha_bar[-1].sqrt()`.
#
# ## Your own points
#
# No formula any more, only points. Choose: a name from `data.TOYS`, or `"picture"`, and then draw one: every `#` becomes a small square of points. Any number of rows will do.

# %%
choice = "picture"  # or "moons", "spirals", "checkerboard"

picture = """
...###.....###...
...###.....###...
...###.....###...
...###.....###...
.................
.................
###...........###
####.........####
.#####.....#####.
..#############..
....#########....
"""


def points_in(picture, count, generator):
    """Points spread evenly over the '#' of a picture made of text, within [-1, 1]: float32 (count, 2)."""
    rows = picture.strip("\n").split("\n")
    cells = torch.tensor([(j, -i) for i, row in enumerate(rows) for j, mark in enumerate(row) if mark == "#"])
    chosen = cells[torch.randint(len(cells), (count,), generator=generator)]
    spread = chosen + torch.rand(count, 2, generator=generator)  # somewhere in the cell
    middle = (cells.min(dim=0).values + cells.max(dim=0).values + 1) / 2
    return 2 * (spread - middle) / max(max(map(len, rows)), len(rows))


g = torch.Generator().manual_seed(4)
mine = points_in(picture, 22_000, g) if choice == "picture" else data.toy(choice, 22_000, g)
mine, fresh = mine[:20_000], mine[20_000:]  # 2000 are kept aside, to measure with
print("points:", tuple(mine.shape), "| within about [-1, 1]:", bool(mine.abs().max() < 1.2))

# %% tags=["volatile"]
own_net = new_network(seed=1)
for step in widgets.live_loss(train(own_net, mine, schedule, steps=2000), total=2000):
    own_ema = step.ema
own_path = generate(own_ema, schedule, count=4000, seed=1)

# %%
fig, axes = viz.figure(8.4, 1.95, ncols=5)
for ax, t in zip(axes, (100, 40, 15, 0), strict=False):
    cloud(ax, own_path[t], f"generated, t = {t}", "vermillion", limit=2.6 if t >= 40 else 1.3)
cloud(axes[4], mine, "data", limit=1.3)
viz.show(
    fig,
    alt="Four stages of sampling, from a round cloud to the shape of the chosen data, and the data itself at the right. The last stage has the shape of the data, with blurred edges and some stray points. The three panels at the right are drawn twice as large as the two at the left.",
)

# %% [markdown]
# (From $t = 15$ on the picture is drawn twice as large.) There are no islands to count here, but the energy distance needs none. Beside it stand the chance level, and a rival: one Gaussian with the mean and covariance of the data.

# %% tags=["volatile"]
g = torch.Generator().manual_seed(5)
spread = torch.linalg.cholesky(torch.cov(mine.T))  # (2, 2)
rival = mine.mean(dim=0) + torch.randn(2000, 2, generator=g) @ spread.T

level = energy_distance(mine, fresh)  # real against real
of_samples, of_rival = energy_distance(own_path[0], fresh), energy_distance(rival, fresh)
print(f"energy distance: real {level:.4f}, samples {of_samples:.4f}, one Gaussian {of_rival:.4f}")

# %%
print("real against real below 0.003:", abs(level) < 0.003)
print("samples much nearer to the data than one Gaussian is:", of_samples < 0.5 * of_rival)

# %% [markdown]
# ## Recap
#
# | | |
# |---|---|
# | algorithm 1 | draw $x_0$, $t$, $\varepsilon$; make $x_t$; one gradient step on $\lVert\varepsilon - \varepsilon_\theta(x_t, t)\rVert^2$ |
# | algorithm 2 | from $\mathcal N(0, I)$ take $T$ reverse steps, each with fresh noise, except the last |
# | the floor | the loss does not go to 0: $\varepsilon^*$, the mean of all noises that fit, has a loss too |
# | the score | $\nabla\log q(x_t) = -\varepsilon^*/\sqrt{1-\bar\alpha_t}$: learning the noise is learning where the data gets denser |
# | the average | sample with the EMA; the raw weights wander, and the shares with them |
# | the schedule | shorten $T$ and you must raise $\beta_t$: look at $\sqrt{\bar\alpha_T}$ before you train |
#
# Before you go: without looking, write down line 4 of algorithm 2, and say what is different when $t = 1$.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# How many steps does it take, and with which variance? Sampling has two errors: the network's, and that of taking finitely many steps. With $\varepsilon^*$ there is only the second, so you can study it alone.
#
# 1. For cosine schedules with $T = 5, 10, 20, 50, 100, 200$ sample 4000 points with $\varepsilon^*$, once with $\sigma_t^2 = \beta_t$ and once with $\tilde\beta_t$ (`schedule.beta_tilde`; `samplers.ddpm` takes `variance=` and `clip=False`). Measure *near* and the standard deviation of the points around their island. It should be 0.1.
# 2. One of the two variances makes the islands too wide, the other too narrow. Which, and why? The paper says when each is optimal (section 3.2).
# 3. From which $T$ on is the network's error the larger one, for the network that you have trained?
#
# <!-- BEGIN SOLUTION -->
# 1. See the next cell.
# 2. From $T = 20$ on $\beta_t$ is too wide and $\tilde\beta_t$ too narrow, and both errors shrink as $T$ grows. (At 5 and 10 both are too wide: there a step is too long for any Gaussian.)
#    $\tilde\beta_t$ is right for data that is a single point; an island has a width, and $\tilde\beta_t$ forgets the uncertainty about $x_0$ that comes with it.
#    $\beta_t$ is right if $x_0$ is as uncertain as $\mathcal N(0, I)$; an island is much narrower, so $\beta_t$ adds too much. The truth lies between.
# 3. Find the trained network's *near* in the column of $\beta_t$. In our runs it is between 0.92 and 0.95, which $\varepsilon^*$ reaches between $T = 10$ and $T = 20$. Above that more steps gain little; a better network would gain more.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
from ddpm_lite import samplers

for T in (5, 10, 20, 50, 100, 200):
    short = schedules.cosine(T=T)
    line = f"T = {T:3d}"
    for variance in ("beta", "beta_tilde"):
        xT = torch.randn(4000, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
        steps = samplers.ddpm(
            lambda xt, t, s=short: islands.eps(xt, t, s),
            xT.shape,
            short,
            variance=variance,
            clip=False,
            xT=xT,
            generator=torch.Generator().manual_seed(9),
        )
        x = samplers.last(steps).xt
        distance = torch.cdist(x, islands.means).min(dim=1).values
        width = float((distance.square().mean() / 2).sqrt())  # two coordinates
        line += f"   {variance:10s} near {float((distance < 0.3).double().mean()):.2f}, width {width:.3f}"
    print(line)
