"""Cells of simulated fields for the phenotype network: drawn, segmented, measured, matched to the truth.

The shape distributions of the M1-like and M2-like populations are
`napari_tam.simulate.cells.PHENOTYPES`; the nuisances are `napari_tam.simulate.parameters.random_parameters`
and the regimes below.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.phenotype.crops import CROP_SIZE, CROP_UM, cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features
from napari_tam.settings import Settings
from napari_tam.simulate.cells import PHENOTYPES
from napari_tam.simulate.parameters import SceneParameters, random_parameters
from napari_tam.simulate.scene import Scene

CACHE = Path(__file__).resolve().parent / ".cache"
SETTINGS = Settings()

#: Where fields lie inside (train) and outside of what the network was trained on.
REGIMES = ("train", "blur", "noise", "magnification", "pixel size")


@dataclass
class Cells:
    """Cells of some fields.

    `truth` is the class of the drawn cell that a mask matches (IoU of at least one half), "" for
    none; `table` has the columns of the per-cell table, and `field`.
    """

    crops: np.ndarray
    features: np.ndarray
    truth: np.ndarray
    field: np.ndarray
    border: np.ndarray
    table: pd.DataFrame

    def where(self, chosen: np.ndarray) -> Cells:
        """Keep some cells."""
        return Cells(
            self.crops[chosen],
            self.features[chosen],
            self.truth[chosen],
            self.field[chosen],
            self.border[chosen],
            self.table[chosen].reset_index(drop=True),
        )


def parameters(rng: np.random.Generator, size: int, regime: str = "train") -> SceneParameters:
    """Draw what a field looks like in a regime."""
    diameter = float(np.exp(rng.uniform(np.log(24), np.log(60))))
    if regime == "magnification":
        diameter = float(rng.uniform(11, 17))
    p = random_parameters(rng, (size, size), diameter)
    if regime == "blur":
        p = replace(p, blur_um=float(p.cell_diameter_um * rng.uniform(0.09, 0.16)))
    if regime == "noise":
        p = replace(p, stain_photons=float(rng.uniform(4, 12)), read_noise=float(rng.uniform(15, 30)))
    # The exosome channel is never looked at: none is drawn.
    return replace(p, puncta_per_cell=0.01, free_per_field=0.0, aggregates_per_field=0.0)


def stated_pixel_size(p: SceneParameters, rng: np.random.Generator, regime: str) -> float:
    """Return the pixel size that the file claims: the true one but for one regime."""
    if regime != "pixel size":
        return p.pixel_size_um
    return float(p.pixel_size_um * rng.choice([0.5, 2.0]))


def draw(seed: int, index: int, size: int, regime: str) -> Scene:
    """Draw a field, or take it from the disk."""
    rng = np.random.default_rng([seed, index, REGIMES.index(regime), 0])
    p = parameters(rng, size, regime)
    key = hashlib.sha256(f"{p} {PHENOTYPES}".encode()).hexdigest()[:16]
    path = CACHE / "scenes" / f"{seed}_{index}_{regime.replace(' ', '_')}_{key}.npz"
    if path.exists():
        with np.load(path, allow_pickle=True) as saved:
            truth = pd.DataFrame({k: saved[k] for k in ("label", "phenotype", "axis_ratio")})
            return Scene(saved["image"], saved["cells"], saved["nuclei"], pd.DataFrame(), truth, p)
    scene = Scene.draw(p, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = {k: scene.phenotypes[k].to_numpy() for k in ("label", "phenotype", "axis_ratio")}
    np.savez(path, image=scene.image, cells=scene.cells, nuclei=scene.nuclei, **truth)
    return scene


def field_cells(
    seed: int, index: int, size: int, regime: str, segmenter, *, know_diameter: float = 0.7
) -> Cells:
    """Draw field number `index` of a seed and return its cells.

    `segmenter` is the `cells` network (`napari_tam.segment.segmenter.Segmenter`); `know_diameter` is how
    often it is told the cell diameter.
    """
    scene = draw(seed, index, size, regime)
    rng = np.random.default_rng([seed, index, REGIMES.index(regime), 1])
    um = stated_pixel_size(scene.parameters, rng, regime)
    return scene_cells(scene, um, index, rng, segmenter, know_diameter)


def scene_cells(
    scene: Scene, um: float, index: int, rng: np.random.Generator, segmenter, know_diameter: float = 1.0
) -> Cells:
    """Segment and measure a field whose file claims the pixel size `um`."""
    p = scene.parameters
    channels = {"cell": scene.image[0], "nucleus": scene.image[1], "exosome": scene.image[2]}
    given = None if rng.random() < 0.3 else scene.image[1]
    diameter = p.cell_diameter_um * um / p.pixel_size_um if rng.random() < know_diameter else None
    labels = segmenter.segment(scene.image[0], given, um, diameter, SETTINGS).labels
    nuclei = None if given is None else scene.nuclei
    table, _, _ = measure(Field("", channels, um), labels, nuclei, pd.DataFrame(), SETTINGS)
    crops = cell_crops(scene.image[0], labels, nuclei, table, um)
    return listed(crops, table, match(scene, labels, table["label"].to_numpy()), index, um)


def listed(crops: np.ndarray, table: pd.DataFrame, truth: np.ndarray, field: int, um: float) -> Cells:
    """Put together what is known of a field's cells; `um` is the pixel size that its file claims."""
    return Cells(
        crops.astype(np.float16),
        shape_features(table),
        truth,
        np.full(len(table), field),
        table["touches_border"].to_numpy(),
        table.assign(pixel_size_um=um),
    )


def match(scene: Scene, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the phenotype of the drawn cell of each mask, "" without one."""
    true = scene.cells.astype(np.int64)
    width = int(true.max()) + 1
    pairs = np.bincount(
        (labels.astype(np.int64) * width + true).ravel(), minlength=(int(labels.max()) + 1) * width
    )
    pairs = pairs.reshape(-1, width)
    found_area, true_area = pairs.sum(1, keepdims=True), pairs.sum(0, keepdims=True)
    iou = pairs / np.maximum(found_area + true_area - pairs, 1)
    iou[:, 0] = 0
    best, names = iou.argmax(1), scene.phenotypes.set_index("label")["phenotype"]
    return np.array([names[best[k]] if iou[k, best[k]] >= 0.5 else "" for k in ids], dtype=object)


def join(parts: list[Cells]) -> Cells:
    """Put cells of many fields together."""
    return Cells(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("crops", "features", "truth", "field", "border")
        ),
        pd.concat([part.table for part in parts], ignore_index=True),
    )


def simulate(seed: int, fields: int, size: int, regime: str, segmenter, key: str, **options) -> Cells:
    """Cells of many fields, kept on disk under what they depend on (`key` names the segmenter)."""
    facts = [
        seed,
        fields,
        size,
        regime,
        key,
        options,
        repr(PHENOTYPES),
        CROP_SIZE,
        CROP_UM,
        repr(FEATURES),
        5,
    ]
    name = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"phenotype_{name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=True) as saved:
            arrays = {k: saved[k] for k in ("crops", "features", "truth", "field", "border")}
        return Cells(**arrays, table=pd.read_parquet(path.with_suffix(".parquet")))
    parts = []
    for index in range(fields):
        parts.append(field_cells(seed, index, size, regime, segmenter, **options))
        if index % 50 == 49:
            print(
                f"{regime}: {index + 1} of {fields} fields, {sum(len(p.truth) for p in parts)} cells",
                flush=True,
            )
    cells = join([part for part in parts if len(part.truth)])
    np.savez_compressed(
        path,
        crops=cells.crops,
        features=cells.features,
        truth=cells.truth,
        field=cells.field,
        border=cells.border,
    )
    cells.table.to_parquet(path.with_suffix(".parquet"))
    return cells
