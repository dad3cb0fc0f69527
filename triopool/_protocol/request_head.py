"""The head of a request: checked before anything is taken or sent, and ready to be written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import h11

from .._errors import LocalProtocolError

# RFC 9110 section 5.5: these have no business in a value. h11 refuses CR, LF and NUL only.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# The headers whose meaning h11 checks as well.
_MEANING = {
    "content-length": "it is not a number",
    "transfer-encoding": "it can only be 'chunked'",
}
_NOT_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")

Head: TypeAlias = h11.Request


def make_head(method: str, target: str, fields: Sequence[tuple[Any, Any]]) -> Head:
    """Check the head of a request, before anything is taken or sent.

    Raises:
      LocalProtocolError: it is not legal HTTP/1.1. A header is named; its value, which may be a
        secret, is not told.
    """
    head = _head_or_problem(method, target, fields)
    if isinstance(head, h11.Request):
        return head
    # Raised here and not where h11 raised: its exception quotes values, and would be the context.
    raise LocalProtocolError(
        f"the request is not legal HTTP/1.1: {_what_is_wrong(method, target, fields) or head}",
        phase="write",
    )


def make_head_like(head: Head, method: str, target: str) -> Head:
    """:func:`make_head`, with the fields of another one, which need not be checked again."""
    try:
        return h11.Request(method=method, target=target, headers=head.headers)
    except (UnicodeEncodeError, h11.LocalProtocolError):
        pass
    return make_head(method, target, head.headers.raw_items())  # Which says what is wrong.


def _head_or_problem(method: str, target: str, pairs: Sequence[tuple[Any, Any]]) -> Head | str:
    try:
        return h11.Request(method=method, target=target, headers=list(pairs))
    except UnicodeEncodeError:
        return "it is not ASCII"
    except h11.LocalProtocolError as exc:
        return str(exc)


def _what_is_wrong(method: str, target: str, pairs: Sequence[tuple[Any, Any]]) -> str | None:
    """Find the part that is illegal by itself; None if it is what they are together."""
    host = [("Host", "a")]
    if isinstance(_head_or_problem(method, "/", host), str):
        return "the method is not a token"
    if isinstance(_head_or_problem("GET", target, host), str):
        return "the target has characters that can't be sent"
    for name, value in pairs:
        text = name if isinstance(name, str) else name.decode("latin-1")
        if not text or _NOT_TOKEN.search(text):
            return f"the name of a header is not a token (it begins with {token_in(name)!r})"
        others = [] if text.lower() == "host" else host
        if isinstance(_head_or_problem("GET", "/", [*others, (name, value)]), str):
            why = _rule_broken_by(value) or _MEANING.get(text.lower(), "it is not legal")
            return f"the value of header {token_in(name)!r} can't be sent: {why}"
    return None


def token_in(name: str | bytes) -> str:
    """A header's name, as far as it is a token: what follows may be a value that slipped in."""
    text = name if isinstance(name, str) else name.decode("latin-1")
    return _NOT_TOKEN.split(text, maxsplit=1)[0][:40]


def _rule_broken_by(value: str | bytes) -> str | None:
    """What is illegal in the value of any header (RFC 9110 section 5.5); None if nothing is.

    Tells where and what, and quotes nothing: it may be a secret.
    """
    if isinstance(value, str):
        if not value.isascii():
            at = next(at for at, character in enumerate(value) if ord(character) > 127)
            return f"character {at} of {len(value)} is not ASCII (give bytes to send it as it is)"
        value = value.encode("ascii")
    if control := _CONTROL.search(value):
        at = control.start()
        return f"byte {at} of {len(value)} is a control character, 0x{value[at]:02x}"
    return "it begins or ends with a blank" if value != value.strip(b" \t") else None


def refuse_control_characters(name: bytes, value: bytes) -> None:
    """Raise LocalProtocolError for a value of which h11 would send control characters."""
    if _CONTROL.search(value):
        raise LocalProtocolError(
            f"the value of header {token_in(name)!r} can't be sent: {_rule_broken_by(value)}",
            phase="write",
        )
