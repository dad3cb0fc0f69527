"""granian, where there is no nginx: written in Rust, installed with pip.

The files are served by its own code; Python is asked for ``/2000`` and ``/upload``. Each of the two
takes part of a core, so that it is still a few times faster than what it measures.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .programs import Place, running, wait_until


def is_installed() -> bool:
    return importlib.util.find_spec("granian") is not None


@contextmanager
def run(place: Place) -> Iterator[tuple[str, int, int]]:
    """Run two of it until the block ends; gives the name, and the ports without and with TLS."""
    key = place.directory / "key.pem"
    key.write_bytes(_as_pkcs8(place.key_and_chain.read_bytes()))
    tls = ["--ssl-keyfile", str(key), "--ssl-certificate", str(place.key_and_chain)]
    ports = _two_ports()
    with ExitStack() as stack:
        stack.enter_context(_run_one(place, ports[0], []))
        stack.enter_context(_run_one(place, ports[1], tls))
        yield f"granian {importlib.metadata.version('granian')}", *ports


def _as_pkcs8(pem: bytes) -> bytes:
    """The key in the one format that granian reads."""
    # What trustme itself is built on.
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _two_ports() -> tuple[int, int]:
    """Free ones. granian makes its sockets itself: should somebody be faster, then it will say."""
    with socket.socket() as plain, socket.socket() as tls:
        for sock in (plain, tls):
            sock.bind(("0.0.0.0", 0))
        return plain.getsockname()[1], tls.getsockname()[1]


@contextmanager
def _run_one(place: Place, port: int, more: list[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "granian", "granian_app:app"]
    command += ["--working-dir", str(Path(__file__).parent)]
    command += ["--interface", "rsgi", "--http", "1", "--no-ws"]
    command += ["--host", "0.0.0.0", "--port", str(port), "--backlog", "4096"]
    command += ["--http1-header-read-timeout", "60000"]  # holds for idle connections too
    command += ["--static-path-route", "/bytes"]
    command += ["--static-path-mount", str(place.files / "bytes")]
    command += more
    log = place.directory / f"{port}.log"
    with log.open("wb") as file, running(command, file) as process:
        # Not by a request: one of the two would want to be asked with TLS.
        wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close(), process, log)
        yield
