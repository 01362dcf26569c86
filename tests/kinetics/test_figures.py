from __future__ import annotations

import numpy as np
import pandas as pd
from tracks import movie, plate

from napari_tam.kinetics.figures import kinetics_figure
from napari_tam.kinetics.table import kinetics


def texts(axis) -> str:  # type: ignore[no-untyped-def]
    return " ".join(text.get_text() for text in axis.texts)


def test_every_condition_has_a_panel_with_its_half_time() -> None:
    cells = pd.concat([movie("a", 8, condition="control"), movie("b", 8, condition="inhibitor", rate=0.1)])
    fits = kinetics(cells, resamples=20)
    figure = kinetics_figure(cells, fits)
    assert figure is not None
    first, second = figure.axes[:2]
    assert [axis.get_title() for axis in (first, second)] == ["control", "inhibitor"]
    half = fits.loc[fits["track"].isna() & (fits["condition"] == "control"), "half_time_h"].iloc[0]
    assert f"half-time {half:.3g} h" in texts(first)
    assert "no fit: still rising" in texts(second)
    assert first.get_xlabel() == "time (h)"
    drawn = next(line for line in first.lines if line.get_label() == "mean")
    assert len(drawn.get_xdata()) == 20
    figure.draw_without_rendering()


def test_without_an_interval_the_axis_is_in_frames() -> None:
    cells = movie(cells=5).assign(time_h=np.nan)
    figure = kinetics_figure(cells, kinetics(cells, resamples=20), "exosome_integrated")
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "time (frames)"
    assert "frames" in texts(figure.axes[0])


def test_a_layouts_times_are_drawn_and_doses_named() -> None:
    cells = plate([0, 0.5, 1, 2, 4], 3).assign(dose=10.0)
    figure = kinetics_figure(cells, kinetics(cells, resamples=20))
    assert figure is not None
    assert figure.axes[0].get_title() == "x 10"
    figure.draw_without_rendering()


def test_without_time_there_is_no_figure() -> None:
    cells = movie(cells=2).drop(columns=["track", "time_h"])
    assert kinetics_figure(cells, kinetics(cells)) is None
