"""Files with a person's marks of puncta, and with the regions in which every punctum is marked.

Beside an image ``a.tif``::

    a_puncta.csv   the marks: y_px, x_px; or points as napari or ImageJ saves them
    a_regions.csv  the regions, as napari saves shapes; without this file it is the whole image

What is written here opens in napari by drag and drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.errors import InputError, one_line
from napari_tam.files import make_folder, write_text
from napari_tam.markers.labels import EXOSOME
from napari_tam.train.training_set import write_channels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.io.field import Field

Doubles = npt.NDArray[np.float64]

#: What follows an image's name in the names of its marks and regions.
ENDING, REGIONS = "_puncta.csv", "_regions.csv"

#: Columns of y and x: this program's, napari's points, ImageJ's results.
COLUMNS = (("y_px", "x_px"), ("axis-0", "axis-1"), ("Y", "X"), ("y", "x"))

#: Those of regions as napari saves shapes; shapes with another outline than straight lines are refused.
_CORNERS, _STRAIGHT = ("index", "axis-0", "axis-1"), ("rectangle", "polygon")


def read_marks(path: Path) -> Doubles:
    """Read marks, (N, 2) y and x in pixels.

    Raises
    ------
    InputError
        If the file cannot be read, or says no places.
    """
    table = _read(path, "marks")
    for columns in COLUMNS:
        if set(columns) <= set(table):
            return _numbers(table, columns, path)
    known = "; ".join(", ".join(columns) for columns in COLUMNS)
    raise InputError("the marks have no columns for y and x", where=path, fix=f"known are {known}")


def read_regions(path: Path) -> tuple[Doubles, ...]:
    """Read the corners, (N, 2) y and x in pixels, of each region.

    Raises
    ------
    InputError
        If the file cannot be read, or there are other shapes in it than rectangles and polygons.
    """
    table = _read(path, "regions")
    if not set(_CORNERS) <= set(table):
        raise InputError(
            "these are no regions",
            where=path,
            fix="save a layer of shapes with one image under it from napari",
        )
    kinds = table.get("shape-type", pd.Series("polygon", index=table.index))
    if not kinds.isin(_STRAIGHT).all():
        raise InputError("a region is neither a rectangle nor a polygon", where=path)
    corners = _numbers(table, _CORNERS[1:], path)
    return tuple(corners[rows] for rows in table.groupby("index", sort=False).indices.values())


def write_marks(folder: Path, name: str, marks: Doubles, regions: Sequence[Doubles]) -> Path:
    """Write the marks and regions of an image as napari would; return the path of the marks.

    Parameters
    ----------
    folder
        Where; it is made if it is not there.
    name
        Of the image.
    marks
        (N, 2) y and x in pixels.
    regions
        Corners of each, (K, 2); none: the whole image, and no file says so.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    make_folder(folder)
    path, other = folder / f"{name}{ENDING}", folder / f"{name}{REGIONS}"
    lines = [f"{at},{y!r},{x!r}" for at, (y, x) in enumerate(marks.tolist())]
    write_text(path, "\n".join(["index,axis-0,axis-1", *lines]) + "\n")
    if not len(regions):
        other.unlink(missing_ok=True)
        return path
    lines = [
        f"{at},polygon,{corner},{y!r},{x!r}"
        for at, region in enumerate(regions)
        for corner, (y, x) in enumerate(np.asarray(region, float).tolist())
    ]
    write_text(other, "\n".join(["index,shape-type,vertex-index,axis-0,axis-1", *lines]) + "\n")
    return path


def write_channel(folder: Path, name: str, field: Field, role: str) -> Path:
    """Write a channel of a plane as ``NAME.ome.tif``, to be learnt from; return the path."""
    path = folder / f"{name}.ome.tif"
    write_channels(path, {EXOSOME: np.asarray(field.channels[role])}, field.pixel_size_um)
    return path


def _read(path: Path, what: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the {what} cannot be read ({one_line(error)})", where=path) from error


def _numbers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> Doubles:
    numbers = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    places: Doubles = numbers.to_numpy(np.float64)
    if not np.isfinite(places).all():
        raise InputError(f"a place ({', '.join(columns)}) is no number", where=path)
    return places
