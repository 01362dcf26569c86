"""A mosaic made of sample fields, analysed in tiles: ``python benchmarks/large.py [SIDE]`` (default 6400).

Cost per megapixel against a field of 2048², peak memory, and cells against the truth. Each run is a process
of its own. The sample fields lie mirrored beside one another, so that cells at their borders become whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from common import ROOT, publish, table

SAMPLES = sorted((ROOT / "sample_data").glob("field_*.ome.tif"))
GOAL_GB, GOAL_CELLS, GOAL_COST = 4.0, 0.01, 0.15
BLOCK = 512


def layout(side: int, shape: tuple[int, int]) -> list[list[tuple[int, bool, bool]]]:
    """Return which sample lies where: rows of (sample, upside down, left to right)."""
    rows, columns = (-(-side // n) for n in shape)
    # a field and its mirror images are neighbours, so a row and a column hold one sample each two places
    return [
        [((y // 2 + x // 2) % len(SAMPLES), y % 2 == 1, x % 2 == 1) for x in range(columns)]
        for y in range(rows)
    ]


def strips(kind: str, side: int) -> np.ndarray:
    """Return the mosaic of one kind: an array (channels first) of the first `side` pixels each way."""
    ends = {"image": ".ome.tif", "masks": "_masks.tif"}
    samples = [tifffile.imread(str(path).replace(".ome.tif", ends[kind])) for path in SAMPLES]
    samples = [each if each.ndim == 3 else each[None] for each in samples]
    rows = []
    for row in layout(side, samples[0].shape[1:]):
        parts = [samples[k][:, :: -1 if up else 1, :: -1 if left else 1] for k, up, left in row]
        rows.append(np.concatenate(parts, axis=2)[:, :, :side])
    return np.concatenate(rows, axis=1)[:, :side]


def truth(side: int) -> int:
    """Count the cells of the mosaic: one that crosses a border with its mirror image is one."""
    from skimage.measure import label

    masks = strips("masks", side)[0]
    # cells of one sample have numbers of their own, and mirror images share theirs
    return int(label(masks, connectivity=1).max())


def write(path: Path, side: int) -> None:
    """Write the mosaic as a tiled OME-TIFF."""
    mosaic = strips("image", side)
    with tifffile.TiffFile(SAMPLES[0]) as tif:
        text = tif.ome_metadata or ""
    pixel = float(text.split('PhysicalSizeX="')[1].split('"')[0])
    names = [part.split('"')[0] for part in text.split("<Channel ")[1:] for part in [part.split('Name="')[1]]]
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    metadata |= {f"PhysicalSize{axis}": pixel for axis in "XY"}
    metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    tifffile.imwrite(
        path,
        mosaic,
        ome=True,
        metadata=metadata,
        tile=(BLOCK, BLOCK),
        compression="zlib",
        photometric="minisblack",
        bigtiff=True,
    )


def analyse(path: str, tile_px: int) -> dict[str, float]:
    """Analyse one image into a folder, and say what it took."""
    import resource

    from napari_tam.batch import analyse_files
    from napari_tam.models import load_models
    from napari_tam.settings import Settings

    settings = Settings(tile_px=tile_px)
    models = load_models(settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    clock, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        [outcome] = analyse_files([Path(path)], settings, models, Path(out))
    if outcome.analysis is None:
        raise SystemExit(outcome.error)
    return {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "models_gb": before,
        "cells": len(outcome.analysis.table),
        "puncta": len(outcome.analysis.puncta),
    }


def child(path: Path, tile_px: int) -> dict[str, float]:
    """Run `analyse` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path), str(tile_px)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(side: int = 6400) -> tuple[list[str], dict]:
    """Return the lines of the report and its values."""
    rows: list[list[object]] = []
    values: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # a field; the smaller mosaic in tiles; the larger one in tiles: memory should stay
        for name, n, tile in (
            ("field", 2048, 4096),
            ("mosaic", side // 2, 2048),
            ("large mosaic", side, 2048),
        ):
            path = Path(folder) / f"{n}.ome.tif"
            write(path, n)
            found = child(path, tile)
            wanted = truth(n)
            found |= {"side": n, "truth": wanted, "cpu_per_mpx": found["cpu_seconds"] / (n * n / 1e6)}
            values[name] = found
            first = values["field"]["cpu_per_mpx"]
            rows.append(
                [
                    name,
                    f"{n}²",
                    f"{found['seconds']:.0f}",
                    f"{found['cpu_per_mpx']:.2f}",
                    f"{found['cpu_per_mpx'] / first - 1:+.0%}",
                    f"{found['peak_gb']:.2f}",
                    int(found["cells"]),
                    f"{found['cells'] / wanted - 1:+.1%}",
                    int(found["puncta"]),
                ]
            )
            path.unlink()
    head = ["", "size", "s", "CPU s/Mpx", "against field", "peak GB", "cells", "against truth", "puncta"]
    goals = f"goals: cost {GOAL_COST:+.0%}, {GOAL_GB:g} GB at 20,000², cells within {GOAL_CELLS:.0%}"
    return [*table(head, rows), "", goals], values


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(json.dumps(analyse(sys.argv[2], int(sys.argv[3]))))
    else:
        publish("large", *run(*map(int, sys.argv[1:2])))
