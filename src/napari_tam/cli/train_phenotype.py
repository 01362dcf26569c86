"""``napari-tam train phenotype`` and ``napari-tam explain``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.files import OutputError, make_folder, write_text

if TYPE_CHECKING:
    import argparse

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from napari_tam.phenotype.model import PhenotypeModel
    from napari_tam.results.folder import Results


def train(arguments: argparse.Namespace) -> int:
    """Train a phenotype model on one's own cells."""
    from napari_tam.io.layout import read_layout
    from napari_tam.phenotype.classify import load_classifier
    from napari_tam.settings import Settings
    from napari_tam.train.known_cells import read_labelled
    from napari_tam.train.phenotype import Recipe
    from napari_tam.train.phenotype import train as train_model
    from napari_tam.train.teaching import save_trained

    for name in ("steps", "settings"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} belongs to 'napari-tam train cells', not to 'train phenotype'")
    if len(arguments.results) != 1:
        raise InputError("a phenotype model is trained on one results folder", where=arguments.results[1])
    folder: Path = arguments.results[0]
    out: Path = arguments.out
    make_folder(out)
    started = time.perf_counter()
    layout = None if arguments.layout is None else read_layout(arguments.layout)
    cells = read_labelled(
        folder,
        labels=arguments.labels,
        controls=arguments.controls,
        markers=arguments.markers,
        layout=layout,
        group=arguments.group,
    )
    bundled = None if arguments.from_scratch else load_classifier("phenotype")
    start = None if bundled is None else bundled.model
    print(f"{len(cells)} cells that the border does not cut", flush=True)
    model, report = train_model(
        cells,
        Recipe(seed=arguments.seed),
        start,
        allow_single_group=arguments.allow_single_group,
        min_probability=Settings().phenotype_min_probability,
        shuffle=arguments.markers,
        tell=lambda text: print(f"... {text}", flush=True),
    )
    source = f"--labels {arguments.labels}" if arguments.labels else f"--controls {arguments.controls}"
    source = "--markers" if arguments.markers else source
    lines = save_trained(
        model,
        report,
        out,
        cells=len(cells),
        data=folder.name,
        source=source,
        start=start,
        seed=arguments.seed,
    )
    print("\n".join(["", *lines, ""]))
    print(f"model   {out} ({time.perf_counter() - started:.0f} s)")
    print(f"use it  napari-tam analyse IMAGES --out RESULTS --phenotype-model {out}")
    return 0


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam explain``."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'"
    )
    parser.add_argument("--image", metavar="NAME", help="image of the cell to explain, as in cells.csv")
    parser.add_argument("--label", type=int, metavar="N", help="label of the cell to explain")
    parser.add_argument(
        "--phenotype-model", metavar="PATH", help="model to explain with (default: that of the results)"
    )


def explain(arguments: argparse.Namespace) -> int:
    """Explain one cell, or draw examples of every class."""
    from napari_tam.results.folder import read_results

    results = read_results(arguments.results)
    if "phenotype" not in results.cells:
        raise InputError(
            "the results have no phenotypes", where=arguments.results, fix="analyse with a phenotype model"
        )
    if (arguments.image is None) != (arguments.label is None):
        raise InputError("--image and --label belong together")
    if arguments.image is None:
        print(_examples(results))
    else:
        for path in _explain_one(results, arguments.image, arguments.label, arguments.phenotype_model):
            print(path)
    return 0


def _examples(results: Results) -> Path:
    import numpy as np

    from napari_tam.train.figures import choose_examples, draw_examples

    chosen = choose_examples(results.cells)
    images = {name for cells in chosen.values() for name in cells["image"]}
    cut = {name: _crops_of(results, name) for name in sorted(images)}
    crops = {
        name: np.array([cut[row["image"]][row["label"]] for _, row in cells.iterrows()])
        for name, cells in chosen.items()
    }
    path = results.folder / "phenotype_examples.png"
    draw_examples(chosen, crops, path)
    return path


def _explain_one(results: Results, image: str, label: int, model_name: str | None) -> list[Path]:
    from napari_tam.train.explain import explain_cell
    from napari_tam.train.figures import draw_explanation

    row = results.cells[(results.cells["image"] == image) & (results.cells["label"] == label)]
    if row.empty:
        raise InputError(
            f"there is no cell {label} of {image}", where=results.folder, fix="take both from cells.csv"
        )
    model = _model(results, model_name)
    crop = _crops_of(results, image)[label]
    found = explain_cell(model, crop, row)
    folder = results.folder / "explained"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error) from error
    table, picture = folder / f"{image}_{label}.csv", folder / f"{image}_{label}.png"
    write_text(table, found.pushes.round(4).to_csv(index=False))
    draw_explanation(found, crop, f"{image}, cell {label}", picture)
    print(f"{image} cell {label}: {found.class_name}, p {found.probability:.3f} ({_called(row)})")
    print(f"log odds {found.start:+.2f} for the typical training cell, {found.log_odds:+.2f} for this one")
    pushes = found.pushes.reindex(found.pushes["push"].abs().sort_values(ascending=False).index)
    for _, push in pushes.iterrows():
        value = (
            ""
            if push["value"] != push["value"]
            else f"  {push['value']:.3g} (typical {push['training_mean']:.3g})"
        )
        print(f"  {push['push']:+6.2f}  {push['part']}{value}")
    return [table, picture]


def _called(row: pd.DataFrame) -> str:
    reason = row["phenotype_reason"].iloc[0]
    called = str(row["phenotype"].iloc[0])
    return f"in the table: {called}" + (f", {reason}" if isinstance(reason, str) and reason else "")


def _model(results: Results, name: str | None) -> PhenotypeModel:
    from napari_tam.phenotype.classify import load_classifier

    classifier = load_classifier(name or _settings(results).phenotype_model)
    if classifier is None:
        raise InputError("the results were made without a phenotype model", fix="give --phenotype-model")
    return classifier.model


def _settings(results: Results) -> Any:
    from napari_tam.settings import Settings

    path = results.folder / "settings.yaml"
    return Settings.from_yaml(path) if path.exists() else Settings()


def _crops_of(results: Results, image: str) -> dict[int, npt.NDArray[np.float32]]:
    from napari_tam.train.known_cells import image_crops

    cells = results.cells[results.cells["image"] == image].sort_values("label").reset_index(drop=True)
    crops = image_crops(results, image, cells, _settings(results))
    return dict(zip(cells["label"].tolist(), crops, strict=True))
