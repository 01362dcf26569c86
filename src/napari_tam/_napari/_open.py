"""A finished image of a results folder: read back to be plotted, corrected and run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_tam._napari._found import OF_VOLUMES, Found
from napari_tam._napari._layers import KEY, kind_of, layers_of, positions, scale_of
from napari_tam.errors import InputError
from napari_tam.io.listing import name_of
from napari_tam.io.masks.find import NONE
from napari_tam.markers.labels import EXOSOME, labels_of, rows_of
from napari_tam.markers.names import AND, listed
from napari_tam.pipeline.edits import Edits, near
from napari_tam.results.edits import read_edits
from napari_tam.results.folder import OK, mask_path, read_mask, read_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_tam._napari._layers import LayerData
    from napari_tam._napari._session import Session
    from napari_tam.batches.run import Outcome
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.settings import Settings


def read_found(folder: Path, image: str) -> Found:
    """Read an image of a results folder; without its channels where its file is not in its place any more.

    Raises
    ------
    InputError
        If the folder is damaged or has no such image.
    """
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.settings import Settings

    results = read_results(folder)
    done = results.images[results.images["status"] == OK].set_index("image", drop=False)
    if image not in done.index:
        raise InputError(f"{image} was not analysed", where=folder)
    row = done.loc[image]
    settings = Settings.from_yaml(folder / "settings.yaml")
    step = float(str(row.get("z_step_um", "nan")))
    field = Field(image, {}, float(str(row["pixel_size_um"])), z_step_um=step if step > 0 else None)
    try:
        if source := str(row["source"] or ""):
            labels = labels_of(results.cells.columns)
            field = _read_field(Path(source), image, _with_labels(settings, labels))
    except InputError as error:
        show_warning(f"Only masks and puncta of {image} are shown: {error}")
    table, puncta = (
        rows[rows["image"] == image].reset_index(drop=True) for rows in (results.cells, results.puncta)
    )
    cells, nuclei = _masks(folder, image)
    return _found(folder, Analysis(field, settings, cells, nuclei, table, puncta, dict(row), {}))


def _with_labels(settings: Settings, labels: Sequence[str]) -> Settings:
    """Return settings that read the exosome channels that results have; the plugin's own name no channels."""
    if not labels or len(listed(settings.channels.get(EXOSOME, ""))) > 1:
        return settings
    return settings.updated(channels={**settings.channels, EXOSOME: AND.join(labels)})


def found_of(folder: Path, outcome: Outcome) -> Found:
    """Return an image of a batch, which may still be running, with its channels and masks.

    Raises
    ------
    InputError
        If the image or its masks are not there any more.
    """
    analysis = outcome.analysis
    if analysis is None:
        raise InputError("the image was not analysed", where=outcome.path)
    field = _read_field(outcome.path, outcome.name, analysis.settings)
    cells, nuclei = _masks(folder, outcome.name)
    return _found(folder, replace(analysis, field=field, cells=cells, nuclei=nuclei))


def layers_of_found(found: Found) -> list[LayerData]:
    """Return the layers of a finished image; once in a viewer, they join its session."""
    field = found.analysis.raw
    layers = [] if field is None else layers_of(field)
    for data, arguments, kind in found.layers_data():
        role = kind_of(arguments["name"], labels_of(found.analysis.table.columns))
        known = {**arguments["metadata"][KEY], "kind": role, "opened": found}
        layers.append((data, {**arguments, "metadata": {KEY: known}}, kind))
    return layers


def show_found(session: Session, found: Found) -> Found:
    """Show a finished image; earlier ones are hidden, as they would shine through."""
    viewer = session.viewer
    names = {layer.name for layer in viewer.layers}
    field = found.analysis.raw
    images = [
        viewer.add_image(data, **arguments)
        for data, arguments, _ in ([] if field is None else layers_of(field))
        if arguments["name"] not in names
    ]
    for layer in viewer.layers:
        known = layer.metadata.get(KEY, {}).get("image")
        if known is not None:
            layer.visible = known == found.name and not layer.name.startswith("nuclei")
    session.put(found)
    session.opened.emit(found)
    if images:
        viewer.reset_view()
    return found


def _found(folder: Path, analysis: Analysis) -> Found:
    """Complete what was read: corrected channels, and the corrections by hand that it was made with."""
    from napari_tam.batches.defects import defects_of
    from napari_tam.correct.apply import correct
    from napari_tam.correct.defects import without_defects
    from napari_tam.correct.folder import read_corrections

    field, settings = analysis.field, analysis.settings
    volume = analysis.cells.ndim > 2
    edits = (None if volume else read_edits(folder, field.name, analysis.cells.shape)) or Edits()
    if field.channels:
        known = settings.corrections
        calibration = None if known == "none" else read_corrections(Path(known).expanduser())
        whole, _ = without_defects(field, defects_of(settings, folder))
        corrected = correct(whole, settings, calibration)
        analysis = replace(analysis, field=corrected.field, raw=field, corrected=corrected)
    where = {"scale": scale_of(field), "units": ("µm",) * analysis.cells.ndim}
    if volume:
        return Found(field.name, where, replace(analysis, edits=edits), edits, folder, fixed=OF_VOLUMES)
    return Found(field.name, where, replace(analysis, edits=_made_with(edits, analysis)), edits, folder)


def _made_with(edits: Edits, analysis: Analysis) -> Edits:
    """Return the corrections that results were made with: those on disk may be newer, or discarded since."""
    notes = str(analysis.summary.get("notes"))
    labels = labels_of(analysis.table.columns) or [""]
    held = True
    for number, label in enumerate(labels):
        at, (added, removed) = positions(rows_of(analysis.puncta, label)), edits.of(label, number)
        held &= bool(near(added, at).all() and not near(at, removed).any())
    if held:
        made = replace(edits, cells=None, nuclei=None)
    else:
        made = Edits()
    for kind in ("cells", "nuclei"):
        labels, mine = getattr(analysis, kind), getattr(edits, kind)
        if mine is not None and labels is not None and np.array_equal(mine, labels):
            made = replace(made, **{kind: mine})
        elif f"{kind} corrected by hand" in notes:
            made = replace(made, **{kind: labels})
    return edits if all(a is b for a, b in zip(_parts(made), _parts(edits), strict=True)) else made


def _parts(edits: Edits) -> tuple[Any, ...]:
    return edits.cells, edits.nuclei, edits.added, edits.removed, edits.others


def _masks(folder: Path, image: str) -> tuple[Any, Any]:
    path = mask_path(folder, image, "cells")
    if not path.exists():
        raise InputError("the mask of the cells is not there", where=path)
    nuclei = mask_path(folder, image, "nuclei")
    return read_mask(path), read_mask(nuclei) if nuclei.exists() else None


def _read_field(path: Path, name: str, settings: Settings) -> Field:
    from napari_tam.io.images import read_fields
    from napari_tam.pipeline.tiles import is_large

    settings = settings.updated(cells_masks=NONE, nuclei_masks=NONE)  # the masks are those of the results
    own = name_of(path, settings.files)
    fields = list(read_fields(path, settings))
    ends = fields
    if len(fields) > 1:
        ends = [field for field in fields if name.endswith(field.name[len(own) :])]
    if len(ends) != 1:
        raise InputError(f"{name} is not in the file any more", where=path)
    if is_large(ends[0]):
        raise InputError("the image is too large to be opened with its results", where=path)
    return replace(ends[0], name=name)  # a single field may have been renamed: two files share a name
