"""Files written in one step, so that a reader only ever sees complete ones; and their hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Errors after which no further image can be written either.
_FATAL = {
    getattr(errno, name, None)  # Windows knows no quota
    for name in ("ENOSPC", "EDQUOT", "EROFS", "ENOENT", "EIO", "EFBIG")
}


class OutputError(InputError):
    """The results folder cannot be written; `fatal` if no other file can be written there either."""

    def __init__(self, path: Path, error: OSError) -> None:
        self.fatal = error.errno in _FATAL
        # pyarrow's own sentence is a paragraph
        why = os.strerror(error.errno) if error.errno else str(error)
        fix = "close it in other programs, check free space and permissions, or choose another folder"
        if error.errno == errno.ENOENT:
            why = "its folder is not there"
            fix = "it was moved or removed meanwhile, or its disk is away; the same command begins it again"
        super().__init__(f"cannot be written ({why})", where=path, fix=fix)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process send it: its arguments are not those that it was made with."""
        return _revive, (self.args, self.__dict__)


def _revive(arguments: tuple[Any, ...], values: dict[str, Any]) -> OutputError:
    error = OutputError.__new__(OutputError)
    error.args = arguments
    error.__dict__.update(values)
    return error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises
    ------
    OutputError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error) from error


@contextlib.contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield the ``.part`` file to write; it takes the place of `path` if nothing is raised.

    Its content is on the disk before it has the name: after a power cut there is the old file or the new one.

    Parameters
    ----------
    path
        The file to replace.
    folder
        Where the ``.part`` file lies meanwhile (on the same disk), if not beside `path`.

    Raises
    ------
    OutputError
        For any `OSError` on the way.
    """
    part = (folder or path.parent) / (path.name + ".part")
    try:
        yield part
        sync(part)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk now, where it can.

    Raises
    ------
    OSError
        If the disk is full or broken.
    """
    if path.is_dir() and os.name == "nt":
        return  # Windows keeps names safe by itself, and opens no folder
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network shares cannot
            raise
    finally:
        os.close(number)


def check_writable(folder: Path) -> None:
    """Make a folder if need be, and see that files can be written and renamed in it.

    Raises
    ------
    OutputError
        If they cannot.
    """
    make_folder(folder)
    probe = folder / ".writable"
    with replacing(probe) as part:
        part.write_bytes(b"")
    with contextlib.suppress(OSError):
        probe.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) in one step."""
    with replacing(path) as part:
        # file names that are no UTF-8 may be in it (on the command line)
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content (raises OSError if it cannot be read)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file in one step; whatever JSON does not know is written as text."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
