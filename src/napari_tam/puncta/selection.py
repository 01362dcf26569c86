"""Which candidates are puncta, and why the others are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_tam.columns import join_tables
from napari_tam.markers.labels import rows_of
from napari_tam.puncta.threshold import Threshold, by_user, from_populations

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd

    from napari_tam.settings import Settings

#: Why a candidate is no punctum → the sentence for it, in the order in which they are asked.
REASONS = {
    "hot pixel": "a single pixel shines, without the light around it that every lens gives",
    "flank": "next to no light of its own beside a brighter punctum",
    "score": "looks like texture, an edge or a fibre to the network",
    "contrast": "hardly stands out from the structure around it",
    "snr": "hardly brighter than the noise",
}

#: `reason` of a punctum.
KEPT = ""


def sure_ones(candidates: pd.DataFrame, score: float) -> npt.NDArray[np.bool_]:
    """Tell which candidates a threshold is learnt from: nothing but their contrast may speak against them.

    Those of exactly this score have no say (`napari_tam.puncta.crowds.resolving.EVEN`).
    """
    return ((candidates["reason"] == KEPT) & (candidates["score"] > score)).to_numpy(bool)


def threshold_for(candidates: pd.DataFrame, settings: Settings, label: str = "") -> Threshold:
    """Return the threshold of the settings, or the one that the image's own candidates tell.

    Parameters
    ----------
    candidates
        Those of one exosome channel.
    settings
        ``puncta_threshold``, ``puncta_thresholds`` and ``puncta_score``.
    label
        The exosome label; empty where there is one exosome channel.
    """
    given = settings.threshold_of(label)
    if given is not None:
        return by_user(given)
    sure = candidates[sure_ones(candidates, settings.puncta_score)]
    contrast, score = (sure[name].to_numpy(np.float64) for name in ("contrast", "score"))
    return from_populations(contrast, score=score)


def reasons(candidates: pd.DataFrame, settings: Settings, threshold: Threshold) -> npt.NDArray[np.object_]:
    """Return why each candidate is no punctum, a key of `REASONS`; `KEPT` for puncta."""
    found = np.array(candidates["reason"], dtype=object)
    checks = {
        "score": candidates["score"] < settings.puncta_score,
        # The lowest threshold keeps all: a ring has less light in its middle than around it.
        "contrast": (candidates["contrast"] < threshold.value) & (threshold.value > 1),
        "snr": candidates["snr"] < settings.puncta_min_snr,
    }
    for reason, fails in checks.items():
        found[(found == KEPT) & fails.to_numpy(bool)] = reason
    return found


def select(candidates: pd.DataFrame, settings: Settings, threshold: Threshold | None = None) -> pd.DataFrame:
    """Return the puncta among candidates, without the column ``reason``.

    Parameters
    ----------
    candidates
        What a detector gives.
    settings
        ``puncta_score``, ``puncta_threshold`` and ``puncta_min_snr``.
    threshold
        The threshold for the contrast; that of `threshold_for` when None.
    """
    threshold = threshold or threshold_for(candidates, settings)
    kept = reasons(candidates, settings, threshold) == KEPT
    chosen: pd.DataFrame = candidates[kept].drop(columns="reason").reset_index(drop=True)
    return chosen


def select_by_label(
    candidates: pd.DataFrame,
    settings: Settings,
    labels: Sequence[str],
    known: dict[str, Threshold] | None = None,
) -> tuple[pd.DataFrame, dict[str, Threshold]]:
    """Return the puncta among the candidates of all exosome channels, and the threshold of each.

    Parameters
    ----------
    candidates
        What the detector gives; with several labels, `napari_tam.markers.labels.LABEL` tells them apart.
    settings
        As for `select` and `threshold_for`.
    labels
        The labels; one that is empty for a single exosome channel.
    known
        Thresholds that were found in the same candidates before.
    """
    thresholds = {}
    found = []
    for label in labels:
        own = rows_of(candidates, label)
        thresholds[label] = (known or {}).get(label) or threshold_for(own, settings, label)
        found.append(select(own, settings, thresholds[label]))
    return found[0] if len(found) == 1 else join_tables(found), thresholds


def false_share(puncta: pd.DataFrame) -> float:
    """Return the share of puncta that are expected to be false; NaN without puncta.

    The score is the chance that people call a candidate a punctum (measured: ``benchmarks/puncta.py``), so
    what is false among N puncta is the mean of 1 - score.
    """
    return float((1 - puncta["score"]).mean()) if len(puncta) else float("nan")
