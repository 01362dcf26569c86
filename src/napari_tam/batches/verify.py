"""Whether a results folder can be reproduced: its images, networks, settings and tables beside the record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_tam.batches.conclude import settings_of
from napari_tam.batches.defects import with_learnt
from napari_tam.batches.learnt import settled
from napari_tam.batches.work import all_files
from napari_tam.correct.defects import DEFECTS_FILE
from napari_tam.correct.folder import CARD
from napari_tam.errors import InputError
from napari_tam.files import file_hash
from napari_tam.networks import cards
from napari_tam.results import fingerprint
from napari_tam.results.field_store import FieldStore
from napari_tam.results.record import LIBRARIES, versions
from napari_tam.results.written import WRITTEN, hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: What is compared.
Kind = Literal["image", "network", "program", "result", "file"]
#: As recorded, not so, gone, or nothing is on record to compare with.
State = Literal["same", "differs", "gone", "unknown"]

#: What settings name models for.
KINDS = ("cells", "nuclei", "phenotype")


@dataclass(frozen=True)
class Checked:
    """One thing beside its record.

    Attributes
    ----------
    kind, name
        What it is: an image, a network, the program's version, the kept result of an image, or a file of the
        folder.
    state
        How it is.
    why
        What is wrong; empty if nothing is.
    """

    kind: Kind
    name: str
    state: State
    why: str = ""


def verify(folder: Path, load: Callable[[Settings], Models]) -> list[Checked]:
    """Compare what a results folder was made from, and what it holds, with what is on record.

    Images are hashed again, whatever their names and times say. With all of them, the networks, the settings
    and the program the same, the same command gives the same tables.

    Parameters
    ----------
    folder
        The results folder; nothing in it is changed.
    load
        Loads the networks that settings name.

    Raises
    ------
    InputError
        If the folder has no record of a run, or a damaged one.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            "there is no record of a run (run.json)", where=folder, fix="name the folder of --out"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError("the record of the run is damaged (run.json)", where=folder) from error
    if not isinstance(record, dict):
        raise InputError("the record of the run is damaged (run.json)", where=folder)
    settings = settled(settings_of(folder), folder)
    known = _mapping(record.get("models"))
    models = None
    try:
        # wherever they ran: this machine may have no GPU
        models = load(settings.updated(device="auto", engine="auto"))
        models = with_learnt(models, settings, folder)
        found = [*_networks(known, models.hashes)]
    except InputError as error:
        found = [*_unloaded(known, settings, folder, str(error))]
    found.append(_program(_mapping(record.get("versions"))))
    return [*found, *_images(folder, settings, models), *_files(folder, record.get(WRITTEN))]


def libraries(folder: Path) -> list[str]:
    """Return the libraries that have another version than in the run, as ``numpy 2.0.2, now 2.1.0``.

    Other versions may change a last digit; they are told, and are no reason to mistrust a folder.
    """
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    then, now = _mapping(record.get("versions")), versions(LIBRARIES)
    return [f"{name} {then[name]}, now {now[name]}" for name in now if then.get(name, now[name]) != now[name]]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _networks(known: Mapping[str, Any], now: Mapping[str, str]) -> Iterator[Checked]:
    for name, then in known.items():
        if now.get(name) != then:
            yield Checked("network", name, "differs", "its weights are not those of the run")
        else:
            yield Checked("network", name, "same")


def _unloaded(known: Mapping[str, Any], settings: Settings, folder: Path, trouble: str) -> Iterator[Checked]:
    """Compare the files of networks that cannot be loaded, so that the one at fault is named."""
    blamed = False
    for name, then in known.items():
        path = folder / name if name == DEFECTS_FILE else _weights_of(name, settings)
        try:
            same = file_hash(path) == then
        except OSError:
            blamed = True
            yield Checked("network", name, "gone", trouble)
            continue
        blamed = blamed or not same
        yield Checked("network", name, "same" if same else "differs", "" if same else _OTHER.format(path))
    if not blamed:
        yield Checked("network", "of the run", "gone", f"it cannot be loaded: {trouble}")


#: What is said of weights that are not those of the run.
_OTHER = "{} is not the file of the run"


def _weights_of(name: str, settings: Settings) -> Path:
    """Return the file whose hash a run notes under the name of a network, or of corrections."""
    bundled = cards.MODELS_FOLDER / f"{name}.safetensors"
    if bundled.is_file():
        return bundled
    path = Path(name).expanduser()
    inside = [f"{kind}.safetensors" for kind in KINDS if getattr(settings, f"{kind}_model") == name]
    if settings.corrections == name:
        inside.append(CARD)
    return next((path / each for each in inside if (path / each).is_file()), path)


def _program(known: Mapping[str, Any]) -> Checked:
    now, then = versions(["napari-tam"])["napari-tam"], known.get("napari-tam")
    if then is None:
        return Checked("program", "napari-tam", "unknown", "its version is not on record")
    if then != now:
        return Checked("program", "napari-tam", "differs", f"{then} in the run, {now} now")
    return Checked("program", "napari-tam", "same")


def _images(folder: Path, settings: Settings, models: Models | None) -> Iterator[Checked]:
    """Check the images, and what is kept of each."""
    parts = FieldStore(folder, make=False)
    analysis = None if models is None else fingerprint.analysis_hash(settings, models)
    for name in sorted(parts.names()):
        known = parts.fields_of(name)
        if known is None or known[1].source is None:
            yield Checked("image", name, "unknown", "it could not be read in the run")
            continue
        fields, stamp = known
        source = stamp.source
        assert source is not None
        yield _image(Path(str(source.get("path"))), name, source, settings)
        if analysis is not None and stamp.analysis != analysis:
            why = "not analysed with these settings, networks and version"
            yield Checked("result", name, "differs", why)
            continue
        for field in fields:
            if parts.row(field, pictures=False) is None:
                why = "its mask or tables are gone or damaged, or it was corrected since"
                yield Checked("result", field, "differs", why)
            elif analysis is None:
                yield Checked("result", field, "unknown", "its networks cannot be loaded")
            else:
                yield Checked("result", field, "same")


def _image(path: Path, name: str, source: Mapping[str, Any], settings: Settings) -> Checked:
    try:
        now = fingerprint.source_of(path, all_files(path, name, settings))
    except (FileNotFoundError, NotADirectoryError):
        return Checked("image", name, "gone", f"it is not at {path} any more")
    except (OSError, InputError) as error:
        return Checked("image", name, "gone", f"it cannot be read: {error}")
    if now["sha256"] != source.get("sha256"):
        return Checked("image", name, "differs", f"{path} has another content than in the run")
    return Checked("image", name, "same")


def _files(folder: Path, known: object) -> Iterator[Checked]:
    """Check the tables and settings of the folder."""
    now = hashes(folder)
    if not isinstance(known, dict):
        yield from (
            Checked("file", name, "unknown", "not on record: made before such records were kept")
            for name in now
        )
        return
    for name in sorted({*now, *known}):
        if name not in now:
            yield Checked("file", name, "gone", "it was there after the run")
        elif name not in known:
            yield Checked("file", name, "unknown", "it was not written by a run")
        elif known[name] != now[name]:
            yield Checked("file", name, "differs", "it was changed after the run")
        else:
            yield Checked("file", name, "same")
