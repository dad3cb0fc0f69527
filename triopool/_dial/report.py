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

from .._errors import ConnectError, TLSError
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
    """

    def __init__(self, key: PoolKey, notes: list[str]) -> None:
        self._key = key
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
        why = "; ".join(self._shown_failures(left_out))
        kind = TLSError if all(isinstance(exc, TLSError) for exc in errors) else ConnectError
        message = f"could not connect to {self._key}: {why}"
        error = kind(message, origin=self._key.origin, phase="connect")
        if len(errors) > 1:
            error.__cause__ = ExceptionGroup(f"all {len(errors)} addresses failed", errors)
        else:
            # A TLSError is ours, and says nothing that the new one does not: name what is behind.
            error.__cause__ = errors[0].__cause__ if kind is TLSError else errors[0]
        return error

    def _shown_failures(self, left_out: int = 0) -> list[str]:
        some = itertools.islice(self._failures.items(), MAX_SHOWN)
        shown = [f"{show_address(address)}: {_reason(address, exc)}" for address, exc in some]
        more = max(len(self._failures) - MAX_SHOWN, 0) + left_out
        if left_out:
            shown.append(f"and {more} more ({left_out} not tried)")
        elif more:
            shown.append(f"and {more} more")
        return shown


def show_address(address: AddressInfo) -> str:
    """An address as people write it: ``192.0.2.1:80``, ``[2001:db8::1]:80``, a path."""
    if address.family == socket.AF_UNIX:
        # An abstract path begins with a NUL, which is written "@" everywhere.
        return f"unix socket {os.fsdecode(address.sockaddr)}".replace("\0", "@")
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(address: AddressInfo, exc: Exception) -> str:
    reason = str((isinstance(exc, OSError) and exc.strerror) or exc)
    # Trio repeats the address, in Python's spelling.
    return reason.removeprefix(f"Error connecting to {address.sockaddr!r}: ") or type(exc).__name__
