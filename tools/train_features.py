"""Make the feature networks in ddpm_lite/weights again: python tools/train_features.py mnist fashion_mnist

Downloads a data set that is not there yet; about a minute each on a CPU. The digits, which come with scikit-learn,
take seconds: python tools/train_features.py digits --epochs 30
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ddpm_lite import data, metrics  # noqa: E402

SOURCES = {
    "mnist": ("MNIST", "CC BY-SA 3.0, Yann LeCun and Corinna Cortes"),
    "fashion_mnist": ("Fashion-MNIST", "MIT, Zalando SE"),
    "digits": ("scikit-learn's digits", "CC BY 4.0, E. Alpaydin and C. Kaynak"),
}


def split(name: str, root: str | None) -> tuple[data.ImageSet, data.ImageSet]:
    """Images to train on, and images that training never sees: of the digits, every fifth."""
    if name != "digits":
        return data.load(name, train=True, root=root), data.load(name, train=False, root=root)
    every = data.digits()
    held_out = torch.arange(len(every)) % 5 == 4
    return tuple(
        data.ImageSet(every.images[part], every.labels[part], every.classes, name)
        for part in (~held_out, held_out)
    )


def make(name: str, root: str | None, epochs: int, seed: int, out: Path) -> dict:
    title, licence = SOURCES[name]
    train, test = split(name, root)
    start = time.process_time()  # the CPU's, whatever else runs
    generator = torch.Generator().manual_seed(seed)
    net = metrics.train_features(
        train.images, train.labels, epochs, generator=generator, progress=sys.stderr.isatty()
    )
    seconds = time.process_time() - start
    generator.manual_seed(seed)
    real, held_out = metrics.features(net, train.images), metrics.features(net, test.images)
    correct = metrics.classify(net, test.images) == test.labels
    card = {
        "name": f"features_{name}",
        "what": "metrics.FeatureNet, the features behind frechet_distance",
        "data": f"{title}, {len(train):,} training images",
        "licence": licence,
        "parameters": sum(p.numel() for p in net.parameters()),
        "epochs": epochs,
        "seed": seed,
        "cpu_minutes": round(seconds / 60, 1),
        "machine": f"1 CPU thread, torch {torch.__version__.split('+')[0]}, {platform.machine()}",
        "command": f"python tools/train_features.py {name} --epochs {epochs} --seed {seed}",
        "test_accuracy": round(float(correct.double().mean()), 4),
        "real_floor": {
            str(n): round(metrics.real_floor(real, n, generator), 3)
            for n in (500, 1000, 5000, 10000)
            if 2 * n <= len(real)
        },
        "train_against_test": round(metrics.frechet_distance(real, held_out), 3),
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), out / f"features_{name}.safetensors")
    (out / f"features_{name}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=SOURCES)
    parser.add_argument("--root", help="where the data sets are or go (default: as ddpm_lite.data has it)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "ddpm_lite" / "weights")
    args = parser.parse_args()
    torch.set_num_threads(1)  # so that a seed gives the same network again
    for name in args.names:
        print(json.dumps(make(name, args.root, args.epochs, args.seed, args.out), indent=2))


if __name__ == "__main__":
    main()
