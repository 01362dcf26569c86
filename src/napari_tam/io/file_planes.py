"""The planes of an image whose channels are files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.makers.read import complete
from napari_tam.io.planes import Series, check_side
from napari_tam.io.single import open_single

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_tam.io.channel_files import ChannelFiles
    from napari_tam.io.single import SingleChannel


class FilePlanes:
    """The planes of a field whose channels are files of their own, opened one at a time.

    Raises
    ------
    InputError
        If a file is missing, there twice, or of another size or type than the first.
    """

    n_positions = 1

    def __init__(self, files: ChannelFiles) -> None:
        files.check()
        self.files = files
        self.path = files.first
        self.n_channels = len(files.channels)
        with open_single(self.path) as first:
            self.shape, self.dtype, self.metadata = first.shape, first.dtype, first.metadata
            notes = first.notes
            inner = first.n_times, first.n_z
        self._inner = inner
        # what the names do not number, the files may hold
        for what, number, named in (
            ("times", inner[0], len(files.times)),
            ("z-planes", inner[1], len(files.zs)),
        ):
            if number > 1 and named > 1:
                raise InputError(f"both the files' names and the files hold several {what}", where=self.path)
        self.n_times, self.n_z = max(inner[0], len(files.times)), max(inner[1], len(files.zs))
        check_side(self.shape, self.path)
        self.notes: tuple[str, ...] = (
            f"channels from {len(files.files)} files, named like {files.naming.name}",
            *notes,
        )

    def file_of(self, channel: int) -> Path:
        """Return the (first) file of a channel."""
        files = self.files
        return files.files[files.times[0], files.zs[0], files.channels[channel]]

    def check_complete(self) -> None:
        """Raise InputError if a file is not like the others, or pixels are missing at its end."""
        for path in self.files.files.values():
            with open_single(path) as each:
                self._check(each)
                each.check_complete()

    def plane(self, position: int, time: int, z: int, channel: int) -> npt.NDArray[np.generic]:
        """Read one plane."""
        return self.window(position, time, z, channel, slice(None), slice(None))

    def window(
        self, position: int, time: int, z: int, channel: int, rows: slice, columns: slice
    ) -> npt.NDArray[np.generic]:
        """Read a part of a plane."""
        files = self.files
        inner_time, inner_z = (i if n > 1 else 0 for i, n in zip((time, z), self._inner, strict=True))
        place = (
            files.times[0 if self._inner[0] > 1 else time],
            files.zs[0 if self._inner[1] > 1 else z],
            files.channels[channel],
        )
        with open_single(files.files[place]) as each:
            self._check(each)
            return each.window(inner_time, inner_z, rows, columns)

    def _check(self, each: SingleChannel) -> None:
        if each.shape != self.shape:
            raise InputError(
                f"{each.path.name} has {each.shape[0]} × {each.shape[1]} pixels, "
                f"{self.path.name} {self.shape[0]} × {self.shape[1]}",
                where=each.path,
                fix="all channels of an image must have the same size",
            )
        if (each.n_times, each.n_z) != self._inner:
            raise InputError(
                f"{each.path.name} and {self.path.name} hold different numbers of planes", where=each.path
            )
        if each.dtype != self.dtype:
            raise InputError(
                f"{each.path.name} has pixels of type {each.dtype}, {self.path.name} of {self.dtype}",
                where=each.path,
                fix="export all channels in the same way",
            )


def open_field(files: ChannelFiles) -> list[Series]:
    """Return the field as the one series of planes that it is."""
    planes = FilePlanes(files)
    metadata, notes = complete(planes.metadata, files.first, files.name, files.channels)
    return [Series(planes, metadata, notes=notes)]
