from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile

from napari_tam.cli.main import main
from napari_tam.correct.apply import flatten
from napari_tam.correct.calibrate import bleed_through_of, channel_shifts, mean_bleed_through
from napari_tam.correct.flat_field import LEAST_FIELDS, estimate_flat_field, reference_flat_field
from napari_tam.correct.folder import read_corrections
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.simulate import optics
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

UM = 0.325
DARK = 100.0
UNEVEN = SceneParameters(
    shape=(256, 256), illumination=0.5, light_centre=(0.4, 0.6), cells_per_field=12, puncta_per_cell=8
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [Scene.draw(UNEVEN, seed) for seed in range(12)]


def light(scenes: list[Scene]) -> npt.NDArray[np.float32]:
    true = scenes[0].light
    assert true is not None
    return np.asarray(true / true.mean(), np.float32)


@pytest.mark.parametrize(("dark", "channel"), [(DARK, 0), (DARK, 2), (None, 2)])
def test_the_light_is_found_from_fields_of_cells(
    scenes: list[Scene], dark: float | None, channel: int
) -> None:
    flat = estimate_flat_field([scene.image[channel] for scene in scenes], dark)
    assert flat.gain.mean() == pytest.approx(1, abs=1e-5)
    assert (flat.gain / light(scenes)).std() < 0.04
    assert flat.dark == (dark or pytest.approx(DARK, abs=8))
    assert flat.facts["brightest_to_darkest"] == pytest.approx(2, abs=0.3)
    assert 0 < flat.facts["uncertainty"] < 0.1


def test_a_reference_gives_the_light_with_its_dust() -> None:
    y, x = np.indices((120, 160))
    true = 1 - 0.4 * ((y / 120 - 0.5) ** 2 + (x / 160 - 0.5) ** 2)
    true[60:75, 80:95] *= 0.8
    rng = np.random.default_rng(0)
    planes = [rng.poisson(2000 * true).astype(np.uint16) + 100 for _ in range(3)]
    flat = reference_flat_field(planes, DARK)
    assert np.abs(flat.gain / (true / true.mean()) - 1).mean() < 0.01
    even = flatten(planes[0], flat)
    assert even[65, 85] == pytest.approx(even[20, 20], rel=0.05)


@pytest.mark.parametrize(
    ("planes", "told"),
    [
        ([np.ones((50, 50))] * (LEAST_FIELDS - 1), "cannot be estimated from 7 fields"),
        ([np.ones((50, 50))] * 7 + [np.ones((50, 60))], "different sizes"),
    ],
)
def test_fields_that_cannot_show_the_light_are_refused(planes: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        estimate_flat_field(planes, 0.0, where="exosome channel")


def test_references_that_are_no_use_are_refused() -> None:
    with pytest.raises(InputError, match="overexposed"):
        reference_flat_field([np.full((50, 50), 65535, np.uint16)], DARK)
    with pytest.raises(InputError, match="less than a tenth"):
        reference_flat_field([np.full((50, 50), 90, np.uint16)], DARK)


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.4])
def test_bleed_through_is_found_in_a_single_stain_control(fraction: float) -> None:
    rng = np.random.default_rng(1)
    stain = np.zeros((200, 200))
    stain[30:80, 40:90] = 800
    stain[120:170, 100:160] = 300
    planes = {"cell": stain, "exosome": fraction * stain, "nucleus": 0 * stain}
    field = Field("c", {role: 100 + rng.normal(plane, 5) for role, plane in planes.items()}, UM)
    found = bleed_through_of(field, "cell")
    assert found["exosome"] == pytest.approx(fraction, abs=0.003)
    assert found["nucleus"] == pytest.approx(0, abs=0.003)
    assert mean_bleed_through([("cell", found)]).get("cell_into_exosome") == pytest.approx(
        fraction, abs=0.003
    )


def test_no_bleed_through_is_none_and_the_median_of_controls_counts() -> None:
    controls = [("cell", {"exosome": value, "nucleus": 0.0004}) for value in (0.02, 0.03, 0.9)]
    assert mean_bleed_through(controls) == {"cell_into_exosome": 0.03}
    with pytest.raises(InputError, match="more light in the other channel"):
        mean_bleed_through([("cell", {"exosome": 1.2})])


def test_a_control_without_its_stain_is_refused() -> None:
    noise = np.random.default_rng(0).normal(100, 3, (100, 100))
    with pytest.raises(InputError, match="no cell channel"):
        bleed_through_of(Field("c", {"exosome": noise}, UM), "cell")
    with pytest.raises(InputError, match="shows no stain"):
        bleed_through_of(Field("c", {"cell": noise, "exosome": noise}, UM), "cell")


def beads(*shifts: tuple[float, float], seed: int = 0) -> npt.NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    spots = pd.DataFrame(rng.uniform(15, 145, (25, 2)), columns=["y_px", "x_px"])
    spots = spots.assign(amplitude_photons=400.0, sigma_px=1.3)
    planes = []
    for y, x in shifts:
        moved = spots.assign(y_px=spots["y_px"] + y, x_px=spots["x_px"] + x)
        planes.append(optics.camera(optics.render_spots((160, 160), moved) + 10, 2.0, DARK, 3.0, rng))
    return np.stack(planes)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.27, -2.64), (-7.5, 4.2)])
def test_a_shift_is_found_to_a_twentieth_of_a_pixel(shift: tuple[float, float]) -> None:
    image = beads((0, 0), shift)
    found = channel_shifts(Field("b", {"cell": image[0], "exosome": image[1]}, UM))
    assert found["exosome"] == pytest.approx((-shift[0], -shift[1]), abs=0.05)


def test_channels_that_show_different_things_are_refused(scenes: list[Scene]) -> None:
    planes = dict(zip(("cell", "nucleus", "exosome"), scenes[0].image, strict=True))
    with pytest.raises(InputError, match="does not show the same"):
        channel_shifts(Field("f", planes, UM))
    with pytest.raises(InputError, match="needs the cell channel"):
        channel_shifts(Field("f", {"cell": planes["cell"]}, UM))


def write(path: Path, image: npt.NDArray[np.uint16], names: list[str]) -> Path:
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "Channel": {"Name": names},
        "PhysicalSizeX": UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": UM,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(path, image, ome=True, metadata=metadata)
    return path


def test_the_command_fills_one_folder_part_by_part(
    tmp_path: Path, scenes: list[Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["CD11b", "DAPI", "exosome"]
    fields = [write(tmp_path / f"f{k}.ome.tif", scene.image, names) for k, scene in enumerate(scenes)]
    stain = np.zeros((160, 160))
    stain[30:80, 40:90] = 800
    rng = np.random.default_rng(0)
    control = np.stack([rng.normal(100 + share * stain, 5) for share in (1, 0, 0.05)]).astype(np.uint16)
    only = write(tmp_path / "only.ome.tif", control, names)
    shone = write(tmp_path / "beads.ome.tif", beads((0, 0), (0, 0), (2, -1)), names)
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, np.full((256, 256), 100, np.uint16))
    out = tmp_path / "microscope"

    def calibrate(*words: object) -> int:
        return main(["calibrate", *(str(word) for word in words), "--out", str(out)])

    assert calibrate("flat-field", *fields, "--dark", dark) == 0
    assert calibrate("bleed-through", f"cell={only}") == 0
    assert calibrate("shift", shone) == 0
    said = capsys.readouterr().out
    assert f"--corrections {out}" in said
    assert "of cell is seen in exosome" in said
    found = read_corrections(out)
    assert set(found.flat_field) == {"cell", "nucleus", "exosome"}
    assert {flat.dark for flat in found.flat_field.values()} == {DARK}
    assert found.bleed_through["cell_into_exosome"] == pytest.approx(0.05, abs=0.003)
    assert found.channel_shift_um["exosome"] == pytest.approx((-2 * UM, UM), abs=0.02)
    assert str(tmp_path) not in json.dumps(json.loads((out / "corrections.json").read_text()))


def test_a_reference_of_one_channel_is_enough_if_its_role_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.random.default_rng(0).poisson(1000, (96, 96)).astype(np.uint16)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, image)
    words = ["calibrate", "flat-field", str(path), "--reference", "--dark", "0", "--pixel-size", "0.3"]
    assert main([*words, "--out", str(tmp_path / "m")]) == 2
    assert "--channels exosome=0" in capsys.readouterr().err
    assert main([*words, "--channels", "exosome=0", "--out", str(tmp_path / "m")]) == 0
    assert set(read_corrections(tmp_path / "m").flat_field) == {"exosome"}
