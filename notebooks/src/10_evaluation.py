# %% [markdown]
# # 10 · Evaluation: bits, quality, copies, and the ablation table
#
# {{ colab }}
#
# A model is trained and its samples look good. How good? There is no single number that says it. This chapter takes four questions apart: how many *bits* does the model need to describe an image it has never seen; how far are its samples from real images,
# *as a crowd*; is everything there that the data holds; and are the samples *copies*? Then we use most of it on the paper's own experiment, its Table 2, in miniature: which parts of the recipe matter?
#
# | | |
# |---|---|
# | **You will** | compute a term of the bound in bits/dim, and let the package compute all thousand · estimate the rest from a few draws, and say how far to trust it · write the Fréchet distance, and find its floor and its bias · measure diversity · look for copies, and watch a network begin to make them · read the ablation of Table 2 with error bars |
# | **Time** | 60 minutes |
# | **You need** | chapters 04 and 05 (the bound and its terms), 09 (sampling); eigenvalues |
# | **Equations** | the paper's (5), (8) and (13), its Tables 1 and 2 |

# %%
# {{ setup }}
import math

import torch
from safetensors.torch import load_file

from ddpm_lite import (
    ablation,
    checkpoints,
    data,
    exact,
    losses,
    metrics,
    paper,
    process,
    results,
    samplers,
    viz,
    widgets,
)
from ddpm_lite.exercises import check, hint

model, schedule, card = checkpoints.load("mnist")  # 28 x 28, trained on 60,000 digits
heldout = {name: metrics.heldout(name)[0] for name in ("mnist", "fashion_mnist")}  # 64 test images of each
evaluation, table, memory = (results.load(name) for name in ("evaluation", "ablation", "memorisation"))
print("network:", card["name"], "| T =", schedule.T, "| held-out images:", tuple(heldout["mnist"].shape))

# %%
viz.show(
    viz.grid(torch.cat([heldout["mnist"][:12], heldout["fashion_mnist"][:12]]), ncol=12),
    alt="Two rows of twelve small grey images: handwritten digits above, pieces of clothing below.",
)

# %% [markdown]
# These are from the test sets: no network here was trained on them. They come with the course (MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0; Fashion-MNIST by Zalando, MIT).
#
# What takes long is computed beforehand, by two commands that you can run yourself. Their results are files, and the files say how they were made. Every printed number below comes from such a file or is worked out before your eyes, and where we can we compute a part of a file anew and compare.

# %%
for name in ("evaluation", "ablation", "memorisation"):
    about = results.load(name)
    print(f"{name:13s} {about['command']:40s} seeds {about['seeds']}")

# %% [markdown]
# ## From nats to bits per dimension
#
# Chapter 04 bounded the negative log-likelihood of an image by a sum,
#
# $$-\ln p_\theta(x_0) \;\le\; \mathbb E_q\Big[\underbrace{D_{\mathrm{KL}}(q(x_T\mid x_0)\,\|\,p(x_T))}_{L_T} + \sum_{t>1}\underbrace{D_{\mathrm{KL}}(q(x_{t-1}\mid x_t,x_0)\,\|\,p_\theta(x_{t-1}\mid x_t))}_{L_{t-1}}\ \underbrace{-\ln p_\theta(x_0\mid x_1)}_{L_0}\Big]. \tag{5}$$
#
# That is in *nats an image*. To compare images of different sizes we divide by the number of dimensions $D = C\cdot H\cdot W$, and to get bits, by $\ln 2$:
#
# $$\text{bits/dim} = \frac{\text{nats}}{D \ln 2}.$$
#
# The number has a plain meaning: a program that compresses images with this model needs about so many bits for each number in the image (chapter 11 builds one). Two marks to hold it against: without any model a byte costs 8 bits.
# And a model that knows nothing but how often each grey level occurs needs the entropy of that histogram.

# %%
uniform = math.log(256) / math.log(2)
print(f"a byte, without a model: {uniform:.2f} bits/dim")
for name, images in heldout.items():
    share = torch.bincount(images.flatten().long(), minlength=256).double() / images.numel()
    entropy = -(share[share > 0] * share[share > 0].log2()).sum()
    print(f"{name:14s} grey levels alone: {entropy:.2f} bits/dim | black pixels: {share[0]:.2f}")

# %% [markdown]
# Now one term. For $t \ge 2$ both Gaussians are known: $q$ has the mean $\tilde\mu_t(x_t, x_0)$ and the variance $\tilde\beta_t$. The network guesses $\hat\varepsilon$, hence $\hat x_0$, and $p_\theta$ has the mean $\tilde\mu_t(x_t, \hat x_0)$ and here the variance $\sigma_t^2 = \beta_t$.
# Chapter 04's divergence of two Gaussians does the rest, number by number (`losses.normal_kl`):
#
# $$\mathrm{KL} = \tfrac12\Big[\ln\frac{v_2}{v_1} + \frac{v_1 + (m_1 - m_2)^2}{v_2} - 1\Big].$$
#
# ### Exercise 10.1: term_bpd


# %%
def term_bpd(x0, xt, t, eps_hat, schedule):
    """L_{t-1} in bits a dimension, one number an image: (B,). All t >= 2; sigma_t^2 = beta_t; nothing is clipped."""
    ### BEGIN SOLUTION
    x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
    mu_theta, _ = process.q_posterior(x0_hat, xt, t, schedule)
    kl = losses.normal_kl(mu_tilde, beta_tilde, mu_theta, process.at(schedule.beta, t, xt))
    return kl.flatten(1).mean(dim=1) / math.log(2)  # (B, ...) -> (B,)
    ### END SOLUTION


# %%
term_bpd = check("10.1", term_bpd)
# hint("10.1")

# %% [markdown]
# With the trained network in it, on four held-out digits at four different $t$:

# %%
x0 = data.from_uint8(heldout["mnist"][:4])
t = torch.tensor([2, 20, 100, 300])
eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
xt = process.q_sample(x0, t, eps, schedule)
with torch.no_grad():
    mine = term_bpd(x0, xt, t, model(xt, t), schedule)
    theirs = losses.term_nats(model, x0, t, schedule, eps=eps) / (x0[0].numel() * math.log(2))
for k, bits in zip(t.tolist(), mine.tolist(), strict=True):
    print(f"t = {k:4d}: {bits:.4f} bits/dim")
print("as the package has it:", torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6))

# %% [markdown]
# ## All terms of an image
#
# The bound needs every $t$ from 1 to $T$: a thousand calls of the network. `losses.bits_per_dim` makes them, with one draw of $x_t$ for each $t$; here for one digit, the first of the four in the file. Other draws would give slightly other numbers. It holds $\hat x_0$ to $[-1, 1]$, as the paper's code does.
#
# **What do you expect?** The bound has three parts: $L_T$, the 999 terms in the middle, and $L_0$, the cost of the grey levels once $x_1$ is known. Which is the largest?
#
# <details><summary>Answer</summary>
#
# $L_T$ is next to nothing: almost no signal is left at $t = T$, so $q(x_T \mid x_0)$ is the prior. The rest is shared between 999 terms on the one side and a single one, $L_0$, on the other, and the single one takes a share that one would not expect of one in a thousand:
# the last step of the chain has to settle 256 grey levels. Here it is about as large as all the others together, and on the paper's CIFAR-10 more than half of the bound.
#
# </details>

# %% tags=["volatile"]
all_terms = losses.bits_per_dim(
    model, x0[:1], schedule, generator=torch.Generator().manual_seed(0), progress=True
)

# %%
middle = all_terms.total - all_terms.prior - all_terms.distortion
few = evaluation["sets"]["mnist"]["few"]
live = {"prior": all_terms.prior, "middle": middle, "L_0": all_terms.distortion}
print("from the file, image  " + "".join(f"{i:8d}" for i in range(4)))
for part, title in {"prior": "L_T", "middle": "L_1 + … + L_(T-1)", "L_0": "L_0"}.items():
    print(f"{title:22s}" + "".join(f"{value:8.3f}" for value in few[part]))
    same = abs(float(live[part][0]) - few[part][0]) < 0.05
    print("   image 0, anew: the same to 0.05 bits/dim:", same)
    assert same
of_paper = paper.FACTS
print(
    f"the paper, CIFAR-10: rate {of_paper['rate_bpd'].value}, L_0 {of_paper['distortion_bpd'].value}, L_T {of_paper['prior_bpd'].value}"
)

# %% [markdown]
# Where do the bits go? The same terms one by one. On both axes the scale is logarithmic.

# %%
fig, ax = viz.figure(6.8, 3.0)
by_t = all_terms.terms.mean(dim=0)
ax.loglog(torch.arange(1, 1001), by_t, color=viz.COLORS["sky"], linewidth=1, label="one digit, every t, now")
for (name, parts), color, mark in zip(evaluation["sets"].items(), ("blue", "vermillion"), "os", strict=False):
    test = parts["test"]
    middle_t = [math.sqrt(a * b) for a, b in test["strata"]]
    per_term = [s / (b - a + 1) for s, (a, b) in zip(test["beta"]["sums"], test["strata"], strict=True)]
    ax.loglog(
        middle_t,
        per_term,
        mark,
        color=viz.COLORS[color],
        markersize=4,
        label=f"{name}, {test['images']} images",
    )
ax.set(
    xlabel="t", ylabel="bits/dim", title=r"the term of the bound at $t$ ($L_0$ at $t = 1$, else $L_{t-1}$)"
)
ax.legend(frameon=False, fontsize=9)
viz.show(
    fig,
    alt="Term of the bound over t, both axes logarithmic. It falls from about one bit at t = 1 to less than a hundred thousandth at t = 1000. The line of one digit and the points of 1000 MNIST images lie close together; Fashion-MNIST lies above them at small t.",
)
first_ten = float(by_t[:10].sum() / by_t.sum())
print("the first 10 of 1000 steps hold more than half of the bits:", first_ten > 0.5)

# %% [markdown]
# ## A thousand images for the price of eight steps
#
# A thousand calls an image are too many for a test set. The sum over $t$ can be *estimated* instead: draw a random $t$, and count its term $T$ times. That is right on average and useless in practice, since the terms differ by factors of thousands and more:
# whether $t = 1$ is among the draws decides everything.
#
# So cut $1 \ldots T$ into *strata* of lengths $n_1, \ldots, n_K$, short where the terms are large, and draw one $t$ from each. The draw from stratum $k$ stands for all its terms:
#
# $$\sum_t L_t \;\approx\; \sum_{k=1}^{K} n_k\, L_{t_k}, \qquad t_k \text{ uniform in stratum } k.$$
#
# Also right on average, for any choice of strata. We can see by how much it is better, because for one image we have all the terms.

# %%
pieces = losses.strata(schedule.T, 8)
print("strata:", "  ".join(f"{a}–{b}" if b > a else f"{a}" for a, b in pieces))

terms, g = all_terms.terms[0], torch.Generator().manual_seed(2)  # of the first image, (1000,)
anywhere = terms[torch.randint(0, 1000, (4000, 8), generator=g)].mean(dim=1) * 1000  # (4000,)
one_each = sum((b - a + 1) * terms[torch.randint(a - 1, b, (4000,), generator=g)] for a, b in pieces)
truth = float(terms.sum())
for name, x in (("anywhere", anywhere), ("one from each", one_each)):
    right = abs(float(x.mean()) - truth) < 4 * float(x.std()) / math.sqrt(len(x))
    print(f"{name:14s} right on average: {right}   spread / truth: {float(x.std()) / truth:.1f}")
assert anywhere.std() > 8 * one_each.std()

# %% [markdown]
# Now $N$ images. Each gets its own $t_k$ and its own noise, so its estimate $\ell_n = \sum_k n_k L_{t_k}$ is a number of its own, independent of the others. Their mean estimates the bound, and their spread says how far to trust it. The *standard error* is
#
# $$\mathrm{se} = \frac{s}{\sqrt N}, \qquad s^2 = \frac{1}{N-1}\sum_n (\ell_n - \bar\ell)^2,$$
#
# and it holds everything that was drawn at random: images, times, noise. It says how far another draw of them might lie; it says nothing about how far the *bound* lies above the true $-\ln p_\theta$, which no number of draws makes smaller. What it does not allow is to treat the strata as independent: a difficult image is difficult in all of them.
#
# ### Exercise 10.2: stratified


# %%
def stratified(draws, lengths):
    """draws (N, K): one term an image and stratum. lengths (K,): how many t a stratum has.

    Returns two tensors without axes: the estimate of the whole sum, a mean over images, and its standard error.
    """
    ### BEGIN SOLUTION
    each = (draws * lengths).sum(dim=1)  # (N, K) -> (N,)
    return each.mean(), each.std() / math.sqrt(len(each))
    ### END SOLUTION


# %%
stratified = check("10.2", stratified)
# hint("10.2")

# %% [markdown]
# All 64 held-out digits, eight calls an image: a few seconds. `losses.stratified_bits_per_dim` draws; your function adds up. Beside it stands the file, with 1000 images.

# %% tags=["volatile"]
estimate = losses.stratified_bits_per_dim(
    model,
    data.from_uint8(heldout["mnist"]),
    schedule,
    count=8,
    generator=torch.Generator().manual_seed(3),
    progress=True,
)
lengths = torch.tensor([b - a + 1 for a, b in estimate.strata])
value, error = stratified(estimate.sums / lengths, lengths)  # .sums holds n_k L already
print(f"64 images: {value + estimate.prior.mean():.2f} ± {error:.2f} bits/dim")

# %%
stored = evaluation["sets"]["mnist"]["test"]["beta"]
gap = abs(float(value + estimate.prior.mean()) - stored["total"])
print(f"1000 images, from the file: {stored['total']:.2f} ± {stored['error']:.2f} bits/dim")
print("the two agree within four standard errors:", gap < 4 * math.hypot(float(error), stored["error"]))
assert gap < 4 * math.hypot(float(error), stored["error"])

# %% [markdown]
# ### What the checkpoints need
#
# Both checkpoints, on images that they have not seen and, for comparison, on images that they were trained on. And with both of the paper's choices of $\sigma_t^2$, which need no new training: only the bound is computed otherwise.

# %%
print("                          sigma^2 = beta      sigma^2 = beta_tilde     L_0 of the latter")
for name, parts in evaluation["sets"].items():
    for which in ("test", "train"):
        row = parts[which]
        cells = [f"{row[v]['total']:.3f} ± {row[v]['error']:.3f}" for v in ("beta", "beta_tilde")]
        print(
            f"{name:14s} {which:6s}  {cells[0]:>18s}  {cells[1]:>18s}  {row['beta_tilde']['sums'][0]:16.3f}"
        )

# %% [markdown]
# Two things to read off. First, test and training images cost the same within the errors: these networks saw each image a handful of times, and nothing here shows that they know them by heart. Second, the variance matters for the digits, and hardly for the clothing. Why?
# In (8) there is a constant, the price of the wider variance, $C_t = \frac12\big[\ln\frac{\beta_t}{\tilde\beta_t} + \frac{\tilde\beta_t}{\beta_t} - 1\big]$ nats a dimension. No training can lower it. Added up over $t \ge 2$:

# %%
upper, lower = schedule.beta[2:], schedule.beta_tilde[2:]
constants = 0.5 * (torch.log(upper / lower) + lower / upper - 1) / math.log(2)
print(
    f"the price of the variance beta: {constants.sum():.3f} bits/dim, of which t = 2 alone {constants[0]:.3f}"
)
for name, parts in evaluation["sets"].items():
    difference = parts["test"]["beta"]["total"] - parts["test"]["beta_tilde"]["total"]
    print(f"{name:14s} measured difference between the two: {difference:.3f}")

# %% [markdown]
# The wider variance has its price, whatever the network does, and in return it forgives errors: they are divided by $\beta_t$ and not by the smaller $\tilde\beta_t$. What remains, with a little from $L_0$, is the measured difference. On the digits, mostly black, the network errs little, and most of the price remains. It even decides: with $\beta_t$ the bound lies above the 1.89 bits of the bare histogram (of our 64 digits), with $\tilde\beta_t$ below.
# On the clothing the errors are larger, and what is forgiven makes up for the price. These networks, whose samples chapter 09 shows, were trained with $L_\text{simple}$, for samples, and briefly. Bits were not their aim.
#
# The paper reports 3.75 bits/dim on CIFAR-10. Ours are lower, and that means nothing: the images are other ones. Bits/dim can be compared between models *on the same images*, in the same 256 levels, and only there.
#
# ## How far apart are two clouds?
#
# Likelihood says little about how samples look: a model can spend its bits well on what nobody sees (chapter 11). To judge samples one compares crowds. Let a trained classifier turn each image into $D$ numbers, *features*, that hold what matters for telling things apart.
# Fit a Gaussian to the features of the real images, another to those of the samples, and take the distance of the two. For Gaussians the Fréchet distance (also called Wasserstein-2) has a formula:
#
# $$d^2 = \lVert\mu - \mu'\rVert^2 + \operatorname{tr}\!\big(\Sigma + \Sigma' - 2\,(\Sigma\Sigma')^{1/2}\big).$$
#
# Everything is easy except the last term. $(\Sigma\Sigma')^{1/2}$ is the matrix whose *matrix product* with itself is $\Sigma\Sigma'$; a root taken number by number is something else. We need only its trace, and a trace is the sum of the eigenvalues:
# if $\Sigma\Sigma'$ has the eigenvalues $\lambda_i$, its root has $\sqrt{\lambda_i}$. They are real and not negative, whatever the dtype of `torch.linalg.eigvals` says; but rounding may push a zero a little below zero.
#
# In one dimension it all becomes simple, $d^2 = (\mu-\mu')^2 + (\sigma-\sigma')^2$: a good test for a first version.
#
# ### Exercise 10.3: frechet


# %%
def frechet(mean_a, cov_a, mean_b, cov_b):
    """d^2 of N(mean_a, cov_a) and N(mean_b, cov_b): means (D,), covariances (D, D). A tensor without axes, of their dtype."""
    ### BEGIN SOLUTION
    cross = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()
    return (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    ### END SOLUTION


# %%
frechet = check("10.3", frechet)
# hint("10.3")

# %%
one = torch.ones(1, 1, dtype=torch.float64)
print("in one dimension:", float(frechet(one[0], 4 * one, 3 * one[0], 9 * one)), "= (1 - 3)² + (2 - 3)²")

net = metrics.feature_net("digits")  # a small classifier of the embedded 8 x 8 digits
train_images, test_images = ablation.split()
real, unseen = (
    metrics.features(net, x).double() for x in (train_images, test_images)
)  # (1438, 64), (359, 64)


def distance(features, reference=real):
    """The Fréchet distance between two sets of features, (N, 64) and (M, 64)."""
    a, b = features.double(), reference.double()
    return float(frechet(a.mean(dim=0), torch.cov(a.T), b.mean(dim=0), torch.cov(b.T)))


print("features:", tuple(real.shape), tuple(unseen.shape))
print(
    "as the package has it:",
    math.isclose(distance(unseen), metrics.frechet_distance(unseen, real), rel_tol=1e-3),
)

# %% [markdown]
# Does the number say what we want it to say? Spoil real images, more and more, and see whether it grows. From here on the images are the embedded 8 × 8 digits, so that everything can be done here and now.

# %% tags=["nbval-ignore-output"]
g = torch.Generator().manual_seed(4)
mixed = test_images[torch.randperm(359, generator=g)]
noise = torch.randn(mixed.shape, generator=g)


def spoil(amount, kind):
    """The unseen digits, spoilt: uint8 (359, 1, 8, 8)."""
    x = data.from_uint8(mixed)
    if kind == "noise":
        x = x + amount * noise
    elif kind == "blur":
        x = (1 - amount) * x + amount * torch.nn.functional.avg_pool2d(
            x, 3, stride=1, padding=1, count_include_pad=False
        )
    else:  # fewer: only the first digits, again and again
        x = x[torch.arange(len(x)) % max(2, round(len(x) * (1 - amount)))]
    return data.to_uint8(x)


live_fig, (row_ax, curve_ax) = viz.figure(8.2, 2.7, ncols=2, width_ratios=[1.35, 1])
amounts = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95]
curves = {
    kind: [distance(metrics.features(net, spoil(a, kind))) for a in amounts]
    for kind in ("noise", "blur", "fewer")
}
for (kind, values), color, style in zip(
    curves.items(), ("blue", "vermillion", "green"), ("-", "--", ":"), strict=True
):
    curve_ax.semilogy(amounts, values, style, color=viz.COLORS[color], label=kind)
(dot,) = curve_ax.plot([0], [curves["noise"][0]], "o", color=viz.COLORS["black"])
curve_ax.set(xlabel="amount", title="Fréchet distance")
curve_ax.legend(frameon=False, fontsize=9)


def draw(amount, kind):
    """Twenty spoilt digits, and where their distance lies."""
    images = spoil(amount, kind)
    d = distance(metrics.features(net, images))
    page = images[:20, 0].reshape(2, 10, 8, 8).permute(0, 2, 1, 3).reshape(1, 16, 80)
    viz.image(row_ax, page, f"{kind}, {amount:.2f}: distance {d:.1f}")
    dot.set_data([amount], [d])
    return live_fig


widgets.live(
    draw,
    amount=(0.0, 0.95, 0.05),
    kind=["noise", "blur", "fewer"],
    alt="Twenty spoilt digits at the left; at the right the Fréchet distance over the amount of spoiling, rising for noise and for blur at once, and for taking fewer digits only when few are left.",
)

# %%
for kind, values in curves.items():
    print(f"{kind:6s} the distance at 0.8 is at least twice that at 0:", values[5] > 2 * values[0])

# %% [markdown]
# ## The floor, and its bias
#
# **What do you expect?** Take two different sets of 100 *real* images. What is their distance? And with 400?
#
# <details><summary>Answer</summary>
#
# Not 0. The means and covariances are estimates from a sample, and estimates differ; $d^2$ cannot be negative, so the differences do not cancel. With four times as many images the distance is about a quarter. The next cell measures it.
#
# </details>
#
# That is the *floor*: what a perfect generator would get. It is a *bias*: a distance from few images is too large on average, not only uncertain. Here it depends on the number of images about as $1/n$.

# %%
sizes = [64, 100, 200, 400, 700]
floors = [metrics.real_floor(real, n, torch.Generator().manual_seed(5), repeats=20) for n in sizes]
for n, floor in zip(sizes, floors, strict=True):
    print(f"n = {n:3d}   real against real {floor:5.1f}   times n: {n * floor:5.0f}")
print("from 100 to 400 images it falls to between a fifth and a third:", 0.2 < floors[3] / floors[1] < 0.33)

# %% [markdown]
# So a distance without its $n$ says little, a smaller $n$ looks worse, and two models must be compared at the same $n$. Not only perfect samples are hit: the next cell takes noisy digits too, 50 of them and all 359.
#
# Three habits: print the floor beside the distance; keep $n$ fixed; say which images are the reference. The last one is no detail. The paper's best model has FID 3.17 against the training set and 5.24 against the test set:

# %%
noisy = metrics.features(net, spoil(0.4, "noise")).double()
g, gained = torch.Generator().manual_seed(9), {}
for name, crowd in (("unseen", unseen), ("noisy", noisy)):
    fewer = [distance(crowd[torch.randperm(359, generator=g)[:50]]) for _ in range(20)]
    gained[name] = sum(fewer) / len(fewer) - distance(crowd)
print("50 images, not 359, make the distance larger:", all(gain > 0 for gain in gained.values()))
print({name: round(gain, 1) for name, gain in gained.items()})

print(
    "the paper's L_simple on CIFAR-10: FID",
    paper.TABLE_1["L_simple"][2],
    "(training set),",
    paper.TEST_SET_FID,
    "(test set)",
)
g = torch.Generator().manual_seed(6)
perfect = [distance(unseen[torch.randperm(359, generator=g)[:200]]) for _ in range(10)]
floor = sum(perfect) / len(perfect)
print(f"here: 200 digits that nobody has seen, against the 1438 of the training set: {floor:.1f}")

# %% [markdown]
# That is our mark for the rest of the chapter: 200 samples from a perfect generator would get about as much.
#
# **FID proper** differs in everything but the formula: the features are the 2048 numbers before the last layer of an Inception-v3 trained on ImageNet, images are resized to 299 × 299 by a fixed filter, the reference is a whole data set and the samples are 50,000. Each of these changes the number;
# even the resizing filter does. For a paper, take a tested implementation, `torch-fidelity` or `torchmetrics`, and say which. Our distances can be compared with each other and with no published FID.
#
# ## Is everything there?
#
# A generator that makes only beautiful ones, of one single kind, should fail. The Fréchet distance notices it, but does not say so: it mixes quality and diversity. *Coverage* asks only for the second. Draw around each real image a ball that reaches to its $k$-th nearest *other* real image. The image is *covered* if any sample lies in its ball. Coverage is the share of real images that are:
#
# $$\text{coverage} = \frac1N \sum_{i=1}^N \mathbf 1\Big[\min_j \lVert r_i - s_j\rVert \le \rho_k(r_i)\Big], \qquad \rho_k(r_i) = \text{distance to the } k\text{-th nearest other } r.$$
#
# The balls are small where the data is dense. A generator that repeats one image covers almost nothing, however perfect the image is.
#
# ### Exercise 10.4: coverage


# %%
def coverage(real, samples, k):
    """The share of the real points (N, D) that have one of the samples (M, D) in their ball. Returns a float."""
    ### BEGIN SOLUTION
    radius = torch.cdist(real, real).sort(dim=1).values[:, k]  # place 0 is the point itself
    return float((torch.cdist(real, samples).min(dim=1).values <= radius).double().mean())
    ### END SOLUTION


# %%
coverage = check("10.4", coverage)
# hint("10.4")

# %%
g = torch.Generator().manual_seed(7)
ten = torch.stack([real[metrics.classify(net, train_images) == c][0] for c in range(10)])  # one of each digit
crowds = {
    "200 training digits": real[torch.randperm(len(real), generator=g)[:200]],
    "the same 50, four times": real[torch.randperm(len(real), generator=g)[:50]].repeat(4, 1),
    "one of each digit, 20 times": ten.repeat(20, 1),
}
for name, crowd in crowds.items():
    print(f"{name:28s} coverage {coverage(unseen, crowd, 3):.2f}   distance {distance(crowd):.0f}")

# %% [markdown]
# ## Are they copies?
#
# The last suspicion: a generator that has simply stored its training images would get a Fréchet distance of almost 0 and full coverage. It would even have the best possible loss. Chapter 03 showed it: for a finite set of images the best $\varepsilon_\theta$ is known. Its $\hat x_0$ is a weighted mean of the training images, and at small $t$ practically one of them. Sample with it:

# %%
sixteen = train_images[:16]
short = ablation.schedule()  # T = 100
stored_images = exact.finite(data.from_uint8(sixteen))
steps = samplers.ddpm(
    lambda xt, t: stored_images.eps(xt, t, short),
    (32, 1, 8, 8),
    short,
    generator=torch.Generator().manual_seed(8),
)
perfect_copies = data.to_uint8(samplers.last(steps).xt)
print("made with the best network for 16 images:", tuple(perfect_copies.shape))

# %% [markdown]
# To tell a copy, look for the nearest training image. The plainest distance is that of the pixels,
#
# $$d(a, b) = \sqrt{\tfrac1D \textstyle\sum_i (a_i - b_i)^2}\ ,$$
#
# in grey levels, 0 to 255. The images are bytes: mind what `uint8` does when it should become negative.
#
# ### Exercise 10.5: nearest


# %%
def nearest(samples, images):
    """samples uint8 (S, C, H, W), images uint8 (N, C, H, W). Returns the distance to the nearest image, float64 (S,), and its place, int64 (S,)."""
    ### BEGIN SOLUTION
    sample, image = samples.flatten(1).double(), images.flatten(1).double()
    rms = (sample[:, None] - image[None]).square().mean(dim=2).sqrt()  # (S, 1, D), (1, N, D) -> (S, N)
    return rms.min(dim=1)
    ### END SOLUTION


# %%
nearest = check("10.5", nearest)
# hint("10.5")

# %%
apart, which = nearest(perfect_copies, sixteen)
print("every sample is a training image, to within one grey level:", bool((apart < 1).all()))
print("and nearly all sixteen are there:", len(which.unique()) >= 12)

# %% [markdown]
# The network with the least loss is a copying machine. Real ones need not be: they may have too few weights, too little time, or too many images to hold for fitting that function. So there should be a place where it turns. We trained the same small network with the same budget on 16, 64, 256 and 1438 digits, and took 200 samples of each; five runs of each, with five seeds. The samples of the first are in the course.
#
# **What do you expect?** Where does copying stop?
#
# <details><summary>Answer</summary>
#
# Here, between 16 and 256. With 16 images nearly every sample is a copy, with 256 none is, and 64 lies between: hardly a copy by a strict rule, but too near. With more time or more weights the place may move: it is a race between the number of images and what the network can hold.
#
# </details>

# %%
made = load_file(results.FOLDER / "samples_memorisation.safetensors")
frames = []
for size in (16, 64, 256, 1438):
    samples = made[str(size)][:12]
    _, which = nearest(samples, train_images[:size])
    frames.append(torch.cat([samples, train_images[:size][which]]))
widgets.scrubber(
    torch.stack(frames).repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2),  # larger pixels
    [f"trained on {size}" for size in (16, 64, 256, 1438)],
    alt="Twelve samples and below each its nearest training image, for networks trained on 16, 64, 256 and 1438 digits. With 16 the rows are equal; with 1438 they differ in shape and stroke.",
    ncol=12,
    scale=2,
    fps=1.0,
)

# %% [markdown]
# How near is near? A distance needs something to be held against. Two kinds of comparison are in use:
#
# - *unseen images*: how near do real images that were not in the training set come to it? A generator that has learned the kind, not the copies, should come about as near, no nearer;
# - *the second nearest*: a copy is much nearer to one training image than to any other. We call a sample a copy if its nearest is less than a third as far as the second nearest.

# %%
print("trained on   copies  (unseen)   median distance  (unseen)   held-out bits/dim   Fréchet distance")
for run in (run for run in memory["runs"] if run["seed"] == 0):
    size = run["size"]
    d, _ = metrics.nearest_neighbours(made[str(size)], train_images[:size], k=2)
    share = float((d[:, 0] < d[:, 1] / 3).double().mean())
    median = float(nearest(made[str(size)], train_images[:size])[0].quantile(0.5))
    assert abs(share - run["copies"]) < 1e-9  # worked out anew, it is what the file says
    line = f"{size:10d} {share:8.2f} {run['copies_unseen']:9.2f} {median:17.0f} {run['unseen'][1]:10.0f}"
    print(line + f" {run['bits']:19.2f} {run['frechet']:18.1f}")

print(f"\nthe least and the most of the seeds {memory['seeds']}:")
for size in (16, 64, 256, 1438):
    runs = [run for run in memory["runs"] if run["size"] == size]
    many = {key: [run[key] for run in runs] for key in ("copies", "bits", "frechet")}
    many["nearest"] = [run["nearest"][1] for run in runs]
    ends = {key: (min(values), max(values)) for key, values in many.items()}
    print(
        "{:10d} {:.2f} to {:.2f} {:17.0f} to {:.0f}".format(size, *ends["copies"], *ends["nearest"]),
        "{:21.2f} to {:.2f} {:13.1f} to {:.1f}".format(*ends["bits"], *ends["frechet"]),
    )

# %% [markdown]
# With 16 images the samples are the training set. With 64 the strict rule finds next to no copies, but the samples still come much nearer to the training images than unseen digits do: that is why one needs both comparisons. With 256 they come about as near as unseen digits (42 to 44, against 44), and with 1438 not even that. All five seeds agree. (These are medians: 8 against 64 leaves no doubt, 42 to 44 against 44 says "hardly a sign of it", not "no single copy".)
#
# Now the other two columns. The bits of *held-out* images tell on the copying machine: it gives what it has not seen so little probability that its bound is more bits than a byte has. The Fréchet distance does not: 16 images lack variety, and that costs something, but after that no jump marks the place where copying ends, and the runs on 256 digits are no worse than those on 1438, which copy even less. Remember the first row when you come to the table of the last section: several networks there, which saw all 1438 digits for 400 steps and not 1000, are worse by this measure than this copying machine.
#
# Pixels are not the only place to look. A digit shifted by one pixel is a copy to the eye and far away in pixels. So the search is repeated in the space of features, where such changes count less.

# %%
print("trained on   median distance in features: samples  unseen")
for size in (16, 64, 256, 1438):
    of_samples = metrics.features(net, made[str(size)]).double()
    by = [torch.cdist(x, real[:size]).min(dim=1).values.quantile(0.5) for x in (of_samples, unseen)]
    print(f"{size:10d} {by[0]:36.1f} {by[1]:7.1f}")

# %% [markdown]
# The same picture: at 16 and 64 the samples come nearer than unseen digits, afterwards they do not. From 256 on they are even *further* away than real digits are from each other: to the classifier these samples are a little off. Distance to the training set finds copies; it says nothing about quality.
#
# ## A variance that is learned
#
# Before the table, one more ingredient. The paper fixes $\sigma_t^2$; it also tried a *learned diagonal* $\Sigma$: the network has a second output for each pixel, $\log\sigma^2$. "Diagonal" means that each pixel has a variance of its own, and no covariances. $L_\text{simple}$ says nothing about it, only the bound $L$ can teach it.
# The paper found such training unstable and the samples poorer. Nichol and Dhariwal (2021) made it work by asking for less: $\beta_t$ is right if $x_0$ is pure noise, $\tilde\beta_t$ if $x_0$ is known, and the truth lies in between. So the network says only *where* in between, a number $v$ a pixel, on a logarithmic scale:
#
# $$\log\sigma_t^2 = v\,\log\beta_t + (1 - v)\,\log\tilde\beta_t .$$
#
# It usually lies between 0 and 1, but nothing holds it there. At $t = 1$ the lower end is $\tilde\beta_1 = 0$, whose logarithm does not exist; the convention is $\tilde\beta_2$ in its place: `losses.posterior_variance(schedule)` has done it.
#
# ### Exercise 10.6: log_variance


# %%
def log_variance(v, t, schedule):
    """log sigma_t^2 for v (B, ...): log beta_t where v = 1, log beta_tilde_t where v = 0. Shape and dtype as v."""
    ### BEGIN SOLUTION
    upper = process.at(schedule.beta, t, v).log()
    lower = process.at(losses.posterior_variance(schedule), t, v).log()
    return v * upper + (1 - v) * lower
    ### END SOLUTION


# %%
log_variance = check("10.6", log_variance)
# hint("10.6")

# %%
v = torch.full((4, 1), 0.5, dtype=torch.float64)
t = torch.tensor([2, 10, 100, 1000])
middle_of = log_variance(v, t, schedule).exp()[:, 0]
for k, s2 in zip(t.tolist(), middle_of.tolist(), strict=True):
    print(
        f"t = {k:4d}   beta_tilde / beta = {float(schedule.beta_tilde[k] / schedule.beta[k]):.3f}   halfway / beta = {s2 / float(schedule.beta[k]):.3f}"
    )

# %% [markdown]
# The two ends differ only at the smallest $t$. But there are the bits, as we have seen.
#
# ## Table 2, in miniature
#
# The paper's Table 2 asks which parts of the recipe matter: what the network predicts ($\tilde\mu$ or $\varepsilon$), what it minimises ($L$ or an unweighted square error), and whether the variance is learned. It answers in Inception score and FID on CIFAR-10, after 800,000 steps of a network with 35.7 million numbers, each run hours on a TPU.
# We ask the same of 8 × 8 digits and a network of 164 thousand, with three rows more: predict $x_0$ (with either loss), and learn $v$. Everything else is equal: steps, batches, learning rate, average, and five seeds each.

# %%
MEASURES = (("frechet", 1), ("coverage", 2), ("bits", 2))  # and how many decimals
budget = table["budget"]
print("budget of every run:", ", ".join(f"{k} {v}" for k, v in budget.items()))
print(
    "network:",
    sum(p.numel() for p in ablation.network(("eps", "L_simple", "fixed"), 0).parameters()),
    "numbers",
)
print(
    "rows:",
    len(ablation.ROWS),
    "| seeds:",
    table["seeds"],
    "| runs:",
    len(table["runs"]),
    "| all finite:",
    all(r["finite"] for r in table["runs"]),
)

# %% [markdown]
# First, that the file is what the code makes: the first twenty steps of one run, here and now.

# %%
run = next(r for r in table["runs"] if r["row"] == ["eps", "L", "fixed"] and r["seed"] == 0)
again = []
for step in ablation.train(tuple(run["row"]), train_images, ablation.Budget(**budget), run["seed"]):
    again.append(step.loss)
    if step.number == 20:
        break
same = torch.allclose(torch.tensor(again), torch.tensor(run["first_losses"]), rtol=0.02)
print("the first 20 losses, as in the file to 2 %:", same)
assert same


def over_seeds(row, key):
    """Mean and standard error of a measure over the seeds of a row: nan if a run of it was not finite."""
    runs = [r for r in table["runs"] if tuple(r["row"]) == row]
    x = torch.tensor([r.get(key, math.nan) for r in runs], dtype=torch.float64)
    return float(x.mean()), float(x.std() / math.sqrt(len(x)))


def cell(row, key, decimals):
    mean, error = over_seeds(row, key)
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def in_paper(row):
    """What the paper's Table 2 has for a row: Inception score and FID, on CIFAR-10."""
    found = paper.TABLE_2.get(row, "not in it")
    return (
        found
        if isinstance(found, str)
        else "unstable"
        if found is None
        else f"{found[0]:.2f}, {found[1]:5.2f}"
    )


print("predicts  minimises variance  Fréchet distance   coverage       bits/dim     | paper: IS, FID")
for row in ablation.ROWS:
    cells = [cell(row, key, decimals) for key, decimals in MEASURES]
    print("{:9s} {:9s} {:8s} {:>14s} {:>14s} {:>15s}   | {}".format(*row, *cells, in_paper(row)))
print(f"floor of the distance, 200 unseen digits: {floor:.1f}")

# %%
names = [", ".join(row) for row in ablation.ROWS]
fig, axes = viz.figure(8.6, 3.2, ncols=3, sharey=True)
titles = ("Fréchet distance, lower is better", "coverage, higher is better", "bits/dim, lower is better")
for ax, (key, _), title in zip(axes, MEASURES, titles, strict=True):
    for place, row in enumerate(ablation.ROWS):
        values = [r[key] for r in table["runs"] if tuple(r["row"]) == row and r["finite"]]
        ax.plot(values, [place + 0.25] * len(values), ".", color=viz.COLORS["orange"], markersize=6)
        mean, se = over_seeds(row, key)
        ax.errorbar(mean, place, xerr=se, fmt="s", color=viz.COLORS["blue"], markersize=5, capsize=3)
    ax.set_title(title, fontsize=10)
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
axes[0].axvline(floor, color=viz.COLORS["black"], linestyle=":", linewidth=1)
axes[2].set(xscale="log", xticks=[5, 6, 8, 12, 16], xticklabels=["5", "6", "8", "12", "16"])
axes[2].minorticks_off()
viz.show(
    fig,
    alt="Three panels with a line for each row of the table. Fréchet distance: x0 with mse is lowest, near 20, with the dotted floor near 6; eps with L_simple and mu_tilde with a learned variance follow, around 40; eps with a learned variance is highest. Coverage: x0 with mse near 0.4, all others around 0.2 or below. Bits per dimension on a logarithmic axis: the rows of eps between 4.8 and 6, mu_tilde and x0 with L between 6 and 8, x0 with mse above 15. Small orange points are single seeds, blue squares their mean with its standard error.",
)

# %%
pictures = load_file(results.FOLDER / "samples_ablation.safetensors")
viz.show(
    viz.grid(
        torch.cat([pictures["_".join(row)][:14] for row in ablation.ROWS]), ncol=14, scale=4, row_labels=names
    ),
    alt="Nine rows of fourteen samples of 8 × 8 pixels, one row for each row of the table. Where x0 is predicted with mse most are clear digits; x0 with L shows scattered bright pixels and hardly a digit; in the other rows digits can be made out under a grey grain.",
)

# %% [markdown]
# Now compare rows, two at a time. A difference has an error too: $\sqrt{\mathrm{se}_1^2 + \mathrm{se}_2^2}$. With many seeds, twice the error would do for 95 % confidence. From five seeds a row the error is itself only roughly known, and Student's $t$ asks for more: 2.3 errors if both rows scatter alike (8 degrees of freedom), 2.8 if one does all the scattering (4).
# So beyond 2.8 errors we call a difference decided, between 2 and 2.8 it gets a question mark, and below that it is open. Even so, of two dozen comparisons at 95 % about one would come out "decided" if nothing differed at all. And all this is about new seeds of the same runs: the 96 held-out digits behind the bits are the same everywhere.


# %%
def compare(title, one, other):
    """The differences of two rows, one minus other, with their errors."""
    line = f"{title:34s}"
    for key, decimals in MEASURES:
        (a, da), (b, db) = over_seeds(one, key), over_seeds(other, key)
        size, sign = abs(a - b) / math.hypot(da, db), "lower" if a < b else "higher"
        sign = "open" if size < 2 else sign + "?" if size < 2.8 else sign
        line += f"  {a - b:+6.{decimals}f} ± {math.hypot(da, db):.{decimals}f} {sign:9s}"
    print(line)


print(" " * 34 + "  distance                 coverage                 bits/dim")
compare("eps: L_simple, not L", ("eps", "L_simple", "fixed"), ("eps", "L", "fixed"))
compare("x0: mse, not L", ("x0", "mse", "fixed"), ("x0", "L", "fixed"))
compare("x0 with mse, not eps with L_simple", ("x0", "mse", "fixed"), ("eps", "L_simple", "fixed"))
compare("mu_tilde: mse, not L", ("mu_tilde", "mse", "fixed"), ("mu_tilde", "L", "fixed"))
compare("L: eps, not mu_tilde", ("eps", "L", "fixed"), ("mu_tilde", "L", "fixed"))
compare("L, eps: learned, not fixed", ("eps", "L", "learned"), ("eps", "L", "fixed"))
compare("L, eps: in a range, not fixed", ("eps", "L", "range"), ("eps", "L", "fixed"))
compare("L, mu_tilde: learned, not fixed", ("mu_tilde", "L", "learned"), ("mu_tilde", "L", "fixed"))

# %% [markdown]
# First the bits. Of the rows trained with $L$, those that predict $\varepsilon$ need the fewest. Learning *where* between $\tilde\beta_t$ and $\beta_t$ saves some more. A variance learned freely costs bits with both: in so short a time the network does not find what the two formulas give for nothing.
# (Low they are nowhere. The 8 × 8 digits have 17 grey levels only, so that $\log_2 17 = 4.09$ bits would do for anyone who knows it; no row gets there.)
#
# Then the samples. For $\varepsilon$ and for $x_0$ the plain error makes better ones than the bound, and the bound is what one pays with. For $\tilde\mu$ five seeds show no difference. A variance learned freely harms the samples of $\varepsilon$ and helps those of $\tilde\mu$, by their distance. In its range it changes nothing that we could see. And all of it is far from the floor: 400 steps are few, and the pictures above say so too.
#
# ### Ours and the paper's: why they cannot be equal
#
# The last column of the table is about CIFAR-10: 32 × 32 in colour, FID and Inception score from 50,000 samples and an Inception network, a network two hundred times as large, a thousand steps of the chain instead of a hundred, and two thousand times as many of training. No number in it can be compared with ours. What can be compared is the *order* of rows, and even that only with care:
#
# - **What agrees.** Predicting $\varepsilon$, the plain square error gives better samples than the bound does, and a little worse bits. That is one of the paper's main findings, and its Table 1 has both halves: FID 3.17 against 13.51, and 3.75 against 3.70 bits/dim.
# - **What may differ.** The paper calls two rows unstable: $\tilde\mu$ with a plain square error, and $\varepsilon$ with a learned variance. All our runs ended with finite numbers, though the second has the largest distance of the table. Ours are short runs, with a clipped gradient and a small network; an instability that sets in later has no time to show, so this is no contradiction. For $\tilde\mu$ the learned variance made the paper's samples worse and makes ours better, by more than twice what we ask for: here our little runs and the paper's long ones differ, and we do not know why. (Nor does anybody know the error of the paper's single numbers.)
# - **What is not in Table 2.** The paper says in section 3.2 that predicting $x_0$ gave worse samples, early in its experiments. Here the plain error of $x_0$ makes the best samples of all, and that is decided: but at this budget. It is $(1-\bar\alpha_t)/\bar\alpha_t$ times the error of $\varepsilon$, so it weighs large $t$ most, where it is settled what the digit *is*. For $t$ near 1 it then is not precise enough, and the bound, which divides by the tiny $\sigma_t^2$, is worse than no model at all: a byte has 8 bits. Quality and likelihood are two things.
#
# A table like this invites you to read off a winner. It holds for this data, this budget and this network; in the paper's, the paper's choice wins.
#
# ## Recap
#
# | | |
# |---|---|
# | bits/dim | nats / ($D\ln 2$); three parts, $L_T \approx 0$; most of it sits in the first few $t$ |
# | an estimate | strata, one draw each; the standard error is taken over images, nothing else is independent |
# | Fréchet distance | of two Gaussians fitted to features; has a floor that falls about as $1/n$; compare only at equal $n$, net and reference |
# | coverage | the share of the data that has a sample nearby: diversity alone |
# | copies | nearest training image, held against unseen images and the second nearest |
# | Table 2 | what is predicted, what is minimised, which variance; without seeds and error bars one cannot tell a difference from luck |
#
# Before you go: a colleague reports FID 2.9 from 5,000 samples and says that it beats the paper's 3.17. Name three questions to ask.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# A copy shifted by one pixel is still a copy, and `nearest` misses it. Write a search that finds the nearest training image up to shifts of one pixel in each direction. Does it find more copies among the 200 samples of each network in `made`? What must it be held against, so that the answer is fair?
#
# <!-- BEGIN SOLUTION -->
# Shift the *training* images in nine ways (the edge filled with black, 0) and search among all of them; keep for each image the best of its nine. A search among nine times as many images always comes nearer, so the same must be done for unseen digits: what counts is whether the samples gain more than they do.
# In the next cell the shares stay as they were: the network was never shown shifted digits, and it has not made any of its own.
# <!-- END SOLUTION -->


# %% tags=["solution-only"]
def shifted(images):
    """(N, 1, 8, 8) -> (9, N, 1, 8, 8): moved by -1, 0 and 1 pixels each way, black where nothing is left."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    return torch.stack([padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)])


def copies(samples, images):
    """The share whose nearest image, at its best shift, is less than a third as far as the second nearest."""
    d = torch.stack(
        [torch.cdist(samples.flatten(1).double(), x.flatten(1).double()) for x in shifted(images)]
    )
    two = d.min(dim=0).values.topk(2, dim=1, largest=False).values
    return float((two[:, 0] < two[:, 1] / 3).double().mean())


for size in (16, 64, 256, 1438):
    print(
        f"{size:5d}   samples {copies(made[str(size)], train_images[:size]):.2f}   unseen {copies(test_images, train_images[:size]):.2f}"
    )
