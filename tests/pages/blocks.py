"""The blocks of Python code in a page of Markdown, and what is to be done with each."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""All pages that readers see: the README, and those of the site."""


class Block(NamedTuple):
    """A block of Python code.

    Attributes:
      line: where it begins.
      how: what the comment above it says; empty if there is none.
      title: the name of the file that it is, if the page gives one.
      code: what is in it.
    """

    line: int
    how: str
    title: str
    code: str


_BLOCK = re.compile(
    r"(?:^<!-- run: ([^\n]*) -->\n\n?)?"
    r'^( *)```python(?: title="([^"\n]*)")?\n'
    r"(.*?)"
    r"^\2```$",
    re.MULTILINE | re.DOTALL,
)


def python_blocks(markdown: str) -> list[Block]:
    """The blocks of a page, in their order."""
    return [
        Block(
            line=markdown.count("\n", 0, match.start(4)),
            how=match[1] or "",
            title=match[3] or "",
            code=textwrap.dedent(match[4]),
        )
        for match in _BLOCK.finditer(markdown)
    ]


_KNOWN = re.compile(
    r"(?P<scheme>https?|wss?)://(?P<userinfo>\w+:\w+@)?(?:[a-z]+\.)?example\.(?:org|com)(?::\d+)?"
)


def with_our_server(code: str, url: str) -> str:
    """The code, with the server at *url* in the place of all hosts of example.org and example.com.

    That is plain http, or ws, whatever it was. A proxy's URL is replaced as well.
    """
    host = url.removeprefix("http://")

    def change(match: re.Match[str]) -> str:
        scheme = "ws" if match["scheme"].startswith("ws") else "http"
        return f"{scheme}://{match['userinfo'] or ''}{host}"

    return _KNOWN.sub(change, code)
