"""Small pictures of cells and fields for the page, cut out of the overlays.

The overlays lie in the results folder (the images may have been moved), and they show what was found.
Pictures are few and small, so that the page can still be sent by mail: as many as the limits below allow,
evenly chosen.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_tam.report.data import as_number
from napari_tam.results.folder import overlay_path

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    import pandas as pd
    from PIL import Image

    from napari_tam.report.data import ReportData

_T = TypeVar("_T")

#: Longer side of the picture of a cell, and of a field, in pixels.
CELL_PX, FIELD_PX = 64, 192

#: Letters (bytes of the page) that the pictures of all cells, and of all fields, may take.
CELL_LETTERS, FIELD_LETTERS = 900_000, 600_000

#: Overlays that are opened for cells, and pictures that are tried, at most: it must not take long.
MOST_OVERLAYS, MOST_PICTURES, MOST_FIELDS = 120, 900, 120

#: A cell's window of fewer pixels in the overlay (that of a slide is made much smaller) shows nothing.
LEAST_PX = 20

#: Share of the cells whose Feret diameter fits into the window; its limits (µm), and its width without one.
HELD, NARROWEST, WIDEST, USUAL = 0.9, 15, 120, 40.0


def window_um(cells: pd.DataFrame) -> float:
    """Return the side (µm) of a window that nearly all cells fit into."""
    if "feret_max_um" not in cells or not cells["feret_max_um"].notna().any():
        return USUAL
    return float(np.clip(1.15 * cells["feret_max_um"].quantile(HELD), NARROWEST, WIDEST))


def evenly(items: Sequence[_T], number: int) -> list[_T]:
    """Return at most so many of them, at equal steps from the first to the last."""
    at = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[k] for k in at]


def cell_pictures(data: ReportData, cells: pd.DataFrame) -> dict[Hashable, str]:
    """Return pictures of some of the cells, all at one scale.

    Parameters
    ----------
    data
        Images and the folder.
    cells
        Rows of `ReportData.cells`.

    Returns
    -------
    dict
        Index of the cell to its picture as a data URL; `CELL_LETTERS` in all at most.
    """
    names = ("width_px", "pixel_size_um")
    images = data.analysed.drop_duplicates("image").set_index("image").reindex(columns=list(names))
    width, pixel_um = (dict(zip(images.index, as_number(images[name]), strict=True)) for name in names)
    side = window_um(cells) if len(cells) else 0.0
    there = [
        name
        for name in dict.fromkeys(cells["image"])
        if name in width and overlay_path(data.folder, str(name)).is_file()
    ]
    inside = cells[cells["image"].isin(evenly(there, MOST_OVERLAYS))]
    if not {"centroid_y_px", "centroid_x_px"} <= set(inside) or inside.empty:  # of an early version
        return {}
    chosen = inside.loc[evenly(list(inside.index), MOST_PICTURES)]
    found: dict[Hashable, str] = {}
    for name, here in chosen.groupby("image", sort=False):
        overlay = _opened(overlay_path(data.folder, str(name)))
        if overlay is None:
            continue
        scale = overlay.width / width[name]
        half = side / pixel_um[name] * scale / 2
        if not half >= LEAST_PX / 2:  # nor where the pixel size is not known
            continue
        for index, y, x in zip(here.index, here["centroid_y_px"], here["centroid_x_px"], strict=True):
            left, top = (round((at + 0.5) * scale - half) for at in (x, y))
            window = overlay.crop((left, top, left + round(2 * half), top + round(2 * half)))  # black beyond
            found[index] = _address(window.resize((CELL_PX, CELL_PX)))
    return _within(found, CELL_LETTERS)


def field_pictures(data: ReportData, names: Sequence[str]) -> dict[str, str]:
    """Return the overlays of some of the fields, small, as data URLs; `FIELD_LETTERS` in all at most."""
    there = [name for name in names if overlay_path(data.folder, name).is_file()]
    found = {}
    for name in evenly(there, MOST_FIELDS):
        overlay = _opened(overlay_path(data.folder, name))
        if overlay is not None:
            overlay.thumbnail((FIELD_PX, FIELD_PX))
            found[name] = _address(overlay)
    return _within(found, FIELD_LETTERS)


def _opened(path: Path) -> Image.Image | None:
    from PIL import Image

    try:
        with Image.open(path) as overlay:
            return overlay.convert("RGB")
    except (OSError, ValueError):  # a damaged file: no picture of it
        return None


def _address(picture: Image.Image) -> str:
    from PIL import features

    # some builds of Pillow lack WebP, which takes half of the room
    kind = "webp" if features.check("webp") else "jpeg"
    stream = io.BytesIO()
    picture.save(stream, kind, quality=60)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _within(pictures: dict[_T, str], letters: int) -> dict[_T, str]:
    """Leave pictures out, evenly, until the rest is short enough."""
    while (total := sum(map(len, pictures.values()))) > letters:
        kept = evenly(list(pictures), int(0.98 * len(pictures) * letters / total))
        pictures = {key: pictures[key] for key in kept}
    return pictures
