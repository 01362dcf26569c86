"""The readouts and layout columns that a report knows, and what they are called in figures."""

from __future__ import annotations

from dataclasses import dataclass

#: What the layout says of an image; a group of cells has one value of each of the first three.
GROUP = ("condition", "dose", "time")

UNIT = (*GROUP, "donor", "plate", "replicate")

LAYOUT = ("well", *UNIT, "control_role")

#: Columns of the tables beside cells, puncta and images that hold texts, whatever they look like.
TEXTS = {
    "thresholds": ("plate", "readout", "rule", "control_role", "control_images", "note"),
    "replicates": ("condition", "donor", "plate", "replicate", "phenotype", "control_role", "well"),
    "comparisons": ("readout", "comparison", "group_a", "group_b", "unit", "test", "correction", "note"),
    "kinetics": ("condition", "track", "readout", "note"),
    "gates": ("plate", "marker", "readout", "rule", "control_role", "note"),
    "cell_types": ("condition", "donor", "plate", "replicate", "control_role", "unit", "cell_type"),
    "marker_agreement": ("condition", "by_shape", "by_markers"),
    "traffic": ("condition", "exosome_label", "donors", "recipients", "readout", "note"),
    "transfer_matrix": ("condition", "exosome_label", "donors", "place"),
    "spatial_association": ("condition", "exosome_label", "donors", "recipients", "question", "unit", "note"),
    "uptake_polarisation": ("condition", "exosome_label", "score", "readout", "unit", "note"),
    "dose_response": ("condition", "readout", "note"),
}

CELL_TEXTS = tuple(name for name in LAYOUT if name not in ("dose", "time"))


@dataclass(frozen=True)
class Readout:
    """A column of the cells table that measures uptake, and what an axis says about it."""

    name: str
    label: str
    short: str


READOUTS = (
    Readout("puncta_count", "puncta per cell", "puncta"),
    Readout("puncta_intensity_sum", "puncta intensity per cell (counts)", "intensity"),
)

#: Axis labels of further readouts that the comparisons may name.
LABELS = {
    **{readout.name: readout.label for readout in READOUTS},
    "positive": "positive cells (share)",
    "positive_fraction": "positive cells (share)",
    "exosome_integrated": "exosome signal per cell (counts)",
    "exosome_mean": "mean exosome signal (counts)",
    "ctcf": "corrected total cell fluorescence (counts)",
    "puncta_per_um2": "puncta per µm²",
    "puncta_intensity_mean": "mean punctum intensity (counts)",
    "aggregate_count": "aggregates per cell",
    "central_fraction": "share of central puncta",
    "perinuclear_fraction": "share of perinuclear puncta",
    "elongation": "elongation (0 round, 1 line)",
}


def label_of(readout: str) -> str:
    """Return what an axis says about a readout; of a column of one exosome label with the label behind."""
    if readout in LABELS:
        return LABELS[readout]
    known = [name for name in LABELS if readout.startswith(f"{name}_")]
    if known:
        name = max(known, key=len)
        return f"{LABELS[name]}, {readout.removeprefix(f'{name}_')}"
    return readout.replace("_", " ")
