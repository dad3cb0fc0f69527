"""Names and values as text: the fields of a form, and the parameters of a query."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

Scalar: TypeAlias = str | int | float | bool | None
# Any, and not "Scalar | Iterable[Scalar]": type checkers give up on a literal dict with both.
Params: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Scalar]]


def encode_pairs(pairs: Any, what: str) -> str:
    """Encode a query or a form; a name whose value is a list is repeated for each element.

    Args:
      pairs: a mapping, or pairs of name and value.
      what: what to call it in an error's message: "form" or "params".

    Raises:
      TypeError: a name is no str, or a value is neither a :data:`Scalar` nor a list of them.
      ValueError: some text can't be encoded as UTF-8. The message does not quote it.
    """
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        hint = ""
        if isinstance(pairs, str):
            whole = "the URL, behind a '?'" if what == "params" else "content="
            hint = f": what is encoded already goes into {whole}"
        raise TypeError(
            f"{what} must be a mapping, or an iterable of (name, value) pairs, "
            f"not {type(pairs).__name__}{hint}"
        )
    flat: list[tuple[str, str]] = []
    for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if not isinstance(name, str):
            raise TypeError(f"a name in {what} must be a str, not {type(name).__name__}")
        is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        flat.extend((name, _text(what, name, one)) for one in (value if is_list else [value]))
    try:
        return urlencode(flat)
    except UnicodeEncodeError:
        pass
    # Raised out here, so that it has no context: Python's own error quotes the value.
    raise ValueError(f"{what} has half a surrogate pair in it")


def as_text(value: object) -> str | None:
    """A value of a query or a form, as text: booleans as JSON has them, None as an empty one.

    Returns None if *value* has no such text: it is no :data:`Scalar`.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
    return None


def _text(what: str, name: str, value: object) -> str:
    text = as_text(value)
    if text is not None:
        return text
    hint = ""
    if what == "form" and isinstance(value, bytes | os.PathLike):
        hint = ": a file goes into multipart="
    raise TypeError(
        f"{name!r} in {what} must be a str, a number, a bool or None, "
        f"not {type(value).__name__}{hint}"
    )
