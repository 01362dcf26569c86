"""The examples for workflow managers: their commands are real, and they give what the program alone gives."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import fakes
import pytest
import yaml
from paths import HELPERS, ROOT, SOURCE
from runs import content

from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli.main import _parse, main
from napari_tam.networks.cards import bundled_cards

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = ROOT / "examples"
SNAKEFILE = EXAMPLES / "snakemake" / "Snakefile"
MODULE = EXAMPLES / "nextflow" / "modules" / "local" / "naparitam" / "batch"
#: A value that is filled in by Snakemake or Nextflow.
VALUE = re.compile(r"\$?\{([^{}]+)\}")
#: An option that is put together before the command.
OPTION = re.compile(r"def (\w+) = .*?\"(--[^\"]*)\"")
SNAKEMAKE = shutil.which("snakemake")


def commands(path: Path) -> list[list[str]]:
    """Return the words of each command line of ours in a file, up to where its output goes."""
    text = path.read_text(encoding="utf-8")
    # options that are put together elsewhere in the file, with their values
    options = {name: VALUE.sub("1", option) for name, option in OPTION.findall(text)}
    options |= {"args": "", "params.settings": "--settings 1"}
    joined = re.sub(r"\\+\n", " ", text)
    lines = re.findall(r"^ *(?:\w+: )?(?:\\?\$\()?(napari-tam .*)$", joined, re.MULTILINE)
    filled = [VALUE.sub(lambda found: options.get(found[1].removesuffix(":q"), "1"), line) for line in lines]
    return [shlex.split(re.split(r" (?:[>|]|2>) ", line)[0].rstrip(")")) for line in filled]


FILES = [SNAKEFILE, MODULE / "main.nf"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_of_the_examples_are_the_programs(path: Path) -> None:
    found = [words for words in commands(path) if words[1] == "batch"]
    assert len(found) == (2 if path == SNAKEFILE else 1)
    for words in found:
        parsed = _parse(words[1:])  # or it raises what is wrong
        assert parsed.json
        assert parsed.jobs == 1
        assert [str(value) for value in (parsed.layout, parsed.settings, parsed.memory)] == ["1", "1", "1.0"]


def test_a_command_that_is_no_longer_right_would_be_noticed(tmp_path: Path) -> None:
    stale = tmp_path / "Snakefile"
    stale.write_text(SNAKEFILE.read_text(encoding="utf-8").replace("--jobs", "--job-count"), encoding="utf-8")
    with pytest.raises(Exception, match="unknown: --job-count"):
        for words in commands(stale):
            _parse(words[1:])


def test_the_configuration_says_all_that_the_snakefile_asks_for() -> None:
    asked = set(re.findall(r'config\[?(?:\.get\()?"(\w+)"', SNAKEFILE.read_text(encoding="utf-8")))
    told = yaml.safe_load((EXAMPLES / "snakemake" / "config.yaml").read_text(encoding="utf-8"))
    assert asked == set(told)


def test_the_nextflow_module_is_described_as_it_is() -> None:
    text = (MODULE / "main.nf").read_text(encoding="utf-8")
    told = yaml.safe_load((MODULE / "meta.yml").read_text(encoding="utf-8"))
    assert set(told["output"]) == set(re.findall(r"emit: (\w+)", text))
    named = {name for each in told["input"][0] for name in each} | set(told["input"][1])
    taken = text[text.index("input:") : text.index("output:")]
    assert named == set(re.findall(r"(?:val\(|path\(|path )(\w+)", taken))
    workflow = (EXAMPLES / "nextflow" / "main.nf").read_text(encoding="utf-8")
    assert f"include {{ {text.split()[1]} }}" in workflow
    parameters = set(re.findall(r"params\.(\w+)", workflow))
    config = (EXAMPLES / "nextflow" / "nextflow.config").read_text(encoding="utf-8")
    known = re.search(r"params \{(.*?)\n\}", config, re.DOTALL)
    assert known is not None
    assert parameters <= set(re.findall(r"^ +(\w+) *=", known[1], re.MULTILINE))


def test_the_galaxy_tool_is_one_of_the_program() -> None:
    tool = ElementTree.parse(EXAMPLES / "galaxy" / "napari_tam.xml").getroot()
    version = tool.findtext("macros/token")
    assert version == yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    # all options at once, whatever they depend on
    template = tool.findtext("command") or ""
    lines = [line for line in template.splitlines() if not line.lstrip().startswith("#")]
    command = " ".join(lines).partition("napari-tam ")[2].partition(" > ")[0]
    parsed = _parse(shlex.split(re.sub(r"\\?\$(\w+|\{[^}]+\})", "1", command)))
    assert parsed.json
    assert (parsed.jobs, str(parsed.layout), str(parsed.settings)) == (1, "layout.csv", "1")
    named = {each.get("name") for each in tool.iterfind("inputs/param")} | {"image", "name", "answer"}
    assert set(re.findall(r"(?<!\\)\$(\w+)", template)) <= named
    models = [each.get("value") for each in tool.iterfind("inputs/param[@name='cells_model']/option")]
    assert set(models) <= {name for name, card in bundled_cards().items() if card.values["kind"] == "cells"}


@pytest.fixture
def plate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, one of them broken, and a layout; and napari-tam without weights on the PATH."""
    images = tmp_path / "my images"
    images.mkdir()
    for number, name in enumerate(("B02", "B03", "B04", "B05")):
        fakes.write_image(images / f"{name}.ome.tif", fakes.image(fakes.SPOTS[:number]))
    (images / "B05.ome.tif").write_bytes(b"broken")
    rows = "B02,medium,1,dye_only\nB03,LPS,1,\nB04,LPS,2,\nB05,LPS,3,\n"
    (tmp_path / "layout.csv").write_text("well,condition,replicate,control_role\n" + rows)
    program = tmp_path / "bin" / "napari-tam"
    program.parent.mkdir()
    code = f"import sys; sys.path[:0] = {[str(SOURCE), str(HELPERS)]!r}; import fakes; "
    code += "from napari_tam.cli import analyse; analyse.load_models = lambda _: fakes.models(); "
    code += "from napari_tam.cli.main import main; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(cli_analyse, "load_models", lambda _: fakes.models())
    return images


def snakemake(folder: Path, *words: str, **changed: Any) -> subprocess.CompletedProcess[str]:
    """Run the example in a folder, for the plate in it."""
    config = yaml.safe_load((EXAMPLES / "snakemake" / "config.yaml").read_text(encoding="utf-8"))
    config["plates"] = {
        "plate 1": {"images": str(folder / "my images"), "layout": str(folder / "layout.csv")}
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"parts": 3, "threads": 1} | changed))
    assert SNAKEMAKE is not None
    command = [SNAKEMAKE, "-s", str(SNAKEFILE), "--configfile", "config.yaml", "--cores", "2", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(SNAKEMAKE is None, reason="snakemake is not installed")
def test_snakemake_gives_what_one_batch_gives(plate: Path, tmp_path: Path) -> None:
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "results" / "plate 1"
    answer = tmp_path / "results" / "logs" / "plate 1" / "plate.json"
    assert [each["image"] for each in json.loads(answer.read_text())["failed"]] == ["B05"]
    assert (out / "report.html").is_file()
    alone = tmp_path / "alone"
    assert main(["batch", str(plate), "--out", str(alone), "--layout", str(tmp_path / "layout.csv")]) == 1
    # the report's pictures are not what this is about
    theirs, mine = (
        {name: what for name, what in content(each).items() if not name.startswith("figures/")}
        for each in (out, alone)
    )
    assert theirs == mine
    assert {"cells.csv", "puncta.csv", "comparisons.csv", "masks/B04_cells.tif"} <= set(theirs)
    # nothing is done twice; a new image is
    assert "Nothing to be done" in snakemake(tmp_path).stderr
    fakes.write_image(plate / "B05.ome.tif")
    assert snakemake(tmp_path).returncode == 0
    told = json.loads(answer.read_text())
    assert (told["analysed"], told["of_an_earlier_run"], told["failed"]) == (4, 4, [])


@pytest.mark.slow
@pytest.mark.skipif(SNAKEMAKE is None, reason="snakemake is not installed")
def test_snakemake_stops_where_it_should(plate: Path, tmp_path: Path) -> None:
    done = snakemake(tmp_path, failed_images="stop", parts=1)
    assert done.returncode != 0
    assert "Error in rule plate" in done.stderr
    # wrong use is an error of a part
    (tmp_path / "layout.csv").write_text("well,condition\nZ99,LPS\n")
    done = snakemake(tmp_path, parts=2)
    assert done.returncode != 0
    assert "Error in rule part" in done.stderr
    log = tmp_path / "results" / "logs" / "plate 1" / "1-of-2.log"
    assert "'Z99' is no well" in log.read_text()
    assert plate.is_dir()
