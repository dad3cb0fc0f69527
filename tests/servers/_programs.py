"""What the servers have in common: finding, starting and stopping a program."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

# Picked arbitrarily; a server that has not started by then never will.
START_SECONDS = 20.0

Name = TypeVar("Name", bound=str)


def require_program(name: str) -> str:
    """Return the path of a program that a test cannot do without, or skip the test.

    On CI, where every program is to be installed, its absence is a failure: a skip would hide it.
    """
    # Debian keeps servers in sbin, which the PATH of an ordinary user does not have.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        reason = f"needs {name}, which is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def listening(names: Iterable[Name]) -> Iterator[dict[Name, socket.socket]]:
    """Sockets that listen on ports of the system's choice, for a program to inherit in the block.

    As long as it has them they go on listening: the ports are never anybody else's.
    """
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for sock in sockets.values():
            sock.bind(("127.0.0.1", 0))
            sock.listen(511)  # as many as nginx itself would ask for
        yield sockets


@contextmanager
def ports_to_bind(names: Iterable[Name]) -> Iterator[dict[Name, int]]:
    """Ports for a program that can't inherit sockets, and binds them by itself in the block.

    They are bound here, too, and not listened at: so nobody else is given them, and Linux lets a
    program have them that sets SO_REUSEADDR, as servers do. Elsewhere they are free but for bad
    luck.
    """
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for sock in sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
        if sys.platform != "linux":
            stack.close()
        yield ports


@contextmanager
def running_on_ports(
    names: Iterable[Name], arguments: Callable[[dict[Name, int]], list[Any]], log: Path, **how: Any
) -> Iterator[tuple[dict[Name, int], subprocess.Popen[bytes]]]:
    """Run a program that binds ports by itself until the block ends; it listens in the block.

    Args:
      names: what the ports are called.
      arguments: called with the ports; returns the program and its arguments.
      log: the file that says why it did not start.
      how: as for :func:`running`.
    """
    for tries_left in (2, 1, 0):
        with (
            ports_to_bind(names) as ports,
            log.with_suffix(".output").open("wb") as output,
            running(*arguments(ports), stdout=output, stderr=output, **how) as process,
        ):
            if _listens(process, ports.values()):
                yield ports, process
                return
        if not tries_left:
            said = [file.read_text("utf-8", "replace") for file in log.parent.glob(f"{log.stem}.*")]
            raise RuntimeError(
                f"{process.args} did not start: {process.poll()=}\n" + "\n".join(said)
            )


def _listens(process: subprocess.Popen[bytes], ports: Iterable[int]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    for port in ports:
        while not _connects(port):
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return process.poll() is None


def _connects(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def let_nobody_read(directory: Path) -> None:
    """Give *directory*, and what is in it, to the account to which root's servers drop."""
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "nobody")


@contextmanager
def running(
    *arguments: Any, end: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends, and end it by a signal."""
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and what it has started if that is a group of its own; wait for its end."""
    if process.poll() is None:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


@contextmanager
def running_again(process: subprocess.Popen[bytes], port: int) -> Iterator[None]:
    """Run once more, until the block ends, what has been killed: with the same ports and files.

    It was started by :func:`running_on_ports`, whose block still keeps its ports.

    Args:
      port: one of its ports.
    """
    deadline = time.monotonic() + START_SECONDS
    # One that was killed together with it may need a moment to go.
    while _connects(port):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    arguments: Any = process.args
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    again = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True, **quiet)
    try:
        assert _listens(again, [port]), f"{process.args} did not start again"
        yield
    finally:
        kill(again)


def wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, path: str, log: os.PathLike[str]
) -> None:
    """Ask for *path* once; if there is no answer, raise what the server says in its *log*.

    The socket has been listening all along, so that connecting would tell nothing.
    """
    try:
        get(port, path, START_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        said = "It wrote no log; did it say anything above?"
        with suppress(FileNotFoundError), open(log, encoding="utf-8") as file:
            said = file.read()
        program = os.path.basename(process.args[0])  # type: ignore[index, arg-type]
        raise RuntimeError(f"{program} did not start: {process.poll()=}\n{said}") from error


def get(port: int, path: str, timeout: float = 5.0) -> bytes:
    """The body that a GET is answered with. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()


def open_sockets() -> set[tuple[int, int]]:
    """Every socket that this process has open, as (descriptor, inode).

    Raises:
      FileNotFoundError: this system has no ``/dev/fd`` to look at.
    """
    found = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found.add((int(name), status.st_ino))
    return found


def server_certificate(ca: trustme.CA) -> trustme.LeafCert:
    """A certificate for every name that the servers of the tests go by."""
    return ca.issue_cert("localhost", "127.0.0.1", "::1", "one.test", "two.test")
