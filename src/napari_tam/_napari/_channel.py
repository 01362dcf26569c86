"""A channel that is chosen in the viewer: its pixels, file and pixel size; whether several are one field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_tam._napari._layers import KEY
from napari_tam.errors import InputError
from napari_tam.io.field import missing_roles
from napari_tam.io.tiff_metadata import Metadata
from napari_tam.markers.labels import is_exosome_role
from napari_tam.markers.names import is_marker_role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image

#: Layer attributes that define its world coordinates; results take them from their image.
_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units")


@dataclass(frozen=True, eq=False)
class Channel:
    """A 2-D layer, or one channel (CYX) of a layer.

    Attributes
    ----------
    layer, index
        The layer, and which of its first axis; None: the layer itself.
    at
        Which plane of a stack or movie: an index for each axis before y and x; None: the layer is a plane.
    """

    layer: Image
    index: int | None = None
    at: tuple[int, ...] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Channel) and hash(self) == hash(other) and self.layer == other.layer

    def __hash__(self) -> int:
        return hash((self.layer, self.index, self.at))

    @property
    def name(self) -> str:
        """The layer's name, with the channel's number."""
        return str(self.layer.name) if self.index is None else f"{self.layer.name} [{self.index}]"

    @property
    def plane(self) -> Any:
        """The pixels, of a multiscale image the full ones; not yet computed if they are lazy."""
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        if self.at is not None:
            return data[self.at]
        return data if self.index is None else data[self.index]

    @property
    def source(self) -> Path | None:
        """The file that the layer was opened from, if it was."""
        path = self.layer.metadata.get(KEY, {}).get("source") or self.layer.source.path
        return Path(path) if path else None

    @property
    def image(self) -> str:
        """The name of the image for tables and results: that of its file, or of the layer."""
        known = self.layer.metadata.get(KEY, {}).get("image")
        planes = "".join(f"_p{index:03d}" for index in self.at or ())
        return str(known or self.layer.name) + planes

    @property
    def is_stack(self) -> bool:
        """Whether it has planes of which none is chosen."""
        return bool(not self.layer.rgb and self.at is None and self.layer.ndim - (self.index is not None) > 2)

    def shown(self, point: Sequence[float]) -> Channel:
        """Return the plane of a stack or movie that a place in the world shows; else the channel itself."""
        if not self.is_stack or self.index is not None:
            return self
        shape = self.layer.data[0].shape if self.layer.multiscale else self.layer.data.shape
        inside = self.layer.world_to_data(tuple(point))[-self.layer.ndim : -2]
        limits = zip(inside, shape, strict=False)
        return Channel(self.layer, None, tuple(min(max(round(x), 0), n - 1) for x, n in limits))


@lru_cache(maxsize=32)
def file_facts(path: Path) -> Metadata:
    """Return what a TIFF file says about its channels and pixel size; nothing where it says nothing."""
    from napari_tam.io.stack import Stack
    from napari_tam.io.tiff import open_tiff, reading
    from napari_tam.io.tiff_metadata import read_metadata

    try:
        with open_tiff(path) as (tif, series), reading(path):
            return read_metadata(tif, series, 0, Stack(path, tif, series[0]).n_channels)
    except InputError:
        return Metadata()


def pixel_size_um(channel: Channel) -> float | None:
    """Return the edge length of a channel's (square) pixels in µm.

    From the layer's scale if that is in a unit of length; or else from its file; or else None.

    Raises
    ------
    InputError
        If the pixels are not square.
    """
    layer = channel.layer
    sizes: tuple[float, ...]
    if all(unit.is_compatible_with("micrometer") for unit in layer.units[-2:]):
        sizes = tuple(
            pint.get_application_registry().Quantity(scale, unit).to("micrometer").magnitude
            for scale, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True)
        )
    elif layer.source.path and (told := file_facts(Path(layer.source.path)).pixel_um) is not None:
        sizes = told
    else:
        return None
    height, width = sizes
    if not np.isclose(height, width, rtol=1e-3):
        raise InputError(
            f"the pixels are {height:g} × {width:g} µm, and only square ones can be analysed",
            where=f"layer '{layer.name}'",
            fix="Check the layer's scale, or resample the image",
        )
    return float(width)


def check_images(channels: Mapping[str, Channel], *, whole: bool = False) -> None:
    """Check that the channels (role to channel) are one field: a plane, or with `whole` a stack or movie.

    Raises
    ------
    InputError
        If a required role has no channel, a channel is given two roles, is RGB, a mask or not a plane (unless
        `whole`), or the channels differ in size or place.
    """
    for channel in channels.values():
        if channel.layer.rgb:
            raise InputError(
                "this is an RGB picture, not a fluorescence channel",
                where=f"layer '{channel.layer.name}'",
                fix="Open the microscope's own file, or right-click the layer and choose Split RGB",
            )
        if np.dtype(channel.layer.dtype).kind not in "uif":
            raise InputError(
                "this is a mask (true or false), not a fluorescence channel",
                where=f"layer '{channel.layer.name}'",
                fix="Choose the image itself",
            )
    missing = missing_roles(channels)
    if missing:
        raise InputError(
            f"no layer is chosen for the role {' and for the role '.join(missing)}",
            fix="Open an image with a cell stain and an exosome label (or press 'Try it'), and choose which "
            "layer is which",
        )
    cell = channels["cell"]
    seen: dict[Channel, str] = {}
    for role, channel in channels.items():
        layer = channel.layer
        where = f"layer '{layer.name}'"
        # a marker may be the stain of the cells as well, but is no exosome
        if channel in seen and (is_exosome_role(seen[channel]) or not is_marker_role(role)):
            raise InputError(
                f"the layer is chosen for two roles, {seen[channel]} and {role}",
                where=where,
                fix="Choose a layer of its own for each",
            )
        seen.setdefault(channel, role)
        if (channel.is_stack and not whole) or layer.ndim < 2:
            raise InputError(
                f"the layer has {layer.ndim} dimensions, and only one plane (YX) is analysed here",
                where=where,
                fix="Choose 'this plane', 'whole volume' or 'whole movie' in the tab Analyse, or right-click "
                "the layer and choose Projections",
            )
        same_size = channel.plane.shape == cell.plane.shape
        if not same_size or not np.allclose(layer.scale[-2:], cell.layer.scale[-2:]):
            raise InputError(
                f"its size or scale differs from that of layer '{cell.name}'",
                where=where,
                fix="Choose the channels of one field",
            )


def placement(channel: Channel, ndim: int = 2) -> dict[str, Any]:
    """Return the arguments that put another layer of `ndim` axes where this channel is."""
    layer = channel.layer
    if layer.ndim == ndim:
        return {name: getattr(layer, name) for name in _PLACEMENT}
    return {name: getattr(layer, name)[-ndim:] for name in ("scale", "translate", "units")}
