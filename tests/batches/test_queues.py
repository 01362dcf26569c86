"""SLURM, LSF, SGE and PBS through dask-jobqueue, with a queue that runs what is submitted at once."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import fakes
import pytest
import yaml
from paths import HELPERS, ROOT, SOURCE
from runs import content, fast, images, slow

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

dask_jobqueue = pytest.importorskip("dask_jobqueue")
import dask  # noqa: E402

from napari_tam.batches.cluster import analyse_on  # noqa: E402
from napari_tam.batches.dask_clusters import open_cluster  # noqa: E402

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the queue is a shell script"),
    # jobs that are cancelled leave their sockets behind; dask says so in many ways
    pytest.mark.filterwarnings("default"),
]

#: The command that submits and the one that cancels, and what the first says.
COMMANDS = {
    "slurm": ("sbatch", "scancel", "Submitted batch job $!"),
    "lsf": ("bsub", "bkill", "Job <$!> is submitted to default queue <normal>."),
    "sge": ("qsub", "qdel", 'Your job $! ("dask-worker") has been submitted'),
    "pbs": ("qsub", "qdel", "$!.head"),
}

#: Keeps the script (LSF reads it from stdin) and starts it; the job's number is that of its process group.
SUBMIT = """#!/bin/sh
script=$(mktemp {folder}/job.XXXXXX)
cat "${{1:-/dev/stdin}}" > "$script"
setsid sh "$script" > "$script.log" 2>&1 < /dev/null &
echo $! >> {folder}/jobs
echo '{says}' | sed "s/[$]!/$!/"
"""
CANCEL = """#!/bin/sh
kill -9 -- -"${1%.head}"
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Put the commands of a queueing system on the path; its jobs end with the test."""
    submit, cancel, says = COMMANDS[request.param]
    folder = tmp_path / "queue"
    folder.mkdir()
    for name, text in ((submit, SUBMIT.format(folder=folder, says=says)), (cancel, CANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(HELPERS)]))
    with dask.config.set(
        {
            "distributed.deploy.lost-worker-timeout": "200 ms",
            f"jobqueue.{request.param}": {
                **dask.config.get(f"jobqueue.{request.param}"),
                "cores": 1,
                "memory": "1GB",
                "queue": "normal",
                "walltime": "04:00:00",
                "log-directory": None,
            },
        }
    ):
        yield folder
    for job in jobs(folder):
        try:
            os.killpg(job, signal.SIGKILL)
        except ProcessLookupError:
            continue


def jobs(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "jobs").read_text().split()]


def scripts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("job.??????"))]


@pytest.mark.parametrize(
    ("queue", "kind", "asked"),
    [
        ("slurm", "slurm", ["-p normal", "-t 04:00:00", "--mem=954M", "--cpus-per-task=1"]),
        ("lsf", "lsf", ["-q normal", "-W 04:00:00", "-n 1"]),
        ("sge", "sge", ["-q normal", "h_rt=04:00:00"]),
        ("pbs", "pbs", ["-q normal", "walltime=04:00:00", "mem=954MB"]),
    ],
    indirect=["queue"],
)
def test_jobs_give_the_same_bytes_and_are_cancelled(
    tmp_path: Path, queue: Path, kind: str, asked: list[str]
) -> None:
    paths = images(tmp_path / "in", 4)
    number = 2 if kind == "slurm" else 1
    list(analyse_on(f"{kind}:{number}", paths, Settings(), fakes.models(), tmp_path / "a", load=fast))
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b"))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    found = scripts(queue)
    assert len(found) == number
    assert all(words in script for script in found for words in asked), found[0]
    deadline = time.monotonic() + 20
    while any(alive(job) for job in jobs(queue)):
        assert time.monotonic() < deadline, "a job is left behind"
        time.sleep(0.05)


def alive(job: int) -> bool:
    try:
        os.killpg(job, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_a_job_that_ends_early_is_asked_for_again(
    tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_tam.batches.dask_clusters.LOOK_EVERY", 0.2)
    paths = images(tmp_path / "in", 6)
    batch = analyse_on("slurm:1", paths, Settings(), fakes.models(), tmp_path / "out", load=slow)
    next(batch)
    os.killpg(jobs(queue)[0], signal.SIGKILL)  # its walltime is over
    list(batch)
    assert len(jobs(queue)) >= 2
    assert read_results(tmp_path / "out").images["status"].tolist() == ["ok"] * 6


def test_the_documented_example_is_what_a_job_asks_for() -> None:
    text = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(jobqueue:.*?)```", text, re.DOTALL)
    values = yaml.safe_load(example)["jobqueue"]["slurm"]
    defaults = dask.config.get("jobqueue.slurm")
    assert set(values) <= set(defaults)
    with (
        dask.config.set({"jobqueue.slurm": defaults | values}),
        dask_jobqueue.SLURMCluster(scheduler_options={"dashboard": False}) as cluster,
    ):
        script = cluster.job_script()
    for words in ("-p normal", "-A my-lab", "-t 04:00:00", "--cpus-per-task=4", "--mem=15G"):
        assert f"#SBATCH {words}\n" in script
    for words in (
        "--nthreads 1 ",
        "--nworkers 4 ",
        "source ~/napari-tam/.venv/bin/activate",
    ):
        assert words in script


@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_jobs_that_are_refused_are_one_sentence(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (queue / "jobs").touch()
    (queue / "sbatch").write_text("#!/bin/sh\necho Invalid account >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"the jobs are refused .*Invalid account"), open_cluster("slurm:1"):
        pass
    (queue / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(queue))
    with pytest.raises(InputError, match="there is no command sbatch"), open_cluster("slurm:1"):
        pass
