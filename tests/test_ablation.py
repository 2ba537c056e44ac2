"""The miniature of Table 2: its parts against the package's own, and runs that repeat."""

import itertools
import math

import pytest
import torch

from ddpm_lite import ablation, data, losses, paper, process

IMAGES = torch.arange(6 * 64, dtype=torch.uint8).reshape(6, 1, 8, 8)
SMALL = ablation.Budget(steps=3, batch=2, base=8)


def drawn(count=5, seed=0):
    """x0 on grey levels, xt, t, eps and the schedule; t has both ends."""
    g = torch.Generator().manual_seed(seed)
    schedule = ablation.schedule()
    x0 = data.from_uint8(torch.randint(0, 256, (count, 1, 8, 8), generator=g).to(torch.uint8)).double()
    eps = torch.randn(x0.shape, generator=g, dtype=torch.float64)
    t = torch.tensor([1, 2, 30, 99, 100])[:count]
    return x0, process.q_sample(x0, t, eps, schedule), t, eps, schedule


def test_the_rows_hold_the_papers_and_each_makes_a_network():
    assert set(paper.TABLE_2) <= set(ablation.ROWS)
    for row in ablation.ROWS:
        out = ablation.network(row, 0, base=8)(torch.zeros(2, 1, 8, 8), torch.tensor([1, 100]))
        assert out.shape == (2, 1 if row[2] == "fixed" else 2, 8, 8)


@pytest.mark.parametrize(
    "row", [("y", "L", "fixed"), ("eps", "M", "fixed"), ("eps", "L", "free"), ("eps", "mse", "learned")]
)
def test_what_is_no_row_is_refused(row):
    with pytest.raises(ValueError):
        ablation.network(row, 0)


def test_networks_and_the_global_generator_do_not_meddle():
    state = torch.get_rng_state()
    one, two = (ablation.network(("eps", "L", "fixed"), 3, base=8).conv_in.weight for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("clip", [False, True])
def test_the_bound_of_the_eps_row_is_that_of_losses(clip):
    x0, xt, t, eps, schedule = drawn()
    eps_hat = eps + 0.1 * xt.sin()
    mine = ablation.bound(eps_hat, x0, xt, t, schedule, ("eps", "L", "fixed"), clip)
    bits = math.log(2) * 64
    theirs = losses.term_nats(lambda *_: eps_hat[1:], x0[1:], t[1:], schedule, clip=clip, eps=eps[1:]) / bits
    last = losses.decoder_nats(lambda *_: eps_hat[:1], x0[:1], schedule, clip=clip, eps=eps[:1]) / bits
    assert torch.allclose(mine, torch.cat([last, theirs]), rtol=1e-6, atol=1e-9)


def test_all_that_a_network_may_predict_means_the_same():
    x0, xt, t, _, schedule = drawn()
    x0_hat = 0.8 * x0
    said = {
        "x0": x0_hat,
        "eps": process.predict_eps(xt, t, x0_hat, schedule),
        "mu_tilde": process.q_posterior(x0_hat, xt, t, schedule)[0],
    }
    bounds = [ablation.bound(said[name], x0, xt, t, schedule, (name, "L", "fixed")) for name in said]
    assert torch.allclose(bounds[0], bounds[1], rtol=1e-6) and torch.allclose(bounds[0], bounds[2], rtol=1e-6)


def test_a_variance_can_be_learned_freely_or_in_a_range():
    x0, xt, t, eps, schedule = drawn()
    fixed = ablation.bound(eps, x0, xt, t, schedule, ("eps", "L", "fixed"))
    log_beta = process.at(schedule.beta.clamp(min=1e-30).log(), t, xt).expand_as(xt)
    learned = ablation.bound(torch.cat([eps, log_beta], 1), x0, xt, t, schedule, ("eps", "L", "learned"))
    ranged = ablation.bound(
        torch.cat([eps, torch.ones_like(xt)], 1), x0, xt, t, schedule, ("eps", "L", "range")
    )
    assert torch.allclose(fixed, learned) and torch.allclose(fixed, ranged)
    best = ablation.bound(
        torch.cat([eps, -torch.ones_like(xt)], 1), x0, xt, t, schedule, ("eps", "L", "range")
    )
    assert (best[1:].abs() < 1e-9).all()  # the right mean and beta_tilde: nothing is left


def test_log_range_reaches_both_ends_and_beyond():
    schedule, t = ablation.schedule(), torch.tensor([1, 2, 100])
    v = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)[:, None]
    got = ablation.log_range(v, t, schedule)[:, 0].exp()
    tilde = losses.posterior_variance(schedule)
    want = torch.stack([schedule.beta[1], tilde[2], schedule.beta[100] ** 2 / tilde[100]])
    assert torch.allclose(got, want)


@pytest.mark.parametrize("row", ablation.ROWS)
def test_every_row_trains_samples_and_is_measured_and_repeats(row):
    runs = [list(ablation.train(row, IMAGES, SMALL, seed)) for seed in (0, 0, 1)]
    one, two, other = ([step.loss for step in run] for run in runs)
    assert one == two != other and len(one) == 3
    model = runs[0][-1].ema
    samples = ablation.sample(model, 3, row, 0)
    assert samples.shape == (3, 1, 8, 8) and samples.dtype == torch.uint8
    assert torch.equal(samples, ablation.sample(model, 3, row, 0))
    terms = ablation.bits(model, IMAGES[:2], row, 0)
    assert terms.shape == (2, 101) and terms.dtype == torch.float64 and torch.isfinite(terms).all()


def test_training_lowers_the_loss_and_the_average_follows():
    budget = ablation.Budget(steps=40, batch=8, base=8, lr=3e-3, warmup=5)
    steps = list(itertools.islice(ablation.train(("eps", "L_simple", "fixed"), IMAGES, budget, 0), 40))
    losses_ = [step.loss for step in steps]
    assert sum(losses_[-5:]) < 0.9 * sum(losses_[:5])
    assert steps[-1].ema.conv_out.weight.abs().sum() > 0


def test_training_stops_where_the_loss_is_not_finite(monkeypatch):
    monkeypatch.setattr(ablation, "objective", lambda model, *_: model.conv_in.weight.sum() * float("nan"))
    assert len(list(ablation.train(("eps", "L", "fixed"), IMAGES, SMALL, 0))) == 1


def test_the_split_is_the_feature_networks():
    train, held_out = ablation.split()
    assert len(train) == 1438 and len(held_out) == 359
    assert torch.equal(held_out[0], data.digits().images[4])
