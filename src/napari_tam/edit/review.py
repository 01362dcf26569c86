"""Looking at the doubtful cells one after another, the least certain first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.columns import DOUBTFUL

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.edit.patch import Labels


@dataclass
class Review:
    """Which cells are doubtful, and which of them somebody has looked at.

    Attributes
    ----------
    order
        Labels of the doubtful cells, lowest confidence first.
    accepted
        Those that somebody found right.
    """

    order: tuple[int, ...]
    accepted: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, table: pd.DataFrame, below: float = DOUBTFUL) -> Review:
        """Return the review of a per-cell table: cells with a confidence under `below`."""
        confidence = table["segmentation_confidence"].to_numpy(np.float64)
        at = np.flatnonzero(confidence < below)
        at = at[np.argsort(confidence[at], kind="stable")]
        return cls(tuple(table["label"].to_numpy()[at].tolist()))

    def looked_at(self, changed: set[int]) -> set[int]:
        """Return the doubtful cells that were accepted or changed."""
        return {label for label in self.order if label in self.accepted or label in changed}

    def next(self, changed: set[int], after: int | None = None) -> int | None:
        """Return the next cell to look at, after that one and then from the first; None: all done."""
        done = self.looked_at(changed)
        start = self.order.index(after) + 1 if after in self.order else 0
        for label in (*self.order[start:], *self.order[:start]):
            if label not in done:
                return label
        return None


def changed_labels(before: Labels, now: Labels) -> set[int]:
    """Return the labels (in either image, Y, X) that have other pixels now than before."""
    differ = before != now
    return {int(label) for label in np.unique([before[differ], now[differ]]) if label > 0}
