"""The command line: ``napari-tam COMMAND …``.

Only argparse is imported here, so that ``--help`` is there at once; a command imports what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Exit status: some image failed; wrong usage, settings or model; Ctrl+C.
SOME_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # names of files need not be in the terminal's alphabet
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        parsed = _parse(arguments)
        status: int = parsed.run(parsed)
        sys.stdout.flush()
        return status
    except InputError as error:
        return _complain(one_line(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # e.g. napari-tam models | head -1
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """One line for an error, and no guessing of shortened options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(_complain(f"{message}. '{self.prog} --help' tells more"))


def _complain(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return WRONG_USE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    command = next((word for word in argv if not word.startswith("-")), "")
    parser, parsers = _build(command)
    parsed, unknown = parser.parse_known_args(argv)
    if unknown:
        own = parsers[parsed.command]
        problems = []
        for word in unknown:
            name = word.partition("=")[0]
            close = difflib.get_close_matches(name, own._option_string_actions, n=1)
            problems.append(f"unknown: {word}" + (f" (did you mean {close[0]}?)" if close else ""))
        own.error("; ".join(problems))
    parsed.argv = argv
    return parsed


def _build(command: str) -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser, and those of the commands; options are only built for `command`."""
    from napari_tam.installation import __version__

    parser = _Parser(
        prog="napari-tam", description="How much exosome did each macrophage take up? From images to tables."
    )
    parser.add_argument("--version", action="version", version=f"napari-tam {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[str, _Parser] = {}

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = "") -> _Parser:
        parsers[name] = commands.add_parser(name, help=text, description=f"{text}. {more}".strip())
        parsers[name].set_defaults(run=run)
        return parsers[name]

    own = add(
        "analyse",
        _analyse,
        "Analyse images: cells, puncta and uptake",
        "Every setting can be given as an option; what is not given is taken from the settings file, or has "
        "its default. "
        "Exit status: 0 all images analysed, 1 some failed, 2 wrong use, 130 interrupted.",
    )
    own.usage = "%(prog)s IMAGE… --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    own.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or patterns")
    _add_run_options(own, settings=command == "analyse")
    own = add(
        "batch",
        _batch,
        "Analyse many images: resumed where it stopped, on all cores or on a cluster",
        "As analyse, but images whose result is there and still holds are not analysed again: the same "
        "command goes on after a cancel, a crash or new images. "
        "Exit status: 0 all images analysed, 1 some failed, 2 wrong use, 130 interrupted.",
    )
    own.usage = "%(prog)s IMAGE… --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    own.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or patterns")
    own.add_argument("--dry-run", action="store_true", help="only say what would be done, and why")
    own.add_argument("--retry-failed", action="store_true", help="analyse images again that failed")
    own.add_argument("--fresh", action="store_true", help="analyse all images, whatever is there already")
    own.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="images to analyse at the same time (default: one a core; 2 with a GPU)",
    )
    own.add_argument(
        "--memory",
        type=_gigabytes,
        metavar="GB",
        help="memory for images that are analysed at the same time (default: half of what is free)",
    )
    own.add_argument(
        "--cluster",
        metavar="WHERE",
        help="analyse on dask workers: local:N, tcp://HOST:PORT, or slurm:N, lsf:N, sge:N, pbs:N",
    )
    _add_run_options(own, settings=command == "batch")

    own = add(
        "watch",
        _watch,
        "Analyse whatever the microscope writes into a folder, as soon as it is complete",
        "Goes on until Ctrl+C. What was analysed before it started is kept, so it can be started again at "
        "any time.",
    )
    own.usage = "%(prog)s FOLDER --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    own.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where the images appear, subfolders included"
    )
    own.add_argument(
        "--settle",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="an image is complete if it did not change for so long (default: 10)",
    )
    own.add_argument(
        "--poll",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="look for new images at least so often (default: 5)",
    )
    own.add_argument(
        "--report-every",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="with a layout: renew the report at most so often (default: 300)",
    )
    own.add_argument("--once", action="store_true", help="end when all images that are there are analysed")
    _add_run_options(own, settings=command == "watch")

    own = add(
        "uptake",
        _uptake,
        "Decide again which cells are positive, and compare again",
        "From the tables of an earlier analysis, by another layout or other settings; no image is read.",
    )
    if command == "uptake":
        from napari_tam.cli.uptake import add_uptake_options

        add_uptake_options(own)
    own = add(
        "compare",
        _compare,
        "Test conditions and phenotypes against one another",
        "One replicate is one value, whatever its number of cells. Prints the tests and writes them to "
        "RESULTS/comparisons.csv and replicates.csv.",
    )
    if command == "compare":
        from napari_tam.cli.uptake import add_compare_options

        add_compare_options(own)

    own = add("simulate", _simulate, "Write simulated fields and their truth")
    own.add_argument("out", type=Path, metavar="OUT", help="folder for the fields")
    kind = own.add_mutually_exclusive_group()
    kind.add_argument(
        "--planes",
        type=_natural,
        nargs="?",
        const=20,
        metavar="N",
        help="write z-stacks of N planes (default: 20) with puncta inside, on and outside the cells",
    )
    kind.add_argument(
        "--frames", type=_natural, metavar="N", help="movies of N frames in the place of single fields"
    )
    kind.add_argument(
        "--plate",
        action="store_true",
        help="a plate: doses, replicates, M1 and M2 cells, dye-only controls and layout.csv; --fields is "
        "the number of fields a well",
    )
    own.add_argument(
        "--fields", type=_natural, default=None, metavar="N", help="how many (default: 3; plate: 1)"
    )
    own.add_argument(
        "--seed", type=_natural, default=0, metavar="S", help="same seed, same fields (default: 0)"
    )

    own = add("settings", _settings, "Write a settings file with all defaults and comments")
    own.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the file (default: the terminal)")
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")

    own = add(
        "calibrate",
        _calibrate,
        "Measure flat field, bleed-through or channel shift of the microscope",
        "flat-field: from 8 or more fields of cells, or a uniform --reference. bleed-through: from "
        "single-stain controls. shift: from beads that shine in all channels. Each is one part of the folder "
        "for 'napari-tam analyse --corrections'.",
    )
    if command == "calibrate":
        from napari_tam.cli.calibrate import add_calibrate_options

        add_calibrate_options(own)
    own = add(
        "train",
        _train,
        "Train a phenotype or a cell model on cells of your own",
        "phenotype: from labelled cells (--labels) or control wells (--controls). The model is judged on "
        "groups (replicates, donors or plates) that it has not seen, calibrated and written as a folder for "
        "'napari-tam analyse --phenotype-model'. cells: fine-tunes the bundled network on masks that were "
        "corrected by hand. It is judged on images that were left out, and written as a folder for "
        "'--cells-model' unless it became worse (exit status 1).",
    )
    if command == "train":
        from napari_tam.cli.phenotype import add_train_options

        add_train_options(own)
    own = add(
        "export-training",
        _export_training,
        "Write corrected fields as a training set",
        "Images with their masks, for 'napari-tam train cells' and for Cellpose.",
    )
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")
    own.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the training set")
    own.add_argument(
        "--all", action="store_true", help="fields that nobody corrected, too, with the masks that were found"
    )
    own = add(
        "explain",
        _explain,
        "Show why a cell has its phenotype, or example cells of every class",
        "With --image and --label: which features push how far (a table and a picture in "
        "RESULTS/explained). Without: RESULTS/phenotype_examples.png.",
    )
    if command == "explain":
        from napari_tam.cli.phenotype import add_explain_options

        add_explain_options(own)

    own = add(
        "track",
        _track,
        "Follow the cells of movies through their frames and fit their uptake kinetics",
        "Adds the columns track and time_h to cells.csv and writes kinetics.csv. Can be repeated with "
        "another layout or other settings.",
    )
    if command == "track":
        from napari_tam.cli.track import add_track_options

        add_track_options(own)
    own = add(
        "export",
        _export,
        "Write results for other programs: AnnData, QuPath, ImageJ, OME-Zarr, R, Prism",
        "What was exported before is replaced.",
    )
    if command == "export":
        from napari_tam.cli.export import add_export_options

        add_export_options(own)
    own = add(
        "report",
        _report,
        "Write the report of a results folder",
        "RESULTS/report.html, one file that needs nothing else, and its figures with their data in "
        "RESULTS/figures. It can be repeated at any time.",
    )
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")
    own = add(
        "methods",
        _methods,
        "Print a methods paragraph for a paper",
        "Filled with the settings, models, corrections and versions of the run, with references.",
    )
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")

    add("models", _models, "List the networks that can be used")
    add("doctor", _doctor, "Check the installation")

    own = add("score", _score, "Compare results with a truth", "The truth has the layout of sample_data/.")
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")
    own.add_argument("truth", type=Path, metavar="TRUTH", help="folder with a_masks.tif, a_puncta.csv, …")
    own.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    return parser, parsers


def _add_run_options(own: _Parser, *, settings: bool) -> None:
    """Add what every command that analyses images has; the settings only if they are asked for."""
    own.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    own.add_argument("--settings", type=Path, metavar="FILE", help="settings file (YAML)")
    own.add_argument(
        "--layout",
        type=Path,
        metavar="FILE",
        help="plate layout (CSV): what was done in which well, controls",
    )
    if settings:
        from napari_tam.cli.options import add_options

        add_options(own)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _gigabytes(text: str) -> float:
    return _above_zero(text, "a number of gigabytes")


def _seconds(text: str) -> float:
    return _above_zero(text, "a number of seconds")


def _above_zero(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not {what} above 0")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def _analyse(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.analyse import analyse
    from napari_tam.cli.options import chosen_settings

    settings = chosen_settings(arguments)
    return analyse(
        arguments.images,
        arguments.out,
        settings,
        ["napari-tam", *arguments.argv],
        layout=arguments.layout,
    )


def _batch(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.analyse import Run, analyse
    from napari_tam.cli.options import chosen_settings

    settings = chosen_settings(arguments)
    how = Run(
        resume=not arguments.fresh,
        retry_failed=arguments.retry_failed,
        jobs=arguments.jobs,
        memory_gb=arguments.memory,
        dry_run=arguments.dry_run,
        cluster=arguments.cluster,
    )
    command = ["napari-tam", *arguments.argv]
    return analyse(arguments.images, arguments.out, settings, command, layout=arguments.layout, how=how)


def _watch(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.watch import watch

    return watch(arguments)


def _uptake(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.uptake import uptake

    return uptake(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.uptake import compare

    return compare(arguments)


def _calibrate(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.calibrate import calibrate

    return calibrate(arguments)


def _train(arguments: argparse.Namespace) -> int:
    if arguments.kind == "cells":
        from napari_tam.cli.cells import train_cells

        return train_cells(arguments)
    from napari_tam.cli.phenotype import train

    return train(arguments)


def _export_training(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.cells import export_training

    return export_training(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.phenotype import explain

    return explain(arguments)


def _track(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.track import track

    return track(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from napari_tam.cli.export import export

    return export(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from napari_tam.report.build import write_report

    report = write_report(arguments.results)
    for title, why in report.left_out:
        print(f"left out {title}: {why}")
    print(f"report   {report.path}")
    print(f"figures  {report.path.parent / 'figures'}: {len(report.figures)}, each as PNG, SVG and CSV")
    return 0


def _methods(arguments: argparse.Namespace) -> int:
    from napari_tam.report.methods import methods_text

    print(methods_text(arguments.results), end="")
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    fields = arguments.fields
    if fields is None:
        fields = 1 if arguments.plate else 3
    if arguments.plate:
        from napari_tam.simulate.plate import Plate, write_plate

        written = list(write_plate(arguments.out, Plate(fields=fields), arguments.seed))
    elif arguments.frames is not None:
        from napari_tam.simulate.movie import write_movies

        written = write_movies(arguments.out, fields, arguments.frames, arguments.seed)
    elif arguments.planes is not None:
        from napari_tam.simulate.scene3d import write_volumes

        written = write_volumes(arguments.out, fields, arguments.seed, planes=arguments.planes)
    else:
        from napari_tam.simulate.scene import write_fields

        written = write_fields(arguments.out, fields, arguments.seed)
    for path in written:
        print(path)
    return 0


def _settings(arguments: argparse.Namespace) -> int:
    from napari_tam.settings import Settings

    text = Settings().to_yaml()
    path: Path | None = arguments.file
    if path is None:
        if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")  # it becomes a file that is read as UTF-8
        print(text, end="")
        return 0
    if path.exists() and not arguments.force:
        raise InputError("the file is there already", where=path, fix="--force replaces it")
    from napari_tam.files import write_text

    write_text(path, text)
    return 0


def _models(_arguments: argparse.Namespace) -> int:
    from napari_tam.pipeline.models import available_models

    rows: list[tuple[str, ...]] = [("name", "for", "from", "")]
    for model in available_models():
        state = model.description if model.ok else "DAMAGED: not the file that its card describes"
        rows.append((model.name, model.kind, model.source, state))
    print_table(rows)
    print("\nA path to a Cellpose model file can be used as well: --cells-model PATH, --nuclei-model PATH;")
    print("and a model folder of 'napari-tam train cells': --cells-model DIR.")
    return 0


def _doctor(_arguments: argparse.Namespace) -> int:
    from napari_tam.cli.doctor import checks

    status = 0
    for check in checks():
        print(
            f"{check.status:8} {check.text}" + (f"\n{'':8} -> {check.fix}" if check.fix else ""), flush=True
        )
        if check.status == "problem":
            status = 1
    return status


def _score(arguments: argparse.Namespace) -> int:
    from napari_tam.evaluate.score import pool, score
    from napari_tam.files import write_json

    scores = score(arguments.results, arguments.truth)
    reports = [(each.name, each.report()) for each in [*scores, pool(scores)]]
    titles = {
        "cells": ("ap_0.5", "ap_0.75", "ap_0.9"),
        "nuclei": ("ap_0.5", "ap_0.75", "ap_0.9"),
        "puncta": ("f1", "precision", "recall"),
        "counts": ("count_relative_error", "intensity_r", "cells_matched"),
    }
    for group, names in titles.items():
        rows: list[tuple[str, ...]] = [(group, *names)]
        for name, report in reports:
            values = report[group]
            rows.append((name, *("-" if values is None else _figure(values[key]) for key in names)))
        if any(report[group] for _, report in reports):
            print_table(rows)
        else:
            print(f"{group}: no truth")
        print()
    if arguments.json is not None:
        write_json(arguments.json, {"images": dict(reports[:-1]), "all": reports[-1][1]})
    return 0


def _figure(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
