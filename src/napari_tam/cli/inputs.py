"""The images that a command was given, and the layout of their plates: found by names, no file is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.io.channel_search import described
from napari_tam.io.layout import read_layout
from napari_tam.io.listing import list_images, unique_names, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.io.layout import Layout
    from napari_tam.settings import Settings


def find_images(
    images: Sequence[str], settings: Settings, layout: Path | None
) -> tuple[list[Path], Layout | None]:
    """Return the images and the layout; print how the files are named, and what was left out.

    Raises
    ------
    InputError
        If no image is found, or the layout is about others: before the work, so that a row of a wrong well
        is found at once.
    """
    paths = list_images(images, settings.files, rgb=settings.rgb)
    for line in [*described(paths, settings.files), *unreadable(images)]:
        print(f"files    {line}")
    about = None if layout is None else read_layout(layout)
    if about is not None:
        about.check(list(unique_names(paths, settings.files).values()), patterns=False)
    return paths, about
