"""``napari-tam models``: the networks that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.cli.console import print_table

if TYPE_CHECKING:
    import argparse


def list_models(_arguments: argparse.Namespace) -> int:
    """Print the networks."""
    from napari_tam.pipeline.models import available_models

    rows: list[tuple[str, ...]] = [("name", "for", "from", "")]
    for model in available_models():
        state = model.description if model.ok else "DAMAGED: not the file that its card describes"
        rows.append((model.name, model.kind, model.source, state))
    print_table(rows)
    print("\nA path to a Cellpose model file can be used as well: --cells-model PATH, --nuclei-model PATH;")
    print("and a model folder of 'napari-tam train cells': --cells-model DIR.")
    return 0
