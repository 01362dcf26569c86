"""Corrected masks as a training set: what `napari-tam train cells` and Cellpose learn from.

::

    a.tif         the cell stain and, where there is one, the nuclear stain (OME-TIFF, CYX)
    a_masks.tif   the cells, 0 = background (OME-TIFF, YX)

one pair per field, side by side in one folder. ``cellpose --train --dir FOLDER --chan 1 --chan2 2`` (version
3) takes the same folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.files import make_folder, replacing
from napari_tam.results.edits import read_edits
from napari_tam.results.folder import OK, read_mask, read_results, write_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_tam.io.field import Field
    from napari_tam.settings import Settings

#: The channels that the `cells` network sees, in its order.
ROLES = ("cell", "nucleus")

#: Tiles so large that every image is read in one piece.
WHOLE_PX = 32_768

#: How positions and frames of one file are numbered (`napari_tam.io.images`): they are not independent
#: images.
_PART = re.compile(r"(_s\d{2,})?(_t\d{4,})?$")


@dataclass(frozen=True)
class TrainingField:
    """A field whose cells are known.

    Attributes
    ----------
    name
        Of the image.
    group
        Fields of one group (positions and frames of one file) are never judged by one another.
    channels
        ``cell`` and perhaps ``nucleus`` → YX array.
    cells
        Label image (YX), 0 = background.
    pixel_size_um
        Edge length of a pixel.
    """

    name: str
    group: str
    channels: dict[str, npt.NDArray[np.generic]]
    cells: npt.NDArray[np.unsignedinteger[Any]]
    pixel_size_um: float


def training_field(
    field: Field, cells: npt.NDArray[np.unsignedinteger[Any]], group: str = ""
) -> TrainingField:
    """Make a training field of an image and its corrected cells.

    Raises
    ------
    InputError
        If it is a volume, there is no cell in it, or the mask has another size.
    """
    if cells.ndim != 2 or field.z_step_um is not None:
        raise InputError(
            "the network is trained on planes, and this is a volume",
            where=field.name,
            fix="analyse the stack with --z-stack project, and correct that",
        )
    if cells.shape != field.shape:
        raise InputError(f"the mask is {cells.shape}, the image {field.shape}", where=field.name)
    if not cells.any():
        raise InputError("there is no cell in the mask", where=field.name, fix="leave this field out")
    channels = {role: field.channels[role] for role in ROLES if role in field.channels}
    return TrainingField(field.name, group or _PART.sub("", field.name), channels, cells, field.pixel_size_um)


def results_fields(folder: Path, *, every: bool = False) -> Iterator[TrainingField]:
    """Read the fields of a results folder whose cells were corrected by hand.

    Parameters
    ----------
    folder
        The --out folder of ``napari-tam analyse``, with ``edits/``.
    every
        Take the other analysed fields, too, with the masks that were found: right only where somebody
        looked at them and had nothing to correct.

    Raises
    ------
    InputError
        If the folder or an image cannot be read, or no field was corrected.
    """
    from pathlib import Path

    from napari_tam.correct.apply import correct
    from napari_tam.correct.folder import read_corrections
    from napari_tam.train.known_cells import source_field

    results, settings = read_results(folder), settings_of(folder)
    corrections = None
    if settings.corrections != "none":
        corrections = read_corrections(Path(settings.corrections).expanduser())
    done = results.images[results.images["status"] == OK]
    some = False
    for name, source, height, width in zip(
        done["image"], done["source"], done["height_px"], done["width_px"], strict=True
    ):
        edits = read_edits(folder, str(name), (int(height), int(width)))
        cells = None if edits is None else edits.cells
        if cells is None and every:
            cells = results.masks(str(name))
        if cells is None or (every and not cells.any()):
            continue
        # What the network sees in an analysis: the stain after the microscope's corrections.
        # A slide, too, is read in one piece: it is cut later.
        whole = settings.updated(tile_px=WHOLE_PX)
        field = correct(source_field(results, str(name), whole), settings, corrections).field
        some = True
        yield training_field(field, cells, str(source))
    if not some:
        raise InputError(
            "no cells were corrected in these results",
            where=folder,
            fix="correct some in napari (tab Correct), or take all fields as they are with "
            "'napari-tam export-training --all'",
        )


def settings_of(folder: Path) -> Settings:
    """Return the settings of a results folder (or any folder with settings.yaml), or the defaults."""
    from napari_tam.settings import Settings

    path = folder / "settings.yaml"
    return Settings.from_yaml(path) if path.exists() else Settings()


def folder_fields(folder: Path, settings: Settings) -> Iterator[TrainingField]:
    """Read a training set: every ``a_masks.tif`` with the image ``a.tif`` (or ``a.ome.tif``).

    Parameters
    ----------
    folder
        The folder.
    settings
        Uses `channels` and `pixel_size_um`; without them, the first channel is the cell stain and a second
        one the nucleus where the names tell nothing, as in Cellpose.

    Raises
    ------
    InputError
        If there is no such pair, or one cannot be read.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder", where=folder, fix="check the name")
    masks = sorted(folder.glob("*_masks.tif"))
    if not masks:
        raise InputError(
            "neither a results folder nor a training set (no images.csv, no *_masks.tif)",
            where=folder,
            fix="the masks of a.tif are a_masks.tif; 'napari-tam export-training' writes such a folder",
        )
    for path in masks:
        stem = path.name.removesuffix("_masks.tif")
        places = [folder / (stem + end) for end in (".tif", ".tiff", ".ome.tif", ".ome.tiff")]
        image = next((place for place in places if place.is_file()), None)
        if image is None:
            raise InputError("there is no image for this mask", where=path, fix=f"put {stem}.tif beside it")
        yield training_field(_read_image(image, stem, settings), read_mask(path))


def _read_image(path: Path, name: str, settings: Settings) -> Field:
    from napari_tam.io.channels import guess_roles
    from napari_tam.io.images import read_fields
    from napari_tam.io.stack import Stack
    from napari_tam.io.tiff import open_tiff
    from napari_tam.io.tiff_metadata import read_metadata

    with open_tiff(path) as (tif, series):
        number = Stack(path, tif, series[0]).n_channels
        names = read_metadata(tif, list(series), 0, number).channel_names
    if not settings.channels and "cell" not in guess_roles(names) and number <= len(ROLES):
        settings = settings.updated(channels={role: i for i, role in enumerate(ROLES[:number])})
    settings = settings.updated(z_stack="project")
    fields = list(read_fields(path, settings, name=name, required=("cell",)))
    if len(fields) != 1:
        raise InputError(f"there are {len(fields)} fields in the file, and one mask", where=path)
    return fields[0]


def read_training_fields(paths: Sequence[Path], settings: Settings) -> list[TrainingField]:
    """Read results folders (the corrected fields) and training sets.

    Parameters
    ----------
    paths
        The folders.
    settings
        For training sets, see `folder_fields`; results folders have their own.

    Raises
    ------
    InputError
        If one cannot be used.
    """
    found: list[TrainingField] = []
    for path in paths:
        if (path / "images.csv").exists():
            found += results_fields(path)
        else:
            found += folder_fields(path, settings)
    return found


def write_training_set(fields: Iterator[TrainingField], out: Path) -> list[Path]:
    """Write a training set.

    Returns
    -------
    list of Path
        The images; the masks of ``a.tif`` are ``a_masks.tif``.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    make_folder(out)
    written = []
    for field in fields:
        path = out / f"{field.name}.tif"
        write_channels(path, field.channels, field.pixel_size_um)
        write_mask(out / f"{field.name}_masks.tif", field.cells, field.pixel_size_um)
        written.append(path)
    return written


def write_channels(path: Path, channels: Mapping[str, npt.NDArray[Any]], pixel_size_um: float) -> None:
    """Write channels of a plane (role → YX) as an OME-TIFF (CYX), named by their roles; raises InputError."""
    import tifffile

    with replacing(path) as part:
        tifffile.imwrite(
            part,
            np.stack(list(channels.values())),
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata={
                "axes": "CYX",
                "Channel": {"Name": list(channels)},
                "PhysicalSizeX": pixel_size_um,
                "PhysicalSizeY": pixel_size_um,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeYUnit": "µm",
            },
        )
