"""The form: an entry for every setting, made from what `Settings` says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QLabel, QLineEdit, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_tam._napari._controls import Combo, Number, button, row
from napari_tam.columns import CELL_COLUMNS, DECISION_COLUMNS, title_of
from napari_tam.errors import InputError
from napari_tam.files import write_text
from napari_tam.presets import PRESETS
from napari_tam.settings import Settings

#: Settings that are taken from the layers.
FROM_LAYERS = ("channels", "pixel_size_um")

#: Unit → how the names of settings in it end.
_ENDS = {"µm": "_um", "µm²": "_um2", "min": "_min", "px": "_px"}

#: The highest number that an entry takes where `Settings` states no limit.
_NO_LIMIT = 1e6


class Entry:
    """One setting: a widget and its value."""

    changed = Signal()

    def __init__(self, schema: dict[str, Any]) -> None:
        self.optional = any(part.get("type") == "null" for part in schema.get("anyOf", ()))
        inner = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
        kind = "enum" if "enum" in inner else str(inner.get("type", "string"))
        self.kind = kind
        self.widget: Any
        if kind == "enum":
            self.widget = Combo()
            for at, value in enumerate(map(str, inner["enum"])):
                self.widget.addItem(words(value), value)
                self.widget.setItemData(at, value, Qt.ItemDataRole.ToolTipRole)
            self.widget.currentTextChanged.connect(self._tell)
        elif kind == "boolean":
            self.widget = QCheckBox()
            self.widget.toggled.connect(self._tell)
        elif kind in ("number", "integer"):
            # An unset number is shown as "auto", at the lowest value, which none may have.
            high = inner.get("maximum", inner.get("exclusiveMaximum", _NO_LIMIT))
            self.widget = Number(inner.get("minimum", 0), high, whole=kind == "integer")
            if self.optional:
                self.widget.setSpecialValueText("auto")
            self.widget.valueChanged.connect(self._tell)
        else:
            self.widget = QLineEdit()
            self.widget.editingFinished.connect(self._tell)

    def _tell(self, *_: object) -> None:
        self.changed.emit()

    @property
    def value(self) -> Any:
        """The value for `Settings`; text that is not a valid mapping is left as it is."""
        if self.kind == "enum":
            return self.widget.currentData()
        if self.kind == "boolean":
            return self.widget.isChecked()
        if self.kind in ("number", "integer"):
            number = self.widget.value()
            if self.optional and number == self.widget.minimum():
                return None
            return int(number) if self.kind == "integer" else number
        text = self.widget.text().strip()
        if self.kind == "string":
            return text
        try:
            return yaml.safe_load("{" + text + "}")
        except yaml.YAMLError:
            return text

    @value.setter
    def value(self, value: Any) -> None:
        if self.kind == "enum":
            self.widget.setCurrentIndex(self.widget.findData(str(value)))
        elif self.kind == "boolean":
            self.widget.setChecked(bool(value))
        elif self.kind in ("number", "integer"):
            self.widget.setValue(self.widget.minimum() if value is None else value)
        elif self.kind == "string":
            self.widget.setText(str(value))
        else:
            plain = {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
            text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, allow_unicode=True)
            self.widget.setText(text.strip()[1:-1])
        if self.kind in ("string", "object"):
            self._tell()


class SettingsForm(QWidget):
    """All settings: the common ones first, the others folded away by group."""

    #: Emitted with the name of a setting that changed.
    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.preset = Combo()
        self.preset.addItems([preset.name for preset in PRESETS])
        for number, preset in enumerate(PRESETS):
            self.preset.setItemData(number, preset.purpose, 3)  # 3: the role of a tooltip
        self.preset.activated.connect(lambda number: self.take(Settings(**PRESETS[number].values)))
        load = button("Load …", "Read a settings file (YAML), as 'napari-tam analyse' takes it.", self._load)
        save = button("Save …", "Write these settings to a file for 'napari-tam analyse'.", self._save)
        layout.addWidget(row(QLabel("preset"), self.preset, load, save))
        self.entries: dict[str, Entry] = {}
        forms: dict[str, QFormLayout] = {}
        properties = Settings.model_json_schema()["properties"]
        names = [name for name in properties if name not in FROM_LAYERS]
        for name in sorted(names, key=lambda name: not properties[name]["common"]):
            schema = properties[name]
            group = "" if schema["common"] else schema["group"]
            if group not in forms:
                forms[group] = self._section(layout, group)
            entry = self.entries[name] = Entry(schema)
            entry.value = Settings.model_fields[name].default
            entry.changed.connect(lambda name=name: self.changed.emit(name))
            label = QLabel(title(name, schema["unit"]))
            label.setToolTip(tooltip(schema, name))
            entry.widget.setToolTip(tooltip(schema, name))
            forms[group].addRow(label, entry.widget)

    def settings(self, **others: Any) -> Settings:
        """Return the settings as they stand in the form.

        Raises
        ------
        InputError
            If a value is not allowed.
        """
        values = {name: entry.value for name, entry in self.entries.items()}
        return Settings.from_values({**values, **others}, where="the form")

    def take(self, settings: Settings) -> None:
        """Show these settings; those that are taken from the layers are left out."""
        for name, entry in self.entries.items():
            entry.value = getattr(settings, name)

    def load(self, path: Path) -> None:
        """Show the settings of a file; raises InputError."""
        self.take(Settings.from_yaml(path))

    def save(self, path: Path, **others: Any) -> None:
        """Write the settings to a file; raises InputError."""
        write_text(path, self.settings(**others).to_yaml())

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Settings file", "", "Settings (*.yaml *.yml)")
        if path:
            _or_tell(self.load, Path(path))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Settings file", "settings.yaml", "Settings (*.yaml)")
        if path:
            _or_tell(self.save, Path(path))

    @staticmethod
    def _section(layout: QVBoxLayout, group: str) -> QFormLayout:
        inner = QWidget()
        form = QFormLayout(inner)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        if group:
            section = QCollapsible(f"More: {group}", expandedIcon="▾", collapsedIcon="▸")
            section.setDuration(0)
            if (outer := section.layout()) is not None:
                outer.setContentsMargins(0, 0, 0, 0)
            section.addWidget(inner)
            layout.addWidget(section)
        else:
            layout.addWidget(inner)
        return form


def _or_tell(action: Any, path: Path) -> None:
    try:
        action(path)
    except InputError as error:
        show_error(str(error))


def words(value: str) -> str:
    """Return one of several values of a setting in words."""
    known = {column.name for column in (*CELL_COLUMNS, *DECISION_COLUMNS)}
    return title_of(value) if value in known else value.replace("_", " ")


def title(name: str, unit: str) -> str:
    """Return the label of a setting in the form."""
    plain = name.removesuffix(_ENDS.get(unit, "")).replace("_", " ")
    return plain + (f" [{unit}]" if unit else "")


def tooltip(schema: dict[str, Any], name: str) -> str:
    """Return the tooltip of a setting with its name in files, as rich text so that it wraps."""
    words = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
    parts = [schema, *schema.get("anyOf", ())]
    limits = [f"{word} {part[key]:g}" for part in parts for key, word in words.items() if key in part]
    facts = [f"in {schema['unit']}"] if schema["unit"] else []
    facts += [" ".join(limits)] if limits else []
    if schema.get("default") not in (None, {}, ""):
        facts.append(f"default {schema['default']}")
    return f"<qt>{schema['description']}{' (' + '; '.join(facts) + ')' if facts else ''}<br>{name}</qt>"
