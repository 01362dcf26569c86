"""Train the bundled phenotype model: ``python training/train_phenotype.py``.

Simulated fields, segmented by the bundled `cells` network, and real macrophages that were stretched to a
drawn axis ratio (`phenotype_real`). Fitted on the fields of one seed and the real cells; temperature and
likeness threshold from the fields of another seed, and from real fields that were left out. What was trained
without a real field is kept for the benchmark. Fields are cached in ``training/.cache``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from phenotype_fields import Cells, simulate
from phenotype_real import FIELDS, real_cells

from napari_tam.phenotype.calibration import balanced_accuracy, fit_temperature, reliability, softmax
from napari_tam.pipeline.models import load_models
from napari_tam.settings import Settings
from napari_tam.simulate.cells import PHENOTYPES
from napari_tam.train.phenotype import LIKE_QUANTILE, Recipe, fit
from napari_tam.train.validation import LabelledCells

if TYPE_CHECKING:
    from napari_tam.phenotype.model import PhenotypeModel, Scores

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("M1", "M2")
SIZE = 400

#: Seeds: what is fitted, what is calibrated on (benchmarks/phenotype.py has others).
FIT_SEED, HELD_SEED = 1, 2

DESCRIPTION = (
    "Trained on SIMULATED cells, M1-like (round) and M2-like (elongated) outlines drawn by "
    "napari_tam.simulate.scene, and on real macrophages stretched to a drawn axis ratio; no cell of known "
    "polarisation; a statement about shape, not about markers"
)

#: Where the models that were trained without one real field go.
LEFT_OUT = ROOT / "benchmarks" / "leave_one_out"


def cells_network(name: str):
    """Return the segmenter that the setting `cells_model` names, and the hash of its weights."""
    models = load_models(Settings(cells_model=name, phenotype_model="none"))
    return models.cells, models.hashes[name][:12]


def labelled(cells: Cells) -> LabelledCells:
    """Keep the cells whose truth is known and that the border does not cut."""
    cells = cells.where((cells.truth != "") & ~cells.border.astype(bool))
    truth = np.array([CLASSES.index(name) for name in cells.truth], np.int64)
    return LabelledCells(cells.crops, cells.features, truth, cells.field, CLASSES, "field")


def both(first: LabelledCells, second: LabelledCells) -> LabelledCells:
    """Put two sets of cells together; no group of one is a group of the other."""
    own = int(first.groups.max()) + 1
    return LabelledCells(
        np.concatenate([first.crops, second.crops]),
        np.concatenate([first.features, second.features]),
        np.concatenate([first.truth, second.truth]),
        np.concatenate([first.groups, second.groups + own]),
        CLASSES,
        "field",
    )


def main() -> None:
    """Draw, fit, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=200, help="fields to fit on")
    parser.add_argument("--held", type=int, default=60, help="fields to calibrate on")
    parser.add_argument("--variants", type=int, default=16, help="drawings of each real cell")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--cells-model", default="cells", help="the network that segments")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "cells")
    parser.add_argument("--out", type=Path, default=ROOT / "models")
    parser.add_argument("--left-out", type=Path, default=LEFT_OUT)
    args = parser.parse_args()
    started = time.perf_counter()
    cv2.setNumThreads(torch.get_num_threads())
    segmenter, key = cells_network(args.cells_model)
    real = labelled(real_cells(args.data, segmenter, args.variants))
    held = labelled(simulate(HELD_SEED, args.held, SIZE, "train", segmenter, key))
    drawn = labelled(simulate(FIT_SEED, args.fields, SIZE, "train", segmenter, key))
    counts = f"{len(drawn)} simulated and {len(real)} real cells to fit, {len(held)} to calibrate"
    print(f"{counts} ({time.perf_counter() - started:.0f} s)", flush=True)
    recipe = Recipe(steps=args.steps, batch=128, rate=3e-3, seed=0)

    def fitted(kept: np.ndarray) -> tuple[PhenotypeModel, Scores]:
        model = fit(both(drawn, real.where(np.flatnonzero(kept))), recipe)
        return model, model.score(held.crops, held.features)

    logits, distance = np.zeros((len(real), len(CLASSES)), np.float32), np.zeros(len(real))
    without = {}
    for index, name in enumerate(FIELDS):
        here = real.groups == index
        without[name], scores = fitted(~here)
        unseen = without[name].score(real.crops[here], real.features[here])
        logits[here], distance[here] = unseen.logits, unseen.distance
        print(
            f"without {name}: balanced accuracy {accuracy(real.truth[here], unseen.logits):.4f}", flush=True
        )
    model, scores = fitted(np.ones(len(real), bool))
    unlike = float(np.quantile(np.concatenate([scores.distance, distance]), LIKE_QUANTILE))
    temperature = fit_temperature(scores.logits, held.truth)
    card = card_of(key, len(drawn), len(real), args, held, scores)
    card["validation"]["real"] = {
        "cells": len(real),
        "what": "real macrophages of known axis ratio, from the field that was left out of training",
        "balanced_accuracy": round(accuracy(real.truth, logits), 4),
        "calibration": {
            "expected_error": round(reliability(softmax(logits, temperature), real.truth).error, 4)
        },
    }
    replace(model, temperature=temperature, unlike_above=unlike, card=card).save(args.out)
    for name, other in without.items():
        note = {"description": f"trained without the real field {name}; for the benchmark only"}
        other = replace(other, temperature=temperature, unlike_above=unlike, card=card | note)
        other.save(args.left_out / name)
    print(card["validation"], f"temperature {temperature:.3f}, unlike above {unlike:.3f}")
    for least in (0.6, 0.7, 0.75, 0.8, 0.9):
        called = (softmax(scores.logits, temperature).max(axis=1) >= least) & (scores.distance <= unlike)
        right = accuracy(held.truth[called], scores.logits[called])
        print(f"least probability {least}: {called.mean():.3f} called, balanced accuracy {right:.3f}")


def accuracy(truth: np.ndarray, logits: np.ndarray) -> float:
    """Return the balanced accuracy of the likeliest class."""
    return balanced_accuracy(truth, logits.argmax(axis=1))


def card_of(
    key: str, drawn: int, real: int, args: argparse.Namespace, held: LabelledCells, scores: Scores
) -> dict:
    """Return what the model's card says, with the calibration on simulated fields that were held out."""
    # Half of the held-out fields calibrate the other half: no cell vouches for itself.
    first = held.groups % 2 == 0
    chances = np.zeros(scores.logits.shape)
    for part in (first, ~first):
        chances[part] = softmax(scores.logits[part], fit_temperature(scores.logits[~part], held.truth[~part]))
    bins = reliability(chances, held.truth)
    return {
        "description": DESCRIPTION,
        "name": "phenotype",
        "input": "mask, cell stain normalised inside it, nucleus mask (zeros when missing), shape in µm; "
        "never the exosome channel",
        "training_data": [
            f"fields simulated by napari_tam.simulate.scene, segmented by the cells network {key}",
            "BBBC020 (Broad Bioimage Benchmark Collection, bone-marrow macrophages): outlines and stain of "
            "cells, each stretched to a drawn axis ratio; no label of a cell",
        ],
        "populations": {
            name: {**{k: getattr(kind, k) for k in kind.__dataclass_fields__}}
            for name, kind in PHENOTYPES.items()
        },
        "populations_source": "M2 more elongated than M1: McWhorter et al. 2013, PNAS (abstract); every "
        "number is an assumption",
        "terms": "free to use; BBBC020 as resized in the Cellpose set: not for commercial use",
        "training": {
            "cells": drawn,
            "real_cells": real,
            "fields": args.fields,
            "steps": args.steps,
            "date": date.today().isoformat(),
        },
        "unlike": {"quantile_of_held_out_cells": LIKE_QUANTILE},
        "validation": {
            "cells": len(held),
            "what": "simulated fields that were not trained on, cells not cut by the border, none left "
            "out as uncertain",
            "balanced_accuracy": round(accuracy(held.truth, scores.logits), 4),
            "calibration": {"expected_error": round(bins.error, 4), "bins": bins.rows()},
        },
    }


if __name__ == "__main__":
    main()
