"""``napari-tam power``: how many replicates and cells the next experiment takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import print_table

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.uptake.power import Spread


def add_power_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam power``."""
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of a pilot")
    own.add_argument(
        "--effect",
        type=_ratio,
        nargs="+",
        default=[1.5],
        metavar="RATIO",
        help="ratio of the two conditions' means that is to be shown (of shares: of the odds; default: 1.5)",
    )
    own.add_argument(
        "--readouts", metavar="A,B,…", help="readouts (default: those of the setting comparison_readouts)"
    )
    own.add_argument(
        "--power", type=_share, default=0.8, metavar="P", help="power that is wanted (default: 0.8)"
    )


def _ratio(text: str) -> float:
    value = _number(text)
    if not 0.01 <= value <= 100 or value == 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no ratio (0.01 to 100, not 1); write e.g. 1.5")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no power (0 to 1); write e.g. 0.8")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def power(arguments: argparse.Namespace) -> int:
    """Print what a pilot says about the next experiment, and write it to RESULTS/power.csv."""
    import pyarrow as pa

    from napari_tam.batches.conclude import analysed_cells, settings_of
    from napari_tam.results import tables
    from napari_tam.uptake.power import enough, power_table
    from napari_tam.uptake.replicates import column_of, is_share, readouts_of

    folder: Path = arguments.results
    settings = settings_of(folder)
    if arguments.readouts:
        settings = settings.updated(comparison_readouts=arguments.readouts)
    cells = analysed_cells(folder, settings)
    readouts = readouts_of(cells, settings)
    known = [name for name in readouts if not is_share(name) or cells[column_of(name)].notna().any()]
    table, spreads = power_table(cells, known or readouts, arguments.effect, settings)
    for readout in dict.fromkeys(table["readout"]):
        print(_spread_in_words(readout, spreads[readout]))
        for effect in arguments.effect:
            part = table[(table["readout"] == readout) & (table["effect"] == effect)]
            own = part[part["cells"] == spreads[readout].cells]
            print(f"{effect:g} x: {_verdict(own, arguments.power)}")
        rows = [("cells of a replicate", *(f"{effect:g} x" for effect in arguments.effect))]
        here = table[table["readout"] == readout]
        for cells_each in sorted(set(here["cells"])):
            needed = [
                enough(here[(here["cells"] == cells_each) & (here["effect"] == effect)], arguments.power)
                for effect in arguments.effect
            ]
            rows.append((str(cells_each), *("more than 20" if n is None else str(n) for n in needed)))
        print(f"replicates of each condition for {arguments.power:.0%} power:")
        print_table(rows)
        print()
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    tables.write_csv(folder / "power.csv", arrow)
    print(f"table    {folder / 'power.csv'}")
    return 0


def _spread_in_words(readout: str, spread: Spread) -> str:
    if spread.share:
        return (
            f"{readout}: {spread.within:.1%} positive, replicates differ by {100 * spread.between:.1f} "
            f"points (SD, {spread.freedom} degrees of freedom), {spread.cells} cells each"
        )
    how = "pairs of the same donor" if spread.paired else "replicates"
    return (
        f"{readout}: {how} differ by {spread.between:.0%} (SD, {spread.freedom} degrees of freedom), cells "
        f"by {spread.within:.0%}; {spread.cells} cells a replicate"
    )


def _verdict(table: pd.DataFrame, wanted: float) -> str:
    from napari_tam.uptake.power import enough

    number, sure = enough(table, wanted), enough(table, wanted, "power_low")
    if number is None:
        return f"no number of replicates up to 20 reaches a power of {wanted:.0%}"
    reached = float(table.loc[table["replicates"] == number, "power"].iloc[0])
    text = f"{number} replicates of each condition find it in {reached:.0%} of experiments"
    if sure == number:
        return text
    more = "more than 20" if sure is None else str(sure)
    return f"{text}; {more}, to be on the safe side: a small pilot knows the spread between replicates badly"
