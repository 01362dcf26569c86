"""Images with their masks as OME-Zarr (0.4 or 0.5), which napari, Fiji, QuPath and web viewers open."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.extras import need
from napari_tam.files import OutputError
from napari_tam.markers.labels import label_of
from napari_tam.results.folder import mask_path
from napari_tam.results.overlay import label_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_tam.results.folder import Results

#: Side of a chunk, and the size below which no smaller copy is made.
CHUNK_PX, SMALLEST_PX = 512, 512

_COLOURS = {
    "cell": "808080",
    "nucleus": "0026FF",
    "exosome": "FF00E6",
    "lysosome": "00FF00",
    "extra": "FFFF00",
}


def write_image_zarr(path: Path, results: Results, image: str, version: str = "0.5") -> None:
    """Write an image and its masks as one OME-Zarr.

    The channels that were analysed (as in the file, uncorrected) with their roles as names, and the labels
    ``cells`` and ``nuclei``, each with smaller copies for viewing; lengths in µm.

    Raises
    ------
    InputError
        If zarr is not installed, or the source image is not there any more or has another size.
    """
    with _replacing(path, version) as root:
        _write_image(root, results, image, version)


def write_plate_zarr(
    path: Path, results: Results, name: str, wells: Mapping[str, str], version: str = "0.5"
) -> list[InputError]:
    """Write the images of a plate, with their masks, as one OME-Zarr plate.

    Parameters
    ----------
    path
        The folder.
    results, name
        Where the images were analysed, and what the plate is called.
    wells
        Image to well (``B02``); images of one well are its fields, in their order.

    Returns
    -------
    list of InputError
        Why images are missing in it.

    Raises
    ------
    InputError
        If zarr is not installed, or none of the images can be written.
    """
    failed: list[InputError] = []
    with _replacing(path, version) as root:
        fields: dict[str, list[str]] = {}
        for image, well in wells.items():
            place = f"{well[0]}/{int(well[1:])}"
            number = len(fields.get(place, ()))
            try:
                _write_image(root.create_group(f"{place}/{number}"), results, image, version)
            except InputError as error:
                del root[f"{place}/{number}"]
                failed.append(error)
            else:
                fields.setdefault(place, []).append(str(number))
        if not fields:
            raise failed[0]
        rows, columns = (sorted({place.split("/")[k] for place in fields}, key=_in_order) for k in (0, 1))
        for place, images in fields.items():
            listed = {"images": [{"path": each} for each in images], "version": version}
            _set(root[place], {"well": listed}, version)
        places = sorted(fields, key=lambda place: [_in_order(part) for part in place.split("/")])
        plate = {
            "name": name,
            "rows": [{"name": row} for row in rows],
            "columns": [{"name": column} for column in columns],
            "wells": [
                {
                    "path": place,
                    "rowIndex": rows.index(place.split("/")[0]),
                    "columnIndex": columns.index(place.split("/")[1]),
                }
                for place in places
            ],
            "field_count": max(map(len, fields.values())),
            "version": version,
        }
        _set(root, {"plate": plate}, version)
    return failed


def _in_order(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (0, text)


@contextlib.contextmanager
def _replacing(path: Path, version: str) -> Iterator[Any]:
    """Yield a group to write, which takes the place of what is at `path` when it is whole."""
    zarr = need("zarr", "ome-zarr", "writing OME-Zarr")
    part = path.with_name(path.name + ".part")
    try:
        _remove(part)
        yield zarr.open_group(part, mode="w", zarr_format=3 if version == "0.5" else 2)
        _remove(path)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_image(root: Any, results: Results, image: str, version: str) -> None:
    from napari_tam.settings import Settings
    from napari_tam.train.known_cells import source_field

    file = results.folder / "settings.yaml"
    field = source_field(results, image, Settings.from_yaml(file) if file.exists() else Settings())
    scale = [field.pixel_size_um, field.pixel_size_um]
    if field.z_step_um is not None:
        scale = [field.z_step_um, *scale]
    axes = "zyx"[-len(scale) :]
    channels: list[Any] = list(field.channels.values())
    shape = (len(channels), *channels[0].shape)

    def pixels(lead: tuple[int, ...], rows: slice) -> npt.NDArray[Any]:
        return np.asarray(channels[lead[0]][(*lead[1:], rows, slice(None))])

    sizes = [1.0, *scale]
    meta = _write_levels(root, pixels, shape, channels[0].dtype, "c" + axes, sizes, image, version, mean=True)
    colours = {role: _colour(list(field.exosomes), role) for role in field.channels}
    meta["omero"] = {
        "channels": [_channel(role, colours[role], root["0"], c) for c, role in enumerate(field.channels)]
    }
    _set(root, meta, version)
    kinds = [kind for kind in ("cells", "nuclei") if mask_path(results.folder, image, kind).exists()]
    if kinds:
        group = root.create_group("labels")
        _set(group, {"labels": kinds}, version)
        for kind in kinds:
            own = group.create_group(kind)
            _write_labels(own, results, image, kind, channels[0].shape, axes, scale, version)


def _write_labels(
    group: Any,
    results: Results,
    image: str,
    kind: str,
    shape: tuple[int, ...],
    axes: str,
    scale: list[float],
    version: str,
) -> None:
    labels: Any = results.masks(image, kind)
    assert labels is not None
    if labels.shape != shape:
        raise InputError(
            f"the image has {_sides(shape)} pixels now, and its mask {_sides(labels.shape)}",
            where=f"{results.folder}: {image}",
            fix="analyse the changed image again",
        )

    def pixels(lead: tuple[int, ...], rows: slice) -> npt.NDArray[Any]:
        return np.asarray(labels[(*lead, rows)])

    meta = _write_levels(group, pixels, labels.shape, labels.dtype, axes, scale, kind, version, mean=False)
    meta["image-label"] = {"source": {"image": "../../"}}
    _set(group, meta, version)


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _write_levels(
    group: Any,
    pixels: Callable[[tuple[int, ...], slice], npt.NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: str,
    scale: list[float],
    name: str,
    version: str,
    *,
    mean: bool,
) -> dict[str, Any]:
    """Write an array, strip by strip, and its smaller copies; return the metadata that describe them.

    `pixels` gives the rows of the plane at a place of the axes before y.
    """
    datasets, level = [], 0
    while True:
        factor = 2.0**level
        sizes = [size * (factor if axis in "yx" else 1.0) for axis, size in zip(axes, scale, strict=True)]
        # a smaller pixel's centre is that of the pixels it was made of (labels: of the first of them)
        shift = [
            (factor - 1) / 2 * size if mean and axis in "yx" else 0.0
            for axis, size in zip(axes, scale, strict=True)
        ]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": sizes}]
        if any(shift):
            steps.append({"type": "translation", "translation": shift})
        chunks = tuple(min(n, CHUNK_PX) if axis in "yx" else 1 for axis, n in zip(axes, shape, strict=True))
        extra = {"dimension_names": list(axes)} if version == "0.5" else {}
        keys = {"name": "default" if version == "0.5" else "v2", "separator": "/"}
        array = group.create_array(
            str(level), shape=shape, dtype=dtype, chunks=chunks, chunk_key_encoding=keys, **extra
        )
        for lead in np.ndindex(*shape[:-2]):
            for y in range(0, shape[-2], CHUNK_PX):
                rows = slice(y, min(y + CHUNK_PX, shape[-2]))
                array[(*lead, rows)] = pixels(lead, rows)
        datasets.append({"path": str(level), "coordinateTransformations": steps})
        if min(shape[-2:]) < 2 * SMALLEST_PX:
            break
        shape, level = (*shape[:-2], shape[-2] // 2, shape[-1] // 2), level + 1
        pixels = _smaller_of(array, mean=mean)
    units = [
        {"name": axis, "type": "channel"}
        if axis == "c"
        else {"name": axis, "type": "space", "unit": "micrometer"}
        for axis in axes
    ]
    multiscale: dict[str, Any] = {"name": name, "axes": units, "datasets": datasets}
    if version != "0.5":
        multiscale["version"] = version
    return {"multiscales": [multiscale]}


def _smaller_of(array: Any, *, mean: bool) -> Callable[[tuple[int, ...], slice], npt.NDArray[Any]]:
    """Return what reads the rows of a copy half the size: means of 2 × 2 pixels, of labels the first."""
    width = array.shape[-1] // 2 * 2

    def pixels(lead: tuple[int, ...], rows: slice) -> npt.NDArray[Any]:
        data = np.asarray(array[(*lead, slice(2 * rows.start, 2 * rows.stop), slice(0, width))])
        if not mean:
            return data[::2, ::2]
        total = sum((data[y::2, x::2].astype(np.float32) for y in (0, 1) for x in (0, 1)), np.float32(0))
        means = np.asarray(total) / 4
        return (np.rint(means) if data.dtype.kind in "iu" else means).astype(data.dtype)

    return pixels


def _colour(labels: list[str], role: str) -> str:
    """Return the colour of a channel as RRGGBB; several exosome labels have those of the pictures."""
    if label := label_of(role):
        return "".join(f"{value:02X}" for value in label_colour(labels, label))
    return _COLOURS.get(role, "FFFFFF")


def _channel(role: str, colour: str, array: Any, number: int) -> dict[str, Any]:
    step = max(4, max(array.shape) // 2048)
    data = np.asarray(array[(number, ..., slice(None, None, step), slice(None, None, step))])
    low, high = (float(np.percentile(data, q)) for q in (1, 99.8))
    ends = np.iinfo(data.dtype) if data.dtype.kind in "iu" else None
    least, most = (float(ends.min), float(ends.max)) if ends else (float(data.min()), float(data.max()))
    return {
        "label": role,
        "color": colour,
        "active": True,
        "window": {"start": low, "end": max(high, low + 1e-6), "min": least, "max": most},
    }


def _set(group: Any, meta: dict[str, Any], version: str) -> None:
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **meta}
    else:
        group.attrs.update(meta)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
