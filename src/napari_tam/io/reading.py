"""One file → its fields: which planes play which role, read, projected or left to be read in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.io.channels import assign_roles, channel_label
from napari_tam.io.field import Field
from napari_tam.io.file_planes import FilePlanes
from napari_tam.io.listing import stem_of
from napari_tam.io.masks.find import given_masks, mask_folders
from napari_tam.io.planes import LazyPlane, Series, check_memory, check_space
from napari_tam.io.stack import CHANNEL_COUNTS
from napari_tam.io.tiff_metadata import pixel_size, z_step
from napari_tam.markers.labels import EXOSOME, is_exosome_role
from napari_tam.markers.names import MARKER, is_marker_role, listed
from napari_tam.settings import REQUIRED_ROLES, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_tam.io.masks.read import Labels
    from napari_tam.settings import Settings


#: An image with a side above this many tiles is analysed tile by tile.
TILED_FROM = 1.5


class Plan:
    """How to read one image series: everything that its headers and the settings decide.

    With `roles` (role to index of a channel) it is known already which channel plays which role.
    """

    def __init__(
        self,
        path: Path,
        series: Series,
        settings: Settings,
        budget: int | None,
        required: Sequence[str] = REQUIRED_ROLES,
        roles: Mapping[str, int] | None = None,
    ) -> None:
        self.path = path
        self.required = required
        self.stack, metadata, notes = series.stack, series.metadata, series.notes
        self.suffix, self._is_colour = series.suffix, series.is_colour
        n_channels = self.stack.n_channels
        self._settings = settings
        self.volume = settings.z_stack == "volume"
        if self.volume and self.stack.n_z == 1:
            raise InputError(
                "this is a single plane, which has no volume",
                where=path,
                fix="analyse it with --z-stack project, and z-stacks in a run of their own",
            )
        planes = self.stack.n_z if self.volume else 1
        self.tiled = not self.volume and max(self.stack.shape) > TILED_FROM * settings.tile_px
        if self.tiled:
            check_space(self.stack)
            if mask_folders(settings):
                raise InputError(
                    "an image that is analysed in tiles cannot take masks that were made elsewhere",
                    where=path,
                    fix=f"analyse it in one piece: --tile-px {min(max(self.stack.shape), 32_768)}",
                )
        else:
            lists = [settings.channels[kind] for kind in (MARKER, EXOSOME) if kind in settings.channels]
            more = sum(len(listed(channels)) for channels in lists)
            check_memory(self.stack, min(n_channels, len(ROLES) + more), budget, planes)
        self.stack.check_complete()
        self.names = metadata.channel_names
        self.roles = dict(roles or {}) or assign_roles(
            settings.channels,
            self.names,
            n_channels,
            path,
            hint=self._hint(),
            required=required,
            aliases=metadata.channel_aliases,
        )
        self.pixel_size_um = pixel_size(metadata, settings.pixel_size_um, path)
        self.z_step_um = z_step(metadata, settings.z_step_um, path) if self.volume else None
        self.frame_interval_min = settings.frame_interval_min or metadata.frame_interval_min
        self.projection = settings.z_projection
        told = {*settings.channels, *(roles or ()), *filter(is_marker_role, self.roles)}
        told |= set(filter(is_exosome_role, self.roles)) if EXOSOME in settings.channels else set()
        guessed = {role: i for role, i in self.roles.items() if role not in told}
        if guessed:
            listing = ", ".join(f"{role} = {self.names[i]}" for role, i in guessed.items())
            notes += (f"channel roles guessed from the names: {listing}",)
        if settings.pixel_size_um is None and metadata.pixel_source == "TIFF resolution":
            notes += (f"pixel size {self.pixel_size_um:.4g} µm taken from the TIFF resolution",)
        if self.stack.n_z > 1 and not self.volume:
            notes += (f"{self.stack.n_z} z-planes projected ({self.projection})",)
        self.notes = self.stack.notes + notes

    def _hint(self) -> str:
        """Return help for channels that were saved as z-planes or times."""
        stack = self.stack
        lengths = {"z-planes": stack.n_z, "times": stack.n_times}
        axis = next((axis for axis, length in lengths.items() if length in CHANNEL_COUNTS), "")
        return f"if its {axis} are channels, use Image > Hyperstacks > Re-order in Fiji" if axis else ""

    def read(self, image: str, tail: str, position: int, time: int) -> Field:
        """Read one field; raises InputError for pixels that cannot be analysed.

        Its name is that of the image and the tail.
        """
        name = image + tail
        if self.tiled:
            return self._large(name, position, time)
        channels, notes = {}, self.notes
        for role, index in self.roles.items():
            plane = self._channel(role, position, time, index)
            # The corners first: nearly always enough, and the whole plane costs a pass over it.
            first = plane.flat[0]
            if first != plane.flat[-1] or (plane != first).any():
                channels[role] = plane
                continue
            called = channel_label(self.names, index)
            if role in self.required or (is_exosome_role(role) and EXOSOME in self.required):
                raise InputError(
                    f"the {role} channel ({called}) has the value {first} everywhere",
                    where=self.path,
                    fix="check the export, and which channel plays which role (--channels)",
                )
            notes += (f"the {role} channel ({called}) is the same everywhere and was left out",)
        if self._is_colour:
            self._check_colours(channels)
        masks, said = self._masks(image, tail, time)
        return Field(
            name,
            channels,
            self.pixel_size_um,
            self.path,
            time,
            notes + said,
            self.z_step_um,
            masks=masks,
            frame_interval_min=self.frame_interval_min if self.stack.n_times > 1 else None,
        )

    def _masks(self, image: str, tail: str, time: int) -> tuple[dict[str, Labels], tuple[str, ...]]:
        """Return what somebody segmented elsewhere, and what must be known of it."""
        stack = self.stack
        stains = {}
        if isinstance(stack, FilePlanes):
            stains = {role: stem_of(stack.file_of(channel)) for role, channel in self.roles.items()}
        return given_masks(
            self.path,
            image,
            tail,
            self._settings,
            (stack.n_z, *stack.shape) if self.volume else stack.shape,
            frame=(time, stack.n_times),
            stains=stains,
        )

    def _check_colours(self, channels: dict[str, npt.NDArray[Any]]) -> None:
        """Raise InputError for a grey picture that was saved in colours."""
        first, *others = channels.values()
        if others and all(np.array_equal(first, other) for other in others):
            raise InputError(
                "this is a grey picture: its colours are all the same, so it holds one channel",
                where=self.path,
                fix="give the pictures of all channels, or better the microscope's own file",
            )

    def _large(self, name: str, position: int, time: int) -> Field:
        """Return a field whose channels are read when they are needed, tile by tile."""
        mean = self.projection == "mean" and self.stack.n_z > 1
        dtype = np.dtype(np.float32) if mean else self.stack.dtype

        def lazy(role: str, channel: int) -> LazyPlane:
            def read(rows: slice, columns: slice) -> npt.NDArray[Any]:
                return self._window(role, position, time, channel, (rows, columns))

            return LazyPlane(self.stack.shape, dtype, read)

        return Field(
            name,
            {role: lazy(role, index) for role, index in self.roles.items()},  # type: ignore[misc]
            self.pixel_size_um,
            self.path,
            time,
            self.notes,
            frame_interval_min=self.frame_interval_min if self.stack.n_times > 1 else None,
        )

    def _window(
        self, role: str, position: int, time: int, channel: int, part: tuple[slice, slice]
    ) -> npt.NDArray[Any]:
        mean = self.projection == "mean" and self.stack.n_z > 1
        result: npt.NDArray[Any] | None = None
        for z in range(self.stack.n_z):
            pixels: npt.NDArray[Any] = self.stack.window(position, time, z, channel, *part)
            if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
                called = channel_label(self.names, channel)
                raise InputError(
                    f"pixels of the {role} channel ({called}) are NaN or infinite",
                    where=self.path,
                    fix="replace them, or export the image again with its original integer pixels",
                )
            if result is None:
                result = pixels.astype(np.float64) if mean else pixels
            elif mean:
                result += pixels
            else:
                np.maximum(result, pixels, out=result)
        assert result is not None
        return (result / self.stack.n_z).astype(np.float32) if mean else result

    def _channel(self, role: str, position: int, time: int, channel: int) -> npt.NDArray[Any]:
        """Read a channel: all its planes, or their projection, made one by one to spare memory."""
        mean = self.projection == "mean" and self.stack.n_z > 1 and not self.volume
        result: npt.NDArray[Any] | None = None
        if self.volume:
            result = np.empty((self.stack.n_z, *self.stack.shape), self.stack.dtype)
        bad = 0
        for z in range(self.stack.n_z):
            plane: npt.NDArray[Any] = self.stack.plane(position, time, z, channel)
            if plane.dtype.kind == "f":
                bad += plane.size - int(np.count_nonzero(np.isfinite(plane)))
            if self.volume:
                assert result is not None
                result[z] = plane
            elif result is None:
                result = plane.astype(np.float64) if mean else plane
            elif mean:
                result += plane
            else:
                np.maximum(result, plane, out=result)
        assert result is not None
        if bad:
            called = channel_label(self.names, channel)
            raise InputError(
                f"{bad} pixels of the {role} channel ({called}) are NaN or infinite",
                where=self.path,
                fix="replace them, or export the image again with its original integer pixels",
            )
        return (result / self.stack.n_z).astype(np.float32) if mean else result
