"""What a results folder held when it was written last: the hashes of its tables and settings, in run.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_tam import files

if TYPE_CHECKING:
    from pathlib import Path

#: Where run.json keeps them: name of the file to SHA-256.
WRITTEN = "files"

#: Endings of the files that are kept account of: tables, settings, layout.
_KEPT = (".csv", ".parquet", ".yaml")


def note_written(folder: Path) -> None:
    """Note what the files of a results folder are, for `napari_tam.batches.verify`.

    Nothing is noted where there is no run.json, or a damaged one.

    Raises
    ------
    OutputError
        If it cannot be written.
    OSError
        If a file cannot be read.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(record, dict) and record.get(WRITTEN) != (now := hashes(folder)):
        files.write_json(path, {**record, WRITTEN: now})
        files.sync(folder)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the tables and settings of a results folder, by name (raises OSError)."""
    from napari_tam.files import file_hash

    kept = sorted(path for path in folder.iterdir() if path.suffix in _KEPT and path.is_file())
    return {path.name: file_hash(path) for path in kept}
