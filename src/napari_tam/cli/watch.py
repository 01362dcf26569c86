"""``napari-tam watch``: look, analyse what is complete, keep tables and report current."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.batches.threads import default_jobs
from napari_tam.batches.watch import ShareAway, Watcher, wait
from napari_tam.cli.analyse import Tally
from napari_tam.cli.options import chosen_settings
from napari_tam.errors import InputError, one_line
from napari_tam.io.layout import read_layout
from napari_tam.pipeline.models import load_models
from napari_tam.results.folder import OK
from napari_tam.results.lock import LOCK_FILE, locked
from napari_tam.stopping import terminable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings


def watch(arguments: argparse.Namespace) -> int:
    """Analyse what appears in a folder until Ctrl+C (or, with ``--once``, until all is analysed).

    Raises
    ------
    InputError
        If the folder is not there at the start, a model cannot be loaded, or the layout not be used.
    """
    settings = chosen_settings(arguments)
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise InputError(
            "there is no such folder", where=folder, fix="check the name, and that the share is mounted"
        )
    layout = None if arguments.layout is None else read_layout(arguments.layout)
    station = Station(
        Watcher(folder, arguments.out, settings, arguments.settle),
        arguments.out,
        settings,
        load_models(settings),
        layout,
        arguments.report_every,
        ["napari-tam", *arguments.argv],
    )
    say(f"watching {folder}; Ctrl+C ends it")
    try:
        with terminable(), locked(arguments.out):
            station.run(arguments.poll, once=arguments.once)
    except KeyboardInterrupt:
        say("ended; the same command goes on from here")
    return 1 if station.failed else 0


@dataclass
class Station:
    """A folder that is watched, and its results.

    Attributes
    ----------
    watcher
        Says which images are complete.
    out, settings, models
        Where results go, and how images are analysed.
    layout
        What the wells are; rows about wells that have no image yet are allowed.
    report_every
        Seconds between two reports at least.
    command
        The command line, for `run.json`.
    stop
        Set to end the run.
    """

    watcher: Watcher
    out: Path
    settings: Settings
    models: Models
    layout: Layout | None = None
    report_every: float = 300.0
    command: Sequence[str] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    failed: int = 0
    _known: list[Path] = field(default_factory=list)
    _reported: float = -1e9
    _is_stale: bool = False
    _trouble: str = ""

    def run(self, poll: float, *, once: bool = False) -> None:
        """Look, analyse and wait, again and again."""
        self.watcher.remember(self._analysed())
        begun = (self.out / LOCK_FILE).exists()
        while not self.stop.is_set():
            try:
                if begun and not (self.out / LOCK_FILE).exists():
                    # a folder made in its place would hide it when the share is back, and begin anew
                    raise ShareAway(f"{self.out}: the results are not there")
                self.look()
                self._say_trouble("")
            except (ShareAway, InputError, OSError) as error:
                # on a network it may come back; what is complete stays so
                self._say_trouble(one_line(error))
            else:
                if once and not self.watcher.pending():
                    self.report(now=True)
                    return
            wait(self.watcher.folder, poll, self.stop)

    def look(self) -> int:
        """Look once and analyse what is complete; return how many fields were.

        Raises
        ------
        ShareAway
            If the folder cannot be read.
        OutputError
            If the results folder cannot be written.
        """
        complete = self.watcher.complete()
        done = 0
        if complete != self._known and complete:
            tally = Tally()
            away: set[Path] = set()
            batch = analyse_files(
                complete,
                self.settings,
                self.models,
                self.out,
                command=self.command,
                resume=True,
                layout=self.layout,
                jobs=default_jobs(self.models.device),
            )
            with contextlib.closing(batch):
                for outcome in batch:
                    tally.add(outcome)
                    if outcome.error is not None and not outcome.path.exists():
                        self.watcher.forget(outcome.path)
                        away.add(outcome.path)
                    if not outcome.kept:
                        done += 1
                        say(f"{outcome.name}: {outcome.error or 'analysed'}")
            self.failed = len(tally.failed)
            if tally.fields:
                conclude(self.out, self.settings, self._present(complete))
                self._is_stale = self.layout is not None
            # last, so that what fails before is done again
            self._known = [path for path in complete if path not in away]
        self.report()
        return done

    def report(self, *, now: bool = False) -> None:
        """Renew the report if something is new and the last one is old enough (or `now`)."""
        from napari_tam.report.build import write_report

        if self._is_stale and (now or time.monotonic() - self._reported >= self.report_every):
            say(f"report {write_report(self.out).path}")
            self._reported, self._is_stale = time.monotonic(), False

    def _analysed(self) -> list[Path]:
        """Return the images of an earlier run, which may have been moved to an archive since."""
        from napari_tam.results.tables import read_csv

        table = self.out / "images.csv"
        if not table.exists():
            return []
        images = read_csv(table)
        sources = images.loc[images["status"] == OK, "source"]
        return [Path(source) for source in dict.fromkeys(sources) if source]

    def _present(self, complete: Sequence[Path]) -> Layout | None:
        """Return the layout's rows that are about images that are there."""
        from napari_tam.results.tables import read_csv

        if self.layout is None:
            return None
        return self.layout.restricted(read_csv(self.out / "images.csv")["image"].tolist())

    def _say_trouble(self, text: str) -> None:
        if text != self._trouble:
            say(f"{text}; waiting" if text else "back again")
        self._trouble = text


def say(text: str) -> None:
    """Print a line with the time, for the journal of a service."""
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}", flush=True, file=sys.stderr)
