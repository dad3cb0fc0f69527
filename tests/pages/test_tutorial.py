"""The tutorial is followed word by word: its files are saved, its commands typed, its output seen.

In what a page shows as output, ``...`` stands for anything on that line, and so does each decimal
number for another one. Port 8000 is replaced by one that the system chooses.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from pages.blocks import ROOT, python_blocks
from pages.python import run_python

TUTORIAL = ROOT / "docs" / "tutorial"

PAGES = ["index", "requests", "together", "bodies", "crawler", "testing"]
"""In the order in which they are read."""

SESSION = re.compile(
    r"^```console\n\$ (python [^\n]*\.py[^\n]*)\n(.+?)^```$", re.MULTILINE | re.DOTALL
)


def read(page: str) -> str:
    return (TUTORIAL / f"{page}.md").read_text(encoding="utf-8")


def test_the_tutorial_has_these_pages_in_this_order() -> None:
    assert {path.stem for path in TUTORIAL.glob("*.md")} == set(PAGES)
    for page, following in itertools.pairwise(PAGES):
        assert re.search(rf"Next: \[[^\]]+\]\({following}\.md\)\.\n\Z", read(page))


def test_the_crawler_has_80_lines_at_most() -> None:
    [crawler] = python_blocks(read("crawler"))
    assert len(crawler.code.splitlines()) <= 80


async def test_who_follows_the_tutorial_sees_what_it_says(tmp_path: Path) -> None:
    programs = {block.title: block.code for page in PAGES for block in python_blocks(read(page))}
    assert "" not in programs
    sessions = [(page, *found) for page in PAGES for found in SESSION.findall(read(page))]
    # What is started in the background, and what the reader is to see last.
    assert sessions.pop(0)[1] == "python library.py"
    library = programs.pop("library.py").replace(", 8000,", ", 0,")
    (tmp_path / "library.py").write_text(library, encoding="utf-8")
    async with library_at(tmp_path) as port:
        for name, code in programs.items():
            (tmp_path / name).write_text(code.replace(":8000", f":{port}"), encoding="utf-8")
        async with trio.open_nursery() as nursery:
            for page, command, expected in sessions:
                nursery.start_soon(follow, tmp_path, port, f"{page}: {command}", expected)
    shown = " ".join(command for _, command, _ in sessions)
    assert not [name for name in programs if name not in shown]


async def follow(folder: Path, port: int, where: str, expected: str) -> None:
    """Type a command, and see what it prints."""
    command = where.partition(": ")[2].replace(":8000", f":{port}")
    status, output = await run_python(*shlex.split(command)[1:], cwd=folder, COLUMNS="80")
    assert status == 0, f"{where}\n{output}"
    seen = output.replace(f":{port}", ":8000")
    assert re.fullmatch(pattern(expected), seen), f"{where}\n{seen}"


@asynccontextmanager
async def library_at(folder: Path) -> AsyncIterator[int]:
    """Run the server of the tutorial; its port."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-W", "error", "library.py"],
                cwd=folder,
                stdout=subprocess.PIPE,
                check=False,
            )
        )
        said = b""
        while not said.endswith(b"\n"):
            said += await process.stdout.receive_some()
        announced = re.fullmatch(rb"The library is open at port (\d+)\s+", said)
        assert announced, said
        yield int(announced[1])
        nursery.cancel_scope.cancel()


def pattern(expected: str) -> str:
    """A regular expression for what is shown."""
    parts = re.split(r"(\.\.\.(?=\n)|\d+\.\d+)", expected)
    return "".join(
        ".*" if part == "..." else r"\d+\.\d+" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )


@pytest.mark.parametrize(
    ("expected", "seen", "is_it"),
    [
        ("in 0.2 s\n", "in 13.5 s\n", True),
        ("in 0.2 s\n", "in a s\n", False),
        ("why: ...\nthen\n", "why: not\nthen\n", True),
        ("why: ...\nthen\n", "why: not\n", False),
        ("a.b\n", "axb\n", False),
    ],
)
def test_output_is_compared_but_for_what_may_differ(expected: str, seen: str, is_it: bool) -> None:
    assert (re.fullmatch(pattern(expected), seen) is not None) == is_it
