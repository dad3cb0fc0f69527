"""What a test says about its servers, checked where it says it: a mistake in a test should not look
like a mistake of the client."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Pairs: TypeAlias = Sequence[tuple[str, str]]
Fields: TypeAlias = Mapping[str, str] | Pairs


def check_seconds(name: str, value: object) -> None:
    """Accept zero, a positive number, or infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more seconds, not {value!r}")


def check_count(name: str, value: object, *, least: int, most: float = math.inf) -> None:
    """Accept a whole number from *least* to *most*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if not least <= value <= most:
        limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name} must be {limits}, not {value!r}")


def check_bool(name: str, value: object) -> None:
    """Accept True and False only."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def check_bytes(name: str, value: object) -> None:
    """Accept bytes only: text has no encoding of its own."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be bytes, not str: encode it, as in {name}='...'.encode()")
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {value!r}")


def check_callable(name: str, value: object) -> None:
    """Accept what can be called, but a class is a forgotten pair of parentheses."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be an object that can be called: {value.__name__}(...)")
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")


def read_fields(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    """Header fields as pairs, whether they are given as a mapping or as pairs.

    Raises:
      TypeError: they are neither, or a name or a value is not a str.
    """
    given = value.items() if isinstance(value, Mapping) else value
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a mapping, or pairs of name and value, not {value!r}")
    pairs = []
    for pair in given:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and _are_str(pair)):
            raise TypeError(f"{name} must hold pairs of name and value, both str, not {pair!r}")
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _are_str(pair: Iterable[object]) -> bool:
    return all(isinstance(part, str) for part in pair)
