"""What the servers have in common: finding, starting and stopping a program."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
def running(*arguments: Any, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends."""
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
