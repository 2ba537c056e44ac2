"""The arithmetic coder: what is put comes out, at the length that the probabilities say; and minimal random coding."""

import math

import pytest
import torch

from ddpm_lite import coding, losses, results


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def ideal(symbols, counts):
    return -sum(math.log2(row[s] / sum(row)) for s, row in zip(symbols, counts, strict=True))


def message(n, levels, seed):
    """n symbols and the counts of each, uneven and different every time; no symbol has the count 0."""
    p = torch.rand(n, levels, generator=gen(seed), dtype=torch.float64) ** 4 + 1e-9
    counts = coding.counts_of(p / p.sum(dim=1, keepdim=True), total=1000)
    symbols = torch.multinomial(counts.double(), 1, generator=gen(seed + 1)).flatten()
    return symbols.tolist(), counts.tolist()


@pytest.mark.parametrize(("n", "levels"), [(1, 2), (7, 3), (64, 17), (300, 256), (1000, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_put_comes_out_at_the_ideal_length(n, levels, seed):
    symbols, counts = message(n, levels, seed)
    encoder = coding.Encoder()
    for symbol, row in zip(symbols, counts, strict=True):
        encoder.put(symbol, row)
    bits = encoder.bits()
    decoder = coding.Decoder(bits)
    assert [decoder.get(row) for row in counts] == symbols
    assert ideal(symbols, counts) <= len(bits) + 1e-6
    assert len(bits) <= ideal(symbols, counts) + 2


def test_every_message_of_three_symbols_is_told_apart_and_what_follows_does_no_harm():
    counts, seen = [3, 1, 0, 4], {}
    for a in (0, 1, 3):
        for b in (0, 1, 3):
            for c in (0, 1, 3):
                encoder = coding.Encoder()
                for symbol in (a, b, c):
                    encoder.put(symbol, counts)
                for tail in ("", "0", "1", "0110"):
                    decoder = coding.Decoder(encoder.bits() + tail)
                    assert [decoder.get(counts) for _ in range(3)] == [a, b, c]
                seen[encoder.bits()] = (a, b, c)
    assert len(seen) == 27
    assert not any(x != y and y.startswith(x) for x in seen for y in seen)  # no message begins another


def test_numbers_and_symbols_go_through_one_coder():
    encoder = coding.Encoder()
    encoder.put_number(1000, 1024)
    encoder.put(1, torch.tensor([1, 7]))
    encoder.put_number(2, 3)
    decoder = coding.Decoder(encoder.bits())
    assert (decoder.get_number(1024), decoder.get([1, 7]), decoder.get_number(3)) == (1000, 1, 2)


def test_powers_of_two_cost_whole_bits_and_nothing_costs_nothing():
    encoder = coding.Encoder()
    assert encoder.bits() == ""
    encoder.put(0, [5])  # the only symbol there is
    assert encoder.bits() == ""
    encoder.put_number(5, 8)
    assert encoder.bits() == "101"


@pytest.mark.parametrize(("symbol", "counts"), [(3, [1, 1, 1]), (-1, [1, 1]), (0, [0, 1])])
def test_a_symbol_that_is_not_there_is_refused(symbol, counts):
    with pytest.raises(ValueError, match="symbol"):
        coding.Encoder().put(symbol, counts)


@pytest.mark.parametrize("counts", [[], [0, 0], [-1, 2], [0.5, 0.5], torch.tensor([0.5, 0.5])])
def test_what_is_no_count_is_refused(counts):
    with pytest.raises(ValueError, match="whole numbers"):
        coding.Encoder().put(0, counts)
    with pytest.raises(ValueError, match="whole numbers"):
        coding.Decoder("0").get(counts)


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match=r"0\.\.7"):
        coding.Encoder().put_number(8, 8)
    with pytest.raises(ValueError, match="0 and 1"):
        coding.Decoder("012")


def test_counts_have_their_sum_are_at_least_one_and_near_the_probabilities():
    p = torch.rand(5, 3, 17, generator=gen()) ** 6
    p = p / p.sum(dim=-1, keepdim=True)
    counts = coding.counts_of(p)
    assert counts.shape == p.shape
    assert counts.dtype == torch.int64
    assert (counts.sum(dim=-1) == 2**16).all()
    assert counts.min() >= 1
    assert torch.allclose(counts / 2**16, p, atol=17 / 2**15)


@pytest.mark.parametrize("p", [[0.5, 0.6], [1.5, -0.5], [float("nan"), 1.0]])
def test_what_are_no_probabilities_are_refused(p):
    with pytest.raises(ValueError, match=r"probabilities"):
        coding.counts_of(torch.tensor(p))
    with pytest.raises(ValueError, match="number of symbols"):
        coding.counts_of(torch.tensor([0.5, 0.5]), total=1)


def test_level_probabilities_are_those_of_the_discretised_decoder():
    x0 = torch.linspace(-1, 1, 256, dtype=torch.float64)
    mean = torch.tensor([-1.2, -0.3, 0.999], dtype=torch.float64)
    p = coding.level_probabilities(mean, 0.01)
    assert p.shape == (3, 256)
    assert torch.allclose(p.sum(dim=-1), torch.ones(3, dtype=torch.float64))
    want = losses.discretised_log_prob(x0.expand(3, 256), mean[:, None].expand(3, 256), 0.01).exp()
    assert torch.allclose(p, want, atol=1e-9)
    few = coding.level_probabilities(mean, 0.01, levels=17)
    assert few.shape == (3, 17)
    assert few[0].argmax() == 0
    assert few[2].argmax() == 16


@pytest.mark.parametrize(("sigma2", "levels"), [(0.0, 17), (-1.0, 17), (float("nan"), 17), (0.1, 1)])
def test_a_decoder_without_width_or_levels_is_refused(sigma2, levels):
    with pytest.raises(ValueError, match="sigma2"):
        coding.level_probabilities(torch.zeros(3), sigma2, levels)


def test_log_ratio_is_the_difference_of_log_densities():
    x, q, p = (
        torch.randn(*shape, generator=gen(i), dtype=torch.float64)
        for i, shape in enumerate([(9, 4), (4,), (4,)])
    )
    normal = torch.distributions.Normal
    want = (normal(q, math.sqrt(0.3)).log_prob(x) - normal(p, math.sqrt(0.7)).log_prob(x)).sum(dim=1)
    assert torch.allclose(coding.log_ratio(x, q, 0.3, p, 0.7), want)


def test_the_chosen_candidates_are_like_draws_from_q_and_the_receiver_finds_them():
    q, p = torch.tensor([0.8, -0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    sender, own, receiver = gen(1), gen(2), gen(1)
    draw = lambda g: torch.randn(64, 2, generator=g, dtype=torch.float64)  # noqa: E731
    chosen = []
    for _ in range(3000):
        x = draw(sender)
        k = coding.choose_index(x, q, 0.5, p, 1.0, float(torch.rand((), generator=own)))
        assert 0 <= k < 64
        chosen.append(draw(receiver)[k])
        assert torch.equal(chosen[-1], x[k])
    chosen = torch.stack(chosen)
    assert torch.allclose(chosen.mean(dim=0), q, atol=0.06)
    assert torch.allclose(chosen.var(dim=0), torch.full((2,), 0.5, dtype=torch.float64), atol=0.06)


def test_of_candidates_from_p_itself_each_is_as_likely():
    x, zero = torch.randn(4, 1, generator=gen(3), dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert [coding.choose_index(x, zero, 1.0, zero, 1.0, u) for u in (0.1, 0.3, 0.6, 0.9, 1.0)] == [
        0,
        1,
        2,
        3,
        3,
    ]


def test_stored_rates_are_whole_and_the_distortion_falls():
    stored = results.load("rate_distortion")
    for one in stored["sets"].values():
        assert {len(one[key]) for key in ("terms", "errors", "mse")} == {1000}
        assert one["images"] >= 100
        assert min(one["terms"]) > -1e-6
        assert one["terms"][0] == max(one["terms"])  # L_0
        early, late = (127.5 * math.sqrt(one["mse"][t - 1]) for t in (900, 1))
        assert late < 2 < 50 < early
