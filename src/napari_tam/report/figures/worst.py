"""Overlays of the fields that scored worst in quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.report.quality import score_fields
from napari_tam.report.style import INK, SMALL, Drawn, MissingData, new_figure, plain
from napari_tam.results import folder as results

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_tam.report.data import ReportData

#: Fields shown, and the longer side of their pictures in pixels.
SHOWN, COLUMNS, SIDE_PX = 4, 2, 640


def worst_fields(data: ReportData) -> Drawn:
    """Draw the overlays of the fields that failed most checks."""
    table = score_fields(data)
    if table.empty:
        raise MissingData("no image was analysed")
    paths = {name: results.overlay_path(data.folder, str(name)) for name in table["image"]}
    there = [name for name in table["image"] if paths[name].is_file()]
    if not there:
        raise MissingData("there are no overlays (the run was made with overlays switched off)")
    shown = table[table["image"].isin(there)].head(SHOWN)
    rows = -(-len(shown) // COLUMNS)
    pictures = [_picture(paths[name]) for name in shown["image"]]
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure, axes = new_figure((3.4 * min(tallest, 1.3) + 0.5) * rows, rows, COLUMNS)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, picture, (_, row) in zip(axes.flat, pictures, shown.iterrows(), strict=False):
        axis.imshow(picture, interpolation="antialiased")
        reasons = _wrapped(row["reasons"] or "no check failed")
        axis.set_title(
            f"{plain(row['image'], 40)}\n{reasons}",
            fontsize=SMALL,
            fontweight="normal",
            color=INK,
            loc="left",
        )
    failed = int((table["failed_checks"] > 0).sum())
    caption = (
        f"{failed} of {len(table)} fields failed at least one check; the worst come first. "
        if failed
        else f"None of the {len(table)} fields failed a check; those nearest to a limit are shown. "
    )
    caption += (
        "Outlines: the cells, in the colour of their phenotype (orange the first class, light blue the "
        "second, "
        "grey uncertain; yellow without phenotypes). White circles: puncta in cells, orange circles: outside."
    )
    return Drawn(figure, pd.DataFrame(table), caption, picture=True)


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((SIDE_PX, SIDE_PX))
            return np.asarray(small)
    except (OSError, ValueError) as error:
        raise MissingData(f"the overlay {path.name} cannot be read") from error


def _wrapped(reasons: str, width: int = 62) -> str:
    from textwrap import fill

    return fill(plain(reasons, 2 * width), width)
