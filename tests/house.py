"""The files of the package, read as text: which rooms there are, and which file imports which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import triopool

PACKAGE = Path(triopool.__file__).parent
FRONT_DOOR = PACKAGE / "__init__.py"


def files() -> list[Path]:
    """All files of the package but the front door, which is there to import from everywhere."""
    return sorted(set(PACKAGE.rglob("*.py")) - {FRONT_DOOR})


def room_of(file: Path) -> str:
    """The room of a file: the folder in which it is, or the file itself on the ground floor."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(file: Path) -> str:
    """As in an import, behind ``triopool.``: ``_slots.engine``, ``_slots`` for its __init__."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def rooms() -> set[str]:
    return {room_of(file) for file in files()}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def modules() -> frozenset[str]:
    return frozenset(map(name_of, files()))


def imported_by(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports, those for type checking included."""
    folder = file.relative_to(PACKAGE).parent.parts
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("triopool."):
                    yield alias.name.removeprefix("triopool.")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - node.level + 1]
                whole = ".".join([*base, *([node.module] if node.module else [])])
            elif node.module == "triopool" or (node.module or "").startswith("triopool."):
                whole = (node.module or "").removeprefix("triopool").removeprefix(".")
            else:
                continue
            for alias in node.names:
                # A name in a module, or a module in a room.
                inner = f"{whole}.{alias.name}".removeprefix(".")
                yield inner if inner in modules() else whole
