"""The images that a command was given, what would be done with each (``--dry-run``), and how far that is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from napari_tam.batches.plan import first_look, look_into, plan
from napari_tam.cli.console import Answer
from napari_tam.io.channel_search import described
from napari_tam.io.layout import read_layout
from napari_tam.io.left_out import left_out
from napari_tam.io.listing import list_images, unique_names
from napari_tam.pipeline.models import load_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from napari_tam.batches.outcome import BatchProgress, Outcome
    from napari_tam.io.layout import Layout
    from napari_tam.settings import Settings


def find_images(
    images: Sequence[str], settings: Settings, layout: Path | None, *, recursive: bool = False
) -> tuple[list[Path], Layout | None]:
    """Return the images and the layout, by names (no file is opened); print what was left out, and why.

    What the layout has and nothing reads is printed as well: a column of another name than the known ones.

    Raises
    ------
    InputError
        If no image is found, or the layout is about others: before the work, so that a row of a wrong well
        is found at once.
    """
    paths = list_images(images, settings.files, rgb=settings.rgb, recursive=recursive)
    for line in [*described(paths, settings.files), *left_out(images, paths, recursive=recursive)]:
        print(f"files    {line}")
    about = None if layout is None else read_layout(layout)
    if about is not None:
        for line in about.doubts():
            print(f"layout   {line}")
        about.check(list(unique_names(paths, settings.files).values()), patterns=False)
    return paths, about


def print_plan(
    images: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    layout: Path | None,
    retry_failed: bool,
    resume: bool,
    recursive: bool = False,
) -> Answer:
    """Say what a run would do with every file, and what their headers tell; nothing is written."""
    paths, _ = find_images(images, settings, layout, recursive=recursive)
    counts: Counter[str] = Counter()
    told, new = [], []
    for step in plan(paths, settings, load_models, out, retry_failed, resume=resume):
        counts[step.todo] += 1
        if step.todo == "analyse":
            new.append(step.path)
        told.append({"source": step.path.absolute(), "todo": step.todo, "why": step.why})
        print(f"{step.todo:8} {step.path}" + (f" ({step.why})" if step.why else ""))
    looked, faults = look_into(new, settings)
    first = dict(faults).get(new[0], "") if new else ""
    if new and not first:
        first = first_look(new[0], settings)
        print(f"first    {first}")
    for _, sentence in faults:
        print(f"fails    {sentence}")
    if looked:
        which = "all" if looked == len(new) else f"{looked}"
        print(f"headers  of {which} of them were read: {len(faults) or 'none'} would fail")
    print(f"in all   {counts['analyse']} to analyse, {counts['keep']} done already; nothing was written")
    would_fail = [{"source": path.absolute(), "error": sentence} for path, sentence in faults]
    found = {
        "dry_run": True,
        "results": out.resolve(),
        "first": first,
        "plan": told,
        "would_fail": would_fail,
    }
    return Answer(0, found)


#: Where no bar can be drawn (a log file, a scheduler), a line says so often how far it is (s).
LOG_EVERY_S = 60.0


class Bar:
    """A progress bar that counts files, several of which may be under way at the same time.

    Into a log it writes a line now and then instead.
    """

    def __init__(self, progress: Progress, task: TaskID, paths: Sequence[Path]) -> None:
        self._next_line = time.monotonic() + LOG_EVERY_S
        self._progress = progress
        self._task = task
        self._index = {path: index for index, path in enumerate(paths)}
        self._shares: dict[int, float] = {}

    def tell(self, event: BatchProgress) -> None:
        """Show the step that a field is at."""
        self._shares[event.index] = event.step.done / event.step.total
        self._progress.update(
            self._task, completed=sum(self._shares.values()), description=f"{event.name}: {event.step.step}"
        )

    def done(self, outcome: Outcome) -> None:
        """Show that a field is done; those of an earlier run do not count for the remaining time."""
        self._shares[self._index[outcome.path]] = 1.0
        if self._progress.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LOG_EVERY_S
            done = list(self._shares.values()).count(1.0)
            print(f"so far   {done} of {len(self._index)} files", file=sys.stderr, flush=True)
        change = self._progress.reset if outcome.kept else self._progress.update
        change(self._task, completed=sum(self._shares.values()))  # type: ignore[arg-type]


@contextlib.contextmanager
def progress_bar(paths: Sequence[Path]) -> Iterator[Bar]:
    """Show a progress bar on stderr, or lines if that is no terminal; yields the bar to update."""
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
        yield Bar(bar, bar.add_task("loading the networks", total=len(paths)), paths)
