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
    from collections.abc import Collection, Iterable, Sequence
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
    channels
        What there should be, in order: what any field of the folder has.
    naming
        How the files are named.
    doubled
        Files that stand for a place that another one has.
    """

    name: str
    files: dict[Place, Path]
    channels: tuple[str, ...]
    naming: Naming
    doubled: tuple[Path, ...] = ()

    @property
    def times(self) -> tuple[str, ...]:
        """The field's times, in order."""
        return _distinct(place[0] for place in self.files)

    @property
    def zs(self) -> tuple[str, ...]:
        """The field's z-planes, in order."""
        return _distinct(place[1] for place in self.files)

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Its files, those that are there twice as well."""
        return (*self.files.values(), *self.doubled)

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
    beside
        Previews, overlays and the like, which were left out.
    """

    fields: tuple[ChannelFiles, ...] = ()
    beside: tuple[Path, ...] = ()


def group(files: Sequence[Path], how: str = AUTO) -> Grouped:
    """Put the files of one folder (and of folders beside one another in it) together.

    Parameters
    ----------
    files
        TIFF files.
    how
        `AUTO`, or what `napari_tam.io.naming.told` takes.

    Raises
    ------
    InputError
        If `how` is no pattern.
    """
    beside = tuple(path for path in files if BESIDE.search(path.name))
    rest = set(files) - set(beside)
    fields: list[ChannelFiles] = []
    for naming in NAMINGS if how == AUTO else (told(how),):
        found = _fields(rest, naming)
        if how != AUTO or _is_believable(found, naming):
            fields += found
            rest -= {path for each in found for path in each.all_files}
    return Grouped(tuple(sorted(fields, key=lambda each: each.first)), beside if fields else ())


def _fields(files: Collection[Path], naming: Naming) -> list[ChannelFiles]:
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
        channel = said["channel"]
        if channel.isdecimal():  # with the letters before it, as in w1 or ch00: a name for the settings
            channel = re.split(r"[^A-Za-z]", text[: match.start("channel")])[-1] + channel
        place = (said.get("time", ""), said.get("z", ""), channel)
        above = path.parents[naming.folders]
        others = [f"{name}={said[name].casefold()}" for name in sorted(set(said) - {"time", "z", "channel"})]
        key = (str(above), *others)
        names.setdefault(key, _name(said, match))
        if place in places[key]:
            doubled[key].append(path)
        else:
            places[key][place] = path
    channels = _distinct(place[2] for files in places.values() for place in files)
    return [
        ChannelFiles(names[key], files, channels, naming, tuple(doubled[key]))
        for key, files in places.items()
    ]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=_in_order))


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


def _is_believable(found: Sequence[ChannelFiles], naming: Naming) -> bool:
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
