"""Checkpoints: what is saved comes back, and every way a file can be wrong is told apart."""

import json
import os

import pytest
import torch

from ddpm_lite import checkpoints, schedules, unet
from ddpm_lite.checkpoints import CheckpointError

CARD = {"data": "none: random weights", "licence": "MIT", "steps": 0, "seed": 1, "quality": {"ε": 0.5}}


def small_model(seed: int = 1, **changes) -> unet.UNet:
    config = {
        "channels": 1,
        "base": 8,
        "multipliers": (1, 2),
        "blocks": 1,
        "groups": 4,
        "classes": 3,
    } | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = unet.UNet(unet.UNetConfig(**config))
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.1)  # none of them at its initial zero
    return model


@pytest.fixture
def path(tmp_path):
    checkpoints.save(tmp_path / "small.safetensors", small_model(), schedules.linear(T=50), CARD)
    return tmp_path / "small.safetensors"


def edit_card(path, **changes):
    card_path = path.with_suffix(".json")
    card = json.loads(card_path.read_text(encoding="utf-8")) | changes
    card_path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}), encoding="utf-8")


def test_what_is_saved_comes_back(path, gen):
    model, schedule, card = checkpoints.load(path)
    xt = torch.randn(2, 1, 8, 8, generator=gen())
    t, y = torch.tensor([1, 50]), torch.tensor([0, 3])
    assert not model.training
    assert torch.equal(model(xt, t, y), small_model().eval()(xt, t, y))
    assert model.config == small_model().config
    assert torch.equal(schedule.beta, schedules.linear(T=50).beta)
    assert {k: card[k] for k in CARD} == CARD


def test_a_loaded_model_can_be_trained_further(path):
    model, _, _ = checkpoints.load(path)
    model.train()(torch.zeros(1, 1, 8, 8), torch.tensor([3])).square().mean().backward()
    assert all(p.requires_grad for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    checkpoints.load(path)  # the file is whole still: the weights are a copy, no view of it


def test_loading_draws_no_random_numbers(path):
    before = torch.random.get_rng_state()
    checkpoints.load(path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "form", [str, lambda p: p, lambda p: p.with_suffix(""), lambda p: str(p.with_suffix(""))]
)
def test_a_path_may_be_text_and_may_leave_out_the_suffix(path, form):
    assert checkpoints.load(form(path))[2]["seed"] == 1


def test_a_dot_in_the_name_is_no_suffix(tmp_path):
    checkpoints.save(tmp_path / "run.v2", small_model(), schedules.linear(T=5), CARD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.v2.json", "run.v2.safetensors"]
    assert checkpoints.load(tmp_path / "run.v2")[1].T == 5


@pytest.mark.parametrize("name", sorted(schedules.REGISTRY))
def test_every_registered_schedule_survives(tmp_path, name):
    schedule = schedules.REGISTRY[name](T=20)
    checkpoints.save(tmp_path / "a", small_model(), schedule, CARD)
    assert torch.equal(checkpoints.load(tmp_path / "a")[1].beta, schedule.beta)


def test_a_schedule_with_other_arguments_is_given_as_a_dict(tmp_path):
    about = {"name": "linear", "T": 20, "beta_T": 0.3}
    schedule = schedules.linear(T=20, beta_T=0.3)
    with pytest.raises(CheckpointError, match="default arguments; give a dict"):
        checkpoints.save(tmp_path / "a", small_model(), schedule, CARD)
    checkpoints.save(tmp_path / "a", small_model(), about, CARD)
    assert torch.equal(checkpoints.load(tmp_path / "a")[1].beta, schedule.beta)


def bad_weight(value):
    model = small_model()
    with torch.no_grad():
        model.mid1.block.conv1.weight[0, 0, 0, 0] = value
    return model


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("mid1.block.conv1.weight", {"model": bad_weight(float("nan"))}),
        ("mid1.block.conv1.weight", {"model": bad_weight(float("inf"))}),
        ("'linear'", {"schedule": {"name": "linaer", "T": 5}}),
        ("one of", {"schedule": {"T": 5}}),
        ("beta_0", {"schedule": {"name": "linear", "T": 5, "beta_0": 1}}),
        ("T must be", {"schedule": {"name": "linear", "T": 0}}),
        ("one of", {"schedule": schedules.from_beta([0.1])}),
        ("leave model out", {"card": {"model": "big"}}),
        ("plain numbers", {"card": {"data": torch.zeros(1)}}),
        ("plain numbers", {"card": {"quality": float("nan")}}),
    ],
)
def test_what_should_not_be_written_is_not(tmp_path, message, changes):
    arguments = {"model": small_model(), "schedule": {"name": "linear", "T": 5}, "card": CARD} | changes
    with pytest.raises(CheckpointError, match=message):
        checkpoints.save(tmp_path / "a.safetensors", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_names_its_neighbours(path):
    with pytest.raises(CheckpointError, match=r"no checkpoint '.*smal'. Did you mean '.*small.safetensors'"):
        checkpoints.load(path.with_name("smal"))


def test_a_misspelt_name_is_set_right(monkeypatch, tmp_path):
    for name in ("mnist", "fashion_mnist", "features_mnist"):
        checkpoints.save(tmp_path / name, small_model(), schedules.linear(T=5), {**CARD, "name": name})
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    assert checkpoints.shipped() == ["fashion_mnist", "mnist"]
    assert checkpoints.load("mnist")[2]["name"] == "mnist"
    with pytest.raises(CheckpointError, match="Did you mean 'mnist'"):
        checkpoints.load("MINST")
    with pytest.raises(CheckpointError, match="course: 'fashion_mnist', 'mnist'"):
        checkpoints.load("imagenet")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_file_cut_off_anywhere_is_told(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="cut off, damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("content", [b"not weights", b"\x80\x02}q\x00." * 100, b"PK\x03\x04" + bytes(1000)])
def test_a_foreign_file_is_told_and_never_unpickled(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        checkpoints.load(path)


def test_a_missing_card_is_told(path):
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"small\.json is missing"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "no model card"),
        (b'{"format": "pt"}', "no model card"),
        (b'{"format": "ddpm-lite checkpoint", "model": {}}', "lacks schedule"),
    ],
)
def test_a_foreign_card_is_told(path, content, message):
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"base": 8, "depth": 3}}, "describes no U-Net.*depth"),
        ({"model": {"base": 7}}, "describes no U-Net.*base even"),
        ({"model": "small"}, "describes no U-Net"),
        ({"schedule": {"name": "secret", "T": 5}}, "'linear'"),
        ({"schedule": "linear"}, "the schedule of"),
    ],
)
def test_a_card_that_makes_no_sense_is_told(path, changes, message):
    edit_card(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load(path)


@pytest.mark.parametrize("changes", [{"base": 16}, {"blocks": 2}, {"classes": 0}, {"attention": ()}])
def test_weights_that_do_not_fit_the_card_are_told(path, changes):
    edit_card(path, model=small_model(**changes).config.to_dict())
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoints.load(path)


def test_nan_in_stored_weights_is_told(path):
    from safetensors.torch import save_file

    save_file(bad_weight(float("nan")).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"NaN or infinity, first in mid1\.block\.conv1\.weight"):
        checkpoints.load(path)


def test_write_atomic_replaces_a_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"first", b"second"):
        checkpoints.write_atomic(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.bin"
    checkpoints.write_atomic(path, b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, fails, full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("name", checkpoints.shipped())
def test_a_shipped_checkpoint_loads_and_says_what_a_reader_should_know(name, gen):
    model, schedule, card = checkpoints.load(name)
    assert {"data", "licence", "seed", "minutes", "machine", "command", "quality"} <= card.keys()
    x0 = torch.full(
        (4, model.config.channels, 28, 28), -1.0
    )  # a black image: any trained network knows its noise
    eps = torch.randn(x0.shape, generator=gen())
    t = torch.full((4,), schedule.T // 2)
    alpha_bar = float(schedule.alpha_bar[schedule.T // 2])
    with torch.no_grad():
        eps_hat = model(alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps, t)
    assert float((eps - eps_hat).square().mean()) < 0.2  # an untrained one answers 0: a loss of 1
