"""One diameter for a batch beside one for each field: ``python benchmarks/diameter.py``.

Are the cells of real fields found as well with the median of what the fields of their kind tell? And how
long does a plate take either way?
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from accuracy import precision
from common import publish, require_shared, table
from real_cells import DATA, PIXEL_UM
from speed import PIXEL_UM as COMPOSITE_UM
from speed import tiled_composite

from napari_tam.batches import diameter
from napari_tam.batches.run import analyse_files
from napari_tam.pipeline.models import load_models
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings

#: Fields of the plate, and their edge (px).
FIELDS, EDGE = 16, 1024


def real_fields() -> list[list[object]]:
    """Return mean AP of each kind of real fields, by each field's own estimate and by their median."""
    settings = Settings()
    cells = load_models(settings).cells
    found = []
    for path in sorted(DATA.glob("*_masks.tif")):
        name = path.name.removesuffix("_masks.tif")
        image, truth = tifffile.imread(DATA / f"{name}.tif"), tifffile.imread(path).astype(np.int32)
        second = image[1] if image[1].any() else None
        own = cells.estimate_diameter(image[0], second, PIXEL_UM, settings).diameter_um
        true = median_diameter(truth) * PIXEL_UM
        found.append([name.rpartition("_")[0], image, second, truth, true, own])
    kinds = pd.Series([row[5] for row in found]).groupby([row[0] for row in found])
    scores = []
    for (kind, image, second, truth, true, own), common in zip(found, kinds.transform("median"), strict=True):
        both = [
            precision(truth, cells.segment(image[0], second, PIXEL_UM, um, settings).labels)[:2]
            for um in (own, common)
        ]
        scores.append([kind, own / true, common / true, *both[0], *both[1]])
    names = ["kind", "own/true", "median/true", "own 0.5", "0.75", "median 0.5", "0.75 "]
    every = pd.DataFrame(scores, columns=names)
    mean = every.groupby("kind").mean()
    mean.loc["all fields"] = every.drop(columns="kind").mean()
    counts = every["kind"].value_counts()
    return [
        [kind, int(counts.get(kind, len(every))), *map(float, row)]
        for kind, row in zip(mean.index, mean.to_numpy(), strict=True)
    ]


def plate(folder: Path) -> list[list[object]]:
    """Time a plate with one diameter for all, with one for each field, and with a given one."""
    image = tiled_composite(EDGE)
    paths = []
    for index in range(FIELDS):
        paths.append(folder / f"B{index + 1:02d}.ome.tif")
        metadata = {
            "axes": "CYX", "Channel": {"Name": ["CD11b", "DAPI", "exosome"]},
            "PhysicalSizeX": COMPOSITE_UM, "PhysicalSizeY": COMPOSITE_UM,
        }  # fmt: skip
        turned = image[:, ::-1] if index % 2 else image
        tifffile.imwrite(paths[-1], np.roll(turned, 61 * index, axis=2), metadata=metadata)
    fewest, rows = diameter.FEWEST_FIELDS, []
    ways = (("one for all", fewest, None), ("one each", 10_000, None), ("given", fewest, 32.0))
    for name, least, given in ways:
        diameter.FEWEST_FIELDS = least
        settings = Settings(cell_diameter_um=given, overlays=False)
        models = load_models(settings)
        start = time.perf_counter()
        outcomes = list(analyse_files(paths, settings, models, folder / name, jobs=2))
        seconds = time.perf_counter() - start
        cells = sum(int(str(one.row["cells"])) for one in outcomes)
        rows.append([name, float(seconds), float(seconds / FIELDS), cells])
    diameter.FEWEST_FIELDS = fewest
    return rows


def main() -> None:
    """Measure, print and keep."""
    with tempfile.TemporaryDirectory() as place:
        times = plate(Path(place))
    rows = real_fields()
    header = ["kind", "fields", "own/true", "median/true", "own: AP 0.5", "0.75", "median: AP 0.5", "0.75"]
    lines = ["Real fields: by each field's own estimate, and by the median of their kind", ""]
    lines += [*table(header, rows), ""]
    lines += [f"A plate of {FIELDS} fields of {EDGE} x {EDGE} px, two at a time, learning included", ""]
    lines += table(["cell diameter", "seconds", "a field", "cells"], times)
    values = {str(row[0]): [round(float(str(v)), 4) for v in row[1:]] for row in [*rows, *times]}
    publish(Path(__file__).stem, lines, values)


if __name__ == "__main__":
    require_shared()
    main()
