"""MorphologyNet: a small network that classifies phenotypes by a cell's crop and its shape features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_tam.phenotype.crops import CROP_CHANNELS, FLIPS
from napari_tam.phenotype.features import FEATURE_LIMIT, FEATURES

if TYPE_CHECKING:
    from collections.abc import Sequence


class MorphologyNet(nn.Module):
    """Crop and standardised shape features in, one logit per class out.

    Invariant to mirroring and to rotation by 180° by construction, as the convolutions' output is averaged
    over the four flips of a crop, and to rotation up to interpolation, as crops are aligned to the long axis.

    Parameters
    ----------
    classes
        Number of classes.
    widths
        Channels of the convolutions; all but the last halve the size.
    hidden
        Widths of the two layers that join crop and features.
    """

    def __init__(
        self, classes: int, widths: Sequence[int] = (16, 32, 48, 64), hidden: Sequence[int] = (64, 32)
    ) -> None:
        super().__init__()
        self.widths, self.hidden, self.classes = tuple(widths), tuple(hidden), classes
        layers: list[nn.Module] = []
        inputs = len(CROP_CHANNELS)
        for index, width in enumerate(widths):
            stride = 1 if index == len(widths) - 1 else 2
            layers += [
                nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.join = nn.Sequential(
            nn.Linear(inputs + len(FEATURES), hidden[0]),
            nn.ReLU(inplace=True),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(hidden[1], classes)

    def pooled(self, crops: torch.Tensor, flips: Sequence[tuple[int, ...]] = FLIPS) -> torch.Tensor:
        """Return the convolutions' output, averaged over the crop and its flips (N, last width)."""
        parts = [self.pooled_once(crops.flip(axes) if axes else crops) for axes in flips]
        return torch.stack(parts).mean(0)

    def pooled_once(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the convolutions' output, averaged over each crop (N, last width)."""
        return cast("torch.Tensor", self.trunk(crops).mean((2, 3)))

    def logits(self, pooled: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes) from pooled crops and standardised features."""
        features = features.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return self.joined(torch.cat([pooled, features], 1))

    def joined(self, both: torch.Tensor) -> torch.Tensor:
        """Return the logits from pooled crops beside clipped features (N, last width + features)."""
        return cast("torch.Tensor", self.head(self.join(both)))

    def forward(
        self, crops: torch.Tensor, features: torch.Tensor, flips: Sequence[tuple[int, ...]] = FLIPS
    ) -> torch.Tensor:
        """Run on (N, 3, Y, X) crops and (N, features) standardised features; returns (N, classes)."""
        return self.logits(self.pooled(crops, flips), features)


def run_network(
    network: MorphologyNet,
    crops: npt.NDArray[Any],
    features: npt.NDArray[np.float32],
    device: torch.device | str | None = None,
    *,
    batch: int = 256,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run a network on many cells.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    crops
        (cells, 3, Y, X) floating point.
    features
        Standardised features (cells, features).
    device
        Where the network is; the processor when None.
    batch
        Cells at once.

    Returns
    -------
    logits, pooled
        (cells, classes) and (cells, last width), float32.
    """
    device = device or "cpu"
    logits = np.empty((len(crops), network.classes), np.float32)
    pooled = np.empty((len(crops), network.widths[-1]), np.float32)
    with torch.inference_mode():
        for start in range(0, len(crops), batch):
            part = slice(start, start + batch)
            images = torch.from_numpy(np.asarray(crops[part], np.float32)).to(device)
            values = network.pooled(images)
            given = torch.from_numpy(np.ascontiguousarray(features[part], np.float32)).to(device)
            logits[part] = network.logits(values, given).cpu().numpy()
            pooled[part] = values.cpu().numpy()
    return logits, pooled
