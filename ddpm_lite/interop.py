"""Weights to and from `diffusers.UNet2DModel`, by renaming alone: the two networks compute the same function.

`diffusers` itself is not imported. With it at hand, its published CIFAR-10 weights become ours like this:

    theirs = diffusers.UNet2DModel.from_pretrained("google/ddpm-cifar10-32")
    model = unet.UNet(interop.config_from_diffusers(theirs.config))
    model.load_state_dict(interop.from_diffusers(theirs.state_dict(), model.config))

Their scheduler counts t from 0, the paper and this course from 1: ours(xt, t) is theirs(xt, t) for the same
number t, so a network trained with their steps 0..T-1 is to be called as `lambda xt, t: model(xt, t - 1)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .unet import UNet, UNetConfig

# Our module -> theirs. The first pattern that matches the beginning of a name replaces it.
_PLACES = (
    (r"time([12])\.", r"time_embedding.linear_\1."),
    (r"label\.", "class_embedding."),
    (r"conv_in\.", "conv_in."),
    (r"conv_out\.", "conv_out."),
    (r"norm_out\.", "conv_norm_out."),
    (r"mid1\.block\.", "mid_block.resnets.0."),
    (r"mid1\.attention\.", "mid_block.attentions.0."),
    (r"mid2\.block\.", "mid_block.resnets.1."),
    (r"(down|up)\.(\d+)\.(\d+)\.block\.", r"\1_blocks.\2.resnets.\3."),
    (r"(down|up)\.(\d+)\.(\d+)\.attention\.", r"\1_blocks.\2.attentions.\3."),
    (r"(down|up)sample\.(\d+)\.", r"\1_blocks.\2.\1samplers.0."),
)
_IN_BLOCK = {"time": "time_emb_proj", "shortcut": "conv_shortcut"}
_IN_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
# Files saved by early versions of diffusers, google/ddpm-cifar10-32 among them, hold these names.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
# What our network has built in, so that a diffusers network that differs here cannot become ours.
_FIXED = {
    "act_fn": "silu",
    "add_attention": True,
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}


def _rename(ours: str) -> str:
    for pattern, place in _PLACES:
        if match := re.match(pattern, ours):
            module, _, kind = ours[match.end() :].rpartition(".")
            inner = _IN_ATTENTION if ".attentions." in place else _IN_BLOCK
            module = inner.get(module, module)
            return match.expand(place) + (f"{module}.{kind}" if module else kind)
    raise ValueError(f"no diffusers name is known for {ours!r}: give the new layer a line in interop.py.")


def names(config: UNetConfig) -> dict[str, str]:
    """Every parameter's name in `UNet(config)` -> its name in `UNet2DModel(**diffusers_config(config))`."""
    with torch.device("meta"):  # the names alone: no memory, no random numbers
        model = UNet(config)
    return {ours: _rename(ours) for ours in model.state_dict()}


def _translate(state: Mapping[str, Tensor], table: Mapping[str, str], source: str) -> dict[str, Tensor]:
    missing, unknown = table.keys() - state.keys(), state.keys() - table.keys()
    if missing or unknown:
        raise KeyError(
            f"these weights are not those of a {source} with this config: missing {_few(missing)}; "
            f"unknown {_few(unknown)}. Is the config the one that the weights were trained with?"
        )
    return {table[name]: tensor for name, tensor in state.items()}


def _few(keys: Iterable[str], limit: int = 4) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return (", ".join(keys[:limit]) or "none") + more


def from_diffusers(state: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """A `UNet2DModel` state dict under our names, for `UNet(config).load_state_dict`. No tensor is copied.

    The attention names of early diffusers versions (query, key, value, proj_attn) are understood too.
    Raises KeyError naming what is missing or unknown.
    """
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(_OLD_ATTENTION)})\.")
    state = {old.sub(lambda m: f"{m[1]}.{_OLD_ATTENTION[m[2]]}.", name): x for name, x in state.items()}
    return _translate(state, {theirs: ours for ours, theirs in names(config).items()}, "UNet2DModel")


def to_diffusers(state: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """The state dict of a `UNet(config)` under the names of `UNet2DModel`. No tensor is copied.

    Raises KeyError naming what is missing or unknown.
    """
    return _translate(state, names(config), "UNet")


def diffusers_config(config: UNetConfig, sample_size: int = 32) -> dict[str, Any]:
    """The arguments that make `diffusers.UNet2DModel(**arguments)` the same network as `UNet(config)`."""
    levels = range(len(config.multipliers))
    kinds = ["Attn" if level in config.attention else "" for level in levels]
    return _FIXED | {
        "sample_size": sample_size,
        "in_channels": config.channels,
        "out_channels": config.channels,
        "block_out_channels": tuple(config.base * m for m in config.multipliers),
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        "layers_per_block": config.blocks,
        "attention_head_dim": None,  # one head, as wide as the level
        "norm_num_groups": config.groups,
        "norm_eps": config.eps,
        "dropout": config.dropout,
        "num_class_embeds": config.classes + 1 if config.classes else None,  # the last one is "no label"
    }


def config_from_diffusers(theirs: Mapping[str, Any]) -> UNetConfig:
    """The `UNetConfig` of a `UNet2DModel`'s config (a mapping, such as `model.config` or a config.json).

    Raises ValueError naming each setting that our network has no counterpart for.
    """
    widths = theirs["block_out_channels"]
    config = UNetConfig(
        channels=theirs["in_channels"],
        base=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        blocks=theirs["layers_per_block"],
        attention=tuple(i for i, kind in enumerate(theirs["down_block_types"]) if kind.startswith("Attn")),
        groups=theirs.get("norm_num_groups", 32),
        dropout=theirs.get("dropout") or 0.0,
        classes=max((theirs.get("num_class_embeds") or 0) - 1, 0),
        eps=theirs.get("norm_eps", 1e-5),
    )
    expected = diffusers_config(config)
    compared = (expected.keys() & theirs.keys()) - {"sample_size", "dropout"}
    wrong = [key for key in sorted(compared) if not _same(theirs[key], expected[key])]
    if wrong:
        listed = ", ".join(f"{key}={theirs[key]!r} (ours is {expected[key]!r})" for key in wrong)
        raise ValueError(f"this UNet2DModel cannot become a ddpm_lite UNet: {listed}.")
    return config


def _same(a: Any, b: Any) -> bool:
    return tuple(a) == tuple(b) if isinstance(a, list | tuple) and isinstance(b, list | tuple) else a == b
