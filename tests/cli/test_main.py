"""The command line: quick help, an option for every setting, one sentence for what is wrong."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import fakes
import pandas as pd
import pytest
from paths import HELPERS, SOURCE

import napari_tam
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli.main import main
from napari_tam.cli.options import chosen_settings, option_names
from napari_tam.cli.uptake import LATER
from napari_tam.errors import InputError
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a fresh interpreter that finds the package and the fakes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(HELPERS)])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Let ``analyse`` run on fakes; the value lists the settings that it loaded models for."""
    seen: list[Settings] = []

    def load(settings: Settings) -> Any:
        seen.append(settings)
        return fakes.models()

    monkeypatch.setattr(cli_analyse, "load_models", load)
    return seen


def run(*arguments: object) -> int:
    """Run a command; return its exit status."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(*command, "--help") == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", ["--help", "--version", "simulate --help", "score --help"])
def test_help_loads_nothing_that_takes_time(arguments: str) -> None:
    slow = ("torch", "numpy", "pandas", "pydantic", "rich", "cellpose", "skimage", "cv2")
    code = f"""
        import sys
        from napari_tam.cli.main import main
        try:
            main(sys.argv[1:])
        except SystemExit:
            pass
        print("LOADED", *[name for name in {slow} if name in sys.modules])
    """
    out, err = python(code, *arguments.split()).communicate(timeout=60)
    assert err == ""
    assert out.splitlines()[-1] == "LOADED"
    assert "napari-tam" in out


def test_analysing_loads_no_torch_before_the_arguments_are_checked() -> None:
    code = """
        import sys
        from napari_tam.cli.main import main
        assert main(["analyse", "no-such-file.tif", "--out", "nowhere"]) == 2
        assert "torch" not in sys.modules
    """
    process = python(code)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (0, 1), err


@pytest.mark.parametrize("options", [[], ["--files", "each"], ["--layout"]], ids=" ".join)
def test_a_dry_run_loads_only_what_lists_files(tmp_path: Path, options: list[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        fakes.write_image(folder / f"field_{number}.ome.tif")
    heavy = {"torch", "openvino", "scipy", "skimage", "cv2", "rich", "matplotlib"}  # headers need tifffile
    if options == ["--layout"]:  # a table
        layout = tmp_path / "layout.csv"
        layout.write_text("image,condition\nfield_0,a\nfield_1,b\nfield_2,a\nfield_3,b\n")
        options = ["--layout", str(layout)]
    else:
        heavy |= {"pandas"}
    code = f"""
        import sys
        from napari_tam.cli.main import main
        assert main(["batch", *sys.argv[1:], "--dry-run"]) == 0
        print("LOADED", *sorted({heavy} & set(sys.modules)))
    """
    out, err = python(code, str(folder), "--out", str(tmp_path / "out"), *options).communicate(timeout=60)
    assert err == ""
    assert out.splitlines()[-2:] == ["in all   4 to analyse, 0 done already; nothing was written", "LOADED"]


def test_the_batch_is_imported_without_what_only_some_of_its_steps_need() -> None:
    heavy = {"torch", "openvino", "scipy", "skimage", "sklearn", "statsmodels", "matplotlib", "laptrack"}
    code = f"""
        import sys
        import napari_tam.cli.analyse
        print(*sorted({heavy} & set(sys.modules)))
    """
    assert python(code).communicate(timeout=60) == ("\n", "")


def test_threads_of_torch_do_not_spin_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert run("models", "--help") == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run("models", "--help") == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_every_setting_has_an_option_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of("analyse", capsys=capsys).split())
    for name, info in Settings.model_fields.items():
        assert re.search(rf"(?<![\w-]){option_names(name)[0]}(?![\w-])", text), name
        assert info.description is not None
        assert "".join(info.description.split()) in text.replace(" ", ""), name
    assert text.index("--cell-diameter") < text.index("--z-projection")  # the common ones first


#: A value that is not the default, for every setting.
VALUES: dict[str, tuple[list[str], Any]] = {
    "channels": (["cell=0,nucleus=DAPI", "exosome=2"], {"cell": 0, "nucleus": "DAPI", "exosome": 2}),
    "pixel_size_um": (["0.4"], 0.4),
    "corrections": (["./my microscope"], "./my microscope"),
    "defects": (["none"], "none"),
    "bleed_through": (
        ["cell_into_exosome=0.03", "exosome_into_cell=0.01"],
        {"cell_into_exosome": 0.03, "exosome_into_cell": 0.01},
    ),
    "channel_shift_um": (["exosome=0.2:-0.1"], {"exosome": (0.2, -0.1)}),
    "background_method": (["mode"], "mode"),
    "colocalisation_threshold": (["costes"], "costes"),
    "colocalisation_randomisations": (["7"], 7),
    "z_stack": (["volume"], "volume"),
    "z_projection": (["mean"], "mean"),
    "z_step_um": (["0.3"], 0.3),
    "cells_model": (["cyto3"], "cyto3"),
    "nuclei_model": (["./my model"], "./my model"),
    "cell_diameter_um": (["21.5"], 21.5),
    "nucleus_diameter_um": (["9"], 9.0),
    "files": (["each"], "each"),
    "rgb": (["split"], "split"),
    "cells_masks": (["."], "."),
    "nuclei_masks": (["."], "."),
    "puncta_method": (["log"], "log"),
    "puncta_min_snr": (["4"], 4.0),
    "spot_sigma_um": (["0.2"], 0.2),
    "spot_sigma_z_um": (["0.6"], 0.6),
    "membrane_distance_um": (["0.5"], 0.5),
    "frame_interval_min": (["7.5"], 7.5),
    "track_max_movement_um": (["12"], 12.0),
    "track_max_missed": (["4"], 4),
    "device": (["cpu"], "cpu"),
    "engine": (["torch"], "torch"),
    "precision": (["full"], "full"),
    "phenotype_model": (["none"], "none"),
    "phenotype_border": ([], False),
    "tile_px": (["2048"], 2048),
    "overlays": ([], False),
    "positive_readout": (["puncta_count"], "puncta_count"),
    "positive_control": (["no_exosome"], "no_exosome"),
    "positive_rule": (["mean_sd"], "mean_sd"),
    "positive_quantile": (["0.95"], 0.95),
    "aggregate_width": (["2"], 2.0),
    "puncta_threshold": (["3"], 3.0),
    "puncta_thresholds": (["GFP=3", "PKH26=4.5"], {"GFP": 3.0, "PKH26": 4.5}),
    "label_distance_um": (["0.4"], 0.4),
    "nuclei_help": ([], False),
    "average_flips": ([], True),
    "comparison_readouts": (["puncta_count"], "puncta_count"),
    "comparison_between": (["dose"], "dose"),
    "comparison_reference": (["LPS"], "LPS"),
    "comparison_unit": (["well"], "well"),
    "comparison_paired_by": (["donor"], "donor"),
    "comparison_correction": (["tukey"], "tukey"),
    "comparison_mixed": ([], True),
    "marker_readout": (["rim_mean"], "rim_mean"),
    "gate_rule": (["mean_sd"], "mean_sd"),
    "gate_suggestion": ([], False),
    "gates": (["CD86=250", "CD206=9.5"], {"CD86": 250.0, "CD206": 9.5}),
    "types": (
        ["macrophage=CD11b+,tumour=EpCAM+ CD11b-"],
        {"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"},
    ),
    "analyse_types": (["macrophage,tumour"], "macrophage,tumour"),
    "marker_phenotypes": (["M1=CD86+", "M2=CD206+"], {"M1": "CD86+", "M2": "CD206+"}),
    "donor_types": (["tumour"], "tumour"),
    "recipient_types": (["macrophage,tumour"], "macrophage,tumour"),
    "traffic_readout": (["exosome_integrated"], "exosome_integrated"),
}

#: Exit status of settings that the image does not fit: it is no volume, has no masks.
STATUS = {"z_stack": 1, "cells_masks": 1, "nuclei_masks": 1}
#: Settings that say nothing without another one.
BESIDE = {
    name: (
        ["--types", "macrophage=CD11b+", "--types", "tumour=EpCAM+"],
        {"macrophage": "CD11b+", "tumour": "EpCAM+"},
    )
    for name in ("donor_types", "recipient_types")
}
#: The image has no markers, which is told before it is analysed.
REFUSED = ("gates", "types", "marker_phenotypes", "donor_types", "recipient_types")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_can_be_given_as_an_option(
    name: str, tmp_path: Path, fake_models: list[Settings]
) -> None:
    image = fakes.write_image(tmp_path / "a.ome.tif")
    default = getattr(Settings(), name)
    texts, value = VALUES.get(name, ([], None))
    if name not in VALUES:  # a new number: half its default is within its limits
        assert isinstance(default, float), f"give {name} a value here"
        texts, value = [str(default / 2)], default / 2
    for option in option_names(name):
        flag = option if texts or value is True else option.replace("--", "--no-")
        words = [word for text in texts for word in (flag, text)] or [flag]
        more, types = BESIDE.get(name, ([], {}))
        known = Settings().updated(types=types) if types else Settings()
        status = run("analyse", image, "--out", tmp_path / "out", *words, *more)
        assert status == (2 if name in REFUSED else STATUS.get(name, 0))
        assert fake_models.pop() == known.updated(**{name: value})
        if name in REFUSED:
            assert not (tmp_path / "out" / "settings.yaml").exists()
            continue
        # the threshold that was found is written down
        found = {} if name == "puncta_threshold" else {"puncta_threshold": 1.0}
        written = Settings.from_yaml(tmp_path / "out" / "settings.yaml")
        assert written == Settings().updated(**{name: value}, **found)


def test_an_option_goes_before_the_file_and_the_file_before_the_default(
    tmp_path: Path, fake_models: list[Settings]
) -> None:
    image = fakes.write_image(tmp_path / "a.ome.tif")
    file = tmp_path / "s.yaml"
    file.write_text("cell_diameter_um: 20\nflow_threshold: 0.6\noverlays: false\n")
    arguments = ["analyse", image, "--out", tmp_path / "out", "--settings", file]
    run(*arguments, "--flow-threshold", "0.7")
    assert fake_models.pop() == Settings(cell_diameter_um=20, flow_threshold=0.7, overlays=False)
    run(*arguments, "--cell-diameter", "unset", "--overlays")
    assert fake_models.pop() == Settings(flow_threshold=0.6)


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("kept_in", ["file", "results"])
def test_an_option_may_build_on_what_the_file_or_the_results_say(
    name: str, kept_in: str, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("types: {macrophage: CD11b+, tumour: EpCAM+}\n")
    text, value = VALUES[name]
    given = argparse.Namespace(settings=file if kept_in == "file" else None, **{f"setting_{name}": text[0]})
    base = Settings.from_yaml(file) if kept_in == "results" else None
    assert getattr(chosen_settings(given, base, LATER), name) == value
    setattr(given, f"setting_{name}", "fibroblast")
    with pytest.raises(InputError, match=r"command line: .*\(there are macrophage, tumour\)"):
        chosen_settings(given, base, LATER)


def test_analyse_writes_everything_and_says_where(
    tmp_path: Path, fake_models: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "=c [x]"):
        fakes.write_image(tmp_path / "in" / f"{name}.ome.tif")
    out = tmp_path / "deep" / "out"
    assert run("analyse", tmp_path / "in", "--out", out) == 0
    said = capsys.readouterr()
    assert said.err == ""  # no progress bar in a file
    assert "3 analysed" in said.out
    assert "9, median 1 puncta a cell" in said.out
    assert "12: 9 in cells, 3 outside" in said.out
    assert str(out / "cells.csv") in said.out
    assert str(out / "overlays") in said.out
    assert {path.name for path in out.iterdir()} == {
        *("cells.csv", "cells.parquet", "puncta.csv", "puncta.parquet", "images.csv"),
        *("settings.yaml", "run.json", "puncta_threshold.json", "camera_defects.json", ".lock", "fields"),
        *("thresholds.csv", "replicates.csv", "comparisons.csv"),
        *("masks", "overlays"),
    }
    assert {path.name for path in (out / "masks").iterdir()} == {
        f"{name}_{kind}.tif" for name in ("a", "b", "=c [x]") for kind in ("cells", "nuclei")
    }
    assert read_results(out).images["image"].tolist() == ["=c [x]", "a", "b"]
    command = json.loads((out / "run.json").read_text(encoding="utf-8"))["command"]
    assert command == ["napari-tam", "analyse", str(tmp_path / "in"), "--out", str(out)]
    assert pd.read_csv(out / "images.csv")["image"][0] == "'=c [x]"


def test_a_broken_image_makes_the_exit_status_1_and_images_csv_says_why(
    tmp_path: Path, fake_models: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = fakes.write_image(tmp_path / "good.ome.tif"), tmp_path / "bad.tif"
    bad.write_bytes(b"")
    assert run("analyse", bad, good, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "1 analysed, 1 failed" in said.out
    [line] = said.err.splitlines()
    table = pd.read_csv(tmp_path / "out" / "images.csv").set_index("image")
    assert table["status"].to_dict() == {"bad": "failed", "good": "ok"}
    assert line == f"failed   {table.loc['bad', 'error']}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required: COMMAND"),
        (["analyze"], "invalid choice: 'analyze'"),
        (["analyse", "IMAGE"], "required: --out"),
        (["analyse", "nothing.tif", "--out", "OUT"], "nothing.tif: there is no such file"),
        (["analyse", "IMAGE", "--out", "IMAGE"], "is a file, not a folder"),
        (["analyse", "IMAGE", "--out", "OUT", "--cell-diametre", "20"], "did you mean --cell-diameter?"),
        (["analyse", "IMAGE", "--out", "OUT", "--cell-diameter", "-3"], "cell_diameter_um = '-3'"),
        (["analyse", "IMAGE", "--out", "OUT", "--flow-threshold", "x"], "flow_threshold = 'x'"),
        (["analyse", "IMAGE", "--out", "OUT", "--channels", "cells=0"], "'cells' is no channel role"),
        (["analyse", "IMAGE", "--out", "OUT", "--channels", "cell"], "'cell' is no ROLE=CHANNEL"),
        (["analyse", "IMAGE", "--out", "OUT", "--channels", "cell=0,cell=1"], "'cell' is given twice"),
        (["analyse", "IMAGE", "--out", "OUT", "--bleed-through", "cell=0.1"], "'cell' should be two of the"),
        (
            ["analyse", "IMAGE", "--out", "OUT", "--bleed-through", "0.1"],
            "'0.1' is no SOURCE_into_TARGET=FRACTION",
        ),
        (["analyse", "IMAGE", "--out", "OUT", "--channel-shift", "exosome=1"], "channel_shift_um.exosome"),
        (["analyse", "IMAGE", "--out", "OUT", "--settings", "none.yaml"], "none.yaml"),
        (["calibrate", "shift", "IMAGE", "--out", "OUT"], "does not show the same"),
        (["calibrate", "flat-field", "IMAGE", "--out", "OUT"], "cannot be estimated from 1 fields"),
        (["calibrate", "flat-field", "IMAGE", "--out", "OUT", "--reference"], "give --dark"),
        (["calibrate", "bleed-through", "IMAGE", "--out", "OUT"], "'IMAGE' is no ROLE=IMAGE"),
        (["calibrate", "flat-field", "IMAGE", "--out", "OUT", "--dark", "none.tif"], "none.tif"),
        (["analyse", "IMAGE", "--out", "OUT", "--cells-model", "no-such-model"], "no-such-model"),
        (["simulate", "OUT", "--fields", "-1"], "not a whole number"),
        (["score", "OUT", "OUT"], "not a results folder"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load(settings: Settings) -> Any:
        raise napari_tam.errors.InputError(f"'{settings.cells_model}' is no model", where="cells_model")

    monkeypatch.setattr(cli_analyse, "load_models", load)
    monkeypatch.chdir(tmp_path)
    fakes.write_image(tmp_path / "IMAGE")
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def test_ctrl_c_ends_with_status_130_whole_tables_and_the_missing_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [fakes.write_image(tmp_path / f"i{index}.ome.tif") for index in range(3)]
    models = fakes.models(fakes.FailingSegmenter(KeyboardInterrupt(), at=2))
    monkeypatch.setattr(cli_analyse, "load_models", lambda _: models)
    assert run("analyse", *paths, "--out", tmp_path / "out") == 130
    said = capsys.readouterr()
    assert "1 analysed" in said.out
    assert "not (wholly) analysed: i1, i2. " in said.err
    assert read_results(tmp_path / "out").cells["image"].unique().tolist() == ["i0"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_a_real_sigint_in_the_middle_of_a_network(tmp_path: Path) -> None:
    paths = [fakes.write_image(tmp_path / f"i{index}.ome.tif") for index in range(2)]
    code = """
        import signal, sys, time
        import fakes
        from napari_tam.cli import analyse as cli_analyse
        from napari_tam.cli.main import main

        # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Slow(fakes.ThresholdSegmenter):
            calls = 0
            def segment(self, *given):
                self.calls += 1
                if self.calls == 2:
                    print("BUSY", flush=True)
                    time.sleep(60)
                return super().segment(*given)

        cli_analyse.load_models = lambda settings: fakes.models(Slow())
        sys.exit(main(sys.argv[1:]))
    """
    process = python(code, "analyse", *map(str, paths), "--out", str(tmp_path / "out"))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "BUSY\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, err
    assert "1 analysed" in out
    assert "not (wholly) analysed: i1. " in err
    assert "Traceback" not in err
    found = read_results(tmp_path / "out")
    assert found.images["status"].tolist() == ["ok", "not analysed"]
    assert found.cells["puncta_count"].tolist() == [2, 1, 0]


def test_settings_writes_a_file_that_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    assert run("settings", file) == 0
    assert Settings.from_yaml(file) == Settings()
    assert "# Typical cell diameter" in file.read_text(encoding="utf-8")
    file.write_text("mine")
    assert run("settings", file) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert run("settings", file, "--force") == 0
    assert Settings.from_yaml(file) == Settings()
    assert run("settings") == 0
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_simulate_passes_number_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []

    def write_fields(*given: object) -> list[Path]:
        seen.extend(given)
        return [tmp_path / "field_01.ome.tif"]

    monkeypatch.setattr("napari_tam.simulate.scene.write_fields", write_fields)
    assert run("simulate", tmp_path, "--fields", 5, "--seed", 7) == 0
    assert seen == [tmp_path, 5, 7]
    assert capsys.readouterr().out.strip().endswith("field_01.ome.tif")


@pytest.mark.parametrize(("given", "planes"), [(["--planes"], 20), (["--planes", 9], 9)])
def test_simulate_writes_stacks(
    given: list[object], planes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def write_volumes(*_: object, **named: object) -> list[Path]:
        seen.update(named)
        return []

    monkeypatch.setattr("napari_tam.simulate.scene3d.write_volumes", write_volumes)
    assert run("simulate", tmp_path, "--fields", 1, *given) == 0
    assert seen == {"planes": planes}


def test_a_run_of_volumes_reports_a_plane_among_them(
    tmp_path: Path, fake_models: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write_image(tmp_path / "plane.ome.tif")
    fakes.write_image(tmp_path / "stack.ome.tif", fakes.stack(), "CZYX")
    status = run("analyse", tmp_path, "--out", tmp_path / "out", "--z-stack", "volume", "--z-step", 0.6)
    assert status == 1
    assert "single plane" in capsys.readouterr().err
    found = read_results(tmp_path / "out")
    assert found.images["status"].tolist() == ["failed", "ok"]
    assert set(found.puncta["location"]) <= {"inside", "membrane", "outside"}
    masks = found.masks("stack")
    assert masks is not None
    assert masks.shape == (7, *fakes.SHAPE)


def test_models_lists_names_and_marks_the_damaged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_tam.pipeline.models import ModelInfo

    found = [
        ModelInfo("cells", "cells", "bundled", "macrophages", "0" * 64),
        ModelInfo("puncta", "puncta", "bundled", "spots", "1" * 64, ok=False),
    ]
    monkeypatch.setattr("napari_tam.pipeline.models.available_models", lambda: found)
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["cells", "cells", "bundled", "macrophages"]
    assert "DAMAGED" in lines[2]


@pytest.mark.parametrize("broken", [False, True])
def test_doctor_says_what_is_wrong_and_what_to_do(
    broken: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_tam.pipeline.models import ModelInfo

    found = [
        ModelInfo(name, name, "bundled", "", "0" * 64, ok=not (broken and name == "puncta"))
        for name in ("cells", "cells-fast", "nuclei", "puncta")
    ]
    monkeypatch.setattr("napari_tam.pipeline.models.available_models", lambda: found)
    monkeypatch.setattr("napari_tam.pipeline.models.load_models", lambda _: fakes.models())
    monkeypatch.setattr("napari_tam.cli.doctor._plugin", lambda: iter(()))
    assert run("doctor") == int(broken)
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith("problem")]
    assert len(problems) == int(broken)
    assert any("torch" in line and "networks run by" in line for line in lines)
    told = lines[-1]  # one line for a report of a fault
    assert re.search(r"networks by (openvino|torch) .* on \w+ \| .* \| \d+ threads of torch", told)
    assert told.startswith(f"napari-tam {napari_tam.__version__} | Python ")
    assert told.endswith("1 problem" if broken else " ok") and "torch 2." in told
    if broken:
        after = lines[lines.index(problems[0]) + 1]
        assert "'puncta'" in problems[0]
        assert after.split()[:2] == ["->", "install"]


def test_a_check_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_tam.cli import doctor

    def explode() -> Any:
        raise RuntimeError("boom")

    for part in ("network_checks", "_cellpose", "_trial", "_plugin", "_libraries"):
        monkeypatch.setattr(doctor, part, lambda: iter([doctor.Check("ok", "fine")]))
    monkeypatch.setattr("napari_tam.pipeline.models.available_models", explode)
    found = list(doctor.checks())
    assert [check.status for check in found if "boom" in check.text] == ["problem"]
    assert sum(check.text == "fine" for check in found) == 5


def test_score_prints_tables_and_writes_json(
    tmp_path: Path, fake_models: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    image = fakes.write_image(tmp_path / "a.ome.tif")
    fakes.write_truth(tmp_path, "a")
    run("analyse", image, "--out", tmp_path / "out")
    capsys.readouterr()
    file = tmp_path / "score.json"
    assert run("score", tmp_path / "out", tmp_path, "--json", file) == 0
    assert "a      1.000   1.000    1.000\n" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["all"] == figures["images"]["a"]
    assert figures["all"]["puncta"] == {"f1": 1, "precision": 1, "recall": 1, "true": 4, "found": 4}
