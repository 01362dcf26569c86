"""The pipeline: one generator that every door (command line, plugin, workstation) drives."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import field as with_default
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.correct.apply import Corrected, correct
from napari_tam.errors import InputError
from napari_tam.measure.cells import measure
from napari_tam.phenotype.classify import phenotype_summary
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.rerun import Segmented, kept_steps
from napari_tam.pipeline.tiles import is_large, steps_of_tiles
from napari_tam.progress import STEPS, Progress
from napari_tam.puncta.detect import select
from napari_tam.settings import REQUIRED_ROLES
from napari_tam.volume.measure import measure_volume
from napari_tam.volume.projection import project_field, project_labels, stack_models

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_tam.io.field import Field
    from napari_tam.phenotype.classify import Classifier
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

__all__ = ["STEPS", "Analysis", "Progress", "steps"]


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
        One row a cell; `label` is its value in `cells`. See `napari_tam.measure.cells`, and
        `napari_tam.phenotype.classify` for its last columns.
    puncta
        One row a punctum; `label` is the cell it lies in, 0 = outside every cell.
    summary
        The field's row in images.csv: counts and image-wide figures.
    seconds
        Wall time of each step that was done.
    raw, corrected
        The field as it was given, and after its corrections; None for results read back from disk.
    candidates
        Puncta before the thresholds (`napari_tam.puncta.detect.select`), if they are known.
    edits
        What was corrected by hand.
    phenotypes, classifier
        The columns that the classifier gave, and the classifier.
    """

    field: Field
    settings: Settings
    cells: npt.NDArray[np.unsignedinteger[Any]]
    nuclei: npt.NDArray[np.unsignedinteger[Any]] | None
    table: pd.DataFrame
    puncta: pd.DataFrame
    summary: dict[str, object]
    seconds: dict[str, float]
    raw: Field | None = None
    corrected: Corrected | None = None
    candidates: pd.DataFrame | None = None
    edits: Edits = with_default(default_factory=Edits)
    phenotypes: pd.DataFrame | None = None
    classifier: Classifier | None = None


def steps(
    field: Field,
    settings: Settings,
    models: Models,
    previous: Analysis | None = None,
    edits: Edits | None = None,
    segmented: Segmented | None = None,
) -> Generator[Progress, None, Analysis]:
    """Analyse one field, yielding a `Progress` before each step; the `Analysis` is the return value.

    Parameters
    ----------
    field, settings, models
        What to analyse, how, and with which networks.
    previous
        An earlier analysis: steps whose inputs and settings are the same are not done again.
    edits
        What was corrected by hand: it goes before what the networks find.
    segmented
        Masks of an earlier run that still hold; those of large images are not looked at.

    Raises
    ------
    InputError
        If a required role has no channel, or a correction does not fit the image, or an image that is
        analysed in tiles was corrected by hand.
    """
    missing = [role for role in REQUIRED_ROLES if role not in field.channels]
    if missing:
        raise InputError(
            f"no channel for the role {' and '.join(missing)}",
            where=field.name,
            fix="say which it is, e.g. --channels cell=0,nucleus=1,exosome=2",
        )
    if is_large(field):
        if edits is not None and edits.any:
            raise InputError(
                "this image was corrected by hand, which an analysis in tiles would not keep",
                where=field.name,
                fix=f"analyse it in one piece: --tile-px {min(max(field.shape), 32_768)}",
            )
        return (yield from steps_of_tiles(field, settings, models))
    volume = field.z_step_um is not None
    if field.z_step_um is not None:
        models = stack_models(models, field.z_step_um)
    given = field
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[step] = now - clock
        clock = now

    edits, segmented = edits or Edits(), segmented or Segmented()
    kept = kept_steps(previous, field, settings, models.phenotype, edits)

    def news(step: str) -> Generator[Progress, None, None]:
        if step not in kept:
            yield Progress(step, STEPS.index(step), len(STEPS))

    yield from news("correct")
    if "correct" in kept and previous is not None and previous.corrected is not None:
        corrected = previous.corrected
    else:
        corrected = correct(field, settings, models.corrections)
    field = corrected.field
    lap("correct")
    yield from news("cells")
    nucleus = field.channels.get("nucleus")
    if "cells" in kept and previous is not None:
        cells, diameter_um = previous.cells, previous.summary.get("cell_diameter_um")
    elif edits.cells is not None:
        cells, diameter_um = edits.cells, _typical_diameter(edits.cells) * field.pixel_size_um
    elif segmented.cells is not None:
        cells, diameter_um = segmented.cells, segmented.cell_diameter_um
    else:
        found = models.cells.segment(
            field.channels["cell"], nucleus, field.pixel_size_um, settings.cell_diameter_um, settings
        )
        cells, diameter_um = found.labels, found.diameter_um
    lap("cells")
    yield from news("nuclei")
    nuclei = None
    if "nuclei" in kept and previous is not None:
        nuclei = previous.nuclei
    elif edits.nuclei is not None:
        nuclei = edits.nuclei
    elif segmented.nuclei is not None:
        nuclei = segmented.nuclei
    elif nucleus is not None:
        nuclei = models.nuclei.segment(
            nucleus, None, field.pixel_size_um, settings.nucleus_diameter_um, settings
        ).labels
    lap("nuclei")
    yield from news("puncta")
    exosome = field.channels["exosome"]
    if "puncta" in kept and previous is not None and previous.candidates is not None:
        candidates = previous.candidates
    else:
        candidates = models.puncta.candidates(exosome, field.pixel_size_um, settings)
    spots = edits.apply(select(candidates, settings), exosome, field.pixel_size_um, settings)
    lap("puncta")
    yield Progress("measure", STEPS.index("measure"), len(STEPS))
    measuring = measure_volume if volume else measure
    table, puncta, summary = measuring(field, cells, nuclei, spots, settings, corrected.raw_exosome)
    summary["cell_diameter_um"] = diameter_um
    if edits.any:
        summary["notes"] = "; ".join(filter(None, [str(summary["notes"]), *edits.notes]))
    lap("measure")
    yield from news("classify")
    phenotypes = None
    if models.phenotype is not None:
        if "classify" in kept and previous is not None and previous.phenotypes is not None:
            phenotypes = previous.phenotypes
        else:
            # Told by the projection, which is what the model was trained on.
            flat_nuclei = None if nuclei is None else project_labels(nuclei)
            phenotypes = models.phenotype.classify(
                project_field(field), project_labels(cells), flat_nuclei, table, settings
            )
        table = pd.concat([table, phenotypes], axis=1)
        summary |= phenotype_summary(phenotypes, models.phenotype.classes)
    lap("classify")
    return Analysis(
        field,
        settings,
        cells,
        nuclei,
        table,
        puncta,
        summary,
        seconds,
        raw=given,
        corrected=corrected,
        candidates=candidates,
        edits=edits,
        phenotypes=phenotypes,
        classifier=models.phenotype,
    )


def _typical_diameter(labels: npt.NDArray[Any]) -> float:
    """Median diameter (px) of circles with the labels' areas; NaN without labels."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else float("nan")


def run(field: Field, settings: Settings, models: Models) -> Analysis:
    """Drive `steps` to its end and return the `Analysis`."""
    generator = steps(field, settings, models)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            return analysis
