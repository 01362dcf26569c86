"""Layers of what is found already, shown while an image's first analysis goes on."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Points
from qtpy.QtCore import QTimer

from napari_tam._napari._label_colours import CellColours
from napari_tam._napari._layers import KEY, by_label, labels_layer, puncta_layers
from napari_tam._napari._pyramid import is_shown_as_pyramid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari.viewer

    from napari_tam._napari._layers import LayerData
    from napari_tam.pipeline.state import State

#: How long an analysis waits at most for its window to show something (s).
_PATIENCE_S = 0.5

#: Pause between two turns, so that the window can draw and respond (ms); at 0 it could not.
PAUSE_MS = 20


@dataclass(frozen=True, eq=False)
class Early:
    """What a step has found.

    Attributes
    ----------
    image
        Name of the image.
    step
        The step.
    layers
        napari layer data; cells are white, as nothing is known of them yet.
    shown
        Set once the window shows it.
    """

    image: str
    step: str
    layers: list[LayerData]
    shown: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Wait until it is shown: two threads that compute would make that slow, and the window freeze."""
        self.shown.wait(_PATIENCE_S)


def early_layers(image: str, where: Mapping[str, Any], step: str, state: State) -> Early | None:
    """Return the layers of what a step of a plane's analysis has found; None: it has none."""
    common = {**where, "metadata": {KEY: {"image": image}}}
    layers: list[LayerData] = []
    if step in ("nuclei", "cells"):
        masks = state.nuclei if step == "nuclei" else state.cells
        if masks is None or masks.ndim > 2 or is_shown_as_pyramid(masks.shape):
            return None
        data, arguments, sort = labels_layer(step, masks, image, common)
        if step == "cells":
            arguments["colormap"] = CellColours.of([], [])
        layers.append((data, arguments, sort))
    elif step == "puncta" and state.field.z_step_um is None:
        labels = [label for label in state.field.exosomes if label]
        layers += puncta_layers(by_label(state.spots, labels), image, common)
    return Early(image, step, layers) if layers else None


class EarlyLayers:
    """The layers of the image that is being analysed, until its result takes them over.

    They are made, added and drawn in turns of the window's event loop: together that takes 0.2 s.

    Parameters
    ----------
    viewer
        The viewer that gets them.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._image = ""
        self._layers: dict[str, Any] = {}
        self._turns: deque[Callable[[], None]] = deque()
        self._timer = QTimer()
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._turn)

    def show(self, early: Early) -> None:
        """Add the layers of a step, soon; they cannot be edited, and what was chosen before stays chosen."""
        if early.image != self._image:
            self.forget()
            self._image = early.image
        for data, arguments, kind in early.layers:
            visible, name = arguments.pop("visible", True), arguments["name"]
            self._turns += [
                partial(self._make, data, arguments, kind),
                partial(self._add, name),
                partial(self._reveal, name, visible),
            ]
        self._turns.append(early.shown.set)
        self._timer.start()

    def take(self, image: str, name: str) -> Any:
        """Hand a layer over to the result of its image, to be edited from now on; None: there is none."""
        while self._turns:
            self._turn()
        layer = self._layers.pop(name, None) if image == self._image else None
        if layer is None or layer not in self._viewer.layers:
            return None
        layer.editable = True
        return layer

    def _turn(self) -> None:
        if self._turns:
            self._turns.popleft()()
        if not self._turns:
            self._timer.stop()

    def _make(self, data: Any, arguments: dict[str, Any], kind: str) -> None:
        made = {"labels": Labels, "points": Points}[kind](data, **arguments, visible=False)
        self._layers[arguments["name"]] = made

    def _add(self, name: str) -> None:
        selection = self._viewer.layers.selection
        active = selection.active
        self._viewer.add_layer(self._layers[name])
        self._layers[name].editable = False
        if active in self._viewer.layers:
            selection.active = active

    def _reveal(self, name: str, visible: bool) -> None:
        self._layers[name].visible = visible
        self._layers[name].editable = False  # the line above let it be edited

    def forget(self) -> None:
        """Take away what no result has taken over: the analysis was stopped, or failed."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._image, self._layers = "", {}
        self._turns.clear()
        self._timer.stop()
