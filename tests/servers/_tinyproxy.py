"""tinyproxy: an HTTP proxy that answers as HTTP/1.0, and closes each time.

It answers wrong credentials with 401, not with 407, and takes no colon in a password.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ._programs import require_program, running_on_ports

TINYPROXY_CREDENTIALS = ("ada", "s3cret")

# An @WORD@ is filled in.
_CONFIG = """\
Port @PORT@
Listen 127.0.0.1
Timeout 60
MaxClients 300
LogFile "@DIRECTORY@/tinyproxy.log"
LogLevel Connect
ViaProxyName "tinyproxy"
Filter "@DIRECTORY@/filter"
@CREDENTIALS@
"""


@dataclass(frozen=True)
class Tinyproxy:
    """A running tinyproxy. Its answer for forbidden.test is 403.

    Attributes:
      port: where it listens.
    """

    port: int
    process: subprocess.Popen[bytes]

    def url(self, *, credentials: str = "") -> str:
        """The proxy's URL; *credentials* are ``name:password``, percent-encoded."""
        at = f"{credentials}@" if credentials else ""
        return f"http://{at}127.0.0.1:{self.port}"


@contextmanager
def run_tinyproxy(directory: Path, *, credentials: bool) -> Iterator[Tinyproxy]:
    """Run tinyproxy with its files in *directory* until the block ends.

    Args:
      directory: is to be empty.
      credentials: whether it wants :data:`TINYPROXY_CREDENTIALS`.
    """
    program = require_program("tinyproxy")
    config = directory / "tinyproxy.conf"
    (directory / "filter").write_text("^forbidden\\.test$\n")

    def arguments(ports: dict[str, int]) -> list[object]:
        wanted = "BasicAuth {} {}".format(*TINYPROXY_CREDENTIALS) if credentials else ""
        text = _CONFIG.replace("@PORT@", str(ports["http"])).replace("@CREDENTIALS@", wanted)
        config.write_text(text.replace("@DIRECTORY@", str(directory)))
        return [program, "-d", "-c", config]

    log = directory / "tinyproxy.log"
    with running_on_ports(["http"], arguments, log) as (ports, process):
        yield Tinyproxy(ports["http"], process)
