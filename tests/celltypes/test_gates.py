"""Gates of cells whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from marked_cells import cells_of, images_of, light

from napari_tam.celltypes.gates import find_gates
from napari_tam.celltypes.marked import mark
from napari_tam.columns import GATE_COLUMNS
from napari_tam.errors import InputError
from napari_tam.settings import Settings


def plate(
    roles: tuple[str, ...],
    name: str = "",
    gain: float = 1.0,
    share: float = 0.3,
    cells: int = 600,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.Series]:
    """A plate with control wells in which nothing is positive, and treated wells; and the truth of CD86."""
    rng = np.random.default_rng(seed)
    parts, truth = [], []
    for number, role in enumerate((*roles, "", "")):
        positive = rng.random(cells) < (0 if role else share)
        other = rng.random(cells) < 0.5
        parts.append(
            cells_of(
                f"{name}{number}",
                {"CD86": light(rng, positive, gain), "HLA_DR": light(rng, other, gain)},
                role,
                name,
            )
        )
        truth.append(positive)
    return pd.concat(parts, ignore_index=True), pd.Series(np.concatenate(truth))


def row_of(table: pd.DataFrame, marker: str = "CD86", plate: str = "") -> pd.Series:
    return table[(table["marker"] == marker) & (table["plate"] == plate)].iloc[0]


@pytest.mark.parametrize("rule", ["quantile", "mean_sd"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_the_positive_share_is_the_true_one_within_3_points(rule: str, share: float) -> None:
    cells, truth = plate(("unstained",), share=share)
    flags, table = find_gates(cells, images_of(cells), Settings(gate_rule=rule))  # type: ignore[arg-type]
    treated = (cells["control_role"] == "").to_numpy()
    row = row_of(table)
    assert abs(row["positive_fraction"] - truth[treated].mean()) < 0.03
    assert row["positive_fraction"] == pytest.approx(flags.loc[treated, "CD86_positive"].mean())
    assert (row["control_role"], row["control_images"], row["control_cells"]) == ("unstained", 1, 600)
    assert (row["suggested"], row["cells"], row["note"]) == (False, 1200, "")
    assert list(table) == [column.name for column in GATE_COLUMNS]


def test_every_plate_has_a_gate_of_its_own() -> None:
    one, truth_one = plate(("unstained",), "P1")
    two, truth_two = plate(("unstained",), "P2", gain=8.0)
    cells = pd.concat([one, two], ignore_index=True)
    flags, table = find_gates(cells, images_of(cells), Settings())
    assert row_of(table, plate="P2")["gate"] > 5 * row_of(table, plate="P1")["gate"]
    truth = pd.concat([truth_one, truth_two], ignore_index=True)
    assert (flags["CD86_positive"] == truth).mean() > 0.97


def test_the_control_that_says_most_is_taken() -> None:
    roles = ("unstained", "isotype", "fmo", "fmo:HLA-DR", "fmo:cd86")
    for drop, used in ((0, "fmo:cd86"), (1, "fmo"), (3, "isotype"), (4, "unstained")):
        keep = [role for role in roles if role not in ("fmo:cd86", "fmo", "fmo", "isotype")[:drop]]
        keep = [role for role in roles if role in keep]
        cells, _ = plate(tuple(keep))
        _, table = find_gates(cells, images_of(cells), Settings())
        assert row_of(table)["control_role"] == used
        # the control of another marker is none of this one's
        assert row_of(table, "HLA_DR")["control_role"] == "fmo:HLA-DR"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_without_a_control_the_valley_is_suggested_and_marked(share: float) -> None:
    cells, truth = plate((), share=share)
    flags, table = find_gates(cells, images_of(cells), Settings())
    row = row_of(table)
    assert row["suggested"] and row["rule"].startswith("suggested") and "suggestion" in row["note"]
    assert abs(row["positive_fraction"] - truth.mean()) < 0.03
    flags, table = find_gates(cells, images_of(cells), Settings(gate_suggestion=False))
    assert np.isnan(row_of(table)["gate"]) and flags.isna().all(axis=None)


@pytest.mark.parametrize("seed", range(5))
def test_one_population_gets_no_suggestion(seed: int) -> None:
    cells, _ = plate((), share=0.0, seed=seed)
    flags, table = find_gates(cells, images_of(cells), Settings())
    row = row_of(table)
    assert np.isnan(row["gate"]) and not row["suggested"] and "one population" in row["note"]
    assert flags["CD86_positive"].isna().all()


def test_few_cells_and_dark_cells_get_no_suggestion() -> None:
    few, _ = plate((), cells=20)
    _, table = find_gates(few, images_of(few), Settings())
    assert "too few" in row_of(table)["note"]
    dark = few.assign(marker_CD86_median=-1.0)
    dark = pd.concat([dark] * 5, ignore_index=True)
    _, table = find_gates(dark, images_of(dark), Settings())
    assert "no light" in row_of(table)["note"]


def test_a_gate_of_ones_own_takes_precedence() -> None:
    cells, _ = plate(("unstained",))
    flags, table = find_gates(cells, images_of(cells), Settings(gates={"hla-dr": 123.0}))
    row = row_of(table, "HLA_DR")
    assert (row["gate"], row["rule"]) == (123, "given")
    assert (flags["HLA_DR_positive"] == (cells["marker_HLA_DR_median"] > 123)).all()
    assert row_of(table)["rule"] == "quantile 0.99 of unstained"


def test_a_control_without_cells_is_told() -> None:
    cells, _ = plate(())
    images = pd.concat(
        [images_of(cells), pd.DataFrame({"image": ["empty"], "plate": [""], "control_role": ["unstained"]})]
    )
    flags, table = find_gates(cells, images, Settings())
    assert row_of(table)["note"] == "no cell is called positive: the unstained control has no cells"
    assert flags.isna().all(axis=None)


def test_the_part_of_the_cell_can_be_chosen() -> None:
    cells, _ = plate(("unstained",))
    cells["marker_CD86_mean"] = cells["marker_CD86_median"] * 10
    _, table = find_gates(cells, images_of(cells), Settings(marker_readout="mean"))
    _, median = find_gates(cells, images_of(cells), Settings())
    assert row_of(table)["readout"] == "marker_CD86_mean"
    assert row_of(table)["gate"] == pytest.approx(10 * row_of(median)["gate"])


@pytest.mark.parametrize("where", ["settings", "layout"])
def test_a_marker_that_was_not_measured_is_told(where: str) -> None:
    cells, _ = plate(("fmo:CD87",) if where == "layout" else ("fmo",))
    settings = Settings(gates={"CD87": 1.0}) if where == "settings" else Settings()
    with pytest.raises(InputError) as caught:
        mark(cells, images_of(cells), settings)
    who = "the layout's control_role fmo:CD87" if where == "layout" else "the setting gates"
    assert str(caught.value).startswith(
        f"{who} names the marker CD87, which is not measured (did you mean 'CD86'?); "
        "measured are CD86, HLA_DR"
    )
