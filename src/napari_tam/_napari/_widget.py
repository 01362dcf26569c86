"""The dock widget "Measure exosome uptake": image layers in; cells, nuclei, puncta and their tables out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import numpy as np
from magicgui.widgets import ComboBox, Container, FloatSpinBox, Label, LineEdit, PushButton, Widget
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager, show_error

from napari_tam._napari._layers import check_images, pixel_size_um, placement, plane, result_layers
from napari_tam.channels import guess_roles
from napari_tam.errors import InputError
from napari_tam.field import Field
from napari_tam.pipeline import STEPS, Progress, steps
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import napari.viewer
    from napari.layers import Layer

    from napari_tam.pipeline import Analysis

_ROLES = {
    "cell": "Stain of the whole cell: actin, membrane, cytoplasm.",
    "nucleus": "Nuclear stain; may be left out.",
    "exosome": "The labelled exosomes.",
}
#: Settings that the layers answer.
_FROM_LAYERS = ("channels", "pixel_size_um")


class AnalyseWidget(Container[Widget]):
    """Choose channels and settings, run the pipeline, get layers with tables.

    Parameters
    ----------
    viewer
        The viewer whose layers are analysed and that gets the results.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._worker: Any = None
        self._results: dict[str, list[Layer]] = {}  # image layer's name: what was found in it
        self._images_known: list[str] = []
        self._roles = {
            role: ComboBox(label=role, choices=self._images, nullable=True, tooltip=tooltip)
            for role, tooltip in _ROLES.items()
        }
        self._pixel_size = _number("pixel size [µm]", "From the layer's scale if its units are lengths.", "?")
        self.form = {
            name: _form_widget(name)
            for name, info in Settings.model_fields.items()
            if name not in _FROM_LAYERS and _extra(info)["common"]
        }
        self._run = PushButton(text="Run")
        self._cancel = PushButton(text="Cancel", enabled=False)
        self._status = Label(value="")
        buttons = Container(widgets=[self._run, self._cancel], layout="horizontal", labels=False)
        super().__init__(
            widgets=[*self._roles.values(), self._pixel_size, *self.form.values(), buttons, self._status]
        )
        self._roles["cell"].changed.connect(self._read_pixel_size)
        self._run.changed.connect(self.run)
        self._cancel.changed.connect(self.cancel)
        self.reset_choices()

    def reset_choices(self, *_: Any) -> None:
        """Offer the viewer's present image layers; guess the roles that are open from new layers' names."""
        super().reset_choices()
        images = self._images()
        names = [name for name, _ in images]
        if names != self._images_known:
            self._images_known = names
            for role, index in guess_roles(names).items():
                if role in self._roles and self._roles[role].value is None:
                    self._roles[role].value = images[index][1]

    def chosen(self) -> dict[str, Image]:
        """Return the chosen layers by role."""
        return {role: box.value for role, box in self._roles.items() if box.value is not None}

    def choose(self, layers: Mapping[str, Image | None]) -> None:
        """Choose layers by role; None leaves a role open."""
        for role, layer in layers.items():
            self._roles[role].value = layer

    @property
    def pixel_size_um(self) -> float:
        """The pixel size that the form shows, in µm; 0 when it is not known."""
        return float(self._pixel_size.value)

    @pixel_size_um.setter
    def pixel_size_um(self, value: float) -> None:
        self._pixel_size.value = value

    @property
    def idle(self) -> bool:
        """Whether no analysis is running."""
        return self._worker is None

    @property
    def status(self) -> str:
        """The line below the buttons."""
        return str(self._status.value)

    def run(self) -> None:
        """Start the analysis of the chosen layers in the background."""
        layers = self.chosen()
        try:
            check_images(layers)
            if not self.pixel_size_um:
                raise InputError(
                    "the pixel size is not known",
                    where=f"layer '{layers['cell'].name}'",
                    fix="Give it in the form, in µm",
                )
            values = {name: box.value or None for name, box in self.form.items()}
            settings = Settings.from_values({**values, "pixel_size_um": self.pixel_size_um}, where="the form")
        except InputError as error:
            show_error(str(error))
            return
        cell = layers["cell"]
        # Where the results belong is settled now, whatever the user does to the viewer meanwhile.
        name, where = cell.name, placement(cell)
        self._worker = create_worker(
            _analyse,
            name,
            {role: plane(layer) for role, layer in layers.items()},
            settings,
            _progress={"total": len(STEPS), "desc": f"Uptake in {name}"},
            _connect={
                "yielded": self._on_progress,
                "returned": lambda outcome: self._on_result(outcome, name, where),
                "errored": self._on_error,
                "finished": self._on_end,
            },
        )
        self._say("Starting …")
        self._run.enabled, self._cancel.enabled = False, True

    def cancel(self) -> None:
        """Stop the analysis after its present step; no layer is changed."""
        if self._worker is not None:
            self._worker.quit()
            self._say("Cancelling …")

    def _on_progress(self, progress: Progress) -> None:
        if not self._worker.abort_requested:
            self._say(f"Step {progress.done + 1} of {progress.total}: {progress.step} …")

    def _on_result(self, outcome: Analysis | str, image: str, where: dict[str, Any]) -> None:
        if isinstance(outcome, str):
            self._say("Not analysed.")
            show_error(outcome)
            return
        for layer in self._results.pop(image, []):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        add = {"labels": self._viewer.add_labels, "points": self._viewer.add_points}
        self._results[image] = [
            add[kind](data, **arguments) for data, arguments, kind in result_layers(outcome, image, where)
        ]
        summary = outcome.summary
        self._say(
            f"{summary['cells']} cells, {summary['puncta']} puncta "
            f"({summary['puncta_outside']} of them outside the cells)"
        )

    def _on_error(self, error: Exception) -> None:
        """Let napari show what is no input's fault, with its traceback."""
        self._say("Failed.")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_end(self) -> None:
        """Follow the worker's end, also the one of a cancelled run, which brings no result."""
        if self._worker.abort_requested:
            self._say("Cancelled.")
        self._worker = None
        self._run.enabled, self._cancel.enabled = True, False

    def _say(self, text: str) -> None:
        self._status.value = text

    def _images(self, _: object = None) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Image)]

    def _read_pixel_size(self, layer: Image | None) -> None:
        if layer is not None:
            try:
                self._pixel_size.value = pixel_size_um(layer) or 0
            except InputError as error:
                self._pixel_size.value = 0
                show_error(str(error))


class AnalysisFailedError(Exception):
    """The analysis broke off for a reason that is no fault of the image."""


def _analyse(
    name: str, planes: dict[str, Any], settings: Settings
) -> Generator[Progress, None, Analysis | str]:
    """Drive the pipeline; what is wrong with an input is returned as a sentence."""
    from napari_tam.models import load_models  # loads torch

    try:
        channels = {role: np.asarray(data) for role, data in planes.items()}
        for role, data in channels.items():
            if not np.isfinite(data).all():
                raise InputError(f"the {role} channel has pixels that are not finite numbers", where=name)
        assert settings.pixel_size_um is not None
        field = Field(name, channels, settings.pixel_size_um)
        return (yield from steps(field, settings, load_models(settings)))
    except InputError as error:
        return str(error)  # a worker raises an exception that is its result
    except RuntimeError as error:
        # A worker takes these (torch's "out of memory" is one) for its own deletion and never finishes.
        raise AnalysisFailedError(f"{type(error).__name__}: {error}") from error


def _form_widget(name: str) -> Any:
    """Return the widget for a setting, made from what `Settings` says about it."""
    info = Settings.model_fields[name]
    unit = str(_extra(info)["unit"])
    label = name.removesuffix("_um").replace("_", " ") + (f" [{unit}]" if unit else "")
    tooltip = info.description or ""
    if get_origin(info.annotation) is Literal:
        return ComboBox(label=label, choices=get_args(info.annotation), value=info.default, tooltip=tooltip)
    if isinstance(info.default, str):
        return LineEdit(label=label, value=info.default, tooltip=tooltip)
    return _number(label, tooltip, "auto", info.default or 0)


def _number(label: str, tooltip: str, unset: str, value: float = 0) -> FloatSpinBox:
    """Return a number field whose 0 means unset and is shown as `unset`."""
    box = FloatSpinBox(label=label, tooltip=tooltip, value=value, min=0, max=1000, step=None)
    box.native.setDecimals(4)
    box.native.setSpecialValueText(unset)
    return box


def _extra(info: Any) -> dict[str, Any]:
    return dict(info.json_schema_extra)
