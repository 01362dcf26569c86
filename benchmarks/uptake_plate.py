"""A simulated plate from images to tables, against its truth: ``python benchmarks/uptake_plate.py``.

Five doses (1 to 16 puncta a cell on average), three replicates and two phenotypes, M2 taking up 1.5 × as
much, one 512² field a well; segmented and detected by the bundled networks. Every well has 0.2 dye particles
a cell, and 5 % of the cells of every well, control or not, hold an aggregate. A second plate holds wells in
which 20 to 80 % of the cells take up anything (10 puncta on average; SD of log uptake 0.3 between cells), and
a larger dye-only control; there, cells that the image's border cuts are left out.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from common import table

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.evaluate.matching import match_cells
from napari_tam.io.layout import read_layout
from napari_tam.pipeline.models import load_models
from napari_tam.results.folder import read_mask, read_results
from napari_tam.settings import Settings
from napari_tam.simulate.plate import Plate, write_plate
from napari_tam.simulate.scene import Scene, write_scene

SEED = 31
DOSES = (1.0, 2.0, 4.0, 8.0, 16.0)
SHARES = (0.2, 0.4, 0.6, 0.8)


def analysed(images: Path, results: Path, settings: Settings) -> None:
    """Analyse a folder of images and conclude with its layout."""
    paths = sorted(images.glob("*.ome.tif"))
    for outcome in analyse_files(paths, settings, load_models(settings), results):
        if outcome.error:
            raise RuntimeError(outcome.error)
    conclude(results, settings, read_layout(images / "layout.csv"))


def matched(images: Path, results: Path) -> pd.DataFrame:
    """Return one row for every true cell that was found (IoU of at least 0.5)."""
    found = read_results(results)
    parts = []
    for name in found.images["image"]:
        true, mask = read_mask(images / f"{name}_masks.tif"), found.masks(name)
        pairs = match_cells(true, mask)
        spots = pd.read_csv(images / f"{name}_puncta.csv")
        spots["light"] = 2 * np.pi * spots["sigma_px"] ** 2 * spots["amplitude_photons"]
        spots = spots[spots["aggregate"] == 0]
        sums = spots.groupby("cell").agg(count=("light", "size"), light=("light", "sum"))
        truth = pd.read_csv(images / f"{name}_cells.csv").set_index("label")
        truth = truth.join(sums).fillna({"count": 0, "light": 0})
        mine = found.cells[found.cells["image"] == name].set_index("label")
        columns = [c for c in ("phenotype", "takes_up", "count", "light") if c in truth]
        part = truth.loc[pairs[:, 0], columns].add_prefix("true_").reset_index(drop=True)
        parts.append(pd.concat([part, mine.loc[pairs[:, 1]].reset_index(drop=True)], axis=1))
    return pd.concat(parts, ignore_index=True)


def line(true: pd.Series, found: pd.Series) -> tuple[float, float]:
    """Return slope and r² of the regression of what was found on the truth."""
    slope = float(np.polyfit(true, found, 1)[0])
    return slope, float(np.corrcoef(true, found)[0, 1] ** 2)


def amounts(folder: Path, settings: Settings) -> tuple[list[str], dict]:
    """Compare count and intensity of each cell with the truth."""
    # even light, so that the light of a punctum is what reaches the camera (uneven light: uptake_correct)
    plate = Plate(doses=DOSES, scene=replace(Plate().scene, illumination=0.0))
    list(write_plate(folder / "plate", plate, SEED))
    analysed(folder / "plate", folder / "results", settings)
    cells = matched(folder / "plate", folder / "results")
    gain = plate.scene.gain
    cells = cells[cells["control_role"] == ""]
    cells = cells.assign(
        true_light=cells["true_light"] * gain,
        resolved=cells["puncta_count"] - cells["aggregate_count"].astype(float),
        light=cells["puncta_intensity_sum"] - cells["aggregate_intensity"],
    )
    readouts = {
        "puncta_equivalents": ("true_count", "puncta_equivalents"),
        "puncta_count": ("true_count", "resolved"),
        "intensity": ("true_light", "light"),
    }
    rows, values = [], {}
    groups = [("all cells", cells), *((f"drawn {p}", g) for p, g in cells.groupby("true_phenotype"))]
    groups += [(f"dose {d:g}", g) for d, g in cells.groupby("dose")]
    for name, group in groups:
        row: list[object] = [name, len(group), float(group["true_count"].mean())]
        for what, (true, found) in readouts.items():
            slope, r2 = line(group[true], group[found])
            row += [slope, r2]
            values[f"{name}, {what}"] = {"cells": len(group), "slope": round(slope, 4), "r2": round(r2, 4)}
        rows.append(row)
    header = ["cells of", "n", "mean count", *(f"{what}, {k}" for what in readouts for k in ("slope", "r2"))]
    single = pd.read_csv(folder / "results" / "thresholds.csv")["single_intensity"].item()
    true_single = gain * plate.scene.punctum_photons * np.exp(plate.scene.punctum_spread**2 / 2)
    values["single_intensity"] = {"found": round(single, 1), "true": round(float(true_single), 1)}
    return [
        "Uptake of each cell against truth, without aggregates (cells found with IoU >= 0.5; goal for count "
        "and intensity of all cells: slope 0.95-1.05, r2 >= 0.97)",
        "puncta_equivalents counts by light; puncta_count counts what the microscope separates",
        f"mean intensity of a single punctum: found {single:.0f}, true {true_single:.0f}",
        *table(header, rows),
        "",
    ], values


def positives(folder: Path, settings: Settings) -> tuple[list[str], dict]:
    """Compare the share of positive cells with the true one; 5 % of the control's cells hold an aggregate."""
    images = folder / "shares"
    images.mkdir()
    base = replace(Plate().scene, uptake_spread=0.3, puncta_per_cell=10.0)
    lines = ["well,condition,dose,replicate,control_role"]
    wells = [(f"B{k + 2:02d}", share) for k, share in enumerate(SHARES)]
    wells += [(f"C{k + 2:02d}", 0.0) for k in range(4)]
    for place, (well, share) in enumerate(wells):
        role = "" if share else "dye_only"
        lines.append(f"{well},{share:g},{10 if share else 0},1,{role}")
        for number in range(2 if role else 6):
            scene = Scene.draw(replace(base, uptake_share=share), [SEED, 5, place, number])
            write_scene(scene, images / f"{well}_f{number + 1}")
    (images / "layout.csv").write_text("\n".join(lines) + "\n")
    analysed(images, folder / "positive", settings)
    readouts = ("puncta_per_um2", "puncta_intensity_sum", "puncta_count", "exosome_integrated")
    shown, values = [], {}
    for readout in readouts:
        conclude(
            folder / "positive",
            settings.updated(positive_readout=readout),
            read_layout(images / "layout.csv"),
        )
        cells = matched(images, folder / "positive")
        cells = cells[~cells["touches_border"]]
        worst = 0.0
        for share, group in cells.groupby("condition"):
            true = float(group["true_takes_up"].mean())
            found = float(group["positive"].astype(bool).mean())
            shown.append(
                [readout, share if share != "0" else "dye only", len(group), true, found, found - true]
            )
            worst = max(worst, abs(found - true))
        values[readout] = {"largest_difference": round(worst, 4)}
    header = ["readout", "share drawn", "cells", "true", "found", "difference"]
    return [
        "Share of positive cells against truth, with a dye-only control of which 5 % of the cells hold an "
        "aggregate (goal: within 0.03)",
        *table(header, shown),
        "",
    ], values


def run() -> tuple[list[str], dict]:
    """Simulate, analyse and compare both plates."""
    settings = Settings(phenotype_model="none", overlays=False)
    with tempfile.TemporaryDirectory() as name:
        lines, values = amounts(Path(name), settings)
        more, others = positives(Path(name), settings)
    return lines + more, {"amounts": values, "positive": others}


if __name__ == "__main__":
    print("\n".join(run()[0]), file=sys.stdout)
