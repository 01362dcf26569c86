"""How large the objects of an image are, when nobody says so: several scales are tried, and have to agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

#: Scales that are tried at once are so many times apart; later ones go on beyond those.
STEP = 2.0
#: So often the search goes on beyond the scales tried before.
ROUNDS = 3
#: How far a scale's objects may be from the size that it assumes until they count half (log SD).
TRUST = 0.5
#: An estimate is unsure where its scales disagree by more than this (SD of the log diameter) …
DISAGREEMENT = 0.25
#: … or find fewer objects than this.
FEW = 5


@dataclass(frozen=True)
class Trial:
    """What was found at one scale.

    Attributes
    ----------
    assumed, found
        Diameter (µm) that was assumed, and the median one that was found; 0: nothing.
    count
        Number of objects.
    support
        How much of the image speaks for them: the share of its pixels that lie in objects, each counted by
        the agreement of its flows (1: they agree fully; 0: at the threshold where it would be dropped).
    """

    assumed: float
    found: float
    count: int
    support: float

    @property
    def weight(self) -> float:
        """How much this scale counts: by its support, and less the further it is from what it found."""
        if not self.found:
            return 0.0
        return float(self.support * np.exp(-(np.log(self.found / self.assumed) ** 2) / (2 * TRUST**2)))


@dataclass(frozen=True)
class Estimate:
    """A diameter (µm), and why it is unsure; empty if it is not."""

    diameter_um: float
    doubt: str = ""


def estimate(typical_um: float, look: Callable[[float], Trial]) -> Estimate:
    """Estimate the diameter by looking at several scales.

    A network finds about the same objects over a range of scales; where too small a diameter is assumed it
    finds pieces of them, and where too large, it joins them, in both cases with flows that fit badly. So the
    diameter is the median over the scales of what was found, each weighted by `Trial.weight`. The search
    starts at half, once and twice the typical diameter, and goes on towards one side as long as the estimate
    lies at its edge.

    Parameters
    ----------
    typical_um
        Where to start.
    look
        Tries one assumed diameter (µm).
    """
    trials = [look(typical_um * factor) for factor in (1, 1 / STEP, STEP)]
    value, spread = _agreed(trials)
    for _ in range(ROUNDS):
        scales = [trial.assumed for trial in trials]
        if value and value > 0.75 * max(scales):
            trials.append(look(max(scales) * STEP))
        elif value and value < min(scales) / 0.75:
            trials.append(look(min(scales) / STEP))
        else:
            break
        value, spread = _agreed(trials)
    if not value:
        return Estimate(typical_um)
    best = max(trials, key=lambda trial: trial.weight)
    if best.count < FEW:
        return Estimate(value, f"only {best.count} objects to tell it from")
    if spread > DISAGREEMENT:
        return Estimate(value, f"the scales tried disagree by a factor of {np.exp(spread):.1f}")
    return Estimate(value)


def _agreed(trials: list[Trial]) -> tuple[float, float]:
    """Return the weighted median of the diameters found, and the weighted SD of their logs; 0 without any."""
    trials = [trial for trial in trials if trial.weight > 0]
    if not trials:
        return 0.0, 0.0
    logs = np.log([trial.found for trial in trials])
    weights = np.array([trial.weight for trial in trials])
    order = np.argsort(logs)
    below = np.cumsum(weights[order]) - weights[order] / 2
    middle = float(np.interp(weights.sum() / 2, below, logs[order]))
    spread = float(np.sqrt(np.average((logs - middle) ** 2, weights=weights)))
    return float(np.exp(middle)), spread
