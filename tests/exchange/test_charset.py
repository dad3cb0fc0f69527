"""Which charset a response names: the server's words, so nothing in them may cost much."""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import sys

import pytest
from inside import charsets_known

from triopool import _charset
from triopool._charset import charset_of

from .test_responses import get
from .world import ok

NOT_FOR_TEXT = ["charmap", "idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"]
OF_THIS_MACHINE = ["aliases", "mbcs", "oem"]


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ('text/html;charset="UTF-8"', "utf-8"),
        ('a/b; x="charset=latin-1"; charset=koi8-u', "koi8-u"),
        (r'a/b; x="\"; charset=latin-1"; charset=utf-16', "utf-16"),
        ("a/b; charset = ISO_8859-1:1987 ; x=y", "iso_8859-1:1987"),
        ("a/b; charset=ANSI_X3.4-1968", "ansi_x3.4-1968"),
        ("a/b; charset=latin-1; charset=utf-16", "latin-1"),
        (";charset=646", "646"),
        ("charset=latin-1", "none"),
        ("a/b; acharset=latin-1", "none"),
        ('a/b; x="open; charset=latin-1', "none"),
        ("a/b; charset=mbcs", "none"),
        ("a/b; charset=csHPRoman8", "none"),
        ("a" * _charset.PREFIX + "; charset=latin-1", "none"),
    ],
)
def test_the_charset_is_a_parameter_of_its_own(content_type: str, charset: str) -> None:
    assert charset_of(content_type, "none") == charset


def test_every_encoding_that_python_has_for_text_is_known_and_no_other() -> None:
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in OF_THIS_MACHINE:
            codec = codecs.lookup(module.name)
            for_text = codec._is_text_encoding and module.name not in NOT_FOR_TEXT
            assert (charset_of(f";charset={module.name}", "none") != "none") == for_text
    for name in charsets_known():
        assert codecs.lookup(name)._is_text_encoding


async def test_a_charset_that_python_does_not_have_is_not_remembered(
    autojump_clock: object,
) -> None:
    asked: list[str] = []

    def search(name: str) -> None:
        asked.append(name)

    codecs.register(search)
    try:
        for number in range(3):
            charset = f"unheard-of-{number}".encode()
            response = await get(ok(b"x", b"Content-Type: text/plain; charset=" + charset))
            assert (response.encoding, response.text) == ("utf-8", "x")
    finally:
        codecs.unregister(search)
    assert not asked
    assert not any("unheard_of" in name for name in encodings._cache)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "piece",
    [";", "a;", 'a"', '"\\', ' "', "; ", ";charset", ";charset ", "charset=", "a; x=", "=", "\\"],
)
def test_a_hostile_content_type_costs_linear_time(
    monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    # Without the bound, so that it is the expression that is looked at. It has no step to count:
    # were it quadratic, this would take an hour.
    monkeypatch.setattr(_charset, "PREFIX", sys.maxsize)
    hostile = piece * (1_000_000 // len(piece))
    assert charset_of(hostile, "none") == "none"


async def test_no_more_of_a_content_type_is_looked_at_than_any_real_one_has(
    autojump_clock: object,
) -> None:
    response = await get(ok(b"\xe4", b"Content-Type: a;" + b"a;" * 25_000 + b"charset=latin-1"))
    assert response.encoding == "utf-8"
