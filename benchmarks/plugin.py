"""How the plugin answers: opening, freezes during a run, cancel, thresholds, many cells.

Needs a display with OpenGL (on a machine without one: ``xvfb-run python benchmarks/plugin.py``). Times are
those of the wall clock; on a shared machine they are upper limits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from common import publish, table

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 2048
UM = 0.325

OPENING = """
import time, sys, napari
viewer = napari.Viewer(show=False)
from qtpy.QtWidgets import QApplication
QApplication.processEvents()
wall, work = time.perf_counter(), time.process_time()
viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
QApplication.processEvents()
print(time.perf_counter() - wall, time.process_time() - work, "torch" in sys.modules)
"""


class Heart:
    """Beats in the event loop; the longest pause between two beats is a freeze."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.timer = QTimer()
        self.timer.setInterval(5)
        self.timer.timeout.connect(self._beat)
        self.pauses: list[tuple[float, str]] = []
        self.phase = ""

    def start(self) -> None:
        """Beat from now on."""
        self.last = time.perf_counter()
        self.pauses.clear()
        self.timer.start()

    def stop(self) -> tuple[float, str]:
        """Return the longest pause and what was going on."""
        self.timer.stop()
        return max(self.pauses)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.pauses.append((now - self.last, self.phase))
        self.last = now


def opening() -> tuple[float, float, bool]:
    """Wall and processor seconds from an open viewer to the open widget, and whether torch was loaded."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):  # the first one compiles modules, which an installer does
        out = subprocess.run(
            [sys.executable, "-c", OPENING],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
            env=environment,
        )
    wall, work, torch = out.stdout.split()[-3:]
    return float(wall), float(work), torch == "True"


def spin(until: Callable[[], bool]) -> float:
    """Let the event loop run as in napari, asleep between events; return the seconds."""
    from qtpy.QtCore import QEventLoop, QTimer

    started = time.perf_counter()
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: until() and loop.quit())
    timer.start(10)
    loop.exec()
    return time.perf_counter() - started


def big_field() -> dict[str, np.ndarray]:
    """Mirror the first sample field to 2048²."""
    from common import mirror

    from napari_tam._napari._layers import SAMPLES
    from napari_tam.io.images import read_fields
    from napari_tam.settings import Settings

    field = next(read_fields(SAMPLES / "field_01.ome.tif", Settings()))
    return {role: mirror(plane, SIDE) for role, plane in field.channels.items()}


def add(viewer: Any, channels: dict[str, np.ndarray], prefix: str = "") -> None:
    """Add channels as layers."""
    for role, plane in channels.items():
        name = f"{prefix}{role}"
        viewer.add_image(plane, name=name, scale=(UM, UM), units=("µm", "µm"), blending="additive")


def grid(number: int) -> np.ndarray:
    """Return `number` square cells in 2048²."""
    per_row = int(np.ceil(np.sqrt(number)))
    step = SIDE // per_row
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for k in range(number):
        y, x = k // per_row * step, k % per_row * step
        labels[y + 3 : y + step - 3, x + 3 : x + step - 3] = k + 1
    return labels


def many(viewer: Any, widget: Any, cells: int, puncta: int) -> tuple[float, float, float]:
    """Show `cells` cells and `puncta` puncta; then move thresholds. Returns the times.

    The line of the contrast is dragged while the other `puncta` candidates are shown as left out.
    """
    from qtpy.QtWidgets import QApplication

    from napari_tam._napari._found import Found
    from napari_tam._napari._judged import find_automatic
    from napari_tam._napari._preload import load_drawing
    from napari_tam.correct.apply import Corrected
    from napari_tam.io.field import Field
    from napari_tam.measure.cells import measure
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.puncta.detect import SPOT_COLUMNS
    from napari_tam.puncta.selection import select

    rng = np.random.default_rng(1)
    planes = {role: rng.integers(100, 200, (SIDE, SIDE), np.uint16) for role in ("cell", "exosome")}
    add(viewer, planes, "many ")
    layers = {role: viewer.layers[f"many {role}"] for role in planes}
    widget.choose({**dict.fromkeys(widget.picker.roles), **layers})
    field = Field("many cell", {role: layer.data for role, layer in layers.items()}, UM)
    spots = pd.DataFrame(rng.uniform(0, 1, (2 * puncta, len(SPOT_COLUMNS))), columns=list(SPOT_COLUMNS))
    spots["score"] = np.linspace(0.25, 1, len(spots))
    spots[["y_px", "x_px"]] = rng.uniform(0, SIDE - 1, (len(spots), 2))
    spots["contrast"] = 2 ** rng.uniform(1, 6, len(spots))
    spots["snr"], spots["vesicle"], spots["reason"] = 10.0, 0.0, ""
    settings = widget.settings_form.settings(pixel_size_um=UM)
    labels = grid(cells)
    found, of_puncta, summary = measure(field, labels, None, select(spots, settings), settings)
    classes = rng.choice(["M1", "M2", "uncertain"], len(found))
    found = found.assign(phenotype=classes)
    analysis = Analysis(
        field, settings, labels, None, found, of_puncta, summary, {}, field, Corrected(field), spots
    )
    widget.results.open_table()
    load_drawing()  # as a run does in its thread, and the next line too
    automatic = find_automatic(spots, settings)
    QApplication.processEvents()
    started = time.perf_counter()
    where = {"scale": (UM, UM), "units": ("µm", "µm")}
    widget.session.put(Found("many cell", where, analysis, automatic=automatic))
    QApplication.processEvents()
    shown = time.perf_counter() - started
    score = _moved(widget, "puncta_score", (0.6, 0.55, 0.65))
    widget.puncta.switch.setChecked(True)
    line = _moved(widget, "puncta_threshold", (8.0, 4.0, 4.5, 5.0, 5.5, 6.0))
    widget.puncta.switch.setChecked(False)
    return shown, score, line


def _moved(widget: Any, name: str, values: tuple[float, ...]) -> float:
    """Return the median time from a setting to the puncta that it shows."""
    from qtpy.QtWidgets import QApplication

    times = []
    for value in values:
        started = time.perf_counter()
        widget.form[name].value = value
        QApplication.processEvents()
        times.append(time.perf_counter() - started)
        widget._later.stop()
    return float(np.median(times))


def run() -> tuple[list[str], dict[str, Any]]:
    """Measure everything; lines to print, and values."""
    import napari

    wall, work, torch = opening()
    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    shown, moved, dragged = many(viewer, widget, 2000, 5000)
    viewer.layers.clear()
    add(viewer, big_field())
    shown_by = time.perf_counter() + 2
    spin(lambda: time.perf_counter() > shown_by)  # napari draws the image: not part of the run
    heart = Heart()
    widget.job.progressed.connect(lambda news: setattr(heart, "phase", news.step))
    freezes = []
    for again in (False, True):
        if again:  # all networks run again, but nothing is loaded or compiled any more
            widget.form["cell_probability"].value = 0.51
        heart.phase = "start"
        heart.start()
        widget.run()
        seconds = spin(lambda: widget.idle)
        freezes.append((*heart.stop(), seconds))
    widget.form["cell_probability"].value = 0.52
    widget.run()
    spin(lambda: "cells" in widget.status)
    wait = time.perf_counter() + 0.5
    spin(lambda: time.perf_counter() > wait)
    widget.cancel()
    cancelled = spin(lambda: widget.idle)
    viewer.close()
    rows: list[list[object]] = [
        ["opening the widget, after napari itself", f"{wall:.2f} s ({work:.2f} s of processor)", "<= 1 s"],
        ["torch loaded by that", "yes" if torch else "no", "no"],
        ["longest freeze, first run", f"{freezes[0][0]:.2f} s (in {freezes[0][1]})", "<= 0.2 s"],
        ["longest freeze, later run", f"{freezes[1][0]:.2f} s (in {freezes[1][1]})", "<= 0.2 s"],
        ["the runs themselves, 2048²", f"{freezes[0][2]:.1f} s, {freezes[1][2]:.1f} s", ""],
        ["cancel to idle", f"{cancelled:.2f} s", "<= one tile"],
        ["threshold move to new puncta shown, 5,000 puncta", f"{moved:.3f} s", "<= 0.1 s"],
        ["threshold line dragged, 10,000 candidates, left-out ones shown", f"{dragged:.3f} s", "<= 0.1 s"],
        ["2,000 cells, 5,000 puncta and their table shown", f"{shown:.2f} s", "<= 1 s"],
    ]
    values = {
        "opening_s": wall,
        "opening_processor_s": work,
        "freeze_first_s": freezes[0][0],
        "freeze_later_s": freezes[1][0],
        "cancel_s": cancelled,
        "threshold_s": moved,
        "line_s": dragged,
        "cells_2000_s": shown,
    }
    return table(["what", "measured", "goal"], rows), values


if __name__ == "__main__":
    publish("plugin", *run())
