"""Training: it learns, it can be cut off anywhere and resumed to the same weights, and it says what went wrong."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from ddpm_lite import data, process, schedules, train, unet

SCHEDULE = schedules.linear()


def small_model(dropout: float = 0.1, classes: int = 10) -> unet.UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return unet.UNet(
            unet.UNetConfig(
                channels=1, base=8, multipliers=(1, 2), blocks=1, groups=4, dropout=dropout, classes=classes
            )
        )


@pytest.fixture(scope="module")
def digits():
    return data.digits()


def run(config, digits, path=None, stop_after=None, labels=True):
    model = small_model(classes=10 if labels else 0)
    for step in train.ddpm(
        model, digits.images, SCHEDULE, config, labels=digits.labels if labels else None, checkpoint=path
    ):
        if step.number == stop_after:
            break
    return model, step.ema


def same(a, b) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_the_loss_falls_below_that_of_predicting_nothing(digits):
    config = train.TrainConfig(steps=60, batch=32, lr=2e-3, warmup=10)
    losses = [
        s.loss for s in train.ddpm(small_model(0.0), digits.images, SCHEDULE, config, labels=digits.labels)
    ]
    assert abs(losses[0] - 1) < 0.1  # the network starts at 0, and E|eps|^2 = 1 a pixel
    assert sum(losses[-10:]) / 10 < 0.7


@pytest.mark.parametrize("stop_after", [1, 4, 5, 9])
def test_a_run_cut_off_and_resumed_ends_with_the_same_weights(digits, tmp_path, stop_after):
    config = train.TrainConfig(steps=10, batch=8, save_every=4)
    straight_model, straight_ema = run(config, digits)
    path = tmp_path / "run.safetensors"
    run(config, digits, path, stop_after=stop_after)
    model, ema = run(config, digits, path)
    assert same(model, straight_model) and same(ema, straight_ema)


def test_training_leaves_the_global_generator_alone(digits):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    run(train.TrainConfig(steps=2, batch=4), digits)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_finished_run_trains_no_further(digits, tmp_path):
    config = train.TrainConfig(steps=2, batch=4)
    run(config, digits, tmp_path / "run")
    assert (
        list(
            train.ddpm(
                small_model(),
                digits.images,
                SCHEDULE,
                config,
                labels=digits.labels,
                checkpoint=tmp_path / "run",
            )
        )
        == []
    )


def test_an_epoch_shows_every_image_once():
    config = train.TrainConfig(batch=4)
    seen = torch.cat([train.batch_indices(config, 10, n) for n in range(1, 6)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_learning_rate_rises_then_falls_to_nothing():
    config = train.TrainConfig(steps=100, lr=1.0, warmup=10)
    rates = [train.learning_rate(config, n) for n in range(1, 101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] and rates[-1] < 1e-3
    assert train.learning_rate(train.TrainConfig(lr=2e-4, warmup=0, decay=False), 500) == 2e-4


def test_ema_is_the_weighted_mean():
    a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.9 * a.weight.detach() + 0.1 * b.weight.detach()
    train.update_ema(a, b, 0.9)
    assert torch.allclose(a.weight, expected)


def test_a_run_of_other_settings_is_refused(digits, tmp_path):
    run(train.TrainConfig(steps=2, batch=4), digits, tmp_path / "run")
    with pytest.raises(train.TrainingError, match="another run"):
        run(train.TrainConfig(steps=3, batch=4), digits, tmp_path / "run")


@pytest.mark.parametrize("prediction", process.PREDICTIONS)
def test_a_step_is_towards_what_is_predicted(digits, prediction):
    """A fresh network answers 0, so its first loss is the mean square of its target, made here by hand."""
    config = train.TrainConfig(batch=32, prediction=prediction)
    first = next(train.ddpm(small_model(), digits.images, SCHEDULE, config))
    g = torch.Generator().manual_seed(1_000_003 + 1)  # the stream of t and eps, step 1
    x0 = data.from_uint8(digits.images[train.batch_indices(config, len(digits), 1)])
    t = torch.randint(1, SCHEDULE.T + 1, (32,), generator=g)
    eps = torch.randn(x0.shape, generator=g)
    expected = {"eps": eps, "x0": x0, "v": process.v_target(x0, t, eps, SCHEDULE)}[prediction]
    assert first.loss == pytest.approx(float(expected.square().mean()), rel=1e-5)


def test_a_network_that_predicts_v_learns(digits):
    config = train.TrainConfig(steps=60, batch=32, lr=2e-3, warmup=10, prediction="v")
    losses = [s.loss for s in train.ddpm(small_model(0.0), digits.images, schedules.cosine(), config)]
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


def test_a_run_file_from_before_a_setting_existed_goes_on(digits, tmp_path):
    config = train.TrainConfig(steps=4, batch=4)
    straight, _ = run(config, digits)
    path = tmp_path / "run"
    run(config, digits, path, stop_after=2)
    with safe_open(str(path), "pt") as f:
        about, tensors = f.metadata(), {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    old = json.loads(about["config"])
    assert old.pop("prediction") == "eps"
    path.write_bytes(save(tensors, metadata=about | {"config": json.dumps(old)}))
    model, _ = run(config, digits, path)
    assert same(model, straight)
    with pytest.raises(train.TrainingError, match="another run"):
        run(train.TrainConfig(steps=4, batch=4, prediction="v"), digits, path)


def test_a_run_of_another_network_is_refused(digits, tmp_path):
    run(train.TrainConfig(steps=2, batch=4), digits, tmp_path / "run")
    with pytest.raises(train.TrainingError, match="another network"):
        run(train.TrainConfig(steps=2, batch=4), digits, tmp_path / "run", labels=False)


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_a_truncated_run_is_refused_and_left_in_place(digits, tmp_path, keep):
    path = tmp_path / "run"
    run(train.TrainConfig(steps=2, batch=4), digits, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(train.TrainingError, match="damaged"):
        run(train.TrainConfig(steps=2, batch=4), digits, path)
    assert path.stat().st_size == keep


def test_a_save_that_fails_leaves_the_last_one_whole(digits, tmp_path, monkeypatch):
    path, config = tmp_path / "run", train.TrainConfig(steps=4, batch=4, save_every=1)
    run(config, digits, path, stop_after=2)
    whole = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        run(config, digits, path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_not_finite_stops_the_run(digits):
    model = small_model()
    torch.nn.init.constant_(model.conv_out.bias, float("nan"))
    with pytest.raises(train.TrainingError, match="step 1"):
        next(train.ddpm(model, digits.images, SCHEDULE, train.TrainConfig(batch=4), labels=digits.labels))


@pytest.mark.parametrize(
    "images, labels, error, says",
    [
        (torch.zeros(4, 1, 8, 8), None, TypeError, "uint8"),
        (torch.zeros(4, 8, 8).byte(), None, TypeError, "N, C, H, W"),
        (torch.zeros(0, 1, 8, 8).byte(), None, TypeError, "N >= 1"),
        (torch.zeros(4, 1, 8, 8).byte(), torch.zeros(3).long(), ValueError, "labels"),
        (torch.zeros(4, 1, 8, 8).byte(), torch.zeros(4), ValueError, "labels"),
    ],
)
def test_wrong_data_is_named(images, labels, error, says):
    with pytest.raises(error, match=says):
        next(train.ddpm(small_model(), images, SCHEDULE, train.TrainConfig(), labels=labels))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"ema": 1.0},
        {"label_drop": -0.1},
        {"prediction": "noise"},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError):
        train.TrainConfig(**wrong)


def test_fit_is_the_loop_to_its_end(digits):
    config = train.TrainConfig(steps=3, batch=4)
    ema = train.fit(small_model(), digits.images, SCHEDULE, config, labels=digits.labels, progress=False)
    assert same(ema, run(config, digits)[1])


def test_fit_wants_a_config_and_unfinished_work(digits, tmp_path):
    with pytest.raises(TypeError, match="TrainConfig"):
        train.fit(small_model(), digits.images, SCHEDULE)
    config = train.TrainConfig(steps=1, batch=4)
    run(config, digits, tmp_path / "run")
    with pytest.raises(train.TrainingError, match="finished before"):
        train.fit(
            small_model(), digits.images, SCHEDULE, config, digits.labels, tmp_path / "run", progress=False
        )
