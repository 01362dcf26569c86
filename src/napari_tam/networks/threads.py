"""How many threads a network runs in: as many as the calling thread may use."""

from __future__ import annotations

import os
import sys
import threading

_own = threading.local()
_process = {"count": 0}


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_cores_to_spare() -> bool:
    """Tell whether the calling thread may use more than one core."""
    return (limit() or cores()) > 1


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
