"""What a viewer has open: the results of its images, their layers, highlighted cells and their colours."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary, finalize, ref

import numpy as np
from napari.layers import Labels, Points, Tracks
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_tam._napari._column_colours import colour_column, colour_rows
from napari_tam._napari._early import PAUSE_MS, EarlyLayers
from napari_tam._napari._found import Found
from napari_tam._napari._label_colours import CellColours
from napari_tam._napari._layers import (
    KEY,
    PUNCTA,
    kind_of,
    point_features,
    positions,
    puncta_key,
)
from napari_tam._napari._preload import draw_letters
from napari_tam.markers.labels import labels_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import napari.viewer
    import pandas as pd

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: Opacity of a cell while others are selected.
DIMMED = 0.12

#: The column of the classes that were clicked.
TAUGHT = "your classes"

_sessions: WeakValueDictionary[int, Session] = WeakValueDictionary()


class Session:
    """The results of a viewer; widgets listen to its signals.

    Parameters
    ----------
    viewer
        The viewer.
    """

    #: A result is new or has changed.
    changed = Signal(object)
    #: Other cells are selected.
    selected = Signal(object)
    #: A finished image was opened with its results.
    opened = Signal(object)
    #: A result has other layers than before.
    tracked = Signal(object)
    #: The user changed a layer of a result: ``cells``, ``nuclei`` or ``puncta``.
    edited = Signal(object, str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.viewer = viewer
        self.found: dict[str, Found] = {}
        self.current: Found | None = None
        #: Called with a result and a label before a click selects; True: it was dealt with.
        self.on_click: Callable[[Found, int], bool] | None = None
        #: What draws with the mouse, while it is held.
        self.pen: Any = None
        #: The settings of the form, while there is one.
        self.form_settings: Callable[[], Settings] | None = None
        #: What the form says about its image: the settings channels and pixel_size_um.
        self.form_image: Callable[[], dict[str, Any]] | None = None
        self._models: tuple[tuple[Any, ...], Models] | None = None
        self._loading = threading.Lock()
        self._quiet = self._lettered = False
        #: Number of results that are being turned into layers.
        self.showing = 0
        #: What is found already of the image that is being analysed.
        self.early = EarlyLayers(viewer)
        _listen(self, viewer.mouse_drag_callbacks)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active)

    @classmethod
    def of(cls, viewer: napari.viewer.Viewer) -> Session:
        """Return the session of a viewer, which lives as long as a widget holds it."""
        bare = getattr(viewer, "__wrapped__", viewer)  # plugins get a proxy
        session = _sessions.get(id(bare))
        if session is None:
            session = _sessions[id(bare)] = cls(bare)
            _adopt_later(session)
        return session

    def models(self, settings: Settings) -> Models:
        """Return the networks for the settings; those of the last time if they are the same."""
        from napari_tam.pipeline.models import CHOICES, load_models

        key = _choices(settings, CHOICES)
        with self._loading:  # a run, and what loads ahead of it
            if self._models is None or self._models[0] != key:
                self._models = (key, _remembering(load_models(settings)))
            return self._models[1]

    def has_models(self, settings: Settings) -> bool:
        """Whether the networks for the settings are those of the last time."""
        from napari_tam.pipeline.models import CHOICES

        return self._models is not None and self._models[0] == _choices(settings, CHOICES)

    def forget_form(self, *_: Any) -> None:
        """Go on without a form: its widget is gone."""
        self.form_image = None
        self.form_settings = self.on_click = self.pen = None

    def forget_models(self) -> None:
        """Load the networks anew next time: a file of one has changed."""
        self._models = None

    def put(self, found: Found) -> Found:
        """Show a result, in place of an earlier one of the same image."""
        for _ in self._put(found):
            pass
        return found

    def draw_letters(self) -> None:
        """Let the viewer draw its first text, if it has not yet."""
        if not self._lettered:
            self._lettered = True
            draw_letters(self.viewer)

    def put_in_turns(self, found: Found, then: Callable[[Found], None]) -> None:
        """Show a result one layer at a time: the window stays responsive in between."""
        self.draw_letters()
        turns = self._put(found)
        self.showing += 1

        def turn() -> None:
            try:
                next(turns)
            except StopIteration:
                self.showing -= 1
                then(found)
            except BaseException:
                self.showing -= 1
                raise
            else:
                QTimer.singleShot(PAUSE_MS, turn)

        QTimer.singleShot(PAUSE_MS, turn)

    def _put(self, found: Found) -> Iterator[None]:
        before = self.found.get(found.name)
        if before is not None and before.fixed != found.fixed:  # of the volume, now of the movie
            for layer in [own for own in before.layers.values() if own in self.viewer.layers]:
                self.viewer.layers.remove(layer)
            before = None
        found.follow(before)
        table = found.analysis.table
        found.selected &= frozenset(table["label"].tolist())
        if found.column not in table and found.column != TAUGHT:
            found.column = "phenotype" if "phenotype" in table else "puncta_count"
        self.found[found.name] = found
        self.current = found
        yield from self._show(found)
        if "puncta" in found.layers and "puncta" not in found.dirty:
            found.puncta_now = np.array(found.layers["puncta"].data)
        yield
        self.colour(found)
        yield
        self.changed.emit(found)

    def preview(self, found: Found, spots: pd.DataFrame, settings: Settings) -> None:
        """Show the puncta that other settings give at once; the tables follow with `put`."""
        found.previewed = settings
        for number, label in enumerate(labels_of(found.analysis.table.columns) or [""]):
            layer = found.layers.get(puncta_key(number, label))
            if layer is not None and layer in self.viewer.layers:
                own = rows_of(spots, label).reset_index(drop=True)
                with self.quietly():
                    _move_points(layer, positions(own), point_features(own))
                if number == 0:
                    found.puncta_now = np.array(layer.data)

    def _show(self, found: Found) -> Iterator[None]:
        """Update the layers, or add those that are missing; yields after each."""
        kinds = {"labels": Labels, "points": Points, "tracks": Tracks}
        active = self.viewer.layers.selection.active
        for data, arguments, kind in found.layers_data():
            name = kind_of(arguments["name"], labels_of(found.analysis.table.columns))
            layer = found.layers.get(name)
            if layer is not None and layer in self.viewer.layers:
                self._renew(layer, name, data, arguments, found)
                yield
                continue
            layer = self.early.take(found.name, arguments["name"])
            if layer is not None:
                self.follow(name, layer, found)
                self._renew(layer, name, data, arguments, found)
            else:
                visible = arguments.pop("visible", True)
                layer = kinds[kind](data, **arguments, visible=False)
                yield  # making, adding and drawing it take 0.1 s each
                self.viewer.add_layer(layer)
                self.follow(name, layer, found)
                yield
                layer.visible = visible
            active = found.layers["cells"] if "cells" in found.layers else layer
            yield
        self.early.forget()
        if found.analysis.nuclei is None and (old := found.layers.pop("nuclei", None)) is not None:
            if old in self.viewer.layers:
                self.viewer.layers.remove(old)
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active

    def _renew(self, layer: Any, name: str, data: Any, arguments: dict[str, Any], found: Found) -> None:
        """Give a layer what a result has; what the user changed meanwhile stays, and is measured next."""
        with self.quietly():
            layer.metadata = arguments["metadata"]
            if isinstance(layer, Points):
                if name not in found.dirty:
                    _move_points(layer, data, arguments["features"])
            elif isinstance(layer, Tracks):
                coloured_by = layer.color_by
                layer.color_by = "track_id"  # other data begin without features, and so without colours
                layer.data = data
                layer.features = arguments["features"]
                layer.color_by = coloured_by
            else:
                if name in found.dirty:
                    pass
                elif found.fixed or not np.array_equal(layer.data, data):
                    layer.data = data
                if arguments["features"] is not None:
                    layer.features = arguments["features"]
            _fix(layer, found)  # with other data it can be edited again

    def follow(self, kind: str, layer: Any, found: Found) -> None:
        """Make a layer that of a result's ``cells``, ``nuclei`` or ``puncta``."""
        found.layers[kind] = layer
        _fix(layer, found)
        if isinstance(layer, Labels):
            layer.events.selected_label.connect(self._on_label)
            layer.events.paint.connect(self._on_painted)
        elif isinstance(layer, Points):
            layer.events.data.connect(self._on_points)
            if kind == PUNCTA:
                found.puncta_now = np.array(layer.data)
        self.tracked.emit(found)

    def edited_layer(self, found: Found, kind: str) -> None:
        """Note that the user changed a layer."""
        found.dirty.add(kind)
        self.edited.emit(found, kind)

    def _on_painted(self, event: Any) -> None:
        self._on_edited(event.source)

    def _on_points(self, event: Any) -> None:
        if str(event.action) in ("added", "removed", "changed"):
            self._on_edited(event.source)

    def _on_edited(self, layer: Any) -> None:
        found = self.at_layer(layer)
        if found is not None and not self._quiet and not found.fixed:
            kind = next(kind for kind, own in found.layers.items() if own == layer)
            self.edited_layer(found, kind)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Ignore napari's layer events meanwhile."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def colour(self, found: Found, column: str | None = None) -> None:
        """Colour the cells by a column; those that are not selected are dimmed if others are."""
        found.column = column or found.column
        table = found.analysis.table
        if found.column == TAUGHT:
            colouring = colour_rows(table["label"].map(found.taught).astype("string"))
        else:
            colouring = colour_column(table, found.column)
        found.legend = colouring.legend
        layer = found.layers.get("cells")
        if layer is not None and layer in self.viewer.layers:
            rgba = colouring.rgba.copy()
            labels = table["label"].to_numpy()
            if found.selected:
                rgba[~np.isin(labels, list(found.selected)), 3] = DIMMED
            with layer.events.selected_label.blocker():  # a new colormap emits the event of a new label, too
                layer.colormap = CellColours.of(labels, rgba)

    def select(self, found: Found, labels: Iterable[int]) -> None:
        """Highlight cells, and show the row of a single one in napari's features table."""
        chosen = frozenset(int(label) for label in labels if found.has(int(label)))
        self.current = found
        if chosen == found.selected:
            return
        found.selected = chosen
        self.colour(found)
        layer = found.layers.get("cells")
        if layer is not None and len(chosen) == 1:
            with self.quietly():
                layer.selected_label = next(iter(chosen))
        self.selected.emit(found)

    def at_layer(self, layer: Any) -> Found | None:
        """Return the result that a layer belongs to."""
        return next((f for f in self.found.values() if layer in f.layers.values()), None)

    def _on_label(self, event: Any) -> None:
        """Follow a row chosen in napari's features table."""
        layer = event.source
        found = self.at_layer(layer)
        painting = str(layer.mode) != "pan_zoom"
        if self._quiet or painting or found is None or layer != found.layers.get("cells"):
            return
        label = int(layer.selected_label)
        self.select(found, {label})
        self.look_at(found, label)

    def look_at(self, found: Found, label: int) -> None:
        """Move the camera to a cell, of a volume or movie also the sliders."""
        layer, dims = found.layers.get("cells"), self.viewer.dims
        if layer is None or layer not in self.viewer.layers:
            return
        here = layer.world_to_data(dims.point)[-layer.ndim :]
        place = found.place_of(label, here)
        if place is None:
            return
        world = tuple(layer.data_to_world(place))
        for axis, value in enumerate(world[:-2], dims.ndim - len(world)):
            dims.set_point(axis, value)
        self.viewer.scene.camera.center = world[-dims.ndisplay :]

    def _on_active(self, event: Any) -> None:
        found = self.at_layer(event.value) if event.value is not None else None
        if found is not None and found is not self.current:
            self.current = found
            self.changed.emit(found)

    def _on_removed(self, event: Any) -> None:
        found = self.at_layer(event.value)
        if found is not None:
            found.layers = {kind: own for kind, own in found.layers.items() if own != event.value}

    def click(self, position: tuple[float, ...], *, more: bool = False, along: Any = None) -> None:
        """Select the cell at a place in the world (or do with it what a tab has asked for).

        With `more`, the cells that are selected stay so; one that is clicked again is not any more. In the
        3-D view, `along` is the direction of sight and the axes that are displayed.
        """
        sight = {} if along is None else {"view_direction": along[0], "dims_displayed": list(along[1])}
        candidates = [self.current] if self.current is not None else []
        candidates += [found for found in self.found.values() if found is not self.current]
        for found in candidates:
            layer = found.layers.get("cells")
            if layer is None or layer not in self.viewer.layers or not layer.visible:
                continue
            value = layer.get_value(position, world=True, **sight)  # of a pyramid with the level
            label = int((value[-1] if isinstance(value, tuple) else value) or 0)
            if label and self.on_click is not None and self.on_click(found, label):
                return
            if label:
                self.viewer.layers.selection.active = layer
            if more and found is self.current:
                self.select(found, found.selected ^ {label} if label else found.selected)
            else:
                self.select(found, {label} if label else ())
            if label:
                return


def _choices(settings: Settings, names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(getattr(settings, name, None) for name in names)


def _remembering(models: Models) -> Models:
    """Let the classifier remember cells: after a correction most are as they were."""
    from napari_tam.phenotype.classify import ModelClassifier
    from napari_tam.phenotype.remembering import RememberingClassifier

    known = models.phenotype
    if not isinstance(known, ModelClassifier):
        return models
    return replace(models, phenotype=RememberingClassifier(known.model, known.device))


def open_results() -> list[tuple[Session, Found]]:
    """Return all results that are open, with their sessions."""
    return [(session, found) for session in _sessions.values() for found in session.found.values()]


def _adopt(session: Session) -> None:
    """Take results that were opened as layers (File → Open, drag and drop) into a viewer's session."""
    layers = list(session.viewer.layers)
    opened = [layer.metadata.get(KEY, {}).get("opened") for layer in layers]
    for found in dict.fromkeys(each for each in opened if isinstance(each, Found)):
        before = session.found.pop(found.name, None)
        if before is not None:
            for layer in before.layers.values():
                layer.visible = False
        found.layers = {}
        for layer, each in zip(layers, opened, strict=True):
            if each is found:
                session.follow(layer.metadata[KEY]["kind"], layer, found)
        session.put(found)
        session.opened.emit(found)


def _adopt_later(session: Session) -> None:
    """Adopt what the viewer has, and what is opened from now on, once all its layers are there."""
    known = ref(session)

    def look(*_: Any) -> None:
        present = known()
        if present is not None:
            QTimer.singleShot(0, partial(_adopt, present))

    session.viewer.layers.events.inserted.connect(look)
    look()


def _listen(session: Session, callbacks: list[Any]) -> None:
    """Let clicks select cells as long as the session lives: the viewer does not keep it alive."""
    known = ref(session)

    def on_mouse(viewer: Any, event: Any) -> Any:
        """Select the clicked cell; a drag is napari's own."""
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and str(active.mode) != "pan_zoom"):
            return
        session = known()
        if session is not None and session.pen is not None and session.pen.draws_on(active):
            yield from session.pen.drag(event)
            return
        del session
        more = "Shift" in event.modifiers
        yield
        session = known()
        if event.type != "mouse_move" and session is not None:
            solid = viewer.dims.ndisplay == 3
            along = (event.view_direction, event.dims_displayed) if solid else None
            session.click(event.position, more=more, along=along)

    def forget() -> None:
        if on_mouse in callbacks:
            callbacks.remove(on_mouse)

    callbacks.append(on_mouse)
    finalize(session, forget)


def _fix(layer: Any, found: Found) -> None:
    """Let a layer not be edited, where nothing of its result is corrected by hand."""
    if found.fixed and not isinstance(layer, Tracks):
        layer.editable = False


def _move_points(layer: Any, points: Any, features: pd.DataFrame) -> None:
    """Give a points layer other points and their features."""
    layer.selected_data = set()
    if len(points) != len(layer.data) or not np.array_equal(layer.data, points):
        layer.data = points
    layer.features = features
