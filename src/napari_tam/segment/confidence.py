"""How much the network's output speaks for each mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_tam.networks.dynamics import Float, Labels


def confidence(labels: Labels, output: Float, errors: Float) -> Float:
    """Return the confidence of each label: mean probability of its pixels × (1 - flow error), at least 0.

    Parameters
    ----------
    labels
        (Y, X) labels, numbered from 1 without gaps.
    output
        (3, Y, X) flow y, flow x, probability logit.
    errors
        Flow error of each label (`napari_tam.networks.flow_errors`).
    """
    count = len(errors)
    inside = labels > 0
    probability = 1 / (1 + np.exp(-output[2][inside].astype(np.float64)))
    pixels = np.bincount(labels[inside], minlength=count + 1)[1:]
    total = np.bincount(labels[inside], probability, minlength=count + 1)[1:]
    agreement = np.clip(1 - np.nan_to_num(errors, posinf=1.0), 0, 1)
    return np.asarray(total / np.maximum(pixels, 1) * agreement, np.float32)
