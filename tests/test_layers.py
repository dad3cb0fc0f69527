"""Who may import whom. One arrow that points up, and soon nobody can say what depends on what.

The table below is the law, and the map in ``triopool/__init__.py`` is the same for readers. An
import for type checking is an import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from house import PACKAGE, files, imported_by, name_of, room_of, rooms, tree_of

import triopool

GROUND = {
    *("_origin", "_config", "_deadlines", "_decoding", "_charset", "_threads", "_control_c"),
    *("_trio_only", "_own_nursery", "_groups", "_errors", "_facts", "_statistics", "_pool_key"),
    *("_version", "_habits", "abc"),
}
"""The plain nouns and the small tools. On the map: ``the ground``."""

MAY_IMPORT: dict[str, set[str]] = {
    "httpx": {"_httpx", "_pool"},
    "httpx2": {"_httpx", "_pool"},
    "websocket": {"_websocket", "_naming"},
    "_websocket": {
        *("_pool", "_session.session", "_client", "_exchange.upgraded", "_proxy.choice"),
        *("_request", "_body"),
        *GROUND,
    },
    "opentelemetry": {"_errors", "_facts", "_origin", "_version", "abc"},
    "prometheus": {"_pool", "_statistics", "_trio_only"},
    "_httpx": {"_pool", "_client", "_proxy", "_request", "_body", *GROUND},
    "_pool": {
        *("_requests", "_session.budget", "_client.client", "_proxy", "_slots", "_dial"),
        *("_protocol.parsers", "_request", "_instruments"),
        *GROUND,
    },
    "_requests": {
        *("_session", "_client", "_reading.lines", "_request", "_proxy.choice"),
        *GROUND,
    },
    "_session": {
        *("_client", "_exchange.sending", "_reading.lines", "_request", "_proxy", "_body"),
        *GROUND,
    },
    "_client": {
        *("_exchange", "_protocol.seam", "_reading", "_request", "_proxy.proxy", "_slots"),
        *("_instruments", *GROUND),
    },
    "_exchange": {
        *("_protocol.seam", "_protocol.heads", "_request", "_body"),
        *("_decoding", "_groups", "_errors", "_facts"),
    },
    "_reading": {"_body"},
    "_slots": {
        *("_instruments", "_statistics", "_deadlines", "_config", "_errors", "_facts"),
        *("_origin", "_pool_key", "abc"),
    },
    "_dial": {
        *(
            "_protocol",
            "_proxy.proxy",
            "_transport",
            "_deadlines",
            "_threads",
            "_control_c",
            "_config",
        ),
        *("_errors", "_facts", "_origin", "_pool_key", "abc"),
    },
    "_proxy": {
        *("_request.auth", "_request.url", "_request.fields", "_habits"),
        *("_config", "_errors", "_facts", "_origin", "_pool_key", "abc"),
    },
    "_request": {
        *("_proxy", "_body", "_protocol.request_head", "_decoding", "_config", "_errors"),
        *("_facts", "_habits", "_origin", "_pool_key"),
    },
    "_protocol": {
        *("_transport", "_deadlines", "_config", "_errors", "_facts", "_origin", "_pool_key"),
        "_version",
    },
    "_transport": {"_errors", "_facts", "_origin", "_pool_key"},
    "_body": {"_threads", "_config"},
    "_instruments": {"_protocol.request_head", "_config", "_errors", "_facts", "_origin", "abc"},
    "testing": {"_naming", "_pool", "abc"},
    "abc": {"_facts", "_origin", "_proxy.proxy"},
    "_errors": {"_origin"},
    "_facts": {"_origin"},
    "_statistics": {"_pool_key"},
    "_pool_key": {"_origin", "_proxy.proxy"},
    "_origin": set(),
    "_config": {"_habits"},
    "_deadlines": set(),
    "_decoding": set(),
    "_charset": set(),
    "_naming": set(),
    "_threads": set(),
    "_control_c": set(),
    "_trio_only": set(),
    "_own_nursery": set(),
    "_groups": set(),
    "_version": set(),
    "_habits": set(),
}
"""What the files of a room may import, beside one another: a room, or one file of it."""

MOST_LINES = 400
LONG_BECAUSE = "Long because "


def arrows_against_the_law(room: str) -> list[str]:
    """The imports of a room that the table does not allow."""
    return [
        f"{name_of(file)} imports {module}"
        for file in files()
        if room_of(file) == room
        for module in sorted(set(imported_by(file)))
        if (to := module.partition(".")[0]) != room
        and {to, module}.isdisjoint(MAY_IMPORT.get(room, set()))
    ]


@pytest.mark.parametrize("room", sorted(rooms()))
def test_imports_point_down_only(room: str) -> None:
    assert not arrows_against_the_law(room)


def circles() -> set[frozenset[str]]:
    """Groups of files that import one another, perhaps by way of others."""
    imports = {name_of(file): set(imported_by(file)) for file in files()}
    reached = {name: reached_from(name, imports) for name in imports}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in imports
        if name in reached[name]
    }


def reached_from(start: str, imports: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    to_see = [start]
    while to_see:
        new = (imports[to_see.pop()] & imports.keys()) - reached
        reached |= new
        to_see += new
    return reached


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Not even for type checking: of two such files neither can be understood first."""
    assert not circles()


# ── The map ────────────────────────────────────────────────────────────────────────────────────


def the_map() -> dict[str, set[str]]:
    """The map of ``triopool/__init__.py``: rooms, and below each line the arrow to what it imports.

    ::

        _transport     bytes: a socket, and TLS over it
            -> _errors _facts _origin
    """
    text = triopool.__rooms__
    found: dict[str, set[str]] = {}
    arrows = r"^    (\S.*?)  .*\n        -> (.*(?:\n {11}\S.*)*)$"
    for names, arrow in re.findall(arrows, text, re.MULTILINE):
        arrow = arrow.replace("the ground", " ".join(GROUND)).replace("nothing", "")
        for name in names.split():
            found[name] = set(arrow.split())
    return found


def test_the_map_that_a_reader_finds_is_the_law() -> None:
    assert the_map() == MAY_IMPORT


def test_every_room_is_on_the_map() -> None:
    assert rooms() == {*MAY_IMPORT}


# ── Rooms and files ────────────────────────────────────────────────────────────────────────────


def folders() -> list[Path]:
    return sorted(file for file in PACKAGE.glob("_*/__init__.py"))


@pytest.mark.parametrize("file", folders(), ids=lambda file: file.parent.name)
def test_a_room_says_what_it_is_for_and_re_exports_nothing(file: Path) -> None:
    """So each name has one path, and to import a file of a room imports no other one."""
    [only] = tree_of(file).body
    assert isinstance(only, ast.Expr)
    assert ast.get_docstring(tree_of(file))


def too_long(room: str) -> list[str]:
    """The files of a room that are long, and don't say in their first lines why."""
    return [
        f"{name_of(file)} has {lines} lines"
        for file in files()
        if room_of(file) == room
        and (lines := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES
        and LONG_BECAUSE not in (ast.get_docstring(tree_of(file)) or "")
    ]


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_long_file_has_its_reason(room: str) -> None:
    """A paragraph of its docstring that begins with "Long because"."""
    assert not too_long(room)
