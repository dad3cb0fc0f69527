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

TIDY = (
    *("httpx", "httpx2", "_httpx", "_pool", "_client", "_exchange", "_dial", "_request"),
    *("_proxy", "_pool_key"),
    *("_protocol", "_transport", "_body", "_own_nursery", "_groups"),
    *("_instruments", "testing", "abc", "_errors", "_facts", "_statistics", "_origin", "_config"),
    *("_decoding", "_deadlines", "_charset", "_threads", "_control_c", "_trio_only"),
)
"""The rooms that keep to this; the others are being rebuilt. In the end: ``sorted(rooms())``."""

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


@pytest.mark.parametrize("room", TIDY)
def test_nobody_reaches_into_anothers_private_parts(room: str) -> None:
    assert not reached_into(room)


if __name__ == "__main__":  # python tests/test_privacy.py: what is left to be done
    for one in sorted(rooms()):
        for finding in reached_into(one):
            print(f"{one:13} {finding}")
