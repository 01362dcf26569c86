"""One background task at a time: progress, cancelling, and errors as messages."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager, show_error
from psygnal import Signal

from napari_tam._napari import _wheel
from napari_tam._napari._preload import short_turns
from napari_tam.errors import InputError, one_line
from napari_tam.progress import Progress
from napari_tam.stopping import Interrupted, set_cancel_check

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@dataclass(frozen=True)
class Refused:
    """The result of a task that an input made impossible: the message."""

    sentence: str


class WorkFailedError(Exception):
    """The task failed for a reason other than its input."""


class Job:
    """Runs a generator in a thread; emits signals in the main thread."""

    progressed = Signal(object)
    #: Emitted with True when something starts and False when it has ended.
    busy = Signal(bool)
    #: A sentence for the user.
    said = Signal(str)

    def __init__(self) -> None:
        self._worker: Any = None
        self._take: Callable[[Any], None] | None = None
        self._stop = threading.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is running."""
        return self._worker is None

    def start(
        self,
        work: Callable[[], Generator[Any, None, Any]],
        on_result: Callable[[Any], None],
        *,
        title: str,
        total: int = 1,
    ) -> None:
        """Run the generator that `work` gives; `on_result` gets what it returns, in the main thread.

        `total` is how often it will yield (0: unknown); a `Progress` that it yields takes precedence.

        Raises
        ------
        InputError
            If something is running already.
        """
        if not self.idle:
            raise InputError("something is running already", fix="Wait for its end, or press Cancel")
        self._stop = threading.Event()

        _wheel.slow_down()
        self._take = on_result  # not in the worker, which Qt may keep for a while
        self._worker = create_worker(
            _guarded,
            work,
            self._stop,
            _progress={"total": total, "desc": title},
            _connect={
                "yielded": self._on_progress,
                "returned": self._on_returned,
                "errored": self._on_error,
                "finished": self._on_end,
            },
        )
        self.busy.emit(True)

    def cancel(self) -> None:
        """Stop at the next opportunity: a step's end, or a tile of a network."""
        if self._worker is not None:
            self._stop.set()
            self._worker.quit()
            self.said.emit("Cancelling …")

    def abandon(self, *_: Any) -> None:
        """Stop without emitting signals: the widgets that listened are gone."""
        self._stop.set()
        self._take = None
        for signal in (self.progressed, self.busy, self.said):
            signal.disconnect()
        if self._worker is not None:
            self._worker.quit()

    def _on_progress(self, progress: Any) -> None:
        if isinstance(progress, Progress) and self._worker is not None:
            bar = self._worker.pbar
            bar.total, bar.n = progress.total, progress.done
            bar.refresh()
        if not self._stop.is_set():
            self.progressed.emit(progress)

    def _on_returned(self, outcome: Any) -> None:
        if isinstance(outcome, Refused):
            self.said.emit(outcome.sentence)
            show_error(outcome.sentence)
        elif outcome is not None and not self._stop.is_set() and self._take is not None:
            self._take(outcome)

    def _on_error(self, error: Exception) -> None:
        """Say that it is a bug, and let napari show it with its traceback."""
        self.said.emit(f"Failed: {one_line(error)}. This is a bug of napari-tam: please report it.")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_end(self) -> None:
        """Handle the worker's end, including that of a cancelled run, which has no result."""
        if self._stop.is_set():
            self.said.emit("Cancelled.")
        self._worker = self._take = None
        _wheel.as_usual()
        self.busy.emit(False)


def _guarded(
    work: Callable[[], Generator[Any, None, Any]], stop: threading.Event
) -> Generator[Any, None, Any]:
    """Run the task; what is wrong with an input is returned as `Refused`."""
    from pathlib import Path

    from napari_tam.batches.run import explain

    set_cancel_check(stop.is_set)
    try:
        with short_turns():
            return (yield from work())
    except Interrupted:
        return None
    except Exception as error:
        sentence = explain(error, Path("this image")) if not isinstance(error, InputError) else str(error)
        if sentence is not None:
            return Refused(sentence)  # a worker raises an exception that is its result
        if isinstance(error, RuntimeError):
            # A worker takes these for its own deletion and never finishes.
            raise WorkFailedError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        set_cancel_check(None)
