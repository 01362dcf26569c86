"""The plate layout: a CSV table that says what each image is (condition, dose, donor, replicate, …).

::

    well,condition,dose,time,replicate,donor,control_role
    B02,LPS+IFNg,10,4,1,D1,M1
    B03,IL-4,10,4,1,D1,M2
    B04,medium,0,4,1,D1,dye_only

A column `well` or `image` says which images a row is about: the well is looked for in the image's
name (``plate1_B02_s3`` is in B02), `image` is the name or a pattern (``plate1_*``); with both, both
must fit. Where several plates have the same wells, the column `plate` tells them apart if the
images' names hold it. `dose` and `time` are numbers; all other columns are carried along as text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from napari_tam.columns import LAYOUT_COLUMNS
from napari_tam.errors import InputError, nearest, some
from napari_tam.io.tables.read import read_text_table
from napari_tam.markers.names import same_marker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

#: Columns that can tell independent experiments apart, the largest unit first.
GROUPS = ("donor", "plate", "replicate")

#: Cells of these controls were given no exosomes; of one of several labels: ``dye_only:PKH26``.
NO_EXOSOMES = ("dye_only", "no_exosome")

#: Controls of markers, which lack a stain or have an antibody that binds nothing; of one marker:
#: ``fmo:CD86``.
MARKER_CONTROLS = ("fmo", "isotype", "unstained")

#: What a control well can be; see docs/uptake.md.
CONTROL_ROLES = (*NO_EXOSOMES, *MARKER_CONTROLS, "untreated", "vehicle", "m0", "m1", "m2", "positive")

#: Columns that hold numbers.
NUMBERS = ("dose", "time")

#: What a spreadsheet makes of 1.5 or 1/2, as it is written in several countries.
_DATE = re.compile(
    r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(T.*)?"
    r"|\d{1,2}[-. ]+(Jan|Feb|M[aä]r|Mrz|Apr|Ma[iy]|Jun|Jul|Aug|Sep|O[ck]t|Nov|De[cz])\b.*",
    re.IGNORECASE,
)

_WELL = re.compile(r"(?<![A-Za-z0-9])(?:[Ww]ell)?([A-Pa-p])(\d{1,2})(?![A-Za-z0-9])")

#: A well that is called so, whatever else it may be.
_SAID = re.compile(r"(?<![A-Za-z0-9])well[ _-]?[A-P]\d", re.IGNORECASE)


def well_of(name: str) -> str:
    """Return the well in an image's name as ``B02``; empty if there is none, or more than one.

    Two digits are preferred to one: in ``P1_B02`` the P1 is a plate, and in ``M2_B02`` the M2 a cell type. So
    are capitals: in ``B02_f01`` the f01 is a field. M1 and M2 are macrophages; the wells are M01, well M1.
    """
    found = [(letter, digits) for letter, digits in _WELL.findall(name) if 1 <= int(digits) <= 24]
    for length in (2, 1):
        fitting = [(letter, digits) for letter, digits in found if len(digits) == length]
        capitals = [(letter, digits) for letter, digits in fitting if letter.isupper()]
        wells = {f"{letter.upper()}{int(digits):02d}" for letter, digits in capitals or fitting}
        if wells:
            well = wells.pop() if len(wells) == 1 else ""
            return "" if length == 1 and well in ("M01", "M02") and not _SAID.search(name) else well
    return ""


@dataclass(frozen=True)
class Layout:
    """A layout that was read: one row per well or image pattern, all values text."""

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

        rows = self.rows.to_dict("records")
        plates = sorted({row.get("plate", "") for row in rows} - {""})
        found = []
        for image in images:
            fits = self._fitting(rows, plates, image)
            if len(fits) > 1:
                several = {rows[k].get("plate", "") for k in fits}
                names_it = "the plate's name must be part of the image's, or "
                raise InputError(
                    f"two rows are about the image {image}",
                    where=self.path,
                    fix=(names_it if len(several) > 1 else "")
                    + "make the patterns or wells exclude one another",
                )
            values = rows[fits[0]] if fits else {}
            found.append({**values, "image": image, "well": values.get("well") or well_of(image)})
        columns = list(dict.fromkeys(["image", "well", *self.rows.columns]))
        table = pd.DataFrame(found, columns=columns).fillna("")
        return table.set_index("image", drop=False)

    def columns_of(self, images: Sequence[str]) -> pd.DataFrame:
        """Return the layout's part of the tables for images, in their order.

        Returns
        -------
        pandas.DataFrame
            `napari_tam.columns.LAYOUT_COLUMNS`; dose and time are numbers (NaN where not given).

        Raises
        ------
        InputError
            If two rows are about the same image.
        """
        table = self.describe(images).reset_index(drop=True)
        for column in LAYOUT_COLUMNS:
            if column.name not in table:
                table[column.name] = ""
            if column.name in NUMBERS:
                table[column.name] = [_number(value) for value in table[column.name]]
        return table[[column.name for column in LAYOUT_COLUMNS]]

    def check(self, images: Sequence[str], *, patterns: bool = True) -> None:
        """Check that every row matches an image.

        Parameters
        ----------
        images
            Names of all images.
        patterns
            Whether rows that have an image pattern are looked at, too. (Where one file holds several
            positions, its name is not yet that of an image.)

        Raises
        ------
        InputError
            One sentence that lists the rows that match no image.
        """
        rows = self.rows.to_dict("records")
        plates = sorted({row.get("plate", "") for row in rows} - {""})
        used = {k for image in images for k in self._fitting(rows, plates, image)}
        idle = [
            " ".join(
                filter(
                    None,
                    [
                        row.get("well", ""),
                        row.get("image", ""),
                        f"({row['plate']})" if row.get("plate") else "",
                    ],
                )
            )
            for k, row in enumerate(rows)
            if k not in used and (patterns or not row.get("image"))
        ]
        if idle:
            what = "row of the layout is" if len(idle) == 1 else "rows of the layout are"
            raise InputError(
                f"{len(idle)} {what} about no image: {some(idle)}",
                where=self.path,
                fix=f"correct or remove them (images are called e.g. {some(images, 3)})"
                if len(images)
                else "",
            )

    def misplaced_control(self) -> str:
        """Return a sentence about control roles in a column of another name; empty where there are none."""
        if "control_role" not in self.rows:
            for name in self._unread():
                role = next((value for value in self.rows[name] if _is_role(value)), "")
                if role:
                    return (
                        f"the column '{name}' of the layout is not read: if '{role}' says that a well is a "
                        "control, call the column control_role"
                    )
        return ""

    def doubts(self) -> list[str]:
        """Return a sentence for what the layout holds and no part of the analysis reads."""
        control = self.misplaced_control()
        known = ["image", *(column.name for column in LAYOUT_COLUMNS)]
        others = [name for name in self._unread() if f"'{name}' of" not in control]
        told = [f"the column '{name}' of the layout is not read{nearest(name, known)}" for name in others]
        return [control, *told] if control else told

    def _unread(self) -> list[str]:
        """Return the names of columns that mean nothing to the analysis."""
        known = {"image", *(column.name for column in LAYOUT_COLUMNS)}
        return [name for name in self.rows.columns if name not in known]

    def restricted(self, images: Sequence[str]) -> Layout:
        """Return the layout without the rows that are about none of the images."""
        rows = self.rows.to_dict("records")
        plates = sorted({row.get("plate", "") for row in rows} - {""})
        used = sorted({k for image in images for k in self._fitting(rows, plates, image)})
        return Layout(self.path, self.rows.iloc[used].reset_index(drop=True))

    @staticmethod
    def _fitting(rows: Sequence[dict[Any, Any]], plates: Sequence[str], image: str) -> list[int]:
        """Return the numbers of the rows that are about an image."""
        fits = [k for k, row in enumerate(rows) if _fits(row, image)]
        named = {plate for plate in plates if _names(image, plate)}
        if named:
            fits = [k for k in fits if not rows[k].get("plate") or rows[k]["plate"] in named]
        return fits

    def to_csv(self) -> str:
        """Return the layout as CSV text that `read_layout` reads back unchanged."""
        text: str = self.rows.to_csv(index=False, lineterminator="\n")
        return text


def _fits(row: dict[str, str], image: str) -> bool:
    pattern, well = row.get("image", ""), row.get("well", "")
    by_name = not pattern or pattern == image or fnmatchcase(image, pattern)
    return by_name and bool(pattern or well) and (not well or well == well_of(image))


def _names(image: str, plate: str) -> bool:
    """Whether an image's name holds a plate's: as a word, and a bare number after "plate" or "p" only."""
    before = r"(?<![a-z0-9])" + (r"p(?:late)?[ _-]?0*" if plate.isdecimal() else "")
    pattern = before + re.escape(plate.casefold().lstrip("0") if plate.isdecimal() else plate.casefold())
    return re.search(pattern + r"(?![a-z0-9])", image.casefold()) is not None


def read_layout(path: Path) -> Layout:
    """Read a layout.

    Raises
    ------
    InputError
        If it cannot be read, has neither `well` nor `image`, no row, an invalid or repeated well, a dose or
        time that is not a number, or an unknown control role.
    """
    rows = read_text_table(path, "the layout", ("well", "image"))
    rows = rows.rename(columns=_meant(list(rows.columns)))
    if not {"well", "image"} & set(rows.columns):
        raise InputError(
            f"the layout has no column 'well' or 'image' (it has: {', '.join(rows.columns)})",
            where=path,
            fix="one of them must say which images a row is about",
        )
    keys = [name for name in ("well", "image") if name in rows]
    # a spreadsheet's empty lines, and rows that are about nothing
    rows = rows[(rows[keys] != "").any(axis=1)].reset_index(drop=True)
    if rows.empty:
        raise InputError("the layout has no row", where=path, fix="write one row a well")
    if "well" in rows:
        wells = [well_of(value) or well_of(f"well {value}") for value in rows["well"]]
        bad = [value for value, well in zip(rows["well"], wells, strict=True) if value and not well]
        if bad:
            raise InputError(f"'{bad[0]}' is no well", where=path, fix="write e.g. B02")
        rows["well"] = wells
    for name in NUMBERS:
        for value in rows[name] if name in rows else ():
            if value and not math.isfinite(_number(value)):
                raise InputError(
                    f"'{value}' is no number (column {name})",
                    where=path,
                    fix="a spreadsheet took it for a date: format its cells as numbers, write it again"
                    if _DATE.fullmatch(value)
                    else "write the number alone, without its unit; leave unknown ones empty",
                )
    if "control_role" in rows:
        rows["control_role"] = [_role(value, path) for value in rows["control_role"]]
    keys = [name for name in ("plate", "well", "image") if name in rows]
    same = rows.duplicated(keys)
    if same.any():
        again = sorted({" ".join(filter(None, row)) for row in rows.loc[same, keys].itertuples(index=False)})
        raise InputError(
            f"the layout has more than one row for {some(again)}",
            where=path,
            fix="keep one row for each well; tell plates apart in a column plate",
        )
    return Layout(path, rows)


def marker_control(role: str) -> tuple[str, str]:
    """Return which control of markers a control_role is, and of which marker: ``("fmo", "CD86")``.

    The marker is empty for a control of all of them; both are, if it is no control of markers.
    """
    kind, _, marker = role.partition(":")
    return (kind, marker) if kind in MARKER_CONTROLS else ("", "")


def exosome_control(role: str) -> tuple[str, str]:
    """Return which control of exosomes a control_role is, and of which label: ``("dye_only", "PKH26")``.

    The label is empty for a control of all exosomes; both are, if it is no control of exosomes.
    """
    kind, _, label = role.partition(":")
    return (kind, label) if kind in NO_EXOSOMES else ("", "")


def without_exosomes(roles: pd.Series[str], label: str = "") -> pd.Series[bool]:
    """Tell which of the control roles are of cells that were given no exosomes.

    Parameters
    ----------
    roles
        The column control_role.
    label
        An exosome label: controls of this label and of all. Empty: those of any label.
    """
    found = {
        role: bool((control := exosome_control(str(role)))[0])
        and (not label or not control[1] or same_marker(control[1], label))
        for role in roles.unique()
    }
    return roles.map(found).astype(bool)


def _meant(heads: Sequence[str]) -> dict[str, str]:
    """Return the known names of heads that are these but for a unit in brackets or a blank.

    ``dose (µg/ml)`` is the dose, ``control role`` the control_role.
    """
    known = {column.name for column in LAYOUT_COLUMNS}
    plain = {head: re.sub(r"[\s-]+", "_", re.sub(r"\s*[(\[].*", "", head).strip()) for head in heads}
    return {
        head: name
        for head, name in plain.items()
        if name in known and name not in heads and list(plain.values()).count(name) == 1
    }


def _is_role(text: str) -> bool:
    """Tell whether a text is that of a control that sets a threshold or a gate."""
    return re.sub(r"[\s-]+", "_", text.partition(":")[0].strip().casefold()) in (
        *NO_EXOSOMES,
        *MARKER_CONTROLS,
    )


def _role(text: str, path: Path) -> str:
    kind, colon, name = (part.strip() for part in text.partition(":"))
    role = re.sub(r"[\s-]+", "_", kind.casefold())
    if colon and (marker_control(role)[0] or exosome_control(role)[0]) and name:
        return f"{role}:{name}"
    role = re.sub(r"[\s-]+", "_", text.casefold())
    if role and role not in CONTROL_ROLES:
        raise InputError(
            f"'{text}' is no control_role{nearest(role, CONTROL_ROLES)}",
            where=path,
            fix="leave it empty where a well is no control",
        )
    return role


def _number(text: str) -> float:
    """Return a text as a number, NaN if it is not one; a single comma is a decimal comma."""
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan
