"""nginx: static files, uploads, limits, keep-alive of several kinds, bad certificates."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

from ._programs import (
    START_SECONDS,
    get,
    listening,
    require_program,
    running,
    server_certificate,
    wait_until_it_answers,
)

NginxServer = Literal["plain", "tls", "silent", "announced", "three", "closing"]

# What makes the server blocks differ. All of them have all the locations.
_KEEP_ALIVE: dict[NginxServer, str] = {
    "plain": "keepalive_timeout 75s;",
    "tls": "keepalive_timeout 75s;",
    # Closes an idle connection after 100 ms and does not say so beforehand.
    "silent": "keepalive_timeout 100ms;",
    # Closes after 2 s, and says "Keep-Alive: timeout=2".
    "announced": "keepalive_timeout 2s 2s;",
    # Cuts the connection after its third request, with "Connection: close" on that response.
    "three": "keepalive_requests 3;",
    # "Connection: close" on every response.
    "closing": "keepalive_timeout 0;",
}

# Names for the TLS port whose certificate is bad; reach them with ``server_hostname`` or a
# resolver of one's own.
BAD_CERTIFICATES = ("expired.test", "not-yet-valid.test", "wrong-host.test", "untrusted.test")

# An @WORD@ is filled in.
_CONFIG = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
@USER@
events { worker_connections 4096; }
http {
    log_format requests '$connection $connection_requests $request_method $request_uri $status';
    access_log access.log requests;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    default_type text/plain;
    types { text/html html shtml; }
    sendfile on;
    # Before 1.23.4 the default is without 1.3, whose session tickets are a story of their own.
    ssl_protocols TLSv1.2 TLSv1.3;
    # Which connection carried the request, and how many it has carried: who wants to know
    # whether a connection was reused asks the server.
    add_header X-Connection $connection always;
    add_header X-Connection-Requests $connection_requests always;
    server {
        listen unix:@DIRECTORY@/length.sock;
        client_max_body_size 64m;
        location / { return 200 "$content_length\\n"; }
    }
@SERVERS@
}
"""

_LOCATIONS = """\
root www;
location /          { }
location /whoami    { return 200 "$connection $connection_requests $remote_port $ssl_server_name"; }
location /pid       { return 200 $pid; }
location /nothing   { return 204; }
location /redirect  { return 302 /; }
location /unavailable { return 503 "come back later\\n"; }
# Slow enough that a test can act in the middle of the body.
location /slow      { alias www/large; limit_rate 64k; limit_rate_after 64k; }
# Server-side includes make nginx forget the length: chunked, or ended by the close.
location /chunked   { alias www/2000; ssi on; ssi_types *; }
location /until-close { alias www/2000; ssi on; ssi_types *; chunked_transfer_encoding off; }
# Reads the whole body, then tells its length.
location /post      { client_max_body_size 64m; proxy_pass http://unix:@DIRECTORY@/length.sock:/; }
# PUT what GET and DELETE then find.
location /store/    { client_max_body_size 64m; dav_methods PUT DELETE; create_full_put_path on; }
# 413 for more than 1 KiB, as soon as that shows: from the length that the request tells, or from
# the chunks so far. Politely, reading on for a while; or closing at once, with a reset.
location /limited   { client_max_body_size 1k; proxy_pass http://unix:@DIRECTORY@/length.sock:/; }
location /limited-reset {
    client_max_body_size 1k; lingering_close off; lingering_time 0;
    proxy_pass http://unix:@DIRECTORY@/length.sock:/;
}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
      ports: the port of every server block, by its name.
      directory: its prefix: ``www`` has the files, ``error.log`` what went wrong.
      socket_path: a Unix socket that answers as ``plain`` does.
    """

    ports: dict[NginxServer, int]
    directory: Path
    socket_path: Path
    process: subprocess.Popen[bytes]

    def url(
        self, path: str = "/", *, server: NginxServer = "plain", host: str = "127.0.0.1"
    ) -> str:
        """The URL of *path* at one of the server blocks."""
        scheme = "https" if server == "tls" else "http"
        return f"{scheme}://{host}:{self.ports[server]}{path}"

    def requests(self, containing: str = "") -> list[str]:
        """The lines of the access log with *containing* in them, oldest first.

        A line is ``connection requests-of-connection method uri status``, and stands there once
        the response was sent. It is one log for all tests: put something unique into the URL.
        """
        lines = (self.directory / "access.log").read_text().splitlines()
        return [line for line in lines if containing in line]

    def reload(self) -> None:
        """Replace the worker, as a deployment does; idle connections are closed. Blocks."""
        old = self._worker()
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while self._worker() == old or _is_running(old):
            if time.monotonic() > deadline:
                raise RuntimeError("nginx did not replace its worker; is a request under way?")
            time.sleep(0.01)

    def _worker(self) -> int:
        return int(get(self.ports["plain"], "/pid"))


@contextmanager
def run_nginx(directory: Path, ca: trustme.CA) -> Iterator[Nginx]:
    """Run nginx with its files in *directory*, which is to be empty, until the block ends."""
    program = require_program("nginx")
    _write_files(directory, ca)
    socket_path = directory / "nginx.sock"
    with ExitStack() as stack:
        with listening(_KEEP_ALIVE) as sockets:
            ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
            (directory / "nginx.conf").write_text(_config(directory, ports, socket_path))
            fds = [sock.fileno() for sock in sockets.values()]
            # The variable by which nginx hands its sockets over to itself in an upgrade.
            inherited = {**os.environ, "NGINX": "".join(f"{fd};" for fd in fds)}
            arguments = [program, "-p", directory, "-c", "nginx.conf", "-e", "error.log"]
            process = stack.enter_context(running(*arguments, pass_fds=fds, env=inherited))
        wait_until_it_answers(process, ports["plain"], "/nothing", directory / "error.log")
        yield Nginx(ports, directory, socket_path, process)


def _write_files(directory: Path, ca: trustme.CA) -> None:
    (directory / "tmp").mkdir()
    www = directory / "www"
    www.mkdir()
    (www / "store").mkdir()
    (www / "index.html").write_bytes(b"<!doctype html><title>triopool</title>\n")
    (www / "2000").write_bytes(b"0123456789abcde\n" * 125)
    (www / "large").write_bytes(bytes(range(256)) * (4 << 12))  # 4 MiB

    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    day = datetime.timedelta(days=1)
    certificates = {
        "good": server_certificate(ca),
        "expired.test": ca.issue_cert(
            "expired.test", not_before=now - 2 * day, not_after=now - day
        ),
        "not-yet-valid.test": ca.issue_cert("not-yet-valid.test", not_before=now + day),
        "wrong-host.test": ca.issue_cert("another.test"),
        "untrusted.test": trustme.CA().issue_cert("untrusted.test"),
    }
    for name, certificate in certificates.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")


def _config(directory: Path, ports: dict[NginxServer, int], socket_path: Path) -> str:
    def server(listen: str, name: NginxServer, certificate: str = "good", more: str = "") -> str:
        pem = f"ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.pem;"
        return f"server {{ listen {listen}; {pem} {more} {_KEEP_ALIVE[name]}\n{_LOCATIONS} }}"

    listen = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    listen["tls"] += " ssl"
    servers = [server(listen[name], name) for name in ports]
    servers += [server(f"unix:{socket_path}", "plain")]
    servers += [
        server(listen["tls"], "tls", name, f"server_name {name};") for name in BAD_CERTIFICATES
    ]
    return (
        _CONFIG.replace("@SERVERS@", "\n".join(servers))
        .replace("@USER@", _user())
        .replace("@DIRECTORY@", str(directory))
    )


def _user() -> str:
    """Root's workers would drop to an account that cannot read our directory: say they don't."""
    if os.geteuid() != 0:
        return ""
    import grp  # does not exist on Windows, where the rest of this file can be imported

    return f"user root {grp.getgrgid(0).gr_name};"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
