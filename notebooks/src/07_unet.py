# %% [markdown]
# # 07 · The U-Net, brick by brick
#
# {{ colab }}
#
# So far "the network" was a formula, or three small layers. Now we build the paper's own: the U-Net that made the CIFAR-10 images, with its 35,746,307 numbers to learn.
# You write each brick yourself, look at it, count it and time it. At the end your network answers, number for number, what the package's answers with the same weights.
#
# | | |
# |---|---|
# | **You will** | write group normalisation, the residual block, self-attention, the downsampling, and the walk through the U · see which waves tell two timesteps apart · watch a trained network pay attention · have a network draw its own diagram · measure what one pixel can see · find out why so many layers start at zero |
# | **Time** | 75 minutes; a good place for a break is after *Down and up* |
# | **You need** | chapters 05 and 06; PyTorch's `nn.Module`, and what a convolution is |
# | **Equations** | the embedding of $t$ from chapter 06; the network of the paper's appendix B |

# %%
# {{ setup }}
import contextlib
import copy
import functools
import importlib
import importlib.util
import itertools
import math
import re
import time

import ipywidgets
import torch
from torch import nn
from torch.nn import functional as F

from ddpm_lite import checkpoints, data, process, samplers, schedules, unet, viz, widgets
from ddpm_lite.exercises import check, hint
from ddpm_lite.paper import FACTS
from ddpm_lite.unet import UNetConfig, timestep_embedding

schedule = schedules.linear(T=1000)
config = UNetConfig()  # the paper's CIFAR-10 network
print(config)

# %% [markdown]
# ## What it has to do
#
# $\varepsilon_\theta(x_t, t)$ takes a noisy image and its timestep, and answers with the noise: *an image of the same shape*. To tell noise from image it has to look at single pixels,
# since the noise of each pixel is its own; and it has to look at the whole, since only the whole says what the image shows. A U-Net does both: it goes down to small, coarse feature maps, comes up again, and on the way up gets back the fine ones.
#
# It consists of six kinds of bricks. For each we shall print what goes in, what comes out, and how many numbers training has to find. A stopwatch runs as well, for a table at the end.

# %%
clock = {}  # brick -> milliseconds


@torch.no_grad()
def milliseconds(layer, *inputs):
    """Processor time of one call, the fastest of three."""
    times = []
    for _ in range(3):
        start_time = time.process_time()
        layer(*inputs)
        times.append(1000 * (time.process_time() - start_time))
    return min(times)


@torch.no_grad()
def brick(name, layer, *inputs):
    """Print the shapes and the parameter count of a layer, and time it."""
    shapes = " and ".join(str(tuple(x.shape)) for x in inputs)
    count = sum(p.numel() for p in layer.parameters())
    print(f"{name}: {shapes} -> {tuple(layer(*inputs).shape)}, {count:,} parameters")
    clock[name] = milliseconds(layer, *inputs)


def noise(*shape, seed=0):
    """Gaussian noise from a generator of its own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# ## Time, as waves
#
# The network is told $t$ by the waves that you wrote in chapter 06: $h$ sines and $h$ cosines, whose frequencies $f_k = 10000^{-k/(h-1)}$ fall from 1 to 1/10000. The package's is `timestep_embedding`; here $h = 64$.
#
# Below, each *column* is what the network gets for one $t$; each *row* is one of the 128 numbers, purple for 1, orange for $-1$.

# %%
waves = timestep_embedding(torch.arange(1, 1001), config.base)  # (1000, 128)
print("one row for each t:", tuple(waves.shape))

fig, (left, right) = viz.figure(8.4, 3.1, ncols=2)
left.imshow(
    waves.T,
    cmap="PuOr",
    aspect="auto",
    vmin=-1,
    vmax=1,
    extent=(1, 1000, 127.5, -0.5),
    interpolation="nearest",
)
left.axhline(63.5, color=viz.COLORS["black"], linewidth=1)
left.set(
    xlabel="t",
    ylabel="which of the 128 numbers",
    title="emb(t): 64 sines, 64 cosines",
    yticks=[0, 32, 64, 96, 127],
)
left.grid(False)
k = torch.arange(64)
frequency = 10000 ** (-k / 63)
for apart, colour in ((1, "blue"), (10, "vermillion"), (100, "green")):
    moved = (
        (waves[apart:] - waves[:-apart]).reshape(-1, 2, 64).square().sum(dim=1).mean(dim=0).sqrt()
    )  # (64,)
    right.plot(k, moved, color=viz.COLORS[colour], label=f"{apart} apart")
right.set(xlabel="wave k", title="how far the pair k moves", ylim=(0, 2.05))
right.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Left: a heat map, t from 1 to 1000 across, the 128 numbers of the embedding downwards. The upper rows of each half flicker, further down stripes grow wider, and about the last third of each half hardly changes. Right: for two timesteps 1, 10 and 100 apart, how far the sine and cosine of wave k move. Neighbours are told apart by the first 20 waves, timesteps 100 apart by the first 45; the last waves hardly move.",
)

# %% [markdown]
# Sine and cosine of one wave are a point on a circle. From $t$ to $t + d$ it turns by the angle $f_k d$, so it moves by the chord $2\,|\sin(f_k d/2)|$. That is the right-hand picture, and it does not depend on $t$: near $t = 3$ and near $t = 900$ the waves tell neighbours apart equally well.
#
# **What do you expect?** The slowest wave is 62,832 steps long, and the chain has only 1000. How many of the 64 waves turn by less than a quarter of a circle in the whole chain?
#
# <details><summary>Answer</summary>
#
# Those with $1000 f_k < \pi/2$: the last 19 of the 64. They say much the same for every $t$. The waves come from the Transformer, a network for texts, and the paper took them over as they were.
#
# </details>

# %%
chord = 2 * torch.sin(frequency * 10 / 2).abs()
pairs = (waves[10:] - waves[:-10]).reshape(-1, 2, 64).square().sum(dim=1).sqrt()  # (990, 64)
print("each pair moves by its chord, at every t:", torch.allclose(pairs, chord.expand_as(pairs), atol=1e-3))
print("waves that turn by less than a quarter:", int((1000 * frequency < math.pi / 2).sum()), "of 64")

distance = torch.cdist(waves.double(), waves.double()).fill_diagonal_(math.inf)
nearest = (distance.argmin(dim=1) - torch.arange(1000)).abs()
print("for every t the nearest other embedding is that of a neighbour:", bool((nearest == 1).all()))

# %% [markdown]
# Two dense layers turn these 128 numbers into $4 \cdot 128 = 512$ numbers. This is done once for each image; then all the residual blocks get the same 512, and each takes from them what it needs.

# %%
time_layers = nn.Sequential(nn.Linear(128, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU())
brick("time", time_layers, waves[[0, 499]])

# %% [markdown]
# ## Group normalisation
#
# Before most convolutions the features are brought to mean 0 and variance 1, so that a layer gets inputs of one size, wherever in training we are. The question is: mean and variance *over what*? Group normalisation divides the $C$ channels into $G$ groups of $C/G$ neighbours.
# Each group of each image gets one mean $\mu$ and one variance $\sigma^2$, over its channels and all its pixels, and each channel $c$ then a learned weight $\gamma_c$ and bias $b_c$:
#
# $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y_c = \gamma_c\,\hat x_c + b_c, \qquad \sigma^2 = \frac1n \sum (x - \mu)^2,\quad n = \frac CG \cdot H \cdot W .$$
#
# ### Exercise 07.1: group_norm


# %%
def group_norm(x, groups, weight, bias, eps):
    """x: (B, C, H, W); groups: how many, a divisor of C; weight and bias: (C,). Returns (B, C, H, W)."""
    ### BEGIN SOLUTION
    h = x.reshape(len(x), groups, -1, *x.shape[2:])  # (B, C, H, W) -> (B, G, C/G, H, W)
    mean = h.mean(dim=(2, 3, 4), keepdim=True)
    variance = h.var(dim=(2, 3, 4), correction=0, keepdim=True)
    h = ((h - mean) / (variance + eps).sqrt()).reshape(x.shape)
    return h * weight[:, None, None] + bias[:, None, None]  # (C,) -> (C, 1, 1)
    ### END SOLUTION


# %%
group_norm = check("07.1", group_norm)
# hint("07.1")


# %%
class GroupNorm(nn.Module):
    """Your function, with its weight and bias, as a layer."""

    def __init__(self, groups, channels, eps=1e-6):
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return group_norm(x, self.groups, self.weight, self.bias, self.eps)


x = 3 * noise(2, 128, 32, 32) + 5
brick("group norm", GroupNorm(32, 128), x)
y = GroupNorm(32, 128)(x).detach()
print(f"mean {x.mean():.1f} -> {abs(y.mean()):.1f}, standard deviation {x.std():.1f} -> {y.std():.1f}")

# %% [markdown]
# ### What batch normalisation would leak
#
# The older way, batch normalisation, takes $\mu$ and $\sigma^2$ of each channel over the *whole batch*. Then every image's output depends on which images happen to be beside it.
#
# **What do you expect?** We normalise a batch of four, then replace images 1 to 3 by others, and look at image 0, which is still the same. How far has its output moved, under each of the two?
#
# <details><summary>Answer</summary>
#
# Not at all under group normalisation. Under batch normalisation by a good part of its size.
#
# </details>

# %%
digits = data.from_uint8(data.digits().images)  # (1797, 1, 8, 8)
first, others = digits[:4], torch.cat([digits[:1], noise(3, 1, 8, 8, seed=1)])
spread = noise(8, 1, 3, 3, seed=2)  # one convolution, so that there are channels: 1 -> 8
h, h_others = F.conv2d(first, spread), F.conv2d(others, spread)

one, zero = torch.ones(8), torch.zeros(8)
by_group = (group_norm(h, 4, one, zero, 1e-6) - group_norm(h_others, 4, one, zero, 1e-6))[0].abs().max()
by_batch = (
    (F.batch_norm(h, None, None, training=True) - F.batch_norm(h_others, None, None, training=True))[0]
    .abs()
    .max()
)
print("group norm: image 0 has moved by less than 1e-6:", bool(by_group < 1e-6))
print("batch norm: image 0 has moved by more than 0.5:", bool(by_batch > 0.5))
assert by_group < 1e-6 and by_batch > 0.5

# %% [markdown]
# For a diffusion model that is worse than untidy. In training the images of a batch stand at *different* $t$; in sampling all stand at the same. So batch statistics would be other ones, and images would come out scaled otherwise than the network learned:

# %%
x0 = digits[:500]
t = torch.randint(1, 1001, (500,), generator=torch.Generator().manual_seed(3))
t[:50] = 1  # fifty nearly clean images, in a training batch of all kinds
mixed = process.q_sample(x0, t, noise(*x0.shape, seed=4), schedule)
alone = process.q_sample(x0[:50], t[:50], noise(50, 1, 8, 8, seed=5), schedule)  # a sampler's batch at t = 1

for name, normalise in {
    "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
    "group norm": lambda x: F.group_norm(x, 1),
}.items():
    print(
        f"{name}: standard deviation of an image at t = 1, among all t {normalise(mixed)[:50].std():.2f}, among its like {normalise(alone).std():.2f}"
    )

# %% [markdown]
# (With running averages in their place, as batch normalisation uses them outside of training, the statistics would be those of all $t$ mixed, at every $t$.)
#
# ## The residual block
#
# Most of the network is this one brick, twenty-two times in the paper's. Twice *norm, SiLU, convolution*; between them the time; and around it all a direct way:
#
# $$h = \mathrm{conv}_1\big(\mathrm{SiLU}(\mathrm{norm}_1(x))\big) + W\,\mathrm{emb}, \qquad
# \text{block}(x) = \mathrm{shortcut}(x) + \mathrm{conv}_2\big(\mathrm{drop}(\mathrm{SiLU}(\mathrm{norm}_2(h)))\big) .$$
#
# SiLU is $x \cdot \mathrm{sigmoid}(x)$. The shortcut is $x$ itself, or, where the number of channels changes, a convolution of $1 \times 1$ pixel.
#
# ### How the block is told the time
#
# `emb` holds 512 numbers for each image, and SiLU has been applied to it already. A linear layer $W$ makes $C_{out}$ numbers of it, one for each channel. It is added to all pixels of its channel: `(B, C)` has to become `(B, C, 1, 1)`.
#
# First two helpers. All layers begin as in the paper's code: weights uniform, with variance 2 / (inputs + outputs), times a `scale`, and biases 0. (A $3\times3$ convolution has nine inputs and nine outputs a channel.) Some are given the scale 0; why, we shall see at the end.


# %%
def start(layer, scale=1.0):
    """First weights: uniform with variance scale * 2 / (inputs + outputs); biases zero."""
    nn.init.xavier_uniform_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(math.sqrt(scale))
    nn.init.zeros_(layer.bias)
    return layer


def conv(c_in, c_out, kernel=3, scale=1.0):
    """A convolution that keeps height and width."""
    return start(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), scale)


# %% [markdown]
# ### Exercise 07.2: ResidualBlock
#
# The layers are there. Write `forward`.


# %%
class ResidualBlock(nn.Module):
    """c_in and c_out: channels in and out. width: how many numbers emb has. config: a UNetConfig."""

    def __init__(self, c_in, c_out, width, config):
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(config.groups, c_in), GroupNorm(config.groups, c_out)
        self.conv1, self.conv2 = conv(c_in, c_out), conv(c_out, c_out, scale=0.0)
        self.time = start(nn.Linear(width, c_out))
        self.dropout = nn.Dropout(config.dropout)
        self.shortcut = nn.Identity() if c_in == c_out else conv(c_in, c_out, kernel=1)

    def forward(self, x, emb):
        """x: (B, C_in, H, W), emb: (B, width). Returns (B, C_out, H, W)."""
        ### BEGIN SOLUTION
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(emb)[:, :, None, None]  # (B, C_out) -> (B, C_out, 1, 1)
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h
        ### END SOLUTION


# %%
ResidualBlock = check("07.2", ResidualBlock)
# hint("07.2")


# %%
def build(make, seed=0):
    """make(), with first weights from this seed; PyTorch's global generator is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


emb = noise(2, 512, seed=6)
block = build(lambda: ResidualBlock(128, 128, 512, config)).eval()
brick("block", block, noise(2, 128, 32, 32), emb)
brick("wider block", build(lambda: ResidualBlock(128, 256, 512, config)).eval(), noise(2, 128, 16, 16), emb)

parts = {name: sum(p.numel() for p in part.parameters()) for name, part in block.named_children()}
print("of the first:", ", ".join(f"{name} {count:,}" for name, count in parts.items()))

# %% [markdown]
# **What do you expect?** The time adds the same number to all pixels of a channel, and right after that comes a normalisation, which takes a mean off. Is the time gone again? And would it be with $G = C$, one channel in each group?
#
# <details><summary>Answer</summary>
#
# With four channels in a group it stays: only what the four have in common is taken off, and how they differ from each other is kept. With one channel in a group (*instance* normalisation) its mean is all there is of the time, and the block is deaf to $t$.
#
# </details>
#
# A new block answers with its input alone, since its last convolution is zero. To see something, `wake` gives every layer that is zero random weights.


# %%
@torch.no_grad()
def wake(module, seed=0):
    """Give weights that are all zero the start that other layers have. Returns the module, in eval mode."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.xavier_uniform_(p, generator=g)
    return module.eval()


x = noise(1, 128, 8, 8)
for groups in (32, 128):
    block = wake(build(lambda groups=groups: unet.ResidualBlock(128, 128, 512, UNetConfig(groups=groups))))
    with torch.no_grad():
        changed = (block(x, noise(1, 512, seed=7)) - block(x, noise(1, 512, seed=8))).abs().max()
    print(f"{groups:3d} groups of {128 // groups}: another t changes the output: {bool(changed > 1e-3)}")

# %% [markdown]
# ## Attention
#
# A convolution sees $3\times3$ pixels. Attention lets every pixel look at *every* pixel, and choose. The feature map is laid out as a list of $N = H \cdot W$ pixels with $C$ numbers each, and three linear layers make of each pixel a query, a key and a value:
#
# $$Q = q(h),\quad K = k(h),\quad V = v(h), \qquad h = \mathrm{norm}(x), \qquad A = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt C}\right), \qquad \mathrm{attention}(x) = x + \mathrm{out}(A V) .$$
#
# $A$ is the *map*, of shape $(N, N)$: row $i$ says how much pixel $i$ looks at each pixel, in shares that sum to 1. Why divide by $\sqrt C$? A query times a key is a sum of $C$ products; were the factors independent, with mean 0 and variance 1, the sum would have the standard deviation $\sqrt C$, and the softmax of such numbers is nearly all on one pixel:

# %%
q, k = noise(1, 64, 256, seed=9), noise(1, 64, 256, seed=10)  # 64 pixels of 256 numbers
product = q @ k.transpose(1, 2)  # (1, 64, 64)
print(f"standard deviation of the products: {product.std():.0f}, the root of 256 is {math.sqrt(256):.0f}")
print(
    f"largest share in a row, on average: without the division {product.softmax(2).amax(2).mean():.2f}, with it {(product / 16).softmax(2).amax(2).mean():.2f}"
)

# %% [markdown]
# ### Exercise 07.3: SelfAttention
#
# From `(B, C, H, W)` to `(B, N, C)` you get by `flatten(2)`, which gives `(B, C, N)`, and a transpose; and back the same way.


# %%
class SelfAttention(nn.Module):
    """Every pixel looks at every pixel, with one head."""

    def __init__(self, channels, config):
        super().__init__()
        self.norm = GroupNorm(config.groups, channels)
        self.q, self.k, self.v = (start(nn.Linear(channels, channels)) for _ in range(3))
        self.out = start(nn.Linear(channels, channels), scale=0.0)

    def forward(self, x):
        """x and the result: (B, C, H, W)."""
        ### BEGIN SOLUTION
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, C, N) -> (B, N, C)
        q, k, v = self.q(h), self.k(h), self.v(h)
        a = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(dim=2)  # (B, N, N)
        h = self.out(a @ v)  # (B, N, C)
        return x + h.transpose(1, 2).reshape(x.shape)
        ### END SOLUTION


# %%
SelfAttention = check("07.3", SelfAttention)
# hint("07.3")

# %%
brick("attention", build(lambda: SelfAttention(256, config)), noise(2, 256, 16, 16))

# %% [markdown]
# ### The map of a trained network
#
# Now the real thing: the small MNIST network that comes with the course. It draws us a digit, we add a little noise, and let it look at the result. *Hooks* note down the queries and keys as they pass. The map then needs no new formula:
# attention with the identity matrix in place of the values answers $A\,I = A$, and PyTorch's own attention will do it.

# %%
trained, its_schedule, _ = checkpoints.load("mnist")
trained.eval()
label = torch.tensor([4])
short, tau = schedules.respace(its_schedule, 50)  # fifty steps: a little coarse, but quick
network = samplers.at_timesteps(lambda xt, t: trained(xt, t, label.expand(len(xt))), tau)
digit = samplers.sample(
    network, (1, 1, 28, 28), short, progress=False, generator=torch.Generator().manual_seed(1)
)


@contextlib.contextmanager
def listening(net, pattern, hear):
    """Within the `with`: hear(name, input, output) is called for every layer that runs and whose name fits."""

    def listen(name, layer):
        def hook(module, inputs, output):
            hear(name, inputs[0], output)

        return layer.register_forward_hook(hook)

    handles = [listen(name, layer) for name, layer in net.named_modules() if re.fullmatch(pattern, name)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_maps(net, xt, t, *label):
    """The map of every attention layer of a U-Net: {name: (B, N, N)}."""
    seen = {}
    with listening(net, r".*\.attention\.[qk]", lambda name, x, out: seen.update({name: out})):
        net(xt, t, *label)
    layers = [name.removesuffix(".q") for name in seen if name.endswith(".q")]
    identity = torch.eye(max(q.shape[1] for q in seen.values()))
    return {
        name: F.scaled_dot_product_attention(q, seen[f"{name}.k"], identity[None, : q.shape[1], : q.shape[1]])
        for name, q in ((name, seen[f"{name}.q"]) for name in layers)
    }


def noisy(t):
    """The digit at x_t, with the same noise for every t."""
    return process.q_sample(digit, torch.tensor([t]), noise(1, 1, 28, 28, seed=11), its_schedule)


maps = attention_maps(trained, noisy(150), torch.tensor([150]), label)
for name, a in maps.items():
    print(f"{name:19s} {tuple(a.shape)}, every row sums to 1: {torch.allclose(a.sum(dim=2), torch.ones(1))}")

# %% [markdown]
# A question to put to the first of these layers, which works at $14\times14$. Call a place of that grid *ink* if the finished digit is bright there, else *paper*. How much of its attention does an ink place give to ink, and how much does a paper place?

# %%
layer = "down.1.0.attention"
ink = F.avg_pool2d(digit, 2).flatten() > 0  # (196,)
share = {}
for t in (20, 150, 400, 800):
    a = attention_maps(trained, noisy(t), torch.tensor([t]), label)[layer][0]  # (196, 196)
    on_ink = a[:, ink].sum(dim=1)  # of each place's attention, the share that goes to ink
    share[t] = float(on_ink[ink].mean()), float(on_ink[~ink].mean())
print(f"ink covers less than a quarter of the image: {float(ink.float().mean()) < 0.25}")
print(
    "t = 20: ink gives more than 0.8 to ink, paper less than 0.1:", share[20][0] > 0.8 and share[20][1] < 0.1
)
print("t = 150: the same with 0.7 and 0.1:", share[150][0] > 0.7 and share[150][1] < 0.1)
print("t = 800: both within 0.1 of each other:", abs(share[800][0] - share[800][1]) < 0.1)

other = attention_maps(trained, noisy(150), torch.tensor([150]), label)["up.1.0.attention"][0]
print(
    "in up.1.0, at t = 150, ink gives less than 0.1 to ink:", bool(other[:, ink].sum(dim=1)[ink].mean() < 0.1)
)

# %% [markdown]
# Nobody told the network what ink is. In this layer ink looks, on average, at other ink, wherever in the image that is, and paper at paper. At $t = 800$ the two can hardly be told apart any more, and it looks everywhere. Another layer, `up.1.0`, has another habit: there even the ink looks at the paper.
#
# Scrub through $t$. Left: $x_t$. Middle: where the ink looks, on average. Right: where the paper looks. (White is the largest share in each picture.)

# %%
times = [1, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600, 650, 700, 800, 900, 1000]


def looks(t):
    """x_t, and the mean map of the ink and of the paper, as three images (3, 1, 28, 28)."""
    a = attention_maps(trained, noisy(t), torch.tensor([t]), label)[layer][0]
    rows = torch.stack([a[ink].mean(dim=0), a[~ink].mean(dim=0)]).reshape(2, 1, 14, 14)
    rows = 2 * rows / rows.amax(dim=(2, 3), keepdim=True) - 1
    return torch.cat([noisy(t).clamp(-1, 1), F.interpolate(rows, scale_factor=2)])


widgets.scrubber(
    torch.stack([looks(t) for t in times]),
    [f"t = {t}" for t in times],
    ncol=3,
    scale=6,
    fps=4,
    alt="A digit in growing noise, and two maps. At small t the ink's attention lies on the strokes of the digit and the paper's on the rest, from about t = 250 on mostly on a few places in corners of the image; from about t = 700 on both are spread over the whole image.",
)

# %% [markdown]
# And now choose a place yourself, and any of the layers; the middle one works at $7\times7$. The first picture is of a place on the stroke. What does one just beside it look at (column 9), and one far away? (This needs a running kernel.)

# %% tags=["nbval-ignore-output"]
fig, (left, right) = viz.figure(6.4, 3.4, ncols=2)  # made once; draw only changes it
viz.image(left, noisy(150)[0])
(dot,) = left.plot(
    [0], [0], "s", color=viz.COLORS["vermillion"], markersize=9, markerfacecolor="none", markeredgewidth=2
)
shares = right.imshow(torch.zeros(14, 14), cmap="viridis", vmin=0, interpolation="nearest")
(cross,) = right.plot([0], [0], "x", color=viz.COLORS["vermillion"], markersize=9, markeredgewidth=2)
right.set(xticks=[], yticks=[])
right.grid(False)


@functools.lru_cache(maxsize=8)
def maps_at(t):
    """All maps at t, kept for the next drawing."""
    return attention_maps(trained, noisy(t), torch.tensor([t]), label)


def draw(layer, row, column, t):
    """The noisy digit, and where the chosen pixel looks in the chosen layer."""
    a = maps_at(t)[layer][0]  # (N, N)
    side = math.isqrt(len(a))
    i, j = row * side // 14, column * side // 14
    viz.image(left, noisy(t)[0], f"$x_t$, t = {t}")
    dot.set_data([(j + 0.5) * 28 / side - 0.5], [(i + 0.5) * 28 / side - 0.5])
    seen = a[i * side + j].reshape(side, side)
    shares.set(data=seen, extent=(-0.5, side - 0.5, side - 0.5, -0.5))
    shares.set_clim(0, float(seen.max()))
    cross.set_data([j], [i])
    right.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    right.set_title(f"where it looks; largest share {float(seen.max()):.2f}", fontsize=10)
    return fig


widgets.live(
    draw,
    layer=ipywidgets.Dropdown(options=list(maps), value="down.1.0.attention"),
    row=ipywidgets.IntSlider(8, 0, 13),
    column=ipywidgets.IntSlider(8, 0, 13),
    t=ipywidgets.IntSlider(150, 1, 1000),
    alt=lambda layer, row, column, t: (
        f"Left: the noisy digit at t = {t}, with a frame around one place of the coarse grid, row {row}, column {column}. Right: a heat map of how much that place looks at every other in layer {layer}."
    ),
)

# %% [markdown]
# ### Where it stands, and what it costs
#
# One often reads (also in the report from which this course started) that attention stands between the encoder and the decoder. In the paper's network it does, but not only there. Let the network say it:

# %%
paper = wake(build(unet.UNet.cifar10))
x32, t32 = noise(1, 3, 32, 32, seed=12), torch.tensor([500])
for name, a in attention_maps(paper, x32, t32).items():
    side = math.isqrt(a.shape[1])
    print(f"{name:22s} at {side} × {side}, map of {a.shape[1] ** 2:,} numbers")
print("the paper's resolution for it:", FACTS["attention_size"].value)

# %% [markdown]
# Five layers at $16\times16$, on the way down and on the way up, and one in the middle. Why not at $32\times32$ as well? The map has $N^2$ entries, and filling and using it takes $2N^2C$ multiplications; a $3\times3$ convolution takes $9NC^2$. Twice the side is four times the convolution, and sixteen times the map:

# %%
C = 256
print(" side   multiplications, map / convolution   memory of one map")
for side in (8, 16, 32, 64, 256):
    N = side * side
    print(f"{side:5d} {2 * N * N * C / (9 * N * C * C):28.2f} {4 * N * N / 1e6:28,.2f} MB")

# %% tags=["volatile"]
attention, convolution = build(lambda: SelfAttention(64, config)), build(lambda: conv(64, 64))
took = {}
for side in (16, 32, 64):
    x = noise(1, 64, side, side)
    took[side] = milliseconds(attention, x)
    print(f"{side:3d}²  attention {took[side]:6.1f} ms   convolution {milliseconds(convolution, x):6.1f} ms")

# %%
print(
    "from 32² to 64², four times the pixels, attention takes more than six times as long:",
    took[64] > 6 * took[32],
)

# %% [markdown]
# ## Down and up
#
# Going down, a convolution of stride 2 halves height and width: it looks at $3\times3$ pixels, then moves on by two. For an even $H$ these $H/2$ windows need $H + 1$ rows, so one row and one column of zeros must be added. The paper's framework adds them at the *bottom* and at the *right*. PyTorch's `padding=1` adds them on all sides, and the shapes are then the same.
#
# **What do you expect:** is that the same up to a name, or does it matter? A kernel that is 1 in its middle and 0 elsewhere shows which pixels the windows are centred on.

# %%
row = torch.arange(8.0).reshape(1, 1, 1, 8)
middle = torch.tensor([[[[0.0, 1.0, 0.0]]]])
print("zeros at the right:     ", F.conv2d(F.pad(row, (0, 1)), middle, stride=2).flatten().int().tolist())
print("zeros on both sides:    ", F.conv2d(F.pad(row, (1, 1)), middle, stride=2).flatten().int().tolist())

# %% [markdown]
# <details><summary>Answer</summary>
#
# With zeros on both sides each window sits one pixel further to the left, and in an image one further up. A network learns the weights that go with its own padding. Weights that were trained with the one do not fit the other, though every shape is right.
#
# </details>
#
# Here is what it does to the trained MNIST network: the same weights, the same noise, zeros on the right side and on the wrong ones.

# %%
shifted = copy.deepcopy(trained)


class OnAllSides(unet.Downsample):
    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1)))


for layer_down in shifted.downsample:
    layer_down.__class__ = OnAllSides

labels, made = torch.tensor([0, 3, 4, 8]), {}
for name, net in {"bottom, right": trained, "all sides": shifted}.items():
    chain = samplers.at_timesteps(lambda xt, t, net=net: net(xt, t, labels), tau)
    g = torch.Generator().manual_seed(1)
    made[name] = samplers.sample(chain, (4, 1, 28, 28), short, progress=False, generator=g)
viz.show(
    viz.strip(made, scale=2),
    alt="Two rows of four generated digits. With zeros at the bottom and right: a clear 0, 3, 4 and 8. With zeros on all sides: broken strokes, and in no column the digit asked for.",
)

ts, eps = torch.full((4,), 100), noise(4, 1, 28, 28, seed=16)
xt = process.q_sample(made["bottom, right"], ts, eps, its_schedule)
with torch.no_grad():
    loss, loss_shifted = ((eps - net(xt, ts, labels)).square().mean() for net in (trained, shifted))
print("at t = 100 its loss is more than 1.5 times as large:", bool(loss_shifted > 1.5 * loss))

# %% [markdown]
#
# ### Exercise 07.4: Downsample


# %%
class Downsample(nn.Module):
    """Half the height and width, the same channels. `conv` has stride 2 and adds no zeros of its own."""

    def __init__(self, channels):
        super().__init__()
        self.conv = start(nn.Conv2d(channels, channels, 3, stride=2, padding=0))

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        ### BEGIN SOLUTION
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # left, right, top, bottom
        ### END SOLUTION


# %%
Downsample = check("07.4", Downsample)
# hint("07.4")

# %% [markdown]
# Going up, each pixel becomes $2\times2$ equal ones, and a convolution smooths the blocks.


# %%
class Upsample(nn.Module):
    """Twice the height and width, the same channels."""

    def __init__(self, channels):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x):
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


brick("down", build(lambda: Downsample(128)), noise(2, 128, 32, 32))
brick("up", build(lambda: Upsample(256)), noise(2, 256, 16, 16))

# %% [markdown]
# There is a layer that goes up by itself, the transposed convolution. Why not that one? Hand both an image of ones, with all weights 1, and count how many inputs reach each pixel.

# %%
ones, kernel = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
transposed = F.conv_transpose2d(ones, kernel, stride=2, padding=1, output_padding=1)
nearest = F.conv2d(F.interpolate(ones, scale_factor=2, mode="nearest"), kernel, padding=1)
for name, out in {"transposed": transposed, "nearest, then conv": nearest}.items():
    inner = out[0, 0, 2:6, 2:6].int()
    print(f"{name}, inside:", inner.tolist()[:2], "| even:", bool((inner == inner[0, 0]).all()))

# %% [markdown]
# The transposed convolution reaches its pixels 1, 2 or 4 times by turns: a checkerboard, unless training finds weights that even it out.
#
# ## Counting channels
#
# Level $i$ of the network has `base` · $m_i$ channels: with base 128 and multipliers (1, 2, 2, 2) that is 128, 256, 256, 256. The multiplier belongs to *base*, not to the width before. The first convolution makes `base` channels of the image's 3.
#
# On the way down each level has `blocks` blocks, the first of which brings the new width, and, except for the last level, a downsampling. **Every output is kept, on a pile: that of the first convolution, of every block, and of every downsampling.**
# These are the *skips*. On the way up each level has `blocks` + 1 blocks, and each takes the topmost skip off the pile and puts it behind what it gets, so its input has the channels of both.
#
# ### Exercise 07.5: block_widths
#
# Write down $(C_{in}, C_{out})$ of all the blocks. (The two blocks in the middle keep the width, and no skip.)


# %%
def block_widths(base, multipliers, blocks):
    """Returns two lists of pairs (c_in, c_out), in the order in which the blocks run: down, and up."""
    ### BEGIN SOLUTION
    down, up, skips, channels = [], [], [base], base
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            down.append((channels, base * multiplier))
            channels = base * multiplier
            skips.append(channels)
        if level + 1 < len(multipliers):
            skips.append(channels)  # of the downsampling
    for multiplier in reversed(multipliers):
        for _ in range(blocks + 1):
            up.append((channels + skips.pop(), base * multiplier))
            channels = base * multiplier
    return down, up
    ### END SOLUTION


# %%
block_widths = check("07.5", block_widths)
# hint("07.5")

# %%
down, up = block_widths(config.base, config.multipliers, config.blocks)
print("blocks:", len(down), "down, 2 in the middle,", len(up), "up:", len(down) + 2 + len(up))
print("down:", " ".join(f"{a}→{b}" for a, b in down))
print("up:  ", " ".join(f"{a}→{b}" for a, b in up))

# %% [markdown]
# On the way up eight blocks get 512 channels. Then comes a 384: the last block of its level gets a skip that came down from the level above, which is narrower. The second 384 is the first block of the top level, to which 256 channels come from below.
#
# ## The whole U
#
# A *stage* is a block, with attention behind it where the level has it. The parts list of the network is long, but there is nothing new in it; the names are those of the package, so that weights fit both.


# %%
class Stage(nn.Module):
    """A residual block, and attention or nothing."""

    def __init__(self, c_in, c_out, width, attention, config):
        super().__init__()
        self.block = ResidualBlock(c_in, c_out, width, config)
        self.attention = SelfAttention(c_out, config) if attention else nn.Identity()

    def forward(self, x, emb):
        return self.attention(self.block(x, emb))


class Parts(nn.Module):
    """All layers of a U-Net: conv_in, down, downsample, mid1, mid2, up, upsample, norm_out, conv_out; and the embedding."""

    def __init__(self, config):
        super().__init__()
        self.config, width, n = config, 4 * config.base, config.blocks
        widths = [config.base * m for m in config.multipliers]
        down, up = block_widths(config.base, config.multipliers, n)

        def level(i, pairs):
            return nn.ModuleList(Stage(*pair, width, i in config.attention, config) for pair in pairs)

        levels, last = range(len(widths)), widths[-1]
        self.time1, self.time2 = start(nn.Linear(config.base, width)), start(nn.Linear(width, width))
        self.conv_in = conv(config.channels, config.base)
        self.down = nn.ModuleList(level(i, down[i * n : (i + 1) * n]) for i in levels)
        self.downsample = nn.ModuleList(Downsample(c) for c in widths[:-1])
        self.mid1, self.mid2 = Stage(last, last, width, True, config), Stage(last, last, width, False, config)
        self.up = nn.ModuleList(level(levels[-1 - i], up[i * (n + 1) : (i + 1) * (n + 1)]) for i in levels)
        self.upsample = nn.ModuleList(Upsample(c) for c in widths[:0:-1])
        self.norm_out, self.conv_out = (
            GroupNorm(config.groups, widths[0]),
            conv(widths[0], config.channels, scale=0.0),
        )

    def embed(self, t):
        """(B,) -> (B, 4 * base): the waves, two layers, and the SiLU with which every block would begin."""
        emb = timestep_embedding(t, self.config.base).to(self.time1.weight.dtype)
        return F.silu(self.time2(F.silu(self.time1(emb))))


# %% [markdown]
# What is left is the walk: down, with a pile of skips; through the middle; up, with the same pile. At the end *norm, SiLU, convolution* make three channels of 128. On each level of the way up the stages come first, then the upsampling, if there is one.
# The skip goes *behind* $h$: `torch.cat([h, skip], dim=1)`.
#
# ### Exercise 07.6: UNet
#
# `self.down[level]` and `self.up[level]` are lists of stages; `self.downsample` and `self.upsample` have one entry fewer than there are levels. `self.up[0]` is the lowest level. A stage is called as `stage(h, emb)`, with the same `emb = self.embed(t)` for all.


# %%
class UNet(Parts):
    """eps_theta(x_t, t)."""

    def forward(self, xt, t):
        """xt: (B, C, H, W), t: int64 (B,). Returns eps_hat, shaped as xt."""
        ### BEGIN SOLUTION
        emb = self.embed(t)
        h = self.conv_in(xt)
        skips = [h]
        for level, stages in enumerate(self.down):
            for stage in stages:
                h = stage(h, emb)
                skips.append(h)
            if level < len(self.downsample):
                h = self.downsample[level](h)
                skips.append(h)
        h = self.mid2(self.mid1(h, emb), emb)
        for level, stages in enumerate(self.up):
            for stage in stages:
                h = stage(torch.cat([h, skips.pop()], dim=1), emb)
            if level < len(self.upsample):
                h = self.upsample[level](h)
        return self.conv_out(F.silu(self.norm_out(h)))
        ### END SOLUTION


# %%
UNet = check("07.6", UNet)
# hint("07.6")

# %% [markdown]
# Assemble it, at the paper's size.

# %%
mine = build(lambda: UNet(config), seed=1).eval()
brick("the whole network", mine, x32, t32)


def count_by_part(net):
    """{part: how many parameters}."""
    return {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}


total = sum(count_by_part(mine).values())
for name, count in count_by_part(mine).items():
    print(f"{name:12s} {count:12,} {count / total:7.1%}")
print(f"{'all':12s} {total:12,}")
print(
    "part by part as in the package's:",
    count_by_part(mine) == count_by_part(paper),
)
assert total == FACTS["cifar10_parameters"].value == paper.parameter_count()

# %% [markdown]
# 35,746,307, to the last one. The way up has more than the whole rest, since it has three blocks a level and not two, and most of them take twice the channels in.
#
# The same count does not make it the same function. So give both networks the same weights, and compare answers. With new weights that would test nothing, since both would answer exactly 0 (see the last section), so `paper` was woken above: none of its layers is zero.

# %%
mine.load_state_dict(paper.state_dict())  # strict: every name and every shape must fit
with torch.no_grad():
    yours, theirs = mine(x32, t32), paper(x32, t32)
print("the answer is not zero:", bool(theirs.std() > 0.1), "| its shape:", tuple(theirs.shape))
print("your network and the package's agree:", torch.allclose(yours, theirs, rtol=1e-3, atol=1e-4))
assert theirs.std() > 0.1 and torch.allclose(yours, theirs, rtol=1e-3, atol=1e-4)

# %% [markdown]
# And the package's? It is held to the network that many people use, `UNet2DModel` of the library *diffusers*: `ddpm_lite.interop` renames the weights, and the course's tests compare both networks in `float64` (largest difference below $10^{-10}$ of the answer). The course itself does not need that library. Where it happens to be installed, the next cell makes the comparison, in `float32`; else it says that it did not.

# %% tags=["volatile"]
from ddpm_lite import interop

if importlib.util.find_spec("diffusers"):
    reference = importlib.import_module("diffusers").UNet2DModel(**interop.diffusers_config(config)).eval()
    reference.load_state_dict(interop.to_diffusers(mine.state_dict(), config))
    with torch.no_grad():
        difference = (reference(x32, t32).sample - yours).abs().max() / yours.abs().max()
    print(f"your network against UNet2DModel: largest difference {difference:.0e} of the largest answer")
    print(f"parameters of UNet2DModel: {sum(p.numel() for p in reference.parameters()):,}")
    del reference
else:
    print("diffusers is not installed here: nothing was compared.")

# %% [markdown]
# Now the stopwatch. Processor time depends on the machine, so these are yours only if you run the cell. (The whole network was given one image, a brick two images.) What costs much?

# %% tags=["volatile"]
for name, spent in clock.items():
    print(f"{name:18s} {spent:8.2f} ms")

# %% [markdown]
# ## The diagram, drawn by the network itself
#
# A diagram drawn by hand shows what somebody believes of a network. Ours is drawn from a run. A hook on every brick notes what goes in and what comes out. And the skips we do not have to be told either:
# the last channels of what goes into a block on the way up must be, bit by bit, something that came out of a brick before. We search for it.

# %%
BRICK = r"conv_in|conv_out|mid\d|(down|up)\.\d+\.\d+|(down|up)sample\.\d+"


@torch.no_grad()
def trace(net, xt, t):
    """Run a U-Net: [(brick, shape in, shape out, the brick whose output is its skip, or None)], in the order of the run."""
    notes = []
    with listening(net, BRICK, lambda name, x, out: notes.append((name, x, out))):
        net(xt, t)
    rows, h = [], None
    for i, (name, x, out) in enumerate(notes):
        extra = (
            x[:, h.shape[1] :] if name.startswith("up.") else x[:, :0]
        )  # what is more than came from below
        skip = [other for other, _, kept in notes[:i] if extra.numel() and torch.equal(kept, extra)]
        rows.append((name, tuple(x.shape[1:]), tuple(out.shape[1:]), skip[-1] if skip else None))
        h = out
    return rows


def text(shape):
    """(128, 32, 32) -> "128×32×32"."""
    return "×".join(map(str, shape))


rows = trace(mine, x32, t32)
for name, into, out, skip in rows:
    print(f"{name:13s} {text(into):>9s} → {text(out):9s}" + (f" with {skip}" if skip else ""))


# %% [markdown]
# What follows only draws; there is nothing to learn from it about networks.


# %%
def places(rows):
    """Where to draw each brick: down at the left, up at the right, each skip level with the brick that gives it."""
    givers, place, x, y = {skip for *_, skip in rows if skip}, {}, 0.0, 0.0
    for name, _, _, skip in rows:
        if name in givers:
            y -= 1.8 if "sample" in name else 1.0
            x = 0.0
        elif name.startswith("mid"):
            x, y = (0.3, y - 1.2) if name == "mid1" else (0.7, y)
        else:
            x, y = 1.0, place[skip][1] if skip else y + 0.9
        place[name] = (x, y)
    return place


def draw_unet(ax, rows, attention):
    """The U, from a trace. attention: the names of the bricks that have it."""
    ax.clear()
    place, shapes = places(rows), {name: out for name, _, out, _ in rows}
    low = min(y for _, y in place.values())
    ax.set(xlim=(-0.25, 1.25), ylim=(low - 0.6, 1.2))
    ax.axis("off")

    def arrow(a, b, label, color, shift, **how):
        at = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
        ax.annotate("", b, a, arrowprops={"arrowstyle": "->", "color": color})
        ax.annotate(label, at, shift, textcoords="offset points", fontsize=7.5, color=viz.INK, **how)

    left, right = {"ha": "right", "va": "center"}, {"ha": "left", "va": "center"}
    above = {"ha": "center", "va": "bottom"}
    steps = [("in", rows[0][1]), *((name, out) for name, _, out, _ in rows), ("out", None)]
    place |= {"in": (0.0, place["conv_in"][1] + 1), "out": (1.0, place["conv_out"][1] + 1)}
    ends = {"in": "$x_t$ ", "conv_out": r"$\hat\varepsilon$ "}
    for (one, shape), (two, _) in itertools.pairwise(steps):
        (x1, y1), (x2, y2), label = place[one], place[two], ends.get(one, "") + text(shape)
        if x1 == x2:
            gap = 0.25 if y2 > y1 else -0.25
            arrow(
                (x1, y1 + gap),
                (x2, y2 - gap),
                label,
                viz.MUTED,
                (8 if x1 else -8, 0),
                **(right if x1 else left),
            )
        elif y1 == y2:
            arrow((x1 + 0.12, y1), (x2 - 0.06, y2), label, viz.MUTED, (0, 3), **above)
        elif y2 < y1:
            arrow((x1 + 0.04, y1 - 0.3), (x2 - 0.12, y2), label, viz.MUTED, (-10, -4), **left)
        else:
            arrow((x1 + 0.06, y1), (x2 - 0.04, y2 - 0.3), label, viz.MUTED, (10, -4), **right)
    for *_, skip in rows:
        if skip:
            (_, y), label = place[skip], text(shapes[skip])
            arrow((0.14, y), (0.86, y), label, viz.COLORS["sky"], (0, 1), **above)
    for name in shapes:
        kind = next(c for c in ("sample", "conv", "mid", "down", "up") if c in name)
        fill = {
            "sample": "#444444",
            "conv": "#8A4F7D",
            "mid": "#9A5B00",
            "down": viz.COLORS["blue"],
            "up": "#00734F",
        }[kind]
        label = name + (" + attention" if name in attention else "")
        box = {"boxstyle": "round,pad=0.3", "facecolor": fill, "edgecolor": "none"}
        ax.text(*place[name], label, ha="center", va="center", fontsize=7.5, color="white", bbox=box)


def with_attention(net):
    """The names of the bricks that have attention."""
    return [name.removesuffix(".attention") for name, layer in net.named_modules() if hasattr(layer, "q")]


fig, ax = viz.figure(8.0, 6.9)
draw_unet(ax, rows, with_attention(mine))
viz.show(
    fig,
    alt="The U-Net as it ran. At the left, downwards: conv_in, then two blocks a level with a downsampling after each of the first three levels, from 128 channels of 32 by 32 to 256 channels of 4 by 4. At the bottom the two middle blocks. At the right, upwards: three blocks a level with an upsampling between levels, up to conv_out. Twelve blue arrows run level from each brick at the left to a block at the right. Both blocks at 16 by 16 on the left, all three on the right, and the first middle block have attention.",
)

# %% [markdown]
# Twelve skips, for twelve blocks on the way up: the first convolution, eight blocks and three downsamplings. Each block on the way up is drawn level with the brick whose output it gets. That the way up then runs straight up, block by block, is the pile: what was put on last is taken first.
# (Not drawn: every block, down, in the middle and up, is also given the 512 numbers of the time.)
#
# The same for a network of your own. What is drawn is traced from a run of a narrow one; the number in the title is that of the full width, 128. Attention at level 0 is at full resolution; a level that is not there counts as the lowest. (It needs a running kernel.)

# %% tags=["nbval-ignore-output"]
dial, dial_ax = viz.figure(8.0, 6.9)


def draw_dial(levels, blocks, attention):
    """The diagram of a network with so many levels and blocks, and attention at one level (0: full resolution)."""
    shape = {
        "multipliers": (1, 2, 2, 2)[:levels],
        "blocks": blocks,
        "attention": (min(attention, levels - 1),),
    }
    net = wake(build(lambda: unet.UNet(UNetConfig(base=8, groups=4, **shape))))
    draw_unet(dial_ax, trace(net, x32, t32), with_attention(net))
    with torch.device("meta"):  # counts without memory
        count = unet.UNet(UNetConfig(**shape)).parameter_count()
    dial_ax.set_title(f"drawn with base 8; with base 128 it has {count:,} parameters", fontsize=10)
    return dial


widgets.live(
    draw_dial,
    levels=ipywidgets.IntSlider(3, 1, 4),
    blocks=ipywidgets.IntSlider(1, 1, 2),
    attention=ipywidgets.IntSlider(1, 0, 3, description="attention at level"),
    alt=lambda levels, blocks, attention: (
        f"The diagram of a U-Net with {levels} level{'s'[: levels > 1]}, {blocks} block{'s'[: blocks > 1]} a level on the way down and {blocks + 1} on the way up, and attention at level {min(attention, levels - 1)} and in the middle."
    ),
)

# %% [markdown]
# ## What one pixel can see
#
# The *receptive field* of a feature is the part of the input that it can depend on. For convolutions it can be computed. Let one step on a feature map be $j$ pixels of the image; a $3\times3$ convolution then makes the field wider by $2j$, and a downsampling by $2j$ too, and doubles $j$.
#
# It can also be measured: the gradient of one feature with respect to the image is zero outside of the field, and (with random weights) not zero inside. We do both, all the way down, for the centre of an image of $256\times256$.
# The field does not depend on the number of channels, so a narrow network serves. And normalisation and attention are taken out for now. You will see why.


# %%
def only_convolutions(net):
    """Put nothing in the place of every normalisation and attention."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (nn.GroupNorm, unet.SelfAttention)):
                setattr(module, name, nn.Identity())
    return net


def fields(net, size=256):
    """Measure: {brick: (height, width) of what its centre sees}, from conv_in to mid2."""
    out = {}
    image = noise(1, 3, size, size, seed=13).double().requires_grad_()
    with listening(
        net, r"conv_in|mid\d|down\.\d+\.\d+|downsample\.\d+", lambda name, x, h: out.update({name: h})
    ):
        net(image, t32)
    seen = {}
    for name, h in out.items():
        centre = h[0, :, h.shape[2] // 2, h.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, image, retain_graph=True)
        reached = (gradient != 0).any(dim=1)[0]  # (H, W)
        seen[name] = int(reached.any(dim=1).sum()), int(reached.any(dim=0).sum())
    return seen


narrow = UNetConfig(base=8, groups=4)
measured = fields(only_convolutions(wake(build(lambda: unet.UNet(narrow)))).double())

field, j, computed = 1, 1, {}
for name in measured:
    field += 2 * j * (1 if "conv" in name or "sample" in name else 2)  # a block has two convolutions
    j *= 2 if "sample" in name else 1
    computed[name] = field
for name in measured:
    print(f"{name:13s} computed {computed[name]:4d}   measured {measured[name][0]:4d} × {measured[name][1]}")
print("the same, everywhere:", all(measured[name] == (computed[name],) * 2 for name in measured))
assert all(measured[name] == (computed[name],) * 2 for name in measured)

# %% [markdown]
# From the second downsampling on the field is wider than a CIFAR-10 image, which has 32 pixels. Most of the growth is at the bottom: one convolution at $4\times4$ does for the field what eight do at $32\times32$. This is what going down is for.
#
# **What do you expect?** Now with normalisation and attention back in. How far does the very first block see, the one at full resolution without attention?
#
# <details><summary>Answer</summary>
#
# The whole image, since each mean and variance of its normalisation is taken over all pixels. But it gets only two numbers a group that way.
#
# </details>

# %%
whole = fields(wake(build(lambda: unet.UNet(narrow))).double(), size=64)
print("of 64 pixels, conv_in sees", whole["conv_in"][0], "and the first block", whole["down.0.0"][0])

# %% [markdown]
# *Can see* is not *looks at*. So ask a trained network: how strongly does its answer for the middle pixel depend on each pixel of $x_t$? That is a gradient again, this time of the MNIST network, its square averaged over eight draws of the noise. From $t = 30$ on the middle pixel itself counts for more than all others together (if its $x_t$ changes, that is mostly the very noise that is asked for), so it is kept apart.


# %%
def influence(t, told=None, pixel=14):
    """E (d eps_hat[pixel, pixel] / d x_t)^2 as shares: of the pixel itself in the whole, and of the others among them (28, 28). told: the t that the network is given, if it is another."""
    ts = torch.full((8,), t)
    xt = process.q_sample(
        digit.expand(8, -1, -1, -1), ts, noise(8, 1, 28, 28, seed=14), its_schedule
    ).requires_grad_()
    eps_hat = trained(xt, torch.full((8,), told or t), label.expand(8))
    (gradient,) = torch.autograd.grad(eps_hat[:, 0, pixel, pixel].sum(), xt)
    out = gradient.square().mean(dim=0)[0]
    own = float(out[pixel, pixel] / out.sum())
    out[pixel, pixel] = 0
    return own, out / out.sum()


away = (torch.arange(28) - 14).square()
away = (away[:, None] + away).sqrt()  # (28, 28): how far each pixel is from the middle one
times = [1, 10, 30, 60, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
own, others = zip(*map(influence, times), strict=True)
reach = {t: float((out * away).sum()) for t, out in zip(times, others, strict=True)}
print("from t = 30 on the pixel itself has more than half:", min(own[2:]) > 0.5)
print("mean distance of what it looks at, t = 30: below 2 pixels:", reach[30] < 2)
print("t = 500: above 2.5 pixels:", reach[500] > 2.5)
print("t = 900: above 5 pixels:", reach[900] > 5)
print("but there all others together have less than a hundredth:", own[times.index(900)] > 0.99)
fooled = float((influence(700, told=30)[1] * away).sum())
print("x_t of t = 700: above 4 pixels; the same, told that t is 30: below 2:", reach[700] > 4 and fooled < 2)

# %%
frames = [
    torch.stack([noisy(t)[0].clamp(-1, 1), 2 * (out / out.max()).sqrt()[None] - 1])  # (2, 1, 28, 28)
    for t, out in zip(times, others, strict=True)
]
widgets.scrubber(
    torch.stack(frames),
    [f"t = {t}" for t in times],
    ncol=2,
    scale=7,
    fps=4,
    alt="Left: the digit in growing noise. Right: how strongly the network's answer for the middle pixel depends on the pixels around it. At small t only the nearest few count; as t grows the patch spreads, and from t = 800 on a faint veil lies over the whole image, around a bright spot in the middle.",
)

# %% [markdown]
# One network, and at each $t$ another reach. With little noise it asks the nearest neighbours. With much noise no single neighbour can be trusted: each has little say, and it asks many, far away too. The skips are the short way for the one, the depths for the other.
# How far it looks is not only read off the image: given the $x_t$ of $t = 700$ and told that $t$ is 30, it asks the neighbours.
#
# ## Why the last layers start at zero
#
# Three kinds of layers begin with weights 0: the last convolution of each block, the last projection of each attention, and the convolution at the end. (The published code scales them by $10^{-10}$, which is as good as zero; we take 0 itself.) What follows from that?

# %%
fresh = build(unet.UNet.cifar10).eval()


@torch.no_grad()
def spread_by_brick(net):
    """The standard deviation of what each brick gives, in the order of the run."""
    out = []
    with listening(net, BRICK, lambda name, x, h: out.append(float(h.std()))):
        answer = net(x32, t32)
    return out, answer


calm, answer = spread_by_brick(fresh)
loud, loud_answer = spread_by_brick(paper)  # the woken one: the same start for all layers
eps = noise(1, 3, 32, 32, seed=15)
with torch.no_grad():
    h = fresh.conv_in(x32)
    print(
        "a fresh block answers with its input, exactly:",
        torch.equal(fresh.down[0][0](h, fresh.embed(t32, None)), h),
    )
print("a fresh network answers 0 everywhere:", not answer.any())
print(
    "zeros: before the last brick the signal stays within a factor of 2.5:",
    max(calm[:-1]) < 2.5 * min(calm[:-1]),
)
print("no zeros: it grows more than eightfold:", max(loud) > 8 * loud[0])
print(
    f"so its loss is the mean square of the noise, {float((eps - answer).square().mean()):.1f}, and not {float((eps - loud_answer).square().mean()):.1f}"
)

fig, ax = viz.figure(7.0, 2.6)
ax.plot(calm, "o-", markersize=3, label="last layers zero")
ax.plot(loud, "s-", markersize=3, label="no layer zero")
ax.set(xlabel="brick, in the order of the run", ylabel="standard deviation", ylim=(0, None))
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="The standard deviation of the features along the thirty bricks. With zero last layers it stays between 0.1 and 0.3 and ends at 0. Without, it climbs from 0.2 to about 2, and falls to 0.8 at the last convolution.",
)

# %% [markdown]
# Every block begins as the identity (or as its shortcut). Through all thirty bricks the signal roughly keeps its size, and the first answer is 0, the mean of the noise: the best guess of one who knows nothing.
#
# But can a layer of zeros learn? **What do you expect:** how many of the network's tensors have a gradient that is not zero at the first step of training? At the second? The third?
#
# <details><summary>Answer</summary>
#
# At the first step two: weight and bias of the last convolution, since whatever stands before it is multiplied by its zeros. After one step these are zeros no more, and the gradient reaches the other zero layers, and what lies on the direct way. After two steps it reaches everything.
#
# </details>

# %%
tiny = UNetConfig(channels=1, base=16, multipliers=(1, 2), blocks=1, attention=(1,), groups=4, dropout=0.0)


def noisy_batch(g, size=64):
    """x_t, t and eps for a batch of digits."""
    x0 = digits[torch.randint(len(digits), (size,), generator=g)]
    t, eps = torch.randint(1, 1001, (size,), generator=g), torch.randn(x0.shape, generator=g)
    return process.q_sample(x0, t, eps, schedule), t, eps


def train(net, steps):
    """Adam on the simple loss. Yields the loss after each backward pass, before the step is made."""
    g, adam = torch.Generator().manual_seed(0), torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(steps):
        xt, t, eps = noisy_batch(g)
        loss = (eps - net(xt, t)).square().mean()
        adam.zero_grad()
        loss.backward()
        yield loss.item()
        adam.step()


net = build(lambda: unet.UNet(tiny))
# A constant added to all keys changes no attention weight: the gradient of that bias is 0 but for rounding.
tensors = [p for name, p in net.named_parameters() if not name.endswith("attention.k.bias")]
for step, _ in enumerate(train(net, 3), 1):
    reached = sum(bool(p.grad.any()) for p in tensors)
    print(f"step {step}: {reached} of {len(tensors)} tensors have a gradient")

# %% [markdown]
# Does it pay? Sixty steps with and without, twice, from different seeds, with the same batches.

# %% tags=["volatile"]
curves = {"last layers zero": [], "no layer zero": []}
for seed in (0, 1):
    curves["last layers zero"].append(list(train(build(lambda: unet.UNet(tiny), seed), 60)))
    curves["no layer zero"].append(list(train(wake(build(lambda: unet.UNet(tiny), seed)), 60)))
for name, runs in curves.items():
    print(
        f"{name:17s} first loss {runs[0][0]:.2f}, {runs[1][0]:.2f}   mean of the last ten {sum(runs[0][-10:]) / 10:.2f}, {sum(runs[1][-10:]) / 10:.2f}"
    )

# %%
ends = {name: [sum(run[-10:]) / 10 for run in runs] for name, runs in curves.items()}
print(
    "after 60 steps the loss is at least a tenth lower with zeros, both times:",
    max(ends["last layers zero"]) < 0.9 * min(ends["no layer zero"]),
)

# %% [markdown]
# A small network, a short run, and two seeds: it shows a better start, not a better end.
#
# ## Recap
#
# | brick | what it is for | what goes wrong |
# |---|---|---|
# | time | fast waves tell neighbours apart, slow ones the rough place | one more or one fewer SiLU |
# | group norm | even inputs, each image by itself | batch statistics mix images, and mix $t$ |
# | block | most of the work; the time is added between its convolutions | no shortcut, or the time after the norm |
# | attention | every pixel looks at every pixel; six layers, five of them at $16\times16$ | no $\sqrt C$; reshape for transpose |
# | down, up | cheap long sight | zeros on the wrong side |
# | skips | fine detail for the way up: last in, first out, behind $h$ | one too few, or the wrong width |
# | zeros | every block begins as the identity | comparing two fresh networks, which both answer 0 |
#
# Before you go: without looking, write down the four lines of the residual block.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# **How much network does a task need?** Take the dial above, and the digits.
#
# 1. Write a function that gives the number of parameters of one residual block from $C_{in}$, $C_{out}$ and the width of `emb`, check it against PyTorch, and with it and `block_widths` explain the 35,746,307 to the last one.
# 2. The way up has more parameters than all the rest. Replace the concatenation by an addition where the widths agree. How many parameters does that save? Train both small networks for 500 steps on the digits, with three seeds: is the difference larger than that between seeds?
# 3. Remove one kind of brick at a time (attention, the skips, the time) and do the same. Which one costs most at which $t$? (Measure the loss in five bins of $t$.)
#
# <!-- BEGIN SOLUTION -->
# 1. A block has the norms $2C_{in} + 2C_{out}$, the convolutions $9C_{in}C_{out} + C_{out}$ and $9C_{out}^2 + C_{out}$, the time $E\,C_{out} + C_{out}$ and, if $C_{in} \ne C_{out}$, the shortcut $C_{in}C_{out} + C_{out}$; with $E = 512$. An attention layer of width $C$ has $2C + 4(C^2 + C)$, a down- or upsampling $9C^2 + C$. The next cell adds it all up.
# 2. With addition $C_{in}$ is the width of the level wherever it equals that of the skip, so the first convolution is half as large and the shortcut goes away. A good answer reports mean and range over the seeds, says that both networks saw the same batches, and does not call a difference real that is smaller than the range.
# 3. Without the time the loss rises most at both ends of the scale, where the right answer differs most from the average one; without skips at small $t$, where single pixels matter; attention matters least on images of 8 × 8, where the convolutions see everything anyway. (These are expectations, to be held against one's own measurement.)
# <!-- END SOLUTION -->


# %% tags=["solution-only"]
def block_size(c_in, c_out, E=512):
    """Parameters of one residual block."""
    shortcut = c_in * c_out + c_out if c_in != c_out else 0
    return 2 * (c_in + c_out) + 9 * c_in * c_out + 9 * c_out**2 + 2 * c_out + E * c_out + c_out + shortcut


down, up = block_widths(128, (1, 2, 2, 2), 2)
pieces = {
    "time": 128 * 512 + 512 + 512 * 512 + 512,
    "blocks": sum(block_size(*pair) for pair in [*down, (256, 256), (256, 256), *up]),
    "attention": 6 * (2 * 256 + 4 * (256**2 + 256)),
    "down and up": sum(9 * c * c + c for c in (128, 256, 256, 256, 256, 256)),
    "both ends": (27 * 128 + 128) + 2 * 128 + (27 * 128 + 3),
}
for name, count in pieces.items():
    print(f"{name:12s} {count:12,}")
print(f"{'all':12s} {sum(pieces.values()):12,}")
assert sum(pieces.values()) == FACTS["cifar10_parameters"].value
