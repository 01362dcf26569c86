"""The figures of the report, one small function each: data in, figure, its table and caption out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_tam.report.figures.communication import (
    communication_map,
    dose_response,
    polarisation_by_uptake,
    spatial_association,
    transfer_matrix,
    uptake_by_distance,
)
from napari_tam.report.figures.comparison import comparisons
from napari_tam.report.figures.control import control_distribution
from napari_tam.report.figures.curves import dose_curve, uptake_curve
from napari_tam.report.figures.gallery import gallery
from napari_tam.report.figures.markers import marker_gates, shape_against_markers
from napari_tam.report.figures.phenotype import elongation, uptake_by_phenotype
from napari_tam.report.figures.place import place
from napari_tam.report.figures.plate import plate_map
from napari_tam.report.figures.puncta import contrast_distribution
from napari_tam.report.figures.superplot import positive_fraction, superplot_count, superplot_intensity
from napari_tam.report.figures.worst import worst_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.report.data import ReportData
    from napari_tam.report.style import Drawn


@dataclass(frozen=True)
class Plan:
    """A figure that a report can have.

    Attributes
    ----------
    name
        Of its files.
    title, section
        In the report.
    draw
        Draws it, or raises `napari_tam.report.style.MissingData`.
    needs
        The table (of `napari_tam.report.data.ReportData`) without which a report does not even say that the
        figure is left out.
    of_exosomes
        Whether there is one for every exosome label.
    """

    name: str
    title: str
    section: str
    draw: Callable[[ReportData], Drawn]
    needs: str = ""
    of_exosomes: bool = False


UPTAKE, PHENOTYPE, PLACE, QUALITY = "Uptake", "Phenotype and shape", "Place in the cell", "Quality control"
COMPARISON, COMMUNICATION = "Comparisons", "Communication"

FIGURES = (
    Plan("superplot_puncta", "Puncta per cell", UPTAKE, superplot_count, of_exosomes=True),
    Plan(
        "superplot_intensity",
        "Intensity of the puncta per cell",
        UPTAKE,
        superplot_intensity,
        of_exosomes=True,
    ),
    Plan("positive_fraction", "Positive cells", UPTAKE, positive_fraction, of_exosomes=True),
    Plan(
        "control_distribution",
        "The control and its threshold",
        UPTAKE,
        control_distribution,
        of_exosomes=True,
    ),
    Plan("dose_curve", "Uptake by dose", UPTAKE, dose_curve, of_exosomes=True),
    Plan("uptake_curve", "Uptake over time", UPTAKE, uptake_curve),
    Plan("comparisons", "Differences between conditions", COMPARISON, comparisons),
    Plan("uptake_by_phenotype", "Uptake by phenotype", PHENOTYPE, uptake_by_phenotype, of_exosomes=True),
    Plan("elongation", "Uptake and elongation", PHENOTYPE, elongation, of_exosomes=True),
    Plan("marker_gates", "Markers and their gates", PHENOTYPE, marker_gates, "gates"),
    Plan(
        "shape_against_markers",
        "Phenotype by shape and by markers",
        PHENOTYPE,
        shape_against_markers,
        "gates",
    ),
    Plan("communication_map", "Who is where", COMMUNICATION, communication_map, "traffic"),
    Plan("transfer_matrix", "Who holds whose exosomes", COMMUNICATION, transfer_matrix, "transfer_matrix"),
    Plan("uptake_by_distance", "Uptake by distance", COMMUNICATION, uptake_by_distance, "traffic"),
    Plan(
        "spatial_association",
        "Neighbours, against chance",
        COMMUNICATION,
        spatial_association,
        "spatial_association",
    ),
    Plan(
        "polarisation_by_uptake",
        "Polarisation and uptake",
        COMMUNICATION,
        polarisation_by_uptake,
        "uptake_polarisation",
    ),
    Plan("dose_response", "Dose and response", COMMUNICATION, dose_response, "dose_response"),
    Plan("place", "Where the puncta lie", PLACE, place, of_exosomes=True),
    Plan(
        "contrast_distribution",
        "How far the puncta stand out",
        QUALITY,
        contrast_distribution,
        of_exosomes=True,
    ),
    Plan("gallery", "Cells from low to high uptake", QUALITY, gallery, of_exosomes=True),
    Plan("plate_map", "The plate", QUALITY, plate_map, of_exosomes=True),
    Plan("worst_fields", "Fields that scored worst", QUALITY, worst_fields),
)
