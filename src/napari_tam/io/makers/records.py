"""XML files as streams of records: no tree in memory, no document type, so no entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

#: So many bytes are parsed at a time.
PIECE = 1 << 16

#: The key of an element's own text in its record.
TEXT = ""


def records(path: Path, names: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the elements of these names in the order in which they end.

    A record has the element's attributes, the texts of the elements in it by their names (the first of
    each), its own text as `TEXT`, and ``tag``. Prefixes of namespaces are left out.

    Raises
    ------
    InputError
        If the file cannot be read, is no XML, or declares a document type.
    """
    collector = _Collector(frozenset(names))
    parser: Any = expat.ParserCreate()
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.text
    parser.StartDoctypeDeclHandler = collector.refuse
    parser.buffer_text = True
    try:
        with path.open("rb") as stream:
            while piece := stream.read(PIECE):
                parser.Parse(piece, False)
                yield from collector.taken()
            parser.Parse(b"", True)
        yield from collector.taken()
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})", where=path) from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"this is no XML that can be read ({error})", where=path) from error


class _Collector:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._open: list[dict[str, str]] = []
        self._texts: list[str] = []
        self._done: list[dict[str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2]
        self._texts.append("")
        if tag in self._names:
            own = {key.rpartition(":")[2]: value for key, value in attributes.items()}
            self._open.append({**own, "tag": tag})

    def text(self, data: str) -> None:
        if self._open and self._texts:
            self._texts[-1] += data

    def end(self, name: str) -> None:
        tag, text = name.rpartition(":")[2], self._texts.pop().strip()
        if tag in self._names:
            self._done.append({TEXT: text, **self._open.pop()})
        elif self._open and text:
            self._open[-1].setdefault(tag, text)

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")

    def taken(self) -> list[dict[str, str]]:
        done, self._done = self._done, []
        return done
