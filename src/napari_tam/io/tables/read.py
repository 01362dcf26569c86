"""Tables that a user wrote, as text: CSV of any separator and usual encoding, and Excel workbooks."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, one_line
from napari_tam.io.tables.heads import MOST_TITLES, head_of, is_head

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

#: Workbooks, of which the first fitting sheet is read.
WORKBOOKS = (".xlsx", ".xlsm")
#: Workbooks of other programs, or older ones.
OTHERS = (".xls", ".xlsb", ".ods", ".numbers")


def read_text_table(path: Path, what: str, keys: Collection[str] = ()) -> pd.DataFrame:
    """Read a table that a user wrote: CSV with commas, semicolons or tabs, or an Excel workbook.

    Text may be UTF-8, UTF-16 (Excel's "Unicode text") or, where it is neither, Windows-1252. Of a workbook
    with several sheets the first one is read that has one of `keys` in its head, which may stand below a few
    lines of title.

    Parameters
    ----------
    path
        The file.
    what
        What it is, for messages.
    keys
        Names (lower case) of which one must be a column.

    Returns
    -------
    pandas.DataFrame
        All values are text, missing ones empty. Column names in lower case; blanks around names and values
        are gone, and so are columns without a name.

    Raises
    ------
    InputError
        If it cannot be read, a column is there twice, or a row has more values than there are names.
    """
    import pandas as pd

    ending = path.suffix.lower()
    if ending in OTHERS:
        raise InputError(
            f"{what} is a {ending} file, which is not read",
            where=path,
            fix="save it as .xlsx (Excel workbook) or .csv",
        )
    if ending in WORKBOOKS:
        from napari_tam.io.tables.workbook import read_workbook

        head, *body = read_workbook(path, what, keys)
    else:
        head, *body = _read_text(path, what, keys)
    names = {k: name.strip().lower() for k, name in enumerate(head) if name.strip()}
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise InputError(f"the column '{twice[0]}' is there twice", where=path)
    rows = [[row[k].strip() if k < len(row) else "" for k in names] for row in body]
    return pd.DataFrame(rows, columns=list(names.values()), dtype=str)


def _read_text(path: Path, what: str, keys: Collection[str]) -> list[list[str]]:
    """Return the rows of a CSV file that are not empty, its head first."""
    try:
        text = _decoded(path.read_bytes())
        first, _, rest = text.partition("\n")
        if first.strip().lower().startswith("sep="):  # what Excel is told by some programs
            text = rest
        separator = _separator(text, keys)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{what} cannot be read ({one_line(error)})", where=path) from error
    if not lines:
        raise InputError(f"{what} is empty", where=path)
    start = head_of([row for _, row in lines], keys)
    lines = lines[start:]
    named = [k for k, name in enumerate(lines[0][1]) if name.strip()]
    for number, row in lines[1:]:
        # beside the table there may be remarks, but not where a decimal comma makes one value two
        if separator == "," and any(cell.strip() for cell in row[named[-1] + 1 :]):
            raise InputError(
                f"line {number} has more values than the {len(named)} columns that have a name",
                where=path,
                fix="separate the values by semicolons, or put those with a decimal comma into quotes",
            )
    return [row for _, row in lines]


def _separator(text: str, keys: Collection[str]) -> str:
    """Return what separates the values: the one that the line with the names has most."""
    lines = [line for line in text.splitlines() if line.strip()][: MOST_TITLES + 1]
    heads = [line for line in lines if is_head(re.split(r"[,;\t]", line.replace('"', "")), keys)]
    return max(",;\t", key=[*heads, *lines, ""][0].count)


def _decoded(content: bytes) -> str:
    """Return text in the encoding that it is in (raises ValueError)."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if b"\0" in content[:1000]:
        raise ValueError("it is no text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")
