"""Out-of-distribution detection: the Mahalanobis distance of a cell from the training cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """The distribution of the training cells, in the network's embedding and in their shape.

    The vector of a cell is its standardised shape features followed by the pooled output of the
    convolutions. Its distance is that to the nearest class mean, in units of the spread within
    classes (Mahalanobis; Lee et al. 2018, NeurIPS), divided by the root of the number of dimensions,
    so that a typical training cell is below 1.

    Attributes
    ----------
    means
        (classes, dimensions).
    whiten
        (dimensions, dimensions): a difference times this has unit spread.
    """

    means: Floats
    whiten: Floats

    @classmethod
    def fit(cls, vectors: Floats, truth: npt.NDArray[np.integer[Any]], classes: int) -> Likeness:
        """Estimate it from training cells; the covariance is shrunk by 10 % towards its diagonal."""
        means = np.stack([vectors[truth == k].mean(axis=0) for k in range(classes)]).astype(np.float64)
        rest = vectors - means[truth]
        covariance = rest.T @ rest / max(1, len(rest) - classes)
        spread = np.diag(covariance)
        covariance = 0.9 * covariance + 0.1 * np.diag(spread) + 1e-3 * np.eye(len(spread)) * spread.mean()
        values, directions = np.linalg.eigh(covariance)
        whiten = directions / np.sqrt(np.maximum(values, 1e-12))
        return cls(means.astype(np.float32), whiten.astype(np.float32))

    def distance(self, vectors: Floats) -> npt.NDArray[np.float64]:
        """Return the distance of every cell (rows of `vectors`) to the nearest class."""
        points, centres = vectors @ self.whiten, self.means @ self.whiten
        squares = [((points - centre) ** 2).mean(axis=1) for centre in centres]
        return np.asarray(np.sqrt(np.min(squares, axis=0)), np.float64)
