"""Cross-validation folds: which cells are left out together when a model is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


#: More groups than this share folds.
MOST_FOLDS = 5


def group_folds(groups: npt.NDArray[Any]) -> Ints:
    """Return the fold of every cell: a group is never divided, and there are at most `MOST_FOLDS`."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    load = np.zeros(min(len(names), MOST_FOLDS), np.int64)
    fold = np.zeros(len(names), np.int64)
    for k in np.argsort(-sizes, kind="stable"):
        fold[k] = load.argmin()
        load[fold[k]] += sizes[k]
    return fold[inverse]


def random_folds(truth: Ints, folds: int, seed: int) -> Ints:
    """Return a fold for every cell at random, each with the same mixture of classes."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(truth), np.int64)
    for each in np.unique(truth):
        at = rng.permutation(np.flatnonzero(truth == each))
        fold[at] = np.arange(len(at)) % folds
    return fold
