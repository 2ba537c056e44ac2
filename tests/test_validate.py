"""Argument checks: each accepts what it should, and names the mistake and the remedy otherwise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_lite import validate

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 4, 4)])
def test_every_finite_float_tensor_is_floating(dtype, shape):
    validate.floating(torch.zeros(shape, dtype=dtype), "x")


def test_names_may_differ_where_shapes_agree():
    validate.same_shape(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.int64), "a", "b")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_every_integer_dtype_will_do_for_t(dtype):
    validate.timesteps(torch.tensor([1, 5, 10], dtype=dtype), 3, 10)


def test_an_empty_batch_is_a_batch():
    validate.timesteps(torch.zeros(0, dtype=torch.int64), 0, 10)
    validate.images(torch.zeros(0, 1, 8, 8))


def test_images_may_touch_the_ends_of_their_range():
    validate.images(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1))
    validate.one_of("b", ("a", "b"), "x")


ZEROS, T3 = torch.zeros(2, 1, 4, 4), torch.ones(3, dtype=torch.int64)
MISTAKES = [
    (TypeError, "x must be a torch.Tensor, got list; torch.as_tensor", validate.floating, ([1.0], "x")),
    (TypeError, "got torch.int64.$", validate.floating, (T3, "x")),
    (TypeError, r"got torch.uint8\. .*data\.from_uint8", validate.floating, (ZEROS.byte(), "x")),
    (TypeError, "got torch.complex64", validate.floating, (torch.zeros(1, dtype=torch.complex64), "x")),
    (ValueError, "x holds NaN or infinity", validate.floating, (torch.tensor([0, NAN]), "x")),
    (ValueError, "x holds NaN or infinity", validate.floating, (torch.tensor([-INF]), "x")),
    (ValueError, r"a and b .*got \(2, 1, 4, 4\) and \(3,\)", validate.same_shape, (ZEROS, T3, "a", "b")),
    (TypeError, r"shape \(3,\), got torch.float32; try", validate.timesteps, (T3.float(), 3, 10)),
    (TypeError, "got torch.bool", validate.timesteps, (T3.bool(), 3, 10)),
    (TypeError, "got int; try torch.full", validate.timesteps, (5, 3, 10)),
    (ValueError, r"shape \(2,\).*got \(3,\)", validate.timesteps, (T3, 2, 10)),
    (ValueError, r"got \(3, 1\)", validate.timesteps, (T3[:, None], 3, 10)),
    (ValueError, r"in 1\.\.10 .*got t = 11", validate.timesteps, (T3 * 11, 3, 10)),
    (ValueError, r"t = 0 is the clean image\), got t = 0", validate.timesteps, (T3 * 0, 3, 10)),
    (ValueError, r"\(B, C, H, W\), got shape \(1, 4, 4\)", validate.images, (ZEROS[0],)),
    (
        ValueError,
        r"\[-1, 1\], got \[0, 255\].*from_uint8",
        validate.images,
        (ZEROS.index_fill(0, T3[:1], 255.0),),
    ),
    (TypeError, "real must be a floating-point", validate.images, (ZEROS.byte(), "real")),
    (ValueError, "v must be one of 'a', 'b', got 'c'", validate.one_of, ("c", ("a", "b"), "v")),
]


@pytest.mark.parametrize(("error", "message", "check", "arguments"), MISTAKES)
def test_mistakes_are_told(error, message, check, arguments):
    with pytest.raises(error, match=message):
        check(*arguments)


@given(st.lists(st.integers(-5, 15), min_size=1, max_size=8))
def test_t_is_accepted_exactly_when_all_of_it_lies_in_1_to_T(values):
    t = torch.tensor(values)
    if all(1 <= v <= 10 for v in values):
        validate.timesteps(t, len(values), 10)
    else:
        first = next(v for v in values if not 1 <= v <= 10)
        with pytest.raises(ValueError, match=rf"got t = {first}\."):
            validate.timesteps(t, len(values), 10)
