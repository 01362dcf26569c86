"""What is known of a field while its steps are done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as later
from typing import TYPE_CHECKING, Any

from napari_tam.io.check import Finding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from napari_tam.correct.apply import Corrected
    from napari_tam.io.field import Field
    from napari_tam.measure.again import Measured
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
        candidates, thresholds, spots
        By ``puncta``: before the thresholds; those for the contrast, by exosome label; and after them. With
        several exosome channels `napari_tam.markers.labels.LABEL` says which one a row is of.
        known_thresholds, sharpness
        Those of an earlier analysis, where they still hold.
        table, puncta, summary
        By ``measure``.
    measured
        Before ``measure`` that of an earlier analysis of the same picture; then its own, of a plane.
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
    thresholds: dict[str, Threshold] = later(init=False)
    spots: pd.DataFrame = later(init=False)
    table: pd.DataFrame = later(init=False)
    puncta: pd.DataFrame = later(init=False)
    summary: dict[str, object] = later(init=False)
    phenotypes: pd.DataFrame | None = None
    known_thresholds: dict[str, Threshold] | None = None
    sharpness: float | None = None
    measured: Measured | None = None

    @property
    def inside(self) -> Field:
        """The field without zeros around the picture, which is all that is analysed."""
        window = self.corrected.window
        if window is None:
            return self.field
        channels = {role: window.of(channel) for role, channel in self.field.channels.items()}
        return replace(self.field, channels=channels)

    def whole(self, labels: Labels) -> Labels:
        """Return labels of `inside` as labels of the field."""
        window, first = self.corrected.window, next(iter(self.field.channels.values()))
        return labels if window is None else window.padded(labels, first.shape)

    @property
    def findings(self) -> list[Finding]:
        """What is doubtful about the picture."""
        found = list(self.corrected.findings)
        hot = int((self.candidates["reason"] == "hot pixel").sum()) if "reason" in self.candidates else 0
        if hot:
            what = "pixel" if hot == 1 else "pixels"
            sentence = f"{hot} {what} of the exosome channel shone alone and were replaced"
            found.append(Finding("hot_pixels", sentence.replace("were", "was") if hot == 1 else sentence))
        return found
