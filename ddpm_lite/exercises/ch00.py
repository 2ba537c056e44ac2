"""Exercises of chapter 00: the scale of images, and what a sample costs."""

import torch

from ddpm_lite import data
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, randn


def _bytes():
    g = torch.Generator().manual_seed(0)
    yield Case("the 256 grey levels", torch.arange(256, dtype=torch.uint8))
    images = torch.randint(0, 256, (3, 1, 5, 4), generator=g, dtype=torch.uint8)
    yield Case("3 images of (1, 5, 4)", images)
    yield Case("images that are not contiguous", images.transpose(2, 3))


def _floats():
    yield Case("the 256 grey levels in [-1, 1]", torch.arange(256) / 127.5 - 1)
    for seed, dtype in enumerate((torch.float32, torch.float64)):
        yield Case(
            f"noise, partly outside [-1, 1], {str(dtype)[6:]}", randn(3, 1, 5, 4, seed=seed, dtype=dtype)
        )
    yield Case("images that are not contiguous", randn(2, 3, 6, 4, seed=2).transpose(2, 3))


EXERCISES = (
    Exercise(
        id="00.1",
        title="from_uint8: bytes to [-1, 1]",
        reference=data.from_uint8,
        cases=_bytes,
        misconceptions=(
            Misconception(
                name="images scaled to [0, 1], not [-1, 1]",
                breaks="0 → −1 and 255 → 1, so x = byte / 127.5 − 1",
                wrong=lambda images: images.float() / 255,
                reread="Exercise 00.1: bytes to [-1, 1]",
            ),
            Misconception(
                name="arithmetic on bytes, which wraps round at 256",
                breaks="200 · 2 is 400, but 144 as a byte: convert to float before any arithmetic",
                wrong=lambda images: (images * 2).float() / 255 - 1,
                reread="Exercise 00.1: bytes to [-1, 1]",
            ),
            Misconception(
                name="arithmetic on bytes, which wraps round at 0",
                breaks="100 − 128 is −28, but 228 as a byte: convert to float before any arithmetic",
                wrong=lambda images: (images - 128).float() / 128,
                reread="Exercise 00.1: bytes to [-1, 1]",
            ),
            Misconception(
                name="divided by 128, so that white misses 1",
                breaks="255 / 127.5 − 1 = 1, but 255 / 128 − 1 = 0.9922",
                wrong=lambda images: images.float() / 128 - 1,
                reread="Exercise 00.1: bytes to [-1, 1]",
            ),
            Misconception(
                name="shifted by ½ only, so that the range is [-½, ½]",
                breaks="0 → −1 and 255 → 1: the whole range is 2 wide",
                wrong=lambda images: images.float() / 255 - 0.5,
                reread="Exercise 00.1: bytes to [-1, 1]",
            ),
        ),
        hints=(
            "A straight line goes through (0, −1) and (255, 1). What is its slope?",
            "The slope is 2/255 = 1/127.5. Bytes cannot hold fractions, so make floats first.",
            "images.float() / 127.5 - 1",
        ),
    ),
    Exercise(
        id="00.2",
        title="to_uint8: [-1, 1] to bytes",
        reference=data.to_uint8,
        cases=_floats,
        misconceptions=(
            Misconception(
                name="cut off instead of rounded",
                breaks="byte = round((x + 1) · 127.5); converting to bytes alone drops the fraction",
                wrong=lambda x: ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8),
                reread="Exercise 00.2: and back",
            ),
            Misconception(
                name="not clamped, so that bright pixels wrap round to black",
                breaks="values beyond [−1, 1] must become 0 or 255: clamp first",
                wrong=lambda x: ((x + 1) * 127.5).round().to(torch.int64).remainder(256).to(torch.uint8),
                reread="Exercise 00.2: and back",
            ),
            Misconception(
                name="scaled by 128, so that white becomes 256",
                breaks="1 → 255: (1 + 1) · 127.5 = 255, but (1 + 1) · 128 = 256",
                wrong=lambda x: ((x.clamp(-1, 1) + 1) * 128).round().clamp(0, 255).to(torch.uint8),
                reread="Exercise 00.2: and back",
            ),
            Misconception(
                name="the shift by 1 forgotten: [-1, 1] read as if it were [0, 1]",
                breaks="x = −1 is black and x = 0 is mid-grey, so add 1 before scaling",
                wrong=lambda x: (x.clamp(0, 1) * 255).round().to(torch.uint8),
                reread="Exercise 00.2: and back",
            ),
        ),
        hints=(
            "Undo the last exercise, step by step, in the opposite order.",
            "Clamp, add 1, multiply by 127.5, round, and convert to torch.uint8.",
            "((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)",
        ),
    ),
    Exercise(
        id="00.3",
        title="what one sample costs",
        reference=1000,
        cases=None,
        misconceptions=(
            Misconception(
                name="one call for each image and step",
                breaks="a batch goes through the network in one call: T calls, not T · B",
                wrong=64000,
                reread="Sixteen digits out of noise",
            ),
            Misconception(
                name="our chain and our batch, counted image by image",
                breaks="a batch goes through the network in one call, and the question is about T = 1000",
                wrong=4000,
                reread="Sixteen digits out of noise",
            ),
            Misconception(
                name="one call for each image and step, with our batch",
                breaks="a batch goes through the network in one call: T calls, whatever the batch",
                wrong=16000,
                reread="Sixteen digits out of noise",
            ),
            Misconception(
                name="the shortened chain's count",
                breaks="250 was our short cut; the paper takes all T = 1000 steps",
                wrong=250,
                reread="Sixteen digits out of noise",
            ),
            Misconception(
                name="one call for each image",
                breaks="the chain needs one call for every step t = T … 1",
                wrong=64,
                reread="Sixteen digits out of noise",
            ),
        ),
        hints=(
            "Does a larger batch need more calls, or larger ones?",
            "One call for every step of the chain.",
        ),
    ),
)
