"""The U-Net: the paper's size to the parameter, its start, what it depends on, and what it refuses."""

import json
import math

import pytest
import torch

from ddpm_lite import unet
from ddpm_lite.exercises import ch07
from ddpm_lite.unet import UNet, UNetConfig

SMALL = {"channels": 1, "base": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "groups": 4}


def small(seed: int = 0, trained: bool = True, **changes) -> UNet:
    """A little network in eval() mode; `trained`: with random numbers where an untrained one has zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNet(UNetConfig(**(SMALL | changes)))
        if trained:
            for p in model.parameters():
                torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def inputs(gen, batch=3, channels=1, size=8):
    xt = torch.randn(batch, channels, size, size, generator=gen)
    return xt, torch.randint(1, 1001, (batch,), generator=gen)


# --- size and start ---


def on_meta(config: UNetConfig) -> UNet:
    with torch.device("meta"):  # shapes only: no memory, no time
        return UNet(config)


def test_the_papers_networks_have_the_papers_size():
    assert on_meta(UNetConfig()).parameter_count() == 35_746_307
    large = UNetConfig(multipliers=(1, 1, 2, 2, 4, 4), attention=(4,))
    assert on_meta(large).parameter_count() == 113_673_219
    with torch.device("meta"):
        assert UNet.cifar10().config == UNetConfig()


@pytest.mark.parametrize("config", [{}, {"classes": 10}, {"channels": 3}, {"attention": (0, 1)}])
def test_a_new_network_answers_exactly_zero(config, gen):
    model = small(trained=False, **config)
    xt, t = inputs(gen(), channels=config.get("channels", 1))
    assert torch.equal(model(xt, t), torch.zeros_like(xt))


def test_a_new_residual_block_and_attention_are_the_identity(gen):
    model = small(trained=False)
    x, emb = torch.randn(2, 16, 4, 4, generator=gen()), torch.randn(2, 32, generator=gen(1))
    assert torch.equal(model.mid1(x, emb), x)


def test_training_wakes_a_new_network_from_its_end(gen):
    """Step by step the gradient gets past the layers that start at zero: conv_out, then the blocks' last, then all."""
    model, (xt, t) = small(trained=False, dropout=0.0), inputs(gen(), batch=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    reached = []
    for _ in range(3):
        optimiser.zero_grad()
        (model(xt, t) - xt).square().mean().backward()
        reached.append({name for name, p in model.named_parameters() if p.grad.any()})
        optimiser.step()
    assert reached[0] == {"conv_out.weight", "conv_out.bias"}
    assert {"conv_in.weight", "up.0.0.block.conv2.weight", "mid1.attention.out.weight"} < reached[1]
    assert not any(".conv1." in name or ".attention.q." in name for name in reached[1])
    everything = {name for name, _ in model.named_parameters()}
    assert all(name.endswith("attention.k.bias") for name in everything - reached[2])


def test_attention_of_the_papers_network_stands_at_16_pixels_and_in_the_middle():
    model = on_meta(UNetConfig())
    layers = [name for name, layer in model.named_modules() if isinstance(layer, unet.SelfAttention)]
    stages = ["down.1.0", "down.1.1", "mid1", "up.2.0", "up.2.1", "up.2.2"]
    assert sorted(layers) == sorted(f"{stage}.attention" for stage in stages)


# --- shapes ---


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        ({}, 8, 8),
        ({}, 2, 6),
        ({"channels": 3}, 8, 8),
        ({"multipliers": (1,), "attention": ()}, 5, 7),
        ({"multipliers": (1, 2, 2, 4), "attention": (2, 3), "blocks": 3}, 8, 24),
        ({"multipliers": (2, 1), "attention": (0,)}, 4, 4),
        ({"classes": 4}, 8, 8),
    ],
)
def test_out_comes_the_shape_that_went_in(config, height, width, gen):
    model, channels = small(**config), config.get("channels", 1)
    xt = torch.randn(2, channels, height, width, generator=gen())
    eps_hat = model(xt, torch.tensor([1, 1000]))
    assert eps_hat.shape == xt.shape
    assert torch.isfinite(eps_hat).all()
    assert eps_hat.std() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_computes_in_the_dtype_of_its_weights(dtype, gen):
    xt, t = inputs(gen())
    assert small().to(dtype)(xt.to(dtype), t).dtype == dtype


# --- what the answer depends on ---


def test_examples_of_a_batch_do_not_see_each_other(gen):
    model, (xt, t) = small(), inputs(gen())
    together = model(xt, t)
    alone = torch.cat([model(xt[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_every_pixel_reaches_every_pixel(gen):
    """The whole image matters to each pixel, through attention at the lower level."""
    model, (xt, t) = small(), inputs(gen(), batch=1)
    xt.requires_grad_()
    (gradient,) = torch.autograd.grad(model(xt, t)[0, 0, 0, 0], xt)
    assert (gradient != 0).all()


def test_the_answer_depends_on_t(gen):
    model, (xt, _) = small(), inputs(gen(), batch=1)
    answers = [model(xt, torch.tensor([t])) for t in (1, 2, 999, 1000)]
    assert all(not torch.allclose(a, b) for i, a in enumerate(answers) for b in answers[:i])


def test_the_answer_depends_on_the_label_and_none_is_the_null_label(gen):
    model, (xt, t) = small(classes=3), inputs(gen())
    answers = [model(xt, t, torch.full((3,), y)) for y in range(4)]
    assert all(not torch.allclose(a, b) for i, a in enumerate(answers) for b in answers[:i])
    assert model.null_label == 3
    assert torch.equal(model(xt, t), answers[3])


def test_every_parameter_takes_part(gen):
    model, (xt, t) = small(classes=3, dropout=0.0), inputs(gen(), batch=4)
    model(xt, t, torch.tensor([0, 1, 2, 3])).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A constant added to all keys changes no attention weight: softmax is blind to it. By mathematics, not by mistake.
    assert all(name.endswith("attention.k.bias") for name in idle), idle


def test_dropout_is_on_in_training_only(gen):
    model, (xt, t) = small(dropout=0.5), inputs(gen())
    assert torch.equal(model(xt, t), model(xt, t))
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.allclose(model(xt, t), model(xt, t))


@pytest.mark.parametrize(("groups", "hears"), [(4, True), (16, False)])
def test_a_block_with_one_channel_a_group_is_deaf_to_the_time(groups, hears, gen):
    """The time adds a constant to each channel, which a normalisation of that channel alone takes off again."""
    config = UNetConfig(**SMALL | {"base": 16, "groups": groups})
    block = unet.ResidualBlock(16, 16, 8, config).double().eval()
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=gen(2))
    x, embs = torch.randn(1, 16, 4, 4, generator=gen(), dtype=torch.float64), torch.eye(8)[:2].double()
    one, other = (block(x, emb[None]) for emb in embs)
    assert torch.allclose(one, other, atol=1e-4) is not hears


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_convolutions_alone_see_what_their_sizes_say(levels, gen):
    """Measured by gradient in the lowest middle block, without normalisation and attention, which see everything."""
    model = small(base=4, groups=2, multipliers=(1,) * levels, attention=()).double()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm | unet.SelfAttention):
                setattr(module, name, torch.nn.Identity())
    found = []
    model.mid2.register_forward_hook(lambda module, inputs, out: found.append(out))
    xt = torch.randn(1, 1, 192, 192, generator=gen(), dtype=torch.float64, requires_grad=True)
    model(xt, torch.tensor([1]))
    half = found[0].shape[2] // 2
    (gradient,) = torch.autograd.grad(found[0][0, :, half, half].sum(), xt)
    field = 1 + 2 + sum(4 * 2**level for level in range(levels)) + 8 * 2 ** (levels - 1)
    field += sum(2 * 2**level for level in range(levels - 1))
    reached = gradient[0, 0] != 0
    assert (int(reached.any(0).sum()), int(reached.any(1).sum())) == (field, field)


# --- the timestep embedding ---


@pytest.mark.parametrize("dim", [2, 8, 128])
def test_the_embedding_is_sines_then_cosines_of_geometric_frequencies(dim):
    t = torch.tensor([1, 7, 1000])
    emb = unet.timestep_embedding(t, dim)
    half = dim // 2
    assert emb.shape == (3, dim)
    for i, step in enumerate(t.tolist()):
        for k in range(half):
            angle = step * 10000 ** (-k / max(half - 1, 1))
            assert float(emb[i, k]) == pytest.approx(math.sin(angle), abs=2e-4)  # float32 angles up to 1000
            assert float(emb[i, half + k]) == pytest.approx(math.cos(angle), abs=2e-4)


def test_no_two_timesteps_have_the_same_embedding():
    emb = unet.timestep_embedding(torch.arange(1, 1001), 128)
    distance = torch.cdist(emb.double(), emb.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert (distance + torch.eye(1000)).min() > 0.1


# --- the configuration ---


@pytest.mark.parametrize("changes", [{}, SMALL, {"classes": 10, "dropout": 0.0, "attention": ()}])
def test_a_config_survives_json(changes):
    config = UNetConfig(**changes)
    assert UNetConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("1 or more", {"channels": 0}),
        ("base even", {"base": 7}),
        ("1 or more", {"blocks": 0}),
        ("not empty", {"multipliers": ()}),
        (r"groups=3 must divide every channel count, got \[8, 16\]; choose fewer", {"groups": 3}),
        (r"levels 0\.\.1, got \(2,\)", {"attention": (2,)}),
        (r"levels 0\.\.1, got \(-1,\)", {"attention": (-1,)}),
        ("dropout must lie", {"dropout": 1.0}),
        ("classes be 0 or more", {"classes": -1}),
    ],
)
def test_a_config_that_makes_no_network_is_told(message, changes):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**(SMALL | changes))


# --- mistakes in the call ---

X, TT, Y = torch.zeros(3, 1, 8, 8), torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("error", "message", "classes", "arguments"),
    [
        (TypeError, r"got torch.uint8; data\.from_uint8", 0, (X.byte(), TT)),
        (ValueError, r"\(B, 1, H, W\), got \(3, 3, 8, 8\)", 0, (X.expand(3, 3, 8, 8), TT)),
        (ValueError, r"\(B, 1, H, W\), got \(1, 8, 8\)", 0, (X[0], TT)),
        (ValueError, r"divisible by 2 .* 1 times\), got 7 x 8", 0, (X[:, :, :7], TT)),
        (ValueError, r"t must have shape \(3,\).*got \(2,\)", 0, (X, TT[:2])),
        (ValueError, "built without labels", 0, (X, TT, Y)),
        (ValueError, r"integer labels of shape \(3,\), got torch.float32", 2, (X, TT, Y.float())),
        (ValueError, r"integer labels of shape \(3,\), got torch.int64 \(2,\)", 2, (X, TT, Y[:2])),
        (ValueError, r"0\.\.1 \(or 2 for none\), got 3\.\.3", 2, (X, TT, Y + 3)),
        (ValueError, r"0\.\.1 \(or 2 for none\), got -1\.\.-1", 2, (X, TT, Y - 1)),
    ],
)
def test_mistakes_in_the_call_are_told(error, message, classes, arguments):
    with pytest.raises(error, match=message):
        small(classes=classes)(*arguments)


# --- the classes of chapter 07, which are judged with the package's layers ---


def test_a_class_is_tried_with_the_layers_of_another_module():
    model = small()

    class Answer(torch.nn.Module):
        def forward(self, x):
            self.conv_in = torch.nn.Identity()
            return x + self.norm_out.bias[:, None, None]

    answer = ch07.with_layers_of(model, Answer)
    assert answer.norm_out is model.norm_out
    answer(torch.zeros(1, 8, 2, 2))
    assert isinstance(model.conv_in, torch.nn.Conv2d)
    with pytest.raises(TypeError, match="without parentheses, not Answer"):
        ch07.with_layers_of(model, Answer())
