"""Sampling: beside diffusers step by step, against cases solved on paper, and what the generator promises."""

import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_lite import process, samplers, schedules

SCHEDULE = schedules.linear()
SHAPE = (3, 1, 4, 4)
START = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(SHAPE)


def toy_model(xt, t):
    """Some fixed, smooth function of both arguments, in place of a network."""
    return torch.tanh(xt * 0.8 + 0.3 * torch.sin(t.to(xt.dtype) / 50).reshape(-1, *[1] * (xt.ndim - 1)))


def gaussian_model(mean: float, variance: float, schedule):
    """E[eps | x_t] when every pixel of x_0 is N(mean, variance): what a perfect network would answer."""

    def eps_model(xt, t):
        alpha_bar = schedule.alpha_bar[t].reshape(-1, *[1] * (xt.ndim - 1)).to(xt.dtype)
        total = alpha_bar * variance + 1 - alpha_bar  # the variance of x_t
        return (1 - alpha_bar).sqrt() * (xt - alpha_bar.sqrt() * mean) / total

    return eps_model


def run(*, seed=0, shape=SHAPE, schedule=SCHEDULE, model=toy_model, **options):
    return samplers.ddpm(model, shape, schedule, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("variance", "theirs"), [("beta", "fixed_large"), ("beta_tilde", "fixed_small")])
def test_every_step_agrees_with_diffusers_on_the_same_noise(variance, theirs, clip, gen):
    peer = DDPMScheduler(beta_schedule="linear", variance_type=theirs, clip_sample=clip)
    peer.set_timesteps(1000)
    g = gen(3)
    xt = torch.randn(SHAPE, generator=g)
    for step in run(seed=3, variance=variance, clip=clip):
        t = step.t + 1
        eps_hat = toy_model(xt, torch.full((3,), t))
        expected = peer.step(eps_hat, t - 1, xt, generator=g)  # diffusers counts its levels 0..T-1
        # Their tables are float32, where alpha_bar near T has lost some of its digits.
        torch.testing.assert_close(step.xt, expected.prev_sample, rtol=2e-4, atol=2e-4)
        torch.testing.assert_close(step.x0_hat, expected.pred_original_sample, rtol=5e-5, atol=5e-5)
        xt = step.xt


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_every_step_is_line_4_of_algorithm_2(variance, gen):
    """The paper's own form, which never names x0_hat, in float64."""
    xt = torch.randn(SHAPE, generator=gen(2), dtype=torch.float64)
    twin, sigma = gen(3), getattr(SCHEDULE, variance).sqrt()
    for step in run(seed=3, variance=variance, clip=False, xT=xt):
        t = step.t + 1
        eps_hat = toy_model(xt, torch.full((3,), t))
        alpha, alpha_bar = SCHEDULE.alpha[t], SCHEDULE.alpha_bar[t]
        mean = (xt - (1 - alpha) / (1 - alpha_bar).sqrt() * eps_hat) / alpha.sqrt()
        z = torch.randn(SHAPE, generator=twin, dtype=torch.float64) if t > 1 else torch.zeros_like(xt)
        torch.testing.assert_close(step.xt, mean + sigma[t] * z, rtol=1e-10, atol=1e-10)
        xt = step.xt


@pytest.mark.parametrize("steps", [1000, 250])
def test_a_perfect_network_for_gaussian_data_gives_their_mean_and_variance(steps):
    mean, variance, n = 0.4, 0.09, 40_000
    short, tau = schedules.respace(SCHEDULE, steps)
    model = samplers.at_timesteps(gaussian_model(mean, variance, SCHEDULE), tau)
    x0 = samplers.last(run(shape=(n,), schedule=short, model=model, clip=False, variance="beta")).xt
    # Four standard errors; and the chain itself, having finitely many steps, leaves a little too much variance.
    assert abs(float(x0.mean()) - mean) < 4 * (variance / n) ** 0.5 + 0.001
    assert abs(float(x0.var()) / variance - 1) < 4 * (2 / n) ** 0.5 + 12 / steps


@pytest.mark.parametrize("optimal", ["beta", "beta_tilde"])
def test_each_variance_is_exact_where_the_paper_says_so(optimal):
    """Section 3.2: sigma^2 = beta is right for x_0 ~ N(0, I), sigma^2 = beta_tilde for x_0 at one point."""
    short, tau = schedules.respace(SCHEDULE, 5)  # so few steps that the wrong choice shows
    model = samplers.at_timesteps(gaussian_model(0.0, 1.0 if optimal == "beta" else 0.0, SCHEDULE), tau)
    spread = {}
    for variance in ("beta", "beta_tilde"):
        steps = list(run(shape=(40_000,), schedule=short, model=model, variance=variance, clip=False))
        spread[variance] = float(steps[-2].xt.var())  # before the last step, which adds no noise
    alpha_bar = float(short.alpha_bar[1])
    exact = 1.0 if optimal == "beta" else 1 - alpha_bar
    other = "beta_tilde" if optimal == "beta" else "beta"
    assert abs(spread[optimal] / exact - 1) < 0.03
    assert abs(spread[other] / exact - 1) > 0.1


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_the_last_step_adds_no_noise(variance):
    *_, before, end = run(variance=variance)
    assert end.t == 0
    # mu_tilde at t = 1 is x0_hat itself: beta_1 / (1 - alpha_bar_1) = 1, and x_t has the factor 0.
    torch.testing.assert_close(end.xt, end.x0_hat)
    eps_hat = toy_model(before.xt, torch.ones(3, dtype=torch.int64))
    alpha_bar = float(SCHEDULE.alpha_bar[1])
    expected = (before.xt - (1 - alpha_bar) ** 0.5 * eps_hat) / alpha_bar**0.5
    torch.testing.assert_close(end.xt, expected.clamp(-1, 1))


def test_t_counts_down_and_the_network_is_asked_about_the_level_above():
    asked = []

    def model(xt, t):
        assert t.dtype == torch.int64
        assert t.shape == (3,)
        asked.append(int(t[0]))
        return torch.zeros_like(xt)

    reached = [step.t for step in run(model=model, schedule=schedules.linear(T=7))]
    assert asked == [7, 6, 5, 4, 3, 2, 1]
    assert reached == [6, 5, 4, 3, 2, 1, 0]


def test_a_respaced_chain_asks_the_network_about_the_original_timesteps():
    short, tau = schedules.respace(SCHEDULE, 4)
    asked = []

    def model(xt, t):
        asked.extend(t.unique().tolist())
        return torch.zeros_like(xt)

    assert samplers.last(run(model=samplers.at_timesteps(model, tau), schedule=short)).xt.shape == SHAPE
    assert asked == [1000, 750, 500, 250]


def test_the_same_generator_gives_the_same_images_and_another_gives_others():
    short, _ = schedules.respace(SCHEDULE, 10)
    a, b, c = (samplers.last(run(seed=s, schedule=short)).xt for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    samplers.last(run(schedule=schedules.linear(T=5)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_xT_starts_the_chain_and_is_not_changed(gen):
    xT, schedule = torch.randn(SHAPE, generator=gen(5)), schedules.linear(T=5)
    kept = xT.clone()
    first = next(run(schedule=schedule, xT=xT))
    alpha_bar = float(schedule.alpha_bar[5])
    x0_hat = (xT - (1 - alpha_bar) ** 0.5 * toy_model(xT, torch.full((3,), 5))) / alpha_bar**0.5
    torch.testing.assert_close(first.x0_hat, x0_hat.clamp(-1, 1))
    assert torch.equal(xT, kept)


def test_gradients_are_off_inside_a_step_and_as_they_were_outside():
    layer = torch.nn.Linear(4, 4)

    def model(xt, t):
        assert not torch.is_grad_enabled()
        return layer(xt)

    for step in run(model=model, schedule=schedules.linear(T=3)):
        assert torch.is_grad_enabled()
        assert not step.xt.requires_grad
        assert layer(step.xt).requires_grad  # the caller may train or differentiate between two steps
    with torch.no_grad():
        for _ in run(model=model, schedule=schedules.linear(T=3)):
            assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_leaving_the_loop_early_leaves_grad_mode_alone():
    for _ in run():
        break
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("shape", [(5, 2), (2, 3, 4, 4), (7,)])
def test_any_shape_will_do(shape):
    assert samplers.last(run(shape=shape, schedule=schedules.linear(T=3))).xt.shape == shape


def test_clip_holds_x0_hat_in_range_and_without_it_does_not():
    assert max(float(s.x0_hat.abs().max()) for s in run()) <= 1
    assert max(float(s.x0_hat.abs().max()) for s in run(clip=False)) > 1


def test_record_keeps_the_frames_asked_for():
    everything = {s.t: s for s in run(schedule=schedules.linear(T=20))}
    at = samplers.frames_at(20, 4)
    frames = samplers.record(run(schedule=schedules.linear(T=20)), at)
    assert [f.t for f in frames] == at == [19, 13, 6, 0]
    assert all(
        torch.equal(f.xt, everything[f.t].xt) and torch.equal(f.x0_hat, everything[f.t].x0_hat)
        for f in frames
    )


@pytest.mark.parametrize(("T", "count"), [(1, 1), (10, 1), (10, 2), (10, 10), (1000, 33)])
def test_frames_at_gives_distinct_levels_that_end_at_0(T, count):
    at = samplers.frames_at(T, count)
    assert len(set(at)) == count
    assert at == sorted(at, reverse=True)
    assert at[-1] == 0
    assert count == 1 or at[0] == T - 1


def test_sample_is_the_end_of_the_chain(capfd):
    schedule = schedules.linear(T=6)
    options = {"progress": False, "variance": "beta_tilde"}
    x0 = samplers.sample(toy_model, SHAPE, schedule, generator=torch.Generator().manual_seed(4), **options)
    assert torch.equal(x0, samplers.last(run(seed=4, schedule=schedule, variance="beta_tilde")).xt)
    assert capfd.readouterr().err == ""
    samplers.sample(toy_model, SHAPE, schedule, generator=torch.Generator().manual_seed(4))
    assert "6/6" in capfd.readouterr().err


def nan_below(t_bad):
    return lambda xt, t: torch.where(t[0] <= t_bad, torch.nan, 0.0).expand(xt.shape)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "'beta', 'beta_tilde', got 'fixed'", {"variance": "fixed"}),
        (ValueError, r"\(3, 1, 4, 4\), got \(2, 1, 4, 4\)", {"xT": torch.zeros(2, 1, 4, 4)}),
        (TypeError, "xT must be a floating-point", {"xT": torch.zeros(SHAPE, dtype=torch.int64)}),
        (ValueError, "xT holds NaN", {"xT": torch.full(SHAPE, torch.nan)}),
        (ValueError, "NaN or infinity at t = 400", {"model": nan_below(400)}),
        (ValueError, r"got \(3, 1, 4\)", {"model": lambda xt, t: xt[..., 0]}),
    ],
)
def test_errors_say_what_was_wrong(error, message, options):
    with pytest.raises(error, match=message):
        samplers.last(run(**options))


def test_a_wrong_argument_is_told_at_the_call_not_at_the_first_step():
    with pytest.raises(ValueError, match="variance"):
        run(variance="large")


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_a_network_of_another_prediction_draws_the_same_images(prediction):
    """The same knowledge, asked for as v or as x_0, on a short chain and with an argument passed on."""
    short, tau = schedules.respace(SCHEDULE, 10)

    def asked(xt, t, shift):
        eps = toy_model(xt + shift, t)
        x0 = process.predict_x0(xt, t, eps, SCHEDULE)
        return x0 if prediction == "x0" else process.v_target(x0, t, eps, SCHEDULE)

    wrapped = samplers.as_eps(asked, SCHEDULE, prediction)
    chains = [
        run(schedule=short, model=samplers.at_timesteps(lambda xt, t, f=f: f(xt, t, 0.5), tau), xT=START)
        for f in (wrapped, lambda xt, t, shift: toy_model(xt + shift, t))
    ]
    for mine, theirs in zip(*chains, strict=True):
        torch.testing.assert_close(mine.xt, theirs.xt, rtol=1e-9, atol=1e-9)


def test_a_network_that_predicts_eps_is_left_as_it_is():
    assert samplers.as_eps(toy_model, SCHEDULE) is toy_model
    with pytest.raises(ValueError, match="'eps', 'v', 'x0', got 'noise'"):
        samplers.as_eps(toy_model, SCHEDULE, "noise")


def test_errors_of_the_helpers():
    with pytest.raises(TypeError, match="tau must be int64"):
        samplers.at_timesteps(toy_model, torch.zeros(3))
    with pytest.raises(ValueError, match="tau must have shape"):
        samplers.at_timesteps(toy_model, torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="never reached t = 9"):
        samplers.record(run(schedule=schedules.linear(T=5)), [9, 0])
    with pytest.raises(ValueError, match="no steps were left"):
        samplers.last([])
    for count in (0, 11):
        with pytest.raises(ValueError, match=r"count must lie in 1\.\.10"):
            samplers.frames_at(10, count)
