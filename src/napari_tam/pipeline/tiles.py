"""Mosaics and slides that do not fit into memory: the steps tile by tile, one result.

A tile gets the masks of its neighbours that are there already (see `napari_tam.pipeline.tile_labels`), so
that masks and tables agree to the pixel. Only one tile is in memory; labels are kept in files in the
temporary folder (``TMPDIR``).
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import join_tables
from napari_tam.io.planes import LazyPlane
from napari_tam.markers.labels import LABEL, by_label_and_first, of_label, rows_of
from napari_tam.pipeline.analysis import Analysis
from napari_tam.pipeline.tile_labels import LabelStore, Tile, tiles_of
from napari_tam.pipeline.tile_levels import Level, free_pixels, levels_of
from napari_tam.puncta.selection import false_share

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.progress import Progress
    from napari_tam.segment.segmenter import Plane, Segmentation, Segmenter
    from napari_tam.settings import Settings

    #: Analyses one tile: a field that is in memory.
    AnalyseTile = Callable[[Field, Settings, Models], Generator[Progress, None, Analysis]]

#: A punctum this close to a seam may be found in both tiles (px).
PUNCTUM_JITTER_PX = 2.0
#: A tile with less contrast than this share of the whole image's has no cells: a network would find
#: some in the noise.
BLANK = 0.1


def is_large(field: Field) -> bool:
    """Return whether a field's channels are read piece by piece."""
    return any(isinstance(channel, LazyPlane) for channel in field.channels.values())


def pixels_at_once(field: Field, settings: Settings) -> int:
    """Return how many pixels (voxels) of a field are analysed at a time: of a large one those of a tile."""
    height, width = field.shape
    if is_large(field):
        reach = 1.5 * settings.tile_px + settings.tile_overlap_um / field.pixel_size_um
        height, width = (min(n, int(reach)) for n in field.shape)
    return height * width * field.planes


@dataclass
class _TileSegmenter:
    """A segmenter whose labels are joined with those of the tiles before."""

    inner: Segmenter
    store: LabelStore
    tile: Tile
    range: float
    diameter_um: float | None
    first: int = 0

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
        nuclei: npt.NDArray[Any] | None = None,
    ) -> Segmentation:
        from napari_tam.segment.segmenter import Segmentation  # loads torch

        low, high = np.percentile(np.asarray(image[::4, ::4], np.float64), (1, 99.5))
        found = Segmentation(np.zeros(image.shape, np.uint16), 0.0)
        if high - low > BLANK * self.range:
            found = self.inner.segment(
                image, second, pixel_size_um, diameter_um or self.diameter_um, settings, nuclei
            )
            self.diameter_um = self.diameter_um or found.diameter_um or None
        merged, self.first, numbers = self.store.place(self.tile, found.labels)
        kept = numbers[1:] > 0
        confidence = help_ = None
        if found.confidence is not None:
            confidence = np.full(self.store.count, np.nan, np.float32)
            confidence[numbers[1:][kept] - 1] = found.confidence[kept]
        if found.nuclei_help is not None:
            help_ = np.full(self.store.count, "", "U5")
            help_[numbers[1:][kept] - 1] = found.nuclei_help[kept]
        return Segmentation(merged, self.diameter_um or 0.0, confidence, help_, found.doubt)


def steps_of_tiles(
    field: Field, settings: Settings, models: Models, analyse: AnalyseTile
) -> Generator[Progress, None, Analysis]:
    """Do what `analyse` does for a field in memory, for one whose channels are `LazyPlane`.

    The background is that of the whole picture, contrast for the networks that of each tile; an unknown
    cell diameter is estimated in the first tile with cells. ``cells`` and ``nuclei`` of the result are arrays
    in temporary files that go with them.
    """
    # a picture of this size is put together from others: the places are not those of a camera
    models = replace(models, defects=None)
    with contextlib.ExitStack() as files:
        kinds = ("cells", "nuclei") if "nucleus" in field.channels else ("cells",)
        # a map of a file outlives the file
        stores = {kind: files.enter_context(contextlib.closing(LabelStore(field.shape))) for kind in kinds}
        return (yield from _analyse_tiles(field, settings, models, analyse, stores))


def _analyse_tiles(
    field: Field, settings: Settings, models: Models, analyse: AnalyseTile, stores: dict[str, LabelStore]
) -> Generator[Progress, None, Analysis]:
    margin = max(1, round(settings.tile_overlap_um / field.pixel_size_um / 2))
    tiles = tiles_of(field.shape, settings.tile_px, margin)
    ranges = {role: _range(field.channels[role], tiles) for role in field.channels}
    diameters: dict[str, float | None] = {}
    parts = _Parts(levels_of(field))
    for number, tile in enumerate(tiles):
        own = {
            kind: _TileSegmenter(getattr(models, kind), store, tile, ranges[role], diameters.get(kind))
            for (kind, store), role in zip(stores.items(), ("cell", "nucleus"), strict=False)
        }
        window = replace(
            field,
            channels={role: _read(channel, tile) for role, channel in field.channels.items()},
            notes=(),
        )
        joined: dict[str, Any] = dict(own)
        analysis = yield from analyse(window, settings, replace(models, **joined))
        diameters = {kind: each.diameter_um for kind, each in own.items()}
        parts.add(number, tile, analysis, own["cells"].first)
        del window, analysis
    table, puncta = parts.join(stores["cells"], field.pixel_size_um)
    summary = parts.summary(field, table, puncta, stores, models)
    if models.phenotype is not None:
        from napari_tam.phenotype.classify import phenotype_summary

        summary |= phenotype_summary(table, models.phenotype.classes)
    labels = {kind: store.open() for kind, store in stores.items()}
    return Analysis(
        field, settings, labels["cells"], labels.get("nuclei"), table, puncta, summary, dict(parts.seconds)
    )


def _read(channel: Any, tile: Tile) -> npt.NDArray[Any]:
    pixels: npt.NDArray[Any] = channel[tile.window]
    return pixels


def _range(channel: Any, tiles: list[Tile]) -> float:
    """Return the contrast of a whole channel, from small samples in every tile."""
    values = []
    for tile in tiles:
        for share in (0.2, 0.5, 0.8):
            y, x = (int(s.start + share * (s.stop - s.start)) for s in tile.core)
            values.append(channel[y : y + 128, x : x + 128][::2, ::2].ravel())
    low, high = np.percentile(np.concatenate(values), (1, 99.5))
    return float(high - low)


class _Parts:
    """The tables of the tiles so far."""

    def __init__(self, levels: list[Level]) -> None:
        self.levels = levels
        self.cells: list[pd.DataFrame] = []
        self.inside: list[pd.DataFrame] = []
        self.outside: list[pd.DataFrame] = []
        self.summaries: list[tuple[int, dict[str, object]]] = []
        self.findings: dict[str, str] = {}
        self.sentences: set[str] = set()
        self.free: list[dict[str, npt.NDArray[Any]]] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, number: int, tile: Tile, analysis: Analysis, first: int) -> None:
        """Take what a tile has found that the tiles before have not."""
        y0, x0 = tile.origin
        table = analysis.table[analysis.table["label"] >= first].copy()
        table["centroid_y_px"] += y0
        table["centroid_x_px"] += x0
        # the sums without a background: that of the picture is known at the end
        area = table["area_um2"] / analysis.field.pixel_size_um**2
        for level in self.levels:
            level.add(table, area, float(analysis.summary[level.name]))  # type: ignore[arg-type]
        self.cells.append(table)
        self.free.append(free_pixels(analysis, tile, list(dict.fromkeys(each.role for each in self.levels))))
        for finding in analysis.corrected.findings if analysis.corrected is not None else ():
            self.findings.setdefault(finding.code, finding.sentence)
            self.sentences.add(finding.sentence)
        puncta = analysis.puncta
        y, x = puncta["y_px"].to_numpy(), puncta["x_px"].to_numpy()
        outside = (puncta["label"] == 0).to_numpy() & tile.holds(y, x, PUNCTUM_JITTER_PX)
        for chosen, target in ((puncta["label"] >= first, self.inside), (outside, self.outside)):
            rows = puncta[chosen].copy()
            for axis, start in (("y", y0), ("x", x0)):
                rows[f"{axis}_px"] += start
                rows[f"{axis}_um"] = rows[f"{axis}_px"] * analysis.field.pixel_size_um
            target.append(rows.assign(_tile=number))
        pixels = int(np.prod([s.stop - s.start for s in tile.core]))
        self.summaries.append((pixels, analysis.summary))
        for step, seconds in analysis.seconds.items():
            self.seconds[step] += seconds

    def join(self, store: LabelStore, pixel_size_um: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the tables of the whole image; what two tiles found at a seam is there once."""
        inside = join_tables(self.inside)
        outside = join_tables(self.outside)
        # Where a later tile put a cell, the punctum is counted with that.
        whole = store.open()
        rows = np.clip(np.rint(outside["y_px"].to_numpy()).astype(int), 0, store.shape[0] - 1)
        columns = np.clip(np.rint(outside["x_px"].to_numpy()).astype(int), 0, store.shape[1] - 1)
        outside = outside[whole[rows, columns] == 0].reset_index(drop=True)
        puncta = join_tables([inside, outside])
        puncta = puncta[_once(puncta, len(inside))].drop(columns="_tile").reset_index(drop=True)
        cells = join_tables(self.cells)
        area, found = cells["area_um2"] / pixel_size_um**2, self.backgrounds()
        for level in self.levels:
            level.add(cells, area, -found[level.name])
        return cells, puncta

    def backgrounds(self) -> dict[str, float]:
        """Return the backgrounds of the whole picture by their columns in the images table."""
        told = [each for _, each in self.summaries]
        free = {role: np.concatenate([part[role] for part in self.free]) for role in self.free[0]}
        return {level.name: level.of(free[level.role], told) for level in self.levels}

    def summary(
        self,
        field: Field,
        table: pd.DataFrame,
        puncta: pd.DataFrame,
        stores: dict[str, LabelStore],
        models: Models,
    ) -> dict[str, object]:
        """Return the row of the whole image."""
        last = self.summaries[-1][1]
        weights = np.array([pixels for pixels, _ in self.summaries], float)

        def values(name: str) -> npt.NDArray[np.float64]:
            return np.array([float(each[name]) for _, each in self.summaries])  # type: ignore[arg-type]

        notes = dict.fromkeys(
            note for _, each in self.summaries for note in str(each["notes"]).split("; ") if note
        )
        # what is found in several tiles is said of the first
        said = set(self.findings.values())
        notes = {note: None for note in notes if note in said or note not in self.sentences}
        told = [
            *field.notes,
            f"analysed in {len(self.summaries)} tiles, background of the whole picture",
            *notes,
        ]
        if stores["cells"].cut:
            told.append(f"{stores['cells'].cut} cells are larger than the overlap of the tiles and were cut")
        diameters = values("cell_diameter_um")
        # by the method log the score is no chance
        network = bool(np.isfinite(values("puncta_false_share")).any())
        focus = table["focus_score"].dropna()
        return {
            **last,
            "cells": len(table),
            "nuclei": stores["nuclei"].count if "nuclei" in stores else None,
            "cell_area_fraction": stores["cells"].pixels / float(np.prod(field.shape)),
            "cells_touching_border": int(table["touches_border"].sum()),
            **self.backgrounds(),
            **self._by_label(field, puncta, weights, network=network),
            "findings": " ".join(self.findings),
            "sharpness": _middle(values("sharpness")),
            "cell_signal": _middle(values("cell_signal")),
            "focus_score": float(focus.median()) if len(focus) else float("nan"),
            "cell_diameter_um": float(diameters.max(initial=0.0)),
            "cell_diameter_doubt": next(
                (d for _, each in self.summaries if (d := each["cell_diameter_doubt"])), ""
            ),
            "notes": "; ".join(told),
        }

    def _by_label(
        self, field: Field, puncta: pd.DataFrame, weights: npt.NDArray[np.float64], *, network: bool
    ) -> dict[str, object]:
        """Return what the row says of each exosome label; without a name that of the first."""
        told: dict[str, dict[str, object]] = {}
        for label in field.exosomes:
            own = rows_of(puncta, label)
            inside = int((own["label"] > 0).sum())
            clipped = [float(each[of_label("saturated_fraction", label)]) for _, each in self.summaries]  # type: ignore[arg-type]
            told[label] = {
                "puncta": len(own),
                "puncta_in_cells": inside,
                "puncta_outside": len(own) - inside,
                "saturated_fraction": float(np.average(clipped, weights=weights)),
                "puncta_false_share": false_share(own) if network else float("nan"),
            }
        found = by_label_and_first(told)
        if len(field.exosomes) > 1:
            limits = np.array([float(each["label_distance_um"]) for _, each in self.summaries])  # type: ignore[arg-type]
            found["label_distance_um"] = _middle(limits)
        return found


def _middle(values: npt.NDArray[np.float64]) -> float:
    """Return the median of the values that are known."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _once(puncta: pd.DataFrame, kept: int) -> npt.NDArray[np.bool_]:
    """Return which puncta stay: the first `kept` do, the others where no other tile has the same one."""
    from scipy.spatial import cKDTree

    once = np.ones(len(puncta), bool)
    if not len(puncta):
        return once
    tile = puncta["_tile"].to_numpy()
    label = puncta[LABEL].to_numpy(object) if LABEL in puncta else np.zeros(len(puncta), object)
    pairs: Iterator[tuple[int, int]] = iter(
        sorted(cKDTree(puncta[["y_px", "x_px"]].to_numpy()).query_pairs(PUNCTUM_JITTER_PX))
    )
    for first, second in pairs:
        if tile[first] != tile[second] and label[first] == label[second] and second >= kept and once[first]:
            once[second] = False
    return once
