"""How the plugin answers: opening, first results, freezes during a run, cancel, thresholds, many cells.

Needs a display with OpenGL (on a machine without one: ``xvfb-run -a python benchmarks/plugin.py``, where the
processor draws). Times are those of the wall clock; on a shared machine they are upper limits, and seconds of
the processor and ratios say more. Every first run has a process of its own, as a user has it (until commit
86e4c3e it came after the layers of "many cells", in the crowded field only).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from common import SHARED, publish, table, tiled_composite

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 2048
UM = 0.325

#: How long the image is looked at before Run is pressed (s); what a run needs is loaded meanwhile.
LOOK_S = 4.0

#: The fields, and what they are. The first is that of ``benchmarks/speed.py``, if its images are there.
FIELDS = {"composite": "the field of benchmarks/speed.py", "sample": "a sample field, mirrored: crowded"}

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
    """Beats in the event loop; the longest pause between two beats is a freeze.

    `worked` has what the window's thread itself computed between them (s).
    """

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.timer = QTimer()
        self.timer.setInterval(5)
        self.timer.timeout.connect(self._beat)
        self.pauses: list[tuple[float, str]] = []
        self.worked: list[float] = []
        self.phase = ""

    def start(self) -> None:
        """Beat from now on."""
        self.last, self.work = time.perf_counter(), time.thread_time()
        self.pauses.clear()
        self.worked.clear()
        self.timer.start()

    def stop(self) -> tuple[float, str]:
        """Return the longest pause and what was going on."""
        self.timer.stop()
        return max(self.pauses)

    def _beat(self) -> None:
        now, work = time.perf_counter(), time.thread_time()
        self.pauses.append((now - self.last, self.phase))
        self.worked.append(work - self.work)
        self.last, self.work = now, work


def child(*arguments: str) -> dict[str, Any]:
    """Call this file in a process of its own; return what its last line says."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    out = subprocess.run(
        [sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
        env=environment,
    )
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return found


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


def big_field(name: str = "sample") -> dict[str, np.ndarray]:
    """Mirror a field of `FIELDS` to 2048²."""
    if name == "composite":
        return dict(zip(("cell", "nucleus", "exosome"), tiled_composite(SIDE), strict=True))
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


def alone(name: str) -> dict[str, Any]:
    """Time the same field without napari: the pipeline, its networks loaded and run before."""
    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import load_models
    from napari_tam.pipeline.runner import run as analyse
    from napari_tam.settings import Settings

    settings = Settings(pixel_size_um=UM)
    field, models = Field("cell", big_field(name), UM), load_models(settings)
    for _ in range(2):
        wall, work = time.perf_counter(), time.process_time()
        analysis = analyse(field, settings, models)
        seconds = time.perf_counter() - wall, time.process_time() - work
    return {
        "s": seconds[0],
        "processor_s": seconds[1],
        "cells": len(analysis.table),
        "puncta": len(analysis.puncta),
    }


def first_results(name: str, looked_s: float, keep: str = "") -> dict[str, Any]:
    """Open napari, widget and field, look at it, press Run; then run again with another setting.

    Labels and puncta are written to the file `keep`, if one is given.
    """
    import napari

    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    add(viewer, big_field(name))
    until = time.perf_counter() + looked_s
    spin(lambda: time.perf_counter() > until)
    heart = Heart()
    widget.job.progressed.connect(lambda news: setattr(heart, "phase", news.step))

    def visible(kind: str) -> bool:
        return any(layer.name == f"{kind} (cell)" and layer.visible for layer in viewer.layers)

    runs = {}
    for which in ("first", "later"):
        if which == "later":  # all networks but that of the puncta run again
            widget.form["cell_probability"].value = 0.51
        heart.phase = "start"
        heart.start()
        started, work = time.perf_counter(), time.process_time()
        widget.run()
        cells = spin(lambda: visible("cells"))
        spin(lambda: visible("puncta"))
        result = time.perf_counter() - started
        spin(lambda: widget.idle)
        done = time.perf_counter() - started
        frozen, phase = heart.stop()
        runs[which] = {
            "done_s": done,
            "processor_s": time.process_time() - work,
            "freeze_s": frozen,
            "freeze_in": phase,
            "freeze_processor_s": max(heart.worked),
        }
        if which == "first":
            runs[which] |= {"cells_s": cells, "result_s": result}
    if keep:
        analysis = widget.session.found["cell"].analysis
        puncta = analysis.puncta[["y_px", "x_px"]].to_numpy()
        np.savez(keep, nuclei=analysis.nuclei, cells=analysis.cells, puncta=puncta)
    viewer.close()
    return runs


def bare(kept: str, name: str) -> dict[str, Any]:
    """Show the same image, labels and points in a viewer without the plugin, one layer after another."""
    import napari

    found = np.load(kept)
    viewer = napari.Viewer()
    add(viewer, big_field(name))

    def wait(seconds: float) -> None:
        until = time.perf_counter() + seconds
        spin(lambda: time.perf_counter() > until)

    wait(LOOK_S)
    heart = Heart()
    heart.start()
    for kind in ("nuclei", "cells"):
        heart.phase = kind
        layer = viewer.add_labels(found[kind].astype(np.uint16), scale=(UM, UM), opacity=0.5, visible=False)
        wait(0.3)
        layer.visible = kind == "cells"
        wait(0.3)
    heart.phase = "puncta"
    viewer.add_points(
        found["puncta"], scale=(UM, UM), size=5, face_color="transparent", border_color="yellow"
    )
    wait(0.5)
    frozen, phase = heart.stop()
    viewer.close()
    return {"freeze_s": frozen, "freeze_in": phase, "freeze_processor_s": max(heart.worked)}


def cancelled() -> float:
    """Return the seconds from Cancel, pressed in the network of the cells, to idle."""
    import napari

    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    add(viewer, big_field())
    widget.run()
    spin(lambda: "cells" in widget.status)
    wait = time.perf_counter() + 0.5
    spin(lambda: time.perf_counter() > wait)
    widget.cancel()
    seconds = spin(lambda: widget.idle)
    viewer.close()
    return seconds


def of_field(name: str) -> tuple[list[list[object]], dict[str, Any]]:
    """Measure one field; rows to print, and values."""
    known = child("alone", name)
    with tempfile.TemporaryDirectory() as folder:
        kept = str(Path(folder) / "found.npz")
        runs = child("first", name, str(LOOK_S), kept)
        plain = child("bare", kept, name)
    at_once = child("first", name, "0")["first"]
    first, later = runs["first"], runs["later"]
    what = f"{FIELDS[name]} ({known['cells']} cells, {known['puncta']} puncta)"
    rows: list[list[object]] = [
        [f"{SIDE}²: {what}", "", ""],
        ["  the pipeline alone, without napari", f"{known['s']:.1f} s ({known['processor_s']:.1f} s)", ""],
        [f"  Run {LOOK_S:.0f} s after opening: cells shown", f"{first['cells_s']:.1f} s", ""],
        ["  … cells and puncta shown (first result)", f"{first['result_s']:.1f} s", "<= 4 s"],
        ["  … measured, classified, tables", _seconds(first, known), ""],
        ["  Run at once after opening: first result", f"{at_once['result_s']:.1f} s", ""],
        ["  later run, but for the puncta: all shown", _seconds(later, known), ""],
        ["  longest freeze, first run", _freeze(first), "<= 0.15 s"],
        ["  longest freeze, later run", _freeze(later), "<= 0.15 s"],
        ["  the same layers in napari without the plugin", _freeze(plain), ""],
    ]
    return rows, {"alone": known, **runs, "at_once": at_once, "bare": plain}


def _freeze(run: dict[str, Any]) -> str:
    return f"{run['freeze_s']:.2f} s ({run['freeze_processor_s']:.2f} s), in {run['freeze_in']}"


def _seconds(run: dict[str, Any], known: dict[str, Any]) -> str:
    ratio = run["done_s"] / known["s"]
    return f"{run['done_s']:.1f} s ({run['processor_s']:.1f} s), {ratio:.2f} x the pipeline alone"


def run() -> tuple[list[str], dict[str, Any]]:
    """Measure everything; lines to print, and values."""
    import napari

    wall, work, torch = opening()
    fields = {}
    of_fields: list[list[object]] = []
    for name in FIELDS:
        if name == "composite" and not (SHARED / "data").is_dir():
            continue
        rows, fields[name] = of_field(name)
        of_fields += rows
    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    shown, moved, dragged = many(viewer, widget, 2000, 5000)
    viewer.close()
    cancel = child("cancel")["s"]
    rows = [
        ["opening the widget, after napari itself", f"{wall:.2f} s ({work:.2f} s)", "<= 1 s"],
        ["torch loaded by that", "yes" if torch else "no", "no"],
        *of_fields,
        ["cancel to idle", f"{cancel:.2f} s", "<= one tile"],
        ["threshold move to new puncta shown, 5,000 puncta", f"{moved:.3f} s", "<= 0.1 s"],
        ["threshold line dragged, 10,000 candidates, left-out ones shown", f"{dragged:.3f} s", "<= 0.1 s"],
        ["2,000 cells, 5,000 puncta and their table shown", f"{shown:.2f} s", "<= 1 s"],
    ]
    values = {
        "opening_s": wall,
        "opening_processor_s": work,
        "fields": fields,
        "cancel_s": cancel,
        "threshold_s": moved,
        "line_s": dragged,
        "cells_2000_s": shown,
    }
    notes = [
        "",
        "in brackets: seconds of the processor, of all threads, those that draw included",
        "a freeze is the longest pause between two turns of the event loop, and in brackets the most",
        "that the thread of the window computed between two of them; without a graphics card it draws, too",
    ]
    return table(["what", "measured", "goal"], rows) + notes, values


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["alone", name]:
            print(json.dumps(alone(name)))
        case ["first", name, looked, *keep]:
            print(json.dumps(first_results(name, float(looked), *keep)))
        case ["bare", kept, name]:
            print(json.dumps(bare(kept, name)))
        case ["cancel"]:
            print(json.dumps({"s": cancelled()}))
        case _:
            publish("plugin", *run())
