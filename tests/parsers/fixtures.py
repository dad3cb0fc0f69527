"""Every response that any test has its servers send, found in the source of the tests.

So whoever writes down a new one somewhere has it tried with both parsers, and need not know that.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parent.parent
FOLDERS = ("exchange", "fuzz", "pool", "dial", "transports", "soak")
MOST_BYTES = 200_000


@cache
def fixtures() -> list[bytes]:
    """Each once, in an order that is the same each time."""
    found = (
        raw
        for folder in FOLDERS
        for file in sorted((TESTS / folder).glob("*.py"))
        if file.stem != "fuzz_responses"  # It needs atheris.
        for raw in _written_in(file)
    )
    return list(dict.fromkeys(found))


def _written_in(file: Path) -> Iterator[bytes]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    module = importlib.import_module(f"{file.parent.name}.{file.stem}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.BinOp | ast.Call) and _is_plain(node, module):
            value = _value_of(node, module)
            if isinstance(value, bytes) and _looks_like_a_response(value):
                yield value


def _is_plain(node: ast.expr, module: ModuleType) -> bool:
    """Whether it is made of nothing but constants, and of functions that make bytes of them."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return isinstance(getattr(module, name, None), bytes | int)
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.Mod(), right=right):
            return _is_plain(left, module) and _is_plain(right, module)
        case ast.Tuple(elts=parts):
            return all(_is_plain(part, module) for part in parts)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            function = getattr(module, name, None)
            arguments = [*args, *(keyword.value for keyword in keywords)]
            makes = getattr(function, "__annotations__", {}).get("return")
            return (
                makes == "bytes"
                and not inspect.iscoroutinefunction(function)
                and all(_is_plain(part, module) for part in arguments)
            )
    return False


def _value_of(node: ast.expr, module: ModuleType) -> object:
    code = compile(ast.Expression(node), module.__name__, "eval")
    try:
        return eval(code, vars(module))
    except TypeError:
        return None  # It divides, or is of text.


def _looks_like_a_response(value: bytes) -> bool:
    return len(value) <= MOST_BYTES and (b"\n" in value or value.startswith(b"HTTP"))
