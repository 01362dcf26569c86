"""Some fields of a batch, to learn from before the first is analysed."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.batches.outcome import BatchProgress
from napari_tam.batches.work import ALL_STEPS
from napari_tam.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_tam.io.field import Field
    from napari_tam.settings import Settings

    #: Reads the fields of an image: `napari_tam.io.images.read_fields`, or the like of it.
    ReadFields = Callable[..., Iterator[Field]]


@dataclass(frozen=True)
class Sampler:
    """Reads fields spread evenly over files, and over the positions and times in them.

    What cannot be read is left out: it fails with its reason when its turn comes.

    Attributes
    ----------
    settings
        How they are read.
    read
        Reads them.
    tell
        Takes the progress.
    step
        What the fields are read for, as the progress calls it.
    """

    settings: Settings
    read: ReadFields
    tell: Callable[[BatchProgress], None]
    step: str

    def fields(
        self,
        names: Mapping[Path, str],
        most: int,
        *,
        least: int = 1,
        choose: Callable[[list[str]], list[str]] = list,
    ) -> Iterator[Field]:
        """Yield some fields. They do not depend on how many workers or parts a batch has.

        Parameters
        ----------
        names
            The files, and their names.
        most
            How many fields.
        least
            Nothing is read if there are fewer.
        choose
            Says which fields of a file come into question, by their names.
        """
        chosen = self._choose(names, most, choose)
        if sum(map(len, chosen.values())) < least:
            return
        for path, wanted in chosen.items():
            with contextlib.suppress(Exception):  # as above
                for one in self.read(path, self.settings, name=names[path], wanted=wanted.__contains__):
                    # before the first image: a bar stays at its beginning
                    step = Progress(self.step, 0, len(ALL_STEPS))
                    self.tell(BatchProgress(path, one.name, 0, len(names), step))
                    yield one

    def has(self, names: Mapping[Path, str], count: int) -> bool:
        """Tell whether files hold so many fields; only headers are read, and those only if it matters."""
        if len(names) >= count:
            return True
        return sum(map(len, self._inside(names, list(names)).values())) >= count

    def _choose(
        self, names: Mapping[Path, str], most: int, choose: Callable[[list[str]], list[str]]
    ) -> dict[Path, set[str]]:
        """Return the names of the fields to look at in each file."""
        inside = self._inside(names, spread(list(names))[:most])
        found = {path: own for path, fields in inside.items() if (own := choose(fields))}
        each = max(1, most // max(len(found), 1))
        return {path: set(spread(fields)[:each]) for path, fields in found.items()}

    def _inside(self, names: Mapping[Path, str], paths: Sequence[Path]) -> dict[Path, list[str]]:
        """Return the names of the fields in files; only headers are read."""
        inside: defaultdict[Path, list[str]] = defaultdict(list)
        for path in paths:

            def note(name: str, path: Path = path) -> bool:
                inside[path].append(name)
                return False

            with contextlib.suppress(Exception):  # as above
                for _ in self.read(path, self.settings, name=names[path], wanted=note):
                    pass
        return inside


def spread(items: Sequence[object]) -> list:  # type: ignore[type-arg]
    """Order items so that any number of the first ones is spread evenly over all."""
    golden = (np.arange(len(items)) * 0.618033988749895) % 1
    return [items[index] for index in np.argsort(np.argsort(golden, kind="stable"), kind="stable")]
