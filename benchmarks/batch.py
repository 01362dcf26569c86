"""Batch: throughput, kills, memory, workers: ``python benchmarks/batch.py [FIELDS] [SIDE] [MEMORY_FIELDS]``.

Every part runs in a process of its own, with simulated fields and the bundled networks. The default size
fits two cores in about ten minutes; issue 6 asks for 200 fields of 1024².
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import publish, table

GOALS = {"throughput": 1.3, "workers": 1.8, "resume": 0.02, "memory": 0.05}
KILLS = 10


def part(name: str, *arguments: object, kill_after: float | None = None) -> dict[str, Any]:
    """Run a part in a fresh process; return what it measured (nothing if it was killed)."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--part", name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # torch's own number of threads, whatever the shell says
        env={key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")},
    )
    if kill_after is not None:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("done"):  # until the first field is done
            if process.poll() is not None:
                raise SystemExit(f"the part {name} ended by itself")
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if kill_after is None and not lines:
        raise SystemExit(f"the part {name} failed")
    return dict(json.loads(lines[-1])) if lines else {}


def singles(images: Path, out: Path) -> dict[str, Any]:
    """Analyse every field by an `analyse` of its own, with networks loaded each time and only once."""
    from napari_tam import cli_analyse, models
    from napari_tam.settings import Settings

    warm(images, out)
    seconds = {}
    loaded = models.load_models(Settings())
    for kind, load in (("once", lambda _settings: loaded), ("each", models.load_models)):
        cli_analyse.load_models = load  # type: ignore[assignment]
        started = time.perf_counter()
        for path in sorted(images.glob("*.ome.tif")):
            cli_analyse.analyse([str(path)], out / kind / path.name, Settings())
        seconds[kind] = time.perf_counter() - started
    return seconds


def warm(images: Path, out: Path) -> None:
    """Analyse one field, so that all libraries are imported."""
    from napari_tam import cli_analyse
    from napari_tam.settings import Settings

    with contextlib.redirect_stdout(io.StringIO()):
        cli_analyse.analyse([str(min(images.glob("*.ome.tif")))], out, Settings())


def batch(images: Path, out: Path, jobs: str) -> dict[str, Any]:
    """Analyse all fields in one batch; tell how long it took, and the memory after each field."""
    from napari_tam import cli_analyse
    from napari_tam.cli_analyse import Run
    from napari_tam.settings import Settings

    warm(images, out.with_name(f"{out.name}_warm"))
    memory: list[float] = []
    add = cli_analyse.Tally.add

    def measured(tally: cli_analyse.Tally, outcome: Any) -> None:
        add(tally, outcome)
        memory.append(resident())
        if not outcome.kept:
            print("done", outcome.name, flush=True)

    cli_analyse.Tally.add = measured  # type: ignore[method-assign]
    started = time.perf_counter()
    how = Run(resume=True, jobs=None if jobs == "auto" else int(jobs))
    cli_analyse.analyse([str(images)], out, Settings(), how=how)
    return {"seconds": time.perf_counter() - started, "memory": memory}


def kept(images: Path, out: Path) -> dict[str, Any]:
    """Measure how long a run takes that finds everything done, networks and conclusions aside."""
    from napari_tam.batch import analyse_files
    from napari_tam.listing import list_images
    from napari_tam.models import load_models
    from napari_tam.settings import Settings

    models = load_models(Settings())
    paths = list_images([images])
    list(analyse_files(paths, Settings(), models, out, resume=True))  # libraries are imported
    started = time.perf_counter()
    assert all(outcome.kept for outcome in analyse_files(paths, Settings(), models, out, resume=True))
    return {"seconds": time.perf_counter() - started}


def workers(images: Path, out: Path, number: str) -> dict[str, Any]:
    """Analyse all fields on dask workers that are warm."""
    from napari_tam.cluster import analyse_on, open_cluster
    from napari_tam.listing import list_images
    from napari_tam.models import load_models
    from napari_tam.settings import Settings

    paths, models = list_images([images]), load_models(Settings())
    with open_cluster(f"local:{number}") as client:
        for _ in range(2):  # each worker loads its networks
            list(analyse_on(client, paths[: 2 * int(number)], Settings(), models, out / "warm"))
        started = time.perf_counter()
        list(analyse_on(client, paths, Settings(), models, out / "run"))
        return {"seconds": time.perf_counter() - started}


def resident() -> float:
    """Return the process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def same_tables(a: Path, b: Path) -> bool:
    """Whether two results folders hold the same bytes in masks and tables, seconds aside."""
    import pandas as pd

    names = [path.relative_to(a) for path in sorted(a.rglob("*")) if path.suffix in (".tif", ".png", ".csv")]
    names += [Path("cells.parquet"), Path("puncta.parquet")]
    others = [path.relative_to(b) for path in b.rglob("*") if path.suffix in (".tif", ".png", ".csv")]
    images = [pd.read_csv(folder / "images.csv").drop(columns="seconds") for folder in (a, b)]
    return (
        set(others) <= set(names)
        and images[0].equals(images[1])
        and all(
            (a / name).read_bytes() == (b / name).read_bytes() for name in names if name.name != "images.csv"
        )
    )


def run(fields: int, side: int, many: int) -> tuple[list[str], dict[str, Any]]:
    """Measure everything; return lines to print and values."""
    from napari_tam.synthetic import write_fields

    random.seed(6)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images, small = work / "images", work / "small"
        write_fields(images, fields, seed=6, size=side)
        write_fields(small, many, seed=7, size=256)

        single = part("singles", images, work / "singles")
        alone = part("batch", images, work / "alone", 0)["seconds"]
        ahead = part("batch", images, work / "ahead", 1)["seconds"]
        whole = part("batch", images, work / "whole", "auto")["seconds"]

        killed = work / "killed"
        for _ in range(KILLS):
            part("batch", images, killed, "auto", kill_after=random.uniform(0, whole / 15))
        part("batch", images, killed, "auto")
        same = same_tables(work / "whole", killed)
        again = part("kept", images, work / "whole")["seconds"]

        one, two = (part("workers", images, work / f"dask{n}", n)["seconds"] for n in (1, 2))
        shutil.rmtree(work / "singles")
        on_dask = all(
            (work / "dask2" / "run" / name).read_bytes() == (work / "dask1" / "run" / name).read_bytes()
            for name in ("cells.csv", "puncta.csv")
        )
        memory = part("batch", small, work / "many", "auto")["memory"]

    early, late = max(memory[5:15]), max(memory[-10:])
    values = {
        "fields": fields,
        "side": side,
        "singles_each_s": single["each"],
        "singles_once_s": single["once"],
        "batch_s": whole,
        "batch_in_turn_s": alone,
        "batch_read_ahead_s": ahead,
        "throughput": single["each"] / whole,
        "throughput_networks_loaded": single["once"] / whole,
        "kept_s": again,
        "resume_overhead": again / whole,
        "killed_same": same,
        "workers_one_s": one,
        "workers_two_s": two,
        "workers": one / two,
        "workers_same": on_dask,
        "memory_fields": many,
        "memory_10_mb": early,
        "memory_last_mb": late,
        "memory_growth": late / early - 1,
    }
    rows: list[list[object]] = [
        [
            "batch against single analyse calls",
            f"{values['throughput']:.2f} x",
            f">= {GOALS['throughput']} x",
        ],
        ["  the same, networks loaded once", f"{values['throughput_networks_loaded']:.2f} x", ""],
        ["two dask workers against one", f"{values['workers']:.2f} x", f">= {GOALS['workers']} x"],
        ["  same tables", on_dask, "True"],
        [f"killed {KILLS} times and resumed: same bytes", same, "True"],
        ["a resume's own work of the whole", f"{values['resume_overhead']:.2%}", f"<= {GOALS['resume']:.0%}"],
        [
            f"memory, fields 5-15 to the last 10 of {many}",
            f"{early:.0f} -> {late:.0f} MB ({values['memory_growth']:+.1%})",
            f"within {GOALS['memory']:.0%}",
        ],
    ]
    lines = [f"{fields} fields of {side} x {side}, 3 channels; memory: {many} fields of 256 x 256", ""]
    lines += table(["what", "measured", "goal"], rows)
    lines += [
        "",
        f"seconds: single calls {single['each']:.1f} (networks loaded once {single['once']:.1f}), batch in "
        f"turn {alone:.1f}, one thread and reading ahead {ahead:.1f}, one thread a core {whole:.1f}; "
        f"one worker {one:.1f}, two {two:.1f}; all kept {again:.2f}",
        f"load of the machine at the end: {os.getloadavg()[0]:.1f}",
    ]
    return lines, values


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        name, images, out, *more = sys.argv[2:]
        function = {"singles": singles, "batch": batch, "kept": kept, "workers": workers}[name]
        print(json.dumps(function(Path(images), Path(out), *more)), flush=True)
    else:
        sizes = [int(word) for word in sys.argv[1:]] + [24, 512, 200][len(sys.argv) - 1 :]
        publish("batch", *run(*sizes))
