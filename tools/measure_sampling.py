"""Make ddpm_lite/results/sampling_choices.json again: what the variance and clipping x0_hat do to samples.

The shipped MNIST network samples with each of the paper's two variances, with and without clipping, from the same
noise each time; in chains of 25 steps, and in longer ones clipped only. Needs the real MNIST, which is downloaded if
it is not there.

    python tools/measure_sampling.py --samples 400 --steps 25 --clipped 50

With --state FILE a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ddpm_lite import checkpoints, data, metrics, results, samplers, schedules  # noqa: E402
from ddpm_lite.exercises.ch09 import own_noise, sample  # noqa: E402

BATCH = 50
PROBE = 8  # so many images are also described by themselves: a notebook can make them again


def generate(model, schedule, steps: int, variance: str, clip: bool, count: int, real: Tensor) -> dict:
    """`count` samples, image i from noise of its own with seed i and label i % 10, and what they are like."""
    short, tau = schedules.respace(schedule, steps)
    images = []
    for seeds in torch.arange(count).split(BATCH):
        ask = samplers.at_timesteps(lambda xt, t, y=seeds % 10: model(xt, t, y), tau)
        noise = own_noise(seeds.tolist(), steps, (1, 28, 28))
        *_, (_, x0, _) = sample(ask, noise, short, getattr(short, variance), clip)
        images.append(x0)
    return describe(torch.cat(images), torch.arange(count) % 10, real)


def describe(x0: Tensor, labels: Tensor, real: Tensor) -> dict:
    """Numbers about samples x0 (N, 1, 28, 28) for which `labels` were asked; real: features of real images (M, D)."""
    pixels, net = data.to_uint8(x0), metrics.feature_net("mnist")
    return {
        "frechet": round(metrics.frechet_distance(metrics.features(net, pixels), real), 2),
        "right_label": round(float((metrics.classify(net, pixels) == labels).double().mean()), 4),
        "beyond": round(float((x0.abs() > 1).double().mean()), 4),
        "furthest": round(float(x0.abs().max()), 3),
        "mean": round(float(x0.mean()), 4),
        "std": round(float(x0.std()), 4),
        "probe_means": [round(float(one.mean()), 4) for one in x0[:PROBE]],
    }


def measure(model, schedule, args, real: Tensor) -> dict:
    """All rows and the minutes they took; those that the state file has are not made again."""
    done = {"minutes": 0.0, "rows": []}
    if args.state and args.state.exists():
        done = json.loads(args.state.read_text(encoding="utf-8"))
    variances = ("beta", "beta_tilde")
    grid = [*itertools.product(args.steps, variances, (True, False))]
    grid += itertools.product(args.clipped, variances, (True,))
    for steps, variance, clip in grid:
        row = {"steps": steps, "variance": variance, "clip": clip}
        if any(row.items() <= one.items() for one in done["rows"]):
            continue
        start = time.process_time()
        done["rows"].append(row | generate(model, schedule, steps, variance, clip, args.samples, real))
        done["minutes"] += (time.process_time() - start) / 60
        print(done["rows"][-1], flush=True)
        if args.state:
            args.state.write_text(json.dumps(done), encoding="utf-8")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="where MNIST is or goes (default: as ddpm_lite.data has it)")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--steps", type=int, nargs="+", default=[25])
    parser.add_argument(
        "--clipped", type=int, nargs="*", default=[50], help="lengths to measure clipped only"
    )
    parser.add_argument("--state", type=Path, help="a file to keep finished rows in")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, schedule, _ = checkpoints.load("mnist")
    model.requires_grad_(False)
    net = metrics.feature_net("mnist")
    real = metrics.features(net, data.load("mnist", train=False, root=args.root).images)
    others = metrics.features(net, data.load("mnist", train=True, root=args.root).images[: 10 * args.samples])
    done = measure(model, schedule, args, real)
    lengths = " ".join(map(str, ["--steps", *args.steps, "--clipped", *args.clipped]))
    command = f"python tools/measure_sampling.py --samples {args.samples} {lengths}"
    floor = [metrics.frechet_distance(part, real) for part in others.split(args.samples)]
    content = results.about(command, [], 60 * done["minutes"]) | {
        "what": "samples of the shipped MNIST network; frechet against the 10,000 test images of MNIST",
        "seeds": f"0 to {args.samples - 1}, one for each image",
        "samples": args.samples,
        "frechet_floor": round(sum(floor) / len(floor), 2),  # as many real training images, ten times
        "rows": done["rows"],
    }
    print(results.save("sampling_choices", content))


if __name__ == "__main__":
    main()
