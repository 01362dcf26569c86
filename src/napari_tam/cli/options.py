"""Command line options made from `Settings`: one for every field, without a second list."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Collection

#: Prefix of the settings in the parsed arguments, which keeps them apart from the command's own.
_PREFIX = "setting_"
#: Words that reset an optional setting to unset, whatever the settings file says.
_UNSET = ("unset", "none", "auto")
_UNIT = re.compile(r"_(um2?|min)$")


def add_options(parser: argparse.ArgumentParser, only: Collection[str] = ()) -> None:
    """Add an option for every setting (of the groups `only`), the common ones first, then by group.

    A name that ends in a unit can be written without it: ``--pixel-size`` is ``--pixel-size-um``.
    """
    properties = Settings.model_json_schema()["properties"]
    if only:
        properties = {name: schema for name, schema in properties.items() if schema["group"] in only}
    common = [name for name in properties if properties[name]["common"]]
    titles = dict.fromkeys(common, "common settings")
    titles |= {name: f"{properties[name]['group']} settings" for name in properties if name not in common}
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name in sorted(properties, key=lambda name: name not in common):
        title = titles[name]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_option(groups[title], name, properties[name])


def option_names(name: str) -> list[str]:
    """Return how the option of a setting can be written, the form shown in the help first."""
    full = "--" + name.replace("_", "-")
    short = "--" + _UNIT.sub("", name).replace("_", "-")
    return list(dict.fromkeys((short, full)))


def chosen_settings(
    arguments: argparse.Namespace, base: Settings | None = None, only: Collection[str] = ()
) -> Settings:
    """Return the settings of the command line: options override the file, the file the defaults.

    Parameters
    ----------
    arguments
        What was parsed.
    base, only
        Settings to start from, and the groups of settings that the file may change.

    Raises
    ------
    InputError
        If the file or an option holds a bad value.
    """
    settings = Settings() if arguments.settings is None else Settings.from_yaml(arguments.settings)
    properties = Settings.model_json_schema()["properties"]
    if base is not None:
        names = [name for name in properties if properties[name]["group"] in only]
        given = {} if arguments.settings is None else {name: getattr(settings, name) for name in names}
        settings = base.updated(**given)
    values: dict[str, Any] = {}
    for key, given in vars(arguments).items():
        if key.startswith(_PREFIX):
            name = key.removeprefix(_PREFIX)
            values[name] = _value(name, given, properties[name])
    # what they start from is valid, so that a fault is one of the options
    return settings.updated(where="command line", **values)


def parse_setting(name: str, texts: list[str]) -> Any:
    """Return the value of a setting from its texts on a command line (raises InputError)."""
    return _value(name, texts, Settings.model_json_schema()["properties"][name])


def _add_option(group: argparse._ArgumentGroup, name: str, schema: dict[str, Any]) -> None:
    shown, *others = option_names(name)
    options: dict[str, Any] = {"dest": _PREFIX + name, "default": argparse.SUPPRESS}
    if schema.get("type") == "boolean":
        options["action"] = argparse.BooleanOptionalAction
    elif schema.get("type") == "object":
        options |= {"action": "append", "metavar": schema["pairs"] + ",…"}
    elif "enum" in schema:
        options["choices"] = schema["enum"]
    else:
        unit = _UNIT.search(name)
        metavar = unit[1].upper() if unit else "TEXT" if schema.get("type") == "string" else "NUMBER"
        options["metavar"] = metavar
    group.add_argument(shown, help=_help(schema), **options)
    if others:
        group.add_argument(*others, help=argparse.SUPPRESS, **options)


def _help(schema: dict[str, Any]) -> str:
    details = []
    if schema["unit"]:
        details.append(f"in {schema['unit']}")
    if limits := _limits(schema):
        details.append(limits)
    if schema["default"] not in (None, {}):
        default = schema["default"]
        details.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    text = schema["description"] + (f" ({'; '.join(details)})" if details else "")
    return str(text).replace("%", "%%")


def _limits(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return next(filter(None, map(_limits, schema["anyOf"])), "")
    words = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
    return " ".join(f"{word} {schema[key]:g}" for key, word in words.items() if key in schema)


def _value(name: str, given: Any, schema: dict[str, Any]) -> Any:
    """Return what `Settings` takes for the text that was given."""
    if schema.get("type") == "object":
        pairs = _pairs(",".join(given), option_names(name)[0], schema["pairs"])
        return {key: _item(text, schema["pairs"]) for key, text in pairs.items()}
    optional = any(part.get("type") == "null" for part in schema.get("anyOf", ()))
    if optional and isinstance(given, str) and given.casefold() in _UNSET:
        return None
    return given


def _item(text: str, pairs: str) -> int | str | list[str]:
    """Return the value of one pair: numbers with a colon between them are a list."""
    if ":" in pairs:
        return [part.strip() for part in text.split(":")]
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _pairs(text: str, option: str, form: str) -> dict[str, str]:
    """Read ``cell=0,nucleus=DAPI`` as names and what stands for each."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            examples = {
                "ROLE=CHANNEL": "--channels cell=0,nucleus=1,exosome=2, or channel names for the numbers",
                "SOURCE_into_TARGET=FRACTION": "--bleed-through cell_into_exosome=0.03",
                "ROLE=Y:X": "--channel-shift exosome=0.2:-0.1",
                "MARKER=GATE": "--gates CD86=250",
                "LABEL=CONTRAST": "--puncta-thresholds GFP=6,PKH26=8",
                "TYPE=RULE": '--types "macrophage=CD11b+,tumour=EpCAM+ CD11b-"',
                "PHENOTYPE=RULE": "--marker-phenotypes M1=CD86+,M2=CD206+",
            }
            raise InputError(f"{option}: '{part}' is no {form}", fix=f"write e.g. {examples[form]}")
        if key in pairs:
            kind = "role " if form.startswith("ROLE") else ""
            raise InputError(f"{option}: the {kind}'{key}' is given twice")
        pairs[key] = value
    return pairs
