"""A simulated co-culture of tumour cells and macrophages: replicates, controls, layout and truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.errors import InputError
from napari_tam.simulate.parameters import ExosomeLabel, MarkerStain, SceneParameters
from napari_tam.simulate.scene import Scene, write_scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKERS = (
    MarkerStain("CD11b", ("macrophage",)),
    MarkerStain("EpCAM", ("tumour",), membrane=0.7),
    MarkerStain("CD86", ("M1",)),
    MarkerStain("CD206", ("M2",)),
)

LABELS = (
    ExosomeLabel("GFP", "tumour", puncta_per_cell=20.0, decay_um=20.0, kept=6.0),
    ExosomeLabel("PKH26", "macrophage", puncta_per_cell=8.0, decay_um=20.0, kept=8.0),
)

#: Rows of the plate that are used: the outer wells of a plate dry out.
_ROWS = "BCDEFG"

SETTINGS = """\
# Settings for the simulated co-culture beside this file; all others keep their defaults.
channels: {cell: CellMask, nucleus: DAPI, exosome: [GFP, PKH26], marker: [CD11b, EpCAM, CD86, CD206]}
types: {macrophage: CD11b+, tumour: EpCAM+ CD11b-}
donor_types: GFP=tumour, PKH26=macrophage
marker_phenotypes: {M1: CD86+, M2: CD206+}
"""


@dataclass(frozen=True)
class Coculture:
    """What a simulated co-culture is like.

    Attributes
    ----------
    replicates
        Rows of the plate; each has a well of the co-culture and one that was given no exosome label
        (dye_only).
    fields
        Images a well.
    replicate_spread
        SD of the logarithm of the transfer between replicates.
    controls
        Whether there is a well without each marker (fmo).
    scene
        All the rest.
    """

    replicates: int = 4
    fields: int = 1
    replicate_spread: float = 0.15
    controls: bool = True
    scene: SceneParameters = field(
        default_factory=lambda: SceneParameters(
            cells_per_field=42,
            tumour_share=0.45,
            markers=MARKERS,
            marker_bleed=0.05,
            labels=LABELS,
            polarises=0.03,
            aggregates_per_field=0.5,
            dye_particles_per_cell=0.1,
        )
    )


@dataclass(frozen=True)
class Well:
    """One well: what the layout says about it, and what its scenes look like."""

    name: str
    condition: str
    replicate: int
    control_role: str
    parameters: SceneParameters


def wells(culture: Coculture, seed: int) -> Iterator[Well]:
    """Yield the wells: of every replicate, then the controls of markers.

    Raises
    ------
    InputError
        If there are more replicates than fit on a plate.
    """
    if culture.replicates > len(_ROWS):
        raise InputError("the simulated co-culture is too large", fix=f"at most {len(_ROWS)} replicates")
    rng = np.random.default_rng([seed, 0])
    base = culture.scene
    for row in range(culture.replicates):
        factor = float(np.exp(rng.normal(0, culture.replicate_spread)))
        labels = tuple(
            replace(label, puncta_per_cell=label.puncta_per_cell * factor, kept=label.kept * factor)
            for label in base.labels
        )
        none = tuple(
            replace(label, puncta_per_cell=0.0, kept=0.0, free_per_field=0.0) for label in base.labels
        )
        own = replace(base, labels=labels)
        yield Well(f"{_ROWS[row]}02", "co-culture", row + 1, "", own)
        dark = replace(base, labels=none, aggregates_per_field=0.0)
        yield Well(f"{_ROWS[row]}03", "co-culture", row + 1, "dye_only", dark)
    for column, marker in enumerate(base.markers if culture.controls else (), start=4):
        stains = tuple(replace(each, stained=each is not marker) for each in base.markers)
        yield Well(f"B{column:02d}", "co-culture", 1, f"fmo:{marker.name}", replace(base, markers=stains))


def draw_coculture(culture: Coculture, seed: int) -> Iterator[tuple[Well, int, Scene]]:
    """Yield well, number of the field and scene; the same culture and seed give the same pixels."""
    for place, well in enumerate(wells(culture, seed)):
        for number in range(culture.fields):
            yield (
                well,
                number + 1,
                Scene.draw(well.parameters, np.random.default_rng([seed, 1, place, number])),
            )


def layout_csv(culture: Coculture, seed: int) -> str:
    """Return the co-culture's layout as CSV."""
    lines = ["well,condition,replicate,control_role"]
    lines += [
        f"{well.name},{well.condition},{well.replicate},{well.control_role}" for well in wells(culture, seed)
    ]
    return "\n".join(lines) + "\n"


def write_coculture(out: Path, culture: Coculture, seed: int) -> Iterator[Path]:
    """Write images and truths (`napari_tam.simulate.scene.write_fields`), layout.csv and settings.yaml.

    Yields
    ------
    Path
        Each image, then the layout and the settings.

    Raises
    ------
    InputError
        If the folder cannot be written, or there are too many replicates.
    """
    layout = layout_csv(culture, seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for well, number, scene in draw_coculture(culture, seed):
            yield write_scene(scene, out / f"coculture_{well.name}_f{number}")
        for name, text in (("layout.csv", layout), ("settings.yaml", SETTINGS)):
            path = out / name
            path.write_text(text, encoding="utf-8")
            yield path
    except OSError as error:
        raise InputError(
            f"the simulated co-culture cannot be written ({error.strerror or error})",
            where=out,
            fix="choose a folder that you may write to, with enough room",
        ) from error
