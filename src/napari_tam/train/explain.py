"""Explaining the phenotype of a cell: attributions of its shape features and of the pixels of its crop.

Integrated gradients (Sundararajan et al. 2017, ICML) along the straight line from the typical training
cell (mean features, mean picture) to the cell. They add up to the difference in log odds between the two; the
small residual of the numerical integration is stated as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from napari_tam.phenotype.calibration import softmax
from napari_tam.phenotype.crops import CROP_CHANNELS
from napari_tam.phenotype.features import FEATURES, shape_features

if TYPE_CHECKING:
    from napari_tam.phenotype.model import PhenotypeModel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explanation:
    """The attributions to the most probable class of a cell.

    Attributes
    ----------
    class_name, probability
        The class with the largest calibrated probability.
    log_odds, start
        log(p / (1 - p)) of that class for the cell, and for the typical training cell.
    pushes
        One row per feature and crop channel: `part`, `kind` (shape, picture), `value` (of the
        cell's table; NaN for pictures), `training_mean`, `push` (log odds towards the class; negative
        against it). The last row is the residual of the integration.
    map
        (Y, X) attributions of the crop's pixels.
    """

    class_name: str
    probability: float
    log_odds: float
    start: float
    pushes: pd.DataFrame
    map: Floats


def _log_odds(logits: torch.Tensor, chosen: int, temperature: float) -> torch.Tensor:
    scaled = logits / temperature
    others = torch.cat([scaled[:, :chosen], scaled[:, chosen + 1 :]], 1)
    return scaled[:, chosen] - others.logsumexp(1)


def explain_cell(model: PhenotypeModel, crop: Floats, row: pd.DataFrame, steps: int = 128) -> Explanation:
    """Explain one cell.

    Parameters
    ----------
    model
        The model.
    crop
        (3, Y, X), see `napari_tam.phenotype.crops`.
    row
        The cell's row of the per-cell table (a table of one row).
    steps
        Points along the line.
    """
    network = model.trained.cpu()
    features = shape_features(row)
    end = torch.from_numpy(model.standardise(features)), torch.from_numpy(np.asarray(crop, np.float32))[None]
    begin = torch.zeros_like(end[0]), torch.from_numpy(np.ascontiguousarray(model.typical))[None]
    with torch.no_grad():
        logits = network(end[1], end[0])
    chosen = int(logits.argmax())
    along = (torch.arange(steps) + 0.5) / steps
    shape = (begin[0] + along[:, None] * (end[0] - begin[0])).requires_grad_()
    picture = (begin[1] + along[:, None, None, None] * (end[1] - begin[1])).requires_grad_()
    total = _log_odds(network(picture, shape), chosen, model.temperature).sum()
    by_shape, by_picture = torch.autograd.grad(total, [shape, picture])
    shape_push = (by_shape.mean(0) * (end[0] - begin[0])[0]).numpy()
    pixels = (by_picture.mean(0) * (end[1] - begin[1])[0]).numpy()
    with torch.no_grad():
        log_odds = float(_log_odds(logits, chosen, model.temperature)[0])
        start = float(_log_odds(network(begin[1], begin[0]), chosen, model.temperature)[0])
    rest = log_odds - start - float(shape_push.sum()) - float(pixels.sum())
    values = [float(row[feature.column].iloc[0]) for feature in FEATURES]
    means = [
        float(np.exp(mean)) if feature.transform == "log" else float(mean)
        for feature, mean in zip(FEATURES, model.mean, strict=True)
    ]
    channels = len(CROP_CHANNELS)
    pushes = pd.DataFrame(
        {
            "part": [*(feature.column for feature in FEATURES), *CROP_CHANNELS, "rest"],
            "kind": ["shape"] * len(FEATURES) + ["picture"] * channels + ["integration"],
            "value": [*values, *[np.nan] * (channels + 1)],
            "training_mean": [*means, *[np.nan] * (channels + 1)],
            "push": [*shape_push.tolist(), *pixels.sum((1, 2)).tolist(), rest],
        }
    )
    chance = softmax(logits.numpy(), model.temperature)[0, chosen]
    return Explanation(
        model.classes[chosen], float(chance), log_odds, start, pushes, np.asarray(pixels.sum(0), np.float32)
    )
