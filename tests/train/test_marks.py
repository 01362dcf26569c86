"""The score of puncta from a person's marks: the line that they drew is found, and told honestly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.pipeline import models as pipeline_models
from napari_tam.settings import Settings
from napari_tam.train.marks import SCORES, Marked, choose_score, read_marked, read_marks

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

PLACES = [(10.0 + 14 * i, 10.0 + 14 * j) for i in range(6) for j in range(8)]


class Scored(fakes.PeakDetector):
    """The score of a punctum is a thousandth of its peak."""

    def candidates(self, *given: Any) -> pd.DataFrame:
        table = super().candidates(*given)
        return table.assign(score=np.clip(table["peak"] / 1000, 0, 1), contrast=20.0)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = replace(fakes.models(), puncta=Scored())
    monkeypatch.setattr(pipeline_models, "load_models", lambda _settings: made)
    return made


def marked_images(folder: Path, count: int = 4, axes: tuple[str, str] = ("y_px", "x_px")) -> Path:
    """Write images of one channel with bright and faint puncta, of which the bright ones are marked."""
    folder.mkdir()
    for index in range(count):
        rng = np.random.default_rng(index)
        places = rng.permutation(PLACES)
        rows, columns = np.indices((96, 128))
        picture = rng.normal(20, 1, (96, 128))
        for number, (y, x) in enumerate(places[:30]):
            height = rng.normal(900 if number < 12 else 620, 15)
            picture += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4.5)
        tifffile.imwrite(folder / f"t{index}.tif", picture.round().astype(np.uint16))
        lines = [",".join(axes), *(f"{y},{x}" for y, x in places[:12])]
        (folder / f"t{index}_puncta.csv").write_text("\n".join(lines) + "\n")
    return folder


def settings_file(folder: Path, **more: Any) -> Path:
    path = folder / "marks.yaml"
    path.write_text(Settings(channels={"exosome": "0"}, pixel_size_um=0.1, **more).to_yaml())
    return path


def run(*words: object) -> int:
    return main(["train", "puncta", *map(str, words)])


@pytest.mark.usefixtures("models")
def test_the_line_that_a_person_drew_is_found_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, out = settings_file(tmp_path, puncta_min_snr=2), tmp_path / "own.yaml"
    assert run(marked_images(tmp_path / "in"), "--settings", known, "--out", out) == 0
    said = capsys.readouterr().out
    assert "48 marks in 4 images" in said
    assert "F1 0.571, median count error 150%   with a score of 0.5" in said  # 12 marked of 30
    assert "F1 1.000, median count error   0%   each image with the score that the others tell" in said
    written = Settings.from_yaml(out)
    assert 0.66 < written.puncta_score < 0.86
    assert written == Settings.from_yaml(known).updated(puncta_score=written.puncta_score)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("count", "score"), [(1, 0.5), (3, 0.8)], ids=["one image", "nothing to gain"])
def test_a_score_is_kept_unless_images_that_had_no_say_gain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, score: float
) -> None:
    out = tmp_path / "own.yaml"
    known = settings_file(tmp_path, puncta_score=score)
    assert run(marked_images(tmp_path / "in", count), "--settings", known, "--out", out) == 1
    said = capsys.readouterr().out
    assert f"kept    a score of {score:g}" in said
    assert "few marks or images" in said  # 12 in one, 36 in three
    assert not out.exists()


@pytest.mark.parametrize("axes", [("y_px", "x_px"), ("axis-0", "axis-1"), ("Y", "X"), ("y", "x")])
def test_marks_of_napari_and_imagej_are_read(tmp_path: Path, axes: tuple[str, str]) -> None:
    path = tmp_path / "a_puncta.csv"
    path.write_text(f"index,{axes[1]},{axes[0]}\n0,3.5,1\n1,7,2.25\n")
    assert read_marks(path).tolist() == [[1, 3.5], [2.25, 7]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "no columns for y and x"),
        ("y_px,x_px\n1,2\n3,far\n", "is no number"),
        ("y_px,x_px\n1,\n", "is no number"),
        ("", "cannot be read"),
    ],
)
def test_marks_that_say_no_places_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "a_puncta.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        read_marks(path)
    assert caught.value.where == path


def test_what_cannot_be_compared_is_told(tmp_path: Path, models: Any) -> None:
    settings = Settings(channels={"exosome": "0"}, pixel_size_um=0.1)
    folder = marked_images(tmp_path / "in", 2)

    def refused(why: str) -> None:
        with pytest.raises(InputError, match=why):
            list(read_marked(folder, settings, models))

    assert [each.name for each in read_marked(folder, settings, models)] == ["t0", "t1"]
    marks = folder / "t1_puncta.csv"
    kept = marks.read_text()
    marks.write_text(kept + "20,500\n")
    refused("a mark lies outside the image of 128 x 96 px")
    marks.rename(folder / "t7_puncta.csv")
    refused("there is no image for these marks")
    for path in folder.glob("*.csv"):
        path.unlink()
    refused("no image here has marks")


def test_an_image_without_marks_is_left_out_and_one_without_puncta_counts(
    tmp_path: Path, models: Any
) -> None:
    settings = Settings(channels={"exosome": "0"}, pixel_size_um=0.1)
    folder = marked_images(tmp_path / "in", 3)
    (folder / "t0_puncta.csv").unlink()
    (folder / "t1_puncta.csv").write_text("y_px,x_px\n")
    found = {each.name: each for each in read_marked(folder, settings, models)}
    assert set(found) == {"t1", "t2"}
    assert found["t1"].counts[0].tolist() == [0, 30, 0]
    with pytest.raises(InputError, match="no punctum is marked"):
        choose_score([found["t1"]], 0.5)


numbers = st.integers(0, 40)


@st.composite
def compared(draw: st.DrawFn) -> Marked:
    """Draw an image: fewer are found, and no more of them right, the higher the score."""
    marks = draw(st.integers(1, 40))
    found = np.sort(draw(st.lists(numbers, min_size=len(SCORES), max_size=len(SCORES))))[::-1]
    hits = np.minimum.accumulate(np.minimum(found, marks))
    return Marked("", np.stack([np.full(len(SCORES), marks), found, hits], axis=1).astype(np.intp))


@given(st.lists(compared(), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_images_changes_nothing(images: list[Marked], random: Any) -> None:
    mixed = list(images)
    random.shuffle(mixed)
    one, other = choose_score(images, 0.5), choose_score(mixed, 0.5)
    assert one == other
    assert 0 <= one.chosen.f1 <= 1
    twice = choose_score([*images, *images], 0.5)
    assert (twice.score, twice.chosen) == (one.score, one.chosen)


def test_options_of_other_trainings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(run(tmp_path, "--out", tmp_path / "own.yaml", "--steps", "3"))
    assert stop.value.code == 2
    assert "--steps does not belong to 'napari-tam train puncta'" in capsys.readouterr().err
