"""Stopping in the middle of a step: long loops ask `checkpoint` whether to go on.

Who runs the work in a thread of its own says there, with `watch`, how to find out.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_here = threading.local()


class Interrupted(BaseException):
    """The work was asked to stop. Like KeyboardInterrupt no `Exception`: it is nobody's failure."""


def watch(asked: Callable[[], bool] | None) -> None:
    """State how this thread learns that it should stop; None: it never does.

    Parameters
    ----------
    asked
        Returns True once the work should stop.
    """
    _here.asked = asked


def checkpoint() -> None:
    """Go on, or raise.

    Raises
    ------
    Interrupted
        If this thread should stop.
    """
    asked = getattr(_here, "asked", None)
    if asked is not None and asked():
        raise Interrupted
