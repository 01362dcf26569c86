"""Write the pages of docs/ that follow from the code: settings, columns, modules, and the table of packages.

``make format`` does it; a test checks that they are current.
"""

from __future__ import annotations

import ast
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

from napari_tam.cli.commands import COMMANDS
from napari_tam.columns import (
    AGREEMENT_COLUMNS,
    ASSOCIATION_COLUMNS,
    CELL_COLUMNS,
    CELL_TYPE_COLUMNS,
    COMPARISON_COLUMNS,
    DECISION_COLUMNS,
    DOSE_RESPONSE_COLUMNS,
    GATE_COLUMNS,
    KINETICS_COLUMNS,
    LAYOUT_COLUMNS,
    POWER_COLUMNS,
    PUNCTA_COLUMNS,
    PUNCTUM_DECISION_COLUMNS,
    REPLICATE_COLUMNS,
    STEP_COLUMNS,
    SUMMARY_COLUMNS,
    THRESHOLD_COLUMNS,
    TIME_COLUMNS,
    TRAFFIC_COLUMNS,
    TRANSFER_COLUMNS,
    TYPE_COLUMNS,
    UPTAKE_POLARISATION_COLUMNS,
    VOLUME_CELL_COLUMNS,
    VOLUME_PUNCTA_COLUMNS,
    VOLUME_SUMMARY_COLUMNS,
    Column,
    gated_columns,
    marker_columns,
    marker_summary_columns,
    phenotype_columns,
    phenotype_summary_columns,
    traffic_cell_columns,
    type_count_columns,
)
from napari_tam.io.label_columns import LABEL_PUNCTA_COLUMNS, LABEL_SUMMARY_COLUMNS, together_columns
from napari_tam.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "napari_tam"
HEAD = """# Settings

Every parameter of an analysis. `napari-tam settings` writes them all, with their defaults and comments, as a
YAML file to edit; `napari-tam analyse … --settings FILE` reads it. What the file leaves out keeps its
default, and a name that is not below is refused. The plugin's form shows those marked with a star.

<!-- Made from src/napari_tam/settings.py by tools/reference_pages.py: change it there. -->
"""


def settings_page() -> str:
    """Return the page of the settings as Markdown."""
    properties = Settings.model_json_schema()["properties"]
    sections = [HEAD]
    for group, names in groupby(properties, key=lambda name: properties[name]["group"]):
        rows = [setting_row(name, properties[name]) for name in names]
        head = f"## {group.capitalize()}\n\n| name | default | values | meaning |\n|---|---|---|---|\n"
        sections.append(head + "\n".join(rows) + "\n")
    return "\n".join(sections)


def setting_row(name: str, schema: dict[str, Any]) -> str:
    """Return the table row of one setting."""
    star = " ★" if schema["common"] else ""
    unit = f" {schema['unit']}" if schema["unit"] else ""
    default = schema["default"]
    if default is None or default == {}:
        shown = "unset"
    else:
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`{unit}"
    meaning = schema["description"].replace("|", "\\|")
    return f"| `{name}`{star} | {shown} | {values(schema)}{unit} | {meaning} |"


def values(schema: dict[str, Any]) -> str:
    """Return what a setting can be, in words."""
    if "anyOf" in schema:
        return " or ".join(values(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
    limits = [f"{word} {schema[key]:g}" for key, word in bounds.items() if key in schema]
    if schema.get("type") == "object":
        return f"`{schema['pairs'].replace('=', ': ')}` pairs"
    names = {"boolean": "`true`, `false`", "string": "text"}
    return " ".join(limits) or names.get(schema.get("type", ""), "number")


COLUMNS_HEAD = """# Columns

Every column of the result tables. "Counts" are the image's own intensity units. A mean over nothing (a cell
without puncta) is missing; a count or a sum is 0. Files written beside these: see the README.

With several exosome channels every column about exosomes (groups puncta, place, partners and decision, and
light, background and saturation of the exosome channel) is there once a label as well, with the label's name
behind it: `puncta_count_GFP`, `exosome_integrated_PKH26`. Those without a name are of the first label.

The Parquet files hold types and names as they are. In the CSV files texts are in quotes, missing values are
empty, and a text that a spreadsheet could run (it begins with `=`, `+`, `-`, `@`, a tab or an apostrophe) has
an apostrophe in front. So an image that is called `nan`, `001` or `=a` reads back right with:

```python
cells = pd.read_parquet("cells.parquet")  # or
cells = pd.read_csv("cells.csv", keep_default_na=False, na_values=[""], dtype={"image": str})
cells["image"] = cells["image"].str.removeprefix("'")
```

```r
# not run in the tests
cells <- read.csv("cells.csv", na.strings = "", colClasses = c(image = "character"))
cells$image <- sub("^'", "", cells$image)
```

<!-- Made from src/napari_tam/columns.py by tools/reference_pages.py: change it there. -->
"""


def columns_page() -> str:
    """Return the page of the tables' columns as Markdown."""
    tables = {
        "cells.csv: one row a cell": (
            *CELL_COLUMNS,
            *marker_columns(),
            *phenotype_columns(),
            *TIME_COLUMNS,
            *LAYOUT_COLUMNS,
            *DECISION_COLUMNS,
            *gated_columns(),
            *TYPE_COLUMNS,
            *traffic_cell_columns(),
        ),
        "puncta.csv: one row a punctum": (*PUNCTA_COLUMNS, *PUNCTUM_DECISION_COLUMNS),
        "images.csv: one row an image": (
            *LAYOUT_COLUMNS,
            *SUMMARY_COLUMNS,
            *marker_summary_columns(),
            *STEP_COLUMNS,
            *phenotype_summary_columns(),
            *type_count_columns(),
        ),
        "cells.csv with several exosome channels: further columns": together_columns(),
        "puncta.csv with several exosome channels: further columns": LABEL_PUNCTA_COLUMNS,
        "images.csv with several exosome channels: further columns": LABEL_SUMMARY_COLUMNS,
        "cells.csv of volumes: further columns": VOLUME_CELL_COLUMNS,
        "puncta.csv of volumes: further columns": VOLUME_PUNCTA_COLUMNS,
        "images.csv of volumes: further columns": VOLUME_SUMMARY_COLUMNS,
        "thresholds.csv: one row a plate": THRESHOLD_COLUMNS,
        "replicates.csv: one row a replicate, and one for each phenotype in it; the means of the readouts "
        "follow": REPLICATE_COLUMNS,
        "comparisons.csv: one row a test": COMPARISON_COLUMNS,
        "kinetics.csv: one row a curve": KINETICS_COLUMNS,
        "gates.csv: one row a plate and marker": GATE_COLUMNS,
        "cell_types.csv: one row a replicate and cell type": CELL_TYPE_COLUMNS,
        "marker_agreement.csv: one row a condition and pair of phenotypes": AGREEMENT_COLUMNS,
        "traffic.csv: one row a label, condition and step of distance": TRAFFIC_COLUMNS,
        "transfer_matrix.csv: one row a label, condition and place": TRANSFER_COLUMNS,
        "spatial_association.csv: one row a label, condition and question, and one a replicate of it": (
            ASSOCIATION_COLUMNS
        ),
        "uptake_polarisation.csv: one row a label and condition, and one a replicate of it": (
            UPTAKE_POLARISATION_COLUMNS
        ),
        "dose_response.csv: one row a condition and readout": DOSE_RESPONSE_COLUMNS,
        "power.csv: one row a readout, effect, number of replicates and of cells": POWER_COLUMNS,
    }
    sections = [COLUMNS_HEAD]
    for title, columns in tables.items():
        head = f"## {title}\n\n| column | in words | group | unit | definition | source |\n"
        head += "|---|---|---|---|---|---|\n"
        sections.append(head + "\n".join(map(column_row, columns)) + "\n")
    return "\n".join(sections)


def column_row(column: Column) -> str:
    """Return the table row of one column."""
    texts = (column.title, column.group, column.unit, column.definition, column.source)
    return " | ".join([f"| `{column.name}`", *(text.replace("|", "\\|") for text in texts)]) + " |"


MODULES_HEAD = """# Modules

What every module of `src/napari_tam/` is for, in the order of the import rule
([architecture.md](architecture.md)).

<!-- Made from the docstrings by tools/reference_pages.py: change them there. -->
"""

START, END = "<!-- made by tools/reference_pages.py: {} -->", "<!-- end -->"


def packages() -> list[str]:
    """Return the packages in the order of the import rule, the lowest first; "" is napari_tam itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [name.strip() for layer in reversed(layers) for name in layer.split(":")]
    return ["", *(name for name in names if (PACKAGE / name).is_dir())]


def first_sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def modules_page() -> str:
    """Return the page of all modules as Markdown."""
    sections = [MODULES_HEAD]
    for name in packages():
        folder = PACKAGE / name
        files = sorted(folder.glob("*.py") if not name else folder.rglob("*.py"))
        lines = [
            f"- `{path.relative_to(folder).as_posix()}`: {first_sentence(path)}"
            for path in files
            if path.name != "__init__.py"
        ]
        title = f"napari_tam/{name}".rstrip("/")
        sections.append(
            "\n".join([f"## {title}", "", first_sentence(folder / "__init__.py"), "", *lines, ""])
        )
    return "\n".join(sections)


def architecture_page() -> str:
    """Return the page on the architecture with its diagram and its table of packages renewed."""
    return renewed("architecture.md", diagram=diagram(), packages=package_table())


def scripts_page() -> str:
    """Return the page for scripts with its table of commands renewed."""
    return renewed("scripts.md", commands=command_table())


def renewed(name: str, **parts: str) -> str:
    """Return a page with its marked parts replaced."""
    page = (DOCS / name).read_text(encoding="utf-8")
    for part, made in parts.items():
        start = START.format(part)
        before, _, rest = page.partition(start)
        page = f"{before}{start}\n\n{made}\n\n{END}{rest.partition(END)[2]}"
    return page


def command_table() -> str:
    """Return what the exit status 1 of each command means, and whether it has ``--json``, as a table."""
    rows = [
        f"| `{each.name}` | {each.failing or '–'} | {'yes' if each.for_programs else '–'} |"
        for each in COMMANDS
    ]
    return "\n".join(["| command | exit status 1 | `--json` |", "|---|---|---|", *rows])


def package_table() -> str:
    """Return what each package is for, as a Markdown table."""
    jobs = {name: first_sentence(PACKAGE / name / "__init__.py") for name in packages()}
    jobs[""] = "What every package needs: settings, columns, errors, files; `api` for notebooks."
    return "\n".join(
        [
            "| package | what for |",
            "|---|---|",
            *(f"| `{name or 'napari_tam'}/` | {jobs[name]} |" for name in jobs),
        ]
    )


def diagram() -> str:
    """Return the imports between packages as a Mermaid diagram, without those that follow from others.

    An arrow goes the way of the data: from what is imported to what imports it.
    """
    import grimp

    graph = grimp.build_graph("napari_tam")
    names = [name for name in packages() if name]
    below = {
        name: {
            module.split(".")[1]
            for each in {f"napari_tam.{name}", *graph.find_descendants(f"napari_tam.{name}")}
            for module in graph.find_modules_directly_imported_by(each)
            if module.count(".") and module.split(".")[1] in names and module.split(".")[1] != name
        }
        for name in names
    }
    reached: dict[str, set[str]] = {}
    for name in names:  # in order, so that what is below is known already
        reached[name] = below[name].union(*(reached[other] for other in below[name]))
    lines = ["```mermaid", "flowchart TD"]
    for name in names:
        needed = [
            other
            for other in names
            if other in below[name] and not any(other in reached[between] for between in below[name])
        ]
        if needed:
            lines.append(f"    {' & '.join(needed)} --> {name}")
    return "\n".join([*lines, "```"])


#: File name to the function that makes it.
PAGES = {
    "settings.md": settings_page,
    "columns.md": columns_page,
    "modules.md": modules_page,
    "architecture.md": architecture_page,
    "scripts.md": scripts_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
