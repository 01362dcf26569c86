"""From flows to labels: Cellpose's dynamics, done in a few large steps.

Cellpose moves every pixel along the flow some 200 times. Here the map "where does a pixel go" is
composed with itself instead: n compositions make 2ⁿ steps, so that eight interpolations replace
two hundred. Seeds, their growth and the flow error are Cellpose's (Stringer et al. 2021).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.compiled import compiled
from napari_tam.networks.flow_errors import flow_errors

Labels = npt.NDArray[np.int32]
Float = npt.NDArray[np.float32]


def final_positions(flow: Float, foreground: npt.NDArray[np.bool_], doublings: int) -> Float:
    """Follow the flow from every foreground pixel for ``2 ** doublings`` steps.

    Parameters
    ----------
    flow
        (2, Y, X) steps in y and x, in pixels (unit vectors inside a cell).
    foreground
        (Y, X); the flow counts as zero elsewhere.
    doublings
        How often the map is composed with itself.

    Returns
    -------
    (2, N) final y and x of the N foreground pixels, in the order of ``np.nonzero(foreground)``.
    """
    rows, columns = np.nonzero(foreground)
    first, second = np.zeros((2, *foreground.shape, 2), np.float32)
    first[..., 0], first[..., 1] = flow[0] * foreground, flow[1] * foreground
    for _ in range(doublings):
        compose(first, second, rows, columns)
        first, second = second, first
    ends = np.stack([rows, columns]) + first[rows, columns].T
    size = np.array(foreground.shape, np.float32)[:, None]
    return np.asarray(np.clip(ends, 0, size - 1), np.float32)


@compiled
def between(plane: Any, y: Any, x: Any) -> Any:
    """Return a plane's value at a place inside it, bilinear between pixels."""
    top, left = int(y), int(x)
    below, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
    down, across = y - np.float32(top), x - np.float32(left)
    upper = plane[top, left] + (plane[top, right] - plane[top, left]) * across
    lower = plane[below, left] + (plane[below, right] - plane[below, left]) * across
    return upper + (lower - upper) * down


@compiled
def compose(moved: Any, further: Any, rows: Any, columns: Any) -> None:
    """Write to `further` where pixels come that go as `moved` says, twice; both (Y, X, 2), bilinear."""
    height, width = moved.shape[:2]
    for i in range(len(rows)):
        row, column = rows[i], columns[i]
        y = min(max(np.float32(row) + moved[row, column, 0], np.float32(0)), np.float32(height - 1))
        x = min(max(np.float32(column) + moved[row, column, 1], np.float32(0)), np.float32(width - 1))
        further[row, column, 0] = between(moved[..., 0], y, x) + y - np.float32(row)
        further[row, column, 1] = between(moved[..., 1], y, x) + x - np.float32(column)


def grow_seeds(ends: Float, shape: tuple[int, int], *, smallest_peak: int = 10, reach: int = 5) -> Labels:
    """Turn final positions into one label for each of them (0: none), as Cellpose does.

    Positions are counted on the pixel grid; peaks of the count (over 5×5 pixels, more than
    `smallest_peak` positions) are seeds and grow `reach` times into neighbours with more than 2.
    """
    y, x = np.clip(np.round(ends).astype(np.intp), 0, np.array(shape)[:, None] - 1)
    flat = y * shape[1] + x
    count = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float32)
    highest = cv2.dilate(count, np.ones((5, 5), np.uint8))
    seeds = np.flatnonzero((count >= highest) & (count > smallest_peak))
    # A higher peak has the higher number, so that it wins where two grow into each other.
    seeds = seeds[np.argsort(count.ravel()[seeds], kind="stable")]
    grown = np.zeros(shape, np.float32)
    grown.ravel()[seeds] = np.arange(1, len(seeds) + 1)
    passable = count > 2
    for _ in range(reach):
        grown = cv2.dilate(grown, np.ones((3, 3), np.uint8)) * passable
    return np.asarray(grown.ravel()[flat], np.int32)


def labels_from_flows(
    output: Float, *, threshold: float, flow_threshold: float, doublings: int = 7, min_area: float = 15
) -> tuple[Labels, Float]:
    """Turn a network's output into labels.

    Parameters
    ----------
    output
        (3, Y, X): flow y, flow x (five times the unit vector), probability logit.
    threshold
        Foreground is where the logit is above this.
    flow_threshold
        Masks whose flow error is larger are dropped; 0 keeps all.
    doublings
        2 ** doublings steps along the flow.
    min_area
        Smaller masks (pixels) are dropped.

    Returns
    -------
    labels, errors
        (Y, X) int32 labels, numbered from 1 without gaps; each in one piece and without holes. And the flow
        error of each.
    """
    foreground = output[2] > threshold
    labels = np.zeros(foreground.shape, np.int32)
    if not foreground.any():
        return labels, np.zeros(0, np.float32)
    flow = output[:2] / 5
    ends = final_positions(flow, foreground, doublings)
    labels[foreground] = grow_seeds(ends, foreground.shape)
    labels = tidy(labels, min_area)
    errors = flow_errors(labels, flow, (flow_threshold / 2, 2 * flow_threshold))
    if flow_threshold > 0 and labels.any():
        good = errors <= flow_threshold
        labels, errors = keep_labels(labels, good), errors[good]
    return labels, errors


def keep_labels(labels: Labels, keep: npt.NDArray[np.bool_]) -> Labels:
    """Return the labels for whose number, from 1, `keep` is true, renumbered from 1 in the old order."""
    keep = np.concatenate([[False], keep])
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def tidy(labels: Labels, min_area: float) -> Labels:
    """Keep the largest piece of each label, fill its holes, drop small ones and renumber.

    A label that lies in the hole of another keeps its pixels.

    Parameters
    ----------
    labels
        (Y, X) labels; gaps in their numbers are allowed.
    min_area
        Labels with fewer pixels, holes included, are dropped.

    Returns
    -------
    (Y, X) labels of the same type, numbered from 1 without gaps, in the old order.
    """
    from scipy.ndimage import find_objects

    kept: list[tuple[int, int, Any, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []
    for index, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        mask = (labels[box] == index).astype(np.uint8)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        if count > 2:
            mask = (pieces == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED)
        area = int(filled.sum())
        if area >= min_area:
            kept.append((area, len(kept) + 1, box, mask > 0, filled > 0))
    result = np.zeros_like(labels)
    # Of two that enclose a hole, the inner one (with the smaller outline) gets it.
    for _, number, box, _, filled in sorted(kept, key=lambda item: -item[0]):
        result[box][filled] = number
    for _, number, box, mask, _ in kept:
        result[box][mask] = number
    return result


def enlarge(labels: Labels, shape: tuple[int, int]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Bring labels to another (as a rule larger) size with smooth outlines.

    Each mask is resized as a soft image; a pixel goes to the label with the largest share of it,
    if that is over one half. A label too small for that keeps the pixel it covers most.

    Parameters
    ----------
    labels
        (Y, X) labels.
    shape
        Height and width wanted.

    Returns
    -------
    Labels of the given shape with the same numbers; uint16, or uint32 above 65,535 labels.
    """
    from scipy.ndimage import find_objects

    dtype = np.uint16 if int(labels.max()) < 2**16 else np.uint32
    if labels.shape == shape:
        return labels.astype(dtype)
    result: npt.NDArray[np.unsignedinteger[Any]] = np.zeros(shape, dtype)
    best = np.full(shape, 0.5, np.float32)
    ratio = np.array(shape) / labels.shape
    for index, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        # A margin of 2 px so that the soft edge fits; source pixel s covers ratio·s … ratio·(s+1).
        low = [max(0, side.start - 2) for side in box]
        high = [min(size, side.stop + 2) for side, size in zip(box, labels.shape, strict=True)]
        mask = (labels[low[0] : high[0], low[1] : high[1]] == index).astype(np.float32)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.7, borderType=cv2.BORDER_REPLICATE)
        first = np.minimum(np.round(np.array(low) * ratio).astype(int), np.array(shape) - 1)
        last = np.maximum(np.round(np.array(high) * ratio).astype(int), first + 1)
        size = (int(last[1] - first[1]), int(last[0] - first[0]))
        big = cv2.resize(soft, size, interpolation=cv2.INTER_LINEAR)
        window = (slice(first[0], last[0]), slice(first[1], last[1]))
        wins = big > best[window]
        if not wins.any():
            big = np.where(big == big.max(), np.float32(1), 0)
            wins = (big > 0) & (best[window] < 1)
        best[window][wins] = big[wins]
        result[window][wins] = index
    return result
