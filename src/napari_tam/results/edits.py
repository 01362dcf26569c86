"""Corrections by hand in the results folder.

::

    edits/<image>_cells.tif   edits/<image>_nuclei.tif   edits/<image>_puncta.csv

The table has the columns change (added, removed), y_px and x_px; with corrections of a second exosome label
also exosome_label, empty for the first.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.errors import InputError
from napari_tam.files import make_folder, write_text
from napari_tam.markers.labels import LABEL
from napari_tam.pipeline.edits import Edits
from napari_tam.results.folder import read_mask, write_mask

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.pipeline.edits import Labels, Points

FOLDER = "edits"


def save_edits(folder: Path, image: str, edits: Edits, pixel_size_um: float) -> Path:
    """Write an image's corrections beside its results; what is not corrected is removed there.

    Returns
    -------
    pathlib.Path
        The folder with the corrections.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    place = folder / FOLDER
    make_folder(place)
    for kind, labels in (("cells", edits.cells), ("nuclei", edits.nuclei)):
        path = place / f"{image}_{kind}.tif"
        if labels is None:
            path.unlink(missing_ok=True)
        else:
            write_mask(path, labels, pixel_size_um)
    path = place / f"{image}_puncta.csv"
    if edits.puncta:
        parts = {"": (edits.added, edits.removed), **edits.others}
        lines = [
            f"{change},{float(y)!r},{float(x)!r}" + (f",{label}" if edits.others else "")
            for label, points in parts.items()
            for change, own in zip(("added", "removed"), points, strict=True)
            for y, x in own
        ]
        head = "change,y_px,x_px" + (f",{LABEL}" if edits.others else "")
        write_text(path, "\n".join([head, *lines]) + "\n")
    else:
        path.unlink(missing_ok=True)
    return place


def read_edits(folder: Path, image: str, shape: tuple[int, ...]) -> Edits | None:
    """Read an image's corrections from a results folder; None if there are none.

    Raises
    ------
    InputError
        If a file is damaged, or a mask has another size than the image.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return None
    masks: dict[str, Labels | None] = {}
    for kind in ("cells", "nuclei"):
        path = place / f"{image}_{kind}.tif"
        masks[kind] = read_mask(path) if path.exists() else None
        labels = masks[kind]
        if labels is not None and labels.shape != shape:
            raise InputError(
                f"the corrected mask is {labels.shape}, the image {shape}",
                where=path,
                fix="delete the file, or choose another results folder",
            )
    points = _read_points(place / f"{image}_puncta.csv")
    first = points.pop("")
    edits = Edits(masks["cells"], masks["nuclei"], *first, others=points)
    return edits if edits.any else None


def edits_hash(folder: Path, image: str) -> str:
    """Return a hash of an image's corrections in a results folder; empty if there are none."""
    digest = hashlib.sha256()
    empty = True
    for end in ("cells.tif", "nuclei.tif", "puncta.csv"):
        with contextlib.suppress(OSError):
            digest.update(end.encode() + (folder / FOLDER / f"{image}_{end}").read_bytes())
            empty = False
    return "" if empty else digest.hexdigest()


def _read_points(path: Path) -> dict[str, tuple[Points, Points]]:
    """Return what was added and removed by exosome label; the first label's key is empty."""
    none = np.zeros((0, 2))
    if not path.exists():
        return {"": (none, none)}
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={LABEL: str}, keep_default_na=False)
        labels = table[LABEL] if LABEL in table else pd.Series("", index=table.index)
        found = {}
        for label in ("", *sorted(set(labels) - {""})):
            own = table[labels == label]
            added, removed = (
                own.loc[own["change"] == change, ["y_px", "x_px"]].to_numpy(np.float64)
                for change in ("added", "removed")
            )
            found[label] = added, removed
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the corrected puncta cannot be read ({error})", where=path) from error
    return found
