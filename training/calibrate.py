"""Find the limits between which convolutions are rounded to eight bits: ``python training/calibrate.py``.

Runs the bundled networks on images that they were or may have been trained on, gives the channels of FlowNets
the same range (`equalise`; the weights are written anew), chooses for every convolution the limits of its
input with the least squared error of rounding, leaves out those that alone change the output too much
(`MOST`), and moves the rest as long as the output comes nearer (`nearer`). The limits go onto the cards
(``int8``, see `napari_tam.networks.int8`); those of other weights are forgotten.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from data import held_out_nuclei
from equalise import equalise
from export import in_half, write_card
from puncta_fields import psd95
from puncta_scenes import drawn_field

from napari_tam.networks import engines
from napari_tam.networks.cards import ModelCard
from napari_tam.networks.int8 import convolutions, rounded
from napari_tam.networks.openvino_graph import graph_of
from napari_tam.networks.openvino_import import openvino
from napari_tam.pipeline.models import load_models
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
MODELS = ROOT / "models"

#: A convolution is left as it is if rounding it alone gives a squared error of this share of the output's
#: variance.
MOST = 1.5e-3

#: Limits are made so many times wider, as long as that leaves less than this share of the error.
STEPS, WORTH = (0.8, 1.25), 0.999

#: Shares of the largest value that are tried as a limit; samples that are taken from each image.
SHARES, SAMPLES = np.linspace(0.15, 1, 35), 20_000

#: Images, and pixels a side, that the error of the output is taken from.
JUDGED, JUDGED_PX = 32, 256

#: Images of puncta are also taken as if they had so many times less noise. Without, limits clipped bright
#: images: more than half of the condensates in the shared folder were lost.
BRIGHTER = (1.0, 4.0, 20.0)

#: Pixels that have no unit: half a micrometre each, as a stand-in.
PIXEL_UM = 0.5

#: Fields of cells that ``benchmarks/real_cells.py`` measures without ``--all``: not for choosing anything.
KEPT_BACK = (
    "bbbc020_104 bbbc020_106 bbbc020_121 kc167_095 kc167_097 kc167_103 n1e115_044 n1e115_079 n1e115b_002 "
    "n1e115b_007 membrane_309 cyto_a_127 cyto_b_150"
).split()


def cells(models: Any, settings: Settings) -> None:
    """Run the network on fields of cells, at their true diameter."""
    for path in sorted((DATA / "cells").glob("*_masks.tif")):
        name = path.name.removesuffix("_masks.tif")
        if name not in KEPT_BACK:
            image, truth = tifffile.imread(path.with_name(f"{name}.tif")), tifffile.imread(path)
            second = image[1] if image[1].any() else None
            um = median_diameter(truth.astype(np.int32)) * PIXEL_UM
            models.cells.segment(image[0], second, PIXEL_UM, um, settings)


def nuclei(models: Any, settings: Settings) -> None:
    """Run the network on fields of nuclei that it was trained on, at their true diameter."""
    truths = {path.name.removesuffix("_masks.tif"): path for path in (DATA / "nuclei").glob("*_masks.tif")}
    truths = {name: path for name, path in sorted(truths.items()) if tifffile.imread(path).any()}
    held = set(held_out_nuclei(list(truths)))
    for name in [name for name in truths if name not in held][::14]:
        um = median_diameter(tifffile.imread(truths[name])) * PIXEL_UM
        image = tifffile.imread(DATA / "nuclei" / f"{name}.tif")
        models.nuclei.segment(image, None, PIXEL_UM, um, settings)


def puncta(models: Any, settings: Settings) -> None:
    """Run the network on tiles of PSD95 and DeepSpot that it was trained on, and on drawn fields."""
    tiles = [field.pixels for field in psd95(DATA, held=False)][::40]
    for path in sorted((DATA / "puncta" / "train").glob("*.tif"))[::12]:
        tiles.append(tifffile.imread(path))
    tiles += [drawn_field(np.random.default_rng([9, index]), [])[0] for index in range(16)]
    for pixels in tiles:
        models.puncta.candidates(pixels, PIXEL_UM, settings)


RUNS = {"cells": cells, "cells-fast": cells, "nuclei": nuclei, "puncta": puncta}


def inputs_of(name: str) -> tuple[Any, list[np.ndarray]]:
    """Return a network's graph, and what it is given."""
    settings = Settings(precision="full", engine="openvino", average_flips=False)
    if name == "cells-fast":
        settings = settings.updated(cells_model=name)
    models = load_models(settings)
    engine = getattr(models, name.removesuffix("-fast")).predictor.engine
    given: list[np.ndarray] = []

    def record(engine: engines.OpenVinoEngine, batch: np.ndarray) -> np.ndarray:
        if engine is wanted:
            given.append(batch[:, :, :512, :512].copy())
        return run(engine, batch)

    wanted, run = engine, engines.OpenVinoEngine.run
    engines.OpenVinoEngine.run = record  # type: ignore[method-assign]
    try:
        RUNS[name](models, settings)
    finally:
        engines.OpenVinoEngine.run = run  # type: ignore[method-assign]
    if name == "puncta":  # images at hand are noisy beside what a good camera and a bright label give
        given = [brighter(batch, factor) for factor in BRIGHTER for batch in given]
    return engine._graph, given


def brighter(batch: np.ndarray, factor: float) -> np.ndarray:
    """Return what the puncta network would be given had the image so many times less noise."""
    return np.asarray(np.arcsinh(factor * np.sinh(batch)), np.float32)


def equalised(name: str, given: list[np.ndarray]) -> Any:
    """Give a network's channels the same range, write its weights, and return its graph."""
    path = MODELS / f"{name}.json"
    card = ModelCard.read(path)
    network = card.load()
    equalise(network, given)
    data = in_half(network.state_dict())
    card.weights.write_bytes(data)
    write_card(path, {**card.values, "sha256": hashlib.sha256(data).hexdigest()})
    network = ModelCard.read(path).load().eval()
    return engines.without_shuffle(graph_of(network, [1, network.in_channels, -1, -1]))[0]


def compiled(graph: Any) -> Any:
    """Return a graph ready to run, in single precision where it isn't rounded."""
    return openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def seen_inputs(graph: Any, given: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return samples of what every convolution is given, its extremes among them."""
    ov, graph = openvino(), graph.clone()
    found = convolutions(graph)
    results = [ov.opset13.result(node.input_value(0)) for node in found.values()]
    tapped = compiled(ov.Model(results, graph.get_parameters(), "inputs"))
    seen: dict[str, list[np.ndarray]] = {name: [] for name in found}
    random = np.random.default_rng(0)
    for batch in given:
        for name, values in zip(found, tapped([batch]).values(), strict=True):
            flat = values.ravel()
            seen[name] += [random.choice(flat, min(SAMPLES, flat.size)), np.array([flat.min(), flat.max()])]
    return {name: np.concatenate(values) for name, values in seen.items()}


def best_limits(values: np.ndarray, shares: np.ndarray = SHARES) -> tuple[float, float]:
    """Return limits of 256 values with the least squared error; symmetric where some are negative.

    They are one of these shares of the largest value.
    """

    def tries() -> Iterator[tuple[float, float, float]]:
        for share in shares:
            top = float(np.abs(values).max() * share)
            low, high = (0.0, top) if values.min() >= 0 else (-top * 128 / 127, top)
            step = (high - low) / 255
            near = np.clip(np.round((values - low) / step), 0, 255) * step + low
            yield float(((near - values) ** 2).mean()), low, high

    _, low, high = min(tries())
    return low, high


def limits_of(name: str) -> dict[str, tuple[float, float]]:
    """Return the limits of those convolutions that can be rounded.

    Those with the least error of the inputs, or all that was seen: whatever changes the output of the worst
    image less. From there on the limits of one convolution after the other that change it less.
    """
    graph, given = inputs_of(name)
    if not ModelCard.read(MODELS / f"{name}.json").is_cpnet:
        graph = equalised(name, given)
    seen = seen_inputs(graph, given)
    parts = [batch[:, :, :JUDGED_PX, :JUDGED_PX] for batch in given[1 :: max(1, len(given) // JUDGED)]]
    exact = compiled(graph)
    truth = [exact([part])[0] for part in parts]
    # Of all images: where there is nothing to be found, hardly anything varies.
    usual = np.mean([wanted.var(axis=(0, 2, 3), keepdims=True) for wanted in truth], axis=0)

    def errors(chosen: dict[str, tuple[float, float]]) -> list[float]:
        run = compiled(rounded(graph, chosen))
        return [
            float(((run([part])[0] - wanted) ** 2 / usual).mean())
            for part, wanted in zip(parts, truth, strict=True)
        ]

    kept: dict[str, tuple[float, float]] = {}
    for place, (key, values) in enumerate(seen.items()):
        limits = best_limits(values)
        alone = float(np.mean(errors({key: limits})))
        if alone < MOST:
            kept[key] = limits
        print(f"{name} {place:2d} {key} {alone:.5f}{'' if alone < MOST else '  left as it is'}", flush=True)
    widest = {key: best_limits(seen[key], np.ones(1)) for key in kept}
    chosen = min((kept, widest), key=lambda limits: max(errors(limits)))
    result = nearer(chosen, lambda limits: float(np.mean(errors(limits))))
    found = errors(result)
    print(f"{name}: {len(kept)} of {len(seen)}; mean {np.mean(found):.5f}, worst image {max(found):.5f}")
    return result


def nearer(
    limits: dict[str, tuple[float, float]], error: Callable[[dict[str, tuple[float, float]]], float]
) -> dict[str, tuple[float, float]]:
    """Return limits of less error, made wider or narrower one after the other."""
    least = error(limits)
    for key in limits:
        for times in STEPS:
            while True:
                low, high = limits[key]
                tried = {**limits, key: (low * times, high * times)}
                found = error(tried)
                if found >= WORTH * least:
                    break
                least, limits = found, tried
    return limits


def main() -> None:
    """Write the limits onto the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RUNS), choices=list(RUNS), metavar="NAME")
    for name in parser.parse_args().names:
        path = MODELS / f"{name}.json"
        limits = limits_of(name)
        card = json.loads(path.read_text(encoding="utf-8"))
        card["int8"] = {key: [float(f"{value:.4g}") for value in pair] for key, pair in limits.items()}
        write_card(path, card)


if __name__ == "__main__":
    main()
