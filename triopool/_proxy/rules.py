"""Which proxy for which origin: by scheme, as the environment's variables have it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping

from .._config import check_bool, described
from .._errors import InvalidURL
from .._origin import Origin
from .choice import check_proxy
from .no_proxy import NoProxy, address_of
from .proxy import DIRECT, Direct, Proxy

MAX_REMEMBERED = 1024
"""For how many origins the answer is remembered."""


class ProxyRules:
    """A proxy for http, one for https, and the hosts to which requests go directly.

    A function of the origin, for a pool to ask::

        proxy = "http://proxy.example.org:3128"
        rules = triopool.ProxyRules(http=proxy, https=proxy, no_proxy="corp.example, 10.0.0.0/8")
        async with triopool.ConnectionPool(proxy=rules) as pool: ...

    :meth:`from_environment` makes them of what the environment says.

    Args:
      http: the proxy for http URLs; :data:`triopool.DIRECT` for none.
      https: the proxy for https URLs. What counts is the URL's scheme, and not the proxy's.
      no_proxy: to whom requests go directly, as in the environment's variable: entries between
        commas or blanks. ``*`` is everything; ``example.com`` and ``.example.com`` are that name
        and all below it, ``*.example.com`` is all below it; ``192.0.2.1``, ``10.0.0.0/8``,
        ``fd00::/8`` are addresses; ``:8080`` behind one of these makes it for that port only.
        Names are never looked up. Entries that mean nothing are skipped.
      loopback: whether requests to this machine (``localhost``, ``*.localhost``, 127.0.0.0/8, ::1)
        go through the proxy, too. To a proxy, its own machine is ``localhost``.

    Raises:
      InvalidURL, TypeError, ValueError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        http: Proxy | str | Direct = DIRECT,
        https: Proxy | str | Direct = DIRECT,
        no_proxy: str = "",
        loopback: bool = False,
    ) -> None:
        self._http = check_proxy("http", http)
        self._https = check_proxy("https", https)
        check_bool("loopback", loopback)
        if not isinstance(no_proxy, str):
            raise TypeError(f"no_proxy must be a str, not {described(no_proxy)}")
        goes_directly = functools.partial(_goes_directly, NoProxy(no_proxy), loopback)
        self._goes_directly: Callable[[Origin], bool] = functools.lru_cache(MAX_REMEMBERED)(
            goes_directly
        )

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, loopback: bool = False
    ) -> ProxyRules:
        """The rules of ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy``, read now.

        In lower case they go before the same in upper case, and an empty one means none.
        ``all_proxy`` is for what has none of its own. A proxy without a scheme is an http one.
        ``HTTP_PROXY`` in upper case is not looked at where ``REQUEST_METHOD`` is set: in a CGI
        program, what it says comes from the client (https://httpoxy.org).

        Args:
          environ: the variables.
          loopback: as for :class:`ProxyRules`.

        Raises:
          InvalidURL: the value of a variable that counts can't be used. The variable is named, and
            not its value.
        """
        # Names as they are spelled: os.environ itself knows only one spelling on Windows.
        variables = dict(environ)
        if "REQUEST_METHOD" in variables:
            variables.pop("HTTP_PROXY", None)
        return cls(
            http=_proxy_named(variables, "http_proxy"),
            https=_proxy_named(variables, "https_proxy"),
            no_proxy=_value(variables, "no_proxy")[1],
            loopback=loopback,
        )

    def __call__(self, origin: Origin) -> Proxy | Direct:
        """The proxy for *origin*, or :data:`triopool.DIRECT`."""
        proxy = self._https if origin.scheme == "https" else self._http
        return DIRECT if proxy is DIRECT or self._goes_directly(origin) else proxy

    def __repr__(self) -> str:
        return f"<ProxyRules http={self._http!r} https={self._https!r}>"


def _goes_directly(no_proxy: NoProxy, loopback: bool, origin: Origin) -> bool:
    return no_proxy.matches(origin) or (not loopback and _is_this_machine(origin))


def _is_this_machine(origin: Origin) -> bool:
    address = address_of(origin)
    if address is not None:
        return address.is_loopback
    return f".{origin.host.removesuffix('.')}".endswith(".localhost")


def _value(variables: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that counts, in lower case or in upper case, and its value; "" for none."""
    spelled = name if name in variables else name.upper()
    return spelled, variables.get(spelled, "")


def _proxy_named(variables: Mapping[str, str], name: str) -> Proxy | Direct:
    """The proxy that a variable names, or ``all_proxy`` in its place."""
    spelled, value = _value(variables, name)
    if not value:
        spelled, value = _value(variables, "all_proxy")
    if not value:
        return DIRECT
    try:
        return Proxy(value if "://" in value else f"http://{value}")
    except ValueError as exc:
        # The message quotes nothing of the value, and neither does this one.
        raise InvalidURL(f"{spelled} in the environment can't be used: {exc}") from None
