"""Make the bundled `cells` network of a Cellpose file: ``training/import_generalist.py --file FILE``.

Writes ``models/cells.safetensors`` (half precision) and ``models/cells.json``, its card. The network is not
trained here: it is the generalist of the PyPI package scellseg 0.1.8 (BSD), which was trained on the
Cellpose set, with the names that Cellpose gives to its weights. The accuracy on the card is copied from
``benchmarks/results/accuracy.json``; run that afterwards and once more this to refresh it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

from napari_tam.networks.cards import CPNET
from napari_tam.networks.cellpose_file import network_of

ROOT = Path(__file__).resolve().parents[1]

CARD = {
    "name": "cells",
    "kind": "cells",
    "architecture": CPNET,
    "description": "cells of all kinds from a cell stain, with the nuclear stain when there is one",
    "input": "cell stain, nuclear stain (zeros when missing); 1st to 99th percentile to 0-1",
    "source": "the generalist of the PyPI package scellseg 0.1.8 (BSD), an implementation of Cellpose "
    "(Stringer et al. 2021); weights unchanged but for half precision",
    "training_data": [
        "Cellpose set (Stringer et al. 2021), about 600 fields of cells of many kinds, BBBC020 (mouse "
        "bone-marrow macrophages) and BBBC007 (Kc167 cells) among them; non-commercial"
    ],
    "may_have_seen": "Which fields of the set were trained on is not on record: figures on BBBC020, on "
    "the composites made from it and on BBBC007 are probably those of images that were trained on.",
    "terms": "weights: BSD; the images that they were trained on are for non-commercial use",
}


def main() -> None:
    """Write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, required=True, help="the Cellpose file")
    parser.add_argument("--folder", type=Path, default=ROOT / "models")
    args = parser.parse_args()
    network, diameter = network_of(torch.load(args.file, map_location="cpu", weights_only=True))
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    data = save(half)
    results = ROOT / "benchmarks" / "results" / "accuracy.json"
    accuracy = json.loads(results.read_text()).get("generalist", {}) if results.exists() else {}
    card = CARD | {
        "in_channels": network.in_channels,
        "widths": list(network.widths),
        "diameter_px": diameter,
        "parameters": sum(p.numel() for p in network.parameters()),
        "accuracy": accuracy,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (args.folder / "cells.safetensors").write_bytes(data)
    (args.folder / "cells.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
