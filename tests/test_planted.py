"""The lists of bugs to plant keep up with the code: each bug has a place to be planted at.

To plant them takes an hour, so that is not done with each change. A bug that has lost its place
would be noticed only then.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parent
LISTS = ["planted_bugs.py", "parsers/planted.py", "proxies/planted.py", "soak/planted.py"]


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The list *name*; what it adds to the path is gone after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("planted_list", TESTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "planted_list", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LISTS)
def test_each_planted_bug_has_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = TESTS.parent / "triopool"
    lost = [
        f"{bug.name}: {file}"
        for bug in load(name, monkeypatch).BUGS
        for file, old, _ in bug.edits
        if (package / file).read_text(encoding="utf-8").count(old) != 1
    ]
    assert not lost
