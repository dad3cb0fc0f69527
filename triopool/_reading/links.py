"""The Link field: where else a response points to (RFC 8288). No I/O.

Read as its appendix B says, which takes what servers send, and stops at what it can't understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

# A value in quotes, perhaps without its end; a "\" takes what follows as it is.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)\\?"?', re.DOTALL)
_NAME = re.compile(r"[^ \t=;,]*+")
_VALUE = re.compile(r"[^;,]*+")
_SPACE = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"[ \t,]*+")
# RFC 8187: charset, language, and the text, percent-encoded.
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*+'(.*+)", re.IGNORECASE)
# Of these the first one counts.
_ONCE = frozenset({"rel", "media", "title", "title*", "type", "anchor"})


@dataclass(frozen=True, slots=True)
class Link:
    """A link that a response has in its head.

    Attributes:
      url: where it leads: absolute if it is http or https, whatever the server wrote. Without
        credentials. It is what a server says: look at its host before you send secrets there.
      rel: the relation type, such as ``"next"``, in lower case.
      attributes: its other parameters, such as ``title`` and ``type``, by name in lower case.
    """

    url: str
    rel: str
    attributes: Mapping[str, str]

    def __hash__(self) -> int:
        return hash((self.url, self.rel))


def read_links(value: str) -> Iterator[Link]:
    """The links of a field's value; their URLs are as they were written.

    One link for each relation type. Those with an ``anchor`` are links of something else than the
    response, and are left out.
    """
    at = 0
    while True:
        at = _end(_BETWEEN, value, at)
        if value[at : at + 1] != "<":
            return
        end = value.find(">", at)
        if end < 0:
            return
        target = value[at + 1 : end].strip()
        at, parameters = _parameters(value, end + 1)
        relations = parameters.pop("rel", "").lower().split()
        title = parameters.pop("title*", None)
        if title is not None:
            parameters["title"] = title
        if "anchor" not in parameters:
            for rel in dict.fromkeys(relations):
                yield Link(target, rel, parameters)


def _parameters(value: str, at: int) -> tuple[int, dict[str, str]]:
    found: dict[str, str] = {}
    while True:
        at = _end(_SPACE, value, at)
        if value[at : at + 1] != ";":
            return at, found
        start = _end(_SPACE, value, at + 1)
        at = _end(_NAME, value, start)
        name, text = value[start:at].lower(), ""
        at = _end(_SPACE, value, at)
        if value[at : at + 1] == "=":
            at = _end(_SPACE, value, at + 1)
            at, text = _value(value, at)
        if name.endswith("*"):
            extended = _EXTENDED.fullmatch(text)
            if extended is None:
                continue
            text = unquote(extended[2], encoding=extended[1], errors="replace")
        if name and not (name in _ONCE and name in found):
            found[name] = text


def _value(value: str, at: int) -> tuple[int, str]:
    quoted = _QUOTED.match(value, at)
    if quoted is not None:
        return quoted.end(), re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    end = _end(_VALUE, value, at)
    return end, value[at:end].strip()


def _end(pattern: re.Pattern[str], value: str, at: int) -> int:
    match = pattern.match(value, at)
    assert match is not None  # Each of them may be empty.
    return match.end()
