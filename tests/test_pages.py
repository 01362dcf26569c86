"""The pages for readers: links, commands, pictures and quotes are true, on the site and in the repository."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from paths import PACKAGE, ROOT

from napari_tam.cli.commands import COMMANDS, build
from napari_tam.cli.main import _parse, main

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
#: Programs that are named besides: of Python, of the system, of other projects.
OTHERS = {"cd", "git", "napari", "py", "python", "python3", "source", "sudo", "uv", "xcode-select"}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its code."""
    return SPAN.sub("", BLOCK.sub("", text_of(page)))


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown_commands() -> list[str]:
    """Return the command lines in the code blocks, their continuations joined."""
    commands = set()
    for page in PAGES:
        for language, block in BLOCK.findall(text_of(page)):
            if language not in ("sh", "bash", "console"):
                continue
            lines = [line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
            commands |= {line for line in lines if line and not line.startswith("#")}
    return sorted(commands)


def mentioned_commands() -> list[str]:
    """Return what is named in a sentence, often without all that the command needs."""
    found = {span for page in PAGES for span in SPAN.findall(BLOCK.sub("", text_of(page)))}
    return sorted(span for span in found if re.match(r"napari-tam [a-z]", span))


@pytest.mark.parametrize("command", shown_commands())
def test_commands_in_the_pages_are_real(command: str) -> None:
    words = shlex.split(re.split(r" [>|] ", command)[0])
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] == "napari-tam":
        assert _parse(words[1:]).command == words[1]  # or it ends the program with a message
    elif "pip" in words:
        for extra in re.findall(r"(?:\.|napari-tam)\[([\w,-]+)\]", command):
            assert set(extra.split(",")) <= set(EXTRAS)
    else:
        assert words[0] in OTHERS or words[0].startswith(".venv")


@pytest.mark.parametrize("span", mentioned_commands())
def test_commands_in_sentences_have_their_options(span: str) -> None:
    words = span.split()
    if "|" in words[1]:  # a choice of commands
        return
    assert words[1] in {command.name for command in COMMANDS}
    known = build(words[1])[1][words[1]]._option_string_actions
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= set(known)


def slugs(page: Path) -> tuple[set[str], set[str]]:
    """Return the anchors of a page's headings: as on the site, and as on a forge."""
    site, forge = set(), set()
    for heading in re.findall(r"^#+ (.+)$", BLOCK.sub("", text_of(page)), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower().strip()
        kept = re.sub(r"[^\w\s-]", "", words)
        site.add(re.sub(r"[-\s]+", "-", kept).strip("-"))
        forge.add(kept.replace(" ", "-"))
    return site, forge


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the project"
        if anchor:
            for known in slugs(target):
                assert anchor in known, f"{page.name}: {link}"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))

    def pages(part: object) -> list[str]:
        if isinstance(part, str):
            return [part]
        parts = part.values() if isinstance(part, dict) else part
        return [page for each in parts for page in pages(each)]  # type: ignore[attr-defined]

    named = pages(site["nav"])
    assert len(named) == len(set(named))
    assert set(named) == {path.name for path in DOCS.glob("*.md")}
    for page in named:  # and in the list for who reads them in the repository
        assert page == "index.md" or f"({page})" in text_of(DOCS / "index.md"), page


def test_the_site_loads_nothing_from_other_servers() -> None:
    site = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    assert site["theme"]["font"] is False
    assert all((DOCS / script).is_file() for script in site["extra"]["polyfills"])
    look = tool("site_links").loaded_from_elsewhere
    for tag in (
        '<script src="https://unpkg.com/shim"></script>',
        "<link rel=stylesheet href=//fonts.example/a.css>",
        "<img alt='a' src='http://example.org/a.png'>",
    ):
        assert len(look(f"<p>{tag}</p>")) == 1, tag
    for tag in (
        '<script src="javascripts/shim.js"></script>',
        '<a href="https://napari.org">napari</a>',
        '<link rel="canonical" href="https://example.org/index.html">',
        '<p>write src="https://example.org"</p>',
    ):
        assert look(tag) == [], tag


def test_links_out_of_the_folder_are_named_on_the_site() -> None:
    turn = tool("site_links").on_page_markdown
    assert turn("see [the README](../README.md).") == "see the README (`README.md` in the project's folder)."
    assert turn("see [`models/`](../models/).") == "see `models/`."
    assert turn("see [there](uptake.md#positive).") == "see [there](uptake.md#positive)."
    for page in DOCS.glob("*.md"):
        assert "](../" not in turn(text_of(page)), page.name


def test_every_picture_is_there_is_shown_and_is_small() -> None:
    shown = set()
    for page in PAGES:
        for says, path in PICTURE.findall(BLOCK.sub("", text_of(page))):
            picture = (page.parent / path).resolve()
            assert picture.is_file(), f"{page.name}: {path}"
            assert says, f"{page.name}: nothing describes {path}"
            shown.add(picture)
    assert shown == set((DOCS / "images").glob("*.png"))
    assert max(picture.stat().st_size for picture in shown) < 200_000
    noted = json.loads(text_of(DOCS / "images" / "pictures.json"))
    assert set(noted) == {picture.name for picture in shown}


def messages() -> list[str]:
    """Return every text in the code; what is filled in is an ellipsis."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_what_people_are_told_to_ask_about_is_said_by_the_program() -> None:
    known = messages()
    quotes = re.findall("^\\| (.*?“[^|]+”) \\|", text_of(DOCS / "faq.md"), re.MULTILINE)
    asked = [quote for row in quotes for quote in re.findall("“([^”]+)”", row)]
    assert len(asked) >= 20
    for quote in asked:
        pattern = re.compile(".*".join(re.escape(piece) for piece in quote.split("…")))
        assert any(pattern.search(text) for text in known), quote


def test_figures_in_the_tutorial_are_of_the_present_networks_and_defaults() -> None:
    noted, present = json.loads(text_of(DOCS / "tutorial_terminal.json")), tool("tutorial").made_with()
    for part, values in noted.items():  # a setting more may be there, of which the default changes nothing
        changed = [name for name, value in values.items() if present[part].get(name) != value]
        assert not changed, f"{part} {changed}: run tools/tutorial.py"


def test_the_tutorial_keeps_what_it_showed_of_an_output() -> None:
    kept = tool("tutorial").kept
    assert kept("a\n…\nz", "1\n2\n3\n4\n") == "1\n…\n4"
    assert kept("a\nb\n…", "1\n2\n3\n") == "1\n2\n…"
    assert kept("One thing. Two things. …", "First one (1.2). Then two.\n\nThird. Last.") == (
        "First one (1.2). Then two. …"
    )
    assert kept("old", "new  \nlines\n") == "new\nlines"


def test_the_tutorial_shows_what_its_first_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, tutorial = text_of(DOCS / "tutorial_terminal.md"), tool("tutorial")
    monkeypatch.chdir(tmp_path)
    (simulate, _), (dry_run, shown) = [
        (step["command"], step["printed"]) for step in tutorial.STEP.finditer(page)
    ][:2]
    assert main(shlex.split(simulate)[1:]) == 0
    capsys.readouterr()
    assert "\n".join(Path("plate/layout.csv").read_text().splitlines()[:5]) in page
    assert main(shlex.split(dry_run)[1:]) == 0
    assert tutorial.kept(shown, capsys.readouterr().out) == shown
    layout = Path("plate/layout.csv")
    layout.write_text(layout.read_text().replace("B03", "B33", 1))
    assert main(shlex.split(dry_run)[1:]) != 0
    assert capsys.readouterr().err.strip() in page
