"""What may be given as ``proxy=``: a proxy, its URL, DIRECT, or a function that says which."""

from __future__ import annotations

from typing import Any

import pytest

from triopool import DIRECT, InvalidURL, Origin, Proxy, ProxyRules
from triopool._config import described
from triopool._proxy.choice import check_proxy
from triopool._proxy.chooser import chooser_of_pool

ORIGIN = Origin("https", "a.example", 443)
PROXY = Proxy("http://proxy:3128")
ONE = "a triopool.Proxy, a proxy's URL (a str) or triopool.DIRECT"


def test_a_proxy_its_url_and_direct_are_accepted() -> None:
    assert check_proxy("http", PROXY) is PROXY
    assert check_proxy("http", "http://proxy:3128") == PROXY
    assert check_proxy("http", DIRECT) is DIRECT


@pytest.mark.parametrize("value", [None, False, b"http://proxy", ("a", "b"), ["http://a:b@c"]])
def test_all_else_is_a_type_error_that_quotes_nothing(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_proxy("http", value)
    shown = repr(value) if value in (None, False) else type(value).__name__
    assert str(caught.value) == f"http must be {ONE}, not {shown}"


@pytest.mark.parametrize("value", [ProxyRules(http=PROXY), ProxyRules, lambda origin: PROXY])
def test_what_chooses_is_told_to_be_for_the_pool(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_proxy("proxy", value)
    assert str(caught.value) == (
        f"proxy must be {ONE}, not {described(value)}: "
        "a function of the origin is for ConnectionPool(proxy=)"
    )


@pytest.mark.parametrize("check", [lambda value: check_proxy("proxy", value), chooser_of_pool])
def test_a_proxy_for_each_scheme_is_told_to_be_rules(check: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check({"https://": "http://ada:secret@proxy:3128"})
    assert str(caught.value).endswith(
        ", not dict: one for each scheme is ProxyRules(http=..., https=...)"
    )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, DIRECT])
def test_a_pool_without_one_asks_nobody(value: Any) -> None:
    assert chooser_of_pool(value) is None


@pytest.mark.parametrize("value", [PROXY, "http://proxy:3128"])
def test_a_pool_s_proxy_is_for_every_origin(value: Any) -> None:
    choose = chooser_of_pool(value)
    assert choose is not None
    assert choose(ORIGIN) == PROXY
    assert choose(ORIGIN) is choose(Origin("http", "b.example", 80))


@pytest.mark.parametrize("value", [1, b"http://proxy", ["http://proxy"], Proxy, ProxyRules])
def test_a_pool_refuses_what_is_none(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        chooser_of_pool(value)
    shown = "1" if value == 1 else type(value).__name__
    assert str(caught.value) == (
        f"proxy must be {ONE}, or a function of the origin, such as triopool.ProxyRules, "
        f"not {shown}"
    )


def test_a_pool_refuses_a_url_that_can_t_be_used() -> None:
    with pytest.raises(InvalidURL):
        chooser_of_pool("proxy:3128")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(PROXY, PROXY), ("http://proxy:3128", PROXY), (DIRECT, None)],
)
def test_a_chooser_is_asked_with_the_origin_each_time(answer: Any, expected: Any) -> None:
    asked = []

    def chooser(origin: Origin) -> Any:
        asked.append(origin)
        return answer

    choose = chooser_of_pool(chooser)
    assert choose is not None
    assert choose(ORIGIN) == expected
    assert choose(ORIGIN) == expected
    assert asked == [ORIGIN, ORIGIN]


def chooser_without_return(origin: Origin) -> Any:
    pass


async def answer_later(origin: Origin) -> Proxy:
    return PROXY


@pytest.mark.parametrize(
    ("chooser", "shown"),
    [
        (chooser_without_return, "None"),
        (lambda origin: b"http://secret@proxy", "bytes"),
        (
            lambda origin: chooser_without_return,
            "function: a function of the origin is for ConnectionPool(proxy=)",
        ),
        (lambda origin: answer_later(origin), "coroutine"),
    ],
)
def test_a_chooser_has_to_answer(chooser: Any, shown: str) -> None:
    choose = chooser_of_pool(chooser)
    assert choose is not None
    with pytest.raises(TypeError) as caught:
        choose(ORIGIN)
    assert str(caught.value) == (
        f"what the proxy chooser returns for https://a.example:443 must be {ONE}, not {shown}"
    )


def test_a_chooser_is_not_async() -> None:
    asynchronous: Any = answer_later
    with pytest.raises(TypeError, match="proxy can't be an async function: ask first"):
        chooser_of_pool(asynchronous)


def test_what_a_chooser_raises_is_not_touched() -> None:
    problem = KeyError("no")

    def chooser(origin: Origin) -> Proxy:
        raise problem

    choose = chooser_of_pool(chooser)
    assert choose is not None
    with pytest.raises(KeyError) as caught:
        choose(ORIGIN)
    assert caught.value is problem
    assert (problem.__cause__, problem.__context__) == (None, None)
    wrong = chooser_of_pool(lambda origin: "proxy:3128")
    assert wrong is not None
    with pytest.raises(InvalidURL):
        wrong(ORIGIN)
