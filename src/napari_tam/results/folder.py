"""The results folder: tables, masks, pictures and the record of the run.

::

    cells.csv  cells.parquet  puncta.csv  puncta.parquet  images.csv  settings.yaml  run.json
    thresholds.csv  replicates.csv  comparisons.csv  layout.csv (see `napari_tam.batches.conclude`)
    gates.csv  cell_types.csv  marker_agreement.csv (the same, with marker channels)
    puncta_threshold.json  cell_diameter.json  camera_defects.json  defects.csv (what a batch learnt first)
    masks/<image>_cells.tif   masks/<image>_nuclei.tif   overlays/<image>.png
    fields/ (every field on its own, see `napari_tam.results.field_store`)

Every file is written as a temporary ``.part`` file and renamed atomically, so that a cancel or a kill leaves
either the old file or the new one.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError, one_line
from napari_tam.files import check_writable, replacing
from napari_tam.pipeline.tile_labels import forget
from napari_tam.results.tables import read_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

#: A label image: YX, of a volume ZYX; 0 = background.
Labels = npt.NDArray[np.unsignedinteger[Any]]

#: The folders in a results folder.
FOLDERS = ("masks", "overlays", "fields", "fields/cells", "fields/puncta", "fields/files")

#: What `images.csv` says about an image.
OK, FAILED, PENDING = "ok", "failed", "not analysed"

#: Larger masks are written in tiles of this side.
TILED_MASK_PX, MASK_TILE_PX = 2**26, 512

#: First columns of `images.csv`; the figures of `napari_tam.columns.SUMMARY_COLUMNS` follow.
IMAGE_COLUMNS = (
    "image",
    "source",
    "frame",
    "status",
    "error",
    "seconds",
    "height_px",
    "width_px",
    "pixel_size_um",
    "frame_interval_min",
)


def prepare(out: Path) -> None:
    """Make the results folder and its sub-folders, and check that they can be written.

    Raises
    ------
    InputError
        If `out` is a file, or cannot be made or written.
    """
    if out.exists() and not out.is_dir():
        raise InputError("the output is a file, not a folder", where=out, fix="choose another --out folder")
    for folder in (out, *(out / name for name in FOLDERS)):
        check_writable(folder)


def write_mask(path: Path, labels: Labels, pixel_size_um: float, z_step_um: float | None = None) -> None:
    """Write a label image as a compressed OME-TIFF that carries its pixel (voxel) size.

    Parameters
    ----------
    path
        The file.
    labels
        YX or ZYX, 0 = background; stored as uint16, or uint32 when there are more than 65,535
        labels; a large one in tiles.
    pixel_size_um
        Edge length of a pixel in µm.
    z_step_um
        Distance between the planes of ZYX labels in µm.
    """
    import tifffile

    large = labels.ndim == 2 and labels.size > TILED_MASK_PX
    # strip by strip: a large image's labels are a file, of which not all should come into memory
    highest = (
        max((int(part.max()) for part in _strips(labels)), default=0) if large else labels.max(initial=0)
    )
    dtype = np.dtype(np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32)
    sizes = {"X": pixel_size_um, "Y": pixel_size_um} | ({} if z_step_um is None else {"Z": z_step_um})
    tiled: dict[str, Any] = {}
    if large:
        tiled = {"shape": labels.shape, "dtype": dtype, "tile": (MASK_TILE_PX, MASK_TILE_PX), "bigtiff": True}
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            _tiles(labels, dtype) if large else labels.astype(dtype, copy=False),
            ome=True,
            photometric="minisblack",
            compression="zlib",
            # labels are long runs of equal values: level 1 is as small as level 6 here
            compressionargs={"level": 1},
            predictor=False,
            metadata={
                "axes": "ZYX"[-labels.ndim :],
                # from the content in the place of a random one: the same labels are the same file
                "UUID": str(uuid.UUID(bytes=_digest(labels, dtype))),
                **{f"PhysicalSize{axis}": size for axis, size in sizes.items()},
                **{f"PhysicalSize{axis}Unit": "µm" for axis in sizes},
            },
            **tiled,
        )


def _digest(labels: Labels, dtype: np.dtype[Any]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for part in _strips(labels) if labels.ndim == 2 else labels:
        digest.update(np.ascontiguousarray(part, dtype).tobytes())
    return digest.digest()


def _strips(labels: Labels) -> Iterator[Labels]:
    for y in range(0, labels.shape[0], MASK_TILE_PX):
        yield labels[y : y + MASK_TILE_PX]
        forget(labels)


def _tiles(labels: Labels, dtype: np.dtype[Any]) -> Iterator[Labels]:
    """Yield the tiles of a label image, row by row; those at its end are filled with background."""
    for strip in _strips(labels):
        for x in range(0, labels.shape[1], MASK_TILE_PX):
            tile = np.zeros((MASK_TILE_PX, MASK_TILE_PX), dtype)
            part = strip[:, x : x + MASK_TILE_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


@dataclass(frozen=True)
class Results:
    """A results folder that was read back.

    Attributes
    ----------
    folder
        Where it is.
    images, cells, puncta
        The tables: one row per image, cell or punctum.
    """

    folder: Path
    images: pd.DataFrame
    cells: pd.DataFrame
    puncta: pd.DataFrame

    def masks(self, image: str, kind: str = "cells") -> Labels | None:
        """Return the labels (YX, of a volume ZYX) of ``cells`` or ``nuclei``, or None without them."""
        path = mask_path(self.folder, image, kind)
        return read_mask(path) if path.exists() else None


def mask_path(folder: Path, image: str, kind: str) -> Path:
    """Return where the label image of ``cells`` or ``nuclei`` lies in a results folder."""
    return folder / "masks" / f"{image}_{kind}.tif"


def overlay_path(folder: Path, image: str) -> Path:
    """Return where the picture of an image lies in a results folder."""
    return folder / "overlays" / f"{image}.png"


def read_mask(path: Path) -> Labels:
    """Read a label image (YX or ZYX).

    Raises
    ------
    InputError
        If it cannot be read or is no 2-D or 3-D image of whole numbers.
    """
    import tifffile

    try:
        labels = tifffile.imread(path)
    except Exception as error:  # a damaged TIFF raises nearly anything
        raise InputError(f"the mask cannot be read ({one_line(error)})", where=path) from error
    if labels.ndim not in (2, 3) or labels.dtype.kind not in "iub" or (labels.size and labels.min() < 0):
        raise InputError(
            f"not a label image (shape {labels.shape}, {labels.dtype})",
            where=path,
            fix="it must be one plane (or z-stack) of whole numbers, 0 = background",
        )
    unsigned: Labels = labels.astype(np.uint32)
    return unsigned


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises
    ------
    InputError
        If it is none, or a table is missing or damaged.
    """
    if not (folder / "images.csv").exists():
        raise InputError(
            "not a results folder (it has no images.csv)",
            where=folder,
            fix="give the --out folder of 'napari-tam analyse'",
        )
    images, cells, puncta = (read_csv(folder / f"{name}.csv") for name in ("images", "cells", "puncta"))
    return Results(folder, images, cells, puncta)
