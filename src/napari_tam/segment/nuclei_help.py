"""What the nuclei tell about cells: one with several is split, and a nucleus without a cell looked at again.

A macrophage has one nucleus; where a network joins two cells that touch, their nuclei still tell them apart,
and a nucleus that no cell was found around marks one that was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.dynamics import keep_labels, labels_from_flows, tidy

if TYPE_CHECKING:
    from napari_tam.networks.dynamics import Float, Labels

#: A nucleus is whole from this share of the median nucleus' area on: smaller ones are fragments.
WHOLE = 0.5
#: A nucleus belongs to the cell that holds more than this share of it.
OWNED = 0.5
#: A cell found only on second sight may overlap those found before by this share of its area.
TAKEN = 0.2
#: How much lower the probability's logit may be on second sight (0.5 becomes 0.12).
LOWER_LOGIT = 2.0
#: Largest flow error on second sight, in multiples of the setting.
LOOSER_FLOWS = 1.5

#: What the nuclei did for a cell.
SPLIT, FOUND = "split", "found"


@dataclass(frozen=True)
class Helped:
    """Cells after the nuclei's help.

    Attributes
    ----------
    labels
        (Y, X) int32, numbered from 1 without gaps.
    how
        For each label: `SPLIT`, `FOUND`, or empty.
    """

    labels: Labels
    how: npt.NDArray[np.str_]


def bring(nuclei: npt.NDArray[Any], shape: tuple[int, int]) -> Labels:
    """Bring the labels of nuclei to working scale: the nearest pixel's."""
    small = cv2.resize(nuclei.astype(np.float64), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, np.int32)


def help_by_nuclei(
    labels: Labels, output: Float, nuclei: Labels, *, threshold: float, flow_threshold: float, min_area: float
) -> Helped:
    """Split cells with several whole nuclei, and look again where a whole nucleus has no cell.

    Parameters
    ----------
    labels
        (Y, X) cells, numbered from 1 without gaps.
    output
        (3, Y, X) what the network gave: see `napari_tam.networks.dynamics.labels_from_flows`.
    nuclei
        (Y, X) labels of the nuclei at the same scale.
    threshold, flow_threshold, min_area
        With which the cells were found.
    """
    area = np.bincount(nuclei.ravel())
    area[:1] = 0
    if not area.any():
        return Helped(labels, np.full(int(labels.max(initial=0)), "", "U5"))
    whole = area >= max(WHOLE * float(np.median(area[area > 0])), 1)
    owner = _owners(nuclei, labels, area)
    result, split = labels.copy(), set()
    from scipy.ndimage import find_objects

    boxes = find_objects(labels)
    for cell in np.flatnonzero(np.bincount(owner[whole & (owner > 0)]) > 1):
        box = boxes[cell - 1]
        apart = _apart(nuclei[box], np.flatnonzero((owner == cell) & whole))
        free = int(result.max()) + 1
        split |= _split(result[box], [int(cell), *range(free, free + len(apart) - 1)], apart, min_area)
    first = int(result.max(initial=0)) + 1
    lone = whole & (owner == 0)
    if lone.any():
        _look_again(result, output, nuclei, lone, threshold, flow_threshold, min_area)
    how = np.full(int(result.max(initial=0)), "", "U5")
    how[[number - 1 for number in split]] = SPLIT
    how[first - 1 :] = FOUND
    there = np.bincount(result.ravel(), minlength=len(how) + 1)[1:] > 0
    return Helped(keep_labels(result, there), how[there])


def _owners(nuclei: Labels, labels: Labels, area: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return for each number of a nucleus the cell that holds it; 0: none."""
    cells = int(labels.max(initial=0)) + 1
    shared = np.bincount(nuclei.ravel().astype(np.intp) * cells + labels.ravel(), minlength=len(area) * cells)
    shared = shared.reshape(len(area), cells)
    shared[:, 0] = 0
    most = shared.argmax(axis=1)
    return np.where(shared.max(axis=1) > OWNED * area, most, 0)


def _apart(nuclei: Labels, numbers: npt.NDArray[np.intp]) -> list[npt.NDArray[np.bool_]]:
    """Return masks of nuclei of one cell; those that touch are one, cut in two by mistake or dividing."""
    inside = np.isin(nuclei, numbers).astype(np.uint8)
    count, pieces = cv2.connectedComponents(inside, connectivity=8)
    return [pieces == n for n in range(1, count)]


def _split(
    labels: Labels, numbers: list[int], seeds: list[npt.NDArray[np.bool_]], min_area: float
) -> set[int]:
    """Give each pixel of the cell ``numbers[0]`` to the nearest seed within it, and to that the next number.

    Nothing is done, and no number returned, where there is one seed only, or a part would be too small.
    """
    from skimage.segmentation import watershed

    if len(seeds) < 2:
        return set()
    mask = labels == numbers[0]
    markers = np.zeros(labels.shape, np.int32)
    for number, seed in enumerate(seeds, start=1):
        markers[seed & mask] = number
    far = cv2.distanceTransform((markers == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    parts = watershed(far, markers, mask=mask)  # type: ignore[no-untyped-call]
    if np.bincount(parts[mask], minlength=len(seeds) + 1)[1:].min() < min_area:
        return set()
    labels[mask] = np.array([0, *numbers])[parts[mask]]
    return set(numbers)


def _look_again(
    labels: Labels,
    output: Float,
    nuclei: Labels,
    lone: npt.NDArray[np.bool_],
    threshold: float,
    flow_threshold: float,
    min_area: float,
) -> None:
    """Add the cells that lower thresholds find around nuclei that have none."""
    seen, _ = labels_from_flows(
        output,
        threshold=threshold - LOWER_LOGIT,
        flow_threshold=LOOSER_FLOWS * flow_threshold,
        min_area=min_area,
    )
    area = np.bincount(nuclei.ravel(), minlength=len(lone))
    around = np.unique(_owners(nuclei, seen, area)[lone])
    number = int(labels.max(initial=0))
    for candidate in around[around > 0]:
        mask = seen == candidate
        free = mask & (labels == 0)
        if free.sum() < (1 - TAKEN) * mask.sum():
            continue
        part = tidy(free.astype(np.int32), min_area)
        if part.any():
            number += 1
            labels[(part > 0) & (labels == 0)] = number
