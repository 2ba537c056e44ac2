"""Schedules: every registered one keeps its promises, the paper's is diffusers', and mistakes are told."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_lite import schedules

EVERY = pytest.mark.parametrize("name", sorted(schedules.REGISTRY))


def test_the_registry_holds_the_schedules_that_the_course_names():
    assert {"linear", "quadratic", "constant", "cosine", "sigmoid"} <= schedules.REGISTRY.keys()


@EVERY
@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_arrays_have_T_plus_1_entries_and_start_clean(name, T):
    s = schedules.REGISTRY[name](T=T)
    assert s.T == T
    assert s.name == name
    for array in (s.beta, s.alpha, s.alpha_bar, s.beta_tilde, s.snr):
        assert array.shape == (T + 1,)
        assert array.dtype == torch.float64
    assert s.beta[0] == 0
    assert s.alpha_bar[0] == 1
    assert s.beta_tilde[0] == 0
    assert s.snr[0] == math.inf


@EVERY
def test_signal_only_falls(name):
    s = schedules.REGISTRY[name]()
    assert ((s.beta[1:] > 0) & (s.beta[1:] < 1)).all()
    assert (s.alpha_bar.diff() < 0).all()
    assert (s.alpha_bar > 0).all()
    assert (s.snr.diff() < 0).all()


@EVERY
def test_the_derived_arrays_obey_their_equations(name):
    s = schedules.REGISTRY[name](T=50)
    product = 1.0
    for t in range(1, 51):
        before, product = product, product * (1 - float(s.beta[t]))
        assert float(s.alpha[t]) == 1 - float(s.beta[t])
        assert float(s.alpha_bar[t]) == pytest.approx(product, rel=1e-12)
        expected = (1 - before) / (1 - product) * float(s.beta[t])
        assert float(s.beta_tilde[t]) == pytest.approx(expected, rel=1e-9, abs=0)
        assert float(s.snr[t]) == pytest.approx(product / (1 - product), rel=1e-9)
    assert s.beta_tilde[1] == 0  # exactly: given x_1 and x_0 there is nothing left to say about x_0
    assert (s.beta_tilde[1:] < s.beta[1:]).all()


@EVERY
def test_a_function_is_pure(name):
    assert torch.equal(schedules.REGISTRY[name](T=9).beta, schedules.REGISTRY[name](T=9).beta)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("linear", "linear"), ("quadratic", "scaled_linear"), ("cosine", "squaredcos_cap_v2")],
)
@pytest.mark.parametrize("T", [10, 1000])
def test_betas_are_those_of_diffusers(name, theirs, T):
    peer = DDPMScheduler(num_train_timesteps=T, beta_schedule=theirs, beta_start=1e-4, beta_end=0.02)
    s = schedules.REGISTRY[name](T=T)
    # Theirs are float32; beta = 1 - ratio loses relative accuracy in them where the ratio is near 1.
    torch.testing.assert_close(s.beta[1:].float(), peer.betas, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(s.alpha_bar[1:].float(), peer.alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_the_sigmoid_ends_near_its_ends_and_is_symmetric():
    s = schedules.sigmoid(T=101, beta_1=0.1, beta_T=0.3)
    assert float(s.beta[51]) == pytest.approx(0.2)
    torch.testing.assert_close(s.beta[1:] - 0.2, 0.2 - s.beta[1:].flip(0))
    assert 0.1 < float(s.beta[1]) < 0.101
    assert 0.299 < float(s.beta[-1]) < 0.3


def test_the_constant_schedule_has_its_closed_form():
    s = schedules.constant(T=100, beta=0.03)
    torch.testing.assert_close(s.alpha_bar, 0.97 ** torch.arange(101, dtype=torch.float64))


def test_the_cosine_schedule_follows_the_cosine_until_the_cap():
    s = schedules.cosine(T=1000)
    f = torch.cos((torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(s.alpha_bar[:-1], (f / f[0])[:-1])
    assert s.beta[-1] == 0.999


@given(st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=40))
@settings(deadline=None)
def test_any_betas_make_a_schedule(betas):
    s = schedules.from_beta(betas)
    assert s.beta[1:].tolist() == betas
    assert float(s.alpha_bar[-1]) == pytest.approx(math.prod(1 - b for b in betas), rel=1e-9)
    assert (s.beta_tilde[1:] <= s.beta[1:]).all()


@given(T=st.integers(1, 300), data=st.data())
@settings(deadline=None)
def test_respacing_visits_levels_of_the_long_chain(T, data):
    steps = data.draw(st.integers(1, T))
    long = schedules.linear(T=T)
    short, tau = schedules.respace(long, steps)
    assert steps == short.T
    assert tau.dtype == torch.int64
    assert (tau[0], tau[-1]) == (0, T)
    assert (tau.diff() >= 1).all()
    torch.testing.assert_close(short.alpha_bar, long.alpha_bar[tau], rtol=1e-12, atol=0)


def test_respacing_to_all_steps_changes_nothing():
    long = schedules.cosine(T=30)
    short, tau = schedules.respace(long, 30)
    assert tau.tolist() == list(range(31))
    torch.testing.assert_close(short.beta, long.beta, rtol=1e-9, atol=1e-12)


def test_a_schedule_is_frozen_detached_and_says_what_it_is():
    beta = torch.tensor([0.0, 0.1], dtype=torch.float32, requires_grad=True)
    s = schedules.Schedule(beta, "mine")
    assert s.beta.dtype == torch.float64
    assert not s.beta.requires_grad
    assert repr(s) == "Schedule('mine', T=1, alpha_bar_T=0.9)"
    with pytest.raises(AttributeError):
        s.beta = beta


def test_a_new_schedule_is_one_function(monkeypatch):
    monkeypatch.setattr(schedules, "REGISTRY", dict(schedules.REGISTRY))

    @schedules.register
    def half(T: int = 10):
        return schedules.from_beta([0.5] * T, "half")

    assert schedules.REGISTRY["half"](T=3).alpha_bar.tolist() == [1, 0.5, 0.25, 0.125]


NAN = float("nan")
MISTAKES = [
    (TypeError, "beta must be a torch.Tensor, got list", lambda: schedules.Schedule([0, 0.1])),
    (ValueError, r"shape \(T\+1,\)", lambda: schedules.Schedule(torch.zeros(1))),
    (ValueError, r"shape \(T\+1,\)", lambda: schedules.Schedule(torch.zeros(2, 2))),
    (ValueError, r"beta\[0\] must be 0", lambda: schedules.Schedule(torch.tensor([0.1, 0.2]))),
    (ValueError, r"got beta_2 = 1\.", lambda: schedules.from_beta([0.1, 1.0])),
    (ValueError, r"got beta_1 = 0\.", lambda: schedules.from_beta([0.0, 0.1])),
    (ValueError, r"got beta_1 = -0\.1", lambda: schedules.from_beta([-0.1])),
    (ValueError, r"got beta_3 = nan", lambda: schedules.from_beta([0.1, 0.1, NAN])),
    (ValueError, "T >= 1 numbers", lambda: schedules.from_beta([])),
    (ValueError, "T >= 1 numbers", lambda: schedules.from_beta([[0.1]])),
    (ValueError, "s must be greater than 0", lambda: schedules.cosine(s=0)),
    (ValueError, r"in 1\.\.10, got 0", lambda: schedules.respace(schedules.linear(T=10), 0)),
    (ValueError, r"in 1\.\.10, got 11", lambda: schedules.respace(schedules.linear(T=10), 11)),
    (ValueError, r"in 1\.\.10, got 2\.0", lambda: schedules.respace(schedules.linear(T=10), 2.0)),
    (ValueError, r"in 1\.\.10, got True", lambda: schedules.respace(schedules.linear(T=10), True)),
]


@pytest.mark.parametrize(("error", "message", "mistake"), MISTAKES)
def test_mistakes_are_told(error, message, mistake):
    with pytest.raises(error, match=message):
        mistake()


@EVERY
@pytest.mark.parametrize("T", [0, -1, 2.0, True, "10"])
def test_T_must_be_a_whole_number(name, T):
    with pytest.raises(ValueError, match="T must be a whole number of steps"):
        schedules.REGISTRY[name](T=T)
