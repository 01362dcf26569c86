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

from napari_tam.simulate import cells as shapes
from napari_tam.simulate import lysosomes, optics, puncta, stains

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.random import Generator

CHANNEL_NAMES = ("CD11b", "DAPI", "exosome")

#: Name of the fourth channel of a scene that has lysosomes.
LYSOSOME_NAME = "LysoTracker"


@dataclass(frozen=True)
class SceneParameters:
    """What a field looks like. Lengths in µm, intensities in photons.

    The defaults are one plausible field; `random_parameters` draws them over the wide range that
    the networks are trained on.
    """

    shape: tuple[int, int] = (512, 512)
    pixel_size_um: float = 0.325
    cell_diameter_um: float = 22.0
    diameter_spread: float = 0.25  # SD of log diameter
    cells_per_field: int = 40
    clustering: float = 0.5  # 0: spread out, 1: in touching groups
    overlap: float = 0.1  # largest fraction of a cell that one other cell covers
    m1_fraction: float = 0.5
    protrusions: float = 0.5  # 0..1: how many and how long
    ruffles: float = 0.5  # 0..1: roughness of the outline
    stain: tuple[float, float, float] = (0.4, 0.4, 0.2)  # weights of cytoplasm, membrane, actin
    stain_texture: float = 0.5  # 0..1
    stain_photons: float = 400.0
    stain_spread: float = 0.4  # SD of log brightness between cells
    nucleus_photons: float = 500.0
    nucleus_fraction: float = 0.42  # nucleus diameter over cell diameter
    no_nucleus: float = 0.03  # share of cells without a visible nucleus
    two_nuclei: float = 0.03
    puncta_per_cell: float = 15.0
    uptake_spread: float = 0.6  # SD of log uptake between cells
    punctum_photons: float = 1500.0  # median integrated photons of one punctum
    punctum_spread: float = 0.35
    spot_sigma_um: float = 0.4
    perinuclear: float = 0.5  # share of puncta that gather around the nucleus
    membrane_bound: float = 0.15  # share that sits at the cell edge
    free_per_field: float = 15.0
    aggregates_per_field: float = 1.5
    haze_photons: float = 12.0  # exosome label spread through the cells
    background_photons: float = 15.0
    illumination: float = 0.2  # relative fall from centre to corner
    bleed_through: float = 0.0  # fraction of the cell stain seen in the exosome channel
    blur_um: float = 0.2  # optics of the cell and nuclear channels
    gain: float = 2.0  # grey values per photon
    offset: float = 100.0
    read_noise: float = 3.0  # grey values
    light_centre: tuple[float, float] | None = None  # brightest point, relative; drawn when None
    lysosomes_per_cell: float = 0.0  # above 0: a fourth channel
    lysosome_diameter_um: float = 1.2
    lysosome_photons: float = 150.0  # median height before blur
    colocalised: float = 0.0  # share of the puncta in cells that are put into a lysosome
    channel_shift_um: tuple[float, float] = (0.0, 0.0)  # how far exosomes appear from the cells (y, x)
    # what a plate varies; the defaults draw nothing and leave every pixel as it was
    uptake_share: float = 1.0  # share of cells that take up anything
    m2_uptake: float = 1.0  # uptake of an M2 cell over that of an M1 cell of the same area
    dye_particles_per_cell: float = 0.0  # dye without exosome, as bright as a punctum
    aggregate_cells: float = 0.0  # share of cells that hold an aggregate
    whole_cells: bool = False  # no cell is cut by the border: fields lie side by side with a known truth


@dataclass(frozen=True)
class Scene:
    """One simulated field and its truth.

    Attributes
    ----------
    image
        CYX uint16: cell stain, nuclear stain, exosomes; and lysosomes, if there are any.
    cells, nuclei
        YX uint16 labels; a nucleus carries the label of its cell (two nuclei share it).
    puncta
        One row a punctum: y_px, x_px, cell (0 = outside), amplitude_photons (height of the
        Gaussian), sigma_px, aggregate (0 or 1); and, in a scene with lysosomes, lysosome: the
        label of the lysosome under it (0 = none). Where they are, not where a channel shift shows them.
    phenotypes
        One row a cell: label, phenotype ("M1" or "M2"), axis_ratio of the drawn body; with an
        `uptake_share` below 1 also takes_up.
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
        spots = puncta.draw_puncta(p, labels, nuclei, rng, appetite)
        organelles = None
        if p.lysosomes_per_cell > 0:
            # A stream of its own: the other channels are those of the scene without lysosomes.
            own = rng.spawn(1)[0]
            organelles = lysosomes.draw_lysosomes(p, labels, nuclei, own)
            spots = lysosomes.colocalise(p, spots, organelles, own)
        seen = spots.assign(
            y_px=spots["y_px"] + p.channel_shift_um[0] / p.pixel_size_um,
            x_px=spots["x_px"] + p.channel_shift_um[1] / p.pixel_size_um,
        )
        exosome = optics.render_spots(p.shape, seen)
        faint = optics.blur(stains.haze(p, labels, nuclei, rng), 2 * blur_px)
        exosome += optics.moved(faint, p.channel_shift_um, p.pixel_size_um)
        exosome += p.bleed_through * cell
        light = optics.illumination(p.shape, p.illumination, rng, p.light_centre)
        image = [
            optics.camera(light * (channel + p.background_photons), p.gain, p.offset, p.read_noise, rng)
            for channel in (cell, nucleus, exosome)
        ]
        if organelles is not None:
            stain = optics.blur(organelles.photons, p.spot_sigma_um / p.pixel_size_um)
            stain = light * (stain + p.background_photons)
            image.append(optics.camera(stain, p.gain, p.offset, p.read_noise, own))
        marked = None if organelles is None else organelles.labels
        return cls(np.stack(image), labels, nuclei, spots, phenotypes, p, marked, light)


def random_parameters(
    rng: Generator, shape: tuple[int, int] = (512, 512), cell_diameter_px: float | None = None
) -> SceneParameters:
    """Draw parameters over the range that microscopes, stains and cultures span.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        Size of the field in pixels.
    cell_diameter_px
        Median cell diameter; drawn between 30 and 110 px when None.
    """

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    if cell_diameter_px is None:
        cell_diameter_px = log_uniform(30, 110)
    diameter_um = rng.uniform(15, 32)
    pixel_um = diameter_um / cell_diameter_px
    coverage = rng.uniform(0.05, 0.75)
    area_px = np.pi / 4 * cell_diameter_px**2
    stain = rng.dirichlet((0.8, 0.8, 0.5))
    return SceneParameters(
        shape=shape,
        pixel_size_um=float(pixel_um),
        cell_diameter_um=float(diameter_um),
        diameter_spread=float(rng.uniform(0.1, 0.4)),
        cells_per_field=max(1, int(coverage * shape[0] * shape[1] / area_px)),
        clustering=float(rng.uniform(0, 1)),
        overlap=float(rng.uniform(0, 0.25)),
        m1_fraction=float(rng.uniform(0, 1)),
        protrusions=float(rng.uniform(0, 1)),
        ruffles=float(rng.uniform(0, 1)),
        stain=(float(stain[0]), float(stain[1]), float(stain[2])),
        stain_texture=float(rng.uniform(0, 1)),
        stain_photons=log_uniform(25, 1500),
        stain_spread=float(rng.uniform(0.1, 0.7)),
        nucleus_photons=log_uniform(40, 1500),
        nucleus_fraction=float(rng.uniform(0.3, 0.6)),
        no_nucleus=float(rng.choice([0.0, 0.03, 0.15])),
        two_nuclei=float(rng.choice([0.0, 0.03, 0.1])),
        puncta_per_cell=log_uniform(2, 40),
        punctum_photons=log_uniform(250, 4000),
        punctum_spread=float(rng.uniform(0.1, 0.6)),
        spot_sigma_um=float(rng.uniform(0.6, 2.2) * pixel_um),
        perinuclear=float(rng.uniform(0, 0.9)),
        membrane_bound=float(rng.uniform(0, 0.4)),
        free_per_field=log_uniform(1, 60),
        aggregates_per_field=float(rng.choice([0.0, 1.0, 4.0])),
        haze_photons=log_uniform(2, 80),
        background_photons=log_uniform(3, 80),
        illumination=float(rng.uniform(0, 0.5)),
        bleed_through=float(rng.choice([0.0, 0.0, 0.03, 0.1])),
        blur_um=float(rng.uniform(0.5, 2.2) * pixel_um * cell_diameter_px / 50),
        gain=log_uniform(0.5, 4),
        read_noise=log_uniform(1, 12),
    )


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
    names = [*CHANNEL_NAMES, LYSOSOME_NAME]
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
        metadata={"axes": "CYX", "Channel": {"Name": names[: len(scene.image)]}, **pixels},
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
