"""Tables of cells that take up puncta at a known rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_tam.kinetics.table import READOUTS

RATE = 1.0
HALF = np.log(2) / RATE


def movie(
    name: str = "m",
    cells: int = 40,
    frames: int = 20,
    rate: float = RATE,
    seed: int = 0,
    interval_h: float = 1 / 6,
    **more: Any,
) -> pd.DataFrame:
    """Return cells that take up puncta one by one at a rate; signal is 1000 a punctum on 5000."""
    rng = np.random.default_rng(seed)
    hours = np.arange(frames) * interval_h
    rows = []
    for track in range(1, cells + 1):
        arrivals = rng.exponential(1 / rate, rng.poisson(20 * rng.lognormal(0, 0.5)))
        for frame, hour in enumerate(hours):
            count = int((arrivals <= hour).sum())
            rows.append(
                (f"{name}_t{frame:04d}", frame, track, hour, count, 900.0 * count, 1000.0 * count + 5000)
            )
    columns = ["image", "frame", "track", "time_h", *READOUTS]
    return pd.DataFrame(rows, columns=columns).assign(touches_border=False, **more)


def plate(times: list[float], wells: int, seed: int = 0) -> pd.DataFrame:
    """Return wells of other cells at every time, with the layout's columns."""
    rng = np.random.default_rng(seed)
    rows = []
    for time in times:
        for well in range(wells):
            level = 20 * (1 - np.exp(-RATE * time)) + rng.normal(0, 0.5)
            for _ in range(10):
                value = level + rng.normal()
                rows.append((f"{time}_{well}", 0, time, str(well), value, 900 * value, 1000 * level))
    columns = ["image", "frame", "time", "replicate", *READOUTS]
    return pd.DataFrame(rows, columns=columns).assign(touches_border=False, condition="x")
