from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_tam.errors import InputError
from napari_tam.settings import ROLES, Settings

if TYPE_CHECKING:
    from pathlib import Path

CHANGED: dict[str, Any] = {
    "channels": {"cell": 0, "nucleus": "DAPI", "exosome": "2"},
    "pixel_size_um": 0.108,
    "z_projection": "mean",
    "cells_model": "C:\\models\\my cells: v2 # final",
    "cell_diameter_um": 22.5,
    "bleed_through": {"cell_into_exosome": 0.03},
    "channel_shift_um": {"exosome": (0.2, -0.1), "nucleus": (1, 0)},
    "puncta_method": "log",
    "min_cell_area_um2": 0.00001,
    "overlays": False,
}


@pytest.mark.parametrize("comments", [True, False])
@pytest.mark.parametrize("values", [{}, CHANGED], ids=["defaults", "changed"])
def test_yaml_is_read_back_unchanged(tmp_path: Path, values: dict[str, Any], comments: bool) -> None:
    settings = Settings.from_values(values)
    path = tmp_path / "settings.yaml"
    path.write_text(settings.to_yaml(comments=comments), encoding="utf-8")
    assert Settings.from_yaml(path) == settings


# YAML has its own idea of control characters and line separators; no name holds any.
TEXT = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))


@given(
    channels=st.dictionaries(st.sampled_from(ROLES), st.integers(0, 9) | st.text(TEXT, max_size=12)),
    model=st.text(TEXT, max_size=120),
    size=st.none() | st.floats(1e-9, 100, allow_nan=False),
)
def test_any_text_and_number_survives_yaml(
    channels: dict[str, int | str], model: str, size: float | None
) -> None:
    settings = Settings(channels=channels, cells_model=model, pixel_size_um=size)
    assert Settings.from_values(yaml.safe_load(settings.to_yaml())) == settings


def test_the_file_explains_every_setting() -> None:
    text = Settings().to_yaml()
    for name, info in Settings.model_fields.items():
        assert f"# {info.description}" in text
        assert f"\n{name}:" in text


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description_and_a_group(name: str) -> None:
    info = Settings.model_fields[name]
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    assert info.description and info.description.endswith(".")
    assert extra["group"]
    assert isinstance(extra["common"], bool)
    assert ("_um2" in name) == (extra["unit"] == "µm²")
    assert name.endswith("_um") == (extra["unit"] == "µm")


def test_a_list_of_markers_is_the_same_as_a_joined_text() -> None:
    assert Settings(channels={"marker": ["CD86", 4]}) == Settings(channels={"marker": "CD86+4"})  # type: ignore[dict-item]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().overlays = False


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert Settings.from_yaml(path) == Settings()


def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("pixelsize_um: 0.1\ncell_diametre_um: 20\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Settings.from_yaml(path)
    assert "'pixelsize_um' is no setting (did you mean 'pixel_size_um'?)" in str(caught.value)
    assert "did you mean 'cell_diameter_um'" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"pixel_size_um": 0}, "pixel_size_um = 0"),
        ({"pixel_size_um": float("nan")}, "pixel_size_um = nan"),
        ({"pixel_size_um": True}, "pixel_size_um = True"),
        ({"cell_diameter_um": "big"}, "cell_diameter_um = 'big'"),
        ({"puncta_score": 1}, "less than 1"),
        ({"z_projection": "median"}, "'max' or 'mean'"),
        ({"overlays": 3}, "overlays = 3"),
        ({"channels": {"cells": 0}}, "'cells' is no channel role (did you mean 'cell'?)"),
        ({"channels": {"cell": True}}, "yes/no is no value here"),
        ({"channels": {"cell": -1}}, "start at 0"),
        ({"channels": {"cell": 1.5}}, "channels.cell = 1.5: should be a channel index (from 0) or name"),
        ({"channels": {"lysosome": ["GFP", "PKH26"]}}, "only exosomes and markers can be several channels"),
        (
            {"channels": {"exosome": ["GFP", "A"], "marker": ["CD86", "gfp"]}},
            "given as exosome and as marker",
        ),
        ({"channels": {"exosome": "2+3", "marker": "a:3+b:4"}}, "take it out of the markers"),
        ({"channels": {"exosome": "GFP", "marker": "GFP"}}, "given as exosome and as marker"),
        ({"puncta_thresholds": {"?": 3}}, "cannot be the name of an exosome label"),
        ({"puncta_thresholds": {"GFP": 0}}, "puncta_thresholds.GFP"),
        ({"channels": {"marker": "CD86+"}}, "a marker without a name"),
        ({"channels": {0: "cell"}}, "is no channel role"),
        ({"channels": "cell=0"}, "channels = 'cell=0'"),
        ({"bleed_through": {"cell": 0.1}}, "'cell' should be two of the roles, e.g. cell_into_exosome"),
        ({"bleed_through": {"cell_into_cell": 0.1}}, "should be two of the roles"),
        ({"bleed_through": {"cell_into_exosome": 1.5}}, "bleed_through.cell_into_exosome = 1.5"),
        ({"bleed_through": {"cell_into_exosome": True}}, "yes/no is no value here"),
        ({"channel_shift_um": {"cell": [0, 1]}}, "'cell' should be a role other than cell"),
        ({"channel_shift_um": {"exosome": [0, 100]}}, "more than 20 µm is no channel shift"),
        ({"channel_shift_um": {"exosome": [1]}}, "channel_shift_um.exosome"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings.from_values(values, where="my.yaml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("my.yaml: ")
    assert str(caught.value).count(told) == 1
    assert "napari-tam settings" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"cells_model: [", "not valid YAML"),
        (b"- cells_model", "does not hold 'name: value' lines"),
        (b"overlays: !!python/object:os.system x", "not valid YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (None, "cannot be read (No such file"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: bytes | None, told: str) -> None:
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        Settings.from_yaml(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_update_is_validated_and_leaves_the_original() -> None:
    settings = Settings()
    assert settings.updated(pixel_size_um=0.2).pixel_size_um == 0.2
    assert settings.pixel_size_um is None
    with pytest.raises(InputError, match="pixel_size_um = -1"):
        settings.updated(pixel_size_um=-1)


def test_reading_settings_and_images_loads_no_torch_and_no_napari() -> None:
    code = (
        "import sys, napari_tam.settings, napari_tam.io.images\n"
        "assert not {'torch', 'napari', 'qtpy', 'cellpose'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
