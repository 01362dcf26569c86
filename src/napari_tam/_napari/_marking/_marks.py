"""The marks of one image: a layer of points and one of regions, clicks that snap, and what undoes them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from psygnal import Signal

from napari_tam._napari._correction._actions import REDO, UNDO
from napari_tam._napari._layers import KEY
from napari_tam.evaluate.matching import RADIUS_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari.viewer
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

#: What the layers are in their own metadata.
MARKS, REGIONS = "marks", "marked region"

#: Colour of both: apart from the yellow of puncta, for colour-blind eyes too.
INK = "#56B4E9"

#: A click so near (pixels of the screen) means a candidate, or a mark, also where the image is small.
_REACH = 6.0

#: So many changes can be taken back.
_DEEP = 200

#: Corners that stand for an ellipse.
_CORNERS = 48


@dataclass(frozen=True, eq=False)
class Marked:
    """What is marked: (N, 2) y and x of puncta, and the corners of regions, in pixels."""

    points: Doubles
    regions: tuple[Doubles, ...] = ()

    def same(self, other: Marked) -> bool:
        """Whether another one has the same marks and regions."""
        return (
            np.array_equal(self.points, other.points)
            and len(self.regions) == len(other.regions)
            and all(np.array_equal(one, two) for one, two in zip(self.regions, other.regions, strict=True))
        )


NOTHING = Marked(np.zeros((0, 2)))


class Marks:
    """Marks of an image.

    Parameters
    ----------
    viewer
        The viewer.
    image, label
        Name of the image, and of the exosome label (empty for a single one).
    where
        What places its layers.
    places
        Gives (N, 2) the candidates that a click snaps to.
    """

    #: Emitted after every change by the user.
    changed = Signal()
    #: Emitted when the tool in the hand is another one.
    held = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        image: str,
        label: str,
        where: dict[str, Any],
        places: Callable[[], Doubles],
    ) -> None:
        self._viewer, self._where, self._places = viewer, where, places
        self._image, self._label = image, label
        self.now = NOTHING
        self._before: list[Marked] = []
        self._after: list[Marked] = []
        self._quiet = False
        self._points: Any = None
        self._shapes: Any = None

    @property
    def marking(self) -> bool:
        """Whether a click marks a punctum."""
        layer = self._points
        return (
            layer is not None
            and layer in self._viewer.layers
            and self._viewer.layers.selection.active == layer
            and str(layer.mode) == "add"
        )

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._before)

    def begin(self) -> None:
        """Let clicks mark puncta."""
        self._make()
        self._viewer.layers.selection.active = self._points
        self._points.visible = self._shapes.visible = True
        self._points.mode = "add"

    def draw(self) -> None:
        """Let the mouse draw a rectangle; then clicks mark puncta."""
        self._make()
        self._shapes.visible = True
        self._viewer.layers.selection.active = self._shapes
        self._shapes.mode = "add_rectangle"

    def stop(self) -> None:
        """Give the mouse back to napari."""
        for layer in (self._points, self._shapes):
            if layer is not None and layer in self._viewer.layers:
                layer.mode = "pan_zoom"

    def set(self, marked: Marked, *, undoable: bool = True) -> None:
        """Show other marks and regions."""
        if marked.same(self.now):
            return
        if undoable:
            self._remember()
        before, self.now = self.now, marked
        self._make()
        self._show(regions=not marked.same(replace(before, points=marked.points)))
        self.changed.emit()

    def step(self, *, undoing: bool) -> None:
        """Take the last change back, or do again what was taken back."""
        source, target = (self._before, self._after) if undoing else (self._after, self._before)
        if source:
            target.append(self.now)
            self.set(source.pop(), undoable=False)

    def take(self, at: Doubles) -> Marked:
        """Return what is marked after a click: on a candidate that is nearby; a mark is taken back."""
        points = self.now.points
        candidates = self._places()
        if len(points) and len(candidates):
            free = (np.abs(candidates[:, None] - points[None]) > 1e-6).any(axis=-1).all(axis=1)
            candidates = candidates[free]
        targets = np.concatenate([points, candidates])
        far = np.hypot(*(targets - at).T)
        nearest = int(far.argmin()) if len(far) else -1
        if nearest < 0 or far[nearest] > self._reach():
            points = np.concatenate([points, at[None]])
        elif nearest < len(points):
            points = np.delete(points, nearest, axis=0)
        else:
            points = np.concatenate([points, targets[nearest][None]])
        return Marked(points, self.now.regions)

    def _reach(self) -> float:
        """Return how far (px of the image) a click may be from what it means."""
        zoom = float(self._viewer.scene.camera.zoom) * abs(float(self._points.scale[-1]))
        return max(RADIUS_PX, min(_REACH / max(zoom, 1e-9), 3 * RADIUS_PX))

    def _remember(self) -> None:
        self._before.append(self.now)
        del self._before[:-_DEEP]
        self._after.clear()

    def _make(self) -> None:
        """Make the layers, or make them again where the user has deleted one."""
        layers, active = self._viewer.layers, self._viewer.layers.selection.active
        known = self._points, self._shapes
        if self._shapes is None or self._shapes not in layers:
            self._shapes = self._viewer.add_shapes(
                ndim=2, edge_color=INK, face_color="transparent", **self._named(REGIONS)
            )
            self._shapes.events.data.connect(self._on_shapes)
        if self._points is None or self._points not in layers:
            self._points = self._viewer.add_points(
                ndim=2, size=8, face_color="transparent", border_color=INK, border_width=0.15,
                **self._named(MARKS),
            )  # fmt: skip
            self._points.events.data.connect(self._on_points)
            self._points.events.mode.connect(lambda: self.held.emit())
        if known != (self._points, self._shapes):
            for layer in (self._points, self._shapes):
                for key, undoing in ((UNDO, True), (REDO, False)):
                    layer.bind_key(key, _step(ref(self), undoing=undoing), overwrite=True)
            self._show()
            if active is not None and active in layers:
                layers.selection.active = active

    def _named(self, kind: str) -> dict[str, Any]:
        known = {KEY: {"image": self._image, "kind": kind}}
        name = f"{kind} {self._label}".strip()
        return {"name": f"{name} ({self._image})", "metadata": known, **self._where}

    def _show(self, *, regions: bool = True) -> None:
        with self._quietly():
            self._points.selected_data = set()
            if not np.array_equal(self._points.data, self.now.points):
                self._points.data = self.now.points
            if not regions:
                return
            self._shapes.selected_data = set()
            self._shapes.data = []
            for region in self.now.regions:
                self._shapes.add_polygons(region, edge_color=INK, face_color="transparent")
            width = max((float(np.ptp(region, axis=0).max()) for region in self.now.regions), default=100)
            self._shapes.edge_width = max(width / 200, 0.5)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _on_points(self, event: Any) -> None:
        """Follow the user: a click with the tool that adds snaps, all else is taken as it is."""
        action = str(getattr(event.action, "value", event.action))
        if self._quiet or action not in ("added", "removed", "changed"):
            return
        points = np.array(self._points.data, float).reshape(-1, 2)
        if action == "added" and len(points) == len(self.now.points) + 1:
            self.set(self.take(points[-1]))
        else:
            self.set(Marked(points, self.now.regions))

    def _on_shapes(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._quiet or action not in ("added", "removed", "changed"):
            return
        kinds = [str(kind) for kind in self._shapes.shape_type]
        regions = tuple(
            _outline(np.array(corners, float), kind)
            for corners, kind in zip(self._shapes.data, kinds, strict=True)
            if kind in ("rectangle", "polygon", "ellipse")
        )
        drawn = action == "added" and str(self._shapes.mode) == "add_rectangle"
        marked = Marked(self.now.points, regions)
        if marked.same(self.now):
            return
        self._remember()
        self.now = marked  # what the user holds with the mouse stays as it is
        self.changed.emit()
        if drawn:
            self.begin()


def _outline(corners: Doubles, kind: str) -> Doubles:
    """Return the corners of a region; those of an ellipse, which napari gives by its box, on its edge."""
    if kind != "ellipse":
        return corners
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
    centre = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    outline: Doubles = centre + np.cos(turn) * one + np.sin(turn) * other
    return outline


def _step(known: ref[Marks], *, undoing: bool) -> Callable[[Any], None]:
    """Return what a key does: a function with a name, as napari wants it, that keeps no marks alive."""

    def step(_: Any) -> None:
        marks = known()
        if marks is not None:
            marks.step(undoing=undoing)

    return step
