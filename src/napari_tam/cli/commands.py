"""The commands and their parsers. Options and work are in modules of their own, imported when used."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from napari_tam.cli.console import Answer
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Parser(argparse.ArgumentParser):
    """One line for an error, and no guessing of shortened options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise InputError(message, fix=f"'{self.prog} --help' tells more")


class _Version(argparse.Action):
    """Print the version, which takes longer to find out than all else of ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from napari_tam.installation import __version__

        print(f"napari-tam {__version__}")
        parser.exit()


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    name, text, more
        What it is called, what it does in one line, and what ``--help`` says besides.
    module, run, options
        Module of this package with the function that does it, and the one that adds its options ("": none).
    failing
        What exit status 1 means; "" if it does not end so.
    for_programs
        Whether ``--json`` makes it print one JSON object, and nothing else, on stdout.
    """

    name: str
    text: str
    module: str
    run: str
    options: str = ""
    more: str = ""
    failing: str = ""
    for_programs: bool = False

    def __call__(self, arguments: argparse.Namespace) -> Answer:
        """Run it; return what it answers."""
        found: Answer | int = self._function(self.run)(arguments)
        return Answer(found) if isinstance(found, int) else found

    @property
    def description(self) -> str:
        """What ``--help`` says."""
        status = (
            f"Exit status: 0 done, 1 {self.failing}, 2 wrong use, 130 interrupted." if self.failing else ""
        )
        return " ".join(filter(None, [f"{self.text}.", self.more, status]))

    def add_options(self, parser: Parser) -> None:
        """Give its parser its options."""
        if self.options:
            self._function(self.options)(parser)
        if self.for_programs and "--json" not in parser._option_string_actions:
            parser.add_argument("--json", action="store_true", help=JSON_HELP)

    def _function(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(f"napari_tam.cli.{self.module}"), name)
        return function


#: What ``--json`` does.
JSON_HELP = "for programs: print one JSON object at the end, and nothing else, on stdout (docs/scripts.md)"


def build(command: str) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser, and those of the commands; options are only built for `command`."""
    parser = Parser(
        prog="napari-tam", description="How much exosome did each macrophage take up? From images to tables."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[str, Parser] = {}
    for each in COMMANDS:
        own = commands.add_parser(each.name, help=each.text, description=each.description)
        own.set_defaults(run=each)
        parsers[each.name] = own
        if each.name == command:
            each.add_options(own)
    return parser, parsers


COMMANDS = (
    Command(
        "analyse",
        "Analyse images: cells, puncta and uptake",
        module="images",
        run="run_analyse",
        options="add_analyse_options",
        more="Every setting can be given as an option; what is not given is taken from the settings "
        "file, or has its default.",
        failing="some images failed",
        for_programs=True,
    ),
    Command(
        "batch",
        "Analyse many images: resumed where it stopped, on all cores or on a cluster",
        module="images",
        run="run_batch",
        options="add_batch_options",
        more="As analyse, but images whose result is there and still holds are not analysed again: the"
        " same command goes on after a cancel, a crash or new images.",
        failing="some images failed",
        for_programs=True,
    ),
    Command(
        "watch",
        "Analyse whatever the microscope writes into a folder, as soon as it is complete",
        module="images",
        run="run_watch",
        options="add_watch_options",
        more="Goes on until Ctrl+C. What was analysed before it started is kept, so it can be started "
        "again at any time.",
        failing="some images failed",
    ),
    Command(
        "layout",
        "Write the plate layout of images, to fill in",
        module="layout",
        run="write_layout",
        options="add_layout_options",
        more="One row a well, by the images' names; the columns condition, dose, time, donor, replicate and "
        "control_role are empty.",
    ),
    Command(
        "uptake",
        "Decide again which cells are positive, and compare again",
        module="uptake",
        run="uptake",
        options="add_uptake_options",
        more="From the tables of an earlier analysis, by another layout or other settings; no image is read.",
    ),
    Command(
        "compare",
        "Test conditions and phenotypes against one another",
        module="uptake",
        run="compare",
        options="add_compare_options",
        more="One replicate is one value, whatever its number of cells. Prints the tests and writes "
        "them to RESULTS/comparisons.csv and replicates.csv.",
        for_programs=True,
    ),
    Command(
        "power",
        "Say how many replicates and cells show an effect, by a pilot's spread",
        module="power",
        run="power",
        options="add_power_options",
        more="Draws experiments with the spread of the pilot between replicates and cells, and tests them "
        "as 'napari-tam compare' would. Prints what it takes and writes RESULTS/power.csv.",
    ),
    Command(
        "simulate",
        "Write simulated fields and their truth",
        module="simulate",
        run="simulate",
        options="add_simulate_options",
    ),
    Command(
        "settings",
        "Write a settings file with all defaults and comments",
        module="settings",
        run="write_settings",
        options="add_settings_options",
    ),
    Command(
        "calibrate",
        "Measure flat field, bleed-through or channel shift of the microscope",
        module="calibrate",
        run="calibrate",
        options="add_calibrate_options",
        more="flat-field: from 8 or more fields of cells, or a uniform --reference. bleed-through: "
        "from single-stain controls. shift: from beads that shine in all channels. Each is one "
        "part of the folder for 'napari-tam analyse --corrections'.",
    ),
    Command(
        "train",
        "Train a phenotype or a cell model on cells of your own",
        module="train",
        run="train",
        options="add_train_options",
        more="phenotype: from labelled cells (--labels) or control wells (--controls). The model is "
        "judged on groups (replicates, donors or plates) that it has not seen, calibrated and "
        "written as a folder for 'napari-tam analyse --phenotype-model'. cells: fine-tunes the "
        "bundled network on masks that were corrected by hand. It is judged on images that were "
        "left out, and written as a folder for '--cells-model' unless it became worse.",
        failing="the network became worse, or the score of puncta no better: it was not written",
    ),
    Command(
        "export-training",
        "Write corrected fields as a training set",
        module="train_cells",
        run="export_training",
        options="add_export_training_options",
        more="Images with their masks, for 'napari-tam train cells' and for Cellpose.",
    ),
    Command(
        "explain",
        "Show why a cell has its phenotype, or example cells of every class",
        module="train_phenotype",
        run="explain",
        options="add_explain_options",
        more="With --image and --label: which features push how far (a table and a picture in "
        "RESULTS/explained). Without: RESULTS/phenotype_examples.png.",
    ),
    Command(
        "track",
        "Follow the cells of movies through their frames and fit their uptake kinetics",
        module="track",
        run="track",
        options="add_track_options",
        more="Adds the columns track and time_h to cells.csv and writes kinetics.csv. Can be repeated "
        "with another layout or other settings.",
    ),
    Command(
        "export",
        "Write results for other programs: AnnData, QuPath, ImageJ, OME-Zarr, R, Prism",
        module="export",
        run="export",
        options="add_export_options",
        more="What was exported before is replaced.",
    ),
    Command(
        "report",
        "Write the report of a results folder",
        module="report",
        run="report",
        options="add_report_options",
        more="RESULTS/report.html, one file that needs nothing else, and its figures with their data "
        "in RESULTS/figures. It can be repeated at any time.",
    ),
    Command(
        "methods",
        "Print a methods paragraph for a paper",
        module="report",
        run="methods",
        options="add_report_options",
        more="Filled with the settings, models, corrections and versions of the run, with references.",
    ),
    Command(
        "verify",
        "Say whether a results folder can be reproduced",
        module="report",
        run="verify",
        options="add_report_options",
        more="Images, networks, settings, program and tables are compared with the record of the run.",
        failing="something is not as recorded",
        for_programs=True,
    ),
    Command(
        "models",
        "List the networks that can be used, or export one",
        module="models",
        run="models",
        options="add_models_options",
        for_programs=True,
    ),
    Command(
        "doctor",
        "Check the installation",
        module="doctor",
        run="doctor",
        failing="there is a problem",
        for_programs=True,
    ),
    Command(
        "score",
        "Compare results with a truth",
        module="score",
        run="print_scores",
        options="add_score_options",
        more="The truth has the layout of sample_data/.",
        for_programs=True,
    ),
)
