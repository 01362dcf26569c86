"""Which channel of an image plays which role: as the settings say, or guessed from its name."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.label_columns import reserved_labels
from napari_tam.markers.labels import EXOSOME, exosome_role, exosomes_in, is_exosome_role
from napari_tam.markers.names import AND, MARKER, listed, marker_role, same_marker, slug
from napari_tam.settings import REQUIRED_ROLES, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Words of channel names: role to {strength: words}. A channel goes to the role of its strongest word; where
#: two roles are equally strong (DiD + membrane) the name says nothing. Words are matched whole, in any case,
#: and ``_`` in a word stands for an optional space ("Cell Mask", "CellMask", "cell-mask").
_WORDS: dict[str, dict[int, str]] = {
    "cell": {
        5: "cells? macrophages? bmdms? cyto cytoplasm cytoplasmic cytosol cytosolic",
        4: "actin f_actin phalloidin lifeact cell_mask cell_tracker cell_brite calcein wga cona tubulin "
        "vimentin cd_11_b cd_11_c cd_14 cd_45 f_4_80 iba_1 mac_1",
        3: "membranes? memb",
        2: "cd_68",
    },
    "nucleus": {
        9: "nucleus nuclei nuclear nucs? nuc_blue nuc_red nuc_green nuc_spot",
        7: "dapi hoechst h_33342 h_33258 dna sir_dna draq_5 draq_7 sytox to_pro h_2_b",
    },
    "exosome": {
        9: "exosomes? exosomal exos? evs? s_evs? t_evs? vesicles? microvesicles?",
        5: "pkh pkh_26 pkh_67 cd_63 cd_81 cd_9 tsg_101 alix",
        3: "did dii dil dio cfse puncta punctum spots?",
        # A fluorescent protein and nothing else: in this assay, the fused exosome marker.
        1: "gfp egfp rfp mcherry tdtomato",
    },
    "lysosome": {
        9: "lysosomes? lysosomal lyso",
        6: "lyso_tracker lyso_sensor lamp_1 lamp_2 cathepsin magic_red",
    },
}

#: Names of channels that tell no role: dyes and proteins, laser lines (nm), colours. As words above.
_LIGHT = (
    "fitc tritc rhodamine cy_[2357] cy_[35]_5 yfp cfp bfp mkate venus citrine texas_red tx_red ds_red "
    "alexa_(?:fluor_)?[0-9]{3} af_[0-9]{3} (?:conf_|ex_|laser_)?(?:405|44[05]|457|47[036]|488|491|51[45]|532|"
    "54[36]|555|56[18]|587|59[04]|63[358]|64[027]|6[678]0|685|730|750|785)(?:_nm)? "
    "red green blue far_red yellow orange cyan magenta uv nir"
)
#: These are channels where nothing else is in the place of a channel's name.
_LETTERS = ("r", "g", "b")

#: Transmitted light is no stain, whatever else the name says.
_NO_STAIN = "bf brightfield bright_field dic phase phase_contrast transmitted transmission tl trans"


def _pattern(words: str) -> re.Pattern[str]:
    alternatives = []
    for word in words.split():
        # "DAPI405" and "w1DAPI" name DAPI, but "CD98" does not name CD9.
        end = r"(?!\d)" if word[-1].isdigit() else "(?![a-z])"
        # "CellTrace" dyes label exosomes as often as cells.
        end += "(?! ?trace)" if word == "cells?" else ""
        alternatives.append(word.replace("_", " ?") + end)
    return re.compile(f"(?<![a-z])(?:{'|'.join(alternatives)})")


_PATTERNS = {
    role: [(strength, _pattern(words)) for strength, words in sorted(table.items(), reverse=True)]
    for role, table in _WORDS.items()
}
_TRANSMITTED = _pattern(_NO_STAIN)
_LIGHT_NAMES = re.compile(f"(?<![a-z0-9])(?:{'|'.join(_LIGHT.split()).replace('_', ' ?')})(?![a-z0-9])")


def _role_of(name: str) -> tuple[str, int] | None:
    """Return the role that a channel name suggests and how strongly; None if it suggests none."""
    # "DiI" and "LysoTracker" as written, and "exosomesPKH26" at its capitals.
    spellings = {
        re.sub(r"[^a-z0-9]+", " ", spelling.lower())
        for spelling in (name, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    }
    if any(_TRANSMITTED.search(spelling) for spelling in spellings):
        return None
    strengths = {
        role: next((s for s, pattern in patterns if any(map(pattern.search, spellings))), 0)
        for role, patterns in _PATTERNS.items()
    }
    best = max(strengths.values())
    winners = [role for role, strength in strengths.items() if strength == best]
    return (winners[0], best) if best and len(winners) == 1 else None


def is_channel_name(name: str) -> bool:
    """Tell whether a word is known as a channel's: stain, dye, laser line, colour, transmitted light."""
    spelling = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    return (
        spelling in _LETTERS
        or _LIGHT_NAMES.search(spelling) is not None
        or _TRANSMITTED.search(spelling) is not None
        or any(pattern.search(spelling) for patterns in _PATTERNS.values() for _, pattern in patterns)
    )


def channel_words() -> str:
    """Return a regular expression of the words that are known as channels', as file names have them."""
    words = " ".join([*(text for table in _WORDS.values() for text in table.values()), _LIGHT, _NO_STAIN])
    return "|".join(sorted((word.replace("_", "[ _-]?") for word in words.split()), key=len, reverse=True))


def guess_roles(channel_names: Sequence[str]) -> dict[str, int]:
    """Guess roles from channel names, e.g. ``["CD11b", "DAPI", "PKH26"]``.

    A role is given only when exactly one channel fits it best, so the result does not depend on the
    order of the channels, and a name that could mean two things (``DiD membrane``, ``Alexa 488``) is
    left out. Markers and the role ``extra`` are never guessed.

    Parameters
    ----------
    channel_names
        One name per channel; empty where the file gives none.

    Returns
    -------
    dict
        Role to channel index; roles that cannot be told are missing.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for index, name in enumerate(channel_names):
        said = _role_of(name)
        if said:
            found.setdefault(said[0], []).append((said[1], index))
    roles = {}
    for role in _WORDS:
        candidates = sorted(found.get(role, ()), reverse=True)
        if candidates and (len(candidates) == 1 or candidates[0][0] > candidates[1][0]):
            roles[role] = candidates[0][1]
    return roles


def list_channels(names: Sequence[str], n_channels: int) -> str:
    """Return ``"0: CD11b, 1: DAPI, 2 (no name)"`` for a message."""
    return ", ".join(channel_label(names, index) for index in range(n_channels))


def channel_label(names: Sequence[str], index: int) -> str:
    """Return ``"0: CD11b"``, or ``"0 (no name)"``, for a message."""
    name = names[index].strip() if index < len(names) else ""
    return f"{index}: {name}" if name else f"{index} (no name)"


def assign_roles(
    wanted: Mapping[str, int | str],
    names: Sequence[str],
    n_channels: int,
    where: object,
    *,
    hint: str = "",
    aliases: Sequence[str] = (),
    required: Sequence[str] = REQUIRED_ROLES,
) -> dict[str, int]:
    """Map roles to channel indices: those in `wanted` as it says, the others guessed from the names.

    Parameters
    ----------
    wanted
        Role to channel index (from 0) or name, as in ``Settings.channels``. Names are compared without
        regard to case; a number written as text is an index unless a channel has that name.
    names
        Channel names; may be empty, or hold empty names.
    n_channels
        Number of channels of the image.
    where
        The image, for messages.
    hint
        Further help for an image that has one channel only.
    aliases
        Other names of the channels, by which they may be called as well.
    required
        Roles without which the image is of no use.

    Returns
    -------
    dict
        Role to channel index; at least those of `required`. Of several exosome channels each has a role
        (`napari_tam.markers.labels.exosome_role`) in the place of ``exosome``, and so has every marker
        (`napari_tam.markers.names.marker_role`) after the others. A channel has one role at most, but a
        marker may be the stain of the cells (CD11b) or of another role that is not the exosomes.

    Raises
    ------
    InputError
        If a channel does not exist or is given two roles, a marker has no name or that of another, or a
        required role cannot be told. The message lists the channels.
    """
    padded = _padded(names, n_channels)
    listing = list_channels(names, n_channels)
    if n_channels < len(required):
        advice = (
            "where channels are files, say how they are named, e.g. --files '{well}_{site}_{channel}.tif'; "
            "else save all channels of a field in one file, as OME-TIFF or ImageJ hyperstack"
        )
        raise InputError(
            f"the image has a single channel ({listing}), but a cell and an exosome channel are needed (a"
            " label mask is not an image)",
            where=where,
            fix=f"{advice}; {hint}" if hint else advice,
        )
    roles: dict[str, int] = {}
    labels = _exosomes(wanted.get(EXOSOME, ""), padded, aliases, listing, where)
    for role, channel in [*((role, index) for role, index in labels.items()), *wanted.items()]:
        if role == MARKER or (role == EXOSOME and labels):
            continue
        called = aliases if isinstance(channel, str) and channel in aliases else padded
        index = _find(role, channel, list(called), listing, where)
        taken = next((other for other, i in roles.items() if i == index), None)
        if taken is not None:
            raise InputError(
                f"channel {channel_label(names, index)} is given two roles, {taken} and {role}",
                where=where,
                fix=f"give each role a channel of its own; the channels are {listing}",
            )
        roles[role] = index
    markers = {}
    if MARKER in wanted:
        named = _named(MARKER, wanted[MARKER], padded, aliases, listing, where)
        markers = {marker_role(name): index for name, index in named.items()}
    free = ["" if i in roles.values() else name for i, name in enumerate(padded)]
    guessed = guess_roles(["" if i in markers.values() else name for i, name in enumerate(free)])
    # a stain that is measured as a marker may show the cells all the same
    guessed = guess_roles(free) | guessed
    known = {*roles, EXOSOME} if labels else set(roles)
    roles |= {role: i for role, i in guessed.items() if role not in known}
    exosomes = exosomes_in(roles).values()
    for index in markers.values():
        if index in [roles[role] for role in exosomes]:
            raise InputError(
                f"channel {channel_label(names, index)} is given two roles, exosome and marker",
                where=where,
                fix="the light of exosomes is measured as such: take it out of the markers",
            )
    missing = [role for role in required if role not in {*roles, *known}]
    if missing:
        raise InputError(
            f"cannot tell which channel is the {' and which the '.join(missing)}; the channels are {listing}",
            where=where,
            fix="say it by index or name, e.g. --channels cell=0,nucleus=1,exosome=2, or under 'channels' in"
            " the settings file",
        )
    found: dict[str, int] = {}
    for role in ROLES:
        if role == EXOSOME:
            found |= {each: roles[each] for each in exosomes}
        elif role in roles:
            found[role] = roles[role]
    return found | markers


def _exosomes(
    given: int | str, names: list[str], aliases: Sequence[str], listing: str, where: object
) -> dict[str, int]:
    """Return the roles of several exosome channels with their channels; nothing for a single one."""
    if isinstance(given, int) or not given.strip() or len(_items(given, names, aliases)) < 2:
        return {}
    labels = _named(EXOSOME, given, names, aliases, listing, where)
    for name in labels:
        if name.casefold() in reserved_labels():
            raise InputError(
                f"the exosome label '{name}' would make columns that mean something else",
                where=where,
                fix=f"give it a name with its channel: exosome={name}_dye:{labels[name]}+…",
            )
    return {exosome_role(name): index for name, index in labels.items()}


def _items(given: int | str, names: Sequence[str], aliases: Sequence[str]) -> list[tuple[str, int | str]]:
    """Return the channels that a setting lists; a channel's own name may hold a plus or a colon."""
    called = [name.casefold() for name in (*names, *aliases)]
    whole = isinstance(given, int) or given.strip().casefold() in called
    return [("", given)] if whole else listed(given)


def _named(
    kind: str, given: int | str, names: list[str], aliases: Sequence[str], listing: str, where: object
) -> dict[str, int]:
    """Return the channels of a setting that lists markers or exosomes, by their names in columns."""
    found: dict[str, int] = {}
    what = "marker" if kind == MARKER else "exosome label"
    for said, channel in _items(given, names, aliases):
        known = aliases if isinstance(channel, str) and channel in aliases else names
        index = _find(kind, channel, list(known), listing, where)
        named = said or names[index] or str(index)
        if not slug(named):
            raise InputError(
                f"the name of the {what} '{named}' has no letter or number",
                where=where,
                fix=f"call it {kind}=NAME:3",
            )
        for other, at in found.items():
            if at == index or same_marker(other, named):
                raise InputError(
                    f"the {what}s '{other}' and '{slug(named)}' are one channel or have one name",
                    where=where,
                    fix=f"give each once, with a name of its own (NAME:3); the channels are {listing}",
                )
        found[slug(named)] = index
    return found


def _find(role: str, channel: int | str, names: list[str], listing: str, where: object) -> int:
    """Return the index of a channel given by index or name."""
    fix = f"the channels are {listing}"
    if isinstance(channel, str):
        wanted = channel.strip().casefold()
        known = [name.casefold() for name in names]
        matches = [i for i, name in enumerate(known) if wanted and name == wanted]
        if len(matches) > 1:
            raise InputError(
                f"{len(matches)} channels are called '{channel}', so {role}={channel} is not clear",
                where=where,
                fix=f"give the index instead; {fix}",
            )
        if matches:
            return matches[0]
        if not re.fullmatch(r"[+-]?\d+", wanted):
            if AND in wanted and role != MARKER and not is_exosome_role(role):
                fix = f"only exosomes and markers can be several channels: give one as {role}; {fix}"
            close = difflib.get_close_matches(wanted, [name for name in known if name], n=1, cutoff=0.5)
            guess = f"did you mean '{names[known.index(close[0])]}'? " if close else ""
            raise InputError(
                f"no channel is called '{channel}' ({role}={channel})", where=where, fix=guess + fix
            )
        channel = int(wanted)
    if not 0 <= channel < len(names):
        raise InputError(
            f"there is no channel {channel} ({role}={channel}; indices start at 0)", where=where, fix=fix
        )
    return channel


def _padded(names: Sequence[str], n_channels: int) -> list[str]:
    return [*(name.strip() for name in names), *[""] * n_channels][:n_channels]
