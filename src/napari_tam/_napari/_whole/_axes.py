"""What the axes of a layer before y and x are (time, z, or not known), and how far apart its planes are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pint

from napari_tam._napari._channel import file_facts
from napari_tam._napari._layers import KEY
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from napari_tam._napari._channel import Channel

#: What can be analysed of an image, with the words that the form has for it.
PLANE, VOLUME, MOVIE = "plane", "volume", "movie"
WORDS = {PLANE: "this plane", VOLUME: "whole volume", MOVIE: "whole movie"}

#: Which axis each of them needs.
_NEEDS = {VOLUME: "Z", MOVIE: "T"}

#: An axis that nobody names.
_NAMELESS = "?"


def known_axes(channel: Channel) -> str:
    """Return a letter for each axis before y and x: ``T``, ``Z``, or ``?`` where nobody names it.

    By what the plugin's reader noted, by the names of the layer's axes, or by the file's own.
    """
    layer = channel.layer
    count = layer.ndim - 2 - (channel.index is not None)
    if layer.rgb or channel.at is not None or count <= 0:
        return ""
    noted = str(layer.metadata.get(KEY, {}).get("axes", ""))
    named = "".join(str(label)[:1].upper() for label in layer.axis_labels[-2 - count : -2])
    path = layer.source.path
    for told in (noted, named, _axes_of_file(Path(path)) if path else ""):
        if len(told) == count and set(told) <= {"T", "Z"} and len(set(told)) == count:
            return told
    return "TZ" if count == 2 else _NAMELESS * count


def offered(channel: Channel) -> list[str]:
    """Return what can be analysed of a channel's image, in the order of the form's list; none for a plane."""
    axes = known_axes(channel)
    whole = [what for what, axis in _NEEDS.items() if axis in axes or axes == _NAMELESS]
    return [PLANE, *whole] if axes else []


def taken_axes(channel: Channel, what: str) -> str:
    """Return the axes of a channel, a nameless one as ``volume`` or ``movie`` needs it.

    Raises
    ------
    InputError
        If time comes behind z.
    """
    axes = known_axes(channel)
    if axes == "ZT":
        raise InputError(
            "the axes are z, time, y, x, and only time, z, y, x can be analysed as a whole",
            where=f"layer '{channel.layer.name}'",
            fix="Save the image with the usual order of axes",
        )
    return _NEEDS[what] if axes == _NAMELESS else axes


def z_step_um(channel: Channel, axes: str) -> float | None:
    """Return the distance of the planes in µm: from the layer's scale if that is a length, or its file."""
    layer = channel.layer
    if "Z" not in axes:
        return None
    place = layer.ndim - 2 - len(axes) + axes.index("Z")
    unit = layer.units[place]
    if unit.is_compatible_with("micrometer"):
        length = pint.get_application_registry().Quantity(layer.scale[place], unit)
        return float(length.to("micrometer").magnitude)
    return file_facts(Path(layer.source.path)).z_um if layer.source.path else None


def frame_interval_min(channel: Channel) -> float | None:
    """Return the time between two frames in minutes: as the plugin's reader noted it, or from the file."""
    layer = channel.layer
    known: float | None = layer.metadata.get(KEY, {}).get("frame_interval_min")
    if known is None and layer.source.path:
        known = file_facts(Path(layer.source.path)).frame_interval_min
    return known


@lru_cache(maxsize=32)
def _axes_of_file(path: Path) -> str:
    """Return the axes of a TIFF file before y and x that are longer than 1, without its channels."""
    from napari_tam.io.stack import Stack
    from napari_tam.io.tiff import open_tiff

    try:
        with open_tiff(path) as (tif, series):
            stack = Stack(path, tif, series[0])
    except InputError:
        return ""
    return "T" * (stack.n_times > 1) + "Z" * (stack.n_z > 1)
