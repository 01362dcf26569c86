"""Layers of a viewer read as a file is: frame by frame, projected, or tile by tile where they are large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam._napari._whole._axes import MOVIE, frame_interval_min, taken_axes
from napari_tam.io.planes import ArrayPlanes, Series
from napari_tam.io.reading import TILED_FROM, Plan
from napari_tam.io.tiff import available_memory
from napari_tam.io.tiff_metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_tam._napari._channel import Channel
    from napari_tam.io.field import Field
    from napari_tam.settings import Settings


class _Stacked:
    """Chosen channels, all (T)(Z)YX, as one array C(T)(Z)YX; what is taken of it is read from one of them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._data = [channel.plane for channel in channels.values()]
        self.shape = (len(self._data), *self._data[0].shape)
        self.dtype = np.result_type(*(data.dtype for data in self._data))

    def __getitem__(self, index: tuple[Any, ...]) -> Any:
        """Return pixels of the channel that the index names first."""
        channel, *place = index
        return self._data[channel][tuple(place)]


def layer_planes(path: Path, channels: Mapping[str, Channel], axes: str) -> ArrayPlanes:
    """Return the chosen channels as the stack of planes that a reader would give.

    Parameters
    ----------
    path
        What to name in messages.
    channels
        Role to channel; all (T)(Z)YX.
    axes
        The letters of the axes before y and x.
    """
    return ArrayPlanes(path, _Stacked(channels), f"C{axes}YX")


@dataclass(frozen=True)
class Source:
    """An image of the viewer, to be analysed as a whole: a movie, or a plane that is large.

    Attributes
    ----------
    channels
        Role to channel.
    name
        What the image is called.
    pixel_size_um
        Edge length of a pixel.
    what
        ``movie`` or ``plane``.
    file
        The file that it was opened from, if any.
    """

    channels: Mapping[str, Channel]
    name: str
    pixel_size_um: float
    what: str
    file: Path | None

    @property
    def path(self) -> Path:
        """What messages and the record name."""
        return self.file or Path(self.name)

    @cached_property
    def stack(self) -> ArrayPlanes:
        """All its planes."""
        first = next(iter(self.channels.values()))
        axes = taken_axes(first, MOVIE) if self.what == MOVIE else ""
        return layer_planes(self.path, self.channels, axes)

    def plan(self, settings: Settings) -> Plan:
        """Return how it is read: exactly as `napari_tam.io.images.read_fields` would read its file."""
        first = next(iter(self.channels.values()))
        told = Metadata(
            tuple(self.channels),
            (self.pixel_size_um,) * 2,
            frame_interval_min=frame_interval_min(first) if self.what == MOVIE else None,
        )
        roles = {role: index for index, role in enumerate(self.channels)}
        settings = settings.updated(z_stack="project")
        return Plan(self.path, Series(self.stack, told), settings, available_memory(), roles=roles)

    def read(
        self,
        _path: Path,
        settings: Settings,
        *,
        name: str | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[Field]:
        """Yield its fields as `napari_tam.io.images.read_fields` yields those of a file."""
        plan = self.plan(settings)
        for time in range(self.stack.n_times):
            if wanted is None or wanted(self.name + self._tail(time)):
                yield self._read(plan, time)

    def frame(self, settings: Settings, time: int) -> Field:
        """Return one of its fields."""
        return self._read(self.plan(settings), time)

    def _read(self, plan: Plan, time: int) -> Field:
        return replace(plan.read(self.name, self._tail(time), 0, time), source=self.file)

    def _tail(self, time: int) -> str:
        return f"_t{time:04d}" if self.stack.n_times > 1 else ""


def is_large(channel: Channel, settings: Settings) -> bool:
    """Whether an image goes through in tiles, as the command line does it."""
    return bool(max(channel.plane.shape[-2:]) > TILED_FROM * settings.tile_px)
