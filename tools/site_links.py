"""For the documentation site: files outside of docs/, which it has not, are named instead of linked."""

from __future__ import annotations

import re
from typing import Any

#: A link out of the folder, as in ``[the card](../models/cells.json)``.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, **_options: Any) -> str:
    """Turn links to other files of the project into their names (called by mkdocs for every page)."""
    return _OUTSIDE.sub(
        lambda found: (
            found[1]
            if found[1].strip("`") == found[2].removeprefix("../")
            else f"{found[1]} (`{found[2].removeprefix('../')}` in the project's folder)"
        ),
        markdown,
    )
