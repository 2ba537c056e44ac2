"""The paper's numbers, as `ddpm_lite.paper` states them, against the code: neither can drift from the other."""

import inspect
import math

import pytest
import torch

from ddpm_lite import losses, paper, samplers, schedules, unet

SCHEDULE = schedules.linear()
T = paper.FACTS["T"].value


def fact(name: str):
    return paper.FACTS[name].value


def on_meta(config: unet.UNetConfig) -> unet.UNet:
    with torch.device("meta"):  # shapes only: no memory, no time
        return unet.UNet(config)


def lsun() -> unet.UNetConfig:
    multipliers = fact("lsun_multipliers")
    level = next(i for i in range(len(multipliers)) if 256 >> i == fact("attention_size"))
    return unet.UNetConfig(multipliers=multipliers, attention=(level,))


# What is computed: each entry works its number out anew, from the code of the course.
COMPUTED = {
    "alpha_bar_T": lambda: SCHEDULE.alpha_bar[T],
    "sqrt_alpha_bar_T": lambda: SCHEDULE.alpha_bar[T].sqrt(),
    "half_signal_t": lambda: (SCHEDULE.alpha_bar >= 0.5).sum() - 1,
    "snr_1": lambda: SCHEDULE.snr[1],
    "snr_T": lambda: SCHEDULE.snr[T],
    "beta_tilde_1": lambda: SCHEDULE.beta_tilde[1],
    "beta_tilde_2": lambda: SCHEDULE.beta_tilde[2],
    "beta_tilde_488": lambda: SCHEDULE.beta_tilde[488],
    "beta_tilde_T": lambda: SCHEDULE.beta_tilde[T],
    "vlb_weight_2": lambda: losses.vlb_weight(SCHEDULE)[2],
    "vlb_weight_100": lambda: losses.vlb_weight(SCHEDULE)[100],
    "vlb_weight_T": lambda: losses.vlb_weight(SCHEDULE)[T],
    "cifar10_parameters": lambda: on_meta(unet.UNetConfig()).parameter_count(),
    "lsun_parameters": lambda: on_meta(lsun()).parameter_count(),
}


def test_everything_said_to_be_computed_is_computed_here():
    assert {name for name, f in paper.FACTS.items() if f.source == "computed"} == COMPUTED.keys()


def test_every_fact_has_a_source_and_a_note():
    assert all(f.source in ("paper", "code", "computed") and f.note for f in paper.FACTS.values())


@pytest.mark.parametrize("name", COMPUTED)
def test_a_computed_number_is_right_to_all_its_digits(name):
    stated = fact(name)
    computed = float(COMPUTED[name]())
    if isinstance(stated, int):
        assert round(computed) == stated
        assert computed == pytest.approx(stated, rel=1e-12)
    else:
        digits = len(f"{stated:e}".split("e")[0].rstrip("0").replace(".", ""))
        assert float(f"{computed:.{digits - 1}e}") == stated


def test_the_linear_schedule_is_the_papers():
    defaults = {k: p.default for k, p in inspect.signature(schedules.linear).parameters.items()}
    assert defaults == {name: fact(name) for name in ("T", "beta_1", "beta_T")}
    assert (float(SCHEDULE.beta[1]), float(SCHEDULE.beta[T])) == (fact("beta_1"), fact("beta_T"))
    steps = SCHEDULE.beta[1:].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-9, atol=0)


def test_the_default_network_is_the_papers():
    config = unet.UNetConfig()
    for name in ("base", "multipliers", "blocks", "groups", "dropout"):
        assert getattr(config, name) == fact(name)
    assert [32 >> level for level in config.attention] == [fact("attention_size")]


def test_the_sampler_clips_and_takes_beta_as_the_code_does():
    defaults = inspect.signature(samplers.ddpm).parameters
    assert defaults["clip"].default is True
    assert defaults["variance"].default == "beta"


def test_the_prior_term_is_about_what_the_paper_says():
    """L_T depends on the image through the mean of x^2: 1/3 where every grey level is as frequent as any other."""
    x0 = torch.linspace(-1, 1, 256, dtype=torch.float64)[None]
    bpd = float(losses.prior_nats(x0, SCHEDULE)) / 256 / math.log(2)
    assert bpd == pytest.approx(fact("prior_bpd"), rel=0.1)


def test_decoder_probabilities_of_the_256_grey_levels_sum_to_one():
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    for mean, sigma2 in ((0.0, fact("beta_1")), (0.99, fact("beta_1")), (-1.2, 0.02), (0.3, 1.0)):
        log_p = losses.discretised_log_prob(levels, torch.full_like(levels, mean), sigma2)
        assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("steps", sorted(paper.SIGNAL_LEFT))
def test_the_signal_left_by_a_chain_cut_short(steps):
    stated = paper.SIGNAL_LEFT[steps]
    digits = 4 if stated < 0.01 else 3
    assert round(float(schedules.linear(T=steps).alpha_bar[-1].sqrt()), digits) == stated


@pytest.mark.parametrize("optimal", ["beta", "beta_tilde"])
def test_section_3_2_on_which_variance_is_optimal(optimal):
    """The true variance of x_{t-1} given x_t, for x_0 ~ N(0, s2), by conditioning a Gaussian: no sampling."""
    s2 = 1.0 if optimal == "beta" else 0.0
    prior = SCHEDULE.alpha_bar[1:-1] * s2 + 1 - SCHEDULE.alpha_bar[1:-1]  # Var x_{t-1}, t = 2..T
    alpha, beta = SCHEDULE.alpha[2:], SCHEDULE.beta[2:]
    true = prior - alpha * prior**2 / (alpha * prior + beta)
    torch.testing.assert_close(true, getattr(SCHEDULE, optimal)[2:], rtol=1e-8, atol=0)


# --- the paper against itself ---


def test_tables_agree_with_each_other_and_with_the_text():
    for objective, (score, _, fid, *_) in paper.TABLE_1.items():
        assert paper.TABLE_2["eps", objective, "fixed"] == (score, fid)
    steps, rate, rmse = paper.TABLE_4[0]
    assert (steps, round(rate, 2), round(rmse, 2)) == (T, fact("rate_bpd"), fact("rmse"))
    assert fact("rate_bpd") + fact("distortion_bpd") == pytest.approx(paper.TABLE_1["L_simple"][3])
    assert fact("steps") / fact("steps_per_second") / 3600 == pytest.approx(fact("training_hours"), abs=0.05)
    assert round(fact("lsun_parameters") / 1e6) == 114
