"""What the phenotype model reaches: ``python benchmarks/phenotype.py``.

Simulated fields (inside and outside the training range) are segmented by the bundled `cells` network;
the seeds are not those of training/train_phenotype.py. Real macrophages: BBBC020, each field by the model
that was trained without it.
Retraining: a simulated plate of three replicates.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import tifffile
from common import ROOT, SHARED, publish, table
from scipy.stats import spearmanr

sys.path.insert(0, str(ROOT / "training"))
from phenotype_fields import Cells, join, scene_cells, simulate
from phenotype_real import FIELDS, PIXEL_UM
from train_phenotype import CLASSES, LEFT_OUT, cells_network, labelled

from napari_tam.columns import class_column
from napari_tam.files import write_json
from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.phenotype.calibration import balanced_accuracy, reliability
from napari_tam.phenotype.classify import UNCERTAIN, ModelClassifier, decide, load_classifier
from napari_tam.phenotype.crops import cell_crops
from napari_tam.phenotype.features import shape_features
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene
from napari_tam.train.folds import group_folds
from napari_tam.train.phenotype import Recipe, held_out, train

SEED = 11
SIZE = 1024
SETTINGS = Settings()


def judged(cells: Cells, classifier: ModelClassifier) -> tuple[pd.DataFrame, np.ndarray]:
    """Call all cells; returns the columns and the true class (index, -1 for none)."""
    scores = classifier.model.score(cells.crops, cells.features)
    found = decide(
        scores,
        classifier.classes,
        cells.table,
        cells.table["pixel_size_um"].to_numpy(),
        classifier.model.unlike_above,
        SETTINGS,
    )
    return found, np.array([CLASSES.index(name) if name else -1 for name in cells.truth])


def simulated(classifier: ModelClassifier, segmenter, key: str, fields: int) -> tuple[list[str], dict]:
    """Accuracy, calibration and abstention, inside and outside the range of training."""
    rows, values = [], {}
    for regime in ("train", "blur", "noise", "magnification", "pixel size"):
        number = fields if regime == "train" else max(2, fields // 3)
        # many small cells fill a small field
        size = SIZE // 2 if regime == "magnification" else SIZE
        cells = simulate(SEED, number, size, regime, segmenter, key, know_diameter=0.5)
        found, truth = judged(cells, classifier)
        chances = found[[f"p_{class_column(name)}" for name in CLASSES]].to_numpy()
        whole = ~cells.border.astype(bool)
        known, called = truth >= 0, (found["phenotype"] != UNCERTAIN).to_numpy()
        best = chances.argmax(axis=1)
        right = called & known
        use = known & whole
        row = {
            "cells": len(found),
            "accuracy, called": balanced_accuracy(truth[right], best[right]),
            "accuracy, all whole": balanced_accuracy(truth[use], best[use]),
            "uncertain": float(1 - called.mean()),
            "uncertain, whole cells": float(1 - called[whole].mean()),
            "unlike": float(found["phenotype_reason"].str.contains("unlike").mean()),
            "too noisy": float(found["phenotype_reason"].str.contains("noisy").mean()),
            "calibration error": reliability(chances[use], truth[use]).error,
            "calibration error, called": reliability(chances[right], truth[right]).error,
        }
        rows.append([regime, *row.values()])
        values[regime] = {k: round(float(v), 4) if np.isfinite(v) else None for k, v in row.items()}
    header = ["regime", *next(iter(values.values()))]
    return [
        f"Simulated fields, segmented by {key} (whole: not cut by the border)",
        *table(header, rows),
        "",
    ], values


def real(classifier: ModelClassifier, segmenter) -> tuple[list[str], dict]:
    """See whether p_m2 follows the elongation of real macrophages (BBBC020).

    Each field by the model that was trained without it where the bundled one is measured; people's
    masks, and those that the cells network finds.
    """
    folder = SHARED / "data" / "cells"
    if not folder.is_dir():
        return [f"BBBC020: {folder} is missing", ""], {}
    own = classifier.model.card["sha256"] == load_classifier("phenotype").model.card["sha256"]
    rows, values = [], {}
    for masks in ("of people", "of the network"):
        tables = []
        for name in FIELDS:
            image = tifffile.imread(folder / f"bbbc020_{name}.tif")
            if masks == "of people":
                labels = tifffile.imread(folder / f"bbbc020_{name}_masks.tif").astype(np.int32)
            else:
                labels = segmenter.segment(image[0], image[1], PIXEL_UM, None, SETTINGS).labels
            field = Field(name, {"cell": image[0], "nucleus": image[1], "exosome": image[0]}, PIXEL_UM)
            cells, _, _ = measure(field, labels, None, pd.DataFrame(), SETTINGS)
            unseen = load_classifier(str(LEFT_OUT / name)) if own else classifier
            called = unseen.classify(field, labels, None, cells, SETTINGS)
            tables.append(pd.concat([cells, called], axis=1))
        facts = _elongation(pd.concat(tables, ignore_index=True))
        values[masks] = {k: v if isinstance(v, int) else round(float(v), 4) for k, v in facts.items()}
        header = ["masks", *(name.replace("_", " ") for name in facts)]
        rows.append([masks, *values[masks].values()])
    lines = ["BBBC020: p_m2 and elongation; whole cells are those that no border cuts", *table(header, rows)]
    lines.append("each field by the model trained without it" if own else "by the same model")
    return [*lines, ""], values


def _elongation(cells: pd.DataFrame) -> dict:
    long, round_ = cells["aspect_ratio"] > 2, cells["aspect_ratio"] < 1.3
    pairs = cells.loc[long, "p_m2"].to_numpy()[:, None] - cells.loc[round_, "p_m2"].to_numpy()
    whole = ~cells["touches_border"].astype(bool)
    uncertain = cells["phenotype"] == UNCERTAIN
    unlike = cells["phenotype_reason"].str.contains("unlike")
    return {
        "cells": len(cells),
        "whole": int(whole.sum()),
        "rank_correlation": float(spearmanr(cells["p_m2"], cells["elongation"]).statistic),
        "long": int(long.sum()),
        "round": int(round_.sum()),
        "auc": float((pairs > 0).mean() + 0.5 * (pairs == 0).mean()),
        "uncertain": uncertain.mean(),
        "unlike": unlike.mean(),
        "uncertain_whole": uncertain[whole].mean(),
        "unlike_whole": unlike[whole].mean(),
    }


def plate(segmenter, per_class: int) -> Cells:
    """Three replicates with their own brightness, background and stain, each with wells of M1 and of M2."""
    parts, base = (
        [],
        SceneParameters(shape=(480, 480), pixel_size_um=0.65, cells_per_field=70, protrusions=0.4),
    )
    rng = np.random.default_rng([SEED, 5])
    for replicate in range(3):
        own = replace(
            base,
            stain_photons=float((80, 300, 1200)[replicate]),
            background_photons=float((5, 15, 60)[replicate]),
            illumination=float(rng.uniform(0, 0.4)),
            cell_diameter_um=float(rng.uniform(20, 25)),
            puncta_per_cell=0.01,
        )
        for fraction in (1.0, 0.0):
            number = 0
            while number < per_class:
                scene = Scene.draw(replace(own, m1_fraction=fraction), rng)
                cells = scene_cells(scene, own.pixel_size_um, replicate, rng, segmenter)
                cells = cells.where((cells.truth != "") & ~cells.border.astype(bool))
                cells = cells.where(np.arange(len(cells.truth)) < per_class - number)
                number += len(cells.truth)
                parts.append(cells)
    return join(parts)


def retraining(classifier: ModelClassifier, segmenter, per_class: int) -> tuple[list[str], dict]:
    """From the controls of a plate to a model; then the same with shuffled labels."""
    cells = labelled(plate(segmenter, per_class))
    cells = replace(cells, grouped_by="replicate")
    wall, cpu = time.perf_counter(), time.process_time()
    _, report = train(cells, start=classifier.model)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    truth = cells.truth.copy()
    rng = np.random.default_rng(0)
    for name in np.unique(cells.groups):
        at = np.flatnonzero(cells.groups == name)
        truth[at] = rng.permutation(truth[at])
    shuffled = replace(cells, truth=truth)
    logits, _ = held_out(shuffled, group_folds(cells.groups), Recipe(), classifier.model)
    chance = balanced_accuracy(truth, logits.argmax(axis=1))
    values = {
        "cells": len(cells),
        "seconds": round(wall, 1),
        "processor_seconds": round(cpu, 1),
        "grouped_accuracy": report["balanced_accuracy"],
        "random_split": report["balanced_accuracy_random_split"],
        "calibration_error": report["calibration"]["expected_error"],
        "share_called": report["share_called"],
        "accuracy_called": report["balanced_accuracy_called"],
        "shuffled_accuracy": round(chance, 4),
    }
    lines = [
        f"Retraining from controls ({len(cells)} cells, 3 replicates): {wall:.0f} s ({cpu:.0f} s of "
        f"processor time), leaving out each replicate {report['balanced_accuracy']:.3f}, by a random split "
        f"{report['balanced_accuracy_random_split']:.3f}; labels shuffled {chance:.3f}",
        "",
    ]
    return lines, values


def speed(classifier: ModelClassifier) -> tuple[list[str], dict]:
    """Cells a second, crops included, on a field of 2048²."""
    parameters = SceneParameters(shape=(1024, 1024), cells_per_field=120, puncta_per_cell=0.01)
    scene = Scene.draw(parameters, 1)
    stain, labels = np.tile(scene.image[0], (2, 2)), scene.cells.astype(np.int64)
    labels = np.block(
        [[labels + k * int(labels.max()) * (labels > 0) for k in pair] for pair in ((0, 1), (2, 3))]
    )
    field = Field("a", {"cell": stain, "exosome": stain}, parameters.pixel_size_um)
    cells, _, _ = measure(field, labels, None, pd.DataFrame(), SETTINGS)
    model = classifier.model
    best, cpu = np.inf, np.inf
    for _ in range(4):
        start, spent = time.perf_counter(), time.process_time()
        crops = cell_crops(stain, labels, None, cells, field.pixel_size_um)
        model.score(crops, shape_features(cells))
        best, cpu = min(best, time.perf_counter() - start), min(cpu, time.process_time() - spent)
    rate, per_core = len(cells) / best, len(cells) / cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"Speed, crops included: {rate:.0f} cells/s ({per_core:.0f} a processor second; {cores} cores)",
        "",
    ]
    return lines, {"cells_per_second": round(rate), "per_processor_second": round(per_core), "cores": cores}


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=12, help="simulated fields inside the training range")
    parser.add_argument("--per-class", type=int, default=300, help="cells a class and replicate, retraining")
    parser.add_argument("--cells-model", default="cells", help="the network that segments")
    parser.add_argument("--phenotype-model", default="phenotype")
    parser.add_argument("--only", help="parts to run, separated by commas")
    args = parser.parse_args()
    segmenter, key = cells_network(args.cells_model)
    classifier = load_classifier(args.phenotype_model)
    assert classifier is not None
    parts = {
        "speed": lambda: speed(classifier),
        "real": lambda: real(classifier, segmenter),
        "simulated": lambda: simulated(classifier, segmenter, key, args.fields),
        "retraining": lambda: retraining(classifier, segmenter, args.per_class),
    }
    wanted = args.only.split(",") if args.only else list(parts)
    lines: list[str] = []
    values = {"phenotype_model": classifier.model.card["sha256"][:12], "cells_network": key}
    lines += [", ".join(f"{k} {v}" for k, v in values.items()), ""]
    for name in wanted:
        text, values[name] = parts[name]()
        print("\n".join(text), flush=True)
        lines += text
    if args.only:
        publish(f"phenotype_{'_'.join(wanted)}", lines, values)
        return
    publish("phenotype", lines, values)
    if args.phenotype_model == "phenotype":
        state_on_card(values)


def state_on_card(values: dict) -> None:
    """Write what was measured on the bundled model's card."""
    path = ROOT / "models" / "phenotype.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    names = ("simulated", "real", "retraining")
    card["accuracy"] = {"what": "benchmarks/results/phenotype.txt", **{name: values[name] for name in names}}
    write_json(path, card)


if __name__ == "__main__":
    main()
