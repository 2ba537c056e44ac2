"""The Frechet distance against scipy's matrix root, feature networks against data that they must tell apart."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ddpm_lite import data, metrics, results


def normal(gen, n, d, mean=0.0, scale=1.0):
    return mean + scale * torch.randn(n, d, generator=gen, dtype=torch.float64)


def quadrants(gen, n):
    """Images of four classes that differ in which quadrant is bright, under noise: uint8 (N, 1, 28, 28)."""
    labels = torch.randint(0, 4, (n,), generator=gen)
    images = torch.randint(0, 120, (n, 1, 28, 28), generator=gen)
    for i, label in enumerate(labels.tolist()):
        row, column = 14 * (label // 2), 14 * (label % 2)
        images[i, 0, row : row + 14, column : column + 14] += 100
    return images.to(torch.uint8), labels


# the Frechet distance


@pytest.mark.parametrize("d", [1, 5, 40])
def test_frechet_distance_is_the_formula_with_scipys_root(gen, d):
    linalg = pytest.importorskip("scipy.linalg")
    a = normal(gen(), 300, d) @ normal(gen(1), d, d)
    b = normal(gen(2), 200, d) @ normal(gen(3), d, d) + 0.5
    cov_a, cov_b = (np.cov(x.numpy().T).reshape(d, d) for x in (a, b))
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(cov_a + cov_b - 2 * root)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_axis_aligned_gaussians_in_closed_form():
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    a = corners * (0.75**0.5)  # unit variance with the N - 1 of an unbiased estimate
    b = a * torch.tensor([3.0, 0.5]) + torch.tensor([0.0, 2.0])
    # |mu|^2 = 4, and (sigma_a - sigma_b)^2 along each axis
    assert metrics.frechet_distance(a, b) == pytest.approx(4 + (1 - 3) ** 2 + (1 - 0.5) ** 2, rel=1e-12)


def test_frechet_distance_of_a_set_and_itself_is_nothing_even_with_fewer_rows_than_features(gen):
    for rows in (500, 20):
        x = normal(gen(), rows, 64).float()
        assert 0 <= metrics.frechet_distance(x, x) < 1e-5  # singular: the root of rounding errors
        assert metrics.frechet_distance(x, x + 1) == pytest.approx(64, abs=1e-3)


def test_real_floor_falls_with_n_and_uses_disjoint_halves(gen):
    x = normal(gen(), 8000, 8)
    small, large = metrics.real_floor(x, 100, gen()), metrics.real_floor(x, 4000, gen())
    assert 0 < large < small / 10  # it goes like 1 / n
    assert metrics.real_floor(x, 100, gen()) == small
    two = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double().repeat_interleave(2, dim=0)
    floors = {round(metrics.real_floor(two, 2, gen(seed), repeats=1), 6) for seed in range(20)}
    assert floors == {0.0, 1.0}  # {0,1} against {0,1}, or {0,0} against {1,1}: never a row twice
    assert metrics.real_floor(two, 2, gen(), repeats=400) == pytest.approx(1 / 3, abs=0.1)  # 2 of 6 splits
    with pytest.raises(ValueError, match="repeats"):
        metrics.real_floor(x, 100, repeats=0)
    with pytest.raises(ValueError, match=r"2\.\.4000"):
        metrics.real_floor(x, 4001, gen())


# feature networks


@pytest.fixture(scope="module")
def trained():
    generator = torch.Generator().manual_seed(0)
    images, labels = quadrants(generator, 640)
    before = torch.get_rng_state()
    net = metrics.train_features(images, labels, epochs=2, batch=32, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is left as it was
    return net


def test_a_trained_network_tells_held_out_classes_apart(trained, gen):
    images, labels = quadrants(gen(9), 200)
    assert not trained.training
    assert (metrics.classify(trained, images) == labels).double().mean() > 0.97


def test_features_do_not_depend_on_the_batch(trained, gen):
    images, _ = quadrants(gen(9), 50)
    whole = metrics.features(trained, images)
    assert whole.shape == (50, 64)
    assert not whole.requires_grad
    torch.testing.assert_close(metrics.features(trained, images, batch=7), whole, rtol=1e-4, atol=1e-5)


def test_distance_on_features_sees_noise_and_missing_classes(trained, gen):
    images, labels = quadrants(gen(9), 1200)
    real = metrics.features(trained, images[:600])
    floor = metrics.frechet_distance(real, metrics.features(trained, images[600:]))
    noise = torch.randint(0, 256, (600, 1, 28, 28), generator=gen(1)).to(torch.uint8)
    without = images[600:][labels[600:] > 0]
    for worse in (noise, without):
        assert metrics.frechet_distance(real, metrics.features(trained, worse)) > 5 * floor


def test_training_repeats_with_the_seed(gen):
    images, labels = quadrants(gen(), 64)
    a, b, c = (metrics.train_features(images, labels, 1, 32, generator=gen(s)) for s in (1, 1, 2))
    assert torch.equal(a.head.weight, b.head.weight)
    assert not torch.equal(a.head.weight, c.head.weight)


@pytest.mark.parametrize("name", metrics.FEATURE_NETS)
def test_shipped_networks_have_their_card_and_are_small(name):
    folder = resources.files("ddpm_lite") / "weights"
    assert len((folder / f"features_{name}.safetensors").read_bytes()) < 1_000_000
    card = json.loads((folder / f"features_{name}.json").read_text(encoding="utf-8"))
    net = metrics.feature_net(name)
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert card["test_accuracy"] > {"mnist": 0.99, "fashion_mnist": 0.9, "digits": 0.97}[name]
    floors = list(card["real_floor"].values())
    assert floors == sorted(floors, reverse=True)
    assert net.size == metrics.FEATURE_NETS[name]


@pytest.mark.parametrize("size", [5, 8, 16, 29])
def test_a_network_for_images_of_any_size(size, gen):
    images = torch.randint(0, 256, (6, 1, size, size), generator=gen()).to(torch.uint8)
    net = metrics.train_features(images, torch.arange(6) % 3, epochs=1, batch=3, generator=gen())
    assert metrics.features(net, images).shape == (6, 64)
    with pytest.raises(ValueError, match=rf"\(N, 1, {size}, {size}\)"):
        metrics.features(net, torch.zeros(2, 1, size + 1, size + 1, dtype=torch.uint8))
    with pytest.raises(ValueError, match="5 or more"):
        metrics.FeatureNet(size=4)


def test_the_distance_on_the_digits_sees_noise(gen):
    images = data.digits().images
    real = metrics.features(metrics.feature_net("digits"), images)
    noise = torch.randint(0, 256, (500, 1, 8, 8), generator=gen()).to(torch.uint8)
    far = metrics.frechet_distance(real[:500], metrics.features(metrics.feature_net("digits"), noise))
    assert far > 20 * metrics.real_floor(real, 500, gen())


def test_the_shipped_network_reads_digits_it_has_never_seen():
    """Scikit-learn's digits come from other writers; enlarged from 8 x 8, most are still recognised."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    small = torch.as_tensor(digits.images, dtype=torch.float32)[:, None] / 16
    large = F.pad(F.interpolate(small, size=(20, 20), mode="bilinear"), (4, 4, 4, 4))  # as MNIST is framed
    guess = metrics.classify(metrics.feature_net("mnist"), (large * 255).round().to(torch.uint8))
    assert (guess == torch.as_tensor(digits.target)).double().mean() > 0.7


# nearest neighbours


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nearest_neighbours_are_those_of_a_plain_search(gen, dtype):
    images = torch.randint(0, 256, (6000, 1, 5, 5), generator=gen()).to(dtype)
    samples = torch.randint(0, 256, (20, 1, 5, 5), generator=gen(1)).to(dtype)
    distance, index = metrics.nearest_neighbours(samples, images, k=3)
    rms = (samples[:, None].double() - images[None].double()).square().mean(dim=(2, 3, 4)).sqrt()
    expected = rms.sort(dim=1).values
    torch.testing.assert_close(distance, expected[:, :3])
    torch.testing.assert_close(torch.gather(rms, 1, index), expected[:, :3])
    assert index.shape == (20, 3)


def test_a_copy_is_found_at_distance_zero_and_a_shift_at_its_size(gen):
    images = torch.randint(0, 200, (5100, 1, 28, 28), generator=gen()).to(torch.uint8)
    distance, index = metrics.nearest_neighbours(images[[5050, 3]] + 2, images, k=1)
    assert index[:, 0].tolist() == [5050, 3]
    assert distance[:, 0].tolist() == [2.0, 2.0]
    assert metrics.nearest_neighbours(images[[7]], images)[0].item() == 0


# errors


def test_errors_say_what_to_do(gen, trained):
    x, images = normal(gen(), 10, 4), quadrants(gen(), 3)[0]
    with pytest.raises(ValueError, match=r"\(N, D\) with N >= 2"):
        metrics.frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match="got 4 and 3"):
        metrics.frechet_distance(x, x[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        metrics.frechet_distance(x, x * torch.nan)
    with pytest.raises(TypeError, match=r"data\.to_uint8"):
        metrics.features(trained, images.float())
    with pytest.raises(ValueError, match=r"\(N, 1, 28, 28\)"):
        metrics.features(trained, images[:, :, 1:])
    with pytest.raises(ValueError, match="one an image"):
        metrics.train_features(images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(TypeError, match="bring both to uint8"):
        metrics.nearest_neighbours(images.float(), images)
    with pytest.raises(ValueError, match=r"1\.\.3"):
        metrics.nearest_neighbours(images, images, k=4)
    with pytest.raises(ValueError, match="'mnist', 'fashion_mnist'"):
        metrics.feature_net("cifar10")


def test_the_frechet_distance_of_gaussians_has_known_values(gen):
    one = torch.ones(1, 1, dtype=torch.float64)
    assert metrics.gaussian_frechet(one[0], 4 * one, 3 * one[0], 9 * one) == pytest.approx(5.0)
    x = torch.randn(20, 4, generator=gen(), dtype=torch.float64)
    a, b, mean = torch.cov(x.T), torch.cov(x[:4].T), torch.zeros(4, dtype=torch.float64)  # b has no full rank
    got = metrics.gaussian_frechet(mean, a, mean + 2, b)
    cross = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
    assert got == pytest.approx(float(16 + a.trace() + b.trace() - 2 * cross), rel=1e-6)
    assert metrics.gaussian_frechet(mean, a, mean, a) < 1e-9


def test_coverage_counts_the_real_points_that_have_a_sample_nearby():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]], dtype=torch.float64)
    assert metrics.coverage(real, real, 1) == 1.0
    assert metrics.coverage(real, torch.tensor([[0.9]], dtype=torch.float64), 1) == 0.5  # 0 and 1, not 2
    assert (
        metrics.coverage(real, torch.tensor([[2.0]] * 7, dtype=torch.float64), 1) == 0.75
    )  # 10 reaches to 2
    assert metrics.coverage(real, torch.tensor([[99.0]], dtype=torch.float64), 3) == 0.0


@pytest.mark.parametrize("k", [0, 4])
def test_coverage_needs_other_points(k):
    real = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"1\.\.3"):
        metrics.coverage(real, real, k)


def test_coverage_refuses_bytes():
    with pytest.raises(TypeError, match="floating"):
        metrics.coverage(torch.zeros(4, 2, dtype=torch.uint8), torch.zeros(4, 2, dtype=torch.uint8), 1)


@pytest.mark.parametrize("name", metrics.HELD_OUT)
def test_held_out_images_ship_and_say_whose_they_are(name):
    images, labels = metrics.heldout(name)
    assert images.shape == (64, 1, 28, 28) and images.dtype == torch.uint8
    assert labels.shape == (64,) and labels.dtype == torch.int64 and len(labels.unique()) == 10
    about = results.load("heldout")
    assert len(about["licences"][name]) > 10 and len(about["places_in_the_test_set"][name]) == 64


def test_the_networks_know_the_held_out_images():
    for name in metrics.HELD_OUT:
        images, labels = metrics.heldout(name)
        assert (metrics.classify(metrics.feature_net(name), images) == labels).double().mean() > 0.8
    with pytest.raises(ValueError, match="mnist"):
        metrics.heldout("cifar10")
