"""From a network's flows to puncta: where the pixels gather."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.compiled import compiled

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Candidates of the network are kept down to this score, so that the threshold can be moved later.
LOWEST_SCORE = 0.2

#: Where puncta cover fewer pixels than this (their median), those of a crowd are told apart on half-pixels.
#: Wide puncta would fall into pieces there.
FINE_PIXELS = 22

#: ... where they are after this many steps.
FINE_STEPS = 6


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
    rows, columns = np.nonzero(output[2] > low)
    if not len(rows):
        return np.zeros((0, 2)), np.zeros(0, np.float32)
    chance = 1 / (1 + np.exp(-output[2][rows, columns]))
    y, x = rows.astype(np.float32), columns.astype(np.float32)
    follow(output, y, x, FINE_STEPS)
    early = y.copy(), x.copy()
    follow(output, y, x, steps - FINE_STEPS)
    points, scores, size = _gather(y, x, chance, (height, width), 1)
    sure = size[scores >= 0.5]
    if len(sure) and np.median(sure) < FINE_PIXELS:
        # Pixels between two puncta drift from one to the other in the end.
        points, scores, _ = _gather(*early, chance, (height, width), 2)
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
    flat = row * width + column
    bell = cv2.getGaussianKernel(3, 0.6 if finer == 1 else 0.7, cv2.CV_32F)
    weight, smooth = np.zeros((2, height * width), np.float32)
    peaks = np.sort(peaks_of(weight, smooth, flat, chance, width, bell * bell.T))
    seeds = np.zeros(height * width, np.intp)
    seeds[peaks] = np.argsort(np.argsort(smooth[peaks], kind="stable")) + 1
    member = highest_beside(seeds, flat, width)
    total = np.bincount(member, chance, minlength=len(peaks) + 1)[1:]
    count = np.bincount(member, minlength=len(peaks) + 1)[1:]
    enough = count >= 3
    safe = np.maximum(total, 1e-9)
    points = np.stack(
        [np.bincount(member, chance * p, minlength=len(peaks) + 1)[1:] / safe for p in (y, x)], axis=1
    )
    best = np.zeros(len(peaks) + 1)
    np.maximum.at(best, member, chance)
    return points[enough], best[1:][enough].astype(np.float32), count[enough]


@compiled
def follow(output: Any, y: Any, x: Any, steps: int) -> None:
    """Move places along a network's flows, (3, Y, X), by so many steps; bilinear between pixels."""
    height, width = output.shape[1:]
    for i in range(len(y)):
        for _ in range(steps):
            top, left = min(int(y[i]), height - 2), min(int(x[i]), width - 2)
            top, left = max(top, 0), max(left, 0)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = y[i] - top, x[i] - left
            for axis in range(2):
                plane = output[axis]
                upper = plane[top, left] + across * (plane[top, right] - plane[top, left])
                lower = plane[below, left] + across * (plane[below, right] - plane[below, left])
                step = (upper + down * (lower - upper)) / np.float32(5)
                if axis == 0:
                    y[i] = min(max(y[i] + step, 0), height - 1)
                else:
                    x[i] = min(max(x[i] + step, 0), width - 1)


@compiled
def peaks_of(weight: Any, smooth: Any, flat: Any, chance: Any, width: int, bell: Any) -> Any:
    """Return the cells of a grid (flat) in which more gathers than in each cell beside them.

    Parameters
    ----------
    weight, smooth
        Grids of zeros (flat), for the sum of what is in each cell and for that sum blurred by `bell` (3, 3).
    flat, chance
        The cell that each pixel ends in, and its weight.
    width
        Cells in a row of the grid. The outermost cells are none.
    """
    for i in range(len(flat)):
        weight[flat[i]] += chance[i]
    height = len(weight) // width
    seen = np.empty(9 * len(flat), np.int64)
    count = 0
    for i in range(len(flat)):
        for down in range(-1, 2):
            for across in range(-1, 2):
                cell = flat[i] + down * width + across
                row, column = cell // width, cell % width
                inside = 0 < row < height - 1 and 0 < column < width - 1
                if smooth[cell] or not inside:
                    continue
                total = np.float32(0)
                for a in range(-1, 2):
                    for b in range(-1, 2):
                        total += weight[cell + a * width + b] * bell[a + 1, b + 1]
                smooth[cell] = total
                seen[count] = cell
                count += 1
    peaks = np.empty(count, np.int64)
    found = 0
    for i in range(count):
        cell, highest = seen[i], np.float32(0)
        if smooth[cell] <= 0.5:
            continue
        for a in range(-1, 2):
            for b in range(-1, 2):
                highest = max(highest, smooth[cell + a * width + b])
        if smooth[cell] >= highest:
            peaks[found] = cell
            found += 1
    return peaks[:found]


@compiled
def highest_beside(seeds: Any, flat: Any, width: int) -> Any:
    """Return the highest of the numbers in and beside each cell of a grid (flat)."""
    result = np.zeros(len(flat), np.int64)
    for i in range(len(flat)):
        for down in range(-1, 2):
            for across in range(-1, 2):
                result[i] = max(result[i], seeds[flat[i] + down * width + across])
    return result
