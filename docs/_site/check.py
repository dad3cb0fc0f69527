"""Look at a site that has been built: ``python docs/_site/check.py FOLDER``.

mkdocs has looked its links and anchors up. This sees that each name of the reference has its place
there, that no page loads anything from elsewhere, and that no markup of Sphinx is left on it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

DOCS = Path(__file__).parents[1]
# What has no heading is the docstring of a module, and no name.
NAME = re.compile(r"^::: (\S+)$(?!\n    options:\n      show_root_heading: false)", re.MULTILINE)
ROLE = re.compile(r":(?:class|meth|func|data|attr|mod|exc):")


class Page(HTMLParser):
    """What a page loads, which places it has, and its text without the code."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.text: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.loads.append(found.get("src") or "")
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(found.get("href") or "")
        self.places.add(found.get("id") or "")
        self._code += tag in ("pre", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("pre", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text.append(data)


def problems(site: Path) -> Iterator[str]:
    """What is wrong with the site."""
    pages = {path: Page() for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        page.feed(path.read_text(encoding="utf-8"))
        name = path.relative_to(site)
        yield from (f"{name} loads {url}" for url in page.loads if re.match(r"(\w+:)?//", url))
        if found := ROLE.search("".join(page.text)):
            yield f"{name} has {found[0]} on it"
    for source in (DOCS / "reference").glob("*.md"):
        places = pages[site / "reference" / f"{source.stem}.html"].places
        for name in NAME.findall(source.read_text(encoding="utf-8")):
            if name not in places:
                yield f"{name} is not in the reference"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
