"""Stopping in the middle of a step: long loops ask `checkpoint` whether to go on.

Who runs the work in a thread of its own says there, with `set_cancel_check`, how to find out.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_here = threading.local()


class Interrupted(BaseException):
    """The work was asked to stop. Like KeyboardInterrupt no `Exception`: it is not a failure."""


def set_cancel_check(asked: Callable[[], bool] | None) -> None:
    """State how this thread learns that it should stop; None: it never does.

    Parameters
    ----------
    asked
        Returns True once the work should stop.
    """
    _here.asked = asked


def cancel_check() -> Callable[[], bool] | None:
    """Return what `set_cancel_check` was told in this thread."""
    return getattr(_here, "asked", None)


def checkpoint() -> None:
    """Go on, or raise.

    Raises
    ------
    Interrupted
        If this thread should stop.
    """
    asked = cancel_check()
    if asked is not None and asked():
        raise Interrupted


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM (a service manager, a queueing system, ``kill``) end the work as Ctrl+C does.

    Only the main thread can, and only where nothing else handles the signal.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl+C (and SIGTERM within `terminable`) until what belongs together is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    answered = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in answered.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _frame: pressed.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pressed and sys.exc_info()[0] is None:
            raise KeyboardInterrupt
