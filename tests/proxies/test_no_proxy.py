"""``no_proxy``: what goes directly. Rows of Go and curl, where we read them as they do."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triopool import Origin
from triopool._proxy.no_proxy import NoProxy
from triopool._request.url import parse

from .properties import fast

DIRECTLY = True
BY_PROXY = False


def goes_directly(text: str, url: str) -> bool:
    return NoProxy(text).matches(parse(url).origin)


# ── Our own rules, one by one ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        ("", "http://example.com", BY_PROXY),
        (" , ,, ", "http://example.com", BY_PROXY),
        # Everything.
        ("*", "http://example.com", DIRECTLY),
        ("*", "https://[2001:db8::1]:8443", DIRECTLY),
        ("a.example, *", "http://192.0.2.1", DIRECTLY),
        ("**", "http://example.com", BY_PROXY),
        ("*:80", "http://example.com", BY_PROXY),
        ("*example.com", "http://example.com", BY_PROXY),
        ("*ample.com", "http://example.com", BY_PROXY),
        ("ex*.com", "http://example.com", BY_PROXY),
        # A name is it and all below it, with a dot in front or without one.
        ("example.com", "http://example.com", DIRECTLY),
        ("example.com", "http://a.b.example.com", DIRECTLY),
        (".example.com", "http://example.com", DIRECTLY),
        (".example.com", "http://a.b.example.com", DIRECTLY),
        ("example.com", "http://myexample.com", BY_PROXY),
        (".example.com", "http://myexample.com", BY_PROXY),
        ("example.com", "http://example.com.evil.org", BY_PROXY),
        ("example.com", "http://example.co", BY_PROXY),
        ("com", "http://example.com", DIRECTLY),
        ("..example.com", "http://a.example.com", BY_PROXY),
        ("intranet", "http://intranet", DIRECTLY),
        # All below it.
        ("*.example.com", "http://a.example.com", DIRECTLY),
        ("*.example.com", "http://a.b.example.com", DIRECTLY),
        ("*.example.com", "http://example.com", BY_PROXY),
        ("*.example.com", "http://myexample.com", BY_PROXY),
        ("*..example.com", "http://a.example.com", BY_PROXY),
        ("*.*.example.com", "http://a.b.example.com", BY_PROXY),
        ("*.", "http://example.com", BY_PROXY),
        (".", "http://example.com", BY_PROXY),
        # Case, a last dot, IDNA.
        ("EXAMPLE.Com", "http://example.com", DIRECTLY),
        ("example.com.", "http://example.com", DIRECTLY),
        ("example.com", "http://example.com.", DIRECTLY),
        (".example.com.", "http://a.example.com.", DIRECTLY),
        ("bücher.example", "http://xn--bcher-kva.example", DIRECTLY),
        ("*.BÜCHER.example", "http://a.bücher.example", DIRECTLY),
        ("XN--BCHER-KVA.example", "http://bücher.example", DIRECTLY),
        # Ports, the scheme's default included.
        ("example.com:80", "http://example.com", DIRECTLY),
        ("example.com:80", "http://a.example.com:80", DIRECTLY),
        ("example.com:443", "https://example.com", DIRECTLY),
        ("example.com:80", "https://example.com", BY_PROXY),
        ("example.com:8080", "http://example.com", BY_PROXY),
        ("example.com:8080", "http://example.com:8080", DIRECTLY),
        (".example.com:8080", "http://example.com:8080", DIRECTLY),
        ("*.example.com:8080", "http://a.example.com:8080", DIRECTLY),
        ("*.example.com:8080", "http://a.example.com", BY_PROXY),
        ("example.com.:8080", "http://example.com:8080", DIRECTLY),
        ("example.com:8080 example.com:80", "http://example.com", DIRECTLY),
        ("example.com:", "http://example.com", BY_PROXY),
        ("example.com:0", "http://example.com", BY_PROXY),
        ("example.com:65616", "http://example.com", BY_PROXY),
        ("example.com:http", "http://example.com", BY_PROXY),
        ("example.com:80:80", "http://example.com", BY_PROXY),
        (":80", "http://example.com", BY_PROXY),
        # IPv4 addresses and networks.
        ("192.0.2.1", "http://192.0.2.1:8080", DIRECTLY),
        ("192.0.2.1", "http://192.0.2.10", BY_PROXY),
        ("192.0.2.1.", "http://192.0.2.1", DIRECTLY),
        ("192.0.2.1:80", "http://192.0.2.1", DIRECTLY),
        ("192.0.2.1:81", "http://192.0.2.1", BY_PROXY),
        ("192.0.2.0/24", "http://192.0.2.200", DIRECTLY),
        ("192.0.2.77/24", "http://192.0.2.200", DIRECTLY),
        ("192.0.2.0/24", "http://192.0.3.1", BY_PROXY),
        ("0.0.0.0/0", "http://192.0.2.1", DIRECTLY),
        ("0.0.0.0/0", "http://example.com", BY_PROXY),
        ("192.0.2.0/24:80", "http://192.0.2.1", DIRECTLY),
        ("192.0.2.0/24:81", "http://192.0.2.1", BY_PROXY),
        ("[192.0.2.1]", "http://192.0.2.1", DIRECTLY),
        ("[192.0.2.0/24]", "http://192.0.2.1", DIRECTLY),
        ("192.0.2.1/33", "http://192.0.2.1", BY_PROXY),
        ("192.0.2.1/", "http://192.0.2.1", BY_PROXY),
        ("192.0.2.1/x", "http://192.0.2.1", BY_PROXY),
        ("192.0.2.0/255.255.255.0", "http://192.0.2.1", BY_PROXY),
        ("192.0.2", "http://192.0.2.1", BY_PROXY),
        ("192.0.2/24", "http://192.0.2.1", BY_PROXY),
        ("192.0.2.001", "http://192.0.2.1", BY_PROXY),
        ("3221225985", "http://192.0.2.1", BY_PROXY),
        ("\uff11\uff19\uff12.0.2.1", "http://192.0.2.1", DIRECTLY),
        # No suffix of an address is a name, and no address has names below it.
        ("2.1", "http://192.0.2.1", BY_PROXY),
        ("1", "http://192.0.2.1", BY_PROXY),
        (".192.0.2.1", "http://192.0.2.1", BY_PROXY),
        ("*.0.2.1", "http://192.0.2.1", BY_PROXY),
        ("*.192.0.2.1", "http://192.0.2.1", BY_PROXY),
        # IPv6.
        ("2001:db8::1", "http://[2001:db8::1]", DIRECTLY),
        ("2001:DB8:0::1", "http://[2001:db8::1]:81", DIRECTLY),
        ("[2001:db8::1]", "http://[2001:0db8:0::1]", DIRECTLY),
        ("[2001:db8::1]:80", "http://[2001:db8::1]", DIRECTLY),
        ("[2001:db8::1]:81", "http://[2001:db8::1]", BY_PROXY),
        ("2001:db8::/32", "http://[2001:db8:1::1]", DIRECTLY),
        ("2001:db8::77/32", "http://[2001:db8:1::1]", DIRECTLY),
        ("[2001:db8::]/32", "http://[2001:db8:1::1]", DIRECTLY),
        ("[2001:db8::/32]", "http://[2001:db8:1::1]", DIRECTLY),
        ("[2001:db8::]/32:80", "http://[2001:db8:1::1]", DIRECTLY),
        ("[2001:db8::/32]:81", "http://[2001:db8:1::1]", BY_PROXY),
        ("[2001:db8::/32]/32", "http://[2001:db8:1::1]", BY_PROXY),
        ("2001:db8::/129", "http://[2001:db8::]", BY_PROXY),
        ("2001:db8::1", "http://[2001:db8::2]", BY_PROXY),
        ("::/0", "http://192.0.2.1", BY_PROXY),
        ("[example.com]", "http://example.com", BY_PROXY),
        ("[::1", "http://[::1]", BY_PROXY),
        # IPv4 written as IPv6 is IPv4.
        ("192.0.2.1", "http://[::ffff:192.0.2.1]", DIRECTLY),
        ("192.0.2.0/24", "http://[::ffff:c000:201]", DIRECTLY),
        ("::ffff:192.0.2.1", "http://192.0.2.1", DIRECTLY),
        ("[::ffff:192.0.2.0]/120", "http://192.0.2.200", DIRECTLY),
        ("::ffff:192.0.2.0/120", "http://192.0.3.1", BY_PROXY),
        ("::ffff:0:0/96", "http://192.0.2.1", DIRECTLY),
        ("64:ff9b::/96", "http://[64:ff9b::c000:201]", DIRECTLY),
        # A zone takes no part.
        ("fe80::1", "http://[fe80::1%25eth0]", DIRECTLY),
        ("fe80::1%eth0", "http://[fe80::1]", DIRECTLY),
        ("fe80::1%eth0", "http://[fe80::1%25eth1]", DIRECTLY),
        ("[fe80::1%25eth0]:80", "http://[fe80::1]", DIRECTLY),
        ("fe80::%eth0/64", "http://[fe80::1]", DIRECTLY),
        ("192.0.2.1%eth0", "http://192.0.2.1", BY_PROXY),
        (".example.com", "http://[fe80::1%25.example.com]", BY_PROXY),
        ("example.com", "http://[fe80::1%25.example.com]", BY_PROXY),
        # What means nothing.
        ("http://example.com", "http://example.com", BY_PROXY),
        ("example.com/", "http://example.com", BY_PROXY),
        ("ada@example.com", "http://example.com", BY_PROXY),
        ("exam\0ple.com", "http://example.com", BY_PROXY),
        ("<local>", "http://intranet", BY_PROXY),
        (f"{'a' * 64}.com", "http://example.com", BY_PROXY),
        (f"{'ü' * 10_000}.com", "http://example.com", BY_PROXY),
        ("\ud800", "http://example.com", BY_PROXY),
        # Separators, and good entries among bad ones.
        ("a.example b.example", "http://b.example", DIRECTLY),
        ("a.example,b.example", "http://b.example", DIRECTLY),
        ("a.example\t,\n b.example\r\n", "http://b.example", DIRECTLY),
        ("/,::::,[],*.,.,example.com", "http://example.com", DIRECTLY),
        ("a.example;b.example", "http://b.example", BY_PROXY),
        ("a.example|b.example", "http://b.example", BY_PROXY),
    ],
)
def test_an_entry_means_what_the_rules_say(text: str, url: str, expected: bool) -> None:
    assert goes_directly(text, url) is expected


# ── Go: golang.org/x/net/http/httpproxy ────────────────────────────────────────────────────────

GO = (
    "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, "
    "10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, "
    "2002:db8:a::45/64"
)
GO_HOSTS = {
    "[::2]": BY_PROXY,
    "192.168.1.1": DIRECTLY,
    "192.168.1.2": BY_PROXY,
    "192.168.1.3": DIRECTLY,
    "192.168.1.4": BY_PROXY,
    "10.0.0.2": DIRECTLY,
    "[2001:db8::52:0:1]": DIRECTLY,
    "[2001:db8::52:0:2]": BY_PROXY,
    "[2001:db8::52:0:3]": DIRECTLY,
    "[2002:db8:a::123]": DIRECTLY,
    "[fe80::424b:c8be:1643:a1b6]": BY_PROXY,
    "barbaz.net": DIRECTLY,  # Not in Go: there ".barbaz.net" is the names below only.
    "www.barbaz.net": DIRECTLY,
    "foobar.com": DIRECTLY,
    "www.foobar.com": DIRECTLY,
    "foofoobar.com": BY_PROXY,
    "baz.com": BY_PROXY,
    "localhost.net": BY_PROXY,
    "barbarbaz.net": BY_PROXY,
    "wildcard.io": BY_PROXY,
    "nested.wildcard.io": DIRECTLY,
    "awildcard.io": BY_PROXY,
}


@pytest.mark.parametrize("host", GO_HOSTS)
def test_go_s_hosts_go_where_go_sends_them(host: str) -> None:
    assert goes_directly(GO, f"http://{host}") is GO_HOSTS[host]
    assert goes_directly("*", f"http://{host}")
    assert not goes_directly(":1", f"http://{host}")


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        ("example.com", "http://example.com/", DIRECTLY),
        (".example.com", "http://example.com/", DIRECTLY),  # Not in Go.
        ("ample.com", "http://example.com/", BY_PROXY),
        ("example.com", "http://foo.example.com/", DIRECTLY),
        (".foo.com", "http://example.com/", BY_PROXY),
        (".示例.com", "http://www.示例.com", DIRECTLY),
        ("xn--fsq092h.com", "http://www.示例.com", DIRECTLY),
        ("示例.com", "http://www.xn--fsq092h.com", DIRECTLY),
        ("example.com", "http://[1000::%25.example.com]:123", BY_PROXY),  # CVE-2025-22870
    ],
)
def test_go_s_urls_go_where_go_sends_them(text: str, url: str, expected: bool) -> None:
    assert goes_directly(text, url) is expected


# ── curl: tests/unit/unit1614.c ────────────────────────────────────────────────────────────────

LONG = ".".join(["127.0.0.1"] * 12)


@pytest.mark.parametrize(
    ("host", "text", "expected"),
    [
        ("www.example.com", "localhost,.example.com,.example.de", DIRECTLY),
        ("www.example.com.", "localhost,.example.com,.example.de", DIRECTLY),
        ("example.com", "localhost,.example.com,.example.de", DIRECTLY),
        ("example.com.", "localhost,.example.com,.example.de", DIRECTLY),
        ("www.example.com", "localhost,.example.com.,.example.de", DIRECTLY),
        ("www.example.com", "localhost,www.example.com.,.example.de", DIRECTLY),
        ("example.com", "localhost,example.com,.example.de", DIRECTLY),
        ("example.com.", "localhost,example.com,.example.de", DIRECTLY),
        ("nonexample.com", "localhost,example.com,.example.de", BY_PROXY),
        ("127.0.0.1", "127.0.0.1,localhost", DIRECTLY),
        ("127.0.0.1", "127.0.0.1,localhost,", DIRECTLY),
        ("127.0.0.1", "127.0.0.1/8,localhost,", DIRECTLY),
        ("127.0.0.1", "127.0.0.1/28,localhost,", DIRECTLY),
        ("127.0.0.1", "127.0.0.1/31,localhost,", DIRECTLY),
        ("127.0.0.1", "localhost,127.0.0.1", DIRECTLY),
        ("127.0.0.1", f"localhost,{LONG}.", BY_PROXY),
        ("127.0.0.1", f"localhost,{LONG}", BY_PROXY),
        ("localhost", "localhost,127.0.0.1", DIRECTLY),
        ("localhost", "127.0.0.1,localhost", DIRECTLY),
        ("foobar", "barfoo", BY_PROXY),
        ("foobar", "foobar", DIRECTLY),
        ("192.168.0.1", "foobar", BY_PROXY),
        ("192.168.0.1", "192.168.0.0/16", DIRECTLY),
        ("192.168.0.1", "192.168.0.0/24", DIRECTLY),
        ("192.168.0.1", "192.168.0.0/32", BY_PROXY),
        ("192.168.0.1", "192.168.0.0", BY_PROXY),
        ("192.168.1.1", "192.168.0.0/24", BY_PROXY),
        ("192.168.1.1", "foo, bar, 192.168.0.0/24", BY_PROXY),
        ("192.168.1.1", "foo, bar, 192.168.0.0/16", DIRECTLY),
        ("[::1]", "foo, bar, 192.168.0.0/16", BY_PROXY),
        ("[::1]", "foo, bar, ::1/64", DIRECTLY),
        ("bar", "foo, bar, ::1/64", DIRECTLY),
        ("BAr", "foo, bar, ::1/64", DIRECTLY),
        ("BAr", "foo,,,,,              bar, ::1/64", DIRECTLY),
        ("www.example.com", "foo, .example.com", DIRECTLY),
        ("www.example.com", "www2.example.com, .example.net", BY_PROXY),
        ("example.com", ".example.com, .example.net", DIRECTLY),
        ("nonexample.com", ".example.com, .example.net", BY_PROXY),
        ("192.160.0.1", "192.160.0.1/33", BY_PROXY),
        ("192.160.0.1", "192.160.0.1/32", DIRECTLY),
        ("192.160.0.1", "192.160.0.1/20", DIRECTLY),
        ("192.160.0.1", "10.0.0.1/8", BY_PROXY),
        ("[::1]", "::1/128", DIRECTLY),
        ("[::1]", "0:0::1/128", DIRECTLY),
        ("[::1]", "0:0::1/129", BY_PROXY),
        ("[fe80::ab47:4396:55c9:8474]", "fe80::ab47:4396:55c9:8474/64", DIRECTLY),
    ],
)
def test_curl_s_hosts_go_where_curl_sends_them(host: str, text: str, expected: bool) -> None:
    assert goes_directly(text, f"http://{host}") is expected


# ── Properties ─────────────────────────────────────────────────────────────────────────────────

ORIGINS = [
    Origin("http", "a.example.com", 80),
    Origin("https", "example.com.", 443),
    Origin("http", "192.0.2.1", 8080),
    Origin("http", "2001:db8::1", 80),
    Origin("http", "::ffff:192.0.2.1", 80),
    Origin("http", "fe80::1%eth0", 80),
]
odd = st.text(st.sampled_from("aez.*-_:/@[]%,# \t\n\0é℀。019fxX\ud800\udcff"), max_size=30)
pieces = st.lists(
    st.sampled_from(
        [
            *("*", ".", "example", "com", ":", "80", "[", "]", "/", "24", "192.0.2.", "1"),
            *("2001:db8::", "::ffff:", "%", "eth0", ",", " ", "a", "-", "ü", "。"),
        ]
    ),
    max_size=8,
).map("".join)


@fast
@given(st.one_of(st.text(), st.text(st.characters()), odd, pieces))
@example("[]")
@example("%")
@example("\u200d.example.com")
@example("xn--a.example.com")
def test_no_text_raises_anything(text: str) -> None:
    table = NoProxy(text)
    for origin in ORIGINS:
        assert table.matches(origin) in (True, False)


labels = st.text(st.sampled_from("ab"), min_size=1, max_size=2)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
ports = st.sampled_from([80, 8080])
entries = st.tuples(st.sampled_from(["", ".", "*."]), names, st.none() | ports)


@fast
@given(st.lists(entries, max_size=4), names, ports)
def test_only_what_an_entry_names_goes_directly(
    table: list[tuple[str, str, int | None]], host: str, port: int
) -> None:
    text = ",".join(f"{dot}{name}{f':{at}' if at else ''}" for dot, name, at in table)
    expected = any(
        at in (None, port) and ((host == name and dot != "*.") or host.endswith(f".{name}"))
        for dot, name, at in table
    )
    assert NoProxy(text).matches(Origin("http", host, port)) is expected


@fast
@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 128), st.ip_addresses())
def test_only_addresses_of_a_network_go_directly(
    network: IPv4Address | IPv6Address, bits: int, host: IPv4Address | IPv6Address
) -> None:
    """Told a second time, by their bits."""
    network, host = (
        getattr(address, "ipv4_mapped", None) or address for address in (network, host)
    )
    ours, theirs = bits_of(network), bits_of(host)
    prefix = bits % (len(ours) + 1)
    expected = len(ours) == len(theirs) and ours[:prefix] == theirs[:prefix]
    assert NoProxy(f"{network}/{prefix}").matches(Origin("http", str(host), 80)) is expected


def bits_of(address: IPv4Address | IPv6Address) -> str:
    return "".join(f"{byte:08b}" for byte in address.packed)
