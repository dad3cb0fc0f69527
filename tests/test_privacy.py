"""What begins with an underscore belongs to its file: nobody reaches into another's private parts.

``other._x`` is fine in the file whose class (or whose module) defines ``_x``, as where two objects
of one class are compared. Anywhere else it says that a method is missing, or that the name is not
private.
"""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import files, name_of, room_of, rooms, tree_of

TESTS = Path(__file__).parent
OF_NAMED_TUPLES = {name for name in dir(collections.namedtuple("_", ())) if name[1] != "_"}
"""``_replace`` and its like: public, and with an underscore only so that no field is called so."""


def reached_into(room: str) -> list[str]:
    """Where the files of a room use a private name that is not their own."""
    return [
        f"{name_of(file)}:{line} uses {what}"
        for file in files()
        if room_of(file) == room
        for line, what in sorted(foreign_private_names(file))
    ]


def reached_into_by_tests(folder: str) -> list[str]:
    """Where the tests of a folder use a private name of the package: ``inside.py`` is for that."""
    ours = {name for file in files() for name in names_defined(tree_of(file)) if is_private(name)}
    return [
        f"tests/{file.relative_to(TESTS)}:{line} uses {what}"
        for file in sorted((TESTS / folder).rglob("*.py"))
        for line, what in sorted(foreign_private_names(file))
        if what.rpartition(".")[2] in ours and not what.startswith("trio.")
    ]


def folders_of_tests() -> list[str]:
    """But for the slot engine's, which stand beside it: they have ``slots/fakes.py``."""
    folders = {file.parent.name for file in TESTS.glob("*/*.py")}
    return sorted(folders - {"slots"})


def foreign_private_names(file: Path) -> Iterator[tuple[int, str]]:
    own = {*names_defined(tree_of(file)), *OF_NAMED_TUPLES}
    for node in ast.walk(tree_of(file)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield node.lineno, ast.unparse(node)
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=str() as name), *_],
            ) if is_private(name) and name not in own:
                yield node.lineno, ast.unparse(node)
            case ast.ImportFrom(names=aliases):
                for alias in aliases:
                    if is_private(alias.name) and not is_module(node, alias.name):
                        yield node.lineno, f"{alias.name} of {node.module}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_module(node: ast.ImportFrom, name: str) -> bool:
    """Whether a file or a room is meant, and not a name in it: ``from .. import _decoding``."""
    return node.module in (None, "triopool") and name in rooms()


def names_defined(tree: ast.Module) -> Iterator[str]:
    """Of the module, and of its classes: methods, fields, and what is set on self."""
    for node in ast.walk(tree):
        match node:
            case ast.Module(body=body) | ast.ClassDef(body=body):
                for statement in body:
                    yield from names_bound_by(statement)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def names_bound_by(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


@pytest.mark.parametrize("room", sorted(rooms()))
def test_nobody_reaches_into_anothers_private_parts(room: str) -> None:
    assert not reached_into(room)


@pytest.mark.parametrize("folder", folders_of_tests())
def test_tests_reach_private_parts_through_one_file(folder: str) -> None:
    assert not reached_into_by_tests(folder)
