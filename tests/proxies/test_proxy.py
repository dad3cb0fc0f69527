"""A proxy: what its URL may be, what goes with which kind, and what is equal to what."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from triopool import DIRECT, BasicAuth, BearerAuth, Direct, InvalidURL, Origin, Proxy

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
URL = "http://proxy.example.org:3128"

# ── The URL ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy.example.org", "http://proxy.example.org:80"),
        ("https://proxy.example.org", "https://proxy.example.org:443"),
        ("socks5://proxy.example.org", "socks5://proxy.example.org:1080"),
        ("socks5h://proxy.example.org", "socks5h://proxy.example.org:1080"),
        ("socks4://proxy.example.org", "socks4://proxy.example.org:1080"),
        ("socks4a://proxy.example.org", "socks4a://proxy.example.org:1080"),
        ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
        ("http://proxy.example.org:3128/", "http://proxy.example.org:3128"),
        ("http://proxy.example.org:/", "http://proxy.example.org:80"),
        ("https://proxy.example.org:80", "https://proxy.example.org:80"),
        ("socks5://127.0.0.1:65535", "socks5://127.0.0.1:65535"),
        ("HTTP://Proxy.Example.ORG", "http://proxy.example.org:80"),
        ("Socks5H://TOR", "socks5h://tor:1080"),
        ("http://[::1]", "http://[::1]:80"),
        ("socks5://[2001:DB8::A]:9050", "socks5://[2001:db8::a]:9050"),
        ("http://bücher.example", "http://xn--bcher-kva.example:80"),
        ("http://ada:secret@proxy.example.org", "http://proxy.example.org:80"),
        ("http://ada@[::1]:3128", "http://[::1]:3128"),
        ("http://proxy.example.org.", "http://proxy.example.org.:80"),
    ],
)
def test_a_url_leads_to_a_scheme_a_host_and_a_port(url: str, shown: str) -> None:
    proxy = Proxy(url)
    assert (proxy.url, str(proxy), str(proxy.origin)) == (shown, shown, shown)
    assert Proxy(shown) == dataclasses.replace(proxy, auth=None)


SCHEMES = (
    "a proxy's URL begins with http://, https://, socks5://, socks5h://, socks4:// or socks4a://"
)
NO_SCHEME = f"{SCHEMES}: this one has no '://'"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gopher://proxy.example.org", f"{SCHEMES}, not gopher://"),
        (
            "SOCKS://proxy.example.org",
            f"{SCHEMES}, not socks://: write the version, mostly socks5:// or socks5h://",
        ),
        ("", NO_SCHEME),
        ("proxy.example.org", NO_SCHEME),
        ("proxy.example.org:3128", NO_SCHEME),
        ("//proxy.example.org", NO_SCHEME),
        ("http:proxy.example.org", NO_SCHEME),
        ("http:/proxy.example.org", NO_SCHEME),
        ("http//proxy.example.org", NO_SCHEME),
        ("ada:secret@proxy.example.org:3128", NO_SCHEME),
        ("ada://secret@proxy.example.org:3128", SCHEMES),
        ("http://", "the proxy's URL names no host"),
        ("http://:3128", "the proxy's URL names no host"),
        ("http://ada:secret@", "the proxy's URL names no host"),
        ("http://proxy.example.org:0", "the proxy's URL has port 0, where nobody can listen"),
        (
            "http://proxy.example.org:65536",
            "the proxy's URL can't be parsed: look at its host, brackets and port",
        ),
        (
            "http://ada:se/cret@proxy.example.org",
            "the proxy's URL can't be parsed: look at its host, percent-encode its credentials",
        ),
        ("http://@proxy", "the proxy's URL has an '@' with no credentials before it"),
        ("http://127.1", "the host of the proxy's URL looks like a number but is no IPv4 address"),
        ("http://a..b", "the host of the proxy's URL is not a legal name"),
        (f"http://{'a' * 64}.example", "the host of the proxy's URL is not a legal name"),
        (f"http://{'a.' * 127}aa", "the host of the proxy's URL is not a legal name"),
        ("http://[::g]", "the proxy's URL can't be parsed"),
        ("http://[fe80::1%25eth0]:3128", "the host of the proxy's URL has a zone: write its"),
        ("http://proxy\n.example.org", "the proxy's URL has a control character in it, or space"),
        ("http://proxy\0.example.org", "the proxy's URL has a control character in it, or space"),
        (" http://proxy.example.org", "the proxy's URL has a control character in it, or space"),
        ("http://proxy example", "the host of the proxy's URL is not a legal name"),
    ],
)
def test_a_url_that_can_t_be_used_is_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        Proxy(url)
    assert str(caught.value).startswith(message)
    if message.startswith(SCHEMES):
        assert str(caught.value) == message
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("rest", ["/x", "//", "?", "/?", "?x=y", "#", "/#x"])
def test_nothing_follows_the_port(rest: str) -> None:
    with pytest.raises(InvalidURL, match="ends with its port: no path, query or fragment"):
        Proxy(URL + rest)


@pytest.mark.parametrize("url", [None, b"http://proxy", 3128, DIRECT, Path("proxy")])
def test_a_url_is_a_str(url: Any) -> None:
    with pytest.raises(TypeError, match="a proxy's URL must be a str, not "):
        Proxy(url)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("username", "'username': did you mean auth=(name, password)?"),
        ("verify", "'verify': did you mean ssl_context=?"),
        ("host", "'host': did you mean url='http://host:port'?"),
        ("no_such_thing", "'no_such_thing'"),
    ],
)
def test_what_other_clients_call_it_is_answered_with_our_name(name: str, message: str) -> None:
    wrong: Any = {name: "secret"}
    with pytest.raises(TypeError) as caught:
        Proxy(URL, **wrong)
    assert str(caught.value) == f"Proxy() got an unexpected keyword argument {message}"


# ── Credentials ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("userinfo", "auth"),
    [
        ("ada:secret", ("ada", "secret")),
        ("ada", ("ada", "")),
        ("ada:", ("ada", "")),
        (":secret", ("", "secret")),
        ("a%40b:c%2Fd%3A", ("a@b", "c/d:")),
        ("%C3%A9:%E2%82%AC", ("é", "€")),
        ("ada:a:b", ("ada", "a:b")),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_credentials_may_stand_in_the_url(
    scheme: str, userinfo: str, auth: tuple[str, str]
) -> None:
    proxy = Proxy(f"{scheme}://{userinfo}@proxy.example.org")
    assert proxy.auth == BasicAuth(*auth)
    assert proxy == Proxy(f"{scheme}://proxy.example.org", auth=auth)


@pytest.mark.parametrize("userinfo", ["a b:c", "%ff:x", "%0a:x", "a:%00", "a%3Ab:c", "%:x", "a\\b"])
def test_credentials_that_can_t_be_sent_are_refused(userinfo: str) -> None:
    with pytest.raises(InvalidURL, match="credentials in the proxy's URL can't be used") as caught:
        Proxy(f"http://{userinfo}@proxy.example.org")
    assert caught.value.__context__ is None


def test_the_argument_goes_before_the_url() -> None:
    proxy = Proxy("http://ada:secret@proxy", auth=("grace", "other"))
    assert proxy.auth == BasicAuth("grace", "other")
    assert proxy == Proxy("http://proxy", auth=BasicAuth("grace", "other"))


def test_an_http_proxy_gets_credentials_and_fields() -> None:
    assert Proxy(URL).fields == ()
    basic = (b"Proxy-Authorization", b"Basic YWRhOnNlY3JldA==")
    assert Proxy("http://ada:secret@proxy").fields == (basic,)
    bearer = Proxy("https://proxy", auth=BearerAuth("t"), headers={"X-Region": "eu", "x-a": "b"})
    assert bearer.fields == (
        (b"Proxy-Authorization", b"Bearer t"),
        (b"X-Region", b"eu"),
        (b"x-a", b"b"),
    )
    assert bearer.headers == bearer.fields[1:]
    assert bearer.socks_credentials is None


def test_a_token_that_was_made_elsewhere_is_a_field() -> None:
    token = Proxy(URL, headers={"Proxy-Authorization": "Negotiate abc"})
    assert token.fields == ((b"Proxy-Authorization", b"Negotiate abc"),)
    with pytest.raises(ValueError, match="either credentials or a Proxy-Authorization header"):
        Proxy("http://a:b@proxy", headers={"proxy-authorization": "Negotiate abc"})


def test_a_socks_proxy_gets_name_and_password_as_utf_8() -> None:
    assert Proxy("socks5://proxy").socks_credentials is None
    assert Proxy("http://a:b@proxy").socks_credentials is None
    assert Proxy("socks5h://proxy", auth=("é", "€")).socks_credentials == (
        "é",
        "€",
    )
    assert Proxy("socks4a://ada@proxy").socks_credentials == ("ada", "")


@pytest.mark.parametrize(
    ("url", "options", "kind", "message"),
    [
        ("socks5://proxy", {"auth": ("a" * 256, "")}, ValueError, "can have 255 bytes at most"),
        ("socks5://proxy", {"auth": ("a", "é" * 128)}, ValueError, "can have 255 bytes at most"),
        ("socks4://proxy", {"auth": ("é" * 128, "")}, ValueError, "can have 255 bytes at most"),
        (f"socks5://a:{'b' * 256}@proxy", {}, ValueError, "can have 255 bytes at most"),
        ("socks5://proxy", {"auth": BearerAuth("t")}, ValueError, "no bearer token"),
        ("socks4://ada:secret@proxy", {}, ValueError, "SOCKS4 has a name and no password"),
        ("socks4a://proxy", {"auth": ("a", "b")}, ValueError, "SOCKS4 has a name and no password"),
        ("socks5://proxy", {"auth": ("a\0", "b")}, ValueError, "control characters"),
        ("http://proxy", {"auth": ("a", "b\n")}, ValueError, "control characters"),
        ("http://proxy", {"auth": ("a", "\ud800")}, ValueError, "surrogate"),
        ("http://proxy", {"auth": "secret"}, TypeError, "a pair .name, password., not str"),
        ("http://proxy", {"auth": ("a",)}, TypeError, "a pair .name, password., not a tuple of 1"),
        ("http://proxy", {"auth": ("a", b"b")}, TypeError, "both str, not bytes"),
    ],
)
def test_credentials_go_with_the_kind_of_proxy(
    url: str, options: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Proxy(url, **options)


def test_as_much_as_socks_can_carry_is_accepted() -> None:
    assert Proxy("socks5://proxy", auth=("a" * 255, "é" * 127)).auth is not None
    assert Proxy("http://proxy", auth=("a" * 256, "b" * 256)).auth is not None


# ── The other arguments ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "options", "kind", "message"),
    [
        ("socks5://proxy", {"headers": {"a": "b"}}, ValueError, "headers are for http:// and"),
        (URL, {"headers": "a: b"}, TypeError, "headers must be a mapping, or an iterable"),
        (URL, {"headers": {"a": 1}}, TypeError, "the value of header 'a' must be str or bytes"),
        (URL, {"headers": {"a b": "c"}}, ValueError, "the name of a header is not a token"),
        (
            URL,
            {"headers": {"a": "b\nc"}},
            ValueError,
            "the value of header 'a' can't be sent",
        ),
        (URL, {"headers": {"a": "é"}}, ValueError, "is not ASCII"),
        (URL, {"headers": [(b"Connection", b"close")]}, ValueError, "'connection' can't be"),
        (URL, {"ssl_context": CONTEXT}, ValueError, "ssl_context is for https:// proxies only"),
        (
            "https://proxy",
            {"ssl_context": True},
            TypeError,
            "an ssl.SSLContext or None, not True",
        ),
        (URL, {"server_hostname": "a"}, ValueError, "server_hostname is for https:// proxies only"),
        ("https://proxy", {"server_hostname": ""}, TypeError, "or None, not an empty one"),
        ("https://proxy", {"server_hostname": 5}, TypeError, "must be a name or None, not 5"),
        ("https://proxy", {"server_hostname": "a b"}, ValueError, "is not a legal name"),
        (URL, {"tunnel": "yes"}, TypeError, "tunnel must be True or False, not str"),
        (URL, {"share_connections": None}, TypeError, "share_connections must be True or False"),
        (URL, {"unix_socket": b"/x"}, TypeError, "unix_socket must be a path .*, not bytes"),
        (URL, {"unix_socket": ""}, ValueError, "unix_socket must be the path of a socket"),
        (URL, {"unix_socket": "/a\0b"}, ValueError, "unix_socket must be the path of a socket"),
        (URL, {"unix_socket": "/a", "via": URL}, ValueError, "unix_socket via another proxy"),
        (URL, {"via": DIRECT}, TypeError, "via must be a triopool.Proxy, .* not triopool.Direct"),
        (URL, {"via": "proxy:3128"}, InvalidURL, SCHEMES),
        (
            "http://[::1]",
            {"via": "socks4://proxy"},
            ValueError,
            "SOCKS4 can't reach IPv6 addresses",
        ),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(
    url: str, options: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Proxy(url, **options)


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection"),
        *("TE", "Trailer", "Transfer-Encoding", "Upgrade"),
    ],
)
def test_what_says_how_a_message_is_sent_is_no_field_of_a_proxy_s(name: str) -> None:
    value = {"Content-Length": "1", "Transfer-Encoding": "chunked"}.get(name, "x")
    for headers in ({name: value}, {name.lower(): value}):
        with pytest.raises(ValueError, match=f"header '{name.lower()}' can't be among a proxy's"):
            Proxy(URL, headers=headers)


class BytesPath(os.PathLike[Any]):
    def __fspath__(self) -> bytes:
        return b"/run/proxy"


def test_a_unix_socket_is_a_path_of_text() -> None:
    assert Proxy(URL, unix_socket=Path("/run/proxy")).unix_socket == str(Path("/run/proxy"))
    assert Proxy("socks5h://tor", unix_socket="/run/tor").unix_socket == "/run/tor"
    with pytest.raises(TypeError, match=r"must be a path .*, not .*BytesPath"):
        Proxy(URL, unix_socket=BytesPath())


def test_a_chain_begins_with_the_proxy_that_is_dialled() -> None:
    first = Proxy("socks5://first")
    second = Proxy("https://second", via=first)
    third = Proxy(URL, via=second)
    assert first.chain == (first,)
    assert third.chain == (first, second, third)
    assert Proxy(URL, via="http://a:b@first").via == Proxy("http://first", auth=("a", "b"))


@pytest.mark.parametrize(
    ("url", "speaks_http", "needs_addresses"),
    [
        ("http://proxy", True, False),
        ("https://proxy", True, False),
        ("socks5://proxy", False, True),
        ("socks5h://proxy", False, False),
        ("socks4://proxy", False, True),
        ("socks4a://proxy", False, False),
    ],
)
def test_the_scheme_says_what_is_spoken_and_who_resolves_names(
    url: str, speaks_http: bool, needs_addresses: bool
) -> None:
    proxy = Proxy(url)
    assert (proxy.speaks_http, proxy.needs_addresses) == (speaks_http, needs_addresses)


@pytest.mark.parametrize("url", ["http://p", "https://p", "socks5://p", "socks5h://p"])
def test_an_address_with_a_zone_is_out_of_a_proxy_s_reach(url: str) -> None:
    origin = Origin("http", "fe80::1%eth0", 80)
    with pytest.raises(InvalidURL, match="a zone means something on this machine only") as caught:
        Proxy(url).check_reaches(origin)
    assert caught.value.origin == origin


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_socks4_knows_no_ipv6(scheme: str) -> None:
    proxy = Proxy(f"{scheme}://proxy")
    with pytest.raises(ValueError, match=r"^SOCKS4 can't reach IPv6 addresses: use socks5://$"):
        proxy.check_reaches(Origin("http", "::1", 80))
    with pytest.raises(ValueError, match=r"^SOCKS4 can't reach 0.0.0.7, which stands for a name"):
        proxy.check_reaches(Origin("http", "0.0.0.7", 80))
    proxy.check_reaches(Origin("http", "0.0.0.0", 80))
    proxy.check_reaches(Origin("http", "192.0.2.1", 80))
    proxy.check_reaches(Origin("https", "a.example", 443))
    Proxy("socks5://proxy").check_reaches(Origin("http", "::1", 80))


# ── As a value ─────────────────────────────────────────────────────────────────────────────────

DIFFERENT = [
    Proxy("https://proxy"),
    Proxy("http://proxy"),
    Proxy("https://proxy:444"),
    Proxy("https://other"),
    Proxy("https://ada:secret@proxy"),
    Proxy("https://ada:other@proxy"),
    Proxy("https://proxy", auth=BearerAuth("t")),
    Proxy("https://proxy", headers={"a": "b"}),
    Proxy("https://proxy", headers={"a": "c"}),
    Proxy("https://proxy", ssl_context=CONTEXT),
    Proxy("https://proxy", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    Proxy("https://proxy", server_hostname="other"),
    Proxy("https://proxy", tunnel=True),
    Proxy("https://proxy", share_connections=False),
    Proxy("https://proxy", unix_socket="/run/proxy"),
    Proxy("https://proxy", via="http://first"),
    Proxy("https://proxy", via="http://a:b@first"),
    Proxy("socks5://proxy"),
    Proxy("socks5h://proxy"),
]


def test_proxies_are_equal_if_everything_is() -> None:
    assert len(set(DIFFERENT)) == len(DIFFERENT)
    for at, proxy in enumerate(DIFFERENT):
        again = dataclasses.replace(proxy)
        assert again is not proxy
        assert (again, hash(again)) == (proxy, hash(proxy))
        assert [other == again for other in DIFFERENT] == [n == at for n in range(len(DIFFERENT))]
    assert DIFFERENT[0] != object()


def test_a_proxy_never_changes() -> None:
    proxy = Proxy(URL)
    for name in ("url", "auth", "tunnel", "origin"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(proxy, name, "other")


def test_a_copy_is_checked_as_the_first_one() -> None:
    proxy = Proxy("https://ada:secret@proxy", headers=[("a", "b")], tunnel=True, via="socks5://a")
    assert dataclasses.replace(proxy, auth=None) == Proxy(
        "https://proxy", headers={b"a": b"b"}, tunnel=True, via=Proxy("socks5://a")
    )
    with pytest.raises(ValueError, match="headers are for http"):
        dataclasses.replace(proxy, url="socks5://proxy")
    for same in (copy.copy(proxy), copy.deepcopy(proxy), pickle.loads(pickle.dumps(proxy))):
        assert (same, hash(same), same.fields) == (proxy, hash(proxy), proxy.fields)
    assert copy.copy(Proxy("socks4://a@b")) == Proxy("socks4://a@b")


def test_a_pickled_proxy_is_found_among_others_in_another_process() -> None:
    proxy = Proxy("http://ada:secret@proxy")
    program = (
        "import pickle, sys; from triopool import Proxy; "
        f"print(pickle.loads({pickle.dumps(proxy)!r}) in {{Proxy('http://ada:secret@proxy')}})"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "True", shown.stderr


def test_what_a_proxy_shows_of_itself() -> None:
    assert repr(Proxy("http://proxy")) == "Proxy('http://proxy:80')"
    everything = Proxy(
        "https://ada:secret@proxy",
        headers={"a": "b"},
        ssl_context=CONTEXT,
        server_hostname="other.example",
        tunnel=True,
        share_connections=False,
        via=Proxy("http://first", unix_socket="/run/first"),
    )
    assert repr(everything) == (
        "Proxy('https://proxy:443', auth=BasicAuth(...), headers=..., ssl_context=..., "
        "server_hostname='other.example', tunnel=True, share_connections=False, "
        "via=Proxy('http://first:80', unix_socket='/run/first'))"
    )
    assert str(everything) == "https://proxy:443"


def test_direct_is_one_thing() -> None:
    assert DIRECT is Direct.DIRECT
    assert [*Direct] == [DIRECT]
    assert repr(DIRECT) == "triopool.DIRECT"
    assert pickle.loads(pickle.dumps(DIRECT)) is DIRECT
    assert copy.deepcopy(DIRECT) is DIRECT
