"""Outlines of cells as polygons (ImageJ ROI sets, QuPath GeoJSON) → labels."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError, one_line
from napari_tam.extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

#: Names of outlines that carry a number, as our own exports have them.
_NUMBERED = re.compile(r"(?:(cell|nucleus|puncta)_)?(\d+)(?:_\d+)?$", re.IGNORECASE)
_KINDS = {"cell": "cells", "nucleus": "nuclei", "puncta": "puncta"}

#: No ROI set of an image is larger than this when unpacked (bytes).
LARGEST = 2**30


@dataclass(frozen=True)
class Outline:
    """One object.

    Attributes
    ----------
    rings
        Closed rings of corners (x, y) in pixels, (0, 0) being the corner of the first pixel; where they
        overlap an even number of times there is a hole.
    number
        Its label, if its name tells; 0: the next free one.
    kind
        ``cells`` or ``nuclei``, if the file tells; else empty.
    """

    rings: list[npt.NDArray[np.float64]]
    number: int = 0
    kind: str = ""


def read_rois(path: Path) -> list[Outline]:
    """Read an ImageJ ROI set (.zip) or a single ROI (.roi); lines and points are left out.

    Raises
    ------
    InputError
        If roifile is not installed, or the file cannot be read.
    """
    roifile = need("roifile", "roi", "reading ImageJ ROIs")
    areas = {"POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED"}
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as entries:
                if sum(entry.file_size for entry in entries.infolist()) > LARGEST:
                    raise InputError("the ROI set is too large", where=path)
        found = roifile.ImagejRoi.fromfile(path)
        outlines = []
        for roi in found if isinstance(found, list) else [found]:
            kind, number = _named(str(roi.name or ""))
            if roi.roitype.name not in areas or kind == "puncta":
                continue
            rings = [np.asarray(ring, np.float64) for ring in roi.coordinates(multi=True)]
            outlines.append(Outline(rings, number, kind))
    except InputError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", where=path, fix="check its permissions") from error
    except Exception as error:  # roifile raises nearly anything for a damaged file
        raise InputError(f"this is no set of ImageJ ROIs ({one_line(error)})", where=path) from error
    return outlines


def _named(name: str) -> tuple[str, int]:
    match = _NUMBERED.match(name)
    if match is None or match[1] is None:  # ImageJ itself calls ROIs by their place: 0123-0456
        return ("puncta", 0) if name.startswith("puncta_") else ("", 0)
    return _KINDS[match[1].lower()], int(match[2])


def read_geojson(path: Path) -> list[Outline]:
    """Read polygons of GeoJSON as QuPath exports it; cells with their nuclei. Points are left out.

    Raises
    ------
    InputError
        If it is no GeoJSON.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        features = values.get("features", [values]) if isinstance(values, dict) else values
        return [outline for feature in features for outline in _of_feature(feature)]
    except OSError as error:
        raise InputError("the file cannot be read", where=path, fix="check its permissions") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"this is no GeoJSON of outlines ({one_line(error)})", where=path) from error


def _of_feature(feature: dict[str, Any]) -> Iterator[Outline]:
    said = feature.get("properties") or {}
    name = str(said.get("name") or "")
    number = int(name) if name.isdecimal() and len(name) < 9 else 0
    is_cell = said.get("objectType") == "cell"
    for key, kind in (("geometry", "cells" if is_cell else ""), ("nucleusGeometry", "nuclei")):
        geometry = feature.get(key)
        if not geometry or geometry.get("type") not in ("Polygon", "MultiPolygon"):
            continue
        polygons = (
            geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        )
        rings = [np.asarray(ring, np.float64)[:, :2] for polygon in polygons for ring in polygon]
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("a corner is no number")
        yield Outline(rings, number, kind)


def draw(outlines: list[Outline], kind: str, shape: tuple[int, int], path: Path) -> tuple[Any, str]:
    """Return the labels (YX, uint32) of outlines, and what must be known of them.

    A pixel belongs to an outline if its centre is inside; where outlines overlap, to the first one.

    Parameters
    ----------
    outlines
        As read; if the file tells what they are, only those of the kind.
    kind
        ``cells`` or ``nuclei``.
    shape
        Height and width of the image.
    path
        The file, for messages.

    Raises
    ------
    InputError
        If none of the outlines lies in the image.
    """
    told = [each for each in outlines if each.kind == kind]
    # QuPath's annotations and detections may be what the user says
    chosen = told or [each for each in outlines if not each.kind]
    labels = np.zeros(shape, np.uint32)
    following = max((each.number for each in chosen), default=0) + 1
    lost = shared = 0
    for outline in chosen:
        number = outline.number
        if not number:
            number, following = following, following + 1
        inside, rows, columns = _fill(outline.rings, shape)
        if not inside.any():
            lost += 1
            continue
        part = labels[rows, columns]
        shared += int((inside & (part > 0) & (part != number)).sum())
        part[inside & (part == 0)] = number
    if chosen and lost == len(chosen):
        raise InputError(
            "all outlines lie outside of the image",
            where=path,
            fix="give outlines in pixels of this image, not in µm",
        )
    notes = [f"{lost} outlines lie outside of the image"] if lost else []
    notes += [f"{shared} pixels are in more than one outline and count to the first"] if shared else []
    return labels, "; ".join(notes)


def _fill(
    rings: list[npt.NDArray[np.float64]], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], slice, slice]:
    """Return which pixels of a part of the image are inside, and which part that is."""
    from skimage.draw import polygon

    corners = np.concatenate([ring for ring in rings if len(ring)] or [np.zeros((1, 2))])
    (left, top), (right, low) = np.floor(corners.min(0)), np.ceil(corners.max(0))
    y0, y1 = (int(np.clip(value, 0, shape[0])) for value in (top, low))
    x0, x1 = (int(np.clip(value, 0, shape[1])) for value in (left, right))
    inside = np.zeros((y1 - y0, x1 - x0), bool)
    for ring in rings if inside.size else ():
        # corners are where pixels meet, and a pixel's centre is half a pixel from them
        y, x = polygon(  # type: ignore[no-untyped-call]
            ring[:, 1] - 0.5 - y0, ring[:, 0] - 0.5 - x0, inside.shape
        )
        once = np.zeros_like(inside)
        once[y, x] = True
        inside ^= once
    return inside, slice(y0, y1), slice(x0, x1)
