"""An analysed image in a viewer: what was found, its layers, what is selected and what was corrected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._layers import result_layers
from napari_tam.edit.review import Review, changed_labels
from napari_tam.pipeline.edits import Edits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam._napari._judged import Automatic
    from napari_tam._napari._layers import LayerData
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.settings import Settings

#: Why a volume's results are not corrected by hand.
OF_VOLUMES = "a volume is not corrected by hand; analysed as 'this plane', one of its planes can be"

#: Where a cell is; the first one for volumes only.
_CENTRE = ("centroid_z_px", "centroid_y_px", "centroid_x_px")


@dataclass(eq=False)
class Found:
    """An analysed image.

    Attributes
    ----------
    name, where
        Name of the image, and what places layers on it.
    analysis, edits
        What was found, and what was corrected by hand.
    folder
        Where its results belong; None: not known.
    automatic
        The thresholds that its own candidates tell, once they were found.
    layers
        ``cells``, ``nuclei``, ``puncta`` (of the second exosome label ``puncta PKH26``) and ``left out`` →
        layer.
    selected
        Labels of the highlighted cells; empty: all alike.
    column, legend
        The column that colours the cells, and what the colours mean.
    taught
        Label → class, as clicked.
    first
        The analysis before cells were corrected: it knows how sure the network was of them.
    reviewed
        Which of its doubtful cells were looked at; see `review`.
    dirty
        The layers that the user changed since they were measured.
    puncta_now
        (N, 2) where the puncta (of the first label) are, as far as the history of changes knows.
    previewed
        The settings by which puncta are shown, where the analysis does not have them yet.
    kept
        The corrections that are on disk.
    fixed
        Why nothing of it is corrected by hand (volumes, movies, images in tiles); empty: it can be.
    ready
        Its `layers_data`, where they were made in the background.
    """

    name: str
    where: dict[str, Any]
    analysis: Analysis
    edits: Edits = field(default_factory=Edits)
    folder: Path | None = None
    automatic: Automatic | None = None
    layers: dict[str, Any] = field(default_factory=dict)
    selected: frozenset[int] = frozenset()
    column: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    taught: dict[int, str] = field(default_factory=dict)
    first: Analysis | None = None
    reviewed: Review | None = None
    dirty: set[str] = field(default_factory=set)
    puncta_now: Any = None
    previewed: Settings | None = None
    kept: Edits | None = None
    fixed: str = ""
    ready: list[LayerData] | None = None

    def follow(self, before: Found | None) -> None:
        """Take over from the result that was shown before, if there was one."""
        self.first = self.analysis
        if before is None:
            self.kept = self.edits
            return
        self.layers, self.taught, self.kept = before.layers, before.taught, before.kept
        self.dirty, self.puncta_now = before.dirty, before.puncta_now
        self.column = self.column or before.column
        self.folder = self.folder or before.folder
        self.selected = self.selected or before.selected
        same = before.first is not None and before.first.cells is self.analysis.cells
        if before.first is not None and (same or self.analysis.edits.cells is not None):
            self.first, self.reviewed = before.first, before.reviewed

    def layers_data(self) -> list[LayerData]:
        """Return its nuclei, cells and puncta as napari layer data; each time in arrays of their own."""
        ready, self.ready = self.ready, None
        return ready if ready is not None else result_layers(self.analysis, self.name, self.where)

    def place_of(self, label: int, here: Sequence[float]) -> Sequence[float] | None:
        """Return the centre of a cell in pixels; ``here`` is what the viewer shows (see `FoundMovie`)."""
        rows = self.analysis.table[self.analysis.table["label"] == label]
        axes = [name for name in _CENTRE if name in rows]
        return None if rows.empty else [float(value) for value in rows[axes].to_numpy(float)[0]]

    @property
    def review(self) -> Review:
        """The doubtful cells of the first analysis."""
        if self.reviewed is None:
            self.reviewed = Review.of((self.first or self.analysis).table)
        return self.reviewed

    def changed_cells(self) -> set[int]:
        """Return the labels that were corrected since the first analysis, also those not measured yet."""
        if self.fixed:
            return set()
        layer, first = self.layers.get("cells"), (self.first or self.analysis).cells
        if layer is None or layer.data.shape != first.shape:
            return set()
        return changed_labels(first, np.asarray(layer.data))

    def has(self, label: int) -> bool:
        """Whether there is a cell with this number, measured or only drawn."""
        if label <= 0:
            return False
        if (self.analysis.table["label"] == label).any():
            return True
        layer = None if self.fixed else self.layers.get("cells")
        return layer is not None and bool((np.asarray(layer.data) == label).any())

    @property
    def unsaved(self) -> bool:
        """Whether there are corrections that no folder has."""
        return bool(self.dirty) or (self.edits.any and self.edits is not self.kept)
