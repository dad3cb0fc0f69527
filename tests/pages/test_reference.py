"""The reference is complete, and what it says of defaults is what the code has."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections import Counter
from types import ModuleType

import pytest

import triopool
import triopool.abc
from pages.blocks import ROOT
from triopool._dial.names import MAX_ADDRESSES
from triopool._exchange.upload import CONTINUE_WAIT
from triopool._protocol.scanner import MAX_FIELDS, MAX_HEAD_BYTES
from triopool._reading.lines import MAX_LENGTH
from triopool._slots.dials import ORPHAN_GRACE

REFERENCE = ROOT / "docs" / "reference"

# What has no heading is the docstring of a module, and no name.
NAME = re.compile(r"^::: (\S+)$(?!\n    options:\n      show_root_heading: false)", re.MULTILINE)

MODULES = [
    "triopool",
    "triopool.abc",
    "triopool.httpx",
    "triopool.httpx2",
    "triopool.opentelemetry",
    "triopool.prometheus",
    "triopool.testing",
    "triopool.testing.fixtures",
    "triopool.websocket",
]
"""The public modules, of which each public name is in the reference."""


def public_names(name: str) -> set[str]:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:  # abc: what is defined there, and not what it imports.
        names = [
            name
            for name in re.findall(r"^(?:class )?([A-Z]\w+)[:(]", inspect.getsource(module), re.M)
            if name not in triopool.__all__
        ]
    return {f"{name}.{one}" for one in names if not isinstance(getattr(module, one), ModuleType)}


def test_every_public_name_is_in_the_reference_once() -> None:
    shown = Counter(
        name
        for page in REFERENCE.glob("*.md")
        for name in NAME.findall(page.read_text(encoding="utf-8"))
    )
    expected = set().union(*map(public_names, MODULES))
    assert set(shown) == expected
    assert not [name for name, count in shown.items() if count > 1]


def test_these_are_all_the_public_modules() -> None:
    package = ROOT / "triopool"
    files = {file.stem for file in package.glob("[!_]*.py")}
    rooms = {path.parent.name for path in package.glob("[!_]*/__init__.py")}
    found = {f"triopool.{name}" for name in files | rooms}
    assert found | {"triopool", "triopool.testing.fixtures"} == set(MODULES)


# ── Defaults ───────────────────────────────────────────────────────────────────────────────────

ROWS = dict(
    re.findall(
        r"^\| `([\w.]+)` \| ([^|]+) \|",
        (REFERENCE / "defaults.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


def defaults() -> dict[str, object]:
    """The options of a pool, of the phases and of retries; those of a request as they are."""
    found = {
        name: parameter.default
        for name, parameter in inspect.signature(triopool.ConnectionPool).parameters.items()
        if name != "timeouts"
    }
    for kind in (triopool.Timeouts, triopool.Retry):
        for field in dataclasses.fields(kind):
            found[f"{kind.__name__}.{field.name}"] = field.default
    untold = ("Retry.on", "Retry.jitter", "Retry.budget")
    of_a_request = {"follow_redirects": False, "decode": True, "max_body_bytes": None}
    return {name: value for name, value in found.items() if name not in untold} | of_a_request


def test_all_defaults_are_in_the_table() -> None:
    assert ROWS.keys() == defaults().keys()


@pytest.mark.parametrize(("name", "value"), defaults().items())
def test_a_default_is_what_the_table_says(name: str, value: object) -> None:
    said = ROWS[name].strip().strip("`")
    if value is None or value == ():
        assert said in ("no limit", "none")
    elif isinstance(value, bool):
        assert said == ("yes" if value else "no")
    elif isinstance(value, float):
        assert said == f"{value:g} s"
    else:
        assert said == str(value)


def test_the_bounds_are_what_the_second_table_says() -> None:
    page = (REFERENCE / "defaults.md").read_text(encoding="utf-8")
    [_, bounds] = page.split("can't be changed:")
    assert re.findall(r"\| ([^|]*\d[^|]*) \|$", bounds, re.MULTILINE) == [
        f"{MAX_HEAD_BYTES // 1024} KiB, {MAX_FIELDS} fields",
        f"{CONTINUE_WAIT:g} s",
        f"{ORPHAN_GRACE:g} s",
        f"{MAX_ADDRESSES}",
    ]
    assert f"may have {MAX_LENGTH // 2**20} MiB" in bounds


def test_the_figures_of_other_pages_are_those_of_the_table() -> None:
    page = (ROOT / "docs/how-to/timeouts.md").read_text(encoding="utf-8")
    phases = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    assert {f"Timeouts.{phase}": figure.strip() for phase, figure in phases} == {
        name: figure for name, figure in ROWS.items() if name.startswith("Timeouts.")
    }
    page = (ROOT / "docs/how-to/tuning.md").read_text(encoding="utf-8")
    options = dict(re.findall(r"^\| `(\w+)` \(([^)]+)\) \|", page, re.MULTILINE))
    assert len(options) >= 7
    assert options.items() <= ROWS.items()
