"""What a run asks of its images, checked with the first of them before any is analysed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from napari_tam.celltypes.asked import asks_for_markers, check_asked
from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.markers.names import is_marker_role, marker_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_tam.io.layout import Layout
    from napari_tam.settings import Settings

#: So many images are tried until one can be read.
TRIED = 5


def check_markers(names: Mapping[Path, str], settings: Settings, layout: Layout | None) -> None:
    """Check that the images have the markers that rules, gates and the layout name.

    The first image that can be read tells which markers there are; if none can, each fails with its reason.

    Parameters
    ----------
    names
        The files, and their names.

    Raises
    ------
    InputError
        See `napari_tam.celltypes.asked.check_asked`.
    """
    roles = [] if layout is None or "control_role" not in layout.rows else list(layout.rows["control_role"])
    if not asks_for_markers(settings, roles):
        return
    for path in list(names)[:TRIED]:
        found = None
        with contextlib.suppress(InputError, OSError):
            found = next(read_fields(path, settings, name=names[path]), None)
        if found is not None:
            check_asked(settings, roles, [marker_of(role) for role in found.channels if is_marker_role(role)])
            return
