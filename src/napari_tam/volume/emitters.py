"""Emitters of a stack, which share light, and what they leave of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from napari_tam.puncta.crowds.emitters import REACH
from napari_tam.puncta.crowds.heights import LEAST_SPREAD, usual_height
from napari_tam.volume.light_loops import AWAY, add_light, misfit, refine, widening

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Index, Points

#: Emitters within so many sigma of a new one are fitted again with it.
NEAR = 3.5

#: Emitters with no other within so many sigma stand alone.
ALONE = 5.0


@dataclass
class Parted:
    """Emitters of a stack; arrays of length N. Unlike those of a plane they are fitted in place.

    Attributes
    ----------
    home
        (N, 3) voxels around which the windows lie.
    points
        (N, 3) z, y and x.
    peak
        Height.
    sigma
        (N, 2) along z and in the plane.
    parent
        The candidate that each comes from.
    free
        Whether it is fitted: wide ones stay as they are.
    """

    home: Points
    points: Points
    peak: Doubles
    sigma: Doubles
    parent: Index
    free: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.peak)

    def take(self, which: npt.NDArray[np.generic]) -> Parted:
        """Return copies of some."""
        parts = (self.home, self.points, self.peak, self.sigma, self.parent, self.free)
        return Parted(*(part[which].copy() for part in parts))

    def plus(self, place: Points, peak: float, beside: int) -> Parted:
        """Return these and one more, which comes from the same candidate as `beside`."""
        return Parted(
            np.vstack([self.home, np.round(place)]),
            np.vstack([self.points, place]),
            np.append(self.peak, peak),
            np.vstack([self.sigma, self.sigma[beside]]),
            np.append(self.parent, self.parent[beside]),
            np.append(self.free, True),
        )

    def scaled(self, sigma: Doubles) -> Points:
        """Return places in units of a punctum's width."""
        return self.points / sigma[[0, 1, 1]]


@dataclass(frozen=True)
class Left:
    """What is left over of a stack: `rest` (Z, Y, X), without background and emitters, changes with them.

    Attributes
    ----------
    weight
        (Z, Y, X) reciprocal of each voxel's variance.
    sigma
        (2,) width of a single punctum along z and in the plane.
    norm
        (Z, Y, X) squared signal-to-noise ratio of an emitter of height 1 at each voxel.
    """

    rest: Float
    weight: Float
    sigma: Doubles
    norm: Float

    @property
    def scale(self) -> Doubles:
        """Return the widths along z, y and x."""
        return self.sigma[[0, 1, 1]]

    def add(self, emitters: Parted, which: slice, times: float) -> None:
        """Add `times` the light of some emitters."""
        home, points = emitters.home[which], emitters.points[which]
        add_light(self.rest, home, points, emitters.peak[which], emitters.sigma[which], REACH, times)

    def refine(self, emitters: Parted, which: Index, sweeps: int) -> None:
        """Fit some emitters, in place."""
        given = (emitters.home, emitters.points, emitters.peak, emitters.sigma)
        refine(self.rest, self.weight, *given, which, REACH, sweeps)

    def widening(self, emitters: Parted, which: Index) -> Doubles:
        """Return how much wider some emitters are than single puncta (`light_loops.widening`)."""
        some = emitters.take(which)
        given = (some.home, some.points, some.peak, some.sigma)
        return np.asarray(widening(self.rest, self.weight, *given, REACH))

    def misfit(self, box: tuple[slice, ...]) -> float:
        """Return chi² of a part."""
        return misfit(self.rest[box], self.weight[box])

    def filtered(self, stack: Float) -> Float:
        """Return the sums of a stack over single puncta of height 1, one around each voxel."""
        return filtered(stack, self.sigma)


def smoothed(plane: Float, sigma: float) -> Float:
    """Return a plane (Y, X) smoothed by a Gaussian."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def filtered(stack: Float, sigma: Doubles) -> Float:
    """Return the sums of a stack over Gaussians of height 1, one around each voxel."""
    planes = np.stack([smoothed(plane, float(sigma[1])) for plane in stack])
    planes = gaussian_filter1d(planes, float(sigma[0]), axis=0, mode="constant")
    return np.asarray(planes * ((2 * np.pi) ** 1.5 * sigma[0] * sigma[1] ** 2), np.float32)


def box_around(place: Points, scale: Doubles) -> tuple[slice, ...]:
    """Return what may change when an emitter at a place and those near it are fitted again."""
    reach = np.ceil((NEAR + AWAY + REACH) * scale).astype(np.intp) + 1
    low, high = np.maximum(place.astype(np.intp) - reach, 0), place.astype(np.intp) + reach + 1
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def strength_of(peak: Doubles, known: Float, sigma: Doubles) -> Doubles:
    """Squared signal-to-noise ratio of emitters of widths (..., 2), where a voxel has the weight `known`."""
    return np.asarray(peak**2 * np.pi**1.5 * sigma[..., 0] * sigma[..., 1] ** 2 * known)


def stand_alone(now: Parted, sigma: Doubles, reach: float = ALONE) -> npt.NDArray[np.bool_]:
    """Tell which emitters have no other within so many sigma."""
    if len(now) < 2:
        return np.ones(len(now), bool)
    scaled = now.scaled(sigma)
    return np.asarray(cKDTree(scaled).query(scaled, k=2)[0][:, 1] > reach, bool)


def usual_among(now: Parted, sigma: Doubles) -> tuple[float, float]:
    """Log height of single puncta and its SD, from those that stand alone or nearly so."""
    free = now.take(now.free)
    if len(free) < 10:
        return 0.0, np.inf
    scaled = free.scaled(sigma)
    nearest = cKDTree(scaled).query(scaled, k=2)[0][:, 1]
    used = nearest >= min(ALONE, float(np.quantile(nearest, 0.7)))
    middle, spread = usual_height(free.peak[used])
    return middle, max(spread, LEAST_SPREAD)


def voxels_of(points: Points, shape: tuple[int, ...]) -> Index:
    """Return the voxel of each point, (N, 3)."""
    return np.clip(np.round(points), 0, np.array(shape) - 1).astype(np.intp)
