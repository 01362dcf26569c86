"""Corrections in the viewer: what is selected or drawn → one change of a layer, which one undo takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.utils.notifications import show_error
from psygnal import Signal

from napari_tam._napari._correction._actions import MASKS
from napari_tam._napari._correction._drawing import Pen
from napari_tam._napari._correction._keys import bind_keys
from napari_tam._napari._correction._puncta_history import PunctaHistory
from napari_tam._napari._correction._second_look import SecondLook
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam._napari._found import Found
    from napari_tam._napari._job import Job
    from napari_tam._napari._session import Session
    from napari_tam.edit.drawn import Drawn
    from napari_tam.edit.patch import Patch


class Editor:
    """Does the actions of `napari_tam._napari._correction._actions`.

    Parameters
    ----------
    session
        The viewer's results.
    job
        Runs the network that looks again; not the one that measures, which may be busy.
    """

    #: A sentence for the user.
    said = Signal(str)

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._viewer = session.viewer
        self.pen = session.pen = Pen(session.viewer)
        self._puncta = PunctaHistory(session)
        self._second_look = SecondLook(session, job, self._add_seen)
        self._second_look.said.connect(self.said.emit)
        session.tracked.connect(self._on_tracked)
        for found in session.found.values():
            self._on_tracked(found)

    def do(self, name: str) -> None:
        """Do an action; what makes it impossible is told."""
        try:
            getattr(self, name)()
        except InputError as error:
            self._refuse(error)

    def merge(self) -> None:
        """Merge the selected cells."""
        from napari_tam.edit import merge

        found, kind, layer = self._target()
        self._apply(found, kind, merge(layer.data, self._chosen(found, kind)), select=True)

    def merge_by_line(self) -> None:
        """Merge the cells that a line runs over."""
        from napari_tam.edit import merge
        from napari_tam.edit.drawn import labels_under

        self._draw("merge_by_line", "line", lambda data, line: merge(data, labels_under(data, line)))

    def split_by_line(self) -> None:
        """Split cells where a line runs through them."""
        from napari_tam.edit import split_by_line
        from napari_tam.edit.drawn import labels_under

        found, kind, _ = self._target()

        def split(data: Any, line: Drawn) -> Patch:
            present = self._session.found.get(found.name, found)
            only = present.selected & set(labels_under(data, line)) if kind == "cells" else ()
            return split_by_line(data, line, only or None, _highest(present))

        self._draw("split_by_line", "line", split)

    def split_by_nuclei(self) -> None:
        """Split the selected cells between their nuclei."""
        from napari_tam.edit import split_by_nuclei

        found, kind, layer = self._target("cells")
        nuclei = found.layers.get("nuclei")
        if nuclei is None:
            raise InputError("this image has no nuclei", fix="Split the cell by a line")
        patch = split_by_nuclei(layer.data, nuclei.data, self._chosen(found, kind), _highest(found))
        self._apply(found, kind, patch, select=True)

    def delete(self) -> None:
        """Delete the selected cells."""
        from napari_tam.edit import delete

        found, kind, layer = self._target()
        self._apply(found, kind, delete(layer.data, self._chosen(found, kind)), select=True)

    def add_by_lasso(self) -> None:
        """Add a cell inside an outline."""
        from napari_tam.edit import add_outlined

        found, _, _ = self._target()
        self._draw("add_by_lasso", "outline", lambda data, drawn: add_outlined(data, drawn, _highest(found)))

    def keep_inside(self) -> None:
        """Delete all cells outside of an outline."""
        from napari_tam.edit import keep_inside

        self._draw("keep_inside", "outline", keep_inside)

    def grow(self) -> None:
        """Grow the selected cells by one pixel."""
        from napari_tam.edit import grow

        found, kind, layer = self._target()
        self._apply(found, kind, grow(layer.data, self._chosen(found, kind)))

    def shrink(self) -> None:
        """Shrink the selected cells by one pixel."""
        from napari_tam.edit import shrink

        found, kind, layer = self._target()
        self._apply(found, kind, shrink(layer.data, self._chosen(found, kind)))

    def add_by_click(self) -> None:
        """Let the network look again where the user clicks."""
        found, _, layer = self._target("cells")
        if not found.analysis.field.channels:
            raise InputError(
                "only the results are open, and the network has no image to look at",
                where=found.name,
                fix="Add the cell by a lasso",
            )

        self._take("add_by_click", layer, "click", lambda at: self._second_look.at(found, at[0]))

    def next_doubtful(self) -> None:
        """Go to the next doubtful cell."""
        found, _, layer = self._target("cells")
        now = next(iter(found.selected)) if len(found.selected) == 1 else None
        label = found.review.next(found.changed_cells(), now)
        if label is None:
            count = len(found.review.order)
            self.said.emit(f"All {count} doubtful cells looked at." if count else "No cell is doubtful.")
        else:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            self._session.select(found, {label})
            self._session.look_at(found, label)

    def accept(self) -> None:
        """Accept the selected doubtful cells, and go to the next."""
        found, _, _ = self._target("cells")
        doubtful = found.selected & set(found.review.order)
        if not doubtful:
            raise InputError("no doubtful cell is selected", fix="Go to the next doubtful cell first (N)")
        found.review.accepted |= doubtful
        self.next_doubtful()

    def add_puncta(self) -> None:
        """Add puncta with clicks: napari's own tool."""
        _, _, layer = self._target("puncta")
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add"

    def delete_puncta(self) -> None:
        """Delete the chosen puncta."""
        _, _, layer = self._target("puncta")
        if not layer.selected_data:
            raise InputError("no punctum is chosen", fix="Choose some with napari's arrow (key 3)")
        layer.remove_selected()

    def delete_puncta_inside(self) -> None:
        """Delete all puncta inside an outline."""
        from napari_tam.edit.drawn import inside

        _, _, layer = self._target("puncta")

        def delete(outline: Drawn) -> None:
            at = np.flatnonzero(inside(np.asarray(layer.data)[:, -2:], outline))
            layer.selected_data = set()
            layer.remove(at.tolist())
            if not len(at):
                self._refuse(InputError("there is no punctum inside", fix="Draw around puncta"))

        self._take("delete_puncta_inside", layer, "outline", delete)

    def undo(self) -> None:
        """Take back the last change of the chosen layer, as a whole."""
        self._step_back(undoing=True)

    def redo(self) -> None:
        """Do again what was taken back."""
        self._step_back(undoing=False)

    def _step_back(self, *, undoing: bool) -> None:
        found, kind, layer = self._target(self._kind())
        if kind in MASKS:
            layer.undo() if undoing else layer.redo()
            self._session.edited_layer(found, kind)
            return
        self._puncta.step(found, undoing=undoing)

    def _on_tracked(self, found: Found) -> None:
        """Bind the keys of a result's layers."""
        for kind, layer in found.layers.items():
            bind_keys(layer, kind, ref(self))

    def _kind(self) -> str:
        found, active = self._session.current, self._viewer.layers.selection.active
        if found is not None:
            for kind in ("nuclei", "puncta"):
                if active is not None and found.layers.get(kind) is active:
                    return kind
        return "cells"

    def _target(self, kind: str | None = None) -> tuple[Found, str, Any]:
        """Return the result, the kind of its layer, and the layer that is corrected.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self._session.current
        kind = kind or (self._kind() if self._kind() in MASKS else "cells")
        layer = None if found is None else found.layers.get(kind)
        if found is None or layer is None or layer not in self._viewer.layers:
            raise InputError(f"there is no layer of {kind} to correct", fix="Run an analysis first")
        if found.fixed:
            raise InputError(found.fixed, where=found.name)
        return found, kind, layer

    def _chosen(self, found: Found, kind: str) -> list[int]:
        """Return the selected cells; of nuclei the one that napari's picker (key 5) took."""
        if kind == "cells":
            return sorted(found.selected)
        return [int(found.layers[kind].selected_label)]

    def _apply(self, found: Found, kind: str, patch: Patch, *, select: bool = False) -> None:
        layer = found.layers[kind]
        where, values = patch.changes(layer.data)
        if len(values):
            layer.data_setitem(where, values)  # napari keeps it as one step of its history
            self._session.edited_layer(found, kind)
        if kind == "nuclei" and patch.labels:
            layer.selected_label = patch.labels[0]
        elif select:
            self._session.select(found, patch.labels)

    def _draw(self, name: str, shape: Any, change: Callable[[Any, Drawn], Patch]) -> None:
        """Take the pen; every stroke changes the mask."""
        found, kind, layer = self._target()

        def then(drawn: Drawn) -> None:
            present = self._session.found.get(found.name, found)  # it may have been measured anew meanwhile
            try:
                self._apply(present, kind, change(layer.data, drawn))
            except InputError as error:
                self._refuse(error)
            else:
                if kind == "cells":
                    self._session.select(present, ())

        self._take(name, layer, shape, then)

    def _take(self, name: str, layer: Any, shape: Any, then: Callable[[Drawn], None]) -> None:
        """Hold the pen; the same action once more puts it down."""
        if self.pen.name == name and self.pen.draws_on(layer):
            self.pen.put_down()
        else:
            self.pen.take(name, layer, shape, then)

    def _add_seen(self, found: Found, box: Any, mask: Any) -> None:
        from napari_tam.edit import add

        try:
            patch = add(found.layers["cells"].data, box, mask, _highest(found))
        except InputError as error:
            self._refuse(error)
            return
        self._apply(found, "cells", patch)
        self.said.emit(f"Cell {patch.labels[0]} was added.")

    def _refuse(self, error: InputError) -> None:
        self.said.emit(str(error))
        show_error(str(error))


def _highest(found: Found) -> int:
    """Return the highest number that the tables know: a new cell must not take that of a deleted one."""
    return int(found.analysis.table["label"].max()) if len(found.analysis.table) else 0
