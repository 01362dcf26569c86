"""Which cell types give the exosomes of each label, and which take them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_tam.columns import OF_DONORS
from napari_tam.errors import InputError
from napari_tam.markers.labels import of_label
from napari_tam.settings import donors_of, type_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Route:
    """Which types of cells give the exosomes of a label, and which take them up."""

    label: str
    donors: tuple[str, ...]
    recipients: tuple[str, ...]

    @property
    def column(self) -> str:
        """The column with the distance to the nearest donor."""
        return of_label(OF_DONORS[0], self.label)

    @property
    def neighbours(self) -> str:
        """The column with the number of donors around."""
        return of_label(OF_DONORS[1], self.label)


def routes(labels: Sequence[str], settings: Settings) -> list[Route]:
    """Return the route of every label.

    Where the settings do not say who gives, every type does that does not take (`recipient_types`; else
    `analyse_types`); where they do not say who takes, every other type does.

    Raises
    ------
    InputError
        If the settings name a label that there is not, or nobody is left to take.
    """
    given = donors_of(settings.donor_types)
    unknown = [name for name in given if name and name not in labels]
    if unknown:
        have = ", ".join(name for name in labels if name) or "one exosome channel, which needs no name"
        raise InputError(
            f"there is no exosome label {unknown[0]} (there is: {have})",
            where="donor_types",
            fix="write LABEL=TYPE with the labels of the exosome channels, or types alone",
        )
    types = sorted(settings.types)
    found = []
    for label in labels:
        donors = given.get(label, given.get("", ()))
        takers = type_names(settings.recipient_types)
        if not takers and not donors:
            takers = type_names(settings.analyse_types)
        donors = donors or tuple(name for name in types if name not in takers)
        recipients = tuple(name for name in takers or types if name not in donors)
        if donors and not recipients:
            raise InputError(
                f"nobody is left to take up what {', '.join(donors)} give: they are all types of recipients",
                where="recipient_types",
                fix="name other types as donor_types or recipient_types",
            )
        found.append(Route(label, tuple(donors), recipients))
    return found
