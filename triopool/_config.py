"""What the user sets, checked where it is set: a typo should fail here and not in production."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import ssl
from dataclasses import dataclass, fields
from typing import Any

from . import _habits


def described(value: object) -> str:
    """What an error says of an argument of the wrong type: a short number, or the name of a type.

    Never text, for text in the wrong place may be a password.
    """
    if value is None or (isinstance(value, bool | int | float) and abs(value) < 10**9):
        return repr(value)
    return type_of(value)


def type_of(value: object) -> str:
    """The name of a type; and of the library that it comes from, for many have a ``URL``."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def check_seconds(
    name: str, value: float | None, *, instead: str = "None for no limit"
) -> float | None:
    """Accept None (no limit) or a positive number of seconds.

    Args:
      instead: what a message says to those who have given 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or None, not {described(value)}")
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be positive ({instead}), not {described(value)}")
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


def check_whole_number(name: str, value: int, *, least: int = 1) -> int:
    """Accept a whole number of at least *least*, and not None."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {described(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {described(value)}")
    return value


def check_bool(name: str, value: object) -> None:
    """Accept True and False only: ``"no"`` would mean yes."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {described(value)}")


def check_delay(value: float) -> float:
    """What the user gave as ``happy_eyeballs_delay=``: a positive number of seconds, not None."""
    if value is None:
        raise TypeError("happy_eyeballs_delay must be a number of seconds, not None")
    instead = "RFC 8305 wants 0.01 at least; a large one tries one address after the other"
    seconds = check_seconds("happy_eyeballs_delay", value, instead=instead)
    assert seconds is not None
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
    host, port = (value, 0) if isinstance(value, str) else _pair(value)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return host, port
    raise ValueError("local_address must be an IP address, such as '192.0.2.1'")


def _pair(value: object) -> tuple[str, int]:
    match value:
        case (str() as host, int() as port):
            return host, port
    raise TypeError(
        "local_address must be an IP address, such as '192.0.2.1', or a pair (address, port), not "
        f"{described(value)}"
    )


def check_ssl_context(value: object) -> ssl.SSLContext | None:
    """What the user gave as ``ssl_context=``."""
    if value is None or isinstance(value, ssl.SSLContext):
        return value
    hint = ""
    if value is False:
        hint = (
            ": one that verifies nothing has check_hostname = False, and then verify_mode = "
            "ssl.CERT_NONE"
        )
    elif isinstance(value, str | os.PathLike):
        hint = ": ssl.create_default_context(cafile=...) makes one"
    raise TypeError(f"ssl_context must be an ssl.SSLContext or None, not {described(value)}{hint}")


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

    @_habits.given("Timeouts()", _habits.OF_TIMEOUTS)
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


def check_timeouts(value: object) -> Timeouts:
    """What the user gave as ``timeouts=``."""
    if isinstance(value, Timeouts):
        return value
    hint = ""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        hint = f": write triopool.Timeouts({described(value)})"
    raise TypeError(f"timeouts must be a triopool.Timeouts, not {described(value)}{hint}")


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
    is_limit = type(value) is int and 0 < value < 100
    hint = f": write triopool.Redirects(limit={value})" if is_limit else ""
    raise TypeError(
        f"follow_redirects must be a bool or triopool.Redirects, not {described(value)}{hint}"
    )
