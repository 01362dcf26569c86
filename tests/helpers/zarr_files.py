"""OME-Zarr folders of both versions, written by other libraries than the code that is tested."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["CD11b", "DAPI", "exosome"]


STEPS = {"t": 300.0, "z": 0.7, "c": 1.0, "y": fakes.PIXEL_UM, "x": fakes.PIXEL_UM}
UNITS = {"t": "second", **dict.fromkeys("zyx", "micrometer")}
WINDOW = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 1000.0}


def write_zarr(path: Path, version: str, data: Any = None, dims: str = "cyx") -> Path:
    """Write an OME-Zarr: 0.5 with ngff-zarr; 0.4, which that does not write cleanly, with zarr itself."""
    data = fakes.image() if data is None else data
    (write_ngff if version == "0.5" else write_zarr_04)(path, data, dims)
    return path


def write_ngff(path: Path, data: Any, dims: str) -> None:
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff = pytest.importorskip("ngff_zarr")
        image = ngff.to_ngff_image(
            pytest.importorskip("dask.array").from_array(data),
            dims=tuple(dims),
            scale={dim: STEPS[dim] for dim in dims},
            axes_units={dim: UNITS[dim] for dim in dims if dim != "c"},
        )
        multiscales = ngff.to_multiscales(image, scale_factors=[2])
        window = ngff.OmeroWindow(**WINDOW)
        multiscales.metadata.omero = ngff.Omero(
            channels=[ngff.OmeroChannel(color="FFFFFF", window=window, label=name) for name in NAMES]
        )
        ngff.to_ngff_zarr(path, multiscales, version="0.5")


def write_zarr_04(path: Path, data: Any, dims: str) -> None:
    zarr = pytest.importorskip("zarr")
    v04 = pytest.importorskip("yaozarrs.v04")
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": dim, "type": kinds.get(dim, "space")} for dim in dims]
    axes = [{**axis, "unit": UNITS[axis["name"]]} if axis["name"] in UNITS else axis for axis in axes]
    scale = {"type": "scale", "scale": [STEPS[dim] for dim in dims]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    channels = [{"color": "FFFFFF", "window": WINDOW, "label": name} for name in NAMES]
    meta = {
        "multiscales": [{"version": "0.4", "name": "a", "axes": axes, "datasets": datasets}],
        "omero": {"channels": channels},
    }
    v04.Image.model_validate(meta)
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs.update(meta)
    group.create_array("0", data=data, chunk_key_encoding={"name": "v2", "separator": "/"})


def write_plate(path: Path, wells: dict[str, int]) -> Path:
    """Write a plate with so many fields of `fakes.image` (each a grey value brighter) in its wells."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": well} for well in wells]}
    for well, number in wells.items():
        own = group.create_group(well)
        own.attrs["well"] = {"images": [{"path": str(k)} for k in range(number)]}
        for k in range(number):
            write_zarr(path / well / str(k), "0.4", fakes.image() + np.uint16(k))
    return path
