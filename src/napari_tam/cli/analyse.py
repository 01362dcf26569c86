"""``napari-tam analyse``: a batch, or a part of one, with a progress bar and a summary."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_tam.batches.conclude import conclude
from napari_tam.batches.diameter import read_diameter
from napari_tam.batches.dispatch import analyse_batch
from napari_tam.batches.part import analyse_part, part_of
from napari_tam.batches.threshold import read_thresholds
from napari_tam.cli.console import INTERRUPTED, SOME_FAILED, Answer
from napari_tam.cli.plan import find_images, progress_bar
from napari_tam.cli.uptake import print_conclusions, print_report
from napari_tam.markers.labels import labels_counted, of_label
from napari_tam.pipeline.models import load_models
from napari_tam.puncta.threshold import LOWEST
from napari_tam.results.folder import OK, PENDING, prepare
from napari_tam.results.lock import locked
from napari_tam.results.tables import read_csv
from napari_tam.stopping import terminable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_tam.batches.outcome import Outcome
    from napari_tam.cli.plan import Bar
    from napari_tam.io.layout import Layout
    from napari_tam.settings import Settings

#: Of more missing files than this, only the first are named.
SHOWN = 10

#: Images that failed for the same reason are named up to so many.
ALIKE_SHOWN = 3


@dataclass(frozen=True)
class Run:
    """How ``napari-tam batch`` processes its images; `analyse` has the defaults.

    Attributes
    ----------
    resume, retry_failed, memory_gb
        See `napari_tam.batches.run.analyse_files`.
    jobs
        The same; None for what the machine can do.
    cluster
        Where to analyse, see `napari_tam.batches.dask_clusters.open_cluster`; None for this process.
    recursive
        Whether images in subfolders are taken although others lie above them.
    """

    resume: bool = False
    retry_failed: bool = False
    jobs: int | None = 0
    memory_gb: float | None = None
    cluster: str | None = None
    recursive: bool = False


def analyse(
    images: Sequence[str],
    out: Path,
    settings: Settings,
    command: Sequence[str] = (),
    *,
    layout: Path | None = None,
    how: Run | None = None,
) -> Answer:
    """Analyse images into a results folder and print a summary.

    Raises
    ------
    InputError
        If no image can be found, the folder not written, a model not loaded, or the layout not used.
    """
    how = how or Run()
    paths, about = find_images(images, settings, layout, recursive=how.recursive)
    # to the end: another run between the images and the tables would mix its own with these
    with locked(out):
        return _analyse(paths, out, settings, command, about, how)


def _analyse(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    command: Sequence[str],
    about: Layout | None,
    how: Run,
) -> Answer:
    prepare(out)
    tally = Tally()
    with progress_bar(paths) as bar:
        models = load_models(settings)
        batch = analyse_batch(
            paths,
            settings,
            models,
            out,
            on_progress=bar.tell,
            command=command,
            resume=how.resume,
            retry_failed=how.retry_failed,
            jobs=how.jobs,
            memory_gb=how.memory_gb,
            cluster=how.cluster,
            layout=about,
        )
        interrupted = _drive(batch, bar, tally)
    tally.print(out, settings)
    told = tally.values(out)
    if tally.fields and not interrupted:
        found = conclude(out, settings, about)
        told["notes"] += found.notes
        print_conclusions(found, out)
        if about is not None:
            print_report(out)
        else:
            print(f"report   'napari-tam report {shlex.quote(str(out))}' writes it")
    told["files"] = _files(out.resolve())
    if interrupted:
        told["not_analysed"] = _print_missing(out)
        if how.resume:
            print("the same command goes on from here", file=sys.stderr)
        return Answer(INTERRUPTED, told)
    return Answer(SOME_FAILED if tally.failed else 0, told)


def analyse_one_part(
    part: tuple[int, int],
    images: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    layout: Path | None,
    how: Run,
) -> Answer:
    """Analyse a part of the images and say what became of them; the tables are left to the whole batch.

    Raises
    ------
    InputError
        As for `analyse`; or if this part, or a whole run, is under way in the folder.
    """
    paths, about = find_images(images, settings, layout, recursive=how.recursive)
    own = part_of(paths, *part)
    told = "part     {} of {}".format(*part)
    tally = Tally()
    if not own:
        print(f"{told}: no image is left for it, of {len(paths)}")
        return Answer(0, tally.values(out))
    with progress_bar(own) as bar:
        batch = analyse_part(
            part,
            paths,
            settings,
            load_models(settings),
            out,
            on_progress=bar.tell,
            retry_failed=how.retry_failed,
            jobs=how.jobs,
            memory_gb=how.memory_gb,
            layout=about,
        )
        interrupted = _drive(batch, bar, tally)
    tally.print_failed()
    print(f"{told}: {tally.summary()}")
    if interrupted:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return Answer(INTERRUPTED, tally.values(out))
    print("tables   are written by the same command without --part, when all parts are done")
    return Answer(SOME_FAILED if tally.failed else 0, tally.values(out))


def _drive(batch: Generator[Outcome, None, None], bar: Bar, tally: Tally) -> bool:
    """Go through a batch, telling of each field; return whether it was interrupted."""
    try:
        with terminable(), contextlib.closing(batch):
            for outcome in batch:
                tally.add(outcome)
                bar.done(outcome)
    except KeyboardInterrupt:
        return True
    return False


def _files(out: Path) -> dict[str, Path]:
    """Return the tables of a results folder by name, and its report where there is one."""
    report = out / "report.html"
    found = {path.stem: path for path in sorted(out.glob("*.csv"))}
    return found | ({"report": report} if report.exists() else {})


class Tally:
    """Running totals of a batch: neither images nor tables are kept."""

    def __init__(self) -> None:
        self.fields = 0
        self.kept = 0
        self.cells = 0
        #: Puncta in cells and outside, by exosome label (empty for a single one).
        self.puncta: dict[str, list[int]] = {}
        #: Images that failed: image, source, error.
        self.failed: list[dict[str, Any]] = []
        #: Why they failed, in the same order, without where.
        self._reasons: list[str] = []
        self.notes: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Take a field into account."""
        row = outcome.row
        if row["status"] != OK:
            named = {"image": outcome.name, "source": outcome.path.absolute()}
            self.failed.append({**named, "error": outcome.error or ""})
            self._reasons.append(_reason(outcome))
            return
        self.fields += 1
        self.kept += outcome.kept
        self.cells += row["cells"]
        for label in labels_counted(row) or [""]:
            found, outside = (row[of_label(name, label)] for name in ("puncta", "puncta_outside"))
            total = self.puncta.setdefault(label, [0, 0])
            total[0] += found - outside
            total[1] += outside
        self.notes.update(filter(None, str(row.get("notes") or "").split("; ")))

    def print(self, out: Path, settings: Settings) -> None:
        """Print the summary, and the failures to stderr."""
        print(f"images   {self.summary()}")
        if self.fields:
            several = len(self.puncta) > 1
            median = f", median {_median_puncta(out):g} puncta a cell" if self.cells and not several else ""
            print(f"cells    {self.cells:,}{median}")
            diameter = read_diameter(out)
            if diameter is not None and diameter.value_um is not None:
                print(f"         looked for with a diameter of {diameter.value_um:.3g} µm: {diameter.reason}")
            thresholds = read_thresholds(out)
            for label, (inside, outside) in self.puncta.items():
                name = f"{label}, " if label else ""
                each = f", median {_median_puncta(out, label):g} a cell" if self.cells and several else ""
                print(f"puncta   {name}{inside + outside:,}: {inside:,} in cells, {outside:,} outside{each}")
                threshold = thresholds.get(label)
                if threshold is not None and threshold.value > LOWEST:
                    print(f"         counted from contrast {threshold.value:g} on: {threshold.reason}")
        if (out / "images.csv").exists():
            print(f"tables   {out / 'cells.csv'}, puncta.csv, images.csv")
        if settings.overlays and self.fields:
            print(f"pictures {out / 'overlays'}")
        for note, number in self.notes.items():
            print(f"note     {note}" + (f" ({number} images)" if number > 1 else ""))
        self.print_failed()

    def summary(self) -> str:
        """Say how many images there are."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        earlier = f" ({self.kept} of them by an earlier run)" if self.kept else ""
        return f"{self.fields} analysed{earlier}{failed}"

    def print_failed(self) -> None:
        """Print the failures to stderr."""
        sys.stdout.flush()
        alike = Counter(self._reasons)
        told: Counter[str] = Counter()
        for image, reason in zip(self.failed, self._reasons, strict=True):
            told[reason] += 1
            if told[reason] <= ALIKE_SHOWN:
                print(f"failed   {image['error']}", file=sys.stderr)
            elif told[reason] == ALIKE_SHOWN + 1:
                print(f"failed   {alike[reason] - ALIKE_SHOWN} more: {reason}", file=sys.stderr)

    def values(self, out: Path) -> dict[str, Any]:
        """Return the same for programs."""
        thresholds, diameter = read_thresholds(out), read_diameter(out)
        puncta = []
        for label, (inside, outside) in self.puncta.items():
            threshold = thresholds.get(label)
            value = None if threshold is None else threshold.value
            puncta.append({"label": label, "in_cells": inside, "outside": outside, "threshold": value})
        return {
            "results": out.resolve(),
            "analysed": self.fields,
            "of_an_earlier_run": self.kept,
            "failed": self.failed,
            "cells": self.cells,
            "cell_diameter_um": None if diameter is None else diameter.value_um,
            "puncta": puncta,
            "notes": list(self.notes),
        }


def _reason(outcome: Outcome) -> str:
    """Return why an image failed, without where: the file as it was given, or the image's name."""
    text = outcome.error or ""
    where = (outcome.path, outcome.path.absolute(), outcome.name)
    return min((text.removeprefix(f"{each}: ") for each in where), key=len)


def _median_puncta(out: Path, label: str = "") -> float:
    import pandas as pd

    name = of_label("puncta_count", label)
    return float(pd.read_parquet(out / "cells.parquet", columns=[name])[name].median())


def _print_missing(out: Path) -> list[str]:
    """Say which images a run did not come to; return their names."""
    if not (out / "images.csv").exists():
        print("interrupted: before the first image", file=sys.stderr)
        return []
    images = read_csv(out / "images.csv")
    missing = images.loc[images["status"] == PENDING, "image"].tolist()
    names = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    what = f"not (wholly) analysed: {names}" if missing else "all images were analysed already"
    print(f"interrupted: {what}. {out / 'images.csv'} lists all, the tables hold the others", file=sys.stderr)
    return missing
