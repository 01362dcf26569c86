"""How high a single punctum is, told by all that were found: the more there are, the fewer are single.

Two that lie too near each other to be told apart look like one that is brighter, and in full cells most do.
So what is asked first are those with the least light around them. How much these still hide depends on how
full the image is, how much heights differ and how near to each other puncta were told apart: that was learnt
on drawn scenes with known puncta (``training/crowd_rule.py``; ``rules.json``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.networks.perceptron import stored
from napari_tam.puncta.crowds.emitters import near_pairs

if TYPE_CHECKING:
    from napari_tam.puncta.crowds.emitters import Emitters
    from napari_tam.puncta.patches import Doubles, Index

#: Where the weights are.
WEIGHTS = ("napari_tam.puncta.crowds", "rules.json")

#: With fewer puncta nothing is known of single ones.
LEAST_KNOWN = 10

#: The first guess is told by this share of all, those with the least light within so many sigma.
LEAST_USED, LIT_WITHIN = 0.3, 6.0

#: Log heights of single puncta are taken to differ by this SD at least.
LEAST_SPREAD = 0.3

#: What is said of an image is told by these quantiles of the light around its puncta and of their heights,
#: and by how many pairs are nearer than so many sigma, of those within `LIT_WITHIN`: near ones are missing.
AROUND, HEIGHTS, PAIRS = (0.1, 0.3, 0.5, 0.9), (0.1, 0.25, 0.5, 0.75, 0.9), (1.5, 2.0, 2.5, 3.0, 4.0)

#: So many pairs a punctum count for none.
NO_PAIRS = 0.01

#: Logarithms beyond this were not met when it was learnt.
WITHIN = 6.0

#: So much of what the loneliest are said to hide is taken off. Told too high, single puncta cost a few that
#: lie in others; told too low, what is fitted to noise in cells that are not so full.
CAUTION = 0.85

#: Where each has others around, the log height of single puncta and the logarithm of its SD are at most so
#: much lower, or higher, than the first guess.
FURTHEST = (-1.5, -2.0), (0.3, 0.5)


@dataclass(frozen=True)
class Guess:
    """What is known before it is asked what the loneliest hide.

    Attributes
    ----------
    middle, spread
        Median and robust SD of the log heights of the loneliest.
    covered
        How much light is around these: 0 where they are alone, and nothing is hidden, towards 1 where each
        has others around.
    terms
        (15,) what else tells how much is hidden.
    """

    middle: float
    spread: float
    covered: float
    terms: Doubles


def usual_among(emitters: Emitters, sigma: float) -> tuple[float, float]:
    """Log height of single puncta and its SD; nothing is known (0, infinite) of fewer than `LEAST_KNOWN`.

    Parameters
    ----------
    emitters
        What was found, all of one width.
    sigma
        This width.
    """
    if len(emitters) < LEAST_KNOWN:
        return 0.0, np.inf
    guess = first_guess(emitters, sigma)
    lower, narrower = guess.covered * np.clip(stored(*WEIGHTS)["height"](guess.terms[None])[0], *FURTHEST)
    return guess.middle + CAUTION * float(lower), max(guess.spread * float(np.exp(narrower)), LEAST_SPREAD)


def first_guess(emitters: Emitters, sigma: float) -> Guess:
    """Ask those with the least light around, and note what tells how much these hide."""
    one, other = near_pairs(emitters.points, LIT_WITHIN * sigma)
    apart = np.sort(np.hypot(*(emitters.points[one] - emitters.points[other]).T)) / sigma
    around = sum_of_others(emitters.peak, one, other)
    used = _loneliest(around)
    middle, spread = usual_height(emitters.peak[used])
    around = around / np.exp(middle)
    heights = np.log(np.maximum(emitters.peak, 1e-9)) - middle
    pairs = np.searchsorted(apart, (*PAIRS, LIT_WITHIN)) / len(emitters) + NO_PAIRS
    near, lit = np.log(pairs[:-1] / pairs[-1]), np.log(around + 0.5)
    terms = np.concatenate([[spread], np.quantile(lit, AROUND), np.quantile(heights, HEIGHTS), near])
    covered = 1 - float(np.exp(-around[used].mean()))
    return Guess(middle, spread, covered, np.clip(terms, -WITHIN, WITHIN))


def spread_of_loneliest(emitters: Emitters, sigma: float) -> float:
    """Robust SD of the log heights of those with the least light around; infinite if nothing is known."""
    if len(emitters) < LEAST_KNOWN:
        return np.inf
    return usual_height(emitters.peak[_loneliest(light_around(emitters, LIT_WITHIN * sigma))])[1]


def _loneliest(around: Doubles) -> Index:
    """Return which have the least light around: a share, and all that have none."""
    least = max(int(LEAST_USED * len(around)), LEAST_KNOWN)
    return np.flatnonzero(around <= np.partition(around, least - 1)[least - 1])


def light_around(emitters: Emitters, reach: float) -> Doubles:
    """Return the sum of the heights of all others within so many pixels of each, (N,)."""
    return sum_of_others(emitters.peak, *near_pairs(emitters.points, reach))


def sum_of_others(values: Doubles, one: Index, other: Index) -> Doubles:
    """Sum of the values of those that each is in a pair with, (N,)."""
    size = len(values)
    both = np.bincount(one, values[other], size) + np.bincount(other, values[one], size)
    return both.astype(np.float64)


def usual_height(heights: Doubles) -> tuple[float, float]:
    """Median and robust SD of the log heights of single puncta; the lower side says the SD."""
    log = np.log(np.maximum(heights, 1e-9))
    middle = float(np.median(log))
    return middle, middle - float(np.quantile(log, 0.158655))
