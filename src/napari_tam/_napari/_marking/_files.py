"""Where marks are kept: in the results folder, or with their images in a folder that can be learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam._napari._marking._marks import Marked
from napari_tam.errors import InputError
from napari_tam.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_tam._napari._found import Found
    from napari_tam.settings import Settings

#: The folder within a results folder.
_FOLDER = "marks"

#: The settings that a line is drawn by.
LEARNT = ("puncta_score", "puncta_threshold", "puncta_thresholds")


def keep(folder: Path, image: str, label: str, marked: Marked) -> None:
    """Write the marks of an image into its results folder; where there are none, those of before go."""
    from napari_tam.train.marks_files import ENDING, REGIONS, write_marks

    place, name = folder / _FOLDER, _name(image, label)
    if len(marked.points) or marked.regions:
        write_marks(place, name, marked.points, marked.regions)
        return
    for ending in (ENDING, REGIONS):
        (place / f"{name}{ending}").unlink(missing_ok=True)


def kept(folder: Path | None, image: str, label: str) -> Marked | None:
    """Read the marks that a results folder has of an image; None if it has none. Raises InputError."""
    from napari_tam.train.marks_files import ENDING, REGIONS, read_marks, read_regions

    if folder is None:
        return None
    place, name = folder / _FOLDER, _name(image, label)
    points, regions = place / f"{name}{ENDING}", place / f"{name}{REGIONS}"
    if not points.is_file():
        return None
    return Marked(read_marks(points), read_regions(regions) if regions.is_file() else ())


def save_all(folder: Path, marked: Iterable[tuple[Found, str, Marked]]) -> int:
    """Write marks with their images, as ``napari-tam train puncta`` reads them; return of how many images.

    Parameters
    ----------
    folder
        Where.
    marked
        Results, exosome labels (empty for a single one), and what is marked.

    Raises
    ------
    InputError
        If an image is not open, or something cannot be written.
    """
    from napari_tam.train.marks_files import write_channel, write_marks

    number = 0
    for found, label, own in marked:
        field, name = found.analysis.raw or found.analysis.field, _name(found.name, label)
        if not field.channels:
            raise InputError(
                "only the results are open, and the image belongs to its marks", where=found.name
            )
        write_marks(folder, name, own.points, own.regions)
        write_channel(folder, name, field, field.exosomes[label])
        number += 1
    return number


def write_settings(path: Path, settings: Settings) -> None:
    """Write what is learnt into a settings file; a new one gets all of these settings. Raises InputError."""
    from napari_tam.settings import Settings

    if path.exists():
        settings = Settings.from_yaml(path).updated(**{name: getattr(settings, name) for name in LEARNT})
    write_text(path, settings.to_yaml())


def _name(image: str, label: str) -> str:
    return f"{image} {label}".strip()
