"""Tables that a user wrote, as text: CSV of any separator and usual encoding, and Excel workbooks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

#: Workbooks, of which the first fitting sheet is read.
WORKBOOKS = (".xlsx", ".xlsm")
#: Workbooks of other programs, or older ones.
_OTHERS = (".xls", ".xlsb", ".ods", ".numbers")


def read_text_table(path: Path, what: str, keys: Collection[str] = ()) -> pd.DataFrame:
    """Read a table that a user wrote: CSV with commas, semicolons or tabs, or an Excel workbook.

    Text may be UTF-8, UTF-16 (Excel's "Unicode text") or, where it is neither, Windows-1252. Of a workbook
    with several sheets the first one is read that has one of `keys` in its first row.

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
        All values are text. Column names in lower case; blanks around names and values are gone.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    import pandas as pd

    ending = path.suffix.lower()
    if ending in _OTHERS:
        raise InputError(
            f"{what} is a {ending} file, which is not read",
            where=path,
            fix="save it as .xlsx (Excel workbook) or .csv",
        )
    if ending in WORKBOOKS:
        from napari_tam.io.tables.workbook import read_workbook

        rows = read_workbook(path, what, keys)
    else:
        try:
            text = _decoded(path.read_bytes())
            first, _, rest = text.partition("\n")
            if first.strip().lower().startswith("sep="):  # what Excel is told by some programs
                text, first = rest, rest.partition("\n")[0]
            separator = max(",;\t", key=first.count)
            rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, sep=separator)
        except (OSError, ValueError) as error:
            raise InputError(f"{what} cannot be read ({one_line(error)})", where=path) from error
    rows.columns = [str(name).strip().lower() for name in rows.columns]
    return rows.map(lambda value: str(value).strip())


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
