"""How long it takes until something happens, from a cold process: ``python benchmarks/start.py``.

Wall time and processor time of the command line: help, a dry run of 20,000 files, a batch of 1,666
fields with a file a channel until its first field is analysed, and one small field to its tables.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import tifffile
from common import publish, table

SAMPLE = Path(__file__).parents[1] / "sample_data" / "field_01.ome.tif"
TOOL = Path(sys.executable).with_name("napari-tam")

#: A batch that ends where its first field is about to be analysed.
FIRST = """
    import os, sys
    from napari_tam.pipeline import runner
    runner.run_steps = lambda *_, **__: os._exit(77)  # that it came here
    from napari_tam.batches import work
    work.run_steps = runner.run_steps
    from napari_tam.cli.main import main
    main(sys.argv[1:])
"""


def seconds(command: list[str]) -> tuple[float, float]:
    """Return wall and processor time (s) of a command that must do its work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    status = subprocess.run(command, capture_output=True, check=False).returncode
    if status != (77 if "-c" in command else 0):
        raise SystemExit(f"exit status {status}: {' '.join(command[-8:])}")
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_files(folder: Path, names: list[str]) -> Path:
    """Fill a folder with links to one small file of one channel."""
    folder.mkdir()
    one = folder.with_suffix(".tif")
    tifffile.imwrite(one, np.random.default_rng(0).integers(100, 4000, (64, 64), dtype=np.uint16))
    for name in names:
        os.link(one, folder / name)
    return folder


def main() -> None:
    """Time all, print and keep the table."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        many = make_files(here / "many", [f"img_{k:05d}.tif" for k in range(20_000)])
        fields = make_files(
            here / "fields",
            [
                f"{row}{column:02d}_s{site}_w{channel}.TIF"
                for row in "BCDEFG"
                for column in range(2, 12)
                for site in range(1, 29)
                for channel in (1, 2, 3)
            ][:4998],
        )
        roles = ["--channels", "cell=w1,nucleus=w2,exosome=w3", "--pixel-size", "0.325"]
        own = [str(TOOL)]
        commands = {
            "--help": [*own, "--help"],
            "dry run of 20,000 files": [*own, "batch", str(many), "--out", str(here / "none"), "--dry-run"],
            "1,666 fields of 3 files: first field": [
                *(sys.executable, "-c", textwrap.dedent(FIRST), "batch", str(fields)),
                *("--out", str(here / "first"), "--jobs", "1", "--puncta-threshold", "5", *roles),
            ],
            "one 512 x 512 field to its tables": [*own, "analyse", str(SAMPLE), "--out", str(here / "one")],
            "the same, diameters given": [
                *(*own, "analyse", str(SAMPLE), "--out", str(here / "given")),
                *("--cell-diameter", "32", "--nucleus-diameter", "11"),
            ],
        }
        rows, kept = [], {}
        for name, command in commands.items():
            seconds(command)  # what is read once from the disk
            found = [seconds(command) for _ in range(5)]
            wall, work = (float(np.median([each[k] for each in found])) for k in (0, 1))
            rows.append([name, f"{wall:.2f}", f"{min(each[0] for each in found):.2f}", f"{work:.2f}"])
            kept[name] = found
    lines = table(["", "wall (median)", "fastest", "processor"], rows)
    publish("start", ["From a cold process, seconds of 5 runs", "", *lines], kept)


if __name__ == "__main__":
    main()
