"""A movie whose cells were followed: its layers, its table over time, and one row a track."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam._napari._found import Found
from napari_tam._napari._label_colours import small
from napari_tam._napari._layers import FIRST, KEY, label_features, point_features, puncta_look
from napari_tam.markers.labels import labels_of, rows_of
from napari_tam.pipeline.analysis import Analysis

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam._napari._layers import LayerData
    from napari_tam._napari._whole._run import Followed
    from napari_tam._napari._whole._source import Source

#: Key of the layer of tracks among those of a result.
TRACKS = "tracks"

#: Which column the tracks are coloured by, and how many frames of them are drawn behind a cell.
_COLOURED_BY, _TAIL = "puncta_intensity_sum", 30

#: Columns that a mean over frames says nothing about.
_NOT_MEANT = ("image", "label", "frame", "track", "time_h")

#: Columns of a track's fit that the table of tracks has.
_OF_FIT = ("half_time_h", "half_time_frames", "plateau")


@dataclass(eq=False)
class FoundMovie(Found):
    """A movie; the labels of its cells are their tracks, and its ``analysis`` has one row a track.

    Attributes
    ----------
    followed
        What was found in every frame.
    source
        What it was found in.
    planes
        How many z-planes the layers of the image have (the frames are projections of them); 0: no axis z.
    """

    followed: Followed = field(kw_only=True)
    source: Source = field(kw_only=True)
    planes: int = field(default=0, kw_only=True)

    @property
    def over_time(self) -> pd.DataFrame:
        """The table of the cells: one row a cell and frame, as in cells.csv."""
        return self.followed.cells

    def layers_data(self) -> list[LayerData]:
        """Return nuclei, cells, puncta and tracks as layers, (T)YX or (T)(Z)YX as the image."""
        common = {**self.where, "metadata": {KEY: {"image": self.name, "summary": self.analysis.summary}}}
        labels: list[tuple[str, Any, Any]] = [
            ("cells", self.analysis.cells, label_features(self.analysis.table))
        ]
        if self.analysis.nuclei is not None:
            labels.insert(0, ("nuclei", self.analysis.nuclei, None))
        layers: list[LayerData] = []
        for kind, data, table in labels:
            arguments = {"name": f"{kind} ({self.name})", "features": table, "opacity": 0.5, **common}
            layers.append((self._spread(data), arguments | {"visible": kind == "cells"}, "labels"))
        puncta = self.analysis.puncta
        for number, label in enumerate(labels_of(self.over_time.columns) or [""]):
            own = rows_of(puncta, label).reset_index(drop=True)
            name = f"puncta {label}".strip()
            arguments = {"name": f"{name} ({self.name})", "features": point_features(own)}
            layers.append((self._places(own), arguments | puncta_look(number, label) | common, "points"))
        layers.append((*self._tracks(common), "tracks"))
        return layers

    def place_of(self, label: int, here: Sequence[float]) -> Sequence[float] | None:
        """Return where a cell is in the frame that is shown; in its first one if it is not there."""
        rows = self.over_time[self.over_time["track"] == label].sort_values("frame")
        if rows.empty:
            return None
        now = rows[rows["frame"] == round(here[0])]
        return [float(value) for value in self._places((now if len(now) else rows)[:1], "centroid_")[0]]

    def _tracks(self, common: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rows = self.over_time.sort_values(["track", "frame"]).reset_index(drop=True)
        at = self._places(rows, "centroid_")
        data = np.column_stack([rows["track"].to_numpy(float), at])
        features = point_features(rows.drop(columns=["image"]))
        texts = [name for name in features if features[name].dtype.kind not in "biuf"]
        first = [name for name in ("track", "frame", "time_h", *FIRST) if name in features]
        features = features[[*first, *(name for name in features if name not in first)]]
        return data, {
            "name": f"{TRACKS} ({self.name})",
            # napari colours tracks by any of them, and a missing value has no colour
            "features": features.drop(columns=texts).fillna(0.0),
            "tail_length": _TAIL,
            "colormap": "viridis",
            "color_by": _COLOURED_BY,
            "blending": "translucent",
            **common,
        }

    def _places(self, rows: pd.DataFrame, which: str = "") -> npt.NDArray[np.float64]:
        at = rows[["frame", f"{which}y_px", f"{which}x_px"]].to_numpy(float)
        return np.insert(at, 1, self.planes // 2, axis=1) if self.planes else at

    def _spread(self, labels: Any) -> Any:
        """Return labels (TYX) in every z-plane, where the image has some."""
        if not self.planes:
            return labels
        shape = (labels.shape[0], self.planes, *labels.shape[1:])
        return np.broadcast_to(labels[:, None], shape)


def found_movie(
    name: str, where: dict[str, Any], followed: Followed, source: Source, folder: Any, planes: int
) -> FoundMovie:
    """Return a movie to be shown: label images (TYX) of tracks, and a row a track.

    It takes a while, and so is not for the window's thread.
    """
    from napari_tam.columns import join_tables

    frames = followed.frames
    count = source.stack.n_times
    cells = np.zeros((count, *source.stack.shape), np.uint32)
    has_nuclei = any(frame.nuclei is not None for frame in frames)
    nuclei = np.zeros_like(cells) if has_nuclei else None
    table = followed.cells.set_index(["image", "label"])["track"]
    parts = []
    for frame in frames:
        number = frame.field.frame
        tracks = table[frame.field.name] if len(frame.table) else table.iloc[:0]
        ids = np.zeros(int(frame.cells.max(initial=0)) + 1, np.uint32)
        ids[tracks.index.to_numpy(int)] = tracks.to_numpy(np.uint32)
        cells[number] = ids[frame.cells]
        if nuclei is not None and frame.nuclei is not None:
            nuclei[number] = frame.nuclei
        puncta = frame.puncta.copy()
        puncta.insert(2, "track", ids[puncta["label"].to_numpy(int)] if len(puncta) else 0)
        parts.append(puncta)
    summary = {
        "cells": int(followed.cells["track"].nunique()),
        "puncta": int(sum(map(len, parts))),
        "puncta_outside": int(sum((part["label"] == 0).sum() for part in parts)),
        "notes": "; ".join(followed.notes),
    }
    last = frames[-1]
    analysis = Analysis(
        last.field,
        last.settings,
        small(cells),
        None if nuclei is None else small(nuclei),
        table_of_tracks(followed.cells, followed.fits),
        join_tables(parts),
        summary,
        _seconds(frames),
        thresholds=followed.thresholds,
    )
    found = FoundMovie(name, where, analysis, folder=folder, followed=followed, source=source, planes=planes)
    found.fixed = "a movie is not corrected by hand; analysed as 'this plane', one of its frames can be"
    return found


def table_of_tracks(cells: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """Return one row a track: its number (`label`), frames, means over them, and the fit of its uptake.

    Parameters
    ----------
    cells
        cells.csv with `track`.
    fits
        kinetics.csv; the fit of the light (`puncta_intensity_sum`) is taken.
    """
    import pandas as pd

    groups = cells.groupby("track", sort=True)
    tracks = groups.size().index.to_numpy(int)
    found: dict[str, Any] = {"label": tracks, "frames": groups.size().to_numpy()}
    found["first_frame"] = groups["frame"].min().to_numpy()
    for name in cells.columns:
        if name in _NOT_MEANT:
            continue
        values = cells[name]
        if pd.api.types.is_numeric_dtype(values):
            numbers = values.astype("Float64").astype("float64")
            found[name] = numbers.groupby(cells["track"]).mean().to_numpy()
        else:
            found[name] = values.groupby(cells["track"]).agg(_most_frequent).to_numpy()
    own = fits[fits["track"].notna() & (fits["readout"] == _COLOURED_BY)].set_index("track")
    for name in _OF_FIT:
        found[name] = own[name].reindex(tracks).to_numpy(float)
    return pd.DataFrame(found)


def _most_frequent(values: pd.Series) -> Any:
    modes = values.mode()
    return modes.iloc[0] if len(modes) else ""


def _seconds(frames: Sequence[Analysis]) -> dict[str, float]:
    total: dict[str, float] = {}
    for frame in frames:
        for step, seconds in frame.seconds.items():
            total[step] = total.get(step, 0.0) + seconds
    return total
