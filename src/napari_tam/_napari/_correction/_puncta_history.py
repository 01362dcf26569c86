"""Undo and redo for puncta: napari has them for masks only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session

#: So many changes can be taken back.
_DEEP = 100


class PunctaHistory:
    """Where the puncta of each image were before every change by the user."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of: dict[str, tuple[list[Any], list[Any]]] = {}
        session.edited.connect(self._on_edited)

    def step(self, found: Found, *, undoing: bool) -> None:
        """Take the last change back, or do again what was taken back."""
        layer = found.layers["puncta"]
        before, after = self._of.setdefault(found.name, ([], []))
        source, target = (before, after) if undoing else (after, before)
        if not source:
            return
        target.append(np.array(layer.data))
        with self._session.quietly():
            layer.selected_data = set()
            layer.data = source.pop()
        found.puncta_now = np.array(layer.data)
        self._session.edited_layer(found, "puncta")

    def _on_edited(self, found: Found, kind: str) -> None:
        layer = found.layers.get("puncta")
        if kind != "puncta" or layer is None:
            return
        now, was = np.array(layer.data), found.puncta_now
        if was is not None and not np.array_equal(now, was):
            before, after = self._of.setdefault(found.name, ([], []))
            before.append(was)
            del before[:-_DEEP]
            after.clear()
        found.puncta_now = now
