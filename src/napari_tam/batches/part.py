"""A part of a batch as a job of its own, for schedulers and workflow managers.

The parts of a batch share the folder of the results. Each writes the fields of its own images; when all are
done, the batch itself finds them there and writes the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.batches.asked import check_markers
from napari_tam.batches.learnt import learn
from napari_tam.batches.run import jobs_for, work_through
from napari_tam.batches.threads import default_jobs
from napari_tam.batches.work import Work
from napari_tam.io.images import unique_names
from napari_tam.io.masks.find import check_folders
from napari_tam.results.field_store import FieldStore
from napari_tam.results.fingerprint import analysis_hash
from napari_tam.results.folder import prepare
from napari_tam.results.lock import locked_part, one_after_another

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from napari_tam.batches.outcome import BatchProgress, Outcome
    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models
    from napari_tam.results.field_store import Row
    from napari_tam.settings import Settings


def part_of(paths: Sequence[Path], number: int, count: int) -> list[Path]:
    """Return the files of a part (from 1) of so many: every `count`-th, so that parts take equally long.

    All parts together are all files, and no file is in two.
    """
    return list(dict.fromkeys(paths))[number - 1 :: count]


def analyse_part(
    part: tuple[int, int],
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    on_progress: Callable[[BatchProgress], None] | None = None,
    retry_failed: bool = False,
    jobs: int | None = None,
    memory_gb: float | None = None,
    layout: Layout | None = None,
) -> Generator[Outcome, None, None]:
    """Analyse one part of a batch into the results folder that all parts share; no tables are written.

    `napari_tam.batches.run.analyse_files` with ``resume``, the same images, settings and layout does the rest
    when all parts are done: it finds every field there, and gives what it would have given without parts.
    A part that is started again keeps what it had found.

    The threshold of the puncta and the defects of the camera are those of the whole batch: the first part
    learns them from images of all parts, and the others wait for it.

    Parameters
    ----------
    part
        Its number, from 1, and of how many.
    paths
        The files of all parts.
    settings, models, out, on_progress, retry_failed, memory_gb, layout
        As for `napari_tam.batches.run.analyse_files`.
    jobs
        None: as many as the machine can do.

    Yields
    ------
    Outcome
        One for every field of the part, in order.

    Raises
    ------
    InputError
        As for `analyse_files`; or if this part, or a whole run, is under way in the folder.
    """
    check_folders(settings)
    paths = list(dict.fromkeys(paths))
    names = unique_names(paths, settings.files)
    check_markers(names, settings, layout)
    jobs = jobs_for(models, default_jobs(models.device) if jobs is None else jobs)
    own = part_of(paths, *part)
    with locked_part(out, *part):
        tell = on_progress or (lambda _progress: None)
        with one_after_another(out):
            prepare(out)
            learnt = learn(names, settings, models, out, layout=layout, resume=True, tell=tell)
        settings, models = learnt.settings, learnt.models
        analysis = analysis_hash(settings, models)
        work = Work(FieldStore(out), settings, models, analysis, True, retry_failed, len(own))
        work.tell, work.known = tell, learnt.known
        yield from work_through({path: names[path] for path in own}, work, _NoTables(), jobs, memory_gb)


class _NoTables:
    """Takes fields into no table: that is the whole batch's to do."""

    def add(self, row: Row, seconds: Mapping[str, float] | None = None) -> None:
        """See `napari_tam.batches.run.Tables`."""

    def finish_file(self, path: Path) -> None:
        """See `napari_tam.batches.run.Tables`."""

    def save_sometimes(self) -> None:
        """See `napari_tam.batches.run.Tables`."""
