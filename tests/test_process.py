"""The forward process and its posterior: by simulation, by brute force on a grid, beside diffusers, and round trips."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_lite import process, schedules

SCHEDULE = schedules.linear()
T = SCHEDULE.T
EVERY_T = pytest.mark.parametrize("t", [1, 2, 10, 259, 999, 1000])


def draw(gen, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=gen, dtype=dtype)


def full(t: int, batch: int = 3):
    return torch.full((batch,), t)


# --- q: chain and jump ---


@pytest.mark.parametrize("t", [1, 3, 40])
def test_a_chain_of_steps_has_the_distribution_of_one_jump(t, gen):
    n, schedule, g = 100_000, schedules.linear(T=40, beta_T=0.2), gen(1)
    x0 = torch.full((n, 1), 0.7, dtype=torch.float64)
    xt = x0
    for s in range(1, t + 1):
        xt = process.q_step(xt, full(s, n), draw(g, n, 1), schedule)
    jump = process.q_sample(x0, full(t, n), draw(g, n, 1), schedule)
    alpha_bar = float(schedule.alpha_bar[t])
    for sample in (xt, jump):  # within five standard errors of eq. (4)
        assert abs(float(sample.mean()) - 0.7 * alpha_bar**0.5) < 5 * ((1 - alpha_bar) / n) ** 0.5
        assert abs(float(sample.var()) / (1 - alpha_bar) - 1) < 5 * (2 / n) ** 0.5


def test_a_chain_keeps_what_a_jump_keeps(gen):
    """Without noise both only shrink, and the product of the shrinkings is sqrt(alpha_bar_t): exact, no sampling."""
    x0 = draw(gen(), 2, 1, 3, 3)
    zero, xt = torch.zeros_like(x0), x0
    for t in range(1, T + 1):
        xt = process.q_step(xt, full(t, 2), zero, SCHEDULE)
    torch.testing.assert_close(xt, process.q_sample(x0, full(T, 2), zero, SCHEDULE), rtol=1e-10, atol=0)


def test_the_noise_has_the_variance_of_the_equations_not_its_square_or_root():
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for t in (1, 500, 1000):
        step = float(process.q_step(zero, full(t, 1), one, SCHEDULE))
        jump = float(process.q_sample(zero, full(t, 1), one, SCHEDULE))
        assert step**2 == pytest.approx(float(SCHEDULE.beta[t]), rel=1e-12)
        assert jump**2 == pytest.approx(1 - float(SCHEDULE.alpha_bar[t]), rel=1e-12)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 5, 7), (4, 3, 2, 5, 7)])
def test_each_example_has_its_own_t_in_any_shape(shape, gen):
    g, t = gen(), torch.tensor([1, 10, 500, 1000])
    x0, eps = draw(g, *shape), draw(g, *shape)
    xt = process.q_sample(x0, t, eps, SCHEDULE)
    assert xt.shape == shape
    for i in range(4):
        alone = process.q_sample(x0[i : i + 1], t[i : i + 1], eps[i : i + 1], SCHEDULE)
        assert torch.equal(xt[i : i + 1], alone)


# --- the posterior ---


@pytest.mark.parametrize(("t", "x0", "xt"), [(2, 0.5, 0.3), (10, -0.8, 0.4), (25, 0.2, -1.5), (40, 1.0, 0.1)])
def test_the_posterior_is_bayes_rule_on_a_grid(t, x0, xt):
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): both densities, multiplied out."""
    schedule = schedules.linear(T=40, beta_T=0.2)
    grid = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    alpha, alpha_bar_prev = float(schedule.alpha[t]), float(schedule.alpha_bar[t - 1])
    log_p = -0.5 * (xt - alpha**0.5 * grid) ** 2 / (1 - alpha)
    log_p -= 0.5 * (grid - alpha_bar_prev**0.5 * x0) ** 2 / (1 - alpha_bar_prev)
    p = torch.softmax(log_p, dim=0)
    mean = (p * grid).sum()
    variance = (p * (grid - mean) ** 2).sum()
    x0, xt = torch.tensor([[x0]], dtype=torch.float64), torch.tensor([[xt]], dtype=torch.float64)
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, full(t, 1), schedule)
    assert float(mu_tilde) == pytest.approx(float(mean), rel=1e-8)
    assert float(beta_tilde) == pytest.approx(float(variance), rel=1e-6)


def test_at_t_1_the_posterior_is_the_image_itself(gen):
    g = gen()
    x0, xt = draw(g, 3, 1, 2, 2), draw(g, 3, 1, 2, 2)
    mu_tilde, beta_tilde = process.q_posterior(x0, xt, full(1), SCHEDULE)
    torch.testing.assert_close(mu_tilde, x0, rtol=1e-12, atol=0)
    assert beta_tilde.shape == (3, 1, 1, 1)
    assert (beta_tilde == 0).all()


@EVERY_T
def test_the_posterior_undoes_one_step_on_average(t):
    """Averaged over q(x_t | x_0), x_{t-1} ~ q(. | x_t, x_0) has the marginal q(x_{t-1} | x_0) again."""
    of_x0, of_xt = process.posterior_coefficients(SCHEDULE)
    alpha_bar, alpha_bar_prev = SCHEDULE.alpha_bar[t], SCHEDULE.alpha_bar[t - 1]
    mean = of_x0[t] + of_xt[t] * alpha_bar.sqrt()
    variance = of_xt[t] ** 2 * (1 - alpha_bar) + SCHEDULE.beta_tilde[t]
    torch.testing.assert_close(mean, alpha_bar_prev.sqrt(), rtol=1e-10, atol=0)
    torch.testing.assert_close(variance, 1 - alpha_bar_prev, rtol=1e-8, atol=1e-15)


# --- conversions ---


@EVERY_T
def test_conversions_come_back_to_where_they_started(t, gen):
    g, t = gen(t), full(t)
    x0, eps = draw(g, 3, 1, 4, 4), draw(g, 3, 1, 4, 4)
    xt, v = process.q_sample(x0, t, eps, SCHEDULE), process.v_target(x0, t, eps, SCHEDULE)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(process.predict_x0(xt, t, eps, SCHEDULE), x0, **close)
    torch.testing.assert_close(process.predict_eps(xt, t, x0, SCHEDULE), eps, **close)
    torch.testing.assert_close(process.x0_from_v(xt, t, v, SCHEDULE), x0, **close)
    torch.testing.assert_close(process.eps_from_v(xt, t, v, SCHEDULE), eps, **close)
    score = process.score_from_eps(eps, t, SCHEDULE)
    torch.testing.assert_close(process.eps_from_score(score, t, SCHEDULE), eps, **close)


@EVERY_T
def test_the_score_is_the_gradient_of_the_log_density(t, gen):
    g, t = gen(), full(t, 1)
    x0, eps = draw(g, 1, 5), draw(g, 1, 5)
    xt = process.q_sample(x0, t, eps, SCHEDULE).requires_grad_()
    alpha_bar = SCHEDULE.alpha_bar[t]
    log_q = torch.distributions.Normal(alpha_bar.sqrt() * x0, (1 - alpha_bar).sqrt()).log_prob(xt).sum()
    (gradient,) = torch.autograd.grad(log_q, xt)
    torch.testing.assert_close(process.score_from_eps(eps, t, SCHEDULE), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("T", [10, 1000])
def test_the_forward_process_and_v_are_those_of_diffusers(T, gen):
    peer, schedule, g = DDPMScheduler(num_train_timesteps=T), schedules.linear(T=T), gen()
    t = torch.tensor([1, 2, T // 2, T])
    x0, eps = draw(g, 4, 3, 8, 8, dtype=torch.float32), draw(g, 4, 3, 8, 8, dtype=torch.float32)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(
        process.q_sample(x0, t, eps, schedule), peer.add_noise(x0, eps, t - 1), **tolerance
    )
    torch.testing.assert_close(
        process.v_target(x0, t, eps, schedule), peer.get_velocity(x0, eps, t - 1), **tolerance
    )


# --- dtypes, gradients, purity ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_answer_has_the_dtype_of_the_first_argument(dtype, gen):
    x0, eps = (draw(gen(s), 3, 1, 4, 4).to(dtype) for s in (0, 1))
    xt = process.q_sample(x0, full(1000), eps, SCHEDULE)
    mu_tilde, beta_tilde = process.q_posterior(x0, eps, full(2), SCHEDULE)
    assert {xt.dtype, mu_tilde.dtype, beta_tilde.dtype} == {dtype}
    # Cast once from float64, so that even half precision knows sqrt(alpha_bar_T) to its last digit.
    only_x0 = process.q_sample(torch.ones_like(x0), full(1000), torch.zeros_like(x0), SCHEDULE)
    assert (only_x0 == SCHEDULE.alpha_bar[1000].sqrt().to(dtype)).all()


def test_arguments_are_not_changed_and_gradients_flow(gen):
    g = gen()
    x0, eps, t = draw(g, 3, 2), draw(g, 3, 2).requires_grad_(), torch.tensor([1, 2, 3])
    copies = x0.clone(), eps.detach().clone(), t.clone()
    process.predict_x0(x0, t, eps, SCHEDULE).sum().backward()
    expected = -((1 - SCHEDULE.alpha_bar[t]) / SCHEDULE.alpha_bar[t]).sqrt()
    torch.testing.assert_close(eps.grad, expected[:, None].expand(3, 2))
    assert all(torch.equal(a, b) for a, b in zip((x0, eps, t), copies, strict=True))


# --- errors ---

THREE = [
    process.q_step,
    process.q_sample,
    process.predict_x0,
    process.predict_eps,
    process.v_target,
    process.eps_from_v,
    process.x0_from_v,
    lambda a, t, b, schedule: process.q_posterior(a, b, t, schedule),
    lambda a, t, b, schedule: process.score_from_eps(a, t, schedule),
    lambda a, t, b, schedule: process.eps_from_score(a, t, schedule),
]
NAMES = "q_step q_sample predict_x0 predict_eps v_target eps_from_v x0_from_v q_posterior score_from_eps eps_from_score"


@EVERY_T
def test_what_a_network_is_asked_for_gives_back_eps_and_x0(t, gen):
    g = gen(6)
    x0, eps, t = draw(g, 3, 1, 4, 4), draw(g, 3, 1, 4, 4), full(t)
    xt = process.q_sample(x0, t, eps, SCHEDULE)
    assert torch.equal(process.target(x0, t, eps, SCHEDULE), eps)
    assert torch.equal(process.target(x0, t, eps, SCHEDULE, "x0"), x0)
    v = process.target(x0, t, eps, SCHEDULE, "v")
    torch.testing.assert_close(process.eps_from_v(xt, t, v, SCHEDULE), eps)
    torch.testing.assert_close(process.x0_from_v(xt, t, v, SCHEDULE), x0)
    with pytest.raises(ValueError, match="'eps', 'v', 'x0', got 'score'"):
        process.target(x0, t, eps, SCHEDULE, "score")


EVERY_FUNCTION = pytest.mark.parametrize("function", THREE, ids=NAMES.split())
X = torch.zeros(3, 1, 2, 2)
MISTAKES = [
    (TypeError, "floating-point tensor, got torch.uint8", {"a": X.byte(), "b": X.byte()}),
    (TypeError, "must be a torch.Tensor, got ndarray", {"a": X.numpy()}),
    (ValueError, "holds NaN", {"a": X + float("nan")}),
    (TypeError, "t must be an integer tensor", {"t": torch.ones(3)}),
    (TypeError, "t must be an integer tensor", {"t": 5}),
    (ValueError, r"t must have shape \(3,\)", {"t": torch.ones(4, dtype=torch.int64)}),
    (ValueError, "got t = 0", {"t": full(0)}),
    (ValueError, "got t = 1001", {"t": torch.tensor([1, 1001, 2])}),
]


@EVERY_FUNCTION
@pytest.mark.parametrize(("error", "message", "changes"), MISTAKES)
def test_mistakes_are_told_by_every_function(function, error, message, changes):
    a, t, b = ({"a": X, "t": full(5), "b": X} | changes).values()
    with pytest.raises(error, match=message):
        function(a, t, b, SCHEDULE)


@pytest.mark.parametrize("function", THREE[:8], ids=NAMES.split()[:8])
def test_shapes_are_never_broadcast(function):
    with pytest.raises(ValueError, match="must have the same shape"):
        function(X, full(5), X[:, :, :1], SCHEDULE)
    with pytest.raises(ValueError, match="holds NaN"):
        function(X, full(5), X * float("inf"), SCHEDULE)


@EVERY_FUNCTION
@given(t=st.lists(st.integers(-3, 15), min_size=3, max_size=3))
@settings(deadline=None, max_examples=30)
def test_any_t_in_1_to_T_will_do_and_no_other(function, t):
    schedule, t = schedules.linear(T=10), torch.tensor(t)
    if ((t >= 1) & (t <= 10)).all():
        function(X, t, X, schedule)
    else:
        with pytest.raises(ValueError, match=r"t must lie in 1\.\.10"):
            function(X, t, X, schedule)
