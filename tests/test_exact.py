"""Known answers for the known answers: Bayes on a grid, Monte Carlo, autograd, and the finite-data softmax."""

import math

import pytest
import torch

from ddpm_lite import data, exact, losses, process, samplers, schedules

SCHEDULE = schedules.linear()


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def two():
    """Two components on a line, of different width and weight."""
    f64 = torch.float64
    means, variances = torch.tensor([[-0.8], [0.5]], dtype=f64), torch.tensor([0.04, 0.25], dtype=f64)
    return exact.Mixture(means, variances, torch.tensor([0.3, 0.7], dtype=f64))


@pytest.mark.parametrize("t", [1, 40, 300, 1000])
def test_posterior_mean_is_that_of_bayes_on_a_grid(t):
    mixture, ab = two(), float(SCHEDULE.alpha_bar[t])
    x0 = torch.linspace(-6, 6, 240_001, dtype=torch.float64)[:, None]
    xt = torch.tensor([[-1.1], [0.0], [0.7]], dtype=torch.float64)
    joint = mixture.log_prob(x0) - (xt - math.sqrt(ab) * x0.T).square() / (2 * (1 - ab))  # (3, grid)
    on_grid = joint.softmax(dim=1) @ x0
    found = mixture.x0_mean(xt, torch.full((3,), t), SCHEDULE)
    assert torch.allclose(found, on_grid, atol=1e-7)


@pytest.mark.parametrize("t", [0, 1, 300, 1000])
def test_noised_mixture_has_the_moments_of_noised_samples_and_sums_to_one(t):
    mixture, n = two(), 200_000
    x = mixture.sample(n, gen())
    if t:
        x = process.q_sample(
            x, torch.full((n,), t), torch.randn(x.shape, generator=gen(1)).double(), SCHEDULE
        )
    grid = torch.linspace(-8, 8, 16_001, dtype=torch.float64)[:, None]
    density = mixture.noised(t, SCHEDULE).log_prob(grid).exp()
    assert torch.isclose(torch.trapezoid(density, grid[:, 0]), torch.tensor(1.0).double(), atol=1e-8)
    mean = torch.trapezoid(density * grid[:, 0], grid[:, 0])
    variance = torch.trapezoid(density * (grid[:, 0] - mean) ** 2, grid[:, 0])
    assert abs(x.mean() - mean) < 4 * math.sqrt(variance / n)
    assert abs(x.var() / variance - 1) < 4 * math.sqrt(2 / n)


@pytest.mark.parametrize("t", [1, 200, 1000])
def test_eps_is_minus_the_score_times_its_standard_deviation(t):
    """eps* = -sqrt(1 - ab) grad log q(x_t): the score by autograd of log_prob, eps by the posterior mean."""
    mixture = exact.ring(5, radius=0.8, std=0.1)
    xt = torch.randn(7, 2, generator=gen(), dtype=torch.float64)
    score = mixture.noised(t, SCHEDULE).score(xt)
    t = torch.full((7,), t)
    assert torch.allclose(process.eps_from_score(score, t, SCHEDULE), mixture.eps(xt, t, SCHEDULE), atol=1e-9)


def test_finite_data_is_a_softmax_over_the_images():
    x0 = data.from_uint8(data.digits().images[:50]).double()
    t = torch.tensor([1, 300, 1000])
    xt = process.q_sample(x0[:3], t, torch.randn(3, 1, 8, 8, generator=gen(), dtype=torch.float64), SCHEDULE)
    ab = SCHEDULE.alpha_bar[t]
    distance2 = (xt[:, None] - ab.sqrt().reshape(3, 1, 1, 1, 1) * x0).square().flatten(2).sum(2)
    by_hand = torch.einsum("bk,k...->b...", (-distance2 / (2 * (1 - ab))[:, None]).softmax(1), x0)
    assert torch.allclose(exact.finite(x0).x0_mean(xt, t, SCHEDULE), by_hand, atol=1e-9)


def test_exact_network_samples_the_mixture_and_beats_every_other_constant_of_it():
    mixture, schedule = exact.ring(8, std=0.05), schedules.linear(T=1000)
    x0 = samplers.last(
        samplers.ddpm(
            lambda xt, t: mixture.eps(xt, t, schedule), (2000, 2), schedule, clip=False, generator=gen(3)
        )
    ).xt
    nearest = torch.cdist(x0.double(), mixture.means).min(dim=1)
    assert float((nearest.values < 0.25).float().mean()) > 0.99
    counts = torch.bincount(nearest.indices, minlength=8)
    assert counts.min() > 250 - 5 * math.sqrt(250) and counts.max() < 250 + 5 * math.sqrt(250)
    best, off = (
        losses.simple_loss(
            lambda xt, t, f=f: f * mixture.eps(xt, t, schedule),
            mixture.sample(5000, gen(4)),
            schedule,
            gen(5),
        )
        for f in (1.0, 0.9)
    )
    assert best < off


def test_gaussian_has_the_textbook_answer():
    mean, t = torch.tensor([0.2, -0.4]), torch.tensor([100, 700])
    xt = torch.randn(2, 2, generator=gen())
    ab = SCHEDULE.alpha_bar[t].float()[:, None]
    gain = ab.sqrt() * 0.3 / (ab * 0.3 + 1 - ab)
    found = exact.gaussian(mean, 0.3).x0_mean(xt, t, SCHEDULE)
    assert found.dtype == xt.dtype and torch.allclose(found, mean + gain * (xt - ab.sqrt() * mean), atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: exact.gaussian(torch.zeros(2), -1.0), "variances must be 0 or more"),
        (lambda: exact.Mixture(torch.zeros(2, 2), torch.ones(3), torch.ones(2) / 2), "must be"),
        (lambda: exact.Mixture(torch.zeros(2, 2), torch.ones(2), torch.ones(2)), "sum to 2"),
        (lambda: exact.Mixture(torch.full((1, 2), torch.nan), torch.ones(1), torch.ones(1)), "NaN"),
        (lambda: exact.finite(torch.zeros(3, 2)).log_prob(torch.zeros(1, 2)), "no density"),
        (lambda: exact.finite(torch.zeros(3, 2)).score(torch.zeros(1, 2)), "no density"),
        (lambda: exact.ring().noised(1001, SCHEDULE), "0..1000"),
        (lambda: exact.ring().x0_mean(torch.zeros(1, 2), torch.tensor([0]), SCHEDULE), "1..1000"),
        (lambda: exact.ring().x0_mean(torch.zeros(1, 3), torch.tensor([1]), SCHEDULE), "3 numbers"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_are_seeded_and_within_the_plane(name):
    points = data.toy(name, 4000, gen(1))
    assert points.shape == (4000, 2) and points.dtype == torch.float32
    assert torch.equal(points, data.toy(name, 4000, gen(1)))
    assert 0.8 < float(points.abs().max()) < 1.2 and points.mean(dim=0).abs().max() < 0.05


def test_checkerboard_fills_its_eight_squares_and_no_other():
    squares = ((data.toy("checkerboard", 4000, gen()) + 1) * 2).floor().long()
    assert ((squares.sum(dim=1) % 2) == 0).all()
    assert len(squares.unique(dim=0)) == 8


def test_toy_names_its_choices():
    with pytest.raises(ValueError, match="'moons'"):
        data.toy("ring", 10)
    with pytest.raises(ValueError, match="1 or more"):
        data.toy("moons", 0)
