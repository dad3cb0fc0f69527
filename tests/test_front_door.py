"""What the package shows of itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
import types
import typing
from pathlib import Path

import pytest

import triopool
import triopool.abc
import triopool.testing


@pytest.mark.parametrize("module", [triopool, triopool.testing])
def test_all_is_what_there_is(module: types.ModuleType) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    modules = {"abc"} if module is triopool else set()
    assert set(module.__all__) == public - {"annotations"} | modules
    assert sorted(module.__all__) == sorted(set(module.__all__))


def test_importing_the_package_imports_nothing_for_tests_or_other_clients() -> None:
    program = (
        "import sys, triopool; "
        "print([m for m in ('triopool.testing', 'httpx', 'httpx2', 'hypothesis', 'pytest', 'rich')"
        " if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr


def test_importing_the_package_mixes_no_bytes_with_text() -> None:
    arguments = [sys.executable, "-bb", "-c", "import triopool"]
    shown = subprocess.run(arguments, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr


def test_only_the_adaptor_and_the_request_head_import_h11() -> None:
    package = Path(triopool.__file__).parent
    found = {
        str(file.relative_to(package).as_posix())
        for file in package.rglob("*.py")
        if "import h11" in file.read_text(encoding="utf-8")
    }
    # The servers of triopool.testing speak the other side of the protocol.
    found = {file for file in found if not file.startswith("testing/")}
    assert found <= {"_protocol/http11.py", "_protocol/request_head.py"}


def test_every_error_is_in_the_tree_and_every_timeout_is_trios_too() -> None:
    import trio

    errors = [
        value
        for name in triopool.__all__
        if isinstance(value := getattr(triopool, name), type) and issubclass(value, Exception)
    ]
    assert all(issubclass(error, triopool.TriopoolError) for error in errors)
    timeouts = [error for error in errors if error.__name__.endswith("Timeout")]
    assert len(timeouts) == 4
    assert all(issubclass(error, trio.TooSlowError) for error in timeouts)


def test_a_traceback_names_an_error_as_users_do() -> None:
    for error in (triopool.PoolTimeout("late"), triopool.InvalidURL("what?")):
        [line] = traceback.format_exception_only(error)
        assert line == f"triopool.{type(error).__name__}: {error}\n"
        assert type(pickle.loads(pickle.dumps(error))) is type(error)


def test_the_annotations_of_all_that_is_public_can_be_looked_up() -> None:
    for name in triopool.__all__:
        if isinstance(value := getattr(triopool, name), type):
            typing.get_type_hints(value)
