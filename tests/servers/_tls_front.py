"""haproxy in front of another server: it takes the TLS off, and passes on what is inside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from ._programs import require_program, running_on_ports, server_certificate

_CONFIG = """\
global
    maxconn 4096
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
"""


@dataclass(frozen=True)
class TLSFront:
    """A running haproxy.

    Attributes:
      ports: where it speaks TLS, by the name of the port behind it.
    """

    ports: dict[str, int]
    process: subprocess.Popen[bytes]

    def url(self, server: str = "open", *, credentials: str = "") -> str:
        """The URL of a proxy behind; *credentials* are ``name:password``, percent-encoded."""
        at = f"{credentials}@" if credentials else ""
        return f"https://{at}localhost:{self.ports[server]}"


@contextmanager
def run_tls_front(directory: Path, ca: trustme.CA, behind: Mapping[str, int]) -> Iterator[TLSFront]:
    """Run haproxy until the block ends, in front of the ports that *behind* names.

    It could inherit sockets. It binds its ports by itself, so that they refuse once it is killed.
    """
    program = require_program("haproxy")
    certificate = directory / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    config = directory / "haproxy.cfg"

    def arguments(ports: dict[str, int]) -> list[object]:
        config.write_text(
            _CONFIG
            + "".join(
                f"listen {name}\n"
                f"    bind 127.0.0.1:{port} ssl crt {certificate} alpn http/1.1\n"
                f"    server {name} 127.0.0.1:{behind[name]}\n"
                for name, port in ports.items()
            )
        )
        return [program, "-db", "-f", config]

    with running_on_ports(behind, arguments, directory / "haproxy.log") as (ports, process):
        yield TLSFront(ports, process)
