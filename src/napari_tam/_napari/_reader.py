"""File → Open on a results folder, or on a mask in one: an image with its cells, nuclei and puncta."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning

from napari_tam._napari._colours import CellColours
from napari_tam._napari._layers import result_layers
from napari_tam._napari._sample_data import layers_of
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam._napari._sample_data import LayerData
    from napari_tam.field import Field
    from napari_tam.results import Results
    from napari_tam.settings import Settings

_ENDS = ("_cells.tif", "_nuclei.tif")


def results_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what opens a results folder, or a mask in its folder `masks`; None for anything else."""
    given = Path(path) if isinstance(path, str) else None
    if given is None:
        return None
    if given.is_dir() and (given / "images.csv").is_file() and (given / "masks").is_dir():
        return lambda _: open_results(given)
    ends = [end for end in _ENDS if given.name.endswith(end)]
    if ends and given.parent.name == "masks" and (given.parent.parent / "images.csv").is_file():
        return lambda _: open_results(given.parent.parent, given.name.removesuffix(ends[0]))
    return None


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
        If the folder is damaged, has no such image, or the image is a volume.
    """
    from napari_tam.pipeline import Analysis
    from napari_tam.results import OK, read_results
    from napari_tam.settings import Settings

    results = read_results(folder)
    done = results.images[results.images["status"] == OK].set_index("image", drop=False)
    if image is None and len(done):
        image = str(done["image"].iloc[0])
        if len(done) > 1:
            show_info(
                f"Opened {image}, the first of {len(done)} images. For another one, open its mask "
                f"in {folder / 'masks'}"
            )
    if image is None or image not in done.index:
        raise InputError(f"{image or 'no image'} was not analysed", where=folder)
    row = done.loc[image]
    settings = Settings.from_yaml(folder / "settings.yaml")
    cells = results.masks(image)
    if cells is None:
        raise InputError("the mask of the cells is not there", where=folder / "masks")
    if cells.ndim != 2:
        raise InputError(
            f"{image} is a volume, which is not opened as results",
            where=folder,
            fix="Open its masks and its image as layers of their own",
        )
    field = _field(results, image, settings)
    table, puncta = (
        rows[rows["image"] == image].reset_index(drop=True) for rows in (results.cells, results.puncta)
    )
    analysis = Analysis(field, settings, cells, results.masks(image, "nuclei"), table, puncta, dict(row), {})
    where = {"scale": (field.pixel_size_um,) * 2, "units": ("µm", "µm")}
    layers = layers_of(field) if field.channels else []
    for data, arguments, kind in result_layers(analysis, image, where):
        if arguments["name"].startswith("cells"):
            arguments["colormap"] = CellColours.of_column(
                table, "phenotype" if "phenotype" in table else "puncta_count"
            )
        layers.append((data, arguments, kind))
    return layers


def _field(results: Results, image: str, settings: Settings) -> Field:
    """Return the image itself; one without channels if it is not where it was."""
    from napari_tam.field import Field
    from napari_tam.images import read_fields
    from napari_tam.listing import stem_of

    row = results.images.set_index("image").loc[image]
    bare = Field(image, {}, float(str(row["pixel_size_um"])))
    if not str(row["source"] or ""):
        return bare
    path = Path(str(row["source"]))
    try:
        fields = list(read_fields(path, settings))
    except InputError as error:
        show_warning(f"Only masks and puncta of {image} are shown: {error}")
        return bare
    ends = fields if len(fields) == 1 else [f for f in fields if image.endswith(f.name[len(stem_of(path)) :])]
    return replace(ends[0], name=image) if len(ends) == 1 else bare
