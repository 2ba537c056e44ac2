"""Data sets: what is embedded, and the real loading code on small files in torchvision's own on-disk format."""

import gzip
import struct

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

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


def test_shrink_takes_the_mean_of_blocks_and_puts_black_around():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    small = data.shrink(images, 2)
    assert small.shape == (2, 3, 2, 2) and small.dtype == torch.uint8
    assert int(small[0, 0, 0, 0]) == round((0 + 1 + 4 + 5) / 4)
    white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    padded = data.shrink(white, 16)[0, 0]  # 28 -> 32 -> 16: a black frame of one pixel
    assert padded[1:-1, 1:-1].eq(255).all() and padded[0].eq(0).all() and padded[:, -1].eq(0).all()
    assert torch.equal(data.shrink(white, 28), white)
    assert len(data.shrink(white[:0], 16)) == 0


@pytest.mark.parametrize(
    "images, size, error, says",
    [
        (torch.zeros(1, 1, 4, 4), 2, TypeError, "uint8"),
        (torch.zeros(1, 1, 4, 5).byte(), 2, ValueError, "square"),
        (torch.zeros(1, 1, 4, 4).byte(), 8, ValueError, "1..4"),
        (torch.zeros(1, 1, 4, 4).byte(), 0, ValueError, "1..4"),
    ],
)
def test_shrink_names_wrong_input(images, size, error, says):
    with pytest.raises(error, match=says):
        data.shrink(images, size)


@pytest.fixture
def pictures(tmp_path):
    """Four files in two folders: wide red, tall green, a grey one, and one that is half clear; and what is none."""
    for name in ("a", "b", ".hidden"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a" / "1.png")
    Image.new("RGB", (20, 40), "lime").save(tmp_path / "a" / "2.JPG", quality=95)
    Image.new("L", (16, 16), 128).save(tmp_path / "b" / "3.bmp")
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "b" / "4.webp", lossless=True)
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("L", (16, 16)).save(tmp_path / ".hidden" / "5.png")
    return tmp_path


def test_a_folder_of_pictures_becomes_an_image_set(pictures):
    found = data.folder(pictures, size=12, least=4)
    assert found.images.shape == (4, 3, 12, 12) and found.images.dtype == torch.uint8
    assert found.classes == ("a", "b") and found.labels.tolist() == [0, 0, 1, 1]
    red, green, grey, clear = (image.float().mean(dim=(1, 2)) for image in found.images)
    assert red.tolist() == [255, 0, 0] and grey.tolist() == [128] * 3 and clear.tolist() == [255] * 3
    assert green[1] > 240 > 20 > green[0]
    assert data.folder(str(pictures), size=8, grey=True, least=1).images.shape == (4, 1, 8, 8)


def test_a_picture_taken_with_a_turned_camera_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    halves = np.zeros((16, 16), np.uint8)
    halves[:, :8] = 255  # white at the left is white at the top once it is upright
    Image.fromarray(halves).save(tmp_path / "1.png", exif=exif)
    upright = data.folder(tmp_path, size=16, grey=True, least=1).images[0, 0]
    assert upright[:8].eq(255).all() and upright[8:].eq(0).all()


def test_what_is_wrong_with_a_folder_is_said(pictures, tmp_path):
    with pytest.raises(data.DataError, match="there is no folder"):
        data.folder(tmp_path / "nowhere")
    with pytest.raises(data.DataError, match="only 4 pictures"):
        data.folder(pictures)
    (tmp_path / "empty").mkdir()
    with pytest.raises(data.DataError, match="no pictures"):
        data.folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="size"):
        data.folder(pictures, size=0)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_file_that_cannot_be_read_is_named(pictures, content):
    whole = (pictures / "a" / "1.png").read_bytes()
    (pictures / "a" / "0broken.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(data.DataError, match=r"0broken\.png cannot be read"):
        data.folder(pictures, least=1)


def test_shrinking_is_a_mean_of_two_by_two_in_a_black_frame():
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    images[1, 0, :2, :2] = torch.tensor([[0, 40], [80, 200]])  # pixel (2, 2) of the padded image
    small = data.shrink(images, 16)
    assert small.shape == (3, 1, 16, 16)
    assert small[1, 0, 1, 1] == 80
    assert int(small.sum()) == 80
