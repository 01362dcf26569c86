"""Single precision, bfloat16 and whole numbers of eight bits: how right, and how long: ``precision.py DATA``.

The bundled networks on images with truth, at the same settings. `DATA`: the shared data folder. What the
processor does not have is left out.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

import numpy as np
import tifffile
from accuracy import precision
from common import publish, table

from napari_tam.evaluate.matching import match_points
from napari_tam.networks import engines, int8
from napari_tam.networks.threads import limit_threads
from napari_tam.pipeline.models import Models, load_models
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
THRESHOLDS = (0.5, 0.75, 0.9)
#: Edge (px) of the tile that is timed, and how often.
TILE_PX, TURNS = 640, 7
#: Images without marks: file below the data, and index of the plane.
UNMARKED = {
    "lysosomes": ("real/hela_cells.ome.tif", 0),
    "condensates 1": ("real/nuclear_condensates_1_zstack.tif", (2, 1)),
    "condensates 2": ("real/nuclear_condensates_2_zstack.tif", (2, 1)),
    "autophagosomes": ("real/xy_16bit__autophagosomes.tif", ()),
    "deepBlink": ("unlabelled/deepblink_c1.tif", ()),
    "HybISS": ("unlabelled/spotiflow_hybiss.tif", ()),
    "TERRA": ("unlabelled/spotiflow_terra.tif", ()),
}
KINDS = ("single precision", "bfloat16", "whole numbers")


def models_of(kind: str) -> Models:
    """Load the networks in a precision."""
    engines.is_exact = int8.is_exact if kind == "whole numbers" else lambda: False  # type: ignore[assignment]
    return load_models(
        Settings(engine="openvino", precision="full" if kind == "single precision" else "auto")
    )


def cells(models: Models, data: Path) -> list[float]:
    """AP of cells at their true diameter, mean over the fields."""
    scores, settings = [], Settings()
    for path in sorted((data / "cells").glob("*_masks.tif")):
        image = tifffile.imread(str(path).replace("_masks", ""))
        truth = tifffile.imread(path).astype(np.int32)
        second = image[1] if image[1].any() else None
        found = models.cells.segment(image[0], second, 0.65, median_diameter(truth) * 0.65, settings)
        scores.append(precision(truth, found.labels))
    return [float(value) for value in np.mean(scores, axis=0)]


def nuclei(models: Models, data: Path) -> list[float]:
    """AP of nuclei of held-out fields at their true diameter."""
    from data import held_out_nuclei

    truths = {
        p.name.removesuffix("_masks.tif"): tifffile.imread(p) for p in (data / "nuclei").glob("*_masks.tif")
    }
    settings, scores = Settings(min_nucleus_area_um2=0), []
    for name in sorted(held_out_nuclei(sorted(name for name, truth in truths.items() if truth.any()))):
        image = tifffile.imread(data / "nuclei" / f"{name}.tif")
        diameter_um = median_diameter(truths[name]) * 0.5
        found = models.nuclei.segment(image, None, 0.5, diameter_um, settings)
        scores.append(precision(truths[name], found.labels))
    return [float(value) for value in np.mean(scores, axis=0)]


def puncta(models: Models, data: Path) -> dict[str, float]:
    """F1 of puncta on the sets of ``puncta.py``."""
    import puncta as of

    result = {}
    for name, read in of.SETS.items():
        images = list(read(data.parent))
        result[name] = of.score(images, of.Ours(models.puncta).batch(images)[0])["F1"]
    return result


def unmarked(models: Models, data: Path) -> dict[str, np.ndarray]:
    """Puncta of images without truth: bright ones among them, which have more light than the marked ones."""
    settings, found = Settings(), {}
    for name, (file, plane) in UNMARKED.items():
        pixels = tifffile.imread(data / file)[plane]
        found[name] = models.puncta.detect(pixels, 0.1, settings)[["y_px", "x_px"]].to_numpy(float)
    return found


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """F1 of puncta beside others of the same image."""
    return 2 * len(match_points(first, second, 3.0)) / max(len(first) + len(second), 1)


def seconds(models: Models) -> dict[str, float]:
    """Processor seconds of each network for a tile, in one thread: the median."""
    limit_threads(1)
    result = {}
    for name in ("cells", "nuclei", "puncta"):
        predictor = getattr(models, name).predictor
        batch = np.random.default_rng(0).random((1, predictor.in_channels, TILE_PX, TILE_PX), np.float32)
        predictor.engine.run(batch)
        turns = []
        for _ in range(TURNS):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            predictor.engine.run(batch)
            turns.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
        result[name] = float(np.median(turns))
    limit_threads(0)
    return result


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data / "data"
    sys.path.insert(0, str(ROOT / "training"))
    kinds = [KINDS[0]]
    if engines.openvino_precision() == "bf16":
        kinds.append(KINDS[1])
    if int8.is_exact():
        kinds.append(KINDS[2])
    values, rows, times, alike = {}, [], [], []
    exact: dict[str, np.ndarray] = {}
    for kind in kinds:
        models = models_of(kind)
        time = seconds(models)
        found = {measure.__name__: measure(models, data) for measure in (cells, nuclei, puncta)}
        found["seconds"] = time
        places = unmarked(models, data)
        exact = exact or places
        same = {name: agreement(exact[name], places[name]) for name in UNMARKED}
        found["agreement"] = same
        alike.append([kind, *(f"{same[name]:.3f} ({len(places[name])})" for name in UNMARKED)])
        values[kind] = {"engine": models.engine, **found}
        rows.append([kind, *found["cells"], *found["nuclei"], *found["puncta"].values()])
        times.append([kind, *(f"{time[name]:.3f}" for name in time), models.engine])
        print(rows[-1], times[-1], flush=True)
    header = [f"{what} {at}" for what in ("cells", "nuclei") for at in THRESHOLDS]
    lines = [
        "AP of cells (36 real fields, which the network may have seen) and of nuclei (50 held-out fields),",
        "F1 of puncta on the sets of puncta.py",
        "",
        *table(["", *header, *values[kinds[0]]["puncta"]], rows),
        "",
        "Puncta of images without marks: F1 beside those of single precision (how many)",
        "",
        *table(["", *UNMARKED], alike),
        "",
        f"Processor seconds of a tile of {TILE_PX} x {TILE_PX} px in one thread (median of {TURNS})",
        "",
        *table(["", "cells", "nuclei", "puncta", "engine"], times),
    ]
    publish("precision", lines, values)


if __name__ == "__main__":
    main()
