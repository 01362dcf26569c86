"""A file that holds one channel: planes of one stain, or a colour picture of which one colour is in use."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.io.stack import Stack
from napari_tam.io.tiff import open_tiff, reading
from napari_tam.io.tiff_metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import tifffile

#: Colour pictures with more pixels than this are not looked through for the colour in use.
MOST_COLOUR_PIXELS = 2**26


class SingleChannel:
    """One channel: times × z of planes.

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
    """

    def __init__(self, path: Path, tif: tifffile.TiffFile, series: list[tifffile.TiffPageSeries]) -> None:
        self.path = path
        self._picture: npt.NDArray[np.generic] | None = None
        self._stack: Stack | None = None
        if _is_colour(series[0]):
            self._picture = _one_colour(path, series[0])
            self.shape = self._picture.shape[0], self._picture.shape[1]
            self.dtype, self.n_times, self.n_z = self._picture.dtype, 1, 1
        else:
            stack = self._stack = Stack(path, tif, series[0])
            if stack.n_channels > 1 or stack.n_positions > 1:
                raise InputError(f"{path.name} holds more than one channel", where=path)
            self.shape, self.dtype = stack.shape, stack.dtype
            self.n_times, self.n_z = stack.n_times, stack.n_z
        with reading(path):
            self.metadata: Metadata = read_metadata(tif, series, 0, 1)

    def check_complete(self) -> None:
        """Raise InputError if pixels are missing, as far as the headers tell."""
        if self._stack is not None:
            self._stack.check_complete()

    def window(self, time: int, z: int, rows: slice, columns: slice) -> npt.NDArray[np.generic]:
        """Read a part of a plane (YX), which the caller may write into."""
        if self._stack is not None:
            return self._stack.window(0, time, z, 0, rows, columns)
        assert self._picture is not None
        return self._picture[rows, columns].copy()


@contextlib.contextmanager
def open_single(path: Path) -> Iterator[SingleChannel]:
    """Open a file of one channel.

    Raises
    ------
    InputError
        If it cannot be read, or holds more than one channel.
    """
    with open_tiff(path) as (tif, series):
        yield SingleChannel(path, tif, series)


def _is_colour(series: tifffile.TiffPageSeries) -> bool:
    axes, shape = series.get_axes(False).upper(), series.get_shape(False)
    return axes == "YXS" and shape[-1] in (3, 4) and series.dtype == np.uint8


def _one_colour(path: Path, series: tifffile.TiffPageSeries) -> npt.NDArray[np.generic]:
    """Return the plane of a colour picture that is in use: the only one, or any if all are equal (grey)."""
    height, width, _ = series.get_shape(False)
    if height * width > MOST_COLOUR_PIXELS:
        raise InputError("the colour picture is too large to be read as one channel", where=path)
    with reading(path):
        pixels: npt.NDArray[Any] = series.asarray()[..., :3]
    used = [k for k in range(3) if pixels[..., k].any()]
    if len(used) == 1 or (
        used and all(np.array_equal(pixels[..., used[0]], pixels[..., k]) for k in used[1:])
    ):
        plane: npt.NDArray[np.generic] = np.ascontiguousarray(pixels[..., used[0]])
        return plane
    raise InputError(
        f"{path.name} is a colour picture, in which the channels are mixed",
        where=path,
        fix="save the original channels one by one",
    )
