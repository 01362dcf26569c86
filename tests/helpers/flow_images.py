"""Drawn cells, the flows a perfect network would give for them, and puncta of known light."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from cellpose import dynamics, metrics

from napari_tam.simulate.optics import render_spots

# Small images: more threads would only wait for each other.
torch.set_num_threads(1)

Labels = npt.NDArray[np.int32]
Float = npt.NDArray[np.float32]


def ellipses(shape: tuple[int, int], rows: list[tuple[float, float, float, float, float]]) -> Labels:
    """Draw ellipses (y, x, long and short semi-axis, turn in degrees); later ones lie on top."""
    labels = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    for number, (cy, cx, a, b, turn) in enumerate(rows, start=1):
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        along, across = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        labels[(along / a) ** 2 + (across / b) ** 2 <= 1] = number
    return labels


def perfect_output(labels: npt.NDArray[Any]) -> Float:
    """Return what a perfect network gives: five times Cellpose's own flows, and sure logits."""
    output = np.zeros((3, *labels.shape), np.float32)
    output[2] = np.where(labels > 0, 8, -8)
    if labels.any():
        targets = dynamics.labels_to_flows([labels.astype(np.int32)], device=torch.device("cpu"))[0]
        output[:2] = 5 * targets[-2:]
    return output


def precision(truth: npt.NDArray[Any], found: npt.NDArray[Any], threshold: float) -> float:
    """Average precision (Cellpose's) at one overlap."""
    result = metrics.average_precision(truth.astype(np.int32), found.astype(np.int32), threshold=[threshold])
    return float(np.ravel(result[0])[0])


def same_partition(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Tell whether two label images are the same but for the numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return bool(
        np.array_equal(first > 0, second > 0)
        and len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))
    )


def scattered_cells(
    seed: int, shape: tuple[int, int] = (150, 170), size: float = 15, count: int = 14
) -> Labels:
    """Draw ellipses of varied shape that touch here and there, none cut in two, numbered from 1."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for _ in range(10 * count):
        cy, cx = rng.uniform(size, np.array(shape) - size)
        ratio = rng.uniform(1, 2)
        one = (
            ellipses(shape, [(cy, cx, size * np.sqrt(ratio), size / np.sqrt(ratio), rng.uniform(0, 180))]) > 0
        )
        if not labels[one].any():
            labels[one] = labels.max() + 1
        if labels.max() == count:
            break
    return labels


def spots_image(
    shape: tuple[int, int],
    spots: list[tuple[float, float, float, float]],
    *,
    background: Any = 100.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Float:
    """Render Gaussian puncta (y, x, height, sigma) over a background, with Gaussian noise."""
    table = pd.DataFrame(spots, columns=["y_px", "x_px", "amplitude_photons", "sigma_px"])
    image = render_spots(shape, table) + np.asarray(background, np.float32)
    return np.asarray(image + np.random.default_rng(seed).normal(0, noise, shape), np.float32)


def blurred_noise(shape: tuple[int, int], sigma: float, seed: int) -> Float:
    """Smooth texture between 0 and 1."""
    texture = cv2.GaussianBlur(
        np.random.default_rng(seed).normal(size=shape).astype(np.float32), (0, 0), sigma
    )
    return np.asarray((texture - texture.min()) / np.ptp(texture), np.float32)
