"""Tracking and uptake kinetics on simulated movies: ``python benchmarks/uptake_time.py``.

Goal: on a movie of 20 frames and 60 cells at least 0.95 of the links right, and the half-time within 10 %.
Movies are segmented by the bundled networks; links are also counted with the true masks in their place,
where three costs are compared while cells move further and further.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
from common import table
from laptrack import LapTrack

from napari_tam.evaluate.matching import match_cells
from napari_tam.io.field import Field
from napari_tam.kinetics import tracking
from napari_tam.kinetics.fit import fit_uptake
from napari_tam.kinetics.table import READOUTS, kinetics
from napari_tam.kinetics.tracking import follow, link
from napari_tam.pipeline.models import load_models
from napari_tam.pipeline.runner import run as analyse
from napari_tam.settings import Settings
from napari_tam.simulate.movie import Movie, tracks_of
from napari_tam.simulate.parameters import MovieParameters, SceneParameters

SEED = 77
FRAMES, CELLS, SIDE = 20, 60, 768
#: Half-times in hours; the movies last 3.2 h.
CONDITIONS = {"fast": 0.4, "slow": 0.8}
MOVIES = 2
GOAL_LINKS, GOAL_HALF = 0.95, 0.10
#: Mean movement between two frames in µm; a cell is 22 µm wide.
STEPS = (4, 6, 9, 13)
#: Cells that a segmentation misses, in the comparison of the costs.
MISSED = 0.04
SETTINGS = Settings(phenotype_model="none", overlays=False)
BASE = MovieParameters(
    scene=SceneParameters(shape=(SIDE, SIDE), cells_per_field=CELLS, overlap=0.05, clustering=0.3),
    frames=FRAMES,
)


def true_links(table: pd.DataFrame) -> set[tuple[int, int]]:
    """Return the pairs of rows that are one cell in neighbouring frames (column ``truth``)."""
    return _links(table[table["truth"] > 0], "truth")


def _links(table: pd.DataFrame, column: str) -> set[tuple[int, int]]:
    links = set()
    for _, rows in table.sort_values("frame").groupby(column):
        index, frame = rows.index.to_numpy(), rows["frame"].to_numpy()
        links |= {
            (int(index[k]), int(index[k + 1])) for k in range(len(rows) - 1) if frame[k + 1] == frame[k] + 1
        }
    return links


def scores(found: pd.DataFrame, all_true: int) -> dict[str, float]:
    """Share of the true links that were found, and share of the found links that are right.

    Parameters
    ----------
    found
        Cells as segmented: frame, track, and truth (0: no true cell).
    all_true
        Number of links between the true cells; one whose cells were not segmented cannot be found.
    """
    true, made = true_links(found), _links(found, "track")
    return {"found": len(true & made) / all_true, "right": len(true & made) / len(made)}


def segmented(movie: Movie, name: str, models) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Analyse a movie frame by frame; returns cells (with ``truth``), images and the number of true links."""
    cells, images, truth = [], [], []
    for index in range(movie.parameters.frames):
        frame = movie.frame(index)
        channels = dict(zip(("cell", "nucleus", "exosome"), frame.image, strict=True))
        um = movie.parameters.scene.pixel_size_um
        field = Field(f"{name}_t{index:04d}", channels, um, frame=index)
        analysis = analyse(field, SETTINGS, models)
        matched = dict(match_cells(frame.cells, analysis.cells)[:, ::-1].tolist())
        cells.append(analysis.table.assign(truth=analysis.table["label"].map(matched).fillna(0).astype(int)))
        interval = movie.parameters.frame_interval_min
        row = {"image": field.name, "source": name, "frame": index, "status": "ok", "pixel_size_um": um}
        images.append(row | {"frame_interval_min": interval})
        truth.append(tracks_of(frame, index).rename(columns={"track": "truth"}))
    links = len(true_links(pd.concat(truth, ignore_index=True)))
    return pd.concat(cells, ignore_index=True), pd.DataFrame(images), links


def true_cells(movie: Movie) -> pd.DataFrame:
    """Return what tracking takes, from the true masks, in random order."""
    rows = []
    for index in range(movie.parameters.frames):
        labels = movie.walk.population(index, movie.parameters.scene.shape).labels
        frame = type("Truth", (), {"cells": labels, "puncta": pd.DataFrame({"cell": []})})
        rows.append(tracks_of(frame, index))  # type: ignore[arg-type]
    found = pd.concat(rows, ignore_index=True).sample(frac=1, random_state=SEED)
    um = movie.parameters.scene.pixel_size_um
    found = found.rename(columns={"track": "truth", "y_px": "centroid_y_px", "x_px": "centroid_x_px"})
    found["area_um2"] = found["area_px"] * um**2
    found["equivalent_diameter_um"] = np.sqrt(4 / np.pi * found["area_um2"])
    return found.reset_index(drop=True)


def by_overlap(cells: pd.DataFrame, movie: Movie) -> np.ndarray:
    """Link by 1 - intersection over union of the true masks, also by LapTrack."""
    shape = movie.parameters.scene.shape
    masks = [movie.walk.population(index, shape).labels for index in range(movie.parameters.frames)]
    found: dict[tuple[int, int], np.ndarray] = {}

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        (first, one), (second, two) = sorted([(int(a[0]), int(a[1])), (int(b[0]), int(b[1]))])
        if (first, second) not in found:
            width = int(max(masks[first].max(), masks[second].max())) + 1
            pairs = np.bincount(
                masks[first].astype(np.int64).ravel() * width + masks[second].ravel(), minlength=width**2
            ).reshape(width, width)
            union = pairs.sum(axis=1)[:, None] + pairs.sum(axis=0)[None] - pairs
            found[first, second] = pairs / np.maximum(union, 1)
        return 1 - float(found[first, second][one, two])

    places = [
        cells[cells["frame"] == index][["frame", "truth"]].to_numpy(float) for index in range(len(masks))
    ]
    options = {"cutoff": 0.95, "gap_closing_cutoff": 0.95, "gap_closing_max_frame_count": 3}
    tree = LapTrack(metric=iou, gap_closing_metric=iou, **options).predict(places)
    rows = [cells.index[cells["frame"] == index].to_numpy() for index in range(len(masks))]
    tracks, last = np.zeros(len(cells), np.int64), 0
    for when, index in sorted(tree.nodes):
        before = next(iter(tree.predecessors((when, index))), None)
        last += before is None
        tracks[rows[when][index]] = last if before is None else tracks[rows[before[0]][before[1]]]
    return tracks


def costs() -> tuple[list[str], dict]:
    """Compare three costs on true masks of which some are missed, as cells move further."""
    rows, values = [], {}
    for step in STEPS:
        movie = Movie(replace(BASE, speed_um_per_min=step / BASE.frame_interval_min), SEED)
        cells = true_cells(movie)
        keep = np.random.default_rng(SEED).random(len(cells)) >= MISSED
        cells = cells[keep].reset_index(drop=True)
        all_true = len(true_links(cells))
        um, weight = movie.parameters.scene.pixel_size_um, tracking.AREA_WEIGHT
        found = {"overlap": by_overlap(cells, movie), "centroid + area": link(cells, um, SETTINGS)}
        tracking.AREA_WEIGHT = 0.0
        found["centroid"] = link(cells, um, SETTINGS)
        tracking.AREA_WEIGHT = weight
        for name in ("centroid", "overlap", "centroid + area"):
            result = scores(cells.assign(track=found[name]), all_true)
            values[f"{name}, {step} um"] = {key: round(value, 4) for key, value in result.items()}
            rows.append([f"{step} µm", name, result["found"], result["right"]])
    lines = [f"True masks, {MISSED:.0%} of them left out, by movement from frame to frame (root mean square)"]
    return [*lines, *table(["movement", "cost", "links found", "links right"], rows)], values


def run() -> tuple[list[str], dict]:
    """Measure all; returns the lines to print and the values."""
    started = time.perf_counter()
    lines, values = costs()
    models = load_models(SETTINGS)
    rows, seen, halves, drawn = [], [], [], {}
    for condition, half in CONDITIONS.items():
        arrivals = np.zeros(FRAMES)
        for number in range(MOVIES):
            movie = Movie(replace(BASE, rate_per_h=np.log(2) / half), SEED + 10 * number + len(seen))
            name = f"{condition}_{number + 1}"
            truth = true_cells(movie)
            um = movie.parameters.scene.pixel_size_um
            ideal = scores(truth.assign(track=link(truth, um, SETTINGS)), len(true_links(truth)))
            cells, images, links = segmented(movie, name, models)
            found = follow(images, cells, SETTINGS).cells
            result = scores(found, links)
            rows.append([name, ideal["found"], ideal["right"], result["found"], result["right"], len(found)])
            seen.append(found.assign(condition=condition, track=found["track"] + 1000 * len(seen)))
            arrivals += [sum((one.hours <= now).sum() for one in movie.arrivals) for now in movie.hours]
            print(f"... {name}: {result}", flush=True)
        # the puncta that were drawn are a sample themselves: their own half-time is not the rate's
        drawn[condition] = fit_uptake(movie.hours, arrivals).half_time
    fits = kinetics(pd.concat(seen, ignore_index=True))
    pooled = fits[fits["track"].isna()].set_index(["condition", "readout"])
    for condition, half in CONDITIONS.items():
        for readout in READOUTS:
            row = pooled.loc[(condition, readout)]
            error = row["half_time_h"] / half - 1
            inside = row["half_time_low"] < half < row["half_time_high"]
            interval = f"{row['half_time_low']:.3f} to {row['half_time_high']:.3f}"
            holds = "yes" if inside else "no"
            halves.append(
                [condition, readout, half, drawn[condition], row["half_time_h"], error, interval, holds]
            )
            values[f"{condition}, {readout}"] = {
                "true_h": half,
                "as_drawn_h": round(float(drawn[condition]), 4),
                "half_time_h": round(float(row["half_time_h"]), 4),
                "error": round(float(error), 4),
            }
    links_found, links_right = (float(np.mean([row[k] for row in rows])) for k in (3, 4))
    # no half-time at all is the largest error
    worst = max(float(np.nan_to_num(abs(row[5]), nan=np.inf)) for row in halves)
    header = ["movie", "found (true masks)", "right (true masks)", "found", "right", "cells"]
    lines += ["", f"Movies of {FRAMES} frames and {CELLS} cells, segmented by the bundled networks"]
    lines += table(header, rows)
    header = [
        "condition",
        "readout",
        "true h",
        "as drawn h",
        "measured h",
        "error",
        "95 % interval",
        "it holds",
    ]
    lines += ["", f"Half-time, {MOVIES} movies a condition", *table(header, halves)]
    lines += ["", f"links found {links_found:.3f}, right {links_right:.3f} (goal {GOAL_LINKS})"]
    lines += [f"half-time: largest error {worst:.1%} (goal {GOAL_HALF:.0%})"]
    values |= {"links_found": links_found, "links_right": links_right, "half_time_worst_error": worst}
    return lines, values | {"seconds": round(time.perf_counter() - started, 1)}


if __name__ == "__main__":
    print("\n".join(run()[0]))
