"""The dock widget "Analyse a folder": many images in, a results folder out, any of them in the viewer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from napari_tam._napari._controls import Panel, PathEdit, button, row, taken_out
from napari_tam._napari._job import Job
from napari_tam._napari._preload import collect_again, loading
from napari_tam._napari._session import Session
from napari_tam.errors import InputError
from napari_tam.progress import Progress
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    import napari.viewer

    from napari_tam.batches.run import BatchProgress, Outcome
    from napari_tam.io.layout import Layout

_COLUMNS = ("image", "status", "cells", "puncta", "s")
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

#: What the form may say about the images of a folder that do not tell it.
_WORDS = {"channels": "channels", "pixel_size_um": "pixel size"}

#: Interval at which the current step is polled (ms).
_POLL_MS = 200


class BatchWidget(Panel):
    """Analyse a folder.

    Parameters
    ----------
    viewer
        Where finished images are opened.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = Session.of(viewer)
        self._job = Job()
        self._events: list[BatchProgress] = []
        self._started = 0.0
        self._files = 0
        self._failed = 0
        self._of_form = ""
        self._results: dict[str, Outcome] = {}
        self.images = PathEdit("Folder with images", hint="folder with images")
        self.out = PathEdit("Results folder", hint="results folder")
        self.settings = PathEdit("Settings file", "file", hint="as in the form, or the defaults")
        self.settings.setToolTip("A settings file (YAML). Empty: as in the form of 'Measure exosome uptake'.")
        self.layout_file = PathEdit("Plate layout", "file", hint="plate layout (CSV, Excel), may be left out")
        self.layout_file.setToolTip("Says what the wells are: controls, conditions, replicates.")
        self.images.changed.connect(self._propose)
        self.out.changed.connect(self._show_earlier)
        form = QFormLayout()
        form.addRow("images", self.images)
        form.addRow("results", self.out)
        form.addRow("settings", self.settings)
        form.addRow("layout", self.layout_file)
        self.run_button = button("Run", "Analyse all images of the folder.", self.run)
        self.cancel_button = button("Cancel", "Stop; what is finished stays.", self.cancel)
        self.cancel_button.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.status_line = QLabel("")
        self.status_line.setWordWrap(True)
        self.table: Any = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        header: Any = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(_COLUMNS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        rows: Any = self.table.verticalHeader()
        rows.setVisible(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setToolTip("Click a finished image to open it with its results.")
        self.table.cellClicked.connect(lambda at, _: self.open(at))
        self.report_button = button(
            "Open report", "Write the report of the results folder, and open it.", self.open_report
        )
        self.report_button.setEnabled(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(form)
        layout.addWidget(row(self.run_button, self.cancel_button, self.report_button))
        layout.addWidget(self.bar)
        layout.addWidget(self.status_line)
        layout.addWidget(self.table, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._look)
        self._job.progressed.connect(self._on_outcome)
        self._job.busy.connect(self._on_busy)
        self._job.said.connect(self._say)

    @property
    def idle(self) -> bool:
        """Whether nothing is running."""
        return self._job.idle

    def statuses(self) -> dict[str, str]:
        """Return image → status, as the table shows them."""
        return {self._text(at, 0): self._text(at, 1) for at in range(self.table.rowCount())}

    def run(self) -> None:
        """Start the batch."""
        from napari_tam.io.images import list_images, unique_names
        from napari_tam.io.layout import read_layout

        images, out = self.images.value, self.out.value
        try:
            if images is None or out is None:
                raise InputError("no folder is chosen", fix="Choose the images' folder and one for results")
            settings = self._settings()
            paths = list_images([str(images)], settings.files, rgb=settings.rgb)
            settings = self._completed(settings, paths)
            names = unique_names(paths, settings.files)
            self._events.clear()
            self._results.clear()
            self._files, self._failed, self._started = len(paths), 0, time.monotonic()
            layout = None if self.layout_file.value is None else read_layout(self.layout_file.value)
            if layout is not None:  # before the analysis, so that a row with a wrong well is reported at once
                layout.check(list(names.values()), patterns=False)
            session, event = self._session, self._events
            self._job.start(
                lambda: _batch(paths, settings, out, layout, session, event.append),
                self._on_result,
                total=len(paths),
                title=f"Uptake in {images.name}",
            )
        except InputError as error:
            self.status_line.setText(str(error))
            show_error(str(error))
            return
        self.table.setRowCount(0)
        for path in paths:
            self._row(names[path])

    def cancel(self) -> None:
        """Stop after the current tile; the tables of what is finished are written."""
        self._job.cancel()

    def open(self, at: int) -> None:
        """Open the image of a row with its results."""
        from napari_tam._napari._open import found_of, read_found, show_found

        name, out = self._text(at, 0), self.out.value
        if self._text(at, 1) != DONE or out is None:
            self.status_line.setText(self.table.item(at, 1).toolTip() or f"{name} is not finished yet")
            return
        try:
            done = self._results.get(name)
            found = read_found(out, name) if done is None else found_of(out, done)
            show_found(self._session, found)
        except InputError as error:
            show_error(str(error))

    def open_report(self) -> None:
        """Write the report of the results folder, and open it in the browser."""
        out = self.out.value
        if out is None:
            return
        try:
            self._job.start(
                lambda: _report(out),
                _browse,
                total=1,
                title="Writing the report",
            )
        except InputError as error:
            show_error(str(error))

    def changeEvent(self, event: Any) -> None:
        """Stop when the dock is closed; what is finished stays."""
        super().changeEvent(event)
        if taken_out(self, event):
            self._timer.stop()
            self._job.abandon()
            collect_again()

    def _say(self, text: str) -> None:
        self.status_line.setText(text)

    def _settings(self) -> Settings:
        if self.settings.value is not None:
            return Settings.from_yaml(self.settings.value)
        form = self._session.form_settings
        # The channels and pixel size of the form are those of its own image; see _completed.
        return Settings() if form is None else form().updated(channels={}, pixel_size_um=None)

    def _completed(self, settings: Settings, paths: list[Path]) -> Settings:
        """Return settings with the form's channels or pixel size, where the images do not tell their own.

        The first three are asked: a single one may be broken.
        """
        from napari_tam.batches.plan import first_look

        self._of_form = ""
        said = self._session.form_image
        given = {} if said is None or self.settings.value is not None else said()
        for path in paths[:3]:
            for names in ((), ("channels",), ("pixel_size_um",), ("channels", "pixel_size_um")):
                try:
                    tried = settings.updated(**{name: given[name] for name in names if name in given})
                    first_look(path, tried)
                except InputError:
                    continue
                words = [_WORDS[name] for name in names]
                self._of_form = f" ({' and '.join(words)} as in the form)" if words else ""
                return tried
        return settings

    def _propose(self, text: str) -> None:
        if text and self.out.value is None and self.images.value is not None:
            self.out.value = self.images.value / "napari-tam results"

    def _show_earlier(self, _: str) -> None:
        """Show what a results folder already holds; its images open with a click."""
        out = self.out.value
        if not self.idle or out is None:
            return
        self.table.setRowCount(0)
        self._results.clear()
        there = (out / "images.csv").is_file()
        self.report_button.setEnabled(there)
        if not there:
            return
        from napari_tam.results.folder import FAILED as BROKEN
        from napari_tam.results.folder import OK
        from napari_tam.results.tables import read_csv

        try:
            images = read_csv(out / "images.csv")
        except InputError as error:
            self._say(str(error))
            return
        for record in images.to_dict("records"):
            at = self._row(str(record["image"]))
            self._set(
                at, 1, {OK: DONE, BROKEN: FAILED}.get(record["status"], WAITING), _text_of(record["error"])
            )
            for column, name in ((2, "cells"), (3, "puncta"), (4, "seconds")):
                self._set(at, column, _text_of(record.get(name)))
        self._say(f"{len(images)} images of an earlier run. Click one to open it with its results.")

    def _look(self) -> None:
        """Show the step that the batch is at, and how long it will take."""
        if not self._events:
            return
        event = self._events[-1]
        done = (event.index + event.step.done / event.step.total) / max(1, event.files)
        self.bar.setValue(round(1000 * done))
        at = self._row(event.name)
        if self._text(at, 1) == WAITING:
            self._set(at, 1, RUNNING)
        self.status_line.setText(f"{event.name}: {event.step.step}{self._remaining(done)}")

    def _remaining(self, done: float) -> str:
        passed = time.monotonic() - self._started
        if not len(self._results) + self._failed:
            return ""
        left = passed / max(done, 1e-6) - passed
        minutes, seconds = divmod(round(left), 60)
        return f" · about {f'{minutes} min ' if minutes else ''}{seconds:02d} s left"

    def _on_outcome(self, outcome: Outcome | Progress) -> None:
        if isinstance(outcome, Progress):
            self._events.clear()
            self.status_line.setText(f"{outcome.step} …")
            return
        at = self._row(outcome.name)
        self._set(at, 4, f"{outcome.seconds:.1f}")
        if outcome.analysis is None:
            self._failed += 1
            self._set(at, 1, FAILED, outcome.error or "")
            return
        self._results[outcome.name] = outcome
        self._set(at, 1, DONE)
        self._set(at, 2, str(outcome.analysis.summary["cells"]))
        self._set(at, 3, str(outcome.analysis.summary["puncta"]))

    def _on_result(self, seconds: float) -> None:
        failed = f", {self._failed} failed" if self._failed else ""
        self.bar.setValue(1000)
        self.status_line.setText(
            f"{len(self._results)} images analysed{failed}, in {seconds:.0f} s{self._of_form}: "
            f"{self.out.value}"
        )

    def _on_busy(self, busy: bool) -> None:
        self.run_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        if busy:
            self._timer.start()
            self.status_line.setText("Starting …")
            return
        self._timer.stop()
        out = self.out.value
        self.report_button.setEnabled(out is not None and (out / "images.csv").exists())
        for at in range(self.table.rowCount()):
            if self._text(at, 1) == RUNNING:
                self._set(at, 1, WAITING)

    def _row(self, name: str) -> int:
        """Return the row of an image; the first field of a multi-field file takes over its file's row."""
        for at in range(self.table.rowCount()):
            if self._text(at, 0) == name:
                return at
        at = self.table.rowCount()
        for known in range(at):
            if self._text(known, 1) == WAITING and name.startswith(self._text(known, 0) + "_"):
                self._set(known, 0, name)
                return known
        self.table.insertRow(at)
        for column in range(len(_COLUMNS)):
            self.table.setItem(at, column, QTableWidgetItem(""))
        self._set(at, 0, name)
        self._set(at, 1, WAITING)
        return at

    def _text(self, at: int, column: int) -> str:
        item = self.table.item(at, column)
        return "" if item is None else str(item.text())

    def _set(self, at: int, column: int, text: str, why: str = "") -> None:
        item = self.table.item(at, column)
        item.setText(text)
        item.setToolTip(why)
        if column > 1:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


def _text_of(value: Any) -> str:
    """Return a value of a table as a short text; nothing for a missing one."""
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) and value % 1 else str(value).removesuffix(".0")


def _batch(
    paths: list[Path],
    settings: Settings,
    out: Path,
    layout: Layout | None,
    session: Session,
    tell: Callable[[BatchProgress], None],
) -> Generator[Outcome | Progress, None, float]:
    """Analyse files; yields outcomes without their images, and returns the seconds."""
    from dataclasses import replace

    with loading():
        from napari_tam.batches.conclude import conclude
        from napari_tam.batches.run import analyse_files
        from napari_tam.results.lock import locked

        models = session.models(settings)
    started, done = time.monotonic(), 0
    command = ["napari", str(out)]
    batch = analyse_files(paths, settings, models, out, on_progress=tell, command=command, layout=layout)
    with locked(out), contextlib.closing(batch):
        for outcome in batch:
            analysis = outcome.analysis
            if analysis is not None:  # a batch may be long: its images do not stay in memory
                light = replace(analysis.field, channels={})
                images: dict[str, Any] = dict.fromkeys(("cells", "nuclei", "raw", "corrected", "candidates"))
                analysis = replace(analysis, field=light, **images)
                done += 1
            yield replace(outcome, analysis=analysis)
        if done:
            yield Progress("positive cells, comparisons", 0, 1)
            conclude(out, settings, layout)
    return time.monotonic() - started


def _report(out: Path) -> Generator[Progress, None, Path]:
    """Write the report; returns its file."""
    from napari_tam.report.build import write_report

    yield Progress("report", 0, 1)
    write_report(out)
    return out / "report.html"


def _browse(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
