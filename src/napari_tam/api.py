"""The same analysis for notebooks and scripts: `napari_tam.analyse` and `napari_tam.batch`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.settings import REQUIRED_ROLES, ROLES, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from napari_tam.batches.conclude import Conclusions
    from napari_tam.batches.work import BatchProgress
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
        whose channels are told by ``settings.channels``; or a mapping of role (``cell``, ``exosome``, and if
        there are any ``nucleus``, ``lysosome``, ``extra``) to an array YX (ZYX).
    settings
        All parameters; by default `Settings()`. Arrays need ``pixel_size_um``.
    name
        What the image is called in the tables. By default the file's name, or ``image``.
    models
        The networks. By default those of the settings, which are loaded once and kept for the next call.

    Returns
    -------
    Analysis
        Label images, tables (one row a cell, one row a punctum) and a summary.

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
        field = _field(image, settings, name or "image")
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
        Analyse on dask workers, see `napari_tam.batches.cluster.open_cluster`.
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
    from napari_tam.batches.run import analyse_files
    from napari_tam.batches.threads import default_jobs
    from napari_tam.io.layout import read_layout
    from napari_tam.io.listing import list_images, unique_names
    from napari_tam.report.build import write_report

    settings, out = _settings(settings), Path(out).expanduser()
    for what, number, least in (("jobs", jobs, 0), ("memory_gb", memory_gb, 1e-9)):
        if number is not None and number < least:
            raise InputError(f"{what} is {number}", fix="give a number above 0, or leave it out")
    paths = list_images([inputs] if isinstance(inputs, str | Path) else inputs)
    if not paths:
        raise InputError(
            "there is no image", where="the list of inputs", fix="name files, folders or patterns"
        )
    about = None if layout is None else read_layout(Path(layout).expanduser())
    if about is not None:
        about.check(list(unique_names(paths).values()), patterns=False)
    models = models or _models(settings)
    command = ["napari_tam.batch"]
    if cluster is not None:
        from napari_tam.batches.cluster import analyse_on

        outcomes = analyse_on(
            cluster,
            paths,
            settings,
            models,
            out,
            on_progress=on_progress,
            command=command,
            resume=resume,
            retry_failed=retry_failed,
        )
    else:
        outcomes = analyse_files(
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
        )
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
    conclusions = conclude(out, settings, about) if analysed + kept else None
    if conclusions is not None and (report if report is not None else about is not None):
        write_report(out)
    return BatchResult(out, analysed, kept, errors, conclusions)


def _models(settings: Settings) -> Models:
    """Return the networks of some settings; the last ones are kept."""
    names = ("device", "cells_model", "nuclei_model", "puncta_method", "phenotype_model", "corrections")
    return _loaded(tuple((name, getattr(settings, name)) for name in names))


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


def _field(image: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], settings: Settings, name: str) -> Field:
    """Make a field of arrays."""
    from napari_tam.io.field import Field

    volume = settings.z_stack == "volume"
    axes = "ZYX" if volume else "YX"
    if settings.pixel_size_um is None:
        raise InputError("an array has no pixel size", where=name, fix="give Settings(pixel_size_um=…)")
    if volume and settings.z_step_um is None:
        raise InputError("an array has no distance of planes", where=name, fix="give Settings(z_step_um=…)")
    channels = _channels(image, settings, name, axes)
    for role, plane in channels.items():
        if role not in ROLES:
            raise InputError(f"'{role}' is no channel role", where=name, fix=f"known: {', '.join(ROLES)}")
        if plane.ndim != len(axes) or plane.dtype.kind not in "buif" or not plane.size:
            raise InputError(
                f"the {role} channel has shape {plane.shape} and type {plane.dtype}",
                where=name,
                fix=f"it should be a {axes} array of numbers",
            )
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise InputError(f"pixels of the {role} channel are NaN or infinite", where=name)
    missing = [role for role in REQUIRED_ROLES if role not in channels]
    if not missing and len({plane.shape for plane in channels.values()}) > 1:
        raise InputError("the channels differ in size", where=name)
    return Field(name, channels, settings.pixel_size_um, z_step_um=settings.z_step_um if volume else None)


def _channels(
    image: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], settings: Settings, name: str, axes: str
) -> dict[str, npt.NDArray[Any]]:
    if not isinstance(image, Mapping):
        image = np.asarray(image)  # a list, or an array of dask, zarr or torch
    if not isinstance(image, np.ndarray):
        given = {role: np.asarray(plane) for role, plane in image.items()}
        return {role: _whole(plane) for role, plane in given.items()}
    if image.ndim != len(axes) + 1:
        raise InputError(f"the array has shape {image.shape}", where=name, fix=f"its axes should be C{axes}")
    if not settings.channels:
        raise InputError(
            "nothing says which channel is which",
            where=name,
            fix="give e.g. Settings(channels={'cell': 0, 'nucleus': 1, 'exosome': 2})",
        )
    channels = {}
    for role, index in settings.channels.items():
        if not isinstance(index, int) or not 0 <= index < image.shape[0]:
            raise InputError(
                f"there is no channel {index!r} for the role {role}",
                where=name,
                fix=f"an array has no channel names: give an index from 0 to {image.shape[0] - 1}",
            )
        channels[role] = _whole(image[index])
    return channels


def _whole(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return plane.astype(np.uint8) if plane.dtype.kind == "b" else plane
