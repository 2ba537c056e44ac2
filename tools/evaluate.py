"""Bits/dim of the shipped checkpoints: python tools/evaluate.py

Needs MNIST and Fashion-MNIST (--root). Writes
  ddpm_lite/results/heldout.safetensors, .json  64 test images of each, for readers who have not the data sets
  ddpm_lite/results/evaluation.json             the bound of 1000 test and 200 training images, by a stratified estimate,
                                                and of four of the 64 digits, every term of it
Each part is saved when it ends (in --state), so a stopped command goes on where it was. About ten minutes of processor time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save as serialise

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ddpm_lite import checkpoints, data, losses, metrics, results  # noqa: E402

LICENCES = {
    "mnist": "CC BY-SA 3.0, Yann LeCun and Corinna Cortes; these 64 images are shared under the same licence, unchanged",
    "fashion_mnist": "MIT, Zalando SE",
}
FEW, KEPT, STRATA, TRAIN = 4, 64, 8, 200


class Replayed:
    """A network that remembers its answers, so that a second pass with the same noise costs nothing."""

    def __init__(self, model):
        self.model, self.answers, self.place = model, [], None

    def __call__(self, xt, t):
        if self.place is None:
            self.answers.append(self.model(xt, t))
            return self.answers[-1]
        self.place += 1
        return self.answers[self.place - 1]


def bound(model, schedule, images: torch.Tensor, seed: int) -> dict:
    """The stratified estimate with both fixed variances, from the same t, noise and answers of the network."""
    x0, network, found = data.from_uint8(images), Replayed(model), {"images": len(images)}
    for variance in losses.VARIANCES:
        g = torch.Generator().manual_seed(seed)
        bits = losses.stratified_bits_per_dim(
            network, x0, schedule, STRATA, variance, generator=g, progress=True
        )
        found["strata"] = [list(piece) for piece in bits.strata]
        found["prior"] = results.short([bits.prior.mean()])[0]
        found[variance] = {
            "total": results.short([bits.mean])[0],
            "error": results.short([bits.error])[0],
            "sums": results.short(bits.sums.mean(dim=0)),
            "sums_error": results.short(bits.sums.std(dim=0) / len(images) ** 0.5),
            "spread": results.short([bits.total.std()])[0],
        }
        network.place = 0
    return found


def every_term(model, schedule, images: torch.Tensor, seed: int) -> dict:
    """All T terms of a few images, one number an image and part: what a reader recomputes."""
    g = torch.Generator().manual_seed(seed)
    bits = losses.bits_per_dim(model, data.from_uint8(images), schedule, generator=g, progress=True)
    middle = bits.total - bits.prior - bits.distortion
    return {
        "images": len(images),
        "prior": results.short(bits.prior),
        "middle": results.short(middle),
        "L_0": results.short(bits.distortion),
    }


def pick(count: int, of: int, seed: int) -> torch.Tensor:
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count]


def kept(state: Path, name: str, make) -> dict:
    path = state / f"{name}.json"
    if not path.is_file():
        begin = time.process_time()
        found = make()
        path.write_text(json.dumps(found | {"seconds": round(time.process_time() - begin, 1)}))
        print(name, path.read_text()[-60:], flush=True)
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", help="where the data sets are, or go")
    parser.add_argument("--state", type=Path, default=Path.home() / ".cache" / "ddpm-lite" / "evaluate")
    parser.add_argument("--sets", nargs="+", choices=metrics.HELD_OUT, default=list(metrics.HELD_OUT))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.state.mkdir(parents=True, exist_ok=True)
    sets, stored, seconds = {}, {}, 0.0
    loaded = {name: data.load(name, train=False, root=options.root) for name in metrics.HELD_OUT}
    order = {name: pick(1000, len(test), 0) for name, test in loaded.items()}
    for name, test in loaded.items():
        stored[f"{name}.images"] = test.images[order[name][:KEPT]].contiguous()
        stored[f"{name}.labels"] = test.labels[order[name][:KEPT]].contiguous()
    checkpoints.write_atomic(results.FOLDER / "heldout.safetensors", serialise(stored))
    command = "python tools/evaluate.py"
    which = {name: order[name][:KEPT].tolist() for name in order}
    about = results.about(command, [0], 0)
    results.save("heldout", about | {"licences": LICENCES, "places_in_the_test_set": which})
    for name in options.sets:
        test = loaded[name]
        model, schedule, _ = checkpoints.load(name)
        train = data.load(name, train=True, root=options.root)
        seen = train.images[pick(TRAIN, len(train), 0)]
        parts = {
            "test": lambda m=model, s=schedule, x=test.images[order[name]]: bound(m, s, x, 1),
            "train": lambda m=model, s=schedule, x=seen: bound(m, s, x, 2),
        }
        if name == "mnist":
            parts["few"] = lambda m=model, s=schedule: every_term(m, s, stored["mnist.images"][:FEW], 0)
        sets[name] = {part: kept(options.state, f"{name}_{part}", make) for part, make in parts.items()}
        seconds += sum(part["seconds"] for part in sets[name].values())
        results.save("evaluation", results.about(command, [0, 1, 2], seconds) | {"sets": sets})


if __name__ == "__main__":
    main()
