"""A mosaic of fields, analysed in tiles: ``python benchmarks/large.py [SIDE]`` (6400; the goal is 20000).

Cost per megapixel against a field of 2048², peak memory, and cells and puncta against the truth. Each run is
a process of its own, and is timed when a first small field has compiled and loaded what there is to.

The mosaic is made of fields drawn as the sample fields are (`napari_tam.simulate.scene`, other seeds), each
turned over at random. Their cells are whole: none crosses the border of its field, and what is left behind
the last whole field is a field without cells, so the truth of the mosaic is the sum of the fields'. The
sample fields themselves were tried, mirrored at their borders so that cut cells become whole: of 2048² the
network found 510 cells where the truth said 501, and all of the surplus were cells on the mirror lines,
which look like two (105 were counted as 126; elsewhere 396 as 384).

The default needs about 0.6 GB of temporary space, 20,000² about 6 GB (``TMPDIR``): the image, the labels
that are kept in files, and the results.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile
from common import publish, table

from napari_tam.settings import Settings
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import CHANNEL_NAMES, Scene, write_fields, write_scene

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL_GB, GOAL_CELLS, GOAL_COST = 4.0, 0.01, 0.15
#: Side of a field (and a tile of the file); how many there are; size of the image to compare with.
BLOCK, FIELDS, FIELD_PX = 512, 24, 2048
PARAMETERS = SceneParameters(shape=(BLOCK, BLOCK), whole_cells=True)
#: Temporary space that a pixel of the mosaic takes: image, labels of cells and nuclei, results.
BYTES_PER_PIXEL = 15


class Mosaic:
    """Fields side by side."""

    def __init__(self, fields: Path, side: int) -> None:
        self.paths, self.side = sorted(fields.glob("field_*.ome.tif")), side
        self.count = -(-side // BLOCK)
        # which field lies where, whether it is turned upside down, and left to right
        draw = np.random.default_rng(side).integers
        self.places = np.stack([draw(n, size=(self.count, self.count)) for n in (FIELDS, 2, 2)], axis=-1)
        if side % BLOCK:  # the last file is the empty field
            self.places[-1, :, 0] = self.places[:, -1, 0] = FIELDS

    def blocks(self, ending: str) -> Iterator[np.ndarray]:
        """Yield the fields of the mosaic row by row (channels first), cut where the mosaic ends."""
        read = cache(lambda k: tifffile.imread(str(self.paths[k]).replace(".ome.tif", ending)))
        for i, j in np.ndindex(self.count, self.count):
            field, up, left = self.places[i, j]
            turned = read(field)[..., :: -1 if up else 1, :: -1 if left else 1]
            yield turned[..., : self.side - i * BLOCK, : self.side - j * BLOCK]

    def write(self, path: Path) -> None:
        """Write it as a tiled OME-TIFF, of which one field is in memory at a time."""
        sizes = {f"PhysicalSize{axis}": PARAMETERS.pixel_size_um for axis in "XY"}
        units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
        tifffile.imwrite(
            path,
            self._tiles(),
            shape=(len(CHANNEL_NAMES), self.side, self.side),
            dtype=np.uint16,
            ome=True,
            metadata={"axes": "CYX", "Channel": {"Name": list(CHANNEL_NAMES)}, **sizes, **units},
            tile=(BLOCK, BLOCK),
            compression="zlib",
            compressionargs={"level": 1},
            photometric="minisblack",
            bigtiff=True,
        )

    def _tiles(self) -> Iterator[np.ndarray]:
        for channel in range(len(CHANNEL_NAMES)):
            for block in self.blocks(".ome.tif"):
                tile = np.zeros((BLOCK, BLOCK), np.uint16)
                tile[: block.shape[1], : block.shape[2]] = block[channel]
                yield tile

    def truth(self) -> tuple[int, int]:
        """Count the cells and the puncta."""
        cells = sum(len(np.unique(block[block > 0])) for block in self.blocks("_masks.tif"))
        puncta = 0
        tables = [pd.read_csv(str(path).replace(".ome.tif", "_puncta.csv")) for path in self.paths]
        for i, j in np.ndindex(self.count, self.count):
            field, up, left = self.places[i, j]
            y, x = (tables[field][name].to_numpy() for name in ("y_px", "x_px"))
            y, x = (BLOCK - 1 - y if up else y), (BLOCK - 1 - x if left else x)
            puncta += int(((y < self.side - i * BLOCK - 0.5) & (x < self.side - j * BLOCK - 0.5)).sum())
        return cells, puncta


def analyse(path: str, warm_up: str) -> dict[str, float]:
    """Analyse one image into a folder, and say what it took."""
    import resource

    from napari_tam.batches.run import analyse_files
    from napari_tam.pipeline.models import load_models

    settings = Settings()
    models = load_models(settings)

    def one(image: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as out:
            [outcome] = analyse_files([Path(image)], settings, models, Path(out))
        if outcome.analysis is None:
            raise SystemExit(outcome.error)
        return {"cells": len(outcome.analysis.table), "puncta": len(outcome.analysis.puncta)}

    one(warm_up)
    clock, cpu = time.perf_counter(), time.process_time()
    found = one(path)
    return {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        **found,
    }


def child(path: Path, warm_up: Path) -> dict[str, float]:
    """Run `analyse` in a process of its own; its errors are seen."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path), str(warm_up)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"the analysis of {path.name} ended with {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_space(side: int) -> None:
    """Stop with a sentence if the temporary folder is too small."""
    folder, needed = tempfile.gettempdir(), BYTES_PER_PIXEL * side**2
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SystemExit(
            f"a mosaic of {side}² needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB; "
            "set TMPDIR to a folder with more space"
        )


def run(side: int = 6400) -> tuple[list[str], dict]:
    """Return the lines of the report and its values."""
    check_space(side)
    rows: list[list[object]] = []
    values: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        fields = Path(folder) / "fields"
        write_fields(fields, FIELDS, 2026, parameters=PARAMETERS)
        empty = replace(PARAMETERS, cells_per_field=0, aggregates_per_field=0.0)
        write_scene(Scene.draw(empty, 2026), fields / "field_99")
        # a field; a mosaic; for the goal a larger one, too: memory should stay
        for n in sorted({FIELD_PX, min(side, 6400), side}):
            mosaic, path = Mosaic(fields, n), Path(folder) / f"{n}.ome.tif"
            mosaic.write(path)
            print(f"{n}²: written, {path.stat().st_size / 1e9:.2f} GB", file=sys.stderr, flush=True)
            found = child(path, mosaic.paths[0])
            path.unlink()
            cells, puncta = mosaic.truth()
            found |= {"side": n, "true_cells": cells, "true_puncta": puncta}
            found["cpu_per_mpx"] = found["cpu_seconds"] / (n * n / 1e6)
            values[str(n)] = found
            first = values[str(FIELD_PX)]["cpu_per_mpx"]
            rows.append(
                [
                    f"{n}²",
                    f"{found['seconds']:.0f}",
                    f"{found['cpu_per_mpx']:.2f}",
                    f"{found['cpu_per_mpx'] / first - 1:+.0%}",
                    f"{found['peak_gb']:.2f}",
                    int(found["cells"]),
                    f"{found['cells'] / cells - 1:+.2%}",
                    int(found["puncta"]),
                    f"{found['puncta'] / puncta - 1:+.1%}",
                ]
            )
            print(*rows[-1], file=sys.stderr, flush=True)
    head = ["size", "s", "CPU s/Mpx", "against field", "peak GB"]
    head += ["cells", "against truth", "puncta", "against truth"]
    goals = f"goals: cost {GOAL_COST:+.0%}, {GOAL_GB:g} GB at 20,000², cells within {GOAL_CELLS:.0%}"
    return [*table(head, rows), "", goals], values


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(json.dumps(analyse(sys.argv[2], sys.argv[3])))
    else:
        publish("large", *run(*map(int, sys.argv[1:2])))
