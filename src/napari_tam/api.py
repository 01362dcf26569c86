"""The same analysis for notebooks and scripts: `napari_tam.analyse` and `napari_tam.batch`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.io.arrays import field_of_arrays
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import numpy.typing as npt

    from napari_tam.batches.conclude import Conclusions
    from napari_tam.batches.outcome import BatchProgress, Outcome
    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.models import Models
    from napari_tam.results.folder import Results

    #: An image: a file, an array with the channels first, or a plane (a stack) for every role.
    Image = str | Path | npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]


def analyse(
    image: Image,
    settings: Settings | None = None,
    *,
    name: str | None = None,
    models: Models | None = None,
) -> Analysis:
    """Analyse one image: cells, nuclei, puncta, measurements, phenotypes.

    Parameters
    ----------
    image
        A file with one field; an array (or what NumPy makes one of) CYX, CZYX with ``z_stack="volume"``,
        whose channels are assigned by ``settings.channels``; or a mapping of role (``cell``, ``exosome``, and
        if there are any ``nucleus``, ``lysosome``, ``extra``) to an array YX (ZYX).
    settings
        All parameters; by default `Settings()`. Arrays need ``pixel_size_um``.
    name
        What the image is called in the tables. By default the file's name, or ``image``.
    models
        The networks. By default those of the settings, which are loaded once and kept for the next call.

    Returns
    -------
    Analysis
        Label images, tables (one row per cell, one row per punctum) and a summary.

    Raises
    ------
    InputError
        If the image cannot be analysed: what is wrong, where, and what to do.

    Examples
    --------
    >>> analysis = napari_tam.analyse("field.ome.tif")  # doctest: +SKIP
    >>> analysis.table[["label", "puncta_count", "phenotype"]]  # doctest: +SKIP
    """
    from napari_tam.pipeline.runner import run

    settings = _settings(settings)
    if isinstance(image, str | Path):
        field = _only_field(Path(image).expanduser(), settings, name)
    else:
        field = field_of_arrays(image, settings, name or "image")
    return run(field, settings, models or _models(settings))


@dataclass(frozen=True)
class BatchResult:
    """What a batch did.

    Attributes
    ----------
    folder
        The results folder.
    analysed, kept
        Number of fields that were analysed, and of those whose earlier results still hold.
    errors
        Why images failed, by their names.
    conclusions
        Thresholds, comparisons and kinetics; None if no image could be analysed.
    """

    folder: Path
    analysed: int
    kept: int
    errors: dict[str, str]
    conclusions: Conclusions | None

    def results(self) -> Results:
        """Read the tables back."""
        from napari_tam.results.folder import read_results

        return read_results(self.folder)


def batch(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: Settings | None = None,
    *,
    layout: str | Path | None = None,
    resume: bool = True,
    retry_failed: bool = False,
    jobs: int | None = None,
    memory_gb: float | None = None,
    cluster: str | None = None,
    report: bool | None = None,
    models: Models | None = None,
    on_progress: Callable[[BatchProgress], None] | None = None,
) -> BatchResult:
    """Analyse many images into a results folder, as ``napari-tam batch`` does.

    Parameters
    ----------
    inputs
        Image files, folders of them, or patterns.
    out
        The results folder.
    settings
        All parameters; by default `Settings()`.
    layout
        Plate layout (CSV): what was done in which well, controls.
    resume, retry_failed, memory_gb
        See `napari_tam.batches.run.analyse_files`.
    jobs
        Images to analyse at the same time; by default one a core.
    cluster
        Analyse on dask workers, see `napari_tam.batches.dask_clusters.open_cluster`.
    report
        Whether report.html is written; by default with a layout.
    models
        The networks, for this process. By default those of the settings.
    on_progress
        Takes the progress; from several threads.

    Raises
    ------
    InputError
        If no image can be found, the folder not written, a model not loaded, or the layout not used. What
        is wrong with single images is in `BatchResult.errors`.
    """
    from napari_tam.batches.conclude import conclude
    from napari_tam.batches.dispatch import analyse_batch
    from napari_tam.io.layout import read_layout
    from napari_tam.io.listing import unique_names
    from napari_tam.report.build import write_report

    settings, out = _settings(settings), Path(out).expanduser()
    for what, number, least in (("jobs", jobs, 0), ("memory_gb", memory_gb, 1e-9)):
        if number is not None and number < least:
            raise InputError(f"{what} is {number}", fix="give a number above 0, or leave it out")
    paths = _images(inputs, settings)
    about = None if layout is None else read_layout(Path(layout).expanduser())
    if about is not None:
        about.check(list(unique_names(paths, settings.files).values()), patterns=False)
    models = models or _models(settings)
    outcomes = analyse_batch(
        paths,
        settings,
        models,
        out,
        on_progress=on_progress,
        command=["napari_tam.batch"],
        resume=resume,
        retry_failed=retry_failed,
        jobs=jobs,
        memory_gb=memory_gb,
        cluster=cluster,
        layout=about,
    )
    analysed, kept, errors = _count(outcomes)
    conclusions = conclude(out, settings, about) if analysed + kept else None
    if conclusions is not None and (report if report is not None else about is not None):
        write_report(out)
    return BatchResult(out, analysed, kept, errors, conclusions)


def _images(inputs: str | Path | Sequence[str | Path], settings: Settings) -> list[Path]:
    from napari_tam.io.listing import list_images

    paths = list_images([inputs] if isinstance(inputs, str | Path) else inputs, settings.files)
    if not paths:
        raise InputError(
            "there is no image", where="the list of inputs", fix="name files, folders or patterns"
        )
    return paths


def _count(outcomes: Generator[Outcome, None, None]) -> tuple[int, int, dict[str, str]]:
    """Drive a batch; return how many fields were analysed and kept, and why others failed."""
    analysed = kept = 0
    errors: dict[str, str] = {}
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            if outcome.error is not None:
                errors[outcome.name] = outcome.error
            elif outcome.kept:
                kept += 1
            else:
                analysed += 1
    return analysed, kept, errors


def _models(settings: Settings) -> Models:
    """Return the networks of some settings; the last ones are kept."""
    from napari_tam.pipeline.models import CHOICES

    return _loaded(tuple((name, getattr(settings, name)) for name in CHOICES))


@lru_cache(maxsize=1)
def _loaded(chosen: tuple[tuple[str, str], ...]) -> Models:
    from napari_tam.pipeline.models import load_models

    return load_models(Settings().updated(**dict(chosen)))


def _only_field(path: Path, settings: Settings, name: str | None) -> Field:
    from napari_tam.io.images import read_fields

    fields = read_fields(path, settings, name=name)
    with contextlib.closing(fields):  # type: ignore[type-var]
        found = next(fields, None)
        if found is None:
            raise InputError("there is no image in the file", where=path)
        if next(fields, None) is not None:
            raise InputError(
                "the file holds several fields", where=path, fix="napari_tam.batch analyses them all"
            )
    return found


def _settings(given: Settings | None) -> Settings:
    if given is not None and not isinstance(given, Settings):
        raise InputError(
            f"a {type(given).__name__} is no Settings", fix="give napari_tam.Settings(name=value, …)"
        )
    return given or Settings()
