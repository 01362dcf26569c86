"""What the layers of a result say that its analysis does not: the user's corrections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._layers import positions
from napari_tam.errors import InputError
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
    from napari_tam.puncta.selection import select

    analysis, edits = found.analysis, found.edits
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
    layer = found.layers.get("puncta")
    if layer is not None:
        now = np.asarray(layer.data, np.float64)[:, -2:]
        height, width = analysis.cells.shape  # the image itself may be gone
        if len(now) and ((now < -0.5) | (now > (height - 0.5, width - 0.5))).any():
            raise InputError("a punctum lies outside of the image", where=layer.name, fix="Delete it")
        if not np.array_equal(now, positions(analysis.puncta)):
            base = select(analysis.candidates, analysis.settings) if analysis.candidates is not None else None
            found_at = positions(analysis.puncta if base is None else base)
            if base is None:  # read back from a folder: its puncta hold those that were added before
                found_at = found_at[~near(found_at, analysis.edits.added)]
            added, removed = puncta_edits(found_at, now, edits)
            edits = replace(edits, added=added, removed=removed)
    return edits
