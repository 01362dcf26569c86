"""A results folder in the formats that other programs read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_tam import columns
from napari_tam.errors import InputError
from napari_tam.export.anndata import is_readout, known_columns, write_h5ad
from napari_tam.export.excel import write_excel
from napari_tam.export.shapes import write_geojson, write_rois
from napari_tam.extras import need
from napari_tam.files import OutputError, make_folder
from napari_tam.io.layout import read_layout, well_of
from napari_tam.results import tables
from napari_tam.results.folder import OK, read_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_tam.results.folder import Results

#: What can be exported, and what it is.
FORMATS = {
    "h5ad": "AnnData of the cell table, for scverse (scanpy, squidpy)",
    "geojson": "cells with measurements and classes for QuPath, one file an image",
    "roi": "ROI sets for ImageJ and Fiji, one .zip an image",
    "ome-zarr": "images with their masks as labels, one .ome.zarr a plate (or an image, without wells)",
    "excel": "all tables as one workbook (.xlsx), a sheet a table",
    "tidy": "one CSV with a row per replicate and readout, for R or Prism",
}

#: What writes an image in a format: module, extra, purpose.
LIBRARIES = {
    "roi": ("roifile", "roi", "writing ImageJ ROIs"),
    "ome-zarr": ("zarr", "ome-zarr", "writing OME-Zarr"),
}


def export(
    folder: Path,
    formats: Sequence[str],
    out: Path | None = None,
    *,
    ome_zarr_version: str = "0.5",
) -> Iterator[Path]:
    """Write a results folder in other formats, yielding every file when it is whole.

    Parameters
    ----------
    folder
        The results folder.
    formats
        Some of `FORMATS`.
    out
        Where to write; default: ``exports`` in the results folder.
    ome_zarr_version
        ``0.5`` (Zarr 3) or ``0.4`` (Zarr 2).

    Yields
    ------
    Path
        ``cells.h5ad``, ``tables.xlsx``, ``tidy.csv``, and one file or folder per image in ``geojson/``,
        ``roi/`` and ``ome-zarr/``; there one for each plate if wells are known.

    Raises
    ------
    InputError
        If a format is unknown, its library is missing, or the folder is no results folder or holds no image
        that was analysed. An image that cannot be exported (its source is gone) does not stop the others:
        the error is raised at the end.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"'{name}' is no export", fix=f"choose of {', '.join(FORMATS)}")
    results = read_results(folder)
    target = folder / "exports" if out is None else out
    images = results.images.loc[results.images["status"] == OK, "image"].astype(str).tolist()
    if not images:
        raise InputError(
            "no image was analysed in these results",
            where=folder,
            fix="images.csv tells why; after parts (--part) run the same command without it",
        )
    failed: list[InputError] = []
    for name in dict.fromkeys(formats):
        if name == "h5ad":
            write_h5ad(_ready(target) / "cells.h5ad", results)
            yield target / "cells.h5ad"
        elif name == "excel":
            failed += write_excel(_ready(target) / "tables.xlsx", results)
            yield target / "tables.xlsx"
        elif name == "tidy":
            tables.write_csv(_ready(target) / "tidy.csv", _arrow(tidy(results)))
            yield target / "tidy.csv"
        else:
            if name in LIBRARIES:
                need(*LIBRARIES[name])
            plates = plates_of(results, images) if name == "ome-zarr" else {}
            for plate, wells in plates.items():
                path = _ready(target / name) / f"{plate}.ome.zarr"
                failed += _write_plate(path, results, plate, wells, ome_zarr_version)
                if path.exists():
                    yield path
            on_plates = {image for wells in plates.values() for image in wells}
            for image in (image for image in images if image not in on_plates):
                try:
                    path = _write_image(name, _ready(target / name), results, image, ome_zarr_version)
                except OutputError:
                    raise
                except InputError as error:
                    failed.append(error)
                else:
                    yield path
    if failed:
        raise _combined(failed)


def plates_of(results: Results, images: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the images on plates: plate to image to well.

    Wells are those of the layout, or in the images' names; plates those of the layout, or all is one, called
    after the results folder. A single image is no plate, and the frames of movies are no fields.
    """
    if (results.images["frame"].fillna(0) > 0).any():
        return {}
    path = results.folder / "layout.csv"
    plates: dict[str, dict[str, str]] = {}
    if path.exists():
        rows = read_layout(path).describe(images).to_dict("records")
    else:
        rows = [{"image": image, "well": well_of(image)} for image in images]
    for row in rows:
        if row["well"]:
            name = re.sub(r"[^\w.-]+", "_", str(row.get("plate") or results.folder.resolve().name)) or "plate"
            plates.setdefault(name, {})[str(row["image"])] = str(row["well"])
    return {plate: wells for plate, wells in plates.items() if len(wells) > 1}


def _write_plate(
    path: Path, results: Results, plate: str, wells: dict[str, str], version: str
) -> list[InputError]:
    from napari_tam.export.ome_zarr import write_plate_zarr

    try:
        return write_plate_zarr(path, results, plate, wells, version)
    except OutputError:
        raise
    except InputError as error:
        return [error]


def _combined(failed: list[InputError]) -> InputError:
    first = failed[0]
    if len(failed) == 1:
        return first
    return InputError(
        f"{len(failed)} exports of images could not be made; the first: {first.what}",
        where=first.where,
        fix=first.fix,
    )


def _write_image(name: str, target: Path, results: Results, image: str, version: str) -> Path:
    if name == "geojson":
        path = target / f"{image}.geojson"
        write_geojson(path, results, image)
    elif name == "roi":
        path = target / f"{image}.zip"
        write_rois(path, results, image)
    else:
        from napari_tam.export.ome_zarr import write_image_zarr

        path = target / f"{image}.ome.zarr"
        write_image_zarr(path, results, image, version)
    return path


def tidy(results: Results) -> pd.DataFrame:
    """Return a long table: one row per replicate (all its cells, or those of one phenotype) and readout.

    From ``replicates.csv``; where no layout was given it is empty, and one row is one image and readout:
    the mean over its cells. Columns: what identifies the row, ``cells`` (their number), ``readout``,
    ``value``, ``unit``. Missing values are left out.
    """
    path = results.folder / "replicates.csv"
    wide = tables.read_csv(path) if path.exists() else None
    if wide is not None and len(wide):
        keys = [c.name for c in columns.REPLICATE_COLUMNS if c.name in wide and c.name != "positive_fraction"]
    else:
        cells = results.cells
        known = known_columns(cells.columns)
        readouts = [name for name in cells.columns.astype(str) if is_readout(name, cells[name], known)]
        groups = cells.groupby("image", sort=False)
        wide = groups[readouts].mean().reset_index()
        wide.insert(1, "cells", groups.size().to_numpy())
        keys = ["image", "cells"]
    wide = wide.rename(columns={"unit": "experimental_unit"})
    keys = ["experimental_unit" if key == "unit" else key for key in keys]
    long = wide.melt(keys, var_name="readout", value_name="value").dropna(subset=["value"])
    units = {name: column.unit for name, column in known_columns(results.cells.columns).items()}
    long["unit"] = [units.get(name, "") for name in long["readout"]]
    return long.reset_index(drop=True)


def _arrow(table: pd.DataFrame) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)


def _ready(folder: Path) -> Path:
    make_folder(folder)
    return folder
