"""How many threads a network runs in, as many as the calling thread may use; other work in as many."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_tam.stopping import cancel_check, set_cancel_check

if TYPE_CHECKING:
    from collections.abc import Callable

_own = threading.local()
_process = {"count": 0}


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_cores_to_spare() -> bool:
    """Tell whether the calling thread may use more than one core."""
    return _allowed() > 1


def _allowed() -> int:
    """Return how many cores the calling thread may use."""
    return limit() or cores()


def limit_process(count: int) -> None:
    """Let networks of this process use so many threads, where a thread has no other limit."""
    _process["count"] = count
    set_torch(count)


def limit_threads(count: int) -> None:
    """Let networks that the calling thread runs use so many threads, torch's too once it is there."""
    _own.count = count
    limit_torch()


def limit_torch() -> None:
    """Hold torch to the `limit`, if there is one and torch was imported."""
    count, torch = limit(), sys.modules.get("torch")
    if count and torch is not None and torch.get_num_threads() != count:
        torch.set_num_threads(count)


def set_torch(count: int) -> None:
    """Let torch, if it was imported, use so many threads: the calling thread, and those begun from now on."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def limit() -> int:
    """Return the limit of the calling thread, or of the process; 0: there is none."""
    return int(getattr(_own, "count", 0) or _process["count"])


def thread_count() -> int:
    """Return how many threads a network may use: the limit, what torch would, or what the system was told.

    0 stands for as many as the library thinks best.
    """
    if count := limit():
        return count
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """Do tasks at the same time if the calling thread has cores to spare, or else one after the other.

    They get one core each, and what stops the caller stops them. They must leave alone what others write,
    and spend their time outside the interpreter (numpy, OpenCV, compiled loops).

    Returns
    -------
    What each returned, in their order. Raises what the first of them raised.
    """
    threads = min(len(tasks), _allowed())
    if threads < 2:
        return [task() for task in tasks]
    waiting, results = deque(enumerate(tasks)), [None] * len(tasks)
    failed: dict[int, BaseException] = {}
    asked = cancel_check()

    def work() -> None:
        before = getattr(_own, "count", 0)
        _own.count = 1
        set_cancel_check(asked)
        try:
            while not failed:
                try:
                    number, task = waiting.popleft()
                except IndexError:
                    break
                try:
                    results[number] = task()
                except BaseException as error:
                    failed[number] = error
        finally:
            _own.count = before

    helpers = [threading.Thread(target=work, name="together") for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failed:
        raise failed[min(failed)]
    return results


def shares(count: int, least: int) -> list[slice]:
    """Cut so many things into as many parts as the calling thread has cores, none of fewer than `least`."""
    parts = max(1, min(_allowed(), count // least))
    return [slice(*ends) for ends in pairwise(count * k // parts for k in range(parts + 1))]
