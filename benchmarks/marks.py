"""The line of puncta learnt from a few marks, judged by other images: ``python benchmarks/marks.py``.

Real tiles of PSD95 in blocks that were left out of training. People drew the line in different places from
block to block; of each block some tiles, or the marks of one region, teach it (`napari_tam.train.lines`), and
the tiles that had no say judge it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from common import ROOT, SHARED, publish, require_shared, table
from puncta import network

from napari_tam.settings import Settings
from napari_tam.train.lines import CONTRAST, CONTRASTS, FAMILIES, SCORE, SCORES, Choice, Marked, choose_line
from napari_tam.train.marks import compare

sys.path.insert(0, str(ROOT / "training"))

#: Marked tiles of a block; marks in one region of it; and how often they are drawn.
TILES, MARKS, DRAWS = (2, 3, 5, 10, 20), (10, 20, 40, 80), 20
#: As in ``puncta.py``.
RADIUS_PX = 4.0

#: A tile: its candidates, its marks, and both compared.
Tile = tuple[pd.DataFrame, np.ndarray, Marked]


def figures(parts: list[np.ndarray]) -> list[float]:
    """Return F1 of all, and the median relative error of the count."""
    counts = np.concatenate(parts)
    marks, found, hits = counts.sum(axis=0)
    error = np.abs(counts[:, 1] - counts[:, 0]) / counts[:, 0]
    return [2 * hits / (marks + found), float(np.median(error))]


def line_of(choice: Choice, *, always: bool) -> int:
    """Return which of all lines was chosen; the settings as they are (0) where nothing is gained."""
    if not (choice.better or always):
        return 0
    values = {SCORE: SCORES, CONTRAST: CONTRASTS}[choice.setting]
    return FAMILIES[choice.setting].start + int(np.argmin(np.abs(values - choice.value)))


def region(tiles: list[Tile], number: int, settings: Settings) -> tuple[list[Marked], int]:
    """Return as many tiles in a row, as one image, as have this number of marks; the last in part."""
    parts, used = [], 0
    for candidates, marks, whole in tiles:
        used += 1
        if len(marks) >= number:  # from its top down to the last mark that is wanted
            below = float(np.sort(marks[:, 0])[number - 1]) + 0.5
            size = 1 + float(max(marks.max(), candidates[["y_px", "x_px"]].to_numpy().max()))
            box = np.array([(-1, -1), (-1, size), (below, size), (below, -1)])
            whole = compare(whole.name, candidates, marks, settings, RADIUS_PX, regions=[box])
        parts.append(whole.items)
        number -= len(marks)
        if number <= 0:
            break
    return [Marked("region", np.concatenate(parts))], used


def learn(
    blocks: list[list[Tile]], number: int, settings: Settings, *, whole: bool, always: bool = False
) -> list[float]:
    """Return the means of the figures, and their lowest F1, over draws of tiles or of regions."""
    found = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        parts = []
        for block in blocks:
            if whole:
                order = [block[i] for i in rng.permutation(len(block))]
                marked, used = [each[2] for each in order[:number]], number
            else:
                start = int(rng.integers(len(block)))
                order = block[start:] + block[:start]
                marked, used = region(order, number, settings)
            at = line_of(choose_line(marked), always=always)
            parts.append(np.stack([each[2].counts[at] for each in order[used:]]))
        found.append(figures(parts))
    return [*map(float, np.mean(found, axis=0)), float(np.min(found, axis=0)[0])]


def main() -> None:
    """Measure, print and keep."""
    from puncta_fields import BLOCK, psd95

    settings, detector = Settings(), network()
    tiles: list[Tile] = []
    for index, field in enumerate(psd95(SHARED / "data", held=True)):
        candidates = detector.candidates(field.pixels, 0.1, settings)
        marks = field.spots[:, :2].astype(float)
        tiles.append((candidates, marks, compare(str(index), candidates, marks, settings, RADIUS_PX)))
    blocks = [tiles[start : start + BLOCK] for start in range(0, len(tiles), BLOCK)]
    usual = figures([np.stack([each[2].counts[0] for each in tiles])])
    rows: list[list[object]] = [["none", *usual, usual[0]]]
    rows += [[f"{n} tiles", *learn(blocks, n, settings, whole=True)] for n in TILES]
    rows += [[f"{n} marks in one region", *learn(blocks, n, settings, whole=False)] for n in MARKS]
    rows += [
        [f"{n} marks, never kept as it was", *learn(blocks, n, settings, whole=False, always=True)]
        for n in MARKS[:2]
    ]
    header = ["marked of each block", "F1", "median count error", "lowest F1 of a draw"]
    lines = [f"PSD95, {len(tiles)} tiles in {len(blocks)} blocks; mean of {DRAWS} draws", ""]
    values = {str(row[0]): [round(float(str(v)), 4) for v in row[1:]] for row in rows}
    publish(Path(__file__).stem, [*lines, *table(header, rows)], values)


if __name__ == "__main__":
    require_shared()
    main()
