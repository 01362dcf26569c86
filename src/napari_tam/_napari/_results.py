"""The bar below the tabs: what the shown image's cells are coloured by, its table, its folder."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel, QMainWindow, QTableView, QVBoxLayout, QWidget

from napari_tam._napari._controls import Combo, PathEdit, button, row
from napari_tam._napari._layers import FIRST
from napari_tam._napari._pictures import ask_and_save, save_view
from napari_tam._napari._session import TAUGHT
from napari_tam._napari._table import below_the_image, fit_headers
from napari_tam.columns import label_of
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session

#: First entry of the second list of the plot: the distribution of the first.
BY_GROUP = "by phenotype"

#: Another one, of movies: the curves of the tracks.
OVER_TIME = "over time"

#: Entries of lists that are words already, and no columns.
OWN_WORDS = (BY_GROUP, OVER_TIME, TAUGHT)

#: Width of outlines in pixels of the image.
OUTLINE_PX = 2

#: Columns that say nothing about a cell.
_KEYS = ("image", "label", "frame", "index")


def shown_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns to colour or plot by: those with a value, the most asked-for first."""
    some = table.notna().any()
    names = [name for name in table.columns if name not in _KEYS and some[name]]
    return [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]


def fill(combo: Combo, names: list[str], wanted: str, *, columns: bool = True) -> None:
    """Offer other columns in words, or other names as they are; keep what is chosen if it is still there."""
    if names == [combo.itemData(at) for at in range(combo.count())] and wanted == chosen(combo):
        return
    combo.blockSignals(True)
    combo.clear()
    for at, name in enumerate(names):
        own = not columns or name in OWN_WORDS
        combo.addItem(name if own else label_of(name), name)
        if not own:
            combo.setItemData(at, f"column {name}", Qt.ItemDataRole.ToolTipRole)
    choose(combo, wanted if wanted in names else (names[0] if names else ""))
    combo.blockSignals(False)


def choose(combo: Combo, name: str) -> None:
    """Choose a column in a list that `fill` filled."""
    combo.setCurrentIndex(combo.findData(name))


def chosen(combo: Combo) -> str:
    """Return the column that is chosen in a list that `fill` filled; empty: none."""
    return str(combo.currentData() or "")


class ResultsBar(QWidget):
    """Colour, legend, table, saving."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._table: Any = None
        self.image = QLabel("")
        self.image.setWordWrap(True)
        self.column = Combo()
        self.column.setToolTip("What the cells' colours stand for.")
        self.column.activated.connect(lambda _: self.colour_by(chosen(self.column)))
        self.legend = QLabel("")
        self.legend.setWordWrap(True)
        self.folder = PathEdit("Results folder", hint="results folder")
        self.folder.setToolTip("Where corrections are kept and results are saved.")
        self.folder.changed.connect(self._on_folder)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 0, 4, 4)
        layout.addWidget(self.image)
        table = button(
            "Table",
            "Show the table of the cells; its rows and the cells follow one another.",
            self.open_table,
        )
        layout.addWidget(row(QLabel("colour cells by"), self.column, table))
        layout.addWidget(self.legend)
        save = button(
            "Save results", "Write tables, masks and picture as 'napari-tam analyse' does.", self.save
        )
        self.outlines = QCheckBox("outlines only")
        self.outlines.setToolTip("Show cells and nuclei as outlines, else filled.")
        self.outlines.toggled.connect(self._draw_outlines)
        view = button("Save view …", "Save what the viewer shows as PNG, with a scale bar.", self.save_view)
        layout.addWidget(row(self.outlines, view))
        layout.addWidget(row(self.folder, save))
        session.changed.connect(self._on_changed)
        session.selected.connect(self._on_selected)
        self.setVisible(False)

    def colour_by(self, column: str) -> None:
        """Colour the cells of the current image."""
        if self._session.current is not None:
            choose(self.column, column)
            self._session.colour(self._session.current, column)
            self._explain(self._session.current)

    def save_view(self) -> None:
        """Ask for a file, and write what the viewer shows, with a scale bar."""
        viewer, found = self._session.viewer, self._session.current
        name = "view.png" if found is None else f"{found.name}_view.png"
        ask_and_save(self, "Save the view", name, "Picture (*.png)", partial(save_view, viewer))

    def _draw_outlines(self, _: bool = False) -> None:
        """Show the masks of all images as outlines or filled, as the switch says."""
        for found in self._session.found.values():
            for kind in ("cells", "nuclei"):
                layer, width = found.layers.get(kind), OUTLINE_PX if self.outlines.isChecked() else 0
                if layer is not None and layer.contour != width:  # else it would be drawn anew for nothing
                    layer.contour = width

    def open_table(self) -> None:
        """Open napari's features table on the cells."""
        session, found = self._session, self._session.current
        if found is not None:
            # of a movie the table over time
            layer = found.layers.get("tracks", found.layers.get("cells"))
            if layer in session.viewer.layers:
                session.viewer.layers.selection.active = layer
        try:
            dock, widget = session.viewer.window.add_plugin_dock_widget("napari", "Features table widget")
        except (KeyError, ValueError):
            show_info("The table is in the menu Layers → Metadata → Features table widget")
            return
        if widget is not self._table:
            self._table = widget
            self.narrow_tables()
            if isinstance(window := dock.window(), QMainWindow):
                below_the_image(window, dock)
            widget.table.selectionModel().selectionChanged.connect(self._on_rows)

    def narrow_tables(self) -> None:
        """Let napari's features tables be as wide as their headers.

        They look at every value to find their columns' widths, again with every change of a layer: for 2,000
        cells that freezes the window for many seconds.
        """
        window: Any = self.window()
        views: list[Any] = window.findChildren(QTableView)
        for view in views:
            if type(view).__name__ == "PandasView":
                view.resizeColumnsToContents = partial(fit_headers, view)
                fit_headers(view)

    def save(self) -> None:
        """Write the results folder of the current image."""
        found = self._session.current
        if found is None:
            return
        try:
            folder = found.folder
            if folder is None:
                raise InputError("no results folder is chosen", fix="Choose one beside 'Save results'")
            save_results(found, folder, self._session)
            show_info(f"Saved: {folder}")
        except InputError as error:
            show_error(str(error))

    def _on_rows(self, *_: Any) -> None:
        """Highlight the cells of all selected rows (napari itself follows the last one)."""
        session = self._session
        chosen = list(session.viewer.layers.selection)
        found = session.at_layer(chosen[0]) if len(chosen) == 1 else None
        if found is None or chosen[0] not in (found.layers.get("cells"), found.layers.get("tracks")):
            return
        model = self._table.table.model()
        rows = {model.mapToSource(at).row() for at in self._table.table.selectionModel().selectedIndexes()}
        if chosen[0] == found.layers.get("tracks"):
            tracks = chosen[0].features["track"].to_numpy(int)
            session.select(found, {int(tracks[at]) for at in rows})
            return
        if len(rows) > 1:  # a single one: napari has chosen its label; or the table follows the layer
            session.select(found, rows)

    def _on_folder(self, _: str) -> None:
        if self._session.current is not None:
            self._session.current.folder = self.folder.value

    def _on_changed(self, found: Found) -> None:
        self.setVisible(True)
        self._draw_outlines()
        names = shown_columns(found.analysis.table)
        fill(self.column, names if found.column in names else [found.column, *names], found.column)
        self.folder.line.setText("" if found.folder is None else str(found.folder))
        self._on_selected(found)
        self._explain(found)

    def _on_selected(self, found: Found) -> None:
        what = ""
        if len(found.selected) == 1:
            what = f" · {escape(_in_short(found, *found.selected))}"
            self._scroll()
        elif found.selected:
            what = f" · {len(found.selected)} selected"
        count = len(found.analysis.table)
        cells = f"{count} cells" if "first_frame" not in found.analysis.table else f"{count} tracks"
        self.image.setText(f"<b>{escape(found.name)}</b>: {cells}{what}")

    def _scroll(self) -> None:
        """Bring the chosen row of the table into sight."""
        if self._table is None or not isalive(self._table):
            return
        rows = self._table.table.selectionModel().selectedRows()
        if rows:
            self._table.table.scrollTo(rows[0])

    def _explain(self, found: Found) -> None:
        squares = (f"<span style='color:{c}'>■</span>&nbsp;{escape(t)}" for t, c in found.legend)
        self.legend.setText(" &nbsp; ".join(squares))


def _in_short(found: Found, label: int) -> str:
    """Return the most important values of a cell."""
    table = found.analysis.table
    row = table[table["label"] == label]
    if row.empty:
        return f"cell {label}, not measured yet"
    [(_, cell)] = row.iterrows()
    if "first_frame" in cell:  # a track: what its row holds are means over the frames
        half = f", half-time {cell['half_time_h']:.2g} h" if cell["half_time_h"] > 0 else ""
        mean = f"{cell['puncta_count']:.1f} puncta on average"
        return f"track {label}: {cell['frames']:.0f} frames, {mean}{half}"
    kind = f"{cell['phenotype']}, " if "phenotype" in table else ""
    size = f"{cell['volume_um3']:.0f} µm³" if "volume_um3" in table else f"{cell['area_um2']:.0f} µm²"
    return f"cell {label}: {kind}{cell['puncta_count']:.0f} puncta, {size}"


def save_results(found: Found, folder: Path, session: Session) -> None:
    """Write a results folder with one image, and its corrections.

    Raises
    ------
    InputError
        If it cannot be written, or holds results of other images.
    """
    from napari_tam._napari._whole._movie import FoundMovie
    from napari_tam._napari._whole._save import save_movie
    from napari_tam.results.edits import save_edits
    from napari_tam.results.field_store import Stamp
    from napari_tam.results.folder import read_results
    from napari_tam.results.record import Record, image_row

    if isinstance(found, FoundMovie):
        save_movie(found, folder, session)
        return
    if not found.analysis.field.channels:
        raise InputError("only the results are open, and nothing new can be saved", where=found.name)
    if (folder / "images.csv").exists():
        others = sorted(set(read_results(folder).images["image"]) - {found.name})
        if others:
            raise InputError(
                f"the folder holds results of other images ({others[0]} …)",
                where=folder,
                fix="Choose another folder for this image; or analyse the folder of images again: it keeps "
                "what you corrected",
            )
    analysis = found.analysis
    record = Record(folder, analysis.settings, session.models(analysis.settings), {}, ["napari"])
    row = image_row(analysis, sum(analysis.seconds.values()))
    row = record.parts.write(analysis, row, Stamp(None, ""), pictures=analysis.settings.overlays)
    record.add(row, analysis.seconds)
    record.save("complete")
    save_edits(folder, found.name, found.edits, analysis.field.pixel_size_um)
    found.kept = found.edits
