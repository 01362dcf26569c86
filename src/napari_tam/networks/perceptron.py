"""Perceptrons with one hidden layer, small enough for a text file: what training learnt, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Perceptron:
    """A function of T numbers, by way of H hidden units (hyperbolic tangent), that returns K numbers.

    Attributes
    ----------
    hidden
        (T + 1, H) weights of the numbers, and those of a constant last.
    out
        (H + 1, K) weights of the hidden units, and those of a constant last.
    """

    hidden: Doubles
    out: Doubles

    def __call__(self, terms: Doubles) -> Doubles:
        """Return what it makes of each row of (N, T) numbers, (N, K)."""
        inner = np.tanh(terms @ self.hidden[:-1] + self.hidden[-1])
        return np.asarray(inner @ self.out[:-1] + self.out[-1], np.float64)


@cache
def stored(package: str, file: str) -> dict[str, Perceptron]:
    """Read the perceptrons of a file in a package, by name."""
    known = json.loads(files(package).joinpath(file).read_text(encoding="utf-8"))
    return {
        name: Perceptron(np.array(weights["hidden"], float), np.array(weights["out"], float))
        for name, weights in known.items()
    }
