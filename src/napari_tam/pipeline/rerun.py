"""Which steps of an earlier analysis still hold after settings or corrections changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_tam.measure.cells import needs_the_whole
from napari_tam.pipeline.steps import TABLE
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.edits import Edits

#: The steps whose result can be kept; the others are quick and always done.
KEEPABLE = tuple(step.name for step in TABLE if step.keep is not None)


def steps_of(name: str, kind: type[Settings] = Settings) -> tuple[str, ...]:
    """Return the steps of `KEEPABLE` that depend on a setting, in order."""
    entered = kind.entered_by(name)
    return KEEPABLE if "read" in entered else _and_following(set(entered))


def _and_following(steps: set[str]) -> tuple[str, ...]:
    """Return steps with those that take their results, as far as they can be kept."""
    redo = set(steps)
    for step in TABLE:  # in order, so that what follows a following step is found too
        if step.keep is not None and not redo.isdisjoint(step.takes):
            redo.add(step.name)
    return tuple(name for name in KEEPABLE if name in redo)


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
    # what the image is read with shows in the field, which was compared
    redo = {
        step
        for name in type(settings).model_fields
        if getattr(settings, name) != getattr(previous.settings, name)
        for step in settings.entered_by(name)
    }
    if previous.candidates is None:
        redo.add("puncta")
    if classifier is not previous.classifier:
        redo.add("classify")
    redo = set(_and_following(redo))
    if edits.cells is not previous.edits.cells:
        redo |= set(_and_following({"cells"}))
    if edits.nuclei is not previous.edits.nuclei:
        # the cells are helped by the nuclei that the network finds, so that these corrections don't move them
        redo |= set(_and_following({"nuclei"})) - {"cells"}
    return frozenset(KEEPABLE) - redo


def only_measured(
    previous: Analysis, field: Field, settings: Settings, classifier: object, edits: Edits
) -> bool:
    """Whether cells that a person corrected are measured again, and nothing else is done.

    That takes some hundredths of a second, whatever the size of the image. The parameters are those of
    `kept_steps`.
    """
    kept = set(kept_steps(previous, field, settings, classifier, edits))
    kept |= {name for name in ("cells", "nuclei") if getattr(edits, name) is not None}
    return (
        previous.measured is not None
        and previous.classifier is classifier
        and not needs_the_whole(field)
        and {"correct", "nuclei", "cells", "puncta"} <= kept
    )


def same_field(a: Field, b: Field) -> bool:
    """Whether two fields are of the same name and scale and share the very same pixels in memory."""
    return (
        (a.name, a.pixel_size_um, a.z_step_um, a.frame) == (b.name, b.pixel_size_um, b.z_step_um, b.frame)
        and _same_arrays(a.channels, b.channels)
        and _same_arrays(a.masks, b.masks)
    )


def _same_arrays(a: dict[str, npt.NDArray[Any]], b: dict[str, npt.NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(_same_memory(a[name], b[name]) for name in a)


def _same_memory(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a is b or a.__array_interface__ == b.__array_interface__
