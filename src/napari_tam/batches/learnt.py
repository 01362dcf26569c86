"""What all images of a batch share, learnt before the first: defects, the cells' diameter, a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_tam.batches.defects import learn_defects
from napari_tam.batches.diameter import diameter_from, learn_diameter, read_diameter
from napari_tam.batches.threshold import learn_threshold, thresholds_from, with_recorded
from napari_tam.results.record import Record
from napari_tam.segment.common_diameter import Diameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_tam.batches.outcome import BatchProgress
    from napari_tam.batches.sample import ReadFields
    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.analysis import Segmented
    from napari_tam.pipeline.models import Models
    from napari_tam.puncta.threshold import Threshold
    from napari_tam.settings import Settings


@dataclass
class Learnt:
    """What was learnt.

    Attributes
    ----------
    settings
        The settings with all of it.
    models
        The models, with the defects of the camera.
    diameter
        The cells' diameter, and where it comes from.
    thresholds
        The thresholds, and where they come from, by exosome label (empty for a single one).
    known
        What was found of fields on the way, by their names.
    """

    settings: Settings
    models: Models
    diameter: Diameter
    thresholds: dict[str, Threshold]
    known: dict[str, Segmented] = field(default_factory=dict)

    def record(
        self, out: Path, names: Mapping[Path, str], command: Sequence[str], *, background: bool
    ) -> Record:
        """Begin the record of a batch that shares this; see `napari_tam.results.record.Record`."""
        return Record(
            out,
            self.settings,
            self.models,
            names,
            command,
            thresholds=self.thresholds,
            diameter=self.diameter,
            background=background,
        )


def learn(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    layout: Layout | None = None,
    resume: bool = False,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Learnt:
    """Learn what a batch shares, or read it from an earlier run, and write it down.

    Parameters
    ----------
    names, settings, models, out, layout, resume, tell
        See `napari_tam.batches.defects.learn_defects`, `napari_tam.batches.diameter.learn_diameter` and
        `napari_tam.batches.threshold.learn_threshold`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    models = learn_defects(names, settings, models, out, resume=resume, tell=tell)
    diameter = learn_diameter(names, settings, models, out, resume=resume, tell=tell)
    # control wells are segmented for the threshold
    found = learn_threshold(
        names, _with(settings, diameter), models, out, layout=layout, resume=resume, tell=tell
    )
    return Learnt(found.settings, models, diameter, found.thresholds, found.known)


def learn_from(
    read: ReadFields,
    path: Path,
    name: str,
    settings: Settings,
    models: Models,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Learnt:
    """Learn from one image or movie, as `learn` does for a batch of that alone; nothing is written.

    Parameters
    ----------
    read
        Reads its fields, see `napari_tam.io.images.read_fields`.
    path, name
        What it is called.
    settings, models, tell
        See `learn`.
    """
    diameter = diameter_from(read, {path: name}, settings, models, tell)
    found = thresholds_from(read, path, name, _with(settings, diameter), models, tell)
    return Learnt(found.settings, models, diameter, found.thresholds, found.known)


def settled(settings: Settings, out: Path) -> Settings:
    """Return the settings with what a results folder learnt, where they leave it open."""
    if settings.cell_diameter_um is None:
        settings = _with(settings, read_diameter(out) or Diameter())
    return with_recorded(settings, out)


def _with(settings: Settings, diameter: Diameter) -> Settings:
    value = diameter.value_um
    return settings if value is None else settings.updated(cell_diameter_um=value)
