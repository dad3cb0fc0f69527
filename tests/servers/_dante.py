"""Dante (danted): SOCKS 4 and 5, but not 4a, in several processes.

It asks the system about credentials, so that no test has any that are right.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._programs import let_nobody_read, require_program, running_on_ports

DantePort = Literal["open", "closed"]

# An @WORD@ is filled in.
_CONFIG = """\
logoutput: @DIRECTORY@/danted.log
internal: 127.0.0.1 port = @OPEN@
internal: 127.0.0.1 port = @CLOSED@
external: 127.0.0.1
clientmethod: none
socksmethod: none username
@USER@
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 port = @OPEN@ socksmethod: none }
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 port = @CLOSED@ socksmethod: username }
socks block { from: 127.0.0.0/8 to: 0.0.0.0/0 port = 9 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
"""

FORBIDDEN_PORT = 9
"""Where dante lets nobody go."""


@dataclass(frozen=True)
class Dante:
    """A running dante.

    Attributes:
      ports: where anybody may ask, and where credentials are wanted.
    """

    ports: dict[DantePort, int]
    process: subprocess.Popen[bytes]

    def url(self, scheme: str, server: DantePort = "open", *, credentials: str = "") -> str:
        """The proxy's URL; *credentials* are ``name:password``, percent-encoded."""
        at = f"{credentials}@" if credentials else ""
        return f"{scheme}://{at}127.0.0.1:{self.ports[server]}"


@contextmanager
def run_dante(directory: Path) -> Iterator[Dante]:
    """Run danted with its files in *directory* until the block ends.

    Root's danted drops to "nobody", who must be able to reach *directory*: so not one of pytest's.
    """
    program = require_program("danted")
    config = directory / "danted.conf"

    def arguments(ports: dict[DantePort, int]) -> list[object]:
        text = _CONFIG.replace("@USER@", "user.unprivileged: nobody" if os.geteuid() == 0 else "")
        for server, port in ports.items():
            text = text.replace(f"@{server.upper()}@", str(port))
        config.write_text(text.replace("@DIRECTORY@", str(directory)))
        let_nobody_read(directory)
        return [program, "-f", config, "-p", directory / "danted.pid"]

    names: tuple[DantePort, ...] = ("open", "closed")
    log = directory / "danted.log"
    # A group of its own, so that all of its processes can be killed at once.
    with running_on_ports(names, arguments, log, start_new_session=True) as (ports, process):
        yield Dante(ports, process)
