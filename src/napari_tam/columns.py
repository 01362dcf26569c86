"""Every column of the result tables: name, type, unit, definition, source. Stated here, once.

The measured tables are built from these lists (so an empty table is complete), and so is the
reference page of the columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from napari_tam.markers.names import marker_role, slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

#: What a column holds; "maybe_" types have missing values (`pandas.NA`), numbers have NaN.
Kind = Literal["text", "integer", "maybe_integer", "number", "flag", "maybe_flag"]

_DTYPES: dict[Kind, Any] = {
    "text": str,
    "integer": "int64",
    "maybe_integer": "Int64",
    "number": "float64",
    "flag": "bool",
    "maybe_flag": "boolean",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name
        The column's name, with its unit.
    kind
        Its type.
    unit
        Its unit; empty for none. "counts" are the image's own intensity units.
    group
        The group of columns it belongs to.
    definition
        What it is, and the formula.
    source
        Where the definition comes from, if it is not the project's own.
    """

    name: str
    kind: Kind
    unit: str
    group: str
    definition: str
    source: str = ""

    @property
    def title(self) -> str:
        """What it is called in words."""
        return title_of(self.name)


#: What columns are called where their name, read as words, would not do.
_TITLES = {
    "label": "Cell number",
    "frame": "Frame",
    "centroid_y_px": "Centre, y",
    "centroid_x_px": "Centre, x",
    "equivalent_diameter_um": "Diameter of a disc of the same area",
    "major_axis_um": "Length of the long axis",
    "minor_axis_um": "Length of the short axis",
    "orientation_deg": "Orientation",
    "feret_max_um": "Largest diameter",
    "feret_min_um": "Smallest diameter",
    "inscribed_radius_um": "Radius of the largest disc inside",
    "protrusion_fraction": "Share of the area in protrusions",
    "puncta_count": "Puncta per cell",
    "puncta_per_um2": "Puncta per area",
    "puncta_intensity_sum": "Puncta intensity per cell",
    "puncta_intensity_mean": "Mean punctum intensity",
    "puncta_intensity_median": "Median punctum intensity",
    "puncta_width_um": "Width of the puncta",
    "puncta_snr": "Signal-to-noise ratio of the puncta",
    "exosome_mean": "Mean exosome intensity",
    "exosome_integrated": "Exosome intensity",
    "ctcf": "Corrected total cell fluorescence",
    "cell_mean": "Mean intensity of the cell stain",
    "nucleus_mean": "Mean intensity of the nuclear stain",
    "lysosome_mean": "Mean lysosome intensity",
    "extra_mean": "Mean intensity of the extra channel",
    "puncta_edge_distance_um": "Distance of the puncta to the cell's edge",
    "puncta_nucleus_distance_um": "Distance of the puncta to the nucleus",
    "puncta_relative_radius": "Relative radius of the puncta (0 innermost, 1 at the edge)",
    "central_fraction": "Share of central puncta",
    "perinuclear_fraction": "Share of perinuclear puncta",
    "lysosome_pearson": "Pearson correlation with lysosomes",
    "manders_m1": "Manders M1, exosomes on lysosomes",
    "manders_m1_random": "Manders M1 by chance",
    "manders_m2": "Manders M2, lysosomes on exosomes",
    "manders_m2_random": "Manders M2 by chance",
    "lysosome_overlap": "Share of puncta on lysosomes",
    "lysosome_overlap_random": "Share of puncta on lysosomes by chance",
    "lysosome_area_fraction": "Share of the area that is lysosomes",
    "exosome_threshold": "Threshold of the exosome channel",
    "lysosome_threshold": "Threshold of the lysosome channel",
    "touches_border": "Touches the image's border",
    "contact_fraction": "Share of the edge that touches other cells",
    "saturated_fraction": "Share of saturated pixels",
    "focus_score": "Sharpness",
    "contrast_to_noise": "Contrast to noise of the cell stain",
    "segmentation_confidence": "Confidence of the outline",
    "nuclei_help": "Found or split by nuclei",
    "nucleus_count": "Nuclei per cell",
    "no_nucleus": "Without nucleus",
    "many_nuclei": "With several nuclei",
    "nucleus_area_um2": "Area of the nuclei",
    "nucleus_cell_area_ratio": "Area of the nuclei / area of the cell",
    "phenotype_reason": "Why the phenotype is uncertain",
    "snr": "Signal-to-noise ratio",
    "width_se_um": "Standard error of the width",
    "position_se_um": "Standard error of the position",
    "intensity_se": "Standard error of the intensity",
    "edge_distance_um": "Distance to the cell's edge",
    "nucleus_distance_um": "Distance to the nucleus",
    "relative_radius": "Relative radius (0 innermost, 1 at the edge)",
    "positive": "Positive cells",
    "positive_fraction": "Share of positive cells",
    "aggregate_count": "Aggregates per cell",
    "aggregate_intensity": "Intensity of the aggregates",
    "puncta_equivalents": "Exosome equivalents",
    "puncta_equivalents_low": "Exosome equivalents, lower limit",
    "puncta_equivalents_high": "Exosome equivalents, upper limit",
    "time_h": "Time",
    "donor_distance_um": "Distance to the next donor",
    "donor_neighbours": "Donors within reach",
}

#: What the last parts of marker columns say (`marker_columns`).
_READINGS = {
    "nucleus_mean": "mean intensity over the nucleus",
    "cytoplasm_mean": "mean intensity outside of the nucleus",
    "rim_mean": "mean intensity at the rim",
    "spill_over": "spill-over from neighbours",
    "mean": "mean intensity",
    "median": "median intensity",
    "integrated": "intensity per cell",
    "background": "background",
}

#: The share of a label's puncta that have one of another beside them (`label_columns.together_column`).
_TOGETHER = re.compile(r"puncta_with_(?P<other>.+?)(?P<random>_random)?_(?P<own>[^_]+)")

#: How a name ends that carries its unit.
_UNIT_ENDS = ("_um2", "_um3", "_um", "_px", "_deg", "_h", "_min")


def title_of(name: str) -> str:
    """Return what a column is called in words, without its unit: ``Puncta per cell``."""
    if name in _TITLES:
        return _TITLES[name]
    for prefix, words in (("marker_", "{}"), ("p_", "Probability of {}")):
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            if prefix == "p_":
                return words.format(rest.upper() if len(rest) < 3 else rest.replace("_", " "))
            for end, said in _READINGS.items():
                if rest.endswith(f"_{end}"):
                    return f"{rest.removesuffix(f'_{end}')}: {said}"
    if pair := _TOGETHER.fullmatch(name):
        by_chance = " by chance" if pair["random"] else ""
        return f"Share of {pair['own']} puncta with {pair['other']} beside them{by_chance}"
    own, exosomes = _of_exosomes(name)
    if exosomes:
        return f"{title_of(own)}, {exosomes}"
    end = next((end for end in _UNIT_ENDS if name.endswith(end)), "")
    plain = name.removesuffix(end).replace("_", " ").strip()
    return plain[:1].upper() + plain[1:]


def _of_exosomes(name: str) -> tuple[str, str]:
    """Return a column of one exosome label among several without the label, and the label; or as it is."""
    known = [own for own in _TITLES if name.startswith(f"{own}_")]
    own = max(known, key=len, default="")
    label = name.removeprefix(f"{own}_") if own else ""
    # labels are names of dyes and proteins: GFP, PKH26, CD63
    return (own, label) if label != label.lower() or any(map(str.isdigit, label)) else (name, "")


def unit_of(name: str) -> str:
    """Return the unit of a column; empty if it has none, or is not known."""
    if name.startswith("marker_") and name.rpartition("_")[2] in (
        "mean",
        "median",
        "integrated",
        "background",
    ):
        return "counts"
    return _units().get(name, "") or _units().get(_of_exosomes(name)[0], "")


def label_of(name: str) -> str:
    """Return what an axis says about a column: ``Exosome intensity (counts)``."""
    unit = unit_of(name)
    return f"{title_of(name)} ({unit})" if unit else title_of(name)


@cache
def _units() -> dict[str, str]:
    """Return the unit of every column that has one, those of cells first."""
    tables = [value for key, value in globals().items() if key.isupper() and isinstance(value, tuple)]
    found: dict[str, str] = {}
    for column in (column for table in tables for column in table if isinstance(column, Column)):
        if column.unit and "'" not in column.unit:  # the unit of the layout, or of the readout: not one
            found.setdefault(column.name, column.unit)
    return found


def table_of_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table with exactly the given columns, in order, of rows that have a value for each.

    Raises
    ------
    KeyError
        If a row lacks a column.
    """
    return build_table(
        columns, {column.name: [row[column.name] for row in rows] for column in columns}, len(rows)
    )


def join_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of tables one below another, numbered anew.

    Those without rows are left out, unless all are: they must not change the others' types.
    """
    import pandas as pd

    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def build_table(columns: Iterable[Column], values: Mapping[str, Any], rows: int) -> pd.DataFrame:
    """Return a table with exactly the given columns, in order; what has no values is missing.

    Parameters
    ----------
    columns
        What the table consists of.
    values
        Column name to an array of `rows` values, or one value for all rows.
    rows
        Number of rows.

    Raises
    ------
    ValueError
        If there are values for a column that is not listed.
    """
    import pandas as pd

    columns = list(columns)
    unknown = set(values) - {column.name for column in columns}
    if unknown:
        raise ValueError(f"not among the columns: {sorted(unknown)}")
    missing = {"text": "", "maybe_integer": pd.NA, "maybe_flag": pd.NA, "number": float("nan")}
    index = pd.RangeIndex(rows)
    return pd.DataFrame(
        {
            column.name: pd.Series(
                values[column.name] if column.name in values else missing[column.kind],
                index=index,
                dtype=_DTYPES[column.kind],
            )
            for column in columns
        },
        index=index,
    )


_KEYS = (
    Column("image", "text", "", "keys", "Name of the image."),
    Column("label", "integer", "", "keys", "Value of the cell in the image's cell mask."),
    Column("frame", "integer", "", "keys", "Index on the time axis; 0 without one."),
)

_SHAPE = (
    Column("centroid_y_px", "number", "px", "keys", "Mean row of the mask; pixel centres at integers."),
    Column("centroid_x_px", "number", "px", "keys", "Mean column of the mask."),
    Column("area_um2", "number", "µm²", "shape", "Number of pixels × pixel area."),
    Column(
        "perimeter_um",
        "number",
        "µm",
        "shape",
        "Cauchy-Crofton perimeter over four directions: π/8 × (N₀ + N₉₀ + (N₄₅ + N₁₃₅)/√2) with N the "
        "number of edges along lines in a direction. Unbiased for round outlines; a straight edge is "
        "off by -5.2 % (along an axis) to +2.6 %.",
        "Legland et al. 2007, Image Anal Stereol 26:83; skimage perimeter_crofton",
    ),
    Column("equivalent_diameter_um", "number", "µm", "shape", "Diameter of the circle of the same area."),
    Column(
        "major_axis_um",
        "number",
        "µm",
        "shape",
        "Long axis of the ellipse with the mask's second moments (pixels as unit squares).",
    ),
    Column("minor_axis_um", "number", "µm", "shape", "Short axis of that ellipse."),
    Column("aspect_ratio", "number", "", "shape", "major_axis / minor_axis; 1 for a disc."),
    Column(
        "elongation",
        "number",
        "",
        "shape",
        "1 - minor_axis / major_axis; 0 for a disc, towards 1 for a line.",
    ),
    Column("eccentricity", "number", "", "shape", "√(1 - (minor_axis / major_axis)²)."),
    Column(
        "orientation_deg",
        "number",
        "°",
        "shape",
        "Angle of the long axis from the image's x axis, counter-clockwise as displayed; above -90 to 90.",
    ),
    Column(
        "solidity",
        "number",
        "",
        "shape",
        "Area / area of the convex hull, the hull being the exact polygon around the pixel squares.",
    ),
    Column(
        "circularity",
        "number",
        "",
        "shape",
        "4π × area / perimeter²; 1 for a disc. Masks of a few pixels can exceed 1.",
    ),
    Column(
        "feret_max_um",
        "number",
        "µm",
        "shape",
        "Largest caliper width: the largest distance between two corners of pixel squares.",
    ),
    Column(
        "feret_min_um",
        "number",
        "µm",
        "shape",
        "Smallest caliper width over all directions, exact (perpendicular to an edge of the convex hull).",
        "rotating calipers",
    ),
    Column(
        "inscribed_radius_um",
        "number",
        "µm",
        "shape",
        "Largest distance from a pixel centre to the cell's edge. The image's border counts as edge.",
    ),
    Column(
        "protrusions",
        "integer",
        "",
        "shape",
        "Number of connected parts of the mask that an opening with a disc of radius r = 0.5 × "
        "inscribed_radius removes and that reach at least r beyond what is left (to a pixel).",
    ),
    Column("protrusion_fraction", "number", "", "shape", "Area of these protrusions / area."),
)

_PUNCTA = (
    Column("puncta_count", "integer", "", "puncta", "Number of puncta whose centroid lies in the cell."),
    Column("puncta_per_um2", "number", "1/µm²", "puncta", "puncta_count / area."),
    Column(
        "puncta_intensity_sum",
        "number",
        "counts",
        "puncta",
        "Sum of the puncta's intensities, each Σ(I - local background); 0 without puncta.",
    ),
    Column("puncta_intensity_mean", "number", "counts", "puncta", "Mean of the puncta's intensities."),
    Column("puncta_intensity_median", "number", "counts", "puncta", "Median of the puncta's intensities."),
    Column(
        "puncta_width_um",
        "number",
        "µm",
        "puncta",
        "Median full width at half maximum of the puncta: the microscope's, not the exosomes'.",
    ),
    Column("puncta_snr", "number", "", "puncta", "Median signal-to-noise ratio of the puncta."),
)

_WHOLE_CELL = (
    Column("exosome_mean", "number", "counts", "whole-cell", "Mean of the exosome channel, as in the image."),
    Column(
        "exosome_integrated",
        "number",
        "counts",
        "whole-cell",
        "Σ(I - background) over the cell; background: the image's median outside all cells "
        "(exosome_background in the images table).",
    ),
    Column(
        "ctcf",
        "number",
        "counts",
        "whole-cell",
        "Corrected total cell fluorescence: ΣI - area in pixels × mean background "
        "(exosome_background_mean in the images table).",
        "McCloy et al. 2014, Cell Cycle 13:1400",
    ),
    Column("cell_mean", "number", "counts", "whole-cell", "Mean of the cell channel over the cell."),
    Column("nucleus_mean", "number", "counts", "whole-cell", "Mean of the nucleus channel over the cell."),
    Column("lysosome_mean", "number", "counts", "whole-cell", "Mean of the lysosome channel over the cell."),
    Column(
        "extra_mean",
        "number",
        "counts",
        "whole-cell",
        "Mean of the extra channel over the cell, as in the image (of a marker channel more is measured).",
    ),
)

_PLACE = (
    Column(
        "puncta_edge_distance_um",
        "number",
        "µm",
        "place",
        "Median distance of the puncta to the cell's edge.",
    ),
    Column(
        "puncta_nucleus_distance_um",
        "number",
        "µm",
        "place",
        "Median distance of the puncta to the cell's nucleus, 0 over it.",
    ),
    Column(
        "puncta_relative_radius",
        "number",
        "",
        "place",
        "Mean relative radius of the puncta (0 = the cell's innermost point, 1 = its edge).",
    ),
    Column(
        "central_fraction",
        "number",
        "",
        "place",
        "Share of the puncta with a relative radius below the setting central_radius. Central in one "
        "plane, which does not prove internalised.",
    ),
    Column(
        "perinuclear_fraction",
        "number",
        "",
        "place",
        "Share of the puncta within the setting perinuclear_distance_um of the cell's nucleus, or over it.",
    ),
)

_CHANCE = (
    " when the channel is turned inside the cell: mean of the setting colocalisation_randomisations turns, "
    "each pixel within its shell of equal distance from the nucleus (8 shells; without a nucleus: of equal "
    "relative depth below the edge), by 10 % to 90 % of the circle. What chance gives."
)

_PARTNERS = (
    Column(
        "lysosome_pearson",
        "number",
        "",
        "partners",
        "Pearson's correlation of exosome and lysosome channel over all pixels of the cell. This and what "
        "follows is missing without a lysosome channel.",
        "Manders et al. 1992, J Cell Sci 103:857",
    ),
    Column(
        "manders_m1",
        "number",
        "",
        "partners",
        "Share of the exosome light that lies on lysosome: Σ(I - b) over the pixels above both thresholds / "
        "over those above exosome_threshold, b the cell's median. Missing if none is.",
        "Manders et al. 1993, J Microsc 169:375",
    ),
    Column("manders_m1_random", "number", "", "partners", "manders_m1" + _CHANCE, "after Costes et al. 2004"),
    Column(
        "manders_m2",
        "number",
        "",
        "partners",
        "Share of the lysosome light that lies on exosome, with the channels' parts exchanged.",
        "Manders et al. 1993, J Microsc 169:375",
    ),
    Column("manders_m2_random", "number", "", "partners", "manders_m2" + _CHANCE, "after Costes et al. 2004"),
    Column(
        "lysosome_overlap",
        "number",
        "",
        "partners",
        "Share of the puncta whose centroid lies on a pixel above lysosome_threshold.",
    ),
    Column("lysosome_overlap_random", "number", "", "partners", "lysosome_overlap" + _CHANCE),
    Column(
        "lysosome_area_fraction",
        "number",
        "",
        "partners",
        "Share of the cell's pixels above lysosome_threshold.",
    ),
    Column(
        "exosome_threshold",
        "number",
        "counts",
        "partners",
        "The cell's median + the threshold by the setting colocalisation_threshold, at least "
        "colocalisation_k SDs of the cell's noise (from the median absolute deviation below the median).",
        "Otsu 1979; Costes et al. 2004, Biophys J 86:3993",
    ),
    Column("lysosome_threshold", "number", "counts", "partners", "The same of the lysosome channel."),
)

_QUALITY = (
    Column("touches_border", "flag", "", "quality", "The mask reaches the image's border: the cell is cut."),
    Column(
        "contact_fraction",
        "number",
        "",
        "quality",
        "Share of the mask's outline (pixel edges) that is shared with other cells.",
    ),
    Column(
        "saturated_fraction",
        "number",
        "",
        "quality",
        "Share of the cell's pixels at which the exosome channel is clipped: at the largest value of "
        "an integer type, or at a camera's full scale (2ⁿ - 1; 1 for floating point) if that is the "
        "image's maximum and at least 10 pixels and 0.001 % share it.",
    ),
    Column(
        "focus_score",
        "number",
        "",
        "quality",
        "Variance of the Laplacian of the cell channel inside the cell / squared cell_mean. Noise "
        "counts as sharpness: compare within one set of images.",
        "variance of the Laplacian: Pech-Pacheco et al. 2000, ICPR",
    ),
    Column(
        "contrast_to_noise",
        "number",
        "",
        "quality",
        "(cell_mean - median of the cell channel outside all cells) / SD of that channel's pixel noise, "
        "which is 1.4826 × the median of |four-neighbour Laplacian| / √20.",
        "after Immerkaer 1996, Comput Vis Image Underst 64:300",
    ),
    Column(
        "segmentation_confidence",
        "number",
        "",
        "quality",
        "How much the network's output speaks for the mask, 0 to 1: mean probability of its pixels × (1 - "
        "flow error); missing for masks drawn by hand and those of Cellpose 4.",
        "flow error: Stringer et al. 2021, Nat Methods 18:100",
    ),
    Column(
        "nuclei_help",
        "text",
        "",
        "quality",
        "What the nuclei did for the mask (setting nuclei_help): 'split', where one mask held several "
        "nuclei; 'found', where a nucleus had no cell around it and lower thresholds looked again; else "
        "empty.",
    ),
    Column(
        "nucleus_count",
        "maybe_integer",
        "",
        "quality",
        "Number of nuclei with over half of their area in the cell; missing without a nuclear stain.",
    ),
    Column("no_nucleus", "maybe_flag", "", "quality", "nucleus_count is 0."),
    Column("many_nuclei", "maybe_flag", "", "quality", "nucleus_count is above 1."),
    Column(
        "nucleus_area_um2",
        "number",
        "µm²",
        "quality",
        "Total area of the cell's nuclei; 0 for none, missing without a nuclear stain.",
    ),
    Column("nucleus_cell_area_ratio", "number", "", "quality", "nucleus_area / area."),
)

#: The columns of the per-cell table that come from the segmentation, and not from the masks.
JUDGED = ("segmentation_confidence", "nuclei_help")

#: Of masks with a lower confidence, about half are wrong (benchmarks/real_cells.py).
DOUBTFUL = 0.6

#: The per-cell table.
CELL_COLUMNS: tuple[Column, ...] = (
    *_KEYS,
    *_SHAPE,
    *_PUNCTA,
    *_WHOLE_CELL,
    *_PLACE,
    *_PARTNERS,
    *_QUALITY,
)

#: The puncta table. A detector's further columns follow after these.
PUNCTA_COLUMNS: tuple[Column, ...] = (
    Column("image", "text", "", "keys", "Name of the image."),
    Column(
        "label", "integer", "", "keys", "The cell whose mask has the pixel under the centroid; 0 = outside."
    ),
    Column("y_px", "number", "px", "keys", "Row of the centroid; pixel centres at integers."),
    Column("x_px", "number", "px", "keys", "Column of the centroid."),
    Column("frame", "integer", "", "keys", "Index on the time axis; 0 without one."),
    Column("y_um", "number", "µm", "keys", "y_px × pixel size."),
    Column("x_um", "number", "µm", "keys", "x_px × pixel size."),
    Column("score", "number", "", "puncta", "The detector's confidence, 0 to 1."),
    Column(
        "contrast",
        "number",
        "",
        "puncta",
        "How far it stands out: SD of the structure around it (within some 60 px) at its own width.",
    ),
    Column("intensity", "number", "counts", "puncta", "Σ(I - background) over the punctum."),
    Column("peak", "number", "counts", "puncta", "Height above the background."),
    Column("background", "number", "counts", "puncta", "Median of the local annulus."),
    Column(
        "width_um",
        "number",
        "µm",
        "puncta",
        "Full width at half maximum: the microscope's, not the exosome's.",
    ),
    Column(
        "width_se_um",
        "number",
        "µm",
        "puncta",
        "Standard error of the width: the Cramér-Rao bound for a Gaussian on a flat background, √(5/π) × "
        "2.355 × pixel size / snr. Missing for crowded puncta, which are given the width of a single one.",
    ),
    Column(
        "vesicle",
        "maybe_flag",
        "",
        "puncta",
        "Wider than a single punctum of the image: by 3.5 SD (its standard error, and 6 % by which single "
        "puncta differ) and at least 1.3 times. A vesicle, a ring or a clump, which is one object here.",
    ),
    Column("snr", "number", "", "puncta", "Signal-to-noise ratio: peak / SD of the local noise."),
    Column(
        "position_se_um",
        "number",
        "µm",
        "puncta",
        "Standard error of the position along one axis: the Cramér-Rao bound of a fit of a Gaussian, its "
        "neighbours and a background. Missing with the LoG detector, and in stacks where nothing is parted.",
    ),
    Column("intensity_se", "number", "counts", "puncta", "Standard error of the intensity, likewise."),
    Column(
        "puncta_in_spot",
        "maybe_integer",
        "",
        "puncta",
        "Number of puncta, this one among them, that the fit parted one candidate of the network into; 1 for "
        "most.",
    ),
    Column(
        "edge_distance_um",
        "number",
        "µm",
        "place",
        "Distance to the edge of its cell; missing outside cells. The image's border counts as edge.",
    ),
    Column(
        "nucleus_distance_um",
        "number",
        "µm",
        "place",
        "Distance to the nearest nucleus of its cell, 0 over it; missing outside cells and in cells "
        "without a nucleus.",
    ),
    Column(
        "relative_radius",
        "number",
        "",
        "place",
        "1 - edge_distance / inscribed_radius of its cell: 0 = the cell's innermost point, 1 = its edge.",
    ),
)

#: What `napari_tam.measure.cells.measure` contributes to the images table.
SUMMARY_COLUMNS: tuple[Column, ...] = (
    Column("image", "text", "", "keys", "Name of the image."),
    Column("frame", "integer", "", "keys", "Index on the time axis; 0 without one."),
    Column("cells", "integer", "", "counts", "Number of cells."),
    Column("nuclei", "maybe_integer", "", "counts", "Number of nuclei; missing without a nuclear stain."),
    Column("puncta", "integer", "", "counts", "Number of puncta: puncta_in_cells + puncta_outside."),
    Column("puncta_in_cells", "integer", "", "counts", "Puncta whose centroid lies in a cell."),
    Column("puncta_outside", "integer", "", "counts", "Puncta outside every cell."),
    Column("cell_area_fraction", "number", "", "quality", "Share of the image covered by cells."),
    Column("cells_touching_border", "integer", "", "quality", "Cells cut by the image's border."),
    Column(
        "exosome_background",
        "number",
        "counts",
        "whole-cell",
        "Median of the exosome channel outside all cells, more than 5 px from each. If that is less "
        "than 1 % of the image: the channel's 1st percentile.",
    ),
    Column(
        "exosome_background_mean",
        "number",
        "counts",
        "whole-cell",
        "Mean of the same pixels (same percentile).",
    ),
    Column(
        "exosome_background_method",
        "text",
        "",
        "whole-cell",
        "'outside cells' or 'percentile', as stated above.",
    ),
    Column(
        "saturated_fraction", "number", "", "quality", "Share of the image's exosome pixels that are clipped."
    ),
    Column("focus_score", "number", "", "quality", "Median focus_score of the cells; missing without cells."),
    Column("notes", "text", "", "quality", "What was done on reading and measuring that one should know."),
)

#: What the other steps contribute to it.
STEP_COLUMNS: tuple[Column, ...] = (
    Column("cell_diameter_um", "number", "µm", "quality", "Diameter that the cells were looked for with."),
    Column(
        "cell_diameter_doubt",
        "text",
        "",
        "quality",
        "Why the estimate of that diameter is unsure; empty where it is not, or was given.",
    ),
    Column("puncta_threshold", "number", "", "counts", "Contrast that puncta have at least; 1 keeps all."),
    Column(
        "puncta_false_share",
        "number",
        "",
        "quality",
        "Share of the puncta that is expected to be false: the mean of 1 - score; missing without puncta, "
        "and for the method log.",
    ),
    Column(
        "sharpness",
        "number",
        "",
        "quality",
        "Power of small structures (1.5 to 3 px) of the cell channel over that of large ones (6 to 12 px), "
        "without the noise's share. It falls with defocus; compare within one set of images.",
    ),
    Column(
        "cell_signal",
        "number",
        "counts",
        "quality",
        "Median of the cells' cell_mean - median of the cell channel outside the cells; missing without "
        "cells.",
    ),
    Column(
        "findings",
        "text",
        "",
        "quality",
        "Codes of what makes the picture doubtful (see docs/trust.md), with a sentence each in the notes.",
    ),
)

#: What a volume's per-cell table has besides `CELL_COLUMNS`. Of those, shape (area to
#: protrusion_fraction, centroids in y and x, contact_fraction, touches_border, focus_score and
#: nucleus_area) is that of the maximum intensity projection, which the phenotype model needs, and so are
#: contrast_to_noise and the co-localisation; puncta, intensities,
#: saturation, nuclei and place are of the volume.
VOLUME_CELL_COLUMNS: tuple[Column, ...] = (
    Column("centroid_z_px", "number", "px", "volume", "Mean plane of the mask, from 0."),
    Column("volume_um3", "number", "µm³", "volume", "Number of voxels × voxel volume."),
    Column(
        "surface_um2",
        "number",
        "µm²",
        "volume",
        "Area of the mask's surface as a mesh (marching cubes after a blur of 1 px in y and x). The stack's "
        "border is no surface: a cell that it cuts is open there.",
        "Lewiner et al. 2003, J Graph Tools 8:1; skimage marching_cubes",
    ),
    Column("equivalent_diameter_3d_um", "number", "µm", "volume", "Diameter of the ball of the same volume."),
    Column(
        "sphericity",
        "number",
        "",
        "volume",
        "π × equivalent_diameter_3d² / surface: 1 for a ball, less for other shapes; too large for a cell "
        "that the stack's border cuts.",
        "Wadell 1935, J Geol 43:250",
    ),
    Column("height_um", "number", "µm", "volume", "Number of planes that the cell reaches into × z-step."),
    Column(
        "inscribed_radius_3d_um",
        "number",
        "µm",
        "volume",
        "Largest distance from a voxel centre to the cell's surface.",
    ),
    Column("touches_stack_end", "flag", "", "volume", "The mask reaches the first or last plane: it is cut."),
    Column("puncta_per_um3", "number", "1/µm³", "volume", "puncta_count / volume."),
    Column("internal_count", "integer", "", "volume", "Number of the cell's puncta that are inside it."),
    Column("membrane_count", "integer", "", "volume", "Number of the cell's puncta on its membrane."),
    Column(
        "internal_fraction",
        "number",
        "",
        "volume",
        "Share of the cell's puncta that are inside: deeper below the 3-D surface than "
        "membrane_distance_um (a setting; used value in the images table).",
    ),
    Column(
        "membrane_fraction",
        "number",
        "",
        "volume",
        "Share within that distance of the surface, on either side.",
    ),
    Column("puncta_depth_um", "number", "µm", "volume", "Mean depth of the cell's puncta (depth_um)."),
    Column(
        "nucleus_volume_um3",
        "number",
        "µm³",
        "volume",
        "Total volume of the cell's nuclei; missing without a nuclear stain.",
    ),
    Column("nucleus_cell_volume_ratio", "number", "", "volume", "nucleus_volume / volume."),
)

#: What a volume's puncta table has besides `PUNCTA_COLUMNS`; there, intensity is summed over the
#: ellipsoid of 3 sigma, background is the median of the shell around it, label is the cell within
#: whose surface or membrane distance the centroid lies, and distances are in 3-D.
VOLUME_PUNCTA_COLUMNS: tuple[Column, ...] = (
    Column("z_px", "number", "px", "volume", "Plane of the centroid, from 0; between planes a fraction."),
    Column("z_um", "number", "µm", "volume", "z_px × z-step."),
    Column(
        "width_z_um",
        "number",
        "µm",
        "volume",
        "Full width at half maximum along z (width_um is that in y and x).",
    ),
    Column(
        "depth_um",
        "number",
        "µm",
        "volume",
        "Depth of the centroid below the 3-D surface of its cell, as far as the stack shows it; negative "
        "outside, to the nearest cell; missing where there is no surface.",
    ),
    Column(
        "location",
        "text",
        "",
        "volume",
        "inside: deeper than membrane_distance_um. membrane: within that distance of the surface, on either "
        "side. outside: else.",
    ),
)

#: What a volume adds to the images table.
VOLUME_SUMMARY_COLUMNS: tuple[Column, ...] = (
    Column("planes", "integer", "", "volume", "Number of planes of the stack."),
    Column("z_step_um", "number", "µm", "volume", "Distance of the planes."),
    Column(
        "membrane_distance_um",
        "number",
        "µm",
        "volume",
        "The distance from the surface that counts as membrane: the setting, or half of the puncta's median "
        "width along z and at least one pixel.",
    ),
    Column("puncta_internal", "integer", "", "volume", "Puncta inside cells."),
    Column("puncta_membrane", "integer", "", "volume", "Puncta on cell membranes."),
)


_BACKGROUND = "less the background: its median outside all cells (marker_NAME_background in images.csv)"


def marker_columns(markers: Sequence[str] = ("NAME",)) -> tuple[Column, ...]:
    """Return what `napari_tam.measure.markers` adds to the per-cell table for markers of these names."""
    return tuple(
        Column(f"{marker_role(name)}_{part}", "number", unit, "markers", definition, source)
        for name in markers
        for part, unit, definition, source in (
            ("mean", "counts", f"Mean of the marker over the cell, {_BACKGROUND}.", ""),
            ("median", "counts", "Median over the cell, likewise.", ""),
            ("integrated", "counts", "Sum over the cell, likewise.", ""),
            (
                "nucleus_mean",
                "counts",
                "Mean over the cell's pixels that belong to a nucleus, likewise; missing without one.",
                "",
            ),
            (
                "cytoplasm_mean",
                "counts",
                "Mean over the cell without nuclei, likewise; missing without a nuclear stain.",
                "",
            ),
            (
                "rim_mean",
                "counts",
                "Mean over the membrane rim, likewise: the cell's pixels within the setting marker_rim_um of "
                "its edge, its outermost pixels in any case.",
                "",
            ),
            (
                "spill_over",
                "",
                "Share of the rim's light that comes from cells that touch this one: Σ R(n) f(d) / Σ(I - b) "
                "over the rim, 0 to 1; n is the neighbour whose contact is nearest to a pixel, d the way "
                "to it, R the neighbour's rim_mean less its own spill-over, and f(d) how much of a cell's "
                "rim_mean is seen at d beyond its edge where no cell is (all free edges of the image "
                "together). 0 without contact; missing where the rim has no light or no edge is free.",
                "",
            ),
        )
    )


def marker_summary_columns(markers: Sequence[str] = ("NAME",)) -> tuple[Column, ...]:
    """Return what it adds to the images table."""
    return tuple(
        Column(
            f"{marker_role(name)}_background",
            "number",
            "counts",
            "markers",
            "Median of the marker outside all cells, more than 5 px from each; if that is less than 1 % of "
            "the image: the channel's 1st percentile. In an image analysed in tiles, each has its own.",
        )
        for name in markers
    )


def class_column(name: str) -> str:
    """Return the part of column names that stands for a class: ``M1`` becomes ``m1``."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def phenotype_columns(classes: Sequence[str] = ("M1", "M2")) -> tuple[Column, ...]:
    """Return what `napari_tam.phenotype.classify` adds to the per-cell table."""
    chances = tuple(
        Column(
            f"p_{class_column(name)}",
            "number",
            "",
            "phenotype",
            f"Calibrated probability that the cell is {name}, by its shape and cell stain, if all classes "
            "are equally common. Also stated where the phenotype is uncertain.",
            "temperature scaling: Guo et al. 2017, ICML",
        )
        for name in classes
    )
    return (
        *chances,
        Column(
            "phenotype",
            "text",
            "",
            "phenotype",
            f"{', '.join(classes)}: the class with the largest probability; or uncertain.",
        ),
        Column(
            "phenotype_reason",
            "text",
            "",
            "phenotype",
            "Why it is uncertain: border (the cell is cut), too noisy "
            "(contrast_to_noise under phenotype_min_contrast), unlike training (its distance to the training "
            "cells is above the model's threshold), low probability (under phenotype_min_probability); "
            "several are separated by '; '.",
        ),
    )


def phenotype_summary_columns(classes: Sequence[str] = ("M1", "M2")) -> tuple[Column, ...]:
    """Return what `napari_tam.phenotype.classify` adds to the images table."""
    counts = [(name, f"Number of cells called {name}.") for name in classes]
    counts.append(("uncertain", "Number of cells whose phenotype is uncertain."))
    return (
        *(Column(f"cells_{class_column(name)}", "integer", "", "phenotype", text) for name, text in counts),
        Column(
            "cells_unlike_training",
            "integer",
            "",
            "phenotype",
            "Number of cells that are unlike the model's training cells. Many of them: the model does not "
            "fit these images.",
        ),
        *(
            Column(
                f"p_{class_column(name)}_mean",
                "number",
                "",
                "phenotype",
                f"Mean of p_{class_column(name)} over the cells that the border does not cut.",
            )
            for name in classes
        ),
    )


#: What the layout says about an image, in cells.csv and images.csv.
LAYOUT_COLUMNS: tuple[Column, ...] = (
    Column("well", "text", "", "layout", "Well, by the layout or the image's name."),
    Column("condition", "text", "", "layout", "What was done to the cells, as the layout calls it."),
    Column("dose", "number", "", "layout", "Dose, in whatever unit the layout uses."),
    Column("time", "number", "h", "layout", "Time with the exosomes."),
    Column("donor", "text", "", "layout", "Donor or animal that the cells are from."),
    Column("plate", "text", "", "layout", "Plate; each has a threshold of its own."),
    Column("replicate", "text", "", "layout", "Independent repeat of the experiment."),
    Column(
        "control_role",
        "text",
        "",
        "layout",
        "What the well is a control for: dye_only, no_exosome (of one label among several: dye_only:PKH26), "
        "untreated, vehicle, m0, m1, m2, positive; of markers unstained, isotype, fmo, or one marker's "
        "fmo:CD86; or empty.",
    ),
)


def positive_column(marker: str) -> str:
    """Return the column that says whether a cell is positive for a marker: ``CD86_positive``."""
    return f"{slug(marker)}_positive"


def gated_columns(markers: Sequence[str] = ("NAME",)) -> tuple[Column, ...]:
    """Return what `napari_tam.celltypes.gates` adds to the per-cell table for markers of these names."""
    return tuple(
        Column(
            positive_column(name),
            "maybe_flag",
            "",
            "markers",
            "The marker (setting marker_readout) is above the gate of the cell's plate (gates.csv). Missing "
            "without a gate.",
        )
        for name in markers
    )


#: What `napari_tam.celltypes.types` says about each cell, where there are rules.
TYPE_COLUMNS: tuple[Column, ...] = (
    Column(
        "cell_type",
        "text",
        "",
        "markers",
        "The type whose rule (setting types) fits; ambiguous, if several do; none, if none does; empty where "
        "a gate that is needed is missing, and in the markers' controls.",
    ),
    Column(
        "marker_phenotype",
        "text",
        "",
        "markers",
        "The phenotype whose rule (setting marker_phenotypes) fits; double positive, if both do; double "
        "negative, if neither does; empty as cell_type is.",
    ),
    Column(
        "polarisation",
        "number",
        "",
        "markers",
        "How far the cell leans to the markers of the second phenotype (M2) from those of the first (M1): "
        "c(M2) - c(M1), c the mean over the markers of a rule of ± log2(light / gate) (- where it must be "
        "negative; light below gate / 32 counts as that), as z-score of the plate. Mean and SD are those of "
        "the "
        "wells m0, untreated and vehicle if they hold 20 analysed cells, else of all analysed cells. Missing "
        "where a gate is, and in the markers' controls.",
        "z-score by controls: Birmingham et al. 2009, Nat Methods 6:569",
    ),
)

#: gates.csv: one row per plate and marker.
GATE_COLUMNS: tuple[Column, ...] = (
    Column("plate", "text", "", "keys", "Plate; empty if the layout names none."),
    Column("marker", "text", "", "keys", "Marker, as in the names of columns."),
    Column("readout", "text", "", "gate", "Column of cells.csv that is compared with the gate."),
    Column("rule", "text", "", "gate", "How the gate was found, and from which control."),
    Column("suggested", "flag", "", "gate", "There is no control: the gate is a suggestion to be looked at."),
    Column(
        "control_role", "text", "", "gate", "The control: fmo:NAME, fmo, isotype:NAME, isotype or unstained."
    ),
    Column("control_images", "integer", "", "gate", "Number of the control's images."),
    Column("control_cells", "integer", "", "gate", "Number of cells in them."),
    Column(
        "gate", "number", "counts", "gate", "A cell is positive above it; missing where the note says why."
    ),
    Column("cells", "integer", "", "gate", "Cells of the plate that are no control of a marker."),
    Column("positive_fraction", "number", "", "gate", "Share of these that is positive."),
    Column("note", "text", "", "gate", "Why there is no gate, or what to beware of."),
)

#: cell_types.csv: one row per replicate and type.
CELL_TYPE_COLUMNS: tuple[Column, ...] = (
    *(column for column in LAYOUT_COLUMNS if column.name not in ("well",)),
    Column("unit", "text", "", "keys", "Independent experiment (n) that the row belongs to."),
    Column("cell_type", "text", "", "keys", "Type; ambiguous: several rules fit; none: no rule does."),
    Column("cells", "integer", "", "counts", "Number of cells of the type."),
    Column(
        "fraction", "number", "", "counts", "Their share of all cells of the replicate whose type is known."
    ),
)

#: marker_agreement.csv: phenotypes by shape against those by markers, one row per condition and pair.
AGREEMENT_COLUMNS: tuple[Column, ...] = (
    Column("condition", "text", "", "keys", "Condition; empty: all cells together."),
    Column("by_shape", "text", "", "keys", "Phenotype by shape."),
    Column("by_markers", "text", "", "keys", "Phenotype by markers."),
    Column("cells", "integer", "", "counts", "Cells that are called so by both."),
    Column(
        "known",
        "integer",
        "",
        "counts",
        "Cells of the condition that both call by either phenotype.",
    ),
    Column("agree", "number", "", "agreement", "Share of the known cells on which both agree."),
    Column(
        "kappa",
        "number",
        "",
        "agreement",
        "Cohen's kappa: (agree - expected) / (1 - expected), expected from how often each calls either "
        "phenotype; 0 is chance, 1 is full agreement.",
        "Cohen 1960, Educ Psychol Meas 20:37",
    ),
    Column(
        "kappa_low", "number", "", "agreement", "Lower end of its 95 % interval; with 3 replicates or more."
    ),
    Column("kappa_high", "number", "", "agreement", "Upper end: the replicates are drawn anew 2000 times."),
    Column("units", "integer", "", "agreement", "Independent experiments (replicates) with such cells."),
    Column(
        "auc",
        "number",
        "",
        "agreement",
        "Area under the ROC curve of the shape's probability of the second phenotype (p_m2) against the "
        "phenotype by markers: the chance that of two cells, one of each, that of the second has the larger "
        "one. 0.5 is chance, 1 tells all apart. Cells whose shape is uncertain count as well.",
        "Hanley & McNeil 1982, Radiology 143:29",
    ),
    Column(
        "auc_low", "number", "", "agreement", "Lower end of its 95 % interval; with 3 replicates or more."
    ),
    Column("auc_high", "number", "", "agreement", "Upper end: the replicates are drawn anew 2000 times."),
    Column("auc_cells", "integer", "", "agreement", "Cells with either phenotype by markers."),
)


def traffic_cell_columns(labels: Sequence[str] = ("",)) -> tuple[Column, ...]:
    """Return what `napari_tam.traffic` adds to the per-cell table; with several labels once for each."""
    return tuple(
        Column(f"{name}_{label}" if label else name, kind, unit, "communication", text)
        for label in labels
        for name, kind, unit, text in _TO_DONORS
    )


#: How the columns begin that say where donors are.
OF_DONORS = ("donor_distance_um", "donor_neighbours")

_TO_DONORS: tuple[tuple[str, Kind, str, str], ...] = (
    (
        OF_DONORS[0],
        "number",
        "µm",
        "Distance to the nearest other cell of a type that gives (setting donor_types), from edge to edge by "
        "the masks, 0 where they touch; from centre to centre where an image has no mask file or one above "
        "67 megapixels. Missing without a donor in the image. With several exosome labels there is one "
        "column for each, with the label's name behind it.",
    ),
    (
        OF_DONORS[1],
        "maybe_integer",
        "",
        "Number of donor cells within the setting neighbour_radius_um, likewise.",
    ),
)

_ROUTE = (
    Column("condition", "text", "", "keys", "Condition; empty: all cells together."),
    Column("exosome_label", "text", "", "keys", "Exosome label; empty where there is one exosome channel."),
    Column("donors", "text", "", "keys", "Types of cells that give it."),
)
_NOTE = Column("note", "text", "", "result", "How it was found, why there is nothing, or what to beware of.")

#: traffic.csv: one row per label, condition and step of distance.
TRAFFIC_COLUMNS: tuple[Column, ...] = (
    *_ROUTE,
    Column(
        "recipients", "text", "", "keys", "Types of cells that take it up; cells cut by the border are out."
    ),
    Column("readout", "text", "", "keys", "What of cells.csv was taken for uptake."),
    Column("distance_kind", "text", "", "keys", "edge to edge, centre to centre, or both."),
    Column("from_um", "number", "µm", "curve", "Where the step begins; 0: cells that touch a donor."),
    Column("to_um", "number", "µm", "curve", "Where it ends (included)."),
    Column("distance_um", "number", "µm", "curve", "Mean distance of its cells."),
    Column("cells", "integer", "", "curve", "Number of recipients."),
    Column("units", "integer", "", "curve", "Number of replicates."),
    Column("mean", "number", "", "curve", "Mean of the replicates' means of the readout."),
    Column(
        "ci_low", "number", "", "curve", "Lower end of its 95 % interval (Student's t; 3 replicates or more)."
    ),
    Column("ci_high", "number", "", "curve", "Upper end."),
    Column(
        "decay_um",
        "number",
        "µm",
        "fit",
        "Length L of uptake = offset + amplitude × exp(-distance / L), the same in all rows of a curve: the "
        "way in which the part that donors add falls to 37 %. Poisson quasi-likelihood over the cells, each "
        "replicate with a level of its own.",
        "McCullagh & Nelder 1989, Generalized Linear Models",
    ),
    Column(
        "decay_low",
        "number",
        "µm",
        "fit",
        "Lower end of its 95 % interval: the replicates are drawn anew 200 times, standard error of ln L × "
        "Student's t × √(n / (n - 1)); at least that of drawing the cells anew within each replicate.",
    ),
    Column("decay_high", "number", "µm", "fit", "Upper end."),
    Column(
        "amplitude", "number", "", "fit", "Uptake beside a donor less that far away (mean of replicates)."
    ),
    Column("offset", "number", "", "fit", "Uptake far from all donors."),
    _NOTE,
)

#: transfer_matrix.csv: one row per label, condition and place.
TRANSFER_COLUMNS: tuple[Column, ...] = (
    *_ROUTE,
    Column("place", "text", "", "keys", "Cell type, between cells, or not known (a gate is missing)."),
    Column("cells", "integer", "", "counts", "Cells of this type."),
    Column("puncta", "integer", "", "counts", "Puncta of the label in them."),
    Column("light", "number", "counts", "counts", "Sum of their intensities."),
    Column("units", "integer", "", "counts", "Number of replicates."),
    Column("puncta_share", "number", "", "shares", "Share of the label's puncta; mean of the replicates."),
    Column("puncta_share_low", "number", "", "shares", "Lower end of its 95 % interval (Student's t)."),
    Column("puncta_share_high", "number", "", "shares", "Upper end; 3 replicates are needed."),
    Column("light_share", "number", "", "shares", "Share of the light of the label's puncta, likewise."),
    Column("light_share_low", "number", "", "shares", "Lower end of its 95 % interval."),
    Column("light_share_high", "number", "", "shares", "Upper end."),
    Column("per_cell", "number", "", "shares", "Puncta per cell of the type; mean of the replicates."),
    Column("per_cell_low", "number", "", "shares", "Lower end of its 95 % interval."),
    Column("per_cell_high", "number", "", "shares", "Upper end."),
)

#: spatial_association.csv: one row per label, condition and question, and one for each replicate of it.
ASSOCIATION_COLUMNS: tuple[Column, ...] = (
    *_ROUTE,
    Column("recipients", "text", "", "keys", "Types of cells that take it up."),
    Column(
        "question",
        "text",
        "",
        "keys",
        "neighbours: do recipients have more donors around them than chance gives (types of each image's "
        "cells shuffled, positions fixed)? uptake: do recipients with a donor around take up more than "
        "others of their image (uptake shuffled among them)?",
    ),
    Column("radius_um", "number", "µm", "keys", "How near a donor is a neighbour (setting)."),
    Column("unit", "text", "", "keys", "Replicate; empty: all of them."),
    Column("units", "integer", "", "test", "Number of replicates."),
    Column("cells", "integer", "", "test", "Number of recipients."),
    Column(
        "observed",
        "number",
        "",
        "test",
        "neighbours: donors around a recipient, mean; uptake: mean of those with a donor around / of the "
        "others, over images after Mantel and Haenszel.",
        "Mantel & Haenszel 1959, J Natl Cancer Inst 22:719",
    ),
    Column("expected", "number", "", "test", "The same in 499 shuffles, mean."),
    Column("ratio", "number", "", "test", "observed / expected; over replicates their geometric mean."),
    Column("ci_low", "number", "", "test", "Lower end of its 95 % interval (Student's t of the logarithms)."),
    Column("ci_high", "number", "", "test", "Upper end."),
    Column("p", "number", "", "test", "One-sample t-test of the replicates' log ratios, two-sided."),
    Column(
        "p_shuffled",
        "number",
        "",
        "test",
        "Share of the shuffles that are as far from chance: about these images alone, not about replicates.",
    ),
    _NOTE,
)

#: uptake_polarisation.csv: one row per label and condition, and one for each replicate of it.
UPTAKE_POLARISATION_COLUMNS: tuple[Column, ...] = (
    *(column for column in _ROUTE if column.name != "donors"),
    Column(
        "score", "text", "", "keys", "How far a cell leans to the second phenotype: ln of light, or by shape."
    ),
    Column("readout", "text", "", "keys", "What of cells.csv was taken for uptake."),
    Column("unit", "text", "", "keys", "Replicate; empty: all of them."),
    Column("units", "integer", "", "fit", "Number of replicates."),
    Column("cells", "integer", "", "fit", "Number of cells."),
    Column(
        "slope",
        "number",
        "",
        "fit",
        "Change of the score with one more of the readout, within replicates; over replicates their mean by "
        "a linear mixed model.",
        "Knapp & Hartung 2003, Stat Med 22:2693",
    ),
    Column("ci_low", "number", "", "fit", "Lower end of its 95 % interval."),
    Column("ci_high", "number", "", "fit", "Upper end."),
    Column("p", "number", "", "fit", "p value of the slope, two-sided."),
    _NOTE,
)

#: dose_response.csv: one row per condition and readout.
DOSE_RESPONSE_COLUMNS: tuple[Column, ...] = (
    Column("condition", "text", "", "keys", "Condition."),
    Column("readout", "text", "", "keys", "Mean over the cells of a replicate, or share."),
    Column("doses", "integer", "", "fit", "Number of doses above 0."),
    Column("units", "integer", "", "fit", "Number of replicates."),
    Column(
        "ec50",
        "number",
        "the layout's",
        "fit",
        "Dose of the half effect: uptake = bottom + (top - bottom) / (1 + (EC50 / dose)^Hill). Missing where "
        "its interval goes beyond the doses, or the note gives another reason.",
        "four-parameter logistic: Finney 1979, Int Stat Rev 47:1",
    ),
    Column("ec50_low", "number", "the layout's", "fit", "Lower end of its 95 % interval; missing: open."),
    Column(
        "ec50_high", "number", "the layout's", "fit", "Upper end, by the profile likelihood; missing: open."
    ),
    Column("top", "number", "", "fit", "Uptake at the plateau."),
    Column("top_low", "number", "", "fit", "Lower end of its 95 % interval."),
    Column("top_high", "number", "", "fit", "Upper end; missing: open."),
    Column("bottom", "number", "", "fit", "Uptake without exosomes."),
    Column("bottom_low", "number", "", "fit", "Lower end of its 95 % interval."),
    Column("bottom_high", "number", "", "fit", "Upper end."),
    Column("hill", "number", "", "fit", "Steepness; 1: simple saturation."),
    Column("hill_low", "number", "", "fit", "Lower end of its 95 % interval."),
    Column("hill_high", "number", "", "fit", "Upper end; missing: open."),
    _NOTE,
)


#: power.csv: one row per readout, effect, and numbers of replicates and cells.
POWER_COLUMNS: tuple[Column, ...] = (
    Column("readout", "text", "", "keys", "What is compared."),
    Column("effect", "number", "", "keys", "Ratio of the two groups' means; of shares that of the odds."),
    Column("replicates", "integer", "", "keys", "Replicates of each group."),
    Column("cells", "integer", "", "keys", "Cells of a replicate."),
    Column(
        "power",
        "number",
        "",
        "power",
        "Share of drawn experiments that find the effect (p < 0.05, not corrected for other tests).",
    ),
    Column(
        "power_low",
        "number",
        "",
        "power",
        "The same if replicates differ by as much as the pilot leaves possible: the upper limit of the "
        "variance of replicates' means, one-sided, 80 % (chi-squared).",
    ),
    Column(
        "between",
        "number",
        "",
        "pilot",
        "SD between replicates relative to the mean, without what the number of cells adds; of shares: SD of "
        "the share.",
    ),
    Column("within", "number", "", "pilot", "SD between cells relative to the mean; of shares: the share."),
    Column("pilot_freedom", "integer", "", "pilot", "Degrees of freedom of the SD between replicates."),
)


#: How the columns of images.csv begin that count cells of a type.
TYPE_COUNT = "cells_of_type_"


def type_count_columns(types: Sequence[str] = ("TYPE",)) -> tuple[Column, ...]:
    """Return what the images table has of cell types of these names."""
    return tuple(
        Column(f"{TYPE_COUNT}{slug(name)}", "integer", "", "markers", f"Number of cells of the type {name}.")
        for name in types
    )


#: What `napari_tam.uptake.decide` decides about each cell.
DECISION_COLUMNS: tuple[Column, ...] = (
    Column(
        "positive",
        "maybe_flag",
        "",
        "decision",
        "The readout positive_readout, without the cell's aggregates, is above the threshold of the cell's "
        "plate (thresholds.csv). Missing without a control.",
    ),
    Column(
        "aggregate_count",
        "maybe_integer",
        "",
        "decision",
        "Number of the cell's puncta that are aggregates (puncta.csv); they are part of puncta_count.",
    ),
    Column(
        "aggregate_intensity",
        "number",
        "counts",
        "decision",
        "Sum of the intensities of these aggregates; part of puncta_intensity_sum.",
    ),
    Column(
        "puncta_equivalents",
        "number",
        "",
        "decision",
        "Number of exosomes that the cell's puncta stand for, without aggregates. Puncta that share light "
        "count by it (light / single_intensity of the plate, thresholds.csv), those that stand alone as one "
        "unless they are far too bright. So it holds what crowding hides from puncta_count. Missing where "
        "the light of a single punctum is not known (single_note, thresholds.csv).",
        "after Mutch et al. 2007, Biophys J 92:2926",
    ),
    Column(
        "puncta_equivalents_low",
        "number",
        "",
        "decision",
        "Lower end of its 95 % interval: spread of the light of single puncta, its standard error, noise, "
        "light of crowds (8 %), puncta that are doubtful or too dim.",
    ),
    Column("puncta_equivalents_high", "number", "", "decision", "Upper end of its 95 % interval."),
)

#: What it decides about each punctum.
PUNCTUM_DECISION_COLUMNS: tuple[Column, ...] = (
    Column(
        "aggregate",
        "maybe_flag",
        "",
        "decision",
        "Too bright or too wide for a single punctum: log intensity more than aggregate_sd robust SD above "
        "the median of the plate's puncta that stand alone; or wider than aggregate_width × their median "
        "width and more than 2 SD brighter. Robust SD: median - 15.87th percentile, which aggregates do "
        "not touch. In a crowd the median counts as often as several lie in one spot by chance; where the "
        "light of 20 single puncta lies within 6 widths nothing is an aggregate. Missing with fewer than 10 "
        "puncta on the plate.",
    ),
    Column(
        "puncta_equivalents",
        "number",
        "",
        "decision",
        "Number of exosomes that it stands for: 1, and its share (by light) of what its group of puncta "
        "hides. Missing for aggregates, and where the light of a single punctum is not known.",
    ),
    Column("puncta_equivalents_low", "number", "", "decision", "Lower end of its 95 % interval."),
    Column("puncta_equivalents_high", "number", "", "decision", "Upper end of its 95 % interval."),
)

#: thresholds.csv: one row per plate.
THRESHOLD_COLUMNS: tuple[Column, ...] = (
    Column("plate", "text", "", "keys", "Plate; empty if the layout names none."),
    Column("readout", "text", "", "threshold", "What is compared with the threshold."),
    Column("rule", "text", "", "threshold", "How the threshold was learnt, and from which control."),
    Column("control_role", "text", "", "threshold", "The control: dye_only or no_exosome."),
    Column("control_images", "integer", "", "threshold", "Number of the control's images."),
    Column("control_cells", "integer", "", "threshold", "Number of cells in them."),
    Column("threshold", "number", "", "threshold", "A cell is positive above it; missing without a control."),
    Column(
        "single_intensity",
        "number",
        "counts",
        "threshold",
        "Mean intensity of a single punctum: of the plate's puncta that stand alone (next one further away "
        "than 3 widths, and so is the cell's edge where there are 30 such) and are less than 3 robust SD "
        "brighter than their median.",
    ),
    Column("single_count", "integer", "", "threshold", "Number of puncta that it was learnt from."),
    Column("single_note", "text", "", "threshold", "Why there are no puncta_equivalents; else empty."),
    Column("note", "text", "", "threshold", "Why no cell is called positive, or what to beware of."),
)

_UNIT_KEYS = ("condition", "dose", "time", "donor", "plate", "replicate", "control_role")

#: replicates.csv: one row per replicate and phenotype; the means of the readouts follow.
REPLICATE_COLUMNS: tuple[Column, ...] = (
    *(column for column in LAYOUT_COLUMNS if column.name in _UNIT_KEYS),
    Column("unit", "text", "", "keys", "Independent experiment (n) that the row counts for in the tests."),
    Column("phenotype", "text", "", "keys", "Cells of this phenotype only; empty: all cells."),
    Column("cells", "integer", "", "counts", "Number of cells."),
    Column(
        "positive_fraction", "number", "", "decision", "Share of positive cells; missing without control."
    ),
)

#: comparisons.csv: one row per test.
COMPARISON_COLUMNS: tuple[Column, ...] = (
    Column("readout", "text", "", "keys", "What is compared: mean over the cells of a replicate, or share."),
    Column("comparison", "text", "", "keys", "B - A, and at which dose, time or condition."),
    Column("group_a", "text", "", "keys", "First group; the reference, if there is one."),
    Column("group_b", "text", "", "keys", "Second group; empty for a test over all groups."),
    Column("unit", "text", "", "test", "What counts as one (n): donor, replicate, plate or well."),
    Column("paired", "flag", "", "test", "Whether values of the same unit are paired."),
    Column("test", "text", "", "test", "The test; empty if none was made."),
    Column("n_a", "integer", "", "test", "Units in group A (over all groups: in all)."),
    Column("n_b", "integer", "", "test", "Units in group B."),
    Column("mean_a", "number", "", "test", "Mean of the units of group A."),
    Column("mean_b", "number", "", "test", "Mean of the units of group B."),
    Column("difference", "number", "", "test", "mean_b - mean_a; in the mixed model its fixed effect."),
    Column("ratio", "number", "", "test", "mean_b / mean_a, if both are above 0."),
    Column(
        "effect_size",
        "number",
        "",
        "test",
        "Hedges' g: difference / SD × (1 - 3/(4 df - 1)); the SD is the pooled one of both groups (paired: "
        "the root of their mean variance).",
        "Hedges 1981, J Educ Stat 6:107; paired: Lakens 2013, Front Psychol 4:863, d_av",
    ),
    Column("ci_low", "number", "", "test", "Lower end of the 95 % interval of the difference."),
    Column("ci_high", "number", "", "test", "Upper end of the 95 % interval of the difference."),
    Column("p", "number", "", "test", "p value of this test alone, two-sided."),
    Column("p_adjusted", "number", "", "test", "p value corrected for the number of tests."),
    Column("correction", "text", "", "test", "How it was corrected, and over how many tests."),
    Column("note", "text", "", "test", "Why no test was made, or what to beware of."),
)


#: What `napari_tam.kinetics.tracking` adds to the per-cell table, after `frame`.
TIME_COLUMNS = (
    Column(
        "track",
        "maybe_integer",
        "",
        "time",
        "Number of the cell's track: the same cell in the frames of a movie. Unique in a results folder; "
        "missing for an image that is no frame of a movie.",
        "LapTrack: Fukai & Kawaguchi 2023, Bioinformatics; Jaqaman et al. 2008, Nat Methods",
    ),
    Column(
        "time_h",
        "number",
        "h",
        "time",
        "frame × frame interval, from the first frame of the movie; missing when the interval is unknown. "
        "The layout's time is another thing.",
    ),
)

_HALF = "ln 2 / rate: the time in which half of the rise is done."

#: The table of `napari_tam.kinetics.table`.
KINETICS_COLUMNS = (
    Column("condition", "text", "", "keys", "Condition of the layout; empty without one."),
    Column("dose", "number", "the layout's", "keys", "Dose of the layout."),
    Column("movie", "text", "", "keys", "Name of the movie; empty where movies are pooled."),
    Column("track", "maybe_integer", "", "keys", "Track in cells.csv; empty for the mean curve of all."),
    Column("readout", "text", "", "keys", "Column of cells.csv that was fitted."),
    Column(
        "rate_per_h",
        "number",
        "1/h",
        "fit",
        "rate of offset + plateau × (1 - exp(-rate × t)), by least squares; missing, as all that follows, "
        "where the note says why.",
    ),
    Column("plateau", "number", "the readout's", "fit", "Rise from t = 0 to the end of time."),
    Column("offset", "number", "the readout's", "fit", "Level at t = 0 (the first frame)."),
    Column("half_time_h", "number", "h", "fit", _HALF),
    Column("half_time_low", "number", "h", "fit", "Lower limit of its 95 % interval; the note says how."),
    Column("half_time_high", "number", "h", "fit", "Upper limit of its 95 % interval."),
    Column("rate_per_frame", "number", "1/frame", "fit", "The rate with time in frames (movies only)."),
    Column("half_time_frames", "number", "frames", "fit", "The half-time in frames (movies only)."),
    Column("half_time_frames_low", "number", "frames", "fit", "Lower limit of its 95 % interval."),
    Column("half_time_frames_high", "number", "frames", "fit", "Upper limit of its 95 % interval."),
    Column("n", "integer", "", "fit", "Number of what `unit` says."),
    Column("unit", "text", "", "fit", "What n counts: frames, tracks or replicate means."),
    Column("note", "text", "", "fit", "How the interval was made, or why there is no fit."),
)
