"""``napari-tam models``: the networks that can be used, listed or written as packages for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import Answer, print_table
from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_models_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam models``."""
    parser.usage = "%(prog)s [--json]\n       %(prog)s export NAME --to bioimageio --out FOLDER_OR_ZIP"
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "export"),
        default="list",
        help="list the networks (default), or export one",
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="the network to export: a bundled one, or a model folder of 'napari-tam train cells'",
    )
    parser.add_argument(
        "--to", choices=("bioimageio",), help="bioimageio: a package of the BioImage Model Zoo (bioimage.io)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER_OR_ZIP", help="where to: a new folder, or a new file NAME.zip"
    )


def models(arguments: argparse.Namespace) -> Answer:
    """List the networks, or export one."""
    name, to, out = arguments.name, arguments.to, arguments.out
    if arguments.action == "list":
        if name is not None or to is not None or out is not None:
            raise InputError("NAME, --to and --out belong to 'napari-tam models export'")
        return list_models()
    if name is None or to is None or out is None:
        raise InputError(
            "it takes a network, a format and a place to write to",
            fix="write e.g. napari-tam models export cells --to bioimageio --out cells.zip",
        )
    from napari_tam.export.bioimageio import export_network

    path = export_network(name, out)
    print(f"exported {path}")
    return Answer(0, {"files": {"package": path.resolve()}})


def list_models() -> Answer:
    """Print the networks."""
    from napari_tam.pipeline.models import available_models

    rows: list[tuple[str, ...]] = [("name", "for", "from", "")]
    found = available_models()
    for model in found:
        state = model.description if model.ok else "DAMAGED: not the file that its card describes"
        rows.append((model.name, model.kind, model.source, state))
    print_table(rows)
    print("\nA path to a Cellpose model file can be used as well: --cells-model PATH, --nuclei-model PATH;")
    print("and a model folder of 'napari-tam train cells': --cells-model DIR.")
    return Answer(0, {"models": [asdict(model) for model in found]})
