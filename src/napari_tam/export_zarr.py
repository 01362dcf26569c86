"""Images with their masks as OME-Zarr (0.4 or 0.5), which napari, Fiji, QuPath and web viewers open."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.extras import need
from napari_tam.output import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.results import Results

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
        If zarr is not installed, or the source image is not there any more.
    """
    zarr = need("zarr", "ome-zarr", "writing OME-Zarr")
    from napari_tam.phenotype_data import source_field
    from napari_tam.settings import Settings

    file = results.folder / "settings.yaml"
    field = source_field(results, image, Settings.from_yaml(file) if file.exists() else Settings())
    part = path.with_name(path.name + ".part")
    scale = [field.pixel_size_um, field.pixel_size_um]
    if field.z_step_um is not None:
        scale = [field.z_step_um, *scale]
    axes = "zyx"[-len(scale) :]
    try:
        _remove(part)
        root = zarr.open_group(part, mode="w", zarr_format=3 if version == "0.5" else 2)
        channels = np.stack(list(field.channels.values()))
        meta = _write_levels(root, channels, "c" + axes, [1.0, *scale], image, version, mean=True)
        meta["omero"] = {"channels": [_channel(role, data) for role, data in field.channels.items()]}
        _set(root, meta, version)
        masks = {
            kind: labels for kind in ("cells", "nuclei") if (labels := results.masks(image, kind)) is not None
        }
        if masks:
            group = root.create_group("labels")
            _set(group, {"labels": list(masks)}, version)
            for kind, labels in masks.items():
                own = group.create_group(kind)
                meta = _write_levels(own, labels, axes, scale, kind, version, mean=False)
                meta["image-label"] = {"source": {"image": "../../"}}
                _set(own, meta, version)
        _remove(path)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_levels(
    group: Any, data: npt.NDArray[Any], axes: str, scale: list[float], name: str, version: str, *, mean: bool
) -> dict[str, Any]:
    """Write an array and its smaller copies; return the metadata that describe them."""
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
        chunks = tuple(
            min(n, CHUNK_PX) if axis in "yx" else 1 for axis, n in zip(axes, data.shape, strict=True)
        )
        extra = {"dimension_names": list(axes)} if version == "0.5" else {}
        keys = {"name": "default" if version == "0.5" else "v2", "separator": "/"}
        group.create_array(str(level), data=data, chunks=chunks, chunk_key_encoding=keys, **extra)
        datasets.append({"path": str(level), "coordinateTransformations": steps})
        if min(data.shape[-2:]) < 2 * SMALLEST_PX:
            break
        data, level = _smaller(data) if mean else data[..., ::2, ::2], level + 1
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


def _smaller(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the means of 2 × 2 pixels, in the type of the image."""
    height, width = (n // 2 * 2 for n in data.shape[-2:])
    parts = [data[..., y:height:2, x:width:2].astype(np.float32) for y in (0, 1) for x in (0, 1)]
    mean = sum(parts[1:], parts[0]) / 4
    return (np.rint(mean) if data.dtype.kind in "iu" else mean).astype(data.dtype)


def _channel(role: str, data: npt.NDArray[Any]) -> dict[str, Any]:
    low, high = (float(np.percentile(data[..., ::4, ::4], q)) for q in (1, 99.8))
    ends = np.iinfo(data.dtype) if data.dtype.kind in "iu" else None
    least, most = (float(ends.min), float(ends.max)) if ends else (float(data.min()), float(data.max()))
    return {
        "label": role,
        "color": _COLOURS.get(role, "FFFFFF"),
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
