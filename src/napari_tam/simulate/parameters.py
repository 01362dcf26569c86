"""What simulated fields, movies and z-stacks look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class MarkerStain:
    """A marker that a scene shows in a channel of its own.

    Attributes
    ----------
    name
        Of the marker and its channel.
    carried_by
        Which cells carry it: of ``macrophage``, ``tumour``, ``M1`` and ``M2`` (which are macrophages).
    photons, dark_photons
        Median light of cells that carry it, and what every cell shines with by itself.
    spread
        SD of the logarithm of both between cells.
    membrane
        Share of the light at the membrane, 0 to 1.
    stained
        False for a control without this stain (FMO, unstained).
    """

    name: str
    carried_by: tuple[str, ...]
    photons: float = 200.0
    dark_photons: float = 15.0
    spread: float = 0.35
    membrane: float = 0.4
    stained: bool = True


@dataclass(frozen=True)
class ExosomeLabel:
    """Exosomes of one label, which cells of one type give and the others take up.

    A recipient whose edge is at the distance d from that of the nearest donor cell holds on average
    ``puncta_per_cell * (far + (1 - far) * exp(-d / decay_um))`` puncta, times its area over the mean area of
    the field's cells, times its own appetite (`SceneParameters.uptake_spread`).

    Attributes
    ----------
    name
        Of the label and its channel.
    given_by
        The type of the donor cells: ``tumour`` or ``macrophage``.
    puncta_per_cell
        Mean number in a recipient that touches a donor.
    decay_um
        The distance in which the transfer falls to 1/e.
    far
        What a recipient far from all donors takes up, relative to one that touches a donor.
    kept
        Mean number of puncta of this label that a donor cell has itself.
    free_per_field
        Puncta between the cells.
    """

    name: str
    given_by: str
    puncta_per_cell: float = 20.0
    decay_um: float = 20.0
    far: float = 0.1
    kept: float = 6.0
    free_per_field: float = 15.0


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
    tumour_share: float = 0.0  # share of the cells that are tumour cells: polygonal, in islands
    tumour_diameter_um: float = 18.0  # from the centre of one to that of its neighbour
    island_cells: float = 6.0  # mean number of tumour cells in an island
    labels: tuple[ExosomeLabel, ...] = ()  # exosomes of cells in the place of those of the medium
    polarises: float = 0.0  # ln(light of M2 markers / light of M1 markers) that a tumour punctum adds
    markers: tuple[MarkerStain, ...] = ()  # a channel for each, after all others
    marker_bleed: float = 0.0  # fraction of a marker's light seen in the channels of the others
    whole_cells: bool = False  # no cell is cut by the border: fields lie side by side with a known truth


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


@dataclass(frozen=True)
class MovieParameters:
    """What a movie shows; the field itself is that of `scene` (whose puncta_per_cell is not used).

    Attributes
    ----------
    scene
        Cells, stains and microscope.
    frames
        Number of frames.
    frame_interval_min
        Time between them.
    speed_um_per_min
        Root mean square speed of the cells between two frames.
    persistence_min
        Time in which a cell's direction is forgotten (e-fold).
    shape_period_min
        Time in which an outline swings from one of its two shapes to the other and back.
    leaving
        Share of the cells that may leave the field; the others turn round at its border.
    rate_per_h, plateau
        Uptake: mean number of puncta of a cell of mean area is ``plateau * (1 - exp(-rate t))``, t from
        the first frame.
    autofluorescence
        Share of the scene's haze that is there from the start; the rest is label that spreads through
        the cell, and rises with the uptake.
    """

    scene: SceneParameters = field(default_factory=lambda: SceneParameters(overlap=0.05, clustering=0.3))
    frames: int = 20
    frame_interval_min: float = 10.0
    speed_um_per_min: float = 0.4
    persistence_min: float = 30.0
    shape_period_min: float = 120.0
    leaving: float = 0.05
    rate_per_h: float = 1.0
    plateau: float = 15.0
    autofluorescence: float = 0.25


@dataclass(frozen=True)
class VolumeParameters:
    """What a stack looks like. Lengths in µm, intensities in photons.

    `plane` holds what a plane has as well: size, pixel, cells, stains, camera. Its `spot_sigma_um` is the
    width of the point spread function in x and y, for all channels; `blur_um` and
    `aggregates_per_field` are not used.
    """

    plane: SceneParameters = field(
        default_factory=lambda: SceneParameters(
            shape=(384, 384),
            pixel_size_um=0.25,
            cells_per_field=14,
            overlap=0.0,
            stain_photons=120.0,
            nucleus_photons=150.0,
            spot_sigma_um=0.2,
            haze_photons=4.0,
            background_photons=8.0,
            puncta_per_cell=20.0,
            punctum_photons=1500.0,
        )
    )
    planes: int = 20
    z_step_um: float = 0.5
    spot_sigma_z_um: float = 0.55
    glass_um: float = 1.5  # height of the cover slip, where the cells sit, above the first plane
    cell_height_um: float = 6.0
    height_spread: float = 0.15  # SD of log height
    lamella_um: float = 0.6  # thickness of a cell at its outline
    membrane_share: float = 0.3  # of a cell's puncta: on its surface
    outside_share: float = 0.3  # of all puncta: in the medium, within 5 µm of a cell or anywhere
    gap_um: float = 1.0  # puncta inside and outside are at least this far from the surface
