"""haproxy: odd timeouts, 1xx responses, early refusals, and a proxy in front of what a test serves.

``/port/N/...`` is passed on to port N of this machine; everything else haproxy answers by itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

from ._programs import (
    listening,
    require_program,
    running,
    server_certificate,
    wait_until_it_answers,
)

HaproxyServer = Literal["plain", "tls", "silent", "impatient", "impatient-tls", "three", "closing"]

# What makes the front ends differ. Behind all of them are all the paths.
_FRONT_ENDS: dict[HaproxyServer, str] = {
    "plain": "",
    "tls": "",
    # Closes an idle connection 100 ms after its last response, without a word.
    "silent": "timeout http-keep-alive 100ms",
    # Sends 408 to who has not asked for anything a second after connecting. (Not sooner: a request
    # that is a little late on a busy machine would get it as its answer.)
    "impatient": "timeout http-request 1s",
    "impatient-tls": "timeout http-request 1s",
    # Cuts the connection after its third request, with "Connection: close" on that response.
    "three": """\
    http-request set-var(sess.count) int(0) unless { var(sess.count) -m found }
    http-request set-var(sess.count) var(sess.count),add(1)
    http-after-response set-header Connection close if { var(sess.count) -m int ge 3 }""",
    # "Connection: close" on every response.
    "closing": "option httpclose",
}

# An @WORD@ is filled in.
_CONFIG = """\
global
    log stdout format raw local0
    maxconn 4096
    nbthread 1
defaults
    mode http
    log global
    log-format "%[src_port] %HM %HU %ST"
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    timeout tarpit 50ms
    retries 0
    # One request on each connection to what is behind. (When a later one failed haproxy would close
    # ours without a response, so that we try again.)
    option http-server-close
@FRONT_ENDS@
backend paths
    # Which of our connections it was: who wants to know whether one was reused asks the server.
    http-after-response set-header X-Port %[src_port]

    http-request return status 204 if { path /nothing }
    http-request redirect location / if { path /redirect }
    # 103 Early Hints, three times.
    http-request early-hint Link "</style.css>; rel=preload; as=style" if { path /hints }
    http-request early-hint Link "</script.js>; rel=preload; as=script" if { path /hints }
    http-request early-hint Link "<https://cdn.test>; rel=preconnect" if { path /hints }

    # 413 for more than 1 KiB or an unknown length, as soon as the head has been read.
    acl limited path /limited
    http-request deny deny_status 413 if limited { req.hdr(Content-Length) -m int gt 1024 }
    http-request deny deny_status 413 if limited { req.hdr(Transfer-Encoding) -m found }
    # Asks for the body, with 100 Continue if that is expected. The one waits for it, as much as
    # fits a buffer; the other has no patience: 408.
    http-request wait-for-body time 60s if { path /waiting }
    http-request wait-for-body time 50ms if { path /hurrying }
    # Waits for a moment, then refuses.
    http-request tarpit deny_status 429 if { path /tarpit }
    # Closes without a response; or forgets the connection without a word, so that nobody knows.
    http-request reject if { path /reject }
    http-request silent-drop if { path /drop }

    # What others serve. Below /port/N/hurry they have 50 ms to answer: else 504.
    acl proxied path_beg /port/
    http-request set-dst str(127.0.0.1) if proxied
    http-request set-dst-port path,field(3,/) if proxied
    http-request set-timeout server 50ms if proxied { path_end /hurry }
    http-request return status 200 content-type text/plain \
        lf-string "%HM %[req.body_size]" unless proxied
    http-request set-path %[path,regsub(^/port/[0-9]+,)]
    server any 0.0.0.0:0

# The same, compressed where the client accepts that.
backend compressing
    filter compression
    compression algo gzip
    compression type text/plain
    http-after-response set-header X-Port %[src_port]
    http-request set-dst str(127.0.0.1)
    http-request set-dst-port path,field(3,/)
    http-request set-path %[path,regsub(^/gzip/[0-9]+,)]
    server any 0.0.0.0:0
"""


@dataclass(frozen=True)
class Haproxy:
    """A running haproxy.

    Attributes:
      ports: the port of every front end, by its name.
      log: the file that it writes its log to.
    """

    ports: dict[HaproxyServer, int]
    log: Path
    process: subprocess.Popen[bytes]

    def url(self, path: str = "/", *, server: HaproxyServer = "plain") -> str:
        """The URL of *path* at one of the front ends."""
        scheme = "https" if server.endswith("tls") else "http"
        return f"{scheme}://127.0.0.1:{self.ports[server]}{path}"

    def requests(self, containing: str = "") -> list[str]:
        """The lines of the log with *containing* in them, oldest first.

        A line is ``our-port method uri status``, and stands there soon after the response was
        sent. It is one log for all tests: put something unique into the URL.
        """
        return [line for line in self.log.read_text().splitlines() if containing in line]


@contextmanager
def run_haproxy(directory: Path, ca: trustme.CA) -> Iterator[Haproxy]:
    """Run haproxy with its files in *directory*, which is to be empty, until the block ends."""
    program = require_program("haproxy")
    certificate = directory / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    log = directory / "haproxy.log"
    with ExitStack() as stack:
        with listening(_FRONT_ENDS) as sockets, log.open("wb") as file:
            ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
            fds = {name: sock.fileno() for name, sock in sockets.items()}
            (directory / "haproxy.cfg").write_text(_config(fds, certificate))
            arguments = [program, "-db", "-f", directory / "haproxy.cfg"]
            process = stack.enter_context(
                running(*arguments, pass_fds=fds.values(), stdout=file, stderr=file)
            )
        wait_until_it_answers(process, ports["plain"], "/nothing", log)
        yield Haproxy(ports, log, process)


def _config(fds: dict[HaproxyServer, int], certificate: Path) -> str:
    tls = f"ssl crt {certificate} alpn http/1.1"
    front_ends = [
        f"frontend {name}\n"
        f"    bind fd@{fd} {tls if name.endswith('tls') else ''}\n"
        f"    {_FRONT_ENDS[name]}\n"
        "    use_backend compressing if { path_beg /gzip/ }\n"
        "    default_backend paths"
        for name, fd in fds.items()
    ]
    return _CONFIG.replace("@FRONT_ENDS@", "\n".join(front_ends))
