"""``napari-tam models``: the networks that can be used."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_tam.cli.console import Answer, print_table

if TYPE_CHECKING:
    import argparse


def list_models(_arguments: argparse.Namespace) -> Answer:
    """Print the networks."""
    from napari_tam.pipeline.models import available_models

    rows: list[tuple[str, ...]] = [("name", "for", "from", "")]
    models = available_models()
    for model in models:
        state = model.description if model.ok else "DAMAGED: not the file that its card describes"
        rows.append((model.name, model.kind, model.source, state))
    print_table(rows)
    print("\nA path to a Cellpose model file can be used as well: --cells-model PATH, --nuclei-model PATH;")
    print("and a model folder of 'napari-tam train cells': --cells-model DIR.")
    return Answer(0, {"models": [asdict(model) for model in models]})
