"""Run the blocks of one page: ``python -W error run_page.py PAGE URL``, in an empty folder.

All blocks of a page run in one process, so that Python starts once and not forty times. A traceback
shows the line of the page. What a comment above a block says, which a reader does not see:

* nothing: the block is a program of its own.
* ``run: in a pool``: it is the body of an async function in which ``pool`` is open, ``url`` is the
  server's, and trio and triopool are imported. What blocks of this kind have defined further up on
  the page is known here, too.
* ``run: as a test``: it is a file of tests, for pytest with pytest-trio and our fixtures.
* ``run: skip, because ...``: it is not run at all.

A block that imports what is not installed here is left out.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import trio
from blocks import Block, python_blocks, with_our_server

import triopool

FOR_TESTS = ("-q", "-W", "error", "-p", "triopool.testing.fixtures", "-o", "trio_mode=true")


def main(page: Path, url: str) -> None:
    """Run all blocks of the page."""
    text = page.read_text(encoding="utf-8")
    linecache.cache[str(page)] = (len(text), None, text.splitlines(keepends=True), str(page))
    known: dict[str, Any] = {"trio": trio, "triopool": triopool, "url": f"{url}/"}
    for block in python_blocks(text):
        if block.how.startswith("skip, because "):
            continue
        if lacking := _not_installed(block):
            print(f"line {block.line}: left out, for {lacking} is not installed")
            continue
        block = block._replace(code=with_our_server(block.code, url))
        match block.how:
            case "":
                _run_program(page, block)
            case "in a pool":
                trio.run(_run_in_a_pool, page, block, known)
            case "as a test":
                _run_tests(block)
            case _:
                raise ValueError(f"{page}, line {block.line}: what is {block.how!r}?")


def _run_program(page: Path, block: Block) -> None:
    file = Path("block.py")
    file.write_text(block.code, encoding="utf-8")
    # A module of its own: it knows nothing of ours, and dataclasses, say, look it up.
    ours = sys.modules["__main__"]
    sys.modules["__main__"] = module = ModuleType("__main__")
    module.__file__ = str(file)
    try:
        exec(_compiled(page, block), vars(module))
    finally:
        sys.modules["__main__"] = ours


async def _run_in_a_pool(page: Path, block: Block, known: dict[str, Any]) -> None:
    async with triopool.ConnectionPool() as pool:
        known["pool"] = pool
        result = eval(_compiled(page, block), known)
        if inspect.iscoroutine(result):
            await result


def _run_tests(block: Block) -> None:
    import pytest  # Here, because that takes as long as many a page.

    file = Path(f"test_line_{block.line}.py")
    file.write_text(block.code, encoding="utf-8")
    if pytest.main([*FOR_TESTS, str(file)]) != 0:
        sys.exit(1)


def _compiled(page: Path, block: Block) -> Any:
    tree = ast.parse(block.code, filename=str(page))
    ast.increment_lineno(tree, block.line)
    return compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _not_installed(block: Block) -> str | None:
    names = [
        name
        for node in ast.walk(ast.parse(block.code))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    heads = (name.partition(".")[0] for name in names)
    return next((name for name in heads if importlib.util.find_spec(name) is None), None)


def _fail(unraisable: Any) -> None:
    sys.__unraisablehook__(unraisable)
    _unraisable.append(unraisable.exc_value)


_unraisable: list[object] = []

if __name__ == "__main__":
    sys.unraisablehook = _fail
    main(Path(sys.argv[1]), sys.argv[2])
    if _unraisable:
        sys.exit("something was left to the garbage collector: see above")
