"""How good are samples: a Frechet distance on learned features, and the nearest training image.

The published FID uses the features of a large ImageNet network. For 28 x 28 grey images a small classifier
trained on the data set itself separates good from bad better, and it fits into this package. Its numbers
are comparable among themselves (same network, same number of images) and with no published FID.
"""

from __future__ import annotations

from importlib import resources

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import validate

FEATURE_NETS = {"mnist": 28, "fashion_mnist": 28, "digits": 8}  # name -> height and width of its images


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Squared Frechet distance between Gaussians fitted to two feature sets, (N, D) and (M, D), float.

    |mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)), in float64; never below 0. Two samples of the
    same distribution are not at 0 but at about a constant / N: compare at equal N, and see `real_floor`.
    Raises TypeError for other dtypes, ValueError for NaN, unequal D, or fewer than two rows.
    """
    for x, name in ((features_a, "features_a"), (features_b, "features_b")):
        validate.floating(x, name)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"{name} must have shape (N, D) with N >= 2, got {tuple(x.shape)}.")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"both must have D features, got {features_a.shape[1]} and {features_b.shape[1]}.")
    a, b = features_a.detach().cpu().double(), features_b.detach().cpu().double()
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], x.shape[1]) for x in (a, b))  # (D, D), also for D = 1
    return float(gaussian_frechet(a.mean(dim=0), cov_a, b.mean(dim=0), cov_b))


def gaussian_frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Squared Frechet distance of N(mean_a, cov_a) and N(mean_b, cov_b), means (D,), covariances (D, D): float64 scalar.

    |mean_a - mean_b|^2 + tr(cov_a) + tr(cov_b) - 2 tr((cov_a cov_b)^(1/2)); never below 0.
    """
    mean_a, cov_a, mean_b, cov_b = (x.double() for x in (mean_a, cov_a, mean_b, cov_b))
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # cov_a cov_b has the eigenvalues of the symmetric root_a cov_b root_a, which are real and not negative.
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    apart = (mean_a - mean_b).square().sum()
    return (apart + cov_a.trace() + cov_b.trace() - 2 * cross).clamp(min=0)


class FeatureNet(nn.Module):
    """A small classifier of square grey images whose last hidden layer, 64 numbers, is the feature.

    size: height and width, 5 or more: 28 for MNIST, 8 for the embedded digits.
    Call: net(x) with x float (B, 1, size, size) in [-1, 1] -> logits (B, classes). net.embed(x) -> (B, 64).
    """

    def __init__(self, classes: int = 10, size: int = 28):
        super().__init__()
        if size < 5:
            raise ValueError(f"size must be 5 or more, got {size}.")
        self.size = size

        def level(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Sequential:
            conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())

        # At 28: (B, 1, 28, 28) -> (B, 32, 14, 14) -> (B, 48, 7, 7) -> (B, 64, 7, 7) -> (B, 64, 3, 3)
        self.body = nn.Sequential(
            level(1, 32, 5, 2), level(32, 48, 3, 2), level(48, 64, 3, 1), nn.MaxPool2d(2)
        )
        side = (size + 3) // 4 // 2  # halved three times; the first two round up
        self.feature = nn.Linear(64 * side * side, 64)
        self.head = nn.Linear(64, classes)

    def embed(self, x: Tensor) -> Tensor:
        return self.feature(self.body(x).flatten(1))  # (B, 1, size, size) -> (B, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.embed(x)))


def _batches(images: Tensor, batch: int, size: int):
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a uint8 tensor, got {kind}; data.to_uint8(x) makes one of [-1, 1].")
    if images.ndim != 4 or images.shape[1:] != (1, size, size):
        raise ValueError(f"images must have shape (N, 1, {size}, {size}), got {tuple(images.shape)}.")
    for part in images.split(batch):
        yield part.float() / 127.5 - 1


def train_features(
    images: Tensor,
    labels: Tensor,
    epochs: int = 3,
    batch: int = 128,
    lr: float = 3e-3,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> FeatureNet:
    """Train a `FeatureNet` on images uint8 (N, 1, S, S) and labels int64 (N,): 60,000 of 28 x 28 take 15 s an epoch.

    Adam under a one-cycle learning rate that peaks at `lr`. Start and order come from `generator`. Returns it
    in eval mode. Raises TypeError or ValueError for wrong dtypes, shapes or a number of labels unlike N.
    """
    if labels.shape != (len(images),):
        raise ValueError(f"labels must have shape ({len(images)},), one an image, got {tuple(labels.shape)}.")
    order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(epochs)])
    with torch.random.fork_rng(
        devices=[]
    ):  # layers draw their start from the global generator: lend it a seed
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        net = FeatureNet(int(labels.max()) + 1, images.shape[-1])
    net.to(memory_format=torch.channels_last)  # faster on a CPU
    optimizer = torch.optim.Adam(net.parameters(), lr)
    steps = order.split(batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=len(steps), pct_start=0.2)
    if progress:
        from tqdm.auto import tqdm

        steps = tqdm(steps, desc="features", leave=False)
    for index in steps:
        (x,) = _batches(images[index], batch, net.size)
        loss = F.cross_entropy(net(x), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    return net.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def features(net: FeatureNet, images: Tensor, batch: int = 500) -> Tensor:
    """The features of images uint8 (N, 1, S, S), S = net.size: float32 (N, 64), on the CPU.

    Raises TypeError for another dtype (sampled floats: `data.to_uint8` first), ValueError for another shape.
    """
    device = next(net.parameters()).device
    return torch.cat([net.embed(x.to(device)).cpu() for x in _batches(images, batch, net.size)])


@torch.no_grad()
def classify(net: FeatureNet, images: Tensor, batch: int = 500) -> Tensor:
    """The most likely class of each image, int64 (N,), on the CPU. Arguments and errors as for `features`."""
    device = next(net.parameters()).device
    return torch.cat([net(x.to(device)).argmax(dim=1).cpu() for x in _batches(images, batch, net.size)])


def real_floor(
    features: Tensor, n: int, generator: torch.Generator | None = None, repeats: int = 10
) -> float:
    """The Frechet distance between two disjoint random sets of n real images: what perfect samples would get.

    features: (N, D) of real images. The mean of `repeats` draws, since a single one can be twice the next.
    Raises ValueError unless 2 <= n <= N/2 and repeats >= 1.
    """
    if not 2 <= n <= len(features) // 2:
        raise ValueError(f"n must lie in 2..{len(features) // 2}, half of the features given, got {n}.")
    if repeats < 1:
        raise ValueError(f"repeats must be 1 or more, got {repeats}.")
    draws = [torch.randperm(len(features), generator=generator)[: 2 * n] for _ in range(repeats)]
    return sum(frechet_distance(features[i[:n]], features[i[n:]]) for i in draws) / repeats


def nearest_neighbours(samples: Tensor, images: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k images nearest to each sample: are the samples copies of the training set?

    samples (S, ...), images (N, ...), of one dtype, uint8 or float. Returns (distance, index), both (S, k),
    nearest first: distance, float64, is the root mean square difference over the pixels, in the units of the
    images; index, int64, points into images. Judge it against the distance from held-out images to the
    training set. Raises TypeError for unequal dtypes, ValueError for unequal shapes or k outside 1..N.
    """
    if samples.dtype != images.dtype:
        raise TypeError(f"samples are {samples.dtype} and images {images.dtype}: bring both to uint8.")
    if samples.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"samples are {tuple(samples.shape[1:])}, images {tuple(images.shape[1:])}: unequal."
        )
    if not 1 <= k <= len(images):
        raise ValueError(f"k must lie in 1..{len(images)}, the number of images, got {k}.")
    a = samples.flatten(1).cpu().double()  # in float64 the differences of bytes are exact
    square = torch.cat([_squares(a, part.flatten(1).cpu().double()) for part in images.split(5000)], dim=1)
    value, index = square.clamp(min=0).topk(k, dim=1, largest=False)  # (S, N) -> (S, k)
    return (value / a.shape[1]).sqrt(), index


def coverage(real: Tensor, samples: Tensor, k: int = 3) -> float:
    """The share of the real points that have a sample nearby: diversity, between 0 and 1 (Naeem et al. 2020).

    real (N, D), samples (M, D), float, of one dtype: features, or flattened images. Nearby means within the distance
    to the k-th nearest *other* real point. Raises TypeError for integers, ValueError unless 1 <= k < N.
    """
    validate.floating(real, "real")
    validate.floating(samples, "samples")
    if not 1 <= k < len(real):
        raise ValueError(
            f"k must lie in 1..{len(real) - 1}, since each real point has so many others, got {k}."
        )
    radius = nearest_neighbours(real, real, k + 1)[0][:, -1]  # the nearest is the point itself
    return float((nearest_neighbours(real, samples)[0][:, 0] <= radius).double().mean())


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :] - 2 * a @ b.T  # |a - b|^2, (S, N)


HELD_OUT = ("mnist", "fashion_mnist")


def heldout(name: str = "mnist") -> tuple[Tensor, Tensor]:
    """Sixty-four test images that ship with the course: uint8 (64, 1, 28, 28), labels int64 (64,).

    No network here was trained on them. results/heldout.json says which they are, and their licence.
    """
    from safetensors.torch import load

    validate.one_of(name, HELD_OUT, "name")
    found = load((resources.files("ddpm_lite") / "results" / "heldout.safetensors").read_bytes())
    return found[f"{name}.images"], found[f"{name}.labels"]


def feature_net(name: str = "mnist") -> FeatureNet:
    """A feature network that ships with the course: "mnist", "fashion_mnist" or "digits" (8 x 8), in eval mode.

    Its card, features_NAME.json beside it, says how it was trained and how well it classifies.
    """
    from safetensors.torch import load

    validate.one_of(name, FEATURE_NETS, "name")
    state = load((resources.files("ddpm_lite") / "weights" / f"features_{name}.safetensors").read_bytes())
    net = FeatureNet(len(state["head.bias"]), FEATURE_NETS[name])
    net.load_state_dict(state)
    return net.eval()
