"""Where dask workers come from: this machine, a scheduler that runs, or a queue system."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client


#: Interval (s) at which queue jobs that ended (their walltime was over) are replaced by new ones.
LOOK_EVERY = 30.0


#: Queueing systems, and their classes in dask-jobqueue.
QUEUES = {"slurm": "SLURMCluster", "lsf": "LSFCluster", "sge": "SGECluster", "pbs": "PBSCluster"}


@contextlib.contextmanager
def connected(cluster: str | Client) -> Iterator[Client]:
    """Give a client of a cluster, which is opened and closed where only its name is given."""
    if not isinstance(cluster, str):
        with _strict(cluster):
            yield cluster
        return
    with open_cluster(cluster) as client, _strict(client):
        yield client


@contextlib.contextmanager
def _strict(client: Client) -> Iterator[None]:
    """Make the scheduler fail a task at once when its worker dies: retries are decided here."""

    def allow(number: int, dask_scheduler: Any = None) -> int:
        before: int = dask_scheduler.allowed_failures
        dask_scheduler.allowed_failures = number
        return before

    before = client.run_on_scheduler(allow, 0)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            client.run_on_scheduler(allow, before)


@contextlib.contextmanager
def open_cluster(where: str) -> Iterator[Client]:
    """Start or join a dask cluster.

    Parameters
    ----------
    where
        ``local:N``: N processes on this machine. ``tcp://HOST:PORT`` (or ``tls://``): a scheduler that runs.
        ``slurm:N``, ``lsf:N``, ``sge:N``, ``pbs:N``: N jobs through dask-jobqueue, described by its own
        configuration file.

    Raises
    ------
    InputError
        If it cannot be understood or reached, or dask is not installed.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(
            "dask is not installed", where=where, fix="pip install 'napari-tam[cluster]'"
        ) from error
    kind, _, number = where.partition(":")
    with contextlib.ExitStack() as stack:
        if kind in ("tcp", "tls"):
            address: Any = where
        elif re.fullmatch(r"[1-9]\d*", number) and kind == "local":
            address = stack.enter_context(
                LocalCluster(
                    n_workers=int(number), threads_per_worker=1, processes=True, dashboard_address=None
                )
            )
        elif re.fullmatch(r"[1-9]\d*", number) and kind in QUEUES:
            address = stack.enter_context(_queue(kind, int(number), where))
            stack.enter_context(_asking_again(address, int(number)))
        else:
            raise InputError(
                f"'{where}' is no cluster", fix="write local:4, tcp://HOST:PORT, or slurm:20 (lsf, sge, pbs)"
            )
        try:
            client = stack.enter_context(Client(address, timeout=30))
        except OSError as error:
            raise InputError(
                "the scheduler does not answer", where=where, fix="check its address, and that it runs"
            ) from error
        yield client


def _queue(kind: str, jobs: int, where: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError as error:
        raise InputError(
            "dask-jobqueue is not installed", where=where, fix="pip install 'napari-tam[cluster]'"
        ) from error
    cluster_class = getattr(dask_jobqueue, QUEUES[kind])
    submit = cluster_class.job_cls.submit_command
    if shutil.which(submit) is None:
        raise InputError(
            f"there is no command {submit}", where=where, fix="start this on a machine that may submit jobs"
        )
    try:
        cluster = cluster_class()
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the jobs are not described ({error})",
            where=f"{kind} in jobqueue.yaml",
            fix="docs/batch.md has an example",
        ) from error

    async def ask() -> None:
        cluster.scale(jobs=jobs)
        await cluster._correct_state()  # until they are submitted: else a refusal would only be logged

    from distributed import Status

    try:
        cluster.sync(ask)
    except (RuntimeError, ValueError, OSError) as error:
        for job in cluster._created:
            job.status = Status.failed  # else closing waits for jobs that never existed
        cluster.close()
        raise InputError(
            f"the jobs are refused ({one_line(error)})", where=where, fix="check jobqueue.yaml"
        ) from error
    print(f"cluster  {jobs} {kind} jobs asked for", file=sys.stderr)
    return cluster


@contextlib.contextmanager
def _asking_again(cluster: Any, jobs: int) -> Iterator[None]:
    """Request a new job whenever one ended; dask-jobqueue itself does not replace them."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(LOOK_EVERY):
            cluster.scale(jobs=jobs)

    thread = threading.Thread(target=ask, name="jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
