"""The Link field (RFC 8288)."""

from __future__ import annotations

import pytest
from exchange.world import Answering, ok, serving

from triopool import Link
from triopool._reading.links import read_links


def read(value: str) -> list[tuple[str, str, dict[str, str]]]:
    return [(link.url, link.rel, dict(link.attributes)) for link in read_links(value)]


@pytest.mark.parametrize(
    ("value", "links"),
    [
        ("", []),
        ("</a>; rel=next", [("/a", "next", {})]),
        ('</a>;rel="next"', [("/a", "next", {})]),
        (
            '<https://a.test/?page=2>; rel="next", <https://a.test/?page=5,6>; rel="last"',
            [("https://a.test/?page=2", "next", {}), ("https://a.test/?page=5,6", "last", {})],
        ),
        # One link for each type; types are compared regardless of case.
        ('</a>; rel="Next start next"', [("/a", "next", {}), ("/a", "start", {})]),
        # Of some parameters the first one counts, of others the last one.
        ("</a>; rel=a; rel=b; x=1; x=2; TITLE=c; title=d", [("/a", "a", {"x": "2", "title": "c"})]),
        # Quotes, and what is in them.
        (r'</a>; title="a \"b\", <c>; \\ d"; rel=a', [("/a", "a", {"title": r'a "b", <c>; \ d'})]),
        ('</a>; rel=a; title="never ends, <b>; rel=b', [
            ("/a", "a", {"title": "never ends, <b>; rel=b"}),
        ]),
        ('</a>; rel=a; title="b\\', [("/a", "a", {"title": "b"})]),
        # RFC 8187.
        (
            "</a>; rel=a; title=plain; title*=UTF-8'de'%c3%a4%20b",
            [("/a", "a", {"title": "\xe4 b"})],
        ),
        ("</a>; rel=a; title=b; title*=spam", [("/a", "a", {"title": "b"})]),
        ("</a>; rel=a; title*=klingon''a", [("/a", "a", {})]),
        ("</a>; rel=a; x*=iso-8859-1''%e4; title*=utf-8''%ff", [
            ("/a", "a", {"x*": "\xe4", "title": "\ufffd"}),
        ]),
        # Space, where there may be some; parameters without a value; empty elements.
        (" , ,<  /a >\t; rel = next ;crossorigin ; ; x= ,,", [
            ("/a", "next", {"crossorigin": "", "x": ""}),
        ]),
        # No relation is no link; an anchor makes it a link of something else.
        ("</a>, </b>; rel=b", [("/b", "b", {})]),
        ('</a>; rel=a; anchor="#foo"', []),
        # What can't be understood ends it.
        ("</a>; rel=a, spam, </b>; rel=b", [("/a", "a", {})]),
        ("</a>; rel=a, </b; rel=b", [("/a", "a", {})]),
        ("</a> rel=a", []),
    ],
)  # fmt: skip
def test_links_are_read_as_the_appendix_says(
    value: str, links: list[tuple[str, str, dict[str, str]]]
) -> None:
    assert read(value) == links


async def test_a_response_has_its_links_by_relation_type(autojump_clock: object) -> None:
    fields = [
        b'Link: <?page=2>; rel="next"; title="More", </style.css#a>; rel=preload',
        b"link: <//b.test/x>; rel=alternate, <https://u:p@c.test>; rel=alternate",
        b"Link: <mailto:a@b.test>; rel=author, <http://[>; rel=broken",
    ]
    async with serving(Answering(ok(b"", *fields))) as (pool, _):
        response = await pool.get("http://192.0.2.1/list?page=1")
    links = response.links
    assert links is response.links
    assert links["Next"] == Link("http://192.0.2.1/list?page=2", "next", {"title": "More"})
    assert hash(links["next"]) == hash(links["NEXT"])
    assert links["preload"].url == "http://192.0.2.1/style.css#a"
    assert [link.url for link in links.getall("alternate")] == [
        "http://b.test/x",
        "https://c.test/",
    ]
    assert links["author"].url == "mailto:a@b.test"
    assert links["broken"].url == "http://["
    assert links.get("prev") is None


async def test_a_response_without_the_field_has_no_links(autojump_clock: object) -> None:
    async with serving(Answering(ok())) as (pool, _):
        assert not (await pool.get("http://192.0.2.1/")).links
