"""microsocks: SOCKS 5, with credentials."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ._programs import require_program, running_on_ports

MICROSOCKS_CREDENTIALS = ("ada", "s3cret")


@dataclass(frozen=True)
class Microsocks:
    """A running microsocks.

    Attributes:
      port: where it listens.
    """

    port: int
    process: subprocess.Popen[bytes]

    def url(self, scheme: str = "socks5h", *, credentials: str = "") -> str:
        """The proxy's URL; *credentials* are ``name:password``, percent-encoded."""
        at = f"{credentials}@" if credentials else ""
        return f"{scheme}://{at}127.0.0.1:{self.port}"


@contextmanager
def run_microsocks(directory: Path, *, credentials: bool) -> Iterator[Microsocks]:
    """Run microsocks until the block ends; what it says goes to *directory*.

    Args:
      directory: is to be empty.
      credentials: whether it wants :data:`MICROSOCKS_CREDENTIALS`.
    """
    program = require_program("microsocks")
    username, password = MICROSOCKS_CREDENTIALS

    def arguments(ports: dict[str, int]) -> list[object]:
        wanted = ["-u", username, "-P", password] if credentials else []
        return [program, "-i", "127.0.0.1", "-p", str(ports["socks"]), *wanted]

    log = directory / "microsocks.log"
    with running_on_ports(["socks"], arguments, log) as (ports, process):
        yield Microsocks(ports["socks"], process)
