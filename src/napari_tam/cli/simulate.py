"""``napari-tam simulate``: fields with their ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import natural

if TYPE_CHECKING:
    import argparse


def add_simulate_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam simulate``."""
    own.add_argument("out", type=Path, metavar="OUT", help="folder for the fields")
    kind = own.add_mutually_exclusive_group()
    kind.add_argument(
        "--planes",
        type=natural,
        nargs="?",
        const=20,
        metavar="N",
        help="write z-stacks of N planes (default: 20) with puncta inside, on and outside the cells",
    )
    kind.add_argument(
        "--frames", type=natural, metavar="N", help="movies of N frames in the place of single fields"
    )
    kind.add_argument(
        "--plate",
        action="store_true",
        help="a plate: doses, replicates, M1 and M2 cells, dye-only controls and layout.csv; --fields is "
        "the number of fields a well",
    )
    kind.add_argument(
        "--coculture",
        action="store_true",
        help="tumour cells and macrophages that give each other exosomes, with markers, controls, layout.csv "
        "and settings.yaml; --fields is the number of fields a well",
    )
    own.add_argument(
        "--fields",
        type=natural,
        default=None,
        metavar="N",
        help="how many (default: 3; plate, co-culture: 1)",
    )
    own.add_argument(
        "--seed", type=natural, default=0, metavar="S", help="same seed, same fields (default: 0)"
    )


def simulate(arguments: argparse.Namespace) -> int:
    """Write simulated fields, and print where they are."""
    fields = arguments.fields
    if fields is None:
        fields = 1 if arguments.plate or arguments.coculture else 3
    if arguments.plate:
        from napari_tam.simulate.plate import Plate, write_plate

        written = list(write_plate(arguments.out, Plate(fields=fields), arguments.seed))
    elif arguments.coculture:
        from napari_tam.simulate.coculture import Coculture, write_coculture

        written = list(write_coculture(arguments.out, Coculture(fields=fields), arguments.seed))
    elif arguments.frames is not None:
        from napari_tam.simulate.movie import write_movies

        written = write_movies(arguments.out, fields, arguments.frames, arguments.seed)
    elif arguments.planes is not None:
        from napari_tam.simulate.scene3d import write_volumes

        written = write_volumes(arguments.out, fields, arguments.seed, planes=arguments.planes)
    else:
        from napari_tam.simulate.scene import write_fields

        written = write_fields(arguments.out, fields, arguments.seed)
    for path in written:
        print(path)
    return 0
