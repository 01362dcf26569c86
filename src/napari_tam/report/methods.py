"""A methods paragraph for a paper, filled with what a run really did.

Nothing is stated that is not on record: settings from settings.yaml, versions and hashes from
run.json, tests and thresholds from their tables, training data from the cards of the bundled models.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.io.layout import exosome_control
from napari_tam.io.masks.find import NONE
from napari_tam.networks.cards import MODELS_FOLDER, PHENOTYPE, SMALL_CELLS
from napari_tam.puncta.threshold import LOWEST
from napari_tam.report.citations import Methods
from napari_tam.report.communication_text import communication_methods
from napari_tam.report.data import as_number
from napari_tam.report.labels import about, label_methods, labels_in
from napari_tam.report.marker_text import marker_methods
from napari_tam.report.reading import read_data
from napari_tam.report.readouts import named
from napari_tam.segment.common_diameter import Diameter

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_tam.report.data import ReportData


#: Software named in the text, beside napari-tam itself.
_SOFTWARE = ("cellpose", "torch", "numpy", "scipy", "scikit-image")


def methods_text(folder: Path) -> str:
    """Return the methods of a results folder as plain text, with the references.

    Raises
    ------
    InputError
        If it is no results folder.
    """
    data = read_data(folder)
    return methods(about(data, labels_in(data)[0])).text()


def methods(data: ReportData) -> Methods:
    """Return the methods of a run."""
    found = Methods()
    _images(found, data)
    _cells(found, data)
    _puncta(found, data)
    _phenotypes(found, data)
    found.add(*marker_methods(data))
    _controls(found, data)
    found.add(*communication_methods(data))
    _time(found, data)
    _statistics(found, data)
    return found


def _images(found: Methods, data: ReportData) -> None:
    versions = data.run.get("versions") or {}
    own = versions.get("napari-tam")
    others = [f"{name} {versions[name]}" for name in _SOFTWARE if versions.get(name)]
    python = data.run.get("python")
    others += [f"Python {python}"] if python else []
    number, total = len(data.analysed), len(data.images)
    sizes = np.unique(np.round(as_number(data.analysed["pixel_size_um"]), 4)) if number else np.zeros(0)
    sizes = sizes[np.isfinite(sizes)]
    pixel = f" (pixel size {' or '.join(f'{size:g}' for size in sizes[:3])} µm)" if sizes.size else ""
    failed = f"; {total - number} of {total} could not be analysed" if total > number else ""
    found.add(
        f"{number} fluorescence image{'s' * (number != 1)}{pixel} {'were' if number != 1 else 'was'} "
        "analysed "
        f"with napari-tam{f' {own}' if own else ''}"
        + (f" ({', '.join(others)})" if others else "")
        + f"{failed}.",
        *(_channels(data)),
        *(_notes(data)),
        _volumes(data),
        _corrections(data),
    )


def _channels(data: ReportData) -> list[str]:
    if not data.settings.channels:
        return []
    roles = ", ".join(f"{role} = {channel}" for role, channel in data.settings.channels.items())
    return [f"Channels: {roles}."]


def _notes(data: ReportData) -> list[str]:
    """Return what the run's notes say about projected stacks."""
    notes = [str(note) for note in data.run.get("notes") or []]
    return [f"{note[0].upper()}{note[1:]}." for note in notes if "projected" in note]


def _volumes(data: ReportData) -> str:
    """Return that stacks were analysed in 3-D, if they were."""
    if not data.has("z_step_um", data.analysed):
        return ""
    steps = ", ".join(f"{step:g}" for step in np.unique(as_number(data.analysed["z_step_um"].dropna())))
    return f"Stacks were analysed as volumes (3-D) with planes {steps} µm apart."


def _corrections(data: ReportData) -> str:
    """Return which corrections of the images were switched on, in the words of the settings."""
    changed = []
    for name, info in type(data.settings).model_fields.items():
        extra = info.json_schema_extra
        group = str(extra["group"]) if isinstance(extra, dict) else ""
        value = getattr(data.settings, name)
        if (
            name != "defects"
            and group.startswith("correct")
            and value != info.get_default(call_default_factory=True)
        ):
            changed.append(f"{name.replace('_', ' ')}: {value}")
    defects = _defects(data)
    if not changed:
        return "Intensities were used as recorded, without flat-field or bleed-through correction." + defects
    return f"Images were corrected before measuring ({'; '.join(changed)})." + defects


def _defects(data: ReportData) -> str:
    """Return how many pixels of the camera were replaced, and how they were found."""
    told = data.run.get("camera_defects") or {}
    number = told.get("defects", 0)
    if not number:
        return ""
    where = " in another run" if "file" in told else ""
    return (
        f" {number} {'pixel' if number == 1 else 'pixels'} of the camera that stood out from their "
        f"neighbours in the same place of many images ({told['images']} that show different places{where}; "
        "0.01 expected by chance in each channel) got the median of the good pixels around."
    )


def _network(data: ReportData, kind: str, name: str) -> str:
    """Return how a network is called in the text: bundled ones with their training data."""
    sha = (data.run.get("models") or {}).get(name, "")
    mark = f", sha256 {str(sha)[:12]}" if sha else ""
    card = _card(name) if name in (kind, SMALL_CELLS) else None
    if card is None:
        return f"the model '{name}'{mark.replace(', ', ' (', 1) + ')' if mark else ''}"
    # what follows the semicolon are the terms of use
    trained = "; ".join(str(item).partition(";")[0] for item in card.get("training_data", []))
    return f"the bundled network '{name}' (training data: {trained}{mark.replace(', ', '; ', 1)})"


def _card(name: str) -> dict[str, Any] | None:
    try:
        card = json.loads((MODELS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _cells(found: Methods, data: ReportData) -> None:
    s = data.settings
    diameter = (
        f"a cell diameter of {s.cell_diameter_um:g} µm{_why_diameter(data)}"
        if s.cell_diameter_um
        else "a cell diameter that was estimated from each image"
    )
    nuclei = "nuclei" in data.analysed and as_number(data.analysed["nuclei"])
    has_nuclei = nuclei is not False and np.isfinite(nuclei).any()
    cells = (
        f"Cells were segmented in the cell stain with {_network(data, 'cells', s.cells_model)} and the flow "
        f"algorithm of Cellpose {found.cite('Stringer et al. 2021')}, with {diameter}, a cell probability "
        "above "
        f"{s.cell_probability:g}, a flow threshold of {s.flow_threshold:g} and a smallest area of "
        f"{s.min_cell_area_um2:g} µm²."
        if s.cells_masks == NONE
        else "Cells were not segmented here: their masks were given."
    )
    in_nuclei = (
        f"Nuclei were segmented in the nuclear stain with {_network(data, 'nuclei', s.nuclei_model)}."
        if s.nuclei_masks == NONE
        else "The masks of the nuclei were given, too."
    )
    found.add(
        cells,
        in_nuclei if has_nuclei else "",
        f"{len(data.cells):,} cells were "
        f"{'analysed' if len(data.cells) < len(data.every_cell) else 'found'}; "
        + (
            f"{int(data.cells['touches_border'].fillna(False).astype(bool).sum()):,} of them are cut by the "
            "image's border and are part of the counts."
            if "touches_border" in data.cells and len(data.cells)
            else "none was left out."
        ),
    )


def _why_diameter(data: ReportData) -> str:
    """Say where a diameter comes from that all images share, if the run learnt it."""
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        found = Diameter.from_dict(data.run["cell_diameter"])
        if found.rule == "batch" and found.value_um == data.settings.cell_diameter_um:
            return f" (the median of what {len(found.estimates_um)} of the images told, the same for all)"
    return ""


def _contrast(data: ReportData) -> str:
    """Say which contrast puncta have at least, and why."""
    threshold = data.puncta_threshold
    value = data.settings.threshold_of(data.label) if threshold is None else threshold.value
    if value is None or value <= LOWEST:
        return ""
    why = {
        "controls": ", which leaves cells of the control wells at most "
        f"{data.settings.puncta_false_per_cell:g} puncta each on average",
        "populations": ", the valley between the two populations that contrasts fell into",
    }.get("given" if threshold is None else threshold.rule, "")
    return (
        f" and a contrast of at least {value:.3g} (response of a Laplacian of Gaussian over its spread in "
        f"the surroundings; the same for all images{why})"
    )


def _puncta(found: Methods, data: ReportData) -> None:
    s = data.settings
    if s.puncta_method == "network":
        finder = (
            f"with {_network(data, 'puncta', 'puncta')}, keeping those with a score above {s.puncta_score:g}"
        )
    else:
        finder = f"with a Laplacian of Gaussian, keeping those with a contrast score above {s.puncta_score:g}"
    volume = bool(_volumes(data))
    around = "shell" if volume else "annulus"
    holder = "in or on which its centroid lies" if volume else "whose mask lies under its centroid"
    sigma = f"{s.spot_sigma_um:g} µm" if s.spot_sigma_um else "measured from each image"
    finder += _contrast(data)
    if s.puncta_min_snr > 0:
        finder += f" and a signal-to-noise ratio above {s.puncta_min_snr:g}"
    found.add(
        f"Exosome-labelled puncta were detected in the exosome channel, hot pixels replaced, {finder} "
        f"(Gaussian width of a single punctum: {sigma}).",
        f"The intensity of a punctum is its summed signal above the median of a local {around}; it belongs "
        "to "
        f"the cell {holder}. Puncta outside cells were counted apart.",
        f"Puncta are called central below {s.central_radius:g} of the relative radius and perinuclear within "
        f"{s.perinuclear_distance_um:g} µm of the nucleus; distances are Euclidean, in µm.",
        _partners(found, data),
        label_methods(found, data),
    )


def _partners(found: Methods, data: ReportData) -> str:
    """Return how co-localisation was measured, if it was."""
    if not data.has("manders_m1"):
        return ""
    return (
        "Co-localisation with the lysosome channel was measured inside each cell as Pearson's correlation "
        "and "
        f"Manders' coefficients {found.cite('Manders et al. 1993')}, beside a randomised control "
        f"{found.cite('Costes et al. 2004')}."
    )


def _phenotypes(found: Methods, data: ReportData) -> None:
    if not data.classes:
        return
    s = data.settings
    names = " or ".join(data.classes)
    sha = str((data.run.get("models") or {}).get(s.phenotype_model, ""))[:12]
    mark = f" (sha256 {sha})" if sha else ""
    if s.phenotype_model == PHENOTYPE:
        model = (
            f"with the bundled model{mark}, a convolutional network on outline, cell stain and shape that "
            "was trained on simulated cells and on real macrophages stretched to a drawn "
            "axis ratio: it separates round from elongated shapes, for which M2-like "
            f"macrophages are more elongated {found.cite('McWhorter et al. 2013')}, and was not validated on "
            "cells of known polarisation"
        )
    else:
        model = f"with a model trained on the laboratory's own cells{mark}"
    found.add(
        f"Cells were called {names} {model}. The exosome channel is not part of its input. Probabilities "
        "were "
        f"calibrated by temperature scaling {found.cite('Guo et al. 2017')}; cells whose larger probability "
        "is "
        f"below {s.phenotype_min_probability:g}, that are unlike the training cells"
        + (" or that the image's border cuts" if s.phenotype_border else "")
        + " are called uncertain and left out of comparisons between phenotypes.",
    )


def _controls(found: Methods, data: ReportData) -> None:
    if not data.has("positive") or data.thresholds is None:
        if data.has_layout:
            found.add(
                "No cell was called positive or negative, because no dye-only or no-exosome control was run."
            )
        return
    rules = data.thresholds[np.isfinite(as_number(data.thresholds["threshold"]))]
    names = ", ".join(dict.fromkeys(str(rule) for rule in rules["rule"]))
    readouts = ", ".join(dict.fromkeys(named(str(name)) for name in rules["readout"]))
    cells = int(as_number(rules["control_cells"]).sum())
    roles = {exosome_control(str(role))[0] for role in rules["control_role"]}
    dye = (
        f" Dye without exosomes forms particles that look like labelled exosomes "
        f"{found.cite('Pužar Dominkuš et al. 2018')}; this control accounts for them."
        if "dye_only" in roles
        else ""
    )
    found.add(
        f"A cell is called positive if its {readouts} is above a threshold learnt for each plate from "
        "control "
        f"wells ({names}; {cells:,} control cells).{dye}",
        _aggregates(data),
    )


def _aggregates(data: ReportData) -> str:
    if "aggregate" not in data.puncta or not data.has("aggregate", data.puncta):
        return ""
    share = 100 * float(np.nanmean(as_number(data.puncta["aggregate"])))
    limits = [
        f"{text.format(value)}"
        for name, text in (
            ("aggregate_sd", "{:g} robust SD above the log intensity of single puncta"),
            ("aggregate_width", "or {:g} times their width and brighter than most"),
        )
        if (value := getattr(data.settings, name, None)) is not None
    ]
    rule = f" ({', '.join(limits)})" if limits else ""
    return (
        f"Puncta too bright or too wide for a single punctum{rule}, {share:.1f} % of all, are flagged as "
        "aggregates; they do not make a cell positive and are reported apart."
    )


def _time(found: Methods, data: ReportData) -> None:
    if data.has("track"):
        tracks = int(data.cells["track"].dropna().nunique())
        found.add(
            f"Cells were followed through the frames with laptrack {found.cite('Fukai and Kawaguchi 2023')} "
            f"({tracks} tracks).",
        )
    if data.kinetics is not None and len(data.kinetics):
        found.add(
            "Uptake over time was fitted with a saturating exponential; half times are stated with their "
            "intervals (kinetics.csv)."
        )


def _range(numbers: npt.NDArray[np.float64]) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _statistics(found: Methods, data: ReportData) -> None:
    table = data.comparisons
    if table is None or table.empty:
        return
    tested = table[np.isfinite(as_number(table["p"]))]
    units = ", ".join(dict.fromkeys(str(unit) for unit in table["unit"] if isinstance(unit, str) and unit))
    if tested.empty:
        if data.has_layout:
            found.add(
                "Conditions were not compared by tests, because there are too few independent replicates"
                + (f" (unit: {units})." if units else ".")
            )
        return
    names = list(dict.fromkeys(str(name) for name in tested["test"]))
    numbers = np.concatenate([as_number(tested[n]) for n in ("n_a", "n_b")])
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    corrections = [c for c in tested["correction"].unique() if isinstance(c, str) and c]
    holm = any("holm" in c.lower() for c in corrections)
    welch = any("welch" in name.lower() for name in names)
    cited = ["Lord et al. 2020", *(["Welch 1947"] if welch else []), *(["Holm 1979"] if holm else [])]
    found.add(
        f"The unit of every comparison is the {units or 'replicate'} (n = {_range(numbers)}), not the cell "
        f"{found.cite(cited[0])}: the readout was averaged over the cells "
        f"of each replicate. Tests: {'; '.join(names)}, two-sided"
        + (f" {found.cite(*cited[1:])}" if cited[1:] else "")
        + ".",
        f"P values were corrected for multiple comparisons ({'; '.join(corrections)})."
        if corrections
        else "P values were not corrected for multiple comparisons.",
        f"Effect sizes are Hedges' g {found.cite('Hedges 1981')}; intervals are 95 % confidence intervals of "
        "the difference.",
    )
