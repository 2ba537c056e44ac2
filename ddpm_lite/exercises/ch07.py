"""Exercises of chapter 07: group normalisation, the residual block, attention, down, the channels, the whole U.

Four of the answers are classes. Their layers are the package's, so that only what the learner wrote is judged:
see `with_layers_of`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_lite import unet
from ddpm_lite.exercises.engine import Case, Exercise, Misconception, rand, randn
from ddpm_lite.unet import UNetConfig

NORM = "Group normalisation"
BLOCK = "The residual block"
TIME = "How the block is told the time"
ATTENTION = "Attention"
DOWN = "Down and up"
CHANNELS = "Counting channels"
WHOLE = "The whole U"

f64 = torch.float64


def with_layers_of(module: nn.Module, cls: type) -> nn.Module:
    """An instance of `cls` that has the layers of `module`; setting others leaves `module` as it is.

    Raises TypeError if `cls` is no class.
    """
    if not isinstance(cls, type):
        raise TypeError(f"the class itself is wanted, without parentheses, not {type(cls).__name__}")
    twin = cls.__new__(cls)
    twin.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items()})
    return twin


def filled(module: nn.Module, seed: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> nn.Module:
    """`module` in eval mode, all its numbers random: no norm is trivial, no layer is zero."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            scale = size * p[0].numel() ** -0.5 if p.ndim > 1 else 0.3
            p.copy_(scale * torch.randn(p.shape, generator=g) + ("norm" in name and name.endswith("weight")))
    return module.to(dtype).eval()


def _new(make: Callable[[], nn.Module]) -> nn.Module:
    """A module, made without a draw from the global generator."""
    with torch.random.fork_rng(devices=[]):
        return make()


# ---------------------------------------------------------------------------------------------------
# 07.1 group_norm


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """F.group_norm: x (B, C, H, W), weight and bias (C,); statistics over each group of channels of each image."""
    return F.group_norm(x, groups, weight, bias, eps)


def _uneven(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images whose channels differ in mean and spread, and whose batch does too."""
    x = randn(*shape, seed=seed, dtype=dtype)
    c, b = torch.arange(shape[1], dtype=dtype), torch.arange(shape[0], dtype=dtype)
    return x * (0.5 + c)[:, None, None] + (0.7 * c - 1)[:, None, None] + b[:, None, None, None]


def _affine(channels: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return 1 + 0.5 * randn(channels, seed=seed, dtype=dtype), randn(channels, seed=seed + 1, dtype=dtype)


def _norms() -> Iterator[Case]:
    yield Case("8 channels in 2 groups, float32", _uneven(3, 8, 6, 5, seed=1), 2, *_affine(8, 2), 1e-6)
    yield Case(
        "6 channels in 3 groups, float64, a large eps",
        _uneven(2, 6, 4, 7, seed=3, dtype=f64),
        3,
        *_affine(6, 4, f64),
        0.5,
    )
    turned = _uneven(2, 12, 3, 5, seed=5, dtype=f64).transpose(2, 3)  # (2, 12, 5, 3), and not contiguous
    yield Case("small numbers, not contiguous", 2e-3 * turned, 3, *_affine(12, 6, f64), 1e-6)
    yield Case("as many channels as columns", _uneven(2, 4, 3, 4, seed=7), 2, *_affine(4, 8), 0.1)


def _by_group(x: Tensor, groups: int) -> Tensor:
    return x.reshape(len(x), groups, -1, *x.shape[2:])  # (B, G, C/G, H, W)


def _norm(
    split=_by_group,
    over=(2, 3, 4),
    centre=lambda x, mean: x - mean,
    variance=lambda x, over: x.var(dim=over, correction=0, keepdim=True),
    divide=lambda x, var, eps: x / (var + eps).sqrt(),
    join=lambda x, like: x.reshape(like.shape),
    affine=lambda x, w, b: x * w[:, None, None] + b[:, None, None],
):
    """A wrong normalisation: the right one with one of its parts replaced."""

    def wrong(x, groups, weight, bias, eps):
        h = split(x, groups)
        mean, var = h.mean(dim=over, keepdim=True), variance(h, over)
        return affine(join(divide(centre(h, mean), var, eps), x), weight, bias)

    return wrong


def _whole(x: Tensor, groups: int) -> Tensor:
    return x


# ---------------------------------------------------------------------------------------------------
# 07.2 ResidualBlock


class Mask(nn.Module):
    """Stands in for dropout: always the same channels of it are lost, so that its place can be told."""

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.arange(x.shape[1], dtype=x.dtype).remainder(3).ne(1).to(x.dtype)
        return x * keep[:, None, None] * 1.5


def _a_block(c_in: int, c_out: int, seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    config = UNetConfig(base=8, groups=2, dropout=0.0)
    block = filled(_new(lambda: unet.ResidualBlock(c_in, c_out, 6, config)), seed, dtype)
    block.dropout = Mask()
    return block


def _blocks() -> Iterator[Case]:
    yield Case("8 to 4 channels, float32", _a_block(8, 4, 1), rand(3, 8, 6, 5, seed=1), randn(3, 6, seed=2))
    yield Case(
        "6 to 6 channels, float64",
        _a_block(6, 6, 2, f64),
        rand(2, 6, 4, 7, seed=3, dtype=f64),
        randn(2, 6, seed=4, dtype=f64),
    )
    turned = rand(2, 4, 3, 5, seed=5, dtype=f64).transpose(2, 3)  # (2, 4, 5, 3), and not contiguous
    yield Case(
        "4 to 6 channels, not contiguous", _a_block(4, 6, 3, f64), turned, randn(2, 6, seed=6, dtype=f64)
    )
    yield Case(
        "as many images as rows, channels as columns",
        _a_block(6, 6, 4),
        rand(3, 6, 3, 6, seed=7),
        randn(3, 6, seed=8),
    )


def _run_block(cls: type, block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    return with_layers_of(block, cls)(x, emb)


def _residual(
    first=lambda s, x: s.conv1(F.silu(s.norm1(x))),
    told=lambda s, emb: s.time(emb)[:, :, None, None],
    inject=lambda h, time: h + time,
    second=lambda s, h, time: s.conv2(s.dropout(F.silu(s.norm2(h)))),
    finish=lambda s, x, h, time: s.shortcut(x) + h,
) -> type:
    """A class whose forward is the right one with one of its parts replaced."""

    class Wrong(unet.ResidualBlock):
        def forward(self, x: Tensor, emb: Tensor) -> Tensor:
            time = told(self, emb)
            h = inject(first(self, x), time)
            h = second(self, h, time)
            return finish(self, x, h, time)

    return Wrong


def _no_time(h: Tensor, time: Tensor) -> Tensor:
    return h


class _TimeFirst(unet.ResidualBlock):
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x + self.time(emb)[:, :, None, None])))
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class _TimeBefore(unet.ResidualBlock):
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        x = x + self.time(emb)[:, :, None, None]
        return self.shortcut(x) + self.conv2(
            self.dropout(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        )


# ---------------------------------------------------------------------------------------------------
# 07.3 SelfAttention


def _an_attention(channels: int, seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    config = UNetConfig(base=8, groups=2)
    return filled(_new(lambda: unet.SelfAttention(channels, config)), seed, dtype, size=1.5)


def _attentions() -> Iterator[Case]:
    yield Case(
        "2 images of (8, 3, 5), float64", _an_attention(8, 1, f64), rand(2, 8, 3, 5, seed=1, dtype=f64)
    )
    yield Case("as many channels as pixels, float32", _an_attention(16, 2), rand(3, 16, 4, 4, seed=2))
    turned = rand(2, 6, 4, 2, seed=3, dtype=f64).transpose(2, 3)  # (2, 6, 2, 4), and not contiguous
    yield Case("2 images of (6, 2, 4), not contiguous", _an_attention(6, 3, f64), turned)


def _run_attention(cls: type, layer: nn.Module, x: Tensor) -> Tensor:
    return with_layers_of(layer, cls)(x)


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)


def _image(h: Tensor, x: Tensor) -> Tensor:
    return h.transpose(1, 2).reshape(x.shape)  # (B, H*W, C) -> (B, C, H, W)


def _attention(
    norm=lambda s, x: s.norm(x),
    tokens=_tokens,
    queries=lambda s, h: s.q(h),
    keys=lambda s, h: s.k(h),
    values=lambda s, h: s.v(h),
    product=lambda q, k: q @ k.transpose(1, 2),
    scale=lambda q: 1 / math.sqrt(q.shape[2]),
    weigh=lambda a: a.softmax(dim=2),
    mix=lambda a, v: a @ v,
    out=lambda s, h: s.out(h),
    image=_image,
    finish=lambda s, x, h: x + h,
) -> type:
    """A class whose forward is the right one with one of its parts replaced."""

    class Wrong(unet.SelfAttention):
        def forward(self, x: Tensor) -> Tensor:
            h = tokens(norm(self, x))
            q, k, v = queries(self, h), keys(self, h), values(self, h)
            a = weigh(product(q, k) * scale(q))
            return finish(self, x, image(out(self, mix(a, v)), x))

    return Wrong


def _flat(x: Tensor) -> Tensor:
    """The wrong way from channels first to channels last: the numbers stay where they are in memory."""
    return x.reshape(len(x), -1, x.shape[1])


class _AcrossBatch(unet.SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).permute(2, 0, 1)  # (H*W, B, C)
        h = F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h))
        return x + self.out(h).permute(1, 2, 0).reshape(x.shape)


class _AcrossChannels(unet.SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        h = _tokens(self.norm(x))
        q, k, v = self.q(h), self.k(h), self.v(h)
        a = (q.transpose(1, 2) @ k / math.sqrt(q.shape[2])).softmax(dim=2)  # (B, C, C)
        return x + _image(self.out(v @ a.transpose(1, 2)), x)


class _AcrossChannelsTurned(unet.SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        h = _tokens(self.norm(x))
        q, k, v = self.q(h), self.k(h), self.v(h)
        a = (q.transpose(1, 2) @ k / math.sqrt(q.shape[2])).softmax(dim=2)  # (B, C, C)
        return x + _image(self.out(v @ a), x)


class _BareValues(unet.SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        h = _tokens(self.norm(x))
        h = F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(_tokens(x)))
        return x + _image(self.out(h), x)


class _ScaleLast(unet.SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        h = _tokens(self.norm(x))
        q, k, v = self.q(h), self.k(h), self.v(h)
        a = (q @ k.transpose(1, 2)).softmax(dim=2) / math.sqrt(q.shape[2])
        return x + _image(self.out(a @ v), x)


# ---------------------------------------------------------------------------------------------------
# 07.4 Downsample


def _a_down(channels: int, seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    return filled(_new(lambda: unet.Downsample(channels)), seed, dtype)


def _downs() -> Iterator[Case]:
    yield Case("3 images of (4, 8, 6), float32", _a_down(4, 1), rand(3, 4, 8, 6, seed=1))
    yield Case("2 images of (3, 4, 10), float64", _a_down(3, 2, f64), rand(2, 3, 4, 10, seed=2, dtype=f64))
    turned = rand(2, 5, 6, 4, seed=3, dtype=f64).transpose(2, 3)  # (2, 5, 4, 6), and not contiguous
    yield Case("2 images of (5, 4, 6), not contiguous", _a_down(5, 3, f64), turned)


def _run_down(cls: type, layer: nn.Module, x: Tensor) -> Tensor:
    return with_layers_of(layer, cls)(x)


def _down(before=lambda x: x, after=lambda h: h) -> type:
    """A class that does `before`, the convolution, and `after`."""

    class Wrong(unet.Downsample):
        def forward(self, x: Tensor) -> Tensor:
            return after(self.conv(before(x)))

    return Wrong


class _Pooled(unet.Downsample):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)


class _MaxPooled(unet.Downsample):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2)


class _OnlySmaller(unet.Downsample):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


class _Shrunk(unet.Downsample):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x[:, :, ::2, ::2], self.conv.weight, self.conv.bias, padding=1)


# ---------------------------------------------------------------------------------------------------
# 07.5 block_widths

Pairs = list[tuple[int, int]]


def block_widths(base: int, multipliers: tuple[int, ...], blocks: int) -> tuple[Pairs, Pairs]:
    """(c_in, c_out) of every residual block on the way down, and of every one on the way up, in order."""
    return _widths()(base, multipliers, blocks)


def _widths(
    first=lambda base, multipliers: [base],
    start=lambda base, multipliers: base,
    width=lambda base, m, level, before: base * m[level],
    advance=True,
    keeps_down=True,
    climb=reversed,
    each=lambda blocks: blocks + 1,
    pop=lambda skips, width: skips.pop(),
    join=lambda channels, skip: channels + skip,
    up_width=lambda base, m, level: base * m[level],
):
    """The bookkeeping, with one of its parts replaced; as it stands it is the right one."""

    def count(base: int, multipliers: tuple[int, ...], blocks: int) -> tuple[Pairs, Pairs]:
        down, up, skips = [], [], first(base, multipliers)
        channels, last = start(base, multipliers), len(multipliers) - 1
        for level in range(last + 1):
            before, out = channels, width(base, multipliers, level, channels)
            for _ in range(blocks):
                down.append((channels if advance else before, out))
                skips.append(channels := out)
            if keeps_down and level < last:
                skips.append(channels)
        for level in climb(range(last + 1)):
            out = up_width(base, multipliers, level)
            for _ in range(each(blocks)):
                up.append((join(channels, pop(skips, base * multipliers[level])), out))
                channels = out
        return down, up

    return count


def _rearranged(change: Callable[[Pairs, Pairs], tuple]):
    """The right lists, changed."""
    return lambda base, multipliers, blocks: change(*block_widths(base, multipliers, blocks))


def _sizes() -> Iterator[Case]:
    yield Case("the paper's CIFAR-10 network", 128, (1, 2, 2, 2), 2)
    yield Case("three levels, one block each", 32, (1, 2, 4), 1)
    yield Case("a first level wider than base", 8, (3, 1, 2), 2)
    yield Case("one level", 16, (2,), 3)


def _run_widths(answer: Callable, base: int, multipliers: tuple[int, ...], blocks: int):
    """What `answer` gives, with tuples for lists, so that either will do."""

    def plain(thing):
        return tuple(plain(one) for one in thing) if isinstance(thing, list | tuple) else thing

    return plain(answer(base, multipliers, blocks))


# ---------------------------------------------------------------------------------------------------
# 07.6 UNet


@functools.cache  # it takes longer to build one than to run it
def _a_net(seed: int, dtype: torch.dtype = torch.float32, **changes) -> nn.Module:
    config = {"channels": 1, "base": 4, "groups": 2, "blocks": 1, "multipliers": (1, 2), "attention": (1,)}
    return filled(_new(lambda: unet.UNet(UNetConfig(**config | changes))), seed, dtype)


def _nets() -> Iterator[Case]:
    t = torch.tensor
    yield Case(
        "three levels, 2 images of (1, 8, 8), float32",
        _a_net(1, multipliers=(1, 2, 2)),
        rand(2, 1, 8, 8, seed=1),
        t([1, 1000]),
    )
    yield Case(
        "two blocks a level, 3 images of (3, 4, 6), float64",
        _a_net(2, f64, channels=3, blocks=2),
        rand(3, 3, 4, 6, seed=2, dtype=f64),
        t([700, 2, 90]),
    )
    turned = rand(2, 1, 4, 8, seed=3, dtype=f64).transpose(2, 3)  # (2, 1, 8, 4), and not contiguous
    yield Case(
        "levels of one width, not contiguous",
        _a_net(3, f64, multipliers=(1, 1), attention=()),
        turned,
        t([5, 500]),
    )


def _run_net(cls: type, net: nn.Module, xt: Tensor, t: Tensor) -> Tensor:
    return with_layers_of(net, cls)(xt, t)


def _embed(net: nn.Module, t: Tensor) -> Tensor:
    return unet.UNet.embed(net, t, None)


def _walk(
    told=_embed,
    first=lambda h: [h],
    kept=lambda before, h: h,
    keeps_down=True,
    middle=lambda s, h, emb: s.mid2(s.mid1(h, emb), emb),
    take=lambda skips: skips.pop(),
    join=lambda h, skip: torch.cat([h, skip], dim=1),
    end=lambda s, h: s.conv_out(F.silu(s.norm_out(h))),
    finish=lambda xt, h: h,
    up_first=False,
) -> type:
    """A class whose forward is the right one with one of its parts replaced."""

    class Wrong(unet.UNet):
        def forward(self, xt: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            emb = told(self, t)
            h = self.conv_in(xt)
            skips = first(h)
            for level, stages in enumerate(self.down):
                for stage in stages:
                    before, h = h, stage(h, emb)
                    skips.append(kept(before, h))
                if level < len(self.downsample):
                    h = self.downsample[level](h)
                    if keeps_down:
                        skips.append(h)
            h = middle(self, h, emb)
            for level, stages in enumerate(self.up):
                if level < len(self.upsample) and up_first:
                    h = self.upsample[level](h)
                for stage in stages:
                    h = stage(join(h, take(skips)), emb)
                if level < len(self.upsample) and not up_first:
                    h = self.upsample[level](h)
            return finish(xt, end(self, h))

    return Wrong


EXERCISES = (
    Exercise(
        id="07.1",
        title="group_norm: mean 0 and variance 1, group by group",
        reference=group_norm,
        cases=_norms,
        misconceptions=(
            Misconception(
                name="statistics over the batch: this is batch normalisation",
                breaks="each image has its own mean and variance; no other image of the batch may enter",
                wrong=_norm(split=_whole, over=(0, 2, 3)),
                reread=NORM,
            ),
            Misconception(
                name="groups of channels, but pooled over the batch as well",
                breaks="mean and variance have the shape (B, G): one pair for each group of each image",
                wrong=_norm(over=(0, 2, 3, 4)),
                reread=NORM,
            ),
            Misconception(
                name="each channel by itself: this is instance normalisation",
                breaks="the mean runs over the C/G channels of a group, and over H and W",
                wrong=_norm(split=_whole, over=(2, 3)),
                reread=NORM,
            ),
            Misconception(
                name="all channels together: this is layer normalisation",
                breaks="there are G means an image, one for each group, not one",
                wrong=_norm(split=_whole, over=(1, 2, 3)),
                reread=NORM,
            ),
            Misconception(
                name="each pixel by itself, over all its channels",
                breaks="the mean runs over the C/G channels of a group, and over H and W",
                wrong=_norm(split=_whole, over=(1,)),
                reread=NORM,
            ),
            Misconception(
                name="over the channels of a group, but for each pixel by itself",
                breaks="the mean runs over H and W too: one number for each group of each image",
                wrong=_norm(over=(2,)),
                reread=NORM,
            ),
            Misconception(
                name="the variance with n − 1 in the denominator, as `x.var()` has it unasked",
                breaks="σ² = (1/n) Σ (x − μ)²: say correction=0",
                wrong=_norm(variance=lambda x, over: x.var(dim=over, keepdim=True)),
                reread=NORM,
            ),
            Misconception(
                name="ε outside of the root",
                breaks="(x − μ) / √(σ² + ε), not (x − μ) / (√σ² + ε)",
                wrong=_norm(divide=lambda x, var, eps: x / (var.sqrt() + eps)),
                reread=NORM,
            ),
            Misconception(
                name="n − 1 in the denominator, and ε outside of the root",
                breaks="(x − μ) / √(σ² + ε), with σ² = (1/n) Σ (x − μ)²",
                wrong=_norm(
                    variance=lambda x, over: x.var(dim=over, keepdim=True),
                    divide=lambda x, var, eps: x / (var.sqrt() + eps),
                ),
                reread=NORM,
            ),
            Misconception(
                name="n − 1 in the denominator, and no ε",
                breaks="(x − μ) / √(σ² + ε), with σ² = (1/n) Σ (x − μ)²",
                wrong=_norm(
                    variance=lambda x, over: x.var(dim=over, keepdim=True),
                    divide=lambda x, var, eps: x / var.sqrt(),
                ),
                reread=NORM,
            ),
            Misconception(
                name="no ε",
                breaks="(x − μ) / √(σ² + ε): without it a group that is constant gives 0/0",
                wrong=_norm(divide=lambda x, var, eps: x / var.sqrt()),
                reread=NORM,
            ),
            Misconception(
                name="PyTorch's own ε, 1e-5, in place of the one handed over",
                breaks="(x − μ) / √(σ² + ε), with the argument eps",
                wrong=lambda x, groups, weight, bias, eps: F.group_norm(x, groups, weight, bias),
                reread=NORM,
            ),
            Misconception(
                name="divided by the variance, not by its root",
                breaks="(x − μ) / √(σ² + ε)",
                wrong=_norm(divide=lambda x, var, eps: x / (var + eps)),
                reread=NORM,
            ),
            Misconception(
                name="the mean is not taken off",
                breaks="(x − μ) / √(σ² + ε): first centre, then scale",
                wrong=_norm(centre=lambda x, mean: x),
                reread=NORM,
            ),
            Misconception(
                name="centred, but not scaled",
                breaks="(x − μ) / √(σ² + ε): first centre, then scale",
                wrong=_norm(divide=lambda x, var, eps: x),
                reread=NORM,
            ),
            Misconception(
                name="weight and bias left out",
                breaks="the result is γ_c · x̂ + b_c, with a weight and a bias for each channel c",
                wrong=_norm(affine=lambda x, w, b: x),
                reread=NORM,
            ),
            Misconception(
                name="the bias left out",
                breaks="the result is γ_c · x̂ + b_c",
                wrong=_norm(affine=lambda x, w, b: x * w[:, None, None]),
                reread=NORM,
            ),
            Misconception(
                name="the bias is added before the weight multiplies",
                breaks="γ_c · x̂ + b_c, not γ_c · (x̂ + b_c)",
                wrong=_norm(affine=lambda x, w, b: (x + b[:, None, None]) * w[:, None, None]),
                reread=NORM,
            ),
            Misconception(
                name="weight and bias of shape (C,) run along the columns, not along the channels",
                breaks="each channel has its own weight, so it needs the shape (C, 1, 1)",
                wrong=_norm(affine=lambda x, w, b: x * w + b),
                reread=NORM,
            ),
            Misconception(
                name="neighbouring channels put into different groups: the groups take turns",
                breaks="a group is C/G channels that stand next to each other: (B, C, H, W) -> (B, G, C/G, H, W)",
                wrong=_norm(
                    split=lambda x, groups: x.reshape(len(x), -1, groups, *x.shape[2:]).transpose(1, 2),
                    join=lambda x, like: x.transpose(1, 2).reshape(like.shape),
                ),
                reread=NORM,
            ),
            Misconception(
                name="the number of groups taken for the channels of a group",
                breaks="there are G groups of C/G channels, not C/G groups of G",
                wrong=_norm(split=lambda x, groups: _by_group(x, x.shape[1] // groups)),
                reread=NORM,
            ),
        ),
        hints=(
            "Reshape first: (B, C, H, W) -> (B, G, C/G, H, W). Then a group is what the last three dimensions hold.",
            "h.mean(dim=(2, 3, 4), keepdim=True), and h.var with the same dims and correction=0.",
            "After dividing go back to x.shape, then multiply by weight[:, None, None] and add bias[:, None, None].",
        ),
    ),
    Exercise(
        id="07.2",
        title="ResidualBlock: two convolutions, the time, and the input added",
        reference=unet.ResidualBlock,
        cases=_blocks,
        run=_run_block,
        misconceptions=(
            Misconception(
                name="the block is never told the time",
                breaks="h = conv₁(…) + W emb, before the second normalisation",
                wrong=_residual(inject=_no_time),
                reread=TIME,
            ),
            Misconception(
                name="the time is added to the block's input",
                breaks="the time comes in after the first convolution, where there are C_out channels",
                wrong=_TimeFirst,
                reread=TIME,
            ),
            Misconception(
                name="the time is added to the block's input, and so to the shortcut too",
                breaks="the time comes in after the first convolution, where there are C_out channels",
                wrong=_TimeBefore,
                reread=TIME,
            ),
            Misconception(
                name="the time is added after the second normalisation",
                breaks="h = conv₁(…) + W emb, and only then norm₂, SiLU, dropout, conv₂",
                wrong=_residual(
                    inject=_no_time,
                    second=lambda s, h, time: s.conv2(s.dropout(F.silu(s.norm2(h) + time))),
                ),
                reread=TIME,
            ),
            Misconception(
                name="the time is added after the second SiLU",
                breaks="h = conv₁(…) + W emb, and only then norm₂, SiLU, dropout, conv₂",
                wrong=_residual(
                    inject=_no_time,
                    second=lambda s, h, time: s.conv2(s.dropout(F.silu(s.norm2(h)) + time)),
                ),
                reread=TIME,
            ),
            Misconception(
                name="the time is added at the very end",
                breaks="h = conv₁(…) + W emb, and only then norm₂, SiLU, dropout, conv₂",
                wrong=_residual(inject=_no_time, finish=lambda s, x, h, time: s.shortcut(x) + h + time),
                reread=TIME,
            ),
            Misconception(
                name="the time multiplies, where it is added",
                breaks="h = conv₁(…) + W emb",
                wrong=_residual(inject=lambda h, time: h * time),
                reread=TIME,
            ),
            Misconception(
                name="a SiLU more on the embedding, which has been through one already",
                breaks="emb = SiLU(…) was computed once for all blocks: here it is W emb",
                wrong=_residual(told=lambda s, emb: s.time(F.silu(emb))[:, :, None, None]),
                reread=TIME,
            ),
            Misconception(
                name="a SiLU around the projected time",
                breaks="h = conv₁(…) + W emb, a plain linear layer",
                wrong=_residual(told=lambda s, emb: F.silu(s.time(emb))[:, :, None, None]),
                reread=TIME,
            ),
            Misconception(
                name="the time of shape (B, C) is added without two more dimensions",
                breaks="(B, C) -> (B, C, 1, 1): one number for each channel of each image, the same at all pixels",
                wrong=_residual(told=lambda s, emb: s.time(emb)),
                reread=TIME,
            ),
            Misconception(
                name="one image's time for the whole batch",
                breaks="each image of a batch has its own t: (B, C) -> (B, C, 1, 1)",
                wrong=_residual(told=lambda s, emb: s.time(emb)[:1, :, None, None]),
                reread=TIME,
            ),
            Misconception(
                name="the input is not added",
                breaks="the block returns shortcut(x) + h",
                wrong=_residual(finish=lambda s, x, h, time: h),
                reread=BLOCK,
            ),
            Misconception(
                name="x itself is added, not shortcut(x)",
                breaks="shortcut(x) + h: where C_in and C_out differ it is a 1 × 1 convolution",
                wrong=_residual(finish=lambda s, x, h, time: x + h),
                reread=BLOCK,
            ),
            Misconception(
                name="the normalised input is added, not the input",
                breaks="shortcut(x) + h: what is added is x as it came, or the block could not be the identity",
                wrong=_residual(finish=lambda s, x, h, time: s.shortcut(s.norm1(x)) + h),
                reread=BLOCK,
            ),
            Misconception(
                name="the activated input is added, not the input",
                breaks="shortcut(x) + h: what is added is x as it came, or the block could not be the identity",
                wrong=_residual(finish=lambda s, x, h, time: s.shortcut(F.silu(s.norm1(x))) + h),
                reread=BLOCK,
            ),
            Misconception(
                name="first convolve, then normalise, as older residual networks do",
                breaks="norm, SiLU, conv: in this order, twice",
                wrong=_residual(
                    first=lambda s, x: F.silu(s.norm1(s.conv1(x))),
                    second=lambda s, h, time: s.dropout(F.silu(s.norm2(s.conv2(h)))),
                ),
                reread=BLOCK,
            ),
            Misconception(
                name="first convolve, then normalise, as older residual networks do, and dropout before the convolution",
                breaks="norm, SiLU, conv: in this order, twice",
                wrong=_residual(
                    first=lambda s, x: F.silu(s.norm1(s.conv1(x))),
                    second=lambda s, h, time: F.silu(s.norm2(s.conv2(s.dropout(h)))),
                ),
                reread=BLOCK,
            ),
            Misconception(
                name="the SiLU comes before the normalisation",
                breaks="norm, SiLU, conv: in this order, twice",
                wrong=_residual(
                    first=lambda s, x: s.conv1(s.norm1(F.silu(x))),
                    second=lambda s, h, time: s.conv2(s.dropout(s.norm2(F.silu(h)))),
                ),
                reread=BLOCK,
            ),
            Misconception(
                name="no SiLU before the first convolution",
                breaks="norm, SiLU, conv: in this order, twice",
                wrong=_residual(first=lambda s, x: s.conv1(s.norm1(x))),
                reread=BLOCK,
            ),
            Misconception(
                name="no SiLU before the second convolution",
                breaks="norm, SiLU, dropout, conv",
                wrong=_residual(second=lambda s, h, time: s.conv2(s.dropout(s.norm2(h)))),
                reread=BLOCK,
            ),
            Misconception(
                name="no SiLU at all",
                breaks="norm, SiLU, conv: without it two convolutions are as one",
                wrong=_residual(
                    first=lambda s, x: s.conv1(s.norm1(x)),
                    second=lambda s, h, time: s.conv2(s.dropout(s.norm2(h))),
                ),
                reread=BLOCK,
            ),
            Misconception(
                name="ReLU in place of SiLU",
                breaks="SiLU(x) = x · sigmoid(x)",
                wrong=_residual(
                    first=lambda s, x: s.conv1(F.relu(s.norm1(x))),
                    second=lambda s, h, time: s.conv2(s.dropout(F.relu(s.norm2(h)))),
                ),
                reread=BLOCK,
            ),
            Misconception(
                name="a SiLU after the sum",
                breaks="the block returns shortcut(x) + h as it is, or it could not be the identity",
                wrong=_residual(finish=lambda s, x, h, time: F.silu(s.shortcut(x) + h)),
                reread=BLOCK,
            ),
            Misconception(
                name="the first normalisation left out",
                breaks="norm, SiLU, conv: in this order, twice",
                wrong=_residual(first=lambda s, x: s.conv1(F.silu(x))),
                reread=BLOCK,
            ),
            Misconception(
                name="the second normalisation left out",
                breaks="norm, SiLU, dropout, conv",
                wrong=_residual(second=lambda s, h, time: s.conv2(s.dropout(F.silu(h)))),
                reread=BLOCK,
            ),
            Misconception(
                name="the first normalisation used twice",
                breaks="each norm has weights of its own: norm1 for C_in channels, norm2 for C_out",
                wrong=_residual(second=lambda s, h, time: s.conv2(s.dropout(F.silu(s.norm1(h))))),
                reread=BLOCK,
            ),
            Misconception(
                name="the first convolution used twice",
                breaks="each convolution has weights of its own: conv1, then conv2",
                wrong=_residual(second=lambda s, h, time: s.conv1(s.dropout(F.silu(s.norm2(h))))),
                reread=BLOCK,
            ),
            Misconception(
                name="dropout left out",
                breaks="norm, SiLU, dropout, conv",
                wrong=_residual(second=lambda s, h, time: s.conv2(F.silu(s.norm2(h)))),
                reread=BLOCK,
            ),
            Misconception(
                name="dropout after the second convolution",
                breaks="norm, SiLU, dropout, conv: the last word has the convolution that starts at zero",
                wrong=_residual(second=lambda s, h, time: s.dropout(s.conv2(F.silu(s.norm2(h))))),
                reread=BLOCK,
            ),
            Misconception(
                name="dropout before the second normalisation",
                breaks="norm, SiLU, dropout, conv",
                wrong=_residual(second=lambda s, h, time: s.conv2(F.silu(s.norm2(s.dropout(h))))),
                reread=BLOCK,
            ),
            Misconception(
                name="dropout before the second SiLU",
                breaks="norm, SiLU, dropout, conv",
                wrong=_residual(second=lambda s, h, time: s.conv2(F.silu(s.dropout(s.norm2(h))))),
                reread=BLOCK,
            ),
            Misconception(
                name="the sum divided by √2",
                breaks="shortcut(x) + h; later networks divide, the paper's does not",
                wrong=_residual(finish=lambda s, x, h, time: (s.shortcut(x) + h) / math.sqrt(2)),
                reread=BLOCK,
            ),
        ),
        hints=(
            "Four lines: h from x; the time added to h; h again; the sum. Each of the seven layers is used once.",
            "h = self.conv1(F.silu(self.norm1(x))), and self.time(emb) needs [:, :, None, None] to fit it.",
            "The second half is norm2, SiLU, dropout, conv2, and the block returns self.shortcut(x) + h.",
        ),
    ),
    Exercise(
        id="07.3",
        title="SelfAttention: every pixel looks at every pixel",
        reference=unet.SelfAttention,
        cases=_attentions,
        run=_run_attention,
        misconceptions=(
            Misconception(
                name="no division by √C",
                breaks="A = softmax(Q Kᵀ / √C)",
                wrong=_attention(scale=lambda q: 1.0),
                reread=ATTENTION,
            ),
            Misconception(
                name="divided by C, not by √C",
                breaks="A = softmax(Q Kᵀ / √C): a sum of C products of independent numbers grows as √C",
                wrong=_attention(scale=lambda q: 1 / q.shape[2]),
                reread=ATTENTION,
            ),
            Misconception(
                name="multiplied by √C, not divided",
                breaks="A = softmax(Q Kᵀ / √C)",
                wrong=_attention(scale=lambda q: math.sqrt(q.shape[2])),
                reread=ATTENTION,
            ),
            Misconception(
                name="divided by the root of the number of pixels",
                breaks="A = softmax(Q Kᵀ / √C): the product sums over C channels, not over pixels",
                wrong=_attention(scale=lambda q: 1 / math.sqrt(q.shape[1])),
                reread=ATTENTION,
            ),
            Misconception(
                name="divided by √C after the softmax",
                breaks="A = softmax(Q Kᵀ / √C): the rows of A must sum to 1",
                wrong=_ScaleLast,
                reread=ATTENTION,
            ),
            Misconception(
                name="the softmax runs over the queries, down the columns",
                breaks="each row of A belongs to one query and sums to 1: softmax over the keys, the last dimension",
                wrong=_attention(weigh=lambda a: a.softmax(dim=1)),
                reread=ATTENTION,
            ),
            Misconception(
                name="the softmax runs over the batch",
                breaks="each row of A belongs to one query and sums to 1: softmax over the keys, the last dimension",
                wrong=_attention(weigh=lambda a: a.softmax(dim=0)),
                reread=ATTENTION,
            ),
            Misconception(
                name="one softmax over the whole map",
                breaks="each row of A belongs to one query and sums to 1",
                wrong=_attention(weigh=lambda a: a.flatten(1).softmax(dim=1).reshape(a.shape)),
                reread=ATTENTION,
            ),
            Misconception(
                name="no softmax",
                breaks="A = softmax(Q Kᵀ / √C): the rows of A must be shares that sum to 1",
                wrong=_attention(weigh=lambda a: a),
                reread=ATTENTION,
            ),
            Misconception(
                name="queries and keys have changed places",
                breaks="A = softmax(Q Kᵀ / √C): row i holds what query i sees in every key",
                wrong=_attention(product=lambda q, k: k @ q.transpose(1, 2)),
                reread=ATTENTION,
            ),
            Misconception(
                name="the map is used transposed",
                breaks="row i of A mixes the values for pixel i: A V, not Aᵀ V",
                wrong=_attention(mix=lambda a, v: a.transpose(1, 2) @ v),
                reread=ATTENTION,
            ),
            Misconception(
                name="channels attend to channels",
                breaks="A is (H·W, H·W): a pixel looks at pixels",
                wrong=_AcrossChannels,
                reread=ATTENTION,
            ),
            Misconception(
                name="channels attend to channels, and their map is used transposed",
                breaks="Q Kᵀ has the shape (N, N): every pixel looks at every pixel",
                wrong=_AcrossChannelsTurned,
                reread=ATTENTION,
            ),
            Misconception(
                name="the images of the batch attend to each other",
                breaks="A is (B, H·W, H·W): each image has its own map",
                wrong=_AcrossBatch,
                reread=ATTENTION,
            ),
            Misconception(
                name="reshape in place of a transpose, on the way in",
                breaks="(B, C, H, W) -> (B, C, H·W) -> (B, H·W, C): reshape alone leaves the numbers in their old order",
                wrong=_attention(tokens=_flat),
                reread=ATTENTION,
            ),
            Misconception(
                name="reshape in place of a transpose, on the way out",
                breaks="(B, H·W, C) -> (B, C, H·W) -> (B, C, H, W): reshape alone leaves the numbers in their old order",
                wrong=_attention(image=lambda h, x: h.reshape(x.shape)),
                reread=ATTENTION,
            ),
            Misconception(
                name="reshape in place of a transpose, both ways",
                breaks="(B, C, H, W) -> (B, C, H·W) -> (B, H·W, C): reshape alone leaves the numbers in their old order",
                wrong=_attention(tokens=_flat, image=lambda h, x: h.reshape(x.shape)),
                reread=ATTENTION,
            ),
            Misconception(
                name="the input is not added",
                breaks="the layer returns x + out(A V)",
                wrong=_attention(finish=lambda s, x, h: h),
                reread=ATTENTION,
            ),
            Misconception(
                name="the normalised input is added, not the input",
                breaks="the layer returns x + out(A V), with x as it came",
                wrong=_attention(finish=lambda s, x, h: s.norm(x) + h),
                reread=ATTENTION,
            ),
            Misconception(
                name="the normalisation left out",
                breaks="Q, K and V are made of norm(x)",
                wrong=_attention(norm=lambda s, x: x),
                reread=ATTENTION,
            ),
            Misconception(
                name="the normalisation comes last, after the sum",
                breaks="Q, K and V are made of norm(x), and the layer returns x + out(A V) as it is",
                wrong=_attention(norm=lambda s, x: x, finish=lambda s, x, h: s.norm(x + h)),
                reread=ATTENTION,
            ),
            Misconception(
                name="the values are made of the bare input, without the normalisation",
                breaks="Q, K and V are all made of norm(x)",
                wrong=_BareValues,
                reread=ATTENTION,
            ),
            Misconception(
                name="the last projection left out",
                breaks="the layer returns x + out(A V)",
                wrong=_attention(out=lambda s, h: h),
                reread=ATTENTION,
            ),
            Misconception(
                name="the pixels themselves are mixed, not their values",
                breaks="V = v(h): what is mixed goes through a layer of its own",
                wrong=_attention(values=lambda s, h: h),
                reread=ATTENTION,
            ),
            Misconception(
                name="one layer makes both queries and keys",
                breaks="Q = q(h), K = k(h), V = v(h): three layers",
                wrong=_attention(keys=lambda s, h: s.q(h)),
                reread=ATTENTION,
            ),
            Misconception(
                name="the keys are also the values",
                breaks="Q = q(h), K = k(h), V = v(h): three layers",
                wrong=_attention(values=lambda s, h: s.k(h)),
                reread=ATTENTION,
            ),
        ),
        hints=(
            "First the pixels as a list: self.norm(x).flatten(2) is (B, C, H·W); the layers want C last, so transpose(1, 2).",
            "a = softmax(q @ k.transpose(1, 2) / √C) over the last dimension; then a @ v, and self.out of it.",
            "Back again the same way: transpose(1, 2), then reshape(x.shape), and add x.",
        ),
    ),
    Exercise(
        id="07.4",
        title="Downsample: half the height, half the width",
        reference=unet.Downsample,
        cases=_downs,
        run=_run_down,
        misconceptions=(
            Misconception(
                name="padded at the left and at the top, perhaps on all four sides",
                breaks="zeros at the right and at the bottom only; the shape is the same, but every window sits a pixel off",
                wrong=_down(lambda x: F.pad(x, (1, 1, 1, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="not padded at all",
                breaks="H/2 windows of 3 pixels at stride 2 need H + 1 pixels",
                wrong=_down(),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the right only",
                breaks="the height needs its extra row as well: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (0, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the bottom only",
                breaks="the width needs its extra column as well: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (0, 0, 0, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the left and at the bottom",
                breaks="zeros at the right and at the bottom only: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (1, 0, 0, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the right and at the top",
                breaks="zeros at the right and at the bottom only: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (0, 1, 1, 0))),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the top and at the bottom, not at the right",
                breaks="one row at the bottom, one column at the right: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (0, 0, 1, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="padded at the left and at the right, not at the bottom",
                breaks="one row at the bottom, one column at the right: F.pad counts (left, right, top, bottom)",
                wrong=_down(lambda x: F.pad(x, (1, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="zeros added to the result, not to the image",
                breaks="first F.pad, then the convolution: the last windows see the edge of the image, and zeros beyond",
                wrong=_down(after=lambda h: F.pad(h, (0, 1, 0, 1))),
                reread=DOWN,
            ),
            Misconception(
                name="padded with the pixels of the edge, not with zeros",
                breaks="what lies outside of the image counts as 0, as in every other convolution here",
                wrong=_down(lambda x: F.pad(x, (0, 1, 0, 1), mode="replicate")),
                reread=DOWN,
            ),
            Misconception(
                name="padded with a mirror image, not with zeros",
                breaks="what lies outside of the image counts as 0, as in every other convolution here",
                wrong=_down(lambda x: F.pad(x, (0, 1, 0, 1), mode="reflect")),
                reread=DOWN,
            ),
            Misconception(
                name="every second pixel taken before the convolution",
                breaks="the convolution itself has stride 2: it sees all pixels, and gives every second one",
                wrong=_Shrunk,
                reread=DOWN,
            ),
            Misconception(
                name="every second pixel taken after a convolution that has stride 2 already",
                breaks="one stride of 2 halves the image once",
                wrong=_down(lambda x: F.pad(x, (0, 1, 0, 1)), lambda h: h[:, :, ::2, ::2]),
                reread=DOWN,
            ),
            Misconception(
                name="every second pixel, and no convolution",
                breaks="a convolution of stride 2, whose weights are learned",
                wrong=_OnlySmaller,
                reread=DOWN,
            ),
            Misconception(
                name="an average over 2 × 2 pixels",
                breaks="a convolution of stride 2, whose weights are learned",
                wrong=_Pooled,
                reread=DOWN,
            ),
            Misconception(
                name="the largest of 2 × 2 pixels",
                breaks="a convolution of stride 2, whose weights are learned",
                wrong=_MaxPooled,
                reread=DOWN,
            ),
        ),
        hints=(
            "self.conv has kernel 3, stride 2 and no padding. How many pixels do H/2 such windows cover?",
            "F.pad(x, (left, right, top, bottom)) adds zeros.",
        ),
    ),
    Exercise(
        id="07.5",
        title="block_widths: how many channels go into each block",
        reference=block_widths,
        cases=_sizes,
        run=_run_widths,
        misconceptions=(
            Misconception(
                name="the pairs are the wrong way round",
                breaks="(c_in, c_out): what goes in comes first",
                wrong=_rearranged(lambda down, up: tuple([(b, a) for a, b in pairs] for pairs in (down, up))),
                reread=CHANNELS,
            ),
            Misconception(
                name="the way up comes first",
                breaks="two lists in this order: down, up",
                wrong=_rearranged(lambda down, up: (up, down)),
                reread=CHANNELS,
            ),
            Misconception(
                name="the way up is written from the top to the bottom",
                breaks="in the order in which the blocks run: the way up begins at the lowest level",
                wrong=_rearranged(lambda down, up: (down, up[::-1])),
                reread=CHANNELS,
            ),
            Misconception(
                name="the two blocks of the middle are counted with the way down",
                breaks="the middle belongs to neither list: `blocks` pairs a level on the way down",
                wrong=_rearranged(lambda down, up: (down + 2 * [2 * down[-1][1:]], up)),
                reread=CHANNELS,
            ),
            Misconception(
                name="twice what comes out goes in",
                breaks="c_in = channels + skip, and neither need be as wide as what comes out",
                wrong=_rearranged(lambda down, up: (down, [(2 * b, b) for _, b in up])),
                reread=CHANNELS,
            ),
            Misconception(
                name="the multiplier is applied to the width before, not to base",
                breaks="level i has base · mᵢ channels: (1, 2, 2, 2) gives 128, 256, 256, 256",
                wrong=_widths(width=lambda base, m, level, before: before * m[level]),
                reread=CHANNELS,
            ),
            Misconception(
                name="the multipliers all multiplied together",
                breaks="level i has base · mᵢ channels: (1, 2, 2, 2) gives 128, 256, 256, 256",
                wrong=_widths(
                    width=lambda base, m, level, before: base * math.prod(m[: level + 1]),
                    up_width=lambda base, m, level: base * math.prod(m[: level + 1]),
                ),
                reread=CHANNELS,
            ),
            Misconception(
                name="the oldest skip is taken first",
                breaks="the last one put on the pile is the first one taken: skips.pop()",
                wrong=_widths(pop=lambda skips, width: skips.pop(0)),
                reread=CHANNELS,
            ),
            Misconception(
                name="the same skip is taken again and again",
                breaks="each skip is used once: skips.pop(), not skips[-1]",
                wrong=_widths(pop=lambda skips, width: skips[-1]),
                reread=CHANNELS,
            ),
            Misconception(
                name="every skip taken to be as wide as its own level (or one skip too many on the pile)",
                breaks="the last block of a level up gets what came down from the level above, with its width",
                wrong=_widths(pop=lambda skips, width: width),
                reread=CHANNELS,
            ),
            Misconception(
                name="as many blocks up as down",
                breaks="a level has `blocks` blocks down and `blocks` + 1 up, one for each skip",
                wrong=_widths(each=lambda blocks: blocks),
                reread=CHANNELS,
            ),
            Misconception(
                name="the output of the first convolution is not kept",
                breaks="kept are: the first convolution, every block, every downsampling",
                wrong=_widths(first=lambda base, multipliers: []),
                reread=CHANNELS,
            ),
            Misconception(
                name="the output of the first convolution is not kept, and the last block up gets no skip",
                breaks="kept are: the first convolution, every block, every downsampling; there is a skip for every block up",
                wrong=_widths(
                    first=lambda base, multipliers: [],
                    pop=lambda skips, width: skips.pop() if skips else 0,
                ),
                reread=CHANNELS,
            ),
            Misconception(
                name="the output of the downsamplings is not kept",
                breaks="kept are: the first convolution, every block, every downsampling",
                wrong=_widths(keeps_down=False),
                reread=CHANNELS,
            ),
            Misconception(
                name="the output of the downsamplings is not kept, and the last blocks up get no skip",
                breaks="kept are: the first convolution, every block, every downsampling; there is a skip for every block up",
                wrong=_widths(
                    keeps_down=False,
                    pop=lambda skips, width: skips.pop() if skips else 0,
                ),
                reread=CHANNELS,
            ),
            Misconception(
                name="the skip's channels are not counted",
                breaks="a block on the way up gets both, one behind the other: c_in = channels + skip",
                wrong=_widths(join=lambda channels, skip: channels),
                reread=CHANNELS,
            ),
            Misconception(
                name="twice the channels, whatever the skip has",
                breaks="c_in = channels + skip, and the skip need not be as wide",
                wrong=_widths(join=lambda channels, skip: 2 * channels),
                reread=CHANNELS,
            ),
            Misconception(
                name="the way up goes through the levels in the order of the way down",
                breaks="the way up begins at the lowest level",
                wrong=_widths(climb=iter),
                reread=CHANNELS,
            ),
            Misconception(
                name="every block of a level gets the width of the level above",
                breaks="only the first block of a level changes the width; the next gets base · mᵢ",
                wrong=_widths(advance=False),
                reread=CHANNELS,
            ),
            Misconception(
                name="the first convolution gives base · m₁ channels",
                breaks="the first convolution gives base channels; m₁ comes in with the first block",
                wrong=_widths(
                    first=lambda base, multipliers: [base * multipliers[0]],
                    start=lambda base, multipliers: base * multipliers[0],
                ),
                reread=CHANNELS,
            ),
            Misconception(
                name="on the way up a level has already the width of the next one",
                breaks="level i has base · mᵢ channels, on the way up as on the way down",
                wrong=_widths(up_width=lambda base, m, level: base * m[max(level - 1, 0)]),
                reread=CHANNELS,
            ),
        ),
        hints=(
            "Walk through with a pile `skips = [base]` and one number `channels`, and write down what goes in and out.",
            "Down: after each block skips.append(channels), and once more for the downsampling, except at the last level.",
            "Up: for multiplier in reversed(multipliers), blocks + 1 times: (channels + skips.pop(), base * multiplier).",
        ),
    ),
    Exercise(
        id="07.6",
        title="UNet: down, through the middle, and up again",
        reference=unet.UNet,
        cases=_nets,
        run=_run_net,
        misconceptions=(
            Misconception(
                name="the oldest skip is taken first",
                breaks="the last one put on the pile is the first one taken: skips.pop()",
                wrong=_walk(take=lambda skips: skips.pop(0)),
                reread=WHOLE,
            ),
            Misconception(
                name="the same skip is taken again and again",
                breaks="each skip is used once: skips.pop(), not skips[-1]",
                wrong=_walk(take=lambda skips: skips[-1]),
                reread=WHOLE,
            ),
            Misconception(
                name="the skip stands before h, not behind it",
                breaks="torch.cat([h, skip], dim=1): with trained weights the order of the channels matters",
                wrong=_walk(join=lambda h, skip: torch.cat([skip, h], dim=1)),
                reread=WHOLE,
            ),
            Misconception(
                name="the skip is not put behind h, but added or left out",
                breaks="torch.cat([h, skip], dim=1): C + C_skip channels",
                wrong=_walk(join=lambda h, skip: h + skip),
                reread=WHOLE,
            ),
            Misconception(
                name="put behind along the height, not along the channels",
                breaks="torch.cat([h, skip], dim=1): dim 1 are the channels",
                wrong=_walk(join=lambda h, skip: torch.cat([h, skip], dim=2)),
                reread=WHOLE,
            ),
            Misconception(
                name="the output of the first convolution is not kept",
                breaks="kept are: the first convolution, every block, every downsampling",
                wrong=_walk(first=lambda h: []),
                reread=CHANNELS,
            ),
            Misconception(
                name="the output of the downsamplings is not kept",
                breaks="kept are: the first convolution, every block, every downsampling",
                wrong=_walk(keeps_down=False),
                reread=CHANNELS,
            ),
            Misconception(
                name="what went into a block is kept, not what came out",
                breaks="kept are the outputs: of the first convolution, every block, every downsampling",
                wrong=_walk(kept=lambda before, h: before),
                reread=CHANNELS,
            ),
            Misconception(
                name="a level is upsampled before its own skips were used",
                breaks="a level on the way up first uses its own skips, then doubles the size",
                wrong=_walk(up_first=True),
                reread=WHOLE,
            ),
            Misconception(
                name="the middle is left out",
                breaks="down, mid1, mid2, up",
                wrong=_walk(middle=lambda s, h, emb: h),
                reread=WHOLE,
            ),
            Misconception(
                name="only the first block of the middle is used",
                breaks="down, mid1, mid2, up",
                wrong=_walk(middle=lambda s, h, emb: s.mid1(h, emb)),
                reread=WHOLE,
            ),
            Misconception(
                name="the two blocks of the middle have changed places",
                breaks="down, mid1, mid2, up",
                wrong=_walk(middle=lambda s, h, emb: s.mid1(s.mid2(h, emb), emb)),
                reread=WHOLE,
            ),
            Misconception(
                name="no normalisation at the end",
                breaks="conv_out(SiLU(norm_out(h)))",
                wrong=_walk(end=lambda s, h: s.conv_out(F.silu(h))),
                reread=WHOLE,
            ),
            Misconception(
                name="no SiLU at the end",
                breaks="conv_out(SiLU(norm_out(h)))",
                wrong=_walk(end=lambda s, h: s.conv_out(s.norm_out(h))),
                reread=WHOLE,
            ),
            Misconception(
                name="ReLU in place of SiLU at the end",
                breaks="conv_out(SiLU(norm_out(h)))",
                wrong=_walk(end=lambda s, h: s.conv_out(F.relu(s.norm_out(h)))),
                reread=WHOLE,
            ),
            Misconception(
                name="neither normalisation nor SiLU at the end",
                breaks="conv_out(SiLU(norm_out(h)))",
                wrong=_walk(end=lambda s, h: s.conv_out(h)),
                reread=WHOLE,
            ),
            Misconception(
                name="x_t is added to the output",
                breaks="the network answers ε̂, the noise, not an image: it returns conv_out(…) alone",
                wrong=_walk(finish=lambda xt, h: xt + h),
                reread=WHOLE,
            ),
            Misconception(
                name="the output is taken off x_t",
                breaks="the network answers ε̂, the noise, not an image: it returns conv_out(…) alone",
                wrong=_walk(finish=lambda xt, h: xt - h),
                reread=WHOLE,
            ),
            Misconception(
                name="the output squeezed into [−1, 1]",
                breaks="noise is Gaussian, and one value in three lies beyond 1: conv_out(…) as it is",
                wrong=_walk(finish=lambda xt, h: h.tanh()),
                reread=WHOLE,
            ),
            Misconception(
                name="the blocks are told the bare waves, without the two layers",
                breaks="emb = self.embed(t), 4 · base numbers for each image",
                wrong=_walk(told=lambda s, t: unet.timestep_embedding(t, s.config.base).to(s.conv_in.weight)),
                reread=WHOLE,
            ),
            Misconception(
                name="the t of the first image told to the whole batch",
                breaks="each image of a batch has its own t: emb = self.embed(t)",
                wrong=_walk(told=lambda s, t: _embed(s, t[:1].expand(len(t)))),
                reread=WHOLE,
            ),
            Misconception(
                name="t counted from 0",
                breaks="emb = self.embed(t), and t runs from 1 to T",
                wrong=_walk(told=lambda s, t: _embed(s, t - 1)),
                reread=WHOLE,
            ),
            Misconception(
                name="t divided by 1000",
                breaks="emb = self.embed(t), with t as it comes: 1, 2, …, T",
                wrong=_walk(told=lambda s, t: _embed(s, t / 1000)),
                reread=WHOLE,
            ),
            Misconception(
                name="a SiLU more on the embedding",
                breaks="emb = self.embed(t) has been through its SiLU already",
                wrong=_walk(told=lambda s, t: F.silu(_embed(s, t))),
                reread=WHOLE,
            ),
            Misconception(
                name="t = 1 told to every block, whatever t is",
                breaks="emb = self.embed(t)",
                wrong=_walk(told=lambda s, t: _embed(s, torch.ones_like(t))),
                reread=WHOLE,
            ),
        ),
        hints=(
            "Three loops, or rather two and a line between: down with a pile of skips, mid1 and mid2, up with the same pile.",
            "Down: for each level, for each stage: h = stage(h, emb), and append. Then downsample[level], and append.",
            "Up: h = stage(torch.cat([h, skips.pop()], dim=1), emb). After each level but the last h = self.upsample[level](h).",
        ),
    ),
)
