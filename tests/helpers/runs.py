"""Runs of many images: their input, networks that are slow or fatal, and what was left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import fakes
import pandas as pd
from paths import HELPERS, SOURCE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings


def images(folder: Path, number: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for index in range(number):
        paths.append(fakes.write_image(folder / f"i{index}.ome.tif", fakes.image(fakes.SPOTS[: index % 5])))
    return paths


def content(out: Path) -> dict[str, Any]:
    """Return all that a run left, but for times and dates."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name in (".lock", "run.json", "report.html"):
            continue
        if name == "images.csv":
            found[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif name.startswith("fields/") and name.endswith(".json"):
            values = json.loads(path.read_text())
            values.get("row", {}).pop("seconds", None)
            found[name] = values
        else:
            found[name] = path.read_bytes()
    return found


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(HELPERS)])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


class Slow(fakes.ThresholdSegmenter):
    def segment(self, *given: Any, **named: Any) -> Any:
        time.sleep(0.05)
        return super().segment(*given, **named)


class Poisonous(fakes.ThresholdSegmenter):
    """Kills its process at an image that is black and brighter than any other at one place."""

    def segment(self, image: Any, *given: Any, **named: Any) -> Any:
        if image.max() > 60_000:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return super().segment(image, *given, **named)


def fast(_settings: Settings) -> Models:
    return fakes.models()


def slow(_settings: Settings) -> Models:
    return fakes.models(Slow())


def poisonous(_settings: Settings) -> Models:
    return fakes.models(Poisonous())
