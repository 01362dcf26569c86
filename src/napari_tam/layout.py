"""The plate layout: a CSV table that says what each image is (condition, donor, replicate, …).

::

    well,condition,replicate,donor,control_role
    B02,LPS+IFNg,1,D1,M1
    B03,IL-4,1,D1,M2

A column `well` or `image` says which images a row is about: the well is looked for in the image's
name (``plate1_B02_s3`` is in B02), `image` is the name or a pattern (``plate1_*``); with both, both
must fit. All other columns are carried along as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

#: Columns that can tell independent experiments apart, the largest unit first.
GROUPS = ("donor", "plate", "replicate")

_WELL = re.compile(r"(?<![A-Za-z0-9])([A-Pa-p])(\d{1,2})(?![A-Za-z0-9])")


def well_of(name: str) -> str:
    """Return the well in an image's name as ``B02``; empty if there is none, or more than one.

    Two digits go before one: in ``P1_B02`` the P1 is a plate, and in ``M2_B02`` the M2 a cell.
    """
    found = [(letter.upper(), digits) for letter, digits in _WELL.findall(name) if 1 <= int(digits) <= 24]
    for length in (2, 1):
        wells = {f"{letter}{int(digits):02d}" for letter, digits in found if len(digits) == length}
        if wells:
            return wells.pop() if len(wells) == 1 else ""
    return ""


@dataclass(frozen=True)
class Layout:
    """A layout that was read: one row a well or image pattern, all values text."""

    path: Path
    rows: pd.DataFrame

    def describe(self, images: Sequence[str]) -> pd.DataFrame:
        """Return the rows of images, in their order; empty texts for images without one.

        Raises
        ------
        InputError
            If two rows are about the same image.
        """
        import pandas as pd

        found = []
        for image in images:
            fits = [row for _, row in self.rows.iterrows() if _fits(row, image)]
            if len(fits) > 1:
                raise InputError(
                    f"two rows are about the image {image}",
                    where=self.path,
                    fix="make the patterns or wells exclude one another",
                )
            values = fits[0].to_dict() if fits else {}
            found.append({**values, "image": image, "well": values.get("well") or well_of(image)})
        columns = list(dict.fromkeys(["image", "well", *self.rows.columns]))
        table = pd.DataFrame(found, columns=columns).fillna("")
        return table.set_index("image", drop=False)


def _fits(row: pd.Series[str], image: str) -> bool:
    pattern, well = row.get("image", ""), row.get("well", "")
    by_name = not pattern or pattern == image or fnmatchcase(image, pattern)
    return by_name and (not well or well == well_of(image))


def read_layout(path: Path) -> Layout:
    """Read a layout.

    Raises
    ------
    InputError
        If it cannot be read, or has neither `well` nor `image`, or a well that is none.
    """
    rows = read_text_table(path, "the layout")
    if not {"well", "image"} & set(rows.columns):
        raise InputError(
            f"the layout has no column 'well' or 'image' (it has: {', '.join(rows.columns)})",
            where=path,
            fix="one of them must say which images a row is about",
        )
    if "well" in rows:
        bad = [value for value in rows["well"] if value and not well_of(value)]
        if bad:
            raise InputError(f"'{bad[0]}' is no well", where=path, fix="write e.g. B02")
        rows["well"] = [well_of(value) for value in rows["well"]]
    return Layout(path, rows)


def read_text_table(path: Path, what: str) -> pd.DataFrame:
    """Read a table that a user wrote: CSV with commas, semicolons or tabs; all values text.

    Returns
    -------
    pandas.DataFrame
        Column names in lower case; blanks around names and values are gone.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    import pandas as pd

    try:
        head = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        separator = max(",;\t", key=head.count)
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{what} cannot be read ({one_line(error)})", where=path) from error
    rows.columns = [str(name).strip().lower() for name in rows.columns]
    return rows.map(lambda value: str(value).strip())
