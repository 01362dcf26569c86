"""The picture of a result: the image with outlines and puncta drawn over it.

Cell stain in grey, nuclei in blue, exosomes in magenta; cell outlines yellow, nucleus outlines
light blue; with phenotypes, cell outlines orange (the first class, M1), light blue (the second, M2)
or grey (uncertain), and nucleus outlines violet; puncta in a cell as white circles, puncta outside
every cell as orange ones. Yellow, blue, white and orange stay apart for colour-blind eyes too.

With several exosome labels each has a colour of its own, for its light and its puncta (`LABEL_COLOURS`):
circles in a cell, diamonds outside every cell.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.markers.labels import EXOSOME, rows_of
from napari_tam.pipeline.tile_labels import forget
from napari_tam.pipeline.tiles import is_large
from napari_tam.volume.projection import project_field, project_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from PIL import ImageFont

    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis

#: Longer pictures are made smaller, shorter ones larger (by whole numbers): readable at 100 %.
MAX_SIDE_PX = 1536
MIN_SIDE_PX = 512

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

CELL_OUTLINE: Colour = (240, 228, 66)
NUCLEUS_OUTLINE: Colour = (86, 180, 233)
NUCLEUS_BESIDE_PHENOTYPES: Colour = (140, 130, 255)
INSIDE: Colour = (255, 255, 255)
OUTSIDE: Colour = (255, 130, 0)

#: Colours of several exosome labels, in their order.
LABEL_COLOURS: tuple[Colour, ...] = ((255, 0, 230), (0, 255, 90), (255, 150, 0), (0, 190, 255))
#: Circles are drawn that much paler than the light of their label, so that they stand out from it.
_PALER = 0.55

#: How much of red, green and blue each channel adds, the share of its dimmest pixels (per cent) that is
#: shown black, and its gamma: the square root lets a dim cell be seen that was missed.
_CHANNELS = {
    "cell": ((0.5, 0.5, 0.5), 1.0, 0.5),
    "nucleus": ((0.0, 0.15, 0.6), 25.0, 1.0),
    "exosome": ((1.0, 0.0, 0.9), 50.0, 1.0),
}
_BRIGHTEST = 99.8


def overlay(analysis: Analysis, *, numbers: bool = True) -> Picture:
    """Draw the result over its image.

    Parameters
    ----------
    analysis
        What was found. A volume is shown as its projection.
    numbers
        Write each cell's label into it, where the cells are large enough for that.

    Returns
    -------
    Picture
        RGB, uint8, at most `MAX_SIDE_PX` on a side.
    """
    if is_large(analysis.field):
        analysis = _reduced(analysis)
    field = project_field(analysis.field)
    height, width = field.shape
    scale = _scale(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    picture = composite(field, shape)

    cells = _nearest(project_labels(analysis.cells), shape)
    edge = _outline(cells)
    colours = _phenotype_colours(analysis.table)
    picture[edge] = CELL_OUTLINE if colours is None else colours[cells[edge]]
    if analysis.nuclei is not None:
        # light blue is the second class where there are phenotypes
        nucleus = NUCLEUS_OUTLINE if colours is None else NUCLEUS_BESIDE_PHENOTYPES
        picture[_outline(_nearest(project_labels(analysis.nuclei), shape))] = nucleus
    for label in field.exosomes or ("",):
        own = rows_of(analysis.puncta, label)
        _draw_puncta(picture, own, scale, label_colour(list(field.exosomes), label) if label else None)
    if numbers:
        _draw_numbers(picture, cells)
    _draw_scale_bar(picture, field.pixel_size_um / scale)
    return picture


def _reduced(analysis: Analysis) -> Analysis:
    """Return a large image's result with blocks of pixels as pixels, at most twice the picture's size."""
    field = analysis.field
    step = max(1, max(field.shape) // (2 * MAX_SIDE_PX))
    strip = step * max(1, 1024 // step)  # not each tile of a file decoded many times
    height, width = (n // step for n in field.shape)
    shown = [role for role in field.channels if role in _drawn(field)]
    channels = {role: np.empty((height, width), np.float32) for role in shown}
    for y in range(0, height * step, strip):
        stop = min(y + strip, height * step)
        for role, small in channels.items():
            part = field.channels[role][y:stop, 0 : width * step].reshape(-1, step, width, step)
            small[y // step : stop // step] = part.mean(axis=(1, 3), dtype=np.float32)
    cells = _every(analysis.cells, step, strip, (height, width))
    nuclei = None if analysis.nuclei is None else _every(analysis.nuclei, step, strip, (height, width))
    puncta = analysis.puncta.assign(**{name: analysis.puncta[name] / step for name in ("y_px", "x_px")})
    small_field = replace(field, channels=channels, pixel_size_um=field.pixel_size_um * step)  # type: ignore[arg-type]
    return replace(analysis, field=small_field, cells=cells, nuclei=nuclei, puncta=puncta)


def _every(
    labels: npt.NDArray[np.unsignedinteger[Any]], step: int, strip: int, shape: tuple[int, int]
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return every `step`-th pixel of labels that lie in a file, read `strip` rows at a time."""
    small = np.empty(shape, labels.dtype)
    for y in range(0, shape[0] * step, strip):
        stop = min(y + strip, shape[0] * step)
        small[y // step : stop // step] = labels[y:stop:step, : shape[1] * step : step]
        forget(labels)
    return small


def _phenotype_colours(table: pd.DataFrame) -> Picture | None:
    """Return the outline colour of every label (labels + 1, RGB), None without phenotypes."""
    if "phenotype" not in table:
        return None
    from napari_tam.phenotype.colours import classes_of, phenotype_colours

    labels = table["label"].to_numpy(np.int64)
    colours: Picture = np.full((int(labels.max(initial=0)) + 1, 3), CELL_OUTLINE, np.uint8)
    for name, colour in phenotype_colours(classes_of(table)).items():
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        colours[labels[(table["phenotype"] == name).to_numpy()]] = rgb
    return colours


def encode_png(picture: Picture) -> bytes:
    """Return a picture as the bytes of a PNG file (compressed lightly: speed matters more)."""
    import cv2

    # runs only: faster than searching for repeats, and as small in a noisy picture
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:  # cannot happen for a uint8 RGB picture
        raise InputError("the overlay could not be encoded as PNG")
    return bytes(data.tobytes())


def composite(field: Field, shape: tuple[int, int]) -> Picture:
    """Return the cell, nucleus and exosome channels as one RGB picture of `shape` (rows, columns)."""
    import cv2

    bands = [np.zeros(shape, np.uint8) for _ in range(3)]
    for role, (colour, dimmest, gamma) in _drawn(field).items():
        if role in field.channels:
            grey = _stretch(_resize(field.channels[role], shape), dimmest)
            curve = 255 * (np.arange(256) / 255) ** gamma
            for band, weight in zip(bands, colour, strict=True):
                if weight:
                    cv2.add(band, cv2.LUT(grey, (weight * curve).astype(np.uint8)), dst=band)
    return np.stack(bands, axis=-1)


def _drawn(field: Field) -> dict[str, tuple[tuple[float, ...], float, float]]:
    """Return the channels to draw; of several exosome labels each in its colour."""
    exosomes = field.exosomes
    if len(exosomes) < 2:
        return dict(_CHANNELS)
    _, dimmest, gamma = _CHANNELS[EXOSOME]
    drawn: dict[str, tuple[tuple[float, ...], float, float]] = dict(_CHANNELS)
    for label, role in exosomes.items():
        drawn[role] = tuple(value / 255 for value in label_colour(list(exosomes), label)), dimmest, gamma
    return drawn


def label_colour(labels: Sequence[str], label: str) -> Colour:
    """Return the colour of an exosome label, the same in all pictures; labels after the fourth share them."""
    return LABEL_COLOURS[list(labels).index(label) % len(LABEL_COLOURS)]


def _scale(height: int, width: int) -> float:
    side = max(height, width)
    if side > MAX_SIDE_PX:
        return MAX_SIDE_PX / side
    return float(max(1, MIN_SIDE_PX // side))


def _resize(channel: npt.NDArray[np.generic], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    import cv2

    if channel.dtype not in (np.uint8, np.uint16, np.float32):
        channel = channel.astype(np.float32)  # OpenCV resizes no other type or byte order
    if channel.shape != shape:
        method = cv2.INTER_AREA if shape[0] <= channel.shape[0] else cv2.INTER_NEAREST
        channel = cv2.resize(np.ascontiguousarray(channel), shape[::-1], interpolation=method)
    return channel.astype(np.float32)


def _stretch(grey: npt.NDArray[np.float32], dimmest: float) -> Picture:
    """Map the image's own range to 0…255; a constant image becomes 0."""
    import cv2

    sample = grey[::3, ::3]
    low, high = (float(value) for value in np.percentile(sample, (dimmest, _BRIGHTEST)))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    if high <= low:
        return np.zeros(grey.shape, np.uint8)
    above = np.maximum(grey - np.float32(low), 0)
    return np.asarray(cv2.convertScaleAbs(above, alpha=255 / (high - low)))


def _nearest(labels: npt.NDArray[np.unsignedinteger[Any]], shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    if labels.shape != shape:
        rows, columns = (
            (np.arange(new) + 0.5) * (old / new) for new, old in zip(shape, labels.shape, strict=True)
        )
        labels = labels[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    return labels.astype(np.int32)


def _outline(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return the outermost pixels of every label."""
    edge = np.zeros(labels.shape, bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    edge &= labels > 0
    return edge


def _draw_puncta(picture: Picture, puncta: pd.DataFrame, scale: float, colour: Colour | None) -> None:
    import cv2

    # pixel centres are whole numbers, at any scale; 3 more bits for sub-pixel circles
    x = (puncta["x_px"].to_numpy(float) + 0.5) * scale - 0.5
    y = (puncta["y_px"].to_numpy(float) + 0.5) * scale - 0.5
    places = np.rint(np.stack([x, y], axis=1) * 8).astype(int).tolist()
    radius = round(8 * max(4.0, 2.5 * scale))
    paler = None if colour is None else tuple(round(255 - _PALER * (255 - value)) for value in colour)
    for place, inside in zip(places, (puncta["label"].to_numpy() > 0).tolist(), strict=True):
        if paler is None:
            cv2.circle(picture, place, radius, INSIDE if inside else OUTSIDE, 1, cv2.LINE_AA, 3)
        elif inside:
            cv2.circle(picture, place, radius, paler, 1, cv2.LINE_AA, 3)
        else:
            at, size = (round(place[0] / 8), round(place[1] / 8)), round(radius / 4)
            cv2.drawMarker(picture, at, paler, cv2.MARKER_DIAMOND, size, 1, cv2.LINE_AA)


def _draw_numbers(picture: Picture, cells: npt.NDArray[np.int32]) -> None:
    """Write the labels into the cells, unless the typical cell is too small for a number."""
    import cv2

    step = 4  # every 4th pixel finds the middle of any cell that is large enough
    y, x = np.nonzero(cells[::step, ::step])
    label = cells[::step, ::step][y, x]
    area = np.bincount(label)
    present = np.flatnonzero(area)
    if not present.size or math.sqrt(float(np.median(area[present]))) * step < 24:
        return
    centre_x = step * np.bincount(label, x)[present] / area[present]
    centre_y = step * np.bincount(label, y)[present] / area[present]
    for number, cx, cy in zip(present.tolist(), centre_x.tolist(), centre_y.tolist(), strict=True):
        text = str(number)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        place = (round(cx - width / 2), round(cy + height / 2))
        for colour, thickness in (((0, 0, 0), 3), (CELL_OUTLINE, 1)):
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness, cv2.LINE_AA)


def scale_bar_um(width_um: float) -> float:
    """Return the longest of 1, 2, 5 × 10^k µm that is at most a quarter of the picture's width."""
    target = width_um / 4
    power = 10.0 ** math.floor(math.log10(target))
    return next(step * power for step in (5, 2, 1) if step * power <= target * (1 + 1e-9))


@functools.cache
def _font(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, str]:
    """Return a font, and how to write µ with it: only matplotlib's, of those at hand, has that letter."""
    from PIL import ImageFont

    package = importlib.util.find_spec("matplotlib")  # found, not imported: that takes long
    try:
        if package is not None and package.origin is not None:
            fonts = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
            return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size), "µ"
    except OSError:
        pass
    return ImageFont.load_default(size), "u"


def _draw_scale_bar(picture: Picture, pixel_um: float) -> None:
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    length_um = scale_bar_um(width * pixel_um)
    length = max(1, round(length_um / pixel_um))
    font, micro = _font(15)
    text = f"{length_um:g} {micro}m"
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    pad, thick = 6, 4
    box_width, box_height = max(length, right - left) + 2 * pad, (bottom - top) + thick + 3 * pad
    x0, y0 = max(0, width - box_width - pad), max(0, height - box_height - pad)
    patch = picture[y0 : y0 + box_height, x0 : x0 + box_width]
    image = Image.fromarray(patch // 3)  # dark, so that the bar can be read over any image
    draw = ImageDraw.Draw(image)
    draw.text(((box_width - (right - left)) // 2 - left, pad - top), text, (255, 255, 255), font)
    x = (box_width - length) // 2
    y = box_height - pad - thick
    draw.rectangle((x, y, x + length - 1, y + thick - 1), (255, 255, 255))
    patch[...] = np.asarray(image)
