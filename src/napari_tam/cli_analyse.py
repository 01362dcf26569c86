"""``napari-tam analyse``: a batch, a progress bar and a summary."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.batch import BatchProgress, Outcome, analyse_files
from napari_tam.cli import INTERRUPTED, SOME_FAILED
from napari_tam.cli_uptake import print_conclusions, print_report
from napari_tam.conclude import conclude
from napari_tam.images import list_images
from napari_tam.layout import read_layout
from napari_tam.listing import unique_names
from napari_tam.models import load_models
from napari_tam.results import PENDING, prepare
from napari_tam.tables import read_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_tam.settings import Settings

#: Of more missing files than this, only the first are named.
SHOWN = 10


def analyse(
    images: Sequence[str],
    out: Path,
    settings: Settings,
    command: Sequence[str] = (),
    *,
    layout: Path | None = None,
) -> int:
    """Analyse images into a results folder and print a summary; return the exit status.

    Raises
    ------
    InputError
        If no image can be found, the folder not written, a model not loaded, or the layout not used.
    """
    paths = list_images(images)
    about = None if layout is None else read_layout(layout)
    if about is not None:
        # before the work: a row of a wrong well is found at once
        about.check(list(unique_names(paths).values()), patterns=False)
    prepare(out)
    tally = Tally()
    with _progress(len(paths)) as tell:
        models = load_models(settings)
        batch = analyse_files(paths, settings, models, out, on_progress=tell, command=command)
        interrupted = False
        try:
            with contextlib.closing(batch):
                for outcome in batch:
                    tally.add(outcome)
        except KeyboardInterrupt:
            interrupted = True
    tally.print(out, settings)
    if tally.fields and not interrupted:
        print_conclusions(conclude(out, settings, about), out)
        if about is not None:
            print_report(out)
        else:
            print(f"report   'napari-tam report {shlex.quote(str(out))}' writes it")
    if interrupted:
        _print_missing(out)
        return INTERRUPTED
    return SOME_FAILED if tally.errors else 0


class Tally:
    """What a batch found, in figures: the arrays of a field are not kept."""

    def __init__(self) -> None:
        self.fields = 0
        self.errors: list[str] = []
        self.notes: Counter[str] = Counter()
        self.puncta_inside = 0
        self.puncta_outside = 0
        self.counts: list[npt.NDArray[np.int64]] = []

    def add(self, outcome: Outcome) -> None:
        """Take a field into account."""
        if outcome.analysis is None:
            self.errors.append(outcome.error or "")
            return
        self.fields += 1
        label = outcome.analysis.puncta["label"].to_numpy()
        inside = int((label > 0).sum())
        self.puncta_inside += inside
        self.puncta_outside += len(label) - inside
        self.counts.append(outcome.analysis.table["puncta_count"].to_numpy())
        self.notes.update(outcome.analysis.field.notes)

    def print(self, out: Path, settings: Settings) -> None:
        """Print the summary, and the failures to stderr."""
        counts = np.concatenate([np.zeros(0), *self.counts])
        failed = f", {len(self.errors)} failed" if self.errors else ""
        print(f"images   {self.fields} analysed{failed}")
        if self.fields:
            median = f", median {np.median(counts):g} puncta a cell" if counts.size else ""
            total = self.puncta_inside + self.puncta_outside
            print(f"cells    {counts.size:,}{median}")
            print(f"puncta   {total:,}: {self.puncta_inside:,} in cells, {self.puncta_outside:,} outside")
        print(f"tables   {out / 'cells.csv'}, puncta.csv, images.csv")
        if settings.overlays and self.fields:
            print(f"pictures {out / 'overlays'}")
        for note, number in self.notes.items():
            print(f"note     {note}" + (f" ({number} images)" if number > 1 else ""))
        sys.stdout.flush()
        for error in self.errors:
            print(f"failed   {error}", file=sys.stderr)


def _print_missing(out: Path) -> None:
    images = read_csv(out / "images.csv")
    missing = images.loc[images["status"] == PENDING, "image"].tolist()
    names = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    what = f"not (wholly) analysed: {names}" if missing else "all images were analysed already"
    print(f"interrupted: {what}. {out / 'images.csv'} lists all, the tables hold the others", file=sys.stderr)


@contextlib.contextmanager
def _progress(files: int) -> Iterator[Callable[[BatchProgress], None]]:
    """Show a progress bar on stderr if that is a terminal; the value takes the news."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        # no markup: a file may be called "[b]"
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600,
    )
    with bar:
        task = bar.add_task("loading the networks", total=files)

        def tell(news: BatchProgress) -> None:
            done = news.index + news.step.done / news.step.total
            bar.update(task, completed=done, description=f"{news.name}: {news.step.step}")

        yield tell
