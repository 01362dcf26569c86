"""Faults at the n-th write: of every file that napari-tam writes, and of every command that writes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import fakes

from napari_tam import files
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli.main import main
from napari_tam.report import figures
from napari_tam.report.figures import FIGURES as EVERY_FIGURE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from napari_tam.report.figures import Plan

#: Figures take nine tenths of the time, and all are written by the same lines: two stand for them.
FIGURES = ("superplot_puncta", "gallery")

#: Run in a process of its own: a command whose n-th write kills it.
KILLED = """
    import os, signal, sys
    import fakes
    import faults
    from napari_tam import files
    from napari_tam.cli import analyse as cli_analyse
    from napari_tam.cli.main import main
    from napari_tam.report import figures

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    figures.FIGURES = faults.few_figures()
    count, at, replace = 0, int(sys.argv[1]), os.replace
    def dying(*names):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
        replace(*names)
    files.os.replace = dying
    cli_analyse.load_models = lambda settings: fakes.models()
    sys.exit(main(sys.argv[3:]))
"""


def few_figures() -> tuple[Plan, ...]:
    """Return the figures that stand for all."""
    return tuple(plan for plan in EVERY_FIGURE if plan.name in FIGURES)


class Writes:
    """Counts what is written, and lets the n-th write fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int = 0, number: int = errno.ENOSPC) -> None:
        self.count, self.at, self.number = 0, at, number
        self._replace: Callable[..., None] = os.replace
        monkeypatch.setattr(files.os, "replace", self)

    def __call__(self, *names: Any) -> None:
        self.count += 1
        if self.count == self.at:
            raise OSError(self.number, os.strerror(self.number))
        self._replace(*names)


def commands(folder: Path, *, every: bool) -> dict[str, list[str]]:
    """Return the commands that write, in an order in which each finds what it needs; or the first alone."""
    inputs = folder / "in"
    inputs.mkdir()
    for well in ("B02", "B03", "C02"):
        fakes.write_image(inputs / f"{well}.ome.tif")
    layout = folder / "layout.csv"
    layout.write_text("well,condition,control_role\nB02,LPS,\nB03,medium,dye_only\nC02,LPS,\n")
    out = str(folder / "out")
    if not every:
        return {"batch": ["batch", str(inputs), "--out", out, "--jobs", "1"]}
    return {
        "batch": ["batch", str(inputs), "--out", out, "--layout", str(layout), "--jobs", "1"],
        "uptake": ["uptake", out, "--layout", str(layout)],
        "compare": ["compare", out],
        "track": ["track", out, "--max-missed", "1"],
        "report": ["report", out],
        "export": ["export", out, "--to", "geojson", "tidy"],
        "settings": ["settings", str(folder / "out" / "more.yaml"), "--force"],
    }


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """Run a command without real networks; whatever is raised but an exit is a fault of the program."""
    monkeypatch.setattr(cli_analyse, "load_models", lambda _: fakes.models())
    monkeypatch.setattr(figures, "FIGURES", few_figures())
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
