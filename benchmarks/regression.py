"""Has it become slower? Ratios beside the committed run: ``make bench``.

A simulated field of 1024² × 3 is analysed in one thread, and a fixed piece of work is done in turn with it:
FFTs, sorting, filters, and a loop in Python, with the libraries that an analysis uses. Both are counted in
processor seconds, the least of several turns, so that other work on the machine hardly matters. What is
compared are ratios: seconds of each step over those of the fixed work, beside the same in
``results/regression.json``. Absolute seconds differ from machine to machine, and are not compared. The field
is drawn, so that nothing beside the project is needed.

Exit status 1: the whole field, or its start, has become slower by more than `TOLERANCE`, or a step by more
than `STEP_TOLERANCE` (of what is not tiny). 2: there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import RESULTS, publish, table

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE, CELLS, TURNS = 1024, 100, 5
#: How much slower is too much: of the whole and of the start; of a step, if it is this share of the whole.
TOLERANCE, STEP_TOLERANCE, STEP_SHARE = 0.15, 0.30, 0.03
WHOLE, START, NETWORKS = "field to tables", "imports and networks", "of it networks"
#: Their processor seconds include those of the networks, which depend on what the processor can.
WITH_NETWORKS = (WHOLE, NETWORKS, "nuclei", "cells", "puncta")


def fixed_work() -> None:
    """Do what never changes: some of all that an analysis asks of numpy, scipy, OpenCV and Python."""
    import cv2
    from scipy import ndimage

    rng = np.random.default_rng(1)
    image = rng.random((1024, 1024), np.float32)
    for _ in range(3):
        np.percentile(image, (1, 50, 99))
        np.sort(image.ravel())
        np.fft.irfft2(np.fft.rfft2(image))
        cv2.GaussianBlur(image, (0, 0), 3)
        cv2.resize(image, (637, 637), interpolation=cv2.INTER_AREA)
        ndimage.gaussian_filter(image, 2)
        labels, _ = ndimage.label(image > 0.6)
        np.bincount(labels.ravel(), image.ravel())
        ndimage.find_objects(labels)
    total = 0
    for number in range(1_500_000):
        total += number % 7


def processor_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Return the processor seconds of this process (or of its children)."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def counted(work: Callable[[], object]) -> float:
    """Return the processor seconds of some work."""
    before = processor_seconds()
    work()
    return processor_seconds() - before


def steps_of(field: Any, settings: Any, models: Any) -> dict[str, float]:
    """Analyse a field; return the processor seconds of each step, of all, and of the networks among them."""
    from napari_tam.networks.engines import OpenVinoEngine, TorchEngine
    from napari_tam.pipeline.runner import run_steps

    networks: list[float] = []
    kept = [(kind, kind.run) for kind in (OpenVinoEngine, TorchEngine)]

    def noted(original: Any) -> Any:
        def run(engine: Any, batch: Any) -> Any:
            before = processor_seconds()
            result = original(engine, batch)
            networks.append(processor_seconds() - before)
            return result

        return run

    found: dict[str, float] = {}
    name, begun = "", processor_seconds()
    for kind, original in kept:
        kind.run = noted(original)  # type: ignore[method-assign]
    try:
        for progress in run_steps(field, settings, models):
            now = processor_seconds()
            if name:
                found[name] = now - begun
            name, begun = progress.step, now
        found[name] = processor_seconds() - begun
    finally:
        for kind, original in kept:
            kind.run = original  # type: ignore[method-assign]
    return {WHOLE: sum(found.values()), NETWORKS: sum(networks), **found}


def start() -> float:
    """Return the processor seconds of a fresh process until the networks are loaded."""
    before = processor_seconds(resource.RUSAGE_CHILDREN)
    code = (
        "from napari_tam.pipeline.models import load_models; from napari_tam.settings import Settings; "
        "load_models(Settings())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    return processor_seconds(resource.RUSAGE_CHILDREN) - before


def measure(side: int = SIDE, turns: int = TURNS) -> dict[str, Any]:
    """Do the fixed work, the field and the start in turn; return the least processor seconds of each."""
    import cv2

    from napari_tam.io.images import read_fields
    from napari_tam.networks.threads import limit_process
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings
    from napari_tam.simulate.parameters import SceneParameters
    from napari_tam.simulate.scene import write_fields

    limit_process(1)
    cv2.setNumThreads(1)
    settings = Settings(device="cpu", cell_diameter_um=20.0, nucleus_diameter_um=9.0)
    models = load_models(settings)
    parameters = SceneParameters(
        shape=(side, side), cells_per_field=max(4, round(CELLS * (side / SIDE) ** 2))
    )
    with tempfile.TemporaryDirectory() as folder:
        [path] = write_fields(Path(folder), 1, seed=7, parameters=parameters)
        [field] = read_fields(path, settings)
    fixed_work()
    steps_of(field, settings, models)
    least: dict[str, float] = {}
    for _ in range(turns):
        found = {"fixed work": counted(fixed_work), **steps_of(field, settings, models), START: start()}
        least = {name: min(seconds, least.get(name, seconds)) for name, seconds in found.items()}
    fixed = least.pop("fixed work")
    ratios = {name: seconds / fixed for name, seconds in least.items()}
    return {"engine": models.engine, "side": side, "fixed_work_s": fixed, "ratios": ratios}


def compare(now: dict[str, Any], then: dict[str, Any]) -> tuple[list[list[object]], list[str]]:
    """Compare two runs' ratios.

    Returns
    -------
    rows, slower
        A row for each ratio; and the names of those that grew by more than is tolerated. Where another engine
        ran the networks, what includes them is not judged; the rest of the whole is.
    """
    rows: list[list[object]] = []
    slower: list[str] = []
    same_engine = kind_of_engine(now["engine"]) == kind_of_engine(then["engine"])
    new, old = ({**each["ratios"]} for each in (now, then))
    for each in (new, old):
        each["the rest of it"] = each[WHOLE] - each[NETWORKS]
    for name, ratio in new.items():
        if name not in old:
            rows.append([name, f"{ratio:.3f}", "-", "-", "new"])
            continue
        change = ratio / old[name] - 1
        whole = name in (WHOLE, START, "the rest of it")
        if name in WITH_NETWORKS and not same_engine:
            verdict = "another engine: not judged"
        elif not whole and max(ratio, old[name]) < STEP_SHARE * old[WHOLE]:
            verdict = "small: not judged"
        elif change > (TOLERANCE if whole else STEP_TOLERANCE):
            verdict = "SLOWER"
            slower.append(name)
        else:
            verdict = "as it was" if change > -TOLERANCE else "faster"
        rows.append([name, f"{ratio:.3f}", f"{old[name]:.3f}", f"{change:+.0%}", verdict])
    return rows, slower


def kind_of_engine(description: str) -> str:
    """Return an engine and its precision without the version: what decides how long a network takes."""
    name, _, precision = description.partition(",")
    return f"{name.split()[0]},{precision}"


def main() -> int:
    """Measure and compare; with ``--write``, keep the run as what later ones are compared with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep this run as results/regression.json")
    given = parser.parse_args()
    kept = RESULTS / "regression.json"
    if not given.write and not kept.is_file():
        print(f"there is no {kept} to compare with: --write makes one", file=sys.stderr)
        return 2
    now = measure()
    if given.write:
        rows = [[name, f"{ratio:.3f}"] for name, ratio in now["ratios"].items()]
        head = [
            f"Processor seconds of a field of {SIDE} x {SIDE} x 3 in one thread over those of the fixed work "
            f"({now['fixed_work_s']:.3f} s), least of {TURNS}",
            f"networks by {now['engine']}",
            "",
        ]
        publish("regression", [*head, *table(["", "ratio"], rows)], now)
        return 0
    then = json.loads(kept.read_text(encoding="utf-8"))
    rows, slower = compare(now, then)
    run = then["run"]
    print(f"ratios to the fixed work ({now['fixed_work_s']:.3f} s here); networks by {now['engine']}")
    print(f"beside commit {run['commit']} of {run['date']}, {run['machine']}, {then['engine']}\n")
    print("\n".join(table(["", "now", "then", "change", ""], rows)))
    print(f"\ntolerated: {TOLERANCE:.0%} more of whole, rest and start, {STEP_TOLERANCE:.0%} of a step")
    print(f"slower: {', '.join(slower)}" if slower else "nothing is slower")
    return 1 if slower else 0


if __name__ == "__main__":
    started = time.perf_counter()
    status = main()
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    raise SystemExit(status)
