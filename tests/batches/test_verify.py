"""A results folder beside its record: what was changed is named, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import fakes
import pytest
from runs import content, images

from napari_tam.batches.verify import Checked, _weights_of, libraries, verify
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import uptake as cli_uptake
from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.files import file_hash
from napari_tam.networks import cards
from napari_tam.pipeline import models as pipeline_models
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

#: The real one, before a test puts fakes into its place.
LOAD = pipeline_models.load_models
LAYOUT = "image,condition,replicate,control_role\ni0,LPS,1,\ni1,medium,1,dye_only\n"


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cli_analyse, pipeline_models):
        monkeypatch.setattr(module, "load_models", lambda settings: fakes.models())
    for module in (cli_analyse, cli_uptake):
        monkeypatch.setattr(module, "print_report", lambda _folder: None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    images(tmp_path / "in", 2)
    (tmp_path / "layout.csv").write_text(LAYOUT)
    folder = tmp_path / "out"
    given = ["--layout", str(tmp_path / "layout.csv"), "--no-overlays"]
    assert main(["batch", str(tmp_path / "in"), "--out", str(folder), *given]) == 0
    return folder


def checked(folder: Path, load: Any = lambda _settings: fakes.models()) -> list[Checked]:
    return verify(folder, load)


def not_as_recorded(folder: Path, **options: Any) -> set[tuple[str, str, str]]:
    return {(each.kind, each.name, each.state) for each in checked(folder, **options) if each.state != "same"}


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_untouched_folder_is_as_recorded(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(out), (out / "run.json").read_bytes()
    found = checked(out)
    assert {each.kind for each in found} == {"image", "network", "program", "result", "file"}
    assert {each.state for each in found} == {"same"}
    assert libraries(out) == []
    capsys.readouterr()
    assert main(["verify", str(out)]) == 0
    said = capsys.readouterr().out
    assert "images   2 as recorded" in said
    assert "the same command gives these tables again" in said
    assert (content(out), (out / "run.json").read_bytes()) == before


def test_a_folder_stays_as_recorded_whatever_the_program_writes_into_it(out: Path, tmp_path: Path) -> None:
    for command in (
        ["uptake", str(out), "--positive-quantile", "0.9"],
        ["compare", str(out), "--readouts", "puncta_count"],
        ["track", str(out)],
        ["report", str(out)],
        ["batch", str(tmp_path / "in"), "--out", str(out), "--no-overlays"],
    ):
        assert main(command) == 0, command
        assert not_as_recorded(out) == set(), command


@pytest.mark.parametrize(
    "name", ["cells.csv", "cells.parquet", "puncta.csv", "images.csv", "settings.yaml", "layout.csv"]
)
def test_a_changed_byte_of_a_table_or_of_the_settings_is_told(out: Path, name: str) -> None:
    path = out / name
    path.write_bytes(path.read_bytes() + (b"# a note\n" if name == "settings.yaml" else b"\n"))
    assert not_as_recorded(out) == {("file", name, "differs")}
    path.unlink()
    assert ("file", name, "gone") in not_as_recorded(out)


def test_another_setting_is_no_longer_that_of_the_images(out: Path) -> None:
    path = out / "settings.yaml"
    path.write_text(path.read_text().replace("flow_threshold: 0.4", "flow_threshold: 0.5"))
    told = not_as_recorded(out)
    assert told == {
        ("file", "settings.yaml", "differs"), ("result", "i0", "differs"), ("result", "i1", "differs"),
    }  # fmt: skip


def test_a_changed_byte_of_an_image_is_told_though_its_time_is_the_same(out: Path, tmp_path: Path) -> None:
    import os

    path = tmp_path / "in" / "i1.ome.tif"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    change_a_byte(path)
    os.utime(path, ns=times)
    assert not_as_recorded(out) == {("image", "i1", "differs")}
    path.unlink()
    assert not_as_recorded(out) == {("image", "i1", "gone")}


@pytest.mark.parametrize("kind", ["mask", "table"])
def test_a_damaged_result_of_an_image_is_told(out: Path, kind: str) -> None:
    path = out / ("masks/i0_cells.tif" if kind == "mask" else "fields/cells/i0.parquet")
    path.write_bytes(path.read_bytes()[:-3])
    assert not_as_recorded(out) == {("result", "i0", "differs")}


def test_other_weights_and_missing_ones_are_told(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fakes.models()
    other.hashes["cells"] = "1" * 64
    told = not_as_recorded(out, load=lambda _settings: other)
    assert ("network", "cells", "differs") in told
    assert ("result", "i0", "differs") in told

    def missing(_settings: Any) -> Any:
        raise InputError("there is no such model", where="mine")

    monkeypatch.setattr(cards, "MODELS_FOLDER", tmp_path / "none")
    found = [each for each in checked(out, missing) if each.state != "same"]
    network, *results = found
    assert (network.kind, network.name, network.state) == ("network", "cells", "gone")
    assert "there is no such model" in network.why
    assert {(each.kind, each.state) for each in results} == {("result", "unknown")}


@pytest.fixture
def bundled(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the bundled networks, which are those of the run."""
    folder = tmp_path / "models"
    shutil.copytree(cards.MODELS_FOLDER, folder)
    monkeypatch.setattr(cards, "MODELS_FOLDER", folder)
    record = json.loads((out / "run.json").read_text())
    names = ("cells", "nuclei", "puncta", "phenotype")
    record["models"] = {name: file_hash(folder / f"{name}.safetensors") for name in names}
    (out / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("name", ["cells", "nuclei", "puncta", "phenotype"])
@pytest.mark.parametrize("how", ["differs", "gone"])
def test_of_several_networks_the_one_at_fault_is_named_and_the_images_are_looked_at(
    out: Path, bundled: Path, tmp_path: Path, name: str, how: str
) -> None:
    path = bundled / f"{name}.safetensors"
    change_a_byte(path) if how == "differs" else path.unlink()
    change_a_byte(tmp_path / "in" / "i1.ome.tif")
    assert not_as_recorded(out, load=LOAD) == {
        ("network", name, how),
        ("image", "i1", "differs"),
        ("result", "i0", "unknown"),
        ("result", "i1", "unknown"),
    }


def test_what_cannot_be_loaded_is_never_passed_over(out: Path, bundled: Path) -> None:
    (bundled / "puncta.json").write_text("{")  # the weights are those of the run
    [network] = [each for each in checked(out, LOAD) if each.kind == "network" and each.state != "same"]
    assert "puncta.json" in network.why
    record = json.loads((out / "run.json").read_text())
    del record["models"]
    (out / "run.json").write_text(json.dumps(record))
    assert main(["verify", str(out)]) == 0  # the fakes
    [network] = [each for each in checked(out, LOAD) if each.kind == "network"]
    assert network.state == "gone"


def test_own_weights_and_corrections_are_found_by_their_settings(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("cells.safetensors", "nuclei.safetensors", "corrections.json"):
        (tmp_path / "mine" / name).touch()
    mine = str(tmp_path / "mine")
    (tmp_path / "cyto").touch()
    for given, name in (
        ({"cells_model": mine}, "cells.safetensors"),
        ({"nuclei_model": mine}, "nuclei.safetensors"),
        ({"corrections": mine}, "corrections.json"),
    ):
        assert _weights_of(mine, Settings().updated(**given)) == tmp_path / "mine" / name
    file = str(tmp_path / "cyto")
    assert _weights_of(file, Settings(cells_model=file)) == tmp_path / "cyto"


def test_results_of_a_gpu_are_verified_on_a_machine_without(out: Path) -> None:
    asked = []

    def load(settings: Settings) -> Any:
        asked.append((settings.device, settings.engine))
        return fakes.models()

    path = out / "settings.yaml"
    path.write_text(path.read_text().replace("device: auto", "device: cuda:1"))
    assert not_as_recorded(out, load=load) == {("file", "settings.yaml", "differs")}
    assert asked == [("auto", "auto")]


def test_another_version_of_the_program_counts_and_of_a_library_is_said(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    record["versions"] |= {"napari-tam": "0.0.1", "numpy": "1.0"}
    (out / "run.json").write_text(json.dumps(record))
    assert not_as_recorded(out) == {("program", "napari-tam", "differs")}
    [numpy] = libraries(out)
    assert numpy.startswith("numpy 1.0, now ")


def test_a_folder_of_before_is_not_called_wrong(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((out / "run.json").read_text())
    del record["files"]
    (out / "run.json").write_text(json.dumps(record))
    assert {(each.kind, each.state) for each in checked(out) if each.state != "same"} == {("file", "unknown")}
    assert main(["verify", str(out)]) == 0
    assert "not on record" in capsys.readouterr().out


def test_machines_get_one_object(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_a_byte(out / "puncta.csv")
    capsys.readouterr()
    assert main(["verify", str(out), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["as_recorded"] is False
    [wrong] = [each for each in told["checked"] if each["state"] != "same"]
    assert (wrong["kind"], wrong["name"], wrong["state"]) == ("file", "puncta.csv", "differs")


@pytest.mark.parametrize("record", [None, "{", "[1]"])
def test_a_folder_without_a_record_is_one_sentence(
    out: Path, record: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = out / "run.json"
    path.unlink() if record is None else path.write_text(record)
    assert main(["verify", str(out)]) == 2
    assert "run.json" in capsys.readouterr().err
    shutil.rmtree(out)
    assert main(["verify", str(out)]) == 2
