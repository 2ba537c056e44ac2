"""Pictures: grids, strips and histograms that look alike, keep pixels crisp, and always carry alt text.

Nothing here touches pyplot: a figure is an object that you hold, so a slider's thread and a running cell
never draw into each other. Images are torch tensors or numpy arrays, float in [-1, 1] or uint8, one or
three channels. Floats beyond [-1, 1] (a noised x_t) are clipped for display; NaN is an error.
"""

from __future__ import annotations

import base64
import html
import io
import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette: told apart with every common form of colour blindness.
COLORS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}
CYCLE = tuple(COLORS[name] for name in ("blue", "vermillion", "green", "purple", "orange", "sky", "black"))
PAPER, INK, MUTED, RULE = "#FAFAFA", "#222222", "#666666", "#DDDDDD"  # greys: a grey page needs one channel
GAP_GREY = 226  # the grey between the tiles of a grid: neither white nor black, so both are seen to end there

DPI = 96  # one inch of a figure is 96 CSS pixels on the page ...
SHARP = 2  # ... and is drawn with twice as many, for dense screens
LONG_SIDE = 256  # CSS pixels: how large one picture is shown when nobody says
PAGE = 680  # CSS pixels: how wide a row of pictures may get
SPACE, PAD, LINE, POINTS = (
    6,
    8,
    18,
    10,
)  # of a grid: px between tiles, around it, a line of text; pt of the text


# --------------------------------------------------------------------------------------------------
# Images as arrays


def pixels(images, name: str = "images") -> np.ndarray:
    """Images as bytes ready for a screen: (N, C, H, W), (C, H, W) or (H, W) -> uint8 (N, C, H, W).

    `images`: torch tensor or numpy array; uint8 passes through, floats are [-1, 1], clipped, and -1 -> 0,
    +1 -> 255. C is 1 or 3. Raises TypeError for other dtypes, ValueError for other shapes, no images, NaN.
    """
    array = _as_array(images, name)
    if array.dtype == np.bool_ or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(
            f"{name} must be uint8 (0..255) or float in [-1, 1], got {array.dtype}. "
            "For whole numbers 0..255 use .astype('uint8') or .to(torch.uint8)."
        )
    if not 2 <= array.ndim <= 4:
        raise ValueError(f"{name} must have shape (N, C, H, W), (C, H, W) or (H, W), got {array.shape}.")
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    if array.shape[1] not in (1, 3):
        hint = " Channels come first: x.transpose(0, 3, 1, 2)." if array.shape[3] in (1, 3) else ""
        raise ValueError(
            f"{name} must have 1 or 3 channels, got {array.shape[1]} in shape {array.shape}.{hint}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} is empty: shape {array.shape}. There is nothing to show.")
    return array if array.dtype == np.uint8 else _float_to_bytes(array, name)


def _as_array(x, name: str) -> np.ndarray:
    """A torch tensor (any device, any float type) or a numpy array -> a numpy array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        return (x.float() if x.is_floating_point() else x).numpy()
    if isinstance(x, np.ndarray):
        return x
    raise TypeError(
        f"{name} must be a torch tensor or a numpy array, got {type(x).__name__}; torch.stack joins a list."
    )


def _float_to_bytes(x: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(x).all():
        where = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(x)))
        raise ValueError(f"{name} holds NaN or infinity, first in image {where[0]}, pixel {where[2:]}.")
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)


def tile(images, ncol: int | None = None, gap: int = 1) -> np.ndarray:
    """Images side by side, row by row, as one array: (N, C, H, W) -> uint8 (H', W') or (H', W', 3).

    `ncol` images a row (the most nearly square arrangement if None), `gap` grey pixels between them.
    Not upscaled: what shows the array does that. Raises as `pixels` does, ValueError for ncol or gap.
    """
    x = pixels(images)
    n, c, h, w = x.shape
    ncol = _columns(n, ncol)
    if gap < 0:
        raise ValueError(f"gap must be 0 or more pixels, got {gap}.")
    nrow = math.ceil(n / ncol)
    sheet = np.full((nrow * (h + gap) - gap, ncol * (w + gap) - gap, c), GAP_GREY, np.uint8)
    for i, image in enumerate(x):
        top, left = (i // ncol) * (h + gap), (i % ncol) * (w + gap)
        sheet[top : top + h, left : left + w] = image.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    return sheet[..., 0] if c == 1 else sheet


def _columns(n: int, ncol: int | None) -> int:
    if ncol is None:
        return math.ceil(math.sqrt(n))
    if isinstance(ncol, bool) or not isinstance(ncol, (int, np.integer)) or ncol < 1:
        raise ValueError(f"ncol must be a whole number of columns, 1 or more, got {ncol!r}.")
    return min(int(ncol), n)


# --------------------------------------------------------------------------------------------------
# Figures


def figure(width: float = 7.0, height: float = 2.8, nrows: int = 1, ncols: int = 1, **gridspec):
    """A figure in the course's style, and its axes: one Axes, or an array of them as `plt.subplots` gives.

    `width`, `height` in inches, of 96 CSS pixels each; `gridspec` goes on to matplotlib (width_ratios, ...).
    No pyplot: show it with `viz.show(fig, alt=...)`.
    """
    fig = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(fig)
    axes = fig.subplots(nrows, ncols, **gridspec)
    for ax in np.ravel(axes):
        style(ax)
    return fig, axes


def style(ax: Axes) -> None:
    """Give axes the course's quiet look: two spines, a faint grid, small grey ticks, the colour cycle."""
    ax.set_facecolor(PAPER)
    ax.set_prop_cycle(cycler(color=CYCLE))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelsize=9, length=3)
    ax.grid(color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.title.set(color=INK, fontsize=11)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=INK, fontsize=10)


def image(ax: Axes, x, title: str | None = None):
    """Draw one image, (C, H, W) or (H, W), into `ax`: crisp pixels, no ticks. Returns the AxesImage.

    Called again on the same axes it replaces the image, which is many times faster than a new figure.
    """
    x = pixels(x, "image")
    if len(x) != 1:
        raise ValueError(f"viz.image draws one image, got {len(x)}; viz.grid draws many.")
    if not ax.images:
        ax.imshow(tile(x), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    artist = ax.images[0]
    artist.set_data(tile(x))
    artist.set_extent((-0.5, x.shape[3] - 0.5, x.shape[2] - 0.5, -0.5))
    if title is not None:
        ax.set_title(title, color=INK, fontsize=11)
    return artist


def histogram(
    values,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    ax: Axes | None = None,
    bins: int = 61,
    limits: tuple[float, float] = (-4.0, 4.0),
    label: str = "pixels",
    gaussian: str | None = None,
) -> Figure:
    """The histogram of `values` (any shape), as a density, beside the density of N(mean, std²).

    Values beyond `limits` are counted in the outermost bins, so that the area is always one. `ax`: where to
    draw; its own figure if None. Called again on the same axes it replaces both, which is many times faster
    than a new figure. Raises TypeError for no array; ValueError for NaN, no values, std <= 0, bad limits.
    """
    v = _as_array(values, "values").astype(np.float64).ravel()
    if v.size == 0 or not np.isfinite(v).all():
        raise ValueError("values must be finite numbers, at least one; got none, NaN or infinity.")
    if not (std > 0 and math.isfinite(std) and math.isfinite(mean)):
        raise ValueError(f"the Gaussian needs a finite mean and a std > 0, got mean={mean}, std={std}.")
    if not limits[0] < limits[1]:
        raise ValueError(f"limits must be (low, high) with low < high, got {limits}.")
    if ax is None:
        _, ax = figure(4.6, 2.8)
    heights, edges = np.histogram(np.clip(v, *limits), bins, limits, density=True)
    x = np.linspace(*limits, 401)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    _draw_histogram(ax, (heights, edges, label), (x, density, gaussian or f"N({mean:.2g}, {std:.2g}²)"))
    return ax.figure


def _draw_histogram(ax: Axes, steps: tuple, curve: tuple) -> None:
    """Draw or redraw (heights, edges, label) as filled steps and (x, y, label) as a line."""
    drawn = {artist.get_gid(): artist for artist in (*ax.patches, *ax.lines)}
    bars, line = drawn.get("histogram"), drawn.get("gaussian")
    if bars is None:
        bars = ax.stairs(*steps[:2], fill=True, color=COLORS["sky"], gid="histogram")
        (line,) = ax.plot(*curve[:2], color=COLORS["vermillion"], linewidth=2, gid="gaussian")
        ax.set(xlim=(steps[1][0], steps[1][-1]), xlabel="value", ylabel="density")
    bars.set_data(*steps[:2])
    line.set_data(*curve[:2])
    ax.relim()
    ax.autoscale_view(scalex=False)
    if (bars.get_label(), line.get_label()) != (steps[2], curve[2]):
        bars.set_label(steps[2])
        line.set_label(curve[2])
        ax.legend(
            frameon=False, fontsize=9, labelcolor=INK, loc="upper right"
        )  # "best" takes long, and jumps


def grid(
    images,
    ncol: int | None = None,
    *,
    scale: int | None = None,
    titles: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
) -> Figure:
    """Images (N, C, H, W) row by row, each pixel an exact square of `scale` CSS pixels.

    `titles`: one above each image. `row_labels`: one left of each row. `col_labels`: one above each column.
    Labels may hold mathtext, `$x_t$`. Raises as `tile` does, and ValueError when a list has another length.
    """
    x = pixels(images)
    ncol = _columns(len(x), ncol)
    nrow = math.ceil(len(x) / ncol)
    _check_labels(titles, len(x), "titles", "image")
    _check_labels(row_labels, nrow, "row_labels", "row")
    _check_labels(col_labels, ncol, "col_labels", "column")
    scale = scale or _page_scale(*x.shape[2:], ncol, nrow)
    h, w = x.shape[2] * scale, x.shape[3] * scale
    above = LINE if titles is not None else 0
    left = PAD + (PAD + _text_width(row_labels) if row_labels is not None else 0)
    top = PAD + (LINE if col_labels is not None else 0)
    xs = [left + j * (w + SPACE) for j in range(ncol)]
    ys = [top + i * (h + SPACE + above) + above for i in range(nrow)]
    fig = _raster(_page(x, scale, xs, ys))
    for i, label in enumerate(titles or ()):
        _write(fig, xs[i % ncol] + w / 2, ys[i // ncol] - 4, label, ha="center", va="bottom")
    for column, label in zip(xs, col_labels or (), strict=False):
        _write(fig, column + w / 2, top - 4, label, ha="center", va="bottom")
    for row, label in zip(ys, row_labels or (), strict=False):
        _write(fig, left - PAD, row + h / 2, label, ha="right", va="center")
    return fig


def _check_labels(labels: Sequence[str] | None, want: int, name: str, what: str) -> None:
    if labels is not None and len(labels) != want:
        raise ValueError(f"{name} must hold {want} strings, one for each {what}, got {len(labels)}.")


def _page_scale(h: int, w: int, ncol: int, nrow: int) -> int:
    """As large as the page is wide; but one image no larger than LONG_SIDE, and one of many than 96."""
    largest = (LONG_SIDE if ncol * nrow == 1 else 96) // max(h, w)
    return max(1, min(largest, PAGE // (ncol * w)))


def _page(x: np.ndarray, scale: int, xs: list[int], ys: list[int]) -> np.ndarray:
    """The images (N, C, H, W) on paper, enlarged, corners at `xs`, `ys`: uint8 (H', W', 3)."""
    h, w = x.shape[2] * scale, x.shape[3] * scale
    paper = np.array([int(PAPER[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    page = np.tile(paper, (ys[-1] + h + PAD, xs[-1] + w + PAD, 1))
    for i, one in enumerate(x):
        top, left = ys[i // len(xs)], xs[i % len(xs)]
        page[top : top + h, left : left + w] = enlarge(
            one.transpose(1, 2, 0), scale
        )  # (C, H, W) -> (H, W, C)
    return page


def _raster(page: np.ndarray) -> Figure:
    """A figure that is one array, one array element a CSS pixel, to write on."""
    height, width = page.shape[:2]
    fig = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(fig)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.axis("off")
    ax.imshow(page, interpolation="nearest", aspect="auto")
    return fig


def _write(fig: Figure, x: float, y: float, text: str, **kwargs) -> None:
    """Text at (x, y) in CSS pixels from the upper left corner."""
    width, height = fig.get_size_inches() * DPI
    fig.text(x / width, 1 - y / height, text, fontsize=POINTS, color=INK, **kwargs)


def _text_width(labels: Sequence[str]) -> int:
    """The width in CSS pixels of the widest label, rounded up."""
    probe = Figure(dpi=DPI)
    renderer = FigureCanvasAgg(probe).get_renderer()
    boxes = [probe.text(0, 0, label, fontsize=POINTS).get_window_extent(renderer) for label in labels]
    return math.ceil(max((box.width for box in boxes), default=0))


def strip(
    rows: Mapping[str, object], captions: Sequence[str] | None = None, *, scale: int | None = None
) -> Figure:
    """A process as rows of images, `{"x_t": (F, C, H, W), ...}`, with a caption (a t) above each column.

    Every row has the same F frames. Raises ValueError otherwise, and as `grid` does.
    """
    if not rows:
        raise ValueError('strip needs at least one row: viz.strip({"x_t": frames}).')
    arrays = {name: pixels(row, f"row {name!r}") for name, row in rows.items()}
    shapes = {name: a.shape for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all rows of a strip must have the same shape (F, C, H, W), got {shapes}.")
    count = len(next(iter(arrays.values())))
    images = np.concatenate(list(arrays.values()))
    return grid(images, count, scale=scale, row_labels=list(arrays), col_labels=captions)


# --------------------------------------------------------------------------------------------------
# Files and notebooks


def png(picture, *, dpi: float | None = None, scale: int | None = None) -> bytes:
    """Any picture as the bytes of a PNG file.

    `picture`: a Figure (drawn at `dpi`, twice 96 if None) · images as `pixels` takes them (several: a grid)
    · an array from `tile`, uint8 (H, W, 3) · a PIL image · PNG bytes, handed back. Everything but a figure
    is enlarged `scale` times by repeating pixels (None: to about 256). Raises TypeError for anything else.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        png_size(picture)
        return bytes(picture)
    if isinstance(picture, Figure):
        return encode(render(picture, dpi or DPI * SHARP))
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    array = picture if _is_hwc(picture) else tile(picture)
    return encode(enlarge(array, scale or default_scale(array.shape[1], array.shape[0])))


def _is_hwc(picture) -> bool:
    """A uint8 array (H, W, 3), as `tile` makes them. (3, W, 3) is taken for channels first, as everywhere."""
    shape = getattr(picture, "shape", ())
    return (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and len(shape) == 3
        and (shape[2] == 3 and shape[0] not in (1, 3))
    )


def default_scale(width: int, height: int) -> int:
    """The whole number of CSS pixels a pixel that makes one picture of this size about LONG_SIDE large."""
    return max(1, round(LONG_SIDE / max(width, height)))


def enlarge(array: np.ndarray, scale: int) -> np.ndarray:
    """(H, W) or (H, W, C) with each pixel repeated into a `scale` x `scale` square."""
    if isinstance(scale, bool) or not isinstance(scale, (int, np.integer)) or scale < 1:
        raise ValueError(
            f"scale must be a whole number, 1 or more, got {scale!r}: only then pixels stay squares."
        )
    return array.repeat(scale, axis=0).repeat(scale, axis=1)


def render(fig: Figure, dpi: float) -> np.ndarray:
    """Draw a figure with Agg at `dpi`: uint8 (H, W, 3). The figure's own dpi is as before afterwards."""
    canvas = fig.canvas if isinstance(fig.canvas, FigureCanvasAgg) else FigureCanvasAgg(fig)
    before = fig.dpi
    try:
        fig.set_dpi(dpi)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
    finally:
        fig.set_dpi(before)


def encode(array: np.ndarray, fast: bool = False) -> bytes:
    """uint8 (H, W) or (H, W, 3) -> PNG. `fast` for sliders; else as small as it gets with no visible loss."""
    if array.ndim == 3 and (array[..., :1] == array).all():
        array = array[..., 0]  # grey: a third of the bytes
    im = Image.fromarray(array)
    if not fast and im.mode == "RGB":
        im = _palette(im)
    buffer = io.BytesIO()
    im.save(buffer, "PNG", compress_level=1) if fast else im.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _palette(im: Image.Image) -> Image.Image:
    """A line drawing in 256 colours: a third of the size, and no difference to be seen. Photographs stay."""
    colours = im.getcolors(maxcolors=4096)
    return (
        im if colours is None else im.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    )


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG file's bytes. Raises ValueError for anything else."""
    data = bytes(data)
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("these bytes are not a PNG file; viz.png(...) makes one.")
    return struct.unpack(">II", data[16:24])


class Picture:
    """A PNG with alt text that shows itself in a notebook.

    It gives three representations: HTML `<img alt>` (JupyterLab drops the alt text of a bare image/png),
    image/png for viewers and exporters without HTML, and a text/plain that is the same on every machine.
    """

    def __init__(self, data: bytes, alt: str, width: int | None = None, pixelated: bool = False):
        self.data, self.alt, self.pixelated = data, checked_alt(alt), pixelated
        self.width = width or png_size(data)[0]

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    def to_html(self) -> str:
        """The `<img>` element, complete in itself."""
        style = "max-width: 100%; height: auto" + ("; image-rendering: pixelated" if self.pixelated else "")
        alt, src = html.escape(self.alt), data_url(self.data)
        return f'<img src="{src}" alt="{alt}" width="{self.width}" style="{style}">'

    def _repr_mimebundle_(self, include=None, exclude=None):
        image_png = base64.b64encode(self.data).decode()
        data = {"text/plain": repr(self), "text/html": self.to_html(), "image/png": image_png}
        return data, {"image/png": {"width": self.width, "alt": self.alt}}


def data_url(data: bytes, mime: str = "image/png") -> str:
    """Bytes as a `data:` address, so that a page needs no second file."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def checked_alt(alt: str) -> str:
    """`alt` as one line. Raises TypeError or ValueError where it says nothing."""
    if not isinstance(alt, str):
        raise TypeError(f"alt must be a string that says what the picture shows, got {type(alt).__name__}.")
    if not alt.strip():
        raise ValueError("alt must say in a few words what the picture shows: some readers have only that.")
    return " ".join(alt.split())


def picture(picture, alt: str, *, width: int | None = None, scale: int | None = None) -> Picture:
    """Any picture that `png` takes, with alt text, as the last value of a cell. `width` in CSS pixels."""
    data = png(picture, scale=scale)
    drawn = isinstance(picture, Figure)
    if width is None and drawn:
        width = png_size(data)[0] // SHARP
    return Picture(data, alt, width, pixelated=not drawn)


def show(picture_, alt: str, *, width: int | None = None, scale: int | None = None) -> None:
    """Show a figure, images or a PNG in the notebook, with alt text: `viz.show(fig, alt="...")`."""
    from IPython.display import display  # only a notebook needs it

    display(picture(picture_, alt, width=width, scale=scale))
