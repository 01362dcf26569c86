"""Mark puncta, and the threshold follows: buttons, what is learnt, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGroupBox, QLabel, QVBoxLayout

from napari_tam._napari._controls import button, row
from napari_tam._napari._layers import PUNCTA
from napari_tam._napari._marking._files import save_all, write_settings
from napari_tam._napari._marking._learner import Learner
from napari_tam._napari._marking._marks import NOTHING, Marked
from napari_tam._napari._marking._region import corners_of, proposed, view_of
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam._napari._found import Found
    from napari_tam._napari._marking._marks import Marks
    from napari_tam._napari._session import Session
    from napari_tam._napari._tabs._form import SettingsForm
    from napari_tam._napari._tabs._puncta import PunctaPanel

#: The key that begins and ends marking; none of napari's own (a test compares).
KEY = "Shift-M"

#: How long after a change the marks are written to the results folder (ms).
_REST_MS = 1000

_HELP = (
    "Do you count other puncta than the program? Mark those that you would count in a small region, and the "
    "threshold moves to where both agree best."
)

#: What the buttons do.
_TIPS = {
    "mark": "<qt>A region with some 25 puncta is proposed in the middle of the view. Click every punctum in "
    "it that you would count: a click near a candidate takes its place, a second click takes the mark back. "
    "<br>Key Shift+M.</qt>",
    "view": "What the viewer shows is the region in which all puncta are marked.",
    "draw": "<qt>Draw a rectangle in which all puncta are marked; there may be several.</qt>",
    "hide": "Judge by the image alone, without the rings of the puncta that were found.",
    "undo": "Take back the last click or region. Key Ctrl+Z, while the marks are chosen.",
    "clear": "Take back all marks and regions of this image; Undo has them back.",
    "save": "<qt>Write marks, regions and images into a folder that 'napari-tam train puncta' reads.</qt>",
    "write": "<qt>Write score and threshold into the settings file (YAML) of a batch. A new file gets all "
    "settings of the form.</qt>",
}


class MarksPanel(QGroupBox):
    """Marks of the images of a session, and the threshold that they tell.

    Parameters
    ----------
    session
        The viewer's results.
    form
        The settings, which what is learnt goes into.
    puncta
        Says which image and exosome label is looked at, and which threshold it has.
    """

    def __init__(self, session: Session, form: SettingsForm, puncta: PunctaPanel) -> None:
        super().__init__("The threshold by your own marks")
        self._session, self._form, self._puncta = session, form, puncta
        self.learner = Learner(session, form, puncta)
        self.mark = button("Mark puncta  [Shift+M]", _TIPS["mark"], self.toggle)
        self.mark.setCheckable(True)
        self.view = button("Take the view", _TIPS["view"], self.use_view)
        self.draw = button("Draw one", _TIPS["draw"], self.draw_region)
        self.hide_found = QCheckBox("hide what was found")
        self.hide_found.setToolTip(_TIPS["hide"])
        self.hide_found.toggled.connect(self._on_hide)
        self.undo = button("Undo  [Ctrl+Z]", _TIPS["undo"], self.step_back)
        self.clear = button("Clear all", _TIPS["clear"], self.clear_marks)
        self.save = button("Save marks …", _TIPS["save"], self._ask_where_marks)
        self.write = button("Write to settings …", _TIPS["write"], self._ask_where_settings)
        self.text = QLabel(_HELP)
        self.text.setWordWrap(True)
        for each in (self.mark, self.view, self.draw, self.undo, self.clear):
            each.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # else the image would have no keys after a click
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for part in (
            row(self.mark, self.undo),
            self.text,
            row(QLabel("region"), self.view, self.draw, self.clear),
            self.hide_found,
            row(self.save, self.write),
        ):
            layout.addWidget(part)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self.keep)
        session.viewer.bind_key(KEY, _press(ref(self)), overwrite=True)
        session.viewer.layers.selection.events.active.connect(self._refresh)
        self.learner.learned.connect(self._on_learned)
        self.learner.held.connect(self._refresh)
        puncta.shown.connect(self._refresh)
        self._refresh()

    @property
    def marking(self) -> bool:
        """Whether clicks mark puncta of the image that is looked at."""
        marks = self.learner.here()
        return marks is not None and marks.marking

    def toggle(self) -> None:
        """Begin to mark the image that is looked at, or end it."""
        marks = self.learner.here()
        if marks is not None and marks.marking:
            marks.stop()
        else:
            self._with_marks(self._begin)
        self._refresh()

    def use_view(self) -> None:
        """Make what the viewer shows the region, in the place of those that there are."""

        def use(found: Found, marks: Marks) -> None:
            marks.set(Marked(marks.now.points, (corners_of(_view(found)),)))
            marks.begin()

        self._with_marks(use)

    def draw_region(self) -> None:
        """Let a rectangle be drawn; it is a region besides those that there are."""
        self._with_marks(lambda _, marks: marks.draw())

    def step_back(self) -> None:
        """Take the last change of the image back."""
        marks = self.learner.here()
        if marks is not None:
            marks.step(undoing=True)

    def clear_marks(self) -> None:
        """Take back all marks of the image."""
        marks = self.learner.here()
        if marks is not None:
            marks.set(NOTHING)

    def save_marks(self, folder: Path) -> int:
        """Write all marks with their images; return of how many images. Raises InputError."""
        return save_all(folder, self.learner.marked())

    def write_settings(self, path: Path) -> None:
        """Write score and threshold into a settings file. Raises InputError."""
        write_settings(path, self._form.settings())

    def keep(self) -> None:
        """Write the marks to the results folders, where these are known."""
        self._rest.stop()
        _or_tell(self.learner.keep)

    def let_go(self) -> None:
        """Keep what is marked, and stop: the dock is closed."""
        self.keep()
        self.learner.stop()
        self._session.viewer.bind_key(KEY, None, overwrite=True)

    def _ask_where_marks(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder for marks and their images")
        number = _or_tell(self.save_marks, Path(path)) if path else None
        if number is not None:
            show_info(f"Marks of {number} image{'' if number == 1 else 's'} are in {path}.")

    def _ask_where_settings(self) -> None:
        asked = "Settings file", "settings.yaml", "Settings (*.yaml *.yml)"
        option = QFileDialog.Option.DontConfirmOverwrite  # all else in the file stays
        path, _ = QFileDialog.getSaveFileName(self, *asked, options=option)
        if path:
            _or_tell(self.write_settings, Path(path))

    def _begin(self, found: Found, marks: Marks) -> None:
        if not marks.now.regions:
            layer = found.layers.get(self._puncta.layer_key)
            puncta = np.zeros((0, 2)) if layer is None else np.array(layer.data, float)[:, -2:]
            marks.set(Marked(marks.now.points, (corners_of(proposed(_view(found), puncta)),)))
        marks.begin()

    def _with_marks(self, do: Callable[[Found, Marks], None]) -> None:
        """Do something with the marks of the image that is looked at, or say why there can be none."""
        try:
            do(*self.learner.begin())
        except InputError as error:
            show_error(str(error))

    def _on_learned(self, text: str) -> None:
        if any(found.folder is None for found, _, _ in self.learner.marked()):
            text += "<br>Not on disk yet: choose a results folder, or save the marks."
        self.text.setText(text)
        self._rest.start()
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        """Offer what can be done."""
        marks, some = self.learner.here(), any(True for _ in self.learner.marked())
        self.setEnabled(self._puncta.image is not None)
        self.mark.setChecked(self.marking)
        self.undo.setEnabled(marks is not None and marks.can_undo)
        self.clear.setEnabled(marks is not None and not marks.now.same(NOTHING))
        self.save.setEnabled(some)
        self.write.setEnabled(self.learner.learnt is not None and self.learner.learnt.choice is not None)

    def _on_hide(self, hidden: bool) -> None:
        for found in self._session.found.values():
            for kind, layer in found.layers.items():
                if kind.partition(" ")[0] == PUNCTA and layer in self._session.viewer.layers:
                    layer.visible = not hidden


def _view(found: Found) -> Any:
    return view_of(found.layers.get("cells"), found.analysis.cells.shape)


def _or_tell(action: Callable[..., Any], *given: Any) -> Any:
    """Do something with files; an error is told, and None returned."""
    try:
        return action(*given)
    except (InputError, OSError) as error:
        show_error(str(error))
        return None


def _press(known: ref[MarksPanel]) -> Callable[[Any], None]:
    """Return what the key does: a function with a name, as napari wants it, that keeps no panel alive."""

    def press(_: Any) -> None:
        panel = known()
        if panel is not None:
            panel.toggle()

    return press
