"""SOCKS 4, 4a and 5 without any I/O, and the step of a dial that speaks it.

A dialogue is a generator. It yields what is to be sent (perhaps nothing) and how many bytes are to
be read then, is given exactly that many, and returns when the proxy has connected. So an answer may
come in whatever pieces, and not a byte of what is behind it is ever taken for a part of it.

RFC 1928 (SOCKS 5), RFC 1929 (name and password), and Ying-Da Lee's two memos on SOCKS 4 and 4a.

Proxies are careless about all but the code. They send refusals of two or three bytes, addresses of
kind 0, the wrong version before a status. So a code other than success is final as soon as it is
here, and what a proxy says of its own address is skipped.

No library: those that there are read an answer by packets, take what is no SOCKS for it, or open
the socket themselves. ``docs/design.md`` has the table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Sequence
from typing import TypeAlias

from .asking import Asking, Errand
from .line import Line

Dialogue: TypeAlias = Generator[tuple[bytes, int], bytes, None]

MOST_BYTES = 255
"""Of a name, a user and a password: their lengths are told in one byte."""

_REFUSALS_5 = {
    1: "it has failed, and does not say why",
    2: "its rules don't allow it",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "it took too long",
    7: "it does not know this command",
    8: "it does not know this kind of address",
}
_REFUSALS_4 = {
    91: "it was rejected, or has failed",
    92: "it wants an identd that answers on our machine",
    93: "our identd names another user",
}
_GRANTED_4 = 90
_NO_PASSWORD, _WITH_PASSWORD, _NOTHING_ACCEPTED = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
# Some proxies fill the rest of an answer with zeros: as long as one with an IPv4 address.
_LENGTHS = {0: 4, _IPV4: 4, _IPV6: 16}
_OTHER_VERSIONS = {
    b"\0": "SOCKS 4: is it a socks4:// proxy?",
    b"\x04": "SOCKS 4: is it a socks4:// proxy?",
    b"\x05": "SOCKS 5: is it a socks5:// proxy?",
}


class Failed(Exception):
    """The proxy did not do as it should: the end of a sentence that begins with the proxy."""


class Refused(Exception):
    """The proxy did not connect to this host or address: why, as the end of a sentence."""


class AnotherAddress(Exception):
    """The proxy refused this address, and there are others: to be tried on a new connection."""


# ── What can be asked for ──────────────────────────────────────────────────────────────────────


def can_be_asked_for(version: int, address: str) -> bool:
    """Whether an address can be told to a proxy.

    No kind of SOCKS has zones, which mean something on our own machine only. SOCKS 4 has IPv4; and
    its addresses that begin with three zeros say that a name follows, for which a proxy would wait.
    """
    if "%" in address:
        return False
    if version == 4:
        try:
            _packed_4(ipaddress.ip_address(address))
        except ValueError:
            return False
    return True


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _packed(host: str) -> bytes:
    """A name or an address as SOCKS 5 has it: its kind in front."""
    address = _literal(host)
    if address is not None:
        return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
    return bytes([_NAME]) + _counted("name of the host", host)


def _packed_4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    if address.version == 6:
        raise ValueError("SOCKS4 can't reach IPv6 addresses: use socks5://")
    if address.packed.startswith(b"\0\0\0") and address.packed != bytes(4):
        # That is how 4a says that a name follows, for which the proxy would wait.
        raise ValueError(f"SOCKS4 can't reach {address}, which stands for a name there")
    return address.packed


def _counted(what: str, text: str) -> bytes:
    data = _text(what, text)
    return bytes([len(data)]) + data


def _text(what: str, text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b"\0"  # Its error would quote the text.
    if len(data) > MOST_BYTES:
        raise ValueError(f"the {what} has {len(data)} bytes, and SOCKS has room for {MOST_BYTES}")
    if any(byte < 32 or byte == 127 for byte in data):
        raise ValueError(f"the {what} has characters that can't be sent to a proxy")
    return data


# ── The dialogues ──────────────────────────────────────────────────────────────────────────────


def socks5(host: str, port: int, credentials: tuple[str, str] | None = None) -> Dialogue:
    """Ask for a connection to *host*, which is a name or an address.

    Args:
      credentials: a name and a password, for a proxy that asks for them.

    Raises:
      Failed: the proxy wants (other) credentials, or does not speak SOCKS 5.
      Refused: the proxy does not connect to that.
      ValueError: this can't be asked, and nothing was sent.
    """
    target = _packed(host) + port.to_bytes(2, "big")
    login = b""
    if credentials is not None:
        user, password = credentials
        login = b"\x01" + _counted("user", user) + _counted("password", password)
    yield from _log_in(login)
    answer = yield b"\x05\x01\x00" + target, 2
    _check_version(answer, b"\x05", 5)
    if answer[1]:
        raise Refused(_REFUSALS_5.get(answer[1], f"code {answer[1]}"))
    _, kind = yield b"", 2
    if kind == _NAME:
        [length] = yield b"", 1
    elif kind in _LENGTHS:
        length = _LENGTHS[kind]
    else:
        raise Failed(f"answered with an address of an unknown kind ({kind})")
    yield b"", length + 2


def _log_in(login: bytes) -> Dialogue:
    """Agree on who we are: the proxy picks one of the ways that are offered."""
    offered = [_NO_PASSWORD, _WITH_PASSWORD] if login else [_NO_PASSWORD]
    answer = yield bytes([5, len(offered), *offered]), 2
    _check_version(answer, b"\x05", 5)
    picked = answer[1]
    if picked == _NO_PASSWORD:
        return
    if picked == _WITH_PASSWORD and login:
        answer = yield login, 2
        if answer[1]:
            raise Failed("does not accept these credentials")
    elif picked not in (_WITH_PASSWORD, _NOTHING_ACCEPTED):
        raise Failed(f"wants a kind of authentication (0x{picked:02x}) that was not offered")
    elif login:
        raise Failed("lets nobody in, neither with a name and a password nor without")
    else:
        raise Failed("wants credentials: in its URL, or with Proxy(auth=)")


def socks4(host: str, port: int, user: str = "") -> Dialogue:
    """Ask for a connection to *host*: an IPv4 address, or a name (4a).

    Raises as :func:`socks5`.
    """
    address = _literal(host)
    name = b""
    if address is not None:
        where = _packed_4(address)
    else:
        where, name = b"\0\0\0\x01", _packed(host)[2:] + b"\0"
    who = _text("user", user) + b"\0"
    answer = yield b"\x04\x01" + port.to_bytes(2, "big") + where + who + name, 2
    _check_version(answer, b"\0\x04", 4)
    if answer[1] != _GRANTED_4:
        raise Refused(_REFUSALS_4.get(answer[1], f"code {answer[1]}"))
    yield b"", 6


def _check_version(answer: bytes, legal: bytes, version: int) -> None:
    """See whether an answer begins with one of the *legal* bytes."""
    first = answer[:1]
    if first in legal:
        return
    if answer == b"HT":
        raise Failed("answered with HTTP: is it an http:// proxy?")
    if first in _OTHER_VERSIONS:
        raise Failed(f"answered with {_OTHER_VERSIONS[first]}")
    raise Failed(f"answered with what is no SOCKS {version} (the first byte is 0x{first.hex()})")


# ── The step of a dial ─────────────────────────────────────────────────────────────────────────


class Socks:
    """The step of a dial that asks a SOCKS proxy for a connection.

    Where names are resolved on our side there may be several addresses. A proxy that has refused
    closes the connection, so the next address needs a new one: the step then raises
    :class:`AnotherAddress`, and goes on with that when it is taken again.

    Args:
      errand: who is asked for what, for messages.
      version: 4 or 5.
      hosts: where to, in the order to try them: a name, or addresses.
      port: of each.
      credentials: a name and a password; None for none. SOCKS 4 has no password.
    """

    def __init__(
        self,
        errand: Errand,
        version: int,
        hosts: Sequence[str],
        port: int,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self._errand = errand
        self._version = version
        self._hosts = list(hosts)
        self._port = port
        self._credentials = credentials
        self._refusals: list[tuple[str, str]] = []

    def doing(self, line: Line) -> str:
        return f"waiting for {self._errand.proxy} to connect"

    async def take(self, line: Line) -> None:
        """Ask, and wait for the answer; then the line leads to the host.

        Raises:
          ProxyError: there is no connection.
          AnotherAddress: there is none to this address.
        """
        host = self._hosts[len(self._refusals)]
        asking = Asking(line, self._errand, "answer")
        try:
            await converse(asking, self._dialogue(host))
        except Refused as exc:
            self._refusals.append((host, str(exc)))
            if len(self._refusals) < len(self._hosts):
                raise AnotherAddress from None
            raise self._errand.error(
                f"refused to connect to {self._errand.to}: {self._why}"
            ) from None
        except Failed as exc:
            raise self._errand.error(str(exc)) from None
        await asking.end()

    def _dialogue(self, host: str) -> Dialogue:
        if self._version == 5:
            return socks5(host, self._port, self._credentials)
        return socks4(host, self._port, self._credentials[0] if self._credentials else "")

    @property
    def _why(self) -> str:
        """Why the proxy has refused so far."""
        if len(self._refusals) == 1:
            return self._refusals[0][1]
        return "; ".join(f"{host}: {why}" for host, why in self._refusals)


async def converse(asking: Asking, dialogue: Dialogue) -> None:
    """Hold a *dialogue* to its end, reading by count."""
    try:
        to_send, number = next(dialogue)
        while True:
            if to_send:
                await asking.send(to_send)
            to_send, number = dialogue.send(await asking.receive_exactly(number))
    except StopIteration:
        pass
