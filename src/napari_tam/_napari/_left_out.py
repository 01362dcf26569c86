"""A layer with the candidates that are no puncta, in the colours of the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._layers import KEY, positions
from napari_tam.puncta.selection import KEPT, REASONS

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._judged import Judged
    from napari_tam._napari._session import Session

#: Key of the layer among those of a result.
LEFT_OUT = "left out"

#: Reason → colour (Okabe and Ito: apart for colour-blind eyes too); puncta themselves are yellow.
COLOURS = {
    "contrast": "#56B4E9",
    "score": "#B0B0B0",
    "flank": "#E69F00",
    "hot pixel": "#D55E00",
    "snr": "#009E73",
}

#: Diamonds, as puncta are circles; what they surround stays visible.
_LOOK = {
    "size": 6,
    "symbol": "diamond",
    "face_color": "transparent",
    "border_width": 0.1,
    "border_width_is_relative": True,
}

#: What the status bar tells of each.
_TOLD = ("score", "contrast", "snr")


class LeftOut:
    """Shows, and takes away, the layers of what was left out.

    Parameters
    ----------
    session
        The viewer's results.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, found: Found, judged: Judged) -> None:
        """Show what is no punctum of an image; its layer is made if there is none."""
        out = judged.reasons != KEPT
        table, why = judged.candidates[out], judged.reasons[out]
        at, features, colours = positions(table), _features(table, why), _colours(why)
        layers = self._session.viewer.layers
        layer = found.layers.get(LEFT_OUT)
        if layer is None or layer not in layers:
            known = {KEY: {"image": found.name, "kind": LEFT_OUT}}
            name, active = f"left out ({found.name})", layers.selection.active
            layer = self._session.viewer.add_points(at, name=name, metadata=known, **_LOOK, **found.where)
            self._session.follow(LEFT_OUT, layer, found)
            if active is not None:
                layers.selection.active = active
        elif not np.array_equal(layer.data, at):
            layer.selected_data = set()
            with self._session.quietly():  # no correction by the user
                layer.data = at
        layer.features = features
        if len(colours):
            layer.border_color = colours
        layer.editable = False

    def hide(self) -> None:
        """Take all such layers away."""
        for found in self._session.found.values():
            layer = found.layers.pop(LEFT_OUT, None)
            if layer is not None and layer in self._session.viewer.layers:
                self._session.viewer.layers.remove(layer)


def counts(judged: Judged) -> dict[str, int]:
    """Return how many candidates were left out for each reason, in the order of `COLOURS`."""
    return {reason: int((judged.reasons == reason).sum()) for reason in COLOURS}


def _features(table: pd.DataFrame, why: Any) -> pd.DataFrame:
    """Return what the status bar shows: the reason, and the numbers behind it; a hot pixel has none."""
    numbers = table[[name for name in _TOLD if name in table]].astype(float).reset_index(drop=True)
    numbers[why == "hot pixel"] = np.nan
    numbers.insert(0, LEFT_OUT, [f"{reason}: {REASONS[reason]}" for reason in why])
    return numbers


def _colours(why: Any) -> Any:
    """Return the (N, 4) colours of reasons."""
    rgba = {reason: [*bytes.fromhex(colour[1:]), 255] for reason, colour in COLOURS.items()}
    return np.array([rgba[reason] for reason in why], np.float32).reshape(-1, 4) / 255
