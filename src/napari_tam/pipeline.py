"""The pipeline: one generator that every door (command line, plugin, workstation) drives."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_tam.classify import phenotype_summary
from napari_tam.correct import correct
from napari_tam.errors import InputError
from napari_tam.measure import measure
from napari_tam.settings import REQUIRED_ROLES
from napari_tam.volume import project_field, project_labels, stack_models
from napari_tam.volume_measure import measure_volume

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    import numpy.typing as npt

    from napari_tam.field import Field
    from napari_tam.models import Models
    from napari_tam.settings import Settings

#: The steps of an analysis, in order; each is announced by one `Progress`.
STEPS = ("correct", "cells", "nuclei", "puncta", "measure", "classify")


@dataclass(frozen=True)
class Progress:
    """What the pipeline does now: the name of the step, and its number of `total`."""

    step: str
    done: int
    total: int


@dataclass(frozen=True)
class Analysis:
    """Everything found in one field.

    Attributes
    ----------
    field, settings
        What was analysed (after its corrections), and how.
    cells, nuclei
        Label images (YX, of a volume ZYX, unsigned; 0 = background); nuclei is None without a nuclear stain.
    table
        One row a cell; `label` is its value in `cells`. See `napari_tam.measure`, and
        `napari_tam.classify` for its last columns.
    puncta
        One row a punctum; `label` is the cell it lies in, 0 = outside every cell.
    summary
        The field's row in images.csv: counts and image-wide figures.
    seconds
        Wall time of each step.
    """

    field: Field
    settings: Settings
    cells: npt.NDArray[np.unsignedinteger[Any]]
    nuclei: npt.NDArray[np.unsignedinteger[Any]] | None
    table: pd.DataFrame
    puncta: pd.DataFrame
    summary: dict[str, object]
    seconds: dict[str, float]


def steps(field: Field, settings: Settings, models: Models) -> Generator[Progress, None, Analysis]:
    """Analyse one field, yielding a `Progress` before each step; the `Analysis` is the return value.

    Raises
    ------
    InputError
        If a required role has no channel, or a correction does not fit the image.
    """
    missing = [role for role in REQUIRED_ROLES if role not in field.channels]
    if missing:
        raise InputError(
            f"no channel for the role {' and '.join(missing)}",
            where=field.name,
            fix="say which it is, e.g. --channels cell=0,nucleus=1,exosome=2",
        )
    volume = field.z_step_um is not None
    if field.z_step_um is not None:
        models = stack_models(models, field.z_step_um)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[step] = now - clock
        clock = now

    yield Progress("correct", 0, len(STEPS))
    corrected = correct(field, settings, models.corrections)
    field = corrected.field
    lap("correct")
    yield Progress("cells", 1, len(STEPS))
    nucleus = field.channels.get("nucleus")
    cells = models.cells.segment(
        field.channels["cell"], nucleus, field.pixel_size_um, settings.cell_diameter_um, settings
    )
    lap("cells")
    yield Progress("nuclei", 2, len(STEPS))
    nuclei = None
    if nucleus is not None:
        nuclei = models.nuclei.segment(
            nucleus, None, field.pixel_size_um, settings.nucleus_diameter_um, settings
        ).labels
    lap("nuclei")
    yield Progress("puncta", 3, len(STEPS))
    spots = models.puncta.detect(field.channels["exosome"], field.pixel_size_um, settings)
    lap("puncta")
    yield Progress("measure", 4, len(STEPS))
    measuring = measure_volume if volume else measure
    table, puncta, summary = measuring(field, cells.labels, nuclei, spots, settings, corrected.raw_exosome)
    summary["cell_diameter_um"] = cells.diameter_um
    lap("measure")
    yield Progress("classify", 5, len(STEPS))
    if models.phenotype is not None:
        # Told by the projection, which is what the model was trained on.
        flat_nuclei = None if nuclei is None else project_labels(nuclei)
        phenotypes = models.phenotype.classify(
            project_field(field), project_labels(cells.labels), flat_nuclei, table, settings
        )
        table = pd.concat([table, phenotypes], axis=1)
        summary |= phenotype_summary(phenotypes, models.phenotype.classes)
    lap("classify")
    return Analysis(field, settings, cells.labels, nuclei, table, puncta, summary, seconds)


def run(field: Field, settings: Settings, models: Models) -> Analysis:
    """Drive `steps` to its end and return the `Analysis`."""
    generator = steps(field, settings, models)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            return analysis
