"""One run at a time in a results folder."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.files import OutputError
from napari_tam.results.written import note_written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Held by the process that writes a results folder; the lock is gone when that process is, however it ends.
LOCK_FILE = ".lock"


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


def _note(out: Path) -> None:
    try:
        note_written(out)
    except OSError as error:
        raise OutputError(out, error) from error
