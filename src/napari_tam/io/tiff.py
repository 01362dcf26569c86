"""Opening TIFF files: everything that tifffile, imagecodecs or the disk can raise becomes an `InputError`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: First bytes of what is most often mistaken for a TIFF file.
_OTHER_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"ZISRAW": "a Zeiss CZI file",
    b"\xda\xce\xbe\x0a": "a Nikon ND2 file",
    b"\x70\0\0\0": "a Leica LIF file",
    b"\xd0\xcf\x11\xe0": "an Olympus OIB or Zeiss ZVI file",
    b"\x89HDF": "an HDF5 file (.ims, .h5)",
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "a PDF document",
}
#: Errors in tifffile's log that need not matter: a tag that cannot be read, too many or too few strips (the
#: latter is found by `Stack.check_complete`).
_HARMLESS = ("fromfile", "incorrect Strip")

#: What to do (for `InputError.fix`).
SAVE_AS_TIFF = (
    "name a TIFF, an OME-Zarr folder or a microscope's own file with its own ending (.nd2, .czi, .lif), or"
    " export it as OME-TIFF from the microscope's software or Fiji"
)
COPY_AGAIN = "copy or export the file again"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[list[str]]:
    """Turn every failure inside the block into an `InputError`; the value lists what tifffile logged.

    tifffile reports much of what is wrong with a file to its logger only. Within the block (and this
    thread) nothing of that reaches the user's screen, and it is added to the error.
    """
    said: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        text = record.getMessage().removeprefix("<tifffile.TiffFile ")
        said.append(f"{record.levelname}: {text.partition('> ')[2] or text}")
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield said
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            "the image does not fit into the memory", where=path, fix="crop it, or use a larger machine"
        ) from error
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=path, fix="check the name") from error
    except PermissionError as error:
        raise InputError("the file may not be read", where=path, fix="check its permissions") from error
    except Exception as error:
        reasons = [text.partition(": ")[2] for text in said if text.startswith("ERROR")]
        reason = "; ".join([str(error).strip() or type(error).__name__, *reasons])
        raise InputError(
            f"the file is damaged or of an unsupported kind ({reason})", where=path, fix=COPY_AGAIN
        ) from error
    finally:
        logger.removeFilter(keep)


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator[tuple[tifffile.TiffFile, list[tifffile.TiffPageSeries]]]:
    """Open a TIFF file and find its image series, reading headers only.

    Raises
    ------
    InputError
        If the file is missing, empty, no TIFF, or its headers are damaged.
    """
    with reading(path) as said:
        if path.is_dir():
            raise InputError("this is a folder, not an image", where=path, fix="name a file in it")
        with path.open("rb") as file:
            start = file.read(8)
        if not start:
            raise InputError("the file is empty (0 bytes)", where=path, fix=COPY_AGAIN)
        if start[:4] not in _TIFF_MAGIC:
            kind = next((kind for magic, kind in _OTHER_MAGIC.items() if start.startswith(magic)), "")
            raise InputError(f"this is {kind or 'not a TIFF image'}", where=path, fix=SAVE_AS_TIFF)
        tif = tifffile.TiffFile(path)
    try:
        with reading(path) as more:
            series = list(tif.series)
            # Where a page is missing or a header makes no sense, tifffile goes on with what is left.
            errors = [text for text in [*said, *more] if text.startswith("ERROR")]
            errors = [text for text in errors if not any(harmless in text for harmless in _HARMLESS)]
            if errors or not series:
                reasons = dict.fromkeys(text.partition(": ")[2] for text in errors)
                reason = "; ".join(reasons) or "no image in it"
                raise InputError(f"the file is truncated or damaged ({reason})", where=path, fix=COPY_AGAIN)
        yield tif, series
    finally:
        tif.close()


@contextlib.contextmanager
def opened(handle: tifffile.FileHandle) -> Iterator[tifffile.FileHandle]:
    """Open a file handle if it is closed, and leave it as it was."""
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield handle
    finally:
        if closed:
            handle.close()


def read_rows(
    handle: Any, dtype: np.dtype[Any], offset: int, width: int, rows: slice, columns: slice
) -> npt.NDArray[Any]:
    """Read a part of a plane whose pixels lie one after another in the file, `width` a row, from `offset`."""
    result = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype.newbyteorder("="))
    for y in range(rows.start, rows.stop):
        start = offset + (y * width + columns.start) * dtype.itemsize
        result[y - rows.start] = handle.read_array(dtype, result.shape[1], start)
    return result


def read_window(page: Any, rows: slice, columns: slice) -> npt.NDArray[Any]:
    """Read a part of a YX page, decoding only the tiles or strips that it touches.

    Parameters
    ----------
    page
        A page (or frame) whose pixels are one plane.
    rows, columns
        With start and stop inside of the page.
    """
    key, handle = page.keyframe, page.parent.filehandle
    height, width = key.imagelength, key.imagewidth
    result = np.zeros((rows.stop - rows.start, columns.stop - columns.start), key.dtype)
    tall, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, width)
    tall = min(tall, height)
    if page.is_contiguous and not key.is_tiled and key.compression == 1 and key.bitspersample % 8 == 0:
        dtype = np.dtype(key.dtype).newbyteorder(page.parent.byteorder)
        return read_rows(handle, dtype, page.dataoffsets[0], width, rows, columns)
    across = -(-width // wide)
    for i in range(rows.start // tall, -(-rows.stop // tall)):
        for j in range(columns.start // wide, -(-columns.stop // wide)):
            number = i * across + j
            handle.seek(page.dataoffsets[number])
            data = handle.read(page.databytecounts[number]) if page.databytecounts[number] else None
            decoded, _, _ = key.decode(data, number, jpegtables=page.jpegtables)
            if decoded is None:  # never written: empty
                continue
            block = decoded.reshape(decoded.shape[-3], decoded.shape[-2])
            y0, x0 = i * tall, j * wide
            top, left = max(rows.start, y0), max(columns.start, x0)
            low, right = min(rows.stop, y0 + block.shape[0]), min(columns.stop, x0 + block.shape[1])
            result[top - rows.start : low - rows.start, left - columns.start : right - columns.start] = block[
                top - y0 : low - y0, left - x0 : right - x0
            ]
    return result


def available_memory() -> int | None:
    """Return the bytes of free memory, or of installed memory where that is unknown; None if both are."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open("/proc/meminfo", encoding="ascii") as lines,
    ):
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
