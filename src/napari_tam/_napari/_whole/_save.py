"""Save results, of a movie: the folder that `napari-tam analyse` writes, with tracks and kinetics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from napari_tam._napari._session import Session
    from napari_tam._napari._whole._movie import FoundMovie


def save_movie(found: FoundMovie, folder: Path, session: Session) -> None:
    """Write a results folder with the frames of one movie, and what follows from them together.

    Raises
    ------
    InputError
        If it cannot be written, or holds results of other images.
    """
    from napari_tam.batches.conclude import conclude
    from napari_tam.correct.apply import correct
    from napari_tam.correct.folder import read_corrections
    from napari_tam.pipeline.tiles import is_large
    from napari_tam.results.edits import edits_hash
    from napari_tam.results.field_store import Stamp
    from napari_tam.results.folder import read_results
    from napari_tam.results.lock import locked
    from napari_tam.results.record import Record, image_row

    frames = found.followed.frames
    if (folder / "images.csv").exists():
        others = sorted(set(read_results(folder).images["image"]) - {frame.field.name for frame in frames})
        if others:
            raise InputError(
                f"the folder holds results of other images ({others[0]} …)",
                where=folder,
                fix="Choose another folder for this movie",
            )
    settings = frames[0].settings
    known = settings.corrections
    calibration = None if known == "none" else read_corrections(Path(known).expanduser())
    with locked(folder):
        record = Record(
            folder,
            settings,
            session.models(settings),
            {},
            ["napari"],
            thresholds=found.followed.thresholds,
        )
        for frame in frames:
            # the channels did not stay in memory; pictures are drawn from them
            field = found.source.frame(settings, frame.field.frame)
            if not is_large(field):
                field = correct(field, settings, calibration).field
            whole = replace(frame, field=field)
            row = image_row(whole, sum(frame.seconds.values()))
            edits = edits_hash(folder, field.name)
            row = record.parts.write(whole, row, Stamp(None, ""), pictures=settings.overlays, edits=edits)
            record.add(row, frame.seconds)
        record.save("complete")
        conclude(folder, settings)
