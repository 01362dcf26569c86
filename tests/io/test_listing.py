from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.errors import InputError
from napari_tam.io.images import list_images, stem_of, unique_names
from napari_tam.io.left_out import left_out


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("name", ["a.b.ome.tif", "a.b.ome.tiff", "a.b.tif", "a.b.TIFF", "a.b.OME.TIF"])
def test_the_stem_is_the_name_without_its_tiff_suffix(name: str) -> None:
    assert stem_of(Path("folder") / name) == "a.b"


def test_a_folder_stands_for_its_tiff_files(tmp_path: Path) -> None:
    touch(tmp_path, "b.TIF", "a.ome.tif", "c.tiff", "d.csv", "._a.ome.tif", "sub/e.tif", "f.tif.part")
    assert names(list_images([tmp_path])) == ["a.ome.tif", "b.TIF", "c.tiff"]
    assert list_images([str(tmp_path)]) == list_images([tmp_path])


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "w1.tif", "w2.tif", "w2.csv", "x.tif", "sub/deep/w3.tif")
    assert names(list_images([tmp_path / "w*"])) == ["w1.tif", "w2.tif"]
    assert names(list_images([tmp_path / "w[2-9].tif"])) == ["w2.tif"]
    assert sorted(names(list_images([tmp_path / "**" / "w*.tif"]))) == ["w1.tif", "w2.tif", "w3.tif"]


def test_a_file_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "image[1].tif")
    assert list_images([path]) == [path]


def test_duplicates_go_and_the_order_stays(tmp_path: Path) -> None:
    a, b, c = touch(tmp_path, "a.tif", "b.tif", "c.tif")
    assert list_images([c, tmp_path, tmp_path / ".." / tmp_path.name / "a.tif", b]) == [c, a, b]


def test_masks_beside_their_image_are_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.ome.tif", "a_masks.tif", "a_nuclei.tif", "a_CELLS.tif",
        "b.tif", "b_cells.tif", "hela_cells.ome.tif", "nuclei.tif", "_cells.tif",
    )  # fmt: skip
    found = ["_cells.tif", "a.ome.tif", "b.tif", "hela_cells.ome.tif", "nuclei.tif"]
    assert names(list_images([tmp_path])) == found
    assert names(list_images([tmp_path / "*.tif"])) == found


def test_masks_in_a_folder_of_their_own_are_skipped_with_their_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.ome.tif", "results/masks/a_cells.tif")
    assert names(list_images([tmp_path / "**" / "*.tif"])) == ["a.ome.tif"]


def test_a_mask_that_is_named_is_taken(tmp_path: Path) -> None:
    _, mask = touch(tmp_path, "a.tif", "a_masks.tif")
    assert list_images([mask]) == [mask]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("missing.tif", "no such file or folder"),
        ("*.png", "no image found, only .png files"),
        ("*.xyz", "no image found"),
        ("empty", "no image found"),
        ("pictures", "only .csv, .png files"),
        ("a_*.tif", "except masks"),
    ],
)
def test_an_input_that_matches_nothing_is_an_error(tmp_path: Path, given: str, told: str) -> None:
    touch(tmp_path, "a.tif", "a_masks.tif", "b.png", "pictures/c.png", "pictures/d.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        list_images([tmp_path / "a.tif", tmp_path / given])
    assert told in str(caught.value)
    assert str(tmp_path / given) in str(caught.value)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/a.tif", "x/b.ome.tif"], ["a", "b"]),
        (["day1/a.tif", "day2/a.tif", "day2/b.tif"], ["day1_a", "day2_a", "b"]),
        (["x/a.tif", "x/a.ome.tif"], ["a", "a_2"]),
        (["x/a.tif", "x/a.ome.tif", "x/a_2.tif"], ["a", "a_3", "a_2"]),
        (["p/x/a.tif", "q/x/a.tif"], ["a", "a_2"]),
        (["x/A.tif", "x/a.ome.tif"], ["A", "a_2"]),
        (["x/a.tif", "y/a.tif", "z/x_a.tif"], ["a", "y_a", "x_a"]),
    ],
)
def test_names(paths: list[str], expected: list[str]) -> None:
    assert list(unique_names(map(Path, paths)).values()) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "p/x"]), st.sampled_from(["a", "A", "a_2", "x_a", "b"]),
                  st.sampled_from([".tif", ".ome.tif", ".TIFF"])),
    )
)  # fmt: skip
def test_names_are_unique_whatever_the_files(parts: list[tuple[str, str, str]]) -> None:
    paths = [Path(folder) / (stem + suffix) for folder, stem, suffix in parts]
    named = unique_names(paths)
    assert list(named) == list(dict.fromkeys(paths))
    assert len({name.casefold() for name in named.values()}) == len(named)


def test_twenty_thousand_files_of_one_name_get_names_in_a_second() -> None:
    folders = [Path(f"d{number}") for number in range(20_000)]
    counted = unique_names([folder / "a.ome.tif" for folder in folders])
    assert len(set(counted.values())) == 20_000
    many = unique_names([Path("x") / f"p{number % 100}" / "a.tif" for number in range(20_000)])
    assert len(many) == 100
    # all of one folder name: told apart by numbers alone, each tried once
    same = unique_names([folder / "in" / "a.tif" for folder in folders])
    assert set(same.values()) == {"a", *(f"a_{number}" for number in range(2, 20_001))}


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is called ``lost+found`` cannot be looked into; as root, permissions would not show it."""
    look = os.scandir, os.listdir

    def refuse(which: int) -> Any:
        def called(path: Any = ".") -> Any:
            if os.fspath(path).endswith("lost+found"):
                raise PermissionError(13, "Permission denied", str(path))
            return look[which](path)

        return called

    monkeypatch.setattr(os, "scandir", refuse(0))
    monkeypatch.setattr(os, "listdir", refuse(1))


def test_pictures_beside_images_are_told_and_not_taken(tmp_path: Path) -> None:
    touch(tmp_path, "a.ome.tif", "a_overlay.png", "b.JPG", "c.txt")
    found = list_images([tmp_path])
    assert names(found) == ["a.ome.tif"]
    [line] = left_out([tmp_path], found)
    assert line == "left out: 2 pictures, which are read with --rgb split only (a_overlay.png, b.JPG)"
    both = list_images([tmp_path], rgb="split")
    assert left_out([tmp_path], both) == []


@pytest.mark.parametrize("below", ["", "TimePoint_1/"])
@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp"])
def test_pictures_that_are_channels_by_their_names_are_images(tmp_path: Path, kind: str, below: str) -> None:
    stains = ("CD11b", "DAPI", "PKH26")
    touch(tmp_path, f"{below}notes.txt")
    for name in (f"B02_{field} {stain}" for field in (1, 2) for stain in stains):
        cv2.imwrite(str(tmp_path / f"{below}{name}{kind}"), np.full((16, 20), 7, np.uint8))
    found = list_images([tmp_path])
    assert names(found) == [f"B02_1 CD11b{kind}", f"B02_2 CD11b{kind}"]
    assert left_out([tmp_path], found) == []
    touch(tmp_path, f"{below}figure for the paper{kind}")
    with pytest.raises(InputError, match="--rgb split"):
        list_images([tmp_path])


@pytest.mark.usefixtures("forbidden")
def test_what_cannot_be_read_is_passed_over_and_told(tmp_path: Path) -> None:
    for folder in ("a", "lost+found"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.ome.tif").touch()
    try:
        (tmp_path / "a" / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    except OSError:
        pytest.skip("this system lets nobody make links")
    assert list_images([tmp_path]) == [tmp_path / "a" / "x.ome.tif"]
    taken = list_images([tmp_path])
    assert left_out([tmp_path], taken) == [
        "left out: 1 folders that cannot be read (lost+found)",
        "left out: 1 links to nowhere (gone.tif)",
    ]
    assert left_out([tmp_path / "a" / "*.tif"], taken) == ["left out: 1 links to nowhere (gone.tif)"]
    with pytest.raises(InputError, match="Permission denied"):
        list_images([tmp_path / "lost+found"])


def test_subfolders_are_searched_where_the_folder_has_no_image_or_when_asked(tmp_path: Path) -> None:
    (tmp_path / "day1" / "deep").mkdir(parents=True)
    below = [tmp_path / "day1" / "a.tif", tmp_path / "day1" / "deep" / "b.tif"]
    for path in below:
        path.touch()
    assert list_images([tmp_path]) == below
    (tmp_path / "c.tif").touch()
    assert list_images([tmp_path]) == [tmp_path / "c.tif"]
    assert left_out([tmp_path], [tmp_path / "c.tif"]) == [
        "left out: 1 folders with images, as images lie beside them; --recursive takes them (day1)"
    ]
    everything = list_images([tmp_path], recursive=True)
    assert sorted(everything) == sorted([*below, tmp_path / "c.tif"])
    assert left_out([tmp_path], everything, recursive=True) == []
