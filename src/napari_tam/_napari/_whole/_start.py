"""What Run does with the chosen channels: a plane, a volume, a movie, or a plane that is large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam._napari._analyse import analyse, folder_of
from napari_tam._napari._channel import check_images, placement
from napari_tam._napari._found import OF_VOLUMES, Found
from napari_tam._napari._whole._axes import MOVIE, PLANE, VOLUME, taken_axes, z_step_um
from napari_tam._napari._whole._source import Source, is_large, layer_planes
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.io.planes import check_memory
from napari_tam.io.tiff import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_tam._napari._channel import Channel
    from napari_tam._napari._session import Session
    from napari_tam.settings import Settings

#: Why some results cannot be corrected by hand; see also `OF_VOLUMES`.
_OF_TILES = (
    "an image that is analysed in tiles is not corrected by hand; analysed in one piece (a crop of it, or "
    "with larger tiles in the settings) it can be"
)


@dataclass(frozen=True)
class Task:
    """What runs in the background, and how its result becomes one to show.

    Attributes
    ----------
    name
        Of the image.
    work
        Gives the generator that does it.
    found
        Turns what that returns into a result.
    """

    name: str
    work: Callable[[], Generator[Any, None, Any]]
    found: Callable[[Any], Found]


def task_of(
    channels: Mapping[str, Channel],
    what: str,
    point: Sequence[float],
    pixel_size_um: float,
    settings: Settings,
    session: Session,
) -> Task:
    """Return what to do with the chosen channels.

    Parameters
    ----------
    channels
        Role to channel, as chosen: a layer each, whatever its axes.
    what
        ``plane``, ``volume`` or ``movie``.
    point
        What the viewer shows, in the world: of which plane, or of which time.
    pixel_size_um, settings, session
        How.

    Raises
    ------
    InputError
        If the channels are not of one image, or have no such axis.
    """
    if what == PLANE and "cell" in channels and channels["cell"].is_stack:
        channels = {role: channel.shown(point) for role, channel in channels.items()}
    check_images(channels, whole=what != PLANE)
    cell = channels["cell"]
    if what == MOVIE:
        return _movie(channels, pixel_size_um, settings, session)
    if what == VOLUME:
        return _volume(channels, point, pixel_size_um, settings, session)
    before = session.found.get(cell.image)
    field = Field(cell.image, {}, pixel_size_um, cell.source)
    # Where the results belong is settled now, whatever the user does to the viewer meanwhile.
    where, folder = placement(cell), _folder(before, field)
    if is_large(cell, settings):
        return _large(channels, field, where, folder, settings, session, before)
    planes = {role: channel.plane for role, channel in channels.items()}
    return task(field, planes, where, folder, settings, session, before)


def task(
    field: Field,
    planes: Mapping[str, Any],
    where: dict[str, Any],
    folder: Path | None,
    settings: Settings,
    session: Session,
    before: Found | None,
    fixed: str = "",
) -> Task:
    """Return the analysis of one plane or volume in one piece; see `napari_tam._napari._analyse.analyse`."""

    def found(result: Any) -> Found:
        analysis, automatic, ready = result
        return Found(field.name, where, analysis, analysis.edits, folder, automatic, fixed=fixed, ready=ready)

    return Task(field.name, lambda: analyse(session, field, planes, settings, before, folder, where), found)


def _volume(
    channels: Mapping[str, Channel],
    point: Sequence[float],
    pixel_size_um: float,
    settings: Settings,
    session: Session,
) -> Task:
    """Return the analysis of a z-stack in 3-D; of a movie of stacks that of the frame that is shown."""
    from napari_tam.io.tiff_metadata import Metadata, z_step

    cell = channels["cell"]
    axes = taken_axes(cell, VOLUME)
    name, time = cell.image, 0
    if "Z" not in axes:
        raise InputError("the image has no axis z", where=name, fix="Choose 'this plane' or 'whole movie'")
    step = z_step(Metadata(z_um=z_step_um(cell, axes)), settings.z_step_um, cell.source or Path(name))
    if "T" in axes:
        time = (cell.shown(point).at or (0,))[0]
        name = f"{name}_t{time:04d}"
        channels = {role: replace(channel, at=(time,)) for role, channel in channels.items()}
    field = Field(name, {}, pixel_size_um, cell.source, time, z_step_um=step)
    volumes = {role: channel.plane for role, channel in channels.items()}
    planes = layer_planes(cell.source or Path(name), channels, "Z")
    if planes.n_z < 2:
        raise InputError("this is a single plane, which has no volume", where=name, fix="Choose 'this plane'")
    check_memory(planes, len(channels), available_memory(), planes.n_z)
    before = session.found.get(name)
    before = None if before is None or before.fixed != OF_VOLUMES else before
    settings = settings.updated(z_stack="volume")
    where, folder = placement(cell, 3), _folder(before, field)
    return task(field, volumes, where, folder, settings, session, before, OF_VOLUMES)


def _movie(
    channels: Mapping[str, Channel], pixel_size_um: float, settings: Settings, session: Session
) -> Task:
    """Return the analysis of all frames; those that are z-stacks are projected."""
    from napari_tam._napari._whole._movie import found_movie
    from napari_tam._napari._whole._run import analyse_movie

    cell = channels["cell"]
    axes = taken_axes(cell, MOVIE)
    if "T" not in axes:
        raise InputError(
            "the image has no time axis", where=cell.image, fix="Choose 'this plane' or 'whole volume'"
        )
    source = Source(channels, cell.image, pixel_size_um, MOVIE, cell.source)
    planes = source.stack.n_z if "Z" in axes else 0
    where = placement(cell, 2 + len(axes))
    folder = _folder(session.found.get(cell.image), Field(cell.image, {}, pixel_size_um, cell.source))
    settings = settings.updated(z_stack="project")

    def work() -> Generator[Any, None, Found]:
        followed = yield from analyse_movie(session, source, settings, folder)
        return found_movie(cell.image, where, followed, source, folder, planes)

    return Task(cell.image, work, lambda found: found)


def _large(
    channels: Mapping[str, Channel],
    field: Field,
    where: dict[str, Any],
    folder: Path | None,
    settings: Settings,
    session: Session,
    before: Found | None,
) -> Task:
    """Return the analysis of a large plane, tile by tile."""
    from napari_tam._napari._whole._run import analyse_large

    source = Source(channels, field.name, field.pixel_size_um, PLANE, field.source)
    return Task(
        field.name,
        lambda: analyse_large(session, source, settings, folder, before),
        lambda analysis: Found(field.name, where, analysis, folder=folder, fixed=_OF_TILES),
    )


def _folder(before: Found | None, field: Field) -> Path | None:
    """Return where the results belong: where the user wanted them, or beside the file."""
    return folder_of(field) if before is None else before.folder
