"""What a reader must know before believing the numbers, each in a sentence or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from napari_tam.errors import some
from napari_tam.io.check import CODES
from napari_tam.io.pictures import NO_MEASUREMENT
from napari_tam.networks.cards import PHENOTYPE
from napari_tam.report.communication_text import communication_cautions
from napari_tam.report.data import as_number, uncertain_share
from napari_tam.report.marker_text import marker_cautions
from napari_tam.report.quality import score_fields
from napari_tam.results.folder import FAILED, PENDING
from napari_tam.results.siblings import SIBLING_CODES

if TYPE_CHECKING:
    from napari_tam.report.data import ReportData

#: Fewer replicates of a condition than this are few.
ENOUGH = 3

#: A larger share of uncertain cells is worth a warning.
MANY_UNCERTAIN = 0.3

#: A larger share of puncta that may be false is worth a warning, ...
MANY_FALSE = 0.1
#: ... of at least so many puncta.
SOME_PUNCTA = 20

#: What the bundled phenotype model can claim.
SIMULATED = (
    "M1 and M2 were told apart by the bundled model, which is trained on cells of no known polarisation "
    "(simulated ones, and real ones stretched to a drawn axis ratio). It says whether a cell looks "
    "round and spread or elongated; it cannot say that a cell carries M1 or M2 markers. "
    "For a claim about polarisation, train on your own control wells ('napari-tam train phenotype') or stain "
    "a marker."
)


def cautions(data: ReportData) -> list[str]:
    """Return the warnings of a report."""
    found = list(data.problems)
    found += _of_run(data)
    found += _of_design(data)
    found += _of_puncta(data)
    found += marker_cautions(data)
    found += communication_cautions(data)
    found += _of_phenotypes(data)
    found += _of_pictures(data)
    found += _of_fields(data)
    return found


def _of_pictures(data: ReportData) -> list[str]:
    if "notes" not in data.images:
        return []
    number = int(data.images["notes"].astype("string").str.contains(NO_MEASUREMENT, regex=False).sum())
    if not number:
        return []
    return [
        f"{_number(number, 'image')} {_are(number)} made of colour pictures. Their intensities were scaled "
        "for the eye, may be compressed (JPEG) and may hold light of several stains: counts and shapes "
        "can be looked at, but no intensity here is a measurement. Analyse the microscope's own files."
    ]


def _of_run(data: ReportData) -> list[str]:
    status = data.images["status"].value_counts()
    found = []
    failed, pending = int(status.get(FAILED, 0)), int(status.get(PENDING, 0))
    if failed:
        found.append(f"{_number(failed, 'image')} could not be analysed and {_are(failed)} listed below.")
    if pending:
        found.append(f"{_number(pending, 'image')} {_are(pending)} not analysed yet: the run did not finish.")
    if data.cells.empty:
        found.append("No cells were found.")
    return found


def _of_design(data: ReportData) -> list[str]:
    found = []
    if not data.has_layout:
        return [
            "There is no plate layout, so nothing here compares conditions. Add one with 'napari-tam uptake "
            "RESULTS --layout FILE'."
        ]
    if not data.has("positive"):
        found.append(
            "No cell is called positive or negative, because no control (dye only, no exosomes) set a "
            "threshold. "
            "Dye particles and autofluorescence look like exosomes: without that control, puncta are not "
            "proof "
            "of uptake."
        )
    unstated = int((data.groups() == "").sum())
    if unstated:
        found.append(
            f"{_number(unstated, 'cell')} {_are(unstated)} in images that the layout does not describe."
        )
    units = data.unit_means("puncta_count")
    size = units.groupby("group").size()
    few = [group for group in data.group_order() if size.get(group, 0) < ENOUGH]
    if few:
        names = "; ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        found.append(
            f"Fewer than {ENOUGH} replicates: {names}. Differences there are not tested; cells of one "
            "replicate "
            "do not stand in for replicates."
        )
    if data.thresholds is not None and "note" in data.thresholds:
        notes = dict.fromkeys(n for n in data.thresholds["note"] if isinstance(n, str) and n)
        found += [f"Control: {note.rstrip('.')}." for note in notes]
    return found


def _of_puncta(data: ReportData) -> list[str]:
    if "puncta_false_share" not in data.analysed:
        return []
    share, puncta = (as_number(data.analysed[name]) for name in ("puncta_false_share", "puncta"))
    known = ~pd.isna(share)
    count = puncta[known].sum()
    overall = float((share * puncta)[known].sum() / count) if count else 0.0
    found = []
    if count >= SOME_PUNCTA and overall > MANY_FALSE:
        found.append(
            f"About {100 * overall:.0f} % of the puncta may be false, going by their scores: many hardly "
            "stand out. A higher puncta_score or puncta_threshold leaves fewer of them, and fewer true "
            "ones; intensities suffer less than counts."
        )
    many = int((known & (share > MANY_FALSE) & (puncta >= SOME_PUNCTA)).sum())
    if many and overall <= MANY_FALSE:
        found.append(
            f"In {_number(many, 'image')} more than {100 * MANY_FALSE:.0f} % of the puncta may be false "
            "(puncta_false_share in images.csv)."
        )
    return found


def _of_phenotypes(data: ReportData) -> list[str]:
    found = []
    if data.classes and data.settings.phenotype_model == PHENOTYPE:
        found.append(SIMULATED)
    if data.classes:
        share = uncertain_share(data.cells)
        if share > MANY_UNCERTAIN:
            found.append(
                f"{100 * share:.0f} % of the cells that the border does not cut have no certain phenotype. "
                "They "
                "are left out of every comparison between phenotypes."
            )
    return found


def _of_fields(data: ReportData) -> list[str]:
    table = score_fields(data)
    if table.empty:
        return []
    found = []
    failed = int((table["failed_checks"] > 0).sum())
    if failed:
        found.append(
            f"{failed} of {_number(len(table), 'field')} failed a quality check (see Quality control); they "
            "are "
            "not left out."
        )
    saturated = table.loc[as_number(table["saturated"]) > 0.001, "image"]
    if len(saturated):
        found.append(
            f"The exosome channel is saturated in {_number(len(saturated), 'field')}: intensities there are "
            "too low."
        )
    found += _of_findings(data)
    return found


def _of_findings(data: ReportData) -> list[str]:
    """Say what was found when the pictures were looked at, and which ones are there twice."""
    images, found = data.images, []
    if "findings" in images:
        codes = images["findings"].fillna("").astype(str).str.split()
        for code, sentence in {**CODES, **SIBLING_CODES}.items():
            names = images.loc[[code in each for each in codes], "image"].astype(str).tolist()
            if names:
                found.append(f"{sentence} That is so in {_number(len(names), 'image')}: {some(names, 5)}.")
    return found


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
