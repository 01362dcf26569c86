"""From a network's flows to puncta: where the pixels gather."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

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
    flow = output[:2] / 5
    early = y, x
    for step in range(steps):
        # remap interpolates only at the few positions asked for.
        grid_x, grid_y = x.reshape(-1, 1), y.reshape(-1, 1)
        y = np.clip(y + _sample(flow[0], grid_x, grid_y), 0, height - 1)
        x = np.clip(x + _sample(flow[1], grid_x, grid_y), 0, width - 1)
        if step + 1 == FINE_STEPS:
            early = y, x
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
    around = (width * np.arange(-1, 2)[:, None] + np.arange(-1, 2)).ravel()
    # Few cells of the grid hold anything: only they and their neighbours are looked at.
    held = np.zeros((height, width), bool)
    held.ravel()[flat[:, None] + around] = True
    held[[0, -1]] = False
    held[:, [0, -1]] = False
    cells = np.flatnonzero(held)
    weight, smooth = np.zeros(height * width, np.float32), np.zeros(height * width, np.float32)
    np.add.at(weight, flat, chance)
    bell = cv2.getGaussianKernel(3, 0.6 if finer == 1 else 0.7, cv2.CV_32F)
    smooth[cells] = weight[cells[:, None] + around] @ (bell * bell.T).ravel()
    high = smooth[cells] > 0.5
    peaks = cells[high & (smooth[cells] >= smooth[cells[:, None] + around].max(axis=1))]
    seeds = np.zeros(height * width, np.intp)
    seeds[peaks] = np.argsort(np.argsort(smooth[peaks], kind="stable")) + 1
    member = seeds[flat[:, None] + around].max(axis=1)
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


def _sample(plane: Float, x: Float, y: Float) -> Float:
    """Bilinear values of a plane at positions (n×1 arrays)."""
    plane = np.ascontiguousarray(plane)
    parts = [
        # OpenCV's remap takes at most 32,767 rows.
        cv2.remap(
            plane, x[i : i + 30000], y[i : i + 30000], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for i in range(0, len(x), 30000)
    ]
    return np.asarray(np.concatenate(parts)[:, 0], np.float32)
