"""File → Open on images and folders: every channel a layer with its name, colour and pixel size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info

from napari_tam._napari._contributions._known import results_of
from napari_tam._napari._layers import COLORMAPS, KEY
from napari_tam._napari._pyramid import is_shown_as_pyramid, read_pyramid
from napari_tam.errors import InputError
from napari_tam.io.channels import guess_roles
from napari_tam.io.images import list_images, open_image
from napari_tam.io.listing import extra_of, is_zarr, name_of
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam._napari._layers import LayerData
    from napari_tam.io.planes import Planes, Series

#: A channel above this size (bytes) is read plane by plane, when it is shown.
LARGE = 2**28

#: Colours of channels whose role is not known, in order.
_OTHERS = ("gray", "green", "cyan", "yellow", "red", "bop orange")


def image_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what opens an image, or the first one of a folder; None for anything else."""
    given = Path(path) if isinstance(path, str) else None
    if given is None or results_of(path) is not None:
        return None
    if given.is_dir() and not is_zarr(given):
        try:
            images = list_images([given])
        except InputError:
            return None
        return lambda _: _first_of(images)
    return lambda _: _layers_or_napari(given)


def _first_of(images: list[Path]) -> list[LayerData]:
    if len(images) > 1:
        show_info(
            f"This is {name_of(images[0])}, the first of {len(images)} images. To analyse all of them: "
            "Plugins → napari-tam → Analyse a folder"
        )
    return _layers_or_napari(images[0])


def _layers_or_napari(path: Path) -> list[LayerData]:
    """Return the layers of an image; of a TIFF file that is none (a mask, a colour picture) napari's."""
    try:
        return image_layers(path)
    except InputError:
        if extra_of(path) or path.is_dir():
            raise
        from napari_builtins.io import napari_get_reader  # type: ignore[import-untyped]

        read: Any = napari_get_reader(str(path))
        if read is None:
            raise
        layers: list[LayerData] = read(str(path))
        return layers


def image_layers(path: Path) -> list[LayerData]:
    """Return one image layer for every channel of an image, scaled in µm; (T)(Z)YX.

    Of several positions or scenes, the first one.

    Raises
    ------
    InputError
        If it cannot be read as an image of grey channels.
    """
    with open_image(path, Settings()) as (series, _):
        one, number = series[0], len(series)
        stack = one.stack
        if stack.n_channels == 1 and stack.dtype.kind in "iu" and _is_mask(path):
            raise InputError("this is a label image", where=path)
        if number * stack.n_positions > 1:
            show_info(f"This is the first of {number * stack.n_positions} positions in {path.name}")
        suffix = one.suffix or ("_s00" if number * stack.n_positions > 1 else "")
        return _layers(path, name_of(path) + suffix, one)


def _is_mask(path: Path) -> bool:
    return path.stem.lower().endswith(("_masks", "_cells", "_nuclei", "_labels"))


def _layers(path: Path, name: str, one: Series) -> list[LayerData]:
    stack, said = one.stack, one.metadata
    names = [*said.channel_names, *[""] * stack.n_channels][: stack.n_channels]
    roles = {index: role for role, index in guess_roles(names).items()}
    others = iter(_OTHERS * stack.n_channels)
    lengths = (stack.n_times, stack.n_z)
    steps = (1.0, said.z_um or 1.0)
    known: dict[str, Any] = {"image": name, "source": str(path)}
    known["axes"] = "".join(axis for axis, n in zip("TZ", lengths, strict=True) if n > 1)
    if stack.n_times > 1:
        known["frame_interval_min"] = said.frame_interval_min
    placed: dict[str, Any] = {}
    if said.pixel_um is not None:
        scale = [step for step, n in zip(steps, lengths, strict=True) if n > 1]
        units = [unit for unit, n in zip(("pixel", "µm"), lengths, strict=True) if n > 1]
        placed = {"scale": (*scale, *said.pixel_um), "units": (*units, "µm", "µm")}
    layers: list[LayerData] = []
    for channel, called in enumerate(names):
        data, limits = _pixels(stack, channel)
        role = roles.get(channel)
        arguments = {
            "name": f"{name} {called or f'channel {channel}'}",
            "colormap": COLORMAPS[role] if role else next(others),
            "blending": "additive",
            "contrast_limits": limits,
            "metadata": {KEY: known | ({"role": role} if role else {})},
            **placed,
        }
        layers.append((data, arguments, "image"))
    return layers


def _pixels(stack: Planes, channel: int) -> tuple[Any, tuple[float, float]]:
    """Return the pixels of a channel, (T)(Z)YX, and limits of their contrast."""
    whole = (slice(None), slice(None))

    def plane(time: int, z: int) -> Any:
        return stack.window(0, time, z, channel, *whole)

    if stack.n_times * stack.n_z == 1 and is_shown_as_pyramid(stack.shape):
        return read_pyramid(stack, channel, in_memory=math.prod(stack.shape) * stack.dtype.itemsize <= LARGE)
    middle = plane(0, stack.n_z // 2)
    seen = [middle] if stack.n_times == 1 else [middle, plane(stack.n_times - 1, stack.n_z // 2)]
    sample = np.stack([each[::4, ::4] for each in seen]).astype(np.float32)
    low, high = np.percentile(sample, (1, 99.8))
    limits = float(low), float(max(high, low + 1))
    if stack.n_times * stack.n_z == 1:
        return middle, limits
    grid = [[(time, z) for z in range(stack.n_z)] for time in range(stack.n_times)]
    if stack.n_times * stack.n_z * middle.nbytes <= LARGE:
        data = np.stack([np.stack([plane(*place) for place in row]) for row in grid])
    else:
        import dask.array as da
        from dask.delayed import delayed

        def lazy(place: tuple[int, int]) -> Any:
            return da.from_delayed(delayed(plane)(*place), stack.shape, stack.dtype)

        data = da.stack([da.stack([lazy(place) for place in row]) for row in grid])
    return data.reshape([n for n in data.shape[:2] if n > 1] + list(stack.shape)), limits
