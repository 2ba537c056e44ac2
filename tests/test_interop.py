"""Our U-Net and diffusers' UNet2DModel are one function under two sets of names."""

import pytest
import torch

from ddpm_lite import interop
from ddpm_lite.unet import UNet, UNetConfig

CIFAR10 = UNetConfig()
LSUN = UNetConfig(multipliers=(1, 1, 2, 2, 4, 4), attention=(4,))  # 256 / 2^4 = 16 pixels
SMALL = UNetConfig(base=16, multipliers=(1, 2, 1), attention=(0, 2), groups=4, blocks=1)
LABELLED = UNetConfig(channels=1, base=8, multipliers=(1, 2), attention=(1,), groups=2, classes=10)
# The config.json published with google/ddpm-cifar10-32.
GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
UNLIKE_OURS = [
    {"flip_sin_to_cos": True},
    {"attention_head_dim": 8},
    {"downsample_padding": 1},
    {"out_channels": 6},
    {"block_out_channels": [128, 256, 256, 320]},
]


def random_weights(model, generator):
    """No weight may be zero, or a swapped layer would go unseen: those that start at zero get values too."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.1
            p.copy_(scale * torch.randn(p.shape, generator=generator) + ("norm" in name and "weight" in name))
    return model.eval()


def pair(config, generator, dtype=torch.float32):
    """Our network and theirs, with the same random weights, sent from theirs to ours."""
    diffusers = pytest.importorskip("diffusers")
    theirs = random_weights(diffusers.UNet2DModel(**interop.diffusers_config(config)), generator).to(dtype)
    ours = UNet(config).to(dtype).eval()
    ours.load_state_dict(interop.from_diffusers(theirs.state_dict(), config))
    return ours, theirs


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_paper_network_equals_diffusers(gen, dtype, tolerance):
    ours, theirs = pair(CIFAR10, gen(), dtype)
    xt, t = torch.randn(2, 3, 32, 32, generator=gen(1), dtype=dtype), torch.tensor([1, 777])
    with torch.no_grad():
        a, b = ours(xt, t), theirs(xt, t).sample
    assert b.std() > 0.1  # the comparison is of something
    assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("config", [SMALL, LABELLED], ids=["attention at both ends", "labels"])
def test_other_networks_equal_diffusers(gen, config):
    ours, theirs = pair(config, gen(), torch.float64)
    xt = torch.randn(3, config.channels, 16, 16, generator=gen(1), dtype=torch.float64)
    t, y = torch.tensor([1, 500, 1000]), torch.tensor([0, 9, 10]) if config.classes else None
    with torch.no_grad():
        assert (ours(xt, t, y) - theirs(xt, t, class_labels=y).sample).abs().max() < 1e-10


def test_there_and_back_is_the_identity(gen):
    ours = random_weights(UNet(SMALL), gen()).state_dict()
    back = interop.from_diffusers(interop.to_diffusers(ours, SMALL), SMALL)
    assert back.keys() == ours.keys()
    assert all(back[name] is ours[name] for name in ours)


def test_their_network_loads_ours(gen):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel(**interop.diffusers_config(SMALL))
    theirs.load_state_dict(interop.to_diffusers(random_weights(UNet(SMALL), gen()).state_dict(), SMALL))


@pytest.mark.parametrize(("config", "count"), [(CIFAR10, 35_746_307), (LSUN, 113_673_219)])
def test_parameter_counts(config, count):
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(**interop.diffusers_config(config))
        assert UNet(config).parameter_count() == count
    assert sum(p.numel() for p in theirs.parameters()) == count
    assert set(interop.names(config).values()) == theirs.state_dict().keys()


def test_early_attention_names_are_understood(gen):
    state = interop.to_diffusers(random_weights(UNet(SMALL), gen()).state_dict(), SMALL)
    early = {}
    for name, tensor in state.items():
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            name = name.replace(new, old)
        early[name] = tensor
    assert early.keys() != state.keys()
    assert interop.from_diffusers(early, SMALL).keys() == interop.from_diffusers(state, SMALL).keys()


def test_config_of_the_published_weights():
    assert interop.config_from_diffusers(GOOGLE) == UNetConfig(
        dropout=0.0
    )  # that file says nothing of dropout


@pytest.mark.parametrize("config", [CIFAR10, LSUN, SMALL, LABELLED])
def test_configs_there_and_back(config):
    assert interop.config_from_diffusers(interop.diffusers_config(config)) == config


@pytest.mark.parametrize("change", UNLIKE_OURS, ids=lambda change: next(iter(change)))
def test_a_network_unlike_ours_is_refused_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        interop.config_from_diffusers(GOOGLE | change)


def test_wrong_weights_are_refused_by_name(gen):
    state = interop.to_diffusers(UNet(SMALL).state_dict(), SMALL)
    del state["conv_in.bias"]
    with pytest.raises(KeyError, match=r"missing conv_in\.bias; unknown none"):
        interop.from_diffusers(state, SMALL)
    with pytest.raises(KeyError, match=r"missing none; unknown extra\.weight"):
        interop.to_diffusers(UNet(SMALL).state_dict() | {"extra.weight": torch.zeros(1)}, SMALL)
