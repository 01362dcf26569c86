"""Cells from low to high uptake, cut out of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.markers.labels import EXOSOME, exosome_role
from napari_tam.report.data import ReportData, as_number, whole
from napari_tam.report.pictures import window_um
from napari_tam.report.style import INK, SMALL, Drawn, MissingData, new_figure, plain
from napari_tam.results.overlay import scale_bar_um
from napari_tam.train.known_cells import source_field

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from napari_tam.io.field import Field

#: Cells in the gallery; images that are opened for it at most.
COLUMNS, ROWS = 6, 2
MOST_IMAGES = 12

#: Share of the pixels (per cent) that is shown black, by channel.
DIMMEST = {"cell": 5.0, "exosome": 50.0}

_Plane = npt.NDArray[np.float64]


def gallery(data: ReportData) -> Drawn:
    """Draw cells at equal steps of rank from the lowest to the highest uptake, all at one brightness."""
    cells = whole(data.cells).dropna(subset=["puncta_count"])
    if cells.empty:
        raise MissingData("no cell lies wholly in its image")
    sources, lost = _open_sources(data, cells)
    cells = cells[cells["image"].isin(sources)]
    if cells.empty:
        raise MissingData(
            "the source images or masks are not there any more"
            + (f" ({next(iter(lost.values()))})" if lost else "")
        )
    order = "puncta_intensity_sum" if "puncta_intensity_sum" in cells else "puncta_count"
    ranked = cells.assign(_order=as_number(cells[order])).sort_values("_order", kind="stable")
    at = np.linspace(0, len(ranked) - 1, min(COLUMNS * ROWS, len(ranked))).round().astype(int)
    chosen = ranked.iloc[np.unique(at)]
    window = window_um(cells)
    cut = [_cut(sources[row["image"]], row, window) for _, row in chosen.iterrows()]
    limits = {role: _limits([c[role] for c in cut if role in c], low) for role, low in DIMMEST.items()}
    rows = -(-len(cut) // COLUMNS)
    figure, axes = new_figure(1.38 * rows, rows, COLUMNS)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, planes, (_, row) in zip(axes.flat, cut, chosen.iterrows(), strict=False):
        _draw(axis, planes, limits)
        axis.set_title(
            f"{row['puncta_count']:.0f} puncta\n{plain(row['image'], 20)}, {row['label']}",
            fontsize=SMALL - 1,
            fontweight="normal",
            color=INK,
        )
    bar = _scale_bar(axes.flat[len(cut) - 1], window)
    table = chosen[["image", "label", "puncta_count", order]].loc[:, lambda t: ~t.columns.duplicated()]
    caption = (
        f"{len(chosen)} cells at equal steps of rank by {order.replace('_', ' ')}, from the lowest to the "
        "highest; cells cut by the border are left out. Cell stain grey, exosomes magenta, the cell's "
        "outline "
        "yellow; the same brightness in all pictures, so that they compare. "
        f"Windows of {window:.0f} µm, scale bar {bar:g} µm; name of the image and label of the cell."
    )
    if lost:
        caption += f" {len(lost)} images could not be opened ({next(iter(lost.values()))})."
    return Drawn(figure, table, caption, picture=True)


class _Source:
    """An image and its mask."""

    def __init__(self, field: Field, mask: npt.NDArray[Any], label: str) -> None:
        exosome = exosome_role(label) if label else EXOSOME
        shown = {exosome: EXOSOME, "cell": "cell"}
        self.planes: dict[str, npt.NDArray[Any]] = {
            shown[role]: plane if plane.ndim == 2 else plane.max(axis=0)  # a volume: its projection
            for role, plane in field.channels.items()
            if role in shown
        }
        self.mask = mask
        self.pixel_um = field.pixel_size_um


def _open_sources(data: ReportData, cells: pd.DataFrame) -> tuple[dict[str, _Source], dict[str, str]]:
    """Open images spread evenly over the ranks of their uptake; say why others could not be."""
    mean = cells.assign(_value=as_number(cells["puncta_count"])).groupby("image")["_value"].mean()
    names = mean.sort_values(kind="stable").index.tolist()
    at = np.unique(np.linspace(0, len(names) - 1, min(MOST_IMAGES, len(names))).round().astype(int))
    found, lost = {}, {}
    for name in (names[k] for k in at):
        try:
            field = source_field(data.results, name, data.settings)
            mask = data.results.masks(name)
        except (InputError, KeyError, OSError) as error:
            lost[name] = error.what if isinstance(error, InputError) else str(error)
            continue
        if mask is None or mask.shape[-2:] != field.shape[-2:]:
            lost[name] = "its mask is missing or of another size"
        else:
            found[name] = _Source(field, mask, data.label)
    return found, lost


def _cut(source: _Source, row: pd.Series[Any], window_um: float) -> dict[str, _Plane]:
    """Cut a square window around a cell; beyond the image it is filled with NaN."""
    half = max(4, round(window_um / source.pixel_um / 2))
    y, x = round(float(row["centroid_y_px"])), round(float(row["centroid_x_px"]))
    planes = {**source.planes, "mask": source.mask}
    cut = {}
    for role, plane in planes.items():
        padded = np.full((2 * half + 1, 2 * half + 1), np.nan)
        top, left = max(0, y - half), max(0, x - half)
        window = slice(top, y + half + 1), slice(left, x + half + 1)
        if role == "mask":  # only here: a slide's is large
            here = plane[(..., *window)] == row["label"]
            part = here if here.ndim == 2 else here.any(axis=0)
        else:
            part = plane[window]
        y0, x0 = top - (y - half), left - (x - half)
        padded[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
        cut[role] = padded
    return cut


def _limits(planes: list[_Plane], dimmest: float) -> tuple[float, float]:
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes]) if planes else np.zeros(1)
    low, high = (float(v) for v in np.percentile(values, (dimmest, 99.7)))
    return low, high if high > low else low + 1


def _draw(axis: Axes, planes: dict[str, _Plane], limits: dict[str, tuple[float, float]]) -> None:
    def scaled(role: str, gamma: float) -> _Plane:
        if role not in planes:
            return np.zeros_like(planes["mask"])
        low, high = limits[role]
        return np.asarray(np.clip((np.nan_to_num(planes[role], nan=low) - low) / (high - low), 0, 1) ** gamma)

    grey, magenta = 0.55 * scaled("cell", 0.7), scaled("exosome", 0.7)
    picture = np.clip(np.stack([grey + magenta, grey, grey + magenta], axis=-1), 0, 1)
    axis.imshow(picture, interpolation="nearest")
    mask = np.nan_to_num(planes["mask"])
    if mask.any():
        axis.contour(mask, [0.5], colors=["#F0E442"], linewidths=0.8)


def _scale_bar(axis: Axes, window_um: float) -> float:
    from matplotlib.patches import Rectangle

    length = scale_bar_um(window_um)
    share = length / window_um
    axis.add_patch(Rectangle((0.94 - share, 0.05), share, 0.03, transform=axis.transAxes, color="white"))
    return length
