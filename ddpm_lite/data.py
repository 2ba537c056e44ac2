"""Pictures to learn from. Images are kept as bytes, uint8 (N, C, H, W), and scaled to [-1, 1] a batch at a time."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import validate


class DataError(RuntimeError):
    """A data set could not be had; the message says what to do."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """images uint8 (N, C, H, W), labels int64 (N,), classes (the labels' names), name (of the data set).

    Raises TypeError or ValueError if the parts do not fit together.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise TypeError(
                f"images must be uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.shape != (len(self.images),) or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.images)


def from_uint8(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], any shape. Raises TypeError for another dtype."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a uint8 tensor (values 0..255), got {kind}.")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8 0..255, rounded; values beyond the range are clamped. Raises for NaN or integers."""
    validate.floating(x, "x")
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def digits() -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey: (1797, 1, 8, 8). Nothing is downloaded."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # 17 grey levels 0..16 -> 0..255
    return ImageSet(
        torch.from_numpy(images), torch.from_numpy(bunch.target).long(), tuple("0123456789"), "digits"
    )


def photograph(name: str = "flower", size: int = 64) -> Tensor:
    """One of scikit-learn's two photographs, "flower" or "china": its central square, uint8 (3, size, size)."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    validate.one_of(name, ("flower", "china"), "name")
    if not 1 <= size <= 427:
        raise ValueError(f"size must lie in 1..427 pixels, got {size}.")
    picture = Image.fromarray(load_sample_image(f"{name}.jpg"))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # (H, W, 3) -> (3, H, W)


def _moons(count: int, g: torch.Generator) -> Tensor:
    """Two half circles that reach into each other."""
    lower = torch.rand(count, generator=g) < 0.5
    angle = math.pi * torch.rand(count, generator=g)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    points = torch.where(lower[:, None], -upper, upper) / 1.5  # (count, 2)
    return points + 0.03 * torch.randn(count, 2, generator=g)


def _spirals(count: int, g: torch.Generator) -> Tensor:
    """Two arms, one and a half turns each; the square root spreads the points evenly along an arm."""
    turn = 3 * math.pi * torch.rand(count, generator=g).sqrt()
    arm = torch.stack([turn.cos(), turn.sin()], dim=1) * turn[:, None] / (3 * math.pi)
    sign = torch.where(torch.rand(count, generator=g) < 0.5, -1.0, 1.0)[:, None]
    return sign * arm + 0.02 * torch.randn(count, 2, generator=g)


def _checkerboard(count: int, g: torch.Generator) -> Tensor:
    """The eight dark squares of a 4 x 4 board."""
    square = torch.randint(0, 8, (count,), generator=g)
    row, half = square // 2, square % 2
    corner = torch.stack([2 * half + row % 2, row], dim=1)
    return (corner + torch.rand(count, 2, generator=g)) / 2 - 1


TOYS = {"moons": _moons, "spirals": _spirals, "checkerboard": _checkerboard}


def toy(name: str, count: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` points of a shape in the plane (a name in TOYS), float32 (count, 2), within about [-1, 1].

    `exact.ring` has one more, whose density is known. Raises ValueError for another name or count < 1.
    """
    validate.one_of(name, TOYS, "name")
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}.")
    return TOYS[name](count, generator or torch.default_generator)


def data_root(root: str | Path | None = None) -> Path:
    """Where downloads are kept: `root`, or the folder in $DDPM_LITE_DATA, or ~/.cache/ddpm-lite."""
    return Path(root or os.environ.get("DDPM_LITE_DATA") or Path.home() / ".cache" / "ddpm-lite").expanduser()


def _torchvision(name: str, train: bool, root: str | Path | None):
    import torchvision

    folder = data_root(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return getattr(torchvision.datasets, name)(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} could not be downloaded to or read from {folder}: {error}\n"
            "Is there a network? A damaged download is mended by deleting that folder and trying again. "
            "Without a network, data.digits() needs no download; or put torchvision's files there and set $DDPM_LITE_DATA."
        ) from error


def mnist(train: bool = True, root: str | Path | None = None) -> ImageSet:
    """MNIST through torchvision, downloaded once and checked: (60000 or 10000, 1, 28, 28). Raises DataError."""
    found = _torchvision("MNIST", train, root)
    return ImageSet(found.data[:, None], found.targets.long(), tuple("0123456789"), "mnist")


def fashion_mnist(train: bool = True, root: str | Path | None = None) -> ImageSet:
    """Fashion-MNIST through torchvision: (60000 or 10000, 1, 28, 28), ten kinds of clothing. Raises DataError."""
    found = _torchvision("FashionMNIST", train, root)
    return ImageSet(found.data[:, None], found.targets.long(), tuple(found.classes), "fashion_mnist")


def cifar10(train: bool = True, root: str | Path | None = None) -> ImageSet:
    """CIFAR-10 through torchvision: (50000 or 10000, 3, 32, 32). Raises DataError."""
    found = _torchvision("CIFAR10", train, root)
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()  # (N, H, W, 3) -> (N, 3, H, W)
    return ImageSet(images, torch.tensor(found.targets), tuple(found.classes), "cifar10")


def shrink(images: Tensor, size: int = 16) -> Tensor:
    """Square images uint8 (N, C, S, S) made smaller: (N, C, size, size), each pixel the mean of a k x k block.

    k is the smallest whole number with k * size >= S; where it does not come out even, black is put around first
    (28 -> 32 -> 16). Images of that size already are returned as they are.
    Raises TypeError for another dtype, ValueError for images that are not square or are smaller than `size`.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        raise TypeError("images must be a uint8 tensor (N, C, S, S).")
    side = images.shape[-1]
    if images.shape[-2] != side:
        raise ValueError(f"images must be square, got {images.shape[-2]} x {side}.")
    if not 1 <= size <= side:
        raise ValueError(f"size must lie in 1..{side}: images are made smaller, never larger; got {size}.")
    k = math.ceil(side / size)
    spare = k * size - side
    around = (spare // 2, spare - spare // 2) * 2
    parts = [F.avg_pool2d(F.pad(part.float(), around), k) for part in images.split(5000)]
    return torch.cat(parts).round().to(torch.uint8) if parts else images


PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def folder(path: str | Path, size: int = 16, grey: bool = False, least: int = 20) -> ImageSet:
    """Your own pictures: every picture file below `path`, as a square of `size` pixels, (N, 3 or 1, size, size).

    The central square of each is scaled down or up; hidden files are left out. Labels: the names of the folders
    that the pictures lie in, in alphabetical order. grey: one channel instead of three.
    Raises DataError if there is no such folder, if it holds no pictures or fewer than `least`, or a file that
    cannot be read (it names the file); ValueError for size or least below 1.
    """
    if min(size, least) < 1:
        raise ValueError(f"size and least must be 1 or more, got {size} and {least}.")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}. Give a folder of pictures, or a name: {', '.join(REGISTRY)}."
        )
    inside = sorted(p for p in root.rglob("*") if p.is_file())
    hidden = [any(part.startswith(".") for part in p.relative_to(root).parts) for p in inside]
    files = [p for p, h in zip(inside, hidden, strict=True) if p.suffix.lower() in PICTURES and not h]
    if len(files) < least:
        found = f"only {len(files)}" if files else "no"
        raise DataError(
            f"{root} holds {found} pictures ({', '.join(PICTURES)}), and at least {least} are needed to learn from; "
            "a few hundred are better."
        )
    images = torch.stack([_picture(p, size, grey) for p in files])
    classes = tuple(sorted({p.parent.name for p in files}))
    return ImageSet(images, torch.tensor([classes.index(p.parent.name) for p in files]), classes, root.name)


def _picture(path: Path, size: int, grey: bool) -> Tensor:
    """The central square of one file, uint8 (3 or 1, size, size). Raises DataError if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file).convert("RGBA")  # a camera may have been turned
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a picture ({error}). Mend it, or take it out.") from error
    solid = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)  # what is clear is white
    square = ImageOps.fit(solid.convert("L" if grey else "RGB"), (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).reshape(size, size, -1).permute(2, 0, 1).contiguous()


REGISTRY = {
    "digits": lambda train=True, root=None: digits(),
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


def load(name: str, train: bool = True, root: str | Path | None = None) -> ImageSet:
    """A data set by its name in `REGISTRY`. Raises ValueError for an unknown name, DataError if it cannot be had."""
    validate.one_of(name, REGISTRY, "name")
    return REGISTRY[name](train=train, root=root)
