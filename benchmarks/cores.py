"""The same plate with one core and with two, and a model of more: ``python benchmarks/cores.py``.

24 simulated fields of 1024² × 3 from files to tables: by one core, by two threads of one process (what
``--jobs`` does) and by two processes (what ``--cluster local:N`` and ``--part K/N`` do), each held to its
cores (``sched_setaffinity``: Linux), in turn. The networks are loaded and have run once before the clock
starts; that is told by itself, as is the writing of the tables. The tables must be the same bytes. Every
field is there twice, next to each other, so that both halves take equally long.

Four cores and more are not measured but come from a model, which is fitted to these times:

- Processes, Amdahl (1967): of the seconds t of a field by one core, a share p is not divided by the number
  of cores n (they share memory and caches): t (p + (1 - p) / n). Two processes tell p.
- Threads share all that, and Python's lock too: a closed queue of n fields, each of which needs the lock for
  a share l of the time that processes divide, one after another, and is worked at beside the others for the
  rest. By exact mean value analysis (Reiser & Lavenberg 1980) two threads take 1 + l² times as long for that
  as two processes: that tells l.

A model says where it leads if nothing else gets in the way: neither disks nor the machine's memory are in it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from batch import same_tables
from children import Child, answer, wait_to_begin
from common import publish, table

#: Numbers of cores that the model speaks of.
MORE = (4, 8, 16, 32, 64)
#: Share of its core that a process has on an idle machine, and more.
IDLE = 0.93
#: Fields of a plate, for the whole times.
PLATE = 384


def hold(cores: list[int]) -> None:
    """Let this process use these cores only: before any library looks for them."""
    os.sched_setaffinity(0, cores)


def processor_seconds() -> float:
    """Return the seconds that this process had on all cores."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ready(how: dict[str, Any]) -> tuple[Any, Any, list[Path], float]:
    """Hold to the cores, load the networks and analyse a field; return how long that took, too."""
    hold(how["cores"])
    start = time.perf_counter()
    from napari_tam.batches.run import analyse_files
    from napari_tam.networks.threads import limit_process
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings

    paths = [Path(path) for path in how["paths"]]
    if how["parts"]:
        limit_process(1)
    settings = Settings()
    models = load_models(settings)
    with tempfile.TemporaryDirectory() as out:
        warm = list(analyse_files(paths[: len(how["cores"])], settings, models, Path(out), jobs=jobs_of(how)))
    if errors := [outcome.error for outcome in warm if outcome.error]:
        raise SystemExit(errors[0])
    return settings, models, paths, time.perf_counter() - start


def jobs_of(how: dict[str, Any]) -> int:
    """As many fields at the same time as the batch takes by itself; in one of several processes, one."""
    from napari_tam.batches.threads import default_jobs

    return 1 if how["parts"] else default_jobs("cpu")


def in_threads(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse the plate in one process: seconds of the fields, then of the tables."""
    from napari_tam.batches.run import analyse_files

    settings, models, paths, started = ready(how)
    networks = counted_networks()
    start, used = time.perf_counter(), processor_seconds()
    last = start
    for outcome in analyse_files(paths, settings, models, Path(how["out"]), jobs=jobs_of(how)):
        if outcome.error:
            raise SystemExit(outcome.error)
        last = time.perf_counter()
    return {
        "start": started,
        "fields": last - start,
        "tables": time.perf_counter() - last,
        "processor": processor_seconds() - used,
        "networks": sum(networks),
        "engine": models.engine,
    }


def counted_networks() -> list[float]:
    """From now on, note the seconds that networks run (without Python's lock)."""
    from napari_tam.networks.engines import OpenVinoEngine, TorchEngine

    seconds: list[float] = []

    def counted(original: Any) -> Any:
        def run(engine: Any, batch: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(engine, batch)
            finally:
                seconds.append(time.perf_counter() - start)

        return run

    for kind in (OpenVinoEngine, TorchEngine):
        kind.run = counted(kind.run)  # type: ignore[method-assign]
    return seconds


def one_part(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse a part of the plate in a process that has one core, when told to begin."""
    from napari_tam.batches.part import analyse_part

    settings, models, paths, started = ready(how)
    wait_to_begin()
    start = time.perf_counter()
    for outcome in analyse_part(tuple(how["parts"]), paths, settings, models, Path(how["out"]), jobs=1):
        if outcome.error:
            raise SystemExit(outcome.error)
    return {"start": started, "fields": time.perf_counter() - start}


def write_tables(how: dict[str, Any]) -> dict[str, Any]:
    """Take what the parts found into the tables, when told to begin."""
    from napari_tam.batches.run import analyse_files

    settings, models, paths, _ = ready(how)
    wait_to_begin()
    start = time.perf_counter()
    outcomes = list(analyse_files(paths, settings, models, Path(how["out"]), resume=True))
    assert all(outcome.kept for outcome in outcomes)
    return {"tables": time.perf_counter() - start}


PARTS = {"threads": in_threads, "part": one_part, "tables": write_tables}


def in_processes(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse the plate in a process a core, and write the tables when all are done."""
    cores = how["cores"]
    parts = [
        Child(__file__, "part", {**how, "cores": [core], "parts": [k, len(cores)]})
        for k, core in enumerate(cores, start=1)
    ]
    try:
        for part in parts:
            part.ready.wait()
        start = time.perf_counter()
        for part in parts:
            part.begin()
        found = [part.finish() for part in parts]
        seconds = time.perf_counter() - start
    finally:
        for part in parts:
            part.end()
    last = Child(__file__, "tables", {**how, "cores": cores[:1], "parts": []})
    last.ready.wait()
    last.begin()
    # what a process needs to end is no part of the plate
    own = max(each["fields"] for each in found)
    return {"start": max(each["start"] for each in found), "fields": min(seconds, own), **last.finish()}


def shared_by_processes(one: float, two: float) -> float:
    """Return the share p that two processes do not divide: two = one (p + (1 - p) / 2)."""
    return min(1.0, max(0.0, 2 * two / one - 1))


def held_lock(threads: float, processes: float, one: float, share: float) -> float:
    """Return the share l of what processes divide that holds Python's lock (two threads: 1 + l² times)."""
    divided = one * (1 - share) / 2
    return min(1.0, max(0.0, (threads - processes) / divided)) ** 0.5 if divided else 0.0


def by_processes(one: float, share: float, cores: int) -> float:
    """Seconds of a field by processes, one a core."""
    return one * (share + (1 - share) / cores)


def by_threads(one: float, share: float, lock: float, cores: int) -> float:
    """Seconds of a field by threads, one a core: what processes divide waits in the queue for the lock."""
    queue, through = 0.0, 1.0
    for threads in range(1, cores + 1):
        response = lock * (1 + queue)
        through = threads / (1 - lock + response)
        queue = through * response
    return one * (share + (1 - share) / through)


def seconds_of(turns: list[dict[str, Any]], fields: int) -> tuple[float, float, float]:
    """Return the seconds of a field in the median turn, in the quickest and in the slowest."""
    found = sorted(turn["fields"] / fields for turn in turns)
    return median(found), found[0], found[-1]


def draw_pairs(folder: Path, fields: int, side: int) -> list[Path]:
    """Write fields of which each second is a copy of the one before: two parts then take equally long."""
    from napari_tam.simulate.parameters import SceneParameters
    from napari_tam.simulate.scene import write_fields

    parameters = SceneParameters(shape=(side, side), cells_per_field=max(4, round(100 * (side / 1024) ** 2)))
    drawn = write_fields(folder / "drawn", -(-fields // 2), seed=18, parameters=parameters)
    paths = [folder / f"f{index:04d}.ome.tif" for index in range(fields)]
    for index, path in enumerate(paths):
        shutil.copy(drawn[index // 2], path)
    return paths


def measure(fields: int, side: int, turns: int, folder: Path) -> dict[str, Any]:
    """Measure the three ways in turn."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    how = {"paths": [str(path) for path in draw_pairs(folder / "images", fields, side)], "parts": []}
    found: dict[str, list[dict[str, Any]]] = {"one core": [], "two threads": [], "two processes": []}
    outs: list[Path] = []
    for turn in range(turns):
        for name, results in found.items():
            out = folder / f"{name} {turn}"
            own = {**how, "out": str(out), "cores": cores[:1] if name == "one core" else cores}
            if name == "two processes":
                results.append(in_processes(own))
            else:
                results.append(Child(__file__, "threads", own).finish())
            outs.append(out)
            say(f"turn {turn + 1} of {turns}, {name}: {results[-1]['fields']:.1f} s")
    same = all(same_tables(outs[0], out) for out in outs[1:])
    return {"fields": fields, "side": side, "turns": found, "same": same}


def model(found: dict[str, list[dict[str, Any]]], fields: int) -> dict[str, Any]:
    """Fit the two shares, and say what they mean for more cores."""
    one, two_threads, two_processes = (
        seconds_of(found[name], fields)[0] for name in ("one core", "two threads", "two processes")
    )
    share = shared_by_processes(one, two_processes)
    lock = held_lock(two_threads, two_processes, one, share)
    return {
        "one": one,
        "shared": share,
        "lock": lock,
        "threads": {n: by_threads(one, share, lock, n) for n in (2, *MORE)},
        "processes": {n: by_processes(one, share, n) for n in (2, *MORE)},
    }


def report(values: dict[str, Any]) -> list[str]:
    """Put all into words."""
    found, fields, fitted = values["turns"], values["fields"], values["model"]
    first, one = found["one core"], fitted["one"]
    start, tables = (median(turn[name] for turn in first) for name in ("start", "tables"))
    networks = median(turn["networks"] for turn in first) / fields
    had = median(turn["processor"] / (turn["fields"] + turn["tables"]) for turn in first)
    most = 1 / max(fitted["shared"] + (1 - fitted["shared"]) * fitted["lock"], 1e-9)

    def row(cores: object, how: str, seconds: float, kind: str) -> list[object]:
        whole = start + PLATE * seconds + tables / fields * PLATE
        return [cores, how, f"{seconds:.3f}", f"{one / seconds:.2f}", f"{whole / 60:.1f}", kind]

    rows = []
    for cores, name in ((1, "one core"), (2, "two threads"), (2, "two processes")):
        seconds, low, high = seconds_of(found[name], fields)
        how = {1: "1 thread"}.get(cores, f"{cores} {name.split()[1]}")
        rows.append(row(cores, how, seconds, f"measured, {low:.3f} to {high:.3f}"))
    for how in ("threads", "processes"):
        rows += [row(n, f"{n} {how}", fitted[how][n], "model") for n in MORE]
    header = ["cores", "by", "s a field", "times one core", f"{PLATE} fields, minutes", ""]
    return [
        f"{fields} fields of {values['side']} x {values['side']}, 3 channels, from files to tables; networks "
        f"by {first[0]['engine']}; medians of {len(first)} turns",
        "",
        *table(header, rows),
        "",
        f"tables, masks and pictures of all turns are the same bytes: {values['same']}",
        f"of the {one:.3f} s of a field by one core the networks take {networks:.3f} s, without Python's "
        "lock",
        f"once a process: {start:.1f} s for imports, networks and a first field; tables at the end: "
        f"{tables / fields:.3f} s a field, by one core",
        f"fitted: share that two processes do not divide {fitted['shared']:.3f}; share of a field that holds "
        f"Python's lock {fitted['lock']:.3f}",
        *(
            [
                f"so threads of one process reach {most:.1f} x at most; to use more cores than "
                "that takes processes: --cluster local:N, or --part K/N"
            ]
            if fitted["lock"] > 1 / MORE[-1]
            else []
        ),
        "Rows called model are computed, not measured (see the script); disks and memory are not in them.",
        f"the process of one core had it for {had:.0%} of the time"
        + ("" if had > IDLE else ": THE MACHINE WAS NOT IDLE, do not quote these times"),
    ]


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=24)
    parser.add_argument("--side", type=int, default=1024, help="of a field, in pixels")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("this system cannot hold a process to cores: run it on Linux")
    with tempfile.TemporaryDirectory() as folder:
        values = measure(given.fields, given.side, given.turns, Path(folder))
    values["model"] = model(values["turns"], given.fields)
    publish("cores", report(values), values)
    if not values["same"]:
        raise SystemExit("the tables are not the same")


if __name__ == "__main__" and not answer(PARTS):
    main()
