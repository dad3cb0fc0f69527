"""The server of the websockets package, in a process of its own, plain and with TLS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

from ._programs import running, server_certificate

PROGRAM = Path(__file__).with_name("_websockets_program.py")


@dataclass(frozen=True)
class WebSocketServer:
    """A running server of the websockets package; its program lists its paths.

    Attributes:
      ports: the ports without and with TLS.
    """

    ports: dict[Literal["plain", "tls"], int]

    def url(self, path: str = "/", *, server: Literal["plain", "tls"] = "plain") -> str:
        """The URL of *path*: http or https, for a WebSocket begins as an HTTP request."""
        scheme = "https" if server == "tls" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[server]}{path}"


@contextmanager
def run_websockets(directory: Path, ca: trustme.CA) -> Iterator[WebSocketServer]:
    """Run the server until the block ends; its certificate goes to *directory*."""
    certificate = directory / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    arguments = [sys.executable, "-W", "error", PROGRAM, certificate]
    with running(*arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            # It listens by then. If it did not start it has told why, and nothing comes here.
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {process.wait()=}")
            yield WebSocketServer(json.loads(line))
