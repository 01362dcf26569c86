"""The pipeline: one generator that every interface (command line, plugin, notebook, workstation) drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.field import missing_roles
from napari_tam.pipeline.analysis import Analysis, Segmented
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.models import stack_models
from napari_tam.pipeline.order import in_order
from napari_tam.pipeline.rerun import kept_steps
from napari_tam.pipeline.state import State
from napari_tam.pipeline.steps import TABLE
from napari_tam.pipeline.tiles import is_large, steps_of_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.progress import Progress
    from napari_tam.settings import Settings


def run_steps(
    field: Field,
    settings: Settings,
    models: Models,
    previous: Analysis | None = None,
    edits: Edits | None = None,
    segmented: Segmented | None = None,
    seen: Callable[[str, State], None] | None = None,
) -> Generator[Progress, None, Analysis]:
    """Analyse one field, yielding a `Progress` before each step; the `Analysis` is the return value.

    Parameters
    ----------
    field, settings, models
        What to analyse, how, and with which networks.
    previous
        An earlier analysis: steps whose inputs and settings are the same are not done again.
    edits
        What was corrected by hand: it takes precedence over what the networks find.
    segmented
        What is known already and still holds; ignored for large images.
    seen
        Called after each step of an image that is not large, with its name and what is known by then: for
        those who show it before the end.

    Raises
    ------
    InputError
        If a required role has no channel, or a correction does not fit the image, or an image that is
        analysed in tiles was corrected by hand.
    """
    missing = missing_roles(field.channels)
    if missing:
        raise InputError(
            f"no channel for the role {' and '.join(missing)}",
            where=field.name,
            fix="say which it is, e.g. --channels cell=0,nucleus=1,exosome=2",
        )
    edits = edits or Edits()
    if not is_large(field):
        known = segmented or Segmented()
        return (yield from _run_table(field, settings, models, previous, edits, known, seen))
    if edits.any:
        raise InputError(
            "this image was corrected by hand, which an analysis in tiles would not keep",
            where=field.name,
            fix=f"analyse it in one piece: --tile-px {min(max(field.shape), 32_768)}",
        )
    return (yield from steps_of_tiles(field, settings, models, run_steps))


def _run_table(
    field: Field,
    settings: Settings,
    models: Models,
    previous: Analysis | None,
    edits: Edits,
    segmented: Segmented,
    seen: Callable[[str, State], None] | None,
) -> Generator[Progress, None, Analysis]:
    """Do the steps of a field that is in memory, in order."""
    kept = kept_steps(previous, field, settings, models.phenotype, edits)
    if field.z_step_um is not None:
        models = stack_models(models, field.z_step_um)
    state = State(field, settings, models, edits, segmented)
    seconds = yield from in_order(TABLE, state, previous, kept, seen)
    return Analysis(
        state.field,
        settings,
        state.cells,
        state.nuclei,
        state.table,
        state.puncta,
        state.summary,
        seconds,
        raw=field,
        corrected=state.corrected,
        candidates=state.candidates,
        edits=edits,
        phenotypes=state.phenotypes,
        classifier=models.phenotype,
        thresholds=state.thresholds,
        measured=state.measured,
    )


def run(field: Field, settings: Settings, models: Models) -> Analysis:
    """Drive `run_steps` to its end and return the `Analysis`."""
    generator = run_steps(field, settings, models)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            return analysis
