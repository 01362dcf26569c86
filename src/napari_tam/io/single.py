"""A file that holds one channel: planes of one stain, or a colour picture of which one colour is in use."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.io.pictures import colour_note, grey_note, is_picture, read_picture
from napari_tam.io.planes import ArrayPlanes
from napari_tam.io.stack import Stack
from napari_tam.io.tiff import open_tiff, reading
from napari_tam.io.tiff_metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import tifffile

    from napari_tam.io.planes import Planes

#: Colour pictures with more pixels than this are not looked through for the colour in use.
MOST_COLOUR_PIXELS = 2**26


class MixedColoursError(InputError):
    """A file is a colour picture, in which the channels are mixed."""


class SingleChannel:
    """One channel: times × z of planes.

    Parameters
    ----------
    planes, metadata
        What is in the file, and what it says.

    Attributes
    ----------
    path
        The file.
    shape, dtype
        Of a plane.
    n_times, n_z
        Lengths of its axes.
    metadata
        What the file says.
    notes
        What was decided on reading.

    Raises
    ------
    InputError
        If the file holds more than one channel.
    """

    def __init__(self, planes: Planes, metadata: Metadata, notes: tuple[str, ...] = ()) -> None:
        if planes.n_channels > 1 or planes.n_positions > 1:
            raise InputError(f"{planes.path.name} holds more than one channel", where=planes.path)
        self._planes = planes
        self.path, self.shape, self.dtype = planes.path, planes.shape, planes.dtype
        self.n_times, self.n_z = planes.n_times, planes.n_z
        self.metadata, self.notes = metadata, notes

    def check_complete(self) -> None:
        """Raise InputError if pixels are missing, as far as the headers tell."""
        self._planes.check_complete()

    def window(self, time: int, z: int, rows: slice, columns: slice) -> npt.NDArray[np.generic]:
        """Read a part of a plane (YX), which the caller may write into."""
        return self._planes.window(0, time, z, 0, rows, columns)


@contextlib.contextmanager
def open_single(path: Path) -> Iterator[SingleChannel]:
    """Open a file of one channel.

    Raises
    ------
    InputError
        If it cannot be read, or holds more than one channel.
    """
    if is_picture(path):
        yield _of_picture(path, read_picture(path), Metadata())
        return
    with open_tiff(path) as (tif, series):
        if _is_colour(series[0]):
            yield _of_picture(path, _colours(path, series[0]), _metadata(path, tif, series))
        else:
            stack = Stack(path, tif, series[0])
            yield SingleChannel(stack, _metadata(path, tif, series))


def _metadata(path: Path, tif: tifffile.TiffFile, series: list[tifffile.TiffPageSeries]) -> Metadata:
    with reading(path):
        return read_metadata(tif, series, 0, 1)


def _is_colour(series: tifffile.TiffPageSeries) -> bool:
    axes, shape = series.get_axes(False).upper(), series.get_shape(False)
    return axes == "YXS" and shape[-1] in (3, 4) and series.dtype == np.uint8


def _colours(path: Path, series: tifffile.TiffPageSeries) -> npt.NDArray[Any]:
    height, width, _ = series.get_shape(False)
    if height * width > MOST_COLOUR_PIXELS:
        raise InputError("the colour picture is too large to be read as one channel", where=path)
    with reading(path):
        pixels: npt.NDArray[Any] = series.asarray()[..., :3]
    return pixels


def _of_picture(path: Path, pixels: npt.NDArray[Any], metadata: Metadata) -> SingleChannel:
    """Return the plane of a picture that is in use: the only one, or any if all are equal (grey)."""
    bits, jpeg = 8 * pixels.dtype.itemsize, path.suffix.lower() in (".jpg", ".jpeg")
    if pixels.ndim == 2:
        note = grey_note(bits, jpeg=jpeg)
        return SingleChannel(ArrayPlanes(path, pixels, "YX"), metadata, (note,) if note else ())
    used = [k for k in range(3) if pixels[..., k].any()]
    if len(used) == 1 or (
        used and all(np.array_equal(pixels[..., used[0]], pixels[..., k]) for k in used[1:])
    ):
        plane = np.ascontiguousarray(pixels[..., used[0]])
        note = colour_note(bits, jpeg=jpeg)
        return SingleChannel(ArrayPlanes(path, plane, "YX"), metadata, (note,))
    raise MixedColoursError(
        f"{path.name} is a colour picture, in which the channels are mixed",
        where=path,
        fix="save the original channels one by one",
    )
