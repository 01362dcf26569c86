"""A threshold that finds itself: from control wells, or from the valley between two populations.

Where images hold puncta that stand out and bumps that hardly do, the logarithms of their contrasts have
two modes, and people mark the upper one. Where there is one mode only, every threshold would be a
guess, and the detector's own score decides alone. A threshold belongs to a batch, so that conditions
compare.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: How a threshold was found.
Rule = Literal["given", "controls", "populations", "none"]

#: Below this contrast nothing can be told; a threshold that keeps everything.
LOWEST = 1.0

#: Fewer puncta than this, in all or in the smaller population, are no population.
FEWEST, FEWEST_OF_ONE = 100, 20

#: The lower population has a typical contrast of at most this, which is about that of the extremes of noise
#: and texture: what stands out more is no background.
FAINT = 6.5

#: ... and a lower mean score: where the network is so sure of the fainter ones, they are puncta as well.
DOUBTFUL = 0.9

#: The upper one holds at least this share: where only few stand out, they are aggregates of what is counted.
LEAST_CLEAR = 0.2

#: The upper one begins here at the latest: what is brighter yet are aggregates, not the only real puncta.
CLEAR = 16.0

#: Two populations are told apart when they are so many of their SD apart (Ashman's D; Ashman et al. 1994,
#: Astron J 108:2348, ask for 2) ...
APART = 2.2
#: ... the density between them falls below this share of the lower mode ...
VALLEY = 0.85
#: ... and two normals explain the values better than one skew normal, by this much of the Bayesian
#: information criterion ("strong evidence": Kass & Raftery 1995, J Am Stat Assoc 90:773).
EVIDENCE = 6.0

#: With controls: no threshold above this contrast, which would delete bright puncta everywhere.
HIGHEST = 30.0

#: Bins of the contrasts on record.
EDGES = tuple(float(2 ** (index / 4)) for index in range(33))

#: A fit takes at most so many values (evenly spaced quantiles): it shall answer while a line is dragged.
_FITTED = 400


@dataclass(frozen=True)
class Threshold:
    """A threshold for the contrast of puncta, and where it comes from.

    Attributes
    ----------
    value
        Puncta are kept from this contrast on; `LOWEST` keeps all.
    rule
        ``given`` by the user; by the ``controls``, or the valley between two ``populations``; or ``none``: no
        reason for one.
    reason
        The same in a sentence.
    images
        Names of the images that it was learnt from.
    puncta
        How many puncta they held.
    populations
        Typical contrast of the two populations, if there are two.
    histogram
        How many of the puncta lie in each bin of `EDGES`, what is beyond in the outer ones.
    """

    value: float = LOWEST
    rule: Rule = "none"
    reason: str = ""
    images: tuple[str, ...] = ()
    puncta: int = 0
    populations: tuple[float, float] | None = None
    histogram: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> Threshold:
        """Make one from `as_dict`.

        Raises
        ------
        TypeError, KeyError, ValueError
            If something else is given.
        """
        both = known["populations"]
        return cls(
            value=float(known["value"]),
            rule=known["rule"],
            reason=str(known["reason"]),
            images=tuple(map(str, known["images"])),
            puncta=int(known["puncta"]),
            populations=None if both is None else (float(both[0]), float(both[1])),
            histogram=tuple(map(int, known["histogram"])),
        )


def by_user(value: float) -> Threshold:
    """Return the threshold that a user set."""
    return Threshold(value, "given", "set by the user")


def from_populations(
    contrast: Values, images: tuple[str, ...] = (), score: Values | None = None
) -> Threshold:
    """Return the valley between bumps that hardly stand out and puncta that do, if there are both.

    Parameters
    ----------
    contrast
        (N,) contrasts of the puncta that the detector's score keeps.
    images
        Names of the images that they lie in.
    score
        (N,) their scores; None: they have no say.
    """
    values = np.sort(np.log2(contrast[contrast > LOWEST]))
    known: dict[str, Any] = {"images": images, "puncta": len(contrast), "histogram": _histogram(contrast)}
    if len(values) < FEWEST:
        reason = f"fewer than {FEWEST} puncta, too few to tell two populations apart"
        return Threshold(reason=reason, **known)
    picked = values[np.linspace(0, len(values) - 1, min(_FITTED, len(values))).round().astype(np.intp)]
    weight, mean, spread = _two_normals(picked)
    grid = np.linspace(mean[0], mean[1], 200)
    density = _mixture(grid, weight, mean, spread).sum(axis=1)
    deepest = int(np.argmin(density))
    valley = float(2 ** grid[deepest])
    apart = float((mean[1] - mean[0]) / np.sqrt((spread**2).mean()))
    two = (
        apart > APART
        and density[deepest] < VALLEY * min(density[0], density[-1])
        and weight.min() * len(values) >= FEWEST_OF_ONE
        and weight[1] >= LEAST_CLEAR
        and 2 ** mean[0] <= FAINT
        and valley <= CLEAR
        and _evidence(picked, weight, mean, spread) * len(values) / len(picked) > EVIDENCE
    )
    if not two:
        reason = "the puncta are one population; their score alone decides"
        return Threshold(reason=reason, **known)
    both = (float(2 ** mean[0]), float(2 ** mean[1]))
    fainter = np.ones(0) if score is None else score[(contrast > LOWEST) & (contrast < valley)]
    if len(fainter) and fainter.mean() > DOUBTFUL:
        reason = (
            f"there are fainter and brighter puncta (contrast {both[0]:.1f} and {both[1]:.1f}), and both are "
            f"clear (mean score of the fainter ones {fainter.mean():.2f}); their score alone decides"
        )
        return Threshold(reason=reason, populations=both, **known)
    return Threshold(
        round(valley, 2),
        "populations",
        f"the valley between what hardly stands out (contrast {both[0]:.1f}) and what does ({both[1]:.1f})",
        populations=both,
        **known,
    )


def from_controls(contrast: Values, cells: int, allowed: float, images: tuple[str, ...] = ()) -> Threshold:
    """Return the contrast above which cells of control wells hold few puncta.

    Parameters
    ----------
    contrast
        (N,) contrasts of the puncta within cells that were given no exosomes.
    cells
        Number of these cells.
    allowed
        Puncta for each of them that may stay.
    images
        Names of the controls' images.
    """
    ordered = np.sort(contrast)[::-1]
    stay = int(allowed * cells)
    known: dict[str, Any] = {"images": images, "puncta": len(contrast), "histogram": _histogram(contrast)}
    if stay >= len(ordered):
        reason = f"cells of the control wells hold no more than {allowed:g} puncta each"
        return Threshold(LOWEST, "controls", reason, **known)
    # Rounded up, to above that one, so that the promise about the controls holds.
    value = (np.floor(100 * ordered[stay]) + 1) / 100
    value = float(max(value if value > ordered[stay] else value + 0.01, LOWEST + 0.01))
    reason = f"at most {allowed:g} puncta for each of the {cells} cells of the control wells"
    if value > HIGHEST:
        left = float((ordered >= HIGHEST).sum() / max(cells, 1))
        value = HIGHEST
        reason = (
            f"the highest threshold there is: cells of the control wells hold {left:.2g} bright puncta each "
            f"even so, more than the {allowed:g} allowed"
        )
    return Threshold(value, "controls", reason, **known)


def _histogram(contrast: Values) -> tuple[int, ...]:
    counts, _ = np.histogram(np.clip(contrast, EDGES[0], np.nextafter(EDGES[-1], 0)), EDGES)
    return tuple(counts.tolist())


def _mixture(values: Values, weight: Values, mean: Values, spread: Values) -> Values:
    """Density of each normal at each value, (N, 2)."""
    scaled = (values[:, None] - mean) / spread
    return np.asarray(weight / (spread * np.sqrt(2 * np.pi)) * np.exp(-0.5 * scaled**2))


def _two_normals(
    values: Values, *, rounds: int = 200, narrowest: float = 0.15
) -> tuple[Values, Values, Values]:
    """Fit two normals by expectation maximisation, from three starts; the lower one comes first."""
    best: tuple[float, tuple[Values, Values, Values]] | None = None
    for share in (0.3, 0.5, 0.7):
        mean = np.quantile(values, [share / 2, (1 + share) / 2])
        spread, weight = np.full(2, max(values.std() / 2, narrowest)), np.array([share, 1 - share])
        before = np.full(2, np.inf)
        for _ in range(rounds):
            part = _mixture(values, weight, mean, spread)
            part /= np.maximum(part.sum(axis=1, keepdims=True), 1e-300)
            total = np.maximum(part.sum(axis=0), 1e-9)
            weight, mean = total / len(values), (part * values[:, None]).sum(axis=0) / total
            spread = np.sqrt((part * (values[:, None] - mean) ** 2).sum(axis=0) / total)
            spread = np.maximum(spread, narrowest)
            if np.abs(mean - before).max() < 1e-4:
                break
            before = mean
        likelihood = _log_likelihood(values, weight, mean, spread)
        if best is None or likelihood > best[0]:
            order = np.argsort(mean)
            best = likelihood, (weight[order], mean[order], spread[order])
    assert best is not None
    return best[1]


def _log_likelihood(values: Values, weight: Values, mean: Values, spread: Values) -> float:
    density = _mixture(values, weight, mean, spread).sum(axis=1)
    return float(np.log(np.maximum(density, 1e-300)).sum())


def _evidence(values: Values, weight: Values, mean: Values, spread: Values) -> float:
    """Difference of the Bayesian information criterion; above 0, two normals beat one skew normal."""
    from scipy.optimize import minimize
    from scipy.stats import skewnorm

    def cost(parameters: Values) -> float:
        shape, place, log_scale = parameters
        return -float(skewnorm.logpdf(values, shape, place, np.exp(log_scale)).sum())

    centre, width = values.mean(), values.std()
    skewed = max(
        -float(minimize(cost, np.array(start), method="Nelder-Mead", options={"maxiter": 200}).fun)
        for start in ((2.0, centre - width, np.log(width)), (-2.0, centre + width, np.log(width)))
    )
    more_parameters = 2 * float(np.log(len(values)))
    return 2 * (_log_likelihood(values, weight, mean, spread) - skewed) - more_parameters
