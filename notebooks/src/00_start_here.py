# %% [markdown]
# # 00 · Start here: the destination first
#
# {{ colab }}
#
# In a few minutes a small neural network will draw handwritten digits for you, out of pure noise, on your own machine.
# You will watch it happen, one step at a time. Then we spend the rest of the course building every piece of it.
#
# | | |
# |---|---|
# | **You will** | sample digits from a trained model · scrub through the denoising with a slider · tell what a diffusion model learns, and what it does not · read the notation of the course · learn how its exercises work |
# | **Time** | 45 minutes |
# | **You need** | some Python; tensors help, and chapter 01 starts gently |
# | **Equations** | none to derive yet; eq. (4) to look at |
#
# The paper is *Denoising Diffusion Probabilistic Models*, Ho, Jain and Abbeel, 2020 ([arXiv:2006.11239](https://arxiv.org/abs/2006.11239)).
# Equation numbers in this course are the paper's.

# %%
# {{ setup }}
import platform
import sys
import time

import torch
from tqdm import tqdm

from ddpm_lite import checkpoints, data, process, samplers, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

SEED = 0
generator = torch.Generator().manual_seed(SEED)

# %% [markdown]
# ## Is this machine ready?
#
# A short preflight. Nothing here needs a graphics card. The course computes with one thread, and leaves the other cores to your browser. The last line multiplies two matrices and tells how fast that went,
# in GFLOP/s (thousand million multiplications and additions a second): the more of them, the shorter you wait for the sampling below.


# %% tags=["volatile"]
def matmul_gflops(n=1024, repeats=5):
    """The best of a few timings of an n x n matrix product: 2 n^3 operations each."""
    a, b = torch.randn(n, n, generator=generator), torch.randn(n, n, generator=generator)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
print(
    f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.system()} on {platform.machine()}"
)
print(f"best device here: {device}; this chapter uses the CPU, threads: {torch.get_num_threads()}")
print(f"matrix product: {matmul_gflops():.0f} GFLOP/s")

# %% [markdown]
# ## Sixteen digits out of noise
#
# The course ships a network that was trained, by this project and on a laptop-sized machine, on the 60,000 digits of MNIST.
# Its *model card* travels with it and says what it is.

# %%
model, schedule, card = checkpoints.load("mnist")
print(
    f"{model.parameter_count():,} parameters, a {schedule.name} schedule with T = {schedule.T} noise levels"
)
print("trained on:", card["data"], "| licence:", card["licence"])
print(
    f"training: {card['training']['steps']:,} steps of {card['training']['batch']} images, {card['minutes']:.0f} minutes on {card['machine'].split(',')[1].strip()} of a processor"
)

# %% [markdown]
# We ask for the digits 0 to 9 and then 0 to 5. The sampler starts from an image in which every pixel is an independent
# draw from $\mathcal N(0, 1)$. It then calls the network again and again. Each call takes some of the noise away, and the sampler
# puts a little fresh noise back; chapter 03 says why.
#
# The paper takes all $T = 1000$ steps. To save your time we visit every fourth noise level, 250 in all.
# That this is allowed is not obvious; chapter 12 says why.

# %% tags=["volatile"]
STEPS = 250  # the paper's 1000 works too, and takes four times as long
labels = torch.arange(16) % 10
generator = torch.Generator().manual_seed(SEED)
short, tau = schedules.respace(schedule, STEPS)


def eps_model(xt, t):
    """The noise that the network sees in x_t, given the noise level and the wanted digit."""
    return model(xt, t, labels)


noise = torch.randn(16, 1, 28, 28, generator=generator)
network = samplers.at_timesteps(eps_model, tau)
chain = samplers.ddpm(network, noise.shape, short, variance="beta_tilde", xT=noise, generator=generator)
steps = list(tqdm(chain, total=STEPS, desc="sampling", file=sys.stdout, ncols=80, mininterval=1))

# %%
x0 = steps[-1].xt
print(
    "images:",
    tuple(x0.shape),
    "| finite:",
    bool(torch.isfinite(x0).all()),
    "| within [-1, 1]:",
    bool(x0.abs().max() <= 1),
)
viz.show(
    viz.grid(x0, ncol=8, titles=[str(int(y)) for y in labels]),
    alt=f"Sixteen generated handwritten digits in two rows of eight, each under the label that was asked for: {', '.join(map(str, labels.tolist()))}.",
)

# %% [markdown]
# Most of them would pass; one or two may look like no digit that anyone wrote. This is a small network, trained for less than the
# length of a film. Are they new, or copies of training images? A fair question to ask of any generative model. Chapter 10 measures it.
#
# ## Scrub the denoising
#
# Each frame below shows the first eight images twice. The **upper** two rows are $x_t$, where the chain stands.
# The **lower** two are $\hat x_0$, the guess of the finished image from which this $x_t$ was made.
# Values beyond $[-1, 1]$ are shown as black or white. Move the slider, or click it and use the arrow keys.

# %%
every = torch.linspace(0, STEPS - 1, 26).round().long().tolist()
frames = torch.stack(
    [torch.cat([steps[i].xt[:8], steps[i].x0_hat[:8]]) for i in every]
)  # (26, 16, 1, 28, 28)
captions = [f"t = {int(tau[steps[i].t])}" for i in every]
widgets.scrubber(
    frames,
    captions,
    ncol=4,
    scale=3,
    quality=80,
    alt="Eight digits emerging from noise as t falls from 996 to 0: upper rows x_t, lower rows the guess of the finished image.",
)

# %% [markdown]
# **What do you expect?** *Which* digit it will be the label has decided. *How* it will be written is still open at the start. Look only at the lower rows.
# At which $t$ do slant and stroke of the digits stand? And what changes in the last hundred levels?
#
# <details><summary>Answer</summary>
#
# The very first guesses are crude, in hard black and white: close to pure noise, a small error in the predicted noise becomes a large one in the image,
# and what leaves $[-1, 1]$ is cut off. (Chapter 01 shows by how much: 157 times.)
# After some two hundred levels they are soft grey digits. Their strokes settle over the next few hundred, while $x_t$ above them still looks like noise.
# The last hundred levels change hardly anything you would notice: edges sharpen, specks vanish. Coarse things are decided early, at large $t$, and fine detail late.
# Chapter 11 puts numbers on this: most of the information in an image is spent on detail that no one sees.
#
# </details>
#
# ## What just happened
#
# Two processes run in opposite directions.
#
# * The **forward process** $q$ destroys an image: at every step it shrinks it a little and adds a little Gaussian noise. It has no parameters and learns nothing.
#   After $T$ steps next to nothing of the image is left. All the steps up to $t$ can be made in one jump,
#   $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\qquad \varepsilon\sim\mathcal N(0, I) \tag{4}$$
# * The **reverse process** $p_\theta$ rebuilds one. The network $\varepsilon_\theta(x_t, t)$ looks at a noisy image and says *which noise was added*.
#   That is all it was ever trained to do. Take a little of that noise away, add a smaller amount of fresh noise, and repeat.
#
# Training needs no labels for this: any pile of images will do. **Without labels** the model learns $p(x)$, the distribution of the images.
# **With labels**, as here, it learns $p(x \mid y)$: the same network, told one number more. No one asks it to *recognise* a digit, and no one tells it how a 7 is drawn.
#
# This network can do both: in training the label was hidden from it now and then. So let us send the same noise through it four times:
# with no label, and with the labels 3, 5 and 8.

# %% tags=["volatile"]
count = 6
wishes = [model.null_label, 3, 5, 8]
one_noise = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(4))
fewer, tau_few = schedules.respace(schedule, 50)  # fewer steps, to save time: a little coarser
rows = {}
for wish in tqdm(wishes, desc="sampling", file=sys.stdout, ncols=80):
    y = torch.full((count,), wish)
    network = samplers.at_timesteps(lambda xt, t, y=y: model(xt, t, y), tau_few)
    g = torch.Generator().manual_seed(5)
    chain = samplers.ddpm(network, one_noise.shape, fewer, variance="beta_tilde", xT=one_noise, generator=g)
    rows["no label" if wish == model.null_label else f"label {wish}"] = samplers.last(chain).xt
viz.show(
    viz.strip(rows, scale=3),
    alt="Four rows of six images from the same noise. Without a label, each is a digit of its own choice or something like one; with a label, nearly all of a row are that digit, 3, 5 or 8.",
)

# %% [markdown]
# Column by column the noise is the same; the label decides what becomes of it.
#
# Equation (4) works backwards, too: if you know $x_t$ and the noise, you can solve it for $x_0$ (chapter 01 does).
# Let us noise a real digit, a 3 from another data set, up to $t = 250$, and ask the network for the noise, telling it that it looks at a 3.

# %%
digit = data.from_uint8(data.digits().images[3:4])  # (1, 1, 8, 8)
digit = torch.nn.functional.interpolate(
    digit, size=(20, 20), mode="bilinear"
)  # MNIST's own digits fill 20 x 20 of 28 x 28
digit = torch.nn.functional.pad(digit, (4, 4, 4, 4), value=-1.0)  # (1, 1, 28, 28)
t = torch.tensor([250])
eps = torch.randn(digit.shape, generator=generator)
xt = process.q_sample(digit, t, eps, schedule)
with torch.no_grad():
    eps_hat = model(xt, t, torch.tensor([3]))
x0_hat = process.predict_x0(xt, t, eps_hat, schedule).clamp(-1, 1)

before, after = (xt - digit).square().mean(), (x0_hat - digit).square().mean()
print("the network's guess is closer to the digit than the noisy image is:", bool(after < before))
viz.show(
    viz.grid(torch.cat([digit, xt, x0_hat]), ncol=3, titles=["$x_0$", "$x_t$", r"guess $\hat x_0$"]),
    alt="Three images: a digit 3, the same digit under heavy noise, and the network's guess of the digit.",
)

# %% [markdown]
# The guess is sharper than the original, which was enlarged from 8 × 8 pixels: the network has only ever seen MNIST, and redraws the 3 in that hand.
#
# ## Where diffusion stands
#
# A generative model turns noise into data. What differs is the way, and what it costs.
#
# | family | how a sample is made | likelihood of an image | how it is trained |
# |---|---|---|---|
# | autoregressive | one pixel after another | exact | maximum likelihood |
# | normalising flow | one pass through an invertible network | exact | maximum likelihood |
# | VAE | one pass through a decoder | a lower bound | the bound (ELBO), encoder and decoder together |
# | GAN | one pass through a generator | none | a game between two networks |
# | **diffusion** | **many passes through a denoiser** | **a lower bound** | **regression: predict the noise** |
#
# Diffusion models did not begin with this paper. Sohl-Dickstein and others proposed them in 2015; Song and Ermon showed in 2019 that the gradient of the log density, learned at many noise levels, gives good images.
# Ho, Jain and Abbeel joined the two, and found a simple loss and a network with which the idea worked well.
# Chapter 14 trains a GAN and a VAE on the same budget, so that you can compare for yourself.
#
# ## Notation, and the one index rule
#
# | paper | code | what it is |
# |---|---|---|
# | $T,\ t$ | `T`, `t` | number of steps; the step, an integer tensor `(B,)` with values $1 \dots T$ |
# | $x_0,\ x_t$ | `x0`, `xt` | a clean image, a noisy one: `(B, C, H, W)`, clean values in $[-1, 1]$ |
# | $\varepsilon,\ \varepsilon_\theta$ | `eps`, `eps_hat` | the noise, and the network's prediction of it |
# | $\beta_t,\ \alpha_t,\ \bar\alpha_t$ | `beta`, `alpha`, `alpha_bar` | variance added by step $t$; $1-\beta_t$; the running product $\alpha_1\cdots\alpha_t$ |
# | $\tilde\mu_t,\ \tilde\beta_t$ | `mu_tilde`, `beta_tilde` | mean and variance of a step back, if $x_0$ were known |
#
# Other code writes `alphas_cumprod` for our `alpha_bar`, and often counts $t$ from 0.
#
# **The rule:** schedule arrays have length $T+1$, and index 0 is the clean image. So `alpha_bar[t]` *is* $\bar\alpha_t$, and there is no off-by-one to get wrong.

# %%
print(
    "length:",
    len(schedule.alpha_bar),
    "| beta_0 =",
    float(schedule.beta[0]),
    "| alpha_bar_0 =",
    float(schedule.alpha_bar[0]),
)
print("beta_1 =", round(float(schedule.beta[1]), 4), "| beta_T =", round(float(schedule.beta[-1]), 4))
print("factor of the image in x_T, sqrt(alpha_bar_T) =", round(float(schedule.alpha_bar[-1].sqrt()), 4))

# %% [markdown]
# **What do you expect?** If $x_T$ holds the image with a factor of only 0.0064, may the sampler begin with *no* image at all, just noise?
#
# <details><summary>Answer</summary>
#
# Yes, and that is why the schedule is built so. If a schedule left, say, a factor of one quarter in $x_T$, the sampler would start from something the network has never seen.
# Chapter 02 audits published schedules for this fault.
#
# </details>
#
# ## How the exercises work
#
# You fill in a function, the next cell checks it. The check tells you whether it is right, and it knows the classic mistakes by name.
# If you leave an exercise empty, the check lends you the course's own function, so the notebook always runs on. `hint("00.1")` gives one hint at a time,
# the last of which is the solution: take away the `#` before it in the check cell.
#
# What you have solved is written down in one small file in your home folder, so that it is still known tomorrow; nothing is sent anywhere.
# Take away the `#` below to see it, now or later, or say `python course.py progress` in a terminal.

# %%
from ddpm_lite.exercises import progress

# progress.show()

# %% [markdown]
# ### Exercise 00.1: bytes to $[-1, 1]$
#
# Images are stored as bytes, 0 to 255. The mathematics of DDPM assumes values in $[-1, 1]$. Write the scaling: 0 becomes $-1$, 255 becomes $1$, as `float32`.


# %%
def from_uint8(images):
    """uint8 tensor of any shape, 0..255 -> float32, [-1, 1]."""
    ### BEGIN SOLUTION
    return images.float() / 127.5 - 1
    ### END SOLUTION


# %%
from_uint8 = check("00.1", from_uint8)
# hint("00.1")

# %% [markdown]
# ### Exercise 00.2: and back
#
# For the eye we go back. A sampler's output may lie outside $[-1, 1]$: show it as black or white. The nearest grey level is the right one.


# %%
def to_uint8(x):
    """Float tensor of any shape -> uint8, 0..255; values outside [-1, 1] are clamped."""
    ### BEGIN SOLUTION
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    ### END SOLUTION


# %%
to_uint8 = check("00.2", to_uint8)
# hint("00.2")
levels = torch.arange(256, dtype=torch.uint8)
print("every byte survives the round trip:", torch.equal(to_uint8(from_uint8(levels)), levels))

# %% [markdown]
# ### Exercise 00.3: what one sample costs
#
# The sampler above drew a batch of 16 images in 250 steps. Suppose that the paper's sampler, with $T = 1000$, draws 64 images in one batch.
# How many times is the network called?

# %%
network_calls = ...
### BEGIN SOLUTION
network_calls = 1000  # one call a step, whatever the batch
### END SOLUTION

# %%
network_calls = check("00.3", network_calls)
# hint("00.3")

# %% [markdown]
# ## Your turn
#
# Choose digits of your own: a year, a birthday. Go back to *Sixteen digits out of noise*, change `labels`, and run from there.
# Or keep the labels and change `SEED`. Which of the two changes the handwriting?
#
# <details><summary>Answer</summary>
#
# Both change the images. With the same seed and other labels, though, something of the old image often remains: a slant, a width, where the ink lies.
# With another seed and the same labels you get the same digits in another hand.
#
# </details>
#
# ## The way from here
#
# | part | chapters | |
# |---|---|---|
# | the mathematics | 01 to 06 | forward process, schedules, posterior, ELBO, $L_\text{simple}$, a whole DDPM in two dimensions |
# | the machine | 07 to 09 | U-Net, training, sampling, and a clinic for bugs |
# | the evidence | 10 and 11 | bits per dimension, sample quality, memorisation, compression |
# | around it | 12 to 15 | fast samplers, guidance, GAN and VAE, scores and flows |
# | what grew from it | 16 to 19 | latent diffusion, text to image, video, scaling up |
#
# Chapters appear in this order; the folder beside this notebook shows which are there.
#
# ## Recap
#
# * A diffusion model draws by taking noise away, many times over, and putting a little back each time.
# * The forward process is fixed; the network learns one thing, to predict the noise in $x_t$.
# * Labels are optional. They tell the network *which* images to draw.
# * $t$ runs from 1 to $T$, and index 0 is the clean image.
#
# {{ quiz }}
#
# {{ next }}
