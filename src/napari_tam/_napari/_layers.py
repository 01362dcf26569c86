"""Conversion between napari and the core: layers → input of the pipeline, its results → layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_tam._napari._pyramid import shown
from napari_tam.errors import InputError
from napari_tam.installation import bundled
from napari_tam.io.field import missing_roles
from napari_tam.io.tiff_metadata import Metadata
from napari_tam.markers.labels import is_exosome_role, labels_of, rows_of
from napari_tam.markers.names import is_marker_role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from napari.layers import Image

    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis

#: Layer colours of the channel roles.
COLORMAPS = {"cell": "gray", "nucleus": "blue", "exosome": "magenta", "lysosome": "yellow", "extra": "green"}

#: That of marker channels.
MARKER_COLORMAP = "cyan"

#: Those of several exosome labels, in their order (as in the pictures, `napari_tam.results.overlay`), and the
#: colours of their puncta.
LABEL_COLORMAPS = ("magenta", "green", "bop orange", "bop blue")
_LABEL_BORDERS = ("#FF80F2", "#80FFAC", "#FFCB80", "#80DEFF")

#: Key of the puncta among the layers of a result; of the second label and further ones with its name behind.
PUNCTA = "puncta"

#: Layer attributes that define its world coordinates; results take them from their image.
_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units")

#: The columns of cells that are asked for most; tables, lists and napari's status bar begin with them.
FIRST = ("phenotype", "puncta_count", "puncta_intensity_sum", "exosome_integrated", "area_um2")

#: Key of the plugin's own entry in a layer's metadata.
KEY = "napari-tam"

#: The sample images; nothing is written beside these.
SAMPLES = bundled("sample_data")

LayerData = tuple[Any, dict[str, Any], str]


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
            f"no layer is chosen for the role {' and '.join(missing)}",
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


def result_layers(
    analysis: Analysis, image: str, where: Mapping[str, Any]
) -> list[tuple[Any, dict[str, Any], str]]:
    """Return napari layer data (data, arguments, type) for an analysis: nuclei, cells, puncta.

    Parameters
    ----------
    analysis
        What was found.
    image
        Name of the image it was found in, for the names of the layers.
    where
        See `placement`.
    """
    common = {**where, "metadata": {KEY: {"image": image, "summary": analysis.summary}}}
    # Copies: whoever edits a layer must not edit the analysis.
    labels: list[tuple[str, Any, Any]] = [("cells", shown(analysis.cells), label_features(analysis.table))]
    if analysis.nuclei is not None:
        labels.insert(0, ("nuclei", shown(analysis.nuclei), None))
    layers: list[tuple[Any, dict[str, Any], str]] = []
    for kind, data, features in labels:
        arguments = {"name": f"{kind} ({image})", "features": features, "opacity": 0.5, **common}
        arguments["visible"] = kind == "cells"
        if analysis.cells.ndim > 2:
            arguments["iso_gradient_mode"] = "smooth"  # planes are further apart than pixels: no stairs
        layers.append((data, arguments, "labels"))
    labels_ = labels_of(analysis.table.columns)
    for number, label in enumerate(labels_ or [""]):
        puncta = rows_of(analysis.puncta, label).reset_index(drop=True)
        name = f"puncta {label}".strip()
        arguments = {"name": f"{name} ({image})", "features": point_features(puncta), **common}
        arguments |= puncta_look(number, label)
        layers.append((positions(puncta), arguments, "points"))
    return layers


def puncta_look(number: int, label: str) -> dict[str, Any]:
    """Return how the puncta of an exosome label (empty: the only one) look; `number` is its place."""
    colour = _LABEL_BORDERS[number % len(_LABEL_BORDERS)] if label else "yellow"
    return {
        "size": 5,
        "symbol": "disc",
        "face_color": "transparent",
        "border_color": colour,
        "border_width": 0.15,
        "border_width_is_relative": True,
    }


def kind_of(layer_name: str, labels: Sequence[str]) -> str:
    """Return the key of a layer that `result_layers` made among those of its result.

    Parameters
    ----------
    layer_name
        Its name.
    labels
        The exosome labels; none for a single exosome channel.
    """
    kind = layer_name.partition(" (")[0]
    return PUNCTA if labels and kind == f"{PUNCTA} {labels[0]}" else kind


def puncta_key(number: int, label: str) -> str:
    """Return the key of a label's puncta among the layers of a result; `number` is the label's place."""
    return PUNCTA if number == 0 else f"{PUNCTA} {label}"


def positions(puncta: pd.DataFrame) -> Any:
    """Return the (N, 2) positions of puncta, y and x in pixels; of volumes (N, 3), z, y and x."""
    axes = [name for name in ("z_px", "y_px", "x_px") if name in puncta]
    return puncta[axes].to_numpy(float)


def point_features(puncta: pd.DataFrame) -> pd.DataFrame:
    """Return a puncta table whose rows napari can compare: it fails where several chosen points have `NA`."""
    missing = [name for name in puncta if puncta[name].dtype.name in ("boolean", "Int64")]
    return puncta.astype(dict.fromkeys(missing, "float64"))


def label_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return a per-cell table as napari wants it for labels: one row per value 0 … n, named in `index`.

    napari's features table finds a label by row position, its status bar by the column `index`. The columns
    of `FIRST` come first, as there is room for a few only; those that are the same for all cells last.
    """
    names = [name for name in table.columns if name not in FIRST]
    names.sort(key=lambda name: name in ("image", "frame"))
    table = table[[*(name for name in FIRST if name in table), *names]]
    largest = int(table["label"].max()) if len(table) else 0
    rows = table.set_index("label").reindex(range(largest + 1))
    return rows.rename_axis("index").reset_index()


def layers_of(field: Field) -> list[LayerData]:
    """Return one image layer for every channel of a field, scaled in µm."""
    sample = field.source is None or field.source.parent == SAMPLES
    source = None if sample else str(field.source)
    layers: list[LayerData] = []
    colormaps = COLORMAPS | {
        role: LABEL_COLORMAPS[number % len(LABEL_COLORMAPS)]
        for number, (label, role) in enumerate(field.exosomes.items())
        if label
    }
    for role, plane in field.channels.items():
        low, high = np.percentile(plane.astype(np.float32), (1, 99.8))
        arguments = {
            "name": f"{field.name} {role}",
            "colormap": colormaps.get(role, MARKER_COLORMAP),
            "blending": "additive",
            "contrast_limits": (float(low), float(max(high, low + 1))),
            "scale": (field.pixel_size_um,) * 2,
            "units": ("µm", "µm"),
            "metadata": {KEY: {"image": field.name, "role": role, "source": source}},
        }
        layers.append((plane, arguments, "image"))
    return layers
