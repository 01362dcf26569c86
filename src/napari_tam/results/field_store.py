"""What is kept of every field as soon as it is analysed, from which the tables of a run are put together.

::

    RESULTS/fields/cells/<image>.parquet   RESULTS/fields/puncta/<image>.parquet   (each folder is a dataset)
    RESULTS/fields/<image>.json            the image's row of images.csv, and what the result depends on
    RESULTS/fields/files/<file>.json       the images of a file, once all of them are done

The JSON file of a field is written last and removed first, so a field that has one is whole; the one
of a file says that nothing more comes from it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam import files
from napari_tam.columns import JUDGED
from napari_tam.errors import InputError
from napari_tam.pipeline.analysis import Segmented
from napari_tam.results import folder as results
from napari_tam.results.edits import edits_hash
from napari_tam.results.overlay import encode_png, overlay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.results.fingerprint import Source

#: One row of images.csv.
Row = dict[str, Any]

_TABLES = ("cells", "puncta")


@dataclass(frozen=True)
class Stamp:
    """What a result depends on: the image, and how it is analysed.

    Attributes
    ----------
    source
        See `napari_tam.results.fingerprint.source_of`; None for an image that could not even be looked at.
    analysis
        See `napari_tam.results.fingerprint.analysis_hash`.
    """

    source: Source | None
    analysis: str


class FieldStore:
    """The finished fields of a results folder.

    Parameters
    ----------
    out
        The results folder.
    make
        Whether the folders that it needs are made.

    Raises
    ------
    OutputError
        If they cannot be made.
    """

    def __init__(self, out: Path, *, make: bool = True) -> None:
        self.out = out
        self.folder = out / "fields"
        folders = [self.folder, *(self.folder / name for name in (*_TABLES, "files"))]
        for folder in folders if make else ():
            files.make_folder(folder)

    def table_path(self, table: str, name: str) -> Path:
        """Return where the ``cells`` or ``puncta`` of a field are."""
        return self.folder / table / f"{name}.parquet"

    def write(
        self,
        analysis: Analysis,
        row: Row,
        stamp: Stamp,
        *,
        pictures: bool,
        edits: str = "",
        masks: Mapping[str, str] | None = None,
    ) -> Row:
        """Write masks, picture, tables and row of a field, each in one step; return the row as it reads back.

        Parameters
        ----------
        analysis, row
            What was found.
        stamp, edits
            What it depends on: see `Stamp`, and `napari_tam.results.edits.edits_hash`.
        pictures
            Whether a picture is wanted.
        masks
            What the masks depend on: see `napari_tam.results.fingerprint.mask_hashes`.

        Raises
        ------
        OutputError
            If one cannot be written.
        """
        field = analysis.field
        self._forget(field.name)
        for kind, labels in (("cells", analysis.cells), ("nuclei", analysis.nuclei)):
            path = results.mask_path(self.out, field.name, kind)
            if labels is None:
                _remove(path)
            else:
                results.write_mask(path, labels, field.pixel_size_um, field.z_step_um)
        path = results.overlay_path(self.out, field.name)
        if pictures:
            with files.replacing(path) as part:
                part.write_bytes(encode_png(overlay(analysis)))
        else:
            _remove(path)
        for table, frame in (("cells", analysis.table), ("puncta", analysis.puncta)):
            self._write_table(self.table_path(table, field.name), frame)
        known = {kind: [told, self._mask_hash(field.name, kind)] for kind, told in (masks or {}).items()}
        return self._write_row(field.name, row, stamp, edits, known)

    def segmented(self, name: str, stamp: Stamp, edits: str, masks: Mapping[str, str]) -> Segmented:
        """Return those masks of a field that still hold though its other results do not.

        Parameters
        ----------
        name
            The field.
        stamp, edits, masks
            What its masks depend on now, as for `write`.
        """
        values = _read(self.folder / f"{name}.json") or {}
        known, source = values.get("masks"), values.get("source")
        if not (isinstance(known, dict) and isinstance(source, dict) and stamp.source is not None):
            return Segmented()
        if source.get("sha256") != stamp.source["sha256"] or values.get("edits", "") != edits:
            return Segmented()
        found: dict[str, Any] = {}
        for kind, told in masks.items():
            path = results.mask_path(self.out, name, kind)
            if path.exists() and known.get(kind) == [told, self._mask_hash(name, kind)]:
                with contextlib.suppress(InputError):
                    found[kind] = results.read_mask(path)
        row = values["row"]
        return Segmented(
            **found,
            cell_diameter_um=float(row.get("cell_diameter_um", "nan")),
            diameter_doubt=str(row.get("cell_diameter_doubt") or ""),
            judged=self._judged(name) if "cells" in found else None,
        )

    def _judged(self, name: str) -> pd.DataFrame | None:
        """Return how each cell of a field was found, by label; None where its table does not tell."""
        try:
            table = pd.read_parquet(self.table_path("cells", name), columns=["label", *JUDGED])
            return table.set_index("label")
        except (OSError, ValueError, KeyError):  # gone, damaged, or of an older version
            return None

    def _mask_hash(self, name: str, kind: str) -> str | None:
        path = results.mask_path(self.out, name, kind)
        return files.file_hash(path) if path.exists() else None

    def write_failure(self, name: str, row: Row, stamp: Stamp) -> Row:
        """Note that an image failed; what an earlier run wrote for it is removed."""
        self._forget(name)
        for kind in ("cells", "nuclei"):
            _remove(results.mask_path(self.out, name, kind))
        _remove(results.overlay_path(self.out, name))
        for table in _TABLES:
            _remove(self.table_path(table, name))
        return self._write_row(name, row, stamp, edits_hash(self.out, name))

    def finish_file(self, name: str, fields: Sequence[str], stamp: Stamp) -> None:
        """Note that a file's fields are these, and all done."""
        values = {"fields": list(fields), "source": stamp.source, "analysis": stamp.analysis}
        files.write_json(self._file_path(name), values)

    def row(self, name: str, *, pictures: bool) -> tuple[Row, Stamp] | None:
        """Return the row and stamp of a field that is whole and was not corrected since, or None.

        Parameters
        ----------
        name
            The field.
        pictures
            Whether it must have a picture.
        """
        values = _read(self.folder / f"{name}.json")
        if values is None or not isinstance(values.get("row"), dict):
            return None
        row: Row = values["row"]
        if values.get("edits", "") != edits_hash(self.out, name):
            return None
        if row.get("status") == results.OK:
            needed = [self.table_path(table, name) for table in _TABLES]
            needed.append(results.mask_path(self.out, name, "cells"))
            if pictures:
                needed.append(results.overlay_path(self.out, name))
            if not self._is_whole(needed, values.get("files")):
                return None
        return row, Stamp(values.get("source"), str(values.get("analysis")))

    def _files(self, name: str) -> dict[str, Path]:
        """Return the files of a field by what they are."""
        return {
            **{table: self.table_path(table, name) for table in _TABLES},
            "mask": results.mask_path(self.out, name, "cells"),
            "picture": results.overlay_path(self.out, name),
        }

    def _is_whole(self, needed: Sequence[Path], marks: object) -> bool:
        """Tell whether files are there and as they were written: a power cut may leave them short, or empty.

        What an earlier version wrote has no marks: then tables must open, and nothing be empty.
        """
        import pyarrow as pa
        import pyarrow.parquet

        known = marks if isinstance(marks, dict) else {}
        kinds = {path: kind for kind, path in self._files(needed[0].stem).items()}
        try:
            for path in needed:
                if (mark := known.get(kinds[path])) is not None:
                    if mark != _mark(path):
                        return False
                elif path.stat().st_size == 0:
                    return False
                elif path.suffix == ".parquet":
                    pyarrow.parquet.ParquetFile(path).close()
        except (OSError, pa.ArrowException):
            return False
        return True

    def names(self) -> set[str]:
        """Return the names of the files that something is known about."""
        try:
            return {path.stem for path in self._file_path("x").parent.iterdir() if path.suffix == ".json"}
        except OSError:
            return set()

    def fields_of(self, name: str) -> tuple[list[str], Stamp] | None:
        """Return the fields of a file that was done with, or None."""
        values = _read(self._file_path(name))
        if values is None or not isinstance(values.get("fields"), list):
            return None
        return values["fields"], Stamp(values.get("source"), str(values.get("analysis")))

    def open_file(self, name: str) -> None:
        """Let a file count as not done; its fields do."""
        _remove(self._file_path(name))

    def drop_picture(self, name: str) -> None:
        """Remove the picture of a field, which was analysed when pictures were wanted."""
        _remove(results.overlay_path(self.out, name))
        path = self.folder / f"{name}.json"
        values = _read(path)
        if values is not None and isinstance(values.get("files"), dict) and "picture" in values["files"]:
            del values["files"]["picture"]
            files.write_json(path, values)

    def _write_table(self, path: Path, frame: pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        # beside the dataset, in which a reader would meet the unfinished file
        with files.replacing(path, self.folder) as part:
            pyarrow.parquet.write_table(table, part)

    def _write_row(
        self, name: str, row: Row, stamp: Stamp, edits: str, masks: Mapping[str, object] | None = None
    ) -> Row:
        text = json.dumps(row, default=_plain, ensure_ascii=False)
        values: Row = json.loads(text)
        known: Row = {"row": values, "source": stamp.source, "analysis": stamp.analysis, "edits": edits}
        known |= {"masks": masks} if masks else {}
        if row.get("status") == results.OK:
            known["files"] = {kind: _mark(path) for kind, path in self._files(name).items() if path.exists()}
        files.write_json(self.folder / f"{name}.json", known)
        return values

    def _file_path(self, name: str) -> Path:
        return self.folder / "files" / f"{name}.json"

    def _forget(self, name: str) -> None:
        path = self.folder / f"{name}.json"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise files.OutputError(path, error) from error


def _plain(value: object) -> object:
    """Return a NumPy number as Python's, and anything else as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _mark(path: Path) -> list[Any]:
    """Return what tells a damaged file: its size, and of a table, which is small, its hash."""
    size = path.stat().st_size
    return [size, files.file_hash(path)] if path.suffix == ".parquet" else [size]


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds; None if it is missing or damaged: then its image is analysed again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _remove(path: Path) -> None:
    """Remove what an earlier run wrote, if it can be."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
