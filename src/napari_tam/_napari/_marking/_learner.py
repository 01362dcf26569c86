"""The marks of all images of a session, and the threshold that follows them into the form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_tam._napari._marking._files import LEARNT, keep, kept
from napari_tam._napari._marking._marks import NOTHING, Marks
from napari_tam.errors import InputError
from napari_tam.markers.labels import rows_of
from napari_tam.puncta.selection import KEPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._marking._learnt import Learnt
    from napari_tam._napari._marking._marks import Marked
    from napari_tam._napari._session import Session
    from napari_tam._napari._tabs._form import SettingsForm
    from napari_tam._napari._tabs._puncta import PunctaPanel
    from napari_tam.settings import Settings


class Learner:
    """Learns from marks, and sets the form.

    Parameters
    ----------
    session
        The viewer's results.
    form
        The settings.
    puncta
        Says which image and exosome label is looked at, and which threshold it has.
    """

    #: Emitted with what is to be said, after the user has changed marks.
    learned = Signal(str)
    #: Emitted when the user takes another tool.
    held = Signal()

    def __init__(self, session: Session, form: SettingsForm, puncta: PunctaPanel) -> None:
        self._session, self._form, self._puncta = session, form, puncta
        self.learnt: Learnt | None = None
        #: Results folders, images and labels whose marks were read or written.
        self.on_disk: set[tuple[Path | None, str, str]] = set()
        self._marks: dict[tuple[str, str], Marks] = {}
        #: The settings that marks are compared with: those of before the first of them.
        self._base: Settings | None = None
        self._automatic = 1.0
        self._answer: tuple[Any, ...] | None = None
        self._seen: dict[str, Any] = {}
        session.changed.connect(self._on_result)

    def here(self) -> Marks | None:
        """Return the marks of the image that is looked at, if there are any yet."""
        found = self._puncta.image
        return None if found is None else self._marks.get((found.name, self._puncta.label_shown))

    def marked(self) -> Iterator[tuple[Found, str, Marked]]:
        """Return the results with marks or regions, their exosome labels, and what is marked."""
        for (name, label), marks in self._marks.items():
            if name in self._session.found and (len(marks.now.points) or marks.now.regions):
                yield self._session.found[name], label, marks.now

    def stop(self) -> None:
        """Give the mouse back to napari."""
        for marks in self._marks.values():
            marks.stop()

    def begin(self) -> tuple[Found, Marks]:
        """Return the image that is looked at and its marks; at first those of its results folder.

        Raises
        ------
        InputError
            If it has no candidates to compare marks with, or its marks cannot be read.
        """
        from napari_tam._napari._marking import _learnt  # noqa: F401 - loaded now, not with the tenth click

        found, label = self._ready(), self._puncta.label_shown
        name = found.name
        if (name, label) in self._marks:
            return found, self._marks[name, label]
        earlier = kept(found.folder, name, label)
        marks = self._marks[name, label] = Marks(
            self._session.viewer, name, label, found.where, lambda: self._places(name, label)
        )
        if earlier is not None:
            self.on_disk.add((found.folder, name, label))
            marks.set(earlier, undoable=False)
            self.learn()
        marks.changed.connect(self.learn)
        marks.held.connect(self.held.emit)
        return found, marks

    def keep(self) -> None:
        """Write the marks to the results folders, where these are known. Raises InputError."""
        for (name, label), marks in self._marks.items():
            found = self._session.found.get(name)
            if found is None or found.folder is None:
                continue
            known = (found.folder, name, label)
            if known in self.on_disk or not marks.now.same(NOTHING):  # none of another day are taken away
                keep(found.folder, name, label, marks.now)
                self.on_disk.add(known)

    def learn(self) -> None:
        """Let the threshold follow the marks of all images; without enough of them it is as it was."""
        from napari_tam._napari._marking._learnt import compared, learn, sentences

        label = self._puncta.label_shown
        try:
            now = self._form.settings()
        except InputError as error:
            self.learned.emit(str(error))
            return
        if self._base is None or _held(now) != self._answer:  # the user has set it meanwhile
            self._base, self._automatic = now, self._puncta.automatic_value
        base = self._base
        usual = _with_threshold(base, self._automatic, label)
        images = []
        for (name, own), marks in self._marks.items():
            table = self._candidates(name, own) if own == label else None
            if table is not None and len(marks.now.points):
                self._seen[name] = self._session.found[name].analysis.candidates
                images.append(compared(name, table, marks.now, usual, label))
        self.learnt = learn(images, usual, label)
        self._apply(self.learnt.settings(label) if self.learnt.moves else base)
        self.learned.emit(sentences(self.learnt, label))

    def _apply(self, settings: Settings) -> None:
        for name in LEARNT:
            entry, value = self._form.entries[name], getattr(settings, name)
            if entry.value != value:
                entry.value = value
        self._answer = _held(self._form.settings())

    def _ready(self) -> Found:
        found = self._puncta.image
        if found is None:
            raise InputError("there are no candidates yet", fix="Run an analysis, then mark")
        if found.fixed:
            fix = "Choose 'this plane' in the tab Analyse, and Run"
            raise InputError("marks are of one plane", where=found.name, fix=fix)
        if found.analysis.candidates is None:
            fix = "Run once, then mark"
            raise InputError("of opened results only the puncta are known", where=found.name, fix=fix)
        return found

    def _candidates(self, name: str, label: str) -> pd.DataFrame | None:
        found = self._session.found.get(name)
        if found is None or found.analysis.candidates is None:
            return None
        return rows_of(found.analysis.candidates, label)

    def _places(self, name: str, label: str) -> Any:
        """Return (N, 2) what a click snaps to: what may be a punctum with another threshold."""
        table = self._candidates(name, label)
        if table is None:
            return np.zeros((0, 2))
        return table.loc[table["reason"] == KEPT, ["y_px", "x_px"]].to_numpy(float)

    def _on_result(self, found: Found) -> None:
        """Learn again where other candidates were found."""
        table = found.analysis.candidates
        if found.name in self._seen and table is not None and self._seen[found.name] is not table:
            self.learn()


def _held(settings: Settings) -> tuple[Any, ...]:
    """Return what marks set."""
    return tuple(getattr(settings, name) for name in LEARNT)


def _with_threshold(settings: Settings, automatic: float, label: str) -> Settings:
    """Return the settings with the threshold that found itself, where there is one: it is seen, too."""
    if settings.threshold_of(label) is not None or automatic <= 1:
        return settings
    if label:
        return settings.updated(puncta_thresholds={**settings.puncta_thresholds, label: automatic})
    return settings.updated(puncta_threshold=automatic)
