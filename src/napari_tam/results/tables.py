"""Tables as CSV and Parquet files, and back."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from napari_tam.errors import InputError, one_line
from napari_tam.files import OutputError, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

#: So many rows of a long table are in memory at once when it is put together.
PIECE = 20_000


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV (UTF-8; missing values empty; texts safe for a spreadsheet).

    File and channel names come from users: a text that begins with ``= + - @``, a tab, a carriage
    return or an apostrophe gets an apostrophe in front, so that no spreadsheet runs it as a
    formula; `read_csv` takes it off again.
    """
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(_header(table.column_names))
        _append_csv(stream, table)


def _header(names: Sequence[str]) -> bytes:
    """Return the first line of a CSV file; apart, because pyarrow would put quotes around every name."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(names)
    return header.getvalue().encode()


def _append_csv(stream: BinaryIO, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    for index, column in enumerate(table.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            safe = pc.replace_substring_regex(table.column(index), r"^([=+\-@\t\r'])", r"'\1")
            table = table.set_column(index, column.name, safe)
    pyarrow.csv.write_csv(table, stream, pyarrow.csv.WriteOptions(include_header=False))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, types and all."""
    import pyarrow.parquet

    with replacing(path) as part:
        pyarrow.parquet.write_table(table, part)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that `write_csv` wrote.

    Raises
    ------
    InputError
        If it cannot be read or is no CSV table.
    """
    frame: pd.DataFrame = read_arrow(path).to_pandas()
    return frame


def read_arrow(path: Path) -> pa.Table:
    """Read a table that `write_csv` wrote, or a Parquet file, as an Arrow table.

    Written again it is the same, byte by byte.

    Raises
    ------
    InputError
        If it cannot be read or is no table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        texts = _text_columns()
        table = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            # an image may be called "001" or "NA"
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
        )
    except (OSError, ValueError) as error:
        raise InputError(f"the table cannot be read ({one_line(error)})", where=path) from error
    for name in texts.intersection(table.column_names):
        index = table.column_names.index(name)
        table = table.set_column(index, name, pc.replace_substring_regex(table.column(index), "^'", ""))
    for index, column in enumerate(table.schema):
        if pa.types.is_null(column.type):  # a column without any value: NaN rather than None
            table = table.set_column(index, column.name, table.column(index).cast(pa.float64()))
    return table


def _text_columns() -> set[str]:
    """Names of the columns that hold texts, whatever they look like."""
    from napari_tam import columns
    from napari_tam.io import label_columns

    known = (
        *columns.CELL_COLUMNS,
        *columns.PUNCTA_COLUMNS,
        *columns.SUMMARY_COLUMNS,
        *columns.STEP_COLUMNS,
        *columns.VOLUME_PUNCTA_COLUMNS,
        *columns.phenotype_columns(),
        *columns.KINETICS_COLUMNS,
        *columns.LAYOUT_COLUMNS,
        *columns.THRESHOLD_COLUMNS,
        *columns.REPLICATE_COLUMNS,
        *columns.COMPARISON_COLUMNS,
        *columns.TYPE_COLUMNS,
        *columns.GATE_COLUMNS,
        *columns.CELL_TYPE_COLUMNS,
        *columns.AGREEMENT_COLUMNS,
        *columns.TRAFFIC_COLUMNS,
        *columns.TRANSFER_COLUMNS,
        *columns.ASSOCIATION_COLUMNS,
        *columns.UPTAKE_POLARISATION_COLUMNS,
        *columns.DOSE_RESPONSE_COLUMNS,
        *columns.POWER_COLUMNS,
        *label_columns.LABEL_PUNCTA_COLUMNS,
    )
    return {"source", "status", "error", *(column.name for column in known if column.kind == "text")}


def stack(frames: Sequence[pd.DataFrame]) -> pa.Table:
    """Concatenate tables (at least one).

    A column that some tables lack is empty there; types are widened as needed.
    """
    import pyarrow as pa

    tables = [pa.Table.from_pandas(frame, preserve_index=False) for frame in frames]
    # an empty table knows no types, so it must not widen the others'
    filled = [table for table in tables if table.num_rows]
    tables = [table.replace_schema_metadata(None) for table in filled or tables[-1:]]
    return pa.concat_tables(tables, promote_options="permissive")


def assemble(parts: Sequence[Path], empty: pd.DataFrame, csv_file: Path, parquet_file: Path) -> None:
    """Concatenate Parquet files into a CSV and a Parquet file, a few thousand rows at a time.

    The result is that of `stack` for the tables.

    Parameters
    ----------
    parts
        The Parquet files, in order.
    empty
        The table that is written if no file has a row.
    csv_file, parquet_file
        What is written.

    Raises
    ------
    OutputError
        If one cannot be written, or a part is gone.
    """
    import pyarrow as pa
    import pyarrow.parquet

    schemas: list[pa.Schema] = []
    filled = []
    for part in parts:
        try:
            with pyarrow.parquet.ParquetFile(part) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow.remove_metadata()
        except OSError as error:
            raise OutputError(part, error) from error
        except pa.ArrowException as error:
            raise _damaged(part, error) from error
        if rows:
            filled.append(part)
            if schema not in schemas:
                schemas.append(schema)
    schema = pa.unify_schemas(schemas, promote_options="permissive") if schemas else stack([empty]).schema
    with replacing(csv_file) as text, replacing(parquet_file) as binary:
        with text.open("wb") as stream, pyarrow.parquet.ParquetWriter(binary, schema) as writer:
            stream.write(_header(schema.names))
            for table in _in_pieces(filled, schema):
                _append_csv(stream, table)
                writer.write_table(table)


def _damaged(part: Path, error: Exception) -> InputError:
    return InputError(
        f"the table of a field is damaged ({one_line(error)})",
        where=part,
        fix="'napari-tam batch' with the same images and --out analyses that field again",
    )


def _in_pieces(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of tables in chunks that depend on the tables alone."""
    import pyarrow as pa
    import pyarrow.parquet

    pending: list[pa.Table] = [schema.empty_table()]
    rows = 0
    for part in parts:
        try:
            with pyarrow.parquet.ParquetFile(part) as file:
                pending.append(file.read().replace_schema_metadata(None))
        except (OSError, pa.ArrowException) as error:
            raise _damaged(part, error) from error
        rows += pending[-1].num_rows
        if rows >= PIECE:
            yield pa.concat_tables(pending, promote_options="permissive").combine_chunks()
            pending, rows = pending[:1], 0
    if rows:
        yield pa.concat_tables(pending, promote_options="permissive").combine_chunks()


def rows_table(rows: Sequence[Mapping[str, object]], first: Sequence[str]) -> pa.Table:
    """Make a table from rows that need not have the same keys; NaN and None become empty."""
    import pyarrow as pa

    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        values = [None if isinstance(value, float) and np.isnan(value) else value for value in values]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            columns[name] = pa.array([None if value is None else str(value) for value in values])
    return pa.table(columns)
