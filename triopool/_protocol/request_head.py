"""The head of a request: checked before anything is taken or sent.

These are the rules of RFC 9110 and 9112 for what we send, and no parser's. They are stricter than
h11's: control characters have no business in a value, and what is legal alone must be legal
together. So an adaptor never has to refuse a head; it only writes it.

A head is written many times: a pool keeps those of its usual requests. What a parser makes of one
(h11 wants an object of its own) may take longer than all that the pool does for a request. So it
keeps that beside the head, in :attr:`Fields.kept` and :attr:`RequestHead.kept`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .._errors import LocalProtocolError
from .._version import __version__
from .heads import words_of

USER_AGENT = f"triopool/{__version__}"
"""What we call ourselves, to servers and to proxies."""

# RFC 9110 section 5.5: these have no business in a value.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_NOT_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")


class Fields:
    """The fields of a request, each of which is legal, and all of them together.

    Attributes:
      lines: names as they were written, and values; in order.
      ask_to_switch: whether they name another protocol for the connection to go on with.
      ask_to_close: whether they say that the connection ends with the response.
      body_length: of the body that follows; None if that is sent in chunks.
      kept: what a parser has made of them; for parsers of that kind only.
    """

    __slots__ = ("ask_to_close", "ask_to_switch", "body_length", "kept", "lines")

    def __init__(self, lines: list[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value in lines:
            values.setdefault(name.lower(), []).append(value)
        self.lines: list[tuple[bytes, bytes]] = lines
        self.ask_to_switch: bool = b"upgrade" in values
        self.ask_to_close: bool = b"close" in words_of(values.get(b"connection", ()))
        length = int(values.get(b"content-length", [b"0"])[0])
        self.body_length: int | None = None if b"transfer-encoding" in values else length
        self.kept: object = None


class RequestHead:
    """A request line and fields that are legal to send.

    Attributes:
      method, target: of the request line.
      fields: may be shared with other heads.
      may_switch: whether a response could turn the connection into something else than HTTP.
      kept: what a parser has made of it; for parsers of that kind only.
    """

    __slots__ = ("fields", "kept", "may_switch", "method", "target")

    def __init__(self, method: bytes, target: bytes, fields: Fields) -> None:
        self.method: bytes = method
        self.target: bytes = target
        self.fields: Fields = fields
        self.may_switch: bool = method == b"CONNECT" or fields.ask_to_switch
        self.kept: object = None


def write_head(head: RequestHead, fields: bytes) -> bytes:
    """A head as it goes over the wire; *fields* are its own, from :func:`write_fields`."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, head.target, fields)


def write_fields(fields: Fields) -> bytes:
    """Fields as they go over the wire; Host goes first (RFC 9110 section 7.2)."""
    lines = sorted(fields.lines, key=lambda line: line[0].lower() != b"host")
    return b"".join(b"%b: %b\r\n" % line for line in lines)


def make_head(method: str, target: str, fields: Iterable[tuple[Any, Any]]) -> RequestHead:
    """Check the head of a request, before anything is taken or sent.

    Raises:
      LocalProtocolError: it is not legal HTTP/1.1. A header is named; its value, which may be a
        secret, is not told.
    """
    line = _check_line(method, target)
    lines = [_check_field(name, value) for name, value in fields]
    return RequestHead(*line, _check_together(lines))


def make_head_like(
    head: RequestHead, method: str, target: str, more: Sequence[tuple[bytes, bytes]] = ()
) -> RequestHead:
    """:func:`make_head`, with the fields of another one, which need not be checked again.

    Args:
      more: fields that go behind those, checked each by itself, and of other names.
    """
    fields = head.fields
    if more:
        fields = Fields([*fields.lines, *more])
    return RequestHead(*_check_line(method, target), fields)


def head_of_the_last(head: RequestHead) -> RequestHead:
    """The same head, saying that the connection ends with the response (RFC 9112 section 9.6).

    Not if that could turn the connection into something else, which goes on.
    """
    fields = head.fields
    if fields.ask_to_close or head.may_switch:
        return head
    lines = [line for line in fields.lines if not _says_keep_alive(*line)]
    return RequestHead(head.method, head.target, Fields([*lines, (b"Connection", b"close")]))


def _says_keep_alive(name: bytes, value: bytes) -> bool:
    """Whether this field says that the connection does not end; many clients write it always."""
    return name.lower() == b"connection" and value.lower() == b"keep-alive"


def _check_line(method: str, target: str) -> tuple[bytes, bytes]:
    if not (method.isascii() and _NAME.fullmatch(sent_method := method.encode())):
        raise _not_legal("the method is not a token")
    if not (target.isascii() and _TARGET.fullmatch(sent_target := target.encode())):
        raise _not_legal("the target has characters that can't be sent")
    return sent_method, sent_target


def _check_field(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """A field as it is sent, of a request."""
    try:
        return sent_field(name, value)
    except ValueError as exc:
        raise _not_legal(str(exc)) from None


def sent_field(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    """A field as it is sent.

    Raises:
      ValueError: it can't be sent. The message names it, and does not tell its value.
    """
    sent_name = name.encode("utf-8", "replace") if isinstance(name, str) else name
    if not _NAME.fullmatch(sent_name):
        raise ValueError(f"the name of a header is not a token (it begins with {token_in(name)!r})")
    lower_name = sent_name.lower()
    if wrong := _what_is_wrong(lower_name, value):
        raise ValueError(f"the value of header {token_in(name)!r} can't be sent: {wrong}")
    if lower_name == b"transfer-encoding":
        return sent_name, b"chunked"  # In lower case: not all servers are lenient.
    return sent_name, value.encode("ascii") if isinstance(value, str) else bytes(value)


def _what_is_wrong(name: bytes, value: str | bytes) -> str | None:
    """What is illegal in the value of a header (RFC 9110 section 5.5); None if nothing is.

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
    if value != value.strip(b" \t"):
        return "it begins or ends with a blank"
    if name == b"content-length" and not _NUMBER.fullmatch(value):
        return "it is not a number"
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        return "it can only be 'chunked'"
    return None


def _check_together(lines: list[tuple[bytes, bytes]]) -> Fields:
    """Fields that each are legal: are they together? A length told twice is sent once."""
    names = [name.lower() for name, _ in lines]
    if (hosts := names.count(b"host")) != 1:
        what = "multiple Host fields" if hosts else "no Host field"
        raise _not_legal(f"{what} (RFC 9112 section 3.2)")
    if names.count(b"transfer-encoding") > 1:
        raise _not_legal("multiple Transfer-Encoding fields")
    if names.count(b"content-length") > 1:
        lines = _with_one_length(lines)
    return Fields(lines)


def _with_one_length(lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    first, *others = (line for line in lines if line[0].lower() == b"content-length")
    if any(value != first[1] for _, value in others):
        raise _not_legal("conflicting Content-Length fields")
    return [line for line in lines if line is first or line[0].lower() != b"content-length"]


def token_in(name: str | bytes) -> str:
    """A header's name, as far as it is a token: what follows may be a value that slipped in."""
    text = name if isinstance(name, str) else name.decode("latin-1")
    return _NOT_TOKEN.split(text, maxsplit=1)[0][:40]


def _not_legal(what: str) -> LocalProtocolError:
    return LocalProtocolError(f"the request is not legal HTTP/1.1: {what}", phase="write")
