"""OME-Zarr folders (0.1 to 0.5): images, collections of images, plates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.extras import need
from napari_tam.planes import ArrayPlanes, Series, reading_array
from napari_tam.tiffmeta import Metadata, to_minutes, to_um

if TYPE_CHECKING:
    from collections.abc import Iterator


def open_zarr(path: Path) -> list[Series]:
    """Return the images of an OME-Zarr folder, at full resolution; headers only are read.

    A plate gives one series a field of view, named ``_B02_s00`` by its well; what bioformats2raw wrote
    gives one a scene.

    Raises
    ------
    InputError
        If zarr is missing, or the folder is no OME-Zarr that can be read.
    """
    zarr = need("zarr", "ome-zarr", "reading OME-Zarr")
    root = reading_array(path, lambda: zarr.open_group(path, mode="r"))
    return reading_array(path, lambda: [_series(path, *found) for found in _images(path, root)])  # type: ignore[no-any-return]


def _meta(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _images(path: Path, root: Any) -> Iterator[tuple[Any, str]]:
    """Yield the image groups in a folder, and what they are called after its name."""
    meta = _meta(root)
    if "plate" in meta:
        wells = meta["plate"]["wells"]
        for well in wells:
            row, column = Path(well["path"]).parts
            group = root[well["path"]]
            name = f"_{row}{int(column):02d}" if column.isdecimal() else f"_{row}{column}"
            images = _meta(group)["well"]["images"]
            for number, image in enumerate(images):
                yield group[image["path"]], name + (f"_s{number:02d}" if len(images) > 1 else "")
    elif "multiscales" in meta:
        yield root, ""
    elif "bioformats2raw.layout" in meta or "OME" in root:
        series = _meta(root["OME"]).get("series") if "OME" in root else None
        paths = series or sorted((name for name in root.group_keys() if name.isdecimal()), key=int)
        for name in paths:
            yield root[name], ""
    else:
        raise InputError(
            "this Zarr folder has no OME metadata (multiscales or plate)",
            where=path,
            fix="name the OME-Zarr folder itself, or export the image again",
        )


def _series(path: Path, group: Any, suffix: str) -> Series:
    meta = _meta(group)
    multiscale = meta["multiscales"][0]
    dataset = multiscale["datasets"][0]
    array = group[dataset["path"]]
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
    )


def _sizes(multiscale: dict[str, Any], dataset: dict[str, Any], n: int) -> list[float] | None:
    """Return the size of a step along each axis: the product of the scales of dataset and image."""
    sizes: list[float] | None = None
    for source in (dataset, multiscale):
        for step in source.get("coordinateTransformations") or []:
            if step.get("type") == "scale" and len(step["scale"]) == n:
                sizes = [a * b for a, b in zip(sizes or [1.0] * n, map(float, step["scale"]), strict=True)]
    return sizes
