"""The threshold of the puncta: where it lies, how it was found, and what it leaves out."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from psygnal import Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_tam._napari._controls import Combo, button, row
from napari_tam._napari._judged import batch_threshold, find_automatic, judge
from napari_tam._napari._layers import KEY, puncta_key
from napari_tam._napari._left_out import COLOURS, LEFT_OUT, LeftOut, counts
from napari_tam._napari._results import chosen, fill
from napari_tam._napari._tabs._score_plot import ScorePlot
from napari_tam._napari._tabs._threshold_plot import ThresholdPlot
from napari_tam.markers.labels import labels_of, rows_of
from napari_tam.puncta.selection import KEPT, REASONS
from napari_tam.puncta.threshold import Threshold

if TYPE_CHECKING:
    from napari_tam._napari._found import Found
    from napari_tam._napari._judged import Judged
    from napari_tam._napari._session import Session
    from napari_tam._napari._tabs._form import Entry
    from napari_tam.settings import Settings

#: The puncta's own colour, a yellow that is visible on light themes too.
_KEPT = "#F0E442"

_EMPTY = (
    "Run an analysis; then the contrasts of its candidates are shown here, and the threshold can be dragged."
)
_UNKNOWN = "The candidates are looked for once more when a threshold is moved, or with Run."

_WITH_RUN = "What lies below it was not kept: another threshold counts from the next Run on."


class PunctaPanel(QWidget):
    """Contrasts of an image's candidates, the threshold as a line to drag, and what was left out.

    Parameters
    ----------
    session
        The viewer's results.
    entry, entries, score
        The settings `puncta_threshold` and, with several exosome labels, `puncta_thresholds` in the form,
        and `puncta_score`; dragged lines change them.
    """

    #: Emitted when an image, or none, is shown.
    shown = Signal()

    def __init__(self, session: Session, entry: Entry, entries: Entry, score: Entry) -> None:
        super().__init__()
        self._session, self._entry, self._entries = session, entry, entries
        self.label = Combo()
        self.label.setToolTip("The exosome label whose candidates and threshold are shown.")
        self.label.activated.connect(lambda _: self._on_label())
        self.label.setVisible(False)
        self._image: Found | None = None
        self._settings: Settings | None = None
        self._left_out = LeftOut(session)
        self._shown: tuple[Found, Judged] | None = None
        self._of_batch: tuple[Found, str, Threshold | None] | None = None
        self.plot = ThresholdPlot(_KEPT, COLOURS["contrast"])
        self.plot.setToolTip(
            "<qt>How far candidates stand out, in SD of the structure around them. Drag the line: puncta are "
            "what is at its right.</qt>"
        )
        self.plot.moved.connect(self._on_moved)
        self.scores = ScorePlot(_KEPT, COLOURS["score"])
        self.scores.setToolTip(
            "<qt>How sure the network is of the candidates that the threshold keeps. Drag the line: puncta "
            "are what is at its right.</qt>"
        )
        self.scores.moved.connect(partial(setattr, score, "value"))
        self.text = QLabel(_EMPTY)
        self.text.setWordWrap(True)
        self.automatic = button(
            "Automatic", "Let the image's own candidates tell the threshold.", self.set_automatic
        )
        self.switch = QCheckBox("show what was left out")
        self.switch.setToolTip(
            "<qt>A layer with the candidates that are no puncta. Hold the mouse over one, and the status bar "
            "says why.</qt>"
        )
        self.switch.toggled.connect(self._on_switch)
        self.legend = QLabel("")
        self.legend.setWordWrap(True)
        self.legend.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = self.label, self.plot, self.scores, self.text, row(self.switch, self.automatic), self.legend
        for part in parts:
            layout.addWidget(part)
        session.viewer.layers.events.removed.connect(self._on_removed)
        self.clear()

    @property
    def image(self) -> Found | None:
        """The image that is shown."""
        return self._image

    @property
    def label_shown(self) -> str:
        """The exosome label that is shown; empty for a single one."""
        return chosen(self.label)

    @property
    def layer_key(self) -> str:
        """The key of the puncta of that label among the layers of the image."""
        return puncta_key(max(self.label.currentIndex(), 0), self.label_shown)

    @property
    def automatic_value(self) -> float:
        """The threshold that the image's own candidates tell; 1: none."""
        known = None if self._image is None else self._image.automatic
        return 1.0 if known is None else known.thresholds.get(self.label_shown, Threshold()).value

    def show_image(self, found: Found, settings: Settings) -> pd.DataFrame | None:
        """Show an image's candidates under some settings.

        Returns its puncta, of all exosome labels; or None where the candidates are not known.
        """
        labels = labels_of(found.analysis.table.columns)
        fill(self.label, labels, chosen(self.label), columns=False)
        self.label.setVisible(bool(labels))
        self._image, self._settings = found, settings
        candidates = found.analysis.candidates
        if candidates is None:
            self._show_unknown(found, settings)
            self.shown.emit()
            return None
        if found.automatic is None or found.automatic.candidates is not candidates:
            found.automatic = find_automatic(candidates, settings)
        # That of another score is found by the run that follows: meanwhile the line stays where it is.
        automatic = found.automatic.thresholds
        each = {
            label: judge(rows_of(candidates, label), settings, automatic.get(label, Threshold()), label)
            for label in labels or [""]
        }
        judged = each[chosen(self.label) if labels else ""]
        self._shown = found, judged
        batch = self._batch(found)
        self.plot.show_contrasts(judged.contrast, judged.threshold.value, batch.value if batch else None)
        undecided = np.isin(judged.reasons.astype(str), (KEPT, "score"))
        self.scores.show_scores(
            judged.candidates.loc[undecided, "score"].to_numpy(float), settings.puncta_score
        )
        self._explain(judged, batch)
        self.setEnabled(True)
        if self.switch.isChecked():
            self._left_out.show(found, judged)
        self.shown.emit()
        return pd.concat([one.puncta for one in each.values()], ignore_index=True)

    def clear(self) -> None:
        """Show no image."""
        self._shown = self._image = None
        self.plot.clear()
        self.scores.clear()
        self.text.setText(_EMPTY)
        self.legend.setText("")
        self.setEnabled(False)
        self.shown.emit()

    def set_automatic(self) -> None:
        """Leave the threshold open again."""
        self._entries.value = self._others()
        self._entry.value = None

    def _show_unknown(self, found: Found, settings: Settings) -> None:
        """Of an image opened from a folder, only the puncta are known."""
        label = chosen(self.label)
        puncta, asked = rows_of(found.analysis.puncta, label), settings.threshold_of(label)
        batch = self._batch(found)
        if "contrast" not in puncta:
            self.clear()
            return
        self._shown = None
        learnt = (found.analysis.thresholds or {}).get(label)
        if learnt is not None and asked in (None, learnt.value):
            value, said = learnt.value, _sentence(learnt.value, learnt.rule, learnt.reason, batch)
        else:
            value = 1.0 if asked is None else asked
            said = "Threshold: automatic." if asked is None else _sentence(asked, "given", "", batch)
        self.plot.show_contrasts(puncta["contrast"].to_numpy(float), value, batch.value if batch else None)
        self.scores.show_scores(puncta["score"].to_numpy(float), settings.puncta_score)
        self.text.setText(f"{said} {_WITH_RUN if found.fixed else _UNKNOWN}")
        self.legend.setText("")
        self.setEnabled(True)

    def _batch(self, found: Found) -> Threshold | None:
        label = chosen(self.label)
        if self._of_batch is None or self._of_batch[0] is not found or self._of_batch[1] != label:
            self._of_batch = found, label, batch_threshold(found.folder, label)
        return self._of_batch[2]

    def _others(self) -> dict[str, float]:
        """Return the thresholds of the labels that are not shown, as the form has them."""
        known = self._entries.value if isinstance(self._entries.value, dict) else {}
        return {name: value for name, value in known.items() if name != chosen(self.label)}

    def _on_label(self) -> None:
        if self._image is not None and self._settings is not None:
            self.show_image(self._image, self._settings)

    def _explain(self, judged: Judged, batch: Threshold | None) -> None:
        threshold = judged.threshold
        said = _sentence(threshold.value, threshold.rule, threshold.reason, batch)
        kept, below = (f"<span style='color:{colour}'>■</span>" for colour in (_KEPT, COLOURS["contrast"]))
        said += f"<br>{kept} <b>{len(judged.puncta)}</b> puncta found"
        said += f", {below} <b>{judged.below}</b> left out by the threshold."
        self.text.setText(said)
        lines = [
            f"<span style='color:{COLOURS[reason]}'>◆</span> {reason} ({count}): {escape(REASONS[reason])}"
            for reason, count in counts(judged).items()
            if count
        ]
        self.legend.setText("<br>".join(["Left out:", *lines]) if lines else "Nothing was left out.")

    def _on_moved(self, value: float) -> None:
        if chosen(self.label):
            self._entries.value = {**self._others(), chosen(self.label): value}
        else:
            self._entry.value = value

    def _on_switch(self, on: bool) -> None:
        self.legend.setVisible(on)
        if not on:
            self._left_out.hide()
        elif self._shown is not None:
            found, judged = self._shown
            self._left_out.show(found, judged)
            # The status bar tells of the active layer.
            self._session.viewer.layers.selection.active = found.layers[LEFT_OUT]

    def _on_removed(self, event: Any) -> None:
        """Follow a user who deletes the layer."""
        if event.value.metadata.get(KEY, {}).get("kind") == LEFT_OUT:
            self.switch.setChecked(False)


def _sentence(value: float, rule: str, reason: str, batch: Threshold | None) -> str:
    """Say what the threshold is and where it comes from, in HTML."""
    number = f"<b>{value:g}</b>" if value > 1 else "<b>none</b>"
    if rule == "given" and batch is not None and batch.value == value:
        return f"Threshold {number}, found for the whole batch: {escape(batch.reason)}."
    origin = "set by you" if rule == "given" else f"automatic, from this image alone: {escape(reason)}"
    own = "" if batch is None else f" The batch's own is {batch.value:g} (dotted line)."
    return f"Threshold {number}, {origin}.{own}"
