"""What people write from habit, and what they are told: what was wrong, what to do, no secret.

The sentences are in ``triopool/_habits.py`` for what can be told by a name alone, and else where
the value is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import difflib
import inspect
import pydoc
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import httpx
import pytest
import trio

import triopool
from triopool import _habits
from triopool._client.block import Block
from triopool.abc import Instrument
from triopool.testing import Network, Reply, Request, http_server

URL = "http://192.0.2.1/"
SECRET = "hunter2"

# As yarl's, which the tests don't need otherwise.
yarl_url = type("URL", (), {"__module__": "yarl._url", "__str__": lambda self: URL})


async def respond(request: Request) -> Reply:
    return Reply(body=f"{request.method} {request.target}".encode())


@asynccontextmanager
async def open_pool() -> AsyncIterator[triopool.ConnectionPool]:
    async with Network() as network:
        network.listen("192.0.2.1", 80, http_server(respond))
        async with triopool.ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket
        ) as pool:
            yield pool
            # Nothing was taken for any slip.
            assert pool.statistics().busy == 0


# ── Options of a request ───────────────────────────────────────────────────────────────────────

IN_A_REQUEST: list[tuple[dict[str, Any], str]] = [
    ({"timeout": 5}, "did you mean timeouts=triopool.Timeouts(...), or a cancel scope such as tr"),
    ({"timeouts": 5}, "timeouts must be a triopool.Timeouts, not 5: write triopool.Timeouts(5)"),
    ({"timeouts": httpx.Timeout(5)}, "must be a triopool.Timeouts, not httpx.Timeout"),
    ({"data": {"a": SECRET}}, "'data': did you mean form= or content=?"),
    ({"files": {"a": SECRET}}, "'files': did you mean multipart=?"),
    ({"body": SECRET}, "'body': did you mean content=?"),
    ({"query": {"a": SECRET}}, "'query': did you mean params=?"),
    ({"allow_redirects": True}, "'allow_redirects': did you mean follow_redirects=?"),
    ({"max_redirects": 5}, "did you mean follow_redirects=triopool.Redirects(limit=...)?"),
    ({"follow_redirects": "yes"}, "follow_redirects must be a bool or triopool.Redirects, not str"),
    ({"follow_redirects": 5}, "not 5: write triopool.Redirects(limit=5)"),
    ({"follow_redirects": -5}, "must be a bool or triopool.Redirects, not -5"),
    ({"verify": False}, "'verify': did you mean ssl_context=?"),
    ({"verify": SECRET}, "'verify': did you mean ssl_context=?"),
    ({"cert": SECRET}, "'cert': did you mean ssl_context=?"),
    ({"ssl": False}, "'ssl': did you mean ssl_context=?"),
    (
        {"cookies": {"a": SECRET}},
        "'cookies': did you mean headers={'Cookie': ...}, or pool.s",
    ),
    ({"auth": (SECRET,)}, "or a pair (name, password), not a tuple of 1"),
    ({"auth": SECRET}, "or a pair (name, password), not str"),
    ({"auth": httpx.BasicAuth("a", SECRET)}, "a pair (name, password), not httpx.BasicAuth"),
    ({"password": SECRET}, "'password': did you mean auth=(name, password)?"),
    ({"stream": True}, "'stream': did you mean pool.stream(...)?"),
    ({"proxies": {"http": SECRET}}, "'proxies': did you mean proxy=?"),
    ({"proxy": {"http": SECRET}}, "not dict: one for each scheme is ProxyRules(http=..., https="),
    ({"raise_for_status": True}, "did you mean response.raise_for_status()?"),
    ({"retries": 3}, "'retries': did you mean pool.session(retry=triopool.Retry(...))?"),
    ({"base_url": URL}, "'base_url': did you mean pool.session(base_url=...)?"),
    ({"extensions": {"timeout": 5}}, "'extensions': did you mean server_hostname= or target=?"),
    ({"http2": True}, "'http2': triopool speaks HTTP/1.1 only"),
    ({"header": {"a": SECRET}}, "'header': did you mean headers=?"),
    ({"follow_redirect": True}, "'follow_redirect': did you mean follow_redirects=?"),
    ({"max_body_byte": 5}, "'max_body_byte': did you mean max_body_bytes=?"),
    ({"multiparts": {"a": SECRET}}, "'multiparts': did you mean multipart=?"),
    ({"json": {}, "content": SECRET}, "give one body, not several: content=, json="),
    ({"content": {"a": SECRET}}, "not dict: is it for json= or form=?"),
    ({"content": [SECRET.encode()]}, "not list: join the pieces, or make the iterable async"),
    ({"params": f"a={SECRET}"}, "not str: what is encoded already goes into the URL, behind a"),
    ({"form": f"a={SECRET}"}, "not str: what is encoded already goes into content="),
    ({"headers": f"a: {SECRET}"}, "headers must be a mapping, or an iterable of (name, value)"),
    ({"headers": {"a": 5}}, "the value of header 'a' must be str or bytes, not int"),
    ({"on_progress": 5}, "on_progress must be callable, and not async: 5 is not"),
    ({"max_body_bytes": "5"}, "max_body_bytes must be a whole number or None, not str"),
]


@pytest.mark.parametrize(("options", "says"), IN_A_REQUEST, ids=lambda value: str(value)[:40])
async def test_an_option_of_another_client_is_answered(options: Any, says: str) -> None:
    async with open_pool() as pool:
        for ask in (pool.get, pool.post):
            with pytest.raises((TypeError, ValueError)) as caught:
                await ask(URL, **options)
            assert says in str(caught.value)
            assert SECRET not in str(caught.value)
        with pytest.raises((TypeError, ValueError), match=r"."):
            pool.stream("GET", URL, **options)
        assert pool.statistics().dialled == 0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (httpx.URL(f"http://a:{SECRET}@a.example"), "not httpx.URL: give str(url)"),
        (yarl_url(), "not yarl.URL: give str(url)"),
        (urllib.parse.urlsplit(URL), "not urllib.SplitResult: give url.geturl()"),
        (urllib.parse.urlparse(URL), "not urllib.ParseResult: give url.geturl()"),
        (URL.encode(), "not bytes: give url.decode()"),
        (Path("/a"), "url must be a str, not pathlib."),
        (None, "url must be a str, not NoneType"),
        ("www.example.org", "an absolute URL such as https://example.org/ is needed"),
        (f"/path?token={SECRET}", "an absolute URL such as https://example.org/ is needed"),
        ("ws://a.example/", "for a WebSocket write http:// or https://"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_no_url_is_answered(url: Any, says: str) -> None:
    async with open_pool() as pool:
        with pytest.raises((TypeError, triopool.InvalidURL)) as caught:
            await pool.get(url)
        assert says in str(caught.value)
        assert SECRET not in str(caught.value)


async def test_a_misspelt_option_of_what_makes_many_requests_names_what_was_called() -> None:
    async with triopool.ConnectionPool() as pool:
        options: Any = {"timeout": 5}
        with pytest.raises(TypeError, match=r"download\(\).*'timeout'.*triopool.Timeouts"):
            await pool.download("http://a.test/", "file", **options)
        with pytest.raises(TypeError, match=r"events\(\).*'timeout'.*triopool.Timeouts"):
            pool.events("http://a.test/", **options)


async def test_the_method_comes_first() -> None:
    async with open_pool() as pool:
        with pytest.raises(TypeError) as caught:
            await pool.request(URL, "GET")
        assert str(caught.value) == "the method comes first: request('GET', url)"
        with pytest.raises(triopool.InvalidURL, match="absolute URL"):
            await pool.request("GET", "POST")


async def test_none_among_params_is_an_empty_value_and_no_error() -> None:
    """As in httpx. For requests it is no parameter at all: that is to leave it out."""
    async with open_pool() as pool:
        assert (await pool.get(URL, params={"a": None, "b": "1"})).text == "GET /?a=&b=1"


# ── Options of a pool, and of timeouts ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 5}, "'timeout': did you mean timeouts=triopool.Timeouts(...), or a cancel"),
        ({"timeouts": 5}, "not 5: write triopool.Timeouts(5)"),
        ({"timeouts": None}, "not None: write triopool.Timeouts(None)"),
        ({"timeouts": True}, "timeouts must be a triopool.Timeouts, not True"),
        ({"limits": httpx.Limits()}, "'limits': did you mean max_connections= and max_idle=?"),
        ({"max_connections": 0}, "max_connections must be at least 1 (None for no limit), not 0"),
        ({"max_conections": 5}, "'max_conections': did you mean max_connections=?"),
        ({"max_connection_per_origin": 5}, "did you mean max_connections_per_origin=?"),
        ({"pool_maxsize": 5}, "'pool_maxsize': did you mean max_connections=?"),
        ({"keepalive_timeout": 5}, "'keepalive_timeout': did you mean idle_timeout=?"),
        ({"idle_timeout": 0}, "(None for no limit; max_idle=0 keeps no connection), not 0"),
        ({"idle_timeout": -1}, "idle_timeout must be positive"),
        ({"happy_eyeballs_delay": 0}, "(RFC 8305 wants 0.01 at least; a large one tries one add"),
        ({"happy_eyeballs_delay": None}, "must be a number of seconds, not None"),
        (
            {"headers": {"a": SECRET}},
            "did you mean the same argument of each request, or of pool.sessio",
        ),
        ({"proxies": {"http": SECRET}}, "did you mean proxy=, or proxy=triopool.ProxyRules(http="),
        ({"trust_env": True}, "did you mean proxy=triopool.ProxyRules.from_environment()?"),
        ({"verify": False}, "'verify': did you mean ssl_context=?"),
        ({"ssl_context": False}, "check_hostname = False, and then verify_mode = ssl.CERT_NONE"),
        ({"ssl_context": "ca.pem"}, "not str: ssl.create_default_context(cafile=...) makes one"),
        ({"ssl_context": True}, "ssl_context must be an ssl.SSLContext or None, not True"),
        ({"transport": object()}, "what tests replace is resolver= and socket_factory=, see triop"),
        ({"event_hooks": {}}, "'event_hooks': did you mean instruments=?"),
        ({"instruments": Instrument()}, "a list of them, not triopool.Instrument: write instrume"),
        ({"instruments": Instrument}, "a list of them, not Instrument: write instruments=[...]"),
        ({"instruments": [Instrument]}, "not Instrument: it is a class, and has to be called"),
        ({"instruments": ["log"]}, "instances of triopool.abc.Instrument, not str"),
        ({"local_address": 5}, "or a pair (address, port), not 5"),
        ({"local_address": ("192.0.2.1",)}, "or a pair (address, port), not tuple"),
        ({"local_address": ("192.0.2.1", "80")}, "or a pair (address, port), not tuple"),
        ({"http2": True}, "'http2': triopool speaks HTTP/1.1 only"),
        ({"nonsense": True}, "ConnectionPool() got an unexpected keyword argument 'nonsense'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_option_of_another_pool_is_answered(options: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        triopool.ConnectionPool(**options)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"total": 5}, "'total': did you mean a cancel scope such as trio.fail_after()?"),
        ({"timeout": 5}, "'timeout': did you mean Timeouts(5), without a name?"),
        ({"sock_read": 5}, "'sock_read': did you mean read=?"),
        ({"reads": 5}, "'reads': did you mean read=?"),
        ({"read": -1}, "Timeouts.read must be positive (None for no limit), not -1"),
        ({"read": "5"}, "Timeouts.read must be a number of seconds or None, not str"),
    ],
    ids=str,
)
def test_a_limit_of_another_client_is_answered(options: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        triopool.Timeouts(**options)
    assert says in str(caught.value)


def test_the_check_of_a_context_is_the_same_everywhere() -> None:
    context = ssl.create_default_context()
    triopool.ConnectionPool(ssl_context=context)
    wrong: Any = Path("ca.pem")
    with pytest.raises(TypeError, match="cafile"):
        triopool.Proxy("https://a.example", ssl_context=wrong)


# ── A pool and a block, used as others are ─────────────────────────────────────────────────────

Use = Callable[[Any], Any]


async def use_it(use: Use, pool: triopool.ConnectionPool) -> None:
    outcome = use(pool)
    if inspect.isawaitable(outcome):
        await outcome


def enter(what: Any) -> None:
    with what:
        raise AssertionError("entered")


async def wait_for(what: Any) -> None:
    await what


POOL = "a pool is opened by 'async with triopool.ConnectionPool() as pool:'"
LEAVE = "leave its 'async with' block, which closes it; 'await pool.drain()' before that lets"
BLOCK = "a block, which is entered by 'async with pool.stream(...) as response:'; what is awaited"
EACH = "did you mean the same argument of each request, or of pool.session()?"


@pytest.mark.parametrize(
    ("use", "kind", "says"),
    [
        (wait_for, TypeError, POOL),
        (enter, TypeError, POOL),
        (lambda pool: pool.aclose(), AttributeError, LEAVE),
        (lambda pool: pool.close(), AttributeError, LEAVE),
        (lambda pool: pool.headers.update({"a": SECRET}), AttributeError, EACH),
        (lambda pool: pool.cookies.set("a", SECRET), AttributeError, EACH),
        (lambda pool: pool.is_closed, AttributeError, "did you mean 'not pool.is_open'?"),
        (lambda pool: pool.mount("https://", None), AttributeError, "ConnectionPool(proxy=...)?"),
        (lambda pool: pool.send(None), AttributeError, "pool.request(method, url, ...)?"),
        (lambda pool: wait_for(pool.stream("GET", URL)), TypeError, BLOCK),
        (lambda pool: enter(pool.stream("GET", URL)), TypeError, BLOCK),
        (lambda pool: wait_for(pool.lease(URL)), TypeError, BLOCK),
        (
            lambda pool: pool.stream("GET", URL).status_code,
            AttributeError,
            "it has not been entered: 'async with pool.stream(...) as response:'",
        ),
        (
            lambda pool: triopool.ConnectionPool().get(URL),
            RuntimeError,
            "this ConnectionPool is not open: write 'async with ConnectionPool() as pool:'",
        ),
        (lambda pool: pool.__aenter__(), RuntimeError, "can be entered only once: make a new one"),
    ],
)
async def test_a_pool_that_is_used_as_others_are_answers(
    use: Use, kind: type[Exception], says: str
) -> None:
    async with open_pool() as pool:
        with pytest.raises(kind) as caught:
            await use_it(use, pool)
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda api: api.headers.update({"a": SECRET}), "session.session(headers=...), which deri"),
        (lambda api: api.auth, "did you mean session.session(auth=...), which derives another one"),
        (lambda api: api.close(), "a session is not closed: it borrows its pool"),
        (lambda api: api.aclose(), "a session is not closed: it borrows its pool"),
        (lambda api: api.verify, "did you mean pool.session(ssl_context=...)?"),
        (
            enter,
            "a session needs no block: 'api = pool.session(...)', and then 'await api.get(...)",
        ),
        (lambda api: api.__aenter__(), "a session needs no block"),
    ],
)
def test_a_session_that_is_used_as_others_are_answers(use: Use, says: str) -> None:
    api = triopool.ConnectionPool().session()
    with pytest.raises((AttributeError, TypeError)) as caught:
        use(api)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_pool_under_asyncio_says_what_to_do() -> None:
    async def main() -> None:
        async with triopool.ConnectionPool():
            pass

    def run() -> None:
        with pytest.raises(RuntimeError) as caught:
            asyncio.run(main())
        assert str(caught.value) == (
            "triopool is for Trio, and was called under asyncio: run the program with trio.run(), "
            "or anyio.run(..., backend='trio')"
        )

    await trio.to_thread.run_sync(run)


async def test_closing_a_pool_by_contextlib_is_answered_too() -> None:
    pool: Any = triopool.ConnectionPool()
    with pytest.raises(AttributeError, match="leave its 'async with' block"):
        async with contextlib.aclosing(pool):
            pass


# ── A response ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("status", "a triopool.Response has no attribute 'status': did you mean response.status_c"),
        ("ok", "did you mean response.is_success, or response.status_code < 400?"),
        ("data", "did you mean response.content, or 'await response.read()' in a block of pool."),
        ("body", "did you mean response.content"),
        (
            "iter_content",
            "did you mean 'async for chunk in response', in a block of pool.stream()?",
        ),
        ("aiter_bytes", "did you mean 'async for chunk in response'"),
        ("aread", "did you mean response.read()?"),
        ("release", "did you mean response.aclose()?"),
        ("reason_phrase", "did you mean response.reason?"),
        ("cookies", "did you mean response.headers.getall('Set-Cookie', [])?"),
        ("getheader", "did you mean response.headers.get(name)?"),
        ("real_url", "did you mean response.url?"),
        ("aiter_lines", "did you mean response.iter_lines()?"),
    ],
)
async def test_an_attribute_of_other_responses_is_answered(name: str, says: str) -> None:
    async with open_pool() as pool:
        response = await pool.get(URL)
        with pytest.raises(AttributeError) as caught:
            getattr(response, name)
        assert says in str(caught.value)
        assert (caught.value.name, caught.value.obj) == (name, response)
        assert not hasattr(response, name)


async def test_a_response_that_is_read_when_its_block_was_left_says_so() -> None:
    async with open_pool() as pool:
        async with pool.stream("GET", URL) as response:
            with pytest.raises(RuntimeError, match=r"'await response\.read\(\)' first, or use poo"):
                response.text  # noqa: B018
        with pytest.raises(trio.ClosedResourceError, match="is read before its block is left"):
            await response.read()
        response = await pool.get(URL)
        with pytest.raises(RuntimeError, match=r"was read already: see response\.content"):
            async for _ in response:
                pass


async def test_what_only_python_can_say_is_said_by_python() -> None:
    """For a better word we would have to have methods that have a meaning for others: whatever is
    iterable is a body for httpx, and whatever json() returns has to be what it is."""
    async with open_pool() as pool:
        response: Any = await pool.get(URL)
        assert not isinstance(response, Iterable | Awaitable)
        with pytest.raises(TypeError, match="'Response' object is not iterable"):
            list(response)
        with pytest.raises(TypeError, match="'str' object is not callable"):
            response.text()
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'url'"):
            await pool.request(URL)  # type: ignore[call-arg]


# ── The module ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(_habits.OF_THE_MODULE))
def test_a_name_of_another_module_is_answered(name: str) -> None:
    # In a process of its own: triopool.testing may have been imported here.
    program = f"""
import triopool
try:
    triopool.{name}
except AttributeError as exc:
    print(exc)
"""
    if name not in ("AsyncClient", "testing", "get"):
        assert not hasattr(triopool, name) or name in ("httpx", "httpx2")
        return
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"module 'triopool' has no attribute '{name}': ")
    assert {
        "AsyncClient": "did you mean triopool.ConnectionPool, or triopool.httpx.AsyncClient?",
        "testing": "it is a module of its own: 'import triopool.testing'",
        "get": "'async with triopool.ConnectionPool() as pool: await pool.get(url)'",
    }[name] in said


def test_a_name_that_nobody_has_is_told_as_python_tells_it() -> None:
    with pytest.raises(AttributeError) as caught:
        triopool.Nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert str(caught.value) == "module 'triopool' has no attribute 'Nonsense'"
    with pytest.raises(ImportError):
        from triopool import Nonsense  # type: ignore[attr-defined]  # noqa: F401


# ── The table itself ───────────────────────────────────────────────────────────────────────────

OBJECTS: list[tuple[type, dict[str, str]]] = [
    (triopool.ConnectionPool, dict(_habits.ON_A_POOL)),
    (triopool.Response, dict(_habits.ON_A_RESPONSE)),
    (triopool.Session, dict(_habits.ON_A_SESSION)),
    (Block, dict(_habits.ON_A_BLOCK)),
]


@pytest.mark.parametrize(("kind", "table"), OBJECTS)
def test_slips_are_no_attributes_for_those_who_look(kind: type, table: dict[str, str]) -> None:
    made = object.__new__(kind)
    assert not set(dir(made)) & set(table)
    assert "__class__" in dir(made)
    for name in table:
        assert not hasattr(kind, name)
        assert not hasattr(made, name)
        assert repr(inspect.getattr_static(kind, name)).startswith("<a ")
    # Doubles of it can be made, and help() shows what would be said.
    create_autospec(kind, instance=True)
    text = pydoc.plain(pydoc.render_doc(kind))
    assert all(f"has no attribute {name!r}: " in text for name in table)
    if kind is triopool.ConnectionPool:
        assert isinstance(copy.copy(triopool.ConnectionPool()), kind)


def test_what_costs_a_request_time_is_in_no_class_that_a_request_uses() -> None:
    """With ``__getattr__`` each look at an attribute takes 20 ns more."""
    for kind, _ in OBJECTS:
        assert not hasattr(kind, "__getattr__")


def test_no_answer_contradicts_what_there_is() -> None:
    class Fine:
        status_code = 200

    with pytest.raises(AssertionError):
        _habits.answer(Fine, "response", {"status_code": "did you mean status?"})


def test_there_are_more_than_forty() -> None:
    keywords = [_habits.OF_A_REQUEST, _habits.OF_A_POOL, _habits.OF_A_PROXY, _habits.OF_TIMEOUTS]
    attributes = [table for _, table in OBJECTS]
    assert sum(map(len, [*keywords, *attributes, _habits.OF_THE_MODULE])) > 40
    assert len(IN_A_REQUEST) > 35


@pytest.mark.parametrize("known", [list(triopool.RequestOptions.__annotations__)])
def test_options_are_so_unlike_that_a_misspelt_one_is_not_taken_for_another(
    known: list[str],
) -> None:
    for name in known:
        for at in range(1, len(name)):
            misspelt = name[:at] + name[at + 1 :]
            found = difflib.get_close_matches(misspelt, known, n=1, cutoff=0.75)
            assert found in ([name], [])
