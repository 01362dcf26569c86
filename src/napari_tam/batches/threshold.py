"""The threshold of the puncta that all images of a batch share, learnt from some of them before the first."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam import files
from napari_tam.batches.outcome import BatchProgress
from napari_tam.batches.work import ALL_STEPS
from napari_tam.io.images import read_fields
from napari_tam.io.layout import NO_EXOSOMES
from napari_tam.pipeline.candidates import candidates_in_cells, candidates_of
from napari_tam.pipeline.tiles import is_large
from napari_tam.progress import Progress
from napari_tam.puncta.selection import sure_ones
from napari_tam.puncta.threshold import Threshold, by_user, from_controls, from_populations
from napari_tam.results.fingerprint import analysis_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

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


@dataclass
class Learnt:
    """What was learnt.

    Attributes
    ----------
    settings
        The settings with the threshold.
    threshold
        It, and where it comes from.
    candidates
        Candidates that were found on the way, by the names of their fields.
    """

    settings: Settings
    threshold: Threshold
    candidates: dict[str, pd.DataFrame] = field(default_factory=dict)


def learn_threshold(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    layout: Layout | None = None,
    resume: bool = False,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Learnt:
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
        return Learnt(settings, by_user(settings.puncta_threshold))
    controls = _controls(names, layout)
    depends = (
        analysis_hash(settings, models) + f" {settings.puncta_false_per_cell:g} {sorted(controls.values())}"
    )
    known = _read(out, depends, len(names)) if resume else None
    if known is not None:
        return Learnt(settings.updated(puncta_threshold=known.value), known)
    search = _Search(settings, models, tell)
    threshold = search.controls(controls) if controls else None
    threshold = threshold or search.populations(names)
    record = {**threshold.as_dict(), "files": len(names), "depends": depends}
    files.write_json(out / THRESHOLD_FILE, record)
    return Learnt(settings.updated(puncta_threshold=threshold.value), threshold, search.found)


def read_threshold(out: Path) -> Threshold | None:
    """Return the threshold of a results folder; None if it was set by the user, or there is none."""
    record = _record(out)
    return None if record is None else record[0]


def settled(settings: Settings, out: Path) -> Settings:
    """Return the settings with the threshold of a results folder, where they leave it open."""
    known = read_threshold(out) if settings.puncta_threshold is None else None
    return settings if known is None else settings.updated(puncta_threshold=known.value)


def _record(out: Path) -> tuple[Threshold, str, int] | None:
    """Return what the folder says: the threshold, what it depends on, and the number of files."""
    try:
        record = json.loads((out / THRESHOLD_FILE).read_text("utf-8"))
        return Threshold.from_dict(record), str(record["depends"]), int(record["files"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # none, or damaged: it is learnt anew
        return None


def _read(out: Path, depends: str, count: int) -> Threshold | None:
    record = _record(out)
    if record is None or record[1] != depends:
        return None
    threshold, _, before = record
    few = threshold.rule != "controls" and threshold.puncta < ENOUGH
    return None if few and count >= 2 * before else threshold


def _controls(names: Mapping[Path, str], layout: Layout | None) -> dict[Path, str]:
    """Return the files of wells whose cells were given no exosomes, by the names of the files."""
    if layout is None:
        return {}
    table = layout.columns_of(list(names.values()))
    chosen = table["control_role"].isin(NO_EXOSOMES).to_numpy()
    return {path: name for (path, name), is_one in zip(names.items(), chosen, strict=True) if is_one}


class _Search:
    """Fields that are looked at, and what they hold."""

    def __init__(self, settings: Settings, models: Models, tell: Callable[[BatchProgress], None]) -> None:
        self.settings, self.models, self.tell = settings, models, tell
        #: Candidates by the names of their fields.
        self.found: dict[str, pd.DataFrame] = {}

    def populations(self, names: Mapping[Path, str]) -> Threshold:
        """Learn from fields spread over all files."""
        contrast: list[npt.NDArray[np.float64]] = []
        images: list[str] = []
        for one in self._fields(names, MOST):
            try:
                table = candidates_of(one, self.settings, self.models)
            except Exception:  # it fails with its reason when its turn comes
                continue
            if not is_large(one):
                self.found[one.name] = table
            sure = sure_ones(table, self.settings.puncta_score)
            contrast.append(table.loc[sure, "contrast"].to_numpy(np.float64))
            images.append(one.name)
            if sum(map(len, contrast)) >= ENOUGH:
                break
        return from_populations(np.concatenate([np.zeros(0), *contrast]), tuple(images))

    def controls(self, names: Mapping[Path, str]) -> Threshold | None:
        """Learn from the fields of control wells; None if they hold too few cells."""
        contrast: list[npt.NDArray[np.float64]] = []
        images: list[str] = []
        cells = 0
        for one in self._fields(names, MOST_CONTROLS):
            try:
                table, inside, count = candidates_in_cells(one, self.settings, self.models)
            except Exception:  # it fails with its reason when its turn comes
                continue
            if not is_large(one):
                self.found[one.name] = table
            sure = inside & sure_ones(table, self.settings.puncta_score)
            contrast.append(table.loc[sure, "contrast"].to_numpy(np.float64))
            images.append(one.name)
            cells += count
        if cells < FEWEST_CELLS:
            return None
        allowed = self.settings.puncta_false_per_cell
        return from_controls(np.concatenate(contrast), cells, allowed, tuple(images))

    def _fields(self, names: Mapping[Path, str], most: int) -> Iterator[Field]:
        """Yield fields spread evenly over the files, and over the positions and times in them."""
        paths = spread(list(names))[:most]
        chosen = self._choose(paths, names, most)
        for path in paths:
            wanted = chosen[path]
            if not wanted:
                continue
            with contextlib.suppress(Exception):  # as above
                for one in read_fields(path, self.settings, name=names[path], wanted=wanted.__contains__):
                    # before the first image: a bar stays at its beginning
                    step = Progress("threshold", 0, len(ALL_STEPS))
                    self.tell(BatchProgress(path, one.name, 0, len(names), step))
                    yield one

    def _choose(self, paths: Sequence[Path], names: Mapping[Path, str], most: int) -> dict[Path, set[str]]:
        """Return the names of the fields to look at in each file; only headers are read."""
        inside: defaultdict[Path, list[str]] = defaultdict(list)
        for path in paths:

            def note(name: str, path: Path = path) -> bool:
                inside[path].append(name)
                return False

            with contextlib.suppress(Exception):  # as above
                for _ in read_fields(path, self.settings, name=names[path], wanted=note):
                    pass
        each = max(1, most // max(len(inside), 1))
        return {path: set(spread(inside[path])[:each]) for path in paths}


def spread(items: Sequence[object]) -> list:  # type: ignore[type-arg]
    """Order items so that any number of the first ones is spread evenly over all."""
    golden = (np.arange(len(items)) * 0.618033988749895) % 1
    return [items[index] for index in np.argsort(np.argsort(golden, kind="stable"), kind="stable")]
