"""Nobody loses corrections by closing a window: what is on no disk is asked about, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session
    from napari_tam.pipeline.edits import Edits

Answer = Literal["save", "discard", "cancel"]


def ask(parent: QWidget, text: str, *, cancel: bool) -> Answer:
    """Ask what to do with corrections."""
    buttons = QMessageBox.StandardButton
    offered = buttons.Save | buttons.Discard
    if cancel:
        offered |= buttons.Cancel
    box = QMessageBox(QMessageBox.Icon.Question, "napari-tam", text, offered, parent)
    box.setDefaultButton(buttons.Save)
    answers: dict[Any, Answer] = {buttons.Save: "save", buttons.Discard: "discard"}
    return answers.get(buttons(box.exec()), "cancel")


class CloseGuard(QObject):
    """Asks before a window is closed with corrections that no folder has.

    Parameters
    ----------
    parent
        The widget that it belongs to.
    session
        The viewer's results.
    take_over
        Makes what was changed in the layers corrections.
    keep
        Saves the corrections of a result in its folder.
    """

    def __init__(
        self,
        parent: QWidget,
        session: Session,
        take_over: Callable[[], None],
        keep: Callable[[Found, Edits], None],
    ) -> None:
        super().__init__(parent)
        self._session, self._take_over, self._keep = session, take_over, keep
        self._window: Any = lambda: None

    def watch(self, window: QWidget) -> None:
        """Look after a window; again and again does no harm."""
        if self._window() is not window:
            self._window = ref(window)  # the window owns this object, and not the other way round
            window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Ask, and keep the window open if the answer is to cancel, or saving fails."""
        if event.type() != QEvent.Type.Close or watched is not self._window():
            return False
        names = [found.name for found in self._session.found.values() if found.unsaved]
        if not names:
            return False
        which = f"'{names[0]}'" if len(names) == 1 else f"{len(names)} images"
        answer = ask(watched, f"The corrections of {which} are not saved. Save them?", cancel=True)
        if answer == "cancel" or (answer == "save" and not self._save(watched)):
            event.ignore()
            return True
        return False

    def _save(self, window: QWidget) -> bool:
        """Save all corrections; where no folder is known, the user is asked. Whether it worked."""
        self._take_over()
        for found in self._session.found.values():
            if not found.unsaved:
                continue
            if found.folder is None:
                chosen = QFileDialog.getExistingDirectory(window, f"Results folder for {found.name}")
                if not chosen:
                    return False
                found.folder = Path(chosen)
            try:
                self._keep(found, found.edits)
            except InputError as error:
                show_error(str(error))
                return False
        return True
