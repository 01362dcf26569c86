"""A folder that a microscope writes into: which images are complete, and a wait until something changes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.channel_search import files_of
from napari_tam.io.images import read_fields
from napari_tam.io.listing import list_images
from napari_tam.results.fingerprint import state_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable
    from pathlib import Path

    from napari_tam.settings import Settings

#: An image that was stable but not readable is tried again after so many times the settling time.
TRY_AGAIN = 3.0


@dataclass
class _Seen:
    size: int
    mtime_ns: int
    since: float
    complete: bool = False
    tried: float = -1e9


class ShareAway(Exception):
    """The folder cannot be read now; on a network it may come back."""


@dataclass
class Watcher:
    """Tells which images of a folder are complete.

    An image is complete when its size and modification time have not changed for `settle` seconds and
    its headers can be read and say that all pixels are there. A file that stays unreadable for
    `give_up` seconds is taken as complete, so that the analysis can say what is wrong with it.

    Attributes
    ----------
    folder
        Searched with its subfolders; hidden ones and results are left out.
    out
        The results folder, which may lie inside.
    settings
        How images are read.
    settle, give_up
        Seconds.
    """

    folder: Path
    out: Path
    settings: Settings
    settle: float = 10.0
    give_up: float = 60.0
    _seen: dict[Path, _Seen] = field(default_factory=dict)

    def complete(self, now: float | None = None) -> list[Path]:
        """Look at the folder and return the images that are complete, sorted.

        Images that are gone stay in the list if they were complete once: their results still count.

        Raises
        ------
        ShareAway
            If the folder cannot be read.
        """
        now = time.monotonic() if now is None else now
        for path in self._files():
            try:
                state = _state(path, self.settings.files)
            except OSError:
                continue
            seen = self._seen.get(path)
            if seen is None or (seen.size, seen.mtime_ns) != state:
                self._seen[path] = _Seen(*state, now)
                continue
            still = now - seen.since
            if seen.complete or still < self.settle or now - seen.tried < TRY_AGAIN * self.settle:
                continue
            seen.tried = now
            seen.complete = self._is_whole(path) or still >= self.give_up
        return sorted(path for path, seen in self._seen.items() if seen.complete)

    def remember(self, paths: Iterable[Path]) -> None:
        """Take images as complete that are no longer there, but were analysed."""
        for path in paths:
            if not path.exists():
                self._seen.setdefault(path, _Seen(-1, -1, 0.0, complete=True))

    def forget(self, path: Path) -> None:
        """Take an image as new when it is seen again: it was away while it was read."""
        self._seen.pop(path, None)

    def pending(self) -> int:
        """Return how many images are not complete yet."""
        return sum(not seen.complete for seen in self._seen.values())

    def _files(self) -> list[Path]:
        try:
            folders = [self.folder, *sorted(path for path in self.folder.rglob("*") if path.is_dir())]
            if not self.folder.is_dir():
                raise ShareAway(f"{self.folder} is not there")
        except OSError as error:
            raise ShareAway(f"{self.folder}: {error.strerror or error}") from error
        found: list[Path] = []
        images: set[Path] = set()
        out = self.out.resolve()
        for folder in folders:
            parts = folder.relative_to(self.folder).parts
            here = folder.resolve()
            if any(part.startswith(".") for part in parts) or here == out or out in here.parents:
                continue
            if not images.isdisjoint((folder, *folder.parents)):
                continue  # inside an image that is a folder
            with contextlib.suppress(InputError):  # no image in it
                here_found = list_images(
                    [folder], self.settings.files, rgb=self.settings.rgb, subfolders=False
                )
                found += here_found
                images.update(path for path in here_found if path.is_dir())
        return found

    def _is_whole(self, path: Path) -> bool:
        """Tell whether an image can be read: its headers, and that its pixels are all there."""
        try:
            # no field is wanted: only headers are read
            for _ in read_fields(path, self.settings, wanted=lambda _name: False):
                pass
        except (InputError, OSError):
            return False
        return True


def _state(path: Path, how: str) -> tuple[int, int]:
    """Return size and time of change (ns) of an image, which may be several files."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else files_of(path, how)
    return state_of(files or [path])


def wait(folder: Path, seconds: float, stop: threading.Event) -> None:
    """Wait until something changes in a folder, for some seconds at most.

    Parameters
    ----------
    folder
        Watched by the operating system if `watchfiles` is installed and the folder is there. On network
        shares changes made elsewhere are often not announced: then the seconds pass.
    seconds
        The longest wait.
    stop
        Ends the wait when it is set.
    """
    try:
        import watchfiles

        changes = watchfiles.watch(
            folder,
            watch_filter=None,
            stop_event=stop,
            rust_timeout=max(1, int(1000 * seconds)),
            yield_on_timeout=True,
            raise_interrupt=True,
        )
        next(iter(changes), None)
    except (ImportError, OSError, RuntimeError):
        stop.wait(seconds)
