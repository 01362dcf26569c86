"""The images that a command was given, and (``napari-tam batch --dry-run``) what would be done with each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_tam.batches.plan import plan
from napari_tam.cli.console import Answer
from napari_tam.io.channel_search import described
from napari_tam.io.layout import read_layout
from napari_tam.io.listing import left_out, list_images, unique_names
from napari_tam.pipeline.models import load_models

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.io.layout import Layout
    from napari_tam.settings import Settings


def find_images(
    images: Sequence[str], settings: Settings, layout: Path | None
) -> tuple[list[Path], Layout | None]:
    """Return the images and the layout, by names (no file is opened); print what was left out, and why.

    Raises
    ------
    InputError
        If no image is found, or the layout is about others: before the work, so that a row of a wrong well
        is found at once.
    """
    paths = list_images(images, settings.files, rgb=settings.rgb)
    for line in [*described(paths, settings.files), *left_out(images, paths)]:
        print(f"files    {line}")
    about = None if layout is None else read_layout(layout)
    if about is not None:
        about.check(list(unique_names(paths, settings.files).values()), patterns=False)
    return paths, about


def print_plan(
    images: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    layout: Path | None,
    retry_failed: bool,
    resume: bool,
) -> Answer:
    """Say for every file what a run would do, and why; nothing is written."""
    paths, _ = find_images(images, settings, layout)
    counts: Counter[str] = Counter()
    told = []
    for step in plan(paths, settings, load_models, out, retry_failed, resume=resume):
        counts[step.todo] += 1
        told.append({"source": step.path.absolute(), "todo": step.todo, "why": step.why})
        print(f"{step.todo:8} {step.path}" + (f" ({step.why})" if step.why else ""))
    print(f"in all   {counts['analyse']} to analyse, {counts['keep']} done already; nothing was written")
    return Answer(0, {"dry_run": True, "results": out.resolve(), "plan": told})
