"""The pictures of the documentation show the plugin as it is: each tab, with the words on its buttons."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
import yaml

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import open_widget
from paths import ROOT

TAKE_AGAIN = "python tools/screenshots.py takes the pictures again"


@pytest.fixture(scope="module")
def screenshots() -> Any:
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "tools" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_tab_and_panel_is_in_a_picture_as_it_is_now(viewer: Any, screenshots: Any) -> None:
    widget = open_widget(viewer)
    _, batch = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    _ = widget.teach  # the tab is made when it is looked at
    panels = {widget.tabs.tabText(at): widget.tabs.widget(at) for at in range(widget.tabs.count())}
    panels["Analyse a folder"] = batch
    noted = json.loads((ROOT / "docs" / "images" / "pictures.json").read_text(encoding="utf-8"))
    shown = {note["tab"]: note["words"] for note in noted.values() if "tab" in note}
    assert set(shown) == set(panels), TAKE_AGAIN
    for title, panel in panels.items():
        assert screenshots.words(panel), title
        assert screenshots.words(panel) == shown[title], f"{title} has changed: {TAKE_AGAIN}"


def test_every_widget_of_the_manifest_is_a_panel_of_the_pictures() -> None:
    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text(encoding="utf-8"))
    names = {each["display_name"] for each in manifest["contributions"]["widgets"]}
    assert names == {"Measure exosome uptake", "Analyse a folder"}
