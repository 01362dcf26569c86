"""Tables as CSV and Parquet files, and back."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.errors import InputError, one_line
from napari_tam.output import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV (UTF-8; missing values empty; texts safe for a spreadsheet).

    File and channel names come from users: a text that begins with ``= + - @``, a tab, a carriage
    return or an apostrophe gets an apostrophe in front, so that no spreadsheet runs it as a
    formula; `read_csv` takes it off again.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    for index, column in enumerate(table.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            safe = pc.replace_substring_regex(table.column(index), r"^([=+\-@\t\r'])", r"'\1")
            table = table.set_column(index, column.name, safe)
    # the header apart: pyarrow would put quotes around every name
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(table.column_names)
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(header.getvalue().encode())
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

    known = (
        *columns.CELL_COLUMNS,
        *columns.PUNCTA_COLUMNS,
        *columns.SUMMARY_COLUMNS,
        *columns.VOLUME_PUNCTA_COLUMNS,
        *columns.phenotype_columns(),
        *columns.KINETICS_COLUMNS,
        *columns.LAYOUT_COLUMNS,
        *columns.THRESHOLD_COLUMNS,
        *columns.REPLICATE_COLUMNS,
        *columns.COMPARISON_COLUMNS,
    )
    return {"source", "status", "error", *(column.name for column in known if column.kind == "text")}


def stack(frames: Sequence[pd.DataFrame]) -> pa.Table:
    """Put tables (at least one) below one another.

    A column that some tables lack is empty there; types are widened as needed.
    """
    import pyarrow as pa

    tables = [pa.Table.from_pandas(frame, preserve_index=False) for frame in frames]
    # an empty table knows no types, so it must not widen the others'
    filled = [table for table in tables if table.num_rows]
    tables = [table.replace_schema_metadata(None) for table in filled or tables[-1:]]
    return pa.concat_tables(tables, promote_options="permissive")


def rows_table(rows: Sequence[Mapping[str, object]], first: Sequence[str]) -> pa.Table:
    """Make a table of rows that need not have the same keys; NaN and None become empty."""
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
