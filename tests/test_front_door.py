"""What the package shows of itself."""

from __future__ import annotations

import inspect
import operator
import pickle
import pydoc
import re
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
        "print([m for m in ('triopool.testing', 'httpx', 'httpx2', 'hypothesis', 'pytest', 'rich',"
        " 'opentelemetry', 'prometheus_client', 'wsproto') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr


def test_importing_the_package_mixes_no_bytes_with_text() -> None:
    arguments = [sys.executable, "-bb", "-c", "import triopool"]
    shown = subprocess.run(arguments, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize("library", ["h11", "httptools"])
def test_only_its_own_parser_imports_a_library_of_http(library: str) -> None:
    package = Path(triopool.__file__).parent
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if f"import {library}" in file.read_text(encoding="utf-8")
    }
    # The servers of triopool.testing speak the other side of the protocol.
    found = {file for file in found if not file.startswith("testing/")}
    assert found == {f"_protocol/{library}_parser.py"}


def test_importing_the_package_does_not_import_httptools() -> None:
    """It is for a pool to do so: a program may choose h11 where httptools is installed."""
    program = "import sys, triopool; print('httptools' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "False", shown.stderr


def test_importing_the_package_looks_up_no_version_of_what_is_installed() -> None:
    """That would take some 10 ms, a tenth of the whole: see ``_version.py``."""
    program = (
        "import sys, trio; before = set(sys.modules); import triopool; "
        "print({'importlib.metadata'} & (set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "set()", shown.stderr


def test_help_begins_with_what_a_user_needs() -> None:
    text = pydoc.plain(pydoc.render_doc(triopool))
    assert text.index("triopool.ConnectionPool()") < text.index("PACKAGE CONTENTS")
    assert "_slots    " not in (triopool.__doc__ or "")
    for name in re.findall(r"``help\(triopool\.([\w.]+)\)``", triopool.__doc__ or ""):
        assert operator.attrgetter(name)(triopool).__doc__


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


def test_every_public_class_says_where_users_find_it() -> None:
    for module in (triopool, triopool.testing):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type):
                home = "triopool.abc" if name in vars(triopool.abc) else module.__name__
                assert f"{value.__module__}.{value.__qualname__}" == f"{home}.{name}"
    for error in (triopool.PoolTimeout("late"), triopool.InvalidURL("what?")):
        [line] = traceback.format_exception_only(error)
        assert line == f"triopool.{type(error).__name__}: {error}\n"


ORIGIN = triopool.Origin("https", "a.example", 443)
INFO = triopool.ConnectionInfo(1, ORIGIN, "here", "there", None, 0.5)


@pytest.mark.parametrize(
    "value",
    [
        triopool.AddressInfo(2, 1, 6, "", ("192.0.2.1", 80)),
        triopool.DIRECT,
        triopool.BasicAuth("a", "b"),
        triopool.BearerAuth("a"),
        INFO,
        ORIGIN,
        triopool.PoolKey(ORIGIN, None),
        triopool.PoolKey(ORIGIN, None, triopool.Proxy("http://a:b@proxy"), forwarded=True),
        triopool.Link("https://a.example/", "next", {"title": "More"}),
        triopool.Progress(1, 2, 3, None),
        triopool.Proxy("https://a:b@proxy", headers={"a": "b"}, via="socks5://first"),
        triopool.ProxyInfo("http://proxy:80", None, True),
        triopool.Redirects(3),
        triopool.RequestInfo("GET", ORIGIN, "/", 1),
        triopool.ResponseEnd(triopool.Outcome.LEFT, 1, 0.5, None),
        triopool.ResponseInfo(200, 0.5),
        triopool.Retry(attempts=5, on=(429, triopool.ReadError), budget=triopool.RetryBudget(0.1)),
        triopool.RetryBudget(),
        triopool.ServerSentEvent("data", "add", "7", 1.5),
        triopool.TLSInfo("TLSv1.3", None, None, None),
        triopool.Timeouts(read=3),
        *triopool.CloseReason,
        *triopool.Outcome,
        *triopool.Spent,
    ],
    ids=lambda value: str(value).partition("(")[0],
)
def test_what_is_public_and_plain_can_be_pickled(value: object) -> None:
    data = pickle.dumps(value)
    assert b"triopool._" not in data
    copy = pickle.loads(data)
    assert (type(copy), repr(copy)) == (type(value), repr(value))


def test_every_error_without_a_response_can_be_pickled() -> None:
    for name in triopool.__all__:
        value = getattr(triopool, name)
        if not (isinstance(value, type) and issubclass(value, triopool.TriopoolError)):
            continue
        if value in (triopool.RedirectError, triopool.StatusError):
            continue
        error = value("what happened", origin=ORIGIN)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.origin) == (value, str(error), ORIGIN)


def test_help_can_be_had_of_all_that_is_public_and_the_source_of_its_methods() -> None:
    here = str(Path(triopool.__file__).parent)
    for name in triopool.__all__:
        value = getattr(triopool, name)
        assert name in pydoc.render_doc(value)
        for method in vars(value).values() if isinstance(value, type) else ():
            # Those that are written here: a dataclass has others, too.
            if inspect.isfunction(method) and method.__code__.co_filename.startswith(here):
                assert method.__name__ in inspect.getsource(method)


@pytest.mark.parametrize("module", [triopool, triopool.testing])
def test_every_public_signature_tells_its_keywords(module: types.ModuleType) -> None:
    """So that an editor shows them: by name, or by a TypedDict."""
    found = [(name, getattr(module, name)) for name in module.__all__]
    for name, value in list(found):
        found += [
            (f"{name}.{method.__name__}", method)
            for method in (vars(value).values() if isinstance(value, type) else ())
            if inspect.isfunction(method) and not method.__name__.startswith("_")
        ]
    looked_at = 0
    for name, value in found:
        is_options = isinstance(value, type) and issubclass(value, dict)
        if is_options or not (inspect.isfunction(value) or isinstance(value, type)):
            continue
        looked_at += 1
        for parameter in inspect.signature(value).parameters.values():
            # A network's pool is a ConnectionPool, whose own signature tells them.
            if parameter.kind is parameter.VAR_KEYWORD and name != "Network.pool":
                assert "Unpack[" in str(parameter.annotation), name
    assert looked_at > 10


def test_the_annotations_of_all_that_is_public_can_be_looked_up() -> None:
    for name in triopool.__all__:
        if isinstance(value := getattr(triopool, name), type):
            typing.get_type_hints(value)
