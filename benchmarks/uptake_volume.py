"""Puncta in 3-D: inside the cell, on its membrane or outside? ``python benchmarks/uptake_volume.py``.

Simulated stacks (`napari_tam.simulate.scene3d.Scene3D`; seeds used nowhere else) go through the real
pipeline: cells stitched from planes by the bundled network, puncta found by the bundled network. Every
true punctum within 0.5 µm of a found one is judged by what the table says of that one. Puncta inside
and outside are at least `gap` µm from the surface; those on the membrane lie on it exactly.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from common import SHARED, publish, table

from napari_tam.evaluate.matching import count_masks, match_points
from napari_tam.io.field import Field
from napari_tam.pipeline.models import Models, load_models, stack_models
from napari_tam.pipeline.runner import run as analyse
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import VolumeParameters
from napari_tam.simulate.scene3d import LOCATIONS, Scene3D
from napari_tam.volume.measure import measure_volume

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.pipeline.analysis import Analysis

SEED = 4003
ROLES = ("cell", "nucleus", "exosome")
GOAL = 0.90
REAL = "nuclear_condensates_*_zstack.tif"


def conditions() -> dict[str, VolumeParameters]:
    """Return what is simulated: the default, and what microscopes and labels do to it."""
    base = VolumeParameters()
    plane = base.plane
    return {
        "default: 0.25 µm, z 0.5 µm": base,
        "gap 0.7 µm instead of 1": replace(base, gap_um=0.7),
        "z 0.3 µm": replace(base, z_step_um=0.3, planes=33),
        "z 1 µm": replace(base, z_step_um=1.0, planes=10),
        "0.325 µm, z 1 µm, wider PSF": replace(
            base,
            z_step_um=1.0,
            planes=11,
            spot_sigma_z_um=0.75,
            plane=replace(plane, pixel_size_um=0.325, spot_sigma_um=0.27, shape=(300, 300)),
        ),
        "a third of the light": replace(
            base, plane=replace(plane, stain_photons=40, nucleus_photons=50, punctum_photons=500)
        ),
        "membrane stain": replace(base, plane=replace(plane, stain=(0.1, 0.9, 0.0))),
        "20 × 512 × 512 voxels": replace(base, plane=replace(plane, shape=(512, 512), cells_per_field=25)),
    }


def field_of(scene: Scene3D) -> Field:
    """Return a scene as the pipeline takes it."""
    p = scene.parameters
    channels = dict(zip(ROLES, scene.image, strict=True))
    return Field("scene", channels, p.plane.pixel_size_um, z_step_um=p.z_step_um)


def calls(scene: Scene3D, puncta: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, int]:
    """Return true and called location (index in LOCATIONS) of the puncta found, and how many were found."""
    p = scene.parameters
    voxel = np.array([p.z_step_um, p.plane.pixel_size_um, p.plane.pixel_size_um])
    axes = ["z_px", "y_px", "x_px"]
    true, found = scene.puncta[axes].to_numpy() * voxel, puncta[axes].to_numpy() * voxel
    pairs = match_points(true, found, 0.5)
    number = {name: k for k, name in enumerate(LOCATIONS)}
    return (
        scene.puncta["location"].map(number).to_numpy()[pairs[:, 0]],
        puncta["location"].map(number).to_numpy()[pairs[:, 1]],
        len(pairs),
    )


def judge(name: str, parameters: VolumeParameters, stacks: int, models: Models) -> dict:
    """Analyse stacks of one kind and compare with their truth."""
    settings = Settings(device="cpu", phenotype_model="none")
    masks, seconds = np.zeros((2, 3)), []
    truth: list[list[np.ndarray]] = [[], []]
    called: list[list[np.ndarray]] = [[], []]
    true_puncta = found_puncta = matched = 0
    for index in range(stacks):
        scene = Scene3D.draw(parameters, [SEED, index])
        field = field_of(scene)
        clock, wall = time.process_time(), time.perf_counter()
        result: Analysis = analyse(field, settings, models)
        seconds.append((time.process_time() - clock, time.perf_counter() - wall))
        for row, true, found in (
            (0, scene.cells, result.cells),
            (1, scene.nuclei, result.nuclei),
        ):
            number, own, hits = count_masks(true, found)
            masks[row] += number, own, hits[0]
        _, with_truth, _ = measure_volume(field, scene.cells, scene.nuclei, result.puncta, settings)
        for k, puncta in enumerate((result.puncta, with_truth)):
            true, mine, number = calls(scene, puncta)
            truth[k].append(true)
            called[k].append(mine)
        true_puncta, found_puncta = true_puncta + len(scene.puncta), found_puncta + len(result.puncta)
        matched += number
    values = {
        f"{kind}_ap_0.5": float(hits / (true + found - hits))
        for kind, (true, found, hits) in zip(("cells", "nuclei"), masks, strict=True)
    }
    for k, key in enumerate(("found_masks", "true_masks")):
        true, mine = np.concatenate(truth[k]), np.concatenate(called[k])
        recalls = [float((mine[true == c] == c).mean()) for c in range(len(LOCATIONS))]
        values[f"balanced_accuracy_{key}"] = float(np.mean(recalls))
        values[f"recalls_{key}"] = dict(zip(LOCATIONS, recalls, strict=True))
    values |= {
        "puncta": true_puncta,
        "puncta_recall": matched / true_puncta,
        "puncta_precision": matched / max(found_puncta, 1),
        "cpu_seconds": float(np.mean(seconds, axis=0)[0]),
        "wall_seconds": float(np.mean(seconds, axis=0)[1]),
    }
    print(f"{name}: {values}", flush=True)
    return values


def ablation(models: Models) -> tuple[list[str], dict]:
    """Cells of the default stacks with other ways to find them: AP, and the error of their thickness."""
    p = VolumeParameters()
    rows, values = [], {}
    for name, changes in {
        "stitched planes": {"surface_level": 0.0},
        "stitched planes, surface at half height (default)": {},
        "the same, stitch_iou 0.01 instead of 0.25": {"stitch_iou": 0.01},
    }.items():
        scene = Scene3D.draw(p, [SEED, 0])
        settings = Settings(device="cpu").updated(**changes)
        segmenter = stack_models(models, p.z_step_um).cells
        cell, nucleus = scene.image[:2]
        found = segmenter.segment(cell, nucleus, p.plane.pixel_size_um, None, settings).labels
        true, own, hits = count_masks(scene.cells, found)
        thick = [(labels > 0).sum(axis=0) * p.z_step_um for labels in (scene.cells, found)]
        both = (thick[0] > 0) & (thick[1] > 0)
        error = (thick[1] - thick[0])[both]
        row = [*(h / (true + own - h) for h in hits), float(error.mean()), float(error.std())]
        rows.append([name, *row])
        values[name] = dict(zip(("ap_0.5", "ap_0.75", "ap_0.9", "bias_um", "sd_um"), row, strict=True))
    head = ["how cells are found", "AP@0.5", "AP@0.75", "AP@0.9", "thickness: bias µm", "SD µm"]
    return table(head, rows), values


def run(stacks: int = 2) -> tuple[list[str], dict]:
    """Run all conditions; returns the report and the figures."""
    models = load_models(Settings(device="cpu", phenotype_model="none"))
    # Compiles what Cellpose compiles at its first use.
    small = replace(VolumeParameters(), plane=replace(VolumeParameters().plane, shape=(128, 128)), planes=12)
    analyse(field_of(Scene3D.draw(small, 1)), Settings(device="cpu"), models)
    values, rows = {}, []
    for name, parameters in conditions().items():
        number = stacks if parameters.gap_um < 1 or name.startswith("default") else 1
        found = values[name] = judge(name, parameters, number, models)
        rows.append(
            [
                name,
                found["cells_ap_0.5"],
                found["nuclei_ap_0.5"],
                found["puncta"],
                found["puncta_recall"],
                found["puncta_precision"],
                found["balanced_accuracy_found_masks"],
                found["balanced_accuracy_true_masks"],
                round(found["cpu_seconds"], 1),
            ]
        )
    head = [
        "stacks",
        "cells AP@0.5",
        "nuclei",
        "puncta",
        "recall",
        "precision",
        "place",
        "true masks",
        "CPU s",
    ]
    others, more = ablation(models)
    default = values[next(iter(values))]["balanced_accuracy_found_masks"]
    lines = [
        f"Inside, membrane or outside of single puncta: balanced accuracy {default:.3f} (goal {GOAL})",
        "place: through segmentation and detection; true masks: with the true cells. CPU s: a stack's.",
        "",
        *table(head, rows),
        "",
        *others,
    ]
    return lines, {"conditions": values, "segmentation": more, "goal": GOAL, "reached": default}


def real(out: str) -> None:
    """Analyse the real stacks beside the project into a results folder, to look at the overlays."""
    from napari_tam.cli.main import main

    paths = sorted(str(path) for path in (SHARED / "data" / "real").glob(REAL))
    main(["analyse", *paths, "--out", out, "--z-stack", "volume", "--channels", "cell=0,exosome=1,nucleus=2"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, default=2)
    parser.add_argument("--real", metavar="OUT", help="analyse the real stacks into OUT instead")
    options = parser.parse_args()
    if options.real:
        real(options.real)
    else:
        publish("uptake_volume", *run(options.stacks))
