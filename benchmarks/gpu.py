"""Fields a second on a graphics card, beside Cellpose 3 on the same card: ``python benchmarks/gpu.py``.

One script for a machine with little more than Python and torch; it needs no ``../shared``, and ends within
``--minutes`` (8). It draws fields of 2048² × 3 with known truth and writes them to files, then measures, each
in processes of its own:

- this project, from files to tables: in threads of one process, and in several processes that share the card;
- how much of that time the card works, and what its networks do alone, tile by tile and in batches of tiles;
- Cellpose 3 with the same network (the bundled ``cells``, written as a Cellpose file), where it is installed:
  cells, cells and nuclei, and with scikit-image's ``blob_log`` and ``regionprops_table`` as its tables.

AP of cells stands beside both: same fields, same truth, same diameters given. Nothing of napari, OpenVINO or
Cellpose is needed for this project's part; what is missing is said, and how to install it. To test the script
without a card: ``python benchmarks/gpu.py --device cpu --fields 2 --size 512 --minutes 4``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from children import SOURCES, Child, answer, wait_to_begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

#: What an analysis with torch imports, and what it is called where it is installed from.
NEEDED = {
    "cv2": "opencv-python-headless", "filelock": "filelock", "imagecodecs": "imagecodecs",
    "lazy_loader": "lazy-loader", "numpy": "numpy", "pandas": "pandas", "PIL": "pillow", "pyarrow": "pyarrow",
    "pydantic": "pydantic", "safetensors": "safetensors", "scipy": "scipy", "skimage": "scikit-image",
    "tifffile": "tifffile", "torch": "torch", "yaml": "pyyaml",
}  # fmt: skip
THRESHOLDS = (0.5, 0.75, 0.9)
#: So many fields are drawn, the others are copies of them; cells of a field of 2048².
DRAWN, CELLS = 4, 400
#: Tiles that are run at once, to see whether that pays.
BATCHES = (1, 4)
#: Shares of the whole time after which a part must have ended.
SHARES = {"threads": 0.4, "processes": 0.65, "cellpose": 0.97}


def missing() -> list[str]:
    """Return what must be installed for this project's part."""
    return [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]


def draw(folder: Path, fields: int, size: int) -> list[Path]:
    """Write fields with their truth; from the fifth on they are copies."""
    from napari_tam.simulate.parameters import SceneParameters
    from napari_tam.simulate.scene import write_fields

    cells = max(4, round(CELLS * (size / 2048) ** 2))
    parameters = SceneParameters(shape=(size, size), cells_per_field=cells)
    drawn = write_fields(folder, min(fields, DRAWN), seed=18, parameters=parameters)
    paths = list(drawn)
    for index in range(len(drawn), fields):
        stem = f"field_{index + 1:02d}"
        for end in (".ome.tif", "_masks.tif", "_nuclei.tif"):
            shutil.copy(str(drawn[index % DRAWN]).replace(".ome.tif", end), folder / f"{stem}{end}")
        paths.append(folder / f"{stem}.ome.tif")
    return paths


def truth_of(path: Path, end: str = "masks") -> np.ndarray:
    """Return the true labels of a drawn field."""
    import tifffile

    return tifffile.imread(str(path).replace(".ome.tif", f"_{end}.tif"))


def diameters(paths: list[Path]) -> dict[str, float]:
    """Return the settings with the true median diameters (µm), which all get."""
    import numpy as np

    from napari_tam.segment.segmenter import median_diameter
    from napari_tam.simulate.parameters import SceneParameters

    um = SceneParameters().pixel_size_um
    sizes = {
        end: float(np.median([median_diameter(truth_of(path, end)) for path in paths[:DRAWN]])) * um
        for end in ("masks", "nuclei")
    }
    return {"cell_diameter_um": sizes["masks"], "nucleus_diameter_um": sizes["nuclei"]}


def agreement(true: np.ndarray, found: np.ndarray) -> list[int]:
    """Return the numbers of true and of found masks, and of those that agree at each threshold."""
    import numpy as np

    size = np.bincount(true.ravel()), np.bincount(found.ravel())
    both, overlap = np.unique(
        true.ravel().astype(np.int64) * len(size[1]) + found.ravel(), return_counts=True
    )
    a, b = np.divmod(both, len(size[1]))
    union = size[0][a] + size[1][b] - overlap
    iou = np.where((a > 0) & (b > 0), overlap / union, 0)
    return [*(int((each[1:] > 0).sum()) for each in size), *(int((iou > t).sum()) for t in THRESHOLDS)]


def precision(counts: list[list[int]]) -> list[float]:
    """Return the average precision of all fields together, TP / (TP + FP + FN), at each threshold."""
    true, found, *hits = (sum(column) for column in zip(*counts, strict=True))
    return [each / max(1, true + found - each) for each in hits]


@contextlib.contextmanager
def watched(*, keep: bool = False) -> Iterator[tuple[list[float], list[Any]]]:
    """Note the seconds that every tile takes, copies included; with `keep`, the tiles as well."""
    from napari_tam.networks.engines import TorchEngine

    seconds: list[float] = []
    calls: list[Any] = []
    original = TorchEngine.run

    def run(engine: TorchEngine, batch: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        result = original(engine, batch)
        seconds.append(time.perf_counter() - start)
        if keep:
            calls.append((engine, batch))
        return result

    TorchEngine.run = run  # type: ignore[method-assign]
    try:
        yield seconds, calls
    finally:
        TorchEngine.run = original  # type: ignore[method-assign]


class Card:
    """The graphics card: its peak memory, and how much it is used as its driver tells (NVIDIA)."""

    def __init__(self, device: str) -> None:
        self.device, self.is_cuda = device, device.startswith("cuda")
        self.used: list[float] = []
        self._tool = shutil.which("nvidia-smi") if self.is_cuda else None

    @contextlib.contextmanager
    def sampled(self) -> Iterator[None]:
        """Ask the driver four times a second how much of the time a kernel was running."""
        if self._tool is None:
            yield
            return
        command = [
            *(self._tool, f"--id={driver_id(self.device)}", "--query-gpu=utilization.gpu"),
            *("--format=csv,noheader,nounits", "-lms", "250"),
        ]
        asked = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        def read() -> None:
            for line in asked.stdout or ():
                with contextlib.suppress(ValueError):
                    self.used.append(float(line) / 100)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            asked.terminate()
            asked.wait()
            reader.join()

    def usage(self) -> float | None:
        """Return the mean of the samples; None without any."""
        return sum(self.used) / len(self.used) if self.used else None

    def peak_mb(self) -> float | None:
        """Return the most memory that this process's tensors took on the card; None without a card."""
        if not self.is_cuda:
            return None
        import torch

        return torch.cuda.max_memory_allocated(self.device) / 1e6

    def wait(self) -> None:
        """Wait until the card has done all it was given."""
        if self.is_cuda:
            import torch

            torch.cuda.synchronize(self.device)


def driver_id(device: str) -> str:
    """Return what the driver calls a card of torch: torch counts the visible ones only."""
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[number] if number < len(visible) and visible[number] else str(number)


def prepared(how: dict[str, Any], path: Path) -> tuple[Settings, Models, float, float]:
    """Load the networks and analyse a field twice; return the second's seconds and the card's share of them.

    What the card does in that field is done again without the rest: those are the card's seconds.
    """
    from napari_tam.batches.run import analyse_files
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings

    settings = Settings(engine="torch", device=how["device"], **how["diameters"])
    models, card = load_models(settings), Card(how["device"])

    def once() -> float:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            [outcome] = analyse_files([path], settings, models, Path(out))
        if outcome.error:
            raise SystemExit(f"{path.name}: {outcome.error}")
        return time.perf_counter() - start

    once()
    with watched(keep=True) as (_, calls):
        seconds = once()
    alone = []
    for _ in range(3):
        start = time.perf_counter()
        for engine, batch in calls:
            engine.run(batch)
        card.wait()
        alone.append(time.perf_counter() - start)
    return settings, models, seconds, sorted(alone)[1]


def in_threads(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse files to tables in threads of one process, as many as a batch takes by itself."""
    import numpy as np

    from napari_tam.batches.run import analyse_files
    from napari_tam.batches.threads import default_jobs

    paths, card = [Path(path) for path in how["paths"]], Card(how["device"])
    settings, models, one, alone = prepared(how, paths[0])
    jobs = default_jobs(models.device)
    number = max(1, min(len(paths), int(how["seconds"] / one)))
    start = time.perf_counter()
    with watched() as (tiles, _), card.sampled():
        outcomes = list(analyse_files(paths[:number], settings, models, Path(how["out"]), jobs=jobs))
        seconds = time.perf_counter() - start
    failed = [outcome.error for outcome in outcomes if outcome.error]
    steps = [outcome.analysis.seconds for outcome in outcomes if outcome.analysis is not None]
    peak = card.peak_mb()
    return {
        "fields": len(outcomes) - len(failed),
        "failed": failed,
        "seconds": seconds,
        "jobs": jobs,
        "engine": models.engine,
        "one_field_s": one,
        "card_s_per_field": alone,
        "tiles_s_per_field": sum(tiles) / max(1, len(outcomes)),
        "usage": card.usage(),
        "peak_mb": peak,
        "steps": {name: float(np.median([each[name] for each in steps])) for name in steps[0]},
        "batches": batches(models, card, how["size"]),
    }


def batches(models: Models, card: Card, size: int) -> dict[str, dict[str, float]]:
    """Return the megapixels a second of each network, with one tile and with several at once."""
    import numpy as np

    found: dict[str, dict[str, float]] = {}
    for name in ("cells", "nuclei", "puncta"):
        predictor = getattr(models, name).predictor
        edge = min(predictor.tile, size - size % predictor.multiple)
        found[name] = {}
        for number in BATCHES:
            shape = (number, predictor.in_channels, edge, edge)
            batch = np.random.default_rng(0).random(shape, np.float32)
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                predictor.engine.run(batch)
                card.wait()
                seconds.append(time.perf_counter() - start)
            found[name][str(number)] = number * edge**2 / 1e6 / min(seconds)
    return found


def worker(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse one part of the fields in a process of its own, when told to begin."""
    import cv2

    from napari_tam.batches.part import analyse_part
    from napari_tam.networks.threads import limit_process

    limit_process(1)
    cv2.setNumThreads(1)
    paths = [Path(path) for path in how["paths"]]
    settings, models, _, _ = prepared(how, paths[0])
    limit_process(1)  # torch's, too, now that it is there
    wait_to_begin()
    part = how["part"], how["parts"]
    outcomes = list(analyse_part(part, paths, settings, models, Path(how["out"]), jobs=1))
    return {
        "failed": [outcome.error for outcome in outcomes if outcome.error],
        "peak_mb": Card(how["device"]).peak_mb(),
    }


def in_processes(how: dict[str, Any]) -> dict[str, Any]:
    """Analyse files to tables in several processes that share the card; each has one core."""
    from napari_tam.batches.run import analyse_files

    paths = [Path(path) for path in how["paths"]]
    parts = [
        Child(__file__, "worker", {**how, "part": k, "parts": how["processes"]})
        for k in range(1, how["processes"] + 1)
    ]
    try:
        settings, models, _, alone = prepared(how, paths[0])
        for part in parts:
            part.ready.wait(how["seconds"])
        card, start = Card(how["device"]), time.perf_counter()
        with card.sampled():
            for part in parts:
                part.begin()
            found = [part.finish(how["seconds"]) for part in parts]
            # the parts' fields are kept: this writes the tables
            outcomes = list(analyse_files(paths, settings, models, Path(how["out"]), resume=True))
            seconds = time.perf_counter() - start
    finally:
        for part in parts:
            part.end()
    peaks = [each["peak_mb"] for each in found if each["peak_mb"] is not None]
    return {
        "fields": sum(outcome.kept and not outcome.error for outcome in outcomes),
        "failed": [error for each in found for error in each["failed"]],
        "seconds": seconds,
        "card_s_per_field": alone,
        "usage": card.usage(),
        "peak_mb": sum(peaks) if peaks else None,
    }


def bundled_network() -> Any:
    """Return the bundled network for cells, which is one of Cellpose 3's kind."""
    from napari_tam.networks.cards import bundled_cards

    return bundled_cards()["cells"].load()


def cellpose_file(path: Path) -> Path:
    """Write the bundled network for cells as the file of a Cellpose 3 model."""
    import torch

    state = dict(bundled_network().state_dict())
    diameter = torch.tensor([30.0])
    torch.save({**state, "diam_mean": diameter, "diam_labels": diameter}, path)
    return path


def by_cellpose(how: dict[str, Any]) -> dict[str, Any]:
    """Segment as many fields as there is time for with Cellpose's `eval` at its defaults."""
    import numpy as np
    import tifffile
    import torch
    from cellpose.models import CellposeModel

    from napari_tam.simulate.parameters import SceneParameters

    start, um = time.perf_counter(), SceneParameters().pixel_size_um
    device, card = torch.device(how["device"]), Card(how["device"])
    wide, small = (how["diameters"][name] / um for name in ("cell_diameter_um", "nucleus_diameter_um"))
    file = cellpose_file(Path(how["out"]) / "cells_as_cellpose.pt")
    model = CellposeModel(gpu=card.is_cuda, device=device, pretrained_model=str(file))
    part = tifffile.imread(how["paths"][0])[:2, :256, :256]
    model.eval(part, channels=[1, 2], channel_axis=0, diameter=wide)  # what is compiled and loaded once
    seconds: dict[str, list[float]] = {"cells": [], "nuclei": [], "puncta and table": []}
    counts = []
    for path in how["paths"]:
        clock = time.perf_counter()
        image = tifffile.imread(path)
        labels = model.eval(image[:2], channels=[1, 2], channel_axis=0, diameter=wide)[0]
        seconds["cells"].append(time.perf_counter() - clock)
        clock = time.perf_counter()
        model.eval(image[1], channels=[0, 0], diameter=small)
        seconds["nuclei"].append(time.perf_counter() - clock)
        if not seconds["puncta and table"]:  # on the processor, and long: once
            clock = time.perf_counter()
            puncta_and_table(image, labels)
            seconds["puncta and table"].append(time.perf_counter() - clock)
        counts.append(agreement(truth_of(Path(path)), labels.astype(np.int32)))
        if time.perf_counter() - start > how["seconds"]:
            break
    return {"seconds": seconds, "ap": precision(counts), "counts": counts, "peak_mb": card.peak_mb()}


def puncta_and_table(image: np.ndarray, labels: np.ndarray) -> None:
    """Do what the stock stack of ``speed.py`` does after Cellpose."""
    import numpy as np
    from skimage.feature import blob_log
    from skimage.measure import regionprops_table

    low, high = np.percentile(image[2], (0.5, 99.9))
    spots = blob_log(np.clip((image[2] - low) / (high - low), 0, 1), 1, 3, 5, threshold=0.05)
    names = ("label", "area", "perimeter", "eccentricity", "solidity", "mean_intensity", "feret_diameter_max")
    regionprops_table(labels, image.transpose(1, 2, 0), properties=names)
    np.bincount(labels[tuple(spots[:, :2].astype(int).T)])


PARTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "threads": in_threads,
    "processes": in_processes,
    "worker": worker,
    "cellpose": by_cellpose,
}


def found_cells(out: Path, paths: list[Path]) -> list[float]:
    """AP of this project's cells in a results folder."""
    from napari_tam.results.folder import OK, read_results

    results = read_results(out)
    done = set(results.images.loc[results.images["status"] == OK, "image"])
    names = {path.name.removesuffix(".ome.tif"): path for path in paths}
    return precision(
        [
            agreement(truth_of(path), results.masks(name, "cells"))
            for name, path in names.items()
            if name in done
        ]
    )


def device_name(device: str) -> str:
    """Say what the device is called."""
    import torch

    if not device.startswith("cuda"):
        return f"{device} (no graphics card)"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def measure(given: argparse.Namespace, device: str, folder: Path) -> dict[str, Any]:
    """Do all parts within the time; a part that cannot be done is said, and the others go on."""
    begun, whole = time.monotonic(), 60.0 * given.minutes
    say(f"drawing {given.fields} fields")
    paths = draw(folder / "fields", given.fields, given.size)
    how = {"paths": [str(path) for path in paths], "device": device, "size": given.size}
    how |= {"diameters": diameters(paths), "processes": given.processes}
    values: dict[str, Any] = {"diameters": how["diameters"], "drawn_s": time.monotonic() - begun}
    for name, share in SHARES.items():
        out = folder / name
        out.mkdir()
        left = begun + share * whole - time.monotonic()
        if name == "cellpose" and importlib.util.find_spec("cellpose") is None:
            values[name] = {"problem": "Cellpose 3 is not installed: pip install 'cellpose>=3.1,<4'"}
            continue
        if name == "processes" and given.processes < 2:
            continue
        say(f"{name}: {left:.0f} s at most")
        own = dict(how)
        if name == "processes" and "fields" in values["threads"]:
            own["paths"] = how["paths"][: max(3 * given.processes, values["threads"]["fields"])]
        part = Child(__file__, name, {**own, "out": str(out), "seconds": 0.6 * left})
        try:
            values[name] = part.finish(left)
            if name != "cellpose":
                values[name]["ap"] = found_cells(out, paths)
        except RuntimeError as error:
            values[name] = {"problem": str(error)}
        finally:
            part.end()
    values["minutes"] = (time.monotonic() - begun) / 60
    return values


def rows_of(values: dict[str, Any]) -> list[list[object]]:
    """Return the rows of the table: who, fields a second, AP, the card's share, its memory."""
    rows: list[list[object]] = []

    def row(who: str, fields: float, ap: list[float], share: str, peak: float | None) -> None:
        memory = "-" if peak is None else f"{peak:.0f}"
        rows.append([who, f"{fields:.3f}", *(f"{each:.3f}" for each in ap), share, memory])

    for name in ("threads", "processes"):
        part = values.get(name, {})
        if "fields" in part:
            speed = part["fields"] / part["seconds"]
            share = f"{max(0.0, 1 - speed * part['card_s_per_field']):.0%}"
            row(f"napari-tam, files to tables, {name}", speed, part["ap"], share, part["peak_mb"])
    part = values["cellpose"]
    if "seconds" in part:
        total = 0.0
        for name, seconds in part["seconds"].items():
            total += sorted(seconds)[len(seconds) // 2]
            label = "Cellpose 3: cells" if name == "cells" else f"  and {name}"
            row(label, 1 / total, part["ap"], "", part["peak_mb"])
    return rows


def times_cellpose(values: dict[str, Any]) -> list[str]:
    """Say how many times as many fields a second this project does, the better of its two ways."""
    speeds = [
        part["fields"] / part["seconds"] for name in SHARES if "fields" in (part := values.get(name, {}))
    ]
    parts = values["cellpose"].get("seconds")
    if not speeds or not parts:
        return []
    total, ratios = 0.0, []
    for name, seconds in parts.items():
        total += sorted(seconds)[len(seconds) // 2]
        ratios.append(f"{max(speeds) * total:.1f} x {'with ' if ratios else ''}{name}")
    return ["napari-tam, files to tables, beside Cellpose 3: " + ", ".join(ratios), ""]


def report(values: dict[str, Any], given: argparse.Namespace, device: str) -> list[str]:
    """Put all into words."""
    from common import table

    lines = [f"device: {device_name(device)}; {os.cpu_count()} cores", ""]
    if not device.startswith("cuda"):
        lines = [
            "NOT RUN ON A GRAPHICS CARD: none was at hand. This is a test of the script on the processor,",
            "with torch and small fields; its figures say that the script works, and nothing about a card.",
            "",
            *lines,
        ]
    um = values["diameters"]
    lines += [
        f"{given.fields} simulated fields of {given.size} x {given.size} x 3 "
        f"({min(given.fields, DRAWN)} drawn, the others copies), diameters of "
        f"{um['cell_diameter_um']:.1f} and {um['nucleus_diameter_um']:.1f} µm given to both",
        "",
    ]
    header = ["", "fields a second", *(f"AP {each}" for each in THRESHOLDS), "card waits", "peak MB on card"]
    lines += [*table(header, rows_of(values)), "", *times_cellpose(values)]
    lines += [f"{name}: {values[name]['problem']}" for name in SHARES if "problem" in values.get(name, {})]
    part = values["threads"]
    if "fields" in part:
        lines += [
            f"networks by {part['engine']}; {part['jobs']} fields at the same time, {part['fields']} in all; "
            f"one alone takes {part['one_field_s']:.2f} s",
            f"the networks of a field alone: {part['card_s_per_field']:.3f} s (copies included), in the run "
            f"they took {part['tiles_s_per_field']:.3f} s",
            "card waits: the share of the whole time that those leave",
            *(
                f"a kernel was running in {values[name]['usage']:.0%} of the time ({name}, nvidia-smi)"
                for name in ("threads", "processes")
                if values.get(name, {}).get("usage") is not None
            ),
            "steps of a field in the run, as waited for: "
            + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in part["steps"].items()),
            "",
            "networks alone, megapixels a second (input copied to the device and output back)",
            *table(
                ["", *(f"{number} tile{'s' if number > 1 else ''} at once" for number in BATCHES)],
                [
                    [name, *(f"{each:.2f}" for each in found.values())]
                    for name, found in part["batches"].items()
                ],
            ),
        ]
    if values.get("processes", {}).get("fields"):
        lines.append(f"processes: {given.processes}, each with one core; the card's memory is that of all")
    return [*lines, f"all of it took {values['minutes']:.1f} minutes"]


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu (to test the script)")
    parser.add_argument("--fields", type=int, default=48, help="at most")
    parser.add_argument("--size", type=int, default=2048, help="of a field, in pixels")
    parser.add_argument("--minutes", type=float, default=8.0, help="everything included")
    parser.add_argument(
        "--processes", type=int, default=min(16, os.cpu_count() or 1), help="that share the card"
    )
    given = parser.parse_args()
    sys.path.insert(0, str(SOURCES))
    if lacking := missing():
        raise SystemExit(
            f"this needs {', '.join(lacking)}\npip install {' '.join(lacking)}\n(without a network: "
            "'pip download' them where there is one, then 'pip install --no-index --find-links FOLDER ...')"
        )
    from common import publish

    from napari_tam.networks.devices import choose_device

    device = choose_device(given.device)
    if device == "cpu" and given.device != "cpu":
        raise SystemExit("torch finds no graphics card here; to test this script without one: --device cpu")
    with tempfile.TemporaryDirectory() as folder:
        values = measure(given, device, Path(folder))
    lines, values = report(values, given, device), {"device": device_name(device), **values}
    publish("gpu", lines, values, values["threads"].get("engine"))


if __name__ == "__main__" and not answer(PARTS):
    main()
