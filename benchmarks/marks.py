"""The score of puncta learnt from a few marked images, judged by others: ``python benchmarks/marks.py``.

Real tiles of PSD95 in blocks that were left out of training. People drew the line in different places from
block to block; of each block some tiles teach the score (`napari_tam.train.marks`), the others judge it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from common import ROOT, SHARED, publish, require_shared, table
from puncta import network

from napari_tam.settings import Settings
from napari_tam.train.marks import SCORES, Marked, choose_score, compare

sys.path.insert(0, str(ROOT / "training"))

#: Marked tiles of a block, and how often they are drawn.
TILES, DRAWS = (2, 3, 5, 10, 20), 20
#: As in ``puncta.py``.
RADIUS_PX = 4.0


def figures(parts: list[np.ndarray]) -> tuple[float, float]:
    """Return F1 of all, and the median relative error of the count."""
    counts = np.concatenate(parts)
    marks, found, hits = counts.sum(axis=0)
    error = np.abs(counts[:, 1] - counts[:, 0]) / counts[:, 0]
    return 2 * hits / (marks + found), float(np.median(error))


def main() -> None:
    """Measure, print and keep."""
    from puncta_fields import BLOCK, psd95

    settings, detector = Settings(), network()
    fields = psd95(SHARED / "data", held=True)
    tiles: list[Marked] = []
    for index, field in enumerate(fields):
        candidates = detector.candidates(field.pixels, 0.1, settings)
        tiles.append(compare(str(index), candidates, field.spots[:, :2].astype(float), settings, RADIUS_PX))
    blocks = [tiles[start : start + BLOCK] for start in range(0, len(tiles), BLOCK)]
    usual = int(np.argmin(np.abs(SCORES - settings.puncta_score)))
    rows: list[list[object]] = [["none", *figures([np.stack([t.counts[usual] for t in tiles])])]]
    for count in TILES:
        found = []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            parts = []
            for block in blocks:
                order = rng.permutation(len(block))
                score = choose_score([block[i] for i in order[:count]], settings.puncta_score).score
                at = int(np.argmin(np.abs(SCORES - score)))
                parts.append(np.stack([block[i].counts[at] for i in order[count:]]))
            found.append(figures(parts))
        rows.append([f"{count}", *map(float, np.mean(found, axis=0))])
    header = ["tiles marked of each block", "F1", "median count error"]
    lines = [f"PSD95, {len(tiles)} tiles in {len(blocks)} blocks; mean of {DRAWS} draws", ""]
    values = {str(row[0]): [round(float(str(v)), 4) for v in row[1:]] for row in rows}
    publish(Path(__file__).stem, [*lines, *table(header, rows)], values)


if __name__ == "__main__":
    require_shared()
    main()
