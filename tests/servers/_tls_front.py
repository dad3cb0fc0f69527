"""haproxy in front of another server: it takes the TLS off, and passes on what is inside."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from ._programs import listening, require_program, running, server_certificate

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

    Its sockets listen from the start, so that there is nothing to wait for.
    """
    program = require_program("haproxy")
    certificate = directory / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    config = directory / "haproxy.cfg"
    with ExitStack() as stack:
        with listening(behind) as sockets:
            ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
            config.write_text(
                _CONFIG
                + "".join(
                    f"listen {name}\n"
                    f"    bind fd@{sock.fileno()} ssl crt {certificate} alpn http/1.1\n"
                    f"    server {name} 127.0.0.1:{behind[name]}\n"
                    for name, sock in sockets.items()
                )
            )
            fds = [sock.fileno() for sock in sockets.values()]
            log = stack.enter_context((directory / "haproxy.log").open("wb"))
            process = stack.enter_context(
                running(program, "-db", "-f", config, pass_fds=fds, stdout=log, stderr=log)
            )
        yield TLSFront(ports, process)
