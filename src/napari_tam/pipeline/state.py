"""What is known of a field while the steps of its analysis are done."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as later
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from napari_tam.correct.apply import Corrected
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Segmented
    from napari_tam.pipeline.edits import Edits
    from napari_tam.pipeline.models import Models
    from napari_tam.puncta.threshold import Threshold
    from napari_tam.settings import Settings

    Labels = npt.NDArray[np.unsignedinteger[Any]]


@dataclass
class State:
    """What is known of a field so far; every step adds to it.

    Attributes
    ----------
    field
        The field as it was given; from the first step on after its corrections.
    settings, models, edits, segmented
        See `napari_tam.pipeline.runner.run_steps`.
    corrected
        By ``correct``.
    nuclei
        By ``nuclei``: labels; None without a nuclear stain.
    cells, diameter_um, diameter_doubt, judged
        By ``cells``: labels, the diameter that they were found with, why its estimate is unsure, and how each
        of them was found (`napari_tam.columns.JUDGED`, by label); None if nobody knows.
    candidates, threshold, spots
        By ``puncta``: before the thresholds; the one for the contrast; and after them.
    table, puncta, summary
        By ``measure``.
    phenotypes
        By ``classify``: the columns that it adds; None without a model.
    """

    field: Field
    settings: Settings
    models: Models
    edits: Edits
    segmented: Segmented
    corrected: Corrected = later(init=False)
    nuclei: Labels | None = None
    cells: Labels = later(init=False)
    diameter_um: object = later(init=False)
    judged: pd.DataFrame | None = None
    diameter_doubt: str = ""
    candidates: pd.DataFrame = later(init=False)
    threshold: Threshold = later(init=False)
    spots: pd.DataFrame = later(init=False)
    table: pd.DataFrame = later(init=False)
    puncta: pd.DataFrame = later(init=False)
    summary: dict[str, object] = later(init=False)
    phenotypes: pd.DataFrame | None = None
