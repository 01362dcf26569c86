"""Doing several things at once: reading ahead, analysing in several threads, within a limit of memory."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from napari_tam import stopping
from napari_tam.networks.threads import cores, limit_threads, set_torch, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_T = TypeVar("_T")


#: With a graphics card, most of an image's work is Python's: more threads would wait for its lock.
JOBS_BESIDE_A_CARD = 4


def default_jobs(device: str) -> int:
    """Return how many images to analyse at the same time: one a core, with a GPU four at most."""
    return cores() if device == "cpu" else min(cores(), JOBS_BESIDE_A_CARD)


class Here(Executor):
    """Does what is submitted at once and in the caller's thread, so that Ctrl+C stops it at any point."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Call a function; an `Exception` (no Ctrl+C) is kept for `Future.result`."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def executor(jobs: int, stop: threading.Event) -> Iterator[Executor]:
    """Give what analyses: the caller's thread (`jobs` 0) or so many threads that share the cores.

    One image in each of two threads is faster than one in two threads of a network: those share
    only the networks' work, and wait for one another. When `stop` is set, the threads raise
    `napari_tam.stopping.Interrupted` soon.
    """
    if jobs < 1:
        yield Here()
        return
    import cv2

    before, before_cv = thread_count() or cores(), cv2.getNumThreads()
    each = max(1, before // jobs)

    def start() -> None:
        limit_threads(each)
        stopping.set_cancel_check(stop.is_set)

    with ThreadPoolExecutor(jobs, "analyse", initializer=start) as pool:
        cv2.setNumThreads(max(1, before_cv // jobs))  # of the process, not of a thread as torch's
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            set_torch(before)
            cv2.setNumThreads(before_cv)


@contextlib.contextmanager
def read_ahead(items: Generator[_T, None, None], ahead: int) -> Iterator[Iterator[_T]]:
    """Give the items, `ahead` of them made by a thread before they are asked for (0: none).

    What making one raises is raised where it is asked for.
    """
    if ahead < 1:
        with contextlib.closing(items):
            yield items
        return
    made: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: _T | None, error: BaseException | None = None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                made.put((item, error), timeout=0.2)
                return

    def make() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    put(item)
                    del item
                    if stop.is_set():
                        return
            put(None)
        except BaseException as error:
            put(None, error)

    def take() -> Iterator[_T]:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
            del item

    thread = threading.Thread(target=make, name="read", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        if sys.exc_info()[0] is None:
            thread.join()
