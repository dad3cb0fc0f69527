"""What is told of a proxy: by an error, by a connection, by a request."""

from __future__ import annotations

import pickle

from triopool import ConnectError, ConnectionInfo, Origin, ProxyError, ProxyInfo, RequestInfo
from triopool._facts import of_response

ORIGIN = Origin("http", "a.example", 80)
INFO = ProxyInfo("http://proxy:3128", None, True)


def test_a_proxy_error_is_a_connect_error_that_says_what_the_proxy_answered() -> None:
    error = ProxyError(
        "the proxy http://proxy:3128 refused",
        origin=ORIGIN,
        phase="connect",
        seconds=10.0,
        proxy="http://proxy:3128",
        status_code=407,
        headers=[(b"Proxy-Authenticate", b"Basic")],
    )
    assert isinstance(error, ConnectError)
    copy = pickle.loads(pickle.dumps(error))
    for one in (error, copy):
        assert str(one) == "the proxy http://proxy:3128 refused"
        assert (one.origin, one.phase, one.seconds) == (ORIGIN, "connect", 10.0)
        assert (one.proxy, one.status_code) == ("http://proxy:3128", 407)
        assert one.headers == [(b"Proxy-Authenticate", b"Basic")]


def test_a_proxy_error_without_an_answer_has_no_status_and_no_fields() -> None:
    error = ProxyError("it can't be reached")
    assert (error.proxy, error.status_code, error.headers) == ("", None, [])


def test_a_connection_says_which_proxy_is_on_its_way() -> None:
    direct = ConnectionInfo(1, ORIGIN, "here", "there", None, 0.5)
    through = ConnectionInfo(1, ORIGIN, "here", "there", None, 0.5, proxy=INFO)
    assert (direct.proxy, through.proxy) == (None, INFO)
    assert direct != through
    assert of_response(through, reused=True).proxy == INFO


def test_a_request_says_which_proxy_it_goes_through() -> None:
    assert RequestInfo("GET", ORIGIN, "/", 1).proxy is None
    assert RequestInfo("GET", ORIGIN, "/", 1, proxy="http://proxy:3128").proxy is not None
