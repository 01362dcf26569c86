from __future__ import annotations

from dataclasses import replace

import fakes
import numpy as np
import pandas as pd
import pytest
from phenotypes import CLASSES, ellipses, field_of, labelled, measured, trained, untrained

from napari_tam.columns import phenotype_columns, phenotype_summary_columns
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.networks.cards import MODELS_FOLDER
from napari_tam.phenotype.classify import (
    BORDER,
    LOW,
    NOISY,
    UNCERTAIN,
    UNLIKE,
    ModelClassifier,
    decide,
    load_classifier,
    phenotype_summary,
)
from napari_tam.phenotype.colours import phenotype_colours
from napari_tam.phenotype.model import Scores
from napari_tam.pipeline.models import Models
from napari_tam.pipeline.runner import run
from napari_tam.results.overlay import CELL_OUTLINE, overlay
from napari_tam.settings import Settings

BUNDLED = (MODELS_FOLDER / "phenotype.json").exists()


def classified(labels, field, classifier=None, settings=None):
    table = measured(field, labels)
    classifier = classifier or ModelClassifier(untrained())
    return classifier.classify(field, labels, None, table, settings or Settings())


def test_the_exosome_channel_changes_no_probability() -> None:
    rng = np.random.default_rng(0)
    labels = ellipses([1.0, 1.5, 2.5], rng)
    field = field_of(labels, rng)
    loud = {
        **field.channels,
        "exosome": rng.uniform(0, 60_000, labels.shape),
        "lysosome": rng.random(labels.shape),
    }
    other = Field("a", loud, field.pixel_size_um)
    pd.testing.assert_frame_equal(classified(labels, field), classified(labels, other))


@pytest.mark.parametrize("turn", [np.rot90, np.flipud, np.fliplr, np.transpose])
def test_turning_and_mirroring_the_image_changes_no_phenotype(turn) -> None:
    rng = np.random.default_rng(1)
    labels = ellipses([1.3, 1.6, 2.5, 4.0], rng)
    field = field_of(labels, rng)
    turned = {role: np.ascontiguousarray(turn(image)) for role, image in field.channels.items()}
    other = classified(np.ascontiguousarray(turn(labels)), Field("a", turned, field.pixel_size_um))
    assert other["p_m1"].to_numpy() == pytest.approx(classified(labels, field)["p_m1"].to_numpy(), abs=0.01)


def test_relabelling_the_cells_only_moves_the_rows() -> None:
    rng = np.random.default_rng(2)
    labels = ellipses([1.1, 1.7, 3.0], rng)
    field = field_of(labels, rng)
    other = np.array([0, 30, 20, 10], np.uint16)[labels]
    pd.testing.assert_frame_equal(
        classified(other, field), classified(labels, field).iloc[::-1].reset_index(drop=True), rtol=1e-4
    )


def test_round_cells_are_m1_and_long_ones_m2_for_a_trained_model() -> None:
    rng = np.random.default_rng(5)
    ratios = [1.05, 1.1, 1.2, 2.0, 2.4, 2.9]
    labels = ellipses(ratios, rng)
    found = classified(labels, field_of(labels, rng), ModelClassifier(trained()))
    assert (found["p_m2"] > 0.5).tolist() == [ratio > 1.5 for ratio in ratios]


def scores(chances: list[list[float]], distance: list[float]) -> Scores:
    values = np.array(chances)
    return Scores(np.log(values).astype(np.float32), values, np.array(distance))


def cells(border: list[bool], contrast: list[float] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"touches_border": border, "contrast_to_noise": contrast or [50.0] * len(border)})


def test_every_reason_for_uncertain_is_stated() -> None:
    found = decide(
        scores([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [1, 1, 9, np.nan, 1]),
        CLASSES,
        cells(border=[False, True, True, False, False]),
        1.5,
        5.0,
        Settings(phenotype_min_probability=0.75),
    )
    assert found["phenotype"].tolist() == ["M1", UNCERTAIN, UNCERTAIN, UNCERTAIN, "M2"]
    assert found["phenotype_reason"].tolist() == ["", BORDER, f"{BORDER}; {UNLIKE}", f"{UNLIKE}; {LOW}", ""]
    assert list(found.columns) == [column.name for column in phenotype_columns()]
    summary = phenotype_summary(found, CLASSES)
    assert list(summary) == [column.name for column in phenotype_summary_columns()]
    assert (summary["cells_m1"], summary["cells_m2"], summary["cells_uncertain"]) == (1, 1, 3)
    assert summary["cells_unlike_training"] == 2
    assert summary["p_m1_mean"] == pytest.approx((0.9 + 0.6 + 0.2) / 3)


def test_the_border_can_be_allowed() -> None:
    given = scores([[0.9, 0.1]], [1])
    found = decide(given, CLASSES, cells([True]), 1.5, 5.0, Settings(phenotype_border=False))
    assert found["phenotype"].tolist() == ["M1"]


def test_a_cell_that_hardly_stands_out_of_the_noise_is_uncertain_at_the_scale_of_the_crop() -> None:
    given = scores([[0.9, 0.1]] * 4, [1] * 4)
    table = cells([False] * 4, contrast=[2.9, 3.1, np.nan, np.inf])
    found = decide(given, CLASSES, table, 1.5, 5.0, Settings())
    assert found["phenotype_reason"].tolist() == [NOISY, "", "", ""]
    # 3 × 3 pixels of 0.5 µm are one of the crop, with a third of the noise
    assert decide(given, CLASSES, table, 0.5, 5.0, Settings())["phenotype_reason"].tolist() == [""] * 4
    assert decide(given, CLASSES, table, 3.0, 5.0, Settings())["phenotype_reason"][0] == NOISY
    allowed = decide(given, CLASSES, table, 1.5, 5.0, Settings(phenotype_min_contrast=0))
    assert allowed["phenotype"].tolist() == ["M1"] * 4


def test_other_and_more_classes_get_their_own_columns() -> None:
    rng = np.random.default_rng(0)
    labels = ellipses([1.0, 2.0], rng)
    classes = ("naive", "M1 (LPS)", "M2a")
    found = classified(labels, field_of(labels, rng), ModelClassifier(untrained(classes)))
    assert list(found.columns[:3]) == ["p_naive", "p_m1_lps", "p_m2a"]
    assert found.iloc[:, :3].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(found["phenotype"]) <= {*classes, UNCERTAIN}


def test_no_cells_give_no_rows_but_all_columns() -> None:
    labels = np.zeros((30, 30), np.uint16)
    found = classified(labels, field_of(labels, np.random.default_rng(0)))
    assert list(found.columns) == [column.name for column in phenotype_columns()]
    assert len(found) == 0
    summary = phenotype_summary(found, CLASSES)
    assert summary["cells_m1"] == 0
    assert np.isnan(summary["p_m1_mean"])


def test_noise_for_crops_is_unlike_the_training_cells() -> None:
    cells = labelled(160, 1)
    model = trained(seed=2, number=160)
    like = model.score(cells.crops, cells.features).distance
    threshold = np.quantile(like, 0.99)
    noise = np.random.default_rng(0).normal(0, 1, cells.crops.shape).astype(np.float32)
    assert (model.score(noise, cells.features).distance > threshold).mean() > 0.95
    # and so is a cell of nine times the area
    large = cells.features + np.array([np.log(9), 0, *[np.log(3)] * 3, 0, 0, 0], np.float32)
    assert (model.score(cells.crops, large).distance > threshold).mean() > 0.95


def test_the_pipeline_adds_columns_summary_and_colours() -> None:
    channels = dict(zip(("cell", "nucleus", "exosome"), fakes.image(), strict=True))
    field = Field("a", channels, fakes.PIXEL_UM)
    plain = fakes.models()
    models = Models(plain.cells, plain.nuclei, plain.puncta, phenotype=ModelClassifier(untrained()))
    settings = Settings(phenotype_min_probability=0)
    without, analysis = run(field, settings, plain), run(field, settings, models)
    names = [column.name for column in phenotype_columns()]
    assert list(analysis.table.columns) == [*without.table.columns, *names]
    assert analysis.summary["cells_m1"] + analysis.summary["cells_m2"] == len(fakes.CELLS)
    assert "phenotype" not in without.table
    called = analysis.table["phenotype"].iloc[0]
    colour = phenotype_colours(CLASSES)[called]
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    assert (overlay(analysis, numbers=False) == rgb).all(axis=2).any()
    assert (overlay(without, numbers=False) == CELL_OUTLINE).all(axis=2).any()


def test_none_switches_it_off_and_a_wrong_name_is_one_sentence(tmp_path) -> None:
    assert load_classifier("none") is None
    with pytest.raises(InputError, match="there is no phenotype model 'm1m2'"):
        load_classifier("m1m2")


@pytest.mark.skipif(not BUNDLED, reason="the bundled model is not there yet")
def test_the_bundled_model_says_that_it_was_trained_on_simulation() -> None:
    classifier = load_classifier("phenotype")
    card = classifier.model.card
    assert next(iter(card)) == "description"
    assert card["description"].startswith("Trained on SIMULATED cells")
    assert classifier.classes == CLASSES
    assert card["parameters"] < 500_000


@pytest.mark.skipif(not BUNDLED, reason="the bundled model is not there yet")
def test_the_bundled_model_knows_a_disc_from_a_spindle() -> None:
    rng = np.random.default_rng(0)
    labels = ellipses([1.05, 1.1, 1.15, 2.8, 3.0, 3.2], rng)
    found = classified(
        labels, replace(field_of(labels, rng), pixel_size_um=0.8), load_classifier("phenotype")
    )
    assert (found["p_m2"] > 0.5).tolist() == [False] * 3 + [True] * 3
