"""Movie: cells that move, change shape and take up exosomes at a known rate, frame by frame.

The outlines, stains and optics are those of `napari_tam.simulate.scene.Scene`; a movie adds what time
brings. Cells walk with persistence and give way to one another, their outlines swing slowly between
two shapes, and puncta appear one by one, so that a cell holds
``plateau * (1 - exp(-rate t))`` of them on average.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.simulate import motion, optics, puncta, stains
from napari_tam.simulate.parameters import MovieParameters
from napari_tam.simulate.scene import CHANNEL_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_tam.simulate.cells import Labels

#: The two conditions of simulated movies, with the share of the uptake rate that each has.
CONDITIONS = {"control": 1.0, "inhibitor": 0.4}


@dataclass(frozen=True)
class Frame:
    """One frame and its truth: see `napari_tam.simulate.scene.Scene`; a cell's label is its track."""

    image: npt.NDArray[np.uint16]
    cells: Labels
    nuclei: Labels
    puncta: pd.DataFrame


@dataclass(frozen=True)
class Movie:
    """A simulated movie; frames are drawn when asked for, so that none but one is in memory.

    Attributes
    ----------
    parameters
        What it shows.
    seed
        The same parameters and seed give the same pixels.
    """

    parameters: MovieParameters
    seed: int

    @cached_property
    def walk(self) -> motion.Walk:
        """Outlines and places of all cells in all frames."""
        return motion.draw_walk(self.parameters, np.random.default_rng([self.seed, 0]))

    @cached_property
    def arrivals(self) -> list[motion.Arrivals]:
        """When and where every cell's puncta appear."""
        rng = np.random.default_rng([self.seed, 1])
        return motion.draw_arrivals(self.parameters, self.walk, rng)

    @property
    def hours(self) -> npt.NDArray[np.float64]:
        """Time of every frame."""
        return np.arange(self.parameters.frames) * self.parameters.frame_interval_min / 60

    def frame(self, index: int) -> Frame:
        """Draw one frame."""
        p = self.parameters.scene
        population = self.walk.population(index, p.shape)
        labels = population.labels
        nuclei = self.walk.nuclei(index, labels)
        # one stream for everything that a cell keeps (brightness, grain), another for the camera
        keeps = np.random.default_rng([self.seed, 2])
        noise = np.random.default_rng([self.seed, 3, index])
        blur_px = p.blur_um / p.pixel_size_um
        cell = optics.blur(stains.cell_stain(p, population, nuclei, keeps), blur_px)
        keeps = np.random.default_rng([self.seed, 4])
        nucleus = optics.blur(stains.nuclear_stain(p, nuclei, keeps), blur_px)
        spots = self._puncta(index, labels)
        keeps = np.random.default_rng([self.seed, 5])
        exosome = optics.render_spots(p.shape, spots)
        taken_up = 1 - np.exp(-self.parameters.rate_per_h * self.hours[index])
        label = self.parameters.autofluorescence + (1 - self.parameters.autofluorescence) * taken_up
        haze = replace(p, haze_photons=float(p.haze_photons * label))
        exosome += optics.blur(stains.haze(haze, labels, nuclei, keeps), 2 * blur_px)
        exosome += p.bleed_through * cell
        light = optics.illumination(p.shape, p.illumination, np.random.default_rng([self.seed, 6]))
        planes = [
            optics.camera(light * (channel + p.background_photons), p.gain, p.offset, p.read_noise, noise)
            for channel in (cell, nucleus, exosome)
        ]
        return Frame(np.stack(planes), labels, nuclei, spots)

    def _puncta(self, index: int, labels: Labels) -> pd.DataFrame:
        """Return the puncta that are there: those taken up so far, and free ones, which come and go."""
        p = self.parameters.scene
        now = float(self.hours[index])
        points = [self.walk.inside(cell, index, one, now) for cell, one in enumerate(self.arrivals)]
        photons = [one.photons[one.hours <= now] for one in self.arrivals]
        rng = np.random.default_rng([self.seed, 7, index])
        free = rng.uniform(0, p.shape, (rng.poisson(p.free_per_field), 2)) - 0.5
        outside = labels[tuple(np.clip(np.round(free).astype(int), 0, np.array(p.shape) - 1).T)] == 0
        points.append(free[outside])
        photons.append(p.punctum_photons * np.exp(rng.normal(0, p.punctum_spread, int(outside.sum()))))
        yx, light = np.concatenate(points), np.concatenate(photons)
        here = ((yx >= -0.5) & (yx <= np.array(p.shape) - 0.5)).all(axis=1)
        yx, light = yx[here], light[here]
        pixel = np.clip(np.round(yx).astype(int), 0, np.array(p.shape) - 1)
        sigma = p.spot_sigma_um / p.pixel_size_um
        return pd.DataFrame(
            {
                "y_px": yx[:, 0],
                "x_px": yx[:, 1],
                "cell": labels[pixel[:, 0], pixel[:, 1]].astype(int),
                "amplitude_photons": light / (2 * np.pi * sigma**2),
                "sigma_px": sigma,
                "aggregate": 0,
            },
            columns=list(puncta.PUNCTA_COLUMNS),
        )


def tracks_of(frame: Frame, index: int) -> pd.DataFrame:
    """Return the truth of one frame: frame, track (= label), centroid, area and number of puncta."""
    from skimage.measure import regionprops_table

    table = regionprops_table(  # type: ignore[no-untyped-call]
        frame.cells, properties=("label", "centroid", "area")
    )
    found = pd.DataFrame(table)
    found.columns = ["track", "y_px", "x_px", "area_px"]
    counts = frame.puncta["cell"].value_counts()
    found["puncta"] = found["track"].map(counts).fillna(0).astype(int)
    found.insert(0, "frame", index)
    return found


def write_movies(
    out: Path, movies: int, frames: int, seed: int, *, parameters: MovieParameters | None = None
) -> list[Path]:
    """Write simulated movies with their truth; their conditions alternate (`CONDITIONS`).

    For each ``movie_01.ome.tif`` (TCYX, uint16, with its frame interval), ``…_masks.tif`` (TYX; a
    label is a track), ``…_tracks.csv`` (one row per cell and frame) and ``…_kinetics.csv`` (the true
    rate, plateau and half-time); and one ``layout.csv`` with the condition of every movie.

    Raises
    ------
    InputError
        If the folder cannot be written, or the movies would have no frame.
    """
    from napari_tam.errors import InputError

    base = parameters or MovieParameters()
    if frames < 1:
        raise InputError("a movie needs one frame or more", where="--frames")
    written, layout = [], []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number in range(movies):
            condition = list(CONDITIONS)[number % len(CONDITIONS)]
            rate = base.rate_per_h * CONDITIONS[condition]
            movie = Movie(replace(base, frames=frames, rate_per_h=rate), seed + 1000 * number)
            stem = out / f"movie_{number + 1:02d}"
            written.append(write_movie(movie, stem))
            truth = {"rate_per_h": rate, "plateau": base.plateau, "half_time_h": np.log(2) / rate}
            pd.DataFrame([{"condition": condition, **truth}]).round(6).to_csv(
                f"{stem}_kinetics.csv", index=False
            )
            layout.append({"image": f"{stem.name}*", "condition": condition, "replicate": number // 2 + 1})
        pd.DataFrame(layout).to_csv(out / "layout.csv", index=False)
    except OSError as error:
        raise InputError(
            f"the simulated movies cannot be written ({error.strerror or error})",
            where=out,
            fix="choose a folder that you may write to, with enough room",
        ) from error
    return written


def write_movie(movie: Movie, stem: Path) -> Path:
    """Write one movie frame by frame: ``stem.ome.tif``, ``stem_masks.tif`` and ``stem_tracks.csv``."""
    import tifffile

    p = movie.parameters
    um = p.scene.pixel_size_um
    pixels: dict[str, Any] = {
        "PhysicalSizeX": um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": um,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": p.frame_interval_min,
        "TimeIncrementUnit": "min",
    }
    tracks: list[pd.DataFrame] = []
    masks_path, image_path = stem.with_name(f"{stem.name}_masks.tif"), stem.with_name(f"{stem.name}.ome.tif")
    with tifffile.TiffWriter(masks_path) as masks:

        def planes() -> Iterator[npt.NDArray[np.uint16]]:
            for index in range(p.frames):
                frame = movie.frame(index)
                tracks.append(tracks_of(frame, index))
                # without metadata every page counts as a frame of one stack
                masks.write(frame.cells, compression="zlib", metadata=None)
                yield from frame.image

        tifffile.imwrite(
            image_path,
            planes(),
            shape=(p.frames, len(CHANNEL_NAMES), *p.scene.shape),
            dtype=np.uint16,
            compression="zlib",
            metadata={"axes": "TCYX", "Channel": {"Name": list(CHANNEL_NAMES)}, **pixels},
        )
    pd.concat(tracks).round(3).to_csv(f"{stem}_tracks.csv", index=False)
    return image_path
