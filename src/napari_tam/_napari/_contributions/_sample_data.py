"""File → Open Sample: the simulated fields of sample_data/, one layer a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._layers import COLORMAPS, KEY
from napari_tam.installation import bundled
from napari_tam.io.images import read_fields
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.io.field import Field

#: Nothing is written beside these.
SAMPLES = bundled("sample_data")

LayerData = tuple[Any, dict[str, Any], str]


def first_field() -> list[LayerData]:
    """Return the channels of the first sample field as napari layer data."""
    return field_layers(_sample("field_01.ome.tif"))


def second_field() -> list[LayerData]:
    """Return the channels of the second sample field as napari layer data."""
    return field_layers(_sample("field_02.ome.tif"))


def field_layers(path: Path) -> list[LayerData]:
    """Return one image layer for every channel of the (first) field in a file, scaled in µm."""
    return layers_of(next(read_fields(path, Settings())))


def layers_of(field: Field) -> list[LayerData]:
    """Return one image layer for every channel of a field, scaled in µm."""
    sample = field.source is None or field.source.parent == SAMPLES
    source = None if sample else str(field.source)
    layers: list[LayerData] = []
    for role, plane in field.channels.items():
        low, high = np.percentile(plane.astype(np.float32), (1, 99.8))
        arguments = {
            "name": f"{field.name} {role}",
            "colormap": COLORMAPS[role],
            "blending": "additive",
            "contrast_limits": (float(low), float(max(high, low + 1))),
            "scale": (field.pixel_size_um,) * 2,
            "units": ("µm", "µm"),
            "metadata": {KEY: {"image": field.name, "role": role, "source": source}},
        }
        layers.append((plane, arguments, "image"))
    return layers


def _sample(name: str) -> Path:
    return SAMPLES / name
