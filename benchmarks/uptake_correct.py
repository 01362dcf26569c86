"""Corrections and co-localisation on simulated fields, through the bundled networks.

Every comparison is between scenes that differ in one thing only: the same seed gives the same cells,
puncta and lysosomes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from common import table
from skimage.filters import threshold_otsu

from napari_tam.correct.calibrate import bleed_through_of, channel_shifts, mean_bleed_through
from napari_tam.correct.flat_field import estimate_flat_field
from napari_tam.correct.folder import Corrections
from napari_tam.evaluate.matching import match_cells
from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.pipeline.models import Models, load_models
from napari_tam.pipeline.runner import run as analyse
from napari_tam.settings import Settings
from napari_tam.simulate import lysosomes, optics
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

SETTINGS = Settings(phenotype_model="none", overlays=False)
BASE = SceneParameters(shape=(512, 512), cells_per_field=30)
LIGHT = {"illumination": 0.5, "light_centre": (0.4, 0.6)}
SEED = 4100
#: Cells with fewer puncta say little about a share.
LEAST_PUNCTA = 5


def field_of(scene: Scene) -> Field:
    """Return a scene's image as a field."""
    roles = ("cell", "nucleus", "exosome", "lysosome")[: len(scene.image)]
    return Field("scene", dict(zip(roles, scene.image, strict=True)), scene.parameters.pixel_size_um)


def cells_of(scene: Scene, models: Models, corrections: Corrections | None = None) -> pd.DataFrame:
    """Analyse a scene; return the table of the cells that match a true cell, by its label."""
    found = analyse(field_of(scene), SETTINGS, replace(models, corrections=corrections))
    pairs = match_cells(scene.cells, found.cells)
    own = found.table.set_index("label").loc[[int(b) for _, b in pairs]]
    own.index = pd.Index([int(a) for a, _ in pairs], name="cell")
    return own[~own["touches_border"]]


def paired(first: list[pd.DataFrame], second: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells that both analyses of the same scenes found."""
    both = [one.index.intersection(other.index) for one, other in zip(first, second, strict=True)]
    return tuple(
        pd.concat([part.loc[keep] for part, keep in zip(parts, both, strict=True)]).reset_index(drop=True)
        for parts in (first, second)
    )


def by_position(cells: pd.DataFrame, ratio: np.ndarray) -> tuple[float, float]:
    """Return the spread that position causes, and what else there is (both SD over the mean).

    Position: a quadratic surface in row and column, fitted to the ratios of all cells.
    """
    y, x = (cells[f"centroid_{axis}_px"].to_numpy() / 512 - 0.5 for axis in "yx")
    basis = np.stack([np.ones_like(y), y, x, y * y, x * x, x * y], axis=1)
    keep = np.isfinite(ratio) & (np.abs(ratio - np.nanmedian(ratio)) < 1)
    surface = basis[keep] @ np.linalg.lstsq(basis[keep], ratio[keep], rcond=None)[0]
    mean = ratio[keep].mean()
    return float(surface.std() / mean), float((ratio[keep] - surface).std() / mean)


def illumination(models: Models, fields: int = 24, analysed: int = 12) -> tuple[list[str], dict]:
    """Light that falls to a half: per-cell intensities against the same scenes in even light."""
    uneven = [Scene.draw(replace(BASE, **LIGHT), SEED + k) for k in range(fields)]
    even = [Scene.draw(replace(BASE, illumination=0.0), SEED + k) for k in range(analysed)]
    true = uneven[0].light / uneven[0].light.mean()
    roles = ("exosome", "cell", "nucleus")
    planes = {role: [field_of(scene).channels[role] for scene in uneven] for role in roles}
    flats = {}
    for name, dark in (("dark estimated", None), ("dark given", BASE.offset)):
        flats[name] = {"exosome": estimate_flat_field(planes["exosome"], dark)}
        level = flats[name]["exosome"].dark
        flats[name] |= {role: estimate_flat_field(planes[role], level) for role in roles[1:]}
    reference = [cells_of(scene, models) for scene in even]
    rows, values = [], {"fields": fields, "analysed": analysed}
    for name in ("uncorrected", *flats):
        corrections = Corrections(flats[name]) if name in flats else None
        found = [cells_of(scene, models, corrections) for scene in uneven[:analysed]]
        one, other = paired(found, reference)
        row: list[object] = [name]
        for column in ("exosome_integrated", "puncta_intensity_sum"):
            usable = (other[column] > 0) & (other["puncta_count"] >= LEAST_PUNCTA)
            ratio = (one[column] / other[column])[usable].to_numpy()
            spread, rest = by_position(one[usable], ratio)
            row += [spread, rest]
            values[f"{name}: {column}"] = {"position": round(spread, 4), "rest": round(rest, 4)}
        counts = one["puncta_count"].sum() / other["puncta_count"].sum()
        row += [counts, len(one)]
        if name in flats:
            error = (flats[name]["exosome"].gain / true).std()
            row += [f"{flats[name]['exosome'].dark:.1f}", float(error)]
            values[f"{name}: gain error"] = round(float(error), 4)
        rows.append([*row, *[""] * (9 - len(row))])
    header = ["light 2:1", "integrated: position", "rest", "puncta: position", "rest", "counts", "cells"]
    header += ["dark", "gain error"]
    return [
        f"Spread of per-cell intensity by position (goal <= 0.05), flat field from {fields} fields:",
        *table(header, rows),
        "",
    ], values


def exposure(models: Models, fields: int = 8) -> tuple[list[str], dict]:
    """Twice the exposure: twice the grey values above the offset, or twice the photons."""
    photons = [name for name in SceneParameters.__dataclass_fields__ if name.endswith("_photons")]
    single = [Scene.draw(BASE, SEED + k) for k in range(fields)]
    grey = [
        replace(
            scene, image=(2 * (scene.image.astype(np.int32) - 100) + 100).clip(0, 65535).astype(np.uint16)
        )
        for scene in single
    ]
    more = replace(BASE, **{name: 2 * getattr(BASE, name) for name in photons})
    light = [Scene.draw(more, SEED + k) for k in range(fields)]
    reference = [cells_of(scene, models) for scene in single]
    lines, values = [], {}
    for name, scenes in (("grey values doubled", grey), ("photons doubled", light)):
        one, other = paired([cells_of(scene, models) for scene in scenes], reference)
        figures = {
            column: round(float(one[column].sum() / other[column].sum()), 4)
            for column in ("puncta_count", "puncta_intensity_sum", "exosome_integrated")
        }
        values[name] = {**figures, "cells": len(one), "cells_before": sum(map(len, reference))}
        lines.append(f"{name}: " + ", ".join(f"{key} × {value:.3f}" for key, value in figures.items()))
    return ["Exposure doubled (goal: counts 0.98-1.02, intensities 1.96-2.04):", *lines, ""], values


def bleed_through(models: Models, fields: int = 6, fraction: float = 0.08) -> tuple[list[str], dict]:
    """Measure the cell stain in the exosome channel, calibrated on single-stain controls."""
    only = replace(BASE, puncta_per_cell=0.01, haze_photons=0.0, free_per_field=0, aggregates_per_field=0)
    controls = [Scene.draw(replace(only, bleed_through=fraction), 900 + k) for k in range(3)]
    measured = mean_bleed_through([("cell", bleed_through_of(field_of(scene), "cell")) for scene in controls])
    clean = [cells_of(Scene.draw(BASE, SEED + k), models) for k in range(fields)]
    dirty = [Scene.draw(replace(BASE, bleed_through=fraction), SEED + k) for k in range(fields)]
    found = measured.get("cell_into_exosome", 0.0)
    lines = [f"Bleed-through of {fraction:.0%}, calibrated as {found:.2%}; per-cell exosome against none:"]
    values: dict = {"true": fraction, "calibrated": found}
    corrections = Corrections(bleed_through={"cell_into_exosome": found})
    for name, used in (("uncorrected", None), ("corrected", corrections)):
        one, other = paired([cells_of(scene, models, used) for scene in dirty], clean)
        figures = {
            "integrated": one["exosome_integrated"].sum() / other["exosome_integrated"].sum(),
            "counts": one["puncta_count"].sum() / other["puncta_count"].sum(),
            "puncta": one["puncta_intensity_sum"].sum() / other["puncta_intensity_sum"].sum(),
        }
        values[name] = {key: round(float(value), 4) for key, value in figures.items()}
        lines.append(f"{name:12}" + ", ".join(f"{key} × {value:.3f}" for key, value in figures.items()))
    return [*lines, ""], values


def beads(shift_um: tuple[float, float], seed: int = 0) -> Field:
    """Return an image of beads that shine in the cell and in the exosome channel, which is shifted."""
    rng = np.random.default_rng(seed)
    um = BASE.pixel_size_um
    spots = pd.DataFrame(rng.uniform(10, 502, (80, 2)), columns=["y_px", "x_px"])
    spots = spots.assign(amplitude_photons=400.0, sigma_px=1.3)
    planes = {}
    for role, (y, x) in (("cell", (0, 0)), ("exosome", shift_um)):
        moved = spots.assign(y_px=spots["y_px"] + y / um, x_px=spots["x_px"] + x / um)
        light = optics.render_spots(BASE.shape, moved) + 10
        planes[role] = optics.camera(light, BASE.gain, BASE.offset, BASE.read_noise, rng)
    return Field("beads", planes, um)


def shift(
    models: Models, fields: int = 6, shift_um: tuple[float, float] = (1.5, -1.1)
) -> tuple[list[str], dict]:
    """Displace the exosome channel, calibrated on an image of beads."""
    field = beads(shift_um)
    ((_, found),) = channel_shifts(field).items()
    measured = tuple(round(value * field.pixel_size_um, 4) for value in found)
    error = float(np.hypot(measured[0] + shift_um[0], measured[1] + shift_um[1]))
    crowded = replace(BASE, clustering=0.9, cells_per_field=40)
    scenes = [Scene.draw(replace(crowded, channel_shift_um=shift_um), SEED + k) for k in range(fields)]
    lines = [f"Channel shift of {shift_um} µm, found to {1000 * error:.0f} nm on beads:"]
    values: dict = {"shift_um": shift_um, "error_nm": round(1000 * error, 1)}
    for name, used in (
        ("uncorrected", None),
        ("corrected", Corrections(channel_shift_um={"exosome": measured})),
    ):
        right = total = 0
        distances = []
        for scene in scenes:
            analysis = analyse(field_of(scene), SETTINGS, replace(models, corrections=used))
            # Which cell the puncta are in, with the true masks: the shift alone is judged.
            places = analysis.puncta[["y_px", "x_px"]].to_numpy()
            truth = scene.puncta[["y_px", "x_px"]].to_numpy()
            if used is None:
                truth = truth + np.array(shift_um) / BASE.pixel_size_um
            near = np.linalg.norm(places[:, None] - truth[None], axis=2)
            best = near.argmin(axis=1)
            ok = near.min(axis=1) < 2
            pixel = np.clip(np.floor(places + 0.5).astype(int), 0, 511)
            owner = scene.cells[pixel[:, 0], pixel[:, 1]]
            inside = ok & (scene.puncta["cell"].to_numpy()[best] > 0)
            right += int((owner == scene.puncta["cell"].to_numpy()[best])[inside].sum())
            total += int(inside.sum())
            distances.append(near.min(axis=1)[ok])
        share = right / total
        values[name] = {"right_cell": round(share, 4)}
        lines.append(f"{name:12}{share:.1%} of {total} puncta of cells in the right cell")
    return [*lines, ""], values


def noise_free(scene: Scene, places: lysosomes.Lysosomes) -> tuple[np.ndarray, np.ndarray]:
    """Return what a perfect microscope would show of puncta and of lysosomes (no noise, haze, background)."""
    p = scene.parameters
    return (
        optics.render_spots(p.shape, scene.puncta),
        optics.blur(places.photons, p.spot_sigma_um / p.pixel_size_um),
    )


def true_manders(scene: Scene, light: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return M1 and M2 of each cell in the noise-free images, thresholded by Otsu over the cells."""
    inside = scene.cells > 0
    masks = [plane > threshold_otsu(plane[inside]) for plane in light]
    result = []
    for own, other in ((0, 1), (1, 0)):
        weight = np.where(masks[own], light[own], 0)
        total, both = (
            np.bincount(scene.cells.ravel(), w.ravel(), minlength=int(scene.cells.max()) + 1)[1:]
            for w in (weight, weight * masks[other])
        )
        result.append(np.divide(both, total, out=np.full(len(total), np.nan), where=total > 0))
    return result[0], result[1]


def photograph(scene: Scene, places: lysosomes.Lysosomes, rng: np.random.Generator) -> np.ndarray:
    """Return an image of lysosomes in the light and with the camera of a scene."""
    p = scene.parameters
    stain = optics.blur(places.photons, p.spot_sigma_um / p.pixel_size_um) + p.background_photons
    return optics.camera(scene.light * stain, p.gain, p.offset, p.read_noise, rng)


def manders(models: Models, fields: int = 4) -> tuple[list[str], dict]:
    """Manders' coefficients against noise-free images, and the control against lysosomes drawn anew."""
    rows, values = [], {}
    setups = {
        "0.325 µm/px": replace(BASE, lysosomes_per_cell=20),
        "0.16 µm/px": replace(
            BASE, lysosomes_per_cell=20, pixel_size_um=0.16, spot_sigma_um=0.2, cells_per_field=8
        ),
    }
    for setup, parameters in setups.items():
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            parts = [
                one_field(models, replace(parameters, colocalised=share), SEED + k)
                for k in range(fields * (2 if parameters.cells_per_field < 10 else 1))
            ]
            cells = pd.concat(parts)
            mean = cells.mean()
            error = (cells["m1"] - cells["m1_true"]).abs().mean()
            row = [mean[name] for name in ("m1", "m1_true", "m2", "m2_true")]
            row += [error, mean["m1_random"], mean["m1_anew"], mean["m2_random"], mean["m2_anew"]]
            row += [mean["overlap"], mean["overlap_true"], mean["overlap_random"], mean["overlap_anew"]]
            rows.append([f"{setup}, {share:.0%} placed", *row, len(cells)])
            values[rows[-1][0]] = {**{k: round(float(v), 4) for k, v in mean.items()}, "cells": len(cells)}
    worst = {
        name: max(abs(v[name] - v[other]) for v in values.values())
        for name, other in (
            ("m1", "m1_true"), ("m2", "m2_true"), ("overlap", "overlap_true"),
            ("m1_random", "m1_anew"), ("m2_random", "m2_anew"), ("overlap_random", "overlap_anew"),
        )
    }  # fmt: skip
    header = ["", "M1", "true", "M2", "true", "|M1 error| a cell", "M1 random", "anew", "M2 random", "anew",
              "overlap", "placed", "random", "anew", "cells"]  # fmt: skip
    return [
        "Manders, mean over cells, against the noise-free images (goal: within 0.05), and the randomised",
        "control against lysosomes drawn anew in the same cells; overlap: puncta on lysosomes, against where",
        "they were placed.",
        *table(header, rows),
        "largest difference: " + ", ".join(f"{name} {value:.3f}" for name, value in worst.items()),
        "",
    ], {"worst": {name: round(float(value), 4) for name, value in worst.items()}, **values}


def one_field(models: Models, parameters: SceneParameters, seed: int) -> pd.DataFrame:
    """Return measured and true figures of the cells of one scene; puncta by the bundled network."""
    scene = Scene.draw(parameters, seed)
    field = field_of(scene)
    spots = models.puncta.detect(field.channels["exosome"], field.pixel_size_um, SETTINGS)
    found, _, _ = measure(field, scene.cells, scene.nuclei, spots, SETTINGS)
    # Only the light of the stream of its own is needed again: the same seed, the same lysosomes.
    rng = np.random.default_rng(seed)
    own = rng.spawn(1)[0]
    same = lysosomes.draw_lysosomes(parameters, scene.cells, scene.nuclei, own)
    assert np.array_equal(same.labels, scene.lysosomes)
    m1, m2 = true_manders(scene, noise_free(scene, same))
    fresh = np.random.default_rng([seed, 1])
    anew = lysosomes.draw_lysosomes(parameters, scene.cells, scene.nuclei, fresh)
    field.channels["lysosome"] = photograph(scene, anew, fresh)
    chance, _, _ = measure(field, scene.cells, scene.nuclei, spots, SETTINGS)
    inside = scene.puncta[scene.puncta["cell"] > 0]
    placed = (inside["lysosome"] > 0).groupby(inside["cell"]).mean().reindex(found["label"]).to_numpy()
    cells = pd.DataFrame(
        {
            "m1": found["manders_m1"],
            "m1_true": m1,
            "m2": found["manders_m2"],
            "m2_true": m2,
            "m1_random": found["manders_m1_random"],
            "m1_anew": chance["manders_m1"],
            "m2_random": found["manders_m2_random"],
            "m2_anew": chance["manders_m2"],
            "overlap": found["lysosome_overlap"],
            "overlap_true": placed,
            "overlap_random": found["lysosome_overlap_random"],
            "overlap_anew": chance["lysosome_overlap"],
        }
    )
    return cells[(found["puncta_count"] >= LEAST_PUNCTA) & np.isfinite(m1) & np.isfinite(cells["m1"])]


def run() -> tuple[list[str], dict]:
    """Return the report and its figures."""
    models = load_models(SETTINGS)
    lines: list[str] = []
    values: dict = {}
    for part in (manders, illumination, exposure, bleed_through, shift):
        text, values[part.__name__] = part(models)
        print("\n".join(text), flush=True)
        lines += text
    return lines, values


if __name__ == "__main__":
    run()
