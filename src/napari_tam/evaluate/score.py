"""Results against ground truth: masks, puncta, and the puncta counts of every cell.

The truth lies in the layout of ``sample_data/``: for the image ``a.ome.tif`` the files
``a_masks.tif`` (cells), ``a_nuclei.tif`` and ``a_puncta.csv`` (``y_px, x_px, cell,
amplitude_photons, sigma_px, aggregate``; cell 0 = outside). Each of them may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError, one_line
from napari_tam.evaluate.matching import (
    THRESHOLDS,
    count_masks,
    match_cells,
    match_points,
    pearson,
)
from napari_tam.io.listing import stem_of
from napari_tam.results.folder import OK, read_mask, read_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.evaluate.matching import Floats, Integers
    from napari_tam.results.folder import Results


@dataclass(frozen=True)
class Masks:
    """Numbers of masks; `hits` has one for each of `THRESHOLDS`."""

    true: int
    found: int
    hits: tuple[int, ...]

    def report(self) -> dict[str, float | int | None]:
        """Return the average precision TP / (TP + FP + FN) at each threshold; None without masks."""
        total = self.true + self.found
        precision = {
            f"ap_{threshold:g}": hits / (total - hits) if total else None
            for threshold, hits in zip(THRESHOLDS, self.hits, strict=True)
        }
        return {**precision, "true": self.true, "found": self.found}


@dataclass(frozen=True)
class Puncta:
    """Numbers of puncta; `hits` lie within `RADIUS_PX` of a true one."""

    true: int
    found: int
    hits: int

    def report(self) -> dict[str, float | int | None]:
        """Return F1 = 2 TP / (true + found), precision and recall; None where not defined."""
        total = self.true + self.found
        return {
            "f1": 2 * self.hits / total if total else None,
            "precision": self.hits / self.found if self.found else None,
            "recall": self.hits / self.true if self.true else None,
            "true": self.true,
            "found": self.found,
        }


@dataclass(frozen=True)
class Cells:
    """Puncta of the cells that were found: one array entry per pair of a true and a found cell.

    The true intensity of a punctum is the integral of its Gaussian, 2π sigma² × amplitude.
    """

    true: int
    true_count: Floats
    found_count: Floats
    true_intensity: Floats
    found_intensity: Floats

    def report(self) -> dict[str, float | int | None]:
        """Return the median relative error of the counts and the correlation of the intensities."""
        some = self.true_count > 0
        error = np.abs(self.found_count[some] - self.true_count[some]) / self.true_count[some]
        return {
            "count_relative_error": float(np.median(error)) if some.any() else None,
            "intensity_r": pearson(self.true_intensity, self.found_intensity),
            "cells_true": self.true,
            "cells_matched": len(self.true_count),
        }


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image; None where the truth is missing."""

    name: str
    cells: Masks | None
    nuclei: Masks | None
    puncta: Puncta | None
    counts: Cells | None

    def report(self) -> dict[str, Any]:
        """Return all scores by group."""
        groups = ("cells", "nuclei", "puncta", "counts")
        return {group: part.report() if (part := getattr(self, group)) else None for group in groups}


def score(results: Path, truth: Path) -> list[ImageScore]:
    """Compare a results folder with a folder of truths.

    Returns
    -------
    list of ImageScore
        One for each image that was analysed and has any truth.

    Raises
    ------
    InputError
        If a folder or file cannot be used, or no image has a truth.
    """
    found = read_results(results)
    if not truth.is_dir():
        raise InputError("there is no such folder", where=truth, fix="name the folder with the truth")
    done = found.images[found.images["status"] == OK]
    scores = []
    for name, source in zip(done["image"], done["source"], strict=True):
        for stem in dict.fromkeys((name, stem_of(Path(source)))):
            if any((truth / f"{stem}_{end}").exists() for end in ("masks.tif", "nuclei.tif", "puncta.csv")):
                scores.append(_score_image(found, name, truth, stem))
                break
    if not scores:
        raise InputError(
            f"no truth for any of the {len(done)} analysed images",
            where=truth,
            fix="the truth of a.ome.tif is a_masks.tif, a_nuclei.tif or a_puncta.csv",
        )
    return scores


def pool(scores: Sequence[ImageScore], name: str = "all") -> ImageScore:
    """Return the score of all images taken together, as if they were one."""
    cells = [s.counts for s in scores if s.counts]
    puncta = [s.puncta for s in scores if s.puncta]
    arrays = ("true_count", "found_count", "true_intensity", "found_intensity")
    return ImageScore(
        name,
        _pool_masks([s.cells for s in scores if s.cells]),
        _pool_masks([s.nuclei for s in scores if s.nuclei]),
        Puncta(*(sum(getattr(p, n) for p in puncta) for n in ("true", "found", "hits"))) if puncta else None,
        Cells(
            sum(c.true for c in cells),
            *(np.concatenate([getattr(c, array) for c in cells]) for array in arrays),
        )
        if cells
        else None,
    )


def _pool_masks(parts: Sequence[Masks]) -> Masks | None:
    if not parts:
        return None
    hits = tuple(sum(values) for values in zip(*(part.hits for part in parts), strict=True))
    return Masks(sum(part.true for part in parts), sum(part.found for part in parts), hits)


def _score_image(found: Results, name: str, truth: Path, stem: str) -> ImageScore:
    pairs: dict[str, tuple[Integers, Integers] | None] = {}
    for kind, end in (("cells", "masks"), ("nuclei", "nuclei")):
        path = truth / f"{stem}_{end}.tif"
        mine = found.masks(name, kind) if path.exists() else None
        pairs[kind] = None if mine is None else (read_mask(path), mine)
        if mine is not None and read_mask(path).shape != mine.shape:
            raise InputError(f"the truth has another size than the mask of '{name}'", where=path)
    puncta = counts = None
    path = truth / f"{stem}_puncta.csv"
    if path.exists():
        true_spots = _read_puncta(path)
        spots = found.puncta[found.puncta["image"] == name]
        deep = all("z_px" in table and table["z_px"].notna().all() for table in (true_spots, spots))
        axes = [*(["z_px"] if deep else []), "y_px", "x_px"]
        true_yx, yx = (table[axes].to_numpy(float) for table in (true_spots, spots))
        puncta = Puncta(len(true_yx), len(yx), len(match_points(true_yx, yx)))
        if pairs["cells"] is not None and "cell" in true_spots:
            counts = _cell_counts(*pairs["cells"], true_spots, spots)
    masks = {kind: None if pair is None else Masks(*count_masks(*pair)) for kind, pair in pairs.items()}
    return ImageScore(name, masks["cells"], masks["nuclei"], puncta, counts)


def _read_puncta(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the true puncta cannot be read ({one_line(error)})", where=path) from error
    if not {"y_px", "x_px"} <= set(table):
        raise InputError("the true puncta lack the columns y_px and x_px", where=path)
    return table


def _cell_counts(true: Integers, found: Integers, true_spots: pd.DataFrame, spots: pd.DataFrame) -> Cells:
    pairs = match_cells(true, found)
    missing = np.full(len(true_spots), np.nan)
    amplitude, sigma = (
        true_spots[name].to_numpy(float) if name in true_spots else missing
        for name in ("amplitude_photons", "sigma_px")
    )
    cell, label = true_spots["cell"].to_numpy(int), spots["label"].to_numpy(int)
    intensity = spots["intensity"].to_numpy(float) if "intensity" in spots else np.full(len(spots), np.nan)

    def per_cell(owner: Integers, weights: Floats, wanted: Integers) -> Floats:
        length = int(max(owner.max(initial=0), wanted.max(initial=0))) + 1
        sums: Floats = np.bincount(owner, weights, minlength=length).astype(np.float64)
        return sums[wanted]

    return Cells(
        len(np.unique(true[true > 0])),
        per_cell(cell, np.ones(len(cell)), pairs[:, 0]),
        per_cell(label, np.ones(len(label)), pairs[:, 1]),
        per_cell(cell, 2 * np.pi * sigma**2 * amplitude, pairs[:, 0]),
        per_cell(label, intensity, pairs[:, 1]),
    )
