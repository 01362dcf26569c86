"""A simulated plate: wells × doses × replicates × phenotypes, dye-only controls, and its layout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.errors import InputError
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene, write_scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Conditions of the plate and the share of their cells that is drawn as M1.
CONDITIONS = {"LPS+IFNg": 0.75, "IL-4": 0.25}
#: First row and column of the plate that are used: the outer wells of a plate dry out.
_ROWS, _FIRST_COLUMN = "BCDEFGH", 2


@dataclass(frozen=True)
class Plate:
    """What a simulated plate is like.

    Attributes
    ----------
    doses
        Mean number of exosome puncta that an M1-like cell of mean area holds.
    replicates
        Rows of the plate; each has all doses, conditions and its own dye-only control.
    fields
        Images a well.
    m2_uptake
        What an M2-like cell takes up, relative to an M1-like one of the same area.
    replicate_spread
        SD of log uptake between wells that were treated alike.
    scene
        All the rest. By default every well, control or not, has a few dye particles that are no
        exosomes, and 5 % of the cells hold an aggregate.
    """

    doses: tuple[float, ...] = (1.0, 2.5, 5.0, 10.0, 20.0)
    replicates: int = 3
    fields: int = 1
    m2_uptake: float = 1.5
    replicate_spread: float = 0.1
    scene: SceneParameters = field(
        default_factory=lambda: SceneParameters(
            dye_particles_per_cell=0.2, aggregate_cells=0.05, aggregates_per_field=0.0, free_per_field=5.0
        )
    )


@dataclass(frozen=True)
class Well:
    """One well of a plate."""

    name: str
    condition: str
    dose: float
    replicate: int
    control_role: str
    parameters: SceneParameters


def wells(plate: Plate, seed: int) -> Iterator[Well]:
    """Yield the wells of a plate, row by row.

    Raises
    ------
    InputError
        If there are more than fit on a plate.
    """
    treatments = [(condition, dose) for condition in CONDITIONS for dose in plate.doses]
    if plate.replicates > len(_ROWS) or len(treatments) + len(CONDITIONS) > 22:
        raise InputError(
            "the simulated plate is too large", fix=f"at most {len(_ROWS)} replicates and 10 doses"
        )
    rng = np.random.default_rng([seed, 0])
    for row in range(plate.replicates):
        for column, (condition, dose) in enumerate([*treatments, *((name, 0.0) for name in CONDITIONS)]):
            parameters = replace(
                plate.scene,
                m1_fraction=CONDITIONS[condition],
                m2_uptake=plate.m2_uptake,
                puncta_per_cell=dose * float(np.exp(rng.normal(0, plate.replicate_spread))),
            )
            yield Well(
                f"{_ROWS[row]}{_FIRST_COLUMN + column:02d}",
                condition,
                dose,
                row + 1,
                "" if dose else "dye_only",
                parameters,
            )


def draw_plate(plate: Plate, seed: int) -> Iterator[tuple[Well, int, Scene]]:
    """Yield well, number of the field and scene; the same plate and seed give the same pixels."""
    for place, well in enumerate(wells(plate, seed)):
        for number in range(plate.fields):
            yield (
                well,
                number + 1,
                Scene.draw(well.parameters, np.random.default_rng([seed, 1, place, number])),
            )


def layout_csv(plate: Plate, seed: int) -> str:
    """Return the plate's layout as CSV."""
    lines = ["well,condition,dose,replicate,control_role"]
    lines += [
        f"{well.name},{well.condition},{well.dose:g},{well.replicate},{well.control_role}"
        for well in wells(plate, seed)
    ]
    return "\n".join(lines) + "\n"


def write_plate(out: Path, plate: Plate, seed: int) -> Iterator[Path]:
    """Write a plate (images and truths, see `napari_tam.simulate.scene.write_fields`) and ``layout.csv``.

    Yields
    ------
    Path
        Each image, then the layout.

    Raises
    ------
    InputError
        If the folder cannot be written, or the plate has too many wells.
    """
    layout = layout_csv(plate, seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for well, number, scene in draw_plate(plate, seed):
            yield write_scene(scene, out / f"plate1_{well.name}_f{number}")
        path = out / "layout.csv"
        path.write_text(layout, encoding="utf-8")
        yield path
    except OSError as error:
        raise InputError(
            f"the simulated plate cannot be written ({error.strerror or error})",
            where=out,
            fix="choose a folder that you may write to, with enough room",
        ) from error
