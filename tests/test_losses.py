"""Losses against closed forms: Gaussian data, whose best eps is known exactly, and torch.distributions."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ddpm_lite import data, losses, process, schedules

LINEAR = schedules.linear()
SHORT = schedules.linear(T=40, beta_1=1e-3, beta_T=0.3)
SMALL = schedules.linear(T=5, beta_1=0.01, beta_T=0.5)


def gaussian_eps(schedule, mean=0.0, var=1.0):
    """The exact E[eps | x_t] when every dimension of x_0 is N(mean, var)."""

    def eps_model(xt, t):
        alpha_bar = process.at(schedule.alpha_bar, t, xt)
        total = alpha_bar * var + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (xt - alpha_bar.sqrt() * mean) / total

    return eps_model


def gaussian(gen, shape, mean=0.0, var=1.0):
    return mean + var**0.5 * torch.randn(shape, generator=gen, dtype=torch.float64)


def grey(gen, shape, dtype=torch.float64):
    return torch.randint(0, 256, shape, generator=gen).to(dtype) / 127.5 - 1


def zero_model(xt, t):
    return torch.zeros_like(xt)


# L_simple


@pytest.mark.parametrize("t", [1, 10, 40])
def test_simple_loss_of_the_exact_model_is_the_least_mean_square_error(gen, t):
    mean, var, alpha_bar = 0.3, 0.25, SHORT.alpha_bar[t]
    x0 = gaussian(gen(), (50_000, 2), mean, var)
    ts = torch.full((len(x0),), t)
    loss = losses.simple_loss(gaussian_eps(SHORT, mean, var), x0, SHORT, gen(1), t=ts)
    best = alpha_bar * var / (alpha_bar * var + 1 - alpha_bar)  # Var[eps | x_t]
    torch.testing.assert_close(loss, best, rtol=0.03, atol=0)


def test_simple_loss_is_zero_for_a_model_that_knows_eps(gen):
    x0, eps = gaussian(gen(), (4, 3)), gaussian(gen(1), (4, 3))
    assert losses.simple_loss(lambda xt, t: eps, x0, SHORT, gen(), eps=eps) == 0
    ours = losses.simple_loss(zero_model, x0, SHORT, gen(), eps=eps)
    torch.testing.assert_close(ours, eps.square().mean())


def test_simple_loss_draws_every_step_alike_and_repeats_with_the_seed(gen):
    seen = []

    def watch(xt, t):
        seen.append(t)
        return torch.zeros_like(xt)

    x0 = torch.zeros(20_000, 1)
    first, second = (losses.simple_loss(watch, x0, SMALL, gen(3)) for _ in range(2))
    assert first == second
    assert torch.equal(*seen)
    counts = torch.bincount(seen[0], minlength=6)
    assert counts[0] == 0
    assert (counts[1:] / 4000 - 1).abs().max() < 0.06


def test_simple_loss_has_a_gradient(gen):
    scale = torch.tensor(0.5, requires_grad=True)
    losses.simple_loss(lambda xt, t: scale * xt, gaussian(gen(), (8, 2)), SHORT, gen()).backward()
    assert scale.grad.abs() > 0


# the bound, term by term


def test_normal_kl_is_that_of_torch(gen):
    m1, m2 = gaussian(gen(), (50,)), gaussian(gen(1), (50,))
    v1, v2 = gaussian(gen(2), (50,)).exp(), gaussian(gen(3), (50,)).exp()
    expected = kl_divergence(Normal(m1, v1.sqrt()), Normal(m2, v2.sqrt()))
    torch.testing.assert_close(losses.normal_kl(m1, v1, m2, v2), expected)


@pytest.mark.parametrize(("t", "weight"), [(2, 0.272692), (100, 0.0100813), (1000, 0.0102045)])
def test_vlb_weights_of_the_paper_schedule(t, weight):
    assert float(losses.vlb_weight(LINEAR)[t]) == pytest.approx(weight, rel=1e-5)


def test_log_of_the_first_posterior_variance_is_finite():
    sigma2 = losses.reverse_variance(LINEAR, "beta_tilde")
    assert sigma2[1] == sigma2[2] == LINEAR.beta_tilde[2]
    assert float(sigma2[1]) == pytest.approx(5.453188e-5, rel=1e-6)
    assert torch.equal(sigma2[2:], LINEAR.beta_tilde[2:])
    assert losses.vlb_weight(LINEAR, "beta_tilde").isfinite().all()
    assert losses.posterior_variance(schedules.constant(T=1))[1] == 0.01


@pytest.mark.parametrize("variance", losses.VARIANCES)
def test_terms_are_the_kl_of_the_two_gaussians(gen, variance):
    x0, t = grey(gen(), (5, 2, 3, 3)), torch.tensor([2, 3, 17, 39, 40])
    eps = gaussian(gen(1), x0.shape)
    xt = process.q_sample(x0, t, eps, SHORT)
    ours = losses.term_nats(gaussian_eps(SHORT), x0, t, SHORT, variance, eps=eps)
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, t, SHORT)
    x0_hat = process.predict_x0(xt, t, gaussian_eps(SHORT)(xt, t), SHORT)
    mu_theta, _ = process.q_posterior(x0_hat, xt, t, SHORT)
    sigma2 = process.at(losses.reverse_variance(SHORT, variance), t, x0)
    expected = kl_divergence(Normal(mu_tilde, beta_tilde.sqrt()), Normal(mu_theta, sigma2.sqrt()))
    torch.testing.assert_close(ours, expected.sum(dim=(1, 2, 3)))


def test_term_is_the_weighted_error_of_eps_when_the_variance_is_that_of_the_posterior(gen):
    x0, t, eps = grey(gen(), (4, 6)), torch.tensor([2, 9, 30, 40]), gaussian(gen(1), (4, 6))
    ours = losses.term_nats(zero_model, x0, t, SHORT, "beta_tilde", eps=eps)
    torch.testing.assert_close(ours, losses.vlb_weight(SHORT, "beta_tilde")[t] * eps.square().sum(dim=1))


def test_float32_keeps_the_small_terms(gen):
    x0, t, eps = grey(gen(), (3, 500)), torch.tensor([500, 900, 1000]), gaussian(gen(1), (3, 500))
    for variance in losses.VARIANCES:

        def model(xt, t):
            return eps.to(xt.dtype)  # an exact guess, so that what is left is the KL of the variances

        exact = losses.term_nats(model, x0, t, LINEAR, variance, eps=eps)
        ours = losses.term_nats(model, x0.float(), t, LINEAR, variance, eps=eps.float())
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(losses.prior_nats(x0.float(), LINEAR).double(), losses.prior_nats(x0, LINEAR))


def test_prior_is_the_kl_to_the_standard_normal(gen):
    x0 = grey(gen(), (4, 3, 2, 2))
    mean, scale = SHORT.alpha_bar[-1].sqrt() * x0, (1 - SHORT.alpha_bar[-1]).sqrt()
    expected = kl_divergence(Normal(mean, scale.expand_as(mean)), Normal(0 * mean, 1 + 0 * mean))
    torch.testing.assert_close(losses.prior_nats(x0, SHORT), expected.sum(dim=(1, 2, 3)))


def test_prior_of_images_is_about_a_hundred_thousandth_of_a_bit(gen):
    bpd = losses.prior_nats(grey(gen(), (8, 3, 32, 32)), LINEAR) / (3 * 32 * 32 * math.log(2))
    assert ((bpd > 3e-6) & (bpd < 3e-5)).all()


def test_bound_is_tight_for_standard_normal_data_with_variance_beta(gen):
    """There q(x_{t-1} | x_t) has variance beta_t, so p_theta is exact and the bound is the entropy."""
    x0, model = gaussian(gen(), (40_000, 1)), gaussian_eps(SHORT)
    total = losses.prior_nats(x0, SHORT)
    for t in range(2, SHORT.T + 1):
        total += losses.term_nats(model, x0, torch.full((len(x0),), t), SHORT, "beta", generator=gen(t))
    one = torch.ones(len(x0), dtype=torch.int64)
    x1 = process.q_sample(x0, one, gaussian(gen(1), x0.shape), SHORT)
    mean = losses.predict(model, x1, one, SHORT, clip=False)
    total -= Normal(mean, SHORT.beta[1].sqrt()).log_prob(x0)[:, 0]  # L_0 as a density: this x_0 is no image
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert float(total.mean()) == pytest.approx(entropy, abs=4 * float(total.std()) / len(x0) ** 0.5)
    assert float(total.std()) / len(x0) ** 0.5 < 0.01


# L_0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma2", [5.453188e-5, 1e-4, 0.5])
def test_decoder_sums_to_one_over_the_grey_levels(dtype, sigma2):
    levels = torch.arange(256, dtype=dtype) / 127.5 - 1
    for mean in (-1.2, -1.0, -0.37, 0.0, 0.999, 1.4):
        log_p = losses.discretised_log_prob(levels, torch.full_like(levels, mean), sigma2)
        assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-4 if dtype == torch.float32 else 1e-12)


def test_decoder_is_the_difference_of_two_cdf():
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    normal = Normal(torch.tensor(0.1, dtype=torch.float64), 0.3)
    mass = normal.cdf(levels + 1 / 255) - normal.cdf(levels - 1 / 255)
    mass[0], mass[-1] = normal.cdf(levels[0] + 1 / 255), 1 - normal.cdf(levels[-1] - 1 / 255)
    ours = losses.discretised_log_prob(levels, torch.full_like(levels, 0.1), 0.09)
    torch.testing.assert_close(ours, mass.log(), rtol=1e-8, atol=1e-8)


def test_decoder_has_log_and_gradient_far_out_in_the_tails():
    levels = torch.tensor([-1.0, -127 / 255, 127 / 255, 1.0])
    mean = torch.tensor([1.0, 1.0, -1.0, -1.0], requires_grad=True)
    log_p = losses.discretised_log_prob(levels, mean, 5e-5)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert (log_p < -1e4).all()
    assert mean.grad.isfinite().all()
    assert torch.equal(mean.grad.sign(), torch.tensor([-1.0, -1.0, 1.0, 1.0]))  # towards the level


def test_decoder_nats_of_a_model_that_knows_x0(gen):
    x0 = grey(gen(), (3, 1, 4, 4))

    def model(xt, t):
        return process.predict_eps(xt, t, x0, LINEAR)

    ours = losses.decoder_nats(model, x0, LINEAR, "beta", generator=gen())
    inner = math.log(math.erf(1 / 255 / math.sqrt(2 * 1e-4)))  # a level that is hit exactly, not at an end
    assert (x0.abs() < 1).all()
    torch.testing.assert_close(ours, torch.full((3,), -16 * inner, dtype=torch.float64), rtol=1e-6, atol=0)


# all of it


def test_bits_per_dim_adds_up_term_by_term(gen):
    x0, model = grey(gen(), (3, 1, 4, 4)), gaussian_eps(SMALL)
    bpd = losses.bits_per_dim(model, x0, SMALL, "beta_tilde", clip=False, generator=gen(5))
    g, bits = gen(5), 16 * math.log(2)
    expected = [losses.decoder_nats(model, x0, SMALL, "beta_tilde", clip=False, generator=g)]
    for t in range(2, 6):
        ts = torch.full((3,), t)
        expected.append(losses.term_nats(model, x0, ts, SMALL, "beta_tilde", clip=False, generator=g))
    assert bpd.terms.shape == (3, 5)
    torch.testing.assert_close(bpd.terms, torch.stack(expected, dim=1) / bits)
    torch.testing.assert_close(bpd.prior, losses.prior_nats(x0, SMALL) / bits)
    torch.testing.assert_close(bpd.total, bpd.prior + torch.stack(expected).sum(dim=0) / bits)
    torch.testing.assert_close(bpd.rate + bpd.distortion, bpd.total)
    assert torch.equal(bpd.distortion, bpd.terms[:, 0])


def test_bits_per_dim_of_noise_is_above_eight_and_clipping_helps_a_poor_model(gen):
    x0 = grey(gen(), (16, 1, 8, 8), torch.float32)
    plain, clipped = (
        losses.bits_per_dim(zero_model, x0, SHORT, clip=clip, generator=gen(), progress=clip).total.mean()
        for clip in (False, True)
    )
    assert 8 < clipped < plain  # uniform grey levels hold 8 bits each: no model can need fewer


# errors


def test_errors_say_what_to_do(gen):
    x0, t = grey(gen(), (2, 1, 4, 4)), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="decoder_nats"):
        losses.term_nats(zero_model, x0, t, SHORT)
    with pytest.raises(ValueError, match="'beta', 'beta_tilde'"):
        losses.term_nats(zero_model, x0, t + 1, SHORT, variance="fixedlarge")
    with pytest.raises(ValueError, match=r"data\.from_uint8"):
        losses.bits_per_dim(zero_model, x0 + 1e-3, SHORT)
    with pytest.raises(ValueError, match=r"data\.from_uint8"):
        losses.decoder_nats(zero_model, 2 * x0, SHORT)
    with pytest.raises(ValueError, match="output of eps_model"):
        losses.simple_loss(lambda xt, t: xt[:, :, :2], x0, SHORT, gen())
    with pytest.raises(TypeError, match=r"data\.from_uint8"):
        losses.simple_loss(zero_model, torch.zeros(2, 1, 4, 4, dtype=torch.uint8), SHORT, gen())
    with pytest.raises(ValueError, match="NaN"):
        losses.bits_per_dim(lambda xt, t: xt * torch.nan, x0, SHORT)


@pytest.mark.parametrize(
    ("T", "count"), [(1000, 12), (1000, 25), (100, 10), (5, 5), (5, 2), (1, 1), (1000, 1000), (7, 3)]
)
def test_strata_cover_every_t_once_and_widen(T, count):
    pieces = losses.strata(T, count)
    assert len(pieces) == count and [t for a, b in pieces for t in range(a, b + 1)] == list(range(1, T + 1))
    if count > 1:
        assert pieces[0] == (1, 1)
    lengths = [b - a + 1 for a, b in pieces]
    assert all(b >= a - 1 for a, b in itertools.pairwise(lengths))  # a rounding may take one away


@pytest.mark.parametrize("count", [0, 6])
def test_strata_refuses_more_than_there_are_timesteps(count):
    with pytest.raises(ValueError, match=r"1\.\.5"):
        losses.strata(5, count)


def _levels(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return data.from_uint8(torch.randint(0, 256, (count, 1, 4, 4), generator=g).to(torch.uint8))


def test_one_draw_a_timestep_is_the_whole_bound():
    schedule, x0 = schedules.linear(T=6, beta_1=0.05, beta_T=0.5), _levels(5)
    model = lambda xt, t: 0.3 * xt  # noqa: E731
    all_terms = losses.bits_per_dim(
        model, x0.repeat(400, 1, 1, 1), schedule, generator=torch.Generator().manual_seed(1)
    )
    sampled = losses.stratified_bits_per_dim(
        model, x0.repeat(400, 1, 1, 1), schedule, 6, generator=torch.Generator().manual_seed(2), batch=700
    )
    assert sampled.strata == tuple((t, t) for t in range(1, 7))
    assert sampled.sums.shape == (2000, 6) and sampled.sums.dtype == torch.float64
    assert torch.allclose(sampled.prior, all_terms.prior)
    assert torch.allclose(sampled.sums.mean(0), all_terms.terms.mean(0), rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("variance", losses.VARIANCES)
def test_the_stratified_estimate_is_right_on_average_and_its_error_honest(variance):
    schedule, x0 = schedules.linear(T=40, beta_1=1e-3, beta_T=0.3), _levels(300, seed=3)
    model = lambda xt, t: 0.5 * xt  # noqa: E731
    truth = losses.bits_per_dim(
        model, x0, schedule, variance, generator=torch.Generator().manual_seed(0)
    ).total
    found = [
        losses.stratified_bits_per_dim(
            model, x0, schedule, 6, variance, generator=torch.Generator().manual_seed(s)
        )
        for s in range(1, 9)
    ]
    # the images are the same in all nine, so they add nothing to the difference: it lies well within the error
    assert all(abs(one.mean - float(truth.mean())) < 4 * one.error for one in found)
    assert all(one.mean == pytest.approx(float(one.total.mean())) for one in found)
    means = torch.tensor([one.mean for one in found])
    assert means.std() < 2 * found[0].error and found[0].error > 0


@pytest.mark.parametrize("count", [1, 41])
def test_the_stratified_estimate_keeps_a_stratum_for_the_last_term(count):
    with pytest.raises(ValueError, match=r"2\.\.40"):
        losses.stratified_bits_per_dim(lambda xt, t: xt, _levels(2), schedules.linear(T=40), count)


def test_the_stratified_estimate_counts_bits_only_for_grey_levels():
    with pytest.raises(ValueError, match="grey levels"):
        losses.stratified_bits_per_dim(lambda xt, t: xt, 0.3 * _levels(2) + 0.001, schedules.linear(T=40))
