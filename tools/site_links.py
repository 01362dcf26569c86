"""For the documentation site, called by mkdocs: links out of docs/, and nothing from other servers.

The pages are read in the repository as well, where ``../models/`` is a link. The site has no such folder:
there the file is named. And the site is read on computers without internet, so no page may load anything
from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: A link out of the folder, as in ``[the card](../models/cells.json)``.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")
#: A picture, which is shown at the width of the text.
_PICTURE = re.compile(r"^!\[([^\]]+)\]\((images/[^)\s]+)\)$", re.MULTILINE)
#: What a browser loads by itself, and a link that a reader would have to click.
_LOADED = re.compile(r"<(?!a\b)\w+\b[^>]*?\b(?:src|href|srcset|data)=[\"']?(?:https?:)?//[^\s\"'>]+")
#: Where the site is itself, in ``<link rel="canonical">``.
_OWN = 'rel="canonical"'


def on_page_markdown(markdown: str, **_options: Any) -> str:
    """Name other files of the project; a click on a picture shows it alone (called for every page)."""
    markdown = _PICTURE.sub(r"[![\1](\2)](\2)", markdown)
    return _OUTSIDE.sub(
        lambda found: (
            found[1]
            if found[1].strip("`") == found[2].removeprefix("../")
            else f"{found[1]} (`{found[2].removeprefix('../')}` in the project's folder)"
        ),
        markdown,
    )


def loaded_from_elsewhere(html: str) -> list[str]:
    """Return the tags of a page by which it would ask another server."""
    return [tag for tag in _LOADED.findall(html) if _OWN not in tag]


def on_post_build(config: Any, **_options: Any) -> None:
    """Refuse a site with a page that asks another server (called by mkdocs at the end)."""
    from mkdocs.exceptions import PluginError

    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        found = loaded_from_elsewhere(path.read_text(encoding="utf-8"))
        if found:
            raise PluginError(f"{path.name} loads something from another server: {found[0]}")
