"""Cells of known class, and the report on how well a model classifies them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.phenotype.calibration import (
    balanced_accuracy,
    confusion,
    fit_temperature,
    reliability,
    softmax,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: A random split that is better than the grouped one by more than this is worth a warning.
LARGE_GAP = 0.1


@dataclass(frozen=True)
class LabelledCells:
    """Cells of known class.

    Attributes
    ----------
    crops, features
        See `napari_tam.phenotype.crops` and `napari_tam.phenotype.features`.
    truth
        Index of each cell's class in `classes`.
    groups
        The replicate, donor, plate … of each cell.
    classes
        Names.
    grouped_by
        What the groups are, for the report.
    """

    crops: npt.NDArray[Any]
    features: Floats
    truth: Ints
    groups: npt.NDArray[Any]
    classes: tuple[str, ...]
    grouped_by: str = "group"

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.truth)

    def where(self, chosen: npt.NDArray[Any]) -> LabelledCells:
        """Keep some cells (a mask or indices)."""
        return replace(
            self,
            crops=self.crops[chosen],
            features=self.features[chosen],
            truth=self.truth[chosen],
            groups=self.groups[chosen],
        )


def fold_probabilities(logits: Floats, truth: Ints, folds: Ints) -> npt.NDArray[np.float64]:
    """Calibrate each fold with the temperature of the others, so that no cell calibrates itself."""
    chances = np.zeros(logits.shape)
    for fold in range(int(folds.max()) + 1):
        test = folds == fold
        chances[test] = softmax(logits[test], fit_temperature(logits[~test], truth[~test]))
    return chances


def validation(
    cells: LabelledCells,
    folds: Ints,
    logits: Floats,
    distance: npt.NDArray[np.float64],
    mixed: Floats,
    unlike: float,
    min_probability: float,
) -> dict[str, Any]:
    """Return how good a model is, for the terminal and the card.

    Parameters
    ----------
    cells
        The cells.
    folds, logits, distance
        Of each cell: its fold, and what the model fitted without that fold says.
    mixed
        Logits by a random split.
    unlike, min_probability
        Distance up to which, and probability from which, a cell is called.
    """
    truth, found = cells.truth, logits.argmax(axis=1)
    chances = fold_probabilities(logits, truth, folds)
    bins = reliability(chances, truth)
    called = (chances.max(axis=1) >= min_probability) & (distance <= unlike)
    grouped, random = (balanced_accuracy(truth, part.argmax(axis=1)) for part in (logits, mixed))
    groups = [
        {
            "group": str(name),
            "cells": int((cells.groups == name).sum()),
            "balanced_accuracy": round(balanced_accuracy(truth[at], found[at]), 4),
        }
        for name in np.unique(cells.groups)
        for at in [cells.groups == name]
    ]
    return {
        "cells": {name: int((truth == k).sum()) for k, name in enumerate(cells.classes)},
        "balanced_accuracy": round(grouped, 4),
        "balanced_accuracy_random_split": round(random, 4),
        "warnings": _warnings(grouped, random, cells.grouped_by),
        "share_called": round(float(called.mean()), 4),
        "balanced_accuracy_called": round(balanced_accuracy(truth[called], found[called]), 4)
        if called.any()
        else None,
        "least_probability": min_probability,
        "groups": groups,
        "confusion": {
            "rows": "true class",
            "columns": "class with the largest probability",
            "classes": list(cells.classes),
            "cells": confusion(truth, found, len(cells.classes)).tolist(),
        },
        "calibration": {"expected_error": round(bins.error, 4), "bins": bins.rows()},
    }


def _warnings(grouped: float, random: float, by: str) -> list[str]:
    if random - grouped <= LARGE_GAP:
        return []
    return [
        f"a random split gives {random:.2f}, leaving out each {by} {grouped:.2f}: the network knows "
        f"the {by}, so only the second figure says what to expect of a new {by}"
    ]


def report_lines(report: dict[str, Any]) -> list[str]:
    """Lay a report out as text."""
    by = report["grouped_by"]
    lines = [
        "cells              " + ", ".join(f"{name} {n}" for name, n in report["cells"].items()),
        f"balanced accuracy  {report['balanced_accuracy']:.3f} (left out: each {by}; {report['folds']} folds)"
        if report["independent"]
        else f"balanced accuracy  {report['balanced_accuracy']:.3f} (RANDOM SPLIT of a single group: says "
        "nothing about another replicate, donor or plate)",
    ]
    if report["independent"]:
        lines.append(f"by a random split  {report['balanced_accuracy_random_split']:.3f}")
    if "shuffled" in report:
        shuffled = report["shuffled"]
        lines.append(
            f"classes shuffled   {shuffled['balanced_accuracy']:.3f} (mean of {shuffled['times']}; chance is "
            f"{shuffled['chance']:.2f}, and more says that the judgement is not fair)"
        )
    if report["balanced_accuracy_called"] is not None:
        lines.append(
            f"called             {report['share_called']:.1%} of the cells have p ≥ "
            f"{report['least_probability']:g} and are like the training cells; of these "
            f"{report['balanced_accuracy_called']:.3f}"
        )
    lines.append(f"calibration error  {report['calibration']['expected_error']:.3f}")
    lines += [f"warning            {text}" for text in report["warnings"]]
    lines += ["", "group: cells, balanced accuracy"]
    lines += [f"  {g['group']}: {g['cells']}, {g['balanced_accuracy']:.3f}" for g in report["groups"]]
    lines += ["", "confusion (rows: true; columns: called, without 'uncertain')"]
    lines += _confusion_lines(report["confusion"]["classes"], report["confusion"]["cells"])
    lines += ["", "calibration (probability of the called class: cells, mean, share right)"]
    lines += [
        f"  {b['from']:.2f}-{b['to']:.2f}: {b['cells']}, {b['mean_probability']:.3f}, {b['share_right']:.3f}"
        for b in report["calibration"]["bins"]
    ]
    lines += ["", "learning curve (share of the training cells: balanced accuracy)"]
    lines += [
        f"  {p['share_of_training_cells']:.0%}: {p['balanced_accuracy']:.3f}"
        for p in report["learning_curve"]
    ]
    return lines


def _confusion_lines(classes: Sequence[str], cells: Sequence[Sequence[int]]) -> list[str]:
    width = max(6, *(len(name) for name in classes))
    head = "  " + " " * width + "".join(f" {name:>{width}}" for name in classes)
    rows = zip(classes, cells, strict=True)
    return [head, *(f"  {name:<{width}}" + "".join(f" {n:>{width}}" for n in row) for name, row in rows)]
