"""An extension for griffe, which reads the docstrings: makes Markdown of what they have of Sphinx.

In a docstring a name stands as ``:class:`triopool.Part```, so that editors and ``help()`` show it
well, and code stands below a line that ends with two colons. The site is made of Markdown.
"""

from __future__ import annotations

import ast
import re
from html import escape
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|data|attr|mod|exc):`(~?)([\w.]+)`")
_LITERAL = re.compile(
    r"^(?P<margin> *)(?P<lead>[^\n]*)::\n\n(?P<code>(?:(?P=margin) {4}[^\n]*\n|\n)+)", re.MULTILINE
)
# What a file says of its own length is for those who work on it.
_LENGTH = re.compile(r"^Long because (?:[^\n]+\n)+\n", re.MULTILINE)
_NO_PAIR = re.compile(r"^( +)The errors of ([^\n:]*:\w+:`[\w.]+`[^\n:]*)\.$", re.MULTILINE)


class Markdown(griffe.Extension):
    """Changes each docstring of a package, once all of it has been read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, found: griffe.Object) -> None:
        if found.is_class and _is_made_by_us(found):
            del found["__init__"]
        if found.docstring is not None:
            found.docstring.value = _as_markdown(found.docstring.value, found)
        for member in found.members.values():
            if not member.is_alias:
                self._visit(member)  # type: ignore[arg-type]


def _is_made_by_us(found: griffe.Object) -> bool:
    """Whether a class is none that programs make objects of: no argument of it is explained."""
    if "__init__" not in found.members or "dataclass" in found.labels:
        return False
    return found.docstring is not None and "Args:" not in found.docstring.value


def _as_markdown(text: str, found: griffe.Object) -> str:
    text = _LENGTH.sub("", text)
    # An item of a section "Raises" needs a name.
    text = _NO_PAIR.sub(r"\1The errors of \2: see there.", text)
    text = _LITERAL.sub(_fenced, f"{text}\n").rstrip("\n")
    return _ROLE.sub(lambda match: _reference(match[1], match[2], found), text)


def _fenced(match: re.Match[str]) -> str:
    margin, lead = match["margin"], match["lead"]
    code = "\n".join(line.removeprefix(f"{margin}    ") for line in match["code"].split("\n"))
    lines = (f"```{_language(code)}", *code.strip("\n").split("\n"), "```")
    fenced = "\n".join(f"{margin}{line}".rstrip() for line in lines)
    return (f"{margin}{lead}:\n\n" if lead else "") + f"{fenced}\n\n"


def _language(code: str) -> str:
    """Not all of it is Python: there are drawings, too."""
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"


def _reference(short: str, name: str, found: griffe.Object) -> str:
    """A link, if there is something to lead to: with ``optional``, it is mere code otherwise."""
    shown = escape(name.rpartition(".")[2] if short else name)
    identifier = escape(_path(name, found))
    return f'<autoref optional identifier="{identifier}"><code>{shown}</code></autoref>'


def _path(name: str, found: griffe.Object) -> str:
    """Where a name leads that stands in the docstring of *found*."""
    owner = found if found.is_class else found.parent
    if owner is not None and owner.is_class and name in owner.all_members:
        return f"{owner.path}.{name}"
    head = name.partition(".")[0]
    package = found.package
    for module in (package["testing"], package):
        if found.path.startswith(module.path) and head in module.members:
            return f"{module.path}.{name}"
    return name
