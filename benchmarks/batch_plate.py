"""A simulated plate through the batch, killed twice, and through dask: ``python benchmarks/batch_plate.py``.

With the default sizes 288 fields of 256²: two conditions × five doses × three replicates and their dye-only
controls, eight fields a well. The run that was killed and the undisturbed one on two dask workers must give
the same bytes, and the report the simulated truth. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import html
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from common import publish, table

from napari_tam.results.folder import read_mask
from napari_tam.simulate.plate import Plate, write_plate

if TYPE_CHECKING:
    from napari_tam.simulate.parameters import SceneParameters

SEED = 6
TABLES = ("cells.csv", "puncta.csv", "thresholds.csv", "replicates.csv", "comparisons.csv")
#: How far the report may be from the truth: cells and intensities (relative), share of positive cells.
CELLS, LIGHT, POSITIVE = 0.1, 0.15, 0.1


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def batch(plate: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start ``napari-tam batch`` on the plate."""
    command = "import sys; from napari_tam.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["batch", str(plate), "--out", str(out), "--layout", str(plate / "layout.csv"), *more]
    return subprocess.Popen(
        [sys.executable, "-c", command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that must succeed."""
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"napari-tam batch ended with {process.returncode}:\n{errors}")


def kill(process: subprocess.Popen[str], out: Path, fields: int) -> int:
    """SIGKILL a run once so many fields are done, and a moment later; return how many were."""
    while len(list(out.glob("fields/files/*.json"))) < fields and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 2))
    if process.poll() is not None:
        raise SystemExit("the run ended before it could be killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(list(out.glob("fields/files/*.json")))


def truth(plate: Path, gain: float) -> pd.DataFrame:
    """Return one row a true cell: group (as in the report), replicate, area, puncta and their light."""
    layout = pd.read_csv(plate / "layout.csv").set_index("well")
    parts = []
    for path in sorted(plate.glob("*_cells.csv")):
        name = path.name.removesuffix("_cells.csv")
        well = layout.loc[name.split("_")[1]]
        areas = np.bincount(read_mask(plate / f"{name}_masks.tif").ravel())
        spots = pd.read_csv(plate / f"{name}_puncta.csv")
        spots["light"] = gain * 2 * np.pi * spots["sigma_px"] ** 2 * spots["amplitude_photons"]
        sums = spots.groupby("cell").agg(count=("light", "size"), light=("light", "sum"))
        cells = pd.read_csv(path)[["label"]].set_index("label").join(sums).fillna(0.0)
        control = isinstance(well["control_role"], str)
        kind = " (dye only)" if control else f", dose {well['dose']:g}"
        about = {"group": well["condition"] + kind, "condition": well["condition"], "dose": well["dose"]}
        parts.append(cells.assign(**about, replicate=well["replicate"], area=areas[cells.index]))
    return pd.concat(parts)


def groups(cells: pd.DataFrame, threshold: float, um: float) -> pd.DataFrame:
    """Return the truth of every group: mean light of the replicates, share above the threshold (per µm²)."""
    cells = cells.assign(positive=cells["count"] / (cells["area"] * um**2) > threshold)
    units = cells.groupby(["group", "replicate"])[["light", "positive"]].mean()
    found = units.groupby("group").mean()
    return found.join(cells.groupby("group").agg(cells=("light", "size"), dose=("dose", "first")))


def report_tables(page: str) -> list[pd.DataFrame]:
    """Return the tables of a report."""
    found = []
    for text in re.findall(r"<table>(.*?)</table>", page, re.DOTALL):
        rows = [
            [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
            for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
        ]
        found.append(pd.DataFrame(rows[1:], columns=rows[0]))
    return found


def first_number(text: str) -> float:
    """Return the mean in ``1,234 ± 56``."""
    return float(text.split()[0].replace(",", ""))


def check_report(
    out: Path, plate: Path, scene: SceneParameters, fields: int
) -> tuple[list[str], dict[str, Any], bool]:
    """Compare the report with the truth."""
    page = (out / "report.html").read_text(encoding="utf-8")
    conditions = next(t for t in report_tables(page) if "condition" in t and "replicates" in t).set_index(
        "condition"
    )
    intensity = next(name for name in conditions if name.startswith("puncta intensity"))
    threshold = pd.read_csv(out / "thresholds.csv")["threshold"].item()
    true = groups(truth(plate, scene.gain), threshold, scene.pixel_size_um)
    rows: list[list[object]] = []
    right = set(conditions.index) == set(true.index) and f"<b>{fields:,}</b><span>images analysed<" in page
    values: dict[str, Any] = {}
    for name, row in true.iterrows():
        said = conditions.loc[name]
        cells, light = first_number(said["cells"]), first_number(said[intensity])
        positive = first_number(said["positive, mean ± SD"]) / 100
        treated = row["dose"] > 0
        right &= abs(cells / row["cells"] - 1) <= CELLS
        right &= not treated or abs(light / row["light"] - 1) <= LIGHT
        right &= abs(positive - row["positive"]) <= POSITIVE
        rows.append([name, row["cells"], cells, row["light"], light, row["positive"], positive])
        values[str(name)] = [float(x) for x in rows[-1][1:]]
    found = conditions[intensity].map(first_number)
    for condition in dict.fromkeys(name.split(",")[0] for name in true.index[true["dose"] > 0]):
        own = true[true.index.str.startswith(f"{condition},")].sort_values("dose")
        right &= found[own.index].is_monotonic_increasing
    header = ["group", "cells", "report", "light", "report", "positive", "report"]
    return table(header, rows), values, bool(right)


def run(fields: int, side: int, doses: int, replicates: int) -> tuple[list[str], dict[str, Any]]:
    """Simulate, run, kill, resume and compare."""
    random.seed(SEED)
    base = Plate()
    # even light, so that a punctum's light is what reaches the camera
    scene = replace(base.scene, shape=(side, side), illumination=0.0)
    plate = replace(base, doses=base.doses[-doses:], replicates=replicates, fields=fields, scene=scene)
    with tempfile.TemporaryDirectory() as name:
        images, killed, dask = (Path(name) / part for part in ("plate", "killed", "dask"))
        number = len(list(write_plate(images, plate, SEED))) - 1
        say(f"{number} fields of {side} x {side} are there")
        started = time.perf_counter()
        when = []
        for low, high in ((0.05, 0.45), (0.5, 0.9)):
            when.append(kill(batch(images, killed), killed, int(random.uniform(low, high) * number)))
            say(f"killed with {when[-1]} fields done")
        finish(batch(images, killed))
        seconds = time.perf_counter() - started
        say(f"resumed and done, {seconds:.0f} s in all")
        finish(batch(images, dask, "--cluster", "local:2"))
        say("done on dask")
        same = {table: (killed / table).read_bytes() == (dask / table).read_bytes() for table in TABLES}
        lines, values, right = check_report(killed, images, scene, number)
    head = [
        f"{number} fields of {side} x {side}; killed with {when[0]} and {when[1]} fields done, then resumed "
        f"({seconds:.0f} s in all); the same plate by --cluster local:2",
        "same bytes: " + ", ".join(f"{name} {'yes' if equal else 'NO'}" for name, equal in same.items()),
        f"the report is within {CELLS:.0%} (cells), {LIGHT:.0%} (intensity of treated cells) and "
        f"{100 * POSITIVE:.0f} points (positive) of the truth, and rises: {'yes' if right else 'NO'}",
        "",
    ]
    return head + lines, {
        "fields": number,
        "side": side,
        "killed_at": when,
        "same": same,
        "right": right,
    } | values


def main() -> None:
    """Read the sizes and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=8, help="fields a well")
    parser.add_argument("--side", type=int, default=256, help="their size in pixels")
    parser.add_argument("--doses", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--replicates", type=int, default=3, choices=range(2, 8))
    given = parser.parse_args()
    publish("batch_plate", *run(given.fields, given.side, given.doses, given.replicates))


if __name__ == "__main__":
    main()
