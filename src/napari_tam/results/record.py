"""The record of one run: gathers what was found and keeps the results folder up to date."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections import Counter, defaultdict
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_tam import files
from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS, STEP_COLUMNS, SUMMARY_COLUMNS, build_table
from napari_tam.errors import printable
from napari_tam.installation import __version__
from napari_tam.results import folder as results
from napari_tam.results import tables
from napari_tam.results.field_store import FieldStore, Row
from napari_tam.results.fingerprint import analysis_hash
from napari_tam.stopping import undisturbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_tam.columns import Column
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.models import Models
    from napari_tam.puncta.threshold import Threshold
    from napari_tam.segment.common_diameter import Diameter
    from napari_tam.settings import Settings

#: Libraries whose versions go on record.
LIBRARIES = (
    "torch",
    "openvino",
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
    thresholds
        The thresholds of the puncta by exosome label (empty for a single one), and where they come from, for
        `run.json`.
    diameter
        The diameter that the cells were looked for with, and where it comes from.
    background
        Whether tables that are saved while the run goes on are written by a thread.

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
        *,
        thresholds: Mapping[str, Threshold] | None = None,
        diameter: Diameter | None = None,
        background: bool = False,
    ) -> None:
        results.prepare(out)
        self.out = out
        self.parts = FieldStore(out)
        #: See `napari_tam.results.fingerprint.analysis_hash`.
        self.analysis = analysis_hash(settings, models)
        self._settings = settings
        self._models = models
        self._command = list(command)
        self._thresholds = dict(thresholds or {})
        self._diameter = diameter
        self._started = datetime.now().astimezone()
        self._clock = time.perf_counter()
        self._saved = time.perf_counter()
        self._saving = 0.0
        self._pending = dict(pending)
        self._rows: list[Row] = []
        self._kept = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._saver: threading.Thread | None = None
        self._background = background

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add to the time that a step took in all."""
        self._seconds[step] += seconds

    def add(self, row: Row, seconds: Mapping[str, float] | None = None) -> None:
        """Take a field, whose parts are written, into the tables.

        Parameters
        ----------
        row
            Its row, as `napari_tam.results.field_store.FieldStore` gave it back.
        seconds
            How long its steps took; None if an earlier run did them.
        """
        self._rows.append(row)
        if seconds is None:
            self._kept += 1
        for step, value in (seconds or {}).items():
            self.add_seconds(step, value)

    def save_sometimes(self) -> None:
        """Save if the last time is long ago, so that the tables can be read while the run goes on."""
        if time.perf_counter() - self._saved <= max(SAVE_EVERY, SAVE_SHARE * self._saving):
            return
        if not self._background:
            self.save("running")
        elif self._saver is None or not self._saver.is_alive():
            self._saver = threading.Thread(target=self._try_to_save, name="tables", daemon=True)
            self._saver.start()

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
        if self._saver is not None and self._saver is not threading.current_thread():
            self._saver.join()
        with undisturbed():
            started = time.perf_counter()
            self._write(status)
            self._saved = time.perf_counter()
            self._saving = self._saved - started

    def _try_to_save(self) -> None:
        # what keeps the tables from being written keeps the next image from it, too, and is reported there
        with contextlib.suppress(files.OutputError):
            self.save("running")

    def _write(self, status: str) -> None:
        rows = list(self._rows)
        # a run may end between a file's only field and the file's end
        known = {row["image"] for row in rows}
        names = [str(row["image"]) for row in rows if row["status"] == results.OK]
        rows += [
            {"image": name, "source": path, "status": results.PENDING, "error": "the run ended before it"}
            for path, name in list(self._pending.items())
            if name not in known
        ]
        summary = [column.name for column in SUMMARY_COLUMNS if column.name != "notes"]
        summary += [column.name for column in STEP_COLUMNS]
        first = [*results.IMAGE_COLUMNS, *summary, "notes"]
        images = tables.rows_table(
            [{**row, "source": printable(str(row["source"] or ""))} for row in rows],
            list(dict.fromkeys(first)),
        )
        steps = [
            partial(tables.write_csv, self.out / "images.csv", images),
            partial(files.write_text, self.out / "settings.yaml", self._settings.to_yaml()),
        ]
        for table, columns in (("cells", CELL_COLUMNS), ("puncta", PUNCTA_COLUMNS)):
            parts = [self.parts.table_path(table, name) for name in names]
            paths = (self.out / f"{table}.csv", self.out / f"{table}.parquet")
            steps.append(partial(tables.assemble, parts, _empty(columns), *paths))
        if status == "complete":
            # names of files, too, are on the disk before a run says that it is done
            steps += [partial(_sync, self.out / name) for name in results.FOLDERS]
        trouble: files.OutputError | None = None
        for write in steps:
            # a table that is too long for the disk must not take the shorter ones with it
            try:
                write()
            except files.OutputError as error:
                trouble = trouble or error
        status = status if trouble is None else "stopped"
        files.write_json(self.out / "run.json", self._provenance(status, rows))
        if trouble is not None:
            raise trouble
        _sync(self.out)

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
            "images_of_an_earlier_run": self._kept,
            "device": self._models.device,
            "engine": self._models.engine,
            "models": self._models.hashes,
            **_thresholds(self._thresholds),
            **({} if self._diameter is None else {"cell_diameter": self._diameter.as_dict()}),
            "camera_defects": None if self._models.defects is None else self._models.defects.about,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "versions": {"napari-tam": __version__, **versions(LIBRARIES)},
            "notes": list(notes),
        }


def _thresholds(found: Mapping[str, Threshold]) -> dict[str, Any]:
    """Return the threshold of the first label, and where there are several those of all."""
    told = {label: threshold.as_dict() for label, threshold in found.items()}
    first = next(iter(told.values()), None)
    return {"puncta_threshold": first} | ({"puncta_thresholds": told} if len(told) > 1 else {})


def image_row(analysis: Analysis, seconds: float) -> Row:
    """Return the row of images.csv about a field that was analysed in so many seconds."""
    field = analysis.field
    row: Row = {
        "image": field.name,
        "source": None if field.source is None else str(field.source),
        "frame": field.frame,
        "status": results.OK,
        "seconds": round(seconds, 3),
        "height_px": field.shape[0],
        "width_px": field.shape[1],
        "pixel_size_um": field.pixel_size_um,
        "frame_interval_min": field.frame_interval_min,
    }
    return row | {name: value for name, value in analysis.summary.items() if name not in row}


def failure_row(name: str, source: Path, error: str, seconds: float) -> Row:
    """Return the row of images.csv about an image that could not be analysed."""
    return {
        "image": name,
        "source": printable(str(source)),
        "status": results.FAILED,
        "error": error,
        "seconds": round(seconds, 3),
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


def _sync(folder: Path) -> None:
    try:
        files.sync(folder)
    except OSError as error:
        raise files.OutputError(folder, error) from error


def _empty(columns: Sequence[Column]) -> pd.DataFrame:
    return build_table(columns, {column.name: [] for column in columns}, 0)
