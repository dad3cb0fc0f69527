"""What a dial is doing and what has failed so far, in words.

A dial may end in two ways that have to be explained. It may run out of time: then the message says
what the dial was doing just then. Or every address may fail: then the error says why each one did.
Both tell of the same failures, so both are made here.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Sequence

from .._errors import ConnectError, ProxyError, TLSError
from .._pool_key import PoolKey
from ..abc import AddressInfo

MAX_SHOWN = 10
"""How many addresses a message names. Picked arbitrarily: a host may have fifty."""


class DialReport:
    """What one dial is doing, and why the addresses failed that it has tried.

    ``str()`` of it is one line, such as ``"192.0.2.1:80: Connection refused; connecting to
    192.0.2.2:80"``.

    Args:
      key: what is dialled.
      notes: the list of the dial's owner, who quotes it when the dial runs out of time. It always
        holds one text, the newest.
      proxy: the URL of the proxy whose addresses are tried, without credentials; None if they are
        the origin's.
    """

    def __init__(self, key: PoolKey, notes: list[str], proxy: str | None = None) -> None:
        self._key = key
        self._proxy = proxy
        self._notes = notes
        self._doing = ""
        self._failures: dict[AddressInfo, Exception] = {}

    def doing(self, what: str) -> None:
        """The dial has begun to do *what*."""
        self._doing = what
        self._notes[:] = [str(self)]

    def connecting_to(self, addresses: Sequence[AddressInfo]) -> None:
        """The dial tries to connect to *addresses*, or will when it is their turn."""
        shown = ", ".join(map(show_address, addresses[:MAX_SHOWN]))
        more = len(addresses) - MAX_SHOWN
        self.doing(f"connecting to {shown}" + (f" and {more} more" if more > 0 else ""))

    def failed(self, address: AddressInfo, exc: Exception) -> None:
        """*address* can't be used, because of *exc*."""
        self._failures[address] = exc

    def __str__(self) -> str:
        return "; ".join([*self._shown_failures(), self._doing])

    def error(self, left_out: int) -> ConnectError:
        """The error of a dial that is over: :class:`TLSError` if TLS alone was to blame.

        Its cause is the one failure, or a group of all of them.

        Args:
          left_out: how many addresses the host has that were not tried.
        """
        errors = list(self._failures.values())
        error = self._error_of(errors, "; ".join(self._shown_failures(left_out)))
        if len(errors) > 1:
            error.__cause__ = ExceptionGroup(f"all {len(errors)} addresses failed", errors)
        else:
            # What is ours says nothing that the new one does not: name what is behind it.
            [exc] = errors
            error.__cause__ = exc.__cause__ if isinstance(exc, TLSError | ProxyError) else exc
        return error

    def _error_of(self, errors: list[Exception], why: str) -> ConnectError:
        origin, proxy = self._key.origin, self._proxy
        if proxy is None:
            kind = TLSError if all(isinstance(exc, TLSError) for exc in errors) else ConnectError
            return kind(f"could not connect to {self._key}: {why}", origin=origin, phase="connect")
        message = f"the proxy {proxy} can't be reached: {why}"
        if len(errors) == 1 and isinstance(errors[0], ProxyError):
            message = str(errors[0])  # It was reached, and that is all that is to be said.
        return ProxyError(message, proxy=proxy, origin=origin, phase="connect")

    def _shown_failures(self, left_out: int = 0) -> list[str]:
        some = itertools.islice(self._failures.items(), MAX_SHOWN)
        shown = [f"{show_address(address)}: {self._reason(address, exc)}" for address, exc in some]
        more = max(len(self._failures) - MAX_SHOWN, 0) + left_out
        if left_out:
            shown.append(f"and {more} more ({left_out} not tried)")
        elif more:
            shown.append(f"and {more} more")
        return shown

    def _reason(self, address: AddressInfo, exc: Exception) -> str:
        reason = str((isinstance(exc, OSError) and exc.strerror) or exc)
        # Trio repeats the address, in Python's spelling; and our own errors the proxy.
        for known in (
            f"Error connecting to {address.sockaddr!r}: ",
            f"TLS with the proxy {self._proxy}: ",
            f"the proxy {self._proxy} ",
        ):
            reason = reason.removeprefix(known)
        return reason or type(exc).__name__


def show_address(address: AddressInfo) -> str:
    """An address as people write it: ``192.0.2.1:80``, ``[2001:db8::1]:80``, a path."""
    if address.family == socket.AF_UNIX:
        # An abstract path begins with a NUL, which is written "@" everywhere.
        return f"unix socket {os.fsdecode(address.sockaddr)}".replace("\0", "@")
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
