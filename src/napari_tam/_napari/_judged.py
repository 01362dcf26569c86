"""Which candidates of an image are puncta under some settings, and what the threshold has to do with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.markers.labels import LABEL, rows_of
from napari_tam.puncta.selection import KEPT, reasons, select, threshold_for
from napari_tam.puncta.threshold import Threshold, by_user

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_tam.settings import Settings


@dataclass(frozen=True, eq=False)
class Automatic:
    """The thresholds that an image's own candidates tell; finding one takes a tenth of a second.

    Attributes
    ----------
    candidates, score
        What it was found from: the candidates with at least this score.
    thresholds
        The thresholds by exosome label (empty for a single one).
    """

    candidates: pd.DataFrame
    score: float
    thresholds: dict[str, Threshold]


def find_automatic(
    candidates: pd.DataFrame, settings: Settings, before: Automatic | None = None
) -> Automatic:
    """Return the thresholds that candidates tell; `before` if that was found from the same ones."""
    score = settings.puncta_score
    if before is not None and before.candidates is candidates and before.score == score:
        return before
    unset = settings.updated(puncta_threshold=None, puncta_thresholds={})
    labels = list(dict.fromkeys(candidates[LABEL])) if LABEL in candidates else [""]
    return Automatic(
        candidates, score, {label: threshold_for(rows_of(candidates, label), unset) for label in labels}
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """Candidates, and what became of them.

    Attributes
    ----------
    candidates
        All N of them.
    reasons
        (N,) why each is no punctum, as `napari_tam.puncta.selection.reasons` gives it.
    puncta
        Those that are.
    threshold
        The threshold for the contrast.
    contrast
        (M,) contrasts of those that only the threshold decides about.
    """

    candidates: pd.DataFrame
    reasons: npt.NDArray[np.object_]
    puncta: pd.DataFrame
    threshold: Threshold
    contrast: npt.NDArray[np.float64]

    @property
    def below(self) -> int:
        """How many are no puncta because of the threshold alone."""
        return int((self.contrast < self.threshold.value).sum()) if self.threshold.value > 1 else 0


def judge(candidates: pd.DataFrame, settings: Settings, automatic: Threshold, label: str = "") -> Judged:
    """Say which candidates are puncta; `automatic` is the threshold where the settings leave it open.

    The candidates are those of one exosome label (empty for a single one).
    """
    asked = settings.threshold_of(label)
    threshold = automatic if asked is None else by_user(asked)
    open_to_it = reasons(candidates, settings, Threshold()) == KEPT
    return Judged(
        candidates,
        reasons(candidates, settings, threshold),
        select(candidates, settings, threshold),
        threshold,
        candidates.loc[open_to_it, "contrast"].to_numpy(np.float64),
    )


def batch_threshold(folder: Path | None, label: str = "") -> Threshold | None:
    """Return the threshold that a batch found for all images of a results folder, by its record.

    That of an exosome label; empty for a single one.
    """
    if folder is None:
        return None
    try:
        record = json.loads((folder / "run.json").read_text("utf-8"))
        known = record["puncta_thresholds"][label] if label else record["puncta_threshold"]
        threshold = Threshold.from_dict(known)
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # none, or of an older version
        return None
    return None if threshold.rule == "given" else threshold
