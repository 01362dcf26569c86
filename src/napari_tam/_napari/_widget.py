"""The dock widget "Measure exosome uptake": channels, settings, run; then plot, correct, teach."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QTabWidget, QVBoxLayout, QWidget

from napari_tam._napari._ahead import Ahead
from napari_tam._napari._analyse import measured_at_once
from napari_tam._napari._controls import Panel, button, column, row, taken_out
from napari_tam._napari._early import Early
from napari_tam._napari._job import Job
from napari_tam._napari._layers import KEY
from napari_tam._napari._marking._panel import MarksPanel
from napari_tam._napari._preload import collect_again
from napari_tam._napari._results import ResultsBar
from napari_tam._napari._session import Session
from napari_tam._napari._tabs._channels import ChannelPicker
from napari_tam._napari._tabs._correct import CorrectTab
from napari_tam._napari._tabs._form import SettingsForm
from napari_tam._napari._tabs._gates import GatesTab
from napari_tam._napari._tabs._plot import PlotTab
from napari_tam._napari._tabs._puncta import PunctaPanel
from napari_tam._napari._whole._axes import MOVIE, PLANE, VOLUME
from napari_tam._napari._whole._movie import FoundMovie
from napari_tam._napari._whole._run import Part
from napari_tam._napari._whole._start import task as one_piece
from napari_tam._napari._whole._start import task_of
from napari_tam.errors import InputError
from napari_tam.io.field import missing_roles

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    import napari.viewer
    from napari.layers import Image

    from napari_tam._napari._channel import Channel
    from napari_tam._napari._found import Found
    from napari_tam._napari._tabs._teach import TeachTab
    from napari_tam._napari._whole._start import Task
    from napari_tam.progress import Progress

#: How long the widget is there before what a run needs is loaded (ms): it opens first.
_AHEAD_MS = 500

#: How long a threshold rests before the tables are made anew (ms).
_REST_MS = 300


class AnalyseWidget(Panel):
    """Choose channels and settings, run the pipeline, get layers with tables.

    Parameters
    ----------
    viewer
        The viewer whose layers are analysed and that gets the results.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.session = Session.of(viewer)
        self._viewer = viewer = self.session.viewer
        self.job = Job()
        self._trying = False
        self._ahead: Ahead | None = None
        self.picker = ChannelPicker(viewer)
        self.settings_form = SettingsForm()
        self.form = self.settings_form.entries
        lines = ("puncta_threshold", "puncta_thresholds", "puncta_score")
        self.puncta = PunctaPanel(self.session, *(self.form[name] for name in lines))
        self.marks = MarksPanel(self.session, self.settings_form, self.puncta)
        self._run = button("Run", "Analyse the chosen channels; only what changed is done again.", self.run)
        self._cancel = button("Cancel", "Stop within a moment; no layer is changed.", self.cancel)
        self._cancel.setEnabled(False)
        self._try = button("Try it", "Open a sample field, analyse it, show table and plot.", self.try_it)
        self._status = QLabel(_OPEN)
        self._status.setWordWrap(True)
        self.plot = PlotTab(self.session)
        self.gates = GatesTab(self.session, self.settings_form.settings, self.form["gates"])
        self.correct = CorrectTab(self.session, self.measure_again, self.job, self._use_cells_model)
        self._teach: TeachTab | None = None
        self._teach_page = QWidget()  # until the tab is looked at
        self.results = ResultsBar(self.session)
        self.results.folder.changed.connect(lambda _: self.marks.keep())
        self.tabs = QTabWidget()
        self.tabs.addTab(column(self.picker, self.settings_form), "Analyse")
        self.tabs.addTab(column(self.puncta, self.marks), "Puncta")
        more = (self.plot, "Plot"), (self.gates, "Gates"), (self.correct, "Correct")
        for tab, title in (*more, (self._teach_page, "Teach")):
            self.tabs.addTab(tab, title)
        self.tabs.currentChanged.connect(self._on_tab)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(row(self._run, self._cancel, self._try))
        layout.addWidget(self._status)
        layout.addWidget(self.results)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_REST_MS)
        self._later.timeout.connect(self._run_later)
        self._open = QTimer(self)
        self._open.setSingleShot(True)
        self._open.setInterval(_AHEAD_MS)
        self._open.timeout.connect(self.load_ahead)
        self.settings_form.changed.connect(self._on_setting)
        self.job.progressed.connect(self._on_progress)
        self.job.busy.connect(self._on_busy)
        self.job.said.connect(self._say)
        self.session.form_settings = self.settings_form.settings
        self.session.form_image = self.picker.as_settings
        self.session.opened.connect(self._on_opened)
        self.session.changed.connect(self._on_changed)
        self.picker.changed.connect(self._on_changed)
        self.picker.changed.connect(self._guide)
        self.picker.moved_on.connect(self._hide_others)
        self.picker.pixel_size.valueChanged.connect(self._guide)

    @property
    def teach(self) -> TeachTab:
        """The teach tab, which is made when it is first looked at: what it needs loads slowly."""
        if self._teach is None:
            from napari_tam._napari._tabs._teach import TeachTab

            self._teach = TeachTab(self.session, self.job, self._apply_model)
            at, shown = self.tabs.indexOf(self._teach_page), self.tabs.currentIndex()
            before = self.tabs.blockSignals(True)
            self.tabs.removeTab(at)
            self.tabs.insertTab(at, self._teach, "Teach")
            self.tabs.setCurrentIndex(shown)
            self.tabs.blockSignals(before)
        return self._teach

    def chosen(self) -> dict[str, Channel]:
        """Return the chosen channels by role; of stacks the plane that is shown, if that is asked for."""
        return self.picker.planes() if self.picker.what == PLANE else self.picker.chosen()

    def choose(self, layers: Mapping[str, Image | Channel | None]) -> None:
        """Choose layers or channels by role; None leaves a role open."""
        self.picker.choose(layers)

    @property
    def pixel_size_um(self) -> float:
        """The pixel size that the form shows, in µm; 0 when it is not known."""
        return float(self.picker.pixel_size.value())

    @pixel_size_um.setter
    def pixel_size_um(self, value: float) -> None:
        self.picker.pixel_size.setValue(value)

    @property
    def idle(self) -> bool:
        """Whether nothing is running, and its result is shown."""
        return self.job.idle and not self.session.showing

    @property
    def status(self) -> str:
        """The line below the buttons."""
        return str(self._status.text())

    def run(self) -> None:
        """Start the analysis of the chosen channels in the background."""
        self._later.stop()
        try:
            self._start()
        except InputError as error:
            self._say(str(error))
            show_error(str(error))

    def cancel(self) -> None:
        """Stop within one tile of a network; no layer is changed."""
        self._trying = False
        self.job.cancel()

    def try_it(self) -> None:
        """Open the first sample field and analyse it; table and plot follow."""
        if not any(channel.image == "field_01" for channel in self.chosen().values()):
            for role in self.chosen():
                self.choose({role: None})
            self._viewer.open_sample("napari-tam", "field_01")
        self._trying = True
        self.run()

    def measure_again(self, found: Found) -> None:
        """Measure a result again with its current corrections; what they do not touch is kept."""
        analysis = found.analysis
        field = analysis.raw or analysis.field
        try:
            if not field.channels:
                raise InputError(
                    "only the results are open, and nothing can be measured without the image",
                    where=found.name,
                    fix="Put the image back where it was, and open the results again",
                )
            own = found.where, found.folder, analysis.settings, self.session, found
            task = one_piece(field, {}, *own)
            if self.job.idle and measured_at_once(self.session, found):
                self._finish(task)
            else:
                self._begin(task)
        except InputError as error:
            show_error(str(error))

    def load_ahead(self) -> None:
        """Load in the background what the first run needs; once."""
        if self._ahead is None and self.job.idle:
            self.session.draw_letters()
            with suppress(InputError):  # the run will say it
                self._ahead = Ahead(self.session, self.settings_form.settings())

    def showEvent(self, event: Any) -> None:
        """Load what is needed soon after the widget is there to be seen."""
        super().showEvent(event)
        if self._ahead is None:
            self._open.start()

    def changeEvent(self, event: Any) -> None:
        """Stop, and let go of the session, when the dock is closed."""
        super().changeEvent(event)
        if taken_out(self, event):
            self._later.stop()
            self._open.stop()
            if self._ahead is not None:
                self._ahead.stop()
            self.correct.let_go()
            self.marks.let_go()
            self.job.abandon()
            self.session.forget_form()
            collect_again()

    def _start(self) -> None:
        channels = self.picker.chosen()
        cell = channels.get("cell")
        if cell is not None and not self.pixel_size_um:
            raise InputError(
                "the pixel size is not known",
                where=f"layer '{cell.layer.name}'",
                fix="Give it in the form, in µm",
            )
        settings = self.settings_form.settings(pixel_size_um=self.pixel_size_um or None)
        self.correct.take_over_changed()
        point = self._viewer.dims.point
        self._begin(task_of(channels, self.picker.what, point, self.pixel_size_um, settings, self.session))

    def _begin(self, task: Task) -> None:
        def done(result: Any) -> None:
            self.results.narrow_tables()
            self.session.put_in_turns(task.found(result), self._on_result)

        self._open.stop()
        if self._ahead is not None:
            self._ahead.stop()  # the run loads what is not loaded yet
        self.job.start(task.work, done, title=f"Uptake in {task.name}")
        self._say("Starting …")

    def _finish(self, task: Task) -> None:
        """Do a task that is quicker done than handed to a thread and back, and show its result."""
        result = _returned(task.work())
        self.results.narrow_tables()
        self._on_result(self.session.put(task.found(result)))

    def _on_result(self, found: Found) -> None:
        summary = found.analysis.summary
        cell, notes = "cell", ""
        if isinstance(found, FoundMovie):
            cell, notes = "track", "".join(f". {note}" for note in found.followed.notes)
        self._say(
            f"{summary['cells']} {cell}{'' if summary['cells'] == 1 else 's'}, {summary['puncta']} puncta "
            f"({summary['puncta_outside']} of them outside the cells){notes}"
        )
        if self._trying:
            self._trying = False
            self.results.open_table()
            self.tabs.setCurrentWidget(self.plot)
            QTimer.singleShot(0, self._viewer.reset_view)  # the table took some of its room

    def _on_tab(self, at: int) -> None:
        if self.tabs.widget(at) is self._teach_page:
            _ = self.teach

    def _on_setting(self, name: str) -> None:
        """Show at once which puncta a moved threshold keeps; the tables follow after a delay."""
        found = self._target()
        if name not in _thresholds() or found is None:
            return
        if found.fixed and found.analysis.candidates is None:
            return  # it would all be analysed again, which may take long: Run does that
        try:
            settings = self.settings_form.settings(pixel_size_um=self.pixel_size_um or None)
        except InputError as error:
            self._say(str(error))
            return
        puncta = self.puncta.show_image(found, settings)
        if puncta is not None:  # else it was opened from a folder: they are looked for once more
            field, edits = found.analysis.field, found.edits
            images = {label: field.channels[role] for label, role in field.exosomes.items()}
            self.session.preview(found, edits.apply(puncta, images, field.pixel_size_um, settings), settings)
        self._later.start()

    def _target(self) -> Found | None:
        """Return the result of the image that is chosen in the form."""
        cell = self.chosen().get("cell")
        return None if cell is None else self.session.found.get(cell.image)

    def _on_changed(self, *_: Any) -> None:
        """Show the threshold that the chosen image's puncta have; or the one that was moved meanwhile."""
        found = self._target()
        if found is None:
            self.puncta.clear()
        elif self._later.isActive():
            self._on_setting("puncta_threshold")
        else:
            self.puncta.show_image(found, found.analysis.settings)

    def _hide_others(self, image: str) -> None:
        """Hide the images before, which would shine through the one that was opened, and look at that one."""
        for layer in self._viewer.layers:
            if layer.metadata.get(KEY, {}).get("image", image) != image:
                layer.visible = False
        self._viewer.reset_view()

    def _guide(self, *_: Any) -> None:
        """Say what is still to be chosen before an image can be analysed."""
        if not self.idle or self._target() is not None:
            return
        missing = missing_roles(self.chosen())
        if not self.picker.offers:
            self._say(_OPEN)
        elif missing:
            roles = " and ".join(_LAYER[role] for role in missing)
            self._say(f"Choose the layer {roles} in the tab Analyse.")
        elif not self.pixel_size_um:
            self._say("Type the pixel size (µm) in the tab Analyse: the image does not tell it.")
        else:
            self._say("Press “Run”.")

    def _on_opened(self, found: Found) -> None:
        """Take over channels and settings of a finished image, and corrections that are not in its tables."""
        mine = {
            known.get("role"): layer
            for layer in self._viewer.layers
            if (known := layer.metadata.get(KEY, {})).get("image") == found.name and "role" in known
        }
        if mine:
            further = {role: layer for role, layer in mine.items() if str(role) not in self.picker.roles}
            self.choose({role: mine.get(role) for role in self.picker.roles} | further)
            if found.analysis.cells.ndim > 2:
                self.picker.what = MOVIE if hasattr(found, "over_time") else VOLUME
        self.settings_form.take(found.analysis.settings)
        self._later.stop()
        self._on_changed()
        self._say(f"{found.name} is open with its results; the form has the settings they were made with.")
        if found.edits is not found.analysis.edits and self.job.idle and found.analysis.raw is not None:
            self.measure_again(found)  # corrected after the folder's tables were written

    def _run_later(self) -> None:
        if self.idle:
            self.run()
        else:
            self._later.start()

    def _use_cells_model(self, folder: Path) -> None:
        self.session.forget_models()  # the folder may have held another network
        self.form["cells_model"].value = str(folder)

    def _apply_model(self, folder: Path) -> None:
        self.form["phenotype_model"].value = str(folder)
        self.run()

    def _on_progress(self, progress: Progress | Early) -> None:
        if isinstance(progress, Early):
            self.session.early.show(progress)
            return
        text = f"Step {progress.done + 1} of {progress.total}: {progress.step} …"
        self._say(progress.text if isinstance(progress, Part) else text)

    def _on_busy(self, busy: bool) -> None:
        self._run.setEnabled(not busy)
        self._try.setEnabled(not busy)
        self._cancel.setEnabled(busy)
        if not busy and not self.session.showing:
            self.session.early.forget()  # it was stopped, or failed

    def _say(self, text: str) -> None:
        self._status.setText(text)


def _returned(work: Generator[Any, None, Any]) -> Any:
    """Drive a generator to its end, and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


#: What is said before an image is there.
_OPEN = "Open an image with a cell stain and an exosome label, or press “Try it”."

#: Layers that an analysis needs.
_LAYER = {"cell": "of the cell stain", "exosome": "of the exosomes"}


@cache
def _thresholds() -> tuple[str, ...]:
    """Return the settings that only choose among the candidates of puncta: their effect is shown at once."""
    from napari_tam.settings import Settings

    return tuple(
        name
        for name, schema in Settings.model_json_schema()["properties"].items()
        if schema["group"] == "puncta" and schema["enters"] == ["measure"]
    )
