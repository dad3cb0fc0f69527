"""What the user sets, checked where it is set: a typo should fail here and not in production."""

from __future__ import annotations

import contextlib
import ipaddress
import math
from dataclasses import dataclass, fields
from typing import Any


def described(value: object) -> str:
    """What an error says of an argument of the wrong type: a short number, or the name of a type.

    Never text, for text in the wrong place may be a password.
    """
    if value is None or (isinstance(value, bool | int | float) and abs(value) < 10**9):
        return repr(value)
    return type(value).__name__


def check_seconds(name: str, value: float | None) -> float | None:
    """Accept None (no limit) or a positive number of seconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or None, not {described(value)}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be positive (None for no limit), not {described(value)}")
    return value


def check_at_least_zero(name: str, value: float) -> None:
    """Accept a number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {described(value)}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must not be negative, not {described(value)}")


def check_count(name: str, value: int | None, *, least: int = 1) -> int | None:
    """Accept None (no limit) or a whole number of at least *least*."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not {described(value)}")
    if value < least:
        raise ValueError(
            f"{name} must be at least {least} (None for no limit), not {described(value)}"
        )
    return value


def check_bool(name: str, value: object) -> None:
    """Accept True and False only: ``"no"`` would mean yes."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {described(value)}")


def check_delay(value: float) -> float:
    """What the user gave as ``happy_eyeballs_delay=``: a positive number of seconds, not None."""
    seconds = check_seconds("happy_eyeballs_delay", value)
    if seconds is None:
        raise TypeError("happy_eyeballs_delay must be a number of seconds, not None")
    return seconds


def check_ttl(value: float | None) -> float:
    """What the user gave as ``dns_ttl=``, in seconds: 0 is legal too, and None is for ever."""
    if value == 0:
        return 0.0
    seconds = check_seconds("dns_ttl", value)
    return math.inf if seconds is None else seconds


def check_local_address(value: str | tuple[str, int] | None) -> tuple[str, int] | None:
    """What the user gave as ``local_address=``, with a port; 0 for any port."""
    if value is None:
        return None
    host, port = (value, 0) if isinstance(value, str) else value
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return host, port
    raise ValueError("local_address must be an IP address, such as '192.0.2.1'")


class _NotGiven:
    def __repr__(self) -> str:
        return "..."


_NOT_GIVEN: Any = _NotGiven()


@dataclass(frozen=True, slots=True, init=False)
class Timeouts:
    """Limits for the phases of a request, in seconds on Trio's clock; None for no limit.

    They guard against a peer that hangs. A deadline for the whole request is the caller's, and a
    Trio cancel scope: ``with trio.fail_after(10): await pool.request(...)``.

    ``Timeouts(read=60)`` sets one of them, the others keep their defaults. One number without a
    name is for all four that have none of their own: ``Timeouts(5)``, ``Timeouts(5, read=60)``;
    ``Timeouts(None)`` sets no limit at all.

    Attributes:
      pool: how long a request waits while neither a connection nor a dial of its own is to be
        had. Exceeding it raises :class:`PoolTimeout`.
      connect: how long a dial may take, from the moment it has its slot: names, race, TLS.
        Exceeding it raises :class:`ConnectTimeout`.
      write: how long the peer may take no byte of the request. Per gap, not per body.
        Exceeding it raises :class:`WriteTimeout`.
      read: how long the peer may send no byte of the response. Per gap, not per body; it does
        not run while the request is still being sent. Exceeding it raises :class:`ReadTimeout`.
    """

    pool: float | None = 30.0
    connect: float | None = 10.0
    write: float | None = 30.0
    read: float | None = 30.0

    def __init__(
        self,
        each: float | None = _NOT_GIVEN,
        /,
        *,
        pool: float | None = _NOT_GIVEN,
        connect: float | None = _NOT_GIVEN,
        write: float | None = _NOT_GIVEN,
        read: float | None = _NOT_GIVEN,
    ) -> None:
        given = {"pool": pool, "connect": connect, "write": write, "read": read}
        for field in fields(self):
            value: Any = given[field.name]
            if value is _NOT_GIVEN:
                value = field.default if each is _NOT_GIVEN else each
            check_seconds(f"Timeouts.{field.name}", value)
            object.__setattr__(self, field.name, value)  # It is frozen.


@dataclass(frozen=True, slots=True)
class Redirects:
    """Which redirects to follow: ``follow_redirects=triopool.Redirects(...)``.

    Attributes:
      limit: how many for one request. Browsers stop at 20 (WHATWG Fetch), and so does True.
      allow_downgrade: whether one may lead from https to http, where everybody on the way can
        read and change what is sent.
    """

    limit: int = 20
    allow_downgrade: bool = False

    def __post_init__(self) -> None:
        check_bool("Redirects.allow_downgrade", self.allow_downgrade)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int):
            raise TypeError(f"Redirects.limit must be a whole number, not {described(self.limit)}")
        if self.limit < 1:
            raise ValueError(
                f"Redirects.limit must be at least 1, not {described(self.limit)} "
                "(follow_redirects=False follows none)"
            )


def check_redirects(value: object) -> Redirects | None:
    """What the user gave as ``follow_redirects=``; None to follow none."""
    if isinstance(value, Redirects):
        return value
    if isinstance(value, bool):
        return Redirects() if value else None
    raise TypeError(
        f"follow_redirects must be a bool or triopool.Redirects, not {described(value)}"
    )
