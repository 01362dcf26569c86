"""One run at a time in a results folder; or several, each of which has a part of the images."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.files import OutputError
from napari_tam.results.written import note_written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Held by the process that writes a results folder; the lock is gone when that process is, however it ends.
LOCK_FILE = ".lock"
#: The same for the parts of a run, each of which has a lock of its own in this folder of the results.
PARTS_FOLDER = ".parts"
#: What all parts would do alike, one of them does under this lock.
_SHARED = "all"
#: Another part holds the lock of the whole folder for a moment, to see that it is free: wait so long (s).
_MOMENT = 10.0


@contextlib.contextmanager
def locked_results(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder whose results are replaced; where there is none, none is made.

    Raises
    ------
    InputError
        If another run is using it, or the folder cannot be written.
    """
    with locked(folder) if folder.is_dir() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other runs out of a results folder, until all that belongs to a run is written and noted.

    Who has it may ask for it again (in the same thread).

    Raises
    ------
    InputError
        If another run is using it, or the folder cannot be made or written.
    """
    import filelock

    if out.exists() and not out.is_dir():
        raise InputError("the output is a file, not a folder", where=out, fix="choose another --out folder")
    path = out / LOCK_FILE
    lock = filelock.FileLock(path, is_singleton=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            "another napari-tam is writing this folder", where=out, fix="wait for it, or choose another --out"
        ) from error
    except NotImplementedError:
        yield  # a share that knows no locks
        return
    except OSError as error:
        raise OutputError(path, error) from error
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            _refuse_beside_parts(out)
        yield
        if outermost:
            _note(out)
    except BaseException:
        if outermost:  # what was written until then
            with contextlib.suppress(OSError, OutputError):
                note_written(out)
        raise
    finally:
        with contextlib.suppress(OSError):
            lock.release()


@contextlib.contextmanager
def locked_part(out: Path, number: int, count: int) -> Iterator[None]:
    """Keep out of a folder whole runs, and those that have the same part; other parts are let in.

    Parameters
    ----------
    out
        The results folder.
    number, count
        The part (from 1), and of how many.

    Raises
    ------
    InputError
        If a whole run, or this part, or one of another number of parts is under way, or the folder cannot be
        made or written.
    """
    import filelock

    name = f"{number}-of-{count}"
    with _acquired(out, name, f"part {number} of {count} is being analysed already, in this folder"):
        # who has the whole looks for parts after he has it, so one of the two sees the other
        try:
            with filelock.FileLock(out / LOCK_FILE, timeout=_MOMENT):
                pass
        except filelock.Timeout as error:
            raise InputError(
                "another napari-tam is writing this folder", where=out, fix="wait for it"
            ) from error
        except NotImplementedError:
            pass
        for other in _under_way(out):
            if not other.endswith(f"-of-{count}") and other != _SHARED:
                raise InputError(
                    f"parts of another number are being analysed ({other}; asked for is {name})",
                    where=out,
                    fix="wait for them, or say --part K/N with the same N in all of them",
                )
        yield


@contextlib.contextmanager
def one_after_another(out: Path) -> Iterator[None]:
    """Let one part do what all would do alike, while the others wait (raises InputError as `locked_part`)."""
    with _acquired(out, _SHARED, "", timeout=-1):
        yield


@contextlib.contextmanager
def _acquired(out: Path, name: str, taken: str, *, timeout: float = 0) -> Iterator[None]:
    import filelock

    path = out / PARTS_FOLDER / f"{name}.lock"
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except filelock.Timeout as error:
        raise InputError(taken, where=out, fix="wait for it") from error
    except NotImplementedError:
        yield  # a share that knows no locks
        return
    except OSError as error:
        raise OutputError(path, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.release()


def _under_way(out: Path) -> list[str]:
    """Return the names of the locks in `PARTS_FOLDER` that somebody else holds."""
    import filelock

    held = []
    for path in sorted((out / PARTS_FOLDER).glob("*.lock")):
        try:
            with filelock.FileLock(path, timeout=0):
                pass
        except filelock.Timeout:
            held.append(path.stem)
        except (NotImplementedError, OSError):
            continue
    return held


def _refuse_beside_parts(out: Path) -> None:
    """Raise InputError if a part is being analysed; else remove what earlier ones left."""
    if not (out / PARTS_FOLDER).is_dir():
        return
    if held := [name for name in _under_way(out) if name != _SHARED]:
        raise InputError(
            f"parts of a run are being analysed in this folder ({', '.join(held)})",
            where=out,
            fix="wait for them, or choose another --out",
        )
    shutil.rmtree(out / PARTS_FOLDER, ignore_errors=True)


def _note(out: Path) -> None:
    try:
        note_written(out)
    except OSError as error:
        raise OutputError(out, error) from error
