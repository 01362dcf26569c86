"""Scene: fluorescence fields of macrophages and exosomes with known truth.

A `Scene` is drawn from `SceneParameters` and a seed: outlines of macrophages (`shapes`), their
nuclei and stains (`stains`), exosome puncta, and the microscope (blur, uneven illumination,
bleed-through, Poisson and camera noise). The same code makes the sample data, the training
images and the tests' truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.markers.labels import LABEL
from napari_tam.simulate import cells as shapes
from napari_tam.simulate import lysosomes, markers, optics, puncta, stains, transfer
from napari_tam.simulate.parameters import SceneParameters

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.random import Generator

CHANNEL_NAMES = ("CD11b", "DAPI", "exosome")

#: What stains the cells where not all of them are macrophages.
ALL_CELLS_NAME = "CellMask"

#: Name of the fourth channel of a scene that has lysosomes.
LYSOSOME_NAME = "LysoTracker"


@dataclass(frozen=True)
class Scene:
    """One simulated field and its truth.

    Attributes
    ----------
    image
        CYX uint16: cell stain, nuclear stain, exosomes (of the first label); lysosomes, if there are any;
        exosomes of further labels; and the markers. `channel_names` has the names.
    cells, nuclei
        YX uint16 labels; a nucleus carries the label of its cell (two nuclei share it).
    puncta
        One row per punctum: y_px, x_px, cell (0 = outside), amplitude_photons (height of the
        Gaussian), sigma_px, aggregate (0 or 1); and, in a scene with lysosomes, lysosome: the
        label of the lysosome under it (0 = none). Where they are, not where a channel shift shows them. With
        labels also exosome_label.
    phenotypes
        One row per cell: label, phenotype ("M1" or "M2"), axis_ratio of the drawn body; with an
        `uptake_share` below 1 also takes_up; with markers or tumour cells cell_type ("macrophage" or
        "tumour", which has no phenotype) and, for each marker, whether the cell carries it; with labels what
        `napari_tam.simulate.transfer.draw_transfer` says.
    lysosomes
        YX labels of the lysosomes, or None.
    light
        YX, what reaches each pixel relative to the brightest point.
    """

    image: npt.NDArray[np.uint16]
    cells: npt.NDArray[np.uint16]
    nuclei: npt.NDArray[np.uint16]
    puncta: pd.DataFrame
    phenotypes: pd.DataFrame
    parameters: SceneParameters = field(repr=False)
    lysosomes: npt.NDArray[np.uint16] | None = None
    light: npt.NDArray[np.float32] | None = field(default=None, repr=False)

    @classmethod
    def draw(cls, parameters: SceneParameters, seed: int | Generator) -> Scene:
        """Draw a field; the same parameters and seed give the same pixels."""
        rng = np.random.default_rng(seed)
        p = parameters
        population = shapes.draw_cells(p, rng)
        labels, nuclei = population.labels, shapes.draw_nuclei(p, population, rng)
        blur_px = p.blur_um / p.pixel_size_um
        cell = optics.blur(stains.cell_stain(p, population, nuclei, rng), blur_px)
        nucleus = optics.blur(stains.nuclear_stain(p, nuclei, rng), blur_px)
        phenotypes, appetite = puncta.draw_appetite(p, population.phenotypes, rng)
        if p.labels:
            spots, phenotypes = transfer.draw_transfer(p, labels, nuclei, phenotypes, rng)
        else:
            spots = puncta.draw_puncta(p, labels, nuclei, rng, appetite)
        organelles = None
        if p.lysosomes_per_cell > 0:
            # A stream of its own: the other channels are those of the scene without lysosomes.
            own = rng.spawn(1)[0]
            organelles = lysosomes.draw_lysosomes(p, labels, nuclei, own)
            spots = lysosomes.colocalise(p, spots, organelles, own)
        exosomes = []
        for label in p.labels or (None,):
            here = spots if label is None else spots[spots[LABEL] == label.name]
            faint = optics.blur(stains.haze(p, labels, nuclei, rng), 2 * blur_px)
            exosomes.append(_exosome_stain(p, here, faint) + p.bleed_through * cell)
        light = optics.illumination(p.shape, p.illumination, rng, p.light_centre)

        def seen(photons: npt.NDArray[np.float32], noise: Generator) -> npt.NDArray[np.uint16]:
            lit = light * (photons + p.background_photons)
            return optics.camera(lit, p.gain, p.offset, p.read_noise, noise)

        image = [seen(channel, rng) for channel in (cell, nucleus, exosomes[0])]
        if organelles is not None:
            image.append(seen(optics.blur(organelles.photons, p.spot_sigma_um / p.pixel_size_um), own))
        image += [seen(channel, rng) for channel in exosomes[1:]]
        if p.markers:
            own = rng.spawn(1)[0]
            phenotypes = markers.carried(p, phenotypes)
            image += [seen(stain, own) for stain in markers.marker_stains(p, labels, phenotypes, own)]
        marked = None if organelles is None else organelles.labels
        return cls(np.stack(image), labels, nuclei, spots, phenotypes, p, marked, light)

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels, in their order."""
        p = self.parameters
        cell, nucleus, exosome = CHANNEL_NAMES
        first, *others = [label.name for label in p.labels] or [exosome]
        names = [ALL_CELLS_NAME if p.tumour_share > 0 else cell, nucleus, first]
        names += [] if self.lysosomes is None else [LYSOSOME_NAME]
        return [*names, *others, *(marker.name for marker in p.markers)]


def _exosome_stain(
    p: SceneParameters, spots: pd.DataFrame, faint: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the photons of exosome puncta and haze, moved by the channel shift."""
    moved = spots.assign(
        y_px=spots["y_px"] + p.channel_shift_um[0] / p.pixel_size_um,
        x_px=spots["x_px"] + p.channel_shift_um[1] / p.pixel_size_um,
    )
    stain = optics.render_spots(p.shape, moved)
    return stain + optics.moved(faint, p.channel_shift_um, p.pixel_size_um)


def write_fields(
    out: Path, fields: int, seed: int, *, size: int = 512, parameters: SceneParameters | None = None
) -> list[Path]:
    """Write simulated fields with their truth, in the layout that `napari-tam score` reads.

    For each field ``field_01.ome.tif`` (CYX, uint16), ``…_masks.tif``, ``…_nuclei.tif``,
    ``…_puncta.csv`` and ``…_cells.csv`` (phenotypes).

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from napari_tam.errors import InputError

    base = parameters or SceneParameters(shape=(size, size))
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for index in range(fields):
            rng = np.random.default_rng([seed, index])
            scene = Scene.draw(_vary(base, rng), rng)
            stem = out / f"field_{index + 1:02d}"
            written.append(write_scene(scene, stem))
    except OSError as error:
        raise InputError(
            f"the simulated fields cannot be written ({error.strerror or error})",
            where=out,
            fix="choose a folder that you may write to, with enough room",
        ) from error
    return written


def write_scene(scene: Scene, stem: Path) -> Path:
    """Write a field and its truth as files that begin with `stem`; return the image's path."""
    import tifffile

    image = stem.with_name(f"{stem.name}.ome.tif")
    um = scene.parameters.pixel_size_um
    pixels: dict[str, Any] = {
        "PhysicalSizeX": um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": um,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(
        image,
        scene.image,
        compression="zlib",
        metadata={"axes": "CYX", "Channel": {"Name": scene.channel_names}, **pixels},
    )
    tifffile.imwrite(f"{stem}_masks.tif", scene.cells, compression="zlib")
    tifffile.imwrite(f"{stem}_nuclei.tif", scene.nuclei, compression="zlib")
    scene.puncta.round(3).to_csv(f"{stem}_puncta.csv", index=False)
    scene.phenotypes.round(3).to_csv(f"{stem}_cells.csv", index=False)
    return image


def _vary(base: SceneParameters, rng: Generator) -> SceneParameters:
    """Vary what differs between the fields of one experiment: density, uptake, phenotype, light."""
    return replace(
        base,
        cells_per_field=max(1, int(base.cells_per_field * rng.uniform(0.6, 1.2))),
        puncta_per_cell=base.puncta_per_cell * rng.uniform(0.4, 1.6),
        m1_fraction=float(rng.uniform(0.2, 0.8)),
        clustering=float(rng.uniform(0.2, 0.8)),
        illumination=base.illumination * rng.uniform(0.5, 1.0),
    )
