"""OME-Zarr folders (0.1 to 0.5): images, collections of images, plates."""

from __future__ import annotations

import os
import stat
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.extras import need
from napari_tam.io.planes import ArrayPlanes, Series, reading_array
from napari_tam.io.tiff_metadata import Metadata, to_minutes, to_um

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Files that Zarr keeps metadata in, and how many bytes they have at most.
_METADATA, LARGEST_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"), 2**27

#: The longest axis (pixels, planes, channels), the most chunks and the largest chunk (bytes) that are read.
LONGEST_AXIS, MOST_CHUNKS, LARGEST_CHUNK = 5_000_000, 5_000_000, 2**32


def open_zarr(path: Path) -> tuple[list[Series], list[tuple[str, InputError]]]:
    """Return the images of an OME-Zarr folder, at full resolution; headers only are read.

    A plate gives one series per field of view, named ``_B02_s00`` by its well; what bioformats2raw wrote
    gives one a scene.

    Returns
    -------
    series, lost
        What can be read; and the place of each image that the folder should have and that cannot, and why.

    Raises
    ------
    InputError
        If zarr is missing, or the folder is no OME-Zarr that can be read, or none of its images can.
    """
    zarr = need("zarr", "ome-zarr", "reading OME-Zarr")
    check_files(path)
    root = reading_array(path, lambda: zarr.open(path, mode="r"))
    if not isinstance(root, zarr.Group):
        raise _without_meta(path)
    series: list[Series] = []
    lost: list[tuple[str, InputError]] = []
    for place, suffix in reading_array(path, lambda: list(_images(path, root))):
        read = partial(_read, path, root, place, suffix)
        try:
            series.append(reading_array(path, read))
        except InputError as error:
            lost.append((place or path.name, error))
    if lost and not series:
        raise lost[0][1]
    return series, lost


def check_files(path: Path) -> None:
    """See that a Zarr folder holds files and folders, before anything in it is read.

    Raises
    ------
    InputError
        If something in it is a device, a pipe or a socket, which may never end; or metadata are too large.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                state = os.stat(os.path.join(folder, name))
            except OSError:
                continue  # a link to nowhere is a missing chunk
            problem = "" if stat.S_ISREG(state.st_mode) else "is no file, but a device, pipe or socket"
            if name in _METADATA and state.st_size > LARGEST_METADATA:
                problem = f"has {state.st_size:,} bytes, more than metadata can be"
            if problem:
                raise InputError(
                    f"{Path(folder, name).relative_to(path)} in it {problem}",
                    where=path,
                    fix="export the image again",
                )


def check_shape(path: Path, array: Any) -> None:
    """See that an array has a size that images have, before its chunks are listed.

    Raises
    ------
    InputError
        If it has not.
    """
    shape, chunk = tuple(array.shape), tuple(getattr(array, "shards", None) or array.chunks)
    chunks = prod(-(-length // max(step, 1)) for length, step in zip(shape, chunk, strict=False))
    size = prod(chunk) * array.dtype.itemsize
    if max(shape, default=0) > LONGEST_AXIS or chunks > MOST_CHUNKS or size > LARGEST_CHUNK:
        raise InputError(
            f"no image is so large: shape {shape} in {chunks:,} chunks of {size:,} bytes",
            where=path,
            fix="its metadata are damaged; export the image again",
        )


def _meta(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _read(path: Path, root: Any, place: str, suffix: str) -> Series:
    return _series(path, _group(path, root, place), suffix)


def _group(path: Path, root: Any, place: str) -> Any:
    """Return a group in the folder."""
    try:
        found = root[place] if place else root
    except KeyError as error:
        raise InputError(
            f"{place}, of which its metadata tell, is not in it", where=path, fix="copy or export it again"
        ) from error
    return found


def _images(path: Path, root: Any) -> Iterator[tuple[str, str]]:
    """Yield the places of the images in a folder, and what they are called after its name."""
    meta = _meta(root)
    if "plate" in meta:
        for well in meta["plate"]["wells"]:
            row, column = Path(well["path"]).parts
            name = f"_{row}{int(column):02d}" if column.isdecimal() else f"_{row}{column}"
            images = _fields_of_well(root, well["path"])
            for number, image in enumerate(images):
                yield f"{well['path']}/{image}", name + (f"_s{number:02d}" if len(images) > 1 else "")
    elif "multiscales" in meta:
        yield "", ""
    elif "bioformats2raw.layout" in meta or "OME" in root:
        series = _meta(root["OME"]).get("series") if "OME" in root else None
        paths = series or sorted((name for name in root.group_keys() if name.isdecimal()), key=int)
        for number, name in enumerate(paths):
            yield name, f"_s{number:02d}" if len(paths) > 1 else ""
    else:
        raise _without_meta(path)


def _fields_of_well(root: Any, well: str) -> list[str]:
    """Return the fields of a well; one that is not there is named, so that reading it says so."""
    try:
        return [str(image["path"]) for image in _meta(root[well])["well"]["images"]]
    except KeyError:
        return ["0"]


def _without_meta(path: Path) -> InputError:
    return InputError(
        "this Zarr folder has no OME metadata (multiscales or plate)",
        where=path,
        fix="name the OME-Zarr folder itself, or export the image again",
    )


def _series(path: Path, group: Any, suffix: str) -> Series:
    meta = _meta(group)
    try:
        multiscale = meta["multiscales"][0]
        dataset = multiscale["datasets"][0]
    except (KeyError, IndexError) as error:
        raise InputError(
            "its OME metadata list no image (multiscales, datasets)", where=path, fix="export it again"
        ) from error
    array = _group(path, group, dataset["path"])
    check_shape(path, array)
    # before 0.4 axes were letters, before 0.3 always these
    axes = multiscale.get("axes") or ["t", "c", "z", "y", "x"][-array.ndim :]
    named = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    letters = "".join(str(axis["name"])[:1] for axis in named)
    if len({str(axis["name"]) for axis in named}) != len(set(letters)):
        letters = "?" * len(letters)
    sizes = _sizes(multiscale, dataset, len(named))
    told = {
        letter: (size, str(axis.get("unit", "")))
        for letter, size, axis in zip(letters, sizes or [], named, strict=False)
    }

    def length(letter: str) -> float | None:
        return to_um(*told[letter]) if letter in told else None

    height, width = length("y"), length("x")
    stack = ArrayPlanes(path, array, letters)
    channels = (meta.get("omero") or {}).get("channels") or []
    names = tuple(str(channel.get("label") or "") for channel in channels)
    return Series(
        stack,
        Metadata(
            names if len(names) == stack.n_channels else (),
            None if height is None or width is None else (height, width),
            "OME-Zarr",
            length("z"),
            to_minutes(*told["t"]) if "t" in told and told["t"][1] else None,
        ),
        suffix,
        _missing(array),
    )


def _missing(array: Any) -> tuple[str, ...]:
    """Return a note if chunks are missing: an empty corner of a mosaic, or an interrupted copy."""
    there = array.nchunks_initialized
    if there >= array.nchunks:
        return ()
    return (
        f"{array.nchunks - there} of {array.nchunks} chunks are not in the folder and count as "
        f"{array.fill_value:g}: an image with empty parts, or an incomplete copy",
    )


def _sizes(multiscale: dict[str, Any], dataset: dict[str, Any], n: int) -> list[float] | None:
    """Return the size of a step along each axis: the product of the scales of dataset and image."""
    sizes: list[float] | None = None
    for source in (dataset, multiscale):
        for step in source.get("coordinateTransformations") or []:
            if step.get("type") == "scale" and len(step["scale"]) == n:
                sizes = [a * b for a, b in zip(sizes or [1.0] * n, map(float, step["scale"]), strict=True)]
    return sizes
