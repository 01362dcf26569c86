"""The correct tab: napari's own tools change masks and puncta, one button measures again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_tam._napari._controls import button, row
from napari_tam._napari._layers import PUNCTA, positions, puncta_key
from napari_tam._napari._tabs._train_cells import TrainCells
from napari_tam.errors import InputError
from napari_tam.markers.labels import labels_of, rows_of
from napari_tam.pipeline.edits import Edits, near, puncta_edits
from napari_tam.results.edits import save_edits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_tam._napari._job import Job
    from napari_tam._napari._session import Found, Session

_HELP = """<ol style='margin-left:-24px'>
<li>Choose what to correct.</li>
<li>Cells and nuclei: paint with the brush (a new number for a new cell: key M), fill, erase.
Puncta: click to add; to delete, choose them with the arrow (key 3) and press Delete.</li>
<li>Update measurements.</li></ol>"""


class CorrectTab(QWidget):
    """Correct the current image.

    Parameters
    ----------
    session
        The viewer's results.
    measure
        Measures a result again with its corrections.
    job
        What runs in the background.
    use_cells_model
        Puts the folder of a trained model into the form.
    """

    def __init__(
        self,
        session: Session,
        measure: Callable[[Found], None],
        job: Job,
        use_cells_model: Callable[[Path], None],
    ) -> None:
        super().__init__()
        self._session, self._measure = session, measure
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        text = QLabel(_HELP)
        text.setWordWrap(True)
        layout.addWidget(text)
        layout.addWidget(
            row(
                button(
                    "Edit cells", "Paint, fill and erase the masks of the cells.", lambda: self.edit("cells")
                ),
                button("Edit nuclei", "The same for the nuclei.", lambda: self.edit("nuclei")),
                button(
                    "Edit puncta", "Add puncta with a click, delete chosen ones.", lambda: self.edit("puncta")
                ),
            )
        )
        layout.addWidget(
            row(
                button(
                    "Update measurements",
                    "Measure anew what you corrected; nothing is segmented.",
                    self.update_measurements,
                ),
                button("Discard corrections", "Go back to what was found.", self.discard),
            )
        )
        self.state = QLabel("")
        self.state.setWordWrap(True)
        layout.addWidget(self.state)
        again = QLabel("<b>Better masks next time:</b> train the cell network on what you corrected.")
        again.setWordWrap(True)
        layout.addWidget(again)
        self.training = TrainCells(session, job, use_cells_model)
        layout.addWidget(self.training, 1)
        session.changed.connect(self._on_changed)

    def edit(self, kind: str) -> None:
        """Make a layer active and select its tool."""
        found = self._found()
        layer = found.layers.get(kind) if found is not None else None
        active = self._session.viewer.layers.selection.active
        if kind == PUNCTA and found is not None and active in _puncta_layers(found):
            layer = active  # of the label that the user has chosen
        if layer is None or layer not in self._session.viewer.layers:
            show_error(f"There is no layer of {kind} to correct: run an analysis first")
            return
        layer.visible = True
        self._session.viewer.layers.selection.active = layer
        if kind == PUNCTA:
            layer.mode = "add"
        else:
            layer.mode = "paint"
            layer.selected_label = int(layer.data.max()) + 1

    def update_measurements(self) -> None:
        """Take over what was corrected, save it, and measure again."""
        found = self._found()
        if found is None:
            show_error("There is nothing to measure yet: run an analysis first")
            return
        try:
            edits = corrections(found)
            self._keep(found, edits)
        except InputError as error:
            show_error(str(error))
            return
        for layer in found.layers.values():
            layer.mode = "pan_zoom"
        found.edits = edits
        self._measure(found)

    def discard(self) -> None:
        """Go back to what the networks found."""
        found = self._found()
        if found is None:
            return
        found.edits = Edits()
        try:
            self._keep(found, found.edits)
        except InputError as error:
            show_error(str(error))
        self._measure(found)

    def _keep(self, found: Found, edits: Edits) -> None:
        if found.folder is not None and (edits.any or (found.folder / "edits").exists()):
            save_edits(found.folder, found.name, edits, found.analysis.field.pixel_size_um)

    def _found(self) -> Found | None:
        return self._session.current

    def _on_changed(self, found: Found) -> None:
        said = "; ".join(found.edits.notes) or "Nothing is corrected."
        if found.edits.any:
            where = (
                f"Kept in {found.folder / 'edits'}."
                if found.folder
                else "Not on disk: choose a results folder."
            )
            said += f". {where} A new run keeps them."
            if found.folder is not None and (found.folder / "images.csv").is_file():
                said += " Analyse the folder again to have them in its tables."
        self.state.setText(f"{found.name}: {said}")


def _puncta_layers(found: Found) -> list[Any]:
    """Return the layers of puncta of a result, one an exosome label."""
    return [layer for kind, layer in found.layers.items() if kind.partition(" ")[0] == PUNCTA]


def corrections(found: Found) -> Edits:
    """Compare a result's layers with its analysis; what differs is a correction.

    Raises
    ------
    InputError
        If a layer was removed or has another size.
    """
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
            edits = replace(edits, cells=labels) if kind == "cells" else replace(edits, nuclei=labels)
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
        threshold = threshold_for(own, analysis.settings, label)
        found_at = positions(select(own, analysis.settings, threshold))
    else:  # read back from a folder: its puncta hold those that were added before
        found_at = positions(puncta)
        found_at = found_at[~near(found_at, analysis.edits.of(label, number)[0])]
    added, removed = puncta_edits(found_at, now, edits.of(label, number)[1])
    return edits.with_puncta(label, number, added, removed)
