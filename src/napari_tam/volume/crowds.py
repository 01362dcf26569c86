"""Several puncta in one spot of a stack: a fit with a stopping rule (of a plane: `napari_tam.puncta.crowds`).

Where light is left over beside an emitter another one is tried: those around it are fitted together anew, and
it stays if chi² falls by enough, the heights having a say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, maximum_filter
from scipy.spatial import cKDTree

from napari_tam.puncta.crowds.emitters import REACH, Emitters
from napari_tam.puncta.crowds.heights import LEAST_SPREAD, usual_height
from napari_tam.puncta.crowds.pixel_model import pixel_variance
from napari_tam.puncta.crowds.splitting import FAINTER, LEAST_SHARE, LEAST_SNR
from napari_tam.stopping import checkpoint
from napari_tam.volume.background import haze
from napari_tam.volume.light_loops import AWAY, add_light, misfit, refine
from napari_tam.volume.segment import Montage

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Index, Points


#: Light left over of so many SD is tried, so many sigma from an emitter at most.
LEFT_OVER, BESIDE = 3.0, 4.5

#: Least fall of chi² (with the heights' say) for a further emitter, and how many times the misfit of most
#: single puncta is no sign of one. (In planes `napari_tam.puncta.crowds.worth` tells, by more.)
MORE_PAYS, TAIL = 12.0, 3.0

#: Emitters within so many sigma of a new one are fitted again with it, in so many sweeps.
NEAR, SWEEPS = 3.5, 12

#: What lies off the plane by more than this share of its distance in the plane is above or below (in sigma):
#: there the light of a lens is no Gaussian.
IN_PLANE = 0.4

#: Emitters with no other within so many sigma stand alone.
ALONE = 5.0

#: Haze is fitted so often before, and then after each round; what is left over counts for it up to so many SD
#: of its noise: beyond, it is light of puncta that are not known yet.
SETTLED, CLIP = 1, 2.0

#: Rounds of proposals at most; it ends earlier where one adds no more than this share of all emitters.
ROUNDS, HARDLY_MORE = 6, 2e-3

#: The misfit of single puncta is this quantile of what they say, at least so many and some of them if there
#: are many more. Four parameters more bring so much by chance (that quantile of chi²). From `NO_POINTS` on
#: these are no points: 0.03 at most in drawn crowds, 0.2 among nuclei.
LOWER, LEAST_SINGLES, ASKED, BY_CHANCE, NO_POINTS = 0.35, 20, 60, 2.47, 0.12

#: ... and it is not less than this, however Gaussian they look.
LEAST_MISFIT = 0.005

#: Singles that tell the misfit have heights between these quantiles: two in one spot are brighter than most,
#: and of faint ones little is known.
SINGLES = (0.3, 0.75)

#: What was tried within so many sigma is not tried again until something near it changes.
AGAIN = 0.7


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
class _Left:
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

    def misfit(self, box: tuple[slice, ...]) -> float:
        """Return chi² of a part."""
        return misfit(self.rest[box], self.weight[box])

    def filtered(self, stack: Float) -> Float:
        """Return the sums of a stack over single puncta of height 1, one around each voxel."""
        return _filtered(stack, self.sigma)


@dataclass(frozen=True)
class StackFit:
    """What the fit gives: the emitters, and (Z, Y, X) background and reciprocal of each voxel's variance."""

    emitters: Parted
    base: Float
    weight: Float


def resolve(volume: Float, seeds: Parted, sigma: Doubles, base: Float) -> StackFit | None:
    """Fit the emitters of a stack, with more of them where one does not do.

    Parameters
    ----------
    volume
        (Z, Y, X) the exosome channel.
    seeds
        What was found.
    sigma
        (2,) width of a single punctum along z and in the plane, in voxels.
    base
        (Z, Y, X) what lies between the puncta.

    Returns
    -------
    None where what was found is no point: two always fit it better.
    """
    light, base = volume - base, base.copy()
    rest = light.copy()
    add_light(rest, seeds.home, seeds.points, seeds.peak, seeds.sigma, REACH, -1.0)
    weight = _weight(rest, light, seeds, float(sigma[1]))
    left = _Left(rest, weight, sigma, _filtered(weight, sigma / np.sqrt(2)))
    now = seeds.take(np.arange(len(seeds)))
    for _ in range(SETTLED):
        left.refine(now, np.flatnonzero(now.free), 3)
        _settle(base, left)
    usual_misfit = _misfit_of_singles(now, left)
    if usual_misfit[0] > NO_POINTS:
        return None
    now = _without_lobes(now, left, usual_misfit)
    given_up = np.zeros((0, 3))
    for _ in range(ROUNDS):
        usual = _usual(now, sigma)
        proposals = _proposals(now, left, given_up)
        before = len(now)
        for index, place in enumerate(proposals.places):
            checkpoint()
            now, kept = _attempt(now, left, proposals, index, usual, usual_misfit)
            if not kept:
                given_up = np.vstack([given_up, place])
            elif len(given_up):
                given_up = given_up[np.linalg.norm((given_up - place) / left.scale, axis=1) > NEAR]
        added = len(now) - before
        now = _pruned(now, left, usual)
        _settle(base, left)
        if added <= HARDLY_MORE * len(now):
            break
    return StackFit(now, base, weight)


def _settle(base: Float, left: _Left) -> None:
    """Give what is smooth in the rest to the background; both change."""
    most = np.asarray(CLIP / np.sqrt(left.weight), np.float32)
    smooth = haze(np.clip(left.rest, -most, most), left.sigma)
    base += smooth
    np.subtract(left.rest, smooth, out=left.rest)


def _weight(rest: Float, light: Float, seeds: Parted, lateral: float) -> Float:
    """Reciprocal of the variance of each voxel, by how the noise grows with the light."""
    montage = Montage.of(rest, 0)
    corner = np.array([[side.start for side in montage.window(z)] for z in range(len(rest))])
    plane = voxels_of(seeds.points, rest.shape)[:, 0]
    flat = Emitters(seeds.points[:, 1:] + corner[plane], seeds.peak, seeds.sigma[:, 1], seeds.parent)
    flat = flat.take(seeds.free) if seeds.free.any() else flat
    variance = pixel_variance(montage.join(rest, 0.0), montage.join(light - rest, 0.0), flat)
    return np.stack([variance.weight(np.maximum(_smooth(plane, 0.7 * lateral), 0)) for plane in light])


def _smooth(plane: Float, sigma: float) -> Float:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _filtered(stack: Float, sigma: Doubles) -> Float:
    """Return the sums of a stack over Gaussians of height 1, one around each voxel."""
    planes = np.stack([_smooth(plane, float(sigma[1])) for plane in stack])
    planes = gaussian_filter1d(planes, float(sigma[0]), axis=0, mode="constant")
    return np.asarray(planes * ((2 * np.pi) ** 1.5 * sigma[0] * sigma[1] ** 2), np.float32)


@dataclass(frozen=True)
class _Proposals:
    """Places (N, 3) where light is left over, by how clear it is; the emitters that they are beside.

    `axial` says which lie rather above or below it than beside it (1, else 0).
    """

    places: Points
    heights: Doubles
    beside: Index
    axial: Index


def _proposals(now: Parted, left: _Left, given_up: Points, least: float = LEFT_OVER) -> _Proposals:
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
    axial = _is_axial((chosen - now.points[beside]) / scale)
    heights = height[tuple(chosen.T)].astype(np.float64)
    return _Proposals(chosen.astype(np.float64), heights, beside, axial.astype(np.intp))


def _is_axial(apart: Points) -> npt.NDArray[np.bool_]:
    """Tell which distances (..., 3) in sigma lead out of the plane."""
    return np.asarray(np.abs(apart[..., 0]) > IN_PLANE * np.hypot(apart[..., 1], apart[..., 2]))


@dataclass(frozen=True)
class _Trial:
    """Emitters with one more, those that were fitted again, and what it brought.

    `saved` is what `box` of the rest was before; `strength` the squared SNR of the brightest nearby.
    """

    emitters: Parted
    local: Index
    gain: float
    strength: float
    box: tuple[slice, ...]
    saved: Float


def _tried(now: Parted, left: _Left, proposals: _Proposals, index: int) -> _Trial:
    """Fit one more emitter and those around it; `left` changes with them."""
    place, scale = proposals.places[index], left.scale
    trial = now.plus(place, float(proposals.heights[index]), int(proposals.beside[index]))
    apart = np.linalg.norm((trial.points - place) / scale, axis=1)
    local = np.flatnonzero((apart < NEAR) & trial.free)
    box = _box(place, scale)
    saved, before = left.rest[box].copy(), left.misfit(box)
    brightest = now.peak[np.append(local[:-1], proposals.beside[index])].max()
    strength = float(_strength(brightest, left.weight[tuple(place.astype(np.intp))], left.sigma))
    left.add(trial, slice(len(now), None), -1.0)
    left.refine(trial, local, SWEEPS)
    return _Trial(trial, local, before - left.misfit(box), strength, box, saved)


def _attempt(
    now: Parted,
    left: _Left,
    proposals: _Proposals,
    index: int,
    usual: tuple[float, float],
    usual_misfit: tuple[float, float],
) -> tuple[Parted, bool]:
    """Try one more emitter; return the emitters, and whether it stays. `left` changes with them."""
    trial = _tried(now, left, proposals, index)
    peak = trial.emitters.peak
    pays = trial.gain + float(likely(peak[trial.local], usual).sum())
    pays -= float(likely(now.peak[trial.local[:-1]], usual).sum())
    kept = pays > MORE_PAYS + TAIL * usual_misfit[proposals.axial[index]] * trial.strength
    if kept and peak[-1] >= LEAST_SHARE * peak[trial.local].max():
        return trial.emitters, True
    left.rest[trial.box] = trial.saved
    return now, False


def _box(place: Points, scale: Doubles) -> tuple[slice, ...]:
    """Return what may change when an emitter at a place and those near it are fitted again."""
    reach = np.ceil((NEAR + AWAY + REACH) * scale).astype(np.intp) + 1
    low, high = np.maximum(place.astype(np.intp) - reach, 0), place.astype(np.intp) + reach + 1
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _strength(peak: Doubles, known: Float, sigma: Doubles) -> Doubles:
    """Squared signal-to-noise ratio of emitters of widths (..., 2), where a voxel has the weight `known`."""
    return np.asarray(peak**2 * np.pi**1.5 * sigma[..., 0] * sigma[..., 1] ** 2 * known)


def _without_lobes(now: Parted, left: _Left, usual_misfit: tuple[float, float]) -> Parted:
    """Drop candidates beside a brighter one that bring no more than the misfit of single ones does.

    Above and below a bright punctum, where light comes together or goes apart, a plane may show another one.
    """
    points = now.points / left.scale
    pairs = cKDTree(points).query_pairs(NEAR, output_type="ndarray")
    pairs = pairs[now.free[pairs].all(axis=1)]
    faint = np.where(now.peak[pairs[:, :1]] < now.peak[pairs[:, 1:]], pairs, pairs[:, ::-1])
    stays = np.ones(len(now), bool)
    fainter = np.unique(faint[:, 0])
    for one in fainter[np.argsort(now.peak[fainter], kind="stable")]:
        brighter = faint[faint[:, 0] == one, 1]
        brighter = brighter[stays[brighter]]
        if not len(brighter):
            continue
        beside = brighter[np.argmax(now.peak[brighter])]
        place = now.points[one].copy()
        axial = int(_is_axial(points[one] - points[beside]))
        box, voxel = _box(place, left.scale), tuple(voxels_of(place, left.rest.shape))
        local = np.flatnonzero(stays & now.free & (np.linalg.norm(points - points[one], axis=1) < NEAR))
        local = local[local != one]
        saved, before = left.rest[box].copy(), left.misfit(box)
        kept = now.points[local].copy(), now.peak[local].copy()
        left.add(now, slice(one, one + 1), 1.0)
        left.refine(now, local, SWEEPS)
        lost = left.misfit(box) - before
        strength = float(_strength(kept[1].max(), left.weight[voxel], left.sigma))
        if lost < TAIL * usual_misfit[axial] * strength:
            stays[one] = False
        else:
            left.rest[box] = saved
            now.points[local], now.peak[local] = kept
    return now.take(stays)


def stand_alone(now: Parted, sigma: Doubles, reach: float = ALONE) -> npt.NDArray[np.bool_]:
    """Tell which emitters have no other within so many sigma."""
    if len(now) < 2:
        return np.ones(len(now), bool)
    scaled = now.scaled(sigma)
    return np.asarray(cKDTree(scaled).query(scaled, k=2)[0][:, 1] > reach, bool)


def _usual(now: Parted, sigma: Doubles) -> tuple[float, float]:
    """Log height of single puncta and its SD, from those that stand alone or nearly so."""
    free = now.take(now.free)
    if len(free) < 10:
        return 0.0, np.inf
    scaled = free.scaled(sigma)
    nearest = cKDTree(scaled).query(scaled, k=2)[0][:, 1]
    used = nearest >= min(ALONE, float(np.quantile(nearest, 0.7)))
    middle, spread = usual_height(free.peak[used])
    return middle, max(spread, LEAST_SPREAD)


def _misfit_of_singles(now: Parted, left: _Left) -> tuple[float, float]:
    """Fall of chi² that a further emitter brings to one that stands alone, over its squared SNR.

    One beside it in the plane, and one above or below. As that of planes (`misfit_of_singles` in
    `napari_tam.puncta.crowds.splitting`): real spots are no Gaussians, and least of all along z, where
    wide-field light spreads like an hourglass.
    """
    alone = np.flatnonzero(now.free & stand_alone(now, left.sigma))
    if len(alone) < LEAST_SINGLES:
        return LEAST_MISFIT, LEAST_MISFIT
    low, high = np.quantile(now.peak[alone], SINGLES)
    alone = alone[(now.peak[alone] >= low) & (now.peak[alone] <= high)]
    alone = alone[:: max(1, len(alone) // ASKED)]
    found = _proposals(now, left, np.zeros((0, 3)), least=0.0)
    shares = np.zeros((len(alone), 2))
    near = np.linalg.norm((found.places - now.points[found.beside]) / left.scale, axis=1) < NEAR
    for row, one in enumerate(alone):
        for direction in (0, 1):
            of_one = np.flatnonzero((found.beside == one) & near & (found.axial == direction))[:1]
            for index in of_one:  # the one with most light left over
                trial = _tried(now, left, found, index)
                left.rest[trial.box] = trial.saved
                shares[row, direction] = max(trial.gain - BY_CHANCE, 0) / trial.strength
    lateral, axial = np.maximum(np.quantile(shares, LOWER, axis=0), LEAST_MISFIT)
    return float(lateral), float(axial)


def _pruned(now: Parted, left: _Left, usual: tuple[float, float]) -> Parted:
    """Drop what others have taken over; of each candidate the brightest stays."""
    brightest = np.zeros(int(now.parent.max(initial=-1)) + 1)
    np.maximum.at(brightest, now.parent, now.peak)
    known = left.weight[tuple(voxels_of(now.points, left.weight.shape).T)]
    stays = _strength(now.peak, known, now.sigma) > LEAST_SNR**2
    stays &= np.log(np.maximum(now.peak, 1e-9)) > usual[0] - FAINTER * usual[1]
    stays |= (now.peak >= brightest[now.parent]) | ~now.free
    left.add(now.take(~stays), slice(None), 1.0)
    return now.take(stays)


def voxels_of(points: Points, shape: tuple[int, ...]) -> Index:
    """Return the voxel of each point, (N, 3)."""
    return np.clip(np.round(points), 0, np.array(shape) - 1).astype(np.intp)


def likely(peak: Doubles, usual: tuple[float, float]) -> Doubles:
    """Twice the log-likelihood of a height, beside that of the usual one."""
    return np.asarray(-(np.minimum(np.abs(np.log(peak) - usual[0]) / usual[1], 4.0) ** 2))
