"""The threshold of the puncta that all images of a batch share, learnt from some of them before the first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam import files
from napari_tam.batches.sample import Sampler
from napari_tam.io.images import read_fields
from napari_tam.io.layout import without_exosomes
from napari_tam.markers.labels import EXOSOME, rows_of
from napari_tam.markers.names import listed
from napari_tam.pipeline.analysis import Segmented
from napari_tam.pipeline.candidates import candidates_in_cells, candidates_of
from napari_tam.pipeline.tiles import is_large
from napari_tam.puncta.selection import sure_ones
from napari_tam.puncta.threshold import Threshold, by_user, from_controls, from_populations
from napari_tam.results.fingerprint import analysis_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd

    from napari_tam.batches.outcome import BatchProgress
    from napari_tam.batches.sample import ReadFields
    from napari_tam.io.field import Field
    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: Where it is written in the results folder.
THRESHOLD_FILE = "puncta_threshold.json"

#: Fields are looked at until they held so many puncta, and so many fields at most.
ENOUGH, MOST = 2000, 24

#: Of control wells: so many fields, and at least so many cells for a threshold.
MOST_CONTROLS, FEWEST_CELLS = 12, 10

#: Masks of that many pixels at most are kept for the analysis of the same field.
MOST_KEPT_PX = 2**23


@dataclass
class Found:
    """The thresholds that were learnt.

    Attributes
    ----------
    settings
        The settings with the thresholds.
    thresholds
        They, and where they come from, by exosome label (empty for a single one).
    known
        What was found of fields on the way, by their names: candidates, and masks of control wells.
    """

    settings: Settings
    thresholds: dict[str, Threshold]
    known: dict[str, Segmented] = field(default_factory=dict)


def learn_threshold(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    layout: Layout | None = None,
    resume: bool = False,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Found:
    """Learn the threshold of a batch, or read the one of an earlier run, and write it down.

    From the fields of control wells (cells that were given no exosomes) where the layout names some, else
    from fields spread evenly over the batch. What cannot be read is left out here: it fails when its turn
    comes.

    Parameters
    ----------
    names
        The files, and their names.
    settings, models, out
        How they are analysed, and the results folder.
    layout
        What the images are.
    resume
        Keep the threshold of an earlier run with the same settings, controls and networks; unless it was
        learnt from few puncta and there are twice as many files now.
    tell
        Takes the progress.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if settings.puncta_threshold is not None:
        (out / THRESHOLD_FILE).unlink(missing_ok=True)
        return Found(settings, {"": by_user(settings.puncta_threshold)})
    controls = _Controls(names, layout)
    depends = (
        analysis_hash(settings, models)
        + f" {settings.puncta_false_per_cell:g} {sorted(controls.of_any().values())}"
    )
    known = _read(out, depends, len(names)) if resume else None
    if known is not None:
        return Found(_with(settings, known), known)
    search = _Search(settings, models, tell, read_fields)
    thresholds = search.find(names, controls)
    first, *others = thresholds
    record = {**thresholds[first].as_dict(), "files": len(names), "depends": depends}
    if first:
        record |= {"label": first, "others": {label: thresholds[label].as_dict() for label in others}}
    files.write_json(out / THRESHOLD_FILE, record)
    return Found(_with(settings, thresholds), thresholds, search.found)


def thresholds_from(
    read: ReadFields,
    path: Path,
    name: str,
    settings: Settings,
    models: Models,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Found:
    """Learn the threshold of one image or movie, as `learn_threshold` does for a batch of that alone.

    Parameters
    ----------
    read
        Reads its fields, see `napari_tam.io.images.read_fields`.
    path, name
        What it is called.
    settings, models, tell
        See `learn_threshold`.
    """
    if settings.puncta_threshold is not None:
        return Found(settings, {"": by_user(settings.puncta_threshold)})
    search = _Search(settings, models, tell, read)
    thresholds = search.find({path: name}, _Controls({path: name}, None))
    return Found(_with(settings, thresholds), thresholds, search.found)


def _with(settings: Settings, thresholds: Mapping[str, Threshold]) -> Settings:
    """Return the settings with what was learnt."""
    if "" in thresholds:
        return settings.updated(puncta_threshold=thresholds[""].value)
    return settings.updated(puncta_thresholds={label: each.value for label, each in thresholds.items()})


def read_thresholds(out: Path) -> dict[str, Threshold]:
    """Return the thresholds of a results folder by exosome label (empty for a single one).

    Nothing if they were set by the user, or there are none.
    """
    record = _record(out)
    return {} if record is None else record[0]


def with_recorded(settings: Settings, out: Path) -> Settings:
    """Return the settings with the thresholds of a results folder, where they leave them open."""
    record = _record(out) if settings.puncta_threshold is None else None
    return settings if record is None else _with(settings, record[0])


def _record(out: Path) -> tuple[dict[str, Threshold], str, int] | None:
    """Return what the folder says: the thresholds, what they depend on, and the number of files."""
    try:
        record = json.loads((out / THRESHOLD_FILE).read_text("utf-8"))
        thresholds = {str(record.get("label", "")): Threshold.from_dict(record)}
        others = record.get("others", {}).items()
        thresholds |= {str(label): Threshold.from_dict(each) for label, each in others}
        return thresholds, str(record["depends"]), int(record["files"])
    # none, or damaged: it is learnt anew
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _read(out: Path, depends: str, count: int) -> dict[str, Threshold] | None:
    record = _record(out)
    if record is None or record[1] != depends:
        return None
    thresholds, _, before = record
    few = any(each.rule in ("populations", "none") and each.puncta < ENOUGH for each in thresholds.values())
    return None if few and count >= 2 * before else thresholds


class _Controls:
    """The files of wells whose cells were given no exosomes."""

    def __init__(self, names: Mapping[Path, str], layout: Layout | None) -> None:
        self._names = dict(names)
        self._roles = None if layout is None else layout.columns_of(list(names.values()))["control_role"]

    def of_any(self) -> dict[Path, str]:
        """Return those without exosomes of some label, by the names of the files."""
        return self.of("")

    def of(self, label: str) -> dict[Path, str]:
        """Return those of a label, and of all labels."""
        if self._roles is None:
            return {}
        chosen = without_exosomes(self._roles, label).to_numpy(bool)
        named = zip(self._names.items(), chosen, strict=True)
        return {path: name for (path, name), is_one in named if is_one}


class _Search:
    """Fields that are looked at, and what they hold."""

    def __init__(
        self, settings: Settings, models: Models, tell: Callable[[BatchProgress], None], read: ReadFields
    ) -> None:
        self.settings, self.models = settings, models
        self._sampler = Sampler(settings, read, tell, "threshold")
        #: What was found, by the names of the fields.
        self.found: dict[str, Segmented] = {}
        #: The same with the cells they lie in, of control wells.
        self.in_cells: dict[str, tuple[pd.DataFrame, npt.NDArray[np.bool_], int]] = {}

    def find(self, names: Mapping[Path, str], controls: _Controls) -> dict[str, Threshold]:
        """Learn the threshold of every exosome label (empty for a single one)."""
        told: dict[str, Threshold] = {}
        for label in self._labels(names):
            given = self.settings.threshold_of(label)
            wells = controls.of(label)
            threshold = by_user(given) if given is not None else None
            threshold = threshold or (self.controls(wells, label) if wells else None)
            told[label] = threshold or self.populations(names, label)
        return told

    def _labels(self, names: Mapping[Path, str]) -> list[str]:
        """Return the exosome labels as an image says they are called."""
        if len(listed(self.settings.channels.get(EXOSOME, ""))) > 1:
            for one in self._sampler.fields(names, MOST):
                return list(one.exosomes)
        return [""]

    def populations(self, names: Mapping[Path, str], label: str) -> Threshold:
        """Learn from fields spread over all files."""
        found: list[npt.NDArray[np.float64]] = [np.zeros((0, 2))]  # contrast and score
        images: list[str] = []
        for one in self._sampler.fields(names, MOST):
            try:
                own = rows_of(self._candidates(one), label)
                sure = sure_ones(own, self.settings.puncta_score)
            except Exception:  # it fails with its reason when its turn comes
                continue
            found.append(own.loc[sure, ["contrast", "score"]].to_numpy(np.float64))
            images.append(one.name)
            if sum(map(len, found)) >= ENOUGH:
                break
        contrast, score = np.concatenate(found).T
        return from_populations(contrast, tuple(images), score)

    def _candidates(self, one: Field) -> pd.DataFrame:
        known = self.found[one.name].candidates if one.name in self.found else None
        if known is not None:
            return known
        table = candidates_of(one, self.settings, self.models)
        if not is_large(one):
            self.found[one.name] = Segmented(candidates=table)
        return table

    def _look_in_cells(self, one: Field) -> tuple[pd.DataFrame, npt.NDArray[np.bool_], int]:
        """Return the candidates, which lie in cells, and the number of cells; keep what was found."""
        table, inside, found = candidates_in_cells(one, self.settings, self.models)
        assert found.cells is not None
        if not is_large(one):
            light = found.cells.size <= MOST_KEPT_PX
            self.found[one.name] = found if light else Segmented(candidates=table)
        return table, inside, int((np.bincount(found.cells.ravel())[1:] > 0).sum())

    def controls(self, names: Mapping[Path, str], label: str) -> Threshold | None:
        """Learn from the fields of control wells; None if they hold too few cells."""
        contrast: list[npt.NDArray[np.float64]] = []
        images: list[str] = []
        cells = 0
        for one in self._sampler.fields(names, MOST_CONTROLS):
            try:
                if one.name not in self.in_cells:
                    self.in_cells[one.name] = self._look_in_cells(one)
                table, inside, count = self.in_cells[one.name]
            except Exception:  # it fails with its reason when its turn comes
                continue
            own = inside & (table.index.isin(rows_of(table, label).index))
            sure = own & sure_ones(table, self.settings.puncta_score)
            contrast.append(table.loc[sure, "contrast"].to_numpy(np.float64))
            images.append(one.name)
            cells += count
        if cells < FEWEST_CELLS:
            return None
        allowed = self.settings.puncta_false_per_cell
        return from_controls(np.concatenate(contrast), cells, allowed, tuple(images))
