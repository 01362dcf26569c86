from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_tam.correct.folder import CARD, Corrections, FlatField, read_corrections, write_corrections
from napari_tam.errors import InputError
from napari_tam.pipeline.models import load_models
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

FLAT = FlatField(np.linspace(0.5, 1.5, 12, dtype=np.float32).reshape(3, 4), 100.0, {"images": 9})


def test_what_is_written_is_read_back_part_by_part(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "microscope"
    write_corrections(folder, flat_field={"exosome": FLAT})
    write_corrections(folder, bleed_through={"cell_into_exosome": 0.03}, facts={"images": ["a"]})
    write_corrections(folder, channel_shift_um={"exosome": (0.2, -0.1)})
    write_corrections(folder, flat_field={"cell": FLAT})
    found = read_corrections(folder)
    assert set(found.flat_field) == {"exosome", "cell"}
    for flat in found.flat_field.values():
        np.testing.assert_array_equal(flat.gain, FLAT.gain)
        assert (flat.dark, flat.facts) == (100.0, {"images": 9})
    assert found.bleed_through == {"cell_into_exosome": 0.03}
    assert found.channel_shift_um == {"exosome": (0.2, -0.1)}
    before = found.sha256
    write_corrections(folder, bleed_through={"cell_into_exosome": 0.04})
    assert len(before) == 64
    assert read_corrections(folder).sha256 != before
    assert not list(folder.glob("*.part"))


def change(**values: Any) -> Any:
    def damage(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, **values}))

    return damage


def other_pixels(folder: Path) -> None:
    tifffile.imwrite(folder / "flat_field_exosome.tif", FLAT.gain + 1)


def zeros(folder: Path) -> None:
    write_corrections(folder, flat_field={"exosome": FlatField(0 * FLAT.gain, 0.0)})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / CARD).unlink(), "not a correction folder"),
        (lambda folder: (folder / CARD).write_text("{"), "the card cannot be read"),
        (lambda folder: (folder / CARD).write_text("[1]"), "another kind or version"),
        (change(format=9), "another kind or version"),
        (lambda folder: (folder / "flat_field_exosome.tif").unlink(), "the flat field is missing"),
        (other_pixels, "not the file that the card describes"),
        (zeros, "no image of numbers above 0"),
        (change(flat_field={}), "there is no correction"),
        (change(flat_field={"exosomes": {}}), "no channel role"),
        (change(flat_field={"exosome": {"file": "../x.tif"}}), "no file of the folder"),
        (change(flat_field={"exosome": {}}), "cannot be used"),
        (change(flat_field=[1]), "cannot be used"),
        (change(bleed_through={"cell_into_exosome": 3}), "cannot be used"),
        (change(channel_shift_um={"exosome": [0.1]}), "cannot be used"),
    ],
)
def test_a_bad_folder_is_one_sentence_that_names_it(damage: Any, told: str, tmp_path: Path) -> None:
    write_corrections(tmp_path, flat_field={"exosome": FLAT})
    damage(tmp_path)
    with pytest.raises(InputError, match=told) as caught:
        read_corrections(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_corrections(tmp_path / "file", bleed_through={})
    with pytest.raises(InputError, match="not a correction folder"):
        read_corrections(tmp_path / "file")


def test_they_are_loaded_with_the_models_and_go_on_record(tmp_path: Path) -> None:
    write_corrections(tmp_path, bleed_through={"cell_into_exosome": 0.03})
    asked = Settings(corrections=str(tmp_path), phenotype_model="none")
    models = load_models(asked)
    assert isinstance(models.corrections, Corrections)
    assert models.hashes[str(tmp_path)] == models.corrections.sha256
    assert load_models(Settings(phenotype_model="none")).corrections is None
