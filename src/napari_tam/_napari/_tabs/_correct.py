"""The correct tab: actions with buttons and keys beside napari's own tools; what changed is measured."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_tam._napari._analyse import measured_at_once
from napari_tam._napari._controls import button, column, row
from napari_tam._napari._correction._actions import ACTIONS, MASKS, REDO, UNDO
from napari_tam._napari._correction._corrections import corrections
from napari_tam._napari._correction._editor import Editor
from napari_tam._napari._correction._unsaved import CloseGuard, ask
from napari_tam._napari._job import Job
from napari_tam._napari._layers import PUNCTA
from napari_tam._napari._tabs._train_cells import TrainCells
from napari_tam.errors import InputError
from napari_tam.pipeline.edits import Edits
from napari_tam.results.edits import save_edits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session

#: How long after the last correction the measurements follow (ms): where a few cells are measured, and where
#: a run in the background is needed.
BRIEF_REST_MS, REST_MS = 50, 1000

#: How long after the last correction it is saved (ms): the larger the image, the longer that takes.
SAVE_MS = 1000

_HELP = {
    "cells": "Click a cell, more with Shift and a click; then a button, or its key. napari's brush, bucket "
    "and eraser work as well.",
    "nuclei": "Take a nucleus with napari's picker (key 5); then a button, or its key. Brush, bucket and "
    "eraser work as well.",
    "puncta": "Add puncta with a click; choose some with the arrow (key 3) and delete them.",
}


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
        self._session, self._measure, self._job = session, measure, job
        self.looking = Job()
        self.editor = Editor(session, self.looking)
        self._shown: Found | None = None
        self._asked: set[str] = set()
        self._help, self.doubtful, self.state = QLabel(), QLabel(), QLabel()
        self.buttons: dict[str, QPushButton] = {}
        self._of_masks, self._of_puncta = self._actions(MASKS), self._actions(("puncta",))
        self.by_itself = QCheckBox("measure by itself")
        self.by_itself.setToolTip("Measure what changed right after every correction.")
        self.by_itself.setChecked(True)
        again = QLabel("<b>Better masks next time:</b> train the cell network on what you corrected.")
        for label in (self._help, self.doubtful, self.state, again):
            label.setWordWrap(True)
        self.training = TrainCells(session, job, use_cells_model)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        kinds = (
            button(
                "Edit cells",
                "Correct the masks of the cells; begins with the brush.",
                partial(self.edit, "cells"),
            ),
            button("Edit nuclei", "The same for the nuclei.", partial(self.edit, "nuclei")),
            button("Edit puncta", "Add puncta with a click, delete some.", partial(self.edit, "puncta")),
        )
        steps = (
            self._button(
                "Undo", UNDO, "Take back the last change of the chosen layer, as a whole.", self.editor.undo
            ),
            self._button("Redo", REDO, "Do again what was taken back.", self.editor.redo),
        )
        update = button(
            "Update measurements",
            "Measure anew what you corrected; nothing is segmented.",
            self.update_measurements,
        )
        discard = button("Discard corrections", "Go back to what was found.", self.discard)
        parts = (self._of_masks, self.doubtful, self._of_puncta, row(*steps))
        self._tools = (row(*kinds), *parts, self.by_itself, row(update, discard))
        layout.addWidget(column(self._help, *self._tools, self.state, again, self.training))
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self._on_rest)
        self._saving = QTimer(self)
        self._saving.setSingleShot(True)
        self._saving.setInterval(SAVE_MS)
        self._saving.timeout.connect(self._save)
        self.guard = CloseGuard(self, session, self.take_over_changed, self._keep)
        self._show_kind("cells")
        session.changed.connect(self._on_changed)
        session.edited.connect(self._on_edited)
        session.selected.connect(self._count_doubtful)
        session.viewer.layers.selection.events.active.connect(self._on_active)
        self.editor.said.connect(self._say)
        self.editor.pen.held.connect(self._on_pen)

    def edit(self, kind: str) -> None:
        """Make a layer active and select its tool."""
        found = self._session.current
        if found is not None and found.fixed:
            show_error(found.fixed)
            return
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
        self._show_kind(kind)

    @property
    def resting(self) -> bool:
        """Whether corrections wait to be measured."""
        return self._rest.isActive()

    def update_measurements(self) -> None:
        """Take over what was corrected, save it, and measure again."""
        found = self._session.current
        if found is None or found.fixed:
            show_error(found.fixed if found else "There is nothing to measure yet: run an analysis first")
            return
        if self.take_over(found):
            for layer in found.layers.values():
                layer.mode = "pan_zoom"
            self._measure(found)

    def take_over(self, found: Found, *, save: bool = True) -> bool:
        """Make what was changed in the layers the corrections of a result, and save them, now or soon."""
        self._rest.stop()
        try:
            edits = corrections(found)
            if save:
                self._keep(found, edits)
        except InputError as error:
            show_error(str(error))
            return False
        found.edits = edits
        found.dirty.clear()
        if not save:
            self._saving.start()
        return True

    def take_over_changed(self) -> None:
        """Do so for all images that were corrected since they were measured."""
        for found in list(self._session.found.values()):
            if found.dirty:
                self.take_over(found)

    def discard(self) -> None:
        """Go back to what the networks found."""
        found = self._session.current
        if found is None or found.fixed:
            return
        self._rest.stop()
        found.edits = Edits()
        found.dirty.clear()
        try:
            self._keep(found, found.edits)
        except InputError as error:
            show_error(str(error))
        self._measure(found)

    def let_go(self) -> None:
        """Save what was corrected where a folder is known, and stop: the dock is closed."""
        self.take_over_changed()
        self._save()
        self.editor.pen.put_down()
        self.looking.abandon()

    def _actions(self, kinds: tuple[str, ...]) -> QWidget:
        """Return the buttons of the actions for some kinds of layers, two in a row."""
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        mine = [action for action in ACTIONS if set(action.kinds) & set(kinds)]
        for place, each in enumerate(mine):
            made = self._button(each.title, each.key, each.tip, partial(self.editor.do, each.name))
            self.buttons[each.name] = made
            grid.addWidget(made, place // 2, place % 2)
        return box

    def _button(self, title: str, key: str, tip: str, do: Callable[[], Any]) -> QPushButton:
        shown = key.replace("Control", "Ctrl").replace("-", "+")
        made = button(f"{title}  [{shown}]", f"{tip} Key {shown}, while the layer is chosen.", do)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # else the image would have no keys after a click on it
        return made

    def _save(self) -> None:
        """Save the corrections that were taken over and belong in a folder."""
        self._saving.stop()
        try:
            for found in self._session.found.values():
                if found.edits is not found.kept and not found.fixed:
                    self._keep(found, found.edits)
        except InputError as error:
            show_error(str(error))

    def _keep(self, found: Found, edits: Edits) -> None:
        if found.folder is not None and (edits.any or (found.folder / "edits").exists()):
            save_edits(found.folder, found.name, edits, found.analysis.field.pixel_size_um)
            found.kept = edits

    def _on_edited(self, found: Found, _: str) -> None:
        self._asked.discard(found.name)
        if (window := self.window()) is not None:
            self.guard.watch(window)
        self._count_doubtful(found)
        if self.by_itself.isChecked():
            self._rest.start(BRIEF_REST_MS if measured_at_once(self._session, found) else REST_MS)

    def _on_rest(self) -> None:
        """Measure what was corrected, as soon as nothing else is running."""
        changed = [found for found in self._session.found.values() if found.dirty]
        if not changed:
            return
        if not self._job.idle or self._session.showing:
            self._rest.start(REST_MS)
            return
        found = changed[0]
        if self.take_over(found, save=False) and found.analysis.field.channels:
            self._measure(found)
        if len(changed) > 1:
            self._rest.start(BRIEF_REST_MS)

    def _leave(self, found: Found) -> None:
        """Take over what was corrected in an image that is left; ask once if nothing is done by itself."""
        if not found.dirty:
            return
        if self.by_itself.isChecked():
            self._rest.start(0)
        elif found.name not in self._asked:
            self._asked.add(found.name)
            text = f"'{found.name}' was corrected. Save the corrections, and measure them?"
            if ask(self, text, cancel=False) == "save" and self.take_over(found):
                self._measure(found)

    def _on_active(self, event: Any) -> None:
        found = self._session.at_layer(event.value) if event.value is not None else None
        if found is not None:
            kind = next(kind for kind, layer in found.layers.items() if layer == event.value)
            if kind in _HELP:
                self._show_kind(kind)

    def _show_kind(self, kind: str) -> None:
        """Show the buttons for a kind of layer; or why there is nothing to correct."""
        found = self._session.current
        fixed = "" if found is None else found.fixed
        self._help.setText(f"<b>Not here:</b> {fixed}." if fixed else _HELP[kind])
        for part in self._tools:
            part.setEnabled(not fixed)
        self._of_masks.setVisible(kind != "puncta")
        self._of_puncta.setVisible(kind == "puncta")
        self.doubtful.setVisible(kind == "cells")
        for action in ACTIONS:
            if "puncta" not in action.kinds:
                self.buttons[action.name].setEnabled(kind in action.kinds)

    def _on_pen(self, name: str) -> None:
        for action, made in self.buttons.items():
            made.setDown(action == name)

    def _count_doubtful(self, found: Found) -> None:
        order = found.review.order
        done = len(found.review.looked_at(found.changed_cells())) if order else 0
        self.doubtful.setText(
            f"{done} of {len(order)} doubtful cells looked at" if order else "No cell is doubtful."
        )

    def _say(self, text: str) -> None:
        self.state.setText(text)
        if self._session.current is not None:
            self._count_doubtful(self._session.current)

    def _on_changed(self, found: Found) -> None:
        left, self._shown = self._shown, found
        if left is not None and left.name != found.name:
            self._leave(self._session.found.get(left.name, left))
        self._show_kind("cells")
        self._count_doubtful(found)
        if found.fixed:
            self.state.setText("")
            return
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
