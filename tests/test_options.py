"""Each option is said in few places; where it can't be one, they say the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from triopool import ConnectionPool, Proxy, RequestOptions, Timeouts
from triopool._dial.dialler import Dialler
from triopool._habits import OF_A_POOL, OF_A_PROXY, OF_A_REQUEST
from triopool._request.places import Places
from triopool._request.prepare import prepare
from triopool._slots.engine import Slots

OF_REQUESTS = list(RequestOptions.__annotations__)
OF_POOLS = [
    parameter.name
    for parameter in inspect.signature(ConnectionPool).parameters.values()
    if parameter.kind is parameter.KEYWORD_ONLY
]


def explained(what: Callable[..., object] | type) -> list[str]:
    """The arguments that a docstring explains, in its order."""
    section = re.search(r"\n *Args:\n(.*?)(\n\n|\Z)", inspect.getdoc(what) or "", re.DOTALL)
    assert section is not None
    return re.findall(r"^  (?:  )?(\w+): ", section[1], re.MULTILINE)


def test_all_options_of_a_request_are_explained_and_no_others() -> None:
    assert explained(ConnectionPool.request) == ["method", "url", *OF_REQUESTS]


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_every_option_of_a_request_is_checked_and_never_ignored(name: str) -> None:
    wrong: Any = {name: object()}
    with pytest.raises((TypeError, ValueError)):
        prepare("GET", "https://a.example/", default_timeouts=Timeouts(), places=Places(), **wrong)


def test_all_options_of_a_pool_are_explained_and_no_others() -> None:
    assert explained(ConnectionPool) == OF_POOLS


@pytest.mark.parametrize("name", OF_POOLS)
def test_every_option_of_a_pool_is_checked(name: str) -> None:
    wrong: Any = {name: object()}
    with pytest.raises((TypeError, ValueError, NotImplementedError)):
        ConnectionPool(**wrong)


@pytest.mark.parametrize("part", [Slots, Dialler])
def test_a_part_of_the_pool_has_the_defaults_that_the_pool_has(part: type) -> None:
    theirs = inspect.signature(part).parameters
    ours = inspect.signature(ConnectionPool).parameters
    shared = set(theirs) & set(ours)
    assert len(shared) > 3
    for name in shared:
        assert theirs[name].default == ours[name].default


def test_what_other_clients_call_it_is_the_name_of_nothing_of_ours() -> None:
    assert not set(OF_A_REQUEST) & set(OF_REQUESTS)
    assert not set(OF_A_POOL) & set(OF_POOLS)
    assert not set(OF_A_PROXY) & set(inspect.signature(Proxy).parameters)
