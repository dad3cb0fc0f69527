"""A tunnel through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .._protocol.connect import Answer, Connect
from .._protocol.heads import NotLegal
from .asking import Asking, Errand, quote
from .line import Line

_QUOTED_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_SCHEME = re.compile(rb"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]++)(?:\s|$)")

_AND_HOW = "in its URL, or with Proxy(auth=)"
WANTS_CREDENTIALS = f"it wants credentials: {_AND_HOW}"
REFUSES_CREDENTIALS = "it does not accept these credentials"


class Tunnel:
    """The step of a dial that asks an HTTP proxy to open a tunnel, once.

    Args:
      errand: who is asked for what, for messages.
      host: where to; an IPv6 address without brackets.
      port: always told.
      fields: what the proxy is to get, its credentials included.
    """

    def __init__(
        self, errand: Errand, host: str, port: int, fields: Sequence[tuple[bytes, bytes]]
    ) -> None:
        self._errand = errand
        self._where = (host, port)
        self._fields = fields

    def doing(self, line: Line) -> str:
        return f"waiting for {self._errand.proxy} to open a tunnel"

    async def take(self, line: Line) -> None:
        """Ask, and wait for the answer; then the line leads to the host.

        Raises:
          ProxyError: there is no tunnel.
        """
        connect = Connect(*self._where, self._fields)
        asking = Asking(line, self._errand, "answer to CONNECT")
        await asking.send(connect.request)
        try:
            while (answer := connect.answer()) is None:
                connect.put(await asking.receive())
        except NotLegal as exc:
            raise self._errand.error(f"sent {exc}") from None
        if answer.status_code >= 300:
            raise self._errand.error(
                f"refused a tunnel to {self._errand.to}: {self._why(answer)}",
                status_code=answer.status_code,
                headers=answer.fields,
            )
        await asking.end(read_too_much=connect.has_rest)

    def _why(self, answer: Answer) -> str:
        status = f"{answer.status_code} {quote(answer.reason)}".rstrip()
        if said := b", ".join(_values(answer, b"proxy-status")):
            # RFC 9209: which proxy it was, and what was wrong with the next hop.
            status = f"{status} (Proxy-Status: {quote(said)})"
        if answer.status_code != 407:
            return status
        if any(name.lower() == b"proxy-authorization" for name, _ in self._fields):
            return f"{status}: {REFUSES_CREDENTIALS}"
        offered = _schemes(b",".join(_values(answer, b"proxy-authenticate")))
        if not offered:
            return f"{status}: {WANTS_CREDENTIALS}"
        return f"{status}: it wants credentials (it offers {quote(offered)}): {_AND_HOW}"


def _values(answer: Answer, wanted: bytes) -> list[bytes]:
    return [value for name, value in answer.fields if name.lower() == wanted]


def _schemes(challenges: bytes) -> bytes:
    """The names of the schemes in Proxy-Authenticate (RFC 9110 section 11.6.1), each once.

    Between commas stand schemes, each perhaps with its first parameter, and further parameters,
    whose names are followed by "=". Commas in quoted strings don't count.
    """
    parts = _QUOTED_STRING.sub(b'""', challenges).split(b",")
    found = [scheme[1] for part in parts if (scheme := _SCHEME.match(part))]
    return b", ".join(dict.fromkeys(found))
