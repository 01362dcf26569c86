"""Correcting a field by hand: how many clicks and keys, and how long until each is shown and measured.

A simulated field of some 60 cells is analysed from masks with ten known mistakes (five pairs of neighbours
that are one mask, three cells that are missing, two masks where no cell is). A script then corrects them with
real mouse and key events in napari's window, as a user would: presses, moves and releases go to the canvas.
Needs a display with OpenGL (on a machine without one: ``xvfb-run python benchmarks/correct.py``). Times are
those of the wall clock; on a shared machine they are upper limits. The processor's time is beside them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from common import publish, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.simulate.scene import Scene

UM = 0.325

#: Overlap (IoU) with the true cell from which a mistake counts as corrected.
RIGHT = 0.6


@dataclass(frozen=True)
class Case:
    """A field with known mistakes.

    Attributes
    ----------
    scene
        The simulated field.
    wrong
        (Y, X) its labels with the mistakes.
    pairs
        Pairs of true cells that have one number in `wrong`.
    missing, false
        True cells that `wrong` lacks, and numbers in `wrong` where no cell is.
    """

    scene: Scene
    wrong: Any
    pairs: list[tuple[int, int]]
    missing: list[int]
    false: list[int]


@dataclass
class Tally:
    """Actions, and for each kind seconds: until it was shown, until it was measured, of the processor.

    All begin when the key was pressed or the button let go.
    """

    actions: int = 0
    shown: dict[str, list[float]] = field(default_factory=dict)
    measured: dict[str, list[float]] = field(default_factory=dict)
    work: dict[str, list[float]] = field(default_factory=dict)
    shown_work: dict[str, list[float]] = field(default_factory=dict)

    def rows(self, where: str) -> list[list[object]]:
        """Rows of the table: median seconds of each kind."""
        return [
            [
                f"{kind}, {where}: shown; measured again",
                f"{np.median(times):.2f} s (processor {np.median(self.shown_work[kind]):.2f} s); "
                f"{np.median(self.measured[kind]):.2f} s (processor {np.median(self.work[kind]):.2f} s)",
                "<= 0.3 s each",
            ]
            for kind, times in self.shown.items()
        ]


def make_case(side: int, cells: int, seed: int) -> Case:
    """Draw a field and make ten mistakes: 5 pairs merged, 3 cells missing, 2 false ones."""
    from napari_tam.simulate.parameters import SceneParameters
    from napari_tam.simulate.scene import Scene

    scene = Scene.draw(SceneParameters(shape=(side, side), pixel_size_um=UM, cells_per_field=cells), seed)
    truth, rng = scene.cells, np.random.default_rng(seed)
    wrong = truth.copy()
    inner = set(np.unique(truth).tolist()) - {0} - _at_border(truth)
    used: set[int] = set()
    pairs = []
    contacts = _contacts(truth)
    for one, two in sorted(contacts, key=lambda pair: -contacts[pair]):
        if len(pairs) < 5 and {one, two} <= inner and not used & {one, two}:
            wrong[wrong == two] = one
            pairs.append((one, two))
            used |= {one, two}
    touching = {label for pair in contacts for label in pair}
    missing = sorted(inner - used - touching)[:3]
    wrong[np.isin(wrong, missing)] = 0
    false, rows_columns = [], np.indices(truth.shape)
    while len(false) < 2:
        y, x = rng.integers(40, side - 40, 2)
        disc = np.hypot(rows_columns[0] - y, rows_columns[1] - x) < 20
        if not truth[disc].any() and not wrong[disc].any():
            false.append(int(wrong.max()) + 1)
            wrong[disc] = false[-1]
    if len(pairs) < 5 or len(missing) < 3:
        raise SystemExit("this seed has too few neighbours; choose another")
    return Case(scene, wrong, pairs, missing, false)


def _at_border(labels: Any) -> set[int]:
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return {int(label) for label in edge}


def _contacts(labels: Any) -> dict[tuple[int, int], int]:
    """Pairs of labels that touch, and along how many pixels."""
    found: dict[tuple[int, int], int] = {}
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        at = (a != b) & (a > 0) & (b > 0)
        for one, two in np.sort(np.stack([a[at], b[at]], 1), 1).tolist():
            found[one, two] = found.get((one, two), 0) + 1
    return found


def border_line(case: Case, pair: tuple[int, int]) -> Any:
    """Return the line that a user draws between two cells: along their contact, and beyond it."""
    truth = case.scene.cells
    masks = [truth == label for label in pair]
    grown = [np.pad(mask, 1) for mask in masks]
    near = [g[:-2, 1:-1] | g[2:, 1:-1] | g[1:-1, :-2] | g[1:-1, 2:] for g in grown]
    contact = np.argwhere((masks[0] & near[1]) | (masks[1] & near[0]))
    centre = contact.mean(0)
    along = np.linalg.svd(contact - centre, full_matrices=False)[2][0]
    inside = masks[0] | masks[1]
    ends = []
    for sign in (-1, 1):
        reach = np.abs((contact - centre) @ along).max() if len(contact) else 0
        while True:
            y, x = np.round(centre + sign * reach * along).astype(int)
            if not (0 <= y < inside.shape[0] and 0 <= x < inside.shape[1]) or not inside[y, x]:
                break
            reach += 1
        ends.append(centre + sign * (reach + 2) * along)
    return np.array(ends)


class User:
    """Presses keys and moves the mouse in napari's window."""

    def __init__(self, viewer: Any, widget: Any, found: Any, tally: Tally) -> None:
        self.viewer, self.widget, self.tally = viewer, widget, tally
        self.name = found.name
        self.canvas = viewer.window._qt_viewer.canvas.native
        #: When the hand was done: the key was pressed, or the button let go.
        self.done = (0.0, 0.0)

    def _finish(self) -> None:
        self.tally.actions += 1
        self.done = time.perf_counter(), time.process_time()

    @property
    def layer(self) -> Any:
        """The layer of the cells."""
        return self.widget.session.found[self.name].layers["cells"]

    def _at(self, place: Any) -> Any:
        from qtpy.QtCore import QPoint

        camera = self.viewer.scene.camera
        world = np.array(self.layer.data_to_world(place)) - np.array(camera.center[-2:])
        size = np.array([self.canvas.height(), self.canvas.width()])
        y, x = world * camera.zoom + size / 2
        return QPoint(round(x), round(y))

    def click(self, place: Any, *, shift: bool = False) -> None:
        """Click at a pixel of the image."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        keys = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        self._finish()
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, keys, self._at(place))

    def stroke(self, line: Any) -> None:
        """Draw from the first to the last place with the button held."""
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        places = [line[0] + (line[-1] - line[0]) * share for share in np.linspace(0, 1, 8)]
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(self.canvas, left, none, self._at(places[0]))
        for place in places[1:]:
            at = self._at(place)  # QTest's own moves hold no button
            here, on_screen = QPointF(at), QPointF(self.canvas.mapToGlobal(at))
            event = QMouseEvent(QEvent.Type.MouseMove, here, on_screen, Qt.MouseButton.NoButton, left, none)
            QApplication.sendEvent(self.canvas, event)
            QApplication.processEvents()
        self._finish()
        QTest.mouseRelease(self.canvas, left, none, self._at(places[-1]))

    def key(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        keys = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        self._finish()
        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{key}"), keys)


def spin(until: Callable[[], bool], most: float = 300) -> None:
    """Let the event loop run until something is so."""
    from qtpy.QtWidgets import QApplication

    started = time.perf_counter()
    while not until():
        QApplication.processEvents()
        time.sleep(0.001)
        if time.perf_counter() - started > most:
            raise SystemExit("waited in vain")
    QApplication.processEvents()


def timed(user: User, kind: str, act: Callable[[], None], *, measure: bool) -> None:
    """Do something and wait until it is shown; with `measure`, until it is measured as well."""
    tab, session = user.widget.correct, user.widget.session
    before = user.layer.data.copy()
    act()
    spin(lambda: tab.looking.idle and not np.array_equal(user.layer.data, before))
    wall, work = user.done
    user.tally.shown.setdefault(kind, []).append(time.perf_counter() - wall)
    user.tally.shown_work.setdefault(kind, []).append(time.process_time() - work)
    if not measure:
        return
    # from the same moment on: the pause that waits for further corrections is part of it
    spin(lambda: user.widget.idle and not tab.resting and not session.found[user.name].dirty)
    user.tally.measured.setdefault(kind, []).append(time.perf_counter() - wall)
    user.tally.work.setdefault(kind, []).append(time.process_time() - work)


def centre(labels: Any, label: int) -> Any:
    """Return a place well inside a cell."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(labels == label)
    return np.array(np.unravel_index(depth.argmax(), depth.shape), float)


def correct(user: User, case: Case, *, measure: bool) -> None:
    """Correct the ten mistakes."""
    truth = case.scene.cells
    user.viewer.layers.selection.active = user.layer
    user.key("K")
    for pair in case.pairs[:3]:
        timed(user, "split by a line", partial(user.stroke, border_line(case, pair)), measure=measure)
    user.key("Escape")
    for pair in case.pairs[3:]:
        user.click(centre(truth, pair[0]))
        timed(user, "split by nuclei", partial(user.key, "K", shift=True), measure=measure)
    user.key("W")
    for label in case.missing:
        timed(user, "add by a click", partial(user.click, centre(truth, label)), measure=measure)
    user.key("Escape")
    user.click(centre(case.wrong, case.false[0]))
    user.click(centre(case.wrong, case.false[1]), shift=True)
    timed(user, "delete", partial(user.key, "Delete"), measure=measure)


def merge_again(user: User, case: Case) -> None:
    """Merge three of the pairs that were split, for the time it takes."""
    for one, two in case.pairs[:3]:
        user.click(centre(case.scene.cells, one))
        user.click(centre(case.scene.cells, two), shift=True)
        timed(user, "merge", partial(user.key, "J"), measure=True)


def left_over(case: Case, labels: Any) -> int:
    """How many of the mistakes are still there."""
    truth = case.scene.cells
    wanted = [*case.missing, *(label for pair in case.pairs for label in pair)]
    found = {label: _overlap(truth == label, labels) for label in wanted}
    bad = sum(min(found[a], found[b]) < RIGHT for a, b in case.pairs)
    bad += sum(found[label] < RIGHT for label in case.missing)
    return bad + sum(bool((labels[case.wrong == label] > 0).any()) for label in case.false)


def _overlap(mask: Any, labels: Any) -> float:
    best = np.bincount(labels[mask]).argmax()
    return 0.0 if best == 0 else float((mask & (labels == best)).sum() / (mask | (labels == best)).sum())


def show(viewer: Any, widget: Any, case: Case, name: str) -> Any:
    """Analyse a field with the wrong masks as those of the network, and show it as after a run."""
    from napari_tam._napari._found import Found
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Segmented
    from napari_tam.pipeline.runner import run_steps

    settings = widget.settings_form.settings(pixel_size_um=UM)
    channels = dict(zip(("cell", "nucleus", "exosome"), case.scene.image, strict=True))
    where: dict[str, Any] = {"scale": (UM, UM), "units": ("µm", "µm")}
    for role, plane in channels.items():
        viewer.add_image(plane, name=f"{name} {role}", blending="additive", **where)
    known = Segmented(case.wrong, case.scene.nuclei, cell_diameter_um=22.0)
    steps = run_steps(Field(name, channels, UM), settings, widget.session.models(settings), None, None, known)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            analysis = stop.value
            break
    return widget.session.put(Found(name, where, analysis))


def session(side: int, cells: int, seed: int) -> tuple[Tally, Tally, int, int]:
    """Correct a field once as fast as it is shown, and once with the time of each step measured."""
    import napari

    case = make_case(side, cells, seed)
    quick, slow = Tally(), Tally()
    left = -1
    for tally in (quick, slow):
        viewer = napari.Viewer()
        viewer.window.resize(1500, 1000)
        _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
        found = show(viewer, widget, case, "field")
        viewer.reset_view()
        shown_by = time.perf_counter() + 2
        spin(lambda until=shown_by: time.perf_counter() > until)
        user = User(viewer, widget, found, tally)
        wall = time.perf_counter()
        correct(user, case, measure=tally is slow)
        if tally is quick:
            tally.shown["all"] = [time.perf_counter() - wall]
            left = left_over(case, np.asarray(user.layer.data))
            spin(lambda: not widget.correct.resting and widget.idle)  # noqa: B023
        else:
            merge_again(user, case)
        widget.session.found.clear()
        viewer.close()
    return quick, slow, left, len(np.unique(case.wrong)) - 1


def run() -> tuple[list[str], dict[str, Any]]:
    """Measure everything; lines to print, and values."""
    quick, slow, left, count = session(1024, 62, 5)
    _, large, left_large, count_large = session(2048, 250, 6)
    seconds = quick.shown.pop("all")[0]
    rows: list[list[object]] = [
        [f"clicks, strokes and keys for 10 mistakes among {count} cells", quick.actions, "<= 40"],
        ["seconds, each correction waited for until it was shown", f"{seconds:.1f} s", "<= 60 s"],
        ["mistakes left", left, "0"],
        *slow.rows(f"1024², {count} cells"),
        *large.rows(f"2048², {count_large} cells"),
        ["mistakes left of 10 in that field", left_large, "0"],
    ]
    values = {
        "actions": quick.actions,
        "seconds": seconds,
        "mistakes_left": left,
        "shown_s": slow.shown,
        "measured_s": slow.measured,
        "processor_s": slow.work,
        "large_shown_s": large.shown,
        "large_measured_s": large.measured,
        "large_processor_s": large.work,
    }
    return table(["what", "measured", "goal"], rows), values


if __name__ == "__main__":
    publish("correct", *run())
