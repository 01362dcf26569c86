"""The page: everything of a report put into the template (Jinja2, every text escaped)."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.installation import __version__
from napari_tam.report import numbers
from napari_tam.report.cautions import cautions
from napari_tam.report.communication_text import words
from napari_tam.report.figures import COMMUNICATION, FIGURES, QUALITY
from napari_tam.report.labels import about, by_label, label_sentence, label_table, labels_in
from napari_tam.report.methods import methods
from napari_tam.report.quality import CHECKS, score_fields

if TYPE_CHECKING:
    from napari_tam.report.data import ReportData

#: Fields listed in the table of failed checks.
LISTED = 20

#: A larger SVG is shown as PNG.
LARGEST_SVG = 600_000


#: A table's cell of so many letters stays on one line; a longer word is broken anywhere.
SHORT, LONG_WORD = 20, 28


@dataclass(frozen=True)
class Shown:
    """A figure in the page; `source` is its picture as a data URL, `share` its width (% of the page's)."""

    name: str
    title: str
    section: str
    caption: str
    source: str
    share: int


def data_address(svg: bytes, png: bytes, *, picture: bool) -> str:
    """Return the picture of a figure as a data URL: SVG unless it is a picture or too large."""
    kind, content = ("png", png) if picture or len(svg) > LARGEST_SVG else ("svg+xml", svg)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def render(
    data: ReportData, figures: list[Shown], left_out: list[tuple[str, str]], told: dict[str, Any]
) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    data
        Those of all exosome labels.
    figures, left_out
        What is shown, and title and reason of what is not.
    told
        What `napari_tam.report.pointing.told` returned.
    """
    from jinja2 import Environment, StrictUndefined

    here = Path(__file__).parent
    template, script = ((here / name).read_text(encoding="utf-8") for name in ("template.html", "report.js"))
    content = _content(data, figures, left_out)
    # the browser runs the script with this hash, and no other
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    content |= {"told": told, "script": script, "script_hash": digest}
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["cell_class"] = cell_class
    return environment.from_string(template).render(content)


def cell_class(value: str) -> str:
    """Return how a table's cell breaks: not at all, at blanks, or anywhere (a long name without blanks)."""
    if len(value) <= SHORT:
        return "n"
    return "w" if max(map(len, value.split()), default=0) > LONG_WORD else "t"


def _content(every: ReportData, figures: list[Shown], left_out: list[tuple[str, str]]) -> dict[str, Any]:
    data = about(every, labels_in(every)[0])
    tests, thresholds = numbers.comparison_tables(data), by_label(every, numbers.threshold_table)
    used = {figure.section for figure in figures}
    used |= {"Comparisons"} if tests else set()
    told = [tuple(text.split(". ", 1)) for text in words(data)]
    used |= {COMMUNICATION} if told else set()
    names = [name for name in dict.fromkeys(plan.section for plan in FIGURES) if name in used]
    sections = [(_id(name), name) for name in names]
    conditions = by_label(every, numbers.condition_table)
    contents = [("cautions", "Read this first")]
    contents += [("labels", "Exosome labels")] if label_sentence(every) else []
    contents += [("conditions", "Conditions")] if conditions[1] else []
    contents += [section for section in sections if section[1] != QUALITY]
    contents += [(_id(QUALITY), QUALITY), ("methods", "Methods"), ("settings", "Settings and versions")]
    quality, more = _failed_fields(data)
    text = methods(data)
    return {
        "title": data.folder.resolve().name or "Results",
        "version": __version__,
        "folder": f"{len(data.images):,} images in {data.folder.resolve().name}",
        "when": str(data.run.get("started", "")).replace("T", " ")[:16],
        "contents": contents,
        "sections": sections,
        "figures": figures,
        "left_out": left_out,
        "numbers": numbers.key_numbers(data),
        "cautions": cautions(data),
        "failed": numbers.failed_table(data),
        "conditions": conditions,
        "labels": label_table(every),
        "label_sentence": label_sentence(every),
        "thresholds": thresholds,
        "tests": tests,
        "least_cells": f"{data.settings.comparison_min_cells:g}",
        "communication": told,
        "corrections": _corrections(data),
        "kinetics": numbers.kinetics_table(data),
        "rules": [check.rule for check in CHECKS],
        "quality": quality,
        "quality_more": more,
        "methods": text.paragraphs,
        "references": text.references,
        "settings": numbers.settings_table(data),
        "models": (["model", "sha256 of its weights"], _pairs(data.run.get("models"))),
        "versions": (["software", "version"], _versions(data)),
        "notes": [str(note) for note in data.run.get("notes") or []],
    }


def _id(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())


def _corrections(data: ReportData) -> str:
    table = data.comparisons
    if table is None or "correction" not in table:
        return ""
    return ", ".join(dict.fromkeys(c for c in table["correction"] if isinstance(c, str) and c))


def _failed_fields(data: ReportData) -> tuple[tuple[list[str], numbers.Rows], str]:
    table = score_fields(data)
    if table.empty:
        return ([], []), ""
    bad = table[table["failed_checks"] > 0]
    rows = [
        [str(row["image"]), str(row["failed_checks"]), str(row["reasons"])]
        for _, row in bad.head(LISTED).iterrows()
    ]
    more = f"{len(bad) - LISTED} more fields failed a check." if len(bad) > LISTED else ""
    return (["field", "failed checks", "reasons"], rows), more


def _pairs(values: Any) -> numbers.Rows:
    return [[str(k), str(v)] for k, v in values.items()] if isinstance(values, dict) else []


def _versions(data: ReportData) -> numbers.Rows:
    rows = [row for row in _pairs(data.run.get("versions")) if row[1] != "None"]
    for key in ("python", "platform", "device"):
        if data.run.get(key):
            rows.append([key, str(data.run[key])])
    return rows
