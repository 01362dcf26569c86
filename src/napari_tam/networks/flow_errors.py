"""How well the flows of masks agree with those that the network predicted (Stringer et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]
Float = npt.NDArray[np.float32]


def mask_flows(labels: Labels) -> npt.NDArray[np.float64]:
    """Flows of masks as Cellpose defines them: heat spreads from each mask's centre, and flows climb it.

    In every round a mask's centre gets one unit and every pixel the mean of the nine pixels around it,
    where pixels off its mask count as zero; twice as many rounds as the largest mask has rows and columns
    (Stringer et al. 2021). It is written here as this part of Cellpose is compiled at every start (5 s).

    Parameters
    ----------
    labels
        (Y, X) labels, numbered from 1 without gaps.

    Returns
    -------
    (2, Y, X) unit vectors in y and x; zero off the masks.
    """
    flows = np.zeros((2, *labels.shape))
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    pixels = np.flatnonzero(padded)
    if not len(pixels):
        return flows
    mask = padded.ravel()[pixels]
    number = np.full(padded.size, len(pixels))  # the last one is off all masks, and stays at zero
    number[pixels] = np.arange(len(pixels))
    offsets = np.array([0, -width, width, -1, 1, -width - 1, -width + 1, width - 1, width + 1])
    around = pixels + offsets[:, None]
    own = np.where(padded.ravel()[around] == mask, number[around], len(pixels))
    centres, rounds = _centres(pixels // width, pixels % width, mask)
    heat, total, one = np.zeros(len(pixels) + 1), np.empty(len(pixels)), np.empty(len(pixels))
    # In one thread: a round is too short for several, which would wait for each other.
    for _ in range(rounds):
        heat[centres] += 1
        np.take(heat, own[0], out=total, mode="clip")
        for beside in own[1:]:
            total += np.take(heat, beside, out=one, mode="clip")
        np.divide(total, 9, out=heat[:-1])
    up, down, left, right = heat[number[around[1:5]]]
    climb = np.stack([down - up, right - left])
    flows[:, pixels // width - 1, pixels % width - 1] = climb / (1e-60 + np.sqrt((climb**2).sum(axis=0)))
    return flows


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
