"""Cells of real fields: with and without their diameter, with and without the nuclei's help, and confidence.

The generalist was probably trained on these fields (they are of the Cellpose set): its figures compare
settings with each other, and say nothing about fields that it has not seen.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import tifffile
from accuracy import precision
from common import SHARED, publish, require_shared, table
from sklearn.metrics import roc_auc_score

from napari_tam.evaluate.matching import match_cells
from napari_tam.pipeline.models import load_models
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings

DATA = SHARED / "data" / "cells"
PIXEL_UM = 0.65  # unknown: the search for the diameter starts at 38 px
#: Every third field of each kind; all with --all.
FEW = (
    "bbbc020_104 bbbc020_106 bbbc020_121 kc167_095 kc167_097 kc167_103 n1e115_044 n1e115_079 "
    "n1e115b_002 n1e115b_007 membrane_309 cyto_a_127 cyto_b_150"
).split()


def fields() -> list[str]:
    """Return the names of the fields to measure."""
    every = sorted(path.name.removesuffix("_masks.tif") for path in DATA.glob("*_masks.tif"))
    return every if "--all" in sys.argv else FEW


def main(model: str) -> tuple[list[str], dict]:
    """Measure one network on all fields."""
    settings = Settings(cells_model=model)
    models = load_models(settings)
    rows: list[list[object]] = []
    confidence: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for name in fields():
        image = tifffile.imread(DATA / f"{name}.tif")
        truth = tifffile.imread(DATA / f"{name}_masks.tif").astype(np.int32)
        second = image[1] if image[1].any() else None
        true_um = median_diameter(truth) * PIXEL_UM
        known = models.cells.segment(image[0], second, PIXEL_UM, true_um, settings)
        helped = known
        if second is not None:
            nuclei = models.nuclei.segment(second, None, PIXEL_UM, None, settings).labels
            helped = models.cells.segment(image[0], second, PIXEL_UM, true_um, settings, nuclei)
        free = models.cells.segment(image[0], second, PIXEL_UM, None, settings)
        scores = [precision(truth, found.labels)[:2] for found in (known, helped, free)]
        ratio = free.diameter_um / true_um
        rows.append([name, *map(float, np.concatenate(scores)), ratio, free.doubt])
        print(rows[-1], flush=True)
        hit = np.zeros(len(known.confidence), bool)
        hit[match_cells(truth, known.labels)[:, 1] - 1] = True
        confidence.append(known.confidence)
        right.append(hit)
    mean = np.mean([row[1:8] for row in rows], axis=0)
    rows.append(["mean", *map(float, mean), ""])
    header = [
        "field",
        "diameter 0.5",
        "0.75",
        "nuclei help 0.5",
        "0.75",
        "none 0.5",
        "0.75",
        "found/true",
        "",
    ]
    sure, hits = np.concatenate(confidence), np.concatenate(right)
    edges = [0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01]
    bins = []
    for low, high in pairwise(edges):
        inside = (sure >= low) & (sure < high)
        share: object = float(hits[inside].mean()) if inside.any() else "-"
        bins.append([f"{low} to {min(high, 1)}", int(inside.sum()), share])
    auc = float(roc_auc_score(hits, sure))
    lines = [f"{model}: AP", *table(header, rows), ""]
    lines += [f"{model}: cells by confidence, and the share that is right (IoU 0.5); AUC {auc:.3f}"]
    lines += [*table(["confidence", "cells", "right"], bins), ""]
    return lines, {"mean": [round(float(v), 3) for v in mean], "auc": round(auc, 3)}


if __name__ == "__main__":
    require_shared()
    lines: list[str] = []
    values = {}
    for model in ("cells", "cells-fast") if "--all" in sys.argv else ("cells",):
        text, values[model] = main(model)
        lines += text
    publish(Path(__file__).stem, lines, values)
