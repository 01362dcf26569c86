"""Real napari viewers for the plugin's tests, and networks that find what is known.

Offscreen there is no OpenGL, so nothing is drawn; all else is napari's own.
"""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before Qt starts

PIXEL_UM = 0.25
PUNCTA = pd.DataFrame(
    {
        "y_px": [12.0, 13.5, 55.0],
        "x_px": [14.25, 18.0, 58.0],
        "score": [0.9, 0.8, 0.7],
        "contrast": [9.0, 9.0, 9.0],
        "snr": [9.0, 9.0, 9.0],
        "reason": ["", "", ""],
    }
)


@pytest.fixture
def no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer napari's questions about the graphics card: Qt's offscreen platform has none."""
    from vispy.gloo import gl

    monkeypatch.setattr(gl, "glGetParameter", lambda what: "" if what == gl.GL_EXTENSIONS else 4096)


@pytest.fixture
def plugin(npe2pm: Any) -> Iterator[None]:
    """The plugin as npe2 finds it; no other plugin."""
    with npe2pm.tmp_plugin(package="napari-tam"):
        yield


@pytest.fixture
def no_questions() -> Iterator[None]:
    """Discard corrections when a viewer is closed: nobody is there to answer, until after it is closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_tam._napari._correction._unsaved.ask", lambda *_given, **_named: "discard")
        yield


@pytest.fixture
def viewer(
    plugin: None, no_opengl: None, no_questions: None, make_napari_viewer_proxy: Callable[[], Any]
) -> Any:
    return make_napari_viewer_proxy()


class FakeModels:
    """Finds two known cells, one nucleus and `PUNCTA`, whatever the image; remembers what it was given."""

    def __init__(self) -> None:
        self.cell_labels = np.zeros((64, 64), np.uint16)
        self.cell_labels[5:25, 5:25] = 1
        self.cell_labels[30:50, 30:50] = 2
        self.nucleus_labels = np.zeros((64, 64), np.uint16)
        self.nucleus_labels[10:15, 10:15] = 1
        self.calls: list[tuple[str, float, Any]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self.cells = SimpleNamespace(segment=self._segment_cells)
        self.nuclei = SimpleNamespace(segment=self._segment_nuclei)
        self.puncta = SimpleNamespace(candidates=self._candidates)
        self.phenotype = self.corrections = self.defects = None
        self.engine = "fake"

    def _segment_cells(
        self, image: Any, nucleus: Any, pixel_um: float, diameter: Any, settings: Any, nuclei: Any = None
    ) -> Any:
        self.calls.append(("cells", pixel_um, diameter))
        assert threading.current_thread() is not threading.main_thread()
        if self.error is not None:
            raise self.error
        assert self.go_on.wait(20)
        from napari_tam.segment.segmenter import Segmentation

        return Segmentation(self.cell_labels, 5.0)

    def _segment_nuclei(self, image: Any, extra: Any, pixel_um: float, diameter: Any, settings: Any) -> Any:
        self.calls.append(("nuclei", pixel_um, diameter))
        from napari_tam.segment.segmenter import Segmentation

        return Segmentation(self.nucleus_labels, 1.0)

    def _candidates(self, image: Any, pixel_um: float, settings: Any) -> pd.DataFrame:
        self.calls.append(("puncta", pixel_um, settings.puncta_method))
        return PUNCTA.copy()


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    fake = FakeModels()
    # one after another, so that tests can say what was called when
    monkeypatch.setattr("napari_tam.networks.threads.cores", lambda: 1)
    monkeypatch.setattr("napari_tam.pipeline.models.load_models", lambda settings: fake)
    return fake


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """The error messages that napari was told to show."""
    from napari.utils.notifications import notification_manager

    shown: list[str] = []

    def remember(notification: Any) -> None:
        if notification.severity == "error":
            shown.append(notification.message)

    notification_manager.notification_ready.connect(remember)
    yield shown
    notification_manager.notification_ready.disconnect(remember)


def add_channels(viewer: Any, prefix: str = "", **arguments: Any) -> list[Any]:
    """Add a cell, a nuclear and an exosome layer of noise."""
    rng = np.random.default_rng(5)
    arguments = {"scale": (PIXEL_UM, PIXEL_UM), "units": ("µm", "µm"), "translate": (10, 20), **arguments}
    return [
        viewer.add_image(rng.integers(100, 200, (64, 64), np.uint16), name=prefix + name, **arguments)
        for name in ("CD11b", "DAPI", "PKH26")
    ]


def open_widget(viewer: Any) -> Any:
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    return widget


def run(widget: Any, qtbot: Any) -> None:
    """Press Run and wait for the end."""
    widget.run()
    qtbot.waitUntil(lambda: widget.idle, timeout=60_000)
