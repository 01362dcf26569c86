"""``napari-tam train cells`` and ``napari-tam export-training``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from napari_tam.progress import Progress
    from napari_tam.train.judgement import FineTuned

#: Exit status when the network became worse.
WORSE = 1

#: Options of ``napari-tam train`` that only ``phenotype`` has.
_OF_PHENOTYPE = ("labels", "controls", "markers", "layout", "group", "from_scratch")


def train_cells(arguments: argparse.Namespace) -> int:
    """Fine-tune the small bundled cells network on corrected masks."""
    import torch

    from napari_tam.networks.cards import SMALL_CELLS, bundled_cards
    from napari_tam.networks.devices import choose_device
    from napari_tam.settings import Settings
    from napari_tam.train.finetune import Recipe, finetune
    from napari_tam.train.judgement import report_lines, save, verdict
    from napari_tam.train.training_set import read_training_fields, settings_of

    for name in _OF_PHENOTYPE:
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} belongs to 'napari-tam train phenotype', not to 'train cells'")
    paths: list[Path] = arguments.results
    if arguments.settings is not None:
        settings = Settings.from_yaml(arguments.settings)
    else:
        results = next((path for path in paths if (path / "images.csv").exists()), None)
        settings = Settings() if results is None else settings_of(results)
    cards = bundled_cards()
    if SMALL_CELLS not in cards:
        raise InputError(f"the bundled network '{SMALL_CELLS}' is missing", fix="reinstall napari-tam")
    started = time.perf_counter()
    own = settings if arguments.settings is not None else Settings()
    fields = read_training_fields(paths, own)
    recipe = Recipe(seed=arguments.seed, **({} if arguments.steps is None else {"steps": arguments.steps}))
    print(f"{len(fields)} fields of {len({field.group for field in fields})} images", flush=True)
    model = _drive(
        finetune(
            fields,
            cards[SMALL_CELLS],
            recipe,
            settings,
            torch.device(choose_device(settings.device)),
            allow_single_group=arguments.allow_single_group,
        ),
        started,
    )
    print("\n".join(["", *report_lines(model.report), ""]))
    print(verdict(model))
    if not model.adopted:
        return WORSE
    save(model, arguments.out)
    print(f"terms   {model.card['terms']}")
    print(f"model   {arguments.out} ({time.perf_counter() - started:.0f} s)")
    print(f"use it  napari-tam analyse IMAGES --out RESULTS --cells-model {arguments.out}")
    return 0


def _drive(work: Generator[Progress, None, FineTuned], started: float) -> FineTuned:
    """Run to the end, with a line for each part."""
    said = ""
    while True:
        try:
            progress = next(work)
        except StopIteration as stop:
            model: FineTuned = stop.value
            return model
        if progress.step != said:
            said = progress.step
            seconds = time.perf_counter() - started
            print(f"... {said} (step {progress.done} of {progress.total}, {seconds:.0f} s)", flush=True)


def add_export_training_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam export-training``."""
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")
    own.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the training set")
    own.add_argument(
        "--all", action="store_true", help="fields that nobody corrected, too, with the masks that were found"
    )


def export_training(arguments: argparse.Namespace) -> int:
    """Write the corrected fields of results folders as a training set."""
    from napari_tam.train.training_set import results_fields, write_training_set

    written = write_training_set(results_fields(arguments.results, every=arguments.all), arguments.out)
    for path in written:
        print(path)
    print(f"{len(written)} fields, each with its masks")
    print(f"train   napari-tam train cells {arguments.out} --out my_cells")
    return 0
