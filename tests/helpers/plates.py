"""Results folders with known numbers, as if a plate had been analysed: for the tests of the report.

`write_plate` writes the tables that ``analyse`` and ``conclude`` leave behind, with names that
nobody should use (``<script>``, ``a&b``, ``=cmd``), without looking at any image.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pyarrow as pa

from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS, build_table, phenotype_columns
from napari_tam.results.folder import mask_path, write_mask
from napari_tam.results.tables import rows_table, write_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

#: Names that a page or a spreadsheet could take for something else.
NASTY_IMAGE, NASTY_CONDITION = "<script>alert(1)</script>", "a&b $x_{$ <b>"

#: (condition, dose, control_role) of the groups, and the mean number of puncta.
GROUPS = (
    ("medium", 0.0, "dye_only", 0.8),
    ("LPS", 1.0, "", 6.0),
    ("LPS", 10.0, "", 12.0),
    ("LPS", 100.0, "", 18.0),
    (NASTY_CONDITION, 1.0, "", 9.0),
    (NASTY_CONDITION, 10.0, "", 18.0),
    (NASTY_CONDITION, 100.0, "", 27.0),
)
REPLICATES = ("1", "2", "3")
CELLS = 24


def bad_image() -> str:
    """Return the name of the image that is saturated and out of focus."""
    return "plate1_C02"


def write_plate(folder: Path, *, layout: bool = True, seed: int = 1) -> Path:
    """Write a results folder: 21 wells of 24 cells, one failed image, one image whose file is there.

    Without a layout, only what ``analyse`` writes by itself.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images, cells, puncta = [], [], []
    for column, (condition, dose, role, mean) in enumerate(GROUPS):
        for row, replicate in enumerate(REPLICATES):
            well = "=cmd" if (column, row) == (6, 2) else f"{'BCD'[row]}{column + 2:02d}"
            name = NASTY_IMAGE if (column, row) == (1, 0) else f"plate1_{well}"
            about: dict[str, Any] = {"well": well, "condition": condition, "dose": dose}
            about |= {"replicate": replicate, "plate": "", "donor": "", "control_role": role}
            table, spots = _field(rng, name, mean * rng.normal(1, 0.1))
            cells.append(table.assign(**about) if layout else table)
            puncta.append(spots)
            images.append(_image(name, table, spots, rng) | (about if layout else {}))
    images[1] |= {"saturated_fraction": 0.02, "focus_score": 0.001}
    first = _real_image(folder, images[0], cells[0])
    images.append({"image": "=cmd|' /C calc'!A0", "source": "bad.tif", "status": "failed"})
    images[-1] |= {"error": "bad.tif: the image cannot be read <i>at all</i>"}
    everything = pd.concat([first, *cells[1:]], ignore_index=True)
    write_csv(folder / "cells.csv", _arrow(everything))
    write_csv(folder / "puncta.csv", _arrow(pd.concat(puncta, ignore_index=True)))
    write_csv(folder / "images.csv", rows_table(images, ["image", "source", "status", "error"]))
    (folder / "settings.yaml").write_text(Settings(puncta_score=0.6).to_yaml(), encoding="utf-8")
    _write_run(folder)
    if layout:
        _write_conclusions(folder, everything)
    return folder


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)


def _field(rng: np.random.Generator, name: str, mean: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = CELLS
    long = rng.random(n) < 0.5
    ratio = np.where(long, rng.uniform(2, 4, n), rng.uniform(1.05, 1.5, n))
    counts = rng.poisson(mean * np.where(long, 1.4, 0.8) * rng.lognormal(0, 0.4, n))
    light = np.array([rng.lognormal(6, 0.4, k).sum() for k in counts])
    border = rng.random(n) < 0.15
    p_m1 = np.where(long, rng.beta(1.5, 12, n), rng.beta(12, 1.5, n))
    sure = (np.maximum(p_m1, 1 - p_m1) >= 0.8) & ~border
    values: dict[str, object] = {
        "image": name,
        "label": np.arange(1, n + 1),
        "frame": 0,
        "centroid_y_px": rng.uniform(20, 490, n),
        "centroid_x_px": rng.uniform(20, 490, n),
        "area_um2": rng.lognormal(6, 0.3, n),
        "elongation": 1 - 1 / ratio,
        "feret_max_um": 20 * np.sqrt(ratio),
        "protrusions": 0,
        "puncta_count": counts,
        "puncta_intensity_sum": light,
        "exosome_integrated": light * 1.3,
        "touches_border": border,
        "focus_score": rng.lognormal(-3, 0.1, n),
        "nucleus_count": 1,
        "no_nucleus": rng.random(n) < 0.03,
        "many_nuclei": rng.random(n) < 0.03,
        "p_m1": p_m1,
        "p_m2": 1 - p_m1,
        "phenotype": np.where(sure, np.where(p_m1 > 0.5, "M1", "M2"), "uncertain"),
        "phenotype_reason": np.where(border, "border", np.where(sure, "", "low probability")),
    }
    cells = build_table((*CELL_COLUMNS, *phenotype_columns()), values, n)
    label = np.append(np.repeat(np.arange(1, n + 1), counts), np.zeros(8, int))
    inside = label > 0
    spots = build_table(
        PUNCTA_COLUMNS,
        {
            "image": name,
            "label": label,
            "frame": 0,
            "intensity": rng.lognormal(6, 0.4, len(label)),
            "contrast": np.linspace(4, 60, len(label)),
            "edge_distance_um": np.where(inside, rng.gamma(2, 1.5, len(label)), np.nan),
            "nucleus_distance_um": np.where(inside, np.maximum(rng.normal(1.5, 2.5, len(label)), 0), np.nan),
        },
        len(label),
    )
    return cells, spots


def _image(name: str, cells: pd.DataFrame, puncta: pd.DataFrame, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "image": name,
        "source": f"gone/{name}.tif",
        "frame": 0,
        "status": "ok",
        "height_px": 512,
        "width_px": 512,
        "pixel_size_um": 0.325,
        "cells": len(cells),
        "nuclei": len(cells),
        "puncta": len(puncta),
        "puncta_in_cells": int((puncta["label"] > 0).sum()),
        "puncta_outside": int((puncta["label"] == 0).sum()),
        "cell_area_fraction": 0.5,
        "cells_touching_border": int(cells["touches_border"].sum()),
        "saturated_fraction": 0.0,
        "focus_score": float(rng.lognormal(-3, 0.1)),
    }


def _real_image(folder: Path, row: dict[str, Any], cells: pd.DataFrame) -> pd.DataFrame:
    """Give the first image a file, a mask and an overlay: three discs with cells 1, 2 and 3."""
    import cv2

    path = fakes.write_image(folder / f"{row['image']}.ome.tif")
    row |= {"source": path.name, "pixel_size_um": fakes.PIXEL_UM, "height_px": 96, "width_px": 128}
    for sub in ("masks", "overlays"):
        (folder / sub).mkdir(exist_ok=True)
    write_mask(mask_path(folder, row["image"], "cells"), fakes.discs(fakes.RADIUS), fakes.PIXEL_UM)
    cv2.imwrite(str(folder / "overlays" / f"{row['image']}.png"), np.full((96, 128, 3), 90, np.uint8))
    cells = cells.head(3).copy()
    cells["centroid_y_px"], cells["centroid_x_px"] = np.transpose(fakes.CELLS).astype(float)
    cells["touches_border"] = False
    row |= {"cells": 3, "cells_touching_border": 0}
    return cells


def _write_run(folder: Path) -> None:
    run = {
        "status": "complete",
        "started": "2026-01-02T03:04:05+00:00",
        "device": "cpu",
        "models": {"cells": "a" * 64, "nuclei": "b" * 64, "puncta": "c" * 64, "phenotype": "d" * 64},
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"napari-tam": "0.1.0", "torch": "2.13.0", "cellpose": "3.1.1.3"},
        "notes": ["channel roles guessed from the names: <u>cell</u> = CD11b"],
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def _write_conclusions(folder: Path, cells: pd.DataFrame) -> None:
    """Write the tables of decisions, replicates and comparisons for the plate."""
    control = cells.loc[cells["control_role"] == "dye_only", "puncta_intensity_sum"]
    limit = float(control.quantile(0.99))
    decided = cells.assign(positive=cells["puncta_intensity_sum"] > limit, aggregate_count=0)
    write_csv(folder / "cells.csv", _arrow(decided.assign(aggregate_intensity=0.0)))
    threshold: dict[str, object] = {"plate": "", "readout": "puncta_intensity_sum"}
    threshold |= {"rule": "quantile 0.99 of dye_only", "control_role": "dye_only", "control_images": 3}
    threshold |= {"control_cells": len(control), "threshold": limit, "note": "only 51 control cells"}
    write_csv(folder / "thresholds.csv", rows_table([threshold], []))
    rows: list[dict[str, object]] = []
    for k, dose in enumerate((1, 10, 100)):
        rows.append(
            {
                "readout": "puncta_count",
                "comparison": f"{NASTY_CONDITION} - LPS at dose {dose}",
                "group_a": "LPS",
                "group_b": NASTY_CONDITION,
                "unit": "replicate",
                "paired": False,
                "test": "Welch's t-test",
                "n_a": 3,
                "n_b": 3,
                "mean_a": 6.0,
                "mean_b": 9.0,
                "difference": 3.0 * (k + 1),
                "ratio": 1.5,
                "effect_size": 2.1,
                "ci_low": -0.5 + 2 * k,
                "ci_high": 6.5 + 4 * k,
                "p": 0.06 / (k + 1) ** 3,
                "p_adjusted": 0.12 / (k + 1) ** 3,
                "correction": "Holm over 3 tests",
                "note": "",
            }
        )
    untested: dict[str, object] = {"readout": "positive_fraction", "comparison": "M2 - M1", "test": ""}
    untested |= {"unit": "replicate", "n_a": 2, "n_b": 2, "note": "not tested: fewer than 3 replicates"}
    write_csv(folder / "comparisons.csv", rows_table([*rows, untested], []))


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a cell's middle in the overlays of `paint_overlays`: each label has one of 27."""
    return tuple((40, 140, 240)[label // 3**k % 3] for k in range(3))  # type: ignore[return-value]


def paint_overlays(folder: Path, side_px: int = 512) -> None:
    """Give all images without a file a black overlay, with a square of `colour_of` at every cell's middle."""
    from PIL import Image

    cells = pd.read_csv(folder / "cells.csv")
    scale = side_px / 512
    for name, here in cells.groupby("image"):
        if name in (NASTY_IMAGE, "plate1_B02"):  # a slash in a file's name; it has one
            continue
        picture = np.zeros((side_px, side_px, 3), np.uint8)
        for label, y, x in zip(here["label"], here["centroid_y_px"], here["centroid_x_px"], strict=True):
            top, left = round(y * scale) - 9, round(x * scale) - 9
            picture[top : top + 19, left : left + 19] = colour_of(label)
        Image.fromarray(picture).save(folder / "overlays" / f"{name}.png")
