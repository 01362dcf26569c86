"""Batch: throughput, memory, kills, workers: ``python benchmarks/batch.py [--fields 200] [--side 1024] …``.

Every part runs in a process of its own, with simulated fields and the bundled networks; progress goes to
stderr. Throughput, memory and the cost of resuming are measured with the large set of fields (of which 20 are
drawn, and copied); the kills and the dask workers with a small plate. The default sizes are those of issue 6:
about 25 minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
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
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from common import publish, table

#: How often one and two workers are measured, in turn.
TURNS = 3
GOALS = {"throughput": 1.3, "workers": 1.8, "resume": 0.02, "memory": 0.05}
#: So many fields are drawn; the others are copies of them, which a batch analyses like any other file.
DRAWN = 20
#: The phases of a run in which it is killed, besides the analysis, which gets all other kills.
ENDS = ("start", "conclude", "report")


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Part:
    """A part of the benchmark in a fresh process, which says what it is at."""

    def __init__(self, name: str, *arguments: object, of: int = 0) -> None:
        self.name, self.of = " ".join([name, *(str(word) for word in arguments[2:])]), of
        #: Fields that were analysed, when each phase began, and what was measured.
        self.done: list[str] = []
        self.phases: dict[str, float] = {}
        self.found: dict[str, Any] = {}
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--part", name, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # torch's own number of threads, whatever the shell says
            env={key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")},
        )
        self._reader = threading.Thread(target=self._read)
        self._errors: list[str] = []
        self._listener = threading.Thread(target=lambda: self._errors.extend(self._process.stderr or ()))
        self._reader.start()
        self._listener.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "@done":
                self.done.append(rest)
                if self.of and len(self.done) % max(1, self.of // 10) == 0:
                    say(f"  {self.name}: {len(self.done)} of {self.of}")
            elif word == "@phase":
                self.phases[rest] = time.perf_counter() - self.started
            elif word == "@found":
                self.found = json.loads(rest)

    def finish(self) -> Part:
        """Wait until it ends by itself."""
        code = self._process.wait()
        self._reader.join()
        self._listener.join()
        if code or not self.found:
            raise SystemExit(f"the part {self.name} failed:\n{''.join(self._errors[-30:])}")
        say(f"{self.name}: {time.perf_counter() - self.started:.1f} s")
        return self

    def kill(self, phase: str, after: float) -> str | None:
        """SIGKILL it some seconds after a phase begins; return the phase that this hit (None: too late)."""
        while (phase != "start" and phase not in self.phases) and self._process.poll() is None:
            time.sleep(0.002)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(after)
        ended = self._process.poll() is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._listener.join()
        return None if ended else (list(self.phases) or ["start"])[-1]


def singles(images: Path, out: Path) -> dict[str, Any]:
    """Analyse every field by an `analyse` of its own, which loads the networks."""
    from napari_tam.cli import analyse as cli_analyse
    from napari_tam.settings import Settings

    warm(images, out)
    started = time.perf_counter()
    for path in sorted(images.glob("*.ome.tif")):
        with contextlib.redirect_stdout(io.StringIO()):
            cli_analyse.analyse([str(path)], out / path.name, Settings())
        shutil.rmtree(out / path.name)
        print("@done", path.name, flush=True)
    return {"seconds": time.perf_counter() - started}


def warm(images: Path, out: Path) -> None:
    """Analyse one field, so that all libraries are imported."""
    from napari_tam.cli import analyse as cli_analyse
    from napari_tam.settings import Settings

    with contextlib.redirect_stdout(io.StringIO()):
        cli_analyse.analyse([str(min(images.glob("*.ome.tif")))], out / "warm", Settings())


def batch(images: Path, out: Path, how: str = "") -> dict[str, Any]:
    """Analyse all fields in one batch; tell how long it took, and the most memory while each was the last."""
    from napari_tam.cli import analyse as cli_analyse
    from napari_tam.cli.analyse import Run
    from napari_tam.settings import Settings

    if how == "warm":
        warm(images, out.with_name(f"{out.name}_warm"))
    memory = [0.0]

    def sample() -> None:
        while True:
            memory[-1] = max(memory[-1], resident())
            time.sleep(0.02)

    threading.Thread(target=sample, daemon=True).start()
    add, read, conclude, report = (
        cli_analyse.Tally.add,
        cli_analyse.analyse_batch,
        cli_analyse.conclude,
        cli_analyse.print_report,
    )

    def told(tally: cli_analyse.Tally, outcome: Any) -> None:
        add(tally, outcome)
        memory.append(resident())
        if not outcome.kept:
            print("@done", outcome.name, flush=True)

    def phase(name: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            print("@phase", name, flush=True)
            return function(*given, **named)

        return call

    cli_analyse.Tally.add = told  # type: ignore[method-assign]
    cli_analyse.analyse_batch = phase("analyse", read)
    cli_analyse.conclude = phase("conclude", conclude)
    cli_analyse.print_report = phase("report", report)
    layout = images / "layout.csv"
    started = time.perf_counter()
    cli_analyse.analyse(
        [str(images)],
        out,
        Settings(),
        layout=layout if layout.exists() else None,
        how=Run(resume=True, jobs=None),
    )
    return {"seconds": time.perf_counter() - started, "memory": memory[1:]}


def workers(images: Path, out: Path, number: str) -> dict[str, Any]:
    """Analyse all fields on dask workers that are warm."""
    from napari_tam.batches.cluster import analyse_on
    from napari_tam.batches.dask_clusters import open_cluster
    from napari_tam.io.listing import list_images
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings

    paths, models = list_images([images]), load_models(Settings())
    with open_cluster(f"local:{number}") as client:
        for _ in range(2):  # each worker loads its networks
            list(analyse_on(client, paths[: 2 * int(number)], Settings(), models, out / "warm"))
        started = time.perf_counter()
        for outcome in analyse_on(client, paths, Settings(), models, out / "run"):
            print("@done", outcome.name, flush=True)
        return {"seconds": time.perf_counter() - started}


def resident() -> float:
    """Return the process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def same_tables(a: Path, b: Path) -> bool:
    """Whether two results folders hold the same bytes in masks, pictures and tables, seconds aside."""
    import pandas as pd

    def files(folder: Path) -> set[Path]:
        ends = (".tif", ".png", ".csv", ".parquet")
        found = {path.relative_to(folder) for path in folder.rglob("*") if path.suffix in ends}
        return {name for name in found if name.parts[0] != "figures"}

    names = files(a)
    images = [pd.read_csv(folder / "images.csv").drop(columns="seconds") for folder in (a, b)]
    names.discard(Path("images.csv"))
    return (
        files(b) == names | {Path("images.csv")}
        and images[0].equals(images[1])
        and all((a / name).read_bytes() == (b / name).read_bytes() for name in names)
    )


def write_images(folder: Path, fields: int, side: int, *, layout: bool = False) -> Path:
    """Draw fields, and copy them until there are enough; the layout names three conditions."""
    from napari_tam.simulate.scene import write_fields

    drawn = write_fields(folder / "drawn", min(fields, DRAWN), seed=6, size=side)
    lines = ["image,condition,replicate,control_role"]
    for index in range(fields):
        name = f"f{index:04d}"
        shutil.copy(drawn[index % len(drawn)], folder / f"{name}.ome.tif")
        group = ("LPS", "IL-4", "dye")[index % 3]
        lines.append(f"{name},{group},{index // 3 % 4},{'dye_only' if group == 'dye' else ''}")
    shutil.rmtree(folder / "drawn")
    if layout:
        (folder / "layout.csv").write_text("\n".join(lines) + "\n")
    say(f"{fields} fields of {side} x {side} are there")
    return folder


def large(work: Path, fields: int, side: int) -> dict[str, Any]:
    """Throughput, memory and the cost of a resume."""
    images = write_images(work / "images", fields, side)
    single = Part("singles", images, work / "singles", of=fields).finish().found["seconds"]
    first = Part("batch", images, work / "whole", "warm", of=fields).finish()
    # again, all done: from the start of the process to the conclusions
    again = Part("batch", images, work / "whole").finish().phases
    whole, memory = first.found["seconds"], first.found["memory"]
    # every drawn image is once in each window: what an image takes depends on its cells
    near = min(DRAWN, len(memory) // 2)
    begin = min(10, len(memory) - near)
    early, late = max(memory[begin - 1 : begin - 1 + near]), max(memory[-near:])
    return {
        "fields": fields,
        "side": side,
        "singles_s": single,
        "batch_s": whole,
        "throughput": single / whole,
        "memory_window": [begin, begin + near - 1, near],
        "memory_10_mb": early,
        "memory_last_mb": late,
        "memory_growth": late / early - 1,
        "memory_mb": [round(value) for value in memory],
        "resume_start_s": again["analyse"],
        "resume_look_s": again["conclude"] - again["analyse"],
        "resume_overhead": again["conclude"] / whole,
    }


def small(work: Path, fields: int, side: int, kills: int) -> dict[str, Any]:
    """Kills at random moments, and one dask worker against two."""
    images = write_images(work / "plate", fields, side, layout=True)
    whole = Part("batch", images, work / "alone", of=fields).finish()
    end = time.perf_counter() - whole.started
    begins = {"start": 0.0, **whole.phases}
    lengths = [b - a for a, b in zip(begins.values(), [*begins.values(), end][1:], strict=True)]
    length = dict(zip(begins, lengths, strict=True))
    during = max(1, kills - len(ENDS))
    plan = [("start", length["start"]), *[("analyse", 2 * length["analyse"] / during)] * during]
    plan += [(phase, length[phase]) for phase in ENDS[1:]]
    killed, hit, done = work / "killed", Counter[str](), Counter[str]()
    for phase, longest in plan:
        run = Part("batch", images, killed)
        where = run.kill(phase, random.uniform(0, longest))
        say(f"  killed during {where}, {len(run.done)} fields done" if where else "  it had ended")
        hit[where or "too late"] += 1
        done.update(run.done)
    done.update(Part("batch", images, killed).finish().done)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(TURNS):
        for number, found in seconds.items():
            out = work / f"dask{number}_{turn}"
            found.append(Part("workers", images, out, number, of=fields).finish().found["seconds"])
    one, two = (median(found) for found in seconds.values())
    return {
        "small_fields": fields,
        "small_side": side,
        "killed": dict(hit),
        "killed_same": same_tables(work / "alone", killed),
        "killed_twice": sum(times > 1 for times in done.values()),
        "workers_one_s": one,
        "workers_two_s": two,
        "workers": one / two,
        "workers_all_s": seconds,
        "workers_same": same_tables(work / "dask1_0" / "run", work / "dask2_0" / "run"),
    }


def run(
    fields: int, side: int, small_fields: int, small_side: int, kills: int
) -> tuple[list[str], dict[str, Any]]:
    """Measure everything; return lines to print and values."""
    random.seed(6)
    with tempfile.TemporaryDirectory() as folder:
        values = large(Path(folder) / "large", fields, side)
        values |= small(Path(folder) / "small", small_fields, small_side, kills)
    first, last, near = values["memory_window"]
    killed = ", ".join(f"{number} {phase}" for phase, number in values["killed"].items())
    rows: list[list[object]] = [
        [
            "batch against single analyse calls",
            f"{values['throughput']:.2f} x",
            f">= {GOALS['throughput']} x",
        ],
        [
            f"memory, fields {first}-{last} against the last {near} of {fields}",
            f"{values['memory_10_mb']:.0f} -> {values['memory_last_mb']:.0f} MB "
            f"({values['memory_growth']:+.1%})",
            f"within {GOALS['memory']:.0%}",
        ],
        ["a resume's own work of the whole", f"{values['resume_overhead']:.2%}", f"<= {GOALS['resume']:.0%}"],
        [f"killed {kills} times ({killed}): same bytes", values["killed_same"], "True"],
        ["  fields that were done twice", values["killed_twice"], "0"],
        ["two dask workers against one", f"{values['workers']:.2f} x", f">= {GOALS['workers']} x"],
        ["  same bytes", values["workers_same"], "True"],
    ]
    lines = [
        f"{fields} fields of {side} x {side}, 3 channels ({min(fields, DRAWN)} drawn, the others copies); "
        f"kills and workers: {small_fields} of {small_side} x {small_side}",
        "",
        *table(["what", "measured", "goal"], rows),
        "",
        f"seconds: single calls {values['singles_s']:.1f}, batch {values['batch_s']:.1f}; a resume that has "
        f"nothing to do: {values['resume_start_s']:.1f} until libraries and networks are loaded, "
        f"{values['resume_look_s']:.1f} to look and to write the tables; "
        f"one worker {values['workers_one_s']:.1f}, two {values['workers_two_s']:.1f} "
        f"(medians of {TURNS}, in turn)",
        "memory: the most in the window, which holds every drawn image once; sampled every 20 ms",
        f"load of the machine at the end: {os.getloadavg()[0]:.1f}",
    ]
    return lines, values


def main() -> None:
    """Read the sizes and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=200, help="for throughput and memory")
    parser.add_argument("--side", type=int, default=1024, help="their size in pixels")
    parser.add_argument("--small-fields", type=int, default=24, help="for kills and workers")
    parser.add_argument("--small-side", type=int, default=512, help="their size in pixels")
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args()
    publish("batch", *run(given.fields, given.side, given.small_fields, given.small_side, given.kills))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        name, images, out, *more = sys.argv[2:]
        function = {"singles": singles, "batch": batch, "workers": workers}[name]
        print("@found", json.dumps(function(Path(images), Path(out), *more)), flush=True)
    else:
        main()
