"""Calibration of probabilities: temperature scaling, and the calibration error that remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

#: Limits of a temperature: beyond them the held-out cells say nothing about it.
TEMPERATURES = (0.05, 20.0)


def softmax(logits: Floats, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Return probabilities (cells, classes) from logits divided by a temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
    raised = np.exp(scaled)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def log_loss(logits: Floats, truth: Integers, temperature: float = 1.0) -> float:
    """Return the mean negative log probability of the true class."""
    chosen = softmax(logits, temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-300)).mean())


def fit_temperature(logits: Floats, truth: Integers) -> float:
    """Find the temperature with the smallest log loss on held-out cells.

    Temperature scaling: Guo et al. 2017, ICML, "On calibration of modern neural networks". The order of
    the classes stays as it is.

    Parameters
    ----------
    logits
        (cells, classes).
    truth
        Index of each cell's class.

    Returns
    -------
    float
        Above 1 for an overconfident network; within `TEMPERATURES`.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return 1.0
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(lambda x: log_loss(logits, truth, float(np.exp(x))), bounds=(low, high))
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Reliability:
    """How often the class with the largest probability is right, by that probability.

    Attributes
    ----------
    edges
        Limits of the bins (bins + 1).
    count, confidence, accuracy
        Cells, their mean largest probability and the share that is right, a bin (NaN if empty).
    error
        Expected calibration error: the mean of abs(accuracy - confidence) over cells.
    """

    edges: tuple[float, ...]
    count: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    error: float

    def rows(self) -> list[dict[str, float | int]]:
        """Return the bins that have cells, ready for a card."""
        return [
            {
                "from": round(self.edges[k], 3),
                "to": round(self.edges[k + 1], 3),
                "cells": n,
                "mean_probability": round(self.confidence[k], 4),
                "share_right": round(self.accuracy[k], 4),
            }
            for k, n in enumerate(self.count)
            if n
        ]


def reliability(probabilities: Floats, truth: Integers, bins: int = 10) -> Reliability:
    """Compare probabilities with outcomes (expected calibration error: Naeini et al. 2015, AAAI).

    Parameters
    ----------
    probabilities
        (cells, classes).
    truth
        Index of each cell's class.
    bins
        Number of bins of equal width between 1 / classes and 1.
    """
    confidence = probabilities.max(axis=1) if len(truth) else np.zeros(0)
    right = probabilities.argmax(axis=1) == truth if len(truth) else np.zeros(0, bool)
    edges = np.linspace(1 / probabilities.shape[1], 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, minlength=bins) / count
        share = np.bincount(place, right, minlength=bins) / count
    gap = np.nan_to_num(np.abs(share - mean)) * count
    error = float(gap.sum() / max(1, count.sum()))
    return Reliability(
        tuple(edges.tolist()), tuple(count.tolist()), tuple(mean.tolist()), tuple(share.tolist()), error
    )


def balanced_accuracy(truth: Integers, found: Integers) -> float:
    """Return the mean over the classes that occur of the share of their cells that is right."""
    classes = np.unique(truth)
    if not len(classes):
        return float("nan")
    return float(np.mean([(found[truth == each] == each).mean() for each in classes]))


def confusion(truth: Integers, found: Integers, classes: int) -> npt.NDArray[np.int64]:
    """Count cells by true class (row) and called class (column)."""
    return np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)
