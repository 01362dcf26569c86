"""What a batch would do, and why: ``napari-tam batch --dry-run``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_tam.batches.threshold import settled
from napari_tam.batches.work import Work
from napari_tam.io.images import unique_names
from napari_tam.results import folder as results
from napari_tam.results.field_store import FieldStore
from napari_tam.results.fingerprint import analysis_hash, is_same

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Planned:
    """What would be done with a file: ``analyse`` or ``keep``, and why."""

    path: Path
    todo: Literal["analyse", "keep"]
    why: str


def plan(
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    retry_failed: bool = False,
    *,
    resume: bool = True,
) -> Iterator[Planned]:
    """Yield what `napari_tam.batches.run.analyse_files` would do with each file; nothing is written.

    Parameters
    ----------
    paths, settings, models, out, retry_failed, resume
        As for `napari_tam.batches.run.analyse_files`.
    """
    names = unique_names(paths, settings.files)
    settings = settled(settings, out)
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
        failed = next((str(row["error"]) for row in done[0] if row["status"] == results.FAILED), "")
        yield Planned(path, "keep", f"failed: {failed}" if failed else "")


def _reason(work: Work, path: Path, name: str) -> str:
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
    if any(row is not None and row[0]["status"] == results.FAILED for row in found):
        return "failed before"
    return "a mask, picture or table is missing"
