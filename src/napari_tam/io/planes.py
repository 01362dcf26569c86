"""The interface of all readers: stacks of planes with the file's metadata."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_tam.io.tiff_metadata import Metadata

#: Side of the smallest image that is analysed, in pixels.
MIN_SIDE_PX = 16

#: Working memory of an analysis beside the channels, in bytes a pixel.
BYTES_PER_PIXEL = 60


class Planes(Protocol):
    """Positions × times × z × channels of planes, read one by one."""

    path: Path
    notes: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    n_positions: int
    n_times: int
    n_z: int
    n_channels: int

    def check_complete(self) -> None:
        """Raise InputError if pixels are missing, as far as the headers tell."""

    def plane(self, position: int, time: int, z: int, channel: int) -> npt.NDArray[np.generic]:
        """Read one plane (YX), which the caller may write into."""
        ...

    def window(
        self, position: int, time: int, z: int, channel: int, rows: slice, columns: slice
    ) -> npt.NDArray[np.generic]:
        """Read a part of a plane, and not much more of the file than that."""
        ...


@dataclass(frozen=True)
class LazyPlane:
    """A plane that is read piece by piece: ``plane[rows, columns]`` with slices of step 1.

    Attributes
    ----------
    shape, dtype
        Of the whole plane (Y, X).
    read
        Rows and columns (slices with start and stop) to pixels.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    read: Callable[[slice, slice], npt.NDArray[Any]]

    ndim = 2

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Read a part."""
        rows, columns = (slice(*s.indices(n)[:2]) for s, n in zip(index, self.shape, strict=True))
        return self.read(rows, columns)


@dataclass(frozen=True)
class Series:
    """One image series of a file.

    Attributes
    ----------
    stack
        Its planes.
    metadata
        What the file says about it.
    suffix
        Appended to the file's name in the names of its fields, e.g. ``_B02_s00``; empty: numbered.
    notes
        What was decided on reading.
    is_colour
        Whether its channels are the colours of a picture.
    """

    stack: Planes
    metadata: Metadata
    suffix: str = ""
    notes: tuple[str, ...] = field(default=())
    is_colour: bool = False


class ArrayPlanes:
    """Planes of an array that is read piece by piece (zarr, dask).

    Parameters
    ----------
    path
        The file, for messages.
    array
        Anything with `shape`, `dtype` and indexing.
    axes
        A letter an axis: Y and X, and any of T, Z, C; other axes must have length 1.

    Raises
    ------
    InputError
        If the axes or the pixel type cannot be used, or the image is too small.
    """

    n_positions = 1

    def __init__(self, path: Path, array: Any, axes: str) -> None:
        axes = axes.upper()
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._array, self._axes = array, axes
        sizes = dict(zip(axes, array.shape, strict=True))
        odd = {axis: n for axis, n in sizes.items() if axis not in "TCZYX" and n > 1}
        if odd or len(sizes) != len(axes) or not {"Y", "X"} <= set(sizes):
            layout = " × ".join(f"{axis}: {n}" for axis, n in zip(axes, array.shape, strict=True))
            raise InputError(
                f"axes that are not known ({layout})", where=path, fix="export it as OME-TIFF or OME-Zarr"
            )
        self.shape = sizes["Y"], sizes["X"]
        self.n_times, self.n_z, self.n_channels = (sizes.get(axis, 1) for axis in "TZC")
        self.dtype = exact_dtype(np.dtype(array.dtype), path)
        check_side(self.shape, path)

    def check_complete(self) -> None:
        """Nothing: missing chunks are known when they are read."""

    def plane(self, position: int, time: int, z: int, channel: int) -> npt.NDArray[np.generic]:
        """Read one plane."""
        return self.window(position, time, z, channel, slice(None), slice(None))

    def window(
        self, position: int, time: int, z: int, channel: int, rows: slice, columns: slice
    ) -> npt.NDArray[np.generic]:
        """Read a part of a plane."""
        places: dict[str, int | slice] = {"T": time, "Z": z, "C": channel, "Y": rows, "X": columns}
        index = tuple(places.get(axis, 0) for axis in self._axes)
        pixels = reading_array(self.path, lambda: np.asarray(self._array[index]))
        if self._axes.index("X") < self._axes.index("Y"):
            pixels = pixels.T
        return np.array(pixels, self.dtype, order="C")


def reading_array(path: Path, read: Callable[[], Any]) -> Any:
    """Return what `read` returns; whatever a reader raises becomes an `InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the readers' own libraries: of no use to a user
            return read()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers raise nearly anything for a damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"the file is damaged or of an unsupported kind ({reason})",
            where=path,
            fix="copy or export the file again",
        ) from error


def exact_dtype(dtype: np.dtype[Any], path: Path) -> np.dtype[Any]:
    """Return the type in which pixels are held, in native byte order.

    Raises
    ------
    InputError
        If the pixels are no real numbers.
    """
    if dtype.kind not in "buif":
        kind = {"c": "complex numbers", "O": "of a kind that cannot be read"}.get(dtype.kind, str(dtype))
        raise InputError(
            f"the pixels are {kind}", where=path, fix="save the image with integer or float pixels"
        )
    # Exact, and spares everything after it two types in which arithmetic goes wrong.
    exact = {"bool": "uint8", "float16": "float32"}
    return np.dtype(exact.get(dtype.name, dtype.newbyteorder("=")))


def check_side(shape: tuple[int, int], path: Path) -> None:
    """Raise InputError if an image is too small to be analysed."""
    if min(shape) < MIN_SIDE_PX:
        raise InputError(
            f"the image has only {shape[0]} × {shape[1]} pixels",
            where=path,
            fix=f"at least {MIN_SIDE_PX} × {MIN_SIDE_PX} are needed",
        )


def check_memory(stack: Planes, n_channels: int, available: int | None, planes: int = 1) -> None:
    """Raise InputError if `n_channels` of `planes` each cannot be analysed in `available` bytes."""
    height, width = stack.shape
    needed = planes * height * width * (n_channels * stack.dtype.itemsize + BYTES_PER_PIXEL)
    if available is not None and needed > available:
        many = f"{planes} planes of " if planes > 1 else ""
        raise InputError(
            f"{many}{height} × {width} pixels with {n_channels} channels need about {_gigabytes(needed)}"
            f" of memory, {_gigabytes(available)} are free",
            where=stack.path,
            fix="crop or bin the image, or use a machine with more memory",
        )


def check_space(stack: Planes) -> None:
    """Raise InputError if the temporary folder has no room for the labels of a large image."""
    height, width = stack.shape
    needed = 8 * height * width
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise InputError(
            f"{height} × {width} pixels need about {_gigabytes(needed)} in the temporary folder "
            f"{tempfile.gettempdir()}, {_gigabytes(free)} are free",
            where=stack.path,
            fix="crop the image, or set TMPDIR to a folder with more space",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size < 1e15 else f"{size / 1e9:.3g} GB"
