"""Whether a change of the fit is worth it: two emitters in the place of one, or one more beside it.

How much better the image is explained is only a part of the answer. Cells leave light that a further emitter
always explains; in a crowd a second one is likely, and where hardly any lie around it is not; two of usual
height are likelier than one twice as bright; and what the network does not see is seldom there. How much each
of these counts was learnt by logistic regression, on drawn scenes with known puncta
(``training/crowd_rule.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.puncta.emitters import Doubles

#: What counts (`Tried.terms`), and how much: for a split, and for a further emitter.
WEIGHTS = {
    "always": (-2.1956, -1.6318),
    "gain": (0.3363, 0.4119),
    "gain beyond": (0.3561, -0.0653),
    "density": (0.9479, 0.4662),
    "misfit": (-0.4471, -0.5602),
    "apart": (3.5575, 0.6877),
    "apart squared": (-0.9414, -0.0842),
    "brighter": (3.3028, 1.9345),
    "fainter in SD": (0.9318, 0.1569),
    "together in SD": (1.1911, 0.0325),
    "together": (-3.9004, -0.1949),
    "unseen": (0.448, 0.5683),
    "moved": (0.6607, 0.8916),
}

#: A fall of chi² by so many times what another shape would explain speaks for a second one.
BEYOND = 2.0

#: However few lie around, it counts as if there were so many (`Tried.density`): puncta gather.
THIN = -1.0

#: Log odds that stand for those of a network where there is none.
UNKNOWN = 5.0


@dataclass(frozen=True)
class Tried:
    """N changes that were tried: arrays of length N.

    Attributes
    ----------
    split
        Whether one became two; else one was added.
    gain
        Fall of chi² nearby, background refitted.
    density
        Logarithm of how many candidates lie around, over that of a crowd.
    misfit
        Chi² that another shape than a Gaussian would explain of a single punctum of that height.
    apart
        Distance of both, in sigma.
    brighter, fainter
        Log height of the one that was there, and of the new one, over that of a single punctum.
    spread
        SD of the log heights of single puncta.
    seen
        Log odds of a punctum at the new one, as the network sees it.
    moved
        Log height of the one that was there, before over after.
    """

    split: npt.NDArray[np.bool_]
    gain: Doubles
    density: Doubles
    misfit: Doubles
    apart: Doubles
    brighter: Doubles
    fainter: Doubles
    spread: float
    seen: Doubles
    moved: Doubles

    def terms(self) -> Doubles:
        """Return what counts, (N, len(`WEIGHTS`)), within what was met when the weights were learnt."""
        brighter, fainter = np.clip(self.brighter, -3, 3), np.clip(self.fainter, -3, 3)
        together, spread = np.logaddexp(brighter, fainter), np.clip(self.spread, 0.2, 3)
        apart = np.clip(self.apart, 0, 4)
        values = {
            "always": np.ones(len(self.gain)),
            "gain": np.log1p(np.maximum(self.gain, 0)),
            "gain beyond": np.log1p(np.maximum(self.gain - BEYOND * self.misfit, 0)),
            "density": np.maximum(self.density, THIN),
            "misfit": np.minimum(np.log1p(self.misfit), 6),
            "apart": apart,
            "apart squared": apart**2,
            "brighter": brighter,
            "fainter in SD": fainter / spread,
            "together in SD": together / spread,
            "together": together,
            "unseen": np.clip(self.seen, -9, 0),
            "moved": np.clip(self.moved, -2.3, 2.3),
        }
        return np.stack([values[name] for name in WEIGHTS], axis=1)

    def log_odds(self) -> Doubles:
        """Return the log odds that each is right, (N,)."""
        both = self.terms() @ np.array(list(WEIGHTS.values()))
        return np.asarray(np.where(self.split, both[:, 0], both[:, 1]))
