"""Whether one more emitter of a stack is worth it: beside another one, or two in the place of one.

As `napari_tam.puncta.crowds.worth` for planes: how all that is known counts together was learnt on drawn
stacks with known puncta (``training/stack_rule.py``; ``rules.json``), a perceptron each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.networks.perceptron import stored

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles

#: Where the weights are.
WEIGHTS = ("napari_tam.volume", "rules.json")

#: A fall of chi² by so many times what another shape would explain speaks for one more.
BEYOND = 3.0


@dataclass(frozen=True)
class Tried:
    """One more emitter that was tried.

    Attributes
    ----------
    split
        Whether one became two; else one was added beside it.
    gain
        Fall of chi² nearby.
    likelier
        Rise of twice the log-likelihood of the heights of those that were fitted again, beside those of
        single puncta.
    misfit
        Chi² that another emitter would explain beside a single punctum of that height, by the lens.
    strength
        Squared signal-to-noise ratio of the brightest nearby.
    apart, axial
        Distance of both in sigma, and the share of it that is along z.
    brighter, fainter
        Log height of the one that was there, and of the new one, over that of a single punctum.
    spread
        SD of the log heights of single puncta.
    moved
        Log height of the one that was there, before over after.
    around
        Sum of the heights of others around, in single puncta.
    """

    split: bool
    gain: float
    likelier: float
    misfit: float
    strength: float
    apart: float
    axial: float
    brighter: float
    fainter: float
    spread: float
    moved: float
    around: float

    def terms(self) -> list[float]:
        """Return what counts, within what was met when the rules were learnt."""
        brighter, fainter, spread = (
            float(np.clip(value, *within))
            for value, within in (
                (self.brighter, (-3, 3)),
                (self.fainter, (-3, 3)),
                (self.spread, (0.2, 3)),
            )
        )
        together = float(np.logaddexp(brighter, fainter))
        return [
            float(np.log1p(max(self.gain, 0))),
            float(np.log1p(max(self.gain - BEYOND * self.misfit, 0))),
            float(np.clip(self.likelier, -40, 40)),
            float(np.log1p(self.misfit)),
            float(np.clip(self.apart, 0, 5)),
            self.axial,
            brighter,
            fainter / spread,
            together / spread,
            together,
            spread,
            float(np.clip(self.moved, -2.3, 2.3)),
            float(np.log(self.around + 0.5)),
            float(np.log1p(self.strength)),
        ]

    def log_odds(self) -> float:
        """Return the log odds that it is right."""
        rule = stored(*WEIGHTS)["split" if self.split else "further"]
        return float(rule(np.array([self.terms()]))[0, 0])


def likelihood(peak: Doubles, usual: tuple[float, float]) -> float:
    """Twice the log-likelihood of heights (N,), beside that of the usual one."""
    off = np.minimum(np.abs(np.log(peak) - usual[0]) / usual[1], 4.0)
    return -float((off**2).sum())
