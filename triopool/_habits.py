"""What people write from habit, of other clients mostly, and what to write instead.

All of it stands here: keywords, attributes of a pool, of a response and of a block that was not
entered, names of the module. Each gets the error that Python would raise, with an answer in it. A
name that is like one of ours is answered too. Nothing is quoted but the name.

Attributes are answered by descriptors that raise, and by no ``__getattr__``: with that, each look
at any attribute of a pool or a response would take 20 ns more, and each call of a method 40.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NoReturn, TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])

_A_LIMIT = "timeouts=triopool.Timeouts(...), or a cancel scope such as trio.fail_after()"
_A_CONTEXT = "ssl_context="
_EACH = "the same argument of each request, or of pool.session()"
_A_SESSION = "the same argument of pool.session()"
_A_RETRY = "pool.session(retry=triopool.Retry(...))"
_A_PAIR = "auth=(name, password)"

OF_A_REQUEST: Mapping[str, str] = {
    "allow_redirects": "follow_redirects=",
    "assert_fingerprint": "ConnectionPool(pins={host: ...})",
    "base_url": "pool.session(base_url=...)",
    "body": "content=",
    "cert": _A_CONTEXT,
    "chunked": "content=, an async iterable",
    "connect_timeout": "timeouts=triopool.Timeouts(connect=...)",
    "cookies": "headers={'Cookie': ...}, or pool.session(cookies=True)",
    "data": "form= or content=",
    "deadline": "a cancel scope such as trio.fail_after()",
    "extensions": "server_hostname= or target=",
    "fields": "form= or multipart=",
    "files": "multipart=",
    "hooks": "ConnectionPool(instruments=[...])",
    "max_size": "max_body_bytes=",
    "mounts": "proxy=",
    "no_proxy": "proxy=triopool.DIRECT",
    "password": _A_PAIR,
    "proxies": "proxy=",
    "proxy_auth": "proxy=triopool.Proxy(url, auth=...)",
    "proxy_headers": "proxy=triopool.Proxy(url, headers=...)",
    "max_redirects": "follow_redirects=triopool.Redirects(limit=...)",
    "query": "params=",
    "raise_for_status": "response.raise_for_status()",
    "read_timeout": "timeouts=triopool.Timeouts(read=...)",
    "redirect": "follow_redirects=",
    "retries": _A_RETRY,
    "retry": _A_RETRY,
    "sni_hostname": "server_hostname=",
    "ssl": _A_CONTEXT,
    "stream": "pool.stream(...)",
    "timeout": _A_LIMIT,
    "username": _A_PAIR,
    "verify": _A_CONTEXT,
}

OF_A_POOL: Mapping[str, str] = {
    "assert_fingerprint": "pins=",
    "auth": _EACH,
    "base_url": _A_SESSION,
    "cert": _A_CONTEXT,
    "cookies": _A_SESSION,
    "connector": "the pool's own options",
    "event_hooks": "instruments=",
    "family": "resolver=",
    "follow_redirects": _EACH,
    "headers": _EACH,
    "hooks": "instruments=",
    "keepalive_expiry": "idle_timeout=",
    "keepalive_timeout": "idle_timeout=",
    "limit": "max_connections=",
    "limit_per_host": "max_connections_per_origin=",
    "limits": "max_connections= and max_idle=",
    "max_keepalive_connections": "max_idle=",
    "max_redirects": "follow_redirects= of each request",
    "max_requests": "max_requests_per_connection=",
    "max_size": "max_connections=",
    "maxsize": "max_connections=",
    "mounts": "proxy=, a function of the origin",
    "network_backend": "socket_factory=",
    "http_proxy": "proxy=triopool.ProxyRules(http=...)",
    "https_proxy": "proxy=triopool.ProxyRules(https=...)",
    "no_proxy": "proxy=triopool.ProxyRules(..., no_proxy=...)",
    "params": _EACH,
    "pool_connections": "max_connections=",
    "pool_maxsize": "max_connections=",
    "proxies": "proxy=, or proxy=triopool.ProxyRules(http=..., https=...)",
    "proxy_auth": "proxy=triopool.Proxy(url, auth=...)",
    "proxy_headers": "proxy=triopool.Proxy(url, headers=...)",
    "proxy_ssl_context": "proxy=triopool.Proxy(url, ssl_context=...)",
    "proxy_url": "proxy=",
    "retries": _A_RETRY,
    "retry": _A_SESSION,
    "socket_options": "socket_factory=",
    "ssl": _A_CONTEXT,
    "timeout": _A_LIMIT,
    "trace_configs": "instruments=",
    "trust_env": "proxy=triopool.ProxyRules.from_environment()",
    "ttl_dns_cache": "dns_ttl=",
    "uds": "unix_socket=",
    "verify": _A_CONTEXT,
}

OF_A_SESSION: Mapping[str, str] = {
    "allow_redirects": "follow_redirects=",
    "cert": _A_CONTEXT,
    "limits": "options of the pool, whose connections the session borrows",
    "max_redirects": "follow_redirects=triopool.Redirects(limit=...)",
    "prefix_url": "base_url=",
    "proxies": "proxy=",
    "raise_for_status": "response.raise_for_status()",
    "retries": "retry=triopool.Retry(...)",
    "retry_options": "retry=triopool.Retry(...)",
    "timeout": _A_LIMIT,
    "transport": "options of the pool, whose connections the session borrows",
    "verify": _A_CONTEXT,
}

OF_A_PROXY: Mapping[str, str] = {
    "cert": _A_CONTEXT,
    "host": "url='http://host:port'",
    "password": "auth=(name, password)",
    "port": "url='http://host:port'",
    "proxy_auth": "auth=",
    "proxy_headers": "headers=",
    "proxy_ssl": _A_CONTEXT,
    "rdns": "socks5h:// in the URL",
    "ssl": _A_CONTEXT,
    "uds": "unix_socket=",
    "username": "auth=(name, password)",
    "verify": _A_CONTEXT,
}

OF_A_CLIENT: Mapping[str, str] = {
    "idle_timeout": "limits=",
    "max_connections": "limits=",
    "max_idle": "limits=",
    "ssl_context": "verify=",
    "timeouts": "timeout=",
}
"""Keywords of a pool, given to a client of httpx that makes its own."""

OF_TIMEOUTS: Mapping[str, str] = {
    "sock_connect": "connect=",
    "sock_read": "read=",
    "timeout": "Timeouts(5), without a name",
    "total": "a cancel scope such as trio.fail_after()",
}

LACKING: Mapping[str, str] = {
    "app": "an application is served by a real server, or by triopool.testing",
    "http2": "triopool speaks HTTP/1.1 only",
    "loop": "triopool is for Trio, which has no loops",
    "nursery": "a pool opens a nursery of its own",
    "transport": "what tests replace is resolver= and socket_factory=, see triopool.testing",
}
"""What nothing of ours can be asked for, by whichever keyword, and why not."""

ON_A_POOL: Mapping[str, str] = {
    **dict.fromkeys(
        ("aclose", "close"),
        "leave its 'async with' block, which closes it; 'await pool.drain()' before that lets "
        "requests finish",
    ),
    **dict.fromkeys(
        ("auth", "cookies", "headers", "params", "timeout", "timeouts"),
        "did you mean the same argument of each request, or of pool.session()?",
    ),
    "adapters": "did you mean ConnectionPool(proxy=...)?",
    "build_request": "did you mean pool.request(method, url, ...)?",
    "closed": "did you mean 'not pool.is_open'?",
    "is_closed": "did you mean 'not pool.is_open'?",
    "mount": "did you mean ConnectionPool(proxy=...)?",
    "send": "did you mean pool.request(method, url, ...)?",
    "urlopen": "did you mean pool.request(method, url, ...)?",
    "verify": "did you mean ConnectionPool(ssl_context=...)?",
}

A_POOL_IS_A_BLOCK = "a pool is opened by 'async with triopool.ConnectionPool() as pool:'"
A_BLOCK_IS_ENTERED = (
    "stream() and lease() return a block, which is entered by 'async with pool.stream(...) as "
    "response:'; what is awaited is pool.request()"
)

ON_A_SESSION: Mapping[str, str] = {
    **dict.fromkeys(("aclose", "close"), "a session is not closed: it borrows its pool"),
    **dict.fromkeys(
        ("auth", "headers", "params", "timeout", "timeouts"),
        "did you mean session.session({name}=...), which derives another one?",
    ),
    "mount": "did you mean ConnectionPool(proxy=...)?",
    "send": "did you mean session.request(method, url, ...)?",
    "verify": "did you mean pool.session(ssl_context=...)?",
}
A_SESSION_IS_NO_BLOCK = (
    "a session needs no block: 'api = pool.session(...)', and then 'await api.get(...)'"
)

_PIECES = "did you mean 'async for chunk in response', in a block of pool.stream()?"
_BODY = "did you mean response.content, or 'await response.read()' in a block of pool.stream()?"

ON_A_RESPONSE: Mapping[str, str] = {
    **dict.fromkeys(
        ("aiter_bytes", "aiter_raw", "iter_bytes", "iter_chunked", "iter_content", "iter_raw"),
        _PIECES,
    ),
    **dict.fromkeys(("body", "data", "raw"), _BODY),
    "aiter_lines": "did you mean response.iter_lines()?",
    "aiter_text": "did you mean response.iter_text()?",
    "aread": "did you mean response.read()?",
    "charset": "did you mean response.encoding?",
    "content_type": "did you mean response.headers['Content-Type']?",
    "cookies": "did you mean response.headers.getall('Set-Cookie', [])?",
    "getheader": "did you mean response.headers.get(name)?",
    "header": "did you mean response.headers?",
    "ok": "did you mean response.is_success, or response.status_code < 400?",
    "real_url": "did you mean response.url?",
    "reason_phrase": "did you mean response.reason?",
    "release": "did you mean response.aclose()?",
    "status": "did you mean response.status_code?",
    "status_text": "did you mean response.reason?",
    "version": "did you mean response.http_version?",
}

ON_A_BLOCK: Mapping[str, str] = dict.fromkeys(
    (
        *("aclose", "close", "content", "headers", "info", "json", "read", "receive_some"),
        *("request", "status_code", "text", "url"),
    ),
    "it has not been entered: 'async with pool.stream(...) as response:'",
)
"""What a response or a leased connection has, and their block has not."""

OF_THE_MODULE: Mapping[str, str] = {
    **dict.fromkeys(
        ("delete", "get", "head", "options", "patch", "post", "put", "request", "stream"),
        "ask a pool: 'async with triopool.ConnectionPool() as pool: await pool.get(url)'",
    ),
    **dict.fromkeys(
        ("Client", "ClientSession", "Pool", "PoolManager"),
        "did you mean triopool.ConnectionPool?",
    ),
    **dict.fromkeys(
        ("ClientError", "HTTPError", "RequestError", "RequestException", "TransportError"),
        "did you mean triopool.TriopoolError?",
    ),
    **dict.fromkeys(
        ("ClientResponseError", "HTTPStatusError"), "did you mean triopool.StatusError?"
    ),
    **dict.fromkeys(
        ("testing", "httpx", "httpx2"), "it is a module of its own: 'import triopool.{name}'"
    ),
    **dict.fromkeys(("Timeout", "ClientTimeout"), "did you mean triopool.Timeouts?"),
    "AsyncClient": "did you mean triopool.ConnectionPool, or triopool.httpx.AsyncClient?",
    "ConnectionError": "did you mean triopool.ConnectError?",
    "FormData": "did you mean form= or multipart=, with a mapping?",
    "Headers": "did you mean headers=, with a mapping?",
    "Limits": "did you mean the options of a triopool.ConnectionPool?",
    "TimeoutException": "did you mean trio.TooSlowError, which each timeout is?",
    "TooManyRedirects": "did you mean triopool.RedirectError?",
    "URL": "a URL is a str",
}


# ── Keywords ───────────────────────────────────────────────────────────────────────────────────


def refuse(
    caller: str, names: Iterable[str], meant: Mapping[str, str], known: Iterable[str] = ()
) -> None:
    """Refuse keywords that *caller* does not have, and say what was *meant* where it is known.

    Args:
      known: those that it has: one of them may have been misspelt.

    Raises:
      TypeError: there is one.
    """
    for name in names:
        hint = _instead(name, meant, list(known))
        raise TypeError(f"{caller} got an unexpected keyword argument {name!r}{hint}")


def check_keywords(
    caller: str, options: Iterable[str], known: Collection[str], meant: Mapping[str, str]
) -> None:
    """:func:`refuse` those of a call's keywords that are not among the *known* ones."""
    refuse(caller, [name for name in options if name not in known], meant, known)


def _instead(name: str, meant: Mapping[str, str], known: list[str]) -> str:
    if name in meant:
        return f": did you mean {meant[name]}?"
    if name in LACKING:
        return f": {LACKING[name]}"
    # Imported when it is needed: most programs never do.
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f": did you mean {close[0]}=?" if close else ""


def given(caller: str, meant: Mapping[str, str]) -> Callable[[F], F]:
    """Decorate a method, so that its error for a keyword that it does not have is :func:`refuse`'s.

    A decorator, and not ``**unexpected``, so that type checkers see the very signature.
    """

    def decorate(method: F) -> F:
        parameters = inspect.signature(method).parameters
        known = [one.name for one in parameters.values() if one.kind is one.KEYWORD_ONLY]

        @functools.wraps(method)
        def checked(*args: Any, **options: Any) -> object:
            refuse(caller, [name for name in options if name not in parameters], meant, known)
            return method(*args, **options)

        return cast("F", checked)

    return decorate


# ── Attributes ─────────────────────────────────────────────────────────────────────────────────


class Slip:
    """An attribute that there is not. Whoever asks for it is told what was meant."""

    def __init__(self, name: str, of: str, meant: str) -> None:
        self._name = name
        meant = meant.format(name=name)
        self._message = self.__doc__ = f"a {of} has no attribute {name!r}: {meant}"

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(self._message, name=self._name, obj=instance)

    def __repr__(self) -> str:
        return f"<{self._message}>"


def answer(kind: type, of: str, attributes: Mapping[str, str], **methods: str) -> None:
    """Let the instances of a class answer those who ask for what they have not.

    Neither type checkers see it, nor ``dir()`` of an instance; ``hasattr()`` says no.

    Args:
      of: what messages call an instance.
      attributes: what to say of each.
      methods: of Python's own, such as ``__enter__``; what their TypeError says.
    """
    for name, meant in attributes.items():
        assert not hasattr(kind, name), name
        setattr(kind, name, Slip(name, of, meant))
    for name, message in methods.items():
        setattr(kind, name, _refusal(message))

    def __dir__(self: object) -> list[str]:  # noqa: N807
        return [name for name in object.__dir__(self) if name not in attributes]

    kind.__dir__ = __dir__  # type: ignore[assignment]


def _refusal(message: str) -> Callable[..., NoReturn]:
    def refuse_it(self: object, *arguments: object) -> NoReturn:
        raise TypeError(message)

    refuse_it.__doc__ = message
    return refuse_it


def answer_for_module(namespace: dict[str, Any], name_of_module: str) -> None:
    """Let a module answer those who ask for what it has not (PEP 562)."""

    def no_attribute(name: str) -> NoReturn:
        hint = OF_THE_MODULE.get(name, "").format(name=name)
        raise AttributeError(
            f"module {name_of_module!r} has no attribute {name!r}{hint and ': '}{hint}", name=name
        )

    namespace["__getattr__"] = no_attribute
