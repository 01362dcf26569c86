"""Several puncta in one spot of a stack: a fit with a stopping rule (of a plane: `napari_tam.puncta.crowds`).

Where light is left over beside an emitter another one is tried, and where one is brighter than single puncta
two in its place: those around it are fitted together anew, and it stays if that is about as likely right as
not (`napari_tam.volume.worth`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_tam.puncta.crowds.emitters import REACH, Emitters
from napari_tam.puncta.crowds.heights import sum_of_others
from napari_tam.puncta.crowds.pixel_model import pixel_variance
from napari_tam.puncta.crowds.splitting import FAINTER, LEAST_SHARE, LEAST_SNR
from napari_tam.stopping import checkpoint
from napari_tam.volume.background import haze
from napari_tam.volume.emitters import (
    NEAR,
    Left,
    Parted,
    box_around,
    filtered,
    smoothed,
    stand_alone,
    strength_of,
    usual_among,
    voxels_of,
)
from napari_tam.volume.light_loops import add_light
from napari_tam.volume.proposals import SPLIT, Proposals, bright, is_axial, left_over, splits
from napari_tam.volume.segment import Montage
from napari_tam.volume.worth import Tried, likelihood

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Index

#: What others bring to a candidate beside a brighter one, at least, over the misfit of single ones.
TAIL = 3.0

#: Emitters near a new one are fitted again with it in so many sweeps.
SWEEPS = 12

#: How many puncta lie around is told by their light within so many sigma.
COUNTED_WITHIN = 12.0

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

#: Nor are these points where so many stand alone whose widths differ by so much (SD of the logarithm, in the
#: plane): 0.08 at most of points, 0.1 of balls up to a third wider, and 0.15 up to two thirds, of which three
#: in ten found would be parts. (In crowds more would be missed.) A bell's quartiles are so many SD apart.
MANY_ALONE, VARIED, IQR_OF_SD = 1 / 3, 0.13, 1.349

#: Singles that tell the misfit have heights between these quantiles: two in one spot are brighter than most,
#: and of faint ones little is known.
SINGLES = (0.3, 0.75)


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
    None where what was found is no point: two always fit it better. Nor where points differ in width.
    """
    light, base = volume - base, base.copy()
    rest = light.copy()
    add_light(rest, seeds.home, seeds.points, seeds.peak, seeds.sigma, REACH, -1.0)
    weight = _weight(rest, light, seeds, float(sigma[1]))
    left = Left(rest, weight, sigma, filtered(weight, sigma / np.sqrt(2)))
    now = seeds.take(np.arange(len(seeds)))
    for _ in range(SETTLED):
        left.refine(now, np.flatnonzero(now.free), 3)
        _settle(base, left)
    usual_misfit = _misfit_of_singles(now, left)
    if usual_misfit[0] > NO_POINTS or _varied_widths(now, left) > VARIED:
        return None
    now = _without_lobes(now, left, usual_misfit)
    given_up = [np.zeros((0, 3)), np.zeros((0, 3))]  # of further ones, and of what may be two
    for _ in range(ROUNDS):
        usual = usual_among(now.take(_significant(now, left)), sigma)
        if not np.isfinite(usual[1]):  # too few to know what a single one is like
            break
        proposals = left_over(now, left, given_up[0]).plus(
            splits(now, left, bright(now, left, usual, given_up[1]))
        )
        known = Known(usual, usual_misfit, _light_around(now, left.scale) / np.exp(usual[0]))
        before = len(now)
        for index, place in enumerate(proposals.places):
            checkpoint()
            kind = int(proposals.kind[index] == SPLIT)
            where = now.points[proposals.beside[index]].copy() if kind else place
            now, kept = _attempt(now, left, proposals, index, known)
            if not kept:
                given_up[kind] = np.vstack([given_up[kind], where])
            else:
                far = [np.linalg.norm((places - where) / left.scale, axis=1) > NEAR for places in given_up]
                given_up = [places[some] for places, some in zip(given_up, far, strict=True)]
        added = len(now) - before
        now = _pruned(now, left, usual)
        _settle(base, left)
        if added <= HARDLY_MORE * len(now):
            break
    return StackFit(now, base, weight)


def _settle(base: Float, left: Left) -> None:
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
    return np.stack([variance.weight(np.maximum(smoothed(plane, 0.7 * lateral), 0)) for plane in light])


@dataclass(frozen=True)
class Trial:
    """Emitters with one more, those that were fitted again, and what it brought.

    `saved` is what `box` of the rest was before; `strength` the squared SNR of the brightest nearby.
    """

    emitters: Parted
    local: Index
    gain: float
    strength: float
    box: tuple[slice, ...]
    saved: Float


def _tried(now: Parted, left: Left, proposals: Proposals, index: int) -> Trial:
    """Fit one more emitter and those around it; `left` changes with them."""
    place, scale = proposals.places[index], left.scale
    beside = int(proposals.beside[index])
    trial = now.plus(place, float(proposals.heights[index]), beside)
    if proposals.kind[index] == SPLIT:
        trial.points[beside] = 2 * now.points[beside] - place
        trial.peak[beside] = proposals.heights[index]
    apart = np.linalg.norm((trial.points - place) / scale, axis=1)
    local = np.flatnonzero((apart < NEAR) & trial.free)
    box = box_around(place, scale)
    saved, before = left.rest[box].copy(), left.misfit(box)
    brightest = now.peak[np.append(local[:-1], beside)].max()
    known = left.weight[tuple(voxels_of(place, left.weight.shape))]
    strength = float(strength_of(brightest, known, left.sigma))
    if proposals.kind[index] == SPLIT:
        left.add(now, slice(beside, beside + 1), 1.0)
        left.add(trial, slice(beside, beside + 1), -1.0)
    left.add(trial, slice(len(now), None), -1.0)
    left.refine(trial, local, SWEEPS)
    return Trial(trial, local, before - left.misfit(box), strength, box, saved)


@dataclass(frozen=True)
class Known:
    """What is known in a round, whatever is tried.

    Attributes
    ----------
    usual
        Log height of single puncta and its SD.
    misfit
        `_misfit_of_singles`.
    around
        (N,) sum of the heights of others within `COUNTED_WITHIN` of each emitter, in single puncta.
    """

    usual: tuple[float, float]
    misfit: tuple[float, float, float]
    around: Doubles


def _attempt(now: Parted, left: Left, proposals: Proposals, index: int, known: Known) -> tuple[Parted, bool]:
    """Try one more emitter; return the emitters, and whether it stays. `left` changes with them."""
    trial = _tried(now, left, proposals, index)
    peak = trial.emitters.peak
    kept = tried_change(now, trial, proposals, index, left.scale, known).log_odds() > 0
    if kept and peak[-1] >= LEAST_SHARE * peak[trial.local].max():
        return trial.emitters, True
    left.rest[trial.box] = trial.saved
    return now, False


def tried_change(
    now: Parted, trial: Trial, proposals: Proposals, index: int, scale: Doubles, known: Known
) -> Tried:
    """Return what tells whether one more emitter was right.

    Parameters
    ----------
    now, trial
        The emitters before, and what was tried; the new one comes last.
    proposals, index
        Which of these it was.
    scale
        Width of a single punctum along z, y and x.
    known
        What else is known.
    """
    beside, usual = int(proposals.beside[index]), known.usual
    points, peak = trial.emitters.points, trial.emitters.peak
    away = (points[-1] - points[beside]) / scale
    apart = float(np.linalg.norm(away))
    return Tried(
        split=bool(proposals.kind[index] == SPLIT),
        gain=trial.gain,
        likelier=likelihood(peak[trial.local], usual) - likelihood(now.peak[trial.local[:-1]], usual),
        misfit=known.misfit[proposals.kind[index]] * trial.strength,
        strength=trial.strength,
        apart=apart,
        axial=abs(float(away[0])) / max(apart, 1e-6),
        brighter=float(np.log(peak[beside])) - usual[0],
        fainter=float(np.log(peak[-1])) - usual[0],
        spread=usual[1],
        moved=float(np.log(now.peak[beside] / peak[beside])),
        around=float(known.around[beside]),
    )


def _light_around(now: Parted, scale: Doubles) -> Doubles:
    """Sum of the heights of others within `COUNTED_WITHIN` sigma of each emitter, (N,)."""
    one, other = cKDTree(now.points / scale).query_pairs(COUNTED_WITHIN, output_type="ndarray").T
    return sum_of_others(now.peak, one, other)


def _without_lobes(now: Parted, left: Left, usual_misfit: tuple[float, float, float]) -> Parted:
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
        axial = int(is_axial(points[one] - points[beside]))
        box, voxel = box_around(place, left.scale), tuple(voxels_of(place, left.rest.shape))
        local = np.flatnonzero(stays & now.free & (np.linalg.norm(points - points[one], axis=1) < NEAR))
        local = local[local != one]
        saved, before = left.rest[box].copy(), left.misfit(box)
        kept = now.points[local].copy(), now.peak[local].copy()
        left.add(now, slice(one, one + 1), 1.0)
        left.refine(now, local, SWEEPS)
        lost = left.misfit(box) - before
        strength = float(strength_of(kept[1].max(), left.weight[voxel], left.sigma))
        if lost < TAIL * usual_misfit[axial] * strength:
            stays[one] = False
        else:
            left.rest[box] = saved
            now.points[local], now.peak[local] = kept
    return now.take(stays)


def _misfit_of_singles(now: Parted, left: Left) -> tuple[float, float, float]:
    """Fall of chi² that a further emitter brings to one that stands alone, over its squared SNR.

    One beside it in the plane, one above or below, and two in its place (`Proposals.kind`). As that of planes
    (`misfit_of_singles` in `napari_tam.puncta.crowds.splitting`): real spots are no Gaussians, and least of
    all along z, where wide-field light spreads like an hourglass.
    """
    alone = np.flatnonzero(now.free & stand_alone(now, left.sigma))
    if len(alone) < LEAST_SINGLES:
        return LEAST_MISFIT, LEAST_MISFIT, LEAST_MISFIT
    low, high = np.quantile(now.peak[alone], SINGLES)
    alone = alone[(now.peak[alone] >= low) & (now.peak[alone] <= high)]
    alone = alone[:: max(1, len(alone) // ASKED)]
    found = left_over(now, left, np.zeros((0, 3)), least=0.0).plus(splits(now, left, alone))
    shares = np.zeros((len(alone), 3))
    near = np.linalg.norm((found.places - now.points[found.beside]) / left.scale, axis=1) < NEAR
    for row, one in enumerate(alone):
        for kind in range(3):
            of_one = np.flatnonzero((found.beside == one) & near & (found.kind == kind))[:1]
            for index in of_one:  # the one with most light left over
                trial = _tried(now, left, found, index)
                left.rest[trial.box] = trial.saved
                shares[row, kind] = max(trial.gain - BY_CHANCE, 0) / trial.strength
    lateral, axial, of_two = np.maximum(np.quantile(shares, LOWER, axis=0), LEAST_MISFIT)
    return float(lateral), float(axial), float(of_two)


def _varied_widths(now: Parted, left: Left) -> float:
    """SD of the log widths of puncta that stand alone, in the plane, less what noise does; 0 in crowds."""
    alone = np.flatnonzero(now.free & stand_alone(now, left.sigma))
    if len(alone) < max(LEAST_SINGLES, MANY_ALONE * len(now)):
        return 0.0
    wider, variance = left.widening(now, alone).T
    low, high = np.quantile(wider, (0.25, 0.75))
    return float(np.sqrt(max(((high - low) / IQR_OF_SD) ** 2 - float(np.median(variance)), 0)))


def _significant(now: Parted, left: Left) -> npt.NDArray[np.bool_]:
    """Tell which emitters have more light than noise."""
    known = left.weight[tuple(voxels_of(now.points, left.weight.shape).T)]
    return np.asarray(strength_of(now.peak, known, now.sigma) > LEAST_SNR**2)


def _pruned(now: Parted, left: Left, usual: tuple[float, float]) -> Parted:
    """Drop what others have taken over; of each candidate the brightest stays."""
    brightest = np.zeros(int(now.parent.max(initial=-1)) + 1)
    np.maximum.at(brightest, now.parent, now.peak)
    stays = _significant(now, left)
    stays &= np.log(np.maximum(now.peak, 1e-9)) > usual[0] - FAINTER * usual[1]
    stays |= (now.peak >= brightest[now.parent]) | ~now.free
    left.add(now.take(~stays), slice(None), 1.0)
    return now.take(stays)
