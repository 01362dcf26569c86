"""Labels and puncta of a volume → tables: the 3-D counterpart of `napari_tam.measure.cells`.

The 2-D columns are measured on the maximum intensity projection; those that have a 3-D meaning are then
replaced, and those of `napari_tam.columns.VOLUME_CELL_COLUMNS` and `VOLUME_PUNCTA_COLUMNS` added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.columns import PUNCTA_COLUMNS, VOLUME_CELL_COLUMNS, VOLUME_PUNCTA_COLUMNS, build_table
from napari_tam.io.check import saturation_level
from napari_tam.io.label_columns import label_columns
from napari_tam.markers.labels import LABEL, by_label, is_exosome_role, rows_of
from napari_tam.measure.cells import (
    Exosomes,
    check_labels,
    exosome_intensities,
    exosome_summary,
    measure,
    puncta_of_cells,
    stacked,
)
from napari_tam.measure.colocalisation import CellPixels
from napari_tam.measure.intensity import background
from napari_tam.measure.labels import label_distance, nearest_other, together
from napari_tam.measure.place import boundary_distance, nucleus_owners
from napari_tam.measure.regions import Floats, Ints, Regions
from napari_tam.settings import ROLES
from napari_tam.volume.place import Surfaces, assign, deepest_points, nucleus_distance_um
from napari_tam.volume.projection import project_field, project_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_tam.io.field import Field
    from napari_tam.settings import Settings

_Columns = dict[str, npt.NDArray[Any]]

#: Half of the full width at half maximum of a Gaussian, over that width.
_HALF = 0.5


def measure_volume(
    field: Field,
    cells: npt.NDArray[Any],
    nuclei: npt.NDArray[Any] | None,
    spots: pd.DataFrame,
    settings: Settings,
    raw_exosomes: Mapping[str, npt.NDArray[Any]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]:
    """Measure every cell and every punctum of a volume.

    Parameters
    ----------
    field
        The image, ZYX channels; it must have the roles cell and exosome.
    cells, nuclei
        ZYX labels, 0 = background; nuclei is None without a nuclear stain.
    spots
        Puncta: `z_px`, `y_px`, `x_px` and what the detector knows of them.
    settings
        `membrane_distance_um`, `spot_sigma_z_um`, `perinuclear_distance_um` and `central_radius` are used.
    raw_exosomes
        The exosome channels before corrections by role, which judge saturation; None: those of `field`.

    Returns
    -------
    table, puncta, summary
        As those of `napari_tam.measure.cells.measure`, with the columns of volumes.

    Raises
    ------
    ValueError
        If a label image has not the field's shape.
    """
    shape, step, um = (field.planes, *field.shape), field.z_step_um, field.pixel_size_um
    if step is None:
        raise ValueError("the field is a plane")
    check_labels(cells, nuclei, shape)
    voxel = np.array([step, um, um])
    flat_cells = project_labels(cells)
    flat_nuclei = None if nuclei is None else project_labels(nuclei)
    table, _, summary = measure(project_field(field), flat_cells, flat_nuclei, spots, settings)

    # Sums over labels do not depend on how the planes are arranged: stacked vertically they are one plane.
    regions = Regions(cells.reshape(-1, shape[2]))
    nuclear = None if nuclei is None else Regions(nuclei.reshape(-1, shape[2]))
    owner = None if nuclear is None else nucleus_owners(nuclear, regions)
    surfaces = Surfaces(cells, regions.ids, voxel)
    clear = _clear_of(Regions(flat_cells), field.planes)
    volume = _Volume(field, cells, regions, surfaces, nuclei, owner, clear, settings)
    raw = raw_exosomes or {}
    area = table["area_um2"].to_numpy()
    solid = _solid(cells, regions, surfaces, voxel)
    sizes = area, solid["volume_um3"]
    parts = {
        label: _measure_exosomes(volume, role, rows_of(spots, label), raw.get(role), sizes)
        for label, role in field.exosomes.items()
    }
    first = next(iter(parts.values()))
    values = solid | first.values
    roles = [role for role in ROLES if role in field.channels and not is_exosome_role(role)]
    for role in roles:
        values[f"{role}_mean"] = regions.sums(field.channels[role].reshape(-1, shape[2])) / regions.area
    if nuclear is not None and owner is not None:
        values |= _nuclei(nuclear, owner, len(regions), float(voxel.prod()))
    nuclear_volume = values.get("nucleus_volume_um3", np.full(len(regions), np.nan))
    values["nucleus_cell_volume_ratio"] = nuclear_volume / values["volume_um3"]
    table = _with_volumes(table, values)
    notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
    summary |= {
        "nuclei": None if nuclear is None else len(nuclear),
        **first.summary,
        "notes": "; ".join([*field.notes, *notes, *_cut_note(table)]),
        "planes": field.planes,
        "z_step_um": step,
    }
    if len(parts) == 1:
        return table, first.puncta, summary
    puncta = stacked(parts)
    table = _with_label_volumes(table, parts)
    summary |= by_label({label: part.summary for label, part in parts.items()})
    limit_um = summary["label_distance_um"] = label_distance(puncta, settings)
    rank = np.concatenate([part.rank for part in parts.values()])
    places = puncta[["z_um", "y_um", "x_um"]].to_numpy(np.float64, copy=True)
    # as wide along z as it is in y and x, so that one distance is resolved in all directions
    taller = float((puncta["width_z_um"] / puncta["width_um"]).median()) if len(puncta) else 1.0
    places[:, 0] /= taller if np.isfinite(taller) else 1.0
    puncta["other_label_um"] = nearest_other(places, rank, puncta[LABEL])
    flat = Regions(flat_cells)
    pixels = CellPixels.of(flat, boundary_distance(flat), flat_nuclei) if len(flat) else None
    table = table.assign(**together(list(parts), puncta, places, rank, flat, pixels, limit_um, um, settings))
    return table, puncta, summary


@dataclass(frozen=True)
class _Volume:
    """What is the same for all exosome channels of a volume."""

    field: Field
    cells: npt.NDArray[Any]
    regions: Regions
    surfaces: Surfaces
    nuclei: npt.NDArray[Any] | None
    owner: Ints | None
    clear: npt.NDArray[np.float32]
    settings: Settings


def _measure_exosomes(
    volume: _Volume,
    role: str,
    spots: pd.DataFrame,
    raw: npt.NDArray[Any] | None,
    sizes: tuple[Floats, Floats],
) -> Exosomes:
    """Measure one exosome channel; `sizes` are area (µm²) and volume (µm³) of the cells."""
    field, regions, settings = volume.field, volume.regions, volume.settings
    stack = field.channels[role]
    membrane_um = membrane_distance(spots, settings, field.pixel_size_um)
    puncta, rank = _puncta(
        field, volume.cells, regions, volume.surfaces, volume.nuclei, volume.owner, spots, membrane_um
    )
    values = puncta_of_cells(puncta, rank, sizes[0], settings)
    values |= _located(puncta, rank, len(regions))
    values["puncta_per_um3"] = values["puncta_count"] / sizes[1]
    width = stack.shape[2]
    level = background(stack.reshape(-1, width), regions, volume.clear)
    values |= exosome_intensities(regions.sums(stack.reshape(-1, width)), regions.area, level)
    clipped = _clipped(stack if raw is None else raw)
    values["saturated_fraction"] = regions.sums(clipped.reshape(-1, width)) / regions.area
    summary = {
        **exosome_summary(rank, level),
        "saturated_fraction": float(clipped.mean()),
        "membrane_distance_um": membrane_um,
        "puncta_internal": int((puncta["location"] == "inside").sum()),
        "puncta_membrane": int((puncta["location"] == "membrane").sum()),
    }
    return Exosomes(values, puncta, rank, summary, level.notes)


def _with_label_volumes(table: pd.DataFrame, parts: Mapping[str, Exosomes]) -> pd.DataFrame:
    """Return a table whose columns of the labels are those of the volume, not of the projection."""
    named = by_label({label: part.values for label, part in parts.items()})
    known = {column.name for column in label_columns(list(parts))}
    table = table.assign(**{name: own for name, own in named.items() if name in known})
    further = [column for column in label_columns(list(parts), volume=True) if column.name not in known]
    added = build_table(further, {column.name: named[column.name] for column in further}, len(table))
    return pd.concat([table, added], axis=1)


def _clipped(image: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which voxels are saturated."""
    level = saturation_level(image)
    clipped: npt.NDArray[np.bool_] = np.zeros(image.shape, bool) if level is None else image == level
    return clipped


def _with_volumes(table: pd.DataFrame, values: _Columns) -> pd.DataFrame:
    """Return the table of the projection with values of the volume in place of its own, or added."""
    added = {column.name for column in VOLUME_CELL_COLUMNS}
    for name in [name for name in values if name not in added]:
        table[name] = values.pop(name)
    table["no_nucleus"] = (table["nucleus_count"] == 0).astype("boolean")
    table["many_nuclei"] = (table["nucleus_count"] > 1).astype("boolean")
    return pd.concat([table, build_table(VOLUME_CELL_COLUMNS, values, len(table))], axis=1)


def _cut_note(table: pd.DataFrame) -> tuple[str, ...]:
    """Say how many cells reach beyond the stack."""
    cut = int(table["touches_stack_end"].sum())
    if not cut:
        return ()
    return (f"{cut} of {len(table)} cells reach the first or last plane: what lies beyond is not known",)


def membrane_distance(spots: pd.DataFrame, settings: Settings, least_um: float) -> float:
    """Return within how many µm of the surface a punctum is membrane-bound; see the setting of this name."""
    if settings.membrane_distance_um is not None:
        return settings.membrane_distance_um
    from napari_tam.puncta.patches import FWHM

    if settings.spot_sigma_z_um is not None:
        width = FWHM * settings.spot_sigma_z_um
    else:
        width = float(spots["width_z_um"].median()) if len(spots) and "width_z_um" in spots else 0.0
    return max(_HALF * width, least_um)


def _clear_of(flat: Regions, planes: int) -> npt.NDArray[np.float32]:
    """Distance of each voxel's column to the cells' projection, as `intensity.background` wants it."""
    distance = np.where(flat.labels > 0, 0, boundary_distance(flat)).astype(np.float32)
    return np.tile(distance, (planes, 1))


def _solid(
    cells: npt.NDArray[Any], regions: Regions, surfaces: Surfaces, voxel: npt.NDArray[np.float64]
) -> _Columns:
    """Volume, surface and the like of every cell."""
    planes, height, width = cells.shape
    volume = regions.area * voxel.prod()
    z = np.arange(planes * height)[:, None] // height
    centre = regions.sums(np.broadcast_to(z, (planes * height, width)).astype(np.float32)) / regions.area
    first, last = regions.boxes[:, 0] // height, (regions.boxes[:, 2] - 1) // height
    equal = (6 * volume / np.pi) ** (1 / 3)
    return {
        "centroid_z_px": centre,
        "volume_um3": volume,
        "surface_um2": surfaces.area,
        "equivalent_diameter_3d_um": equal,
        # Faceting can leave the surface of a small ball a little short.
        "sphericity": np.pi * equal**2 / np.where(surfaces.area > 0, surfaces.area, np.nan),
        "height_um": (last - first + 1) * voxel[0],
        "inscribed_radius_3d_um": deepest_points(cells, regions.ids, voxel),
        "touches_stack_end": (first == 0) | (last == planes - 1),
    }


def _puncta(
    field: Field,
    cells: npt.NDArray[Any],
    regions: Regions,
    surfaces: Surfaces,
    nuclei: npt.NDArray[Any] | None,
    owner: Ints | None,
    spots: pd.DataFrame,
    membrane_um: float,
) -> tuple[pd.DataFrame, Ints]:
    """Return the puncta table, and the rank of each punctum's cell (-1 = outside)."""
    assert field.z_step_um is not None
    voxel = np.array([field.z_step_um, field.pixel_size_um, field.pixel_size_um])
    names = ("z_px", "y_px", "x_px")
    empty = pd.Series(dtype=float)
    points = np.stack([spots.get(name, empty).to_numpy(np.float64) for name in names], axis=1)
    place = assign(cells, regions, surfaces, points, voxel, membrane_um)
    deepest = np.append(deepest_points(cells, regions.ids, voxel), np.nan)[place.rank]
    um = points * voxel
    depth = np.maximum(place.depth_um, 0)
    own: _Columns = {
        "label": np.append(regions.ids, 0)[place.rank],
        **dict(zip(names, points.T, strict=True)),
        **dict(zip(("z_um", "y_um", "x_um"), um.T, strict=True)),
        "edge_distance_um": np.where(place.rank >= 0, np.abs(place.depth_um), np.nan),
        "nucleus_distance_um": np.full(len(points), np.nan),
        "relative_radius": np.where(place.rank >= 0, np.clip(1 - depth / deepest, 0, 1), np.nan),
        "depth_um": place.depth_um,
        "location": place.location,
    }
    if nuclei is not None and owner is not None:
        own["nucleus_distance_um"] = nucleus_distance_um(nuclei, owner, points, place.rank, voxel)
    columns = (*PUNCTA_COLUMNS, *VOLUME_PUNCTA_COLUMNS)
    known = {column.name for column in columns}
    given = {name: spots[name].to_numpy() for name in spots.columns if name in known}
    keys = {"image": field.name, "frame": field.frame}
    table = build_table(columns, {**given, **keys, **own}, len(points))
    further = [name for name in spots.columns if name not in known]
    return pd.concat([table, spots[further].reset_index(drop=True)], axis=1), place.rank


def _located(puncta: pd.DataFrame, rank: Ints, cells: int) -> _Columns:
    """Count every cell's puncta by place."""
    inside, membrane = (
        np.bincount(rank[(rank >= 0) & (puncta["location"] == name).to_numpy()], minlength=cells)
        for name in ("inside", "membrane")
    )
    total = inside + membrane
    share = [
        np.divide(part, total, out=np.full(cells, np.nan), where=total > 0) for part in (inside, membrane)
    ]
    depth: Floats = puncta["depth_um"].to_numpy()
    sums = np.bincount(rank[rank >= 0], depth[rank >= 0], minlength=cells)
    return {
        "internal_count": inside,
        "membrane_count": membrane,
        "internal_fraction": share[0],
        "membrane_fraction": share[1],
        "puncta_depth_um": np.divide(sums, total, out=np.full(cells, np.nan), where=total > 0),
    }


def _nuclei(nuclear: Regions, owner: Ints, cells: int, voxel_um3: float) -> _Columns:
    """Return number and volume of each cell's nuclei."""
    owned = owner >= 0
    return {
        "nucleus_count": np.bincount(owner[owned], minlength=cells),
        "nucleus_volume_um3": np.bincount(owner[owned], nuclear.area[owned], minlength=cells) * voxel_um3,
    }
