"""ProxyRules.from_environment(): which variable counts, and what its value may be."""

from __future__ import annotations

import os
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopool import DIRECT, InvalidURL, Origin, Proxy, ProxyRules

from .properties import fast

HTTP = Origin("http", "a.example", 80)
HTTPS = Origin("https", "a.example", 443)


def shown(answer: object) -> str | None:
    return None if answer is DIRECT else str(answer)


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"http_proxy": "http://a"}, "http://a:80", None),
        ({"https_proxy": "http://a"}, None, "http://a:80"),
        ({"HTTP_PROXY": "http://a", "HTTPS_PROXY": "https://b"}, "http://a:80", "https://b:443"),
        ({"all_proxy": "socks5h://a"}, "socks5h://a:1080", "socks5h://a:1080"),
        ({"ALL_PROXY": "socks4a://a"}, "socks4a://a:1080", "socks4a://a:1080"),
        # All is for what has none of its own.
        ({"all_proxy": "http://a", "https_proxy": "http://b"}, "http://a:80", "http://b:80"),
        ({"all_proxy": "http://a", "HTTP_PROXY": "http://b"}, "http://b:80", "http://a:80"),
        ({"all_proxy": "http://a", "ALL_PROXY": "http://b"}, "http://a:80", "http://a:80"),
        # Lower case before upper, and an empty one means none.
        ({"http_proxy": "http://a", "HTTP_PROXY": "http://b"}, "http://a:80", None),
        ({"http_proxy": "", "HTTP_PROXY": "http://b"}, None, None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b"}, None, None),
        ({"all_proxy": "", "ALL_PROXY": "http://b"}, None, None),
        ({"HTTP_PROXY": ""}, None, None),
        ({"http_proxy": "", "all_proxy": "http://a"}, "http://a:80", "http://a:80"),
        # No other spelling.
        ({"Http_Proxy": "http://a", "All_proxy": "http://a"}, None, None),
        ({"ftp_proxy": "http://a", "proxy": "http://a", "wss_proxy": "http://a"}, None, None),
        # No scheme: http.
        ({"http_proxy": "a.example:3128"}, "http://a.example:3128", None),
        ({"http_proxy": "cache.corp.example.com"}, "http://cache.corp.example.com:80", None),
        ({"http_proxy": "localhost"}, "http://localhost:80", None),
        ({"http_proxy": "127.0.0.1:8080"}, "http://127.0.0.1:8080", None),
        ({"https_proxy": "ada:secret@a:3128"}, None, "http://a:3128"),
        ({"https_proxy": "[::1]:3128/"}, None, "http://[::1]:3128"),
        # httpoxy.
        ({"HTTP_PROXY": "http://a", "REQUEST_METHOD": "GET"}, None, None),
        ({"HTTP_PROXY": "http://a", "REQUEST_METHOD": ""}, None, None),
        ({"HTTP_PROXY": "nonsense:", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://a", "REQUEST_METHOD": "GET"}, "http://a:80", None),
        ({"HTTPS_PROXY": "http://a", "REQUEST_METHOD": "GET"}, None, "http://a:80"),
        (
            {"HTTP_PROXY": "http://a", "ALL_PROXY": "http://b", "REQUEST_METHOD": "GET"},
            "http://b:80",
            "http://b:80",
        ),
    ],
)
def test_which_variable_counts(
    environ: dict[str, str], http: str | None, https: str | None
) -> None:
    rules = ProxyRules.from_environment(environ)
    assert (shown(rules(HTTP)), shown(rules(HTTPS))) == (http, https)


def test_credentials_are_taken_from_the_value() -> None:
    rules = ProxyRules.from_environment({"https_proxy": "ada:s%C3%A9cret@a:3128"})
    assert rules(HTTPS) == Proxy("http://a:3128", auth=("ada", "sécret"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"no_proxy": "a.example"}, True),
        ({"NO_PROXY": "a.example"}, True),
        ({"NO_PROXY": "*"}, True),
        ({"no_proxy": "b.example", "NO_PROXY": "a.example"}, False),
        ({"no_proxy": "", "NO_PROXY": "a.example"}, False),
        ({"No_Proxy": "a.example"}, False),
    ],
)
def test_which_no_proxy_counts(environ: dict[str, str], expected: bool) -> None:
    rules = ProxyRules.from_environment({"http_proxy": "http://p", **environ})
    assert (rules(HTTP) is DIRECT) is expected


def test_loopback_is_a_parameter_here_too() -> None:
    where = Origin("http", "localhost", 80)
    environ = {"http_proxy": "http://p"}
    assert ProxyRules.from_environment(environ)(where) is DIRECT
    assert shown(ProxyRules.from_environment(environ, loopback=True)(where)) == "http://p:80"


def test_the_process_s_own_variables_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://p")
    rules = ProxyRules.from_environment()
    monkeypatch.setenv("HTTP_PROXY", "http://q")
    monkeypatch.setenv("NO_PROXY", "*")
    assert shown(rules(HTTP)) == "http://p:80"
    assert ProxyRules.from_environment()(HTTP) is DIRECT


class AsOnWindows(dict[str, str]):
    """Names are in upper case, and found in any."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).upper())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.upper())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.upper(), default)


def test_httpoxy_is_kept_out_where_names_have_no_case() -> None:
    """There ``http_proxy`` would find what a client sent in its field ``Proxy``."""
    environ = AsOnWindows(HTTP_PROXY="http://evil", REQUEST_METHOD="GET")
    assert environ["http_proxy"] == "http://evil"
    assert ProxyRules.from_environment(environ)(HTTP) is DIRECT
    assert len(environ) == 2  # They are read, and nothing is changed.
    environ = AsOnWindows(HTTP_PROXY="http://p")
    assert shown(ProxyRules.from_environment(environ)(HTTP)) == "http://p:80"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"https_proxy": "gopher://a"},
            "https_proxy in the environment can't be used: a proxy's URL begins with http://, "
            "https://, socks5://, socks5h://, socks4:// or socks4a://, not gopher://",
        ),
        (
            {"HTTP_PROXY": "http://SECRET.example/SECRET"},
            "HTTP_PROXY in the environment can't be used: the proxy's URL ends with its port: no "
            "path, query or fragment can follow",
        ),
        (
            {"all_proxy": "ada:SE/CRET@a"},
            "all_proxy in the environment can't be used: the proxy's URL can't be parsed: look at "
            "its host, percent-encode its credentials",
        ),
        (
            {"https_proxy": " "},
            "https_proxy in the environment can't be used: the proxy's URL has a control character "
            "in it, or space around it",
        ),
        (
            {"ALL_PROXY": "socks4://ada:SECRET@a"},
            "ALL_PROXY in the environment can't be used: SOCKS4 has a name and no password: leave "
            "it out, or use socks5://",
        ),
    ],
)
def test_a_value_that_can_t_be_used_is_an_error_that_names_the_variable_only(
    environ: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidURL) as caught:
        ProxyRules.from_environment(environ)
    assert str(caught.value) == message
    told = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in told
    assert caught.value.__suppress_context__
    assert "SECRET" not in str(caught.value.__context__)


def test_a_variable_that_does_not_count_may_have_any_value() -> None:
    """GNOME sets ``ALL_PROXY=socks://…`` beside the others, which no client understands."""
    environ = {"ALL_PROXY": "socks://a", "http_proxy": "b", "https_proxy": "b", "HTTP_PROXY": "/"}
    assert shown(ProxyRules.from_environment(environ)(HTTPS)) == "http://b:80"


def test_the_default_is_the_process_s_environment() -> None:
    assert ProxyRules.from_environment.__defaults__ == (os.environ,)


@fast
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"),
                *("ALL_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"),
            ]
        ),
        st.sampled_from(["", "a", "b:81", "http://c", "socks5://d", "a.example", "x://", "*"])
        | st.text(max_size=8),
    )
)
def test_no_variable_is_passed_over_because_it_can_t_be_used(environ: dict[str, str]) -> None:
    try:
        rules = ProxyRules.from_environment(environ)
    except InvalidURL as exc:
        name = str(exc).partition(" in the environment")[0]
        assert environ[name]
        return
    counts = [name for name in ("all_proxy", "ALL_PROXY", "https_proxy") if environ.get(name)]
    if environ.get("https_proxy") and not (environ.keys() & {"no_proxy", "NO_PROXY"}):
        assert rules(HTTPS) is not DIRECT, counts
