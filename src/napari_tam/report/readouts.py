"""The readouts and layout columns that a report knows, and what they are called in figures."""

from __future__ import annotations

from dataclasses import dataclass

from napari_tam import columns

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
    """A column of the cells table that measures uptake, and its name where room is short."""

    name: str
    short: str

    @property
    def label(self) -> str:
        """What an axis says about it."""
        return label_of(self.name)


READOUTS = (Readout("puncta_count", "puncta"), Readout("puncta_intensity_sum", "intensity"))

#: What a report's axes add to the words of `napari_tam.columns`.
_MORE = {
    "positive": "Positive cells (share)",
    "positive_fraction": "Positive cells (share)",
    "elongation": "Elongation (0 round, towards 1 a line)",
}


def label_of(readout: str) -> str:
    """Return what an axis says about a readout."""
    return _MORE.get(readout) or columns.label_of(readout)


def named(readout: str) -> str:
    """Return the same for the middle of a sentence."""
    label = label_of(readout)
    is_name = label.startswith(("Manders", "Pearson")) or not label[1:2].islower()
    return label if is_name else label[:1].lower() + label[1:]
