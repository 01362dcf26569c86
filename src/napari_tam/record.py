"""The record of one run: gathers what was found and keeps the results folder up to date."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_tam import __version__, output, results, tables
from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS, SUMMARY_COLUMNS, build_table
from napari_tam.overlay import encode_png, overlay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_tam.columns import Column
    from napari_tam.models import Models
    from napari_tam.pipeline import Analysis
    from napari_tam.settings import Settings

_Row = dict[str, object]

#: Libraries whose versions go on record.
LIBRARIES = (
    "torch",
    "cellpose",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "tifffile",
    "imagecodecs",
    "laptrack",
    "pydantic",
)

#: The tables of a long run are also written while it goes on: at most this often (seconds), and with
#: pauses of so many times as long as that takes.
SAVE_EVERY, SAVE_SHARE = 60.0, 30.0


class Record:
    """What a run has done so far, and the folder that shows it.

    Parameters
    ----------
    out
        The results folder; made if need be.
    settings, models
        What the run uses.
    pending
        The files to analyse, and their names.
    command
        The command line, for `run.json`.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """

    def __init__(
        self,
        out: Path,
        settings: Settings,
        models: Models,
        pending: Mapping[Path, str],
        command: Sequence[str] = (),
    ) -> None:
        results.prepare(out)
        self.out = out
        self._settings = settings
        self._models = models
        self._command = list(command)
        self._started = datetime.now().astimezone()
        self._clock = time.perf_counter()
        self._saved = time.perf_counter()
        self._saving = 0.0
        self._pending = dict(pending)
        # one list: a Ctrl+C cannot come between an image's row and its tables
        self._done: list[tuple[_Row, pd.DataFrame | None, pd.DataFrame | None]] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def write_image(self, analysis: Analysis) -> None:
        """Write the masks and the picture of one field, in the place of those of an earlier run.

        Raises
        ------
        OutputError
            If one cannot be written.
        """
        started = time.perf_counter()
        field = analysis.field
        pictures: dict[Path, Any] = {
            results.mask_path(self.out, field.name, "cells"): analysis.cells,
            results.mask_path(self.out, field.name, "nuclei"): analysis.nuclei,
        }
        for path, labels in pictures.items():
            if labels is None:
                _remove(path)
            else:
                results.write_mask(path, labels, field.pixel_size_um, field.z_step_um)
        path = results.overlay_path(self.out, field.name)
        if analysis.settings.overlays:
            with output.replacing(path) as part:
                part.write_bytes(encode_png(overlay(analysis)))
        else:
            _remove(path)
        self.add_seconds("write", time.perf_counter() - started)

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add to the time that a step took in all."""
        self._seconds[step] += seconds

    def add(self, analysis: Analysis, seconds: float) -> None:
        """Take a field into the tables."""
        field = analysis.field
        row: _Row = {
            "image": field.name,
            "source": field.source,
            "frame": field.frame,
            "status": results.OK,
            "seconds": round(seconds, 3),
            "height_px": field.shape[0],
            "width_px": field.shape[1],
            "pixel_size_um": field.pixel_size_um,
            "frame_interval_min": field.frame_interval_min,
        }
        row |= {name: value for name, value in analysis.summary.items() if name not in row}
        self._done.append((row, analysis.table, analysis.puncta))
        for step, value in analysis.seconds.items():
            self.add_seconds(step, value)

    def add_failure(self, name: str, source: Path, error: str, seconds: float) -> None:
        """Note that an image could not be analysed; what an earlier run wrote for it is removed."""
        for kind in ("cells", "nuclei"):
            _remove(results.mask_path(self.out, name, kind))
        _remove(results.overlay_path(self.out, name))
        row: _Row = {"image": name, "source": source, "status": results.FAILED, "error": error}
        self._done.append((row | {"seconds": round(seconds, 3)}, None, None))

    def save_sometimes(self) -> None:
        """Save if the last time is long ago, so that a power cut loses little."""
        if time.perf_counter() - self._saved > max(SAVE_EVERY, SAVE_SHARE * self._saving):
            self.save("running")

    def finish_file(self, path: Path) -> None:
        """Note that nothing more comes from a file."""
        self._pending.pop(path, None)

    def save(self, status: str) -> None:
        """Write the tables, the settings and `run.json`.

        Parameters
        ----------
        status
            ``complete``, ``interrupted``, ``stopped`` or ``running``.

        Raises
        ------
        OutputError
            If one cannot be written.
        """
        with _undisturbed():
            started = time.perf_counter()
            self._write(status)
            self._saved = time.perf_counter()
            self._saving = self._saved - started

    def _write(self, status: str) -> None:
        rows = [row for row, _, _ in self._done]
        rows += [
            {"image": name, "source": path, "status": results.PENDING, "error": "the run ended before it"}
            for path, name in self._pending.items()
        ]
        found = [table for _, table, _ in self._done if table is not None]
        spots = [puncta for _, _, puncta in self._done if puncta is not None]
        # the first table is empty: it gives an empty result all its columns
        cells = tables.stack([_empty(CELL_COLUMNS), *found])
        puncta = tables.stack([_empty(PUNCTA_COLUMNS), *spots])
        summary = [column.name for column in SUMMARY_COLUMNS if column.name != "notes"]
        names = [*results.IMAGE_COLUMNS, *summary, "cell_diameter_um", "notes"]
        images = tables.rows_table(
            [{**row, "source": str(row["source"] or "")} for row in rows], list(dict.fromkeys(names))
        )
        tables.write_csv(self.out / "cells.csv", cells)
        tables.write_parquet(self.out / "cells.parquet", cells)
        tables.write_csv(self.out / "puncta.csv", puncta)
        tables.write_csv(self.out / "images.csv", images)
        output.write_text(self.out / "settings.yaml", self._settings.to_yaml())
        output.write_json(self.out / "run.json", self._provenance(status, rows))

    def _provenance(self, status: str, rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        now = datetime.now().astimezone()
        notes = dict.fromkeys(str(row["notes"]) for row in rows if row.get("notes"))
        return {
            "status": status,
            "command": self._command,
            "started": self._started.isoformat(timespec="seconds"),
            "ended": now.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 3),
            "seconds_by_step": {step: round(seconds, 3) for step, seconds in self._seconds.items()},
            "images": dict(Counter(str(row["status"]) for row in rows)),
            "device": self._models.device,
            "models": self._models.hashes,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "versions": {"napari-tam": __version__, **versions(LIBRARIES)},
            "notes": list(notes),
        }


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Return the installed version of each distribution, None for those that are not there."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _empty(columns: Sequence[Column]) -> pd.DataFrame:
    return build_table(columns, {column.name: [] for column in columns}, 0)


def _remove(path: Path) -> None:
    """Remove what an earlier run wrote, if it can be."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl+C while the tables are written, so that they belong together."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed and sys.exc_info()[0] is None:
            raise KeyboardInterrupt
