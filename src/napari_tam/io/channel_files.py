"""Images whose channels are files of their own: which files belong together, and their planes.

The files of a folder are put together where their names fit one way of naming (`napari_tam.io.naming`) and
each of them holds one channel. A field is then known by its first file, wherever a file of an image is taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, some
from napari_tam.io.channels import guess_roles
from napari_tam.io.naming import BESIDE, NAMINGS, Naming, told
from napari_tam.io.single import open_single

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: The settings `files` that look for such images by themselves, and that never do.
AUTO, EACH = "auto", "each"

#: What a preview, overlay or the like is, beside images whose channels are files.
BESIDE_THEM = "beside"

#: Images have from 2 to so many channels; more words that differ are conditions or fields.
MOST_CHANNELS = 8

#: Where a file stands in its field: time, z and channel, as written in its name.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class ChannelFiles:
    """One field whose channels are files of their own.

    Attributes
    ----------
    name
        Of the field: the file's name without what tells channel, z and time.
    files
        Time, z and channel (as written) to file, for all that are there.
    channels, times, zs
        What there should be, in order: what any field of the folder has.
    naming
        How the files are named.
    doubled
        Files that stand for a place that another one has.
    """

    name: str
    files: dict[Place, Path]
    channels: tuple[str, ...]
    times: tuple[str, ...]
    zs: tuple[str, ...]
    naming: Naming
    doubled: tuple[Path, ...] = ()

    @property
    def first(self) -> Path:
        """The file that the field is known by."""
        return min(self.files.values())

    def check(self) -> None:
        """Raise InputError if a file is missing or there twice."""
        if self.doubled:
            raise InputError(
                f"the same channel is there twice ({self.doubled[0].name})",
                where=self.first,
                fix="move one of the two files elsewhere",
            )
        missing = [
            (time, z, channel)
            for time in self.times
            for z in self.zs
            for channel in self.channels
            if (time, z, channel) not in self.files
        ]
        if missing:
            channels = list(dict.fromkeys(channel for _, _, channel in missing))
            raise InputError(
                f"{self.name} lacks {len(missing)} of its files: channel {some(channels)}",
                where=self.first,
                fix="copy them to the others, or leave this image out",
            )


@dataclass(frozen=True)
class Grouped:
    """The files of a folder, put together.

    Attributes
    ----------
    fields
        The images whose channels are files of their own.
    others
        Files that belong to none of them.
    beside
        Previews, overlays and the like, which were left out.
    """

    fields: tuple[ChannelFiles, ...] = ()
    others: tuple[Path, ...] = ()
    beside: tuple[Path, ...] = ()


def group(files: Sequence[Path], how: str = AUTO) -> Grouped:
    """Put the files of one folder (and of folders beside one another in it) together.

    Parameters
    ----------
    files
        TIFF files.
    how
        `AUTO`, `EACH` (none belong together), or what `napari_tam.io.naming.told` takes.

    Raises
    ------
    InputError
        If `how` is no pattern.
    """
    if how == EACH:
        return Grouped(others=tuple(files))
    beside = tuple(path for path in files if BESIDE.search(path.name))
    images = [path for path in files if path not in set(beside)]
    if how != AUTO:
        return _grouped(_fields(images, told(how)), images, beside)
    if len(images) < 2:
        return Grouped(others=tuple(files))
    rest, fields = list(images), []
    for naming in NAMINGS:
        found = _fields(rest, naming)
        if not _is_believable(found, rest, naming):
            continue
        fields += found
        taken = {path for each in found for path in (*each.files.values(), *each.doubled)}
        rest = [path for path in rest if path not in taken]
        if not rest:
            break
    if not fields:
        return Grouped(others=tuple(files))
    return _grouped(fields, images, beside)


def _grouped(found: Sequence[ChannelFiles], images: Sequence[Path], beside: tuple[Path, ...]) -> Grouped:
    taken = {path for each in found for path in (*each.files.values(), *each.doubled)}
    ordered = tuple(sorted(found, key=lambda each: each.first))
    return Grouped(ordered, tuple(path for path in images if path not in taken), beside)


def _fields(files: Iterable[Path], naming: Naming) -> list[ChannelFiles]:
    """Return the fields of the files that are named in one way, complete or not."""
    places: dict[tuple[str, ...], dict[Place, Path]] = defaultdict(dict)
    doubled: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    names: dict[tuple[str, ...], str] = {}
    for path in sorted(files):
        text = "/".join(path.parts[-1 - naming.folders :])
        match = naming.pattern.search(text)
        if match is None:
            continue
        said = {name: value for name, value in match.groupdict().items() if value is not None}
        # a number with the letters before it, as in w1 or ch00: so it can be named in the settings
        letters = re.search(r"[A-Za-z]*$", text[: match.start("channel")])
        number = said["channel"].isdecimal() and letters is not None
        channel = (letters[0] if number and letters else "") + said["channel"]
        place = (said.get("time", ""), said.get("z", ""), channel)
        above = path.parents[naming.folders]
        others = [f"{name}={said[name].casefold()}" for name in sorted(set(said) - {"time", "z", "channel"})]
        key = (str(above), *others)
        names.setdefault(key, _name(said, match))
        if place in places[key]:
            doubled[key].append(path)
        else:
            places[key][place] = path
    if not places:
        return []
    _times, _zs, channels = (
        tuple(sorted({place[k] for each in places.values() for place in each}, key=_in_order))
        for k in range(3)
    )
    return [
        ChannelFiles(
            names[key],
            files,
            channels,
            tuple(sorted({place[0] for place in files}, key=_in_order)),
            tuple(sorted({place[1] for place in files}, key=_in_order)),
            naming,
            tuple(doubled[key]),
        )
        for key, files in places.items()
    ]


def _name(said: dict[str, str], match: re.Match[str]) -> str:
    """Return what a field is called: plate, well and site where they are told, else the rest of its name."""
    said = dict(said)
    if "column" in said and ("row" in said or "row_letter" in said):
        letter = said.pop("row_letter", "") or chr(ord("A") + int(said.pop("row")) - 1)
        said["well"] = f"{letter.upper()}{int(said.pop('column')):02d}"
    known = ("plate", "stem", "position", "well_name", "well")
    pieces = [said[name] for name in known if said.get(name)]
    pieces += [
        said[name]
        for name in match.re.groupindex
        if name in said and name not in (*known, "site", "z", "time", "channel")
    ]
    if "site" in said:
        pieces.append(f"s{said['site']}")
    return re.sub(r"[\s_/\\-]+$", "", "_".join(pieces)) or "image"


def _in_order(text: str) -> tuple[int, float, str]:
    """Sort numbers by their value, whatever letters are before them, and before words."""
    number = re.fullmatch(r"(?:w|c|ch|d|channel)?(\d+)", text, re.IGNORECASE)
    return (0, float(number[1]), text) if number else (1, 0.0, text.casefold())


def _is_believable(found: Sequence[ChannelFiles], files: Sequence[Path], naming: Naming) -> bool:
    """Tell whether files that fit a way of naming are really channels of the same fields."""
    if not found:
        return False
    channels = found[0].channels
    if not 2 <= len(channels) <= MOST_CHANNELS:
        return False
    whole = [each for each in found if {place[2] for place in each.files} == set(channels)]
    if 2 * len(whole) < len(found):
        return False
    if naming.words and len(guess_roles(channels)) < 2:
        return False
    # one look into one file: those with several channels are images by themselves
    return _holds_one_channel(whole[0].first)


def _holds_one_channel(path: Path) -> bool:
    try:
        with open_single(path):
            return True
    except (InputError, OSError):
        return False
