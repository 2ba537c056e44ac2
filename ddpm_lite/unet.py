"""The U-Net of the paper (DDPM appendix B and its published code), at any size.

Shapes in comments: B batch, C channels, H and W pixels, E = 4 * base the width of the time embedding.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class UNetConfig:
    """All that tells one U-Net from another. The defaults are the paper's CIFAR-10 network.

    base: channels at full resolution; a level with multiplier m has base * m channels.
    blocks: residual blocks a level on the way down (one more on the way up).
    attention: the levels (0 = full resolution) whose blocks are followed by self-attention.
    groups: groups of each group normalisation; it must divide every channel count.
    classes: number of labels for a conditional network, 0 for none.
    """

    channels: int = 3
    base: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (1,)
    groups: int = 32
    dropout: float = 0.1
    classes: int = 0
    eps: float = field(default=1e-6)

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))  # JSON gives lists
        object.__setattr__(self, "attention", tuple(self.attention))
        if self.channels < 1 or self.base < 2 or self.base % 2 or self.blocks < 1 or not self.multipliers:
            raise ValueError(
                f"channels and blocks must be 1 or more, base even, multipliers not empty: got {self}."
            )
        if any(self.base * m % self.groups for m in self.multipliers) or self.base % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide every channel count, got {[self.base * m for m in self.multipliers]}; "
                "choose fewer groups or a larger base."
            )
        if any(not 0 <= level < len(self.multipliers) for level in self.attention):
            raise ValueError(f"attention names levels 0..{len(self.multipliers) - 1}, got {self.attention}.")
        if not 0 <= self.dropout < 1 or self.classes < 0:
            raise ValueError(
                f"dropout must lie in [0, 1) and classes be 0 or more, got {self.dropout}, {self.classes}."
            )

    def to_dict(self) -> dict:
        """A plain dict that JSON can hold; UNetConfig(**d) makes the config again."""
        return asdict(self)


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding of t: (B,) -> (B, dim), sines first, then cosines.

    Wavelengths run geometrically from 2 pi to 10,000 * 2 pi over the dim/2 frequencies (DDPM's code).
    """
    half = dim // 2
    k = torch.arange(half, device=t.device, dtype=torch.float32)
    frequency = torch.exp(
        -math.log(10000) * k / max(half - 1, 1)
    )  # in this order, which diffusers rounds alike
    angle = t.float()[:, None] * frequency[None, :]  # (B, dim/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _init(layer: nn.Module, scale: float = 1.0) -> nn.Module:
    """The paper's code: uniform with variance scale / mean(fan_in, fan_out), biases zero."""
    nn.init.xavier_uniform_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(math.sqrt(scale))
    nn.init.zeros_(layer.bias)
    return layer


def _conv(
    c_in: int, c_out: int, kernel: int = 3, stride: int = 1, padding: int | None = None, scale: float = 1.0
):
    padding = kernel // 2 if padding is None else padding
    return _init(nn.Conv2d(c_in, c_out, kernel, stride, padding), scale)


class ResidualBlock(nn.Module):
    """norm, SiLU, conv, + time, norm, SiLU, dropout, conv, + input. The last conv starts at 0: the block as identity."""

    def __init__(self, c_in: int, c_out: int, width: int, config: UNetConfig):
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in, eps=config.eps)
        self.conv1 = _conv(c_in, c_out)
        self.time = _init(nn.Linear(width, c_out))
        self.norm2 = nn.GroupNorm(config.groups, c_out, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = _conv(c_out, c_out, scale=0.0)
        self.shortcut = nn.Identity() if c_in == c_out else _conv(c_in, c_out, kernel=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C_in, H, W) -> (B, C_out, H, W)
        h = h + self.time(emb)[:, :, None, None]  # (B, E) -> (B, C_out, 1, 1)
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """Every pixel attends to every pixel, one head; the output projection starts at 0."""

    def __init__(self, channels: int, config: UNetConfig):
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, channels, eps=config.eps)
        self.q, self.k, self.v = (_init(nn.Linear(channels, channels)) for _ in range(3))
        self.out = _init(nn.Linear(channels, channels), scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        h = F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h))
        return x + self.out(h).transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """A convolution of stride 2, padded at the right and bottom only, as the paper's framework did."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = _conv(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # (B, C, H, W) -> (B, C, H/2, W/2)


class Upsample(nn.Module):
    """Every pixel becomes 2 x 2, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))  # (B, C, H, W) -> (B, C, 2H, 2W)


class Stage(nn.Module):
    """One residual block and, at the levels that have it, self-attention."""

    def __init__(self, c_in: int, c_out: int, width: int, attention: bool, config: UNetConfig):
        super().__init__()
        self.block = ResidualBlock(c_in, c_out, width, config)
        self.attention = SelfAttention(c_out, config) if attention else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.attention(self.block(x, emb))


class UNet(nn.Module):
    """eps_theta(x_t, t): an image in, its noise out, same shape.

    Call: model(xt, t, y=None) with xt float (B, C, H, W), H and W divisible by 2^(levels - 1); t (B,) integer;
    y (B,) integer labels 0..classes-1, or `model.null_label` (= classes) for "no label"; None means no label
    for the whole batch. Raises TypeError or ValueError for wrong dtypes, shapes or labels.
    """

    def __init__(self, config: UNetConfig | None = None):
        super().__init__()
        self.config = config = config or UNetConfig()
        width = 4 * config.base
        self.time1 = _init(nn.Linear(config.base, width))
        self.time2 = _init(nn.Linear(width, width))
        self.label = nn.Embedding(config.classes + 1, width) if config.classes else None
        self.conv_in = _conv(config.channels, config.base)
        skips = self._build_down(width)
        channels = skips[-1]
        self.mid1 = Stage(channels, channels, width, True, config)
        self.mid2 = Stage(channels, channels, width, False, config)
        channels = self._build_up(channels, skips, width)
        self.norm_out = nn.GroupNorm(config.groups, channels, eps=config.eps)
        self.conv_out = _conv(channels, config.channels, scale=0.0)

    def _build_down(self, width: int) -> list[int]:
        config = self.config
        skips = [channels := config.base]
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for level, multiplier in enumerate(config.multipliers):
            stages = nn.ModuleList()
            for _ in range(config.blocks):
                stages.append(
                    Stage(channels, config.base * multiplier, width, level in config.attention, config)
                )
                skips.append(channels := config.base * multiplier)
            self.down.append(stages)
            if level + 1 < len(config.multipliers):
                self.downsample.append(Downsample(channels))
                skips.append(channels)
        return skips

    def _build_up(self, channels: int, skips: list[int], width: int) -> int:
        config, skips = self.config, list(skips)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            stages = nn.ModuleList()
            for _ in range(config.blocks + 1):
                out = config.base * multiplier
                stages.append(Stage(channels + skips.pop(), out, width, level in config.attention, config))
                channels = out
            self.up.append(stages)
            if level > 0:
                self.upsample.append(Upsample(channels))
        return channels

    @classmethod
    def cifar10(cls) -> UNet:
        """The paper's CIFAR-10 network: 35,746,307 parameters."""
        return cls(UNetConfig())

    @property
    def null_label(self) -> int:
        """The label that means "no label" (the last row of the label embedding)."""
        return self.config.classes

    def parameter_count(self) -> int:
        """How many numbers training adjusts."""
        return sum(p.numel() for p in self.parameters())

    def embed(self, t: Tensor, y: Tensor | None) -> Tensor:
        """The embedding of timestep and label that every residual block is given: (B,), (B,) -> (B, E)."""
        emb = timestep_embedding(t, self.config.base).to(self.time1.weight.dtype)
        emb = self.time2(F.silu(self.time1(emb)))
        if self.label is not None:
            y = torch.full_like(t, self.null_label) if y is None else y
            emb = emb + self.label(y)
        return F.silu(emb)  # every block begins with it, so it is computed once

    def forward(self, xt: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self._check(xt, t, y)
        emb = self.embed(t, y)
        h = self.conv_in(xt)
        skips = [h]
        for level, stages in enumerate(self.down):
            for stage in stages:
                h = stage(h, emb)
                skips.append(h)
            if level < len(self.downsample):
                h = self.downsample[level](h)
                skips.append(h)
        h = self.mid2(self.mid1(h, emb), emb)
        for level, stages in enumerate(self.up):
            for stage in stages:
                h = stage(torch.cat([h, skips.pop()], dim=1), emb)  # (B, C + C_skip, H, W) -> (B, C', H, W)
            if level < len(self.upsample):
                h = self.upsample[level](h)
        return self.conv_out(F.silu(self.norm_out(h)))

    def _check(self, xt: Tensor, t: Tensor, y: Tensor | None) -> None:
        config, factor = self.config, 2 ** (len(self.config.multipliers) - 1)
        if not xt.is_floating_point():
            raise TypeError(
                f"xt must be floating-point, got {xt.dtype}; data.from_uint8(x) scales bytes to [-1, 1]."
            )
        if xt.ndim != 4 or xt.shape[1] != config.channels:
            raise ValueError(f"xt must have shape (B, {config.channels}, H, W), got {tuple(xt.shape)}.")
        if xt.shape[2] % factor or xt.shape[3] % factor:
            raise ValueError(
                f"height and width must be divisible by {factor} (the network halves them "
                f"{len(config.multipliers) - 1} times), got {xt.shape[2]} x {xt.shape[3]}."
            )
        if t.shape != (len(xt),):
            raise ValueError(
                f"t must have shape ({len(xt)},), one timestep for each image, got {tuple(t.shape)}."
            )
        if y is not None and not config.classes:
            raise ValueError("this network was built without labels (classes=0), so y must be None.")
        if y is not None and (y.shape != t.shape or y.is_floating_point()):
            raise ValueError(
                f"y must be integer labels of shape ({len(xt)},), got {y.dtype} {tuple(y.shape)}."
            )
        if y is not None and len(y) and (y.min() < 0 or y.max() > config.classes):
            raise ValueError(
                f"labels must lie in 0..{config.classes - 1} (or {config.classes} for none), got {int(y.min())}..{int(y.max())}."
            )
