"""How far the cells of a real field stay the same when it is mirrored, turned, shifted, cut or brighter.

Network and diameter are the same for all versions of a field; masks are brought back first.
Of a field that was cut or padded, cells at the edge of what both show are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from common import SHARED, publish, require_shared, table

from napari_tam.evaluate.matching import match_cells
from napari_tam.pipeline.models import load_models
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings

DATA = SHARED / "data" / "cells"
FIELDS = ("bbbc020_104", "bbbc020_106", "bbbc020_121", "kc167_095", "n1e115_044")
PIXEL_UM = 0.65
CROP = 16
PAD = 64

Image = np.ndarray
Change = tuple[Callable[[Image], Image], Callable[[Image], Image]]


def _shading(image: Image) -> Image:
    """Light that falls to 60 % from one side to the other."""
    fall = np.linspace(1, 0.6, image.shape[-1], dtype=np.float32)
    return (image * fall).astype(np.float32)


def _same(labels: Image) -> Image:
    return labels


def _filled(labels: Image, shape: tuple[int, ...], rows: slice, columns: slice) -> Image:
    whole = np.zeros(shape, labels.dtype)
    whole[rows, columns] = labels
    return whole


def relations(shape: tuple[int, int]) -> dict[str, Change]:
    """Return every change of a CYX image of this height and width, and the way back for its labels."""
    height, width = shape
    edge = ((0, 0), (PAD, PAD), (PAD, PAD))
    found: dict[str, Change] = {
        "upside down": (lambda a: a[..., ::-1, :], lambda a: a[::-1]),
        "left to right": (lambda a: a[..., ::-1], lambda a: a[:, ::-1]),
        "half turn": (lambda a: a[..., ::-1, ::-1], lambda a: a[::-1, ::-1]),
        "quarter turn": (lambda a: np.rot90(a, 1, (-2, -1)), lambda a: np.rot90(a, -1)),
        "three quarters": (lambda a: np.rot90(a, 3, (-2, -1)), lambda a: np.rot90(a, -3)),
        "transposed": (lambda a: np.swapaxes(a, -2, -1), lambda a: a.T),
        "shifted by 1 px": (
            lambda a: a[..., 1:, 1:],
            lambda a: _filled(a, shape, slice(1, None), slice(1, None)),
        ),
        f"cut by {CROP} px": (
            lambda a: a[..., CROP:-CROP, CROP:-CROP],
            lambda a: _filled(a, shape, slice(CROP, height - CROP), slice(CROP, width - CROP)),
        ),
        f"padded by {PAD} px": (
            lambda a: np.pad(a, edge, mode="edge"),
            lambda a: a[PAD:-PAD, PAD:-PAD],
        ),
        "x 3": (lambda a: a.astype(np.uint16) * 3, _same),
        "+ 500": (lambda a: a.astype(np.uint16) + 500, _same),
        "half the grey levels": (lambda a: a // 2, _same),
        "shading to 60 %": (_shading, _same),
    }
    return found


def _whole(labels: Image, inside: Image) -> Image:
    """Drop the cells within 2 px of the edge of a part."""
    inner = np.zeros_like(inside)
    inner[2:-2, 2:-2] = inside[4:, 4:] & inside[:-4, :-4]
    return np.where(np.isin(labels, labels[~inner]), 0, labels)


def compare(
    first: Image, second: Image, image: Image, inside: Image, *, at_edge: bool = False
) -> tuple[int, int, float, float]:
    """Return both numbers of cells, the change of the light in all cells, and the share with a partner.

    Only what lies in the part that both images show is compared.
    """
    first, second = first * inside, second * inside
    if at_edge:
        first, second = _whole(first, inside), _whole(second, inside)
    counts = [len(np.unique(labels)) - 1 for labels in (first, second)]
    light = [float(image[labels > 0].sum()) for labels in (first, second)]
    both = 2 * len(match_cells(first, second)) / max(1, sum(counts))
    return counts[0], counts[1], light[1] / light[0] - 1, both


def measured(model: str, *, flips: bool, names: tuple[str, ...] = ()) -> tuple[list[list[object]], dict]:
    """Return a row for every relation: the worst and the mean change over the fields."""
    settings = Settings(cells_model=model, average_flips=flips)
    network = load_models(settings).cells
    seen: dict[str, list[tuple[int, int, float, float]]] = {}
    for name in FIELDS:
        image = tifffile.imread(DATA / f"{name}.tif")
        truth = tifffile.imread(DATA / f"{name}_masks.tif")
        diameter = median_diameter(truth) * PIXEL_UM

        def cells(picture: Image, diameter: float = diameter) -> Image:
            nucleus = np.ascontiguousarray(picture[1])
            labels = network.segment(
                np.ascontiguousarray(picture[0]), nucleus, PIXEL_UM, diameter, settings
            ).labels
            return labels.astype(np.int32)

        plain = cells(image)
        for relation, (change, back) in relations(image.shape[1:]).items():
            if names and relation not in names:
                continue
            there = back(np.ones(change(image).shape[1:], bool))
            at_edge = relation.startswith(("cut", "padded"))
            found = back(cells(change(image)))
            pair = compare(plain, found, image[0].astype(float), there, at_edge=at_edge)
            seen.setdefault(relation, []).append(pair)
            print(name, relation, pair, flush=True)
    rows: list[list[object]] = []
    values = {}
    for relation, pairs in seen.items():
        counts = [abs(after - before) / before for before, after, _, _ in pairs]
        total = abs(sum(p[1] for p in pairs) / sum(p[0] for p in pairs) - 1)
        light = [abs(p[2]) for p in pairs]
        same = float(np.mean([p[3] for p in pairs]))
        row = [float(v) for v in (total, max(counts), np.mean(light), max(light), same)]
        rows.append([relation, *row])
        values[relation] = [round(v, 4) for v in row]
    return rows, values


if __name__ == "__main__":
    require_shared()
    header = ["", "cells (all fields)", "worst field", "light (mean)", "worst field", "same cells"]
    lines: list[str] = []
    values = {}
    runs: list[tuple[str, bool, tuple[str, ...]]] = [("cells", False, ())]
    if "--all" in sys.argv:
        mirrored = ("upside down", "left to right", "half turn", "transposed", "shifted by 1 px")
        runs += [("cells", True, mirrored), ("cells-fast", False, ())]
    for model, flips, names in runs:
        rows, numbers = measured(model, flips=flips, names=names)
        title = f"{model}{', averaged over flips' if flips else ''}: share by which cells differ"
        lines += [f"{title} ({len(FIELDS)} fields)", *table(header, rows), ""]
        values[title] = numbers
    publish(Path(__file__).stem, lines, values)
