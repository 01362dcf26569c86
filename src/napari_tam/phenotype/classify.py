"""Phenotype of every cell by its shape and cell stain; the exosome channel is never used.

Columns: `napari_tam.columns.phenotype_columns`. The classifier is a
`napari_tam.phenotype.model.PhenotypeModel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_tam.columns import build_table, class_column, phenotype_columns
from napari_tam.errors import InputError
from napari_tam.phenotype.crops import CROP_UM, cell_crops
from napari_tam.phenotype.features import shape_features

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.networks.engines import EngineName, Precision
    from napari_tam.phenotype.model import PhenotypeModel, Scores
    from napari_tam.settings import Settings

#: The phenotype of a cell whose class is unclear.
UNCERTAIN = "uncertain"

#: Reasons for it, in the order in which they are joined.
BORDER, NOISY, UNLIKE, LOW = "border", "too noisy", "unlike training", "low probability"

#: Value of the setting `phenotype_model` that switches the step off.
OFF = "none"


class Classifier(Protocol):
    """Anything that tells the phenotype of cells."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    def classify(
        self,
        field: Field,
        cells: npt.NDArray[Any],
        nuclei: npt.NDArray[Any] | None,
        table: pd.DataFrame,
        settings: Settings,
    ) -> pd.DataFrame:
        """Return `napari_tam.columns.phenotype_columns` for the rows of a per-cell table."""


@dataclass(frozen=True)
class ModelClassifier:
    """The classifier made of a model.

    Attributes
    ----------
    model
        The model.
    device
        Where its network is; the processor when None.
    """

    model: PhenotypeModel
    device: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.model.classes

    def classify(
        self,
        field: Field,
        cells: npt.NDArray[Any],
        nuclei: npt.NDArray[Any] | None,
        table: pd.DataFrame,
        settings: Settings,
    ) -> pd.DataFrame:
        """See `Classifier.classify`."""
        crops = cell_crops(field.channels["cell"], cells, nuclei, table, field.pixel_size_um)
        scores = self.score(crops, shape_features(table))
        return decide(scores, self.classes, table, field.pixel_size_um, self.model.unlike_above, settings)

    def score(self, crops: npt.NDArray[Any], features: npt.NDArray[Any]) -> Scores:
        """Return what the model says of cells by their crops and shape features."""
        return self.model.score(crops, features, self.device)


def decide(
    scores: Scores,
    classes: tuple[str, ...],
    table: pd.DataFrame,
    pixel_size_um: float | npt.NDArray[np.float64],
    unlike_above: float,
    settings: Settings,
) -> pd.DataFrame:
    """Turn scores into the columns of the phenotype.

    Parameters
    ----------
    scores
        What the model says.
    classes
        Names of the classes.
    table
        One row per cell; `touches_border` and `contrast_to_noise` are used.
    pixel_size_um
        Pixel size of the image that the table is about, or one a row.
    unlike_above
        Distance above which a cell is out of distribution (unlike the training cells).
    settings
        `phenotype_min_probability`, `phenotype_min_contrast` and `phenotype_border` are used.
    """
    chances = scores.probabilities
    # A crop's pixel is a mean over many of a fine image's, and their noise averages out.
    contrast = table["contrast_to_noise"].to_numpy(np.float64) * np.maximum(1.0, CROP_UM / pixel_size_um)
    reasons = {
        BORDER: table["touches_border"].to_numpy(bool) & settings.phenotype_border,
        NOISY: contrast < settings.phenotype_min_contrast,
        UNLIKE: ~(scores.distance <= unlike_above),
        LOW: chances.max(axis=1, initial=0) < settings.phenotype_min_probability,
    }
    stated = [
        "; ".join(n for n, here in zip(reasons, row, strict=True) if here)
        for row in zip(*reasons.values(), strict=True)
    ]
    best = np.array(classes, object)[chances.argmax(axis=1)] if len(chances) else np.zeros(0, object)
    values: dict[str, object] = {f"p_{class_column(name)}": chances[:, k] for k, name in enumerate(classes)}
    values["phenotype"] = [UNCERTAIN if why else name for why, name in zip(stated, best, strict=True)]
    values["phenotype_reason"] = stated
    return build_table(phenotype_columns(classes), values, len(chances))


def phenotype_summary(table: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, object]:
    """Return an image's summary statistics (`napari_tam.columns.phenotype_summary_columns`).

    Parameters
    ----------
    table
        One row per cell, with the columns of the phenotype.
    classes
        Names of the classes.
    """
    reason = table["phenotype_reason"]
    whole = table[~reason.str.contains(BORDER, regex=False)]
    counts = {name: int((table["phenotype"] == name).sum()) for name in (*classes, UNCERTAIN)}
    return {
        **{f"cells_{class_column(name)}": number for name, number in counts.items()},
        "cells_unlike_training": int(reason.str.contains(UNLIKE, regex=False).sum()),
        **{f"p_{part}_mean": float(whole[f"p_{part}"].mean()) for part in map(class_column, classes)},
    }


def load_classifier(
    name: str, device: str | None = None, engine: EngineName = "torch", precision: Precision = "auto"
) -> ModelClassifier | None:
    """Load the model that the setting `phenotype_model` names; None for ``none``.

    Raises
    ------
    InputError
        If there is no such model, or it cannot be used.
    """
    if name.casefold() == OFF:
        return None
    from napari_tam.networks.cards import MODELS_FOLDER, PHENOTYPE
    from napari_tam.phenotype.model import load_phenotype_model
    from napari_tam.phenotype.stored_net import StoredNet

    path = MODELS_FOLDER if name == PHENOTYPE else Path(name).expanduser()
    if not path.exists():
        raise InputError(
            f"there is no phenotype model '{name}'",
            where="phenotype_model",
            fix="use 'phenotype' (bundled), 'none', or the --out folder of 'napari-tam train phenotype'",
        )
    model = load_phenotype_model(path, openvino=precision if engine == "openvino" else None)
    if device is not None and not isinstance(model.network, StoredNet):
        model.network.to(device)
    return ModelClassifier(model, device)
