# %% [markdown]
# # 05 · L_simple and the parametrisations
#
# {{ colab }}
#
# Chapter 04 ended with a sum of a thousand and one terms, all but one of them divergences. This chapter turns it, line by line, into the loss that everybody trains with:
# draw a $t$, add noise, and ask the network what the noise was. On the way we find out what is thrown away, what that changes, and what it leaves alone.
#
# | | |
# |---|---|
# | **You will** | turn $L_{t-1}$ into a weighted error in the noise, running each line · compute the weight, and see what dropping it does · show when the minimum moves and when it does not · count grey levels with $L_0$ · convert between $\varepsilon$, $x_0$, $v$ and the score, and say what each asks of a network · put a factor $T$ where it belongs |
# | **Time** | 60 minutes |
# | **You need** | chapters 01, 03 and 04: the jump (4), the posterior (6, 7), the bound (5) |
# | **Equations** | the paper's (8) to (14) |

# %%
# {{ setup }}
import math

import ipywidgets
import numpy as np
import torch

from ddpm_lite import data, exact, losses, process, schedules, viz, widgets
from ddpm_lite.exercises import check, hint

generator = torch.Generator().manual_seed(5)  # all the noise of this chapter comes from here
schedule = schedules.linear(T=1000)
T, beta, alpha, abar = schedule.T, schedule.beta, schedule.alpha, schedule.alpha_bar

# %% [markdown]
# ## Two Gaussians with the same variance
#
# The bound of chapter 04 is $L_T + L_{T-1} + \dots + L_1 + L_0$. In $L_T$ there is nothing to learn, and $L_0$ has a section of its own below. Each term in between compares two Gaussians:
# what the step *should* be if we knew $x_0$, and what the network makes of it without knowing.
#
# $$L_{t-1} = D_{\mathrm{KL}}\big(q(x_{t-1}\mid x_t, x_0)\ \big\|\ p_\theta(x_{t-1}\mid x_t)\big),
# \qquad q = \mathcal N(\tilde\mu_t, \tilde\beta_t I),\quad p_\theta = \mathcal N(\mu_\theta(x_t, t), \sigma_t^2 I).$$
#
# Chapter 04 has the divergence for any two variances. Here we want to see what is left of it when they are the *same*, $\sigma^2$ on both sides. In one dimension the normalising constants cancel, and
#
# $$D_{\mathrm{KL}} = \mathbb E_{x\sim\mathcal N(m_1,\sigma^2)}\!\left[\frac{(x-m_2)^2 - (x-m_1)^2}{2\sigma^2}\right]
# = \frac{\big(\sigma^2 + (m_1-m_2)^2\big) - \sigma^2}{2\sigma^2} = \frac{(m_1-m_2)^2}{2\sigma^2}.$$
#
# With two different variances the means still enter in the same way, through the variance of the second:
#
# $$D_{\mathrm{KL}} = \frac{(m_1-m_2)^2}{2\sigma_2^2} + \underbrace{\frac12\left(\ln\frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2}{\sigma_2^2} - 1\right)}_{\text{no mean in it}}.$$
#
# We compare both with the definition of the divergence, the integral $\int p\,(\ln p - \ln q)\,dx$, added up on a fine grid.


# %%
def kl_by_integral(m1, v1, m2, v2):
    """KL(N(m1, v1) || N(m2, v2)) from its definition, on a grid of 12 standard deviations to either side."""
    x = torch.linspace(m1 - 12 * math.sqrt(v1), m1 + 12 * math.sqrt(v1), 20_001, dtype=torch.float64)
    log_p = -((x - m1) ** 2) / (2 * v1) - 0.5 * math.log(2 * math.pi * v1)
    log_q = -((x - m2) ** 2) / (2 * v2) - 0.5 * math.log(2 * math.pi * v2)
    return float((log_p.exp() * (log_p - log_q)).sum() * (x[1] - x[0]))


for m1, v1, m2, v2 in [(0.3, 0.04, 0.1, 0.04), (0.3, 0.02, 0.1, 0.04), (-1.0, 0.5, 1.0, 2.0)]:
    of_means = (m1 - m2) ** 2 / (2 * v2)
    of_variances = 0.5 * (math.log(v2 / v1) + v1 / v2 - 1)
    integral = kl_by_integral(m1, v1, m2, v2)
    print(f"integral {integral:.4f} = means {of_means:.4f} + variances {of_variances:.4f}")
    assert abs(integral - of_means - of_variances) < 1e-9

# %% [markdown]
# In $D$ dimensions the squared differences add up to a squared length. So for every step with $t > 1$
#
# $$L_{t-1} = \mathbb E_q\!\left[\frac{1}{2\sigma_t^2}\,\big\|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\big\|^2\right] + C_t \tag{8}$$
#
# where $C_t = \frac D2\left(\ln\frac{\sigma_t^2}{\tilde\beta_t} + \frac{\tilde\beta_t}{\sigma_t^2} - 1\right)$ has no $\theta$ in it. Training cannot change it.
# For $\sigma_t^2 = \tilde\beta_t$ it is zero; for $\sigma_t^2 = \beta_t$ it is what the wider variance costs.
#
# What training can change is the first part. Each example has its own $t$, and so its own $\sigma_t^2$.
#
# ### Exercise 05.1: the distance of the means


# %%
def mean_distance(mu_tilde, mu_theta, t, sigma2):
    """||mu_tilde - mu_theta||^2 / (2 sigma_t^2), eq. (8). Means: (B, ...), t: int64 (B,), sigma2: (T+1,). Returns (B,), of the means' dtype."""
    ### BEGIN SOLUTION
    squared = (mu_tilde - mu_theta).square().flatten(1).sum(dim=1)  # (B, ...) -> (B,)
    return squared / (2 * sigma2[t].to(squared.dtype))
    ### END SOLUTION


# %%
mean_distance = check("05.1", mean_distance)
# hint("05.1")

# %% [markdown]
# We check (8) on a photograph, with a stand-in for the network. Any function will do: these lines are algebra. They hold inside the expectation, for each draw of $x_0$ and $\varepsilon$, and for a silly network too.

# %%
photo = data.from_uint8(data.photograph("flower", size=64)).double()[None]  # (1, 3, 64, 64)
times = [2, 10, 300, 1000]
t = torch.tensor(times)
x0 = photo.expand(4, -1, -1, -1)  # (4, 3, 64, 64): the same photograph at four t
eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
xt = process.q_sample(x0, t, eps, schedule)
eps_hat = torch.tanh(xt)  # what our silly network says
x0_hat = process.predict_x0(xt, t, eps_hat, schedule)
mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, schedule)
mu_model, _ = process.q_posterior(x0_hat, xt, t, schedule)  # the posterior mean, with x0_hat for x0


def total(x):
    """The sum over all dimensions of each example, (B, ...) -> (B,)."""
    return x.flatten(1).sum(dim=1)


print("mu_tilde:", tuple(mu_tilde.shape), "| mu_model:", tuple(mu_model.shape))

# %%
D = photo.numel()
for variance in ("beta", "beta_tilde"):
    sigma2 = getattr(schedule, variance)[t]  # (4,)
    kl = total(losses.normal_kl(mu_tilde, beta_tilde, mu_model, sigma2[:, None, None, None]))
    C = D / 2 * ((sigma2 / schedule.beta_tilde[t]).log() + schedule.beta_tilde[t] / sigma2 - 1)
    eq_8 = mean_distance(mu_tilde, mu_model, t, getattr(schedule, variance)) + C
    agree = torch.allclose(kl, eq_8, rtol=1e-10)
    each = ", ".join(f"{c:.4f}" for c in (C / D).tolist())
    print(f"sigma2 = {variance:10s}  (8) holds: {agree}   C_t per dimension at t = 2, 10, 300, 1000: {each}")
    assert agree

# %% [markdown]
# ## The mean that the network stands for
#
# The network could answer with $\mu_\theta$ itself. The paper found something better. By (4), $x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon)/\sqrt{\bar\alpha_t}$, so (8) reads
#
# $$L_{t-1} - C_t = \mathbb E_{x_0,\varepsilon}\!\left[\frac1{2\sigma_t^2}\left\|\tilde\mu_t\!\left(x_t,\ \tfrac{1}{\sqrt{\bar\alpha_t}}\big(x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon\big)\right) - \mu_\theta(x_t, t)\right\|^2\right] \tag{9}$$
#
# Now put in what chapter 03 found for $\tilde\mu_t$, and collect what multiplies $x_t$ and what multiplies $\varepsilon$. (Chapter 03 did this with symbols. Once more, now at every $t$ in numbers.) As $\sqrt{\bar\alpha_{t-1}}/\sqrt{\bar\alpha_t} = 1/\sqrt{\alpha_t}$,
#
# $$\text{of } x_t:\quad \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{(1-\bar\alpha_t)\sqrt{\bar\alpha_t}} + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}
# = \frac{1}{\sqrt{\alpha_t}}\cdot\frac{\beta_t + \alpha_t - \bar\alpha_t}{1-\bar\alpha_t} = \frac1{\sqrt{\alpha_t}}$$
#
# $$\text{of } \varepsilon:\quad -\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\cdot\frac{\sqrt{1-\bar\alpha_t}}{\sqrt{\bar\alpha_t}} = -\frac{1}{\sqrt{\alpha_t}}\cdot\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}$$
#
# so that
#
# $$L_{t-1} - C_t = \mathbb E_{x_0,\varepsilon}\!\left[\frac1{2\sigma_t^2}\left\|\frac1{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon\right) - \mu_\theta(x_t, t)\right\|^2\right] \tag{10}$$

# %%
of_x0, of_xt = process.posterior_coefficients(schedule)  # mu_tilde = of_x0 * x0 + of_xt * xt
collected_xt = (of_x0 / abar.sqrt() + of_xt)[1:]
collected_eps = (-of_x0 * (1 - abar).sqrt() / abar.sqrt())[1:]
same_xt = torch.isclose(collected_xt, 1 / alpha[1:].sqrt(), rtol=1e-9, atol=0)
same_eps = torch.isclose(collected_eps, -beta[1:] / (alpha[1:] * (1 - abar[1:])).sqrt(), rtol=1e-9, atol=0)
print("factor of x_t: ", int(same_xt.sum()), "of", T, "steps agree")
print("factor of eps: ", int(same_eps.sum()), "of", T, "steps agree")
assert same_xt.all() and same_eps.all()

# %% [markdown]
# Look at (10). The network is given $x_t$, so it knows that part already. The only thing missing is $\varepsilon$. Let it say that, and build the mean from its answer in the same form:
#
# $$\mu_\theta(x_t, t) = \tilde\mu_t\big(x_t, \hat x_0\big) = \frac1{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) \tag{11}$$
#
# Mind the two roots: $\sqrt{\alpha_t}$ without a bar, because we go *one* step back; $\sqrt{1-\bar\alpha_t}$ with a bar, because the noise in $x_t$ is that of *all* the steps.


# %%
def mu_theta(xt, t, eps_hat, schedule):
    """The mean of p_theta(x_{t-1} | x_t), eq. (11): exercise 03.3 again."""
    share = schedule.beta / (1 - schedule.alpha_bar).sqrt()  # 0/0 at index 0, which no t asks for
    return (xt - process.at(share, t, xt) * eps_hat) / process.at(schedule.alpha.sqrt(), t, xt)


print(
    "(11) is mu_tilde(x_t, x0_hat):", torch.allclose(mu_theta(xt, t, eps_hat, schedule), mu_model, rtol=1e-9)
)
print(
    "with the true noise it is mu_tilde(x_t, x0):", torch.allclose(mu_theta(xt, t, eps, schedule), mu_tilde)
)

# %% [markdown]
# ## The weight of each step
#
# Take (11) from (10): $x_t$ drops out, and what is left is an error in the noise, times a number that depends on $t$ alone:
#
# $$L_{t-1} - C_t = \mathbb E_{x_0,\varepsilon}\!\left[\underbrace{\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}}_{w_t}\ \big\|\varepsilon - \varepsilon_\theta\big(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\ t\big)\big\|^2\right] \tag{12}$$
#
# ### Exercise 05.2: the weight


# %%
def vlb_weight(t, schedule, sigma2):
    """The weight of ||eps - eps_theta||^2 in eq. (12). t: int64 (B,), sigma2: float64 (T+1,). Returns float64 (B,)."""
    ### BEGIN SOLUTION
    beta, alpha, alpha_bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    return beta**2 / (2 * sigma2[t] * alpha * (1 - alpha_bar))
    ### END SOLUTION


# %%
vlb_weight = check("05.2", vlb_weight)
# hint("05.2")

# %% [markdown]
# Now the whole chain, from the divergence to the error in the noise, in nats for the photograph, $\sigma_t^2 = \beta_t$:

# %%
sigma2 = schedule.beta[t]
C = D / 2 * ((sigma2 / schedule.beta_tilde[t]).log() + schedule.beta_tilde[t] / sigma2 - 1)
x0_of_eps = (xt - process.at((1 - abar).sqrt(), t, xt) * eps) / process.at(abar.sqrt(), t, xt)
mu_of_eps = (xt - process.at(beta / (1 - abar).sqrt(), t, xt) * eps) / process.at(alpha.sqrt(), t, xt)
chain = {
    "KL - C": total(losses.normal_kl(mu_tilde, beta_tilde, mu_model, sigma2[:, None, None, None])) - C,
    "(8)": mean_distance(mu_tilde, mu_model, t, schedule.beta),
    "(9)": total((process.q_posterior(x0_of_eps, xt, t, schedule)[0] - mu_model) ** 2) / (2 * sigma2),
    "(10)": total((mu_of_eps - mu_theta(xt, t, eps_hat, schedule)) ** 2) / (2 * sigma2),
    "(12)": vlb_weight(t, schedule, schedule.beta) * total((eps - eps_hat) ** 2),
}
for name, value in chain.items():
    print(f"{name:7s}" + "".join(f"   t = {k}: {v:9.4f}" for k, v in zip(times, value.tolist(), strict=True)))
    assert torch.allclose(value, chain["(12)"], rtol=1e-8)

# %% [markdown]
# Five ways to write one number. This is the end of the derivation, and nothing was approximated in it.
#
# **What do you expect?** At which end of the chain is the weight $w_t$ large: at small $t$, where $x_t$ is nearly clean, or near $T$? By what factor?
#
# <details><summary>Answer</summary>
#
# At small $t$. For $\sigma_t^2 = \beta_t$ the weight is $\beta_t / (2\alpha_t(1-\bar\alpha_t))$. At $t = 1$ numerator and denominator are both about $\beta_1$ and it is one half;
# later $1-\bar\alpha_t$ grows much faster than $\beta_t$. It falls by a factor of one hundred, to 0.005 at $t = 349$, and then rises a little, because $\beta_t$ still grows when $1-\bar\alpha_t$ has reached 1.
#
# </details>

# %%
every = torch.arange(1, T + 1)
weight = vlb_weight(every, schedule, losses.reverse_variance(schedule, "beta"))  # (T,): w_1 ... w_T
weight_tilde = vlb_weight(every, schedule, losses.reverse_variance(schedule, "beta_tilde"))
for k in (1, 2, 10, 100, 349, 1000):
    print(f"t = {k:4d}   sigma2 = beta: {weight[k - 1]:.6f}   sigma2 = beta_tilde: {weight_tilde[k - 1]:.6f}")
print("smallest at t =", int(weight.argmin()) + 1)
assert torch.allclose(weight, losses.vlb_weight(schedule, "beta")[1:])

# %% [markdown]
# The two weights differ most at the first steps: by a factor of two at $t = 2$, by 17 % at 10, by 2 % at 100. (At $t = 1$, $\tilde\beta_1 = 0$ would divide by zero; as in the published code $\tilde\beta_2$ stands in for it.)
# That $t = 1$ fits into the same formula is not obvious. The section on $L_0$ shows it.
#
# ## L_simple: drop the weight
#
# The paper trains with something simpler. Draw $t$ uniformly from $1 \dots T$, and set the weight to 1:
#
# $$L_{\text{simple}}(\theta) = \mathbb E_{t, x_0, \varepsilon}\left[\big\|\varepsilon - \varepsilon_\theta\big(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\ t\big)\big\|^2\right] \tag{14}$$
#
# In code the mean runs over the batch *and* over the dimensions of an image. So a network that always answers 0 has a loss of about 1, whatever the size of the image.
#
# ### Exercise 05.3: simple_loss


# %%
def simple_loss(eps_model, x0, t, eps, schedule):
    """L_simple, eq. (14), for given t and eps. eps_model(xt, t) -> eps_hat. Returns the mean, a scalar with gradient."""
    ### BEGIN SOLUTION
    xt = process.q_sample(x0, t, eps, schedule)
    return (eps - eps_model(xt, t)).square().mean()
    ### END SOLUTION


# %%
simple_loss = check("05.3", simple_loss)
# hint("05.3")

# %%
print(f"a network that answers 0:   {simple_loss(lambda xt, t: 0 * xt, x0, t, eps, schedule):.4f}")
print(f"a network that answers x_t: {simple_loss(lambda xt, t: xt, x0, t, eps, schedule):.4f}")
print(f"a network that knows:       {simple_loss(lambda xt, t: eps, x0, t, eps, schedule):.4f}")

# %% [markdown]
# ### It is a reweighting
#
# $L_{\text{simple}}$ is sometimes called an approximation of $L$. But for $t = 1$, where the weight itself is approximate (see $L_0$ below), nothing is approximated: it is another mean of the same errors. $L$ counts the error of step $t$ with the weight $w_t$, $L_{\text{simple}}$ with the weight 1.
# Only the proportions between steps matter, so we scale both to add up to one, and divide.

# %%
share_L = weight / weight.sum()  # (T,), adds up to one
share_simple = torch.full_like(weight, 1 / T)
for k in (10, 100, 500):
    print(f"weight on t = 1 ... {k:3d}:   L {share_L[:k].sum():.4f}   L_simple {share_simple[:k].sum():.4f}")
ratio = share_simple / share_L
up = (ratio > 1).nonzero().flatten() + 1
print(f"L_simple gives more weight than L to t = {int(up.min())} ... {int(up.max())}, less to all others")
print(f"relative weight: t = 1: {ratio[0]:.4f}, t = 349: {ratio[348]:.4f}, t = 1000: {ratio[999]:.4f}")
print(
    f"noise at t = 10: standard deviation {(1 - abar[10]).sqrt():.4f}, or {127.5 * (1 - abar[10]).sqrt():.1f} grey levels"
)
assert len(up) == up.max() - up.min() + 1

# %%
fig, (left, right) = viz.figure(7.6, 2.9, ncols=2)
left.loglog(every, weight, label=r"$\sigma_t^2 = \beta_t$")
left.loglog(every, weight_tilde, "--", label=r"$\sigma_t^2 = \tilde\beta_t$")
left.set(xlabel="t", title=r"weight $w_t$ in $L$")
left.legend(frameon=False)
right.plot(every, ratio, color=viz.COLORS["green"])
right.axhline(1, color=viz.COLORS["black"], linewidth=0.8, linestyle=":")
right.set(xlabel="t", title=r"weight in $L_{simple}$ relative to $L$", ylim=(0, 2.2))
viz.show(
    fig,
    alt="Left, both axes logarithmic: the weight in the bound falls from 0.5 at t = 1 to 0.005 at t = 349 and rises to 0.01 at t = 1000; for beta_tilde it begins at 0.9. Right: the relative weight of L_simple rises from 0.02 at t = 1 through 1 at t = 102 to 2 at t = 349, and falls to just below 1 at t = 1000.",
)

# %% [markdown]
# So dropping the weight moves attention **away from the first hundred steps**, towards the middle of the chain. The first ten lose most: from 17 % of all the weight to 1 %. There the noise is at most 0.044, less than six grey levels of 256, and hardly anything is left to remove.
# Such steps settle the finest detail, which costs many bits and matters little to the eye: in section 4.3 the paper finds that more than half of its code length describes distortions that cannot be seen (chapter 11). In its table 1, training with $L_{\text{simple}}$ gives the better images (FID 3.17 against 13.51) and the slightly worse code length (3.75 against 3.70 bits/dim).
#
# ## Does the best network change?
#
# If we change the weights of a mean, does its minimum move? It depends on what the network can do. First, one that can do very little.
#
# **One parameter for all steps.** Take numbers $x_0\sim\mathcal N(0, \tfrac12)$ and the model $\varepsilon_\theta(x_t, t) = \theta\,x_t$, with the same $\theta$ at every $t$. Its error at step $t$ is a parabola,
#
# $$\mathbb E(\varepsilon - \theta x_t)^2 = 1 - 2\theta\sqrt{1-\bar\alpha_t} + \theta^2 v_t, \qquad v_t = \tfrac12\bar\alpha_t + 1 - \bar\alpha_t,$$
#
# and a weighted sum of parabolas is a parabola, with its minimum at $\theta^* = \sum_t w_t\sqrt{1-\bar\alpha_t}\big/\sum_t w_t v_t$. (Below, $L$ stands for $L$ without its constants and scaled as above, so that its weights add up to one.)

# %%
v_t = 0.5 * abar[1:] + 1 - abar[1:]  # (T,): the variance of x_t
root = (1 - abar[1:]).sqrt()  # (T,): the covariance of eps and x_t


def line_error(theta):
    """E (eps - theta x_t)^2 at every step, (T,)."""
    return 1 - 2 * theta * root + theta**2 * v_t


best = {
    name: float((s * root).sum() / (s * v_t).sum())
    for name, s in {"L": share_L, "L_simple": share_simple}.items()
}
for name, theta in best.items():
    L = (share_L * line_error(theta)).sum()
    simple = (share_simple * line_error(theta)).sum()
    print(f"best theta for {name:8s} {theta:.4f}:   L {L:.4f}   L_simple {simple:.4f}")

better = line_error(best["L_simple"]) < line_error(best["L"])  # (T,)
print(
    "the theta of L_simple is the better one from t =",
    int(better.nonzero()[0]) + 1,
    "on:",
    bool(better[int(better.nonzero()[0]) :].all()),
)


# %% [markdown]
# The minimum moves, and each loss is won by its own $\theta$. The one of $L$ is the better one at small $t$, up to 190, and the one of $L_{\text{simple}}$ after that. The best slope at step $t$ alone would be $\sqrt{1-\bar\alpha_t}/v_t$: near 0 at small $t$, near 1 at large $t$. One parameter has to choose.
#
# **The exact network.** Now let the model be as good as any can be. Split the error of any network at $\varepsilon^*(x_t, t) = \mathbb E[\varepsilon\mid x_t]$, the mean of all noises that could have led to this $x_t$:
#
# $$\mathbb E\|\varepsilon - \varepsilon_\theta\|^2 = \underbrace{\mathbb E\|\varepsilon - \varepsilon^*\|^2}_{\text{nobody can avoid}} + \underbrace{\mathbb E\|\varepsilon^* - \varepsilon_\theta\|^2}_{\text{the network's own}}
# \qquad\text{because}\qquad \mathbb E\big[(\varepsilon-\varepsilon^*)\cdot g(x_t)\big] = 0 \text{ for every } g .$$
#
# The network's own part can be zero **at every $t$ at once**. Then it is zero under any weights, as long as they are positive. For data that is a mixture of Gaussians, `ddpm_lite.exact` knows $\varepsilon^*$.
# We take a mixture of two in one dimension, and compute the expectations by Gauss-Hermite quadrature: a fixed set of $x_0$ and $\varepsilon$ with weights, in place of random draws.

# %%
means, variances, shares = [[-0.8], [0.6]], [0.09, 0.09], [0.4, 0.6]
mixture = exact.Mixture(*(torch.tensor(a, dtype=torch.float64) for a in (means, variances, shares)))
nodes, node_weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(40))
node_weights = node_weights / node_weights.sum()
x_nodes = mixture.means + mixture.variances.sqrt()[:, None] * nodes  # (2, 40)
grid_x0 = x_nodes[:, :, None].expand(2, 40, 40).reshape(-1, 1)  # (3200, 1)
grid_eps = nodes.expand(2, 40, 40).reshape(-1, 1)
probability = (mixture.weights[:, None, None] * torch.outer(node_weights, node_weights)).reshape(-1, 1)


def at_step(k):
    """x_t at step k, and the exact network's answer there: (3200, 1) each."""
    steps = torch.full((len(grid_x0),), k)
    xt = process.q_sample(grid_x0, steps, grid_eps, schedule)
    return xt, mixture.eps(xt, steps, schedule)


def mean(values):
    """The expectation over x_0 and eps."""
    return float((probability * values).sum())


for k in (50, 300, 1000):
    xt_k, star = at_step(k)
    cross = max(abs(mean((grid_eps - star) * g(xt_k))) for g in (torch.sin, torch.tanh, torch.square))
    own, both, least = (
        mean(e**2) for e in (star - torch.tanh(xt_k), grid_eps - torch.tanh(xt_k), grid_eps - star)
    )
    print(f"t = {k:4d}   E (eps - eps*) g = {cross:.4f}   {both:.4f} = {least:.4f} + {own:.4f}")
    assert cross < 1e-4 and abs(both - least - own) < 1e-4

# %% [markdown]
# To see the minimum stay, we let the network be off by a factor: $(1 + a)\,\varepsilon^*$. Its error is computed afresh, straight from the definition, for several $a$ and all 1000 steps.

# %%
factors = torch.arange(-4, 5, dtype=torch.float64) / 10
scaled_error = torch.empty(T, len(factors), dtype=torch.float64)  # E (eps - (1 + a) eps*)^2
for k in range(1, T + 1):
    _, star = at_step(k)
    scaled_error[k - 1] = (probability * (grid_eps - (1 + factors) * star) ** 2).sum(dim=0)

curves = {"L": share_L @ scaled_error, "L_simple": share_simple @ scaled_error}  # (9,) each
for name, curve in curves.items():
    print(
        f"{name:8s} is smallest at a = {float(factors[curve.argmin()]):.1f}:   "
        + "  ".join(f"{c:.4f}" for c in curve.tolist())
    )
print("and at each step by itself, at a = 0:", bool((scaled_error.argmin(dim=1) == 4).all()))

# %%
theta = torch.linspace(0.3, 1.4, 111, dtype=torch.float64)
fig, (left, middle, right) = viz.figure(8.6, 2.9, ncols=3)
for name, share, style in (("L", share_L, "-"), ("L_simple", share_simple, "--")):
    label = "$L$" if name == "L" else "$L_{simple}$"
    parabola = torch.stack([(share * line_error(x)).sum() for x in theta])
    (line,) = left.plot(theta, parabola / parabola.min(), style, label=label)
    left.plot([best[name]], [1], "o", color=line.get_color(), markersize=5)
    excess = line_error(best[name]) - (1 - root**2 / v_t)  # above the best slope of each step
    middle.semilogy(every, excess, style, label=label)
    right.plot(factors, curves[name] / curves[name].min(), style, marker="o", markersize=3, label=label)
left.set(xlabel=r"$\theta$", title="one parameter", ylim=(0.95, 1.6))
middle.set(xlabel="t", title="excess over the best slope", ylim=(1e-5, 2))
right.set(xlabel="a", title=r"$(1 + a)\,\varepsilon^*$", ylim=(0.95, 1.6))
for ax in (left, middle, right):
    ax.legend(frameon=False, fontsize=9, loc="lower right" if ax is middle else "upper center")
viz.show(
    fig,
    alt="Left: both losses of the one-parameter model over theta, each divided by its minimum; L is smallest at 0.77, L_simple at 0.93. Middle: the error above the best slope of each step; the model fitted to L is better up to t = 190, the one fitted to L_simple after that, and ten times better from t = 400 on. Each curve dips to zero at the one t whose best slope it has. Right: both losses of the exact network times 1 + a; both are smallest at a = 0.",
)

# %% [markdown]
# This is the honest answer to "does it matter?":
#
# - With unlimited capacity and unlimited data it does not. Every positive weighting has the same minimum, $\varepsilon^*$.
# - A real network has one set of parameters for all $t$, too few of them, and too little time. The weights say *where it may be wrong*.
#
# ## The last step: L_0 counts grey levels
#
# One term of the bound is no divergence. $L_0 = -\ln p_\theta(x_0\mid x_1)$ asks for the probability of the image itself, and an image is made of 256 grey levels, $-1, -1 + \tfrac{2}{255}, \dots, 1$.
# A Gaussian *density* is not a probability: make it narrow enough, and it is as large as you like. So the paper lets each level own the mass of the Gaussian around it,
#
# $$p_\theta(x_0\mid x_1) = \prod_{i=1}^{D}\int_{\delta_-(x_0^i)}^{\delta_+(x_0^i)} \mathcal N\big(x;\ \mu_\theta^i(x_1, 1), \sigma_1^2\big)\,dx,
# \quad \delta_+(x) = \begin{cases}\infty & x = 1\\ x+\frac1{255} & x < 1\end{cases},
# \quad \delta_-(x) = \begin{cases}-\infty & x = -1\\ x-\frac1{255} & x > -1\end{cases} \tag{13}$$
#
# The levels at both ends own the open tails as well. With $\Phi$ the cumulative distribution of $\mathcal N(0,1)$, `torch.special.ndtr`, a level's mass is $\Phi\big(\frac{\delta_+ - \mu}{\sigma}\big) - \Phi\big(\frac{\delta_- - \mu}{\sigma}\big)$.
#
# ### Exercise 05.4: the log mass of a grey level


# %%
def log_mass(x0, mean, sigma2):
    """ln of the mass that N(mean, sigma2) gives to the level x0, each pixel by itself: eq. (13). sigma2: a number."""
    ### BEGIN SOLUTION
    sigma = sigma2**0.5
    below = torch.special.ndtr((x0 - mean - 1 / 255) / sigma)
    upto = torch.special.ndtr((x0 - mean + 1 / 255) / sigma)
    below = torch.where(x0 < -0.999, 0.0, below)  # nothing lies below the first level
    upto = torch.where(x0 > 0.999, 1.0, upto)  # and all lies below the end of the last
    return torch.log(upto - below)
    ### END SOLUTION


# %%
log_mass = check("05.4", log_mass)
# hint("05.4")

# %% [markdown]
# Do the 256 masses sum to one? Only with the open tails. Without them, mass is lost whenever the Gaussian reaches beyond the scale:

# %%
levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # (256,)
for m, sigma in [(0.0, 0.1), (0.97, 0.05), (-1.0, 0.01), (1.2, 0.3), (0.4, 0.001)]:
    mass = losses.discretised_log_prob(levels, torch.full_like(levels, m), sigma**2).exp()
    closed = torch.special.ndtr((levels - m + 1 / 255) / sigma) - torch.special.ndtr(
        (levels - m - 1 / 255) / sigma
    )
    print(f"mean {m:5.2f}, sigma {sigma:.3f}:   sum {mass.sum():.4f}   with closed tails {closed.sum():.4f}")
    assert abs(mass.sum() - 1) < 1e-10

# %% [markdown]
# Why does the density not do? Let a network be certain of a pixel, and make $\sigma$ smaller and smaller:

# %%
pixel = levels[200:201]
for sigma in (0.1, 0.01, 0.001, 0.0001):
    density = -0.5 * math.log(2 * math.pi * sigma**2)  # ln N(pixel; pixel, sigma^2)
    cost = -float(losses.discretised_log_prob(pixel, pixel, sigma**2))
    print(f"sigma {sigma:.4f}:   -ln density {-density:8.4f}   -ln mass {abs(cost):.4f}")

# %% [markdown]
# The density would let the cost fall below zero, without end: nobody can send a pixel in less than zero bits. The mass stops at zero. Move both numbers yourself; the sum over the levels stays one.


# %% tags=["nbval-ignore-output"]
figure, bars_axis = viz.figure(7.2, 2.7)
edges = torch.cat([levels - 1 / 255, levels[-1:] + 1 / 255])
bars = bars_axis.stairs(torch.zeros(256), edges, fill=True, color=viz.COLORS["blue"])
bars_axis.set(xlabel="grey level, from −1 to 1", ylabel="mass", xlim=(-1.05, 1.05), ylim=(0, 1.02))


def draw_levels(mean, log10_sigma):
    """The mass of each of the 256 levels."""
    mass = losses.discretised_log_prob(levels, torch.full_like(levels, mean), 10 ** (2 * log10_sigma)).exp()
    bars.set_data(mass)
    bars_axis.set_ylim(0, 1.08 * float(mass.max()))
    bars_axis.set_title(f"sum {mass.sum():.4f}, first level {mass[0]:.4f}, last level {mass[-1]:.4f}")
    return figure


widgets.live(
    draw_levels,
    mean=ipywidgets.FloatSlider(0.93, min=-1.2, max=1.2, step=0.01, description="mean"),
    log10_sigma=ipywidgets.FloatSlider(-1.3, min=-3, max=0, step=0.05, description="log10 sigma"),
    alt=lambda mean, log10_sigma: (
        f"The masses of the 256 grey levels under a Gaussian with mean {mean:.2f} and sigma {10**log10_sigma:.3f}. Where the Gaussian reaches beyond the scale, the level at that end has a taller bar."
    ),
)

# %% [markdown]
# ### L_0 and the weight at t = 1
#
# $L_{\text{simple}}$ treats $t = 1$ like any other step. The paper says what that means: replace the mass in (13) by density times width, and forget the tails. Then, with $\hat x_0 = \mu_\theta(x_1, 1)$,
#
# $$L_0 \approx \frac{\|x_0 - \hat x_0\|^2}{2\sigma_1^2} + \text{const}
# = \frac{1-\bar\alpha_1}{\bar\alpha_1}\cdot\frac{\|\varepsilon - \varepsilon_\theta\|^2}{2\sigma_1^2} + \text{const}
# = \frac{\beta_1^2}{2\sigma_1^2\,\alpha_1(1-\bar\alpha_1)}\,\|\varepsilon-\varepsilon_\theta\|^2 + \text{const}$$
#
# since $\bar\alpha_1 = \alpha_1$ and $1-\bar\alpha_1 = \beta_1$. It is $w_1$: formula (12) at $t = 1$. And how good is the approximation?

# %%
sigma2_1 = float(beta[1])
of_error = (1 - abar[1]) / abar[1] / (2 * sigma2_1)
print(f"the factor is w_1: {bool(torch.isclose(of_error, weight[0], rtol=1e-10))}, {weight[0]:.4f}")
constant = 0.5 * math.log(2 * math.pi * sigma2_1) - math.log(2 / 255)
black = levels[:1]  # the first level, which owns a tail
for kind, level in (("grey", pixel), ("black", black)):
    for off in (0, 1, 2, 4, 8):  # how many levels the mean is off, towards black
        m = level - 2 / 255 * off
        exactly = -float(losses.discretised_log_prob(level, m, sigma2_1))
        roughly = float((level - m) ** 2) / (2 * sigma2_1) + constant
        print(f"{kind:5s} mean off by {off}:   L_0 {exactly:8.4f}   density times width {roughly:8.4f} nats")

print(f"noise in x_1: {127.5 * beta[1].sqrt():.1f} levels")
print(f"black pixels in the 8x8 digits: {(data.digits().images == 0).float().mean():.2f} of all")

# %% [markdown]
# Inside the scale it is good: about 2 % off for a mean that misses by two levels or less, 4 % for eight. At the ends it is not. A mean at or beyond black leaves a black pixel little to pay for,
# since the open tail is its own, and density times width does not know that. Half of the pixels of the small digits are black.
#
# ## Four names for one answer
#
# The network that predicts $\varepsilon$ might as well predict $x_0$. Given $x_t$, each determines the other by (4), and so do two more: the *score*, which is the gradient of $\ln q(x_t)$, and $v$, which comes next.
#
# | the network says | then $\hat\varepsilon$ is | and $\hat x_0$ is |
# |---|---|---|
# | $\hat\varepsilon$ | $\hat\varepsilon$ | $(x_t - \sqrt{1-\bar\alpha_t}\,\hat\varepsilon)/\sqrt{\bar\alpha_t}$ |
# | $\hat x_0$ | $(x_t - \sqrt{\bar\alpha_t}\,\hat x_0)/\sqrt{1-\bar\alpha_t}$ | $\hat x_0$ |
# | $\hat v$ | exercise 05.6 | after exercise 05.6 |
# | score $\hat s$ | $-\sqrt{1-\bar\alpha_t}\,\hat s$ | $(x_t + (1-\bar\alpha_t)\,\hat s)/\sqrt{\bar\alpha_t}$ |
#
# That $-\varepsilon^*/\sqrt{1-\bar\alpha_t}$ really is the gradient of a log density can be checked where the density is known. `mixture.noised(t)` is $q(x_t)$ in closed form, and its score comes from automatic differentiation:

# %%
for k in (1, 300, 1000):
    xt_k, star = at_step(k)
    by_gradient = mixture.noised(k, schedule).score(xt_k)
    by_network = process.score_from_eps(star, torch.full((len(star),), k), schedule)
    print(
        f"t = {k:4d}   the score is the exact network, rescaled: {torch.allclose(by_gradient, by_network, rtol=1e-6, atol=1e-6)}"
    )

# %% [markdown]
# ### v: a rotation of image and noise
#
# Since $\bar\alpha_t + (1-\bar\alpha_t) = 1$, there is an angle $\varphi_t$ with $\sqrt{\bar\alpha_t} = \cos\varphi_t$ and $\sqrt{1-\bar\alpha_t} = \sin\varphi_t$. Then (4) reads $x_t = \cos\varphi_t\,x_0 + \sin\varphi_t\,\varepsilon$:
# the image is *turned* into noise, from $\varphi = 0$ to nearly 90 degrees. The other half of that rotation is called $v$ (Salimans and Ho, 2022):
#
# $$\begin{pmatrix}x_t\\ v\end{pmatrix} = \begin{pmatrix}\cos\varphi_t & \sin\varphi_t\\ -\sin\varphi_t & \cos\varphi_t\end{pmatrix}\begin{pmatrix}x_0\\ \varepsilon\end{pmatrix},
# \qquad v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0 .$$
#
# ### Exercise 05.5: v_target


# %%
def v_target(x0, t, eps, schedule):
    """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0. x0 and eps: (B, ...), t: int64 (B,). Shape and dtype of x0."""
    ### BEGIN SOLUTION
    signal = process.at(schedule.alpha_bar.sqrt(), t, x0)
    noise = process.at((1 - schedule.alpha_bar).sqrt(), t, x0)
    return signal * eps - noise * x0
    ### END SOLUTION


# %%
v_target = check("05.5", v_target)
# hint("05.5")

# %% [markdown]
# The inverse of a rotation is its transpose, so the way back needs no division.
#
# ### Exercise 05.6: eps_from_v


# %%
def eps_from_v(xt, t, v, schedule):
    """The noise that belongs to x_t and v. xt and v: (B, ...), t: int64 (B,). Shape and dtype of xt."""
    ### BEGIN SOLUTION
    signal = process.at(schedule.alpha_bar.sqrt(), t, xt)
    noise = process.at((1 - schedule.alpha_bar).sqrt(), t, xt)
    return noise * xt + signal * v
    ### END SOLUTION


# %%
eps_from_v = check("05.6", eps_from_v)
# hint("05.6")

# %% [markdown]
# So $\hat\varepsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,\hat v$ and, by the other row of the transpose, $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,\hat v$: the row that the table left open.
#
# Now the round trips: from each of the four to $x_0$ and to $\varepsilon$. In `float64` all must come back; in `float32`, the precision in which networks run, we ask whether $x_0$ comes back to five decimals.


# %%
def targets(x0, t, eps):
    """What each kind of network is asked for."""
    score = process.score_from_eps(eps, t, schedule)
    return {"eps": eps, "x0": x0, "v": v_target(x0, t, eps, schedule), "score": score}


def to_eps(name, answer, xt, t):
    """A network's answer as the noise."""
    if name == "x0":
        return process.predict_eps(xt, t, answer, schedule)
    if name == "v":
        return eps_from_v(xt, t, answer, schedule)
    return process.eps_from_score(answer, t, schedule) if name == "score" else answer


def to_x0(name, answer, xt, t):
    """A network's answer as the image."""
    if name == "v":
        return process.x0_from_v(xt, t, answer, schedule)
    return answer if name == "x0" else process.predict_x0(xt, t, to_eps(name, answer, xt, t), schedule)


for name, answer in targets(x0, t, eps).items():
    back = torch.allclose(to_eps(name, answer, xt, t), eps) and torch.allclose(to_x0(name, answer, xt, t), x0)
    error = (
        (to_x0(name, answer.float(), xt.float(), t) - x0).abs().flatten(1).amax(dim=1)
    )  # (4,): one for each t
    print(
        f"{name:5s}  float64: all back {back}   float32, x_0 to five decimals: t = 2 {bool(error[0] < 5e-6)}, t = 1000 {bool(error[3] < 5e-6)}"
    )
    assert back

# %% [markdown]
# ## What each asks of a network
#
# The four are equal for a perfect network. A real one makes an error, and then it matters what it was asked for.
#
# **What do you expect?** Two networks, one for $\varepsilon$ and one for $x_0$, both off by 0.01 in each number they give. Which one ruins $\hat x_0$ at $t = 1000$? Which one ruins $\hat\varepsilon$ at $t = 1$?

# %%
signal, noise = abar[1:].sqrt(), (1 - abar[1:]).sqrt()
into_x0 = {"eps": noise / signal, "x0": torch.ones(T), "v": noise, "score": noise**2 / signal}
into_eps = {"eps": torch.ones(T), "x0": signal / noise, "v": signal, "score": noise}
print("an error of 0.01 in the answer becomes")
for name in into_x0:
    a, b = into_x0[name], into_eps[name]
    print(
        f"{name:5s}  in x0_hat: t = 1 {0.01 * a[0]:.4f}, t = 1000 {0.01 * a[-1]:.4f}   in eps_hat: t = 1 {0.01 * b[0]:.4f}, t = 1000 {0.01 * b[-1]:.4f}"
    )
    moved = targets(x0, t, eps)[name] + 0.01  # the same with the conversions of above
    assert torch.allclose(
        (to_x0(name, moved, xt, t) - x0).abs().amax(dim=(1, 2, 3)), 0.01 * a.double()[t - 1]
    )
    assert torch.allclose(
        (to_eps(name, moved, xt, t) - eps).abs().amax(dim=(1, 2, 3)), 0.01 * b.double()[t - 1]
    )

# %% [markdown]
# <details><summary>Answer</summary>
#
# The $\varepsilon$ network ruins $\hat x_0$ at $t = 1000$: the error comes back 157 times as large. The $x_0$ network ruins $\hat\varepsilon$ at $t = 1$, by a factor of 100.
# Neither $\hat x_0$ nor $\hat\varepsilon$ ever suffers more than the plain error from a $v$ network, because a rotation lengthens nothing.
#
# </details>
#
# The same arithmetic, squared, turns into **weights**. Whoever trains with the plain squared error of one of these has chosen, knowingly or not, a weight for the error in the noise:
#
# $$\|x_0-\hat x_0\|^2 = \frac{1-\bar\alpha_t}{\bar\alpha_t}\|\varepsilon-\hat\varepsilon\|^2,\qquad
# \|v-\hat v\|^2 = \frac{1}{\bar\alpha_t}\|\varepsilon-\hat\varepsilon\|^2,\qquad
# \|s-\hat s\|^2 = \frac{1}{1-\bar\alpha_t}\|\varepsilon-\hat\varepsilon\|^2 ,$$
#
# and for the plain error in the mean, by (10) and (11), $\|\tilde\mu_t-\mu_\theta\|^2 = \frac{\beta_t^2}{\alpha_t(1-\bar\alpha_t)}\|\varepsilon-\hat\varepsilon\|^2$.

# %%
implied = {
    "eps": torch.ones(T, dtype=torch.float64),
    "x0": (1 - abar[1:]) / abar[1:],
    "v": 1 / abar[1:],
    "score": 1 / (1 - abar[1:]),
}
of_mu = beta[1:] ** 2 / (alpha[1:] * (1 - abar[1:]))
error = total((eps - eps_hat) ** 2)
answers = targets(x0_hat, t, eps_hat)  # the silly network's answer, said in four ways
for name, target in targets(x0, t, eps).items():
    holds = torch.allclose(total((target - answers[name]) ** 2), implied[name][t - 1] * error)
    print(
        f"{name:5s}  weight on the error in the noise: t = 1 {implied[name][0]:10.4f}, t = 300 {implied[name][299]:8.4f}, t = 1000 {implied[name][-1]:10.4f}   holds: {holds}"
    )
    assert holds
holds = torch.allclose(total((mu_tilde - mu_model) ** 2), of_mu[t - 1] * error)
print(
    f"mu     weight on the error in the noise: t = 1 {of_mu[0]:10.4f}, t = 300 {of_mu[299]:8.4f}, t = 1000 {of_mu[-1]:10.4f}   holds: {holds}"
)
assert holds

# %% [markdown]
# In the paper's table 2 the plain squared error on $\tilde\mu$ has no score: training was unstable. The paper does not say why. One thing can be said, though. By (10), $\tilde\mu_t$ is $x_t/\sqrt{\alpha_t}$ less a very small share of the noise.
# A network that is asked for it must first hand back $x_t$, which it was given, and do so to about a hundredth or better before its answer says anything about the noise:

# %%
print(f"share of the noise in mu_tilde: {of_mu.sqrt().min():.4f} to {of_mu.sqrt().max():.4f}")
for k in (1, 300, 1000):
    print(
        f"t = {k:4d}   an error of 0.01 in mu_theta is an error of {0.01 / of_mu[k - 1].sqrt():.4f} in eps_hat"
    )

# %%
fig, (left, right) = viz.figure(8.2, 3.0, ncols=2)
styles = {"eps": "-", "x0": "--", "v": "-.", "score": ":"}
labels = {"eps": r"$\varepsilon$", "x0": "$x_0$", "v": "$v$", "score": "score"}
for name, style in styles.items():
    left.semilogy(every, into_x0[name], style, label=labels[name])
    right.semilogy(every, implied[name] / implied[name].mean(), style, label=labels[name])
right.semilogy(every, share_L * T, color=viz.COLORS["black"], linewidth=1, label="$L$")
left.set(xlabel="t", title=r"error in $\hat x_0$ for an error of 1", ylim=(5e-5, 500))
right.set(xlabel="t", title="weight on the error in ε, mean 1", ylim=(1e-8, 1e3))
for ax in (left, right):
    ax.legend(frameon=False, fontsize=8, ncol=2, loc="lower right")
viz.show(
    fig,
    alt="Left: how much an error of one in the answer moves x0_hat: for eps and the score it grows to 157 at t = 1000, for x0 it is 1, for v it rises from 0.01 to 1. Right: the weight that the plain squared error of each puts on the error in the noise, scaled to mean 1: flat for eps; for x0 and v nearly all of it at large t; for the score nearly all at small t; the bound L leans to small t as the score does, but much less.",
)

# %% [markdown]
# ### What can be known
#
# An error of 0.01 is not equally easy for each. Take $\varepsilon$ at $t = 1$: the image is nearly clean, and the little noise in it is hard to tell from fine detail of the image.
# At $t = 1000$ it is trivial: $x_t$ *is* the noise. For $x_0$ it is the other way round. How much of a target nobody can know, given $x_t$, the exact network tells.
# We take 300 digits, with a little Gaussian variation (standard deviation 0.1) in every pixel, so that the data is a mixture of 300 Gaussians in 64 dimensions. The variation plays the part of fine detail.

# %%
digits = data.from_uint8(data.digits().images).double()  # (1797, 1, 8, 8)
smooth_digits = exact.Mixture(digits[:300], torch.full((300,), 0.01), torch.full((300,), 1 / 300).double())
some = smooth_digits.sample(400, generator)  # (400, 1, 8, 8)
some_eps = torch.randn(some.shape, generator=generator, dtype=torch.float64)
steps = [1, 3, 10, 20, 50, 100, 150, 200, 259, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000]
unknown = {"eps": [], "x0": [], "v": []}
for k in steps:
    at_k = torch.full((len(some),), k)
    xt_k = process.q_sample(some, at_k, some_eps, schedule)
    star = smooth_digits.eps(xt_k, at_k, schedule)
    for name, row in unknown.items():
        best_answer = {"eps": star, "x0": smooth_digits.x0_mean(xt_k, at_k, schedule)}
        best_answer["v"] = process.v_target(best_answer["x0"], at_k, star, schedule)
        target = targets(some, at_k, some_eps)[name]
        row.append(
            float(
                (target - best_answer[name]).square().mean() / (target - target.mean(dim=0)).square().mean()
            )
        )

print("share of the target's variance that the best network cannot know")
for k in (1, 100, 300, 500, 1000):
    print(f"t = {k:4d}   " + "   ".join(f"{name} {row[steps.index(k)]:.2f}" for name, row in unknown.items()))

t_1 = torch.ones(len(some), dtype=torch.int64)
for detail in (0.1, 0.01, 0.001):  # eps at t = 1 again, for more and less of the variation
    finer = exact.Mixture(smooth_digits.means, torch.full((300,), detail**2), smooth_digits.weights)
    x1 = process.q_sample(finer.sample(len(some), generator), t_1, some_eps, schedule)
    lost = (some_eps - finer.eps(x1, t_1, schedule)).square().mean() / some_eps.square().mean()
    print(f"variation {detail:5.3f}, noise {(1 - abar[1]).sqrt():.3f}:   eps at t = 1 {lost:.2f}")

# %%
fig, ax = viz.figure(6.2, 2.8)
for name, style in (("eps", "-"), ("x0", "--"), ("v", "-.")):
    ax.plot(steps, unknown[name], style, label=labels[name])
ax.set(xlabel="t", title="share of the target that nobody can know", ylim=(0, 1.03))
ax.legend(frameon=False)
viz.show(
    fig,
    alt="Three curves over t. For eps the unknown share falls from 1 at t = 1 to below 0.1 at t = 100 and, but for a low hump around t = 300, to 0 at the end. For x0 it rises from 0 to 1, most steeply around t = 350. For v it is 1 at both ends and lowest in between.",
)

# %% [markdown]
# Read the curves from both ends. Near $t = 1$ the image can be copied from $x_t$ and the noise cannot be known; near $T$ it is the reverse. (The first half of this is about the data: where the detail is finer than the noise, as in the last line printed, even the noise at $t = 1$ can be known. The hump of $\varepsilon$ near $t = 300$ is where $x_t$ no longer says which digit it was.) The target $v$ is, at each end, the one of the two that can *not* be copied from the input:
# so its answer always carries news, and by the table above it spoils neither $\hat x_0$ nor $\hat\varepsilon$. Later models often predict $v$ for this reason, above all where the last step holds no signal at all and $\varepsilon$ would be a mere copy of the input.
# For the paper's thousand steps on images, $\varepsilon$ with $L_{\text{simple}}$ was the best of what it tried (its table 2); predicting $x_0$ gave worse samples in early experiments (its section 3.2).
#
# ## Scrub t
#
# Four pictures for one $t$: what the network sees, and what each kind of network should answer, for the same photograph and the same noise. (The score is $\varepsilon$ again, times $-1/\sqrt{1-\bar\alpha_t}$.) Values beyond $\pm1$ are clipped. On the right, where this $t$ stands on the curve of the weight.
#
# **What do you expect** to see in the picture of $v$ at $t = 1000$?


# %% tags=["nbval-ignore-output"]
scene = photo.float()
scene_eps = torch.randn(scene.shape, generator=torch.Generator().manual_seed(7))
target_figure, panels = viz.figure(8.8, 2.3, ncols=5, width_ratios=[1, 1, 1, 1, 1.35])
panels[4].loglog(every, weight, color=viz.COLORS["blue"])
(place,) = panels[4].plot([1], [weight[0]], "o", color=viz.COLORS["vermillion"])
panels[4].set(xlabel="t", ylim=(3e-3, 0.8))
panels[4].minorticks_off()  # they take half the time of a redraw


def draw_targets(t):
    """x_t, the three targets, and the weight of this step."""
    at_t = torch.tensor([t])
    pictures = {"$x_t$, the input": process.q_sample(scene, at_t, scene_eps, schedule)}
    pictures |= {
        r"$\varepsilon$": scene_eps,
        "$x_0$": scene,
        "$v$": v_target(scene, at_t, scene_eps, schedule),
    }
    for panel, (title, picture) in zip(panels, pictures.items(), strict=False):
        viz.image(panel, picture[0], title)
    place.set_data([t], [weight[t - 1]])
    panels[4].set_title(f"$w_t$ = {weight[t - 1]:.4f}")
    return target_figure


widgets.live(
    draw_targets,
    t=ipywidgets.IntSlider(300, min=1, max=T, description="t", layout={"width": "480px"}),
    alt=lambda t: (
        f"At t = {t}: the noised photograph that the network sees, then the targets eps (noise), x_0 (the photograph) and v, and a marker on the curve of the weight, at {weight[t - 1]:.4f}."
    ),
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The photograph as a negative: $v = \sqrt{\bar\alpha_T}\,\varepsilon - \sqrt{1-\bar\alpha_T}\,x_0 \approx -x_0$. At $t = 1$ it is the noise. In between it is $x_t$'s mirror image: where one is mostly picture, the other is mostly noise.
#
# </details>
#
# ## Where a factor T goes
#
# $L$ is a **sum** over the steps. $L_{\text{simple}}$ is a **mean** over them, because $t$ is drawn, and a draw estimates a mean:
#
# $$\mathbb E_{t\sim U\{1\dots T\}}\big[f(t)\big] = \frac1T\sum_{t=1}^T f(t), \qquad\text{so}\qquad \sum_{t=1}^T f(t) = \mathbb E_t\big[\,T\,f(t)\,\big].$$
#
# To estimate the bound from random draws, each draw must be multiplied by $T\,w_t$. There is a second factor of the same kind: $\|\cdot\|^2$ is a sum over the $D$ numbers of an image, and code takes the mean. With $\overline{(\cdot)^2}$ for that mean,
#
# | | weight | over $t$ | over dimensions | factor of $\overline{(\varepsilon-\varepsilon_\theta)^2}$ at a drawn $t$ |
# |---|---|---|---|---|
# | $L - \text{const}$, in nats | $w_t$ | sum | sum | $T\,D\,w_t$ |
# | the same in bits/dim | $w_t$ | sum | mean | $T\,w_t/\ln 2$ |
# | (14) as printed | 1 | mean | sum | $D$ |
# | $L_{\text{simple}}$ in code | 1 | mean | mean | 1 |
#
# We test the first line and the last against exact sums. For the mixture of two Gaussians above, `scaled_error` holds the exact error of every step, at $a = 0$, and $D = 1$. A random estimate has a standard error, and must lie within 4 of them. The estimate of $L$ without its factor $T$ must not.

# %%
exact_L = float((weight * scaled_error[:, 4]).sum())  # the sum over t, in nats (D = 1), without its constants
n = 200_000
drawn = torch.randint(1, T + 1, (n,), generator=generator)  # 1 ... T: the upper end is exclusive
x0_n = mixture.sample(n, generator)
eps_n = torch.randn(x0_n.shape, generator=generator, dtype=torch.float64)
xt_n = process.q_sample(x0_n, drawn, eps_n, schedule)
error_n = eps_n - mixture.eps(xt_n, drawn, schedule)  # (n, 1): errors as L_simple draws them
square_error = error_n.square().flatten()  # (n,)
for name, factor in {"T w_t": T * weight[drawn - 1], "w_t": weight[drawn - 1]}.items():
    draws = factor * square_error
    away = abs(float(draws.mean()) - exact_L) / float(draws.std() / math.sqrt(n))
    assert (away < 4) == (name == "T w_t")
    print(
        f"factor {name:5s}: estimate {draws.mean():.4f}, exact {exact_L:.4f}   within 4 standard errors: {away < 4}"
    )

mean_error = float(scaled_error[:, 4].mean())
away = abs(float(square_error.mean()) - mean_error) / float(square_error.std() / math.sqrt(n))
print(
    f"L_simple:     estimate {square_error.mean():.2f}, exact {mean_error:.2f}   within 4 standard errors: {away < 4}"
)

# %% [markdown]
# ### 1 … T, and not 0
#
# Two lines that differ by one, and one of them is wrong. `torch.randint(low, high)` never draws `high`.

# %%
right_range = torch.randint(1, T + 1, (100_000,), generator=generator)
wrong_range = torch.randint(0, T, (100_000,), generator=generator)
print(f"randint(1, T + 1): {int(right_range.min())} to {int(right_range.max())}")
print(f"randint(0, T):     {int(wrong_range.min())} to {int(wrong_range.max())}")
print(f"noise in x_0: sqrt(1 - alpha_bar_0) = {(1 - abar[0]).sqrt():.4f}")
try:
    process.q_sample(scene, torch.tensor([0]), scene_eps, schedule)
    print("t = 0 went through")
except ValueError:
    print("t = 0 is refused by process.q_sample")

# %% [markdown]
# Index 0 is the clean image: it has no noise in it, and the question "which noise was added?" has no answer. Drawing $t$ from $0 \dots T-1$ here spends a thousandth of the training on that question,
# and never trains $t = T$, the step at which sampling *begins*. (Code that counts from 0 and means the first noisy image by it draws `randint(0, T)` and is right. The two conventions must not be mixed.)
#
# ### Does a constant factor matter?
#
# It does not move a minimum. It does scale the gradient, and an optimiser may or may not care. Twenty steps on the one-parameter model from above, with $L_{\text{simple}}$ once as a mean over $t$ and once as a sum:


# %%
def twenty_steps(optimiser, factor, lr):
    """theta after twenty steps from 0 on factor * L_simple of the one-parameter model."""
    theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    descent = optimiser([theta], lr=lr)
    for _ in range(20):
        descent.zero_grad()
        (factor * line_error(theta).mean()).backward()
        descent.step()
    return theta.item()


for name, optimiser, lr in [("SGD", torch.optim.SGD, 1e-4), ("Adam", torch.optim.Adam, 1e-2)]:
    print(
        f"{name:4s}  mean over t: theta {twenty_steps(optimiser, 1, lr):.4f}   sum over t: {twenty_steps(optimiser, T, lr):.4f}"
    )

# %% [markdown]
# Plain gradient descent takes steps a thousand times as long: it has all but arrived where the other has hardly left. Adam divides each step by the size of the gradients it has seen, and does not notice. The paper trains with Adam.
# But its code also cuts gradients off at a norm of 1, and *that* depends on the scale of the loss: keep the mean.
#
# ## The report's equations 5 to 8
#
# The university report that this course began from tells this whole chapter in four equations. Its equations 5 to 7 are the weighted error in the noise, the dropping of the weight, and $L_0$: our (12) and (13). Its equation 8 is $L_{\text{simple}}$, (14). Three points want setting right:
#
# 1. The reverse mean is printed with $\sqrt{1-\alpha_t}$ and $\varepsilon_t$ where (11) has $\sqrt{1-\bar\alpha_t}$ and $\varepsilon_\theta$. Chapter 03 shows what that costs. The weight would go wrong with it: in (12) the factor $1-\bar\alpha_t$ comes from this very root.
# 2. It speaks of predicting "the mean of the noise". What (8) needs is the mean of $x_{t-1}$. The network predicts the noise, and (11) turns that into this mean.
# 3. $L_0$ is not one more Gaussian error. The paper replaces it by the discretised decoder (13), a probability of grey levels; only with "density times width" does it become the $t = 1$ term of (12).

# %% [markdown]
# ## Recap
#
# | | |
# |---|---|
# | (8) | $L_{t-1} = \mathbb E\,\|\tilde\mu_t-\mu_\theta\|^2/2\sigma_t^2 + C_t$: the KL of two Gaussians, the second part without $\theta$ |
# | (11) | $\mu_\theta = \frac{1}{\sqrt{\alpha_t}}\big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta\big)$: one root without a bar, one with |
# | (12) | $w_t = \beta_t^2/\big(2\sigma_t^2\alpha_t(1-\bar\alpha_t)\big)$: one half at $t = 1$, 0.01 at 100, 0.005 at 349, 0.01 at 1000 |
# | (13) | $L_0$ counts grey levels; open tails make the 256 masses sum to one |
# | (14) | $L_{\text{simple}}$ sets $w_t = 1$: less weight on $t \le 102$, the same best network if it can do everything, another one if it cannot |
# | four names | $\varepsilon$, $x_0$, $v$, score: equal up to a factor in the error; that factor is a weight |
# | factor $T$ | a drawn $t$ estimates a mean; $L$ is a sum: $T\,w_t$. And $t$ runs over $1 \dots T$ |
#
# Before you go: without looking, write down (14), and say what was left out of $L$ on the way: one factor that matters, and two terms that training could not have changed.
#
# {{ quiz }}
#
# {{ next }}
#
# ## Open problem
#
# Drawing $t$ uniformly is not the only way to estimate $L$. Draw it with probability $p_t$ and use $\frac{w_t}{p_t}\|\varepsilon-\varepsilon_\theta\|^2$ instead.
#
# 1. Show that this is unbiased for any $p_t > 0$. Which $p_t$ gives the smallest variance? (Compare second moments, and remember Cauchy and Schwarz.)
# 2. For the mixture of two Gaussians and the exact network, compute the standard deviation of one draw, exactly, for uniform $p_t$, for $p_t \propto w_t$, and for the best $p_t$. `at_step(k)`, `grid_eps`, `mean`, `weight` and `exact_L` are all you need.
# 3. How many uniform draws are worth one draw of the best kind? What would you do in training, where the second moments are not known?
# 4. Someone draws $t$ with $p_t\propto w_t$ and minimises the plain $\|\varepsilon-\varepsilon_\theta\|^2$, without dividing by $p_t$. Which loss is that?
#
# <!-- BEGIN SOLUTION -->
# 1. $\sum_t p_t\,\frac{w_t}{p_t}E_t = \sum_t w_t E_t$. The second moment is $\sum_t \frac{w_t^2 M_t}{p_t}$ with $M_t = \mathbb E\|\varepsilon-\varepsilon_\theta\|^4$. By Cauchy-Schwarz
#    $\big(\sum_t w_t\sqrt{M_t}\big)^2 \le \sum_t \frac{w_t^2M_t}{p_t}\cdot\sum_t p_t$, with equality for $p_t \propto w_t\sqrt{M_t}$. That is the best choice.
# 2. The next cell does it by quadrature.
# 3. The ratio of the variances says it. In training keep a running mean of the squared losses of each $t$ and draw from its root; Nichol and Dhariwal (2021) do so, once every $t$ has been seen ten times.
# 4. $\sum_t p_t E_t \propto \sum_t w_t E_t$: that is $L$ again, up to a factor. A weight can be put into the loss or into the way $t$ is drawn; only the noise of the estimate differs.
# <!-- END SOLUTION -->

# %% tags=["solution-only"]
fourth = torch.tensor([mean((grid_eps - at_step(k)[1]) ** 4) for k in range(1, T + 1)], dtype=torch.float64)
ways = {
    "uniform": torch.ones(T, dtype=torch.float64),
    "in proportion to w_t": weight,
    "best": weight * fourth.sqrt(),
}
deviations = {}
for name, p in ways.items():
    p = p / p.sum()
    deviations[name] = float(((weight**2 * fourth / p).sum() - exact_L**2).sqrt())
    print(f"{name:21s} mean {exact_L:.2f}, standard deviation of one draw {deviations[name]:.2f}")
print(
    f"one draw of the best kind is worth {(deviations['uniform'] / deviations['best']) ** 2:.1f} uniform ones"
)
