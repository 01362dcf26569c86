"""Markers that settings and layout ask for, checked against those that are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.errors import InputError, nearest
from napari_tam.io.layout import marker_control
from napari_tam.markers.names import same_marker, slug
from napari_tam.markers.rules import read_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_tam.settings import Settings


def asks_for_markers(settings: Settings, roles: Iterable[str] = ()) -> bool:
    """Tell whether settings or control roles of a layout name a marker."""
    return next(_asked(settings, roles), None) is not None


def check_asked(settings: Settings, roles: Iterable[str], markers: Sequence[str]) -> None:
    """Check that all markers that are asked for are there.

    Parameters
    ----------
    settings
        `gates`, `types` and `marker_phenotypes` are used.
    roles
        The layout's control roles.
    markers
        The markers that there are, as columns have them.

    Raises
    ------
    InputError
        For the first one that is not: who asks for it, what there is, and the nearest name.
    """
    for name, who in _asked(settings, roles):
        if not any(same_marker(name, marker) for marker in markers):
            raise not_measured(name, who, markers)


def not_measured(name: str, who: str, markers: Sequence[str]) -> InputError:
    """Return the error of a marker that somebody asks for and that is not measured."""
    told = f"{who} names the marker {name}, which is not measured"
    if not markers:
        return InputError(f"{told}: no channel is a marker", fix=f"name it: --channels …,marker={name}")
    guess = nearest(name, markers)
    listing = "" if "known:" in guess else f"; measured are {', '.join(markers)}"
    return InputError(
        f"{told}{guess}{listing}",
        fix=f"correct the name, or have it measured: --channels …,marker={'+'.join(markers)}+{name}",
    )


def _asked(settings: Settings, roles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the markers that are asked for, and who asks."""
    for what, rules in (("type", settings.types), ("phenotype", settings.marker_phenotypes)):
        for name in sorted(rules):
            for marker in read_rule(rules[name]).names:
                yield marker, f"the rule of the {what} {name} ({rules[name]})"
    for marker in settings.gates:
        yield slug(marker), "the setting gates"
    for role in sorted(set(map(str, roles))):
        if marker_control(role)[1]:
            yield slug(marker_control(role)[1]), f"the layout's control_role {role}"
