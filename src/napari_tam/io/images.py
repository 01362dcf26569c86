"""Images: from what the user names to fields with a channel for every role."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.channel_search import find
from napari_tam.io.file_planes import open_field
from napari_tam.io.listing import extra_of, is_zarr, list_images, name_of, stem_of, unique_names
from napari_tam.io.pictures import COLOURS, SPLIT, SPLIT_COLOURS, is_picture, open_picture
from napari_tam.io.planes import MIN_SIDE_PX, Series
from napari_tam.io.reading import Plan
from napari_tam.io.stack import Stack
from napari_tam.io.tiff import available_memory, open_tiff, reading
from napari_tam.io.tiff_metadata import read_metadata
from napari_tam.settings import REQUIRED_ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import tifffile

    from napari_tam.io.field import Field
    from napari_tam.settings import Settings


__all__ = ["list_images", "read_fields", "stem_of", "unique_names"]


def read_fields(
    path: str | Path,
    settings: Settings,
    *,
    name: str | None = None,
    available_bytes: int | None = None,
    required: Sequence[str] = REQUIRED_ROLES,
    wanted: Callable[[str], bool] | None = None,
) -> Iterator[Field]:
    """Read an image file: one field for every position and time frame in it, one at a time.

    Parameters
    ----------
    path
        OME-TIFF, ImageJ hyperstack or plain TIFF, of any axes order, integer or float type, byte
        order, tiling and compression; an OME-Zarr folder (image, collection or plate); or a file of a
        microscope maker (see docs/formats.md), with the extra that reads it. Of an image whose channels are
        files of their own, any of them.
    settings
        Uses those of the group ``image``.
    name
        Name of the fields instead of the file's stem. ``_s00``, ``_s01``, … is appended when the file
        has several positions (OME images), ``_t0000``, ``_t0001``, … when it has several frames.
    available_bytes
        Memory that may be used. Unset: what the computer has free.
    required
        Roles that the image must have, in channels that are not the same everywhere.
    wanted
        Is asked for every field by its name, in order; a field that is not wanted is not read.

    Yields
    ------
    Field
        Channels of the roles that were found, each YX (ZYX with `z_stack` volume) in the file's own
        type (bool as uint8, float16 as float32, and float32 for a mean projection).

    Raises
    ------
    InputError
        If the file cannot be analysed. A frame that cannot be read (say all NaN) does not stop the
        others: the error is raised after the last one.
    """
    path = Path(path)
    own = name_of(path, settings.files)
    budget = available_memory() if available_bytes is None else available_bytes
    with open_image(path, settings) as (found, lost):
        plans, failed = [], list(lost)
        for one in found:
            try:
                plans.append(Plan(path, one, settings, budget, required))
            except InputError as error:
                if not one.suffix:  # numbered with the others
                    raise
                failed.append((own + one.suffix, error))
        if failed and not plans:
            raise _combined(path, failed, len(failed))
        positions = [(plan, i) for plan in plans for i in range(plan.stack.n_positions)]
        jobs = [(n, t) for n, (plan, _) in enumerate(positions) for t in range(plan.stack.n_times)]
        frames = len(jobs) > len(positions)
        total = len(jobs) + len(failed)
        for number, time in jobs:
            plan, position = positions[number]
            tail = plan.suffix or (f"_s{number:02d}" if len(positions) > 1 else "")
            tail += f"_t{time:04d}" if frames else ""
            full = (name or own) + tail
            if wanted is not None and not wanted(full):
                continue
            try:
                field = plan.read(name or own, tail, position, time)
            except InputError as error:
                failed.append((full, error))
                continue
            yield field
        if failed:
            raise _combined(path, failed, total)


def check_headers(path: Path, settings: Settings) -> None:
    """Find out whether the headers of an image tell what its analysis needs; no pixel is read.

    Raises
    ------
    InputError
        If the file cannot be analysed, as far as that can be told: it is damaged or cut off, does not tell
        its pixel size, or has not the channels that are needed.
    """
    with open_image(path, settings) as (found, lost):
        if lost:
            raise _combined(path, lost, len(found) + len(lost))
        for one in found:
            Plan(path, one, settings, available_memory())


@contextlib.contextmanager
def open_image(path: Path, settings: Settings) -> Iterator[tuple[list[Series], list[tuple[str, InputError]]]]:
    """Open an image with the reader of its kind; with its series come those that cannot be read.

    Raises
    ------
    InputError
        If none can be read.
    """
    split = settings.rgb == SPLIT
    if (channels := find(path, settings.files)) is not None:
        yield open_field(channels), []
        return
    if is_zarr(path):
        from napari_tam.io.ome_zarr import open_zarr

        yield open_zarr(path)
    elif extra_of(path):
        from napari_tam.io.vendor import open_vendor

        with open_vendor(path) as found:
            yield found
    elif is_picture(path):
        if not split:
            raise InputError(
                "this is a picture, in which channels are mixed and intensities changed",
                where=path,
                fix=f"name the microscope's own file, {SPLIT_COLOURS}",
            )
        yield open_picture(path), []
    else:
        with open_tiff(path) as (tif, series):
            chosen, notes = _choose_series(path, tif, series)
            yield [_tiff_series(path, tif, series, index, notes, split=split) for index in chosen], []


def _tiff_series(
    path: Path,
    tif: tifffile.TiffFile,
    series: list[tifffile.TiffPageSeries],
    index: int,
    notes: tuple[str, ...],
    *,
    split: bool,
) -> Series:
    stack = Stack(path, tif, series[index], split=split)
    with reading(path):
        metadata = read_metadata(tif, series, index, stack.n_channels)
    if stack.is_colour:
        metadata = replace(metadata, channel_names=COLOURS)
    return Series(stack, metadata, notes=notes, is_colour=stack.is_colour)


def _combined(path: Path, failed: list[tuple[str, InputError]], total: int) -> InputError:
    name, first = failed[0]
    if total == 1:
        return first
    return InputError(
        f"{len(failed)} of {total} fields could not be read; the first is {name}: {first.what}",
        where=path,
        fix=first.fix,
    )


def _choose_series(
    path: Path, tif: tifffile.TiffFile, series: list[tifffile.TiffPageSeries]
) -> tuple[list[int], tuple[str, ...]]:
    """Return which image series to analyse: the first, and in OME-TIFF all that are like it."""
    # A multi-file OME-TIFF describes all its files in each of them; a series belongs to its first file.
    here = [i for i, s in enumerate(series) if (page := s[0]) is None or page.parent is tif]
    if not here:
        start = next((page.parent.filename for s in series if (page := s[0]) is not None), "another file")
        raise InputError(
            f"this is a part of the image that begins in '{start}'", where=path, fix="name that file"
        )
    first = series[here[0]]

    def alike(other: tifffile.TiffPageSeries) -> bool:
        sizes, first_sizes = (dict(zip(s.axes, s.shape, strict=True)) for s in (other, first))
        return (
            other.kind == "ome"
            and (other.dtype, other.axes) == (first.dtype, first.axes)
            and sizes.get("C") == first_sizes.get("C")
            and min(sizes["Y"], sizes["X"]) >= MIN_SIDE_PX
        )

    chosen = [i for i in here if i == here[0] or alike(series[i])]
    if len(chosen) == len(here):
        return chosen, ()
    return chosen, (f"{len(here) - len(chosen)} of the {len(here)} images in the file were not analysed",)
