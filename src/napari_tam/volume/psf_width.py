"""The width of a single punctum in a stack, along z and in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.puncta import psf_width

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float

#: So many planes, those with the most puncta, tell the width in the plane.
PLANES = 7

#: So many puncta tell the width along z, the brighter half of them, in so many rounds.
ASKED, ROUNDS = 300, 3


def typical_sigma(
    volume: Float, peaks: npt.NDArray[np.intp], start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return sigma (voxels) along z and in y and x of a single punctum.

    In the plane as `napari_tam.puncta.psf_width.typical_sigma`. Along z by what the same filter answers in
    the punctum's plane and k planes above and below: of a Gaussian, log(middle² / (above below)) is
    (k / sigma)², wherever between the planes it lies. Haze has no say in either.

    Parameters
    ----------
    volume
        ZYX exosome channel.
    peaks
        (N, 3) voxels of puncta; N > 0.
    start
        Sigma to begin with. That along z stays where the stack is too thin to tell; else it is between a
        third and three times of it.
    """
    held = np.bincount(peaks[:, 0])
    planes = np.argsort(-held, kind="stable")[: min(PLANES, np.count_nonzero(held))]
    widths = np.array([psf_width.typical_sigma(volume[z], peaks[peaks[:, 0] == z, 1:] * 1.0) for z in planes])
    order = np.argsort(widths)
    middle = int(np.searchsorted(np.cumsum(held[planes][order]), held[planes].sum() / 2))
    lateral = float(widths[order[middle]])
    along = float(start[0])
    low, high = max(along / 3, 0.4), along * 3
    for _ in range(ROUNDS):
        step = max(1, min(round(along), (len(volume) - 1) // 2))
        found = _along_z(volume, peaks, lateral, step)
        if found is None:
            break
        along = float(np.clip(found, low, high))
        if round(along) == step:
            break
    return np.array([along, lateral])


def _along_z(volume: Float, peaks: npt.NDArray[np.intp], lateral: float, step: int) -> float | None:
    """Return sigma along z by planes that are `step` apart; None where no punctum has both."""
    inside = (peaks[:, 0] >= step) & (peaks[:, 0] < len(volume) - step)
    some = peaks[inside][:: max(1, int(inside.sum()) // ASKED)]
    wanted = some[:, 0] + np.array([[-step], [0], [step]])
    answers = np.zeros(wanted.shape)
    for z in np.unique(wanted):
        windows = psf_width.laplacian_windows(volume[z])
        row, index = np.nonzero(wanted == z)
        answers[row, index] = psf_width.laplacian_at(windows, some[index, 1:], max(lateral, 1.0))
    below, middle, above = answers
    good = (answers > 0).all(axis=0) & (middle**2 > below * above)
    if not good.any():
        return None
    good &= middle >= np.median(middle[good])
    return float(step / np.sqrt(np.median(np.log(middle[good] ** 2 / (below[good] * above[good])))))
