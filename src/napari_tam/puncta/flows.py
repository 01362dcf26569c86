"""From a network's flows to puncta: where the pixels gather."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.compiled import compiled
from napari_tam.networks.dynamics import between
from napari_tam.networks.threads import shares, together

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Candidates of the network are kept down to this score, so that the threshold can be moved later.
LOWEST_SCORE = 0.2

#: Where puncta cover fewer pixels than this (their median), those of a crowd are told apart on half-pixels.
#: Wide puncta would fall into pieces there.
FINE_PIXELS = 22

#: ... where they are after this many steps.
FINE_STEPS = 6

#: A thread of its own is worth it for so many pixels.
MANY = 20_000

#: Rows of the grid on which pixels gather that are looked at together.
STRIP = 64


def centres_from_flows(output: Float, *, steps: int = 14) -> tuple[Points, Float]:
    """Find the puncta in a network's output.

    Every pixel above `LOWEST_SCORE` follows the flow; where pixels gather is a punctum. Its
    position is the mean of the places they end at, weighted by probability; its score is the
    highest probability among them. Fewer than 3 pixels are no punctum.

    Parameters
    ----------
    output
        (3, Y, X): flow y, flow x (five times the step), probability logit.
    steps
        Number of steps of at most a pixel each: from the edge of a wide vesicle to its middle.

    Returns
    -------
    (N, 2) positions in y and x, and N scores.
    """
    height, width = output.shape[1:]
    low = float(np.log(LOWEST_SCORE / (1 - LOWEST_SCORE)))
    rows, columns = np.divmod(np.flatnonzero(output[2] > low), width)
    if not len(rows):
        return np.zeros((0, 2)), np.zeros(0, np.float32)
    chance = 1 / (1 + np.exp(-output[2][rows, columns]))
    y, x = rows.astype(np.float32), columns.astype(np.float32)
    parts = [(y[some], x[some]) for some in shares(len(y), MANY)]
    together(*(partial(follow, output, *part, FINE_STEPS) for part in parts))
    early = y.copy(), x.copy()
    together(*(partial(follow, output, *part, steps - FINE_STEPS) for part in parts))
    (points, scores, size), (fine, fine_scores, _) = together(
        partial(_gather, y, x, chance, (height, width), 1),
        partial(_gather, *early, chance, (height, width), 2),
    )
    sure = size[scores >= 0.5]
    if len(sure) and np.median(sure) < FINE_PIXELS:
        # Pixels between two puncta drift from one to the other in the end.
        return fine, fine_scores
    return points, scores


def _gather(
    y: Float, x: Float, chance: Float, shape: tuple[int, int], finer: int
) -> tuple[Points, Float, npt.NDArray[np.intp]]:
    """Find where pixels gather, on a grid so many times finer than the pixels.

    Returns
    -------
    Positions (N, 2), highest probability and number of pixels of those with at least 3.
    """
    # A frame of one cell around the grid, so that every cell has eight neighbours.
    height, width = (n * finer + 2 for n in shape)
    row, column = (
        np.clip(np.round((p + 0.5) * finer + 0.5), 1, n - 2).astype(np.intp)
        for p, n in ((y, height), (x, width))
    )
    order = np.argsort(row, kind="stable")
    row, column, chance, y, x = (part[order] for part in (row, column, chance, y, x))
    bell = cv2.getGaussianKernel(3, 0.6 if finer == 1 else 0.7, cv2.CV_32F)
    peak, strength = nearest_peaks(row, column, chance, height, width, bell * bell.T)
    cells, one_of, member = np.unique(peak, return_index=True, return_inverse=True)
    # By strength, as far as they are peaks: the first cell, -1, stands for none.
    rank = np.empty(len(cells), np.intp)
    rank[np.lexsort((cells, np.where(cells < 0, -1, strength[one_of])))] = np.arange(len(cells))
    none = int((cells < 0).sum())
    member = rank[member] + 1 - none
    total = np.bincount(member, chance, minlength=len(cells) + 1 - none)[1:]
    count = np.bincount(member, minlength=len(cells) + 1 - none)[1:]
    enough = count >= 3
    safe = np.maximum(total, 1e-9)
    points = np.stack(
        [np.bincount(member, chance * p, minlength=len(total) + 1)[1:] / safe for p in (y, x)], axis=1
    )
    best = np.zeros(len(total) + 1, np.float32)
    np.maximum.at(best, member, chance)
    return points[enough], best[1:][enough], count[enough]


@compiled
def follow(output: Any, y: Any, x: Any, steps: int) -> None:
    """Move places along a network's flows, (3, Y, X), by so many steps; bilinear between pixels."""
    height, width = output.shape[1:]
    for i in range(len(y)):
        for _ in range(steps):
            at_y, at_x = np.float64(y[i]), np.float64(x[i])
            y[i] = min(max(at_y + between(output[0], at_y, at_x) / 5, 0), height - 1)
            x[i] = min(max(at_x + between(output[1], at_y, at_x) / 5, 0), width - 1)


@compiled
def nearest_peaks(row: Any, column: Any, chance: Any, height: int, width: int, bell: Any) -> tuple[Any, Any]:
    """Return the highest peak in or beside the cell of a grid that each pixel ends in.

    What is in each cell is summed, and that blurred; a peak has more than 0.5, and not less than the cells
    it. The grid is gone through in strips: as a whole it would take more memory than all else.

    Parameters
    ----------
    row, column, chance
        (N,) the cell of each pixel, sorted by rows, and its weight.
    height, width
        Cells of the grid. The outermost cells hold nothing and are no peaks.
    bell
        (3, 3) the blur.

    Returns
    -------
    Of each pixel the peak's cell (flat), -1 for none, and the value there.
    """
    peak, strength = np.full(len(row), -1, np.int64), np.zeros(len(row), np.float32)
    weight = np.empty((STRIP + 6, width), np.float32)
    smooth = np.empty((STRIP + 6, width), np.float32)
    begin, end = 0, 0
    for top in range(0, height, STRIP):
        # The strip's pixels, and those whose cells have a say in peaks beside it.
        while begin < len(row) and row[begin] < top - 3:
            begin += 1
        while end < len(row) and row[end] < top + STRIP + 3:
            end += 1
        weight[:] = 0
        smooth[:] = 0
        for i in range(begin, end):
            weight[row[i] - top + 3, column[i]] += chance[i]
        for i in range(begin, end):
            middle = row[i] - top + 3
            for r in range(max(middle - 1, 1), min(middle + 2, STRIP + 5)):
                inside = 0 < r + top - 3 < height - 1
                for c in range(max(column[i] - 1, 1), min(column[i] + 2, width - 1)):
                    if smooth[r, c] or not inside:
                        continue
                    for a in range(3):
                        for b in range(3):
                            smooth[r, c] += weight[r + a - 1, c + b - 1] * bell[a, b]
        for i in range(begin, end):
            if not top <= row[i] < top + STRIP:
                continue
            for r in range(row[i] - top + 2, row[i] - top + 5):
                for c in range(column[i] - 1, column[i] + 2):
                    value = smooth[r, c]
                    # of two as high, the later one
                    if value <= 0.5 or value < strength[i]:
                        continue
                    highest = value
                    for a in range(max(r - 1, 0), min(r + 2, len(smooth))):
                        for b in range(max(c - 1, 0), min(c + 2, width)):
                            highest = max(highest, smooth[a, b])
                    if value >= highest:
                        peak[i], strength[i] = (r + top - 3) * width + c, value
    return peak, strength
