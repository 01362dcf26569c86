"""Fields spread evenly over a batch, for what is learnt from some of them before the first is analysed."""

from __future__ import annotations

import contextlib
from collections import defaultdict
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


def fields_of(
    read: ReadFields,
    names: Mapping[Path, str],
    settings: Settings,
    most: int,
    step: str,
    tell: Callable[[BatchProgress], None],
    choose: Callable[[list[str]], list[str]] = list,
    least: int = 1,
) -> Iterator[Field]:
    """Yield at most so many fields spread evenly over the files, and over the positions and times in them.

    What cannot be read is left out: it fails when its turn comes. The fields do not depend on how many
    workers or parts a batch has.

    Parameters
    ----------
    read, settings
        Reads files, and how.
    names
        The files, and their names.
    most
        How many fields.
    step, tell
        What this is called in the progress, and what takes it.
    choose
        Says which fields of a file come into question, by their names.
    least
        Nothing is read if there are fewer.
    """
    paths = spread(list(names))[:most]
    inside = {path: choose(found) for path, found in _inside(read, paths, names, settings).items()}
    each = max(1, most // max(sum(map(bool, inside.values())), 1))
    chosen = {path: set(spread(found)[:each]) for path, found in inside.items()}
    if sum(map(len, chosen.values())) < least:
        return
    for path in paths:
        wanted = chosen.get(path)
        if not wanted:
            continue
        with contextlib.suppress(Exception):  # as above
            for one in read(path, settings, name=names[path], wanted=wanted.__contains__):
                # before the first image: a bar stays at its beginning
                progress = Progress(step, 0, len(ALL_STEPS))
                tell(BatchProgress(path, one.name, 0, len(names), progress))
                yield one


def _inside(
    read: ReadFields, paths: Sequence[Path], names: Mapping[Path, str], settings: Settings
) -> dict[Path, list[str]]:
    """Return the names of the fields in each file; only headers are read."""
    inside: defaultdict[Path, list[str]] = defaultdict(list)
    for path in paths:

        def note(name: str, path: Path = path) -> bool:
            inside[path].append(name)
            return False

        with contextlib.suppress(Exception):  # as above
            for _ in read(path, settings, name=names[path], wanted=note):
                pass
    return inside


def spread(items: Sequence[object]) -> list:  # type: ignore[type-arg]
    """Order items so that any number of the first ones is spread evenly over all."""
    golden = (np.arange(len(items)) * 0.618033988749895) % 1
    return [items[index] for index in np.argsort(np.argsort(golden, kind="stable"), kind="stable")]
