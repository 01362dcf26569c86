from __future__ import annotations

import numpy as np
import pytest
from phenotypes import labelled, untrained

from napari_tam.errors import InputError
from napari_tam.phenotype.calibration import balanced_accuracy
from napari_tam.train.folds import group_folds, random_folds
from napari_tam.train.phenotype import Recipe, check_cells, fit, held_out, train
from napari_tam.train.validation import report_lines

SHORT = Recipe(steps=30, batch=32)


def test_a_group_is_never_divided_and_the_folds_are_even() -> None:
    rng = np.random.default_rng(0)
    groups = rng.choice([f"g{k}" for k in range(12)], 600)
    folds = group_folds(groups)
    assert folds.max() == 4
    for name in np.unique(groups):
        assert len(np.unique(folds[groups == name])) == 1
    sizes = np.bincount(folds)
    assert sizes.max() < 2 * sizes.min()


def test_random_folds_hold_every_class_alike() -> None:
    truth = np.array([0] * 90 + [1] * 30)
    folds = random_folds(truth, 3, 0)
    assert np.bincount(folds * 2 + truth).tolist() == [30, 10] * 3


def test_training_tells_how_good_it_is_on_groups_it_has_not_seen() -> None:
    told: list[str] = []
    model, report = train(labelled(150, 0), SHORT, tell=told.append)
    assert report["balanced_accuracy"] > 0.9
    assert report["independent"]
    assert report["grouped_by"] == "replicate"
    assert [g["group"] for g in report["groups"]] == ["r0", "r1", "r2"]
    assert sum(map(sum, report["confusion"]["cells"])) == 150
    assert [p["share_of_training_cells"] for p in report["learning_curve"]] == [0.25, 0.5, 1.0]
    assert model.card["validation"] is report
    assert 0 < model.unlike_above < np.inf
    assert model.temperature > 0
    assert told
    text = "\n".join(report_lines(report))
    assert "by a random split" in text
    assert "left out: each replicate" in text


def test_shuffled_labels_in_batches_of_different_brightness_give_one_half() -> None:
    cells = labelled(360, 3, brightness=(40.0, 200.0, 3000.0))
    rng = np.random.default_rng(4)
    truth = cells.truth.copy()
    for name in np.unique(cells.groups):
        at = np.flatnonzero(cells.groups == name)
        truth[at] = rng.permutation(truth[at])
    shuffled = type(cells)(cells.crops, cells.features, truth, cells.groups, cells.classes)
    logits, _ = held_out(shuffled, group_folds(cells.groups), SHORT)
    assert balanced_accuracy(truth, logits.argmax(axis=1)) == pytest.approx(0.5, abs=0.1)


def test_the_report_judges_shuffled_classes_at_chance_beside_the_real_ones() -> None:
    _, report = train(labelled(360, 3), Recipe(steps=40, batch=32), shuffle=True)
    assert report["balanced_accuracy"] > 0.85
    assert report["shuffled"]["balanced_accuracy"] == pytest.approx(0.5, abs=0.07)
    assert report["shuffled"]["chance"] == 0.5
    [line] = [line for line in report_lines(report) if line.startswith("classes shuffled")]
    assert f"{report['shuffled']['balanced_accuracy']:.3f} (mean of 3; chance is 0.50" in line


def test_brightness_of_a_batch_is_no_cue_for_the_class() -> None:
    # M1 bright and M2 dim in two groups; the other way round in the third, which is left out
    cells = labelled(150, 6)
    dim = labelled(150, 6, brightness=(20.0,))
    swap = (cells.truth == 1) ^ (cells.groups == "r2")
    crops = np.where(swap[:, None, None, None], dim.crops, cells.crops)
    mixed = type(cells)(crops, cells.features, cells.truth, cells.groups, cells.classes)
    logits, _ = held_out(mixed, group_folds(cells.groups), SHORT)
    left = cells.groups == "r2"
    assert balanced_accuracy(cells.truth[left], logits[left].argmax(axis=1)) > 0.9


def test_one_group_is_refused_unless_asked_for_and_then_marked() -> None:
    cells = labelled(60, 0, groups=1)
    with pytest.raises(InputError, match=r"all cells are of one replicate \(r0\).*--allow-single-group"):
        train(cells, SHORT)
    _, report = train(cells, Recipe(steps=5, batch=16), allow_single_group=True)
    assert report["independent"] is False
    assert "RANDOM SPLIT of a single group" in "\n".join(report_lines(report))


def test_a_class_that_is_a_group_and_one_with_few_cells_are_refused() -> None:
    cells = labelled(60, 0)
    names = np.array(["a", "b"], object)[cells.truth]
    confounded = type(cells)(cells.crops, cells.features, cells.truth, names, cells.classes, "donor")
    with pytest.raises(InputError, match="only in one donor"):
        check_cells(confounded)
    few = cells.where(np.flatnonzero((cells.truth == 0) | (np.arange(60) < 8)))
    with pytest.raises(InputError, match="M2 has 4 usable cells"):
        check_cells(few)


def test_a_large_gap_to_the_random_split_is_a_warning() -> None:
    # the class is in the nucleus channel, but the other way round in every second group
    cells = labelled(120, 0, groups=4)
    flip = np.isin(cells.groups, ["r1", "r3"])
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 120)
    crops = cells.crops.copy()
    crops[:, 0], crops[:, 1] = 0.0, 0.0
    crops[:, 0, :, :24] = (truth ^ flip)[:, None, None]
    crops[:, 0, :12] += flip[:, None, None]
    features = np.zeros_like(cells.features)
    two = np.where(flip, "odd", "even").astype(object)
    cells = type(cells)(crops, features, truth, two, cells.classes, "plate")
    _, report = train(cells, Recipe(steps=80, batch=32))
    assert report["balanced_accuracy_random_split"] - report["balanced_accuracy"] > 0.1
    assert any("the network knows the plate" in text for text in report["warnings"])


def test_the_same_seed_gives_the_same_model_and_fine_tuning_keeps_the_scale() -> None:
    cells, start = labelled(60, 0), untrained()
    recipe = Recipe(steps=3, batch=16, seed=4)
    a, b = fit(cells, recipe, start), fit(cells, recipe, start)
    assert np.array_equal(
        a.score(cells.crops, cells.features).logits, b.score(cells.crops, cells.features).logits
    )
    assert np.array_equal(a.mean, start.mean)
    other = fit(
        type(cells)(cells.crops, cells.features, cells.truth, cells.groups, ("x", "y")), recipe, start
    )
    assert other.classes == ("x", "y")
