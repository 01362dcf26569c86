"""Large planes as pyramids: of each, napari draws only what the window shows, as finely as it shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._label_colours import small

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_tam.io.planes import Planes

#: Planes with a side above this (px) are shown as pyramids, down to one with a side below that.
PYRAMID_FROM, COARSEST = 4096, 1024

#: Rows (and columns) of a large plane that are read at a time.
STRIP = 1024


def is_shown_as_pyramid(shape: Sequence[int]) -> bool:
    """Whether an array of this shape is a plane that is large."""
    return len(shape) == 2 and max(shape) > PYRAMID_FROM


def shown(labels: Any) -> Any:
    """Return a copy of labels for a layer; of large ones (YX) every second, fourth, … pixel of it, too."""
    plane = small(labels)
    if not is_shown_as_pyramid(labels.shape):
        return plane
    steps = [1]
    while max(labels.shape) / steps[-1] > COARSEST:
        steps.append(2 * steps[-1])
    return [plane[::step, ::step] for step in steps]


def read_pyramid(stack: Planes, channel: int, *, in_memory: bool) -> tuple[Any, tuple[float, float]]:
    """Return a large plane as a pyramid, and limits of its contrast.

    The full plane is read where the viewer looks at it, unless it is to be `in_memory`. Each coarser one has
    the means of 2 x 2 pixels of that before it, made in one pass over the file, a strip at a time.
    """
    height = stack.shape[0]

    def read(rows: slice, columns: slice) -> Any:
        return stack.window(0, 0, 0, channel, rows, columns)

    kept, halves = [], []
    for top in range(0, height, STRIP):
        strip = read(slice(top, min(top + STRIP, height)), slice(None))
        halves.append(_halved(strip))
        if in_memory:
            kept.append(strip)
    levels = [np.concatenate(kept) if in_memory else _lazy(read, stack), np.concatenate(halves)]
    while max(levels[-1].shape) > COARSEST:
        levels.append(_halved(levels[-1]))
    low, high = np.percentile(levels[-1].astype(np.float32), (1, 99.8))
    return levels, (float(low), float(max(high, low + 1)))


def _halved(plane: Any) -> Any:
    """Return the means of 2 x 2 pixels; the last one of an odd number of rows or columns is alone."""
    odd = [(0, n % 2) for n in plane.shape]
    plane = np.pad(plane, odd, mode="edge") if plane.shape[0] % 2 or plane.shape[1] % 2 else plane
    height, width = (n // 2 for n in plane.shape)
    means = plane.reshape(height, 2, width, 2).mean(axis=(1, 3), dtype=np.float32)
    return means.astype(plane.dtype)


def _lazy(read: Callable[[slice, slice], Any], stack: Planes) -> Any:
    """Return a plane that is read in pieces when they are looked at."""
    import dask.array as da
    from dask.delayed import delayed

    height, width = stack.shape
    rows = [slice(y, min(y + STRIP, height)) for y in range(0, height, STRIP)]
    columns = [slice(x, min(x + STRIP, width)) for x in range(0, width, STRIP)]

    def piece(down: slice, across: slice) -> Any:
        shape = down.stop - down.start, across.stop - across.start
        return da.from_delayed(delayed(read)(down, across), shape, stack.dtype)

    return da.block([[piece(down, across) for across in columns] for down in rows])
