"""What a result depends on, so that a later run can tell whether it still holds."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from napari_tam.correct.defects import DEFECTS_FILE
from napari_tam.files import file_hash
from napari_tam.installation import __version__
from napari_tam.pipeline.rerun import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: Where an image lies, and what identifies its content.
Source = dict[str, Any]


def analysis_hash(settings: Settings, models: Models) -> str:
    """Return a hash of all that the result of any image depends on.

    These are the `relevant_settings`, the hashes of networks and corrections, and
    the version of napari-tam.
    """
    values = {name: getattr(settings, name) for name in relevant_settings(settings)}
    text = json.dumps([values, models.hashes, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def mask_hashes(settings: Settings, models: Models) -> dict[str, str]:
    """Return for ``cells`` and ``nuclei`` a hash of all settings and networks that the masks depend on.

    With the same image and the same corrections by hand, masks of the same hash are the same.
    """
    hashes = {}
    for kind, model in (("cells", settings.cells_model), ("nuclei", settings.nuclei_model)):
        names = [name for name in type(settings).model_fields if kind in steps_of(name, type(settings))]
        values = {name: getattr(settings, name) for name in names}
        # cells are helped by nuclei
        used = [model, settings.corrections, settings.defects, DEFECTS_FILE]
        used += [settings.nuclei_model] if kind == "cells" else []
        files = [models.hashes.get(name) for name in used]
        text = json.dumps([values, files, __version__], sort_keys=True, default=str)
        hashes[kind] = hashlib.sha256(text.encode()).hexdigest()
    return hashes


def relevant_settings(settings: Settings) -> list[str]:
    """Return the names of the settings that the result of an image depends on.

    Not those that enter nothing, or are used after the images (`napari_tam.batches.conclude`).
    """
    return [name for name in type(settings).model_fields if set(settings.entered_by(name)) - {"conclude"}]


def source_of(path: Path, files: Sequence[Path] = ()) -> Source:
    """Return path, size, time of change and SHA-256 of an image.

    Of an image that is a folder (OME-Zarr) the hash is of the names, sizes and times of its files; of one
    that depends on several `files` (a channel each, masks), of their names and hashes.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    size, changed = state_of(files or [path])
    return {
        "path": str(path.resolve()),
        "size": size,
        "mtime_ns": changed,
        "sha256": _hash(path, files),
    }


def is_same(path: Path, source: Source | None, files: Sequence[Path] = ()) -> bool:
    """Tell whether an image is still the one of a `source_of`.

    If path, size and modification time are the same, its content is not read; a file that was moved or
    touched is the same if its hash is.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    size, changed = state_of(files or [path])
    if source is not None and path.is_dir():
        return bool(source.get("sha256") == _hash(path, files))
    if source is None or source.get("size") != size:
        return False
    untouched = source.get("mtime_ns") == changed and source.get("path") == str(path.resolve())
    return untouched or bool(source.get("sha256") == _hash(path, files))


def state_of(files: Sequence[Path]) -> tuple[int, int]:
    """Return the size of files together, and when the last of them was changed (ns)."""
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)


def _hash(path: Path, files: Sequence[Path]) -> str:
    if len(files) < 2:
        return _own_hash(path)
    text = "\n".join(f"{file.name} {_own_hash(file)}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def _own_hash(path: Path) -> str:
    return _folder_hash(path) if path.is_dir() else file_hash(path)


def _folder_hash(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            stat = file.stat()
            digest.update(f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
