"""Which layer, or which channel of a layer, plays which role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QListWidget, QListWidgetItem, QWidget

from napari_tam._napari._channel import Channel, file_facts, pixel_size_um
from napari_tam._napari._controls import Combo, Number
from napari_tam._napari._layers import KEY
from napari_tam._napari._whole._axes import PLANE, WORDS, offered
from napari_tam.errors import InputError
from napari_tam.io.channels import guess_roles
from napari_tam.io.stack import CHANNEL_COUNTS
from napari_tam.markers.labels import EXOSOME, exosome_role, label_of
from napari_tam.markers.names import MARKER, is_marker_role, marker_role
from napari_tam.settings import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import napari.viewer

_TOOLTIPS = {
    "cell": "Stain of the whole cell: actin, membrane, cytoplasm.",
    "nucleus": "Nuclear stain; may be left out.",
    "exosome": "The labelled exosomes.",
    "lysosome": "Lysosome marker; may be left out.",
    "extra": "Carried along and measured; may be left out.",
}


@dataclass(frozen=True)
class Choice:
    """An entry of the role lists."""

    channel: Channel
    text: str
    #: What its role may be guessed from.
    names: str = ""

    @property
    def image(self) -> str:
        """The image that its file is said to be of; empty for a layer that another reader opened."""
        return str(self.channel.layer.metadata.get(KEY, {}).get("image", ""))

    @property
    def in_file(self) -> str | int | None:
        """What the channel is called in its file, or its number there; None where that is not known."""
        if self.channel.index is not None:
            return self.channel.index
        number = re.fullmatch(r"channel (\d+)", self.marker)
        return (int(number[1]) if number else self.marker) if self.image else None

    @property
    def marker(self) -> str:
        """What the channel is called as a marker: without the name of its image."""
        name = self.names or self.text
        return name.removeprefix(self.channel.image).strip() or name


class ChannelPicker(QWidget):
    """A list of channels for every role, and the pixel size."""

    changed = Signal()
    #: Another image was opened, and the roles are its own from now on; with its name.
    moved_on = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._choices: list[Choice] = []
        self._fresh: list[Choice] = []  # opened since roles were guessed
        self._earlier: dict[str, str] = {}  # what the channels of the image before were called, by role
        self.roles = {role: Combo() for role in ROLES}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for role, combo in self.roles.items():
            combo.setToolTip(_TOOLTIPS[role])
            combo.addItem("–")
            combo.currentIndexChanged.connect(lambda _, role=role: self._on_choice(role))
            form.addRow(role, combo)
        self.others = self._list(
            "Further exosome labels, each counted by itself: tick those besides the one that is chosen above."
        )
        form.addRow("more exosomes", self.others)
        self.markers = self._list("Markers to measure in every cell: tick any number (CD86, CD206, EpCAM).")
        form.addRow(MARKER, self.markers)
        self.pixel_size = Number(0, 1000)
        self.pixel_size.setSpecialValueText("?")
        self.pixel_size.setToolTip("From the layer's scale if its units are lengths, or from its file.")
        form.addRow("pixel size [µm]", self.pixel_size)
        self.scope = Combo()
        self.scope.setToolTip(
            "<qt>Of a z-stack or a movie: the plane that is shown when you press Run, the whole stack in "
            "3-D, or all frames, with the cells followed through them.</qt>"
        )
        self._scope_row = QLabel("analyse")
        form.addRow(self._scope_row, self.scope)
        self.changed.connect(self._on_changed)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Offer the viewer's present channels; guess the roles that are open from new ones' names."""
        choices = _choices([layer for layer in self._viewer.layers if isinstance(layer, Image)])
        if choices == self._choices:
            return
        new = [choice for choice in choices if choice not in self._choices]
        chosen = self.chosen()
        self._choices = choices
        for role, combo in self.roles.items():
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(["–", *(choice.text for choice in choices)])
            combo.setCurrentIndex(self._index(first_exosome(chosen, role)))
            combo.blockSignals(False)
        self._offer(chosen)
        if "cell" in chosen and "cell" not in self.chosen():
            self.pixel_size.setValue(0)
        self._fresh = [choice for choice in choices if choice in new or choice in self._fresh]
        later = self._later_image(new)
        if later:
            self._let_go()
            self._fresh = [choice for choice in choices if choice.image == later]
        guessed = guess_roles([choice.names if choice in self._fresh else "" for choice in choices])
        # The roles of one field, not of a mixture; a field that was opened later is the one to go on with.
        if {"cell", "exosome"} <= set(guessed) or not set(guessed) & set(self.chosen()):
            for role, combo in self.roles.items():
                if role in guessed or {"cell", "exosome"} <= set(guessed):
                    combo.setCurrentIndex(guessed.get(role, -1) + 1)
            taken = set(self.chosen().values())
            self._fresh = [choice for choice in self._fresh if choice.channel not in taken]
        self._choose_as_before()
        self.changed.emit()
        if later:
            self.moved_on.emit(later)

    def _later_image(self, new: list[Choice]) -> str:
        """Return the image that was just opened, if the roles are those of another one; empty if not.

        It has two channels or more: a single one may be a further channel of the image at hand.
        """
        held = {channel.image for channel in self.chosen().values()}
        for choice in new:
            alike = [each for each in self._choices if each.image == choice.image]
            if choice.image and held and choice.image not in held and len(alike) > 1:
                return choice.image
        return ""

    def _let_go(self) -> None:
        """Leave all roles open, and remember what their channels were called."""
        named = {choice.channel: choice.marker for choice in self._choices}
        chosen = {role: named.get(channel, "") for role, channel in self.chosen().items()}
        self._earlier = {role: name for role, name in chosen.items() if role in self.roles}
        for combo in self.roles.values():
            combo.blockSignals(True)
            combo.setCurrentIndex(0)
            combo.blockSignals(False)
        self._offer({})
        self.pixel_size.setValue(0)

    def _choose_as_before(self) -> None:
        """Give roles that are open to new channels of the names that had them in the image before."""
        for role, name in self._earlier.items():
            combo = self.roles[role]
            found = [at for at, choice in enumerate(self._choices) if choice in self._fresh]
            found = [at for at in found if self._choices[at].marker == name]
            if name and len(found) == 1 and combo.currentIndex() == 0:
                combo.setCurrentIndex(found[0] + 1)

    @property
    def offers(self) -> bool:
        """Whether there is any channel to choose."""
        return bool(self._choices)

    def chosen(self) -> dict[str, Channel]:
        """Return the chosen channels by role."""
        found = {role: combo.currentIndex() for role, combo in self.roles.items()}
        chosen = {role: self._choices[index - 1].channel for role, index in found.items() if index > 0}
        further = [choice for choice in self._ticked(self.others) if choice.channel != chosen.get(EXOSOME)]
        if EXOSOME in chosen and further:
            at = list(chosen).index(EXOSOME)
            first = self._choices[self.roles[EXOSOME].currentIndex() - 1]
            labels = {exosome_role(choice.marker): choice.channel for choice in (first, *further)}
            items = [item for item in chosen.items() if item[0] != EXOSOME]
            chosen = dict([*items[:at], *labels.items(), *items[at:]])
        return chosen | {marker_role(choice.marker): choice.channel for choice in self._ticked(self.markers)}

    def _list(self, tip: str) -> QListWidget:
        """Return a list of channels to tick."""
        made = QListWidget()
        made.setToolTip(tip)
        made.setMaximumHeight(4 * made.fontMetrics().height())
        made.itemChanged.connect(lambda _: self.changed.emit())
        return made

    def _ticked(self, listed: QListWidget) -> list[Choice]:
        """Return what is ticked in a list."""
        items = ((choice, listed.item(index)) for index, choice in enumerate(self._choices))
        return [
            choice
            for choice, item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        ]

    def as_settings(self) -> dict[str, Any]:
        """Return the settings `channels` and `pixel_size_um` that say of other files what the form says.

        Without markers and further exosome labels; what is known by no name or number is left out.
        """
        known = {choice.channel: choice.in_file for choice in self._choices}
        chosen = {role: combo.currentIndex() for role, combo in self.roles.items()}
        named = {role: known[self._choices[at - 1].channel] for role, at in chosen.items() if at > 0}
        channels = {role: name for role, name in named.items() if name is not None}
        return {"channels": channels, "pixel_size_um": float(self.pixel_size.value()) or None}

    def planes(self) -> dict[str, Channel]:
        """Return the chosen channels; if the cells' is a stack or movie, the plane that is shown."""
        chosen = self.chosen()
        if not self.scope.count():
            return chosen
        point = self._viewer.dims.point
        return {role: channel.shown(point) for role, channel in chosen.items()}

    @property
    def what(self) -> str:
        """What of the image is analysed: `napari_tam._napari._whole._axes.PLANE`, ``VOLUME`` or ``MOVIE``."""
        return str(self.scope.currentData() or PLANE)

    @what.setter
    def what(self, wanted: str) -> None:
        self.scope.setCurrentIndex(max(0, self.scope.findData(wanted)))

    def choose(self, wanted: Mapping[str, Image | Channel | None]) -> None:
        """Choose layers or channels by role; None leaves a role open."""
        before = self.chosen()
        ticked = {role: channel for role, channel in before.items() if role not in self.roles}
        labels = [role for role, channel in wanted.items() if label_of(role) and channel is not None]
        if labels or EXOSOME in wanted:  # other labels than before
            ticked = {role: channel for role, channel in ticked.items() if not label_of(role)}
        for role, given in wanted.items():
            channel = Channel(given) if isinstance(given, Image) else given
            if channel is not None and self._index(channel) == 0:
                self._choices.append(Choice(channel, channel.name))
                for combo in self.roles.values():
                    combo.addItem(channel.name)
            if role in self.roles or role in labels[:1]:
                if role == EXOSOME and labels:
                    continue
                self.roles[EXOSOME if role in labels else role].setCurrentIndex(self._index(channel))
            elif channel is not None:
                ticked[role] = channel
        self._offer(ticked)
        if self.chosen() != before:
            self.changed.emit()

    def _offer(self, chosen: Mapping[str, Channel]) -> None:
        """List all channels as possible markers and exosomes; those with such roles are ticked."""
        for listed, is_its in ((self.markers, is_marker_role), (self.others, label_of)):
            ticked = {channel for role, channel in chosen.items() if is_its(role)}
            listed.blockSignals(True)
            listed.clear()
            for choice in self._choices:
                item = QListWidgetItem(choice.text)
                state = Qt.CheckState.Checked if choice.channel in ticked else Qt.CheckState.Unchecked
                item.setCheckState(state)
                listed.addItem(item)
            listed.blockSignals(False)

    def _on_changed(self) -> None:
        cell = self.chosen().get("cell")
        choices = [] if cell is None else offered(cell)
        if choices != [self.scope.itemData(at) for at in range(self.scope.count())]:
            before = self.what
            self.scope.clear()
            for choice in choices:
                self.scope.addItem(WORDS[choice], choice)
            self.what = before
        for part in (self._scope_row, self.scope):
            part.setVisible(bool(choices))

    def _index(self, channel: Channel | None) -> int:
        known = [choice.channel for choice in self._choices]
        return known.index(channel) + 1 if channel in known else 0

    def _on_choice(self, role: str) -> None:
        if role == "cell" and (channel := self.chosen().get("cell")) is not None:
            try:
                self.pixel_size.setValue(pixel_size_um(channel) or 0)
            except InputError as error:
                self.pixel_size.setValue(0)
                show_error(str(error))
        self.changed.emit()


def first_exosome(chosen: Mapping[str, Channel], role: str) -> Channel | None:
    """Return the channel of a role in the form, where the first of several exosome labels is the exosomes."""
    if role != EXOSOME or role in chosen:
        return chosen.get(role)
    return next((channel for name, channel in chosen.items() if label_of(name)), None)


def _choices(layers: list[Image]) -> list[Choice]:
    """Return every layer, of a layer with a channel axis its channels.

    Whether a short first axis is of channels or of planes only the file can tell; else both are offered.
    """
    found = []
    shapes = [layer.data.shape for layer in layers if not layer.multiscale]
    for layer in layers:
        count = layer.data.shape[0] if layer.ndim == 3 and not layer.rgb and not layer.multiscale else 0
        if count not in CHANNEL_COUNTS:
            found.append(Choice(Channel(layer), layer.name, layer.name))
            continue
        path = layer.source.path
        names = file_facts(Path(path)).channel_names if path else ()
        for index in range(count):
            name = names[index] if index < len(names) else ""
            text = f"{layer.name} [{index}]" if not name else f"{name} ({layer.name} [{index}])"
            found.append(Choice(Channel(layer, index), text, name))
        if not any(names):
            alike = shapes.count(layer.data.shape) > 1  # channels that are stacks, a layer each
            found.append(Choice(Channel(layer), f"{layer.name} (a stack)", layer.name if alike else ""))
    return found
