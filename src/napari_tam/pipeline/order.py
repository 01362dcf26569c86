"""Doing the steps of an analysis in their order, and what may go on beside others in a thread of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from napari_tam.networks.threads import has_cores_to_spare, limit, limit_threads
from napari_tam.progress import Progress
from napari_tam.stopping import cancel_check, set_cancel_check

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.state import State
    from napari_tam.pipeline.steps import Step


def in_order(
    steps: Sequence[Step],
    state: State,
    earlier: Analysis | None = None,
    kept: frozenset[str] = frozenset(),
    seen: Callable[[str, State], None] | None = None,
) -> Generator[Progress, None, dict[str, float]]:
    """Do steps, yielding a `Progress` before each.

    Where there are cores to spare, steps that are marked so (`Step.beside`) are begun early. The result is
    the same.

    Parameters
    ----------
    steps
        In order.
    state
        What they add to.
    earlier, kept
        An earlier analysis, and the names of the steps whose result is taken from it.
    seen
        Called after each step with its name and all that is known by then, which it must not change.

    Returns
    -------
    Seconds that were waited for each step.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()
    begun: dict[str, Beside] = {}
    try:
        for number, step in enumerate(steps):
            if step.name not in kept:
                yield Progress(step.name, number, len(steps))
            if step.name in begun:
                begun.pop(step.name).result()
            else:
                step.find(state, earlier if step.name in kept else None)
            step.finish(state)
            if seen is not None:
                seen(step.name, state)
            if has_cores_to_spare():
                done = {each.name for each in steps[: number + 1]}
                begun |= {
                    each.name: Beside(partial(each.find, state))
                    for each in steps[number + 2 :]  # the next one is this thread's
                    if each.beside and each.name not in {*kept, *begun} and done.issuperset(each.takes)
                }
            now = time.perf_counter()
            seconds[step.name], clock = now - clock, now
    finally:
        for work in begun.values():
            work.stop()
    return seconds


class Beside:
    """Work that is begun at once, under the caller's limit of threads; what stops the caller stops it too.

    Parameters
    ----------
    work
        What to do. It must not touch what the caller changes meanwhile.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._stop = threading.Event()
        asked, threads = cancel_check(), limit()

        def begin() -> None:
            limit_threads(threads)
            set_cancel_check(lambda: self._stop.is_set() or (asked is not None and asked()))

        self._pool = ThreadPoolExecutor(1, "beside", initializer=begin)
        self._future = self._pool.submit(work)

    def result(self) -> None:
        """Wait until it is done; raises what it raised."""
        try:
            self._future.result()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop it, and wait until it has stopped; nothing if it is done."""
        self._stop.set()
        self._pool.shutdown()
