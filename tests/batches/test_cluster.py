"""The batch on dask: real schedulers and workers, one of which dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cameras
import fakes
import pytest
from paths import HELPERS, SOURCE
from runs import content, fast, images, poisonous, slow

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.results.folder import read_results
from napari_tam.results.lock import locked
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


distributed = pytest.importorskip("distributed")
from napari_tam.batches.cluster import _Job, analyse_on  # noqa: E402
from napari_tam.batches.dask_clusters import open_cluster  # noqa: E402

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
    # whoever kills a worker leaves its sockets behind; dask says so in many ways
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with open_cluster("local:2") as client:
        client.run(sys.path.append, str(HELPERS))
        yield client


def test_workers_replace_the_same_defects(tmp_path: Path, client: Any) -> None:
    paths = cameras.write(tmp_path / "in", 8)
    list(analyse_on(client, paths, Settings(), fakes.models(), tmp_path / "a", load=fast))
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b"))
    found = read_results(tmp_path / "a").images["findings"]
    assert found.str.contains("camera_defects").all()
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_cluster_gives_the_same_bytes(tmp_path: Path, client: Any) -> None:
    paths = images(tmp_path / "in", 6)
    paths[2].write_bytes(b"no image")
    outcomes = list(analyse_on(client, paths, Settings(), fakes.models(), tmp_path / "a", load=fast))
    assert sorted(outcome.name for outcome in outcomes) == [f"i{k}" for k in range(6)]
    assert [outcome.name for outcome in outcomes if outcome.error] == ["i2"]
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b"))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    # and each goes on where the other stopped
    more = list(analyse_on(client, paths, Settings(), fakes.models(), tmp_path / "b", load=fast, resume=True))
    assert all(outcome.kept for outcome in more)


def test_a_worker_that_dies_loses_nothing(tmp_path: Path, client: Any) -> None:
    paths = images(tmp_path / "in", 10)
    pids = list(client.run(os.getpid).values())
    batch = analyse_on(client, paths, Settings(), fakes.models(), tmp_path / "a", load=slow)
    seen = [next(batch).name]
    os.kill(pids[0], signal.SIGKILL)
    seen += [outcome.name for outcome in batch]
    assert sorted(seen) == sorted(f"i{k}" for k in range(10))
    assert read_results(tmp_path / "a").images["status"].tolist() == ["ok"] * 10
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b"))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_poison_image_is_set_aside_and_the_others_are_done(tmp_path: Path, client: Any) -> None:
    paths = images(tmp_path / "in", 6)
    bad = fakes.image()
    bad[0, 5, 5] = 65_535
    fakes.write_image(paths[3], bad)
    out = tmp_path / "out"
    list(analyse_on(client, paths, Settings(), fakes.models(), out, load=poisonous))
    table = read_results(out).images
    assert table["status"].tolist() == ["ok", "ok", "ok", "failed", "ok", "ok"]
    assert "the worker died 2 times" in table["error"][3]
    again = list(analyse_on(client, paths, Settings(), fakes.models(), out, load=poisonous, resume=True))
    assert all(outcome.kept for outcome in again)


def test_a_worker_with_other_networks_is_refused(tmp_path: Path, client: Any) -> None:
    models = fakes.models()
    models.hashes["cells"] = "1" * 64
    with pytest.raises(InputError, match="a worker has other networks"):
        list(analyse_on(client, images(tmp_path / "in", 1), Settings(), models, tmp_path / "out", load=slow))


@pytest.mark.parametrize("away", ["in", "out"])
def test_a_worker_without_the_folders_is_refused(tmp_path: Path, client: Any, away: str) -> None:
    folders = {name: tmp_path / name for name in ("in", "out")}
    for folder in folders.values():
        folder.mkdir()
    with locked(folders["out"]):
        folders[away] = tmp_path / "only here"
        job = _Job(str(folders["out"]), Settings().model_dump_json(), "", False, fast)
        future = client.submit(job, str(folders["in"] / "a.tif"), "a", False, True)
        with pytest.raises(InputError, match="a worker does not see this folder"):
            future.result()


@pytest.mark.parametrize("where", ["local", "local:0", "cloud:3", "slurm:x"])
def test_what_is_no_cluster_is_one_sentence(where: str) -> None:
    with pytest.raises(InputError, match="is no cluster"), open_cluster(where):
        pass


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: Any, **_named: Any) -> Any:
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr("distributed.Client", refuse)
    with pytest.raises(InputError, match="the scheduler does not answer"), open_cluster("tcp://127.0.0.1:1"):
        pass


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start ``dask …`` as on another machine; it knows the tests' fake networks."""
    path = os.pathsep.join([str(SOURCE), str(HELPERS)])
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture
def address() -> Iterator[str]:
    """Start a scheduler by its command line; whatever else was started ends with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    yield f"tcp://127.0.0.1:{port}"
    scheduler.kill()
    scheduler.wait()


def test_a_scheduler_at_an_address_and_a_worker_that_is_lost_for_good(tmp_path: Path, address: str) -> None:
    worker = ("worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path))
    workers = [start(*worker, "--no-nanny") for _ in range(2)]
    try:
        paths = images(tmp_path / "in", 8)
        batch = analyse_on(address, paths, Settings(), fakes.models(), tmp_path / "a", load=slow)
        seen = [next(batch).name]
        workers[0].kill()
        seen += [outcome.name for outcome in batch]
        assert sorted(seen) == sorted(f"i{k}" for k in range(8))
        list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b"))
        assert content(tmp_path / "a") == content(tmp_path / "b")
    finally:
        for process in workers:
            process.kill()
            process.wait()
