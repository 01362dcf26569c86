"""Live gates: cells by their markers, the gates as lines to drag; the cells in the viewer follow at once."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_tam._napari._column_colours import colour_column
from napari_tam._napari._controls import Combo, button, row
from napari_tam._napari._layers import label_features
from napari_tam._napari._results import chosen, fill
from napari_tam._napari._tabs._gate_plot import GatePlot
from napari_tam.columns import LAYOUT_COLUMNS, TYPE_COLUMNS, label_of, positive_column
from napari_tam.errors import InputError
from napari_tam.markers.names import marker_role, markers_in

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session
    from napari_tam._napari._tabs._form import Entry
    from napari_tam.settings import Settings

#: First entry of the second list: the distribution of one marker.
ALONE = "its histogram"

_EMPTY = "Tick markers among the channels and run an analysis; then their gates can be dragged here."


class GatesTab(QWidget):
    """Gates of the current image's markers.

    Parameters
    ----------
    session
        The viewer's results.
    settings
        Returns the settings of the form: rules of types and phenotypes, and what is compared with a gate.
    entry
        The setting `gates` in the form, which a dragged line changes.
    """

    def __init__(self, session: Session, settings: Callable[[], Settings], entry: Entry) -> None:
        super().__init__()
        self._session, self._settings, self._entry = session, settings, entry
        self._marking = False
        #: Where each marker's gate lies, by image.
        self.gates: dict[str, dict[str, float]] = {}
        self.marker, self.against, self.shown = Combo(), Combo(), Combo()
        self.shown.setToolTip("What the cells' colours stand for, here and in the viewer.")
        for combo in (self.marker, self.against, self.shown):
            combo.activated.connect(lambda _: self.draw())
        self.plot = GatePlot()
        self.plot.setToolTip(
            "<qt>Drag a line: cells beyond it are positive, and change their colour at once.</qt>"
        )
        self.plot.moved.connect(self._on_moved)
        self.plot.dropped.connect(self._on_dropped)
        self.text = QLabel(_EMPTY)
        self.text.setWordWrap(True)
        keep = button(
            "Save gates",
            "Write the gates to the results folder and decide anew which of all its cells are positive.",
            self.save,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(row(QLabel("gate"), self.marker, QLabel("against"), self.against))
        layout.addWidget(row(QLabel("colour by"), self.shown, keep))
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.text)
        session.changed.connect(self._on_changed)
        self.setEnabled(False)

    def draw(self) -> None:
        """Draw the chosen markers of the current image, and colour its cells."""
        found = self._session.current
        if found is None or not chosen(self.marker):
            self.plot.clear()
            return
        table, readout = found.analysis.table, self._settings().marker_readout
        names = (chosen(self.marker), chosen(self.against))
        light = [
            table[f"{marker_role(name)}_{readout}"].to_numpy(np.float64) if name != ALONE else None
            for name in names
        ]
        gates = self.gates.get(found.name, {})
        column = chosen(self.shown)
        self._session.colour(found, column)
        assert light[0] is not None
        colours = colour_column(table, column).rgba
        both = (gates.get(names[0], np.nan), gates.get(names[1], np.nan))
        self.plot.show_cells(names, light[0], light[1], both, colours)
        self._explain(table, column)

    def set_gate(self, marker: str, value: float) -> None:
        """Put a marker's gate somewhere: the cells follow at once."""
        found = self._session.current
        if found is None:
            return
        self.gates.setdefault(found.name, {})[marker] = value
        try:
            self._mark(found)
        except InputError as error:
            self.text.setText(escape(str(error)))
            return
        self.draw()

    def save(self) -> None:
        """Write the gates to the image's results folder, and conclude from all its images anew."""
        found = self._session.current
        if found is None:
            return
        try:
            self._save(found)
        except InputError as error:
            show_error(str(error))

    def _save(self, found: Found) -> None:
        from napari_tam.batches.conclude import conclude, layout_of, settings_of
        from napari_tam.files import write_text
        from napari_tam.results.lock import locked_results

        folder, gates = found.folder, self.gates.get(found.name, {})
        if folder is None or not (folder / "images.csv").exists():
            raise InputError(
                "there are no results to which the gates belong",
                fix="Press 'Save results' first; it keeps them",
            )
        form = self._settings()
        settings = settings_of(folder).updated(
            gates=gates,
            types=form.types,
            analyse_types=form.analyse_types,
            marker_phenotypes=form.marker_phenotypes,
            marker_readout=form.marker_readout,
        )
        with locked_results(folder):
            conclude(folder, settings, layout_of(folder))
            write_text(folder / "settings.yaml", settings.to_yaml())
        show_info(f"Gates saved: {folder}")

    def _mark(self, found: Found) -> None:
        """Decide about the cells of an image by its gates and the form's rules."""
        import pandas as pd

        from napari_tam.celltypes.marked import mark

        settings = self._settings()
        gates = self.gates.setdefault(found.name, {})
        table = found.analysis.table
        about: dict[str, Any] = {
            column.name: np.nan if column.kind == "number" else "" for column in LAYOUT_COLUMNS
        }
        images = pd.DataFrame({"image": [found.name], "plate": "", "control_role": ""})
        described = table.assign(image=found.name, **about)
        marked = mark(described, images, settings.updated(gates=gates))
        if "gates" in marked.tables:
            known = marked.tables["gates"].set_index("marker")["gate"]
            gates.update({str(name): float(known[name]) for name in known.index[known.notna()]})
        added = {str(name): marked.cells[name].array for name in marked.cells}
        gone = [c.name for c in TYPE_COLUMNS if c.name not in added and c.name in table]
        found.analysis = replace(
            found.analysis,
            table=table.drop(columns=gone).assign(**added),
            settings=found.analysis.settings.updated(gates=gates),
        )

    def _on_moved(self, axis: str, value: float) -> None:
        self.set_gate(chosen(self.marker if axis == "x" else self.against), value)

    def _on_dropped(self) -> None:
        """Take the gates over into the form and the cells' table."""
        found = self._session.current
        if found is None:
            return
        self._entry.value = dict(self.gates.get(found.name, {}))
        layer = found.layers.get("cells")
        if layer is not None and layer in self._session.viewer.layers:
            layer.features = label_features(found.analysis.table)

    def _on_changed(self, found: Found) -> None:
        if self._marking:
            return
        markers = markers_in(found.analysis.table.columns)
        self.setEnabled(bool(markers))
        if not markers:
            fill(self.marker, [], "", columns=False)
            self.plot.clear()
            self.text.setText(_EMPTY)
            return
        form = self._entry.value
        if found.name not in self.gates and isinstance(form, dict):
            self.gates[found.name] = {str(name): float(value) for name, value in form.items()}
        self._marking = True
        try:
            self._mark(found)
        except InputError as error:
            self.text.setText(escape(str(error)))
            return
        finally:
            self._marking = False
        table = found.analysis.table
        fill(self.marker, markers, chosen(self.marker) or markers[0], columns=False)
        fill(self.against, [ALONE, *markers], chosen(self.against) or ALONE, columns=False)
        named = [name for name in ("cell_type", "marker_phenotype") if name in table]
        columns = [*map(positive_column, markers), *named]
        fill(self.shown, columns, chosen(self.shown) or columns[0])
        if self.isVisible():
            self.draw()

    def showEvent(self, event: Any) -> None:
        """Draw what happened while the tab was hidden."""
        super().showEvent(event)
        self.draw()

    def _explain(self, table: pd.DataFrame, column: str) -> None:
        counts = table[column].astype("string").fillna("not known").value_counts()
        named = {"True": "positive", "False": "negative", "": "not known"}
        parts = [
            f"<b>{count}</b> {escape(named.get(str(name), str(name)))}" for name, count in counts.items()
        ]
        self.text.setText(f"{escape(label_of(column))}: {', '.join(parts)} of {len(table)} cells.")
