"""``napari-tam track``: follow the cells of movies again, and fit their uptake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    import pandas as pd

#: Options of the command and the settings that they change.
OPTIONS = {
    "frame_interval_min": ("--frame-interval", "MIN"),
    "track_max_movement_um": ("--max-movement", "UM"),
    "track_max_missed": ("--max-missed", "FRAMES"),
}


def add_track_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam track``."""
    from napari_tam.settings import Settings

    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'"
    )
    parser.add_argument(
        "--layout", type=Path, metavar="FILE", help="plate layout (CSV or Excel) with a column well or image"
    )
    for name, (option, metavar) in OPTIONS.items():
        text = str(Settings.model_fields[name].description).replace("%", "%%")
        parser.add_argument(option, dest=name, metavar=metavar, help=text)


def track(arguments: argparse.Namespace) -> int:
    """Follow the cells of a results folder and fit the kinetics; settings.yaml says how it was done."""
    from napari_tam.files import write_text
    from napari_tam.io.layout import read_layout
    from napari_tam.kinetics.results import follow_results, write_kinetics
    from napari_tam.results.lock import locked_results
    from napari_tam.settings import Settings

    folder: Path = arguments.results
    layout = None if arguments.layout is None else read_layout(arguments.layout)
    path = folder / "settings.yaml"
    settings = Settings.from_yaml(path) if path.exists() else Settings()
    given: dict[str, Any] = {name: getattr(arguments, name) for name in OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    settings = settings.updated(where="command line", **given)  # what they start from is valid
    with locked_results(folder):
        found = follow_results(folder, settings)
        if given:
            write_text(path, settings.to_yaml())
        fits = write_kinetics(folder, layout)
    for name, frames in found.movies.items():
        own = found.cells[found.cells["image"].str.startswith(f"{name}_t")]
        tracks = own.groupby("track").size()
        middle = f", median length {tracks.median():g}" if len(tracks) else ""
        print(f"movie    {name}: {frames} frames, {len(tracks)} tracks{middle}")
    print_kinetics(fits)
    for note in found.notes:
        print(f"note     {note}")
    if found.movies:
        print(f"tables   {folder / 'cells.csv'} (column track), kinetics.csv")
    return 0


def print_kinetics(fits: pd.DataFrame) -> None:
    """Print the mean curves; those of single tracks are in the table."""
    if not len(fits):
        return
    for row in fits[fits["track"].isna()].to_dict("records"):
        name = row["condition"] or row["movie"] or "all"
        if row["dose"] == row["dose"]:
            name += f" {row['dose']:g}"
        in_hours = row["half_time_h"] == row["half_time_h"]
        unit, half = ("h", "half_time_h") if in_hours else ("frames", "half_time_frames")
        ends = "half_time" if in_hours else "half_time_frames"
        if row[half] != row[half]:
            print(f"uptake   {name}, {row['readout']}: no fit: {row['note']}")
            continue
        limits = f"95 % {_figure(row[f'{ends}_low'])} to {_figure(row[f'{ends}_high'])}"
        print(f"uptake   {name}, {row['readout']}: half-time {row[half]:.3g} {unit} ({limits})")


def _figure(value: float) -> str:
    return f"{value:.3g}" if value == value else "open"
