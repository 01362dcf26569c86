"""Scene3D: simulated z-stacks of macrophages with puncta known to be inside, on or outside the cell.

Outlines, nuclei and textures are those of `napari_tam.simulate.scene.Scene`; each cell gets a height, the
stains fill it, and a Gaussian point spread function, longer in z than in x and y, blurs the stack
before the camera. (A Gaussian is a confocal microscope's; a widefield one adds light from afar.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from napari_tam.simulate import cells as shapes
from napari_tam.simulate import optics, stains
from napari_tam.simulate.parameters import VolumeParameters
from napari_tam.simulate.scene import CHANNEL_NAMES
from napari_tam.simulate.solids import Slab, cell_stain, fill_solid, heights, nuclear_heights, sample_surface

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels

Volume = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

#: Where a punctum can be, as in the column `location`.
LOCATIONS = ("inside", "membrane", "outside")


@dataclass(frozen=True)
class Scene3D:
    """One simulated stack and its truth.

    Attributes
    ----------
    image
        CZYX uint16: cell stain, nuclear stain, exosomes.
    cells, nuclei
        ZYX uint16 labels: voxels of which over half is in the cell; a nucleus has its cell's label.
    puncta
        One row per punctum: z_px, y_px, x_px, location (`LOCATIONS`), cell (0 = outside; of a punctum on
        a membrane its cell), depth_um (below the surface; negative outside), photons (in all).
    parameters
        What it was drawn from.
    """

    image: npt.NDArray[np.uint16]
    cells: npt.NDArray[np.uint16]
    nuclei: npt.NDArray[np.uint16]
    puncta: pd.DataFrame
    parameters: VolumeParameters = field(repr=False)

    @classmethod
    def draw(cls, parameters: VolumeParameters, seed: int | Sequence[int] | Generator) -> Scene3D:
        """Draw a stack; the same parameters and seed give the same voxels."""
        rng = np.random.default_rng(seed)
        p, plane = parameters, parameters.plane
        population = shapes.draw_cells(plane, rng)
        labels, nuclei = population.labels, shapes.draw_nuclei(plane, population, rng)
        body = heights(p, labels, rng)
        core = nuclear_heights(nuclei, body)
        spots = _draw_puncta(p, labels, body, core, rng)
        filled, kernel = fill_solid(p, body), fill_solid(p, core)
        haze = _blur(p, filled * stains.haze(plane, labels, nuclei, rng))
        channels = (
            _blur(p, cell_stain(p, labels, body, filled, kernel, rng)),
            _blur(p, kernel * stains.nuclear_stain(plane, nuclei, rng)),
            haze + _render(p, spots),
        )
        light = optics.illumination(plane.shape, plane.illumination, rng)
        image = np.stack([_photograph(p, channel, light, rng) for channel in channels])
        known = np.where(filled > 0.5, labels, 0).astype(np.uint16)
        return cls(image, known, np.where(kernel > 0.5, nuclei, 0).astype(np.uint16), spots, p)


def _blur(p: VolumeParameters, volume: Volume) -> Volume:
    """Blur with the microscope's Gaussian."""
    sigma = p.plane.spot_sigma_um / p.plane.pixel_size_um
    planes = np.stack([optics.blur(plane, sigma) for plane in volume])
    return np.asarray(
        gaussian_filter1d(planes, p.spot_sigma_z_um / p.z_step_um, axis=0, mode="nearest"), np.float32
    )


def _photograph(p: VolumeParameters, volume: Volume, light: Volume, rng: Generator) -> npt.NDArray[np.uint16]:
    f = p.plane
    return np.stack(
        [
            optics.camera(light * (plane + f.background_photons), f.gain, f.offset, f.read_noise, rng)
            for plane in volume
        ]
    )


def _render(p: VolumeParameters, spots: pd.DataFrame) -> Volume:
    """Sum the Gaussians of all puncta."""
    volume = np.zeros((p.planes, *p.plane.shape), np.float32)
    sigma = np.array([p.spot_sigma_z_um / p.z_step_um, *[p.plane.spot_sigma_um / p.plane.pixel_size_um] * 2])
    reach = np.ceil(4.5 * sigma).astype(int)
    for *centre, photons in spots[["z_px", "y_px", "x_px", "photons"]].to_numpy():
        low = np.maximum(np.round(centre).astype(int) - reach, 0)
        high = np.minimum(np.round(centre).astype(int) + reach + 1, volume.shape)
        if (high <= low).any():
            continue
        lines = [
            np.exp(-0.5 * ((np.arange(a, b) - c) / s) ** 2) / (np.sqrt(2 * np.pi) * s)
            for a, b, c, s in zip(low, high, centre, sigma, strict=True)
        ]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        volume[box] += photons * np.einsum("i,j,k->ijk", *lines)
    return volume


def _draw_puncta(p: VolumeParameters, labels: Labels, body: Slab, core: Slab, rng: Generator) -> pd.DataFrame:
    """Draw puncta inside (not in the nucleus), on the surface, and in the medium."""
    f, um, count = p.plane, p.plane.pixel_size_um, int(labels.max())
    size = np.array([(p.planes - 1) * p.z_step_um, (labels.shape[0] - 1) * um, (labels.shape[1] - 1) * um])
    if not count:
        raise ValueError("no cell was drawn: more cells_per_field, or a larger field")
    surface, owner = sample_surface(p, labels, body)
    tree = cKDTree(surface)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    uptake = np.exp(rng.normal(-(f.uptake_spread**2) / 2, f.uptake_spread, count))
    taken = rng.poisson(f.puncta_per_cell * uptake * area / area.mean())
    bound = rng.binomial(taken, p.membrane_share)
    free = rng.poisson(taken.sum() * p.outside_share / (1 - p.outside_share))

    def at(points: Points) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        place = np.round(points[:, 1:] / um).astype(int)
        return place[:, 0], place[:, 1]

    def between(points: Points, slab: Slab) -> npt.NDArray[np.bool_]:
        here = at(points)
        return (points[:, 0] > slab.bottom[here]) & (points[:, 0] < slab.top[here])

    parts: list[tuple[Points, npt.NDArray[np.intp], str]] = []
    for index in range(1, count + 1):
        mine = surface[owner == index]
        inside = (mine > [0.5, 1, 1]).all(axis=1) & (mine < size - [0.5, 1, 1]).all(axis=1)
        if inside.any() and bound[index - 1]:
            chosen = rng.choice(np.flatnonzero(inside), bound[index - 1])
            parts.append((mine[chosen], np.full(len(chosen), index), "membrane"))
        low, high = mine.min(axis=0), mine.max(axis=0)
        trial = np.clip(rng.uniform(low, high, (60 * (taken[index - 1] - bound[index - 1]) + 1, 3)), 0, size)
        good = (labels[at(trial)] == index) & between(trial, body) & ~between(trial, core)
        trial = trial[good]
        trial = trial[tree.query(trial)[0] >= p.gap_um][: taken[index - 1] - bound[index - 1]]
        parts.append((trial, np.full(len(trial), index), "inside"))
    # Two of three lie near a cell, where the location is hard to tell.
    trial = rng.uniform([0.5, 0, 0], size - [0.5, 0, 0], (20 * free + 60, 3))
    trial = trial[~between(trial, body)]
    away = tree.query(trial)[0]
    trial, away = trial[away >= p.gap_um], away[away >= p.gap_um]
    near = trial[away < 3 * p.gap_um][: 2 * free // 3]
    parts.append((np.concatenate([near, trial[: free - len(near)]]), np.zeros(0, np.intp), "outside"))

    points = np.concatenate([part[0] for part in parts])
    location = np.concatenate([np.full(len(part[0]), part[2], dtype="<U8") for part in parts])
    cell = np.concatenate(
        [part[1] if part[2] != "outside" else np.zeros(len(part[0]), int) for part in parts]
    )
    depth = tree.query(points)[0] * np.where(location == "outside", -1, 1)
    photons = f.punctum_photons * np.exp(rng.normal(0, f.punctum_spread, len(points)))
    z, y, x = (points / [p.z_step_um, um, um]).T
    return pd.DataFrame(
        {"z_px": z, "y_px": y, "x_px": x, "location": location, "cell": cell, "depth_um": depth}
        | {"photons": photons}
    )


def write_volumes(
    out: Path, fields: int, seed: int, *, planes: int = 20, parameters: VolumeParameters | None = None
) -> list[Path]:
    """Write simulated stacks with their truth.

    For each ``volume_01.ome.tif`` (CZYX, uint16, with voxel size), ``…_masks.tif`` and
    ``…_nuclei.tif`` (ZYX), and ``…_puncta.csv`` (see `Scene3D`).

    Raises
    ------
    InputError
        If the folder cannot be written, or there are fewer than 4 planes (no cell fits between).
    """
    import tifffile

    from napari_tam.errors import InputError

    base = parameters or VolumeParameters()
    if planes < 4:
        raise InputError(f"{planes} planes are no stack", where="--planes", fix="give 4 or more")
    # As many planes as asked for, over the same height.
    base = replace(base, planes=planes, z_step_um=base.z_step_um * base.planes / planes)
    um = base.plane.pixel_size_um
    size: dict[str, Any] = {"PhysicalSizeX": um, "PhysicalSizeY": um, "PhysicalSizeZ": base.z_step_um}
    size |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for index in range(fields):
            scene = Scene3D.draw(base, [seed, index])
            stem = out / f"volume_{index + 1:02d}"
            image = stem.with_suffix(".ome.tif")
            metadata = {"axes": "CZYX", "Channel": {"Name": list(CHANNEL_NAMES)}, **size}
            tifffile.imwrite(image, scene.image, compression="zlib", metadata=metadata)
            for name, labels in (("masks", scene.cells), ("nuclei", scene.nuclei)):
                options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
                tifffile.imwrite(f"{stem}_{name}.tif", labels, metadata={"axes": "ZYX"}, **options)
            scene.puncta.round(3).to_csv(f"{stem}_puncta.csv", index=False)
            written.append(image)
    except OSError as error:
        raise InputError(
            f"the simulated stacks cannot be written ({error.strerror or error})",
            where=out,
            fix="choose a folder that you may write to, with enough room",
        ) from error
    return written
