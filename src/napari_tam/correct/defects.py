"""Defects of a camera: pixels whose light is their own. A file that lists them, and images without them.

::

    channel,height_px,width_px,y_px,x_px,seen,images,strength
    exosome,1024,1024,17,803,24,24,41.5

``seen`` of ``images`` that show different places is how often the pixel stood out (24 of 24), and
``strength`` by how many grey values it exceeded its neighbours there. How they are found:
`napari_tam.correct.defect_statistics`.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError, one_line
from napari_tam.files import write_text
from napari_tam.io.check import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_tam.io.field import Field

Plane = npt.NDArray[np.generic]

#: Name of the list in a results folder.
DEFECTS_FILE = "defects.csv"

#: Setting: learnt from the images of a batch, or none.
AUTO, NONE = "auto", "none"

#: The code of what is said about an image.
CODE = "camera_defects"

#: Half the width of the surroundings that a pixel gets its value from; the wider ones if too few are good.
_REACHES, _ENOUGH = (1, 2, 4), 4


@dataclass(frozen=True)
class Defect:
    """A pixel of a camera that shines by itself, in images of one size: a row of the list."""

    channel: str
    height_px: int
    width_px: int
    y_px: int
    x_px: int
    seen: int
    images: int
    strength: float


_COLUMNS = tuple(Defect.__dataclass_fields__)


@dataclass(frozen=True)
class Defects:
    """What is known about the cameras of a batch.

    Attributes
    ----------
    pixels
        All defects, in the order of the list.
    about
        How they were found, for the record.
    sha256
        Of the list; empty if there are none.
    """

    pixels: tuple[Defect, ...] = ()
    about: dict[str, Any] = field(default_factory=dict, compare=False)
    sha256: str = ""

    def of(self, role: str, shape: tuple[int, int]) -> npt.NDArray[np.intp]:
        """Return the places (N, 2) of a channel's defects in images of a size (height, width)."""
        found = [
            (each.y_px, each.x_px)
            for each in self.pixels
            if each.channel == role and (each.height_px, each.width_px) == shape
        ]
        return np.array(found, np.intp).reshape(-1, 2)

    def mask(self, role: str, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Return which pixels (Y, X) of a channel are replaced."""
        replaced = np.zeros(shape, bool)
        replaced[tuple(self.of(role, shape).T)] = True
        return replaced

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Sizes (height, width) of the images that have any."""
        return {(each.height_px, each.width_px) for each in self.pixels}


def without_defects(image: Field, defects: Defects | None) -> tuple[Field, tuple[Finding, ...]]:
    """Replace the defects of a field's channels by the median of the good pixels around them.

    Parameters
    ----------
    image
        The field as it was read; in a volume every plane is mended alike.
    defects
        What is known; None: nothing.

    Returns
    -------
    The very same field if no channel has any, else a copy whose channels have the types that they had; and
    what to say about it.
    """
    if defects is None or not defects.pixels:
        return image, ()
    if image.shape not in defects.sizes:
        height, width = image.shape
        said = f"no defects of the camera are known for images of {height} × {width} pixels"
        return replace(image, notes=(*image.notes, said)), ()
    channels, counts = dict(image.channels), {}
    for role, channel in image.channels.items():
        if len(places := defects.of(role, image.shape)):
            channels[role] = mended(channel, places)
            counts[role] = len(places)
    if not counts:
        return image, ()
    listing = ", ".join(f"{count} in {role}" for role, count in counts.items())
    sentence = f"defects of the camera were replaced by the pixels around them ({listing})"
    return replace(image, channels=channels), (Finding(CODE, sentence),)


def mended(channel: Plane, places: npt.NDArray[np.intp]) -> Plane:
    """Return a channel (YX or ZYX) whose pixels at places (N, 2) have the median of the good ones around.

    Of the 8 pixels around, or where fewer than four of them are good of those within 2 or 4 px. The type
    stays.
    """
    height, width = channel.shape[-2:]
    good = np.ones((height, width), bool)
    good[tuple(places.T)] = False
    result = channel.copy()
    for y, x in places:
        for reach in _REACHES:
            window = (
                slice(max(0, y - reach), min(height, y + reach + 1)),
                slice(max(0, x - reach), min(width, x + reach + 1)),
            )
            near = good[window]
            if near.sum() >= _ENOUGH:
                break
        around = channel[(..., *window)][..., near].astype(np.float64)
        if around.shape[-1]:
            value = np.median(around, axis=-1)
            result[..., y, x] = np.rint(value) if result.dtype.kind in "iu" else value
    return result


def written(pixels: Iterable[Defect]) -> str:
    """Return the list as text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for each in pixels:
        values = [getattr(each, name) for name in _COLUMNS]
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return stream.getvalue()


def write_defects(path: Path, pixels: Iterable[Defect]) -> str:
    """Write the list; return its SHA-256.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = written(pixels)
    write_text(path, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_defects(path: Path) -> Defects:
    """Read a list of defects.

    Raises
    ------
    InputError
        If it cannot be read, has other columns, or names a pixel outside its image.
    """
    fix = f"give the {DEFECTS_FILE} of a results folder, or 'none'"
    try:
        content = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"the list of defects cannot be read ({why})", where=path, fix=fix) from error
    pixels = []
    for number, row in enumerate(rows, 2):
        try:
            whole = {name: int(row[name]) for name in _COLUMNS[1:-1]}
            each = Defect(str(row["channel"]), strength=float(row["strength"]), **whole)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"line {number} is no defect: it takes {', '.join(_COLUMNS)}", where=path, fix=fix
            ) from error
        if not (0 <= each.y_px < each.height_px and 0 <= each.x_px < each.width_px and each.channel):
            raise InputError(f"line {number} names a pixel outside its image", where=path, fix=fix)
        pixels.append(each)
    digest = hashlib.sha256(content).hexdigest() if pixels else ""
    images = max((each.images for each in pixels), default=0)
    about = {"file": str(path), "defects": len(pixels), "images": images}
    return Defects(tuple(pixels), about, digest)
