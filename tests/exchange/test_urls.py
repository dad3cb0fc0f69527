"""URLs: from what the user wrote to where it goes."""

from __future__ import annotations

import traceback
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triopool import InvalidURL, Origin
from triopool._request.url import URL, join, parse


@pytest.mark.parametrize(
    ("url", "origin", "host_header"),
    [
        ("http://example.org/", ("http", "example.org", 80), "example.org"),
        ("https://example.org/", ("https", "example.org", 443), "example.org"),
        ("HTTPS://Example.ORG/", ("https", "example.org", 443), "example.org"),
        ("http://example.org:80/", ("http", "example.org", 80), "example.org"),
        ("http://example.org:443/", ("http", "example.org", 443), "example.org:443"),
        ("https://example.org:80/", ("https", "example.org", 80), "example.org:80"),
        ("http://example.org:/", ("http", "example.org", 80), "example.org"),
        ("http://example.org:08080/", ("http", "example.org", 8080), "example.org:8080"),
        ("http://example.org:65535/", ("http", "example.org", 65535), "example.org:65535"),
        ("http://example.org./", ("http", "example.org.", 80), "example.org."),
        ("http://a_b.example.org/", ("http", "a_b.example.org", 80), "a_b.example.org"),
        ("http://localhost", ("http", "localhost", 80), "localhost"),
        ("http://127.0.0.1:8000/", ("http", "127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://[::1]/", ("http", "::1", 80), "[::1]"),
        ("http://[::1]:8000/", ("http", "::1", 8000), "[::1]:8000"),
        ("http://[2001:DB8::A]:/", ("http", "2001:db8::a", 80), "[2001:db8::a]"),
        ("http://[fe80::1%25eth0]:81/", ("http", "fe80::1%eth0", 81), "[fe80::1]:81"),
        ("http://[fe80::1%eth0]/", ("http", "fe80::1%eth0", 80), "[fe80::1]"),
        ("http://[fe80::1%25]/", ("http", "fe80::1%25", 80), "[fe80::1]"),
        ("http://bücher.example/", ("http", "xn--bcher-kva.example", 80), "xn--bcher-kva.example"),
        ("http://BÜCHER.example/", ("http", "xn--bcher-kva.example", 80), "xn--bcher-kva.example"),
        ("http://straße.de/", ("http", "xn--strae-oqa.de", 80), "xn--strae-oqa.de"),
        ("http://b%C3%BCcher.example/", ("http", "xn--bcher-kva.example", 80), None),
        ("http://ex%61mple.org/", ("http", "example.org", 80), "example.org"),
        ("http://example。org/", ("http", "example.org", 80), "example.org"),
        ("http://\uff11\uff12\uff17.0.0.1/", ("http", "127.0.0.1", 80), "127.0.0.1"),
    ],
)
def test_the_host_and_the_port_are_found(url: str, origin: Any, host_header: str | None) -> None:
    parsed = parse(url)
    assert parsed.origin == Origin(*origin)
    assert host_header is None or parsed.host_header == host_header


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?", "/?"),
        ("/?", "/?"),
        ("?a=b", "/?a=b"),
        ("#top", "/"),
        ("/a#top?x", "/a"),
        ("/a?b=c#d", "/a?b=c"),
        ("/a%20b%2Fc", "/a%20b%2Fc"),
        ("/a%zz%", "/a%zz%"),
        ("/a b", "/a%20b"),
        ("/ü?ü=ü", "/%C3%BC?%C3%BC=%C3%BC"),
        ('/"<>[]^`{}|\\', "/%22%3C%3E%5B%5D%5E%60%7B%7D%7C%5C"),
        ("/a/../b/./c//d", "/a/../b/./c//d"),
        ("//b.example/", "//b.example/"),
        ("/@user;v=1,2:3!$&'()*+=~-._", "/@user;v=1,2:3!$&'()*+=~-._"),
        ("?url=http://b.example/?x=1&y=a+b", "/?url=http://b.example/?x=1&y=a+b"),
    ],
)
def test_the_target_is_left_as_it_was_written(rest: str, target: str) -> None:
    assert parse("http://a.example" + rest).target == target


REFUSED = {
    "example.org/path": "absolute URL such as https://example.org/",
    "//example.org/": "absolute URL",
    "/path": "absolute URL",
    "": "absolute URL",
    "localhost:8080/": "absolute URL",
    "ftp://example.org/": "not an http or https URL",
    "ws://example.org/": "for a WebSocket write http:// or https://",
    "http://name:pass/word@example.org/": "percent-encode its credentials",
    "http://na%3Ame@example.org/": "a colon in the name, and control characters, can't be sent",
    "http://@example.org/": "no credentials before it",
    "http:///path": "no host",
    "http:example.org": "no host",
    "http://:80/": "no host",
    "http://?q": "no host",
    "http://example.org:0/": "port 0",
    "http://example.org:65536/": "port",
    "http://example.org:http/": "port",
    "http://example.org:-1/": "port",
    "http://example.org:8²/": "port",
    "http://[::1/": "bracket",
    "http://[::g]/": "can't be parsed|IPv6",
    "http://[127.0.0.1]/": "can't be parsed|IPv6",
    "http://[v1.fe80]/": "can't be parsed|IPv6",
    "http://[::1]evil.example/": "can't be parsed|IPv6",
    "http://[v1.fe]evil.example/": "can't be parsed|IPv6",
    "http://[fe80::1%25a b]/": "zone",
    "http://[fe80::1%25é]/": "zone",
    "http://127.1/": "four decimal numbers",
    "http://2130706433/": "four decimal numbers",
    "http://0x7f000001/": "four decimal numbers",
    "http://0x7f.1/": "four decimal numbers",
    "http://0177.0.0.1/": "four decimal numbers",
    "http://127.0.0.1./": "four decimal numbers",
    "http://256.0.0.1/": "four decimal numbers",
    "http://1.2.3.4.5/": "four decimal numbers",
    "http://example.0/": "four decimal numbers",
    "http://a b/": "not a legal name",
    "http://a%20b/": "not a legal name",
    "http://a%00b/": "not a legal name",
    "http://a%2Fb/": "not a legal name",
    "http://a%40b/": "not a legal name",
    "http://a%ffb/": "not a legal name",
    "http://a..b/": "not a legal name",
    "http://.a/": "not a legal name",
    "http://-a/": "not a legal name",
    "http://a,b/": "not a legal name",
    "http://a\\b/": "not a legal name",
    "http://é..fr/": "not a legal name",
    "http://\ud800.fr/": "not a legal name",
    f"http://{'a' * 64}.org/": "not a legal name",
    f"http://{'a.' * 128}org/": "not a legal name",
    "http://x℀.com/": "can't be parsed",
    "http://a.example/\r\nX: y": "control character",
    "http://a.example/\x00": "control character",
    "http://a.exam\tple/": "control character",
    "http://a.example/\x7f": "control character",
    " http://a.example/": "space around",
    "http://a.example/ ": "space around",
    "http://a.example/\ud800": "surrogate",
    "http://a.example/?\ud800": "surrogate",
}


@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_what_could_be_misread_is_refused_and_the_message_says_why(url: str) -> None:
    with pytest.raises(InvalidURL, match=REFUSED[url]) as caught:
        parse(url)
    assert str(caught.value).isascii() or "host" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "url",
    [
        "http://user:SE\\SECRET@a.example/",
        "http://us%3Aer:SECRET@a.example/",
        "http://user:%0aSECRET@a.example/",
        "http://user:%ffSECRET@a.example/",
        "http://user:%SECRET@a.example/",
        "http://SECRET[@a.example/",
        "http://user:SE/SECRET@a.example/",
        "http://user:SE?SECRET@a.example/",
        "http://user:SE#SECRET@a.example/",
        "http://user:x@SECRET@a.example/",
        "http://user:SECRET@a.example:99999/",
        "http://user:SECRET@[::1/",
        "http://user:SECRET@x℀.com/",
        "http://user:SECRET@a.example/ ",
        "ftp://user:SECRET@a.example/",
        "user:SECRET@a.example/",
        "http:user:SECRET@a.example/",
        "http://SECRET%40a.example/@",
    ],
)
def test_credentials_are_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse(url)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value, chain=True))
    link: BaseException | None = caught.value
    while link is not None:
        assert "SECRET" not in repr(link)
        link = link.__cause__ or link.__context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://a.example:21/SECRET?token=SECRET#SECRET", "the URL to ftp://a.example:21 is not"),
        ("http://a.example/bot:SECRET\n/getMe", "the URL to http://a.example has a control"),
        ("http://[::1]:80/SECRET\n", "the URL to http://[::1]:80 has a control"),
        ("http://127.1/?SECRET", "the host of the URL to http://127.1 looks like"),
        ("http://user:SECRET/", "the URL can't be parsed"),
        ("http://user:1234/SECRET@a.example/\n", "the URL has a control"),
        ("http://a.example:x/?to=a@b.example&token=SECRET", "the URL can't be parsed"),
        ("SECRET", "the URL is not an http or https URL: an absolute URL"),
        (
            "http://SECRET\u0378.example/",
            "the host of the URL is not a legal name: Codepoint",
        ),
    ],
)
def test_a_message_tells_where_a_url_leads_and_nothing_else_of_it(url: str, shown: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse(url)
    assert str(caught.value).startswith(shown)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)).replace(url, "")


# ── References ─────────────────────────────────────────────────────────────────────────────────

# RFC 3986 section 5.4, less what is not http; "http:g" as browsers read it.
REFERENCES = {
    "g": "/b/c/g",
    "./g": "/b/c/g",
    "g/": "/b/c/g/",
    "/g": "/g",
    "?y": "/b/c/d;p?y",
    "g?y": "/b/c/g?y",
    "#s": "/b/c/d;p?q",
    "g#s": "/b/c/g",
    "g?y#s": "/b/c/g?y",
    ";x": "/b/c/;x",
    "g;x?y#s": "/b/c/g;x?y",
    "": "/b/c/d;p?q",
    ".": "/b/c/",
    "./": "/b/c/",
    "..": "/b/",
    "../": "/b/",
    "../g": "/b/g",
    "../..": "/",
    "../../": "/",
    "../../g": "/g",
    "../../../g": "/g",
    "../../../../g": "/g",
    "/./g": "/g",
    "/../g": "/g",
    "g.": "/b/c/g.",
    ".g": "/b/c/.g",
    "g..": "/b/c/g..",
    "..g": "/b/c/..g",
    "./../g": "/b/g",
    "./g/.": "/b/c/g/",
    "g/./h": "/b/c/g/h",
    "g/../h": "/b/c/h",
    "g;x=1/./y": "/b/c/g;x=1/y",
    "g;x=1/../y": "/b/c/y",
    "g?y/./x": "/b/c/g?y/./x",
    "g?y/../x": "/b/c/g?y/../x",
    "http:g": "/b/c/g",
    "HTTP:/g": "/g",
    "?": "/b/c/d;p?",
    "g?": "/b/c/g?",
    "g//h": "/b/c/g//h",
    "/a@b:c?d@e": "/a@b:c?d@e",
    "/\u00fc\\": "/%C3%BC%5C",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_relative_reference_leads_to_where_the_rfc_says(reference: str) -> None:
    base = parse("http://user:password@[fe80::1%eth0]:81/b/c/d;p?q")
    joined = join(base, reference)
    assert joined.target == REFERENCES[reference]
    # The zone of the address stays, and the credentials do not.
    assert joined == base._replace(target=joined.target, auth=None)


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("//b.example/x?y", "https://b.example/x?y"),
        ("//b.example", "https://b.example/"),
        ("http://b.example:81/../x", "http://b.example:81/../x"),
        ("HTTPS://b.example/", "https://b.example/"),
        ("//", "https://a.example/"),  # No host is the base's, as in the standard library.
    ],
)
def test_a_reference_with_a_host_leads_there(reference: str, url: str) -> None:
    assert str(join(parse("https://a.example/"), reference)) == url


@pytest.mark.parametrize(
    "reference", ["mailto:x", "g:h", "/a\nb", " /a", "/\ud800", "//", "//:80/"]
)
def test_a_reference_that_can_t_be_followed_is_refused(reference: str) -> None:
    if reference == "//":  # As the standard library has it: no host is that of the base.
        assert str(join(parse("http://a.example/x"), reference)) == "http://a.example/x"
        return
    with pytest.raises(InvalidURL):
        join(parse("http://a.example/x"), reference)


@pytest.mark.parametrize(
    ("url", "params", "target"),
    [
        ("http://a.example", {"a": "b"}, "/?a=b"),
        ("http://a.example/x?", {"a": "b"}, "/x?a=b"),
        ("http://a.example/x?a=1&", {"a": "b"}, "/x?a=1&a=b"),
        ("http://a.example/x?a=1#f", {"a": "b"}, "/x?a=1&a=b"),
        ("http://a.example", {}, "/"),
        ("http://a.example", {"a": []}, "/"),
        ("http://a.example", {"a": ["b", 1], "c": ("d",)}, "/?a=b&a=1&c=d"),
        ("http://a.example", [("a", 1), ("b", 2.5), ("a", "x")], "/?a=1&b=2.5&a=x"),
        ("http://a.example", {"t": True, "f": False, "n": None}, "/?t=true&f=false&n="),
        ("http://a.example", {"a b": "c&d=é%20"}, "/?a+b=c%26d%3D%C3%A9%2520"),
    ],
)
def test_params_are_added_to_the_query(url: str, params: Any, target: str) -> None:
    assert parse(url, params).target == target


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ("a=b", "params must be a mapping"),
        (b"a=b", "params must be a mapping"),
        (5, "params must be a mapping"),
        ({1: "a"}, "a name in params must be a str, not int"),
        ({"a": b"b"}, "'a' in params must be a str, a number, a bool or None, not bytes"),
        ({"a": {"b": 1}}, "not dict"),
        ({"a": [["b"]]}, "not list"),
        ({"a": object()}, "not object"),
    ],
)
def test_params_of_a_wrong_type_are_told(params: Any, what: str) -> None:
    with pytest.raises(TypeError, match=what):
        parse("http://a.example", params)


def test_params_that_are_no_text_are_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="params has half a surrogate pair") as caught:
        parse("http://a.example", {"a": "SECRET\ud800"})
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", [None, b"http://a.example/", 5])
def test_a_url_is_a_str(url: Any) -> None:
    with pytest.raises(TypeError, match="url must be a str"):
        parse(url)


def test_a_url_shows_as_it_was_asked() -> None:
    assert str(parse("http://A.example:80/x?y#z")) == "http://a.example/x?y"


# ── Properties ─────────────────────────────────────────────────────────────────────────────────

fast = settings(max_examples=300, derandomize=True, database=None)
odd = st.text(st.sampled_from("aZ0.-_:/@[]%?#\\ \t\n\x7fé℀。1xX\ud800&=+;"), max_size=20)


@fast
@given(st.one_of(odd, st.text(max_size=30)).map("http://{}".format) | odd)
def test_a_url_is_understood_or_refused(url: str) -> None:
    try:
        parsed = parse(url)
    except InvalidURL:
        return
    assert parsed.target.startswith("/")
    assert parsed.target.isascii()
    assert parsed.target.isprintable()
    assert " " not in parsed.target
    assert parsed.host_header.isascii()
    assert 0 < parsed.origin.port < 65536


@fast
@given(odd.map("http://a.example:81/{}".format))
def test_what_was_parsed_is_parsed_to_the_same(url: str) -> None:
    try:
        parsed = parse(url)
    except InvalidURL:
        return
    assert parse(str(parsed)) == parsed


@fast
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1))))
def test_params_arrive_as_they_were_given(params: list[tuple[str, str]]) -> None:
    try:
        parsed: URL = parse("http://a.example/", params)
    except InvalidURL:
        assert any("\ud800" <= c <= "\udfff" for pair in params for text in pair for c in text)
        return
    assert parse_qsl(parsed.target.partition("?")[2], strict_parsing=bool(params)) == params
