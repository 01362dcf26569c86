"""Images whose channels are files of their own: which files belong together, and their planes.

The files of a folder are put together where their names fit one way of naming (`napari_tam.io.names`) and
each of them holds one channel. A field is then known by its first file, wherever a file of an image is taken.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, some
from napari_tam.io.channels import guess_roles, is_channel_name
from napari_tam.io.names.beside import beside_by_name, copies, examples, holds_one_channel, overlays
from napari_tam.io.names.fields import called
from napari_tam.io.names.hand import NAMINGS
from napari_tam.io.names.pattern import GUID, Naming

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
    folder
        The folder that it lies in: the first one that is no part of its name.
    doubled
        Files that stand for a place that another one has.
    """

    name: str
    files: dict[Place, Path]
    channels: tuple[str, ...]
    naming: Naming
    folder: Path
    doubled: tuple[Path, ...] = ()

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The field's times, in order."""
        return _distinct(place[0] for place in self.files)

    @cached_property
    def zs(self) -> tuple[str, ...]:
        """The field's z-planes, in order."""
        return _distinct(place[1] for place in self.files)

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Its files, those that are there twice as well."""
        return (*self.files.values(), *self.doubled)

    @cached_property
    def first(self) -> Path:
        """The file that the field is known by."""
        return min(self.files.values())

    @property
    def is_whole(self) -> bool:
        """Whether it has all channels, each once."""
        return not self.doubled and {place[2] for place in self.files} == set(self.channels)

    @property
    def sure_files(self) -> list[Path]:
        """The files of channels that are none but stains; any word may be the name of a picture of all."""
        any_word = self.naming.words or self.naming.certain
        return [path for place, path in self.files.items() if not any_word or is_channel_name(place[2])]

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


def group(
    files: Sequence[Path], namings: Sequence[Naming] = NAMINGS, looks: list[list[Path]] | None = None
) -> Grouped:
    """Put the files of one folder (and of folders beside one another in it) together.

    Parameters
    ----------
    files
        TIFF files, or pictures.
    namings
        The ways in which they may be named; the first one that fits is taken.
    looks
        The files by `alike`, where that is known.
    """
    by_look = alike(files) if looks is None else looks
    beside = beside_by_name(by_look)
    again = copies(files)
    if beside or again:
        by_look = alike(set(files).difference(beside, again))
    fields = _put_together(by_look, namings)
    # a picture may keep names from being believed; folders of images by themselves have many looks
    if fields or 1 < len(by_look) <= 2 * MOST_CHANNELS:
        whole = {path for each in fields if each.is_whole for path in each.sure_files}
        if pictures := overlays(by_look, whole):
            beside += pictures
            fields = _put_together(alike(set(files).difference(beside, again)), namings)
    if again:
        fields = [_with_copies(each, again) for each in fields]
    return Grouped(tuple(sorted(fields, key=lambda each: each.first)), tuple(beside) if fields else ())


def _with_copies(field: ChannelFiles, again: dict[Path, Path]) -> ChannelFiles:
    """Return a field with the copies of its files, which are doubled ones."""
    mine = set(field.files.values())
    return replace(field, doubled=(*field.doubled, *(path for path in sorted(again) if again[path] in mine)))


def _put_together(by_look: Sequence[Sequence[Path]], namings: Iterable[Naming]) -> list[ChannelFiles]:
    """Return the fields of files; the first way of naming that fits is taken."""
    fields: list[ChannelFiles] = []
    taken: set[Path] = set()
    for naming in namings:
        fitting = [path for each in by_look if _may_fit(each, naming) for path in each if path not in taken]
        if not naming.certain and not _may_be_channels(fitting, naming):
            continue
        found = _fields(fitting, naming)
        if strays := _strays(found, naming):
            found = _fields(set(fitting).difference(strays), naming)
        if naming.certain or _is_believable(found, naming):
            fields += found
            taken.update(path for each in found for path in each.all_files)
    return fields


def _may_be_channels(files: Iterable[Path], naming: Naming) -> bool:
    """Tell whether as many texts stand for the channel as an image has channels; ends at one too many."""
    channels: set[str] = set()
    for path in files:
        match = naming.match(path)
        channels.add("" if match is None else match["channel"])
        if len(channels) > MOST_CHANNELS:
            return False
    return len(channels) > 1


#: What names of one way differ in: GUIDs, digits, rows of a plate.
_GUIDS = re.compile(GUID, re.IGNORECASE)
_DIGITS = str.maketrans("123456789", "0" * 9)
_ROWS = re.compile(r"[A-P](?=0)")


def alike(files: Collection[Path]) -> list[list[Path]]:
    """Return the files by what their names look like, so that not every pattern must be tried on each."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(files, key=os.fspath):
        text = os.path.basename(path)
        if "-" in text:
            text = _GUIDS.sub("-", text)
        found[_ROWS.sub("A", text.translate(_DIGITS))].append(path)
    return list(found.values())


def _may_fit(alike: Sequence[Path], naming: Naming) -> bool:
    """Tell whether a naming is to be tried. One that fits some only is none: C03 is a well beside B03."""
    if naming.certain or not any(map(naming.match, examples(alike))):
        return naming.certain
    return all(map(naming.match, alike))


def _fields(files: Collection[Path], naming: Naming) -> list[ChannelFiles]:
    """Return the fields of the files that are named in one way, complete or not."""
    places: dict[tuple[str, ...], dict[Place, Path]] = defaultdict(dict)
    doubled: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    names: dict[tuple[str, ...], tuple[str, Path]] = {}
    spelled: dict[str, str] = {}  # DAPI and Dapi are one channel
    matches = [(path, match) for path in sorted(files) if (match := naming.match(path)) is not None]
    steps = len({match["step"] for _, match in matches}) if "step" in naming.pattern.groupindex else 0
    for path, match in matches:
        said = {name: value for name, value in match.groupdict().items() if value is not None}
        channel = said["channel"]
        if channel.isdecimal():  # with the letters before it, as in w1 or ch00: a name for the settings
            channel = re.split(r"[^A-Za-z]", match.string[: match.start("channel")])[-1] + channel
        channel = spelled.setdefault(channel.casefold(), channel)
        place = (said.get("time", ""), said.get("z", ""), channel)
        above = path.parents[naming.folders]
        others = [f"{name}={said[name].casefold()}" for name in sorted(set(said) - {"time", "z", "channel"})]
        key = (str(above), *others)
        if key not in names:
            if steps == 1:
                del said["step"]
            names[key] = called(path, said, match, above)
        if place in places[key]:
            doubled[key].append(path)
        else:
            places[key][place] = path
    channels = _distinct(place[2] for files in places.values() for place in files)
    return [
        ChannelFiles(name, places[key], channels, naming, folder, tuple(doubled[key]))
        for key, (name, folder) in names.items()
    ]


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=_in_order))


def _in_order(text: str) -> tuple[int, float, str]:
    """Sort numbers by their value, whatever letters are before them, and before words."""
    number = re.fullmatch(r"(?:w|c|ch|d|channel)?(\d+)", text, re.IGNORECASE)
    return (0, float(number[1]), text) if number else (1, 0.0, text.casefold())


def _strays(found: Sequence[ChannelFiles], naming: Naming) -> list[Path]:
    """Return files whose word for the channel is no stain's, and in less than half of the fields."""
    if not naming.words or not found:
        return []
    said = Counter(channel for each in found for channel in {place[2] for place in each.files})
    odd = {
        channel for channel, times in said.items() if 2 * times < len(found) and not is_channel_name(channel)
    }
    return [path for each in found for place, path in each.files.items() if place[2] in odd]


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
    if naming.words and len(guess_roles(channels)) < 2 and not all(map(is_channel_name, channels)):
        return False
    # files with several channels are images by themselves; a look into others, as one may be damaged
    some = (whole[0], whole[len(whole) // 2], whole[-1])
    return any(holds_one_channel(path) for path in dict.fromkeys(each.first for each in some))
