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
import torch
from torch.nn import functional

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
    height, width = foreground.shape
    rows, columns = np.nonzero(foreground)
    start = torch.from_numpy(np.stack([columns, rows]).astype(np.float32))
    inside = torch.from_numpy(foreground)
    field = torch.from_numpy(np.ascontiguousarray(flow[::-1])) * inside  # x, y as grid_sample wants
    size = torch.tensor([[width - 1.0], [height - 1.0]])
    scale = 2 / size.clamp(min=1)
    moved = field[:, inside]
    for step in range(doublings):
        if step:
            field[:, inside] = moved
        there = torch.minimum((start + moved).clamp(min=0), size)
        grid = (there * scale - 1).T[None, None]
        onward = functional.grid_sample(field[None], grid, align_corners=True)[0, :, 0]
        moved = there + onward - start
    end = torch.minimum((start + moved).clamp(min=0), size)
    return np.asarray(end.flip(0).numpy())


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
    own = torch.from_numpy(np.where(padded.ravel()[around] == mask, number[around], len(pixels)))
    centres, rounds = _centres(pixels // width, pixels % width, mask)
    heat = torch.zeros(len(pixels) + 1, dtype=torch.float64)
    nine = torch.empty(own.shape, dtype=torch.float64)
    for _ in range(rounds):
        heat[centres] += 1
        torch.mean(torch.take(heat, own, out=nine), dim=0, out=heat[:-1])
    up, down, left, right = heat.numpy()[number[around[1:5]]]
    climb = np.stack([down - up, right - left])
    flows[:, pixels // width - 1, pixels % width - 1] = climb / (1e-60 + np.sqrt((climb**2).sum(axis=0)))
    return flows


def _centres(
    y: npt.NDArray[np.intp], x: npt.NDArray[np.intp], mask: npt.NDArray[Any]
) -> tuple[torch.Tensor, int]:
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
    return torch.from_numpy(order[starts]), 2 * int(np.max(longest))


def flow_errors(labels: Labels, flow: Float) -> Float:
    """Mean squared difference between the flows of masks and the predicted flows, for each label.

    Labels are halved in size before their flows are computed (`mask_flows`): an eighth of the work, and the
    mean over a mask hardly changes.

    Parameters
    ----------
    labels
        (Y, X) labels.
    flow
        (2, Y, X) predicted unit vectors in y and x.

    Returns
    -------
    Array of length ``labels.max()``; infinite for labels that are too thin to survive the halving.
    """
    small = np.ascontiguousarray(labels[::2, ::2])
    present = np.unique(small)
    present = present[present > 0]
    errors = np.full(int(labels.max()), np.inf, np.float32)
    if not len(present):
        return errors
    dense = np.zeros(int(labels.max()) + 1, np.int32)
    dense[present] = np.arange(1, len(present) + 1)
    packed = dense[small]
    own = mask_flows(packed)
    squared = ((own - flow[:, ::2, ::2]) ** 2).sum(axis=0)
    total = np.bincount(packed.ravel(), squared.ravel())[1:]
    size = np.bincount(packed.ravel())[1:]
    errors[present - 1] = total / size
    return errors


def labels_from_flows(
    output: Float, *, threshold: float, flow_threshold: float, doublings: int = 7, min_area: float = 15
) -> Labels:
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
    (Y, X) int32 labels, numbered from 1 without gaps; each in one piece and without holes.
    """
    foreground = output[2] > threshold
    labels = np.zeros(foreground.shape, np.int32)
    if not foreground.any():
        return labels
    flow = output[:2] / 5
    ends = final_positions(flow, foreground, doublings)
    labels[foreground] = grow_seeds(ends, foreground.shape)
    labels = tidy(labels, min_area)
    if flow_threshold > 0 and labels.any():
        bad = flow_errors(labels, flow) > flow_threshold
        keep = np.concatenate([[False], ~bad])
        numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
        labels = numbers[labels]
    return labels


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
