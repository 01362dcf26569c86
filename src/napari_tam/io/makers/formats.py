"""What the files of makers hold: a function for each kind of file."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from itertools import islice, pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from napari_tam.io.makers.records import records
from napari_tam.io.tiff_metadata import to_minutes, to_um

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Of a long list of images so many are looked at: all channels and planes are among the first.
MOST_RECORDS = 5000


@dataclass(frozen=True)
class Beside:
    """What a maker's file says.

    Attributes
    ----------
    pixel_um, z_um, interval_min
        As in `napari_tam.io.tiff_metadata.Metadata`.
    names
        Number of a channel (as in the files' names) to what it is called; or the names in order.
    """

    pixel_um: tuple[float, float] | None = None
    z_um: float | None = None
    interval_min: float | None = None
    names: dict[int, str] | tuple[str, ...] = field(default_factory=dict)


def harmony(path: Path) -> Beside:
    """PerkinElmer/Revvity Harmony, Index.xml: lengths in m; channels in every image, or in a map since V6."""
    pixel = None
    names: dict[int, str] = {}
    heights: dict[str, float] = {}
    times: dict[int, float] = {}
    first: tuple[str | None, ...] | None = None
    found = records(path, ("Image", "Entry"))
    for each in islice(found, MOST_RECORDS):
        number = each.get("ChannelID", "")
        if number.isdecimal() and each.get("ChannelName"):
            names.setdefault(int(number), each["ChannelName"])
        pixel = pixel or _pixel(each.get("ImageResolutionY"), each.get("ImageResolutionX"), "m")
        place = tuple(each.get(key) for key in ("Row", "Col", "FieldID"))
        if "URL" in each and place == (first := first or place):
            if (height := _number(each.get("PositionZ"))) is not None:
                heights.setdefault(each.get("PlaneID", ""), height)
            frame, offset = each.get("TimepointID", ""), _number(each.get("MeasurementTimeOffset"))
            if frame.isdecimal() and offset is not None:
                times.setdefault(int(frame), offset)
    return Beside(pixel, _step(heights.values(), "m"), _interval(times), names)


def metaxpress(path: Path) -> Beside:
    """MetaXpress .HTD and MetaMorph .nd: lines of "Key", value. The pixel size is in the images."""
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    values = {row[0]: row[1].strip() for row in rows if len(row) > 1}
    names = {
        int(match[1]): value
        for key, value in values.items()
        if (match := re.fullmatch(r"WaveName(\d+)", key))
    }
    step = _number(values.get("ZStepSize", "").replace(",", "."))
    return Beside(None, None if step is None else to_um(step, "um"), None, names)


def yokogawa(path: Path) -> Beside:
    """Yokogawa MeasurementDetail.mrf (pixel size in µm), with MeasurementData.mlf and the .mes beside it."""
    pixel = None
    for each in records(path, ("MeasurementChannel",)):
        pixel = pixel or _pixel(
            each.get("VerticalPixelDimension"), each.get("HorizontalPixelDimension"), "um"
        )
    names: dict[int, str] = {}
    for settings in sorted(path.parent.glob("*.mes")):
        for each in records(settings, ("Channel",)):
            name = each.get("Target") or each.get("Fluorophore") or ""
            if each.get("Ch", "").isdecimal() and name:
                names.setdefault(int(each["Ch"]), name)
    heights: dict[str, float] = {}
    data = path.with_name("MeasurementData.mlf")
    first: tuple[str | None, ...] | None = None
    for each in islice(records(data, ("MeasurementRecord",)), MOST_RECORDS) if data.exists() else ():
        place = tuple(each.get(key) for key in ("Row", "Column", "FieldIndex", "Ch"))
        height = _number(each.get("Z"))
        if each.get("Type") == "IMG" and height is not None and place == (first := first or place):
            heights.setdefault(each.get("ZIndex", ""), height)
    return Beside(pixel, _step(heights.values(), "um"), None, names)


def micromanager(path: Path) -> Beside:
    """Micro-Manager 1.4 and 2, metadata.txt: JSON with a Summary; lengths in µm, times in ms."""
    values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    said: dict[str, Any] = dict(values.get("Summary") or {})
    frames = (each for key, each in values.items() if key != "Summary" and isinstance(each, dict))
    said |= {key: value for key, value in next(frames, {}).items() if key not in said}
    size = _number(said.get("PixelSize_um")) or _number(said.get("PixelSizeUm"))
    step, pause = _number(said.get("z-step_um")), _number(said.get("Interval_ms"))
    names = said.get("ChNames")
    return Beside(
        _pixel(size, size, "um"),
        None if step is None else to_um(abs(step), "um"),
        None if pause is None else to_minutes(pause, "ms"),
        tuple(map(str, names)) if isinstance(names, list) else {},
    )


def leica(path: Path) -> Beside:
    """Leica LAS X, …_Properties.xml: a voxel a dimension (µm unless it says so), channels by LUT."""
    sizes: dict[str, float | None] = {}
    interval = None
    names = []
    for each in records(path, ("DimensionDescription", "ChannelDescription")):
        if each["tag"] == "ChannelDescription":
            names.append(each.get("DyeName") or each.get("LUTName") or "")
            continue
        axis = {"1": "X", "2": "Y", "3": "Z", "4": "T"}.get(each.get("DimID", ""), each.get("DimID", ""))
        number, unit = _with_unit(each.get("Voxel", ""))
        if number is None:  # as in a .lif: the distance of the first to the last pixel
            length, unit = _with_unit(each.get("Length", ""))
            elements = _number(each.get("NumberOfElements")) or 0
            number = None if length is None or elements < 2 else length / (elements - 1)
        unit = unit or each.get("Unit", "") or ("s" if axis == "T" else "µm")
        if axis == "T" and number is not None:
            interval = to_minutes(number, unit)
        elif number is not None:
            sizes.setdefault(axis, to_um(abs(number), unit))
    height, width = sizes.get("Y"), sizes.get("X")
    pixel = None if height is None or width is None else (height, width)
    return Beside(pixel, sizes.get("Z"), interval, tuple(names) if all(names) else ())


def zeiss(path: Path) -> Beside:
    """Zeiss ZEN, the metadata of a CZI as XML: distances in m, channels with a name."""
    sizes: dict[str, float] = {}
    names: dict[str, str] = {}
    for each in records(path, ("Distance", "Channel")):
        if each["tag"] == "Distance":
            value = _number(each.get("Value"))
            if value is not None:
                sizes.setdefault(each.get("Id", ""), value)
        elif each.get("Name") and re.match(r"Channel:\d", each.get("Id", "")):
            names.setdefault(each["Id"], each["Name"])
    depth = sizes.get("Z")
    return Beside(
        _pixel(sizes.get("Y"), sizes.get("X"), "m"),
        None if depth is None else to_um(depth, "m"),
        None,
        tuple(names.values()),
    )


def in_cell(path: Path) -> Beside:
    """GE/Cytiva IN Cell Analyzer .xdce: pixel size in µm."""
    for each in records(path, ("ObjectiveCalibration",)):
        return Beside(_pixel(each.get("pixel_height"), each.get("pixel_width"), "um"))
    return Beside()


def _pixel(height: object, width: object, unit: str) -> tuple[float, float] | None:
    numbers = _number(height), _number(width)
    sizes = [None if number is None else to_um(number, unit) for number in numbers]
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])


def _step(heights: Iterable[float], unit: str) -> float | None:
    places = sorted(heights)
    steps = [b - a for a, b in pairwise(places)]
    return to_um(median(steps), unit) if steps else None


def _interval(times: dict[int, float]) -> float | None:
    places = [times[key] for key in sorted(times)]
    steps = [b - a for a, b in pairwise(places)]
    return to_minutes(median(steps), "s") if steps else None


def _with_unit(text: str) -> tuple[float | None, str]:
    match = re.fullmatch(r"\s*([-+.\deE]+)\s*([^\d\s]*)\s*", text)
    return (_number(match[1]), match[2]) if match else (None, "")


def _number(value: object) -> float | None:
    """Return a finite number, or None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
