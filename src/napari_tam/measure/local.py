"""What of cells and puncta follows from what lies around them: the same whatever is elsewhere in the image.

So a part of an image that holds some cells whole gives for these cells what the whole image gives, to the
last bit; `napari_tam.measure.again` measures no more than that part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.markers.labels import is_exosome_role
from napari_tam.measure.intensity import focus_score, laplacian, noise, saturated, saturated_pixels
from napari_tam.measure.place import (
    boundary_distance,
    edge_distance,
    nearest_pixel,
    nucleus_distance,
    nucleus_owners,
)
from napari_tam.measure.regions import Floats, Ints, Regions
from napari_tam.measure.shape import inscribed_radius, shape
from napari_tam.settings import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_tam.io.field import Field

Columns = dict[str, npt.NDArray[Any]]
Image = npt.NDArray[Any]

#: A part of an image: rows and columns.
Part = tuple[slice, slice]


@dataclass(frozen=True)
class Picture:
    """The channels of a field (YX), and what no mask changes of them.

    Attributes
    ----------
    channels
        All channels by role.
    raw
        The exosome channels before corrections by role, which judge saturation.
    laplacian, noise
        Of the cell channel.
    saturation
        Of each exosome channel the value at which it is clipped, if it is, and the share of its pixels.
    pixel_size_um
        Edge length of a pixel.
    """

    channels: Mapping[str, Image]
    raw: Mapping[str, Image]
    laplacian: npt.NDArray[np.float32]
    noise: float
    saturation: Mapping[str, tuple[float | None, float]]
    pixel_size_um: float

    @classmethod
    def of(cls, field: Field, raw_exosomes: Mapping[str, Image]) -> Picture:
        """Look at a field; exosome channels that are not in `raw_exosomes` were not corrected."""
        raw = {role: raw_exosomes.get(role, field.channels[role]) for role in field.exosomes.values()}
        edges = laplacian(field.channels["cell"])
        clipped = {role: saturated(image) for role, image in raw.items()}
        return cls(field.channels, raw, edges, noise(edges), clipped, field.pixel_size_um)


@dataclass(frozen=True)
class Cells:
    """Values of cells, in the order of their labels.

    Attributes
    ----------
    ids
        (n,) labels, ascending.
    boxes
        (n, 4) first row, first column, last row + 1, last column + 1.
    values
        By name, (n,): the columns of the shape, `area_px`, of each channel ``total <role>``, of each exosome
        channel ``saturated <role>`` (pixels), `nucleus_count` and `nucleus_px` with a nuclear stain,
        `focus_score`, `touches_border`, `contact_fraction`.
    """

    ids: Ints
    boxes: Ints
    values: Columns

    def only(self, which: npt.NDArray[np.bool_]) -> Cells:
        """Return some of the cells."""
        values = {name: each[which] for name, each in self.values.items()}
        return Cells(self.ids[which], self.boxes[which], values)

    def joined(self, others: Cells) -> Cells:
        """Return these cells and other ones."""
        ids = np.concatenate([self.ids, others.ids])
        order = np.argsort(ids)
        boxes = np.concatenate([self.boxes, others.boxes])[order]
        values = {
            name: np.concatenate([each, others.values[name]])[order] for name, each in self.values.items()
        }
        return Cells(ids[order], boxes, values)

    def ranks(self, labels: Ints) -> Ints:
        """Return where labels (all of cells here, or 0) stand among these cells; -1 for 0."""
        return np.where(labels > 0, np.searchsorted(self.ids, labels), -1)


@dataclass(frozen=True)
class Places:
    """Where puncta lie.

    Attributes
    ----------
    label
        (n,) the cell of each; 0 = outside of all.
    edge_px, nucleus_px
        (n,) distance to the edge of the cell, and to its nearest nucleus; NaN where there is none.
    relative_radius
        (n,) 0 in the middle of the cell, 1 at its edge.
    """

    label: Ints
    edge_px: Floats
    nucleus_px: Floats
    relative_radius: Floats

    @classmethod
    def outside(cls, count: int) -> Places:
        """Return those of puncta in no cell."""
        nothing = (np.full(count, np.nan) for _ in range(3))
        return cls(np.zeros(count, np.int64), *nothing)

    def at(self, rows: Ints) -> Places:
        """Return some of them (copies)."""
        return Places(*(each[rows] for each in self._arrays))

    def put(self, rows: Ints, others: Places) -> None:
        """Set some of them."""
        for own, new in zip(self._arrays, others._arrays, strict=True):
            own[rows] = new

    @property
    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self.label, self.edge_px, self.nucleus_px, self.relative_radius


@dataclass(frozen=True)
class Around:
    """Cells and nuclei of an image, or a part of one, with what is worked out once from their masks."""

    cells: Regions
    distance: npt.NDArray[np.float32]
    nuclei: Regions | None
    owner: Ints | None

    @classmethod
    def of(cls, cells: Image, nuclei: Image | None, origin: tuple[int, int] = (0, 0)) -> Around:
        """Look at labels (YX); `origin` is where the first pixel lies in the whole image."""
        regions = Regions(cells, origin)
        nuclear = None if nuclei is None else Regions(nuclei)
        owner = None if nuclear is None else nucleus_owners(nuclear, regions)
        return cls(regions, boundary_distance(regions), nuclear, owner)

    def measure(self, picture: Picture, part: Part | None = None) -> Cells:
        """Measure the cells of a picture, or of the part of it that this is about."""
        cut = part or np.s_[:, :]
        regions, channels = self.cells, picture.channels
        area = regions.area
        values: Columns = {"area_px": area, **shape(regions, self.distance, picture.pixel_size_um)}
        roles = [role for role in channels if role in ROLES or is_exosome_role(role)]
        values |= {f"total {role}": regions.sums(channels[role][cut]) for role in roles}
        for role, image in picture.raw.items():
            values[f"saturated {role}"] = saturated_pixels(image[cut], regions, picture.saturation[role][0])
        if self.nuclei is not None and self.owner is not None:
            owned = self.owner >= 0
            size = self.nuclei.area[owned]
            values["nucleus_count"] = np.bincount(self.owner[owned], minlength=len(regions))
            values["nucleus_px"] = np.bincount(self.owner[owned], size, minlength=len(regions))
        values["focus_score"] = focus_score(picture.laplacian[cut], regions, values["total cell"] / area)
        values["touches_border"] = regions.touches_border
        values["contact_fraction"] = regions.contacts / regions.crossings[:2].sum(axis=0)
        top, left = regions.origin
        return Cells(regions.ids, regions.boxes + np.array([top, left, top, left]), values)

    def places(self, y: Floats, x: Floats) -> Places:
        """Return where puncta lie, by their positions in the whole image (px)."""
        regions = self.cells
        y, x = y - regions.origin[0], x - regions.origin[1]  # whole numbers: no digit is lost
        rank = regions.rank_at(*nearest_pixel(y, x, regions.shape))
        edge = edge_distance(regions, self.distance, y, x, rank)
        # Rank -1 takes the appended NaN.
        deepest = np.append(inscribed_radius(regions, self.distance), np.nan)[rank]
        away = np.full(len(y), np.nan)
        if self.nuclei is not None and self.owner is not None:
            away = nucleus_distance(self.nuclei, self.owner, y, x, rank)
        return Places(np.append(regions.ids, 0)[rank], edge, away, 1 - edge / deepest)
