"""What a person corrected in a result by hand: masks, added and removed puncta. It survives a re-run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import JUDGED
from napari_tam.edit.review import changed_labels

if TYPE_CHECKING:
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
        (N, 2) positions (y, x) in pixels of puncta that were added and removed.
    judged
        How those cells were found that were left as they were (`napari_tam.columns.JUDGED`, by label); None:
        not known, as where corrections come from disk.
    """

    cells: Labels | None = None
    nuclei: Labels | None = None
    added: Points = field(default_factory=_none)
    removed: Points = field(default_factory=_none)
    judged: pd.DataFrame | None = None

    @property
    def any(self) -> bool:
        """Whether anything was corrected."""
        return self.cells is not None or self.nuclei is not None or self.puncta

    @property
    def puncta(self) -> bool:
        """Whether puncta were added or removed."""
        return bool(len(self.added) or len(self.removed))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was corrected, for the images table."""
        said = [
            f"{name} corrected by hand"
            for name, labels in (("cells", self.cells), ("nuclei", self.nuclei))
            if labels is not None
        ]
        if self.puncta:
            said.append(f"{len(self.added)} puncta added and {len(self.removed)} removed by hand")
        return tuple(said)

    def apply(
        self, spots: pd.DataFrame, image: npt.NDArray[Any], pixel_size_um: float, settings: Settings
    ) -> pd.DataFrame:
        """Return the puncta without the removed ones and with the added ones, which are measured.

        Parameters
        ----------
        spots
            What a detector found above its thresholds.
        image
            (Y, X) the exosome channel.
        """
        if not self.puncta:
            return spots
        import pandas as pd

        from napari_tam.puncta.detect import measure_spots

        at = spots[["y_px", "x_px"]].to_numpy(np.float64)
        kept = spots[~near(at, self.removed)]
        if not len(self.added):
            return kept.reset_index(drop=True)
        scores = np.full(len(self.added), BY_HAND, np.float32)
        new = measure_spots(image, self.added, scores, pixel_size_um, settings)
        # Where a person put it, it stays: the fit may wander to a brighter neighbour.
        new[["y_px", "x_px"]] = self.added
        return new if kept.empty else pd.concat([kept, new], ignore_index=True)


def near(points: Points, others: Points) -> npt.NDArray[np.bool_]:
    """Tell which points have one of `others` within `SAME_PX`."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    distance, _ = cKDTree(others).query(points)
    found: npt.NDArray[np.bool_] = distance <= SAME_PX
    return found


def puncta_edits(found: Points, now: Points, before: Edits) -> tuple[Points, Points]:
    """Find out which puncta a person added and removed.

    Parameters
    ----------
    found
        (N, 2) positions that the detector gives.
    now
        (M, 2) positions as the person left them.
    before
        Earlier corrections; what they removed stays removed unless it is there again.

    Returns
    -------
    added, removed
    """
    added = now[~near(now, found)]
    removed = np.concatenate([found[~near(found, now)], before.removed])
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
