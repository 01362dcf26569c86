"""Several emitters in one spot: a fit with a stopping rule, on the light of what the network found.

Each round proposes splits (a spot too long for one emitter) and further emitters (light left over beside
one), fits everything around them together, and keeps what pays: the fall of chi², plus what the heights and
the network say, must exceed `SPLIT_PAYS` or `MORE_PAYS`. Two of usual height are likelier than one twice as
bright, the more so the more alike single puncta of the image are; haze leaves faint and odd ones, which do
not pay, and where it is bright at the edge of a cell the network sees no punctum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.emitters import REACH, Doubles, Emitters, add_light, refine, values_at, weight_at
from napari_tam.puncta.light_loops import flat_misfits
from napari_tam.puncta.pixel_model import pixel_variance, usual_height
from napari_tam.puncta.proposals import NEAR, LeftOver, Proposals, curvature, propose
from napari_tam.puncta.psf_width import ALONE
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float

#: Least fall of chi² (with the heights' say) for a split and for a further emitter; chosen on simulated
#: crowds, composites and marked images (``benchmarks/crowds.py``).
SPLIT_PAYS, MORE_PAYS = 6.5, 12.0

#: Both are for crowds of so many candidates in a square of one sigma, counted within so many sigma. Where
#: there are fewer, a second one in a spot is as much less likely, and has to pay twice the log odds more, up
#: to this, as puncta gather.
DENSE, COUNTED_WITHIN, MOST_MORE = 0.02, 12.0, 2.0

#: What the network says of a place (log odds), and what that is worth in chi²: the edges of cells leave light
#: that a fit takes for emitters, and what the network is sure of is a punctum in most cases. It never speaks
#: for a second one in a spot that stands alone. Chosen on known puncta laid over real cells
#: (``benchmarks/laid_over.py``, other seeds) and on crowds.
NETWORK_SAYS = ((-9.0, 0.0, 2.0, 4.0), (-36.0, 0.0, 0.0, 4.0))

#: An emitter fainter than this share of the one beside it is part of that one.
LEAST_SHARE = 0.05

#: ... and so is one that the fit leaves with less light than so many SD of the noise.
LEAST_SNR = 3.0

#: ... or fainter than single puncta by so many SD of their log heights.
FAINTER = 3.0

#: Log heights of single puncta are taken to differ by this SD at least.
LEAST_SPREAD = 0.3

#: So many times the misfit of most single puncta is no sign of a second one; with fewer of them it is not
#: known.
TAIL, LEAST_SINGLES = 3.0, 5

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
    alone
        What an emitter beside each candidate has to pay more, as there are few: `paid_more`.
    """

    rest: Float
    weight: Float
    usual_misfit: float
    network: npt.NDArray[np.floating[Any]] | None
    alone: Doubles


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
    left = LeftOver(rest, weight, sigma, MORE_PAYS)
    misfit = misfit_of_singles(_singles(now, free, sigma, variance.constant), rest, weight)
    evidence = Evidence(rest, weight, misfit, network, paid_more(seeds, sigma))
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
        now, free, untried, kept = attempt(now, free, untried, proposals, evidence, usual, crowded)
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


def paid_more(seeds: Emitters, sigma: float) -> Doubles:
    """Return what a further emitter has to pay more beside each candidate, by how few lie around, (N,)."""
    from scipy.spatial import cKDTree

    reach = COUNTED_WITHIN * sigma
    tree = cKDTree(seeds.points)
    others = tree.query_ball_point(seeds.points, reach, return_length=True) - 1
    density = (others + 0.5) / (np.pi * COUNTED_WITHIN**2)
    more = np.zeros(int(seeds.parent.max(initial=-1)) + 1)
    more[seeds.parent] = np.clip(2 * np.log(DENSE / density), 0, MOST_MORE)
    return more


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
    from scipy.spatial import cKDTree

    if len(emitters) < 2:
        return np.ones(len(emitters), bool)
    nearest = cKDTree(emitters.points).query(emitters.points, k=2)[0][:, 1]
    return np.asarray(nearest > ALONE * sigma, bool)


def usual_among(emitters: Emitters, sigma: float) -> tuple[float, float]:
    """Log height of single puncta and its SD, from those that stand alone or nearly so."""
    from scipy.spatial import cKDTree

    if len(emitters) < 10:  # nothing is known: any height will do
        return 0.0, np.inf
    nearest = cKDTree(emitters.points).query(emitters.points, k=2)[0][:, 1]
    used = nearest >= min(ALONE * sigma, float(np.quantile(nearest, 0.7)))
    middle, spread = usual_height(emitters.peak[used])
    return middle, max(spread, LEAST_SPREAD)


def attempt(
    now: Emitters,
    free: npt.NDArray[np.bool_],
    untried: npt.NDArray[np.bool_],
    proposals: Proposals,
    evidence: Evidence,
    usual: tuple[float, float],
    crowded: npt.NDArray[np.bool_],
) -> tuple[Emitters, npt.NDArray[np.bool_], npt.NDArray[np.bool_], int]:
    """Fit all proposals at once and keep those that pay.

    Parameters
    ----------
    now, free, untried
        All emitters, which of them are fitted, and which may be tried.
    proposals
        What to try.
    evidence
        What tells whether it pays.
    usual
        Median and SD of the log height of single puncta.
    crowded
        (N,) which emitters have others nearby.

    Returns
    -------
    The emitters, which of them are fitted, which may be tried (again), and how many proposals were kept.
    """
    from scipy.spatial import cKDTree

    rest, weight, network = evidence.rest, evidence.weight, evidence.network

    sigma = proposals.sigma
    beside = np.concatenate([proposals.split, proposals.beside])
    split, old, pairs = proposals.split, len(now), len(proposals.split)
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    points, peak = now.points.copy(), now.peak.copy()
    points[split], peak[split] = proposals.halves.points[first], proposals.halves.peak[first]
    trial = replace(now, points=points, peak=peak).plus(proposals.halves.take(second)).plus(proposals.more)
    centres = proposals.centres(now)
    tree = cKDTree(centres)
    added = np.ones(len(proposals), bool)
    free = np.concatenate([free, added])
    active = free & np.isfinite(tree.query(trial.points, distance_upper_bound=REFITTED * sigma)[0])
    pays = flat_misfits(rest, weight, centres, sigma, 2.5)
    add_light(rest, now.take(split))
    add_light(rest, trial.take(np.concatenate([split, np.arange(old, len(trial))])), -1)
    trial = refine(trial, rest, weight, active, rounds=8)
    pays -= flat_misfits(rest, weight, centres, sigma, 2.5)
    for emitters, sign in ((trial, 1), (now, -1)):
        away, whose = tree.query(emitters.points, distance_upper_bound=1.5 * sigma)
        here = np.isfinite(away)
        np.add.at(pays, whose[here], sign * likely(emitters.peak[here], usual))
    if network is not None:
        says = np.interp(values_at(network, trial.points[old:]), *NETWORK_SAYS)
        of_first = np.interp(values_at(network, trial.points[split]), *NETWORK_SAYS)
        says[:pairs] = np.minimum(says[:pairs], of_first)
        pays += np.where(crowded[beside], says, np.minimum(says, 0))
    needed = np.where(np.arange(len(centres)) < pairs, SPLIT_PAYS, MORE_PAYS)
    needed = needed + evidence.alone[now.parent[beside]]
    kept = pays > needed + TAIL * evidence.usual_misfit * (now.peak**2 * weight_at(weight, now))[beside]
    kept &= trial.peak[old:] >= LEAST_SHARE * trial.peak[beside]
    # What does not pay goes back to what it was.
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


def likely(peak: Doubles, usual: tuple[float, float]) -> Doubles:
    """Twice the log-likelihood of a height, beside that of the usual one."""
    return np.asarray(-(np.minimum(np.abs(np.log(peak) - usual[0]) / usual[1], 4.0) ** 2))
