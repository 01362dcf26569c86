"""A pen for the mouse: a line, an outline or single clicks on the image, while one layer is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import numpy as np
from psygnal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import napari.viewer

    from napari_tam.edit.drawn import Drawn

Shape = Literal["line", "outline", "click"]

#: Width of the line in pixels of the screen.
_WIDTH = 2.5

#: Colour of what is being drawn.
_INK = "#f0e442"

#: The layer that shows it; there as long as the pen is held.
_NAME = "drawing"


class Pen:
    """Held by one layer at a time; it stays in the hand until it is put down (Escape, or another layer)."""

    #: Emitted with the name of what it draws for, or empty when it was put down.
    held = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self.layer: Any = None
        self.name = ""
        self._shape: Shape = "line"
        self._then: Callable[[Drawn], None] | None = None
        self._ink: Any = None
        self._busy = False
        viewer.layers.selection.events.active.connect(self._on_active)

    def take(self, name: str, layer: Any, shape: Shape, then: Callable[[Drawn], None]) -> None:
        """Draw on a layer from now on.

        Parameters
        ----------
        name
            What for.
        layer
            The layer; it becomes the chosen one.
        shape
            ``line`` or ``outline``, drawn with the button held; or ``click``.
        then
            Gets what was drawn, (N, 2) y and x in the layer's pixels; of a click one row.
        """
        self.put_down()
        self._busy = True
        try:
            layer.visible = True
            layer.mode = "pan_zoom"
            if shape != "click":
                self._ink = self._viewer.add_shapes(
                    ndim=2, name=_NAME, edge_color=_INK, face_color="transparent", **_place(layer)
                )
            self._viewer.layers.selection.active = layer
        finally:
            self._busy = False
        layer.mouse_pan = shape == "click"
        self.layer, self.name, self._shape, self._then = layer, name, shape, then
        layer.bind_key("Escape", _escape(ref(self)), overwrite=True)
        layer.events.mode.connect(self._on_mode)
        self.held.emit(name)

    def put_down(self) -> None:
        """Give the mouse back to napari."""
        layer, self.layer, self.name = self.layer, None, ""
        if self._ink is not None and self._ink in self._viewer.layers:
            self._busy = True
            try:
                self._viewer.layers.remove(self._ink)
                if layer is not None and layer in self._viewer.layers:
                    self._viewer.layers.selection.active = layer
            finally:
                self._busy = False
        self._ink = self._then = None
        if layer is not None:
            layer.events.mode.disconnect(self._on_mode)
            layer.mouse_pan = str(layer.mode) == "pan_zoom"
            layer.bind_key("Escape", None)
            self.held.emit("")

    def draws_on(self, layer: Any) -> bool:
        """Whether it is held by a layer."""
        return layer is not None and self.layer is not None and bool(layer == self.layer)  # or a proxy of it

    def drag(self, event: Any) -> Generator[None, None, None]:
        """Follow the mouse from the press to the release, as napari's callbacks do."""
        layer, then = self.layer, self._then
        points = [self._at(event)]
        moved = False
        yield
        while event.type == "mouse_move":
            moved = True
            points.append(self._at(event))
            self._show(points)
            yield
        self._show([])
        if then is None or layer is not self.layer:
            return
        if self._shape == "click":
            if not moved:
                then(np.array(points))
        elif moved:
            then(np.array(points))

    def _at(self, event: Any) -> Any:
        return np.asarray(self.layer.world_to_data(event.position), float)[-2:]

    def _show(self, points: list[Any]) -> None:
        if self._ink is None or self._ink not in self._viewer.layers:
            return
        if len(points) < 2:
            self._ink.data = []
            return
        width = _WIDTH / max(self._viewer.scene.camera.zoom * float(self.layer.scale[-1]), 1e-9)
        closed = self._shape == "outline" and len(points) > 2
        path = np.array([*points, points[0]] if closed else points)
        if len(self._ink.data):
            self._ink.data = [(path, "path")]  # in one go: napari looks at all layers after each change
        else:
            self._ink.add_paths(path, edge_width=width, edge_color=_INK)

    def _on_mode(self, event: Any) -> None:
        if str(event.source.mode) != "pan_zoom":
            self.put_down()

    def _on_active(self, event: Any) -> None:
        if not self._busy and self.layer is not None and event.value is not self.layer:
            self.put_down()


def _escape(known: ref[Pen]) -> Callable[[Any], None]:
    """Return what the key does: a function with a name, as napari wants it, that keeps no pen alive."""

    def put_down(_: Any) -> None:
        pen = known()
        if pen is not None:
            pen.put_down()

    return put_down


def _place(layer: Any) -> dict[str, Any]:
    """Return the arguments that put a 2-D layer where this one is."""
    return {name: getattr(layer, name)[-2:] for name in ("scale", "translate", "units")}
