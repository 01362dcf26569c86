"""Tables of co-cultures with a known truth, without images: what statistics are judged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class CocultureTables:
    """What tables of a co-culture show. Lengths in µm.

    Attributes
    ----------
    replicates, images
        Replicates, and images of each.
    cells
        Cells of an image; `donor_share` of them give.
    side_um
        Side of the square field.
    level, decay_um, far
        Mean uptake of a recipient at a donor, its decay length, and the share of it that is taken up far from
        all donors.
    near_factor
        What recipients within `near_um` of a donor take up, relative to others, besides.
    attraction
        How much more often a cell within `near_um` of a recipient gives than others do; 1: types are drawn
        at random.
    spread, replicate_spread
        SD of the logarithm of uptake between cells, and between replicates.
    shift
        How far one more in uptake moves a cell's score of polarisation.
    """

    replicates: int = 4
    images: int = 3
    cells: int = 60
    donor_share: float = 0.35
    side_um: float = 400.0
    level: float = 20.0
    decay_um: float = 25.0
    far: float = 0.15
    near_um: float = 20.0
    near_factor: float = 1.0
    attraction: float = 1.0
    spread: float = 0.6
    replicate_spread: float = 0.15
    shift: float = 0.0

    def draw(self, seed: int | Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return cells and images as a finished run has them (types known, no masks: distances of centres).

        Cells have `true_distance_um`, to the nearest donor of their image, besides.
        """
        rng = np.random.default_rng(seed)
        parts, images = [], []
        for replicate in range(self.replicates):
            level = self.level * np.exp(rng.normal(0, self.replicate_spread))
            slope_off = rng.normal(0, 0.3)
            for number in range(self.images):
                name = f"r{replicate + 1}_{number + 1}"
                part = self._image(rng, level).assign(image=name, replicate=str(replicate + 1))
                part["score"] = self.shift * part["puncta_count"] + slope_off + rng.normal(0, 0.5, len(part))
                parts.append(part)
                images.append({"image": name, "pixel_size_um": 1.0})
        cells = pd.concat(parts, ignore_index=True)
        about: dict[str, Any] = {
            "well": "",
            "condition": "co-culture",
            "dose": np.nan,
            "time": np.nan,
            "donor": "",
        }
        cells = cells.assign(**about, plate="", control_role="", touches_border=False)
        # a score is the light of two markers, of which one does not change
        cells["marker_CD86_median"] = 100.0
        cells["marker_CD206_median"] = 100.0 * np.exp(cells["score"])
        for marker in ("CD86", "CD206"):
            cells[f"marker_{marker}_integrated"] = cells[f"marker_{marker}_median"]
        return cells, pd.DataFrame(images)

    def _image(self, rng: Generator, level: float) -> pd.DataFrame:
        places = rng.uniform(0, self.side_um, (self.cells, 2))
        donor = self._types(rng, places)
        distance = np.full(self.cells, np.nan)
        if donor.any():
            between = np.linalg.norm(places[~donor, None] - places[None, donor], axis=2)
            distance[~donor] = between.min(axis=1)
        fall = np.exp(-np.nan_to_num(distance, nan=np.inf) / self.decay_um)
        mean = level * (self.far + (1 - self.far) * fall)
        mean = mean * np.where(distance <= self.near_um, self.near_factor, 1.0)
        mean = np.where(donor, 0.3 * level, mean)
        count = rng.poisson(mean * np.exp(rng.normal(-(self.spread**2) / 2, self.spread, self.cells)))
        return pd.DataFrame(
            {
                "label": np.arange(1, self.cells + 1),
                "centroid_y_px": places[:, 0],
                "centroid_x_px": places[:, 1],
                "cell_type": np.where(donor, "tumour", "macrophage").astype(object),
                "puncta_count": count,
                "puncta_intensity_sum": 100.0 * count,
                "exosome_integrated": 100.0 * count,
                "true_distance_um": distance,
            }
        )

    def _types(self, rng: Generator, places: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Draw who gives: at random, or drawn to recipients (or away) by exchanges of types."""
        donor = np.zeros(self.cells, bool)
        donor[rng.permutation(self.cells)[: round(self.donor_share * self.cells)]] = True
        if self.attraction == 1:
            return donor
        between = np.linalg.norm(places[:, None] - places[None], axis=2)
        near = (between <= self.near_um) & (between > 0)
        degree = near.sum(axis=1)
        pull = np.log(self.attraction)
        for _ in range(20 * self.cells):
            i, j = rng.integers(0, self.cells, 2)
            if not donor[i] or donor[j]:
                continue
            # how many more pairs of neighbours have one donor, if the two exchange their types
            around_i, around_j = int(near[i] @ donor), int(near[j] @ donor) - int(near[i, j])
            more = 2 * around_i - degree[i] + degree[j] - 2 * around_j
            if np.log(rng.random()) < pull * more:
                donor[[i, j]] = donor[[j, i]]
        return donor


@dataclass(frozen=True)
class DoseTables:
    """Cells of a plate whose mean uptake is a four-parameter logistic of the dose.

    Attributes
    ----------
    doses, replicates, cells
        Doses (0: none), replicates, and cells of a well.
    ec50, top, bottom, hill
        The curve.
    spread, well_spread, replicate_spread
        SD of the logarithm of uptake between cells, between wells treated alike, and between replicates.
    """

    doses: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    replicates: int = 3
    cells: int = 60
    ec50: float = 8.0
    top: float = 25.0
    bottom: float = 0.8
    hill: float = 1.2
    spread: float = 0.6
    well_spread: float = 0.1
    replicate_spread: float = 0.15

    def draw(self, seed: int | Generator) -> pd.DataFrame:
        """Return one row per cell: puncta_count, and what a layout says (dose, replicate, condition, …)."""
        rng = np.random.default_rng(seed)
        parts = []
        for replicate in range(self.replicates):
            level = np.exp(rng.normal(0, self.replicate_spread))
            for dose in self.doses:
                rise = 0.0 if dose == 0 else 1 / (1 + (self.ec50 / dose) ** self.hill)
                mean = self.bottom + (self.top - self.bottom) * rise
                mean *= level * np.exp(rng.normal(0, self.well_spread))
                own = np.exp(rng.normal(-(self.spread**2) / 2, self.spread, self.cells))
                count = rng.poisson(mean * own)
                parts.append(
                    pd.DataFrame({"puncta_count": count, "dose": dose, "replicate": str(replicate + 1)})
                )
        cells = pd.concat(parts, ignore_index=True)
        about: dict[str, Any] = {
            "well": "",
            "condition": "tumour EV",
            "time": np.nan,
            "donor": "",
            "plate": "",
        }
        role = np.where(cells["dose"] == 0, "dye_only", "")
        return cells.assign(**about, control_role=role, puncta_intensity_sum=100.0 * cells["puncta_count"])
