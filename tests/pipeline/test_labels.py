"""Several exosome channels on their way through the pipeline."""

from __future__ import annotations

from typing import Any

import fakes
import labelled
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled import LABELS

from napari_tam.io.field import Field
from napari_tam.io.label_columns import OF_IMAGES
from napari_tam.markers.labels import LABEL, of_label, rows_of
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.runner import run, run_steps
from napari_tam.settings import Settings

ROLES = ("cell", "nucleus", "exosome_GFP", "exosome_PKH26")
PLAIN = Settings(phenotype_model="none")


def field(pixels: npt.NDArray[Any], roles: tuple[str, ...] = ROLES, **more: Any) -> Field:
    return Field("a", dict(zip(roles, pixels, strict=True)), fakes.PIXEL_UM, **more)


def alone(both: Field, label: str) -> Field:
    """Return a field with one of the labels alone."""
    channels = {role: pixels for role, pixels in both.channels.items() if not role.startswith("exosome")}
    return Field("a", {**channels, "exosome": both.channels[f"exosome_{label}"]}, both.pixel_size_um)


SPOTS = st.lists(st.tuples(st.integers(4, 90), st.integers(4, 120)), max_size=12)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(SPOTS, SPOTS, st.sampled_from(["none", "mode"]), st.booleans(), st.integers(0, 2))
def test_two_labels_give_the_numbers_of_each_alone(
    first: list[tuple[float, float]],
    second: list[tuple[float, float]],
    background: str,
    with_lysosomes: bool,
    seed: int,
) -> None:
    both = field(labelled.image(first, second))
    rng = np.random.default_rng(seed)
    if with_lysosomes:
        both.channels["lysosome"] = rng.integers(0, 200, fakes.SHAPE, np.uint16)
    clipped = both.channels["exosome_PKH26"]
    clipped[60:64, 60:64] = np.iinfo(np.uint16).max
    chosen = PLAIN.updated(background_method=background, channel_shift_um={"exosome_PKH26": (0.3, -0.8)})
    found = run(both, chosen, fakes.models())
    for label in LABELS:
        moved = {"exosome": (0.3, -0.8)} if label == "PKH26" else {"nucleus": (0.0, 0.0)}
        one = run(alone(both, label), chosen.updated(channel_shift_um=moved), fakes.models())
        labelled.assert_same_cells(found.table, one.table, label)
        labelled.assert_same_puncta(found.puncta, one.puncta, label)
        for name in set(OF_IMAGES) & set(one.summary):
            np.testing.assert_equal(found.summary[of_label(name, label)], one.summary[name])
    # without a name: the first
    for name in set(OF_IMAGES) & set(found.summary):
        np.testing.assert_equal(found.summary[name], found.summary[of_label(name, "GFP")])
    assert (found.table["puncta_count"] == found.table["puncta_count_GFP"]).all()


def test_puncta_of_two_labels_in_one_place_are_told() -> None:
    found = run(field(labelled.image()), PLAIN, fakes.models())
    table = found.table.set_index("label")
    # the second label has one punctum in cell 1, half a µm beside one of the two of the first
    assert table["puncta_count_GFP"].tolist() == [2, 1, 0]
    assert table["puncta_count_PKH26"].tolist() == [1, 0, 1]
    assert table["puncta_with_PKH26_GFP"].fillna(-1).tolist() == [0.5, 0, -1]
    assert table["puncta_with_GFP_PKH26"].fillna(-1).tolist() == [1, -1, 0]
    assert (table["puncta_with_PKH26_random_GFP"][:2] < 0.2).all()
    puncta = rows_of(found.puncta, "PKH26")
    assert sorted(puncta["other_label_um"].fillna(-1)) == [-1, -1, pytest.approx(0.5)]
    assert found.summary["label_distance_um"] == pytest.approx(2.355 * fakes.SIGMA * fakes.PIXEL_UM)
    apart = run(field(labelled.image()), PLAIN.updated(label_distance_um=0.4), fakes.models())
    assert apart.table["puncta_with_PKH26_GFP"].fillna(-1).tolist() == [0, 0, -1]


def test_by_chance_is_what_independent_puncta_give() -> None:
    # many puncta of both labels, put anywhere in a large cell independently of each other
    from napari_tam.measure.cells import measure

    rng = np.random.default_rng(3)
    shape = (200, 200)
    cells = np.zeros(shape, np.uint16)
    rows, columns = np.indices(shape)
    cells[np.hypot(rows - 100, columns - 100) < 90] = 1
    import pandas as pd

    parts = []
    for label in LABELS:
        at = rng.uniform(12, 188, (800, 2))
        at = at[np.hypot(*(at - 100).T) < 88]
        parts.append(pd.DataFrame({"y_px": at[:, 0], "x_px": at[:, 1], "width_um": 1.0, LABEL: label}))
    plane = rng.integers(10, 20, shape, np.uint16)
    channels = {"cell": plane, "exosome_GFP": plane, "exosome_PKH26": plane.copy()}
    table, _, _ = measure(
        Field("a", channels, 0.25), cells, None, pd.concat(parts, ignore_index=True), Settings()
    )
    row = table.iloc[0]
    # a Poisson process of the other label: 1 - exp(-density × area of the disc)
    area = np.pi * 90**2 * 0.25**2
    expected = 1 - np.exp(-row["puncta_count_PKH26"] / area * np.pi * 1.0**2)
    assert row["puncta_with_PKH26_random_GFP"] == pytest.approx(expected, abs=0.03)
    assert row["puncta_with_PKH26_GFP"] == pytest.approx(expected, abs=0.06)


def test_light_that_bleeds_between_labels_is_taken_out() -> None:
    mixed = labelled.image().astype(np.float32)
    mixed[3] += 0.2 * (mixed[2] - 11)
    found = run(field(mixed), PLAIN, fakes.models())
    # puncta of GFP shine in PKH26 as well, too dimly to be found there
    light = found.table["exosome_integrated_PKH26"].to_numpy()
    clean = run(
        field(mixed),
        PLAIN.updated(bleed_through={"exosome_GFP_into_exosome_PKH26": 0.2}),
        fakes.models(),
    )
    true = run(field(labelled.image()), PLAIN, fakes.models()).table["exosome_integrated_PKH26"].to_numpy()
    assert light[1] > true[1] + 500
    np.testing.assert_allclose(clean.table["exosome_integrated_PKH26"], true, atol=60)


def test_corrections_by_hand_belong_to_a_label() -> None:
    both = field(labelled.image())
    found = run(both, PLAIN, fakes.models())
    gone = rows_of(found.puncta, "PKH26")[["y_px", "x_px"]].to_numpy()[:1]
    edits = Edits(added=np.array([[70.0, 60.0]]), others={"PKH26": (np.zeros((0, 2)), gone)})
    assert edits.notes == ("1 puncta added and 1 removed by hand",)
    generator = run_steps(both, PLAIN, fakes.models(), edits=edits)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            after = stop.value
            break
    counts = [len(rows_of(each.puncta, label)) for each in (found, after) for label in LABELS]
    assert counts == [4, 3, 5, 2]


def test_a_second_label_in_a_volume_is_measured_in_3d() -> None:
    stack = fakes.stack().astype(np.uint16)
    other = stack[2][:, ::-1].copy()
    channels = dict(zip(ROLES, [stack[0], stack[1], stack[2], other], strict=True))
    volume = Field("a", channels, fakes.PIXEL_UM, z_step_um=1.0)
    chosen = PLAIN.updated(z_stack="volume", puncta_method="log")
    found = run(volume, chosen, fakes.models())
    for label, pixels in zip(LABELS, (stack[2], other), strict=True):
        one = Field(
            "a", {**dict(zip(ROLES[:2], stack[:2], strict=True)), "exosome": pixels}, 0.5, z_step_um=1.0
        )
        single = run(one, chosen, fakes.models())
        labelled.assert_same_cells(found.table, single.table, label)
        labelled.assert_same_puncta(found.puncta, single.puncta, label)
        assert found.summary[f"puncta_internal_{label}"] == single.summary["puncta_internal"]
    assert found.table["internal_count_GFP"].sum() > 0


def test_what_belongs_to_no_label_is_refused() -> None:
    from napari_tam.api import analyse
    from napari_tam.errors import InputError

    pixels = dict(zip(("cell", "nucleus", "exosome_GFP", "exosome"), labelled.image(), strict=True))
    with pytest.raises(InputError, match="one exosome channel has a label and another has none"):
        analyse(pixels, PLAIN.updated(pixel_size_um=0.5))


def test_tiles_give_labels_and_markers_as_the_whole_picture_does(tmp_path: Any) -> None:
    import tifffile

    from napari_tam.io.images import read_fields

    tiled = PLAIN.updated(
        tile_px=256,
        tile_overlap_um=40,
        channels={"cell": 0, "nucleus": 1, "exosome": "a:2+b:3", "marker": "m:4"},
    )
    one = np.concatenate([labelled.image(), labelled.image()[:1] * np.uint16(3)])
    pixels = np.tile(one, (1, 6, 5))
    # uneven light: each tile alone would have a background of its own
    pixels[2:] += np.linspace(0, 60, pixels.shape[2]).astype(np.uint16)
    path = tmp_path / "a.tif"
    size = {f"PhysicalSize{axis}": fakes.PIXEL_UM for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "CYX", **size, **units})
    whole = tiled.updated(tile_px=4096)
    found = [run(next(read_fields(path, each)), each, fakes.models()) for each in (tiled, whole)]
    place = ["centroid_y_px", "centroid_x_px"]
    parts, at_once = (
        each.table.assign(**each.table[place].round(1)).set_index(place).sort_index() for each in found
    )
    assert len(parts) == len(at_once) == 3 * 30
    assert (parts["puncta_count_a"] == at_once["puncta_count_a"]).all()
    assert (parts["puncta_count_b"] == at_once["puncta_count_b"]).all()
    levels = [f"{name}_{label}" for name in ("exosome_integrated", "ctcf") for label in "ab"]
    for column in (
        *levels,
        "exosome_integrated",
        "marker_m_mean",
        "marker_m_integrated",
        "marker_m_rim_mean",
    ):
        scale = np.abs(at_once[column].to_numpy()).max()
        assert np.abs(parts[column].to_numpy() - at_once[column].to_numpy()).max() <= 0.02 * scale, column
    for name in ("exosome_background_a", "exosome_background_b", "marker_m_background"):
        assert found[0].summary[name] == pytest.approx(found[1].summary[name], rel=0.01)
    for name in ("puncta_a", "puncta_b", "puncta_in_cells_b", "puncta_outside_a", "puncta"):
        assert found[0].summary[name] == found[1].summary[name]
    assert found[0].summary["puncta"] == found[0].summary["puncta_a"]
