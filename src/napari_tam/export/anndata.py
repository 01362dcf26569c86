"""The cell table as AnnData (.h5ad), for scverse tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam import columns
from napari_tam.extras import need
from napari_tam.files import replacing
from napari_tam.io.label_columns import label_columns, label_decision_columns, together_columns
from napari_tam.markers.labels import labels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_tam.columns import Column
    from napari_tam.results.folder import Results

#: Groups of columns that say what the cell is, where, and how it was classified; the others are readouts.
_ABOUT = {"keys", "layout", "phenotype", "time"}


def known_columns(names: Iterable[str] = ()) -> dict[str, Column]:
    """Return all columns that cells.csv can have, by name; `names` tell the exosome labels that there are."""
    known = (
        *columns.CELL_COLUMNS,
        *columns.VOLUME_CELL_COLUMNS,
        *columns.phenotype_columns(),
        *columns.LAYOUT_COLUMNS,
        *columns.DECISION_COLUMNS,
        *columns.TIME_COLUMNS,
    )
    labels = labels_of(names)
    by_label = (
        *label_columns(labels, volume=True),
        *label_decision_columns(labels),
        *together_columns(labels),
    )
    return {column.name: column for column in (*known, *by_label)}


def is_readout(name: str, values: pd.Series[Any], known: Mapping[str, Column]) -> bool:
    """Return whether a column of cells.csv is a number that was measured (flags and texts are not).

    `known` is what `known_columns` gives for its table.
    """
    column = known.get(name)
    if column is None:  # a user's own column, or the probability of a user's own class
        return pd.api.types.is_numeric_dtype(values) and values.dtype != bool and not name.startswith("p_")
    return column.kind in ("number", "integer", "maybe_integer") and column.group not in _ABOUT


def to_anndata(results: Results) -> Any:
    """Return the cell table as an `anndata.AnnData`.

    ``X`` (cells × readouts, float64, NaN = missing) has the measured numbers; ``obs`` has the rest:
    image, label, layout, phenotype, flags (texts as categories, flags with missing values as nullable
    booleans); ``var`` has unit, group and definition of each readout; ``obsm["spatial"]`` is the centroid
    (x, y) in µm; ``uns["napari_tam"]`` has the settings and the record of the run as texts.

    Raises
    ------
    InputError
        If anndata is not installed.
    """
    anndata = need("anndata", "anndata", "writing .h5ad")
    cells, known = results.cells, known_columns(results.cells.columns)
    readouts = [name for name in cells.columns if is_readout(name, cells[name], known)]
    names = cells["image"].astype(str) + ":" + cells["label"].astype(str)
    obs = pd.DataFrame(
        {
            name: _observation(cells[name], known.get(name))
            for name in cells.columns.astype(str)
            if name not in readouts
        }
    )
    obs.index = pd.Index(names.to_numpy(object), dtype=object)
    about = [known.get(name) for name in readouts]
    var = pd.DataFrame(
        {
            key: _categories([getattr(column, key) if column else "" for column in about])
            for key in ("unit", "group", "definition")
        },
        index=pd.Index(np.array(readouts, dtype=object), dtype=object),
    )
    values = cells[readouts].astype("float64").to_numpy()
    size = dict(zip(results.images["image"], results.images["pixel_size_um"], strict=True))
    pixel = cells["image"].map(size).to_numpy(np.float64)
    spatial = cells[["centroid_x_px", "centroid_y_px"]].to_numpy(np.float64) * pixel[:, None]
    made = anndata.AnnData(X=values, obs=obs, var=var, obsm={"spatial": spatial})
    made.uns["napari_tam"] = _provenance(results.folder)
    return made


def write_h5ad(path: Path, results: Results) -> None:
    """Write `to_anndata` as a compressed .h5ad file, in one step."""
    made = to_anndata(results)
    with replacing(path) as part:
        made.write_h5ad(part, compression="gzip")


def _observation(values: pd.Series[Any], column: Column | None) -> Any:
    kind = column.kind if column else ""
    if kind == "maybe_flag":
        return pd.array([pd.NA if pd.isna(v) else bool(v) for v in values], dtype="boolean")
    if kind == "maybe_integer":
        return values.astype("Int64").array
    if kind == "text" or not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
        return _categories(["" if pd.isna(value) else str(value) for value in values])
    return values.to_numpy()


def _categories(texts: list[str]) -> pd.Categorical:
    """Return texts as categories; of Python strings, as anndata 0.12 knows no others in pandas 3."""
    codes, names = pd.factorize(np.array(texts, dtype=object), sort=True)
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))


def _provenance(folder: Path) -> dict[str, str]:
    texts = {}
    for key, name in (("settings", "settings.yaml"), ("run", "run.json")):
        path = folder / name
        if path.exists():
            texts[key] = path.read_text(encoding="utf-8")
    if "run" in texts:
        texts["version"] = str(json.loads(texts["run"]).get("versions", {}).get("napari-tam", ""))
    return texts
