from __future__ import annotations

import ast
import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plates
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_tam import report as _report
from napari_tam.cli import main as cli
from napari_tam.errors import InputError
from napari_tam.puncta.threshold import Threshold, by_user, from_populations
from napari_tam.report import cautions, figures, numbers
from napari_tam.report.build import Report, write_report
from napari_tam.report.figures import curves
from napari_tam.report.figures.puncta import contrast_distribution
from napari_tam.report.quality import CHECKS, score_fields
from napari_tam.report.reading import read_data
from napari_tam.report.style import MissingData, plain, spread
from napari_tam.results.tables import read_csv

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.report.data import ReportData

#: Every element that the page is made of.
ELEMENTS = set(
    "html head meta title style body header nav section h1 h2 h3 p div b span ul ol li a table thead tbody "
    "tr th td figure img figcaption main script".split()
)


class Page(HTMLParser):
    """A page's elements, addresses and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.policies: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policies.append(dict(attrs)["content"] or "")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


#: The figures of a report without markers.
PLANS = [plan for plan in figures.FIGURES if not plan.needs]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    import matplotlib

    before = dict(matplotlib.rcParams)
    folder = plates.write_plate(tmp_path_factory.mktemp("report") / "a plate <i>&")
    report = write_report(folder)
    assert dict(matplotlib.rcParams) == before
    return report


@pytest.fixture(scope="module")
def data(made: Report) -> ReportData:
    return read_data(made.path.parent)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return read_data(plates.write_plate(tmp_path_factory.mktemp("bare") / "run", layout=False))


def test_the_page_needs_nothing_else_and_runs_its_own_script_alone(made: Report) -> None:
    page = Page(made.path.read_text(encoding="utf-8"))
    assert page.elements <= ELEMENTS
    assert page.addresses
    for address in page.addresses:
        assert address.startswith(("#", "data:image/svg+xml;base64,", "data:image/png;base64,"))
    [policy] = page.policies
    assert "default-src 'none'" in policy
    assert not re.search(r"script-src [^;]*(unsafe|http|\*)", policy)
    assert "@media print" in made.path.read_text(encoding="utf-8")


def test_names_of_users_are_shown_as_they_are(made: Report) -> None:
    page = Page(made.path.read_text(encoding="utf-8"))
    for name in (
        "a plate <i>&",
        plates.NASTY_CONDITION,
        "=cmd|' /C calc'!A0",
        "<i>at all</i>",
        "<u>cell</u>",
    ):
        assert name in page.text, name


def test_every_figure_is_there_as_png_svg_and_data(made: Report) -> None:
    from PIL import Image

    folder = made.path.parent / "figures"
    assert set(made.figures) == {plan.name for plan in PLANS} - {"uptake_curve"}
    assert dict(made.left_out) == {"Uptake over time": "there is one point in time only"}
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in made.figures for kind in ("png", "svg", "csv")
    }
    for name in made.figures:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size[0] > 1000
        root = ElementTree.parse(folder / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
        assert len(read_csv(folder / f"{name}.csv")) > 0


def test_the_pictures_of_the_page_are_those_of_the_folder(made: Report) -> None:
    found = {
        base64.b64decode(address.partition(",")[2])
        for address in Page(made.path.read_text(encoding="utf-8")).addresses
        if address.startswith("data:")
    }
    folder = made.path.parent / "figures"
    files = {path.read_bytes() for path in folder.iterdir() if path.suffix in (".png", ".svg")}
    assert len(found) == len(made.figures)
    assert found <= files


def test_no_spreadsheet_runs_the_data_of_a_figure(made: Report) -> None:
    for path in (made.path.parent / "figures").glob("*.csv"):
        for line in path.read_text(encoding="utf-8").splitlines():
            for value in re.split(r',(?=")|,', line):
                text = value.strip('"')
                assert not (text[:1] in "=@+" and text), (path.name, line)


def test_a_superplot_holds_every_cell_once_and_the_table_its_replicates(
    made: Report, data: ReportData
) -> None:
    table = read_csv(made.path.parent / "figures" / "superplot_puncta.csv")
    assert len(table) == len(data.cells) == len(table.drop_duplicates(["image", "label"]))
    np.testing.assert_array_equal(table["puncta_count"], data.cells["puncta_count"])
    _, rows = numbers.condition_table(data)
    assert [row[0] for row in rows][:2] == ["medium (dye only)", "LPS, dose 1"]
    assert all(row[1] == "3" for row in rows)
    cells = data.cells[(data.cells["condition"] == "LPS") & (data.cells["dose"] == 10)]
    means = cells.groupby("replicate")["puncta_count"].mean()
    assert rows[2][3] == numbers.mean_sd(means) == f"{means.mean():.1f} ± {means.std():.1f}"


def test_the_control_figure_holds_all_control_cells_and_all_others(made: Report, data: ReportData) -> None:
    table = read_csv(made.path.parent / "figures" / "control_distribution.csv")
    sums = table.groupby("cells")[["number", "percent"]].sum()
    assert sums.loc["control", "number"] == len(data.control)
    assert sums.loc["other cells", "number"] == len(data.treated)
    np.testing.assert_allclose(sums["percent"], 100)


def test_the_plate_map_leaves_out_what_is_no_well_and_says_so(made: Report) -> None:
    table = read_csv(made.path.parent / "figures" / "plate_map.csv")
    assert len(table) == 20
    assert "no place on a plate: 1 of the wells" in made.path.read_text(encoding="utf-8")


def test_the_gallery_says_which_files_are_gone(made: Report) -> None:
    page = Page(made.path.read_text(encoding="utf-8"))
    assert re.search(r"\d+ images could not be opened \(the image .* is not there any more", page.text)
    assert len(read_csv(made.path.parent / "figures" / "gallery.csv")) == 3


def test_the_cautions_say_what_is_wrong(data: ReportData, bare: ReportData) -> None:
    said = " ".join(cautions.cautions(data))
    for part in (
        "1 image could not",
        "trained on cells of no known polarisation",
        "saturated in 1 field",
        "51 control cells",
    ):
        assert part in said
    assert "Fewer than 3 replicates" not in said
    one = replace(data, cells=data.cells[data.cells["replicate"] == "1"])
    assert "Fewer than 3 replicates: medium (dye only); LPS, dose 1; LPS" in " ".join(cautions.cautions(one))
    own = replace(data, settings=data.settings.updated(phenotype_model="./mine"))
    assert "simulated" not in " ".join(cautions.cautions(own))
    assert "There is no plate layout" in " ".join(cautions.cautions(bare))
    undecided = replace(data, cells=data.cells.drop(columns="positive"))
    assert "No cell is called positive" in " ".join(cautions.cautions(undecided))


def test_many_uncertain_cells_are_worth_a_word(data: ReportData) -> None:
    cells = data.cells.assign(phenotype="uncertain")
    assert any(
        text.startswith("100 % of the cells") for text in cautions.cautions(replace(data, cells=cells))
    )


def with_threshold(data: ReportData, threshold: Threshold) -> ReportData:
    """Return results of a run that learnt a threshold."""
    settings = data.settings.updated(puncta_threshold=threshold.value)
    return replace(data, run={**data.run, "puncta_threshold": threshold.as_dict()}, settings=settings)


def test_the_figure_of_the_contrasts_shows_what_the_threshold_was_learnt_from(data: ReportData) -> None:
    rng = np.random.default_rng(0)
    values = np.exp2(np.concatenate([rng.normal(2.2, 0.2, 200), rng.normal(4, 0.5, 300)]))
    threshold = from_populations(values, ("a", "b"))
    drawn = contrast_distribution(with_threshold(data, threshold))
    assert drawn.table["number"].sum() == 500
    assert drawn.table["threshold"].unique().tolist() == [threshold.value]
    assert "2 images" in drawn.caption
    assert threshold.reason in drawn.caption
    # set by a user: those that are in the table
    puncta = data.puncta.assign(contrast=[300.0] + [4.0] * (len(data.puncta) - 1))
    by_hand = replace(with_threshold(data, by_user(3.5)), puncta=puncta)
    table = contrast_distribution(by_hand).table
    assert table["number"].sum() == len(data.puncta)
    assert table["number"].iloc[-1] == 1
    with pytest.raises(MissingData, match="earlier version"):
        contrast_distribution(replace(data, puncta=puncta.drop(columns="contrast"), run={}))


@pytest.mark.parametrize(("share", "said"), [(0.02, 0), (0.3, 1)])
def test_many_puncta_that_may_be_false_are_worth_a_word(data: ReportData, share: float, said: int) -> None:
    images = data.images.assign(puncta=100, puncta_false_share=share)
    found = [text for text in cautions.cautions(replace(data, images=images)) if "may be false" in text]
    assert len(found) == said
    assert all("30 %" in text for text in found)
    # one image of many
    images.loc[images.index[images["status"] == "ok"][0], "puncta_false_share"] = 0.2
    found = [text for text in cautions.cautions(replace(data, images=images)) if "may be false" in text]
    assert len(found) == 1


def test_without_a_layout_figures_are_left_out_with_the_reason(bare: ReportData) -> None:
    reasons = {}
    for plan in PLANS:
        try:
            plan.draw(bare)
        except MissingData as why:
            reasons[plan.name] = str(why)
    assert set(reasons) == {
        "positive_fraction", "control_distribution", "dose_curve", "uptake_curve", "comparisons"
    }  # fmt: skip
    assert "no control" in reasons["positive_fraction"]
    assert bare.unit == ""
    assert numbers.condition_table(bare) == ([], [])


def test_an_empty_run_still_has_a_report(bare: ReportData, tmp_path: Path) -> None:
    for name in ("settings.yaml", "run.json"):
        (tmp_path / name).write_bytes((bare.folder / name).read_bytes())
    for name in ("cells", "puncta"):
        head = (bare.folder / f"{name}.csv").read_text(encoding="utf-8").partition("\n")[0]
        (tmp_path / f"{name}.csv").write_text(head + "\n", encoding="utf-8")
    (tmp_path / "images.csv").write_text("image,source,status,error\nx,x.tif,failed,broken\n")
    report = write_report(tmp_path)
    assert report.figures == ()
    page = Page(report.path.read_text(encoding="utf-8"))
    assert "No cells were found." in page.text
    assert len(report.left_out) == len(PLANS)


def test_settings_that_cannot_be_read_are_said_not_guessed(bare: ReportData, tmp_path: Path) -> None:
    for path in bare.folder.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "settings.yaml").write_text("no_such_setting: 1\n")
    problems = read_data(tmp_path).problems
    assert len(problems) == 2
    assert "no_such_setting" in problems[0]
    assert "run.json" in problems[1]


def test_a_folder_without_results_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a results folder"):
        write_report(tmp_path)


def test_a_figure_that_is_left_out_this_time_is_removed(
    bare: ReportData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = next(plan for plan in figures.FIGURES if plan.name == "dose_curve")
    monkeypatch.setattr(figures, "FIGURES", (plan,))
    (bare.folder / "figures").mkdir(exist_ok=True)
    for name in ("dose_curve.png", "mine.png"):
        (bare.folder / "figures" / name).write_bytes(b"old")
    assert cli.main(["report", str(bare.folder)]) == 0
    assert [path.name for path in (bare.folder / "figures").iterdir()] == ["mine.png"]
    said = capsys.readouterr().out
    assert "left out Uptake by dose: the layout states no dose" in said
    assert str(bare.folder / "report.html") in said


def test_the_unit_is_the_largest_that_the_layout_tells_apart(data: ReportData) -> None:
    alone = replace(data, comparisons=None)
    assert alone.unit == "replicate"
    donors = replace(alone, cells=data.cells.assign(donor=["D1", "D2"] * (len(data.cells) // 2) + ["D1"]))
    assert donors.unit == "donor"
    assert set(donors.unit_means("puncta_count")["unit"]) == {"D1", "D2"}
    wells = replace(alone, cells=data.cells.assign(replicate=""))
    assert wells.unit == "well"
    plates_ = data.cells["replicate"].map({"1": "P1", "2": "P2", "3": "P2"})
    assert "P2/3" in set(
        replace(alone, cells=data.cells.assign(plate=plates_)).unit_means("puncta_count")["unit"]
    )


def test_a_replicate_counts_once_however_many_cells_it_has(data: ReportData) -> None:
    cells = pd.DataFrame(
        {
            "image": "a",
            "condition": "x",
            "donor": "D",
            "replicate": ["1"] * 9 + ["2"],
            "puncta_count": [0] * 9 + [10],
        }
    )
    found = replace(
        data, cells=cells.assign(donor=["D"] * 9 + ["D"]), comparisons=pd.DataFrame({"unit": ["donor"]})
    )
    [value] = found.unit_means("puncta_count")["value"]
    assert value == 5.0  # the mean of the replicates' means, 0 and 10; the mean of the cells is 1


def test_uptake_over_time_shows_the_means_and_the_half_time(data: ReportData) -> None:
    time = data.cells["dose"].map({1.0: 1.0, 10.0: 2.0, 100.0: 4.0})
    kinetics = pd.DataFrame(
        {"condition": ["LPS"], "track": [np.nan], "readout": ["puncta_count"], "half_time_h": [1.5]}
    ).assign(half_time_low=1.2, half_time_high=2.0, rate_per_h=0.46, plateau=20.0, n=3, note="")
    timed = replace(data, cells=data.cells.assign(time=time, dose=np.nan), kinetics=kinetics)
    drawn = curves.uptake_curve(timed)
    assert set(drawn.table["time"]) == {1.0, 2.0, 4.0}
    assert len(drawn.table) == 2 * 3 * 3  # conditions, times, replicates; of one readout
    assert "1.5 h" in [text.get_text() for text in drawn.figure.axes[0].texts]
    assert numbers.kinetics_table(timed)[1][0][4] == "1.5 (1.2 to 2)"


def test_quality_is_the_number_of_failed_checks(data: ReportData) -> None:
    table = score_fields(data).set_index("image")
    saturated = table.loc[plates.bad_image()]
    assert saturated["failed_checks"] == 2
    assert "saturated (2 % of the exosome pixels)" in saturated["reasons"]
    assert "out of focus" in saturated["reasons"]
    assert table["failed_checks"].is_monotonic_decreasing
    assert len(table) == len(data.analysed)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_fails_beyond_its_limit_only(check: Any) -> None:
    sign = -1 if check.below else 1
    values = np.array([check.limit * (1 + 0.1 * sign), check.limit * (1 - 0.1 * sign), np.nan])
    assert check.failed(values).tolist() == [True, False, False]
    assert check.excess(values)[0] > 1 > check.excess(values)[1]


@given(st.text())
def test_no_name_is_a_formula_or_breaks_a_line(text: str) -> None:
    from matplotlib import cbook

    line = plain(text)
    assert not cbook.is_math_text(line)  # type: ignore[attr-defined]
    assert line.isprintable()
    assert len(line.replace(r"\$", "$")) <= 32


@given(st.lists(st.floats(0, 1e6), max_size=40))
@example([0.0, 0.0, 2.2e-309])
def test_cells_spread_to_both_sides_and_always_alike(values: list[float]) -> None:
    array = np.array(values)
    places = spread(array, 0.3)
    assert len(places) == len(values)
    assert (np.abs(places) <= 0.3).all()
    np.testing.assert_array_equal(places, spread(array, 0.3))


def test_no_part_of_the_report_uses_pyplot() -> None:
    for path in Path(_report.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = (
                [alias.name for alias in getattr(node, "names", [])]
                if isinstance(node, ast.Import | ast.ImportFrom)
                else []
            )
            assert not [name for name in named if "pyplot" in name or "seaborn" in name], path.name


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t: t.assign(threshold=np.nan, note="the control has no cells"), "the control has no cells"),
        (lambda t: t.head(0), "no threshold was learnt"),
    ],
)
def test_a_control_without_threshold_is_said(
    data: ReportData, spoil: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    assert data.thresholds is not None
    with pytest.raises(MissingData, match=sentence):
        figures.control_distribution(replace(data, thresholds=spoil(data.thresholds)))
