"""The report in a browser without a window: what answers to pointer and keys, and who can read it.

Needs Chromium and its driver (Debian: chromium, chromium-driver; ``tools/browser.sh``).
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plates
import pytest
from PIL import Image

from napari_tam.report.build import write_report
from napari_tam.report.reading import read_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
Keys: Any = pytest.importorskip("selenium.webdriver.common.keys").Keys

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver is installed (tools/browser.sh)"
)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()

#: What a person sees of an element: nothing, or its text, without blank lines.
SEEN = """
const element = document.querySelector(arguments[0]);
return element && element.checkVisibility() ? element.innerText.replace(/\\n+/g, "\\n") : null;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plates.write_plate(tmp_path_factory.mktemp("browser") / "a plate <i>&")
    plates.paint_overlays(folder)
    return write_report(folder).path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def report(browser: Any, page: Path) -> Iterator[Any]:
    """Open the report anew; afterwards nothing was complained about, and nothing asked for elsewhere."""
    look(browser)
    browser.get_log("performance")
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    own = page.parent.as_uri() + "/"
    assert [url for url in asked if not url.startswith((own, "data:"))] == []


def look(
    browser: Any, *, width: int = 1100, scheme: str = "light", media: str = "", script: bool = True
) -> None:
    """Set the window's width, light or dark, screen or print, with scripts or without."""
    browser.set_window_size(width, 1000)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})


def found(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def plot(browser: Any, name: str) -> Any:
    element = found(browser, f"#figure-{name} .plot")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def told(browser: Any) -> Any:
    return json.loads(found(browser, "#told").get_attribute("textContent"))


def point(browser: Any, element: Any, place: list[Any], *, click: bool = False) -> None:
    """Move the pointer to a place of a figure."""
    size = element.size
    x, y = (place[k] / 10_000 * size[side] - size[side] / 2 for k, side in enumerate(("width", "height")))
    actions = webdriver.ActionChains(browser, duration=0).move_to_element_with_offset(
        element, round(x), round(y)
    )
    (actions.click() if click else actions).perform()


def press(browser: Any, *keys: str) -> None:
    for key in keys:
        webdriver.ActionChains(browser).send_keys(key).perform()


def tab_to(browser: Any, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(200):
        press(browser, Keys.TAB)
        if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def seen(browser: Any, selector: str) -> str | None:
    text: str | None = browser.execute_script(SEEN, selector)
    return text


def lone_places(figure: Any, least: int) -> list[list[Any]]:
    """Return places that no other is near to."""
    places = [place for _, column in figure["columns"] for place in column]
    at = np.array([place[:2] for place in places], float) * (1, 0.4)  # in about equal units
    near = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 1e6 * np.eye(len(at))
    return [place for place, gap in zip(places, near.min(axis=1), strict=True) if gap > least]


@pytest.mark.parametrize("name", ["superplot_puncta", "elongation"])
def test_pointing_at_a_dot_shows_its_cell(report: Any, page: Path, name: str) -> None:
    cells = pd.read_csv(page.parent / "figures" / f"{name}.csv")
    element = plot(report, name)
    places = lone_places(told(report)["figures"][name], 100)
    nasty = next(p for p in places if told(report)["cells"][p[2]][0] == plates.NASTY_IMAGE)
    for place in [*places[:: len(places) // 6], nasty]:
        image, label, *_ = told(report)["cells"][place[2]]
        point(report, element, place)
        text = seen(report, ".tip")
        assert text is not None
        assert text.startswith(f"{image}, cell {label}\n")
        row = cells[(cells["image"] == image) & (cells["label"] == label)].iloc[0]
        assert f"Puncta per cell: {row['puncta_count']:g}\n" in text
        if "group" in row:
            assert f"\n{row['group']}\nreplicate {row['unit']}" in text
        shown = report.find_elements("css selector", ".tip img")
        assert bool(shown) == (image != plates.NASTY_IMAGE)  # which has no overlay
        if shown:
            assert shown[0].get_property("naturalWidth") == 64
    point(report, element, [1, 1])
    assert seen(report, ".tip") is None


def test_the_picture_beside_a_dot_is_of_that_cell(report: Any, page: Path) -> None:
    cells = read_data(page.parent).cells
    element = plot(report, "superplot_puncta")
    checked = 0
    for place in lone_places(told(report)["figures"]["superplot_puncta"], 100):
        image, label, *_ = told(report)["cells"][place[2]]
        here = cells[cells["image"] == image]
        own = here[here["label"] == label].iloc[0]
        apart = np.maximum(*(abs(here[f"centroid_{k}_px"] - own[f"centroid_{k}_px"]) for k in ("y", "x")))
        if (apart < 25).sum() > 1 or image in (plates.NASTY_IMAGE, "plate1_B02") or checked == 5:
            continue
        checked += 1
        point(report, element, place)
        address = found(report, ".tip img").get_attribute("src")
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))), int)
        np.testing.assert_allclose(picture[30:34, 30:34].mean(axis=(0, 1)), plates.colour_of(label), atol=40)
    assert checked == 5


def test_arrow_keys_reach_every_dot_and_escape_lets_go(report: Any) -> None:
    figure = told(report)["figures"]["superplot_puncta"]
    column = figure["columns"][0][1]
    tab_to(report, "#figure-superplot_puncta .plot")
    press(report, Keys.HOME)
    for place in column:
        image, label, *_ = told(report)["cells"][place[2]]
        assert str(seen(report, ".tip")).startswith(f"{image}, cell {label}\n")
        press(report, Keys.ARROW_DOWN)
    press(report, Keys.ARROW_RIGHT)
    assert "LPS, dose 1\n" in str(seen(report, ".tip"))
    press(report, Keys.END, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)  # there is nothing beyond
    last = told(report)["cells"][figure["columns"][-1][1][-1][2]]
    assert str(seen(report, ".tip")).startswith(f"{last[0]}, cell {last[1]}\n")
    ring, box = found(report, "#figure-superplot_puncta .ring"), found(report, ".tip")
    assert ring.is_displayed()
    assert box.get_attribute("role") == "status"
    press(report, Keys.ESCAPE)
    assert seen(report, ".tip") is None
    assert not ring.is_displayed()


def column_of(report: Any, selector: str, k: int) -> list[str]:
    texts: list[str] = report.execute_script(
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
        ".filter((row) => !row.hidden).map((row) => row.cells[arguments[1]].textContent)",
        selector,
        k,
    )
    return texts


def test_a_head_sorts_numbers_as_numbers_and_back(report: Any) -> None:
    made = column_of(report, "#conditions", 4)
    values = [float(text.partition(" ")[0].replace(",", "")) for text in made]
    assert any("," in text for text in made)
    head = found(report, "#conditions th:nth-child(5)")
    assert head.get_attribute("scope") == "col"
    button = head.find_element("css selector", "button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    now = [float(t.partition(" ")[0].replace(",", "")) for t in column_of(report, "#conditions", 4)]
    assert now == sorted(values)
    press(report, Keys.ENTER)  # the button has the focus
    assert head.get_attribute("aria-sort") == "descending"
    now = [float(t.partition(" ")[0].replace(",", "")) for t in column_of(report, "#conditions", 4)]
    assert now == sorted(values, reverse=True)
    press(report, Keys.SPACE)
    assert head.get_attribute("aria-sort") is None
    assert column_of(report, "#conditions", 4) == made
    found(report, "#conditions th:nth-child(1) button").click()
    names = column_of(report, "#conditions", 0)
    assert names.index("LPS, dose 1") < names.index("LPS, dose 10") < names.index("LPS, dose 100")
    assert plates.NASTY_CONDITION + ", dose 1" in names


@pytest.mark.parametrize(
    "ordered",
    [
        ["−1,200 (−3 to 4)", "-12.5", "<0.001", "2e-2 ± 1", "5 %", "990", "1,234"],
        ["3 (2 to 4)", "12", "100 ± 9", "-", "-", "", "-"],
        ["B2", "B10", "b11", "C1", "C1", "D <b>", "-"],  # no numbers: names
        ["1 cell", "2.0.1", "2.0.10", "10a", "100", "x", "-"],  # nor are these
    ],
)
def test_what_is_a_number_and_what_a_name(report: Any, ordered: list[str]) -> None:
    report.execute_script(
        "document.querySelectorAll('#conditions tbody tr').forEach((row, k) => "
        "{ row.cells[2].textContent = arguments[0][k]; })",
        [ordered[k] for k in (3, 6, 0, 5, 1, 4, 2)],
    )
    found(report, "#conditions th:nth-child(3) button").click()
    missing = [text for text in ordered if text in ("", "-")]
    stated = [text for text in ordered if text not in ("", "-")]
    assert column_of(report, "#conditions", 2)[: len(stated)] == stated
    press(report, Keys.ENTER)
    assert column_of(report, "#conditions", 2)[: len(stated)] == stated[::-1]
    assert sorted(column_of(report, "#conditions", 2)[len(stated) :]) == sorted(missing)


def test_missing_values_come_last_whichever_way_it_is_sorted(report: Any) -> None:
    table = "#comparisons .scroll:last-of-type"
    found(report, f"{table} th:nth-child(7) button").click()
    up = column_of(report, table, 6)
    press(report, Keys.ENTER)
    down = column_of(report, table, 6)
    assert sorted(up) == sorted(down)
    for column in (up, down):
        assert "-" not in column[: len(column) - column.count("-")]


def test_a_long_table_has_a_filter_and_a_short_one_has_none(report: Any) -> None:
    rows = len(column_of(report, "#settings .scroll", 0))
    assert len(report.find_elements("css selector", "#conditions .filter")) == 0
    box = found(report, "#settings .filter input")
    names = column_of(report, "#settings .filter + .scroll", 0)
    box.send_keys("PUNCTA score")
    left = column_of(report, "#settings .filter + .scroll", 0)
    assert "puncta_score" in left
    assert 0 < len(left) < len(names) <= rows
    assert all("puncta" in name for name in left)
    assert seen(report, "#settings .filter span") == f"{len(left)} of {len(names)} rows"
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    assert column_of(report, "#settings .filter + .scroll", 0) == names
    box.send_keys("no such thing <b>")
    assert column_of(report, "#settings .filter + .scroll", 0) == []
    assert seen(report, "#settings .filter span") == f"0 of {len(names)} rows"


def well_place(report: Any, name: str) -> list[Any]:
    known = told(report)
    places = [p for _, column in known["figures"]["plate_map"]["columns"] for p in column]
    return next(place for place in places if known["wells"][place[2]]["name"] == name)


def test_a_click_on_a_well_opens_what_is_known_of_it(report: Any) -> None:
    element = plot(report, "plate_map")
    point(report, element, well_place(report, "C02"))
    assert str(seen(report, ".tip")).startswith("C02\nmedium (dye only)\npuncta per cell: ")
    point(report, element, well_place(report, "C02"), click=True)
    text = str(seen(report, ".panel"))
    for part in ("Well C02", "medium (dye only)", "cells: 24", "plate1_C02", "saturated (2 % of the exosome"):
        assert part in text, part
    assert found(report, ".panel img").get_property("naturalWidth") == 192
    # the next well takes its place; B03's image has the name of a script
    point(report, element, well_place(report, "B03"), click=True)
    text = str(seen(report, ".panel"))
    assert "Well B03" in text
    assert plates.NASTY_IMAGE in text
    assert "C02" not in text
    press(report, Keys.ESCAPE)
    assert seen(report, ".panel") is None
    point(report, element, [10, 10], click=True)  # no well
    assert seen(report, ".panel") is None


def test_wells_need_no_pointer(report: Any) -> None:
    tab_to(report, "#figure-plate_map .plot")
    press(report, Keys.HOME)
    assert str(seen(report, ".tip")).startswith("B02\n")
    press(report, Keys.ARROW_DOWN)
    assert str(seen(report, ".tip")).startswith("C02\n")
    press(report, Keys.ARROW_RIGHT)
    assert str(seen(report, ".tip")).startswith("C03\n")
    press(report, Keys.ENTER)
    assert "Well C03" in str(seen(report, ".panel"))
    assert report.switch_to.active_element.text == "Close"
    press(report, Keys.ENTER)
    assert seen(report, ".panel") is None
    assert report.execute_script("return document.activeElement.className") == "plot"
    press(report, Keys.ENTER)
    press(report, Keys.ESCAPE)
    assert seen(report, ".panel") is None
    assert str(seen(report, ".tip")).startswith("C03\n")


def pages_of(browser: Any) -> int:
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    return base64.b64decode(printed["data"]).count(b"/Type /Page\n")


def test_without_scripts_it_is_a_page_to_read_and_print(report: Any, page: Path) -> None:
    rows = report.execute_script("return document.querySelectorAll('tr').length")
    printed = pages_of(report)
    look(report, script=False)
    report.get(page.as_uri())
    assert report.find_elements("css selector", ".hint, .filter, .tip, .ring, th button, [tabindex]") == []
    assert len(report.find_elements("css selector", "tr")) == rows
    assert found(report, "#conditions th").text == "condition"
    assert found(report, "#figure-plate_map img").is_displayed()
    assert pages_of(report) == printed > 3
    look(report)


def test_on_paper_there_is_nothing_to_press_and_no_row_is_missing(report: Any) -> None:
    point(report, plot(report, "plate_map"), well_place(report, "C02"), click=True)
    found(report, "#settings .filter input").send_keys("nothing of this kind")
    assert found(report, "#settings .filter + .scroll tbody tr").is_displayed() is False
    for scheme in ("light", "dark"):
        look(report, media="print", scheme=scheme)
        for selector in (".hint", ".filter", ".tip", ".panel", ".ring", "nav"):
            assert seen(report, selector) is None, selector
        assert found(report, "#settings .filter + .scroll tbody tr").is_displayed()
        assert style(report, "body", "backgroundColor") == "rgb(255, 255, 255)"
        assert style(report, "th button", "display") == "contents"  # else lost where a page repeats a head


def style(report: Any, selector: str, name: str) -> str:
    value: str = report.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name
    )
    return value


def test_in_the_dark_the_page_is_dark_and_its_figures_are_white(report: Any) -> None:
    assert style(report, "body", "backgroundColor") == "rgb(255, 255, 255)"
    look(report, scheme="dark")
    paper, ink = (
        np.mean([int(part) for part in style(report, "body", name)[4:-1].split(",")])
        for name in ("backgroundColor", "color")
    )
    assert paper < 40
    assert ink > 200
    assert style(report, ".plot", "backgroundColor") == "rgb(255, 255, 255)"


def test_a_narrow_window_scrolls_in_one_direction_only(report: Any) -> None:
    look(report, width=500)
    point(report, plot(report, "plate_map"), well_place(report, "C02"), click=True)
    element = plot(report, "superplot_puncta")
    for place in told(report)["figures"]["superplot_puncta"]["columns"][-1][1][:3]:
        point(report, element, place)
        box = found(report, ".tip").rect
        assert 0 <= box["x"]
        assert box["x"] + box["width"] <= 500
    wide, room = report.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room


@pytest.mark.parametrize(
    ("width", "scheme", "script"),
    [(1100, "light", True), (1100, "dark", True), (500, "light", True), (1100, "light", False)],
)
def test_everybody_can_read_it(report: Any, page: Path, width: int, scheme: str, script: bool) -> None:
    if script:
        look(report, width=width, scheme=scheme)
        point(report, plot(report, "plate_map"), well_place(report, "C02"), click=True)
        found(report, "#conditions th:nth-child(4) button").click()
        figure = told(report)["figures"]["superplot_puncta"]
        point(report, plot(report, "superplot_puncta"), figure["columns"][0][1][0])
        assert seen(report, ".panel")
        assert seen(report, ".tip")
    else:  # the page as it is written, with its script taken out, as axe is one too
        bare = page.with_name("bare.html")
        text = page.read_text(encoding="utf-8")
        bare.write_text(text[: text.index("<script")] + "</body></html>", encoding="utf-8")
        report.get(bare.as_uri())
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    report.execute_script(axe)
    report.set_script_timeout(240)
    result = report.execute_async_script(
        "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(done, (e) => done(String(e)))"
    )
    assert result["passes"]
    serious = [
        (rule["id"], node["html"])
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
    assert serious == []
