"""A finished image of a results folder into the viewer: channels, masks, puncta, tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_tam._napari._sample_data import layers_of
from napari_tam._napari._session import Found
from napari_tam.correct import correct
from napari_tam.corrections import read_corrections
from napari_tam.edits import Edits, read_edits
from napari_tam.errors import InputError
from napari_tam.images import read_fields
from napari_tam.listing import stem_of
from napari_tam.results import mask_path, read_mask

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam._napari._session import Session
    from napari_tam.batch import Outcome
    from napari_tam.corrections import Corrections
    from napari_tam.field import Field
    from napari_tam.settings import Settings


def open_result(session: Session, folder: Path, outcome: Outcome) -> Found:
    """Show an image of a batch with its results; the images of earlier ones are removed.

    Raises
    ------
    InputError
        If the image or its masks are not there any more, or it is a volume.
    """
    analysis = outcome.analysis
    if analysis is None:
        raise InputError("the image was not analysed", where=outcome.path)
    field = _field(outcome)
    cells = read_mask(mask_path(folder, outcome.name, "cells"))
    nuclei_path = mask_path(folder, outcome.name, "nuclei")
    nuclei = read_mask(nuclei_path) if nuclei_path.exists() else None
    edits = read_edits(folder, outcome.name, field.shape) or Edits()
    viewer = session.viewer
    names = {layer.name for layer in viewer.layers}
    images = [
        viewer.add_image(data, **arguments)
        for data, arguments, _ in layers_of(field)
        if arguments["name"] not in names
    ]
    for layer in viewer.layers:  # earlier images would shine through
        known = layer.metadata.get("napari-tam", {}).get("image")
        if known is not None:
            layer.visible = known == field.name and not layer.name.startswith("nuclei")
    where = {"scale": (field.pixel_size_um,) * 2, "units": ("µm", "µm")}
    corrected = correct(field, analysis.settings, _calibration(analysis.settings))
    full = replace(
        analysis,
        field=corrected.field,
        cells=cells,
        nuclei=nuclei,
        edits=edits,
        raw=field,
        corrected=corrected,
    )
    found = session.put(Found(outcome.name, where, full, edits, folder))
    if images:
        viewer.reset_view()
    return found


def _calibration(settings: Settings) -> Corrections | None:
    if settings.corrections == "none":
        return None
    from pathlib import Path

    return read_corrections(Path(settings.corrections).expanduser())


def _field(outcome: Outcome) -> Field:
    analysis = outcome.analysis
    assert analysis is not None
    several = outcome.name != stem_of(outcome.path)
    # a single field may have been renamed because two files share a name
    fields = list(read_fields(outcome.path, analysis.settings))
    if len(fields) == 1:
        field = replace(fields[0], name=outcome.name)
    else:
        ends = [field for field in fields if outcome.name.endswith(field.name[len(stem_of(outcome.path)) :])]
        if not several or len(ends) != 1:
            raise InputError(f"{outcome.name} is not in the file any more", where=outcome.path)
        field = replace(ends[0], name=outcome.name)
    if next(iter(field.channels.values())).ndim != 2:
        raise InputError("a volume cannot be opened here", where=outcome.name, fix="Open its masks as layers")
    return field
