"""The phenotype network run by OpenVINO, from what is stored of it: torch is not imported for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.networks.engines import OpenVinoEngine
from napari_tam.networks.stored_graphs import stored_graph
from napari_tam.phenotype.crops import CROP_CHANNELS, FLIPS
from napari_tam.phenotype.features import FEATURE_LIMIT, FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_tam.networks.engines import Precision
    from napari_tam.phenotype.morphology_net import MorphologyNet

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StoredNet:
    """Gives the same as `napari_tam.phenotype.morphology_net.run_network`.

    Attributes
    ----------
    trunk, join
        The network's ``pooled_once`` and ``joined``.
    widths
        Channels of its convolutions.
    classes
        Number of classes.
    """

    trunk: OpenVinoEngine
    join: OpenVinoEngine
    widths: tuple[int, ...]
    classes: int

    def run(self, crops: npt.NDArray[Any], features: Floats, *, batch: int = 256) -> tuple[Floats, Floats]:
        """Return logits and pooled crops of crops and standardised features."""
        logits = [np.zeros((0, self.classes), np.float32)]
        pooled = [np.zeros((0, self.widths[-1]), np.float32)]
        for start in range(0, len(crops), batch):
            images = np.asarray(crops[start : start + batch], np.float32)
            parts = [self.trunk.run(np.flip(images, axes) if axes else images) for axes in FLIPS]
            pooled.append(np.mean(parts, axis=0, dtype=np.float32))
            given = np.clip(features[start : start + batch], -FEATURE_LIMIT, FEATURE_LIMIT)
            logits.append(self.join.run(np.concatenate([pooled[-1], given], axis=1).astype(np.float32)))
        return np.concatenate(logits), np.concatenate(pooled)


def stored_net(
    key: list[object],
    widths: Sequence[int],
    classes: int,
    make: Callable[[], MorphologyNet],
    precision: Precision = "auto",
) -> StoredNet | None:
    """Return a network from the cache folder, made if there is none; None if it cannot be stored.

    Parameters
    ----------
    key
        SHA-256 of its weights, and its architecture.
    widths
        Channels of its convolutions.
    classes
        Number of classes.
    make
        Builds it.
    precision
        How exactly it computes.
    """
    made: list[MorphologyNet] = []

    def network() -> MorphologyNet:
        if not made:
            made.append(make())
        return made[0]

    trunk = stored_graph(
        [*key, "trunk"], lambda: (network().pooled_once, [-1, len(CROP_CHANNELS), -1, -1], {})
    )
    join = stored_graph([*key, "join"], lambda: (network().joined, [-1, widths[-1] + len(FEATURES)], {}))
    if trunk is None or join is None:
        return None
    return StoredNet(
        OpenVinoEngine(trunk, precision=precision),
        OpenVinoEngine(join, precision=precision),
        tuple(widths),
        classes,
    )
