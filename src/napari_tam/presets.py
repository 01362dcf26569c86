"""Named starting points for the settings; each says what it is for and what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A starting point.

    Attributes
    ----------
    name, purpose
        What it is called, and when to take it.
    values
        The settings that it changes; all others have their defaults.
    """

    name: str
    purpose: str
    values: dict[str, Any]


PRESETS = (
    Preset("Default", "The defaults of all settings.", {}),
    Preset(
        "Dim puncta",
        "Finds more and dimmer puncta, and more noise.",
        {"puncta_score": 0.35, "puncta_threshold": 1.0},
    ),
    Preset(
        "Clear puncta only",
        "Keeps only puncta that stand out clearly.",
        {"puncta_score": 0.7, "puncta_threshold": 8.0, "puncta_min_snr": 5.0},
    ),
    Preset("Quick look", "Finds puncta without the network (faster).", {"puncta_method": "log"}),
    Preset(
        "Crowded cells",
        "Keeps more of the doubtful masks, where clear cells are missing.",
        {"flow_threshold": 0.7, "cell_probability": 0.4},
    ),
)
