"""A field unlike its siblings is said, and a field like them hardly ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import fakes
import faults
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_tam.measure.sharpness import sharpness
from napari_tam.results.siblings import ENOUGH, RULES, SIBLING_CODES, UNLIKE, compare_fields, told
from napari_tam.results.tables import read_csv
from napari_tam.simulate import Scene, SceneParameters

if TYPE_CHECKING:
    from pathlib import Path

BY_CODE = {rule.code: rule for rule in RULES}


def table(count: int, seed: int = 0) -> pd.DataFrame:
    """Return images.csv of fields that differ by chance, as simulated fields do."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image": [f"f{k}" for k in range(count)],
            "status": "ok",
            "sharpness": 0.4 * np.exp(rng.normal(0, 0.14, count)),
            "exosome_background": 128 + rng.normal(0, 0.2, count),
            "cell_signal": 400 * np.exp(rng.normal(0, 0.13, count)),
            "findings": "",
            "notes": "",
        }
    )


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    count=st.integers(ENOUGH, 60),
    code=st.sampled_from(list(BY_CODE)),
    unit=st.floats(1e-4, 1e4),
)
def test_one_field_that_differs_is_said_once_whatever_the_unit(
    seed: int, count: int, code: str, unit: float
) -> None:
    images = table(count, seed)
    # One field in thousands differs by chance as much as the one that is made to (see below).
    assume((compare_fields(images)["findings"] == "").all())
    images["findings"] = "stripes"
    images["notes"] = "a note; another"
    rule = BY_CODE[code]
    images[rule.column] *= unit
    images.loc[3, rule.column] = images[rule.column].median() * 0.15
    found = compare_fields(images)
    assert found["findings"][3] == f"stripes {code}"
    assert found["notes"][3].startswith(f"a note; another; {UNLIKE}")
    assert told(images.assign(**found))[0].endswith(f"in 1 of {count} images: f3")
    # said anew, not again
    assert compare_fields(images.assign(**found)).equals(found)
    usual = images.assign(**found)
    usual[rule.column] = images[rule.column].median()
    assert (compare_fields(usual)["findings"] == "stripes").all()
    assert (compare_fields(usual)["notes"] == "a note; another").all()


def test_fields_that_differ_by_chance_are_hardly_ever_doubted() -> None:
    doubted = sum((compare_fields(table(12, seed))["findings"] != "").sum() for seed in range(300))
    assert doubted <= 4  # of 3,600; measured: 1.3 in 10,000


def test_siblings_are_of_the_same_plate_and_condition_and_enough() -> None:
    images = pd.concat([table(10, 1), table(10, 2)], ignore_index=True)
    images["image"] = [f"f{k}" for k in range(20)]
    images.loc[16:, "exosome_background"] = 300.0
    assert (compare_fields(images)["findings"] == "odd_background").sum() == 4
    described = images.assign(plate="", condition=["LPS"] * 16 + ["medium"] * 4)
    assert (compare_fields(described)["findings"] == "").all()
    few = table(ENOUGH - 1)
    few.loc[0, "sharpness"] = 0.001
    assert (compare_fields(few)["findings"] == "").all()
    # an earlier version's table has none of the columns
    assert compare_fields(images[["image", "status"]]).empty


SCENE = SceneParameters(shape=(256, 256), cells_per_field=12)


@pytest.mark.parametrize("seed", range(3))
def test_sharpness_falls_with_defocus_and_with_nothing_else(seed: int) -> None:
    def of(scene: SceneParameters) -> float:
        return sharpness(Scene.draw(scene, seed).image[0])

    focused = of(SCENE)
    defocused = [of(replace(SCENE, blur_um=blur)) for blur in (0.5, 0.8, 1.2, 2.0)]
    assert all(np.diff([focused, *defocused]) < 0)
    assert defocused[1] < focused / 2
    for other in ({"stain_photons": 200.0}, {"background_photons": 40.0}, {"gain": 0.5}, {"offset": 400.0}):
        assert of(replace(SCENE, **other)) == pytest.approx(focused, rel=0.2)
    image = Scene.draw(SCENE, seed).image[0]
    assert sharpness(image * 3.5 + 7) == pytest.approx(sharpness(image))
    assert sharpness(np.stack([image // 2, image])) == sharpness(image)
    assert np.isnan(sharpness(np.random.default_rng(seed).normal(100, 5, (256, 256))))
    assert np.isnan(sharpness(np.full((64, 64), 7)))


def test_a_batch_says_which_fields_are_unlike_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(5)
    for k in range(10):
        planes = fakes.image().astype(np.float64)
        planes[0] *= rng.uniform(0.95, 1.05)
        if k == 4:
            planes[0] = ndimage.gaussian_filter(planes[0], 4)
        if k == 7:
            planes[2] += 90
        fakes.write_image(tmp_path / f"in/f{k}.ome.tif", rng.poisson(planes + 5).astype(np.uint16))
    out = tmp_path / "out"
    command = ["batch", str(tmp_path / "in"), "--out", str(out), "--jobs", "1"]
    assert faults.run(monkeypatch, command) == 0
    said = capsys.readouterr().out
    images = read_csv(out / "images.csv").set_index("image")
    first = images["findings"].fillna("").str.split().str[0]
    assert first.dropna().to_dict() == {"f4": "out_of_focus", "f7": "odd_background"}
    assert f"{UNLIKE}out of focus" in images.loc["f4", "notes"]
    assert f"{SIBLING_CODES['out_of_focus']} That is so in 1 of 10 images: f4" in said
    before = (out / "images.csv").read_bytes()
    assert faults.run(monkeypatch, ["uptake", str(out)]) == 0
    assert (out / "images.csv").read_bytes() == before
    assert faults.run(monkeypatch, ["report", str(out)]) == 0
    assert SIBLING_CODES["odd_background"] in (out / "report.html").read_text(encoding="utf-8")
