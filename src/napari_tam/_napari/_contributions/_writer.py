"""File → Save: layers of results → the results folder that `napari-tam analyse` writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam._napari._correction._corrections import corrections
from napari_tam._napari._layers import KEY
from napari_tam._napari._results import save_results
from napari_tam._napari._session import open_results
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from napari_tam._napari._layers import LayerData


class NotSavedError(Exception):
    """Why nothing was saved (napari takes a ValueError as "wrong writer", and is silent)."""


def write_results(path: str, layers: list[LayerData]) -> list[str]:
    """Write the results folder of the image that the layers belong to.

    Parameters
    ----------
    path
        The folder.
    layers
        Layers of one image's results; which are among them does not matter, all of its results are written.

    Returns
    -------
    list of str
        The folder.

    Raises
    ------
    NotSavedError
        If the layers are not the results of one open image, or were corrected and not measured since, or
        the folder cannot be written.
    """
    try:
        _write(Path(path), layers)
    except InputError as error:
        raise NotSavedError(str(error)) from error
    return [str(path)]


def _write(path: Path, layers: list[LayerData]) -> None:
    images = {_image(arguments) for _, arguments, kind in layers if kind in ("labels", "points")}
    known = {found.name: (session, found) for session, found in open_results()}
    if len(images) != 1 or not images <= set(known):
        raise InputError(
            "these layers are not the results of one image",
            where=path,
            fix="Analyse the image, and choose its cells and puncta (Plugins → napari-tam)",
        )
    session, found = known[images.pop()]
    now = corrections(found)
    if now is not found.edits:
        raise InputError(
            f"{found.name} was corrected and not measured since",
            where=path,
            fix="Press 'Update measurements' in the tab Correct first",
        )
    save_results(found, path, session)


def _image(arguments: dict[str, Any]) -> str:
    return str(arguments.get("metadata", {}).get(KEY, {}).get("image", ""))
