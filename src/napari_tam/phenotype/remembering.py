"""A classifier that remembers the cells it has scored, for fields that are measured again and again.

For a person at the screen who corrects one cell after another. A batch does not use it: there the last bits
of a score would depend on what was analysed before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.edit.review import changed_labels
from napari_tam.phenotype.calibration import softmax
from napari_tam.phenotype.classify import ModelClassifier, decide
from napari_tam.phenotype.crops import cell_crops
from napari_tam.phenotype.features import shape_features
from napari_tam.phenotype.model import Scores

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.settings import Settings

Image = npt.NDArray[Any]

#: So many fields are remembered; the oldest are forgotten.
MOST = 4


@dataclass(frozen=True, eq=False)
class _Scored:
    """The cells of a field, and what the network said of them."""

    stain: Image
    pixel_size_um: float
    cells: Image
    nuclei: Image | None
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    distance: npt.NDArray[np.float64]

    def still(self, stain: Image, pixel_size_um: float, cells: Image, nuclei: Image | None) -> bool:
        """Whether this is the same picture, with masks that can be compared."""
        return (
            stain.__array_interface__
            == self.stain.__array_interface__  # held here, so no other has its place
            and pixel_size_um == self.pixel_size_um
            and cells.shape == self.cells.shape
            and (nuclei is None) == (self.nuclei is None)
        )

    def unchanged(self, cells: Image, nuclei: Image | None) -> npt.NDArray[np.bool_]:
        """Tell which of these cells have the same mask, and the same nuclei in it."""
        changed = set() if cells is self.cells else changed_labels(self.cells, cells)
        if nuclei is not None and self.nuclei is not None and nuclei is not self.nuclei:
            over = cells[(nuclei > 0) != (self.nuclei > 0)]
            changed |= set(np.unique(over).tolist())
        return ~np.isin(self.labels, list(changed))


@dataclass(frozen=True)
class RememberingClassifier(ModelClassifier):
    """Asks the network only about cells whose mask, or the nuclei in it, it has not seen."""

    _known: list[_Scored] = field(default_factory=list, compare=False, repr=False)

    def classify(
        self, field: Field, cells: Image, nuclei: Image | None, table: pd.DataFrame, settings: Settings
    ) -> pd.DataFrame:
        """See `napari_tam.phenotype.classify.Classifier.classify`."""
        stain, um = field.channels["cell"], field.pixel_size_um
        labels = table["label"].to_numpy(np.int64)
        logits = np.zeros((len(labels), len(self.classes)), np.float32)
        distance = np.zeros(len(labels))
        new = np.ones(len(labels), bool)
        before = next((each for each in self._known if each.still(stain, um, cells, nuclei)), None)
        if before is not None:
            self._known.remove(before)
            kept = before.unchanged(cells, nuclei)
            _, here, there = np.intersect1d(labels, before.labels[kept], return_indices=True)
            logits[here], distance[here] = before.logits[kept][there], before.distance[kept][there]
            new[here] = False
        if new.any():
            crops_of = cell_crops if new.all() else _crops_of
            scores = self.score(crops_of(stain, cells, nuclei, table[new], um), shape_features(table[new]))
            logits[new], distance[new] = scores.logits, scores.distance
        self._known.append(_Scored(stain, um, cells, nuclei, labels, logits, distance))
        del self._known[:-MOST]
        known = Scores(logits, softmax(logits, self.model.temperature), distance)
        return decide(known, self.classes, table, um, self.model.unlike_above, settings)


def _crops_of(stain: Image, cells: Image, nuclei: Image | None, table: pd.DataFrame, um: float) -> Any:
    """Return the crops of some cells of a field, the rows of a table, from the part that holds them."""
    centre = table[["centroid_y_px", "centroid_x_px"]].to_numpy(np.float64)
    # no pixel of a cell is farther from its centroid than its largest diameter
    reach = table["feret_max_um"].to_numpy(np.float64)[:, None] / um + 1
    start = np.maximum(np.floor((centre - reach).min(axis=0)), 0).astype(int)
    stop = np.ceil((centre + reach).max(axis=0)).astype(int) + 1
    part = tuple(slice(low, high) for low, high in zip(start.tolist(), stop.tolist(), strict=True))
    only = np.where(np.isin(cells[part], table["label"].to_numpy()), cells[part], 0)
    here = table.assign(
        centroid_y_px=table["centroid_y_px"] - start[0], centroid_x_px=table["centroid_x_px"] - start[1]
    )
    return cell_crops(stain[part], only, None if nuclei is None else nuclei[part], here, um)
