"""CONNECT, without any I/O: how a proxy is asked for a tunnel, and what it answers.

A request of its own kind: no body goes with it, and none of the answer's is ever read. After a 2xx
the connection is the tunnel, whatever Content-Length and Transfer-Encoding say (RFC 9110 section
9.3.6); after any other final status it is closed. So there is nothing to be framed, and what is
said about framing is not even looked at: a proxy that gets that wrong has opened a tunnel all the
same, or has told us why not. A parser of messages, h11, would refuse such a head.

The rest is as for every head: its form and its bounds are the scanner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .heads import Doubt, NotLegal, Told, split_fields
from .request_head import USER_AGENT, make_head, write_fields, write_head
from .scanner import NOTHING_TOLD, Scanner
from .seam import RawHeaders

MAX_INFORMATIONAL = 20
"""As many 1xx may come before the answer. As an exchange has it."""


class Answer(NamedTuple):
    """The final answer to CONNECT.

    Attributes:
      status_code: such as 200.
      reason: may be empty.
      fields: as they were sent.
    """

    status_code: int
    reason: bytes
    fields: RawHeaders


class Connect:
    """One CONNECT.

    Args:
      host: where to; an IPv6 address without brackets.
      port: always told.
      fields: what the proxy is to get, besides Host and User-Agent; nothing of a request.

    Raises:
      LocalProtocolError: a field is not legal.

    Attributes:
      request: what is to be sent.
    """

    def __init__(self, host: str, port: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        ours: list[tuple[str | bytes, str | bytes]] = [("Host", authority)]
        if all(name.lower() != b"user-agent" for name, _ in fields):
            ours.append(("User-Agent", USER_AGENT))
        head = make_head("CONNECT", authority, [*ours, *fields])
        self.request = write_head(head, write_fields(head.fields))
        self._scanner = Scanner(_without_doubt, _status_only)
        self._scanner.start(b"CONNECT")
        self._informational = 0

    def put(self, data: bytes) -> None:
        """Take in what has been read."""
        self._scanner.put(data)

    def answer(self) -> Answer | None:
        """The final answer; None if more has to be put in first.

        Raises:
          NotLegal: what came is not legal, or exceeds a bound.
        """
        while head := self._scanner.take_head():
            status = self._scanner.told.status
            if status >= 200:
                reason = head[13 : head.index(b"\r\n")]
                return Answer(status, reason, split_fields(head))
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise NotLegal(f"more than {MAX_INFORMATIONAL} informational responses")
        return None

    @property
    def has_rest(self) -> bool:
        """Whether something has been put in behind the head of a 2xx."""
        return self._scanner.has_rest


def _status_only(head: bytes, doubt: Doubt) -> Told:
    return NOTHING_TOLD._replace(status=int(head[9:12]))


def _without_doubt(why: object) -> None:
    """How others would read it matters for what is behind it, and there is nothing."""
