"""Accuracy of the bundled networks beside stock Cellpose 3 and scikit-image.

Cells of BBBC020 and of the composites are segmented by networks that have not seen the field
(``benchmarks/leave_one_out``, made by ``training/run.py``); nuclei and puncta are held-out images.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from cellpose.metrics import average_precision
from common import ROOT, SHARED, publish, require_shared, table

from napari_tam.evaluate.matching import match_points
from napari_tam.measure.cells import measure
from napari_tam.networks.cards import AREA_SETTINGS, TYPICAL_UM, ModelCard
from napari_tam.networks.predictor import Predictor
from napari_tam.pipeline.models import load_models
from napari_tam.puncta.detect import LogDetector
from napari_tam.segment.segmenter import FlowNetSegmenter, median_diameter
from napari_tam.settings import Settings

DATA = SHARED / "data"
FIELDS = ("104", "106", "121")
PIXEL_UM = 0.65  # BBBC020 as resized; half the composites' resolution
THRESHOLDS = [0.5, 0.75, 0.9]
SETTINGS = Settings()


@cache
def cells_without(field: str) -> FlowNetSegmenter:
    """Load the `cells` network that was trained without a field."""
    card = ModelCard.read(ROOT / "benchmarks" / "leave_one_out" / field / "cells.json")
    return FlowNetSegmenter(
        Predictor(card.load()), card.values["diameter_px"], TYPICAL_UM["cells"], AREA_SETTINGS["cells"]
    )


def stock(image: np.ndarray, diameter: float) -> np.ndarray:
    """Stock Cellpose 3 with the reference network and the true diameter."""
    return _stock_model().eval(image, channels=[1, 2], diameter=diameter, channel_axis=0)[0]


@cache
def _stock_model():
    from cellpose.models import CellposeModel

    return CellposeModel(pretrained_model=str(SHARED / "reference" / "cellpose_generalist_cpnet.pt"))


def precision(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """AP at the three thresholds."""
    return average_precision(truth.astype(np.int32), found.astype(np.int32), THRESHOLDS)[0]


def cells() -> tuple[list[str], dict]:
    """BBBC020, left out field by field, and the composites with and without a diameter."""
    rows, values = [], {}
    for field in FIELDS:
        image = tifffile.imread(DATA / "cells" / f"bbbc020_{field}.tif")
        truth = tifffile.imread(DATA / "cells" / f"bbbc020_{field}_masks.tif")
        diameter = median_diameter(truth)
        ours = (
            cells_without(field).segment(image[0], image[1], PIXEL_UM, diameter * PIXEL_UM, SETTINGS).labels
        )
        found = cells_without(field).segment(image[0], image[1], PIXEL_UM, None, SETTINGS)
        peer = stock(image, diameter)
        rows.append(
            [
                f"BBBC020 {field}",
                *precision(truth, ours),
                *precision(truth, found.labels),
                *precision(truth, peer),
            ]
        )
    for field in FIELDS:
        image = tifffile.imread(DATA / "composites" / f"bbbc020_{field}.ome.tif")
        truth = tifffile.imread(DATA / "composites" / f"bbbc020_{field}_masks.tif")
        diameter = median_diameter(truth)
        network = cells_without(field)
        known = network.segment(image[0], image[1], PIXEL_UM / 2, diameter * PIXEL_UM / 2, SETTINGS)
        free = network.segment(image[0], image[1], PIXEL_UM / 2, None, SETTINGS)
        peer = stock(image[:2], diameter)
        rows.append(
            [
                f"composite {field}",
                *precision(truth, known.labels),
                *precision(truth, free.labels),
                *precision(truth, peer),
            ]
        )
    for group in ("BBBC020", "composite"):
        mean = np.mean([row[1:] for row in rows if str(row[0]).startswith(group)], axis=0)
        rows.append([f"{group} mean", *map(float, mean)])
        values[group] = dict(zip(_columns(), (round(float(v), 3) for v in mean), strict=True))
    title = (
        "Cells: AP of cells-fast, the field left out of training, beside the generalist as Cellpose runs it"
    )
    return [title, *table(["field", *_columns()], rows), ""], values


def _columns() -> list[str]:
    return [f"{who} {t}" for who in ("true diameter", "no diameter", "stock Cellpose 3") for t in THRESHOLDS]


def nuclei() -> tuple[list[str], dict]:
    """50 DSB fields that were not trained on, diameter given and not."""
    sys.path.insert(0, str(ROOT / "training"))
    from data import held_out_nuclei

    names = [p.name.removesuffix("_masks.tif") for p in sorted((DATA / "nuclei").glob("*_masks.tif"))]
    names = [n for n in names if tifffile.imread(DATA / "nuclei" / f"{n}_masks.tif").any()]
    network = load_models(SETTINGS).nuclei
    settings = SETTINGS.updated(min_nucleus_area_um2=0)
    scores: dict[str, list] = {"true diameter": [], "no diameter": []}
    for name in sorted(held_out_nuclei(names)):
        image = tifffile.imread(DATA / "nuclei" / f"{name}.tif")
        truth = tifffile.imread(DATA / "nuclei" / f"{name}_masks.tif")
        um = 10.0 / 20.0  # no pixel size is known: 20 px stand for 10 µm
        known = network.segment(image, None, um, median_diameter(truth) * um, settings).labels
        free = network.segment(image, None, um, None, settings).labels
        scores["true diameter"].append(precision(truth, known))
        scores["no diameter"].append(precision(truth, free))
    means = {who: np.mean(s, axis=0) for who, s in scores.items()}
    rows = [[who, *map(float, mean)] for who, mean in means.items()]
    lines = [f"Nuclei: AP, mean of {len(scores['true diameter'])} held-out DSB fields"]
    return [*lines, *table(["", *map(str, THRESHOLDS)], rows), ""], {
        who: [round(float(v), 3) for v in mean] for who, mean in means.items()
    }


class BlobLog:
    """scikit-image's blob_log as the stock spot finder; threshold 0.05 of the 0.5-99.9 percentile range."""

    def detect(self, image: np.ndarray, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """Return y_px and x_px."""
        from skimage.feature import blob_log

        low, high = np.percentile(image, (0.5, 99.9))
        scaled = np.clip((image - low) / max(high - low, 1), 0, 1)
        blobs = blob_log(scaled, min_sigma=1, max_sigma=3, num_sigma=5, threshold=0.05)
        return pd.DataFrame({"y_px": blobs[:, 0], "x_px": blobs[:, 1]})


def puncta() -> tuple[list[str], dict]:
    """DeepSpot test images and the composites, by network, LoG and skimage."""
    detectors = {
        "puncta network": load_models(SETTINGS).puncta,
        "LoG": LogDetector(),
        "skimage blob_log": BlobLog(),
    }
    rows, values = [], {}
    for name, detector in detectors.items():
        counts = np.zeros(3)
        for path in sorted((DATA / "puncta" / "test").glob("*_puncta.csv")):
            image = tifffile.imread(path.with_name(path.name.replace("_puncta.csv", ".tif")))
            counts += _hits(detector.detect(image, 0.1, SETTINGS), pd.read_csv(path))
        composite = np.zeros(3)
        errors: list[float] = []
        pearson: list[float] = []
        for field in FIELDS:
            truth = pd.read_csv(DATA / "composites" / f"bbbc020_{field}_puncta.csv")
            image = tifffile.imread(DATA / "composites" / f"bbbc020_{field}.ome.tif")[2]
            found = detector.detect(image, PIXEL_UM / 2, SETTINGS)
            composite += _hits(found, truth)
            if "intensity" in found:
                error, r = _per_cell(field, found, truth)
                errors += error
                pearson.append(r)
        f1 = [float(2 * c[0] / (c[1] + c[2])) for c in (counts, composite)]
        per_cell = [float(np.median(errors)), float(np.min(pearson))] if errors else ["-", "-"]
        rows.append([name, *f1, *per_cell])
        values[name] = dict(
            zip(("deepspot_f1", "composite_f1", "count_error", "pearson"), [*f1, *per_cell], strict=True)
        )
    header = ["", "DeepSpot test F1", "composites F1", "count error", "Pearson r (worst field)"]
    return ["Puncta: F1 at 3 px; per cell on true masks", *table(header, rows), ""], values


def _hits(found: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    a, b = found[["y_px", "x_px"]].to_numpy(), truth[["y_px", "x_px"]].to_numpy()
    return np.array([len(match_points(b, a, 3.0)), len(a), len(b)], float)


def _per_cell(field: str, found: pd.DataFrame, truth: pd.DataFrame) -> tuple[list[float], float]:
    """Relative error of the count of each cell, and Pearson r of summed intensity with injected light."""
    from napari_tam.io.field import Field

    masks = tifffile.imread(DATA / "composites" / f"bbbc020_{field}_masks.tif")
    image = tifffile.imread(DATA / "composites" / f"bbbc020_{field}.ome.tif")
    plane = Field(field, {"cell": image[0], "exosome": image[2]}, PIXEL_UM / 2)
    cells, _, _ = measure(plane, masks, None, found, SETTINGS)
    cells = cells.set_index("label")
    light = truth.assign(light=2 * np.pi * truth.amplitude_photons * truth.sigma_px**2)
    inside = light[light.cell > 0].groupby("cell").agg(n=("cell", "size"), light=("light", "sum"))
    joined = inside.join(cells[["puncta_count", "puncta_intensity_sum"]])
    error = ((joined.puncta_count - joined.n).abs() / joined.n).tolist()
    return error, float(np.corrcoef(joined.puncta_intensity_sum, joined.light)[0, 1])


if __name__ == "__main__":
    require_shared()
    lines: list[str] = []
    values = {}
    for name, part in (("cells", cells), ("nuclei", nuclei), ("puncta", puncta)):
        text, numbers = part()
        lines += text
        values[name] = numbers
    publish(Path(__file__).stem, lines, values)
