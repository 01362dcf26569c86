"""Train the bundled phenotype model: ``python training/train_phenotype.py``.

Simulated fields only, segmented by the bundled `cells` network. Fitted on the fields of one
seed; temperature and likeness threshold from those of another. Fields are cached in ``training/.cache``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import torch
from phenotype_fields import Cells, simulate

from napari_tam.phenotype.calibration import balanced_accuracy, fit_temperature, reliability, softmax
from napari_tam.simulate.cells import PHENOTYPES
from napari_tam.train.phenotype import LIKE_QUANTILE, Recipe, fit
from napari_tam.train.validation import LabelledCells

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("M1", "M2")
SIZE = 400

#: Seeds: what is fitted, what is calibrated on (benchmarks/phenotype.py has others).
FIT_SEED, HELD_SEED = 1, 2

DESCRIPTION = (
    "Trained on SIMULATED cells only: M1-like (round) and M2-like (elongated) outlines drawn by "
    "napari_tam.simulate.scene, no cell of known polarisation; a statement about shape, not about markers"
)


def cells_network(folder: Path):
    """Return the small bundled cells segmenter and its hash; None and "rough" where it is missing."""
    from napari_tam.networks.cards import AREA_SETTINGS, SMALL_CELLS, TYPICAL_UM, ModelCard
    from napari_tam.networks.predictor import Predictor
    from napari_tam.segment.segmenter import FlowNetSegmenter

    if not (folder / f"{SMALL_CELLS}.json").exists():
        print("no cells network: rough true masks stand in for it")
        return None, "rough"
    card = ModelCard.read(folder / f"{SMALL_CELLS}.json")
    network = FlowNetSegmenter(
        Predictor(card.load()), card.values["diameter_px"], TYPICAL_UM["cells"], AREA_SETTINGS["cells"]
    )
    return network, card.values["sha256"][:12]


def labelled(cells: Cells) -> LabelledCells:
    """Keep the cells whose truth is known and that the border does not cut."""
    cells = cells.where((cells.truth != "") & ~cells.border.astype(bool))
    truth = np.array([CLASSES.index(name) for name in cells.truth], np.int64)
    return LabelledCells(cells.crops, cells.features, truth, cells.field, CLASSES, "field")


def main() -> None:
    """Draw, fit, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=200, help="fields to fit on")
    parser.add_argument("--held", type=int, default=60, help="fields to calibrate on")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="where the cells network is")
    parser.add_argument("--out", type=Path, default=ROOT / "models")
    args = parser.parse_args()
    started = time.perf_counter()
    cv2.setNumThreads(torch.get_num_threads())
    segmenter, key = cells_network(args.models)
    held = labelled(simulate(HELD_SEED, args.held, SIZE, "train", segmenter, key))
    cells = labelled(simulate(FIT_SEED, args.fields, SIZE, "train", segmenter, key))
    print(
        f"{len(cells)} cells to fit, {len(held)} to calibrate ({time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    model = fit(cells, Recipe(steps=args.steps, batch=128, rate=3e-3, seed=0))
    scores = model.score(held.crops, held.features)
    temperature = fit_temperature(scores.logits, held.truth)
    # Half of the held-out fields calibrate the other half: no cell vouches for itself.
    first = held.groups % 2 == 0
    chances = np.zeros(scores.logits.shape)
    for part in (first, ~first):
        chances[part] = softmax(scores.logits[part], fit_temperature(scores.logits[~part], held.truth[~part]))
    bins = reliability(chances, held.truth)
    found = scores.logits.argmax(axis=1)
    card = {
        "description": DESCRIPTION,
        "name": "phenotype",
        "input": "mask, cell stain normalised inside it, nucleus mask (zeros when missing), shape in µm; "
        "never the exosome channel",
        "training_data": [
            "fields simulated by napari_tam.simulate.scene, segmented by "
            + ("rough true masks" if segmenter is None else f"the cells network {key}")
        ],
        "populations": {
            name: {**{k: getattr(kind, k) for k in kind.__dataclass_fields__}}
            for name, kind in PHENOTYPES.items()
        },
        "populations_source": "M2 more elongated than M1: McWhorter et al. 2013, PNAS (abstract); every "
        "number is an assumption",
        "terms": "free to use",
        "training": {
            "cells": len(cells),
            "fields": args.fields,
            "steps": args.steps,
            "date": date.today().isoformat(),
        },
        "unlike": {"quantile_of_held_out_cells": LIKE_QUANTILE},
        "validation": {
            "cells": len(held),
            "what": "simulated fields that were not trained on, cells not cut by the border, none left "
            "out as uncertain",
            "balanced_accuracy": round(balanced_accuracy(held.truth, found), 4),
            "calibration": {"expected_error": round(bins.error, 4), "bins": bins.rows()},
        },
    }
    unlike = float(np.quantile(scores.distance, LIKE_QUANTILE))
    replace(model, temperature=temperature, unlike_above=unlike, card=card).save(args.out)
    print(card["validation"], f"temperature {temperature:.3f}, unlike above {unlike:.3f}")
    for least in (0.6, 0.7, 0.75, 0.8, 0.9):
        called = (softmax(scores.logits, temperature).max(axis=1) >= least) & (scores.distance <= unlike)
        right = balanced_accuracy(held.truth[called], found[called])
        print(f"least probability {least}: {called.mean():.3f} called, balanced accuracy {right:.3f}")


if __name__ == "__main__":
    main()
