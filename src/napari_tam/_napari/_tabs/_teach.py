"""The teach tab: click cells of each class, train, look at the figures, apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QCheckBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_tam._napari._controls import Combo, PathEdit, Report, button, row
from napari_tam._napari._session import TAUGHT
from napari_tam.errors import InputError
from napari_tam.progress import Progress
from napari_tam.train.teaching import counts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from napari_tam._napari._found import Found
    from napari_tam._napari._job import Job
    from napari_tam._napari._session import Session
    from napari_tam.pipeline.analysis import Analysis

_HELP = (
    "Tick “label by clicking” and click cells in the viewer: at least 10 of each class, better 50, best in "
    "several images (each image is then left out once to see how good the model is on a new one)."
)


class TeachTab(QWidget):
    """Teach phenotypes by clicking.

    Parameters
    ----------
    session, job
        The viewer's results, and what runs in the background.
    apply
        Classifies the current image with the model in a folder.
    """

    def __init__(self, session: Session, job: Job, apply: Callable[[Path], None]) -> None:
        super().__init__()
        self._session, self._job, self._apply = session, job, apply
        self._column = ""
        self.names = QLineEdit("M1, M2")
        self.names.setToolTip("The classes, separated by commas.")
        self.current = Combo()
        self.names.editingFinished.connect(self._on_names)
        self.active = QCheckBox("label by clicking")
        self.active.toggled.connect(self._on_active)
        self.count = QLabel("")
        self.count.setWordWrap(True)
        self.folder = PathEdit("Folder for the model", hint="folder for the model")
        self.report = Report("How good the model is, once it is trained.", job)
        text = QLabel(_HELP)
        text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(text)
        layout.addWidget(row(QLabel("classes"), self.names))
        layout.addWidget(row(self.active, QLabel("as"), self.current))
        layout.addWidget(self.count)
        layout.addWidget(row(QLabel("save in"), self.folder))
        train = button("Train", "Cross-validate, then train on all labelled cells.", self.train)
        use = button("Apply", "Tell this image's phenotypes by the model in the folder.", self.apply)
        forget = button("Forget clicks", "Take all classes back.", self.forget)
        layout.addWidget(row(train, use, forget))
        layout.addWidget(self.report, 1)
        session.changed.connect(self._count)
        self._on_names()

    def label(self, found: Found, label: int) -> bool:
        """Give a cell the current class; a second time removes it."""
        if not self.active.isChecked():
            return False
        if found.fixed:
            show_error("Classes are taught on planes that are analysed in one piece")
            return True
        name = self.current.currentText()
        if not name:
            show_error("Name the classes first, separated by commas")
        elif found.taught.get(label) == name:
            del found.taught[label]
        else:
            found.taught[label] = name
        self._session.colour(found, TAUGHT)
        self._session.changed.emit(found)
        return True

    def train(self) -> None:
        """Train on the labelled cells of all open images, in the background."""
        out = self.folder.value
        examples = [(f.analysis, dict(f.taught)) for f in self._session.found.values() if f.taught]
        try:
            if out is None:
                raise InputError("no folder is chosen for the model", fix="Choose one beside 'save in'")
            self._job.start(
                lambda: _train(examples, out), self._on_trained, total=1, title="Training the phenotype model"
            )
            self.report.begin()
        except InputError as error:
            show_error(str(error))

    def apply(self) -> None:
        """Classify with the model in the folder."""
        folder = self.folder.value
        if folder is None or not (folder / "phenotype.json").exists():
            show_error("There is no model in the folder: train one, or choose the folder of one")
            return
        self.active.setChecked(False)
        self._session.forget_models()
        self._apply(folder)

    def forget(self) -> None:
        """Take all classes back."""
        for found in self._session.found.values():
            found.taught.clear()
            self._session.colour(found)
        self._count()

    def _on_trained(self, lines: list[str]) -> None:
        self.report.setPlainText("\n".join(lines))
        self._job.said.emit(f"Trained: the model is in {self.folder.value}. “Apply” uses it.")

    def _on_names(self) -> None:
        names = [name.strip() for name in self.names.text().split(",") if name.strip()]
        chosen = self.current.currentText()
        self.current.clear()
        self.current.addItems(names)
        self.current.setCurrentText(chosen if chosen in names else (names[0] if names else ""))
        self._count()

    def _on_active(self, on: bool) -> None:
        self._session.on_click = self.label if on else None
        found = self._session.current
        if found is None:
            return
        if on:
            self._column = found.column
            self._session.select(found, ())
        self._session.colour(found, TAUGHT if on else self._column or "puncta_count")
        self._session.changed.emit(found)

    def _count(self, *_: Any) -> None:
        taught = [found.taught for found in self._session.found.values() if found.taught]
        known = counts(taught)
        names = [self.current.itemText(at) for at in range(self.current.count())]
        parts = [f"{name}: {known.get(name, 0)}" for name in dict.fromkeys([*names, *known])]
        images = f" in {len(taught)} image{'s' if len(taught) != 1 else ''}" if taught else ""
        self.count.setText(f"labelled: {', '.join(parts)}{images}")


def _train(
    examples: Sequence[tuple[Analysis, Mapping[int, str]]], out: Path
) -> Generator[Progress, None, list[str]]:
    """Train and save; returns the report's lines."""
    from napari_tam.phenotype.classify import load_classifier
    from napari_tam.stopping import checkpoint
    from napari_tam.train.phenotype import Recipe, train
    from napari_tam.train.teaching import save_trained, taught_cells

    yield Progress("train", 0, 1)
    cells = taught_cells(examples)
    bundled = load_classifier("phenotype")
    start = None if bundled is None else bundled.model
    single = len(set(cells.groups)) == 1
    model, report = train(cells, Recipe(), start, allow_single_group=single, tell=lambda _: checkpoint())
    names = ", ".join(sorted(set(cells.groups)))
    return save_trained(
        model, report, out, cells=len(cells), data=names, source="clicked in napari", start=start, seed=0
    )
