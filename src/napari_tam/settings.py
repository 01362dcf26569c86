"""Settings: every analysis parameter, stated once.

The command line help, the plugin's form, the YAML file and the reference page are all made from
the fields below: their defaults, limits, units (``json_schema_extra["unit"]``), groups
(``["group"]``) and descriptions. Which steps a change repeats, and what a stored result depends on, follows
from them as well (``["enters"]``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from napari_tam.errors import InputError, nearest
from napari_tam.markers.labels import EXOSOME, is_exosome_role
from napari_tam.markers.names import AND, MARKER, is_marker_role, listed, same_marker, slug
from napari_tam.markers.rules import read_rule

#: What a channel can be, besides a marker, of which there are any number (`napari_tam.markers.names`).
#: Several exosome channels have roles of their own (`napari_tam.markers.labels`). Of an ``extra`` channel
#: only the mean over the cell is measured.
ROLES = ("cell", "nucleus", "exosome", "lysosome", "extra")

#: What a cell is called that several rules fit, or none: no names of types.
AMBIGUOUS, NO_TYPE = NO_TYPES = ("ambiguous", "none")

#: Channel roles without which there is nothing to analyse.
REQUIRED_ROLES = ("cell", "exosome")

#: Channels of one microscope are never further apart.
LARGEST_SHIFT_UM = 20.0


#: The longest names that file systems have, in bytes: of a file, and of a path.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def is_role(role: str) -> bool:
    """Tell whether a channel of a field can have this role: one of `ROLES`, that of a marker or a label."""
    return role in ROLES or is_marker_role(role) or is_exosome_role(role)


def type_names(text: str) -> list[str]:
    """Return the types that `analyse_types` names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def donors_of(text: str) -> dict[str, tuple[str, ...]]:
    """Return what `donor_types` says: label ("" for all of them) to types.

    Raises
    ------
    ValueError
        If it says it twice, or not at all.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        label, equals, types = (piece.strip() for piece in part.rpartition("="))
        names = tuple(name.strip() for name in types.split(AND) if name.strip())
        if not names or (equals and not label):
            raise ValueError(f"'{part}' is no type; write e.g. tumour, or GFP=tumour")
        if label and label in found:
            raise ValueError(f"the label {label} is given twice; join its types by +: {label}=a+b")
        found[label] = (*found.get(label, ()), *names)
    if "" in found and len(found) > 1:
        raise ValueError("name a label for every type or for none, e.g. GFP=tumour, PKH26=macrophage")
    return found


def split_bleed_through(name: str) -> tuple[str, str]:
    """Return source and target of ``cell_into_exosome``; target is empty if it is no such name."""
    source, _, target = name.partition("_into_")
    return source, target


def _no_exosomes_among_markers(exosomes: int | str, markers: int | str) -> None:
    """Raise ValueError if a channel is given as both."""
    for named, channel in listed(exosomes):
        for other, at in listed(markers):
            same_name = same_marker(named or str(channel), other or str(at))
            if same_name or str(channel).casefold() == str(at).casefold():
                raise ValueError(
                    f"{named or channel} is given as exosome and as marker: the light of exosomes is "
                    "measured as such, so take it out of the markers"
                )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _setting(
    default: Any,
    description: str,
    *,
    group: str,
    enters: str | tuple[str, ...],
    unit: str = "",
    common: bool = False,
    pairs: str = "",
    **limits: Any,
) -> Any:
    """State one parameter.

    Parameters
    ----------
    default, description, group, unit, common, limits
        What the command line, the form and the pages show; `common` ones come first.
    enters
        Where an analysis uses it first. A step of the pipeline (`napari_tam.pipeline.steps`) or several; or
        ``read`` (the image is read with it, so that everything depends on it), ``tiles`` (how a large image
        is cut), ``conclude`` (after the images); or nothing, if no number depends on it. What is done again
        after a change (`napari_tam.pipeline.rerun`), and which results still hold
        (`napari_tam.results.fingerprint`), follows from it.
    pairs
        How an item of a mapping is written on the command line.
    """
    stages = [enters] if isinstance(enters, str) else list(enters)
    extra: dict[str, Any] = {"group": group, "enters": stages, "unit": unit, "common": common}
    if pairs:
        extra["pairs"] = pairs
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Settings(BaseModel):
    """All parameters of an analysis. Frozen; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channels: dict[str, int | str] = _setting(
        {},
        "Which channel plays which role: role (cell, nucleus, exosome, lysosome, extra, marker) to channel "
        "index (from 0) or name. Several markers or exosome labels are joined: marker=CD86+CD206, "
        "exosome=GFP+PKH26, or CD86:3+CD206:4 where the file names no channels. Empty: guessed from the "
        "channel names (never markers, and one exosome channel).",
        group="image",
        enters="read",
        common=True,
        pairs="ROLE=CHANNEL",
    )
    files: str = _setting(
        "auto",
        "Images whose channels are files of their own: found by the names that microscopes give (auto), or "
        "by a pattern such as {well}_s{site}_w{channel}.tif. each: every file is an image by itself.",
        group="image",
        enters="read",
    )
    rgb: Literal["refuse", "split"] = _setting(
        "refuse",
        "Colour pictures (RGB TIFF, PNG, JPEG): refused, or split into the channels red, green and blue, "
        "whose intensities are no measurements.",
        group="image",
        enters="read",
    )
    cells_masks: str = _setting(
        "none",
        "Folder with a segmentation of your own, a file an image: label images (TIFF, PNG), ImageJ ROI sets, "
        "QuPath's GeoJSON or Cellpose's _seg.npy. No network looks for cells then. Or 'none'.",
        group="image",
        enters="read",
    )
    nuclei_masks: str = _setting(
        "none",
        "The same for the nuclei (it may be the same folder). Or 'none'.",
        group="image",
        enters="read",
    )
    pixel_size_um: Annotated[float, Field(gt=0, le=100)] | None = _setting(
        None, "Pixel size. Unset: read from the file.", group="image", enters="read", unit="µm", common=True
    )
    frame_interval_min: Annotated[float, Field(gt=0, le=100_000)] | None = _setting(
        None,
        "Time between two frames of a movie. Unset: read from the file; if that does not tell it either, "
        "times are in frames.",
        group="image",
        enters="read",
        unit="min",
    )
    z_stack: Literal["project", "volume"] = _setting(
        "project",
        "What is done with a z-stack: projected to one plane (2-D), or analysed as a volume (3-D).",
        group="image",
        enters="read",
    )
    z_projection: Literal["max", "mean"] = _setting(
        "max", "How a z-stack becomes one plane (z_stack: project).", group="image", enters="read"
    )
    z_step_um: Annotated[float, Field(gt=0, le=100)] | None = _setting(
        None,
        "Distance of the planes of a z-stack (z_stack: volume). Unset: read from the file.",
        group="image",
        enters="read",
        unit="µm",
    )

    corrections: str = _setting(
        "none",
        "Folder that 'napari-tam calibrate' wrote: flat fields, bleed-through and channel shifts of the "
        "microscope, all of which are corrected; or 'none'.",
        group="corrections",
        enters="correct",
    )
    defects: str = _setting(
        "auto",
        "Defects of the camera, pixels that stand out from their neighbours in the same place of many "
        "images, are replaced by what is around them: learnt from the images of a batch (auto; 8 at least "
        "that show different places), those of an earlier run (its defects.csv), or 'none'.",
        group="corrections",
        enters="correct",
    )
    bleed_through: dict[str, Annotated[float, Field(ge=0, lt=1)]] = _setting(
        {},
        "Fraction of a channel's light that is seen in another one and taken out of it, e.g. "
        "cell_into_exosome: 0.03, or exosome_GFP_into_exosome_PKH26: 0.05. Empty: as calibrated in the "
        "corrections folder.",
        group="corrections",
        enters="correct",
        pairs="SOURCE_into_TARGET=FRACTION",
    )
    channel_shift_um: dict[str, tuple[float, float]] = _setting(
        {},
        "How far (down, right) a channel is moved to lie on the cell channel, e.g. exosome: [0.2, -0.1]. "
        "Empty: as calibrated in the corrections folder.",
        group="corrections",
        enters="correct",
        unit="µm",
        pairs="ROLE=Y:X",
    )
    background_method: Literal["none", "mode", "rolling_ball"] = _setting(
        "none",
        "Background to subtract from the exosome, lysosome, extra and marker channels: each image's most "
        "frequent intensity, or what is below a rolling ball.",
        group="corrections",
        enters="correct",
    )
    background_radius_um: float = _setting(
        25.0,
        "Radius of the rolling ball: larger than the largest thing that is to stay.",
        group="corrections",
        enters="correct",
        unit="µm",
        gt=0,
        le=1000,
    )

    cells_model: str = _setting(
        "cells",
        "Network for the cells: 'cells' (bundled, for all cell types), 'cells-fast' (bundled, a third of the "
        "work, less right), a Cellpose model name, a path to a Cellpose model file, or the folder of a model "
        "of your own ('napari-tam train cells').",
        group="segmentation",
        enters="cells",
        common=True,
    )
    nuclei_model: str = _setting(
        "nuclei",
        "Network for the nuclei: 'nuclei' (bundled), a Cellpose model name, or a path to a model file.",
        group="segmentation",
        enters="nuclei",
    )
    cell_diameter_um: Annotated[float, Field(gt=0, le=1000)] | None = _setting(
        None,
        "Typical cell diameter (of the circle with the cell's area). Unset: estimated; one for all images in "
        "batches of 16 or more.",
        group="segmentation",
        enters="cells",
        unit="µm",
        common=True,
    )
    nucleus_diameter_um: Annotated[float, Field(gt=0, le=1000)] | None = _setting(
        None,
        "Typical nucleus diameter. Unset: estimated from the image.",
        group="segmentation",
        enters="nuclei",
        unit="µm",
    )
    cell_probability: float = _setting(
        0.5,
        "A pixel belongs to a cell or nucleus above this network probability; lower finds more and larger "
        "cells.",
        group="segmentation",
        enters=("cells", "nuclei"),
        gt=0,
        lt=1,
    )
    flow_threshold: float = _setting(
        0.4,
        "Largest mean squared error between a mask's flows and the network's; lower drops more "
        "doubtful masks, 0 keeps all. Where clear cells are missing, try 0.6 to 0.8.",
        group="segmentation",
        enters=("cells", "nuclei"),
        ge=0,
        le=10,
    )
    min_cell_area_um2: float = _setting(
        20.0, "Cells smaller than this are dropped.", group="segmentation", enters="cells", unit="µm²", ge=0
    )
    min_nucleus_area_um2: float = _setting(
        5.0, "Nuclei smaller than this are dropped.", group="segmentation", enters="nuclei", unit="µm²", ge=0
    )
    nuclei_help: bool = _setting(
        True,
        "With a nuclear channel: a cell that holds several whole nuclei apart from each other is split "
        "between them, and where a nucleus has no cell, lower thresholds look again (not in a volume). Turn "
        "off for cells with several nuclei (giant cells, osteoclasts).",
        group="segmentation",
        enters="cells",
    )
    average_flips: bool = _setting(
        False,
        "Average the networks' output over the image and its three mirrored versions: the same cells and "
        "puncta however the image is mirrored, at four times the networks' cost.",
        group="segmentation",
        enters=("cells", "nuclei", "puncta"),
    )
    stitch_iou: float = _setting(
        0.25,
        "In a volume, masks of neighbouring planes are one cell (or nucleus) if they overlap by this share "
        "of their union (intersection over union).",
        group="segmentation",
        enters=("cells", "nuclei"),
        gt=0,
        lt=1,
    )
    surface_level: float = _setting(
        0.5,
        "In a volume, a cell's top and bottom are where its stain falls to this share of the column's "
        "maximum: 0.5 for a stain that fills the cell, more for one of the membrane; 0 takes the stitched "
        "masks as they are.",
        group="segmentation",
        enters=("cells", "nuclei"),
        ge=0,
        lt=1,
    )

    puncta_method: Literal["network", "log"] = _setting(
        "network",
        "Spot finder: the bundled 'puncta' network, or a Laplacian of Gaussian (faster).",
        group="puncta",
        enters="puncta",
        common=True,
    )
    puncta_score: float = _setting(
        0.5,
        "A punctum is kept above this score (the network's probability, lowered where it hardly stands out "
        "from the texture around it; for LoG the contrast score mapped to 0-1).",
        group="puncta",
        enters="measure",
        common=True,
        gt=0,
        lt=1,
    )
    puncta_threshold: Annotated[float, Field(gt=0, le=1000)] | None = _setting(
        None,
        "A punctum is kept from this contrast on: how far it stands out, in SD of the structure around it at "
        "its own width; 1 keeps all. Unset (auto): found once for all images of a batch, from the layout's "
        "control wells (puncta_false_per_cell); else, where the puncta fall into two populations, from the "
        "valley between them; else none.",
        group="puncta",
        enters="measure",
        common=True,
    )
    puncta_thresholds: dict[str, Annotated[float, Field(gt=0, le=1000)]] = _setting(
        {},
        "With several exosome channels: the puncta_threshold of each label that has one of its own. Empty: "
        "that of puncta_threshold for all; unset there, each label's is found by itself.",
        group="puncta",
        enters="measure",
        pairs="LABEL=CONTRAST",
    )
    puncta_false_per_cell: float = _setting(
        0.2,
        "With puncta_threshold unset and control wells (dye_only, no_exosome) in the layout: a cell of "
        "theirs holds at most so many puncta on average.",
        group="puncta",
        enters="conclude",
        ge=0,
        le=100,
    )
    puncta_min_snr: float = _setting(
        0.0,
        "A punctum is kept from this signal-to-noise ratio on: peak over local background, divided by "
        "the local noise (SD). The score knows the noise and texture at a punctum's own scale; this one "
        "knows single pixels only.",
        group="puncta",
        enters="measure",
        ge=0,
        le=1000,
    )
    spot_sigma_um: Annotated[float, Field(gt=0, le=50)] | None = _setting(
        None,
        "Gaussian width (sigma) of a single punctum, i.e. of the microscope. Unset: measured from the image.",
        group="puncta",
        enters="puncta",
        unit="µm",
    )
    spot_sigma_z_um: Annotated[float, Field(gt=0, le=50)] | None = _setting(
        None,
        "The same along z, in a volume. Unset: measured from the image.",
        group="puncta",
        enters="puncta",
        unit="µm",
    )

    perinuclear_distance_um: float = _setting(
        2.0,
        "A punctum is perinuclear within this distance of (or over) a nucleus.",
        group="place",
        enters="measure",
        unit="µm",
        gt=0,
        le=100,
    )
    central_radius: float = _setting(
        0.5,
        "A punctum is central below this relative radius (0 = the cell's innermost point, 1 = its edge).",
        group="place",
        enters="measure",
        gt=0,
        lt=1,
    )
    membrane_distance_um: Annotated[float, Field(gt=0, le=100)] | None = _setting(
        None,
        "In a volume, a punctum is membrane-bound within this distance of its cell's 3-D surface, on either "
        "side; inside if deeper, outside otherwise. Unset: half of a punctum's full width at half maximum "
        "along z, and at least one pixel: nearer to the surface the microscope cannot tell.",
        group="place",
        enters="measure",
        unit="µm",
    )

    colocalisation_threshold: Literal["otsu", "costes", "noise"] = _setting(
        "otsu",
        "With a lysosome channel: from which height above the cell's background on a pixel counts for "
        "Manders' coefficients. Otsu's or Costes' threshold over the cells of an image, or colocalisation_k "
        "SDs of the cell's noise.",
        group="place",
        enters="measure",
    )
    colocalisation_k: float = _setting(
        3.0,
        "Height above the cell's background in SDs of its noise: the threshold of 'noise', and the least one "
        "of 'otsu' and 'costes'.",
        group="place",
        enters="measure",
        ge=0,
        le=100,
    )
    colocalisation_randomisations: int = _setting(
        50,
        "How often the exosome channel is turned inside each cell to find the overlap that chance gives; 0: "
        "not at all.",
        group="place",
        enters="measure",
        ge=0,
        le=1000,
    )

    label_distance_um: Annotated[float, Field(gt=0, le=100)] | None = _setting(
        None,
        "With several exosome channels: puncta of two labels nearer than this (in a volume in y and x and, "
        "by the widths' ratio, z) count as being in one place. Unset: the larger of their typical full "
        "widths at half maximum, which is what the microscope resolves.",
        group="place",
        enters="measure",
        unit="µm",
    )

    marker_rim_um: float = _setting(
        1.0,
        "Width of the membrane rim in which markers are measured, from the cell's edge inwards.",
        group="place",
        enters="measure",
        unit="µm",
        gt=0,
        le=20,
    )

    phenotype_model: str = _setting(
        "phenotype",
        "Model for the phenotype: 'phenotype' (bundled; trained on simulated cells), the folder of a model "
        "of your own ('napari-tam train phenotype'), or 'none'.",
        group="phenotype",
        enters="classify",
        common=True,
    )
    phenotype_min_probability: float = _setting(
        0.8,
        "A cell is uncertain if no class has at least this calibrated probability.",
        group="phenotype",
        enters="classify",
        ge=0,
        lt=1,
    )
    phenotype_min_contrast: float = _setting(
        3.0,
        "A cell is uncertain if its stain stands out from the background by fewer SDs of the noise than "
        "this (contrast_to_noise, in pixels of 1.5 µm): its outline is then guesswork. 0 allows all.",
        group="phenotype",
        enters="classify",
        ge=0,
        le=1000,
    )
    phenotype_border: bool = _setting(
        True, "Cells that the image's border cuts are uncertain.", group="phenotype", enters="classify"
    )

    marker_readout: Literal["mean", "median", "nucleus_mean", "cytoplasm_mean", "rim_mean"] = _setting(
        "median",
        "What of a marker is compared with its gate: of the cell, its nucleus, cytoplasm or membrane rim. "
        "Light of neighbours moves the median least.",
        group="markers",
        enters="conclude",
    )
    gate_rule: Literal["quantile", "mean_sd"] = _setting(
        "quantile",
        "The gate of a marker, plate by plate: a quantile of the cells of its control (in the layout: "
        "fmo:NAME, fmo, isotype, unstained), or their mean + gate_sd × SD.",
        group="markers",
        enters="conclude",
    )
    gate_quantile: float = _setting(
        0.99,
        "With the rule quantile: this share of the control's cells is not positive.",
        group="markers",
        enters="conclude",
        gt=0,
        lt=1,
    )
    gate_sd: float = _setting(
        3.0,
        "With the rule mean_sd: so many SD above the control's mean.",
        group="markers",
        enters="conclude",
        ge=0,
        le=100,
    )
    gate_suggestion: bool = _setting(
        True,
        "Without a control: suggest a gate where the cells fall into two populations (a mixture of two "
        "Gaussians of log intensity), and mark it as such.",
        group="markers",
        enters="conclude",
    )
    gates: dict[str, float] = _setting(
        {},
        "Gates of your own, which take precedence: marker to the intensity above which a cell is positive.",
        group="markers",
        enters="conclude",
        pairs="MARKER=GATE",
    )
    types: dict[str, str] = _setting(
        {},
        "Cell types by rules of markers, e.g. macrophage: CD11b+ and tumour: EpCAM+ CD11b-; | stands between "
        "alternatives. Empty: all cells are of one type.",
        group="markers",
        enters="conclude",
        pairs="TYPE=RULE",
    )
    analyse_types: str = _setting(
        "macrophage",
        "With rules in types: the cells that uptake and phenotype are about, separated by commas. All types "
        "are counted.",
        group="markers",
        enters="conclude",
        validate_default=True,
    )
    marker_phenotypes: dict[str, str] = _setting(
        {},
        "Two phenotypes by rules of markers, e.g. M1: CD86+ and M2: CD206+, beside those by shape; cells "
        "that both or neither fits are double positive and double negative.",
        group="markers",
        enters="conclude",
        pairs="PHENOTYPE=RULE",
    )

    positive_readout: Literal[
        "puncta_intensity_sum", "puncta_count", "puncta_per_um2", "exosome_integrated"
    ] = _setting(
        "puncta_per_um2",
        "What is compared with the control to call a cell positive, its aggregates left out.",
        group="uptake",
        enters="conclude",
    )
    positive_control: Literal["auto", "dye_only", "no_exosome"] = _setting(
        "auto",
        "Control that the threshold for positive is learnt from, plate by plate. auto: dye_only where the "
        "plate has it, or else no_exosome.",
        group="uptake",
        enters="conclude",
    )
    positive_rule: Literal["quantile", "mean_sd"] = _setting(
        "quantile",
        "The threshold: a quantile of the control's cells, or their mean + positive_sd × SD.",
        group="uptake",
        enters="conclude",
    )
    positive_quantile: float = _setting(
        0.99,
        "With the rule quantile: this share of the control's cells is not positive.",
        group="uptake",
        enters="conclude",
        gt=0,
        lt=1,
    )
    positive_sd: float = _setting(
        3.0,
        "With the rule mean_sd: so many SD above the control's mean.",
        group="uptake",
        enters="conclude",
        ge=0,
        le=100,
    )
    aggregate_sd: float = _setting(
        5.0,
        "A punctum is an aggregate if its log intensity is this many robust SD above that of single puncta.",
        group="uptake",
        enters="conclude",
        gt=0,
        le=100,
    )
    aggregate_width: float = _setting(
        1.4,
        "A punctum is also an aggregate if it is this many times wider than single puncta, and brighter than "
        "2 robust SD above them.",
        group="uptake",
        enters="conclude",
        ge=1,
        le=10,
    )

    comparison_readouts: str = _setting(
        "puncta_count, puncta_intensity_sum, positive_fraction",
        "Readouts to compare: positive_fraction or number columns of cells.csv, separated by commas.",
        group="comparison",
        enters="conclude",
    )
    comparison_between: Literal["condition", "dose", "time", "donor", "plate"] = _setting(
        "condition",
        "Column of the layout whose values are compared, at the same dose and time (if it is not that).",
        group="comparison",
        enters="conclude",
    )
    comparison_reference: str = _setting(
        "",
        "Value that all others are compared with, e.g. a condition. Empty: all pairs.",
        group="comparison",
        enters="conclude",
    )
    comparison_unit: Literal["auto", "donor", "plate", "replicate", "well"] = _setting(
        "auto",
        "What counts as one independent experiment (n). auto: donor if there are several, or else replicate, "
        "plate, well, whichever the layout tells apart.",
        group="comparison",
        enters="conclude",
    )
    comparison_paired_by: Literal["auto", "none", "donor", "plate", "replicate"] = _setting(
        "auto",
        "Pair the values of the same donor (plate, replicate). auto: by donor, if that is the unit and all "
        "donors are in both groups.",
        group="comparison",
        enters="conclude",
    )
    comparison_correction: Literal["holm", "tukey"] = _setting(
        "holm",
        "For more than two groups: Welch's tests corrected by Holm, or Tukey's test (equal variances). Over "
        "the readouts it is always Holm.",
        group="comparison",
        enters="conclude",
    )
    comparison_mixed: bool = _setting(
        False,
        "Test two groups by a linear mixed model of the cells, with the unit as random effect, in place of "
        "a t-test of the units' means.",
        group="comparison",
        enters="conclude",
    )
    comparison_min_cells: float = _setting(
        5.0,
        "A replicate with fewer cells is left out of the tests.",
        group="comparison",
        enters="conclude",
        ge=1,
        le=1e6,
    )
    donor_types: str = _setting(
        "",
        "With rules in types: the cells that give exosomes, separated by commas. With several exosome labels "
        "one can be named for each: GFP=tumour, PKH26=macrophage (several joined by +). Empty: every type "
        "that does not take them.",
        group="communication",
        enters="conclude",
        validate_default=True,
    )
    recipient_types: str = _setting(
        "",
        "The cells that take them up, separated by commas. Empty: those of analyse_types, or, where "
        "donor_types are given, every other type.",
        group="communication",
        enters="conclude",
        validate_default=True,
    )
    neighbour_radius_um: float = _setting(
        10.0,
        "A donor is a neighbour if its edge is within this distance of the cell's.",
        group="communication",
        enters="conclude",
        unit="µm",
        ge=0,
        le=1000,
    )
    traffic_readout: Literal[
        "puncta_count", "puncta_intensity_sum", "puncta_per_um2", "exosome_integrated"
    ] = _setting(
        "puncta_count",
        "What of a recipient is its uptake, over the distance to donors and over polarisation.",
        group="communication",
        enters="conclude",
    )

    track_max_movement_um: Annotated[float, Field(gt=0, le=1000)] | None = _setting(
        None,
        "How far a cell moves at most between two frames of a movie. Unset: the movie's median cell "
        "diameter.",
        group="time",
        enters="conclude",
        unit="µm",
    )
    track_max_missed: int = _setting(
        2,
        "A cell may be missing in so many frames in a row and keep its track.",
        group="time",
        enters="conclude",
        unit="frames",
        ge=0,
        le=100,
    )

    device: str = _setting(
        "auto", "Where the networks run: auto, cpu, cuda, cuda:1, mps.", group="run", enters=()
    )
    engine: Literal["auto", "torch", "openvino"] = _setting(
        "auto",
        "What runs the networks: OpenVINO (on the processor only, about twice as fast there), torch, or the "
        "faster one that is installed (auto).",
        group="run",
        enters=(),
    )
    precision: Literal["auto", "full"] = _setting(
        "auto",
        "How exactly the networks compute: as the processor or graphics card does it quickest (auto: whole "
        "numbers of 8 bits, half or single precision), or in single precision everywhere (full), which takes "
        "two to four times as long on new processors and gives the same on all of them.",
        group="run",
        enters=("nuclei", "cells", "puncta", "classify"),
    )
    tile_px: Annotated[int, Field(ge=256, le=32_768)] = _setting(
        4096,
        "Side of the tiles in which a large image (a mosaic, a slide) is analysed: one with a side above 1.5 "
        "times this. Smaller tiles need less memory and more time.",
        group="run",
        enters="tiles",
        unit="px",
    )
    tile_overlap_um: Annotated[float, Field(gt=0, le=1000)] = _setting(
        60.0,
        "How far tiles of a large image overlap: more than the longest cell, or that may be cut at a seam.",
        group="run",
        enters="tiles",
        unit="µm",
    )
    overlays: bool = _setting(True, "Write a picture of the result for every image.", group="run", enters=())

    @field_validator("channels")
    @classmethod
    def _known_roles(cls, channels: dict[str, int | str]) -> dict[str, int | str]:
        for role, channel in channels.items():
            if role not in (*ROLES, MARKER):
                raise ValueError(f"'{role}' is no channel role{nearest(role, (*ROLES, MARKER))}")
            if isinstance(channel, int) and channel < 0:
                raise ValueError(f"{role} = {channel}: channel indices start at 0")
        for name, channel in listed(channels[MARKER]) if MARKER in channels else ():
            if not slug(name or str(channel)):
                raise ValueError(f"marker = {channels[MARKER]}: a marker without a name")
        if MARKER in channels and EXOSOME in channels:
            _no_exosomes_among_markers(channels[EXOSOME], channels[MARKER])
        return channels

    @field_validator("channels", mode="before")
    @classmethod
    def _lists_of_channels(cls, channels: Any) -> Any:
        if not isinstance(channels, dict):
            return channels
        for role, given in channels.items():
            if isinstance(given, list) and role not in (MARKER, EXOSOME):
                raise ValueError(f"{role} = {given}: only exosomes and markers can be several channels")
        return {
            role: AND.join(map(str, given)) if isinstance(given, list) else given
            for role, given in channels.items()
        }

    @field_validator("types", "marker_phenotypes")
    @classmethod
    def _rules_that_can_be_read(cls, rules: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, text in rules.items():
            if not slug(name) or name in NO_TYPES:
                raise ValueError(f"'{name}' cannot be the name of a type")
            try:
                read_rule(text)
            except ValueError as error:
                raise ValueError(f"the rule of {name}: {error}") from error
        if info.field_name == "marker_phenotypes" and len(rules) not in (0, 2):
            raise ValueError(f"there are rules for {len(rules)} phenotypes, and it takes two")
        return rules

    @field_validator("gates", "puncta_thresholds")
    @classmethod
    def _limits_of_channels(cls, limits: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        what = "a marker" if info.field_name == "gates" else "an exosome label"
        for name in limits:
            if not slug(name):
                raise ValueError(f"'{name}' cannot be the name of {what}")
        return limits

    @field_validator("analyse_types")
    @classmethod
    def _types_with_rules(cls, text: str, info: ValidationInfo) -> str:
        types = info.data.get("types")
        names = type_names(text)
        if not types:
            return text
        unknown = [name for name in names if name not in types]
        if unknown:
            raise ValueError(f"no rule in types says what a {unknown[0]} is (there are {', '.join(types)})")
        if not names:
            raise ValueError(f"name one of the types at least ({', '.join(types)})")
        return text

    @field_validator("donor_types", "recipient_types")
    @classmethod
    def _types_that_give_or_take(cls, text: str, info: ValidationInfo) -> str:
        types = info.data.get("types")
        if info.field_name == "donor_types":
            names = [name for each in donors_of(text).values() for name in each]
        else:
            names = type_names(text)
        unknown = [name for name in names if types is not None and name not in types]
        if unknown:
            have = f"there are {', '.join(types or ())}" if types else "types is empty"
            raise ValueError(f"no rule in types says what a {unknown[0]} is ({have})")
        return text

    @field_validator("bleed_through")
    @classmethod
    def _known_mixtures(cls, fractions: dict[str, float]) -> dict[str, float]:
        for name in fractions:
            source, target = split_bleed_through(name)
            if not is_role(source) or not is_role(target) or source == target:
                raise ValueError(f"'{name}' should be two of the roles, e.g. cell_into_exosome")
        return fractions

    @field_validator("channel_shift_um")
    @classmethod
    def _known_shifts(cls, shifts: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for role, shift in shifts.items():
            if not is_role(role) or role == "cell":
                raise ValueError(f"'{role}' should be a role other than cell, on which the others are moved")
            if max(map(abs, shift)) > LARGEST_SHIFT_UM:
                raise ValueError(f"{role} = {shift}: more than {LARGEST_SHIFT_UM:g} µm is no channel shift")
        return shifts

    @field_validator("cells_model", "nuclei_model", "phenotype_model", "corrections", "defects")
    @classmethod
    def _can_be_a_path(cls, text: str) -> str:
        parts = [len(part.encode(errors="surrogateescape")) for part in re.split(r"[/\\]", text)]
        if max(parts) > LONGEST_NAME or sum(parts) + len(parts) > LONGEST_PATH or "\0" in text:
            raise ValueError("this can be no name of a model, file or folder (too long, or with a NUL)")
        return text

    @field_validator("comparison_readouts")
    @classmethod
    def _some_readout(cls, text: str) -> str:
        if not [name for name in text.split(",") if name.strip()]:
            raise ValueError("name one readout at least")
        return text

    @field_validator("puncta_threshold", mode="before")
    @classmethod
    def _auto_is_unset(cls, value: Any) -> Any:
        return None if value == "auto" else value

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes, no, on and off as true and false, which pydantic would take for 1 and 0.
        values = value.values() if isinstance(value, dict) else [value]
        is_switch = cls.model_fields[info.field_name or ""].annotation is bool
        if not is_switch and any(isinstance(item, bool) for item in values):
            raise ValueError("yes/no is no value here (put a name in quotes)")
        return value

    @classmethod
    def from_yaml(cls, path: str | Path) -> Settings:
        """Read a settings file; names that are missing keep their defaults.

        Raises
        ------
        InputError
            If the file cannot be read, is not YAML, or holds an unknown name or a bad value.
        """
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"the settings file cannot be read ({reason})", where=path, fix="check its name"
            ) from error
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"the settings file is not valid YAML ({reason})",
                where=path,
                fix="'napari-tam settings' writes a valid file to start from",
            ) from error
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise InputError(
                "the settings file does not hold 'name: value' lines",
                where=path,
                fix="'napari-tam settings' writes a valid file to start from",
            )
        return cls.from_values(values, where=path)

    @classmethod
    def from_values(cls, values: dict[str, Any], *, where: object = "settings") -> Settings:
        """Validate a mapping.

        Raises
        ------
        InputError
            One sentence naming every unknown name (with the nearest valid one) and bad value.
        """
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown:
            problems = [f"'{key}' is no setting{nearest(str(key), cls.model_fields)}" for key in unknown]
            raise InputError("; ".join(problems), where=where, fix="'napari-tam settings' lists all names")
        try:
            return cls(**values)
        except ValidationError as error:
            problems = []
            for item in error.errors():
                name, message = str(item["loc"][0]), item["msg"].removeprefix("Value error, ")
                if item["loc"][-1] == "[key]" and name == "channels":
                    message = f"is no channel role (known: {', '.join((*ROLES, MARKER))})"
                elif name == "channels" and len(item["loc"]) > 1:
                    # Reported twice: it is neither an integer nor text.
                    name, message = f"channels.{item['loc'][1]}", "should be a channel index (from 0) or name"
                elif len(item["loc"]) > 1:
                    name = f"{name}.{item['loc'][1]}"
                problems.append(f"{name} = {_short(repr(item['input']))}: {message}")
            problems = list(dict.fromkeys(problems))
            raise InputError(
                "; ".join(problems), where=where, fix="'napari-tam settings' describes all settings"
            ) from error

    def threshold_of(self, label: str) -> float | None:
        """Return the puncta_threshold of an exosome label (empty: the only one); None: to be found."""
        own = [value for name, value in self.puncta_thresholds.items() if label and same_marker(name, label)]
        return own[0] if own else self.puncta_threshold

    @classmethod
    def entered_by(cls, name: str) -> tuple[str, ...]:
        """Return where an analysis uses a setting first (see ``enters`` where it is declared)."""
        extra: Any = cls.model_fields[name].json_schema_extra
        return tuple(extra["enters"])

    def updated(self, where: object = "settings", **values: Any) -> Settings:
        """Return a copy with some values changed, validated like a file (raises InputError)."""
        return self.from_values({**self.model_dump(), **values}, where=where)

    def to_yaml(self, *, comments: bool = True) -> str:
        """Return the settings as YAML that `from_yaml` reads back unchanged."""
        lines: list[str] = []
        group = ""
        for name, info in type(self).model_fields.items():
            extra = info.json_schema_extra
            assert isinstance(extra, dict)
            if comments:
                if extra["group"] != group:
                    group = str(extra["group"])
                    lines += [*([""] if lines else []), f"# --- {group} ---"]
                unit = f" [{extra['unit']}]" if extra["unit"] else ""
                lines.append(f"# {info.description}{unit}")
            value = {name: getattr(self, name)}
            lines.append(yaml.safe_dump(value, allow_unicode=True, default_flow_style=False).rstrip("\n"))
        return "\n".join(lines) + "\n"
