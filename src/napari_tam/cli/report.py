"""``napari-tam report``, ``methods`` and ``verify``: what is read after an analysis."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import SOME_FAILED, Answer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_tam.batches.verify import Checked


def add_report_options(own: argparse.ArgumentParser) -> None:
    """Add what all three have."""
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")


def report(arguments: argparse.Namespace) -> int:
    """Write the report, and print where it is."""
    from napari_tam.report.build import write_report

    report = write_report(arguments.results)
    for title, why in report.left_out:
        print(f"left out {title}: {why}")
    print(f"report   {report.path}")
    print(f"figures  {report.path.parent / 'figures'}: {len(report.figures)}, each as PNG, SVG and CSV")
    return 0


def methods(arguments: argparse.Namespace) -> int:
    """Print the methods paragraph."""
    from napari_tam.report.methods import methods_text

    print(methods_text(arguments.results), end="")
    return 0


def verify(arguments: argparse.Namespace) -> Answer:
    """Say whether a results folder can be reproduced."""
    from napari_tam.batches.verify import libraries, verify
    from napari_tam.pipeline.models import load_models

    found = verify(arguments.results, load_models)
    other = libraries(arguments.results)
    wrong = [each for each in found if each.state in ("differs", "gone")]
    for kind, what in _VERIFIED.items():
        states = Counter(each.state for each in found if each.kind == kind)
        if states:
            print(f"{what:9}" + ", ".join(f"{number:,} {_STATES[state]}" for state, number in states.items()))
    for why, number in Counter(each.why for each in found if each.state == "unknown").items():
        print(f"unknown  {number:,}: {why}")
    for each in found:
        if each.why and each.state != "unknown":
            print(f"{each.state:9}{each.kind} {each.name}: {each.why}")
    if other:
        print(f"note     other libraries than in the run: {'; '.join(other)} (a last digit may change)")
    print(f"verdict  {_verdict(found, wrong=bool(wrong))}")
    told = {"as_recorded": not wrong, "checked": [asdict(each) for each in found], "libraries": other}
    return Answer(SOME_FAILED if wrong else 0, told)


#: What was compared, and how it was found, for people.
_VERIFIED = {
    "image": "images",
    "network": "networks",
    "program": "program",
    "result": "results",
    "file": "files",
}
_STATES = {"same": "as recorded", "differs": "changed", "gone": "gone", "unknown": "not to be compared"}


def _verdict(found: Sequence[Checked], *, wrong: bool) -> str:
    if wrong:
        return "not as recorded: the same command may give other tables"
    if any(each.state == "unknown" and each.kind != "file" for each in found):
        return "nothing speaks against it, but not all of it is on record"
    return "as recorded: the same command gives these tables again"
