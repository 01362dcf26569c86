"""File → Open Sample: the simulated fields of sample_data/, one layer per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam._napari._layers import SAMPLES, LayerData, layers_of
from napari_tam.io.images import read_fields
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def first_field() -> list[LayerData]:
    """Return the channels of the first sample field as napari layer data."""
    return field_layers(_sample("field_01.ome.tif"))


def second_field() -> list[LayerData]:
    """Return the channels of the second sample field as napari layer data."""
    return field_layers(_sample("field_02.ome.tif"))


def coculture() -> list[LayerData]:
    """Return the channels of the sample co-culture as napari layer data."""
    settings = Settings.from_yaml(_sample("coculture") / "settings.yaml")
    return layers_of(next(read_fields(_sample("coculture") / "coculture_01.ome.tif", settings)))


def field_layers(path: Path) -> list[LayerData]:
    """Return one image layer for every channel of the (first) field in a file, scaled in µm."""
    return layers_of(next(read_fields(path, Settings())))


def _sample(name: str) -> Path:
    return SAMPLES / name
