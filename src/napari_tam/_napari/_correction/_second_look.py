"""Clicks at places where a cell was missed: the network looks there again, in the background, in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from psygnal import Signal

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam._napari._found import Found
    from napari_tam._napari._job import Job
    from napari_tam._napari._session import Session


class SecondLook:
    """Looks at one place after another.

    Parameters
    ----------
    session
        The viewer's results.
    job
        Runs the network.
    then
        Gets the result, and box and mask of what was seen.
    """

    #: A sentence for the user.
    said = Signal(str)

    def __init__(self, session: Session, job: Job, then: Callable[[Found, Any, Any], None]) -> None:
        self._session, self._job, self._then = session, job, then
        self._clicks: list[tuple[str, Any]] = []
        job.busy.connect(self._next)

    def at(self, found: Found, place: Any) -> None:
        """Look at a place, y and x in pixels of the image, once those before it are done."""
        self._clicks.append((found.name, place))
        self._next()

    def _next(self, busy: bool = False) -> None:
        while not busy and self._clicks and self._job.idle:
            name, at = self._clicks.pop(0)
            found = self._session.found.get(name)
            layer = None if found is None else found.layers.get("cells")
            if found is not None and layer is not None:
                self._look(found, layer, at)

    def _look(self, found: Found, layer: Any, at: Any) -> None:
        from napari_tam._napari._analyse import look_at

        height, width = layer.data.shape
        y, x = (round(float(value)) for value in at)
        try:
            if not (0 <= y < height and 0 <= x < width):
                raise InputError("this is outside of the image")
            if layer.data[y, x]:
                raise InputError("there is a cell already", fix="Split, grow or paint it")
        except InputError as error:
            self._refuse(error)
            return
        self.said.emit("Looking …")
        session, known = self._session, layer.data.copy()
        self._job.start(
            lambda: look_at(session, found, known, (y, x)),
            partial(self._on_looked, found.name),
            title="Looking for a cell",
        )

    def _on_looked(self, name: str, seen: tuple[Any]) -> None:
        found = self._session.found.get(name)  # it may have been measured anew meanwhile
        if found is None or "cells" not in found.layers:
            return
        if seen[0] is None:
            self._refuse(InputError("nothing was found there", fix="Add the cell by a lasso, or paint it"))
        else:
            self._then(found, *seen[0])

    def _refuse(self, error: InputError) -> None:
        self.said.emit(str(error))
        show_error(str(error))
