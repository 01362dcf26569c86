"""Which steps of an earlier analysis still hold after settings or corrections changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_tam.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_tam.io.field import Field
    from napari_tam.pipeline.edits import Edits
    from napari_tam.pipeline.steps import Analysis

#: The steps whose result can be kept; measuring is quick and always done.
KEEPABLE = ("correct", "cells", "nuclei", "puncta", "classify")

#: Steps that take the result of a step, and so are redone after it.
_FOLLOWING = {
    "correct": ("cells", "nuclei", "puncta", "classify"),
    "cells": ("classify",),
    "nuclei": ("classify",),
    "puncta": (),
    "classify": (),
}

#: The steps that a setting of a group enters. A group that is not here (say, a new one) enters all.
_GROUPS: dict[str, tuple[str, ...]] = {
    "image": KEEPABLE,
    "corrections": ("correct",),
    "segmentation": ("cells", "nuclei"),
    "puncta": ("puncta",),
    "place": (),
    "phenotype": ("classify",),
    "uptake": (),
    "comparison": (),
    "time": (),
    "run": (),
}

#: Settings that enter less than their group.
_SINGLE: dict[str, tuple[str, ...]] = {
    "channels": (),  # the field's channels are compared themselves
    "cells_model": ("cells",),
    "cell_diameter_um": ("cells",),
    "min_cell_area_um2": ("cells",),
    "nuclei_model": ("nuclei",),
    "nucleus_diameter_um": ("nuclei",),
    "min_nucleus_area_um2": ("nuclei",),
    # Candidates are kept with their scores, so the thresholds only choose among them.
    "puncta_score": (),
    "puncta_min_snr": (),
}


@dataclass(frozen=True)
class Segmented:
    """Masks of an earlier run that still hold; None: to be found anew.

    Attributes
    ----------
    cells, nuclei
        Label images (YX or ZYX, unsigned; 0 = background).
    cell_diameter_um
        The diameter that the cells were found with.
    """

    cells: npt.NDArray[np.unsignedinteger[Any]] | None = None
    nuclei: npt.NDArray[np.unsignedinteger[Any]] | None = None
    cell_diameter_um: float = float("nan")


def steps_of(name: str) -> tuple[str, ...]:
    """Return the steps that must be redone when a setting changes, in order; measuring left out."""
    if name in _SINGLE:
        first = _SINGLE[name]
    else:
        extra: Any = Settings.model_fields[name].json_schema_extra
        first = _GROUPS.get(str(extra["group"]), KEEPABLE)
    return tuple(s for s in KEEPABLE if s in first or any(s in _FOLLOWING[other] for other in first))


def kept_steps(
    previous: Analysis | None, field: Field, settings: Settings, classifier: object, edits: Edits
) -> frozenset[str]:
    """Return the steps of `KEEPABLE` whose earlier result is also that of the new analysis.

    Parameters
    ----------
    previous
        The earlier analysis.
    field, settings, edits
        What is to be analysed now.
    classifier
        The classifier to use now.
    """
    if (
        previous is None
        or previous.raw is None
        or previous.corrected is None
        or not same_field(previous.raw, field)
    ):
        return frozenset()
    changed = [
        name
        for name in type(settings).model_fields
        if getattr(settings, name) != getattr(previous.settings, name)
    ]
    redo = {step for name in changed for step in steps_of(name)}
    for kind in ("cells", "nuclei"):
        if getattr(edits, kind) is not getattr(previous.edits, kind):
            redo |= {kind, *_FOLLOWING[kind]}
    if previous.candidates is None:
        redo.add("puncta")
    if previous.corrected is None:
        redo |= {"correct", *_FOLLOWING["correct"]}
    if classifier is not previous.classifier:
        redo.add("classify")
    return frozenset(KEEPABLE) - redo


def same_field(a: Field, b: Field) -> bool:
    """Whether two fields are of the same name and scale and share the very same pixels in memory."""
    return (
        (a.name, a.pixel_size_um, a.z_step_um, a.frame) == (b.name, b.pixel_size_um, b.z_step_um, b.frame)
        and a.channels.keys() == b.channels.keys()
        and all(_same_memory(a.channels[role], b.channels[role]) for role in a.channels)
    )


def _same_memory(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a is b or a.__array_interface__ == b.__array_interface__
