"""File → Open on a results folder, or on a mask in one: an image with its cells, nuclei and puncta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info

from napari_tam._napari._contributions._known import results_of
from napari_tam._napari._label_colours import CellColours
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_tam._napari._layers import LayerData


def results_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what opens a results folder, or a mask in its folder `masks`; None for anything else."""
    known = results_of(path)
    return None if known is None else lambda _: open_results(*known)


def open_results(folder: Path, image: str | None = None) -> list[LayerData]:
    """Return the layers of an image of a results folder: its channels, nuclei, cells, puncta.

    Parameters
    ----------
    folder
        A results folder.
    image
        Which image; None: the first one.

    Raises
    ------
    InputError
        If the folder is damaged or has no such image.
    """
    from napari_tam._napari._contributions._movie import movie_layers
    from napari_tam._napari._open import layers_of_found, read_found
    from napari_tam.results.folder import OK, read_results

    results = read_results(folder)
    images = results.images
    done = images.loc[images["status"] == OK, "image"].astype(str).tolist()
    if image is None and not done:
        raise InputError("no image was analysed", where=folder)
    movie = movie_layers(results) if image is None else None
    if movie is not None:
        return movie
    name = image or done[0]
    if image is None and len(done) > 1:
        show_info(
            f"This is {name}, the first of {len(done)} images. To choose from all of them: Plugins → "
            "napari-tam → Analyse a folder, with this folder as results"
        )
    found = read_found(folder, name)
    layers = layers_of_found(found)
    table = found.analysis.table
    for _, arguments, kind in layers:
        if kind == "labels" and arguments["name"].startswith("cells"):
            column = "phenotype" if "phenotype" in table else "puncta_count"
            arguments["colormap"] = CellColours.of_column(table, column)
    return layers
