"""Which masks, cells and points of two results are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

#: Overlaps (intersection over union) at which masks are compared.
THRESHOLDS = (0.5, 0.75, 0.9)
#: Puncta further apart than this are not the same.
RADIUS_PX = 3.0
#: Cells that overlap less than this are not the same.
SAME_CELL_IOU = 0.5


def count_masks(true: Integers, found: Integers) -> tuple[int, int, tuple[int, ...]]:
    """Count masks with `cellpose.metrics.average_precision`.

    Returns
    -------
    true, found, hits
        Number of true masks, of found masks, and of those that agree at each of `THRESHOLDS`.
    """
    from cellpose.metrics import average_precision

    # Cellpose takes the largest label for their number
    true, found = _sequential(true), _sequential(found)
    with np.errstate(invalid="ignore"):  # 0 / 0 where neither has a mask
        _, hits, _, _ = average_precision(true, found, threshold=list(THRESHOLDS))
    return int(true.max(initial=0)), int(found.max(initial=0)), tuple(int(n) for n in hits)


def _sequential(labels: Integers) -> npt.NDArray[np.int32]:
    present = np.bincount(labels.ravel()) > 0
    present[:1] = False
    return np.where(present, np.cumsum(present), 0).astype(np.int32)[labels]


def match_points(true: Floats, found: Floats, radius: float = RADIUS_PX) -> Integers:
    """Pair points one to one within a radius: as many pairs as possible, and of these the closest.

    Parameters
    ----------
    true, found
        Coordinates, N × 2 and M × 2.
    radius
        Largest distance of a pair.

    Returns
    -------
    Integers
        K × 2: index in `true`, index in `found`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    from scipy.spatial import KDTree

    n, m = len(true), len(found)
    if not n or not m:
        return np.zeros((0, 2), np.int64)
    near = KDTree(true).sparse_distance_matrix(KDTree(found), radius, output_type="ndarray")
    # a dummy partner for every unmatched point, at a cost that no chain of pairs can outweigh
    alone = np.arange(n)
    cost = coo_array(
        (
            np.concatenate([near["v"] / radius + 1, np.full(n, 4.0 * (n + 1))]),
            (np.concatenate([near["i"], alone]), np.concatenate([near["j"], m + alone])),
        ),
        shape=(n, m + n),
    )
    rows, columns = min_weight_full_bipartite_matching(cost.tocsr())
    paired = columns < m
    return np.stack([rows[paired], columns[paired]], axis=1)


def match_cells(true: Integers, found: Integers) -> Integers:
    """Pair labels whose masks overlap by at least `SAME_CELL_IOU`; K × 2: true label, found label."""
    pairs, overlap = np.unique(
        np.stack([true.ravel(), found.ravel()], axis=1)[(true.ravel() > 0) & (found.ravel() > 0)],
        axis=0,
        return_counts=True,
    )
    union = np.bincount(true.ravel())[pairs[:, 0]] + np.bincount(found.ravel())[pairs[:, 1]] - overlap
    iou = overlap / union
    order = np.argsort(-iou, kind="stable")
    pairs = pairs[order[iou[order] >= SAME_CELL_IOU]]
    # above one half a label has one partner only; at exactly one half the first of two is taken
    for side in (0, 1):
        _, first = np.unique(pairs[:, side], return_index=True)
        pairs = pairs[np.sort(first)]
    matched: Integers = pairs.astype(np.int64)
    return matched


def pearson(a: Floats, b: Floats) -> float | None:
    """Return Pearson's r; None where it is not defined."""
    if len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None
