"""Turn trained weights into a bundled model: ``python training/export.py cells --weights runs/cells.pt``.

Writes ``models/<name>.safetensors`` (half precision) and ``models/<name>.json``, its card. The
accuracy on the card is copied from the committed benchmark (``benchmarks/results/accuracy.json``, of
puncta ``puncta.json``); run that afterwards and export again to refresh it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from train_flownet import NETWORKS

ROOT = Path(__file__).resolve().parents[1]

BBBC020 = "BBBC020 (mouse bone-marrow macrophages), as resized in the Cellpose set; non-commercial"
CELLPOSE = (
    "Cellpose set (kc167 = BBBC007, neuroblastoma CCDB:6843, membrane and cytoplasm fields); non-commercial"
)
SIMULATED = "fields simulated by napari_tam.simulate.scene"

CARDS = {
    "cells": {
        "description": "the small network: macrophages from a cell stain, with the nuclear stain when there "
        "is one",
        "input": "cell stain, nuclear stain (zeros when missing); 1st to 99th percentile to 0-1",
        "training_data": [BBBC020, CELLPOSE, SIMULATED],
        "terms": "for non-commercial use, as the training images' terms say",
    },
    "nuclei": {
        "description": "nuclei from a nuclear stain",
        "input": "nuclear stain; 1st to 99th percentile to 0-1",
        "training_data": [
            "Data Science Bowl 2018 with community fixes (fluorescence fields); CC0",
            SIMULATED,
        ],
        "terms": "free to use",
    },
    "puncta": {
        "description": "exosome-labelled puncta of 2-18 px, on native pixels",
        "input": "exosome channel, hot pixels replaced, as four planes (napari_tam.puncta.spot_input): "
        "asinh((I - median) / (3 noise SD at the punctum's scale)), and how far each place stands out from "
        "its surroundings: for fine puncta, for wide ones, and of round bumps alone",
        "training_data": [
            "PSD95: real confocal tiles with synapses marked by people, of dahliajones24/PunctaDetection; "
            "the repository is Apache-2.0, the pictures' own terms are not stated; 1,100 of 1,400 tiles, "
            "every fifth block of 50 in a row left out",
            "a field of RNA spots over autofluorescence marked by people, of zjniu/Piscis; MIT; two "
            "quadrants, the others left out",
            "DeepSpot training images; MIT",
            "the answers of the network before to real images of puncta that nobody marked: lysosomes and "
            "autophagosomes (NEUBIAS training resources, CC BY 4.0), nuclear condensates "
            "(stjude/punctatools, Apache-2.0), spots of weigertlab/spotiflow (BSD-3) and BBQuercus/deepBlink "
            "(MIT)",
            "as what holds no puncta, 4 crops in 100: mitochondria and nuclei of the NEUBIAS field, "
            "chromatin of punctatools, BPAE cells, BBBC022",
            SIMULATED + " (macrophages with exosomes)",
            "drawn fields (training/puncta_scenes.py, puncta_cells.py), some with parts of Data Science Bowl "
            "2018 (CC0), BBBC022 cell painting (CC0) and BPAE cells "
            "(haesleinhuepf/BioImageAnalysisNotebooks, CC BY 4.0) behind the puncta, as texture",
        ],
        "terms": "free to use as far as the training images' terms say; keep the notices of DeepSpot, "
        "Piscis and deepBlink (MIT), spotiflow (BSD-3) and punctatools (Apache-2.0), and name NEUBIAS (CC BY "
        "4.0); the terms of the PSD95 pictures themselves are not stated",
    },
}


def export(name: str, weights: Path, *, folder: Path, called: str = "", note: str = "") -> None:
    """Write weights and card of one network, under its own name or the one it is `called` by."""
    called = called or name
    state = torch.load(weights, weights_only=True)
    data = in_half(state)
    record = json.loads(weights.with_suffix(".json").read_text())
    # Puncta have a benchmark of their own.
    results = ROOT / "benchmarks" / "results" / ("puncta.json" if name == "puncta" else "accuracy.json")
    key = "this network" if name == "puncta" else name
    accuracy = json.loads(results.read_text()).get(key, {}) if results.exists() else {}
    shape = NETWORKS[name]
    card = {
        "name": called,
        "kind": name,
        **CARDS[name],
        "in_channels": shape["in_channels"],
        "widths": list(shape["widths"]),
        "stem": shape["stem"],
        "diameter_px": record.pop("diameter", shape["diameter_px"]),
        "parameters": sum(
            v.numel() for k, v in state.items() if v.is_floating_point() and "running" not in k
        ),
        "training": {
            k: v
            for k, v in record.items()
            if k not in ("init", "network", "steps_done") and v not in (None, [])
        },
        "note": note,
        "accuracy": accuracy,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{called}.safetensors").write_bytes(data)
    write_card(folder / f"{called}.json", card)


def in_half(state: dict[str, torch.Tensor]) -> bytes:
    """Return weights as they are bundled: safetensors, in half precision."""
    return save({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()})


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a network's card."""
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CARDS)
    parser.add_argument("--weights", type=Path, required=True, help="of a training (.pt)")
    parser.add_argument("--folder", type=Path, default=ROOT / "models")
    parser.add_argument("--called", default="", help="name of the files, if not the network's")
    parser.add_argument("--note", default="", help="what a user should know about this training")
    args = parser.parse_args()
    export(args.name, args.weights, folder=args.folder, called=args.called, note=args.note)
