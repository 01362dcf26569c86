"""A movie in a results folder, opened as a whole: the image, labels by track, puncta and tracks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam._napari._layers import KEY, kind_of
from napari_tam._napari._whole._axes import MOVIE, taken_axes
from napari_tam.markers.labels import labels_of
from napari_tam.results.folder import OK

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam._napari._channel import Channel
    from napari_tam._napari._layers import LayerData
    from napari_tam._napari._whole._movie import FoundMovie
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.results.folder import Results
    from napari_tam.settings import Settings

#: The end of a frame's name.
_FRAME = re.compile(r"_t\d{4,}$")


def movie_layers(results: Results) -> list[LayerData] | None:
    """Return the layers of the one movie that a results folder is of; None if it is not of one movie alone.

    Nor is it opened as a whole where its file is not in its place, has no names that tell cells and
    exosomes, several exosome labels, or where its frames are volumes.

    Raises
    ------
    InputError
        If a mask or the image cannot be read.
    """
    from napari.layers import Layer

    from napari_tam._napari._channel import Channel
    from napari_tam._napari._contributions._images import image_layers
    from napari_tam.errors import InputError
    from napari_tam.io.channels import assign_roles
    from napari_tam.settings import Settings

    images = results.images[results.images["status"] == OK]
    names = {_FRAME.sub("", str(name)) for name in images["image"]}
    sources = {str(source or "") for source in images["source"]}
    if len(images) < 2 or len(names) > 1 or len(sources) > 1 or "track" not in results.cells:
        return None
    path = Path(*sources)
    if not path.is_file() or images["image"].isin(names).any() or labels_of(results.cells.columns):
        return None
    [name] = names
    first = results.masks(str(images["image"].iloc[0]))
    if first is None or first.ndim > 2:
        return None
    layers = image_layers(path)
    settings = Settings.from_yaml(results.folder / "settings.yaml")
    called = [arguments["name"].removeprefix(f"{name} ") for _, arguments, _ in layers]
    try:
        roles = assign_roles(settings.channels, called, len(layers), path)
    except InputError:
        return None
    channels: dict[str, Channel] = {}
    for role, index in roles.items():
        data, arguments, kind = layers[index]
        arguments["metadata"][KEY]["role"] = role
        channels[role] = Channel(Layer.create(data, arguments, kind))
    axes = taken_axes(channels["cell"], MOVIE)
    if "T" not in axes or layers[0][1]["metadata"][KEY]["image"] != name:
        return None
    found = _found(results, images, name, channels, axes, settings)
    for data, arguments, kind in found.layers_data():
        known = {**arguments["metadata"][KEY], "kind": kind_of(arguments["name"], []), "opened": found}
        layers.append((data, {**arguments, "metadata": {KEY: known}}, kind))
    return layers


def _found(
    results: Results,
    images: pd.DataFrame,
    name: str,
    channels: dict[str, Channel],
    axes: str,
    settings: Settings,
) -> FoundMovie:
    import pandas as pd

    from napari_tam._napari._channel import placement
    from napari_tam._napari._whole._movie import found_movie
    from napari_tam._napari._whole._run import Followed
    from napari_tam._napari._whole._source import Source
    from napari_tam.batches.threshold import read_thresholds

    folder = results.folder
    pixel_size_um = float(images["pixel_size_um"].iloc[0])
    source = Source(channels, name, pixel_size_um, MOVIE, Path(images["source"].iloc[0]))
    frames = tuple(_frame(results, row, settings) for row in images.to_dict("records"))
    fits = folder / "kinetics.csv"
    followed = Followed(
        frames,
        results.cells,
        pd.read_csv(fits) if fits.exists() else pd.DataFrame(),
        read_thresholds(folder),
        (),
    )
    where = placement(channels["cell"], 2 + len(axes))
    return found_movie(name, where, followed, source, folder, source.stack.n_z if "Z" in axes else 0)


def _frame(results: Results, row: dict[Any, Any], settings: Settings) -> Analysis:
    from napari_tam.errors import InputError
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.results.folder import mask_path

    image = str(row["image"])
    cells = results.masks(image)
    if cells is None:
        raise InputError(
            "the mask of the cells is not there", where=mask_path(results.folder, image, "cells")
        )
    table, puncta = (
        rows[rows["image"] == image].reset_index(drop=True) for rows in (results.cells, results.puncta)
    )
    field = Field(image, {}, float(row["pixel_size_um"]), Path(row["source"]), int(row["frame"]))
    nuclei = results.masks(image, "nuclei")
    return Analysis(field, settings, cells, nuclei, table, puncta, {str(k): v for k, v in row.items()}, {})
