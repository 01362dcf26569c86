"""The part of the correct tab that trains the cell network on the corrected masks of the open images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_tam._napari._controls import PathEdit, Report, button, row
from napari_tam.errors import InputError
from napari_tam.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari_tam._napari._job import Job
    from napari_tam._napari._session import Session
    from napari_tam.pipeline.analysis import Analysis


class TrainCells(QWidget):
    """Fine-tune the bundled network on corrected cells, and offer the result.

    Parameters
    ----------
    session, job
        The viewer's results, and what runs in the background.
    use
        Puts a model folder into the form.
    """

    def __init__(self, session: Session, job: Job, use: Callable[[Path], None]) -> None:
        super().__init__()
        self._session, self._job, self._use = session, job, use
        self._trained: Path | None = None
        self.folder = PathEdit("Folder for the cell model", hint="folder for the cell model")
        self.report = Report("Before and after, on images that were left out.", job)
        self._offer = button(
            "Use this model", "Put it into the form (cells model); Run then segments with it.", self.use
        )
        self._offer.setEnabled(False)
        train = button(
            "Train segmentation on the corrected masks",
            "Takes the open images whose cells you corrected and measured, two or more. Minutes.",
            self.train,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(QLabel("save in"), self.folder))
        layout.addWidget(train)
        layout.addWidget(self._offer)
        layout.addWidget(self.report, 1)
        job.busy.connect(self._on_busy)

    def train(self) -> None:
        """Train on the open images whose cells were corrected, in the background."""
        out = self.folder.value
        corrected = [f.analysis for f in self._session.found.values() if f.analysis.edits.cells is not None]
        try:
            if out is None:
                raise InputError("no folder is chosen for the model", fix="Choose one beside 'save in'")
            if len(corrected) < 2:
                raise InputError(
                    f"{len(corrected)} of the open images have corrected cells, and two are needed: one is "
                    "left out to tell whether the network becomes better",
                    fix="Correct the cells of a second image, and press Update measurements",
                )
            self._job.start(
                lambda: _train(corrected, out), self._on_trained, total=0, title="Training the cell network"
            )
            self._offer.setEnabled(False)
            self.report.begin()
        except InputError as error:
            show_error(str(error))

    def _on_busy(self, busy: bool) -> None:
        if not busy:  # also after a refusal or a cancel
            self._offer.setEnabled(self._trained is not None)

    def use(self) -> None:
        """Choose the trained model in the form."""
        if self._trained is not None:
            self._use(self._trained)
            self._job.said.emit("The form has the trained model; Run segments with it.")

    def _on_trained(self, outcome: tuple[list[str], Path | None]) -> None:
        lines, self._trained = outcome
        self.report.setPlainText("\n".join(lines))
        self._offer.setEnabled(self._trained is not None)
        self._job.said.emit(lines[-1])


def _train(
    corrected: Sequence[Analysis], out: Path
) -> Generator[Progress, None, tuple[list[str], Path | None]]:
    """Train, and save what did not become worse; returns the report's lines and the folder, if any."""
    yield Progress("load the network", 0, 1)
    import torch

    from napari_tam.networks.cards import SMALL_CELLS, bundled_cards
    from napari_tam.networks.devices import choose_device
    from napari_tam.train.finetune import Recipe, finetune
    from napari_tam.train.judgement import report_lines, save, verdict
    from napari_tam.train.training_set import training_field

    fields = []
    for analysis in corrected:
        source = analysis.field.source
        group = "" if source is None else str(source)
        fields.append(training_field(analysis.field, analysis.cells, group))
    settings: Any = corrected[0].settings
    device = torch.device(choose_device(settings.device))
    model = yield from finetune(fields, bundled_cards()[SMALL_CELLS], Recipe(), settings, device)
    if model.adopted:
        save(model, out)
    return [*report_lines(model.report), "", verdict(model)], out if model.adopted else None
