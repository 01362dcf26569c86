"""Layers of what is found already, shown while an image's first analysis goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_tam._napari._label_colours import CellColours
from napari_tam._napari._layers import KEY, labels_layer, puncta_layers
from napari_tam._napari._pyramid import is_shown_as_pyramid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import napari.viewer

    from napari_tam._napari._layers import LayerData
    from napari_tam.pipeline.state import State

#: How long an analysis waits at most for its window to show something (s).
_PATIENCE_S = 0.5

#: Pause between making a layer and drawing it, so that the window can respond (ms).
_PAUSE_MS = 20


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
        layers += puncta_layers(state.spots, labels, image, common)
    return Early(image, step, layers) if layers else None


class EarlyLayers:
    """The layers of the image that is being analysed, until its result takes them over.

    Parameters
    ----------
    viewer
        The viewer that gets them.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._image = ""
        self._layers: dict[str, Any] = {}

    def show(self, early: Early) -> None:
        """Add the layers of a step; they cannot be edited, and what was chosen before stays chosen."""
        if early.image != self._image:
            self.forget()
            self._image = early.image
        selection = self._viewer.layers.selection
        active = selection.active
        for data, arguments, kind in early.layers:
            visible = arguments.pop("visible", True)
            add = self._viewer.add_labels if kind == "labels" else self._viewer.add_points
            layer = add(data, **arguments, visible=False)
            layer.editable = False
            self._layers[layer.name] = layer
            QTimer.singleShot(_PAUSE_MS, partial(setattr, layer, "visible", visible))
        if active in self._viewer.layers:
            selection.active = active
        QTimer.singleShot(2 * _PAUSE_MS, early.shown.set)  # it is drawn in between

    def take(self, image: str, name: str) -> Any:
        """Hand a layer over to the result of its image, to be edited from now on; None: there is none."""
        layer = self._layers.pop(name, None) if image == self._image else None
        if layer is None or layer not in self._viewer.layers:
            return None
        layer.editable = True
        return layer

    def forget(self) -> None:
        """Take away what no result has taken over: the analysis was stopped, or failed."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._image, self._layers = "", {}
