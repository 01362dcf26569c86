"""How many exosomes the puncta of a cell stand for, with an interval: light counts what crowding hides.

Puncta that share light are one group. A group of k resolved puncta holds k + h exosomes; h is how many are
hidden. Before its light is looked at, h is the more likely large the more light is around (a punctum hides
another that lies within `MERGED` of it); then the light decides: n exosomes have the mean and the variance of
n single ones (brightness distributions as in Mutch et al. 2007, Biophys J 92:2926). So a lone punctum counts
as one though it is a little brighter than most, and a full cell by its light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.uptake.singles import LEAST_ALONE, Single, places_um

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

#: Puncta nearer to each other than so many widths (full width at half maximum) are a group.
GROUP = 1.8
#: Two puncta nearer than so many widths may look like one.
MERGED = 0.6
#: Crowding around a punctum is what lies within so many widths.
AROUND = 2.5
#: Systematic error of light, as a share, and what the noise of a single punctum adds to it: haze under a
#: crowd, edges of cells, the width of a punctum. How far off simulated cells were beyond what single puncta
#: explain (``benchmarks/crowds.py``).
PHOTOMETRY, DIM = 0.08, 0.4
#: A group's light is as well known as if each of its puncta had at most so many times the error of one that
#: stands alone.
CROWDED = 2.0
#: Shares of these that are really hidden, among which the light of all groups decides.
RATES = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
#: So many are expected to be hidden with nothing around: a vesicle may hold several.
TOGETHER = 0.005
#: Share of the further puncta of a group that are none: one was parted into two.
SPLIT = 0.08
#: Values of h that are looked at, a quarter of them below 0.
STEPS = 60
#: Half the width of a 95 % interval, in SD.
_95 = 1.96


@dataclass(frozen=True)
class Equivalents:
    """Numbers of exosomes with the limits of their 95 % intervals; NaN where they are not known."""

    number: Floats
    low: Floats
    high: Floats


def unknown(single: Single | None) -> str:
    """Return why light says no number, in a sentence; empty where it does."""
    if single is None or single.alone < LEAST_ALONE:
        alone = 0 if single is None else single.alone
        return (
            f"no puncta_equivalents: only {alone} puncta stand alone, too few ({LEAST_ALONE} are needed) to "
            "know the light of a single one"
        )
    return ""


@dataclass(frozen=True)
class Counted:
    """What is known of N puncta of one plate.

    Attributes
    ----------
    number
        (N,) exosomes that each stands for.
    variance
        (N,) variance of the number of its group.
    share
        (N,) its part of its group's light.
    slope
        (N,) change of the number if single puncta were so many times (log) fainter.
    group
        (N,) which group it belongs to.
    doubt
        (N,) variance from whether it is a punctum at all.
    single
        What single ones are like.
    """

    number: Floats
    variance: Floats
    share: Floats
    slope: Floats
    group: npt.NDArray[np.intp]
    doubt: Floats
    single: Single

    def each(self) -> Equivalents:
        """Return the numbers of single puncta."""
        spread = self.share**2 * self.variance + (self.slope * self._common) ** 2
        return _interval(self.number, spread, least=np.ones(len(self.number)))

    def of_cells(self, cell: npt.NDArray[np.intp], count: int) -> Equivalents:
        """Return the numbers of cells: `cell` is the index of each punctum's cell, -1 for none."""
        inside = cell >= 0
        owner = cell[inside]
        number = _sums(owner, self.number[inside], count)
        doubt = _sums(owner, self.doubt[inside], count)
        slope = _sums(owner, self.slope[inside], count)
        # Of a group that lies in two cells each has its share of the error.
        pairs, which = np.unique(np.stack([owner, self.group[inside]]), axis=1, return_inverse=True)
        share = _sums(which.ravel(), self.share[inside], pairs.shape[1])
        variance = np.zeros(pairs.shape[1])
        variance[which.ravel()] = self.variance[inside]
        spread = _sums(pairs[0], share**2 * variance, count)
        return _interval(number, spread + doubt + (slope * self._common) ** 2, least=np.zeros(count))

    @property
    def _common(self) -> float:
        """Error (log) that all have in common."""
        one = self.single
        return float(np.linalg.norm([one.error, one.missed, PHOTOMETRY, DIM / one.snr]))


def _sums(index: npt.NDArray[np.intp], values: Floats, count: int) -> Floats:
    """Sum of the values of each index below `count`."""
    return np.bincount(index, values, minlength=count).astype(np.float64)


def _interval(number: Floats, variance: Floats, least: Floats) -> Equivalents:
    """Return 95 % limits as of a log-normal distribution, which has no values below zero."""
    safe = np.maximum(number, 1e-9)
    log = np.sqrt(np.log1p(variance / safe**2))
    middle = np.log(safe) - log**2 / 2
    low, high = np.exp(middle - _95 * log), np.exp(middle + _95 * log)
    return Equivalents(number, np.maximum(np.where(number > 0, low, 0), least), np.where(number > 0, high, 0))


def count_by_light(puncta: pd.DataFrame, single: Single, *, honest_scores: bool) -> Counted:
    """Say how many exosomes each punctum of a plate stands for.

    Parameters
    ----------
    puncta
        image, y_um, x_um (z_um), intensity and width_um; intensity_se and score where they are known.
    single
        What single puncta of the plate are like.
    honest_scores
        Whether a score is the chance of being a punctum.
    """
    light = np.maximum(np.nan_to_num(puncta["intensity"].to_numpy(np.float64)), 0)
    error = np.zeros(len(puncta))
    if "intensity_se" in puncta:
        error = np.nan_to_num(puncta["intensity_se"].to_numpy(np.float64))
    group, around = _neighbourhood(puncta, light / single.intensity, single.width_um)
    size = np.asarray(np.bincount(group), np.intp)
    alone = (size[group] == 1) & (error > 0)
    if alone.any():  # errors of those that cover each other are opposite: their sum is known better than each
        error = np.minimum(error, CROWDED * np.median(error[alone]))
    total, noise, crowding = (_sums(group, each, len(size)) for each in (light, error**2, around))
    groups = _Groups(size, total, noise, crowding, single)
    rate = groups.rates()
    mean, variance, _ = groups.hidden(rate)
    step = 0.05
    more, less = (groups.hidden(rate, shift)[0] for shift in (-step, step))
    share = light / np.maximum(total, 1e-300)[group]
    share = np.where(total[group] > 0, share, 1 / size[group])
    doubt = np.zeros(len(puncta))
    if honest_scores and "score" in puncta:
        score = np.clip(puncta["score"].to_numpy(np.float64), 0, 1)
        # As many that people would call puncta were left out below the threshold as false ones are above it.
        doubt = 2 * score * (1 - score)
    doubt = doubt + single.missed
    return Counted(
        1 + share * mean[group],
        variance[group],
        share,
        share * ((more - less) / (2 * step))[group],
        group,
        doubt,
        single,
    )


@dataclass(frozen=True)
class _Groups:
    """Groups of puncta: how many are resolved, their light and its variance, and what is around."""

    size: npt.NDArray[np.intp]
    total: Floats
    noise: Floats
    crowding: Floats
    single: Single

    def rates(self) -> Floats:
        """Return how much of what is around is hidden: of `RATES` the likeliest by the light.

        It depends on the noise and on how well crowds were parted, so groups of alike crowding say it
        together.
        """
        level = np.clip(np.round(2 * np.log2(self.crowding / self.size + 1e-9)), -8, 4)
        likelihood = np.stack([self.hidden(np.full(len(level), each))[2] for each in RATES])
        rate = np.ones(len(level))
        for each in np.unique(level):
            here = level == each
            rate[here] = RATES[int(likelihood[:, here].sum(axis=1).argmax())]
        return rate

    def hidden(self, rate: Floats, shift: float = 0.0) -> tuple[Floats, Floats, Floats]:
        """Return mean and variance of the number that each group hides, and its log-likelihood.

        Parameters
        ----------
        rate
            How many are hidden, over `crowding`.
        shift
            Added to the log of the light of a single one.
        """
        one = self.single.intensity * np.exp(shift)
        light, error = self.total / one, self.noise / one**2
        # Steps of more than one where there are many: their sum is as good.
        step = np.maximum(1, np.ceil((1.5 * np.abs(light - self.size) + 30) / STEPS))
        hidden = step[:, None] * (np.arange(STEPS) - STEPS // 4)
        number = np.maximum(self.size[:, None] + hidden, 1)
        spread = number * self.single.relative_sd**2 + error[:, None]
        log_variance = np.log1p(spread / number**2)
        off = np.log(np.maximum(light, 1e-3))[:, None] - np.log(number) + log_variance / 2
        chance = -0.5 * (off**2 / log_variance + np.log(log_variance))
        # Geometric on both sides: puncta come in clusters, which spreads the number wider than Poisson's.
        more = np.maximum(rate * self.crowding, TOGETHER)
        less = np.maximum(SPLIT * (self.size - 1), 1e-4)
        prior = np.log(np.where(hidden > 0, (more / (1 + more))[:, None], (less / (1 + less))[:, None]))
        chance += np.abs(hidden) * prior - np.log1p(more + less)[:, None] + np.log(step)[:, None]
        chance = np.where(self.size[:, None] + hidden >= 1, chance, -np.inf)
        highest = chance.max(axis=1, keepdims=True)
        chance = np.exp(chance - highest)
        whole = chance.sum(axis=1, keepdims=True)
        chance /= whole
        mean = (chance * hidden).sum(axis=1)
        variance = (chance * (hidden - mean[:, None]) ** 2).sum(axis=1)
        return mean, variance, (np.log(whole) + highest)[:, 0]


def crowding(puncta: pd.DataFrame, single: Single, reach: float) -> Floats:
    """Return how many others lie in the spot of each by chance, by the light within `reach` widths."""
    light = np.maximum(np.nan_to_num(puncta["intensity"].to_numpy(np.float64)), 0)
    return _neighbourhood(puncta, light / single.intensity, single.width_um, reach)[1]


def _neighbourhood(
    puncta: pd.DataFrame, number: Floats, width_um: float, reach: float = AROUND
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the group of each punctum, and how many it is expected to hide by the light around it."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = len(puncta)
    places = places_um(puncta)
    around = np.zeros(count)
    links: list[npt.NDArray[np.intp]] = []
    worth = np.maximum(number, 1)
    for rows in puncta.groupby("image", sort=False).indices.values():
        pairs = cKDTree(places[rows]).query_pairs(reach * width_um, output_type="ndarray")
        first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
        np.add.at(around, first, worth[second])
        np.add.at(around, second, worth[first])
        near = np.linalg.norm(places[first] - places[second], axis=1) < GROUP * width_um
        links.append(np.stack([first[near], second[near]]))
    joined = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.intp)
    graph = coo_matrix((np.ones(joined.shape[1], bool), (joined[0], joined[1])), shape=(count, count))
    group = connected_components(graph, directed=False)[1]
    axes = places.shape[1]
    return np.asarray(group, np.intp), around * (MERGED / reach) ** axes
