"""Train a checkpoint that the course ships, measure it, and write its model card.

    python tools/train_checkpoint.py mnist --data DATA_ROOT --run RUN_FILE

The run file is saved every 100 steps; the same command goes on from it after an interruption.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

from ddpm_lite import checkpoints, data, metrics, samplers, schedules, train, unet

SEED = 0
MODEL = {
    "channels": 1,
    "base": 32,
    "multipliers": (1, 2, 2),
    "blocks": 1,
    "attention": (1,),
    "groups": 8,
    "dropout": 0.0,
    "classes": 10,
}
LICENCE = {"mnist": "CC BY-SA 3.0, Yann LeCun and Corinna Cortes", "fashion_mnist": "MIT, Zalando SE"}
WEIGHTS = Path(__file__).resolve().parents[1] / "ddpm_lite" / "weights"


def new_model() -> unet.UNet:
    """The network with its starting weights, a function of SEED alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return unet.UNet(unet.UNetConfig(**MODEL))


def train_model(images: data.ImageSet, config: train.TrainConfig, run: Path) -> tuple[unet.UNet, float]:
    """The averaged model, and the minutes of all sittings together (kept beside the run file)."""
    clock = run.with_suffix(".seconds")
    spent, start = float(clock.read_text()) if clock.exists() else 0.0, time.time()
    model, ema, schedule = new_model(), None, schedules.linear()
    for step in train.ddpm(model, images.images, schedule, config, labels=images.labels, checkpoint=run):
        ema = step.ema
        if step.number % config.save_every == 0 or step.number == config.steps:
            clock.write_text(str(spent + time.time() - start))
            print(
                f"step {step.number} of {config.steps}, loss {step.loss:.4f}, {(spent + time.time() - start) / 60:.1f} min",
                flush=True,
            )
    if ema is None:  # the run was complete
        ema = new_model()
        ema.load_state_dict(train.averaged_weights(run))
    return ema.eval(), float(clock.read_text()) / 60 if clock.exists() else float("nan")


@torch.no_grad()
def draw(model: unet.UNet, count: int, steps: int, labelled: bool, batch: int = 100) -> torch.Tensor:
    """`count` samples as bytes, with labels 0..9 in turn or with none, over `steps` of the T noise levels."""
    short, tau = schedules.respace(schedules.linear(), steps)
    g, out = torch.Generator().manual_seed(SEED), []
    for first in range(0, count, batch):
        y = torch.arange(first, min(first + batch, count)) % 10 if labelled else None
        n = min(batch, count - first)
        network = samplers.at_timesteps(lambda xt, t, y=y: model(xt, t, y), tau)
        x0 = samplers.last(
            samplers.ddpm(network, (n, 1, 28, 28), short, variance="beta_tilde", generator=g)
        ).xt
        out.append(data.to_uint8(x0))
    return torch.cat(out)


def quality(name: str, model: unet.UNet, real: data.ImageSet, count: int, steps: int) -> dict:
    """Frechet distances of labelled and unlabelled samples to `count` real images, and of real images to real ones."""
    net, g = metrics.feature_net(name), torch.Generator().manual_seed(SEED)
    truth = metrics.features(net, real.images)
    some = truth[torch.randperm(len(truth), generator=g)[:count]]
    found = {"samples": count, "sampling_steps": steps, "frechet_floor": metrics.real_floor(truth, count, g)}
    for key, labelled in (("frechet_with_labels", True), ("frechet_without_labels", False)):
        found[key] = metrics.frechet_distance(
            some, metrics.features(net, draw(model, count, steps, labelled))
        )
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(LICENCE))
    parser.add_argument("--data", help="folder of torchvision's data sets (default: the course's cache)")
    parser.add_argument(
        "--run", type=Path, help="run file, for going on later (default: NAME.run.safetensors)"
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--label-drop", type=float, default=0.2, help="share of examples without their label")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=200, help="samples for the Frechet distance")
    parser.add_argument(
        "--sampling-steps", type=int, default=40, help="noise levels that each of them visits"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = train.TrainConfig(
        steps=args.steps,
        batch=64,
        lr=1.5e-3,
        warmup=100,
        ema=0.998,
        label_drop=args.label_drop,
        bf16=True,
        save_every=100,
        seed=SEED,
    )
    real = data.load(args.name, root=args.data)
    model, minutes = train_model(real, config, args.run or Path(f"{args.name}.run.safetensors"))
    card = {
        "name": args.name,
        "data": f"{args.name}, {len(real)} training images of 28 x 28",
        "licence": LICENCE[args.name],
        "training": {
            "steps": config.steps,
            "batch": config.batch,
            "learning_rate": config.lr,
            "ema": config.ema,
            "label_drop": config.label_drop,
            "bfloat16": config.bf16,
        },
        "seed": SEED,
        "minutes": round(minutes, 1),
        "machine": f"{platform.machine()}, {args.threads} thread, PyTorch {torch.__version__}",
        "command": f"python tools/train_checkpoint.py {args.name} --steps {config.steps}"
        f" --label-drop {config.label_drop} --threads {args.threads} --samples {args.samples}"
        f" --sampling-steps {args.sampling_steps}",
        "quality": quality(
            args.name,
            model,
            data.load(args.name, train=False, root=args.data),
            args.samples,
            args.sampling_steps,
        ),
    }
    checkpoints.save(WEIGHTS / f"{args.name}.safetensors", model, schedules.linear(), card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
