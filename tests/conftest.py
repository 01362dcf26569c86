"""Fixtures that more than one test module uses."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no fault of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["napari_viewers"]
