"""Write docs/settings.md from `napari_tam.settings.Settings` (make format does it; a test checks it)."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from napari_tam.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Every parameter of an analysis. `napari-tam settings` writes them all, with their defaults and comments, as a
YAML file to edit; `napari-tam analyse … --settings FILE` reads it. What the file leaves out keeps its
default, and a name that is not below is refused. The plugin's form shows those marked with a star.

<!-- Made from src/napari_tam/settings.py by tools/settings_page.py: change it there. -->
"""


def page() -> str:
    """Return the page as Markdown."""
    properties = Settings.model_json_schema()["properties"]
    sections = [HEAD]
    for group, names in groupby(properties, key=lambda name: properties[name]["group"]):
        rows = [row(name, properties[name]) for name in names]
        head = f"## {group.capitalize()}\n\n| name | default | values | meaning |\n|---|---|---|---|\n"
        sections.append(head + "\n".join(rows) + "\n")
    return "\n".join(sections)


def row(name: str, schema: dict[str, Any]) -> str:
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
    names = {"boolean": "`true`, `false`", "string": "text", "object": "`role: channel` pairs"}
    return " ".join(limits) or names.get(schema.get("type", ""), "number")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
