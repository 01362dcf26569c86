"""The defects of the camera that all images of a batch share, learnt from some of them before the first."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam import files
from napari_tam.batches.sample import Sampler
from napari_tam.correct.defect_statistics import LEAST_IMAGES, MOST_IMAGES, Places, Sums
from napari_tam.correct.defects import AUTO, DEFECTS_FILE, NONE, Defect, Defects, read_defects, write_defects
from napari_tam.installation import __version__
from napari_tam.io.images import read_fields
from napari_tam.pipeline.tiles import is_large
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_tam.batches.outcome import BatchProgress
    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: What was learnt from, in the results folder; the defects lie beside it, where there are any.
RECORD_FILE = "camera_defects.json"

#: Images of more sizes than this are cut-outs, and no camera's.
MOST_SIZES = 4

#: What is learnt from fewer images is learnt again when there are twice as many files.
ENOUGH = 16

#: How `napari_tam.io.images.read_fields` and microscopes number the frames of a movie at the end of a name.
_FRAME = re.compile(r"_t\d+$", re.IGNORECASE)

Found = dict[tuple[int, int], dict[str, Sums]]


def learn_defects(
    names: Mapping[Path, str],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    resume: bool = False,
    tell: Callable[[BatchProgress], None] = lambda _progress: None,
) -> Models:
    """Learn the defects of a batch's camera, or read those of an earlier run, and write them down.

    From up to `MOST_IMAGES` fields spread evenly over the batch, one of each position, each of which shows
    another place than those before it. What cannot be read is left out here: it fails when its turn comes.

    Parameters
    ----------
    names
        The files, and their names.
    settings, models, out
        How they are analysed, and the results folder.
    resume
        Keep what an earlier run with the same settings learnt; unless it was learnt from few images and there
        are twice as many files now.
    tell
        Takes the progress.

    Returns
    -------
    The models, with the defects.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    if settings.defects != AUTO:
        _forget(out, settings)
        return models
    depends = _depends(settings)
    record = _record(out) if resume else None
    if record is not None and record["depends"] == depends:
        few = record["images"] < ENOUGH and len(names) >= 2 * record["files"]
        if not few:
            return with_learnt(models, settings, out)
    sampler = Sampler(settings, read_fields, tell, "defects")
    found = _add_up(sampler.fields(names, MOST_IMAGES, least=LEAST_IMAGES, choose=_first_frames))
    pixels, about = _told(found)
    if pixels:
        about["sha256"] = write_defects(out / DEFECTS_FILE, pixels)
    else:
        (out / DEFECTS_FILE).unlink(missing_ok=True)
    files.write_json(out / RECORD_FILE, {**about, "files": len(names), "depends": depends})
    return with_learnt(models, settings, out)


def with_learnt(models: Models, settings: Settings, out: Path) -> Models:
    """Return models with the defects that a results folder holds, if they were to be learnt.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    known = defects_of(settings, out) if settings.defects == AUTO else None
    if known is None:
        return models
    hashes = {DEFECTS_FILE: known.sha256} if known.pixels else {}
    return replace(models, defects=known, hashes={**models.hashes, **hashes})


def defects_of(settings: Settings, out: Path) -> Defects | None:
    """Return the defects that a results folder was made with; None if none were looked for.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    if settings.defects == NONE:
        return None
    if settings.defects != AUTO:
        return read_defects(Path(settings.defects).expanduser())
    record = _record(out)
    if record is None:
        return None
    about = {name: value for name, value in record.items() if name not in ("depends", "files")}
    known = read_defects(out / DEFECTS_FILE) if "sha256" in record else Defects()
    return replace(known, about=about)


def _forget(out: Path, settings: Settings) -> None:
    """Remove what an earlier run learnt, unless it is what is asked for."""
    (out / RECORD_FILE).unlink(missing_ok=True)
    if Path(settings.defects).expanduser().resolve() != (out / DEFECTS_FILE).resolve():
        (out / DEFECTS_FILE).unlink(missing_ok=True)


def _depends(settings: Settings) -> str:
    """Return a hash of what the defects depend on besides the images: how these are read, and the version."""
    read = [name for name in type(settings).model_fields if "read" in settings.entered_by(name)]
    values = {name: getattr(settings, name) for name in read}
    text = json.dumps([values, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _record(out: Path) -> dict[str, Any] | None:
    """Return what was learnt from; None where that, or what was learnt, is not there as it was written."""
    try:
        record = json.loads((out / RECORD_FILE).read_text("utf-8"))
        known = {**record, "files": int(record["files"]), "images": int(record["images"])}
        known["depends"] = str(record["depends"])
        if "sha256" in known and files.file_hash(out / DEFECTS_FILE) != known["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known


def _first_frames(names: list[str]) -> list[str]:
    """Return the first frame of every position: cells of later ones are where they were."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(_FRAME.sub("", name), name)
    return list(first.values())


def _add_up(fields: Iterable[Field]) -> Found:
    """Add the fields whose cells, and whose channel, show a place of its own, by size and channel."""
    found: Found = {}
    places: defaultdict[str, Places] = defaultdict(Places)
    for one in fields:
        checkpoint()
        if is_large(one) or (one.shape not in found and len(found) == MOST_SIZES):
            continue
        planes = {role: _plane(channel) for role, channel in one.channels.items()}
        new = [role for role, plane in planes.items() if places[role].is_new(plane)]
        sums = found.setdefault(one.shape, {})
        for role in new if "cell" in new else ():
            sums.setdefault(role, Sums(one.shape)).add(planes[role])
    return found


def _plane(channel: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a channel, of a volume its middle plane."""
    return channel if channel.ndim == 2 else channel[channel.shape[0] // 2]


def _told(found: Found) -> tuple[list[Defect], dict[str, Any]]:
    """Return the defects, and how they were found."""
    pixels: list[Defect] = []
    told: list[dict[str, Any]] = []
    for (height, width), channels in found.items():
        for role, sums in channels.items():
            known = sums.found()
            pixels += [
                Defect(role, height, width, int(y), int(x), int(seen), known.images, float(strength))
                for (y, x), seen, strength in zip(known.places, known.seen, known.strength, strict=True)
            ]
            row = {"channel": role, "height_px": height, "width_px": width, "images": known.images}
            told.append({**row, "defects": len(known.places), "left_out": known.left_out})
    most = max((row["images"] for row in told), default=0)
    return pixels, {"images": most, "least_images": LEAST_IMAGES, "defects": len(pixels), "channels": told}
