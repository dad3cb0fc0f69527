"""The arguments of httpx's own client, carried over to a pool; refused where they can't be."""

from __future__ import annotations

import inspect
import ssl
from types import ModuleType
from typing import Any

from .. import _habits
from .._config import described
from .._pool import ConnectionPool
from .options import warn_of_http2
from .proxies import environments_rules, pools_proxy

_ABOUT_CONNECTIONS = ("verify", "cert", "limits", "proxy")


def client_options(
    library: ModuleType, pool: ConnectionPool | None, lifetime: str, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the arguments of a client: those for its pool, translated, and the rest.

    Args:
      library: ``httpx`` or ``httpx2``.
      pool: the pool that the client borrows, if it does.
      lifetime: for how long it has one, if it does not.
      options: what the caller gave.

    Raises:
      ValueError, TypeError: an argument that can't be honoured.
    """
    options = dict(options)
    if options.get("proxy") is None:
        options.pop("proxy", None)
    _refuse_a_transport(options)
    warn_of_http2(options, stacklevel=3)
    _refuse_what_is_a_pools(library, options)
    given = {name: options.pop(name) for name in _ABOUT_CONNECTIONS if name in options}
    if pool is None:
        trust_env = options.get("trust_env", True)
        return {
            "lifetime": lifetime,
            **_pool_options(library, given, trust_env=trust_env),
        }, options
    if lifetime != "block":
        given["lifetime"] = lifetime
    if given:
        raise TypeError(
            f"{', '.join(given)}: with a pool that is borrowed this is the pool's affair; "
            "give it to triopool.ConnectionPool"
        )
    return {}, options


def _refuse_a_transport(options: dict[str, Any]) -> None:
    if "transport" in options:
        raise TypeError(
            "transport= is what this class is about: give that to the library's own AsyncClient"
        )


def _refuse_what_is_a_pools(library: ModuleType, options: dict[str, Any]) -> None:
    """The client would call these unknown, and not say where they go."""
    theirs = inspect.signature(library.AsyncClient).parameters
    ours = inspect.signature(ConnectionPool).parameters.values()
    names = [one.name for one in ours if one.kind is one.KEYWORD_ONLY and one.name not in theirs]
    meant = dict.fromkeys(names, "pool=triopool.ConnectionPool(...)") | {**_habits.OF_A_CLIENT}
    _habits.refuse("AsyncClient()", [name for name in options if name in names], meant)


def _pool_options(library: ModuleType, given: dict[str, Any], *, trust_env: bool) -> dict[str, Any]:
    limits = given.get("limits")
    if limits is None:
        # What the library has for a default, which it does not tell.
        limits = library.Limits(max_connections=100, max_keepalive_connections=20)
    if not isinstance(limits, library.Limits):
        raise TypeError(_about_limits(library.__name__, limits))
    options: dict[str, Any] = {
        "ssl_context": _ssl_context(
            library, given.get("verify", True), given.get("cert"), trust_env
        ),
        "max_connections": limits.max_connections,
        "max_idle": limits.max_keepalive_connections,
        "idle_timeout": limits.keepalive_expiry,
    }
    if limits.keepalive_expiry == 0:
        options |= {"idle_timeout": None, "max_idle": 0}
    if "proxy" in given:
        options["proxy"] = pools_proxy(library, given["proxy"])
    elif trust_env:
        options["proxy"] = environments_rules()
    return options


def _about_limits(name: str, limits: Any) -> str:
    other = "httpx" if name == "httpx2" else "httpx2"
    said = f"limits must be a {name}.Limits, not {described(limits)}"
    if type(limits).__module__.partition(".")[0] != other:
        return said
    return (
        f"{said}, which is {other}'s. Two libraries are mixed: import Limits from {name}, or take "
        f"triopool.{other}.AsyncClient, which is a client of {other}"
    )


def _ssl_context(library: ModuleType, verify: Any, cert: Any, trust_env: bool) -> ssl.SSLContext:
    """What the library would make of these; what the caller lent is never modified."""
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise TypeError(
                "cert= would modify the SSLContext that verify= lends: call load_cert_chain() of it"
            )
        return verify
    context: ssl.SSLContext = library.create_ssl_context(
        verify=verify, cert=cert, trust_env=trust_env
    )
    context.set_alpn_protocols(["http/1.1"])
    return context
