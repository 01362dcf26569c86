from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import numpy as np
import pytest
import tifffile

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.pipeline.edits import Edits
from napari_tam.results.edits import save_edits
from napari_tam.settings import Settings
from napari_tam.train.training_set import folder_fields, read_training_fields, results_fields

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder of two images; the cells of `a` were corrected: shifted by one pixel."""
    for name in ("a", "b"):
        fakes.write_image(tmp_path / f"{name}.ome.tif")
    monkeypatch.setattr("napari_tam.cli.analyse.load_models", lambda settings: fakes.models())
    assert main(["analyse", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    save_edits(tmp_path / "out", "a", Edits(cells=corrected()), fakes.PIXEL_UM)
    return tmp_path / "out"


def corrected() -> np.ndarray:
    return np.roll(fakes.discs(fakes.RADIUS), 1, axis=0)


def test_only_corrected_fields_are_exported_with_stain_masks_and_pixel_size(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-training", str(results), "--out", str(tmp_path / "set")]) == 0
    assert "1 fields" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["a.tif", "a_masks.tif"]
    [field] = folder_fields(tmp_path / "set", Settings())
    np.testing.assert_array_equal(field.cells, corrected())
    assert field.pixel_size_um == pytest.approx(fakes.PIXEL_UM)
    assert list(field.channels) == ["cell", "nucleus"]
    # The stain as the network sees it in an analysis, so that both ways give the same training.
    [straight] = results_fields(results)
    for role, plane in straight.channels.items():
        np.testing.assert_array_equal(field.channels[role], plane)
    assert straight.group != ""
    assert [f.name for f in read_training_fields([results, tmp_path / "set"], Settings())] == ["a", "a"]


def test_all_fields_are_exported_with_what_was_found(results: Path, tmp_path: Path) -> None:
    assert main(["export-training", str(results), "--out", str(tmp_path / "set"), "--all"]) == 0
    first, second = folder_fields(tmp_path / "set", Settings())
    np.testing.assert_array_equal(first.cells, corrected())
    np.testing.assert_array_equal(second.cells > 0, fakes.discs(fakes.RADIUS) > 0)


def test_cellpose_finds_the_pairs(results: Path, tmp_path: Path) -> None:
    from cellpose import io

    main(["export-training", str(results), "--out", str(tmp_path / "set"), "--all"])
    images = io.get_image_files(str(tmp_path / "set"), "_masks")
    masks, _ = io.get_label_files(images, "_masks")
    assert [p.rsplit("/", 1)[-1] for p in masks] == ["a_masks.tif", "b_masks.tif"]


def test_images_without_channel_names_are_read_as_cellpose_does(tmp_path: Path) -> None:
    labels = fakes.discs(fakes.RADIUS)
    for name, image in (("one", labels * 9.0), ("two", np.stack([labels * 9.0, labels * 5.0]))):
        tifffile.imwrite(tmp_path / f"{name}_t0003.tif", image.astype(np.float32), photometric="minisblack")
        tifffile.imwrite(tmp_path / f"{name}_t0003_masks.tif", labels)
    one, two = folder_fields(tmp_path, Settings(pixel_size_um=0.5))
    assert (list(one.channels), list(two.channels)) == (["cell"], ["cell", "nucleus"])
    assert (one.group, one.pixel_size_um) == ("one", 0.5)  # frames of one movie belong together
    assert two.channels["nucleus"].max() == 5.0 * labels.max()


def test_what_is_no_training_set_is_told(results: Path, tmp_path: Path) -> None:
    save_edits(results, "a", Edits(), fakes.PIXEL_UM)
    with pytest.raises(InputError, match=r"no cells were corrected in these results.*--all"):
        list(results_fields(results))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither a results folder nor a training set"):
        list(folder_fields(empty, Settings()))
    tifffile.imwrite(empty / "x_masks.tif", np.zeros((20, 20), np.uint16))
    with pytest.raises(InputError, match="there is no image for this mask"):
        list(folder_fields(empty, Settings()))
    fakes.write_image(empty / "x.tif")
    with pytest.raises(InputError, match=r"the mask is \(20, 20\), the image"):
        list(folder_fields(empty, Settings()))
    tifffile.imwrite(empty / "x_masks.tif", np.zeros_like(fakes.discs(3)))
    with pytest.raises(InputError, match="there is no cell in the mask"):
        list(folder_fields(empty, Settings()))
