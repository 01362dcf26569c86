"""Pictures: PNG, JPEG and BMP files, and what is said about intensities that were made for the eye.

The names of files are listed with what is here, so numpy is imported where pixels are read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_tam.io.planes import Series

#: Endings of pictures, which are images only where colours are wanted as channels.
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")

#: The setting `rgb` that takes colours for channels.
SPLIT = "split"

#: What the channels of a colour picture are called.
COLOURS = ("red", "green", "blue")

#: What makes a note one about a picture's intensities.
NO_MEASUREMENT = "its intensities are no measurements"

#: Compressions that change values.
JPEG = (6, 7, 33003, 33005, 34892, 34712)

#: How colours become channels, for messages.
SPLIT_COLOURS = "or take its colours for channels with --rgb split, if only pictures are left"


def is_picture(path: Path | str) -> bool:
    """Tell whether a file is a picture by its name."""
    return os.path.splitext(path)[1].lower() in PICTURES


def grey_note(bits: int, *, jpeg: bool) -> str:
    """Return what must be known about the intensities of a grey picture; empty: nothing."""
    if jpeg:
        return f"a picture ({bits} bit, JPEG): {NO_MEASUREMENT}"
    return f"a picture of {bits} bit: were its intensities stretched for the eye?" if bits <= 8 else ""


def colour_note(bits: int, *, jpeg: bool) -> str:
    """Return what must be known about a colour picture that is taken for an image."""
    return f"a colour picture ({bits} bit{', JPEG' if jpeg else ''}): {NO_MEASUREMENT}"


def is_ramp(palette: npt.NDArray[Any] | None) -> bool:
    """Whether a palette only colours intensities: its brightness rises with the number, as a LUT's does."""
    if palette is None or palette.ndim != 2:
        return False
    import numpy as np

    colours = palette.astype(np.int64)
    steps = np.diff(colours, axis=1)
    return bool((steps >= 0).all() and (colours.sum(0)[-1] > colours.sum(0)[0]))


def read_picture(path: Path) -> npt.NDArray[Any]:
    """Read a picture; transparency is left out.

    Returns
    -------
    ndarray
        YX if it is grey, else YXC with red, green and blue; uint8 or uint16.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    import cv2
    import numpy as np

    fix = "copy or export the file again"
    try:
        data = np.fromfile(path, np.uint8)  # cv2 itself cannot open every name on Windows
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except OSError as error:
        raise InputError(
            "the file cannot be read", where=path, fix="check its name and permissions"
        ) from error
    except cv2.error as error:
        raise InputError("the picture cannot be decoded", where=path, fix=fix) from error
    if pixels is None:
        raise InputError("the file is empty or no picture", where=path, fix=fix)
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] < len(COLOURS):  # grey with transparency
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(pixels[..., 2::-1])  # from blue, green, red


def open_picture(path: Path) -> list[Series]:
    """Return a picture as the one series of planes that it is: its colours are channels.

    Raises
    ------
    InputError
        If it cannot be read, or is too small.
    """
    from napari_tam.io.planes import ArrayPlanes, Series
    from napari_tam.io.tiff_metadata import Metadata

    pixels = read_picture(path)
    planes = ArrayPlanes(path, pixels, "YXC"[: pixels.ndim])
    note = colour_note(8 * pixels.dtype.itemsize, jpeg=path.suffix.lower() in (".jpg", ".jpeg"))
    colour = pixels.ndim > 2
    return [Series(planes, Metadata(COLOURS if colour else ()), notes=(note,), is_colour=colour)]
