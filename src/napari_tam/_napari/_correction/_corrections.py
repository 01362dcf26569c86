"""What the layers of a result say that its analysis does not: the user's corrections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._layers import positions, puncta_key
from napari_tam.errors import InputError
from napari_tam.markers.labels import labels_of, rows_of
from napari_tam.pipeline.edits import near, puncta_edits, still_judged

if TYPE_CHECKING:
    from napari_tam._napari._found import Found
    from napari_tam.pipeline.edits import Edits


def corrections(found: Found) -> Edits:
    """Compare a result's layers with its analysis; what differs is a correction.

    Raises
    ------
    InputError
        If a layer was removed or has another size.
    """
    analysis, edits = found.analysis, found.edits
    if found.fixed:
        return edits
    for kind in ("cells", "nuclei"):
        known: Any = getattr(analysis, kind)
        layer = found.layers.get(kind)
        if known is None or layer is None:
            continue
        data = np.asarray(layer.data)
        if data.shape != known.shape:
            raise InputError(f"the mask has another size than the image: {data.shape}", where=layer.name)
        if not np.array_equal(data, known):
            labels = data.astype(np.uint32)
            if kind == "nuclei":
                edits = replace(edits, nuclei=labels)
                continue
            first = found.first or analysis
            edits = replace(edits, cells=labels, judged=still_judged(first.cells, first.table, labels))
    for number, label in enumerate(labels_of(analysis.table.columns) or [""]):
        edits = _corrected_puncta(found, edits, number, label)
    return edits


def _corrected_puncta(found: Found, edits: Edits, number: int, label: str) -> Edits:
    """Add what was corrected in the puncta of an exosome label (empty: the only one) to corrections."""
    from napari_tam.puncta.selection import select, threshold_for

    analysis, layer = found.analysis, found.layers.get(puncta_key(number, label))
    if layer is None:
        return edits
    now = np.asarray(layer.data, np.float64)[:, -2:]
    height, width = analysis.cells.shape  # the image itself may be gone
    if len(now) and ((now < -0.5) | (now > (height - 0.5, width - 0.5))).any():
        raise InputError("a punctum lies outside of the image", where=layer.name, fix="Delete it")
    puncta = rows_of(analysis.puncta, label)
    if np.array_equal(now, positions(puncta)):
        return edits
    if analysis.candidates is not None:
        own = rows_of(analysis.candidates, label)
        settings = found.previewed or analysis.settings
        found_at = positions(select(own, settings, threshold_for(own, settings, label)))
    else:  # read back from a folder: its puncta hold those that were added before
        found_at = positions(puncta)
        found_at = found_at[~near(found_at, analysis.edits.of(label, number)[0])]
    added, removed = puncta_edits(found_at, now, edits.of(label, number)[1])
    return edits.with_puncta(label, number, added, removed)
