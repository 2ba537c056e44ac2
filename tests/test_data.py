"""Data sets: what is embedded, and the real loading code on small files in torchvision's own on-disk format."""

import gzip
import struct

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from ddpm_lite import data


def test_digits_are_all_there_and_span_the_bytes():
    digits = data.digits()
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.dtype == torch.uint8
    assert int(digits.images.min()) == 0 and int(digits.images.max()) == 255
    assert digits.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("name", ["flower", "china"])
def test_a_photograph_is_a_square_of_the_size_asked_for(name):
    photo = data.photograph(name, size=48)
    assert photo.shape == (3, 48, 48) and photo.dtype == torch.uint8 and photo.float().std() > 10


def test_every_byte_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    x = data.from_uint8(levels)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(data.to_uint8(x), levels)


@given(st.floats(-50, 50))
def test_to_uint8_clamps(value):
    assert 0 <= int(data.to_uint8(torch.tensor([value]))[0]) <= 255
    if abs(value) >= 1:
        assert int(data.to_uint8(torch.tensor([value]))[0]) == (255 if value > 0 else 0)


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: data.from_uint8(torch.zeros(2)), TypeError, "uint8"),
        (lambda: data.from_uint8(np.zeros(2, np.uint8)), TypeError, "ndarray"),
        (lambda: data.to_uint8(torch.tensor([float("nan")])), ValueError, "NaN"),
        (lambda: data.to_uint8(torch.zeros(2, dtype=torch.uint8)), TypeError, "floating-point"),
        (lambda: data.photograph("cat"), ValueError, "'flower'"),
        (lambda: data.photograph("flower", size=0), ValueError, "1..427"),
        (lambda: data.load("imagenet"), ValueError, "'mnist'"),
        (
            lambda: data.ImageSet(torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), ("a",), "x"),
            TypeError,
            "uint8",
        ),
        (
            lambda: data.ImageSet(torch.zeros(2, 1, 4, 4).byte(), torch.zeros(3).long(), ("a",), "x"),
            ValueError,
            "labels",
        ),
    ],
)
def test_wrong_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def _idx(array: np.ndarray) -> bytes:
    return gzip.compress(
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Six MNIST-like images in MNIST's own file format, and no check that they are the famous 60,000."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)
    for (name, _), array in zip(
        torchvision.datasets.MNIST.resources, [images, np.arange(6, dtype=np.uint8)] * 2, strict=True
    ):
        (raw / name).write_bytes(_idx(array))
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress(_idx(array)))
    return tmp_path, images


def test_mnist_is_read_through_torchvision(small_mnist):
    root, images = small_mnist
    found = data.mnist(root=root)
    assert np.array_equal(found.images.numpy(), images[:, None])
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 5] and found.labels.dtype == torch.int64


def test_the_environment_names_the_folder(small_mnist, monkeypatch):
    monkeypatch.setenv("DDPM_LITE_DATA", str(small_mnist[0]))
    assert len(data.load("mnist")) == 6


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist, data.cifar10])
def test_without_a_network_the_error_says_what_to_do(load, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(data.DataError, match="DDPM_LITE_DATA"):
        load(root=tmp_path)
