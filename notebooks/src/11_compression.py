# %% [markdown]
# # 11 · Progressive coding, lossy compression, interpolation
#
# {{ colab }}
#
# The bound of chapter 04 is a number of bits. Bits of what? Of a message. In this chapter we take that at its word: someone sends an image through the chain, someone else decodes it, and we count.
# First with the bill that the theory makes out, for a trained network and for every step. Then with a codec that really sends: strings of 0 and 1, measured with `len()`, and every grey level decoded as it was.
# On the way we learn what a diffusion model does first, what it does last, and what it spends its bits on.
#
# | | |
# |---|---|
# | **You will** | work out the price of each step · draw the rate–distortion curve, and see where most bits go · watch an image arrive · send samples by minimal random coding, and images by a codec of your own · let images share a latent · walk between two images, and find what the paper's formula for it misprints · see that an autoregressive model is a special case |
# | **Time** | 60 minutes |
# | **You need** | chapters 03, 04 and 05 (posterior, bound, $L_0$); bits and the logarithm to base 2 |
# | **Equations** | the paper's (5), (13), (15), (16), sections 4.3 and 4.4 |

# %%
# {{ setup }}
import math

import torch

from ddpm_lite import (
    checkpoints,
    coding,
    data,
    exact,
    losses,
    metrics,
    paper,
    process,
    results,
    schedules,
    viz,
    widgets,
)
from ddpm_lite.exercises import check, hint

LN2 = math.log(2)


def seeded(seed):
    """A random generator of its own."""
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# ## A sender and a receiver
#
# The sender has an image $x_0$. Both have the trained network. What the sender says is the chain, from noise to image:
#
# > **Sender**: draw $x_T \sim q(x_T \mid x_0)$ and send it. For $t = T, \ldots, 2$: draw $x_{t-1} \sim q(x_{t-1} \mid x_t, x_0)$ and send it. Send $x_0$, given $x_1$.<br>
# > **Receiver**: at every step, knows $x_t$, so knows $p_\theta(x_{t-1} \mid x_t)$: what is to be expected next. Receives $x_{t-1}$.
#
# These are algorithms 3 and 4 of the paper in our words. What makes it work is a fact that sounds too good: a *sample* of $q$ can be sent to someone who expects $p$ for about $\mathrm{KL}(q \,\|\, p)$ nats,
# however many digits the sample has. Further down we build that. For now we take it as given, and add up. The bill is the bound (5), term by term:
#
# $$\underbrace{\mathrm{KL}(q(x_T|x_0)\,\|\,p(x_T))}_{L_T:\ \text{send } x_T} + \sum_{t>1}\underbrace{\mathrm{KL}(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t))}_{L_{t-1}:\ \text{send } x_{t-1}} \underbrace{-\log p_\theta(x_0|x_1)}_{L_0:\ \text{send } x_0} \tag{5}$$

# %%
names = ("mnist", "fashion_mnist")
models = {name: checkpoints.load(name)[0] for name in names}  # both were trained on the paper's schedule
schedule = checkpoints.load("mnist")[1]
held_out = {name: data.from_uint8(metrics.heldout(name)[0]) for name in names}  # (64, 1, 28, 28) each

D = 28 * 28
print(
    "images kept aside:", tuple(held_out["mnist"].shape), "| as they are:", 8 * D, "bits an image, 8 a pixel"
)
viz.show(
    viz.grid(torch.cat([held_out[name][:8] for name in names]), ncol=8, scale=2),
    alt="Eight handwritten digits and, below, eight pieces of clothing: images that no network here was trained on.",
)

# %% [markdown]
# ## The price of one step
#
# Let both Gaussians have the same variance, that of the posterior, $\tilde\beta_t$ (the paper allows it, section 3.2). Then the logarithms and traces of the KL cancel, and only the distance of the means is left:
#
# $$L_{t-1} = \frac{\lVert \tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t) \rVert^2}{2\tilde\beta_t}\ \text{nats} .$$
#
# Divide by $\ln 2$ for bits, and by $D$, the number of values in an image, for bits per dimension.
#
# ### Exercise 11.1: step_bits


# %%
def step_bits(mu_tilde, mu_theta, t, schedule):
    """L_{t-1} in bits per dimension, (B,). The two means: (B, ...), t: int64 (B,), 2..T. Both variances are beta_tilde_t."""
    ### BEGIN SOLUTION
    squares = (mu_tilde - mu_theta).square().flatten(1).mean(dim=1)  # (B, ...) -> (B,)
    return squares / (2 * LN2 * schedule.beta_tilde[t].to(squares.dtype))
    ### END SOLUTION


# %%
step_bits = check("11.1", step_bits)
# hint("11.1")

# %% [markdown]
# **What do you expect?** Which step costs the most: one at $t = 900$, where the image comes out of nothing; one at 300, where it becomes a digit; or one at 2, where nobody sees a difference?
#
# <details><summary>Answer</summary>
#
# The last, by far. At small $t$ the posterior is very narrow ($\tilde\beta_2$ is 0.00005), so a tiny error of $\hat x_0$ is many widths. And there are $D$ values to get right, each of them.
# At large $t$ the posterior is wide, and there is little to say: "roughly this way".
#
# </details>


# %%
def look(model, x0, t, seed):
    """x_t of x0 at level t, the network's x0_hat, and the price of the next step in bits/dim, (B,); for t = 1 that is L_0."""
    ts, eps = torch.full((len(x0),), t), torch.randn(x0.shape, generator=seeded(seed))
    with torch.no_grad():
        xt = process.q_sample(x0, ts, eps, schedule)
        x0_hat = losses.predict(model, xt, ts, schedule)  # held to [-1, 1]
    if t == 1:
        sigma2 = float(losses.posterior_variance(schedule)[1])
        return xt, x0_hat, -losses.discretised_log_prob(x0, x0_hat, sigma2).flatten(1).mean(dim=1) / LN2
    means = (process.q_posterior(x, xt, ts, schedule)[0] for x in (x0, x0_hat))
    return xt, x0_hat, step_bits(*means, ts, schedule)


few = held_out["mnist"][:8]
for t in (900, 300, 2):
    print(
        f"t = {t:3d}   to send x_{t - 1} given x_{t}: {look(models['mnist'], few, t, seed=t)[2].mean():.4f} bits/dim"
    )

eps, t = torch.randn(few.shape, generator=seeded(300)), torch.full((8,), 300)
with torch.no_grad():
    nats = losses.term_nats(models["mnist"], few, t, schedule, variance="beta_tilde", clip=True, eps=eps)
same = torch.allclose(nats / D / LN2, look(models["mnist"], few, 300, seed=300)[2], rtol=1e-3)
print("the same as the term of the bound:", same)
assert same

# %% [markdown]
# ## Bits received so far
#
# The receiver gets $x_T$ first. When they hold $x_t$, they have paid for $x_T$ and for the steps $T, T-1, \ldots, t+1$. That sum is the *rate* at $t$:
#
# $$R_t = L_T + \sum_{s=t+1}^{T} L_{s-1} , \qquad R_T = L_T, \quad R_0 = \text{everything} .$$
#
# ### Exercise 11.2: bits_so_far
#
# `terms[:, s - 1]` holds $L_{s-1}$, so `terms[:, 0]` is $L_0$.


# %%
def bits_so_far(prior, terms):
    """R_t at index t, (B, T+1). prior: (B,), L_T; terms: (B, T), terms[:, s-1] is L_{s-1}."""
    ### BEGIN SOLUTION
    tail = terms.flip(1).cumsum(dim=1).flip(1)  # (B, T)
    nothing = torch.zeros_like(terms[:, :1])  # x_T itself: no step yet
    return prior[:, None] + torch.cat([tail, nothing], dim=1)
    ### END SOLUTION


# %%
bits_so_far = check("11.2", bits_so_far)
# hint("11.2")

# %% [markdown]
# A thousand steps for more than a hundred images are too many for a lesson. `tools/rate_distortion.py` has made them once, for both networks and 128 test images, and stored the mean of each term: of all images in the first 40 steps, where most bits are, and of 32 of them, taken in turn, in each later step.
# We load that, and then check a part of it here, on 16 of those images and with other noise.

# %%
stored = results.load("rate_distortion")
assert stored["variance"] == "beta_tilde" and stored["clip"]
terms, errors, mse = (
    {name: torch.tensor(stored["sets"][name][key], dtype=torch.float64) for name in names}
    for key in ("terms", "errors", "mse")
)  # (1000,) each, entry t - 1 for t
rate = {
    name: bits_so_far(torch.tensor([stored["sets"][name]["prior"]], dtype=torch.float64), terms[name][None])[
        0
    ]
    for name in names
}  # (1001,)
print("made by:", stored["command"])
for name in names:
    print(
        f"{name:14s} rate {rate[name][1]:.2f} + distortion {terms[name][0]:.2f} = {rate[name][0]:.2f} bits/dim, from {stored['sets'][name]['images']} images"
    )
print(
    f"the paper, CIFAR-10: {paper.FACTS['rate_bpd'].value} + {paper.FACTS['distortion_bpd'].value} bits/dim"
)

# %%
checked = (2, 10, 50, 150, 400)
far = []
for name in names:
    for t in checked:
        bits = look(models[name], held_out[name][-16:], t, seed=77 + t)[2].double()
        own, other = bits.std() / 4, errors[name][t - 1]  # standard errors of the two means: 16 images here
        far.append(float((bits.mean() - terms[name][t - 1]).abs() / torch.hypot(own, other)))
print("recomputed here:", len(far), "terms | all within 4 standard errors of what is stored:", max(far) < 4)
assert max(far) < 4

# %% [markdown]
# ## What the receiver sees
#
# At any moment the receiver can stop, and look at the best guess so far:
#
# $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}} . \tag{15}$$
#
# How far it is from the image is the *distortion*: the root of the mean square error, on the scale of grey levels, 0 … 255. (The paper gives the root for one image and does not say how it averages over images. We take the mean over images before the root.)
#
# ### Exercise 11.3: rmse_255


# %%
def rmse_255(x0_hat, x0):
    """The distortion of all the images together, one number on the scale 0..255. x0_hat is held to [-1, 1] first; x0: (B, ...)."""
    ### BEGIN SOLUTION
    return 127.5 * (x0_hat.clamp(-1, 1) - x0).square().mean().sqrt()
    ### END SOLUTION


# %%
rmse_255 = check("11.3", rmse_255)
# hint("11.3")

# %% [markdown]
# ## The rate–distortion curve
#
# Now both together: as the reverse process goes on, bits are added and the error falls.

# %%
distortion = {name: 127.5 * mse[name].sqrt() for name in names}  # (1000,), entry t - 1 for t
close = [
    float(
        rmse_255(look(models["mnist"], held_out["mnist"][:32], t, seed=t)[1], held_out["mnist"][:32])
        / distortion["mnist"][t - 1]
    )
    for t in (5, 100, 300)
]
print("recomputed here, within 15 % of what is stored:", all(abs(ratio - 1) < 0.15 for ratio in close))

fig, axes = viz.figure(8.2, 2.5, ncols=3)
done = 1001 - torch.arange(1, 1001).double()  # reverse steps made when x_t is there: 1000 at t = 1
fours = {
    name: 127.5 * mse[name].reshape(250, 4).mean(dim=1).sqrt() for name in names
}  # four t together have all images
for name, line in zip(names, ("-", "--"), strict=True):
    axes[0].plot(done.reshape(250, 4).mean(dim=1), fours[name], line, label=name)
    axes[1].plot(done, rate[name][1:], line)
    axes[2].plot(rate[name][1:], distortion[name], line)
axes[0].set(xlabel="reverse steps made", title="distortion, of 255")
axes[1].set(xlabel="reverse steps made", title="rate, bits/dim")
axes[2].set(xlabel="rate, bits/dim", title="distortion over rate")
axes[0].legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Three panels for MNIST and Fashion-MNIST. Distortion falls over the reverse steps from over 110 to below 1, with some noise at first and then evenly. The rate stays near 0 for most of the chain and shoots up in the last hundred steps. Distortion over rate: a steep fall at the left, then a long flat tail.",
)

# %% [markdown]
# The paper's Table 4 and ours, at the same number of steps. The row of 1000 is $t = 1$.

# %%
print("rate in bits/dim, and RMSE of 255")
print("steps   CIFAR-10 (paper)       MNIST           Fashion-MNIST")
for made, their_rate, their_rmse in paper.TABLE_4:
    t = 1001 - made
    ours = "   ".join(f"{rate[name][t]:.4f}, {distortion[name][t - 1]:5.2f}" for name in names)
    print(f"{made:5d}   {their_rate:.4f}, {their_rmse:6.2f}         {ours}")

late = {name: float(1 - rate[name][50] / rate[name][0]) for name in names}
print("\nof all the bits, L_0 among them, this share comes after t = 50:")
for name in names:
    print(
        f"{name:14s} {late[name]:.0%}, and at t = 50 the error is {distortion[name][49]:.1f} grey levels of 255"
    )
assert all(share > 0.75 for share in late.values())

some = held_out["mnist"]
grey = float(rmse_255(some.mean(dim=0, keepdim=True).expand_as(some), some))
print(
    f"\nMNIST at t = 1000: {distortion['mnist'][-1]:.0f}; always answering the mean digit would give {grey:.0f}"
)

# %% [markdown]
# This is the message of section 4.3. **Most of the bits describe what nobody sees.** By $t = 50$ the image is there, and the greater part of the bill is still to come: it pays for the last grey levels.
# A likelihood counts every bit alike, a viewer does not. The paper uses it to explain why its samples can be so good while its bits/dim are no better than those of other models: they are spent on the imperceptible.
#
# Three reservations. At the far left the guess is worse than the mean of all images would be: (15) divides by $\sqrt{\bar\alpha_t}$, 0.006 at $t = 1000$, and a small error of $\varepsilon_\theta$ becomes a large one of $\hat x_0$. The root of the mean square is no measure of what is seen, only a simple one. And the split depends on where the chain ends: a chain that goes on to less noise moves bits from $L_0$ to the steps (in the open problem you can see it).
#
# ## Progressive decoding
#
# One image, sent once: a single walk $x_1, \ldots, x_T$, of which the receiver gets the noisiest first. Below, at the left, is $x_t$ of four images, and at the right $\hat x_0$, what the receiver would show at that moment.
# The bits are those of these four images, interpolated between the levels that we visit.

# %%
levels = [*range(1000, 500, -100), *range(500, 100, -50), 100, 75, 50, 35, 25, 15, 10, 7, 5, 3, 2, 1]
sent = torch.cat([held_out[name][8:10] for name in names])  # (4, 1, 28, 28)
g, walk = seeded(5), {0: sent}
for t in range(1, 1001):
    walk[t] = process.q_step(walk[t - 1], torch.full((4,), t), torch.randn(sent.shape, generator=g), schedule)

frames, prices = [], []
for t in levels:
    ts = torch.full((4,), t)
    with torch.no_grad():
        eps_hat = torch.cat(
            [models[n](walk[t][k : k + 2], ts[:2]) for n, k in zip(names, (0, 2), strict=True)]
        )
    x0_hat = process.predict_x0(walk[t], ts, eps_hat, schedule).clamp(-1, 1)
    frames.append(torch.cat([walk[t], x0_hat]))
    if t > 1:
        means = (process.q_posterior(x, walk[t], ts, schedule)[0] for x in (sent, x0_hat))
        prices.append(float(step_bits(*means, ts, schedule).mean()))


def read_off(prices):
    """Bits/dim once x_t is there, level by level, from the prices at the levels alone; L_T is nearly nothing."""
    so_far = [0.0]
    for here, there, a, b in zip(levels, levels[1:], prices, prices[1:] + prices[-1:], strict=False):
        so_far.append(so_far[-1] + a + (here - there - 1) * math.sqrt(a * b))  # the steps between: in between
    return so_far


received = read_off(prices)
labels = [
    f"t = {t}: {bits * D:.0f} bits, RMSE {rmse_255(frame[4:], sent):.0f}"
    for t, bits, frame in zip(levels, received, frames, strict=True)
]
for name in names:  # a check: the stored prices, read off at the same levels
    off = read_off([float(terms[name][t - 1]) for t in levels if t > 1])[-1] / float(rate[name][1]) - 1
    print(f"{name:14s} 25 levels in place of 1000: the rate is right to 5 %: {abs(off) < 0.05}")
    assert abs(off) < 0.05

# %% tags=["nbval-ignore-output"]
widgets.scrubber(
    torch.stack(frames),
    labels,
    ncol=8,
    scale=2,
    quality=50,
    fps=4,
    alt="At the left two digits and two pieces of clothing in noise that falls with t; at the right what the receiver would show. At t = 1000 these are noisy blotches, at 500 blurred shapes, at 250 the images can be told, and at 50 nothing seems to be missing; most bits arrive after that.",
)

# %% [markdown]
# Look at how it becomes sharp: not from top to bottom, as an image that loads line by line, but everywhere at once, large shapes first. Stop it where you like and you have a *lossy* compression, whose quality was not chosen beforehand.
#
# ## A sample for the price of a KL
#
# Now to the fact that we took as given. The receiver expects $p$. The sender wants to hand over a sample of $q$. Writing down its digits would cost a fortune: real numbers have infinitely many. The trick is that the sender has no particular number in mind. *Any* sample of $q$ will do.
#
# > Both sides have the same random generator with the same seed, so both can draw the same $K$ candidates $x_1, \ldots, x_K$ **from $p$**, at no cost. The sender looks for one that could as well have come from $q$, and sends its *index*: $\log_2 K$ bits.
#
# How to look? Weigh each candidate with how much more often $q$ would make it than $p$ does, and draw by weight:
#
# $$w_k = \frac{r_k}{\sum_j r_j}, \qquad r_k = \frac{q(x_k)}{p(x_k)} = \exp\big(\log q(x_k) - \log p(x_k)\big) .$$
#
# This is *minimal random coding*, which the paper names. How many candidates does it take? A sample of $q$ has a ratio $r$ of about $e^{\mathrm{KL}}$ (the KL is the mean of $\log r$ under $q$), so among $e^{\mathrm{KL}}$ candidates about one is typical of $q$. A few times as many, and the choice is good:
# that costs the KL and a few bits more.
#
# ### Exercise 11.4: choose_index
#
# $x$ holds $K$ candidates of $D$ independent numbers. $q$ and $p$ have means of shape $(D)$ and one variance each. $u$, uniform in $[0, 1)$, makes the draw: the index is the first $k$ with $w_0 + \ldots + w_k > u$.


# %%
def choose_index(x, mean_q, var_q, mean_p, var_p, u):
    """The index, an int, of the candidate to name. x: (K, D), drawn from p; means: (D,); variances and u: numbers."""
    ### BEGIN SOLUTION
    log_r = (x - mean_p).square().sum(dim=1) / (2 * var_p) - (x - mean_q).square().sum(dim=1) / (2 * var_q)
    w = log_r.softmax(dim=0)  # (K,)
    return int((w.cumsum(dim=0) <= u).sum())
    ### END SOLUTION


# %%
choose_index = check("11.4", choose_index)
# hint("11.4")

# %% [markdown]
# Try it on one number. $p = \mathcal N(0, 1)$ and $q = \mathcal N(2, 0.5^2)$: the sender makes 2000 choices, each among fresh candidates, and the receiver, who sees only the indices, draws the same candidates and picks them out.

# %%
one = torch.tensor([2.0], dtype=torch.float64)
kl = float(losses.normal_kl(one, torch.tensor(0.25), torch.zeros(1), torch.tensor(1.0)) / LN2)


def candidates(mean_p, var_p, K, shared):
    """K draws from p, (K, D), by the generator that both sides have."""
    return mean_p + math.sqrt(var_p) * torch.randn(K, len(mean_p), generator=shared, dtype=torch.float64)


for K in (2, 8, 32, 128):
    shared, own = seeded(1), seeded(2)
    indices = [
        choose_index(
            candidates(0 * one, 1.0, K, shared), one, 0.25, 0 * one, 1.0, float(torch.rand((), generator=own))
        )
        for _ in range(2000)
    ]
    shared = seeded(1)  # the receiver begins where the sender began
    received = torch.stack([candidates(0 * one, 1.0, K, shared)[k] for k in indices])
    print(
        f"KL {kl:.1f} bits, index {math.log2(K):.0f} bits: mean {received.mean():.2f}, variance {received.var():.2f}"
    )
print("wanted: mean 2.00, variance 0.25")
assert abs(received.mean() - 2) < 0.06 and abs(received.var() - 0.25) < 0.05

# %% [markdown]
# Bits that are fewer than the KL buy a poor sample; a few more than the KL a good one. The next picture shows it for several KLs: how far the mean is from where it should be, over the bits spent *beyond* the KL.

# %%
fig, ax = viz.figure(6.4, 2.8)
g, miss = seeded(3), {}
for kl_bits, marker in zip((2, 5, 8), "os^", strict=True):
    m = math.sqrt(2 * LN2 * kl_bits)  # q = N(m, 1) and p = N(0, 1): the KL is m^2 / 2 nats
    extra = torch.arange(-kl_bits, 5)
    for b in extra.tolist():
        x = torch.randn(300, 2 ** (kl_bits + b), generator=g, dtype=torch.float64)  # 300 sets of candidates
        w = (m * x).softmax(dim=1)  # log q - log p = m x + constant
        miss[kl_bits, b] = 1 - float((w * x).sum(dim=1).mean()) / m  # the mean over all choices, exactly
    ax.plot(
        extra,
        [miss[kl_bits, b] for b in extra.tolist()],
        marker + "-",
        markersize=4,
        label=f"KL = {kl_bits} bits",
    )
ax.axvline(0, color=viz.COLORS["black"], linewidth=1, linestyle=":")
ax.set(xlabel="bits of the index beyond the KL", title="share of the way from p to q that is missed")
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Three falling curves, for a KL of 2, 5 and 8 bits. With no bits the whole way is missed. At exactly the KL, marked by a dotted line, a quarter to a half is missed; four bits later about a tenth.",
)
print("at the KL itself more than a fifth is missed:", all(miss[k, 0] > 0.2 for k in (2, 5, 8)))
print("four bits beyond it less than 15 %:", all(miss[k, 4] < 0.15 for k in (2, 5, 8)))
assert all(miss[k, 4] < 0.15 and miss[k, 0] > 0.2 for k in (2, 5, 8))

# %% [markdown]
# (The KL is only the *mean* of $\log r$. Some samples of $q$ have a larger ratio, are rarer among the candidates, and are missed until there are more of them. So the curves fall slowly.)
#
# There is the catch, too. The number of candidates grows as $2^{\mathrm{KL}}$: a whole image at once, with hundreds of bits, is out of the question. One has to cut it into blocks of a few bits each. And every block needs its few bits more, or makes do with a sample that is not quite one of $q$.
#
# ## A codec that works
#
# We send digits of 8 × 8 pixels with 17 grey levels. Instead of a network we use a formula, so that everything can be seen through: our model of digits is a mixture of round Gaussians, one around each of a thousand known digits, whose best denoiser `exact.Mixture` knows.
# The chain is short, ten steps. The sixteen digits that we send are not among the known ones.

# %%
pixels = (data.digits().images.double() * 16 / 255).round() / 8 - 1  # 17 levels from -1 to 1
pixels = pixels[torch.randperm(len(pixels), generator=seeded(0))]
sheet, aside, known = pixels[:16], pixels[200:600], pixels[600:]
equal = torch.full((len(known),), 1 / len(known), dtype=torch.float64)
mixture = exact.Mixture(known, torch.full((len(known),), 0.07, dtype=torch.float64), equal)
chain = schedules.cosine(T=10)
N = len(sheet)
print(
    "to send:",
    tuple(sheet.shape),
    "| known:",
    tuple(known.shape),
    f"| raw: {64 * math.log2(17):.0f} bits a digit",
)


def expected(xt, t):
    """What both sides know before step t: x0_hat, and the mean of p(x_{t-1} | x_t)."""
    ts = torch.full((len(xt),), t)
    x0_hat = mixture.x0_mean(xt, ts, chain)
    return x0_hat, process.q_posterior(x0_hat, xt, ts, chain)[0]


# %% [markdown]
# Which variance for $p$? With equal ones the price is $\lVert\tilde\mu - \mu_\theta\rVert^2 / 2\tilde\beta_t$, but a short chain makes large errors, and then a wider $p$ is cheaper. Of all fixed variances the best is
# $\sigma_t^2 = \tilde\beta_t + c_t^2\, e_t$, where $c_t$ is the factor of $x_0$ in $\tilde\mu_t$, and $e_t$ the mean square error of $\hat x_0$. We measure $e_t$ on digits kept aside: ten numbers, known to both. The same digits tell what each step will cost on average.

# %%
of_x0 = process.posterior_coefficients(chain)[0]  # c_t
g = seeded(1)
var_q, var_p, price = chain.beta_tilde.tolist(), [0.0] * 11, {"fitted": [0.0] * 11, "equal": [0.0] * 11}
for t in range(1, 11):
    ts, eps = torch.full((len(aside),), t), torch.randn(aside.shape, generator=g, dtype=torch.float64)
    x0_hat, _ = expected(process.q_sample(aside, ts, eps, chain), t)
    error = float((aside - x0_hat).square().mean())
    var_p[t] = var_q[t] + float(of_x0[t]) ** 2 * error
    for name, v in {"fitted": var_p[t], "equal": var_q[t]}.items() if t > 1 else ():
        kl = 0.5 * (math.log(v / var_q[t]) + (var_q[t] + float(of_x0[t]) ** 2 * error) / v - 1)
        price[name][t] = 64 * kl / LN2  # bits a digit

print("bits a digit, t = 10 ... 2:", "  ".join(f"{price['fitted'][t]:.1f}" for t in range(10, 1, -1)))
print(f"all steps: {sum(price['fitted']):.0f} bits; with equal variances {sum(price['equal']):.0f}")
assert sum(price["fitted"]) < 0.9 * sum(price["equal"])

# %% [markdown]
# ### The last step: an arithmetic coder
#
# $x_1$ to $x_0$ is another matter. $x_0$ is no sample that may turn out one way or another: it is *this* digit, with these grey levels, and each must arrive. $p_\theta(x_0 \mid x_1)$ gives every level of every pixel a probability, by the discretised decoder (13).
# A level of probability $P$ should cost $-\log_2 P$ bits, and hardly ever is that a whole number. An *arithmetic coder* does it nevertheless. It keeps an interval, at first $[0, 1)$, and each symbol narrows it to its own part. At the end it names one number inside, with as few digits as possible. A small interval takes many digits: $\log_2$ of one over its width.
#
# `coding.Encoder` does this in whole numbers without limit, so nothing is rounded: probabilities become counts of 65,536.

# %%
likely = torch.tensor([60_000, 5_000, 536])  # three symbols, as counts
message = [0] * 50 + [1] + [0] * 30 + [2, 0, 1]
encoder = coding.Encoder()
for symbol in message:
    encoder.put(symbol, likely)
bits = encoder.bits()

decoder = coding.Decoder(bits)
decoded = [decoder.get(likely) for _ in message]
ideal = -sum(math.log2(likely[s] / 65_536) for s in message)
print(f"{len(message)} symbols, {len(bits)} bits: {bits}")
print(
    f"sum of -log2 P: {ideal:.1f} | decoded as sent: {decoded == message} | at most 2 bits more: {len(bits) <= ideal + 2}"
)
assert decoded == message and len(bits) <= ideal + 2

# %% [markdown]
# 84 symbols in fewer bits than symbols, and not two bits above the ideal, for the whole message. An index among $K$ candidates is just a symbol with $K$ equally likely values, so everything can go through one coder.
#
# ### Sender and receiver
#
# The sheet of 16 digits is sent as one image of 1024 numbers. At each step these are dealt out at random into blocks that cost about `size` bits each, and a block gets $K = 2^{\text{its price} + \text{extra}}$ candidates. Both sides can work that out: it depends on the price list alone.


# %%
def deal(t, size, extra, shared):
    """The blocks of step t, as places among the 1024 numbers, and the number of candidates."""
    count = max(1, round(N * price["fitted"][t] / size))
    K = 2 ** max(1, math.ceil(N * price["fitted"][t] / count + extra))
    return torch.randperm(64 * N, generator=shared).chunk(count), K


def levels_of(xt):
    """p(x_0 | x_1) for each of the 1024 numbers, as counts of 65,536: (1024, 17)."""
    return coding.counts_of(coding.level_probabilities(expected(xt, 1)[0].flatten(), var_p[1], levels=17))


def send(x0, size, seed, extra=2):
    """The message, as a string of 0 and 1; and, to compare, the KLs and -log2 P on the way, in bits."""
    shared, own, coder, kl = seeded(seed), seeded(seed + 1), coding.Encoder(), 0.0
    xt = torch.randn(x0.shape, generator=shared, dtype=torch.float64)  # x_T: from the seed, for nothing
    for t in range(chain.T, 1, -1):
        mean_p = expected(xt, t)[1].flatten()
        mean_q = process.q_posterior(x0, xt, torch.full((N,), t), chain)[0].flatten()
        parts, K = deal(t, size, extra, shared)
        new = torch.empty_like(mean_p)
        for part in parts:
            x = candidates(mean_p[part], var_p[t], K, shared)
            u = float(torch.rand((), generator=own))
            k = choose_index(x, mean_q[part], var_q[t], mean_p[part], var_p[t], u)
            coder.put_number(k, K)
            new[part] = x[k]
        apart = (mean_q - mean_p).square().sum()
        kl += float(apart / (2 * var_p[t])) + 32 * N * (
            math.log(var_p[t] / var_q[t]) + var_q[t] / var_p[t] - 1
        )
        xt = new.reshape(x0.shape)
    symbols, counts = ((x0 + 1) * 8).round().long().flatten().tolist(), levels_of(xt).tolist()
    for symbol, row in zip(symbols, counts, strict=True):
        coder.put(symbol, row)
    last = -sum(math.log2(row[s] / 65_536) for s, row in zip(symbols, counts, strict=True))
    return coder.bits(), kl / LN2, last


def receive(bits, size, seed, extra=2):
    """The digits, from the message alone; and what could be shown on the way: (bits so far, x0_hat) for each step."""
    shared, coder, spent, shown = seeded(seed), coding.Decoder(bits), 0.0, []
    xt = torch.randn(N, 1, 8, 8, generator=shared, dtype=torch.float64)
    for t in range(chain.T, 1, -1):
        x0_hat, mean_p = expected(xt, t)
        shown.append((spent, x0_hat))
        parts, K = deal(t, size, extra, shared)
        new = torch.empty(64 * N, dtype=torch.float64)
        for part in parts:
            k = coder.get_number(K)
            new[part] = candidates(mean_p.flatten()[part], var_p[t], K, shared)[k]
            spent += math.log2(K)
        xt = new.reshape(xt.shape)
    shown.append((spent, expected(xt, 1)[0]))
    symbols = torch.tensor([coder.get(row) for row in levels_of(xt).tolist()])
    return (symbols / 8 - 1).double().reshape(xt.shape), shown


# %% [markdown]
# ### The overhead
#
# The codec runs for several sizes of the blocks. Beside it stands the bill of the theory for the same digits: the KLs and $L_0$ when every $x_t$ is a true sample of $q$, averaged over 20 walks.
#
# **What do you expect?** Does the overhead become larger or smaller with larger blocks? And what will the digits look like if a block has too few candidates?
#
# <details><summary>Answer</summary>
#
# Smaller: each block pays its extra bits once, and large blocks are fewer. What grows is the work, as $2^{\text{size}}$.
# And the digits look as they are, always: the last step sends whatever is still wrong, so the codec loses nothing. Poor samples of $q$ only make it dearer.
#
# </details>


# %%
def bill(x0, seed):
    """KLs and L_0 in bits a digit, for x_t drawn from q: nothing is sent."""
    kl, g = 0.0, seeded(seed)
    for t in range(chain.T, 0, -1):
        ts = torch.full((N,), t)
        xt = process.q_sample(x0, ts, torch.randn(x0.shape, generator=g, dtype=torch.float64), chain)
        if t > 1:
            means = expected(xt, t)[1], process.q_posterior(x0, xt, ts, chain)[0]
            v = torch.tensor([var_q[t], var_p[t]], dtype=torch.float64)
            kl += float(losses.normal_kl(means[1], v[0], means[0], v[1]).sum()) / LN2 / N
    symbols, counts = ((x0 + 1) * 8).round().long().flatten(), levels_of(xt)
    return kl, float(-(counts.gather(1, symbols[:, None]) / 65_536).log2().sum()) / N


theory = torch.tensor([bill(sheet, seed) for seed in range(20)]).mean(dim=0).tolist()
total = sum(theory)
last_bar = float(chain.alpha_bar[-1])  # L_T, the KL of x_T, which is given away
prior_bits = 0.5 * float((last_bar * (sheet.square() - 1) - math.log1p(-last_bar)).sum()) / LN2 / N
print(f"the theory's bill, bits a digit: steps {theory[0]:.0f} + last {theory[1]:.0f} = {total:.0f}")

# %% tags=["volatile"]
measured, right = {}, []
print("size   message, bits a digit   on its own walk: KLs   -log2 P   overhead over the theory")
for size in (1, 2, 4, 8, 10):
    message, kl, last = send(sheet, size, seed=7)
    images, shown = receive(message, size, seed=7)
    right.append(torch.equal(images, sheet))
    measured[size] = len(message) / N
    print(
        f"{size:4d} {measured[size]:18.1f} {kl / N:25.1f} {last / N:9.1f} {measured[size] / total - 1:18.0%}"
    )

# %%
print("every digit decoded exactly, at every size:", all(right))
print("no message shorter than the theory's bill:", min(measured.values()) > total)
print(
    "sizes 1, 2, 4, 8: each message at least 4 % shorter than the one before:",
    all(measured[a] > 1.04 * measured[2 * a] for a in (1, 2, 4)),
)
print("with the largest blocks within 30 % of the bill:", measured[10] < 1.3 * total)
print("and shorter than the raw digits:", measured[10] < 0.9 * 64 * math.log2(17))
print(f"not in the message: x_T, from the seed. L_T is below 0.01 bits a digit: {prior_bits < 0.01}")
again = [len(send(sheet, 8, seed=seed)[0]) / N for seed in (100, 200)] + [measured[8]]
print("three seeds, size 8: the lengths differ by less than 8 %:", max(again) < 1.08 * min(again))
margins = [len(send(sheet, 8, seed=7, extra=extra)[0]) / N for extra in (1, 2, 3, 4)]
print(
    "1, 2, 3 or 4 extra bits a block, size 8: the lengths differ by less than 12 %:",
    max(margins) < 1.12 * min(margins),
)
assert all(right) and total < measured[10] < 1.3 * total and measured[1] > measured[4] > measured[8]

# %% [markdown]
# It works: `len(message)` bits went over the line, and 1024 grey levels came out, each as it was. The codec stays above the theory's bill, by less than a third at the largest size, and comes nearer the more it works. Not counted is what both sides have beforehand: the seed, the thousand digits, the price list, and how the message is cut.
#
# Look at the two columns in the middle, the bill along the walk that was really sent. With two extra bits the choices are not quite samples of $q$: they lag behind a little, as in the picture above, and the steps after them, and the last one, pay for the repair. With more extra bits the samples are better, and each index is longer.
# The two nearly balance, as the last line shows: the overhead is there one way or the other.
#
# This is what arrives. The bits are measured; the last frame is exact.

# %% tags=["nbval-ignore-output"]
frames = torch.stack([x0_hat.clamp(-1, 1) for _, x0_hat in shown] + [images]).float()
so_far = [bits for bits, _ in shown] + [len(message)]
widgets.scrubber(
    frames.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2),
    [
        f"{bits / N:.0f} bits a digit, RMSE {rmse_255(frame.double(), sheet):.0f}"
        for bits, frame in zip(so_far, frames, strict=True)
    ],
    ncol=8,
    scale=2,
    fps=2,
    alt="Sixteen digits of 8 by 8 pixels arrive. With no bits all are the same grey blur; with some twenty bits a digit most can be told, still soft; the last frame, with all bits, is exact.",
)

# %% [markdown]
# Three honest remarks.
#
# - **A better model is worth more than a better codec.** Ours is crude. A plain table that says how often each pixel has each level, with no diffusion at all, does better in total, as the next cell shows. What it cannot do is show you all digits, softly, after a tenth of the message.
# - **It is slow**, $2^{\text{size}}$ candidates for each block. The paper says itself that its procedure is not meant as a practical system. Later work sends samples of *uniform* noise, for which there is a cheap way, and needs no candidates.
# - **Both sides must compute the same floats.** One bit of difference in $x_t$, from another processor or another library, and the receiver draws other candidates, or other intervals: everything after that is lost. Real codecs that use networks have to do them in whole numbers.

# %%
known_levels, sheet_levels = (((x + 1) * 8).round().long().flatten(1) for x in (pixels[200:], sheet))
table = 0.5 + torch.stack([torch.bincount(column, minlength=17) for column in known_levels.T])  # (64, 17)
table = table / table.sum(dim=1, keepdim=True)
by_table = float(-table.log2()[torch.arange(64), sheet_levels].sum()) / N
print(
    f"bits a digit: raw {64 * math.log2(17):.0f}, the chain in theory {total:.0f}, a table of frequencies {by_table:.0f}"
)

# %% [markdown]
# ## One latent, many images
#
# Back to the networks. The receiver holds $x_t$ and stops there. $\hat x_0$ is one answer, a mean, and therefore blurred. Another is to go on *without* the sender: take the reverse steps with own noise. Do it several times, and the images show what $x_t$ has settled, and what is still open.
#
# ### Exercise 11.5: branch
#
# `step(x, s, z_s)` takes all of `x` from level $s$ to $s - 1$, with the noise `z_s` (it adds none if $s = 1$). Start $N$ images at the one `xt` that is given.


# %%
def branch(step, xt, t, z):
    """x_0 of N chains that share x_t: (N, ...). xt: (1, ...), at level t; z: (T+1, N, ...), z[s] for step s."""
    ### BEGIN SOLUTION
    x = xt.expand(z.shape[1:])  # (1, ...) -> (N, ...)
    for s in range(t, 0, -1):
        x = step(x, s, z[s])
    return x
    ### END SOLUTION


# %%
branch = check("11.5", branch)
# hint("11.5")

# %% [markdown]
# A thousand steps are long, so we use a shorter chain that visits 40 of the thousand levels (`schedules.respace`). `tau[i]` is the level of the $i$-th. (With so few steps the variance $\tilde\beta_t$ gives the cleaner images.)

# %%
short, tau = schedules.respace(schedule, 40)
of_x0, of_xt = process.posterior_coefficients(short)


def reverse_step(model):
    """step(x, i, z) of the short chain: the mean by x0_hat, held to [-1, 1], and the variance beta_tilde."""

    @torch.no_grad()
    def step(x, i, z):
        ts = torch.full((len(x),), i)
        x0_hat = process.predict_x0(x, ts, model(x, tau[ts]), short).clamp(-1, 1)
        mean = float(of_x0[i]) * x0_hat + float(of_xt[i]) * x
        return mean + float(short.beta_tilde[i]) ** 0.5 * z if i > 1 else mean

    return step


rungs = [40, 30, 25, 20, 15, 10, 4]
shoe = held_out["fashion_mnist"][8:9]
digit = held_out["mnist"][8:9]
tree, spread = [], {}
for i in rungs:
    row = []
    for name, x0 in {"mnist": digit, "fashion_mnist": shoe}.items():
        g = seeded(11)
        xt = process.q_sample(x0, torch.tensor([i]), torch.randn(x0.shape, generator=g), short)
        children = branch(reverse_step(models[name]), xt, i, torch.randn(41, 4, 1, 28, 28, generator=g))
        row += [xt, children]
        spread[name, i] = 127.5 * float(children.var(dim=0).mean().sqrt())
    tree.append(torch.cat(row))
print("frames:", tuple(torch.stack(tree).shape))

# %%
shown_rungs = [0, 1, 3, 5]
times = [int(tau[i]) for i in rungs]
viz.show(
    viz.grid(
        torch.cat([tree[k] for k in shown_rungs]),
        ncol=5,
        scale=2,
        row_labels=[f"t = {times[k]}" if j == 0 else "" for k in shown_rungs for j in (0, 1)],
        col_labels=["shared $x_t$"] + [""] * 4,
    ),
    alt="Four pairs of rows, for four t. First in each row the shared noisy image, then four images grown from it. At t = 1000 and 750 they are of several kinds; at 500 three of the digits are sevens and all the clothes are tops; at 250 each row shows one digit, or one jumper with four different prints.",
)
for name in names:
    line = "   ".join(f"t = {times[k]}: {spread[name, rungs[k]]:.0f}" for k in shown_rungs)
    print(f"{name:14s} spread of the four, of 255   {line}")

# %%
print(
    "the less is shared, the more they differ:",
    all(spread[n, 40] > spread[n, 20] > spread[n, 10] > spread[n, 4] for n in names),
)
widgets.scrubber(
    torch.stack(tree),
    [f"shared up to t = {t}" for t in times],
    ncol=5,
    scale=2,
    quality=60,
    fps=2,
    alt="The same two trees for seven t from 1000 down. The shared latent at the left becomes clearer, and the four images in each row become more and more alike.",
)

# %% [markdown]
# The paper shows this with faces (its figure 7): latents shared at $t = 750$ and 500 keep large features, at 250 all but the finest. What is decided early is coarse, what is decided late is fine. That is what the rate–distortion curve said in numbers.
#
# ## Between two images
#
# Section 4.4 interpolates in the latents: noise two images to level $t$, mix, and let the reverse process find an image there. In the paper's text the mixed latent reads $\bar x_t = (1-\lambda)\,x_0 + \lambda\,x_0'$. That is a slip: a mix of *clean* images is no latent at level $t$, as we shall measure. Its published code mixes the noised ones:
#
# $$\bar x_t = (1-\lambda)\,x_t + \lambda\,x_t', \qquad x_t \sim q(x_t \mid x_0),\quad x_t' \sim q(x_t' \mid x_0') .$$
#
# ### Exercise 11.6: mix_latents
#
# Write the form of the code. The two noises are given: $\varepsilon$ for $x_t$ and $\varepsilon'$ for $x_t'$.


# %%
def mix_latents(x0, x0_other, lam, t, eps, eps_other, schedule):
    """(1 - lam) x_t + lam x_t'. Images and noises: (B, ...), t: int64 (B,), lam: a number from 0 to 1."""
    ### BEGIN SOLUTION
    xt = process.q_sample(x0, t, eps, schedule)
    xt_other = process.q_sample(x0_other, t, eps_other, schedule)
    return (1 - lam) * xt + lam * xt_other
    ### END SOLUTION


# %%
mix_latents = check("11.6", mix_latents)
# hint("11.6")

# %% [markdown]
# How much noise is in a mix? The network was trained on $x_t$ whose noise has the variance $1 - \bar\alpha_t$, and at level $t$ it expects just that. Two independent noises, mixed, have the variance
#
# $$\big((1-\lambda)^2 + \lambda^2\big)\,(1-\bar\alpha_t) ,$$
#
# at $\lambda = \tfrac12$ only half. If both images get the *same* noise, it stays whole, and then
#
# $$(1-\lambda)\,x_t + \lambda\,x_t' = \sqrt{\bar\alpha_t}\,\big((1-\lambda)x_0 + \lambda x_0'\big) + \sqrt{1-\bar\alpha_t}\,\varepsilon :$$
#
# the mix of the latents *is* the latent of the mix. So with shared noise the printed formula and the code come to the same, once the printed one is noised. We measure both.

# %%
a, b = held_out["fashion_mnist"][8:9], held_out["fashion_mnist"][10:11]
g, count, at = seeded(21), 400, torch.full((400,), 500)
eps, eps_other = torch.randn(2, count, 1, 28, 28, generator=g)
many = a.expand(count, -1, -1, -1), b.expand(count, -1, -1, -1)
full = float(1 - schedule.alpha_bar[500])
for lam in (0.0, 0.25, 0.5):
    clean = math.sqrt(1 - full) * ((1 - lam) * many[0] + lam * many[1])
    mixes = (mix_latents(*many, lam, at, eps, other, schedule) for other in (eps_other, eps))
    own, shared = (float((mix - clean).var()) / full for mix in mixes)
    print(
        f"lam = {lam:.2f}   variance of the noise, of what the network expects: own noises {own:.2f}, formula {(1 - lam) ** 2 + lam**2:.2f}   shared {shared:.2f}"
    )

mix = mix_latents(*many, 0.3, at, eps, eps, schedule)
noised = process.q_sample(0.7 * many[0] + 0.3 * many[1], at, eps, schedule)
print("shared noise: mix of the latents = latent of the mix:", torch.allclose(mix, noised, atol=1e-5))
assert torch.allclose(mix, noised, atol=1e-5)

# %% [markdown]
# **What do you expect?** With noises of their own the mix at $\lambda = \frac12$ has 0.71 times the noise that the network expects. Does the network notice? And at $t = 1000$, what can be left of the two images at all?
#
# <details><summary>Answer</summary>
#
# It notices in part: it answers with less noise than usual, but with more than there is. So its first $\hat x_0$ is off. (And the mix as it is printed has no noise at all, and the whole of the image in place of 0.28 of it. The network finds noise there all the same, and takes it away from the image.) The chain mends a good deal of that: each reverse step replaces a part of the latent by fresh noise, and that has the right variance.
# At $t = 1000$ nothing is left of the images, and the chain *forgets even* $x_T$: on the way down to $t = 500$ its own share shrinks to a few hundredths, while most is still open. With the same noise in the reverse steps every $\lambda$ then ends at one and the same image, which has to do with neither.
#
# </details>

# %%
pair = held_out["fashion_mnist"][:16], held_out["fashion_mnist"][16:32]
half = torch.full((16,), 500)
e, e_other = torch.randn(2, 16, 1, 28, 28, generator=seeded(23))
answers = {}
for kind, other in {"own noises": e_other, "shared noise": e}.items():
    with torch.no_grad():
        eps_hat = models["fashion_mnist"](mix_latents(*pair, 0.5, half, e, other, schedule), half)
    answers[kind] = float(eps_hat.square().mean().sqrt())
    inside = float(((e + other) / 2).square().mean().sqrt())
    print(f"{kind:13s} size of the noise: in the mix {inside:.2f}, the network says {answers[kind]:.2f}")
printed = 0.5 * pair[0] + 0.5 * pair[1]  # as the paper's text has it: no t in it, and no noise
with torch.no_grad():
    answers["as printed"] = float(models["fashion_mnist"](printed, half).square().mean().sqrt())
print(f"{'as printed':13s} size of the noise: in the mix 0.00, the network says {answers['as printed']:.2f}")
signal = float(schedule.alpha_bar[500]) ** 0.5
print(f"share of the image: as printed 1.00, in any x_500 {signal:.2f}, in both mixes above {signal:.2f}")
assert 0.4 < answers["as printed"] < 0.7
print(f"what is left of x_T at t = 500, on the short chain: {float(of_xt[21:].prod()):.3f}")
assert 0.74 < answers["own noises"] < 0.9 < 0.95 < answers["shared noise"]

# %% [markdown]
# The cell decodes a grid, for three $t$ and seven $\lambda$, with own noises and with shared ones. The paper keeps $x_t$ and $x_t'$ for all $\lambda$. We keep the noise of the reverse steps, too, so that only $\lambda$ makes a difference.

# %%
g = seeded(22)
eps, eps_other = torch.randn(2, 1, 1, 28, 28, generator=g)
z = torch.randn(41, 1, 1, 28, 28, generator=g).expand(-1, 7, -1, -1, -1)  # the same for all seven
lams = [k / 6 for k in range(7)]
step, decoded = reverse_step(models["fashion_mnist"]), {}
for i in (8, 16, 40):
    for kind, other in {"own noises": eps_other, "shared noise": eps}.items():
        x = torch.cat([mix_latents(a, b, lam, torch.tensor([i]), eps, other, short) for lam in lams])
        latent = x
        for s in range(i, 0, -1):
            x = step(x, s, z[s])
        decoded[int(tau[i]), kind] = latent, x
print("decoded:", len(decoded), "rows of", tuple(x.shape))

rows = {f"{kind.split()[0]}, t = {t}": x for (t, kind), (_, x) in decoded.items()}
rows = {"pixels mixed": torch.cat([(1 - lam) * a + lam * b for lam in lams])} | rows
viz.show(
    viz.strip(rows, [f"{lam:.2f}" for lam in lams], scale=2),
    alt="Seven rows of seven images between a jumper and a boot. Mixed pixels show a double exposure. Decoded at t = 200 the middle is still such a mix, cleaned up; at 400 it is a single garment, a jumper nearly to the end, and details are invented; at t = 1000 all fourteen images are the same sandal.",
)

# %%
apart = {
    key: float((x[0] - x[-1]).square().mean().sqrt()) for key, (_, x) in decoded.items()
}  # ends of a row
of_images = float((a - b).square().mean().sqrt())
print(
    "t = 200: the ends of a row are at least 0.7 times as far apart as the images:",
    all(apart[200, kind] > 0.7 * of_images for _, kind in decoded),
)
print("t = 1000: they are the same image:", all(apart[1000, kind] < 0.1 * of_images for _, kind in decoded))
assert all(apart[1000, kind] < 0.1 * of_images < 0.7 * of_images < apart[200, kind] for _, kind in decoded)

# %% [markdown]
# Now with your own hand: $\lambda$, $t$, and which noise.

# %% tags=["nbval-ignore-output"]
fig, axes = viz.figure(6.4, 1.8, ncols=4)


def draw(lam, t, noise):
    """The two images, and between them the mixed latent and what it decodes to."""
    k = min(range(7), key=lambda j: abs(lams[j] - lam))
    latent, x = decoded[t, noise]
    for ax, picture, title in zip(
        axes, (a[0], latent[k], x[k], b[0]), ("$x_0$", "mixed latent", "decoded", "$x_0'$"), strict=True
    ):
        viz.image(ax, picture, title)
    return fig


widgets.live(
    draw,
    alt=lambda lam, t, noise: (
        f"Two pieces of clothing and, between them, their mixed latent and the decoded image, lambda {lam:.2f}, t = {t}, {noise}."
    ),
    lam=(0.0, 1.0, 1 / 6),
    t=sorted({t for t, _ in decoded}),
    noise=["own noises", "shared noise"],
)

# %% [markdown]
# ## One pixel at a time
#
# One more look at the bound, with which section 4.3 ends. Nothing in (5) asks for Gaussians. Let the image have $T$ pixels, and let step $t$ of the forward process simply *mask* pixel $t$; $x_T$ is all masked, and holds nothing. The way back, step $t$ has to say pixel $t$, given pixels $t+1, \ldots, T$, which are there already:
#
# $$p_\theta(x_{t-1} \mid x_t) = p_\theta(\text{pixel } t \mid \text{pixels } t+1, \ldots, T) .$$
#
# That is an *autoregressive* model. $L_T = 0$, the posterior $q(x_{t-1} \mid x_t, x_0)$ is certain, and so $L_{t-1} = -\log p_\theta(\text{pixel } t \mid \ldots)$. With the true conditionals the sum is the entropy of the data, by the chain rule, and the bound has no gap. With others the bound can be sorted as in
#
# $$L = \mathrm{KL}(q(x_T)\,\|\,p(x_T)) + \mathbb E_q\Big[\sum_{t\ge1}\mathrm{KL}(q(x_{t-1}|x_t)\,\|\,p_\theta(x_{t-1}|x_t))\Big] + H(x_0) . \tag{16}$$
#
# On eight black or white pixels out of the digits everything can be counted: 256 possible images, no estimate anywhere.

# %%
ink = (data.digits().images[:, 0, 2:6:2, 2:6] > 127).flatten(1).long()  # (1797, 8): pixels 1 ... 8


def name_of(columns):
    """One whole number for each row of black and white pixels."""
    return (columns * 2 ** torch.arange(columns.shape[1])).sum(dim=1)


def counted(columns):
    """For each image: how many of all images have the same pixels there."""
    _, inverse, count = name_of(columns).unique(return_inverse=True, return_counts=True)
    return count[inverse].double()


n = len(ink)
entropy = float(-(counted(ink) / n).log2().mean())
L, L_alone, kls = 0.0, 0.0, 0.0
for t in range(8, 0, -1):  # index t - 1 is pixel t
    true = counted(ink[:, t - 1 :]) / (
        counted(ink[:, t:]) if t < 8 else n
    )  # q(pixel t | those that are there)
    alone = counted(ink[:, t - 1 : t]) / n  # a model that looks at nothing else
    L, L_alone = L - float(true.log2().mean()), L_alone - float(alone.log2().mean())
    kls += float((true / alone).log2().mean())  # the mean KL of this step
print(f"entropy of the 8 pixels: {entropy:.3f} bits")
print(f"bound, true conditionals: {L:.3f} bits | no gap: {abs(L - entropy) < 1e-9}")
print(
    f"bound, each pixel on its own: {L_alone:.3f} bits = KLs {kls:.3f} + entropy, eq. (16): {abs(L_alone - kls - entropy) < 1e-9}"
)
assert abs(L - entropy) < 1e-9 and abs(L_alone - kls - entropy) < 1e-9 and kls > 0.1

# %% [markdown]
# So a Gaussian diffusion is a kind of autoregressive model, with an order of bits that no order of pixels can give: first a little of every pixel, then a little more. And it can take that in any number of steps, not only as many as there are pixels.
#
# ## Recap
#
# | | |
# |---|---|
# | the bill | sending $x_T, \ldots, x_0$ costs $L_T + \sum L_{t-1} + L_0$: the bound is the length of a message |
# | rate and distortion | $R_t$: bits once $x_t$ is there; the error of $\hat x_0$ falls early, most bits come late |
# | a sample of $q$ | costs KL and a few bits: name one of $2^{\mathrm{KL}+\text{a few}}$ shared candidates |
# | a given symbol | costs $-\log_2 P$, by an arithmetic coder, to within two bits for a whole message |
# | overhead | a few bits for every block, as index or as repair; larger blocks, fewer bits, more work |
# | early and late | a shared $x_t$ fixes the coarse, and leaves the fine open |
# | between images | mix the noised ones; two own noises, mixed, are too little noise |
#
# Before you go: without looking, say why the index costs about the KL, and why $x_0$ cannot be sent the same way as $x_1$.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# How many steps should a codec's chain have? More steps make each $p$ fit better, but the bill of this chapter counts only what the steps cost, and every block has its overhead.
#
# 1. For cosine chains with $T = 3, 5, 10, 20$ and `size = 8` measure the theory's bill and the length of the message for `sheet`. (Everything above depends on `chain`, `var_q`, `var_p` and `price`. Make a function of the cell that fills them.)
# 2. The bill is lowest for few steps. One would think that more steps make the bound tighter, since a small reverse step is more nearly a Gaussian. What is different here?
# 3. A block's index is one of $K$ equally likely numbers, so it costs $\log_2 K$, even if the block's own KL was small. How could the extra bits be saved, at least in part? Does your idea still decode?
#
# <!-- BEGIN SOLUTION -->
# 1. See the next cell.
# 2. Our denoiser is far from the best one for digits: each step pays for its errors again, $\lVert\tilde\mu - \mu_\theta\rVert^2$, and a long chain has more steps at small $t$, where the errors are dearest. A longer chain also ends with a smaller noise, so it *says* more before $L_0$ takes over: bits that the last step gets for less.
#    The experiment to make is to repeat this with a better denoiser, at best with digits drawn from `mixture` itself.
# 3. For example: let both sides sort the candidates by a shared random key, and let the sender choose the *first* good one in that order (as with the Gumbel trick or the Poisson process). The index is then small where the KL is small, and a code that gives small numbers fewer bits profits. It decodes: the order is shared. The length then adapts to the KL of each block, at about $\log_2(\mathrm{KL}+1)$ bits on top instead of a fixed margin.
# <!-- END SOLUTION -->

# %% tags=["solution-only", "volatile"]
for T in (3, 5, 10, 20):
    chain = schedules.cosine(T=T)
    of_x0, g = process.posterior_coefficients(chain)[0], seeded(1)
    var_q, var_p, price = chain.beta_tilde.tolist(), [0.0] * (T + 1), {"fitted": [0.0] * (T + 1)}
    for t in range(1, T + 1):
        ts, eps = torch.full((len(aside),), t), torch.randn(aside.shape, generator=g, dtype=torch.float64)
        error = float((aside - expected(process.q_sample(aside, ts, eps, chain), t)[0]).square().mean())
        var_p[t] = var_q[t] + float(of_x0[t]) ** 2 * error
        price["fitted"][t] = (
            32 * math.log2(var_p[t] / var_q[t]) if t > 1 else 0.0
        )  # at the best variance the rest is 0
    steps_bits, last_bits = torch.tensor([bill(sheet, seed) for seed in range(5)]).mean(dim=0).tolist()
    length = len(send(sheet, 8, seed=7)[0]) / N
    print(
        f"T = {T:2d}   theory: steps {steps_bits:5.1f} + last {last_bits:5.1f} = {steps_bits + last_bits:5.1f}   message {length:5.1f} bits a digit"
    )
