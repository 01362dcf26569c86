"""Results, and the channels of fields, as napari layers: names, colours, places, features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._pyramid import shown
from napari_tam.installation import bundled
from napari_tam.markers.labels import labels_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

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

#: The columns of cells that are asked for most; tables, lists and napari's status bar begin with them.
FIRST = ("phenotype", "puncta_count", "puncta_intensity_sum", "exosome_integrated", "area_um2")

#: Key of the plugin's own entry in a layer's metadata.
KEY = "napari-tam"

#: The sample images; nothing is written beside these.
SAMPLES = bundled("sample_data")

LayerData = tuple[Any, dict[str, Any], str]


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
    labels: list[tuple[str, Any, Any]] = [("cells", analysis.cells, label_features(analysis.table))]
    if analysis.nuclei is not None:
        labels.insert(0, ("nuclei", analysis.nuclei, None))
    layers = []
    for kind, masks, features in labels:
        data, arguments, sort = labels_layer(kind, masks, image, common)
        layers.append((data, {**arguments, "features": features}, sort))
    named = labels_of(analysis.table.columns)
    puncta = by_label(analysis.puncta, named)
    for (_, own), (data, arguments, sort) in zip(puncta, puncta_layers(puncta, image, common), strict=True):
        layers.append((data, {**arguments, "features": point_features(own)}, sort))
    return layers


def labels_layer(kind: str, masks: Any, image: str, common: Mapping[str, Any]) -> LayerData:
    """Return the layer of ``cells`` or ``nuclei``.

    Its masks are a copy: whoever edits a layer must not edit the analysis.
    """
    arguments = {"name": f"{kind} ({image})", "opacity": 0.5, "visible": kind == "cells", **common}
    if masks.ndim > 2:
        arguments["iso_gradient_mode"] = "smooth"  # planes are further apart than pixels: no stairs
    return shown(masks), arguments, "labels"


def puncta_layers(
    puncta: Sequence[tuple[str, pd.DataFrame]], image: str, common: Mapping[str, Any]
) -> list[LayerData]:
    """Return the layer of each exosome label's puncta (`by_label`), without a table."""
    return [
        (
            positions(own),
            {"name": f"{f'puncta {label}'.strip()} ({image})", **common, **puncta_look(number, label)},
            "points",
        )
        for number, (label, own) in enumerate(puncta)
    ]


def by_label(puncta: pd.DataFrame, labels: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Return each exosome label and its puncta; without labels all of them, their label empty."""
    return [(label, rows_of(puncta, label).reset_index(drop=True)) for label in labels or [""]]


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


def scale_of(field: Field) -> tuple[float, ...]:
    """Return the size of a pixel, or of a volume's voxel (z, y, x), in µm."""
    return (*(() if field.z_step_um is None else (field.z_step_um,)), *(field.pixel_size_um,) * 2)


def layers_of(field: Field) -> list[LayerData]:
    """Return one image layer for every channel of a field (a plane or a volume), scaled in µm."""
    sample = field.source is None or field.source.parent == SAMPLES
    source = None if sample else str(field.source)
    layers: list[LayerData] = []
    colormaps = COLORMAPS | {
        role: LABEL_COLORMAPS[number % len(LABEL_COLORMAPS)]
        for number, (label, role) in enumerate(field.exosomes.items())
        if label
    }
    for role, plane in field.channels.items():
        known = {"image": field.name, "role": role, "source": source}
        if plane.ndim > 2:
            known["axes"] = "Z"
        low, high = np.percentile(plane.astype(np.float32), (1, 99.8))
        arguments = {
            "name": f"{field.name} {role}",
            "colormap": colormaps.get(role, MARKER_COLORMAP),
            "blending": "additive",
            "contrast_limits": (float(low), float(max(high, low + 1))),
            "scale": scale_of(field),
            "units": ("µm",) * plane.ndim,
            "metadata": {KEY: known},
        }
        layers.append((plane, arguments, "image"))
    return layers
