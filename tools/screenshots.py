"""Pictures of the plugin and of a report for the documentation, from the real program.

Opens napari, analyses the simulated samples with the bundled networks, and takes docs/images/plugin_*.png:
each tab, and the folder analysis. With ``--report RESULTS`` report_top.png, of that folder's report, by
chromium. Where there is no screen: ``xvfb-run -s "-screen 0 1500x950x24" python tools/screenshots.py``.

Beside them, docs/images/pictures.json notes what each picture shows: the tab, and the words on its buttons. A
test compares them with the program, so that a picture of what has changed since is noticed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import pandas as pd
import tifffile
from PIL import Image
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_tam._napari._results import choose
from napari_tam.installation import __version__
from napari_tam.settings import Settings
from napari_tam.simulate.movie import write_movies
from napari_tam.simulate.parameters import MovieParameters, VolumeParameters
from napari_tam.simulate.scene3d import write_volumes

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SAMPLES = ROOT / "sample_data"
NOTES = IMAGES / "pictures.json"
SIZE = (1240, 760)
#: Colours of a picture: enough for a viewer, and a quarter of the bytes.
COLOURS = 128


def words(panel: Any) -> list[str]:
    """Return the words on the buttons and switches of a widget, each once."""
    found = {str(each.text()).replace("&", "") for each in panel.findChildren(QAbstractButton)}
    return sorted(text for text in found if text.strip(" .…"))


def wait(until: Callable[[], bool], seconds: float = 600) -> None:
    """Let the program work until something is so."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise SystemExit("the program did not come to an end")
        QApplication.processEvents()
        time.sleep(0.02)


def settle(seconds: float = 1.5) -> None:
    """Let windows be drawn."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def shrink(path: Path) -> None:
    """Write a picture again with few colours."""
    picture = Image.open(path).convert("RGB")
    picture.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


class Camera:
    """A napari window with the plugin, and notes of what was taken."""

    def __init__(self, notes: dict[str, Any]) -> None:
        self.notes = notes
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
        settle()

    def finished(self) -> None:
        """Wait until the analysis is shown."""
        settle(1)
        wait(lambda: self.widget.idle and self.widget.session.current is not None)
        settle(2)

    def tab(self, title: str) -> Any:
        """Look at a tab."""
        at = next(k for k in range(self.widget.tabs.count()) if self.widget.tabs.tabText(k) == title)
        self.widget.tabs.setCurrentIndex(at)
        settle()
        return self.widget.tabs.widget(self.widget.tabs.currentIndex())

    def take(self, name: str, tab: str, panel: Any, *, whole: bool = True) -> None:
        """Take the window, or the plugin alone."""
        self.viewer.status = ""
        settle()
        path = IMAGES / f"plugin_{name}.png"
        if whole:
            self.viewer.window.screenshot(str(path), flash=False, canvas_only=False)
        else:
            self.widget.grab().save(str(path))
        shrink(path)
        self.notes[path.name] = {"tab": tab, "words": words(panel), "version": __version__}


def first_field(camera: Camera) -> None:
    """Take the tabs with the first sample field: a plot, a lasso, thresholds, a correction, classes."""
    widget, session = camera.widget, camera.widget.session
    widget.try_it()
    camera.finished()
    camera.viewer.reset_view()
    panel = camera.tab("Plot")
    camera.take("plot", "Plot", panel)
    found, x = session.current, widget.plot.points
    middle = float(np.quantile(x[:, 1], 0.75))
    widget.plot.choose(np.array([(-1, middle), (9, middle), (9, 1e9), (-1, 1e9)]))
    camera.take("gate", "Plot", panel)
    session.select(found, ())
    camera.take("analyse", "Analyse", camera.tab("Analyse"))
    puncta(camera)
    marks(camera)
    correct(camera)
    teach(camera)


def puncta(camera: Camera) -> None:
    """Take the threshold dragged to 12, and the reasons why candidates were left out."""
    widget = camera.widget
    panel = camera.tab("Puncta")
    widget.form["puncta_threshold"].value = 12.0
    camera.finished()
    widget.puncta.switch.setChecked(True)
    camera.viewer.scene.camera.zoom *= 1.8
    camera.take("puncta", "Puncta", panel, whole=True)
    widget.puncta.switch.setChecked(False)
    widget.puncta.set_automatic()
    camera.finished()
    camera.viewer.reset_view()


def marks(camera: Camera) -> None:
    """Take the brighter half of a region's puncta marked, and the threshold that follows."""
    widget, viewer = camera.widget, camera.viewer
    panel = camera.tab("Puncta")
    viewer.scene.camera.zoom *= 2
    settle()
    widget.marks.mark.click()
    (corners,) = widget.marks.learner.here().now.regions
    truth = pd.read_csv(SAMPLES / "field_01_puncta.csv")
    places = truth[["y_px", "x_px"]].to_numpy()
    inside = ((places > corners.min(axis=0)) & (places < corners.max(axis=0))).all(axis=1)
    light = truth["amplitude_photons"]
    for place in places[inside & (light >= light[inside].median())]:
        viewer.layers["marks (field_01)"].add(place)
    camera.finished()
    layer = widget.session.current.layers["cells"]
    viewer.scene.camera.center = tuple(layer.data_to_world(corners.mean(axis=0)))
    viewer.scene.camera.zoom *= 1.15
    camera.take("marks", "Puncta", panel, whole=True)
    widget.marks.clear.click()
    for name in ("marks", "marked region"):
        viewer.layers.remove(f"{name} (field_01)")
    viewer.layers.selection.active = layer
    camera.finished()
    viewer.reset_view()


def correct(camera: Camera) -> None:
    """Take two neighbours made one by hand, and the line that parts them again."""
    widget, session, viewer = camera.widget, camera.widget.session, camera.viewer
    panel = camera.tab("Correct")
    found = session.current
    widget.correct.by_itself.setChecked(False)
    layer = found.layers["cells"]
    one, two = touching(np.asarray(layer.data))
    widget.correct.edit("cells")
    layer.mode = "pan_zoom"
    places = found.analysis.table.set_index("label")[["centroid_y_px", "centroid_x_px"]]
    ends = places.loc[[one, two]].to_numpy(float)
    session.select(found, {one, two})
    widget.correct.editor.do("merge")
    settle()
    session.select(found, ())
    viewer.scene.camera.center = tuple(layer.data_to_world(ends.mean(axis=0)))
    viewer.scene.camera.zoom *= 2.5
    widget.correct.editor.do("split_by_line")
    across = (ends[1] - ends[0])[::-1] * (1, -1)
    across *= 45 / np.linalg.norm(across)
    pen = widget.correct.editor.pen
    pen._show([ends.mean(axis=0) + part * across for part in np.linspace(-1, 1, 20)])
    camera.take("correct", "Correct", panel)
    pen.put_down()
    widget.correct.editor.undo()
    settle()
    viewer.reset_view()
    widget.correct.by_itself.setChecked(True)


def touching(labels: Any) -> tuple[int, int]:
    """Return the two cells with the longest common edge, both whole."""
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1)
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1)
    pairs = np.concatenate([beside, below])
    cut = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    pairs = np.sort(pairs[(pairs[:, 0] != pairs[:, 1]) & ~np.isin(pairs, [0, *np.unique(cut)]).any(axis=1)])
    found, lengths = np.unique(pairs, axis=0, return_counts=True)
    one, two = found[lengths.argmax()]
    return int(one), int(two)


def teach(camera: Camera) -> None:
    """Take cells of two images clicked as M1 and M2, as they were simulated; what training says."""
    widget, session, viewer = camera.widget, camera.widget.session, camera.viewer
    panel = camera.tab("Teach")
    widget.teach.active.setChecked(True)
    click_as_drawn(camera, "field_01")
    widget.teach.active.setChecked(False)
    for layer in viewer.layers:
        layer.visible = False
    viewer.open_sample("napari-tam", "field_02")
    widget.run()
    camera.finished()
    widget.teach.active.setChecked(True)
    click_as_drawn(camera, "field_02")
    model = Path(tempfile.gettempdir()) / "my_model"
    widget.teach.folder.value = model
    widget.teach.train()
    settle(1)
    wait(lambda: bool(widget.job.idle))
    session.found["field_02"].layers["puncta"].visible = False
    viewer.reset_view()
    camera.take("teach", "Teach", panel)
    shutil.rmtree(model)


def click_as_drawn(camera: Camera, name: str) -> None:
    """Give every cell of a sample field the class that it was simulated as."""
    teach, found = camera.widget.teach, camera.widget.session.found[name]
    truth = tifffile.imread(SAMPLES / f"{name}_masks.tif")
    classes = pd.read_csv(SAMPLES / f"{name}_cells.csv").set_index("label")["phenotype"]
    labels = np.asarray(found.layers["cells"].data)
    for label in found.analysis.table["label"]:
        drawn = np.bincount(truth[labels == label].ravel(), minlength=2)[1:]
        if drawn.any():
            teach.current.setCurrentText(classes[int(drawn.argmax()) + 1])
            teach.label(found, int(label))


def co_culture(camera: Camera) -> None:
    """Take the sample with four markers: a cell's light in two of them, and the gates."""
    widget = camera.widget
    settings = Settings.from_yaml(SAMPLES / "coculture" / "settings.yaml")
    camera.viewer.open(str(SAMPLES / "coculture" / "coculture_01.ome.tif"), plugin="napari-tam")
    layers = {str(layer.name).split()[-1]: layer for layer in camera.viewer.layers}
    channels = {"cell": "CellMask", "nucleus": "DAPI", "exosome": "GFP"}
    channels |= {f"marker_{name}": name for name in ("CD11b", "EpCAM", "CD86", "CD206")}
    widget.choose({role: layers[name] for role, name in channels.items()})
    for name in ("types", "marker_phenotypes"):
        widget.form[name].value = getattr(settings, name)
    widget.run()
    camera.finished()
    panel = camera.tab("Gates")
    gates = widget.gates
    for combo, name in ((gates.marker, "CD11b"), (gates.against, "EpCAM"), (gates.shown, "cell_type")):
        choose(combo, name)
    for name in ("CD11b", "EpCAM"):  # dragged to between the two groups of cells
        gates.set_gate(name, 104.0)
    camera.viewer.reset_view()
    camera.take("gates", "Gates", panel)


def volume(camera: Camera) -> None:
    """Take a simulated z-stack in 3-D."""
    plane = replace(VolumeParameters().plane, shape=(256, 256), cells_per_field=7)
    with tempfile.TemporaryDirectory() as place:
        base = replace(VolumeParameters(), plane=plane)
        [path] = write_volumes(Path(place), 1, 5, planes=14, parameters=base)
        whole(camera, path, "volume")
    camera.viewer.dims.ndisplay = 3
    camera.viewer.reset_view()
    camera.viewer.scene.camera.angles = (10, -30, 60)
    camera.take("volume", "Plot", camera.tab("Plot"))


def movie(camera: Camera) -> None:
    """Take a simulated movie, with the uptake of a cell over time and the table of all of them."""
    base = MovieParameters()
    base = replace(base, scene=replace(base.scene, shape=(288, 288), cells_per_field=14))
    with tempfile.TemporaryDirectory() as place:
        [path] = write_movies(Path(place), 1, 10, 5, parameters=base)
        whole(camera, path, "movie")
    found = camera.widget.session.current
    panel = camera.tab("Plot")
    camera.widget.results.open_table()
    fits = found.followed.fits
    known = fits[(fits["readout"] == "puncta_intensity_sum") & fits["half_time_h"].notna()]
    camera.widget.session.select(found, {int(known["track"].dropna().iloc[0])})
    camera.viewer.dims.set_current_step(0, 6)
    settle()
    camera.viewer.reset_view()
    camera.take("movie", "Plot", panel)


def whole(camera: Camera, path: Path, what: str) -> None:
    """Open an image and analyse all of it."""
    camera.viewer.open(str(path), plugin="napari-tam")
    camera.widget.picker.what = what
    camera.widget.run()
    camera.finished()


def folder(camera: Camera) -> None:
    """Take a folder with three images, one of them broken; a finished one is open."""
    _, batch = camera.viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    place = Path(tempfile.gettempdir()) / "plate1"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in ("field_01", "field_02"):
        shutil.copy(SAMPLES / f"{name}.ome.tif", place)
    (place / "broken.tif").write_bytes((SAMPLES / "field_03.ome.tif").read_bytes()[:5000])
    batch.images.value, batch.out.value = place, place.parent / "plate1_results"
    shutil.rmtree(batch.out.value, ignore_errors=True)
    batch.run()
    settle(1)
    wait(lambda: bool(batch.idle))
    batch.open(next(k for k in range(3) if batch.table.item(k, 0).text() == "field_01"))
    settle(4)
    camera.viewer.reset_view()
    camera.take("batch", "Analyse a folder", batch)
    shutil.rmtree(place)
    shutil.rmtree(batch.out.value)


def report(results: Path, notes: dict[str, Any]) -> None:
    """Take the top of a results folder's report, as a browser without a window shows it."""
    path = IMAGES / "report_top.png"
    alone = ("background-networking", "component-update", "gpu", "quic", "sync")
    with tempfile.TemporaryDirectory() as profile:
        words = ["--headless", "--no-sandbox", "--no-first-run", f"--user-data-dir={profile}"]
        words += ["--hide-scrollbars", "--window-size=1100,1500", f"--screenshot={path}"]
        words += [f"--disable-{each}" for each in alone]
        page = (results / "report.html").resolve().as_uri()
        subprocess.run(["chromium", *words, page], check=True, capture_output=True, timeout=120)
    shrink(path)
    notes[path.name] = {"page": "report.html", "version": __version__}


def main() -> None:
    """Take all pictures, or those of the named parts."""
    parts: dict[str, Callable[[Camera], None]] = {
        "first_field": first_field,
        "co_culture": co_culture,
        "volume": volume,
        "movie": movie,
        "folder": folder,
    }
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; without: all")
    parser.add_argument("--report", type=Path, metavar="RESULTS", help="take this folder's report as well")
    arguments = parser.parse_args()
    notes = json.loads(NOTES.read_text(encoding="utf-8")) if NOTES.exists() else {}
    for name in arguments.parts or ([] if arguments.report else parts):
        camera = Camera(notes)
        parts[name](camera)
        camera.viewer.window._qt_window.hide()  # closing would ask what to do with the corrections
    if arguments.report:
        report(arguments.report, notes)
    NOTES.write_text(json.dumps(dict(sorted(notes.items())), indent=1, ensure_ascii=False) + "\n", "utf-8")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
