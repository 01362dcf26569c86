"""A file with masks → labels: label images (TIFF, PNG, NumPy), outlines, Cellpose's files."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError, one_line
from napari_tam.io.masks.outlines import draw, read_geojson, read_rois
from napari_tam.io.masks.seg_npy import read_seg
from napari_tam.io.tiff import open_tiff, reading

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Labels = npt.NDArray[np.unsignedinteger[Any]]

#: Label images of these endings are looked for first, then those of the next, …
ENDINGS = ((".tif", ".tiff"), (".png", ".bmp"), (".npy",), (".zip", ".roi"), (".geojson", ".json"))

#: Higher labels than this are numbered anew (tables of all numbers below would fill the memory).
HIGHEST = 2**24


def read_labels(
    path: Path, kind: str, shape: tuple[int, ...], frame: tuple[int, int] = (0, 1)
) -> tuple[Labels, str]:
    """Read the labels of an image.

    Parameters
    ----------
    path
        The file.
    kind
        ``cells`` or ``nuclei``.
    shape
        Of the image: YX, of a volume ZYX.
    frame
        Index of the image's frame, and how many there are: a file may hold the labels of all.

    Returns
    -------
    labels, note
        Unsigned integers of the shape, 0 = background, numbered as in the file; and what must be known of
        them (or "").

    Raises
    ------
    InputError
        If the file cannot be read, holds no labels, or they have another size than the image.
    """
    ending = path.suffix.lower()
    if ending in (".zip", ".roi", ".geojson", ".json"):
        if len(shape) > 2:
            raise InputError("outlines are no masks of a volume", where=path, fix="give a ZYX label image")
        outlines = read_rois(path) if ending in (".zip", ".roi") else read_geojson(path)
        labels, note = draw(outlines, kind, (shape[0], shape[1]), path)
        return _checked(labels, path, note)
    pixels = np.squeeze(_pixels(path))
    index, total = frame
    if total > 1 and pixels.shape == (total, *shape):
        pixels = pixels[index]
    if pixels.shape != shape:
        raise InputError(
            f"the mask has {_sides(pixels.shape)} pixels, the image {_sides(shape)}",
            where=path,
            fix="give masks of the image's own size",
        )
    return _checked(pixels, path, "")


def _pixels(path: Path) -> npt.NDArray[Any]:
    ending = path.suffix.lower()
    if ending in (".tif", ".tiff"):
        with open_tiff(path) as (_, series), reading(path):
            pixels: npt.NDArray[Any] = series[0].asarray()
            return pixels
    if ending == ".npy":
        return _numpy(path)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning about its size
            with Image.open(path) as picture:
                return np.asarray(picture)
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise InputError(f"the picture cannot be read ({one_line(error)})", where=path) from error


def _numpy(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as stream:
            npy: Any = np.lib.format  # without types of its own
            pixels: npt.NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise InputError(f"the file cannot be read ({one_line(error)})", where=path) from error
    except (ValueError, EOFError, MemoryError):  # perhaps what Cellpose wrote
        return read_seg(path)
    return pixels


def _checked(pixels: npt.NDArray[Any], path: Path, note: str) -> tuple[Labels, str]:
    """Return whole numbers from 0 on as labels."""
    fix = "give a label image: 0 outside, and a number of its own for every cell"
    if pixels.dtype.kind not in "buif":
        raise InputError(f"the pixels are of type {pixels.dtype}", where=path, fix=fix)
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
        raise InputError("the pixels are no whole numbers, so this is no label image", where=path, fix=fix)
    if pixels.size and pixels.min() < 0:
        raise InputError("some labels are negative", where=path, fix=fix)
    highest = int(pixels.max(initial=0))
    notes = [note] if note else []
    used = pixels > 0
    if highest and bool((pixels[used] == highest).all()):
        pixels, highest, notes = _parts(used, notes)
    elif highest > HIGHEST:
        numbers, places = np.unique(pixels, return_inverse=True)
        pixels = places.reshape(pixels.shape) + (0 if numbers[0] == 0 else 1)
        highest = int(pixels.max())
        notes.append("labels are numbered anew")
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32
    return np.ascontiguousarray(pixels, dtype), "; ".join(notes)


def _parts(used: npt.NDArray[np.bool_], notes: list[str]) -> tuple[Any, int, list[str]]:
    """Return the connected parts of a mask of one value as labels."""
    from scipy import ndimage

    labels, number = ndimage.label(used, np.ones((3,) * used.ndim))
    if number > 1:
        notes = [*notes, "the mask has one value only: its connected parts are the cells"]
    return labels, int(number), notes


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
