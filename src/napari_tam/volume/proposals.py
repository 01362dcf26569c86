"""Where light is left over of a stack that needs one more emitter, and where one emitter may be two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from napari_tam.puncta.crowds.emitters import REACH
from napari_tam.puncta.crowds.proposals import BRIGHT
from napari_tam.volume.light_loops import elongation

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Index, Points
    from napari_tam.volume.emitters import Left, Parted

#: Light left over of so many SD is tried, so many sigma from an emitter at most.
LEFT_OVER, BESIDE = 3.0, 4.5

#: What lies off the plane by more than this share of its distance in the plane is above or below (in sigma):
#: there the light of a lens is no Gaussian.
IN_PLANE = 0.4

#: What was tried within so many sigma is not tried again until something near it changes: further ones, and
#: what may be two.
AGAIN, AGAIN_TWO = 0.7, 0.1

#: The kind of proposals that make two of one.
SPLIT = 2

#: Of two in the place of one each has this share of its height, and they are so far apart (sigma).
SHARE, APART = 0.55, (0.7, 2.2)


@dataclass(frozen=True)
class Proposals:
    """N further emitters that may be.

    Attributes
    ----------
    places, heights
        (N, 3) where, and (N,) how high.
    beside
        (N,) the emitter that each is next to.
    kind
        (N,) whether they lie beside it (0), rather above or below (1), or in its light (`SPLIT`): then it
        is as far on the other side of where it was, and of that height as well.
    """

    places: Points
    heights: Doubles
    beside: Index
    kind: Index

    def plus(self, other: Proposals) -> Proposals:
        """Return these and others."""
        names = ("places", "heights", "beside", "kind")
        return Proposals(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))


def left_over(now: Parted, left: Left, given_up: Points, least: float = LEFT_OVER) -> Proposals:
    """Return where light of at least so many SD is left over, and how high an emitter there would be."""
    height = left.filtered(left.weight * left.rest) / np.maximum(left.norm, 1e-12)
    clear = height * np.sqrt(np.maximum(left.norm, 0))
    voxels = np.argwhere((clear == maximum_filter(clear, 3)) & (clear > least))
    scale = left.scale
    away, beside = cKDTree(now.points / scale).query(voxels / scale)
    good = away < BESIDE
    good[good] = now.free[beside[good]]
    if len(given_up):
        good &= cKDTree(given_up / scale).query(voxels / scale)[0] > AGAIN
    order = np.flatnonzero(good)[np.argsort(-clear[tuple(voxels[good].T)], kind="stable")]
    chosen, beside = voxels[order], beside[order]
    axial = is_axial((chosen - now.points[beside]) / scale)
    heights = height[tuple(chosen.T)].astype(np.float64)
    return Proposals(chosen.astype(np.float64), heights, beside, axial.astype(np.intp))


def bright(now: Parted, left: Left, usual: tuple[float, float], given_up: Points) -> Index:
    """Return which are higher than single ones, so that each may be two."""
    which = np.flatnonzero(now.free & (np.log(now.peak) > usual[0] + BRIGHT))
    if len(given_up) and len(which):
        away = cKDTree(given_up / left.scale).query(now.points[which] / left.scale)[0]
        which = which[away > AGAIN_TWO]
    return which


def splits(now: Parted, left: Left, which: Index) -> Proposals:
    """Return two in the place of one each, along the direction in which it is long.

    Two of half the height at ±d/2 differ from one by d²/8 times its second derivative along d.
    """
    some = now.take(which)
    shape = elongation(left.rest, left.weight, some.home, some.points, some.peak, some.sigma, REACH)
    longest, axes = np.linalg.eigh(shape)
    apart = np.clip(np.sqrt(8 * np.maximum(longest[:, -1], 0)), *APART)
    step = axes[:, :, -1] * apart[:, None] / 2
    return Proposals(some.points + step * left.scale, SHARE * some.peak, which, np.full(len(which), SPLIT))


def is_axial(apart: Points) -> npt.NDArray[np.bool_]:
    """Tell which distances (..., 3) in sigma lead out of the plane."""
    return np.asarray(np.abs(apart[..., 0]) > IN_PLANE * np.hypot(apart[..., 1], apart[..., 2]))
