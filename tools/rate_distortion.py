"""Measure rate and distortion of the shipped checkpoints, step by step: python tools/rate_distortion.py

Writes ddpm_lite/results/rate_distortion.json, for chapter 11: of test images, the mean of every term of the bound in
bits/dim (DDPM eq. 5) and the mean square error of x0_hat (eq. 15) at every t. Each t has images of its own, a quarter
of them, taken in turn; the first FEW steps, where most bits are, have all. Some 10 minutes of processor time.
Stopped and started again it goes on where it was (its state is in --state).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from ddpm_lite import checkpoints, data, losses, process, results  # noqa: E402

VARIANCE, CLIP = "beta_tilde", True
FEW, SHARE = 40, 4  # the first 40 steps have all images, each later one every fourth


def step(model, x0: torch.Tensor, t: int, schedule, generator: torch.Generator) -> tuple:
    """(bits/dim of the term, mean square error of x0_hat on [-1, 1]) at one t, each float64 (B,); one draw of x_t."""
    ts, eps = torch.full((len(x0),), t), torch.randn(x0.shape, generator=generator)
    eps_hat = model(process.q_sample(x0, ts, eps, schedule), ts)
    arguments = {"variance": VARIANCE, "clip": CLIP, "eps": eps}
    if t == 1:
        nats = losses.decoder_nats(lambda xt, t: eps_hat, x0, schedule, **arguments)
    else:
        nats = losses.term_nats(lambda xt, t: eps_hat, x0, ts, schedule, **arguments)
    x0_hat = losses.predict(
        lambda xt, t: eps_hat, process.q_sample(x0, ts, eps, schedule), ts, schedule, CLIP
    )
    mse = (x0_hat - x0).double().square().flatten(1).mean(dim=1)
    return nats.double() / (math.log(2) * x0[0].numel()), mse


@torch.inference_mode()
def measure(name: str, count: int, seed: int, root: str | None, state: Path) -> dict:
    """Terms, their standard errors and mean square errors for t = 1..T, as lists; state is kept after every 20 steps."""
    model, schedule, _ = checkpoints.load(name)
    test = data.load(name, train=False, root=root)
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:count]
    x0 = data.from_uint8(test.images[chosen])
    done = json.loads(state.read_text()) if state.is_file() else {"rows": [], "seconds": 0.0}
    begin, before = time.process_time(), done["seconds"]
    for t in tqdm(
        range(len(done["rows"]) + 1, schedule.T + 1), desc=name, initial=len(done["rows"]), total=schedule.T
    ):
        some = x0 if t <= FEW else x0[t % SHARE :: SHARE]
        bpd, mse = step(model, some, t, schedule, torch.Generator().manual_seed(seed + 1000 + t))
        error = float(bpd.std() / math.sqrt(len(some)))
        done["rows"].append(results.short((bpd.mean(), error, mse.mean())))
        if t % 20 == 0 or t == schedule.T:
            done["seconds"] = before + time.process_time() - begin
            state.write_text(json.dumps(done))
    terms, errors, mse = (list(column) for column in zip(*done["rows"], strict=True))
    prior = losses.prior_nats(x0, schedule).double().mean() / (math.log(2) * x0[0].numel())
    return {
        "images": count,
        "prior": results.short([prior])[0],
        "terms": terms,
        "errors": errors,
        "mse": mse,
        "seconds": done["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--root", help="where the data sets are, or go")
    parser.add_argument(
        "--state", type=Path, default=Path.home() / ".cache" / "ddpm-lite" / "rate_distortion"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.state.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name in ("mnist", "fashion_mnist"):
        state = options.state / f"{name}_{options.images}_{options.seed}.json"
        sets[name] = measure(name, options.images, options.seed, options.root, state)
    given = f"--images {options.images} --seed {options.seed} --threads {options.threads}"
    seconds = sum(one.pop("seconds") for one in sets.values())
    command = f"python tools/rate_distortion.py {given}"
    content = results.about(command, [options.seed], seconds, options.threads)
    content |= {"variance": VARIANCE, "clip": CLIP, "sets": sets}
    print(results.save("rate_distortion", content))


if __name__ == "__main__":
    main()
