"""One image series of a TIFF file: its axes, whether it is complete, and its planes one by one."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_tam.errors import InputError
from napari_tam.io.pictures import COLOURS, JPEG, SPLIT_COLOURS, colour_note, is_ramp
from napari_tam.io.planes import check_side, exact_dtype
from napari_tam.io.tiff import COPY_AGAIN, SAVE_AS_TIFF, opened, read_rows, read_window, reading

if TYPE_CHECKING:
    from pathlib import Path

#: Lengths of an unnamed axis that are taken for channels.
CHANNEL_COUNTS = range(2, 7)

_SAVE_CHANNELS = "save the original channels one by one into one grey-scale OME-TIFF or ImageJ hyperstack"


@dataclass(frozen=True)
class Axis:
    """One axis of a series besides Y and X: its place among all axes, and its length."""

    place: int
    length: int


class Stack:
    """One image series of a file: positions × time × z × channels of planes.

    Headers only; planes are read one by one with `plane`.

    Parameters
    ----------
    path, tif, series
        The file (for messages), opened, and the series.
    split
        Whether the colours of a colour picture are channels.

    Attributes
    ----------
    n_positions, n_times, n_z, n_channels
        Lengths of the axes, 1 when the file has none.
    shape
        Height and width in pixels.
    dtype
        Of the planes that `plane` returns.
    is_colour
        Whether its channels are red, green and blue of a colour picture.
    notes
        Sentences on how the layout was understood.

    Raises
    ------
    InputError
        If it is a colour image (and not to be split), too small, of an unsupported pixel type, or with axes
        that cannot be identified.
    """

    def __init__(
        self, path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, *, split: bool = False
    ) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._tif = tif
        self._series = series
        self._axes = series.get_axes(False).upper()
        self._sizes = series.get_shape(False)
        if self._axes.endswith("YXS") and self._sizes[-1] == 1:  # as tifffile names the axes of OME-TIFF
            self._axes, self._sizes = self._axes[:-1], self._sizes[:-1]
        self._lock = threading.Lock()
        self._cached: tuple[int, npt.NDArray[np.generic]] | None = None
        if self._axes.count("Y") != 1 or self._axes.count("X") != 1:
            raise InputError(f"no image plane in it (axes {self._axes})", where=path, fix=SAVE_AS_TIFF)
        self.shape = self._sizes[self._axes.index("Y")], self._sizes[self._axes.index("X")]
        self.dtype = self._supported_dtype()
        self.is_colour = self._take_colours(split=split)
        check_side(self.shape, path)
        self._name_axes()
        self._split = self._page_axes()

    def _supported_dtype(self) -> np.dtype[Any]:
        dtype = self._series.dtype if self._series.keyframe.dtype is not None else np.dtype(object)
        return exact_dtype(dtype, self.path)

    def _take_colours(self, *, split: bool) -> bool:
        """Return whether it is a colour picture, whose colours become channels; others are refused."""
        page, kinds = self._series.keyframe, tifffile.PHOTOMETRIC
        if page.photometric == kinds.PALETTE and self._series.kind not in ("imagej", "ome"):
            if is_ramp(page.colormap):
                return False
            raise InputError("this is a picture with a colour palette", where=self.path, fix=_SAVE_CHANNELS)
        if page.photometric not in (kinds.RGB, kinds.SEPARATED, kinds.YCBCR, kinds.CIELAB, kinds.CFA):
            return False
        # tifffile.imwrite(path, cyx) with three or four channels declares them as separate RGB planes.
        declared = "C" in self._axes or page.bitspersample > 8
        if page.photometric == kinds.RGB and page.planarconfig == 2 and declared:
            self.notes = ("planes declared as red, green and blue were taken as channels",)
            return False
        jpeg = page.compression in JPEG
        # what is compressed as YCbCr is decoded to red, green and blue
        decoded = page.photometric == kinds.RGB or (page.photometric == kinds.YCBCR and jpeg)
        if split and decoded and "S" in self._axes and "C" not in self._axes:
            self._axes = self._axes.replace("S", "C")
            self.notes = (colour_note(page.bitspersample, jpeg=jpeg),)
            return True
        kind = "RGBA" if page.samplesperpixel == 4 else "RGB"
        raise InputError(
            f"this is a colour picture ({kind}), in which the channels are mixed",
            where=self.path,
            fix=f"{_SAVE_CHANNELS}, {SPLIT_COLOURS}",
        )

    def _name_axes(self) -> None:
        """Identify the axes; those of length 1 are ignored."""
        long = {i: axis for i, axis in enumerate(self._axes) if axis not in "YX" and self._sizes[i] > 1}

        def take(letters: str) -> list[Axis]:
            places = [i for i, axis in long.items() if axis in letters]
            for i in places:
                del long[i]
            return [Axis(i, self._sizes[i]) for i in places]

        # Tiles, positions (phase in OME, mosaic in LSM): separate fields of view.
        self._positions, times, z, channels = take("RPM"), take("T"), take("Z"), take("C")
        if not channels and len(long) == 1 and self._sizes[next(iter(long))] in CHANNEL_COUNTS:
            channels = take(next(iter(long.values())))
            self.notes = self.notes or (
                f"{channels[0].length} pages without an axis name were taken as channels",
            )
        if long or max(len(times), len(z), len(channels)) > 1:
            layout = " × ".join(f"{a}: {n}" for a, n in zip(self._axes, self._sizes, strict=True) if n > 1)
            raise InputError(
                f"the file does not say which of its pages are channels, z-planes or times ({layout})",
                where=self.path,
                fix="save it as OME-TIFF, or in Fiji with Image > Hyperstacks > Stack to Hyperstack",
            )
        self._time, self._z, self._channel = (axes[0] if axes else None for axes in (times, z, channels))
        self.n_positions = math.prod(axis.length for axis in self._positions)
        self.n_times, self.n_z, self.n_channels = (
            axis.length if axis else 1 for axis in (self._time, self._z, self._channel)
        )
        if self.is_colour:
            self.n_channels = len(COLOURS)  # without transparency

    def _page_axes(self) -> int:
        """Return how many leading axes run over pages; the others lie inside a page.

        0 where Y and X do not lie in one page (axes such as YXC): the whole series is read at once then.
        """
        size = self._series.keyframe.size
        for split in range(len(self._sizes) - 1, -1, -1):
            if math.prod(self._sizes[split:]) == size and {"Y", "X"} <= set(self._axes[split:]):
                return split
        return 0

    def check_complete(self) -> None:
        """Raise InputError if pixel data lie beyond the end of the file, or some were never written."""
        series = self._series
        with reading(self.path):
            offset = None if series.is_multifile else series.dataoffset
            if offset is not None:
                missing = offset + math.prod(self._sizes) * series.dtype.itemsize - self._tif.filehandle.size
                if missing > 0:
                    raise self._truncated(f"{missing} bytes of pixel data are missing at its end")
                return
            for number, page in enumerate(series):
                if page is not None:
                    self._check_page(number, page)

    def _check_page(self, number: int, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
        offsets, counts, size = page.dataoffsets, page.databytecounts, page.parent.filehandle.size
        if page.is_contiguous:
            ends = [offsets[0] + self._series.keyframe.nbytes] if len(offsets) else []
        else:
            ends = [o + n for o, n in zip(offsets, counts, strict=False) if o and n]
            if len(ends) < math.prod(page.chunked):
                ends = []
        if not ends:
            raise self._truncated(f"pixel data of page {number} were never written")
        if max(ends) > size:
            raise self._truncated(
                f"pixel data of page {number} end {max(ends) - size} bytes behind the file's end"
            )

    def _truncated(self, why: str) -> InputError:
        return InputError(f"the file is truncated: {why}", where=self.path, fix=COPY_AGAIN)

    def plane(self, position: int, time: int, z: int, channel: int) -> npt.NDArray[np.generic]:
        """Read one plane.

        Returns
        -------
        ndarray
            YX, of `dtype`, native byte order; the caller may write into it.

        Raises
        ------
        InputError
            If it is missing or cannot be decoded.
        """
        index = self._index(position, time, z, channel)
        number = 0
        for i, size in zip(index[: self._split], self._sizes[: self._split], strict=True):
            number = number * size + i
        inside = tuple(
            slice(None) if axis in "YX" else i
            for i, axis in zip(index[self._split :], self._axes[self._split :], strict=True)
        )
        plane = self._page(number)[inside]
        if self._axes.index("X") < self._axes.index("Y"):
            plane = plane.T
        # The kept page must not change under its next reader.
        return plane.astype(self.dtype, order="C", copy=self._cached is not None)

    def _index(self, position: int, time: int, z: int, channel: int) -> list[int]:
        """Return the index of a plane along all axes."""
        index = [0] * len(self._sizes)
        for axis in reversed(self._positions):
            position, index[axis.place] = divmod(position, axis.length)
        for known, i in ((self._time, time), (self._z, z), (self._channel, channel)):
            if known is not None:
                index[known.place] = i
        return index

    def window(
        self, position: int, time: int, z: int, channel: int, rows: slice, columns: slice
    ) -> npt.NDArray[np.generic]:
        """Read a part of a plane: of a tiled or striped page only what is needed of it.

        Pages in which channels lie beside one another are read as a whole.

        Raises
        ------
        InputError
            If it cannot be decoded.
        """
        rows, columns = (slice(*s.indices(n)[:2]) for s, n in zip((rows, columns), self.shape, strict=True))
        series, handle = self._series, self._tif.filehandle
        index = self._index(position, time, z, channel)
        # a field of a large image may be analysed when its file was closed behind the last field
        with self._lock, reading(self.path), opened(handle):
            first = None if series.is_multifile or self._axes[-2:] != "YX" else series.dataoffset
            handle.open()  # tifffile may have closed it while looking for that
            if first is not None:  # plane after plane, whatever the headers: one may stand for many
                number = 0
                for i, size in zip(index[:-2], self._sizes[:-2], strict=True):
                    number = number * size + i
                dtype = series.dtype.newbyteorder(self._tif.byteorder)
                offset = first + number * math.prod(self.shape) * dtype.itemsize
                pixels = read_rows(handle, dtype, offset, self.shape[1], rows, columns)
            elif series.is_multifile or self._axes[self._split :] != "YX":
                return self.plane(position, time, z, channel)[rows, columns].copy()
            else:
                number = 0
                for i, size in zip(index[: self._split], self._sizes[: self._split], strict=True):
                    number = number * size + i
                page = series[number]
                if page is None:
                    raise self._truncated(f"page {number} of {len(series)} is missing")
                pixels = read_window(page, rows, columns)
        return pixels.astype(self.dtype, copy=False)

    def _page(self, number: int) -> npt.NDArray[np.generic]:
        """Read a page, keeping the last one: channels may lie side by side in it."""
        if self._cached is None or self._cached[0] != number:
            self._cached = None
            with reading(self.path):
                pixels = self._read_page(number).reshape(self._sizes[self._split :])
            if pixels.size == math.prod(self.shape):
                return pixels
            self._cached = number, pixels
        return self._cached[1]

    def _read_page(self, number: int) -> npt.NDArray[np.generic]:
        series = self._series
        if self._split == 0 and len(series) > 1:
            whole: npt.NDArray[np.generic] = series.asarray()
            return whole
        offset = None if series.is_multifile else series.dataoffset
        if offset is not None:
            # ImageJ and tifffile may write one page header for a whole stack of planes.
            dtype = series.dtype.newbyteorder(self._tif.byteorder)
            count = series.keyframe.size
            place = offset + number * count * dtype.itemsize
            pixels: npt.NDArray[np.generic] = self._tif.filehandle.read_array(dtype, count, place)
            return pixels
        page = series[number]
        if page is None:
            raise self._truncated(f"page {number} of {len(series)} is missing (or lies in another file)")
        # the other files of a multi-file OME-TIFF are closed
        with opened(page.parent.filehandle):
            return page.asarray()
