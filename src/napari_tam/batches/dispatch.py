"""Where a batch is analysed: in this process, or on dask workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.batches.run import analyse_files
from napari_tam.batches.threads import default_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari_tam.batches.outcome import BatchProgress, Outcome
    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings


def analyse_batch(
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    on_progress: Callable[[BatchProgress], None] | None = None,
    command: Sequence[str] = (),
    resume: bool = False,
    retry_failed: bool = False,
    jobs: int | None = None,
    memory_gb: float | None = None,
    cluster: str | None = None,
    layout: Layout | None = None,
) -> Generator[Outcome, None, None]:
    """Analyse images as `napari_tam.batches.run.analyse_files` does, which explains the parameters.

    Parameters
    ----------
    jobs
        None: as many as the machine can do.
    cluster
        Where to analyse, see `napari_tam.batches.dask_clusters.open_cluster`; None: in this process. `jobs`
        and `memory_gb` are this process's and are not used there.
    """
    if cluster is not None:
        from napari_tam.batches.cluster import analyse_on

        return analyse_on(
            cluster,
            paths,
            settings,
            models,
            out,
            on_progress=on_progress,
            command=command,
            resume=resume,
            retry_failed=retry_failed,
            layout=layout,
        )
    return analyse_files(
        paths,
        settings,
        models,
        out,
        on_progress=on_progress,
        command=command,
        resume=resume,
        retry_failed=retry_failed,
        jobs=default_jobs(models.device) if jobs is None else jobs,
        memory_gb=memory_gb,
        layout=layout,
    )
