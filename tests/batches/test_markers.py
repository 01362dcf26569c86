"""Markers from images to tables: gates, types, and what uptake is about; repeated, it gives the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
import tifffile

from napari_tam.batches.conclude import OF_COMMUNICATION, OF_MARKERS
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import uptake as cli_uptake
from napari_tam.cli.main import main
from napari_tam.columns import (
    DECISION_COLUMNS,
    build_table,
    gated_columns,
    marker_columns,
    phenotype_columns,
)
from napari_tam.report.cautions import cautions
from napari_tam.report.reading import read_data
from napari_tam.results import tables

if TYPE_CHECKING:
    from pathlib import Path

#: Light of EpCAM and CD206 in the three cells of an image; the last is a tumour cell without puncta.
EPCAM, CD206 = (0, 0, 300), (200, 0, 0)
STAINS = ["CD11b", "DAPI", "exosome", "EpCAM", "CD206"]
LAYOUT = "image,condition,replicate,control_role\n" + "".join(
    f"{name},{condition},{replicate},{role}\n"
    for name, condition, replicate, role in (
        ("a", "LPS", "1", ""),
        ("b", "LPS", "2", ""),
        ("c", "IL-4", "1", ""),
        ("d", "IL-4", "2", ""),
        ("dye", "medium", "1", "dye_only"),
        ("dark", "", "1", "unstained"),
    )
)
CHANNELS = ["--channels", "cell=CD11b,nucleus=DAPI,exosome=exosome,marker=EpCAM+CD206"]
RULES = ["--types", "macrophage=EpCAM-,tumour=EpCAM+", "--marker-phenotypes", "M1=CD206-,M2=CD206+"]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_analyse, "load_models", lambda settings: fakes.models())
    for module in (cli_analyse, cli_uptake):
        monkeypatch.setattr(module, "print_report", lambda _folder: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("markers")
    cells = fakes.discs(fakes.RADIUS)
    rng = np.random.default_rng(2)
    for name in ("a", "b", "c", "d", "dye", "dark"):
        spots = () if name == "dye" else fakes.SPOTS
        planes = list(fakes.image(spots))
        for light in (EPCAM, CD206):
            # what an unstained cell shines with by itself is more than noise
            own = np.array([0, *((10, 10, 10) if name == "dark" else light)])[cells]
            planes.append((own + rng.integers(20, 24, cells.shape)).astype(np.uint16))
        metadata = {"axes": "CYX", "Channel": {"Name": STAINS}, "PhysicalSizeX": fakes.PIXEL_UM}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeY": fakes.PIXEL_UM, "PhysicalSizeYUnit": "µm"}
        tifffile.imwrite(folder / f"{name}.ome.tif", np.stack(planes), ome=True, metadata=metadata)
    (folder / "layout.csv").write_text(LAYOUT)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in (*arguments, "--comparison-min-cells", 1)])


def contents(folder: Path) -> dict[str, bytes]:
    names = ["cells", "puncta", "thresholds", "replicates", "comparisons", *OF_MARKERS, *OF_COMMUNICATION]
    return {
        name: (folder / f"{name}.csv").read_bytes() for name in names if (folder / f"{name}.csv").exists()
    }


def test_types_follow_from_images_and_uptake_is_that_of_macrophages(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("analyse", images, "--out", out, "--layout", images / "layout.csv", *CHANNELS, *RULES) == 0
    text = capsys.readouterr().out
    assert "marker   EpCAM above" in text and "(quantile 0.99 of unstained, 3 cells): 33.3%" in text
    assert "types    10 macrophage, 5 tumour, 0 ambiguous, 0 none" in text
    cells = tables.read_csv(out / "cells.csv")
    stained = cells["control_role"] != "unstained"
    measured = [column.name for column in marker_columns(["EpCAM", "CD206"])]
    assert set(measured) <= set(cells.columns)
    light = cells.loc[stained].groupby("label")["marker_EpCAM_mean"].mean()
    assert light.to_numpy() == pytest.approx(sorted(EPCAM), abs=3)
    added = [column.name for column in (*DECISION_COLUMNS, *gated_columns(["EpCAM", "CD206"]))]
    added += ["cell_type", "marker_phenotype", "polarisation", "donor_distance_um", "donor_neighbours"]
    assert list(cells.columns[-len(added) :]) == added
    # the tumour cell lies below the two macrophages; the markers' control has no types
    near = cells["donor_distance_um"]
    assert (near.isna() == (~stained | (cells["label"] == 3))).all()
    apart = [np.hypot(fakes.CELLS[k][0] - 70, fakes.CELLS[k][1] - 60) - 2 * fakes.RADIUS for k in (0, 1)]
    found = cells[stained].groupby("label")["donor_distance_um"].first().dropna()
    assert found.to_numpy() == pytest.approx(fakes.PIXEL_UM * np.array(apart), abs=fakes.PIXEL_UM)
    tumour = stained & (cells["marker_EpCAM_mean"] > 100)
    assert (cells.loc[tumour, "cell_type"] == "tumour").all()
    assert (cells.loc[stained & ~tumour, "cell_type"] == "macrophage").all()
    assert (cells.loc[~stained, "cell_type"] == "").all()
    # neither tumour cells nor the markers' control are called positive or negative
    assert cells.loc[tumour | ~stained, "positive"].isna().all()
    assert cells.loc[stained & ~tumour, "positive"].notna().all()
    replicates = tables.read_csv(out / "replicates.csv")
    everyone = replicates[replicates["phenotype"].isna() | (replicates["phenotype"] == "")]
    assert set(everyone["control_role"].fillna("")) == {"", "dye_only"}
    assert (everyone["cells"] == 2).all()
    assert tables.read_csv(out / "thresholds.csv")["control_cells"].item() == 2
    pictures = tables.read_csv(out / "images.csv").set_index("image")
    assert (pictures.drop("dark")["cells_of_type_tumour"] == 1).all()
    assert pictures.loc["a", "cells"] == 3


def test_other_rules_give_what_a_fresh_run_would_and_none_leave_no_trace(
    images: Path, tmp_path: Path
) -> None:
    layout = ["--layout", images / "layout.csv"]
    first, second, plain = (tmp_path / name for name in "abc")
    run("analyse", images, "--out", first, *layout, *CHANNELS, *RULES)
    run("analyse", images, "--out", plain, *layout, *CHANNELS)
    run("uptake", plain, *RULES)
    assert contents(first) == contents(plain)
    other = ["--types", "macrophage=CD206+", "--gate-rule", "mean_sd"]
    run("analyse", images, "--out", second, *layout, *CHANNELS, *other, "--marker-phenotypes", "")
    run("uptake", first, *other, "--marker-phenotypes", "")
    assert contents(first) == contents(second)
    assert set(contents(first)) & set(OF_MARKERS) == {"gates", "cell_types"}
    assert set(OF_COMMUNICATION) <= set(contents(first))


def test_results_without_markers_are_as_before(images: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text(LAYOUT.replace("unstained", ""))
    bare, marked = tmp_path / "bare", tmp_path / "marked"
    run("analyse", images, "--out", bare, "--layout", layout, *(CHANNELS[0], CHANNELS[1].split(",marker")[0]))
    run("analyse", images, "--out", marked, "--layout", layout, *CHANNELS)
    assert not {*OF_MARKERS, *OF_COMMUNICATION} & set(contents(bare))
    for name in ("puncta", "thresholds", "replicates", "comparisons"):
        assert contents(bare)[name] == contents(marked)[name]
    table = tables.read_csv(marked / "cells.csv")
    assert not [name for name in tables.read_csv(bare / "cells.csv") if "marker" in name or "EpCAM" in name]
    assert list(tables.read_csv(bare / "cells.csv")) == [
        name for name in table if not name.startswith("marker_") and name[-9:] != "_positive"
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--types", "macrophage=CD200+"],
            "macrophage (CD200+) names the marker CD200, which is not measured (did you mean 'CD206'?)",
        ),
        (["--marker-phenotypes", "M1=CD206-,M2=Cd200+"], "names the marker Cd200, which is not measured"),
        (["--types", "macrophage=CD206"], "is no marker with + or - behind it"),
        (["--types", "macrophage"], "is no TYPE=RULE"),
        (["--types", "tumour=EpCAM+"], "no rule in types says what a macrophage is"),
        (["--gates", "CD68=3"], "the setting gates names the marker CD68, which is not measured"),
        (["--gates", "CD68=x"], "gates.CD68"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    images: Path, tmp_path: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("analyse", images / "a.ome.tif", "--out", out, *CHANNELS, *options) != 0
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    # before the first image
    assert not (out / "images.csv").exists()


def test_a_marker_that_only_the_layout_names_is_told_before_anything_is_analysed(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text(LAYOUT.replace("unstained", "fmo:CD200"))
    out = tmp_path / "out"
    assert run("analyse", images, "--out", out, "--layout", layout, *CHANNELS) != 0
    assert "control_role fmo:CD200 names the marker CD200, which is not measured" in capsys.readouterr().err
    assert not (out / "images.csv").exists()


def test_a_rule_that_no_cell_meets_is_in_the_summary_and_the_report(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = ["--types", "macrophage=EpCAM-,dendritic=EpCAM+ CD206+"]
    layout = ["--layout", images / "layout.csv"]
    assert run("analyse", images, "--out", tmp_path / "out", *layout, *CHANNELS, *rules) == 0
    assert "no cell is called dendritic: no cell fits its rule (EpCAM+ CD206+)" in capsys.readouterr().out
    found = cautions(read_data(tmp_path / "out"))
    assert any(each.startswith("No cell is called dendritic: none meets its rule") for each in found)
    assert not any("macrophage" in each for each in found)


class _ByLabel:
    """Calls odd cells M1 and even ones M2."""

    classes = ("M1", "M2")

    def classify(self, field: Any, cells: Any, nuclei: Any, table: Any, settings: Any) -> Any:
        odd = table["label"].to_numpy() % 2 == 1
        values = {"p_m1": odd * 0.8 + 0.1, "p_m2": 0.9 - odd * 0.8, "phenotype_reason": ""}
        values["phenotype"] = np.where(odd, "M1", "M2")
        return build_table(phenotype_columns(), values, len(table))


def test_phenotypes_of_images_are_those_of_the_types_asked_for(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_phenotypes = replace(fakes.models(), phenotype=_ByLabel())
    monkeypatch.setattr(cli_analyse, "load_models", lambda settings: with_phenotypes)
    out, layout = tmp_path / "out", ["--layout", images / "layout.csv"]
    run("analyse", images, "--out", out, *layout, *CHANNELS)
    plain = (out / "images.csv").read_bytes()
    counted = tables.read_csv(out / "images.csv").set_index("image")
    assert counted.loc["a", ["cells_m1", "cells_m2"]].tolist() == [2, 1]
    run("uptake", out, *RULES)
    cells = tables.read_csv(out / "cells.csv")
    table = tables.read_csv(out / "images.csv").set_index("image")
    for name, part in cells[cells["cell_type"] == "macrophage"].groupby("image"):
        for phenotype in ("M1", "M2"):
            assert table.loc[name, f"cells_{phenotype.lower()}"] == (part["phenotype"] == phenotype).sum()
        assert table.loc[name, "p_m1_mean"] == pytest.approx(part["p_m1"].mean())
    assert table.loc["a", ["cells_m1", "cells_m2"]].sum() == 2
    # what a cell's shape says stays on record
    assert (cells["phenotype"] != "").all()
    run("uptake", out, "--types", "", "--marker-phenotypes", "")
    assert (out / "images.csv").read_bytes() == plain
