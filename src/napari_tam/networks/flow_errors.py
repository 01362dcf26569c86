"""How well the flows of masks agree with those that the network predicted (Stringer et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from napari_tam.compiled import compiled

Labels = npt.NDArray[np.int32]
Float = npt.NDArray[np.float32]


def mask_flows(labels: Labels) -> npt.NDArray[np.float64]:
    """Flows of masks as Cellpose defines them: heat spreads from each mask's centre, and flows climb it.

    In every round a mask's centre gets one unit and every pixel the mean of the nine pixels around it,
    where pixels off its mask count as zero; twice as many rounds as the largest mask has rows and columns
    (Stringer et al. 2021). It is written here as Cellpose compiles its own at every start (5 s).

    Parameters
    ----------
    labels
        (Y, X) labels, numbered from 1 without gaps.

    Returns
    -------
    (2, Y, X) unit vectors in y and x; zero off the masks.
    """
    flows = np.zeros((2, *labels.shape))
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return flows
    mask = labels[rows, columns]
    centres, rounds = _centres(rows, columns, mask)
    extent = np.full((int(mask.max()), 4), -1, np.int64)
    for number, box in enumerate(find_objects(labels)):
        if box is not None:
            extent[number] = box[0].start, box[0].stop, box[1].start, box[1].stop
    _climb(flows, labels, extent, rows[centres], columns[centres], rounds)
    return flows


@compiled
def _climb(flows: Any, labels: Any, extent: Any, row: Any, column: Any, rounds: int) -> None:
    """Write the flows (2, Y, X) of all masks: of each its box (first and last rows, columns) and its centre.

    Sums are taken in Cellpose's order: where the flow is as good as 0, that decides what it is.
    """
    # beside another mask, that one's heat counts in the flow
    warm = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2))
    for number in range(len(extent)):
        top, bottom, left, right = extent[number]
        height, width = bottom - top, right - left
        inside = np.zeros((height + 2, width + 2))
        for r in range(height):
            for c in range(width):
                inside[r + 1, c + 1] = labels[top + r, left + c] == number + 1
        heat, after = np.zeros_like(inside), np.zeros_like(inside)
        for _ in range(rounds):
            heat[row[number] - top + 1, column[number] - left + 1] += 1
            for r in range(1, height + 1):
                up, here, down, own, into = heat[r - 1], heat[r], heat[r + 1], inside[r, 1:], after[r, 1:]
                up_1, here_1, down_1, up_2, here_2, down_2 = (
                    up[1:],
                    here[1:],
                    down[1:],
                    up[2:],
                    here[2:],
                    down[2:],
                )
                for c in range(width):
                    total = here_1[c] + up_1[c] + down_1[c] + here[c] + here_2[c]
                    into[c] = own[c] * ((total + up[c] + up_2[c] + down[c] + down_2[c]) / 9)
            heat, after = after, heat
        for r in range(height):
            for c in range(width):
                if inside[r + 1, c + 1]:
                    warm[top + r + 1, left + c + 1] = heat[r + 1, c + 1]
    for r in range(labels.shape[0]):
        for c in range(labels.shape[1]):
            if labels[r, c]:
                down, across = warm[r + 2, c + 1] - warm[r, c + 1], warm[r + 1, c + 2] - warm[r + 1, c]
                size = 1e-60 + np.sqrt(down * down + across * across)
                flows[0, r, c], flows[1, r, c] = down / size, across / size


def _centres(
    y: npt.NDArray[np.intp], x: npt.NDArray[np.intp], mask: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], int]:
    """Return which pixel is the centre of each mask (nearest to its mean), and how many rounds heat needs."""
    size = np.bincount(mask)
    means = [np.bincount(mask, at) / np.maximum(size, 1) for at in (y, x)]
    distance = (y - means[0][mask]) ** 2 + (x - means[1][mask]) ** 2
    order = np.lexsort((distance, mask))
    starts = np.concatenate([[0], np.cumsum(size[1:])[:-1]])
    longest = 0
    for at in (y, x):
        along = at[np.argsort(mask, kind="stable")]
        extent = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts) + 2
        longest = longest + extent
    return order[starts], 2 * int(np.max(longest))


def flow_errors(labels: Labels, flow: Float, doubtful: tuple[float, float] = (0.0, 0.0)) -> Float:
    """Mean squared difference between the flows of masks and the predicted flows, for each label.

    Labels are halved in size before their flows are computed (`mask_flows`): an eighth of the work, and the
    mean over a mask hardly changes. It does depend on which of four pixels stays, so where it decides it is
    the mean over the four, which is the same for a mirrored image of an even size.

    Parameters
    ----------
    labels
        (Y, X) labels.
    flow
        (2, Y, X) predicted unit vectors in y and x.
    doubtful
        Errors between these two, or of labels that are too thin for the halving, are computed four times.

    Returns
    -------
    Array of length ``labels.max()``; infinite for numbers without a mask.
    """
    errors = _errors_of(np.ascontiguousarray(labels[::2, ::2]), flow[:, ::2, ::2], int(labels.max()))
    low, high = doubtful
    unsure = np.concatenate([[False], (errors > low) & ((errors < high) | np.isinf(errors)) & (high > low)])
    if unsure.any():
        some = np.where(unsure[labels], labels, 0)
        others = [
            _errors_of(np.ascontiguousarray(some[y::2, x::2]), flow[:, y::2, x::2], len(errors))
            for y, x in ((0, 1), (1, 0), (1, 1))
        ]
        errors = np.where(unsure[1:], _mean_of_finite(np.stack([errors, *others])), errors)
    return errors


def _mean_of_finite(errors: Float) -> Float:
    """Return the mean over the first axis of what is finite; infinite where nothing is."""
    finite = np.isfinite(errors)
    count = finite.sum(axis=0)
    total = np.where(finite, errors, 0).sum(axis=0, dtype=np.float32)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf).astype(np.float32)


def _errors_of(labels: Labels, flow: Float, count: int) -> Float:
    """Return the errors of the labels 1 to `count`; infinite for those that are not there."""
    present = np.unique(labels)
    present = present[present > 0]
    errors = np.full(count, np.inf, np.float32)
    if not len(present):
        return errors
    dense = np.zeros(count + 1, np.int32)
    dense[present] = np.arange(1, len(present) + 1)
    packed = dense[labels]
    squared = ((mask_flows(packed) - flow) ** 2).sum(axis=0)
    total = np.bincount(packed.ravel(), squared.ravel())[1:]
    errors[present - 1] = total / np.bincount(packed.ravel())[1:]
    return errors
