"""The header fields of a request: the caller's, and before them those that the caller left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .._errors import LocalProtocolError
from .._protocol import request_head as _head

FieldText: TypeAlias = str | bytes
Field: TypeAlias = tuple[FieldText, FieldText]
Headers: TypeAlias = (
    Mapping[str, str] | Mapping[str, bytes] | Mapping[bytes, bytes] | Iterable[Field]
)


def read(headers: Headers) -> list[Field]:
    """The pairs of name and value that the caller gave. Checks their types, not what they say.

    Raises:
      TypeError: *headers* is no mapping and no iterable of pairs, or has something else in it
        than str and bytes.
    """
    items: Any = headers.items() if isinstance(headers, Mapping) else headers
    pairs = []
    for item in items if isinstance(items, Iterable) else [items]:
        match item:
            case (str() | bytes() as name, str() | bytes() as value):
                pairs.append((name, value))
            case (str() | bytes() as name, other):
                shown = _head.token_in(name)
                raise TypeError(
                    f"the value of header {shown!r} must be str or bytes, "
                    f"not {type(other).__name__}"
                )
            case _:
                raise TypeError("headers must be a mapping, or an iterable of (name, value) pairs")
    return pairs


def as_sent(given: Iterable[Field]) -> tuple[tuple[bytes, bytes], ...]:
    """Fields that go somewhere else than into a request, each of them checked.

    Raises:
      ValueError: one can't be sent. The message names it, and does not tell its value.
    """
    return tuple(_head.sent_field(name, value) for name, value in given)


def complete(given: Sequence[Field], wanted: Mapping[str, str]) -> list[Field]:
    """The fields of a request: those of *wanted* whose names are not *given*, then the given ones.

    Host goes first (RFC 9110 section 7.2).
    """
    names = names_of(given)
    lines: list[Field] = [
        (name, value) for name, value in wanted.items() if name.lower() not in names
    ]
    if "host" in names:
        return sorted([*lines, *given], key=lambda line: lower(line[0]) != "host")
    return [*lines, *given]


def without(given: Sequence[Field], names: frozenset[str]) -> list[Field]:
    """The fields whose names are not among *names*, which are in lower case."""
    return [(name, value) for name, value in given if lower(name) not in names]


def names_of(given: Sequence[Field]) -> set[str]:
    """Their names, in lower case."""
    return {lower(name) for name, _ in given}


def lower(name: FieldText) -> str:
    """A name as fields are compared: in lower case."""
    return (name if isinstance(name, str) else name.decode("latin-1")).lower()


def expects_continue(given: Sequence[Field]) -> bool:
    """Whether the body is to wait for 100 Continue (RFC 9110 section 10.1.1)."""
    return any(
        "100-continue" in (word.strip() for word in lower(value).split(","))
        for name, value in given
        if lower(name) == "expect"
    )


def check(fields: Iterable[tuple[bytes, bytes]], length: int | None) -> None:
    """Refuse what a lenient parser accepts, and what other parsers read differently.

    Args:
      fields: all fields of a request, as they will be sent.
      length: of the body in bytes; None if it is not known.

    Raises:
      LocalProtocolError: a control character; or the length of the body is said twice, or wrongly.
    """
    found = {}
    for name, value in fields:
        found[name.lower()] = value
    declared = found.get(b"content-length")
    if declared is None:
        return
    if b"transfer-encoding" in found:
        raise LocalProtocolError(
            "Content-Length and Transfer-Encoding exclude each other (RFC 9112 section 6.2)"
        )
    if length is not None and int(declared) != length:
        raise LocalProtocolError(f"Content-Length is not that of the body, {length}")
