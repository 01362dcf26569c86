"""Pictures of the plugin for the documentation, from the real program.

Opens napari, analyses the simulated sample with the bundled networks, and takes docs/images/plugin_*.png of
its tabs. Where there is no screen: ``xvfb-run -s "-screen 0 1500x950x24" python tools/screenshots.py``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE = (1440, 860)


def wait(until: Any, seconds: float = 120) -> None:
    """Let the program work until something is so."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise SystemExit("the program did not come to an end")
        QApplication.processEvents()
        time.sleep(0.02)


def settle(seconds: float = 0.8) -> None:
    """Let windows be drawn."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def take(viewer: napari.Viewer, widget: Any, name: str, *, whole: bool) -> None:
    """Write a picture of the window, or of the plugin alone."""
    settle()
    path = IMAGES / f"plugin_{name}.png"
    if whole:
        viewer.window.screenshot(str(path), flash=False, canvas_only=False)
    else:
        widget.grab().save(str(path))
    # few colours: a quarter of the bytes
    Image.open(path).convert("RGB").quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def main() -> int:
    """Take all pictures."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    settle()
    widget.try_it()
    wait(lambda: widget.idle and widget.session.current is not None and not widget.session.showing)
    settle(2)
    tabs = {widget.tabs.tabText(k): k for k in range(widget.tabs.count())}
    widget.tabs.setCurrentIndex(tabs["Plot"])
    viewer.reset_view()
    take(viewer, widget, "plot", whole=True)
    widget.tabs.setCurrentIndex(tabs["Puncta"])
    widget.form["puncta_threshold"].value = 12.0
    settle(2)
    wait(lambda: widget.idle and not widget.session.showing)
    take(viewer, widget, "puncta", whole=False)
    widget.puncta.set_automatic()
    settle(2)
    wait(lambda: widget.idle and not widget.session.showing)
    widget.tabs.setCurrentIndex(tabs["Correct"])
    found = widget.session.current
    widget.session.select(found, {int(found.analysis.table["label"].iloc[5])})
    take(viewer, widget, "correct", whole=True)
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
