"""What a run does in the background: it reads pixels, corrections and networks, and drives the pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._early import Early, early_layers
from napari_tam._napari._judged import find_automatic
from napari_tam._napari._layers import SAMPLES, result_layers
from napari_tam._napari._preload import load_drawing, loading
from napari_tam.errors import InputError
from napari_tam.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from napari_tam._napari._found import Found
    from napari_tam._napari._judged import Automatic
    from napari_tam._napari._layers import LayerData
    from napari_tam._napari._session import Session
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.state import State
    from napari_tam.settings import Settings


def folder_of(field: Field) -> Path | None:
    """Return where an image's results belong: beside its file; samples belong nowhere."""
    if field.source is None or not field.source.is_file() or field.source.parent == SAMPLES:
        return None
    return field.source.parent / f"{field.name} (napari-tam)"


def analyse(
    session: Session,
    field: Field,
    planes: Mapping[str, Any],
    settings: Settings,
    before: Found | None,
    folder: Path | None,
    where: Mapping[str, Any],
) -> Generator[Progress | Early, None, tuple[Analysis, Automatic | None, list[LayerData]]]:
    """Drive the pipeline; pixels, corrections and networks are read here, in the background.

    Yields each step's progress, and of an image that has no results yet what the steps have found; `where`
    places that. Returns the analysis, the threshold of its puncta as its candidates tell it, and its layers.
    """
    previous, edits = (None, None) if before is None else (before.analysis, before.edits)
    with loading():
        from napari_tam.pipeline.runner import run_steps
        from napari_tam.results.edits import read_edits

        load_drawing()
        models = session.models(settings)

    if planes:
        channels = {role: np.asarray(data) for role, data in planes.items()}
        for role, data in channels.items():
            if data.dtype.kind == "f" and not np.isfinite(data).all():
                raise InputError(
                    f"the {role} channel has pixels that are not finite numbers", where=field.name
                )
        field = replace(field, channels=channels)
    if edits is None and folder is not None and field.z_step_um is None:
        edits = read_edits(folder, field.name, field.shape)
    found: list[Early | None] = []

    def seen(step: str, state: State) -> None:
        if before is None:
            found.append(early_layers(field.name, where, step, state))

    steps = run_steps(field, settings, models, previous, edits, seen=seen)
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            break
        for early in filter(None, found):
            yield early
            early.wait()
        found.clear()
        yield progress
    automatic = None
    if analysis.candidates is not None:
        known = None if before is None else before.automatic
        automatic = find_automatic(analysis.candidates, settings, known)
    return analysis, automatic, result_layers(analysis, field.name, where)


def measured_at_once(session: Session, found: Found) -> bool:
    """Whether a corrected image is measured so quickly that the window can wait for it.

    A thread for that takes longer than the work, on a busy machine many times as long.
    """
    analysis = found.analysis
    if analysis.measured is None or not session.has_models(analysis.settings):
        return False
    from napari_tam.pipeline.rerun import only_measured

    classifier = session.models(analysis.settings).phenotype
    return only_measured(analysis, analysis.raw or analysis.field, analysis.settings, classifier, found.edits)


def look_at(
    session: Session, found: Found, known: Any, at: tuple[int, int]
) -> Generator[Progress, None, tuple[Any]]:
    """Look again for a cell at a pixel; returns, in a tuple, its box and mask or None.

    See `napari_tam.segment.look_again`. `known` are the labels (Y, X) that are there now.
    """
    with loading():
        from napari_tam.segment.look_again import look_again

        analysis = found.first or found.analysis
        network = session.models(analysis.settings).cells
    yield Progress("look", 0, 1)
    diameter: Any = analysis.summary.get("cell_diameter_um")
    channels, pixel_um = analysis.field.channels, analysis.field.pixel_size_um
    if not diameter or not np.isfinite(diameter):
        diameter = analysis.settings.cell_diameter_um or float(
            analysis.table["equivalent_diameter_um"].median()
        )
    seen = look_again(
        network, channels["cell"], channels.get("nucleus"), known, at, pixel_um, diameter, analysis.settings
    )
    return (seen,)
