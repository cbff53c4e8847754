"""XML of others as a stream of elements, by expat: no document type, no entity, bounded depth and text.

Guarantees: an element is given when it ends, with its path of local names, its attributes, its text and the line where
it began; nothing of the document is kept. A DOCTYPE is refused where it begins, before anything in it is read, so no
entity is ever declared (XXE, billion laughs). Does not: validate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from xml.parsers import expat

from schemas.provider_reports.model import BadReport

DEPTH_MAX: Final = 40
TEXT_CHARS_MAX: Final = 10_000  # of one element; what is longer is cut, and no amount or reference is
READ_BYTES: Final = 65_536


class XmlElement(NamedTuple):
    """An element at its end; or at its beginning, where `text` is None."""

    path: tuple[str, ...]  # local names, from the root to its own
    namespace: str  # of its name; "" without one
    attributes: Mapping[str, str]  # of the element, by local name
    text: str | None
    line: int  # where it began


class _Events:
    def __init__(self, place: str) -> None:
        self.place = place
        self.found: list[XmlElement] = []
        self._path: list[str] = []
        self._open: list[tuple[str, dict[str, str], int, list[str]]] = []
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def fault(self, message: str) -> BadReport:
        return BadReport(self.place, self.parser.CurrentLineNumber, "", message)

    def _doctype(self, *_: object) -> None:
        raise self.fault("it has a document type (DOCTYPE), which no statement of a bank has")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        self._path.append(local)
        if len(self._path) > DEPTH_MAX:
            raise self.fault(f"it is nested more than {DEPTH_MAX} deep")
        line = self.parser.CurrentLineNumber
        self._open.append((namespace, attributes, line, []))
        self.found.append(XmlElement(tuple(self._path), namespace, attributes, None, line))

    def _end(self, _name: str) -> None:
        namespace, attributes, line, texts = self._open.pop()
        text = "".join(texts).strip()
        self.found.append(XmlElement(tuple(self._path), namespace, attributes, text, line))
        self._path.pop()

    def _text(self, text: str) -> None:
        texts = self._open[-1][3]
        if sum(map(len, texts)) < TEXT_CHARS_MAX:
            texts.append(text[:TEXT_CHARS_MAX])


def elements(chunks: Iterable[bytes], place: str) -> Iterator[XmlElement]:
    """Beginnings and ends of elements, in their order. Raises BadReport for what is not XML, or is cut off."""
    events = _Events(place)
    try:
        for chunk in chunks:
            events.parser.Parse(chunk, False)
            yield from events.found
            events.found.clear()
        events.parser.Parse(b"", True)
        yield from events.found
    except expat.ExpatError as error:
        raise BadReport(place, error.lineno, "", f"not XML from here on ({expat.ErrorString(error.code)})") from None
