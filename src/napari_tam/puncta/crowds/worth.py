"""Whether a change of the fit is worth it: two emitters in the place of one, or one more beside it.

How much better the image is explained is only a part of the answer. Cells leave light that a further emitter
always explains; in a crowd a second one is likely, and where hardly any lie around it is not; two of usual
height are likelier than one twice as bright; and what the network does not see is seldom there. How all of
these count together was learnt on drawn scenes with known puncta (``training/crowd_rule.py``): a perceptron
with one hidden layer for splits, and one for further emitters (``rules.json``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.networks.perceptron import stored
from napari_tam.puncta.crowds.heights import WEIGHTS

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.puncta.patches import Doubles

#: A fall of chi² by so many times what another shape would explain speaks for a second one.
BEYOND = 2.0

#: However few or many lie around, it counts as if there were so many (`Tried.density`): puncta gather.
THIN, FULL = -1.0, 2.0

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
        Logarithm of how many puncta lie around, over that of a crowd (`crowds.log_density`).
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
    unexplained
        Chi² a pixel all around, after the changes: about 1 in a crowd that is explained, more where the
        texture of a cell is.
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
    unexplained: Doubles

    def terms(self) -> Doubles:
        """Return what counts, (N, 13), within what was met when the rules were learnt."""
        brighter, fainter = np.clip(self.brighter, -3, 3), np.clip(self.fainter, -3, 3)
        together = np.logaddexp(brighter, fainter)
        spread = np.full(len(self.gain), np.clip(self.spread, 0.2, 3))
        # Both halves of a split are seen as one: only a clear no counts.
        seen = np.where(self.split, np.minimum(self.seen, 0), self.seen)
        return np.column_stack([
            np.log1p(np.maximum(self.gain, 0)),
            np.log1p(np.maximum(self.gain - BEYOND * self.misfit, 0)),
            np.clip(self.density, THIN, FULL),
            np.minimum(np.log1p(self.misfit), 6),
            np.clip(self.apart, 0, 4),
            brighter,
            fainter / spread,
            together / spread,
            together,
            np.clip(seen, -9, UNKNOWN),
            np.clip(self.moved, -2.3, 2.3),
            spread,
            np.clip(np.log(self.unexplained + 0.1), -1, 4),
        ])  # fmt: skip

    def log_odds(self) -> Doubles:
        """Return the log odds that each is right, (N,)."""
        terms = self.terms()
        split, further = (stored(*WEIGHTS)[name](terms)[:, 0] for name in ("split", "further"))
        return np.where(self.split, split, further)
