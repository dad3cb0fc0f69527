"""Starting and stopping a program that is a server, for both kinds of it."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

# Picked arbitrarily; a server that has not started by then never will.
START_SECONDS = 20.0


class Place(NamedTuple):
    """What a server is given to work with.

    Attributes:
      directory: for its own files; removed at the end.
      files: what it serves: ``2000`` and ``bytes/N``.
      key_and_chain: a PEM file.
    """

    directory: Path
    files: Path
    key_and_chain: Path


@contextmanager
def running(
    command: Sequence[str], log: IO[bytes], *, pass_fds: Sequence[int] = (), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends. What it says goes to *log*."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=pass_fds,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(attempt: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    """Try until it works; raise what the server says in its *log* if it never does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            attempt()
            return
        except (OSError, http.client.HTTPException) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text() if log.exists() else ""
                raise RuntimeError(f"the server did not start: {error}\n{said}") from error
        time.sleep(0.05)


def ask(port: int, method: str, path: str, content: bytes | None = None) -> bytes:
    """The body of the answer to one request. Blocks, and knows of no proxies."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request(method, path, content)
        return connection.getresponse().read()
    finally:
        connection.close()
