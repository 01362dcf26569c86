"""``napari-tam uptake`` and ``napari-tam compare``: decisions and tests from an earlier analysis."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.batches.conclude import compare_again, conclude, layout_of, settings_of
from napari_tam.cli.console import Answer, print_table
from napari_tam.cli.options import add_options, chosen_settings
from napari_tam.cli.track import print_kinetics
from napari_tam.files import write_text
from napari_tam.io.layout import read_layout
from napari_tam.markers.labels import LABEL, labels_of, of_label
from napari_tam.results.lock import locked_results

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from napari_tam.batches.conclude import Conclusions

#: Groups of settings that can be changed after the analysis of the images.
LATER = ("time", "markers", "uptake", "comparison", "communication")


def add_uptake_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam uptake``."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'"
    )
    parser.add_argument(
        "--layout", type=Path, metavar="FILE", help="plate layout (default: the one that was used last)"
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help=f"settings file: its groups {', '.join(LATER)}",
    )
    add_options(parser, LATER)


def uptake(arguments: argparse.Namespace) -> int:
    """Decide and compare again; the tables of the results folder are replaced."""
    folder: Path = arguments.results
    settings = chosen_settings(arguments, settings_of(folder), LATER)
    layout = layout_of(folder) if arguments.layout is None else read_layout(arguments.layout)
    with locked_results(folder):
        found = conclude(folder, settings, layout)
        write_text(folder / "settings.yaml", settings.to_yaml())
        print_conclusions(found, folder)
        print_report(folder)
    return 0


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam compare``."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'"
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help=f"settings file: its groups {', '.join(LATER)}",
    )
    short = {
        "--between": ("comparison_between", {"choices": ["condition", "dose", "time", "donor", "plate"]}),
        "--reference": ("comparison_reference", {"metavar": "NAME"}),
        "--unit": (
            "comparison_unit",
            {"choices": ["auto", "donor", "plate", "replicate", "well"]},
        ),
        "--paired-by": (
            "comparison_paired_by",
            {"choices": ["auto", "none", "donor", "plate", "replicate"]},
        ),
        "--correction": ("comparison_correction", {"choices": ["holm", "tukey"]}),
        "--readouts": ("comparison_readouts", {"metavar": "A,B,…"}),
    }
    import argparse as module

    for option, (name, details) in short.items():
        parser.add_argument(
            option,
            dest=f"setting_{name}",
            default=module.SUPPRESS,
            help=f"the setting {name}, for this time",
            **details,  # type: ignore[arg-type]
        )
    parser.add_argument(
        "--mixed",
        dest="setting_comparison_mixed",
        action="store_true",
        default=module.SUPPRESS,
        help="linear mixed model of the cells in place of t-tests",
    )


def compare(arguments: argparse.Namespace) -> Answer:
    """Test again and print the tests as a table."""
    folder: Path = arguments.results
    settings = chosen_settings(arguments, settings_of(folder), LATER)
    _, comparisons = compare_again(folder, settings)
    print_comparisons(comparisons)
    print(f"\ntables   {folder / 'comparisons.csv'}, replicates.csv")
    files = {name: folder.resolve() / f"{name}.csv" for name in ("comparisons", "replicates")}
    return Answer(0, {"comparisons": comparisons.to_dict("records"), "files": files})


def print_conclusions(found: Conclusions, folder: Path) -> None:
    """Print thresholds, shares of positive cells and what to beware of."""
    for row in found.thresholds.to_dict("records"):
        if math.isfinite(row["threshold"]):
            about = ", ".join(filter(None, [row.get(LABEL), f"plate {row['plate']}" if row["plate"] else ""]))
            about += ": " if about else ""
            print(
                f"positive {about}{row['readout']} above {row['threshold']:.4g} "
                f"({row['rule']}, {row['control_cells']} cells)"
            )
    for label in labels_of(found.cells.columns) or [""]:
        _print_shares(found, label)
    print_markers(found)
    tested = int((found.comparisons["test"] != "").sum())
    if tested:
        print(f"compare  {tested} tests in {folder / 'comparisons.csv'} ('napari-tam compare {folder}')")
    elif len(found.comparisons):
        print(f"compare  {found.comparisons['note'].iloc[0]}")
    print_kinetics(found.kinetics)
    for note in found.notes:
        print(f"note     {note}")
    sys.stdout.flush()


def _print_shares(found: Conclusions, label: str) -> None:
    """Print the share of positive cells of every condition, and the aggregates of an exosome label."""
    about = f"  {label}" if label else ""
    flags = found.cells[of_label("positive", label)].astype("boolean")
    if flags.notna().any():
        groups = [found.cells[name] for name in ("condition", "control_role")]
        for key, called in flags.dropna().groupby(groups):
            condition, role = (str(part) for part in key)
            name = " ".join(filter(None, [condition, f"({role})" if role else ""])) or "(not in the layout)"
            print(f"         {called.mean():6.1%} of {len(called):,} cells  {name}{about}")
    aggregates = found.cells[of_label("aggregate_count", label)].sum()
    if aggregates:
        what = "aggregate" if aggregates == 1 else "aggregates"
        print(f"         {int(aggregates):,} {what} in cells (puncta.csv says which){about}")


def print_markers(found: Conclusions) -> None:
    """Print gates, cell types and the agreement of shape and markers, if there are any."""
    for row in found.gates.to_dict("records") if found.gates is not None else ():
        if math.isfinite(row["gate"]):
            plate = f" on plate {row['plate']}" if row["plate"] else ""
            control = f", {row['control_cells']} cells" if row["control_role"] else ""
            share = row["positive_fraction"]
            called = f": {share:.1%} of {row['cells']:,} cells positive" if math.isfinite(share) else ""
            print(f"marker   {row['marker']}{plate} above {row['gate']:.4g} ({row['rule']}{control}){called}")
    if found.cell_types is not None:
        counts = found.cell_types.groupby("cell_type", sort=False)["cells"].sum()
        print("types    " + ", ".join(f"{number:,} {name}" for name, number in counts.items()))
    if found.marker_agreement is not None and len(found.marker_agreement):
        whole = found.marker_agreement.iloc[0]
        if math.isfinite(whole["kappa"]):
            print(
                f"shape and markers agree on {whole['agree']:.1%} of {whole['known']:,} cells "
                f"(Cohen's kappa {whole['kappa']:.2f})"
            )


def print_report(folder: Path) -> None:
    """Write the report of a results folder and say where it is."""
    from napari_tam.report.build import write_report

    report = write_report(folder)
    print(f"report   {report.path}")


def print_comparisons(comparisons: pd.DataFrame) -> None:
    """Print comparisons as a table, those that were not tested with the reason."""
    rows: list[tuple[str, ...]] = [
        (
            "readout",
            "comparison",
            "n",
            "mean A",
            "mean B",
            "ratio",
            "difference (95 %)",
            "g",
            "p",
            "adjusted",
            "test",
        )
    ]
    rows += [_shown(row) for row in comparisons.to_dict("records")]
    print_table(rows)
    corrections = dict.fromkeys(text for text in comparisons["correction"] if text)
    if corrections:
        print("\nadjusted: " + "; ".join(corrections))


def _shown(row: dict[Any, Any]) -> tuple[str, ...]:
    interval = ""
    if math.isfinite(row["ci_low"]):
        interval = f" ({_figure(row['ci_low'])} to {_figure(row['ci_high'])})"
    number = f"{row['n_a']}+{row['n_b']}" if row["n_b"] and not row["paired"] else str(row["n_a"] or "")
    note = f"; {row['note']}" if row["note"] and row["test"] else row["note"]
    return (
        row["readout"],
        row["comparison"],
        number,
        _figure(row["mean_a"]),
        _figure(row["mean_b"]),
        _figure(row["ratio"]),
        _figure(row["difference"]) + interval,
        _figure(row["effect_size"]),
        _chance(row["p"]),
        _chance(row["p_adjusted"]),
        f"{row['test']}{note}",
    )


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _chance(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
