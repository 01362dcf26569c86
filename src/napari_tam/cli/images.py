"""The commands that analyse images: ``napari-tam analyse``, ``batch`` and ``watch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import Answer, gigabytes, part, positive, seconds
from napari_tam.cli.options import add_options, chosen_settings
from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_analyse_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam analyse``."""
    own.usage = "%(prog)s IMAGE… --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    _add_images(own)
    _add_run_options(own)


def add_batch_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam batch``."""
    own.usage = "%(prog)s IMAGE… --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    _add_images(own)
    own.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would be done, and how the first image is read",
    )
    own.add_argument("--retry-failed", action="store_true", help="analyse images again that failed")
    own.add_argument("--fresh", action="store_true", help="analyse all images, whatever is there already")
    own.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="images to analyse at the same time (default: one a core; with a GPU 4 at most)",
    )
    own.add_argument(
        "--memory",
        type=gigabytes,
        metavar="GB",
        help="memory for images that are analysed at the same time (default: half of what is free)",
    )
    own.add_argument(
        "--cluster",
        metavar="WHERE",
        help="analyse on dask workers: local:N, tcp://HOST:PORT, or slurm:N, lsf:N, sge:N, pbs:N",
    )
    own.add_argument(
        "--part",
        type=part,
        metavar="K/N",
        help="only the K-th of N parts of the images, for schedulers and workflow managers: parts share the "
        "--out folder and run at the same time; when all are done, the same command without --part "
        "writes the tables",
    )
    _add_run_options(own)


def add_watch_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam watch``."""
    own.usage = "%(prog)s FOLDER --out DIR [--layout FILE] [--settings FILE] [--SETTING VALUE]…"
    own.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where the images appear, subfolders included"
    )
    own.add_argument(
        "--settle",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="an image is complete if it did not change for so long (default: 10)",
    )
    own.add_argument(
        "--poll",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="look for new images at least so often (default: 5)",
    )
    own.add_argument(
        "--report-every",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="with a layout: renew the report at most so often (default: 300)",
    )
    own.add_argument("--once", action="store_true", help="end when all images that are there are analysed")
    _add_run_options(own)


def _add_images(own: argparse.ArgumentParser) -> None:
    """Add the images, and how folders are searched."""
    own.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or patterns")
    own.add_argument(
        "--recursive",
        action="store_true",
        help="images in subfolders as well (without it: if the folder itself holds none)",
    )


def _add_run_options(own: argparse.ArgumentParser) -> None:
    """Add what every command that analyses images has."""
    own.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    own.add_argument("--settings", type=Path, metavar="FILE", help="settings file (YAML)")
    own.add_argument(
        "--layout",
        type=Path,
        metavar="FILE",
        help="plate layout (CSV or Excel): what was done in which well, controls",
    )
    add_options(own)


def run_analyse(arguments: argparse.Namespace) -> Answer:
    """Analyse images anew."""
    from napari_tam.cli.analyse import Run, analyse

    settings = chosen_settings(arguments)
    return analyse(
        arguments.images,
        arguments.out,
        settings,
        ["napari-tam", *arguments.argv],
        layout=arguments.layout,
        how=Run(recursive=arguments.recursive),
    )


def run_batch(arguments: argparse.Namespace) -> Answer:
    """Analyse many images; what is there is kept."""
    settings = chosen_settings(arguments)
    _check_part(arguments)
    if arguments.dry_run:
        from napari_tam.cli.plan import print_plan

        return print_plan(
            arguments.images,
            arguments.out,
            settings,
            layout=arguments.layout,
            retry_failed=arguments.retry_failed,
            resume=not arguments.fresh,
            recursive=arguments.recursive,
        )
    from napari_tam.cli.analyse import Run, analyse, analyse_one_part

    how = Run(
        resume=not arguments.fresh,
        retry_failed=arguments.retry_failed,
        jobs=arguments.jobs,
        memory_gb=arguments.memory,
        cluster=arguments.cluster,
        recursive=arguments.recursive,
    )
    if arguments.part is not None:
        images, out, layout = arguments.images, arguments.out, arguments.layout
        return analyse_one_part(arguments.part, images, out, settings, layout=layout, how=how)
    command = ["napari-tam", *arguments.argv]
    return analyse(arguments.images, arguments.out, settings, command, layout=arguments.layout, how=how)


def _check_part(arguments: argparse.Namespace) -> None:
    """Raise InputError if ``--part`` is given with what is the whole batch's."""
    given = [name for name in ("fresh", "cluster", "dry_run") if getattr(arguments, name)]
    if arguments.part is not None and given:
        option = "--" + given[0].replace("_", "-")
        fix = "give one of the two"
        if given[0] == "fresh":
            fix = "a part keeps what is there; to do everything again, remove the --out folder first"
        raise InputError(f"--part and {option} do not go together", fix=fix)


def run_watch(arguments: argparse.Namespace) -> int:
    """Analyse what appears in a folder."""
    from napari_tam.cli.watch import watch

    return watch(arguments)
