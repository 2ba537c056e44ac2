"""Chapter 10's long runs: python tools/ablation.py table memorisation

table         trains every row of ddpm_lite.ablation.ROWS under one budget with several seeds -> results/ablation.json and,
              the samples of seed 0, results/samples_ablation.safetensors
memorisation  trains one network on 16, 64, 256 and 1438 digits -> results/memorisation.json, samples_memorisation.safetensors

Every run is saved when it ends (in --state), so a stopped command goes on where it was; --first stops after that many
seeds. About eleven seconds of processor time a run of the table, twenty-five one of memorisation: a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ddpm_lite import ablation, checkpoints, metrics, results  # noqa: E402

BUDGET = ablation.Budget(steps=400, lr=2e-3)
LONG = ablation.Budget(steps=1000, lr=2e-3)  # memorising takes longer
SIZES = (16, 64, 256, 1438)
SAMPLES, HELD_OUT = 200, 96
MEMORY_ROW = ("eps", "L_simple", "fixed")


def blocks(losses: list[float], every: int) -> list[float]:
    """The mean loss of every block of `every` steps; what is not finite is left out, since JSON cannot hold it."""
    parts = [losses[i : i + every] for i in range(0, len(losses), every)]
    return results.short(sum(part) / len(part) for part in parts if all(map(math.isfinite, part)))


def gathered(train_on: torch.Tensor, row, budget, seed: int, known) -> tuple[dict, torch.Tensor]:
    """One run: trained, sampled, measured. Returns what goes into the JSON, and the samples."""
    net, real, held_out = known
    losses, ema, begin = [], None, time.process_time()
    for step in ablation.train(row, train_on, budget, seed):
        losses.append(step.loss)
        ema = step.ema
    seconds = time.process_time() - begin
    samples = ablation.sample(ema, SAMPLES, row, seed)
    terms = ablation.bits(ema, held_out[:HELD_OUT], row, seed)
    total = terms.sum(dim=1)
    run = {
        "row": list(row),
        "seed": seed,
        "steps_done": len(losses),
        "finite": all(map(math.isfinite, losses)) and bool(torch.isfinite(total).all()),
        "first_losses": results.short(x for x in losses[:20] if math.isfinite(x)),
        "losses": blocks(losses, budget.steps // 40),
        "worst_loss_late": results.short([max(losses[len(losses) // 2 :])])[0]
        if math.isfinite(sum(losses))
        else None,
        "seconds": round(seconds, 1),
    }
    if run["finite"]:
        shape = metrics.features(net, samples)
        run |= {
            "frechet": results.short([metrics.frechet_distance(shape, real)])[0],
            "bits": results.short([total.mean()])[0],
            "bits_error": results.short([total.std() / math.sqrt(len(total))])[0],
            "parts": results.short([terms[:, 0].mean(), terms[:, 2:].sum(1).mean(), terms[:, 1].mean()]),
            "terms": results.short(terms.mean(dim=0)),
            "classes": torch.bincount(metrics.classify(net, samples), minlength=10).tolist(),
        }
    return run, samples


def kept(state: Path, name: str, make) -> tuple[dict, torch.Tensor]:
    """The run of this name, from the state folder or made now and put there."""
    about, tensor = state / f"{name}.json", state / f"{name}.safetensors"
    if not about.is_file():
        run, samples = make()
        checkpoints.write_atomic(tensor, serialise({"samples": samples}))
        about.write_text(json.dumps(run))  # last, so that it stands for both
        print(name, run["seconds"], "s", run.get("frechet"), run.get("bits"), flush=True)
    return json.loads(about.read_text()), load_file(tensor)["samples"]


def spent(runs: list[dict]) -> float:
    """Seconds of processor time that runs took."""
    return sum(run["seconds"] for run in runs)


def table(state: Path, seeds: int, known, train_on: torch.Tensor) -> None:
    runs, pictures = [], {}
    for seed in range(seeds):
        for row in ablation.ROWS:
            name = "_".join(row)
            run, samples = kept(
                state, f"table_{name}_{seed}", lambda r=row, s=seed: gathered(train_on, r, BUDGET, s, known)
            )
            covered = metrics.coverage(
                metrics.features(known[0], known[2]), metrics.features(known[0], samples)
            )
            runs.append(run | {"coverage": results.short([covered])[0]})
            if seed == 0:
                pictures[name] = samples[:64].contiguous()
        content = results.about("python tools/ablation.py table", range(seed + 1), spent(runs))
        results.save(
            "ablation",
            content | {"budget": vars(BUDGET), "samples": SAMPLES, "held_out": HELD_OUT, "runs": runs},
        )
        checkpoints.write_atomic(results.FOLDER / "samples_ablation.safetensors", serialise(pictures))


def memorisation(state: Path, seeds: int, known, train_on: torch.Tensor) -> None:
    runs, pictures = [], {}
    for seed in range(seeds):
        for size in SIZES:
            run, samples = kept(
                state,
                f"memory_{size}_{seed}",
                lambda n=size, s=seed: gathered(train_on[:n], MEMORY_ROW, LONG, s, known),
            )
            runs.append(run | {"size": size} | copies(samples, train_on[:size], known[2]))
            if seed == 0:
                pictures[str(size)] = samples.contiguous()
        content = results.about("python tools/ablation.py memorisation", range(seed + 1), spent(runs))
        results.save("memorisation", content | {"budget": vars(LONG), "samples": SAMPLES, "runs": runs})
        checkpoints.write_atomic(results.FOLDER / "samples_memorisation.safetensors", serialise(pictures))


def copies(samples: torch.Tensor, train_on: torch.Tensor, held_out: torch.Tensor) -> dict:
    """How near samples come to the images trained on, beside how near unseen images come to them."""
    apart, _ = metrics.nearest_neighbours(samples, train_on, k=2)
    unseen, _ = metrics.nearest_neighbours(held_out, train_on, k=2)
    return {
        "nearest": results.short(apart[:, 0].quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))),
        "unseen": results.short(unseen[:, 0].quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))),
        "copies": float((apart[:, 0] < apart[:, 1] / 3).double().mean()),
        "copies_unseen": float((unseen[:, 0] < unseen[:, 1] / 3).double().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("table", "memorisation"))
    parser.add_argument("--first", type=int, default=5, metavar="N", help="how many seeds (5)")
    parser.add_argument("--state", type=Path, default=Path.home() / ".cache" / "ddpm-lite" / "ablation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.state.mkdir(parents=True, exist_ok=True)
    train_on, held_out = ablation.split()
    net = metrics.feature_net("digits")
    known = net, metrics.features(net, train_on), held_out
    for part in options.parts:
        {"table": table, "memorisation": memorisation}[part](options.state, options.first, known, train_on)


if __name__ == "__main__":
    main()
