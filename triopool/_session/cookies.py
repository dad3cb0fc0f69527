"""The cookies of a session: set by responses, sent with requests, kept in a file if asked."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from .._config import described
from .._request.url import URL
from .._threads import run_in_thread
from . import cookie_file as _file
from . import public_suffixes as _public_suffixes
from . import set_cookie as _cookie
from .public_suffixes import IsPublicSuffix

if TYPE_CHECKING:
    from http.cookiejar import Cookie, CookieJar

MAX_COOKIES = 3000
MAX_PER_DOMAIN = 180
"""As in browsers. Beyond them the oldest ones of the domain that has most are given up."""


class Cookies:
    """A jar of cookies, for one session: ``pool.session(cookies=True)``, or ``cookies=Cookies()``.

    What a response sets, that of a redirect included, goes with the requests to which it belongs,
    as RFC 6265bis says it. A cookie without ``Domain`` goes to its host alone, and none is taken
    for a public suffix such as ``co.uk``. One that is ``Secure`` comes and goes over https only.
    They expire by the clock on the wall, not by Trio's. ``SameSite`` means nothing here, for there
    is no page that a request comes from. At most 3,000 are kept, 180 of one domain, 4 KiB each.

    Two sessions have a jar in common only if both are given the same one.

    Args:
      jar: where to keep them; None for a new one. What is in it already is sent as well. A
        ``http.cookiejar.CookieJar`` is what other libraries make and take; its policy is not asked.
      is_public_suffix: says of a domain (ASCII, lower case) whether everybody may register a name
        below it. None for the list of publicsuffix.org, by ``triopool[cookies]``.

    Attributes:
      jar: where they are.

    Raises:
      ImportError: the list of public suffixes is not installed.
    """

    def __init__(
        self,
        jar: CookieJar | None = None,
        *,
        is_public_suffix: IsPublicSuffix | None = None,
    ) -> None:
        from http.cookiejar import CookieJar

        if jar is not None and not isinstance(jar, CookieJar):
            raise TypeError(f"jar must be an http.cookiejar.CookieJar, not {described(jar)}")
        if is_public_suffix is None:
            _public_suffixes.check_installed()
        elif not callable(is_public_suffix):
            raise TypeError(f"is_public_suffix must be callable, not {described(is_public_suffix)}")
        self.jar: CookieJar = CookieJar() if jar is None else jar
        self._given = self._is_public_suffix = is_public_suffix
        self._has_holes = False

    def fresh(self) -> Cookies:
        """An empty jar that judges as this one does."""
        return Cookies(is_public_suffix=self._given)

    # ── What is in it ──────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self.jar)

    def __iter__(self) -> Iterator[Cookie]:
        """Each cookie, as an ``http.cookiejar.Cookie``."""
        return iter(list(self.jar))

    def clear(self) -> None:
        """Forget all of them."""
        self.jar.clear()

    def __repr__(self) -> str:
        return f"<triopool.Cookies, {len(self)} of them>"

    # ── In a file ──────────────────────────────────────────────────────────────────────────────

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write them to a file, for :meth:`load`, curl and wget: the Netscape format.

        Those that end with the session are written, too; those that have expired are not. Only the
        owner of the file may read it. It is replaced when the new one is whole. If cancelled, it
        waits for the disk, and the file is written.

        Raises:
          OSError: the file can't be written.
        """
        now = int(time.time())
        cookies = [cookie for cookie in self.jar if not cookie.is_expired(now)]
        await run_in_thread(_file.write, os.fspath(path), cookies, limiter=trio.CapacityLimiter(1))

    async def load(self, path: str | os.PathLike[str]) -> None:
        """Add those of a file; one that is here already is replaced. If cancelled, none is added.

        Raises:
          OSError: the file can't be read.
          ValueError: it is no file of cookies.
        """
        await self.get_ready()
        cookies = await run_in_thread(_file.read, os.fspath(path), limiter=trio.CapacityLimiter(1))
        now = int(time.time())
        for cookie in cookies:
            if not (cookie.is_expired(now) or self._is_for_a_suffix(cookie)):
                self.jar.set_cookie(cookie)
        self._make_room()

    # ── With requests ──────────────────────────────────────────────────────────────────────────

    async def get_ready(self) -> None:
        """Read the list of public suffixes, if that has not been done. A session does it."""
        if self._is_public_suffix is None:
            self._is_public_suffix = await _public_suffixes.load()

    def field_for(self, url: URL) -> bytes | None:
        """The Cookie field of a request to *url*; None for none."""
        now = int(time.time())
        cookies = [
            cookie
            for cookie in self.jar
            if _cookie.goes_to(cookie, url) and not cookie.is_expired(now)
        ]
        # RFC 6265 section 5.4: longer paths first.
        cookies.sort(key=lambda cookie: -len(cookie.path))
        pairs = (
            cookie.name if cookie.value is None else f"{cookie.name}={cookie.value}"
            for cookie in cookies
        )
        return b"; ".join(map(_file.octets, pairs)) or None

    def take(self, url: URL, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep what the fields of a response from *url* set."""
        values = [value for name, value in fields if name.lower() == b"set-cookie"]
        if not values:
            return
        assert self._is_public_suffix is not None
        now, host = int(time.time()), url.origin.host
        hidden = {} if url.origin.scheme == "https" else self._secure_ones()
        for value in values:
            cookie = _cookie.read(value, url, now, self._is_public_suffix)
            if cookie is None:
                continue
            if any(_hides(cookie, other) for other in hidden.get(cookie.name, ())):
                continue
            self._remove_the_other(cookie, host)
            if cookie.is_expired(now):
                self._remove(cookie.domain, cookie)
            else:
                self.jar.set_cookie(cookie)
        self._make_room()

    def _is_for_a_suffix(self, cookie: Cookie) -> bool:
        assert self._is_public_suffix is not None
        return cookie.domain.startswith(".") and self._is_public_suffix(cookie.domain[1:])

    def _secure_ones(self) -> dict[str, list[Cookie]]:
        """Those that only https may set, by name. An http response changes none of them."""
        found: dict[str, list[Cookie]] = {}
        for cookie in self.jar:
            if cookie.secure:
                found.setdefault(cookie.name, []).append(cookie)
        return found

    def _remove_the_other(self, cookie: Cookie, host: str) -> None:
        """Whether one is for its host alone does not make two of it, to that host.

        To the hosts below it does: what is for a host alone is none of their business (RFC 6265bis
        section 5.7).
        """
        if not cookie.domain.startswith("."):
            self._remove(f".{cookie.domain}", cookie)
        elif cookie.domain[1:] == host:
            self._remove(host, cookie)

    def _remove(self, domain: str, cookie: Cookie) -> None:
        with contextlib.suppress(KeyError):
            self.jar.clear(domain, cookie.path, cookie.name)
            self._has_holes = True

    def _make_room(self) -> None:
        now = int(time.time())
        by_domain: dict[str, list[Cookie]] = {}
        before = list(self.jar)
        for cookie in before:
            if not cookie.is_expired(now):
                by_domain.setdefault(cookie.domain, []).append(cookie)
        for cookies in by_domain.values():
            del cookies[: max(0, len(cookies) - MAX_PER_DOMAIN)]
        kept = sum(map(len, by_domain.values()))
        while kept > MAX_COOKIES:
            del max(by_domain.values(), key=len)[0]
            kept -= 1
        if kept < len(before) or self._has_holes:
            # Made anew, because a jar that forgets a cookie remembers its domain and path for ever.
            self._has_holes = False
            self.jar.clear()
            for cookies in by_domain.values():
                for cookie in cookies:
                    self.jar.set_cookie(cookie)


def _hides(cookie: Cookie, other: Cookie) -> bool:
    """Whether it would stand in the place of one of its name that only https may set.

    As RFC 6265bis section 5.7 says it.
    """
    domain, theirs = cookie.domain.removeprefix("."), other.domain.removeprefix(".")
    related = _cookie.is_below(domain, theirs) or _cookie.is_below(theirs, domain)
    return related and _cookie.is_under(cookie.path, other.path)
