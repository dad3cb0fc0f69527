"""What the fuzzers have found, as one test each."""

from __future__ import annotations

import pytest

from triopool import InvalidURL
from triopool._request.url import parse

from .target import Case, play


@pytest.mark.parametrize(
    ("charset", "body"),
    [(b"punycode", b"\x80"), (b"punycode", b"a-\xff"), (b"unicode_escape", rb"\q\777")],
)
def test_text_is_to_be_had_whatever_charset_the_server_names(charset: bytes, body: bytes) -> None:
    """Some of Python's codecs raise even if told to replace, or warn."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=%b\r\nContent-Length: %d\r\n\r\n"
    assert play(Case(head % (charset, len(body)) + body)) == "2xx"


@pytest.mark.parametrize(
    "url",
    [
        "http://[v1." + "x" * 5000 + "]/",  # the standard library's message quoted it all
        "http://127.1/" + "\U0001f600" * 90,  # shortened, then escaped, which makes it longer
        "http://" + "\u2100" * 100 + "/",
    ],
    ids=["brackets", "path", "host"],
)
def test_a_message_about_a_url_is_short_whatever_is_in_it(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse(url)
    assert len(str(caught.value)) < 400
    # What is printed with it.
    assert len(str(caught.value.__cause__)) < 2000


def test_a_redirect_to_a_long_location_is_refused_in_few_words() -> None:
    location = b"http://127.1/" + b"\xf3" * 120
    raw = b"HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location
    assert play(Case(raw, follow=True)) == "RedirectError"
