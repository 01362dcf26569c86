"""What a person corrected in a result by hand: masks, added and removed puncta. It survives a re-run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import JUDGED, join_tables
from napari_tam.edit.review import changed_labels
from napari_tam.markers.labels import LABEL, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from napari_tam.settings import Settings

Labels = npt.NDArray[np.unsignedinteger[Any]]
Points = npt.NDArray[np.float64]

#: Two positions (px) nearer than this are the same punctum.
SAME_PX = 0.75

#: The score of a punctum that a person added.
BY_HAND = 1.0


def _none() -> Points:
    return np.zeros((0, 2))


@dataclass(frozen=True)
class Edits:
    """The corrections of one image.

    Attributes
    ----------
    cells, nuclei
        Label images (YX) that take the place of the networks'; None: as found.
    added, removed
        (N, 2) positions (y, x) in pixels of puncta that were added and removed; of several exosome labels
        those of the first.
    others
        Those of the other labels: label to (added, removed).
    judged
        How those cells were found that were left as they were (`napari_tam.columns.JUDGED`, by label); None:
        not known, as where corrections come from disk.
    """

    cells: Labels | None = None
    nuclei: Labels | None = None
    added: Points = field(default_factory=_none)
    removed: Points = field(default_factory=_none)
    others: dict[str, tuple[Points, Points]] = field(default_factory=dict)
    judged: pd.DataFrame | None = None

    @property
    def any(self) -> bool:
        """Whether anything was corrected."""
        return self.cells is not None or self.nuclei is not None or self.puncta

    @property
    def puncta(self) -> bool:
        """Whether puncta were added or removed."""
        return any(len(points) for points in (*self._all(0), *self._all(1)))

    def _all(self, which: int) -> list[Points]:
        """Return what was added (0) or removed (1) of every label."""
        return [(self.added, self.removed)[which], *(each[which] for each in self.others.values())]

    def of(self, label: str, number: int) -> tuple[Points, Points]:
        """Return what was added and removed of a label, the number of which is `number`."""
        return (self.added, self.removed) if number == 0 else self.others.get(label, (_none(), _none()))

    def with_puncta(self, label: str, number: int, added: Points, removed: Points) -> Edits:
        """Return these corrections with others of the puncta of a label."""
        if number == 0:
            return replace(self, added=added, removed=removed)
        kept = {name: each for name, each in self.others.items() if name != label}
        own = {label: (added, removed)} if len(added) or len(removed) else {}
        return replace(self, others=kept | own)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was corrected, for the images table."""
        said = [
            f"{name} corrected by hand"
            for name, labels in (("cells", self.cells), ("nuclei", self.nuclei))
            if labels is not None
        ]
        if self.puncta:
            added, removed = (sum(map(len, self._all(which))) for which in (0, 1))
            said.append(f"{added} puncta added and {removed} removed by hand")
        return tuple(said)

    def apply(
        self,
        spots: pd.DataFrame,
        images: Mapping[str, npt.NDArray[Any]],
        pixel_size_um: float,
        settings: Settings,
    ) -> pd.DataFrame:
        """Return the puncta without the removed ones and with the added ones, which are measured.

        Parameters
        ----------
        spots
            What a detector found above its thresholds; with several labels
            `napari_tam.markers.labels.LABEL` tells them apart.
        images
            (Y, X) exosome channels by label (empty for a single one).
        """
        if not self.puncta:
            return spots
        tables = [
            _corrected(rows_of(spots, label), self.of(label, number), image, pixel_size_um, settings, label)
            for number, (label, image) in enumerate(images.items())
        ]
        return join_tables(tables)


def _corrected(
    spots: pd.DataFrame,
    points: tuple[Points, Points],
    image: npt.NDArray[Any],
    pixel_size_um: float,
    settings: Settings,
    label: str,
) -> pd.DataFrame:
    """Return the puncta of one exosome channel after its corrections."""
    import pandas as pd

    from napari_tam.puncta.detect import measure_spots

    added, removed = points
    at = spots[["y_px", "x_px"]].to_numpy(np.float64)
    kept = spots[~near(at, removed)].reset_index(drop=True)
    if not len(added):
        return kept
    scores = np.full(len(added), BY_HAND, np.float32)
    new = measure_spots(image, added, scores, pixel_size_um, settings)
    # Where a person put it, it stays: the fit may wander to a brighter neighbour.
    new[["y_px", "x_px"]] = added
    new = new.assign(**{LABEL: label}) if label else new
    return new if kept.empty else pd.concat([kept, new], ignore_index=True)


def near(points: Points, others: Points) -> npt.NDArray[np.bool_]:
    """Tell which points have one of `others` within `SAME_PX`."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    distance, _ = cKDTree(others).query(points)
    found: npt.NDArray[np.bool_] = distance <= SAME_PX
    return found


def puncta_edits(found: Points, now: Points, removed_before: Points) -> tuple[Points, Points]:
    """Find out which puncta a person added and removed.

    Parameters
    ----------
    found
        (N, 2) positions that the detector gives.
    now
        (M, 2) positions as the person left them.
    removed_before
        (K, 2) positions of what was removed earlier: it stays removed unless it is there again.

    Returns
    -------
    added, removed
    """
    added = now[~near(now, found)]
    removed = np.concatenate([found[~near(found, now)], removed_before])
    removed = removed[~near(removed, now)]
    return added, np.unique(removed, axis=0).reshape(-1, 2)


def still_judged(before: Labels, table: pd.DataFrame, now: Labels) -> pd.DataFrame:
    """Return what a segmentation said of the cells that have the same pixels now.

    Parameters
    ----------
    before, table
        (Y, X) labels as they were found, and the table of these cells.
    now
        (Y, X) labels as a person left them.

    Returns
    -------
    The columns `napari_tam.columns.JUDGED`, by label.
    """
    changed = changed_labels(before, now)
    judged = table.set_index("label").reindex(columns=list(JUDGED))
    return judged[~judged.index.isin(list(changed))]
