"""Speed and memory beside the stock stack: ``python benchmarks/speed.py``.

The stock stack is CellposeModel (3.1) with the reference network and the true diameter for cells
and nuclei, skimage's blob_log and regionprops_table. Every stack runs in a process of its own on
the same field; loading of weights is left out, peak memory is the process's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import SHARED, engine, mirror, publish, require_shared, table, tiled_composite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CELL_UM, NUCLEUS_UM, PIXEL_UM = 32.0, 11.0, 0.325
GENERALIST = ("own engine", "Cellpose 3, eval")
STACKS = ("napari-tam", "napari-tam, no diameter given", "stock, resample=False", "stock, defaults")


def run_ours(size: int, repeats: int, given: bool) -> dict:
    """Time the pipeline from arrays to tables."""
    from napari_tam.io.field import Field
    from napari_tam.pipeline import runner
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings

    settings = Settings(
        cell_diameter_um=CELL_UM if given else None, nucleus_diameter_um=NUCLEUS_UM if given else None
    )
    models = load_models(settings)
    image = tiled_composite(size)
    field = Field("tiled", {"cell": image[0], "nucleus": image[1], "exosome": image[2]}, PIXEL_UM)
    seconds, steps, processor = [], [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), processor_seconds()
        analysis = runner.run(field, settings, models)
        seconds.append(time.perf_counter() - start)
        processor.append(processor_seconds() - used)
        steps.append(analysis.seconds)
    return {
        "seconds": seconds,
        "processor": processor,
        "networks": networks_alone(lambda: runner.run(field, settings, models)),
        "steps": {k: float(np.median([s[k] for s in steps])) for k in steps[0]},
        "cells": len(analysis.table),
        "puncta": len(analysis.puncta),
    }


def processor_seconds() -> float:
    """Return the seconds that this process had on all cores."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def networks_alone(run: Callable[[], object]) -> float:
    """Processor seconds of all that the networks do in a run, done again without the rest."""
    from napari_tam.networks.engines import OpenVinoEngine

    calls, original = [], OpenVinoEngine.run
    OpenVinoEngine.run = lambda network, batch: (calls.append((network, batch)), original(network, batch))[1]
    try:
        run()
    finally:
        OpenVinoEngine.run = original
    used = processor_seconds()
    for network, batch in calls:
        network.run(batch)
    return processor_seconds() - used


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Let so many other processes use a core each."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run_stock(size: int, resample: bool) -> dict:
    """Time the stock stack on the same field."""
    from cellpose.models import CellposeModel
    from skimage.feature import blob_log
    from skimage.measure import regionprops_table

    model = CellposeModel(pretrained_model=str(SHARED / "reference" / "cellpose_generalist_cpnet.pt"))
    image = tiled_composite(size)
    start = time.perf_counter()
    cells = model.eval(
        image[:2], channels=[1, 2], channel_axis=0, diameter=CELL_UM / PIXEL_UM, resample=resample
    )[0]
    model.eval(image[1], channels=[0, 0], diameter=NUCLEUS_UM / PIXEL_UM, resample=resample)
    low, high = np.percentile(image[2], (0.5, 99.9))
    spots = blob_log(np.clip((image[2] - low) / (high - low), 0, 1), 1, 3, 5, threshold=0.05)
    regionprops_table(
        cells,
        image.transpose(1, 2, 0),
        properties=(
            "label", "area", "perimeter", "eccentricity", "solidity", "axis_major_length",
            "axis_minor_length", "feret_diameter_max", "equivalent_diameter_area", "mean_intensity",
        ),
    )  # fmt: skip
    rows, columns = spots[:, :2].astype(int).T
    np.bincount(cells[rows, columns])
    return {"seconds": [time.perf_counter() - start], "cells": int(cells.max()), "puncta": len(spots)}


def small_cells(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a field of cells of 30 px, cell and nuclear stain, with its true masks."""
    import cv2
    import tifffile
    from skimage.measure import label

    folder = SHARED / "data" / "composites"
    image = tifffile.imread(folder / "bbbc020_104.ome.tif")[:2]
    masks = tifffile.imread(folder / "bbbc020_104_masks.tif")
    factor = 30 * PIXEL_UM / CELL_UM
    shape = (round(masks.shape[1] * factor), round(masks.shape[0] * factor))
    planes = [mirror(cv2.resize(plane, shape, interpolation=cv2.INTER_AREA), size) for plane in image]
    small = cv2.resize(masks.astype(np.float32), shape, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    return np.stack(planes), label(mirror(small, size), connectivity=1)


def run_generalist(size: int, repeats: int, cellpose: bool) -> dict:
    """Time the same weights in Cellpose's `eval`, at its defaults, or in the own engine."""
    from accuracy import precision

    image, truth = small_cells(size)
    if cellpose:
        from cellpose.models import CellposeModel

        model = CellposeModel(pretrained_model=str(SHARED / "reference" / "cellpose_generalist_cpnet.pt"))

        def segment() -> np.ndarray:
            return model.eval(image, channels=[1, 2], channel_axis=0, diameter=30)[0]
    else:
        from napari_tam.pipeline.models import load_models
        from napari_tam.settings import Settings

        settings = Settings(phenotype_model="none")
        cells = load_models(settings).cells

        def segment() -> np.ndarray:
            return cells.segment(image[0], image[1], 1.0, 30.0, settings).labels

    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        labels = segment()
        seconds.append(time.perf_counter() - start)
    scores = [float(v) for v in precision(truth, labels.astype(np.int32))[:2]]
    return {"seconds": seconds, "cells": int(labels.max()), "puncta": 0, "ap": scores}


def child(stack: str, size: int, repeats: int) -> dict:
    """Run one stack in a process of its own."""
    command = [sys.executable, __file__, "--stack", stack, "--size", str(size), "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def truth_count(size: int) -> tuple[int, int]:
    """Cells and puncta of the tiled field, from the composite's truth."""
    import pandas as pd
    import tifffile

    folder = SHARED / "data" / "composites"
    masks = mirror(tifffile.imread(folder / "bbbc020_104_masks.tif"), size)
    from skimage.measure import label

    cells = int(label(masks, connectivity=1).max())
    spots = pd.read_csv(folder / "bbbc020_104_puncta.csv")
    points = np.zeros((768, 1024), int)
    np.add.at(points, tuple(spots[["y_px", "x_px"]].to_numpy().astype(int).T), 1)
    return cells, int(mirror(points, size).sum())


def help_seconds() -> list[float]:
    """Wall time of ``napari-tam --help``."""
    tool = Path(sys.executable).with_name("napari-tam")
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([str(tool), "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Run all stacks, print and keep the tables."""
    require_shared()
    results = {name: child(name, 2048, 3 if name.startswith("napari") else 1) for name in STACKS}
    best = float(np.median(results["napari-tam"]["seconds"]))
    cells, spots = truth_count(2048)
    rows = [
        [
            name,
            f"{np.median(r['seconds']):.2f}",
            f"{np.median(r['seconds']) / best:.1f}",
            f"{r['peak_mb']:.0f}",
            r["cells"],
            r["puncta"],
        ]
        for name, r in results.items()
    ]
    lines = [
        f"networks by {engine()}",
        "",
        f"2048 x 2048 x 3 field ({cells} cells, {spots} puncta in truth): cells, nuclei, puncta, table",
        *table(["stack", "seconds (median)", "times ours", "peak MB", "cells", "puncta"], rows),
        "steps, as waited for (puncta go on beside nuclei and cells): "
        + ", ".join(f"{k} {v:.2f} s" for k, v in results["napari-tam"]["steps"].items()),
        f"processor seconds: {np.median(results['napari-tam']['processor']):.2f}, "
        f"of which the networks alone {results['napari-tam']['networks']:.2f}",
        "",
    ]
    with busy(2):
        beside = float(np.median(child("napari-tam", 2048, 3)["seconds"]))
    lines += [
        f"beside two busy processes of a core each: {beside:.2f} s, {beside / best:.2f} x alone",
        "",
    ]
    scaling = {size: child("napari-tam", size, 3) for size in (1024, 2048, 4096)}
    cost = {size: float(np.median(r["seconds"])) / size**2 * 1e6 for size, r in scaling.items()}
    lines += [
        "cost per megapixel",
        *table(
            ["size", "s per megapixel", "peak MB"],
            [[f"{s}", cost[s], f"{scaling[s]['peak_mb']:.0f}"] for s in cost],
        ),
        f"largest over smallest: {max(cost.values()) / min(cost.values()):.2f}",
        "",
    ]
    alone = {name: child(name, 1024, 3) for name in GENERALIST}
    fast = float(np.median(alone[GENERALIST[0]]["seconds"]))
    lines += [
        "the same generalist on 1024 x 1024 px, cells of 30 px and their nuclei",
        *table(
            ["", "seconds (median)", "times ours", "peak MB", "cells", "AP 0.5", "0.75"],
            [
                [
                    name,
                    f"{np.median(r['seconds']):.2f}",
                    f"{np.median(r['seconds']) / fast:.1f}",
                    f"{r['peak_mb']:.0f}",
                    r["cells"],
                    *r["ap"],
                ]
                for name, r in alone.items()
            ],
        ),
        "",
    ]
    helped = help_seconds()
    lines += [f"napari-tam --help: median {np.median(helped):.2f} s, worst {max(helped):.2f} s"]
    publish(
        "speed",
        lines,
        {
            "stacks": results,
            "beside_busy_processes": beside,
            "cost_per_megapixel": cost,
            "generalist": alone,
            "help": helped,
            "engine": engine(),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", choices=(*STACKS, *GENERALIST))
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.stack is None:
        main()
    else:
        if args.stack in GENERALIST:
            result = run_generalist(args.size, args.repeats, args.stack == GENERALIST[1])
        elif args.stack.startswith("napari"):
            result = run_ours(args.size, args.repeats, args.stack == "napari-tam")
        else:
            result = run_stock(args.size, args.stack == "stock, defaults")
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
