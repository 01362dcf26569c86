"""Between napari's layers and the core: layers → what the pipeline takes, its results → layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.layers import Image

    from napari_tam.pipeline import Analysis

#: Layer colours of the channel roles.
COLORMAPS = {"cell": "gray", "nucleus": "blue", "exosome": "magenta", "lysosome": "yellow", "extra": "green"}

#: What places a layer in the world: results take it from their image.
_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units")


def pixel_size_um(layer: Image) -> float | None:
    """Return the edge length of the layer's (square) pixels in µm; None if its scale is not in a length unit.

    Raises
    ------
    InputError
        If the pixels are not square.
    """
    if not all(unit.is_compatible_with("micrometer") for unit in layer.units[-2:]):
        return None
    height, width = (
        pint.get_application_registry().Quantity(scale, unit).to("micrometer").magnitude
        for scale, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True)
    )
    if not np.isclose(height, width, rtol=1e-3):
        raise InputError(
            f"the pixels are {height:g} × {width:g} µm, and only square ones can be analysed",
            where=f"layer '{layer.name}'",
            fix="Check the layer's scale, or resample the image",
        )
    return float(width)


def check_images(layers: Mapping[str, Image]) -> None:
    """Check that the layers (role to layer) are one 2-D field.

    Raises
    ------
    InputError
        If a required role has no layer, a layer is given two roles, is RGB or not 2-D, or the layers differ
        in size or place.
    """
    missing = [role for role in ("cell", "exosome") if role not in layers]
    if missing:
        raise InputError(
            f"no layer is chosen for the role {' and '.join(missing)}",
            fix="Choose an image layer for each (right-click, Split Stack makes layers of a channel axis)",
        )
    cell = layers["cell"]
    seen: dict[str, str] = {}
    for role, layer in layers.items():
        where = f"layer '{layer.name}'"
        if layer.name in seen:
            raise InputError(
                f"the layer is chosen for two roles, {seen[layer.name]} and {role}",
                where=where,
                fix="Choose a layer of its own for each",
            )
        seen[layer.name] = role
        if layer.rgb:
            raise InputError(
                "this is an RGB picture, not a fluorescence channel",
                where=where,
                fix="Open the microscope's own file, or right-click the layer and choose Split RGB",
            )
        if layer.ndim != 2:
            raise InputError(
                f"the layer has {layer.ndim} dimensions, and only one plane (YX) is analysed here",
                where=where,
                fix="Right-click the layer and choose Projections; for time series use 'napari-tam analyse'",
            )
        same_size = layer.data.shape == cell.data.shape
        if not same_size or not np.allclose(layer.scale, cell.scale):
            raise InputError(
                f"its size or scale differs from that of layer '{cell.name}'",
                where=where,
                fix="Choose the channels of one field",
            )


def plane(layer: Image) -> Any:
    """Return the layer's pixels, of a multiscale image the full ones; not yet computed if they are lazy."""
    return layer.data[0] if layer.multiscale else layer.data


def placement(layer: Image) -> dict[str, Any]:
    """Return the arguments that put another layer where this one is."""
    return {name: getattr(layer, name) for name in _PLACEMENT}


def result_layers(
    analysis: Analysis, image: str, where: Mapping[str, Any]
) -> list[tuple[Any, dict[str, Any], str]]:
    """Return napari layer data (data, arguments, type) for an analysis: cells, nuclei, puncta.

    Parameters
    ----------
    analysis
        What was found.
    image
        Name of the layer it was found in, for the names of the new ones.
    where
        See `placement`.
    """
    common = {**where, "metadata": {"napari-tam": {"image": image, "summary": analysis.summary}}}
    labels: list[tuple[str, Any, Any]] = [("cells", analysis.cells, label_features(analysis.table))]
    if analysis.nuclei is not None:
        labels.insert(0, ("nuclei", analysis.nuclei, None))
    layers: list[tuple[Any, dict[str, Any], str]] = []
    for kind, data, features in labels:
        arguments = {"name": f"{kind} ({image})", "features": features, "opacity": 0.4, **common}
        layers.append((data, arguments, "labels"))
    puncta = analysis.puncta
    appearance = {"size": 6, "symbol": "disc", "face_color": "transparent", "border_color": "yellow"}
    arguments = {"name": f"puncta ({image})", "features": puncta, **appearance, **common}
    layers.append((puncta[["y_px", "x_px"]].to_numpy(float), arguments, "points"))
    return layers


def label_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return a per-cell table as napari wants it for labels: one row a value 0 … n, named in `index`.

    napari's features table goes by the row's position, its status bar by the column `index`.
    """
    largest = int(table["label"].max()) if len(table) else 0
    rows = table.set_index("label").reindex(range(largest + 1))
    return rows.rename_axis("index").reset_index()
