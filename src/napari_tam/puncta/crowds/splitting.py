"""Several emitters in one spot: a fit with a stopping rule, on the light of what the network found.

Each round proposes splits (a spot too long for one emitter) and further emitters (light left over beside
one), fits everything around them together, and keeps what is about as likely right as not
(`napari_tam.puncta.crowds.worth`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.crowds.emitters import (
    REACH,
    Emitters,
    add_light,
    near_pairs,
    refine,
    values_at,
    weight_at,
)
from napari_tam.puncta.crowds.heights import light_around, usual_among
from napari_tam.puncta.crowds.light_loops import flat_misfits, unexplained
from napari_tam.puncta.crowds.pixel_model import pixel_variance
from napari_tam.puncta.crowds.proposals import NEAR, LeftOver, Proposals, curvature, propose
from napari_tam.puncta.crowds.worth import UNKNOWN, Tried
from napari_tam.puncta.psf_width import ALONE
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float

#: Least fall of chi² with which a further emitter is tried.
TRIED = 12.0

#: Log odds with which a change is kept: a little likelier right than not, so that 95 of 100 found in crowds
#: of faint puncta are there. Of further emitters more is asked: light that is left over at the edges of real
#: cells looks like them more often than at those of drawn ones.
LIKELY, LIKELY_FURTHER = 0.1, 0.8

#: How many puncta lie around is told by their light within so many sigma; in a crowd they are so many in a
#: square of one sigma.
COUNTED_WITHIN, DENSE = 12.0, 0.02

#: How much of the image is not explained is told within so many sigma.
UNEXPLAINED_WITHIN = 8.0

#: An emitter fainter than this share of the one beside it is part of that one.
LEAST_SHARE = 0.05

#: ... and so is one that the fit leaves with less light than so many SD of the noise.
LEAST_SNR = 3.0

#: ... or fainter than single puncta by so many SD of their log heights.
FAINTER = 3.0

#: With fewer single puncta it is not known how well one is a Gaussian.
LEAST_SINGLES = 5

#: Singles that tell the misfit have a height of so many SD of the noise.
CLEAR = 5.0

#: The misfit of single puncta is this quantile of what they say, and that of chi² of three parameters.
LOWER, BY_CHANCE = 0.35, 1.642

#: What has no other within so many sigma is not looked at again in each round.
LONELY = 4.5

#: Emitters within so many sigma of a change are fitted again with it.
REFITTED = 4.0

#: Rounds of proposals at most; it ends earlier where one adds no more than this share of all emitters.
ROUNDS, HARDLY_MORE = 12, 5e-4


@dataclass(frozen=True)
class Fit:
    """What the fit gives.

    Attributes
    ----------
    emitters
        All of them; `Emitters.parent` says which candidate each comes from.
    weight
        (Y, X) reciprocal of each pixel's variance.
    """

    emitters: Emitters
    weight: Float


@dataclass(frozen=True)
class Evidence:
    """What tells whether a change pays.

    Attributes
    ----------
    rest
        (Y, X) the image without background and emitters; it changes with them.
    weight
        (Y, X) reciprocal of each pixel's variance.
    usual_misfit
        `misfit_of_singles`.
    network
        (Y, X) the log odds of a punctum at each pixel, as a network sees it; None: it is not asked.
    around
        Sum of the heights of others near each candidate (`log_density`).
    """

    rest: Float
    weight: Float
    usual_misfit: float
    network: npt.NDArray[np.floating[Any]] | None
    around: Doubles


def resolve(
    light: Float,
    seeds: Emitters,
    *,
    single_sigma: float,
    rounds: int = ROUNDS,
    network: npt.NDArray[np.floating[Any]] | None = None,
) -> Fit:
    """Fit the emitters of an image, with more of them where one does not do.

    Parameters
    ----------
    light
        (Y, X) the image without background.
    seeds
        What was found. Those of another width are vesicles: they stay as they are.
    single_sigma
        Width of a single punctum.
    rounds
        Rounds of proposals at most.
    network
        (Y, X) the log odds of a punctum at each pixel, as a network sees it; None: it is not asked.
    """
    sigma = single_sigma
    free = seeds.sigma == sigma
    level = np.maximum(cv2.GaussianBlur(light, (0, 0), 0.7 * sigma), 0)
    rest = light.copy()
    add_light(rest, seeds, -1)
    variance = pixel_variance(rest, light - rest, seeds.take(free) if free.any() else seeds)
    weight = variance.weight(level)
    if not rounds or not free.any():
        return Fit(seeds, weight)
    now = refine(seeds, rest, weight, free, rounds=4)
    weight = pixel_variance(rest, light - rest, now.take(free)).weight(level)
    left = LeftOver(rest, weight, sigma, TRIED)
    misfit = misfit_of_singles(_singles(now, free, sigma, variance.constant), rest, weight)
    around = np.zeros(int(seeds.parent.max(initial=-1)) + 1)
    around[now.parent] = light_around(now, COUNTED_WITHIN * sigma)
    evidence = Evidence(rest, weight, misfit, network, around)
    untried = free.copy()
    for _ in range(rounds):
        checkpoint()
        usual = usual_among(now.take(free), sigma)
        crowded = free & ~stand_alone(now, LONELY / ALONE * sigma)
        places = np.flatnonzero(free & untried), np.flatnonzero(free & (untried | crowded))
        proposals = propose(now, *places, left, usual)
        if not len(proposals):
            break
        untried &= crowded  # the others are as they are, until something near them changes
        left.changed(proposals.centres(now), REFITTED + REACH + 0.5)
        now, free, untried, kept = attempt(now, free, untried, proposals, evidence, usual)
        now, free, untried, gone = _pruned(now, free, untried, rest, weight, usual)
        left.changed(gone.points, REACH)
        if kept <= HARDLY_MORE * len(now):
            break
    return Fit(refine(now, rest, weight, free & ~stand_alone(now, sigma), rounds=4), weight)


def _singles(now: Emitters, free: npt.NDArray[np.bool_], sigma: float, constant: float) -> Emitters:
    """Clear emitters that stand alone, without the brightest: two in one spot are brighter than most."""
    clear = free & (now.peak > CLEAR * np.sqrt(constant)) & stand_alone(now, sigma)
    if clear.any():
        clear &= now.peak <= np.quantile(now.peak[clear], 0.6)
    return now.take(clear)


def misfit_of_singles(singles: Emitters, rest: Float, weight: Float) -> float:
    """Fall of chi² that a Gaussian of another shape brings to a punctum that stands alone.

    Over its squared signal-to-noise ratio, a low quantile: in a crowd many that seem single are two, but a
    point spread function that is no Gaussian is that of all. Real spots are no Gaussians of one width, so
    that two always fit better than one; a crowd has to fit better than that.
    """
    if len(singles) < LEAST_SINGLES:
        return 0.0
    gain = curvature(singles, rest, weight)[0]
    share = (gain - BY_CHANCE) / (singles.peak**2 * weight_at(weight, singles))
    return max(float(np.quantile(share, LOWER)), 0.0)


def log_density(around: Doubles, usual: tuple[float, float]) -> Doubles:
    """Return the logarithm of how many puncta lie around over how many do in a crowd, by their light, (N,).

    Parameters
    ----------
    around
        (N,) sum of the heights of others within `COUNTED_WITHIN` sigma (`light_around`).
    usual
        Log height of single puncta and its SD; one that is not known makes all lie alone.
    """
    many = around / np.exp(usual[0]) if np.isfinite(usual[1]) else np.zeros(len(around))
    return np.asarray(np.log((many + 0.5) / (np.pi * COUNTED_WITHIN**2 * DENSE)), np.float64)


def _pruned(
    now: Emitters,
    free: npt.NDArray[np.bool_],
    untried: npt.NDArray[np.bool_],
    rest: Float,
    weight: Float,
    usual: tuple[float, float],
) -> tuple[Emitters, npt.NDArray[np.bool_], npt.NDArray[np.bool_], Emitters]:
    """Drop what others have taken over; of each candidate the brightest stays. The last of these are gone."""
    brightest = np.zeros(int(now.parent.max(initial=-1)) + 1)
    np.maximum.at(brightest, now.parent, now.peak)
    significant = now.peak**2 * np.pi * now.sigma**2 * weight_at(weight, now) > LEAST_SNR**2
    significant &= np.log(now.peak) > usual[0] - FAINTER * usual[1]
    stays = significant | (now.peak >= brightest[now.parent])
    gone = now.take(~stays)
    add_light(rest, gone)
    return now.take(stays), free[stays], untried[stays], gone


def stand_alone(emitters: Emitters, sigma: float) -> npt.NDArray[np.bool_]:
    """Tell which emitters have no other nearby."""
    alone = np.ones(len(emitters), bool)
    alone[np.concatenate(near_pairs(emitters.points, ALONE * sigma))] = False
    return alone


def attempt(
    now: Emitters,
    free: npt.NDArray[np.bool_],
    untried: npt.NDArray[np.bool_],
    proposals: Proposals,
    evidence: Evidence,
    usual: tuple[float, float],
) -> tuple[Emitters, npt.NDArray[np.bool_], npt.NDArray[np.bool_], int]:
    """Fit all proposals at once and keep those that are worth it.

    Parameters
    ----------
    now, free, untried
        All emitters, which of them are fitted, and which may be tried.
    proposals
        What to try.
    evidence
        What tells whether it is worth it.
    usual
        Median and SD of the log height of single puncta.

    Returns
    -------
    The emitters, which of them are fitted, which may be tried (again), and how many proposals were kept.
    """
    from scipy.spatial import cKDTree

    rest, weight, sigma = evidence.rest, evidence.weight, proposals.sigma
    beside, split, old, pairs = proposals.at, proposals.split, len(now), len(proposals.split)
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    points, peak = now.points.copy(), now.peak.copy()
    points[split], peak[split] = proposals.halves.points[first], proposals.halves.peak[first]
    trial = replace(now, points=points, peak=peak).plus(proposals.halves.take(second)).plus(proposals.more)
    centres = proposals.centres(now)
    tree = cKDTree(centres)
    added = np.ones(len(proposals), bool)
    free = np.concatenate([free, added])
    active = free & np.isfinite(tree.query(trial.points, distance_upper_bound=REFITTED * sigma)[0])
    gain = flat_misfits(rest, weight, centres, sigma, 2.5)
    add_light(rest, now.take(split))
    add_light(rest, trial.take(np.concatenate([split, np.arange(old, len(trial))])), -1)
    trial = refine(trial, rest, weight, active, rounds=8)
    gain -= flat_misfits(rest, weight, centres, sigma, 2.5)
    tried = tried_changes(now, trial, proposals, gain, evidence, usual)
    kept = (tried.log_odds() > np.where(tried.split, LIKELY, LIKELY_FURTHER)) & (
        trial.peak[old:] >= LEAST_SHARE * trial.peak[beside]
    )
    # What is not worth it goes back to what it was.
    back = split[~kept[:pairs]]
    points, peak = trial.points.copy(), trial.peak.copy()
    points[back], peak[back] = now.points[back], now.peak[back]
    add_light(rest, trial.take(np.concatenate([back, old + np.flatnonzero(~kept)])))
    add_light(rest, now.take(back), -1)
    there = np.concatenate([np.ones(old, bool), kept])
    untried = np.concatenate([untried, added])
    untried[proposals.waiting] = True
    untried[beside] = False
    if kept.any():
        near = np.isfinite(cKDTree(centres[kept]).query(points, distance_upper_bound=NEAR * sigma)[0])
        untried |= near
    changed = replace(trial, points=points, peak=peak).take(there)
    return changed, free[there], untried[there], int(kept.sum())


def tried_changes(
    now: Emitters,
    trial: Emitters,
    proposals: Proposals,
    gain: Doubles,
    evidence: Evidence,
    usual: tuple[float, float],
) -> Tried:
    """Return what tells whether changes were right.

    Parameters
    ----------
    now, trial
        The emitters before and after; those that are new come last.
    proposals
        What was tried.
    gain
        Fall of chi² by each.
    evidence, usual
        As of `attempt`; the rest is that after all changes.
    """
    beside = proposals.at
    one, other = trial.take(beside), trial.take(np.arange(len(now), len(trial)))
    network = evidence.network
    seen = np.full(len(other), UNKNOWN) if network is None else values_at(network, other.points)
    return Tried(
        split=np.arange(len(beside)) < len(proposals.split),
        gain=gain,
        density=log_density(evidence.around[now.parent[beside]], usual),
        misfit=evidence.usual_misfit * now.peak[beside] ** 2 * weight_at(evidence.weight, now.take(beside)),
        apart=np.hypot(*(one.points - other.points).T) / proposals.sigma,
        brighter=np.log(one.peak) - usual[0],
        fainter=np.log(other.peak) - usual[0],
        spread=usual[1],
        seen=seen,
        moved=np.log(now.peak[beside] / one.peak),
        unexplained=unexplained(
            evidence.rest, evidence.weight, proposals.centres(now), UNEXPLAINED_WITHIN * proposals.sigma
        ),
    )
