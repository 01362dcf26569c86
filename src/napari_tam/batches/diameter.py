"""The diameter that the cells of a batch are looked for with, learnt from some of its fields.

One for all, so that conditions are segmented alike, and each field is looked at once: where every field
has to tell its own, finding the cells takes three times as long.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_tam import files
from napari_tam.batches.sample import Sampler
from napari_tam.io.images import read_fields
from napari_tam.io.masks.find import NONE
from napari_tam.pipeline.sizes import diameter_of, tells_diameters
from napari_tam.results.field_store import FieldStore
from napari_tam.results.fingerprint import analysis_hash
from napari_tam.segment.common_diameter import Diameter, agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_tam.batches.outcome import BatchProgress
    from napari_tam.batches.sample import ReadFields
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: Where it is written in the results folder.
DIAMETER_FILE = "cell_diameter.json"

#: So many fields are looked at, of batches of so many at least.
LOOKED_AT, FEWEST_FIELDS = 8, 16


def learn_diameter(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    resume: bool = False,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Diameter:
    """Learn the diameter of a batch's cells, or read that of an earlier run, and write it down.

    Parameters
    ----------
    names
        The files, and their names.
    settings, models, out
        How they are analysed, and the results folder.
    resume
        Go on as an earlier run with the same settings and networks did.
    tell
        Takes the progress.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    record = out / DIAMETER_FILE
    if not _is_open(settings, models):
        record.unlink(missing_ok=True)
        return _given(settings)
    depends = analysis_hash(settings, models)
    known = _read(record, depends) if resume else None
    if known is not None:
        return known
    if resume and not record.exists() and FieldStore(out, make=False).names():
        # results of a version that had no common diameter stay comparable with those that are added
        return Diameter(reason="as in the earlier run, each field told its own")
    learnt = diameter_from(read_fields, names, settings, models, tell)
    files.write_json(record, {**learnt.as_dict(), "depends": depends})
    return learnt


def diameter_from(
    read: ReadFields,
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Diameter:
    """Learn the diameter from some of the fields that `read` gives; nothing is written.

    Parameters
    ----------
    read
        Reads fields, see `napari_tam.io.images.read_fields`.
    names, settings, models, tell
        See `learn_diameter`.
    """
    if not _is_open(settings, models):
        return _given(settings)
    sampler = Sampler(settings, read, tell, "diameter")
    if not sampler.has(names, FEWEST_FIELDS):
        return Diameter(reason="each field told its own: there are few")
    found = []
    for one in sampler.fields(names, LOOKED_AT):
        try:
            estimate = diameter_of(one, settings, models)
        except Exception:  # it fails with its reason when its turn comes
            continue
        if estimate is not None and not estimate.doubt:
            found.append((one.name, round(estimate.diameter_um, 2)))
    return agreed(tuple(found), LOOKED_AT)


def _is_open(settings: Settings, models: Models) -> bool:
    """Tell whether cells are looked for, and with a diameter that nobody gave."""
    return settings.cell_diameter_um is None and settings.cells_masks == NONE and tells_diameters(models)


def _given(settings: Settings) -> Diameter:
    """Return what the settings say; without a diameter there the network needs none."""
    given = settings.cell_diameter_um
    return Diameter() if given is None else Diameter(given, "given", "set by the user")


def read_diameter(out: Path) -> Diameter | None:
    """Return the diameter of a results folder; None if none was learnt there, or its record is damaged."""
    return _read(out / DIAMETER_FILE)


def _read(record: Path, depends: str | None = None) -> Diameter | None:
    try:
        known = json.loads(record.read_text("utf-8"))
        found = Diameter.from_dict(known)
        return found if depends in (None, known["depends"]) else None
    # none, or damaged: it is learnt anew
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
