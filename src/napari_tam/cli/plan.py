"""``napari-tam batch --dry-run``: what would be done with each image, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_tam.batches.plan import plan
from napari_tam.cli.inputs import find_images
from napari_tam.pipeline.models import load_models

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.settings import Settings


def print_plan(
    images: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    layout: Path | None,
    retry_failed: bool,
    resume: bool,
) -> int:
    """Say for every file what a run would do, and why; nothing is written. Returns the exit status."""
    paths, _ = find_images(images, settings, layout)
    counts: Counter[str] = Counter()
    for step in plan(paths, settings, load_models, out, retry_failed, resume=resume):
        counts[step.todo] += 1
        print(f"{step.todo:8} {step.path}" + (f" ({step.why})" if step.why else ""))
    print(f"in all   {counts['analyse']} to analyse, {counts['keep']} done already; nothing was written")
    return 0
