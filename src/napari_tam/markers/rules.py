"""Rules of markers: which cells are of a type, ``CD11b+ EpCAM-``.

A marker with ``+`` must be positive, with ``-`` negative; all of them must fit. ``|`` stands between
alternatives: ``CD11b+ | F4/80+ EpCAM-``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_tam.markers.names import slug

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """A rule that was read.

    Attributes
    ----------
    text
        As it was written.
    alternatives
        Of each alternative the markers (casefolded slugs), and whether they must be positive.
    names
        The markers as they were written (slugs), each once.
    """

    text: str
    alternatives: tuple[tuple[tuple[str, bool], ...], ...]
    names: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        """The markers that it asks for (casefolded slugs), each once."""
        return tuple(dict.fromkeys(name for terms in self.alternatives for name, _ in terms))

    def fits(self, positive: Mapping[str, Floats]) -> Floats:
        """Return 1 for cells that the rule fits, 0 for others, NaN where it is not known.

        Parameters
        ----------
        positive
            Marker (casefolded slug) to 1, 0 or NaN for every cell. One marker that does not fit is enough to
            know that a cell does not (Kleene's logic).
        """
        found = [
            _all([positive[name] if wanted else 1 - positive[name] for name, wanted in terms])
            for terms in self.alternatives
        ]
        return 1 - _all([1 - each for each in found])


def _all(values: list[Floats]) -> Floats:
    import numpy as np  # not to read a rule

    table = np.stack(values)
    least = np.where(np.isnan(table), 2.0, table).min(axis=0)
    return np.where(least == 0, 0.0, np.where(np.isnan(table).any(axis=0), np.nan, 1.0))


def read_rule(text: str) -> Rule:
    """Read a rule.

    Raises
    ------
    ValueError
        If it is none: one sentence that says what is wrong.
    """
    alternatives = []
    written: dict[str, str] = {}
    for part in text.split("|"):
        terms: dict[str, bool] = {}
        for term in part.replace(",", " ").split():
            name, sign = slug(term[:-1]).casefold(), term[-1]
            if sign not in "+-" or not name:
                raise ValueError(f"'{term}' is no marker with + or - behind it; write e.g. CD11b+ EpCAM-")
            written.setdefault(name, slug(term[:-1]))
            if terms.setdefault(name, sign == "+") != (sign == "+"):
                raise ValueError(f"'{part.strip()}' wants {term[:-1]} both positive and negative")
        if not terms:
            raise ValueError("an empty rule fits every cell; write e.g. CD11b+ EpCAM-")
        alternatives.append(tuple(terms.items()))
    return Rule(text.strip(), tuple(alternatives), tuple(written.values()))
