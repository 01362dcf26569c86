"""Arrays in memory → a `Field`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.io.field import Field, missing_roles
from napari_tam.io.label_columns import reserved_labels
from napari_tam.io.masks.find import mask_folders
from napari_tam.markers.labels import EXOSOME, exosome_role, is_exosome_role, labels_in
from napari_tam.markers.names import MARKER, listed, marker_role
from napari_tam.settings import ROLES, is_role

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.settings import Settings


def field_of_arrays(
    image: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], settings: Settings, name: str
) -> Field:
    """Make a field of arrays that are in memory.

    Parameters
    ----------
    image
        CYX (CZYX with ``z_stack="volume"``), whose channels `settings` tell; or role → YX (ZYX).
    settings
        ``pixel_size_um`` must be there, for a volume also ``z_step_um``.
    name
        What the field is called.

    Raises
    ------
    InputError
        If a size, role or shape is missing or does not fit, or a pixel is not finite.
    """
    if mask_folders(settings):
        raise InputError(
            "masks from a folder go with images from files, not with arrays",
            where=name,
            fix="leave cells_masks and nuclei_masks out",
        )
    volume = settings.z_stack == "volume"
    axes = "ZYX" if volume else "YX"
    if settings.pixel_size_um is None:
        raise InputError("an array has no pixel size", where=name, fix="give Settings(pixel_size_um=…)")
    if volume and settings.z_step_um is None:
        raise InputError("an array has no distance of planes", where=name, fix="give Settings(z_step_um=…)")
    channels = _channels(image, settings, name, axes)
    for role, plane in channels.items():
        if not is_role(role):
            known = ", ".join((*ROLES, "exosome_LABEL", "marker_NAME"))
            raise InputError(f"'{role}' is no channel role", where=name, fix=f"known: {known}")
        if plane.ndim != len(axes) or plane.dtype.kind not in "buif" or not plane.size:
            raise InputError(
                f"the {role} channel has shape {plane.shape} and type {plane.dtype}",
                where=name,
                fix=f"it should be a {axes} array of numbers",
            )
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise InputError(f"pixels of the {role} channel are NaN or infinite", where=name)
    _check_labels(channels, name)
    missing = missing_roles(channels)
    if not missing and len({plane.shape for plane in channels.values()}) > 1:
        raise InputError("the channels differ in size", where=name)
    return Field(name, channels, settings.pixel_size_um, z_step_um=settings.z_step_um if volume else None)


def _channels(
    image: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], settings: Settings, name: str, axes: str
) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(image, Mapping):
        image = np.asarray(image)  # a list, or an array of dask, zarr or torch
    if not isinstance(image, np.ndarray):
        given = {role: np.asarray(plane) for role, plane in image.items()}
        return {role: _whole(plane) for role, plane in given.items()}
    if image.ndim != len(axes) + 1:
        raise InputError(f"the array has shape {image.shape}", where=name, fix=f"its axes should be C{axes}")
    if not settings.channels:
        raise InputError(
            "nothing says which channel is which",
            where=name,
            fix="give e.g. Settings(channels={'cell': 0, 'nucleus': 1, 'exosome': 2})",
        )
    wanted = {role: index for role, index in settings.channels.items() if role not in (MARKER, EXOSOME)}
    for kind, role_of in ((EXOSOME, exosome_role), (MARKER, marker_role)):
        items = listed(settings.channels[kind]) if kind in settings.channels else []
        for said, channel in items:
            index = int(channel) if isinstance(channel, int) or channel.isdecimal() else channel
            single = kind == EXOSOME and len(items) < 2
            wanted[EXOSOME if single else role_of(said or str(channel))] = index
    channels = {}
    for role, index in wanted.items():
        if not isinstance(index, int) or not 0 <= index < image.shape[0]:
            raise InputError(
                f"there is no channel {index!r} for the role {role}",
                where=name,
                fix=f"an array has no channel names: give an index from 0 to {image.shape[0] - 1}",
            )
        channels[role] = _whole(image[index])
    return channels


def _check_labels(channels: Mapping[str, Any], name: str) -> None:
    """Raise InputError for exosome channels that cannot stand beside each other."""
    labels = labels_in(channels)
    bad = [label for label in labels if label.casefold() in reserved_labels()]
    if bad:
        raise InputError(
            f"the exosome label '{bad[0]}' would make columns that mean something else",
            where=name,
            fix=f"call it e.g. {exosome_role(bad[0] + '_dye')}",
        )
    exosomes = [role for role in channels if is_exosome_role(role)]
    if labels and len(exosomes) != len(labels):
        raise InputError(
            "one exosome channel has a label and another has none", where=name, fix="call all exosome_LABEL"
        )
    if len(labels) == 1:
        raise InputError(
            f"a single exosome channel needs no label ({exosomes[0]})", where=name, fix="call it exosome"
        )


def _whole(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return plane.astype(np.uint8) if plane.dtype.kind == "b" else plane
