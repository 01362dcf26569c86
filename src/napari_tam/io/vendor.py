"""Vendor formats (ND2, CZI, LIF, …), read by bioio and its plugins."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.extras import need
from napari_tam.io.listing import extra_of
from napari_tam.io.planes import ArrayPlanes, Series, reading_array
from napari_tam.io.tiff_metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

#: The plugin of bioio for each ending; others are read by Bio-Formats, which needs Java.
_PLUGINS = {
    ".nd2": "bioio_nd2",
    ".czi": "bioio_czi",
    ".lif": "bioio_lif",
    ".lof": "bioio_lif",
    ".dv": "bioio_dv",
}
#: The libraries that log while they read.
_LOGGERS = (*sorted(set(_PLUGINS.values())), "bioio_base", "bioio", "liffile", "readlif", "nd2", "ome_types")

_BIOFORMATS = "bioio_bioformats"


@contextlib.contextmanager
def open_vendor(path: Path) -> Iterator[tuple[list[Series], list[tuple[str, InputError]]]]:
    """Open a vendor file: one series per scene (position), and the scenes that cannot be read.

    Headers only. Channel names, pixel size, z-step, frame interval and well come from its metadata.

    Raises
    ------
    InputError
        If the extra that reads it is not installed, or the file cannot be read.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=path, fix="check the name")
    if not path.stat().st_size:
        raise InputError("the file is empty (0 bytes)", where=path, fix="copy or export the file again")
    extra = extra_of(path) or "formats"
    with warnings.catch_warnings(), _quiet():
        # what the readers have to say about their own libraries is of no use to a user
        warnings.simplefilter("ignore")
        plugin = need(_PLUGINS.get(path.suffix.lower(), _BIOFORMATS), extra, f"reading {path.suffix} files")
        first = reading_array(path, lambda: plugin.Reader(path))
        scenes = reading_array(path, lambda: tuple(first.scenes))
        # A reader shows one scene at a time, so every scene gets a reader of its own.
        readers = [first, *(reading_array(path, lambda: plugin.Reader(path)) for _ in scenes[1:])]
        found, lost = [], []
        odd = _odd_scenes(path)
        for number, reader in enumerate(readers):
            try:
                if number in odd:
                    raise InputError(
                        odd[number], where=path, fix="analyse xy images, stacks and movies of these"
                    )
                found.append(reading_array(path, partial(_series, path, reader, number, len(scenes))))
            except InputError as error:
                lost.append((f"scene {scenes[number]}", error))
        if lost and not found:
            raise lost[0][1]
    yield found, lost


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the readers' own messages and tracebacks, which say less than our sentences, for the debug log."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [_Hand()]
    try:
        yield
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers


class _Hand(logging.Handler):
    """Hands a message on to our own log, as one for debugging."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message."""
        logging.getLogger(__name__).debug(
            "%s: %s", record.name, record.getMessage(), exc_info=record.exc_info
        )


def _odd_scenes(path: Path) -> dict[int, str]:
    """Return for every scene of a Leica file that is no xy image what it is."""
    if path.suffix.lower() != ".lif":
        return {}
    found: dict[int, str] = {}
    with contextlib.suppress(Exception):  # what cannot be told is tried
        with importlib.import_module("liffile").LifFile(path) as file:
            for number, image in enumerate(file.images):
                sizes = dict(zip(map(str, image.dims), image.shape, strict=True))
                if kind := scene_kind({axis for axis, length in sizes.items() if length > 1}):
                    found[number] = f"scene {image.path} is {kind}"
    return found


def scene_kind(axes: Collection[str]) -> str:
    """Return what a Leica scene with these axes is, if it is no image of planes; else an empty text."""
    if set(axes) & {"λ", "Λ"}:
        return "a wavelength scan (lambda stack), not an image of stains"
    if "Y" in axes:
        return ""
    if "X" in axes and "Z" in axes:
        return "an xz scan, a section through the cells, not an image plane"
    if "X" in axes and "T" in axes:
        return "a line scan over time, not an image plane"
    return "a line or a point, not an image plane"


def _series(path: Path, reader: Any, number: int, total: int) -> Series:
    reader.set_scene(number)
    array = reader.xarray_dask_data
    stack = ArrayPlanes(path, array.data, "".join(map(str, array.dims)))
    names = tuple(str(name) for name in reader.channel_names or ())
    sizes = reader.physical_pixel_sizes
    height, width, depth = (_positive(getattr(sizes, axis, None)) for axis in "YXZ")
    metadata = Metadata(
        names if len(names) == stack.n_channels else (),
        None if height is None or width is None else (height, width),
        "the file's metadata",
        depth,
        _interval(reader) if stack.n_times > 1 else None,
    )
    well = _well(reader)
    several = f"_s{number:02d}" if total > 1 else ""
    return Series(stack, metadata, f"_{well}{several}" if well else several)


def _positive(value: Any) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        number = float(value)
        return number if math.isfinite(number) and number > 0 else None
    return None


def _interval(reader: Any) -> float | None:
    """Return the minutes between two frames, None when unknown."""
    with contextlib.suppress(Exception):  # a plugin without it may raise anything
        interval = reader.time_interval
        seconds = interval.total_seconds() if hasattr(interval, "total_seconds") else interval
        value = _positive(seconds)
        return None if value is None else value / 60
    return None


def _well(reader: Any) -> str:
    """Return the well that the metadata name as ``B02``, or an empty text."""
    with contextlib.suppress(Exception):
        standard = reader.standard_metadata
        row, column = str(standard.row or ""), str(standard.column or "")
        if row.isdecimal():
            row = chr(ord("A") + int(row) - 1)
        if row.isalpha() and column.isdecimal():
            return f"{row.upper()}{int(column):02d}"
    return ""
