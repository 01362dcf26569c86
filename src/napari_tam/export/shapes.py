"""Outlines for other programs: GeoJSON for QuPath and ROI sets for ImageJ and Fiji."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.extras import need
from napari_tam.files import replacing
from napari_tam.markers.labels import LABEL, labels_of, of_label, rows_of
from napari_tam.results.outlines import outlines
from napari_tam.results.overlay import label_colour
from napari_tam.volume.projection import project_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from napari_tam.results.folder import Labels, Results
    from napari_tam.results.outlines import Ring

#: Columns that identify the row rather than measure it.
_KEYS = {"image", "label", "frame"}
#: The same table gives the same UUIDs, so that a repeated export is the same file.
_NAMESPACE = uuid.UUID("6f1c1a52-4c4b-5d63-9e43-0b9f7e4a8a10")


def write_geojson(path: Path, results: Results, image: str) -> None:
    """Write the cells and puncta of an image as GeoJSON that QuPath reads (drag it onto the image).

    Coordinates are pixels of the full image, (0, 0) being the corner of the first pixel. A cell is a
    QuPath cell object with its nucleus, its number columns as measurements and its phenotype as class
    (``M1``, or ``M1: Positive`` and ``M1: Negative`` where a control tells); a punctum is a point
    detection of class ``punctum`` or ``aggregate``, with several exosome labels ``GFP: punctum``. Volumes
    are shown from above.

    Raises
    ------
    InputError
        If the image has no masks.
    """
    cells, nuclei = _masks(results, image)
    rows = _rows(results.cells, image, "label")
    nucleus_of = {} if nuclei is None else _nuclei_of_cells(cells, nuclei)
    nucleus_shapes = {} if nuclei is None else dict(outlines(nuclei))
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        between = "\n"
        for feature in _features(results, image, cells, rows, nucleus_of, nucleus_shapes):
            stream.write(between + json.dumps(feature, ensure_ascii=False, allow_nan=False))
            between = ",\n"
        stream.write("\n]}\n")


def write_rois(path: Path, results: Results, image: str) -> None:
    """Write the outlines of cells and nuclei and the puncta of an image as an ImageJ ROI set (.zip).

    Every connected part of a cell or nucleus is a polygon named ``cell_0012`` or ``nucleus_0012`` (a
    second part: ``cell_0012_2``), with corners on pixel edges as ImageJ's wand sets them; a polygon of
    ImageJ has no holes, so these are filled. The puncta of every cell are a multi-point named
    ``puncta_0012``, those outside ``puncta_outside``; with several exosome labels ``puncta_0012_GFP``, in
    the labels' colours.

    Raises
    ------
    InputError
        If roifile is not installed, or the image has no masks.
    """
    roifile = need("roifile", "roi", "writing ImageJ ROIs")
    cells, nuclei = _masks(results, image)
    rois = []
    for kind, labels, colour in (
        ("cell", cells, b"\xff\xf0\xe4\x42"),
        ("nucleus", nuclei, b"\xff\x56\xb4\xe9"),
    ):
        for number, polygons in () if labels is None else outlines(labels):
            for k, polygon in enumerate(polygons, 1):
                name = f"{kind}_{number:04d}" + (f"_{k}" if k > 1 else "")
                rois.append(_roi(roifile, polygon[0], name, colour))
    exosomes = labels_of(results.cells.columns)
    for exosome in exosomes or [""]:
        own = rows_of(results.puncta, exosome)
        rgb = label_colour(exosomes, exosome) if exosome else None
        rois += _points(roifile, own[own["image"] == image], exosome, rgb)
    with replacing(path) as part:
        roifile.roiwrite(part.with_name(part.name + ".zip"), rois, mode="w")
        part.with_name(part.name + ".zip").replace(part)


def _roi(roifile: Any, ring: Ring, name: str, colour: bytes) -> Any:
    roi = roifile.ImagejRoi.frompoints(ring, name=name)
    roi.roitype = roifile.ROI_TYPE.POLYGON
    roi.stroke_color = colour
    return roi


def _points(
    roifile: Any, puncta: pd.DataFrame, exosome: str, colour: tuple[int, int, int] | None
) -> Iterator[Any]:
    """Yield the puncta of an exosome label (empty: the only one), those of each cell together."""
    for label, group in puncta.groupby("label"):
        number = int(str(label))
        name = f"puncta_{number:04d}" if number else "puncta_outside"
        # ImageJ's points lie in the middle of a pixel at .5
        points = group[["x_px", "y_px"]].to_numpy(np.float32) + 0.5
        roi = roifile.ImagejRoi.frompoints(points, name=of_label(name, exosome))
        roi.roitype = roifile.ROI_TYPE.POINT
        roi.options |= roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        if colour is not None:
            roi.stroke_color = bytes((255, *colour))
        yield roi


def _masks(results: Results, image: str) -> tuple[Labels, Labels | None]:
    cells, nuclei = (results.masks(image, kind) for kind in ("cells", "nuclei"))
    if cells is None:
        raise InputError(
            "there is no cell mask", where=f"{results.folder}: {image}", fix="analyse the image again"
        )
    return project_labels(cells), None if nuclei is None else project_labels(nuclei)


def _rows(table: pd.DataFrame, image: str, key: str) -> dict[int, dict[str, Any]]:
    own = table[table["image"] == image]
    return dict(zip(own[key].tolist(), own.to_dict("records"), strict=True))


def _nuclei_of_cells(cells: Labels, nuclei: Labels) -> dict[int, int]:
    """Return, for each cell, the nucleus that covers most of it."""
    both = (cells > 0) & (nuclei > 0)
    pairs, counts = np.unique(np.stack([cells[both], nuclei[both]]), axis=1, return_counts=True)
    best: dict[int, int] = {}
    for column in np.argsort(counts, kind="stable"):
        best[int(pairs[0, column])] = int(pairs[1, column])
    return best


def _features(
    results: Results,
    image: str,
    cells: Labels,
    rows: dict[int, dict[str, Any]],
    nucleus_of: dict[int, int],
    nucleus_shapes: dict[int, list[list[Ring]]],
) -> Iterator[dict[str, Any]]:
    for number, polygons in outlines(cells):
        row = rows.get(number, {})
        feature: dict[str, Any] = {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{image}\0{number}")),
            "geometry": _geometry(polygons),
            "properties": {"objectType": "cell", "name": str(number), "measurements": _measurements(row)},
        }
        if number in nucleus_of:
            feature["nucleusGeometry"] = _geometry(nucleus_shapes[nucleus_of[number]])
        if (name := _class_of(row)) is not None:
            feature["properties"]["classification"] = {"name": name}
        yield feature
    own = results.puncta[results.puncta["image"] == image]
    punctum: dict[str, Any]
    for k, punctum in enumerate(own.to_dict("records")):  # type: ignore[assignment]
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{image}\0punctum\0{k}")),
            # QuPath's coordinates begin at the corner of the first pixel
            "geometry": {"type": "Point", "coordinates": [punctum["x_px"] + 0.5, punctum["y_px"] + 0.5]},
            "properties": {
                "objectType": "detection",
                "classification": {"name": _class_of_punctum(punctum)},
                "measurements": _measurements(punctum, {"label": "cell"}),
            },
        }


def _geometry(polygons: list[list[Ring]]) -> dict[str, Any]:
    closed = [[[*ring.tolist(), ring[0].tolist()] for ring in polygon] for polygon in polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}


def _class_of(row: dict[str, Any]) -> str | None:
    phenotype = row.get("phenotype")
    base = phenotype if isinstance(phenotype, str) and phenotype else None
    if not isinstance(row.get("positive"), bool | np.bool_):
        return base
    sign = "Positive" if row["positive"] else "Negative"
    return sign if base is None else f"{base}: {sign}"


def _class_of_punctum(punctum: dict[str, Any]) -> str:
    name = "aggregate" if punctum.get("aggregate") is True else "punctum"
    return f"{punctum[LABEL]}: {name}" if LABEL in punctum else name


def _measurements(row: dict[str, Any], kept: dict[str, str] | None = None) -> dict[str, float]:
    """Return the number columns of a row; flags are 0 and 1, missing values are left out."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if name in _KEYS and name not in (kept or {}):
            continue
        if isinstance(value, bool | np.bool_ | int | float | np.number) and np.isfinite(value):
            number = float(value)
            found[(kept or {}).get(name, name)] = int(number) if number.is_integer() else number
    return found
