"""The puncta steps alone: candidates of a field, for what is learnt before the analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.pipeline.analysis import Segmented
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.models import stack_models
from napari_tam.pipeline.order import in_order
from napari_tam.pipeline.state import State
from napari_tam.pipeline.steps import TABLE
from napari_tam.pipeline.tiles import is_large
from napari_tam.puncta.threshold import LOWEST

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: Edge (px) of the part from the middle of an image that is too large for the memory.
PART_PX = 2048


def candidates_of(field: Field, settings: Settings, models: Models) -> pd.DataFrame:
    """Return the candidates of a field (`napari_tam.puncta.detect.CANDIDATE_COLUMNS`), after its corrections.

    With several exosome channels `napari_tam.markers.labels.LABEL` says which one a row is of.
    Of an image that is read piece by piece, those in a part from its middle.
    """
    return early_steps(field, settings, models, ("correct", "puncta")).candidates


def candidates_in_cells(
    field: Field, settings: Settings, models: Models
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_], Segmented]:
    """Return the candidates of a field, which of them lie in a cell, and all that was found with them."""
    state = early_steps(field, settings, models, ("correct", "nuclei", "cells", "puncta"))
    table, cells = state.candidates, state.cells
    axes = [name for name in ("z_px", "y_px", "x_px") if name in table]
    at = np.clip(np.round(table[axes].to_numpy(np.float64)), 0, np.array(cells.shape) - 1).astype(np.intp)
    diameter: Any = state.diameter_um
    found = Segmented(cells, state.nuclei, diameter, state.diameter_doubt, state.judged, candidates=table)
    return table, cells[tuple(at.T)] > 0, found


def early_steps(field: Field, settings: Settings, models: Models, names: tuple[str, ...]) -> State:
    """Run some of the first steps on a field; on a part from its middle if it is read piece by piece."""
    if is_large(field):
        field = replace(field, channels={role: _middle(pixels) for role, pixels in field.channels.items()})
        models = replace(models, defects=None)  # as in `napari_tam.pipeline.tiles`
    if field.z_step_um is not None:
        models = stack_models(models, field.z_step_um)
    # The threshold is what is looked for: none is learnt from each field.
    settings = settings.updated(puncta_threshold=LOWEST, puncta_thresholds={})
    state = State(field, settings, models, Edits(), Segmented())
    for _ in in_order([step for step in TABLE if step.name in names], state):
        pass
    return state


def _middle(channel: Any) -> npt.NDArray[Any]:
    window = tuple(
        slice(max(0, (n - PART_PX) // 2), max(0, (n - PART_PX) // 2) + PART_PX) for n in channel.shape
    )
    pixels: npt.NDArray[Any] = channel[window]
    return pixels
