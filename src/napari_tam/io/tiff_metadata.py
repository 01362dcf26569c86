"""What the metadata of a TIFF file say about its channels, pixel size and frame interval."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tifffile

#: Units of length in µm, as OME and ImageJ write them (lower case, µ as u).
UNITS_UM = {
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre"), 1e4),
    **dict.fromkeys(("inch", "inches", "in"), 25_400.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    "pm": 1e-6,
    "dm": 1e5,
}
#: Printers and scanners live in these units: believed only for a size that a microscope can have.
_PRINT_UNITS = {"cm": (0.01, 10.0), "inch": (0.01, 10.0), "in": (0.01, 10.0), "inches": (0.01, 10.0)}
#: Units of time in minutes, as OME and ImageJ write them (lower case, µ as u).
UNITS_MIN = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1 / 60),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1 / 60_000),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 1.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 60.0),
    **dict.fromkeys(("d", "day", "days"), 1440.0),
    "us": 1 / 60e6,
    "ns": 1 / 60e9,
}
#: Any declared pixel size outside of this range, in µm, is a mistake in the metadata.
_POSSIBLE = (0.001, 100.0)

_GIVE_IT = "give it in µm: --pixel-size, or pixel_size_um in the settings"


@dataclass(frozen=True)
class Metadata:
    """What a file says about one of its image series.

    Attributes
    ----------
    channel_names
        One a channel (possibly empty text), or none at all.
    channel_aliases
        Other names of the channels, as they stand in the names of files; one a channel, or none at all.
    pixel_um
        Height and width of a pixel in µm; None when unknown.
    pixel_source
        Where `pixel_um` was found.
    z_um
        Distance between planes in µm; None when unknown.
    frame_interval_min
        Time between two frames in minutes; None when unknown.
    """

    channel_names: tuple[str, ...] = ()
    pixel_um: tuple[float, float] | None = None
    pixel_source: str = ""
    z_um: float | None = None
    frame_interval_min: float | None = None
    channel_aliases: tuple[str, ...] = ()


def read_metadata(
    tif: tifffile.TiffFile, series: Sequence[tifffile.TiffPageSeries], index: int, n_channels: int
) -> Metadata:
    """Return the metadata of ``series[index]``: from OME, else ImageJ, else (pixel size) TIFF tags.

    Values that make no sense (a size of 0, one name for all channels, 72 dpi) count as unknown.
    """
    image = _ome_image(tif, series, index)
    imagej = tif.imagej_metadata or {}
    names = _ome_names(image) or _imagej_names(imagej)
    names = names if len(names) == n_channels and (n_channels == 1 or len(set(names)) > 1) else ()
    page = series[index].keyframe
    size, source = _ome_size(image), "OME metadata"
    if size is None:
        size, source = _imagej_size(imagej, page), "ImageJ metadata"
    if size is None:
        size, source = _metaseries_size(tif), "MetaMorph metadata"
    if size is None:
        size, source = _tag_size(page), "TIFF resolution"
    depth = _ome_length(image, "Z")
    if depth is None:
        depth = to_um(_number(imagej.get("spacing")), str(imagej.get("zunit") or imagej.get("unit", "")))
    interval = _ome_interval(image)
    if interval is None:
        interval = _imagej_interval(imagej)
    return Metadata(names, size, source if size else "", depth, interval)


def pixel_size(metadata: Metadata, setting: float | None, where: Path) -> float:
    """Return the edge length of a pixel in µm: the setting, or what the file says.

    Raises
    ------
    InputError
        If neither gives it, or the file's pixels are not square or of an impossible size.
    """
    if setting is not None:
        return setting
    if metadata.pixel_um is None:
        raise InputError("the file does not tell its pixel size", where=where, fix=_GIVE_IT)
    height, width = metadata.pixel_um
    low, high = _POSSIBLE
    if not (low <= height <= high and low <= width <= high):
        raise InputError(
            f"a pixel size of {width:.4g} × {height:.4g} µm ({metadata.pixel_source}) is not possible",
            where=where,
            fix=_GIVE_IT,
        )
    if abs(height - width) > 0.01 * max(height, width):
        raise InputError(
            f"the pixels are not square: {width:.4g} µm wide, {height:.4g} µm high ({metadata.pixel_source})",
            where=where,
            fix=f"resample the image to square pixels; or, if the file is wrong, {_GIVE_IT}",
        )
    return width


def z_step(metadata: Metadata, setting: float | None, where: Path) -> float:
    """Return the distance between the planes of a stack in µm: the setting, or what the file says.

    Raises
    ------
    InputError
        If neither gives it, or the file gives an impossible distance.
    """
    if setting is not None:
        return setting
    fix = "give it in µm: --z-step, or z_step_um in the settings"
    if metadata.z_um is None:
        raise InputError("the z-stack does not tell the distance of its planes", where=where, fix=fix)
    low, high = _POSSIBLE
    if not low <= metadata.z_um <= high:
        raise InputError(
            f"a distance of planes of {metadata.z_um:.4g} µm is not possible", where=where, fix=fix
        )
    return metadata.z_um


def to_um(value: float, unit: str) -> float | None:
    """Convert a length to µm; None for an unknown unit (such as ``pixel``) or an invalid length."""
    # ImageJ escapes µ; there are two letters µ, and both get mangled on the way through Latin-1.
    unit = unit.strip().lower().replace("\\u00b5", "u").replace("\\u03bc", "u")
    unit = unit.replace("â", "").translate(dict.fromkeys(map(ord, "\u00b5\u03bc\ufffd"), "u"))
    factor = UNITS_UM.get(unit)
    if factor is None or not math.isfinite(value) or value <= 0:
        return None
    size = value * factor
    low, high = _PRINT_UNITS.get(unit, (0.0, math.inf))
    return size if low <= size <= high else None


def _ome_image(
    tif: tifffile.TiffFile, series: Sequence[tifffile.TiffPageSeries], index: int
) -> ElementTree.Element | None:
    """Return the OME ``Image`` element of a series."""
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return None
    images = [e for e in root.iter() if _tag(e) == "Image" and any(_tag(child) == "Pixels" for child in e)]
    if len(images) == len(series):
        return images[index]
    # tifffile leaves out images without data, so the numbers need not agree.
    named = [e for e in images if e.get("Name") and e.get("Name") == series[index].name]
    return named[0] if len(named) == 1 else next(iter(images), None)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _ome_names(image: ElementTree.Element | None) -> tuple[str, ...]:
    if image is None:
        return ()
    names = []
    for channel in (e for e in image.iter() if _tag(e) == "Channel"):
        samples = int(channel.get("SamplesPerPixel") or 1)
        names += [(channel.get("Name") or channel.get("Fluor") or "").strip()] + [""] * (samples - 1)
    return tuple(names)


def _ome_size(image: ElementTree.Element | None) -> tuple[float, float] | None:
    told = [size for axis in "YX" if (size := _ome_length(image, axis)) is not None]
    return (told[0], told[-1]) if told else None


def _ome_length(image: ElementTree.Element | None, axis: str) -> float | None:
    """Return the size of a voxel along an axis in µm."""
    pixels = None if image is None else next((e for e in image if _tag(e) == "Pixels"), None)
    if pixels is None:
        return None
    value = _number(pixels.get(f"PhysicalSize{axis}"))
    return to_um(value, pixels.get(f"PhysicalSize{axis}Unit", "µm"))


def _number(value: Any) -> float:
    """Return a value as a number, NaN if it is not one."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def to_minutes(value: float, unit: str) -> float | None:
    """Convert a time to minutes; None for an unknown unit (such as ``frame``) or an invalid time."""
    unit = unit.strip().lower().translate(dict.fromkeys(map(ord, "\u00b5\u03bc"), "u"))
    factor = UNITS_MIN.get(unit)
    return value * factor if factor is not None and math.isfinite(value) and value > 0 else None


def _ome_interval(image: ElementTree.Element | None) -> float | None:
    """Return the minutes between frames: TimeIncrement, else the median step of the planes' DeltaT."""
    pixels = None if image is None else next((e for e in image if _tag(e) == "Pixels"), None)
    if pixels is None:
        return None
    with contextlib.suppress(ValueError):
        told = to_minutes(float(pixels.get("TimeIncrement", "")), pixels.get("TimeIncrementUnit", "s"))
        if told is not None:
            return told
    times: dict[int, float] = {}
    for plane in (e for e in pixels if _tag(e) == "Plane"):
        with contextlib.suppress(ValueError):
            # since the start, which is 0 for the first plane; the earliest plane of a frame is its time
            delta, frame = float(plane.get("DeltaT", "")), int(plane.get("TheT", ""))
            minutes = delta * UNITS_MIN.get(plane.get("DeltaTUnit", "s").lower(), math.nan)
            times[frame] = min(minutes, times.get(frame, math.inf))
    steps = sorted(times[frame + 1] - times[frame] for frame in times if frame + 1 in times)
    return to_minutes(steps[len(steps) // 2], "min") if steps else None


def _imagej_interval(imagej: dict[str, Any]) -> float | None:
    """Return the frame interval of Image > Properties; ``fps`` is only the playback speed."""
    try:
        value = float(imagej.get("finterval", ""))
    except (TypeError, ValueError):
        return None
    return to_minutes(value, str(imagej.get("tunit", "s")))


def _imagej_names(imagej: dict[str, Any]) -> tuple[str, ...]:
    """Return channel names from slice labels; these are arbitrary text, often a file name."""
    n_channels = int(imagej.get("channels", 1))
    labels = imagej.get("Labels") or ()
    if isinstance(labels, str):
        labels = (labels,)
    # The channel runs fastest, unless an old file says otherwise; Bio-Formats writes "c:1/3 z:2/5 - DAPI".
    if str(imagej.get("order", "czt")).lower() not in ("czt", "ctz", "default") or len(labels) < n_channels:
        return ()
    first = (str(label).partition("\n")[0] for label in labels[:n_channels])
    return tuple(re.sub(r"^(?:[cztCZT]:\d+/\d+[\s;,]*)+(?:-\s*)?", "", label).strip() for label in first)


def _imagej_size(imagej: dict[str, Any], page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = str(imagej.get("unit", ""))
    return _resolution(page, str(imagej.get("yunit", unit)), unit) if unit else None


def _metaseries_size(tif: tifffile.TiffFile) -> tuple[float, float] | None:
    """Return what MetaXpress and MetaMorph write into their TIFF files."""
    plane = (tif.metaseries_metadata or {}).get("PlaneInfo") if tif.is_metaseries else None
    if not isinstance(plane, dict) or plane.get("spatial-calibration-state") is False:
        return None
    unit = str(plane.get("spatial-calibration-units", ""))
    height, width = (to_um(_number(plane.get(f"spatial-calibration-{axis}")), unit) for axis in "yx")
    return None if height is None or width is None else (height, width)


def _tag_size(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof(296) or 0), "")
    return _resolution(page, unit, unit) if unit else None


def _resolution(page: tifffile.TiffPage, *units: str) -> tuple[float, float] | None:
    """Return the pixel size from the Y and X resolution tags, given their units."""
    sizes = []
    for tag, unit in zip((283, 282), units, strict=True):
        value = page.tags.valueof(tag)
        try:
            pixels, length = value if isinstance(value, tuple) else (float(value), 1)
            size = to_um(length / pixels, unit)
        except (TypeError, ValueError, ZeroDivisionError):
            return None
        if size is None:
            return None
        sizes.append(size)
    return sizes[0], sizes[1]
