"""Tracking cells through the frames of a movie: the column `track`.

LapTrack (Fukai & Kawaguchi 2023, Bioinformatics; the linear assignment of Jaqaman et al. 2008, Nat
Methods) links the cells of neighbouring frames at the least total cost, then closes gaps: it links ends of
tracks to starts up to some frames later. The cost is the squared distance of the centroids, and of the areas:

    cost = distance² + (max. movement / 2 × ln(area₂ / area₁))²

up to the square of the max. movement. On simulated movies this cost was as good as the overlap of the
masks where cells move little, and better where they move by half their diameter (docs/time.md); and it
needs no mask, so a movie of any length is followed in little memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.results.folder import OK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from napari_tam.settings import Settings

#: What a change of area by a factor e costs, as a share of the largest movement.
AREA_WEIGHT = 0.5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Followed:
    """The cells with their tracks.

    Attributes
    ----------
    cells
        The table with `napari_tam.columns.TIME_COLUMNS` after ``frame``.
    movies
        Movie to its number of frames.
    notes
        Sentences for the output.
    """

    cells: pd.DataFrame
    movies: Mapping[str, int]
    notes: tuple[str, ...]


def movie_of(image: str, frame: int) -> str:
    """Return an image's name without the number that the reader gives the frame."""
    return re.sub(rf"_t0*{frame}$", "", image) if re.search(r"_t\d{4,}$", image) else image


def follow(images: pd.DataFrame, cells: pd.DataFrame, settings: Settings) -> Followed:
    """Follow the cells of every movie.

    A movie is all frames that were analysed of one position in one file. Images that are no frames of
    a movie have no track: other cells may be in each of them.

    Parameters
    ----------
    images, cells
        The tables of a results folder; columns that this function adds are replaced.
    settings
        Uses `frame_interval_min`, `track_max_movement_um` and `track_max_missed`.

    Returns
    -------
    Followed
        Every cell of a movie has a track, if only of one frame; numbers start at 1 and go on from movie
        to movie. `time_h` is missing where the frame interval is unknown.
    """
    import pandas as pd

    track = pd.Series(pd.NA, index=cells.index, dtype="Int64")
    time = pd.Series(np.nan, index=cells.index, dtype=float)
    movies: dict[str, int] = {}
    notes: list[str] = []
    last = 0
    for name, frames in _movies(images):
        if len(frames) < 2:
            notes.append(f"{name}: one frame only, so there is no track")
            continue
        movies[name] = len(frames)
        here = cells["image"].isin(frames["image"])
        interval = settings.frame_interval_min or _interval(frames)
        if interval is None:
            notes.append(
                f"{name}: the frame interval is neither in the file nor among the settings, so times are in "
                "frames (--frame-interval)"
            )
        else:
            time[here] = cells.loc[here, "frame"] * interval / 60
        if not here.any():
            continue
        found = link(cells[here], float(frames["pixel_size_um"].iloc[0]), settings)
        track[here] = found + last
        last += int(found.max())
    if not movies and not notes:
        notes.append("no image has more than one frame, so there is no track")
    kept = cells.drop(columns=[column for column in ("track", "time_h") if column in cells])
    place = list(kept.columns).index("frame") + 1
    kept.insert(place, "track", track)
    kept.insert(place + 1, "time_h", time)
    return Followed(kept, movies, tuple(notes))


def _movies(images: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the movies (a file's position) with the rows of their frames that were analysed."""
    done = images[images["status"] == OK]
    frame = done["frame"].astype(int)
    names = [movie_of(str(name), number) for name, number in zip(done["image"], frame, strict=True)]
    source = done["source"].fillna("").astype(str)  # an image that was never a file has none
    table = done.assign(frame=frame, movie=names, source=source)
    for (_, name), frames in table.groupby(["source", "movie"], sort=False):
        # an image that is alone and carries no frame number is no movie
        if len(frames) > 1 or frames["image"].iloc[0] != name:
            yield str(name), frames.sort_values("frame")


def _interval(frames: pd.DataFrame) -> float | None:
    """Return the frame interval that the reader found, in minutes."""
    if "frame_interval_min" not in frames:
        return None
    told = frames["frame_interval_min"].astype(float).dropna()
    return float(told.iloc[0]) if len(told) else None


def link(cells: pd.DataFrame, pixel_size_um: float, settings: Settings) -> npt.NDArray[np.int64]:
    """Give the cells of one movie the numbers of their tracks, from 1 in the order of first frames.

    Parameters
    ----------
    cells
        Cells of all its frames: frame, centroid_y_px, centroid_x_px, area_um2, equivalent_diameter_um.
    pixel_size_um
        Edge length of a pixel.
    settings
        See `follow`.

    Returns
    -------
    numpy.ndarray
        The track of each row.
    """
    from laptrack import LapTrack

    reach = settings.track_max_movement_um or float(cells["equivalent_diameter_um"].median())
    frame = cells["frame"].to_numpy(int)
    places = np.column_stack(
        [
            cells["centroid_y_px"].to_numpy(float) * pixel_size_um,
            cells["centroid_x_px"].to_numpy(float) * pixel_size_um,
            AREA_WEIGHT * reach * np.log(cells["area_um2"].to_numpy(float)),
        ]
    )
    first = int(frame.min())
    rows = [np.flatnonzero(frame == number) for number in range(first, int(frame.max()) + 1)]
    missed = settings.track_max_missed
    options: dict[str, Any] = {"metric": "sqeuclidean", "cutoff": reach**2}
    # LapTrack counts the difference of the frames: 1 for neighbours, so 1 more than are missed
    options |= {
        "gap_closing_cutoff": reach**2 if missed else False,
        "gap_closing_max_frame_count": missed + 1,
    }
    tree = LapTrack(**options).predict([places[own] for own in rows])
    tracks = np.zeros(len(cells), np.int64)
    last = 0
    for when, index in sorted(tree.nodes):
        before = next(iter(tree.predecessors((when, index))), None)
        if before is None:
            last += 1
        tracks[rows[when][index]] = last if before is None else tracks[rows[before[0]][before[1]]]
    return tracks
