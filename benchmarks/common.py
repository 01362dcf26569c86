"""What the benchmarks share: data, machine, and how results are written."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
RESULTS = ROOT / "benchmarks" / "results"


def require_shared() -> None:
    """Stop with a sentence when the images beside the project are missing."""
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"this benchmark needs the images of {SHARED / 'data'} (see its README)")


def engine() -> str:
    """Say what runs the networks here."""
    from napari_tam.networks.devices import choose_device
    from napari_tam.networks.engines import choose_engine, describe

    device = choose_device("auto")
    return describe(choose_engine("auto", device), device)


def machine() -> dict[str, str]:
    """Date, commit, processor, engine and versions."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = f"{lines[0].split(':')[1].strip()}, {len(lines)} cores" if lines else model
    return {
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": model,
        "engine": engine(),
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "cellpose", "numpy", "scikit-image")},
    }


def publish(name: str, lines: list[str], values: dict[str, Any], ran: str | None = None) -> None:
    """Print a report and keep it as text and as JSON under ``benchmarks/results``.

    `ran` says what ran the networks, if it was not what runs them here by itself.
    """
    facts = machine() | ({"engine": ran} if ran else {})
    head = [f"{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()), ""]
    text = "\n".join(head + lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.txt").write_text(text, encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"run": facts, **values}, indent=1) + "\n", encoding="utf-8"
    )


def table(header: list[str], rows: list[list[object]]) -> list[str]:
    """Lay out a plain-text table in columns."""
    cells = [
        header,
        *[[f"{c:.3f}" if isinstance(c, float | np.floating) else str(c) for c in row] for row in rows],
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def tiled_composite(size: int, name: str = "bbbc020_104") -> np.ndarray:
    """Mirror a composite at its borders to ``size × size`` pixels, so that no seam makes odd cells."""
    import tifffile

    image = tifffile.imread(SHARED / "data" / "composites" / f"{name}.ome.tif")
    return mirror(image, size)


def mirror(image: np.ndarray, size: int) -> np.ndarray:
    """Mirror the last two axes until they are `size` long."""
    pad = [(0, 0)] * (image.ndim - 2) + [(0, max(0, size - n)) for n in image.shape[-2:]]
    return np.ascontiguousarray(np.pad(image, pad, mode="symmetric")[..., :size, :size])
