"""How large the cells of a field are, without segmenting it: for what is learnt before the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.pipeline.candidates import early_steps

if TYPE_CHECKING:
    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.segment.diameter import Estimate
    from napari_tam.settings import Settings


def tells_diameters(models: Models) -> bool:
    """Tell whether the cells' segmenter looks for a diameter, and can say which one it finds."""
    return hasattr(models.cells, "estimate_diameter")


def diameter_of(field: Field, settings: Settings, models: Models) -> Estimate | None:
    """Return the diameter that a field's cells are looked for with, as the analysis would estimate it.

    Of an image that is read piece by piece, that in a part from its middle. None if the segmenter looks for
    none.
    """
    state = early_steps(field, settings, models, ("correct",))
    look = getattr(state.models.cells, "estimate_diameter", None)
    if look is None:
        return None
    channels = state.inside.channels
    found: Estimate = look(channels["cell"], channels.get("nucleus"), field.pixel_size_um, settings)
    return found
