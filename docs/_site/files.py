"""A hook for mkdocs: what stands beside ``docs/`` in the repository is shown on the site as well.

The pages link to such files as one links in a repository (``../examples/streams.py``), so that they
can be read there, too. Here each of those files becomes a page, and the links lead to that.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    **{
        f"examples/{path.name}": f"examples/{path.stem}.md"
        for path in sorted((ROOT / "examples").glob("*.py"))
    },
}
"""The files, by their paths in the repository, and the pages that they become."""


def on_files(files: Files, *, config: Any) -> Files:
    """Add a page for each of the files, and one that lists the examples."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".py"):
            text = _page_of_example(source, text)
        else:
            text = _with_links(text, source, page)
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "examples/index.md", content=_list_of_examples()))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let the links to those files lead to their pages."""
    if page.file.generated_by is not None:
        return markdown
    return _with_links(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def _with_links(markdown: str, source: str, page: str) -> str:
    """The text of *source* with its relative links changed to what they are from *page*."""

    leads = PAGES | {"examples": "examples/index.md"}

    def change(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        leads_to = leads.get(target, target.removeprefix("docs/"))
        if leads_to == target:
            return match[0]
        relative = posixpath.relpath(leads_to, posixpath.dirname(page))
        return f"]({relative}{match[2] or ''})"

    return re.sub(r"\]\((?!https?://|#)([^)#\s]+)(#[^)\s]*)?\)", change, markdown)


def _page_of_example(source: str, text: str) -> str:
    name = source.rpartition("/")[2]
    return f'# {name}\n\n```python title="{source}"\n{text}```\n'


def _list_of_examples() -> str:
    lines = [
        "# Examples",
        "",
        "Each of them is a whole program. It starts its own servers on this machine, shows "
        "something, and ends by itself: `python examples/quickstart.py`, in a checkout, after "
        '`pip install -e ".[examples]"`.',
        "",
    ]
    for source in PAGES:
        name = source.rpartition("/")[2]
        if not source.startswith("examples/") or name.startswith("_"):
            continue
        about = ast.get_docstring(ast.parse((ROOT / source).read_text(encoding="utf-8"))) or ""
        lines.append(f"- [{name}]({name.removesuffix('.py')}.md): {_first_sentence(about)}")
    lines += [
        "",
        "They share [_server.py](_server.md) and [_proxy.py](_proxy.md).",
        "",
    ]
    return "\n".join(lines)


def _first_sentence(docstring: str) -> str:
    return " ".join(docstring.partition("\n\n")[0].split())
