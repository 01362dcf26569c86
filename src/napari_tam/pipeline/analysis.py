"""The result of one image, and what of an earlier one may go into it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as with_default
from typing import TYPE_CHECKING, Any

from napari_tam.pipeline.edits import Edits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from napari_tam.correct.apply import Corrected
    from napari_tam.io.field import Field
    from napari_tam.measure.again import Measured
    from napari_tam.phenotype.classify import Classifier
    from napari_tam.puncta.threshold import Threshold
    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Analysis:
    """Everything found in one field.

    Attributes
    ----------
    field, settings
        What was analysed (after its corrections), and how.
    cells, nuclei
        Label images (YX, of a volume ZYX, unsigned; 0 = background); nuclei is None without a nuclear stain.
    table
        One row per cell; `label` is its value in `cells`. See `napari_tam.measure.cells`, and
        `napari_tam.phenotype.classify` for its last columns.
    puncta
        One row per punctum; `label` is the cell it lies in, 0 = outside every cell.
    summary
        The field's row in images.csv: counts and image-wide figures.
    seconds
        Wall time of each step.
    raw, corrected
        The field as it was given, and after its corrections; None for results read back from disk.
    candidates
        Puncta before the thresholds (`napari_tam.puncta.detect.select`), if they are known.
    edits
        What was corrected by hand.
    phenotypes, classifier
        The columns that the classifier gave, and the classifier.
    thresholds
        The thresholds for the contrast of its puncta, by exosome label, if they were found here.
    measured
        What the next measurement of the same picture can begin with, of a plane that was measured here.
    """

    field: Field
    settings: Settings
    cells: npt.NDArray[np.unsignedinteger[Any]]
    nuclei: npt.NDArray[np.unsignedinteger[Any]] | None
    table: pd.DataFrame
    puncta: pd.DataFrame
    summary: dict[str, object]
    seconds: dict[str, float]
    raw: Field | None = None
    corrected: Corrected | None = None
    candidates: pd.DataFrame | None = None
    edits: Edits = with_default(default_factory=Edits)
    phenotypes: pd.DataFrame | None = None
    classifier: Classifier | None = None
    thresholds: dict[str, Threshold] | None = None
    measured: Measured | None = None


@dataclass(frozen=True)
class Segmented:
    """What is known before the analysis and still holds; None: to be found anew.

    Attributes
    ----------
    cells, nuclei
        Label images (YX or ZYX, unsigned; 0 = background).
    cell_diameter_um, diameter_doubt
        The diameter that the cells were found with, and why its estimate is unsure.
    judged
        How each cell was found (`napari_tam.columns.JUDGED`), by label; None if nobody knows.
    candidates
        The candidates of puncta.
    """

    cells: npt.NDArray[np.unsignedinteger[Any]] | None = None
    nuclei: npt.NDArray[np.unsignedinteger[Any]] | None = None
    cell_diameter_um: float = float("nan")
    diameter_doubt: str = ""
    judged: pd.DataFrame | None = None
    candidates: pd.DataFrame | None = None
