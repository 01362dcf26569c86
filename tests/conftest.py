"""Fixtures that more than one test module uses."""

from __future__ import annotations

pytest_plugins = ["napari_viewers"]
