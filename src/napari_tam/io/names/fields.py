"""What a field is called whose channels are files: plate, well and site, or what the files' names share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_tam.io.layout import well_of
from napari_tam.io.makers.read import wells

if TYPE_CHECKING:
    from pathlib import Path

#: A folder that is called after a well.
_WELL_FOLDER = re.compile(r"(?:well[ _-]?)?[A-P]\d{1,2}", re.IGNORECASE)
#: One that is nothing else: D1 may be a day.
_SURE_WELL_FOLDER = re.compile(r"(?:well[ _-]?)[A-P]\d{1,2}|[A-P]\d\d", re.IGNORECASE)


def called(path: Path, said: dict[str, str], match: re.Match[str], above: Path) -> tuple[str, Path]:
    """Return the name of a file's field, and the folder that is no part of it."""
    name = _name(said, match)
    if "well_number" in said and (well := wells(path.parent).get(path.name)):
        name = _name({**said, "well": well, "well_number": ""}, match)
    if well_of(name):
        return name, above
    if _WELL_FOLDER.fullmatch(above.name):
        return f"{above.name}_{name}", above.parent
    if _SURE_WELL_FOLDER.fullmatch(above.parent.name):  # well/point/file: the point may be in the file's name
        between = "" if above.name.casefold() in name.casefold() else f"{above.name}_"
        return f"{above.parent.name}_{between}{name}", above.parent.parent
    return name, above


def _name(said: dict[str, str], match: re.Match[str]) -> str:
    """Return what a field is called: plate, well and site where they are told, else the rest of its name."""
    said = dict(said)
    for zero in ("row_0", "column_0"):  # counted from 0
        if zero in said:
            said[zero[:-2]] = str(int(said.pop(zero)) + 1)
    if said.get("well_name"):
        said.pop("well_number", None)
    if "column" in said and ("row" in said or "row_letter" in said):
        letter = said.pop("row_letter", "") or said.pop("row")
        letter = chr(ord("A") + int(letter) - 1) if letter.isdecimal() else letter
        said["well"] = f"{letter.upper()}{int(said.pop('column')):02d}"
    for name in ("well_name", "well"):  # M1 alone is a macrophage: see `well_of`
        if said.get(name, "").upper() in ("M1", "M2"):
            said[name] = f"{said[name][0]}0{said[name][1]}"
    if (well := re.fullmatch(r"([A-P])(?: ?- ?0*|0)(\d{1,2})", said.get("well", ""), re.IGNORECASE)) and (
        len(well[0]) > 3  # B - 3, B003
    ):
        said["well"] = f"{well[1].upper()}{int(well[2]):02d}"
    known = ("plate", "stem", "position", "well_name", "well")
    pieces = [said[name] for name in known if said.get(name)]
    pieces += [
        said[name]
        for name in match.re.groupindex
        if said.get(name) and name not in (*known, "site", "z", "time", "channel")
    ]
    if "site" in said:
        pieces.append(f"s{said['site']}")
    return re.sub(r"[\s_/\\-]+$", "", "_".join(pieces)) or "image"
