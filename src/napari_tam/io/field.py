"""Field: one image to analyse, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_tam.markers.labels import EXOSOME, exosomes_in
from napari_tam.settings import REQUIRED_ROLES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Field:
    """One multi-channel field of view: a plane, or a volume (a z-stack).

    Attributes
    ----------
    name
        Name of the image in every table and file name; unique within a run.
    channels
        Role (see `napari_tam.settings.is_role`) to a YX (volume: ZYX) array of finite numbers, of the file's
        own dtype and intensity; all of one shape.
    pixel_size_um
        Edge length of a (square) pixel in µm.
    source
        The file it was read from, if any.
    frame
        Index on the file's time axis; 0 when there is none.
    z_step_um
        Distance between the planes of a volume in µm; None for a plane.
    frame_interval_min
        Time between two frames in minutes; None when unknown or there is only one frame.
    masks
        ``cells`` and ``nuclei`` that somebody found elsewhere: label images of the channels' shape.
    notes
        Sentences about what was done on reading (e.g. a z-stack was projected) for the output.
    """

    name: str
    channels: dict[str, npt.NDArray[np.generic]]
    pixel_size_um: float
    source: Path | None = None
    frame: int = 0
    frame_interval_min: float | None = field(default=None, kw_only=True)
    notes: tuple[str, ...] = field(default=())
    z_step_um: float | None = None
    masks: dict[str, npt.NDArray[np.unsignedinteger[Any]]] = field(default_factory=dict, kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        first = next(iter(self.channels.values()))
        return first.shape[-2], first.shape[-1]

    @property
    def planes(self) -> int:
        """Number of planes of a volume, 1 for a plane."""
        first = next(iter(self.channels.values()))
        return first.shape[0] if first.ndim > 2 else 1

    @property
    def exosomes(self) -> dict[str, str]:
        """The exosome channels, in their order: label (empty for a single one) to role."""
        return exosomes_in(self.channels)


def missing_roles(roles: Iterable[str]) -> list[str]:
    """Return the required roles that are not among roles."""
    there = list(roles)
    known = {*there, EXOSOME} if exosomes_in(there) else set(there)
    return [role for role in REQUIRED_ROLES if role not in known]
