"""OME-Zarr folders whose metadata or files no honest program writes: one sentence, at once."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
from zarr_files import write_zarr

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def reshaped(path: Path, shape: list[int], chunk: list[int] | None = None) -> Path:
    """Write an OME-Zarr, and other sizes into its metadata."""
    write_zarr(path, "0.4")
    meta = path / "0" / ".zarray"
    values = json.loads(meta.read_text())
    values["shape"] = shape
    values["chunks"] = chunk or values["chunks"]
    meta.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ([3, 10**9, 10**9], None),
        ([10**9, 96, 128], None),
        ([3, 10**6, 10**6], [1, 16, 16]),
        ([3, 96, 128], [1, 10**6, 10**6]),
    ],
)
def test_an_absurd_shape_is_refused_before_anything_is_listed(
    tmp_path: Path, shape: list[int], chunk: list[int] | None
) -> None:
    path = reshaped(tmp_path / "a.ome.zarr", shape, chunk)
    with pytest.raises(InputError, match="no image is so large"):
        list(read_fields(path, Settings()))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such devices")
@pytest.mark.parametrize("what", ["/dev/zero", "pipe"])
@pytest.mark.parametrize("where", ["0/.zarray", ".zattrs", "0/0/0/0"])
def test_an_endless_file_is_refused_before_it_is_read(tmp_path: Path, what: str, where: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", "0.4")
    target = path / where
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if what == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to(what)
    with pytest.raises(InputError, match="is no file, but a device, pipe or socket"):
        list(read_fields(path, Settings()))
