"""A proxy, checked when it is made, so that nothing of it can be wrong later.

What is said of a proxy in a message, a repr or a statistic is its URL without credentials, and no
error about a URL quotes any of it: where the URL can't be parsed, nobody knows which part of it is
the password.

A proxy is part of the key under which connections are shared: credentials, fields and TLS context
too. So all of it is compared, and the hash, which each request needs, is computed once.
"""

from __future__ import annotations

import enum
import functools
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from .. import _habits
from .._config import check_bool, check_ssl_context, described
from .._errors import InvalidURL
from .._origin import Origin
from .._request import fields as _fields
from .._request import url as _url
from .._request.auth import Auth, AuthOption, BasicAuth, check_auth
from .._request.fields import Headers

DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "socks5": 1080,
    "socks5h": 1080,
    "socks4": 1080,
    "socks4a": 1080,
}
MAX_SOCKS_BYTES = 255
"""Of a name or a password: their length is one byte (RFC 1929). SOCKS4 has the same bound here."""

# SOCKS 4a says so that a name follows.
_FOR_A_NAME = re.compile(r"0\.0\.0\.(?!0\Z)[0-9]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://")
_OF_THE_MESSAGE = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Fields that say how a request is sent and where it ends: ours to write, and not a proxy's."""


class Direct(enum.Enum):
    """The type of :data:`triopool.DIRECT`, which says: no proxy.

    A request that has it goes past the pool's proxy; a function of the origin returns it for those
    that need none::

        response = await pool.get(url, proxy=triopool.DIRECT)

    None does not say so: for a request it is the pool's proxy, and of a function a mistake.
    """

    DIRECT = "direct"

    def __repr__(self) -> str:
        return "triopool.DIRECT"


DIRECT: Final = Direct.DIRECT
"""No proxy."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Proxy:
    """A proxy, and how to speak with it, for a pool or for a request.

    Where its URL says it all, the URL may be given instead. Else::

        proxy = triopool.Proxy("https://proxy.example.org", auth=("ada", "secret"))
        async with triopool.ConnectionPool(proxy=proxy) as pool:
            response = await pool.get("https://www.example.org/")
            print(response.connection.proxy)

    For an http URL an HTTP proxy forwards single requests; what it answers itself is a response.
    For an https URL, and for what becomes another protocol, it opens a tunnel to the origin; all
    that it answers instead is a :class:`ProxyError`. A SOCKS proxy opens tunnels only.

    Two of them are equal if all of the following is, credentials and TLS context included; only
    then their connections are shared. Neither ``repr()`` nor ``str()`` shows credentials or fields.

    Attributes:
      url: ``scheme://host:port``. The scheme is ``http``, ``https`` (TLS to the proxy), ``socks5``
        (names are resolved here), ``socks5h`` (by the proxy), ``socks4`` (here, IPv4 only) or
        ``socks4a`` (by the proxy). What is given for it may have credentials in it,
        percent-encoded: they become :attr:`auth`, and are not shown here.
      auth: for an HTTP proxy :class:`BasicAuth` or :class:`BearerAuth`, for SOCKS5 a name and a
        password, for SOCKS4 a name. A pair will do. Goes before the URL's credentials.
      headers: fields for an HTTP proxy: with CONNECT, and with each request that it forwards, where
        they may be passed on.
      ssl_context: for TLS to the proxy; None for the system's trust store. The pool's context is
        never used for it, and this one never for an origin.
      server_hostname: the name to verify, and to send as SNI, instead of the URL's host.
      tunnel: whether http URLs, too, get a tunnel (CONNECT). SOCKS has nothing else.
      share_connections: whether requests that the proxy forwards share its connections, whatever
        their origins. False for a proxy that can't cope with that, or is not trusted to keep the
        responses of different origins apart.
      unix_socket: where the proxy listens, whatever the URL's host.
      via: the proxy through which this one is reached.
      origin: scheme, host and port of the URL.

    Raises:
      InvalidURL: the URL can't be used; it is not quoted.
      TypeError, ValueError: another argument is wrong, or makes no sense with the URL's scheme.
    """

    url: str
    auth: Auth | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    tunnel: bool = False
    share_connections: bool = True
    unix_socket: str | None = None
    via: Proxy | None = None
    origin: Origin = field(init=False, compare=False)
    _fields: tuple[tuple[bytes, bytes], ...] = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False)

    @_habits.given("Proxy()", _habits.OF_A_PROXY)
    def __init__(
        self,
        url: str,
        *,
        auth: AuthOption | None = None,
        headers: Headers | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        tunnel: bool = False,
        share_connections: bool = True,
        unix_socket: str | os.PathLike[str] | None = None,
        via: Proxy | str | None = None,
    ) -> None:
        origin, of_the_url = _parse(url)
        check_bool("tunnel", tunnel)
        check_bool("share_connections", share_connections)
        chosen = check_auth(auth) or of_the_url
        given = _check_headers(headers)
        if origin.scheme.startswith("socks"):
            _check_for_socks(origin.scheme, chosen, given)
        values: dict[str, Any] = {
            "url": str(origin),
            "auth": chosen,
            "headers": given,
            "ssl_context": _check_context(origin, ssl_context),
            "server_hostname": _check_server_hostname(origin, server_hostname),
            "tunnel": tunnel,
            "share_connections": share_connections,
            "unix_socket": _check_path(unix_socket),
            "via": _check_via(via),
        }
        values |= {
            "origin": origin,
            "_fields": _with_credentials(given, chosen),
            "_hash": hash(tuple(values.values())),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # It is frozen.
        if self.via is not None:
            if self.unix_socket is not None:
                raise ValueError("a proxy can't be reached at a unix_socket via another proxy")
            self.via.check_reaches(origin)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, because a hash is of no use in another process.
        options: dict[str, Any] = {
            "auth": self.auth,
            "headers": self.headers,
            "ssl_context": self.ssl_context,
            "server_hostname": self.server_hostname,
            "tunnel": self.tunnel,
            "share_connections": self.share_connections,
            "unix_socket": self.unix_socket,
            "via": self.via,
        }
        return functools.partial(type(self), **options), (self.url,)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        shown = [repr(self.url)]
        if self.auth is not None:
            shown.append(f"auth={self.auth!r}")
        if self.headers:
            shown.append("headers=...")
        if self.ssl_context is not None:
            shown.append("ssl_context=...")
        if self.server_hostname is not None:
            shown.append(f"server_hostname={self.server_hostname!r}")
        if self.tunnel:
            shown.append("tunnel=True")
        if not self.share_connections:
            shown.append("share_connections=False")
        if self.unix_socket is not None:
            shown.append(f"unix_socket={self.unix_socket!r}")
        if self.via is not None:
            shown.append(f"via={self.via!r}")
        return f"Proxy({', '.join(shown)})"

    # ── What a dial and an exchange need to know ───────────────────────────────────────────────

    @property
    def speaks_http(self) -> bool:
        """Whether it is an HTTP proxy, and not a SOCKS proxy."""
        return self.origin.scheme in ("http", "https")

    @property
    def needs_addresses(self) -> bool:
        """Whether names are resolved by us, and it gets addresses only."""
        return self.origin.scheme in ("socks5", "socks4")

    @property
    def needs_our_trust(self) -> bool:
        """Whether TLS is spoken with it, and trusts whom we trust."""
        return self.origin.scheme == "https" and self.ssl_context is None

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """What an HTTP proxy gets with CONNECT, and with each request that it forwards.

        Credentials are among them: for this proxy only, and for the very head that is written.
        """
        return self._fields

    @property
    def socks_credentials(self) -> tuple[str, str] | None:
        """The name and the password for a SOCKS proxy; None without."""
        if self.speaks_http or not isinstance(self.auth, BasicAuth):
            return None
        return self.auth.username, self.auth.password

    @property
    def chain(self) -> tuple[Proxy, ...]:
        """All proxies on the way, from the one that is dialled to this one."""
        return (*(self.via.chain if self.via is not None else ()), self)

    def forwards(self, origin: Origin, *, may_switch: bool = False) -> bool:
        """Whether it forwards a request for *origin*. Else it is asked for a tunnel.

        Args:
          may_switch: the request is a CONNECT, or asks for another protocol, which nobody between
            us and the origin would understand (RFC 9110 section 7.8, RFC 6455 section 4.1).
        """
        return self.speaks_http and origin.scheme == "http" and not self.tunnel and not may_switch

    def check_reaches(self, origin: Origin) -> None:
        """Refuse what it can't be told to connect to.

        Raises:
          InvalidURL: it is such.
        """
        if "%" in origin.host:
            raise InvalidURL(
                f"{self} can't reach {origin}: a zone means something on this machine only",
                origin=origin,
            )
        if self.origin.scheme in ("socks4", "socks4a"):
            if ":" in origin.host:
                raise InvalidURL("SOCKS4 can't reach IPv6 addresses: use socks5://", origin=origin)
            if _FOR_A_NAME.fullmatch(origin.host):
                raise InvalidURL(
                    f"SOCKS4 can't reach {origin.host}, which stands for a name there: use "
                    "socks5://",
                    origin=origin,
                )


# ── The URL ────────────────────────────────────────────────────────────────────────────────────


def _parse(url: object) -> tuple[Origin, BasicAuth | None]:
    if not isinstance(url, str):
        raise TypeError(f"a proxy's URL must be a str, not {described(url)}")
    parts, port = _url.parts_of(url, _tell)
    if parts.scheme not in DEFAULT_PORTS or "://" not in url:
        raise InvalidURL(
            "a proxy's URL begins with http://, https://, socks5://, socks5h://, socks4:// or "
            f"socks4a://{_instead(url)}"
        )
    origin, auth = _url.place_of(
        url, parts, DEFAULT_PORTS[parts.scheme] if port is None else port, _tell
    )
    # Asked of the text, because the parts don't tell an empty query from none.
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise InvalidURL(f"{_tell(url)} ends with its port: no path, query or fragment can follow")
    if "%" in origin.host:
        raise InvalidURL(f"the host of {_tell(url)} has a zone: write its address without it")
    return origin, auth


def _tell(url: str) -> str:
    return "the proxy's URL"


def _instead(url: str) -> str:
    """How this one begins, if there is no doubt that it is with a scheme, and not a password."""
    if "://" not in url:
        return ": this one has no '://'"
    match = _SCHEME.match(url)
    if match is None or "@" in url:
        return ""
    scheme = match[0].lower()
    # Some desktops write it into the environment, and mean the version that everybody has.
    hint = ": write the version, mostly socks5:// or socks5h://" if scheme == "socks://" else ""
    return f", not {scheme}{hint}"


# ── The other arguments ────────────────────────────────────────────────────────────────────────


def _check_for_socks(
    scheme: str, auth: Auth | None, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    if headers:
        raise ValueError("headers are for http:// and https:// proxies: SOCKS has none")
    if auth is None:
        return
    if not isinstance(auth, BasicAuth):
        raise ValueError("SOCKS has a name and a password, and no bearer token")
    if max(len(auth.username.encode()), len(auth.password.encode())) > MAX_SOCKS_BYTES:
        raise ValueError(
            f"a name or a password for SOCKS can have {MAX_SOCKS_BYTES} bytes at most (as UTF-8)"
        )
    if auth.password and scheme.startswith("socks4"):
        raise ValueError("SOCKS4 has a name and no password: leave it out, or use socks5://")


def _check_headers(headers: Headers | None) -> tuple[tuple[bytes, bytes], ...]:
    if headers is None:
        return ()
    given = _fields.as_sent(_fields.read(headers))
    if refused := _fields.names_of(given) & _OF_THE_MESSAGE:
        raise ValueError(f"header {min(refused)!r} can't be among a proxy's: it is ours to write")
    return given


def _with_credentials(
    given: tuple[tuple[bytes, bytes], ...], auth: Auth | None
) -> tuple[tuple[bytes, bytes], ...]:
    if auth is None:
        return given
    if "proxy-authorization" in _fields.names_of(given):
        raise ValueError("give either credentials or a Proxy-Authorization header, not both")
    return ((b"Proxy-Authorization", auth.field_value().encode("ascii")), *given)


def _check_context(origin: Origin, context: object) -> ssl.SSLContext | None:
    checked = check_ssl_context(context)
    if checked is not None and origin.scheme != "https":
        raise ValueError("ssl_context is for https:// proxies only")
    return checked


def _check_server_hostname(origin: Origin, name: object) -> str | None:
    if name is None:
        return None
    if not (isinstance(name, str) and name):
        shown = "an empty one" if name == "" else described(name)
        raise TypeError(f"server_hostname must be a name or None, not {shown}")
    if origin.scheme != "https":
        raise ValueError("server_hostname is for https:// proxies only")
    return _url.check_server_hostname(name)


def _check_path(path: object) -> str | None:
    if path is None:
        return None
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"unix_socket must be a path (a str, or a Path), not {described(path)}")
    if not text or "\0" in text:
        raise ValueError("unix_socket must be the path of a socket")
    return text


def _check_via(via: object) -> Proxy | None:
    if via is None or isinstance(via, Proxy):
        return via
    if isinstance(via, str):
        return Proxy(via)
    raise TypeError(
        f"via must be a triopool.Proxy, a proxy's URL (a str) or None, not {described(via)}"
    )
