"""What a batch would do, and why: ``napari-tam batch --dry-run``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_tam.io.listing import unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_tam.batches.work import Work
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings


#: So many images of a batch are looked into before it is run, and no longer than this (s).
SAMPLE, LONGEST_S = 8, 1.0


@dataclass(frozen=True)
class Planned:
    """What would be done with a file: ``analyse`` or ``keep``, and why."""

    path: Path
    todo: Literal["analyse", "keep"]
    why: str


def first_look(path: Path, settings: Settings) -> str:
    """Return how an image would be read: its size, and the channel of every role.

    Its headers are read, no pixels: of many images alike the first one tells whether the channels and the
    pixel size are known.

    Raises
    ------
    InputError
        If it cannot be read with these settings.
    """
    # slow to import
    from napari_tam.io.channels import channel_label
    from napari_tam.io.images import open_image
    from napari_tam.io.reading import Plan

    with open_image(path, settings) as (series, _):
        one = Plan(path, series[0], settings, budget=None)
        height, width = one.stack.shape
        roles = ", ".join(f"{role} = {channel_label(one.names, at)}" for role, at in one.roles.items())
        return f"{path}: {width} x {height} px of {one.pixel_size_um:.4g} µm; {roles}"


def plan(
    paths: Sequence[Path],
    settings: Settings,
    load: Callable[[Settings], Models],
    out: Path,
    retry_failed: bool = False,
    *,
    resume: bool = True,
) -> Iterator[Planned]:
    """Yield what `napari_tam.batches.run.analyse_files` would do with each file; nothing is written.

    Parameters
    ----------
    paths, settings, out, retry_failed, resume
        As for `napari_tam.batches.run.analyse_files`.
    load
        Loads the networks, which is done only if there are results that may hold still.
    """
    names = unique_names(paths, settings.files)
    if (out / "fields").is_dir():
        yield from _with_results(names, settings, load(settings), out, retry_failed, resume=resume)
    else:
        yield from (Planned(path, "analyse", "") for path in names)


def look_into(paths: Sequence[Path], settings: Settings) -> tuple[int, list[tuple[Path, str]]]:
    """Read the headers of some images, evenly spread, so that what is wrong with all is found before the run.

    Returns
    -------
    looked, faults
        How many were read (fewer than `SAMPLE` where that takes long), and why which of them would fail.
    """
    if not paths:
        return 0, []
    # not needed where nothing is to be analysed, and slow to import
    from napari_tam.batches.outcome import explain
    from napari_tam.io.images import check_headers

    last, steps = len(paths) - 1, max(min(SAMPLE, len(paths)) - 1, 1)
    faults: list[tuple[Path, str]] = []
    looked, until = 0, time.monotonic() + LONGEST_S
    for at in sorted({last * step // steps for step in range(steps + 1)}):
        try:
            check_headers(paths[at], settings)
        except Exception as error:
            sentence = explain(error, paths[at])
            if sentence is None:
                raise
            faults.append((paths[at], sentence))
        looked += 1
        if time.monotonic() > until:
            break
    return looked, faults


def _with_results(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    retry_failed: bool,
    *,
    resume: bool,
) -> Iterator[Planned]:
    # not needed where nothing was analysed, and slow to import
    from napari_tam.batches.defects import with_learnt
    from napari_tam.batches.learnt import settled
    from napari_tam.batches.work import Work
    from napari_tam.results.field_store import FieldStore
    from napari_tam.results.fingerprint import analysis_hash
    from napari_tam.results.folder import FAILED

    settings = settled(settings, out)
    models = with_learnt(models, settings, out)
    parts = FieldStore(out, make=False)
    work = Work(parts, settings, models, analysis_hash(settings, models), resume, retry_failed)
    known = parts.names()
    for path, name in names.items():
        if name not in known:
            yield Planned(path, "analyse", "")
            continue
        done = work.done(path, name) if resume else None
        if done is None:
            yield Planned(path, "analyse", _reason(work, path, name))
            continue
        failed = next((str(row["error"]) for row in done[0] if row["status"] == FAILED), "")
        yield Planned(path, "keep", f"failed: {failed}" if failed else "")


def _reason(work: Work, path: Path, name: str) -> str:
    from napari_tam.results.fingerprint import is_same
    from napari_tam.results.folder import FAILED

    known = work.parts.fields_of(name)
    if not work.resume or known is None:
        return ""
    fields, stamp = known
    try:
        if not is_same(path, stamp.source, work.files_of(path, name)):
            return (
                "the image changed" if stamp.source else "it could not be read, or its results not be written"
            )
    except OSError as error:
        return error.strerror or str(error)
    if stamp.analysis != work.analysis:
        return "other settings, networks or version"
    found = [work.parts.row(field, pictures=work.settings.overlays) for field in fields]
    if any(row is not None and row[0]["status"] == FAILED for row in found):
        return "failed before"
    return "a mask, picture or table is missing"
