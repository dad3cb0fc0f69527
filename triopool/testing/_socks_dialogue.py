"""The messages of SOCKS 4, 4a and 5, as a proxy reads and answers them: each to the letter.

RFC 1928 sections 3 to 6, RFC 1929; and "SOCKS: A protocol for TCP proxy across firewalls", with
its extension 4A.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import h11
import trio

_CONNECT = 1
_NO_CREDENTIALS, _NAME_AND_PASSWORD, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_GRANTED_4, _REJECTED_4, _ANOTHER_USER_4 = 90, 91, 93
_FAILED, _NO_NETWORK, _NO_HOST, _REFUSED = 1, 3, 4, 5
_WHAT_FAILED = {
    errno.ECONNREFUSED: _REFUSED,
    errno.EHOSTUNREACH: _NO_HOST,
    errno.ENETUNREACH: _NO_NETWORK,
}

_HOST_NAME = re.compile(r"[!$&'()*+,\-.0-9;=A-Z_a-z~]{1,255}")


@dataclass(frozen=True, slots=True)
class SOCKSRequest:
    """What a SOCKS proxy was asked for.

    Attributes:
      version: 4, also for 4a, or 5.
      host: a name, or a literal IP address.
      port: the port.
      is_name: whether *host* is a name, which the proxy is to look up.
      username: what the client has told of itself; None if nothing.
      password: what it has told with that; None in version 4, which has none.
      connection_number: which connection it came on; the first one is 1.
    """

    version: Literal[4, 5]
    host: str
    port: int
    is_name: bool
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    connection_number: int


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    Attributes:
      local: where the proxy's own socket is bound, if it has reached what it was asked for.
      code: what to refuse with instead, if that was chosen.
      failure: what the attempt to connect said, if nothing was chosen.
    """

    local: tuple[str, int] | None = None
    code: int | None = None
    failure: OSError | None = None


class Client:
    """Reads messages by their length, and sees that none comes before it is due."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._unread = bytearray()

    async def read(self, count: int) -> bytes:
        """Read *count* bytes.

        Raises:
          EOFError: the client has closed the connection.
        """
        while len(self._unread) < count:
            await self._read_more()
        data = bytes(self._unread[:count])
        del self._unread[:count]
        return data

    async def read_counted(self) -> bytes:
        """Read a byte, and as many bytes as it says."""
        (count,) = await self.read(1)
        return await self.read(count)

    async def read_to_nul(self, what: str) -> bytes:
        """Read to a NUL, and leave that out."""
        while (end := self._unread.find(b"\0", 0, 256)) < 0:
            if len(self._unread) > 255:
                raise mistake(f"{what} of more than 255 bytes")
            await self._read_more()
        return (await self.read(end + 1))[:-1]

    async def _read_more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError
        self._unread += data

    async def read_ahead(self) -> None:
        """Read what should not come; return when the client is gone."""
        with suppress(EOFError):
            while True:
                await self._read_more()

    async def answer(self, answer: bytes) -> None:
        """Answer a message that has come whole: what follows is to follow from the answer."""
        self._check_nothing_came("before it had its answer")
        await self.stream.send_all(answer)

    async def turn_away(self, answer: bytes) -> None:
        """Send *answer*, after which nothing is to come any more, and wait for the end."""
        await self.answer(answer)
        await self.read_ahead()
        self._check_nothing_came("after it was turned away")

    def _check_nothing_came(self, when: str) -> None:
        """See that all has been read that has come."""
        if self._unread:
            raise mistake(f"{len(self._unread)} bytes {when}")


class Socks5:
    """Version 5: ways to authenticate, perhaps credentials, then the request."""

    def __init__(self, client: Client, credentials: tuple[str, str] | None) -> None:
        self._client = client
        self._wanted = credentials
        self._username: str | None = None
        self._password: str | None = None

    async def read_request(self) -> SOCKSRequest | None:
        """Read what the client wants; None if it has been turned away."""
        method = _NO_CREDENTIALS if self._wanted is None else _NAME_AND_PASSWORD
        if method not in await self._methods():
            await self._client.turn_away(bytes([5, _NO_METHOD]))
            return None
        await self._client.answer(bytes([5, method]))
        if self._wanted is not None and not await self._has_credentials():
            return None
        version, command, reserved, kind = await self._client.read(4)
        if (version, command, reserved) != (5, _CONNECT, 0):
            raise mistake(f"a request that is not to connect: {version} {command} {reserved}")
        host = await self._read_host(kind)
        port = int.from_bytes(await self._client.read(2))
        _check_port(port)
        return SOCKSRequest(
            version=5,
            host=host,
            port=port,
            is_name=kind == _NAME,
            username=self._username,
            password=self._password,
            connection_number=self._client.number,
        )

    async def _methods(self) -> bytes:
        methods = await self._client.read_counted()
        if not methods or len(set(methods)) != len(methods) or _NO_METHOD in methods:
            raise mistake(f"{methods!r} for the ways to authenticate that it knows")
        return methods

    async def _has_credentials(self) -> bool:
        # RFC 1929 wants a byte or more of each; but a password may be empty, and clients send that.
        if await self._client.read(1) != b"\x01":
            raise mistake("credentials of a version that is none")
        username = await self._client.read_counted()
        password = await self._client.read_counted()
        self._username, self._password = _text(username), _text(password)
        if (self._username, self._password) != self._wanted:
            await self._client.turn_away(b"\x01\x01")
            return False
        await self._client.answer(b"\x01\x00")
        return True

    async def _read_host(self, kind: int) -> str:
        if kind == _IPV4:
            return str(ipaddress.IPv4Address(await self._client.read(4)))
        if kind == _IPV6:
            return str(ipaddress.IPv6Address(await self._client.read(16)))
        if kind != _NAME:
            raise mistake(f"an address of kind {kind}")
        return _host_name(await self._client.read_counted())

    def answer(self, outcome: Outcome) -> bytes:
        """The answer to the request."""
        if outcome.local is None:
            code = outcome.code or _code(outcome.failure)
            return bytes([5, code, 0, _IPV4]) + bytes(6)
        host, port = outcome.local
        address = ipaddress.ip_address(host)
        kind = _IPV4 if address.version == 4 else _IPV6
        return bytes([5, 0, 0, kind, *address.packed, *port.to_bytes(2)])


class Socks4:
    """Versions 4 and 4a: a request, with a user."""

    def __init__(self, client: Client, credentials: tuple[str, str] | None) -> None:
        self._client = client
        self._wanted = credentials

    async def read_request(self) -> SOCKSRequest | None:
        """Read what the client wants; None if it has been turned away."""
        if await self._client.read(1) != bytes([_CONNECT]):
            raise mistake("a request that is not to connect")
        port = int.from_bytes(await self._client.read(2))
        _check_port(port)
        address = await self._client.read(4)
        username = _text(await self._client.read_to_nul("a user"))
        is_name = address[:3] == bytes(3)
        if is_name:
            if not address[3]:
                raise mistake("0.0.0.0 for an address")
            host = _host_name(await self._client.read_to_nul("a name"))
        else:
            host = str(ipaddress.IPv4Address(address))
        if self._wanted is None and username:
            raise mistake("a user, though none is wanted")
        if self._wanted is not None and username != self._wanted[0]:
            await self._client.turn_away(_answer_4(_ANOTHER_USER_4))
            return None
        return SOCKSRequest(
            version=4,
            host=host,
            port=port,
            is_name=is_name,
            username=username or None,
            password=None,
            connection_number=self._client.number,
        )

    def answer(self, outcome: Outcome) -> bytes:
        """The answer to the request."""
        return _answer_4(_GRANTED_4 if outcome.local else outcome.code or _REJECTED_4)


def _answer_4(code: int) -> bytes:
    return bytes([0, code]) + bytes(6)


def _code(failure: OSError | None) -> int:
    if isinstance(failure, socket.gaierror):
        return _NO_HOST
    assert failure is not None
    return _WHAT_FAILED.get(failure.errno or 0, _FAILED)


def _check_port(port: int) -> None:
    if not port:
        raise mistake("0 for a port")


def _host_name(data: bytes) -> str:
    name = data.decode("latin-1")
    if not _HOST_NAME.fullmatch(name):
        raise mistake(f"{data!r} for a name")
    with suppress(ValueError):
        ipaddress.IPv4Address(name)
        raise mistake("an address as a name")
    return name


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise mistake("credentials that are not UTF-8") from None


def mistake(what: str) -> h11.RemoteProtocolError:
    """The error for a client that has sent *what*."""
    return h11.RemoteProtocolError(f"the client sent the proxy {what}")
