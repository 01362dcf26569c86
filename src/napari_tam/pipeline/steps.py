"""The steps of an analysis: one table, in order. A new step is one more entry.

The result of a step is that of an earlier analysis where its inputs are the same (see
`napari_tam.pipeline.rerun`), else what is known without the work (corrected by hand, given with the image, or
found by an earlier run), else that of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.columns import JUDGED, join_tables
from napari_tam.correct.apply import correct
from napari_tam.correct.defects import without_defects
from napari_tam.io.check import look
from napari_tam.markers.labels import LABEL, by_label_and_first, rows_of
from napari_tam.measure.cells import measure
from napari_tam.measure.sharpness import sharpness
from napari_tam.phenotype.classify import phenotype_summary
from napari_tam.puncta.selection import false_share, select_by_label
from napari_tam.segment.diameter import FEW
from napari_tam.volume.measure import measure_volume
from napari_tam.volume.projection import project_field, project_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.state import State

    Labels = npt.NDArray[np.unsignedinteger[Any]]

#: Cells so many times as large as the diameter that they were looked for with, or as small, are noted.
OTHER_SIZE = 1.6


def _nothing(state: State) -> None:
    pass


@dataclass(frozen=True)
class Step:
    """One step: where its result comes from. All functions put it into the `State`.

    Attributes
    ----------
    name
        What it is called in progress, timings and settings (`napari_tam.settings`, ``enters``).
    work
        Does it.
    takes
        The steps whose result it takes; it is done anew after them.
    keep
        Takes the result of an earlier analysis. None: quick, and always done.
    known
        Take a result that is known without the work, and return whether there is one; in order.
    finish
        What is done however the result came.
    beside
        It takes long and mostly one core, so that it is begun as soon as there is what it takes, in a thread
        of its own (`napari_tam.pipeline.order`).
    """

    name: str
    work: Callable[[State], None]
    takes: tuple[str, ...] = ()
    keep: Callable[[State, Analysis], None] | None = None
    known: tuple[Callable[[State], bool], ...] = ()
    finish: Callable[[State], None] = _nothing
    beside: bool = False

    def find(self, state: State, earlier: Analysis | None = None) -> None:
        """Add the result to `state`; `earlier` is the analysis whose result still holds, if one does."""
        if earlier is not None and self.keep is not None:
            self.keep(state, earlier)
        elif not any(take(state) for take in self.known):
            self.work(state)


def _correct(state: State) -> None:
    # pixels of the camera first: all that follows looks at or moves what was seen
    field, findings = without_defects(state.field, state.models.defects)
    looked = look(field)
    corrected = correct(looked.field, state.settings, state.models.corrections)
    state.corrected = replace(corrected, window=looked.window, findings=(*findings, *looked.findings))


def _keep_corrected(state: State, earlier: Analysis) -> None:
    assert earlier.corrected is not None  # or it would not be kept
    state.corrected = earlier.corrected
    known: Any = earlier.summary.get("sharpness")  # of the picture alone
    state.sharpness = known


def _go_on_corrected(state: State) -> None:
    state.field = state.corrected.field


def _segment_cells(state: State) -> None:
    channels, settings = state.inside.channels, state.settings
    found = state.models.cells.segment(
        channels["cell"],
        channels.get("nucleus"),
        state.field.pixel_size_um,
        settings.cell_diameter_um,
        settings,
        _helping_nuclei(state),
    )
    state.cells = state.whole(found.labels)
    state.diameter_um, state.diameter_doubt = found.diameter_um, found.doubt
    if found.confidence is not None:
        state.judged = pd.DataFrame(
            {
                "segmentation_confidence": found.confidence,
                "nuclei_help": "" if found.nuclei_help is None else found.nuclei_help,
            },
            index=pd.RangeIndex(1, len(found.confidence) + 1),
        )


def _helping_nuclei(state: State) -> Labels | None:
    """Return the nuclei that the network finds: those corrected by hand must not move the cells."""
    if not state.settings.nuclei_help or "nucleus" not in state.field.channels:
        return None
    nuclei = state.nuclei if state.edits.nuclei is None else _found_nuclei(state)
    window = state.corrected.window
    return nuclei if window is None or nuclei is None else window.of(nuclei)


def _keep_cells(state: State, earlier: Analysis) -> None:
    state.cells, state.diameter_um = earlier.cells, earlier.summary.get("cell_diameter_um")
    state.judged = earlier.table.set_index("label").reindex(columns=list(JUDGED))
    state.diameter_doubt = str(earlier.summary.get("cell_diameter_doubt") or "")


def _cells_by_hand(state: State) -> bool:
    if state.edits.cells is None:
        return False
    state.cells, state.judged = state.edits.cells, state.edits.judged
    state.diameter_um = _typical_diameter(state.cells) * state.field.pixel_size_um
    return True


def _cells_of_earlier_run(state: State) -> bool:
    if state.segmented.cells is None:
        return False
    state.cells, state.diameter_um = state.segmented.cells, state.segmented.cell_diameter_um
    state.judged, state.diameter_doubt = state.segmented.judged, state.segmented.diameter_doubt
    return True


def _cells_as_given(state: State) -> bool:
    labels = state.field.masks.get("cells")
    if labels is None:
        return False
    state.cells = labels
    state.diameter_um = _typical_diameter(labels) * state.field.pixel_size_um
    return True


def _segment_nuclei(state: State) -> None:
    state.nuclei = _found_nuclei(state)


def _found_nuclei(state: State) -> Labels | None:
    nucleus, settings = state.inside.channels.get("nucleus"), state.settings
    if nucleus is None:
        return None
    found = state.models.nuclei.segment(
        nucleus, None, state.field.pixel_size_um, settings.nucleus_diameter_um, settings
    )
    return state.whole(found.labels)


def _keep_nuclei(state: State, earlier: Analysis) -> None:
    state.nuclei = earlier.nuclei


def _nuclei_by_hand(state: State) -> bool:
    state.nuclei = state.edits.nuclei
    return state.nuclei is not None


def _nuclei_as_given(state: State) -> bool:
    state.nuclei = state.field.masks.get("nuclei")
    return state.nuclei is not None


def _nuclei_of_earlier_run(state: State) -> bool:
    state.nuclei = state.segmented.nuclei
    return state.nuclei is not None


def _find_candidates(state: State) -> None:
    channels, um = state.inside.channels, state.field.pixel_size_um
    tables = []
    for label, role in state.field.exosomes.items():
        found = state.models.puncta.candidates(channels[role], um, state.settings)
        tables.append(found.assign(**{LABEL: label}) if label else found)
    found = tables[0] if len(tables) == 1 else join_tables(tables)
    window = state.corrected.window
    state.candidates = found if window is None else window.moved(found, um)


def _keep_candidates(state: State, earlier: Analysis) -> None:
    assert earlier.candidates is not None  # or it would not be kept
    state.candidates = earlier.candidates
    if state.settings == earlier.settings:
        state.known_thresholds = earlier.thresholds


def _candidates_known(state: State) -> bool:
    if state.segmented.candidates is None:
        return False
    state.candidates = state.segmented.candidates
    return True


def _select_spots(state: State) -> None:
    """Apply the thresholds, then what was corrected by hand."""
    exosomes = state.field.exosomes
    found, state.thresholds = select_by_label(
        state.candidates, state.settings, list(exosomes), state.known_thresholds
    )
    channels = {label: state.field.channels[role] for label, role in exosomes.items()}
    state.spots = state.edits.apply(found, channels, state.field.pixel_size_um, state.settings)


def _measure(state: State) -> None:
    measuring = measure if state.field.z_step_um is None else measure_volume
    field, raw, window = state.inside, state.corrected.raw_exosomes, state.corrected.window
    cells, nuclei, spots = state.cells, state.nuclei, state.spots
    if window is not None:
        cells, nuclei = window.of(cells), None if nuclei is None else window.of(nuclei)
        raw = {role: window.of(image) for role, image in raw.items()}
        spots = window.moved(spots, field.pixel_size_um, back=True)
    findings = state.findings
    field = replace(field, notes=(*field.notes, *(each.sentence for each in findings)))
    state.table, state.puncta, state.summary = measuring(field, cells, nuclei, spots, state.settings, raw)
    if window is not None:
        state.table = window.moved(state.table, field.pixel_size_um)
        state.puncta = window.moved(state.puncta, field.pixel_size_um)
    if state.judged is not None:
        judged = state.judged.reindex(state.table["label"]).reset_index(drop=True)
        for name in JUDGED:
            state.table[name] = judged[name].fillna(state.table[name])
    known = state.sharpness
    state.summary["sharpness"] = sharpness(field.channels["cell"]) if known is None else known
    outside = field.channels["cell"][cells == 0]
    state.summary["cell_signal"] = (
        float(state.table["cell_mean"].median() - np.median(outside)) if outside.size else float("nan")
    )
    state.summary["findings"] = " ".join(dict.fromkeys(each.code for each in findings))
    state.summary["cell_diameter_um"] = state.diameter_um
    # The score of the other method is no chance.
    known = state.settings.puncta_method == "network"
    state.summary |= by_label_and_first(
        {
            label: {
                "puncta_threshold": threshold.value,
                "puncta_false_share": false_share(rows_of(state.spots, label)) if known else float("nan"),
            }
            for label, threshold in state.thresholds.items()
        }
    )
    state.summary["cell_diameter_doubt"] = state.diameter_doubt
    notes = [str(state.summary["notes"]), *state.edits.notes]
    if state.diameter_doubt:
        notes.append(f"the estimate of the cell diameter is unsure ({state.diameter_doubt}): better give it")
    notes.append(_other_size(state))
    state.summary["notes"] = "; ".join(filter(None, notes))


def _other_size(state: State) -> str:
    """Say so if cells are far from the diameter that they were looked for with; else an empty text."""
    wanted = state.settings.cell_diameter_um
    if wanted is None or wanted != state.diameter_um or state.cells.ndim != 2 or len(state.table) < FEW:
        return ""
    found = _typical_diameter(state.cells) * state.field.pixel_size_um
    if abs(np.log(found / wanted)) <= np.log(OTHER_SIZE):
        return ""
    return (
        f"the cells found are {found:.2g} µm across, and were looked for with a diameter of {wanted:.2g} µm: "
        "look at the overlay"
    )


def _classify(state: State) -> None:
    if state.models.phenotype is not None:
        # Classified on the projection, which is what the model was trained on.
        window, cells, nuclei = state.corrected.window, state.cells, state.nuclei
        if window is not None:
            cells, nuclei = window.of(cells), None if nuclei is None else window.of(nuclei)
        nuclei = None if nuclei is None else project_labels(nuclei)
        state.phenotypes = state.models.phenotype.classify(
            project_field(state.inside), project_labels(cells), nuclei, state.table, state.settings
        )


def _keep_phenotypes(state: State, earlier: Analysis) -> None:
    state.phenotypes = earlier.phenotypes


def _add_phenotypes(state: State) -> None:
    """Put the columns into the table of cells, and their counts into the summary."""
    if state.phenotypes is not None and state.models.phenotype is not None:
        state.table = pd.concat([state.table, state.phenotypes], axis=1)
        state.summary |= phenotype_summary(state.phenotypes, state.models.phenotype.classes)


def _typical_diameter(labels: Labels) -> float:
    """Median diameter (px) of circles with the labels' areas; NaN without labels."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else float("nan")


#: All steps, in order.
TABLE = (
    Step("correct", _correct, keep=_keep_corrected, finish=_go_on_corrected),
    Step(
        "nuclei",
        _segment_nuclei,
        takes=("correct",),
        keep=_keep_nuclei,
        known=(_nuclei_by_hand, _nuclei_as_given, _nuclei_of_earlier_run),
    ),
    Step(
        "cells",
        _segment_cells,
        takes=("correct", "nuclei"),
        keep=_keep_cells,
        known=(_cells_by_hand, _cells_as_given, _cells_of_earlier_run),
    ),
    Step(
        "puncta",
        _find_candidates,
        takes=("correct",),
        keep=_keep_candidates,
        known=(_candidates_known,),
        finish=_select_spots,
        beside=True,
    ),
    Step("measure", _measure, takes=("correct", "cells", "nuclei", "puncta")),
    Step(
        "classify",
        _classify,
        takes=("correct", "cells", "nuclei"),
        keep=_keep_phenotypes,
        finish=_add_phenotypes,
    ),
)

#: Their names.
STEPS = tuple(step.name for step in TABLE)
