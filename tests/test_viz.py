"""Pictures: pixels arrive where and as they should, wrong input is named, and everything has alt text."""

import base64
import io
import re
import threading

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ddpm_lite import viz

RAMP = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def decode(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# pixels -------------------------------------------------------------------------------------------


def test_every_byte_survives_the_way_to_float_and_back():
    assert (viz.pixels(RAMP.float() / 127.5 - 1) == RAMP.numpy()).all()
    assert (viz.pixels(RAMP) == RAMP.numpy()).all()


def test_floats_beyond_the_range_are_clipped_and_zero_is_mid_grey():
    assert viz.pixels(torch.tensor([[-5.0, -1.0, 0.0, 1.0, 7.0]])).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_all_float_types_and_tensors_with_gradients(dtype):
    x = torch.ones(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    assert (viz.pixels(x) == 255).all()


@pytest.mark.parametrize(
    ("shape", "want"), [((5, 7), (1, 1, 5, 7)), ((3, 5, 7), (1, 3, 5, 7)), ((2, 1, 5, 7), (2, 1, 5, 7))]
)
def test_missing_axes_are_added_in_front(shape, want):
    assert viz.pixels(np.zeros(shape, np.float32)).shape == want


NAN = torch.zeros(2, 1, 4, 4)
NAN[1, 0, 2, 3] = float("nan")
BAD_IMAGES = [
    (NAN, ValueError, r"NaN or infinity, first in image 1, pixel \(2, 3\)"),
    (torch.full((1, 1, 2, 2), float("inf")), ValueError, "NaN or infinity"),
    (torch.zeros(1, 1, 4, 4, dtype=torch.int64), TypeError, "got int64.*uint8"),
    (torch.zeros(1, 1, 4, 4, dtype=torch.bool), TypeError, "got bool"),
    (torch.zeros(1, 1, 4, 4, dtype=torch.complex64), TypeError, "got complex64"),
    (torch.zeros(4), ValueError, r"got \(4,\)"),
    (torch.zeros(1, 1, 1, 4, 4), ValueError, r"\(N, C, H, W\)"),
    (torch.zeros(2, 28, 28, 3), ValueError, "Channels come first"),
    (torch.zeros(2, 4, 8, 8), ValueError, "1 or 3 channels, got 4"),
    (torch.zeros(0, 1, 8, 8), ValueError, "empty"),
    ([torch.zeros(1, 8, 8)], TypeError, "got list; torch.stack"),
    (None, TypeError, "got NoneType"),
]


@pytest.mark.parametrize("function", [viz.pixels, viz.tile, viz.grid, viz.png], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("images", "error", "message"), BAD_IMAGES)
def test_what_is_no_image_is_named(function, images, error, message):
    with pytest.raises(error, match=message):
        function(images)


# tile ---------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 9),
    c=st.sampled_from([1, 3]),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    ncol=st.one_of(st.none(), st.integers(1, 12)),
    gap=st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_tiles_are_the_images_and_the_rest_is_gap(n, c, h, w, ncol, gap):
    x = np.random.default_rng(0).integers(0, 200, (n, c, h, w), np.uint8)  # never the gap's grey
    sheet = viz.tile(x, ncol, gap)
    columns = min(ncol or int(np.ceil(np.sqrt(n))), n)
    rows = -(-n // columns)
    assert sheet.shape[:2] == (rows * (h + gap) - gap, columns * (w + gap) - gap)
    sheet = sheet.reshape(*sheet.shape[:2], -1)
    seen = np.zeros(sheet.shape[:2], bool)
    for i in range(n):
        where = (
            slice(i // columns * (h + gap), i // columns * (h + gap) + h),
            slice(i % columns * (w + gap), i % columns * (w + gap) + w),
        )
        assert (sheet[where] == x[i].transpose(1, 2, 0)).all()
        seen[where] = True
    assert (sheet[~seen] == viz.GAP_GREY).all()


@pytest.mark.parametrize("ncol", [0, -1, 2.0, True, "3"])
def test_ncol_is_a_positive_whole_number(ncol):
    with pytest.raises(ValueError, match="ncol must be a whole number"):
        viz.tile(RAMP, ncol)


def test_gap_is_not_negative():
    with pytest.raises(ValueError, match="gap must be 0 or more"):
        viz.tile(RAMP, gap=-1)


@pytest.mark.parametrize("scale", [0, -2, 1.5, True])
def test_scale_is_a_positive_whole_number(scale):
    with pytest.raises(ValueError, match="scale must be a whole number"):
        viz.enlarge(np.zeros((2, 2)), scale)


# figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [{}, {"titles": list("abcdef")}, {"row_labels": ["r", r"$\hat{x}_0$"]}])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_pixel_as_one_exact_square(labels, channels):
    x = torch.randint(0, 256, (6, channels, 5, 7), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    page = viz.render(viz.grid(x, 3, scale=4, **labels), viz.DPI * viz.SHARP)
    assert _count(page, x[4], 4 * viz.SHARP) == 1
    assert _count(page, 255 - x[4], 4 * viz.SHARP) == 0


def _count(page: np.ndarray, image: torch.Tensor, scale: int) -> int:
    """How often `image`, enlarged, is found in `page`, exactly."""
    wanted = viz.enlarge(np.broadcast_to(image.permute(1, 2, 0).numpy(), (*image.shape[1:], 3)), scale)
    h, w = wanted.shape[:2]
    rows, cols = page.shape[0] - h + 1, page.shape[1] - w + 1
    corners = np.argwhere((page[:rows, :cols] == wanted[0, 0]).all(-1))
    return sum(bool((page[y : y + h, x : x + w] == wanted).all()) for y, x in corners)


def test_a_png_of_a_grid_is_lossless_where_it_is_grey():
    fig = viz.grid(RAMP, scale=3)
    assert (decode(viz.png(fig)) == viz.render(fig, viz.DPI * viz.SHARP)).mean() > 0.99
    assert _count(decode(viz.png(fig)), RAMP[0], 6) == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"titles": ["a"]}, "titles must hold 6 strings, one for each image, got 1"),
        ({"row_labels": ["a", "b", "c"]}, "row_labels must hold 2 strings, one for each row, got 3"),
        ({"col_labels": []}, "col_labels must hold 3 strings, one for each column, got 0"),
    ],
)
def test_labels_of_another_length_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        viz.grid(torch.zeros(6, 1, 4, 4), 3, **labels)


def test_grid_labels_do_not_touch_the_images_or_leave_the_page():
    x = torch.zeros(4, 1, 8, 8)
    fig = viz.grid(
        x, 2, scale=10, row_labels=["a rather long label", "b"], col_labels=["c", "d"], titles=list("wxyz")
    )
    renderer = fig.canvas.get_renderer()
    page = fig.bbox
    for text in fig.texts:
        box = text.get_window_extent(renderer)
        assert 0 <= box.x0 <= box.x1 <= page.x1
        assert 0 <= box.y0 <= box.y1 <= page.y1
        under = viz.render(fig, viz.DPI)[
            int(page.y1 - box.y1) : int(page.y1 - box.y0), int(box.x0) : int(box.x1)
        ]
        assert (under.mean(axis=(0, 1)) > 100).all(), f"{text.get_text()!r} lies on a black image"


def test_a_strip_has_one_row_a_process():
    frames = noise(5, 1, 8, 8)
    fig = viz.strip({"$x_t$": frames, r"$\hat{x}_0$": -frames}, [f"t = {t}" for t in range(5)], scale=2)
    assert [t.get_text() for t in fig.texts] == [*(f"t = {t}" for t in range(5)), "$x_t$", r"$\hat{x}_0$"]
    page = viz.render(fig, viz.DPI)
    for image in (frames[3], -frames[3]):
        assert _count(page, torch.from_numpy(viz.pixels(image)[0]), 2) == 1


@pytest.mark.parametrize(
    ("rows", "captions", "message"),
    [
        ({}, None, "at least one row"),
        ({"a": torch.zeros(2, 1, 4, 4), "b": torch.zeros(3, 1, 4, 4)}, None, "same shape"),
        ({"a": torch.zeros(2, 1, 4, 4)}, ["t = 0"], "col_labels must hold 2"),
        ({"bad": NAN}, None, "row 'bad' holds NaN"),
    ],
)
def test_a_strip_names_what_does_not_fit(rows, captions, message):
    with pytest.raises(ValueError, match=message):
        viz.strip(rows, captions)


def test_histogram_is_a_density_and_the_curve_is_the_gaussian():
    ax = viz.histogram(3 + 0.5 * noise(10_000), 3.0, 0.5, limits=(0.0, 6.0), bins=60).axes[0]
    heights, edges, _ = ax.patches[0].get_data()
    assert (heights * np.diff(edges)).sum() == pytest.approx(1)
    x, y = ax.lines[0].get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-4)
    assert x[y.argmax()] == pytest.approx(3, abs=0.01)
    assert y.max() == pytest.approx(1 / (0.5 * np.sqrt(2 * np.pi)), rel=1e-3)


def test_histogram_counts_outliers_in_its_outermost_bins():
    ax = viz.histogram(torch.tensor([-100.0, 0.0, 100.0, 101.0]), bins=3, limits=(-3, 3)).axes[0]
    assert ax.patches[0].get_data().values * 2 * 4 == pytest.approx([1, 1, 2])


def test_drawn_again_into_the_same_axes_the_new_replaces_the_old():
    fig, (left, right) = viz.figure(5, 2, 1, 2)
    for seed, std in ((0, 1.0), (1, 0.5)):
        x = std * noise(1, 20, 30, seed=seed)
        viz.image(left, x[:, : 20 - 5 * seed], f"seed {seed}")
        viz.histogram(x, 0, std, ax=right)
    fresh, (a, b) = viz.figure(5, 2, 1, 2)
    viz.image(a, x[:, :15], "seed 1")
    viz.histogram(x, 0, std, ax=b)
    assert (viz.render(fig, 96) == viz.render(fresh, 96)).all()
    assert [len(artists) for artists in (left.images, right.patches, right.lines)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("values", "kwargs", "message"),
    [
        (torch.tensor([]), {}, "at least one"),
        (torch.tensor([1.0, float("nan")]), {}, "NaN"),
        (torch.zeros(3), {"std": 0.0}, "std > 0"),
        (torch.zeros(3), {"mean": float("inf")}, "finite mean"),
        (torch.zeros(3), {"limits": (1, 1)}, "low < high"),
    ],
)
def test_histogram_names_what_it_cannot_draw(values, kwargs, message):
    with pytest.raises(ValueError, match=message):
        viz.histogram(values, **kwargs)


def test_image_draws_one_image_crisply_and_can_be_changed():
    _, ax = viz.figure(2, 2)
    artist = viz.image(ax, torch.zeros(3, 8, 8), "$x_0$")
    artist.set_data(viz.tile(torch.ones(3, 8, 8)))
    assert (np.asarray(artist.get_array()) == 255).all()
    assert artist.get_interpolation() == "nearest"
    with pytest.raises(ValueError, match=r"one image, got 2; viz\.grid"):
        viz.image(ax, torch.zeros(2, 1, 4, 4))


def test_figures_leave_no_trace_in_matplotlib():
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    fig, axes = viz.figure(nrows=2, ncols=3)
    assert axes.shape == (2, 3)
    viz.png(fig)
    viz.png(viz.histogram(noise(100)))
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_figures_can_be_drawn_in_two_threads_at_once():
    want = [viz.png(viz.histogram(noise(500, seed=i))) for i in range(2)]
    got = [[], []]

    def work(i):
        got[i] = [viz.png(viz.histogram(noise(500, seed=i))) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(set(got[i]) == {want[i]} for i in range(2))


# bytes and notebooks ------------------------------------------------------------------------------


def test_png_takes_every_kind_of_picture():
    x = torch.randint(0, 256, (3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    hwc = x.permute(1, 2, 0).numpy()
    wanted = viz.enlarge(hwc, 3)
    for picture in (x, x[None], hwc, Image.fromarray(hwc), viz.png(x, scale=3)):
        assert (decode(viz.png(picture, scale=3)) == wanted).all()
    assert viz.png_size(viz.png(x[0], scale=3)) == (15, 12)
    assert viz.png_size(viz.png(torch.zeros(8, 8))) == (256, 256)


def test_png_of_a_figure_is_sharp_and_keeps_its_dpi():
    fig, _ = viz.figure(3, 2)
    assert viz.png_size(viz.png(fig)) == (3 * 192, 2 * 192)
    assert viz.png_size(viz.png(fig, dpi=50)) == (150, 100)
    assert fig.dpi == viz.DPI


def test_png_is_the_same_every_time():
    assert viz.png(viz.histogram(noise(100))) == viz.png(viz.histogram(noise(100)))


def test_a_line_drawing_in_256_colours_looks_as_before():
    fig = viz.histogram(noise(2000))
    exact = viz.render(fig, 192).astype(int)
    shown = decode(viz.png(fig)).astype(int)
    assert np.abs(exact - shown).max() <= 24
    assert np.abs(exact - shown).mean() < 0.5


def test_a_noisy_photograph_keeps_its_colours():
    x = torch.randint(0, 256, (3, 80, 80), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert (decode(viz.png(x, scale=1)) == x.permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_png_are_refused(data):
    with pytest.raises(ValueError, match="not a PNG"):
        viz.png(data)


def test_a_picture_shows_html_with_alt_png_and_text():
    p = viz.picture(viz.grid(RAMP, scale=2), 'A "ramp" <from> black\nto white')
    data, metadata = p._repr_mimebundle_()
    alt = 'A "ramp" <from> black to white'
    assert data["text/plain"] == f"Figure: {alt}"
    assert 'alt="A &quot;ramp&quot; &lt;from&gt; black to white"' in data["text/html"]
    src = re.search(r'src="data:image/png;base64,([^"]+)"', data["text/html"])[1]
    assert src == data["image/png"]
    assert viz.png_size(base64.b64decode(src))[0] == 2 * p.width
    assert metadata["image/png"]["alt"] == alt


def test_only_images_and_not_drawings_are_enlarged_pixel_by_pixel():
    assert "pixelated" in viz.picture(RAMP, "ramp").to_html()
    assert "pixelated" not in viz.picture(viz.histogram(noise(9)), "histogram").to_html()


@pytest.mark.parametrize(
    ("alt", "error"), [("", ValueError), (" \n", ValueError), (None, TypeError), (3, TypeError)]
)
def test_a_picture_without_alt_text_is_refused(alt, error):
    with pytest.raises(error, match="alt must"):
        viz.picture(RAMP, alt)


def test_show_displays_the_picture(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert viz.show(RAMP, "A ramp", scale=2) is None
    assert repr(shown[0]) == "Figure: A ramp"
    assert shown[0].width == 32


def test_the_colours_are_okabe_and_itos():
    assert set(viz.COLORS.values()) == {
        "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
    }  # fmt: skip
    _, ax = viz.figure()
    assert ax.plot([0, 1])[0].get_color() == viz.COLORS["blue"]
